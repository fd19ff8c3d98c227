// Shows how a download comes on: a bar in place on a terminal, with rate and time left; a line for each tenth elsewhere.
import { bar, DRAW_MS, LINE_MS, TENTHS } from './progress.ts';
import { size, span } from './show.ts';

/** Over so long a rate is taken: shorter it jumps, longer it is no rate of now. */
const RATE_OVER_MS = 5_000;

export type Sample = { readonly at_ms: number; readonly bytes: number };
export type Seen = { readonly bytes: number; readonly total: number | null };

/** Bytes a second over the last seconds; null while nothing can be said. */
export function rateOf(samples: readonly Sample[]): number | null {
  const [first, last] = [samples[0], samples.at(-1)];
  if (first === undefined || last === undefined || last.at_ms <= first.at_ms) return null;
  return Math.max(0, (last.bytes - first.bytes) / ((last.at_ms - first.at_ms) / 1000));
}

/** `1.2 MiB of 2.4 MiB, 600 KiB/s, 2s left` */
export function wordsOf({ bytes, total }: Seen, rate: number | null): string {
  const left = total === null || rate === null || rate < 1 || bytes >= total ? null : Math.max(1, Math.round((total - bytes) / rate));
  return [total === null ? size(bytes) : `${size(bytes)} of ${size(total)}`, ...(rate === null ? [] : [`${size(Math.round(rate))}/s`]), ...(left === null ? [] : [`${span(left)} left`])].join(', ');
}

export type Coming = { readonly show: (seen: Seen, now_ms: number) => void; /** Ends the bar, so that lines may follow. */ readonly clear: () => void };

export function openComing(name: string, o: { readonly terminal: boolean; readonly columns: () => number; readonly write: (text: string) => void }): Coming {
  let samples: readonly Sample[] = [];
  let told: { readonly at_ms: number; readonly tenth: number; readonly bytes: number } | null = null;
  let drawn = false;
  const clear = (): void => {
    if (drawn) o.write('\r\x1b[K');
    drawn = false;
  };
  return {
    clear,
    show(seen, now_ms) {
      // It began anew, the bytes of before are no use.
      if (seen.bytes < (samples.at(-1)?.bytes ?? 0)) samples = [];
      samples = [...samples.filter(({ at_ms }) => now_ms - at_ms <= RATE_OVER_MS), { at_ms: now_ms, bytes: seen.bytes }];
      const share = seen.total === null || seen.total === 0 ? null : Math.min(1, seen.bytes / seen.total);
      const tenth = share === null ? 0 : Math.floor(share * TENTHS);
      const words = wordsOf(seen, rateOf(samples));
      if (o.terminal) {
        if (told !== null && now_ms - told.at_ms < DRAW_MS) return;
        clear();
        o.write(`${name}  ${share === null ? '…' : bar(share)}  ${words}`.slice(0, o.columns() - 1));
        drawn = true;
      } else {
        if (told !== null && told.tenth === tenth && (now_ms - told.at_ms < LINE_MS || told.bytes === seen.bytes)) return;
        o.write(`${name}: ${share === null ? '' : `${Math.floor(share * 100)} %, `}${words}\n`);
      }
      told = { at_ms: now_ms, tenth, bytes: seen.bytes };
    },
  };
}

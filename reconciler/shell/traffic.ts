// Counts requests per plugin in memory: for drains, for falling asleep, for telemetry.
import type { ObservedTraffic } from '../core/types.ts';
import type { Lease } from './door.ts';

/** Throughput is the mean over this many whole seconds. */
const THROUGHPUT_WINDOW_S = 10;

type Counter = {
  inFlight: number;
  last: number | null;
  requests: number;
  errors: number;
  lastError: { readonly at: string; readonly message: string } | null;
  /** Requests ended in second `n % window`. */
  readonly perSecond: number[];
  second: number;
};

export type TrafficFigures = { readonly requests: number; readonly errors: number; readonly throughput: number; readonly lastError: Counter['lastError'] };

export type Traffic = ReturnType<typeof openTraffic>;

/** `idle` is told when the last request in flight of a plugin has ended. */
export function openTraffic(now: () => number, idle: (plugin: string) => void) {
  const counters = new Map<string, Counter>();
  const counterOf = (plugin: string): Counter => {
    const known = counters.get(plugin);
    if (known !== undefined) return known;
    const made: Counter = { inFlight: 0, last: null, requests: 0, errors: 0, lastError: null, perSecond: new Array<number>(THROUGHPUT_WINDOW_S).fill(0), second: 0 };
    counters.set(plugin, made);
    return made;
  };
  return {
    lease(plugin: string): Lease {
      const counter = counterOf(plugin);
      counter.inFlight += 1;
      counter.last = now();
      let ended = false;
      return {
        end(outcome): void {
          if (ended) return;
          ended = true;
          counter.inFlight -= 1;
          counter.last = now();
          counter.requests += 1;
          turn(counter, counter.last);
          counter.perSecond[counter.second % THROUGHPUT_WINDOW_S]! += 1;
          if (outcome.error !== null) {
            counter.errors += 1;
            counter.lastError = { at: new Date().toISOString(), message: outcome.error };
          }
          if (counter.inFlight === 0) idle(plugin);
        },
      };
    },
    inFlight: (plugin: string): number => counters.get(plugin)?.inFlight ?? 0,
    observed: (): Readonly<Record<string, ObservedTraffic>> =>
      Object.fromEntries([...counters].map(([plugin, counter]) => [plugin, { inFlight: counter.inFlight, last: counter.last }])),
    figures(plugin: string): TrafficFigures {
      const counter = counters.get(plugin);
      if (counter === undefined) return { requests: 0, errors: 0, throughput: 0, lastError: null };
      turn(counter, now());
      const sum = counter.perSecond.reduce((total, count) => total + count, 0);
      return { requests: counter.requests, errors: counter.errors, throughput: sum / THROUGHPUT_WINDOW_S, lastError: counter.lastError };
    },
  };
}

/** Empties the seconds that have passed since the counter was last touched. */
function turn(counter: Counter, now_ms: number): void {
  const second = Math.floor(now_ms / 1000);
  const passed = Math.min(second - counter.second, THROUGHPUT_WINDOW_S);
  for (let step = 0; step < passed; step += 1) counter.perSecond[(second - step) % THROUGHPUT_WINDOW_S] = 0;
  counter.second = second;
}

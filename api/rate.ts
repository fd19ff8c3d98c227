// Limits how often one address may ask the control plane: a fixed minute per address, counted in memory.
import { isIPv6 } from 'node:net';
import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';

const WINDOW_S = 60;

export type Verdict = { readonly ok: boolean; readonly headers: Readonly<Record<string, string>> };

/** One person has a /64 at least: single addresses of it would be a limit for nobody and memory without end. */
export function rateKeyOf(address: string | undefined): string {
  if (address === undefined) return 'unknown';
  const plain = address.startsWith('::ffff:') ? address.slice(7) : address;
  if (!isIPv6(plain)) return plain;
  const [head = '', tail = ''] = plain.split('::');
  const left = head.split(':').filter((part) => part !== '');
  const right = plain.includes('::') ? tail.split(':').filter((part) => part !== '') : [];
  const groups = [...left, ...new Array<string>(Math.max(0, 8 - left.length - right.length)).fill('0'), ...right];
  return groups.slice(0, 4).map((group) => Number.parseInt(group, 16).toString(16)).join(':');
}

/** Counts a request of this address. A changed limit begins with empty counters. */
export function openRate() {
  let limiter: RateLimiterMemory | null = null;
  return async (address: string | undefined, requestsPerMinute: number): Promise<Verdict> => {
    if (limiter === null || limiter.points !== requestsPerMinute) limiter = new RateLimiterMemory({ points: requestsPerMinute, duration: WINDOW_S });
    const result = await limiter.consume(rateKeyOf(address)).catch((refused: unknown) => {
      if (refused instanceof RateLimiterRes) return refused;
      throw refused;
    });
    const reset_s = Math.max(1, Math.ceil(result.msBeforeNext / 1000));
    const ok = result.consumedPoints <= requestsPerMinute;
    const headers = { 'x-ratelimit-limit': String(requestsPerMinute), 'x-ratelimit-remaining': String(Math.max(0, result.remainingPoints)), 'x-ratelimit-reset': String(reset_s) };
    return { ok, headers: ok ? headers : { ...headers, 'retry-after': String(reset_s) } };
  };
}

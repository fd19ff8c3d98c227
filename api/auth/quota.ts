// What one API key may ask: requests a minute, tokens a minute, requests at once.
import type { DesiredKey } from '../../reconciler/index.ts';
import { check, count, headersOf, MINUTE_MS, type Admission, type Gate } from '../limits.ts';

/** Tokens are known only when they are spent: a request is let in while any are left, and what it takes is owed. */
export type Quota = Exclude<Admission, { readonly ok: true }> | (Extract<Admission, { readonly ok: true }> & { readonly spend: (tokens: number) => void });

type Spent = { readonly requests: Gate; /** When all that was spent is earned again. */ tokens: number };

const FREE: Extract<Quota, { readonly ok: true }> = { ok: true, headers: [], release: () => undefined, spend: () => undefined };

export function openQuotas(clock: () => number = () => performance.now()) {
  const spent = new Map<string, Spent>();

  function tokenHeaders(one: Spent, limit: number, now: number): Admission['headers'] {
    const owed_ms = Math.max(0, one.tokens - now);
    return [
      ['x-ratelimit-limit-tokens', String(limit)],
      ['x-ratelimit-remaining-tokens', String(Math.max(0, Math.floor((MINUTE_MS - owed_ms) / MINUTE_MS * limit)))],
      ['x-ratelimit-reset-tokens', `${Math.ceil(owed_ms / 1000)}s`],
    ];
  }

  function spend(one: Spent, limit: number | null, tokens: number): void {
    if (limit !== null) one.tokens = Math.max(one.tokens, clock()) + tokens * MINUTE_MS / limit;
  }

  function spentBy(key: DesiredKey): Spent {
    const one = spent.get(key.id) ?? { requests: { theoretical: 0, inFlight: 0 }, tokens: 0 };
    spent.set(key.id, one);
    return one;
  }

  /** Why a key that owes too many tokens has to wait; null while it need not. */
  function indebted(key: DesiredKey, now: number): Extract<Admission, { readonly ok: false }> | null {
    const { tokensPerMinute } = key.limits;
    const one = spentBy(key);
    const owed_ms = one.tokens - now;
    if (tokensPerMinute === null || owed_ms < MINUTE_MS) return null;
    const wait_s = Math.max(1, Math.ceil((owed_ms - MINUTE_MS) / 1000));
    return { ok: false, retryAfter_s: wait_s, message: `key ${key.id} is at its limit of ${tokensPerMinute} tokens a minute.`, headers: tokenHeaders(one, tokensPerMinute, now) };
  }

  return {
    /** What a plugin asks to answer a request that is counted in already: only what it takes is owed. */
    within(key: DesiredKey | null): Quota {
      if (key === null || key.limits.tokensPerMinute === null) return FREE;
      return indebted(key, clock()) ?? { ...FREE, spend: (tokens) => spend(spentBy(key), key.limits.tokensPerMinute, tokens) };
    },
    /** Counts one request of a key in; `release` it when it has ended, and `spend` what it took. */
    admit(key: DesiredKey | null): Quota {
      if (key === null || (key.limits.requestsPerMinute === null && key.limits.concurrent === null && key.limits.tokensPerMinute === null)) return FREE;
      const { requestsPerMinute, concurrent, tokensPerMinute } = key.limits;
      const now = clock();
      const one = spentBy(key);
      const limits = { requestsPerMinute, concurrent };
      const refused = check(one.requests, { limits, now, concurrent: Infinity }, `key ${key.id}`) ?? indebted(key, now);
      if (refused !== null) return refused;
      count(one.requests, limits, now);
      let held = true;
      return {
        ok: true,
        headers: [...(requestsPerMinute === null ? [] : headersOf(one.requests, requestsPerMinute, now)), ...(tokensPerMinute === null ? [] : tokenHeaders(one, tokensPerMinute, now))],
        release() {
          if (held) one.requests.inFlight -= 1;
          held = false;
        },
        spend: (tokens) => spend(one, tokensPerMinute, tokens),
      };
    },
  };
}

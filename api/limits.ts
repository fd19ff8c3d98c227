// Limits of plugins and capabilities: requests a minute and requests at once, checked on every call to a plugin.
import type { Capability, Limits } from '../reconciler/index.ts';

// The maintained limiters answer with a promise and a Date per call, several microseconds each; the data plane makes tens of
// thousands of calls a second. This is GCRA, the algorithm they use: one number per limit.
const MINUTE_MS = 60_000;
/** Sums of fractions of a minute are off by less than this; without it the last place of a minute is lost to rounding. */
const ROUNDING_MS = 0.001;
/** Requests at once on one plugin when it declares no limit: beyond this only memory grows. */
export const DEFAULT_CONCURRENT = 256;

export type Admission =
  | { readonly ok: true; release(): void; readonly headers: readonly (readonly [string, string])[] }
  | { readonly ok: false; readonly retryAfter_s: number; readonly message: string; readonly headers: readonly (readonly [string, string])[] };

export type AdmitOrder = { readonly plugin: string; readonly capability: Capability; readonly limits: Limits };

type Gate = { theoretical: number; inFlight: number };

const gates = new Map<string, Gate>();

function gateOf(name: string): Gate {
  const known = gates.get(name);
  if (known !== undefined) return known;
  const made = { theoretical: 0, inFlight: 0 };
  gates.set(name, made);
  return made;
}

/** Counts one call in. `release` it when it has ended. Refused by the plugin's limits or by the capability's, whichever is met first. */
export function admit(order: AdmitOrder, now = performance.now()): Admission {
  const plugin = gateOf(order.plugin);
  const own = order.capability.limits;
  const limited = own.requestsPerMinute !== null || own.concurrent !== null;
  const capability = limited ? gateOf(`${order.plugin} ${order.capability.id}`) : null;
  const refusal = check(plugin, { limits: order.limits, name: order.plugin, now, concurrent: DEFAULT_CONCURRENT })
    ?? (capability === null ? null : check(capability, { limits: own, name: `${order.plugin} ${order.capability.id}`, now, concurrent: Infinity }));
  if (refusal !== null) return refusal;
  const headers = pass(plugin, order.limits, now);
  const ownHeaders = capability === null ? [] : pass(capability, own, now);
  let held = true;
  return {
    ok: true,
    headers: ownHeaders.length > 0 ? ownHeaders : headers,
    release(): void {
      if (!held) return;
      held = false;
      plugin.inFlight -= 1;
      if (capability !== null) capability.inFlight -= 1;
    },
  };
}

type Check = { readonly limits: Limits; readonly name: string; readonly now: number; readonly concurrent: number };

function check(gate: Gate, on: Check): Extract<Admission, { readonly ok: false }> | null {
  const most = on.limits.concurrent ?? on.concurrent;
  if (gate.inFlight >= most) return { ok: false, retryAfter_s: 1, message: `${on.name} is at its limit of ${most} requests at once.`, headers: [] };
  const perMinute = on.limits.requestsPerMinute;
  if (perMinute === null) return null;
  const wait_ms = Math.max(gate.theoretical, on.now) + MINUTE_MS / perMinute - on.now - MINUTE_MS;
  if (wait_ms <= ROUNDING_MS) return null;
  return { ok: false, retryAfter_s: Math.ceil((wait_ms - ROUNDING_MS) / 1000), message: `${on.name} is at its limit of ${perMinute} requests a minute.`, headers: headersOf(gate, perMinute, on.now) };
}

function pass(gate: Gate, limits: Limits, now: number): Admission['headers'] {
  gate.inFlight += 1;
  if (limits.requestsPerMinute === null) return [];
  gate.theoretical = Math.max(gate.theoretical, now) + MINUTE_MS / limits.requestsPerMinute;
  return headersOf(gate, limits.requestsPerMinute, now);
}

function headersOf(gate: Gate, perMinute: number, now: number): Admission['headers'] {
  const used_ms = Math.max(0, gate.theoretical - now);
  return [
    ['x-ratelimit-limit-requests', String(perMinute)],
    ['x-ratelimit-remaining-requests', String(Math.max(0, Math.floor((MINUTE_MS - used_ms + ROUNDING_MS) / (MINUTE_MS / perMinute))))],
    ['x-ratelimit-reset-requests', `${Math.ceil((used_ms - ROUNDING_MS) / 1000)}s`],
  ];
}

// Limits of plugins and capabilities: requests a minute and requests at once, checked on every call to a plugin.
import type { Capability, Limits } from '../reconciler/index.ts';

// The maintained limiters answer with a promise and a Date per call, several microseconds each; the data plane makes tens of
// thousands of calls a second. This is GCRA, the algorithm they use: one number per limit.
export const MINUTE_MS = 60_000;
/** Sums of fractions of a minute are off by less than this; without it the last place of a minute is lost to rounding. */
const ROUNDING_MS = 0.001;
/** Requests at once on one plugin when it declares no limit: beyond this only memory grows. */
export const DEFAULT_CONCURRENT = 256;

export type Admission =
  | { readonly ok: true; release(): void; readonly headers: readonly (readonly [string, string])[] }
  | { readonly ok: false; readonly retryAfter_s: number; readonly message: string; readonly headers: readonly (readonly [string, string])[] };

export type AdmitOrder = { readonly plugin: string; readonly capability: Capability; readonly limits: Limits };

export type Gate = { theoretical: number; inFlight: number };
type Gates = { readonly plugin: Gate; readonly capabilities: Map<string, Gate> };

const gates = new Map<string, Gates>();
const NO_HEADERS: Admission['headers'] = [];

/** By two look-ups, for a joined name would be made and hashed anew on every call. */
function gatesOf(plugin: string): Gates {
  const known = gates.get(plugin);
  if (known !== undefined) return known;
  const made: Gates = { plugin: { theoretical: 0, inFlight: 0 }, capabilities: new Map() };
  gates.set(plugin, made);
  return made;
}

function capabilityGate(of: Gates, id: string): Gate {
  const known = of.capabilities.get(id);
  if (known !== undefined) return known;
  const made: Gate = { theoretical: 0, inFlight: 0 };
  of.capabilities.set(id, made);
  return made;
}

/** Counts one call in. `release` it when it has ended. Refused by the plugin's limits or by the capability's, whichever is met first. */
export function admit(order: AdmitOrder, now = performance.now()): Admission {
  const { limits: own, id } = order.capability;
  const known = gatesOf(order.plugin);
  const { plugin } = known;
  const capability = own.requestsPerMinute === null && own.concurrent === null ? null : capabilityGate(known, id);
  const refusal = check(plugin, { limits: order.limits, now, concurrent: DEFAULT_CONCURRENT }, order.plugin)
    ?? (capability === null ? null : check(capability, { limits: own, now, concurrent: Infinity }, `${order.plugin} ${id}`));
  if (refusal !== null) return refusal;
  count(plugin, order.limits, now);
  if (capability !== null) count(capability, own, now);
  let held = true;
  return {
    ok: true,
    // The narrower of the two is the one to be told of.
    headers: capability !== null && own.requestsPerMinute !== null ? headersOf(capability, own.requestsPerMinute, now)
      : order.limits.requestsPerMinute === null ? NO_HEADERS : headersOf(plugin, order.limits.requestsPerMinute, now),
    release(): void {
      if (!held) return;
      held = false;
      plugin.inFlight -= 1;
      if (capability !== null) capability.inFlight -= 1;
    },
  };
}

export type Check = { readonly limits: Limits; readonly now: number; readonly concurrent: number };

export function check(gate: Gate, on: Check, name: string): Extract<Admission, { readonly ok: false }> | null {
  const most = on.limits.concurrent ?? on.concurrent;
  if (gate.inFlight >= most) return { ok: false, retryAfter_s: 1, message: `${name} is at its limit of ${most} requests at once.`, headers: NO_HEADERS };
  const perMinute = on.limits.requestsPerMinute;
  if (perMinute === null) return null;
  const wait_ms = Math.max(gate.theoretical, on.now) + MINUTE_MS / perMinute - on.now - MINUTE_MS;
  if (wait_ms <= ROUNDING_MS) return null;
  return { ok: false, retryAfter_s: Math.ceil((wait_ms - ROUNDING_MS) / 1000), message: `${name} is at its limit of ${perMinute} requests a minute.`, headers: headersOf(gate, perMinute, on.now) };
}

export function count(gate: Gate, limits: Limits, now: number): void {
  gate.inFlight += 1;
  if (limits.requestsPerMinute !== null) gate.theoretical = Math.max(gate.theoretical, now) + MINUTE_MS / limits.requestsPerMinute;
}

export function headersOf(gate: Gate, perMinute: number, now: number): Admission['headers'] {
  const used_ms = Math.max(0, gate.theoretical - now);
  return [
    ['x-ratelimit-limit-requests', String(perMinute)],
    ['x-ratelimit-remaining-requests', String(Math.max(0, Math.floor((MINUTE_MS - used_ms + ROUNDING_MS) / (MINUTE_MS / perMinute))))],
    ['x-ratelimit-reset-requests', `${Math.ceil((used_ms - ROUNDING_MS) / 1000)}s`],
  ];
}

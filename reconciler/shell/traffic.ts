// Counts requests per plugin in memory: for waking, for drains, for falling asleep, for telemetry.
import type { ObservedTraffic } from '../core/types.ts';
import type { Lease } from './door.ts';

/** Throughput is the mean over this many whole seconds. */
const THROUGHPUT_WINDOW_S = 10;

type Counter = {
  waiting: number;
  since: number | null;
  inFlight: number;
  last: number | null;
  requests: number;
  errors: number;
  lastError: { readonly at: string; readonly message: string } | null;
  /** Requests ended in second `n % window`. */
  readonly perSecond: number[];
  second: number;
};

export type TrafficFigures = { readonly requests: number; readonly inFlight: number; readonly errors: number; readonly throughput: number; readonly lastError: Counter['lastError'] };

export type Traffic = ReturnType<typeof openTraffic>;

/** `poke` is told when a request begins to wait; that one has become idle is seen by the heartbeat, not paid for by each request. */
export function openTraffic(now: () => number, poke: () => void) {
  const counters = new Map<string, Counter>();
  const sent = new Map<string, number>();
  const counterOf = (plugin: string): Counter => {
    const known = counters.get(plugin);
    if (known !== undefined) return known;
    const made: Counter = { waiting: 0, since: null, inFlight: 0, last: null, requests: 0, errors: 0, lastError: null, perSecond: new Array<number>(THROUGHPUT_WINDOW_S).fill(0), second: 0 };
    counters.set(plugin, made);
    return made;
  };
  const arrive = (counter: Counter, incarnation: string | null): void => {
    if (incarnation === null) {
      counter.waiting += 1;
      if (counter.waiting > 1) return;
      counter.since = now();
      poke();
      return;
    }
    counter.inFlight += 1;
    sent.set(incarnation, (sent.get(incarnation) ?? 0) + 1);
  };
  const leave = (counter: Counter, incarnation: string | null): void => {
    if (incarnation === null) {
      counter.waiting -= 1;
      if (counter.waiting === 0) counter.since = null;
      return;
    }
    counter.inFlight -= 1;
    const left = (sent.get(incarnation) ?? 1) - 1;
    if (left === 0) sent.delete(incarnation);
    else sent.set(incarnation, left);
  };
  return {
    lease(plugin: string, to: string | null): Lease {
      const counter = counterOf(plugin);
      let at = to;
      let reached = to !== null;
      let ended = false;
      arrive(counter, at);
      counter.last = now();
      return {
        at(incarnation): void {
          if (ended || incarnation === at) return;
          // Counted in first: at no moment is it nowhere, or the plugin might fall asleep in between.
          arrive(counter, incarnation);
          leave(counter, at);
          at = incarnation;
          reached ||= incarnation !== null;
        },
        end(outcome): void {
          if (ended) return;
          ended = true;
          leave(counter, at);
          counter.last = now();
          if (reached || outcome.error !== null) count(counter, outcome.error);
        },
      };
    },
    /** Requests that are with this incarnation now. */
    inFlight: (incarnation: string): number => sent.get(incarnation) ?? 0,
    observed: (): Readonly<Record<string, ObservedTraffic>> =>
      Object.fromEntries([...counters].map(([plugin, { waiting, since, inFlight, last }]) => [plugin, { waiting, since, inFlight, last }])),
    figures(plugin: string): TrafficFigures {
      const counter = counters.get(plugin);
      if (counter === undefined) return { requests: 0, inFlight: 0, errors: 0, throughput: 0, lastError: null };
      turn(counter, now());
      const sum = counter.perSecond.reduce((total, one) => total + one, 0);
      return { requests: counter.requests, inFlight: counter.inFlight, errors: counter.errors, throughput: sum / THROUGHPUT_WINDOW_S, lastError: counter.lastError };
    },
  };
}

function count(counter: Counter, error: string | null): void {
  counter.requests += 1;
  turn(counter, counter.last ?? 0);
  counter.perSecond[counter.second % THROUGHPUT_WINDOW_S]! += 1;
  if (error === null) return;
  counter.errors += 1;
  counter.lastError = { at: new Date().toISOString(), message: error };
}

/** Empties the seconds that have passed since the counter was last touched. */
function turn(counter: Counter, now_ms: number): void {
  const second = Math.floor(now_ms / 1000);
  const passed = Math.min(second - counter.second, THROUGHPUT_WINDOW_S);
  for (let step = 0; step < passed; step += 1) counter.perSecond[(second - step) % THROUGHPUT_WINDOW_S] = 0;
  counter.second = second;
}

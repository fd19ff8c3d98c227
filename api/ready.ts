// Waits until a plugin can take a request. What waits holds a lease, and that wakes one that sleeps.
import type { Reconciler, Route } from '../reconciler/index.ts';
import { failure } from './problem.ts';

export type ReadyRoute = Route & { readonly port: number; readonly inbound: string; readonly incarnation: string };

/** Longest wait for a plugin that starts or wakes; then the caller is told to come again. */
export const READY_WITHIN_MS = 120_000;
/** A process that does not answer has ended or will soon be seen to have: so long its successor is waited for. */
export const SUCCESSOR_WITHIN_MS = 15_000;
export const COME_AGAIN_S = 5;

export type Waiting = {
  readonly subscribe: Reconciler['subscribe'];
  /** The route as it is now; null when nothing declared answers any more. */
  readonly route: () => Route | null;
  /** An incarnation that did not answer: another one is waited for. */
  readonly not: string | null;
  readonly timeout_ms: number;
  /** Aborted when nobody waits any longer. */
  readonly signal: AbortSignal;
};
export type Waited =
  | { readonly kind: 'ready'; readonly route: ReadyRoute }
  | { readonly kind: 'down' | 'late'; readonly route: Route }
  | { readonly kind: 'undeclared' | 'gone' };

const isReady = (route: Route, not: string | null): route is ReadyRoute =>
  route.state === 'ready' && route.port !== null && route.inbound !== null && route.incarnation !== null && route.incarnation !== not;

/** At once when it is ready or cannot become so; else at the snapshot that says it. */
export function untilReady(o: Waiting): Promise<Waited> {
  let last: Route | null = null;
  const look = (): Waited | null => {
    if (o.signal.aborted) return { kind: 'gone' };
    const route = o.route();
    if (route === null) return { kind: 'undeclared' };
    last = route;
    if (isReady(route, o.not)) return { kind: 'ready', route };
    return route.state === 'down' ? { kind: 'down', route } : null;
  };
  const first = look();
  if (first !== null) return Promise.resolve(first);
  return new Promise((resolve) => {
    const finish = (how: Waited): void => {
      clearTimeout(timer);
      stop();
      o.signal.removeEventListener('abort', gone);
      resolve(how);
    };
    const gone = (): void => finish({ kind: 'gone' });
    const timer = setTimeout(() => finish(last === null ? { kind: 'undeclared' } : { kind: 'late', route: last }), o.timeout_ms);
    const stop = o.subscribe((event) => {
      const how = event.type === 'snapshot' ? look() : null;
      if (how !== null) finish(how);
    });
    o.signal.addEventListener('abort', gone);
  });
}

/** The route of the plugin once it is ready; throws a refusal when it is down, or not ready in time. */
export async function whenReady(reconciler: Reconciler, plugin: string, signal: AbortSignal): Promise<ReadyRoute> {
  const waited = await untilReady({
    subscribe: reconciler.subscribe, not: null, timeout_ms: READY_WITHIN_MS, signal,
    route: () => reconciler.snapshot().routes.find((candidate) => candidate.plugin === plugin) ?? null,
  });
  switch (waited.kind) {
    case 'ready': return waited.route;
    case 'gone': throw failure({ status: 499, code: 'ClientGone', detail: 'The client went away while the plugin was waking.' });
    case 'undeclared': throw failure({ status: 404, code: 'PluginUnknown', detail: `There is no plugin ${plugin} in bkg.yaml.` });
    case 'down': throw notReady(waited.route, 'it is not running.');
    case 'late': throw notReady(waited.route, `it did not get ready within ${Math.round(READY_WITHIN_MS / 1000)} s.`);
  }
}

const notReady = (route: Route, why: string): Error =>
  failure({ status: 503, code: 'PluginNotReady', detail: `${route.plugin} cannot take requests: ${route.why ?? why}`, headers: { 'retry-after': String(COME_AGAIN_S) } });

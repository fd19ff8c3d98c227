// Waits until a plugin can take a request: wakes one that sleeps, gives up on one that is down.
import type { Actor, Reconciler, Route } from '../reconciler/index.ts';
import { failure } from './problem.ts';

export type ReadyRoute = Route & { readonly port: number; readonly inbound: string };

/** Longest wait of a call for a plugin to wake: as long as the data plane waits. */
export const READY_WITHIN_MS = 120_000;
const RETRY_AFTER_S = 5;

export type ReadyOptions = { readonly actor: Actor; readonly timeout_ms: number; readonly signal: AbortSignal };

const isReady = (route: Route): route is ReadyRoute => route.state === 'ready' && route.port !== null && route.inbound !== null;

const routeOf = (reconciler: Reconciler, plugin: string): Route => {
  const found = reconciler.snapshot().routes.find((candidate) => candidate.plugin === plugin);
  if (found === undefined) throw failure({ status: 404, code: 'PluginUnknown', detail: `There is no plugin ${plugin} in bkg.yaml.` });
  return found;
};

const notReady = (route: Route, why: string): Error =>
  failure({ status: 503, code: 'PluginNotReady', detail: `${route.plugin} cannot take requests: ${route.why ?? why}`, headers: { 'retry-after': String(RETRY_AFTER_S) } });

/** The route of the plugin once it is ready; throws a refusal when it is down, or not ready in time. */
export async function whenReady(reconciler: Reconciler, plugin: string, o: ReadyOptions): Promise<ReadyRoute> {
  const first = routeOf(reconciler, plugin);
  if (isReady(first)) return first;
  if (first.state === 'down') throw notReady(first, 'it is not running.');
  if (first.state === 'asleep') await reconciler.ask({ kind: 'wake', plugin, actor: o.actor });
  return new Promise((resolve, reject) => {
    const look = (): void => {
      try {
        const route = routeOf(reconciler, plugin);
        if (isReady(route)) finish(() => resolve(route));
        else if (route.state === 'down') finish(() => reject(notReady(route, 'it is not running.')));
      } catch (error) {
        finish(() => reject(error as Error));
      }
    };
    const finish = (how: () => void): void => {
      clearTimeout(timer);
      stop();
      o.signal.removeEventListener('abort', gone);
      how();
    };
    const gone = (): void => finish(() => reject(failure({ status: 499, code: 'ClientGone', detail: 'The client went away while the plugin was waking.' })));
    const timer = setTimeout(() => finish(() => reject(notReady(first, `it did not get ready within ${Math.round(o.timeout_ms / 1000)} s.`))), o.timeout_ms);
    const stop = reconciler.subscribe((event) => { if (event.type === 'snapshot') look(); });
    o.signal.addEventListener('abort', gone);
    if (o.signal.aborted) gone();
    else look();
  });
}

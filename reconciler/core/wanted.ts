// Which plugins should have a process right now, and why: declared running, awake on demand, or needed by one of these.
import type { Desired, DesiredPlugin, Monotonic_ms, Observed } from './types.ts';

export type WantedInput = { readonly desired: Desired; readonly observed: Observed; readonly now: Monotonic_ms };

/**
 * Plugin id → the reason it is wanted. `look` is told when an awake one would fall asleep.
 */
export function wantedPlugins(input: WantedInput, look: (at: Monotonic_ms) => void): ReadonlyMap<string, string> {
  const wanted = new Map<string, string>();
  const byId = new Map(input.desired.plugins.map((plugin) => [plugin.id, plugin]));
  const activity = lastActivity(input.observed);
  for (const plugin of input.desired.plugins) {
    if (plugin.state === 'running') want(wanted, byId, { plugin, why: 'it is declared running' });
    if (plugin.state === 'ondemand' && isAwake(plugin, activity.get(plugin.id), { now: input.now, look })) {
      want(wanted, byId, { plugin, why: 'a request asked for it' });
    }
  }
  return wanted;
}

function want(wanted: Map<string, string>, byId: ReadonlyMap<string, DesiredPlugin>, item: { readonly plugin: DesiredPlugin; readonly why: string }): void {
  if (wanted.has(item.plugin.id)) return;
  wanted.set(item.plugin.id, item.why);
  for (const need of item.plugin.needs) {
    const needed = byId.get(need);
    if (needed?.state === 'ondemand') want(wanted, byId, { plugin: needed, why: `${item.plugin.id} needs it` });
  }
}

type Activity = { readonly inFlight: number; readonly last: Monotonic_ms | null };

/** Last sign of use per plugin. Old requests alone never start a process: without one, only an ask counts. */
function lastActivity(observed: Observed): ReadonlyMap<string, Activity> {
  const activity = new Map<string, Activity>();
  const note = (plugin: string, at: Monotonic_ms | null, inFlight: number): void => {
    const known = activity.get(plugin);
    const last = known === undefined || known.last === null ? at : at === null ? known.last : Math.max(known.last, at);
    activity.set(plugin, { inFlight: inFlight + (known?.inFlight ?? 0), last });
  };
  for (const ask of observed.asks) note(ask.plugin, ask.at, 0);
  for (const process of observed.processes) {
    if (process.phase === 'draining' || process.phase === 'stopping') continue;
    const traffic = observed.traffic[process.plugin];
    note(process.plugin, process.ready ?? process.started, traffic?.inFlight ?? 0);
    if (traffic !== undefined) note(process.plugin, traffic.last, 0);
  }
  return activity;
}

function isAwake(plugin: DesiredPlugin, activity: Activity | undefined, clock: { readonly now: Monotonic_ms; readonly look: (at: Monotonic_ms) => void }): boolean {
  if (activity === undefined) return false;
  if (activity.inFlight > 0) return true;
  if (activity.last === null || clock.now - activity.last >= plugin.idle_ms) return false;
  clock.look(activity.last + plugin.idle_ms);
  return true;
}

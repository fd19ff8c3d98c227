// Which plugins should have a process right now, and why: declared running, awake on demand, or needed by one of these.
import { slotOf } from './names.ts';
import type { Desired, DesiredPlugin, Monotonic_ms, Observed } from './types.ts';

export type WantedInput = { readonly desired: Desired; readonly observed: Observed; readonly now: Monotonic_ms };

/**
 * Plugin id → the reason it is wanted. `look` is told when an awake one would fall asleep.
 */
export function wantedPlugins(input: WantedInput, look: (at: Monotonic_ms) => void): ReadonlyMap<string, string> {
  const wanted = new Map<string, string>();
  const byId = new Map(input.desired.plugins.map((plugin) => [plugin.id, plugin]));
  const activity = activityOf(input.observed);
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

type Activity = { readonly busy: boolean; readonly last: Monotonic_ms | null };

/**
 * What keeps each plugin awake. A request that waits for it does, and an ask until a process that began after it has ended,
 * however long its install takes; so does a start under way. Requests that are over start nothing: they only put off the sleep of what runs.
 */
function activityOf(observed: Observed): ReadonlyMap<string, Activity> {
  const found = new Map<string, Activity>();
  const note = (plugin: string, what: Activity): void => {
    const known = found.get(plugin);
    const last = Math.max(known?.last ?? -Infinity, what.last ?? -Infinity);
    found.set(plugin, { busy: what.busy || known?.busy === true, last: last === -Infinity ? null : last });
  };
  const alive = new Set<string>();
  for (const process of observed.processes) {
    if (process.phase === 'draining' || process.phase === 'stopping') continue;
    alive.add(process.plugin);
    const traffic = observed.traffic[process.plugin];
    note(process.plugin, { busy: process.phase === 'starting' || (traffic?.inFlight ?? 0) > 0, last: process.ready ?? process.started });
    note(process.plugin, { busy: false, last: traffic?.last ?? null });
  }
  for (const ask of observed.asks) {
    const begun = observed.histories[slotOf(ask.plugin)]?.lastStart ?? -Infinity;
    note(ask.plugin, { busy: !alive.has(ask.plugin) && ask.at > begun, last: ask.at });
  }
  for (const [plugin, traffic] of Object.entries(observed.traffic)) if (traffic.waiting > 0) note(plugin, { busy: true, last: null });
  return found;
}

function isAwake(plugin: DesiredPlugin, activity: Activity | undefined, clock: { readonly now: Monotonic_ms; readonly look: (at: Monotonic_ms) => void }): boolean {
  if (activity === undefined) return false;
  if (activity.busy) return true;
  if (activity.last === null || clock.now - activity.last >= plugin.idle_ms) return false;
  clock.look(activity.last + plugin.idle_ms);
  return true;
}

// Which plugins should have a process right now, and why: declared running, awake on demand, or needed by one of these.
import { slotOf } from './names.ts';
import type { Desired, DesiredPlugin, Monotonic_ms, Observed } from './types.ts';

export type WantedInput = { readonly desired: Desired; readonly observed: Observed; readonly now: Monotonic_ms };

export type Wish = {
  readonly because: string;
  /** Since when it is declared running or somebody waits for it or uses it. Null: it is only kept awake, and may leave for another. */
  readonly asked: Monotonic_ms | null;
};

const ALWAYS = -Infinity;

/** Plugin id → why it is wanted, those that are asked for first. `look` is told when an awake one would fall asleep. */
export function wantedPlugins(input: WantedInput, look: (at: Monotonic_ms) => void): ReadonlyMap<string, Wish> {
  const wanted = new Map<string, Wish>();
  const byId = new Map(input.desired.plugins.map((plugin) => [plugin.id, plugin]));
  const activity = activityOf(input.observed);
  const onDemand = input.desired.plugins.filter((plugin) => plugin.state === 'ondemand');
  for (const plugin of input.desired.plugins) if (plugin.state === 'running') want(wanted, byId, plugin, { because: 'it is declared running', asked: ALWAYS });
  const since = (plugin: DesiredPlugin): Monotonic_ms | null => activity.get(plugin.id)?.busy ?? null;
  const asked = onDemand.filter((plugin) => since(plugin) !== null).sort((one, other) => since(one)! - since(other)!);
  for (const plugin of asked) want(wanted, byId, plugin, { because: 'a request asked for it', asked: since(plugin) });
  for (const plugin of onDemand) {
    if (!asked.includes(plugin) && isAwake(plugin, activity.get(plugin.id), { now: input.now, look })) want(wanted, byId, plugin, { because: 'a request asked for it', asked: null });
  }
  return wanted;
}

function want(wanted: Map<string, Wish>, byId: ReadonlyMap<string, DesiredPlugin>, plugin: DesiredPlugin, wish: Wish): void {
  if (wanted.has(plugin.id)) return;
  wanted.set(plugin.id, wish);
  for (const need of plugin.needs) {
    const needed = byId.get(need);
    if (needed?.state === 'ondemand') want(wanted, byId, needed, { because: `${plugin.id} needs it`, asked: wish.asked });
  }
}

/** `busy`: since when something needs it now, null when nothing does. `last`: when it was used last. */
type Activity = { readonly busy: Monotonic_ms | null; readonly last: Monotonic_ms | null };

/**
 * What keeps each plugin awake. A request that waits for it does, and an ask until a process that began after it has ended,
 * however long its install takes; so does a start under way. Requests that are over start nothing: they only put off the sleep of what runs.
 */
function activityOf(observed: Observed): ReadonlyMap<string, Activity> {
  const found = new Map<string, Activity>();
  const least = (one: Monotonic_ms | null, other: Monotonic_ms | null): Monotonic_ms | null => (one === null || other === null ? one ?? other : Math.min(one, other));
  const note = (plugin: string, what: Activity): void => {
    const known = found.get(plugin);
    const last = Math.max(known?.last ?? -Infinity, what.last ?? -Infinity);
    found.set(plugin, { busy: least(known?.busy ?? null, what.busy), last: last === -Infinity ? null : last });
  };
  const alive = new Set<string>();
  for (const process of observed.processes) {
    if (process.phase === 'draining' || process.phase === 'stopping') continue;
    alive.add(process.plugin);
    const traffic = observed.traffic[process.plugin];
    note(process.plugin, { busy: process.phase === 'starting' ? process.started : null, last: process.ready ?? process.started });
    note(process.plugin, { busy: (traffic?.inFlight ?? 0) > 0 ? traffic?.last ?? process.started : null, last: traffic?.last ?? null });
  }
  for (const ask of observed.asks) {
    const begun = observed.histories[slotOf(ask.plugin)]?.lastStart ?? -Infinity;
    // Of one that was answered and has ended since nothing is wanted any more: it may have left for another.
    if (alive.has(ask.plugin)) note(ask.plugin, { busy: null, last: ask.at });
    else if (ask.at > begun) note(ask.plugin, { busy: ask.at, last: null });
  }
  for (const [plugin, traffic] of Object.entries(observed.traffic)) if (traffic.waiting > 0) note(plugin, { busy: traffic.since ?? traffic.last ?? ALWAYS, last: null });
  return found;
}

function isAwake(plugin: DesiredPlugin, activity: Activity | undefined, clock: { readonly now: Monotonic_ms; readonly look: (at: Monotonic_ms) => void }): boolean {
  if (activity === undefined || activity.last === null || clock.now - activity.last >= plugin.idle_ms) return false;
  clock.look(activity.last + plugin.idle_ms);
  return true;
}

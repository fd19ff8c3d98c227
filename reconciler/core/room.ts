// Weighs plugins by what their models take, and asks `fit` who may start within the memory there is, and who leaves for it.
import { fit, type Fit } from './fit.ts';
import type { Loadable } from './fit-world.ts';
import { memoryOfAll, type Room } from './memory.ts';
import type { Desired, DesiredPlugin, JsonObject, Observed, ObservedProcess } from './types.ts';
import type { Wish } from './wanted.ts';

/** Of a plugin whose settings do not say it: what most engines give a conversation at most, and one at a time. */
const CONTEXT_DEFAULT = 4_096;

export type RoomInput = {
  readonly desired: Desired;
  readonly observed: Observed;
  readonly wanted: ReadonlyMap<string, Wish>;
  readonly byPlugin: ReadonlyMap<string, readonly ObservedProcess[]>;
  /** Whether a process of it could start now, but for the memory and for what it needs. */
  readonly isPrepared: (plugin: DesiredPlugin) => boolean;
};

/** Only of plugins that are ready to start anything is said: the others wait for something else, and nobody leaves for them. */
export function fitAll(input: RoomInput): Fit {
  const { desired, observed, wanted, byPlugin, isPrepared } = input;
  const byId = new Map(desired.plugins.map((plugin) => [plugin.id, plugin]));
  const loadables = desired.plugins.map((plugin) => loadableOf(plugin, { observed, processes: byPlugin.get(plugin.id) ?? [] }));
  const presence = new Map(loadables.map((one) => [one.plugin, one.presence]));
  const isThere = (id: string): boolean => ['starting', 'here'].includes(presence.get(id) ?? 'absent');
  const known = new Map<string, boolean>();
  const canCome = (id: string): boolean => {
    const before = known.get(id);
    if (before !== undefined) return before;
    const plugin = byId.get(id);
    // A circle of needs is no valid file.
    known.set(id, false);
    const can = isThere(id) || (plugin !== undefined && plugin.state !== 'stopped' && isPrepared(plugin) && plugin.needs.every(canCome));
    known.set(id, can);
    return can;
  };
  // Who is only kept awake may leave; but what it needs and has lost comes back.
  const asked = [...wanted].filter(([id, wish]) => (wish.asked !== null || !isThere(id)) && canCome(id)).map(([id]) => id);
  // Without a budget in the file nobody who is declared running is kept from it: weights may lie on a GPU, or be read as they are wanted.
  const lasting = new Set(asked.filter((id) => byId.get(id)?.state === 'running').flatMap((id) => withNeeds(id, byId)));
  const running = loadables.reduce((sum, one) => sum + (lasting.has(one.plugin) ? one.memory_bytes ?? 0 : 0), 0);
  return fit({ budget_bytes: desired.memory_bytes ?? Math.max(observed.memory_bytes, running), plugins: loadables, wanted: asked });
}

/** Itself and all that it needs. */
function withNeeds(id: string, byId: ReadonlyMap<string, DesiredPlugin>, seen = new Set<string>()): readonly string[] {
  if (seen.has(id)) return [];
  seen.add(id);
  for (const need of byId.get(id)?.needs ?? []) withNeeds(need, byId, seen);
  return [...seen];
}

function loadableOf(plugin: DesiredPlugin, o: { readonly observed: Observed; readonly processes: readonly ObservedProcess[] }): Loadable {
  const { observed, processes } = o;
  const traffic = observed.traffic[plugin.id];
  const phases = new Set(processes.map((process) => process.phase));
  const presence = phases.has('ready') || phases.has('unready') ? 'here' : phases.has('starting') ? 'starting' : phases.size > 0 ? 'leaving' : 'absent';
  return {
    plugin: plugin.id, state: plugin.state, presence, memory_bytes: memoryOfPlugin(plugin, o),
    inFlight: traffic?.inFlight ?? 0, last: traffic?.last ?? null, needs: plugin.needs,
  };
}

/** What its models say; else what it may hold at most, or what it holds now. */
export function memoryOfPlugin(plugin: DesiredPlugin, { observed, processes }: { readonly observed: Observed; readonly processes: readonly ObservedProcess[] }): number | null {
  const formats = plugin.models.flatMap((role) => (role.model === null ? [] : [observed.models[role.model]?.about ?? { format: 'other' as const }]));
  const held = processes.reduce<number | null>((sum, { rss_bytes }) => (rss_bytes === null ? sum : (sum ?? 0) + rss_bytes), null);
  return memoryOfAll(formats, roomOf(plugin.config)) ?? plugin.memory_bytes ?? held;
}

/** By the names that settings of engines have here. */
export function roomOf(config: JsonObject): Room {
  const { contextSize, parallel } = config;
  return { contextSize: typeof contextSize === 'number' ? contextSize : CONTEXT_DEFAULT, parallel: typeof parallel === 'number' ? parallel : 1 };
}

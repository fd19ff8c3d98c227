// What the memory looks like before anything is decided: who holds what, who must not leave, and who can never have room.
import type { Leaver } from './fit-leavers.ts';
import type { Monotonic_ms } from './types.ts';
import { sizeWords } from './units.ts';

/** A plugin as the memory sees it. All of them are given, those that are not loaded, too. */
export type Loadable = {
  readonly plugin: string;
  readonly state: 'running' | 'ondemand' | 'stopped';
  /** `leaving`: its process is ending, and holds its memory until it is gone. */
  readonly presence: 'absent' | 'starting' | 'here' | 'leaving';
  /** What it holds, or would hold. Null: nobody knows, so it is not weighed and is never in the way. */
  readonly memory_bytes: number | null;
  /** Requests that it is answering. */
  readonly inFlight: number;
  /** When a request came or ended last; null: never. */
  readonly last: Monotonic_ms | null;
  readonly needs: readonly string[];
};

export type FitInput = {
  /** Null: there is room for everything. */
  readonly budget_bytes: number | null;
  readonly plugins: readonly Loadable[];
  /** Whom somebody waits for, and who is declared running, in the order of asking. What these need comes along by itself. */
  readonly wanted: readonly string[];
};

export type World = {
  readonly budget: number;
  readonly byId: ReadonlyMap<string, Loadable>;
  /** Itself and all that it needs, what is needed first. */
  readonly group: (plugin: string) => readonly string[];
  /** What must be started for it: itself, or what is gone of all that it needs. */
  readonly missing: (plugin: string) => readonly string[];
  readonly bytesOf: (plugins: Iterable<string>) => number;
  readonly present: (plugin: string) => boolean;
  readonly startable: (plugin: string) => boolean;
  /** Who is declared running and has a place for good, with what these need. */
  readonly lasting: ReadonlySet<string>;
  /** Why one that is missing cannot start as things are. */
  readonly never: ReadonlyMap<string, string>;
  /** Who may leave, each with those that need him. All others that are here must not. */
  readonly leavers: readonly Leaver[];
  /** Who is here and not leaving, and who holds memory at all. */
  readonly staying: readonly string[];
  readonly inMemory: readonly string[];
};

export function worldOf({ budget_bytes, plugins, wanted }: FitInput): World {
  // What is declared stopped is being stopped, whether its process knows it already or not.
  const all = plugins.map((one) => (one.state === 'stopped' && one.presence !== 'absent' ? { ...one, presence: 'leaving' as const } : one));
  const byId = new Map(all.map((one) => [one.plugin, one]));
  const groups = new Map<string, readonly string[]>();
  const group = (plugin: string): readonly string[] => {
    const known = groups.get(plugin) ?? groupOf(plugin, byId);
    groups.set(plugin, known);
    return known;
  };
  const present = (plugin: string): boolean => ['starting', 'here'].includes(byId.get(plugin)?.presence ?? 'absent');
  const bytesOf = (some: Iterable<string>): number => [...some].reduce((sum, plugin) => sum + (byId.get(plugin)?.memory_bytes ?? 0), 0);
  const budget = budget_bytes ?? Infinity;

  const startable = (plugin: string): boolean => (byId.get(plugin)?.state ?? 'stopped') !== 'stopped';
  const missing = (plugin: string): readonly string[] => (present(plugin) ? group(plugin).filter((one) => !present(one) && startable(one)) : [plugin]);

  const isRunning = (plugin: string): boolean => byId.get(plugin)?.state === 'running';
  const lasting = new Set(all.map((one) => one.plugin).filter((plugin) => isRunning(plugin) && present(plugin)).flatMap(group).filter(present));
  const never = new Map<string, string>();
  const judge = (plugin: string, forGood: boolean): void => {
    const own = group(plugin);
    const why = unstartable(plugin, own, byId) ?? tooMuch({ plugin, group: own, lasting, bytesOf, budget });
    if (why !== null) never.set(plugin, why);
    else if (forGood) for (const one of own) lasting.add(one);
  };
  // Whatever the order of asking: what is on demand must fit beside all that is declared running.
  const forGood = new Set(wanted.filter(isRunning).flatMap(missing));
  for (const plugin of forGood) judge(plugin, true);
  for (const plugin of new Set(wanted.flatMap(missing))) if (!forGood.has(plugin)) judge(plugin, false);

  const inUse = all.filter((one) => one.inFlight > 0 || one.presence === 'starting').map((one) => one.plugin);
  const kept = new Set([...lasting, ...[...inUse, ...wanted.filter((plugin) => !never.has(plugin))].flatMap(group)]);
  const free = all.filter((one) => one.presence === 'here' && one.state === 'ondemand' && !kept.has(one.plugin));
  return {
    budget, byId, group, missing, bytesOf, present, startable, lasting, never, leavers: leaversOf(free, group),
    staying: all.filter((one) => present(one.plugin)).map((one) => one.plugin),
    inMemory: all.filter((one) => one.presence !== 'absent').map((one) => one.plugin),
  };
}

function leaversOf(free: readonly Loadable[], group: World['group']): readonly Leaver[] {
  const dependants = new Map<string, string[]>(free.map((one) => [one.plugin, []]));
  for (const one of free) for (const need of group(one.plugin)) if (need !== one.plugin) dependants.get(need)?.push(one.plugin);
  return free.map((one) => ({ plugin: one.plugin, bytes: one.memory_bytes ?? 0, last: one.last ?? -Infinity, dependants: dependants.get(one.plugin) ?? [] }));
}

/** By hand instead of by recursion: a chain of needs may be thousands long. */
function groupOf(plugin: string, byId: ReadonlyMap<string, Loadable>): readonly string[] {
  const seen = new Set([plugin]);
  const done: string[] = [];
  const path: { readonly plugin: string; next: number }[] = [{ plugin, next: 0 }];
  for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
    const need = byId.get(top.plugin)?.needs[top.next++];
    if (need === undefined) {
      done.push(top.plugin);
      path.pop();
    } else if (!seen.has(need)) {
      seen.add(need);
      path.push({ plugin: need, next: 0 });
    }
  }
  return done;
}

function unstartable(plugin: string, group: readonly string[], byId: ReadonlyMap<string, Loadable>): string | null {
  for (const one of group) {
    const known = byId.get(one);
    const words = known === undefined ? 'not declared' : known.state === 'stopped' ? 'declared stopped' : null;
    if (words !== null) return one === plugin ? `it is ${words}` : `it needs ${one}, which is ${words}`;
  }
  return null;
}

type Weighing = { readonly plugin: string; readonly group: readonly string[]; readonly lasting: ReadonlySet<string>; readonly bytesOf: World['bytesOf']; readonly budget: number };

/** Why it would not even fit if all left that may. */
function tooMuch({ plugin, group, lasting, bytesOf, budget }: Weighing): string | null {
  const own = bytesOf(group.filter((one) => !lasting.has(one)));
  const others = bytesOf(lasting);
  if (own === 0 || own + others <= budget) return null;
  const needs = group.filter((one) => one !== plugin && !lasting.has(one) && bytesOf([one]) > 0);
  const size = `it needs ${sizeWords(own)}${needs.length > 0 ? ` together with ${list(needs)}` : ''}`;
  const remedy = 'raise `memory`, or give it a smaller model or context';
  if (own > budget) return `${size}, and there are ${sizeWords(budget)} for all models and plugins; ${remedy}`;
  return `${size}, and of the ${sizeWords(budget)} there are, those declared running take ${sizeWords(others)}; ${remedy}, or declare one of those on demand`;
}

/** A sentence with more names than this is no longer read. */
const NAMED_MAX = 4;

export function list(words: readonly string[]): string {
  if (words.length > NAMED_MAX) return `${words.slice(0, NAMED_MAX - 1).join(', ')} and ${words.length - NAMED_MAX + 1} others`;
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`;
}

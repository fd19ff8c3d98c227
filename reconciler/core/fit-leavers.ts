// Chooses who leaves the memory so that something else has room: as few as possible, and of these who was used longest ago.

/** Somebody who may leave. `dependants` need him, may leave, too, and must leave with him. */
export type Leaver = { readonly plugin: string; readonly bytes: number; readonly last: number; readonly dependants: readonly string[] };

/** Far more than any real choice takes; needs within needs could be made to take for ever. Beyond it the choice is good, not the best. */
const STEPS_MAX = 20_000;
/** More idle models than a machine holds. The search goes as deep as there are leavers, and looks at all of them at each step. */
const SEARCHED_MAX = 200;

/** Null when all together do not make so much room. */
export function chooseLeavers(leavers: readonly Leaver[], room_bytes: number): readonly string[] | null {
  if (room_bytes <= 0) return [];
  if (total(leavers) < room_bytes) return null;
  const order = inOrder(leavers);
  if (order.length > SEARCHED_MAX) return simply(order, room_bytes);
  const bySize = order.map((leaver, index) => ({ index, bytes: leaver.bytes })).sort((one, other) => other.bytes - one.bytes);
  let steps = STEPS_MAX;

  /** The most that `count` of those from `index` on can free. */
  const most = (index: number, count: number): number => {
    let [sum, left] = [0, count];
    for (const one of bySize) {
      if (left === 0) break;
      if (one.index < index) continue;
      sum += one.bytes;
      left -= 1;
    }
    return sum;
  };

  /** Takes the first of the order wherever the rest can still make it: so the longest unused come first among equally few. */
  const search = (index: number, chosen: readonly string[], wish: { readonly room: number; readonly count: number }): readonly string[] | null => {
    const leaver = order[index];
    if (wish.room <= 0) return chosen;
    if (leaver === undefined || steps <= 0 || most(index, wish.count) < wish.room) return null;
    steps -= 1;
    const free = leaver.dependants.every((plugin) => chosen.includes(plugin));
    const taken = free ? search(index + 1, [...chosen, leaver.plugin], { room: wish.room - leaver.bytes, count: wish.count - 1 }) : null;
    return taken ?? search(index + 1, chosen, wish);
  };

  for (let count = 1; count <= order.length && steps > 0; count += 1) {
    const chosen = search(0, [], { room: room_bytes, count });
    if (chosen !== null) return chosen;
  }
  return simply(order, room_bytes);
}

const total = (leavers: readonly Leaver[]): number => leavers.reduce((sum, leaver) => sum + leaver.bytes, 0);

/** The longest unused first. Whoever is needed counts as used when those were that need him, and comes after them. */
function inOrder(leavers: readonly Leaver[]): readonly Leaver[] {
  const last = new Map(leavers.map((leaver) => [leaver.plugin, leaver.last]));
  const used = new Map(leavers.map((leaver) => [leaver.plugin, Math.max(leaver.last, ...leaver.dependants.map((plugin) => last.get(plugin) ?? -Infinity))]));
  const usedOf = (leaver: Leaver): number => used.get(leaver.plugin) ?? leaver.last;
  return [...leavers].sort((one, other) => {
    const [before, after] = [usedOf(one), usedOf(other)];
    if (before !== after) return before < after ? -1 : 1;
    if (one.dependants.length !== other.dependants.length) return one.dependants.length - other.dependants.length;
    return one.plugin < other.plugin ? -1 : 1;
  });
}

/** One after another until there is room; then whoever can stay after all stays, the last used first. */
function simply(order: readonly Leaver[], room_bytes: number): readonly string[] {
  const chosen = new Map<string, Leaver>();
  let freed = 0;
  for (const leaver of order) {
    if (freed >= room_bytes) break;
    chosen.set(leaver.plugin, leaver);
    freed += leaver.bytes;
  }
  const needers = new Map<string, number>();
  for (const one of chosen.values()) for (const plugin of one.dependants) needers.set(plugin, (needers.get(plugin) ?? 0) + 1);
  for (const leaver of [...chosen.values()].reverse()) {
    // Somebody who leaves takes along those that need him.
    if (freed - leaver.bytes < room_bytes || (needers.get(leaver.plugin) ?? 0) > 0) continue;
    chosen.delete(leaver.plugin);
    freed -= leaver.bytes;
    for (const plugin of leaver.dependants) needers.set(plugin, (needers.get(plugin) ?? 1) - 1);
  }
  return [...chosen.keys()];
}

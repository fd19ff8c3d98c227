// Decides who may start within the memory there is, and which on-demand plugins leave for it: a pure function, called on every tick.
import { chooseLeavers } from './fit-leavers.ts';
import { list, worldOf, type FitInput, type World } from './fit-world.ts';
import { sizeWords } from './units.ts';

export type Leaving = { readonly plugin: string; readonly because: string };
/** `behind`: who must end, finish or leave first; nobody where waiting will not do. `tooLarge`: nor would it if all left that may. */
export type Waiting = { readonly plugin: string; readonly because: string; readonly behind: readonly string[]; readonly tooLarge?: true };
/**
 * Each wanted plugin without a process is in `start` or in `wait`, and so is what it needs. In `start` is only who has room at this
 * moment: whoever waits for `leave` starts on a later tick, when the memory is free indeed.
 */
export type Fit = { readonly leave: readonly Leaving[]; readonly start: readonly string[]; readonly wait: readonly Waiting[] };

/**
 * A wanted one that has had its turn. `there`: it has a process. `placed`: it starts now, or as soon as those that leave are gone.
 * `busy`: its place is kept until those in the way are done. `line`: others that asked earlier come first. `never`: it cannot have a place.
 */
type Turn = {
  readonly plugin: string;
  readonly verdict: 'there' | 'placed' | 'busy' | 'line' | 'never';
  readonly group: readonly string[];
  /** Those of the group that must be started and have no place yet. */
  readonly fresh: readonly string[];
  readonly because: string;
  readonly behind: readonly string[];
};

/** What has been decided so far in this call. */
type Course = {
  readonly turns: Turn[];
  /** Those of the turns that wait for somebody. */
  readonly waiting: Turn[];
  readonly placed: Set<string>;
  /** All that will be in memory when each has its place: who lasts, and the groups of those that are there, placed or busy. */
  readonly promised: Set<string>;
  leave: readonly string[];
};

/** Behind so many that wait everybody waits: to weigh him against each of them would take longer than a tick. */
const WAITING_MAX = 100;

export function fit(input: FitInput): Fit {
  const wanted = [...new Set(input.wanted)];
  const postponed = new Map<string, Turn>();
  for (;;) {
    const asking = wanted.filter((plugin) => !postponed.has(plugin));
    const world = worldOf({ ...input, wanted: asking });
    const course: Course = { turns: [], waiting: [], placed: new Set(), promised: new Set(world.lasting), leave: [] };
    for (const plugin of asking) {
      if (world.present(plugin)) note(course, { plugin, verdict: 'there', group: world.group(plugin), fresh: [], because: '', behind: [] });
      for (const one of world.missing(plugin)) if (!postponed.has(one)) note(course, takeTurn(world, course, one));
    }
    // Each of some waits for what another one of them keeps in memory: the last of these steps back, and asks for nothing for now.
    const circle = course.waiting.findLast((turn) => waitingFor(course, turn.group).has(turn));
    if (circle === undefined) return told(world, course, [...postponed.values()]);
    const because = `it and those that asked earlier would wait for each other (${list(circle.behind)}); they go first`;
    postponed.set(circle.plugin, { ...circle, verdict: 'line', because });
  }
}

function note(course: Course, turn: Turn): void {
  course.turns.push(turn);
  if (turn.verdict === 'busy' || turn.verdict === 'line') course.waiting.push(turn);
  if (turn.verdict === 'placed') for (const one of turn.fresh) course.placed.add(one);
  if (turn.verdict !== 'line' && turn.verdict !== 'never') for (const one of turn.group) course.promised.add(one);
}

/** It gets a place, with or without others leaving for it, or it waits. */
function takeTurn(world: World, course: Course, plugin: string): Turn {
  const { bytesOf, budget } = world;
  const group = world.group(plugin);
  const fresh = group.filter((one) => !world.present(one) && !course.placed.has(one));
  const own = bytesOf(fresh);
  const turn: Turn = { plugin, verdict: 'placed', group, fresh, because: '', behind: [] };
  const held = (behind: readonly string[]): Partial<Turn> => ({ behind, because: `it needs ${sizeWords(own)}, and ${list(behind.map((one) => occupation(world, one)))}` });

  const why = world.never.get(plugin);
  if (why !== undefined) return { ...turn, verdict: 'never', because: why };
  if (own === 0) return turn;
  const ahead = aheadOf(world, course, group);
  if (ahead.length > 0) return { ...turn, verdict: 'line', ...held(ahead) };
  // For all that have a place together, not one after another: else somebody leaves for the first whom the room for the second makes needless.
  const room_bytes = bytesOf(world.staying) + bytesOf(course.placed) + own - budget;
  const leave = room_bytes <= 0 ? [] : chooseLeavers(world.leavers, room_bytes);
  if (leave === null) return { ...turn, verdict: 'busy', ...held(inTheWay(world, course, group)) };
  course.leave = leave;
  return turn;
}

// ─── What is said of it ─────────────────────────────────────────────────────────────────────────────────────────────────

function told(world: World, course: Course, postponed: readonly Turn[]): Fit {
  const start = new Set<string>();
  const wait = new Map<string, Waiting>();
  const waiting: Turn[] = [];
  for (const turn of [...course.turns, ...postponed]) {
    // Nothing is fresh of one that has its place through another that needs it: it starts or waits with that.
    if (turn.verdict === 'there' || start.has(turn.plugin) || (turn.verdict === 'placed' && turn.fresh.length === 0)) continue;
    const late = turn.verdict === 'placed' ? notYet(world, course, { turn, start }) : turn;
    if (late === null) for (const one of turn.fresh) start.add(one);
    else {
      const tooLarge = turn.verdict === 'never' && turn.group.every(world.startable);
      wait.set(turn.plugin, { plugin: turn.plugin, because: late.because, behind: late.behind, ...(tooLarge ? { tooLarge } : {}) });
      waiting.push(turn);
    }
  }
  // What they need waits with them; where several need it, it is told of one that has hope.
  for (const turn of [...waiting.filter((one) => one.verdict !== 'never'), ...waiting.filter((one) => one.verdict === 'never')]) {
    const { because, behind } = wait.get(turn.plugin) ?? turn;
    for (const one of turn.group) {
      if (wait.has(one) || start.has(one) || world.present(one) || !world.startable(one)) continue;
      wait.set(one, { plugin: one, because: `${turn.plugin} needs it, and waits: ${because}`, behind });
    }
  }
  return { leave: leaving(world, course), start: [...start], wait: [...wait.values()] };
}

function leaving(world: World, course: Course): readonly Leaving[] {
  const coming = course.turns.filter((turn) => turn.verdict === 'placed' && world.bytesOf(turn.fresh) > 0).map((turn) => turn.plugin);
  const because = `nobody uses it now, and ${list(coming)} ${coming.length === 1 ? 'needs' : 'need'} ${sizeWords(world.bytesOf(course.placed))} of ${sizeWords(world.budget)}`;
  return course.leave.map((plugin) => ({ plugin, because }));
}

/** Why one that has a place does not start at this moment; null when it does. */
function notYet(world: World, course: Course, { turn, start }: { readonly turn: Turn; readonly start: ReadonlySet<string> }): Omit<Waiting, 'plugin'> | null {
  const { bytesOf, budget, byId } = world;
  const ending = turn.fresh.filter((one) => byId.get(one)?.presence === 'leaving');
  if (ending.length > 0) {
    return { because: ending.includes(turn.plugin) ? 'its old process is finishing' : `the old process of ${list(ending)}, which it needs, is finishing`, behind: ending };
  }
  const late = turn.group.filter((one) => !world.present(one) && !start.has(one) && !turn.fresh.includes(one));
  if (late.length > 0) return { because: `it needs ${list(late)}, which must wait`, behind: late };
  const own = bytesOf(turn.fresh);
  if (own === 0 || bytesOf(world.inMemory) + bytesOf(start) + own <= budget) return null;
  const gone = world.inMemory.filter((one) => (byId.get(one)?.presence === 'leaving' || course.leave.includes(one)) && bytesOf([one]) > 0);
  return { because: `it needs ${sizeWords(own)}, and ${list(gone)} must have left the memory first`, behind: gone };
}

// ─── Who is in the way ──────────────────────────────────────────────────────────────────────────────────────────────────

/**
 * Who asked earlier and cannot be in memory together with this group: it would only have to leave again for them. Those that wait, in the
 * end, for somebody of this very group do not count: they would wait for each other for ever.
 */
function aheadOf(world: World, course: Course, group: readonly string[]): readonly string[] {
  const { bytesOf, lasting, budget } = world;
  const [first] = course.waiting;
  if (first !== undefined && course.waiting.length >= WAITING_MAX) return [first.plugin];
  const others = waitingFor(course, group);
  const counted = course.turns.filter((turn) => turn.verdict !== 'never' && turn.verdict !== 'line' && !others.has(turn));
  const together = others.size === 0 ? course.promised : new Set([...lasting, ...counted.flatMap((turn) => turn.group)]);
  if (bytesOf(together) + bytesOf(group.filter((one) => !together.has(one))) > budget) {
    return counted.filter((turn) => bytesOf(turn.group.filter((one) => !lasting.has(one) && !group.includes(one))) > 0).map((turn) => turn.plugin);
  }
  const rival = course.waiting.find((turn) => turn.verdict === 'line' && !others.has(turn) && bytesOf(new Set([...lasting, ...turn.group, ...group])) > budget);
  return rival === undefined ? [] : [rival.plugin];
}

/** Those that wait for somebody of this group, or for somebody of the group of one that does, and so on. */
function waitingFor(course: Course, group: readonly string[]): ReadonlySet<Turn> {
  const found = new Set<Turn>();
  const names = new Set(group);
  for (let before = -1; before !== found.size && course.waiting.length > 0;) {
    before = found.size;
    for (const turn of course.waiting) {
      if (found.has(turn) || !turn.behind.some((one) => names.has(one))) continue;
      found.add(turn);
      for (const one of turn.group) names.add(one);
    }
  }
  return found;
}

function inTheWay(world: World, course: Course, group: readonly string[]): readonly string[] {
  const free = new Set(world.leavers.map((leaver) => leaver.plugin));
  return [...world.staying, ...course.placed].filter((one) => !world.lasting.has(one) && !group.includes(one) && !free.has(one) && world.bytesOf([one]) > 0);
}

function occupation(world: World, plugin: string): string {
  const known = world.byId.get(plugin);
  if (known === undefined || !world.present(plugin)) return `${plugin} asked earlier`;
  if (known.presence === 'starting') return `${plugin} is still starting`;
  if (known.inFlight > 0) return `${plugin} is answering ${known.inFlight === 1 ? 'a request' : `${known.inFlight} requests`}`;
  return `${plugin} is wanted or needed, too`;
}

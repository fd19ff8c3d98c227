// What must hold of fit for any memory and any wishes: never too much at once, nobody in use leaves, nobody leaves in vain, nobody waits for ever.
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { chooseLeavers, type Leaver } from './fit-leavers.ts';
import { fit, type Fit } from './fit.ts';
import type { FitInput, Loadable } from './fit-world.ts';

const IDS = ['a', 'b', 'c', 'd', 'e', 'f'];
const RUNS = 3_000;

const often = <T>(common: T, ...rare: readonly T[]): fc.Arbitrary<T> => fc.oneof({ weight: 8, arbitrary: fc.constant(common) }, { weight: 2, arbitrary: fc.constantFrom(...rare) });

/** Needs go to earlier names only: circles are refused before anything comes here. */
const plugin = (id: string): fc.Arbitrary<Loadable> => fc.record({
  plugin: fc.constant(id),
  state: often<Loadable['state']>('ondemand', 'ondemand', 'running', 'stopped'),
  presence: fc.constantFrom<Loadable['presence']>('absent', 'absent', 'here', 'here', 'here', 'starting', 'leaving'),
  memory_bytes: fc.option(fc.integer({ min: 0, max: 6 }), { freq: 12 }),
  inFlight: often(0, 2),
  last: fc.option(fc.integer({ min: 0, max: 5 })),
  needs: often(0, 1, 2).chain((most) => fc.subarray(IDS.slice(0, IDS.indexOf(id)), { maxLength: Math.min(most, IDS.indexOf(id)) })),
}).map((one) => ({ ...one, inFlight: one.presence === 'absent' || one.presence === 'starting' ? 0 : one.inFlight }));

const inputs: fc.Arbitrary<FitInput> = fc.record({
  budget_bytes: fc.option(fc.integer({ min: 5, max: 16 }), { freq: 20 }),
  plugins: fc.tuple(...IDS.map(plugin)).chain((plugins) => fc.shuffledSubarray(plugins, { minLength: 5 })),
  wanted: fc.shuffledSubarray(IDS, { maxLength: 3 }),
});

const check = (law: (input: FitInput, found: Fit) => void): void => fc.assert(fc.property(inputs, (input) => law(input, fit(input))), { numRuns: RUNS });
/** How often the laws meet what they are about; a generator that never makes anybody leave would prove nothing. */
test('the inputs are worth it', () => {
  const seen = { leave: 0, start: 0, wait: 0 };
  check((_, found) => { for (const kind of ['leave', 'start', 'wait'] as const) seen[kind] += found[kind].length > 0 ? 1 : 0; });
  for (const [kind, count] of Object.entries(seen)) assert.ok(count > RUNS / 40, `${kind}: ${count} of ${RUNS}`);
});

const weigh = (plugins: readonly Loadable[]): number => plugins.reduce((sum, one) => sum + (one.memory_bytes ?? 0), 0);
const names = (list: readonly { readonly plugin: string }[]): readonly string[] => list.map((one) => one.plugin);
const isThere = (one: Loadable | undefined): boolean => one !== undefined && one.state !== 'stopped' && (one.presence === 'here' || one.presence === 'starting');
const named = (input: FitInput, id: string): Loadable | undefined => input.plugins.find((one) => one.plugin === id);

function withNeeds(input: FitInput, ids: readonly string[]): ReadonlySet<string> {
  const all = new Set(ids);
  for (const id of all) for (const need of named(input, id)?.needs ?? []) all.add(need);
  return all;
}

/** The world a moment later: who leaves is leaving, who starts is starting. */
const applied = (input: FitInput, found: Fit): FitInput => ({
  ...input,
  plugins: input.plugins.map((one) => (names(found.leave).includes(one.plugin) ? { ...one, presence: 'leaving' } : found.start.includes(one.plugin) ? { ...one, presence: 'starting' } : one)),
});
/** Later still: who left is gone, who started is ready, and all requests have been answered. */
const settled = (input: FitInput): FitInput => ({
  ...input,
  plugins: input.plugins.map((one) => ({ ...one, inFlight: 0, presence: one.state === 'stopped' || one.presence === 'leaving' ? 'absent' : one.presence === 'starting' ? 'here' : one.presence })),
});

test('whenever something starts, all that is in memory then is within the budget, those that are leaving included', () => {
  check((input, found) => {
    const started = input.plugins.filter((one) => found.start.includes(one.plugin));
    if (input.budget_bytes === null || weigh(started) === 0) return;
    assert.ok(weigh(input.plugins.filter((one) => one.presence !== 'absent')) + weigh(started) <= input.budget_bytes, JSON.stringify(found));
  });
});

test('nobody leaves who answers, starts, is wanted, is declared running, or is needed by somebody who stays', () => {
  check((input, found) => {
    const gone = new Set(names(found.leave));
    for (const id of gone) {
      const one = named(input, id);
      assert.equal([one?.presence, one?.state, one?.inFlight, input.wanted.includes(id)], ['here', 'ondemand', 0, false]);
      // Somebody who is leaving needs others only as long as he answers.
      const stay = input.plugins.filter((other) => (isThere(other) || other.inFlight > 0) && !gone.has(other.plugin));
      assert.not(withNeeds(input, names(stay)).has(id), JSON.stringify(found));
    }
  });
});

test('nobody leaves whom a wanted one needs, but for circles, which are named', () => {
  check((input, found) => {
    const waiting = new Set(found.wait.filter((one) => one.behind.length === 0 || /they go first|waits:/.test(one.because)).map((one) => one.plugin));
    const needed = withNeeds(input, input.wanted.filter((id) => !waiting.has(id)));
    for (const id of names(found.leave)) assert.not(needed.has(id), JSON.stringify(found));
  });
});

test('nobody leaves when nothing is wanted, or all that is wanted is there', () => {
  check((input) => {
    assert.equal(fit({ ...input, wanted: [] }), { leave: [], start: [], wait: [] });
    const there = input.wanted.filter((id) => [...withNeeds(input, [id])].every((one) => isThere(named(input, one))));
    assert.equal(fit({ ...input, wanted: there }), { leave: [], start: [], wait: [] });
  });
});

test('nobody leaves in vain: who has got a place would not have it if one of them stayed', () => {
  check((input, found) => {
    const { budget_bytes } = input;
    if (budget_bytes === null) return assert.equal(found.leave, []);
    const gone = names(found.leave);
    const placed = input.plugins.filter((one) => found.start.includes(one.plugin) || /must have left|old process|which must wait/.test(found.wait.find((other) => other.plugin === one.plugin)?.because ?? ''));
    const later = weigh(input.plugins.filter((one) => (isThere(one) && !gone.includes(one.plugin)) || placed.includes(one)));
    if (gone.length > 0) assert.ok(later <= budget_bytes, JSON.stringify(found));
    for (const id of gone) {
      // Who stays keeps those that he needs.
      const stays = weigh(input.plugins.filter((one) => gone.includes(one.plugin) && withNeeds(input, [id]).has(one.plugin)));
      assert.ok(later + stays > budget_bytes, JSON.stringify([id, found]));
    }
  });
});

test('each wanted one is there, starts or waits, with all that it needs; and only one of these', () => {
  check((input, found) => {
    for (const id of withNeeds(input, input.wanted)) {
      const one = named(input, id);
      const places = [isThere(one), found.start.includes(id), names(found.wait).includes(id), names(found.leave).includes(id)].filter(Boolean).length;
      if (one === undefined || one.state === 'stopped') assert.ok(places === (input.wanted.includes(id) ? 1 : 0) && !found.start.includes(id), JSON.stringify([id, found]));
      else assert.ok(places === 1 || (names(found.leave).includes(id) && isThere(one)), JSON.stringify([id, found]));
    }
    assert.is(new Set([...found.start, ...names(found.wait)]).size, found.start.length + found.wait.length);
    for (const { because } of [...found.wait, ...found.leave]) assert.not.match(because, /(and |\(|undefined|NaN|Infinity)$/);
    for (const id of found.start) assert.ok(!isThere(named(input, id)) && withNeeds(input, input.wanted).has(id));
  });
});

test('who starts has all that he needs there or starting before him', () => {
  check((input, found) => {
    for (const [index, id] of found.start.entries()) {
      for (const need of named(input, id)?.needs ?? []) assert.ok(isThere(named(input, need)) || found.start.slice(0, index).includes(need), JSON.stringify(found));
    }
  });
});

test('the order in which the plugins are given changes nothing', () => {
  fc.assert(fc.property(inputs.chain((input) => fc.tuple(fc.constant(input), fc.shuffledSubarray([...input.plugins], { minLength: input.plugins.length }))), ([input, plugins]) => {
    const told = ({ leave, start, wait }: Fit): unknown => [[...names(leave)].sort(), start, names(wait)];
    assert.equal(told(fit({ ...input, plugins })), told(fit(input)));
  }), { numRuns: RUNS });
});

test('once applied, nothing more is decided until something ends', () => {
  check((input, found) => {
    const again = fit(applied(input, found));
    assert.equal([again.leave, again.start], [[], []], JSON.stringify([found, again]));
  });
});

test('nobody waits for ever: when all is quiet, something is done for those who can have a place', () => {
  check((input) => {
    const quiet = settled(input);
    const absent = quiet.wanted.filter((id) => !isThere(named(quiet, id)));
    const first = fit(quiet);
    const never = first.wait.filter((one) => one.behind.length === 0).map((one) => one.plugin);
    if (absent.every((id) => never.includes(id))) return;
    // Those who are wanted and there are being served; then nobody asks for them any more.
    const asking = { ...quiet, wanted: quiet.wanted.filter((id) => absent.includes(id)) };
    const found = fit(asking);
    assert.ok(found.start.length + found.leave.length > 0, JSON.stringify(found));
    if (found.leave.length > 0) assert.ok(fit(settled(applied(asking, found))).start.length > 0, JSON.stringify(found));
  });
});

// ─── Who leaves, against trying all choices ─────────────────────────────────────────────────────────────────────────────

const leavers: fc.Arbitrary<readonly Leaver[]> = fc.tuple(...IDS.map((id, index) => fc.record({
  plugin: fc.constant(id), bytes: fc.integer({ min: 0, max: 6 }), last: fc.integer({ min: 0, max: 4 }), dependants: fc.subarray(IDS.slice(index + 1)).map((some) => some.slice(0, 1)),
})));

/** `dependants` of those that depend come along. */
const closed = (list: readonly Leaver[]): readonly Leaver[] => list.map((one) => {
  const all = new Set(one.dependants);
  for (const id of all) for (const next of list.find((other) => other.plugin === id)?.dependants ?? []) all.add(next);
  return { ...one, dependants: [...all] };
});

test('no fewer could leave, whoever leaves takes along who needs him, and without needs the longest unused come first', () => {
  fc.assert(fc.property(leavers.map(closed), fc.integer({ min: 1, max: 25 }), (list, room) => {
    const chosen = chooseLeavers(list, room);
    const choices = Array.from({ length: 2 ** list.length }, (_, bits) => list.filter((_one, index) => (bits >> index) % 2 === 1))
      .filter((some) => some.reduce((sum, one) => sum + one.bytes, 0) >= room && some.every((one) => one.dependants.every((id) => some.some((other) => other.plugin === id))));
    if (chosen === null) return assert.is(choices.length, 0);
    assert.is(chosen.length, Math.min(...choices.map((some) => some.length)));
    const taken = list.filter((one) => chosen.includes(one.plugin));
    assert.ok(choices.some((some) => some.length === taken.length && taken.every((one) => some.includes(one))));
    if (list.some((one) => one.dependants.length > 0)) return;
    const ages = (some: readonly Leaver[]): string => some.map((one) => one.last).sort((one, other) => one - other).join();
    assert.is(ages(taken), choices.filter((some) => some.length === taken.length).map(ages).sort()[0]);
  }), { numRuns: RUNS });
});

test.run();

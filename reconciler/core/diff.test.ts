// Properties of the diff: a well-behaved world converges, an empty plan is a fixed point, an edit moves only what it names.
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { diff } from './diff.ts';
import { explainPlugins } from './explain.ts';
import type { Desired, DesiredPlugin, Plan } from './types.ts';
import { desiredOf, emptyWorld, end, modelNamed, modelOf, obey, observe, pass, pluginOf, takeOver, type Luck, type World } from './world.ts';

/** install + download + stop + start + ready, each with a tick of its own, for the longest chain of needs, and room to spare. */
const TICKS_ENOUGH = 40;

const names = ['a', 'b', 'c', 'd'] as const;
const plugin = (id: string, index: number): fc.Arbitrary<DesiredPlugin> => fc.record({
  state: fc.constantFrom('running' as const, 'stopped' as const, 'ondemand' as const),
  launch: fc.constantFrom('1', '2'), config: fc.constantFrom('1', '2'), install: fc.boolean(), model: fc.constantFrom(null, 'm', 'n'),
  needs: fc.subarray(names.slice(0, index)),
}).map((drawn) => pluginOf(id, {
  state: drawn.state, launchHash: `${id}${drawn.launch}`, configHash: `${id}${drawn.config}`, install: drawn.install ? ['make'] : null, needs: drawn.needs,
  models: drawn.model === null ? [] : [{ role: 'chat', model: drawn.model, required: true, format: 'gguf', serves: [] }],
}));
const desired: fc.Arbitrary<Desired> = fc.tuple(plugin('a', 0), plugin('b', 1), plugin('c', 2), plugin('d', 3), fc.constantFrom('1', '2'))
  .chain(([a, b, c, d, source]) => fc.subarray([a, b, c, d]).map((kept) => {
    const ids = new Set(kept.map((one) => one.id));
    const plugins = kept.map((one) => ({ ...one, needs: one.needs.filter((need) => ids.has(need)) }));
    return desiredOf(plugins, [modelNamed('m', { sourceHash: `m${source}` }), modelNamed('n', { state: 'ondemand' })]);
  }));

const step = (world: World, wanted: Desired, luck?: () => Luck): Plan => {
  const plan = diff({ desired: wanted, observed: observe(world), now: world.now });
  for (const action of plan.actions) obey(world, action);
  pass(world, plan, luck);
  return plan;
};

/** What happens between two looks besides what bkg does. */
const mishap = fc.constantFrom('none' as const, 'crash' as const, 'takeover' as const, 'lost' as const);
/** A past: files that were in force for some looks, with slow starts, failures, crashes and takeovers of bkg itself. */
const past = fc.array(fc.record({ file: desired, ticks: fc.nat(6), lucks: fc.array(fc.constantFrom<Luck>('done', 'not yet', 'fails'), { minLength: 1, maxLength: 12 }), mishap }), { maxLength: 4 });

function live(world: World, chapters: typeof past extends fc.Arbitrary<infer Chapters> ? Chapters : never): void {
  for (const chapter of chapters) {
    let at = 0;
    for (let tick = 0; tick < chapter.ticks; tick += 1) step(world, chapter.file, () => chapter.lucks[(at += 1) % chapter.lucks.length]!);
    const first = world.processes[0];
    if (chapter.mishap === 'crash' && first !== undefined) end(world, first);
    if (chapter.mishap === 'takeover') takeOver(world);
    if (chapter.mishap === 'lost') world.models = {};
  }
}

/** What may rightly wait for ever: one whose need is declared stopped, or asleep behind such a one. */
const blocked = (wanted: Desired): ReadonlySet<string> => {
  const out = new Set<string>();
  for (const one of wanted.plugins) {
    if (one.needs.some((need) => out.has(need) || wanted.plugins.find((other) => other.id === need)?.state === 'stopped')) out.add(one.id);
  }
  return out;
};

function converge(world: World, wanted: Desired): void {
  const stuck = blocked(wanted);
  for (let tick = 0; tick < TICKS_ENOUGH; tick += 1) {
    const plan = step(world, wanted);
    if (plan.actions.every((action) => action.do === 'wait' && [...stuck].some((id) => action.unit === `plugin/${id}#0`))) return;
  }
  const left = diff({ desired: wanted, observed: observe(world), now: world.now });
  assert.unreachable(`not converged: ${JSON.stringify(left.actions.map((action) => [action.do, action.unit, action.because]))}`);
}

test('from any state reached by other files, a well-behaved world converges', () => {
  fc.assert(fc.property(past, desired, (chapters, wanted) => {
    const world = emptyWorld();
    live(world, chapters);
    converge(world, wanted);
    const running = new Set(world.processes.map((process) => process.plugin));
    const stuck = blocked(wanted);
    for (const one of wanted.plugins) if (one.state === 'running' && !stuck.has(one.id)) assert.ok(running.has(one.id), `${one.id} runs`);
    for (const process of world.processes) assert.is.not(wanted.plugins.find((one) => one.id === process.plugin)?.state ?? 'stopped', 'stopped');
    assert.is(new Set(world.processes.map((process) => process.slot)).size, world.processes.length, 'one process a slot');
  }), { numRuns: 300 });
});

test('an empty plan is a fixed point', () => {
  fc.assert(fc.property(desired, (wanted) => {
    const world = emptyWorld();
    converge(world, wanted);
    const before = JSON.stringify(world.processes);
    const first = diff({ desired: wanted, observed: observe(world), now: world.now });
    step(world, wanted);
    const second = diff({ desired: wanted, observed: observe(world), now: world.now });
    assert.is(JSON.stringify(world.processes), before);
    assert.equal(second.actions.map((action) => action.do), first.actions.map((action) => action.do));
  }), { numRuns: 200 });
});

test('an edit of one plugin yields no action on another', () => {
  fc.assert(fc.property(desired, fc.constantFrom('launch', 'config', 'state', 'remove'), fc.nat(), (wanted, kind, pick) => {
    fc.pre(wanted.plugins.length > 0);
    const world = emptyWorld();
    converge(world, wanted);
    const quiet = new Set(diff({ desired: wanted, observed: observe(world), now: world.now }).actions.map((action) => action.unit));
    const target = wanted.plugins[pick % wanted.plugins.length]!;
    // What others need is not only its own: leave plugins that others need, or that wake others, to the other properties.
    fc.pre(!wanted.plugins.some((one) => one.needs.includes(target.id)) && target.needs.length === 0);
    const edited = (one: DesiredPlugin): DesiredPlugin[] => {
      if (one.id !== target.id) return [one];
      if (kind === 'remove') return [];
      if (kind === 'state') return [{ ...one, state: one.state === 'running' ? 'stopped' : 'running' }];
      return [kind === 'launch' ? { ...one, launchHash: 'other' } : { ...one, configHash: 'other' }];
    };
    const next = { ...wanted, plugins: wanted.plugins.flatMap(edited) };
    for (let tick = 0; tick < TICKS_ENOUGH; tick += 1) {
      const plan = diff({ desired: next, observed: observe(world), now: world.now });
      for (const action of plan.actions) {
        const own = action.unit === `plugin/${target.id}#0` || (action.unit === 'model/n' && target.models.some((role) => role.model === 'n'));
        assert.ok(own || quiet.has(action.unit), `${action.do} on ${action.unit}: ${action.because}`);
      }
      for (const action of plan.actions) obey(world, action);
      pass(world, plan);
    }
  }), { numRuns: 300 });
});

const settledWorld = (wanted: Desired): World => {
  const world = emptyWorld();
  converge(world, wanted);
  return world;
};
const actions = (world: World, wanted: Desired): readonly string[] =>
  diff({ desired: wanted, observed: observe(world), now: world.now }).actions.map((action) => `${action.do} ${action.unit}`);

test('another revision with the same content yields no action', () => {
  const wanted = desiredOf([pluginOf('a'), pluginOf('b')]);
  assert.equal(actions(settledWorld(wanted), { ...wanted, revision: 'comment added' }), []);
});

test('the old process serves until the model of the new one is here', () => {
  const with_ = (model: string): Desired => desiredOf([pluginOf('a', { launchHash: `a-${model}`, models: [{ role: 'chat', model, required: true, format: 'gguf', serves: [] }] })], [modelNamed('m'), modelNamed('n', { state: 'ondemand' })]);
  const world = settledWorld(with_('m'));
  assert.equal(actions(world, with_('n')), ['download model/n', 'wait plugin/a#0']);
  step(world, with_('n'));
  assert.equal(actions(world, with_('n')), ['stop plugin/a#0']);
});

test('a model that goes missing under an unchanged plugin stops nothing', () => {
  const model = modelNamed('m');
  const wanted = desiredOf([pluginOf('a', { models: [{ role: 'chat', model: 'm', required: true, format: 'gguf', serves: [] }] })], [model]);
  const world = settledWorld(wanted);
  world.models['m'] = { ...modelOf(model, 'failed'), retry: world.now + 5_000 };
  assert.equal(actions(world, wanted), ['wait model/m']);
});

test('a model of another kind than its role wants starts nothing, and what runs goes on', () => {
  const role = { role: 'chat', model: 'm', required: true, format: 'gguf' as const, serves: [] };
  const wanted = desiredOf([pluginOf('a', { models: [role] })], [modelNamed('m')]);
  const world = settledWorld(wanted);
  world.models['m'] = { ...world.models['m']!, about: { format: 'other' } };
  assert.equal(actions(world, wanted), [], 'nobody stops what answers');
  world.processes = [];
  const [wait] = diff({ desired: wanted, observed: observe(world), now: world.now }).actions;
  assert.equal([wait?.do, wait?.because], ['wait', 'its model m is of another kind, and chat wants gguf; give it another one']);
  assert.equal(actions(world, desiredOf([pluginOf('a', { models: [{ ...role, format: 'any' }] })], [modelNamed('m')])), ['start plugin/a#0']);
});

test('a restart ask replaces an older process once', () => {
  const wanted = desiredOf([pluginOf('a')]);
  const world = settledWorld(wanted);
  world.asks = [{ id: 1, kind: 'restart', plugin: 'a', at: world.now }];
  assert.equal(actions(world, wanted), ['stop plugin/a#0']);
  converge(world, wanted);
  assert.equal(actions(world, wanted), []);
  assert.is(world.born, 2);
});

test('an on-demand plugin wakes for an ask and falls asleep after idle', () => {
  const wanted = desiredOf([pluginOf('a', { state: 'ondemand', idle_ms: 5_000 })]);
  const world = settledWorld(wanted);
  assert.is(world.processes.length, 0);
  world.asks = [{ id: 1, kind: 'wake', plugin: 'a', at: world.now }];
  assert.equal(actions(world, wanted), ['start plugin/a#0']);
  step(world, wanted);
  assert.is(world.processes.length, 1);
  world.now += 10_000;
  assert.equal(actions(world, wanted), ['stop plugin/a#0']);
});

test('drift that is to be reported is not healed, and ignored drift is not listed', () => {
  const wanted = (policy: 'report' | 'ignore'): Desired => ({ ...desiredOf([pluginOf('a')]), drift: { ProcessMissing: policy } });
  const seen = (policy: 'report' | 'ignore'): Plan => diff({ desired: wanted(policy), observed: observe(emptyWorld()), now: 0 });
  assert.equal([seen('report').actions.length, seen('report').drifts.length], [0, 1]);
  assert.equal([seen('ignore').actions.length, seen('ignore').drifts.length], [0, 0]);
});

test('too slow a start and too much memory are failures, and say so', () => {
  const wanted = desiredOf([pluginOf('a', { memory_bytes: 100 })]);
  const world = settledWorld(wanted);
  world.processes = world.processes.map((process) => ({ ...process, rss_bytes: 101 }));
  const over = diff({ desired: wanted, observed: observe(world), now: world.now }).actions[0];
  assert.is(over?.do === 'stop' && over.failure, 'MemoryLimit');
  world.processes = world.processes.map((process) => ({ ...process, rss_bytes: 1, phase: 'starting' as const, started: world.now - 900_000, awaited: world.now - 300_000 }));
  const late = diff({ desired: wanted, observed: observe(world), now: world.now }).actions[0];
  assert.is(late?.do === 'stop' && late.failure, 'StartTimeout');
});

test('one that was taken over before it was ready is waited for anew', () => {
  const wanted = desiredOf([pluginOf('a')]);
  const world = settledWorld(wanted);
  world.processes = world.processes.map((process) => ({ ...process, phase: 'starting' as const, ready: null, started: world.now - 900_000, awaited: world.now - 900_000 }));
  takeOver(world);
  assert.equal(actions(world, wanted), ['wait plugin/a#0']);
});

test('a back-off holds for the spec that failed, not for a corrected one', () => {
  const wanted = desiredOf([pluginOf('a')]);
  const world = settledWorld(wanted);
  for (let round = 0; round < 3; round += 1) {
    end(world, world.processes[0]!);
    step(world, wanted);
    if (world.processes.length === 0) step(world, wanted);
  }
  end(world, world.processes[0]!);
  assert.equal(actions(world, wanted), ['wait plugin/a#0']);
  assert.equal(actions(world, desiredOf([pluginOf('a', { launchHash: 'corrected' })])), ['start plugin/a#0']);
});

test('a start longer than its idle time is waited for, by an ask and by a request', () => {
  const wanted = desiredOf([pluginOf('a', { state: 'ondemand', idle_ms: 1_000, install: ['make'] })]);
  const slow = (): Luck => 'not yet';
  const reach = (world: World): void => {
    for (let tick = 0; tick < 5; tick += 1) step(world, wanted, slow);
    assert.equal(actions(world, wanted), ['wait plugin/a#0'], 'its install goes on');
    step(world, wanted);
    for (let tick = 0; tick < 5; tick += 1) step(world, wanted, slow);
    assert.equal([actions(world, wanted), world.processes[0]?.phase], [['wait plugin/a#0'], 'starting']);
    step(world, wanted);
    assert.is(world.processes[0]?.phase, 'ready');
  };
  const asked = settledWorld(wanted);
  asked.asks = [{ id: 1, kind: 'wake', plugin: 'a', at: asked.now }];
  reach(asked);
  step(asked, wanted);
  for (let tick = 0; tick < 5; tick += 1) step(asked, wanted);
  assert.is(asked.processes.length, 0, 'the ask is used up: idle, it falls asleep and stays so');

  const requested = settledWorld(wanted);
  requested.traffic['a'] = { waiting: 1, since: null, inFlight: 0, last: requested.now };
  reach(requested);
  requested.traffic['a'] = { waiting: 0, since: null, inFlight: 1, last: requested.now };
  requested.now += 60_000;
  assert.equal(actions(requested, wanted), [], 'a long answer keeps it awake');
  requested.traffic['a'] = { waiting: 0, since: null, inFlight: 0, last: requested.now };
  requested.now += 1_000;
  assert.equal(actions(requested, wanted), ['stop plugin/a#0']);
});

test('what a partly known declaration does not name is left alone', () => {
  const world = settledWorld(desiredOf([pluginOf('a'), pluginOf('b')]));
  const seen = (leaveUndeclared: boolean): readonly string[] => diff({ desired: desiredOf([pluginOf('a')]), observed: observe(world), now: world.now, leaveUndeclared }).actions.map((action) => `${action.do} ${action.unit}`);
  assert.equal([seen(true), seen(false)], [[], ['stop plugin/b#0']]);
});

test('conditions say why nothing runs', () => {
  const wanted = desiredOf([pluginOf('a'), pluginOf('b', { state: 'ondemand' }), pluginOf('c', { state: 'stopped' }), pluginOf('d', { needs: ['c'] })]);
  const world = settledWorld(wanted);
  const observed = observe(world);
  const plan = diff({ desired: wanted, observed, now: world.now });
  const said = [...explainPlugins({ desired: wanted, observed, plan, now: world.now })].map(([id, found]) => [id, found.status, found.conditions[0]?.reason]);
  assert.equal(said, [['a', 'running', 'Ready'], ['b', 'stopped', 'Asleep'], ['c', 'stopped', 'Stopped'], ['d', 'starting', 'Waiting']]);
});

test.run();

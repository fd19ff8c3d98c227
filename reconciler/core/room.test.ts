// Room in memory: on-demand plugins leave for one that is wanted, nobody leaves who is used, and what is weighed.
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { diff } from './diff.ts';
import { explainPlugins } from './explain.ts';
import type { GgufFormat } from './format.ts';
import { memoryOf } from './memory.ts';
import { memoryOfPlugin, roomOf } from './room.ts';
import type { Desired, Plan } from './types.ts';
import { desiredOf, emptyWorld, modelNamed, modelOf, obey, observe, pass, pluginOf, type World } from './world.ts';

const plan = (world: World, wanted: Desired): Plan => diff({ desired: wanted, observed: observe(world), now: world.now });
const said = (found: Plan): readonly string[] => found.actions.map((action) => `${action.do} ${action.unit.replace(/^plugin\/|#0$/g, '')}`);
function step(world: World, wanted: Desired): readonly string[] {
  const found = plan(world, wanted);
  for (const action of found.actions) obey(world, action);
  pass(world, found, () => 'done');
  return said(found);
}
const onDemand = (id: string, memory_bytes: number, needs: readonly string[] = []) => pluginOf(id, { state: 'ondemand', memory_bytes, idle_ms: 3_600_000, needs });
const waiting = (world: World) => ({ waiting: 1, since: world.now, inFlight: 0, last: world.now });
const idle = (world: World) => ({ waiting: 0, since: null, inFlight: 0, last: world.now });
const answering = (world: World) => ({ waiting: 0, since: null, inFlight: 1, last: world.now });

function worldOf(memory_bytes: number): World {
  return { ...emptyWorld(), memory_bytes };
}

test('who is idle leaves for who is wanted, which starts when the memory is free', () => {
  const wanted = desiredOf([onDemand('a', 6), onDemand('b', 6)]);
  const world = worldOf(10);
  world.traffic['a'] = waiting(world);
  assert.equal(step(world, wanted), ['start a']);
  step(world, wanted);
  world.traffic['a'] = idle(world);
  assert.equal(step(world, wanted), [], 'it stays awake while nobody needs its room');
  world.traffic['b'] = waiting(world);
  const swap = plan(world, wanted);
  assert.equal(said(swap), ['stop a', 'wait b']);
  assert.match(swap.actions[0]!.because, /nobody uses it now, and b needs 6 B of 10 B/);
  const explained = explainPlugins({ desired: wanted, observed: observe(world), plan: swap, now: world.now }).get('b');
  assert.equal([explained?.status, explained?.conditions[0]?.reason], ['starting', 'Waiting']);
  assert.match(explained?.conditions[0]?.message ?? '', /a must have left the memory first/);
  step(world, wanted);
  assert.equal(step(world, wanted), ['start b']);
  step(world, wanted);
  world.traffic['b'] = idle(world);
  assert.equal(step(world, wanted), [], 'who has left does not come back by himself');
});

test('an ask that was answered does not bring back who has left', () => {
  const wanted = desiredOf([onDemand('a', 6), onDemand('b', 6)]);
  const world = worldOf(10);
  world.asks = [{ id: 1, kind: 'wake', plugin: 'a', at: world.now }];
  step(world, wanted);
  step(world, wanted);
  world.traffic['b'] = waiting(world);
  for (let tick = 0; tick < 4; tick += 1) step(world, wanted);
  world.traffic['b'] = idle(world);
  assert.equal(world.processes.map(({ plugin }) => plugin), ['b']);
  assert.equal(step(world, wanted), []);
});

test('nobody leaves who is answering, nor one that is declared running; the wanted one waits and says for whom', () => {
  const wanted = desiredOf([pluginOf('r', { memory_bytes: 4 }), onDemand('a', 6), onDemand('b', 6)]);
  const world = worldOf(10);
  world.traffic['a'] = waiting(world);
  for (let tick = 0; tick < 3; tick += 1) step(world, wanted);
  world.traffic['a'] = answering(world);
  world.traffic['b'] = waiting(world);
  const found = plan(world, wanted);
  assert.equal(said(found), ['wait b']);
  assert.match(found.actions[0]!.because, /a is answering a request/);
  world.traffic['a'] = idle(world);
  assert.equal(said(plan(world, wanted)), ['stop a', 'wait b']);
});

test('what can never fit says what to do about it', () => {
  const wanted = desiredOf([onDemand('a', 60)]);
  const world = worldOf(10);
  world.traffic['a'] = waiting(world);
  const found = plan(world, wanted);
  assert.equal(said(found), ['wait a']);
  assert.match(found.actions[0]!.because, /it needs 60 B, and there are 10 B for all models and plugins; raise `memory`, or/);
  const explained = explainPlugins({ desired: wanted, observed: observe(world), plan: found, now: world.now }).get('a');
  assert.equal([explained?.status, explained?.conditions[0]?.reason], ['error', 'NoRoom']);
  assert.equal(said(plan(world, { ...wanted, memory_bytes: 60 })), ['start a'], 'what the file says counts, not what the machine has');
});

test('without a budget in the file what is declared running starts, however much it takes; with one it does not', () => {
  const wanted = desiredOf([pluginOf('big', { memory_bytes: 60 }), onDemand('a', 6)]);
  const world = worldOf(10);
  world.traffic['a'] = waiting(world);
  assert.equal(said(plan(world, wanted)), ['start big', 'wait a']);
  assert.equal(said(plan(world, { ...wanted, memory_bytes: 10 })), ['wait big', 'start a']);
});

test('nobody leaves for one that could not start yet', () => {
  const wanted = desiredOf([onDemand('a', 6), { ...onDemand('b', 6), models: [{ role: 'chat', model: 'm', required: true, format: 'gguf', serves: [] }] }], [modelNamed('m')]);
  const world = worldOf(10);
  world.traffic['a'] = waiting(world);
  step(world, wanted);
  step(world, wanted);
  world.traffic['a'] = idle(world);
  world.traffic['b'] = waiting(world);
  world.models['m'] = modelOf(modelNamed('m'), 'fetching');
  assert.equal(said(plan(world, wanted)), ['wait model/m', 'wait b'], 'its model is still on its way');
  world.models['m'] = { ...modelOf(modelNamed('m'), 'present'), sha256: 's' };
  assert.equal(said(plan(world, wanted)), ['stop a', 'wait b']);
});

test('whatever is asked for, what is in memory never takes more than there is, and nobody is cut off', () => {
  const plugins = [onDemand('a', 3), onDemand('b', 4), onDemand('c', 5, ['a']), onDemand('d', 6)];
  const wanted = desiredOf(plugins);
  const weight = new Map(plugins.map((plugin) => [plugin.id, plugin.memory_bytes ?? 0]));
  const event = fc.record({ plugin: fc.constantFrom('a', 'b', 'c', 'd'), what: fc.constantFrom('ask' as const, 'answer' as const, 'end' as const) });
  fc.assert(fc.property(fc.array(event, { maxLength: 30 }), (events) => {
    const world = worldOf(10);
    for (const { plugin, what } of events) {
      const isThere = world.processes.some((process) => process.plugin === plugin && process.phase === 'ready');
      if (what === 'ask' && !isThere) world.traffic[plugin] = waiting(world);
      if (what !== 'end' && isThere) world.traffic[plugin] = answering(world);
      if (what === 'end') world.traffic[plugin] = idle(world);
      const found = plan(world, wanted);
      for (const action of found.actions) if (action.do === 'stop') assert.is(world.traffic[action.plugin?.id ?? '']?.inFlight ?? 0, 0, `${action.plugin?.id ?? ''} is answering`);
      for (const action of found.actions) obey(world, action);
      assert.ok(world.processes.reduce((sum, process) => sum + (weight.get(process.plugin) ?? 0), 0) <= 10, JSON.stringify(world.processes.map(({ plugin: id }) => id)));
      pass(world, found, () => 'done');
    }
    // In the end everybody is answered, one after another.
    for (const { id } of plugins) world.traffic[id] = world.processes.some((process) => process.plugin === id && process.phase === 'ready') ? idle(world) : waiting(world);
    for (let tick = 0; tick < 60; tick += 1) {
      step(world, wanted);
      for (const process of world.processes) if (process.phase === 'ready') world.traffic[process.plugin] = idle(world);
    }
    assert.ok(Object.values(world.traffic).every((traffic) => traffic.waiting === 0), 'nobody waits for ever');
  }), { numRuns: 200 });
});

const GGUF: GgufFormat = {
  format: 'gguf', version: 3, architecture: 'llama', name: null, quantization: 'Q8_0', contextLength: 8_192, embeddingLength: 1_024, layers: 10, heads: 8, kvHeads: 8, kvHeadsOfAllLayers: 80, keyLength: 128,
  valueLength: 128, slidingWindow: null, kvHeadsOfSlidingLayers: null, causal: true, vocabulary: 1_000, tokenizer: 'gpt2', chatTemplate: true, tensors: 1, parameters: 1, tensor_bytes: 1_000_000, shard: null,
};

test('what is weighed: by its models and settings, else its limit, else what it holds', () => {
  const chat = { role: 'chat', model: 'm', required: true, format: 'gguf' as const, serves: [] };
  const plugin = pluginOf('a', { models: [chat], config: { contextSize: 2_048, parallel: 4 }, memory_bytes: 7 });
  const world = emptyWorld();
  world.models['m'] = { ...modelOf(modelNamed('m'), 'present'), about: GGUF };
  const of = (one = plugin, processes = world.processes): number | null => memoryOfPlugin(one, { observed: observe(world), processes });
  assert.is(of(), memoryOf(GGUF, { contextSize: 2_048, parallel: 4 }));
  assert.ok((of(pluginOf('a', { models: [chat], config: { contextSize: 4_096, parallel: 4 } })) ?? 0) > (of() ?? 0));
  assert.equal(roomOf({}), { contextSize: 4_096, parallel: 1 });
  world.models['m'] = modelOf(modelNamed('m'), 'fetching');
  assert.is(of(), 7, 'nobody has looked into it yet');
  obey(world, { do: 'start', unit: 'plugin/a#0', because: '', drift: 'ProcessMissing', slot: 'a#0', plugin, specHash: 's' });
  assert.is(of(pluginOf('a')), 1);
  assert.is(of(pluginOf('a'), []), null);
});

test.run();

// What an edit is answered for: its own units, however busy the others are.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { diff } from './diff.ts';
import { touchedUnits, type Outlook } from './touched.ts';
import type { Desired } from './types.ts';
import { desiredOf, emptyWorld, modelNamed, obey, observe, pass, pluginOf, type World } from './world.ts';

const outlook = (world: World, desired: Desired): Outlook => ({ desired, plan: diff({ desired, observed: observe(world), now: world.now }) });

function running(desired: Desired): World {
  const world = emptyWorld();
  for (let tick = 0; tick < 5; tick += 1) {
    const plan = diff({ desired, observed: observe(world), now: world.now });
    for (const action of plan.actions) obey(world, action);
    pass(world, plan);
  }
  return world;
}

const a = pluginOf('a');
const b = pluginOf('b');

test('the changed unit, not the ones that are busy anyway', () => {
  const world = running(desiredOf([a]));
  // b is declared and still has to start, before the edit and after it.
  const before = desiredOf([a, b]);
  const after = desiredOf([{ ...a, launchHash: 'other' }, b]);
  assert.equal(touchedUnits(outlook(world, before), outlook(world, after)), ['plugin/a#0']);
});

test('a unit that was busy and is edited counts', () => {
  const world = running(desiredOf([a]));
  const before = desiredOf([a, b]);
  assert.equal(touchedUnits(outlook(world, before), outlook(world, desiredOf([a, { ...b, launchHash: 'other' }]))), ['plugin/b#0']);
});

test('what is removed, what is added, and what has to come for it count', () => {
  const world = running(desiredOf([a, b]));
  const asks = { ...a, launchHash: 'other', models: [{ role: 'chat', model: 'm', required: true, format: 'gguf' as const, serves: [] }] };
  const after = desiredOf([asks], [modelNamed('m', { state: 'ondemand' })]);
  assert.equal(touchedUnits(outlook(world, desiredOf([a, b])), outlook(world, after)), ['model/m', 'plugin/a#0', 'plugin/b#0']);
});

test('who runs on a model waits for its new bytes, and counts; who is stopped does not', () => {
  const roles = [{ role: 'chat', model: 'm', required: true, format: 'gguf' as const, serves: [] }];
  const before = desiredOf([{ ...a, models: roles }, { ...b, models: roles, state: 'stopped' }], [modelNamed('m')]);
  const world = running(before);
  const after = { ...before, models: [modelNamed('m', { sourceHash: 'other' })] };
  assert.equal(touchedUnits(outlook(world, before), outlook(world, after)), ['model/m', 'plugin/a#0']);
});

test('an edit that gives nobody anything to do touches nothing', () => {
  const world = running(desiredOf([a, b]));
  assert.equal(touchedUnits(outlook(world, desiredOf([a, b])), outlook(world, { ...desiredOf([a, { ...b, timeout_ms: 1 }]), revision: 'next' })), []);
});

test.run();

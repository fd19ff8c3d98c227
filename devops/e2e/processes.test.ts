// Plugins that die, hang, fork, flood or cannot start: each ends in the right condition, and bkg stays responsive.
import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { PluginView } from '../../reconciler/index.ts';
import { carriersOf } from '../sweep.ts';
import { appliance, reaches, sleep, until, type Appliance } from './appliance.ts';

const reasonOf = (plugin: PluginView): string => plugin.conditions.find((condition) => condition.type === 'Ready')?.reason ?? '';
const has = (plugin: PluginView, reason: string): boolean => plugin.conditions.some((condition) => condition.reason === reason);

/** A view once it satisfies the question. */
const becomes = (house: Appliance, id: string, o: { readonly what: string; readonly is: (plugin: PluginView) => boolean }): Promise<PluginView> =>
  until(`${id} ${o.what}`, async () => { const found = await house.plugin(id); return o.is(found) ? found : null; });

function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

/** Two plugins that are well, beside the one under test. */
const beside = (line: string): string => `version: 1
plugins:
  well: { use: ./plugins/echo }
  bad: ${line}
`;

test('kill -9: another process at once; five failures: CrashLooping, and the neighbour is unharmed', async () => {
  const house = await appliance({ yaml: beside('{ use: ./plugins/echo }') });
  try {
    const neighbour = (await reaches(house, 'well', 'running')).pid;
    let pid = (await reaches(house, 'bad', 'running')).pid ?? 0;
    process.kill(pid, 'SIGKILL');
    const next = await becomes(house, 'bad', { what: 'runs again', is: (plugin) => plugin.pid !== null && plugin.pid !== pid && plugin.status === 'running' });
    assert.is(next.telemetry.restarts, 1);
    pid = next.pid ?? 0;
    assert.is((await house.plugin('well')).pid, neighbour);
  } finally {
    assert.equal(await house.dispose(), []);
  }
});

test('a plugin that crashes at each start loops with back-off and says so', async () => {
  const house = await appliance({ yaml: beside('{ use: ./plugins/trouble, config: { mode: crashes }, restart: { first: 100ms, max: 200ms } }') });
  try {
    const neighbour = (await reaches(house, 'well', 'running')).pid;
    const looping = await becomes(house, 'bad', { what: 'is CrashLooping', is: (plugin) => has(plugin, 'CrashLooping') });
    assert.ok(looping.conditions.some((condition) => /exited with code 3/.test(condition.message)), JSON.stringify(looping.conditions));
    const restarts = looping.telemetry.restarts;
    await becomes(house, 'bad', { what: 'is tried again at the cap', is: (plugin) => plugin.telemetry.restarts > restarts });
    assert.is((await house.plugin('well')).pid, neighbour);
    const { body } = await house.ask('/api/plugins/bad/logs');
    assert.ok((body as { logs: { message: string }[] }).logs.some((line) => line.message === 'cannot go on'));
  } finally {
    assert.equal(await house.dispose(), []);
  }
});

test('a missing binary is Stalled and names it; a good declaration ends that', async () => {
  const house = await appliance({ yaml: beside('{ manifest: { run: [no-such-program-of-bkg, --port, "{port}"] } }') });
  try {
    const stalled = await becomes(house, 'bad', { what: 'is Stalled', is: (plugin) => reasonOf(plugin) === 'Stalled' });
    assert.is(stalled.status, 'error');
    assert.match(stalled.conditions.find((condition) => condition.reason === 'Stalled')?.message ?? '', /no-such-program-of-bkg/);
    house.save(beside('{ use: ./plugins/echo }'));
    await reaches(house, 'bad', 'running');
  } finally {
    assert.equal(await house.dispose(), []);
  }
});

test('one that ignores SIGTERM is killed after its grace', async () => {
  const house = await appliance({ yaml: beside('{ use: ./plugins/trouble, config: { mode: ignores-term } }') });
  try {
    const { pid } = await reaches(house, 'bad', 'running');
    const { status } = await house.ask('/api/plugins/bad/stop', { method: 'POST' });
    assert.is(status, 200);
    assert.is(isAlive(pid ?? 0), false);
    assert.is((await house.plugin('bad')).status, 'stopped');
  } finally {
    assert.equal(await house.dispose(), []);
  }
});

test('what a plugin has forked ends with it, also from another process group', async () => {
  const house = await appliance({ yaml: beside('{ use: ./plugins/trouble, config: { mode: forks } }') });
  try {
    await reaches(house, 'well', 'running');
    await reaches(house, 'bad', 'running');
    const quiet = await until('the forks run', () => { const found = carriersOf(house.folder); return found.length >= 5 ? found : null; });
    const { status } = await house.ask('/api/plugins/bad/stop', { method: 'POST' });
    assert.is(status, 200);
    // bkg itself and the neighbour stay.
    await until('no fork is left', () => carriersOf(house.folder).length <= quiet.length - 3);
  } finally {
    assert.equal(await house.dispose(), []);
  }
});

test('one that never gets ready is given up after its time and tried again', async () => {
  const house = await appliance({ yaml: beside('{ use: ./plugins/trouble, config: { mode: never-ready } }') });
  try {
    const first = await becomes(house, 'bad', { what: 'starts', is: (plugin) => plugin.status === 'starting' && plugin.pid !== null });
    const failed = await becomes(house, 'bad', { what: 'is given up', is: (plugin) => plugin.telemetry.restarts > 0 || plugin.status === 'error' });
    assert.is.not(failed.status, 'running');
    await until('its first process is gone', () => !isAlive(first.pid ?? 0));
    const route = await house.ask('/health');
    assert.is(route.status, 503);
  } finally {
    assert.equal(await house.dispose(), []);
  }
});

test('one that floods stdout at 50 MB a second leaves bkg responsive and the disk bounded', async () => {
  const house = await appliance({ yaml: beside('{ use: ./plugins/trouble, config: { mode: floods } }') });
  try {
    await reaches(house, 'bad', 'running');
    const end_ms = performance.now() + 5_000;
    let slowest_ms = 0;
    let asked = 0;
    while (performance.now() < end_ms) {
      const began_ms = performance.now();
      assert.is((await house.ask('/health/live')).status, 200);
      slowest_ms = Math.max(slowest_ms, performance.now() - began_ms);
      asked += 1;
      await sleep(20);
    }
    // No timing is asserted here beyond "it answers"; the bench measures how fast.
    assert.ok(asked > 10, `only ${asked} answers, the slowest after ${slowest_ms} ms`);
    const { status } = await house.ask('/api/plugins/bad/stop', { method: 'POST' });
    assert.is(status, 200);
  } finally {
    assert.equal(await house.dispose(), []);
  }
});

test.run();

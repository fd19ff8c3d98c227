// A broken save stops nothing and is reported with its line; the next good one converges; of two quick saves the second holds.
import { mkdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Problem } from '../../schema/problem.ts';
import { appliance, reaches, sleep, until, type Appliance } from './appliance.ts';

const file = (greeting: string): string => `version: 1
plugins:
  one: { use: ./plugins/echo, config: { greeting: ${greeting} } }
  two: { use: ./plugins/echo }
`;

type File = { readonly valid: boolean; readonly revision: string | null; readonly inForce: string; readonly problems: readonly Problem[] };

const fileOf = async (house: Appliance): Promise<File> => ((await house.ask('/api/status')).body as { readonly file: File }).file;
const greetingOf = async (house: Appliance): Promise<string> => ((await house.ask('/api/plugins/one/invoke', { method: 'POST', body: { capability: 'test.echo', input: {} } })).body as { readonly greeting: string }).greeting;
const pidsOf = async (house: Appliance): Promise<readonly (number | null)[]> => (await house.plugins()).map((plugin) => plugin.pid);

async function running(): Promise<Appliance> {
  const house = await appliance({ yaml: file('first') });
  for (const id of ['one', 'two']) await reaches(house, id, 'running');
  return house;
}

test('broken saves stop nothing, name their line, and the next good one converges', async () => {
  const house = await running();
  try {
    const pids = await pidsOf(house);
    const before = await fileOf(house);
    const broken: readonly (readonly [what: string, text: string, code: RegExp, line: number])[] = [
      ['bad YAML', `${file('second')}  three: use: ./plugins/echo\n`, /Yaml/, 5],
      ['an unknown key', file('second').replace('plugins:', 'plugins:\n  three: { ussee: ./plugins/echo }'), /UnknownKey/, 3],
      ['half of the file', 'version: 1\nplugins:\n  one: { use: ./plu', /Yaml/, 3],
      ['an empty file', '', /FileEmpty/, 1],
    ];
    for (const [what, text, code, line] of broken) {
      house.save(text);
      const found = await until(`${what} is noticed`, async () => { const now = await fileOf(house); return now.problems.some((problem) => code.test(problem.code)) && !now.valid ? now : null; });
      assert.is(found.inForce, before.inForce, what);
      assert.ok(found.problems.some((problem) => problem.line === line), `${what}: ${JSON.stringify(found.problems)}`);
      assert.equal(await pidsOf(house), pids, what);
      assert.is(await greetingOf(house), 'first', what);
      const live = await house.ask('/health/live');
      assert.is(live.status, 200);
    }
    rmSync(house.config);
    mkdirSync(house.config);
    await until('a folder in its place is noticed', async () => (await fileOf(house)).problems.some((problem) => problem.code === 'FileUnreadable'));
    assert.equal(await pidsOf(house), pids);
    assert.is((await house.ask('/api/config')).status, 503);
    rmdirSync(house.config);
    await until('the missing file is noticed', async () => (await fileOf(house)).revision === null);
    assert.equal(await pidsOf(house), pids);
    writeFileSync(house.config, file('second'));
    await until('the good save is in force', async () => (await fileOf(house)).valid && (await greetingOf(house)) === 'second');
    assert.is((await pidsOf(house))[1], pids[1]);
  } finally {
    assert.equal(await house.dispose(), []);
  }
});

test('two saves 20 ms apart end at the second, however often', async () => {
  const house = await running();
  try {
    for (const round of [1, 2, 3]) {
      house.save(file(`early-${round}`));
      await sleep(20);
      house.save(file(`late-${round}`));
      await until(`save ${round} is in force`, async () => (await greetingOf(house)) === `late-${round}`);
    }
  } finally {
    assert.equal(await house.dispose(), []);
  }
});

test('a save that puts back what stood there before an edit of the API is seen', async () => {
  const house = await running();
  try {
    for (const round of [1, 2, 3]) {
      const before = readFileSync(house.config, 'utf8');
      const edited = await house.ask('/api/config/plugins/one/config', { method: 'PATCH', body: { greeting: `edited-${round}` }, headers: { 'if-match': '*', 'content-type': 'application/merge-patch+json' } });
      assert.is(edited.status, 200, JSON.stringify(edited.body));
      await sleep(20 * round);
      house.save(before);
      await until('the save is in force', async () => (await greetingOf(house)) === 'first' && (await fileOf(house)).inForce === (await fileOf(house)).revision);
    }
    // An edit that comes upon half a save waits for the other half.
    const half = file('first').slice(0, file('first').indexOf('  two:'));
    house.save(half);
    await until('half a save is held', async () => (await fileOf(house)).problems[0]?.code === 'ConfigHeld');
    const stopping = house.ask('/api/plugins/one/stop', { method: 'POST' });
    await sleep(200);
    house.save(file('first'));
    assert.is((await stopping).status, 200);
    assert.equal((await house.plugins()).map((plugin) => [plugin.id, plugin.status]), [['one', 'stopped'], ['two', 'running']]);
  } finally {
    assert.equal(await house.dispose(), []);
  }
});

test('a file that is broken at the start runs the last good revision', async () => {
  const house = await running();
  let next: Appliance | null = null;
  try {
    assert.is(await house.end(), 0);
    house.save('version: 1\nplugins: [');
    next = await house.again();
    await reaches(next, 'one', 'running');
    const found = await fileOf(next);
    assert.is(found.valid, false);
    assert.is(found.problems[0]?.line, 2);
    assert.is(await greetingOf(next), 'first');
  } finally {
    assert.equal(await next?.dispose() ?? [], []);
    assert.equal(await house.dispose(), []);
  }
});

test.run();

// Edits and restarts under load: no request is lost, an edit waits for its own units only, and a database that is held up ends nothing.
import Database from 'better-sqlite3';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { appliance, reaches, settles, until, type Appliance } from './appliance.ts';

const yaml = `version: 1
models:
  numbers: { source: "file:numbers.txt" }
plugins:
  one: { use: ./plugins/echo, models: { chat: numbers } }
  two: { use: ./plugins/echo }
`;
const files = { 'numbers.txt': 'a file that stands in for a model; the fixture reads none\n' };
const CLIENTS = 8;
const RESTARTS = 3;

type Done = { readonly outcome?: string; readonly revision: string; readonly operation: string };

async function running(text = yaml): Promise<Appliance> {
  const house = await appliance({ yaml: text, files });
  for (const id of ['one', 'two']) await reaches(house, id, 'running');
  return house;
}

test('restarts under load refuse no request, on either door', async () => {
  const house = await running();
  try {
    const statuses = new Map<string, number>();
    let over = false;
    const ask = async (path: string, body: unknown): Promise<void> => {
      while (!over) {
        const { status } = await house.ask(path, { method: 'POST', body });
        const name = `${path} ${status}`;
        statuses.set(name, (statuses.get(name) ?? 0) + 1);
      }
    };
    const clients = Array.from({ length: CLIENTS }, (_, number) => (number % 2 === 0
      ? ask('/v1/chat/completions', { model: 'numbers', messages: [{ role: 'user', content: 'count' }] })
      : ask('/api/plugins/one/invoke', { capability: 'test.echo', input: { word: 'x' } })));
    const pids = new Set<number | null>();
    for (let round = 0; round < RESTARTS; round += 1) {
      assert.is((await house.ask('/api/plugins/one/restart', { method: 'POST' })).status, 200);
      pids.add((await house.plugin('one')).pid);
    }
    over = true;
    await Promise.all(clients);
    assert.is(pids.size, RESTARTS);
    assert.equal([...statuses.keys()].sort(), ['/api/plugins/one/invoke 200', '/v1/chat/completions 200'], JSON.stringify([...statuses]));
    assert.is((await house.plugin('one')).telemetry.errors, 0);
  } finally {
    assert.equal(await house.dispose(), []);
  }
});

test('wait=converged waits for what the edit touched, all of it and nothing else', async () => {
  const house = await running(`${yaml}  broken: { use: ./plugins/trouble, config: { mode: crashes } }\n`);
  try {
    await until('the neighbour fails', async () => (await house.plugin('broken')).telemetry.restarts > 1);
    const edit = (path: string, options: { readonly method: string; readonly body?: unknown }) => house.ask(`/api/config${path}?wait=converged`, { ...options, headers: { 'if-match': '*', ...(options.body === undefined ? {} : { 'content-type': 'application/merge-patch+json' }) } });
    const changed = await edit('/plugins/one/config', { method: 'PATCH', body: { greeting: 'second' } });
    assert.equal([changed.status, (changed.body as Done).outcome], [200, 'converged'], JSON.stringify(changed.body));
    const heard = await house.ask('/api/plugins/one/invoke', { method: 'POST', body: { capability: 'test.echo', input: {} } });
    assert.is((heard.body as { greeting: string }).greeting, 'second');
    const { operation } = changed.body as Done;
    assert.is(((await house.ask(`/api/operations/${operation}`)).body as Done).outcome, 'converged');

    // Without its last entry the file is a strict prefix of the one before: bkg's own edit is not taken for half a save.
    const removed = await edit('/plugins/broken', { method: 'DELETE' });
    assert.equal([removed.status, (removed.body as Done).outcome], [200, 'converged'], JSON.stringify(removed.body));
    const { file } = (await house.ask('/api/status')).body as { file: { inForce: string; valid: boolean } };
    assert.equal([file.inForce, file.valid], [(removed.body as Done).revision, true]);
    assert.equal((await house.plugins()).map((plugin) => plugin.id), ['one', 'two']);
    const { history } = (await house.ask('/api/history?limit=2')).body as { history: { actor: string; source: string }[] };
    assert.equal(history.map((row) => row.source), ['api', 'api']);
  } finally {
    assert.equal(await house.dispose(), []);
  }
});

test('while another process holds the database, bkg goes on and catches up', async () => {
  const house = await running();
  const held = new Database(join(house.home, 'bkg.db'));
  try {
    const before = await house.plugin('two');
    held.exec('BEGIN IMMEDIATE');
    process.kill(before.pid ?? 0, 'SIGKILL');
    type Status = { readonly conditions: readonly { readonly type: string; readonly status: string }[] };
    const writable = async (): Promise<string | undefined> => ((await house.ask('/api/status')).body as Status).conditions.find((condition) => condition.type === 'StoreWritable')?.status;
    await until('it says that it cannot write', async () => (await writable()) === 'False');
    house.save(`${yaml}# edited meanwhile\n`);
    await until('the edit waits', async () => ((await house.ask('/api/status')).body as { file: { problems: { code: string }[] } }).file.problems[0]?.code === 'StoreUnwritable');
    assert.is((await house.ask('/api/plugins/one/restart', { method: 'POST' })).status, 503);
    held.exec('COMMIT');
    await until('it has caught up', async () => (await writable()) === 'True');
    await settles(house);
    const after = await reaches(house, 'two', 'running');
    assert.is.not(after.pid, before.pid);
    assert.is(house.child.exitCode, null);
  } finally {
    held.close();
    assert.equal(await house.dispose(), []);
  }
});

test.run();

// What is remembered: rows that wait while the database is held, wishes, and revisions with their texts.
import Database from 'better-sqlite3';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { emptyHistory } from '../core/settle.ts';
import { insist } from './store-later.ts';
import { openSecrets } from './secrets.ts';
import { openStore, type Store } from './store.ts';

const TEXTS_LEAST = 20;
const TEXTS_MOST = 1_000;
const TEXTS_BYTES = 64 * 2 ** 20;
const homes = mkdtempSync(join(tmpdir(), 'bkg-store-homes-'));
const HOUSE = openSecrets(join(homes, 'one'));
const ANOTHER = openSecrets(join(homes, 'another'));
const of = (bootId: string, secrets = HOUSE) => ({ bootId, secrets });
test.after(() => rmSync(homes, { recursive: true }));

async function withStore(run: (made: { readonly path: string; readonly store: Store; readonly held: Database.Database }) => void | Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'bkg-store-'));
  const path = join(folder, 'bkg.db');
  const store = openStore(path, of('boot-1'));
  const held = new Database(path);
  try {
    await run({ path, store, held });
  } finally {
    held.close();
    store.close();
    rmSync(folder, { recursive: true });
  }
}

const row = { incarnation: 'i1', slot: 'a#0', plugin: 'a', port: 40_001, specHash: 's', configHash: 'c', models: null, started: 5 };

test('rows wait while another process holds the database, and land in their last state', () => withStore(({ path, store, held }) => {
  store.begin(row);
  held.exec('BEGIN IMMEDIATE');
  store.spawned('i1', 7, 8);
  store.ready('i1', 9);
  store.saveHistory({ ...emptyHistory('a#0'), restarts: 1 });
  store.saveHistory({ ...emptyHistory('a#0'), restarts: 2 });
  assert.match(store.fault() ?? '', /locked/);
  assert.throws(() => store.begin({ ...row, incarnation: 'i2' }), /locked/);
  held.exec('COMMIT');
  store.flush();
  assert.is(store.fault(), null);
  const [found] = store.incarnations();
  assert.equal([found?.pid, found?.start_ticks, found?.ready_ms, store.histories()[0]?.restarts], [7, 8, 9, 2]);
  held.exec('BEGIN IMMEDIATE');
  store.configured('i1', 'd');
  store.end('i1');
  held.exec('COMMIT');
  store.flush();
  assert.equal(store.incarnations(), []);
  assert.is(statSync(path).mode & 0o777, 0o600);
}));

test('a wish is tried again while the database is held, and refused with the remedy when it stays so', () => withStore(async ({ store, held }) => {
  const ask = (): Promise<number> => insist(() => store.ask({ kind: 'restart', plugin: 'a', at: 1 }, 'admin'));
  held.exec('BEGIN IMMEDIATE');
  const waiting = ask();
  held.exec('COMMIT');
  const id = await waiting;
  assert.equal(store.asks(), [{ id, kind: 'restart', plugin: 'a', at: 1 }]);
  held.exec('BEGIN IMMEDIATE');
  const refused = await ask().then(() => null, (error: unknown) => error as Error & { code?: string });
  held.exec('COMMIT');
  assert.is(refused?.code, 'StoreUnwritable');
  assert.match(refused?.message ?? '', /Make room/);
  await ask();
  assert.is(store.asks().length, 1, 'the newest of a kind says all that the older ones said');
}));

test('mistakes of ours are no passing faults', () => withStore(({ store }) => {
  store.begin(row);
  assert.throws(() => store.begin(row), /UNIQUE/);
}));

test('the newest texts are kept, and the last good one however old', () => withStore(({ store }) => {
  const add = (number: number, valid: boolean): number => store.addRevision({ revision: `r${number}`, at: '', actor: 'owner', source: 'file', valid, text: `text ${number}` });
  add(1, true);
  for (let number = 2; number <= TEXTS_MOST + 5; number += 1) add(number, false);
  assert.equal([store.lastGood()?.text, store.textOf('r1'), store.textOf('r5'), store.textOf('r6'), store.textOf('r1005')], ['text 1', 'text 1', null, 'text 6', 'text 1005']);
  assert.equal(store.revisions(2).map((found) => [found.revision, found.kept]), [['r1005', true], ['r1004', true]]);
  assert.equal([store.revisionAt(5)?.kept, store.revisionLike('r1005')?.seq, store.revisionAt(2_000), store.revisionLike('x')], [false, 1_005, null, null]);
}));

test('of large texts fewer are kept, and never less than a few', () => withStore(({ store }) => {
  const text = 'x'.repeat(Math.ceil(TEXTS_BYTES / TEXTS_LEAST));
  for (let number = 1; number <= TEXTS_LEAST + 2; number += 1) store.addRevision({ revision: `r${number}`, at: '', actor: 'owner', source: 'file', valid: true, text });
  assert.equal(store.revisions(TEXTS_LEAST + 2).map(({ kept }) => kept), [...Array<boolean>(TEXTS_LEAST).fill(true), false, false]);
}));

test('of another boot only what is not about time is read', () => withStore(({ path, store }) => {
  store.begin(row);
  store.saveHistory({ ...emptyHistory('a#0'), restarts: 3 });
  store.ask({ kind: 'wake', plugin: 'a', at: 1 }, 'admin');
  const next = openStore(path, of('boot-2'));
  assert.equal([next.histories(), next.asks(), next.lastPort('a#0'), next.incarnations()[0]?.boot_id], [[], [], 40_001, 'boot-1']);
  next.close();
}));

test('a database of an older bkg is taken over: of its processes nobody knows the models', () => withStore(({ path, store, held }) => {
  store.begin({ ...row, models: [{ name: 'm', role: 'chat', serves: ['llm.chat'] }] });
  assert.is(store.incarnations()[0]?.models, '[{"name":"m","role":"chat","serves":["llm.chat"]}]');
  held.exec('ALTER TABLE incarnations DROP COLUMN models');
  held.pragma('user_version = 1');
  const next = openStore(path, of('boot-1'));
  assert.equal(next.incarnations().map(({ incarnation, models }) => [incarnation, models]), [['i1', null]]);
  next.close();
}));

test('texts of the file are kept so that only this home reads them; those of an older bkg, too', () => withStore(({ path, store, held }) => {
  const revision = { revision: 'r', at: '', actor: 'owner', source: 'file', valid: true };
  store.addRevision({ ...revision, text: 'password: in plain text' });
  const kept = (): string => held.prepare('SELECT text FROM revisions').pluck().get() as string;
  assert.not(kept().includes('plain'));
  assert.is(store.lastGood()?.text, 'password: in plain text');
  assert.is(store.textOf('r'), 'password: in plain text');
  const stranger = openStore(path, of('boot-1', ANOTHER));
  assert.equal([stranger.lastGood(), stranger.textOf('r')], [null, null]);
  stranger.close();
  held.prepare('UPDATE revisions SET text = ?').run('version: 1 # of before');
  held.pragma('user_version = 2');
  const next = openStore(path, of('boot-1'));
  assert.is(next.lastGood()?.text, 'version: 1 # of before');
  assert.not(kept().includes('version'));
  next.close();
}));

test('usage: sums by the hour outlive the single requests, and failures are the plugin\'s', () => withStore(({ path, store }) => {
  const hour = Date.UTC(2026, 5, 1, 10);
  const one = { at: hour + 60_000, key: 'ci', user: 'anna', plugin: 'llmserver', model: 'mini', capability: 'llm.chat', status: 200, promptTokens: 3, completionTokens: 5, latency_ms: 10 };
  store.account(one);
  store.account({ ...one, at: hour + 120_000, status: 502, latency_ms: 30 });
  store.account({ ...one, at: hour + 3_600_000, key: null, status: 429 });
  store.flushUsage();
  const query = { from: hour, to: hour + 2 * 3_600_000, key: null, user: null, plugin: null, model: null };
  assert.equal(store.usage({ ...query, by: 'key' }), [
    { name: 'ci', requests: 2, errors: 1, promptTokens: 6, completionTokens: 10, latency_ms: 20 }, { name: '', requests: 1, errors: 0, promptTokens: 3, completionTokens: 5, latency_ms: 10 },
  ]);
  assert.equal(store.usage({ ...query, by: 'hour', key: 'ci' }).map(({ name, requests }) => [name, requests]), [['2026-06-01T10:00:00Z', 2]]);
  assert.equal(store.usage({ ...query, by: 'total', to: hour + 3_600_000 }).map(({ requests }) => requests), [2]);
  const next = openStore(path, of('boot-2'));
  assert.is(next.usage({ ...query, by: 'total' })[0]?.requests, 3);
  next.close();
}));

test('a database of a newer bkg is refused with the remedy', () => withStore(({ path, held }) => {
  held.pragma('user_version = 99');
  assert.throws(() => openStore(path, of('boot-1')), /written by a newer bkg .*another --home/);
}));

test.run();

// The audit log against a real database: rows that are changed, cut off, forgotten on purpose, or kept waiting by a disk that takes nothing.
import Database from 'better-sqlite3';
import { createHmac } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { AUDIT_SCHEMA, auditRows, beginAudit } from './store-audit.ts';
import { openLater } from './store-later.ts';

const seal = (text: string): string => createHmac('sha256', 'of the house').update(text).digest('hex');

type Made = { readonly db: Database.Database; readonly log: ReturnType<typeof auditRows>; readonly flush: () => void };

async function withLog(run: (made: Made) => void | Promise<void>, kept?: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'bkg-audit-'));
  const db = new Database(join(folder, 'bkg.db'), { timeout: 0 });
  db.pragma('journal_mode = WAL');
  db.exec(AUDIT_SCHEMA);
  beginAudit(db, seal);
  const later = openLater();
  try {
    await run({ db, flush: later.flush, log: auditRows(db, { later, seal, ...(kept === undefined ? {} : { kept }) }) });
  } finally {
    db.close();
    rmSync(folder, { recursive: true });
  }
}

const write = ({ log }: Made, count: number): void => {
  for (let index = 1; index <= count; index += 1) log.audit({ actor: 'anna', source: 'api', action: index === 3 ? 'key.create' : 'login', target: `t${index}` });
};
const all = { limit: 100_000, before: 1_000_000, action: null, actor: null };

test('a changed row is told, a missing one, and one that was cut off at either end', () => withLog(async (made) => {
  const { db, log } = made;
  write(made, 5);
  assert.is(await log.auditFault(), null);
  assert.equal(log.audits({ limit: 2, before: 5, action: null, actor: null }).map(({ target }) => target), ['t4', 't3']);
  assert.equal(log.audits({ limit: 9, before: 99, action: 'key.', actor: 'anna' }).map(({ seq, action }) => [seq, action]), [[3, 'key.create']]);
  assert.equal(log.audits({ limit: 9, before: 99, action: 'key', actor: null }), []);
  const rows = db.prepare('SELECT * FROM audit').all() as Record<string, unknown>[];
  const put = db.prepare('INSERT OR REPLACE INTO audit (seq, at, actor, source, address, action, target, outcome, revision, detail, hash) VALUES (@seq, @at, @actor, @source, @address, @action, @target, @outcome, @revision, @detail, @hash)');
  const after = async (change: string): Promise<string | undefined> => {
    db.exec(change);
    const found = await log.auditFault();
    for (const row of rows) put.run(row);
    assert.is(await log.auditFault(), null);
    return found?.message;
  };
  assert.is(await after("UPDATE audit SET actor = 'mallory' WHERE seq = 3"), 'row 3 is not what was written');
  assert.is(await after('DELETE FROM audit WHERE seq = 3'), 'row 3 is missing');
  assert.is(await after('DELETE FROM audit WHERE seq < 3'), 'row 1 is missing');
  assert.is(await after("DELETE FROM audit WHERE seq > 3; UPDATE sqlite_sequence SET seq = 3 WHERE name = 'audit'"), 'rows 4 to 5 are missing');
}));

test('what was cut off its end is missed also once more was written, and after a new start', () => withLog(async (made) => {
  write(made, 5);
  const ends = made.db.prepare('SELECT * FROM audit_ends').get() as Record<string, unknown>;
  write(made, 2);
  // Ends that were right once are put back with the rows.
  made.db.exec("DELETE FROM audit WHERE seq > 5; UPDATE sqlite_sequence SET seq = 5 WHERE name = 'audit'");
  made.db.prepare('UPDATE audit_ends SET last = @last, hash = @hash, seal = @seal').run(ends);
  write(made, 1);
  assert.is((await made.log.auditFault())?.message, 'row 6 is missing');
  const again = auditRows(made.db, { later: openLater(), seal });
  assert.is((await again.auditFault())?.message, 'row 6 is missing');
  made.db.exec("DELETE FROM audit WHERE seq > 5; UPDATE sqlite_sequence SET seq = 5 WHERE name = 'audit'");
  again.audit({ actor: 'anna', source: 'api', action: 'login', target: 'next' });
  assert.is((await again.auditFault())?.message, 'row 6 is missing');
}));

test('a log from before its ends were kept: what SQLite numbered and is not there is missed', () => withLog(async (made) => {
  write(made, 5);
  made.db.exec('DELETE FROM audit WHERE seq > 3; DELETE FROM audit_ends');
  beginAudit(made.db, seal);
  assert.is((await auditRows(made.db, { later: openLater(), seal }).auditFault())?.message, 'rows 4 to 5 are missing');
}));

test('ends that somebody has moved, or that another key has sealed, are told; what is written since is checked all the same, and goes on', () => withLog(async (made) => {
  write(made, 5);
  made.db.exec("DELETE FROM audit WHERE seq > 3; UPDATE audit_ends SET last = 3, hash = (SELECT hash FROM audit WHERE seq = 3)");
  const again = auditRows(made.db, { later: openLater(), seal, kept: 10 });
  assert.match((await again.auditFault())?.message ?? '', /^rows 1 to 3 were sealed with another key/);
  write({ ...made, log: again }, 4);
  assert.match((await again.auditFault())?.message ?? '', /^rows 1 to 3 were sealed .* from row 4 on all is as it was written$/);
  made.db.exec("UPDATE audit SET actor = 'mallory' WHERE seq = 5");
  assert.is((await again.auditFault())?.message, 'row 5 is not what was written');
  write({ ...made, log: again }, 20);
  assert.is(await again.auditFault(), null, 'they are forgotten in time');
}));

test('the oldest rows are forgotten, and the chain holds from where it then begins', () => withLog(async (made) => {
  write(made, 25);
  const rows = made.log.audits(all);
  assert.ok(rows.length <= 10 && rows.length > 0, String(rows.length));
  assert.is(rows[0]!.seq, 25);
  assert.is(await made.log.auditFault(), null);
  made.db.exec(`DELETE FROM audit WHERE seq = ${rows.at(-1)!.seq}`);
  assert.is((await made.log.auditFault())?.seq, rows.at(-1)!.seq);
}, 10));

test('rows wait for a disk that takes nothing, in their order; beyond a bound their number is told', () => withLog(async (made) => {
  const other = new Database(made.db.name);
  other.exec('BEGIN IMMEDIATE');
  write(made, 10_003);
  assert.equal(made.log.audits(all), []);
  other.exec('ROLLBACK');
  other.close();
  made.flush();
  made.log.audit({ actor: 'anna', source: 'api', action: 'login', target: 'last' });
  const rows = made.log.audits(all);
  assert.equal(rows.slice(0, 3).map(({ action, target, detail }) => [action, target, detail]), [['login', 'last', null], ['audit.gap', 'audit', '{"rows":3}'], ['login', 't10000', null]]);
  assert.is(await made.log.auditFault(), null);
}));

test.run();

// The audit log: who did what, each row sealed over the row before, so that a changed or missing row is found.
import type Database from 'better-sqlite3';
import type { AuditEntry, AuditFault, AuditRow } from './door.ts';
import type { Later } from './store-later.ts';

/** `audit_ends` has one row: where the log begins and ends, sealed too, so that rows cut off at either end are missed. */
export const AUDIT_SCHEMA = `
  CREATE TABLE IF NOT EXISTS audit (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, actor TEXT NOT NULL, source TEXT NOT NULL, address TEXT, action TEXT NOT NULL, target TEXT NOT NULL,
    outcome TEXT NOT NULL, revision TEXT, detail TEXT, hash TEXT NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS audit_ends (id INTEGER PRIMARY KEY CHECK (id = 1), first INTEGER NOT NULL, before TEXT NOT NULL, last INTEGER NOT NULL, hash TEXT NOT NULL, seal TEXT NOT NULL) STRICT;
`;

/** What stands before the first row. */
const BEGINNING = 'audit';
/** Rows read in one go while the chain is checked: a few milliseconds, then others have their turn. */
const CHECK_ROWS = 1_000;
/** Rows kept; about 300 bytes each. */
const KEPT_MAX = 1_000_000;
/** So many of the oldest go at once. */
const FORGOTTEN_AT_ONCE = 10_000;
/** Rows that a full disk may keep waiting in memory; of more only their number is kept. */
const WAITING_MAX = 10_000;

type Sealed = AuditRow & { readonly hash: string };
/** `before` and `hash`: of the row before the first and of the last. */
type Ends = { readonly first: number; readonly before: string; readonly last: number; readonly hash: string };
type Seal = (text: string) => string;

/** All that is told, in one order. */
const textOf = (row: Omit<AuditRow, 'seq'>): string => JSON.stringify([row.at, row.actor, row.source, row.address, row.action, row.target, row.outcome, row.revision, row.detail]);
const sealOf = (seal: Seal, { first, before, last, hash }: Ends): string => seal(`ends\n${JSON.stringify([first, before, last, hash])}`);

function endsRow(db: Database.Database, seal: Seal) {
  const get = db.prepare('SELECT first, before, last, hash, seal FROM audit_ends WHERE id = 1');
  const set = db.prepare('INSERT OR REPLACE INTO audit_ends (id, first, before, last, hash, seal) VALUES (1, @first, @before, @last, @hash, @seal)');
  return {
    /** Null where there is none that this house has sealed. */
    read(): Ends | null {
      const row = get.get() as (Ends & { readonly seal: string }) | undefined;
      return row !== undefined && row.seal === sealOf(seal, row) ? row : null;
    },
    write: (ends: Ends): void => { set.run({ ...ends, seal: sealOf(seal, ends) }); },
  };
}

/** Of a log that was written before its ends were kept, and of a new one. */
export function beginAudit(db: Database.Database, seal: Seal): void {
  const last = db.prepare('SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1').get() as { readonly seq: number; readonly hash: string } | undefined;
  endsRow(db, seal).write({ first: 1, before: BEGINNING, last: last?.seq ?? 0, hash: last?.hash ?? BEGINNING });
}

/** `seal`: keyed, so that whoever changes a row cannot seal it anew without the key of the house. */
export function auditRows(db: Database.Database, { later, seal, kept = KEPT_MAX }: { readonly later: Later; readonly seal: Seal; readonly kept?: number }) {
  const add = db.prepare('INSERT INTO audit (at, actor, source, address, action, target, outcome, revision, detail, hash) VALUES (@at, @actor, @source, @address, @action, @target, @outcome, @revision, @detail, @hash)');
  const last = db.prepare('SELECT hash FROM audit ORDER BY seq DESC LIMIT 1').pluck();
  const hashAt = db.prepare('SELECT hash FROM audit WHERE seq = ?').pluck();
  const forget = db.prepare('DELETE FROM audit WHERE seq <= ?');
  const list = db.prepare(`SELECT seq, at, actor, source, address, action, target, outcome, revision, detail FROM audit WHERE seq < @before AND (@action IS NULL OR action = @action OR (@action LIKE '%.' AND substr(action, 1, length(@action)) = @action)) AND (@actor IS NULL OR actor = @actor) ORDER BY seq DESC LIMIT @limit`);
  const ends = endsRow(db, seal);
  const append = db.transaction((row: Omit<AuditRow, 'seq'>) => {
    const hash = seal(`${(last.get() as string | undefined) ?? BEGINNING}\n${textOf(row)}`);
    const seq = Number(add.run({ ...row, hash }).lastInsertRowid);
    const known = ends.read();
    // Ends that somebody has changed stay as they are: the check tells.
    if (known === null) return;
    const gone = seq - known.first >= kept ? known.first + Math.min(FORGOTTEN_AT_ONCE, kept) - 1 : null;
    const before = gone === null ? known.before : (hashAt.get(gone) as string | undefined) ?? known.before;
    if (gone !== null) forget.run(gone);
    ends.write({ first: gone === null ? known.first : gone + 1, before, last: seq, hash });
  });
  let written = 0;
  let waiting = 0;
  let lost = 0;
  const write = (row: Omit<AuditRow, 'seq'>): void => {
    written += 1;
    waiting += 1;
    // Rows that wait land in their order, each sealed over what is then the last one.
    later.write(`audit ${written}`, () => {
      append.immediate(row);
      waiting -= 1;
    });
  };
  return {
    /** Never keeps what was done from being done: a row the disk does not take waits. */
    audit(entry: AuditEntry): void {
      const row = { address: null, outcome: 'done', revision: null, detail: null, ...entry, at: new Date().toISOString() };
      if (waiting >= WAITING_MAX) {
        lost += 1;
        return;
      }
      if (lost > 0) {
        write({ ...row, actor: 'bkg', source: 'bkg', address: null, action: 'audit.gap', target: 'audit', outcome: 'failed', revision: null, detail: JSON.stringify({ rows: lost }) });
        lost = 0;
      }
      write(row);
    },
    /** The newest first. `action`: `key.create`, or `key.` for all about keys. */
    audits: (query: { readonly limit: number; readonly before: number; readonly action: string | null; readonly actor: string | null }): readonly AuditRow[] => list.all(query) as AuditRow[],
    auditFault: (): Promise<AuditFault | null> => checkAudit(db, seal),
  };
}

/** The first row that is not what was written, or what is missing; null when all is as it was written. */
async function checkAudit(db: Database.Database, seal: Seal): Promise<AuditFault | null> {
  const read = db.prepare('SELECT * FROM audit WHERE seq > ? ORDER BY seq LIMIT ?');
  const ends = endsRow(db, seal).read();
  if (ends === null) return { seq: 0, message: 'what is kept of where the log begins and ends is not what was written' };
  let before = { seq: ends.first - 1, hash: ends.before };
  for (;;) {
    const rows = read.all(before.seq, CHECK_ROWS) as Sealed[];
    for (const row of rows) {
      if (row.seq !== before.seq + 1) return { seq: before.seq + 1, message: `row ${before.seq + 1} is missing` };
      if (seal(`${before.hash}\n${textOf(row)}`) !== row.hash) return { seq: row.seq, message: `row ${row.seq} is not what was written` };
      before = row;
    }
    if (rows.length < CHECK_ROWS) break;
    await new Promise((resolve) => { setImmediate(resolve); });
    // What was forgotten meanwhile is not missing.
    const now = endsRow(db, seal).read();
    if (now !== null && now.first > before.seq) before = { seq: now.first - 1, hash: now.before };
  }
  return before.seq < ends.last ? { seq: before.seq + 1, message: `rows ${before.seq + 1} to ${ends.last} are missing` } : null;
}

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
/** Rows kept; some 300 bytes each, and a look for rare ones goes through them all. */
const KEPT_MAX = 250_000;
/** Beyond it this share of the oldest goes at once. */
const FORGOTTEN_SHARE = 20;
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

/** Of a new log, and of one that was written before its ends were kept: what SQLite has numbered was written, also what is no longer there. */
export function beginAudit(db: Database.Database, seal: Seal): void {
  const last = lastOf(db);
  const numbered = (db.prepare("SELECT seq FROM sqlite_sequence WHERE name = 'audit'").pluck().get() as number | undefined) ?? 0;
  endsRow(db, seal).write({ first: 1, before: BEGINNING, last: Math.max(numbered, last.seq), hash: last.hash });
}

type Head = { readonly seq: number; readonly hash: string };
const lastOf = (db: Database.Database): Head => (db.prepare('SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1').get() as Head | undefined) ?? { seq: 0, hash: BEGINNING };

/** `seal`: keyed, so that whoever changes a row cannot seal it anew without the key of the house. */
export function auditRows(db: Database.Database, { later, seal, kept = KEPT_MAX }: { readonly later: Later; readonly seal: Seal; readonly kept?: number }) {
  const add = db.prepare('INSERT INTO audit (seq, at, actor, source, address, action, target, outcome, revision, detail, hash) VALUES (@seq, @at, @actor, @source, @address, @action, @target, @outcome, @revision, @detail, @hash)');
  const hashAt = db.prepare('SELECT hash FROM audit WHERE seq = ?').pluck();
  const forget = db.prepare('DELETE FROM audit WHERE seq <= ?');
  const list = db.prepare(`SELECT seq, at, actor, source, address, action, target, outcome, revision, detail FROM audit WHERE seq < @before AND (@action IS NULL OR action = @action OR (@action LIKE '%.' AND substr(action, 1, length(@action)) = @action)) AND (@actor IS NULL OR actor = @actor) ORDER BY seq DESC LIMIT @limit`);
  const endsOf = endsRow(db, seal);
  // Kept here while bkg runs: what somebody does to the file meanwhile is not built upon, so the next row does not hide it.
  let ends = endsOf.read();
  if (ends === null) {
    // Sealed with another key of this house, or changed: what follows stands on its own, and the check says so of what was before.
    const { seq, hash } = lastOf(db);
    ends = { first: seq + 1, before: hash, last: seq, hash };
  }
  let known: Ends = ends;
  const append = db.transaction((rows: readonly Omit<AuditRow, 'seq'>[]): Ends => {
    let { first, before, last, hash } = known;
    for (const row of rows) {
      last = Math.max(last, lastSeq()) + 1;
      hash = seal(`${hash}\n${textOf(row)}`);
      add.run({ ...row, seq: last, hash });
    }
    if (last - first >= kept) {
      const gone = last - kept + Math.ceil(kept / FORGOTTEN_SHARE);
      before = (hashAt.get(gone) as string | undefined) ?? before;
      first = gone + 1;
      forget.run(gone);
    }
    const next = { first, before, last, hash };
    endsOf.write(next);
    return next;
  });
  const lastSeq = (): number => lastOf(db).seq;
  let written = 0;
  let waiting = 0;
  let lost = 0;
  let checking: Promise<AuditFault | null> | null = null;
  const write = (rows: readonly Omit<AuditRow, 'seq'>[]): void => {
    written += 1;
    waiting += rows.length;
    // Rows that wait land in their order, each sealed over what is then the last one.
    later.write(`audit ${written}`, () => {
      known = append.immediate(rows);
      waiting -= rows.length;
    });
  };
  return {
    /** Never keeps what was done from being done: rows the disk does not take wait. Those of one deed are written together. */
    audit(...entries: readonly AuditEntry[]): void {
      const at = new Date().toISOString();
      const rows = entries.map((entry) => ({ address: null, outcome: 'done', revision: null, detail: null, ...entry, at }));
      if (rows.length === 0) return;
      if (waiting > 0 && waiting + rows.length > WAITING_MAX) {
        lost += rows.length;
        return;
      }
      const gap = lost === 0 ? [] : [{ at, actor: 'bkg', source: 'bkg', address: null, action: 'audit.gap', target: 'audit', outcome: 'failed', revision: null, detail: JSON.stringify({ rows: lost }) }];
      lost = 0;
      write([...gap, ...rows]);
    },
    /** The newest first. `action`: `key.create`, or `key.` for all about keys. */
    audits: (query: { readonly limit: number; readonly before: number; readonly action: string | null; readonly actor: string | null }): readonly AuditRow[] => list.all(query) as AuditRow[],
    /** The first row that is not what was written, or what is missing; null when all is as it was written. Several who ask share one look. */
    auditFault: (): Promise<AuditFault | null> => (checking ??= checkAudit(db, seal, () => known).finally(() => { checking = null; })),
  };
}

async function checkAudit(db: Database.Database, seal: Seal, known: () => Ends): Promise<AuditFault | null> {
  const read = db.prepare('SELECT * FROM audit WHERE seq > ? ORDER BY seq LIMIT ?');
  let before: Head = { seq: known().first - 1, hash: known().before };
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
    if (known().first > before.seq + 1) before = { seq: known().first - 1, hash: known().before };
  }
  const { first, last } = known();
  if (before.seq < last) return { seq: before.seq + 1, message: `rows ${before.seq + 1} to ${last} are missing` };
  const older = db.prepare('SELECT MIN(seq) FROM audit WHERE seq < ?').pluck().get(first) as number | null;
  return older === null ? null : { seq: older, message: `rows ${older} to ${first - 1} were sealed with another key of this home, or somebody has changed where the log begins; from row ${first} on all is as it was written` };
}

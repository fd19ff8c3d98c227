// The audit log: who did what, each row sealed over the row before, so that a changed or missing row is found.
import type Database from 'better-sqlite3';
import type { AuditEntry, AuditFault, AuditRow } from './door.ts';
import type { Later } from './store-later.ts';

export const AUDIT_SCHEMA = `
  CREATE TABLE IF NOT EXISTS audit (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, actor TEXT NOT NULL, source TEXT NOT NULL, address TEXT, action TEXT NOT NULL, target TEXT NOT NULL,
    outcome TEXT NOT NULL, revision TEXT, detail TEXT, hash TEXT NOT NULL) STRICT;
`;

/** What stands before the first row. */
const BEGINNING = 'audit';
/** Rows read at once while the chain is checked. */
const CHECK_ROWS = 10_000;

type Sealed = AuditRow & { readonly hash: string };

/** All that is told, in one order. */
const textOf = (row: Omit<AuditRow, 'seq'>): string => JSON.stringify([row.at, row.actor, row.source, row.address, row.action, row.target, row.outcome, row.revision, row.detail]);

/** `seal`: keyed, so that whoever changes a row cannot seal it anew without the key of the house. */
export function auditRows(db: Database.Database, { later, seal }: { readonly later: Later; readonly seal: (text: string) => string }) {
  const add = db.prepare('INSERT INTO audit (at, actor, source, address, action, target, outcome, revision, detail, hash) VALUES (@at, @actor, @source, @address, @action, @target, @outcome, @revision, @detail, @hash)');
  const last = db.prepare('SELECT hash FROM audit ORDER BY seq DESC LIMIT 1').pluck();
  const list = db.prepare(`SELECT seq, at, actor, source, address, action, target, outcome, revision, detail FROM audit WHERE seq < @before AND (@action IS NULL OR action = @action OR (@action LIKE '%.' AND substr(action, 1, length(@action)) = @action)) AND (@actor IS NULL OR actor = @actor) ORDER BY seq DESC LIMIT @limit`);
  let written = 0;
  return {
    /** Never keeps what was done from being done: a row the disk does not take waits. */
    audit(entry: AuditEntry): void {
      const row = { address: null, outcome: 'done', revision: null, detail: null, ...entry, at: new Date().toISOString() };
      written += 1;
      // Rows that wait land in their order, each sealed over what is then the last one.
      later.write(`audit ${written}`, () => add.run({ ...row, hash: seal(`${(last.get() as string | undefined) ?? BEGINNING}\n${textOf(row)}`) }));
    },
    /** The newest first. `action`: `key.create`, or `key.` for all about keys. */
    audits: (query: { readonly limit: number; readonly before: number; readonly action: string | null; readonly actor: string | null }): readonly AuditRow[] => list.all(query) as AuditRow[],
    auditFault: (): AuditFault | null => checkAudit(db, seal),
  };
}

/** The first row that is not what was written, or what is missing; null when all is as it was written. */
export function checkAudit(db: Database.Database, seal: (text: string) => string): AuditFault | null {
  const read = db.prepare('SELECT * FROM audit WHERE seq > ? ORDER BY seq LIMIT ?');
  let before = { seq: 0, hash: BEGINNING };
  for (;;) {
    const rows = read.all(before.seq, CHECK_ROWS) as Sealed[];
    for (const row of rows) {
      if (row.seq !== before.seq + 1) return { seq: before.seq + 1, message: `row ${before.seq + 1} is missing` };
      if (seal(`${before.hash}\n${textOf(row)}`) !== row.hash) return { seq: row.seq, message: `row ${row.seq} is not what was written` };
      before = row;
    }
    if (rows.length < CHECK_ROWS) break;
  }
  const numbered = (db.prepare("SELECT seq FROM sqlite_sequence WHERE name = 'audit'").pluck().get() as number | undefined) ?? 0;
  return numbered > before.seq ? { seq: before.seq + 1, message: `rows ${before.seq + 1} to ${numbered} are missing` } : null;
}

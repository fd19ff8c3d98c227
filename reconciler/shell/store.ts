// SQLite: what was started, what failed, what was asked, which revisions were in force. Never desired state.
import Database from 'better-sqlite3';
import { chmodSync } from 'node:fs';
import type { Ask, History, ObservedModel, Serving } from '../core/types.ts';
import { AUDIT_SCHEMA, auditRows, beginAudit } from './store-audit.ts';
import { openLater, type Later } from './store-later.ts';
import { PEOPLE_SCHEMA, peopleRows } from './store-people.ts';
import type { Revision } from './records.ts';
import type { Secrets } from './secrets.ts';
import { USAGE_SCHEMA, usageRows } from './store-usage.ts';

/** A lock held by another process blocks the event loop while it lasts: give up soon and try on a later tick. */
const BUSY_TIMEOUT_MS = 50;
/** Revisions kept with their text, whatever they weigh; and more, up to so many, within so many bytes. Older ones keep their row only. */
const TEXTS_LEAST = 20;
const TEXTS_MOST = 1_000;
const TEXTS_BYTES = 64 * 2 ** 20;
const SCHEMA_VERSION = 4;
/** Enough to tell two hashes of one house apart. */
const HASH_ID_LENGTH = 16;

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS incarnations (
    incarnation TEXT PRIMARY KEY, slot TEXT NOT NULL, plugin TEXT NOT NULL, boot_id TEXT NOT NULL,
    pid INTEGER, start_ticks INTEGER, port INTEGER NOT NULL, spec_hash TEXT NOT NULL, config_hash TEXT NOT NULL,
    started_ms REAL NOT NULL, ready_ms REAL, models TEXT) STRICT;
  CREATE TABLE IF NOT EXISTS histories (slot TEXT PRIMARY KEY, boot_id TEXT NOT NULL, json TEXT NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS asks (id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, plugin TEXT NOT NULL, at_ms REAL NOT NULL, boot_id TEXT NOT NULL, actor TEXT NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS models (name TEXT PRIMARY KEY, json TEXT NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS ports (slot TEXT PRIMARY KEY, port INTEGER NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS revisions (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, revision TEXT NOT NULL, at TEXT NOT NULL, actor TEXT NOT NULL, source TEXT NOT NULL,
    valid INTEGER NOT NULL, text TEXT) STRICT;
`;

export type IncarnationRow = {
  readonly incarnation: string; readonly slot: string; readonly plugin: string; readonly boot_id: string;
  readonly pid: number | null; readonly start_ticks: number | null; readonly port: number;
  readonly spec_hash: string; readonly config_hash: string; readonly started_ms: number; readonly ready_ms: number | null;
  /** JSON; null in rows of an older bkg. */
  readonly models: string | null;
};

export type Store = ReturnType<typeof openStore>;

/** Texts of the file may hold what somebody typed where no secret may stand: they are kept so that only this home reads them. */
export type StoreSecrets = Pick<Secrets, 'seal' | 'encrypt' | 'decrypt'>;

/** Opens `$BKG_HOME/bkg.db` (0600, WAL). Throws with a remedy when a newer bkg wrote it. */
export function openStore(path: string, { bootId, secrets }: { readonly bootId: string; readonly secrets: StoreSecrets }) {
  const db = new Database(path);
  chmodSync(path, 0o600);
  db.pragma('journal_mode = WAL');
  db.pragma('synchronous = NORMAL');
  db.pragma(`busy_timeout = ${BUSY_TIMEOUT_MS}`);
  const version = db.pragma('user_version', { simple: true }) as number;
  if (version > SCHEMA_VERSION) throw new Error(`${path} was written by a newer bkg (schema ${version}, this one knows ${SCHEMA_VERSION}): use that bkg, or another --home`);
  db.exec(SCHEMA + AUDIT_SCHEMA + PEOPLE_SCHEMA + USAGE_SCHEMA);
  if (version === 1) db.exec('ALTER TABLE incarnations ADD COLUMN models TEXT');
  if (version === 1 || version === 2) encryptTexts(db, secrets);
  const auditSeal = (text: string): string => secrets.seal(`audit\n${text}`);
  if (version < 4) beginAudit(db, auditSeal);
  db.pragma(`user_version = ${SCHEMA_VERSION}`);
  const later = openLater();
  const people = peopleRows(db, { later, hashId: (hash) => secrets.seal(`hash\n${hash}`).slice(0, HASH_ID_LENGTH) });
  const usage = usageRows(db, { later, used: people.note });
  people.forgetSessions(Date.now());
  return {
    ...incarnationRows(db, { bootId, later }),
    ...askRows(db, bootId),
    ...revisionRows(db, secrets),
    ...modelRows(db, later),
    ...auditRows(db, { later, seal: auditSeal }),
    ...people,
    ...usage,
    /** Tries again what the disk would not take. */
    flush: later.flush,
    /** Why something waits to be written; null when nothing does. */
    fault: later.fault,
    close: (): void => {
      usage.flushUsage();
      later.flush();
      db.close();
    },
  };
}

function incarnationRows(db: Database.Database, { bootId, later }: { readonly bootId: string; readonly later: Later }) {
  const begin = db.prepare('INSERT INTO incarnations (incarnation, slot, plugin, boot_id, port, spec_hash, config_hash, models, started_ms) VALUES (@incarnation, @slot, @plugin, @bootId, @port, @specHash, @configHash, @models, @started)');
  const spawned = db.prepare('UPDATE incarnations SET pid = ?, start_ticks = ? WHERE incarnation = ?');
  const ready = db.prepare('UPDATE incarnations SET ready_ms = ? WHERE incarnation = ?');
  const configured = db.prepare('UPDATE incarnations SET config_hash = ? WHERE incarnation = ?');
  const end = db.prepare('DELETE FROM incarnations WHERE incarnation = ?');
  const all = db.prepare('SELECT * FROM incarnations');
  const saveHistory = db.prepare('INSERT INTO histories (slot, boot_id, json) VALUES (?, ?, ?) ON CONFLICT (slot) DO UPDATE SET boot_id = excluded.boot_id, json = excluded.json');
  const histories = db.prepare('SELECT json FROM histories WHERE boot_id = ?');
  const savePort = db.prepare('INSERT INTO ports (slot, port) VALUES (?, ?) ON CONFLICT (slot) DO UPDATE SET port = excluded.port');
  const port = db.prepare('SELECT port FROM ports WHERE slot = ?').pluck();
  return {
    /** The one write that a start depends on: throws when the disk does not take it. */
    begin: (row: { readonly incarnation: string; readonly slot: string; readonly plugin: string; readonly port: number; readonly specHash: string; readonly configHash: string; readonly models: readonly Serving[] | null; readonly started: number }): void => {
      begin.run({ ...row, models: row.models === null ? null : JSON.stringify(row.models), bootId });
      later.write(`port ${row.slot}`, () => savePort.run(row.slot, row.port));
    },
    spawned: (incarnation: string, pid: number, startTicks: number): void => { later.write(`spawned ${incarnation}`, () => spawned.run(pid, startTicks, incarnation)); },
    ready: (incarnation: string, at: number): void => { later.write(`ready ${incarnation}`, () => ready.run(at, incarnation)); },
    configured: (incarnation: string, configHash: string): void => { later.write(`configured ${incarnation}`, () => configured.run(configHash, incarnation)); },
    end: (incarnation: string): void => {
      for (const what of ['spawned', 'ready', 'configured']) later.drop(`${what} ${incarnation}`);
      later.write(`end ${incarnation}`, () => end.run(incarnation));
    },
    incarnations: (): readonly IncarnationRow[] => all.all() as IncarnationRow[],
    saveHistory: (history: History): void => { later.write(`history ${history.slot}`, () => saveHistory.run(history.slot, bootId, JSON.stringify(history))); },
    /** Times of another boot mean nothing, so only this boot's are read. */
    histories: (): readonly History[] => (histories.all(bootId) as { json: string }[]).map((row) => JSON.parse(row.json) as History),
    /** The port this slot had last, so that it keeps it while it is free. */
    lastPort: (slot: string): number | null => (port.get(slot) as number | undefined) ?? null,
  };
}

function askRows(db: Database.Database, bootId: string) {
  const add = db.prepare('INSERT INTO asks (kind, plugin, at_ms, boot_id, actor) VALUES (?, ?, ?, ?, ?)');
  // The newest ask of a kind says all that the older ones said.
  const drop = db.prepare('DELETE FROM asks WHERE (kind = ? AND plugin = ?) OR boot_id <> ?');
  const all = db.prepare('SELECT id, kind, plugin, at_ms AS at FROM asks WHERE boot_id = ?');
  const put = db.transaction((ask: Omit<Ask, 'id'>, actor: string): number => {
    drop.run(ask.kind, ask.plugin, bootId);
    return Number(add.run(ask.kind, ask.plugin, ask.at, bootId, actor).lastInsertRowid);
  });
  let known: readonly Ask[] | null = null;
  return {
    /** Throws when the disk does not take it: a wish that a crash would lose is not acknowledged. */
    ask(ask: Omit<Ask, 'id'>, actor: string): number {
      const id = put.immediate(ask, actor);
      known = null;
      return id;
    },
    asks: (): readonly Ask[] => (known ??= all.all(bootId) as Ask[]),
  };
}

/** Those of an older bkg stand there as they were. */
function encryptTexts(db: Database.Database, secrets: StoreSecrets): void {
  const rows = db.prepare('SELECT seq, text FROM revisions WHERE text IS NOT NULL').all() as { seq: number; text: string }[];
  const put = db.prepare('UPDATE revisions SET text = ? WHERE seq = ?');
  db.transaction(() => { for (const row of rows) put.run(secrets.encrypt(row.text), row.seq); }).immediate();
}

function revisionRows(db: Database.Database, secrets: StoreSecrets) {
  const add = db.prepare('INSERT INTO revisions (revision, at, actor, source, valid, text) VALUES (?, ?, ?, ?, ?, ?)');
  const forget = db.prepare(`
    UPDATE revisions SET text = NULL WHERE seq <> (SELECT max(seq) FROM revisions WHERE valid = 1) AND seq IN (
      SELECT seq FROM (SELECT seq, row_number() OVER newest AS nth, sum(octet_length(text)) OVER newest AS bytes FROM revisions WHERE text IS NOT NULL WINDOW newest AS (ORDER BY seq DESC))
      WHERE nth > @most OR (nth > @least AND bytes > @bytes))`);
  const columns = 'SELECT seq, revision, at, actor, source, valid, EXISTS (SELECT 1 FROM revisions kept WHERE kept.revision = revisions.revision AND kept.text IS NOT NULL) AS kept FROM revisions';
  const list = db.prepare(`${columns} ORDER BY seq DESC LIMIT ?`);
  const bySeq = db.prepare(`${columns} WHERE seq = ?`);
  const byHash = db.prepare(`${columns} WHERE substr(revision, 1, length(@beginning)) = @beginning ORDER BY seq DESC LIMIT 1`);
  const read = (row: unknown): Revision => {
    const { valid, kept, ...rest } = row as Omit<Revision, 'valid' | 'kept'> & { readonly valid: number; readonly kept: number };
    return { ...rest, valid: valid === 1, kept: kept === 1 };
  };
  const goods = db.prepare('SELECT seq, revision, text FROM revisions WHERE valid = 1 AND text IS NOT NULL ORDER BY seq DESC');
  const text = db.prepare('SELECT text FROM revisions WHERE revision = ? AND text IS NOT NULL ORDER BY seq DESC LIMIT 1').pluck();
  return {
    /** Returns the revision's seq. */
    addRevision: (row: { readonly revision: string; readonly at: string; readonly actor: string; readonly source: string; readonly valid: boolean; readonly text: string }): number => {
      const seq = Number(add.run(row.revision, row.at, row.actor, row.source, row.valid ? 1 : 0, secrets.encrypt(row.text)).lastInsertRowid);
      forget.run({ least: TEXTS_LEAST, most: TEXTS_MOST, bytes: TEXTS_BYTES });
      return seq;
    },
    revisions: (limit: number): readonly Revision[] => list.all(limit).map(read),
    revisionAt: (seq: number): Revision | null => [bySeq.get(seq)].filter((row) => row !== undefined).map(read)[0] ?? null,
    /** The newest whose hash begins so. */
    revisionLike: (beginning: string): Revision | null => [byHash.get({ beginning })].filter((row) => row !== undefined).map(read)[0] ?? null,
    /** The newest valid one that can be read: with another house.key none can. */
    lastGood(): { readonly seq: number; readonly revision: string; readonly text: string } | null {
      for (const row of goods.all() as { seq: number; revision: string; text: string }[]) {
        const found = secrets.decrypt(row.text);
        if (found !== null) return { ...row, text: found };
      }
      return null;
    },
    textOf(revision: string): string | null {
      const found = text.get(revision) as string | undefined;
      return found === undefined ? null : secrets.decrypt(found);
    },
  };
}

function modelRows(db: Database.Database, later: Later) {
  const save = db.prepare('INSERT INTO models (name, json) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET json = excluded.json');
  const drop = db.prepare('DELETE FROM models WHERE name = ?');
  const all = db.prepare('SELECT json FROM models');
  return {
    saveModel: (model: ObservedModel): void => { later.write(`model ${model.name}`, () => save.run(model.name, JSON.stringify(model))); },
    dropModel: (name: string): void => { later.write(`model ${name}`, () => drop.run(name)); },
    models: (): readonly ObservedModel[] => (all.all() as { json: string }[]).map((row) => JSON.parse(row.json) as ObservedModel),
  };
}

// What is remembered of people: what was denied them, who is signed in, and a mirror of the declared ones for joins, never a truth.
import type Database from 'better-sqlite3';
import type { Denied, People } from '../core/people.ts';
import type { SessionRow } from './door.ts';
import type { Later } from './store-later.ts';

export const PEOPLE_SCHEMA = `
  CREATE TABLE IF NOT EXISTS denials (id INTEGER PRIMARY KEY, json TEXT NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS sessions (
    family TEXT PRIMARY KEY, user TEXT NOT NULL, credential TEXT NOT NULL, generation INTEGER NOT NULL, begun INTEGER NOT NULL, renewed INTEGER NOT NULL, expires INTEGER NOT NULL,
    address TEXT, agent TEXT, ended TEXT) STRICT;
  CREATE TABLE IF NOT EXISTS users (name TEXT PRIMARY KEY, role TEXT NOT NULL, created_at TEXT NOT NULL, declared INTEGER NOT NULL, last_used_at TEXT) STRICT;
  CREATE TABLE IF NOT EXISTS api_keys (id TEXT PRIMARY KEY, name TEXT, user TEXT NOT NULL, hash_id TEXT NOT NULL, scopes TEXT NOT NULL, created_at TEXT NOT NULL, declared INTEGER NOT NULL, last_used_at TEXT) STRICT;
`;

/** Sessions that ended or ran out are kept so long, for whoever asks the database. */
const ENDED_KEPT_MS = 24 * 3_600_000;
/** Looked for again after so many writes. */
const FORGOTTEN_EVERY = 500;

export function peopleRows(db: Database.Database, { later, hashId }: { readonly later: Later; /** A short name for a hash, which tells nothing of it. */ readonly hashId: (hash: string) => string }) {
  return { ...denialRows(db, later), ...sessionRows(db, later), ...mirrorRows(db, { later, hashId }) };
}

/** What takes a right away stands on the disk, not only in its cache: a power cut must not give it back. */
function durably(db: Database.Database, write: () => void): void {
  db.pragma('synchronous = FULL');
  try {
    write();
  } finally {
    db.pragma('synchronous = NORMAL');
  }
}

function denialRows(db: Database.Database, later: Later) {
  const all = db.prepare('SELECT json FROM denials ORDER BY id').pluck();
  const clear = db.prepare('DELETE FROM denials');
  const add = db.prepare('INSERT INTO denials (json) VALUES (?)');
  const save = db.transaction((denied: readonly Denied[]) => {
    clear.run();
    for (const denial of denied) add.run(JSON.stringify(denial));
  });
  return {
    denials: (): readonly Denied[] => (all.all() as string[]).map((json) => JSON.parse(json) as Denied),
    saveDenials: (denied: readonly Denied[]): void => { later.write('denials', () => durably(db, () => save.immediate(denied))); },
  };
}

function sessionRows(db: Database.Database, later: Later) {
  const all = db.prepare('SELECT * FROM sessions');
  const save = db.prepare('INSERT OR REPLACE INTO sessions (family, user, credential, generation, begun, renewed, expires, address, agent, ended) VALUES (@family, @user, @credential, @generation, @begun, @renewed, @expires, @address, @agent, @ended)');
  const forget = db.prepare('DELETE FROM sessions WHERE expires < @before OR (ended IS NOT NULL AND renewed < @before)');
  const saveAll = db.transaction((rows: readonly SessionRow[]) => { for (const row of rows) save.run(row); });
  const forgetSessions = (now: number): void => { later.write('old sessions', () => forget.run({ before: now - ENDED_KEPT_MS })); };
  let written = 0;
  return {
    sessions: (): readonly SessionRow[] => all.all() as SessionRow[],
    saveSessions(rows: readonly SessionRow[]): void {
      written += 1;
      const write = (): void => saveAll.immediate(rows);
      later.write(rows.length === 1 ? `session ${rows[0]!.family}` : `sessions ${written}`, rows.some((row) => row.ended !== null) ? () => durably(db, write) : write);
      if (written % FORGOTTEN_EVERY === 0) forgetSessions(Date.now());
    },
    forgetSessions,
  };
}

function mirrorRows(db: Database.Database, { later, hashId }: { readonly later: Later; readonly hashId: (hash: string) => string }) {
  const user = db.prepare('INSERT INTO users (name, role, created_at, declared) VALUES (@name, @role, @at, 1) ON CONFLICT (name) DO UPDATE SET role = excluded.role, declared = 1');
  const key = db.prepare(`INSERT INTO api_keys (id, name, user, hash_id, scopes, created_at, declared) VALUES (@id, @name, @user, @hashId, @scopes, @at, 1)
    ON CONFLICT (id) DO UPDATE SET name = excluded.name, user = excluded.user, hash_id = excluded.hash_id, scopes = excluded.scopes, declared = 1`);
  const undeclare = [db.prepare('UPDATE users SET declared = 0'), db.prepare('UPDATE api_keys SET declared = 0')];
  const usedKey = db.prepare('UPDATE api_keys SET last_used_at = ? WHERE id = ?');
  const usedUser = db.prepare('UPDATE users SET last_used_at = ? WHERE name = ?');
  const keys = db.prepare('SELECT id, created_at AS createdAt, last_used_at AS lastUsedAt FROM api_keys');
  const users = db.prepare('SELECT name AS id, created_at AS createdAt, last_used_at AS lastUsedAt FROM users');
  const mirror = db.transaction((people: People, at: string) => {
    for (const statement of undeclare) statement.run();
    for (const { name, role } of people.users) user.run({ name, role, at });
    for (const one of people.keys) key.run({ id: one.id, name: one.name, user: one.user, hashId: hashId(one.hash), scopes: one.scopes.join(' '), at });
  });
  const note = (what: 'user' | 'key', id: string, at: string): void => { (what === 'key' ? usedKey : usedUser).run(at, id); };
  type Seen = { readonly id: string; readonly createdAt: string; readonly lastUsedAt: string | null };
  return {
    mirror: (people: People): void => { later.write('people', () => mirror.immediate(people, new Date().toISOString())); },
    /** Within a transaction of somebody else's. */
    note,
    used: (what: 'user' | 'key', id: string, at: string): void => { later.write(`used ${what} ${id}`, () => note(what, id, at)); },
    /** When each was first seen declared, and last used. */
    seen: (what: 'user' | 'key'): readonly Seen[] => (what === 'key' ? keys : users).all() as Seen[],
  };
}

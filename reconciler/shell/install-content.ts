// What a plugin's folder holds: its files without what is made or belongs to tools, and the hash of them.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { copyFile, mkdir, readdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** What is made, not written: installs and builds make it again. */
const MADE = new Set(['node_modules', 'target', '__pycache__']);
/** What editors and desktops leave for a moment: opening a file must not restart a plugin. */
const PASSING = /(\.log|\.swp|\.swo|\.swx|~)$|^#.*#$|^\.#|^\.DS_Store$/;
/** Deeper than any plugin: links that lead in a circle end here. */
const DEPTH_MAX = 32;
/** A file changed this shortly ago may change again within the same tick of the file system's clock. */
const SETTLED_MS = 1_000;

type Entry = { readonly path: string; readonly stamp: string; readonly executable: boolean; readonly mtime_ms: number };

/** Folder → path → the hash of the file's bytes, as long as its size, time and inode stay. One reading replaces the one before. */
const known = new Map<string, ReadonlyMap<string, { readonly stamp: string; readonly hash: string }>>();

/** sha256 over the sorted paths, bytes and exec bits of a plugin's folder. An unchanged file is not read again. */
export async function contentHash(folder: string): Promise<string> {
  const before = known.get(folder);
  const now = new Map<string, { readonly stamp: string; readonly hash: string }>();
  const whole = createHash('sha256');
  for (const entry of await list(folder)) {
    const same = before?.get(entry.path);
    const hash = same?.stamp === entry.stamp ? same.hash : await hashFile(join(folder, entry.path));
    if (Date.now() - entry.mtime_ms > SETTLED_MS) now.set(entry.path, { stamp: entry.stamp, hash });
    whole.update(`${entry.path}\0${entry.executable ? 'x' : '-'}\0${hash}\n`);
  }
  known.set(folder, now);
  return whole.digest('hex');
}

/** Copies exactly what is hashed. Links are followed: the copy stands by itself. */
export async function copyContent(from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true, mode: 0o700 });
  const made = new Set<string>();
  for (const { path } of await list(from)) {
    const folder = dirname(join(to, path));
    if (!made.has(folder)) await mkdir(folder, { recursive: true });
    made.add(folder);
    await copyFile(join(from, path), join(to, path));
  }
}

async function list(folder: string): Promise<readonly Entry[]> {
  const entries = await listBelow(folder, { below: '', depth: 0 });
  return entries.sort((a, b) => (a.path < b.path ? -1 : 1));
}

async function listBelow(folder: string, at: { readonly below: string; readonly depth: number }): Promise<Entry[]> {
  if (at.depth > DEPTH_MAX) throw new Error(`${join(folder, at.below)} lies more than ${DEPTH_MAX} folders deep; does a link lead in a circle?`);
  const names = await readdir(join(folder, at.below));
  const found = await Promise.all(names.filter((name) => !MADE.has(name) && !PASSING.test(name)).map(async (name): Promise<Entry[]> => {
    const path = at.below === '' ? name : `${at.below}/${name}`;
    // A link to nothing is no content; what cannot be read fails when it is hashed, and says so.
    const facts = await stat(join(folder, path), { bigint: true }).catch(() => null);
    if (facts?.isFile() === true) return [{ path, stamp: `${facts.size} ${facts.mtimeNs} ${facts.ino}`, executable: (facts.mode & 0o100n) !== 0n, mtime_ms: Number(facts.mtimeMs) }];
    return facts?.isDirectory() === true && !name.startsWith('.') ? listBelow(folder, { below: path, depth: at.depth + 1 }) : [];
  }));
  return found.flat();
}

async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 18 })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

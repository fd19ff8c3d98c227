// What a plugin's folder holds: its files without what is made or belongs to tools, and the hash of them.
import { createHash } from 'node:crypto';
import { createReadStream, type BigIntStats } from 'node:fs';
import { copyFile, mkdir, readdir, realpath, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** What is made, not written: installs and builds make it again. */
const MADE = new Set(['node_modules', '__pycache__']);
/** Says of the folder it lies in that it is made: an environment of Python's, a cache or the `target` of cargo. */
const MARKS_MADE = ['pyvenv.cfg', 'CACHEDIR.TAG'];
/** Beside one of these `target` is what was built; elsewhere it is a name like any other. */
const BUILT_FROM = ['Cargo.toml', 'pom.xml'];
/** What editors, desktops and compilers leave in passing: opening or checking a file must not restart a plugin. */
const PASSING = /(\.log|\.swp|\.swo|\.swx|\.kate-swp|\.tsbuildinfo|~)$|^#.*#$|^\.#|^\.DS_Store$/;
/** Hidden folders belong to tools, but this one says how cargo builds. */
const HIDDEN_CONTENT = new Set(['.cargo']);
/** Far more than any plugin has: a link that leads to half a disk ends here. */
const ENTRIES_MAX = 100_000;
/** So often links may lead to the same folder; where each holds two to the next, they double with every step. */
const WAYS_MAX = 64;
/** Names that lead nowhere, or did when they were looked at: no content. */
const NOWHERE = new Set(['ENOENT', 'ENOTDIR', 'ELOOP']);
/** A file changed this shortly ago may change again within the same tick of the file system's clock. */
const SETTLED_MS = 1_000;

/** `path` is what cannot be read, or never ends; the message says why. */
export type ContentFault = Error & { readonly path: string; readonly code?: string };

type Entry = { readonly path: string; readonly stamp: string; readonly executable: boolean; readonly mtime_ms: number };

/** Folder → path → the hash of the file's bytes, as long as its size, time and inode stay. One reading replaces the one before. */
const known = new Map<string, ReadonlyMap<string, { readonly stamp: string; readonly hash: string }>>();

/**
 * sha256 over the sorted paths, bytes and exec bits of a plugin's folder. An unchanged file is not read again.
 * Throws a ContentFault when something of it cannot be read.
 */
export async function contentHash(folder: string): Promise<string> {
  const before = known.get(folder);
  const now = new Map<string, { readonly stamp: string; readonly hash: string }>();
  const whole = createHash('sha256');
  for (const entry of await list(folder)) {
    const same = before?.get(entry.path);
    const hash = same?.stamp === entry.stamp ? same.hash : await elseNull(() => hashFile(join(folder, entry.path)), join(folder, entry.path));
    // It has gone since it was listed, as what an editor writes for a moment does.
    if (hash === null) continue;
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

type Walk = { readonly folder: string; readonly found: Entry[]; readonly ways: Map<string, number>; entries: number };
/** The folders above, each by device and inode: a link that leads back to one of them never ends. */
type At = { readonly below: string; readonly above: readonly string[] };

async function list(folder: string): Promise<readonly Entry[]> {
  const walk: Walk = { folder, found: [], ways: new Map(), entries: 0 };
  await walkBelow(walk, { below: '', above: await aboveOf(folder) });
  return walk.found.sort((a, b) => (a.path < b.path ? -1 : 1));
}

const idOf = (facts: BigIntStats): string => `${facts.dev} ${facts.ino}`;

/** The folder itself and all above it, as they really lie. */
async function aboveOf(folder: string): Promise<readonly string[]> {
  const above: string[] = [];
  for (let path = await realpath(folder); ; path = dirname(path)) {
    above.push(idOf(await stat(path, { bigint: true })));
    if (path === dirname(path)) return above;
  }
}

/** One folder after another: the first fault ends the whole walk. */
async function walkBelow(walk: Walk, at: At): Promise<void> {
  const folder = join(walk.folder, at.below);
  const names = at.below === '' ? await readdir(folder) : await elseNull(() => readdir(folder), folder);
  if (names === null || (at.below !== '' && MARKS_MADE.some((mark) => names.includes(mark)))) return;
  walk.entries += names.length;
  if (walk.entries > ENTRIES_MAX) throw contentFault(folder, `more than ${ENTRIES_MAX} files and folders have been found up to here; does a link lead out of the plugin?`);
  const built = BUILT_FROM.some((file) => names.includes(file));
  const wanted = names.filter((name) => !MADE.has(name) && !PASSING.test(name) && !(built && name === 'target'));
  const facts = await Promise.all(wanted.map((name) => elseNull(() => stat(join(folder, name), { bigint: true }), join(folder, name))));
  for (const [index, name] of wanted.entries()) {
    const found = facts[index];
    const path = at.below === '' ? name : `${at.below}/${name}`;
    if (found?.isFile() === true) walk.found.push({ path, stamp: `${found.size} ${found.mtimeNs} ${found.ino}`, executable: (found.mode & 0o100n) !== 0n, mtime_ms: Number(found.mtimeMs) });
    if (found?.isDirectory() !== true || (name.startsWith('.') && !HIDDEN_CONTENT.has(name))) continue;
    const id = idOf(found);
    const ways = (walk.ways.get(id) ?? 0) + 1;
    walk.ways.set(id, ways);
    if (at.above.includes(id)) throw contentFault(join(folder, name), 'it is a link in a circle: it leads to a folder that it lies in');
    if (ways > WAYS_MAX) throw contentFault(join(folder, name), `links lead to this folder in more than ${WAYS_MAX} ways`);
    await walkBelow(walk, { below: path, above: [...at.above, id] });
  }
}

/** Null for what leads nowhere; what is there and cannot be read is a fault. */
async function elseNull<T>(look: () => Promise<T>, path: string): Promise<T | null> {
  try {
    return await look();
  } catch (error) {
    if (NOWHERE.has((error as NodeJS.ErrnoException).code ?? '')) return null;
    throw contentFault(path, (error as Error).message, (error as NodeJS.ErrnoException).code);
  }
}

const contentFault = (path: string, message: string, code?: string): ContentFault => Object.assign(new Error(message), { path, ...(code === undefined ? {} : { code }) });

async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 18 })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

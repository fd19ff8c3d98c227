// Runs a plugin's install once per content of its folder, in a copy of it, and keeps the result by that hash.
import { createHash } from 'node:crypto';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { appendFile, cp, mkdir, readFile, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pluginEnvironment } from './process.ts';

/** A Rust release build on two slow cores takes long; what takes longer hangs. */
const INSTALL_TIMEOUT_MS = 60 * 60_000;
/** Last lines of the output that go into the failure's message. */
const TAIL_LINES = 6;
/** Written last: a folder without it is not complete. */
const DONE = '.bkg-installed';
/** What is made, not written, or belongs to tools: no part of a plugin's content. */
const SKIPPED = new Set(['node_modules', 'target', '__pycache__', 'dist']);
/** What package managers need of the surroundings to reach their registries and caches; none of it is a secret of bkg's. */
const PASSED_ON = /^(npm_config_\w+|(https?|no|all)_proxy|SSL_CERT_(FILE|DIR)|NODE_EXTRA_CA_CERTS|CARGO_\w+|RUSTUP_\w+|PIP_\w+|UV_\w+|REQUESTS_CA_BUNDLE)$/i;

const isContent = (name: string): boolean => !SKIPPED.has(name) && !name.endsWith('.log') && (!name.startsWith('.') || name === '.npmrc');

type Entry = { readonly path: string; readonly size: number; readonly mtime: bigint; readonly executable: boolean };

const known = new Map<string, { readonly stamp: string; readonly hash: string }>();

/** sha256 over the sorted paths, bytes and exec bits of a plugin's folder. An unchanged folder is not read again. */
export async function contentHash(folder: string): Promise<string> {
  const entries = await list(folder, '');
  const stamp = entries.map((entry) => `${entry.path}\0${entry.size}\0${entry.mtime}\0${entry.executable}`).join('\n');
  const before = known.get(folder);
  if (before?.stamp === stamp) return before.hash;
  const hash = createHash('sha256');
  for (const entry of entries) {
    hash.update(`${entry.path}\0${entry.executable ? 'x' : '-'}\0${entry.size}\0`);
    hash.update(await readFile(join(folder, entry.path)));
  }
  const digest = hash.digest('hex');
  known.set(folder, { stamp, hash: digest });
  return digest;
}

async function list(folder: string, below: string): Promise<Entry[]> {
  const entries: Entry[] = [];
  const found = (await readdir(join(folder, below), { withFileTypes: true })).sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const item of found) {
    if (!isContent(item.name)) continue;
    const path = below === '' ? item.name : `${below}/${item.name}`;
    if (item.isDirectory()) entries.push(...(await list(folder, path)));
    else if (item.isFile()) {
      const facts = await stat(join(folder, path), { bigint: true });
      entries.push({ path, size: Number(facts.size), mtime: facts.mtimeNs, executable: (facts.mode & 0o100n) !== 0n });
    }
  }
  return entries;
}

const folderOf = (store: string, name: string, hash: string): string => join(store, name, hash.slice(0, 16));

/** Where the finished install of this content lies; null when there is none. */
export function installedFolder(store: string, name: string, hash: string): string | null {
  const folder = folderOf(store, name, hash);
  return existsSync(join(folder, DONE)) ? folder : null;
}

export type InstallOrder = {
  readonly name: string;
  readonly folder: string;
  readonly contentHash: string;
  readonly argv: readonly string[];
  /** Folder of all installs. */
  readonly store: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
  readonly onProgress: (line: string) => void;
};

export type Installed = { readonly ok: true; readonly folder: string } | { readonly ok: false; readonly message: string };

export async function install(order: InstallOrder): Promise<Installed> {
  const done = folderOf(order.store, order.name, order.contentHash);
  const partial = `${done}.partial-${process.pid}`;
  if (installedFolder(order.store, order.name, order.contentHash) !== null) return { ok: true, folder: done };
  try {
    await rm(partial, { recursive: true, force: true });
    await mkdir(partial, { recursive: true, mode: 0o700 });
    await cp(order.folder, partial, { recursive: true, filter: (from) => from === order.folder || isContent(from.slice(from.lastIndexOf('/') + 1)) });
    const ran = await runInstall(order, partial);
    if (ran !== null) {
      await rm(partial, { recursive: true, force: true });
      return { ok: false, message: ran };
    }
    await writeFile(join(partial, DONE), `${new Date().toISOString()}\n`);
    await place(partial, done);
    return { ok: true, folder: done };
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    return { ok: false, message: (error as Error).message };
  }
}

/** Another bkg may have finished the same install meanwhile: then its result serves. A torn one makes way. */
async function place(partial: string, done: string): Promise<void> {
  if (existsSync(done) && !existsSync(join(done, DONE))) await rm(done, { recursive: true, force: true });
  await rename(partial, done).catch(async (error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
    await rm(partial, { recursive: true, force: true });
  });
}

/** Null when it went well, else what to tell. */
function runInstall(order: InstallOrder, cwd: string): Promise<string | null> {
  const [file, ...rest] = order.argv;
  const passed = Object.fromEntries(Object.entries(order.env).filter((entry): entry is [string, string] => PASSED_ON.test(entry[0]) && entry[1] !== undefined));
  const log = `${folderOf(order.store, order.name, order.contentHash)}.log`;
  return new Promise((resolve) => {
    const child = spawn(file!, rest, { cwd, env: pluginEnvironment(passed, {}), stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    const tail: string[] = [];
    const hear = (line: string): void => {
      if (line.trim() === '') return;
      tail.push(line.trim());
      if (tail.length > TAIL_LINES) tail.shift();
      order.onProgress(line.trim());
      void appendFile(log, `${line}\n`).catch(() => undefined);
    };
    createInterface({ input: child.stdout }).on('line', hear);
    createInterface({ input: child.stderr }).on('line', hear);
    const end = (): void => { if (child.pid !== undefined) try { process.kill(-child.pid, 'SIGKILL'); } catch { /* It has ended by itself. */ } };
    const timer = setTimeout(() => { hear(`gave up after ${INSTALL_TIMEOUT_MS / 60_000} min`); end(); }, INSTALL_TIMEOUT_MS);
    order.signal.addEventListener('abort', end, { once: true });
    const finish = (message: string | null): void => {
      clearTimeout(timer);
      order.signal.removeEventListener('abort', end);
      resolve(message);
    };
    child.once('error', (error: NodeJS.ErrnoException) => finish(error.code === 'ENOENT' ? `"${file}" was not found; install it, then restart the plugin` : error.message));
    child.once('close', (code, signal) => finish(code === 0 ? null : `${order.argv.join(' ')} ended with ${signal ?? `exit code ${code}`}: ${tail.join(' | ')}`));
  });
}

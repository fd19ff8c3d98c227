// One bkg per home: a lock that frees itself when its holder dies, however it dies.
import { spawn } from 'node:child_process';
import { closeSync, linkSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { hostBoot, identify, isSame } from './process.ts';

/** Somebody else may take a stale lock at the same moment; so often it is tried. */
const TAKE_ATTEMPTS = 5;

export type Holder = { readonly pid: number; readonly startTicks: number; readonly bootId: string };
export type FileLock = { readonly ok: true; release(): void } | { readonly ok: false; readonly holder: Holder | null };
export type HomeLock = { readonly ok: true; release(): Promise<void> } | { readonly ok: false; readonly holder: { readonly pid: number | null }; readonly message: string };

/** Takes `run/lock`, or says who holds it. */
export async function lockHome(home: string): Promise<HomeLock> {
  const lock = await lockFile(join(home, 'run', 'lock'));
  if (lock.ok) return { ok: true, release: () => Promise.resolve(lock.release()) };
  const who = lock.holder === null ? 'another bkg' : `another bkg (process ${lock.holder.pid})`;
  return { ok: false, holder: { pid: lock.holder?.pid ?? null }, message: `${home} is in use by ${who}. Stop it first, or choose another --home.` };
}

/** Takes the lock of this name without waiting, or says who holds it. It goes with this process; children never inherit it. */
export async function lockFile(path: string): Promise<FileLock> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  // Node opens with O_CLOEXEC: what is started later does not inherit it.
  const descriptor = openSync(path, 'a+', 0o600);
  const taken = await flock(descriptor);
  if (taken === 'taken') {
    // A full disk must not leave the lock with us and nobody who knows it.
    writeOrClose(path, { text: JSON.stringify(self()), descriptor });
    return { ok: true, release: () => { writeOrClose(path, { text: '', descriptor }); closeSync(descriptor); } };
  }
  closeSync(descriptor);
  return taken === 'held' ? { ok: false, holder: holderOf(path) } : lockByName(`${path}.holder`);
}

function writeOrClose(path: string, o: { readonly text: string; readonly descriptor: number }): void {
  try {
    writeFileSync(path, o.text);
  } catch (error) {
    closeSync(o.descriptor);
    throw error;
  }
}

/** flock(1) locks the open file itself, which it shares with us: the lock stays when it exits, and goes when we do. */
function flock(descriptor: number): Promise<'taken' | 'held' | 'unsupported'> {
  return new Promise((resolve) => {
    const child = spawn('flock', ['-n', '-x', '3'], { stdio: ['ignore', 'ignore', 'ignore', descriptor] });
    child.once('error', () => resolve('unsupported'));
    child.once('exit', (code) => resolve(code === 0 ? 'taken' : code === 1 ? 'held' : 'unsupported'));
  });
}

/** Where there is no flock(1), or the file system knows no locks: a name that only one can make, and whose maker can be told alive. */
function lockByName(path: string): FileLock {
  const own = `${path}.${process.pid}`;
  writeFileSync(own, JSON.stringify(self()), { mode: 0o600 });
  try {
    for (let attempt = 0; attempt < TAKE_ATTEMPTS; attempt += 1) {
      if (move(linkSync, own, path)) return { ok: true, release: () => rmSync(path, { force: true }) };
      const holder = holderOf(path);
      if (holder !== null && isAlive(holder)) return { ok: false, holder };
      // What is taken away is looked at again: somebody may have renewed it meanwhile, then it goes back.
      const aside = `${own}.stale`;
      if (!move(renameSync, path, aside)) continue;
      const moved = holderOf(aside);
      if (moved !== null && isAlive(moved)) move(linkSync, aside, path);
      rmSync(aside, { force: true });
    }
    return { ok: false, holder: holderOf(path) };
  } finally {
    rmSync(own, { force: true });
  }
}

/** False when the target is already there, or the source is no longer. */
function move(how: (from: string, to: string) => void, from: string, to: string): boolean {
  try {
    how(from, to);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'EEXIST' && code !== 'ENOENT') throw error;
    return false;
  }
}

const self = (): Holder => ({ pid: process.pid, startTicks: identify(process.pid)?.startTicks ?? 0, bootId: hostBoot().bootId });
const isAlive = (holder: Holder): boolean => holder.bootId === hostBoot().bootId && isSame(holder);

/** Null while it is being written, or when it is damaged. */
function holderOf(path: string): Holder | null {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Holder;
  } catch {
    return null;
  }
}

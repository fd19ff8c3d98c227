// One bkg per home: a lock that frees itself when its holder dies, however it dies.
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isSame, identify } from './process.ts';

export type HomeLock = { readonly ok: true; release(): Promise<void> } | { readonly ok: false; readonly pid: number | null; readonly message: string };

/** Takes `run/lock`, or says who holds it. */
export async function lockHome(home: string): Promise<HomeLock> {
  const path = join(home, 'run', 'lock');
  mkdirSync(join(home, 'run'), { recursive: true, mode: 0o700 });
  // Node opens with O_CLOEXEC: plugins do not inherit the lock.
  const descriptor = openSync(path, 'a+', 0o600);
  const taken = await flock(descriptor);
  const holder = holderOf(path);
  if (taken === 'held' || (taken === 'unsupported' && holder !== null && holder.pid !== process.pid && isSame(holder))) {
    closeSync(descriptor);
    const who = holder === null ? 'another bkg' : `another bkg (process ${holder.pid})`;
    return { ok: false, pid: holder?.pid ?? null, message: `${home} is in use by ${who}. Stop it first, or choose another --home.` };
  }
  writeFileSync(path, JSON.stringify({ pid: process.pid, startTicks: identify(process.pid)?.startTicks ?? 0 }));
  return {
    ok: true,
    release: () => {
      writeFileSync(path, '');
      closeSync(descriptor);
      return Promise.resolve();
    },
  };
}

/** flock(1) locks the open file itself, which it shares with us: the lock stays when it exits, and goes when we do. */
function flock(descriptor: number): Promise<'taken' | 'held' | 'unsupported'> {
  return new Promise((resolve) => {
    const child = spawn('flock', ['-n', '-x', '3'], { stdio: ['ignore', 'ignore', 'ignore', descriptor] });
    child.once('error', () => resolve('unsupported'));
    child.once('exit', (code) => resolve(code === 0 ? 'taken' : code === 1 ? 'held' : 'unsupported'));
  });
}

function holderOf(path: string): { readonly pid: number; readonly startTicks: number } | null {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as { pid: number; startTicks: number };
  } catch {
    return null;
  }
}

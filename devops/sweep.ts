// Ends what a run left behind: survivors of a process group, and processes that carry a folder of ours in their environment.
import { readFileSync, readdirSync } from 'node:fs';

/** Kills a whole process group; false when nothing of it was left. */
export function killGroup(pid: number): boolean {
  try {
    process.kill(-pid, 'SIGKILL');
    return true;
  } catch {
    return false;
  }
}

/**
 * Processes whose environment mentions the folder, ourselves excluded. Plugins stand in groups of their own and keep running
 * when their parent is killed; the temporary folder they were given is what gives them away. Linux only: elsewhere none.
 */
export function carriersOf(folder: string): readonly number[] {
  return pids().filter((pid) => pid !== process.pid && readOr(`/proc/${pid}/environ`).includes(folder));
}

/** Kills every carrier; returns what each was, for the report. */
export function killCarriers(folder: string): readonly string[] {
  const killed: string[] = [];
  for (const pid of carriersOf(folder)) {
    const argv = readOr(`/proc/${pid}/cmdline`).split('\0').join(' ').trim();
    try {
      process.kill(pid, 'SIGKILL');
      // A process that is only waiting to be collected has no command line any more.
      if (argv !== '') killed.push(`${pid} ${argv}`);
    } catch {
      // Gone between the look and the kill: nothing to do.
    }
  }
  return killed;
}

function pids(): readonly number[] {
  try {
    return readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name)).map(Number);
  } catch {
    return [];
  }
}

/** Empty when it cannot be read: ended, a zombie, or another user's. */
function readOr(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

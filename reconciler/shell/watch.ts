// Says that bkg.yaml may have changed. What it holds now decides; an event only makes the look sooner.
import { watch as watchFolder } from 'chokidar';
import { readFileSync, statSync, type BigIntStats } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { revisionOf } from './declare.ts';

/** Events are missed on some file systems and for the second of two quick saves: the bytes are looked at this often anyway. */
const POLL_MS = 1_000;
/** Editors save in several steps; a look in between would see half of it. */
const DEBOUNCE_MS = 100;

const MISSING = 'missing';
const stampOf = (facts: BigIntStats): string => `${facts.ino} ${facts.size} ${facts.mtimeNs} ${facts.ctimeNs}`;

function lookNow(path: string): { readonly stamp: string; readonly revision: string } {
  try {
    return { stamp: stampOf(statSync(path, { bigint: true })), revision: revisionOf(readFileSync(path)) };
  } catch {
    return { stamp: MISSING, revision: MISSING };
  }
}

/** Calls `changed` when the bytes differ from those that stood there when this returned, or at the last call. */
export function watchFile(path: string, changed: () => void): { close(): Promise<void> } {
  // At once, not at the first poll: a save in between would be missed.
  let { stamp, revision: seen } = lookNow(path);
  let closed = false;
  let debounce: NodeJS.Timeout | null = null;
  let looking = false;
  let again = false;

  async function look(sure: boolean): Promise<void> {
    if (looking) {
      again ||= sure;
      return;
    }
    looking = true;
    try {
      const now = await stat(path, { bigint: true }).then(stampOf, () => MISSING);
      if (!sure && now === stamp) return;
      stamp = now;
      const revision = now === MISSING ? MISSING : await readFile(path).then(revisionOf, () => MISSING);
      if (revision === seen || closed) return;
      seen = revision;
      changed();
    } finally {
      looking = false;
      if (again) {
        again = false;
        soon();
      }
    }
  }
  const soon = (): void => {
    if (closed) return;
    if (debounce !== null) clearTimeout(debounce);
    debounce = setTimeout(() => { void look(true); }, DEBOUNCE_MS);
  };
  // The folder, not the file: an atomic save replaces the file, and its watch would follow the old one.
  const names = new Set([basename(path), '..data']);
  const watcher = watchFolder(dirname(path), { depth: 0, ignoreInitial: true, ignored: (candidate) => candidate !== dirname(path) && !names.has(basename(candidate)) });
  watcher.on('all', soon);
  watcher.on('error', () => undefined);
  const timer = setInterval(() => { void look(false); }, POLL_MS);
  return {
    async close() {
      closed = true;
      clearInterval(timer);
      if (debounce !== null) clearTimeout(debounce);
      await watcher.close();
    },
  };
}

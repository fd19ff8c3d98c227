// Says that bkg.yaml may have changed. What it holds now decides; an event only makes the look sooner.
import { watch as watchFolder } from 'chokidar';
import { readFile, stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { revisionOf } from './declare.ts';

/** Events are missed on some file systems and for the second of two quick saves: the bytes are looked at this often anyway. */
const POLL_MS = 1_000;
/** Editors save in several steps; a look in between would see half of it. */
const DEBOUNCE_MS = 100;

/** Calls `changed` when the bytes differ from those of the last look; the first look calls nothing. */
export function watchFile(path: string, changed: () => void): { close(): Promise<void> } {
  let seen: string | null = null;
  let stamp = '';
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
      const facts = await stat(path, { bigint: true }).catch(() => null);
      const now = facts === null ? 'missing' : `${facts.ino} ${facts.size} ${facts.mtimeNs} ${facts.ctimeNs}`;
      if (!sure && now === stamp) return;
      stamp = now;
      const revision = facts === null ? 'missing' : await readFile(path).then(revisionOf, () => 'missing');
      const first = seen === null;
      const differs = revision !== seen;
      seen = revision;
      if (differs && !first) changed();
    } finally {
      looking = false;
      if (again) {
        again = false;
        soon();
      }
    }
  }
  const soon = (): void => {
    if (debounce !== null) clearTimeout(debounce);
    debounce = setTimeout(() => { void look(true); }, DEBOUNCE_MS);
  };
  // The folder, not the file: an atomic save replaces the file, and its watch would follow the old one.
  const names = new Set([basename(path), '..data']);
  const watcher = watchFolder(dirname(path), { depth: 0, ignoreInitial: true, ignored: (candidate) => candidate !== dirname(path) && !names.has(basename(candidate)) });
  watcher.on('all', soon);
  watcher.on('error', () => undefined);
  const timer = setInterval(() => { void look(false); }, POLL_MS);
  void look(true);
  return {
    async close() {
      clearInterval(timer);
      if (debounce !== null) clearTimeout(debounce);
      await watcher.close();
    },
  };
}

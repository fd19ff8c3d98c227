// Follows what plugins write to stdout and stderr: by offset, bounded in work and in disk, readable again later.
import { watch, type FSWatcher } from 'node:fs';
import { join } from 'node:path';
import type { LogRecord } from './door.ts';
import { STREAMS } from './logs-lines.ts';
import { openTail, type Look } from './logs-tail.ts';

export { pruneLogs, readLogs } from './logs-back.ts';
export { rotate } from './logs-disk.ts';

/** Between two looks while more is there than one look reads. */
const POLL_BEHIND_MS = 20;
/** While lines come, and at a flood: faster nobody reads. */
const POLL_BUSY_MS = 100;
/** After so many looks without a line the folder's changes wake it, and a slow look is the truth. */
const IDLE_LOOKS = 5;
const POLL_WATCHED_MS = 5_000;
/** Where a folder cannot be watched (the system's number of watches is spent). */
const POLL_UNWATCHED_MS = 500;

export type FollowOrder = { readonly folder: string; readonly plugin: string; readonly incarnation: string; readonly onRecord: (record: LogRecord) => void };

const PAUSE_MS: Readonly<Record<Look, number>> = { nothing: POLL_BUSY_MS, moved: POLL_BUSY_MS, behind: POLL_BEHIND_MS, flood: POLL_BUSY_MS };
const URGENCY: readonly Look[] = ['nothing', 'moved', 'behind', 'flood'];

/** Calls `onRecord` for every new line. `close` reads what is left first. */
export function followLogs(order: FollowOrder): { close(): Promise<void> } {
  const tails = STREAMS.map((stream) => openTail({ ...order, stream, path: join(order.folder, `${order.incarnation}.${stream}`) }));
  let timer: NodeJS.Timeout | null = null;
  let watcher: FSWatcher | null = null;
  let closed = false;
  let idle = 0;
  /** One look at a time, whoever asks. */
  let last: Promise<unknown> = Promise.resolve();

  const look = (): Promise<unknown> => {
    last = last.then(lookAll);
    return last;
  };
  async function lookAll(): Promise<void> {
    if (closed) return;
    let most: Look = 'nothing';
    for (const tail of tails) {
      const outcome = await tail.look();
      if (URGENCY.indexOf(outcome) > URGENCY.indexOf(most)) most = outcome;
    }
    idle = most === 'nothing' ? idle + 1 : 0;
    if (idle === 0) unwatch();
    // Watched first, looked at once more then: what came between the two would wake nobody.
    else if (idle === IDLE_LOOKS) watchFolder();
    const pause_ms = idle <= IDLE_LOOKS ? PAUSE_MS[most] : watcher === null ? POLL_UNWATCHED_MS : POLL_WATCHED_MS;
    again(pause_ms);
  }
  function again(pause_ms: number): void {
    if (timer !== null) clearTimeout(timer);
    if (closed) return;
    timer = setTimeout(() => { void look(); }, pause_ms);
    timer.unref();
  }
  function watchFolder(): void {
    try {
      watcher ??= watch(order.folder, { persistent: false }, (_, name) => {
        if (name === null || !name.startsWith(order.incarnation)) return;
        unwatch();
        idle = 0;
        again(0);
      });
      watcher.on('error', unwatch);
    } catch {
      // No watch to be had: the slow look finds it.
      watcher = null;
    }
  }
  function unwatch(): void {
    watcher?.close();
    watcher = null;
  }

  for (const tail of tails) tail.known.look = look;
  void look();
  return {
    async close() {
      await last;
      closed = true;
      if (timer !== null) clearTimeout(timer);
      unwatch();
      await last;
      for (const tail of tails) await tail.close();
    },
  };
}

// A download's bytes on their way: one file written by position, and beside it what of it is here, so that no kill loses more than a moment.
import { closeSync, constants, fdatasync, fsync, fstatSync, fsyncSync, ftruncateSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { promisify } from 'node:util';
import type { Identity } from './download-http.ts';
import { openNotes } from './download-note.ts';
import { cutAt, sizeOf, withSpan, type Spans } from './download-spans.ts';

/** What a kill may cost: so many bytes come twice. Twenty kills within 200 MB then cost at most 0.7 % of them; a note costs some 10 µs. */
const NOTE_EVERY_BYTES = 64 * 1024;
/** What a power cut may cost. Also bounds what waits to be written, so that the sync at the end is short. */
const SYNC_EVERY_BYTES = 32 * 1024 * 1024;
/** Others write to the disk, too. */
const ROOM_EVERY_BYTES = 4 * 1024 * 1024;
/** `stat` counts in these on every system. */
const BLOCK_BYTES = 512;

const synced = promisify(fdatasync);
const syncedWhole = promisify(fsync);

export type Part = ReturnType<typeof openPart>;

/** A fault of the disk is told apart by its path, which writes by descriptor do not name. A mistake of our own has no code and stays what it is. */
const ofDisk = (error: unknown, path: string): Error => ((error as NodeJS.ErrnoException).code === undefined ? (error as Error) : Object.assign(error as Error, { path: (error as NodeJS.ErrnoException).path ?? path }));

/** One sync at a time in the whole process: the threads that carry it are few, and others wait for them. */
let syncing: Promise<void> = Promise.resolve();

export function openPart(path: string, o: { readonly boot: string; readonly reserve_bytes: number }) {
  const noteFd = openSync(`${path}.state`, constants.O_RDWR | constants.O_CREAT, 0o600);
  const fd = openOr(path, () => closeSync(noteFd));
  const notes = openNotes(noteFd);
  const { before } = notes;
  let identity = before?.identity ?? null;
  let ranged = before?.ranged ?? false;
  // After a crash of the machine only what was synced is believed, and never more than there is.
  let have = cutAt((before?.boot === o.boot ? before.have : before?.safe) ?? [], fstatSync(fd).size);
  let safe = cutAt(before?.safe ?? [], fstatSync(fd).size);
  const since = { note: 0, sync: 0, room: 0 };
  /** How often it was begun: a sync of what lay here before says nothing about what lies here now. */
  let begun = 0;
  let isSyncing = false;
  let own: Promise<unknown> = Promise.resolve();
  let failed: Error | null = null;
  let closed = false;

  const note = (): void => {
    if (identity === null || closed) return;
    try {
      notes.write({ boot: o.boot, identity, ranged, have, safe });
    } catch (error) {
      throw ofDisk(error, path);
    }
    since.note = 0;
  };
  const room = (): void => {
    since.room = 0;
    const { bavail, bsize } = statfsSync(path);
    if (bavail * bsize < o.reserve_bytes) throw ofDisk(Object.assign(new Error(`less than ${o.reserve_bytes} bytes are free`), { code: 'ENOSPC' }), path);
  };
  /** Data before note: what the note calls safe is. */
  const sync = async (how: (fd: number) => Promise<void>): Promise<void> => {
    const [covered, of] = [have, begun];
    since.sync = 0;
    isSyncing = true;
    const turn = syncing.then(() => how(fd));
    syncing = turn.catch(() => undefined);
    own = syncing;
    try {
      await turn;
      if (of !== begun) return;
      safe = covered;
      note();
    } catch (error) {
      // What the kernel could not write it may have dropped.
      have = safe;
      failed = ofDisk(error, path);
      throw failed;
    } finally {
      isSyncing = false;
    }
  };

  return {
    path,
    identity: (): Identity | null => identity,
    ranged: (): boolean => ranged,
    have: (): Spans => have,
    /** What it takes of the disk. */
    held_bytes: (): number => fstatSync(fd).blocks * BLOCK_BYTES,
    /** From nothing. Bytes of another file must never be taken for bytes of this one, so the note comes first, for certain. */
    begin(next: Identity, isRanged: boolean): void {
      [identity, ranged, have, safe, begun] = [next, isRanged, [], [], begun + 1];
      try {
        notes.reserve();
        note();
        fsyncSync(noteFd);
        ftruncateSync(fd, 0);
        room();
      } catch (error) {
        throw ofDisk(error, path);
      }
    },
    /** The same file by newer names. */
    rename(next: Identity): void {
      identity = next;
      note();
    },
    write(bytes: Buffer, at: number): void {
      if (failed !== null) throw failed;
      try {
        for (let done = 0; done < bytes.length;) {
          const count = writeSync(fd, bytes, done, bytes.length - done, at + done);
          have = withSpan(have, { from: at + done, to: at + done + count });
          done += count;
        }
      } catch (error) {
        throw ofDisk(error, path);
      }
      for (const key of ['note', 'sync', 'room'] as const) since[key] += bytes.length;
      if (since.note >= NOTE_EVERY_BYTES) note();
      if (since.room >= ROOM_EVERY_BYTES) room();
      // Its failure is told by the next write.
      if (since.sync >= SYNC_EVERY_BYTES && !isSyncing) void sync(synced).catch(() => undefined);
    },
    note,
    /** Everything is on the disk when this is done, and nothing behind it: what the note does not cover may be longer. */
    async finish(total: number): Promise<void> {
      try {
        ftruncateSync(fd, total);
      } catch (error) {
        throw ofDisk(error, path);
      }
      await sync(syncedWhole);
    },
    async close(): Promise<void> {
      if (closed) return;
      try {
        note();
      } catch {
        // A full disk takes no note: the one before stands, and covers less.
      }
      closed = true;
      // A sync under way has the file open.
      await own;
      closeSync(fd);
      closeSync(noteFd);
      // Nothing ever came: an address that is wrong leaves nothing behind.
      if (identity === null) for (const name of [path, `${path}.state`]) rmSync(name, { force: true });
    },
  };
}

function openOr(path: string, undo: () => void): number {
  try {
    return openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  } catch (error) {
    undo();
    throw error;
  }
}

/** Bytes that are here. */
export const bytesOf = (part: Part): number => sizeOf(part.have());

// Writes bkg.yaml only if nobody saved it meanwhile, so that an editor that races it never loses a byte.
import { constants, type Stats } from 'node:fs';
import { access, chmod, chown, link, lstat, open, readFile, readdir, readlink, realpath, rename, rm, stat, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { revisionOf } from './declare.ts';

/** An editor that has the old file open may still write into it for a moment after it was moved aside. */
const LATE_WRITE_MS = 25;

export type CommitOrder = { readonly path: string; readonly expectRevision: string; readonly text: string; readonly journalFolder: string };
export type Committed =
  | { readonly ok: true; readonly revision: string }
  | { readonly ok: false; readonly code: 'Stale'; readonly revision: string }
  | { readonly ok: false; readonly code: 'ReadOnlyFile'; readonly message: string };

type Journal = { readonly path: string; readonly old: string; readonly new: string; readonly temporary: string; readonly aside: string; readonly inPlace: boolean };

/** `text` takes the file's place when its revision is still `expectRevision`; else nothing is changed. */
export async function commit(order: CommitOrder): Promise<Committed> {
  const managed = await managedElsewhere(order.path);
  if (managed !== null) return { ok: false, code: 'ReadOnlyFile', message: managed };
  const path = await realpath(order.path);
  const old = await readFile(path);
  if (revisionOf(old) !== order.expectRevision) return { ok: false, code: 'Stale', revision: revisionOf(old) };
  const facts = await stat(path);
  if (!(await isWritable(path, facts))) return { ok: false, code: 'ReadOnlyFile', message: `${order.path} may not be written (mode ${(facts.mode & 0o777).toString(8)}, or a read-only mount). Apply the diff by hand, or make it writable.` };
  const name = `.${basename(path)}.${process.pid}`;
  const journal: Journal = { path, old: old.toString('utf8'), new: order.text, temporary: join(dirname(path), `${name}.new`), aside: join(dirname(path), `${name}.old`), inPlace: false };
  const swapped = await swap(order, journal, facts);
  return swapped ?? writeInPlace(order, { ...journal, inPlace: true });
}

const FOLDER_FAULTS = new Set(['EACCES', 'EPERM', 'EROFS', 'EBUSY', 'EXDEV']);

/** Null when the folder does not allow it (a single bind-mounted file): the caller then writes in place. */
async function swap(order: CommitOrder, journal: Journal, facts: Stats): Promise<Committed | null> {
  const record = await writeJournal(order.journalFolder, journal);
  try {
    await writeSynced(journal.temporary, journal.new, facts);
    await rename(journal.path, journal.aside);
  } catch (error) {
    await rm(journal.temporary, { force: true });
    await unlink(record);
    if (FOLDER_FAULTS.has((error as NodeJS.ErrnoException).code ?? '')) return null;
    throw error;
  }
  const result = await settleSwap(order, journal);
  await rm(journal.temporary, { force: true });
  await rm(journal.aside, { force: true });
  await syncFolder(dirname(journal.path));
  await unlink(record);
  return result;
}

/** The old file lies aside: what it holds now decides whether the new one may take its place. */
async function settleSwap(order: CommitOrder, journal: Journal): Promise<Committed> {
  const moved = revisionOf(await readFile(journal.aside));
  if (moved !== order.expectRevision) {
    await restore(journal);
    return { ok: false, code: 'Stale', revision: moved };
  }
  try {
    // link, unlike rename, never replaces: a save that came in between stays.
    await link(journal.temporary, journal.path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') {
      await restore(journal);
      throw error;
    }
    return { ok: false, code: 'Stale', revision: revisionOf(await readFile(journal.path)) };
  }
  await new Promise((resolve) => { setTimeout(resolve, LATE_WRITE_MS); });
  const late = revisionOf(await readFile(journal.aside));
  if (late === order.expectRevision) return { ok: true, revision: revisionOf(order.text) };
  await giveBack(journal);
  return { ok: false, code: 'Stale', revision: late };
}

/** An editor wrote into the old file after all: its save wins, ours is to be made again on top of it. */
async function giveBack(journal: Journal): Promise<void> {
  // Both names are one file now, and a rename between such does nothing.
  await rm(journal.temporary, { force: true });
  await rename(journal.path, journal.temporary).catch(ignoreMissing);
  // What stood there may be a still newer save by now: then that one wins.
  const stood = await readFile(journal.temporary, 'utf8').catch(() => null);
  const winner = stood === null || stood === journal.new ? journal.aside : journal.temporary;
  await link(winner, journal.path).catch(ignoreTaken);
}

const ignoring = (code: string) => (error: NodeJS.ErrnoException): void => { if (error.code !== code) throw error; };
const ignoreMissing = ignoring('ENOENT');
const ignoreTaken = ignoring('EEXIST');

/** Puts the old file back unless somebody has saved a newer one in its place. */
async function restore(journal: Journal): Promise<void> {
  await link(journal.aside, journal.path).catch(ignoreTaken);
}

/** A file that cannot be moved (bind mount): written over, under the journal. */
async function writeInPlace(order: CommitOrder, journal: Journal): Promise<Committed> {
  const now = revisionOf(await readFile(journal.path));
  if (now !== order.expectRevision) return { ok: false, code: 'Stale', revision: now };
  const record = await writeJournal(order.journalFolder, journal);
  try {
    await overwrite(journal.path, journal.new);
  } catch (error) {
    // A full disk: the old bytes have their room there still. If not even they go in, the journal stays for the next start.
    await overwrite(journal.path, journal.old);
    await unlink(record);
    throw error;
  }
  await unlink(record);
  return { ok: true, revision: revisionOf(order.text) };
}

/** Shortens the file last: whenever this is cut off, what is left can be told by its bytes. */
async function overwrite(path: string, text: string): Promise<void> {
  const file = await open(path, 'r+');
  try {
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.length; ) at += (await file.write(bytes, at, bytes.length - at, at)).bytesWritten;
    await file.truncate(bytes.length);
    await file.sync();
  } finally {
    await file.close();
  }
}

// ─── The journal ────────────────────────────────────────────────────────────────────────────────────────────────────────

async function writeJournal(folder: string, journal: Journal): Promise<string> {
  const path = join(folder, `${process.pid}-${revisionOf(journal.path).slice(0, 12)}.json`);
  await writeSynced(path, JSON.stringify(journal), null);
  await syncFolder(folder);
  return path;
}

/** Finishes or undoes what a killed bkg left half done. Called before the file is read for the first time. */
export async function replayJournal(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const record = join(folder, name);
    const text = await readFile(record, 'utf8');
    // A record that is cut short was never acted on: the file is touched only after it is whole on disk.
    const journal = parseJournal(text);
    if (journal !== null) await (journal.inPlace ? replayInPlace(journal) : replaySwap(journal));
    await rm(record, { force: true });
  }
}

function parseJournal(text: string): Journal | null {
  try {
    return JSON.parse(text) as Journal;
  } catch {
    return null;
  }
}

async function replaySwap(journal: Journal): Promise<void> {
  const [aside, now, temporary] = await Promise.all([journal.aside, journal.path, journal.temporary].map((path) => readFile(path, 'utf8').catch(() => null)));
  if (aside !== null && now === null) {
    // Cut off while it gave a late save back: what it had taken down may be a newer one.
    const newer = aside !== journal.old && temporary !== null && temporary !== journal.new;
    await link(newer ? journal.temporary : journal.aside, journal.path).catch(ignoreTaken);
  }
  // A save that came late, into the old file.
  if (aside !== null && aside !== journal.old && now === journal.new) await rename(journal.aside, journal.path);
  await rm(journal.temporary, { force: true });
  await rm(journal.aside, { force: true });
}

async function replayInPlace(journal: Journal): Promise<void> {
  const now = await readFile(journal.path).catch(() => null);
  // Part new, part old: ours, torn. Anything else is whole, or a save of somebody's, and stays.
  if (now !== null && isTorn(now, { old: Buffer.from(journal.old), new: Buffer.from(journal.new) })) await overwrite(journal.path, journal.old);
}

/** The new bytes up to somewhere and the old ones behind it; a replay that was cut off itself has put old ones in front. */
function isTorn(now: Buffer, texts: { readonly old: Buffer; readonly new: Buffer }): boolean {
  if (now.equals(texts.old) || now.equals(texts.new)) return false;
  let at = 0;
  while (at < now.length && now[at] === texts.old[at]) at += 1;
  while (at < now.length && now[at] === texts.new[at]) at += 1;
  return now.subarray(at).equals(texts.old.subarray(at));
}

// ─── Files ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

async function writeSynced(path: string, text: string, like: Stats | null): Promise<void> {
  const file = await open(path, 'w', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  if (like === null) return;
  await chmod(path, like.mode & 0o7777);
  // Only root may give files away; for everybody else the file is their own already.
  await chown(path, like.uid, like.gid).catch(() => undefined);
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Root may write anything; a mode without a single `w` was still set by somebody who meant it. */
const isWritable = (path: string, facts: Stats): Promise<boolean> => ((facts.mode & 0o222) === 0 ? Promise.resolve(false) : access(path, constants.W_OK).then(() => true, () => false));

/** A ConfigMap's file is a link through `..data`: its owner writes it, nobody else. */
async function managedElsewhere(path: string): Promise<string | null> {
  const facts = await lstat(path);
  if (!facts.isSymbolicLink()) return null;
  const target = await readlink(path);
  return target.includes('..data') ? `${path} is kept by whoever mounts it (it is a link through ..data). Apply the diff where it comes from.` : null;
}

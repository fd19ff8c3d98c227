// The store of models: bytes lie under their hash, are believed only while they still have it, and wrong ones are put apart.
import { mkdir, open, readdir, rename, rm, utimes } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { digestOf, lookAt, remember } from './download-bytes.ts';
import { fault } from './download-faults.ts';
import type { Fault, Present } from './download.ts';
import { formatFault } from './format.ts';

/** Of wrong bytes the last are kept, to be looked at: so many files, and together so many bytes. A source that is wrong at every try must not fill the disk. */
const QUARANTINE_FILES = 4;
const QUARANTINE_BYTES = 8 * 1024 ** 3;

/** Engines look at the ending, so it is kept. */
const endingOf = (name: string): string => (/^\.[a-z0-9]{1,16}$/i.test(extname(name)) ? extname(name) : '');

type Kept = { readonly hash: string; readonly name: string };

export const storePath = (folder: string, { hash, name }: Kept): string => join(folder, 'sha256', `${hash}${endingOf(name)}`);

/** Believed only when the bytes still have the hash that their name says; others are removed. */
export async function stored(folder: string, wanted: Kept, o: { readonly signal: AbortSignal; readonly onProgress: (bytes: number, total: number) => void }): Promise<Present | null> {
  const path = storePath(folder, wanted);
  const facts = await lookAt(path);
  if (facts === null) return null;
  const digest = facts.isFile ? await digestOf(path, facts, { signal: o.signal, onBytes: (done) => o.onProgress(done, facts.bytes) }) : null;
  if (digest !== wanted.hash) await rm(path, { recursive: true, force: true });
  return digest === wanted.hash ? { ok: true, path, sha256: digest, bytes: facts.bytes, mtime_ms: facts.mtime_ms, commit: null } : null;
}

type Came = { readonly path: string; readonly name: string; readonly digest: string; readonly bytes: number; readonly commit: string | null; /** What it should be, and who says so. */ readonly expected: { readonly sha256: string; readonly by: string } | null };

/** Answers where they are, null when they are more than may be kept. */
export async function putApart(folder: string, { path, name, digest }: Pick<Came, 'path' | 'name' | 'digest'>): Promise<string | null> {
  const quarantine = join(folder, 'quarantine');
  await mkdir(quarantine, { recursive: true, mode: 0o700 });
  const place = join(quarantine, `${digest}${endingOf(name)}`);
  await rename(path, place);
  await rm(`${path}.state`, { force: true });
  const now = new Date();
  // The same wrong bytes may have come before: they are the last ones now.
  await utimes(place, now, now);
  const lie = (await Promise.all((await readdir(quarantine)).map(async (one) => ({ path: join(quarantine, one), facts: await lookAt(join(quarantine, one)) })))).sort((one, other) => (other.facts?.mtime_ms ?? 0) - (one.facts?.mtime_ms ?? 0));
  let bytes = 0;
  for (const [index, one] of lie.entries()) {
    bytes += one.facts?.bytes ?? 0;
    if (index >= QUARANTINE_FILES || bytes > QUARANTINE_BYTES) await rm(one.path, { recursive: true, force: true });
  }
  return (await lookAt(place)) === null ? null : quarantine;
}

/** Verified bytes move under their hash, once `finish` has brought them to the disk; wrong ones are kept apart, never served. */
export async function keep(folder: string, came: Came, o: { readonly signal: AbortSignal; readonly finish: () => Promise<void> }): Promise<Present | Fault> {
  const { path: part, name, digest, expected } = came;
  const mismatch = expected !== null && digest !== expected.sha256;
  const wrong = mismatch ? `its sha256 is ${digest}, ${expected.by} ${expected.sha256}` : await formatFault(part, name, o.signal);
  if (wrong !== null) {
    const kept = await putApart(folder, came);
    return fault(mismatch ? 'HashMismatch' : 'Invalid', `${name}: ${wrong}; the bytes are ${kept === null ? 'too many to be kept' : `kept in ${kept}`}`);
  }
  await o.finish();
  const path = storePath(folder, { hash: digest, name });
  await rename(part, path);
  const shelf = await open(join(folder, 'sha256'));
  await shelf.sync().finally(() => shelf.close());
  await rm(`${part}.state`, { force: true });
  const facts = await lookAt(path);
  if (facts?.bytes !== came.bytes) return fault('Unwritable', `${path} vanished or changed as soon as it was there; leave the folder to bkg`);
  remember(path, facts, digest);
  return { ok: true, path, sha256: digest, bytes: came.bytes, mtime_ms: facts.mtime_ms, commit: came.commit };
}

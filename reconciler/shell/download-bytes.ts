// What a model file's bytes are: size and time as they stand now, and the hash as long as these stay.
import { createHash } from 'node:crypto';
import { statSync, type BigIntStats } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { hashFile } from './hashing.ts';

/** A file changed this shortly ago may change again within the same tick of the file system's clock. */
const SETTLED_MS = 1_000;
/** Hashed in less time than it takes to tell a thread. */
const SMALL_BYTES = 64 * 1024;

export type Facts = { readonly isFile: boolean; readonly bytes: number; readonly mtime_ms: number; readonly stamp: string };

/** Microseconds are what a number holds without loss, so that a time that was written down compares equal. */
const factsOf = (stats: BigIntStats): Facts =>
  ({ isFile: stats.isFile(), bytes: Number(stats.size), mtime_ms: Number(stats.mtimeNs / 1_000n) / 1_000, stamp: `${stats.size} ${stats.mtimeNs} ${stats.ino}` });

const isAbsence = (error: unknown): boolean => ['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '');

/** Null when nothing is there. Throws when it cannot be told. */
export async function lookAt(path: string): Promise<Facts | null> {
  try {
    return factsOf(await stat(path, { bigint: true }));
  } catch (error) {
    if (isAbsence(error)) return null;
    throw error;
  }
}

/** As `lookAt`, before there is a loop to wait in; what cannot be told counts as not there. */
export function lookNow(path: string): Facts | null {
  try {
    return factsOf(statSync(path, { bigint: true }));
  } catch {
    return null;
  }
}

export type Reading = { readonly signal: AbortSignal; readonly onBytes: (bytes: number) => void };

/** Path → hash of its bytes, as long as size, time and inode stay. */
const hashed = new Map<string, { readonly stamp: string; readonly hash: string; readonly at_ms: number }>();

/** sha256 of a file that was just looked at; null when it changed while it was read. */
export async function digestOf(path: string, facts: Facts, reading: Reading): Promise<string | null> {
  const before = hashed.get(path);
  if (before?.stamp === facts.stamp) return before.hash;
  const digest = facts.bytes <= SMALL_BYTES ? await hashSmall(path, reading) : await hashFile(path, reading);
  if ((await lookAt(path))?.stamp !== facts.stamp) return null;
  if (Date.now() - facts.mtime_ms > SETTLED_MS) hashed.set(path, { stamp: facts.stamp, hash: digest, at_ms: Date.now() });
  return digest;
}

async function hashSmall(path: string, reading: Reading): Promise<string> {
  const bytes = await readFile(path, { signal: reading.signal });
  reading.onBytes(bytes.length);
  return createHash('sha256').update(bytes).digest('hex');
}

/** Notes the hash of bytes that bkg itself has hashed while writing them. */
export function remember(path: string, facts: Facts, hash: string): void {
  hashed.set(path, { stamp: facts.stamp, hash, at_ms: Date.now() });
}

/** When the bytes of a file were hashed, in milliseconds since 1970; null where that is not known. */
export const hashedAt = (path: string): number | null => hashed.get(path)?.at_ms ?? null;

/** The next look hashes it anew, whatever its size and time say. */
export const forget = (path: string): void => { hashed.delete(path); };

/** Whether the bytes that were hashed still lie there, as far as size and time tell. */
export const isSame = (was: { readonly bytes: number; readonly mtime_ms?: number }, facts: Facts | null): boolean => facts !== null && facts.isFile && facts.bytes === was.bytes && facts.mtime_ms === was.mtime_ms;

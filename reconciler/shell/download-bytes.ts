// What a model file's bytes are: size and time as they stand now, the hash as long as these stay, the format by its first bytes.
import { createHash, type Hash } from 'node:crypto';
import { createReadStream, statSync, type BigIntStats } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { extname } from 'node:path';

/** A file changed this shortly ago may change again within the same tick of the file system's clock. */
const SETTLED_MS = 1_000;
const READ_BYTES = 1 << 20;
const GGUF_MAGIC = 'GGUF';

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
const hashed = new Map<string, { readonly stamp: string; readonly hash: string }>();

/** sha256 of a file that was just looked at; null when it changed while it was read. */
export async function digestOf(path: string, facts: Facts, reading: Reading): Promise<string | null> {
  const before = hashed.get(path);
  if (before?.stamp === facts.stamp) return before.hash;
  const digest = (await feed(path, createHash('sha256'), reading)).digest('hex');
  if ((await lookAt(path))?.stamp !== facts.stamp) return null;
  if (Date.now() - facts.mtime_ms > SETTLED_MS) hashed.set(path, { stamp: facts.stamp, hash: digest });
  return digest;
}

/** Notes the hash of bytes that bkg itself has hashed while writing them. */
export function remember(path: string, facts: Facts, hash: string): void {
  hashed.set(path, { stamp: facts.stamp, hash });
}

/** The next look hashes it anew, whatever its size and time say. */
export const forget = (path: string): void => { hashed.delete(path); };

/** Whether the bytes that were hashed still lie there, as far as size and time tell. */
export const isSame = (was: { readonly bytes: number; readonly mtime_ms?: number }, facts: Facts | null): boolean => facts !== null && facts.isFile && facts.bytes === was.bytes && facts.mtime_ms === was.mtime_ms;

export async function feed(path: string, hash: Hash, reading: Reading): Promise<Hash> {
  let bytes = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: READ_BYTES, signal: reading.signal }) as AsyncIterable<Buffer>) {
    hash.update(chunk);
    bytes += chunk.length;
    reading.onBytes(bytes);
  }
  return hash;
}

/** `name` tells the format, `path` where the bytes lie now. */
export async function formatFault(path: string, name: string): Promise<string | null> {
  if (extname(name).toLowerCase() !== '.gguf') return null;
  const file = await open(path);
  try {
    const magic = Buffer.alloc(GGUF_MAGIC.length);
    await file.read(magic, 0, magic.length, 0);
    return magic.toString('latin1') === GGUF_MAGIC ? null : `${name} is no GGUF file: it does not begin with "${GGUF_MAGIC}"; check the source`;
  } finally {
    await file.close();
  }
}

// Looks at the first bytes of a model file: what is no GGUF is refused in words, before anything reads nonsense from it.
import { closeSync, openSync, readSync } from 'node:fs';

const HEADER_BYTES = 24;
const VERSIONS = [2, 3];
/** Far above any real model; nonsense gives numbers far above these. */
const MAX_TENSORS = 1_000_000n;
const MAX_KEYS = 1_000_000n;

/** Null when it may be loaded, else what is wrong. */
export function headerFault(path: string): string | null {
  const bytes = Buffer.alloc(HEADER_BYTES);
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? `the model file ${path} does not exist` : `the model file cannot be read: ${(error as Error).message}`;
  }
  const read = readSync(file, bytes, 0, HEADER_BYTES, 0);
  closeSync(file);
  if (read < HEADER_BYTES || bytes.toString('latin1', 0, 4) !== 'GGUF') return `${path} is no GGUF file`;
  const version = bytes.readUInt32LE(4);
  if (!VERSIONS.includes(version)) return `${path} is damaged, or a GGUF of version ${version}; versions ${VERSIONS.join(' and ')} can be read`;
  if (bytes.readBigUInt64LE(8) > MAX_TENSORS || bytes.readBigUInt64LE(16) > MAX_KEYS) return `${path} is damaged: its header makes no sense`;
  return null;
}

// What a model file is, told by its head alone: reads what it must, believes no number that the size of the file contradicts.
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { extname } from 'node:path';
import type { ModelFormat } from '../core/format.ts';
import { openReader, type Reader } from './format-bytes.ts';
import { readGguf } from './format-gguf.ts';
import { readOnnx } from './format-onnx.ts';
import { readSafetensors } from './format-safetensors.ts';

export type Inspection = { readonly ok: true; readonly about: ModelFormat } | { readonly ok: false; readonly message: string };

/** Null after a fault, which the reader keeps. */
type FormatReader = (reader: Reader) => Promise<ModelFormat | null>;
const READERS: ReadonlyMap<string, FormatReader> = new Map<string, FormatReader>([['.gguf', readGguf], ['.safetensors', readSafetensors], ['.onnx', readOnnx]]);

/** `name` tells the format, `path` where the bytes lie now. What is wrong with the file is said in words; only the signal throws. */
export async function inspect(path: string, name: string, signal: AbortSignal): Promise<Inspection> {
  const read = READERS.get(extname(name).toLowerCase());
  if (read === undefined) return { ok: true, about: { format: 'other' } };
  // Not to wait: a pipe of that name would hold whoever opens it until somebody writes.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch((error: NodeJS.ErrnoException) => error);
  if (file instanceof Error) return unreadable(name, file);
  try {
    return await inspectOpen(file, { name, read, signal });
  } catch (error) {
    signal.throwIfAborted();
    // What the system refuses is data; all else is our own mistake.
    if ((error as NodeJS.ErrnoException).syscall === undefined) throw error;
    return unreadable(name, error as NodeJS.ErrnoException);
  } finally {
    await file.close();
  }
}

/** What is wrong with the file, in words; null when nothing is. */
export async function formatFault(path: string, name: string, signal: AbortSignal): Promise<string | null> {
  const inspected = await inspect(path, name, signal);
  return inspected.ok ? null : inspected.message;
}

type Order = { readonly name: string; readonly read: FormatReader; readonly signal: AbortSignal };

async function inspectOpen(file: FileHandle, { name, read, signal }: Order): Promise<Inspection> {
  const facts = await file.stat();
  if (!facts.isFile()) return { ok: false, message: `${name} is not a file; check the source` };
  const reader = openReader((...place) => file.read(...place), facts.size, signal);
  const about = await read(reader);
  const fault = reader.fault();
  if (fault !== null) return { ok: false, message: `${name} ${fault}` };
  if (about === null) throw new Error(`${name}: nothing was read and nothing is wrong`);
  return { ok: true, about };
}

const unreadable = (name: string, error: NodeJS.ErrnoException): Inspection =>
  ({ ok: false, message: `${name} cannot be read (${error.code ?? error.message}); check that it is there and that bkg may read it` });

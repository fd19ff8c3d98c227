// A whole model, in one file or in many: brings each, knows all of them by one hash, and lays several out as one folder.
import { createHash } from 'node:crypto';
import { link, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { ModelFormat, SafetensorsFormat } from '../core/format.ts';
import type { FileSource, ModelSource, ObservedFile, ObservedModel } from '../core/types.ts';
import { digestOf, lookAt } from './download-bytes.ts';
import { fetchModel, type Fetched, type FetchOrder } from './download.ts';
import { inspect } from './format.ts';
import { listHub } from './model-hub.ts';

/** More belong to no model; a folder with more is another one than was meant. */
const FILES_MAX = 2_000;

export type WholeOrder = Omit<FetchOrder, 'source' | 'had'> & {
  readonly source: ModelSource;
  /** Files that were here before, with their hashes: what the store still has need not come again. */
  readonly had: readonly ObservedFile[];
};
type Fault = Extract<Fetched, { readonly ok: false }>;
export type Whole = { readonly ok: true; readonly path: string; readonly sha256: string; readonly bytes: number; readonly files: readonly ObservedFile[]; readonly about: ModelFormat; /** Of a hub's source. */ readonly commit: string | null; /** The owner's folder, with all that is in it. */ readonly isFolder?: true } | Fault;

type Wanted = { readonly name: string; readonly source: FileSource; /** As the hub knows it. */ readonly sha256: string | null; readonly bytes: number | null };

const fault = (reason: Fault['reason'], message: string, transient = false): Fault => ({ ok: false, reason, transient, message });

/** What is wrong with the world comes back as a fault. */
export async function fetchWhole(order: WholeOrder): Promise<Whole> {
  const { source } = order;
  switch (source.kind) {
    case 'hub': {
      const found = await listHub(source, order);
      return found.ok ? fetchAll(order, found.files, found.commit) : found;
    }
    case 'list': return fetchAll(order, source.files.map((file) => ({ ...file, sha256: null, bytes: null })));
    case 'file': if ((await lookAt(source.path).catch(() => null))?.isFile === false) return useFolder(order, source.path);
  }
  const name = basename(source.kind === 'http' ? new URL(source.url).pathname : source.path);
  const fetched = await fetchModel({ ...order, source, had: order.had[0]?.sha256 ?? null });
  if (!fetched.ok) return fetched;
  const { path, sha256, bytes, mtime_ms, commit } = fetched;
  const files = [{ name, path, sha256, bytes, mtime_ms }];
  const about = await formatOf(files, order.signal);
  return about.ok ? { ok: true, path, sha256, bytes, files, about: about.about, commit } : fault('Invalid', about.message);
}

/** One after another: each comes over several connections as it is. */
async function fetchAll(order: WholeOrder, wanted: readonly Wanted[], listed: string | null = null): Promise<Whole> {
  const sizes = wanted.map(({ bytes }) => bytes);
  const total = sizes.every((bytes) => bytes !== null) ? sizes.reduce((sum, bytes) => sum + (bytes ?? 0), 0) : null;
  const files: ObservedFile[] = [];
  let done = 0;
  let commit = listed;
  for (const { name, source, sha256 } of wanted) {
    const had = order.had.find((file) => file.name === name)?.sha256 ?? null;
    const fetched = await fetchModel({ ...order, source, sha256, had, onProgress: (bytes) => order.onProgress(done + bytes, total) });
    if (!fetched.ok) return { ...fetched, message: `${name}: ${fetched.message}` };
    done += fetched.bytes;
    commit ??= fetched.commit;
    files.push({ name, path: fetched.path, sha256: fetched.sha256, bytes: fetched.bytes, mtime_ms: fetched.mtime_ms });
  }
  const hash = hashOf(files);
  if (order.sha256 !== null && hash !== order.sha256) return fault('HashMismatch', `its files have the sha256 ${hash}, declared is ${order.sha256}; correct one of them (of several files it is the sha256 of what sha256sum prints of them, by name)`);
  const about = await formatOf(files, order.signal);
  if (!about.ok) return fault('Invalid', about.message);
  // The owner's shards lie side by side already.
  const isOwn = wanted.every(({ source }) => source.kind === 'file');
  const folder = isOwn ? dirname(files[0]!.path) : await layOut(order.folder, hash, files);
  return { ok: true, path: entryOf(folder, files), sha256: hash, bytes: done, files, about: about.about, commit };
}

/** Of shards the first one: engines find the others beside it. Of all else the folder. */
function entryOf(folder: string, files: readonly ObservedFile[]): string {
  const first = [...files].sort(byName)[0]!;
  return files.every(({ name }) => name.endsWith('.gguf')) ? join(folder, first.name) : folder;
}

/** The folder of links that a model's path leads to or into; its path, where there is none. */
export const folderOf = ({ path }: Pick<ObservedModel, 'path'>): string => /^.*\/folders\/[0-9a-f]{64}(?=\/|$)/.exec(path ?? '')?.[0] ?? path ?? '';

/** The files below a folder, by path; one more than a model may have says that there are more. */
export async function filesIn(folder: string): Promise<readonly string[]> {
  const entries = (await readdir(folder, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile() || entry.isSymbolicLink()).map((entry) => join(entry.parentPath, entry.name));
  // The cache of other programs is a folder of links.
  return (await Promise.all(entries.slice(0, FILES_MAX + 1).map(async (path) => ((await lookAt(path))?.isFile === true ? [path] : [])))).flat().sort();
}

/** Used where it lies, with all that is in it. */
async function useFolder(order: WholeOrder, folder: string): Promise<Whole> {
  const names = await filesIn(folder);
  if (names.length === 0) return fault('Invalid', `${folder} holds no file`, true);
  if (names.length > FILES_MAX) return fault('Invalid', `${folder} holds ${names.length} files, and a model has ${FILES_MAX} at most; name the folder of the model itself`);
  const files: ObservedFile[] = [];
  let done = 0;
  for (const path of names) {
    const facts = await lookAt(path);
    const digest = facts === null ? null : await digestOf(path, facts, { signal: order.signal, onBytes: (bytes) => order.onProgress(done + bytes, null) });
    if (facts === null || digest === null) return fault('Invalid', `${path} changed while it was read; it is read again soon`, true);
    done += facts.bytes;
    files.push({ name: path.slice(folder.length + 1), path, sha256: digest, bytes: facts.bytes, mtime_ms: facts.mtime_ms });
  }
  const hash = hashOf(files);
  if (order.sha256 !== null && hash !== order.sha256) return fault('HashMismatch', `the files in ${folder} have the sha256 ${hash}, declared is ${order.sha256}; correct one of them`, true);
  const about = await formatOf(files, order.signal);
  return about.ok ? { ok: true, path: folder, sha256: hash, bytes: done, files, about: about.about, commit: null, isFolder: true } : fault('Invalid', about.message, true);
}

const byName = (one: { readonly name: string }, other: { readonly name: string }): number => (one.name < other.name ? -1 : 1);

/** What `sha256sum` prints of them, hashed in its turn; of one file its own. */
export function hashOf(files: readonly Pick<ObservedFile, 'name' | 'sha256'>[]): string {
  if (files.length === 1) return files[0]!.sha256;
  const lines = [...files].sort(byName).map(({ name, sha256 }) => `${sha256}  ${name}\n`);
  return createHash('sha256').update(lines.join('')).digest('hex');
}

/** A folder of hard links under the names that the files have: the bytes lie in the store once. */
async function layOut(store: string, hash: string, files: readonly ObservedFile[]): Promise<string> {
  const folder = join(store, 'folders', hash);
  // A link that is another file by now, or gone, would be taken for what was verified.
  const same = await Promise.all(files.map(async ({ name, path }) => (await lookAt(join(folder, name)))?.stamp === (await lookAt(path))?.stamp));
  if (same.every(Boolean)) return folder;
  const making = `${folder}.new`;
  await rm(making, { recursive: true, force: true });
  for (const { name, path } of files) {
    const to = join(making, name);
    await mkdir(dirname(to), { recursive: true, mode: 0o700 });
    await link(path, to);
  }
  await rm(folder, { recursive: true, force: true });
  await rename(making, folder);
  return folder;
}

type Looked = { readonly ok: true; readonly about: ModelFormat } | { readonly ok: false; readonly message: string };

/** Every file is looked into; together they are what most of their bytes are. */
export async function formatOf(files: readonly ObservedFile[], signal: AbortSignal): Promise<Looked> {
  const known: Exclude<ModelFormat, { readonly format: 'other' }>[] = [];
  for (const { name, path } of [...files].sort(byName)) {
    const inspected = await inspect(path, name, signal);
    if (!inspected.ok) return inspected;
    if (inspected.about.format !== 'other') known.push(inspected.about);
  }
  const largest = known.reduce<(typeof known)[number] | null>((most, one) => (most === null || one.tensor_bytes > most.tensor_bytes ? one : most), null);
  if (largest === null) return { ok: true, about: { format: 'other' } };
  if (largest.format === 'safetensors') return { ok: true, about: known.filter((one) => one.format === 'safetensors').reduce(together) };
  // Only the first shard says what the model is.
  return { ok: true, about: known.find((one) => one.format === largest.format) ?? largest };
}

const together = (one: SafetensorsFormat, other: SafetensorsFormat): SafetensorsFormat => ({
  ...one, tensors: one.tensors + other.tensors, parameters: one.parameters + other.parameters, tensor_bytes: one.tensor_bytes + other.tensor_bytes,
  parametersByType: Object.fromEntries([...new Set([...Object.keys(one.parametersByType), ...Object.keys(other.parametersByType)])].map((type) => [type, (one.parametersByType[type] ?? 0) + (other.parametersByType[type] ?? 0)])),
});

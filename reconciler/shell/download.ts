// Brings a model file to this machine: from a file of the owner's, https, or a Hugging Face hub; resumed, hashed, kept by hash.
import { createHash, type Hash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { access, mkdir, open, readFile, rename, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { once } from 'node:events';
import { EnvHttpProxyAgent, request, type Dispatcher } from 'undici';
import type { ModelSource } from '../core/types.ts';
import { sha256 as hashText } from './secrets.ts';

/** No byte for this long: the connection is given up and tried again later from where it stood. */
const STALL_MS = 30_000;
const MAX_REDIRECTS = 5;
/** Left free on the disk after a download. */
const DISK_RESERVE_BYTES = 256 * 1024 * 1024;
const GGUF_MAGIC = 'GGUF';
const HUB = 'https://huggingface.co';

export type FetchOrder = {
  readonly source: ModelSource;
  /** What the bytes must hash to; null = whatever comes is taken and its hash noted. */
  readonly sha256: string | null;
  /** Folder of the store: `sha256/` and `partial/` lie below it. */
  readonly folder: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
  readonly onProgress: (bytes: number, total: number | null) => void;
};

export type FetchFault = 'NotFound' | 'HashMismatch' | 'Unauthorized' | 'Network' | 'DiskFull' | 'Invalid' | 'Aborted';
export type Fetched =
  | { readonly ok: true; readonly path: string; readonly sha256: string; readonly bytes: number }
  | { readonly ok: false; readonly reason: FetchFault; readonly message: string };

const fault = (reason: FetchFault, message: string): Fetched => ({ ok: false, reason, message });

/** What is wrong with the world comes back as a fault; nothing is thrown. */
export async function fetchModel(order: FetchOrder): Promise<Fetched> {
  try {
    if (order.source.kind === 'file') return await useFile(order, order.source.path);
    const known = order.sha256 === null ? null : await stored(order, order.sha256, nameOf(order.source));
    return known ?? (await download(order, urlOf(order)));
  } catch (error) {
    if (order.signal.aborted) return fault('Aborted', 'bkg is stopping; it goes on from here at the next start');
    const code = (error as NodeJS.ErrnoException).code ?? '';
    if (code === 'ENOSPC') return fault('DiskFull', 'the disk is full; make room, it goes on from here');
    return fault('Network', `${(error as Error).message}${code === '' ? '' : ` (${code})`}`);
  }
}

// ─── A file of the owner's ──────────────────────────────────────────────────────────────────────────────────────────────

/** Used where it lies, never copied. */
async function useFile(order: FetchOrder, path: string): Promise<Fetched> {
  const facts = await stat(path).catch(() => null);
  if (facts === null) return fault('NotFound', `${path} does not exist; a file: source is relative to bkg.yaml`);
  if (!facts.isFile()) return fault('Invalid', `${path} is not a file`);
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20, signal: order.signal }) as AsyncIterable<Buffer>) {
    hash.update(chunk);
    bytes += chunk.length;
    order.onProgress(bytes, facts.size);
  }
  const digest = hash.digest('hex');
  if (order.sha256 !== null && digest !== order.sha256) return fault('HashMismatch', `${path} has sha256 ${digest}, declared is ${order.sha256}`);
  const bad = await formatFault(path);
  return bad === null ? { ok: true, path, sha256: digest, bytes } : fault('Invalid', bad);
}

async function formatFault(path: string): Promise<string | null> {
  if (extname(path) !== '.gguf') return null;
  const file = await open(path);
  try {
    const magic = Buffer.alloc(GGUF_MAGIC.length);
    await file.read(magic, 0, magic.length, 0);
    return magic.toString('latin1') === GGUF_MAGIC ? null : `${basename(path)} is no GGUF file: it does not begin with "${GGUF_MAGIC}"`;
  } finally {
    await file.close();
  }
}

// ─── The store ──────────────────────────────────────────────────────────────────────────────────────────────────────────

const nameOf = (source: Exclude<ModelSource, { kind: 'file' }>): string => (source.kind === 'hf' ? basename(source.path) : basename(new URL(source.url).pathname));

/** Engines look at the ending, so it is kept. */
const storePath = (order: FetchOrder, hash: string, name: string): string => join(order.folder, 'sha256', `${hash}${extname(name)}`);

async function stored(order: FetchOrder, hash: string, name: string): Promise<Fetched | null> {
  const path = storePath(order, hash, name);
  const facts = await stat(path).catch(() => null);
  return facts === null ? null : { ok: true, path, sha256: hash, bytes: facts.size };
}

type Target = { readonly url: string; readonly token: string | null; readonly name: string };

function urlOf(order: FetchOrder): Target {
  const { source, env } = order;
  if (source.kind === 'file') throw new Error('a file has no address');
  if (source.kind === 'http') return { url: source.url, token: null, name: nameOf(source) };
  const hub = (env['HF_ENDPOINT'] ?? HUB).replace(/\/+$/, '');
  const path = source.path.split('/').map(encodeURIComponent).join('/');
  return { url: `${hub}/${source.org}/${source.repo}/resolve/${encodeURIComponent(source.revision)}/${path}`, token: env['HF_TOKEN'] ?? null, name: nameOf(source) };
}

// ─── Download ───────────────────────────────────────────────────────────────────────────────────────────────────────────

async function download(order: FetchOrder, target: Target): Promise<Fetched> {
  const partial = join(order.folder, 'partial', `${hashText(target.url).slice(0, 24)}.part`);
  await mkdir(join(order.folder, 'partial'), { recursive: true });
  await mkdir(join(order.folder, 'sha256'), { recursive: true });
  const from = await resumable(partial);
  const answer = await get(order, target, from);
  if (!answer.ok) return answer.fault;
  const { response, start } = answer;
  const length = Number(response.headers['content-length'] ?? NaN);
  const total = Number.isFinite(length) ? start + length : null;
  const room = await statfs(order.folder);
  if (total !== null && room.bavail * room.bsize < total - start + DISK_RESERVE_BYTES) {
    response.body.destroy();
    return fault('DiskFull', `${total - start} bytes are to come, ${room.bavail * room.bsize} are free on the disk; make room`);
  }
  const hash = createHash('sha256');
  if (start > 0) await rehash(partial, hash);
  await writeFile(`${partial}.state`, JSON.stringify({ etag: etagOf(response) }));
  const bytes = await pour(order, { response, partial, start, total, hash });
  if (total !== null && bytes !== total) return fault('Network', `the connection ended after ${bytes} of ${total} bytes; it goes on from there`);
  return settle(order, { partial, digest: hash.digest('hex'), bytes, name: target.name });
}

const etagOf = (response: Dispatcher.ResponseData): string | null => { const etag = response.headers['etag']; return typeof etag === 'string' ? etag : null; };

type Part = { readonly bytes: number; readonly etag: string | null };

/** A part may be continued only when the server can be asked whether the whole is still the same. */
async function resumable(partial: string): Promise<Part> {
  const facts = await stat(partial).catch(() => null);
  const state = await readFile(`${partial}.state`, 'utf8').catch(() => null);
  const etag = state === null ? null : (JSON.parse(state) as { etag: string | null }).etag;
  return facts === null || etag === null || etag.startsWith('W/') ? { bytes: 0, etag: null } : { bytes: facts.size, etag };
}

type Answer = { readonly ok: true; readonly response: Dispatcher.ResponseData; readonly start: number } | { readonly ok: false; readonly fault: Fetched };

async function get(order: FetchOrder, target: Target, from: Part): Promise<Answer> {
  const dispatcher = new EnvHttpProxyAgent({ headersTimeout: STALL_MS, bodyTimeout: STALL_MS });
  let url = new URL(target.url);
  const home = url.host;
  for (let hop = 0; hop <= MAX_REDIRECTS; hop += 1) {
    const headers: Record<string, string> = { 'user-agent': 'bkg' };
    // A credential is for the host it was meant for: a redirect elsewhere goes without.
    if (target.token !== null && url.host === home) headers['authorization'] = `Bearer ${target.token}`;
    if (from.bytes > 0) Object.assign(headers, { range: `bytes=${from.bytes}-`, 'if-range': from.etag ?? '' });
    const response = await request(url, { method: 'GET', headers, dispatcher, signal: order.signal });
    const location = response.headers['location'];
    if (response.statusCode >= 300 && response.statusCode < 400 && typeof location === 'string') {
      await response.body.dump();
      url = new URL(location, url);
      continue;
    }
    if (response.statusCode === 206) return { ok: true, response, start: from.bytes };
    if (response.statusCode === 200) return { ok: true, response, start: 0 };
    await response.body.dump();
    if (response.statusCode === 416 && from.bytes > 0) return get(order, target, { bytes: 0, etag: null });
    return { ok: false, fault: refused(response.statusCode, url) };
  }
  return { ok: false, fault: fault('Network', `${target.url} was redirected more than ${MAX_REDIRECTS} times`) };
}

function refused(status: number, url: URL): Fetched {
  if (status === 404 || status === 410) return fault('NotFound', `${url.origin}${url.pathname} does not exist (${status}); check the source`);
  if (status === 401 || status === 403) return fault('Unauthorized', `${url.host} refuses access (${status}); it may be gated: set HF_TOKEN in bkg's environment`);
  return fault('Network', `${url.host} answered ${status}`);
}

async function rehash(partial: string, hash: Hash): Promise<void> {
  for await (const chunk of createReadStream(partial, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
}

async function pour(order: FetchOrder, into: { readonly response: Dispatcher.ResponseData; readonly partial: string; readonly start: number; readonly total: number | null; readonly hash: Hash }): Promise<number> {
  const out = createWriteStream(into.partial, { flags: into.start > 0 ? 'a' : 'w', mode: 0o600, flush: true });
  let bytes = into.start;
  try {
    for await (const chunk of into.response.body as AsyncIterable<Buffer>) {
      into.hash.update(chunk);
      bytes += chunk.length;
      if (!out.write(chunk)) await once(out, 'drain');
      order.onProgress(bytes, into.total);
    }
  } finally {
    out.end();
    await once(out, 'close');
  }
  return bytes;
}

/** Verified bytes move under their hash; wrong ones are kept apart, never served. */
async function settle(order: FetchOrder, got: { readonly partial: string; readonly digest: string; readonly bytes: number; readonly name: string }): Promise<Fetched> {
  const state = `${got.partial}.state`;
  const path = storePath(order, got.digest, got.name);
  const typed = `${got.partial}${extname(got.name)}`;
  await rename(got.partial, typed);
  const wrong = order.sha256 !== null && got.digest !== order.sha256 ? `its sha256 is ${got.digest}, declared is ${order.sha256}` : await formatFault(typed);
  await rm(state, { force: true });
  if (wrong !== null) {
    const quarantine = join(order.folder, 'quarantine');
    await mkdir(quarantine, { recursive: true });
    await rename(typed, join(quarantine, `${got.digest}${extname(got.name)}`));
    return fault(order.sha256 !== null && got.digest !== order.sha256 ? 'HashMismatch' : 'Invalid', `${got.name}: ${wrong}; the bytes are kept in ${quarantine}`);
  }
  const exists = await access(path).then(() => true, () => false);
  if (exists) await rm(typed, { force: true });
  else await rename(typed, path);
  return { ok: true, path, sha256: got.digest, bytes: got.bytes };
}

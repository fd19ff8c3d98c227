// Brings a model file to this machine: from a file of the owner's, https, or a Hugging Face hub; resumed, hashed, kept by hash.
import { basename, join } from 'node:path';
import type { FileSource } from '../core/types.ts';
import { digestOf, lookAt, remember } from './download-bytes.ts';
import { diskFault, fault, stopped } from './download-faults.ts';
import type { Target } from './download-http.ts';
import { proxiesOf } from './download-socket.ts';
import { stored } from './download-store.ts';
import { fetchInThread } from './download-thread.ts';
import { formatFault } from './format.ts';
import { basicOf, hubAuthorizationOf, hubOf } from './hub.ts';
import { hostBoot } from './process.ts';
import { sha256 as hashText } from './secrets.ts';

/** Left free on the disk after a download. */
const DISK_RESERVE_BYTES = 256 * 1024 * 1024;
/** At once, of one file: a host gives each connection a share, and more than a few look like an attack. */
const CONNECTIONS = 4;
/** No byte for this long: the connection is given up and tried again from where it stood. */
const STALL_MS = 30_000;
/** Before the first new try; doubled with each. */
const RETRY_MS = 500;

export type FetchOrder = {
  readonly source: FileSource;
  /** What the bytes must hash to; null = whatever comes is taken and its hash noted. */
  readonly sha256: string | null;
  /** What they hashed to when they were here last: bytes in the store that still do need not come again. */
  readonly had?: string | null;
  /** Folder of the store: `sha256/`, `partial/` and `quarantine/` lie below it. */
  readonly folder: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
  readonly onProgress: (bytes: number, total: number | null) => void;
  /** How many parts of the file come at once, where the server gives parts. */
  readonly connections?: number;
  /** A cap on bytes a second, shared by all downloads of this process that have one; 0 = none. */
  readonly bandwidth_bytes?: number;
  /** The rest is for tests. No byte for this long ends a connection; pause before a second try; left free on the disk; asked for at a time. */
  readonly stall_ms?: number;
  readonly retry_ms?: number;
  readonly reserve_bytes?: number;
  readonly block_bytes?: number;
};

export type FetchFault = 'NotFound' | 'HashMismatch' | 'Unauthorized' | 'Network' | 'DiskFull' | 'Invalid' | 'Unreadable' | 'Unwritable' | 'Aborted';
/** `commit`: what a hub's revision stood for when it was asked; null where there is none or nobody was asked. */
export type Present = { readonly ok: true; readonly path: string; readonly sha256: string; readonly bytes: number; readonly mtime_ms: number; readonly commit: string | null };
/** `transient`: another try without a change may succeed. `retryAfter_ms`: how long the server asks to wait before it. */
export type Fault = { readonly ok: false; readonly reason: FetchFault; readonly transient: boolean; readonly message: string; readonly retryAfter_ms?: number };
export type Fetched = Present | Fault;

/** Downloads under way by their part: two models of one source share the bytes, and the part has one writer. */
const underWay = new Map<string, { readonly sha256: string | null; readonly fetched: Promise<Fetched>; readonly tell: Set<FetchOrder['onProgress']> }>();

/** What is wrong with the world comes back as a fault; nothing is thrown. */
export async function fetchModel(order: FetchOrder): Promise<Fetched> {
  try {
    order.signal.throwIfAborted();
    const { source } = order;
    // The owner may put another file there at any time: looking again costs nothing.
    if (source.kind === 'file') return await useFile(order, source.path).then((used) => (used.ok ? used : { ...used, transient: true }));
    const name = basename(source.kind === 'hf' ? source.path : new URL(source.url).pathname);
    const wanted = order.sha256 ?? order.had ?? null;
    const known = wanted === null ? null : await stored(order.folder, { hash: wanted, name }, order);
    return known ?? (await shared(order, name, targetOf(order, source)));
  } catch (error) {
    if (order.signal.aborted) return stopped();
    const { code = '', message } = error as NodeJS.ErrnoException;
    if (order.source.kind === 'file') return fault('Unreadable', `it could not be read: ${message}; let bkg's user read it`);
    if (code === 'ERR_INVALID_URL') return fault('Invalid', `its address is none: ${order.source.kind === 'hf' ? `HF_ENDPOINT is "${order.env['HF_ENDPOINT'] ?? ''}"` : 'check the source'}`);
    const known = diskFault(error, order.folder);
    if (known !== null) return known;
    throw error;
  }
}

/** Waits for the same download, then answers by its own declaration; one that was aborted for another is begun again. */
async function shared(order: FetchOrder, name: string, target: Target): Promise<Fetched> {
  const partial = join(order.folder, 'partial', `${hashText(target.url.href).slice(0, 24)}.part`);
  for (;;) {
    const other = underWay.get(partial);
    if (other === undefined) break;
    other.tell.add(order.onProgress);
    const result = await other.fetched.catch(() => null);
    if (order.signal.aborted) return stopped();
    if (result?.ok === true && (order.sha256 === null || order.sha256 === result.sha256)) return result;
    if (result?.ok === false && result.reason !== 'Aborted' && (result.reason !== 'HashMismatch' || order.sha256 === other.sha256)) return result;
  }
  const tell = new Set([order.onProgress]);
  const onProgress = (bytes: number, total: number | null): void => { for (const one of tell) one(bytes, total); };
  const fetched = download({ ...order, onProgress }, { name, target, partial }).finally(() => underWay.delete(partial));
  underWay.set(partial, { sha256: order.sha256, fetched, tell });
  return fetched;
}

async function download(order: FetchOrder, o: { readonly name: string; readonly target: Target; readonly partial: string }): Promise<Fetched> {
  const fetched = await fetchInThread({
    name: o.name, url: o.target.url.href, authorization: o.target.authorization, sha256: order.sha256, folder: order.folder, partial: o.partial,
    boot: hostBoot().bootId, proxies: proxiesOf(order.env), connections: order.connections ?? CONNECTIONS, bandwidth_bytes: (order.bandwidth_bytes ?? 0) > 0 ? order.bandwidth_bytes ?? null : null,
    reserve_bytes: order.reserve_bytes ?? DISK_RESERVE_BYTES, block_bytes: order.block_bytes ?? null, stall_ms: order.stall_ms ?? STALL_MS, retry_ms: order.retry_ms ?? RETRY_MS,
  }, order);
  if (!fetched.ok) return fetched;
  // The thread has hashed it; this side need not do so again.
  const facts = await lookAt(fetched.path);
  if (facts !== null && facts.bytes === fetched.bytes && facts.mtime_ms === fetched.mtime_ms) remember(fetched.path, facts, fetched.sha256);
  return fetched;
}

/** Used where it lies, never copied. */
async function useFile(order: FetchOrder, path: string): Promise<Fetched> {
  const facts = await lookAt(path);
  if (facts === null) return fault('NotFound', `${path} does not exist; a file: source is relative to bkg.yaml`);
  if (!facts.isFile) return fault('Invalid', `${path} is not a file`);
  const bad = await formatFault(path, basename(path), order.signal);
  if (bad !== null) return fault('Invalid', bad);
  const digest = await digestOf(path, facts, { signal: order.signal, onBytes: (done) => order.onProgress(done, facts.bytes) });
  if (digest === null) return fault('Invalid', `${path} changed while it was read; it is read again soon`);
  if (order.sha256 !== null && digest !== order.sha256) return fault('HashMismatch', `${path} has sha256 ${digest}, declared is ${order.sha256}; correct one of them`);
  return { ok: true, path, sha256: digest, bytes: facts.bytes, mtime_ms: facts.mtime_ms, commit: null };
}

/** The address to ask first, and the credential that goes with it. */
function targetOf(order: FetchOrder, source: Exclude<FileSource, { kind: 'file' }>): Target {
  if (source.kind === 'http') {
    const url = new URL(source.url);
    const authorization = basicOf(url);
    [url.username, url.password] = ['', ''];
    return { url, authorization };
  }
  const hub = hubOf(order.env);
  if (hub === null) throw Object.assign(new Error('HF_ENDPOINT is no address'), { code: 'ERR_INVALID_URL' });
  const path = source.path.split('/').map(encodeURIComponent).join('/');
  return { url: new URL(`${hub.href}${source.org}/${source.repo}/resolve/${encodeURIComponent(source.revision)}/${path}`), authorization: hubAuthorizationOf(order.env) };
}

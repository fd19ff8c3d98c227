// Brings a model file to this machine: from a file of the owner's, https, or a Hugging Face hub; resumed, hashed, kept by hash.
import { createHash, type Hash } from 'node:crypto';
import { mkdir, open, readFile, rename, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import type { FileSource } from '../core/types.ts';
import { digestOf, feed, formatFault, lookAt, remember } from './download-bytes.ts';
import { get, openWire, STALL_MS, type Answer, type Part, type Target, type Wire } from './download-http.ts';
import { sha256 as hashText } from './secrets.ts';

/** Left free on the disk after a download. */
const DISK_RESERVE_BYTES = 256 * 1024 * 1024;
const HUB = 'https://huggingface.co';

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
  /** For tests; no byte for this long ends the connection. */
  readonly stall_ms?: number;
};

export type FetchFault = 'NotFound' | 'HashMismatch' | 'Unauthorized' | 'Network' | 'DiskFull' | 'Invalid' | 'Unreadable' | 'Unwritable' | 'Aborted';
export type Fetched =
  | { readonly ok: true; readonly path: string; readonly sha256: string; readonly bytes: number; readonly mtime_ms: number }
  /** `transient`: another try without a change may succeed. */
  | { readonly ok: false; readonly reason: FetchFault; readonly transient: boolean; readonly message: string };

type Fault = Extract<Fetched, { readonly ok: false }>;

const PASSING: ReadonlySet<FetchFault> = new Set<FetchFault>(['Network', 'DiskFull', 'Unreadable', 'Unwritable', 'Aborted']);
/** How OpenSSL and node name a certificate they do not accept. */
const UNTRUSTED = /CERT|ISSUER|SELF_SIGNED/;

/** What the codes of a failed connection mean; others speak for themselves. */
const UNREACHED: Readonly<Record<string, string>> = {
  ENOTFOUND: 'no such host is known; is the network up, and the address right?',
  EAI_AGAIN: 'its name could not be looked up; is the network up?',
  ECONNREFUSED: 'it takes no connections',
  ECONNRESET: 'it broke the connection off',
  ENETUNREACH: 'there is no way to it; is the network up?',
  EHOSTUNREACH: 'there is no way to it; is the network up?',
  UND_ERR_CONNECT_TIMEOUT: 'it did not answer in time',
};

const fault = (reason: FetchFault, message: string): Fault => ({ ok: false, reason, transient: PASSING.has(reason), message });

/** Downloads under way by their part: two models of one source share the bytes, and the part has one writer. */
const underWay = new Map<string, Promise<Fetched>>();

/** What is wrong with the world comes back as a fault; nothing is thrown. */
export async function fetchModel(order: FetchOrder): Promise<Fetched> {
  try {
    const { source } = order;
    // The owner may put another file there at any time: looking again costs nothing.
    if (source.kind === 'file') return await useFile(order, source.path).then((used) => (used.ok ? used : { ...used, transient: true }));
    const name = basename(source.kind === 'hf' ? source.path : new URL(source.url).pathname);
    const wanted = order.sha256 ?? order.had ?? null;
    const known = wanted === null ? null : await stored(order, wanted, name);
    return known ?? (await shared(order, name, targetOf(order, source)));
  } catch (error) {
    if (order.signal.aborted) return fault('Aborted', 'bkg is stopping; it goes on from here at the next start');
    const { code = '', path, message, host } = error as NodeJS.ErrnoException & { readonly host?: string };
    if (code === 'ENOSPC' || code === 'EDQUOT') return fault('DiskFull', 'the disk is full; make room, it goes on from here');
    if (order.source.kind === 'file') return fault('Unreadable', `it could not be read: ${message}; let bkg's user read it`);
    if (path !== undefined) return fault('Unwritable', `${order.folder} cannot be used: ${message}; let bkg's user write there`);
    if (code === 'ERR_INVALID_URL') return fault('Invalid', `its address is none: ${order.source.kind === 'hf' ? `HF_ENDPOINT is "${order.env['HF_ENDPOINT'] ?? ''}"` : 'check the source'}`);
    if (UNTRUSTED.test(code)) return { ...fault('Network', `${host ?? hostOf(order)}: its certificate is not trusted here (${code}); add its authority to the machine's list or name it in NODE_EXTRA_CA_CERTS, then start bkg anew`), transient: false };
    return fault('Network', `${host ?? hostOf(order)}: ${UNREACHED[code] ?? message}${code === '' ? '' : ` (${code})`}`);
  }
}

const hostOf = (order: FetchOrder): string => (order.source.kind === 'http' ? new URL(order.source.url).host : new URL(order.env['HF_ENDPOINT'] ?? HUB).host);

/** Waits for the same download, then answers by its own declaration; one that was aborted for another is begun again. */
async function shared(order: FetchOrder, name: string, target: Target): Promise<Fetched> {
  const partial = join(order.folder, 'partial', `${hashText(target.url.href).slice(0, 24)}.part`);
  for (;;) {
    const other = underWay.get(partial);
    if (other === undefined) break;
    const result = await other.catch(() => null);
    if (order.signal.aborted) return fault('Aborted', 'bkg is stopping; it goes on from here at the next start');
    if (result?.ok === true && (order.sha256 === null || order.sha256 === result.sha256)) return result;
    if (result !== null && !result.ok && result.reason !== 'Aborted' && result.reason !== 'HashMismatch') return result;
  }
  const wire: Wire = { dispatcher: openWire(order.env, order.stall_ms ?? STALL_MS), signal: order.signal };
  const mine = download(order, { name, target, partial, wire }).finally(() => {
    underWay.delete(partial);
    void wire.dispatcher.destroy();
  });
  underWay.set(partial, mine);
  return mine;
}

// ─── A file of the owner's ──────────────────────────────────────────────────────────────────────────────────────────────

/** Used where it lies, never copied. */
async function useFile(order: FetchOrder, path: string): Promise<Fetched> {
  const facts = await lookAt(path);
  if (facts === null) return fault('NotFound', `${path} does not exist; a file: source is relative to bkg.yaml`);
  if (!facts.isFile) return fault('Invalid', `${path} is not a file`);
  const bad = await formatFault(path, basename(path));
  if (bad !== null) return fault('Invalid', bad);
  const digest = await digestOf(path, facts, { signal: order.signal, onBytes: (done) => order.onProgress(done, facts.bytes) });
  if (digest === null) return fault('Invalid', `${path} changed while it was read; it is read again soon`);
  if (order.sha256 !== null && digest !== order.sha256) return fault('HashMismatch', `${path} has sha256 ${digest}, declared is ${order.sha256}; correct one of them`);
  return { ok: true, path, sha256: digest, bytes: facts.bytes, mtime_ms: facts.mtime_ms };
}

// ─── The store ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Engines look at the ending, so it is kept. */
const endingOf = (name: string): string => (/^\.[a-z0-9]{1,16}$/i.test(extname(name)) ? extname(name) : '');
const storePath = (order: FetchOrder, hash: string, name: string): string => join(order.folder, 'sha256', `${hash}${endingOf(name)}`);

/** Believed only when the bytes still have the hash that their name says; others are removed. */
async function stored(order: FetchOrder, hash: string, name: string): Promise<Fetched | null> {
  const path = storePath(order, hash, name);
  const facts = await lookAt(path);
  if (facts === null) return null;
  const digest = facts.isFile ? await digestOf(path, facts, { signal: order.signal, onBytes: (done) => order.onProgress(done, facts.bytes) }) : null;
  if (digest !== hash) await rm(path, { recursive: true, force: true });
  return digest === hash ? { ok: true, path, sha256: hash, bytes: facts.bytes, mtime_ms: facts.mtime_ms } : null;
}

function targetOf(order: FetchOrder, source: Exclude<FileSource, { kind: 'file' }>): Target {
  if (source.kind === 'http') {
    const url = new URL(source.url);
    const user = url.username === '' ? null : `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
    [url.username, url.password] = ['', ''];
    return { url, authorization: user === null ? null : `Basic ${Buffer.from(user).toString('base64')}` };
  }
  const hub = (order.env['HF_ENDPOINT'] ?? HUB).replace(/\/+$/, '');
  const path = source.path.split('/').map(encodeURIComponent).join('/');
  const token = order.env['HF_TOKEN'] ?? '';
  return { url: new URL(`${hub}/${source.org}/${source.repo}/resolve/${encodeURIComponent(source.revision)}/${path}`), authorization: token === '' ? null : `Bearer ${token}` };
}

// ─── Download ───────────────────────────────────────────────────────────────────────────────────────────────────────────

type Job = { readonly name: string; readonly target: Target; readonly partial: string; readonly wire: Wire };

async function download(order: FetchOrder, job: Job): Promise<Fetched> {
  for (const folder of ['partial', 'sha256']) await mkdir(join(order.folder, folder), { recursive: true, mode: 0o700 });
  const part = await resumable(job.partial);
  const answer = await get(job.wire, job.target, part);
  if (answer.kind === 'refused') return { ok: false, ...answer.refusal };
  const start = answer.kind === 'complete' ? part.bytes : answer.start;
  const expected = order.sha256 ?? (answer.kind === 'complete' ? part.linkedSha256 : answer.linkedSha256);
  if (answer.kind === 'bytes') {
    const before = expected === null ? null : storePath(order, expected, job.name);
    if (expected !== null && before !== null && (await lookAt(before)) !== null) {
      // To hash what is here takes longer than a server waits.
      answer.body.destroy();
      const known = await stored(order, expected, job.name);
      if (known !== null) return known;
      return download(order, job);
    }
    const room = await roomFault(order, answer);
    if (room !== null) {
      answer.body.destroy();
      return room;
    }
    await writeFile(`${job.partial}.state`, JSON.stringify({ etag: answer.etag, linkedSha256: answer.linkedSha256 }), { flush: true });
  }
  const hash = createHash('sha256');
  if (start > 0) await feed(job.partial, hash, { signal: order.signal, onBytes: () => undefined });
  const bytes = answer.kind === 'complete' ? start : await pour(order, { ...job, answer, hash });
  if (answer.kind === 'bytes' && answer.total !== null && bytes !== answer.total) return fault('Network', `the connection ended after ${bytes} of ${answer.total} bytes; it goes on from there`);
  return keep(order, { ...job, digest: hash.digest('hex'), bytes, expected });
}

/** A part may be continued only when the server can be asked whether the whole is still the same. */
async function resumable(partial: string): Promise<Part & { readonly linkedSha256: string | null }> {
  const none = { bytes: 0, etag: null, linkedSha256: null };
  const facts = await stat(partial).catch(() => null);
  if (facts === null) return none;
  try {
    const state = JSON.parse(await readFile(`${partial}.state`, 'utf8')) as { readonly etag: string | null; readonly linkedSha256: string | null };
    return typeof state.etag !== 'string' || state.etag.startsWith('W/') ? none : { bytes: facts.size, etag: state.etag, linkedSha256: state.linkedSha256 ?? null };
  } catch {
    // No state, or half of one: the part is begun anew.
    return none;
  }
}

async function roomFault(order: FetchOrder, answer: Extract<Answer, { kind: 'bytes' }>): Promise<Fault | null> {
  if (answer.total === null) return null;
  const room = await statfs(order.folder);
  const [wanted, free] = [answer.total - answer.start, room.bavail * room.bsize];
  return free >= wanted + DISK_RESERVE_BYTES ? null : fault('DiskFull', `${wanted} bytes are to come, ${free} are free on the disk of ${order.folder} and ${DISK_RESERVE_BYTES} must stay; make room`);
}

async function pour(order: FetchOrder, into: { readonly answer: Extract<Answer, { kind: 'bytes' }>; readonly partial: string; readonly hash: Hash }): Promise<number> {
  const { answer } = into;
  const out = await open(into.partial, answer.start > 0 ? 'a' : 'w', 0o600);
  let bytes = answer.start;
  try {
    order.onProgress(bytes, answer.total);
    for await (const chunk of answer.body as AsyncIterable<Buffer>) {
      into.hash.update(chunk);
      await out.writeFile(chunk);
      bytes += chunk.length;
      order.onProgress(bytes, answer.total);
    }
    await out.sync();
  } finally {
    answer.body.destroy();
    await out.close();
  }
  return bytes;
}

/** Verified bytes move under their hash; wrong ones are kept apart, never served. */
async function keep(order: FetchOrder, got: Job & { readonly digest: string; readonly bytes: number; readonly expected: string | null }): Promise<Fetched> {
  const mismatch = got.expected !== null && got.digest !== got.expected;
  const wrong = mismatch ? `its sha256 is ${got.digest}, ${order.sha256 === null ? 'the hub says' : 'declared is'} ${got.expected}` : await formatFault(got.partial, got.name);
  await rm(`${got.partial}.state`, { force: true });
  if (wrong !== null) {
    const quarantine = join(order.folder, 'quarantine');
    await mkdir(quarantine, { recursive: true, mode: 0o700 });
    await rename(got.partial, join(quarantine, `${got.digest}${endingOf(got.name)}`));
    return fault(mismatch ? 'HashMismatch' : 'Invalid', `${got.name}: ${wrong}; the bytes are kept in ${quarantine}`);
  }
  const path = storePath(order, got.digest, got.name);
  await rename(got.partial, path);
  const folder = await open(join(order.folder, 'sha256'));
  await folder.sync().finally(() => folder.close());
  const facts = await lookAt(path);
  if (facts?.bytes !== got.bytes) return fault('Unwritable', `${path} vanished or changed as soon as it was there; leave the folder to bkg`);
  remember(path, facts, got.digest);
  return { ok: true, path, sha256: got.digest, bytes: got.bytes, mtime_ms: facts.mtime_ms };
}

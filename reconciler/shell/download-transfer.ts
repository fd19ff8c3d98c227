// One download from begin to end: asks, brings, hashes along, and keeps what came under its hash. Runs in the thread of downloads.
import { statfsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { lookAt } from './download-bytes.ts';
import { diskFault, fault, isOfWire, stopped, wireFault } from './download-faults.ts';
import { ask, type Answer, type Identity, type Site } from './download-http.ts';
import { bring } from './download-lanes.ts';
import { takeShare } from './download-limit.ts';
import { bytesOf, openPart, type Part } from './download-part.ts';
import type { Proxies } from './download-socket.ts';
import { firstGap, frontOf } from './download-spans.ts';
import { keep, stored, storePath } from './download-store.ts';
import { closeFree, type Pool } from './download-wire.ts';
import type { Fault, Fetched } from './download.ts';
import { hashGrowing, type Growing } from './hashing.ts';

/** What one lane asks for at a time: small enough that hashing follows closely, large enough that asking costs little. */
const BLOCK_MIN_BYTES = 4 * 1024 * 1024;
const BLOCK_MAX_BYTES = 64 * 1024 * 1024;
const BLOCKS = 64;
/** Read at once; under a cap so little that the cap is kept within a quarter of a second. */
const READ_BYTES = 256 * 1024;
const READ_MIN_BYTES = 8 * 1024;
const READS_A_SECOND = 4;
/** The hash follows in steps: each one is a message. */
const HASH_STEP_BYTES = 1024 * 1024;
const PROGRESS_MS = 250;

/** All that the thread needs to know; plain data. */
export type Task = {
  readonly name: string;
  readonly url: string;
  readonly authorization: string | null;
  readonly sha256: string | null;
  readonly folder: string;
  readonly partial: string;
  readonly boot: string;
  readonly proxies: Proxies;
  readonly connections: number;
  readonly bandwidth_bytes: number | null;
  readonly reserve_bytes: number;
  readonly block_bytes: number | null;
  readonly stall_ms: number;
  readonly retry_ms: number;
};
export type Under = { readonly signal: AbortSignal; readonly onProgress: (bytes: number, total: number | null) => void };

type Way = 'go on' | 'anew' | 'at once';
type Bytes = Extract<Answer, { readonly kind: 'bytes' }>;
type State = { readonly task: Task; readonly under: Under; readonly part: Part; readonly site: Site; hash: Growing | null };

/** What is wrong with the world comes back as a fault; only mistakes of our own are thrown. */
export async function transfer(task: Task, under: Under): Promise<Fetched> {
  const target = { url: new URL(task.url), authorization: task.authorization };
  const pool: Pool = { proxies: task.proxies, stall_ms: task.stall_ms, buffer_bytes: readBytes(task.bandwidth_bytes), free: new Map() };
  const site: Site = { target, wire: { pool, signal: under.signal }, sentOn: { to: null } };
  let state: State | null = null;
  try {
    for (const folder of ['partial', 'sha256']) await mkdir(join(task.folder, folder), { recursive: true, mode: 0o700 });
    state = { task, under, site, part: openPart(task.partial, task), hash: null };
    // A file that changes in the middle is begun anew; one that changes again is fetched in one go, as is one whose server answers nonsense to questions for parts.
    for (const way of ['go on', 'anew', 'at once'] as const) {
      const result = await attempt(state, way);
      if (result !== 'changed') return result;
    }
    return fault('Network', `${target.url.host}: the file changes while it is fetched; it is tried again later`);
  } catch (error) {
    if (under.signal.aborted) return stopped();
    const known = isOfWire(error) ? wireFault(error) : diskFault(error, task.folder);
    if (known === null) throw error;
    return known;
  } finally {
    state?.hash?.drop();
    closeFree(pool);
    await state?.part.close();
  }
}

const readBytes = (bandwidth_bytes: number | null): number => (bandwidth_bytes === null ? READ_BYTES : Math.max(READ_MIN_BYTES, Math.min(READ_BYTES, Math.floor(bandwidth_bytes / READS_A_SECOND))));

async function attempt(state: State, way: Way): Promise<Fetched | 'changed'> {
  const { task, part } = state;
  state.hash?.drop();
  state.hash = null;
  const known = way === 'go on' && isResumable(part, task) ? part.identity() : null;
  if (known !== null && frontOf(part.have()) === known.total) return finished(state, known, known.total);
  const answer = await firstAnswer(state, { way, known });
  if (answer.kind === 'refused') return { ok: false, ...answer.refusal };
  if (answer.kind !== 'bytes') return 'changed';
  try {
    const wrong = unusable(task, answer) ?? roomFault(state, answer, known);
    if (wrong !== null) return wrong;
    const expected = task.sha256 ?? answer.identity.linkedSha256;
    if (expected === null || (await lookAt(storePath(task.folder, { hash: expected, name: task.name }))) === null) return await brought(state, answer, known);
    // To hash what is here takes longer than a server waits. What does not have its hash is removed.
    answer.reply.close();
    const here = await stored(task.folder, { hash: expected, name: task.name }, state.under);
    return here === null ? await attempt(state, way) : { ...here, commit: answer.identity.commit };
  } finally {
    answer.reply.close();
  }
}

/** What cannot be told from another file is not continued, unless its hash will tell. */
const isNamed = (known: Identity, task: Task): boolean => (task.sha256 ?? known.linkedSha256 ?? known.etag ?? known.modified) !== null;

function isResumable(part: Part, task: Task): boolean {
  const known = part.identity();
  return known !== null && part.ranged() && known.total !== null && isNamed(known, task) && bytesOf(part) > 0;
}

async function firstAnswer({ task, part, site }: State, o: { readonly way: Way; readonly known: Identity | null }): Promise<Answer> {
  const whole = { range: null, known: null };
  if (o.way === 'at once') return ask(site, whole);
  const block = task.block_bytes ?? BLOCK_MIN_BYTES;
  const range = o.known === null ? { from: 0, to: block } : firstGap(part.have(), o.known.total ?? 0, block);
  const answer = await ask(site, { range, known: o.known });
  if (o.known !== null) return answer;
  // Parts that have no name in common might be of two files.
  if (answer.kind !== 'bytes' || answer.to === null || answer.to === answer.identity.total || isNamed(answer.identity, task)) return answer;
  answer.reply.close();
  return ask(site, whole);
}

/** A file whose end nobody could tell from a cut, or whose length is told in two ways. */
function unusable(task: Task, { identity, reply }: Bytes): Fault | null {
  const { host } = new URL(task.url);
  const { linkedBytes, total } = identity;
  if (task.sha256 === null && linkedBytes !== null && total !== null && linkedBytes !== total) return fault('Network', `${host}: the hub says that the file has ${linkedBytes} bytes, its host says ${total}; it is tried again later`);
  return reply.head.endless && (task.sha256 ?? identity.linkedSha256 ?? linkedBytes) === null ? fault('Invalid', `${host} tells neither how long the file is nor its hash, so that a part could not be told from the whole; declare its sha256`) : null;
}

function roomFault({ task, part }: State, { identity }: Bytes, known: Identity | null): Fault | null {
  if (identity.total === null) return null;
  const room = statfsSync(task.folder);
  const wanted = identity.total - (known === null ? 0 : bytesOf(part));
  // What the part holds is given back when it is begun anew.
  const free = room.bavail * room.bsize + (known === null ? part.held_bytes() : 0);
  return free >= wanted + task.reserve_bytes ? null : fault('DiskFull', `${wanted} bytes are to come, ${free} are free on the disk of ${task.folder} and ${task.reserve_bytes} must stay; make room`);
}

async function brought(state: State, answer: Bytes, known: Identity | null): Promise<Fetched | 'changed'> {
  const { task, under, part, site } = state;
  const said = answer.identity;
  const linkedBytes = task.sha256 === null ? said.linkedBytes : null;
  const identity: Identity = { ...said, total: said.total ?? linkedBytes, linkedSha256: said.linkedSha256 ?? known?.linkedSha256 ?? null, commit: said.commit ?? known?.commit ?? null };
  const ranged = answer.ranged && isNamed(identity, task);
  if (known === null) part.begin(identity, ranged);
  else part.rename(identity);
  const hash = hashGrowing(part.path);
  state.hash = hash;
  const follow = following(state, hash);
  follow(0);
  const left = (identity.total ?? 0) - bytesOf(part);
  const count = ranged ? Math.max(1, Math.min(task.connections, Math.ceil(left / (task.block_bytes ?? BLOCK_MIN_BYTES)))) : 1;
  // One alone need not leave anything to others.
  const block_bytes = task.block_bytes ?? (count === 1 ? Infinity : Math.max(BLOCK_MIN_BYTES, Math.min(BLOCK_MAX_BYTES, Math.ceil((identity.total ?? 0) / BLOCKS))));
  const untell = telling(state, identity.total);
  const result = await bring({ site, part, identity, count, block_bytes, ranged, retry_ms: task.retry_ms, signal: under.signal, onBytes: follow }, answer).finally(untell);
  switch (result.kind) {
    case 'changed': return 'changed';
    case 'fault': return result.fault;
    case 'broke': throw result.error;
    case 'done': return finished(state, identity, result.total);
  }
}

/** Tells the hash how far the bytes reach, and the lane how long to wait under a cap. */
function following({ task, part }: State, hash: Growing): (bytes: number) => number {
  let hashed = 0;
  return (bytes) => {
    const front = frontOf(part.have());
    if (front - hashed >= HASH_STEP_BYTES) {
      hash.grow(front);
      hashed = front;
    }
    return task.bandwidth_bytes === null ? 0 : takeShare(bytes, task.bandwidth_bytes, performance.now());
  };
}

/** Tells the owner how many bytes there are, also when none come any more. Returns what ends it. */
function telling({ under, part }: State, total: number | null): () => void {
  let told = bytesOf(part);
  under.onProgress(told, total);
  const timer = setInterval(() => {
    const now = bytesOf(part);
    if (now !== told) under.onProgress(now, total);
    told = now;
  }, PROGRESS_MS);
  return () => clearInterval(timer);
}

async function finished(state: State, identity: Identity, total: number): Promise<Fetched> {
  const { task, under, part } = state;
  if (frontOf(part.have()) !== total || (identity.total !== null && identity.total !== total)) throw new Error(`${part.path} ends at ${frontOf(part.have())} of ${identity.total ?? total}`);
  under.onProgress(total, total);
  const hash = state.hash ?? hashGrowing(part.path);
  state.hash = hash;
  hash.grow(total);
  // What lies there from an earlier fetch may take a minute.
  under.signal.addEventListener('abort', hash.drop, { once: true });
  if (under.signal.aborted) hash.drop();
  const digest = await hash.digest();
  const by = task.sha256 === null ? 'the hub says' : 'declared is';
  const sha256 = task.sha256 ?? identity.linkedSha256;
  return keep(task.folder, { path: part.path, name: task.name, digest, bytes: total, commit: identity.commit, expected: sha256 === null ? null : { sha256, by } }, { signal: under.signal, finish: () => part.finish(total) });
}

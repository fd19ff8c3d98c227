// Brings the bytes of one file in several lanes: each takes the next part that nobody has, and what fails for one is tried again.
import { setTimeout as sleep } from 'node:timers/promises';
import { isOfWire, ofWire, wireFault } from './download-faults.ts';
import { ask, type Answer, type Identity, type Site } from './download-http.ts';
import type { Part } from './download-part.ts';
import { firstGap, frontOf, withSpan, type Spans } from './download-spans.ts';
import type { Reply } from './download-wire.ts';
import type { Fault } from './download.ts';

/** Failures in a row before a lane gives up. With the pauses between them a short absence of the network is waited out. */
const TRIES = 5;
const PAUSE_MAX_MS = 8_000;
/** A server that asks for more patience than this gets it between two fetches, not within one. */
const PATIENCE_WITHIN_MS = 10_000;
/** Who brought so much in one try does not fail in a row. */
const PROGRESS_BYTES = 1024 * 1024;
/** How often a lane without work looks whether another one needs help, and how long and how much slower that one must have been. */
const LOOK_MS = 500;
const SLOW_AFTER_MS = 3_000;
const SLOW_FACTOR = 4;

export type Lanes = {
  readonly site: Site;
  readonly part: Part;
  readonly identity: Identity;
  /** How many at once, and how much of the file one asks for at a time. */
  readonly count: number;
  readonly block_bytes: number;
  /** Parts may be asked for; otherwise one lane brings the whole at once. */
  readonly ranged: boolean;
  readonly retry_ms: number;
  readonly signal: AbortSignal;
  /** Milliseconds to wait before more is read. */
  readonly onBytes: (bytes: number) => number;
};

export type Brought = { readonly kind: 'done'; readonly total: number } | { readonly kind: 'changed' } | { readonly kind: 'fault'; readonly fault: Fault } | { readonly kind: 'broke'; readonly error: unknown };

type Bytes = Extract<Answer, { readonly kind: 'bytes' }>;
/** `at`: bytes before it are written. */
type Work = { readonly from: number; at: number; readonly end: number; readonly begun_ms: number };
/** `pace`: bytes a millisecond of its last work. `stop` ends whatever it waits for. */
type Lane = { readonly site: Site; readonly stop: AbortController; reply: Reply | null; work: Work | null; failures: number; pace: number };

/** `known`: what the bytes belong to; its names change from host to host. `bell`: rung when work may have come back. */
type Run = { readonly lanes: Lane[]; known: Identity; outcome: Brought | null; bell: AbortController };

/** `first`: what was answered already. Nothing comes any more when this is done. */
export async function bring(job: Lanes, first: Bytes): Promise<Brought> {
  const run: Run = { lanes: [], known: job.identity, outcome: null, bell: new AbortController() };
  for (let index = 0; index < job.count; index += 1) {
    const stop = new AbortController();
    const wire = { ...job.site.wire, signal: AbortSignal.any([job.signal, stop.signal]) };
    run.lanes.push({ site: { ...job.site, wire }, stop, reply: index === 0 ? first.reply : null, work: null, failures: 0, pace: 0 });
  }
  await Promise.all([...run.lanes].map((lane, index) => runLane(job, run, { lane, first: index === 0 ? first : null })));
  return run.outcome ?? { kind: 'done', total: frontOf(job.part.have()) };
}

/** What it was at is free from here on; those who are left know that they are. */
function leave(run: Run, lane: Lane): null {
  const index = run.lanes.indexOf(lane);
  if (index !== -1) run.lanes.splice(index, 1);
  lane.stop.abort();
  lane.reply?.close();
  ring(run);
  return null;
}

/** Answers that the lane that says so has nothing to do any more. */
function finish(run: Run, outcome: Brought): null {
  run.outcome ??= outcome;
  for (const lane of [...run.lanes]) leave(run, lane);
  return null;
}

async function runLane(job: Lanes, run: Run, own: { readonly lane: Lane; readonly first: Bytes | null }): Promise<void> {
  const { lane } = own;
  let ready = own.first;
  while (run.lanes.includes(lane)) {
    if (job.signal.aborted) {
      finish(run, { kind: 'broke', error: job.signal.reason });
      break;
    }
    const work = nextWork(job, run, ready);
    if (work === null) {
      if (await rest(job, run, lane)) continue;
      break;
    }
    lane.work = work;
    const pause_ms = await goFor(job, run, { lane, work, ready });
    ready = null;
    lane.work = null;
    lane.pace = paceOf(work);
    ring(run);
    if (pause_ms === null) break;
    if (pause_ms > 0) await pause(pause_ms, [job.signal, lane.stop.signal]);
  }
  leave(run, lane);
}

const paceOf = (work: Work): number => (work.at - work.from) / Math.max(1, performance.now() - work.begun_ms);

function ring(run: Run): void {
  run.bell.abort();
  run.bell = new AbortController();
}

const pause = (pause_ms: number, until: readonly AbortSignal[]): Promise<void> => sleep(pause_ms, undefined, { signal: AbortSignal.any([...until]) }).catch(() => undefined);

/** What others are at is not free. */
function nextWork(job: Lanes, run: Run, ready: Bytes | null): Work | null {
  const { total } = job.identity;
  const begun_ms = performance.now();
  if (ready !== null) return { from: ready.from, at: ready.from, end: ready.to ?? total ?? Infinity, begun_ms };
  if (total === null) return null;
  const taken = run.lanes.reduce<Spans>((spans, { work }) => (work === null ? spans : withSpan(spans, { from: work.at, to: work.end })), job.part.have());
  const gap = firstGap(taken, total, job.block_bytes);
  return gap === null ? null : { from: gap.from, at: gap.from, end: gap.to, begun_ms };
}

/** Without work: waits while others have some, for it may come back. Answers whether to look again. */
async function rest(job: Lanes, run: Run, lane: Lane): Promise<boolean> {
  if (run.lanes.every((other) => other.work === null)) return false;
  if (!relieve(run, lane)) await pause(LOOK_MS, [job.signal, lane.stop.signal, run.bell.signal]);
  return run.lanes.includes(lane);
}

/** One that crawls holds the whole up: it is sent away, and its work becomes free. */
function relieve(run: Run, lane: Lane): boolean {
  const slow = run.lanes.find(({ work }) => {
    if (work === null || performance.now() - work.begun_ms < SLOW_AFTER_MS) return false;
    return paceOf(work) * SLOW_FACTOR < lane.pace && work.end - work.at > paceOf(work) * SLOW_AFTER_MS;
  });
  if (slow !== undefined) leave(run, slow);
  return slow !== undefined;
}

/** Asks for its work and brings it. Answers how long to pause before more; null when this lane ends. */
async function goFor(job: Lanes, run: Run, own: { readonly lane: Lane; readonly work: Work; readonly ready: Bytes | null }): Promise<number | null> {
  const { lane, work } = own;
  try {
    const answer: Answer = own.ready ?? (await ask(lane.site, { range: { from: work.at, to: work.end }, known: run.known }));
    if (!run.lanes.includes(lane)) return null;
    switch (answer.kind) {
      case 'changed':
      case 'unfit': return finish(run, { kind: 'changed' });
      case 'refused': return stumbled(job, run, { lane, work, why: { ok: false, ...answer.refusal } });
      case 'bytes':
        if (answer.identity.linkedSha256 !== null) run.known = { ...run.known, etag: answer.identity.etag, modified: answer.identity.modified };
        lane.reply = answer.reply;
        await pour(job, work, answer);
    }
    lane.failures = 0;
    return 0;
  } catch (error) {
    if (!run.lanes.includes(lane)) return null;
    if (job.signal.aborted || !isOfWire(error)) return finish(run, { kind: 'broke', error });
    return stumbled(job, run, { lane, work, why: wireFault(error) });
  }
}

async function pour(job: Lanes, work: Work, answer: Bytes): Promise<void> {
  const end = Math.min(work.end, answer.to ?? Infinity);
  await answer.reply.read((bytes) => {
    // A part may be longer than it was asked for; a whole that is longer than its hub says is not the whole.
    if (answer.to === null && bytes.length > end - work.at) throw ofWire(new Error('it sends more than the hub says'), job.site.target.url.host);
    const wanted = bytes.length > end - work.at ? bytes.subarray(0, end - work.at) : bytes;
    job.part.write(wanted, work.at);
    work.at += wanted.length;
    const wait_ms = job.onBytes(wanted.length);
    return work.at >= end ? 'enough' : wait_ms;
  });
  if (work.at < end && end !== Infinity) throw ofWire(new Error('it sent less than it said'), job.site.target.url.host);
}

/** Tries again after a pause, gives its work to the other lanes, or, as the last one, ends the whole. */
function stumbled(job: Lanes, run: Run, own: { readonly lane: Lane; readonly work: Work; readonly why: Fault }): number | null {
  const { lane, work, why } = own;
  const wait_ms = why.retryAfter_ms ?? 0;
  if (!why.transient || !job.ranged) return finish(run, { kind: 'fault', fault: why });
  lane.failures = work.at - work.from >= PROGRESS_BYTES ? 1 : lane.failures + 1;
  if (lane.failures < TRIES && wait_ms <= PATIENCE_WITHIN_MS) {
    // Lanes that failed together do not come back together.
    return Math.max(wait_ms, Math.min(PAUSE_MAX_MS, job.retry_ms * 2 ** (lane.failures - 1)) * (0.75 + Math.random() / 2));
  }
  return run.lanes.length > 1 ? leave(run, lane) : finish(run, { kind: 'fault', fault: why });
}

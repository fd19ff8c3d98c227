// Follows one stream by offset: bounded work a look, gaps told, old bytes given back.
import { open, type FileHandle } from 'node:fs/promises';
import type { LogRecord } from './door.ts';
import { HELD_BYTES, rotate, segmentsOf } from './logs-disk.ts';
import { gapRecord, LINE_BYTES, recordOf, splitLines, type LineFacts, type Stream } from './logs-lines.ts';
import { monotonic_ms } from './process.ts';

/** Read at most this much a look: a flood must not hold up requests. */
const SLICE_BYTES = 64 * 1024;
/** Further behind than this, what lies between is passed over and counted. */
export const BEHIND_BYTES = 1024 * 1024;
/** Between two steps of giving back: a flood must not start a process all the time. */
const ROTATE_PAUSE_MS = 250;
/** Remembered times of a stream; beyond, every second one is forgotten. */
const TIMES_MAX = 256;
/** Finer than this nobody asks. */
const TIME_STEP_MS = 20;
/** At the end this many looks read what is left; whoever still floods then is left. */
const LAST_LOOKS = 32;

/** Up to which place a stream was told, and when its bytes were there: a look back ends there and shows the same times. */
export type Told = { upTo: number; readonly times: { readonly offset: number; readonly at_ms: number }[]; look: (() => Promise<unknown>) | null };

/** Path of the live file → what is known of it, as long as it is kept. */
const told = new Map<string, Told>();

export const toldOf = (path: string): Told | null => told.get(path) ?? null;
export const forget = (path: string): void => { told.delete(path); };

export type TailOrder = { readonly folder: string; readonly path: string; readonly plugin: string; readonly incarnation: string; readonly stream: Stream; readonly onRecord: (record: LogRecord) => void };
/** behind = more is there now; flood = so much came that some was passed over. */
export type Look = 'nothing' | 'moved' | 'behind' | 'flood';

export function openTail(order: TailOrder) {
  const known: Told = told.get(order.path) ?? { upTo: 0, times: [], look: null };
  told.set(order.path, known);
  let file: FileHandle | null = null;
  let place = { begin: 0, base: 0 };
  let offset = 0;
  let rest = Buffer.alloc(0);
  /** Set while a line is passed over to its end: where the gap began, and why where that is worth telling. */
  let gap: { readonly from: number; readonly why: string | null } | null = null;
  let rotated_ms = 0;

  const factsAt = (at: number, at_ms: number): LineFacts => ({ plugin: order.plugin, incarnation: order.incarnation, stream: order.stream, offset: at, at_ms });

  async function begin(): Promise<FileHandle | null> {
    const handle = await open(order.path, 'r').catch(() => null);
    if (handle === null) return null;
    const segment = (await segmentsOf(order.folder)).find((one) => one.path === order.path);
    place = { begin: 0, base: segment?.base ?? 0 };
    offset = place.base;
    // Found running: what is older is read by a look back.
    const size = segment?.size ?? 0;
    if (size > BEHIND_BYTES) passOver(place.base + size - SLICE_BYTES, null);
    return handle;
  }

  function passOver(to: number, why: string | null): void {
    gap ??= { from: offset - rest.length, why };
    rest = Buffer.alloc(0);
    offset = to;
  }

  /** Reads a slice and tells its lines. A log that cannot be read now is looked at again later. */
  async function look(): Promise<Look> {
    file ??= await begin();
    const facts = await file?.stat().catch(() => null);
    if (file === null || facts === null || facts === undefined) return 'nothing';
    const end = place.base + facts.size;
    const flood = end - offset > BEHIND_BYTES;
    if (flood) passOver(end - SLICE_BYTES, 'they came faster than they can be shown; the newest are kept in the log');
    const read = end > offset ? await readSlice(file, { base: place.base, end, at_ms: Math.min(Date.now(), facts.mtimeMs) }) : 0;
    if (end - place.begin > HELD_BYTES && monotonic_ms() - rotated_ms > ROTATE_PAUSE_MS) await giveBack();
    return flood ? 'flood' : read === 0 ? 'nothing' : end > offset ? 'behind' : 'moved';
  }

  async function readSlice(from: FileHandle, to: { readonly base: number; readonly end: number; readonly at_ms: number }): Promise<number> {
    const slice = Buffer.alloc(Math.min(SLICE_BYTES, to.end - offset));
    const { bytesRead } = await from.read(slice, 0, slice.length, offset - to.base).catch(() => ({ bytesRead: 0 }));
    if (bytesRead === 0) return 0;
    let start = offset - rest.length;
    remember(start, to.at_ms);
    offset += bytesRead;
    const lines = splitLines(Buffer.concat([rest, slice.subarray(0, bytesRead)]));
    rest = Buffer.from(lines.rest);
    for (const line of lines.whole) {
      tell(factsAt(start, to.at_ms), line);
      start += line.length + 1;
    }
    if (rest.length > LINE_BYTES) cutLine(start, to.at_ms);
    known.upTo = offset - rest.length;
    return bytesRead;
  }

  function tell(facts: LineFacts, line: Buffer): void {
    // Of the line that ends a gap only the end is at hand.
    if (gap !== null) {
      const { from, why } = gap;
      gap = null;
      if (why !== null) order.onRecord(gapRecord({ ...facts, offset: from }, { bytes: facts.offset + line.length + 1 - from, why }));
      return;
    }
    const record = recordOf(facts, line);
    if (record !== null) order.onRecord(record);
  }

  /** Tells the beginning of an endless line; the rest of it is passed over. */
  function cutLine(start: number, at_ms: number): void {
    if (gap === null) tell(factsAt(start, at_ms), rest);
    gap ??= { from: start + LINE_BYTES, why: 'a line is longer than can be shown' };
    rest = Buffer.alloc(0);
  }

  function remember(at: number, at_ms: number): void {
    const last = known.times.at(-1);
    // A clock set back shows here too: then the last time holds until it has caught up.
    if (last !== undefined && (at_ms - last.at_ms < TIME_STEP_MS || at <= last.offset)) return;
    known.times.push({ offset: at, at_ms });
    if (known.times.length > TIMES_MAX) known.times.splice(0, known.times.length, ...known.times.filter((_, index) => index % 2 === 0));
  }

  async function giveBack(): Promise<void> {
    rotated_ms = monotonic_ms();
    // A full disk may keep a copy from being made: tried again a moment later.
    const { base } = place;
    const result = await rotate(order.path, place).catch(() => null);
    if (result === null) return;
    place = { begin: result.begin, base: result.base };
    if (!result.cut) return;
    await readCopy(base);
    passOver(place.base, 'the log was cut, and what was written at that moment is lost');
  }

  /** What was not told before the cut lies in the copy that was made of it: the newest of that is told, it may be the last there is. */
  async function readCopy(base: number): Promise<void> {
    const end = place.base;
    if (end - offset > SLICE_BYTES) passOver(end - SLICE_BYTES, 'they came faster than they can be shown; the newest are kept in the log');
    const copy = await open(`${order.path}.${base}`, 'r').catch(() => null);
    while (copy !== null && offset < end && (await readSlice(copy, { base, end, at_ms: Date.now() })) > 0);
    await copy?.close();
  }

  /** The last line of an ended process may have no end. */
  async function close(): Promise<void> {
    for (let looks = 0, outcome: Look = 'behind'; looks < LAST_LOOKS && outcome !== 'nothing'; looks += 1) outcome = await look();
    const last = rest;
    rest = Buffer.alloc(0);
    if (last.length > 0) tell(factsAt(offset - last.length, Date.now()), last);
    known.look = null;
    await file?.close();
  }

  return { look, close, known };
}

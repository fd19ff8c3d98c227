// Looks back into the logs: the newest lines of this and the previous incarnation, both streams in the order of their times.
import { open, rm } from 'node:fs/promises';
import type { LogQuery, LogRecord } from './door.ts';
import { segmentsOf, type Segment } from './logs-disk.ts';
import { recordOf, splitLines, STREAMS } from './logs-lines.ts';
import { forget, toldOf, type Told } from './logs-tail.ts';

/** Read backwards in such pieces until there are lines enough. */
const PIECE_BYTES = 64 * 1024;
/** Read of one stream at most: beyond it lie lines too long or too many to be asked for. */
const BACK_BYTES = 8 * 1024 * 1024;

type After = NonNullable<LogQuery['after']>;
/** `key_ms` decides between the streams. When a line came is what orders, not what it says: that alone never goes back. */
type Placed = { readonly record: LogRecord; readonly key_ms: number };

/**
 * The newest lines, oldest first, at most `limit`, and only those after the place `after`. A place that is no longer kept
 * hides nothing.
 */
export async function readLogs(query: LogQuery & { readonly folder: string }): Promise<readonly LogRecord[]> {
  if (query.limit <= 0) return [];
  const segments = await segmentsOf(query.folder);
  const incarnations = [...new Set(segments.map((segment) => segment.incarnation))];
  const after = query.after !== null && incarnations.includes(query.after.incarnation) ? query.after : null;
  let records: readonly LogRecord[] = [];
  for (const incarnation of incarnations.reverse()) {
    const here = after?.incarnation === incarnation ? after : null;
    const streams = await Promise.all(STREAMS.map((stream) => readStream(query, { segments: segments.filter((one) => one.incarnation === incarnation && one.stream === stream), after: here })));
    const merged = merge(streams);
    const seen = here === null ? -1 : merged.findIndex((record) => record.stream === here.stream && record.offset >= here.offset);
    const isSeen = seen >= 0 && merged[seen]?.offset === here?.offset;
    records = [...merged.slice(seen < 0 ? 0 : isSeen ? seen + 1 : seen), ...records].slice(-query.limit);
    if (here !== null || records.length >= query.limit) break;
  }
  return records;
}

/** The newest lines of one stream of one incarnation, one more than asked for where the place `after` lies in it. */
async function readStream(query: LogQuery, of: { readonly segments: readonly Segment[]; readonly after: After | null }): Promise<readonly Placed[]> {
  const live = of.segments.at(-1);
  if (live === undefined) return [];
  const told = toldOf(live.path);
  // Followed: a look brings it up to date, and what is told later is not told here, so that nobody sees a line twice.
  await told?.look?.();
  const begin = of.after !== null && of.after.stream === live.stream ? of.after.offset : 0;
  const lines: { readonly bytes: Buffer; readonly offset: number }[] = [];
  for (const segment of [...of.segments].reverse()) {
    const size = segment === live && told?.look != null ? Math.max(0, told.upTo - live.base) : segment.size;
    if (segment.base + size <= begin || lines.length > query.limit) break;
    lines.unshift(...(await lastLines(segment, { size, limit: query.limit + 1 - lines.length, begin: Math.max(0, begin - segment.base), ended: told?.look == null })));
  }
  const timeOf = clockOf(told, live.written_ms);
  return lines.flatMap((line): Placed[] => {
    const { at_ms, noted } = timeOf(line.offset);
    const record = recordOf({ plugin: query.plugin, incarnation: live.incarnation, stream: live.stream, offset: line.offset, at_ms }, line.bytes);
    return record === null ? [] : [{ record, key_ms: noted ? at_ms : Math.min(at_ms, Date.parse(record.at)) }];
  });
}

/** Reads backwards until there are lines enough, or the beginning, or the bound. */
async function lastLines(segment: Segment, order: { readonly size: number; readonly limit: number; readonly begin: number; readonly ended: boolean }): Promise<readonly { readonly bytes: Buffer; readonly offset: number }[]> {
  const handle = await open(segment.path, 'r').catch(() => null);
  if (handle === null) return [];
  try {
    let from = order.size;
    const pieces: Buffer[] = [];
    const floor = Math.max(order.begin, order.size - BACK_BYTES);
    for (let lines = 0; from > floor && lines <= order.limit;) {
      const piece = Buffer.alloc(Math.min(PIECE_BYTES, from - floor));
      const { bytesRead } = await handle.read(piece, 0, piece.length, from - piece.length);
      // What was given back to the file system reads as zeros: nothing lies before. Shorter than it was = cut meanwhile.
      if (bytesRead < piece.length || piece.every((byte) => byte === 0)) break;
      from -= piece.length;
      pieces.unshift(piece);
      lines += countLines(piece);
    }
    const bytes = Buffer.concat(pieces);
    const { whole, rest } = splitLines(bytes);
    // An ended process's last line may have no end; a living one's is not written whole yet.
    const all = order.ended && rest.length > 0 ? [...whole, rest] : whole;
    let at = segment.base + order.size - bytes.length;
    const found = all.map((line) => {
      const offset = at;
      at += line.length + 1;
      return { bytes: line, offset };
    });
    // The first may be the end of a line that began before the bytes read.
    const torn = order.size - bytes.length > order.begin ? 1 : 0;
    return found.slice(torn).slice(-order.limit);
  } finally {
    await handle.close();
  }
}

function countLines(bytes: Buffer): number {
  let count = 0;
  for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, at + 1)) count += 1;
  return count;
}

/** When a line was there: as its follower noted it; a line from before that, not later than what is known. */
function clockOf(told: Told | null, written_ms: number): (offset: number) => { readonly at_ms: number; readonly noted: boolean } {
  const times = told?.times ?? [];
  return (offset) => {
    let [low, high] = [0, times.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((times[middle]?.offset ?? 0) <= offset) low = middle + 1;
      else high = middle;
    }
    return low > 0 ? { at_ms: times[low - 1]!.at_ms, noted: true } : { at_ms: times[0]?.at_ms ?? written_ms, noted: false };
  };
}

/** Each stream keeps its own order, whatever times its lines tell. */
function merge(streams: readonly (readonly Placed[])[]): readonly LogRecord[] {
  const [one = [], other = []] = streams;
  const merged: LogRecord[] = [];
  let [i, j] = [0, 0];
  for (let a = one[i], b = other[j]; a !== undefined || b !== undefined; a = one[i], b = other[j]) {
    const takeOne = b === undefined || (a !== undefined && a.key_ms <= b.key_ms);
    merged.push((takeOne ? a : b)!.record);
    if (takeOne) i += 1;
    else j += 1;
  }
  return merged;
}

/** Keeps the logs of this incarnation and of the one before it. */
export async function pruneLogs(folder: string, incarnation: string): Promise<void> {
  const segments = await segmentsOf(folder);
  const others = [...new Set(segments.map((segment) => segment.incarnation))].filter((name) => name !== incarnation);
  const kept = new Set([incarnation, others.at(-1)]);
  for (const segment of segments) {
    if (kept.has(segment.incarnation)) continue;
    forget(segment.path);
    await rm(segment.path, { force: true });
  }
}

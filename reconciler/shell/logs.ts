// Follows what plugins write to stdout and stderr: by offset, bounded in work and in disk, readable again later.
import { spawn } from 'node:child_process';
import { open, readdir, rm, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import type { JsonObject } from '../core/types.ts';
import type { LogQuery, LogRecord } from './door.ts';

/** Looked at this often while lines come, and down to the slower pace when none do. */
const POLL_BUSY_MS = 100;
const POLL_IDLE_MS = 1_000;
/** Read at most this much a look: a flood must not hold up requests. */
const SLICE_BYTES = 64 * 1024;
/** Further behind than this, what lies between is skipped and counted. */
const BEHIND_BYTES = 1024 * 1024;
/** Longer lines are cut. */
const LINE_CHARS = 16 * 1024;
/** Kept on disk per stream; what is older is given back to the file system in steps. */
const KEEP_BYTES = 25 * 1024 * 1024;
const PUNCH_STEP_BYTES = 10 * 1024 * 1024;
/** Read from the end for a look back; the newest lines lie there. */
const BACKFILL_BYTES = 4 * 1024 * 1024;

type Stream = LogRecord['stream'];
const STREAMS: readonly Stream[] = ['stdout', 'stderr'];

export type FollowOrder = { readonly folder: string; readonly plugin: string; readonly incarnation: string; readonly onRecord: (record: LogRecord) => void };

/** Calls `onRecord` for every new line. `close` reads what is left first. */
export function followLogs(order: FollowOrder): { close(): Promise<void> } {
  const tails = STREAMS.map((stream) => openTail(order, stream));
  let timer: NodeJS.Timeout | null = null;
  let closed = false;
  let pause_ms = POLL_BUSY_MS;
  let looking = Promise.resolve();
  const look = async (): Promise<void> => {
    let moved = false;
    for (const tail of tails) moved = (await tail.advance()) || moved;
    pause_ms = moved ? POLL_BUSY_MS : Math.min(POLL_IDLE_MS, pause_ms * 1.5);
    if (closed) return;
    timer = setTimeout(() => { looking = look(); }, pause_ms);
    timer.unref();
  };
  looking = look();
  return {
    async close() {
      closed = true;
      if (timer !== null) clearTimeout(timer);
      await looking;
      for (const tail of tails) {
        await tail.advance();
        await tail.close();
      }
    },
  };
}

function openTail(order: FollowOrder, stream: Stream) {
  const path = join(order.folder, `${order.incarnation}.${stream}`);
  const tell = (offset: number, line: string): void => order.onRecord(recordOf({ ...order, stream, offset }, line));
  let file: FileHandle | null = null;
  let offset = -1;
  let rest = Buffer.alloc(0);
  let punched = 0;

  async function advance(): Promise<boolean> {
    file ??= await open(path, 'r').catch(() => null);
    if (file === null) return false;
    const size = (await file.stat()).size;
    // Followed from where bkg began to look: what came before is read by a look back.
    if (offset < 0) offset = Math.max(0, size - BEHIND_BYTES);
    if (size - offset > BEHIND_BYTES) {
      const to = size - SLICE_BYTES;
      tell(offset, JSON.stringify({ level: 'warn', msg: `${to - offset} bytes of log were passed over: they came faster than they can be shown` }));
      offset = to;
      rest = Buffer.alloc(0);
    }
    if (size - punched > KEEP_BYTES + PUNCH_STEP_BYTES) punched = await punch(path, size - KEEP_BYTES);
    if (size <= offset) return false;
    const slice = Buffer.alloc(Math.min(SLICE_BYTES, size - offset));
    const { bytesRead } = await file.read(slice, 0, slice.length, offset);
    const bytes = Buffer.concat([rest, slice.subarray(0, bytesRead)]);
    let start = offset - rest.length;
    offset += bytesRead;
    const lines = splitLines(bytes);
    for (const line of lines.whole) {
      if (line.length > 0) tell(start, line.toString('utf8'));
      start += line.length + 1;
    }
    rest = lines.rest.length > LINE_CHARS ? (tell(start, lines.rest.toString('utf8')), Buffer.alloc(0)) : Buffer.from(lines.rest);
    return bytesRead > 0;
  }
  return { advance, close: async (): Promise<void> => { await file?.close(); } };
}

function splitLines(bytes: Buffer): { readonly whole: readonly Buffer[]; readonly rest: Buffer } {
  const whole: Buffer[] = [];
  let from = 0;
  for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, from)) {
    whole.push(bytes.subarray(from, at));
    from = at + 1;
  }
  return { whole, rest: bytes.subarray(from) };
}

/** Gives the blocks before `end` back to the file system: offsets stay, the writer notices nothing. Returns the new beginning. */
function punch(path: string, end: number): Promise<number> {
  const whole = end - (end % PUNCH_STEP_BYTES);
  return new Promise((resolve) => {
    const child = spawn('fallocate', ['--punch-hole', '--offset', '0', '--length', String(whole), path], { stdio: 'ignore' });
    child.once('error', () => resolve(whole));
    child.once('exit', () => resolve(whole));
  });
}

// ─── Lines ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

const PINO_LEVELS: Readonly<Record<number, LogRecord['level']>> = { 10: 'trace', 20: 'debug', 30: 'info', 40: 'warn', 50: 'error', 60: 'fatal' };
const LEVEL_WORD = /^\W*(trace|debug|info|warn|error|fatal)(?:ing)?\b/i;

type LineFacts = { readonly plugin: string; readonly incarnation: string; readonly stream: Stream; readonly offset: number };

function recordOf(facts: LineFacts, line: string): LogRecord {
  const base = { plugin: facts.plugin, incarnation: facts.incarnation, stream: facts.stream, offset: facts.offset };
  const parsed = line.startsWith('{') ? parseLine(line) : null;
  if (parsed !== null) {
    const { level, msg, message, time, ...fields } = parsed;
    const at = typeof time === 'number' || typeof time === 'string' ? new Date(time) : new Date();
    const said = typeof msg === 'string' ? msg : typeof message === 'string' ? message : line;
    return { ...base, at: (Number.isNaN(at.getTime()) ? new Date() : at).toISOString(), level: levelOf(level) ?? 'info', message: said.slice(0, LINE_CHARS), fields: Object.keys(fields).length === 0 ? null : fields };
  }
  const text = line.replace(/\r$/, '');
  const word = LEVEL_WORD.exec(text)?.[1]?.toLowerCase();
  return { ...base, at: new Date().toISOString(), level: levelOf(word) ?? (facts.stream === 'stderr' ? 'warn' : 'info'), message: text.slice(0, LINE_CHARS), fields: null };
}

function parseLine(line: string): JsonObject | null {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : null;
  } catch {
    return null;
  }
}

function levelOf(level: unknown): LogRecord['level'] | null {
  if (typeof level === 'number') return PINO_LEVELS[level] ?? null;
  const word = typeof level === 'string' ? level.toLowerCase() : '';
  return Object.values(PINO_LEVELS).find((known) => known === word || (word === 'warning' && known === 'warn')) ?? null;
}

// ─── Looking back ───────────────────────────────────────────────────────────────────────────────────────────────────────

/** The newest lines of this and the previous incarnation, oldest first. */
export async function readLogs(query: LogQuery & { readonly folder: string }): Promise<readonly LogRecord[]> {
  const files = await filesOf(query.folder);
  const after = query.after;
  const records: LogRecord[] = [];
  for (const file of files) {
    const seen = after !== null && file.incarnation === after.incarnation;
    if (after !== null && !seen && files.some((other) => other.incarnation === after.incarnation && other.begun >= file.begun)) continue;
    const from = seen && file.stream === after.stream ? after.offset + 1 : 0;
    records.push(...(await readFileLines(query.plugin, file, from)));
  }
  return records.slice(-query.limit);
}

type LogFile = { readonly path: string; readonly incarnation: string; readonly stream: Stream; readonly begun: number };

async function filesOf(folder: string): Promise<readonly LogFile[]> {
  const names = await readdir(folder).catch(() => []);
  const found = await Promise.all(names.map(async (name): Promise<LogFile | null> => {
    const stream = STREAMS.find((candidate) => name.endsWith(`.${candidate}`));
    if (stream === undefined) return null;
    const path = join(folder, name);
    const facts = await stat(path).catch(() => null);
    return facts === null ? null : { path, incarnation: name.slice(0, -stream.length - 1), stream, begun: facts.birthtimeMs };
  }));
  return found.filter((file): file is LogFile => file !== null).sort((a, b) => a.begun - b.begun || (a.stream < b.stream ? 1 : -1));
}

async function readFileLines(plugin: string, file: LogFile, from: number): Promise<readonly LogRecord[]> {
  const handle = await open(file.path, 'r').catch(() => null);
  if (handle === null) return [];
  try {
    const size = (await handle.stat()).size;
    const start = Math.max(from, size - BACKFILL_BYTES);
    if (size <= start) return [];
    const bytes = Buffer.alloc(size - start);
    await handle.read(bytes, 0, bytes.length, start);
    const { whole } = splitLines(bytes);
    let offset = start;
    return whole.flatMap((line, index) => {
      const at = offset;
      offset += line.length + 1;
      // The first piece may be the end of a line, or what is left of a hole.
      const torn = line.length === 0 || line[0] === 0 || (index === 0 && start > 0);
      return torn ? [] : [recordOf({ plugin, incarnation: file.incarnation, stream: file.stream, offset: at }, line.toString('utf8'))];
    });
  } finally {
    await handle.close();
  }
}

/** Keeps the logs of this incarnation and of the one before it. */
export async function pruneLogs(folder: string, incarnation: string): Promise<void> {
  const files = await filesOf(folder);
  const incarnations = [...new Set(files.map((file) => file.incarnation))].filter((name) => name !== incarnation);
  const keep = new Set([incarnation, incarnations.at(-1)]);
  for (const file of files) if (!keep.has(file.incarnation)) await rm(file.path, { force: true });
}

// Makes records of lines: cuts bytes into lines, reads JSON ones, guesses the level of plain ones.
import { stripVTControlCharacters } from 'node:util';
import type { JsonObject } from '../core/types.ts';
import type { LogRecord } from './door.ts';

/** A longer line is cut here, wherever it is read: nobody reads on, and memory must not grow with it. */
export const LINE_BYTES = 64 * 1024;
/** A message is shown up to here. */
const MESSAGE_CHARS = 16 * 1024;
const NEWLINE = 10;

export type Stream = LogRecord['stream'];
export const STREAMS: readonly Stream[] = ['stdout', 'stderr'];

export type LineFacts = {
  readonly plugin: string;
  readonly incarnation: string;
  readonly stream: Stream;
  readonly offset: number;
  /** When it was written at the latest; a line that tells its own time is believed. */
  readonly at_ms: number;
};

/** Whole lines without their end, and what has no end yet. */
export function splitLines(bytes: Buffer): { readonly whole: readonly Buffer[]; readonly rest: Buffer } {
  const whole: Buffer[] = [];
  let from = 0;
  for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, from)) {
    whole.push(bytes.subarray(from, at));
    from = at + 1;
  }
  return { whole, rest: bytes.subarray(from) };
}

/** Null for an empty line, and for one whose beginning was given back to the file system. */
export function recordOf(facts: LineFacts, bytes: Buffer): LogRecord | null {
  if (bytes.length === 0 || bytes[0] === 0) return null;
  const line = bytes.subarray(0, LINE_BYTES).toString('utf8').replace(/\r$/, '');
  if (line === '') return null;
  const { at_ms, ...place } = facts;
  const parsed = line.startsWith('{') ? parseLine(line) : null;
  if (parsed === null) {
    const text = stripVTControlCharacters(line);
    const level = levelOf(LEVEL_WORD.exec(text)?.[1]) ?? (facts.stream === 'stderr' ? 'warn' : 'info');
    return { ...place, at: new Date(at_ms).toISOString(), level, message: text.slice(0, MESSAGE_CHARS), fields: null };
  }
  const { level, msg, message, time, ...fields } = parsed;
  const told = typeof time === 'number' || typeof time === 'string' ? new Date(time) : null;
  const at = told === null || Number.isNaN(told.getTime()) ? new Date(at_ms) : told;
  const said = typeof msg === 'string' ? msg : typeof message === 'string' ? message : line;
  return { ...place, at: at.toISOString(), level: levelOf(level) ?? (facts.stream === 'stderr' ? 'warn' : 'info'), message: said.slice(0, MESSAGE_CHARS), fields: Object.keys(fields).length === 0 ? null : fields };
}

/** Says that bytes of a log are not shown. */
export function gapRecord(facts: LineFacts, gap: { readonly bytes: number; readonly why: string }): LogRecord {
  const { at_ms, ...place } = facts;
  return { ...place, at: new Date(at_ms).toISOString(), level: 'warn', message: `${gap.bytes} bytes of ${facts.stream} were passed over: ${gap.why}`, fields: { gap: gap.bytes } };
}

function parseLine(line: string): JsonObject | null {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : null;
  } catch {
    return null;
  }
}

const PINO_LEVELS: Readonly<Record<number, LogRecord['level']>> = { 10: 'trace', 20: 'debug', 30: 'info', 40: 'warn', 50: 'error', 60: 'fatal' };
const LEVEL_WORDS: Readonly<Record<string, LogRecord['level']>> = { trace: 'trace', debug: 'debug', info: 'info', notice: 'info', warn: 'warn', warning: 'warn', err: 'error', error: 'error', critical: 'fatal', fatal: 'fatal' };
const LEVEL_WORD = new RegExp(`^\\W*(${Object.keys(LEVEL_WORDS).join('|')})\\b`, 'i');

function levelOf(level: unknown): LogRecord['level'] | null {
  if (typeof level === 'number') return PINO_LEVELS[level] ?? null;
  return typeof level === 'string' ? (LEVEL_WORDS[level.toLowerCase()] ?? null) : null;
}

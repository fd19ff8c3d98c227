// What passes through on its way to the client: usage is read from its end, and taken out where only bkg asked for it.

export type Usage = { readonly promptTokens: number; readonly completionTokens: number };

/** Bytes looked at for usage at the end of an answer: it stands in the last event or at the end of the body. */
const TAIL_BYTES = 4_096;
/** An unfinished event longer than this passes as it comes: nothing of an engine is held without a bound. */
const MAX_HELD_BYTES = 256 * 1024;
const EVENT_END = Buffer.from('\n\n');
const EVENT_END_CRLF = Buffer.from('\r\n\r\n');
/** Between events, each keeps its end. */
const BETWEEN_EVENTS = /(?<=\n\n|\r\n\r\n)/;
const USAGE = Buffer.from('"usage":');
const PROMPT_TOKENS = Buffer.from('"prompt_tokens":');
const COMPLETION_TOKENS = Buffer.from('"completion_tokens":');
const BRACE = 0x7b;
const SPACE = 0x20;
const ZERO = 0x30;
const NINE = 0x39;

/** Usage in the end of an answer, by position: this runs for every request, and a parse would cost more than all the rest. */
export function usageIn(tail: Buffer): Usage | null {
  const at = tail.lastIndexOf(USAGE);
  // Of a stream every event but the last may say null.
  return at < 0 || firstAfter(tail, at + USAGE.length) !== BRACE ? null : { promptTokens: numberAfter(tail, PROMPT_TOKENS, at), completionTokens: numberAfter(tail, COMPLETION_TOKENS, at) };
}

function firstAfter(bytes: Buffer, from: number): number | undefined {
  let at = from;
  while (bytes[at] === SPACE) at += 1;
  return bytes[at];
}

/** The number behind a name; 0 where there is none. */
function numberAfter(bytes: Buffer, name: Buffer, from: number): number {
  const found = bytes.indexOf(name, from);
  if (found < 0) return 0;
  let at = found + name.length;
  while (bytes[at] === SPACE) at += 1;
  let value = 0;
  for (let digit = bytes[at] ?? 0; digit >= ZERO && digit <= NINE; digit = bytes[(at += 1)] ?? 0) value = value * 10 + digit - ZERO;
  return value;
}

/** How many events end in a chunk. */
export function eventsIn(chunk: Buffer): number {
  let found = 0;
  for (let at = chunk.indexOf(EVENT_END); at >= 0; at = chunk.indexOf(EVENT_END, at + EVENT_END.length)) found += 1;
  // An engine that ends its lines with CRLF, or an event in two chunks.
  return Math.max(1, found);
}

/** As long as a token is in most languages. */
const BYTES_PER_TOKEN = 4;
/** No prompt is guessed to be longer: a picture in it has many bytes and few tokens. */
const GUESSED_MAX = 8_192;

/** What an answer has cost, as it passes by: as the engine tells, else what it must have been, so that who leaves early pays, too. */
export function openTally(prompt_bytes: number) {
  const reader = usageReader();
  let events = 0;
  return {
    see(chunk: Buffer, inEvents: boolean): void {
      reader.see(chunk);
      if (inEvents) events += eventsIn(chunk);
    },
    /** `began`: the engine worked at it, and its prompt counts though it told nothing. A token for each event. */
    usage: (began: boolean): Usage => reader.usage() ?? { promptTokens: began ? Math.min(GUESSED_MAX, Math.ceil(prompt_bytes / BYTES_PER_TOKEN)) : 0, completionTokens: events },
  };
}

/** Keeps the chunks of the tail, however small they come; nothing is copied until the end. */
export function usageReader() {
  const tail: Buffer[] = [];
  let size = 0;
  return {
    see(chunk: Buffer): void {
      tail.push(chunk);
      size += chunk.length;
      while (size - tail[0]!.length >= TAIL_BYTES) size -= tail.shift()!.length;
    },
    usage: (): Usage | null => usageIn(tail.length === 1 ? tail[0]! : Buffer.concat(tail)),
  };
}

/**
 * Takes the event out that carries only usage. Whole events pass at once and unchanged; only the beginning of an unfinished one waits.
 */
export function usageStripper() {
  let rest: Buffer | null = null;
  return {
    pass(chunk: Buffer): Buffer | null {
      const bytes: Buffer = rest === null ? chunk : Buffer.concat([rest, chunk]);
      const end = endOfEvents(bytes);
      if (end === 0) {
        const held = bytes.length <= MAX_HELD_BYTES;
        rest = held ? bytes : null;
        return held ? null : bytes;
      }
      const whole = bytes.subarray(0, end);
      rest = whole.length === bytes.length ? null : bytes.subarray(whole.length);
      return whole.includes(USAGE) ? withoutUsage(whole) : whole;
    },
    /** What was left without an end passes as it is. */
    end: (): Buffer | null => rest,
  };
}

/** Where the last whole event ends; 0 when there is none. */
function endOfEvents(bytes: Buffer): number {
  const lf = bytes.lastIndexOf(EVENT_END);
  const end = lf < 0 ? 0 : lf + EVENT_END.length;
  // The usual case: a chunk ends with its event, and no second search is needed.
  if (end === bytes.length) return end;
  const crlf = bytes.lastIndexOf(EVENT_END_CRLF);
  return crlf < 0 ? end : Math.max(end, crlf + EVENT_END_CRLF.length);
}

function withoutUsage(events: Buffer): Buffer | null {
  const text = events.toString('utf8').split(BETWEEN_EVENTS).filter((event) => !isUsageOnly(event)).join('');
  return text === '' ? null : Buffer.from(text);
}

function isUsageOnly(event: string): boolean {
  if (!event.startsWith('data:') || !event.includes('"usage":')) return false;
  try {
    const value = JSON.parse(event.slice('data:'.length)) as { readonly choices?: unknown; readonly usage?: unknown };
    return Array.isArray(value.choices) && value.choices.length === 0 && value.usage !== null && value.usage !== undefined;
  } catch {
    return false;
  }
}

// What passes through on its way to the client: usage is read from its end, and taken out where only bkg asked for it.

export type Usage = { readonly promptTokens: number; readonly completionTokens: number };

/** Bytes looked at for usage at the end of an answer: it stands in the last event or at the end of the body. */
const TAIL_BYTES = 4_096;
const EVENT_END = Buffer.from('\n\n');
const USAGE = '"usage":';
const PROMPT_TOKENS = /"prompt_tokens":\s*(\d+)/;
const COMPLETION_TOKENS = /"completion_tokens":\s*(\d+)/;

/** Keeps the last two chunks; nothing is copied until the end. */
export function usageReader() {
  let before: Buffer | null = null;
  let last: Buffer | null = null;
  return {
    see(chunk: Buffer): void {
      before = last;
      last = chunk;
    },
    usage(): Usage | null {
      const text = `${before === null ? '' : before.toString('latin1', Math.max(0, before.length - TAIL_BYTES))}${last === null ? '' : last.toString('latin1', Math.max(0, last.length - TAIL_BYTES))}`;
      const at = text.lastIndexOf(USAGE);
      if (at < 0) return null;
      const said = text.slice(at);
      return { promptTokens: Number(PROMPT_TOKENS.exec(said)?.[1] ?? 0), completionTokens: Number(COMPLETION_TOKENS.exec(said)?.[1] ?? 0) };
    },
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
      const end = bytes.lastIndexOf(EVENT_END);
      if (end < 0) {
        rest = bytes;
        return null;
      }
      const whole = bytes.subarray(0, end + EVENT_END.length);
      rest = whole.length === bytes.length ? null : bytes.subarray(whole.length);
      return whole.includes(USAGE) ? withoutUsage(whole) : whole;
    },
    /** What was left without an end passes as it is. */
    end: (): Buffer | null => rest,
  };
}

function withoutUsage(events: Buffer): Buffer | null {
  const kept = events.toString('utf8').split('\n\n').filter((event) => !isUsageOnly(event));
  const text = kept.join('\n\n');
  return text === '' ? null : Buffer.from(text);
}

function isUsageOnly(event: string): boolean {
  if (!event.startsWith('data:') || !event.includes(USAGE)) return false;
  try {
    const value = JSON.parse(event.slice('data:'.length)) as { readonly choices?: unknown; readonly usage?: unknown };
    return Array.isArray(value.choices) && value.choices.length === 0 && value.usage !== null && value.usage !== undefined;
  } catch {
    return false;
  }
}

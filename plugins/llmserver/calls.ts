// Reads calls of tools out of an answer while it comes: from a grammar's text, from marks, from bare JSON.
import { randomUUID } from 'node:crypto';

export type ToolCall = { readonly id: string; readonly type: 'function'; readonly function: { readonly name: string; readonly arguments: string } };

/** What a reader says: text, the beginning of a call, and pieces of the arguments of the call begun last. */
export type CallTeller = { readonly text: (piece: string) => void; readonly begin: (call: { readonly id: string; readonly name: string }) => void; readonly args: (piece: string) => void };
/** `calls`: how many came whole; one that did not is the last one begun. `over`: nothing that matters could have followed. */
export type Ended = { readonly calls: number; readonly over: boolean };
/** `end` is told whether the answer was cut: then what has begun as a call and is none is nothing, not text. */
export type CallReader = { readonly push: (piece: string) => void; readonly end: (cut: boolean) => Ended };

// The Hermes format, which Qwen and many others were trained on.
export const OPEN = '<tool_call>';
export const CLOSE = '</tool_call>';
/** Mistral's mark; Llama 3 writes none. */
const LIST_MARK = /^\s*(?:\[TOOL_CALLS\]|<\|python_tag\|>)/;

const newId = (): string => `call_${randomUUID().replaceAll('-', '').slice(0, 24)}`;

/** The answer is one call, forced by a grammar: its arguments are told as they come. */
export function openForcedReader(tell: CallTeller): CallReader {
  const head = /^\s*(?:<tool_call>\s*)?\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*/;
  let held = '';
  let begun = false;
  let depth = 0;
  let inString = false;
  let escaped = false;
  let done = false;
  /** Length of what belongs to the arguments. */
  function scan(text: string): number {
    for (let at = 0; at < text.length; at += 1) {
      const char = text[at]!;
      if (escaped) escaped = false;
      else if (inString && char === '\\') escaped = true;
      else if (char === '"') inString = !inString;
      else if (!inString && (char === '{' || char === '[')) depth += 1;
      else if (!inString && (char === '}' || char === ']')) {
        depth -= 1;
        done = depth === 0;
        if (done) return at + 1;
      }
    }
    return text.length;
  }
  return {
    push(piece) {
      if (done) return;
      held += piece;
      if (!begun) {
        const found = head.exec(held);
        if (found === null || held.length === found[0].length) return;
        tell.begin({ id: newId(), name: JSON.parse(found[1]!) as string });
        begun = true;
        held = held.slice(found[0].length);
      }
      const length = scan(held);
      if (length > 0) tell.args(held.slice(0, length));
      held = '';
    },
    end: () => ({ calls: done ? 1 : 0, over: done }),
  };
}

/** The model may call or talk: calls are told once they are whole, what turns out to be none is text. */
export function openCallReader(tell: CallTeller, names: ReadonlySet<string>): CallReader {
  let held = '';
  let said = false;
  let calls = 0;
  function say(text: string): void {
    if (text === '' || (!said && text.trim() === '')) return;
    said = true;
    tell.text(text);
  }
  function call(found: { readonly name: string; readonly args: string }): void {
    said = true;
    calls += 1;
    tell.begin({ id: newId(), name: found.name });
    tell.args(found.args);
  }
  function drain(last: 'cut' | 'whole' | null): void {
    for (;;) {
      const open = held.indexOf(OPEN);
      if (open < 0) {
        const keep = last === null ? beginningOf(held) : 0;
        say(held.slice(0, held.length - keep));
        held = held.slice(held.length - keep);
        return;
      }
      const close = closeOf(held, open + OPEN.length);
      if (close < 0 && last === null) {
        say(held.slice(0, open));
        held = held.slice(open);
        return;
      }
      const inner = held.slice(open + OPEN.length, close < 0 ? held.length : close);
      const found = callsIn(inner);
      const after = close < 0 ? held.length : close + CLOSE.length;
      if (found === null) say(held.slice(0, close < 0 && last === 'cut' ? open : after));
      else {
        if (held.slice(0, open).trim() !== '') say(held.slice(0, open));
        found.forEach(call);
      }
      held = held.slice(after);
    }
  }
  /** Until something else was said, an answer that looks like JSON may be a call as a whole. */
  const mayBeBare = (): boolean => !said && /^\s*([{[]|<\||$)/.test(held) && !held.includes(OPEN);
  return {
    push(text) {
      held += text;
      if (!mayBeBare()) drain(null);
    },
    end(cut) {
      const bare = mayBeBare() ? callsIn(held.replace(LIST_MARK, '')) : null;
      if (bare?.every((one) => names.has(one.name)) === true) bare.forEach(call);
      else if (!(cut && mayBeBare() && beginsCall(held, names))) drain(cut ? 'cut' : 'whole');
      return { calls, over: false };
    },
  };
}

/** Where a call is closed that begins at `from`: a string in it may hold the mark itself. -1: nowhere yet. */
function closeOf(text: string, from: number): number {
  let inString = false;
  for (let at = from; at < text.length; at += 1) {
    if (inString && text[at] === '\\') at += 1;
    else if (text[at] === '"') inString = !inString;
    else if (!inString && text.startsWith(CLOSE, at)) return at;
  }
  return -1;
}

/** Whether an answer that was cut had begun as a call: by its mark, or by the name of a tool. */
function beginsCall(text: string, names: ReadonlySet<string>): boolean {
  const name = /^\s*(?:\[\s*)?\{\s*"name"\s*:\s*"([^"]*)"/.exec(text.replace(LIST_MARK, ''))?.[1];
  return LIST_MARK.test(text) || (name !== undefined && names.has(name));
}

/** `{name, arguments}`, Llama's `{name, parameters}`, or a list of these; null when it is none. */
function callsIn(text: string): readonly { readonly name: string; readonly args: string }[] | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  const list = (Array.isArray(value) ? value : [value]) as readonly ({ readonly name?: unknown; readonly arguments?: unknown; readonly parameters?: unknown } | null)[];
  const calls = list.map((one) => {
    const args = one?.arguments ?? one?.parameters ?? {};
    return typeof one?.name === 'string' ? { name: one.name, args: typeof args === 'string' ? args : JSON.stringify(args) } : null;
  });
  const whole = calls.filter((one) => one !== null);
  return whole.length === list.length && whole.length > 0 ? whole : null;
}

/** How much of the end might begin the mark of a call. */
function beginningOf(text: string): number {
  for (let length = Math.min(OPEN.length - 1, text.length); length > 0; length -= 1) if (text.endsWith(OPEN.slice(0, length))) return length;
  return 0;
}

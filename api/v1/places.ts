// Where the members of a JSON object stand in its bytes, so that one is changed and every other byte stays: numbers keep all their digits.

/** Value of one member: bytes from `from` up to `to`. */
export type Place = { readonly key: string; readonly from: number; readonly to: number };

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const LAST_SPACE = 0x20;

/** The bytes must be an object that JSON.parse has accepted: they are trusted to be well-formed. A key that stands twice is told twice. */
export function placesOf(bytes: Buffer, wanted: ReadonlySet<string>): readonly Place[] {
  const places: Place[] = [];
  let at = afterSpace(bytes, startOf(bytes));
  while (bytes[at] === QUOTE) {
    const keyEnd = endOfString(bytes, at);
    const key = keyOf(bytes.toString('utf8', at, keyEnd));
    const from = afterSpace(bytes, afterSpace(bytes, keyEnd) + 1);
    const to = endOfValue(bytes, from);
    if (wanted.has(key)) places.push({ key, from, to });
    at = afterSpace(bytes, to);
    if (bytes[at] === COMMA) at = afterSpace(bytes, at + 1);
  }
  return places;
}

/** The first byte within the object's brace. */
export const startOf = (bytes: Buffer): number => bytes.indexOf(OPEN_BRACE) + 1;

/** A key may be written with escapes: "mod\u0065l". */
const keyOf = (quoted: string): string => (quoted.includes('\\') ? (JSON.parse(quoted) as string) : quoted.slice(1, -1));

function afterSpace(bytes: Buffer, from: number): number {
  let at = from;
  while (at < bytes.length && bytes[at]! <= LAST_SPACE) at += 1;
  return at;
}

/** Pictures are strings of megabytes: jumps from quote to quote instead of looking at each byte. */
function endOfString(bytes: Buffer, from: number): number {
  let at = from;
  for (;;) {
    at = bytes.indexOf(QUOTE, at + 1);
    let escapes = 0;
    while (bytes[at - 1 - escapes] === BACKSLASH) escapes += 1;
    if (escapes % 2 === 0) return at + 1;
  }
}

function endOfValue(bytes: Buffer, from: number): number {
  let depth = 0;
  let at = from;
  do {
    const byte = bytes[at]!;
    if (byte === QUOTE) at = endOfString(bytes, at);
    else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
      depth += 1;
      at += 1;
    } else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
      depth -= 1;
      at += 1;
    } else if (depth > 0) at += 1;
    else at = endOfWord(bytes, at);
  } while (depth > 0);
  return at;
}

/** Numbers, true, false and null end before what cannot be theirs. */
function endOfWord(bytes: Buffer, from: number): number {
  let at = from;
  while (at < bytes.length && bytes[at]! > LAST_SPACE && bytes[at] !== COMMA && bytes[at] !== CLOSE_BRACE && bytes[at] !== CLOSE_BRACKET) at += 1;
  return at;
}

// Phrases with choices in them: `(a|b)`, `[maybe]`, `<a shared list>`, `{a slot}`; parsed once, drawn as often as wanted.

/** From [0, 1). */
export type Random = () => number;

export type Part =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'choice'; readonly ways: readonly (readonly Part[])[] }
  | { readonly kind: 'list' | 'slot'; readonly name: string };

export type Phrase = readonly Part[];

/** What the names in a phrase stand for. */
export type Lexicon = { readonly list: (name: string) => readonly Phrase[]; readonly slot: (name: string) => string };

const CLOSES: Readonly<Record<string, string>> = { '(': ')', '[': ']', '<': '>', '{': '}' };
const SPECIAL = /[()[\]<>{}|\\]/;

/** A repeatable stream of numbers (mulberry32): the same seed, the same corpus. */
export function randomFrom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

export const oneOf = <Item>(items: readonly Item[], random: Random): Item => {
  const item = items[Math.floor(random() * items.length)];
  if (item === undefined) throw new Error('nothing to choose from');
  return item;
};

/** Throws with the place when brackets do not close. `\` makes the next sign an ordinary one. */
export function parsePhrase(text: string): Phrase {
  const reader = { text, at: 0 };
  const ways = readWays(reader, null);
  return ways.length === 1 ? ways[0]! : [{ kind: 'choice', ways }];
}

type Reader = { readonly text: string; at: number };

function readWays(reader: Reader, close: string | null): readonly Phrase[] {
  const ways: Part[][] = [[]];
  for (;;) {
    const sign = reader.text[reader.at];
    if (sign === undefined) {
      if (close !== null) throw new Error(`"${reader.text}": a ${close} is missing at its end`);
      return ways;
    }
    if (sign === close) {
      reader.at += 1;
      return ways;
    }
    const way = ways.at(-1)!;
    if (sign === '|') {
      reader.at += 1;
      ways.push([]);
    } else if (sign === '(' || sign === '[') {
      reader.at += 1;
      const inner = readWays(reader, CLOSES[sign]!);
      way.push({ kind: 'choice', ways: sign === '[' ? [...inner, []] : inner });
    } else if (sign === '<' || sign === '{') {
      const end = reader.text.indexOf(CLOSES[sign]!, reader.at);
      if (end < 0) throw new Error(`"${reader.text}": the ${sign} at ${reader.at + 1} is not closed`);
      way.push({ kind: sign === '<' ? 'list' : 'slot', name: reader.text.slice(reader.at + 1, end) });
      reader.at = end + 1;
    } else way.push({ kind: 'text', text: readText(reader) });
  }
}

function readText(reader: Reader): string {
  let text = '';
  for (let sign = reader.text[reader.at]; sign !== undefined && (sign === '\\' || !SPECIAL.test(sign)); sign = reader.text[reader.at]) {
    if (sign === '\\') reader.at += 1;
    text += reader.text[reader.at] ?? '';
    reader.at += 1;
  }
  if (text === '') throw new Error(`"${reader.text}": ${JSON.stringify(reader.text[reader.at])} at ${reader.at + 1} closes nothing`);
  return text;
}

/** Throws with the place that they come from. */
export const parsePhrases = (texts: readonly (string | number)[] | undefined, place: string): readonly Phrase[] => {
  if (!Array.isArray(texts)) throw new Error(`${place}: a list of phrases is wanted`);
  return texts.map((text: string | number) => {
    try {
      return parsePhrase(String(text).trim());
    } catch (error) {
      throw new Error(`${place}: ${(error as Error).message}`, { cause: error });
    }
  });
};

/** A word as it stands, whatever signs are in it. */
export const literal = (word: string | number): Phrase => [{ kind: 'text', text: String(word) }];

/** An answer in words, with `slotOf` in its slots. Throws when it has choices, for an answer is but one. */
export const spoken = (phrase: Phrase, slotOf: (name: string) => string): string =>
  phrase.map((part) => {
    if (part.kind === 'text') return part.text;
    if (part.kind === 'slot') return slotOf(part.name);
    throw new Error('an answer has no choices: a bracket or | in it needs a \\ before it');
  }).join('');

/** One of the sentences the phrase stands for, its blanks tidied. */
export const draw = (phrase: Phrase, lexicon: Lexicon, random: Random): string => drawn(phrase, lexicon, random).replace(/ {2,}/g, ' ').replace(/ ([?!.,])(?=\s|$)/g, '$1').trim();

/** Matches whatever `draw` may make of the phrase, in small letters and without signs; its slots may hold any of `values`, written so. */
export function pattern(phrase: Phrase, list: Lexicon['list'], values: readonly string[]): RegExp {
  const of = (parts: Phrase): string => parts.map((part) => {
    if (part.kind === 'text') return part.text.toLowerCase().replace(/[^\p{L}\p{N} ]/gu, '').replace(/ +/g, ' *');
    if (part.kind === 'slot') return `(?:${values.join('|')})`;
    return `(?:${(part.kind === 'choice' ? part.ways : list(part.name)).map(of).join('|')})`;
  }).join('');
  return new RegExp(`^ *${of(phrase)} *$`, 'u');
}

function drawn(phrase: Phrase, lexicon: Lexicon, random: Random): string {
  let text = '';
  for (const part of phrase) {
    if (part.kind === 'text') text += part.text;
    else if (part.kind === 'choice') text += drawn(oneOf(part.ways, random), lexicon, random);
    else if (part.kind === 'list') text += drawn(oneOf(lexicon.list(part.name), random), lexicon, random);
    else text += lexicon.slot(part.name);
  }
  return text;
}

// Finds the bytes that an edit is about: one splice for adding to, replacing in, or removing from a map or list.
import { isAlias, isMap, isScalar, isSeq, type Node, type Pair, type YAMLMap, type YAMLSeq } from 'yaml';
import { emitBlock, emitFlow, emitInFlow, emitKey, isCollection } from './emit.ts';
import type { Data } from './patch.ts';

export type Splice = { readonly from: number; readonly to: number; readonly insert: string };

/** The text, and the nodes from the root to the collection that is edited; `index` is a node's place in the one before. */
export type Target = { readonly text: string; readonly parents: readonly { readonly node: Node; readonly index: number }[] };

/** Columns that one level of a new block is indented by. */
const INDENT = 2;

// ─── Measuring ──────────────────────────────────────────────────────────────────────────────────────────────────────────

const newlineOf = (text: string): string => (text.includes('\r\n') ? '\r\n' : '\n');
const lineStart = (text: string, at: number): number => text.lastIndexOf('\n', at - 1) + 1;
/** The line break that ends the line, or the end of the text. */
const lineEnd = (text: string, at: number): number => {
  const found = text.indexOf('\n', at);
  if (found < 0) return text.length;
  return found > at && text[found - 1] === '\r' ? found - 1 : found;
};
const afterLine = (text: string, at: number): number => {
  const found = text.indexOf('\n', at);
  return found < 0 ? text.length : found + 1;
};

/** Where a node's content ends: collections end where their last descendant does, not where their range says. */
export function endOf(node: unknown): number {
  if (isMap(node) && !node.flow) return node.items.length === 0 ? node.range![1] : pairEnd(node.items.at(-1)!);
  if (isSeq(node) && !node.flow) return node.items.length === 0 ? node.range![1] : endOf(node.items.at(-1));
  return (node as Node).range![1];
}

function pairEnd(pair: Pair): number {
  const value = pair.value as Node | null;
  if (value === null || isEmptyScalar(value)) return colonOf(pair) ?? (pair.key as Node).range![1];
  return Math.max(endOf(value), colonOf(pair) ?? 0);
}

/** `key:` with nothing behind it. */
const isEmptyScalar = (node: unknown): boolean => isScalar(node) && node.value === null && node.range![0] === node.range![1];

/** Just behind the colon of a pair. */
function colonOf(pair: Pair): number | null {
  const token = (pair.srcToken as { readonly sep?: readonly { readonly type: string; readonly offset: number }[] } | undefined)?.sep?.find((part) => part.type === 'map-value-ind');
  return token === undefined ? null : token.offset + 1;
}

/** Where a node begins, its anchor and tag included. */
function startOf(node: Node, text: string): number {
  let at = node.range![0];
  const marked = (isMap(node) || isSeq(node) || isScalar(node)) && (node.anchor !== undefined || node.tag !== undefined);
  if (!marked) return at;
  const props = /(?:[&!][^\s]*[ \t]+|[&!][^\s]*[ \t]*\r?\n[ \t]*)+$/.exec(text.slice(0, at));
  if (props !== null) at -= props[0].length;
  return at;
}

const column = (text: string, at: number): number => at - lineStart(text, at);
const isBom = (text: string): boolean => text.charCodeAt(0) === 0xfeff;
const startsItsLine = (text: string, at: number): boolean => {
  const before = text.slice(lineStart(text, at), at);
  return before.trim() === '' || (lineStart(text, at) === 0 && isBom(text) && before.slice(1).trim() === '');
};
/** Column as YAML counts it: a byte order mark takes none. */
const depthAt = (text: string, at: number): number => column(text, at) - (lineStart(text, at) === 0 && isBom(text) ? 1 : 0);

const inFlow = (target: Target): boolean => target.parents.some((parent) => (isMap(parent.node) || isSeq(parent.node)) && parent.node.flow === true);

// ─── Adding ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

export function addToMap(target: Target, key: string, value: Data): Splice | null {
  const map = target.parents.at(-1)!.node as YAMLMap;
  if (map.items.length === 0) return fillEmpty(target, { [key]: value });
  if (map.flow || inFlow(target)) return addInFlow(map, `${emitKey(key)}: ${emitInFlow(value)}`, target.text);
  const first = map.items[0]!.key as Node;
  const indent = depthAt(target.text, startOf(first, target.text));
  return addLines(target.text, { end: pairEnd(map.items.at(-1)!), indent, lines: entryLines(key, value, indent, target.text) });
}

export function addToSeq(target: Target, index: number, value: Data): Splice | null {
  const seq = target.parents.at(-1)!.node as YAMLSeq;
  const { text } = target;
  if (seq.items.length === 0) return fillEmpty(target, [value]);
  if (seq.flow || inFlow(target)) {
    if (index >= seq.items.length) return addInFlow(seq, emitInFlow(value), text);
    const at = itemStart(seq, index, text);
    return { from: at, to: at, insert: `${emitInFlow(value)}, ` };
  }
  const dash = dashOf(seq, Math.min(index, seq.items.length - 1), text);
  if (dash === null) return null;
  const indent = depthAt(text, dashOf(seq, 0, text) ?? dash);
  const lines = emitBlock([value], indent, newlineOf(text));
  if (index >= seq.items.length) return addLines(text, { end: Math.max(endOf(seq), dash + 1), indent, lines });
  if (!startsItsLine(text, dash)) return { from: dash, to: dash, insert: lines.trimStart() + newlineOf(text) + ' '.repeat(indent) };
  const at = dash - indent;
  return { from: at, to: at, insert: lines + newlineOf(text) };
}

function entryLines(key: string, value: Data, indent: number, text: string): string {
  const pad = ' '.repeat(indent);
  if (!isCollection(value)) return `${pad}${emitKey(key)}: ${emitFlow(value)}`;
  return `${pad}${emitKey(key)}:${newlineOf(text)}${emitBlock(value, indent + INDENT, newlineOf(text))}`;
}

/** New lines behind the last item and the comments that are indented with it. */
function addLines(text: string, add: { readonly end: number; readonly indent: number; readonly lines: string }): Splice {
  const newline = newlineOf(text);
  // A block scalar's range ends behind its last line break: step back into that line.
  const inside = add.end > 0 && text[add.end - 1] === '\n' ? add.end - 1 : add.end;
  let at = lineEnd(text, inside > 0 && text[inside - 1] === '\r' ? inside - 1 : inside);
  for (;;) {
    const next = afterLine(text, at);
    if (next >= text.length) break;
    const line = text.slice(next, lineEnd(text, next));
    const comment = /^([ \t]*)#/.exec(line);
    if (comment === null || comment[1]!.length < add.indent || (add.indent === 0 && comment[1]!.length === 0 && at === inside)) break;
    at = lineEnd(text, next);
  }
  return { from: at, to: at, insert: newline + add.lines };
}

/** Straight behind the last value: what follows (comma, comment, bracket) stays where it is. */
function addInFlow(node: YAMLMap | YAMLSeq, entry: string, text: string): Splice {
  const last = node.items.at(-1);
  const end = isMap(node) ? flowPairEnd(last as Pair) : endOf(last);
  void text;
  return { from: end, to: end, insert: `, ${entry}` };
}

const flowPairEnd = (pair: Pair): number => {
  const value = pair.value as Node | null;
  return value === null ? (colonOf(pair) ?? (pair.key as Node).range![1]) : Math.max(endOf(value), colonOf(pair) ?? 0);
};

/** `{}` or `[]` that gets its first item: a block where it stands in one, else inside its brackets. */
function fillEmpty(target: Target, value: Data): Splice | null {
  const self = target.parents.at(-1)!;
  const { text } = target;
  const above = target.parents.at(-2);
  const range = self.node.range!;
  if (above === undefined) return { from: range[0], to: range[1], insert: emitBlock(value, 0, newlineOf(text)) };
  return replaceAt({ text, parents: target.parents.slice(0, -1) }, self.index, value);
}

// ─── Replacing ──────────────────────────────────────────────────────────────────────────────────────────────────────────

export function replaceAt(target: Target, index: number, value: Data): Splice | null {
  const holder = target.parents.at(-1)!.node;
  const { text } = target;
  if (isSeq(holder)) return replaceItem(target, holder, { index, value });
  if (!isMap(holder)) return null;
  const pair = holder.items[index];
  if (pair === undefined) return null;
  const old = pair.value as Node | null;
  const colon = colonOf(pair);
  if (colon === null) return null;
  const flow = holder.flow === true || inFlow(target);
  if (old === null || isEmptyScalar(old)) return fillHeading(text, { colon, old, flow, value, indent: depthAt(text, startOf(pair.key as Node, text)) });
  const plain = !isCollection(value);
  const start = startOf(old, text);
  if (plain || flow) {
    const oneLine = isOneLine(old, text);
    const insert = flow ? emitInFlow(value) : scalarLike(old, value);
    if (oneLine) return { from: start, to: endOf(old), insert };
    return { from: colon, to: contentEnd(old, text), insert: ` ${insert}` };
  }
  const indent = depthAt(text, startOf(pair.key as Node, text)) + INDENT;
  const end = contentEnd(old, text);
  const rest = text.slice(end, lineEnd(text, end));
  // A comment behind the old value stays behind the heading; the block begins on the next line.
  return { from: colon, to: lineEnd(text, end), insert: `${rest.trimEnd() === '' ? '' : ` ${rest.trim()}`}${newlineOf(text)}${emitBlock(value, indent, newlineOf(text))}` };
}

function fillHeading(text: string, at: { readonly colon: number; readonly old: Node | null; readonly flow: boolean; readonly value: Data; readonly indent: number }): Splice {
  if (at.flow) return { from: at.colon, to: at.colon, insert: ` ${emitInFlow(at.value)}` };
  if (!isCollection(at.value)) return { from: at.colon, to: at.colon, insert: ` ${emitFlow(at.value)}` };
  const end = lineEnd(text, at.colon);
  return { from: end, to: end, insert: newlineOf(text) + emitBlock(at.value, at.indent + INDENT, newlineOf(text)) };
}

const isOneLine = (node: Node, text: string): boolean => !text.slice(startOf(node, text), endOf(node)).includes('\n') && text.slice(lineStart(text, startOf(node, text)), startOf(node, text)).trim() !== '';

/** Block scalars end behind their last line break, which belongs to what follows. */
function contentEnd(node: Node, text: string): number {
  let end = endOf(node);
  while (end > 0 && text[end - 1] === '\n') end -= text[end - 2] === '\r' ? 2 : 1;
  return end;
}

/** A string stays in the quotes it stood in. */
function scalarLike(old: Node, value: Data): string {
  if (typeof value !== 'string' || !isScalar(old)) return emitFlow(value);
  if (old.type === 'QUOTE_DOUBLE') return JSON.stringify(value);
  if (old.type === 'QUOTE_SINGLE' && /^[\x20-\x7e]*$/.test(value)) return `'${value.replaceAll("'", "''")}'`;
  return emitFlow(value);
}

function replaceItem(target: Target, seq: YAMLSeq, what: { readonly index: number; readonly value: Data }): Splice | null {
  const { text } = target;
  const old = seq.items[what.index] as Node | undefined;
  if (old === undefined) return null;
  const flow = seq.flow === true || inFlow(target);
  if (flow) return { from: startOf(old, text), to: endOf(old), insert: emitInFlow(what.value) };
  const dash = dashOf(seq, what.index, text);
  if (dash === null) return null;
  const end = isEmptyScalar(old) ? dash + 1 : Math.max(dash + 1, contentEnd(old, text));
  const insert = isCollection(what.value) ? emitBlock(what.value, depthAt(text, dash) + INDENT, newlineOf(text)).trimStart() : scalarLike(old, what.value);
  return { from: dash + 1, to: end, insert: ` ${insert}` };
}

// ─── Removing ───────────────────────────────────────────────────────────────────────────────────────────────────────────

export function removeFrom(target: Target, index: number): Splice | null {
  const holder = target.parents.at(-1)!;
  const { text } = target;
  const node = holder.node;
  if (!isMap(node) && !isSeq(node)) return null;
  const count = node.items.length;
  const flow = node.flow === true || inFlow(target);
  const start = itemStart(node, index, text);
  const end = isMap(node) ? pairEnd(node.items[index]!) : itemEnd(node, index, text);
  if (flow) {
    if (index < count - 1) return { from: start, to: itemStart(node, index + 1, text), insert: '' };
    if (count === 1) return { from: start, to: end, insert: '' };
    return { from: isMap(node) ? flowPairEnd(node.items[index - 1]!) : endOf(node.items[index - 1]), to: end, insert: '' };
  }
  if (count === 1) return emptyOut(target, isMap(node) ? '{}' : '[]');
  const stop = contentEndAt(text, end);
  if (startsItsLine(text, start)) return { from: lineStart(text, start) + (lineStart(text, start) === 0 && isBom(text) ? 1 : 0), to: afterLine(text, stop), insert: '' };
  // The first item of a collection that begins on its holder's line: the next one takes its place there.
  return index < count - 1 ? { from: start, to: itemStart(node, index + 1, text), insert: '' } : { from: start, to: stop, insert: '' };
}

const contentEndAt = (text: string, end: number): number => {
  let at = end;
  while (at > 0 && text[at - 1] === '\n') at -= text[at - 2] === '\r' ? 2 : 1;
  return at;
};

/** The last item goes: the collection is written as empty where it stood. */
function emptyOut(target: Target, empty: string): Splice | null {
  const self = target.parents.at(-1)!;
  const above = target.parents.at(-2);
  const { text } = target;
  const first = itemStart(self.node as YAMLMap, 0, text);
  const end = contentEndAt(text, isMap(self.node) ? pairEnd(self.node.items[0]!) : itemEnd(self.node as YAMLSeq, 0, text));
  if (above === undefined) return { from: first, to: end, insert: empty };
  if (isMap(above.node)) {
    const colon = colonOf(above.node.items[self.index]!);
    if (colon === null) return null;
    const heading = text.slice(colon, lineEnd(text, colon));
    // `key: # comment` keeps its comment behind the {}.
    if (startsItsLine(text, first) && heading.trim().startsWith('#') && !heading.includes('&')) {
      const between = text.slice(lineEnd(text, colon), lineStart(text, first));
      return { from: colon, to: lineEnd(text, end), insert: ` ${empty}${heading}${between.replace(/\r?\n$/, '')}` };
    }
    return { from: colon, to: end, insert: ` ${empty}` };
  }
  return { from: first, to: end, insert: empty };
}

function itemStart(node: YAMLMap | YAMLSeq, index: number, text: string): number {
  if (isMap(node)) return startOf(node.items[index]!.key as Node, text);
  if (node.flow) return startOf(node.items[index] as Node, text);
  return dashOf(node, index, text) ?? startOf(node.items[index] as Node, text);
}

const itemEnd = (seq: YAMLSeq, index: number, text: string): number => {
  const item = seq.items[index] as Node;
  const dash = dashOf(seq, index, text);
  if (isEmptyScalar(item)) return (dash ?? item.range![0]) + 1;
  return isAlias(item) ? item.range![1] : Math.max(endOf(item), (dash ?? 0) + 1);
};

/** The dash in front of an item: the source token of the list knows. */
function dashOf(seq: YAMLSeq, index: number, _text: string): number | null {
  const token = seq.srcToken as { readonly items?: readonly { readonly start: readonly { readonly type: string; readonly offset: number }[] }[] } | undefined;
  const own = token?.items?.filter((item) => item.start.some((part) => part.type === 'seq-item-ind'))[index];
  return own?.start.find((part) => part.type === 'seq-item-ind')?.offset ?? null;
}

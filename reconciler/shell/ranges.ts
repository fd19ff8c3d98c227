// Where nodes of a YAML document begin and end in its text, and how the text around them is written.
import { isAlias, isMap, isScalar, isSeq, type Node, type Pair, type YAMLMap, type YAMLSeq } from 'yaml';

/** The text, and the nodes from the root to the collection that is edited; `index` is a node's place in the one before. */
export type Target = { readonly text: string; readonly parents: readonly { readonly node: Node; readonly index: number }[] };

/** Columns that one level of a new block is indented by where the document shows no habit of its own. */
const INDENT = 2;

// ─── Lines ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

export const newlineOf = (text: string): string => (text.includes('\r\n') ? '\r\n' : '\n');
export const lineStart = (text: string, at: number): number => text.lastIndexOf('\n', at - 1) + 1;

/** The line break that ends the line, or the end of the text. */
export function lineEnd(text: string, at: number): number {
  const found = text.indexOf('\n', at);
  if (found < 0) return text.length;
  return found > at && text[found - 1] === '\r' ? found - 1 : found;
}

/** The beginning of the next line, or the end of the text. */
export function afterLine(text: string, at: number): number {
  const found = text.indexOf('\n', at);
  return found < 0 ? text.length : found + 1;
}

/** A byte order mark takes no column and belongs to no line. */
const bomOf = (text: string, at: number): number => (lineStart(text, at) === 0 && text.charCodeAt(0) === 0xfeff ? 1 : 0);
/** Where the line's own text begins. */
export const lineBegin = (text: string, at: number): number => lineStart(text, at) + bomOf(text, at);
export const columnOf = (text: string, at: number): number => at - lineBegin(text, at);
export const startsItsLine = (text: string, at: number): boolean => text.slice(lineBegin(text, at), at).trim() === '';

/** The comment behind a place on its line, with one space before it; empty where there is none. */
export function commentBehind(text: string, at: number): string {
  const rest = text.slice(at, lineEnd(text, at));
  const found = /^[ \t,]*(#.*)$/.exec(rest);
  return found === null ? '' : ` ${found[1]!.trimEnd()}`;
}

/** Steps back over line breaks: a block scalar's range ends behind its last one, which belongs to what follows. */
export function beforeBreaks(text: string, end: number): number {
  let at = end;
  while (at > 0 && text[at - 1] === '\n') at -= text[at - 2] === '\r' ? 2 : 1;
  return at;
}

/** The end of the line on which a node ends at `end`, and of the comments below it that are indented as deep as its item. */
export function behindComments(text: string, end: number, indent: number): number {
  // A block scalar's range ends behind its last line break: step back into that line.
  const inside = end > 0 && text[end - 1] === '\n' ? end - 1 : end;
  let at = lineEnd(text, inside > 0 && text[inside - 1] === '\r' ? inside - 1 : inside);
  for (;;) {
    const next = afterLine(text, at);
    if (next >= text.length) return at;
    const comment = /^([ \t]*)#/.exec(text.slice(next, lineEnd(text, next)));
    // Comments at the left edge speak of what follows, or of the whole file.
    if (comment === null || comment[1]!.length < Math.max(indent, 1)) return at;
    at = lineEnd(text, next);
  }
}

// ─── Nodes ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** `key:` or `-` with nothing behind it. */
export const isEmpty = (node: unknown): boolean => node === null || (isScalar(node) && node.value === null && node.range![0] === node.range![1]);
/** A map or list written on lines of its own. */
export const isBlock = (node: unknown): node is YAMLMap | YAMLSeq => (isMap(node) || isSeq(node)) && node.flow !== true;

/** Where a node's content ends: collections end where their last descendant does, not where their range says. */
export function endOf(node: unknown): number {
  if (!isBlock(node) || node.items.length === 0) return (node as Node).range![1];
  return itemEnd(node, node.items.length - 1);
}

/** Where a node begins, its anchor and tag included. */
export function startOf(node: Node, text: string): number {
  const at = node.range![0];
  const marked = !isAlias(node) && (isMap(node) || isSeq(node) || isScalar(node)) && (node.anchor !== undefined || node.tag !== undefined);
  const marks = marked ? /(?:[&!][^\s]*[ \t]+|[&!][^\s]*[ \t]*\r?\n[ \t]*)+$/.exec(text.slice(0, at)) : null;
  return at - (marks?.[0].length ?? 0);
}

type Part = { readonly type: string; readonly offset: number };
type PairToken = { readonly start?: readonly Part[]; readonly sep?: readonly Part[] } | undefined;

/** Just behind the colon of a pair. */
export function colonOf(pair: Pair): number | null {
  const found = (pair.srcToken as PairToken)?.sep?.find((part) => part.type === 'map-value-ind');
  return found === undefined ? null : found.offset + 1;
}

/** Just behind the dash of a list's item: the source token of the list knows. */
export function dashOf(seq: YAMLSeq, index: number): number | null {
  const items = (seq.srcToken as { readonly items?: readonly { readonly start: readonly Part[] }[] } | undefined)?.items;
  const own = items?.filter((item) => item.start.some((part) => part.type === 'seq-item-ind'))[index];
  const dash = own?.start.find((part) => part.type === 'seq-item-ind');
  return dash === undefined ? null : dash.offset + 1;
}

/** Where an item begins: its key, `?` or dash. */
export function itemStart(node: YAMLMap | YAMLSeq, index: number, text: string): number {
  if (isSeq(node)) {
    const dash = node.flow ? null : dashOf(node, index);
    return dash === null ? startOf(node.items[index] as Node, text) : dash - 1;
  }
  const pair = node.items[index]!;
  const asked = (pair.srcToken as PairToken)?.start?.find((part) => part.type === 'explicit-key-ind');
  return asked?.offset ?? startOf(pair.key as Node, text);
}

export function itemEnd(node: YAMLMap | YAMLSeq, index: number): number {
  if (isSeq(node)) {
    const mark = (node.flow ? null : dashOf(node, index)) ?? 0;
    const item = node.items[index];
    return isEmpty(item) && mark > 0 ? mark : Math.max(endOf(item), mark);
  }
  const pair = node.items[index]!;
  const colon = colonOf(pair) ?? (pair.key as Node).range![1];
  return isEmpty(pair.value) ? colon : Math.max(endOf(pair.value), colon);
}

// ─── Habits of the document ─────────────────────────────────────────────────────────────────────────────────────────────

export const inFlow = (target: Target): boolean => target.parents.some((parent) => (isMap(parent.node) || isSeq(parent.node)) && parent.node.flow === true);

/** How what stands in braces is written here: with spaces inside them, and whether everything is quoted as in JSON. */
export type FlowStyle = { readonly padded: boolean; readonly json: boolean };

export function flowStyleOf(target: Target): FlowStyle {
  const around = target.parents.map((parent) => parent.node).filter((node): node is YAMLMap | YAMLSeq => (isMap(node) || isSeq(node)) && node.flow === true && node.items.length > 0);
  const nearest = around.at(-1);
  const words = around.flatMap((node): unknown[] => (isMap(node) ? node.items.map((pair) => pair.key) : node.items));
  const strings = words.filter((word) => isScalar(word) && typeof word.value === 'string');
  const json = strings.length > 0 && strings.every((word) => isScalar(word) && word.type === 'QUOTE_DOUBLE');
  return { padded: nearest !== undefined && /\s/.test(target.text[nearest.range![0] + 1] ?? ''), json };
}

/** Columns by which maps are indented hereabouts. */
export function stepOf(target: Target): number {
  const maps = target.parents.map((parent) => parent.node).filter((node): node is YAMLMap => isMap(node) && isBlock(node) && node.items.length > 0);
  const column = (map: YAMLMap): number => columnOf(target.text, itemStart(map, 0, target.text));
  for (const holder of [...maps].reverse()) {
    for (const pair of holder.items) {
      const below = pair.value;
      if (isMap(below) && isBlock(below) && below.items.length > 0 && column(below) > column(holder)) return column(below) - column(holder);
    }
  }
  return INDENT;
}

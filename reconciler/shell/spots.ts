// Finds the bytes that an edit is about: one splice for adding to, replacing in, or removing from a map or list.
import { isAlias, isMap, isScalar, isSeq, type Node, type YAMLMap, type YAMLSeq } from 'yaml';
import { emitBlock, emitFlow, emitInFlow, emitKey, isCollection, type BlockShape } from './emit.ts';
import type { Data } from './patch.ts';
import {
  afterLine, beforeBreaks, behindComments, colonOf, columnOf, commentBehind, dashOf, endOf, flowStyleOf, inFlow, isBlock, isEmpty, itemEnd, itemStart,
  lineBegin, lineEnd, lineStart, newlineOf, startOf, startsItsLine, stepOf, type FlowStyle, type Target,
} from './ranges.ts';

export type Splice = { readonly from: number; readonly to: number; readonly insert: string };

/** Longer than this, a value is written as a block. */
const BRACES_COLUMNS = 100;

const pad = (columns: number): string => ' '.repeat(columns);
const shapeAt = (target: Target, indent: number): BlockShape => ({ indent, step: stepOf(target), newline: newlineOf(target.text) });

// ─── Adding ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

export function addToMap(target: Target, key: string, value: Data): Splice | null {
  const map = target.parents.at(-1)!.node as YAMLMap;
  if (map.items.length === 0) return fillEmpty(target, { [key]: value });
  if (inFlow(target)) {
    const style = flowStyleOf(target);
    return addInFlow(target.text, map, `${emitKey(key, style)}: ${emitInFlow(value, style)}`);
  }
  const indent = columnOf(target.text, itemStart(map, 0, target.text));
  return addLines(target.text, { end: itemEnd(map, map.items.length - 1), indent, lines: entryLines(target, { key, value, indent }) });
}

function entryLines(target: Target, entry: { readonly key: string; readonly value: Data; readonly indent: number }): string {
  const head = `${pad(entry.indent)}${emitKey(entry.key)}:`;
  if (!isCollection(entry.value)) return `${head} ${emitFlow(entry.value)}`;
  const shape = shapeAt(target, entry.indent + stepOf(target));
  return `${head}${shape.newline}${emitBlock(entry.value, shape)}`;
}

export function addToSeq(target: Target, index: number, value: Data): Splice | null {
  const seq = target.parents.at(-1)!.node as YAMLSeq;
  const { text } = target;
  const count = seq.items.length;
  if (count === 0) return fillEmpty(target, [value]);
  const at = itemStart(seq, Math.min(index, count - 1), text);
  const own = startsItsLine(text, at);
  if (inFlow(target)) {
    const entry = emitInFlow(value, flowStyleOf(target));
    if (index >= count) return addInFlow(text, seq, entry);
    return { from: at, to: at, insert: own ? `${entry},${newlineOf(text)}${text.slice(lineBegin(text, at), at)}` : `${entry}, ` };
  }
  const shape = shapeAt(target, columnOf(text, itemStart(seq, 0, text)));
  const lines = emitBlock([value], shape);
  if (index >= count) return addLines(text, { end: itemEnd(seq, count - 1), indent: shape.indent, lines });
  if (!own) return { from: at, to: at, insert: lines.trimStart() + shape.newline + pad(shape.indent) };
  return { from: at - shape.indent, to: at - shape.indent, insert: lines + shape.newline };
}

/** New lines behind the last item and the comments that are indented with it. */
function addLines(text: string, add: { readonly end: number; readonly indent: number; readonly lines: string }): Splice {
  const at = behindComments(text, add.end, add.indent);
  return { from: at, to: at, insert: newlineOf(text) + add.lines };
}

/** Straight behind the last value, or on a line of its own where the items have theirs. A comment stays with its item. */
function addInFlow(text: string, node: YAMLMap | YAMLSeq, entry: string): Splice {
  const last = node.items.length - 1;
  const [start, end] = [itemStart(node, last, text), itemEnd(node, last)];
  const [, comma, comment] = /^([ \t]*,)?([ \t]*#.*)?/.exec(text.slice(end, lineEnd(text, end)))!;
  if (comment === undefined && !startsItsLine(text, start)) return { from: end, to: end, insert: `, ${entry}` };
  const indent = startsItsLine(text, start) ? text.slice(lineBegin(text, start), start) : pad(columnOf(text, start));
  const own = comma === undefined && comment === undefined;
  return { from: end, to: own ? end : end + (comma?.length ?? 0) + (comment?.length ?? 0), insert: `,${comment ?? ''}${newlineOf(text)}${indent}${entry}${comma === undefined ? '' : ','}` };
}

/** `{}` or `[]` that gets its first item: a block where it stands in one, else inside its brackets. */
function fillEmpty(target: Target, value: Data): Splice | null {
  const self = target.parents.at(-1)!;
  if (target.parents.length > 1) return replaceAt({ text: target.text, parents: target.parents.slice(0, -1) }, self.index, value);
  const [from, to] = self.node.range!;
  return { from, to, insert: emitBlock(value, shapeAt(target, 0)) };
}

// ─── Replacing ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/** What is replaced: `mark` is just behind its colon or dash, `column` where the key or dash stands. */
type Spot = { readonly target: Target; readonly mark: number; readonly column: number; readonly old: Node | null; readonly inList: boolean };

export function replaceAt(target: Target, index: number, value: Data): Splice | null {
  const holder = target.parents.at(-1)!.node;
  const { text } = target;
  if (!isMap(holder) && !isSeq(holder)) return null;
  if (index < 0 || index >= holder.items.length) return null;
  const old = (isMap(holder) ? holder.items[index]!.value : holder.items[index]) as Node | null;
  if (inFlow(target)) return replaceInFlow(target, { holder, index, old }, value);
  const mark = isMap(holder) ? colonOf(holder.items[index]!) : dashOf(holder, index);
  if (mark === null) return null;
  const spot: Spot = { target, mark, column: columnOf(text, itemStart(holder, index, text)), old, inList: isSeq(holder) };
  if (!isCollection(value)) return withWord(spot, value);
  return inBraces(spot, value) ?? withBlock(spot, value);
}

/** What stood in braces stays in braces, as long as it is easy to read there. */
function inBraces(spot: Spot, value: Data): Splice | null {
  const { target, old } = spot;
  if (!(isMap(old) || isSeq(old)) || old.flow !== true || old.items.length === 0) return null;
  const [from, to] = [startOf(old, target.text), endOf(old)];
  const insert = emitInFlow(value, flowStyleOf({ ...target, parents: [{ node: old, index: 0 }] }));
  return insert.length > BRACES_COLUMNS || target.text.slice(from, to).includes('\n') ? null : { from, to, insert };
}

function replaceInFlow(target: Target, what: { readonly holder: YAMLMap | YAMLSeq; readonly index: number; readonly old: Node | null }, value: Data): Splice {
  const word = wordLike(what.old, value, flowStyleOf(target));
  if (!isEmpty(what.old)) return { from: startOf(what.old!, target.text), to: endOf(what.old), insert: word };
  const pair = isMap(what.holder) ? what.holder.items[what.index]! : null;
  const colon = pair === null ? null : colonOf(pair);
  const at = colon ?? itemEnd(what.holder, what.index);
  return { from: at, to: at, insert: `${pair !== null && colon === null ? ':' : ''} ${word}` };
}

/** A string stays in the quotes it stood in. */
function wordLike(old: Node | null, value: Data, style: FlowStyle | null): string {
  if (typeof value === 'string' && isScalar(old)) {
    if (old.type === 'QUOTE_DOUBLE') return JSON.stringify(value);
    if (old.type === 'QUOTE_SINGLE' && /^[\x20-\x7e]*$/.test(value)) return `'${value.replaceAll("'", "''")}'`;
  }
  return style === null ? emitFlow(value) : emitInFlow(value, style);
}

/** One word, `{}` or `[]` in the place of what stands there. Comments above the old lines stay, those of the lines go with them. */
function withWord(spot: Spot, value: Data): Splice {
  const { target: { text }, mark, old } = spot;
  const word = wordLike(old, value, null);
  if (old === null || isEmpty(old)) return { from: mark, to: mark, insert: ` ${word}` };
  if (!isBlock(old)) {
    const end = beforeBreaks(text, endOf(old));
    return { from: startOf(old, text), to: end, insert: word + headerComment(old, text) };
  }
  return inBlocksPlace(spot, old, word);
}

function inBlocksPlace(spot: Pick<Spot, 'target' | 'mark'>, old: YAMLMap | YAMLSeq, word: string): Splice {
  const { target: { text }, mark } = spot;
  const first = itemStart(old, 0, text);
  const end = beforeBreaks(text, endOf(old));
  const oneLine = lineStart(text, first) === lineStart(text, end);
  if (!startsItsLine(text, first)) return { from: mark, to: oneLine ? end : lineEnd(text, end), insert: ` ${word}` };
  const gap = gapOf(text, mark, first);
  return { from: mark, to: lineEnd(text, end), insert: ` ${word}${gap.includes('#') ? gap : ''}` };
}

/** The comment in the first line of a block scalar: `key: | # comment`. */
const headerComment = (old: Node, text: string): string => (isScalar(old) && old.type?.startsWith('BLOCK') === true ? commentBehind(text, old.range![0] + /^[^\s#]*/.exec(text.slice(old.range![0]))![0].length) : '');

/** What stands between a colon or dash and the lines below it, the marks of the old value left out. */
function gapOf(text: string, mark: number, first: number): string {
  return text.slice(mark, lineStart(text, first)).replace(/\r?\n$/, '').replace(/^(?:[ \t]*[&!][^\s]*)+[ \t]*(?=#)/, ' ').replace(/^(?:[ \t]*[&!][^\s]*)+[ \t]*/, '');
}

/** A block in the place of what stands there: on the lines below the key, or beside the dash. */
function withBlock(spot: Spot, value: Data): Splice {
  const { target, mark, old } = spot;
  const { text } = target;
  const shape = shapeAt(target, indentOf(spot, value));
  const lines = emitBlock(value, shape);
  const below = (comment: string): string => (spot.inList && comment === '' ? ` ${lines.trimStart()}` : comment + shape.newline + lines);
  if (old === null || isEmpty(old)) return { from: mark, to: lineEnd(text, mark), insert: below(commentBehind(text, mark)) };
  if (!isBlock(old)) {
    const start = startOf(old, text);
    const end = beforeBreaks(text, endOf(old));
    const comment = headerComment(old, text) || commentBehind(text, end);
    if (lineStart(text, start) === lineStart(text, mark)) return { from: mark, to: lineEnd(text, end), insert: below(comment) };
    return { from: lineStart(text, start), to: lineEnd(text, end), insert: comment === '' ? lines : `${pad(shape.indent)}${comment.trim()}${shape.newline}${lines}` };
  }
  const first = itemStart(old, 0, text);
  const end = lineEnd(text, beforeBreaks(text, endOf(old)));
  if (startsItsLine(text, first)) return { from: mark, to: end, insert: gapOf(text, mark, first) + shape.newline + lines };
  return { from: mark, to: end, insert: below(lineStart(text, first) === lineStart(text, end) ? commentBehind(text, beforeBreaks(text, endOf(old))) : '') };
}

/** The new lines begin where the old ones did, if that is deep enough for them. */
function indentOf(spot: Spot, value: Data): number {
  const { target, old, column } = spot;
  const usual = column + (spot.inList ? 2 : stepOf(target));
  if (!isBlock(old)) return usual;
  const first = itemStart(old, 0, target.text);
  if (!startsItsLine(target.text, first)) return usual;
  const before = columnOf(target.text, first);
  return before > column || (isSeq(old) && Array.isArray(value)) ? before : usual;
}

// ─── Removing ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/** An item goes with the comment on its lines; those above it stay. */
export function removeFrom(target: Target, index: number): Splice | null {
  const { text } = target;
  const { node } = target.parents.at(-1)!;
  if (!isMap(node) && !isSeq(node)) return null;
  const start = itemStart(node, index, text);
  if (inFlow(target)) return removeInFlow(text, node, index);
  const end = beforeBreaks(text, itemEnd(node, index));
  if (node.items.length === 1) return emptyOut(target, isMap(node) ? '{}' : '[]');
  if (startsItsLine(text, start)) return { from: lineBegin(text, start), to: afterLine(text, end), insert: '' };
  // The first item of a collection that begins on its holder's line: what follows takes its place there.
  const next = /\S/.exec(text.slice(lineEnd(text, end)));
  return { from: start, to: next === null ? end : lineEnd(text, end) + next.index, insert: '' };
}

function removeInFlow(text: string, node: YAMLMap | YAMLSeq, index: number): Splice {
  const [start, end] = [itemStart(node, index, text), itemEnd(node, index)];
  const last = node.items.length - 1;
  const comma = /^\s*,/.exec(text.slice(end))?.[0].length ?? 0;
  const own = startsItsLine(text, start);
  const alone = own && /^[ \t]*(#.*)?$/.test(text.slice(end + comma, lineEnd(text, end + comma)));
  if (index < last) {
    if (alone) return { from: lineBegin(text, start), to: afterLine(text, end + comma), insert: '' };
    const next = itemStart(node, index + 1, text);
    const between = text.slice(end + comma, next);
    return { from: start, to: between.includes('#') ? end + comma + /^[ \t]*/.exec(between)![0].length : next, insert: '' };
  }
  if (index === 0) return { from: start, to: end + comma, insert: '' };
  const before = itemEnd(node, index - 1);
  if (!text.slice(before, start).includes('#')) return { from: before, to: end, insert: '' };
  // The comma before the comments stays: one behind the last item is allowed.
  return alone ? { from: lineBegin(text, start), to: afterLine(text, end + comma), insert: '' } : { from: start, to: end + comma, insert: '' };
}

/** The last item goes: the collection is written as empty where it stood. */
function emptyOut(target: Target, empty: string): Splice | null {
  const self = target.parents.at(-1)!;
  const node = self.node as YAMLMap | YAMLSeq;
  const above = target.parents.at(-2)?.node;
  const { text } = target;
  const mark = isMap(above) ? colonOf(above.items[self.index]!) : isSeq(above) ? dashOf(above, self.index) : null;
  if (mark !== null) return inBlocksPlace({ target, mark }, node, empty);
  const end = beforeBreaks(text, itemEnd(node, 0));
  return above === undefined && !isAlias(node) ? { from: itemStart(node, 0, text), to: end, insert: empty } : null;
}

// Edits YAML text losslessly: each operation becomes one splice of the bytes it is about; two laws are checked before it counts.
import { isDeepStrictEqual } from 'node:util';
import { isAlias, isMap, isScalar, isSeq, parseDocument, visit, type Alias, type Document, type Node, type Pair, type YAMLMap, type YAMLSeq } from 'yaml';
import { tokensOf } from '../../schema/pointer.ts';
import type { Problem } from '../core/types.ts';
import type { PatchOperation, TestOperation, WriteOperation } from './door.ts';
import { emitBlock, emitFlow } from './emit.ts';
import { applyOperation, lookUp, type Data } from './patch.ts';
import { beforeBreaks, endOf, isEmpty, newlineOf, type Target } from './ranges.ts';
import { addToMap, addToSeq, removeFrom, replaceAt, type Splice } from './spots.ts';

export { mergePatchToOperations } from './patch.ts';

type Refused = { readonly ok: false; readonly problem: Problem };
export type Edited = { readonly ok: true; readonly text: string; readonly splices: readonly Splice[] } | Refused;

const refused = (code: string, pointer: string, message: string, hint: string | null = null): Refused =>
  ({ ok: false, problem: { code, pointer, line: null, column: null, message, hint, severity: 'error' } });

/** Bytes outside the splices stay as they are; what the text then says equals the patch applied to what it said. */
export function edit(text: string, operations: readonly PatchOperation[]): Edited {
  const splices: Splice[] = [];
  let now = text;
  for (const operation of operations) {
    for (const simple of simpleOperations(now, operation)) {
      if ('ok' in simple) return simple;
      const done = editOnce(now, simple);
      if (!done.ok) return done;
      now = done.text;
      splices.push(...done.splices);
    }
  }
  return { ok: true, text: now, splices };
}

/** move and copy as remove and add; everything is checked against plain data first. */
function* simpleOperations(text: string, operation: PatchOperation): Generator<WriteOperation | TestOperation | Refused> {
  if (!('from' in operation)) {
    yield operation;
    return;
  }
  const parsed = parse(text);
  const value = parsed === null ? undefined : lookUp(parsed.data, operation.from);
  if (value === undefined) {
    yield refused('PathMissing', operation.from, `${operation.from} does not exist.`);
    return;
  }
  if (operation.op === 'move') yield { op: 'remove', path: operation.from };
  yield { op: 'add', path: operation.path, value: value as never };
}

type Parsed = { readonly doc: Document; readonly data: Data };

function parse(text: string): Parsed | null {
  const doc = parseDocument(text, { keepSourceTokens: true, intAsBigInt: true, prettyErrors: false });
  if (doc.errors.length > 0) return null;
  try {
    return { doc, data: unshare(doc.toJS({ maxAliasCount: 10_000 }) as Data) };
  } catch {
    // The library throws at an alias that stands for nothing, or for too much; one inside of itself never ends.
    return null;
  }
}

/** toJS hands the same object to every alias: an edit of one would be an edit of all. Small integers become numbers. */
function unshare(data: Data): Data {
  if (typeof data === 'bigint') return Number.isSafeInteger(Number(data)) ? Number(data) : data;
  if (Array.isArray(data)) return data.map(unshare);
  if (data === null || typeof data !== 'object') return data;
  const out: { [key: string]: Data } = {};
  for (const [key, value] of Object.entries(data)) Object.defineProperty(out, key, { value: unshare(value), enumerable: true, writable: true, configurable: true });
  return out;
}

function editOnce(text: string, operation: WriteOperation | TestOperation): Edited {
  const parsed = parse(text);
  if (parsed === null) return refused('YamlSyntax', operation.path, 'The file on disk is not valid YAML; mend it first.');
  const expected = applyOperation(parsed.data, operation);
  if (!expected.ok) return refused(expected.code, expected.pointer, expected.message);
  if (isDeepStrictEqual(expected.value, parsed.data)) return { ok: true, text, splices: [] };
  if (operation.op === 'test') return { ok: true, text, splices: [] };
  const opened = openAliases(text, parsed, operation.path);
  const splice = spliceFor(opened.text, opened.doc, operation);
  if (splice === null) return refused('EditRefused', operation.path, `This place of the file cannot be edited without touching its surroundings.`, 'Change it in an editor.');
  const next = apply(opened.text, splice);
  const after = parse(next);
  if (after === null || !isDeepStrictEqual(after.data, expected.value)) {
    return refused('EditRefused', operation.path, 'The edit would change more than it should, so it was not made.', 'Change it in an editor.');
  }
  return { ok: true, text: next, splices: [...opened.splices, splice] };
}

const apply = (text: string, splice: Splice): string => text.slice(0, splice.from) + splice.insert + text.slice(splice.to);

// ─── Aliases ────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Writes out the aliases that an edit at this place would otherwise pull along or be stopped by. */
function openAliases(text: string, parsed: Parsed, pointer: string): { readonly text: string; readonly doc: Document; readonly splices: readonly Splice[] } {
  const splices: Splice[] = [];
  let now = text;
  let doc = parsed.doc;
  for (;;) {
    const alias = aliasInTheWay(doc, pointer);
    if (alias === null) return { text: now, doc, splices };
    const value = unshare((alias.resolve(doc)?.toJS(doc) ?? null) as Data);
    const range = alias.range!;
    const splice = { from: range[0], to: range[1], insert: emitFlow(value) };
    now = apply(now, splice);
    const again = parse(now);
    if (again === null) return { text, doc: parsed.doc, splices: [] };
    splices.push(splice);
    doc = again.doc;
  }
}

function aliasInTheWay(doc: Document, pointer: string): Alias | null {
  const anchors = new Set<string>();
  let node: unknown = doc.contents;
  const tokens = tokensOf(pointer);
  for (const [index, token] of tokens.entries()) {
    if (isAlias(node)) return node;
    noteAnchor(anchors, node);
    node = childOf(node, token);
    if (index === tokens.length - 1) visit(node as Node, (_key, inner) => { noteAnchor(anchors, inner); });
  }
  if (anchors.size === 0) return null;
  let found: Alias | null = null;
  visit(doc, { Alias: (_key, alias) => {
    if (!anchors.has(alias.source)) return undefined;
    found = alias;
    return visit.BREAK;
  } });
  return found;
}

function noteAnchor(anchors: Set<string>, node: unknown): void {
  if ((isMap(node) || isSeq(node) || isScalar(node)) && node.anchor !== undefined) anchors.add(node.anchor);
}

const keyOf = (pair: Pair): string => (isScalar(pair.key) ? (typeof pair.key.value === 'string' ? pair.key.value : pair.key.value === null ? '' : pair.key.source ?? String(pair.key.value)) : '');

function childOf(node: unknown, token: string): unknown {
  if (isMap(node)) return node.items.find((pair) => keyOf(pair) === token)?.value;
  if (isSeq(node)) return node.items[Number(token)];
  return undefined;
}

// ─── The place of the edit ──────────────────────────────────────────────────────────────────────────────────────────────

function spliceFor(text: string, doc: Document, operation: WriteOperation): Splice | null {
  const tokens = tokensOf(operation.path);
  if (tokens.length === 0 || isEmpty(doc.contents)) return wholeSplice(text, doc, operation);
  const chain = chainOf(doc, tokens);
  const target: Target = { text, parents: chain.parents };
  const last = tokens.at(-1)!;
  const parent = chain.parents.at(-1)!;
  if (chain.missing.length > 1) {
    const value = operation.op === 'remove' ? null : chain.missing.slice(1).reduceRight<Data>((inner, key) => ({ [key]: inner }), operation.value as Data);
    return addTo(target, chain.missing[0]!, value);
  }
  if (operation.op === 'remove') return removeFrom(target, indexIn(parent.node, last));
  if (chain.missing.length === 0 && (operation.op === 'replace' || isMap(parent.node))) return replaceAt(target, indexIn(parent.node, last), operation.value as Data);
  return isSeq(parent.node) ? addToSeq(target, last === '-' ? parent.node.items.length : Number(last), operation.value as Data) : addTo(target, last, operation.value as Data);
}

/** A value that is null (an empty heading) becomes a map with its first key. */
function addTo(target: Target, key: string, value: Data): Splice | null {
  const parent = target.parents.at(-1)!;
  if (isMap(parent.node)) return addToMap(target, key, value);
  const above = { text: target.text, parents: target.parents.slice(0, -1) };
  return above.parents.length === 0 ? null : replaceAt(above, parent.index, { [key]: value });
}

function indexIn(node: unknown, token: string): number {
  if (isMap(node)) return node.items.findIndex((pair) => keyOf(pair) === token);
  return Number(token);
}

type Chain = { readonly parents: readonly { readonly node: YAMLMap | YAMLSeq | Node; readonly index: number }[]; readonly missing: readonly string[] };

/** The nodes from the root to the holder of the last token, and the tokens that nothing stands for yet. */
function chainOf(doc: Document, tokens: readonly string[]): Chain {
  const parents: { node: Node; index: number }[] = [{ node: doc.contents as Node, index: -1 }];
  for (const [depth, token] of tokens.entries()) {
    const holder = parents.at(-1)!.node;
    const index = indexIn(holder, token);
    const exists = isMap(holder) ? index >= 0 : isSeq(holder) ? token !== '-' && index < holder.items.length : false;
    if (!exists) return { parents, missing: tokens.slice(depth) };
    if (depth === tokens.length - 1) break;
    parents.push({ node: childOf(holder, token) as Node, index });
  }
  return { parents, missing: [] };
}

/** The document itself: an empty file, or its whole value. Comments before and after it stay. */
function wholeSplice(text: string, doc: Document, operation: WriteOperation): Splice | null {
  if (operation.op === 'remove') return null;
  const tokens = tokensOf(operation.path);
  const value = tokens.reduceRight<Data>((inner, key) => ({ [key]: inner }), operation.value as Data);
  const lines = emitBlock(value, { indent: 0, step: 2, newline: newlineOf(text) });
  if (isEmpty(doc.contents)) {
    // A byte order mark is no line of its own.
    const lead = /(^|\n|^\ufeff)$/.test(text) ? '' : newlineOf(text);
    return { from: text.length, to: text.length, insert: lead + lines + newlineOf(text) };
  }
  const node = doc.contents as Node;
  return { from: node.range![0], to: beforeBreaks(text, endOf(node)), insert: lines };
}

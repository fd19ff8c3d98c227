// Parses bkg.yaml: plain data, and every mistake with its line.
import { createHash } from 'node:crypto';
import { CST, isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument, Parser, type Document, type Node, type ParsedNode } from 'yaml';
import { pointerOf, tokensOf } from '../../schema/pointer.ts';
import type { Json, Problem } from '../core/types.ts';

/** Nodes that aliases may expand to, all together: a "billion laughs" file ends here. */
const MAX_ALIAS_NODES = 100_000;
/** No honest file comes near; what reads the values later need not fear for its stack. */
const MAX_DEPTH = 100;
/** Sections that may stand empty: a heading without anything below it means none. */
const SECTIONS = new Set(['server', 'drift', 'models', 'plugins', 'users', 'keys']);

export type Place = { readonly line: number; readonly column: number };
export type Parsed = { readonly value: Json | null; readonly problems: readonly Problem[]; readonly locate: (pointer: string) => Place | null };

export const revisionOf = (text: string | Uint8Array): string => createHash('sha256').update(text).digest('hex');

/** Parses here and now. `value` is null when the text is no YAML that can be used. */
export function parseText(text: string): Parsed {
  // A LineCounter must be fresh for each parse: it only ever grows.
  const lines = new LineCounter();
  const doc = parseDocument(text, { lineCounter: lines, prettyErrors: false, intAsBigInt: true, uniqueKeys: false });
  const locate = (pointer: string): Place | null => locateIn(doc, lines, pointer);
  // What comes after a mistake of form is mostly its consequence.
  const problems = doc.errors.slice(0, 1).map((error) => syntaxProblem(error, { lines, text }));
  if (problems.length > 0) return { value: null, problems, locate };
  const reading: Reading = { doc, lines, problems: [], aliasNodes: 0, path: [], open: new Set() };
  const value = read(reading, doc.contents);
  if (reading.problems.length > 0) return { value: null, problems: reading.problems, locate };
  return { value: fillSections(value), problems: [], locate };
}

// ─── Values ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

type Reading = { readonly doc: Document; readonly lines: LineCounter; readonly problems: Problem[]; aliasNodes: number; path: string[]; readonly open: Set<Node> };

function read(reading: Reading, node: unknown): Json {
  if (reading.aliasNodes > 0 && ++reading.aliasNodes > MAX_ALIAS_NODES) {
    if (reading.problems.length === 0) note(reading, node, ['AliasesTooLarge', `Its aliases expand to more than ${MAX_ALIAS_NODES} values.`, 'Write the values out, or use fewer aliases.']);
    return null;
  }
  if (node === null || node === undefined) return null;
  if (reading.path.length > MAX_DEPTH) {
    note(reading, node, ['NestedTooDeep', `It is nested more than ${MAX_DEPTH} levels deep.`, null]);
    return null;
  }
  if (isAlias(node)) return readAlias(reading, node);
  if (isScalar(node)) return readScalar(node.value);
  if (isSeq(node)) return node.items.map((item, index) => below(reading, String(index), item));
  if (!isMap(node)) return null;
  const out: Record<string, Json> = {};
  // The library compares each key with all before it: seconds for ten thousand.
  const places = new Map<string, unknown>();
  for (const pair of node.items) {
    const key = isScalar(pair.key) ? keyText(pair.key) : null;
    const first = key === null ? undefined : places.get(key);
    if (first !== undefined) note(reading, pair.key, ['YamlSyntax', `The key ${key} stands twice: here and on line ${lineOf(reading, first)}.`, 'Keep one of the two.']);
    else if (key !== null) places.set(key, pair.key);
    if (key === null) note(reading, pair.key, ['KeyNotText', 'A key must be a plain word.', null]);
    else if (key === '<<') note(reading, pair.key, ['MergeKey', 'Merge keys (<<) are not supported: what they mean differs between programs.', 'Write the keys out.']);
    else define(out, key, below(reading, key, pair.value));
  }
  return out;
}

const keyText = (key: { readonly value: unknown; readonly source?: string | undefined }): string => (typeof key.value === 'string' ? key.value : key.source ?? String(key.value));

/** `__proto__` is a key like any other. */
function define(out: Record<string, Json>, key: string, value: Json): void {
  Object.defineProperty(out, key, { value, enumerable: true, writable: true, configurable: true });
}

function below(reading: Reading, key: string, node: unknown): Json {
  reading.path.push(key);
  const value = read(reading, node);
  reading.path.pop();
  return value;
}

function readAlias(reading: Reading, node: Node): Json {
  const target = isAlias(node) ? node.resolve(reading.doc) : undefined;
  if (target === undefined) {
    note(reading, node, ['AliasUnknown', `*${isAlias(node) ? node.source : ''} stands for nothing: no &${isAlias(node) ? node.source : ''} comes before it.`, 'A word that begins with * needs quotes.']);
    return null;
  }
  if (reading.open.has(target)) {
    note(reading, node, ['AliasOfItself', 'An alias stands inside of what it stands for.', 'Write the value out.']);
    return null;
  }
  reading.aliasNodes += 1;
  reading.open.add(target);
  const value = read(reading, target);
  reading.open.delete(target);
  return value;
}

/** Integers beyond 2^53 come as the nearest number: their bytes in the file stay as they are. */
const readScalar = (value: unknown): Json => (typeof value === 'bigint' ? Number(value) : value === undefined ? null : (value as Json));

function fillSections(value: Json): Json {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return value;
  const filled = Object.entries(value).map(([key, section]): [string, Json] => {
    if (!SECTIONS.has(key)) return [key, section];
    if (section === null) return [key, {}];
    if (key !== 'plugins' || typeof section !== 'object' || Array.isArray(section)) return [key, section];
    return [key, Object.fromEntries(Object.entries(section).map(([id, plugin]) => [id, plugin ?? {}]))];
  });
  return Object.fromEntries(filled);
}

// ─── Places and problems ────────────────────────────────────────────────────────────────────────────────────────────────

const lineOf = (reading: Reading, node: unknown): number => reading.lines.linePos((node as ParsedNode | null)?.range?.[0] ?? 0).line;

function note(reading: Reading, node: unknown, said: readonly [code: string, message: string, hint: string | null]): void {
  const offset = (node as ParsedNode | null)?.range?.[0] ?? 0;
  const at = reading.lines.linePos(offset);
  reading.problems.push({ code: said[0], pointer: pointerOf(reading.path), line: at.line, column: at.col, message: said[1], hint: said[2], severity: 'error' });
}

const HINTS: Readonly<Record<string, string>> = {
  TAB_AS_INDENT: 'Indent with spaces.',
  BAD_INDENT: 'Keys of one level start in the same column.',
  MULTIPLE_DOCS: 'Only one document may stand in the file: remove the line "---".',
  MISSING_CHAR: 'A bracket, brace, quote or colon is missing here or on the line above.',
  BLOCK_AS_IMPLICIT_KEY: 'A value with ": " in it needs quotes.',
};

/** A key alone on its line, or one with a word behind it and nothing between. */
const NO_COLON = /^\s*[A-Za-z_][\w-]*(\s+[^\s:#]+)?\s*(#.*)?$/;

type Mistake = { readonly code: string; readonly message: string; readonly pos: [number, number] };

/** A key without its colon reads as text that goes on: the line itself is at fault, or the one before the line that does not fit. */
function lineWithoutColon(text: string, line: number): { readonly line: number; readonly text: string } | null {
  const lines = text.split(/\r?\n/, line);
  const before = lines.findLastIndex((one, index) => index < line - 1 && /^\s*[^\s#]/.test(one));
  for (const index of [line - 1, before]) {
    const found = lines[index];
    if (found !== undefined && NO_COLON.test(found)) return { line: index + 1, text: found };
  }
  return null;
}

/** The last { or [ that nothing closes. */
function openBracket(text: string): CST.FlowCollection | null {
  let found: CST.FlowCollection | null = null;
  for (const token of new Parser().parse(text)) {
    if (token.type !== 'document') continue;
    CST.visit(token, ({ key, value }) => {
      for (const one of [key, value]) if (one?.type === 'flow-collection' && !one.end.some(({ type }) => type === 'flow-map-end' || type === 'flow-seq-end')) found = one;
    });
  }
  return found;
}

function syntaxProblem(error: Mistake, { lines, text }: { readonly lines: LineCounter; readonly text: string }): Problem {
  const at = lines.linePos(error.pos[0]);
  // What is not closed is noticed far behind it, where the file goes on as if nothing had been opened.
  const open = / end with a [}\]]/.test(error.message) ? openBracket(text) : null;
  if (open !== null) {
    const { line, col: column } = lines.linePos(open.start.offset);
    const map = open.start.source === '{';
    return { code: 'YamlSyntax', pointer: '', line, column, message: `This is not valid YAML: the ${map ? '{' : '['} here is not closed.`, hint: `Close it with ${map ? '}' : ']'}, or write what is in it on lines of its own.`, severity: 'error' };
  }
  const alone = /^(BAD_INDENT|MISSING_CHAR|BLOCK_AS_IMPLICIT_KEY|MULTILINE_IMPLICIT_KEY)$/.test(error.code) ? lineWithoutColon(text, at.line) : null;
  if (alone !== null) {
    return { code: 'YamlSyntax', pointer: '', line: alone.line, column: alone.text.search(/\S/) + 1, message: `This is not valid YAML: "${alone.text.trim()}" has no colon.`, hint: 'Write `key: value`, or `key:` with the lines below it further in.', severity: 'error' };
  }
  // The library's own words for what is nested too deep for it.
  if (error.message.includes('call stack')) return { code: 'NestedTooDeep', pointer: '', line: at.line, column: at.col, message: `It is nested more than ${MAX_DEPTH} levels deep.`, hint: null, severity: 'error' };
  return { code: 'YamlSyntax', pointer: '', line: at.line, column: at.col, message: `This is not valid YAML: ${error.message}`, hint: HINTS[error.code] ?? null, severity: 'error' };
}

/** Where a pointer's key stands; the nearest ancestor when it does not exist. */
function locateIn(doc: Document, lines: LineCounter, pointer: string): Place | null {
  let node: unknown = doc.contents;
  let offset = (doc.contents as ParsedNode | null)?.range?.[0] ?? 0;
  for (const token of tokensOf(pointer)) {
    if (isAlias(node)) node = node.resolve(doc);
    if (isMap(node)) {
      const pair = node.items.find((candidate) => isScalar(candidate.key) && keyText(candidate.key) === token);
      if (pair === undefined) break;
      offset = (pair.key as ParsedNode).range?.[0] ?? offset;
      node = pair.value;
    } else if (isSeq(node)) {
      const item = node.items[Number(token)];
      if (item === undefined) break;
      offset = (item as ParsedNode).range?.[0] ?? offset;
      node = item;
    } else break;
  }
  const at = lines.linePos(offset);
  return { line: Math.max(1, at.line), column: Math.max(1, at.col) };
}

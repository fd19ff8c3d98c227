// The two laws of an edit, over documents in many styles: it does what the patch says, and touches nothing else.
import fc from 'fast-check';
import { isDeepStrictEqual } from 'node:util';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { isMap, isScalar, isSeq, parseDocument, Parser, visit, type Node, type Pair } from 'yaml';
import { escapeToken, tokensOf } from '../../schema/pointer.ts';
import type { PatchOperation, WriteOperation } from './door.ts';
import { styles } from './fixtures/styles.ts';
import { applyOperation, lookUp, type Data } from './patch.ts';
import { edit } from './splice.ts';

const EDITS = 1_500;
const SEQUENCES = 60;
/** An edit may refuse rather than harm; more often than this it would be no use. */
const MAX_REFUSED = 0.05;

const unshare = (data: unknown): Data => {
  if (typeof data === 'bigint') return Number.isSafeInteger(Number(data)) ? Number(data) : data;
  if (Array.isArray(data)) return data.map(unshare);
  if (data === null || typeof data !== 'object') return data as Data;
  return Object.fromEntries(Object.entries(data).map(([key, value]) => [key, unshare(value)]));
};
const dataOf = (text: string): Data => unshare(parseDocument(text, { intAsBigInt: true }).toJS({ maxAliasCount: 1_000 }));

/** Every pointer of a document, so that edits hit real places. */
function pointersOf(data: Data, at = ''): string[] {
  if (data === null || typeof data !== 'object') return at === '' ? [] : [at];
  const below = Object.entries(data).flatMap(([key, value]) => pointersOf(value, `${at}/${escapeToken(key)}`));
  return at === '' ? below : [at, ...below];
}

const value: fc.Arbitrary<Data> = fc.oneof(
  fc.constantFrom<Data>('running', 'a b', '', '0644', 'yes', 'null', '12', ': x', '# no', "it's", '"q"', 'line\nbreak', 'ümläut 🙂', '- x', 'a, b', '{x}', '@at', ' led', 'trailing ', 'tab\tin', '\u0007', '---', '<<', 'x'.repeat(200)),
  fc.constantFrom<Data>(true, false, null, 0, -1.5, 42, 1e21, Number.MAX_SAFE_INTEGER),
  fc.constantFrom<Data>({}, [], { state: 'running' }, { a: { b: [1, 'two'] }, c: 'x' }, ['one', { two: 2 }], [[1], []], { 'odd key: #': 1 }, { '': null }, [{}], { a: [] }, [['a', 'b'], { c: [{ d: 1 }] }]),
  fc.string(),
);

type Wish = { readonly style: number; readonly pick: number; readonly kind: 'set' | 'remove' | 'beside' | 'append' | 'into'; readonly key: string; readonly value: Data };
const wish: fc.Arbitrary<Wish> = fc.record({
  style: fc.nat(styles.length - 1), pick: fc.nat(), value,
  kind: fc.constantFrom('set' as const, 'remove' as const, 'beside' as const, 'append' as const, 'into' as const),
  key: fc.constantFrom('added', '- x', '12', ': #', 'a/b', 'ü', '', '?', 'true'),
});

function operationOf(data: Data, drawn: Wish): WriteOperation {
  const pointers = pointersOf(data);
  const path = pointers[drawn.pick % pointers.length];
  const json = drawn.value as never;
  if (path === undefined) return { op: 'add', path: `/${escapeToken(drawn.key)}`, value: json };
  if (drawn.kind === 'remove') return { op: 'remove', path };
  if (drawn.kind === 'set') return { op: 'replace', path, value: json };
  const holder = drawn.kind === 'into' ? path : path.slice(0, path.lastIndexOf('/'));
  if (Array.isArray(lookUp(data, holder))) return { op: 'add', path: drawn.kind === 'beside' ? path : `${holder}/-`, value: json };
  return { op: 'add', path: `${holder}/${escapeToken(drawn.key)}`, value: json };
}

// ─── What must not change, told from the source alone ───────────────────────────────────────────────────────────────────

type Found = { readonly at: number; readonly source: string };

function commentsOf(text: string): readonly Found[] {
  const found: Found[] = [];
  const look = (token: unknown): void => {
    if (token === null || typeof token !== 'object') return;
    if ('type' in token && token.type === 'comment') found.push({ at: (token as unknown as { offset: number }).offset, source: (token as unknown as { source: string }).source });
    for (const part of Object.values(token)) look(part);
  };
  for (const token of new Parser().parse(text)) look(token);
  return found.sort((a, b) => a.at - b.at);
}

const keyOf = (pair: Pair): string => (isScalar(pair.key) ? (typeof pair.key.value === 'string' ? pair.key.value : pair.key.value === null ? '' : pair.key.source ?? '') : '');
const childOf = (node: unknown, token: string): Pair | Node | undefined => (isMap(node) ? node.items.find((pair) => keyOf(pair) === token) : isSeq(node) ? (node.items[Number(token)] as Node) : undefined);
const nodeOf = (child: Pair | Node | undefined): Node | null => (child === undefined ? null : 'key' in child ? (child.value as Node | null) : child);

/** Bytes that belong to what is replaced or removed, and the sources of all that stands beside the path to it. */
function surroundings(text: string, operation: WriteOperation): { readonly own: readonly [number, number]; readonly beside: readonly string[] } {
  const doc = parseDocument(text, { intAsBigInt: true });
  const beside: string[] = [];
  let child: Pair | Node | undefined = doc.contents ?? undefined;
  for (const token of tokensOf(operation.path)) {
    const holder = nodeOf(child);
    child = childOf(holder, token);
    if (!isMap(holder) && !isSeq(holder)) break;
    for (const item of holder.items as (Pair | Node)[]) if (item !== child && !hasAlias(item)) beside.push(sourceOf(text, item));
  }
  const node = nodeOf(child);
  if (operation.op === 'add' || child === undefined || node === null) return { own: [-1, -1], beside };
  const [start, end] = [node.range![0], lastByte(node)];
  // A block's last comment belongs to its last line; a removed item takes its own line along, from its own dash on: what it holds may begin with another.
  const toLineEnd = operation.op === 'remove' || ((isMap(node) || isSeq(node)) && node.flow !== true);
  const last = text.indexOf('\n', Math.max(0, end - 1));
  const first = operation.op === 'replace' ? start : 'key' in child ? (child.key as Node).range![0] : text.lastIndexOf('-', start - 1);
  return { own: [first, toLineEnd ? (last < 0 ? text.length : last) : end], beside };
}

function hasAlias(item: Pair | Node): boolean {
  let found = false;
  visit(item as Node, { Alias: () => { found = true; } });
  return found;
}

function sourceOf(text: string, item: Pair | Node): string {
  const from = 'key' in item ? (item.key as Node).range![0] : item.range![0];
  return text.slice(from, lastByte(nodeOf(item)) || from).trim();
}

/** A block's own range reaches over the comments behind it: its last leaf tells where it ends. */
function lastByte(node: Node | null): number {
  let last = 0;
  const note = (_key: unknown, leaf: Node): void => { last = Math.max(last, leaf.range?.[1] ?? 0); };
  if (node !== null) visit(node, { Scalar: note, Alias: note, Collection: (key, inner) => { if (inner.flow === true || inner.items.length === 0) note(key, inner); } });
  return last;
}

function inOrder(whole: readonly string[], parts: readonly string[]): string | null {
  let at = 0;
  for (const part of parts) {
    const found = whole.indexOf(part, at);
    if (found < 0) return part;
    at = found + 1;
  }
  return null;
}

function checkBytes(text: string, after: string, operation: WriteOperation): void {
  const { own, beside } = surroundings(text, operation);
  const said = `${JSON.stringify(operation)}\n${text}\n→\n${after}`;
  const kept = commentsOf(text).filter((comment) => comment.at < own[0] || comment.at > own[1]).map((comment) => comment.source);
  assert.is(inOrder(commentsOf(after).map((comment) => comment.source), kept), null, `a comment is lost: ${said}`);
  for (const source of beside) assert.ok(after.includes(source), `${source} was not to be touched: ${said}`);
  if (text.includes('\r\n')) assert.not.match(after, /[^\r]\n/, `mixed line ends: ${said}`);
  assert.is(after.startsWith('\ufeff'), text.startsWith('\ufeff'));
}

/** Null when it held, else why the edit was refused. */
function check(text: string, operation: WriteOperation): { readonly text: string; readonly refused: string | null } {
  const expected = applyOperation(dataOf(text), operation);
  const edited = edit(text, [operation]);
  if (!expected.ok) {
    assert.not(edited.ok, JSON.stringify(operation));
    return { text, refused: null };
  }
  if (!edited.ok) return { text, refused: `${JSON.stringify(operation)} ${JSON.stringify(text)}: ${edited.problem.message}` };
  assert.ok(isDeepStrictEqual(dataOf(edited.text), expected.value), `${JSON.stringify(operation)}\n${text}\n→\n${edited.text}`);
  let rebuilt = text;
  for (const splice of edited.splices) rebuilt = rebuilt.slice(0, splice.from) + splice.insert + rebuilt.slice(splice.to);
  assert.is(rebuilt, edited.text);
  checkBytes(text, edited.text, operation);
  return { text: edited.text, refused: null };
}

test(`both laws hold for ${EDITS} edits of ${styles.length} styles`, () => {
  const refused: string[] = [];
  fc.assert(fc.property(wish, (drawn) => {
    const text = styles[drawn.style]!;
    const result = check(text, operationOf(dataOf(text), drawn));
    if (result.refused !== null) refused.push(result.refused);
  }), { numRuns: EDITS });
  assert.ok(refused.length <= EDITS * MAX_REFUSED, `${refused.length} of ${EDITS} refused:\n${refused.slice(0, 12).join('\n')}`);
});

test(`both laws hold for ${SEQUENCES} rows of edits, each on top of the one before`, () => {
  const refused: string[] = [];
  fc.assert(fc.property(fc.array(wish, { minLength: 4, maxLength: 8 }), (row) => {
    let text = styles[row[0]!.style]!;
    for (const drawn of row) {
      const result = check(text, operationOf(dataOf(text), drawn));
      text = result.text;
      if (result.refused !== null) refused.push(result.refused);
    }
  }), { numRuns: SEQUENCES });
  assert.ok(refused.length <= SEQUENCES * 6 * MAX_REFUSED, `${refused.length} refused:\n${refused.slice(0, 12).join('\n')}`);
});

test('several operations are one edit: all of them or none', () => {
  const operations: readonly PatchOperation[] = [{ op: 'replace', path: '/a', value: 2 }, { op: 'remove', path: '/gone' }];
  assert.not(edit('a: 1\n', operations).ok);
  const edited = edit('a: 1\n', [{ op: 'test', path: '/a', value: 1 }, { op: 'copy', from: '/a', path: '/b' }, { op: 'replace', path: '/a', value: 2 }]);
  assert.is(edited.ok && edited.text, 'a: 2\nb: 1\n');
});

test.run();

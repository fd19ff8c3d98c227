// The two laws of an edit, over documents in many styles: it does what the patch says, and touches nothing else.
import fc from 'fast-check';
import { isDeepStrictEqual } from 'node:util';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseDocument } from 'yaml';
import type { PatchOperation } from './door.ts';
import { applyOperation, type Data } from './patch.ts';
import { edit } from './splice.ts';
import { styles } from './fixtures/styles.ts';

const EDITS = 1_200;
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
  if (data === null || typeof data !== 'object') return [at];
  const below = Object.entries(data).flatMap(([key, value]) => pointersOf(value, `${at}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`));
  return at === '' ? below : [at, ...below];
}

const value: fc.Arbitrary<Data> = fc.oneof(
  fc.constantFrom<Data>('running', 'a b', '', '0644', 'yes', 'null', '12', ': x', '# no', "it's", '"q"', 'line\nbreak', 'ümläut', '- x', 'a, b', '{x}', '@at', true, false, null, 0, -1.5, 42),
  fc.constantFrom<Data>({}, [], { state: 'running' }, { a: { b: [1, 'two'] }, c: 'x' }, ['one', { two: 2 }], [[1], []], { 'odd key: #': 1 }),
);

type Wish = { readonly style: number; readonly pick: number; readonly kind: 'set' | 'remove' | 'child' | 'append'; readonly value: Data };
const wish: fc.Arbitrary<Wish> = fc.record({ style: fc.nat(styles.length - 1), pick: fc.nat(), kind: fc.constantFrom('set' as const, 'remove' as const, 'child' as const, 'append' as const), value });

function operationOf(data: Data, drawn: Wish): PatchOperation {
  const pointers = pointersOf(data);
  const path = pointers[drawn.pick % pointers.length] ?? '/new';
  const json = drawn.value as never;
  if (drawn.kind === 'remove') return { op: 'remove', path };
  if (drawn.kind === 'set') return { op: 'replace', path, value: json };
  const holder = path.slice(0, path.lastIndexOf('/'));
  const parent = holder === '' ? data : holder.slice(1).split('/').reduce<Data>((node, key) => (node as Record<string, Data>)[key.replaceAll('~1', '/').replaceAll('~0', '~')] as Data, data);
  if (Array.isArray(parent)) return { op: 'add', path: drawn.kind === 'append' ? `${holder}/-` : path, value: json };
  return { op: 'add', path: `${holder}/added-${drawn.pick % 7}`, value: json };
}

const commentsOf = (text: string): string[] => text.split(/\r?\n/).flatMap((line) => /(^|\s)(#c\d+)/.exec(line)?.[2] ?? []);

test(`both laws hold for ${EDITS} edits of ${styles.length} styles`, () => {
  let done = 0;
  const refused: string[] = [];
  fc.assert(fc.property(wish, (drawn) => {
    const text = styles[drawn.style]!;
    const before = dataOf(text);
    const operation = operationOf(before, drawn);
    const expected = applyOperation(before, operation);
    done += 1;
    const edited = edit(text, [operation]);
    if (!expected.ok) return assert.not(edited.ok);
    if (!edited.ok) {
      refused.push(`${drawn.style} ${JSON.stringify(operation)}: ${edited.problem.message}`);
      return;
    }
    assert.ok(isDeepStrictEqual(dataOf(edited.text), expected.value), `${JSON.stringify(operation)}\n${text}\n→\n${edited.text}`);
    // The splices are all that changed: undoing them by position gives the old bytes around them.
    let rebuilt = text;
    for (const splice of edited.splices) rebuilt = rebuilt.slice(0, splice.from) + splice.insert + rebuilt.slice(splice.to);
    assert.is(rebuilt, edited.text);
    if (drawn.kind !== 'set' && drawn.kind !== 'remove') assert.equal(commentsOf(edited.text), commentsOf(text), 'an addition loses no comment');
  }), { numRuns: EDITS });
  assert.ok(refused.length <= done * MAX_REFUSED, `${refused.length} of ${done} refused:\n${refused.slice(0, 12).join('\n')}`);
});

const exact: readonly (readonly [what: string, before: string, operations: readonly PatchOperation[], after: string])[] = [
  ['a scalar keeps its comment', 'a: 1 # one\nb: 2\n', [{ op: 'replace', path: '/a', value: 3 }], 'a: 3 # one\nb: 2\n'],
  ['quotes stay quotes', 'a: "x"\nb: \'y\'\n', [{ op: 'replace', path: '/a', value: 'z' }, { op: 'replace', path: '/b', value: "it's" }], 'a: "z"\nb: \'it\'\'s\'\n'],
  ['0644 and big integers stay as written', 'm: 0644\nn: 123456789012345678901\nk: 1\n', [{ op: 'replace', path: '/k', value: 2 }], 'm: 0644\nn: 123456789012345678901\nk: 2\n'],
  ['a key is added behind the comments of its level', 'p:\n  a: 1\n  # b: 2\nq: 3\n', [{ op: 'add', path: '/p/c', value: 4 }], 'p:\n  a: 1\n  # b: 2\n  c: 4\nq: 3\n'],
  ['a heading gets its first entry', 'keys: # none yet\nz: 1\n', [{ op: 'add', path: '/keys/ci', value: { user: 'a' } }], 'keys: # none yet\n  ci:\n    user: a\nz: 1\n'],
  ['an empty map becomes a block', 'keys: {} # none\n', [{ op: 'add', path: '/keys/ci', value: 1 }], 'keys: # none\n  ci: 1\n'],
  ['the last key leaves an empty map before the comment', 'p: # mine\n  a: 1\nq: 2\n', [{ op: 'remove', path: '/p/a' }], 'p: {} # mine\nq: 2\n'],
  ['flow: added straight behind the last value', 'p: { a: 1 } # x\n', [{ op: 'add', path: '/p/b', value: 'c d' }], 'p: { a: 1, b: c d } # x\n'],
  ['flow: the first of two goes', 'p: { a: 1, b: 2 }\n', [{ op: 'remove', path: '/p/a' }], 'p: { b: 2 }\n'],
  ['flow: the last of two goes', 'p: { a: 1, b: 2 }\n', [{ op: 'remove', path: '/p/b' }], 'p: { a: 1 }\n'],
  ['whole lines go', 'p:\n  a: 1 # gone\n  b: 2\n', [{ op: 'remove', path: '/p/a' }], 'p:\n  b: 2\n'],
  ['a list item goes, another comes', 'l:\n  - a # x\n  - b\n', [{ op: 'remove', path: '/l/0' }, { op: 'add', path: '/l/-', value: 'c' }], 'l:\n  - b\n  - c\n'],
  ['inserted before an item', 'l:\n- a\n- b\n', [{ op: 'add', path: '/l/1', value: 'x' }], 'l:\n- a\n- x\n- b\n'],
  ['CRLF stays CRLF', 'a: 1\r\nb:\r\n  c: 2\r\n', [{ op: 'add', path: '/b/d', value: 3 }], 'a: 1\r\nb:\r\n  c: 2\r\n  d: 3\r\n'],
  ['a byte order mark stays', '\ufeffa: 1\n', [{ op: 'replace', path: '/a', value: 2 }], '\ufeffa: 2\n'],
  ['no newline at the end', 'a: 1', [{ op: 'add', path: '/b', value: 2 }], 'a: 1\nb: 2'],
  ['an empty file', '', [{ op: 'add', path: '/version', value: 1 }], '{ version: 1 }\n'],
  ['parents are made', 'a: 1\n', [{ op: 'add', path: '/p/q/r', value: true }], 'a: 1\np:\n  q:\n    r: true\n'],
  ['an alias is written out where it is edited', 'x: &d { a: 1 }\ny: *d\n', [{ op: 'replace', path: '/y/a', value: 2 }], 'x: &d { a: 1 }\ny: { a: 2 }\n'],
  ['an anchor keeps its aliases as they were', 'x: &d { a: 1 }\ny: *d\n', [{ op: 'replace', path: '/x/a', value: 2 }], 'x: &d { a: 2 }\ny: { a: 1 }\n'],
  ['a block scalar gives way to a word', 't: |\n  one\n  two\nu: 1\n', [{ op: 'replace', path: '/t', value: 'x' }], 't: x\nu: 1\n'],
  ['a move keeps the value', 'a: 1\nb: { c: 2 }\n', [{ op: 'move', from: '/a', path: '/b/a' }], 'b: { c: 2, a: 1 }\n'],
  ['__proto__ is a key like any other', 'a: 1\n', [{ op: 'add', path: '/__proto__', value: 1 }], 'a: 1\n__proto__: 1\n'],
];

for (const [what, before, operations, after] of exact) {
  test(`exactly: ${what}`, () => {
    const edited = edit(before, operations);
    assert.is(edited.ok ? edited.text : edited.problem.message, after);
  });
}

test('what does not exist is refused, with its place', () => {
  for (const operation of [{ op: 'remove', path: '/b' }, { op: 'replace', path: '/b/c', value: 1 }, { op: 'test', path: '/a', value: 2 }] as const) {
    const edited = edit('a: 1\n', [operation]);
    assert.not(edited.ok);
  }
});

test.run();

// Edits by hand, each with the exact text that must come out.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { PatchOperation } from './door.ts';
import { edit } from './splice.ts';

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
  ['an empty file', '', [{ op: 'add', path: '/version', value: 1 }], 'version: 1\n'],
  ['parents are made', 'a: 1\n', [{ op: 'add', path: '/p/q/r', value: true }], 'a: 1\np:\n  q:\n    r: true\n'],
  ['an alias is written out where it is edited', 'x: &d { a: 1 }\ny: *d\n', [{ op: 'replace', path: '/y/a', value: 2 }], 'x: &d { a: 1 }\ny: { a: 2 }\n'],
  ['an anchor keeps its aliases as they were', 'x: &d { a: 1 }\ny: *d\n', [{ op: 'replace', path: '/x/a', value: 2 }], 'x: &d { a: 2 }\ny: { a: 1 }\n'],
  ['a block scalar gives way to a word', 't: |\n  one\n  two\nu: 1\n', [{ op: 'replace', path: '/t', value: 'x' }], 't: x\nu: 1\n'],
  ['a move keeps the value', 'a: 1\nb: { c: 2 }\n', [{ op: 'move', from: '/a', path: '/b/a' }], 'b: { c: 2, a: 1 }\n'],
  ['__proto__ is a key like any other', 'a: 1\n', [{ op: 'add', path: '/__proto__', value: 1 }], 'a: 1\n__proto__: 1\n'],
  // ── Adding ──
  ['an empty file with a byte order mark', '\ufeff', [{ op: 'add', path: '/version', value: 1 }], '\ufeffversion: 1\n'],
  ['a file of comments', '# house\n', [{ op: 'add', path: '/keys/ci', value: { user: 'a' } }], '# house\nkeys:\n  ci:\n    user: a\n'],
  ['a file that says {}', '{}\n', [{ op: 'add', path: '/version', value: 1 }], 'version: 1\n'],
  ['an empty list in a block becomes a block', 'l: [] # none\n', [{ op: 'add', path: '/l/-', value: { a: 1 } }], 'l: # none\n  - a: 1\n'],
  ['a block is added as deep as its neighbours', 'a:\n    b:\n        c: 1\n', [{ op: 'add', path: '/a/n', value: { x: { y: 1 } } }], 'a:\n    b:\n        c: 1\n    n:\n        x:\n            y: 1\n'],
  ['comments at the left edge stay with what follows', 'a:\n  b: 1\n# about c\nc: 2\n', [{ op: 'add', path: '/a/d', value: 3 }], 'a:\n  b: 1\n  d: 3\n# about c\nc: 2\n'],
  ['JSON stays JSON', '{\n  "a": {\n    "b": 1\n  },\n  "l": [\n    "x"\n  ]\n}\n', [{ op: 'add', path: '/a/c', value: { d: 'e' } }, { op: 'add', path: '/l/-', value: 'y' }, { op: 'replace', path: '/l/0', value: 'q' }],
    '{\n  "a": {\n    "b": 1,\n    "c": { "d": "e" }\n  },\n  "l": [\n    "q",\n    "y"\n  ]\n}\n'],
  ['flow: on a line of its own, comments stay with their items', 'l: [\n  1,\n  2, # two\n]\n', [{ op: 'add', path: '/l/-', value: 3 }], 'l: [\n  1,\n  2, # two\n  3,\n]\n'],
  ['flow: a comment that no comma precedes', 'l: [\n  1,\n  2 # two\n]\n', [{ op: 'add', path: '/l/-', value: 3 }], 'l: [\n  1,\n  2, # two\n  3\n]\n'],
  ['flow: spaces as in the neighbourhood', 'a: {b: 1}\nc: { d: 1 }\n', [{ op: 'add', path: '/a/e', value: { f: 2 } }, { op: 'add', path: '/c/e', value: { f: 2 } }], 'a: {b: 1, e: {f: 2}}\nc: { d: 1, e: { f: 2 } }\n'],
  ['behind a block scalar', 'a:\n  t: |\n    x\n\nb: 1\n', [{ op: 'add', path: '/a/u', value: 2 }], 'a:\n  t: |\n    x\n  u: 2\n\nb: 1\n'],
  ['a list at its parent\'s indent', 'l:\n- a\nm: 1\n', [{ op: 'add', path: '/l/-', value: { x: 1, y: 2 } }], 'l:\n- a\n- x: 1\n  y: 2\nm: 1\n'],
  ['before the first item beside its holder', '- - a\n  - b\n', [{ op: 'add', path: '/0/0', value: 'x' }], '- - x\n  - a\n  - b\n'],
  ['words that YAML would read otherwise are quoted', 'a: {}\n', [{ op: 'add', path: '/a/x', value: '0644' }, { op: 'add', path: '/a/y', value: 'null' }, { op: 'add', path: '/a/z', value: '# no' }], 'a:\n  x: "0644"\n  y: "null"\n  z: "# no"\n'],
  // ── Replacing ──
  ['a word becomes a block, its comment stays at the heading', 'a: 1 # one\nb: 2\n', [{ op: 'replace', path: '/a', value: { x: [1, 2] } }], 'a: # one\n  x:\n    - 1\n    - 2\nb: 2\n'],
  ['a block becomes a word, the heading keeps its comment', 'a: # mine\n  # of b\n  b: 1 # gone\nc: 2\n', [{ op: 'replace', path: '/a', value: 'x' }], 'a: x # mine\n  # of b\nc: 2\n'],
  ['a block becomes a block at the same depth', 'a:\n    b: 1\nc: 2\n', [{ op: 'replace', path: '/a', value: { d: 3 } }], 'a:\n    d: 3\nc: 2\n'],
  ['braces stay braces', 'u:\n  ann: { role: admin } # boss\n', [{ op: 'replace', path: '/u/ann', value: { role: 'viewer' } }], 'u:\n  ann: { role: viewer } # boss\n'],
  ['an item of a list becomes a word', 'l:\n  - name: a\n    x: 1\n  - b\n', [{ op: 'replace', path: '/l/0', value: 'w' }], 'l:\n  - w\n  - b\n'],
  ['a word on a line of its own', 'a: # h\n  word # w\nb: 1\n', [{ op: 'replace', path: '/a', value: 'new' }], 'a: # h\n  new # w\nb: 1\n'],
  ['the comment of a block scalar stays', 't: | # c\n  one\nu: 1\n', [{ op: 'replace', path: '/t', value: 'x' }], 't: x # c\nu: 1\n'],
  ['a plain text of many lines', 'a: one\n  two\n  three # c\nb: 1\n', [{ op: 'replace', path: '/a', value: 'four' }], 'a: four # c\nb: 1\n'],
  ['a tag goes with its value', 'a: !mine { b: 1 }\n', [{ op: 'replace', path: '/a', value: 2 }], 'a: 2\n'],
  ['tabs and spaces behind a value stay', 'a: 1 \t \nb:   2   \n', [{ op: 'replace', path: '/a', value: 3 }, { op: 'replace', path: '/b', value: 4 }], 'a: 3 \t \nb:   4   \n'],
  ['a key without a value in braces', 'a: { b, c: 1 }\n', [{ op: 'replace', path: '/a/b', value: 2 }], 'a: { b: 2, c: 1 }\n'],
  ['what is there already changes nothing', 'a: 0x10 # hex\n', [{ op: 'replace', path: '/a', value: 16 }], 'a: 0x10 # hex\n'],
  // ── Removing ──
  ['the first key beside a dash', 'l:\n  - name: a # n\n    # x\n    x: 1\n', [{ op: 'remove', path: '/l/0/name' }], 'l:\n  - # x\n    x: 1\n'],
  ['comments of the neighbours stay', '# one\na: 1\n# two\nb: 2\n# three\nc: 3\n', [{ op: 'remove', path: '/b' }], '# one\na: 1\n# two\n# three\nc: 3\n'],
  ['flow: a line of its own', 'l: [\n  1, # one\n  2, # two\n  3\n]\n', [{ op: 'remove', path: '/l/1' }], 'l: [\n  1, # one\n  3\n]\n'],
  ['flow: the last line', 'l: [\n  1, # one\n  2 # two\n]\n', [{ op: 'remove', path: '/l/1' }], 'l: [\n  1, # one\n]\n'],
  ['flow: the only one, with a comma', 'a: {b: 1,}\n', [{ op: 'remove', path: '/a/b' }], 'a: {}\n'],
  ['a block scalar goes whole', 'a: |\n  x\n\n  y\nb: 1\n', [{ op: 'remove', path: '/a' }], 'b: 1\n'],
  ['the last item of a list', 'l: # h\n  - 1\nm: 2\n', [{ op: 'remove', path: '/l/0' }], 'l: [] # h\nm: 2\n'],
  ['the last key of a file with a byte order mark', '\ufeffa: 1\n', [{ op: 'remove', path: '/a' }], '\ufeff{}\n'],
  ['with an anchor that others use', 'a: &x\n  b: 1\nc: *x\n', [{ op: 'remove', path: '/a' }], 'c: { b: 1 }\n'],
];

for (const [what, before, operations, after] of exact) {
  test(`exactly: ${what}`, () => {
    const edited = edit(before, operations);
    assert.is(edited.ok ? edited.text : edited.problem.message, after);
  });
}

test('a file that cannot be read is not edited', () => {
  for (const text of ['a: [1\n', 'a: 1\na: 2\n', 'a: *gone\n', 'a: &a [*a]\n']) {
    const edited = edit(text, [{ op: 'add', path: '/b', value: 1 }]);
    assert.is(edited.ok ? '' : edited.problem.code, 'YamlSyntax', text);
  }
});

test('what does not exist is refused, with its place', () => {
  for (const operation of [{ op: 'remove', path: '/b' }, { op: 'replace', path: '/b/c', value: 1 }, { op: 'test', path: '/a', value: 2 }] as const) {
    const edited = edit('a: 1\n', [operation]);
    assert.not(edited.ok);
  }
});

test.run();

// Reading bkg.yaml: plain data for what is right, and for what is wrong its line, its column and what to do.
import { isDeepStrictEqual } from 'node:util';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseText, revisionOf } from './declare.ts';
import { editFile, parseFile, place } from './parsing.ts';
import { edit } from './splice.ts';
import { styles } from './fixtures/styles.ts';
import type { Problem } from '../core/types.ts';

/** More than the direct way takes: such a text goes to the worker. */
const LARGE = `# ${'x'.repeat(70 * 1024)}\n`;

type Fault = readonly [what: string, text: string, line: number, column: number, says: RegExp];

const faults: readonly Fault[] = [
  ['a bracket that is not closed', 'version: 1\nlist: [1, 2\nnext: 3\n', 2, 7, /valid YAML: the \[ here is not closed/],
  ['a brace that is not closed', 'plugins:\n  a: { use: b, config: { x: 1 }\n  c: { y: [1] }\n', 2, 6, /valid YAML: the \{ here is not closed/],
  ['the brace within that is not closed', 'plugins:\n  a: { use: b, config: { x: 1\n\n# more\nkeys: {}\n', 2, 24, /valid YAML: the \{ here is not closed/],
  ['a quote that is not closed', 'a: 1\nb: "open\n', 3, 1, /valid YAML/],
  ['a key given twice', 'plugins:\n  a: {}\n  b: {}\n  a: {}\n', 4, 3, /twice/],
  ['a key given twice in braces', 'a: { x: 1, x: 2 }\n', 1, 12, /twice/],
  ['a tab as indent', 'a:\n\tb: 1\n', 2, 1, /tab/i],
  ['a key one column off', 'plugins:\n  a: 1\n b: 2\n', 3, 1, /valid YAML/],
  ['a colon inside a value', 'a: b: c\n', 1, 4, /valid YAML/],
  ['an alias without an anchor', 'a: 1\nb: *gone\n', 2, 4, /gone/],
  ['two documents', 'a: 1\n---\nb: 2\n', 2, 1, /valid YAML/],
  ['a merge key', 'base: &b { x: 1 }\nuse:\n  <<: *b\n', 3, 3, /<</],
  ['a merge key in braces', 'base: &b { x: 1 }\nuse: { y: 1, <<: *b }\n', 2, 14, /<</],
  ['a key that is a list', 'a:\n  ? [1, 2]\n  : x\n', 2, 5, /plain word/],
  ['a bracket too many', 'a: 1\nb: ]\n', 2, 4, /valid YAML/],
];

for (const [what, text, line, column, says] of faults) {
  for (const [how, form, shift] of [['', (clean: string) => clean, 0], [' with CRLF', (clean: string) => clean.replaceAll('\n', '\r\n'), 0], [' behind comments', (clean: string) => `# one\n\n${clean}`, 2]] as const) {
    test(`${what}${how}: line ${line + shift}, column ${column}`, () => {
      const parsed = parseText(form(text));
      assert.is(parsed.value, null, 'nothing of it is used');
      const first = parsed.problems[0]!;
      assert.equal([first.line, first.column], [line + shift, column], first.message);
      assert.match(first.message, says);
      assert.is(first.severity, 'error');
    });
  }
}

test('a mistake has a hint where one is known, and every mistake of a file is told', () => {
  assert.match(parseText('a: 1\na: 2\n').problems[0]!.hint ?? '', /Keep one/);
  assert.match(parseText('x: &b {}\na: { <<: *b }\n').problems[0]!.hint ?? '', /Write the keys out/);
  assert.is(parseText('x: &b {}\na:\n  <<: *b\nc:\n  <<: *b\n').problems.length, 2);
  assert.is(parseText('a: { x: 1, x: 2 }\nb: { y: 1, y: 2 }\n').problems.length, 2);
});

test('a key without its colon is named on its own line, without what follows from it', () => {
  const told = (text: string): readonly unknown[] => parseText(text).problems.map((problem) => [problem.line, problem.column, /no colon/.test(problem.message)]);
  assert.equal(told('plugins:\n  one:\n    state running\n    idle: 1m\n'), [[3, 5, true]]);
  assert.equal(told('plugins:\n  one\n    state: running\n  two: {}\n'), [[2, 3, true]]);
  assert.equal(told('plugins:\n  one: {}\n   two: {}\n  three: {}\n').map((found) => (found as unknown[])[2]), [false]);
});

test('a pointer finds its key, an item its place, what is missing the nearest holder', () => {
  const { locate } = parseText('# top\nplugins:\n  chat:\n    state: on\n    list:\n      - one\n      - { a/b: 2 }\n12: x\n');
  const where = (pointer: string) => { const at = locate(pointer); return [at?.line, at?.column]; };
  assert.equal(where('/plugins'), [2, 1]);
  assert.equal(where('/plugins/chat/state'), [4, 5]);
  assert.equal(where('/plugins/chat/list/0'), [6, 9]);
  assert.equal(where('/plugins/chat/list/1/a~1b'), [7, 11]);
  assert.equal(where('/plugins/chat/gone/deeper'), [3, 3]);
  assert.equal(where('/plugins/chat/state/below'), [4, 5]);
  assert.equal(where('/plugins/chat/list/9'), [5, 5]);
  assert.equal(where('/12'), [8, 1]);
  assert.equal(where(''), [2, 1]);
  assert.equal(Object.values(parseText('').locate('/plugins') ?? {}), [1, 1]);
});

test('an alias leads to what it stands for', () => {
  const { value, locate } = parseText('base: &b\n  stat: on\na: *b\n');
  assert.equal(value, { base: { stat: 'on' }, a: { stat: 'on' } });
  assert.is(locate('/a/stat')?.line, 2);
});

test('problems that know only their pointer get their place, those that know it keep it', async () => {
  const problem = (pointer: string, line: number | null): Problem => ({ code: 'Unknown', pointer, line, column: line, message: 'x', hint: null, severity: 'error' });
  const text = 'version: 1\nplugins:\n  chat:\n    statee: on\n';
  const placed = await place([problem('/plugins/chat/statee', null), problem('/plugins', 9)], text);
  assert.equal(placed.map((one) => [one.line, one.column]), [[4, 5], [9, 9]]);
  const large = await place([problem('/plugins/chat/statee', null)], LARGE + text);
  assert.equal(large.map((one) => [one.line, one.column]), [[5, 5]]);
});

test('headings with nothing below them mean none; elsewhere null stays null', () => {
  assert.equal(parseText('server:\ndrift:\nmodels:\nplugins:\nusers:\nkeys:\n').value, { server: {}, drift: {}, models: {}, plugins: {}, users: {}, keys: {} });
  assert.equal(parseText('plugins:\n  a:\n  b: ~\n  c: { config: }\nversion:\n').value, { plugins: { a: {}, b: {}, c: { config: null } }, version: null });
  assert.is(parseText('').value, null);
  assert.equal(parseText('').problems, []);
  assert.is(parseText('# nothing yet\n').value, null);
  assert.equal(parseText('just words').value, 'just words');
});

test('bytes that people do not see change nothing', () => {
  const clean = 'version: 1\nplugins:\n  a: { state: on }\n';
  for (const text of [`\ufeff${clean}`, clean.replaceAll('\n', '\r\n'), `\ufeff${clean.replaceAll('\n', '\r\n')}`, clean.trimEnd(), `${clean}\n\n`, `---\n${clean}`, `${clean}...\n`]) {
    assert.equal(parseText(text).value, parseText(clean).value, JSON.stringify(text));
    assert.is(parseText(text).locate('/plugins/a')?.column, 3);
  }
  const behind = parseText('\ufeffa: { x: 1, x: 2 }\n').problems[0]!;
  assert.is(behind.line, 1);
});

test('a scalar is what YAML 1.2 says it is', () => {
  assert.equal(parseText('a: yes\nb: 0644\nc: 0x10\nd: 1e3\ne: ~\nf: "1"\ng: 2027-01-01\nh: .inf\nk: 1_000\n').value, { a: 'yes', b: 644, c: 16, d: 1000, e: null, f: '1', g: '2027-01-01', h: Infinity, k: '1_000' });
  assert.equal(parseText('a: 123456789012345678901\nb: 9007199254740991\n').value, { a: 123456789012345680000, b: 9007199254740991 });
  assert.equal(parseText('"a": 1\n12: 2\n~: 3\ntrue: 4\n').value, { a: 1, '12': 2, '~': 3, true: 4 });
  const { value } = parseText('__proto__: { polluted: true }\nconstructor: 1\n');
  assert.equal(Object.keys(value as object), ['__proto__', 'constructor']);
  assert.is(({} as Record<string, unknown>)['polluted'], undefined);
});

test('aliases may be used, but not to make a small file a huge one', () => {
  const levels = Array.from({ length: 9 }, (_, level) => `l${level + 1}: &l${level + 1} [${Array.from({ length: 10 }, () => `*l${level}`).join(', ')}]`);
  const parsed = parseText(`l0: &l0 x\n${levels.join('\n')}\n`);
  assert.is(parsed.value, null);
  assert.is(parsed.problems.length, 1);
  assert.is(parsed.problems[0]!.code, 'AliasesTooLarge');
  const many = parseText(`base: &b { x: 1 }\nall:\n${Array.from({ length: 500 }, (_, at) => `  k${at}: *b\n`).join('')}`);
  assert.equal(many.problems, []);
});

test('an alias of what it stands in is a Problem, never an endless loop', () => {
  for (const text of ['a: &a\n  b: *a\n', 'l: &l [1, *l]\n', 'a: &a { b: { c: *a } }\n']) {
    const parsed = parseText(text);
    assert.is(parsed.value, null, text);
    assert.ok(parsed.problems.length > 0, text);
  }
});

test('the worker says of a large text what the direct way says', async () => {
  for (const text of [...styles, ...faults.map((fault) => fault[1])]) {
    // A directive stands before everything, a byte order mark too.
    if (text.startsWith('%') || text.startsWith('\ufeff')) continue;
    const [direct, beside] = [parseText(LARGE + text), await parseFile(LARGE + text)];
    assert.ok(isDeepStrictEqual([beside.value, beside.problems], [direct.value, direct.problems]), text);
  }
});

test('a file nested too deep is a Problem, in the worker as here, and the next one is read', async () => {
  const nested = (levels: number): string => `a: ${'['.repeat(levels)}${']'.repeat(levels)}\n`;
  assert.equal(parseText(nested(90)).problems, []);
  for (const levels of [150, 1_500, 40_000]) {
    const parsed = await parseFile(nested(levels));
    assert.is(parsed.value, null);
    assert.is(parsed.problems[0]!.code, 'NestedTooDeep', String(levels));
    assert.is(parsed.problems[0]!.line, 1);
  }
  assert.equal((await parseFile(`${LARGE}a: 1\n`)).value, { a: 1 });
});

test('many at once come back each to its own', async () => {
  const answers = await Promise.all(Array.from({ length: 12 }, (_, at) => parseFile(`${LARGE}a: ${at}\n`)));
  assert.equal(answers.map((answer) => answer.value), Array.from({ length: 12 }, (_, at) => ({ a: at })));
});

test('1,000 plugins and 1,000 keys do not hold up the event loop', async () => {
  const plugins = Array.from({ length: 1_000 }, (_, at) => `  plugin-${at}: # number ${at}\n    state: running\n    config: { mode: "x", size: ${at} }\n    env:\n      A: b\n`).join('');
  const keys = Array.from({ length: 1_000 }, (_, at) => `  key-${at}: { user: ann, hash: "sha256:${'0'.repeat(64)}", scopes: [chat, "models:read"] }\n`).join('');
  const began = performance.now();
  let turns = 0;
  const timer = setInterval(() => { turns += 1; }, 1);
  const { value, problems } = await parseFile(`version: 1\nplugins:\n${plugins}keys:\n${keys}`);
  clearInterval(timer);
  assert.equal(problems, []);
  assert.is(Object.keys((value as { plugins: object }).plugins).length, 1_000);
  assert.ok(turns > 0, 'timers ran meanwhile');
  console.log(`1,000 plugins and 1,000 keys: ${Math.round(performance.now() - began)} ms, ${turns} turns of the loop`);
});

test('a large file is edited beside the event loop, as a small one is here', async () => {
  const text = `${LARGE}version: 1 # kept\nplugins:\n  a: { state: running }\n`;
  const operations = [{ op: 'replace' as const, path: '/plugins/a/state', value: 'stopped' }];
  assert.equal(await editFile(text, operations), edit(text, operations));
  const refused = await editFile(`${LARGE}a: [`, operations);
  assert.is(refused.ok, false);
});

test('a revision is the sha256 of the bytes', () => {
  assert.is(revisionOf('a: 1\n'), revisionOf(Buffer.from('a: 1\n')));
  assert.is(revisionOf(''), 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
});

test.run();

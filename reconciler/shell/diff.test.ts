// Diffs lead from one text to the other, are as short as can be, and are what patch(1) takes.
import fc from 'fast-check';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { unifiedDiff } from './diff.ts';

const LABELS = { from: 'bkg.yaml', to: 'bkg.yaml' };
const diffOf = (before: string, after: string): string => unifiedDiff(before, after, LABELS);

/** Few different lines, so that the same one stands in many places. */
const text: fc.Arbitrary<string> = fc.tuple(fc.array(fc.constantFrom('a', 'b', 'c', '', '- d', '+ e', '@@ -1 +1 @@'), { maxLength: 24 }), fc.boolean()).map(([lines, ended]) => lines.join('\n') + (ended ? '\n' : ''));

/** Both sides as the diff alone tells them, each hunk checked against its heading and its place in `before`. */
function applied(before: string, diff: string): string {
  const lines = before.split('\n');
  const out: string[] = [];
  let at = 0;
  const body = diff.split('\n').slice(2);
  for (let index = 0; index < body.length; ) {
    const heading = /^@@ -(\d+),(\d+) \+(\d+),(\d+) @@$/.exec(body[index]!);
    assert.ok(heading, `no heading: ${body[index]}`);
    const [from, removed, to, added] = heading!.slice(1).map(Number) as [number, number, number, number];
    out.push(...lines.slice(at, from - 1));
    at = from - 1;
    assert.is(out.length, to - 1, 'the heading names the line in the new text');
    let [left, right] = [removed, added];
    for (index += 1; left > 0 || right > 0; index += 1) {
      const [mark, line] = [body[index]![0], body[index]!.slice(1)];
      if (mark !== '+') assert.is(lines[at++], line), (left -= 1);
      if (mark !== '-') out.push(line), (right -= 1);
    }
    assert.equal([left, right], [0, 0], 'the heading counts the lines');
  }
  return [...out, ...lines.slice(at)].join('\n');
}

const changes = (diff: string): number => diff.split('\n').slice(2).filter((line) => /^[-+]/.test(line)).length;

/** The plain table of common lines: slow, and plainly right. */
function fewestChanges(a: readonly string[], b: readonly string[]): number {
  const table = Array.from({ length: a.length + 1 }, () => new Array<number>(b.length + 1).fill(0));
  for (let i = a.length - 1; i >= 0; i -= 1) for (let j = b.length - 1; j >= 0; j -= 1) table[i]![j] = a[i] === b[j] ? table[i + 1]![j + 1]! + 1 : Math.max(table[i + 1]![j]!, table[i]![j + 1]!);
  return a.length + b.length - 2 * table[0]![0]!;
}

test('a diff leads from one text to the other', () => {
  fc.assert(fc.property(text, text, (before, after) => {
    const diff = diffOf(before, after);
    if (before === after) assert.is(diff, '');
    else assert.is(applied(before, diff), after, diff);
  }), { numRuns: 2_000 });
});

test('no shorter diff leads there', () => {
  fc.assert(fc.property(text, text, (before, after) => {
    if (before === after) return;
    assert.is(changes(diffOf(before, after)), fewestChanges(before.split('\n'), after.split('\n')));
  }), { numRuns: 1_000 });
});

test('patch(1) takes it', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bkg-diff-'));
  try {
    if (spawnSync('patch', ['--version']).error !== undefined) {
      console.log('skipped: there is no patch(1) on this machine');
      return;
    }
    const ended = fc.tuple(text, text).map(([a, b]) => [`first\n${a}\n`, `first\n${b}\n`] as const);
    fc.assert(fc.property(ended, ([before, after]) => {
      if (before === after) return;
      const path = join(folder, 'bkg.yaml');
      writeFileSync(path, before);
      const done = spawnSync('patch', ['--silent', '--fuzz=0', path], { input: `${diffOf(before, after)}\n` });
      assert.is(done.status, 0, `${done.stdout}${done.stderr}`);
      assert.is(readFileSync(path, 'utf8'), after);
    }), { numRuns: 60 });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('changes at both ends of a long file are two small hunks', () => {
  const before = Array.from({ length: 50_000 }, (_, line) => `line ${line}`);
  const after = before.with(3, 'changed').with(49_990, 'changed');
  const diff = diffOf(`${before.join('\n')}\n`, `${after.join('\n')}\n`);
  assert.is(diff.split('\n').length, 2 + 2 * (1 + 3 + 2 + 3));
  assert.is(applied(`${before.join('\n')}\n`, diff), `${after.join('\n')}\n`);
});

test('long texts that share next to nothing still come out right', () => {
  const [before, after] = ['old', 'new'].map((word) => `${Array.from({ length: 20_000 }, (_, line) => (line % 5_000 === 0 ? `same ${line}` : `${word} ${line}`)).join('\n')}\n`) as [string, string];
  assert.is(applied(before, diffOf(before, after)), after);
});

test('what people see', () => {
  assert.is(diffOf('a: 1\nb: 2\nc: 3\n', 'a: 1\nb: 4\nc: 3\n'), '--- bkg.yaml\n+++ bkg.yaml\n@@ -1,3 +1,3 @@\n a: 1\n-b: 2\n+b: 4\n c: 3');
  assert.is(diffOf('a: 1\n', 'a: 1\r\n'), '--- bkg.yaml\n+++ bkg.yaml\n@@ -1,1 +1,1 @@\n-a: 1\n+a: 1\r');
});

test.run();

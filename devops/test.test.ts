// The runner counts honestly: a file that says nothing has failed, and so has a name that fits nothing.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readCounts, testFiles } from './test.ts';

test('failed is what was not passed', () => {
  assert.equal(readCounts('• ✘ •\n\n  Total:     3\n  Passed:    2\n  Skipped:   0\n'), { passed: 2, failed: 1 });
  assert.equal(readCounts('\u001b[32m•\u001b[39m\n\n  Total:     1\n\u001b[32m  Passed:    1\u001b[39m\n  Skipped:   0\n'), { passed: 1, failed: 0 });
});

test('a file without a total says nothing, whatever else it prints', () => {
  assert.is(readCounts(''), null);
  assert.is(readCounts('all is well\nTotal: 3\n'), null);
  assert.is(readCounts('  Total:     3\n'), null);
});

test('it finds the tests of every part, and none in node_modules', () => {
  const files = testFiles();
  assert.ok(files.includes('devops/test.test.ts'));
  assert.ok(files.some((file) => file.startsWith('reconciler/core/')));
  assert.is(files.some((file) => file.includes('node_modules')), false);
});

test('a filter that fits nothing is an error', () => {
  const ran = spawnSync(process.execPath, [fileURLToPath(new URL('test.ts', import.meta.url)), 'no-such-test'], { encoding: 'utf8' });
  assert.is(ran.status, 1);
  assert.match(ran.stderr, /nothing is called no-such-test/);
});

test('a filter runs what fits and closes with the plain line', () => {
  const ran = spawnSync(process.execPath, [fileURLToPath(new URL('test.ts', import.meta.url)), 'core/units.test'], { encoding: 'utf8' });
  assert.is(ran.status, 0, ran.stdout);
  assert.match(ran.stdout, /\n\d+ passed, 0 failed\n$/);
});

test.run();

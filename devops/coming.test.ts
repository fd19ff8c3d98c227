// How a download is shown: rate and time left, a bar that is drawn over, lines that do not flood.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openComing, rateOf, wordsOf } from './coming.ts';

const MIB = 2 ** 20;

test('the rate is that of the last seconds, and says nothing without two looks', () => {
  assert.is(rateOf([]), null);
  assert.is(rateOf([{ at_ms: 5, bytes: 9 }]), null);
  assert.is(rateOf([{ at_ms: 1000, bytes: 100 }, { at_ms: 1500, bytes: 100 }, { at_ms: 3000, bytes: 500 }]), 200);
});

test('words: bytes, rate, time left where it can be told', () => {
  assert.is(wordsOf({ bytes: MIB, total: 3 * MIB }, MIB / 2), '1.0 MiB of 3.0 MiB, 512 KiB/s, 4s left');
  assert.is(wordsOf({ bytes: MIB, total: null }, MIB), '1.0 MiB, 1.0 MiB/s');
  assert.is(wordsOf({ bytes: MIB, total: 2 * MIB }, 0), '1.0 MiB of 2.0 MiB, 0 B/s');
  assert.is(wordsOf({ bytes: 0, total: 2 * MIB }, null), '0 B of 2.0 MiB');
  assert.is(wordsOf({ bytes: 2 * MIB, total: 2 * MIB }, MIB), '2.0 MiB of 2.0 MiB, 1.0 MiB/s');
});

test('on a terminal one line is drawn over, as wide as the terminal', () => {
  const written: string[] = [];
  const coming = openComing('qwen', { terminal: true, columns: () => 40, write: (text) => { written.push(text); } });
  coming.show({ bytes: 0, total: 4 * MIB }, 0);
  coming.show({ bytes: 1, total: 4 * MIB }, 20);
  coming.show({ bytes: MIB, total: 4 * MIB }, 1000);
  coming.clear();
  coming.clear();
  assert.equal(written, [`qwen  ${'░'.repeat(24)}   0 %  0`, '\r\x1b[K', `qwen  ${'█'.repeat(6)}${'░'.repeat(18)}  25 %  1`, '\r\x1b[K']);
  assert.ok(written.every((text) => text.length < 40));
});

test('elsewhere there is a line for each tenth, and now and then one while bytes come', () => {
  const written: string[] = [];
  const coming = openComing('qwen', { terminal: false, columns: () => 40, write: (text) => { written.push(text); } });
  for (const [bytes, at_ms] of [[0, 0], [1, 500], [MIB, 1000], [MIB + 1, 2000], [MIB + 2, 12_000], [MIB + 2, 30_000], [0, 31_000], [10 * MIB, 32_000]] as const) coming.show({ bytes, total: 10 * MIB }, at_ms);
  assert.equal(written, [
    'qwen: 0 %, 0 B of 10.0 MiB\n', 'qwen: 10 %, 1.0 MiB of 10.0 MiB, 1.0 MiB/s, 9s left\n', 'qwen: 10 %, 1.0 MiB of 10.0 MiB\n', 'qwen: 0 %, 0 B of 10.0 MiB\n', 'qwen: 100 %, 10.0 MiB of 10.0 MiB, 10.0 MiB/s\n',
  ]);
  coming.clear();
  assert.is(written.length, 5);
});

test('where the size is not known there is no share', () => {
  const written: string[] = [];
  for (const terminal of [true, false]) openComing('x', { terminal, columns: () => 80, write: (text) => { written.push(text); } }).show({ bytes: MIB, total: null }, 0);
  assert.equal(written, ['x  …  1.0 MiB', 'x: 1.0 MiB\n']);
});

test.run();

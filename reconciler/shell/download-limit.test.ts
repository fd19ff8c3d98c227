// The cap on bytes a second, by a clock of its own.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { takeShare } from './download-limit.ts';

test('several that take in turn get together what a second has', () => {
  let now_ms = 1_000_000;
  let taken = 0;
  const began_ms = now_ms;
  for (let turn = 0; turn < 1_000; turn += 1) {
    const bytes = 1 + ((turn * 7919) % 200_000);
    taken += bytes;
    now_ms += takeShare(bytes, 1_000_000, now_ms);
  }
  const rate = taken / ((now_ms - began_ms) / 1000);
  assert.ok(Math.abs(rate - 1_000_000) < 10_000, `${rate} bytes a second`);
});

test('a rest saves a quarter of a second, not more, and the newest word counts', () => {
  const now_ms = 9_000_000;
  assert.is(takeShare(250_000, 1_000_000, now_ms), 0);
  assert.is(takeShare(1_000, 1_000_000, now_ms), 1);
  // Ten times slower: what is owed takes ten times as long.
  assert.is(takeShare(0, 100_000, now_ms), 10);
  assert.is(takeShare(0, 1_000_000, now_ms + 1), 0);
});

test.run();

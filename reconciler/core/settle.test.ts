// Back-off, crash loops and stalls; how long a condition has held.
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { afterExit, backOff_ms, emptyHistory, FAILURE_WINDOW_MS, isCrashLooping, settleConditions, type ExitFacts } from './settle.ts';
import type { History } from './types.ts';

const restart = { first_ms: 1_000, max_ms: 60_000 };
const failure = (at: number, part: Partial<ExitFacts> = {}): ExitFacts =>
  ({ exit: { code: 1, signal: null, error: null, lasting: false, at }, started: at - 1, failure: null, expected: false, readyFor_ms: null, specHash: 's', restart, random: 0.5, ...part });
const failed = (times: readonly number[]): History => times.reduce((history, at) => afterExit(history, failure(at)), emptyHistory('a#0'));

test('another spec begins without the failures of the one before, and a failure keeps its reason', () => {
  const four = failed([0, 1_000, 2_000, 3_000]);
  const other = afterExit(four, failure(4_000, { specHash: 'other', failure: 'it was not ready after 3 s' }));
  assert.equal([other.consecutive, other.failures, other.lastFailure], [1, [4_000], { specHash: 'other', why: 'it was not ready after 3 s' }]);
  assert.is(isCrashLooping(other, 4_000), false);
  const ended = afterExit(other, failure(5_000, { specHash: 'other', expected: true }));
  assert.is(ended.lastFailure?.why, 'it was not ready after 3 s', 'a wanted end is no failure');
  assert.is(four.lastFailure?.why, 'it exited with code 1');
});

test('restarts come at once, then after 1, 2, 4 … 60 s', () => {
  const delays = [1, 2, 3, 4, 5, 6, 7, 8, 9].map((consecutive) => backOff_ms({ consecutive, cap: false, restart, random: 0.5 }) / 1_000);
  assert.equal(delays, [0, 1, 2, 4, 8, 16, 32, 60, 60]);
});

test('the spread is within a quarter, the delay never above the longest by more than that', () => {
  fc.assert(fc.property(fc.integer({ min: 2, max: 2_000 }), fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (consecutive, random) => {
    const delay = backOff_ms({ consecutive, cap: false, restart, random });
    const middle = backOff_ms({ consecutive, cap: false, restart, random: 0.5 });
    assert.ok(delay >= middle * 0.75 && delay <= middle * 1.25 && delay <= 75_000);
  }));
});

test('five failures within ten minutes are a crash loop, kept at the longest delay; it is over when they are old', () => {
  const four = failed([0, 1_000, 3_000, 7_000]);
  assert.not(isCrashLooping(four, 7_000));
  const five = afterExit(four, failure(15_000));
  assert.ok(isCrashLooping(five, 15_000));
  assert.is(five.notBefore, 15_000 + 60_000);
  assert.not(isCrashLooping(five, 15_000 + FAILURE_WINDOW_MS));
});

test('ten minutes ready make the next failure the first again', () => {
  const history = afterExit(failed([0, 1_000, 3_000]), failure(900_000, { readyFor_ms: FAILURE_WINDOW_MS }));
  assert.is(history.consecutive, 1);
  assert.is(history.notBefore, 900_000);
});

test('an ordered stop is no failure and clears the back-off', () => {
  const history = afterExit(failed([0, 1_000]), failure(2_000, { expected: true }));
  assert.equal([history.notBefore, history.failures.length, history.restarts], [null, 2, 2]);
});

test('exits 78, 126, 127 and what cannot be started stall for that spec', () => {
  for (const code of [78, 126, 127]) {
    const history = afterExit(emptyHistory('a#0'), failure(0, { exit: { code, signal: null, error: null, lasting: false, at: 0 } }));
    assert.is(history.stalled?.specHash, 's');
  }
  const missing = afterExit(emptyHistory('a#0'), failure(0, { exit: { code: null, signal: null, error: 'no such file', lasting: true, at: 0 } }));
  assert.is(missing.stalled?.reason, 'no such file');
  assert.is(failed([0]).stalled, null);
});

test('a condition keeps its time until its status or reason changes', () => {
  const ready = { type: 'Ready', status: 'True' as const, reason: 'Ready', message: 'It answers.' };
  const first = settleConditions([], [ready], { at: 't1', revision: 'r1' });
  const same = settleConditions(first, [{ ...ready, message: 'It still answers.' }], { at: 't2', revision: 'r2' });
  const other = settleConditions(same, [{ ...ready, status: 'False', reason: 'Unhealthy' }], { at: 't3', revision: 'r2' });
  assert.equal([first[0]?.since, same[0]?.since, same[0]?.revision, other[0]?.since], ['t1', 't1', 'r2', 't3']);
});

test.run();

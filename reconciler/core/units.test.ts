// Durations, sizes and shares, and everything that is none.
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { schemaAt } from '../../schema/walk.ts';
import { parseDuration_ms, parsePercent, parseSize_bytes, sizeWords } from './units.ts';

test('durations', () => {
  assert.equal(
    ['500ms', '10s', '5m', '2h', '1d', '1.5s', '0s'].map(parseDuration_ms),
    [500, 10_000, 300_000, 7_200_000, 86_400_000, 1500, 0],
  );
  assert.equal(['', '10', 's', '-1s', '1 s', '1S', '1w', '1.s', '1e3s', '1toString'].map(parseDuration_ms), Array<null>(10).fill(null));
});

test('sizes', () => {
  assert.equal(
    ['12B', '1KB', '1KiB', '512MiB', '2GiB', '4GB', '1.5GiB'].map(parseSize_bytes),
    [12, 1000, 1024, 536_870_912, 2_147_483_648, 4e9, 1_610_612_736],
  );
  assert.equal(['1', '1kb', '1 GiB', 'GiB', '1PiB'].map(parseSize_bytes), Array<null>(5).fill(null));
});

test('shares of a core', () => {
  assert.equal(['150%', '12.5%', '0%'].map(parsePercent), [150, 12.5, 0]);
  assert.equal(['150', '%', '-1%', '1 %'].map(parsePercent), [null, null, null, null]);
});

test('sizes for people', () => {
  assert.equal([0, 1, 1023, 1024, 1_536_000, 2 ** 30, 4.04 * 2 ** 30, 250 * 2 ** 20, 2 ** 61].map(sizeWords), ['0 B', '1 B', '1023 B', '1 KiB', '1.5 MiB', '1 GiB', '4 GiB', '250 MiB', '2048 PiB']);
});

test('whatever the schema lets through is understood', () => {
  for (const [pointer, parse] of [
    ['/plugins/a/idle', parseDuration_ms],
    ['/memory', parseSize_bytes],
    ['/plugins/a/limits/cpu', parsePercent],
  ] as const) {
    const pattern = new RegExp(String(schemaAt(pointer)?.['pattern']));
    fc.assert(
      fc.property(fc.stringMatching(pattern), (text) => {
        const value = parse(text);
        assert.ok(value !== null && value >= 0, text);
      }),
    );
  }
});

test.run();

// Spans against a plain picture of the same file: one flag for each byte.
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { cutAt, firstGap, frontOf, sizeOf, withSpan, type Span, type Spans } from './download-spans.ts';

const SIZE = 40;
const span = fc.tuple(fc.nat(SIZE), fc.nat(SIZE)).map(([one, other]): Span => ({ from: Math.min(one, other), to: Math.max(one, other) }));

const flagsOf = (spans: Spans): readonly boolean[] => Array.from({ length: SIZE }, (_none, at) => spans.some(({ from, to }) => at >= from && at < to));

test('spans say what the flags say', () => {
  fc.assert(fc.property(fc.array(span, { maxLength: 12 }), fc.nat(SIZE), fc.integer({ min: 1, max: SIZE }), (all, end, most) => {
    const flags = flagsOf(all);
    const spans = all.reduce<Spans>(withSpan, []);
    assert.equal(flagsOf(spans), flags);
    for (const [index, one] of spans.entries()) assert.ok(one.from < one.to && one.from > (spans[index - 1]?.to ?? -1), 'apart, and in order');
    assert.is(sizeOf(spans), flags.filter(Boolean).length);
    assert.is(frontOf(spans), flags.includes(false) ? flags.indexOf(false) : SIZE);
    assert.equal(flagsOf(cutAt(spans, end)), flags.map((flag, at) => flag && at < end));
    const from = flags.slice(0, end).indexOf(false);
    let to = from;
    while (from !== -1 && to < Math.min(end, from + most) && flags[to] === false) to += 1;
    assert.equal(firstGap(spans, end, most), from === -1 ? null : { from, to });
  }));
});

test.run();

// Pointers survive any key, and read as a person would say them.
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { labelOf, pointerOf, tokensOf } from './pointer.ts';

test('any keys come back from their pointer', () => {
  fc.assert(fc.property(fc.array(fc.string()), (tokens) => assert.equal(tokensOf(pointerOf(tokens)), tokens)));
});

test('escapes as RFC 6901 says', () => {
  assert.is(pointerOf(['a/b', 'm~n', '', 0]), '/a~1b/m~0n//0');
  assert.equal(tokensOf('/a~1b/~01'), ['a/b', '~1']);
});

test('labels', () => {
  assert.is(labelOf(''), 'the file');
  assert.is(labelOf('/plugins/coder/needs/0'), 'plugins.coder.needs[0]');
  assert.is(labelOf('/plugins/x/limits/capabilities/llm.chat'), 'plugins.x.limits.capabilities["llm.chat"]');
});

test.run();

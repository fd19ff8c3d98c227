// The estimate of memory beside what was measured, and what moves it.
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { GgufFormat, OnnxFormat } from './format.ts';
import { memoryOf, memoryOfAll } from './memory.ts';

const MiB = 2 ** 20;
const none: GgufFormat = {
  format: 'gguf', version: 3, architecture: 'llama', name: null, quantization: 'F16', contextLength: 32_768, embeddingLength: null, layers: null, heads: null, kvHeads: null,
  kvHeadsOfAllLayers: null, keyLength: null, valueLength: null, slidingWindow: null, kvHeadsOfSlidingLayers: null, causal: true, vocabulary: null, tokenizer: null,
  chatTemplate: false, tensors: 1, parameters: 1, tensor_bytes: 0, shard: null,
};
/** Two models of the qwen2 architecture with Qwen's vocabulary and made-up weights, loaded by the bundled llmserver on a CPU. */
const small: GgufFormat = { ...none, embeddingLength: 512, layers: 8, heads: 8, kvHeads: 2, kvHeadsOfAllLayers: 16, keyLength: 64, valueLength: 64, vocabulary: 151_669, tensor_bytes: 191_020_032 };
const larger: GgufFormat = { ...none, embeddingLength: 1_024, layers: 12, heads: 16, kvHeads: 16, kvHeadsOfAllLayers: 192, keyLength: 64, valueLength: 64, vocabulary: 151_669, tensor_bytes: 562_526_208 };
const stories: GgufFormat = { ...none, embeddingLength: 64, layers: 5, heads: 8, kvHeads: 4, kvHeadsOfAllLayers: 20, keyLength: 8, valueLength: 8, vocabulary: 512, tensor_bytes: 1_171_200, contextLength: 2_048 };
const mini: GgufFormat = { ...none, embeddingLength: 160, layers: 4, heads: 5, kvHeads: 5, kvHeadsOfAllLayers: 20, keyLength: 32, valueLength: 32, vocabulary: 3_072, tensor_bytes: 2_464_640, contextLength: 1_024 };
const bert: GgufFormat = { ...none, causal: false, embeddingLength: 128, layers: 1, heads: 4, kvHeads: 4, kvHeadsOfAllLayers: 4, keyLength: 32, valueLength: 32, vocabulary: 30_522, tensor_bytes: 8_639_616 };

/** Resident MiB of the process after some requests; without the second copy of weights that llama.cpp makes for AMX, whose originals may be dropped. */
const measured: readonly (readonly [of: string, format: GgufFormat, contextSize: number, parallel: number, mib: number])[] = [
  ['stories', stories, 2_048, 4, 150], ['stories', stories, 2_048, 1, 146], ['mini', mini, 2_048, 4, 164], ['bert', bert, 2_048, 4, 209],
  ['small', small, 512, 1, 506], ['small', small, 2_048, 1, 508], ['small', small, 2_048, 4, 557], ['small', small, 8_192, 4, 654],
  ['larger', larger, 512, 1, 889], ['larger', larger, 2_048, 1, 958], ['larger', larger, 2_048, 4, 1_264], ['larger', larger, 8_192, 2, 1_630],
];

for (const [of, format, contextSize, parallel, mib] of measured) {
  test(`${of} with ${parallel} x ${contextSize} tokens: within a twelfth of the ${mib} MiB measured`, () => {
    const estimated = (memoryOf(format, { contextSize, parallel }) ?? 0) / MiB;
    assert.ok(Math.abs(estimated / mib - 1) < 1 / 12, `${estimated.toFixed(0)} MiB`);
  });
}

const cacheOf = (format: GgufFormat, contextSize: number, parallel = 1): number =>
  (memoryOf(format, { contextSize, parallel }) ?? 0) - (memoryOf({ ...format, causal: false }, { contextSize, parallel }) ?? 0);

test('the cache: layers x key and value heads x their lengths x 2 bytes x tokens', () => {
  assert.is(cacheOf(larger, 2_048), 192 * (64 + 64) * 2 * 2_048);
  assert.is(cacheOf(larger, 2_048, 4), 4 * cacheOf(larger, 2_048));
  assert.is(cacheOf(larger, 2_000), cacheOf(larger, 2_048), 'tokens come by 256');
  assert.is(cacheOf(larger, 1_000_000), cacheOf(larger, 32_768), 'never more than it was trained for');
  assert.is(cacheOf(none, 2_048), 0, 'a file that does not say it');
});

test('layers with a sliding window hold little: as the file says, or as the engine has it, else all is counted', () => {
  const gemma = { ...larger, architecture: 'gemma3', slidingWindow: 1_024 };
  // Two of twelve layers look back over everything.
  assert.is(cacheOf(gemma, 32_768), (32 * 32_768 + 160 * (1_024 + 512)) * 128 * 2);
  assert.is(cacheOf({ ...gemma, architecture: 'new', kvHeadsOfSlidingLayers: 96 }, 32_768), (96 * 32_768 + 96 * 1_536) * 128 * 2);
  assert.is(cacheOf({ ...gemma, architecture: 'new' }, 32_768), cacheOf(larger, 32_768));
  assert.is(cacheOf(gemma, 512), cacheOf(larger, 512), 'a short context slides nowhere');
});

test('a model in several files counts whole', () => {
  const [one, all] = [memoryOf(larger, { contextSize: 512, parallel: 1 }) ?? 0, memoryOf({ ...larger, shard: { no: 0, count: 3 } }, { contextSize: 512, parallel: 1 }) ?? 0];
  assert.is(all - one, 2 * larger.tensor_bytes);
});

const onnx = (tensor_bytes: number): OnnxFormat => ({ format: 'onnx', irVersion: 8, producer: null, opsets: [], inputs: [], outputs: [], initializers: 1, parameters: 1, tensor_bytes, external: [] });

test('onnx: not below the peak that was measured, and not twice as much', () => {
  const estimated = (memoryOf(onnx(512 * MiB), { contextSize: 1, parallel: 1 }) ?? 0) / MiB;
  assert.ok(estimated > 730 && estimated < 900, `${estimated} MiB`);
});

test('nobody knows what another file needs; two models share one process', () => {
  const room = { contextSize: 2_048, parallel: 4 };
  assert.is(memoryOf({ format: 'other' }, room), null);
  assert.equal([memoryOfAll([], room), memoryOfAll([small, { format: 'other' }], room)], [null, null]);
  const together = memoryOfAll([small, bert], room) ?? 0;
  assert.is(together, (memoryOf(small, room) ?? 0) + (memoryOf(bert, room) ?? 0) - 144 * MiB);
  assert.is(memoryOfAll([small], room), memoryOf(small, room));
});

test('more tokens, conversations or weights never take less; the figure is a whole number', () => {
  fc.assert(fc.property(fc.integer({ min: 1, max: 200_000 }), fc.integer({ min: 1, max: 64 }), fc.nat(10_000), (contextSize, parallel, more) => {
    const now = memoryOf(small, { contextSize, parallel }) ?? 0;
    assert.ok(Number.isSafeInteger(now));
    assert.ok((memoryOf(small, { contextSize: contextSize + more, parallel }) ?? 0) >= now);
    assert.ok((memoryOf(small, { contextSize, parallel: parallel + 1 }) ?? 0) > now);
    assert.is(memoryOf({ ...small, tensor_bytes: small.tensor_bytes + more }, { contextSize, parallel }), now + more);
  }));
});

test.run();

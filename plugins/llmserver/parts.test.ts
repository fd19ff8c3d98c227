// The small parts: stop strings, templates, messages, settings, pace, the choice of a sequence.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LlamaContextSequence, Token } from 'node-llama-cpp';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { candidates } from './calibrate.ts';
import { messagesOf } from './messages.ts';
import { openPace } from './pace.ts';
import { samplingOf } from './requests.ts';
import { openSequences } from './sequences.ts';
import { readSettings } from './settings.ts';
import { openStops } from './stops.ts';
import { openTemplate, TEMPLATE_NAMES, type Message } from './template.ts';

test('a stop string ends the text wherever the pieces are cut', () => {
  for (const [text, stops, expected] of [['one two three', ['two'], 'one '], ['aab', ['ab'], 'a'], ['abcabd', ['abd', 'zz'], 'abc'], ['nothing here', ['herf'], 'nothing here'], ['ends with th', ['the'], 'ends with th'], ['xSTOPySTO', ['yST', 'STOP'], 'x']] as const) {
    for (let size = 1; size <= text.length; size += 1) {
      let said = '';
      const reader = openStops(stops, (piece) => { said += piece; });
      for (let at = 0; at < text.length; at += size) if (reader.push(text.slice(at, at + size))) break;
      reader.end();
      assert.is(said, expected, `${text} in pieces of ${size}`);
    }
  }
});

test('sampling is that of the request, else of the model\'s file, else of llama.cpp', () => {
  const of = (body: object, advice: object): readonly number[] => { const { temperature, topP, topK, minP, repeatPenalty } = samplingOf(body as Record<string, unknown>, advice); return [temperature, topP, topK, minP, repeatPenalty]; };
  assert.equal(of({}, {}), [0.8, 0.95, 40, 0.05, 1]);
  assert.equal(of({}, { temp: 0, top_p: 0.5, top_k: 7, min_p: 0.1, penalty_repeat: 1.1 }), [0, 0.5, 7, 0.1, 1.1]);
  assert.equal(of({}, { temp: 50, top_p: -1, top_k: Number.NaN, min_p: 2, penalty_repeat: 0 }), [0.8, 0.95, 40, 0.05, 1]);
  assert.equal(of({ temperature: 1, top_k: 3 }, { temp: 0, top_k: 7, top_p: 'no number' }), [1, 0.95, 3, 0.05, 1]);
});

const talk: readonly Message[] = [{ role: 'system', content: 'S' }, { role: 'user', content: 'U' }];

test('every named template says every message and opens the answer', () => {
  for (const name of TEMPLATE_NAMES) {
    const text = openTemplate({ name, own: null, bos: '<s>', eos: '</s>' }).render(talk, null);
    assert.ok(text.indexOf('S') >= 0 && text.indexOf('U') > text.indexOf('S'), name);
  }
  assert.is(openTemplate({ name: 'chatml', own: 'ignored', bos: '', eos: '' }).render(talk, null), '<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n');
});

test('auto takes the template in the file, and gives it tools and parsed arguments', () => {
  const own = "{{ bos_token }}{% if tools %}[{{ tools | length }}]{% endif %}{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.function.arguments | tojson }}{% endfor %}{{ m.content }};{% endfor %}";
  const template = openTemplate({ name: 'auto', own, bos: '<s>', eos: '' });
  const called: Message = { role: 'assistant', content: '', tool_calls: [{ id: '1', type: 'function', function: { name: 'f', arguments: '{"a": "b"}' } }] };
  assert.is(template.takesTools, true);
  assert.is(template.render([...talk, called], [{}, {}]), '<s>[2]S;U;{"a": "b"};');
  assert.throws(() => openTemplate({ name: 'auto', own: '{% for %}', bos: '', eos: '' }), /cannot be read.*Set promptTemplate/);
  assert.throws(() => openTemplate({ name: 'auto', own: "{{ raise_exception('no system') }}", bos: '', eos: '' }).render(talk, null), /refuses these messages: no system/);
});

test('messages come out in one form', () => {
  assert.equal(messagesOf({ messages: [{ role: 'developer', content: 'D' }, { role: 'user', content: [{ type: 'text', text: 'a' }, { type: 'text', text: 'b' }] }, { role: 'assistant', content: null, tool_calls: null }] }), [{ role: 'system', content: 'D' }, { role: 'user', content: 'ab' }, { role: 'assistant', content: '' }]);
});

test('settings: flags before the file, the file before defaults, nonsense is refused', () => {
  const folder = mkdtempSync(join(tmpdir(), 'llmserver-'));
  try {
    const BKG_CONFIG = join(folder, 'config.json');
    writeFileSync(BKG_CONFIG, JSON.stringify({ contextSize: 512, parallel: 2, promptTemplate: 'llama3' }));
    const settings = readSettings(['--parallel', '3', '--model', 'x/y.gguf'], { BKG_CONFIG, BKG_PORT: '7' });
    assert.equal([settings.contextSize, settings.parallel, settings.promptTemplate, settings.queue, settings.port, settings.alias], [512, 3, 'llama3', 64, 7, 'y']);
    assert.throws(() => readSettings(['--context-size', '1.5'], {}), /contextSize must be a whole number from 64/);
    assert.throws(() => readSettings(['--gpu', 'warp'], {}), /gpu must be one of/);
    assert.throws(() => readSettings(['--colour', 'red'], {}), /colour/);
    writeFileSync(BKG_CONFIG, '{"queue": "many"}');
    assert.throws(() => readSettings([], { BKG_CONFIG }), /queue must be a whole number/);
    writeFileSync(BKG_CONFIG, 'null');
    assert.throws(() => readSettings([], { BKG_CONFIG }), /must hold a JSON object/);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('pace forgets what is long ago', () => {
  let now_ms = 100_000;
  const pace = openPace(() => now_ms);
  for (let count = 0; count < 20; count += 1) pace.count();
  assert.is(pace.per_second(), 2);
  now_ms += 9_000;
  assert.is(pace.per_second(), 2);
  now_ms += 1_000;
  assert.is(pace.per_second(), 0);
});

test('thread counts to try: one, half, all but one, all', () => {
  assert.equal([1, 2, 3, 8].map(candidates), [[1], [1, 2], [1, 2, 3], [1, 4, 7, 8]]);
});

const sequence = (...tokens: number[]): LlamaContextSequence => ({ contextTokens: tokens }) as unknown as LlamaContextSequence;
const prompt = (...tokens: number[]): Token[] => tokens as Token[];
const never = new AbortController().signal;

test('a request gets the free sequence that holds most of it, among equals the one unused for longest', async () => {
  const [a, b, c] = [sequence(), sequence(1, 2, 3), sequence(1, 2)];
  const sequences = openSequences([a, b, c], () => 1);
  assert.is(await sequences.acquire(prompt(1, 2, 9), never), b);
  assert.is(await sequences.acquire(prompt(7), never), a);
  sequences.release(b);
  assert.is(await sequences.acquire(prompt(8), never), c);
  assert.is(sequences.active(), 2);
});

test('the queue is first come, first served, bounded, and can be left', async () => {
  const only = sequence();
  let most = 2;
  const sequences = openSequences([only], () => most);
  await sequences.acquire(prompt(1), never);
  const leaving = new AbortController();
  const left = sequences.acquire(prompt(2), leaving.signal);
  const next = sequences.acquire(prompt(3), never);
  assert.throws(() => sequences.acquire(prompt(4), never), /2 requests wait already/);
  leaving.abort(new Error('gone'));
  await left.then(() => assert.unreachable(), (error: Error) => assert.is(error.message, 'gone'));
  await sequences.acquire(prompt(5), leaving.signal).then(() => assert.unreachable(), (error: Error) => assert.is(error.message, 'gone'));
  sequences.release(only);
  assert.is(await next, only);
  most = 0;
  assert.throws(() => sequences.acquire(prompt(6), never), /0 requests wait already/);
});

test.run();

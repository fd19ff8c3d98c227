// The real server on real models, asked as programs ask it.
import OpenAI from 'openai';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { EMBEDDING, haveFixtures, INBOUND, openServers, pause, STORIES, type Running } from './test-server.ts';

const server = suite('llmserver');
const servers = openServers();
let running: Running;
let client: OpenAI;
const tell = [{ role: 'user' as const, content: 'Tell me a story' }];
const STORY = 'Once upon a time, there was a little girl named Lily. She loved to play outside in the park.';

server.before(async () => {
  running = await servers.start(['--model', STORIES, '--alias', 'stories', '--embedding-model', EMBEDDING, '--embedding-alias', 'vectors']);
  client = new OpenAI({ baseURL: `${running.url}/v1`, apiKey: INBOUND, maxRetries: 0 });
});

server('says how far it is until it is ready', () => {
  for (const { status, body } of running.before) {
    assert.is(status, 503);
    assert.is((body as { status: string }).status, 'loading');
    assert.type((body as { progress: number }).progress, 'number');
  }
});

server('lists its models with their context', async () => {
  const models = (await client.models.list()).data as unknown as { id: string; meta: { n_ctx: number } }[];
  assert.equal(models.map((model) => model.id), ['stories', 'vectors']);
  assert.ok((models[0]?.meta.n_ctx ?? 0) > 0);
});

server('a story at temperature 0 is the same whole, streamed, and again', async () => {
  const asked = { model: 'stories', messages: tell, temperature: 0, max_tokens: 60 };
  const whole = await client.chat.completions.create(asked);
  const text = whole.choices[0]?.message.content ?? '';
  assert.match(text, /^[A-Z][a-z]+ [a-z, ]+[a-z]+/);
  let streamed = '';
  let usage: OpenAI.CompletionUsage | null | undefined = null;
  for await (const chunk of await client.chat.completions.create({ ...asked, stream: true, stream_options: { include_usage: true } })) {
    streamed += chunk.choices[0]?.delta.content ?? '';
    usage = chunk.usage ?? usage;
  }
  assert.is(streamed, text);
  assert.is(usage?.completion_tokens, whole.usage?.completion_tokens);
  assert.ok((usage?.prompt_tokens_details?.cached_tokens ?? 0) > 0, 'the second time the prompt is there already');
});

server('continues a text as its training did, also one that has not begun', async () => {
  for (const prompt of ['', 'Once upon a time']) {
    const done = await client.completions.create({ model: 'stories', prompt, temperature: 0, max_tokens: 60 });
    assert.is(`${prompt}${done.choices[0]?.text}`.slice(0, STORY.length), STORY);
  }
});

server('a seed makes chance repeatable, another one another text', async () => {
  const ask = async (seed: number): Promise<string> => (await client.chat.completions.create({ model: 'stories', messages: tell, temperature: 1, seed, max_tokens: 40 })).choices[0]?.message.content ?? '';
  assert.is(await ask(7), await ask(7));
  assert.is.not(await ask(7), await ask(8));
  // Without a seed chance is chance, also within one second.
  const free = await Promise.all([1, 2, 3, 4].map(async () => (await client.completions.create({ model: 'stories', prompt: 'One day', temperature: 1.5, max_tokens: 40 })).choices[0]?.text));
  assert.ok(new Set(free).size > 1);
});

server('ends before a stop string', async () => {
  const whole = (await client.chat.completions.create({ model: 'stories', messages: tell, temperature: 0, max_tokens: 60 })).choices[0]?.message.content ?? '';
  const stop = whole.slice(20, 26);
  const cut = (await client.chat.completions.create({ model: 'stories', messages: tell, temperature: 0, max_tokens: 60, stop })).choices[0];
  assert.is(cut?.message.content, whole.slice(0, whole.indexOf(stop)));
  assert.is(cut?.finish_reason, 'stop');
});

server('a schema and a forced tool leave the model no choice', async () => {
  const schema = { type: 'object', properties: { kind: { enum: ['a', 'b'] }, sure: { type: 'boolean' } }, required: ['kind', 'sure'], additionalProperties: false };
  const answer = await client.chat.completions.create({ model: 'stories', messages: tell, temperature: 0, max_tokens: 200, response_format: { type: 'json_schema', json_schema: { name: 'x', schema } } });
  const value = JSON.parse(answer.choices[0]?.message.content ?? '') as { kind: string; sure: boolean };
  assert.ok(['a', 'b'].includes(value.kind) && typeof value.sure === 'boolean');
  const tools = [{ type: 'function' as const, function: { name: 'choose', parameters: { type: 'object', properties: { kind: { enum: ['x', 'y'] } }, required: ['kind'] } } }];
  const called = (await client.chat.completions.create({ model: 'stories', messages: tell, max_tokens: 200, tools, tool_choice: 'required' })).choices[0];
  const call = called?.message.tool_calls?.[0];
  assert.is(called?.finish_reason, 'tool_calls');
  assert.ok(call?.type === 'function' && call.function.name === 'choose' && ['x', 'y'].includes((JSON.parse(call.function.arguments) as { kind: string }).kind));
});

server('four streams at once each get their own story', async () => {
  const alone = (await client.completions.create({ model: 'stories', prompt: 'Once upon a time', temperature: 0, max_tokens: 50 })).choices[0]?.text;
  const together = await Promise.all(['Once upon a time', 'Once upon a time', 'One day', 'Lily'].map((prompt) => client.completions.create({ model: 'stories', prompt, temperature: 0, max_tokens: 50 })));
  assert.equal(together.slice(0, 2).map((done) => done.choices[0]?.text), [alone, alone]);
  assert.is.not(together[2]?.choices[0]?.text, alone);
});

server('embeds texts: like ones lie closer; base64 says the same', async () => {
  const input = ['a cat sleeps on the sofa', 'a kitten naps on the couch', 'stock prices fell sharply'];
  const { data: rows } = await client.embeddings.create({ model: 'vectors', input, encoding_format: 'float' });
  const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, value, index) => sum + value * (b[index] ?? 0), 0);
  const [cat, kitten, stocks] = rows.map((row) => row.embedding) as [number[], number[], number[]];
  assert.ok(Math.abs(dot(cat, cat) - 1) < 1e-5);
  assert.ok(dot(cat, kitten) > dot(cat, stocks));
  const packed = (await (await running.post('/v1/embeddings', { input: input[0], encoding_format: 'base64' })).json()) as { data: { embedding: string }[] };
  const floats = new Float32Array(new Uint8Array(Buffer.from(packed.data[0]?.embedding ?? '', 'base64')).buffer);
  assert.ok(Math.abs((floats[0] ?? 0) - (cat[0] ?? 1)) < 1e-6);
});

server('tokens are text again', async () => {
  const { tokens } = (await (await running.post('/tokenize', { content: 'Once upon a time' })).json()) as { tokens: number[] };
  const { content } = (await (await running.post('/detokenize', { tokens })).json()) as { content: string };
  assert.match(content, /Once upon a time/);
});

server('a long prompt read in steps says the same as one that is there already', async () => {
  const prompt = 'Lily went to the park and played with her friend. '.repeat(60);
  const ask = () => client.completions.create({ model: 'stories', prompt, temperature: 0, max_tokens: 20 });
  const first = await ask();
  const second = await ask();
  assert.ok((first.usage?.prompt_tokens ?? 0) > 3 * 128);
  assert.is(second.choices[0]?.text, first.choices[0]?.text);
  assert.is(second.usage?.prompt_tokens_details?.cached_tokens, (first.usage?.prompt_tokens ?? 0) - 1);
});

server('a streamed call of a tool is put together by its client', async () => {
  const tools = [
    { type: 'function' as const, function: { name: 'weather', parameters: { type: 'object', properties: { place: { $ref: '#/$defs/place' } }, required: ['place'], $defs: { place: { enum: ['Here "}"', 'There'] } } } } },
    { type: 'function' as const, function: { name: 'time', parameters: { type: 'object', properties: {}, additionalProperties: false } } },
  ];
  const stream = client.chat.completions.stream({ model: 'stories', messages: tell, temperature: 0, max_tokens: 200, tools, tool_choice: { type: 'function', function: { name: 'weather' } } });
  let pieces = 0;
  for await (const chunk of stream) if (chunk.choices[0]?.delta.tool_calls !== undefined) pieces += 1;
  const choice = (await stream.finalChatCompletion()).choices[0];
  const call = choice?.message.tool_calls?.[0];
  assert.ok(pieces > 2, 'the arguments came in pieces');
  assert.is(choice?.finish_reason, 'tool_calls');
  assert.ok(call?.type === 'function' && call.function.name === 'weather' && ['Here "}"', 'There'].includes((JSON.parse(call.function.arguments) as { place: string }).place));
  // What the tool answered goes back into the conversation.
  const after = await client.chat.completions.create({ model: 'stories', messages: [...tell, { role: 'assistant', tool_calls: [call!] }, { role: 'tool', tool_call_id: call!.id, content: 'sunny' }], tools, max_tokens: 5 });
  assert.ok((after.usage?.prompt_tokens ?? 0) > 20);
});

server('a call that max_tokens cuts is told as cut, and is not delivered as one', async () => {
  const tools = [{ type: 'function' as const, function: { name: 'weather', parameters: { type: 'object', properties: { place: { enum: ['a name that is long enough to be cut somewhere in its midst, '.repeat(10)] } }, required: ['place'] } } }];
  const asked = { model: 'stories', messages: tell, temperature: 0, tools, tool_choice: 'required' as const, max_tokens: 80 };
  const whole = (await client.chat.completions.create(asked)).choices[0];
  assert.equal([whole?.finish_reason, whole?.message.tool_calls, whole?.message.content], ['length', undefined, '']);
  let finish: string | null | undefined = null;
  let args = '';
  for await (const { choices: [choice] } of await client.chat.completions.create({ ...asked, stream: true })) {
    finish = choice?.finish_reason ?? finish;
    args += choice?.delta.tool_calls?.[0]?.function?.arguments ?? '';
  }
  assert.is(finish, 'length');
  assert.ok(args.length > 0, 'it was cut within its arguments');
  assert.throws(() => JSON.parse(args) as unknown);
});

server('telemetry counts what was done', async () => {
  const before = await running.figures();
  await client.completions.create({ model: 'stories', prompt: 'Once', max_tokens: 7, temperature: 0 });
  await client.embeddings.create({ model: 'vectors', input: ['a', 'b'] });
  while ((await running.figures())['active'] !== 0) await pause();
  const after = await running.figures();
  assert.is(after['completion_tokens']! - before['completion_tokens']!, 7);
  assert.is(after['embedded_texts']! - before['embedded_texts']!, 2);
  assert.ok(Object.values(after).every(Number.isFinite));
});

server.after(() => servers.close());

if (haveFixtures()) server.run();
else {
  const skipped = suite('llmserver (skipped)');
  skipped('no fixtures', () => undefined);
  skipped.run();
}

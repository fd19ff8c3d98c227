// The real server on the bundled model, asked as programs ask it.
import OpenAI from 'openai';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { atLength, INBOUND, MINI, openServers, pause, type Running } from './test-server.ts';

const server = suite('llmserver');
const servers = openServers();
let running: Running;
let client: OpenAI;
const tell = [{ role: 'user' as const, content: 'How do I add a model?' }];

server.before(async () => {
  running = await servers.start(['--model', MINI, '--alias', 'mini']);
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
  assert.equal(models.map((model) => model.id), ['mini']);
  assert.ok((models[0]?.meta.n_ctx ?? 0) > 0);
});

server('an answer at temperature 0 is the same whole, streamed, and again', async () => {
  const asked = { model: 'mini', messages: tell, temperature: 0, max_tokens: 60 };
  const whole = await client.chat.completions.create(asked);
  const text = whole.choices[0]?.message.content ?? '';
  assert.match(text, /models:/);
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

server('a seed makes chance repeatable, another one another text', async () => {
  // The words of a system, which no model learned to say: they may be any, for no word is too unlikely.
  const anything = { model: 'mini', prompt: '<|im_start|>system\n', temperature: 2, top_p: 1, min_p: 0, max_tokens: 40 };
  const ask = async (seed: number): Promise<string> => (await client.completions.create({ ...anything, seed })).choices[0]?.text ?? '';
  assert.is(await ask(7), await ask(7));
  assert.ok(new Set(await Promise.all([7, 8, 9, 10].map(ask))).size > 1);
  // Without a seed chance is chance, also within one second.
  const free = await Promise.all([1, 2, 3, 4].map(async () => (await client.completions.create(anything)).choices[0]?.text));
  assert.ok(new Set(free).size > 1);
});

server('ends before a stop string', async () => {
  const whole = (await client.chat.completions.create({ model: 'mini', messages: tell, temperature: 0, max_tokens: 60 })).choices[0]?.message.content ?? '';
  const stop = whole.slice(20, 26);
  const cut = (await client.chat.completions.create({ model: 'mini', messages: tell, temperature: 0, max_tokens: 60, stop })).choices[0];
  assert.is(cut?.message.content, whole.slice(0, whole.indexOf(stop)));
  assert.is(cut?.finish_reason, 'stop');
});

server('a schema and a forced tool leave the model no choice', async () => {
  const schema = { type: 'object', properties: { kind: { enum: ['a', 'b'] }, sure: { type: 'boolean' } }, required: ['kind', 'sure'], additionalProperties: false };
  const answer = await client.chat.completions.create({ model: 'mini', messages: tell, temperature: 0, max_tokens: 200, response_format: { type: 'json_schema', json_schema: { name: 'x', schema } } });
  const value = JSON.parse(answer.choices[0]?.message.content ?? '') as { kind: string; sure: boolean };
  assert.ok(['a', 'b'].includes(value.kind) && typeof value.sure === 'boolean');
  const tools = [{ type: 'function' as const, function: { name: 'choose', parameters: { type: 'object', properties: { kind: { enum: ['x', 'y'] } }, required: ['kind'] } } }];
  const called = (await client.chat.completions.create({ model: 'mini', messages: tell, max_tokens: 200, tools, tool_choice: 'required' })).choices[0];
  const call = called?.message.tool_calls?.[0];
  assert.is(called?.finish_reason, 'tool_calls');
  assert.ok(call?.type === 'function' && call.function.name === 'choose' && ['x', 'y'].includes((JSON.parse(call.function.arguments) as { kind: string }).kind));
});

server('a model that calls by itself writes the same call when it must', async () => {
  const tools = [{ type: 'function' as const, function: { name: 'get_weather', description: 'The weather in a city right now.', parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] } } }];
  const asked = { model: 'mini', messages: [{ role: 'user' as const, content: 'What is the weather in Berlin?' }], temperature: 0, max_tokens: 200, tools };
  for (const choice of ['auto', 'required', { type: 'function', function: { name: 'get_weather' } }] as const) {
    const { finish_reason: finish, message } = (await client.chat.completions.create({ ...asked, tool_choice: choice })).choices[0]!;
    const call = message.tool_calls?.[0];
    assert.is(finish, 'tool_calls', JSON.stringify(choice));
    assert.ok(call?.type === 'function');
    assert.equal([call.function.name, JSON.parse(call.function.arguments)], ['get_weather', { city: 'Berlin' }], JSON.stringify(choice));
  }
});

server('a call that a model begins by itself is one of a tool that is offered, with what that tool takes', async () => {
  // bkg-mini would call get_weather with nothing but a city.
  const parameters = { type: 'object', properties: { unit: { enum: ['celsius'] }, place: { enum: ['here', 'there'] } }, required: ['unit', 'place'] };
  const messages = [{ role: 'user' as const, content: 'What is the weather in Berlin?' }];
  for (const name of ['get_weather', 'weather_of']) {
    const tools = [{ type: 'function' as const, function: { name, description: 'The weather in a city right now.', parameters } }];
    const { finish_reason: finish, message } = (await client.chat.completions.create({ model: 'mini', messages, temperature: 0, max_tokens: 200, tools })).choices[0]!;
    const call = message.tool_calls?.[0];
    assert.is(finish, 'tool_calls', name);
    assert.ok(call?.type === 'function' && call.function.name === name);
    const { unit, place } = JSON.parse(call.function.arguments) as { unit: string; place: string };
    assert.ok(unit === 'celsius' && ['here', 'there'].includes(place));
  }
});

server('parameters that no grammar can say leave a model to call as it will', async () => {
  const tools = [{ type: 'function' as const, function: { name: 'get_weather', description: 'The weather in a city right now.', parameters: { type: 'object', properties: { city: { $ref: '#/$defs/none' } }, required: ['city'] } } }];
  const { message } = (await client.chat.completions.create({ model: 'mini', messages: [{ role: 'user', content: 'What is the weather in Berlin?' }], temperature: 0, max_tokens: 200, tools })).choices[0]!;
  const call = message.tool_calls?.[0];
  assert.ok(call?.type === 'function' && call.function.name === 'get_weather');
  assert.equal(JSON.parse(call.function.arguments), { city: 'Berlin' });
});

server('four at once each get their own answer', async () => {
  const ask = async (content: string): Promise<string> => (await client.chat.completions.create({ model: 'mini', messages: [{ role: 'user', content }], temperature: 0, max_tokens: 50 })).choices[0]?.message.content ?? '';
  const questions = ['What is drift?', 'How do I add a model?', 'Hello!', 'What is drift?'];
  const alone: string[] = [];
  for (const question of questions) alone.push(await ask(question));
  assert.is(new Set(alone).size, 3);
  assert.equal(await Promise.all(questions.map(ask)), alone);
});

server('tokens are text again', async () => {
  const { tokens } = (await (await running.post('/tokenize', { content: 'Once upon a time' })).json()) as { tokens: number[] };
  const { content } = (await (await running.post('/detokenize', { tokens })).json()) as { content: string };
  assert.match(content, /Once upon a time/);
});

server('a long prompt read in steps says the same as one that is there already', async () => {
  const prompt = 'Lily went to the park and played with her friend. '.repeat(30);
  const ask = () => client.completions.create({ model: 'mini', prompt, temperature: 0, max_tokens: 20 });
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
  const stream = client.chat.completions.stream({ model: 'mini', messages: tell, temperature: 0, max_tokens: 200, tools, tool_choice: { type: 'function', function: { name: 'weather' } } });
  let pieces = 0;
  for await (const chunk of stream) if (chunk.choices[0]?.delta.tool_calls !== undefined) pieces += 1;
  const choice = (await stream.finalChatCompletion()).choices[0];
  const call = choice?.message.tool_calls?.[0];
  assert.ok(pieces > 2, 'the arguments came in pieces');
  assert.is(choice?.finish_reason, 'tool_calls');
  assert.ok(call?.type === 'function' && call.function.name === 'weather' && ['Here "}"', 'There'].includes((JSON.parse(call.function.arguments) as { place: string }).place));
  // What the tool answered goes back into the conversation.
  const after = await client.chat.completions.create({ model: 'mini', messages: [...tell, { role: 'assistant', tool_calls: [call!] }, { role: 'tool', tool_call_id: call!.id, content: 'sunny' }], tools, max_tokens: 5 });
  assert.ok((after.usage?.prompt_tokens ?? 0) > 20);
});

server('a call that max_tokens cuts is told as cut, and is not delivered as one', async () => {
  const tools = [{ type: 'function' as const, function: { name: 'weather', parameters: { type: 'object', properties: { place: { enum: ['a name that is long enough to be cut somewhere in its midst, '.repeat(10)] } }, required: ['place'] } } }];
  const asked = { model: 'mini', messages: tell, temperature: 0, tools, tool_choice: 'required' as const, max_tokens: 80 };
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
  await (await running.post('/v1/chat/completions', { ...atLength(100), max_tokens: 7 })).text();
  while ((await running.figures())['active'] !== 0) await pause();
  const after = await running.figures();
  assert.is(after['completion_tokens']! - before['completion_tokens']!, 7);
  assert.ok(Object.values(after).every(Number.isFinite));
});

server.after(() => servers.close());
server.run();

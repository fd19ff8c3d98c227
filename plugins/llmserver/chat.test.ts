// How a chat answer ends: whole and streamed alike, a call that was cut is never passed off as one to run.
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import OpenAI from 'openai';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { chat } from './chat.ts';
import type { Engine } from './engine.ts';
import type { Generated, GenerateOrder } from './generate.ts';
import type { Body } from './requests.ts';

/** An engine that writes what the test says, in small pieces, and ends as it says. */
const engineOf = (answer: string, finish: Generated['finish']): Engine => ({
  llama: { createGrammar: () => Promise.resolve({}) },
  template: { render: () => 'prompt', takesTools: true },
  sampling: {},
  tokenizePrompt: () => [1],
  generate(order: GenerateOrder): Promise<Generated> {
    for (let at = 0; at < answer.length; at += 3) order.onText(answer.slice(at, at + 3));
    return Promise.resolve({ finish, promptTokens: 1, cachedTokens: 0, completionTokens: 9 });
  },
}) as unknown as Engine;

type Way = { readonly answer: string; readonly finish: Generated['finish']; readonly forced: boolean };
type End = { readonly finish: string | null; readonly content: string; readonly calls: readonly { readonly name: string; readonly args: string }[] };

const tools = [{ type: 'function' as const, function: { name: 'weather', parameters: { type: 'object', properties: { place: { type: 'string' } } } } }];

/** The end of the answer as OpenAI's own client reads it. */
async function ask({ answer, finish, forced }: Way): Promise<{ readonly whole: End; readonly streamed: End }> {
  const server = createServer((request, response: ServerResponse) => {
    let text = '';
    request.on('data', (chunk: Buffer) => { text += chunk.toString(); });
    request.on('end', () => { void chat({ engine: engineOf(answer, finish), name: 'm', body: JSON.parse(text) as Body, response, signal: new AbortController().signal }); });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = new OpenAI({ baseURL: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, apiKey: 'none', maxRetries: 0 });
  const body = { model: 'm', messages: [{ role: 'user' as const, content: 'Rain?' }], tools, tool_choice: forced ? 'required' as const : 'auto' as const };
  try {
    const one = (await client.chat.completions.create(body)).choices[0]!;
    const calls = (one.message.tool_calls ?? []).map((call) => (call.type === 'function' ? { name: call.function.name, args: call.function.arguments } : { name: '', args: '' }));
    const whole = { finish: one.finish_reason, content: one.message.content ?? '', calls };
    const streamed = { finish: null as string | null, content: '', calls: [] as { name: string; args: string }[] };
    for await (const { choices: [choice] } of await client.chat.completions.create({ ...body, stream: true })) {
      streamed.finish = choice?.finish_reason ?? streamed.finish;
      streamed.content += choice?.delta.content ?? '';
      for (const { index, function: piece } of choice?.delta.tool_calls ?? []) {
        const call = (streamed.calls[index] ??= { name: '', args: '' });
        call.name += piece?.name ?? '';
        call.args += piece?.arguments ?? '';
      }
    }
    return { whole, streamed };
  } finally {
    server.close();
    server.closeAllConnections();
  }
}

const FORCED = '{"name": "weather", "arguments": {"place": "There"}}';
const MARKED = `<tool_call>${FORCED}</tool_call>`;
const called = { finish: 'tool_calls', content: '', calls: [{ name: 'weather', args: '{"place": "There"}' }] };
const cut = { finish: 'length', content: '', calls: [] };

test('a call that ended by itself is one to run', async () => {
  assert.equal(await ask({ answer: FORCED, finish: 'stop', forced: true }), { whole: called, streamed: called });
  const marked = { ...called, calls: [{ name: 'weather', args: '{"place":"There"}' }] };
  assert.equal(await ask({ answer: MARKED, finish: 'stop', forced: false }), { whole: marked, streamed: marked });
});

test('a forced call that was cut: left out of the whole answer; what was streamed of it is told to be cut', async () => {
  const answer = FORCED.slice(0, -5);
  assert.equal(await ask({ answer, finish: 'length', forced: true }), { whole: cut, streamed: { ...cut, calls: [{ name: 'weather', args: '{"place": "The' }] } });
  assert.equal(await ask({ answer: '{"name": "wea', finish: 'length', forced: true }), { whole: cut, streamed: cut });
});

test('a forced call whose arguments have ended is whole, whatever room was left for what closes it', async () => {
  assert.equal(await ask({ answer: FORCED.slice(0, -1), finish: 'length', forced: true }), { whole: called, streamed: called });
});

test('a free call that was cut is neither call nor text', async () => {
  for (const answer of ['<tool_call>{"name": "weather", "argum', '{"name": "weather", "parameters": {"pla', '[TOOL_CALLS][{"name": "wea']) {
    assert.equal(await ask({ answer, finish: 'length', forced: false }), { whole: cut, streamed: cut }, answer);
  }
  const said = { ...cut, content: 'Let me see. ' };
  assert.equal(await ask({ answer: 'Let me see. <tool_call>{"name": "weather"', finish: 'length', forced: false }), { whole: said, streamed: said });
});

test('of several free calls the whole ones are delivered, and the cut is told', async () => {
  const end = { finish: 'length', content: '', calls: [{ name: 'weather', args: '{"place":"There"}' }] };
  for (const rest of ['<tool_call>{"name": "weat', '']) assert.equal(await ask({ answer: MARKED + rest, finish: 'length', forced: false }), { whole: end, streamed: end });
});

test('text that was cut is text', async () => {
  for (const answer of ['It rains, and', '{"Lily": ', '[1, 2']) {
    const end = { finish: 'length', content: answer, calls: [] };
    assert.equal(await ask({ answer, finish: 'length', forced: false }), { whole: end, streamed: end });
  }
});

test.run();

// The real server on real models, asked as programs ask it.
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import OpenAI from 'openai';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

const here = dirname(fileURLToPath(import.meta.url));
const fixtures = process.env['BKG_FIXTURES'] ?? join(here, '../../../shared/fixtures');
const STORIES = join(fixtures, 'text/stories260K-chat.gguf');
const EMBEDDING = join(fixtures, 'embedding/static-bge-glove-114d');
const READY_WITHIN_MS = 60_000;
const INBOUND = 'inbound-of-the-test';

const data = mkdtempSync(join(tmpdir(), 'llmserver-'));
const children: ChildProcess[] = [];

const freePort = (): Promise<number> => new Promise((resolve) => {
  const server = createServer().listen(0, '127.0.0.1', () => {
    const { port } = server.address() as { readonly port: number };
    server.close(() => resolve(port));
  });
});

type Running = { readonly url: string; readonly child: ChildProcess; readonly output: () => string };

async function start(flags: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Running> {
  const port = await freePort();
  const child = spawn(process.execPath, [join(here, 'main.ts'), '--port', String(port), ...flags], { env: { PATH: process.env['PATH'] ?? '', HOME: data, BKG_DATA: data, BKG_INBOUND: INBOUND, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  children.push(child);
  let output = '';
  child.stdout?.on('data', (chunk) => { output += String(chunk); });
  child.stderr?.on('data', (chunk) => { output += String(chunk); });
  const url = `http://127.0.0.1:${port}`;
  for (const end = Date.now() + READY_WITHIN_MS; Date.now() < end && child.exitCode === null && child.signalCode === null; ) {
    const health = await fetch(`${url}/health`).catch(() => null);
    if (health?.status === 200) return { url, child, output: () => output };
    await new Promise((resolve) => { setTimeout(resolve, 50); });
  }
  throw new Error(`not ready: ${output}`);
}

const ended = (child: ChildProcess): Promise<number | null> => new Promise((resolve) => {
  if (child.exitCode !== null || child.signalCode !== null) resolve(child.exitCode);
  else child.once('exit', resolve);
});

const server = suite('llmserver');
let running: Running;
let client: OpenAI;
const post = (path: string, body: unknown, signal?: AbortSignal): Promise<Response> =>
  fetch(running.url + path, { method: 'POST', body: typeof body === 'string' ? body : JSON.stringify(body), headers: { authorization: `Bearer ${INBOUND}` }, ...(signal === undefined ? {} : { signal }) });
const codeOf = async (response: Response): Promise<readonly [number, string]> => [response.status, ((await response.json()) as { readonly error: { readonly code: string } }).error.code];
const figures = async (): Promise<Record<string, number>> => (await fetch(`${running.url}/telemetry`, { headers: { authorization: `Bearer ${INBOUND}` } })).json() as Promise<Record<string, number>>;
const tell = [{ role: 'user' as const, content: 'Tell me a story' }];

server.before(async () => {
  const embedding = join(EMBEDDING, readdirSync(EMBEDDING).find((name) => name.endsWith('.gguf'))!);
  const config = join(data, 'config.json');
  writeFileSync(config, JSON.stringify({ parallel: 4, queue: 2 }));
  running = await start(['--model', STORIES, '--alias', 'stories', '--embedding-model', embedding, '--embedding-alias', 'vectors'], { BKG_CONFIG: config });
  client = new OpenAI({ baseURL: `${running.url}/v1`, apiKey: INBOUND, maxRetries: 0 });
});

server('lists its models with their context', async () => {
  const models = (await client.models.list()).data as unknown as { id: string; meta: { n_ctx: number } }[];
  assert.equal(models.map((model) => model.id), ['stories', 'vectors']);
  assert.ok((models[0]?.meta.n_ctx ?? 0) > 0);
});

server('a story at temperature 0 is the same whole, streamed, and again', async () => {
  const asked = { model: 'stories', messages: tell, temperature: 0, max_tokens: 40 };
  const whole = await client.chat.completions.create(asked);
  const text = whole.choices[0]?.message.content ?? '';
  assert.match(text, /[a-z]+ [a-z]+ [a-z]+/i);
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

server('continues a text as its training did', async () => {
  const done = await client.completions.create({ model: 'stories', prompt: 'Once upon a time', temperature: 0, max_tokens: 30 });
  assert.match(done.choices[0]?.text ?? '', /there was a little/);
});

server('a seed makes chance repeatable, another one another text', async () => {
  const ask = async (seed: number): Promise<string> => (await client.chat.completions.create({ model: 'stories', messages: tell, temperature: 1, seed, max_tokens: 40 })).choices[0]?.message.content ?? '';
  assert.is(await ask(7), await ask(7));
  assert.is.not(await ask(7), await ask(8));
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
  const packed = (await (await post('/v1/embeddings', { input: input[0], encoding_format: 'base64' })).json()) as { data: { embedding: string }[] };
  const floats = new Float32Array(new Uint8Array(Buffer.from(packed.data[0]?.embedding ?? '', 'base64')).buffer);
  assert.ok(Math.abs((floats[0] ?? 0) - (cat[0] ?? 1)) < 1e-6);
});

server('a client that goes away stops its answer; a full queue says come again', async () => {
  const leave = new AbortController();
  const long = { messages: tell, max_tokens: 100_000, temperature: 1, stream: true, seed: 1 };
  const streams = await Promise.all([1, 2, 3, 4].map((seed) => post('/v1/completions', { prompt: 'Once', ...long, seed, messages: undefined }, leave.signal)));
  const waiting = [5, 6].map((seed) => post('/v1/completions', { prompt: 'Once', seed, max_tokens: 100_000, stream: true }, leave.signal).catch(() => null));
  while ((await figures())['waiting'] !== 2 && (await figures())['active'] === 4) await new Promise((resolve) => { setTimeout(resolve, 5); });
  if ((await figures())['active'] === 4 && (await figures())['waiting'] === 2) {
    const refused = await post('/v1/completions', { prompt: 'Once' });
    if (refused.status === 429) assert.ok(Number(refused.headers.get('retry-after')) >= 1);
  }
  leave.abort();
  await Promise.all([...waiting, ...streams.map((response) => response.text().catch(() => null))]);
  for (;;) {
    const now = await figures();
    if (now['active'] === 0 && now['waiting'] === 0) break;
    await new Promise((resolve) => { setTimeout(resolve, 10); });
  }
});

server('says what is wrong with a request, with its field', async () => {
  assert.equal(await codeOf(await post('/v1/chat/completions', '{"messages": [')), [400, 'invalid_json']);
  assert.equal(await codeOf(await post('/v1/chat/completions', { messages: [] })), [400, 'invalid_request']);
  assert.equal(await codeOf(await post('/v1/chat/completions', { messages: tell, temperature: 9 })), [400, 'invalid_request']);
  assert.equal(await codeOf(await post('/v1/chat/completions', { messages: tell, n: 2 })), [400, 'invalid_request']);
  assert.equal(await codeOf(await post('/v1/completions', { prompt: 'word '.repeat(20_000) })), [400, 'context_length_exceeded']);
  assert.equal(await codeOf(await post('/nowhere', {})), [404, 'unknown_url']);
  const refused = await fetch(`${running.url}/v1/models`);
  assert.equal(await codeOf(refused), [401, 'invalid_api_key']);
});

server('tokens are text again', async () => {
  const { tokens } = (await (await post('/tokenize', { content: 'Once upon a time' })).json()) as { tokens: number[] };
  const { content } = (await (await post('/detokenize', { tokens })).json()) as { content: string };
  assert.match(content, /Once upon a time/);
});

server('without a model it says so and makes nothing up; told to finish, it finishes', async () => {
  const bare = await start([]);
  const answer = await fetch(`${bare.url}/v1/chat/completions`, { method: 'POST', body: JSON.stringify({ messages: tell }), headers: { authorization: `Bearer ${INBOUND}` } });
  assert.equal(await codeOf(answer), [503, 'model_not_loaded']);
  bare.child.kill('SIGTERM');
  assert.is(await ended(bare.child), 0);
});

server('a damaged or missing model ends it with a line that says why', async () => {
  const broken = join(data, 'broken.gguf');
  writeFileSync(broken, 'GGUF and then a good deal of nonsense');
  await start(['--model', broken]).then(() => assert.unreachable('it started'), (error: Error) => assert.match(error.message, /is damaged/));
  await start(['--model', join(data, 'nowhere.gguf')]).then(() => assert.unreachable('it started'), (error: Error) => assert.match(error.message, /does not exist/));
});

server.after(async () => {
  for (const child of children) child.kill('SIGKILL');
  await Promise.all(children.map(ended));
  rmSync(data, { recursive: true, force: true });
});

if (existsSync(STORIES)) server.run();
else {
  console.log('skipped: the fixture models are not here (BKG_FIXTURES)');
  const skipped = suite('llmserver (skipped)');
  skipped('no fixtures', () => undefined);
  skipped.run();
}

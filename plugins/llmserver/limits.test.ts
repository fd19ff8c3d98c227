// What the server refuses, and how it ends: wrong requests, full queues, clients that leave, models that are no models.
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { atLength, codeOf, ended, MINI, openServers, pause, type Running } from './test-server.ts';

const limits = suite('llmserver limits');
const servers = openServers();
const CONTEXT = 256;
const tell = [{ role: 'user', content: 'Tell me a story' }];
const config = join(servers.folder, 'config.json');
let running: Running;

/** As bkg writes it: beside, then renamed. */
function configure(settings: unknown): void {
  writeFileSync(`${config}.new`, JSON.stringify(settings));
  renameSync(`${config}.new`, config);
}

limits.before(async () => {
  configure({ parallel: 1, queue: 0, contextSize: 2048 });
  running = await servers.start(['--model', MINI, '--context-size', String(CONTEXT)], { BKG_CONFIG: config });
});

limits('flags win over the file', async () => {
  const { tokens } = (await (await running.post('/tokenize', { content: 'word '.repeat(CONTEXT) })).json()) as { readonly tokens: readonly number[] };
  const refused = await running.post('/v1/completions', { prompt: tokens });
  assert.is(refused.status, 400);
  const { error } = (await refused.json()) as { readonly error: { readonly code: string; readonly message: string } };
  assert.is(error.code, 'context_length_exceeded');
  assert.match(error.message, new RegExp(`${tokens.length} tokens.* ${CONTEXT}`));
});

limits('an answer ends where the context ends', async () => {
  const answer = (await (await running.post('/v1/chat/completions', { ...atLength(CONTEXT), max_tokens: 100_000 })).json()) as { readonly usage: { readonly total_tokens: number } };
  assert.is(answer.usage.total_tokens, CONTEXT);
});

limits('says what is wrong with a request, with its field', async () => {
  const chat = (more: object) => running.post('/v1/chat/completions', { messages: tell, max_tokens: 5, ...more });
  const cases: readonly (readonly [Promise<Response>, number, string, string | null])[] = [
    [running.post('/v1/chat/completions', '{"messages": ['), 400, 'invalid_json', null],
    [running.post('/v1/chat/completions', '[]'), 400, 'invalid_json', null],
    [chat({ messages: [] }), 400, 'invalid_request', 'messages'],
    [chat({ messages: [null] }), 400, 'invalid_request', 'messages[0].role'],
    [chat({ messages: [{ role: 'user', content: 5 }] }), 400, 'invalid_request', 'messages[0].content'],
    [chat({ messages: [{ role: 'user', content: [{ type: 'image_url' }] }] }), 400, 'invalid_request', 'messages[0].content'],
    [chat({ messages: [{ role: 'assistant', tool_calls: [5] }] }), 400, 'invalid_request', 'messages[0].tool_calls'],
    [chat({ messages: [{ role: 'user', content: 'word '.repeat(20_000) }] }), 400, 'context_length_exceeded', 'messages'],
    [chat({ temperature: 9 }), 400, 'invalid_request', 'temperature'],
    [chat({ seed: 'x' }), 400, 'invalid_request', 'seed'],
    [chat({ max_tokens: 0 }), 400, 'invalid_request', 'max_tokens'],
    [chat({ stop: [''] }), 400, 'invalid_request', 'stop'],
    [chat({ n: 2 }), 400, 'invalid_request', 'n'],
    [chat({ logprobs: true }), 400, 'invalid_request', 'logprobs'],
    [chat({ tools: [{}] }), 400, 'invalid_request', 'tools'],
    [chat({ tool_choice: 'required' }), 400, 'invalid_request', 'tool_choice'],
    [chat({ response_format: { type: 'xml' } }), 400, 'invalid_request', 'response_format'],
    [chat({ response_format: { type: 'json_schema', json_schema: { schema: { $ref: '#' } } } }), 400, 'invalid_request', 'response_format'],
    [running.post('/v1/completions', { prompt: 7 }), 400, 'invalid_request', 'prompt'],
    [running.post('/v1/completions', { prompt: [999_999] }), 400, 'invalid_request', 'prompt'],
    [running.post('/detokenize', { tokens: [999_999] }), 400, 'invalid_request', 'tokens'],
    [running.post('/detokenize', { tokens: [-1] }), 400, 'invalid_request', 'tokens'],
    [running.post('/nowhere', {}), 404, 'unknown_url', null],
    [fetch(`${running.url}/v1/models`), 401, 'invalid_api_key', null],
    [fetch(`${running.url}/v1/models`, { headers: { authorization: 'Bearer wrong' } }), 401, 'invalid_api_key', null],
    [running.post('/tokenize', `"${'a'.repeat(33 * 1024 * 1024)}"`), 413, 'request_too_large', null],
  ];
  for (const [response, ...expected] of cases) assert.equal(await codeOf(await response), expected);
  assert.is((await fetch(`${running.url}/health`)).status, 200);
});

limits('a full queue says come again; a longer one, given while it runs, takes all', async () => {
  const six = (): Promise<readonly Response[]> => Promise.all([1, 2, 3, 4, 5, 6].map((seed) => running.post('/v1/chat/completions', { ...atLength(150), seed, max_tokens: 200 })));
  const answers = await six();
  const refused = answers.find((answer) => answer.status === 429);
  assert.ok(answers.some((answer) => answer.status === 200));
  assert.ok(refused !== undefined && Number(refused.headers.get('retry-after')) >= 1);
  assert.is((await codeOf(refused))[1], 'queue_full');
  configure({ parallel: 1, queue: 64, maxTokens: 3 });
  while (!running.output().includes('new settings are in use')) await pause();
  assert.equal((await six()).map((answer) => answer.status), [200, 200, 200, 200, 200, 200]);
  const short = (await (await running.post('/v1/chat/completions', atLength(50))).json()) as { readonly usage: { readonly completion_tokens: number } };
  assert.is(short.usage.completion_tokens, 3);
  configure('nonsense');
  while (!running.output().includes('the new settings are not used')) await pause();
  assert.is((await running.post('/v1/completions', { prompt: 'Once' })).status, 200);
});

limits('clients that go away stop their answers, begun or waiting', async () => {
  const leave = new AbortController();
  const done = async (): Promise<number> => (await running.figures())['completion_tokens']!;
  const before = await done();
  const rounds = Array.from({ length: 40 }, (_, seed) => running.post('/v1/chat/completions', { ...atLength(150), seed, max_tokens: 200, stream: true }, leave.signal).then((response) => response.text()).catch(() => 'left'));
  while ((await running.figures())['waiting']! < 30) await pause();
  leave.abort();
  const ends = await Promise.all(rounds);
  assert.ok(ends.filter((end) => end === 'left').length >= 30);
  for (let now = await running.figures(); now['active'] !== 0 || now['waiting'] !== 0; now = await running.figures()) await pause();
  assert.ok((await done()) - before < 20 * 200, 'nobody wrote for those who had left');
});

limits('told to finish, it finishes what it has begun', async () => {
  const other = await servers.start(['--model', MINI]);
  const response = await other.post('/v1/chat/completions', { ...atLength(150), max_tokens: 300, stream: true });
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let text = (await reader.read()).value ?? '';
  other.child.kill('SIGTERM');
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) text += piece.value;
  assert.ok(text.trimEnd().endsWith('data: [DONE]'));
  assert.is(await ended(other.child), 0);
});

limits('without a model it says so and makes nothing up', async () => {
  const bare = await servers.start([]);
  assert.equal(await (await fetch(`${bare.url}/health`)).json(), { status: 'no_model' });
  for (const [path, body] of [['/v1/chat/completions', { messages: tell }], ['/v1/completions', { prompt: 'a' }], ['/v1/embeddings', { input: 'a' }], ['/tokenize', { content: 'a' }]] as const) {
    assert.equal((await codeOf(await bare.post(path, body))).slice(0, 2), [503, 'model_not_loaded']);
  }
  bare.child.kill('SIGTERM');
  assert.is(await ended(bare.child), 0);
});

limits('what cannot be loaded ends it with a line that says why', async () => {
  const broken = join(servers.folder, 'broken.gguf');
  const ends = async (flags: readonly string[], why: RegExp): Promise<void> => servers.start(flags).then(() => assert.unreachable('it started'), (error: Error) => assert.match(error.message, why));
  writeFileSync(broken, 'GGUF and then a good deal of nonsense');
  await ends(['--model', broken], /ended with 78.*is damaged/s);
  writeFileSync(broken, readFileSync(MINI).subarray(0, 300_000));
  await ends(['--model', broken], /ended with 1:.*could not be loaded/s);
  await ends(['--model', join(servers.folder, 'nowhere.gguf')], /ended with 78.*does not exist/s);
  await ends(['--model', MINI, '--prompt-template', 'nope'], /ended with 78.*no prompt template \\"nope\\"/s);
  await ends(['--model', MINI, '--gpu', 'vulkan'], /ended with 78.*gpu: vulkan cannot be used here/s);
  await ends(['--parallel', 'many'], /ended with 78.*parallel must be a whole number/s);
});

limits.after(() => servers.close());
limits.run();

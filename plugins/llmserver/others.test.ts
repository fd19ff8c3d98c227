// Models that others made: one continues a text as its training did, one embeds.
import OpenAI from 'openai';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { codeOf, EMBEDDING, haveFixtures, INBOUND, openServers, pause, STORIES, type Running } from './test-server.ts';

const others = suite('models of others');
const servers = openServers();
let running: Running;
let client: OpenAI;
const STORY = 'Once upon a time, there was a little girl named Lily. She loved to play outside in the park.';

others.before(async () => {
  running = await servers.start(['--model', STORIES, '--alias', 'stories', '--embedding-model', EMBEDDING, '--embedding-alias', 'vectors']);
  client = new OpenAI({ baseURL: `${running.url}/v1`, apiKey: INBOUND, maxRetries: 0 });
});

others('lists both with their context', async () => {
  const models = (await client.models.list()).data as unknown as { id: string; meta: { n_ctx: number } }[];
  assert.equal(models.map((model) => model.id), ['stories', 'vectors']);
  assert.ok(models.every((model) => model.meta.n_ctx > 0));
});

others('continues a text as its training did, also one that has not begun', async () => {
  for (const prompt of ['', 'Once upon a time']) {
    const done = await client.completions.create({ model: 'stories', prompt, temperature: 0, max_tokens: 60 });
    assert.is(`${prompt}${done.choices[0]?.text}`.slice(0, STORY.length), STORY);
  }
});

others('embeds texts: like ones lie closer; base64 says the same', async () => {
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

others('says what is wrong with a text to embed', async () => {
  const cases: readonly (readonly [object, number, string, string | null])[] = [
    [{ input: '' }, 400, 'invalid_request', 'input'],
    [{ input: [[999_999]] }, 400, 'invalid_request', 'input'],
    [{ input: 'word '.repeat(5_000) }, 400, 'context_length_exceeded', 'input'],
    [{ input: 'a', dimensions: 3 }, 400, 'invalid_request', 'dimensions'],
    [{ input: 'a', encoding_format: 'x' }, 400, 'invalid_request', 'encoding_format'],
  ];
  for (const [body, ...expected] of cases) assert.equal(await codeOf(await running.post('/v1/embeddings', body)), expected);
});

others('telemetry counts what was embedded', async () => {
  const before = await running.figures();
  await client.embeddings.create({ model: 'vectors', input: ['a', 'b'] });
  while ((await running.figures())['active'] !== 0) await pause();
  assert.is((await running.figures())['embedded_texts']! - before['embedded_texts']!, 2);
});

others.after(() => servers.close());

if (haveFixtures()) others.run();
else {
  const skipped = suite('models of others (skipped)');
  skipped('no fixtures', () => undefined);
  skipped.run();
}

// The main job on a real model: bkg.yaml in, an answer of the bundled model out through the openai client, whole and streamed.
import OpenAI from 'openai';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { appliance, bundled, INSTALLS, reaches, until } from './appliance.ts';

test('the default file answers through the openai client, from the model that comes along', async () => {
  const house = await appliance({ yaml: bundled(), env: INSTALLS });
  try {
    await reaches(house, 'llmserver', 'running');
    const client = new OpenAI({ baseURL: `${house.url}/v1`, apiKey: house.token });
    const models = await client.models.list();
    assert.ok(models.data.some((one) => one.id === 'mini'), JSON.stringify(models.data));
    const ask = { model: 'mini', messages: [{ role: 'user' as const, content: 'How do I add a model?' }] };
    const whole = await client.chat.completions.create(ask);
    const answer = whole.choices[0]?.message.content ?? '';
    assert.match(answer, /```yaml\nmodels:\n {2}\S+:.*source: hf:/s);
    assert.is(whole.choices[0]?.finish_reason, 'stop');
    assert.ok((whole.usage?.completion_tokens ?? 0) > 15);

    let streamed = '';
    let pieces = 0;
    let usage = null;
    for await (const chunk of await client.chat.completions.create({ ...ask, stream: true, stream_options: { include_usage: true } })) {
      const piece = chunk.choices[0]?.delta.content ?? '';
      streamed += piece;
      if (piece !== '') pieces += 1;
      usage = chunk.usage ?? usage;
    }
    assert.is(streamed, answer);
    assert.ok(pieces > 5, `${pieces} pieces`);
    assert.equal(usage, whole.usage === undefined ? null : { ...usage, completion_tokens: whole.usage.completion_tokens });
    const { telemetry } = await until('the requests are counted', async () => { const found = await house.plugin('llmserver'); return found.telemetry.requests >= 2 ? found : null; });
    assert.is(telemetry.errors, 0);
    const refused = await client.chat.completions.create({ ...ask, model: 'no-such-model' }).then(() => null, (error: { status: number }) => error.status);
    assert.is(refused, 404);
  } finally {
    assert.equal(await house.dispose(), []);
  }
});

test('without its model the plugin waits and says so; nobody gets canned text', async () => {
  const house = await appliance({ yaml: bundled().replace(/file:\S+\.gguf/, 'file:no-such.gguf') });
  try {
    const waiting = await until('the condition names the model', async () => { const found = await house.plugin('llmserver'); return found.conditions.some((one) => /mini/.test(one.message) && one.status === 'False') ? found : null; });
    assert.is(waiting.pid, null);
    const { status, body } = await house.ask('/v1/chat/completions', { method: 'POST', body: { model: 'mini', messages: [{ role: 'user', content: 'hi' }] } });
    assert.is(status, 503);
    assert.type((body as { error: { message: string } }).error.message, 'string');
  } finally {
    assert.equal(await house.dispose(), []);
  }
});

test('while a new model is not there, the one that runs goes on under its own name only', async () => {
  let house = await appliance({ yaml: bundled(), env: INSTALLS });
  try {
    await reaches(house, 'llmserver', 'running');
    const ask = (model: string) => house.ask('/v1/chat/completions', { method: 'POST', body: { model, max_tokens: 5, messages: [{ role: 'user', content: 'hi' }] } });
    assert.is((await ask('mini')).status, 200);
    house.save(bundled().replace('chat: mini', 'chat: other').replace('models:\n', 'models:\n  other: { source: file:no-such.gguf }\n'));
    const refused = await until('the new name is known, and says what it waits for', async () => { const found = await ask('other'); return found.status === 503 ? found : null; });
    assert.match((refused.body as { error: { message: string } }).error.message, /without the model "other"/);
    const { status, body } = await ask('mini');
    assert.equal([status, (body as { model: string }).model], [200, 'mini']);
    // The next bkg knows it too.
    await house.end('SIGUSR2');
    house = await house.again();
    const after = await until('it was taken over', async () => { const found = await house.ask('/v1/chat/completions', { method: 'POST', body: { model: 'mini', max_tokens: 5, messages: [{ role: 'user', content: 'hi' }] } }); return found.status === 200 ? found : null; });
    assert.is((after.body as { model: string }).model, 'mini');
  } finally {
    assert.equal(await house.dispose(), []);
  }
});

test.run();

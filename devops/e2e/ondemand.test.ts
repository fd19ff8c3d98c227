// An on-demand plugin sleeps until the first request, answers it, and is stopped again after its quiet time.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { appliance, reaches, until } from './appliance.ts';

const yaml = `version: 1
models:
  numbers: { source: "file:numbers.txt" }
plugins:
  sleeper: { use: ./plugins/echo, state: ondemand, idle: 2s, models: { chat: numbers } }
  slow:
    state: ondemand
    idle: 1s
    manifest:
      run: [node, -e, "setTimeout(() => require('http').createServer((q, a) => a.end('{}')).listen(process.env.BKG_PORT, '127.0.0.1'), 2500)"]
      ready: { http: /health }
      capabilities: { test.slow: { http: POST /slow } }
`;

test('the first request wakes it and is answered; after its quiet time it sleeps, and wakes again', async () => {
  const house = await appliance({ yaml, files: { 'numbers.txt': 'a file that stands in for a model; the fixture reads none\n' } });
  try {
    await until('it is asleep', async () => (await house.plugin('sleeper')).status === 'stopped');
    for (const round of [1, 2]) {
      const { status, body } = await house.ask('/v1/chat/completions', { method: 'POST', body: { model: 'numbers', messages: [{ role: 'user', content: 'count' }] } });
      assert.is(status, 200, `${round}: ${JSON.stringify(body)}`);
      assert.is((body as { choices: { message: { content: string } }[] }).choices[0]?.message.content, 'chunk-0;');
      assert.is((await house.plugin('sleeper')).status, 'running');
      const asleep = await reaches(house, 'sleeper', 'stopped');
      assert.is(asleep.pid, null);
    }
  } finally {
    assert.equal(await house.dispose(), []);
  }
});

test('one that takes longer to start than its idle time is waited for', async () => {
  const house = await appliance({ yaml, files: { 'numbers.txt': 'x' } });
  try {
    const { status, body } = await house.ask('/api/plugins/slow/invoke', { method: 'POST', body: { capability: 'test.slow', input: {} } });
    assert.is(status, 200, JSON.stringify(body));
    await reaches(house, 'slow', 'stopped');
    assert.is((await house.ask('/api/plugins/slow/start', { method: 'POST' })).status, 200);
    assert.is((await house.plugin('slow')).telemetry.restarts, 0);
  } finally {
    assert.equal(await house.dispose(), []);
  }
});

test.run();

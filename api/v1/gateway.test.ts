// Tests of the data plane's decisions: who is let in, who is waited for, and what is said when nobody can answer.
import OpenAI from 'openai';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { send, TOKEN, until } from '../testing/doors.ts';
import { answerJson, errorOf, model, openEngine, openPlane, parsed, QUESTION, routeTo, say, withPlane, type Seen } from '../testing/plane.ts';
import { MAX_BODY_BYTES } from './body.ts';

test('without the right key nobody is asked', () => withPlane({ routes: (port) => [routeTo(port)] }, async ({ plane, engine }) => {
  const ask = (token: string | null) => send(plane.port, '/v1/chat/completions', { method: 'POST', token, body: JSON.stringify(QUESTION) });
  assert.is((await ask(null)).status, 401);
  const wrong = await ask('wrong');
  assert.is(wrong.status, 401);
  assert.is(errorOf(wrong.text)['code'], 'invalid_api_key');
  assert.is(errorOf(wrong.text)['type'], 'authentication_error');
  assert.is((await ask(TOKEN)).status, 200);
  assert.is((await ask(`${TOKEN}x`)).status, 401, 'also after the right one was remembered');
  assert.is(engine.seen.length, 1);
}));

test('what is no request is told so', () => withPlane({ routes: (port) => [routeTo(port)] }, async ({ plane, engine }) => {
  const bodies: readonly (readonly [string, string])[] = [['{"a":', 'invalid_json'], ['', 'invalid_json'], ['[1]', 'invalid_json'], ['null', 'invalid_json'], ['{"model":3}', 'invalid_type'], ['{"stream":"yes"}', 'invalid_type']];
  for (const [body, code] of bodies) {
    const heard = await say(plane.port, body);
    assert.is(heard.status, 400, body);
    assert.is(errorOf(heard.bytes.toString())['code'], code, body);
  }
  const get = await send(plane.port, '/v1/chat/completions');
  assert.is(get.status, 405);
  assert.is(get.headers['allow'], 'POST');
  assert.is(errorOf((await send(plane.port, '/v1/nothing', { method: 'POST' })).text)['code'], 'unknown_url');
  const large = await say(plane.port, `{"x":"${'x'.repeat(MAX_BODY_BYTES)}"}`);
  assert.is(large.status, 413);
  assert.is(errorOf(large.bytes.toString())['code'], 'request_too_large');
  assert.is(engine.seen.length, 0);
}));

test('a sleeping plugin is woken and answers when it is ready', async () => {
  const engine = await openEngine((response) => answerJson(response, { awake: true }));
  const asleep = routeTo(null, { plugin: 'sleeper', state: 'asleep' });
  const plane = await openPlane([asleep]);
  try {
    const heard = say(plane.port, QUESTION);
    await until(() => plane.leases.length === 1, 'the request waits, which wakes it');
    plane.show([{ ...asleep, state: 'starting' }]);
    assert.equal(plane.leases[0]?.at, [null]);
    plane.show([{ ...asleep, state: 'ready', port: engine.port }]);
    assert.equal(parsed(await heard), { awake: true });
    assert.equal(plane.leases, [{ plugin: 'sleeper', at: [null, 'inc'], ends: 1, error: null }]);
  } finally {
    await plane.close();
    await engine.close();
  }
});

test('a process that is not there any more is not asked again: its successor is waited for', async () => {
  const engine = await openEngine((response) => answerJson(response, { by: 'successor' }));
  const nobody = await openEngine(() => undefined);
  const { port } = nobody;
  await nobody.close();
  const route = routeTo(port, { incarnation: 'old' });
  const plane = await openPlane([route]);
  try {
    const heard = say(plane.port, QUESTION);
    await until(() => plane.leases[0]?.at.length === 2, 'it was refused, and waits');
    // The same table again is no successor; neither is one that only begins.
    plane.show([route]);
    plane.show([{ ...route, state: 'starting', incarnation: null, port: null }]);
    plane.show([{ ...route, incarnation: 'new', port: engine.port }]);
    assert.equal(parsed(await heard), { by: 'successor' });
    assert.equal(plane.leases, [{ plugin: route.plugin, at: ['old', null, 'new'], ends: 1, error: null }]);
    assert.is(plane.usage()[0]?.requests, 1);
  } finally {
    await plane.close();
    await engine.close();
  }
});

test('a request whose model goes to another plugin while it waits is counted and limited there', async () => {
  const engine = await openEngine((response) => answerJson(response, { by: 'other' }));
  const asleep = routeTo(null, { plugin: 'first-of-two', state: 'asleep' });
  const plane = await openPlane([asleep]);
  try {
    const heard = say(plane.port, QUESTION);
    await until(() => plane.leases.length === 1, 'the request waits');
    plane.show([routeTo(engine.port, { plugin: 'second-of-two', incarnation: 'i2', limits: { requestsPerMinute: 7, concurrent: null } })]);
    const answer = await heard;
    assert.equal(parsed(answer), { by: 'other' });
    assert.is(answer.headers['x-ratelimit-limit-requests'], '7');
    await until(() => plane.leases.every((lease) => lease.ends === 1), 'both are ended');
    assert.equal(plane.leases.map(({ plugin, at, error }) => [plugin, at, error]), [['first-of-two', [null], null], ['second-of-two', ['i2'], null]]);
  } finally {
    await plane.close();
    await engine.close();
  }
});

test('a plugin that is down, or goes down while it is waited for, is a 503 with the reason', async () => {
  const down = routeTo(null, { plugin: 'broken', state: 'down', why: 'Its binary is missing.' });
  const plane = await openPlane([down]);
  const look = async (answer: ReturnType<typeof say>): Promise<void> => {
    const heard = await answer;
    assert.is(heard.status, 503);
    assert.ok(Number(heard.headers['retry-after']) > 0);
    const error = errorOf(heard.bytes.toString());
    assert.is(error['code'], 'plugin_not_ready');
    assert.is(error['message'], 'broken cannot answer now. Its binary is missing.');
  };
  try {
    await look(say(plane.port, QUESTION));
    plane.show([{ ...down, state: 'asleep', why: null }]);
    const waiting = say(plane.port, QUESTION);
    await until(() => plane.leases.length === 2, 'the request waits');
    plane.show([down]);
    await look(waiting);
    const error = 'broken cannot answer now. Its binary is missing.';
    assert.equal(plane.leases, [{ plugin: 'broken', at: [null], ends: 1, error }, { plugin: 'broken', at: [null], ends: 1, error }]);
  } finally {
    await plane.close();
  }
});

test('a client that goes while its plugin wakes gives its place back', async () => {
  const engine = await openEngine((response) => answerJson(response, {}));
  const asleep = routeTo(null, { state: 'asleep', limits: { requestsPerMinute: null, concurrent: 1 } });
  const plane = await openPlane([asleep]);
  try {
    const gone = say(plane.port, QUESTION, { onRequest: (request) => { void until(() => plane.leases.length === 1, 'it waits').then(() => request.destroy()); } });
    assert.is(await gone.then(() => 'answered', () => 'gone'), 'gone');
    plane.show([{ ...asleep, state: 'ready', port: engine.port }]);
    let status = 429;
    for (const end = performance.now() + 10_000; status === 429 && performance.now() < end;) ({ status } = await say(plane.port, QUESTION));
    assert.is(status, 200);
    await until(() => plane.leases.every((lease) => lease.ends === 1), 'every lease is ended once');
  } finally {
    await plane.close();
    await engine.close();
  }
});

test('beyond its limit a plugin is not asked: 429 with the figures', () => withPlane({ routes: (port) => [routeTo(port, { limits: { requestsPerMinute: 2, concurrent: null } })] }, async ({ plane, engine }) => {
  const first = await say(plane.port, QUESTION);
  assert.is(first.headers['x-ratelimit-limit-requests'], '2');
  assert.is(first.headers['x-ratelimit-remaining-requests'], '1');
  await say(plane.port, QUESTION);
  const no = await say(plane.port, QUESTION);
  assert.is(no.status, 429);
  assert.is(errorOf(no.bytes.toString())['type'], 'rate_limit_error');
  assert.is(no.headers['x-ratelimit-remaining-requests'], '0');
  assert.match(no.headers['x-ratelimit-reset-requests'] as string, /^\d+s$/);
  assert.ok(Number(no.headers['retry-after']) > 0);
  assert.is(engine.seen.length, 2);
}));

test('what was used is counted per key and plugin, failures too', () => withPlane({
  routes: (port) => [routeTo(port, { plugin: 'counted' })],
  answer: (response, seen: Seen) => answerJson(response, seen.body['fail'] === true ? { error: { message: 'no' } } : { usage: { prompt_tokens: 3, completion_tokens: 4 } }, seen.body['fail'] === true ? 500 : 200),
}, async ({ plane }) => {
  await say(plane.port, QUESTION);
  await say(plane.port, QUESTION);
  assert.is((await say(plane.port, { ...QUESTION, fail: true })).status, 500);
  const { latency_ms, ...account } = plane.usage()[0]!;
  assert.equal(account, { key: 'admin.token', plugin: 'counted', requests: 3, errors: 1, promptTokens: 6, completionTokens: 8 });
  assert.ok(latency_ms > 0);
  assert.equal(plane.leases.map((lease) => lease.error), [null, null, 'answered 500']);
}));

test('who leaves a stream pays for what came and for the prompt; an engine that breaks off is paid for what came', () => withPlane({
  routes: (port) => [routeTo(port, { plugin: 'counted' })],
  answer: (response, seen: Seen) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    // As engines do that were asked for usage: every event but the last says null.
    for (let word = 0; word < 5; word += 1) response.write(`data: ${JSON.stringify({ choices: [{ index: 0, delta: { content: 'word' } }], usage: null })}\n\n`);
    if (seen.body['breaks'] === true) setTimeout(() => response.destroy(), 100);
  },
}, async ({ plane }) => {
  const asked = { ...QUESTION, stream: true, padding: 'x'.repeat(400) };
  const leaving = new AbortController();
  const sent = await fetch(`http://127.0.0.1:${plane.port}/v1/chat/completions`, { method: 'POST', headers: { authorization: `Bearer ${TOKEN}` }, body: JSON.stringify(asked), signal: leaving.signal });
  let came = '';
  for await (const chunk of sent.body!.pipeThrough(new TextDecoderStream()) as unknown as AsyncIterable<string>) {
    came += chunk;
    if (came.split('\n\n').length > 5) break;
  }
  leaving.abort();
  await until(() => plane.house.accounts.length === 1, 'it is accounted');
  const [left] = plane.house.accounts;
  assert.is(left!.status, 499);
  assert.is(left!.completionTokens, 5);
  assert.ok(left!.promptTokens > 100 && left!.promptTokens < 300, String(left!.promptTokens));
  await say(plane.port, { ...asked, breaks: true }).catch(() => undefined);
  await until(() => plane.house.accounts.length === 2, 'it is accounted');
  const failed = plane.house.accounts[1]!;
  assert.equal([failed.promptTokens, failed.completionTokens], [0, 5]);
}));

test('the openai client streams through it', () => withPlane({
  routes: (port) => [routeTo(port, { models: [model('small')] })],
  answer: (response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    for (const word of ['grüß', ' dich', ' 🙂']) response.write(`data: ${JSON.stringify({ choices: [{ index: 0, delta: { content: word } }] })}\n\n`);
    response.end(`data: ${JSON.stringify({ choices: [], usage: { prompt_tokens: 5, completion_tokens: 3 } })}\n\ndata: [DONE]\n\n`);
  },
}, async ({ plane, engine }) => {
  const client = new OpenAI({ baseURL: `http://127.0.0.1:${plane.port}/v1`, apiKey: TOKEN, maxRetries: 0 });
  let text = '';
  for await (const chunk of await client.chat.completions.create({ model: 'small', stream: true, messages: [{ role: 'user', content: 'hello' }] })) text += chunk.choices[0]!.delta.content;
  assert.is(text, 'grüß dich 🙂');
  assert.is(engine.seen[0]!.path, '/v1/chat/completions');
  await until(() => plane.usage().length === 1, 'it is accounted');
  assert.is(plane.usage()[0]!.completionTokens, 3);
}));

test.run();

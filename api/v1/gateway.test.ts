// Tests of the data plane's decisions: who is let in, which engine answers, and what is said when none can.
import OpenAI from 'openai';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Route } from '../../reconciler/index.ts';
import { send, TOKEN, until } from '../testing/doors.ts';
import { answerJson, chat, openEngine, openPlane, parsed, routeTo, say, type Engine, type Plane, type Seen } from '../testing/plane.ts';
import { capability } from '../testing/house.ts';
import { MAX_BODY_BYTES } from './body.ts';

const QUESTION = { messages: [{ role: 'user', content: 'hello' }] };
const model = (name: string, serves = ['llm.chat'], state: 'served' | 'coming' | 'missing' = 'served') => ({ name, role: 'chat', serves, state });
const errorOf = (text: string): Record<string, unknown> => (JSON.parse(text) as { error: Record<string, unknown> }).error;

type Made = { readonly engine: Engine; readonly plane: Plane };
type Wanted = { readonly routes: (port: number) => readonly Route[]; readonly answer?: Parameters<typeof openEngine>[0] };

/** An engine that says who was asked for what, unless told otherwise; everything is closed after the test. */
async function withPlane(wanted: Wanted, run: (made: Made) => Promise<void>): Promise<void> {
  const engine = await openEngine(wanted.answer ?? ((response, seen) => answerJson(response, { model: seen.body['model'] ?? null, as: seen.authorization, usage: { prompt_tokens: 3, completion_tokens: 4 } })));
  const plane = await openPlane(wanted.routes(engine.port));
  try {
    await run({ engine, plane });
    assert.ok(plane.leases.every((lease) => lease.ends === 1), `every lease is ended once: ${JSON.stringify(plane.leases)}`);
  } finally {
    await plane.close();
    await engine.close();
  }
}

test('a model, a plugin and plugin/model lead to the engine that has it, under its own name', () => withPlane({
  routes: (port) => [
    routeTo(port, { plugin: 'first', inbound: 'of-first', models: [model('small'), model('other')] }),
    routeTo(port, { plugin: 'second', inbound: 'of-second', models: [model('large'), model('small')] }),
  ],
}, async ({ plane }) => {
  const cases: readonly (readonly [string | null | undefined, string, string])[] = [
    [undefined, 'of-first', 'small'], [null, 'of-first', 'small'], ['small', 'of-first', 'small'], ['other', 'of-first', 'other'], ['large', 'of-second', 'large'],
    ['first', 'of-first', 'small'], ['second', 'of-second', 'large'], ['second/small', 'of-second', 'small'], ['first/other', 'of-first', 'other'],
  ];
  for (const [asked, as, name] of cases) {
    const heard = await say(plane.port, asked === undefined ? QUESTION : { ...QUESTION, model: asked });
    assert.is(heard.status, 200, String(asked));
    assert.is(parsed(heard)['as'], `Bearer ${as}`, String(asked));
    assert.is(parsed(heard)['model'], name, String(asked));
  }
  assert.is(plane.leases.length, cases.length);
  assert.is(plane.leases.filter((lease) => lease.plugin === 'second').length, 3);
}));

test('a plugin without models gets the body byte for byte', async () => {
  const body = '{"messages": [ ],  "temperature":0.10, "model":"bare" }';
  let got = '';
  const engine = await openEngine((response, seen) => { got = seen.text; answerJson(response, {}); });
  const plane = await openPlane([routeTo(engine.port, { plugin: 'bare', models: [] })]);
  try {
    assert.is((await say(plane.port, body)).status, 200);
    assert.is(got, body);
    assert.is((await say(plane.port, { ...QUESTION, x: 1 })).status, 200);
    assert.is(got, JSON.stringify({ ...QUESTION, x: 1 }));
  } finally {
    await plane.close();
    await engine.close();
  }
});

test('another name for the model changes that member and not a byte beside it', () => withPlane({ routes: (port) => [routeTo(port, { plugin: 'renamed' })] }, async ({ plane, engine }) => {
  const rest = '"seed": 12345678901234567890, "temperature":0.10,\t"messages": [{"content": "a \\"model\\": {} \\\\"}]';
  await say(plane.port, `{ "model" : "renamed", ${rest} }`);
  assert.is(engine.seen[0]!.text, `{ "model" : "small", ${rest} }`);
  await say(plane.port, `{${rest}}`);
  assert.is(engine.seen[1]!.text, `{"model":"small",${rest}}`);
  await say(plane.port, `{"mod\\u0065l":"renamed/small","stream":true,"stream_options":{"x":1}, ${rest}}`);
  assert.is(engine.seen[2]!.text, `{"mod\\u0065l":"small","stream":true,"stream_options":{"x":1,"include_usage":true}, ${rest}}`);
  await say(plane.port, '{}');
  assert.is(engine.seen[3]!.text, '{"model":"small"}');
}));

test('a model that bears the name of a plugin is the one that is listed', () => withPlane({
  routes: (port) => [routeTo(port, { plugin: 'twin', inbound: 'of-plugin', models: [model('its')] }), routeTo(port, { plugin: 'other', inbound: 'of-model', models: [model('twin')] })],
}, async ({ plane }) => {
  assert.is(parsed(await say(plane.port, { ...QUESTION, model: 'twin' }))['as'], 'Bearer of-model');
  assert.is(parsed(await say(plane.port, { ...QUESTION, model: 'twin/its' }))['as'], 'Bearer of-plugin');
}));

test('a name that is down at one plugin is answered by the next that has it', () => withPlane({
  routes: (port) => [routeTo(null, { plugin: 'gone', state: 'down', models: [model('shared')] }), routeTo(port, { plugin: 'there', models: [model('shared')] })],
}, async ({ plane }) => {
  assert.is((await say(plane.port, { ...QUESTION, model: 'shared' })).status, 200);
  assert.equal(plane.leases.map((lease) => lease.plugin), ['there']);
}));

test('a process goes on with its model until the next one is there, and answers for no other', () => withPlane({
  routes: (port) => [routeTo(port, { plugin: 'steady', models: [model('small'), model('large', ['llm.chat'], 'missing')] })],
}, async ({ plane, engine }) => {
  assert.is((await say(plane.port, { ...QUESTION, model: 'small' })).status, 200);
  const { model: _, ...unnamed } = { model: 'small', ...QUESTION };
  assert.is((await say(plane.port, unnamed)).status, 200, 'nobody in particular is the one that runs');
  const heard = await say(plane.port, { ...QUESTION, model: 'large' });
  assert.is(heard.status, 503);
  const error = errorOf(heard.bytes.toString());
  assert.is(error['code'], 'plugin_not_ready');
  assert.match(error['message'] as string, /goes on without the model "large"/);
  assert.is(engine.seen.length, 2);
  const list = await send(plane.port, '/v1/models');
  assert.equal((list.body['data'] as { id: string; bkg: { state: string } }[]).map((one) => [one.id, one.bkg.state]), [['small', 'ready'], ['large', 'down']]);
}));

test('a model that the next process has is waited for', () => withPlane({
  routes: (port) => [routeTo(port, { plugin: 'changing', models: [model('old'), model('new', ['llm.chat'], 'coming')] })],
}, async ({ plane, engine }) => {
  const asked = say(plane.port, { ...QUESTION, model: 'new' });
  await new Promise((resolve) => { setTimeout(resolve, 50); });
  assert.is(engine.seen.length, 0);
  plane.show([routeTo(engine.port, { plugin: 'changing', incarnation: 'next', models: [model('new')] })]);
  assert.is((await asked).status, 200);
}));

test('an unknown model is a 404 that says what there is', () => withPlane({
  routes: (port) => [routeTo(port, { models: [model('small'), model('embedder', ['llm.embed'])], capabilities: [chat, capability('llm.embed')] })],
}, async ({ plane, engine }) => {
  const heard = await say(plane.port, { ...QUESTION, model: 'gpt-9' });
  assert.is(heard.status, 404);
  const error = errorOf(heard.bytes.toString());
  assert.is(error['code'], 'model_not_found');
  assert.is(error['param'], 'model');
  assert.is(error['type'], 'invalid_request_error');
  assert.is(error['message'], 'There is no model "gpt-9". Known here: small.');
  assert.match(errorOf((await say(plane.port, QUESTION, { path: '/v1/completions' })).bytes.toString())['message'] as string, 'No declared plugin offers llm.complete');
  assert.is(engine.seen.length, 0);
  assert.is(plane.leases.length, 0);
}));

test('models are listed and found one by one', () => withPlane({ routes: (port) => [routeTo(port, { plugin: 'lister', models: [model('org/one two'), model('two')] })] }, async ({ plane }) => {
  const list = await send(plane.port, '/v1/models');
  assert.equal((list.body['data'] as { id: string; owned_by: string }[]).map((one) => [one.id, one.owned_by]), [['org/one two', 'lister'], ['two', 'lister']]);
  assert.is((await send(plane.port, '/v1/models/org%2Fone%20two')).body['id'], 'org/one two');
  assert.is((await send(plane.port, '/v1/models/three')).status, 404);
  assert.is((await send(plane.port, '/v1/models/%zz')).status, 404, 'a broken escape is only a name nobody has');
  assert.is((await send(plane.port, '/v1/models', { method: 'POST' })).status, 405);
}));

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
    assert.is(plane.gateway.usage()[0]?.requests, 1);
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
  const { latency_ms, ...account } = plane.gateway.usage()[0]!;
  assert.equal(account, { key: 'admin', plugin: 'counted', requests: 3, errors: 1, promptTokens: 6, completionTokens: 8 });
  assert.ok(latency_ms > 0);
  assert.equal(plane.leases.map((lease) => lease.error), [null, null, 'answered 500']);
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
  await until(() => plane.gateway.usage().length === 1, 'it is accounted');
  assert.is(plane.gateway.usage()[0]!.completionTokens, 3);
}));

test.run();

// Tests of who answers for which name: models, plugins, and models that are on their way.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Snapshot } from '../../reconciler/index.ts';
import { send } from '../testing/doors.ts';
import { capability } from '../testing/house.ts';
import { answerJson, chat, errorOf, model, openEngine, openPlane, parsed, QUESTION, routeTo, say, withPlane } from '../testing/plane.ts';
import { tables } from './table.ts';

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

test('who reaches one plugin finds the models of that one, whoever else has them', () => {
  const routes = [routeTo(1, { plugin: 'first', models: [model('shared'), model('its')] }), routeTo(null, { plugin: 'second', state: 'down', models: [model('shared')] })];
  const table = tables(() => ({ routes }) as unknown as Snapshot)();
  const found = (name: string | null, plugins: readonly string[] | null): string | undefined => table.find('llm.chat', name, plugins)?.route.plugin;
  assert.equal([found('shared', null), found('shared', ['second']), found('shared', ['first', 'second']), found(null, ['second'])], ['first', 'second', 'first', 'second']);
  assert.is(found('its', ['second']), 'first', 'what is out of reach is told as that');
  assert.equal(table.modelsFor((plugin) => plugin === 'second').map(({ id, plugin }) => [id, plugin]), [['shared', 'second']]);
  assert.equal(table.modelsFor(() => true).map(({ id, plugin }) => [id, plugin]), [['shared', 'first'], ['its', 'first']]);
});

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

test.run();

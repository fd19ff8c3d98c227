// What plugins may ask of bkg itself over the bus, for whom, and that nobody climbs by way of a plugin.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { JsonObject } from '../reconciler/index.ts';
import { type Asking, openAsking, PASSWORD, said } from './testing/asking.ts';
import { type Reply, TOKEN } from './testing/doors.ts';

const test = suite('house calls');
let here: Asking;
test.before(async () => { here = await openAsking(); });
test.after(() => here.close());
test.before.each(() => here.begin());

test('a key is made with the rights and in the name of who called, as the admin API makes it', async () => {
  const anna = await here.key('boss', 'anna', ['*']);
  const made = await here.through(anna, 'house.createKey', { id: 'ci', scopes: ['llm.chat'] });
  assert.equal([made.status, made.body['id'], made.body['user']], [201, 'ci', 'anna']);
  assert.match(String(made.body['key']), /^bkg_ci_\w{43}$/);
  assert.equal(here.doors.patches[0]!.actor, { name: 'key boss', source: 'plugin', address: '127.0.0.1' });
  assert.is((await here.doors.send('/auth/me', { token: String(made.body['key']) })).status, 200);
  const listed = await here.through(anna, 'house.listKeys', {});
  assert.equal((listed.body['keys'] as readonly { readonly id: string }[]).map(({ id }) => id), ['boss', 'ci']);
  assert.not.match(listed.text, here.state.people.keys['ci']!.hash);
  const rotated = await here.through(anna, 'house.rotateKey', { id: 'ci', overlap: '0s' });
  assert.is(rotated.status, 200);
  assert.is((await here.doors.send('/auth/me', { token: String(made.body['key']) })).status, 401);
  assert.is((await here.doors.send('/auth/me', { token: String(rotated.body['key']) })).status, 200);
  assert.equal((await here.through(anna, 'house.revokeKey', { id: 'ci' })).body['revoked'], true);
  assert.is((await here.doors.send('/auth/me', { token: String(rotated.body['key']) })).status, 401);
  assert.is((await here.through(anna, 'house.audit', { action: 'key.', limit: 5 })).status, 200);
  assert.equal(said(await here.through(TOKEN, 'house.createKey', { id: 'own', user: 'dev', scopes: ['llm.chat'] })), [201, undefined]);
  for (const secret of [made.body['key'], rotated.body['key'], anna]) assert.not.match(here.doors.logged.join('\n'), String(secret));
});

test('nobody climbs: the right is that of who called, whatever the plugin is granted', async () => {
  const dev = await here.key('dev', 'dev', ['*']);
  const poor = await here.key('poor', 'dev', ['work.do']);
  assert.equal(said(await here.through(dev, 'house.createKey', { id: 'a', scopes: ['users.write'] })), [403, 'ScopeMissing']);
  assert.equal(said(await here.through(dev, 'house.createKey', { id: 'a', user: 'anna', scopes: ['llm.chat'] })), [403, 'ScopeMissing']);
  assert.equal(said(await here.through(dev, 'house.audit', {})), [403, 'ScopeMissing']);
  assert.equal(said(await here.through(poor, 'house.createKey', { id: 'a', scopes: ['work.do'] })), [403, 'ScopeMissing']);
  assert.equal(said(await here.through(poor, 'house.listKeys', {})), [403, 'ScopeMissing']);
  const near = await here.key('near', 'dev', ['work.do', 'keys.write'], { plugins: ['caller'] });
  assert.equal(said(await here.through(near, 'house.createKey', { id: 'a', scopes: ['work.do'] })), [403, 'ScopeMissing']);
  assert.is((await here.through(near, 'house.createKey', { id: 'a', scopes: ['work.do'], plugins: ['caller'] })).status, 201);
  here.grant({ caller: ['*', 'keys.write', 'users.write'] });
  assert.equal(said(await here.through(poor, 'house.createKey', { id: 'b', scopes: ['work.do'] })), [403, 'ScopeMissing']);
  assert.equal(said(await here.ask('house.createKey', { id: 'b', user: 'anna', scopes: ['work.do'] })), [403, 'CallerMissing']);
  assert.equal(Object.keys(here.state.people.keys), ['dev', 'poor', 'near', 'a']);
});

test('without a grant nothing is asked, and a plugin by itself changes nothing', async () => {
  here.grant({ caller: ['house.validate'] });
  const refused = await here.through(TOKEN, 'house.createKey', { scopes: ['llm.chat'] });
  assert.equal(said(refused), [403, 'NotGranted']);
  assert.match(String(refused.body['detail']), 'plugins.caller.grants: [house.validate, house.createKey]');
  here.grant({ caller: ['house.*'] });
  for (const house of ['createKey', 'rotateKey', 'revokeKey', 'listKeys', 'audit']) {
    const alone = await here.ask(`house.${house}`, house === 'createKey' ? { scopes: ['llm.chat'] } : house.startsWith('r') ? { id: 'x' } : {});
    assert.equal(said(alone), [403, 'CallerMissing'], house);
    assert.match(String(alone.body['detail']), 'x-bkg-caller');
  }
  // It is called by another plugin that was called by nobody.
  here.grant({ caller: ['other.do'], echo: ['house.createKey'] });
  here.state.work = (name) => here.ask('house.createKey', { id: 'a', user: 'anna', scopes: ['llm.chat'] }, { name, token: 'token-of-echo' });
  assert.equal(said(await here.ask('other.do', {})), [403, 'CallerMissing']);
  assert.is(here.doors.patches.length, 0);
});

test('signing in needs no caller; a wrong password is counted and written down', async () => {
  const signed = await here.ask('house.login', { user: 'anna', password: PASSWORD });
  assert.is(signed.status, 200);
  assert.is(signed.headers['set-cookie'], undefined);
  assert.equal(here.doors.audited.at(-1), { actor: 'anna', source: 'plugin', address: 'plugin caller', action: 'login', target: 'anna' });
  assert.equal(said(await here.ask('house.login', { user: 'anna', password: 'something else' })), [401, 'LoginWrong']);
  assert.equal([here.doors.audited.at(-1)!.outcome, here.doors.audited.at(-1)!.address], ['refused', 'plugin caller']);
  assert.equal(said(await here.through(TOKEN, 'house.login', { user: 'anna', password: 'something else' })), [401, 'LoginWrong']);
  assert.is(here.doors.audited.at(-1)!.address, '127.0.0.1', 'on who called, where that is known');
  assert.equal(said(await here.ask('house.login', { user: 'anna', password: PASSWORD, cookie: true })), [403, 'OriginForeign']);
  const token = String(signed.body['access_token']);
  const valid = (await here.ask('house.validate', { token })).body as JsonObject;
  assert.equal([valid['valid'], valid['kind'], valid['name'], valid['scopes']], [true, 'user', 'anna', ['*']]);
  assert.ok(Math.abs(Date.parse(String(valid['expires'])) - Date.now() - 15 * 60_000) < 60_000);
  assert.not.match(here.doors.logged.join('\n') + JSON.stringify(here.doors.audited), PASSWORD);
});

test('what is asked wrongly is said, and nothing secret with it', async () => {
  assert.equal(said(await here.ask('house.nonsense', {})), [404, 'CapabilityUnknown']);
  assert.equal(said(await here.ask('', {}, { path: '/invoke/house.listKeys?plugin=echo' })), [404, 'CapabilityUnknown']);
  assert.equal(said(await here.ask('house.listKeys', {}, { token: 'old' })), [401, 'TokenWrong']);
  for (const [house, input] of [['listKeys', []], ['listKeys', { deep: 1 }], ['revokeKey', {}], ['revokeKey', { id: { a: 1 } }], ['revokeKey', { id: 'x', more: 1 }]] as const) {
    assert.equal(said(await here.through(TOKEN, `house.${house}`, input)), [422, 'InputInvalid'], JSON.stringify(input));
  }
  for (const input of [{}, { scopes: 'llm.chat' }, { scopes: ['llm.chat'], hash: 'x' }, JSON.parse('{"scopes": ["llm.chat"], "__proto__": {"a": 1}}') as unknown]) {
    assert.equal(said(await here.through(TOKEN, 'house.createKey', input)), [422, 'BodyInvalid'], JSON.stringify(input));
  }
  assert.equal(said(await here.through(TOKEN, 'house.revokeKey', { id: 'nobody' })), [404, 'KeyUnknown']);
  const wrong = await here.ask('house.validate', { key: 'bkg_secret', token: 12_345_678 });
  assert.equal(said(wrong), [422, 'BodyInvalid']);
  assert.not.match(wrong.text, /bkg_secret|12345678/);
});

test('a key is told as what it really may; a wrong one is a wrong try of who called', async () => {
  const own = await here.key('own', 'dev', ['llm.*', 'users.write'], { plugins: ['echo'] });
  assert.equal((await here.ask('house.validate', { key: own })).body, { valid: true, kind: 'key', name: 'key own', user: 'dev', scopes: ['llm.*'], plugins: ['echo'], expires: null });
  for (const none of [`${own}x`, 'nothing', TOKEN, 'v4.public.abc', 'bkg_nobody_x']) assert.equal((await here.ask('house.validate', { token: none })).body, { valid: false }, none);
  const fresh = await here.key('fresh', 'dev', ['llm.chat']);
  let last: Reply | null = null;
  for (let round = 0; round < 31; round += 1) last = await here.through(TOKEN, 'house.validate', { key: `bkg_own_${String(round).padStart(43, 'a')}` });
  assert.equal(said(last!), [429, 'TooManyWrongKeys']);
  assert.equal(said(await here.through(TOKEN, 'house.validate', { key: fresh })), [429, 'TooManyWrongKeys'], 'who has to wait learns nothing of a key');
  assert.is((await here.doors.send('/auth/me', { token: fresh })).status, 429);
  assert.is((await here.ask('house.validate', { key: fresh })).body['valid'], true, 'other addresses go on');
  here.revoke('fresh');
  assert.equal((await here.ask('house.validate', { key: fresh })).body, { valid: false });
});

test.run();

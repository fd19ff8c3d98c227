// The doors as declared: which addresses may be listened on and when, and what names, files and origins become.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { codes, good, run } from './resolve-sample.ts';
import type { Json, JsonObject } from './types.ts';

const HASH = `$2b$04$${'a'.repeat(53)}`;
const SOMEBODY = { users: { ana: { role: 'admin', password: { env: 'P' } } } };
const A_KEY = { keys: { ci: { user: 'ana', scopes: ['llm.chat'], hash: HASH } } };
const hostOf = (host: Json, rest: JsonObject = {}, env: Record<string, string> = {}): ReturnType<typeof run> => run({ version: 1, server: { host }, ...rest }, { env });

test('beyond this machine only when somebody could prove who they are', () => {
  for (const host of ['127.0.0.1', '::1', 'localhost', '127.1.2.3']) assert.is(hostOf(host).desired?.server.host, host);
  for (const [host, plain] of [['LocalHost', 'localhost'], ['::ffff:127.0.0.1', '127.0.0.1'], ['0:0:0:0:0:0:0:1', '::1']] as const) assert.is(hostOf(host).desired?.server.host, plain);
  for (const host of ['0.0.0.0', '::', '192.168.1.4', '2001:db8::1']) {
    const refused = hostOf(host);
    assert.is(refused.desired, null, host);
    assert.equal(codes(refused), ['OpenToAll /server/host'], host);
    assert.match(refused.problems[0]?.hint ?? '', /127\.0\.0\.1.*user has a password.*key/);
    assert.is(refused.sound?.server.host, '127.0.0.1', 'a start without a good revision is for this machine only');
    assert.is(hostOf(host, SOMEBODY).desired?.server.host, host);
    assert.is(hostOf(host, { users: { ana: { role: 'admin' } }, ...A_KEY }).desired?.server.host, host);
    assert.equal(codes(hostOf(host, { users: { ana: { role: 'admin' } } })), ['OpenToAll /server/host'], 'nobody can sign in as ana');
  }
  assert.equal(codes(hostOf('${env:HOST:-127.0.0.1}', {}, { HOST: '10.1.2.3' })), ['OpenToAll /server/host'], 'what is in force counts, not what is typed');
  assert.not.match(JSON.stringify(hostOf('${env:HOST}', {}, { HOST: '10.1.2.3' }).problems), '10.1.2.3');
});

test('people who are declared wrong are named, and open nothing meanwhile', () => {
  for (const users of [{ ana: { role: 'admn', password: { env: 'P' } } }, 7, { ana: { role: 'admin', password: { hash: '${env:GONE}' } } }]) {
    const found = hostOf('0.0.0.0', { users } as JsonObject);
    assert.is(found.desired, null);
    assert.ok(codes(found).every((code) => code.includes('/users')), codes(found).join());
    assert.is(found.sound?.server.host, '127.0.0.1');
  }
});

test('what is no address', () => {
  for (const host of ['', 'my.host', '127.0.0.256', '1127.0.0.1', 'localhost.evil.example', ' localhost', '0', '*', '[::1]', 'fe80::1%eth0']) {
    const found = hostOf(host, SOMEBODY);
    assert.equal(codes(found), ['HostNotAddress /server/host'], host);
    assert.match(found.problems[0]?.hint ?? '', /server\.names/);
    assert.is(found.sound?.server.host, '127.0.0.1');
  }
});

test('names, files and origins', () => {
  const server = { names: ['MyBox.lan', 'box'], tls: { cert: 'file:certs/tls.crt', key: '/etc/keys/tls.key' }, cors: { origins: ['https://app.example:443', 'http://app.example:80', 'http://app.example:443', '*', 'app://obsidian.md'] } };
  const { names, tls, origins } = good({ version: 1, server }).server;
  assert.equal(names, ['mybox.lan', 'box']);
  assert.equal(tls, { cert: '/etc/bkg/certs/tls.crt', key: '/etc/keys/tls.key' });
  assert.equal(origins, ['https://app.example', 'http://app.example', 'http://app.example:443', '*', 'app://obsidian.md']);
  assert.equal(good({ version: 1, server: { tls: { cert: 'file:///a/b', key: 'k' } } }).server.tls, { cert: '/a/b', key: '/etc/bkg/k' });
  assert.is(good({ version: 1, server: { tls: { cert: '${env:CERT}', key: 'k' } } }, { env: { CERT: 'file:c' } }).server.tls?.cert, '/etc/bkg/c');
});

test('what can be none of them', () => {
  const refused = (server: Json): readonly string[] => codes(run({ version: 1, server }));
  for (const name of ['my box', 'http://mybox', 'mybox:80', '*.lan', '', '-a', 'a..b', 'a.']) assert.equal(refused({ names: [name] }), ['WrongFormat /server/names/0'], name);
  for (const origin of ['https://app.example/', 'https://App.example', 'app.example', 'null', 'https://', 'https://*.example', 'https://a b', 'https://user@app.example']) assert.equal(refused({ cors: { origins: [origin] } }), ['WrongFormat /server/cors/origins/0'], origin);
  assert.equal(refused({ tls: { cert: 'a' } }), ['MissingKey /server/tls']);
  for (const cert of ['', 'file:', '-----BEGIN CERTIFICATE-----\nMII\n']) assert.equal(refused({ tls: { cert, key: 'k' } }), ['WrongFormat /server/tls/cert'], cert);
  assert.equal(refused({ cors: {} }), ['MissingKey /server/cors']);
});

test.run();

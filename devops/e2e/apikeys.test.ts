// The bundled plugin apikeys on a real appliance: what it does is done in bkg.yaml, with the rights of who calls and no others.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { appliance, reaches, until, type Answer, type Appliance } from './appliance.ts';

const PASSWORD = 'correct horse battery staple';
const yaml = `# The house of this test.
version: 1
plugins:
  apikeys: { grants: [house.*] }   # keys as capabilities
  other:
    use: ./plugins/onward
    grants: [auth.createKey]       # and nothing else

# Who lives here.
users:
  root: { role: admin, password: { env: ROOT_PASSWORD } }
  dev: { role: developer }         # no password: keys only
`;
const comments = yaml.split('\n').filter((line) => line.includes('#'));

let house: Appliance;
/** A key of the admin and one of the developer. */
let root = '';
let dev = '';

const text = (): string => readFileSync(house.config, 'utf8');
const as = (token: string, path: string, body?: unknown): Promise<Answer> => house.ask(path, { headers: { authorization: `Bearer ${token}` }, ...(body === undefined ? {} : { method: 'POST', body }) });
const invoke = (token: string, capability: string, input: unknown, plugin = 'apikeys'): Promise<Answer> => as(token, `/api/plugins/${plugin}/invoke`, { capability, input });
const bodyOf = (answer: Answer): Record<string, unknown> => answer.body as Record<string, unknown>;
const said = (answer: Answer): readonly unknown[] => [answer.status, bodyOf(answer)['code']];

async function minted(user: string, id: string): Promise<string> {
  const answer = await house.ask('/admin/api-keys', { method: 'POST', body: { user, id, scopes: ['*'] } });
  assert.is(answer.status, 201, JSON.stringify(answer.body));
  return String(bodyOf(answer)['key']);
}

/** Everything bkg and its plugins have written. */
const written = (): string => readdirSync(house.home, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).map((entry) => readFileSync(join(entry.parentPath, entry.name), 'latin1')).join('\n');

test.before(async () => {
  house = await appliance({ yaml, env: { ROOT_PASSWORD: PASSWORD } });
  await reaches(house, 'apikeys', 'running');
  await reaches(house, 'other', 'running');
  root = await minted('root', 'root-key');
  dev = await minted('dev', 'dev-key');
});
test.after(async () => {
  assert.equal(await house.dispose(), []);
});

test('a key from its making to its end', async () => {
  const made = await invoke(root, 'auth.createKey', { name: 'CI', scopes: ['config.read'] });
  assert.equal([made.status, bodyOf(made)['id'], bodyOf(made)['user']], [201, 'ci', 'root']);
  const first = String(bodyOf(made)['key']);
  assert.is((await as(first, '/api/plugins')).status, 200);
  assert.is((await as(first, '/admin/api-keys')).status, 403, 'it may what it was given');
  assert.match(text(), /^ {2}ci:/m);
  assert.not.match(text(), first.split('_')[2]!);
  for (const line of comments) assert.ok(text().includes(line), line);

  const listed = await invoke(root, 'auth.listKeys', {});
  const ci = (bodyOf(listed)['keys'] as readonly Record<string, unknown>[]).find(({ id }) => id === 'ci');
  assert.equal([ci?.['user'], ci?.['scopes'], ci?.['name']], ['root', ['config.read'], 'CI']);
  assert.not.match(JSON.stringify(listed.body), /\$2b\$|bkg_ci_/);

  const valid = bodyOf(await invoke(root, 'auth.validate', { key: first }));
  assert.equal([valid['valid'], valid['kind'], valid['user'], valid['scopes']], [true, 'key', 'root', ['config.read']]);
  assert.equal((await invoke(root, 'auth.validate', { token: `${first.slice(0, -1)}~` })).body, { valid: false });

  const rotated = await invoke(root, 'auth.rotateKey', { id: 'ci', overlap: '0s' });
  assert.is(rotated.status, 200, JSON.stringify(rotated.body));
  const second = String(bodyOf(rotated)['key']);
  assert.is((await as(first, '/api/plugins')).status, 401);
  assert.is((await as(second, '/api/plugins')).status, 200);

  const revoked = await invoke(root, 'auth.revokeKey', { id: 'ci' });
  assert.equal([revoked.status, bodyOf(revoked)['revoked']], [200, true]);
  assert.is((await as(second, '/api/plugins')).status, 401);
  assert.equal((await invoke(root, 'auth.validate', { key: second })).body, { valid: false });
  assert.not.match(text(), /^ {2}ci:/m);
  for (const line of comments) assert.ok(text().includes(line), line);

  const audit = bodyOf(await invoke(root, 'keys.audit', { limit: 3 }))['audit'] as readonly Record<string, unknown>[];
  assert.equal(audit.map(({ action, target, actor, source, address }) => [action, target, actor, source, address]), ['revoke', 'rotate', 'create'].map((deed) => [`key.${deed}`, 'ci', 'key root-key', 'plugin', '127.0.0.1']));
  for (const secret of [first, second, root]) assert.not.match(house.output() + written(), secret.split('_')[2]!);
});

test('the older names do the same', async () => {
  for (const [id, capability] of [['one', 'auth.issueKey'], ['two', 'keys.issue']] as const) assert.is((await invoke(root, capability, { id, scopes: ['llm.chat'] })).status, 201);
  assert.is((await invoke(root, 'keys.rotate', { id: 'one' })).status, 200);
  assert.equal(said(await invoke(root, 'auth.createKey', { scopes: 'llm.chat' })), [422, 'InputInvalid']);
  assert.equal(said(await invoke(root, 'auth.createKey', { id: 'NO', scopes: ['llm.chat'] })), [422, 'BodyInvalid']);
  assert.equal(said(await invoke(root, 'auth.revokeKey', { id: 'nothing' })), [404, 'KeyUnknown']);
});

test('nobody climbs by way of it', async () => {
  const before = text();
  const climbed = await invoke(dev, 'auth.createKey', { scopes: ['users.write'] });
  assert.equal(said(climbed), [403, 'ScopeMissing'], JSON.stringify(climbed.body));
  assert.equal(said(await invoke(dev, 'auth.createKey', { user: 'root', scopes: ['llm.chat'] })), [403, 'ScopeMissing']);
  assert.equal(said(await invoke(dev, 'auth.revokeKey', { id: 'root-key' })), [403, 'ScopeMissing']);
  assert.equal(said(await invoke(dev, 'auth.rotateKey', { id: 'root-key' })), [403, 'ScopeMissing']);
  assert.equal(said(await invoke(dev, 'keys.audit', {})), [403, 'ScopeMissing']);
  // By way of another plugin: called by nobody it is nobody, and what it is not granted it cannot hand on.
  const wish = { capability: 'auth.createKey', input: { user: 'root', scopes: ['llm.chat'] } };
  assert.equal(said(await invoke(root, 'test.onward', wish, 'other')), [403, 'CallerMissing']);
  assert.equal(said(await invoke(root, 'test.onward', { ...wish, pass: true }, 'other')), [403, 'ScopeMissing']);
  assert.equal(said(await invoke(root, 'test.onward', { ...wish, name: 'made-up' }, 'other')), [401, 'CallerUnknown']);
  assert.equal(said(await invoke(root, 'test.onward', { ...wish, capability: 'house.createKey', pass: true }, 'other')), [403, 'NotGranted']);
  assert.is(text(), before);
  house.save(before.replace('grants: [auth.createKey] ', 'grants: [auth.createKey, keys.write, llm.chat] '));
  // Without a process to start anew, the plugin is granted more.
  const wanted = { ...wish, input: { id: 'far', scopes: ['llm.chat'] }, pass: true };
  const far = await until('the grants are in force', async () => { const answer = await invoke(dev, 'test.onward', wanted, 'other'); return answer.status === 201 ? answer : null; });
  assert.is(bodyOf(far)['user'], 'dev');
  assert.equal(said(await invoke(dev, 'test.onward', { ...wanted, input: { scopes: ['repo.read'] } }, 'other')), [403, 'ScopeMissing']);
  assert.equal(said(await invoke(root, 'test.onward', { ...wish, pass: false }, 'other')), [403, 'CallerMissing']);
});

test('signing in by way of it, and who it was', async () => {
  assert.equal(said(await invoke(root, 'auth.login', { user: 'root', password: 'not it at all' })), [401, 'LoginWrong']);
  const signed = await invoke(root, 'auth.login', { user: 'root', password: PASSWORD });
  assert.is(signed.status, 200, JSON.stringify(signed.body));
  const token = String(bodyOf(signed)['access_token']);
  assert.is(bodyOf(await as(token, '/auth/me'))['name'], 'root');
  const valid = bodyOf(await invoke(dev, 'auth.validate', { token }));
  assert.equal([valid['valid'], valid['kind'], valid['name']], [true, 'user', 'root']);
  assert.equal((await invoke(root, 'auth.validate', { token: house.token })).body, { valid: false }, 'the token of the machine is none of its business');
  const logins = bodyOf(await house.ask('/admin/audit?action=login&limit=2'))['audit'] as readonly Record<string, unknown>[];
  assert.equal(logins.map(({ actor, source, outcome }) => [actor, source, outcome]), [['root', 'plugin', 'done'], ['root', 'plugin', 'refused']]);
  assert.not.match(house.output() + written(), new RegExp(`${PASSWORD}|not it at all|${token.slice(-30)}`));
});

test('while it is down keys go on being checked', async () => {
  assert.is((await house.ask('/api/plugins/apikeys/stop', { method: 'POST' })).status, 200);
  assert.is((await invoke(root, 'auth.validate', { key: root })).status, 503);
  assert.is((await as(dev, '/api/plugins')).status, 200);
  assert.is((await as(`${dev}x`, '/api/plugins')).status, 401);
});

test.run();

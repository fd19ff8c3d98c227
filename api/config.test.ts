// The declared state over HTTP: revisions, masks, media types, waits, and what a refused edit says.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { DesiredKey, DesiredUser, PatchResult } from '../reconciler/index.ts';
import { makeSecret } from './auth/keys.ts';
import { type Doors, type Reply, type Send, openDoors } from './testing/doors.ts';
import { revisionOf } from './testing/house.ts';

const TEXT = `version: 1 # ours
plugins:
  echo: { env: { TOKEN: hunter2 }, config: { size: 3 } }
  "a/b": { state: stopped }
`;
const ETAG = `"${revisionOf(TEXT)}"`;
const MERGE = 'application/merge-patch+json';
const PATCH = 'application/json-patch+json';

let doors: Doors;
test.before.each(async () => { doors = await openDoors({ text: TEXT, plugins: [{ id: 'echo', configSchema: { type: 'object', properties: { pin: { type: 'string', 'x-secret': true }, size: { type: 'integer' } } } }] }); });
test.after.each(() => doors.close());

const write = (path: string, o: { readonly method?: string; readonly type?: string; readonly body?: unknown; readonly etag?: string | null }): Promise<Reply> => {
  const headers: Record<string, string> = { ...(o.type === undefined ? {} : { 'content-type': o.type }), ...(o.etag === null ? {} : { 'if-match': o.etag ?? ETAG }) };
  const sent: Send = { method: o.method ?? 'PATCH', headers, ...(o.body === undefined ? {} : { body: typeof o.body === 'string' ? o.body : JSON.stringify(o.body) }) };
  return doors.send(path, sent);
};

test('GET gives any place as declared, masked, with the revision as ETag', async () => {
  const whole = await doors.send('/api/config');
  assert.is(whole.headers.etag, ETAG);
  assert.equal((whole.body['plugins'] as Record<string, unknown>)['echo'], { env: { TOKEN: '***' }, config: { size: 3 } });
  assert.is((await doors.send('/api/config/plugins/echo/config/size')).text, '3');
  assert.is((await doors.send('/api/config/plugins/echo/env/TOKEN')).text, '"***"');
  assert.equal((await doors.send('/api/config/plugins/a~1b')).body, { state: 'stopped' });
  assert.equal((await doors.send('/api/config/plugins/a%2Fb')).body, { state: 'stopped' });
  assert.is((await doors.send('/api/config/')).status, 200);
  assert.is((await doors.send('/api/config', { headers: { 'if-none-match': ETAG } })).status, 304);
  const missing = await doors.send('/api/config/plugins/nobody');
  assert.equal([missing.status, missing.body['code']], [404, 'PathMissing']);
  assert.is((await doors.send('/api/config/plugins/%E0%A4%A')).status, 400);
});

test('GET gives the text as YAML, masked', async () => {
  const { text, headers } = await doors.send('/api/config', { headers: { accept: 'application/yaml' } });
  assert.match(String(headers['content-type']), 'application/yaml');
  assert.is(text, TEXT.replace('hunter2', '"***"'));
  assert.is((await doors.send('/api/config/plugins', { headers: { accept: 'application/yaml' } })).status, 406);
});

test('an edit that does not say what it is based on is refused', async () => {
  const reply = await write('/api/config/plugins/echo', { type: MERGE, body: {}, etag: null });
  assert.equal([reply.status, reply.body['code'], reply.headers.etag], [428, 'IfMatchMissing', ETAG]);
  assert.is((await write('/api/config', { method: 'DELETE', etag: null })).status, 405);
  assert.is((await write('/api/config/plugins/echo', { method: 'DELETE', etag: null })).status, 428);
  assert.is((await write('/api/config/plugins/echo', { type: MERGE, body: {}, etag: 'nonsense' })).body['code'], 'IfMatchMalformed');
  assert.is(doors.patches.length, 0);
});

test('merge patch and JSON patch at any place become operations on the whole', async () => {
  const merged = await write('/api/config/plugins/echo', { type: MERGE, body: { config: { size: 4, gone: null }, state: 'stopped' } });
  assert.is(merged.status, 200);
  assert.equal(Object.keys(merged.body).filter((key) => ['revision', 'operation', 'plan', 'diff'].includes(key)).length, 4);
  assert.equal(doors.patches[0]?.change, { operations: [{ op: 'add', path: '/plugins/echo/config/size', value: 4 }, { op: 'add', path: '/plugins/echo/state', value: 'stopped' }] });
  assert.equal([doors.patches[0]?.ifRevision, doors.patches[0]?.dryRun, doors.patches[0]?.actor.source], [revisionOf(TEXT), false, 'api']);
  await write('/api/config/plugins', { type: PATCH, body: [{ op: 'move', from: '/a~1b', path: '/c' }, { op: 'remove', path: '/echo' }], etag: '*' });
  assert.equal(doors.patches[1]?.change, { operations: [{ op: 'move', from: '/plugins/a~1b', path: '/plugins/c' }, { op: 'remove', path: '/plugins/echo' }] });
  assert.is(doors.patches[1]?.ifRevision, null);
  await write('/api/config/plugins/echo/config', { method: 'PUT', type: 'application/json', body: { other: 1 } });
  assert.equal(doors.patches[2]?.change, { operations: [{ op: 'remove', path: '/plugins/echo/config/size' }, { op: 'add', path: '/plugins/echo/config/other', value: 1 }] });
  await write('/api/config/plugins/echo', { method: 'DELETE', etag: `"other", ${ETAG}` });
  assert.equal([doors.patches[3]?.change, doors.patches[3]?.ifRevision], [{ operations: [{ op: 'remove', path: '/plugins/echo' }] }, revisionOf(TEXT)]);
});

test('an item of a list is replaced, never inserted beside', async () => {
  doors.show({ text: 'version: 1\nplugins:\n  echo: { needs: [a, b] }\n', plugins: [{ id: 'echo' }] });
  for (const o of [{ method: 'PUT', type: 'application/json' }, { method: 'PATCH', type: MERGE }]) await write('/api/config/plugins/echo/needs/0', { ...o, body: '"c"', etag: '*' });
  for (const request of doors.patches) assert.equal(request.change, { operations: [{ op: 'replace', path: '/plugins/echo/needs/0', value: 'c' }] });
  assert.is(doors.patches.length, 2);
});

test('what was read masked can be written back', async () => {
  const { body } = await doors.send('/api/config/plugins/echo');
  const same = await write('/api/config/plugins/echo', { method: 'PUT', type: 'application/json', body });
  assert.is(same.status, 200);
  assert.equal(doors.patches[0]?.change, { operations: [] });
  const { text } = await doors.send('/api/config', { headers: { accept: 'application/yaml' } });
  await write('/api/config', { method: 'PUT', type: 'application/yaml', body: text.replace('size: 3', 'size: 9') });
  assert.equal(doors.patches[1]?.change, { text: TEXT.replace('size: 3', 'size: 9') });
});

test('a secret in plain text is refused, the plugin’s own secrets too', async () => {
  const env = await write('/api/config/plugins/echo', { type: MERGE, body: { env: { TOKEN: 'hunter3' } } });
  assert.equal([env.status, env.body['code']], [422, 'LiteralSecret']);
  assert.not.match(env.text, 'hunter3');
  assert.is((await write('/api/config/plugins/echo', { type: MERGE, body: { config: { pin: '1234' } } })).body['code'], 'LiteralSecret');
  assert.is((await write('/api/config', { method: 'PUT', type: 'application/yaml', body: TEXT.replace('hunter2', 'hunter3') })).body['code'], 'LiteralSecret');
  assert.is(doors.patches.length, 0);
});

test('a variable whose name is no secret is set, shown and written back as it is', async () => {
  for (const [path, body] of [['/api/config/plugins/echo/env', { LOG_LEVEL: 'debug' }], ['/api/config/plugins/echo', { env: { LOG_LEVEL: 'debug' } }]] as const) {
    const set = await write(path, { type: MERGE, body });
    assert.is(set.status, 200, set.text);
    assert.equal(doors.patches.at(-1)?.change, { operations: [{ op: 'add', path: '/plugins/echo/env/LOG_LEVEL', value: 'debug' }] });
  }
  const text = TEXT.replace('TOKEN: hunter2', 'TOKEN: hunter2, LOG_LEVEL: "debug"');
  doors.show({ text, plugins: [{ id: 'echo' }] });
  const { body } = await doors.send('/api/config/plugins/echo');
  assert.equal(body['env'], { TOKEN: '***', LOG_LEVEL: 'debug' });
  await write('/api/config/plugins/echo', { method: 'PUT', type: 'application/json', body, etag: '*' });
  assert.equal(doors.patches.at(-1)?.change, { operations: [] });
  const yaml = await doors.send('/api/config', { headers: { accept: 'application/yaml' } });
  assert.is(yaml.text, text.replace('hunter2', '"***"'));
  await write('/api/config', { method: 'PUT', type: 'application/yaml', body: yaml.text, etag: '*' });
  assert.equal(doors.patches.at(-1)?.change, { text });
});

test('bodies that are none', async () => {
  assert.equal(await write('/api/config', { type: 'text/plain', body: 'x' }).then((reply) => [reply.status, reply.headers['accept-patch']]), [415, `${PATCH}, ${MERGE}`]);
  assert.is((await write('/api/config', { type: MERGE, body: '{"a":' })).body['code'], 'MalformedJson');
  const operation = await write('/api/config', { type: PATCH, body: [{ op: 'destroy', path: '/a' }] });
  assert.equal([operation.status, operation.body['code']], [422, 'BodyInvalid']);
  assert.ok(Array.isArray(operation.body['problems']));
  assert.is((await write('/api/config', { type: PATCH, body: [{ op: 'add', path: 'no-slash', value: 1 }] })).status, 422);
  assert.is((await write('/api/config', { type: MERGE, body: JSON.stringify({ a: 'x'.repeat(9 * 2 ** 20) }) })).status, 413);
  assert.is((await write('/api/config/plugins', { method: 'PUT', type: 'application/yaml', body: 'a: 1' })).status, 415);
});

test('what somebody may not see is not told by a copy of it, nor by a test', async () => {
  const secret = await makeSecret('dev');
  const users: readonly DesiredUser[] = [{ name: 'dora', role: 'developer', password: null }];
  const keys: readonly DesiredKey[] = [{ id: 'dev', name: null, user: 'dora', scopes: ['config.read', 'config.write', 'plugins.control'], within: [], hash: secret!.hash, previous: null, expires: null, limits: { requestsPerMinute: null, tokensPerMinute: null, concurrent: null }, plugins: null }];
  const own = await openDoors({ text: `${TEXT}users: { bert: { role: admin } }\n`, users, keys, plugins: [{ id: 'echo' }] });
  const told = async (operations: unknown): Promise<unknown> => (await own.send('/api/config?dryRun=true', { method: 'PATCH', token: secret!.token, headers: { 'content-type': PATCH, 'if-match': '*' }, body: JSON.stringify(operations) })).body['code'];
  try {
    for (const from of ['/users/bert', '/users', '/keys/x', '']) assert.is(await told([{ op: 'copy', from, path: '/plugins/echo/config/x' }]), 'ScopeMissing', from);
    assert.is(await told([{ op: 'test', path: '/users/bert/role', value: 'admin' }]), 'ScopeMissing');
    assert.is(await told([{ op: 'test', path: '/version', value: 1 }, { op: 'add', path: '/plugins/echo/config/x', value: 1 }]), undefined);
    assert.is(own.patches.length, 1);
  } finally {
    await own.close();
  }
});

test('a file that has moved on is 412 with both differences, masked', async () => {
  const base = TEXT.replace('size: 3', 'size: 2');
  const line = TEXT.split('\n')[2]!;
  const diff = (to: string): string => `--- base\n+++ x\n@@ -3,1 +3,1 @@\n-${line.replace('size: 3', 'size: 2')}\n+${line.replace('size: 3', to)}`;
  doors.answers.patch = () => ({ ok: false, code: 'Stale', revision: revisionOf(TEXT), base: revisionOf(base), yours: diff('size: 7'), theirs: diff('size: 3') });
  const reply = await write('/api/config/plugins/echo', { type: MERGE, body: { config: { size: 7 } }, etag: `"${revisionOf(base)}"` });
  assert.equal([reply.status, reply.body['code'], reply.headers.etag, reply.body['base']], [412, 'RevisionStale', ETAG, revisionOf(base)]);
  assert.match(String(reply.body['yours']), '+  echo: { env: { TOKEN: "***" }, config: { size: 7 } }');
  assert.match(String(reply.body['theirs']), '+  echo: { env: { TOKEN: "***" }, config: { size: 3 } }');
  assert.not.match(reply.text, 'hunter2');
  doors.answers.patch = () => null;
  assert.is((await write('/api/config/plugins/echo', { type: MERGE, body: {}, etag: '"gone"' })).status, 412);
});

test('refusals of the reconciler keep their code, problems and diff', async () => {
  const problem = { code: 'UnknownKey', pointer: '/plugins/echo/stat', line: 3, column: 5, message: 'no such setting', hint: 'Did you mean "state"?', severity: 'error' as const };
  const cases: readonly (readonly [PatchResult, number, string])[] = [
    [{ ok: false, code: 'Invalid', problems: [problem] }, 422, 'ConfigInvalid'],
    [{ ok: false, code: 'Refused', problems: [{ ...problem, code: 'PathMissing' }] }, 422, 'PathMissing'],
    [{ ok: false, code: 'ReadOnlyFile', diff: '', message: 'It is read-only.', denied: [] }, 409, 'ReadOnlyFile'],
  ];
  for (const [result, status, code] of cases) {
    doors.answers.patch = () => result;
    const reply = await write('/api/config/plugins/echo', { type: MERGE, body: { stat: 1 } });
    assert.equal([reply.status, reply.body['code']], [status, code]);
    if (code === 'ConfigInvalid') assert.equal(reply.body['problems'], [problem]);
    if (code === 'ReadOnlyFile') assert.is(reply.body['diff'], '');
  }
  const warning = { ...problem, code: 'LiteralSecret', message: 'only a warning', severity: 'warning' as const };
  doors.answers.patch = () => ({ ok: false, code: 'Invalid', problems: [warning, problem] });
  assert.match(String((await write('/api/config/plugins/echo', { type: MERGE, body: { stat: 1 } })).body['detail']), 'nothing was changed: no such setting');
  doors.reconciler.read = () => Promise.reject(Object.assign(new Error('bkg.yaml is not there.'), { code: 'FileMissing' }));
  assert.equal(await doors.send('/api/config').then((reply) => [reply.status, reply.body['code']]), [404, 'FileMissing']);
});

test('dry runs and waits', async () => {
  const body = { state: 'stopped' };
  const dry = await write('/api/config/plugins/echo?dryRun=true&wait=converged', { type: MERGE, body });
  assert.equal([dry.status, dry.body['operation'], dry.body['dryRun'], doors.patches[0]?.dryRun], [200, null, true, true]);
  const done: PatchResult = { ok: true, revision: revisionOf(TEXT), seq: 5, changed: true, diff: '', problems: [], units: ['plugin/echo#0'], plan: { revision: 'r', converged: false, actions: [{ do: 'stop', unit: 'plugin/echo#0', because: 'declared' }, { do: 'wait', unit: 'plugin/broken#0', because: 'it failed' }] } };
  doors.answers.patch = () => done;
  const asked: unknown[] = [];
  const { settled } = doors.reconciler;
  doors.reconciler.settled = (query) => { asked.push(query); return settled(query); };
  const waited = await write('/api/config/plugins/echo?wait=converged&timeout=2m', { type: MERGE, body });
  assert.equal([waited.status, waited.body['outcome'], waited.body['operation']], [200, 'converged', 'edit-5']);
  assert.equal(asked, [{ units: ['plugin/echo#0'], seq: 5, timeout_ms: 120_000 }]);
  doors.answers.settled = { outcome: 'timeout', message: 'still loading' };
  assert.is((await write('/api/config/plugins/echo?wait=converged', { type: MERGE, body })).status, 202);
  doors.answers.settled = { outcome: 'failed', message: 'echo: it failed 5 times' };
  const failed = await write('/api/config/plugins/echo?wait=converged', { type: MERGE, body });
  assert.equal([failed.status, failed.body['code'], failed.body['revision']], [409, 'NotConverged', revisionOf(TEXT)]);
  for (const query of ['wait=forever', 'timeout=1d', 'timeout=99h', 'dryRun=perhaps']) assert.is((await write(`/api/config/plugins/echo?${query}`, { type: MERGE, body })).body['code'], 'BadQuery', query);
});

test('the composed schema has the settings of every plugin', async () => {
  const { body } = await doors.send('/api/schema');
  assert.match(JSON.stringify(body), '"pin"');
  assert.match(JSON.stringify((await doors.send('/api/schema?references=true')).body), 'env:');
});

test.run();

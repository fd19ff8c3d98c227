// Models over HTTP: which edits they are, what is refused and with what words, what is waited for, and what a search answers.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { DesiredKey, DesiredUser, ModelView, PatchRequest } from '../reconciler/index.ts';
import { makeSecret } from './auth/keys.ts';
import type { HubQuery } from './hub.ts';
import { failure } from './problem.ts';
import { type Doors, type Reply, openDoors } from './testing/doors.ts';
import { type HouseSpec } from './testing/house.ts';

const HASH = 'a'.repeat(64);
const TEXT = `version: 1
models:
  mini: { source: "https://h/mini.gguf", sha256: "${HASH}" }
  late: { source: "hf://o/r/late.gguf", state: ondemand }
plugins:
  one: { models: { chat: mini, embedding: mini } }
  two: { models: { chat: mini, embedding: late } }
  none: {}
`;
const role = (name: string, model: string | null) => ({ role: name, model, required: false, format: 'gguf' as const, serves: [] });
const plugins: HouseSpec['plugins'] = [
  { id: 'one', roles: [role('chat', 'mini'), role('embedding', 'mini')] }, { id: 'two', roles: [role('chat', 'mini'), role('embedding', 'late')] }, { id: 'none' }, { id: 'single', roles: [role('vision', null)] },
];
const view = (id: string, more: Partial<ModelView> = {}): ModelView =>
  ({ id, source: `https://h/${id}.gguf`, state: 'present', phase: 'present', sha256: HASH, bytes: 4, bytesTotal: 4, usedBy: [], about: null, commit: null, verified: null, checking: null, conditions: [{ type: 'Available', status: 'True', reason: 'Present', message: `${id} is as it is.`, since: 's', revision: 'r' }], ...more });
const HOUSE: HouseSpec = { text: TEXT, plugins, models: [view('mini'), view('late', { state: 'ondemand', phase: 'absent' })] };

const searches: HubQuery[] = [];
let doors: Doors;
test.before.each(async () => {
  searches.length = 0;
  doors = await openDoors(HOUSE, { hub: { search: async (query) => {
    if (query.words === 'away') throw failure({ status: 503, code: 'HubUnreachable', detail: 'gone', headers: { 'retry-after': '30' } });
    searches.push(query);
    return [];
  } } });
});
test.after.each(() => doors.close());

const post = (path: string, body: unknown, token?: string): Promise<Reply> => doors.send(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body), ...(token === undefined ? {} : { token }) });
const said = (reply: Reply): readonly unknown[] => [reply.status, reply.body['code']];
const operations = (request: PatchRequest | undefined): unknown => (request !== undefined && 'operations' in request.change ? request.change.operations : null);

test('a download is an edit that declares the model, answered at once with where to look', async () => {
  doors.answers.patch = () => {
    doors.show({ ...HOUSE, models: [view('x', { phase: 'fetching' })] });
    return null;
  };
  const reply = await post('/api/models/download', { name: 'x', source: 'https://h/x.gguf', sha256: HASH, state: 'present' });
  assert.equal([reply.status, reply.headers.location, reply.body['operation']], [202, '/api/models/x', 'edit-2']);
  assert.equal((reply.body['model'] as ModelView).phase, 'fetching');
  assert.equal(operations(doors.patches[0]), [{ op: 'add', path: '/models/x', value: { source: 'https://h/x.gguf', sha256: HASH } }]);
  await post('/api/models/download', { source: 'hf://o/r/Big-Q4_K_M.gguf', state: 'ondemand' });
  assert.equal(operations(doors.patches[1]), [{ op: 'add', path: '/models/big-q4-k-m', value: { source: 'hf://o/r/Big-Q4_K_M.gguf', state: 'ondemand' } }]);
  assert.equal(doors.fetches, ['x'], 'what is for later is not hurried');
  const dry = await post('/api/models/download?dryRun=true', { name: 'y', source: 'https://h/y.gguf' });
  assert.equal([dry.status, dry.body['dryRun'], dry.body['operation'], doors.patches[2]?.dryRun, doors.fetches.length], [200, true, null, true, 1]);
});

test('what is declared alike is fetched again without an edit; a name that is taken is refused', async () => {
  const again = await post('/api/models/download', { source: 'https://h/mini.gguf' });
  assert.equal([again.status, operations(doors.patches[0]), doors.fetches], [202, [], ['mini']]);
  await post('/api/models/download', { name: 'late', source: 'hf://o/r/late.gguf' });
  assert.equal([operations(doors.patches[1]), doors.fetches], [[], ['mini', 'late']], 'one on demand is brought ahead');
  const other = await post('/api/models/download', { name: 'mini', source: 'https://h/other.gguf' });
  assert.equal([...said(other), other.body['model']], [409, 'ModelExists', 'mini']);
  assert.match(String(other.body['detail']), /another source \(https:\/\/h\/mini\.gguf\)\. Choose another name/);
  assert.equal(said(await post('/api/models/download', { source: 'https://h/mini.gguf', sha256: 'b'.repeat(64) })), [409, 'ModelExists']);
  for (const body of [{}, { source: 'ftp://x' }, { source: 'https://h/x', name: 'No Name' }, { source: 'https://h/x', sha256: 'x' }, { source: 'https://h/x', state: 'absent' }, { source: 'https://h/x', more: 1 }]) assert.equal(said(await post('/api/models/download', body)), [422, 'BodyInvalid'], JSON.stringify(body));
  assert.is(doors.patches.length, 2);
});

test('wait=converged answers when the bytes are here, cannot come, or time is up', async () => {
  const show = (more: Partial<ModelView>): void => doors.show({ ...HOUSE, models: [view('x', more)] });
  doors.answers.patch = () => {
    show({ phase: 'absent' });
    return null;
  };
  const body = { name: 'x', source: 'https://h/x.gguf' };
  const late = await post('/api/models/download?wait=converged&timeout=1ms', body);
  assert.equal([late.status, late.body['outcome']], [202, 'timeout']);
  const ended = async (more: Partial<ModelView>): Promise<Reply> => {
    const reply = post('/api/models/download?wait=converged', body);
    const before = doors.patches.length;
    while (doors.patches.length === before) await new Promise((resolve) => { setImmediate(resolve); });
    show({ phase: 'fetching', bytes: 1 });
    show(more);
    return reply;
  };
  const here = await ended({});
  assert.equal([here.status, here.body['outcome'], (here.body['model'] as ModelView).phase], [200, 'converged', 'present']);
  const failed = await ended({ phase: 'failed' });
  assert.equal(said(failed), [409, 'NotConverged']);
  assert.match(String(failed.body['detail']), /could not follow: x: x is as it is\./);
  assert.is((await ended({ id: 'other' })).status, 409, 'removed meanwhile');
  doors.show(HOUSE);
  doors.answers.patch = () => null;
  assert.equal([(await post('/api/models/download?wait=converged', { source: 'hf://o/r/late.gguf', state: 'ondemand' })).status, said(await post('/api/models/download?wait=done', body))], [200, [400, 'BadQuery']]);
});

test('a model that is in use stays, unless it is taken from the roles as well', async () => {
  const remove = (path: string): Promise<Reply> => doors.send(`/api/models/${path}`, { method: 'DELETE' });
  const used = await remove('mini');
  assert.equal(said(used), [409, 'ModelInUse']);
  assert.match(String(used.body['detail']), /^mini fills a role of one \(chat\), one \(embedding\), two \(chat\)\./);
  assert.is(doors.patches.length, 0);
  const forced = await remove('mini?force=true');
  assert.equal([forced.status, forced.body['bytes'], (forced.body['unassigned'] as unknown[]).length], [200, 'kept', 3]);
  assert.match(String(forced.body['message']), /bytes stay.*bkg model prune/);
  assert.equal(operations(doors.patches[0]), [{ op: 'remove', path: '/plugins/one/models' }, { op: 'remove', path: '/plugins/two/models/chat' }, { op: 'remove', path: '/models/mini' }]);
  const dry = await remove('late?force=true&dryRun=true');
  assert.equal([dry.status, dry.body['removed'], dry.body['bytes'], doors.patches[1]?.dryRun], [200, false, 'none', true]);
  assert.equal(said(await remove('other')), [404, 'ModelUnknown']);
  // A reference in the file stands for it.
  doors.show({ ...HOUSE, text: 'models: { mini: { source: "file:m.gguf" } }\nplugins: { one: { models: { chat: "${env:M}" } } }\n', plugins: [{ id: 'one', roles: [role('chat', 'mini')] }], models: [view('mini', { source: 'file:m.gguf' })] });
  assert.equal(said(await remove('mini')), [409, 'ModelInUse']);
  assert.is((await remove('mini?force=true')).body['bytes'], 'own');
});

test('a role of a plugin gets a model, declared in the same edit where a source comes', async () => {
  const at = (plugin: string): string => `/api/plugins/${plugin}/models/download`;
  const made = await post(at('two'), { role: 'chat', source: 'https://h/new.gguf', sha256: HASH });
  assert.equal([made.status, made.body['role'], made.headers.location], [202, 'chat', '/api/models/new']);
  assert.equal(operations(doors.patches[0]), [{ op: 'add', path: '/models/new', value: { source: 'https://h/new.gguf', sha256: HASH } }, { op: 'add', path: '/plugins/two/models/chat', value: 'new' }]);
  await post(at('single'), { model: 'late' });
  assert.equal(operations(doors.patches[1]), [{ op: 'add', path: '/plugins/single/models/vision', value: 'late' }], 'the only role need not be named');
  await post(at('one'), { role: 'chat', model: 'mini' });
  assert.equal([operations(doors.patches[2]), doors.fetches], [[], ['new', 'late', 'mini']]);
  for (const [plugin, body, code, words] of [
    ['one', { role: 'chta', model: 'mini' }, 'RoleUnknown', /one has no role "chta"\. It has chat, embedding\./], ['one', { model: 'mini' }, 'RoleMissing', /Say which: it has chat, embedding/],
    ['none', { model: 'mini' }, 'RoleUnknown', /none takes no models/], ['one', { role: 'chat', model: 'nimi' }, 'ModelUnknown', /It declares mini, late/], ['one', { role: 'chat' }, 'BodyInvalid', /./], ['one', { role: 'chat', model: 'mini', sha256: HASH }, 'BodyInvalid', /sha256/],
  ] as const) {
    const reply = await post(at(plugin), body);
    assert.equal(said(reply), [422, code], JSON.stringify(body));
    assert.match(String(reply.body['detail']), words);
  }
  assert.equal(said(await post(at('other'), { role: 'chat', model: 'mini' })), [404, 'PluginUnknown']);
  doors.answers.settled = { outcome: 'failed', message: 'two: it crashed' };
  doors.answers.patch = () => ({ ok: true, revision: 'r', seq: 3, changed: true, diff: '', plan: { revision: 'r', converged: false, actions: [] }, units: ['plugin/two#0'], problems: [] });
  const failed = await post(`${at('two')}?wait=converged`, { role: 'chat', model: 'mini' });
  assert.equal(said(failed), [409, 'NotConverged'], 'the bytes are here, the plugin is not');
  assert.match(String(failed.body['detail']), /two: it crashed/);
});

test('each edit is judged by what it touches', async () => {
  const secret = await makeSecret('ci');
  const anna: DesiredUser = { name: 'anna', role: 'admin', password: null };
  const key = (scopes: readonly string[]): DesiredKey => ({ id: 'ci', name: null, user: 'anna', scopes, within: [], hash: secret!.hash, previous: null, expires: null, limits: { requestsPerMinute: null, tokensPerMinute: null, concurrent: null }, plugins: null });
  const as = (...scopes: readonly string[]): void => doors.show({ ...HOUSE, users: [anna], keys: [key(scopes)] });
  const added = { version: 1, models: { x: { source: 'https://h/x.gguf' } }, plugins: { two: { models: { chat: 'x' } } } };
  const judged = (after: unknown) => (request: PatchRequest) => {
    const problems = request.judge?.({ version: 1, plugins: { two: {} } }, after as never) ?? [];
    return problems.length === 0 ? null : { ok: false as const, code: 'Forbidden' as const, problems };
  };
  const body = { role: 'chat', source: 'https://h/x.gguf' };
  as('models.read', 'plugins.control');
  assert.equal(said(await post('/api/models/download', { source: 'https://h/x.gguf' }, secret!.token)), [403, 'ScopeMissing']);
  doors.answers.patch = judged(added);
  const lacks = await post('/api/plugins/two/models/download', body, secret!.token);
  assert.equal(said(lacks), [403, 'ScopeMissing']);
  assert.match(String(lacks.body['detail']), /models\.write/);
  as('models.write', 'plugins.control');
  assert.is((await post('/api/plugins/two/models/download', body, secret!.token)).status, 202);
  assert.equal(doors.fetches, ['x']);
  as('plugins.control');
  doors.answers.patch = () => null;
  assert.is((await post('/api/plugins/two/models/download', { role: 'chat', model: 'mini' }, secret!.token)).status, 202);
  assert.equal(doors.fetches, ['x'], 'who may not download has it wait for its turn');
  as('models.write', 'plugins.control');
  doors.answers.patch = judged({ version: 1, models: { x: { source: 'file:/etc/passwd' } }, plugins: { two: {} } });
  assert.match(String((await post('/api/models/download', { source: 'file:/etc/passwd' }, secret!.token)).body['detail']), /role admin/);
  assert.equal(said(await doors.send('/api/models/search', { token: secret!.token })), [403, 'ScopeMissing']);
});

test('a search asks the hub what was asked for, and passes on what it says', async () => {
  assert.equal((await doors.send('/api/models/search?q=%20qwen%20small&limit=3&format=onnx')).body, { query: 'qwen small', format: 'onnx', models: [] });
  assert.is((await doors.send('/api/models/search?limit=0')).status, 200);
  assert.equal(searches, [{ words: 'qwen small', limit: 3, format: 'onnx' }]);
  const away = await doors.send('/api/models/search?q=away');
  assert.equal([...said(away), away.headers['retry-after']], [503, 'HubUnreachable', '30']);
  for (const query of ['limit=51', 'limit=x', 'format=zip', `q=${'x'.repeat(201)}`]) assert.equal(said(await doors.send(`/api/models/search?${query}`)), [400, 'BadQuery'], query);
  assert.equal(said(await doors.send('/api/models/nobody')), [404, 'ModelUnknown']);
  assert.is((await doors.send('/api/models/mini')).body['id'], 'mini');
});

test.run();

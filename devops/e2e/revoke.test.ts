// A revocation binds on the next request and within a second on a stream, whatever state the file is in: a file can only ever take at once.
import { chmodSync, mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { appliance, reaches, settles, sleep, until, type Answer, type Appliance } from './appliance.ts';

const yaml = `version: 1
# the owner's own words
plugins:
  one: { use: ./plugins/echo }
  two: { use: ./plugins/echo, state: stopped }
users:
  anna: { role: admin }
  ben: { role: developer }
`;
/** A stream is cut within this after its key has gone: a second by rights, more on a loaded machine. */
const CUT_WITHIN_MS = 10_000;
/** Longer than all of a test. */
const LONG = { stream: true, max_tokens: 10_000, seed: 20 };

type Minted = { readonly id: string; readonly key: string };
const text = (house: Appliance): string => readFileSync(house.config, 'utf8');

async function mint(house: Appliance, id: string, more: Readonly<Record<string, unknown>> = {}): Promise<Minted> {
  const answer = await house.ask('/admin/api-keys', { method: 'POST', body: { id, user: 'anna', scopes: ['llm.chat'], ...more } });
  assert.is(answer.status, 201, JSON.stringify(answer.body));
  return answer.body as Minted;
}

const chat = (house: Appliance, key: string, body: object = {}): Promise<Response> =>
  fetch(`${house.url}/v1/chat/completions`, { method: 'POST', headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' }, body: JSON.stringify({ model: 'one', messages: [], ...body }) });
const status = async (house: Appliance, key: string): Promise<number> => {
  const response = await chat(house, key);
  await response.arrayBuffer();
  return response.status;
};

/** A stream that has begun; what it said in the end, once it is over. */
async function stream(house: Appliance, key: string): Promise<{ readonly over: Promise<string> }> {
  const response = await chat(house, key, LONG);
  assert.is(response.status, 200);
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let said = (await reader.read()).value ?? '';
  const over = (async () => {
    try {
      for (let part = await reader.read(); !part.done; part = await reader.read()) said += part.value;
    } catch {
      // Broken off: what came before is what it said.
    }
    return said;
  })();
  return { over };
}

const within = <Result>(work: Promise<Result>, what: string): Promise<Result> => Promise.race([work, sleep(CUT_WITHIN_MS).then(() => { throw new Error(`not within ${CUT_WITHIN_MS / 1000} s: ${what}`); })]);

async function withHouse(run: (house: Appliance) => Promise<void>, options: Partial<Parameters<typeof appliance>[0]> = {}): Promise<void> {
  const house = await appliance({ yaml, ...options });
  try {
    await reaches(house, 'one', 'running');
    await run(house);
  } finally {
    assert.equal(await house.dispose(), []);
  }
}

test('through the API: the next request, and a stream that goes on, say why', () => withHouse(async (house) => {
  const [ci, other] = [await mint(house, 'ci'), await mint(house, 'other')];
  const streams = { ci: await stream(house, ci.key), other: await stream(house, other.key) };
  assert.is((await house.ask('/admin/api-keys/ci', { method: 'DELETE' })).status, 200);
  assert.is(await status(house, ci.key), 401);
  assert.match(await within(streams.ci.over, 'the stream of the revoked key ends'), /"code":"invalid_api_key"/);
  assert.is(await status(house, other.key), 200, 'another key goes on');
  // Its scope goes, then its time is over.
  assert.is((await house.ask('/admin/api-keys/other', { method: 'PATCH', body: { scopes: ['llm.embed'] } })).status, 200);
  assert.match(await within(streams.other.over, 'the stream that lost its scope ends'), /"code":"scope_missing"/);
  assert.is(await status(house, other.key), 403);
  const short = await mint(house, 'short', { expires: new Date(Date.now() + 2_500).toISOString() });
  const until_ms = await stream(house, short.key);
  assert.match(await within(until_ms.over, 'the stream of the expired key ends'), /"code":"expired_api_key"/);
  assert.is(await status(house, short.key), 401);
  const far = await mint(house, 'far', { plugins: ['two'] });
  assert.is(await status(house, far.key), 403);
  assert.match(text(house), /# the owner's own words\n/);
}));

test('by an edit of the file, while another section of it is not valid, and after a start from the last good one', () => withHouse(async (house) => {
  const [gone, narrow, kept] = [await mint(house, 'gone'), await mint(house, 'narrow', { scopes: ['llm.chat', 'config.read'] }), await mint(house, 'kept')];
  for (const { key } of [gone, narrow, kept]) assert.is(await status(house, key), 200);
  const good = text(house);
  const open = await stream(house, gone.key);
  const bad = good.replace(/^ {2}gone:.*\n(?: {4}.*\n)*/m, '').replace(/\[?llm\.chat, config\.read\]?|- llm\.chat\n +(?=- config\.read)/, (found) => (found.startsWith('-') ? '' : '[config.read]')).replace('use: ./plugins/echo }', 'use: ./plugins/echo, nonsense: 1 }');
  assert.ok(!bad.includes('gone:') && bad.includes('nonsense'), bad);
  house.save(bad);
  await until('the removed key is refused', async () => (await status(house, gone.key)) === 401);
  assert.match(await within(open.over, 'its stream ends'), /"code":"invalid_api_key"/);
  assert.is(await status(house, narrow.key), 403);
  assert.is(await status(house, kept.key), 200);
  const drifts = (await house.ask('/api/drift')).body as { readonly drifts: readonly { readonly kind: string; readonly unit: string }[] };
  assert.equal(drifts.drifts.filter(({ kind }) => kind === 'Denied').map(({ unit }) => unit).sort(), ['key/gone', 'key/narrow']);

  // The last good revision has the key, and a start runs on it: what was taken stays taken.
  await house.end();
  const next = await house.again();
  try {
    await reaches(next, 'one', 'running');
    assert.is(await status(next, gone.key), 401);
    assert.is(await status(next, narrow.key), 403);
    assert.is(await status(next, kept.key), 200);
    next.save(good);
    await settles(next);
    await until('a valid file that has it again lets it in again', async () => (await status(next, gone.key)) === 200);
    assert.is(await status(next, narrow.key), 200);
  } finally {
    await next.end();
  }
}));

test('through the API while the file cannot be written: denied over it, until the file has another one', () => withHouse(async (house) => {
  const [ci, kept] = [await mint(house, 'ci'), await mint(house, 'kept')];
  assert.is(await status(house, ci.key), 200);
  const before = text(house);
  // As Kubernetes mounts it: the file is a link into a folder that changes as a whole.
  const data = join(house.folder, '..data');
  mkdirSync(data);
  writeFileSync(join(data, 'bkg.yaml'), before);
  renameSync(house.config, join(data, 'bkg.yaml'));
  symlinkSync(join('..data', 'bkg.yaml'), house.config);
  chmodSync(join(data, 'bkg.yaml'), 0o444);
  await settles(house);
  const answer: Answer = await house.ask('/admin/api-keys/ci', { method: 'DELETE' });
  assert.is(answer.status, 200, JSON.stringify(answer.body));
  assert.equal([(answer.body as { readonly written: boolean }).written, (answer.body as { readonly revoked: boolean }).revoked], [false, true]);
  assert.is(text(house), before, 'not a byte of the file is changed');
  assert.is(await status(house, ci.key), 401);
  assert.is(await status(house, kept.key), 200);
  const minted = await house.ask('/admin/api-keys', { method: 'POST', body: { id: 'new', user: 'anna', scopes: ['llm.chat'] } });
  assert.is(minted.status, 409, 'nothing can be given');
  // Somebody rolls out an edit of something else: the file still names the key as it was.
  chmodSync(join(data, 'bkg.yaml'), 0o644);
  writeFileSync(join(data, 'bkg.yaml'), before.replace('state: stopped', 'state: running'));
  await reaches(house, 'two', 'running');
  assert.is(await status(house, ci.key), 401, 'an edit of something else does not bring it back');
}));

test('a rotation that cannot be written takes nothing: the secret there is stays good', () => withHouse(async (house) => {
  const { key } = await mint(house, 'ci');
  const good = text(house);
  house.save(`${good}nonsense: 1\n`);
  await until('the file is known to be no good', async () => ((await house.ask('/api/status')).body as { readonly file: { readonly valid: boolean } }).file.valid === false);
  const answer = await house.ask('/admin/api-keys/ci/rotate?overlap=0s', { method: 'POST' });
  assert.is(answer.status, 422);
  assert.match((answer.body as { readonly detail: string }).detail, /^bkg\.yaml is not valid as it stands; correct that first, so nothing was changed/);
  assert.is(await status(house, key), 200);
  // What is denied meanwhile is written by the next try.
  assert.is((await house.ask('/admin/api-keys/ci', { method: 'DELETE' })).status, 200);
  assert.is(await status(house, key), 401);
  house.save(good);
  await settles(house);
  assert.is(((await house.ask('/admin/api-keys/ci', { method: 'DELETE' })).body as { readonly written: boolean }).written, true);
  assert.not.match(text(house), 'ci:');
}));

test('of two that are made in the same moment under the same id one is made, and the other one refused', () => withHouse(async (house) => {
  const make = (id: string): Promise<Answer> => house.ask('/admin/api-keys', { method: 'POST', body: { id, user: 'anna', scopes: ['llm.chat'] } });
  const answers = await Promise.all([make('twin'), make('twin'), make('twin')]);
  assert.equal(answers.map((answer) => answer.status).sort(), [201, 409, 409], JSON.stringify(answers.map(({ body }) => body)));
  assert.is(await status(house, (answers.find((answer) => answer.status === 201)!.body as Minted).key), 200, 'the secret that was told is the one that is good');
  const many = await Promise.all(Array.from({ length: 12 }, (_, index) => make(`many-${index}`)));
  assert.ok(many.every((answer) => [201, 503].includes(answer.status)), 'others of the same moment are no reason to refuse one');
  const users = await Promise.all([1, 2].map(() => house.ask('/admin/users', { method: 'POST', body: { name: 'twin', role: 'readonly' } })));
  assert.equal(users.map((answer) => answer.status).sort(), [201, 409]);
}));

test('limits of a key are merged by PATCH, and set whole by PUT', () => withHouse(async (house) => {
  await mint(house, 'ci', { limits: { tokensPerMinute: 100, concurrent: 2 } });
  const limits = async (method: string, body: object): Promise<unknown> => ((await house.ask('/admin/api-keys/ci', { method, body })).body as { readonly limits: unknown }).limits;
  assert.equal(await limits('PATCH', { limits: { requestsPerMinute: 7 } }), { requestsPerMinute: 7, tokensPerMinute: 100, concurrent: 2 });
  assert.equal(await limits('PUT', { scopes: ['llm.chat'], limits: { requestsPerMinute: 8 } }), { requestsPerMinute: 8, tokensPerMinute: null, concurrent: null });
}));

test('through the API while the file is no good, or not there: what the edit takes is taken, and nothing else', () => withHouse(async (house) => {
  const keys = [await mint(house, 'a'), await mint(house, 'b'), await mint(house, 'c'), await mint(house, 'kept')];
  for (const { key } of keys) assert.is(await status(house, key), 200);
  const good = text(house);
  const states: readonly (readonly [id: string, spoil: () => void])[] = [
    ['a', () => house.save(`${good}nonsense: 1\n`)], ['b', () => house.save(`${good}  broken: [\n`)], ['c', () => renameSync(house.config, `${house.config}.away`)],
  ];
  for (const [index, [id, spoil]] of states.entries()) {
    spoil();
    await until('the file is known to be no good', async () => ((await house.ask('/api/status')).body as { readonly file: { readonly valid: boolean } }).file.valid === false);
    const answer = await house.ask(`/admin/api-keys/${id}`, { method: 'DELETE' });
    assert.is(answer.status, 200, JSON.stringify(answer.body));
    assert.is((answer.body as { readonly written: boolean }).written, false);
    assert.is(await status(house, keys[index]!.key), 401, id);
    assert.is(await status(house, keys[3]!.key), 200);
    house.save(good);
    await settles(house);
    assert.is(await status(house, keys[index]!.key), 401, `${id}: a valid file that still names it as it was does not bring it back`);
  }
}));

test('the last key of an appliance that is open to the network is refused at once, though the file cannot be without it', () => withHouse(async (house) => {
  const leaked = await mint(house, 'leaked');
  assert.is(await status(house, leaked.key), 200);
  const open = await house.ask('/api/config/server', { method: 'PUT', body: { host: '0.0.0.0' }, headers: { 'if-match': '*' } });
  assert.is(open.status, 200, JSON.stringify(open.body));
  const answer = await house.ask('/admin/api-keys/leaked', { method: 'DELETE' });
  assert.equal([answer.status, (answer.body as { readonly written: boolean }).written], [200, false], JSON.stringify(answer.body));
  assert.is(await status(house, leaked.key), 401);
}));

test('sessions end with their user, their password and their role', () => withHouse(async (house) => {
  const login = async (user: string, password: string): Promise<string> => ((await house.ask('/auth/login', { method: 'POST', body: { user, password } })).body as { readonly access_token: string }).access_token;
  const me = async (token: string, path = '/auth/me'): Promise<number> => (await house.ask(path, { headers: { authorization: `Bearer ${token}` } })).status;
  const put = (user: string, body: object): Promise<Answer> => house.ask(`/admin/users/${user}`, { method: 'PUT', body });
  assert.is((await put('ben', { password: 'a password of a test' })).status, 200);
  const token = await login('ben', 'a password of a test');
  assert.equal([await me(token), await me(token, '/admin/api-keys')], [200, 200]);
  assert.is((await put('ben', { role: 'readonly' })).status, 200);
  assert.equal([await me(token), await me(token, '/admin/api-keys')], [200, 403]);
  assert.is((await put('ben', { password: 'another password of a test' })).status, 200);
  assert.is(await me(token), 401);
  const next = await login('ben', 'another password of a test');
  assert.is(await me(next), 200);
  assert.is((await house.ask('/admin/users/ben', { method: 'DELETE' })).status, 200);
  assert.is(await me(next), 401);
}));

test.run();

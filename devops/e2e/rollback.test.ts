// Back to an earlier revision, over the API and the command line: its bytes come back, its people do not.
import { spawn } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { appliance, environment, reaches, settles, until, type Answer, type Appliance } from './appliance.ts';

const PASSWORD = 'a password of a test';
const yaml = `version: 1
# the owner's own words
plugins:
  one: { use: ./plugins/echo }
  two: { use: ./plugins/echo, state: stopped }   # not yet
users:
  anna: { role: admin }   # the boss
  ben: { role: developer, password: { env: BEN_PASSWORD } }
`;

type Row = { readonly seq: number; readonly revision: string; readonly actor: string; readonly source: string; readonly valid: boolean; readonly kept: boolean };
const text = (house: Appliance): string => readFileSync(house.config, 'utf8');
const rows = async (house: Appliance): Promise<readonly Row[]> => ((await house.ask('/api/history')).body as { readonly history: readonly Row[] }).history;
const newest = async (house: Appliance): Promise<Row> => (await rows(house))[0]!;
const back = (house: Appliance, revision: string | number, headers: Readonly<Record<string, string>> = {}, query = ''): Promise<Answer> => house.ask(`/api/history/${revision}/rollback${query}`, { method: 'POST', headers });
const edit = (house: Appliance, path: string, body: unknown): Promise<Answer> => house.ask(`/api/config${path}`, { method: 'PUT', body, headers: { 'if-match': '*' } });

async function mint(house: Appliance, id: string, scopes: readonly string[] = ['llm.chat']): Promise<string> {
  const answer = await house.ask('/admin/api-keys', { method: 'POST', body: { id, user: 'anna', scopes } });
  assert.is(answer.status, 201, JSON.stringify(answer.body));
  return (answer.body as { readonly key: string }).key;
}

async function chat(house: Appliance, key: string): Promise<number> {
  const response = await fetch(`${house.url}/v1/chat/completions`, { method: 'POST', headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' }, body: JSON.stringify({ model: 'one', messages: [] }) });
  await response.arrayBuffer();
  return response.status;
}

async function withHouse(run: (house: Appliance) => Promise<void>, options: Partial<Parameters<typeof appliance>[0]> = {}): Promise<void> {
  const house = await appliance({ yaml, env: { BEN_PASSWORD: PASSWORD }, ...options });
  try {
    if (options.yaml === undefined) await reaches(house, 'one', 'running');
    await run(house);
  } finally {
    assert.equal(await house.dispose(), []);
  }
}

const known = async (house: Appliance, valid: boolean): Promise<unknown> => until(`the file is known to be ${valid ? 'good' : 'no good'}`, async () => {
  const { file } = (await house.ask('/api/status')).body as { readonly file: { readonly valid: boolean; readonly revision: string; readonly inForce: string } };
  return file.valid === valid && (!valid || file.revision === file.inForce);
});

test('what was revoked, removed or narrowed stays so; everything else is as it was, byte for byte', () => withHouse(async (house) => {
  const [gone, narrow, kept] = [await mint(house, 'gone'), await mint(house, 'narrow', ['llm.chat', 'config.read']), await mint(house, 'kept')];
  const { access_token: session } = (await house.ask('/auth/login', { method: 'POST', body: { user: 'ben', password: PASSWORD } })).body as { readonly access_token: string };
  const me = async (): Promise<number> => (await house.ask('/auth/me', { headers: { authorization: `Bearer ${session}` } })).status;
  assert.equal([await chat(house, gone), await chat(house, narrow), await chat(house, kept), await me()], [200, 200, 200, 200]);
  const good = await newest(house);
  const before = text(house);

  assert.is((await edit(house, '/plugins/two/state', '"running"')).status, 200);
  await reaches(house, 'two', 'running');
  const one = await house.plugin('one');
  assert.is((await house.ask('/admin/api-keys/gone', { method: 'DELETE' })).status, 200);
  assert.is((await house.ask('/admin/api-keys/narrow', { method: 'PATCH', body: { scopes: ['config.read'] } })).status, 200);
  assert.is((await house.ask('/admin/users/ben', { method: 'DELETE' })).status, 200);
  const late = await mint(house, 'late');

  const dry = await back(house, good.seq, {}, '?dryRun=true');
  assert.is(dry.status, 200, JSON.stringify(dry.body));
  assert.match((dry.body as { readonly diff: string }).diff, /^-.*running.*\n\+.*stopped/m);
  assert.is((await house.plugin('two')).status, 'running', 'nothing was written');

  const answer = await back(house, good.revision.slice(0, 12), {}, '?wait=converged&timeout=1m');
  assert.is(answer.status, 200, JSON.stringify(answer.body));
  assert.equal([await chat(house, gone), await chat(house, narrow), await chat(house, kept), await chat(house, late), await me()], [401, 403, 200, 200, 401]);
  assert.equal([(await house.plugin('two')).status, (await house.plugin('one')).pid], ['stopped', one.pid]);
  const people = (from: string): string => from.slice(from.indexOf('users:'));
  assert.is(text(house).replace(people(text(house)), ''), before.replace(people(before), ''), 'the bytes of then');
  assert.match(text(house), /anna: \{ role: admin \} {3}# the boss\n/);
  assert.not.match(text(house), /gone|ben/);
  const { audit } = (await house.ask('/admin/audit?action=config.rollback')).body as { readonly audit: readonly { readonly target: string }[] };
  assert.equal(audit.map(({ target }) => target), [good.revision.slice(0, 12)]);
  assert.is((await newest(house)).source, 'api');

  // Also when bkg starts on it.
  await house.end();
  const next = await house.again();
  await reaches(next, 'one', 'running');
  assert.equal([await chat(next, gone), await chat(next, narrow), await chat(next, kept)], [401, 403, 200]);
  await next.end();
}));

test('with the people of then nothing but its bytes is left, and If-Match holds', () => withHouse(async (house) => {
  const { revision } = await newest(house);
  assert.is((await edit(house, '/plugins/two/state', '"running"')).status, 200);
  const stale = await back(house, revision, { 'if-match': `"${revision}"` });
  assert.equal([stale.status, (stale.body as { readonly code: string }).code], [412, 'RevisionStale']);
  const answer = await back(house, revision);
  assert.equal([answer.status, (answer.body as { readonly revision: string }).revision], [200, revision]);
  assert.is(text(house), yaml);
}));

test('out of a file that is no good: what it takes from people stays taken', () => withHouse(async (house) => {
  const [gone, kept] = [await mint(house, 'gone'), await mint(house, 'kept')];
  assert.equal([await chat(house, gone), await chat(house, kept)], [200, 200]);
  const { revision } = await newest(house);
  house.save(text(house).replace(/^ {2}gone:.*\n(?: {4}.*\n)*/m, '').replace('use: ./plugins/echo }', 'use: ./plugins/echo, nonsense: 1 }'));
  await known(house, false);
  assert.is(await chat(house, gone), 401);
  const answer = await back(house, revision);
  assert.is(answer.status, 200, JSON.stringify(answer.body));
  await known(house, true);
  assert.equal([await chat(house, gone), await chat(house, kept)], [401, 200]);
  assert.not.match(text(house), /gone/);
  // One that was no good is none to go back to.
  const [bad] = (await rows(house)).filter(({ valid }) => !valid);
  const refused = await back(house, bad!.seq);
  assert.equal([refused.status, (refused.body as { readonly code: string }).code], [422, 'ConfigInvalid']);
}));

test('after a revocation that could not be written', () => withHouse(async (house) => {
  const [gone, kept] = [await mint(house, 'gone'), await mint(house, 'kept')];
  const { revision } = await newest(house);
  const data = join(house.folder, '..data');
  mkdirSync(data);
  writeFileSync(join(data, 'bkg.yaml'), text(house).replace('state: stopped', 'state: running'));
  renameSync(house.config, `${house.config}.before`);
  symlinkSync(join('..data', 'bkg.yaml'), house.config);
  chmodSync(join(data, 'bkg.yaml'), 0o444);
  await settles(house);
  assert.is((await house.ask('/admin/api-keys/gone', { method: 'DELETE' })).status, 200);
  const readOnly = await back(house, revision);
  assert.equal([readOnly.status, (readOnly.body as { readonly code: string }).code, (readOnly.body as { readonly denied: unknown }).denied], [409, 'ReadOnlyFile', []]);
  // It can be written again, and names the key as it was.
  writeFileSync(`${house.config}.after`, readFileSync(join(data, 'bkg.yaml')));
  renameSync(`${house.config}.after`, house.config);
  await settles(house);
  assert.match(text(house), /gone:/);
  const answer = await back(house, revision);
  assert.is(answer.status, 200, JSON.stringify(answer.body));
  assert.equal([await chat(house, gone), await chat(house, kept)], [401, 200]);
  assert.not.match(text(house), /gone:/);
}));

test('nobody rolls back more than they may edit, and nobody sees more than they may read', () => withHouse(async (house) => {
  const { seq } = await newest(house);
  assert.is((await edit(house, '/server', { cors: { origins: ['https://a.example'] } })).status, 200);
  const { seq: second } = await newest(house);
  assert.is((await edit(house, '/plugins/two/state', '"running"')).status, 200);
  const { access_token: ben } = (await house.ask('/auth/login', { method: 'POST', body: { user: 'ben', password: PASSWORD } })).body as { readonly access_token: string };
  const as = { authorization: `Bearer ${ben}` };
  const refused = await back(house, seq, as);
  assert.equal([refused.status, (refused.body as { readonly code: string }).code], [403, 'ScopeMissing']);
  assert.match((refused.body as { readonly detail: string }).detail, /server/);
  assert.is((await back(house, second, as)).status, 200, 'a plugin that is stopped again is within a developer\'s rights');
  for (const path of [`/api/history/${seq}`, `/api/history/${seq}/diff`]) assert.is((await house.ask(path, { headers: as })).status, 403, 'a comment may speak of people');
  assert.is((await house.ask('/api/history', { headers: as })).status, 200);
  for (const [id, code] of [['999', 'RevisionUnknown'], ['nonsense', 'RevisionUnknown'], ['abc', 'RevisionUnknown']] as const) {
    const answer = await back(house, id);
    assert.equal([answer.status, (answer.body as { readonly code: string }).code], [404, code]);
  }
}));

test('while nobody can tell who is in force, nothing is rolled back', () => withHouse(async (house) => {
  const gone = await mint(house, 'gone');
  const { seq } = await newest(house);
  house.save(text(house).replace('  two:', '  more: { use: ./plugins/more, state: stopped }\n  two:'));
  await until('it is in force', async () => (await house.plugins()).some(({ id }) => id === 'more'));
  house.save(`${text(house).replace(/^ {2}gone:.*\n(?: {4}.*\n)*/m, '')}nonsense: 1\n`);
  await known(house, false);
  assert.is(await chat(house, gone), 401);
  await house.end();
  renameSync(join(house.folder, 'plugins', 'more'), join(house.folder, 'plugins', 'away'));
  const next = await house.again();
  try {
    const refused = await back(next, seq);
    assert.equal([refused.status, (refused.body as { readonly code: string }).code], [422, 'PeopleUncertain']);
    assert.is(await chat(next, gone).catch(() => 401), 401);
  } finally {
    await next.end();
  }
}, { files: { 'plugins/more/plugin.yaml': readFileSync(fileURLToPath(new URL('plugins/echo/plugin.yaml', import.meta.url)), 'utf8') } }));

test('a secret setting stays masked, whatever plugin has its name today, and whether that is there or not', () => {
  const pinned = 'version: 1\nplugins:\n  p: { use: ./plugins/pin, state: stopped, config: { pin: hunter2, size: 3 } }\n';
  const manifest = (secret: boolean): string => `name: pin\nversion: 1.0.0\ndescription: A test.\nrun: [node, main.mjs]\nready: { http: /health }\nconfig:\n  type: object\n  additionalProperties: false\n  properties: { pin: { type: string${secret ? ', x-secret: true' : ''} }, size: { type: integer } }\n`;
  return withHouse(async (house) => {
    const { seq } = await newest(house);
    const shown = async (path: string): Promise<string> => JSON.stringify((await house.ask(path)).body);
    const all = async (): Promise<readonly string[]> => [await shown(`/api/history/${seq}`), await shown(`/api/history/${seq}/diff`)];
    assert.match((await all())[0]!, /size: 3/);
    house.save(pinned.replace('./plugins/pin', './plugins/open'));
    await until('it is in force', async () => (await house.plugin('p')).use === './plugins/open');
    for (const said of await all()) assert.not.match(said, 'hunter2');
    house.save('version: 1\nplugins: {}\n');
    await until('it is in force', async () => (await house.plugins()).length === 0);
    renameSync(join(house.folder, 'plugins', 'pin'), join(house.folder, 'plugins', 'away'));
    const late = await newest(house);
    for (const said of [...(await all()), await shown(`/api/history/${late.seq}/diff?to=${seq}`)]) assert.not.match(said, 'hunter2');
    // Nor does a file that is no good give away what its new plugin calls secret.
    renameSync(join(house.folder, 'plugins', 'away'), join(house.folder, 'plugins', 'pin'));
    house.save(`${pinned}nonsense: 1\n`);
    await known(house, false);
    for (const path of ['/api/config', `/api/history/${late.seq}/diff`]) assert.not.match(await shown(path), 'hunter2');
  }, { yaml: pinned, files: { 'plugins/pin/plugin.yaml': manifest(true), 'plugins/open/plugin.yaml': manifest(false) } });
});

test('on the command line: which there are, what one said, what differs, and back', () => withHouse(async (house) => {
  const bkg = async (...argv: readonly string[]): Promise<{ readonly code: number | null; readonly out: string }> => {
    const child = spawn(process.execPath, [fileURLToPath(new URL('../bin.mjs', import.meta.url)), ...argv], { cwd: house.folder, env: environment(house.folder), stdio: ['ignore', 'pipe', 'pipe'] });
    let out = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => { out += chunk.toString(); });
    return new Promise((resolve) => { child.once('close', (code) => resolve({ code, out })); });
  };
  const { seq, revision } = await newest(house);
  house.save(yaml.replace('state: stopped', 'env: { API_TOKEN: hunter2 }'));
  await reaches(house, 'two', 'running');
  const list = await bkg('history');
  assert.match(list.out, new RegExp(`^${seq} .*owner +file +${revision.slice(0, 12)} *\\n${seq + 1} .*in force`, 'm'));
  const one = await bkg('history', String(seq + 1));
  assert.match(one.out, /API_TOKEN: "\*\*\*"/);
  const differing = await bkg('diff', String(seq));
  assert.match(differing.out, /^-.*state: stopped.*\n\+.*API_TOKEN: "\*\*\*"/m);
  assert.equal([(await bkg('diff', String(seq + 1))).out, (await bkg('diff', String(seq), String(seq))).code], ['They say the same, byte for byte.\n', 0]);
  const dry = await bkg('rollback', String(seq), '--dry-run');
  assert.match(dry.out, /state: stopped[^]*stop +plugin\/two#0[^]*Nothing was written/);
  const done = await bkg('rollback', revision.slice(0, 8), '--wait');
  assert.is(done.code, 0, done.out);
  assert.match(done.out, /the machine has followed/);
  assert.is(text(house), yaml);
  const none = await bkg('rollback', '999');
  assert.equal([none.code, /There is no revision 999/.test(none.out)], [1, true], none.out);
}));

test.run();

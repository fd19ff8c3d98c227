// Users, keys, usage and audit by the command line, on a real appliance: what is made works at once, what is taken away is refused at once, and no secret stays behind.
import Database from 'better-sqlite3';
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { appliance, environment, reaches, type Appliance } from './appliance.ts';

const bin = fileURLToPath(new URL('../bin.mjs', import.meta.url));
type Ran = { readonly code: number | null; readonly stdout: string; readonly stderr: string };

/** Runs a command; `input` is its whole standard input, none is an empty one. */
function bkg(folder: string, argv: readonly string[], input = ''): Promise<Ran> {
  const child = spawn(process.execPath, [bin, ...argv], { cwd: folder, env: environment(folder), stdio: ['pipe', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => { stdout += chunk.toString(); });
  child.stderr.on('data', (chunk: Buffer) => { stderr += chunk.toString(); });
  // A command that reads no input may have ended before it is sent.
  child.stdin.on('error', () => undefined);
  child.stdin.end(input);
  return new Promise((resolve) => { child.once('close', (code) => resolve({ code, stdout, stderr })); });
}

async function done(folder: string, argv: readonly string[], input = ''): Promise<Ran> {
  const ran = await bkg(folder, argv, input);
  assert.is(ran.code, 0, `${argv.join(' ')}: ${ran.stderr}`);
  return ran;
}

async function refused(folder: string, argv: readonly string[], words: RegExp, input = ''): Promise<void> {
  const ran = await bkg(folder, argv, input);
  assert.equal([ran.code, ran.stdout], [1, ''], argv.join(' '));
  assert.match(ran.stderr, words);
  assert.not.match(ran.stderr, /\n\s+at /);
}

const yaml = `version: 1   # the house
plugins:
  one: { use: ./plugins/echo }   # kept

users:
  # the boss
  admin: { role: admin, password: { env: NOT_SET_HERE } }

keys:
  # of the people who test
  old:   { user: admin,   scopes: [llm.chat],   hash: "$2b$04$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzABCDE" }   # nobody knows its secret
`;
const HASH = /\$2b\$\d\d\$[./A-Za-z0-9]{53}/;
const SECRET = /^bkg_([a-z0-9-]+)_[0-9A-Za-z]{43}\n$/;
const PASSWORD = 'a few good words';
const OTHER = 'ein paar andere Wörter';

const declared = (folder: string): string => readFileSync(join(folder, 'bkg.yaml'), 'utf8');

/** Every line that stood there stands there yet, in its order. */
function keptIn(text: string): void {
  const lines = text.split('\n');
  let from = 0;
  for (const line of yaml.split('\n')) assert.ok((from = lines.indexOf(line, from) + 1) > 0, `${JSON.stringify(line)} is gone from\n${text}`);
}

/** Files below the folder that hold one of the texts, however they are written. */
function holding(folder: string, texts: readonly string[]): readonly string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => { const bytes = readFileSync(path); return texts.some((text) => bytes.includes(text)); });
}

const secretOf = (token: string): string => token.slice(token.lastIndexOf('_') + 1);
const models = async (house: Appliance, token: string): Promise<number> => {
  const response = await fetch(`${house.url}/v1/models`, { headers: { authorization: `Bearer ${token}` } });
  await response.arrayBuffer();
  return response.status;
};

test('a key: made, used at once, listed, rotated, revoked; its secret is told once and kept nowhere', async () => {
  const house = await appliance({ yaml });
  const { folder } = house;
  try {
    await reaches(house, 'one', 'running');
    const made = await done(folder, ['key', 'mint', '--id', 'ci', '--name', 'For the build', '--scope', 'llm.chat', 'llm.embed', '--plugin', 'one', 'tow', '--expires', '90d', '--requests-per-minute', '60', '--concurrent', '4']);
    assert.match(made.stdout, SECRET, 'the secret stands alone on stdout');
    const token = made.stdout.trim();
    assert.is(made.stderr.includes(secretOf(token)), false);
    assert.match(made.stderr, /Key ci of admin: llm\.chat, llm\.embed, on one, tow, until \d{4}-.*\n.*never shown again/);
    assert.match(made.stderr, /warning UnknownPlugin .*"tow".*not declared/);
    assert.is(await models(house, token), 200);
    keptIn(declared(folder));
    const listed = await done(folder, ['key', 'list']);
    assert.match(listed.stdout, /^ci +For the build +admin +llm\.chat, llm\.embed +one, tow +60 requests\/min, 4 at once +\d{4}-/m);
    assert.match(listed.stdout, /^old /m);
    const rotated = await done(folder, ['key', 'rotate', 'ci']);
    assert.match(rotated.stdout, SECRET);
    const next = rotated.stdout.trim();
    assert.equal([await models(house, token), await models(house, next)], [200, 200], 'the secret before is good yet');
    const json = JSON.parse((await done(folder, ['key', 'rotate', 'ci', '--overlap', '0s', '--json'])).stdout) as { key: string; id: string; previousUntil: string | null };
    assert.equal([json.id, json.previousUntil], ['ci', null]);
    assert.equal([await models(house, token), await models(house, next), await models(house, json.key)], [401, 401, 200], 'without an overlap only the new one is good');
    const body = (await house.ask('/admin/api-keys/ci/rotate', { method: 'POST', body: { overlap: '0s' } })).body as { key: string; previousUntil: string | null };
    assert.equal([body.previousUntil, await models(house, json.key), await models(house, body.key)], [null, 401, 200], 'what the body says counts');
    assert.is((await house.ask('/admin/api-keys/ci/rotate', { method: 'POST', body: { overlp: '0s' } })).status, 422);
    const changed = await done(folder, ['key', 'set', 'ci', '--scope', 'config.read', '--clear', 'expires,name', '--tokens-per-minute', '9']);
    assert.is(changed.stdout, 'ci of admin: config.read, on one, tow.\n');
    assert.match(changed.stderr, /warning UnknownPlugin/);
    assert.match((await done(folder, ['key', 'list'])).stdout, /^ci +admin +config\.read +one, tow +60 requests\/min, 9 tokens\/min, 4 at once/m);
    await refused(folder, ['key', 'set', 'ci'], /Nothing to change was named/);
    await refused(folder, ['key', 'set', 'ci', '--clear', 'hash'], /no such part that can be cleared\.\n.*name, plugins, expires, limits/);
    await refused(folder, ['key', 'set', 'di', '--name', 'x'], /There is no key di/);
    for (const ran of [listed, await done(folder, ['key', 'list', '--json'])]) assert.not.match(ran.stdout + ran.stderr, new RegExp(`${HASH.source}|${secretOf(token)}|${secretOf(next)}`));

    assert.match((await done(folder, ['key', 'revoke', 'ci'])).stdout, /ci is revoked: its next request is refused/);
    assert.is(await models(house, body.key), 401);
    assert.is(declared(folder), yaml, 'what was added is gone again, byte for byte');

    await refused(folder, ['key', 'revoke', 'ci'], /There is no key ci\.\n.*bkg key list/);
    await refused(folder, ['key', 'mint', '--id', 'old', '--scope', 'llm.chat'], /There is a key old already\.\n.*bkg key rotate old/);
    await refused(folder, ['key', 'mint'], /Without a scope .*\n.*--scope llm\.chat/);
    await refused(folder, ['key', 'mint', '--scope', 'llm chat'], /"llm chat" is no scope/);
    await refused(folder, ['key', 'mint', '--scope', 'llm.chat', '--user', 'nobody'], /There is no user nobody\.\n.*admin/);
    await refused(folder, ['key', 'mint', '--scope', 'llm.chat', '--expires', '2020-01-01'], /is over already/);
    await refused(folder, ['key', 'mint', '--scope', 'llm.chat', '--concurrent', '0'], /--concurrent 0: a whole number/);

    const over = await house.ask('/admin/api-keys', { method: 'POST', body: { user: 'admin', scopes: ['llm.chat'], expires: '2020-01-01' } });
    assert.equal([over.status, (over.body as { code: string }).code], [422, 'ExpiresOver']);
    const secrets = [token, next, json.key, body.key].map(secretOf);
    for (const secret of secrets) assert.not.match(house.output(), new RegExp(secret));
    assert.ok(holding(folder, ['# of the people who test']).includes(house.config), 'what does stand somewhere is found');
    assert.equal(holding(folder, secrets), [], 'a secret was left behind');
  } finally {
    assert.equal(await house.dispose(), []);
  }
});

type Tokens = { readonly access_token: string; readonly refresh_token: string };
const signIn = (house: Appliance, user: string, password: string): ReturnType<Appliance['ask']> => house.ask('/auth/login', { method: 'POST', body: { user, password } });
const me = async (house: Appliance, token: string): Promise<number> => (await house.ask('/auth/me', { headers: { authorization: `Bearer ${token}` } })).status;

test('a user: added with a password from stdin, signs in, gets another password, is removed', async () => {
  const house = await appliance({ yaml });
  const { folder } = house;
  try {
    await refused(folder, ['user', 'add', 'anna'], /fewer than 10 characters/, 'short\n');
    await refused(folder, ['user', 'add', 'anna'], /No password came in, so nothing was changed\.\n/);
    await refused(folder, ['user', 'add', 'Anna'], /"Anna" is no name of a user\.\n.*lower-case/);
    assert.is(declared(folder), yaml);

    await done(folder, ['user', 'add', 'anna', '--role', 'admin'], `${PASSWORD}\r\nthis is another line\n`);
    keptIn(declared(folder));
    const signed = await signIn(house, 'anna', PASSWORD);
    assert.is(signed.status, 200);
    const { access_token, refresh_token } = signed.body as Tokens;
    assert.is(await me(house, access_token), 200);
    await refused(folder, ['user', 'add', 'anna'], /There is a user anna already\.\n.*bkg user passwd anna/, `${OTHER}\n`);
    assert.match((await done(folder, ['user', 'list'])).stdout, /^anna +admin +hash +1 /m);

    assert.match((await done(folder, ['user', 'role', 'anna', 'developer', '--force'])).stdout, /^anna has the role developer, from the next request on\.\n$/);
    const warned = await done(folder, ['patch', '/users/anna/role', 'developer']);
    assert.match(warned.stderr, /warning NoAdmin|stands there already/);
    await done(folder, ['user', 'role', 'anna', 'admin']);
    await refused(folder, ['user', 'role', 'anna', 'readonly'], /last admin who can sign in\.\n.*--force/);
    await refused(folder, ['user', 'role', 'bert', 'readonly'], /There is no user bert/);
    await done(folder, ['user', 'passwd', 'anna'], OTHER);
    assert.is((await signIn(house, 'anna', PASSWORD)).status, 401);
    assert.is(await me(house, access_token), 401, 'the session of before is dead');
    assert.is((await house.ask('/auth/refresh', { method: 'POST', body: { refresh_token } })).status, 401);
    const again = (await signIn(house, 'anna', OTHER)).body as Tokens;
    await refused(folder, ['user', 'passwd', 'bert'], /There is no user bert\.\n.*admin, anna/, `${OTHER}\n`);

    assert.match((await done(folder, ['user', 'add', 'bot', '--no-password', '--role', 'readonly'])).stdout, /Nobody can sign in as them/);
    const token = (await done(folder, ['key', 'mint', '--user', 'bot', '--scope', 'llm.chat'])).stdout.trim();
    assert.is(await models(house, token), 200);
    const id = /^bkg_(key-[0-9a-f]{8})_/.exec(token)?.[1] ?? '';
    const gone = await done(folder, ['user', 'remove', 'bot']);
    assert.match(gone.stderr, new RegExp(`nobody can use now: ${id}\\. bkg key revoke`));
    assert.is(await models(house, token), 401);
    await done(folder, ['key', 'revoke', id]);

    // The password of the other admin is in a variable that is not set.
    await refused(folder, ['user', 'remove', 'anna'], /last admin who can sign in\.\n.*--force/);
    assert.is(await me(house, again.access_token), 200);
    await done(folder, ['user', 'remove', 'anna', '--force']);
    assert.is(await me(house, again.access_token), 401);
    assert.is((await signIn(house, 'anna', OTHER)).status, 401);
    assert.is(declared(folder), yaml, 'what was added is gone again, byte for byte');
    for (const word of [PASSWORD, OTHER]) assert.is(house.output().includes(word), false);
    assert.equal(holding(folder, [PASSWORD, OTHER, access_token, secretOf(token)]), []);
  } finally {
    assert.equal(await house.dispose(), []);
  }
});

test('while no bkg runs the file is edited, and the next start follows it', async () => {
  let house = await appliance({ yaml });
  const { folder } = house;
  try {
    await house.end();
    const made = await done(folder, ['key', 'mint', '--name', 'Anna\'s laptop', '--scope', 'llm.chat,config.read']);
    assert.match(made.stdout, SECRET);
    assert.match(made.stderr, /No bkg runs here: the file was edited, the next start follows it\.\n$/);
    const token = made.stdout.trim();
    assert.ok(token.startsWith('bkg_anna-s-laptop_'));
    keptIn(declared(folder));
    assert.match((await done(folder, ['key', 'list'])).stdout, /^anna-s-laptop +Anna's laptop +admin +llm\.chat, config\.read +all/m);
    await done(folder, ['key', 'set', 'anna-s-laptop', '--concurrent', '2', '--expires', '90d']);
    assert.match((await done(folder, ['key', 'set', 'anna-s-laptop', '--requests-per-minute', '7', '--clear', 'expires'])).stderr, /No bkg runs here/);
    assert.match((await done(folder, ['key', 'list'])).stdout, /all +7 requests\/min, 2 at once *$/m);
    await done(folder, ['user', 'add', 'anna'], `${PASSWORD}\n`);
    assert.is((await done(folder, ['user', 'role', 'anna', 'admin'])).stdout, 'anna has the role admin.\n');
    await done(folder, ['user', 'role', 'anna', 'developer']);
    await refused(folder, ['user', 'role', 'admin', 'developer'], /last admin who can sign in/);
    await refused(folder, ['key', 'mint', '--scope', 'llm.chat'], /more than one is declared\.\n.*--user admin or --user anna/);
    await refused(folder, ['user', 'remove', 'admin'], /last admin who can sign in/);
    const rotated = (await done(folder, ['key', 'rotate', 'anna-s-laptop'])).stdout.trim();
    for (const argv of [['usage'], ['audit'], ['audit', 'verify']]) assert.is((await bkg(folder, argv)).code, 3, argv.join(' '));

    house = await house.again();
    assert.equal([await models(house, token), await models(house, rotated)], [200, 200]);
    assert.is((await signIn(house, 'anna', PASSWORD)).status, 200);
    await house.end();
    await done(folder, ['user', 'passwd', 'anna'], `${OTHER}\n`);
    await done(folder, ['key', 'revoke', 'anna-s-laptop']);
    house = await house.again();
    assert.equal([await models(house, token), await models(house, rotated)], [401, 401]);
    assert.equal([(await signIn(house, 'anna', PASSWORD)).status, (await signIn(house, 'anna', OTHER)).status], [401, 200]);
    await done(folder, ['user', 'remove', 'anna']);
    assert.is(declared(folder), yaml);
    assert.equal(holding(folder, [token, rotated].map(secretOf).concat(PASSWORD, OTHER)), []);
  } finally {
    assert.equal(await house.dispose(), []);
  }
});

test('usage is counted by key, and the audit log says who did what, and when a row was changed', async () => {
  const house = await appliance({ yaml });
  const { folder } = house;
  try {
    await reaches(house, 'one', 'running');
    assert.match((await done(folder, ['usage'])).stdout, /^No request in this time\.\n$/);
    const token = (await done(folder, ['key', 'mint', '--id', 'ci', '--scope', 'llm.chat'])).stdout.trim();
    for (let asked = 0; asked < 3; asked += 1) {
      const answer = await house.ask('/v1/chat/completions', { method: 'POST', headers: { authorization: `Bearer ${token}` }, body: { model: 'one', messages: [{ role: 'user', content: 'moin' }] } });
      assert.is(answer.status, 200);
    }
    assert.match((await done(folder, ['usage'])).stdout, /^key +requests +errors +prompt tokens +completion tokens +mean latency\nci +3 +0 +3 +3 +[\d.]+ m?s\n$/);
    const today = new Date().toISOString().slice(0, 10);
    assert.match((await done(folder, ['usage', '--by', 'day', '--from', today, '--to', today, '--key', 'ci'])).stdout, new RegExp(`^${today} +3 `, 'm'));
    assert.match((await done(folder, ['usage', '--by', 'total'])).stdout, /^total +3 /m);
    assert.match((await done(folder, ['usage', '--by', 'total', '--user', 'admin', '--plugin', 'one'])).stdout, /^total +3 /m);
    assert.match((await done(folder, ['usage', '--by', 'total', '--plugin', 'other'])).stdout, /^No request/);
    await refused(folder, ['usage', '--from', 'monday'], /--from monday is no day/);

    // Who tries what they may not is written down, once a minute for the same.
    for (const name of ['admin', 'admin', 'no name']) assert.is((await house.ask(`/admin/users/${name}`, { method: 'DELETE', headers: { authorization: `Bearer ${token}` } })).status, 403);
    const tried = (JSON.parse((await done(folder, ['audit', '--action', 'request', '--json'])).stdout) as { audit: { target: string; outcome: string; actor: string }[] }).audit;
    assert.equal(tried.map(({ actor, target, outcome }) => [actor, target, outcome]), [['key ci', 'DELETE /admin/users/{name}', 'refused'], ['key ci', 'DELETE /admin/users/admin', 'refused']]);
    await done(folder, ['key', 'revoke', 'ci']);
    const { stdout } = await done(folder, ['audit', '--action', 'key.', '-n', '2']);
    assert.match(stdout, /\n\d+ +\S+Z +admin\.token +cli 127\.0\.0\.1 +key\.create +ci +done\n\d+ +\S+Z +admin\.token +cli 127\.0\.0\.1 +key\.revoke +ci +done\n$/);
    assert.match((await done(folder, ['audit', '--actor', 'nobody'])).stdout, /^Nothing of that kind/);
    assert.match((await done(folder, ['audit', 'verify'])).stdout, /^intact: /);

    const { audit } = JSON.parse((await done(folder, ['audit', '--action', 'key.revoke', '--json'])).stdout) as { audit: { seq: number; target: string }[] };
    assert.is(audit[0]?.target, 'ci');
    const db = new Database(join(house.home, 'bkg.db'));
    db.prepare("UPDATE audit SET target = 'old' WHERE seq = ?").run(audit[0]!.seq);
    db.close();
    const found = await bkg(folder, ['audit', 'verify']);
    assert.is(found.code, 1);
    assert.match(found.stdout, new RegExp(`^not intact: row ${audit[0]!.seq} is not what was written`));
    assert.is((JSON.parse((await bkg(folder, ['audit', 'verify', '--json'])).stdout) as { seq: number }).seq, audit[0]!.seq);
  } finally {
    assert.equal(await house.dispose(), []);
  }
});

test.run();

// Sends secrets through every door of a real appliance, then looks for them in everything it wrote, said and showed.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { WebSocket } from 'undici';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { appliance, reaches, sleep, until, type Answer } from './appliance.ts';

const PASSWORD = 'canary-password-4c1f08a2';
const NEXT = 'canary-next-password-77be';
const WRONG = 'canary-wrong-password-e91d';
const IN_ENV = 'canary-environment-0b6e5d';
const LITERAL = 'canary-literal-2f7ad9c4';
const yaml = `version: 1
plugins:
  one: { use: ./plugins/echo, env: { HF_TOKEN: "\${env:CANARY}" } }
users:
  anna: { role: admin, password: { env: ANNA_PASSWORD } }
  ben: { role: developer }
`;

/** Every file below a folder, with its bytes. */
function* filesIn(folder: string): Generator<readonly [string, Buffer]> {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    const facts = statSync(path, { throwIfNoEntry: false });
    if (facts?.isDirectory() === true) yield* filesIn(path);
    else if (facts?.isFile() === true) yield [path, readFileSync(path)];
  }
}

test('no secret is written, said or shown anywhere but where it was asked for', async () => {
  const house = await appliance({ yaml, env: { ANNA_PASSWORD: PASSWORD, CANARY: IN_ENV, BKG_LOG_LEVEL: 'trace' } });
  const shown: string[] = [];
  const secrets = new Set([PASSWORD, NEXT, WRONG, IN_ENV, LITERAL, house.token]);
  const told = (answer: Answer): Answer => {
    shown.push(JSON.stringify(answer.body), JSON.stringify(Object.fromEntries(answer.headers)));
    return answer;
  };
  try {
    await reaches(house, 'one', 'running');
    const socket = new WebSocket(`${house.url.replace('http', 'ws')}/ws/plugins`, { headers: { authorization: `Bearer ${house.token}` } });
    socket.addEventListener('message', (event) => { shown.push(String(event.data)); });
    await new Promise((resolve) => { socket.addEventListener('open', resolve); });
    for (const topic of ['status', 'logs', 'telemetry', 'models', 'plan', 'events']) socket.send(JSON.stringify({ action: 'SUB', topic }));

    // Where a secret is handed out, it is taken out of what is looked through.
    const login = await house.ask('/auth/login', { method: 'POST', body: { user: 'anna', password: PASSWORD } });
    const tokens = login.body as { readonly access_token: string; readonly refresh_token: string };
    const minted = (await house.ask('/admin/api-keys', { method: 'POST', body: { id: 'ci', name: 'CI', scopes: ['llm.chat'], user: 'anna' } })).body as { readonly key: string };
    const rotated = (await house.ask('/admin/api-keys/ci/rotate', { method: 'POST' })).body as { readonly key: string };
    for (const secret of [tokens.access_token, tokens.refresh_token, minted.key, rotated.key]) secrets.add(secret);
    const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

    // Through every door: right, wrong, in the wrong place.
    told(await house.ask('/auth/login', { method: 'POST', body: { user: 'anna', password: WRONG } }));
    told(await house.ask('/auth/login', { method: 'POST', body: { user: WRONG, password: PASSWORD } }));
    told(await house.ask('/admin/users/ben', { method: 'PUT', body: { password: NEXT } }));
    told(await house.ask('/admin/users', { method: 'POST', body: { name: 'carl', role: 'readonly', password: NEXT } }));
    for (const key of [minted.key, rotated.key, `${rotated.key}x`]) {
      for (const path of ['/v1/models', '/api/status', '/auth/me']) told(await house.ask(path, { headers: bearer(key) }));
      // Whoever puts it into a path reads it again in the answer, and nobody else does.
      for (const path of [`/api/plugins/${key}`, `/api/config/plugins/${key}`, `/v1/models/${key}`]) await house.ask(path);
    }
    const edit = { 'if-match': '*', 'content-type': 'application/merge-patch+json' };
    told(await house.ask('/api/config', { method: 'PATCH', headers: edit, body: { plugins: { one: { env: { API_KEY: LITERAL } } } } }));
    told(await house.ask('/api/config', { method: 'PATCH', headers: edit, body: { users: { ben: { password: LITERAL } } } }));
    told(await house.ask('/api/config', { method: 'PATCH', headers: edit, body: { users: { ben: { password: { hash: LITERAL } } } } }));
    told(await house.ask('/api/config', { method: 'PATCH', headers: edit, body: { keys: { ci: { hash: LITERAL } } } }));
    told(await house.ask('/api/config', { method: 'PATCH', headers: { ...edit, 'if-match': `"${'0'.repeat(64)}"` }, body: { users: { ben: { role: 'readonly' } } } }));
    told(await house.ask('/auth/refresh', { method: 'POST', body: { refresh_token: `${tokens.refresh_token}x` } }));
    told(await house.ask('/v1/chat/completions', { method: 'POST', headers: bearer(rotated.key), body: { model: 'one', messages: [] } }));
    // A secret written by hand into the file, where none may stand: the problem names the place.
    const before = readFileSync(house.config, 'utf8');
    house.save(before.replace('role: developer', `role: developer, passwort: "${LITERAL}"`).replace('"${env:CANARY}"', `"${LITERAL}"`));
    await until('the file is looked at', async () => (await house.ask('/api/status')).body !== null && JSON.stringify((await house.ask('/api/status')).body).includes('"valid":false'));
    for (const path of ['/api/status', '/api/config', '/api/drift', '/api/plan', '/api/events', '/api/history', '/api/plugins', '/api/plugins/one/logs', '/api/models', '/api/schema', '/admin/users', '/admin/api-keys', '/admin/audit', '/api/usage', '/metrics', '/openapi.json', '/health']) told(await house.ask(path));
    house.save(before);
    await sleep(1_500);
    socket.close();
    await house.end();
  } finally {
    const output = house.output();
    const places = [...filesIn(house.folder)].filter(([path]) => path !== join(house.home, 'admin.token'));
    const found: string[] = [];
    for (const secret of secrets) {
      const bytes = Buffer.from(secret);
      if (output.includes(secret)) found.push(`${secret.slice(0, 20)}… in the output of bkg`);
      for (const text of shown) if (text.includes(secret)) found.push(`${secret.slice(0, 20)}… in ${text.slice(0, 300)}`);
      for (const [path, content] of places) if (content.includes(bytes)) found.push(`${secret.slice(0, 20)}… in ${path}`);
    }
    const expected = await house.dispose();
    assert.equal(found, []);
    assert.equal(expected, []);
  }
});

test.run();

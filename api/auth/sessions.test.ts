// Sessions: tokens that were changed, are of another key or time, or of another kind, are nobody's; a refresh token is good once.
import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { SessionRow } from '../../reconciler/index.ts';
import { ACCESS_S, openSessions, REFRESH_MS } from './sessions.ts';

const test = suite('sessions');
const START = Date.parse('2026-06-01T00:00:00Z');

async function world(home = 'home', rows = new Map<string, SessionRow>()) {
  let now = START;
  const derive = (purpose: string): Uint8Array => createHash('sha256').update(`${home} ${purpose}`).digest();
  let writes = 0;
  const reconciler = {
    sessions: () => [...rows.values()],
    saveSessions: (saved: readonly SessionRow[]) => {
      writes += 1;
      for (const row of saved) rows.set(row.family, row);
    },
  };
  const open = () => openSessions({ reconciler, derive, clock: () => now });
  return { sessions: await open(), open, rows, writes: () => writes, later: (ms: number) => { now += ms; } };
}

const ANNA = { credential: 'hash', address: null, agent: null };
const refusedWith = async (work: Promise<unknown>): Promise<string> => work.then(() => 'admitted', (error: { readonly refusal?: { readonly code: string } }) => error.refusal?.code ?? String(error));

test('a token names its session until it is a quarter of an hour old', async () => {
  const { sessions, later } = await world();
  const { access } = await sessions.begin('anna', ANNA);
  assert.match(access, /^v4\.public\./);
  assert.is((await sessions.of(access))?.user, 'anna');
  later(ACCESS_S * 1000 - 1);
  assert.is((await sessions.of(access))?.user, 'anna');
  later(1);
  assert.is(await sessions.of(access), null);
});

test('it carries ids only', async () => {
  const { sessions } = await world();
  const { access } = await sessions.begin('anna', ANNA);
  const payload = Buffer.from(access.split('.')[2]!, 'base64url').subarray(0, -64).toString();
  assert.equal(Object.keys(JSON.parse(payload) as object).sort(), ['exp', 'iat', 'iss', 'sid', 'sub']);
});

test('a changed, foreign, future or otherwise signed token is nobody\'s', async () => {
  const { sessions, later } = await world();
  const { access } = await sessions.begin('anna', ANNA);
  const bytes = Buffer.from(access.split('.')[2]!, 'base64url');
  const forged = (change: (text: string) => string, signature = bytes.subarray(-64)): string => `v4.public.${Buffer.concat([Buffer.from(change(bytes.subarray(0, -64).toString())), signature]).toString('base64url')}`;
  const { privateKey } = generateKeyPairSync('ed25519');
  const other = await (await world('another home')).sessions.begin('anna', ANNA);
  const flipped = Buffer.from(bytes);
  flipped[3]! ^= 1;
  const wrong = {
    'another user': forged((text) => text.replace('anna', 'root')),
    'a bit of the payload': `v4.public.${flipped.toString('base64url')}`,
    'no signature': forged((text) => text, Buffer.alloc(64)),
    'signed by somebody': forged((text) => text, sign(null, bytes.subarray(0, -64), privateKey)),
    'of another home': other.access,
    'v4.local': access.replace('v4.public.', 'v4.local.'),
    'v3.public': access.replace('v4.public.', 'v3.public.'),
    'a footer': `${access}.${Buffer.from('{"kid":"x"}').toString('base64url')}`,
    'cut short': access.slice(0, -2),
    empty: 'v4.public.',
    nothing: '',
  };
  for (const [what, token] of Object.entries(wrong)) assert.is(await sessions.of(token), null, what);
  later(-60_000);
  const early = await world();
  early.later(60_000);
  const future = await early.sessions.begin('anna', ANNA);
  assert.is(await sessions.of(future.access), null, 'from the future');
});

test('a refresh token gives a new pair once; used again it ends the session for everybody', async () => {
  const { sessions } = await world();
  const first = await sessions.begin('anna', ANNA);
  const second = await sessions.renew(first.refresh);
  assert.is.not(second.signed.refresh, first.refresh);
  assert.is((await sessions.of(second.signed.access))?.user, 'anna');
  assert.is(await refusedWith(sessions.renew(first.refresh)), 'RefreshReused');
  assert.is(await refusedWith(sessions.renew(second.signed.refresh)), 'SessionEnded');
  assert.is(await sessions.of(second.signed.access), null);
});

test('one that nobody made ends nothing', async () => {
  const { sessions } = await world();
  const { refresh, access, family } = await sessions.begin('anna', ANNA);
  for (const wrong of ['', 'x', `${family}.1.x`, `${family}.2.${refresh.split('.')[2]}`, `${family}.0.`, refresh.replace(family, 'other')]) assert.is(await refusedWith(sessions.renew(wrong)), 'RefreshWrong', wrong);
  assert.is((await sessions.of(access))?.user, 'anna');
  assert.is((await sessions.renew(refresh)).row.generation, 2);
});

test('a session outlives bkg, ends when nobody comes, and at the latest after ninety days', async () => {
  const { sessions, open, later } = await world();
  let { refresh } = await sessions.begin('anna', ANNA);
  const again = await open();
  refresh = (await again.renew(refresh)).signed.refresh;
  for (let days = 0; days < 84; days += 12) {
    later(12 * 24 * 3_600_000);
    refresh = (await again.renew(refresh)).signed.refresh;
  }
  later(7 * 24 * 3_600_000);
  assert.is(await refusedWith(again.renew(refresh)), 'SessionEnded');
  const idle = await again.begin('anna', ANNA);
  later(REFRESH_MS);
  assert.is(await refusedWith(again.renew(idle.refresh)), 'SessionEnded');
});

test('it is bound to what it was begun with', async () => {
  const { sessions, rows } = await world();
  const { family } = await sessions.begin('anna', { ...ANNA, credential: '$2b$12$one' });
  const row = rows.get(family)!;
  assert.ok(sessions.isBoundTo(row, '$2b$12$one'));
  assert.not(sessions.isBoundTo(row, '$2b$12$two'));
  assert.not(sessions.isBoundTo(row, null));
  assert.not(JSON.stringify(row).includes('$2b$12$one'), 'the row tells nothing of it');
});

test('who is declared no more is signed out, and stays so under the same name', async () => {
  const { sessions } = await world();
  const [anna, bert] = [await sessions.begin('anna', ANNA), await sessions.begin('bert', ANNA)];
  sessions.endBut(new Set(['bert']));
  sessions.endBut(new Set(['anna', 'bert']));
  assert.equal([await sessions.of(anna.access), (await sessions.of(bert.access))?.user], [null, 'bert']);
  assert.is(await refusedWith(sessions.renew(anna.refresh)), 'SessionEnded');
});

test('all of somebody\'s end in one write, those that ran out are not written again', async () => {
  const { sessions, rows, later, writes } = await world();
  for (let index = 0; index < 5; index += 1) await sessions.begin('bert', ANNA);
  later(REFRESH_MS);
  for (let index = 0; index < 20; index += 1) await sessions.begin('anna', ANNA);
  const before = writes();
  sessions.endAll('anna', 'the password was changed');
  sessions.endBut(new Set());
  assert.is(writes() - before, 1);
  assert.is([...rows.values()].filter((row) => row.ended !== null).length, 20);
});

test('of a hundred and one sessions of a user the oldest goes', async () => {
  const { sessions, later } = await world();
  const first = await sessions.begin('anna', ANNA);
  const other = await sessions.begin('bert', ANNA);
  let last = first;
  for (let index = 0; index < 100; index += 1) {
    later(1);
    last = await sessions.begin('anna', ANNA);
  }
  assert.is(sessions.list('anna').length, 100);
  assert.equal([await sessions.of(first.access), (await sessions.of(last.access))?.user, (await sessions.of(other.access))?.user], [null, 'anna', 'bert']);
});

test.run();

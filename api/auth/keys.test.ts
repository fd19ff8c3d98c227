// API keys: right ones are known at once, wrong ones never reach bcrypt twice, and what the file says binds on the next look.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { DesiredKey, DesiredUser } from '../../reconciler/index.ts';
import { makeHouse } from '../testing/house.ts';
import { makeSecret, openKeyCheck, type KeyVerdict } from './keys.ts';
import { directories } from './somebody.ts';
import { isBusy } from './turns.ts';

const test = suite('keys');
const ADMIN: DesiredUser = { name: 'anna', role: 'admin', password: null };

const keyOf = (id: string, hash: string, more: Partial<DesiredKey> = {}): DesiredKey =>
  ({ id, name: null, user: 'anna', scopes: ['llm.chat'], within: [], hash, previous: null, expires: null, limits: { requestsPerMinute: null, tokensPerMinute: null, concurrent: null }, plugins: null, ...more });

async function secretOf(id: string): Promise<{ readonly token: string; readonly hash: string }> {
  const made = await makeSecret(id);
  assert.ok(made !== null && !isBusy(made));
  return made!;
}

async function world(keys: readonly DesiredKey[], users: readonly DesiredUser[] = [ADMIN]) {
  const house = makeHouse({ users, keys });
  let now = Date.parse('2026-06-01T00:00:00Z');
  const check = openKeyCheck(directories(house.reconciler.snapshot), () => now);
  return { ...check, show: (next: readonly DesiredKey[], people = users) => house.show({ users: people, keys: next }), at: (text: string) => { now = Date.parse(text); } };
}

const codeOf = (verdict: KeyVerdict): string => (verdict.ok ? verdict.who.name : `${verdict.refusal.status} ${verdict.refusal.code}`);

test('a key has 256 random bits in letters and digits, and its id in front', async () => {
  const made = await secretOf('ci');
  assert.match(made.token, /^bkg_ci_[0-9A-Za-z]{43}$/);
  assert.match(made.hash, /^\$2b\$04\$/);
  assert.is.not((await secretOf('ci')).token, made.token);
});

test('the first look is bcrypt\'s, every other one is at once', async () => {
  const { token, hash } = await secretOf('ci');
  const { check } = await world([keyOf('ci', hash)]);
  const first = check(token, '192.0.2.1');
  assert.instance(first, Promise);
  assert.is(codeOf(await first), 'key ci');
  const second = check(token, '192.0.2.1');
  assert.not.instance(second, Promise);
  assert.is(codeOf(second as KeyVerdict), 'key ci');
});

test('what is no key, or of an id that nobody has, is refused without bcrypt, in the words of a wrong secret', async () => {
  const { token, hash } = await secretOf('ci');
  const { check } = await world([keyOf('ci', hash)]);
  for (const wrong of ['bkg_', 'bkg_ci', 'bkg_ci_short', `${token}x`, token.slice(0, -1), `bkg_other_${'a'.repeat(43)}`, `bkg_CI_${'a'.repeat(43)}`, `bkg_ci_${'ä'.repeat(43)}`, `bkg___proto___${'a'.repeat(43)}`]) {
    const verdict = check(wrong, '192.0.2.1');
    assert.not.instance(verdict, Promise, wrong);
    assert.is(codeOf(verdict as KeyVerdict), '401 KeyWrong', wrong);
  }
  const wrong = `bkg_ci_${'a'.repeat(43)}`;
  const looked = check(wrong, '192.0.2.1');
  assert.instance(looked, Promise);
  assert.is(codeOf(await looked), '401 KeyWrong');
  assert.not.instance(check(wrong, '192.0.2.1'), Promise, 'the same wrong one again costs nothing');
});

test('revoked, given another hash, expired, its user gone: refused on the next look', async () => {
  const { token, hash } = await secretOf('ci');
  const key = keyOf('ci', hash);
  const { check, show, at } = await world([key]);
  assert.is(codeOf(await check(token, 'a')), 'key ci');
  show([]);
  assert.is(codeOf(await check(token, 'a')), '401 KeyWrong');
  show([key]);
  assert.is(codeOf(await check(token, 'a')), 'key ci', 'declared again it is good again');
  show([keyOf('ci', (await secretOf('ci')).hash)]);
  assert.is(codeOf(await check(token, 'a')), '401 KeyWrong');
  show([{ ...key, expires: Date.parse('2026-07-01T00:00:00Z') }]);
  assert.is(codeOf(await check(token, 'a')), 'key ci');
  at('2026-07-01T00:00:00Z');
  assert.is(codeOf(await check(token, 'a')), '401 KeyExpired');
  show([key], []);
  assert.is(codeOf(await check(token, 'a')), '401 KeyWrong');
});

test('after a rotation both secrets are good until the overlap ends', async () => {
  const [old, fresh] = [await secretOf('ci'), await secretOf('ci')];
  const { check, show, at } = await world([keyOf('ci', old.hash)]);
  assert.is(codeOf(await check(old.token, 'a')), 'key ci');
  show([keyOf('ci', fresh.hash, { previous: { hash: old.hash, until: Date.parse('2026-06-02T00:00:00Z') } })]);
  assert.is(codeOf(await check(old.token, 'a')), 'key ci');
  assert.is(codeOf(await check(fresh.token, 'a')), 'key ci');
  at('2026-06-02T00:00:00Z');
  assert.is(codeOf(await check(old.token, 'a')), '401 KeyWrong');
  assert.is(codeOf(await check(fresh.token, 'a')), 'key ci');
});

test('who was let in with the old secret goes with it, though the key has a new one', async () => {
  const [old, fresh] = [await secretOf('ci'), await secretOf('ci')];
  const previous = { hash: old.hash, until: Date.parse('2026-06-02T00:00:00Z') };
  const { check, again, show, at } = await world([keyOf('ci', fresh.hash, { previous })]);
  const [byOld, byFresh] = [await check(old.token, 'a'), await check(fresh.token, 'a')].map((verdict) => (verdict.ok ? verdict.who.key! : null));
  assert.equal([codeOf(again(byOld!)), codeOf(again(byFresh!))], ['key ci', 'key ci']);
  at('2026-06-02T00:00:00Z');
  assert.equal([codeOf(again(byOld!)), codeOf(again(byFresh!))], ['401 KeyWrong', 'key ci']);
  show([keyOf('ci', fresh.hash)]);
  assert.is(codeOf(again(byFresh!)), 'key ci');
});

test('right keys of one address that are all new, as after a restart, are all let in', async () => {
  const made: { readonly token: string; readonly hash: string }[] = [];
  for (let index = 0; index < 300; index += 1) made.push(await secretOf(`k${index}`));
  const { check } = await world(made.map(({ hash }, index) => keyOf(`k${index}`, hash)));
  const asked: (KeyVerdict | Promise<KeyVerdict>)[] = [];
  for (const { token } of made) {
    asked.push(check(token, '192.0.2.1'));
    if (asked.length % 20 === 0) await new Promise((resolve) => { setImmediate(resolve); });
  }
  assert.equal((await Promise.all(asked)).map(codeOf), made.map((_one, index) => `key k${index}`));
  const tries = await Promise.all(Array.from({ length: 60 }, (_none, index) => check(`bkg_k0_${String(index).padStart(43, 'x')}`, '192.0.2.1')));
  const wrong = tries.filter((verdict) => codeOf(verdict) === '401 KeyWrong').length;
  assert.ok(wrong >= 30 && wrong <= 37, `${wrong} looks: none of the right ones was counted, and no more are looked at than were under way`);
});

test('an address that tries many secrets has to wait, another one and a known good key do not', async () => {
  const { token, hash } = await secretOf('ci');
  const { check } = await world([keyOf('ci', hash)]);
  assert.is(codeOf(await check(token, '192.0.2.1')), 'key ci');
  const tries = await Promise.all(Array.from({ length: 40 }, (_none, index) => check(`bkg_ci_${String(index).padStart(43, 'x')}`, '192.0.2.1')));
  const codes = tries.map(codeOf);
  const refused = codes.filter((code) => code === '429 TooManyWrongKeys').length;
  assert.ok(refused >= 3 && refused <= 10, `${refused}: thirty a minute, and those under way then; the right one took none`);
  assert.ok(tries.every((verdict) => verdict.ok || verdict.refusal.status === 401 || Number(verdict.refusal.headers?.['retry-after']) >= 1));
  assert.is(codeOf(await check(token, '192.0.2.1')), 'key ci');
  assert.is(codeOf(await check(`bkg_ci_${'y'.repeat(43)}`, '192.0.2.2')), '401 KeyWrong');
});

test.run();

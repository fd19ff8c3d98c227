// Passwords: against what the file names, and how often a wrong one may be tried.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { DesiredUser } from '../../reconciler/index.ts';
import { makeHouse } from '../testing/house.ts';
import { refusalIn } from '../problem.ts';
import { hash, KEY_COST } from './bcrypt.ts';
import { openPasswords } from './passwords.ts';
import { isBusy } from './turns.ts';

const test = suite('passwords');
const folder = mkdtempSync(join(tmpdir(), 'bkg-passwords-'));
test.after(() => rmSync(folder, { recursive: true }));

const userOf = (name: string, password: DesiredUser['password']): DesiredUser => ({ name, role: 'developer', password });
const world = (users: readonly DesiredUser[], env: Readonly<Record<string, string>> = {}) => openPasswords({ snapshot: makeHouse({ users }).reconciler.snapshot, env });
const answerOf = (work: Promise<DesiredUser>): Promise<string> => work.then(({ name }) => name, (error: unknown) => refusalIn(error)?.code ?? String(error));

async function hashed(password: string): Promise<string> {
  const made = await hash(password, KEY_COST);
  assert.not(isBusy(made));
  return made as string;
}

test('a hash, a variable and a file each hold one; what is empty, missing or no file holds none', async () => {
  writeFileSync(join(folder, 'bert'), 'of bert, in a file\n');
  const users = [
    userOf('anna', { kind: 'hash', hash: await hashed('of anna, hashed') }), userOf('bert', { kind: 'file', path: join(folder, 'bert') }), userOf('carl', { kind: 'env', name: 'CARL' }),
    userOf('dora', null), userOf('emil', { kind: 'env', name: 'EMIL' }), userOf('fred', { kind: 'file', path: folder }), userOf('gina', { kind: 'file', path: join(folder, 'none') }),
  ];
  const passwords = world(users, { CARL: 'of carl, from the environment', EMIL: '' });
  assert.equal(await Promise.all(users.map(passwords.canSignIn)), [true, true, true, false, false, false, false]);
  const right = { anna: 'of anna, hashed', bert: 'of bert, in a file', carl: 'of carl, from the environment' };
  for (const [name, password] of Object.entries(right)) assert.is(await answerOf(passwords.check(name, password, '192.0.2.1')), name);
  for (const [index, name] of ['anna', 'bert', 'carl', 'dora', 'emil', 'fred', 'gina', 'nobody'].entries()) assert.is(await answerOf(passwords.check(name, '', `198.51.100.${index}`)), 'LoginWrong', name);
});

test('a session is bound to what stands in the file, not to where it lies', async () => {
  const path = join(folder, 'hugo');
  writeFileSync(path, 'the first one');
  const hugo = userOf('hugo', { kind: 'file', path });
  const passwords = world([hugo]);
  await passwords.refresh();
  const becomes = async (fits: (credential: string | null) => boolean): Promise<void> => {
    for (const end = performance.now() + 10_000; !fits(passwords.credentialOf(hugo));) {
      assert.ok(performance.now() < end, 'what the file holds was never seen');
      await new Promise((resolve) => { setTimeout(resolve, 50); });
    }
  };
  const before = passwords.credentialOf(hugo);
  assert.is(before, 'file the first one');
  for (const gone of [() => writeFileSync(path, ''), () => rmSync(path)]) {
    gone();
    await becomes((credential) => credential === 'unknown');
    writeFileSync(path, 'the first one');
    await becomes((credential) => credential === before);
  }
  writeFileSync(path, 'the second one');
  await becomes((credential) => credential === 'file the second one');
  assert.is(await answerOf(passwords.check('hugo', 'the first one', '192.0.2.1')), 'LoginWrong');
  assert.is(await answerOf(passwords.check('hugo', 'the second one', '192.0.2.1')), 'hugo');
});

test('after ten wrong ones from one address it waits, another address does not, and a right one takes its own count back', async () => {
  const passwords = world([userOf('anna', { kind: 'env', name: 'ANNA' })], { ANNA: 'of anna, from the environment' });
  const from = (address: string, password = 'wrong') => answerOf(passwords.check('anna', password, address));
  for (let tries = 0; tries < 9; tries += 1) assert.is(await from('192.0.2.1'), 'LoginWrong');
  for (let tries = 0; tries < 3; tries += 1) assert.is(await from('192.0.2.1', 'of anna, from the environment'), 'anna');
  assert.is(await from('192.0.2.1'), 'LoginWrong');
  assert.is(await from('192.0.2.1', 'of anna, from the environment'), 'TooManyLogins');
  assert.is(await from('192.0.2.2', 'of anna, from the environment'), 'anna');
});

test('who was not looked at for the crowd has tried nothing', async () => {
  const passwords = world([userOf('anna', { kind: 'hash', hash: await hashed('of anna, hashed') })]);
  const many = await Promise.all(Array.from({ length: 90 }, (_none, index) => answerOf(passwords.check('anna', 'of anna, hashed', `192.0.2.${index}`))));
  assert.equal([...new Set(many)].sort(), ['Busy', 'anna']);
  const left = many.flatMap((answer, index) => (answer === 'Busy' ? [index] : []));
  for (const index of left.slice(0, 3)) for (let tries = 0; tries < 11; tries += 1) assert.is(await answerOf(passwords.check('anna', 'of anna, hashed', `192.0.2.${index}`)), 'anna');
});

test.run();

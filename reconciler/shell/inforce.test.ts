// Which revision is in force: half saves, bkg's own edits, files that cannot be read, and a last good one that has lost a part.
import { mkdirSync, mkdtempSync, rmSync, rmdirSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { desire } from './desire.ts';
import { revisionOf } from './declare.ts';
import { openInForce, type InForce } from './inforce.ts';
import { monotonic_ms } from './process.ts';
import { PLAIN } from './fixtures/plain.ts';
import { openStore, type Store } from './store.ts';

const ONE = 'version: 1\nplugins:\n  one: { use: ./one }\n';
const TWO = `${ONE}  two: { use: ./two }\n`;
/** A key of somebody nobody declared: a warning, no error. */
const WARNED = `${TWO}keys:\n  k: { user: nobody, scopes: [llm.chat], hash: "$2b$04$${'a'.repeat(53)}" }\n`;

type Made = {
  readonly folder: string;
  readonly config: string;
  readonly store: Store;
  readonly events: string[];
  readonly env: Record<string, string>;
  readonly open: () => ReturnType<typeof openInForce>;
  readonly place: { readonly config: string; readonly installation: string; readonly env: Readonly<Record<string, string>>; readonly seal: (text: string) => string };
};

async function withFile(text: string, run: (made: Made) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'bkg-inforce-'));
  const config = join(folder, 'bkg.yaml');
  for (const name of ['one', 'two']) {
    mkdirSync(join(folder, name));
    writeFileSync(join(folder, name, 'plugin.yaml'), 'run: [node, main.mjs]\nready: { http: /health }\n');
  }
  writeFileSync(config, text);
  const store = openStore(join(folder, 'bkg.db'), { bootId: 'boot', secrets: PLAIN });
  const events: string[] = [];
  const env: Record<string, string> = {};
  const place = { config, installation: folder, env, seal: (sealed: string) => sealed };
  try {
    await run({ folder, config, store, events, env, place, open: () => openInForce({ ...place, store, event: (reason) => { events.push(reason); } }) });
  } finally {
    store.close();
    rmSync(folder, { recursive: true });
  }
}

const ids = (found: InForce): readonly string[] => found.desired.plugins.map((plugin) => plugin.id);
const codes = (found: InForce): readonly string[] => found.file.problems.map((problem) => problem.code);

test('a strict prefix of what is in force waits, and holds once it has stayed so', () => withFile(TWO, async ({ config, open }) => {
  const inForce = open();
  assert.equal(ids(await inForce.boot()), ['one', 'two']);
  writeFileSync(config, ONE);
  const held = await inForce.read();
  assert.equal([ids(held), codes(held), held.file.valid], [['one', 'two'], ['ConfigHeld'], false]);
  while (monotonic_ms() < (held.lookAgain ?? 0)) await new Promise((resolve) => { setTimeout(resolve, 50); });
  const taken = await inForce.read();
  assert.equal([ids(taken), codes(taken), taken.lookAgain], [['one'], [], null]);
  assert.is(await inForce.read(), taken, 'nothing new is the same object');
}));

test('an end that was cut off while bkg was away takes effect with its start', () => withFile(TWO, async ({ config, open }) => {
  assert.equal(ids(await open().boot()), ['one', 'two']);
  writeFileSync(config, ONE);
  const begun = monotonic_ms();
  const found = await open().boot();
  assert.equal([ids(found), codes(found), found.lookAgain], [['one'], [], null]);
  assert.ok(monotonic_ms() - begun >= 1_000, 'a save that is just being made is waited for');
}));

test('bytes that bkg wrote itself are in force at once and are their author\'s', () => withFile(TWO, async ({ config, store, place, open }) => {
  const inForce = open();
  const before = await inForce.boot();
  const revision = revisionOf(ONE);
  const found = await desire(ONE, revision, place);
  const author = { actor: 'admin', source: 'api', address: null };
  const refused = await inForce.write({ text: ONE, revision, found }, author, async () => false);
  assert.is(refused, null);
  assert.equal(ids(inForce.current()), ['one', 'two']);
  // A look that comes while it is being written waits for it.
  let looked: Promise<InForce> | null = null;
  const taken = await inForce.write({ text: ONE, revision, found }, author, async () => {
    writeFileSync(config, ONE);
    looked = inForce.read();
    await new Promise((resolve) => { setTimeout(resolve, 20); });
    return true;
  });
  assert.equal([ids(taken!), taken!.seq], [['one'], before.seq + 1]);
  assert.is((await looked!).seq, taken!.seq);
  assert.equal(store.revisions(10).map((row) => [row.seq, row.actor, row.source]), [[taken!.seq, 'admin', 'api'], [before.seq, 'owner', 'file']]);
}));

test('what cannot be read or is not there changes nothing and says so', () => withFile(TWO, async ({ config, open }) => {
  const inForce = open();
  await inForce.boot();
  unlinkSync(config);
  const missing = await inForce.read();
  assert.equal([codes(missing), missing.file.revision, ids(missing)], [['FileMissing'], null, ['one', 'two']]);
  assert.is(await inForce.read(), missing);
  mkdirSync(config);
  const folder = await inForce.read();
  assert.equal([codes(folder), ids(folder), folder.lookAgain !== null], [['FileUnreadable'], ['one', 'two'], true]);
  rmdirSync(config);
  writeFileSync(config, TWO);
  const back = await inForce.read();
  assert.equal([codes(back), back.file.valid, back.lookAgain], [[], true, null]);
}));

test('the same mistake made twice is over when it is undone twice', () => withFile(TWO, async ({ config, events, open }) => {
  const inForce = open();
  await inForce.boot();
  for (const round of [1, 2]) {
    writeFileSync(config, 'version: [');
    const wrong = await inForce.read();
    assert.equal([wrong.file.valid, codes(wrong)], [false, ['YamlSyntax']], `${round}`);
    assert.is(wrong.file.revision, revisionOf('version: ['));
    writeFileSync(config, TWO);
    const back = await inForce.read();
    assert.equal([back.file.valid, codes(back), back.file.revision], [true, [], revisionOf(TWO)], `${round}`);
  }
  assert.equal(events.filter((reason) => reason === 'ConfigRejected' || reason === 'ConfigBack'), ['ConfigRejected', 'ConfigBack', 'ConfigRejected', 'ConfigBack']);
}));

test('a prefix that grows waits anew, and one that came over a missing file waits too', () => withFile(TWO, async ({ config, open }) => {
  const inForce = open();
  await inForce.boot();
  writeFileSync(config, 'version: 1\n');
  const first = await inForce.read();
  await new Promise((resolve) => { setTimeout(resolve, 1_200); });
  writeFileSync(config, ONE);
  await inForce.read();
  while (monotonic_ms() < (first.lookAgain ?? 0) + 100) await new Promise((resolve) => { setTimeout(resolve, 50); });
  assert.equal(codes(await inForce.read()), ['ConfigHeld'], 'its own two seconds are not over');
  unlinkSync(config);
  await inForce.read();
  writeFileSync(config, ONE);
  assert.equal(codes(await inForce.read()), ['ConfigHeld']);
}));

test('warnings stay with their revision, over a mistake, its undoing and a new start', () => withFile(WARNED, async ({ config, open }) => {
  const inForce = open();
  const warned = codes(await inForce.boot());
  assert.ok(warned.length > 0);
  writeFileSync(config, 'version: [');
  assert.is((await inForce.read()).file.valid, false);
  writeFileSync(config, WARNED);
  const back = await inForce.read();
  assert.equal([codes(back), back.file.valid], [warned, true]);
  assert.equal(codes(await open().boot()), warned);
}));

test('at boot, what no longer resolves of the last good revision is left alone; the rest is in force', () => withFile(TWO, async ({ folder, config, store, events, open }) => {
  await open().boot();
  rmSync(join(folder, 'two'), { recursive: true });
  const inForce = open();
  const found = await inForce.boot();
  assert.equal([ids(found), found.partial, found.file.valid, codes(found)], [['one'], true, false, ['PluginNotFound']]);
  assert.is(events.at(-1), 'ConfigRejected');
  const rows = store.revisions(10).length;
  const again = await inForce.read();
  assert.equal([codes(again), again.lookAgain !== null, store.revisions(10).length], [['PluginNotFound'], true, rows], 'looked at again, told once');
  writeFileSync(config, ONE);
  const mended = await inForce.read();
  // One that is a prefix of the last good text is held first, also now.
  assert.equal([codes(mended), mended.partial], [['ConfigHeld'], true]);
  writeFileSync(config, `${ONE}# two has gone\n`);
  const whole = await inForce.read();
  assert.equal([ids(whole), whole.partial, whole.file.valid], [['one'], false, true]);
}));

test('a plugin whose folder is mended is taken in without an edit', () => withFile(TWO, async ({ folder, open }) => {
  const manifest = join(folder, 'two', 'plugin.yaml');
  writeFileSync(manifest, 'run: no list\n');
  const inForce = open();
  assert.equal(codes(await inForce.boot()), ['ManifestInvalid']);
  writeFileSync(manifest, 'run: [node, main.mjs]\n');
  const found = await inForce.read();
  assert.equal([ids(found), found.file.valid, found.lookAgain], [['one', 'two'], true, null]);
}));

test('a home that knows no revision and a file that is broken: nothing is declared, and nothing is stopped', () => withFile('version: [', async ({ config, open }) => {
  const inForce = open();
  const found = await inForce.boot();
  assert.equal([ids(found), found.partial, found.file.valid], [[], true, false]);
  writeFileSync(config, ONE);
  const mended = await inForce.read();
  assert.equal([ids(mended), mended.partial], [['one'], false]);
}));

test.run();

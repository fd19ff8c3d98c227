// Every way a file is saved is noticed, and what changes no byte is not.
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync, unlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { watchFile } from './watch.ts';

const DEADLINE_MS = 15_000;
/** Longer than a poll and the pause before a look: what has not been told by then is not told. */
const QUIET_MS = 1_600;

const pause = (within_ms: number): Promise<void> => new Promise((resolve) => { setTimeout(resolve, within_ms); });

type Watched = {
  readonly folder: string;
  readonly path: string;
  /** What the file held at each call; null where it was missing. */
  readonly told: (string | null)[];
  settled(text: string | null): Promise<void>;
};

const textOf = (path: string): string | null => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
};

/** Watches `bkg.yaml` in a new folder, once `prepare` has laid it there. */
async function watched(prepare: (folder: string) => void, body: (at: Watched) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'bkg-watch-'));
  const path = join(folder, 'bkg.yaml');
  prepare(folder);
  const told: (string | null)[] = [];
  const watch = watchFile(path, () => { told.push(textOf(path)); });
  try {
    await body({
      folder, path, told,
      async settled(text) {
        const end = performance.now() + DEADLINE_MS;
        while (told.length === 0 || told.at(-1) !== text) {
          if (performance.now() > end) throw new Error(`waited in vain for ${JSON.stringify(text)}; told were ${JSON.stringify(told)}`);
          await pause(10);
        }
      },
    });
  } finally {
    await watch.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

const plain = (folder: string): void => writeFileSync(join(folder, 'bkg.yaml'), 'a: 1\n');

function saveAtomically(path: string, text: string): void {
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
}

test('saved in place, atomically, and by appending', () => watched(plain, async ({ path, settled }) => {
  writeFileSync(path, 'a: 2\n');
  await settled('a: 2\n');
  saveAtomically(path, 'a: 3\n');
  await settled('a: 3\n');
  saveAtomically(path, 'a: 4\n');
  await settled('a: 4\n');
  appendFileSync(path, 'b: 1\n');
  await settled('a: 4\nb: 1\n');
}));

for (const [how, save] of [['atomic', saveAtomically], ['in place', writeFileSync]] as const) {
  test(`of two saves 20 ms apart the second is what is told last (${how})`, () => watched(plain, async ({ path, settled }) => {
    for (let round = 0; round < 2; round += 1) {
      save(path, `round: ${round}\nsave: 1\n`);
      await pause(20);
      save(path, `round: ${round}\nsave: 2\n`);
      await settled(`round: ${round}\nsave: 2\n`);
    }
  }));
}

test('a row of quick saves is told seldom and ends at the last', () => watched(plain, async ({ path, told, settled }) => {
  for (let save = 1; save <= 100; save += 1) {
    saveAtomically(path, `save: ${save}\n`);
    await pause(2);
  }
  await settled('save: 100\n');
  assert.ok(told.length < 50, `${told.length} times`);
}));

test('a save right after the watch began is told', () => watched(plain, async ({ path, settled }) => {
  writeFileSync(path, 'a: 2\n');
  await settled('a: 2\n');
}));

test('an editor that moves the old file aside first', () => watched(plain, async ({ path, settled }) => {
  for (const text of ['a: 2\n', 'a: 3\n']) {
    renameSync(path, `${path}~`);
    writeFileSync(path, text);
    await settled(text);
  }
}));

test('a mounted file whose folder is swapped behind the link ..data', () => watched((folder) => {
  for (const version of ['v1', 'v2', 'v3']) {
    mkdirSync(join(folder, version));
    writeFileSync(join(folder, version, 'bkg.yaml'), `version: ${version}\n`);
  }
  symlinkSync('v1', join(folder, '..data'));
  symlinkSync('..data/bkg.yaml', join(folder, 'bkg.yaml'));
}, async ({ folder, settled }) => {
  for (const version of ['v2', 'v3']) {
    symlinkSync(version, join(folder, '..data_tmp'));
    renameSync(join(folder, '..data_tmp'), join(folder, '..data'));
    await settled(`version: ${version}\n`);
  }
}));

test('a link to a file elsewhere that is saved there', () => watched((folder) => {
  mkdirSync(join(folder, 'elsewhere'));
  writeFileSync(join(folder, 'elsewhere', 'real.yaml'), 'a: 1\n');
  symlinkSync('elsewhere/real.yaml', join(folder, 'bkg.yaml'));
}, async ({ folder, settled }) => {
  writeFileSync(join(folder, 'elsewhere', 'real.yaml'), 'a: 2\n');
  await settled('a: 2\n');
  saveAtomically(join(folder, 'elsewhere', 'real.yaml'), 'a: 3\n');
  await settled('a: 3\n');
}));

test('missing and back', () => watched(plain, async ({ path, settled }) => {
  unlinkSync(path);
  await settled(null);
  writeFileSync(path, 'a: 1\n');
  await settled('a: 1\n');
}));

test('missing from the start', () => watched(() => undefined, async ({ path, settled }) => {
  writeFileSync(path, 'a: 1\n');
  await settled('a: 1\n');
}));

test('a folder that is moved away and comes back', () => watched(plain, async ({ folder, path, settled }) => {
  renameSync(folder, `${folder}-away`);
  await settled(null);
  renameSync(`${folder}-away`, folder);
  await settled('a: 1\n');
  saveAtomically(path, 'a: 2\n');
  await settled('a: 2\n');
}));

test('touched, saved with the same bytes, or a neighbour saved: nothing is told', () => watched(plain, async ({ folder, path, told, settled }) => {
  utimesSync(path, new Date(), new Date());
  saveAtomically(path, 'a: 1\n');
  writeFileSync(join(folder, 'other.yaml'), 'a: 9\n');
  await pause(QUIET_MS);
  assert.equal(told, []);
  // It still looks.
  writeFileSync(path, 'a: 2\n');
  await settled('a: 2\n');
  assert.is(told.length, 1);
}));

test('after the end nothing is told any more', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'bkg-watch-'));
  const path = join(folder, 'bkg.yaml');
  writeFileSync(path, 'a: 1\n');
  let told = 0;
  const watch = watchFile(path, () => { told += 1; });
  writeFileSync(path, 'a: 2\n');
  await watch.close();
  const before = told;
  writeFileSync(path, 'a: 3\n');
  await pause(QUIET_MS);
  assert.is(told, before);
  rmSync(folder, { recursive: true });
});

test.run();

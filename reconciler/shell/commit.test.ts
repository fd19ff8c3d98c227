// A commit against editors that race it and against kill -9: no save of an editor is lost, no file is left torn.
import { fork } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { commit, replayJournal } from './commit.ts';
import { revisionOf } from './declare.ts';

const SAVES = 200;
const KILLS = 12;
const program = (name: string): string => fileURLToPath(new URL(`./fixtures/${name}`, import.meta.url));

type Place = { readonly folder: string; readonly path: string; readonly journalFolder: string };

function place(text: string): Place {
  const folder = mkdtempSync(join(tmpdir(), 'commit-'));
  const journalFolder = join(folder, 'journal');
  mkdirSync(journalFolder);
  const path = join(folder, 'bkg.yaml');
  writeFileSync(path, text);
  return { folder, path, journalFolder };
}

const onto = (at: Place, text: string): ReturnType<typeof commit> => commit({ ...at, expectRevision: revisionOf(readFileSync(at.path)), text });

for (const kind of ['atomic', 'in-place']) {
  test(`${SAVES} ${kind} saves race commits: what stands at the end is the last save, or an edit made on top of it`, async () => {
    const at = place('editor: 0\n');
    const editor = fork(program('editor.mjs'), [at.path, String(SAVES), kind]);
    let saved = 0;
    let ended = false;
    editor.on('message', (save) => { saved = save as number; });
    editor.once('exit', () => { ended = true; });
    let landed = 0;
    while (!ended) {
      const text = readFileSync(at.path, 'utf8');
      // The editor truncates before it writes, and a commit may be between its two steps: both are looked at again.
      const known = /editor: (\d+)\n/.exec(text)?.[1];
      if (known === undefined) continue;
      const result = await commit({ ...at, expectRevision: revisionOf(text), text: `editor: ${known}\nbkg: true\n` }).catch((error: NodeJS.ErrnoException) => { if (error.code !== 'ENOENT') throw error; return null; });
      if (result?.ok === true) landed += 1;
      const now = /editor: (\d+)\n/.exec(readFileSync(at.path, 'utf8'))?.[1];
      if (now !== undefined) assert.ok(Number(now) >= Number(known), `save ${now} after ${known}`);
    }
    await new Promise((resolve) => { setTimeout(resolve, 50); });
    assert.is(saved, SAVES);
    assert.match(readFileSync(at.path, 'utf8'), new RegExp(`^editor: ${SAVES}\n`));
    assert.ok(landed > 0, 'some commits landed');
    assert.equal(readdirSync(at.folder).sort(), ['bkg.yaml', 'journal'], 'nothing is left behind');
    rmSync(at.folder, { recursive: true });
  });
}

test(`killed ${KILLS} times at random moments: the file is whole after the journal is replayed`, async () => {
  const at = place('whole: start\nround: 0\nend: true\n');
  for (let kill = 0; kill < KILLS; kill += 1) {
    const child = fork(program('committer.mjs'), [at.path, at.journalFolder]);
    await new Promise((resolve) => { child.once('message', resolve); });
    await new Promise((resolve) => { setTimeout(resolve, Math.random() * 60); });
    child.kill('SIGKILL');
    await new Promise((resolve) => { child.once('exit', resolve); });
    await replayJournal(at.journalFolder);
    assert.match(readFileSync(at.path, 'utf8'), /^whole: (start|x{20000})\nround: \d+\nend: true\n$/);
    assert.equal(readdirSync(at.folder).sort(), ['bkg.yaml', 'journal']);
    assert.equal(readdirSync(at.journalFolder), []);
  }
  rmSync(at.folder, { recursive: true });
});

test('mode and line ends stay; another revision is refused with the one that stands', async () => {
  const at = place('a: 1\r\n');
  chmodSync(at.path, 0o640);
  assert.equal(await onto(at, 'a: 2\r\n'), { ok: true, revision: revisionOf('a: 2\r\n') });
  assert.is(statSync(at.path).mode & 0o777, 0o640);
  const stale = await commit({ ...at, expectRevision: revisionOf('a: 1\r\n'), text: 'a: 3\r\n' });
  assert.equal(stale, { ok: false, code: 'Stale', revision: revisionOf('a: 2\r\n') });
  assert.is(readFileSync(at.path, 'utf8'), 'a: 2\r\n');
  rmSync(at.folder, { recursive: true });
});

test('a file that its mount keeps is never written', async () => {
  const at = place('');
  const data = join(at.folder, '..data');
  mkdirSync(join(at.folder, 'v1'));
  writeFileSync(join(at.folder, 'v1', 'bkg.yaml'), 'a: 1\n');
  symlinkSync('v1', data);
  rmSync(at.path);
  symlinkSync('..data/bkg.yaml', at.path);
  const result = await onto(at, 'a: 2\n');
  assert.ok(!result.ok && result.code === 'ReadOnlyFile');
  assert.is(readFileSync(at.path, 'utf8'), 'a: 1\n');
  rmSync(at.folder, { recursive: true });
});

test('a torn write in place is undone; a save that came after it stays', async () => {
  const at = place('new: 1\nhalf');
  const journal = { path: at.path, old: 'old: 1\n', new: 'new: 1\nhalf and whole\n', temporary: '', aside: '', inPlace: true };
  writeFileSync(join(at.journalFolder, 'x.json'), JSON.stringify(journal));
  await replayJournal(at.journalFolder);
  assert.is(readFileSync(at.path, 'utf8'), 'old: 1\n');
  writeFileSync(at.path, 'editor: 1\n');
  writeFileSync(join(at.journalFolder, 'x.json'), JSON.stringify(journal));
  await replayJournal(at.journalFolder);
  assert.is(readFileSync(at.path, 'utf8'), 'editor: 1\n');
  rmSync(at.folder, { recursive: true });
});

test.run();

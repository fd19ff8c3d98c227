// A new password at a real terminal: typed twice, never shown, corrected and given up as people do; and as one line of a pipe.
import { compare } from 'bcrypt';
import { spawn, spawnSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { environment, layOut, until } from './e2e/appliance.ts';

const bin = fileURLToPath(new URL('bin.mjs', import.meta.url));
const ARGV = [process.execPath, bin, 'user', 'passwd', 'anna'];
const yaml = 'version: 1\nusers:\n  anna: { role: admin }   # kept\n';
const PASSWORD = 'a few good words';
const OTHER = 'ein paar andere Wörter';

/** A folder without a running bkg: then the hash stands in the file when the command has ended. */
async function inFolder(work: (folder: string, hash: () => string) => Promise<void>): Promise<void> {
  const folder = layOut({ yaml });
  const text = (): string => readFileSync(join(folder, 'bkg.yaml'), 'utf8');
  try {
    await work(folder, () => {
      assert.match(text(), /^ {2}anna: \{ role: admin, password: \{ hash: .* \} \} {3}# kept$/m);
      return /\$2b\$12\$[./A-Za-z0-9]{53}/.exec(text())?.[0] ?? '';
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Types each word once the command asks for it, on a terminal that `script` makes. */
async function type(folder: string, words: readonly string[]): Promise<{ readonly code: number | null; readonly shown: string }> {
  const child = spawn('script', ['-qefc', ARGV.join(' '), '/dev/null'], { cwd: folder, env: environment(folder), stdio: ['pipe', 'pipe', 'inherit'] });
  let shown = '';
  child.stdout.on('data', (chunk: Buffer) => { shown += chunk.toString(); });
  const ended = new Promise<number | null>((resolve) => { child.once('close', resolve); });
  for (const [number, word] of words.entries()) {
    await until('it asks', () => (shown.match(/: /g) ?? []).length > number || child.exitCode !== null);
    child.stdin.write(word);
  }
  return { code: await ended, shown };
}

// Of util-linux; elsewhere another program has that name, or none.
const hasTerminal = /util-linux/.test(spawnSync('script', ['--version'], { encoding: 'utf8' }).stdout ?? '');
const atTerminal = hasTerminal ? test : test.skip;

atTerminal('at a terminal it is typed twice and never shown', () => inFolder(async (folder, hash) => {
  // One key too many, taken back.
  const { code, shown } = await type(folder, [`${OTHER}x\u007f\r`, `${OTHER}\r`]);
  assert.is(code, 0, shown);
  assert.match(shown, /^New password for anna: \r\nOnce more: \r\nanna has another password/);
  assert.not.match(shown, /Wörter/);
  assert.ok(await compare(OTHER, hash()));
}));

atTerminal('what differs, is too short or is given up changes nothing', () => inFolder(async (folder) => {
  const tries: readonly (readonly [words: readonly string[], code: number, said: RegExp])[] = [
    [[`${PASSWORD}\r`, `${OTHER}\r`], 1, /The two are not the same, so nothing was changed/], [['short\r'], 1, /fewer than 10 characters/], [[`${'ö'.repeat(37)}\r`], 1, /more than 72 bytes/],
    [['\u0003'], 130, /Nothing was changed/], [[`${PASSWORD}\r`, '\u0003'], 130, /Nothing was changed/], [['\u0004'], 1, /No password was typed/],
  ];
  for (const [words, code, said] of tries) {
    const ran = await type(folder, words);
    assert.is(ran.code, code, ran.shown);
    assert.match(ran.shown, said);
    assert.not.match(ran.shown, /good words|Wörter|short\r/);
  }
  assert.is(readFileSync(join(folder, 'bkg.yaml'), 'utf8'), yaml);
}));

test('a pipe gives one line, and need not end', () => inFolder(async (folder, hash) => {
  const child = spawn(ARGV[0]!, ARGV.slice(1), { cwd: folder, env: environment(folder), stdio: ['pipe', 'ignore', 'ignore'] });
  child.stdin.write(`${PASSWORD}\r\nnot this\n`);
  assert.is(await new Promise((resolve) => { child.once('exit', resolve); }), 0);
  assert.ok(await compare(PASSWORD, hash()));
}));

test.run();

// Set-up installs once, stays silent when nothing changed, says what failed, and two at a time do not harm each other.
import { spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

type Ran = { readonly code: number | null; readonly stderr: string };

/** A checkout with one dependency that lies in a folder beside it: no network is needed. */
function checkout(): string {
  const folder = mkdtempSync(join(tmpdir(), 'setup-'));
  mkdirSync(join(folder, 'devops'));
  cpSync(fileURLToPath(new URL('setup.mjs', import.meta.url)), join(folder, 'devops', 'setup.mjs'));
  mkdirSync(join(folder, 'brick'));
  writeFileSync(join(folder, 'brick', 'package.json'), JSON.stringify({ name: 'brick', version: '1.0.0' }));
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'house', version: '1.0.0', dependencies: { brick: 'file:brick' } }));
  return folder;
}

function setUp(folder: string, argv: readonly string[] = []): Promise<Ran> {
  const child = spawn(process.execPath, [join(folder, 'devops', 'setup.mjs'), ...argv], { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => { stderr += chunk.toString(); });
  return new Promise((resolve) => { child.once('close', (code) => resolve({ code, stderr })); });
}

test('installs once, then only when the package or the lock changed', async () => {
  const folder = checkout();
  try {
    const first = await setUp(folder);
    assert.is(first.code, 0, first.stderr);
    assert.match(first.stderr, /bkg is ready/);
    assert.ok(existsSync(join(folder, 'node_modules', 'brick')));
    assert.equal(await setUp(folder), { code: 0, stderr: '' });
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'house', version: '1.0.1', dependencies: { brick: 'file:brick' } }));
    assert.match((await setUp(folder)).stderr, /bkg is ready/);
    assert.equal(await setUp(folder), { code: 0, stderr: '' });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('--test installs the packages of plugins too', async () => {
  const folder = checkout();
  try {
    mkdirSync(join(folder, 'plugins', 'one'), { recursive: true });
    writeFileSync(join(folder, 'plugins', 'one', 'package.json'), JSON.stringify({ name: 'one', version: '1.0.0' }));
    await setUp(folder);
    assert.is(existsSync(join(folder, 'plugins', 'one', 'node_modules')), false);
    assert.match((await setUp(folder, ['--test'])).stderr, /plugins\/one is ready/);
    assert.equal(await setUp(folder, ['--test']), { code: 0, stderr: '' });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('a failed install is told, leaves no stamp, and the next run tries again', async () => {
  const folder = checkout();
  try {
    writeFileSync(join(folder, 'package.json'), '{ "name": "house", "dependencies": { "brick": "file:gone" ');
    const failed = await setUp(folder);
    assert.is(failed.code, 1);
    assert.match(failed.stderr, /npm install in bkg failed/);
    assert.not.match(failed.stderr, /\n\s+at /);
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'house', version: '1.0.0', dependencies: { brick: 'file:brick' } }));
    assert.is((await setUp(folder)).code, 0);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('two at a time: one installs, the other waits; the lock of a dead one does not hold anybody up', async () => {
  const folder = checkout();
  try {
    mkdirSync(join(folder, 'node_modules'));
    // No process has this number: it is above what the kernel gives out.
    writeFileSync(join(folder, 'node_modules', '.bkg-setup.lock'), '4194305');
    const both = await Promise.all([setUp(folder), setUp(folder)]);
    assert.equal(both.map((ran) => ran.code), [0, 0]);
    assert.is(both.filter((ran) => /bkg is ready/.test(ran.stderr)).length, 1, JSON.stringify(both));
    assert.is(existsSync(join(folder, 'node_modules', '.bkg-setup.lock')), false);
    assert.ok(statSync(join(folder, 'node_modules', '.bkg-setup')).size > 0);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();

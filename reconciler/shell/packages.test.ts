// What the disk refuses is a problem of the plugin that it belongs to, and of no other.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Package, Problem } from '../core/types.ts';
import { readPackages } from './packages.ts';

type Found = Readonly<Record<string, Package | Problem>>;

/** One plugin for each damage, with a sound one before and after them. */
async function withDamages(damages: Readonly<Record<string, (folder: string) => void>>, body: (found: Found, root: string) => void): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), 'bkg-packages-'));
  try {
    const ids = ['first', ...Object.keys(damages), 'last'];
    for (const id of ids) {
      mkdirSync(join(root, id, 'lib'), { recursive: true });
      writeFileSync(join(root, id, 'plugin.yaml'), `name: ${id}\nversion: 1.0.0\nrun: [node, main.js]\n`);
      damages[id]?.(join(root, id));
    }
    const declared = { version: 1, plugins: Object.fromEntries(ids.map((id) => [id, { use: `./${id}` }])) };
    const found = await readPackages(declared, { configFolder: root, installation: root, env: {} });
    assert.equal(Object.keys(found), ids);
    for (const id of ['first', 'last']) assert.ok('manifest' in found[id]!, JSON.stringify(found[id]));
    body(found, root);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

function problemOf(found: Found, id: string): Problem {
  const one = found[id];
  if (one === undefined || 'manifest' in one) throw new Error(`${id} has no problem`);
  return one;
}

test('each plugin that cannot be read has its own problem, with the path, the reason and a remedy', () => withDamages({
  circle: (folder) => symlinkSync('..', join(folder, 'lib', 'up')),
  // Nobody may read this one, whoever he is.
  unreadable: (folder) => symlinkSync('/proc/self/mem', join(folder, 'lib', 'secret.js')),
  folder: (folder) => { rmSync(join(folder, 'plugin.yaml')); mkdirSync(join(folder, 'plugin.yaml')); },
  loop: (folder) => { rmSync(join(folder, 'plugin.yaml')); symlinkSync('plugin.yaml', join(folder, 'plugin.yaml')); },
  pipe: (folder) => { rmSync(join(folder, 'plugin.yaml')); execFileSync('mkfifo', [join(folder, 'plugin.yaml')]); },
  huge: (folder) => truncateSync(join(folder, 'plugin.yaml'), 3 * 1024 ** 3),
  locked: (folder) => { rmSync(join(folder, 'plugin.yaml')); symlinkSync('/proc/self/mem', join(folder, 'plugin.yaml')); },
}, (found, root) => {
  const expected: Readonly<Record<string, readonly [path: string, why: RegExp]>> = {
    circle: ['lib/up', /circle/], unreadable: ['lib/secret.js', /EIO/], folder: ['plugin.yaml', /it is a folder/], loop: ['plugin.yaml', /ELOOP/],
    pipe: ['plugin.yaml', /not a file/], huge: ['plugin.yaml', /3221225472 bytes/], locked: ['', /EIO/],
  };
  for (const [id, [path, why]] of Object.entries(expected)) {
    const problem = problemOf(found, id);
    assert.equal([problem.code, problem.pointer, problem.severity], ['PluginUnreadable', `/plugins/${id}/use`, 'error'], JSON.stringify(problem));
    assert.ok(problem.message.includes(join(root, id, path)), problem.message);
    assert.match(problem.message, why);
    assert.type(problem.hint, 'string');
  }
}));

test('links to nothing and to themselves are no content; a plugin without a manifest is not there', () => withDamages({
  links: (folder) => { symlinkSync('nowhere', join(folder, 'broken')); symlinkSync('itself', join(folder, 'itself')); },
  none: (folder) => rmSync(join(folder, 'plugin.yaml')),
  file: (folder) => { rmSync(folder, { recursive: true }); writeFileSync(folder, 'no folder'); },
}, (found) => {
  assert.ok('manifest' in found['links']!);
  assert.equal(['none', 'file'].map((id) => problemOf(found, id).code), ['PluginNotFound', 'PluginNotFound']);
}));

test.run();

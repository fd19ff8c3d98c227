// The committed types are what the schemas say, and a stale one is noticed.
import { execFile } from 'node:child_process';
import { appendFile, cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { generate, stale } from './gen.ts';

const schemaFolder = fileURLToPath(new URL('../schema/', import.meta.url));

test('--check passes on what is committed', async () => {
  const { stderr } = await promisify(execFile)(process.execPath, [fileURLToPath(new URL('gen.ts', import.meta.url)), '--check']);
  assert.is(stderr, '');
});

test('a changed schema, a changed and a missing file are stale', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'gen-'));
  try {
    await cp(schemaFolder, folder, { recursive: true });
    assert.equal(await stale(folder), []);
    await appendFile(join(folder, 'wire.gen.ts'), '// by hand\n');
    await rm(join(folder, 'plugin.gen.ts'));
    const schema = await readFile(join(folder, 'bkg.schema.json'), 'utf8');
    await writeFile(join(folder, 'bkg.schema.json'), schema.replace('"memory":', '"budget":'));
    assert.equal(await stale(folder), ['bkg.gen.ts', 'plugin.gen.ts', 'wire.gen.ts']);
    assert.match(await generate('bkg', folder), /budget\?: string/);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test.run();

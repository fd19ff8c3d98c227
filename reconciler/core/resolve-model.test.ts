// Sources are taken apart, paths joined without node, and addresses shown without what is secret in them.
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { joinPath, parseSource, resolveModel } from './resolve-model.ts';
import type { DesiredModel } from './types.ts';

const base = { configFolder: '/etc/bkg', installation: '/opt/bkg' };

test('paths', () => {
  assert.is(joinPath('/a/b', 'c/./d//e'), '/a/b/c/d/e');
  assert.is(joinPath('/a/b', '../c'), '/a/c');
  assert.is(joinPath('/a', '../../../c'), '/c');
  assert.is(joinPath('/a', '/abs/x'), '/abs/x');
  assert.is(joinPath('/', 'x'), '/x');
});

test('every kind of source', () => {
  assert.equal(parseSource('file:../m.gguf', base), { kind: 'file', path: '/etc/m.gguf' });
  assert.equal(parseSource('file:///m/a.gguf', base), { kind: 'file', path: '/m/a.gguf' });
  assert.equal(parseSource('bundled:models/a.gguf', base), { kind: 'file', path: '/opt/bkg/models/a.gguf' });
  assert.equal(parseSource('https://host/a.gguf?x=1', base), { kind: 'http', url: 'https://host/a.gguf?x=1' });
  assert.equal(parseSource('hf://o/r/a/b.gguf', base), { kind: 'hf', org: 'o', repo: 'r', path: 'a/b.gguf', revision: 'main' });
  assert.equal(parseSource('hf://o/r/a@b.gguf@v1', base), { kind: 'hf', org: 'o', repo: 'r', path: 'a@b.gguf', revision: 'v1' });
  assert.is(parseSource('ftp://x', base), null);
});

test('a Hugging Face address comes back from its parts', () => {
  const word = fc.stringMatching(/^[A-Za-z0-9_.-]{1,12}$/);
  fc.assert(
    fc.property(word, word, fc.array(word, { minLength: 1, maxLength: 3 }), word, (org, repo, parts, revision) => {
      const path = parts.join('/');
      assert.equal(parseSource(`hf://${org}/${repo}/${path}@${revision}`, base), { kind: 'hf', org, repo, path, revision });
    }),
  );
});

const model = (source: string, sha256?: string): DesiredModel | null =>
  resolveModel(
    { name: 'm', model: { source, state: 'present', ...(sha256 === undefined ? {} : { sha256 }) }, typed: source },
    base,
    (text) => text,
  );

test('shown without secrets', () => {
  assert.is(model('https://me:pw@host/a?X-Token=abc&b=1')?.sourceText, 'https://***@host/a?X-Token=***&b=1');
  assert.is(model('hf://o/r/p@main')?.sourceText, 'hf://o/r/p@main');
});

test('the hash tells declarations apart, and equal ones not', () => {
  assert.is(model('hf://o/r/p')?.sourceHash, model('hf://o/r/p@main')?.sourceHash);
  assert.is.not(model('hf://o/r/p')?.sourceHash, model('hf://o/r/p@v2')?.sourceHash);
  assert.is.not(model('file:a', 'a'.repeat(64))?.sourceHash, model('file:a')?.sourceHash);
});

test.run();

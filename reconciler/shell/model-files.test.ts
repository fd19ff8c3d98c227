// Models of several files: shards, a folder on a hub, a folder of the owner's; one hash for all of them, and one copy of what is equal.
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseSource } from '../core/resolve-model.ts';
import type { ModelSource, ObservedFile } from '../core/types.ts';
import { gguf, llamaPairs, safetensors } from './format-sample.ts';
import { listHub } from './model-hub.ts';
import { fetchWhole, hashOf, type Whole } from './model-files.ts';

const COMMIT = 'c'.repeat(40);
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
const weights = (name: string): Buffer => safetensors({ [name]: { dtype: 'F32', shape: [2], data_offsets: [0, 8] } }, 8);
const FILES: Readonly<Record<string, Buffer>> = {
  'config.json': Buffer.from('{"hidden_size": 2}'), 'tokenizer/vocab.txt': Buffer.from('a\nb\n'), 'model-00001-of-00002.safetensors': weights('one'), 'model-00002-of-00002.safetensors': weights('two'),
  'README.md': Buffer.from('no part of it'), 'onnx/model.onnx': Buffer.from('another kind'),
};
const shard = (no: number): Buffer => gguf({ pairs: [...llamaPairs, ['split.no', { type: 2, bytes: Buffer.from([no, 0]) }], ['split.count', { type: 2, bytes: Buffer.from([2, 0]) }]] });

type Hub = { readonly root: string; readonly endpoint: string; readonly asked: IncomingMessage[]; files: Readonly<Record<string, Buffer>>; lie: string | null };

async function withHub(body: (hub: Hub) => Promise<void>): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), 'bkg-files-'));
  const asked: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    asked.push(request);
    const url = new URL(request.url ?? '', 'http://x');
    const name = decodeURIComponent(url.pathname.replace(`/o/r/resolve/${COMMIT}/`, '').replace(/^\/(files|plain)\//, ''));
    const bytes = hub.files[name];
    if (url.pathname === '/api/models/o/former/revision/main') return void response.writeHead(307, { location: '/api/models/o/r/revision/main?blobs=true' }).end();
    if (url.pathname === '/api/models/o/r/revision/main') {
      const siblings = Object.entries(hub.files).map(([rfilename, held]) => ({ rfilename, size: held.length, ...(rfilename.endsWith('.json') ? {} : { lfs: { sha256: hub.lie === rfilename ? 'f'.repeat(64) : sha256(held), size: held.length } }) }));
      return void response.end(JSON.stringify({ sha: COMMIT, siblings: [...siblings, { rfilename: '../outside.json' }] }));
    }
    if (bytes === undefined) return void response.writeHead(404).end();
    response.writeHead(200, { etag: `"${sha256(bytes)}"`, 'content-length': bytes.length }).end(bytes);
  });
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  const hub: Hub = { root, asked, endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, files: FILES, lie: null };
  try {
    await body(hub);
  } finally {
    server.close();
    server.closeAllConnections();
    rmSync(root, { recursive: true, force: true });
  }
}

const base = { configFolder: '/', installation: '/' };
const sourceOf = (text: string, files: readonly string[] | null = null): ModelSource => parseSource(text, base, files)!;
const fetched = (hub: Hub, source: ModelSource, o: { readonly sha256?: string; readonly had?: readonly ObservedFile[]; readonly seen?: (readonly [number, number | null])[] } = {}): Promise<Whole> => fetchWhole({
  source, sha256: o.sha256 ?? null, had: o.had ?? [], folder: join(hub.root, 'models'), env: { HF_ENDPOINT: hub.endpoint, HF_TOKEN: 'secret\n' }, signal: new AbortController().signal,
  onProgress: (bytes, total) => { o.seen?.push([bytes, total]); },
});
function good(whole: Whole): Extract<Whole, { readonly ok: true }> {
  assert.ok(whole.ok, JSON.stringify(whole));
  return whole as Extract<Whole, { readonly ok: true }>;
}
const message = (whole: Whole): string => (whole.ok ? 'it is well' : whole.message);

test('a repository: what engines want of it, at the commit its branch stood at, as one folder of links', () => withHub(async (hub) => {
  const seen: (readonly [number, number | null])[] = [];
  const whole = good(await fetched(hub, sourceOf('hf://o/r'), { seen }));
  const names = ['config.json', 'model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors', 'tokenizer/vocab.txt'];
  assert.equal(whole.files.map(({ name }) => name).sort(), names);
  for (const name of names) assert.equal(readFileSync(join(whole.path, name)), FILES[name]);
  for (const file of whole.files) assert.is(statSync(file.path).ino, statSync(join(whole.path, file.name)).ino, 'one copy');
  const total = names.reduce((sum, name) => sum + FILES[name]!.length, 0);
  assert.equal([whole.bytes, seen.at(-1)], [total, [total, total]]);
  assert.is(whole.commit, COMMIT);
  assert.is(whole.sha256, sha256(Buffer.from(names.map((name) => `${sha256(FILES[name]!)}  ${name}\n`).join(''))), 'as sha256sum prints it');
  assert.equal([whole.about.format, whole.about.format === 'safetensors' && whole.about.tensors], ['safetensors', 2]);
  assert.ok(hub.asked.every((request) => request.headers.authorization === 'Bearer secret'));
  // A link to other bytes than those that were verified is not taken for whole.
  const wrong = join(whole.path, 'config.json');
  rmSync(wrong);
  writeFileSync(wrong, '{}');
  assert.equal(readFileSync(join(good(await fetched(hub, sourceOf('hf://o/r'), { had: whole.files })).path, 'config.json')), FILES['config.json']);
  // Again: the list is asked for, and no file.
  const before = hub.asked.length;
  assert.is(good(await fetched(hub, sourceOf('hf://o/r'), { had: whole.files })).path, whole.path);
  assert.is(hub.asked.length, before + 1);
}));

test('a repository that has another name now is found under its former one', () => withHub(async (hub) => {
  const found = await listHub(sourceOf('hf://o/former') as Extract<ModelSource, { kind: 'hub' }>, { env: { HF_ENDPOINT: hub.endpoint }, signal: new AbortController().signal });
  assert.ok(found.ok, JSON.stringify(found));
  assert.is(found.files.length, 4);
  const away = await listHub(sourceOf('hf://o/r') as Extract<ModelSource, { kind: 'hub' }>, { env: { HF_ENDPOINT: 'http://me:hunter2@127.0.0.1:1' }, signal: new AbortController().signal });
  assert.not.match(message(away as Whole), /hunter2/);
  await listHub(sourceOf('hf://o/r') as Extract<ModelSource, { kind: 'hub' }>, { env: { HF_ENDPOINT: hub.endpoint.replace('://', '://me:hunter2@') }, signal: new AbortController().signal });
  assert.is(hub.asked.at(-1)?.headers.authorization, `Basic ${Buffer.from('me:hunter2').toString('base64')}`);
}));

test('patterns choose, a folder of the repository counts as the whole, and what is equal is kept once', () => withHub(async (hub) => {
  hub.files = { ...FILES, 'sub/model.safetensors': weights('one'), 'sub/deep/config.json': Buffer.from('{}') };
  assert.equal(good(await fetched(hub, sourceOf('hf://o/r', ['model-00001*', 'config.json']))).files.map(({ name }) => name), ['config.json', 'model-00001-of-00002.safetensors']);
  assert.equal(good(await fetched(hub, sourceOf('hf://o/r/sub/'))).files.map(({ name }) => name), ['deep/config.json', 'model.safetensors']);
  assert.is(readdirSync(join(hub.root, 'models/sha256')).length, 3);
}));

test('what is not there, not whole, or not what was declared is said, and nothing is laid out', () => withHub(async (hub) => {
  assert.match(message(await fetched(hub, sourceOf('hf://o/none'))), /has no o\/none at main; check the source/);
  assert.match(message(await fetched(hub, sourceOf('hf://o/r', ['*.json']))), /no weights are wanted by \*\.json; it holds model-00001-of-00002\.safetensors, .*: name one as hf:\/\/o\/r\//);
  assert.match(message(await fetched(hub, sourceOf('hf://o/r'), { sha256: 'a'.repeat(64) })), /its files have the sha256 [0-9a-f]{64}, declared is a{64}/);
  hub.lie = 'model-00002-of-00002.safetensors';
  const lie = await fetched(hub, sourceOf('hf://o/r'));
  assert.equal([lie.ok ? null : lie.reason, /^model-00002-of-00002\.safetensors: /.test(message(lie))], ['HashMismatch', true]);
  hub.lie = null;
  hub.files = { ...FILES, 'model-00001-of-00002.safetensors': Buffer.from('no safetensors at all') };
  assert.match(message(await fetched(hub, sourceOf('hf://o/r'))), /model-00001-of-00002\.safetensors/);
  assert.equal(readdirSync(join(hub.root, 'models')).includes('folders'), false);
}));

test('a shard stands for all of its model, and the path is that of the first', () => withHub(async (hub) => {
  hub.files = { 'm-00001-of-00002.gguf': shard(0), 'm-00002-of-00002.gguf': shard(1) };
  const whole = good(await fetched(hub, sourceOf(`${hub.endpoint}/files/m-00002-of-00002.gguf`)));
  assert.match(whole.path, /\/m-00001-of-00002\.gguf$/);
  assert.equal(readdirSync(join(whole.path, '..')), ['m-00001-of-00002.gguf', 'm-00002-of-00002.gguf']);
  assert.equal(whole.about.format === 'gguf' && whole.about.shard, { no: 0, count: 2 });
  const own = join(hub.root, 'own');
  mkdirSync(own);
  for (const [name, bytes] of Object.entries(hub.files)) writeFileSync(join(own, name), bytes);
  const used = good(await fetched(hub, sourceOf(`file:${own}/m-00001-of-00002.gguf`)));
  assert.equal([used.path, used.sha256], [join(own, 'm-00001-of-00002.gguf'), whole.sha256], 'used where they lie');
}));

test('a folder of the owner\'s is used where it lies; files of a web server are named', () => withHub(async (hub) => {
  const own = join(hub.root, 'own');
  mkdirSync(join(own, 'sub'), { recursive: true });
  writeFileSync(join(own, 'model.safetensors'), weights('one'));
  writeFileSync(join(own, 'sub/vocab.txt'), 'a\n');
  const whole = good(await fetched(hub, sourceOf(`file:${own}`)));
  assert.equal([whole.path, whole.files.map(({ name }) => name)], [own, ['model.safetensors', 'sub/vocab.txt']]);
  assert.is(whole.sha256, hashOf(whole.files));
  hub.files = { 'config.json': FILES['config.json']!, 'a b.safetensors': weights('one') };
  const named = good(await fetched(hub, sourceOf(`${hub.endpoint}/plain/`, ['config.json', 'a b.safetensors'])));
  assert.equal(readdirSync(named.path), ['a b.safetensors', 'config.json']);
  assert.is(parseSource(`${hub.endpoint}/plain/`, base), null, 'nobody says what lies there');
}));

test.run();

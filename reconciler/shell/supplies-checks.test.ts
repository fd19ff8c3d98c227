// Models hashed anew: what is whole stays, a flipped bit is found and mended, the owner's own files are never touched, and what nobody uses is told and can be removed.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { modelNamed } from '../core/world.ts';
import type { DesiredModel, ModelSource, ObservedModel } from '../core/types.ts';
import { PLAIN } from './fixtures/plain.ts';
import { gguf, safetensors } from './format-sample.ts';
import { openStore } from './store.ts';
import { openSupplies, type Supplies } from './supplies.ts';

const BYTES = gguf();
const DEADLINE_MS = 60_000;

type Place = { readonly root: string; readonly supplies: Supplies; readonly at: (path: string) => ModelSource; readonly asked: string[]; readonly mended: string[]; readonly events: string[]; readonly model: (name: string) => ObservedModel | undefined };

/** `root`: of a place that was there before; else one of its own, which goes with it. */
async function inPlace(body: (place: Place) => Promise<void>, before: string | null = null): Promise<void> {
  const root = before ?? mkdtempSync(join(tmpdir(), 'bkg-checks-'));
  const store = openStore(join(root, 'bkg.db'), { bootId: 'boot', secrets: PLAIN });
  const [events, mended, asked]: [string[], string[], string[]] = [[], [], []];
  const server = createServer((request, response) => {
    asked.push(request.url ?? '');
    response.writeHead(200, { etag: '"1"', 'content-length': BYTES.length }).end(BYTES);
  });
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  const supplies = openSupplies({
    home: root, installs: join(root, 'installs'), env: {}, downloads: () => ({ connections: 4, bandwidth_bytes: null, verifyEvery_ms: 0 }), store, poke: () => undefined, mended: (name) => { mended.push(name); },
    event: (reason, unit, message) => { events.push(`${reason} ${unit} ${message}`); },
  });
  try {
    await body({ root, supplies, asked, mended, events, at: (path) => ({ kind: 'http', url: `http://127.0.0.1:${(server.address() as AddressInfo).port}${path}` }), model: (name) => supplies.observedModels()[name] });
  } finally {
    supplies.close();
    store.close();
    server.close();
    server.closeAllConnections();
    if (before === null) rmSync(root, { recursive: true, force: true });
  }
}

async function until(what: string, look: () => boolean): Promise<void> {
  for (const end = performance.now() + DEADLINE_MS; !look();) {
    if (performance.now() > end) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => { setTimeout(resolve, 10); });
  }
}

const modelOf = (name: string, source: ModelSource): DesiredModel => modelNamed(name, { source, sourceHash: JSON.stringify(source) });

async function fetched(place: Place, model: DesiredModel): Promise<ObservedModel & { readonly path: string }> {
  place.supplies.fetch(model);
  await until(`${model.name} is here`, () => place.model(model.name)?.phase === 'present');
  return place.model(model.name) as ObservedModel & { readonly path: string };
}

/** Another byte, under the old time: as a disk does it. */
function flip(path: string): void {
  const like = `${path}.time`;
  // To the nanosecond, which node cannot.
  const touch = (from: string, to: string): void => { execFileSync('touch', ['-r', from, to]); };
  touch(path, like);
  const bytes = readFileSync(path);
  bytes[bytes.length - 1]! ^= 1;
  writeFileSync(path, bytes);
  touch(like, path);
  rmSync(like);
}

test('what is whole is verified, once for all who ask at a time', () => inPlace(async (place) => {
  const { sha256, verified } = await fetched(place, modelOf('m', place.at('/m.gguf')));
  assert.ok(verified !== null, 'it was hashed as it came');
  const [one, other] = await Promise.all([place.supplies.verify('m'), place.supplies.verify('m')]);
  assert.is(one, other);
  assert.equal(one.ok && [one.sha256, one.bytes], [sha256, BYTES.length]);
  assert.equal([place.model('m')?.checking, place.model('m')?.phase], [null, 'present']);
  const unknown = await place.supplies.verify('x');
  assert.is(unknown.ok ? null : unknown.reason, 'NotPresent');
}));

test('a flipped bit is found, put aside, and good bytes are fetched again; who has loaded the bad ones is told', () => inPlace(async (place) => {
  const model = modelOf('m', place.at('/m.gguf'));
  const { path } = await fetched(place, model);
  flip(path);
  place.supplies.look();
  await new Promise((resolve) => { setTimeout(resolve, 50); });
  assert.is(place.model('m')?.phase, 'present', 'size and time do not tell');
  const verdict = await place.supplies.verify('m');
  assert.match(verdict.ok ? '' : verdict.message, /have changed although its date has not/);
  const now = place.model('m');
  assert.equal([now?.phase, now?.reason, now?.path, (now?.retry ?? Infinity) <= performance.timeOrigin + performance.now()], ['failed', 'Damaged', null, true]);
  assert.is(existsSync(path), false, 'nobody takes it any more');
  assert.is(readdirSync(join(place.root, 'models/quarantine')).length, 1);
  place.supplies.fetch(model);
  assert.ok(place.model('m')?.damaged !== null, 'until good bytes are here it is known');
  await until('it is here again', () => place.model('m')?.phase === 'present');
  assert.equal([place.model('m')?.damaged, place.asked.length, place.mended], [null, 2, ['m']]);
  assert.equal(readFileSync(path), BYTES);
}));

test('a file of the owner\'s stays where it is, and is taken again when it is written anew', () => inPlace(async (place) => {
  const path = join(place.root, 'own.gguf');
  writeFileSync(path, BYTES);
  const model = modelOf('own', { kind: 'file', path });
  await fetched(place, model);
  flip(path);
  assert.is((await place.supplies.verify('own')).ok, false);
  assert.ok(existsSync(path));
  place.supplies.fetch(model);
  await until('it has been looked at again', () => place.model('own')?.phase === 'failed');
  assert.is(place.model('own')?.reason, 'Damaged', 'as it lies there nobody takes it');
  writeFileSync(path, BYTES);
  await fetched(place, model);
  assert.equal([place.model('own')?.damaged, place.mended], [null, ['own']]);
}));

test('nor does the next bkg take it, until it is written anew', async () => {
  const root = mkdtempSync(join(tmpdir(), 'bkg-checks-'));
  const path = join(root, 'own.gguf');
  const model = modelOf('own', { kind: 'file', path });
  try {
    writeFileSync(path, BYTES);
    await inPlace(async (place) => {
      await fetched(place, model);
      flip(path);
      assert.is((await place.supplies.verify('own')).ok, false);
    }, root);
    await inPlace(async (place) => {
      assert.equal([place.model('own')?.phase, place.model('own')?.reason], ['failed', 'Damaged']);
      place.supplies.fetch(model);
      await until('it has been looked at', () => place.model('own')?.phase === 'failed' && place.model('own')?.retry !== null);
      assert.is(place.model('own')?.reason, 'Damaged');
    }, root);
    writeFileSync(path, BYTES);
    await inPlace(async (place) => {
      await fetched(place, model);
      assert.is(place.model('own')?.damaged, null);
    }, root);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});

test('a folder of the owner\'s that has got another file is read anew; bytes that are known are not said to be verified anew', () => inPlace(async (place) => {
  const folder = join(place.root, 'own');
  mkdirSync(folder);
  writeFileSync(join(folder, 'model.gguf'), BYTES);
  utimesSync(join(folder, 'model.gguf'), 1_000, 1_000);
  const model = modelOf('own', { kind: 'file', path: folder });
  const { sha256, verified } = await fetched(place, model);
  await new Promise((resolve) => { setTimeout(resolve, 20); });
  assert.is((await fetched(place, modelOf('again', { kind: 'file', path: folder }))).verified, verified);
  writeFileSync(join(folder, 'tokenizer.json'), '{}');
  place.supplies.look();
  await until('it is noticed', () => place.model('own')?.phase === 'failed');
  assert.match(place.model('own')?.message ?? '', /own holds other files than those that were verified/);
  const now = await fetched(place, model);
  assert.equal([now.files.map(({ name }) => name), now.sha256 === sha256], [['model.gguf', 'tokenizer.json'], false]);
}));

test('shards of the owner\'s lie beside other files, and are no folder that is watched', () => inPlace(async (place) => {
  const folder = join(place.root, 'own');
  mkdirSync(folder);
  for (const name of ['one.safetensors', 'two.safetensors']) writeFileSync(join(folder, name), safetensors({ t: { dtype: 'F32', shape: [2], data_offsets: [0, 8] } }, 8));
  writeFileSync(join(folder, 'tokenizer.json'), '{}');
  await fetched(place, modelOf('own', { kind: 'list', files: ['one.safetensors', 'two.safetensors'].map((name) => ({ name, source: { kind: 'file', path: join(folder, name) } })) }));
  place.supplies.look();
  await new Promise((resolve) => { setTimeout(resolve, 200); });
  assert.is(place.model('own')?.phase, 'present');
}));

test('what no declared model uses is listed and removed; what bkg did not put there is not', () => inPlace(async (place) => {
  const { path, sha256 } = await fetched(place, modelOf('m', place.at('/m.gguf')));
  const store = join(place.root, 'models');
  const stranger = join(store, 'sha256', 'notes.txt');
  const extra = join(store, 'sha256', `${'b'.repeat(64)}.gguf`);
  writeFileSync(stranger, 'mine');
  writeFileSync(extra, 'left over');
  mkdirSync(join(store, 'partial'), { recursive: true });
  const parts = ['a', 'c'].map((letter) => join(store, 'partial', `${letter.repeat(24)}.part`));
  for (const part of parts) writeFileSync(part, 'half');
  utimesSync(parts[0]!, 1_000, 1_000);
  place.supplies.look();
  await until('the store is listed', () => place.supplies.extras().length > 0);
  assert.equal(place.supplies.extras().map(({ name }) => name).sort(), [`partial/${'a'.repeat(24)}.part`, `sha256/${'b'.repeat(64)}.gguf`]);
  await place.supplies.prune({ only: `sha256/${'b'.repeat(64)}.gguf` });
  assert.equal([existsSync(extra), existsSync(parts[0]!)], [false, true], 'only what was named');
  place.supplies.abandon(() => false);
  const { removed: would } = await place.supplies.prune({ dryRun: true });
  assert.ok(existsSync(path), 'nothing was removed yet');
  const { removed } = await place.supplies.prune({});
  assert.equal(removed, would);
  assert.equal(removed.map(({ name }) => name).sort(), [`partial/${'a'.repeat(24)}.part`, `sha256/${sha256 ?? ''}.gguf`]);
  assert.equal([existsSync(path), existsSync(stranger), existsSync(parts[1]!)], [false, true, true]);
  assert.is(place.model('m'), undefined);
}));

test.run();

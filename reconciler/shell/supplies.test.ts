// Supplies against real folders, a real server and a real database: what fails becomes a state, what is old touches nothing new.
import Database from 'better-sqlite3';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { modelNamed, pluginOf } from '../core/world.ts';
import type { DesiredModel, ModelSource, ObservedModel } from '../core/types.ts';
import { PLAIN } from './fixtures/plain.ts';
import { gguf } from './format-sample.ts';
import { monotonic_ms } from './process.ts';
import { openStore, type Store } from './store.ts';
import { openSupplies, type Supplies, type SuppliesOptions } from './supplies.ts';

const DEADLINE_MS = 20_000;
const BYTES = gguf();

type Place = { readonly root: string; readonly home: string; readonly store: Store; readonly events: string[]; readonly seen: ObservedModel[]; readonly supplies: Supplies; open(more?: Partial<SuppliesOptions>): Supplies; model(name: string): ObservedModel | undefined };

async function inPlace(body: (place: Place) => Promise<void>): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), 'bkg-supplies-'));
  const store = openStore(join(root, 'bkg.db'), { bootId: 'boot', secrets: PLAIN });
  const opened: Supplies[] = [];
  const [events, seen, mended]: [string[], ObservedModel[], string[]] = [[], [], []];
  const open = (more: Partial<SuppliesOptions> = {}): Supplies => {
    const supplies = openSupplies({
      home: root, installs: join(root, 'installs'), env: {}, downloads: () => ({ connections: 4, bandwidth_bytes: null, verifyEvery_ms: 0 }), store, mended: (name) => { mended.push(name); }, event: (reason, unit, message) => { events.push(`${reason} ${unit} ${message}`); },
      // Whoever looks after an event sees what is true then.
      poke: () => { seen.push(...Object.values(opened.at(-1)?.observedModels() ?? {})); }, ...more,
    });
    opened.push(supplies);
    return supplies;
  };
  try {
    const supplies = open();
    await body({ root, home: root, store, events, seen, supplies, open, model: (name) => opened.at(-1)?.observedModels()[name] });
  } finally {
    for (const supplies of opened) supplies.close();
    store.close();
    rmSync(root, { recursive: true, force: true });
  }
}

async function until(what: string, look: () => boolean): Promise<void> {
  for (const end = performance.now() + DEADLINE_MS; !look();) {
    if (performance.now() > end) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => { setTimeout(resolve, 10); });
  }
}

const modelOf = (source: ModelSource, part: Partial<DesiredModel> = {}): DesiredModel => modelNamed('m', { source, sourceHash: JSON.stringify(source), ...part });
const fileAt = (path: string): DesiredModel => modelOf({ kind: 'file', path });
const isPresent = (place: Place) => (): boolean => place.model('m')?.phase === 'present';

/** `/slow…` gives a byte now and then for ever, `/busy…` asks for patience; all else is the model at once. */
async function serving(body: (server: { readonly at: (path: string) => ModelSource; readonly slow: Set<ServerResponse>; readonly asked: string[] }) => Promise<void>): Promise<void> {
  const slow = new Set<ServerResponse>();
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(request.url ?? '');
    if (request.url?.startsWith('/busy') === true) return void response.writeHead(503, { 'retry-after': '600' }).end();
    if (request.url?.startsWith('/slow') !== true) return void response.writeHead(200, { etag: '"1"', 'content-length': BYTES.length }).end(BYTES);
    response.writeHead(200, { etag: '"1"', 'content-length': 1_000_000 });
    slow.add(response);
    const timer = setInterval(() => response.write('GGUF'), 20);
    response.once('close', () => { clearInterval(timer); slow.delete(response); });
  });
  const port = await new Promise<number>((resolve) => { server.listen(0, '127.0.0.1', () => resolve((server.address() as { readonly port: number }).port)); });
  try {
    await body({ at: (path) => ({ kind: 'http', url: `http://127.0.0.1:${port}${path}` }), slow, asked });
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

test('installs in a place that is no folder fail in words, bkg goes on, and the next try succeeds once it is one', () => inPlace(async ({ root, supplies, events }) => {
  const folder = join(root, 'plugin');
  mkdirSync(folder);
  writeFileSync(join(folder, 'plugin.yaml'), 'name: x\n');
  writeFileSync(join(root, 'installs'), 'no folder');
  const plugin = pluginOf('x', { install: ['true'], package: { folder, contentHash: 'c'.repeat(64), manifest: { run: ['x'] } } });
  const now = () => supplies.observedInstalls()[plugin.package.contentHash];
  supplies.install(plugin);
  await until('it has failed', () => now()?.phase === 'failed');
  assert.match(now()?.message ?? '', /installs.*ENOTDIR.*BKG_INSTALLS/);
  assert.type(now()?.retry, 'number');
  assert.ok(events.some((event) => event.startsWith('InstallFailed plugin/x#0 ')));
  rmSync(join(root, 'installs'));
  supplies.install(plugin);
  await until('it is done', () => now()?.phase === 'done');
}));

test('work that breaks in a way nobody thought of is a failed state too', () => inPlace(async (place) => {
  const env = { get HF_ENDPOINT(): string { throw new Error('nobody thought of this'); } };
  const supplies = place.open({ env });
  supplies.fetch(modelOf({ kind: 'hf', org: 'o', repo: 'r', path: 'p', revision: 'main' }));
  await until('it has failed', () => place.model('m')?.phase === 'failed');
  assert.match(place.model('m')?.message ?? '', /nobody thought of this/);
  assert.type(place.model('m')?.retry, 'number');
}));

test('bytes that cannot be removed are told and tried again', () => inPlace(async (place) => serving(async ({ at }) => {
  place.supplies.fetch(modelOf(at('/m.bin')));
  await until('it is here', isPresent(place));
  const path = place.model('m')?.path ?? '';
  rmSync(path);
  mkdirSync(path);
  place.supplies.drop('m');
  await until('it is told', () => place.model('m')?.reason === 'NotRemoved');
  assert.match(place.model('m')?.message ?? '', /could not be removed.*by hand/);
  assert.is(place.store.models().length, 1, 'a bkg that starts now would try again');
  rmSync(path, { recursive: true });
  await until('it is removed', () => { place.supplies.drop('m'); return place.model('m') === undefined && place.store.models().length === 0; });
})));

test('while the database is locked the state stays right in memory, and is written once it is free', () => inPlace(async (place) => {
  writeFileSync(join(place.root, 'm.gguf'), BYTES);
  const other = new Database(join(place.root, 'bkg.db'));
  other.exec('BEGIN IMMEDIATE');
  try {
    place.supplies.fetch(fileAt(join(place.root, 'm.gguf')));
    await until('it is here', isPresent(place));
    assert.equal(place.store.models(), []);
    assert.match(place.store.fault() ?? '', /locked/);
  } finally {
    other.exec('ROLLBACK');
  }
  place.store.flush();
  assert.is(place.store.models()[0]?.phase, 'present');
  other.exec('BEGIN IMMEDIATE');
  place.supplies.drop('m');
  await until('it is tried', () => place.store.fault() !== null);
  assert.is(place.model('m'), undefined);
  other.exec('ROLLBACK');
  other.close();
  place.store.flush();
  assert.is(place.store.models().length, 0);
  assert.ok(existsSync(join(place.root, 'm.gguf')), "the owner's own file stays");
}));

test('a newer source ends the fetch of the older one, which says nothing any more; its part stays', () => inPlace(async (place) => serving(async ({ at, slow }) => {
  place.supplies.fetch(modelOf(at('/slow.bin')));
  await until('bytes come', () => (place.model('m')?.bytes ?? 0) > 0);
  const next = modelOf(at('/next.bin'));
  place.seen.length = 0;
  place.supplies.fetch(next);
  await until('the older connection has ended', () => slow.size === 0);
  await until('it is here', isPresent(place));
  assert.equal([...new Set(place.seen.map((model) => model.sourceHash))], [next.sourceHash]);
  assert.is(place.store.models()[0]?.sourceHash, next.sourceHash);
  assert.not.ok(place.events.some((event) => event.startsWith('ModelFailed')));
  assert.is(readdirSync(join(place.home, 'models', 'partial')).filter((name) => name.endsWith('.part')).length, 1);
})));

test('a model that is removed while it is fetched stays removed, and may be fetched again', () => inPlace(async (place) => serving(async ({ at, slow }) => {
  place.supplies.fetch(modelOf(at('/slow.bin')));
  await until('bytes come', () => (place.model('m')?.bytes ?? 0) > 0);
  place.seen.length = 0;
  place.supplies.drop('m');
  await until('the connection has ended', () => slow.size === 0);
  await until('it is told', () => place.events.some((event) => event.startsWith('ModelRemoved')));
  assert.equal([place.model('m'), place.seen, place.store.models()], [undefined, [], []]);
  place.supplies.fetch(modelOf(at('/slow.bin')));
  await until('bytes come again', () => (place.model('m')?.bytes ?? 0) > 0);
})));

test('a server that asks for patience gets it', () => inPlace(async (place) => serving(async ({ at }) => {
  const before = monotonic_ms();
  place.supplies.fetch(modelOf(at('/busy.bin')));
  await until('it has failed', () => place.model('m')?.phase === 'failed');
  assert.ok((place.model('m')?.retry ?? 0) >= before + 600_000);
})));

test('a model that is no longer declared is not fetched any further', () => inPlace(async (place) => serving(async ({ at, slow }) => {
  place.supplies.fetch(modelOf(at('/slow.bin')));
  await until('bytes come', () => (place.model('m')?.bytes ?? 0) > 0);
  place.supplies.abandon((name) => name === 'm');
  assert.is(slow.size, 1);
  place.supplies.abandon(() => false);
  await until('the connection has ended', () => slow.size === 0);
  assert.is(place.model('m'), undefined);
})));

test('a file of the owner\'s that changes or vanishes is noticed while bkg runs, and at its next start', () => inPlace(async (place) => {
  const path = join(place.root, 'm.gguf');
  const wanted = fileAt(path);
  const gone = (): boolean => { place.supplies.look(); return ['Changed', 'Vanished'].includes(place.model('m')?.reason ?? ''); };
  const again = async (): Promise<string | null> => {
    place.supplies.fetch(wanted);
    await until('it is here', isPresent(place));
    return place.model('m')?.sha256 ?? null;
  };
  writeFileSync(path, BYTES);
  const first = await again();
  assert.is(place.model('m')?.about?.format, 'gguf', 'what the file says of itself is known');
  place.supplies.look();
  place.supplies.look();
  assert.ok(isPresent(place)(), 'what is the same stays');
  // The same size, other bytes.
  writeFileSync(path, Buffer.concat([BYTES.subarray(0, -1), Buffer.from([7])]));
  utimesSync(path, 1_000, 1_000);
  await until('the change is noticed', gone);
  const second = await again();
  assert.is.not(second, first);
  rmSync(path);
  await until('it is missed', gone);
  assert.equal(place.events.map((event) => event.split(' ')[0]).filter((reason) => /Changed|Vanished/.test(reason ?? '')), ['ModelChanged', 'ModelVanished']);
  writeFileSync(path, BYTES);
  assert.is(await again(), first);
  place.supplies.close();
  const known = place.open().observedModels()['m'];
  assert.equal([known?.phase, known?.about?.format], ['present', 'gguf']);
  utimesSync(path, 2_000, 2_000);
  assert.equal(place.open().observedModels(), {});
  rmSync(path);
  assert.equal(place.open().observedModels(), {});
}));

test('downloaded bytes with another time are verified again, not downloaded; those that vanished are', () => inPlace(async (place) => serving(async ({ at, asked }) => {
  const wanted = modelOf(at('/m.bin'));
  place.supplies.fetch(wanted);
  await until('it is here', isPresent(place));
  const path = place.model('m')?.path ?? '';
  utimesSync(path, 1_000, 1_000);
  place.supplies.close();
  const next = place.open();
  assert.equal(next.observedModels(), {});
  next.fetch(wanted);
  await until('it is here again', isPresent(place));
  assert.is(asked.length, 1);
  rmSync(path);
  await until('it is missed', () => { next.look(); return place.model('m')?.reason === 'Vanished'; });
  next.fetch(wanted);
  await until('it is here anew', isPresent(place));
  assert.is(asked.length, 2);
  assert.is(statSync(path).size, BYTES.length);
})));

test.run();

// Installs run for real: once per content, in a copy, with what package managers need and no more, through kills and races.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ContentFault } from './install-content.ts';
import { contentHash, install, installedFolder, type Installed, type InstallOrder } from './install.ts';
import { survivors } from './process.ts';

const FIXTURES = join(import.meta.dirname, 'fixtures');
const DEADLINE_MS = 20_000;
/** So few that a process can run out of them soon. */
const DESCRIPTORS = 80;

type Place = { readonly folder: string; readonly store: string; readonly root: string; order(argv: readonly string[], more?: Partial<InstallOrder>): Promise<InstallOrder>; readonly lines: string[] };

/** A plugin's folder with what belongs to it and what does not. */
async function inPlace(body: (place: Place) => Promise<void>): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), 'bkg-install-'));
  const folder = join(root, 'plugin');
  const lines: string[] = [];
  const write = (path: string, text: string): void => {
    mkdirSync(join(folder, path, '..'), { recursive: true });
    writeFileSync(join(folder, path), text);
  };
  for (const path of ['plugin.yaml', 'tool.sh', 'main.js', 'tests/a.test.js', '.npmrc', 'node_modules/x/index.js', '.git/HEAD', '.cache/x', 'Cargo.toml', 'target/x', 'lib/__pycache__/x.pyc', 'old.log']) write(path, `${path}\n`);
  chmodSync(join(folder, 'tool.sh'), 0o755);
  const orders: InstallOrder[] = [];
  try {
    await body({
      folder, root, lines, store: join(root, 'store'),
      order: async (argv, more = {}) => {
        const order: InstallOrder = { name: 'tool', folder, contentHash: await contentHash(folder), argv, store: join(root, 'store'), env: {}, signal: new AbortController().signal, onProgress: (line) => { lines.push(line); }, ...more };
        orders.push(order);
        return order;
      },
    });
  } finally {
    for (const order of orders) for (const pid of survivors(markOf(order))) process.kill(pid, 'SIGKILL');
    rmSync(root, { recursive: true, force: true });
  }
}

const markOf = (order: InstallOrder): string => `install-${order.name}-${order.contentHash.slice(0, 16)}`;
const fixture = (...rest: readonly string[]): readonly string[] => ['node', join(FIXTURES, 'installs.mjs'), ...rest];

function good(result: Installed): string {
  if (!result.ok) throw new Error(result.message);
  return result.folder;
}

function bad(result: Installed): string {
  assert.is(result.ok, false);
  return result.ok ? '' : result.message;
}

async function until(what: string, look: () => boolean): Promise<void> {
  for (const end = performance.now() + DEADLINE_MS; !look();) {
    if (performance.now() > end) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => { setTimeout(resolve, 10); });
  }
}

test('the hash is of what belongs to a plugin: names, bytes, exec bits; not of what is made or passing', () => inPlace(async ({ folder }) => {
  const first = await contentHash(folder);
  assert.match(first, /^[0-9a-f]{64}$/);
  for (const made of ['node_modules/y.js', '.git/x', 'target/y', 'a.log', 'main.js~', '.main.js.swp', '.#main.js', '.DS_Store', '.main.js.kate-swp', 'x.tsbuildinfo', 'lib/__pycache__/y.pyc']) {
    writeFileSync(join(folder, made), 'made');
    assert.is(await contentHash(folder), first, made);
  }
  const seen = new Set([first]);
  const changed = async (what: string, change: () => void): Promise<void> => {
    change();
    const hash = await contentHash(folder);
    assert.not.ok(seen.has(hash), what);
    seen.add(hash);
  };
  await changed('a test', () => writeFileSync(join(folder, 'tests/a.test.js'), 'changed'));
  await changed('another byte, same size', () => writeFileSync(join(folder, 'main.js'), 'main.jz\n'));
  await changed('another one at once', () => writeFileSync(join(folder, 'main.js'), 'main.jy\n'));
  await changed('exec bit', () => chmodSync(join(folder, 'main.js'), 0o755));
  await changed('a new file', () => { mkdirSync(join(folder, 'dist')); writeFileSync(join(folder, 'dist/app.js'), ''); });
  await changed('its name', () => renameSync(join(folder, 'dist/app.js'), join(folder, 'dist/b.js')));
  // The same name is made in one place and written in another.
  mkdirSync(join(folder, 'lib/target'));
  await changed('a folder that is only called so', () => writeFileSync(join(folder, 'lib/target/mod.js'), ''));
  await changed('how cargo builds', () => { mkdirSync(join(folder, '.cargo')); writeFileSync(join(folder, '.cargo/config.toml'), ''); });
  for (const [made, mark] of [['venv', 'pyvenv.cfg'], ['lib/cache', 'CACHEDIR.TAG']] as const) {
    const before = await contentHash(folder);
    mkdirSync(join(folder, made, 'deep'), { recursive: true });
    for (const name of [mark, 'deep/x.py']) writeFileSync(join(folder, made, name), 'made');
    assert.is(await contentHash(folder), before, made);
  }
  await changed('a hidden file', () => writeFileSync(join(folder, '.npmrc'), 'x=1'));
  await changed('what a link leads to', () => symlinkSync('../plugin.yaml', join(folder, 'tests/link')));
  // The same content elsewhere, with other times, has the same hash.
  const other = `${folder}-copy`;
  cpSync(folder, other, { recursive: true, dereference: true });
  utimesSync(join(other, 'main.js'), 1, 1);
  assert.is(await contentHash(other), [...seen].at(-1));
  // A file unchanged for a while is not read again, one that changed is.
  utimesSync(join(folder, 'main.js'), 1, 1);
  const old = await contentHash(folder);
  assert.is(await contentHash(folder), old);
  await changed('after it was remembered', () => { writeFileSync(join(folder, 'main.js'), 'main.jx\n'); utimesSync(join(folder, 'main.js'), 2, 2); });
}));

test('links in a circle are said at once, however many there are and wherever above they lead', () => inPlace(async ({ folder, root }) => {
  const circle = async (path: string): Promise<void> => {
    await contentHash(folder).then(() => assert.unreachable(), (error: ContentFault) => assert.ok(error.message.includes('circle') && error.path === path, `${error.path}: ${error.message}`));
  };
  for (const target of ['..', '../..', '../../..', '/', root, folder, join(folder, 'tests')]) {
    symlinkSync(target, join(folder, 'tests/up'));
    await circle(join(folder, 'tests/up'));
    rmSync(join(folder, 'tests/up'));
  }
  // Each alone is a way down; followed to the end there would be 2^30 of them.
  for (let index = 0; index < 30; index += 1) for (const name of ['a', 'b']) symlinkSync('..', join(folder, 'tests', `${name}${index}`));
  await circle(join(folder, 'tests/a0'));
}));

test('links that fan out without end are said, those to nothing and to themselves are no content', () => inPlace(async ({ folder, root }) => {
  const first = await contentHash(folder);
  symlinkSync('nowhere', join(folder, 'tests/broken'));
  symlinkSync('itself', join(folder, 'tests/itself'));
  symlinkSync('plugin.yaml/x', join(folder, 'below-a-file'));
  assert.is(await contentHash(folder), first);
  for (let level = 0; level < 40; level += 1) {
    mkdirSync(join(root, `level${level}`));
    for (const name of ['a', 'b']) symlinkSync(`../level${level + 1}`, join(root, `level${level}`, name));
  }
  mkdirSync(join(root, 'level40'));
  symlinkSync('../level0', join(folder, 'fan'));
  await contentHash(folder).then(() => assert.unreachable(), (error: Error) => assert.match(error.message, /more than \d+ ways/));
}));

test('it runs in a copy, once; progress is told in lines, the result is found again', () => inPlace(async ({ folder, store, order, root, lines }) => {
  const counted = join(root, 'count');
  const wanted = await order(fixture('--count', counted));
  assert.is(installedFolder(store, 'tool', wanted.contentHash), null);
  const done = good(await install(wanted));
  assert.is(installedFolder(store, 'tool', wanted.contentHash), done);
  assert.equal([...lines].sort(), ['100 %', '50 %', 'fetching parts']);
  assert.is(good(await install(wanted)), done);
  assert.is(readFileSync(counted, 'utf8'), 'once\n');
  const made = JSON.parse(readFileSync(join(done, 'made.json'), 'utf8')) as { cwd: string; saw: readonly string[] };
  assert.is(made.cwd, done, 'paths written into the result are those it will have');
  assert.equal(made.saw, ['plugin.yaml', 'tool.sh', 'tests/a.test.js', '.npmrc']);
  assert.is(existsSync(join(folder, 'made.json')), false);
  assert.ok((statSync(join(done, 'tool.sh')).mode & 0o100) !== 0, 'what may be executed still may');
  writeFileSync(join(folder, 'main.js'), 'new');
  const next = good(await install(await order(fixture('--count', counted))));
  assert.is.not(next, done);
  assert.ok(existsSync(join(done, 'made.json')), 'the one before stays for who still runs on it');
}));

test('it gets what package managers need to reach their registries, and nothing else of bkg\'s environment', () => inPlace(async ({ order }) => {
  process.env['BKG_TEST_CANARY'] = 'must not be passed on';
  try {
    const env = { ...process.env, npm_config_registry: 'http://127.0.0.1:1/', https_proxy: 'http://127.0.0.1:2', NO_PROXY: 'localhost', NODE_EXTRA_CA_CERTS: '/ca.pem', CARGO_HOME: '/c', PIP_INDEX_URL: 'x', ADMIN_PASSWORD: 'secret', HF_TOKEN: 'secret' };
    const done = good(await install(await order(fixture(), { env })));
    const seen = (JSON.parse(readFileSync(join(done, 'made.json'), 'utf8')) as { env: Record<string, string> }).env;
    for (const name of ['PATH', 'HOME', 'npm_config_registry', 'https_proxy', 'NO_PROXY', 'NODE_EXTRA_CA_CERTS', 'CARGO_HOME', 'PIP_INDEX_URL']) assert.ok(name in seen, name);
    for (const name of ['BKG_TEST_CANARY', 'ADMIN_PASSWORD', 'HF_TOKEN']) assert.not.ok(name in seen, name);
  } finally {
    delete process.env['BKG_TEST_CANARY'];
  }
}));

test('a failure tells its last words, leaves nothing that counts, and the next try may succeed', () => inPlace(async ({ store, order }) => {
  const wanted = await order(fixture('--fail'));
  const message = bad(await install(wanted));
  assert.match(message, /exit code 4\. Its last words: /);
  assert.match(message, /the part is out of stock/);
  assert.is(installedFolder(store, 'tool', wanted.contentHash), null);
  assert.match(readFileSync(/all of them: (.+)\)$/.exec(message)?.[1] ?? '', 'utf8'), /out of stock/);
  good(await install({ ...wanted, argv: fixture() }));
}));

test('a missing command, an empty one and a missing folder are named', () => inPlace(async ({ order }) => {
  assert.match(bad(await install(await order(['no-such-program-of-bkg']))), /"no-such-program-of-bkg" was not found; install it/);
  assert.match(bad(await install(await order([]))), /`install` .*empty/);
  assert.match(bad(await install(await order(fixture(), { folder: '/nonexistent-of-bkg' }))), /nonexistent-of-bkg/);
}));

test('a place for installs that cannot be used is a message with its path and a remedy, not an end', () => inPlace(async ({ order, root }) => {
  writeFileSync(join(root, 'file'), 'no folder');
  for (const store of [join(root, 'file'), join(root, 'file', 'below')]) {
    const message = bad(await install(await order(fixture(), { store })));
    assert.ok(message.includes(store) && /ENOTDIR.*let bkg's user write there, or name another folder in BKG_INSTALLS/.test(message), message);
  }
  mkdirSync(join(root, 'taken'));
  writeFileSync(join(root, 'taken', 'tool'), 'no folder either');
  assert.match(bad(await install(await order(fixture(), { store: join(root, 'taken') }))), /EEXIST.*taken\/tool/);
  assert.match(bad(await install(await order(['ec\0ho']))), /null bytes/);
}));

test('short of descriptors it fails in words, wherever they run out, and bkg goes on', () => inPlace(async ({ order }) => {
  const wanted = await order(['true']);
  const child = spawn('sh', ['-c', `ulimit -n ${DESCRIPTORS}; exec "$0" "$@"`, process.execPath, join(FIXTURES, 'starves.mjs'), JSON.stringify(wanted)], { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => { text += chunk; });
  const [code] = await once(child, 'close') as [number | null];
  assert.is(code, 0, text);
  const results = text.trim().split('\n').map((line) => JSON.parse(line) as Installed);
  assert.ok(results.some((result) => !result.ok && /EMFILE/.test(result.message)), text);
  assert.is(results.at(-1)?.ok, true, text);
}));

test('one that hangs is given up, one that bkg no longer wants is ended, and no process stays', () => inPlace(async ({ order, lines, store }) => {
  const hanging = await order(fixture('--hang'), { timeout_ms: 1_500 });
  assert.match(bad(await install(hanging)), /given up after 2 s/);
  assert.equal(survivors(markOf(hanging)), []);
  const abort = new AbortController();
  const begun = install({ ...hanging, timeout_ms: DEADLINE_MS, signal: abort.signal });
  lines.length = 0;
  await until('it has begun', () => lines.length === 3);
  abort.abort();
  assert.match(bad(await begun), /stopping/);
  assert.equal(survivors(markOf(hanging)), []);
  assert.is(installedFolder(store, 'tool', hanging.contentHash), null);
}));

test('what an install leaves running in a session of its own is ended and not waited for', () => inPlace(async ({ order }) => {
  const leaving = await order(fixture('--leave'));
  good(await install(leaving));
  await until('it has gone', () => survivors(markOf(leaving)).length === 0);
}));

test('two processes that install the same at once: one runs, both have it', () => inPlace(async ({ order, root, store }) => {
  const counted = join(root, 'count');
  const wanted = await order(fixture('--count', counted));
  const results = await Promise.all([begin(wanted).done, begin(wanted).done, install(wanted)]);
  const folder = installedFolder(store, 'tool', wanted.contentHash);
  assert.equal(results.map(good), [folder, folder, folder]);
  assert.is(readFileSync(counted, 'utf8'), 'once\n');
}));

test('kill -9 of bkg while it installs: the next one ends what is left and installs anew', () => inPlace(async ({ order, store }) => {
  const wanted = await order(fixture('--hang'));
  const first = begin(wanted);
  await until('it has begun', () => first.lines.length >= 3);
  first.child.kill('SIGKILL');
  await once(first.child, 'exit');
  assert.is(installedFolder(store, 'tool', wanted.contentHash), null);
  const done = good(await install({ ...wanted, argv: fixture() }));
  assert.equal(survivors(markOf(wanted)), []);
  assert.equal(readdirSync(join(store, 'tool')).filter((name) => name === done.slice(done.lastIndexOf('/') + 1)).length, 1);
}));

/** Another bkg that runs this order. */
function begin(order: InstallOrder) {
  const child = spawn(process.execPath, [join(FIXTURES, 'installer.mjs'), JSON.stringify(order)], { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines: string[] = [];
  let text = '';
  const done = new Promise<Installed>((resolve) => {
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
        const said = JSON.parse(text.slice(0, end)) as { line?: string; result?: Installed };
        text = text.slice(end + 1);
        if (said.line !== undefined) lines.push(said.line);
        if (said.result !== undefined) resolve(said.result);
      }
    });
  });
  return { child, lines, done };
}

test.run();

// How bkg ends and begins again: it leaves nothing behind, or its plugins to the next bkg; two never share a home.
import { spawn } from 'node:child_process';
import { connect } from 'node:net';
import { fileURLToPath } from 'node:url';
import { readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { carriersOf } from '../sweep.ts';
import { appliance, environment, portsOf, reaches, sleep, until, type Appliance } from './appliance.ts';

const yaml = `version: 1
models:
  numbers: { source: "file:numbers.txt" }
plugins:
  one: { use: ./plugins/echo, models: { chat: numbers } }
  two: { use: ./plugins/echo }
`;
const files = { 'numbers.txt': 'a file that stands in for a model; the fixture reads none\n' };

const answers = (port: number): Promise<boolean> => new Promise((resolve) => {
  const socket = connect(port, '127.0.0.1');
  socket.once('connect', () => { socket.destroy(); resolve(true); });
  socket.once('error', () => resolve(false));
});

/** Runs the CLI beside an appliance. */
function cli(house: Appliance, argv: readonly string[]): Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }> {
  const child = spawn(process.execPath, [fileURLToPath(new URL('../bin.mjs', import.meta.url)), ...argv], { cwd: house.folder, env: environment(house.folder), stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => { stdout += chunk.toString(); });
  child.stderr.on('data', (chunk: Buffer) => { stderr += chunk.toString(); });
  return new Promise((resolve) => { child.once('close', (code) => resolve({ code, stdout, stderr })); });
}

async function running(): Promise<Appliance> {
  const house = await appliance({ yaml, files });
  for (const id of ['one', 'two']) await reaches(house, id, 'running');
  return house;
}

test('SIGTERM lets a request in flight finish, stops every child, exits 0 and leaves no process and no port', async () => {
  const house = await running();
  try {
    const ports = portsOf(house.home);
    const stream = fetch(`${house.url}/v1/chat/completions`, {
      method: 'POST', headers: { authorization: `Bearer ${house.token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'one', stream: true, max_tokens: 40, seed: 50, messages: [{ role: 'user', content: 'count' }] }),
    }).then((response) => response.text());
    await until('the stream runs', async () => (await house.plugin('one')).telemetry.inFlight === 1);
    assert.is(await house.end(), 0, house.output());
    assert.match(await stream, /chunk-39;.*data: \[DONE\]\n\n$/s);
    assert.equal(carriersOf(house.folder), []);
    for (const port of [ports?.web, ports?.api, ports?.bus, ...Object.values(ports?.plugins ?? {})]) assert.is(await answers(port ?? 0), false);
    assert.is(portsOf(house.home), null, 'where nothing listens, nothing is told');
  } finally {
    assert.equal(await house.dispose(), []);
  }
});

test('a second bkg on the same home refuses with a clear sentence and spoils nothing', async () => {
  const house = await running();
  try {
    const { code, stderr } = await cli(house, ['up']);
    assert.is(code, 1);
    assert.match(stderr, new RegExp(`in use by another bkg \\(process ${house.child.pid}\\)`));
    assert.not.match(stderr, /\n\s+at /);
    assert.is((await house.ask('/api/plugins')).status, 200, 'the token of the first still holds');
    assert.is(statSync(join(house.home, 'admin.token')).mode & 0o777, 0o600);
  } finally {
    assert.equal(await house.dispose(), []);
  }
});

test('kill -9 of bkg loses nothing: the plugins go on, and the next start takes them over', async () => {
  const house = await running();
  let next: Appliance | null = null;
  try {
    const before = (await house.plugins()).map((plugin) => plugin.pid);
    await house.end('SIGKILL');
    for (const port of Object.values(portsOf(house.home)?.plugins ?? {})) assert.is(await answers(port), true);
    next = await house.again();
    for (const id of ['one', 'two']) await reaches(next, id, 'running');
    assert.equal((await next.plugins()).map((plugin) => plugin.pid), before);
    assert.is(await next.end(), 0);
    assert.equal(carriersOf(house.folder), []);
  } finally {
    assert.equal(await next?.dispose() ?? [], []);
    assert.equal(await house.dispose(), []);
  }
});

test('what is older than its time to get ready, and what no longer resolves, is taken over all the same', async () => {
  const main = 'import { createServer } from "node:http"; createServer((request, response) => response.end("{}")).listen(Number(process.env.BKG_PORT), "127.0.0.1");';
  const manifest = 'run: [node, main.mjs]\nready: { http: /health, timeout: 2s }\n';
  const plugin = (name: string): Record<string, string> => ({ [`${name}/plugin.yaml`]: manifest, [`${name}/main.mjs`]: main });
  const house = await appliance({ yaml: 'version: 1\nplugins:\n  stays: { use: ./stays }\n  moves: { use: ./moves }\n', files: { ...plugin('stays'), ...plugin('moves') } });
  let next: Appliance | null = null;
  try {
    for (const id of ['stays', 'moves']) await reaches(house, id, 'running');
    const before = (await house.plugins()).map((found) => found.pid);
    await house.end('SIGKILL');
    renameSync(join(house.folder, 'moves'), join(house.folder, 'moved'));
    await sleep(2_000);
    next = await house.again();
    const { pid } = await reaches(next, 'stays', 'running');
    assert.is(pid, before[0]);
    const { body } = await next.ask('/api/status');
    assert.equal((body as { file: { problems: { code: string }[] } }).file.problems.map((problem) => problem.code), ['PluginNotFound']);
    // Several looks later both are still as they were: one is served, the other is left alone.
    await sleep(2_500);
    assert.equal(before.filter((found) => carriersOf(house.folder).includes(found ?? 0)), before);
    renameSync(join(house.folder, 'moved'), join(house.folder, 'moves'));
    next.save(`${readFileSync(next.config, 'utf8')}# mended\n`);
    const moved = await until('the other is served again', async () => (await next?.plugins())?.find((found) => found.id === 'moves' && found.status === 'running'));
    assert.is(moved.pid, before[1]);
  } finally {
    assert.equal(await next?.dispose() ?? [], []);
    assert.equal(await house.dispose(), []);
  }
});

test('--takeover asks the running bkg to leave and keeps its plugins', async () => {
  const house = await running();
  const next = { yaml, files, arguments: ['--takeover'] };
  let taken: ReturnType<typeof spawn> | null = null;
  try {
    const before = (await house.plugins()).map((plugin) => plugin.pid);
    taken = spawn(process.execPath, [fileURLToPath(new URL('../bin.mjs', import.meta.url)), 'up', ...next.arguments], { cwd: house.folder, env: environment(house.folder), stdio: 'ignore' });
    const pid = taken.pid;
    await until('the second has taken over', () => portsOf(house.home)?.pid === pid);
    await until('the first has ended', () => house.child.exitCode !== null);
    assert.is(house.child.exitCode, 0, house.output());
    const { stdout } = await until('the second knows both plugins', async () => { const found = await cli(house, ['status', '--json']); return found.code === 0 && /"status": "running"/.test(found.stdout) ? found : null; });
    const { plugins } = JSON.parse(stdout) as { plugins: { pid: number }[] };
    assert.equal(plugins.map((plugin) => plugin.pid), before);
    const ended = new Promise((resolve) => { taken?.once('exit', resolve); });
    taken.kill('SIGTERM');
    assert.is(await ended, 0);
    assert.equal(carriersOf(house.folder), []);
  } finally {
    taken?.kill('SIGKILL');
    assert.equal(await house.dispose(), []);
  }
});

test('after a crash the pid that is told may be a stranger\'s: nobody signals it, nobody gives it the token', async () => {
  const house = await running();
  const asked: string[] = [];
  const stranger = spawn(process.execPath, ['-e', `
    process.on('SIGUSR2', () => process.stdout.write('signalled'));
    require('node:http').createServer((request, response) => { process.stdout.write('asked'); response.end('{}'); }).listen(0, '127.0.0.1', function () { process.stdout.write('port ' + this.address().port); });
  `], { stdio: ['ignore', 'pipe', 'inherit'] });
  stranger.stdout.on('data', (chunk: Buffer) => { asked.push(chunk.toString()); });
  let next: Appliance | null = null;
  try {
    const before = (await house.plugins()).map((plugin) => plugin.pid);
    await house.end('SIGKILL');
    const port = await until('the stranger listens', () => /^port (\d+)/.exec(asked.join(''))?.[1]);
    const run = join(house.home, 'run');
    const [lock, ports] = ['lock', 'ports.json'].map((name) => readFileSync(join(run, name), 'utf8')) as [string, string];
    // Its pid has come round to somebody else.
    writeFileSync(join(run, 'lock'), lock.replace(`"pid":${house.child.pid}`, `"pid":${stranger.pid}`));
    writeFileSync(join(run, 'ports.json'), JSON.stringify({ ...JSON.parse(ports) as object, pid: stranger.pid, api: Number(port) }));
    assert.match(readFileSync(join(run, 'lock'), 'utf8'), `"pid":${stranger.pid}`);
    const status = await cli(house, ['status']);
    assert.equal([status.code, /No bkg runs on .*bkg up/.test(status.stdout)], [3, true], status.stdout + status.stderr);
    assert.match((await cli(house, ['restart', 'one'])).stderr, /No bkg runs on .*\n.*bkg up/);
    next = await house.again(['--takeover']);
    assert.match(next.output(), /No bkg runs on .*bkg up/);
    for (const id of ['one', 'two']) await reaches(next, id, 'running');
    assert.equal((await next.plugins()).map((plugin) => plugin.pid), before);
    assert.is(await next.end(), 0);
    assert.is(asked.join(''), `port ${port}`);
    assert.equal([stranger.exitCode, stranger.signalCode], [null, null]);
  } finally {
    stranger.kill('SIGKILL');
    assert.equal(await next?.dispose() ?? [], []);
    assert.equal(await house.dispose(), []);
  }
});

test.run();

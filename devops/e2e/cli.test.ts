// The command line as people and scripts use it: exit codes, sentences, JSON, with and without a running bkg.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { appliance, environment, layOut, reaches, until } from './appliance.ts';

const bin = fileURLToPath(new URL('../bin.mjs', import.meta.url));
type Ran = { readonly code: number | null; readonly stdout: string; readonly stderr: string };

function bkg(folder: string, argv: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ran> {
  const child = spawn(process.execPath, [bin, ...argv], { cwd: folder, env: environment(folder, env), stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => { stdout += chunk.toString(); });
  child.stderr.on('data', (chunk: Buffer) => { stderr += chunk.toString(); });
  return new Promise((resolve) => { child.once('close', (code) => resolve({ code, stdout, stderr })); });
}

const yaml = `version: 1
plugins:
  one: { use: ./plugins/echo }   # kept
`;

test('validate speaks like a compiler and needs no running bkg', async () => {
  const folder = layOut({ yaml });
  try {
    const good = await bkg(folder, ['validate']);
    assert.is(good.code, 0, good.stderr);
    writeFileSync(join(folder, 'bad.yaml'), 'version: 1\nplugins:\n  one: { use: ./plugins/echo, stat: running }\n');
    const bad = await bkg(folder, ['validate', 'bad.yaml']);
    assert.is(bad.code, 1);
    assert.match(bad.stdout, /^bad\.yaml:3:\d+ error UnknownKey .*"stat".* {2}Did you mean "state"\?\n$/);
    const json = JSON.parse((await bkg(folder, ['validate', 'bad.yaml', '--json'])).stdout) as { valid: boolean; problems: { line: number }[] };
    assert.is(json.valid, false);
    assert.is(json.problems[0]?.line, 3);
    const missing = await bkg(folder, ['validate', 'none.yaml']);
    assert.is(missing.code, 1);
    assert.match(missing.stderr, /none\.yaml does not exist\./);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('where no bkg runs, commands say so and what to do, without a stack', async () => {
  const folder = layOut({ yaml });
  try {
    for (const argv of [['plan'], ['drift'], ['start', 'one'], ['logs', 'one']]) {
      const ran = await bkg(folder, argv);
      assert.is(ran.code, 3, argv.join(' '));
      assert.match(ran.stderr, /No bkg runs on .*\n.*bkg up/);
      assert.not.match(ran.stderr, /\n\s+at /);
    }
    assert.is((await bkg(folder, ['status'])).code, 3);
    assert.equal((JSON.parse((await bkg(folder, ['status', '--json'])).stdout) as { running: boolean }).running, false);
    const port = await bkg(folder, ['up'], { BKG_API_PORT: 'many' });
    assert.is(port.code, 1);
    assert.match(port.stderr, /BKG_API_PORT is "many"/);
    assert.is((await bkg(folder, ['stauts'])).code, 1);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('patch edits the file in place also when no bkg runs, and refuses what would be invalid', async () => {
  const folder = layOut({ yaml });
  const text = (): string => readFileSync(join(folder, 'bkg.yaml'), 'utf8');
  try {
    const dry = await bkg(folder, ['patch', '/plugins/one/state', 'stopped', '--dry-run']);
    assert.is(dry.code, 0, dry.stderr);
    assert.match(dry.stdout, /^\+.*state: stopped/m);
    assert.is(text(), yaml);
    assert.is((await bkg(folder, ['patch', '/plugins/one/config', '{"volume": 3}'])).code, 0);
    assert.is(text(), yaml.replace('./plugins/echo }', './plugins/echo, config: { volume: 3 } }'));
    assert.is((await bkg(folder, ['patch', '/plugins/one/config', '--remove'])).code, 0);
    assert.is(text(), yaml);
    const wrong = await bkg(folder, ['patch', '/plugins/one/state', 'asleep']);
    assert.is(wrong.code, 1);
    assert.match(wrong.stderr, /would not be valid/);
    assert.match(wrong.stderr, /bkg\.yaml:3:\d+ error /);
    assert.is(text(), yaml);
    assert.is((await bkg(folder, ['patch', 'plugins', 'x'])).code, 1);
    const doctor = await bkg(folder, ['doctor', '--json']);
    assert.is(doctor.code, 0, doctor.stdout);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('on a running bkg: status, patch, plan, drift, stop, start, restart, logs', async () => {
  const house = await appliance({ yaml });
  const run = async (...argv: string[]): Promise<Ran> => {
    const ran = await bkg(house.folder, argv);
    assert.is(ran.code, 0, `${argv.join(' ')}: ${ran.stderr}`);
    return ran;
  };
  try {
    const { pid } = await reaches(house, 'one', 'running');
    assert.match((await run('status')).stdout, new RegExp(`one +running +running +${pid} `));
    assert.match((await run('patch', '/plugins/one/config/greeting', 'moin', '--wait')).stdout, /^restart +plugin\/one#0 /m);
    assert.match(readFileSync(house.config, 'utf8'), /greeting: moin.*# kept\n/);
    const changed = await house.plugin('one');
    assert.is(changed.status, 'running');
    assert.is.not(changed.pid, pid);
    writeFileSync(join(house.folder, 'next.yaml'), yaml.replace('echo }', 'echo, state: stopped }'));
    assert.match((await run('plan', 'next.yaml')).stdout, /stop +plugin\/one#0 +it is declared stopped/);
    assert.match((await run('plan')).stdout, /Nothing to do/);
    assert.match((await run('drift', '--exit-code')).stdout, /No drift/);
    await run('restart', 'one');
    assert.is.not((await house.plugin('one')).pid, changed.pid);
    await run('stop', 'one');
    assert.match(readFileSync(house.config, 'utf8'), /state: stopped/);
    await run('start', 'one');
    const { stdout } = await until('its first words are in the log', async () => { const ran = await run('logs', 'one'); return /moin from/.test(ran.stdout) ? ran : null; });
    assert.match(stdout, /info +moin from \d+/);
    house.save('version: 1\nplugins: [\n');
    const drift = await until('the broken file is drift', async () => { const ran = await bkg(house.folder, ['drift', '--exit-code']); return ran.code === 0 ? null : ran; });
    assert.is(drift.code, 2);
    assert.match(drift.stdout, /ConfigInvalid/);
    assert.match((await run('status')).stdout, /bkg\.yaml:\d+:\d+ error YamlSyntax/);
    const unknown = await bkg(house.folder, ['restart', 'two']);
    assert.is(unknown.code, 1);
    assert.match(unknown.stderr, /no plugin two/);
  } finally {
    assert.equal(await house.dispose(), []);
  }
});

test('install runs each install once and says what failed', async () => {
  const manifest = (command: string): string => `name: made\nrun: [node, main.mjs]\ninstall: [sh, -c, ${JSON.stringify(command)}]\n`;
  const folder = mkdtempSync(join(tmpdir(), 'bkg-e2e-'));
  try {
    const place = layOut({ yaml: 'version: 1\nplugins:\n  good: { use: ./good }\n  bad: { use: ./bad }\n', files: { 'good/plugin.yaml': manifest(`echo made >> ${folder}/count`), 'bad/plugin.yaml': manifest('echo no compiler here; exit 9') } });
    const first = await bkg(place, ['install']);
    assert.is(first.code, 1);
    assert.match(first.stdout, /good +installed/);
    assert.match(first.stderr, /bad: .*exit code 9.*no compiler here/);
    await bkg(place, ['install']);
    assert.is(readFileSync(join(folder, 'count'), 'utf8'), 'made\n');
    rmSync(place, { recursive: true });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('a port that somebody else has gives way, and bkg says so', async () => {
  const other = createServer();
  await new Promise<void>((resolve) => { other.listen(0, '127.0.0.1', resolve); });
  const taken = (other.address() as AddressInfo).port;
  const house = await appliance({ yaml: 'version: 1\n', env: { BKG_API_PORT: String(taken) } });
  try {
    const api = Number(new URL(house.url).port);
    assert.is.not(api, taken);
    assert.ok(house.output().includes(`the api port ${taken} is taken or not for bkg; it is ${api} this time`), house.output());
  } finally {
    other.close();
    assert.equal(await house.dispose(), []);
  }
});

test('a restart that takes its time says meanwhile what it waits for', async () => {
  const slow = `version: 1
plugins:
  slow:
    manifest:
      run: [node, -e, "setTimeout(() => require('http').createServer((q, a) => a.end('{}')).listen(process.env.BKG_PORT, '127.0.0.1'), 2500)"]
      ready: { http: /health }
`;
  const house = await appliance({ yaml: slow });
  try {
    await reaches(house, 'slow', 'running');
    const { code, stdout, stderr } = await bkg(house.folder, ['restart', 'slow']);
    assert.is(code, 0, stderr);
    assert.match(stderr, /^restart slow …\n {2}\S.*\n/);
    assert.match(stdout, /^slow: running/);
    assert.is((await bkg(house.folder, ['restart', 'slow', '--json'])).stderr, '');
  } finally {
    assert.equal(await house.dispose(), []);
  }
});

test('a restart for which there is no model fails at once and says why', async () => {
  const house = await appliance({ yaml: `version: 1
models:
  numbers: { source: "file:numbers.txt" }
  gone: { source: "file:gone.txt" }
plugins:
  one: { use: ./plugins/echo, models: { chat: numbers } }
`, files: { 'numbers.txt': 'a file that stands in for a model; the fixture reads none\n' } });
  try {
    const { pid } = await reaches(house, 'one', 'running');
    house.save(readFileSync(house.config, 'utf8').replace('chat: numbers', 'chat: gone'));
    await until('the model is looked for', async () => ((await house.ask('/api/models')).body as { models: { id: string; phase: string }[] }).models.some(({ id, phase }) => id === 'gone' && phase === 'failed'));
    const { code, stderr } = await bkg(house.folder, ['restart', 'one']);
    assert.is(code, 1);
    assert.match(stderr, /one: It waits: its model gone could not be fetched/);
    assert.is((await house.plugin('one')).pid, pid);
    assert.match((await bkg(house.folder, ['status'])).stdout, /\none \w+: It waits: its model gone could not be fetched/);
  } finally {
    assert.equal(await house.dispose(), []);
  }
});

test('what is wrong with an edit is said once', async () => {
  const house = await appliance({ yaml });
  try {
    await reaches(house, 'one', 'running');
    const { code, stderr } = await bkg(house.folder, ['patch', '/plugins/one/limits', '--remove']);
    assert.is(code, 1);
    assert.is(stderr.split('does not exist').length, 2, stderr);
  } finally {
    assert.equal(await house.dispose(), []);
  }
});

test.run();

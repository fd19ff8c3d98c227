// Whom the command line takes for the running bkg: only the process that provably holds the home.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Holder } from '../reconciler/index.ts';
import { connect, isAlive, requireRunning, runningOn } from './client.ts';
import type { Context } from './context.ts';

const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
const startTicksOf = (pid: number): number => {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]);
};

let home: string;
test.before.each(() => {
  home = mkdtempSync(join(tmpdir(), 'bkg-client-'));
  mkdirSync(join(home, 'run'));
  writeFileSync(join(home, 'admin.token'), 'the-token');
});
test.after.each(() => rmSync(home, { recursive: true, force: true }));

const context = (): Context => ({ config: join(home, 'bkg.yaml'), home, installation: home, json: false, env: {}, version: '0' });
const ports = (pid: number, host = '127.0.0.1'): void => writeFileSync(join(home, 'run', 'ports.json'), JSON.stringify({ host, certificate: null, web: 1, api: 2, bus: 3, pid, plugins: {} }));
const lock = (holder: unknown, name = 'lock'): void => writeFileSync(join(home, 'run', name), JSON.stringify(holder));
const own = (): Holder => ({ pid: process.pid, startTicks: startTicksOf(process.pid), bootId });

test('the process of pid, start time and boot is the running bkg, however it holds the lock', () => {
  for (const name of ['lock', 'lock.holder']) {
    lock(own(), name);
    ports(process.pid);
    assert.equal([runningOn(home)?.holder, runningOn(home)?.ports?.api], [own(), 2], name);
    assert.is(connect(context())?.base, 'http://127.0.0.1:2');
    rmSync(join(home, 'run', name));
    assert.is(runningOn(home), null, name);
  }
});

test('a living pid that is a stranger\'s is none: other start time, other boot, no lock at all', () => {
  ports(process.pid);
  for (const stale of [null, {}, 'x', { ...own(), startTicks: own().startTicks - 1 }, { ...own(), bootId: 'another' }, { ...own(), pid: 2 ** 22 }]) {
    lock(stale);
    assert.is(runningOn(home), null, JSON.stringify(stale));
    assert.is(connect(context()), null);
    assert.throws(() => requireRunning(context()), (error: Error & { remedy?: string }) => error.message.startsWith(`No bkg runs on ${home}`) && /--home/.test(error.remedy ?? ''));
  }
  writeFileSync(join(home, 'run', 'lock'), '');
  assert.is(runningOn(home), null, 'a lock that was released');
});

test('ports of an earlier bkg are not those of the one that holds the home now', () => {
  lock(own());
  ports(process.pid + 1);
  assert.is(runningOn(home)?.ports, null);
  assert.throws(() => connect(context()), /takes no requests: it is starting or ending/);
  rmSync(join(home, 'run', 'ports.json'));
  assert.throws(() => connect(context()), /takes no requests/);
});

test('the api is asked where bkg listens, on this machine', () => {
  lock(own());
  ports(process.pid, '::1');
  assert.is(connect(context())?.base, 'http://[::1]:2');
  ports(process.pid, 'localhost');
  assert.is(connect(context())?.base, 'http://localhost:2');
  for (const host of ['0.0.0.0', '::', '192.0.2.1', '2001:db8::1']) {
    ports(process.pid, host);
    assert.is(connect(context())?.base, 'http://127.0.0.1:2', 'the admin token is good on loopback only');
  }
});

test('a process that has ended is not alive', async () => {
  const child = spawn(process.execPath, ['-e', 'setInterval(() => undefined, 60_000)'], { stdio: 'ignore' });
  await once(child, 'spawn');
  const holder: Holder = { pid: child.pid!, startTicks: startTicksOf(child.pid!), bootId };
  assert.is(isAlive(holder), true);
  child.kill('SIGKILL');
  await once(child, 'exit');
  assert.is(isAlive(holder), false);
});

test.run();

// The home's lock between real processes: with flock(1) and without, through a kill, and never handed on to a plugin.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { lockHome } from './lock.ts';
import { hostBoot, identify } from './process.ts';

type Said = { readonly ok: boolean; readonly child?: number; readonly holder?: { readonly pid: number | null }; readonly message?: string };
type Contender = { readonly process: ChildProcess; readonly said: Said };

/** `path`: where programs are found; a folder without flock(1) makes the fallback speak. */
async function contend(home: string, path: string | undefined): Promise<Contender> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'fixtures', 'locks.mjs'), home], { env: { ...process.env, ...(path === undefined ? {} : { PATH: path }) }, stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  return { process: child, said: JSON.parse(line.toString()) as Said };
}

async function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  const gone = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : null;
  child.kill(signal);
  await gone;
}

for (const [kind, path] of [['flock(1)', undefined], ['a name alone', dirname(process.execPath)]] as const) {
  const inHome = (body: (home: string, contender: () => Promise<Contender>) => Promise<void>) => async (): Promise<void> => {
    const home = mkdtempSync(join(tmpdir(), 'bkg-lock-'));
    const begun: Contender[] = [];
    try {
      await body(home, async () => {
        const contender = await contend(home, path);
        begun.push(contender);
        return contender;
      });
    } finally {
      for (const contender of begun) {
        await ended(contender.process, 'SIGKILL');
        if (contender.said.child !== undefined && identify(contender.said.child) !== null) process.kill(contender.said.child, 'SIGKILL');
      }
      rmSync(home, { recursive: true, force: true });
    }
  };

  test(`${kind}: the second is refused with a sentence that names the first`, inHome(async (home, contender) => {
    const first = await contender();
    assert.is(first.said.ok, true);
    const second = await contender();
    assert.equal(second.said, { ok: false, holder: { pid: first.process.pid ?? null }, message: `${home} is in use by another bkg (process ${first.process.pid}). Stop it first, or choose another --home.` });
  }));

  test(`${kind}: kill -9 frees it though what the holder started goes on`, inHome(async (_, contender) => {
    const first = await contender();
    await ended(first.process, 'SIGKILL');
    assert.is(identify(first.said.child ?? 0)?.zombie, false, 'the plugin outlives it');
    assert.is((await contender()).said.ok, true);
  }));

  test(`${kind}: released, the next one has it`, inHome(async (_, contender) => {
    await ended((await contender()).process, 'SIGTERM');
    assert.is((await contender()).said.ok, true);
  }));

  test(`${kind}: of many at once exactly one has it`, inHome(async (home, contender) => {
    // One that died long ago left its name behind.
    mkdirSync(join(home, 'run'));
    for (const name of ['lock', 'lock.holder']) writeFileSync(join(home, 'run', name), JSON.stringify({ pid: 2 ** 22, startTicks: 1, bootId: hostBoot().bootId }));
    const all = await Promise.all(Array.from({ length: 5 }, contender));
    assert.is(all.filter((one) => one.said.ok).length, 1);
    assert.equal(readdirSync(join(home, 'run')).filter((name) => name.includes('stale')), []);
  }));
}

test('the same process cannot have it twice; two homes do not meet', async () => {
  const homes = [mkdtempSync(join(tmpdir(), 'bkg-lock-')), mkdtempSync(join(tmpdir(), 'bkg-lock-'))] as const;
  try {
    const first = await lockHome(homes[0]);
    const again = await lockHome(homes[0]);
    const other = await lockHome(homes[1]);
    assert.equal([first.ok, again.ok, other.ok], [true, false, true]);
    if (first.ok) await first.release();
    const next = await lockHome(homes[0]);
    assert.is(next.ok, true);
    for (const lock of [next, other]) if (lock.ok) await lock.release();
  } finally {
    for (const home of homes) rmSync(home, { recursive: true, force: true });
  }
});

test.run();

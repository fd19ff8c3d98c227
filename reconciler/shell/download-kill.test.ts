// A program that downloads is killed at any byte, again and again: it goes on from there, next to nothing comes twice, and the file is right.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openNotes } from './download-note.ts';
import { sizeOf } from './download-spans.ts';
import type { Fetched } from './download.ts';
import { inWorld, sha256Of, type World } from './fixtures/downloads.ts';
import { modelBytes, type Hub } from './fixtures/hub.ts';

/** The whole measure is BKG_TEST_DOWNLOAD_BYTES=200000000 BKG_TEST_DOWNLOAD_KILLS=20, which takes a minute or two. */
const BYTES = Number(process.env['BKG_TEST_DOWNLOAD_BYTES'] ?? 36_000_000);
const KILLS = Number(process.env['BKG_TEST_DOWNLOAD_KILLS'] ?? 3);
/** Of the file, over all kills. */
const TWICE_SHARE = 0.01;
/**
 * The server waits when so much is neither noted nor lost. What lies in the buffers of two machines when one of them dies is nobody's fault, and on one
 * machine these hold megabytes; what came and was not noted is the program's. A program that notes less often waits in vain.
 */
const AHEAD_BYTES = 80 * 1024;
const IN_VAIN_MS = 20_000;
/** While the last bytes are hashed, synced and renamed. */
const AT_THE_END_MS = 30;
const program = fileURLToPath(new URL('./fixtures/fetches.ts', import.meta.url));

/** How many bytes the note beside the part claims. */
function noted(world: World): number {
  const folder = join(world.folder, 'partial');
  const name = existsSync(folder) ? readdirSync(folder).find((file) => file.endsWith('.state')) : undefined;
  if (name === undefined) return 0;
  const fd = openSync(join(folder, name), 'r');
  const { before } = openNotes(fd);
  closeSync(fd);
  return sizeOf(before?.have ?? []);
}

type Run = { readonly printed: string; readonly code: number | null; readonly signal: string | null };

/** Runs the program; `kill` is asked before each piece whether it should be killed now. */
async function run(o: { readonly world: World; readonly hub: Hub; readonly sha256: string; readonly kill: (sent: number) => boolean; readonly killAfter_ms?: number }): Promise<Run> {
  const { hub, world } = o;
  const child = spawn(process.execPath, [program, hub.url('m.gguf'), world.folder, o.sha256], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [before, claimed] = [hub.sent(), noted(world)];
  let granted = 0;
  let printed = '';
  child.stdout.on('data', (chunk: Buffer) => { printed += chunk.toString(); });
  let [isDue, isOver] = [false, false];
  child.once('exit', () => { isOver = true; });
  hub.manners.gate = async (bytes) => {
    granted += bytes;
    const [own, began] = [granted, performance.now()];
    while (!isOver && own - (noted(world) - claimed) > AHEAD_BYTES) {
      if (performance.now() - began > IN_VAIN_MS) child.kill('SIGTERM');
      await sleep(1);
    }
  };
  hub.manners.onPiece = () => {
    if (isDue || !o.kill(hub.sent() - before)) return;
    isDue = true;
    if (o.killAfter_ms !== undefined) return void setTimeout(() => child.kill('SIGKILL'), o.killAfter_ms);
    isOver = true;
    child.kill('SIGKILL');
    // The dead read nothing: what would still be poured into their buffers says nothing about the program.
    hub.drop();
  };
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  Object.assign(hub.manners, { gate: null, onPiece: null });
  return { printed, code, signal };
}

test(`${KILLS} kills in ${BYTES} bytes cost next to nothing`, inWorld(async (world) => {
  const bytes = modelBytes(BYTES);
  const sha256 = sha256Of(bytes);
  const hub = await world.hub(bytes);
  for (let kill = 0; kill < KILLS; kill += 1) {
    const left = BYTES - noted(world);
    // Not all before the last kill, and some in every run.
    const until = 2 * AHEAD_BYTES + Math.random() * Math.max(0, left / (KILLS - kill) - 2 * AHEAD_BYTES);
    const asked = hub.seen.length;
    const claimed = noted(world);
    const { signal } = await run({ world, hub, sha256, kill: (sent) => sent >= until });
    assert.is(signal, 'SIGKILL', 'it notes often enough');
    assert.ok(kill === 0 || (hub.seen[asked]?.from ?? 0) > 0, 'it goes on');
    assert.ok(noted(world) > claimed, 'and comes further');
  }
  // At the very end, too: whole, but perhaps not yet under its name.
  const left = BYTES - noted(world);
  await run({ world, hub, sha256, kill: (sent) => sent >= left - AHEAD_BYTES / 4, killAfter_ms: Math.random() * AT_THE_END_MS });
  const { printed, code } = await run({ world, hub, sha256, kill: () => false });
  assert.is(code, 0);
  const fetched = JSON.parse(printed) as Fetched;
  assert.ok(fetched.ok && fetched.sha256 === sha256, printed);
  assert.ok(readFileSync(fetched.path).equals(bytes));
  assert.equal([world.names('partial'), world.names('sha256').length], [[], 1]);
  const twice = hub.sent() - BYTES;
  assert.ok(twice <= BYTES * TWICE_SHARE, `${twice} bytes came twice`);
  console.log(`${KILLS + 1} kills: ${twice} of ${BYTES} bytes came twice, ${(twice / (KILLS + 1) / 1024).toFixed(0)} KiB for each`);
}));

test.run();

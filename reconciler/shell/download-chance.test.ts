// Servers that misbehave by chance, in all ways at once and never the same: whatever comes of a fetch, wrong bytes never do, and in the end the right ones.
import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { http, openWorld, sha256Of, SILENCE_MS } from './fixtures/downloads.ts';
import { modelBytes, type Hub } from './fixtures/hub.ts';

/** A long suite sets more. */
const ROUNDS = Number(process.env['BKG_TEST_DOWNLOAD_ROUNDS'] ?? 6);
const SEED = Number(process.env['BKG_TEST_DOWNLOAD_SEED'] ?? Date.now() % 1_000_000);
/** Bad fetches of one file; after them the server behaves. */
const BAD_FETCHES = 8;
const FETCHES = BAD_FETCHES + 4;

/** The same numbers for the same seed: a failure can be had again. */
function openChance(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

type Chance = ReturnType<typeof openChance>;
const several = <Thing>(chance: Chance, most: number, make: () => Thing): Thing[] => Array.from({ length: chance(most + 1) }, make);

/** `next`: what the file becomes when it changes in the middle. */
function misbehave(hub: Hub, chance: Chance, next: Buffer): void {
  const { manners } = hub;
  const size = manners.bytes.length;
  const place = (): number => chance(size);
  Object.assign(manners, {
    cuts: several(chance, 5, place), stalls: several(chance, 1, place), ranges: chance(7) > 0, onPiece: null,
    refusals: several(chance, 1, () => ({ status: [429, 500, 503, 403, 404][chance(5)], headers: chance(2) === 0 ? {} : { 'retry-after': '0' } })),
    headers: { ...(chance(6) === 0 ? { 'content-length': null, 'transfer-encoding': 'chunked' } : {}), ...(chance(4) === 0 ? { connection: 'close' } : {}) },
  });
  if (chance(5) > 0) return;
  const at = place();
  manners.onPiece = (now) => {
    if (now < at) return;
    Object.assign(manners, { bytes: next, onPiece: null, etag: manners.etag === null ? null : `"${sha256Of(next).slice(0, 8)}"` });
  };
}

async function round(seed: number): Promise<void> {
  const chance = openChance(seed);
  const world = openWorld();
  const told: string[] = [`seed ${seed}`];
  try {
    const size = 200 + chance(2_000_000);
    const versions = [modelBytes(size), modelBytes(size + chance(2) * chance(1000)), modelBytes(size)];
    const hub = await world.hub(versions[0]!);
    if (chance(5) === 0) hub.manners.etag = null;
    for (let turn = 0; turn < FETCHES; turn += 1) {
      if (turn < BAD_FETCHES) misbehave(hub, chance, versions[1 + chance(2)]!);
      else Object.assign(hub.manners, { cuts: [], stalls: [], ranges: true, refusals: [], headers: {}, onPiece: null });
      const sha256 = chance(2) === 0 ? null : sha256Of(hub.manners.bytes);
      const signal = chance(4) === 0 ? AbortSignal.timeout(1 + chance(300)) : new AbortController().signal;
      const fetched = await world.fetch(http(hub.url('m.gguf')), { sha256, signal, ...(turn < BAD_FETCHES ? { stall_ms: SILENCE_MS / 3 } : {}), connections: 1 + chance(5), block_bytes: 1000 + chance(300_000) });
      told.push(fetched.ok ? 'ok' : `${fetched.reason}: ${fetched.message}`);
      if (!fetched.ok) continue;
      const bytes = readFileSync(fetched.path);
      assert.ok(versions.some((version) => version.equals(bytes)) && sha256Of(bytes) === fetched.sha256, `wrong bytes\n${told.join('\n')}`);
      return;
    }
    assert.unreachable(`it never came\n${told.join('\n')}`);
  } finally {
    world.close();
  }
}

test(`${ROUNDS} files from servers that misbehave by chance`, async () => {
  for (let turn = 0; turn < ROUNDS; turn += 1) await round(SEED + turn);
});

test.run();

// A disk that is full, before and in the middle: told as such, nothing half is taken for whole, and it goes on once there is room.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Fetched } from './download.ts';
import { http, inWorld, messageOf, reasonOf, sha256Of, type World } from './fixtures/downloads.ts';
import { modelBytes } from './fixtures/hub.ts';

const MIB = 1024 * 1024;
const DISK_BYTES = 40 * MIB;

/** A small disk of its own, gone with the test; null where mounting is not permitted, which is printed. */
const onDisk = (body: (world: World, folder: string) => Promise<void>) => inWorld(async (world) => {
  const folder = join(world.folder, 'disk');
  mkdirSync(folder);
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'tmpfs', folder], { encoding: 'utf8' });
  if (mounted.status !== 0) return console.log(`skipped: no disk can be mounted here: ${(mounted.stderr ?? 'there is no mount').trim()}`);
  try {
    await body(world, folder);
  } finally {
    // The thread that hashes may have a file open for another moment.
    spawnSync('umount', ['--lazy', folder]);
  }
});

const free = (folder: string): number => { const { bavail, bsize } = statfsSync(folder); return bavail * bsize; };
const isWhole = (fetched: Fetched, bytes: Buffer): void => {
  assert.is(messageOf(fetched), '');
  assert.ok(fetched.ok && readFileSync(fetched.path).equals(bytes));
};

test('a file for which there is no room is not begun', onDisk(async (world, folder) => {
  const bytes = modelBytes(DISK_BYTES + 1);
  const hub = await world.hub(bytes);
  const full = await world.fetch(http(hub.url('m.gguf')), { folder });
  assert.is(reasonOf(full), 'DiskFull');
  assert.match(messageOf(full), new RegExp(`^${bytes.length} bytes are to come, \\d+ are free`));
  // The reserve counts, too; without an order for it, it is more than this disk has.
  hub.manners.bytes = bytes.subarray(0, MIB);
  assert.match(messageOf(await world.fetch(http(hub.url('small/m.gguf')), { folder, reserve_bytes: undefined as never })), /268435456 must stay/);
  assert.ok(free(folder) > DISK_BYTES - MIB, 'nothing lies there');
  isWhole(await world.fetch(http(hub.url('small/m.gguf')), { folder }), hub.manners.bytes);
}));

test('a disk that others fill in the middle ends the fetch; with room again it goes on, and nothing comes twice', onDisk(async (world, folder) => {
  for (const reserve_bytes of [0, 8 * MIB]) {
    const bytes = modelBytes(26 * MIB);
    const hub = await world.hub(bytes);
    const filler = join(folder, 'filler');
    hub.manners.onPiece = (at) => {
      if (at < 4 * MIB) return;
      hub.manners.onPiece = null;
      // In the second round there is room for the file, but not for the reserve besides.
      writeFileSync(filler, Buffer.alloc(Math.max(0, free(folder) - (reserve_bytes === 0 ? MIB : 24 * MIB))));
    };
    const full = await world.fetch(http(hub.url('m.gguf')), { folder, reserve_bytes });
    assert.is(reasonOf(full), 'DiskFull', messageOf(full));
    assert.ok(!full.ok && full.transient);
    assert.match(messageOf(full), /is full; make room, it goes on from here/);
    assert.ok(hub.sent() > 4 * MIB && hub.sent() < bytes.length);
    const before = hub.sent();
    rmSync(filler);
    const fetched = await world.fetch(http(hub.url('m.gguf')), { folder, reserve_bytes, sha256: sha256Of(bytes) });
    isWhole(fetched, bytes);
    assert.ok(hub.sent() - before < bytes.length - 2 * MIB, 'what was there stayed');
    rmSync(join(folder, 'sha256'), { recursive: true });
  }
}));

test('a stream of unknown length that outgrows the disk is never taken for whole', onDisk(async (world, folder) => {
  const bytes = modelBytes(DISK_BYTES + MIB);
  const hub = await world.hub(bytes);
  Object.assign(hub.manners, { ranges: false, headers: { 'content-length': null, 'transfer-encoding': 'chunked' } });
  const full = await world.fetch(http(hub.url('m.gguf')), { folder });
  assert.is(reasonOf(full), 'DiskFull', messageOf(full));
  // What cannot be continued may be begun anew: its room counts as free.
  hub.manners.bytes = bytes.subarray(0, 20 * MIB);
  isWhole(await world.fetch(http(hub.url('m.gguf')), { folder }), hub.manners.bytes);
}));

test.run();

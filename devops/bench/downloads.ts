// Bench of downloads: a large file from this machine through bkg's downloader, hashed and synced, against curl, which only writes it; and what the host feels of it.
//
// Why the downloader has an HTTP/1.1 client of its own. A library hands each piece of a body on in a buffer of its own, and that costs more than all else
// together: taking a GiB from loopback and throwing it away cost 0.16 s of CPU with one buffer that is used again (`onread` of node:net), 1.0 s with undici's
// dispatch and 1.3 s with node:http. A whole download of a GiB, hashed and synced, cost 2.1 s of CPU with the own client and 4.0 s with undici 8.12 in its
// place. On two cores, one of them taken by another program, medians of five runs in turn with curl: 0.53 of `curl --output` and 0.84 of it with a sync behind
// with the own client, 0.26 and 0.43 with undici. SHA-256 alone took 0.9 s of CPU.
import { execFile, fork, spawnSync, type ChildProcess } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { below, quantile, type Row } from './measure.ts';

const MIB = 1024 * 1024;
const SIZE_BYTES = 1024 * MIB;
const SMALL_BYTES = 256 * MIB;
/** In turn, so that what else the machine does meets both alike. */
const ROUNDS = 5;
/** Of curl's throughput. */
const RATIO_WANTED = 0.8;
/** More than this between a small file and a large one would be growth with the file. */
const GROWTH_BOUND_MB = 24;
const CONNECTIONS = 4;

/** What the program prints; `grown_mb`: resident memory at its most, against before; the last two: p99 of how late a timer came. */
type Measured = { readonly took_s: number; readonly cpu_s: number; readonly grown_mb: number; readonly quiet_ms: number; readonly late_ms: number };
type Mirror = { readonly child: ChildProcess; readonly url: (bytes: number) => string };

async function launch(): Promise<Mirror> {
  const child = fork(fileURLToPath(new URL('mirror.ts', import.meta.url)));
  const [{ port }] = (await once(child, 'message')) as [{ readonly port: number }];
  return { child, url: (bytes) => `http://127.0.0.1:${port}/${bytes}/m.bin` };
}

const execute = promisify(execFile);

/** Until curl ends, and until what it wrote is on the disk, where bkg leaves a file. */
async function curl(mirror: Mirror, folder: string): Promise<{ readonly written_s: number; readonly synced_s: number }> {
  const path = join(folder, 'curl.bin');
  const began = performance.now();
  await execute('curl', ['--silent', '--fail', '--noproxy', '*', '--output', path, mirror.url(SIZE_BYTES)]);
  const written = performance.now();
  const file = await open(path);
  await file.sync().finally(() => file.close());
  const synced = performance.now();
  rmSync(path);
  return { written_s: (written - began) / 1000, synced_s: (synced - began) / 1000 };
}

/** What hashing alone takes: nothing that hashes is faster. */
function hash_s(): number {
  const piece = randomBytes(MIB);
  const hash = createHash('sha256');
  const began = performance.now();
  for (let done = 0; done < SIZE_BYTES; done += piece.length) hash.update(piece);
  hash.digest();
  return (performance.now() - began) / 1000;
}

/** In a process of its own: what it grows by is the downloader's. */
async function ours(mirror: Mirror, folder: string, o: { readonly bytes: number; readonly connections: number }): Promise<Measured> {
  const program = fileURLToPath(new URL('../../reconciler/shell/fixtures/measured.mjs', import.meta.url));
  const store = join(folder, 'store');
  const { stdout } = await execute(process.execPath, [program, mirror.url(o.bytes), store, String(o.connections)]);
  rmSync(store, { recursive: true });
  return JSON.parse(stdout) as Measured;
}

const median = (values: readonly number[]): number => quantile(values, 0.5);

type Found = { readonly curl: { readonly written_s: number; readonly synced_s: number }[]; readonly hash_s: number[]; readonly one: Measured[]; readonly four: Measured[] };

export async function run(): Promise<readonly Row[]> {
  const folder = mkdtempSync(join(tmpdir(), 'bkg-bench-'));
  const mirror = await launch();
  const hasCurl = spawnSync('curl', ['--version']).status === 0;
  try {
    const small = await ours(mirror, folder, { bytes: SMALL_BYTES, connections: CONNECTIONS });
    const found: Found = { curl: [], hash_s: [], one: [], four: [] };
    for (let round = 0; round < ROUNDS; round += 1) {
      if (hasCurl) found.curl.push(await curl(mirror, folder));
      found.four.push(await ours(mirror, folder, { bytes: SIZE_BYTES, connections: CONNECTIONS }));
      found.one.push(await ours(mirror, folder, { bytes: SIZE_BYTES, connections: 1 }));
      found.hash_s.push(hash_s());
    }
    return rowsOf(found, small);
  } finally {
    mirror.child.kill();
    rmSync(folder, { recursive: true, force: true });
  }
}

function rowsOf(found: Found, small: Measured): readonly Row[] {
  const speed = (took_s: readonly number[]): number => SIZE_BYTES / MIB / median(took_s);
  const four = speed(found.four.map((one) => one.took_s));
  const written = speed(found.curl.map((one) => one.written_s));
  const synced = speed(found.curl.map((one) => one.synced_s));
  const grown = median(found.four.map((one) => one.grown_mb));
  const against: readonly Row[] = found.curl.length === 0 ? [] : [
    { name: 'curl --output', value: written, unit: 'MiB/s' },
    { name: 'curl --output, then synced', value: synced, unit: 'MiB/s' },
    { name: 'bkg, hashed and synced, against curl', value: four / written, unit: '×', target: `≥ ${RATIO_WANTED} ×`, ok: four / written >= RATIO_WANTED },
    { name: 'bkg, hashed and synced, against curl, then synced', value: four / synced, unit: '×' },
  ];
  return [
    { name: `bkg, ${CONNECTIONS} connections, hashed and synced`, value: four, unit: 'MiB/s' },
    { name: 'bkg, 1 connection, hashed and synced', value: speed(found.one.map((one) => one.took_s)), unit: 'MiB/s' },
    { name: 'sha256 of bytes in memory, nothing else', value: speed(found.hash_s), unit: 'MiB/s' },
    ...against,
    { name: 'CPU of bkg for a GiB, with the start of its threads', value: median(found.four.map((one) => one.cpu_s)), unit: 's' },
    { name: `memory of the host grows by, ${SIZE_BYTES / MIB} MiB`, value: grown, unit: 'MB' },
    below(`more of it than for ${SMALL_BYTES / MIB} MiB`, { value: grown - small.grown_mb, unit: 'MB', bound: GROWTH_BOUND_MB }),
    { name: 'p99 of how late a timer of the host is, quiet', value: median(found.four.map((one) => one.quiet_ms)), unit: 'ms' },
    { name: 'p99 of how late it is while it downloads', value: median(found.four.map((one) => one.late_ms)), unit: 'ms' },
  ];
}

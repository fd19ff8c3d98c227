// A file is looked into as it lies on the disk; whatever bytes it has, the answer is facts or a fault, and little is read for it.
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ModelFormat } from '../core/format.ts';
import type { Reader } from './format-bytes.ts';
import { readGguf } from './format-gguf.ts';
import { readOnnx } from './format-onnx.ts';
import { readSafetensors } from './format-safetensors.ts';
import { fixtures, gguf, look, onnx, safetensors, varint } from './format-sample.ts';
import { inspect, type Inspection } from './format.ts';

const haveFixtures = existsSync(fixtures);
// Before the first test: what stands within uvu's dots is not seen.
if (!haveFixtures) console.log('skipped: the fixture models are not here (BKG_FIXTURES)');

const calm = new AbortController().signal;

async function withFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'bkg-format-'));
  try {
    await body(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const messageOf = (inspection: Inspection): string => (inspection.ok ? '' : inspection.message);

test('the name tells the format, the path where the bytes are', () => withFolder(async (folder) => {
  const path = join(folder, 'download.part');
  for (const [name, bytes] of [['a.gguf', gguf()], ['B.GGUF', gguf()], ['a.safetensors', safetensors({}, 0)], ['a.onnx', onnx()]] as const) {
    writeFileSync(path, bytes);
    const found = await inspect(path, name, calm);
    assert.is(found.ok ? found.about.format : found.message, name.toLowerCase().replace(/^.*\./, ''));
  }
  assert.equal(await inspect(path, 'tokenizer.json', calm), { ok: true, about: { format: 'other' } });
  assert.is(messageOf(await inspect(path, 'c.gguf', calm)), 'c.gguf is no GGUF file: it does not begin with "GGUF"; check the source');
}));

test('what cannot be read is said, and nothing is waited for', () => withFolder(async (folder) => {
  mkdirSync(join(folder, 'folder.gguf'));
  execFileSync('mkfifo', [join(folder, 'pipe.gguf')]);
  assert.match(messageOf(await inspect(join(folder, 'none.gguf'), 'none.gguf', calm)), /^none\.gguf cannot be read \(ENOENT\); check that it is there/);
  for (const name of ['folder.gguf', 'pipe.gguf']) assert.is(messageOf(await inspect(join(folder, name), name, calm)), `${name} is not a file; check the source`);
  writeFileSync(join(folder, 'locked.gguf'), gguf());
  chmodSync(join(folder, 'locked.gguf'), 0);
  // Root may read everything.
  if (process.getuid?.() !== 0) assert.match(messageOf(await inspect(join(folder, 'locked.gguf'), 'locked.gguf', calm)), /EACCES/);
}));

test('a large file is not read: a terabyte of nothing takes no time', () => withFolder(async (folder) => {
  const path = join(folder, 'a.gguf');
  writeFileSync(path, gguf());
  truncateSync(path, 2 ** 40);
  assert.ok((await inspect(path, 'a.gguf', calm)).ok);
  truncateSync(path, 0);
  truncateSync(path, 2 ** 40);
  for (const name of ['a.gguf', 'a.safetensors', 'a.onnx']) assert.not((await inspect(path, name, calm)).ok);
}));

test('whoever asked may give up', () => withFolder(async (folder) => {
  writeFileSync(join(folder, 'a.gguf'), gguf());
  try {
    await inspect(join(folder, 'a.gguf'), 'a.gguf', AbortSignal.abort());
    assert.unreachable();
  } catch (error) {
    assert.is((error as Error).name, 'AbortError');
  }
}));

// ─── Hostile bytes ──────────────────────────────────────────────────────────────────────────────────────────────────────

type Kind = { readonly read: (reader: Reader) => Promise<ModelFormat | null>; readonly sound: Buffer };

const kinds: Readonly<Record<string, Kind>> = {
  gguf: { read: readGguf, sound: gguf() },
  safetensors: { read: readSafetensors, sound: safetensors({ __metadata__: { a: 'b' }, w: { dtype: 'F32', shape: [2, 3], data_offsets: [0, 24] }, v: { dtype: 'U8', shape: [1], data_offsets: [24, 25] } }, 25) },
  onnx: { read: readOnnx, sound: onnx() },
};

/** Facts or a fault, never both; and never more read or asked for at once than the file and the bounds allow. */
async function survives(bytes: Buffer, kind: Kind): Promise<string | null> {
  const { about, fault, read_bytes, largest_bytes } = await look(bytes, kind.read);
  assert.is(about === null, fault !== null);
  assert.ok(read_bytes <= 2 * bytes.length + 4_096 && largest_bytes <= 2 ** 18, `${read_bytes} of ${bytes.length} bytes`);
  if (about !== null) assert.equal(JSON.parse(JSON.stringify(about)), about, 'nothing that JSON cannot say');
  return fault;
}

for (const [name, kind] of Object.entries(kinds)) {
  test(`${name}: any bytes at all`, () => fc.assert(fc.asyncProperty(fc.uint8Array({ maxLength: 400 }), async (bytes) => {
    assert.type(await survives(Buffer.from(bytes), kind), 'string');
  }), { numRuns: 500 }));

  test(`${name}: any bytes after a sound beginning`, () => fc.assert(fc.asyncProperty(fc.nat(kind.sound.length), fc.uint8Array({ maxLength: 200 }), async (at, bytes) => {
    await survives(Buffer.concat([kind.sound.subarray(0, at), bytes]), kind);
  }), { numRuns: 1_000 }));

  test(`${name}: cut off anywhere`, async () => {
    for (let length = 0; length < kind.sound.length; length += 1) assert.type(await survives(kind.sound.subarray(0, length), kind), 'string', `${length} bytes`);
    assert.is(await survives(kind.sound, kind), null);
  });

  test(`${name}: bytes flipped anywhere`, () => fc.assert(fc.asyncProperty(fc.array(fc.tuple(fc.nat(kind.sound.length - 1), fc.integer({ min: 1, max: 255 })), { minLength: 1, maxLength: 4 }), async (flips) => {
    const bytes = Buffer.from(kind.sound);
    for (const [at, by] of flips) bytes[at] = (bytes[at] ?? 0) ^ by;
    await survives(bytes, kind);
  }), { numRuns: 1_500 }));

  test(`${name}: large numbers put anywhere`, () => fc.assert(fc.asyncProperty(fc.nat(kind.sound.length), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.boolean(), async (at, value, asVarint) => {
    const fixed = Buffer.alloc(8);
    fixed.writeBigUInt64LE(value);
    const number = asVarint ? varint(value) : fixed;
    await survives(Buffer.concat([kind.sound.subarray(0, at), number, kind.sound.subarray(at + number.length)]), kind);
  }), { numRuns: 1_500 }));
}

test('real files cut off: at every byte of the head, and here and there in the weights', async () => {
  if (!haveFixtures) return;
  const story = readFileSync(join(fixtures, 'text/stories260K-chat-q8_0.gguf'));
  const head_bytes = story.length - 364_768;
  for (let length = 0; length < story.length; length += length < head_bytes ? 1 : 4_999) {
    const fault = await survives(story.subarray(0, length), kinds['gguf']!);
    assert.match(fault ?? '', length < 4 ? /is no GGUF file/ : /is cut short|room for so many/, `${length} bytes`);
  }
  const faces = readFileSync(join(fixtures, 'faces/face_detection_yunet_2023mar.onnx'));
  for (let length = 0; length < faces.length; length += 53) assert.type(await survives(faces.subarray(0, length), kinds['onnx']!), 'string', `${length} bytes`);
});

test.run();

// Where the lines of a plugin lie on disk, and how their space stays bounded while the plugin goes on writing.
import { spawn } from 'node:child_process';
import { copyFile, open, readdir, rename, rm, stat, truncate } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { STREAMS, type Stream } from './logs-lines.ts';

/** Kept of each stream. With both streams and one step more each, a run holds five times 10 MiB. */
const KEEP_BYTES = 20 * 1024 * 1024;
/** Given back to the file system in steps: each one costs a process. */
const STEP_BYTES = 5 * 1024 * 1024;
/** From here on there is a step to give back. */
export const HELD_BYTES = KEEP_BYTES + STEP_BYTES;

/**
 * A part of a stream. Usually there is one, with holes where old bytes were; where no holes can be made, earlier parts
 * lie beside it as `<incarnation>.<stream>.<base>`.
 */
export type Segment = { readonly path: string; readonly incarnation: string; readonly stream: Stream; readonly base: number; readonly size: number; readonly begun_ms: number; readonly written_ms: number };

/** Every segment of a plugin's folder, older incarnations first, then by place. */
export async function segmentsOf(folder: string): Promise<readonly Segment[]> {
  const names = await readdir(folder).catch(() => []);
  const found = await Promise.all(names.map(async (name): Promise<(Segment & { readonly live: boolean }) | null> => {
    const parts = /^(.+)\.(stdout|stderr)(?:\.(\d+))?$/.exec(name);
    const facts = parts === null ? null : await stat(join(folder, name)).catch(() => null);
    if (parts === null || facts === null) return null;
    const stream = parts[2] === 'stdout' ? 'stdout' : 'stderr';
    return { path: join(folder, name), incarnation: parts[1] ?? '', stream, base: Number(parts[3] ?? 0), live: parts[3] === undefined, size: facts.size, begun_ms: facts.birthtimeMs, written_ms: facts.mtimeMs };
  }));
  const segments = found.filter((one) => one !== null);
  // What is written now goes on where the newest earlier part ends.
  const placed = segments.map(({ live, ...segment }): Segment => (live ? { ...segment, base: Math.max(0, ...segments.filter((other) => !other.live && other.incarnation === segment.incarnation && other.stream === segment.stream).map((other) => other.base + other.size)) } : segment));
  const begun = new Map<string, number>();
  for (const segment of placed) begun.set(segment.incarnation, Math.min(segment.begun_ms, begun.get(segment.incarnation) ?? Infinity));
  const beginning = (segment: Segment): number => begun.get(segment.incarnation) ?? 0;
  return placed.sort((a, b) => beginning(a) - beginning(b) || (a.incarnation < b.incarnation ? -1 : a.incarnation > b.incarnation ? 1 : STREAMS.indexOf(a.stream) - STREAMS.indexOf(b.stream) || a.base - b.base));
}

export type Rotation = {
  /** Bytes before this place are gone from the disk. */
  readonly begin: number;
  /** Place of the live file's first byte: grows only where no holes can be made. */
  readonly base: number;
  /** Lines may have been lost between the copy and the cut. */
  readonly cut: boolean;
};

/**
 * Gives back what is older than the newest bytes, when there is a step's worth. The writer notices nothing: holes move no
 * byte, an appending writer goes on at the end of a file cut short.
 */
export async function rotate(path: string, now: { readonly begin: number; readonly base: number }): Promise<Rotation> {
  const { size } = await stat(path);
  const end = now.base + size;
  if (end - now.begin <= HELD_BYTES) return { ...now, cut: false };
  const begin = end - KEEP_BYTES - ((end - KEEP_BYTES) % STEP_BYTES);
  if (now.base === 0 && (await punch(path, { from: now.begin, to: begin }))) return { begin, base: 0, cut: false };
  return cut(path, now.base);
}

function punch(path: string, hole: { readonly from: number; readonly to: number }): Promise<boolean> {
  return new Promise((resolve) => {
    const child = spawn('fallocate', ['--punch-hole', '--offset', String(hole.from), '--length', String(hole.to - hole.from), path], { stdio: 'ignore' });
    child.once('error', () => resolve(false));
    child.once('exit', (code) => resolve(code === 0));
  });
}

/** Copies what is there beside it, then cuts the file: what is written between the two is lost, which is why holes are better. */
async function cut(path: string, base: number): Promise<Rotation> {
  const name = basename(path);
  const earlier = (await readdir(dirname(path))).map((file) => (file.startsWith(`${name}.`) ? file.slice(name.length + 1) : '')).filter((part) => /^\d+$/.test(part)).map(Number).sort((a, b) => b - a);
  // First, so that what is no longer kept does not lie beside the copy.
  let kept = (await stat(path)).size;
  let begin = base;
  for (const at of earlier) {
    const file = `${path}.${at}`;
    const size = await stat(file).then((facts) => facts.size, () => 0);
    if (kept < KEEP_BYTES) begin = at;
    else await rm(file, { force: true });
    kept += size;
  }
  const copy = `${path}.${base}`;
  await copyFile(path, `${copy}.new`);
  const late = await appendRest(path, `${copy}.new`);
  await rename(`${copy}.new`, copy);
  await truncate(path, 0);
  return { begin, base: base + late, cut: true };
}

/** What came while the copy was made. Returns the copy's size. */
async function appendRest(from: string, to: string): Promise<number> {
  const [source, target] = [await open(from, 'r'), await open(to, 'a')];
  try {
    let copied = (await target.stat()).size;
    const rest = Buffer.alloc(Math.min(STEP_BYTES, Math.max(0, (await source.stat()).size - copied)));
    const { bytesRead } = rest.length === 0 ? { bytesRead: 0 } : await source.read(rest, 0, rest.length, copied);
    await target.write(rest, 0, bytesRead);
    copied += bytesRead;
    return copied;
  } finally {
    await source.close();
    await target.close();
  }
}

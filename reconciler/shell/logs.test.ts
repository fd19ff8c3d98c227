// Logs of real writers: followed without losing or doubling a line, bounded under a flood, readable again, cut where no holes can be made.
import { appendFileSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { LogRecord } from './door.ts';
import { followLogs, pruneLogs, readLogs } from './logs.ts';
import { HELD_BYTES } from './logs-disk.ts';
import { LINE_BYTES, recordOf } from './logs-lines.ts';
import { pluginEnvironment, spawnProcess, survivors } from './process.ts';

const FIXTURES = join(import.meta.dirname, 'fixtures');
const DEADLINE_MS = 30_000;

type Place = {
  readonly folder: string;
  readonly records: LogRecord[];
  write(name: string, text: string): void;
  /** Runs a fixture whose logs are of this incarnation, and waits for its end. */
  run(incarnation: string, argv: readonly string[]): Promise<{ readonly code: number | null }>;
  follow(incarnation: string): ReturnType<typeof followLogs>;
};

async function inPlace(body: (place: Place) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'bkg-logs-'));
  const records: LogRecord[] = [];
  const followed: ReturnType<typeof followLogs>[] = [];
  const marks: string[] = [];
  try {
    await body({
      folder, records,
      write: (name, text) => appendFileSync(join(folder, name), text),
      run: async (incarnation, argv) => {
        const mark = `${folder}-${incarnation}`;
        marks.push(mark);
        return new Promise((resolve, reject) => {
          void spawnProcess({ argv: ['node', join(FIXTURES, argv[0] ?? ''), ...argv.slice(1)], cwd: folder, env: pluginEnvironment({}, { BKG_INCARNATION: mark, PATH: dirname(process.execPath) }), stdout: join(folder, `${incarnation}.stdout`), stderr: join(folder, `${incarnation}.stderr`), onExit: resolve })
            .then((spawned) => { if (!spawned.ok) reject(new Error(spawned.message)); });
        });
      },
      follow: (incarnation) => {
        const following = followLogs({ folder, plugin: 'p', incarnation, onRecord: (record) => { records.push(record); } });
        followed.push(following);
        return following;
      },
    });
  } finally {
    for (const following of followed) await following.close();
    for (const mark of marks) for (const pid of survivors(mark)) process.kill(pid, 'SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
}

async function until(what: string, look: () => boolean): Promise<void> {
  for (const end = performance.now() + DEADLINE_MS; !look();) {
    if (performance.now() > end) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => { setTimeout(resolve, 5); });
  }
}

const messages = (records: readonly LogRecord[]): readonly string[] => records.map((record) => record.message);
const read = (place: Place, query: { readonly limit: number; readonly after?: { readonly incarnation: string; readonly stream: 'stdout' | 'stderr'; readonly offset: number } }): Promise<readonly LogRecord[]> =>
  readLogs({ folder: place.folder, plugin: 'p', after: null, ...query });

test('a line becomes a record: JSON keeps its level, time and fields; a plain one is guessed', () => {
  const at_ms = Date.UTC(2026, 0, 1);
  const facts = { plugin: 'p', incarnation: 'i', stream: 'stdout' as const, offset: 7, at_ms };
  const of = (line: string, stream: 'stdout' | 'stderr' = 'stdout') => recordOf({ ...facts, stream }, Buffer.from(line));
  assert.equal(of('{"level":50,"time":1767225600123,"msg":"no luck","code":7}'), { plugin: 'p', incarnation: 'i', stream: 'stdout', offset: 7, at: '2026-01-01T00:00:00.123Z', level: 'error', message: 'no luck', fields: { code: 7 } });
  assert.equal(of('hello\r'), { plugin: 'p', incarnation: 'i', stream: 'stdout', offset: 7, at: '2026-01-01T00:00:00.000Z', level: 'info', message: 'hello', fields: null });
  const levels: readonly (readonly [string, string])[] = [
    ['{"level":"WARNING","message":"m"}', 'warn'], ['{"level":"debug"}', 'debug'], ['{"level":99,"msg":"m"}', 'info'], ['{"msg":"m"}', 'info'], ['{"level":"critical"}', 'fatal'], ['{broken', 'info'], ['[1]', 'info'],
    ['ERROR: it broke', 'error'], ['[warning] hot', 'warn'], ['  trace x', 'trace'], ['information is all', 'info'], ['\u001b[31mfatal\u001b[0m: gone', 'fatal'],
  ];
  for (const [line, level] of levels) assert.is(of(line)?.level, level, line);
  assert.equal([of('to stderr', 'stderr')?.level, of('info: to stderr', 'stderr')?.level, of('{"msg":"m"}', 'stderr')?.level], ['warn', 'info', 'warn']);
  assert.is(of('\u001b[31mred\u001b[0m')?.message, 'red');
  assert.is(of('{"level":30,"time":"nonsense","msg":"m"}')?.at, '2026-01-01T00:00:00.000Z');
  assert.is(of('{"level":30,"a":1}')?.message, '{"level":30,"a":1}');
  assert.equal([of(''), of('\r'), of('\0\0\0torn')], [null, null, null]);
});

test('every line of both streams is told once and in order, also the last one without an end', () => inPlace(async (place) => {
  const following = place.follow('one');
  await place.run('one', ['writes.mjs', '300', '1']);
  place.write('one.stdout', 'the last, ünfinished 🙂');
  await following.close();
  const numbers = (stream: string): readonly number[] => place.records.filter((record) => record.stream === stream).flatMap((record) => /^number (\d+)$/.exec(record.message)?.[1] ?? []).map(Number);
  const all = Array.from({ length: 300 }, (_, line) => line);
  assert.equal(numbers('stdout'), all.filter((line) => line % 3 !== 2));
  assert.equal(numbers('stderr'), all.filter((line) => line % 3 === 2));
  assert.is(place.records.filter((record) => record.stream === 'stdout').at(-1)?.message, 'the last, ünfinished 🙂');
  assert.is(new Set(place.records.map((record) => `${record.stream} ${record.offset}`)).size, place.records.length);
}));

test('after a long silence the next line is told', () => inPlace(async (place) => {
  writeFileSync(join(place.folder, 'one.stdout'), '');
  place.follow('one');
  await new Promise((resolve) => { setTimeout(resolve, 1_200); });
  place.write('one.stdout', 'awake\n');
  await until('it is told', () => place.records.length === 1);
  assert.is(place.records[0]?.offset, 0);
}));

test('an endless line is cut, its rest is counted, and the next one is whole', () => inPlace(async (place) => {
  const following = place.follow('one');
  const long = 'y'.repeat(LINE_BYTES * 5);
  place.write('one.stdout', `before\n${long}\nafter\n`);
  await until('all is told', () => messages(place.records).includes('after'));
  await following.close();
  assert.equal(messages(place.records).map((message) => message.slice(0, 6)), ['before', 'yyyyyy', `${LINE_BYTES * 4 + 1} bytes`.slice(0, 6), 'after']);
  assert.equal(place.records[2]?.fields, { gap: LINE_BYTES * 4 + 1 });
  assert.ok((place.records[1]?.message.length ?? 0) < LINE_BYTES);
  const back = await read(place, { limit: 10 });
  assert.equal(messages(back).map((message) => message.slice(0, 6)), ['before', 'yyyyyy', 'after']);
  assert.equal(back.map((record) => record.offset), [0, 7, 7 + long.length + 1]);
}));

for (const kind of ['holes', 'cuts'] as const) {
  test(`a flood is told in part and counted whole, holds bounded disk space, and is never held up (${kind})`, () => inPlace(async (place) => {
    const path = process.env['PATH'];
    // Without fallocate(1) no holes can be made.
    if (kind === 'cuts') process.env['PATH'] = dirname(process.execPath);
    try {
      const following = place.follow('one');
      let most = 0;
      const measure = setInterval(() => { most = Math.max(most, readdirSync(place.folder).reduce((sum, name) => sum + statSync(join(place.folder, name), { throwIfNoEntry: false })!.blocks * 512, 0)); }, 50);
      const exit = await place.run('one', ['floods.mjs', '50', '3']);
      clearInterval(measure);
      await following.close();
      assert.equal(exit, { code: 0, signal: null });
      const over = place.records.find((record) => record.message === 'flood over')?.fields as { bytes: number; lines: number } | undefined;
      assert.ok(over !== undefined && over.bytes > 60e6, 'it went on writing');
      const flood = place.records.filter((record) => record.stream === 'stdout');
      const gaps = flood.filter((record) => record.fields !== null);
      assert.ok(gaps.length > 0);
      const shown = flood.filter((record) => record.fields === null);
      const numbers = shown.map((record) => Number(/^line (\d+) x{80}$/.exec(record.message)?.[1]));
      assert.ok(numbers.every((number, index) => number > (numbers[index - 1] ?? -1)), 'whole lines, in order');
      assert.is(numbers.at(-1), over.lines - 1, 'up to the newest');
      assert.ok(shown.every((record, index) => record.offset > (shown[index - 1]?.offset ?? -1)), 'places never repeat');
      const accounted = shown.reduce((sum, record) => sum + record.message.length + 1, 0) + gaps.reduce((sum, record) => sum + Number(record.fields?.['gap']), 0);
      if (kind === 'holes') assert.is(accounted, over.bytes);
      else assert.ok(accounted <= over.bytes && accounted > over.bytes / 2, 'a cut loses only what was written at that moment');
      assert.ok(most < over.bytes * 0.8 && most < HELD_BYTES * 3, `${most} of ${over.bytes} bytes lay on disk at once`);
      const back = await read(place, { limit: 500 });
      const last = back.filter((record) => record.stream === 'stdout').map((record) => Number(/^line (\d+) /.exec(record.message)?.[1]));
      assert.equal(last, Array.from({ length: last.length }, (_, index) => over.lines - last.length + index));
      assert.ok(last.length >= 499);
      assert.ok(shown.at(-1)?.offset === back.filter((record) => record.stream === 'stdout').at(-1)?.offset, 'a place means the same line in both');
    } finally {
      process.env['PATH'] = path;
    }
  }));
}

test('a look back gives the newest lines of both streams in the order of their times, and goes on after a place', () => inPlace(async (place) => {
  const following = place.follow('one');
  await place.run('one', ['writes.mjs', '60', '25']);
  await following.close();
  const back = await read(place, { limit: 1000 });
  const numbers = back.map((record) => Number(/(\d+)$/.exec(record.message)?.[1]));
  assert.equal([...numbers].sort((a, b) => a - b), Array.from({ length: 60 }, (_, line) => line));
  // Times of plain lines are as fine as the looks: a line may stand some places off, never at the other end.
  assert.ok(numbers.every((number, index) => Math.abs(number - index) < 30), numbers.join(' '));
  assert.equal(await read(place, { limit: 10 }), back.slice(-10));
  assert.equal(await read(place, { limit: 0 }), []);
  for (const index of [0, 17, 40, 58, 59]) {
    const { incarnation, stream, offset } = back[index]!;
    assert.equal(await read(place, { limit: 1000, after: { incarnation, stream, offset } }), back.slice(index + 1), `after ${index}`);
  }
  // The same lines have the same places and times, told live or looked up.
  const live = new Map(place.records.map((record) => [`${record.stream} ${record.offset}`, record.message]));
  for (const record of back) assert.is(live.get(`${record.stream} ${record.offset}`), record.message);
}));

test('while a plugin writes, a look back and what is told later are together all lines, none twice', () => inPlace(async (place) => {
  place.follow('one');
  const done = place.run('one', ['writes.mjs', '400', '2']);
  await until('it writes', () => place.records.length > 30);
  for (let round = 0; round < 5; round += 1) {
    const before = place.records.length;
    const back = await read(place, { limit: 10_000 });
    const after = place.records.length;
    // Everything told before is in it, nothing that is told later; what is told while it is read may be in both.
    const key = (record: LogRecord): string => `${record.stream} ${record.offset}`;
    const held = new Set(back.map(key));
    assert.equal(place.records.slice(0, before).map(key).filter((one) => !held.has(one)), []);
    assert.is(held.size, back.length);
    await new Promise((resolve) => { setTimeout(resolve, 40); });
    assert.equal(place.records.slice(after).map(key).filter((one) => held.has(one)), []);
  }
  await done;
}));

test('a plugin found running is followed from its end; what it wrote before is looked up', () => inPlace(async (place) => {
  const lines = Array.from({ length: 60_000 }, (_, line) => `old line ${line} ${'z'.repeat(20)}\n`);
  writeFileSync(join(place.folder, 'one.stdout'), lines.join(''));
  place.follow('one');
  await until('it has looked', () => place.records.length > 0);
  place.write('one.stdout', 'new\n');
  await until('the new one is told', () => messages(place.records).includes('new'));
  assert.ok(place.records.every((record) => record.fields === null && /^(old line \d+ z{20}|new)$/.test(record.message)), 'whole lines, no gap: nothing was lost');
  assert.ok(place.records.length < lines.length / 10, 'not all of it again');
  const back = await read(place, { limit: 5_000 });
  assert.equal([back.length, back.at(-1)?.message, back[0]?.message], [5_000, 'new', `old line 55001 ${'z'.repeat(20)}`]);
}));

test('this incarnation and the one before it are kept and read together; older ones go', () => inPlace(async (place) => {
  for (const incarnation of ['c-first', 'b-second', 'a-third']) {
    await place.run(incarnation, ['writes.mjs', '6', '0']);
    await new Promise((resolve) => { setTimeout(resolve, 20); });
  }
  place.write('c-first.stdout.0', 'an earlier part\n');
  await pruneLogs(place.folder, 'a-third');
  assert.equal(readdirSync(place.folder).sort(), ['a-third.stderr', 'a-third.stdout', 'b-second.stderr', 'b-second.stdout']);
  const back = await read(place, { limit: 100 });
  assert.equal(back.map((record) => record.incarnation), [...Array.from({ length: 6 }, () => 'b-second'), ...Array.from({ length: 6 }, () => 'a-third')]);
  assert.equal((await read(place, { limit: 8 })).map((record) => record.incarnation).filter((name) => name === 'b-second').length, 2);
  const last = back.filter((record) => record.incarnation === 'b-second').at(-1)!;
  const next = await read(place, { limit: 100, after: { incarnation: last.incarnation, stream: last.stream, offset: last.offset } });
  assert.equal(next, back.filter((record) => record.incarnation === 'a-third'));
  assert.equal(await read(place, { limit: 100, after: { incarnation: 'long gone', stream: 'stdout', offset: 5 } }), back);
  assert.equal(await readLogs({ folder: join(place.folder, 'nowhere'), plugin: 'p', limit: 5, after: null }), []);
}));

test.run();

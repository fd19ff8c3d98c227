// Tables line up, spans and sizes read well, progress is drawn on a terminal and told now and then elsewhere.
import { pino } from 'pino';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Snapshot } from '../reconciler/index.ts';
import { wantedSchema } from './editor-schema.ts';
import { openProgress, tasksOf } from './progress.ts';
import { problemLine, size, span, table } from './show.ts';

test('columns are as wide as their widest cell, colours not counted', () => {
  const plain = table(['a', 'bb'], [['long', '1'], ['\u001b[32mx\u001b[39m', '2']]).replaceAll(/\u001b\[[0-9;]*m/g, '');
  assert.is(plain, 'a      bb\nlong   1\nx      2\n');
});

test('spans and sizes', () => {
  assert.equal([0, 59, 61, 3_600, 93_784].map(span), ['0s', '59s', '1m 1s', '1h', '1d 2h']);
  assert.is(span(null), '');
  assert.equal([0, 999, 1_536, 1_186_144, 400_000_000].map(size), ['0 B', '999 B', '1.5 KiB', '1.1 MiB', '381 MiB']);
});

test('a problem without a line names its pointer', () => {
  const problem = { code: 'WrongType', pointer: '/plugins/a/state', line: null, column: null, message: 'is wrong', hint: null, severity: 'warning' as const };
  assert.is(problemLine(problem, '/etc/bkg/bkg.yaml', '/etc/bkg').replaceAll(/\u001b\[[0-9;]*m/g, ''), 'bkg.yaml warning WrongType is wrong (/plugins/a/state)\n');
});

const snapshot = (bytes: number): Snapshot => ({
  plugins: [{ id: 'p', conditions: [{ type: 'Ready', reason: 'Installing', status: 'False', message: 'compiling' }] }],
  models: [{ id: 'm', phase: 'fetching', bytes, bytesTotal: 1_000 }, { id: 'here', phase: 'present', bytes: 5, bytesTotal: 5 }],
}) as unknown as Snapshot;

test('under way are models that are fetched and plugins that are installed', () => {
  assert.equal(tasksOf(snapshot(250)), [{ name: 'model/m', share: 0.25, text: '250 B of 1000 B' }, { name: 'plugin/p', share: null, text: 'compiling' }]);
});

test('a terminal gets bars that are cleared before the log writes', () => {
  const written: string[] = [];
  const progress = openProgress({ terminal: true, columns: () => 80, write: (text) => { written.push(text); }, log: () => pino({ enabled: false }) });
  progress.show(snapshot(500));
  assert.match(written.join(''), /^model\/m {2}█{12}░{12} {2}50 % {2}500 B of 1000 B\nplugin\/p {2}… compiling\n$/);
  progress.clear();
  assert.is(written.at(-1), '\u001b[2A\u001b[0J');
});

test('elsewhere each further tenth is one line', () => {
  const lines: string[] = [];
  const log = pino({ base: null }, { write: (line: string) => { lines.push(line); } });
  const progress = openProgress({ terminal: false, columns: () => 80, write: () => undefined, log: () => log });
  for (const bytes of [100, 110, 120, 200]) progress.show(snapshot(bytes));
  assert.equal(lines.filter((line) => line.includes('model/m')).map((line) => (JSON.parse(line) as { msg: string }).msg), ['10 % (100 B of 1000 B)', '20 % (200 B of 1000 B)']);
});

test('the schema for editors is written only where the first line asks for it, and below the file', () => {
  const at = (line: string): string | null => wantedSchema('/srv/a/bkg.yaml', `${line}\nversion: 1\n`);
  assert.is(at('# yaml-language-server: $schema=./schema/bkg.composed.schema.json'), '/srv/a/schema/bkg.composed.schema.json');
  assert.is(at('# yaml-language-server: $schema=../b/bkg.composed.schema.json'), null);
  assert.is(at('# yaml-language-server: $schema=https://example.org/bkg.composed.schema.json'), null);
  assert.is(at('# yaml-language-server: $schema=./package.json'), null);
  assert.is(at('version: 1'), null);
});

test.run();

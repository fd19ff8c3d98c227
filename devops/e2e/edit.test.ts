// An edit moves only what it changes: one plugin restarts, the others keep their process, open streams lose no byte.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { appliance, reaches, settles, until, type Appliance } from './appliance.ts';

const file = (values: { readonly greeting?: string; readonly volume?: number; readonly note?: string } = {}): string => `version: 1
${values.note ?? '# a note'}
models:
  numbers: { source: "file:numbers.txt" }
plugins:
  one: { use: ./plugins/echo, config: { greeting: ${values.greeting ?? 'first'}, volume: ${values.volume ?? 1} } }
  two: { use: ./plugins/echo, models: { chat: numbers } }
  three: { use: ./plugins/echo }
`;
const files = { 'numbers.txt': 'a file that stands in for a model; the fixture reads none\n' };

const STREAMS = 64;
const CHUNKS = 200;
const CHUNK_MS = 50;

async function pids(house: Appliance): Promise<Readonly<Record<string, number | null>>> {
  return Object.fromEntries((await house.plugins()).map((plugin) => [plugin.id, plugin.pid]));
}

async function heard(house: Appliance, plugin: string): Promise<{ readonly greeting: string; readonly volume: number; readonly pid: number }> {
  const { status, body } = await house.ask(`/api/plugins/${plugin}/invoke`, { method: 'POST', body: { capability: 'test.echo', input: { word: 'x' } } });
  assert.is(status, 200, JSON.stringify(body));
  return body as { greeting: string; volume: number; pid: number };
}

async function streamed(house: Appliance): Promise<string> {
  const response = await fetch(`${house.url}/v1/chat/completions`, {
    method: 'POST', headers: { authorization: `Bearer ${house.token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'two', stream: true, max_tokens: CHUNKS, seed: CHUNK_MS, messages: [{ role: 'user', content: 'count' }] }),
  });
  assert.is(response.status, 200);
  return response.text();
}

test('an edit restarts one plugin and 64 streams on another lose no byte; a comment and a live setting restart nothing', async () => {
  const house = await appliance({ yaml: file(), files });
  try {
    for (const id of ['one', 'two', 'three']) await reaches(house, id, 'running');
    const before = await pids(house);
    const streams = Array.from({ length: STREAMS }, () => streamed(house));
    await until('the streams run', async () => (await house.plugin('two')).telemetry.inFlight === STREAMS);

    house.save(file({ greeting: 'second' }));
    await until('one is another process', async () => { const now = (await pids(house))['one']; return now !== null && now !== before['one'] && (await house.plugin('one')).status === 'running'; });
    assert.is((await heard(house, 'one')).greeting, 'second');
    const after = await pids(house);
    assert.is(after['two'], before['two']);
    assert.is(after['three'], before['three']);

    assert.is((await house.plugin('two')).telemetry.inFlight, STREAMS, 'the streams were there all the while');
    const expected = Array.from({ length: CHUNKS }, (_, number) => `chunk-${number};`).join('');
    for (const text of await Promise.all(streams)) {
      const content = [...text.matchAll(/^data: (\{.*\})$/gm)].map((found) => (JSON.parse(found[1] ?? '') as { choices: { delta: { content?: string } }[] }).choices[0]?.delta.content ?? '').join('');
      assert.is(content, expected);
      assert.match(text, /data: \[DONE\]\n\n$/);
    }

    house.save(file({ greeting: 'second', note: '# another note' }));
    await settles(house);
    house.save(file({ greeting: 'second', note: '# another note', volume: 7 }));
    await settles(house);
    await until('the live setting has arrived', async () => (await heard(house, 'one')).volume === 7);
    assert.equal(await pids(house), after);
  } finally {
    assert.equal(await house.dispose(), []);
  }
});

test('a restart takes in what the folder of the plugin says now, and nothing of the others', async () => {
  const main = (word: string): string => `import { createServer } from 'node:http'; createServer((request, response) => response.end('${word}')).listen(Number(process.env.BKG_PORT), '127.0.0.1');`;
  const manifest = (file: string): string => `run: [node, ${file}]\nready: { http: /health }\ncapabilities: { test.word: { http: POST /word } }\n`;
  const plugin = { 'mine/plugin.yaml': manifest('one.mjs'), 'mine/one.mjs': main('one'), 'mine/two.mjs': main('two') };
  const house = await appliance({ yaml: 'version: 1\nplugins:\n  mine: { use: ./mine }\n  twin: { use: ./mine }\n', files: plugin });
  const word = async (id: string): Promise<unknown> => (await house.ask(`/api/plugins/${id}/invoke`, { method: 'POST', body: { capability: 'test.word', input: {} } })).body;
  try {
    for (const id of ['mine', 'twin']) await reaches(house, id, 'running');
    const { pid } = await house.plugin('twin');
    writeFileSync(join(house.folder, 'mine', 'plugin.yaml'), manifest('two.mjs'));
    assert.is((await house.ask('/api/plugins/mine/restart', { method: 'POST' })).status, 200);
    assert.equal([await word('mine'), await word('twin')], ['two', 'one']);
    writeFileSync(join(house.folder, 'mine', 'plugin.yaml'), 'run: no list\n');
    const refused = await house.ask('/api/plugins/mine/restart', { method: 'POST' });
    assert.is(refused.status, 422);
    assert.match(String((refused.body as { detail: string }).detail), /plugin\.yaml/);
    assert.equal([await word('mine'), (await house.plugin('twin')).pid], ['two', pid]);
    // A command that is not there, then mended: the mended one is not made to wait for the other's failures.
    writeFileSync(join(house.folder, 'mine', 'plugin.yaml'), manifest('one.mjs').replace('node', './nothing'));
    assert.is((await house.ask('/api/plugins/mine/restart', { method: 'POST' })).status, 503);
    writeFileSync(join(house.folder, 'mine', 'plugin.yaml'), manifest('one.mjs'));
    assert.is((await house.ask('/api/plugins/mine/restart', { method: 'POST' })).status, 200);
    assert.is(await word('mine'), 'one');
  } finally {
    assert.equal(await house.dispose(), []);
  }
});

test.run();

// What scripts rely on: the plugin routes and the file, the environment of a plugin, its door, its figures, the older names.
import { readFileSync } from 'node:fs';
import { WebSocket } from 'undici';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { TelemetryFrame } from '../../schema/wire.gen.ts';
import { appliance, portsOf, reaches, until, type Appliance } from './appliance.ts';

const yaml = `version: 1
# the owner's own words
plugins:
  one: { use: ./plugins/echo, limits: { capabilities: { test.echo: { requestsPerMinute: 3 } } } }   # stays
  two: { use: ./plugins/echo, limits: { requestsPerMinute: 2 } }
`;
const CANARY = 'canary-7f3a91';

async function running(): Promise<Appliance> {
  const house = await appliance({ yaml, env: { CANARY_SECRET: CANARY, ADMIN_PASSWORD: CANARY } });
  for (const id of ['one', 'two']) await reaches(house, id, 'running');
  return house;
}

const text = (house: Appliance): string => readFileSync(house.config, 'utf8');
const invoke = (house: Appliance, plugin: string) => house.ask(`/api/plugins/${plugin}/invoke`, { method: 'POST', body: { capability: 'test.echo', input: { a: 1 } } });

test('start and stop are edits of the file, restart is none; each answers once it is done', async () => {
  const house = await running();
  try {
    const first = (await house.plugin('one')).pid;
    assert.is((await house.ask('/api/plugins/one/restart', { method: 'POST' })).status, 200);
    const second = await house.plugin('one');
    assert.is(second.status, 'running');
    assert.is.not(second.pid, first);
    assert.is(text(house), yaml);

    assert.is((await house.ask('/api/plugins/one/stop', { method: 'POST' })).status, 200);
    assert.is((await house.plugin('one')).status, 'stopped');
    assert.match(text(house), /state: stopped/);
    assert.match(text(house), /# the owner's own words\n/);
    assert.match(text(house), /# stays\n/);

    assert.is((await house.ask('/api/plugins/one/start', { method: 'POST' })).status, 200);
    assert.is((await house.plugin('one')).status, 'running');
    assert.match(text(house), /state: running/);
    assert.is((await house.ask('/api/plugins/none/start', { method: 'POST' })).status, 404);
    assert.is((await house.ask('/api/core/plugins')).status, 200, 'the older name');
  } finally {
    assert.equal(await house.dispose(), []);
  }
});

test('a plugin sees nothing of bkg\'s environment, and its port refuses a caller without the inbound bearer', async () => {
  const house = await running();
  try {
    assert.is(readFileSync(`/proc/${house.child.pid}/environ`, 'utf8').includes(CANARY), true, 'bkg itself has the canary');
    for (const plugin of await house.plugins()) {
      const environ = readFileSync(`/proc/${plugin.pid}/environ`, 'utf8');
      assert.is(environ.includes(CANARY), false);
      assert.is(environ.includes(house.token), false);
      const open = await fetch(`http://127.0.0.1:${plugin.port}/health`);
      assert.is(open.status, 200);
      const shut = await fetch(`http://127.0.0.1:${plugin.port}/echo`, { method: 'POST', body: '{}', headers: { authorization: `Bearer ${house.token}` } });
      assert.is(shut.status, 401);
    }
    assert.is((await fetch(`${house.url}/api/plugins`)).status, 401);
  } finally {
    assert.equal(await house.dispose(), []);
  }
});

test('limits of a plugin and of one capability bind', async () => {
  const house = await running();
  try {
    const codes = async (plugin: string): Promise<readonly number[]> => [(await invoke(house, plugin)).status, (await invoke(house, plugin)).status, (await invoke(house, plugin)).status, (await invoke(house, plugin)).status];
    assert.equal(await codes('one'), [200, 200, 200, 429]);
    assert.equal(await codes('two'), [200, 200, 429, 429]);
  } finally {
    assert.equal(await house.dispose(), []);
  }
});

test('the live socket carries the figures of the real process, also under the older name on the bus port', async () => {
  const house = await running();
  try {
    assert.is((await invoke(house, 'one')).status, 200);
    for (const address of [`${house.url}/ws/plugins`, `${house.bus}/ws/core/plugins/one/telemetry`]) {
      const socket = new WebSocket(address.replace('http', 'ws'), { headers: { authorization: `Bearer ${house.token}` } });
      const frames: TelemetryFrame[] = [];
      socket.addEventListener('message', (message) => {
        const frame = JSON.parse(String(message.data)) as { readonly topic?: string };
        if (frame.topic === 'telemetry' || 'cpu' in frame) frames.push(frame as TelemetryFrame);
      });
      socket.addEventListener('open', () => socket.send(JSON.stringify({ action: 'SUB', topic: 'telemetry', pluginId: 'one' })));
      const frame = await until(`figures at ${address}`, () => frames.find((found) => found.cpu !== null && (found.mem ?? 0) > 0 && found.requests > 0));
      assert.type(frame.throughput, 'number');
      assert.ok((frame.uptime ?? -1) >= 0);
      assert.is(frame.errors, 0);
      assert.is(frame.lastError, null);
      // The fixture is a whole Node process: its resident set is between 20 MB and 1 GB.
      assert.ok((frame.mem ?? 0) > 20e6 && (frame.mem ?? 0) < 1e9, String(frame.mem));
      socket.close();
    }
    assert.is(portsOf(house.home)?.plugins['one'], (await house.plugin('one')).port);
  } finally {
    assert.equal(await house.dispose(), []);
  }
});

test.run();

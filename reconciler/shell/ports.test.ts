// Ports on real sockets: the preferred one while it is free, never a taken, avoided, low or standard one.
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { isFree, pickPort } from './ports.ts';

const HOST = '127.0.0.1';
const NONE: ReadonlySet<number> = new Set();

test('the preferred port while it is free, another once somebody listens there', async () => {
  const preferred = await pickPort({ preferred: null, avoid: NONE, host: HOST });
  const server = createServer().listen({ port: preferred, host: HOST });
  await once(server, 'listening');
  try {
    assert.is((server.address() as AddressInfo).port, preferred, 'what is picked can be listened on');
    assert.is(await isFree(preferred, HOST), false);
    const other = await pickPort({ preferred, avoid: NONE, host: HOST });
    assert.is.not(other, preferred);
    assert.is(await isFree(other, HOST), true);
  } finally {
    server.close();
    await once(server, 'close');
  }
  assert.is(await isFree(preferred, HOST), true);
  assert.is(await pickPort({ preferred, avoid: NONE, host: HOST }), preferred);
  assert.is.not(await pickPort({ preferred, avoid: new Set([preferred]), host: HOST }), preferred);
});

test('never below 1024, never one that people and frameworks use by habit', async () => {
  for (const preferred of [0, 80, 443, 1023, 3000, 5000, 8000, 8080, 8443, 8888, 9090]) {
    const port = await pickPort({ preferred, avoid: NONE, host: HOST });
    assert.is.not(port, preferred);
    assert.ok(port >= 1024);
  }
});

test('many at once are all different', async () => {
  const ports = await Promise.all(Array.from({ length: 30 }, () => pickPort({ preferred: null, avoid: NONE, host: HOST })));
  assert.is(new Set(ports).size, ports.length);
});

test('a host that is not of this machine is said, not waited for', async () => {
  assert.is(await isFree(43_210, '192.0.2.1'), false);
});

test.run();

// The owner's token: one rule for control plane and data plane, and on the machine itself only.
import { once } from 'node:events';
import { type IncomingMessage, createServer, request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { networkInterfaces } from 'node:os';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { isLoopback, openAccess, type Access } from './access.ts';
import { TOKEN } from './testing/doors.ts';
import { makeHouse } from './testing/house.ts';
import { inOpenAiWords } from './v1/errors.ts';

const NEAR = ['127.0.0.1', '127.8.9.10', '::1', '::ffff:127.0.0.1'];
const FAR = ['192.0.2.7', '10.0.0.1', '::', 'fe80::1', '::ffff:192.0.2.7', '1127.0.0.1', '127.0.0.1.evil', '', undefined];

const OWN = { host: '127.0.0.1', ports: [] };
const opened = (): Promise<Access> => openAccess({ reconciler: makeHouse().reconciler, adminToken: TOKEN, env: {} });
const asking = (authorization: string | undefined, peer: string | undefined): IncomingMessage =>
  ({ method: 'GET', headers: { ...(authorization === undefined ? {} : { authorization }) }, socket: { remoteAddress: peer } }) as unknown as IncomingMessage;

test('what is this machine', () => {
  for (const peer of NEAR) assert.is(isLoopback(peer), true, peer);
  for (const peer of FAR) assert.is(isLoopback(peer), false, peer);
});

test('both planes judge alike, also once the token is known', async () => {
  const access = await opened();
  const judge = async (authorization: string | undefined, peer: string | undefined): Promise<readonly [string, string]> => {
    const found = await access.ofRequest(asking(authorization, peer), OWN);
    if (found.kind === 'somebody') return [found.who.name, found.who.kind];
    const { status, code } = inOpenAiWords(found.refusal);
    return [`${found.refusal.status} ${found.refusal.code}`, `${status} ${code}`];
  };
  for (let round = 0; round < 2; round += 1) {
    for (const peer of FAR) assert.equal(await judge(`Bearer ${TOKEN}`, peer), ['403 LoopbackOnly', '403 loopback_only'], String(peer));
    for (const peer of NEAR) assert.equal(await judge(`Bearer ${TOKEN}`, peer), ['admin.token', 'owner'], peer);
    for (const peer of [...NEAR, ...FAR]) {
      assert.equal(await judge(undefined, peer), ['401 TokenMissing', '401 missing_api_key']);
      assert.equal(await judge('Basic eDp5', peer), ['401 TokenMissing', '401 missing_api_key']);
      for (const wrong of [`${TOKEN}x`, TOKEN.slice(1), 'null']) assert.equal(await judge(`Bearer ${wrong}`, peer), ['401 TokenWrong', '401 invalid_api_key']);
    }
  }
});

test('over a real connection from an address of the machine that is not loopback', async () => {
  const outside = Object.values(networkInterfaces()).flatMap((own) => own ?? []).find((own) => !own.internal && own.family === 'IPv4')?.address;
  if (outside === undefined) return void console.log('skipped: this machine has no address but loopback');
  const access = await opened();
  const server = createServer((request, response) => {
    void Promise.resolve(access.ofRequest(request, OWN)).then((found) => response.writeHead(found.kind === 'somebody' ? 200 : found.refusal.status).end());
  }).listen(0);
  await once(server, 'listening');
  const status = async (host: string): Promise<number | undefined> => {
    const sent = httpRequest({ host, port: (server.address() as AddressInfo).port, agent: false, headers: { authorization: `Bearer ${TOKEN}` } }).end();
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    response.resume();
    return response.statusCode;
  };
  try {
    assert.equal([await status('127.0.0.1'), await status(outside), await status('127.0.0.1')], [200, 403, 200]);
  } finally {
    server.close();
  }
});

test.run();

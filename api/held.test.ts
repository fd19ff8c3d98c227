// Requests that are held open: who lost rights while the body was on its way has lost them for that request, too.
import { connect } from 'node:net';
import { once } from 'node:events';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { DesiredKey, DesiredUser } from '../reconciler/index.ts';
import { makeSecret } from './auth/keys.ts';
import { openDoors } from './testing/doors.ts';

const anna: DesiredUser = { name: 'anna', role: 'admin', password: null };
const keyOf = (hash: string, scopes: readonly string[]): DesiredKey =>
  ({ id: 'ci', name: null, user: 'anna', scopes, within: [], hash, previous: null, expires: null, limits: { requestsPerMinute: null, tokensPerMinute: null, concurrent: null }, plugins: null });

/** Sends all but the last byte, then the last one when it is told to; answers with the status and the body. */
async function held(port: number, o: { readonly token: string; readonly path: string; readonly body: string }): Promise<{ readonly finish: () => Promise<string> }> {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  let came = '';
  socket.setEncoding('utf8').on('data', (text: string) => { came += text; });
  socket.write(`POST ${o.path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer ${o.token}\r\ncontent-type: application/json\r\ncontent-length: ${o.body.length}\r\n\r\n${o.body.slice(0, -1)}`);
  return {
    async finish() {
      socket.write(o.body.slice(-1));
      await once(socket, 'close');
      return came;
    },
  };
}

test('a revoked key, and one with fewer scopes, get nothing more out of a request that had begun', async () => {
  const secret = await makeSecret('ci');
  const show = (doors: Awaited<ReturnType<typeof openDoors>>, keys: readonly DesiredKey[]): void => doors.show({ users: [anna], keys });
  const key = keyOf(secret!.hash, ['*']);
  const doors = await openDoors({ users: [anna], keys: [key] });
  try {
    const mint = { token: secret!.token, path: '/admin/api-keys', body: JSON.stringify({ id: 'heir', scopes: ['*'] }) };
    assert.is((await doors.send('/auth/me', { token: secret!.token })).status, 200);
    const fine = await held(doors.ports.api, mint);
    await fine.finish();
    assert.is(doors.patches.length, 1, 'while the key is good the edit is made');
    const revoked = await held(doors.ports.api, mint);
    const lessened = await held(doors.ports.api, mint);
    await doors.send('/auth/me', { token: secret!.token });
    show(doors, []);
    assert.match(await revoked.finish(), /^HTTP\/1\.1 401 [\s\S]*KeyWrong/);
    show(doors, [keyOf(secret!.hash, ['config.read'])]);
    assert.match(await lessened.finish(), /^HTTP\/1\.1 403 [\s\S]*ScopeMissing/);
    assert.is(doors.patches.length, 1, 'nothing was written for them');
    // The edit that waited in line is judged by who asks when its turn has come.
    const judge = doors.patches[0]!.judge!;
    assert.ok(judge({}, { keys: { heir: { user: 'anna', scopes: ['*'], hash: 'x' } } }).length > 0);
  } finally {
    await doors.close();
  }
});

test.run();

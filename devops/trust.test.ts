// The one certificate is trusted, whoever issued it and whatever name it bears; no other is, not even of the same issuer.
import { once } from 'node:events';
import { readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { certificatesFolder, makePair, type Files } from '../api/testing/certificates.ts';
import { dispatcherFor, send } from './trust.ts';

const folder = certificatesFolder();
const pem = ({ cert }: Files): string => readFileSync(cert, 'utf8');

/** The answer of a server that shows one certificate to a client that trusts another. */
async function asked(shows: Files, trusts: string): Promise<string> {
  const server = createServer({ cert: pem(shows), key: readFileSync(shows.key, 'utf8') }, (request, response) => {
    response.setHeader('etag', '"1"');
    request.pipe(response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const dispatcher = await dispatcherFor(trusts);
  const sent = { method: 'POST', headers: { 'content-type': 'text/plain' }, body: 'hello' };
  try {
    return await send(`https://127.0.0.1:${(server.address() as AddressInfo).port}`, sent, dispatcher).then(({ status, headers, text }) => `${status} ${headers.get('etag')} ${text}`, (error: Error) => String((error.cause as Error | undefined)?.message ?? error.message));
  } finally {
    await dispatcher?.destroy();
    server.closeAllConnections();
    server.close();
  }
}

if (folder !== null) {
  test.after(() => rmSync(folder, { recursive: true, force: true }));

  test('a certificate of one\'s own making, and one that somebody issued', async () => {
    const own = makePair(folder, 'mybox.lan');
    const ca = makePair(folder, 'ca', { isCa: true });
    const issued = makePair(folder, 'issued', { issued: true });
    assert.is(await asked(own, pem(own)), '200 "1" hello');
    assert.is(await asked(issued, pem(issued)), '200 "1" hello', 'without its issuer at hand');
    assert.match(await asked(makePair(folder, 'also', { issued: true }), pem(issued)), /certificate/, 'of the same issuer');
    assert.match(await asked(makePair(folder, 'again', { issued: true }), pem(ca)), /shows another certificate/, 'issued by the one that is trusted');
    assert.match(await asked(makePair(folder, 'foreign'), pem(own)), /certificate/);
    assert.match(await asked(makePair(folder, 'mybox.lan'), pem(issued)), /certificate/);
  });
}

test('plain HTTP needs nothing', async () => {
  assert.is(await dispatcherFor(null), null);
});

test.run();

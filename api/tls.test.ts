// TLS at the doors: what speaks it and how, a certificate that is renewed under way, and files that hold none.
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingHttpHeaders } from 'node:http';
import { Agent, request } from 'node:https';
import { connect as connectPlain } from 'node:net';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import bcrypt from 'bcrypt';
import { pino } from 'pino';
import { Agent as Dispatcher, WebSocket } from 'undici';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { certificatesFolder, makePair, replaceFile } from './testing/certificates.ts';
import { type Doors, TOKEN, openDoors, send, until } from './testing/doors.ts';
import { openCertificate, type TlsUnusable } from './tls.ts';

const test = suite('tls');
const LOOK_MS = 40;
const made = certificatesFolder();
const folder = made ?? '';
const silent = pino({ level: 'silent' });

const open = (tls = makePair(folder, 'first'), spec: Parameters<typeof openDoors>[0] = {}): Promise<Doors> => openDoors({ ...spec, server: { names: ['first', 'mybox.lan'], ...spec.server } }, { tls, look_ms: LOOK_MS });
type Got = { readonly status: number; readonly headers: IncomingHttpHeaders; readonly body: string };

/** Asks over TLS and trusts exactly this certificate. */
function ask(port: number, path: string, o: { readonly ca: string; readonly method?: string; readonly headers?: Record<string, string>; readonly body?: string; readonly agent?: Agent }): Promise<Got> {
  return new Promise((resolve, reject) => {
    const sent = request({ host: '127.0.0.1', servername: 'first', port, path, method: o.method ?? 'GET', ca: o.ca, agent: o.agent ?? false, checkServerIdentity: () => undefined, headers: { authorization: `Bearer ${TOKEN}`, ...o.headers } }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (chunk: string) => { body += chunk; }).on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }));
    });
    sent.on('error', reject).end(o.body);
  });
}

const shake = (port: number, options: object): Promise<TLSSocket> => new Promise((resolve, reject) => {
  const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...options }, () => resolve(socket));
  socket.on('error', reject);
});

/** The name in the certificate that is shown to a new connection. */
async function shown(port: number): Promise<string> {
  const socket = await shake(port, {});
  const { subject } = socket.getPeerCertificate();
  socket.destroy();
  return String(subject.CN);
}

if (made !== null) {
  test.after(() => rmSync(folder, { recursive: true, force: true }));

  test('web and api speak HTTPS and nothing else; the bus stays plain, for this machine', async () => {
    const files = makePair(folder, 'first');
    const ca = readFileSync(files.cert, 'utf8');
    const doors = await open(files);
    try {
      for (const port of [doors.ports.web, doors.ports.api]) assert.is((await ask(port, '/api/plugins', { ca })).status, 200);
      assert.is((await send(doors.ports.bus, '/health')).status, 200);
      const failed = await send(doors.ports.api, '/health').then(() => null, (error: NodeJS.ErrnoException) => error.code);
      assert.ok(failed === 'ECONNRESET' || failed === 'EPIPE', String(failed));
      const socket = await shake(doors.ports.api, { ALPNProtocols: ['h2', 'http/1.1'] });
      assert.equal([socket.getProtocol(), socket.alpnProtocol], ['TLSv1.3', 'http/1.1']);
      socket.destroy();
      const two = await shake(doors.ports.api, { maxVersion: 'TLSv1.2' });
      assert.is(two.getProtocol(), 'TLSv1.2');
      two.destroy();
      for (const version of ['TLSv1', 'TLSv1.1']) await shake(doors.ports.api, { minVersion: version, maxVersion: version, ciphers: 'DEFAULT@SECLEVEL=0' }).then(() => assert.unreachable(version), () => undefined);
    } finally {
      await doors.close();
    }
  });

  test('a browser comes back over TLS, and its cookies go over nothing else', async () => {
    const files = makePair(folder, 'first');
    const ca = readFileSync(files.cert, 'utf8');
    const doors = await open(files, { users: [{ name: 'ana', role: 'admin', password: { kind: 'hash', hash: bcrypt.hashSync('a long password', 4) } }] });
    const { api } = doors.ports;
    try {
      for (const host of [`mybox.lan:${api}`, `127.0.0.1:${api}`]) assert.is((await ask(api, '/health', { ca, headers: { host } })).headers['strict-transport-security'], 'max-age=15768000', host);
      for (const host of ['localhost', `localhost:${api}`, 'app.localhost']) assert.is((await ask(api, '/health', { ca, headers: { host } })).headers['strict-transport-security'], undefined, 'on localhost other programs speak HTTP');
      assert.is((await ask(api, '/health', { ca, headers: { host: 'evil.example' } })).status, 421);
      const login = (origin: string): Promise<Got> => ask(api, '/auth/login', { ca, method: 'POST', body: '{"user":"ana","password":"a long password","cookie":true}', headers: { 'content-type': 'application/json', host: `mybox.lan:${api}`, origin } });
      assert.is((await login(`http://mybox.lan:${api}`)).status, 403, 'a page that came without TLS is not ours');
      const { status, headers } = await login(`https://mybox.lan:${api}`);
      assert.is(status, 200);
      assert.is(headers['set-cookie']?.length, 2);
      for (const cookie of headers['set-cookie'] ?? []) assert.match(cookie, /; HttpOnly; SameSite=Strict; Secure$/);
    } finally {
      await doors.close();
    }
  });

  test('a renewed pair is taken in without a restart, under connections that go on', async () => {
    const files = makePair(folder, 'running');
    const doors = await open(files);
    const { api } = doors.ports;
    const before = await shake(api, {});
    const again = async (): Promise<string> => {
      before.write('GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n');
      const [bytes] = (await once(before, 'data')) as [Buffer];
      return bytes.toString('latin1', 0, 15);
    };
    try {
      assert.is(await again(), 'HTTP/1.1 200 OK');
      const first = doors.certificate();
      const next = makePair(folder, 'renewed');
      replaceFile(files.cert, readFileSync(next.cert, 'utf8'));
      replaceFile(files.key, readFileSync(next.key, 'utf8'));
      await until(() => doors.certificate() !== first, 'it is in use');
      assert.equal([await shown(api), await shown(doors.ports.web)], ['renewed', 'renewed']);
      assert.is(doors.certificate()?.trim(), readFileSync(next.cert, 'utf8').trim());
      assert.is(await again(), 'HTTP/1.1 200 OK', 'the connection of before goes on');
      assert.ok(doors.logged.some((line) => line.includes('another certificate is in use: DNS:renewed')));
      // Other files, declared meanwhile.
      doors.show({ server: { tls: makePair(folder, 'elsewhere') } });
      await until(() => doors.logged.some((line) => line.includes('DNS:elsewhere')), 'the other files are in use');
      assert.is(await shown(api), 'elsewhere');
    } finally {
      before.destroy();
      await doors.close();
    }
  });

  test('a pair that is none leaves the last good one in use, and is told once', async () => {
    const files = makePair(folder, 'good');
    const good = { cert: readFileSync(files.cert, 'utf8'), key: readFileSync(files.key, 'utf8') };
    const other = makePair(folder, 'other');
    const doors = await open(files);
    const warnings = (): readonly string[] => doors.logged.filter((line) => line.includes('stays in use'));
    try {
      const breaks: readonly (readonly [words: RegExp, work: () => void])[] = [
        [/is not that of the first certificate/, () => replaceFile(files.key, readFileSync(other.key, 'utf8'))],
        [/good\.key cannot be read: ENOENT/, () => rmSync(files.key)],
        [/holds no private key/, () => replaceFile(files.key, 'no key')],
        [/holds no certificate/, () => replaceFile(files.cert, good.cert.slice(0, 200))],
      ];
      for (const [index, [words, work]] of breaks.entries()) {
        work();
        await until(() => warnings().length > index, String(words));
        assert.match(warnings()[index]!, words);
        assert.match(doors.trouble() ?? '', words);
        await new Promise((resolve) => { setTimeout(resolve, 5 * LOOK_MS); });
        assert.is(warnings().length, index + 1, 'once');
        assert.is(await shown(doors.ports.api), 'good');
      }
      replaceFile(files.cert, good.cert);
      replaceFile(files.key, good.key);
      await new Promise((resolve) => { setTimeout(resolve, 3 * LOOK_MS); });
      replaceFile(files.key, 'no key');
      await until(() => warnings().length === breaks.length + 1, 'what is broken anew is told anew');
    } finally {
      await doors.close();
    }
  });

  test('at the start it says which file is wrong and what to do', async () => {
    const files = makePair(folder, 'start');
    const other = makePair(folder, 'another');
    const locked = join(folder, 'locked.key');
    spawnSync('openssl', ['pkey', '-in', files.key, '-aes256', '-passout', 'pass:secret', '-out', locked]);
    const large = join(folder, 'large.crt');
    writeFileSync(large, 'x'.repeat(300_000));
    const weak = join(folder, 'weak');
    spawnSync('openssl', ['req', '-x509', '-newkey', 'rsa:512', '-nodes', '-keyout', `${weak}.key`, '-out', `${weak}.crt`, '-subj', '/CN=weak']);
    const refused = async (tls: { cert: string; key: string }): Promise<TlsUnusable> => openCertificate({ files: () => tls, log: silent }).then(() => assert.unreachable(JSON.stringify(tls)) as never, (error: TlsUnusable) => error);
    for (const [tls, message, remedy] of [
      [{ ...files, cert: join(folder, 'none.crt') }, /server\.tls\.cert: .*none\.crt cannot be read: ENOENT/, /relative to bkg\.yaml/],
      [{ ...files, cert: folder }, /is no file/, /may read/],
      [{ ...files, cert: large }, /larger than 256 KiB/, /may read/],
      [{ cert: files.key, key: files.key }, /holds no certificate in PEM form/, /BEGIN CERTIFICATE/],
      [{ cert: files.cert, key: files.cert }, /holds no private key in PEM form/, /BEGIN PRIVATE KEY/],
      [{ cert: files.cert, key: locked }, /wants a passphrase/, /openssl pkey/],
      [{ cert: files.cert, key: other.key }, /is not that of the first certificate/, /stands first/],
      [{ cert: `${weak}.crt`, key: `${weak}.key` }, /cannot be used: .*too small/, /Make a new pair/],
    ] as const) {
      const error = await refused(tls);
      assert.is(error.code, 'TlsUnusable', error.stack);
      assert.match(error.message, message);
      assert.match(error.remedy, remedy);
      assert.not.match(error.message, 'PRIVATE KEY-----\n');
    }
    const failed = await openDoors({}, { tls: { ...files, key: other.key } }).then(() => null, (error: TlsUnusable) => error.code);
    assert.is(failed, 'TlsUnusable');
  });

  test('live connections over TLS', async () => {
    const files = makePair(folder, 'first');
    const doors = await open(files, { plugins: [{ id: 'echo' }] });
    const dispatcher = new Dispatcher({ connect: { ca: readFileSync(files.cert, 'utf8'), checkServerIdentity: () => undefined } });
    try {
      const socket = new WebSocket(`wss://127.0.0.1:${doors.ports.api}/ws/plugins`, { headers: { authorization: `Bearer ${TOKEN}` }, dispatcher });
      await once(socket, 'open');
      socket.send(JSON.stringify({ action: 'SUB', topic: 'status' }));
      const [message] = (await once(socket, 'message')) as [{ readonly data: string }];
      assert.match(message.data, '"topic":"status"');
      socket.close();
      await once(socket, 'close');
    } finally {
      await dispatcher.close();
      await doors.close();
    }
  });

  test('who does not finish the handshake is cut', async () => {
    const doors = await openDoors({}, { tls: makePair(folder, 'first'), patience: { headers_ms: 150, request_ms: 5_000, look_ms: 50 } });
    const socket = connectPlain(doors.ports.api, '127.0.0.1');
    socket.on('error', () => undefined);
    const closed = new Promise((resolve) => { socket.once('close', resolve); });
    socket.once('connect', () => socket.write(Buffer.from([22, 3, 1])));
    await closed;
    await doors.close();
  });

  test('closing ends what is kept alive', async () => {
    const files = makePair(folder, 'first');
    const doors = await open(files);
    const agent = new Agent({ keepAlive: true });
    await ask(doors.ports.api, '/health', { ca: readFileSync(files.cert, 'utf8'), agent });
    const begun = performance.now();
    await doors.close();
    assert.ok(performance.now() - begun < 5_000);
    agent.destroy();
  });
}

test.run();

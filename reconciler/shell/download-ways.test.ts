// The way to the bytes: redirects, signed addresses that run out, credentials, proxies, certificates, hosts that are not there.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { proxyOf } from './download-socket.ts';
import type { Fetched } from './download.ts';
import { hf, http, inWorld, messageOf, reasonOf, sha256Of, SILENCE_MS } from './fixtures/downloads.ts';
import { modelBytes } from './fixtures/hub.ts';
import { openProxy } from './fixtures/proxy.ts';

const bytes = modelBytes(1_500_000);
const sha256 = sha256Of(bytes);
const isWhole = (fetched: Fetched): void => {
  assert.is(messageOf(fetched), '');
  assert.ok(fetched.ok && readFileSync(fetched.path).equals(bytes));
};

test('a token goes to its hub and nowhere else, on every one of the questions', inWorld(async (world) => {
  const [hub, host] = [await world.hub(bytes), await world.hub(bytes)];
  hub.manners.instead = ({ url }, response) => {
    // Within the hub first, as it does for what has moved there, then to where the bytes are.
    const location = url?.startsWith('/moved/') === true ? host.url('signed/m.gguf?key=1') : `/moved${url}`;
    response.writeHead(302, { location, 'x-linked-etag': `"${sha256}"`, 'x-linked-size': bytes.length, 'x-repo-commit': 'a'.repeat(40) }).end('elsewhere');
    return true;
  };
  // A line's end as it comes with a token out of a file.
  const fetched = await world.fetch(hf('sub/m 1.gguf'), { env: { HF_ENDPOINT: `http://${hub.host}`, HF_TOKEN: 'hf_secret\n' } });
  isWhole(fetched);
  assert.is(fetched.ok && fetched.commit, 'a'.repeat(40));
  assert.equal(hub.seen.map((seen) => [seen.path, seen.authorization]), [['/o/r/resolve/main/sub/m%201.gguf', 'Bearer hf_secret'], ['/moved/o/r/resolve/main/sub/m%201.gguf', 'Bearer hf_secret']], 'asked once, not for every part');
  assert.ok(host.seen.length > 3);
  assert.ok(host.seen.every((seen) => seen.authorization === undefined && seen.path === '/signed/m.gguf?key=1'));
}));

test('a signed address that runs out is asked for anew, with the credential that belongs there', inWorld(async (world) => {
  const [hub, host] = [await world.hub(bytes), await world.hub(bytes)];
  let key = 0;
  hub.manners.instead = (_, response) => {
    key += 1;
    response.writeHead(302, { location: host.url(`m.gguf?key=${key}`), 'x-linked-etag': `"${sha256}"` }).end();
    return true;
  };
  host.manners.instead = ({ url }, response) => {
    const uses = host.seen.filter((one) => one.path === url).length;
    if (uses <= 2) {
      // Another host behind the hub has another name for the same bytes.
      host.manners.etag = `"${url}"`;
      return false;
    }
    response.writeHead(403, { 'content-length': 0 }).end();
    return true;
  };
  isWhole(await world.fetch(hf('m.gguf'), { env: { HF_ENDPOINT: `http://${hub.host}`, HF_TOKEN: 'hf_secret' }, connections: 1 }));
  assert.ok(hub.seen.length > 1 && hub.seen.every((one) => one.authorization === 'Bearer hf_secret'));
  assert.is(host.sent(), bytes.length);
  // For good: that is a refusal.
  host.manners.instead = (_, response) => (response.writeHead(403, { 'content-length': 0 }).end(), true);
  assert.is(reasonOf(await world.fetch(http(hub.url('gone/m.gguf')), { folder: join(world.folder, 'other') })), 'Unauthorized');
}));

test('a fetch goes on at another host of the same hub, whose names differ', inWorld(async (world) => {
  const [hub, one, two] = [await world.hub(bytes), await world.hub(bytes), await world.hub(bytes)];
  two.manners.etag = '"another name"';
  let host = one;
  hub.manners.instead = (_, response) => (response.writeHead(302, { location: host.url('m.gguf'), 'x-linked-etag': sha256 }).end(), true);
  one.manners.cuts = [700_000];
  one.manners.instead = () => one.manners.cuts.length === 0 && one.seen.some((seen) => seen.from > 700_000 - 300_000);
  const stop = new AbortController();
  one.manners.onPiece = (at) => { if (at > 600_000) stop.abort(); };
  assert.is(reasonOf(await world.fetch(http(hub.url('m.gguf')), { signal: stop.signal, connections: 1 })), 'Aborted');
  host = two;
  isWhole(await world.fetch(http(hub.url('m.gguf'))));
  assert.ok(two.sent() < bytes.length && two.sent() > 0, 'what came from the first host counts');
}));

test('redirects without end, to nowhere, or to what is no address end in words', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  for (const [location, words] of [[hub.url('m.gguf'), /redirected more than 5 times/], ['file:///etc/passwd', /an address that is none/], ['http://', /an address that is none/]] as const) {
    hub.manners.instead = (_, response) => (response.writeHead(302, { location }).end(), true);
    const fetched = await world.fetch(http(hub.url('m.gguf')));
    assert.match(messageOf(fetched), words);
    assert.not.ok(!fetched.ok && fetched.transient);
  }
}));

test('the host that was asked last is the one that is named', inWorld(async (world) => {
  const [hub, host] = [await world.hub(bytes), await world.hub(bytes)];
  hub.manners.instead = (_, response) => (response.writeHead(302, { location: host.url('m.gguf') }).end(), true);
  host.close();
  const moved = await world.fetch(http(hub.url('m.gguf')));
  assert.match(messageOf(moved), new RegExp(`^${host.host}: it takes no connections \\(ECONNREFUSED\\)`));
  assert.is(hub.seen.length, 1, 'what cannot be reached at first is told at once');
  const unknown = await world.fetch(http('http://no-such-host.invalid/m.gguf'));
  assert.match(messageOf(unknown), /^no-such-host\.invalid: (no such host|its name could not be looked up)/);
}));

test('a credential that cannot be sent is told, not sent in part', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  const fetched = await world.fetch(hf('m.gguf'), { env: { HF_ENDPOINT: `http://${hub.host}`, HF_TOKEN: 'hf\r\nx-injected: 1' } });
  assert.match(messageOf(fetched), /authorization has letters that cannot be sent/);
  assert.not.match(messageOf(fetched), /injected/);
  assert.equal([hub.seen.length, !fetched.ok && fetched.transient], [0, false]);
}));

test('an environment names its proxies and their exceptions', () => {
  const of = (url: string, none = ''): string | null => proxyOf(new URL(url), { http: 'http://plain:3128', https: 'secret.example:3129', none })?.href ?? null;
  assert.is(of('http://a.example/x'), 'http://plain:3128/');
  assert.is(of('https://a.example/x'), 'http://secret.example:3129/');
  for (const none of ['*', 'a.example', '.a.example', '*.example', 'b, a.example:443', 'EXAMPLE']) assert.is(of('https://a.example/x', none), null, none);
  for (const none of ['a.example:80', 'aa.example', 'x.a.example', 'xample']) assert.is.not(of('https://a.example/x', none), null, none);
  for (const none of ['::1', '[::1]', '[::1]:80']) assert.is(of('http://[::1]/x', none), null, none);
  assert.is.not(of('http://[::1]/x', '[::1]:81'), null);
  assert.throws(() => proxyOf(new URL('http://a'), { http: 'socks5://x', https: '', none: '' }), /begins with http/);
});

test('plain requests go through the proxy that the environment names, unless it excepts the host', inWorld(async (world) => {
  const hub = await world.hub(bytes);
  const proxy = await openProxy();
  try {
    isWhole(await world.fetch(http(hub.url('m.gguf')), { env: { HTTP_PROXY: `http://me:pass%20word@${proxy.host}` } }));
    assert.ok(proxy.seen.length > 1 && proxy.seen.length === hub.seen.length);
    assert.ok(proxy.seen.every((one) => one.what === `GET ${hub.url('m.gguf')}` && one.authorization === `Basic ${Buffer.from('me:pass word').toString('base64')}`));
    proxy.seen.length = 0;
    isWhole(await world.fetch(http(hub.url('m.gguf')), { env: { http_proxy: `http://${proxy.host}`, no_proxy: '127.0.0.1' }, folder: join(world.folder, 'other') }));
    assert.is(proxy.seen.length, 0);
  } finally {
    proxy.close();
  }
  const gone = await world.fetch(http(hub.url('again/m.gguf')), { env: { http_proxy: `http://${proxy.host}` } });
  assert.match(messageOf(gone), new RegExp(`^${proxy.host}: it takes no connections`), 'the proxy is named');
}));

/** A certificate for 127.0.0.1 that nobody knows but whom this machine is told to trust. */
function ownCertificate(folder: string): { readonly key: Buffer; readonly cert: Buffer; readonly path: string } | null {
  const [key, cert] = [join(folder, 'tls.key'), join(folder, 'tls.crt')];
  const made = spawnSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', '/CN=own', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', cert]);
  return made.status === 0 ? { key: readFileSync(key), cert: readFileSync(cert), path: cert } : null;
}

const certificates = mkdtempSync(join(tmpdir(), 'download-tls-'));
const own = ownCertificate(certificates);
// Read when the first https address is asked for.
if (own !== null) process.env['SSL_CERT_FILE'] = own.path;
else console.log('skipped: no openssl here: downloads over TLS');
test.after(() => rmSync(certificates, { recursive: true }));

test('an authority the machine trusts is trusted, also behind a proxy; no other is', inWorld(async (world) => {
  if (own === null) return;
  const hub = await world.hub(bytes, own);
  isWhole(await world.fetch(http(hub.url('m.gguf'))));
  const other = await world.fetch(http(hub.url('m.gguf').replace('127.0.0.1', 'localhost')));
  assert.match(messageOf(other), /certificate is not trusted here \(ERR_TLS_CERT_ALTNAME_INVALID\)/);
  const unknown = ownCertificate(world.folder);
  const stranger = await world.hub(bytes, unknown ?? own);
  const fetched = await world.fetch(http(stranger.url('m.gguf')));
  assert.match(messageOf(fetched), /certificate is not trusted here \(DEPTH_ZERO_SELF_SIGNED_CERT\)/);
  for (const one of [other, fetched]) assert.not.ok(one.ok || one.transient, 'nothing changes by trying again');
  const proxy = await openProxy();
  try {
    const env = { https_proxy: `http://me:secret@${proxy.host}` };
    isWhole(await world.fetch(http(hub.url('m.gguf')), { env, folder: join(world.folder, 'other') }));
    assert.ok(proxy.seen.length > 0 && proxy.seen.every((one) => one.what === `CONNECT ${hub.host}` && one.authorization === `Basic ${Buffer.from('me:secret').toString('base64')}`));
    assert.ok(hub.seen.every((one) => one.authorization === undefined));
    assert.match(messageOf(await world.fetch(http(stranger.url('m.gguf')), { env })), /certificate is not trusted here/);
    proxy.refuse = 407;
    assert.match(messageOf(await world.fetch(http(hub.url('again/m.gguf')), { env })), /refuses the way to 127\.0\.0\.1:\d+ \(407\)/);
  } finally {
    proxy.close();
  }
}));

test('a connection with TLS that is cut goes on like any other', inWorld(async (world) => {
  if (own === null) return;
  const hub = await world.hub(bytes, own);
  Object.assign(hub.manners, { cuts: [100_000, 400_000, 1_200_000], stalls: [900_000] });
  isWhole(await world.fetch(http(hub.url('m.gguf')), { stall_ms: SILENCE_MS, bandwidth_bytes: 8_000_000 }));
}));

test.run();

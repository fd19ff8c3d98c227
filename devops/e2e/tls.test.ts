// An appliance that speaks TLS and is open to the network: its command line goes on as before, its plugins reach their bus, and a start that cannot be says why.
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Agent, fetch } from 'undici';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { certificatesFolder, makePair, replaceFile } from '../../api/testing/certificates.ts';
import { killCarriers } from '../sweep.ts';
import { environment, layOut, portsOf, until } from './appliance.ts';

const test = suite('tls');
const bin = fileURLToPath(new URL('../bin.mjs', import.meta.url));
const certificates = certificatesFolder();
/** Of the network, where the machine has one: there the doors stand, and the command line comes by loopback. */
const host = Object.values(networkInterfaces()).flatMap((own) => own ?? []).find((own) => !own.internal && own.family === 'IPv4')?.address ?? '0.0.0.0';

const yaml = (more = ''): string => `version: 1
server:
  host: "${host}"
  tls: { cert: file:certs.crt, key: certs.key }
plugins:
  one: { use: ./plugins/echo }
${more}`;
const USER = 'users:\n  ana: { role: admin, password: { env: ANA } }\n';

type Ran = { readonly child: ChildProcess; readonly output: () => string; readonly ended: Promise<number | null> };

function start(folder: string, ...argv: readonly string[]): Ran {
  const child = spawn(process.execPath, [bin, ...argv], { cwd: folder, env: environment(folder, { ANA: 'a long password' }), stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => { output += chunk.toString(); });
  return { child, output: () => output, ended: new Promise((resolve) => { child.once('close', resolve); }) };
}

async function bkg(folder: string, ...argv: readonly string[]): Promise<{ readonly code: number | null; readonly output: string }> {
  const ran = start(folder, ...argv);
  return { code: await ran.ended, output: ran.output() };
}

function laidOut(text: string): string {
  const pair = makePair(certificates ?? '', 'mybox');
  return layOut({ yaml: text, files: { 'certs.crt': readFileSync(pair.cert, 'utf8'), 'certs.key': readFileSync(pair.key, 'utf8') } });
}

if (certificates !== null) {
  test.after(() => rmSync(certificates, { recursive: true, force: true }));

  test('status, an edit, and a log that is followed, over TLS; and a certificate that changes meanwhile', async () => {
    const folder = laidOut(yaml(USER));
    const home = join(folder, 'home');
    const up = start(folder, 'up');
    const open: Ran[] = [up];
    try {
      const ports = await until('bkg listens', () => portsOf(home));
      assert.is((ports as unknown as { certificate: string }).certificate.trim(), readFileSync(join(folder, 'certs.crt'), 'utf8').trim());
      await until('status tells of the plugin', async () => /\bone +running +running\b/.test((await bkg(folder, 'status')).output));
      const patched = await bkg(folder, 'patch', '/plugins/one/config/greeting', 'moin', '--wait');
      assert.is(patched.code, 0, patched.output);
      const following = start(folder, 'logs', 'one', '-f');
      open.push(following);
      await until('its words are followed', () => /moin from \d+/.test(following.output()));
      await bkg(folder, 'restart', 'one');
      await until('the words of its next process, too', () => (following.output().match(/moin from \d+/g) ?? []).length >= 2);
      // Another pair, as a renewal puts it there.
      const next = makePair(certificates, 'renewed');
      replaceFile(join(folder, 'certs.crt'), readFileSync(next.cert, 'utf8'));
      replaceFile(join(folder, 'certs.key'), readFileSync(next.key, 'utf8'));
      await until('the next certificate is told of', () => (portsOf(home) as unknown as { certificate: string }).certificate.trim() === readFileSync(next.cert, 'utf8').trim());
      const status = await bkg(folder, 'status');
      assert.is(status.code, 0, status.output);
      assert.is(following.child.exitCode, null, 'who was connected goes on');
      // From the network, by whoever trusts the certificate; the admin token is not for them.
      const dispatcher = new Agent({ connect: { ca: readFileSync(next.cert, 'utf8'), checkServerIdentity: () => undefined } });
      const live = await fetch(`https://${host}:${ports.api}/health/live`, { dispatcher });
      assert.is(live.status, 200);
      const login = await fetch(`https://${host}:${ports.web}/auth/login`, { dispatcher, method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"user":"ana","password":"a long password"}' });
      assert.is(login.status, 200, await login.text());
      await dispatcher.close();
      assert.is((await globalThis.fetch(`http://127.0.0.1:${ports.bus}/health`)).status, 200);
      // The command line trusts that one certificate: another one, however good, is somebody else.
      const file = join(home, 'run', 'ports.json');
      const text = readFileSync(file, 'utf8');
      writeFileSync(file, JSON.stringify({ ...(JSON.parse(text) as object), certificate: readFileSync(makePair(certificates, 'foreign').cert, 'utf8') }));
      const foreign = await bkg(folder, 'status');
      assert.is(foreign.code, 1);
      assert.match(foreign.output, /does not answer on https:\/\/127\.0\.0\.1:\d+: .*certificate/);
    } finally {
      for (const { child } of open) child.kill('SIGTERM');
      await Promise.all(open.map(({ ended }) => ended));
      assert.equal(killCarriers(folder), []);
      rmSync(folder, { recursive: true, force: true });
    }
  });

  test('a start that cannot be says why and what to do', async () => {
    const folder = laidOut(yaml(USER));
    try {
      writeFileSync(join(folder, 'certs.key'), readFileSync(makePair(certificates, 'other').key));
      const refused = await bkg(folder, 'up');
      assert.is(refused.code, 1);
      assert.match(refused.output, /bkg cannot speak TLS\. server\.tls: the key in .*certs\.key is not that of the first certificate in .*certs\.crt\.\n +The certificate of this machine stands first/);
      assert.not.match(refused.output, /\n\s+at /);
      writeFileSync(join(folder, 'open.yaml'), yaml());
      const open = await bkg(folder, 'validate', 'open.yaml');
      assert.is(open.code, 1);
      assert.match(open.output, /open\.yaml:3:\d+ error OpenToAll .*no user has a password.*127\.0\.0\.1/);
    } finally {
      assert.equal(killCarriers(folder), []);
      rmSync(folder, { recursive: true, force: true });
    }
  });
}

test.run();

// Bench of the locks: what a known key costs per request with few and many keys declared, and what a flood of wrong ones does to a good client.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Pool } from 'undici';
import { openAccess } from '../../api/access.ts';
import { makeSecret } from '../../api/auth/keys.ts';
import type { DesiredKey, Reconciler, Snapshot } from '../../reconciler/index.ts';
import { appliance, reaches } from '../e2e/appliance.ts';
import { below, quantile, type Row } from './measure.ts';

const COUNTS = [1, 1_000, 10_000];
const CHECKS = 200_000;
const KEY_WANTED_US = 10;
/** Of a good client under a flood, against its quiet self. */
const P99_WANTED = 5;
const FLOOD_WANTED = 10_000;
const MEASURED_MS = 8_000;
/** Between two requests of the good client: it is no load itself. */
const BETWEEN_MS = 4;
/** Fewer than an address may get wrong. */
const LOGINS = 8;
/** Whoever measures a sign-in must not learn which names there are. */
const LOGIN_FACTOR = 1.25;
const OWN = { host: '127.0.0.1', ports: [] };

const keyOf = (id: string, hash: string): DesiredKey =>
  ({ id, name: null, user: 'anna', scopes: ['llm.chat'], within: [], hash, previous: null, expires: null, limits: { requestsPerMinute: null, tokensPerMinute: null, concurrent: null }, plugins: null });

/** Microseconds of one look at a known key. */
async function check_us(count: number): Promise<number> {
  const secret = await makeSecret('k0');
  if (secret === null) throw new Error('no key could be made');
  const keys = Array.from({ length: count }, (_none, index) => keyOf(`k${index}`, secret.hash));
  const snapshot = { routes: [], file: { valid: true, revision: 'r', inForce: 'r' }, desired: { users: [{ name: 'anna', role: 'admin', password: null }], keys } } as unknown as Snapshot;
  const reconciler = { snapshot: () => snapshot, subscribe: () => () => undefined, derive: () => new Uint8Array(32).fill(7), sessions: () => [], saveSessions: () => undefined } as unknown as Reconciler;
  const access = await openAccess({ reconciler, adminToken: 'none', env: {} });
  const request = { method: 'POST', headers: { authorization: `Bearer ${secret.token}` }, socket: { remoteAddress: '127.0.0.1' } } as unknown as IncomingMessage;
  await access.ofRequest(request, OWN);
  const rounds: number[] = [];
  for (let round = 0; round < 5; round += 1) {
    const began = performance.now();
    for (let turn = 0; turn < CHECKS; turn += 1) {
      const found = access.ofRequest(request, OWN);
      if (found instanceof Promise || found.kind === 'nobody') throw new Error('a known key was not known');
    }
    rounds.push((performance.now() - began) * 1000 / CHECKS);
  }
  access.close();
  return quantile(rounds, 0.5);
}

/** Latencies of one request after another. */
async function latencies_ms(pool: Pool, token: string): Promise<readonly number[]> {
  const found: number[] = [];
  for (const end = performance.now() + MEASURED_MS; performance.now() < end;) {
    const began = performance.now();
    const { statusCode, body } = await pool.request({ path: '/v1/models', method: 'GET', headers: { authorization: `Bearer ${token}` } });
    await body.dump();
    if (statusCode !== 200) throw new Error(`the good client got ${statusCode}`);
    found.push(performance.now() - began);
    await pause(BETWEEN_MS);
  }
  return found;
}

/** A little more than what is asked for, sent evenly; and a fifth more, in bursts of 120. */
const FLOODS = [{ rate: 10_020, turn_ms: 1 }, { rate: 12_000, turn_ms: 10 }] as const;

async function flood(): Promise<readonly Row[]> {
  const house = await appliance({ yaml: 'version: 1\nplugins:\n  one: { use: ./plugins/echo }\nusers:\n  anna: { role: admin }\n', env: { BKG_LOG_LEVEL: 'warn' } });
  try {
    await reaches(house, 'one', 'running');
    const { key } = (await house.ask('/admin/api-keys', { method: 'POST', body: { id: 'good', scopes: ['llm.chat'] } })).body as { readonly key: string };
    const pool = new Pool(house.url, { connections: 1 });
    const quiet = quantile(await latencies_ms(pool, key), 0.99);
    const under = async ({ rate, turn_ms }: (typeof FLOODS)[number]): Promise<{ readonly rate: number; readonly flooded: number }> => {
      const attacker = fork(fileURLToPath(new URL('flood.ts', import.meta.url)), [house.url, 'bkg_good_', String(rate), String(turn_ms)]);
      await once(attacker, 'message');
      const flooded = quantile(await latencies_ms(pool, key), 0.99);
      attacker.send('stop');
      const [answered] = (await once(attacker, 'message')) as [number];
      return { rate: answered, flooded };
    };
    const [even, bursts] = [await under(FLOODS[0]), await under(FLOODS[1])];
    await pool.close();
    return [
      { name: 'p99 of a good client, quiet', value: quiet, unit: 'ms' },
      { name: 'wrong keys a second', value: even.rate, unit: '1/s', target: `≥ ${FLOOD_WANTED} 1/s` },
      { name: 'p99 of a good client, flooded with wrong keys', value: even.flooded, unit: 'ms' },
      below('flooded against quiet', { value: even.flooded / quiet, unit: '×', bound: P99_WANTED }),
      { name: 'wrong keys a second, in bursts', value: bursts.rate, unit: '1/s' },
      below('flooded in bursts against quiet', { value: bursts.flooded / quiet, unit: '×', bound: P99_WANTED }),
    ];
  } finally {
    await house.dispose();
  }
}

/** How long a wrong password takes against a name nobody has; one after the other, in turns. */
async function logins(): Promise<readonly Row[]> {
  const house = await appliance({ yaml: 'version: 1\nusers:\n  anna: { role: admin, password: { env: ANNA_PASSWORD } }\n', env: { BKG_LOG_LEVEL: 'warn', ANNA_PASSWORD: 'a password of a bench' } });
  try {
    const found: Record<'known' | 'unknown', number[]> = { known: [], unknown: [] };
    for (let round = 0; round < LOGINS; round += 1) {
      for (const [kind, user] of [['known', 'anna'], ['unknown', `nobody-${round}`]] as const) {
        const began = performance.now();
        const { status } = await house.ask('/auth/login', { method: 'POST', body: { user, password: 'wrong' } });
        if (status !== 401) throw new Error(`a wrong sign-in got ${status}`);
        found[kind].push(performance.now() - began);
      }
    }
    const [known, unknown] = [quantile(found.known, 0.5), quantile(found.unknown, 0.5)];
    return [{ name: 'a wrong password', value: known, unit: 'ms' }, { name: 'an unknown user', value: unknown, unit: 'ms' }, below('the slower of the two against the other', { value: Math.max(known, unknown) / Math.min(known, unknown), unit: '×', bound: LOGIN_FACTOR })];
  } finally {
    await house.dispose();
  }
}

export async function run(): Promise<readonly Row[]> {
  const rows: Row[] = [];
  for (const count of COUNTS) rows.push(below(`a known key, ${count.toLocaleString('en')} declared`, { value: await check_us(count), unit: 'µs', bound: KEY_WANTED_US }));
  return [...rows, ...(await logins()), ...(await flood())];
}

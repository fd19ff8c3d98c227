// Bench of the data plane: the same load through ours, a bare proxy and a Koa one, in alternating rounds of one run.
import { fork, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { fileURLToPath } from 'node:url';

export type Row = { readonly name: string; readonly value: number; readonly unit: string; readonly target?: string; readonly ok?: boolean };

const ROUNDS = 5;
const ROUND_MS = 1_000;
const WARM_MS = 500;
/** As `npm start` runs the appliance. */
const OURS_FLAGS = ['--max-semi-space-size=4'];
const plain = JSON.stringify({ model: 'bench', messages: [{ role: 'user', content: 'A question of ordinary length, as people ask it.' }] });
const streaming = JSON.stringify({ model: 'bench', messages: [{ role: 'user', content: 'A question.' }], stream: true, stream_options: { include_usage: true } }).replace('"stream": true', '"stream":true');

type Target = { readonly name: string; readonly child: ChildProcess; readonly port: number };

function launch(file: string, args: readonly string[]): Promise<Target> {
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(new URL(file, import.meta.url)), [...args], { execArgv: args[0] === 'ours' ? [...OURS_FLAGS] : [] });
    child.once('error', reject);
    child.once('message', (message) => resolve({ name: args[0] ?? 'direct', child, port: (message as { readonly port: number }).port }));
  });
}

type Sample = { readonly perSecond: number; readonly latencies_ms: readonly number[]; /** CPU time of the proxy per request: what other work on the machine hardly touches. */ readonly cpu_us: number };

const TICK_US = 10_000;
const cpuOf = (pid: number): number => {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]!.split(' ');
  return (Number(fields[11]) + Number(fields[12])) * TICK_US;
};

/** `connections` requests at once for a while; each is begun when the one before has ended. */
async function load(target: Target, what: { readonly body: string; readonly connections: number; readonly within_ms: number }): Promise<Sample> {
  const latencies_ms: number[] = [];
  const begun = performance.now();
  const cpu_us = cpuOf(target.child.pid ?? 0);
  await Promise.all(Array.from({ length: what.connections }, () => converse(target, { body: what.body, until: begun + what.within_ms, note: (took_ms) => latencies_ms.push(took_ms) })));
  return { perSecond: (latencies_ms.length * 1_000) / (performance.now() - begun), latencies_ms, cpu_us: (cpuOf(target.child.pid ?? 0) - cpu_us) / latencies_ms.length };
}

const HEAD_END = '\r\n\r\n';
const LAST_CHUNK = Buffer.from('0\r\n\r\n');

/** One keep-alive connection on a bare socket: an HTTP client would cost as much as the proxies it is to measure. */
function converse(target: Target, talk: { readonly body: string; readonly until: number; readonly note: (took_ms: number) => void }): Promise<void> {
  const request = Buffer.from(`POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:${target.port}\r\ncontent-type: application/json\r\nauthorization: Bearer bench-token\r\ncontent-length: ${Buffer.byteLength(talk.body)}${HEAD_END}${talk.body}`);
  return new Promise((resolve, reject) => {
    const socket = connect({ port: target.port, host: '127.0.0.1', noDelay: true });
    let begun = 0;
    let left: number | 'chunked' | null = null;
    const ask = (): void => {
      begun = performance.now();
      left = null;
      socket.write(request);
    };
    socket.once('connect', ask);
    socket.on('error', reject);
    socket.on('data', (bytes: Buffer) => {
      if (left === null) {
        const head = bytes.toString('latin1', 0, bytes.indexOf(HEAD_END));
        if (!head.startsWith('HTTP/1.1 200')) return reject(new Error(`${target.name} answered ${head.slice(0, 40)}`));
        const length = /content-length: (\d+)/i.exec(head)?.[1];
        left = length === undefined ? 'chunked' : Number(length) + head.length + HEAD_END.length;
      }
      if (left !== 'chunked') left -= bytes.length;
      const whole = left === 'chunked' ? bytes.subarray(-LAST_CHUNK.length).equals(LAST_CHUNK) : left <= 0;
      if (!whole) return;
      talk.note(performance.now() - begun);
      if (performance.now() < talk.until) return ask();
      socket.destroy();
      resolve();
    });
  });
}

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;
const quantile = (values: readonly number[], at: number): number => [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * at))] ?? NaN;

/** Rows with ratios; targets as the issue of the data plane sets them. */
export async function run(): Promise<readonly Row[]> {
  const upstream = await launch('./upstream.ts', []);
  const targets = [upstream, ...(await Promise.all(['bare', 'koa', 'ours'].map((kind) => launch('./proxies.ts', [kind, String(upstream.port)]))))];
  const rows: Row[] = [];
  try {
    for (const [shape, body] of ([['plain', plain], ['stream', streaming]] as const)) {
      for (const connections of (process.argv.slice(2).length > 0 ? process.argv.slice(2).map(Number) : [1, 16, 64])) {
        for (const target of targets) await load(target, { body, connections, within_ms: WARM_MS });
        const samples = new Map(targets.map((target) => [target.name, [] as Sample[]]));
        for (let round = 0; round < ROUNDS; round += 1) for (const target of targets) samples.get(target.name)!.push(await load(target, { body, connections, within_ms: ROUND_MS }));
        rows.push(...rowsOf(`${shape}, ${connections} at once`, samples, { shape, connections }));
      }
    }
  } finally {
    for (const target of targets) target.child.kill('SIGKILL');
  }
  return rows;
}

function rowsOf(label: string, samples: ReadonlyMap<string, readonly Sample[]>, of: { readonly shape: string; readonly connections: number }): readonly Row[] {
  const taken = (name: string): readonly Sample[] => samples.get(name) ?? [];
  // Ratios within each round: what slows the machine down slows both.
  const ratio = (a: string, b: string): number => median(taken(a).map((sample, round) => sample.perSecond / taken(b)[round]!.perSecond));
  const p = (name: string, at: number): number => median(taken(name).map((sample) => quantile(sample.latencies_ms, at)));
  const judged = of.shape === 'plain' && of.connections > 1;
  const toBare = ratio('ours', 'bare');
  const toKoa = ratio('ours', 'koa');
  const added = p('ours', 0.5) - p('direct', 0.5);
  return [
    { name: `/v1 proxy, ${label}: ours`, value: Math.round(median(taken('ours').map((sample) => sample.perSecond))), unit: 'requests/s' },
    ...['bare', 'koa', 'ours'].map((name) => ({ name: `/v1 proxy, ${label}: CPU of ${name}`, value: median(taken(name).map((sample) => sample.cpu_us)), unit: 'us/request' })),
    { name: `/v1 proxy, ${label}: ours / bare dispatch`, value: toBare, unit: 'x', ...(judged ? { target: '>= 0.8', ok: toBare >= 0.8 } : {}) },
    { name: `/v1 proxy, ${label}: ours / Koa`, value: toKoa, unit: 'x', ...(judged ? { target: '>= 2.5', ok: toKoa >= 2.5 } : {}) },
    { name: `/v1 proxy, ${label}: p50 added to direct`, value: added, unit: 'ms', ...(of.shape === 'plain' && of.connections === 1 ? { target: '< 0.25', ok: added < 0.25 } : {}) },
    { name: `/v1 proxy, ${label}: p99 ours`, value: p('ours', 0.99), unit: 'ms' },
  ];
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const row of await run()) console.log(`${row.name.padEnd(60)} ${row.value.toFixed(3).padStart(10)} ${row.unit}${row.target === undefined ? '' : `  (${row.target}: ${row.ok === true ? 'held' : 'MISSED'})`}`);
}

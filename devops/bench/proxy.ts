// Bench of the data plane: the same load through ours, a bare proxy and one that does the same work in Koa, in short slices that take turns.
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { fileURLToPath } from 'node:url';
import { cpu_s, quantile, type Row } from './measure.ts';

/** Many short slices in turn, not a few long ones: what else the machine does comes and goes within seconds, and so meets all alike. */
const SLICES = 60;
const SLICE_MS = 150;
/** Before a slice counts: code is compiled where it is hot, and connections are open. */
const WARM_MS = 1_500;
const CONNECTIONS = [1, 16, 64];
const plain = JSON.stringify({ model: 'bench', messages: [{ role: 'user', content: 'A question of ordinary length, as people ask it.' }] });
const streaming = JSON.stringify({ model: 'bench', messages: [{ role: 'user', content: 'A question.' }], stream: true, stream_options: { include_usage: true } });

type Target = { readonly name: string; readonly child: ChildProcess; readonly port: number };

function launch(file: string, args: readonly string[]): Promise<Target> {
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(new URL(file, import.meta.url)), [...args]);
    child.once('error', reject);
    child.once('message', (message) => resolve({ name: args[0] ?? 'direct', child, port: (message as { readonly port: number }).port }));
  });
}

type Sample = { requests: number; took_ms: number; cpu_us: number; readonly perSlice: number[]; readonly latencies_ms: number[] };

const US_PER_S = 1_000_000;
const HEAD_END = '\r\n\r\n';
const LAST_CHUNK = Buffer.from('0\r\n\r\n');

/** Asks one request after another until told to stop; `end` closes the connection. */
type Talker = { talk(until: number, note: (took_ms: number) => void): Promise<void>; end(): void };

/** One keep-alive connection on a bare socket: an HTTP client would cost as much as the proxies it is to measure. */
async function openTalker(target: Target, body: string): Promise<Talker> {
  const request = Buffer.from(`POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:${target.port}\r\ncontent-type: application/json\r\nauthorization: Bearer bench-token\r\ncontent-length: ${Buffer.byteLength(body)}${HEAD_END}${body}`);
  const socket = connect({ port: target.port, host: '127.0.0.1', noDelay: true });
  await once(socket, 'connect');
  return {
    talk: (until, note) => new Promise((resolve, reject) => {
      let begun = 0;
      let left: number | 'chunked' | null = null;
      const ask = (): void => {
        begun = performance.now();
        left = null;
        socket.write(request);
      };
      const hear = (bytes: Buffer): void => {
        if (left === null) {
          const head = bytes.toString('latin1', 0, bytes.indexOf(HEAD_END));
          if (!head.startsWith('HTTP/1.1 200')) return reject(new Error(`${target.name} answered ${head.slice(0, 40)}`));
          const length = /content-length: (\d+)/i.exec(head)?.[1];
          left = length === undefined ? 'chunked' : Number(length) + head.length + HEAD_END.length;
        }
        if (left !== 'chunked') left -= bytes.length;
        const whole = left === 'chunked' ? bytes.subarray(-LAST_CHUNK.length).equals(LAST_CHUNK) : left <= 0;
        if (!whole) return;
        const now = performance.now();
        note(now - begun);
        if (now < until) return ask();
        socket.off('data', hear);
        socket.off('error', reject);
        resolve();
      };
      socket.on('data', hear);
      socket.on('error', reject);
      ask();
    }),
    end: () => socket.destroy(),
  };
}

/** All talkers at once for a while. */
async function slice(target: Target, talkers: readonly Talker[], into: Sample | null): Promise<void> {
  const begun = performance.now();
  const cpu = cpu_s(target.child.pid ?? 0);
  const latencies_ms: number[] = [];
  await Promise.all(talkers.map((talker) => talker.talk(begun + (into === null ? WARM_MS : SLICE_MS), (took_ms) => latencies_ms.push(took_ms))));
  if (into === null) return;
  const took_ms = performance.now() - begun;
  into.requests += latencies_ms.length;
  into.took_ms += took_ms;
  into.cpu_us += (cpu_s(target.child.pid ?? 0) - cpu) * US_PER_S;
  into.perSlice.push((latencies_ms.length * 1_000) / took_ms);
  into.latencies_ms.push(...latencies_ms);
}

/** Rows with ratios; targets as the issue of the data plane sets them. */
export async function run(): Promise<readonly Row[]> {
  const upstream = await launch('./upstream.ts', []);
  const targets = [upstream, ...(await Promise.all(['bare', 'koa', 'ours'].map((kind) => launch('./proxies.ts', [kind, String(upstream.port)]))))];
  const rows: Row[] = [];
  try {
    for (const [shape, body] of [['plain', plain], ['stream', streaming]] as const) {
      for (const connections of CONNECTIONS) rows.push(...rowsOf(await measure(targets, body, connections), { shape, connections }));
    }
  } finally {
    for (const target of targets) target.child.kill('SIGKILL');
  }
  return rows;
}

async function measure(targets: readonly Target[], body: string, connections: number): Promise<ReadonlyMap<string, Sample>> {
  const parties = await Promise.all(targets.map(async (target) => ({
    target, talkers: await Promise.all(Array.from({ length: connections }, () => openTalker(target, body))),
    sample: { requests: 0, took_ms: 0, cpu_us: 0, perSlice: [], latencies_ms: [] } as Sample,
  })));
  for (const { target, talkers } of parties) await slice(target, talkers, null);
  for (let turn = 0; turn < SLICES; turn += 1) for (const { target, talkers, sample } of parties) await slice(target, talkers, sample);
  for (const { talkers } of parties) for (const talker of talkers) talker.end();
  return new Map(parties.map(({ target, sample }) => [target.name, sample]));
}

function rowsOf(samples: ReadonlyMap<string, Sample>, of: { readonly shape: string; readonly connections: number }): readonly Row[] {
  const taken = (name: string): Sample => samples.get(name)!;
  const label = `/v1 proxy, ${of.shape}, ${of.connections} at once`;
  // Ratios within each turn: what slows the machine down slows both.
  const ratio = (a: string, b: string): number => quantile(taken(a).perSlice.map((perSecond, turn) => perSecond / taken(b).perSlice[turn]!), 0.5);
  const p = (name: string, at: number): number => quantile(taken(name).latencies_ms, at);
  const cpuOf = (name: string): number => taken(name).cpu_us / taken(name).requests;
  const judged = of.shape === 'plain' && of.connections > 1;
  const toBare = ratio('ours', 'bare');
  const toKoa = ratio('ours', 'koa');
  const added = p('ours', 0.5) - p('direct', 0.5);
  return [
    { name: `${label}: ours`, value: (taken('ours').requests * 1_000) / taken('ours').took_ms, unit: 'requests/s' },
    ...['bare', 'koa', 'ours'].map((name) => ({ name: `${label}: CPU of ${name}`, value: cpuOf(name), unit: 'us/request' })),
    { name: `${label}: ours / bare dispatch`, value: toBare, unit: 'x', ...(judged ? { target: '>= 0.8', ok: toBare >= 0.8 } : {}) },
    { name: `${label}: ours / Koa`, value: toKoa, unit: 'x', ...(judged ? { target: '>= 2.5', ok: toKoa >= 2.5 } : {}) },
    // What the proxy itself costs: the throughput also has the client and the engine in it, which share the machine.
    { name: `${label}: CPU of Koa / CPU of ours`, value: cpuOf('koa') / cpuOf('ours'), unit: 'x' },
    { name: `${label}: p50 added to direct`, value: added, unit: 'ms', ...(of.shape === 'plain' && of.connections === 1 ? { target: '< 0.25', ok: added < 0.25 } : {}) },
    { name: `${label}: p99 ours`, value: p('ours', 0.99), unit: 'ms' },
  ];
}

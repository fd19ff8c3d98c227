// Asks a plugin over HTTP how it is: ready, alive, its own figures.
import { request } from 'node:http';

/** A probe that takes longer counts as not answered. */
const PROBE_TIMEOUT_MS = 3_000;
/** Health answers are short; what is longer is cut. */
const ANSWER_BYTES = 64 * 1024;

export type ProbeAnswer =
  | { readonly kind: 'ok'; readonly body: string }
  | { readonly kind: 'refused'; readonly said: string }
  /** The probe itself could not run (no descriptor left …): says nothing about the plugin and never kills it. */
  | { readonly kind: 'unknown'; readonly said: string };

const LOCAL_FAULTS = new Set(['EMFILE', 'ENFILE', 'ENOMEM', 'EADDRNOTAVAIL', 'ENOBUFS']);

export function probe(target: { readonly port: number; readonly path: string; readonly inbound: string }): Promise<ProbeAnswer> {
  return new Promise((resolve) => {
    const outgoing = request({
      host: '127.0.0.1', port: target.port, path: target.path, agent: false, timeout: PROBE_TIMEOUT_MS,
      headers: { authorization: `Bearer ${target.inbound}` },
    }, (answer) => {
      let body = '';
      answer.setEncoding('utf8');
      answer.on('data', (chunk: string) => { if (body.length < ANSWER_BYTES) body += chunk; });
      answer.on('error', (error) => resolve({ kind: 'refused', said: error.message }));
      answer.on('end', () => {
        const status = answer.statusCode ?? 0;
        if (status >= 200 && status < 300) resolve({ kind: 'ok', body });
        else resolve({ kind: 'refused', said: `${target.path} answered ${status}` });
      });
    });
    outgoing.on('timeout', () => outgoing.destroy(new Error(`${target.path} did not answer within ${PROBE_TIMEOUT_MS / 1000} s`)));
    outgoing.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== undefined && LOCAL_FAULTS.has(error.code)) resolve({ kind: 'unknown', said: error.message });
      else resolve({ kind: 'refused', said: error.code === 'ECONNREFUSED' ? `nothing listens on port ${target.port} yet` : error.message });
    });
    outgoing.end();
  });
}

/** Flat JSON object of finite numbers out of a telemetry answer; everything else in it is passed over. */
export function figuresOf(body: string): Readonly<Record<string, number>> {
  try {
    const parsed: unknown = JSON.parse(body);
    if (typeof parsed !== 'object' || parsed === null) return {};
    return Object.fromEntries(Object.entries(parsed).filter((entry): entry is [string, number] => typeof entry[1] === 'number' && Number.isFinite(entry[1])));
  } catch {
    return {};
  }
}

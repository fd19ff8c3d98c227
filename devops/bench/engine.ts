// Bench of the way to the engine: tokens a second through /v1/chat against the same engine asked directly.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { appliance, bundled, reaches } from '../e2e/appliance.ts';
import { quantile, type Row } from './measure.ts';

const ROUNDS = 7;
const TOKENS = 200;
/** The gateway may cost this much of the engine's speed. */
const SHARE_WANTED = 0.9;

type Door = { readonly url: string; readonly bearer: string };

/** Tokens a second of one streamed answer, from the request to its last byte. */
async function speed(door: Door): Promise<number> {
  const began = performance.now();
  const response = await fetch(`${door.url}/v1/chat/completions`, {
    method: 'POST', headers: { authorization: `Bearer ${door.bearer}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'mini', stream: true, stream_options: { include_usage: true }, temperature: 0, max_tokens: TOKENS, messages: [{ role: 'user', content: 'Write a story about a child and a day at the sea.' }] }),
  });
  const text = await response.text();
  const took_s = (performance.now() - began) / 1000;
  const tokens = Number(/"completion_tokens": ?([0-9]+)/.exec(text)?.[1]);
  if (response.status !== 200 || !(tokens > 0)) throw new Error(`the engine answered ${response.status}: ${text.slice(0, 300)}`);
  return tokens / took_s;
}

export async function run(): Promise<readonly Row[]> {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  const house = await appliance({ yaml: bundled(), env: { BKG_INSTALLS: `${root}.bkg/plugins`, BKG_LOG_LEVEL: 'warn' } });
  try {
    const { port, pid } = await reaches(house, 'llmserver', 'running');
    const inbound = /BKG_INBOUND=([^\0]+)/.exec(readFileSync(`/proc/${pid}/environ`, 'utf8'))?.[1] ?? '';
    const doors = { direct: { url: `http://127.0.0.1:${port}`, bearer: inbound }, gateway: { url: house.url, bearer: house.token } };
    const direct: number[] = [];
    const gateway: number[] = [];
    await speed(doors.direct);
    await speed(doors.gateway);
    // In turns: what else the machine does falls on both alike.
    for (let round = 0; round < ROUNDS; round += 1) {
      direct.push(await speed(doors.direct));
      gateway.push(await speed(doors.gateway));
    }
    const share = quantile(gateway, 0.5) / quantile(direct, 0.5);
    return [
      { name: 'llmserver alone', value: quantile(direct, 0.5), unit: 'tokens/s' },
      { name: 'llmserver through /v1/chat', value: quantile(gateway, 0.5), unit: 'tokens/s' },
      { name: '/v1/chat against the engine alone', value: share, unit: '×', target: `≥ ${SHARE_WANTED} ×`, ok: share >= SHARE_WANTED },
    ];
  } finally {
    await house.dispose();
  }
}

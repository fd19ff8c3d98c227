// Bench of the way to the engine: the first token of a fresh start, and tokens a second through /v1/chat against the same engine asked directly.
import { readFileSync } from 'node:fs';
import { appliance, bundled, INSTALLS, reaches } from '../e2e/appliance.ts';
import { quantile, type Row } from './measure.ts';

const ROUNDS = 7;
const TOKENS = 200;
/** The gateway may cost this much of the engine's speed. */
const SHARE_WANTED = 0.9;
/** Somebody who starts bkg for the first time waits no longer for a first word, once it says that it is ready. */
const FIRST_TOKEN_WANTED_MS = 1000;

type Door = { readonly url: string; readonly bearer: string };

const chat = (door: Door, body: object): Promise<Response> =>
  fetch(`${door.url}/v1/chat/completions`, { method: 'POST', headers: { authorization: `Bearer ${door.bearer}`, 'content-type': 'application/json' }, body: JSON.stringify({ model: 'mini', stream: true, ...body }) });

const FIRST_WORD = /"content": ?"[^"]/;
/** So much of a wrong answer is told. */
const TOLD_CHARACTERS = 300;
const MEDIAN = 0.5;

/** Until the first word of an answer has come. */
async function firstToken_ms(door: Door): Promise<number> {
  const began = performance.now();
  const response = await chat(door, { messages: [{ role: 'user', content: 'How do I add a model?' }] });
  let read = '';
  for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
    read += chunk;
    if (FIRST_WORD.test(read)) break;
  }
  if (!FIRST_WORD.test(read)) throw new Error(`no word came: ${response.status} ${read.slice(0, TOLD_CHARACTERS)}`);
  return performance.now() - began;
}

/** Tokens a second of one streamed answer, from the request to its last byte. */
async function speed(door: Door): Promise<number> {
  const began = performance.now();
  const response = await chat(door, { stream_options: { include_usage: true }, temperature: 0, max_tokens: TOKENS, messages: [{ role: 'user', content: 'Write a story about a child and a day at the sea.' }] });
  const text = await response.text();
  const took_s = (performance.now() - began) / 1000;
  const tokens = Number(/"completion_tokens": ?([0-9]+)/.exec(text)?.[1]);
  if (response.status !== 200 || !(tokens > 0)) throw new Error(`the engine answered ${response.status}: ${text.slice(0, TOLD_CHARACTERS)}`);
  return tokens / took_s;
}

export async function run(): Promise<readonly Row[]> {
  const house = await appliance({ yaml: bundled(), env: { ...INSTALLS, BKG_LOG_LEVEL: 'warn' } });
  try {
    const { port, pid } = await reaches(house, 'llmserver', 'running');
    const inbound = /BKG_INBOUND=([^\0]+)/.exec(readFileSync(`/proc/${pid}/environ`, 'utf8'))?.[1] ?? '';
    const doors = { direct: { url: `http://127.0.0.1:${port}`, bearer: inbound }, gateway: { url: house.url, bearer: house.token } };
    const first_ms = await firstToken_ms(doors.gateway);
    const direct: number[] = [];
    const gateway: number[] = [];
    await speed(doors.direct);
    await speed(doors.gateway);
    // In turns: what else the machine does falls on both alike.
    for (let round = 0; round < ROUNDS; round += 1) {
      direct.push(await speed(doors.direct));
      gateway.push(await speed(doors.gateway));
    }
    const share = quantile(gateway, MEDIAN) / quantile(direct, MEDIAN);
    return [
      { name: 'ready to the first token, first request', value: first_ms, unit: 'ms', target: `< ${FIRST_TOKEN_WANTED_MS} ms`, ok: first_ms < FIRST_TOKEN_WANTED_MS },
      { name: 'llmserver alone', value: quantile(direct, MEDIAN), unit: 'tokens/s' },
      { name: 'llmserver through /v1/chat', value: quantile(gateway, MEDIAN), unit: 'tokens/s' },
      { name: '/v1/chat against the engine alone', value: share, unit: '×', target: `≥ ${SHARE_WANTED} ×`, ok: share >= SHARE_WANTED },
    ];
  } finally {
    await house.dispose();
  }
}

// Tests of what passes through: streams byte for byte, usage taken out only where bkg asked for it, and every way an answer can end early.
import type { ServerResponse } from 'node:http';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Route } from '../../reconciler/index.ts';
import { until } from '../testing/doors.ts';
import { answerJson, openEngine, openPlane, routeTo, say, type Engine, type Plane, type Seen } from '../testing/plane.ts';
import { eventsIn, usageReader, usageStripper } from './stream.ts';

const QUESTION = { model: 'small', stream: true, messages: [] };
const event = (value: unknown): string => `data: ${JSON.stringify(value)}\n\n`;
const USAGE_EVENT = event({ choices: [], usage: { prompt_tokens: 7, completion_tokens: 11 } });
const DONE = 'data: [DONE]\n\n';
const word = (content: string): string => event({ choices: [{ index: 0, delta: { content } }], usage: null });

type Made = { readonly engine: Engine; readonly plane: Plane; readonly route: Route };

async function withPlane(answer: Parameters<typeof openEngine>[0], run: (made: Made) => Promise<void>, more: Partial<Route> = {}): Promise<void> {
  const engine = await openEngine(answer);
  const route = routeTo(engine.port, more);
  const plane = await openPlane([route]);
  try {
    await run({ engine, plane, route });
    await until(() => plane.leases.every((lease) => lease.ends > 0), 'every lease is ended');
    assert.ok(plane.leases.every((lease) => lease.ends === 1), `every lease is ended once: ${JSON.stringify(plane.leases)}`);
  } finally {
    await plane.close();
    await engine.close();
  }
}

/** Writes in pieces of this size, each in a turn of its own, so that events and letters are cut anywhere. */
function inPieces(response: ServerResponse, bytes: Buffer, size: number): void {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  let at = 0;
  const next = (): void => {
    if (at >= bytes.length) return void response.end();
    response.write(bytes.subarray(at, (at += size)));
    setImmediate(next);
  };
  next();
}

/** All that a stripper lets out of these bytes, cut at this size. */
function stripped(text: string, size: number): string {
  const bytes = Buffer.from(text);
  const stripper = usageStripper();
  const out: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += size) out.push(stripper.pass(bytes.subarray(at, at + size)) ?? Buffer.alloc(0));
  out.push(stripper.end() ?? Buffer.alloc(0));
  return Buffer.concat(out).toString();
}

test('the usage event goes wherever the bytes are cut, everything else stays', () => {
  const before = word('grüß') + ': a comment\n\n' + word('say "usage": {} 🙂');
  const crlf = (text: string): string => text.replaceAll('\n', '\r\n');
  for (let size = 1; size < 200; size += 1) {
    assert.is(stripped(before + USAGE_EVENT + DONE, size), before + DONE, `pieces of ${size}`);
    assert.is(stripped(crlf(before + USAGE_EVENT + DONE), size), crlf(before + DONE), `pieces of ${size}, lines ending in CRLF`);
    assert.is(stripped(before + DONE + 'data: unfinish', size), before + DONE + 'data: unfinish', `pieces of ${size}, cut off`);
    assert.is(stripped('{"error": {"message": "no"}}', size), '{"error": {"message": "no"}}');
  }
});

test('whole events leave at once, whichever way their lines end', () => {
  for (const text of [word('a'), word('a').replaceAll('\n', '\r\n')]) assert.is(usageStripper().pass(Buffer.from(text))?.toString(), text);
});

test('an event without an end is held only so long', () => {
  const stripper = usageStripper();
  const piece = Buffer.alloc(64 * 1024, 'x');
  let out = 0;
  for (let n = 0; n < 20; n += 1) out += stripper.pass(piece)?.length ?? 0;
  assert.ok(out >= 15 * piece.length, `${out} bytes came out`);
  assert.is(out + (stripper.end()?.length ?? 0), 20 * piece.length);
});

test('usage is read wherever the bytes are cut', () => {
  const bytes = Buffer.from(word('a') + USAGE_EVENT + DONE);
  for (let size = 1; size < 200; size += 1) {
    const reader = usageReader();
    for (let at = 0; at < bytes.length; at += size) reader.see(bytes.subarray(at, at + size));
    assert.equal(reader.usage(), { promptTokens: 7, completionTokens: 11 }, `pieces of ${size}`);
  }
  const none = usageReader();
  none.see(Buffer.from(word('a') + DONE));
  assert.is(none.usage()?.promptTokens ?? 0, 0);
});

const answerStream = (response: ServerResponse, seen: Seen): void => {
  const asked = (seen.body['stream_options'] as { include_usage?: boolean } | undefined)?.include_usage === true;
  inPieces(response, Buffer.from(word('one') + word('two') + (asked ? USAGE_EVENT : '') + DONE), 1_000);
};

test('usage is asked of the engine always and shown to the client that asked', () => withPlane(answerStream, async ({ plane, engine, route }) => {
  const cases: readonly (readonly [unknown, boolean])[] = [[undefined, false], [null, false], [{ include_usage: false }, false], [{ include_usage: true }, true], [{ other: 1 }, false]];
  for (const [options, shown] of cases) {
    const heard = await say(plane.port, { ...QUESTION, ...(options === undefined ? {} : { stream_options: options }) });
    assert.is(heard.bytes.toString(), word('one') + word('two') + (shown ? USAGE_EVENT : '') + DONE, JSON.stringify(options));
    assert.not.ok(heard.broken);
  }
  for (const seen of engine.seen) assert.is((seen.body['stream_options'] as { include_usage: boolean }).include_usage, true);
  assert.is((engine.seen[4]!.body['stream_options'] as { other: number }).other, 1);
  await until(() => plane.usage()[0]?.requests === 5, 'all are accounted');
  const account = plane.usage()[0]!;
  assert.equal([account.plugin, account.errors, account.promptTokens, account.completionTokens], [route.plugin, 0, 35, 55]);
}));

test('64 streams at once come through byte for byte', () => {
  const textOf = (n: number): string => Array.from({ length: 60 }, (_, i) => word(`${n}.${i} äöü 🙂 ${'x'.repeat((n * 37 + i * 11) % 300)}`)).join('');
  return withPlane((response, seen) => {
    const n = seen.body['n'] as number;
    inPieces(response, Buffer.from(textOf(n) + USAGE_EVENT + DONE), 61 + n * 13);
  }, async ({ plane }) => {
    const heard = await Promise.all(Array.from({ length: 64 }, (_, n) => say(plane.port, { ...QUESTION, n })));
    for (const [n, one] of heard.entries()) assert.ok(one.bytes.equals(Buffer.from(textOf(n) + DONE)), `stream ${n}`);
    assert.is(plane.leases.length, 64);
    await until(() => plane.usage()[0]?.completionTokens === 64 * 11, 'all are accounted');
  });
});

test('a client that reads slowly loses nothing', () => {
  const large = Buffer.from(word('z'.repeat(65_000)).repeat(200));
  return withPlane((response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.end(large);
  }, async ({ plane }) => {
    let pauses = 0;
    const heard = await say(plane.port, { ...QUESTION, stream_options: { include_usage: true } }, { onRequest: (request) => request.on('response', (response) => {
      response.on('data', () => {
        if ((pauses += 1) % 20 !== 0) return;
        response.pause();
        setTimeout(() => response.resume(), 5);
      });
    }) });
    assert.ok(heard.bytes.equals(large));
  });
});

test('a client that leaves is told to the engine', () => {
  let left = 0;
  return withPlane((response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(word('begin'));
    response.on('close', () => { left += 1; });
  }, async ({ plane }) => {
    let leave = (): void => undefined;
    await say(plane.port, QUESTION, { onRequest: (request) => { leave = () => { request.destroy(); }; }, onChunk: () => leave() });
    await until(() => left === 1, 'the engine learns of it');
    await until(() => plane.leases[0]?.ends === 1, 'the lease is ended');
    assert.is(plane.leases[0]!.error, null, 'leaving is nobody\'s fault');
    assert.is(plane.usage()[0]!.errors, 0);
  });
});

test('a client that leaves before the first byte is told to the engine too', () => {
  let left = 0;
  return withPlane((response) => { response.on('close', () => { left += 1; }); }, async ({ plane, engine }) => {
    const heard = say(plane.port, QUESTION, { onRequest: (request) => { void until(() => engine.seen.length === 1, 'asked').then(() => request.destroy()); } });
    assert.is(await heard.then(() => 'answered', () => 'gone'), 'gone');
    await until(() => left === 1, 'the engine learns of it');
    await until(() => plane.leases[0]?.ends === 1, 'the lease is ended');
  });
});

for (const usage of [false, true]) {
  test(`an engine that dies in a stream ends it with an error and a broken connection (${usage ? 'with' : 'without'} usage)`, () => withPlane((response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(word('begin'), () => response.socket?.destroy());
  }, async ({ plane }) => {
    const heard = await say(plane.port, { ...QUESTION, stream_options: { include_usage: usage } });
    const text = heard.bytes.toString();
    assert.ok(heard.broken, 'a cut answer must not look whole');
    assert.not.match(text, '[DONE]');
    assert.ok(text.startsWith(word('begin')), text);
    const last = JSON.parse(text.slice(word('begin').length).trim().slice('data: '.length)) as { error: { code: string; type: string } };
    assert.equal([last.error.code, last.error.type], ['upstream_failed', 'server_error']);
    assert.match(plane.leases[0]!.error ?? '', 'broke off');
    assert.is(plane.usage()[0]!.errors, 1);
  }));
}

test('an engine that dies in a plain answer breaks the connection, and before one it is a 502', () => withPlane((response, seen) => {
  if (seen.body['early'] === true) return void response.socket?.destroy();
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': '1000' });
  response.write('{"half":', () => response.socket?.destroy());
}, async ({ plane }) => {
  const half = await say(plane.port, { model: 'small' });
  assert.ok(half.broken);
  assert.is(half.bytes.toString(), '{"half":');
  const early = await say(plane.port, { model: 'small', early: true });
  assert.is(early.status, 502);
  assert.match(early.bytes.toString(), 'upstream_failed');
}));

test('silence is a 504 before the answer and an error event within a stream', () => withPlane((response, seen) => {
  if (seen.body['begin'] !== true) return;
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.write(word('begin'));
}, async ({ plane }) => {
  const [none, cut] = await Promise.all([say(plane.port, QUESTION), say(plane.port, { ...QUESTION, begin: true })]);
  assert.is(none.status, 504);
  assert.match(none.bytes.toString(), 'upstream_timeout');
  assert.ok(cut.broken);
  assert.match(cut.bytes.toString(), 'upstream_timeout');
}, { timeout_ms: 300 }));

test('where nobody listens any more and no successor comes, it is a 503 with the reason', () => withPlane((response) => answerJson(response, {}), async ({ plane, engine }) => {
  await engine.close();
  const waiting = say(plane.port, QUESTION);
  await until(() => plane.leases[0]?.at.length === 2, 'it was refused, and waits');
  plane.show([routeTo(null, { plugin: plane.leases[0]!.plugin, state: 'down', why: 'It crashes.' })]);
  const heard = await waiting;
  assert.is(heard.status, 503);
  assert.match(heard.bytes.toString(), 'It crashes.');
  assert.is(plane.leases.length, 1);
  assert.equal(plane.usage().map(({ requests, errors }) => ({ requests, errors })), [{ requests: 1, errors: 1 }]);
}));

test('events are counted, however they come in chunks', () => {
  assert.equal(['data: a\n\n', 'data: a\n\ndata: b\n\n', 'data: a\r\n\r\n', 'data: half', 'a\n\ndata: b\n\ndata: c\n\ndat'].map((text) => eventsIn(Buffer.from(text))), [1, 2, 1, 1, 3]);
});

test.run();

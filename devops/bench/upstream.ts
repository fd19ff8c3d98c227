// The engine of the proxy bench, on a bare socket so that it costs next to nothing: a small chat at once, or 64 events.
import { createServer, type Socket } from 'node:net';

const EVENTS = 64;
const HEAD_END = Buffer.from('\r\n\r\n');
const LENGTH = /content-length: *(\d+)/i;

const answer = JSON.stringify({ id: 'chatcmpl-1', object: 'chat.completion', created: 1, model: 'bench', choices: [{ index: 0, message: { role: 'assistant', content: 'The answer of an engine that costs nothing.' }, finish_reason: 'stop' }], usage: { prompt_tokens: 10, completion_tokens: 9, total_tokens: 19 } });
const whole = Buffer.from(`HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(answer)}\r\n\r\n${answer}`);
const chunk = (choices: readonly unknown[], more: object): string => JSON.stringify({ id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: 'bench', choices, ...more });
const framed = (text: string): Buffer => Buffer.from(`${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`);
const streamHead = Buffer.from('HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n');
const events = Array.from({ length: EVENTS }, (_, n) => framed(`data: ${chunk([{ index: 0, delta: { content: `word ${n} ` }, finish_reason: null }], {})}\n\n`));
const last = Buffer.concat([framed(`data: ${chunk([], { usage: { prompt_tokens: 10, completion_tokens: EVENTS, total_tokens: 10 + EVENTS } })}\n\ndata: [DONE]\n\n`), Buffer.from('0\r\n\r\n')]);

/** One event per turn of the loop, as tokens come. */
function stream(socket: Socket): void {
  let sent = 0;
  const next = (): void => {
    if (socket.destroyed) return;
    if (sent === EVENTS) return void socket.write(last);
    socket.write(events[sent]!);
    sent += 1;
    setImmediate(next);
  };
  socket.write(streamHead);
  next();
}

const server = createServer({ noDelay: true }, (socket) => {
  let pending: Buffer | null = null;
  socket.on('error', () => socket.destroy());
  socket.on('data', (bytes) => {
    pending = pending === null ? bytes : Buffer.concat([pending, bytes]);
    const head = pending.indexOf(HEAD_END);
    if (head < 0) return;
    const size = head + HEAD_END.length + Number(LENGTH.exec(pending.toString('latin1', 0, head))?.[1] ?? 0);
    if (pending.length < size) return;
    const asked = pending.subarray(head, size);
    // Nobody pipelines here: one request is answered before the next comes.
    pending = null;
    if (asked.includes('"stream":true')) stream(socket);
    else socket.write(whole);
  });
});
server.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as { readonly port: number }).port }));

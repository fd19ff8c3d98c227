// Test fixture: a plugin without a model. It echoes, and streams numbered chunks in the shape of a chat engine.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';

const { BKG_PORT, BKG_INBOUND, BKG_CONFIG } = process.env;
const started = Date.now();
const { greeting } = JSON.parse(readFileSync(BKG_CONFIG, 'utf8'));

const json = (response, status, body) => response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
const chunk = (content, finish = null) => ({ id: 'test', object: 'chat.completion.chunk', created: 1, model: 'test-fixture', choices: [{ index: 0, delta: content === null ? {} : { content }, finish_reason: finish }] });

async function bodyOf(request) {
  let text = '';
  for await (const part of request) text += part;
  return text === '' ? {} : JSON.parse(text);
}

/** `max_tokens` chunks, one each `seed` milliseconds: the caller decides how long the stream lasts. */
async function stream(response, wanted) {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  for (let number = 0; number < (wanted.max_tokens ?? 3) && !response.destroyed; number += 1) {
    response.write(`data: ${JSON.stringify(chunk(`chunk-${number};`))}\n\n`);
    if (wanted.seed > 0) await new Promise((resolve) => setTimeout(resolve, wanted.seed));
  }
  const usage = { prompt_tokens: 1, completion_tokens: wanted.max_tokens ?? 3, total_tokens: 1 + (wanted.max_tokens ?? 3) };
  response.write(`data: ${JSON.stringify(chunk(null, 'stop'))}\n\n`);
  if (wanted.stream_options?.include_usage === true) response.write(`data: ${JSON.stringify({ ...chunk(null), choices: [], usage })}\n\n`);
  response.end('data: [DONE]\n\n');
}

const server = createServer(async (request, response) => {
  if (request.url === '/health') return json(response, 200, { status: 'ok' });
  if (request.headers.authorization !== `Bearer ${BKG_INBOUND}`) return json(response, 401, { error: { message: 'not from bkg', type: 'authentication_error' } });
  if (request.url === '/telemetry') return json(response, 200, { answered: 1 });
  const wanted = await bodyOf(request);
  const { volume } = JSON.parse(readFileSync(BKG_CONFIG, 'utf8'));
  if (request.url === '/echo') return json(response, 200, { greeting, volume, started, pid: process.pid, heard: wanted });
  if (request.url === '/v1/chat/completions' && wanted.stream === true) return stream(response, wanted);
  if (request.url === '/v1/chat/completions') {
    return json(response, 200, { id: 'test', object: 'chat.completion', created: 1, model: 'test-fixture', choices: [{ index: 0, message: { role: 'assistant', content: 'chunk-0;' }, finish_reason: 'stop' }], usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 } });
  }
  return json(response, 404, { error: { message: 'no such route' } });
});
server.listen(Number(BKG_PORT), '127.0.0.1', () => console.log(JSON.stringify({ level: 'info', msg: `${greeting} from ${process.pid}` })));
process.on('SIGTERM', () => {
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});

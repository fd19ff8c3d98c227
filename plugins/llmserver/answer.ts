// Writes answers: whole JSON, or a stream of events that begins with the first word.
import type { ServerResponse } from 'node:http';
import { bodyOf, type ApiFault } from './errors.ts';
import type { Generated } from './generate.ts';

export function writeJson(response: ServerResponse, status: number, value: unknown): void {
  const body = JSON.stringify(value);
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8', 'content-length': Buffer.byteLength(body) });
  response.end(body);
}

/** An error before the answer has begun; afterwards it is an event and the stream ends without [DONE]. */
export function writeFault(response: ServerResponse, fault: ApiFault): void {
  if (response.destroyed || response.writableEnded) return;
  const body = bodyOf(fault);
  if (response.headersSent) {
    response.end(`data: ${body}\n\n`);
    return;
  }
  response.writeHead(fault.status, { 'content-type': 'application/json; charset=utf-8', 'content-length': Buffer.byteLength(body), ...(fault.retryAfter_s === undefined ? {} : { 'retry-after': String(fault.retryAfter_s) }) });
  response.end(body);
}

export const usageOf = (generated: Pick<Generated, 'promptTokens' | 'cachedTokens' | 'completionTokens'>): Readonly<Record<string, unknown>> => ({
  prompt_tokens: generated.promptTokens, completion_tokens: generated.completionTokens, total_tokens: generated.promptTokens + generated.completionTokens,
  prompt_tokens_details: { cached_tokens: generated.cachedTokens },
});

/** The headers go out with the first event, so that what fails before it can still answer with a status. */
export function openEvents(response: ServerResponse) {
  const begin = (): void => {
    if (!response.headersSent) response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache' });
  };
  return {
    send(value: unknown): void {
      begin();
      response.write(`data: ${JSON.stringify(value)}\n\n`);
    },
    end(): void {
      begin();
      response.end('data: [DONE]\n\n');
    },
  };
}

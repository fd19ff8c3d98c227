// Reads a request's body, bounded, and the media type it says it has.
import type { IncomingMessage } from 'node:http';
import { failure } from './problem.ts';

/** A bkg.yaml of 1,000 plugins and 10,000 keys has about 3 MB. */
export const CONTROL_BODY_MAX_BYTES = 8 * 2 ** 20;
/** Inputs of capabilities carry images and documents as base64. */
export const INVOKE_BODY_MAX_BYTES = 32 * 2 ** 20;

/** `application/json` of `Application/JSON; charset=utf-8`; empty when absent. */
export const mediaTypeOf = (header: string | undefined): string => (header ?? '').split(';')[0]!.trim().toLowerCase();

/** Whether no body comes with it. */
export const isEmpty = (request: IncomingMessage): boolean => Number(request.headers['content-length'] ?? 0) === 0 && request.headers['transfer-encoding'] === undefined;

/** All bytes of the body; refuses what is larger than `max_bytes` without reading on. */
export async function readBody(request: IncomingMessage, max_bytes: number): Promise<Buffer> {
  const tooLarge = (): Error => failure({ status: 413, code: 'BodyTooLarge', detail: `The body may have ${max_bytes} bytes at most.`, headers: { connection: 'close' } });
  if (Number(request.headers['content-length'] ?? 0) > max_bytes) throw tooLarge();
  const encoding = request.headers['content-encoding'];
  if (encoding !== undefined && encoding !== 'identity') throw failure({ status: 415, code: 'EncodingUnknown', detail: `A body in content-encoding ${encoding} is not read; send it as it is.` });
  const chunks: Buffer[] = [];
  let size = 0;
  // destroyOnReturn: false, so that the refusal can still be written to the socket.
  for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > max_bytes) throw tooLarge();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Bytes as text; refuses what is no UTF-8. */
export function textOf(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw failure({ status: 400, code: 'MalformedText', detail: 'The body is not valid UTF-8.' });
  }
}

/** Bytes as JSON. */
export function jsonOf(bytes: Buffer): unknown {
  const text = textOf(bytes);
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw failure({ status: 400, code: 'MalformedJson', detail: `The body is not valid JSON: ${error instanceof Error ? error.message : String(error)}.` });
  }
}

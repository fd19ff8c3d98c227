// The request body: read with a bound, parsed once, rewritten only where the engine needs something else.
import type { IncomingMessage } from 'node:http';
import type { ApiError } from './errors.ts';

/** Long contexts and pictures in base64 fit; what is larger is no chat request. */
export const MAX_BODY_BYTES = 32 * 1024 * 1024;

export type Asked = { readonly bytes: Buffer; readonly value: { readonly [key: string]: unknown }; readonly model: string | null; readonly stream: boolean };
export type Read = { readonly ok: true; readonly asked: Asked } | { readonly ok: false; readonly error: ApiError };

const bad = (status: number, code: string, message: string, param?: string): Read => ({ ok: false, error: { status, code, message, ...(param === undefined ? {} : { param }) } });

/** Calls back once; a client that goes away while sending calls back with null. */
export function readBody(request: IncomingMessage, done: (read: Read | null) => void): void {
  const chunks: Buffer[] = [];
  let size = 0;
  let over = false;
  request.on('data', (chunk: Buffer) => {
    if (over) return;
    size += chunk.length;
    if (size > MAX_BODY_BYTES) {
      over = true;
      return done(bad(413, 'request_too_large', `The body is larger than ${MAX_BODY_BYTES / 1024 / 1024} MiB.`));
    }
    chunks.push(chunk);
  });
  request.on('end', () => { if (!over) done(parse(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks))); });
  request.on('error', () => { if (!over) done(null); });
}

function parse(bytes: Buffer): Read {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    return bad(400, 'invalid_json', `The body is not valid JSON: ${(error as Error).message}`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return bad(400, 'invalid_json', 'The body must be a JSON object.');
  const asked = value as { readonly [key: string]: unknown };
  if (asked['model'] !== undefined && asked['model'] !== null && typeof asked['model'] !== 'string') return bad(400, 'invalid_type', '`model` must be a string.', 'model');
  if (asked['stream'] !== undefined && asked['stream'] !== null && typeof asked['stream'] !== 'boolean') return bad(400, 'invalid_type', '`stream` must be true or false.', 'stream');
  return { ok: true, asked: { bytes, value: asked, model: (asked['model'] as string | null | undefined) ?? null, stream: asked['stream'] === true } };
}

export type Outgoing = { readonly bytes: Buffer; /** Usage was asked of the engine for accounting only: its chunk is not the client's. */ readonly stripUsage: boolean };

/** The engine's own name for the model, and usage at the end of a stream. The same bytes when nothing differs. */
export function outgoing(asked: Asked, engineModel: string | null): Outgoing {
  const rename = engineModel !== null && asked.model !== engineModel;
  const options = asked.value['stream_options'];
  const wantsUsage = typeof options === 'object' && options !== null && (options as { readonly include_usage?: unknown }).include_usage === true;
  const stripUsage = asked.stream && !wantsUsage;
  if (!rename && !stripUsage) return { bytes: asked.bytes, stripUsage };
  const body = {
    ...asked.value,
    ...(rename ? { model: engineModel } : {}),
    ...(stripUsage ? { stream_options: { ...(typeof options === 'object' ? options : {}), include_usage: true } } : {}),
  };
  return { bytes: Buffer.from(JSON.stringify(body)), stripUsage };
}

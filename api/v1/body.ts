// The request body: read with a bound, parsed once, changed only in the places where the engine needs something else.
import type { IncomingMessage } from 'node:http';
import type { ApiError } from './errors.ts';
import { placesOf, startOf } from './places.ts';

/** Long contexts and pictures in base64 fit; what is larger is no chat request. */
export const MAX_BODY_BYTES = 32 * 1024 * 1024;

type StreamOptions = { readonly [key: string]: unknown };
export type Asked = {
  readonly bytes: Buffer;
  readonly model: string | null;
  readonly stream: boolean;
  readonly streamOptions: StreamOptions | null;
  /** `{}`: what is put in needs no comma behind it. */
  readonly empty: boolean;
};
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
      // What has come is let go at once; what still comes is read and forgotten, or the client would see a break instead of the answer.
      chunks.length = 0;
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
  const { model = null, stream = null, stream_options: options = null } = value as { readonly model?: unknown; readonly stream?: unknown; readonly stream_options?: unknown };
  if (model !== null && typeof model !== 'string') return bad(400, 'invalid_type', '`model` must be a string.', 'model');
  if (stream !== null && typeof stream !== 'boolean') return bad(400, 'invalid_type', '`stream` must be true or false.', 'stream');
  if (typeof options !== 'object' || Array.isArray(options)) return bad(400, 'invalid_type', '`stream_options` must be an object.', 'stream_options');
  return { ok: true, asked: { bytes, model, stream: stream === true, streamOptions: options as StreamOptions | null, empty: Object.keys(value).length === 0 } };
}

export type Outgoing = { readonly bytes: Buffer; /** Usage was asked of the engine for accounting only: its chunk is not the client's. */ readonly stripUsage: boolean };

/** The engine's own name for the model, and usage at the end of a stream. The same bytes where nothing differs. */
export function outgoing(asked: Asked, engineModel: string | null): Outgoing {
  const rename = engineModel !== null && asked.model !== engineModel;
  const stripUsage = asked.stream && asked.streamOptions?.['include_usage'] !== true;
  if (!rename && !stripUsage) return { bytes: asked.bytes, stripUsage };
  const members = new Map<string, string>();
  if (rename) members.set('model', JSON.stringify(engineModel));
  if (stripUsage) members.set('stream_options', JSON.stringify({ ...asked.streamOptions, include_usage: true }));
  return { bytes: withMembers(asked, members), stripUsage };
}

/** Puts each member in the place of the one that stands there, or at the front. */
function withMembers(asked: Asked, members: ReadonlyMap<string, string>): Buffer {
  const { bytes } = asked;
  const parts: Buffer[] = [];
  const begin = startOf(bytes);
  const places = placesOf(bytes, new Set(members.keys()));
  const absent = [...members].filter(([key]) => !places.some((place) => place.key === key)).map(([key, text]) => `"${key}":${text}`);
  parts.push(bytes.subarray(0, begin), Buffer.from(absent.join(',') + (absent.length > 0 && !asked.empty ? ',' : '')));
  let from = begin;
  for (const place of places) {
    parts.push(bytes.subarray(from, place.from), Buffer.from(members.get(place.key) ?? ''));
    from = place.to;
  }
  parts.push(bytes.subarray(from));
  return Buffer.concat(parts);
}

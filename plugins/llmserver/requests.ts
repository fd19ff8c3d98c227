// Reads request bodies: every field checked, every mistake named with its field.
import { badRequest } from './errors.ts';
import type { Sampling } from './generate.ts';

export type Body = { readonly [key: string]: unknown };

const present = (value: unknown): boolean => value !== undefined && value !== null;

export function numberIn(body: Body, name: string, range: { readonly least: number; readonly most: number; readonly fallback: number }): number {
  const value = body[name];
  if (!present(value)) return range.fallback;
  if (typeof value !== 'number' || !Number.isFinite(value) || value < range.least || value > range.most) throw badRequest(`\`${name}\` must be a number from ${range.least} to ${range.most}.`, name);
  return value;
}

export function countIn(body: Body, name: string, fallback: number | null): number | null {
  const value = body[name];
  if (!present(value)) return fallback;
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 1) throw badRequest(`\`${name}\` must be a whole number of at least 1.`, name);
  return value;
}

export function flagIn(body: Body, name: string): boolean {
  const value = body[name];
  if (present(value) && typeof value !== 'boolean') throw badRequest(`\`${name}\` must be true or false.`, name);
  return value === true;
}

/** What a model's file advises under `general.sampling`; keys as llama.cpp has them. */
export type Advice = { readonly temp?: unknown; readonly top_p?: unknown; readonly top_k?: unknown; readonly min_p?: unknown; readonly penalty_repeat?: unknown };

/** What the request says, else what the model's file advises within the same bounds, else the defaults of llama.cpp's own server. */
export function samplingOf(body: Body, advice: Advice): Sampling {
  const chosen = (name: string, o: { readonly least: number; readonly most: number; readonly advised: keyof Advice; readonly otherwise: number }): number => {
    const value = advice[o.advised];
    return numberIn(body, name, { ...o, fallback: typeof value === 'number' && value >= o.least && value <= o.most ? value : o.otherwise });
  };
  const seed = body['seed'];
  if (present(seed) && (typeof seed !== 'number' || !Number.isInteger(seed))) throw badRequest('`seed` must be a whole number.', 'seed');
  return {
    temperature: chosen('temperature', { least: 0, most: 2, advised: 'temp', otherwise: 0.8 }),
    topP: chosen('top_p', { least: 0, most: 1, advised: 'top_p', otherwise: 0.95 }),
    topK: chosen('top_k', { least: 0, most: 1_000_000, advised: 'top_k', otherwise: 40 }),
    minP: chosen('min_p', { least: 0, most: 1, advised: 'min_p', otherwise: 0.05 }),
    seed: typeof seed === 'number' ? seed >>> 0 : null,
    repeatPenalty: chosen('repeat_penalty', { least: 0.01, most: 10, advised: 'penalty_repeat', otherwise: 1 }),
    frequencyPenalty: numberIn(body, 'frequency_penalty', { least: -2, most: 2, fallback: 0 }),
    presencePenalty: numberIn(body, 'presence_penalty', { least: -2, most: 2, fallback: 0 }),
  };
}

const MAX_STOPS = 16;

export function stopsOf(body: Body): readonly string[] {
  const stop = body['stop'];
  if (!present(stop)) return [];
  const list = Array.isArray(stop) ? (stop as readonly unknown[]) : [stop];
  if (list.length > MAX_STOPS || list.some((item) => typeof item !== 'string' || item === '')) throw badRequest(`\`stop\` must be a string or up to ${MAX_STOPS} strings.`, 'stop');
  return list as readonly string[];
}

/** Values that ask for nothing: libraries send them along. */
const isNothing = (value: unknown): boolean => !present(value) || value === false || value === '' || (typeof value === 'object' && Object.keys(value as object).length === 0);

/** What this server cannot do is refused, never passed over. */
export function refuseUnsupported(body: Body, names: readonly string[]): void {
  const n = body['n'];
  if (present(n) && n !== 1) throw badRequest('`n` other than 1 is not supported: send the request several times.', 'n');
  for (const name of names) if (!isNothing(body[name])) throw badRequest(`\`${name}\` is not supported by this server.`, name);
}

export function streamOf(body: Body): { readonly stream: boolean; readonly includeUsage: boolean } {
  const options = body['stream_options'];
  if (present(options) && typeof options !== 'object') throw badRequest('`stream_options` must be an object.', 'stream_options');
  return { stream: flagIn(body, 'stream'), includeUsage: present(options) && (options as Body)['include_usage'] === true };
}

export const isTokens = (value: unknown): value is number[] => Array.isArray(value) && value.length > 0 && value.every((item) => Number.isInteger(item) && (item as number) >= 0);

/** Tokens a model does not know make its engine fail, at worst as a whole. */
export function knownTokens(tokens: readonly number[], vocabulary: number, param: string): readonly number[] {
  const wrong = tokens.find((token) => token >= vocabulary);
  if (wrong !== undefined) throw badRequest(`\`${param}\` holds the token ${wrong}; this model knows those from 0 to ${vocabulary - 1}.`, param);
  return tokens;
}

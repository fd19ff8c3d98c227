// `bkg model search`: what a hub has, as sources to pull; asked by the running bkg, or from here when none runs.
import type { HubRow } from '../../api/hub-rows.ts';
import { connect } from '../client.ts';
import type { Context } from '../context.ts';
import { note, paint, size, table, write, writeJson } from '../show.ts';
import { told } from '../told.ts';
import { MODELS } from './models.ts';

/** As the api allows. */
const LIMIT_MAX = 50;

export type SearchOptions = { readonly format: 'gguf' | 'safetensors' | 'onnx'; readonly limit: string };
type Found = { readonly query: string; readonly format: string; readonly models: readonly HubRow[] };

export async function searchModels(context: Context, typed: readonly string[], { format, limit }: SearchOptions): Promise<number> {
  if (!/^[1-9]\d?$/.test(limit) || Number(limit) > LIMIT_MAX) throw told(`--limit ${limit}: a whole number from 1 to ${LIMIT_MAX} is wanted.`);
  const words = typed.join(' ').trim();
  const client = connect(context);
  const found = client === null ? await searchHere(context, { words, format, limit: Number(limit) }) : await client.get<Found>(`${MODELS}/search?${new URLSearchParams({ q: words, format, limit })}`);
  if (context.json) {
    writeJson(found);
    return 0;
  }
  if (found.models.length === 0) write(`The hub knows no ${format} model of that name.\n`);
  else {
    write(table(['source', 'size', 'downloads', 'likes', 'licence', 'changed', 'also'], found.models.map(rowOf)));
    note('\nbkg model pull SOURCE declares one and fetches it.\n');
    if (found.models.some(({ gated }) => gated)) note('gated: its bytes come only with HF_TOKEN, in the environment of bkg, of an account that has agreed to its terms on the hub.\n');
  }
  return 0;
}

/** Also before there is a bkg to ask: with the environment of this command. */
async function searchHere({ env }: Context, query: { readonly words: string; readonly format: SearchOptions['format']; readonly limit: number }): Promise<Found> {
  const [{ openHub }, { refusalIn }] = await Promise.all([import('../../api/hub.ts'), import('../../api/problem.ts')]);
  const models = await openHub(env).search(query, new AbortController().signal).catch((error: unknown) => {
    const refused = refusalIn(error);
    throw refused === null ? error : told(refused.detail);
  });
  return { query: query.words, format: query.format, models };
}

const count = (value: number | null): string => value?.toLocaleString('en-US') ?? '';

function rowOf({ id, sources: [best, ...others], downloads, likes, licence, gated, updatedAt }: HubRow): readonly string[] {
  const also = others.map(({ source, quantization, bytes }) => `${quantization ?? source.slice(source.lastIndexOf('/') + 1)}${bytes === null ? '' : ` ${size(bytes)}`}`);
  return [best?.source ?? `${id}: no whole model`, size(best?.bytes ?? null), count(downloads), count(likes), [...(licence === null ? [] : [licence]), ...(gated ? [paint('yellow', 'gated')] : [])].join(', '), updatedAt?.slice(0, 10) ?? '', also.join(', ')];
}

// Settings: from the file bkg writes (BKG_CONFIG), flags win; live ones are read again when the file changes.
import { readFileSync, statSync, watch } from 'node:fs';
import { basename, dirname } from 'node:path';
import { parseArgs } from 'node:util';
import { log } from './log.ts';
import { TEMPLATE_NAMES } from './template.ts';

export type Gpu = 'off' | 'auto' | 'vulkan' | 'cuda';
export type Settings = {
  readonly port: number;
  readonly model: string | null;
  readonly alias: string | null;
  readonly embeddingModel: string | null;
  readonly embeddingAlias: string | null;
  readonly promptTemplate: string;
  readonly contextSize: number;
  readonly parallel: number;
  /** 0 = measured at load. */
  readonly threads: number;
  readonly gpu: Gpu;
  /** Live: requests that may wait for a free sequence. */
  readonly queue: number;
  /** Live: length of an answer when the request names none. */
  readonly maxTokens: number;
};

const DEFAULTS = { promptTemplate: 'auto', contextSize: 2048, parallel: 4, threads: 0, gpu: 'off' as Gpu, queue: 64, maxTokens: 512 };
const GPUS: readonly Gpu[] = ['off', 'auto', 'vulkan', 'cuda'];

const FLAGS = {
  model: { type: 'string' }, alias: { type: 'string' }, 'embedding-model': { type: 'string' }, 'embedding-alias': { type: 'string' },
  'prompt-template': { type: 'string' }, port: { type: 'string' }, 'context-size': { type: 'string' }, parallel: { type: 'string' },
  threads: { type: 'string' }, gpu: { type: 'string' }, queue: { type: 'string' }, 'max-tokens': { type: 'string' }, help: { type: 'boolean' },
} as const;

export const HELP = `llmserver: OpenAI-compatible server for GGUF models

  --model FILE             chat model; without it chat answers 503
  --alias NAME             its name in /v1/models (default: the file's name)
  --embedding-model FILE   embedding model
  --embedding-alias NAME   its name
  --prompt-template NAME   auto (the one in the file), chatml, llama3, mistral, gemma, phi3
  --port N                 port on 127.0.0.1 (default: BKG_PORT)
  --context-size N         tokens a conversation may hold (${DEFAULTS.contextSize})
  --parallel N             conversations at once (${DEFAULTS.parallel})
  --threads N              0 = measured at load (${DEFAULTS.threads})
  --gpu MODE               ${GPUS.join(', ')} (${DEFAULTS.gpu})
  --queue N                requests that may wait (${DEFAULTS.queue})
  --max-tokens N           length of an answer when none is asked for (${DEFAULTS.maxTokens})

BKG_INBOUND   bearer that every route but /health then demands
BKG_CONFIG    JSON file with the same settings (promptTemplate, contextSize …); flags win
BKG_DATA      folder for what is measured once`;

type FileSettings = { readonly [key: string]: unknown };

function readFile(path: string | undefined): FileSettings {
  if (path === undefined) return {};
  const value = JSON.parse(readFileSync(path, 'utf8')) as unknown;
  if (typeof value !== 'object' || value === null) throw new Error(`${path} must hold a JSON object`);
  return value as FileSettings;
}

/** Throws with a sentence for people when a value makes no sense. */
export function readSettings(argv: readonly string[], env: NodeJS.ProcessEnv): Settings & { readonly help: boolean } {
  const { values } = parseArgs({ args: [...argv], options: FLAGS });
  const file = readFile(env['BKG_CONFIG']);
  const number = (name: string, flag: string | undefined, fallback: number, least: number): number => {
    const value = flag === undefined ? (file[name] ?? fallback) : Number(flag);
    if (typeof value !== 'number' || !Number.isInteger(value) || value < least) throw new Error(`${name} must be a whole number from ${least}, not ${JSON.stringify(flag ?? value)}`);
    return value;
  };
  const gpu = values.gpu ?? file['gpu'] ?? DEFAULTS.gpu;
  if (!GPUS.includes(gpu as Gpu)) throw new Error(`gpu must be one of ${GPUS.join(', ')}, not ${JSON.stringify(gpu)}`);
  const template = values['prompt-template'] ?? file['promptTemplate'] ?? DEFAULTS.promptTemplate;
  if (!TEMPLATE_NAMES.includes(template as string)) throw new Error(`there is no prompt template ${JSON.stringify(template)}; known: ${TEMPLATE_NAMES.join(', ')}`);
  const nameOf = (path: string | undefined): string | null => (path === undefined ? null : basename(path).replace(/\.gguf$/, ''));
  return {
    help: values.help === true,
    port: number('port', values.port ?? env['BKG_PORT'], 0, 0),
    model: values.model ?? null, alias: values.alias ?? nameOf(values.model),
    embeddingModel: values['embedding-model'] ?? null, embeddingAlias: values['embedding-alias'] ?? nameOf(values['embedding-model']),
    promptTemplate: template as string,
    contextSize: number('contextSize', values['context-size'], DEFAULTS.contextSize, 64),
    parallel: number('parallel', values.parallel, DEFAULTS.parallel, 1),
    threads: number('threads', values.threads, DEFAULTS.threads, 0),
    gpu: gpu as Gpu,
    queue: number('queue', values.queue, DEFAULTS.queue, 0),
    maxTokens: number('maxTokens', values['max-tokens'], DEFAULTS.maxTokens, 1),
  };
}

/** File watchers miss changes; this look at the file decides, the watcher only makes it sooner. */
const LOOK_EVERY_MS = 1_000;

/** Reads the settings again whenever bkg has written the file anew; what is wrong then changes nothing. */
export function watchSettings(argv: readonly string[], env: NodeJS.ProcessEnv, changed: (settings: Settings) => void): void {
  const path = env['BKG_CONFIG'];
  if (path === undefined) return;
  const stamp = (): string => {
    const facts = statSync(path, { throwIfNoEntry: false });
    return facts === undefined ? '' : `${facts.ino} ${facts.size} ${facts.mtimeMs}`;
  };
  let seen = stamp();
  const look = (): void => {
    const now = stamp();
    // A file that is gone says nothing; what was in force stays.
    if (now === seen || now === '') return;
    seen = now;
    try {
      changed(readSettings(argv, env));
    } catch (error) {
      log('warn', `the new settings are not used: ${(error as Error).message}`);
    }
  };
  setInterval(look, LOOK_EVERY_MS).unref();
  try {
    watch(dirname(path), look).on('error', () => undefined).unref();
  } catch {
    // Out of watchers: the look every second is enough.
  }
}

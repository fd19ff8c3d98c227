#!/usr/bin/env node
// llmserver: loads the models it is given and serves them on one port until it is told to finish.
import { cpus } from 'node:os';
import { getLlama, LlamaLogLevel, type Llama } from 'node-llama-cpp';
import { openEmbedder } from './embeddings.ts';
import { openEngine, type EngineOrder } from './engine.ts';
import { isSettingFault } from './errors.ts';
import { headerFault } from './header.ts';
import { log } from './log.ts';
import { openServer, type Loaded } from './server.ts';
import { HELP, readSettings, watchSettings, type Settings } from './settings.ts';

/** EX_CONFIG: bkg does not try again until something changes. */
const EXIT_CONFIG = 78;

function end(code: number, message: string): never {
  log('error', message);
  process.exit(code);
}

function settingsOrEnd(): ReturnType<typeof readSettings> {
  try {
    return readSettings(process.argv.slice(2), process.env);
  } catch (error) {
    return end(EXIT_CONFIG, (error as Error).message);
  }
}

let settings: Settings;

async function openLlama(): Promise<Llama> {
  const { gpu } = settings;
  try {
    return await getLlama({ build: 'never', gpu: gpu === 'off' ? false : gpu, maxThreads: cpus().length, logLevel: LlamaLogLevel.error, logger: (level, message) => log(level === 'error' ? 'error' : 'warn', message.trim()) });
  } catch (error) {
    return end(EXIT_CONFIG, `the engine for gpu: ${gpu} cannot be used here: ${(error as Error).message}. Only the CPU build is installed by default; the README says how to add another.`);
  }
}

async function load(loaded: Loaded): Promise<void> {
  for (const path of [settings.model, settings.embeddingModel]) {
    const fault = path === null ? null : headerFault(path);
    if (fault !== null) end(EXIT_CONFIG, fault);
  }
  const begun = performance.now();
  if (settings.model !== null || settings.embeddingModel !== null) {
    const llama = await openLlama();
    const share = settings.model !== null && settings.embeddingModel !== null ? 0.5 : 1;
    const order = (path: string, before: number): EngineOrder => ({ path, settings: () => settings, onProgress: (done) => { loaded.progress = before + done * share; } });
    if (settings.model !== null) loaded.engine = await openEngine(llama, order(settings.model, 0));
    if (settings.embeddingModel !== null) loaded.embedder = await openEmbedder(llama, order(settings.embeddingModel, 1 - share), loaded.engine?.threads ?? 0);
  }
  loaded.loading = false;
  log('info', 'ready', { chat: settings.alias, embedding: settings.embeddingAlias, template: loaded.engine?.template.from, n_ctx: loaded.engine?.contextSize, threads: loaded.engine?.threads, load_ms: Math.round(performance.now() - begun) });
}

const first = settingsOrEnd();
if (first.help) {
  console.log(HELP);
  process.exit(0);
}
settings = first;
const loaded: Loaded = { loading: true, progress: 0, engine: null, embedder: null };
const server = openServer({ loaded, settings: () => settings }, process.env['BKG_INBOUND']);
server.on('error', (error) => end(1, `cannot listen on port ${settings.port}: ${error.message}`));
server.listen(settings.port, '127.0.0.1', () => log('info', 'listening', { port: (server.address() as { readonly port: number }).port }));
watchSettings(process.argv.slice(2), process.env, (changed) => {
  // Live ones take effect at once; what the model was loaded with stays until a restart.
  settings = { ...settings, queue: changed.queue, maxTokens: changed.maxTokens };
  log('info', 'new settings are in use', { queue: settings.queue, maxTokens: settings.maxTokens });
});
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    log('info', 'finishing');
    server.close(() => process.exit(0));
    server.closeIdleConnections();
  });
}
load(loaded).catch((error: unknown) => end(isSettingFault(error) ? EXIT_CONFIG : 1, `the model could not be loaded: ${(error as Error).message}`));

// What plugins need before they can start, brought here in the background: installs and model files.
import { statSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join, sep } from 'node:path';
import type { DesiredModel, DesiredPlugin, ObservedInstall, ObservedModel } from '../core/types.ts';
import { fetchModel } from './download.ts';
import { install, installedFolder } from './install.ts';
import { monotonic_ms } from './process.ts';
import type { Store } from './store.ts';

/** Back-off of failed installs and fetches: doubled from the first to the longest. */
const RETRY_FIRST_MS = 5_000;
const RETRY_MAX_MS = 10 * 60_000;
/** Progress is published at most this often. */
const PROGRESS_MS = 250;

export type SuppliesOptions = {
  readonly home: string;
  /** Folder of finished installs; several homes may share one. */
  readonly installs: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly store: Store;
  readonly poke: () => void;
  readonly event: (reason: string, unit: string, message: string) => void;
};

export type Supplies = ReturnType<typeof openSupplies>;

export function openSupplies(options: SuppliesOptions) {
  const installs = new Map<string, ObservedInstall>();
  const models = new Map<string, ObservedModel>();
  const tries = new Map<string, number>();
  const stopping = new AbortController();
  let lastPoke = 0;

  const retryAfter = (key: string): number => {
    const count = tries.get(key) ?? 0;
    tries.set(key, count + 1);
    return monotonic_ms() + Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** count);
  };
  /** A file of the owner's may appear at any moment, and a look costs nothing. */
  const retryOf = (model: DesiredModel): number => (model.source.kind === 'file' ? monotonic_ms() + RETRY_FIRST_MS : retryAfter(model.sourceHash));
  const progress = (): void => {
    if (monotonic_ms() - lastPoke < PROGRESS_MS) return;
    lastPoke = monotonic_ms();
    options.poke();
  };
  for (const model of options.store.models()) if (isStillThere(model)) models.set(model.name, model);

  async function installPlugin(plugin: DesiredPlugin): Promise<void> {
    const hash = plugin.package.contentHash;
    const note = (state: Omit<ObservedInstall, 'contentHash'>): void => { installs.set(hash, { contentHash: hash, ...state }); };
    if (plugin.install === null || plugin.package.folder === null || installs.get(hash)?.phase === 'installing') return;
    note({ phase: 'installing', folder: null, message: 'Its install is starting.', failed: -1, retry: null });
    const unit = `plugin/${plugin.id}#0`;
    options.event('InstallStarted', unit, plugin.install.join(' '));
    const result = await install({
      name: plugin.use.replace(/[^a-z0-9-]+/gi, '-'), folder: plugin.package.folder, contentHash: hash, argv: plugin.install, store: options.installs, env: options.env, signal: stopping.signal,
      onProgress: (line) => { note({ phase: 'installing', folder: null, message: line, failed: -1, retry: null }); progress(); },
    });
    if (stopping.signal.aborted) return;
    if (result.ok) {
      note({ phase: 'done', folder: result.folder, message: 'Installed.', failed: -1, retry: null });
      tries.delete(hash);
      options.event('InstallDone', unit, 'its install is complete');
    } else {
      note({ phase: 'failed', folder: null, message: result.message, failed: monotonic_ms(), retry: retryAfter(hash) });
      options.event('InstallFailed', unit, result.message);
    }
    options.poke();
  }

  async function fetch(model: DesiredModel): Promise<void> {
    const base = { name: model.name, sourceHash: model.sourceHash };
    const note = (state: Omit<ObservedModel, 'name' | 'sourceHash'>): void => { models.set(model.name, { ...base, ...state }); };
    note({ phase: 'fetching', path: null, sha256: null, bytes: 0, bytesTotal: null, message: '', reason: 'Fetching', retry: null });
    if (model.source.kind !== 'file') options.event('ModelFetching', `model/${model.name}`, model.sourceText);
    const result = await fetchModel({
      source: model.source, sha256: model.sha256, folder: join(options.home, 'models'), env: options.env, signal: stopping.signal,
      onProgress: (bytes, bytesTotal) => { note({ phase: 'fetching', path: null, sha256: null, bytes, bytesTotal, message: '', reason: 'Fetching', retry: null }); progress(); },
    });
    // A newer declaration has taken the name meanwhile: its own fetch speaks for it.
    if (stopping.signal.aborted || models.get(model.name)?.sourceHash !== model.sourceHash) return;
    if (result.ok) {
      note({ phase: 'present', path: result.path, sha256: result.sha256, bytes: result.bytes, bytesTotal: result.bytes, message: '', reason: 'Present', retry: null });
      tries.delete(model.sourceHash);
      options.event('ModelPresent', `model/${model.name}`, `${result.bytes} bytes, sha256 ${result.sha256}`);
    } else {
      note({ phase: 'failed', path: null, sha256: null, bytes: 0, bytesTotal: null, message: result.message, reason: result.reason, retry: retryOf(model) });
      options.event('ModelFailed', `model/${model.name}`, result.message);
    }
    const now = models.get(model.name);
    if (now !== undefined) options.store.saveModel(now);
    options.poke();
  }

  return {
    install: (plugin: DesiredPlugin): void => { void installPlugin(plugin); },
    /** Believes a finished install on disk, so that a start need not run it again. */
    recall(plugin: DesiredPlugin): void {
      const hash = plugin.package.contentHash;
      if (plugin.install === null || installs.has(hash)) return;
      const folder = installedFolder(options.installs, plugin.use.replace(/[^a-z0-9-]+/gi, '-'), hash);
      if (folder !== null) installs.set(hash, { contentHash: hash, phase: 'done', folder, message: 'Installed.', failed: -1, retry: null });
    },
    fetch: (model: DesiredModel): void => { void fetch(model); },
    /** Removes what was downloaded for a model; a file of the owner's own stays. */
    async drop(name: string): Promise<void> {
      const model = models.get(name);
      const shared = [...models.values()].some((other) => other.name !== name && other.path === model?.path);
      models.delete(name);
      options.store.dropModel(name);
      if (model?.path != null && !shared && model.path.startsWith(join(options.home, 'models') + sep)) await rm(model.path, { force: true });
      options.event('ModelRemoved', `model/${name}`, 'its bytes were removed');
      options.poke();
    },
    observedInstalls: (): Readonly<Record<string, ObservedInstall>> => Object.fromEntries(installs),
    observedModels: (): Readonly<Record<string, ObservedModel>> => Object.fromEntries(models),
    /** Stops what is under way; a fetch resumes where it was. */
    close: (): void => { stopping.abort(); },
  };
}

/** Whether the bytes of the last run still lie there; a file of another size is fetched and hashed anew. */
function isStillThere(model: ObservedModel): boolean {
  if (model.phase !== 'present' || model.path === null) return false;
  return statSync(model.path, { throwIfNoEntry: false })?.size === model.bytes;
}

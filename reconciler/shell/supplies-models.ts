// The models here, on their way and failed; each fetch runs in the background for as long as its declaration stands.
import { rm } from 'node:fs/promises';
import { basename, join, sep } from 'node:path';
import type { DesiredModel, ObservedFile, ObservedModel } from '../core/types.ts';
import { begin } from './begin.ts';
import { hashedAt, isSame, lookAt, lookNow, type Facts } from './download-bytes.ts';
import type { Fault } from './download.ts';
import { fetchWhole, filesIn, folderOf, formatOf } from './model-files.ts';
import { monotonic_ms } from './process.ts';
import type { Pace, SuppliesOptions } from './supplies.ts';
import { openChecks, type Pruned, type Pruning, type Verdict } from './supplies-checks.ts';

/** A file of the owner's may appear at any moment, and a look costs nothing. */
const LOOK_AGAIN_MS = 5_000;
/** The files of an owner's folder are listed this often. */
const LIST_AGAIN_MS = 60_000;

/** `ended` by a newer declaration of the same name, by the model's removal, or with bkg. */
type Fetching = { readonly sourceHash: string; readonly ended: AbortController };

export type ModelsOptions = SuppliesOptions & { readonly pace: Pace; readonly signal: AbortSignal };

export function openModels(options: ModelsOptions) {
  const { pace, signal, event, poke } = options;
  const folder = join(options.home, 'models');
  const models = new Map<string, ObservedModel>();
  const fetching = new Map<string, Fetching>();
  /** What was present until its file changed or vanished. */
  const before = new Map<string, ObservedModel>();
  const listAgain = new Map<string, number>();
  let looking = false;
  for (const model of options.store.models()) {
    // What was damaged is known to be so, whoever looks at it anew.
    if (model.damaged !== null && model.damaged !== undefined && model.phase !== 'present') models.set(model.name, { ...model, phase: 'failed', files: [], retry: monotonic_ms(), checking: null });
    if (model.phase !== 'present' || model.path === null) continue;
    // An older bkg wrote down less.
    const known: ObservedModel = { ...model, files: model.files ?? oneFile(model), about: model.about ?? null, verified: model.verified ?? null, damaged: null, checking: null };
    if (lookNow(model.path) === null || !known.files.every((file) => isSame(file, lookNow(file.path)))) {
      before.set(model.name, known);
      continue;
    }
    models.set(model.name, known);
    if (known.about === null) begin(() => lookInto(known), (error) => event('ModelsNotLookedAt', `model/${model.name}`, (error as Error).message));
  }
  signal.addEventListener('abort', () => { for (const one of fetching.values()) one.ended.abort(); }, { once: true });

  const note = (model: DesiredModel, state: Partial<ObservedModel> & Pick<ObservedModel, 'phase' | 'reason'>): void => {
    const last = models.get(model.name);
    // Until good bytes are here it stays known that there were bad ones.
    const isMended = state.phase === 'present' || last?.sourceHash !== model.sourceHash;
    const [damaged, spoiled] = isMended ? [null, undefined] : [last.damaged, last.spoiled];
    models.set(model.name, { name: model.name, sourceHash: model.sourceHash, path: null, sha256: null, bytes: 0, files: [], bytesTotal: null, message: '', retry: null, about: null, verified: null, checking: null, damaged, ...(spoiled === undefined ? {} : { spoiled }), ...state });
  };
  const checks = openChecks({
    folder, signal, models, pace, event, every_ms: () => options.downloads().verifyEvery_ms,
    set: (model) => {
      const was = models.get(model.name);
      // What of it is good need not come again.
      if (model.phase === 'failed' && was?.phase === 'present') before.set(model.name, was);
      models.set(model.name, model);
      // How far a check has come is nothing to write down.
      if (model.checking === null) options.store.saveModel(model);
      poke();
    },
  });
  /** By the newest file. */
  let isDeclared: (name: string) => boolean = () => true;

  // ─── Fetching ────────────────────────────────────────────────────────────────────────────────────────────────────────

  function endFetching(name: string): void {
    fetching.get(name)?.ended.abort();
    fetching.delete(name);
  }

  /** Once it has ended, what still comes of a fetch is nobody's. */
  const isWanted = (model: DesiredModel, own: Fetching): boolean => fetching.get(model.name) === own && !own.ended.signal.aborted;

  function finished(model: DesiredModel): void {
    fetching.delete(model.name);
    const now = models.get(model.name);
    if (now !== undefined) options.store.saveModel(now);
    poke();
  }

  function failed(model: DesiredModel, fault: Pick<Fault, 'message' | 'retryAfter_ms'> & { readonly reason: string }): void {
    const { reason, message, retryAfter_ms = 0 } = fault;
    // A server that asks for patience gets it.
    const isOwn = model.source.kind === 'file' || (model.source.kind === 'list' && model.source.files.every(({ source }) => source.kind === 'file'));
    const retry = isOwn ? monotonic_ms() + LOOK_AGAIN_MS : Math.max(pace.retryAfter(model.sourceHash), monotonic_ms() + retryAfter_ms);
    note(model, { phase: 'failed', message, reason, retry });
    event('ModelFailed', `model/${model.name}`, message);
    finished(model);
  }

  async function run(model: DesiredModel, own: Fetching): Promise<void> {
    if (model.source.kind !== 'file') event('ModelFetching', `model/${model.name}`, model.sourceText);
    const last = before.get(model.name);
    const result = await fetchWhole({
      source: model.source, sha256: model.sha256, had: last?.sourceHash === model.sourceHash ? last.files : [], folder, env: options.env, signal: own.ended.signal, connections: options.downloads().connections, bandwidth_bytes: options.downloads().bandwidth_bytes ?? 0,
      onProgress: (bytes, bytesTotal) => {
        if (!isWanted(model, own)) return;
        note(model, { phase: 'fetching', bytes, bytesTotal, reason: 'Fetching' });
        pace.progress();
      },
    });
    if (!isWanted(model, own)) return;
    if (!result.ok) return failed(model, result);
    const { path, sha256, bytes, files, about } = result;
    // Bytes that were here already came of the commit they had.
    const commit = result.commit ?? (last?.sourceHash === model.sourceHash && last.sha256 === sha256 ? last.commit ?? null : null);
    const was = models.get(model.name)?.damaged ?? null;
    if (was !== null && (await checks.isSpoiled(files))) return failed(model, { reason: 'Damaged', message: was });
    note(model, { phase: 'present', path, sha256, bytes, bytesTotal: bytes, files, about, verified: hashedSince(files), ...(commit === null ? {} : { commit }), ...(result.isFolder === true ? { isFolder: true } : {}), reason: 'Present' });
    if (was !== null) options.mended(model.name);
    before.delete(model.name);
    pace.succeeded(model.sourceHash);
    event('ModelPresent', `model/${model.name}`, `${bytes} bytes, sha256 ${sha256}`);
    finished(model);
  }

  /** Returns at once. A fetch of another source under the same name ends; what it has stays for when it is wanted again. */
  function fetch(model: DesiredModel): void {
    if (signal.aborted || fetching.get(model.name)?.sourceHash === model.sourceHash) return;
    endFetching(model.name);
    const own: Fetching = { sourceHash: model.sourceHash, ended: new AbortController() };
    fetching.set(model.name, own);
    note(model, { phase: 'fetching', reason: 'Fetching' });
    begin(() => run(model, own), (error) => {
      if (isWanted(model, own)) failed(model, { reason: 'Failed', message: `it could not be fetched: ${(error as Error).message}` });
    });
  }

  /** A model that is no longer declared is not fetched any further; what came of it stays for when it is declared again. */
  function abandon(declared: (name: string) => boolean): void {
    isDeclared = declared;
    for (const name of [...fetching.keys()].filter((one) => !isDeclared(one))) {
      endFetching(name);
      models.delete(name);
      event('ModelAbandoned', `model/${name}`, 'it is no longer declared, so its fetch was ended');
    }
  }

  // ─── Removing ────────────────────────────────────────────────────────────────────────────────────────────────────────

  async function remove(name: string, model: ObservedModel): Promise<void> {
    const shared = [...models.values()].some((other) => other.path === model.path);
    const used = new Set([...models.values()].flatMap((other) => other.files.map(({ path }) => path)));
    const ours = model.files.filter(({ path }) => path.startsWith(folder + sep) && !used.has(path)).map(({ path }) => path);
    // The folder of links first: what is left half must not be taken for a whole one.
    if (!shared && model.path?.startsWith(join(folder, 'folders') + sep) === true) await rm(folderOf(model), { recursive: true, force: true });
    for (const path of ours) await rm(path, { force: true });
    // Only now: a bkg that ends before this finds the row at its next start, and removes the bytes.
    if (signal.aborted) return;
    if (!models.has(name)) options.store.dropModel(name);
    event('ModelRemoved', `model/${name}`, ours.length === 0 ? 'it is no longer used; no bytes were its own' : 'its bytes were removed');
    poke();
  }

  /** Removes what was downloaded for a model; a file of the owner's own stays. Returns at once. */
  function drop(name: string): void {
    const model = models.get(name);
    if (signal.aborted || model === undefined || (model.reason === 'NotRemoved' && model.retry !== null && model.retry > monotonic_ms())) return;
    endFetching(name);
    models.delete(name);
    before.delete(name);
    begin(() => remove(name, model), (error) => {
      const message = `its bytes could not be removed: ${(error as Error).message}; let bkg's user write to ${folder}, or remove them by hand`;
      // A new declaration may have taken the name meanwhile.
      if (!models.has(name)) models.set(name, { ...model, phase: 'failed', message, reason: 'NotRemoved', retry: pace.retryAfter(model.sourceHash) });
      event('ModelNotRemoved', `model/${name}`, message);
      poke();
    });
  }

  // ─── Looking ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  async function lookAtOne(model: ObservedModel): Promise<void> {
    for (const file of model.files) {
      // What cannot be told now (a network drive that is away) is no reason to fetch.
      const facts = await lookAt(file.path).catch(() => 'unknown' as const);
      if (facts === 'unknown' || isSame(file, facts)) continue;
      return lost(model, { path: file.path, facts });
    }
    // Its folder of links is nobody's file, and is needed all the same.
    const whole = model.path === null ? 'unknown' : await lookAt(model.path).catch(() => 'unknown' as const);
    if (whole === null) return lost(model, { path: model.path!, facts: null });
    if (whole !== 'unknown' && model.isFolder === true) await lookForMore(model, whole);
  }

  /** Whether a folder of the owner's has got other files since; now and then, for it may be a large one. */
  async function lookForMore(model: ObservedModel, facts: Facts): Promise<void> {
    const now = monotonic_ms();
    if (now < (listAgain.get(model.name) ?? 0)) return;
    listAgain.set(model.name, now + LIST_AGAIN_MS);
    const names = await filesIn(model.path!).catch(() => null);
    if (names !== null && names.join('\n') !== model.files.map(({ path }) => path).sort().join('\n')) lost(model, { path: model.path!, facts });
  }

  function lost(model: ObservedModel, { path, facts }: { readonly path: string; readonly facts: Facts | null }): void {
    if (models.get(model.name) !== model || signal.aborted) return;
    const message = `${path} ${facts === null ? 'is no longer there' : facts.isFile ? 'is not the file that was verified' : 'holds other files than those that were verified'}`;
    models.set(model.name, { ...model, phase: 'failed', reason: facts === null ? 'Vanished' : 'Changed', message, path: null, sha256: null, files: [], retry: monotonic_ms() });
    before.set(model.name, model);
    event(facts === null ? 'ModelVanished' : 'ModelChanged', `model/${model.name}`, message);
    poke();
  }

  async function lookInto(model: ObservedModel): Promise<void> {
    const found = await formatOf(model.files, signal);
    if (!found.ok || models.get(model.name) !== model) return;
    const now = { ...model, about: found.about };
    models.set(model.name, now);
    options.store.saveModel(now);
    poke();
  }

  /** Whether the files of present models are still those that were hashed: one stat each, made to be called each second. */
  function look(): void {
    if (signal.aborted) return;
    checks.look(isDeclared);
    if (looking) return;
    looking = true;
    const present = [...models.values()].filter((model) => model.phase === 'present');
    begin(() => Promise.all(present.map(lookAtOne)).finally(() => { looking = false; }), (error) => event('ModelsNotLookedAt', 'models', (error as Error).message));
  }

  async function prune(which: Pruning): Promise<Pruned> {
    const { models: gone, ...pruned } = await checks.prune(isDeclared, which);
    for (const name of gone) {
      models.delete(name);
      options.store.dropModel(name);
    }
    if (pruned.removed.length > 0) poke();
    return pruned;
  }

  /** One at a time, in the background. */
  let pruning = false;
  function pruneLater(file: string): void {
    if (pruning || signal.aborted) return;
    pruning = true;
    begin(() => prune({ only: file }).finally(() => { pruning = false; }), (error) => event('ModelNotRemoved', `model-file/${file}`, (error as Error).message));
  }

  return { fetch, drop, abandon, look, prune, pruneLater, isChecking: checks.isChecking, verify: (name: string): Promise<Verdict> => checks.verify(name), extras: checks.extras, observed: (): Readonly<Record<string, ObservedModel>> => Object.fromEntries(models) };
}

/** When the first of them was hashed: what is known of a file's bytes is not hashed anew for each model that has them. */
const hashedSince = (files: readonly ObservedFile[]): string => new Date(Math.min(Date.now(), ...files.map(({ path }) => hashedAt(path) ?? Infinity))).toISOString();

/** Of a model that was written down when a model was one file. */
function oneFile(model: ObservedModel & { readonly mtime_ms?: number }): readonly ObservedFile[] {
  const { path, sha256, bytes, mtime_ms = 0 } = model;
  return path === null || sha256 === null ? [] : [{ name: basename(path), path, sha256, bytes, mtime_ms }];
}

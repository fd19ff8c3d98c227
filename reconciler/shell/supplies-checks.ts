// Whether models' bytes are still those that were verified, hashed whole when somebody asks and by the calendar; and files in the store that no model uses.
import { readdir, rm, stat } from 'node:fs/promises';
import { basename, join, sep } from 'node:path';
import type { ExtraFile, ObservedFile, ObservedModel } from '../core/types.ts';
import { begin } from './begin.ts';
import { forget, isSame, lookAt } from './download-bytes.ts';
import { putApart } from './download-store.ts';
import { inspect } from './format.ts';
import { hashFile } from './hashing.ts';
import { monotonic_ms } from './process.ts';
import { folderOf } from './model-files.ts';
import type { Pace } from './supplies.ts';

/** What could not be read is tried again after so long. */
const AGAIN_MS = 60 * 60_000;
/** Not while everything starts. */
const FIRST_AFTER_MS = 10 * 60_000;
/** The files of the store are listed this often. */
const LIST_EVERY_MS = 60_000;
/** A part of a download that nobody goes on with: whoever wanted it may come back tomorrow. */
const PART_AGE_MS = 7 * 24 * 3_600_000;
/** What bkg itself puts into the folders of the store; all else there is somebody's, and never touched. */
const KEPT_NAME = /^[0-9a-f]{64}(?:\.[a-z0-9]{1,20})?$/;
const FOLDER_NAME = /^[0-9a-f]{64}(?:\.new)?$/;
const PART_NAME = /^[0-9a-f]{24}\.part(?:\.[a-z]+)?$/;

export type Verdict =
  | { readonly ok: true; readonly sha256: string; readonly bytes: number; readonly verified: string }
  | { readonly ok: false; readonly reason: 'NotPresent' | 'Damaged'; readonly message: string };

/** `only`: the one of this name. `dryRun`: none is removed. */
export type Pruning = { readonly only?: string; readonly dryRun?: boolean };

/** `failed`: could not be removed, and why. */
export type Pruned = { readonly removed: readonly ExtraFile[]; readonly failed: readonly { readonly name: string; readonly message: string }[] };

type Damage = { readonly stamp: string; readonly digest: string; readonly message: string };

export type ChecksOptions = {
  /** Of the store. */
  readonly folder: string;
  readonly signal: AbortSignal;
  readonly models: ReadonlyMap<string, ObservedModel>;
  /** Puts another state of a model in place of the one it has. */
  readonly set: (model: ObservedModel) => void;
  /** How often each is hashed by the calendar; 0: never. */
  readonly every_ms: () => number;
  readonly pace: Pick<Pace, 'progress'>;
  readonly event: (reason: string, unit: string, message: string) => void;
};

/** When it was hashed last, in milliseconds since 1970. */
const checked = (model: ObservedModel): number => Date.parse(model.verified ?? '1970-01-01');

export function openChecks(o: ChecksOptions) {
  const { folder, signal, models } = o;
  const underWay = new Map<string, Promise<Verdict>>();
  /** Files of the owner's that were found damaged: as they lie there, nobody takes them. */
  const spoiled = new Map([...models.values()].flatMap((model) => (model.spoiled === undefined ? [] : [[model.spoiled.path, model.spoiled.stamp] as const])));
  let extras: readonly ExtraFile[] = [];
  let listed_ms = -Infinity;
  const opened_ms = monotonic_ms();
  const notBefore = new Map<string, number>();

  const withPath = (path: string): readonly ObservedModel[] => [...models.values()].filter((model) => model.path === path && model.phase === 'present');
  const note = (path: string, part: Partial<ObservedModel>): void => { for (const model of withPath(path)) o.set({ ...model, ...part }); };

  /** Joins a check that is under way. By the path of the whole: several models may share it. */
  function verify(name: string): Promise<Verdict> {
    const model = models.get(name);
    if (model === undefined || model.phase !== 'present' || model.path === null) return Promise.resolve({ ok: false, reason: 'NotPresent', message: model?.message || 'its bytes are not here' });
    const { path } = model;
    const known = underWay.get(path);
    if (known !== undefined) return known;
    const mine = check({ ...model, path }).finally(() => {
      underWay.delete(path);
      note(path, { checking: null });
    });
    underWay.set(path, mine);
    return mine;
  }

  async function check(model: ObservedModel & { readonly path: string }): Promise<Verdict> {
    const { path, name } = model;
    note(path, { checking: 0 });
    let done = 0;
    for (const file of model.files) {
      const told = await checkFile(file, (bytes) => {
        note(path, { checking: done + bytes });
        o.pace.progress();
      }).catch((error: unknown) => {
        signal.throwIfAborted();
        // What the system refuses is no damage that another copy would mend; and it is not asked again at once.
        if ((error as NodeJS.ErrnoException).code === undefined) throw error;
        notBefore.set(path, monotonic_ms() + AGAIN_MS);
        return error as Error;
      });
      if (told instanceof Error) return { ok: false, reason: 'NotPresent', message: `${file.path} cannot be read: ${told.message}` };
      if (told === 'moved') return { ok: false, reason: 'NotPresent', message: `${file.path} is not the file that was verified; it is looked at anew` };
      if (told !== null) {
        await spoil(file, told);
        return { ok: false, reason: 'Damaged', message: told.message };
      }
      done += file.bytes;
    }
    const verified = new Date().toISOString();
    note(path, { verified });
    o.event('ModelVerified', `model/${name}`, `all ${model.bytes} bytes have the sha256 ${model.sha256 ?? ''}`);
    return { ok: true, sha256: model.sha256 ?? '', bytes: model.bytes, verified };
  }

  /** Null when it is well. */
  async function checkFile(file: ObservedFile, onBytes: (bytes: number) => void): Promise<Damage | 'moved' | null> {
    const facts = await lookAt(file.path);
    if (facts === null || !isSame(file, facts)) return 'moved';
    const digest = await hashFile(file.path, { signal, onBytes });
    if ((await lookAt(file.path))?.stamp !== facts.stamp) return 'moved';
    if (digest !== file.sha256) return { stamp: facts.stamp, digest, message: `the bytes of ${file.path} have changed although its date has not: their sha256 is ${digest}, it was ${file.sha256}` };
    const inspected = await inspect(file.path, file.name, signal);
    return inspected.ok ? null : { stamp: facts.stamp, digest, message: inspected.message };
  }

  /** Its own bytes are put aside, so that good ones are brought; the owner's stay, and are taken again when they are written anew. */
  async function spoil({ path }: ObservedFile, { stamp, digest, message }: Damage): Promise<void> {
    forget(path);
    const ours = path.startsWith(folder + sep);
    if (ours) await putApart(folder, { path, name: basename(path), digest });
    else spoiled.set(path, stamp);
    for (const model of [...models.values()].filter((one) => one.phase === 'present' && one.files.some((file) => file.path === path))) {
      // A folder of links holds the damaged bytes under another name.
      if (model.path !== null && model.path.startsWith(join(folder, 'folders') + sep)) await rm(folderOf(model), { recursive: true, force: true });
      o.set({ ...model, files: [], phase: 'failed', reason: 'Damaged', message, damaged: message, ...(ours ? {} : { spoiled: { path, stamp } }), path: null, sha256: null, checking: null, verified: null, retry: monotonic_ms() });
      o.event('ModelDamaged', `model/${model.name}`, `${message}. ${ours ? 'It is fetched again.' : 'Write the file anew.'}`);
    }
  }

  // ─── Files that no model uses ────────────────────────────────────────────────────────────────────────────────────────

  /** `isDeclared`: whose bytes stay. */
  async function list(isDeclared: (name: string) => boolean): Promise<readonly ExtraFile[]> {
    // What is on its way, or was damaged in part, goes on with files that no model names yet.
    if ([...models.values()].some((model) => isDeclared(model.name) && model.phase !== 'present')) return [];
    const used = new Set([...models.values()].filter((model) => isDeclared(model.name)).flatMap((model) => [folderOf(model), ...model.files.map(({ path }) => path)]));
    const found: ExtraFile[] = [];
    // Folders of links come first: as long as one is there the bytes are.
    for (const [below, ours] of [['folders', FOLDER_NAME], ['sha256', KEPT_NAME], ['partial', PART_NAME]] as const) {
      for (const name of await readdir(join(folder, below)).catch(() => [])) {
        const path = join(folder, below, name);
        const facts = ours.test(name) && !used.has(path) ? await stat(path).catch(() => null) : null;
        if (facts === null || facts.isDirectory() !== (below === 'folders') || (below === 'partial' && Date.now() - facts.mtimeMs < PART_AGE_MS)) continue;
        // Its bytes are those of the files it links to.
        found.push({ name: `${below}/${name}`, bytes: below === 'folders' ? 0 : facts.size });
      }
    }
    return found;
  }

  return {
    verify,
    isChecking: (name: string): boolean => underWay.has(models.get(name)?.path ?? ''),
    /** Whether one of these files of the owner's is the damaged one yet. */
    async isSpoiled(files: readonly ObservedFile[]): Promise<boolean> {
      for (const { path } of files) {
        const stamp = spoiled.get(path);
        if (stamp === undefined) continue;
        if ((await lookAt(path))?.stamp === stamp) return true;
        spoiled.delete(path);
      }
      return false;
    },
    extras: (): readonly ExtraFile[] => extras,
    /** Lists the store now and then, and begins the check that is due longest. Made to be called each second. */
    look(isDeclared: (name: string) => boolean): void {
      const now = monotonic_ms();
      if (signal.aborted) return;
      if (now - listed_ms >= LIST_EVERY_MS) {
        listed_ms = now;
        begin(async () => { extras = await list(isDeclared); }, (error) => o.event('ModelsNotLookedAt', 'models', (error as Error).message));
      }
      if (underWay.size > 0 || now - opened_ms < FIRST_AFTER_MS) return;
      const every_ms = o.every_ms();
      const due = every_ms === 0 ? undefined : [...models.values()].filter((model) => model.phase === 'present' && Date.now() - checked(model) >= every_ms && now >= (notBefore.get(model.path ?? '') ?? 0)).sort((one, other) => checked(one) - checked(other))[0];
      if (due !== undefined) begin(() => verify(due.name), (error) => { if (!signal.aborted) o.event('ModelNotVerified', `model/${due.name}`, (error as Error).message); });
    },
    /** Removes files that no declared model uses: all of them, or the one that is named. Only what bkg itself has put there. */
    async prune(isDeclared: (name: string) => boolean, which: Pruning): Promise<Pruned & { readonly models: readonly string[] }> {
      const removed: ExtraFile[] = [];
      const failed: { name: string; message: string }[] = [];
      const found = (await list(isDeclared)).filter(({ name }) => which.only === undefined || name === which.only);
      if (which.dryRun === true) return { removed: found, failed, models: [] };
      for (const extra of found) {
        const fault = await rm(join(folder, extra.name), { recursive: true, force: true }).then(() => null, (error: NodeJS.ErrnoException) => error);
        // One that stays keeps no other from going.
        if (fault !== null) {
          if (fault.code === undefined) throw fault;
          failed.push({ name: extra.name, message: `${fault.message}; let bkg's user write to ${folder}, or remove it by hand` });
          o.event('ModelNotRemoved', `model-file/${extra.name}`, failed.at(-1)!.message);
          continue;
        }
        removed.push(extra);
        o.event('ModelPruned', `model-file/${extra.name}`, `${extra.bytes} bytes that no declared model uses were removed`);
      }
      const gone = new Set(removed.map(({ name }) => join(folder, name)));
      extras = extras.filter(({ name }) => !gone.has(join(folder, name)));
      return { removed, failed, models: [...models.values()].filter((model) => model.files.some(({ path }) => gone.has(path))).map(({ name }) => name) };
    },
  };
}

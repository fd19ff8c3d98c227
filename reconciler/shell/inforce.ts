// Which revision of bkg.yaml is in force: takes in new bytes, keeps the last good ones when they are no good.
import { readFile, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { escapeToken } from '../../schema/pointer.ts';
import { deedsOf } from '../core/changes.ts';
import { applyDenials, type Denial, type Denied } from '../core/people.ts';
import type { Desired, Json, Problem } from '../core/types.ts';
import { openDenials } from './denials.ts';
import { desire, type Desire, type DesirePlace } from './desire.ts';
import { revisionOf } from './declare.ts';
import type { FileView } from './door.ts';
import { monotonic_ms } from './process.ts';
import { isPassing } from './store-later.ts';
import type { Store } from './store.ts';

/** A half-written save can happen to parse (one truncation in five does): a strict prefix of what is in force waits this long. */
const PREFIX_HOLD_MS = 2_000;
/** Problems whose cause lies beside the file: they pass when a plugin's folder is mended. */
const BESIDE_THE_FILE = new Set(['PluginNotFound', 'PluginUnreadable', 'ManifestInvalid']);
/** So long after a refusal for such a cause it is looked at again. */
const RESOLVE_AGAIN_MS = 5_000;
/** A file changed this shortly ago may change again within the same tick of the file system's clock. */
const SETTLED_MS = 1_000;
/** An edit that could not be noted down waits this long for a second try before it is told so. */
const NOTE_AGAIN_MS = 500;
/** A revision that could not be noted down, or a file that could not be read, is tried again after this long. */
const RETRY_MS = 1_000;

/** Places named in one row of the audit log. */
const PLACES_MAX = 20;

export type InForce = {
  /** As declared, less what is denied. */
  readonly desired: Desired;
  /** As the revision in force declares it. */
  readonly declared: Desired;
  readonly denied: readonly Denied[];
  /** Its values as typed. */
  readonly value: Json;
  readonly seq: number;
  readonly text: string;
  readonly file: FileView;
  /** True while the last good revision resolves in part only: what `desired` does not name is left alone. */
  readonly partial: boolean;
  /** What the revision in force itself is warned of. */
  readonly warnings: readonly Problem[];
  /** When the file is to be looked at again without an event. */
  readonly lookAgain: number | null;
};

export type Author = { readonly actor: string; readonly source: string; readonly address: string | null };

export type InForceOptions = DesirePlace & {
  readonly store: Store;
  readonly event: (reason: string, unit: string, message: string) => void;
};

/** Bytes that were checked before they were written. */
export type Checked = { readonly text: string; readonly revision: string; readonly found: Desire };

export const EMPTY_TEXT = 'version: 1\n';
const BY_HAND: Author = { actor: 'owner', source: 'file', address: null };

export function openInForce(options: InForceOptions) {
  let current: InForce | null = null;
  let lastSeen: string | null = null;
  let stamp: string | null = null;
  let held: { readonly revision: string; readonly since: number } | null = null;
  /** Bytes of bkg's own that wait to be noted down, and whose they are. */
  let waiting: { readonly revision: string; readonly author: Author } | null = null;
  let rejected: { readonly revision: string; readonly problems: readonly Problem[] } | null = null;
  let queue: Promise<unknown> = Promise.resolve();

  /** Looking and writing one after another: what bkg writes is never mistaken for somebody else's save. */
  function inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const next = queue.then(work);
    queue = next.catch(() => undefined);
    return next;
  }

  const known = (): InForce => {
    if (current === null) throw new Error('nothing is in force yet');
    return current;
  };
  const view = (patch: Partial<FileView>): FileView => ({
    path: options.config, revision: lastSeen, inForce: current?.desired.revision ?? '', valid: true, problems: current?.warnings ?? [], ...patch,
  });
  const denials = openDenials({ store: options.store, event: options.event, base: { configFolder: dirname(options.config), installation: options.installation } });
  /** With what is denied taken away. */
  function bound(now: Omit<InForce, 'desired' | 'denied'>): InForce {
    const denied = denials.all();
    return { ...now, denied, desired: denied.length === 0 ? now.declared : { ...now.declared, ...applyDenials(now.declared, denied) } };
  }
  const keep = (file: Partial<FileView>, lookAgain: number | null = null): InForce => (current = bound({ ...known(), file: view(file), lookAgain }));
  /** Keeps what is in force because of a problem of the file itself, and tells it once. */
  function hold(problem: Problem, lookAgain: number | null): InForce {
    if (known().file.problems[0]?.code !== problem.code) options.event(problem.code, 'config', problem.message);
    return keep({ valid: false, problems: [problem] }, lookAgain);
  }

  /** Null when the disk would not take it. */
  function noteDown(checked: Checked, author: Author): { readonly seq: number } | { readonly fault: string } {
    try {
      return { seq: options.store.addRevision({ revision: checked.revision, text: checked.text, at: new Date().toISOString(), actor: author.actor, source: author.source, valid: checked.found.desired !== null }) };
    } catch (error) {
      if (!isPassing(error)) throw error;
      return { fault: error.message };
    }
  }

  /** What a revision did, by whom. */
  function noteDeeds(before: Json, after: Json, { author, revision }: { readonly author: Author; readonly revision: string }): void {
    options.store.audit(...deedsOf(before, after).map(({ action, target, places }) => ({ ...author, action, target, revision, detail: JSON.stringify({ places: places.slice(0, PLACES_MAX) }) })));
  }

  function accept(checked: Checked, author: Author): InForce {
    const { text, revision, found } = checked;
    const lookAgain = found.problems.some((problem) => BESIDE_THE_FILE.has(problem.code)) ? monotonic_ms() + RESOLVE_AGAIN_MS : null;
    if (found.desired === null && revision === rejected?.revision && isDeepStrictEqual(found.problems, rejected.problems)) {
      lastSeen = revision;
      return keep({ valid: false, problems: found.problems }, lookAgain);
    }
    const noted = noteDown(checked, author);
    if ('fault' in noted) {
      // Seen, but to be looked at again: without its row a crash would bring back the revision before.
      lastSeen = revision;
      waiting = { revision, author };
      // What it gives waits for its row, what it takes does not.
      if (found.told !== null) denials.take(known().declared, found.told, 'file');
      return keep({ valid: false, problems: [unnoted(noted.fault)] }, monotonic_ms() + RETRY_MS);
    }
    lastSeen = revision;
    waiting = null;
    if (found.desired === null) {
      const first = found.problems.find((problem) => problem.severity === 'error');
      options.event('ConfigRejected', 'config', `${options.config}${first?.line == null ? '' : `:${first.line}:${first.column}`}: ${first?.message ?? 'it is not valid'}`);
      rejected = { revision, problems: found.problems };
      if (found.told !== null) denials.take(known().declared, found.told, 'file');
      return keep({ valid: false, problems: found.problems }, lookAgain);
    }
    rejected = null;
    denials.lift(found.desired);
    noteDeeds(known().value, found.value, { author, revision });
    options.store.mirror(found.desired);
    current = bound({ declared: found.desired, value: found.value, seq: noted.seq, text, partial: false, warnings: found.problems, file: view({ inForce: revision, problems: found.problems }), lookAgain: null });
    options.event('ConfigAccepted', 'config', `revision ${revision.slice(0, 12)} is in force`);
    return current;
  }

  async function look(): Promise<InForce> {
    const now = known();
    const facts = await stampOf(options.config);
    if (facts !== null && facts === stamp && now.lookAgain === null) return now;
    const read = await textOf(options.config);
    // Bytes that may change again within the same tick of the file system's clock are read again.
    stamp = read.kind === 'text' && facts !== null && ageOf(facts) > SETTLED_MS ? facts : null;
    if (read.kind !== 'text') {
      const same = lastSeen === null && now.file.problems[0]?.message === read.problem.message;
      held = null;
      lastSeen = null;
      if (read.kind === 'missing') return same ? now : hold(read.problem, null);
      return hold(read.problem, monotonic_ms() + RETRY_MS);
    }
    const { text } = read;
    const revision = revisionOf(text);
    if (revision === lastSeen && now.lookAgain === null) return now;
    if (isPrefixOf(text, now.text)) {
      // What has lain there for longer is no save that is under way: bkg was away, or did not look.
      if (held?.revision !== revision) held = { revision, since: monotonic_ms() - (facts === null ? 0 : ageOf(facts)) };
      if (monotonic_ms() - held.since < PREFIX_HOLD_MS) {
        lastSeen = revision;
        return hold(truncated(), held.since + PREFIX_HOLD_MS);
      }
    }
    held = null;
    if (revision === now.desired.revision && !now.partial) {
      lastSeen = revision;
      rejected = null;
      denials.lift(now.declared);
      if (!now.file.valid) options.event('ConfigBack', 'config', `the file is again revision ${revision.slice(0, 12)}, which is in force`);
      return keep({});
    }
    return accept({ text, revision, found: await desire(text, revision, options) }, waiting?.revision === revision ? waiting.author : BY_HAND);
  }

  return {
    current: known,
    /** Boot: the file as it is; if that is no good, the last good revision, or what still resolves of it; if there never was one, nothing. */
    async boot(): Promise<InForce> {
      const good = options.store.lastGood();
      const base = good ?? { seq: 0, text: EMPTY_TEXT, revision: revisionOf(EMPTY_TEXT) };
      const found = await desire(base.text, base.revision, options);
      // What was good once may not resolve today: a plugin's folder is gone, a variable is not set. That stops nothing of it.
      const desired = found.desired ?? found.sound ?? (await desire(EMPTY_TEXT, revisionOf(EMPTY_TEXT), options)).desired;
      if (desired === null) throw new Error('the empty declaration does not resolve');
      const partial = found.desired === null || good === null;
      const warnings = found.desired === null ? [] : found.problems;
      current = bound({ declared: desired, value: found.value ?? {}, seq: base.seq, text: base.text, partial, warnings, file: view({ problems: warnings }), lookAgain: null });
      const first = await inTurn(look);
      if (held === null || first.lookAgain === null) return first;
      // Doors are opened as the file says, so it is waited for.
      await new Promise((resolve) => { setTimeout(resolve, Math.max(0, first.lookAgain! - monotonic_ms())); });
      return inTurn(look);
    },
    /** Reads the manifest of one plugin again, for whoever asks for its restart: what its folder says now counts, nothing else moves. */
    again: (id: string): Promise<readonly Problem[]> => inTurn(async () => {
      const now = known();
      const found = await desire(now.text, now.desired.revision, options);
      const plugin = (found.desired ?? found.sound)?.plugins.find((one) => one.id === id);
      const problems = found.problems.filter((problem) => problem.severity === 'error' && `${problem.pointer}/`.startsWith(`/plugins/${escapeToken(id)}/`));
      if (plugin !== undefined && problems.length === 0) current = bound({ ...now, declared: { ...now.declared, plugins: now.declared.plugins.map((one) => (one.id === id ? plugin : one)) } });
      return problems;
    }),
    /** Takes from the people in force what an edit that could not be written would take. Returns what that is. */
    deny: (told: Json, before: Json | null): readonly Denial[] => {
      const taken = denials.take(known().declared, told, 'api', before);
      current = bound(known());
      return taken;
    },
    /** Looks at the file again; the same object comes back when nothing about it changed. */
    read: (): Promise<InForce> => inTurn(look),
    /**
     * Writes bytes that were checked and takes them in at once, as their author's. Null when `write` says that nothing was
     * written. Nobody looks at the file in between.
     */
    write: (checked: Checked, author: Author, write: () => Promise<boolean>): Promise<InForce | null> => inTurn(async () => {
      if (!(await write())) return null;
      held = null;
      const taken = accept(checked, author);
      if (taken.desired.revision === checked.revision) return taken;
      // Another process may hold the database for a moment; the caller waits for its answer anyway.
      await new Promise((resolve) => { setTimeout(resolve, NOTE_AGAIN_MS); });
      return accept(checked, author);
    }),
  };
}

const isPrefixOf = (text: string, inForce: string): boolean => text.length < inForce.length && text.length > 0 && inForce.startsWith(text);

/** Time, size and place of the file; null when it cannot be told. */
const stampOf = (path: string): Promise<string | null> =>
  stat(path, { bigint: true }).then(({ mtimeNs, ctimeNs, size, ino, dev }) => `${ctimeNs > mtimeNs ? ctimeNs : mtimeNs} ${mtimeNs} ${size} ${ino} ${dev}`, () => null);

/** Milliseconds since it was changed, or moved there. */
const ageOf = (facts: string): number => Math.max(0, Date.now() - Number(facts.split(' ')[0]) / 1e6);

type Text = { readonly kind: 'text'; readonly text: string } | { readonly kind: 'missing' | 'unreadable'; readonly problem: Problem };

async function textOf(path: string): Promise<Text> {
  try {
    return { kind: 'text', text: await readFile(path, 'utf8') };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return code === 'ENOENT' ? { kind: 'missing', problem: missing(path) } : { kind: 'unreadable', problem: unreadable(path, message) };
  }
}

const fault = (code: string, message: string, hint: string): Problem => ({ code, pointer: '', line: null, column: null, severity: 'error', message, hint });

const missing = (path: string): Problem => fault('FileMissing', `${path} is not there; the last good revision stays in force.`, 'Put the file back. Nothing is stopped meanwhile.');

const unreadable = (path: string, why: string): Problem =>
  fault('FileUnreadable', `${path} cannot be read: ${why}. The last good revision stays in force.`, 'It must be a file that the user of bkg may read. Nothing is stopped meanwhile.');

const truncated = (): Problem =>
  fault('ConfigHeld', 'The file ends earlier than the revision in force: it looks half-written and waits 2 s.', 'If the end was cut on purpose, it takes effect by itself after that.');

const unnoted = (why: string): Problem =>
  fault('StoreUnwritable', `bkg.db could not be written: ${why}. This revision waits for that; the last good one stays in force.`, 'Make room on the disk of $BKG_HOME. It is tried again each second.');

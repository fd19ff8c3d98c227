// Which revision of bkg.yaml is in force: takes in new bytes, keeps the last good ones when they are no good.
import { readFile } from 'node:fs/promises';
import type { Desired, Problem } from '../core/types.ts';
import { desire, hasErrors, type DesirePlace } from './desire.ts';
import { revisionOf } from './declare.ts';
import type { FileView } from './door.ts';
import { monotonic_ms } from './process.ts';
import type { Store } from './store.ts';

/** A half-written save can happen to parse (one truncation in five does): a strict prefix of what is in force waits this long. */
const PREFIX_HOLD_MS = 2_000;

export type InForce = {
  readonly desired: Desired;
  readonly seq: number;
  readonly text: string;
  readonly file: FileView;
  /** When bytes that are held back are to be looked at again. */
  readonly lookAgain: number | null;
};

export type InForceOptions = DesirePlace & {
  readonly store: Store;
  readonly event: (reason: string, unit: string, message: string) => void;
  /** Who wrote a revision, when it was bkg itself. */
  readonly authorOf: (revision: string) => { readonly actor: string; readonly source: string } | null;
};

export const EMPTY_TEXT = 'version: 1\n';

export function openInForce(options: InForceOptions) {
  let current: InForce | null = null;
  let lastSeen: string | null = null;
  let heldSince: number | null = null;

  const view = (patch: Partial<FileView>): FileView => ({
    path: options.config, revision: lastSeen, inForce: current?.desired.revision ?? '', valid: true, problems: [], ...patch,
  });
  const keep = (file: Partial<FileView>, lookAgain: number | null = null): InForce => {
    if (current === null) throw new Error('nothing is in force yet');
    current = { ...current, file: view(file), lookAgain };
    return current;
  };

  async function accept(text: string, revision: string): Promise<InForce> {
    const found = await desire(text, revision, options);
    lastSeen = revision;
    const author = options.authorOf(revision) ?? { actor: 'owner', source: 'file' };
    const row = { revision, at: new Date().toISOString(), ...author, text };
    if (found.desired === null) {
      options.store.addRevision({ ...row, valid: false });
      const first = found.problems.find((problem) => problem.severity === 'error');
      options.event('ConfigRejected', 'config', `${options.config}${first?.line == null ? '' : `:${first.line}:${first.column}`}: ${first?.message ?? 'it is not valid'}`);
      return keep({ valid: false, problems: found.problems });
    }
    const seq = options.store.addRevision({ ...row, valid: true });
    current = { desired: found.desired, seq, text, file: view({ inForce: revision, problems: found.problems }), lookAgain: null };
    options.event('ConfigAccepted', 'config', `revision ${revision.slice(0, 12)} is in force`);
    return current;
  }

  return {
    current: (): InForce => {
      if (current === null) throw new Error('nothing is in force yet');
      return current;
    },
    /** Boot: the file as it is; if that is no good, the last good revision; if there never was one, an empty appliance. */
    async boot(): Promise<InForce> {
      const good = options.store.lastGood();
      const base = good ?? { seq: 0, text: EMPTY_TEXT, revision: revisionOf(EMPTY_TEXT) };
      const found = await desire(base.text, base.revision, options);
      // What was good once may not resolve today (a plugin's folder is gone): then nothing is declared until the file is mended.
      const desired = found.desired ?? (await desire(EMPTY_TEXT, revisionOf(EMPTY_TEXT), options)).desired;
      if (desired === null) throw new Error('the empty declaration does not resolve');
      current = { desired, seq: base.seq, text: base.text, file: view({}), lookAgain: null };
      return this.read();
    },
    /** Looks at the file again; the same object comes back when nothing about it changed. */
    async read(): Promise<InForce> {
      const text = await textOf(options.config);
      if (current === null) throw new Error('nothing is in force yet');
      if (text === null) {
        if (lastSeen === null && current.file.problems.length > 0) return current;
        lastSeen = null;
        return keep({ valid: false, problems: [missing(options.config)] });
      }
      const revision = revisionOf(text);
      if (revision === lastSeen && current.lookAgain === null) return current;
      if (isPrefixOf(text, current.text)) {
        heldSince ??= monotonic_ms();
        if (monotonic_ms() - heldSince < PREFIX_HOLD_MS) {
          lastSeen = revision;
          return keep({ valid: false, problems: [truncated()] }, heldSince + PREFIX_HOLD_MS);
        }
      }
      heldSince = null;
      if (revision === current.desired.revision) {
        lastSeen = revision;
        return keep({ problems: [] });
      }
      return accept(text, revision);
    },
  };
}

const isPrefixOf = (text: string, inForce: string): boolean => text.length < inForce.length && text.length > 0 && inForce.startsWith(text);

/** Null when there is no file. Other faults of reading are the owner's to see. */
async function textOf(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

const missing = (path: string): Problem =>
  ({ code: 'FileMissing', pointer: '', line: null, column: null, severity: 'error', message: `${path} is not there; the last good revision stays in force.`, hint: 'Put the file back. Nothing is stopped meanwhile.' });

const truncated = (): Problem =>
  ({ code: 'ConfigHeld', pointer: '', line: null, column: null, severity: 'error', message: 'The file ends earlier than the revision in force: it looks half-written and waits 2 s.', hint: 'If the end was cut on purpose, it takes effect by itself after that.' });

export { hasErrors };

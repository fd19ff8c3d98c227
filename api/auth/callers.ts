// Who is behind a call that a plugin answers: while it lasts a name that nobody can guess stands for them, so that the plugin can call on for them.
import { randomBytes } from 'node:crypto';
import type { Snapshot } from '../../reconciler/index.ts';
import type { Identity } from '../access.ts';
import { failure } from '../problem.ts';
import { asPlugin, both, type Somebody } from './somebody.ts';

/** What a plugin is given with each call, and passes on with the calls that it makes to answer it. */
export const CALLER_HEADER = 'x-bkg-caller';
const NAME_BYTES = 24;

type Known = Extract<Identity, { readonly kind: 'somebody' }>;

export type Behind = {
  /** Null: nobody called, the first of the plugins began by itself. */
  readonly identity: Known | null;
  /** The plugins that it has come through since, in turn. */
  readonly through: readonly string[];
  /** Where the somebody is, as far as that is known. */
  readonly address: string | null;
};

/** One run of one plugin. */
export type Caller = { readonly plugin: string; readonly incarnation: string };

export type Callers = ReturnType<typeof openCallers>;

export function openCallers(o: { readonly snapshot: () => Snapshot; readonly again: (identity: Known) => Identity }) {
  const lasting = new Map<string, { readonly behind: Behind; readonly to: Caller }>();

  /** Everybody behind it, each with what they may by themselves now. */
  const everybody = ({ identity, through }: Behind): readonly Somebody[] =>
    [...(identity === null ? [] : [identity.who]), ...through.map((plugin) => asPlugin(plugin, o.snapshot()))];

  /** All of them as one, who may what each of them may. */
  const standing = (behind: Behind): Known => ({ kind: 'somebody', who: everybody(behind).reduce(both), session: behind.identity?.session ?? null });

  return {
    everybody,
    standing,
    /** The same as of now. */
    again(behind: Behind): Identity {
      const identity = behind.identity === null ? null : o.again(behind.identity);
      return identity?.kind === 'nobody' ? identity : standing({ ...behind, identity });
    },
    /** The name for a call that this process answers from now on. `end` it with the call. */
    begin(behind: Behind, to: Caller): { readonly name: string; readonly end: () => void } {
      const name = randomBytes(NAME_BYTES).toString('base64url');
      lasting.set(name, { behind, to });
      return { name, end: () => { lasting.delete(name); } };
    },
    /** For whom a process calls, as of now. Throws a refusal: for a name that stands for nobody, that was given to another process, and for who may no longer. */
    of(name: string, from: Caller): Behind {
      const found = lasting.get(name);
      if (found === undefined || found.to.plugin !== from.plugin || found.to.incarnation !== from.incarnation) {
        throw failure({ status: 401, code: 'CallerUnknown', detail: `${CALLER_HEADER} stands for nobody: the call that ${from.plugin} was given it with is over, or it never was one. Pass it on as it came, while that call lasts; without it ${from.plugin} calls for itself.` });
      }
      const { behind } = found;
      if (behind.identity === null) return behind;
      const identity = o.again(behind.identity);
      if (identity.kind === 'nobody') throw failure(identity.refusal);
      return { ...behind, identity };
    },
  };
}

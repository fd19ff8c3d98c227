// Who asks, and what they may: looked up anew for every request in the people that are in force.
import type { DesiredKey, Snapshot } from '../../reconciler/index.ts';
import { allows, holds, EVERYTHING, ROLES } from '../../schema/scopes.ts';
import type { Refusal } from '../problem.ts';

export type Somebody = {
  /** owner: holds the admin token, on this machine. */
  readonly kind: 'owner' | 'user' | 'key' | 'plugin';
  /** `admin.token`, `anna`, `key ci`, `plugin mine`: for audit and usage. */
  readonly name: string;
  readonly user: string | null;
  readonly key: DesiredKey | null;
  /** Every one of these must hold a scope. */
  readonly grants: readonly (readonly string[])[];
  /** Null: all of them. */
  readonly plugins: readonly string[] | null;
};

export const OWNER: Somebody = { kind: 'owner', name: 'admin.token', user: null, key: null, grants: [[EVERYTHING]], plugins: null };

/** Who has brought nothing, or nothing that is still good. */
export const NOBODY: Somebody = { kind: 'user', name: 'nobody', user: null, key: null, grants: [[]], plugins: [] };

/** Whether they may use one right or one capability. */
export const may = (who: Somebody, scope: string): boolean => who.grants.every((granted) => allows(granted, scope));

/** Whether they hold all that a scope may stand for: nobody gives more than they have. */
export const mayGive = (who: Somebody, scope: string): boolean => who.grants.every((granted) => holds(granted, scope));

export const reaches = (who: Somebody, plugin: string): boolean => who.plugins === null || who.plugins.includes(plugin);

/** Of two who are both behind a call: what both may. The name is the first's. */
export const both = (one: Somebody, other: Somebody): Somebody => ({
  ...one, grants: [...one.grants, ...other.grants],
  plugins: one.plugins === null ? other.plugins : other.plugins === null ? one.plugins : one.plugins.filter((plugin) => other.plugins!.includes(plugin)),
});

/** A plugin by itself: what its owner has granted it, less what the key it is bound to may not. A key that is not there, or over, may nothing. */
export function asPlugin(plugin: string, snapshot: Snapshot, now = Date.now()): Somebody {
  const grants = snapshot.routes.find((route) => route.plugin === plugin)?.grants ?? [];
  const own: Somebody = { kind: 'plugin', name: `plugin ${plugin}`, user: null, key: null, grants: [grants], plugins: null };
  const bound = snapshot.desired.plugins.find(({ id }) => id === plugin)?.key ?? null;
  if (bound === null) return own;
  const key = snapshot.desired.keys.find(({ id }) => id === bound);
  const user = snapshot.desired.users.find(({ name }) => name === key?.user);
  if (key === undefined || user === undefined || (key.expires !== null && key.expires <= now)) return { ...own, grants: [[]] };
  return { ...own, key, grants: [grants, ROLES[user.role], key.scopes, ...key.within], plugins: key.plugins };
}

export type Directory = {
  readonly user: (name: string) => Somebody | null;
  /** Null where there is none, or its user is none. */
  readonly key: (id: string) => { readonly key: DesiredKey; readonly who: Somebody } | null;
};

/** Look-ups by name, made once for the people in force. */
export function directories(snapshot: () => Snapshot): () => Directory {
  let of: Snapshot['desired'] | null = null;
  let made: Directory | null = null;
  return () => {
    const { desired } = snapshot();
    if (made === null || of?.users !== desired.users || of.keys !== desired.keys) {
      of = desired;
      made = directoryOf(desired);
    }
    return made;
  };
}

function directoryOf({ users, keys }: Snapshot['desired']): Directory {
  const people = new Map(users.map((user): [string, Somebody] => [user.name, { kind: 'user', name: user.name, user: user.name, key: null, grants: [ROLES[user.role]], plugins: null }]));
  const owned = new Map(keys.flatMap((key): readonly [string, { readonly key: DesiredKey; readonly who: Somebody }][] => {
    const user = people.get(key.user);
    return user === undefined ? [] : [[key.id, { key, who: { kind: 'key', name: `key ${key.id}`, user: key.user, key, grants: [...user.grants, key.scopes, ...key.within], plugins: key.plugins } }]];
  }));
  return { user: (name) => people.get(name) ?? null, key: (id) => owned.get(id) ?? null };
}

const PEOPLE = ['users', 'keys'] as const;

/** Sections of bkg.yaml that somebody may not see. */
export const hiddenFrom = (who: Somebody): readonly string[] => PEOPLE.filter((section) => !may(who, `${section}.read`));

/** What somebody is refused with who lacks a right. */
export const lacking = (who: Somebody, scope: string): Refusal => ({
  status: 403, code: 'ScopeMissing', detail: `This needs the scope ${scope}, which ${who.name} does not have.`, more: { scope },
});

export const outOfReach = (who: Somebody, plugin: string): Refusal => ({
  status: 403, code: 'PluginNotAssigned', detail: `${who.name} may reach ${who.plugins?.length === 0 ? 'no plugin' : `only ${who.plugins?.join(', ')}`}, not ${plugin}.`, more: { plugin },
});

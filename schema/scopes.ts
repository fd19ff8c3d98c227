// Who may do what, in one table: the rights, what each role has of them, and when one scope holds another.

/** Control rights. Every other scope is the id of a capability (llm.chat), all of a kind (repo.*), all capabilities, or everything (*). */
export const RIGHTS = {
  'config.read': 'See what is declared and what runs: status, plan, drift, events, logs, history. Secrets stay masked.',
  'config.write': 'Edit what no other right is about: limits, needs, restarts, drift policies.',
  'plugins.control': 'Start, stop and restart plugins, set their settings and models, add bundled ones and remove them.',
  'models.read': 'See models and their progress.',
  'models.write': 'Declare, download, check and remove models.',
  'documents.read': 'Read what is stored in collections.',
  'documents.write': 'Store in collections, and delete there.',
  'analytics.read': 'See the usage of everybody.',
  'analytics.write': 'Forget recorded usage.',
  'users.read': 'See who may sign in.',
  'users.write': 'Add, change and remove people, never beyond the own rights.',
  'keys.read': 'See API keys, without their secrets.',
  'keys.write': 'Make, change and revoke API keys, never beyond the own rights.',
  'audit.read': 'Read the audit log.',
} as const;

export type Right = keyof typeof RIGHTS;
export type Role = 'admin' | 'developer' | 'readonly';

/** Everything; what runs code or reads secrets (manifests, env, new references, the server's own settings) asks for it. */
export const EVERYTHING = '*';
/** Every capability of every plugin, and no right. */
export const CAPABILITIES = 'capability.*';
/** Capabilities that begin with it are bkg's own, answered on the bus by bkg itself; no plugin may offer one. */
export const HOUSE = 'house.';

export const ROLES: Readonly<Record<Role, readonly string[]>> = {
  admin: [EVERYTHING],
  developer: ['config.read', 'config.write', 'plugins.control', 'models.read', 'models.write', 'documents.read', 'documents.write', 'analytics.read', 'keys.read', 'keys.write', CAPABILITIES],
  readonly: ['config.read', 'models.read', 'documents.read', 'analytics.read', 'llm.*'],
};

const RIGHT_NAMES = Object.keys(RIGHTS);

const isRight = (scope: string): boolean => Object.hasOwn(RIGHTS, scope);
export const isPattern = (scope: string): boolean => scope.endsWith('*');

/** Whether a scope as it is granted holds one right or one capability. `repo.*` holds every one that begins with `repo.`. */
export function covers(granted: string, wanted: string): boolean {
  if (granted === EVERYTHING || granted === wanted) return true;
  if (granted === CAPABILITIES) return !isRight(wanted) && !isPattern(wanted);
  return granted.endsWith('.*') && wanted.startsWith(granted.slice(0, -1));
}

/** Whether what is granted holds one right or one capability. */
export const allows = (granted: readonly string[], wanted: string): boolean => granted.some((scope) => covers(scope, wanted));

/** Whether what is granted holds all that a scope may stand for, be it a pattern. */
export function holds(granted: readonly string[], wanted: string): boolean {
  if (!isPattern(wanted)) return allows(granted, wanted);
  if (granted.includes(EVERYTHING)) return true;
  if (wanted === EVERYTHING) return false;
  // A pattern is made of the rights it matches and of the capabilities it matches, which nobody can count.
  const rights = wanted === CAPABILITIES ? [] : RIGHT_NAMES.filter((right) => covers(wanted, right));
  return rights.every((right) => allows(granted, right)) && granted.some((scope) => scope === CAPABILITIES || covers(scope, wanted));
}

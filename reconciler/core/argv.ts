// Argv templates: finds their placeholders, and fills them in when a process is about to start.
import type { ArgvTemplate, Json, JsonObject } from './types.ts';

export type ArgvValues = {
  readonly port: number | null;
  /** The plugin's own folder. */
  readonly data: string | null;
  /** Path and declared name per role; null or absent: nothing fills it. */
  readonly models: Readonly<Record<string, { readonly path: string; readonly name: string } | null>>;
  readonly config: JsonObject;
};

// {{port}} is how the text {port} itself is written.
const pattern = /\{\{([A-Za-z][\w.-]*)\}\}|\{([A-Za-z][\w.-]*)\}/g;

/** Names of the placeholders in one argument. */
function namesIn(argument: string): readonly string[] {
  return [...argument.matchAll(pattern)].flatMap((match) => (match[2] === undefined ? [] : [match[2]]));
}

export type Placeholder = { readonly name: string; readonly inGroup: boolean; readonly path: readonly number[] };

// By identity: a thousand instances share one template.
const found = new WeakMap<ArgvTemplate, readonly Placeholder[]>();

/** Every placeholder of a template, with its place. */
export function placeholdersOf(run: ArgvTemplate): readonly Placeholder[] {
  let list = found.get(run);
  if (list === undefined) found.set(run, (list = search(run)));
  return list;
}

function search(run: ArgvTemplate): readonly Placeholder[] {
  return run.flatMap((part, index): readonly Placeholder[] =>
    typeof part === 'string'
      ? namesIn(part).map((name) => ({ name, inGroup: false, path: [index] }))
      : part.flatMap((argument, inner) => namesIn(argument).map((name) => ({ name, inGroup: true, path: [index, inner] }))),
  );
}

/** Whether a name belongs to the closed set, given the roles the manifest names. */
export function isKnownPlaceholder(name: string, roles: readonly string[]): boolean {
  if (name === 'port' || name === 'data') return true;
  if (name.startsWith('config.')) return name.length > 'config.'.length;
  if (!name.startsWith('models.')) return false;
  const role = name.slice('models.'.length);
  return roles.includes(role.endsWith('.name') ? role.slice(0, -'.name'.length) : role);
}

/** A setting by its dotted path; undefined where there is none. */
export function configAt(config: JsonObject, path: string): Json | undefined {
  let at: Json | undefined = config;
  for (const key of path.split('.')) {
    if (typeof at !== 'object' || at === null || Array.isArray(at) || !Object.hasOwn(at, key)) return undefined;
    at = (at as JsonObject)[key];
  }
  return at;
}

function valueOf(name: string, values: ArgvValues): string | null {
  if (name === 'port') return values.port === null ? null : String(values.port);
  if (name === 'data') return values.data;
  if (name.startsWith('config.')) {
    const value = configAt(values.config, name.slice('config.'.length));
    if (value === undefined || value === null) return null;
    return typeof value === 'object' ? JSON.stringify(value) : String(value);
  }
  const role = name.startsWith('models.') ? name.slice('models.'.length) : '';
  if (Object.hasOwn(values.models, role)) return values.models[role]?.path ?? null;
  const plain = role.replace(/\.name$/, '');
  return plain !== role && Object.hasOwn(values.models, plain) ? (values.models[plain]?.name ?? null) : null;
}

/** One argument filled in; null when a placeholder of it has no value. */
function fill(argument: string, values: ArgvValues): string | null {
  let missing = false;
  const text = argument.replaceAll(pattern, (_found, literal: string | undefined, name: string | undefined) => {
    if (literal !== undefined) return `{${literal}}`;
    const value = valueOf(name ?? '', values);
    missing ||= value === null;
    return value ?? '';
  });
  return missing ? null : text;
}

/**
 * The argv to run. A nested list is left out whole when one of its placeholders has no value (absent or null; `false`, `0` and
 * the empty text are values). Throws when one outside a group has none: `resolve` lets no such plugin through.
 */
export function substitute(run: ArgvTemplate, values: ArgvValues): readonly string[] {
  const argv: string[] = [];
  for (const part of run) {
    if (typeof part === 'string') {
      const filled = fill(part, values);
      if (filled === null) throw new Error(`no value for a placeholder in ${JSON.stringify(part)}`);
      argv.push(filled);
      continue;
    }
    const group = part.map((argument) => fill(argument, values));
    if (!group.includes(null)) argv.push(...(group as string[]));
  }
  return argv;
}

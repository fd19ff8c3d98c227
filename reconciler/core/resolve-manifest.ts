// A manifest made ready for use: defaults filled in, and everything said that is wrong with it.
import { pointerOf } from '../../schema/pointer.ts';
import { HOUSE } from '../../schema/scopes.ts';
import type { Schema } from '../../schema/walk.ts';
import { manifestWithDefaults, validateManifest } from '../../schema/validate.ts';
import { suggest } from '../../schema/words.ts';
import { isKnownPlaceholder, placeholdersOf } from './argv.ts';
import type { ArgvTemplate, Capability, Limits, Manifest, Problem } from './types.ts';

type Complete<T, K extends keyof T> = T & { readonly [P in K]-?: NonNullable<T[P]> };
type Role = NonNullable<Manifest['models']>[string];
/** A manifest with every default of the schema in place. */
export type FilledManifest = Omit<Complete<Manifest, 'calls' | 'capabilities' | 'config'>, 'models' | 'ready' | 'stop' | 'live'> & {
  readonly models: Readonly<Record<string, Complete<Role, 'format' | 'required'>>>;
  readonly ready: Required<NonNullable<Manifest['ready']>>;
  readonly stop: Required<NonNullable<Manifest['stop']>>;
  readonly live?: Required<NonNullable<Manifest['live']>>;
};

export type ReadManifest = {
  /** Null when the manifest is not valid. */
  readonly manifest: FilledManifest | null;
  /** Pointers are into the manifest. */
  readonly problems: readonly Problem[];
};

const mistake = (code: string, pointer: string, message: string, hint: string | null): Problem => ({
  code,
  pointer,
  line: null,
  column: null,
  message,
  hint,
  severity: 'error',
});

function checkPlaceholders(manifest: FilledManifest): readonly Problem[] {
  const roles = Object.keys(manifest.models);
  const properties = (manifest.config['properties'] ?? {}) as Schema;
  const closed = manifest.config['additionalProperties'] === false;
  const names = ['port', 'data', ...roles.map((role) => `models.${role}`), ...Object.keys(properties).map((key) => `config.${key}`)];
  return placeholdersOf(manifest.run as ArgvTemplate).flatMap(({ name, path }) => {
    const setting = name.startsWith('config.') ? (name.split('.')[1] ?? '') : null;
    if (isKnownPlaceholder(name, roles) && (setting === null || !closed || Object.hasOwn(properties, setting))) return [];
    return [
      mistake(
        'UnknownPlaceholder',
        pointerOf(['run', ...path]),
        `The command has the placeholder {${name}}, which stands for nothing.`,
        `${suggest(name, names, 'There are') ?? ''} For the text itself write {{${name}}}.`.trim(),
      ),
    ];
  });
}

function checkServes(manifest: FilledManifest): readonly Problem[] {
  const ids = Object.keys(manifest.capabilities);
  return Object.entries(manifest.models).flatMap(([role, about]) =>
    (about.serves ?? []).flatMap((id, index) =>
      ids.includes(id)
        ? []
        : [
            mistake(
              'UnknownCapability',
              pointerOf(['models', role, 'serves', index]),
              `Role ${role} serves ${JSON.stringify(id)}, which is no capability of this plugin.`,
              suggest(id, ids, 'It has'),
            ),
          ],
    ),
  );
}

/** Who calls one of these must be sure that bkg answers. */
function checkReserved(manifest: FilledManifest): readonly Problem[] {
  return Object.keys(manifest.capabilities).flatMap((id) =>
    id.startsWith(HOUSE)
      ? [mistake('ReservedName', pointerOf(['capabilities', id]), `The capability ${id} cannot be offered: bkg itself answers everything that begins with ${HOUSE}`, 'Choose another name.')]
      : [],
  );
}

// By identity: a thousand instances share a manifest, and an unchanged one is handed in again with every edit.
const read = new WeakMap<Manifest, ReadManifest>();

/** Checks a manifest and fills its defaults in; remembers the answer for the object. */
export function readManifest(manifest: Manifest): ReadManifest {
  const known = read.get(manifest);
  if (known !== undefined) return known;
  const filled = manifestWithDefaults(manifest) as unknown as FilledManifest;
  let problems = validateManifest(filled);
  if (problems.length === 0) problems = [...checkPlaceholders(filled), ...checkServes(filled), ...checkReserved(filled)];
  const result: ReadManifest = { manifest: problems.length === 0 ? filled : null, problems };
  read.set(manifest, result);
  return result;
}

/** Limits as the rest of the house knows them. */
export function limitsOf(limits: { readonly requestsPerMinute?: number; readonly concurrent?: number } | undefined): Limits {
  return { requestsPerMinute: limits?.requestsPerMinute ?? null, concurrent: limits?.concurrent ?? null };
}

/** The capabilities of a manifest; `limits` are the instance's own, which win. */
export function capabilitiesOf(
  manifest: FilledManifest,
  limits: Readonly<Record<string, { readonly requestsPerMinute?: number; readonly concurrent?: number }>>,
): readonly Capability[] {
  return Object.entries(manifest.capabilities).map(([id, about]) => {
    const [method = 'POST', path = '/'] = about.http.split(' ');
    return {
      id,
      method,
      path,
      description: about.description ?? '',
      stream: about.stream ?? false,
      input: (about.input ?? null) as Capability['input'],
      output: (about.output ?? null) as Capability['output'],
      limits: limitsOf({ ...about.limits, ...(Object.hasOwn(limits, id) ? limits[id] : {}) }),
    };
  });
}

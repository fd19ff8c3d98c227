// The composed schema: bkg.schema.json with the settings and roles of every declared plugin in it, for editors and forms.
import type { Manifest } from './plugin.gen.ts';
import { type Schema, declaredSchema, manifestSchema } from './walk.ts';
import { escapeToken } from './pointer.ts';

type Open = { [keyword: string]: unknown };

export type ComposeOptions = {
  /** Also allow `${env:NAME}` wherever a scalar stands: for editors, who see the raw text. Forms do without. */
  readonly references?: boolean;
  /** What no manifest calls harmless is secret: for texts of other days, whose plugins may be others today, or gone (null). */
  readonly guarded?: boolean;
};

const isObject = (value: unknown): value is Open => typeof value === 'object' && value !== null && !Array.isArray(value);

/** Keywords whose members are schemas by name. */
const maps = new Set(['properties', 'patternProperties', 'definitions', '$defs', 'dependencies']);
/** Keywords that hold a schema, or a list of them. */
const parts = new Set([
  'additionalProperties',
  'items',
  'additionalItems',
  'contains',
  'not',
  'if',
  'then',
  'else',
  'allOf',
  'anyOf',
  'oneOf',
]);

/** A copy with `change` applied to every schema in it, innermost first. */
function mapSchema(schema: unknown, change: (schema: Open) => Open): unknown {
  if (Array.isArray(schema)) return schema.map((item) => mapSchema(item, change));
  if (!isObject(schema)) return schema;
  const copy: Open = {};
  for (const [keyword, value] of Object.entries(schema)) {
    if (maps.has(keyword) && isObject(value))
      copy[keyword] = Object.fromEntries(Object.entries(value).map(([name, part]) => [name, mapSchema(part, change)]));
    else copy[keyword] = parts.has(keyword) ? mapSchema(value, change) : value;
  }
  return change(copy);
}

const redirect = (schema: unknown, from: RegExp, to: string): unknown =>
  mapSchema(schema, (part) => (typeof part['$ref'] === 'string' ? { ...part, $ref: part['$ref'].replace(from, to) } : part));

/** A plugin's own schema as a part of another document: its references to itself must point to its new place. */
function embedded(schema: Schema, pointer: string): Open {
  const { $id: _id, $schema: _dialect, ...plain } = schema;
  return redirect(plain, /^#/, `#${pointer}`) as Open;
}

const reference = { type: 'string', pattern: '\\$\\{env:' };
const scalars: ReadonlySet<unknown> = new Set(['integer', 'number', 'boolean', 'string']);
const annotations = ['title', 'description', 'default', 'x-apply', 'x-secret'];

/** Scalars that a reference would not pass as it stands. */
const refusesReference = (schema: Open): boolean =>
  'enum' in schema || 'pattern' in schema || 'maxLength' in schema || (scalars.has(schema['type']) && schema['type'] !== 'string');

function allowReference(schema: Open): Open {
  if (!refusesReference(schema)) return schema;
  const kept = Object.fromEntries(Object.entries(schema).filter(([keyword]) => annotations.includes(keyword)));
  const rule = Object.fromEntries(Object.entries(schema).filter(([keyword]) => !annotations.includes(keyword)));
  return { ...kept, anyOf: [rule, reference] };
}

/** Secret but for the settings that it names and does not call so. What stands elsewhere is not looked into. */
function guardedSettings(schema: Open): Open {
  if ('$ref' in schema) return schema;
  if (!isObject(schema['properties'])) return 'x-secret' in schema ? schema : { ...schema, 'x-secret': false };
  const properties = Object.fromEntries(Object.entries(schema['properties']).map(([name, part]) => [name, isObject(part) ? guardedSettings(part) : part]));
  return { 'x-secret': true, ...schema, properties };
}

function instanceSchema(manifest: Manifest, pointer: string, { guarded = false }: ComposeOptions): Open {
  const plugin = (declaredSchema['definitions'] as Open)['plugin'] as Open;
  const properties = plugin['properties'] as Open;
  const models = properties['models'] as Open;
  const settings = manifest.config ?? { type: 'object', additionalProperties: false };
  const roles = Object.entries(manifest.models ?? {}).map(([role, about]) => [
    role,
    {
      $ref: '#/definitions/name',
      description:
        [about.description, about.format && about.format !== 'any' ? `(${about.format})` : null, about.required ? 'Required.' : null]
          .filter(Boolean)
          .join(' ') || `Model for ${role}.`,
    },
  ]);
  const required = Object.entries(manifest.models ?? {})
    .filter(([, about]) => about.required)
    .map(([role]) => role);
  const { additionalProperties: _any, ...modelsRest } = models;
  return {
    ...plugin,
    ...(manifest.description === undefined ? {} : { description: manifest.description }),
    properties: {
      ...properties,
      models: {
        ...modelsRest,
        properties: Object.fromEntries(roles),
        additionalProperties: false,
        ...(required.length > 0 ? { required } : {}),
      },
      config: {
        description: (properties['config'] as Open)['description'],
        default: {},
        'x-apply': 'restart',
        ...(guarded ? guardedSettings(embedded(settings, `${pointer}/properties/config`)) : embedded(settings, `${pointer}/properties/config`)),
      },
    },
  };
}

/**
 * Base schema plus, for each declared plugin, the schema of its `config` and its model roles
 * (`properties.plugins.properties.<id>.properties.config`). Draft-07, one document without outside references.
 */
export function composedSchema(manifests: Readonly<Record<string, Manifest | null>>, options: ComposeOptions = {}): Schema {
  const base = structuredClone(declaredSchema) as Open;
  const definitions = base['definitions'] as Open;
  const { $id: _id, $schema: _dialect, ...manifest } = manifestSchema;
  definitions['manifest'] = redirect(manifest, /^bkg\.schema\.json#/, '#');
  ((definitions['plugin'] as Open)['properties'] as Open)['manifest'] = { $ref: '#/definitions/manifest', 'x-apply': 'restart' };
  const plugins = (base['properties'] as Open)['plugins'] as Open;
  if (options.guarded === true) ((definitions['plugin'] as Open)['properties'] as Open)['config'] = { type: 'object', 'x-secret': true };
  plugins['properties'] = Object.fromEntries(
    Object.entries(manifests).flatMap(([id, about]) => (about === null ? [] : [[id, instanceSchema(about, `/properties/plugins/properties/${escapeToken(id)}`, options)]])),
  );
  base['$id'] = 'bkg.composed.schema.json';
  return options.references === true ? withReferences(base) : base;
}

/** Named scalars (`definitions/name`) also rule property names, where a reference has no place: those keep a strict copy. */
function withReferences(base: Open): Open {
  const strict = structuredClone((base['definitions'] as Open)['name']);
  const open = mapSchema(base, allowReference) as Open;
  (open['definitions'] as Open)['strictName'] = strict;
  return mapSchema(open, (part) =>
    'propertyNames' in part && (part['propertyNames'] as Open)['$ref'] === '#/definitions/name'
      ? { ...part, propertyNames: { $ref: '#/definitions/strictName' } }
      : part,
  ) as Open;
}

// Follows a pointer through a JSON Schema: what a place may hold, whether it is secret, what a change there costs.
import base from './bkg.schema.json' with { type: 'json' };
import manifest from './plugin.schema.json' with { type: 'json' };
import wire from './wire.schema.json' with { type: 'json' };
import { escapeToken, tokensOf } from './pointer.ts';
import { isLiteral, isReference, secrecyOf, type Secrecy } from './secret.ts';

/** A JSON Schema, or a part of one. */
export type Schema = { readonly [keyword: string]: unknown };
export type ScalarType = 'integer' | 'number' | 'boolean' | 'string';

/** What stands in place of a secret. */
export const MASK = '***';

/** The schemas of the house by their `$id`. */
export const schemas: Readonly<Record<string, Schema>> = {
  'bkg.schema.json': base as Schema,
  'plugin.schema.json': manifest as Schema,
  'wire.schema.json': wire as Schema,
};
export const declaredSchema: Schema = base as Schema;
export const manifestSchema: Schema = manifest as Schema;

/** A chain of `$ref`s longer than this goes in a circle. */
const REFS_MAX = 32;

const isSchema = (value: unknown): value is Schema => typeof value === 'object' && value !== null && !Array.isArray(value);

// Following a reference makes a merged copy; held so that the walk over 1,000 plugins makes it once. Weak: plugins' schemas go.
const followed = new WeakMap<Schema, { readonly root: Schema; readonly target: Schema }>();

/** The schema behind `$ref`, with the keywords beside the reference laid over it; itself where there is none. */
export function deref(schema: Schema, root: Schema): Schema {
  const known = followed.get(schema);
  if (known?.root === root) return known.target;
  let at = schema;
  let home = root;
  for (let step = 0; typeof at['$ref'] === 'string'; step++) {
    const { $ref: reference, ...beside } = at as Schema & { readonly $ref: string };
    const [file = '', fragment = ''] = reference.split('#');
    home = file === '' ? home : (schemas[file] ?? home);
    let target: unknown = home;
    for (const token of tokensOf(decodeURIComponent(fragment))) target = isSchema(target) ? target[token] : undefined;
    if (!isSchema(target) || step >= REFS_MAX) return beside;
    at = { ...target, ...beside };
  }
  if (at !== schema) followed.set(schema, { root, target: at });
  return at;
}

/** A schema that stands for itself: what it refers to is written out in it. For schemas that go in no circle. */
export function inlined(schema: Schema, root: Schema = declaredSchema): Schema {
  const written = (value: unknown): unknown => (Array.isArray(value) ? value.map(written) : isSchema(value) ? Object.fromEntries(Object.entries(deref(value, root)).map(([key, part]) => [key, written(part)])) : value);
  return written(schema) as Schema;
}

/** The schema of one member of an object or list; null where the schema says nothing of it. `schema` must be dereferenced. */
export function childSchema(schema: Schema, key: string, root: Schema): Schema | null {
  const properties = schema['properties'];
  const own = isSchema(properties) && Object.hasOwn(properties, key) ? properties[key] : undefined;
  if (isSchema(own)) return deref(own, root);
  const { items } = schema;
  if (isSchema(items) && /^[0-9]+$/.test(key)) return deref(items, root);
  const patterns = schema['patternProperties'];
  if (isSchema(patterns)) {
    for (const [pattern, part] of Object.entries(patterns))
      if (isSchema(part) && new RegExp(pattern, 'u').test(key)) return deref(part, root);
  }
  const rest = schema['additionalProperties'];
  return isSchema(rest) ? deref(rest, root) : null;
}

/** The schemas from the root down to the pointer, dereferenced; null where the path leaves the schema. */
function pathTo(pointer: string, root: Schema): readonly (Schema | null)[] {
  const path: (Schema | null)[] = [deref(root, root)];
  for (const token of tokensOf(pointer)) {
    const above = path.at(-1) ?? null;
    path.push(above === null ? null : childSchema(above, token, root));
  }
  return path;
}

/** The value of a keyword at the pointer, or of the nearest ancestor that has it. */
function nearest(pointer: string, keyword: string, root: Schema): unknown {
  return pathTo(pointer, root).findLast((schema) => schema !== null && keyword in schema)?.[keyword];
}

/** The schema of the place; null where the schema says nothing of it. */
export function schemaAt(pointer: string, root: Schema = declaredSchema): Schema | null {
  return pathTo(pointer, root).at(-1) ?? null;
}

/** What holds at the place, by its mark `x-secret` or that of what it stands in. */
export function secrecyAt(pointer: string, root: Schema = declaredSchema): Secrecy {
  const keys = ['', ...tokensOf(pointer)];
  let secrecy: Secrecy = { masked: false, guarded: false, below: false };
  for (const [index, schema] of pathTo(pointer, root).entries()) secrecy = secrecyOf(schema, keys[index] ?? '', secrecy.below);
  return secrecy;
}

/** Whether what stands at the place is never shown. */
export const isSecret = (pointer: string, root: Schema = declaredSchema): boolean => secrecyAt(pointer, root).masked;

/** What a change there needs: nothing (`live`) or a new process (`restart`); null where nothing is marked. */
export function applyOf(pointer: string, root: Schema = declaredSchema): 'live' | 'restart' | null {
  const mark = nearest(pointer, 'x-apply', root);
  return mark === 'live' || mark === 'restart' ? mark : null;
}

/** The scalar type a dereferenced schema asks for; null where several fit or none is named. */
export function scalarTypeOf(schema: Schema | null): ScalarType | null {
  if (schema === null) return null;
  const named = (Array.isArray(schema['type']) ? schema['type'] : [schema['type']]).filter((type) => type !== 'null') as unknown[];
  const [only] = named;
  if (named.length === 1 && (only === 'integer' || only === 'number' || only === 'boolean' || only === 'string')) return only;
  const values = 'const' in schema ? [schema['const']] : Array.isArray(schema['enum']) ? (schema['enum'] as unknown[]) : [];
  const types = new Set(values.map((value) => (Number.isInteger(value) ? 'integer' : typeof value)));
  const [type] = types;
  return types.size === 1 && (type === 'integer' || type === 'number' || type === 'boolean' || type === 'string') ? type : null;
}

/** The scalar type the place asks for; null where it is no scalar or several fit. */
export function scalarTypeAt(pointer: string, root: Schema = declaredSchema): ScalarType | null {
  return scalarTypeOf(schemaAt(pointer, root));
}

/** A copy with every secret masked, by schema, never by its value. References stay: they are no secrets. */
export function redact<T>(value: T, root: Schema = declaredSchema): T {
  const visit = (at: unknown, schema: Schema | null, above: boolean, key: string): unknown => {
    const { masked, below } = secrecyOf(schema, key, above);
    const member = (item: unknown, name: string): unknown => visit(item, schema && childSchema(schema, name, root), below, name);
    if (Array.isArray(at)) return at.map((item, index) => member(item, String(index)));
    if (typeof at === 'object' && at !== null) return Object.fromEntries(Object.entries(at).map(([name, item]) => [name, member(item, name)]));
    return !masked || at === null || isReference(at) ? at : MASK;
  };
  return visit(value, deref(root, root), false, '') as T;
}

/** Pointers below `at` of the places of a value where a secret stands in plain text. `schema` is the value's own. */
export function* literalSecrets(value: unknown, schema: Schema | null, o: { readonly root: Schema; readonly at: string; readonly above?: boolean }): Generator<string> {
  const { guarded, below } = secrecyOf(schema, tokensOf(o.at).at(-1) ?? '', o.above ?? false);
  if (typeof value === 'object' && value !== null) {
    for (const [key, item] of Object.entries(value)) {
      yield* literalSecrets(item, schema && childSchema(schema, key, o.root), { root: o.root, at: `${o.at}/${escapeToken(key)}`, above: below });
    }
  } else if (guarded && isLiteral(value)) yield o.at;
}

type Default = { readonly key: string; readonly value: unknown };
const defaults = new WeakMap<Schema, { readonly root: Schema; readonly list: readonly Default[] }>();

/** The defaults an object of this schema gets, complete down to the leaves. Made once, frozen, since every object shares them. */
function defaultsOf(schema: Schema, root: Schema): readonly Default[] {
  const known = defaults.get(schema);
  if (known?.root === root) return known.list;
  const list: Default[] = [];
  for (const [key, part] of Object.entries(isSchema(schema['properties']) ? schema['properties'] : {})) {
    if (!isSchema(part)) continue;
    const about = deref(part, root);
    if ('default' in about) list.push({ key, value: frozen(fill(about['default'], about, root)) });
  }
  defaults.set(schema, { root, list });
  return list;
}

function frozen(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  // A copy, for a default comes out of the schema, which is not ours to freeze.
  return Object.freeze(
    Array.isArray(value) ? value.map(frozen) : Object.fromEntries(Object.entries(value).map(([key, item]) => [key, frozen(item)])),
  );
}

function fill(at: unknown, schema: Schema | null, root: Schema): unknown {
  if (schema === null) return at;
  if (at === null && schema['type'] === 'object') at = {};
  if (Array.isArray(at))
    return isSchema(schema['items']) ? at.map((item, index) => fill(item, childSchema(schema, String(index), root), root)) : at;
  if (!isSchema(at)) return at;
  const filled: Record<string, unknown> = {};
  for (const key of Object.keys(at)) put(filled, key, fill(at[key], childSchema(schema, key, root), root));
  for (const { key, value } of defaultsOf(schema, root)) if (!Object.hasOwn(filled, key)) put(filled, key, value);
  return filled;
}

/**
 * A copy with the schema's defaults filled in. A map left empty (`keys:` alone) counts as `{}`. Defaults are shared and frozen,
 * and what needs none is not copied: the result is not to be changed.
 */
export function fillDefaults<T>(value: T, root: Schema): T {
  return fill(value, deref(root, root), root) as T;
}

// `__proto__` as a plain key of the file must stay data.
function put(target: Record<string, unknown>, key: string, value: unknown): void {
  if (key === '__proto__') Object.defineProperty(target, key, { value, enumerable: true, configurable: true, writable: true });
  else target[key] = value;
}

// The one validator: declared state, manifests, settings and wire shapes against their schemas; mistakes come back as Problems.
import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv';
import type { Declared, Model, Plugin } from './bkg.gen.ts';
import { escapeToken } from './pointer.ts';
import type { Problem } from './problem.ts';
import { type Schema, declaredSchema, fillDefaults, isSecret, manifestSchema, schemas } from './walk.ts';
import { problemsOf } from './words.ts';

/** More problems than this of one document help nobody, and each costs memory. */
const FINDINGS_MAX = 500;
/** Compiled settings schemas kept: a thousand instances usually share a handful; each holds some 20 KB. */
const COMPILED_MAX = 256;

type Filled<T, K extends keyof T> = T & { readonly [P in K]-?: NonNullable<T[P]> };
export type FilledPlugin = Filled<Plugin, 'state' | 'idle' | 'models' | 'config' | 'env' | 'needs' | 'grants'> & {
  readonly limits: Filled<NonNullable<Plugin['limits']>, 'timeout' | 'capabilities'>;
  readonly restart: Filled<NonNullable<Plugin['restart']>, 'first' | 'max'>;
};
/** Declared with every default of the schema in place. */
export type FilledDeclared = Filled<Declared, 'drift' | 'users' | 'keys'> & {
  readonly server: {
    readonly host: string;
    readonly names: readonly string[];
    readonly tls?: { readonly cert: string; readonly key: string };
    readonly cors?: { readonly origins: readonly string[] };
    readonly ports: { readonly web: number; readonly api: number; readonly bus: number };
    readonly rateLimit: { readonly requestsPerMinute: number };
  };
  readonly downloads: Filled<NonNullable<Declared['downloads']>, 'connections' | 'verifyEvery'>;
  readonly models: Readonly<Record<string, Filled<Model, 'state'>>>;
  readonly plugins: Readonly<Record<string, FilledPlugin>>;
};

export type ValidateOptions = {
  /** Places whose value must not be shown (it came out of the environment, say). Secret fields are never shown. */
  readonly hidden?: (pointer: string) => boolean;
};

let shared: Ajv | null = null;

/** Made at the first use: a CLI call that validates nothing should not pay for it. */
function validator(): Ajv {
  if (shared !== null) return shared;
  // Not strict: settings schemas are written by plugin authors, and a keyword of theirs that is unknown here is no mistake.
  shared = new Ajv({
    allErrors: true,
    verbose: true,
    strict: false,
    discriminator: true,
    validateFormats: false,
    logger: false,
    addUsedSchema: false,
  });
  shared.addVocabulary(['x-apply', 'x-secret', 'tsType']);
  for (const schema of Object.values(schemas)) shared.addSchema(schema);
  return shared;
}

function run(check: ValidateFunction, value: unknown): readonly ErrorObject[] {
  if (check(value)) return [];
  const found = (check.errors ?? []).slice(0, FINDINGS_MAX);
  check.errors = null; // the verbose errors hold on to the whole document
  return found;
}

function compiled(reference: string): ValidateFunction {
  const check = validator().getSchema(reference);
  if (check === undefined) throw new Error(`no schema ${reference}`);
  return check;
}

/** Mistakes in a declared state (references already resolved). Whole-document defaults are not needed for it. */
export function validateDeclared(value: unknown, options: ValidateOptions = {}): readonly Problem[] {
  const secret = (pointer: string): boolean => isSecret(pointer) || (options.hidden?.(pointer) ?? false);
  return problemsOf(run(compiled('bkg.schema.json'), value), { prefix: '', secret });
}

/** Mistakes in a manifest. `prefix` is where an inline one stands in bkg.yaml; empty for a plugin.yaml. */
export function validateManifest(value: unknown, prefix = '', options: ValidateOptions = {}): readonly Problem[] {
  const secret = (pointer: string): boolean => options.hidden?.(pointer) ?? false;
  const found = problemsOf(run(compiled('plugin.schema.json'), value), { prefix, secret });
  if (found.length > 0) return found;
  const manifest = value as {
    readonly config?: Schema;
    readonly capabilities?: Readonly<Record<string, { readonly input?: Schema; readonly output?: Schema }>>;
  };
  const problems: Problem[] = [];
  const check = (schema: Schema | undefined, pointer: string): void => {
    const broken = schema === undefined ? null : compileSettings(schema);
    if (typeof broken === 'string') problems.push(brokenSchema(pointer, broken));
  };
  check(manifest.config, `${prefix}/config`);
  for (const [id, capability] of Object.entries(manifest.capabilities ?? {})) {
    const at = `${prefix}/capabilities/${escapeToken(id)}`;
    check(capability.input, `${at}/input`);
    check(capability.output, `${at}/output`);
  }
  return problems;
}

const brokenSchema = (pointer: string, why: string): Problem => ({
  code: 'BrokenSchema',
  pointer,
  line: null,
  column: null,
  severity: 'error',
  message: `This is no JSON Schema (draft-07) that can be used: ${why}.`,
  hint: 'Mend the schema in the manifest.',
});

// Twice by the text of the schema, once by its identity: a manifest read again is another object of the same text.
const byText = new Map<string, ValidateFunction | string>();
const byIdentity = new WeakMap<Schema, ValidateFunction | string>();

/** The compiled schema, or why it cannot be compiled. */
function compileSettings(schema: Schema): ValidateFunction | string {
  const known = byIdentity.get(schema);
  if (known !== undefined) return known;
  const text = JSON.stringify(schema);
  let made = byText.get(text);
  if (made === undefined) {
    // Its own $id must not meet another's, and ajv must not remember it for ever.
    const { $id: _id, $schema: _dialect, ...plain } = schema;
    const ajv = validator();
    try {
      made = ajv.validateSchema(plain) === true ? ajv.compile(plain) : ajv.errorsText(ajv.errors, { dataVar: 'schema' });
    } catch (error) {
      made = error instanceof Error ? error.message : String(error);
    }
    ajv.removeSchema(plain);
    byText.set(text, made);
    if (byText.size > COMPILED_MAX) byText.delete(byText.keys().next().value as string);
  }
  byIdentity.set(schema, made);
  return made;
}

/** Mistakes in any value against a schema that came with a plugin (settings, a capability's input). */
export function validateConfig(schema: Schema, value: unknown, pointerPrefix: string, options: ValidateOptions = {}): readonly Problem[] {
  const check = compileSettings(schema);
  if (typeof check === 'string') return [brokenSchema(pointerPrefix, check)];
  const found = run(check, value);
  if (found.length === 0) return [];
  const secret = (pointer: string): boolean =>
    isSecret(pointer.slice(pointerPrefix.length), schema) || (options.hidden?.(pointer) ?? false);
  return problemsOf(found, { prefix: pointerPrefix, secret, whole: 'The input' });
}

/** Mistakes in something that came over the wire: a definition of wire.schema.json by its name. */
export function validateWire(
  name: 'clientFrame' | 'patch' | 'invoke' | 'busMessage' | 'problemDetails' | 'serverFrame',
  value: unknown,
): readonly Problem[] {
  return problemsOf(run(compiled(`wire.schema.json#/definitions/${name}`), value), { prefix: '', secret: () => false, whole: 'The message' });
}

/** A copy of a valid declared state with the schema's defaults in it. */
export function withDefaults(value: unknown): FilledDeclared {
  return fillDefaults(value, declaredSchema) as FilledDeclared;
}

/** A copy of a valid manifest with the schema's defaults in it. */
export function manifestWithDefaults<T>(manifest: T): T {
  return fillDefaults(manifest, manifestSchema);
}

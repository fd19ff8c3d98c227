// Turns a JSON schema into a grammar: what it allows is always valid JSON of that schema. Pure text in, text out.

/** A schema that cannot become a grammar; the message is for the one who sent it. */
export type SchemaFault = Error & { readonly schemaFault: true };

type Schema = { readonly [key: string]: unknown };
type Build = {
  readonly root: unknown;
  readonly strict: boolean;
  readonly rules: Map<string, string>;
  /** Rule names by what they stand for: a $ref is built once, and may lead back to itself. */
  readonly refs: Map<string, string>;
  nodes: number;
};

/** Above any schema made by hand or by a library; below what would keep the process busy for long. */
const MAX_NODES = 2_000;
const MAX_DEPTH = 64;
/** llama.cpp unrolls repetitions; above this its parser refuses or crawls. */
const MAX_REPEAT = 1_000;

// Whitespace as models write it, but never without end.
const BASE: Readonly<Record<string, string>> = {
  ws: '| " " | "\\n" [ \\t]{0,16}',
  char: '[^"\\\\\\x00-\\x1F\\x7F] | "\\\\" (["\\\\/bfnrt] | "u" [0-9a-fA-F]{4})',
  string: '"\\"" char* "\\""',
  integer: '"-"? ("0" | [1-9] [0-9]{0,15})',
  number: 'integer ("." [0-9]{1,16})? ([eE] [-+]? [0-9]{1,2})?',
  boolean: '"true" | "false"',
  null: '"null"',
  any: 'object | array | string | number | boolean | null',
  member: 'string ws ":" ws any',
  object: '"{" ws (member (ws "," ws member)*)? ws "}"',
  array: '"[" ws (any (ws "," ws any)*)? ws "]"',
  date: '[0-9]{4} "-" ("0" [1-9] | "1" [0-2]) "-" ("0" [1-9] | [12] [0-9])',
  clock: '([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] ("." [0-9]{1,6})? ("Z" | [-+] ("0" [0-9] | "1" [0-3]) ":" [0-5] [0-9])',
};
const FORMATS: Readonly<Record<string, string>> = {
  date: '"\\"" date "\\""',
  time: '"\\"" clock "\\""',
  'date-time': '"\\"" date "T" clock "\\""',
  uuid: '"\\"" [0-9a-f]{8} "-" [0-9a-f]{4} "-" [0-9a-f]{4} "-" [0-9a-f]{4} "-" [0-9a-f]{12} "\\""',
};
/** Promises that a grammar cannot keep. */
const UNKEPT = ['pattern', 'minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf', 'uniqueItems', 'not', 'if', 'contains', 'propertyNames', 'patternProperties', 'dependentRequired', 'dependentSchemas'];
const TYPES = ['string', 'number', 'integer', 'boolean', 'null', 'object', 'array'];

const fault = (message: string): SchemaFault => Object.assign(new Error(message), { schemaFault: true as const });
export const isSchemaFault = (error: unknown): error is SchemaFault => error instanceof Error && 'schemaFault' in error;
const isSchema = (value: unknown): value is Schema => typeof value === 'object' && value !== null && !Array.isArray(value);

/** Grammar of any JSON object. */
export const anyObject = (): string => print(new Map([['root', 'object']]));

/** What stands before the JSON (nothing: '') and behind it; `open`: what begins another like it, as often as there are more, null where there is but one. */
export type Marks = { readonly begin: string; readonly open: string | null; readonly close: string };

/**
 * Grammar of a schema. `strict`: a promise that a grammar cannot keep is a fault; otherwise it is left to the model.
 * Objects with named properties are closed unless they name none; a missing `type` is read from the other keywords.
 */
export function grammarOf(schema: unknown, strict: boolean, marks: Marks | null = null): string {
  const build: Build = { root: schema, strict, rules: new Map(), refs: new Map(), nodes: 0 };
  const whole = expression(build, schema, 0);
  build.rules.set('root', marks === null ? whole : between(marks, whole));
  return print(build.rules);
}

function between({ begin, open, close }: Marks, whole: string): string {
  const marked = `ws ${whole} ws ${literal(close)}`;
  return `${begin === '' ? '' : literal(begin)} ${marked}${open === null ? '' : ` (ws ${literal(open)} ${marked})*`}`;
}

function print(rules: ReadonlyMap<string, string>): string {
  return [...rules, ...Object.entries(BASE)].map(([name, body]) => `${name} ::= ${body}`).join('\n');
}

/** A text as the grammar writes it. */
const literal = (text: string): string => `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;

function rule(build: Build, body: string): string {
  const name = `r${build.rules.size}`;
  build.rules.set(name, body);
  return name;
}

function expression(build: Build, schema: unknown, depth: number): string {
  build.nodes += 1;
  if (build.nodes > MAX_NODES) throw fault(`it has more than ${MAX_NODES} parts`);
  if (depth > MAX_DEPTH) throw fault(`it is nested deeper than ${MAX_DEPTH}`);
  if (schema === true) return 'any';
  if (!isSchema(schema)) throw fault(`${JSON.stringify(schema)?.slice(0, 40)} stands where a schema should`);
  if (schema['$ref'] !== undefined) return reference(build, schema['$ref'], depth);
  const range = rangeOf(schema);
  if (range !== null) return rule(build, range.map((value) => literal(String(value))).join(' | '));
  const unkept = UNKEPT.find((name) => schema[name] !== undefined && schema[name] !== false);
  if (unkept !== undefined && build.strict) throw fault(`\`${unkept}\` cannot be promised; leave it out, or send \`strict: false\``);
  if (schema['const'] !== undefined) return literal(JSON.stringify(schema['const']));
  if (schema['enum'] !== undefined) return rule(build, listOf(schema, 'enum').map((value) => literal(JSON.stringify(value))).join(' | '));
  for (const name of ['anyOf', 'oneOf']) if (schema[name] !== undefined) return alternatives(build, { ...schema, [name]: undefined }, listOf(schema, name), depth);
  if (schema['allOf'] !== undefined) return expression(build, merged(build, schema), depth + 1);
  const types = typesOf(schema);
  const parts = types.map((type) => typed(build, schema, { type, depth }));
  if (schema['nullable'] === true && !types.includes('null')) parts.push('null');
  return parts.length === 1 ? parts[0]! : rule(build, parts.join(' | '));
}

/** A short range of whole numbers can be promised: each stands in the grammar. */
function rangeOf(schema: Schema): readonly number[] | null {
  const { type, minimum, maximum } = schema;
  const plain = ['exclusiveMinimum', 'exclusiveMaximum', 'multipleOf', 'enum', 'const'].every((name) => schema[name] === undefined);
  if (type !== 'integer' || !plain || typeof minimum !== 'number' || typeof maximum !== 'number') return null;
  const [least, most] = [Math.ceil(minimum), Math.floor(maximum)];
  if (most < least) throw fault('`maximum` is below `minimum`');
  return most - least > MAX_REPEAT ? null : Array.from({ length: most - least + 1 }, (_, index) => least + index);
}

function listOf(schema: Schema, name: string): readonly unknown[] {
  const list = schema[name];
  if (!Array.isArray(list) || list.length === 0) throw fault(`\`${name}\` must be a list with at least one item`);
  return list as readonly unknown[];
}

/** What stands beside anyOf (properties shared by all) holds for each branch too. */
function alternatives(build: Build, rest: Schema, branches: readonly unknown[], depth: number): string {
  const shared = isSchema(rest['properties']);
  return rule(build, branches.map((branch) => expression(build, shared ? { allOf: [rest, branch] } : branch, depth + 1)).join(' | '));
}

function typesOf(schema: Schema): readonly string[] {
  const type = schema['type'];
  if (type === undefined) {
    if (['properties', 'required', 'additionalProperties'].some((name) => schema[name] !== undefined)) return ['object'];
    return ['items', 'prefixItems', 'minItems', 'maxItems'].some((name) => schema[name] !== undefined) ? ['array'] : ['any'];
  }
  const types = Array.isArray(type) ? (type as readonly unknown[]) : [type];
  const wrong = types.find((one) => !TYPES.includes(one as string));
  if (wrong !== undefined || types.length === 0) throw fault(`there is no type ${JSON.stringify(wrong ?? type)}`);
  return types as readonly string[];
}

function typed(build: Build, schema: Schema, at: { readonly type: string; readonly depth: number }): string {
  if (at.type === 'object') return object(build, schema, at.depth);
  if (at.type === 'array') return array(build, schema, at.depth);
  return at.type === 'string' ? text(build, schema) : at.type;
}

function text(build: Build, schema: Schema): string {
  const format = schema['format'];
  if (typeof format === 'string') {
    const known = FORMATS[format];
    if (known !== undefined) return rule(build, known);
    if (build.strict) throw fault(`the format ${JSON.stringify(format)} cannot be promised; known: ${Object.keys(FORMATS).join(', ')}`);
  }
  const repeat = repetition(build, schema, ['minLength', 'maxLength']);
  return repeat === null ? 'string' : rule(build, `"\\"" char${repeat} "\\""`);
}

/** `{least,most}`, or null when nothing is asked. */
function repetition(build: Build, schema: Schema, names: readonly [string, string]): string | null {
  const [least, most] = names.map((name) => {
    const value = schema[name];
    if (value === undefined) return undefined;
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 0) throw fault(`\`${name}\` must be a whole number`);
    if (value <= MAX_REPEAT) return value;
    if (build.strict) throw fault(`\`${name}\` above ${MAX_REPEAT} cannot be promised`);
    return undefined;
  });
  if (least !== undefined && most !== undefined && most < least) throw fault(`\`${names[1]}\` is below \`${names[0]}\``);
  return least === undefined && most === undefined ? null : `{${least ?? 0},${most ?? ''}}`;
}

/** Properties in the order they are declared; one that is not required may be left out. */
function object(build: Build, schema: Schema, depth: number): string {
  const properties = schema['properties'] ?? {};
  if (!isSchema(properties)) throw fault('`properties` must be an object');
  const required = schema['required'] ?? [];
  if (!Array.isArray(required) || required.some((name) => typeof name !== 'string')) throw fault('`required` must be a list of names');
  const more = schema['additionalProperties'];
  const members = new Map(Object.entries(properties));
  for (const name of required as readonly string[]) if (!members.has(name)) members.set(name, isSchema(more) ? more : true);
  if (members.size === 0) return more === false ? rule(build, '"{" ws "}"') : free(build, more, depth);
  const pairs = [...members].map(([name, value]) => ({ needed: (required as readonly string[]).includes(name), rule: rule(build, `${literal(JSON.stringify(name))} ws ":" ws ${expression(build, value, depth + 1)}`) }));
  // From the last member to the first: `rest` follows a member and brings its comma, `first` opens the object.
  let first = '';
  let rest = '';
  for (const pair of pairs.reverse()) {
    const opening = `${pair.rule} ${rest}`;
    first = pair.needed ? opening : first === '' ? `(${opening})?` : rule(build, `${opening} | ${first}`);
    const following = `ws "," ws ${pair.rule}`;
    rest = rule(build, pair.needed ? `${following} ${rest}` : `(${following})? ${rest}`);
  }
  return rule(build, `"{" ws ${first} ws "}"`);
}

/** An object whose keys are free. */
function free(build: Build, values: unknown, depth: number): string {
  if (values === undefined || values === true) return 'object';
  const member = rule(build, `string ws ":" ws ${expression(build, values, depth + 1)}`);
  return rule(build, `"{" ws (${member} (ws "," ws ${member})*)? ws "}"`);
}

function array(build: Build, schema: Schema, depth: number): string {
  const fixed = schema['prefixItems'];
  if (fixed !== undefined) return rule(build, `"[" ws ${listOf(schema, 'prefixItems').map((item) => expression(build, item, depth + 1)).join(' ws "," ws ')} ws "]"`);
  const item = schema['items'] === undefined ? 'any' : expression(build, schema['items'], depth + 1);
  repetition(build, schema, ['minItems', 'maxItems']);
  const bound = (name: string): number | undefined => { const value = schema[name] as number | undefined; return value === undefined || value > MAX_REPEAT ? undefined : value; };
  const least = bound('minItems') ?? 0;
  const most = bound('maxItems');
  if (most === 0) return rule(build, '"[" ws "]"');
  const items = `${item} (ws "," ws ${item}){${Math.max(0, least - 1)},${most === undefined ? '' : most - 1}}`;
  return rule(build, `"[" ws ${least === 0 ? `(${items})?` : items} ws "]"`);
}

function reference(build: Build, ref: unknown, depth: number): string {
  if (typeof ref !== 'string') throw fault('`$ref` must be a string');
  const known = build.refs.get(ref);
  if (known !== undefined) return known;
  const target = pointed(build.root, ref);
  const name = rule(build, '');
  build.refs.set(ref, name);
  build.rules.set(name, expression(build, target, depth + 1));
  return name;
}

function pointed(root: unknown, ref: string): unknown {
  if (!ref.startsWith('#')) throw fault(`${JSON.stringify(ref)} leads out of the schema`);
  let at = root;
  for (const part of ref.slice(1).split('/').slice(1)) {
    const key = part.replaceAll('~1', '/').replaceAll('~0', '~');
    at = typeof at === 'object' && at !== null && Object.hasOwn(at, key) ? (at as Schema)[key] : undefined;
  }
  if (at === undefined) throw fault(`${JSON.stringify(ref)} leads nowhere`);
  return at;
}

/** One schema from `allOf` and what stands beside it. */
function merged(build: Build, schema: Schema): Schema {
  const { allOf: _allOf, ...own } = schema;
  const parts = listOf(schema, 'allOf').map((part) => (isSchema(part) && part['$ref'] !== undefined ? pointed(build.root, String(part['$ref'])) : part));
  return [own, ...parts].reduce<Schema>((sum, part) => {
    if (!isSchema(part)) throw fault('`allOf` must hold schemas');
    const properties = { ...(sum['properties'] as Schema | undefined), ...(part['properties'] as Schema | undefined) };
    const required = [...((sum['required'] as readonly string[] | undefined) ?? []), ...((part['required'] as readonly string[] | undefined) ?? [])];
    return { ...sum, ...part, ...(Object.keys(properties).length > 0 ? { properties } : {}), ...(required.length > 0 ? { required } : {}) };
  }, {});
}

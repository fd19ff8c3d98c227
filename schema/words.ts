// Turns what the validator found into words a person can act on.
import { closest, distance } from 'fastest-levenshtein';
import { escapeToken, labelOf } from './pointer.ts';
import type { Problem } from './problem.ts';

/** The part of an ajv error this needs (`verbose`: with the schema and the value). */
export type Finding = {
  readonly keyword: string;
  readonly instancePath: string;
  readonly schemaPath: string;
  readonly params: Readonly<Record<string, unknown>>;
  readonly parentSchema?: unknown;
  readonly data?: unknown;
  readonly message?: string;
  readonly propertyName?: string;
};

/** Longer values are cut in a message. */
const SHOWN_MAX = 60;
/** More names than this are no help in one sentence. */
const NAMES_MAX = 20;

/** `Did you mean "contextSize"?`, or the names to choose from; null when there are none. */
export function suggest(name: string, known: readonly string[], noun: string): string | null {
  if (known.length === 0) return null;
  const lower = name.toLowerCase();
  const best = known.find((candidate) => candidate.toLowerCase() === lower) ?? closest(name, known as string[]);
  // A third of the letters, two at least: more would guess at random.
  if (distance(lower, best.toLowerCase()) <= Math.max(2, Math.floor(best.length / 3))) return `Did you mean ${JSON.stringify(best)}?`;
  const more = known.length > NAMES_MAX ? `, and ${known.length - NAMES_MAX} more` : '';
  return `${noun}: ${known.slice(0, NAMES_MAX).join(', ')}${more}.`;
}

const typeWords: Readonly<Record<string, string>> = {
  string: 'a text',
  integer: 'a whole number',
  number: 'a number',
  boolean: 'true or false',
  object: 'a map (name: value)',
  array: 'a list',
  null: 'empty',
};

const typesInWords = (type: unknown): string =>
  (Array.isArray(type) ? type : String(type).split(',')).map((name) => typeWords[String(name)] ?? String(name)).join(' or ');

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}…` : text;
}

function have(value: unknown, hidden: boolean): string {
  if (value === null || value === undefined) return 'is empty';
  if (Array.isArray(value)) return 'is a list';
  if (typeof value === 'object') return 'is a map';
  if (hidden) return `is ${typeWords[typeof value]} (not shown, it may be secret)`;
  return `is ${typeof value === 'string' ? 'the text ' : ''}${shown(value)}`;
}

type Words = { readonly code: string; readonly message: string; readonly hint: string | null; readonly pointer?: string };
type Case = { readonly where: string; readonly is: string; readonly schema: Readonly<Record<string, unknown>>; readonly hidden: boolean };

const descriptionOf = (schema: unknown): string | null => {
  const text = (schema as { readonly description?: unknown } | null | undefined)?.description;
  return typeof text === 'string' ? text : null;
};

const namesIn = (schema: Readonly<Record<string, unknown>>): readonly string[] =>
  Object.keys((schema['properties'] as object | undefined) ?? {});

function unknownKey(finding: Finding, { where, schema }: Case): Words {
  const key = String(finding.params['additionalProperty']);
  const names = namesIn(schema);
  return {
    code: 'UnknownKey',
    pointer: `${finding.instancePath}/${escapeToken(key)}`,
    message: `${where} has no setting ${JSON.stringify(key)}.`,
    hint: suggest(key, names, 'It knows') ?? 'It has no settings at all: remove this one.',
  };
}

function missingKey(finding: Finding, { where, schema }: Case): Words {
  const key = String(finding.params['missingProperty']);
  const about = descriptionOf((schema['properties'] as Record<string, unknown> | undefined)?.[key]);
  return {
    code: 'MissingKey',
    message: `${where} needs ${JSON.stringify(key)}.`,
    hint: about === null ? `Add ${key}: …` : `Add ${key}: … (${about})`,
  };
}

function wrongType(finding: Finding, { where, is, schema, hidden }: Case): Words {
  const wanted = finding.params['type'];
  const { data } = finding;
  let hint = descriptionOf(schema);
  if (wanted === 'string' && (typeof data === 'number' || typeof data === 'boolean')) {
    hint = typeof schema['pattern'] === 'string' && hint !== null ? hint : `Put it in quotes${hidden ? '' : `: "${String(data)}"`}.`;
  } else if (
    !hidden &&
    typeof data === 'string' &&
    data.trim() !== '' &&
    (wanted === 'integer' || wanted === 'number') &&
    Number.isFinite(Number(data))
  ) {
    hint = `Write ${data} without quotes.`;
  } else if (typeof data === 'string' && wanted === 'array') hint = hidden ? hint : `Write [${data}].`;
  return { code: 'WrongType', message: `${where} must be ${typesInWords(wanted)}, but ${is}.`, hint };
}

function notAllowed(finding: Finding, { where, is, hidden }: Case): Words {
  const allowed = ((finding.params['allowedValues'] ?? [finding.params['allowedValue']]) as unknown[]).map((value) =>
    typeof value === 'string' ? value : shown(value),
  );
  const guess = hidden || typeof finding.data !== 'string' ? null : suggest(finding.data, allowed, 'Allowed');
  const must = allowed.length === 1 ? `must be ${allowed[0]}` : `must be one of ${allowed.join(', ')}`;
  return { code: 'NotAllowed', message: `${where} ${must}, but ${is}.`, hint: guess?.startsWith('Did') ? guess : null };
}

function badName(finding: Finding, { where, schema }: Case): Words {
  const key = String(finding.params['propertyName']);
  const rule = schema['propertyNames'] as Readonly<Record<string, unknown>> | undefined;
  const pattern =
    typeof rule?.['pattern'] === 'string'
      ? `It must match ${rule['pattern']}.`
      : 'Lower-case letters, digits and hyphens, 1 to 63 characters.';
  return {
    code: 'BadName',
    pointer: `${finding.instancePath}/${escapeToken(key)}`,
    message: `${JSON.stringify(key)} is no name ${where} allows.`,
    hint: descriptionOf(rule) ?? pattern,
  };
}

const sizes: Readonly<Record<string, (limit: unknown) => string>> = {
  minimum: (limit) => `must be ${limit} or more`,
  maximum: (limit) => `must be ${limit} or less`,
  exclusiveMinimum: (limit) => `must be more than ${limit}`,
  exclusiveMaximum: (limit) => `must be less than ${limit}`,
  multipleOf: (limit) => `must be a multiple of ${limit}`,
  minLength: (limit) => (limit === 1 ? 'must not be empty' : `must have ${limit} characters or more`),
  maxLength: (limit) => `must have ${limit} characters or fewer`,
  minItems: (limit) => (limit === 1 ? 'must not be an empty list' : `must have ${limit} items or more`),
  maxItems: (limit) => `must have ${limit} items or fewer`,
  minProperties: (limit) => (limit === 1 ? 'must not be empty' : `must have ${limit} entries or more`),
  maxProperties: (limit) => (limit === 1 ? 'must have one entry only' : `must have ${limit} entries or fewer`),
};

function wordsFor(finding: Finding, at: Case): Words {
  const { where, is, schema } = at;
  const size = sizes[finding.keyword];
  if (size) {
    const limit = finding.params['limit'] ?? finding.params['multipleOf'];
    const but = finding.data !== null && typeof finding.data !== 'object' ? `, but ${is}` : '';
    return { code: 'OutOfRange', message: `${where} ${size(limit)}${but}.`, hint: descriptionOf(schema) };
  }
  switch (finding.keyword) {
    case 'additionalProperties':
      return unknownKey(finding, at);
    case 'required':
      return missingKey(finding, at);
    case 'type':
      return wrongType(finding, at);
    case 'enum':
    case 'const':
      return notAllowed(finding, at);
    case 'propertyNames':
      return badName(finding, at);
    case 'pattern':
      return {
        code: 'WrongFormat',
        message: `${where} ${is}, which is not of the form it needs.`,
        hint: descriptionOf(schema) ?? `It must match ${String(finding.params['pattern'])}.`,
      };
    case 'uniqueItems':
      return {
        code: 'Repeated',
        message: `${where} names the same thing twice (items ${String(finding.params['j'])} and ${String(finding.params['i'])}, counted from 0).`,
        hint: 'Remove one of them.',
      };
    case 'discriminator':
      return {
        code: 'NotAllowed',
        message: `${where}: ${String(finding.params['tag'])} is ${at.hidden ? 'not one that is known' : shown(finding.params['tagValue'])}.`,
        hint: descriptionOf(schema),
      };
    case 'not': {
      const both = (schema['not'] as { readonly required?: readonly string[] } | undefined)?.required ?? [];
      if (both.length > 1)
        return {
          code: 'Conflict',
          message: `${where} has ${both.map((key) => JSON.stringify(key)).join(' and ')}: only one of them may stand there.`,
          hint: `Remove ${both.map((key) => JSON.stringify(key)).join(' or ')}.`,
        };
      return { code: 'NotAllowed', message: `${where} holds what is not allowed there.`, hint: descriptionOf(schema) };
    }
    case 'oneOf':
    case 'anyOf': {
      const kinds = ((schema[finding.keyword] ?? []) as readonly Readonly<Record<string, unknown>>[]).map(
        (branch) => branch['title'] ?? (branch['type'] ? typesInWords(branch['type']) : null),
      );
      const named = kinds.every((kind) => kind !== null) ? ` It can be ${[...new Set(kinds)].join(' or ')}.` : '';
      return {
        code: 'WrongType',
        message: `${where} ${is}, which fits none of the forms allowed there.${named}`,
        hint: descriptionOf(schema),
      };
    }
    default:
      return { code: 'Invalid', message: `${where} ${finding.message ?? 'is not valid'}.`, hint: descriptionOf(schema) };
  }
}

/** Findings that only repeat another one in other words: branches of a choice, the rule behind a bad name. */
function isNoise(finding: Finding, all: readonly Finding[]): boolean {
  if (finding.propertyName !== undefined && finding.keyword !== 'propertyNames') return true;
  if (finding.keyword === 'if') return true;
  const choices = all.filter((other) => other.keyword === 'oneOf' || other.keyword === 'anyOf');
  if (choices.some((choice) => choice === finding)) {
    // Something deeper inside tells it more exactly.
    return all.some(
      (other) => other.instancePath.startsWith(`${finding.instancePath}/`) && other.schemaPath.startsWith(`${finding.schemaPath}/`),
    );
  }
  return choices.some((choice) => finding.schemaPath.startsWith(`${choice.schemaPath}/`) && finding.instancePath === choice.instancePath);
}

/** Problems of the findings, sorted as found. `secret` says at which pointers no value may be shown. */
export function problemsOf(
  findings: readonly Finding[],
  options: { readonly prefix: string; readonly secret: (pointer: string) => boolean; /** What the whole is called. */ readonly whole?: string },
): readonly Problem[] {
  const problems: Problem[] = [];
  const said = new Set<string>();
  for (const finding of findings) {
    if (isNoise(finding, findings)) continue;
    const pointer = options.prefix + finding.instancePath;
    const hidden = options.secret(pointer);
    const label = labelOf(pointer);
    const where = label === 'the file' ? (options.whole ?? 'The file') : label;
    const is = have(finding.data, hidden);
    const schema = (finding.parentSchema ?? {}) as Readonly<Record<string, unknown>>;
    const words = wordsFor({ ...finding, instancePath: pointer }, { where, is, schema, hidden });
    const problem: Problem = {
      code: words.code,
      pointer: words.pointer ?? pointer,
      line: null,
      column: null,
      message: words.message,
      hint: words.hint,
      severity: 'error',
    };
    const key = `${problem.pointer}\n${problem.message}`;
    if (!said.has(key)) problems.push(problem);
    said.add(key);
  }
  return problems;
}

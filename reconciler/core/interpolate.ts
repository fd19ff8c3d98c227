// Replaces `${env:NAME}` and `${env:NAME:-default}` in the scalars of parsed data; never in its keys.
import { type ScalarType, type Schema, scalarTypeAt } from '../../schema/walk.ts';
import { labelOf, pointerOf } from '../../schema/pointer.ts';
import type { Json, JsonObject, Problem } from './types.ts';

export type Env = Readonly<Record<string, string | undefined>>;

export type Interpolated = {
  /** The same object where nothing had to be replaced. */
  readonly value: Json;
  readonly problems: readonly Problem[];
  /** Places whose value came out of the environment: not to be shown, in a message say. */
  readonly resolved: ReadonlySet<string>;
};

export type Place = { readonly env: Env; readonly pointer: string; readonly schema: Schema | null };

// One pass from left to right: an escape, a reference, or a reference somebody got wrong. Any other ${…} is left to the plugin.
const pattern = /\$\$\{|\$\{env:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{env(?![A-Za-z0-9_])[^}]*\}?/g;
const whole = /^\$\{env:[A-Za-z_][A-Za-z0-9_]*(?::-[^}]*)?\}$/;

/** Whether a scalar is one reference and nothing else. */
export function isReference(value: Json): boolean {
  return typeof value === 'string' && whole.test(value);
}

function typed(text: string, type: ScalarType | null): Json {
  if (type === 'boolean' && (text === 'true' || text === 'false')) return text === 'true';
  if ((type === 'integer' || type === 'number') && /^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$/.test(text)) {
    const number = Number(text);
    // Digits that a double cannot hold stay text, and validation says so, rather than becoming another number.
    if (type === 'number' || Number.isSafeInteger(number)) return number;
  }
  return text;
}

const problem = (code: string, pointer: string, message: string, hint: string): Problem => ({
  code,
  pointer,
  line: null,
  column: null,
  message,
  hint,
  severity: 'error',
});

/** One scalar. `type` is what a reference that fills it alone is turned into. */
function replaceIn(
  text: string,
  place: { readonly env: Env; readonly pointer: string; readonly type: ScalarType | null },
  problems: Problem[],
): Json {
  const where = labelOf(place.pointer);
  const replaced = text.replaceAll(pattern, (found, name: string | undefined, fallback: string | undefined) => {
    if (found === '$${') return '${';
    if (name === undefined) {
      problems.push(
        problem(
          'BadReference',
          place.pointer,
          `${where} has ${JSON.stringify(found)}, which is no reference bkg knows.`,
          'Write ${env:NAME} or ${env:NAME:-default}; for the characters themselves write $${env…',
        ),
      );
      return found;
    }
    const value = Object.hasOwn(place.env, name) ? place.env[name] : undefined;
    // As in a shell, :- also stands in for a variable that is set but empty.
    if (fallback !== undefined) return value === undefined || value === '' ? fallback : value;
    if (value !== undefined) return value;
    problems.push(
      problem(
        'MissingReference',
        place.pointer,
        `${where} wants the environment variable ${name}, which is not set.`,
        `Set ${name} before bkg starts, or give a default: \${env:${name}:-…}.`,
      ),
    );
    return found;
  });
  return whole.test(text) ? typed(replaced, place.type) : replaced;
}

/** Escapes a text so that interpolation gives it back as it is. */
export function escapeReferences(text: string): string {
  return text.replaceAll('${', () => '$${'); // a function: in a plain replacement `$$` means `$`
}

/**
 * Resolves every reference below a place. `schema` is that of the place, a root of its own (null: anything), and decides the type of a
 * whole-scalar reference; `skip` leaves out parts that follow another schema.
 */
export function interpolate(value: Json, place: Place, skip: (path: readonly string[]) => boolean = () => false): Interpolated {
  const problems: Problem[] = [];
  const resolved = new Set<string>();
  const path: string[] = [];
  const visit = (at: Json): Json => {
    if (typeof at === 'string') {
      if (!at.includes('${')) return at;
      const below = pointerOf(path);
      const pointer = place.pointer + below;
      if (at.includes('${env:')) resolved.add(pointer);
      const type = place.schema === null ? null : scalarTypeAt(below, place.schema);
      return replaceIn(at, { env: place.env, pointer, type }, problems);
    }
    if (typeof at !== 'object' || at === null || skip(path)) return at;
    // Most of a file holds no reference: nothing is copied before the first.
    let copy: Record<string, Json> | null = null;
    for (const key of Object.keys(at)) {
      const item = (at as JsonObject)[key] as Json;
      path.push(key);
      const next = visit(item);
      path.pop();
      if (next === item) continue;
      copy ??= (Array.isArray(at) ? [...at] : { ...at }) as Record<string, Json>;
      copy[key] = next;
    }
    return copy ?? at;
  };
  const done = visit(value);
  return { value: done, problems, resolved };
}

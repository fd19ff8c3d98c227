// Which places hold a secret and which values are one: the one rule for masking, for refusing and for warning.
import type { Schema } from './walk.ts';

/** Ends of words that name what admits somebody somewhere; ends, for APIKEY and dbpassword are written as one word. */
const SECRET_END = /(?:token|key|secret|password|passwd|passphrase|credential)s?\d*$/i;
/** The same as whole words: as ends they would meet compass and bypass. */
const SECRET_WORD = /^(?:pass|pwd|creds?|auth|bearer|jwt|dsn)\d*$/i;
/** Where a secret lies is none, as in POSTGRES_PASSWORD_FILE. */
const PLACE = /^(?:file|path|dir)$/i;
/** Language models count tokens: MAX_NEW_TOKENS and TOKENS_PER_MINUTE are figures. */
const COUNTED = /(?:^|_)(?:max|min|n|num)_(?:\w+_)?tokens(?:_|$)|(?:^|_)tokens?_(?:per|limit|count|budget)(?:_|$)/i;
const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** Whether a variable of this name holds a secret. What is no name of a variable might hold anything: it counts as one. */
export function isSecretName(name: string): boolean {
  if (!VARIABLE.test(name)) return true;
  const words = name.split(/_|(?<=[a-z0-9])(?=[A-Z])/);
  if (COUNTED.test(name) || PLACE.test(words.at(-1) ?? '')) return false;
  return words.some((word) => SECRET_END.test(word) || SECRET_WORD.test(word));
}

/** What holds at a place, and what its members inherit. */
export type Secrecy = { readonly here: boolean; readonly below: boolean };

/**
 * What the mark `x-secret` says of a place: true, false, or `byName` for the members of a map of variables. Without a mark
 * the place is what it stands in. What stands below a variable has no place there: it is secret whatever its name.
 */
export function secrecyOf(schema: Schema | null, key: string, above: boolean): Secrecy {
  const mark = schema?.['x-secret'];
  if (mark === undefined) return { here: above, below: above };
  return mark === 'byName' ? { here: isSecretName(key), below: true } : { here: mark === true, below: mark === true };
}

// A reference with a default could carry the secret as that default, so only one without (or with an empty one) is none.
const REFERENCE = /^\$\{env:[A-Za-z_][A-Za-z0-9_]*(:-)?\}$/;
/** A hash may stand in the file: it admits nobody. */
const HASH = /^\$2[aby]\$\d{2}\$[./A-Za-z0-9]{53}$/;

/** Nothing but a reference: it may also be shown. */
export const isReference = (value: unknown): boolean => typeof value === 'string' && REFERENCE.test(value);

/** Whether this value at a secret place is the secret itself, in plain text. */
export const isLiteral = (value: unknown): boolean =>
  value !== null && value !== '' && !isReference(value) && !(typeof value === 'string' && HASH.test(value));

// Which places hold a secret and which values are one: the rules for masking, for refusing and for warning.
import type { Schema } from './walk.ts';

/** Words that name what admits somebody somewhere. */
const SECRET_WORD = /^(?:tokens?|keys?|secrets?|passwords?|passwd|passphrase|passcode|pass|pwd|credentials?|creds|jwt|pat|dsn|cookie)\d*$/i;
/** The same as one word: APIKEY, dbpassword; not MONKEY, not COMPASS. */
const SECRET_END = /(?:(?:api|access|auth|secret|private|public|signing|session|master|encryption|ssh)key|keyid|token|secret|password|passwd|passphrase|credential)s?\d*$/i;
/** Where a secret lies is none, as in POSTGRES_PASSWORD_FILE. */
const PLACE = /^(?:file|path|dir|folder)$/i;
/** Language models count tokens: MAX_NEW_TOKENS and TOKENS_PER_MINUTE are figures. */
const COUNTED = /(?:(?<=^|_)(?:max|min|n|num)_(?:\w+_)?tokens|(?<=^|_)tokens?_(?:per|limit|count|budget))(?=_|$)/gi;
/** Last words of names that say how something runs, never as whom. What ends otherwise (DATABASE_URL, WEBHOOK) may hold a secret. */
const PLAIN_WORD = /^(?:level|mode|port|host|hostname|timeout|size|count|limit|enabled|disabled|debug|verbose|lang|language|locale|tz|timezone|region|version|threads|workers|parallelism|format|color|home|retries|interval|seed|device|backend|precision|batch|minute|tokens|file|path|dir|folder)$/i;
const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]*$/;

const wordsOf = (name: string): readonly string[] => name.split(/_|(?<=[a-z0-9])(?=[A-Z])/);

/** Whether a variable of this name is taken for a secret: it must not stand in plain text. What is no name of a variable counts as one. */
export function isSecretName(name: string): boolean {
  if (!VARIABLE.test(name)) return true;
  const words = wordsOf(name.replace(COUNTED, ''));
  if (PLACE.test(words.at(-1) ?? '')) return false;
  return words.some((word) => SECRET_WORD.test(word) || SECRET_END.test(word));
}

/** Whether its value may be shown: only where the name leaves no doubt. */
export const isPlainName = (name: string): boolean => !isSecretName(name) && PLAIN_WORD.test(wordsOf(name).at(-1) ?? '');

/** What holds at a place, and what its members inherit. */
export type Secrecy = {
  /** Its value is never shown. */
  readonly masked: boolean;
  /** Its value must not stand there in plain text. */
  readonly guarded: boolean;
  readonly below: boolean;
};

/**
 * What the mark `x-secret` says of a place: true, false, or `byName` for the members of a map of variables, which are shown where
 * the name leaves no doubt and refused in plain text where it looks like a secret. Without a mark the place is what it stands in.
 * What stands below a variable has no place there: it is secret whatever its name.
 */
export function secrecyOf(schema: Schema | null, key: string, above: boolean): Secrecy {
  const mark = schema?.['x-secret'];
  if (mark === 'byName') return { masked: !isPlainName(key), guarded: isSecretName(key), below: true };
  const secret = mark === undefined ? above : mark === true;
  return { masked: secret, guarded: secret, below: secret };
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

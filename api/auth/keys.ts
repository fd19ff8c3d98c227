// API keys: `bkg_<id>_<secret>`, found by id, checked by bcrypt once and from then on by a look into memory.
import { createHmac, createSecretKey, randomBytes } from 'node:crypto';
import { RateLimiterMemory } from 'rate-limiter-flexible';
import type { DesiredKey } from '../../reconciler/index.ts';
import type { Refusal } from '../problem.ts';
import { rateKeyOf } from '../rate.ts';
import { compare, hash, KEY_COST } from './bcrypt.ts';
import type { Directory, Somebody } from './somebody.ts';
import { isBusy, openTurns, type Turns } from './turns.ts';

const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
/** 62^43 is a little more than 2^256. */
const SECRET_LENGTH = 43;
const FORM = new RegExp(`^bkg_([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)_([0-9A-Za-z]{${SECRET_LENGTH}})$`);
/** Secrets known to be right: both of every declared key fit. */
const RIGHT_MAX = 50_000;
/** Secrets known to be wrong, so that who repeats one costs nothing. */
const WRONG_MAX = 10_000;
/** Secrets an address may get wrong before it has to wait: each of them costs a look with bcrypt. */
const WRONG_PER_MINUTE = 30;
/** So many more may be wrong than that: those under way when the last one is counted. */
const LOOKS_AT_ONCE = 8;
/** Looks that wait for others of their address: a thousand new keys behind one door are looked at within seconds. */
const WAITING_MAX = 1_000;
const MINUTE_S = 60;

export type KeyVerdict = { readonly ok: true; readonly who: Somebody } | { readonly ok: false; readonly refusal: Refusal };

/** Whether a token means to be an API key. */
export const isKeyToken = (token: string): boolean => token.startsWith('bkg_');

/** A new secret for a key, and the hash that goes into the file. */
export async function makeSecret(id: string): Promise<{ readonly token: string; readonly hash: string } | null> {
  let secret = '';
  while (secret.length < SECRET_LENGTH) {
    // Bytes beyond the last whole run of digits would make some digits likelier.
    for (const byte of randomBytes(2 * SECRET_LENGTH)) if (byte < 256 - (256 % DIGITS.length) && secret.length < SECRET_LENGTH) secret += DIGITS[byte % DIGITS.length];
  }
  const made = await hash(secret, KEY_COST);
  return isBusy(made) ? null : { token: `bkg_${id}_${secret}`, hash: made };
}

const unauthorized = (code: string, detail: string): KeyVerdict => ({ ok: false, refusal: { status: 401, code, detail, headers: { 'www-authenticate': 'Bearer realm="bkg", error="invalid_token"' } } });
/** The same words for an unknown id and a wrong secret. How long it takes still tells which ids there are; they are no secret. */
const WRONG = unauthorized('KeyWrong', 'This API key is not in force: it is mistyped, revoked, or was replaced. `bkg key list` shows the keys there are.');
const EXPIRED = unauthorized('KeyExpired', 'This API key has expired. Another `expires` in bkg.yaml, or PATCH /admin/api-keys/{id}, gives it another end.');
/** Nothing was learnt of the key. */
const CROWDED: KeyVerdict = { ok: false, refusal: { status: 503, code: 'Busy', detail: 'Too many keys are checked for the first time at once. Try again in a moment.', headers: { 'retry-after': '1' } } };
const busy = (seconds: number): KeyVerdict => ({
  ok: false, refusal: { status: 429, code: 'TooManyWrongKeys', detail: `Too many wrong API keys from this address. Try again in ${seconds} s.`, headers: { 'retry-after': String(seconds) } },
});

export type KeyCheck = ReturnType<typeof openKeyCheck>;

export function openKeyCheck(directory: () => Directory, clock: () => number = Date.now) {
  // Secrets are looked up by a keyed hash, so that a dump of memory or a timing of the look-up tells none.
  const cacheKey = createSecretKey(randomBytes(32));
  const right = new Map<string, { readonly id: string; readonly hash: string }>();
  const wrong = new Map<string, readonly string[]>();
  const asked = new Map<string, Promise<KeyVerdict>>();
  /** By address, while there are any. */
  const looks = new Map<string, Turns>();
  const failures = new RateLimiterMemory({ points: WRONG_PER_MINUTE, duration: MINUTE_S });

  const hashesOf = (key: DesiredKey): readonly string[] => (key.previous !== null && key.previous.until > clock() ? [key.hash, key.previous.hash] : [key.hash]);
  /** `hash`: of the secret they came with. Who came with the one before goes when that goes. */
  const verdictOn = ({ key, who }: { readonly key: DesiredKey; readonly who: Somebody }, hash: string): KeyVerdict => {
    if (key.expires !== null && key.expires <= clock()) return EXPIRED;
    return { ok: true, who: hash === key.hash ? who : { ...who, key: { ...key, hash } } };
  };

  /** At once for a secret that was seen before; else after one or two looks with bcrypt. */
  function check(token: string, address: string | undefined): KeyVerdict | Promise<KeyVerdict> {
    const name = createHmac('sha256', cacheKey).update(token).digest('base64url');
    const seen = right.get(name);
    if (seen !== undefined) {
      const found = directory().key(seen.id);
      if (found !== null && (found.key.hash === seen.hash || hashesOf(found.key).includes(seen.hash))) return verdictOn(found, seen.hash);
      right.delete(name);
    }
    const [, id, secret] = FORM.exec(token) ?? [];
    const found = id === undefined ? null : directory().key(id);
    if (found === null || secret === undefined) return WRONG;
    const hashes = hashesOf(found.key);
    const failed = wrong.get(name);
    if (failed !== undefined && hashes.every((one) => failed.includes(one))) return WRONG;
    const already = asked.get(name);
    if (already !== undefined) return already;
    const answer = counted({ name, id: found.key.id, secret, hashes }, rateKeyOf(address)).finally(() => asked.delete(name));
    asked.set(name, answer);
    return answer;
  }

  type Look = { readonly name: string; readonly id: string; readonly secret: string; readonly hashes: readonly string[] };

  /** Few looks at once for one address: those that are not decided count for nothing yet, and after a restart all keys of a whole office are new. */
  async function counted(what: Look, from: string): Promise<KeyVerdict> {
    const turns = looks.get(from) ?? openTurns({ atOnce: LOOKS_AT_ONCE, waiting: WAITING_MAX });
    looks.set(from, turns);
    const verdict = await turns.take(async () => {
      const tried = await failures.get(from);
      if (tried !== null && tried.consumedPoints >= WRONG_PER_MINUTE) return busy(Math.max(1, Math.ceil(tried.msBeforeNext / 1000)));
      const found = await look(what);
      if (found === WRONG) await failures.penalty(from);
      return found;
    });
    if (turns.isIdle()) looks.delete(from);
    return isBusy(verdict) ? CROWDED : verdict;
  }

  async function look({ name, id, secret, hashes }: Look): Promise<KeyVerdict> {
    for (const one of hashes) {
      const fits = await compare(secret, one);
      if (isBusy(fits)) return CROWDED;
      if (!fits) continue;
      remember(right, { name, value: { id, hash: one }, most: RIGHT_MAX });
      // It may have been revoked meanwhile.
      const found = directory().key(id);
      return found !== null && hashesOf(found.key).includes(one) ? verdictOn(found, one) : WRONG;
    }
    remember(wrong, { name, value: hashes, most: WRONG_MAX });
    return WRONG;
  }

  return {
    check,
    /** The same key as of now, for whoever was let in with it: with another hash it is another key. */
    again(key: DesiredKey): KeyVerdict {
      const found = directory().key(key.id);
      return found === null || !hashesOf(found.key).includes(key.hash) ? WRONG : verdictOn(found, key.hash);
    },
  };
}

/** Keeps so many, the newest. */
function remember<Value>(map: Map<string, Value>, o: { readonly name: string; readonly value: Value; readonly most: number }): void {
  map.set(o.name, o.value);
  if (map.size > o.most) map.delete(map.keys().next().value!);
}

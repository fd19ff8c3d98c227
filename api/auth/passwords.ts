// Passwords: against a hash of the file, a variable of the environment or a file; a wrong name costs as long as a wrong password.
import { readFileSync, statSync } from 'node:fs';
import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';
import type { DesiredUser, Snapshot } from '../../reconciler/index.ts';
import { sameSecret } from '../access.ts';
import { failure } from '../problem.ts';
import { rateKeyOf } from '../rate.ts';
import { compare, costOf, isBusy, PASSWORD_COST, SECRET_MAX_BYTES } from './bcrypt.ts';

/** Wrong passwords within the window: for one account from one address, from one address, and for one account from anywhere, so that a stranger does not soon lock its owner out. */
const WRONG_HERE = 10;
const WRONG_PER_ADDRESS = 50;
const WRONG_PER_ACCOUNT = 200;
const WINDOW_S = 15 * 60;
export const PASSWORD_MIN_LENGTH = 10;
/** A file with a password is looked at again after this long. */
const FILE_EVERY_MS = 1_000;
/** A larger file holds no password. */
const FILE_MAX_BYTES = 4_096;
/** A hash that nothing fits, so that an unknown name takes as long as a known one. */
const NOBODY = (cost: number): string => `$2b$${String(cost).padStart(2, '0')}$${'.'.repeat(53)}`;

const LOGIN_WRONG = { status: 401, code: 'LoginWrong', detail: 'Name or password are not right.', headers: { 'www-authenticate': 'Bearer realm="bkg"' } };

/** Why a password is none that may be set; null when it may. */
export function badPassword(password: string): { readonly message: string; readonly hint: string } | null {
  if (Buffer.byteLength(password) > SECRET_MAX_BYTES) return { message: `The password has more than ${SECRET_MAX_BYTES} bytes.`, hint: 'bcrypt reads no further, so a longer one would be no safer: shorten it.' };
  if (password.length < PASSWORD_MIN_LENGTH) return { message: `The password has fewer than ${PASSWORD_MIN_LENGTH} characters.`, hint: 'Take a few words, or let a password manager make one.' };
  return null;
}

export type Passwords = ReturnType<typeof openPasswords>;

export function openPasswords(o: { readonly snapshot: () => Snapshot; readonly env: Readonly<Record<string, string | undefined>> }) {
  const limiter = (points: number): RateLimiterMemory => new RateLimiterMemory({ points, duration: WINDOW_S });
  const limits = { here: limiter(WRONG_HERE), address: limiter(WRONG_PER_ADDRESS), account: limiter(WRONG_PER_ACCOUNT) };

  const files = new Map<string, { readonly text: string; readonly at: number }>();

  function textOf(path: string): string {
    const seen = files.get(path);
    const now = performance.now();
    if (seen !== undefined && now - seen.at < FILE_EVERY_MS) return seen.text;
    const text = readSmall(path);
    files.set(path, { text, at: now });
    return text;
  }

  /** Of a hash nothing, for it is the check itself. */
  function plainOf(user: DesiredUser | undefined): string | null {
    if (user?.password?.kind === 'env') return o.env[user.password.name] || null;
    return user?.password?.kind === 'file' ? textOf(user.password.path) || null : null;
  }

  async function fits(user: DesiredUser | undefined, password: string): Promise<boolean> {
    const own = user?.password?.kind === 'hash' ? user.password.hash : null;
    const typical = o.snapshot().desired.users.flatMap(({ password: one }) => (one?.kind === 'hash' ? [costOf(one.hash)] : []));
    // One look with bcrypt whoever asks, as long as that of most who are declared.
    const looked = await compare(password, own ?? NOBODY(Math.max(PASSWORD_COST, ...typical)));
    if (isBusy(looked)) throw failure({ status: 503, code: 'Busy', detail: 'Too many people sign in at once. Try again in a moment.', headers: { 'retry-after': '1' } });
    if (own !== null) return looked;
    const plain = plainOf(user);
    return plain !== null && sameSecret(plain, password);
  }

  async function count(limit: RateLimiterMemory, place: string): Promise<void> {
    await limit.consume(place).catch((refused: unknown) => {
      if (!(refused instanceof RateLimiterRes)) throw refused;
      const seconds = Math.max(1, Math.ceil(refused.msBeforeNext / 1000));
      throw failure({ status: 429, code: 'TooManyLogins', detail: `Too many wrong passwords. Try again in ${Math.ceil(seconds / 60)} min; on the machine itself bkg commands go on working.`, headers: { 'retry-after': String(seconds) } });
    });
  }

  return {
    /** The user whose password it is; throws a refusal, the same for a wrong name and a wrong password. */
    async check(name: string, password: string, address: string | undefined): Promise<DesiredUser> {
      const from = rateKeyOf(address);
      const places: readonly (readonly [RateLimiterMemory, string])[] = [[limits.here, `${from} ${name}`], [limits.address, from], [limits.account, name]];
      const counted = new Set<typeof places[number]>();
      try {
        // Before the look, so that many at once are not let through.
        for (const one of places) {
          await count(...one);
          counted.add(one);
        }
        const user = o.snapshot().desired.users.find((one) => one.name === name);
        const tooLong = Buffer.byteLength(password) > SECRET_MAX_BYTES;
        if ((await fits(user, tooLong ? '' : password)) && !tooLong) return user!;
        counted.clear();
        throw failure(LOGIN_WRONG);
      } finally {
        // Of who is right, and of who was not looked at.
        for (const [limit, place] of counted) await limit.reward(place);
      }
    },
    /** What a session is bound to: with another one it ends. Null while there is none. */
    credentialOf(user: DesiredUser): string | null {
      const { password } = user;
      if (password === null) return null;
      return password.kind === 'hash' ? password.hash : `${password.kind} ${plainOf(user) ?? ''}`;
    },
    /** Whether somebody can sign in as them. */
    canSignIn: (user: DesiredUser): boolean => user.password?.kind === 'hash' || plainOf(user) !== null,
  };
}

/** What a small file holds, less the end of its line; nothing of what is no file, or cannot be read. */
function readSmall(path: string): string {
  try {
    const about = statSync(path);
    // A pipe would keep all of bkg waiting.
    return about.isFile() && about.size <= FILE_MAX_BYTES ? readFileSync(path, 'utf8').replace(/\r?\n$/, '') : '';
  } catch {
    return '';
  }
}

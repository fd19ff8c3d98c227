// Passwords: against a hash of the file, a variable of the environment or a file; a wrong name costs as long as a wrong password.
import { readFile, stat } from 'node:fs/promises';
import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';
import type { DesiredUser, Snapshot } from '../../reconciler/index.ts';
import { sameSecret } from '../access.ts';
import { failure } from '../problem.ts';
import { rateKeyOf } from '../rate.ts';
import { compare, costOf, PASSWORD_COST, SECRET_MAX_BYTES } from './bcrypt.ts';
import { isBusy } from './turns.ts';

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

type Seen = { /** What it held when it last held something. */ readonly text: string | null; readonly isThere: boolean; readonly at: number };

export type Passwords = ReturnType<typeof openPasswords>;

export function openPasswords(o: { readonly snapshot: () => Snapshot; readonly env: Readonly<Record<string, string | undefined>> }) {
  const limiter = (points: number): RateLimiterMemory => new RateLimiterMemory({ points, duration: WINDOW_S });
  const limits = { here: limiter(WRONG_HERE), address: limiter(WRONG_PER_ADDRESS), account: limiter(WRONG_PER_ACCOUNT) };

  const files = new Map<string, Seen>();

  /** What the file holds now. A file that cannot be read, or holds nothing, tells nothing of a password that was there before: it may be on its way. */
  async function look(path: string): Promise<Seen> {
    const text = await readSmall(path);
    const seen: Seen = { text: text === '' ? files.get(path)?.text ?? null : text, isThere: text !== '', at: performance.now() };
    files.set(path, seen);
    return seen;
  }

  /** As it was at the last look; with the next one under way when that is a while ago. Nothing waits for the disk. */
  function lastSeen(path: string): Seen {
    const seen = files.get(path) ?? { text: null, isThere: false, at: -Infinity };
    if (performance.now() - seen.at >= FILE_EVERY_MS) {
      files.set(path, { ...seen, at: performance.now() });
      void look(path);
    }
    return seen;
  }

  /** Of a hash nothing, for it is the check itself. */
  async function textOf(user: DesiredUser | undefined): Promise<string | null> {
    if (user?.password?.kind === 'env') return o.env[user.password.name] || null;
    if (user?.password?.kind !== 'file') return null;
    const { text, isThere } = await look(user.password.path);
    return isThere ? text : null;
  }

  /** One that nobody could set by another door is none here either. */
  async function plainOf(user: DesiredUser | undefined): Promise<string | null> {
    const text = await textOf(user);
    return text === null || badPassword(text) !== null ? null : text;
  }

  async function fits(user: DesiredUser | undefined, password: string): Promise<boolean> {
    const own = user?.password?.kind === 'hash' ? user.password.hash : null;
    const typical = o.snapshot().desired.users.flatMap(({ password: one }) => (one?.kind === 'hash' ? [costOf(one.hash)] : []));
    // One look with bcrypt whoever asks, as long as that of most who are declared.
    const looked = await compare(password, own ?? NOBODY(Math.max(PASSWORD_COST, ...typical)));
    if (isBusy(looked)) throw failure({ status: 503, code: 'Busy', detail: 'Too many people sign in at once. Try again in a moment.', headers: { 'retry-after': '1' } });
    if (own !== null) return looked;
    const plain = await plainOf(user);
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
    /** Looks at every file that holds a password, so that whoever has signed in before is known at once. */
    async refresh(): Promise<void> {
      await Promise.all(o.snapshot().desired.users.map(({ password }) => (password?.kind === 'file' ? look(password.path) : null)));
    },
    /** What a session is bound to: with another one it ends. Null while there is none; `unknown` while it cannot be told. */
    credentialOf(user: DesiredUser): string | null {
      const { password } = user;
      if (password === null) return null;
      if (password.kind === 'hash') return password.hash;
      if (password.kind === 'env') return `env ${o.env[password.name] ?? ''}`;
      const { text, isThere } = lastSeen(password.path);
      return isThere ? `file ${text}` : 'unknown';
    },
    /** Of whom a password is named that is not taken, and why not. */
    async unfit(): Promise<readonly { readonly user: string; readonly why: string }[]> {
      const found = await Promise.all(o.snapshot().desired.users.map(async (user) => ({ user: user.name, text: await textOf(user) })));
      return found.flatMap(({ user, text }) => {
        const bad = text === null ? null : badPassword(text);
        return bad === null ? [] : [{ user, why: `${bad.message} ${bad.hint}` }];
      });
    },
    /** Whether somebody can sign in as them. */
    canSignIn: async (user: DesiredUser): Promise<boolean> => user.password?.kind === 'hash' || (await plainOf(user)) !== null,
  };
}

/** What a small file holds, less the end of its line; nothing of what is no file, or cannot be read. */
async function readSmall(path: string): Promise<string> {
  try {
    const about = await stat(path);
    // A pipe would keep whoever reads it waiting.
    return about.isFile() && about.size <= FILE_MAX_BYTES ? (await readFile(path, 'utf8')).replace(/\r?\n$/, '') : '';
  } catch {
    return '';
  }
}

// Who is signed in: short tokens (PASETO v4.public) that carry ids only, and longer ones that renew them, each good once.
import { createHmac, createPrivateKey, createPublicKey, randomUUID, timingSafeEqual } from 'node:crypto';
import { PublicProtocol } from 'paseto';
import { ImportPublicKeyFactory, ImportSecretKeyFactory, SignFactory, VerifyFactory } from 'paseto/v4/public';
import type { Reconciler, SessionRow } from '../../reconciler/index.ts';
import { failure } from '../problem.ts';

/** As long as a stolen token is good, unless its session is ended. */
export const ACCESS_S = 15 * 60;
/** Whoever stays away longer signs in again. */
export const REFRESH_MS = 14 * 24 * 3_600_000;
/** And everybody after this, however often they came. */
const SESSION_MAX_MS = 90 * 24 * 3_600_000;
const ISSUER = 'bkg';
/** A token signed for anything else is none of ours. */
const PURPOSE = new TextEncoder().encode('bkg session');
/** Sessions one user may have at once: a script that signs in for each of its runs must not fill memory and disk. The oldest goes. */
const PER_USER_MAX = 100;
/** Tokens verified lately: a signature costs a tenth of a millisecond. */
const VERIFIED_MAX = 5_000;
const SKEW_MS = 1_000;
/** What precedes 32 bytes to make them a private key of Ed25519 (RFC 8410). */
const PKCS8_ED25519 = Buffer.from('302e020100300506032b657004220420', 'hex');

/** Whether a token means to be the access token of a session. */
export const isSessionToken = (token: string): boolean => token.startsWith('v4.public.');

export type Signed = { readonly access: string; readonly refresh: string; readonly csrf: string; readonly family: string; readonly expires_s: number };
export type Sessions = Awaited<ReturnType<typeof openSessions>>;

export type SessionsOptions = {
  readonly reconciler: Pick<Reconciler, 'sessions' | 'saveSessions'>;
  /** Bytes that only this home can make, another row for each purpose. */
  readonly derive: (purpose: string) => Uint8Array;
  readonly clock?: () => number;
};

const ended = (code: string, detail: string): Error => failure({ status: 401, code, detail, headers: { 'www-authenticate': 'Bearer realm="bkg"' } });
const signIn = 'Sign in again: POST /auth/login.';

export async function openSessions({ reconciler, derive, clock = Date.now }: SessionsOptions) {
  const keys = await signingKeys(derive('session'));
  const refreshKey = derive('refresh');
  const csrfKey = derive('csrf');
  const protocol = new PublicProtocol(SignFactory, VerifyFactory);
  /** Those that go on; one that is over is none of these. */
  const known = new Map(reconciler.sessions().filter((row) => row.ended === null).map((row) => [row.family, row]));
  const verified = new Map<string, { readonly family: string; readonly user: string; readonly until: number }>();

  const save = (row: SessionRow): void => {
    known.set(row.family, row);
    reconciler.saveSessions([row]);
  };
  const mac = (key: Uint8Array, text: string): string => createHmac('sha256', key).update(text).digest('base64url');
  const refreshOf = (row: SessionRow): string => `${row.family}.${row.generation}.${mac(refreshKey, `${row.family}.${row.generation}`)}`;
  const csrfOf = (family: string): string => mac(csrfKey, family);

  async function sign(row: SessionRow): Promise<Signed> {
    const now = clock();
    const access = await protocol.Sign(keys.secret, { iss: ISSUER, sub: row.user, sid: row.family }, { now: new Date(now), expiresIn: ACCESS_S, implicitAssertion: PURPOSE });
    return { access, refresh: refreshOf(row), csrf: csrfOf(row.family), family: row.family, expires_s: ACCESS_S };
  }

  /** All of them in one write. */
  function endThese(which: (row: SessionRow) => boolean, why: string): void {
    const over = [...known.values()].filter(which);
    for (const { family } of over) known.delete(family);
    const live = over.filter((row) => row.expires > clock());
    if (live.length > 0) reconciler.saveSessions(live.map((row) => ({ ...row, ended: why })));
  }

  const end = (family: string, why: string): void => endThese((row) => row.family === family, why);

  /** The session that a family names, while it goes on. */
  const live = (family: string): SessionRow | null => {
    const row = known.get(family);
    return row === undefined || row.expires <= clock() ? null : row;
  };

  /** Makes room for one more of a user's. */
  function makeRoom(user: string): void {
    const now = clock();
    const own = [...known.values()].filter((row) => row.user === user && row.expires > now).sort((a, b) => a.renewed - b.renewed);
    const surplus = new Set(own.slice(0, Math.max(0, own.length - PER_USER_MAX + 1)).map(({ family }) => family));
    endThese((row) => row.expires <= now || surplus.has(row.family), 'too many sessions of this user');
  }

  type Verified = { readonly family: string; readonly user: string; readonly until: number };

  async function verify(token: string): Promise<Verified | null> {
    try {
      const { claims } = await protocol.Verify(keys.public, token, { issuer: ISSUER, now: new Date(clock()), maxTokenAge: ACCESS_S, implicitAssertion: PURPOSE });
      const { sub, sid, exp, iat } = claims;
      // One from the future was signed by a clock that was wrong, or by somebody else.
      if (typeof sub !== 'string' || typeof sid !== 'string' || typeof exp !== 'string' || typeof iat !== 'string' || Date.parse(iat) > clock() + SKEW_MS) return null;
      const found = { family: sid, user: sub, until: Date.parse(exp) };
      verified.set(token, found);
      if (verified.size > VERIFIED_MAX) verified.delete(verified.keys().next().value!);
      return found;
    } catch {
      return null;
    }
  }

  function sessionOf(found: Verified | null): SessionRow | null {
    if (found === null || found.until <= clock()) return null;
    const row = live(found.family);
    return row?.user === found.user ? row : null;
  }

  return {
    /** Begins a session; what it is bound to must stay as it is. */
    async begin(user: string, o: { readonly credential: string; readonly address: string | null; readonly agent: string | null }): Promise<Signed> {
      makeRoom(user);
      const now = clock();
      const row: SessionRow = { family: randomUUID(), user, credential: mac(refreshKey, o.credential), generation: 1, begun: now, renewed: now, expires: now + REFRESH_MS, address: o.address, agent: o.agent, ended: null };
      save(row);
      return sign(row);
    },
    /** A new pair for the newest refresh token. An older one was stolen, or its successor was: then nobody's is good any more. */
    async renew(token: string): Promise<{ readonly signed: Signed; readonly row: SessionRow }> {
      const [family = '', number = '', proof = ''] = token.split('.');
      const generation = Number(number);
      const wanted = Buffer.from(mac(refreshKey, `${family}.${number}`));
      const given = Buffer.from(proof);
      if (wanted.length !== given.length || !timingSafeEqual(wanted, given)) throw ended('RefreshWrong', `This refresh token is none of this appliance. ${signIn}`);
      const row = live(family);
      if (row === null) throw ended('SessionEnded', `This session has ended. ${signIn}`);
      if (generation !== row.generation) {
        end(family, 'an old refresh token was used again');
        throw ended('RefreshReused', `This refresh token was used already, so somebody may have stolen it: the session is ended. ${signIn}`);
      }
      const now = clock();
      const next: SessionRow = { ...row, generation: row.generation + 1, renewed: now, expires: Math.min(now + REFRESH_MS, row.begun + SESSION_MAX_MS) };
      save(next);
      return { signed: await sign(next), row: next };
    },
    /** Whose token it is; null when it is none, has expired, or its session has ended. At once for one that was seen before. */
    of(token: string): SessionRow | null | Promise<SessionRow | null> {
      const seen = verified.get(token);
      return seen === undefined ? verify(token).then(sessionOf) : sessionOf(seen);
    },
    /** When a token that is good now ends, if its session does not end before; null for one that is not. */
    until: (token: string): number | null => verified.get(token)?.until ?? null,
    live,
    end,
    endAll: (user: string, why: string): void => endThese((row) => row.user === user, why),
    /** Who is declared no more is signed out: who comes back under that name begins anew. */
    endBut: (users: ReadonlySet<string>): void => endThese((row) => !users.has(row.user), 'the user was removed'),
    /** Whether a session was begun with this credential. */
    isBoundTo: (row: SessionRow, credential: string | null): boolean => credential !== null && row.credential === mac(refreshKey, credential),
    csrfOf,
    list: (user: string | null): readonly SessionRow[] => [...known.values()].filter((row) => (user === null || row.user === user) && live(row.family) !== null),
  };
}

/** Ed25519 out of 32 bytes, in the form that PASERK gives its keys. */
async function signingKeys(seed: Uint8Array) {
  const secret = createPrivateKey({ key: Buffer.concat([PKCS8_ED25519, seed]), format: 'der', type: 'pkcs8' });
  const point = Buffer.from(createPublicKey(secret).export({ format: 'jwk' }).x ?? '', 'base64url');
  const keys = new PublicProtocol(ImportSecretKeyFactory, ImportPublicKeyFactory);
  return {
    secret: await keys.ImportSecretKey(`k4.secret.${Buffer.concat([seed, point]).toString('base64url')}`),
    public: await keys.ImportPublicKey(`k4.public.${point.toString('base64url')}`),
  };
}

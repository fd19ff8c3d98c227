// Who asks: the token of a request or a socket, judged the same way at every door.
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import type { Reconciler, SessionRow, Snapshot } from '../reconciler/index.ts';
import { openCallers, type Callers } from './auth/callers.ts';
import { isKeyToken, openKeyCheck } from './auth/keys.ts';
import { openPasswords, type Passwords } from './auth/passwords.ts';
import { isSessionToken, openSessions, type Sessions } from './auth/sessions.ts';
import { openQuotas } from './auth/quota.ts';
import { openSetup, type Setup } from './auth/setup.ts';
import { asPlugin, directories, OWNER, type Directory, type Somebody } from './auth/somebody.ts';
import { openWatch, type Watch } from './auth/watch.ts';
import { isOwnOrigin, type Own } from './hosts.ts';
import type { Refusal } from './problem.ts';

/** Browsers cannot set headers on a WebSocket, but they can name subprotocols. */
const BEARER_PROTOCOL = 'bkg.bearer.';
/** The subprotocol that is chosen when a client offers it beside its token. */
const PLAIN_PROTOCOL = 'bkg';
/** What a page of ours sends beside its cookie: another page cannot read it. */
export const CSRF_HEADER = 'x-bkg-csrf';
const SAFE_METHODS = new Set(['GET', 'HEAD', 'OPTIONS']);
const NAME_BYTES = 4;

export type Identity =
  | { readonly kind: 'somebody'; readonly who: Somebody; /** Of who has signed in. */ readonly session: SessionRow | null }
  | { readonly kind: 'nobody'; readonly refusal: Refusal };
type Somebodys = Extract<Identity, { readonly kind: 'somebody' }>;
type Soon<Result> = Result | Promise<Result>;

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();

/** Compares in constant time, whatever the lengths. */
export const sameSecret = (a: string, b: string): boolean => timingSafeEqual(digest(a), digest(b));

/** Whether the peer of a connection is this machine. */
export function isLoopback(address: string | undefined): boolean {
  if (address === undefined) return false;
  const plain = address.startsWith('::ffff:') ? address.slice(7) : address;
  return plain === '::1' || /^127\.\d+\.\d+\.\d+$/.test(plain);
}

/** The bearer token of the Authorization header; null without one. */
export function bearerOf(request: IncomingMessage): string | null {
  const found = /^Bearer +(\S+) *$/i.exec(request.headers.authorization ?? '');
  return found?.[1] ?? null;
}

const protocolsOf = (request: IncomingMessage): readonly string[] =>
  (request.headers['sec-websocket-protocol'] ?? '').split(',').map((name) => name.trim()).filter((name) => name !== '');

/** The token of an upgrade: header, else subprotocol `bkg.bearer.<token>`, else `?access_token=`. */
export function socketTokenOf(request: IncomingMessage, query: URLSearchParams): string | null {
  const named = protocolsOf(request).find((name) => name.startsWith(BEARER_PROTOCOL));
  return bearerOf(request) ?? named?.slice(BEARER_PROTOCOL.length) ?? query.get('access_token');
}

/** A browser gives up when none of the protocols it offered is chosen; the token itself is echoed only when nothing else was. */
export function chooseProtocol(offered: ReadonlySet<string>): string | false {
  if (offered.has(PLAIN_PROTOCOL)) return PLAIN_PROTOCOL;
  return [...offered].find((name) => name.startsWith(BEARER_PROTOCOL)) ?? false;
}

/** The value of a cookie; null without it. */
export function cookieOf(headers: IncomingHttpHeaders, name: string): string | null {
  const found = (headers.cookie ?? '').split(';').map((part) => part.trim()).find((part) => part.startsWith(`${name}=`));
  return found?.slice(name.length + 1) ?? null;
}

const nobody = (status: number, code: string, detail: string): Identity => ({
  kind: 'nobody',
  refusal: { status, code, detail, ...(status === 401 ? { headers: { 'www-authenticate': 'Bearer realm="bkg"' } } : {}) },
});
const somebody = (who: Somebody, session: SessionRow | null = null): Identity => ({ kind: 'somebody', who, session });

const MISSING = nobody(401, 'TokenMissing', 'Send "Authorization: Bearer <token>": an API key (`bkg key mint`), the access token of POST /auth/login, or, on the machine itself, the token in $BKG_HOME/admin.token.');
const UNKNOWN = nobody(401, 'TokenWrong', 'This token is not in force: it has expired, its session has ended, or it was never good. Sign in again with POST /auth/login; the token in $BKG_HOME/admin.token changes at each start of bkg.');
const FAR = nobody(403, 'LoopbackOnly', 'The admin token is for callers on the machine itself. Use an API key or sign in, or connect through an SSH tunnel.');
const FOREIGN = nobody(403, 'OriginForeign', 'A request with a cookie must come from a page of this appliance.');
const FORGED = nobody(403, 'CsrfMissing', `A request with a cookie that changes something needs the header ${CSRF_HEADER}, with the csrf that POST /auth/login or GET /auth/me gave.`);

export type AccessOptions = {
  readonly reconciler: Pick<Reconciler, 'snapshot' | 'subscribe' | 'sessions' | 'saveSessions' | 'derive'>;
  readonly adminToken: string;
  readonly env: Readonly<Record<string, string | undefined>>;
};

export type Access = {
  readonly directory: () => Directory;
  readonly passwords: Passwords;
  readonly sessions: Sessions;
  readonly setup: Setup;
  readonly quotas: ReturnType<typeof openQuotas>;
  readonly watch: Watch;
  readonly callers: Callers;
  readonly cookies: { readonly session: string; readonly refresh: string };
  /** Whose token it is. At once for what was seen before. */
  readonly of: (token: string | null, peer: string | undefined) => Soon<Identity>;
  /** By its bearer token, else by its cookie. `own`: where our pages come from. */
  readonly ofRequest: (request: IncomingMessage, own: Own, token?: string | null) => Soon<Identity>;
  /** The same somebody as of now; null once they are nobody any more. */
  readonly again: (identity: Somebodys) => Identity;
  /** Ends what looks at the clock. */
  readonly close: () => void;
};

export async function openAccess({ reconciler, adminToken, env }: AccessOptions): Promise<Access> {
  const directory = directories(reconciler.snapshot);
  const passwords = openPasswords({ snapshot: reconciler.snapshot, env });
  const sessions = await openSessions({ reconciler, derive: (purpose) => reconciler.derive(purpose) });
  const keys = openKeyCheck(directory);
  // Cookies know no ports: two appliances on one host must not overwrite each other's.
  const home = Buffer.from(reconciler.derive('cookies').subarray(0, NAME_BYTES)).toString('hex');
  const cookies = { session: `bkg_${home}_session`, refresh: `bkg_${home}_refresh` };

  function ofSession(row: SessionRow | null): Identity {
    const who = row === null ? null : directory().user(row.user);
    const user = row === null ? undefined : reconciler.snapshot().desired.users.find((one) => one.name === row.user);
    if (row === null || who === null || user === undefined) return UNKNOWN;
    const credential = passwords.credentialOf(user);
    if (credential === 'unknown') return UNKNOWN;
    if (!sessions.isBoundTo(row, credential)) {
      sessions.end(row.family, 'the password was changed');
      return UNKNOWN;
    }
    return somebody(who, row);
  }

  function of(token: string | null, peer: string | undefined): Soon<Identity> {
    if (token === null) return MISSING;
    if (isKeyToken(token)) {
      const verdict = keys.check(token, peer);
      return verdict instanceof Promise ? verdict.then(ofKey) : ofKey(verdict);
    }
    if (isSessionToken(token)) {
      const row = sessions.of(token);
      return row instanceof Promise ? row.then(ofSession) : ofSession(row);
    }
    if (!sameSecret(token, adminToken)) return UNKNOWN;
    return isLoopback(peer) ? somebody(OWNER) : FAR;
  }

  function ofCookie(request: IncomingMessage, own: Own, cookie: string): Soon<Identity> {
    const isWrite = !SAFE_METHODS.has(request.method ?? '') || request.headers.upgrade !== undefined;
    // A page elsewhere may not use it to read either, whatever server.cors allows to those with a token.
    if ((isWrite && request.headers.origin === undefined) || !isOwnOrigin(request.headers, own)) return FOREIGN;
    const judge = (row: SessionRow | null): Identity => {
      const forged = row !== null && !SAFE_METHODS.has(request.method ?? '') && !sameSecret(String(request.headers[CSRF_HEADER] ?? ''), sessions.csrfOf(row.family));
      return forged ? FORGED : ofSession(row);
    };
    const row = sessions.of(cookie);
    return row instanceof Promise ? row.then(judge) : judge(row);
  }

  function again({ who, session }: Somebodys): Identity {
    if (session !== null) return ofSession(sessions.live(session.family));
    if (who.kind === 'plugin') return somebody(asPlugin(who.name.slice('plugin '.length), reconciler.snapshot()));
    if (who.key === null) return somebody(who);
    return ofKey(keys.again(who.key));
  }

  let users: Snapshot['desired']['users'] | null = null;
  const follow = ({ desired, file }: Snapshot): void => {
    // Nobody has left by a file that is half written, or that this start cannot resolve: who is not in it is refused meanwhile, and that is all.
    if (desired.users === users || !file.valid || file.revision !== file.inForce) return;
    users = desired.users;
    void passwords.refresh();
    sessions.endBut(new Set(users.map(({ name }) => name)));
  };
  await passwords.refresh();
  follow(reconciler.snapshot());
  const stop = reconciler.subscribe((event) => { if (event.type === 'snapshot') follow(event.snapshot); });

  const watch = openWatch();
  return {
    directory, passwords, sessions, cookies, of, quotas: openQuotas(), watch, callers: openCallers({ snapshot: reconciler.snapshot, again }), setup: openSetup({ reconciler, passwords }),
    ofRequest(request, own, token = bearerOf(request)) {
      const cookie = token === null ? cookieOf(request.headers, cookies.session) : null;
      return cookie === null ? of(token, request.socket.remoteAddress) : ofCookie(request, own, cookie);
    },
    again,
    close() {
      stop();
      watch.close();
    },
  };
}

const ofKey = (verdict: Awaited<ReturnType<ReturnType<typeof openKeyCheck>['check']>>): Identity => (verdict.ok ? somebody(verdict.who) : { kind: 'nobody', refusal: verdict.refusal });

// Signing in and out: tokens for clients, cookies for the pages of this appliance.
import type { DesiredUser } from '../../reconciler/index.ts';
import { ROLES } from '../../schema/scopes.ts';
import { cookieOf } from '../access.ts';
import { hash, PASSWORD_COST } from '../auth/bcrypt.ts';
import { badPassword } from '../auth/passwords.ts';
import { REFRESH_MS, type Signed } from '../auth/sessions.ts';
import { OWNER } from '../auth/somebody.ts';
import { isBusy } from '../auth/turns.ts';
import { commit } from '../edit.ts';
import { failure, refusalIn } from '../problem.ts';
import { ANY, type Answer, type Call, type Route, TEXT, json, list, object, route, asOwner } from '../route.ts';
import type { Schema } from '../../schema/walk.ts';
import { escapeToken } from '../../schema/pointer.ts';

const AGENT_MAX = 200;
const NAME_MAX = 63;
/** More is no password, and none is looked at. */
const PASSWORD_MAX = 1_000;

const text = (maxLength: number, description: string): Schema => ({ type: 'string', minLength: 1, maxLength, description });
/** A mistake in it is told without it. */
const secret = (description: string): Schema => ({ ...text(PASSWORD_MAX, description), 'x-secret': true });
const LOGIN: Schema = {
  type: 'object', required: ['user', 'password'], additionalProperties: false,
  properties: { user: text(NAME_MAX, 'Name of a declared user.'), password: secret('Their password.'), cookie: { type: 'boolean', description: 'true: the tokens come as cookies, for pages of this appliance.' } },
};
const REFRESH: Schema = { type: 'object', additionalProperties: false, properties: { refresh_token: secret('The newest refresh token; absent: the cookie.') } };
const PASSWORD: Schema = {
  type: 'object', required: ['password', 'next'], additionalProperties: false,
  properties: { password: secret('The password so far.'), next: secret('The new one: 10 characters at least, 72 bytes at most.') },
};

type Headers = { readonly 'set-cookie': string[] };

function cookies(call: Call, signed: Signed | null): Headers {
  const { access, secure } = call.house;
  const cookie = (name: string, value: string, o: { readonly path: string; readonly age_s: number }): string =>
    `${name}=${value}; Path=${o.path}; Max-Age=${signed === null ? 0 : o.age_s}; HttpOnly; SameSite=Strict${secure ? '; Secure' : ''}`;
  return { 'set-cookie': [
    cookie(access.cookies.session, signed?.access ?? '', { path: '/', age_s: signed?.expires_s ?? 0 }),
    cookie(access.cookies.refresh, signed?.refresh ?? '', { path: '/auth', age_s: REFRESH_MS / 1000 }),
  ] };
}

/** What a client gets: the tokens, or cookies with them and the csrf that writes need. */
function signedIn(call: Call, signed: Signed, o: { readonly user: string; readonly cookie: boolean }): Answer {
  const role = call.house.reconciler.snapshot().desired.users.find(({ name }) => name === o.user)?.role;
  // Removed while the token was signed.
  if (role === undefined) throw failure({ status: 401, code: 'SessionEnded', detail: `There is no user ${o.user} any more.` });
  const about = { user: o.user, role, scopes: ROLES[role], expires_in: signed.expires_s };
  if (o.cookie) return json({ ...about, csrf: signed.csrf }, { headers: cookies(call, signed) });
  return json({ ...about, access_token: signed.access, token_type: 'Bearer', refresh_token: signed.refresh });
}

const foreign = (): Error => failure({ status: 403, code: 'OriginForeign', detail: 'Cookies are for pages of this appliance. Other clients leave `cookie` out and get tokens.' });

/** Begins a session with cookies, for a page of ours. */
export async function signInAs(call: Call, name: string): Promise<{ readonly headers: Headers }> {
  return { headers: cookies(call, await begin(call, call.house.reconciler.snapshot().desired.users.find((user) => user.name === name)!)) };
}

async function begin(call: Call, user: DesiredUser): Promise<Signed> {
  const { access, reconciler } = call.house;
  const address = call.actor.address ?? null;
  const signed = await access.sessions.begin(user.name, { credential: access.passwords.credentialOf(user) ?? '', address, agent: call.headers['user-agent']?.slice(0, AGENT_MAX) ?? null });
  reconciler.audit({ actor: user.name, source: call.actor.source, address, action: 'login', target: user.name });
  reconciler.used('user', user.name);
  return signed;
}

async function login(call: Call): Promise<Answer> {
  const { user, password, cookie = false } = call.body as { readonly user: string; readonly password: string; readonly cookie?: boolean };
  const { access, reconciler } = call.house;
  if (cookie && !call.fromOwnPage) throw foreign();
  const found = await access.passwords.check(user, password, call.actor.address ?? undefined).catch((error: unknown) => {
    // Who is told to wait has tried nothing; and whoever types the password where the name belongs must not find it in the log.
    if (refusalIn(error)?.status !== 401) throw error;
    const known = reconciler.snapshot().desired.users.some(({ name }) => name === user) ? user : 'unknown';
    reconciler.audit({ actor: known, source: call.actor.source, address: call.actor.address ?? null, action: 'login', target: known, outcome: 'refused' });
    throw error;
  });
  return signedIn(call, await begin(call, found), { user: found.name, cookie });
}

async function refresh(call: Call): Promise<Answer> {
  const { access, reconciler } = call.house;
  const given = (call.body as { readonly refresh_token?: string }).refresh_token;
  const cookie = given === undefined ? cookieOf(call.headers, access.cookies.refresh) : null;
  if (cookie !== null && !call.fromOwnPage) throw foreign();
  const token = given ?? cookie;
  if (token === null) throw failure({ status: 401, code: 'TokenMissing', detail: 'Send {"refresh_token": …}, or the cookie that POST /auth/login set.' });
  const family = token.split('.')[0]!;
  const user = access.sessions.live(family)?.user ?? 'unknown';
  const { signed, row } = await access.sessions.renew(token).catch((error: unknown) => {
    // Of a token that nobody made nothing is known: it may be a key or a password.
    if (refusalIn(error)?.code === 'RefreshReused') reconciler.audit({ actor: user, source: call.actor.source, address: call.actor.address ?? null, action: 'login.refresh', target: family, outcome: 'refused' });
    throw error;
  });
  // The user may have gone, or have another password since.
  const identity = access.again({ kind: 'somebody', who: OWNER, session: row });
  if (identity.kind === 'nobody') throw failure(identity.refusal);
  return signedIn(call, signed, { user: row.user, cookie: cookie !== null });
}

function logout(call: Call): Answer {
  const { session, house } = call;
  if (session === null) throw failure({ status: 400, code: 'NoSession', detail: `${call.who.name} has not signed in, so there is nothing to sign out of. An API key is revoked with DELETE /admin/api-keys/{id}.` });
  house.access.sessions.end(session.family, 'signed out');
  house.reconciler.audit({ actor: session.user, source: call.actor.source, address: call.actor.address ?? null, action: 'logout', target: session.user });
  return json({ signedOut: true }, { headers: cookies(call, null) });
}

function me(call: Call): Answer {
  const { who, session, house } = call;
  const user = house.reconciler.snapshot().desired.users.find(({ name }) => name === who.user);
  return json({
    name: who.name, kind: who.kind, user: who.user, role: user?.role ?? null, scopes: who.key?.scopes ?? who.grants[0], within: who.key === null ? [] : who.grants.filter((granted) => granted !== who.key!.scopes), plugins: who.plugins,
    ...(session === null ? {} : { session: { begun: new Date(session.begun).toISOString(), expires: new Date(session.expires).toISOString() }, csrf: house.access.sessions.csrfOf(session.family) }),
  });
}

/** A hash for the file, or a refusal that says what is wrong with the password. */
export async function hashFor(password: string): Promise<string> {
  const bad = badPassword(password);
  if (bad !== null) throw failure({ status: 422, code: 'PasswordUnfit', detail: `${bad.message} ${bad.hint}` });
  const made = await hash(password, PASSWORD_COST);
  if (isBusy(made)) throw failure({ status: 503, code: 'Busy', detail: 'Too many people sign in at once. Try again in a moment.', headers: { 'retry-after': '1' } });
  return made;
}

/** One's own password, for whoever knows the one so far; no right is needed for that. */
async function changePassword(call: Call): Promise<Answer> {
  const { access, reconciler } = call.house;
  if (call.session === null) throw failure({ status: 403, code: 'NoSession', detail: 'Only who has signed in with a password can change it. On the machine itself: `bkg user passwd NAME`.' });
  const { password, next } = call.body as { readonly password: string; readonly next: string };
  const user = await access.passwords.check(call.session.user, password, call.actor.address ?? undefined);
  const made = await hashFor(next);
  await commit(asOwner(call), { read: await reconciler.read(), change: { operations: [{ op: 'add', path: `/users/${escapeToken(user.name)}/password`, value: { hash: made } }] }, ifRevision: null }, false);
  access.sessions.endAll(user.name, 'the password was changed');
  return json({ changed: true, message: 'Sign in again with the new password.' }, { headers: cookies(call, null) });
}

const TOKENS: Schema = {
  type: 'object', required: ['user', 'role', 'scopes', 'expires_in'],
  properties: {
    user: TEXT, role: TEXT, scopes: list(TEXT), expires_in: { type: 'integer', description: 'Seconds until the access token ends.' },
    access_token: { type: 'string', description: 'For the header authorization: Bearer …. Not with cookies.' }, token_type: { const: 'Bearer' },
    refresh_token: { type: 'string', description: 'Good once, for POST /auth/refresh. Not with cookies.' }, csrf: { type: 'string', description: 'With cookies only: writes send it as the header x-bkg-csrf.' },
  },
};

export const authRoutes: readonly Route[] = [
  route({ method: 'POST', path: '/auth/login', scope: 'public', summary: 'Signs in: an access token (PASETO v4.public, 15 minutes) and a refresh token (good once), or both as cookies.', output: TOKENS, input: { 'application/json': { schema: LOGIN } }, run: login }),
  route({ method: 'POST', path: '/auth/refresh', scope: 'public', summary: 'A new pair of tokens for the newest refresh token; an older one ends the session.', output: TOKENS, input: { 'application/json': { schema: REFRESH } }, bodyOptional: true, run: refresh }),
  route({ method: 'POST', path: '/auth/logout', scope: 'self', summary: 'Ends the session, at once and everywhere.', output: object({ signedOut: ANY }), run: logout }),
  route({ method: 'POST', path: '/auth/password', scope: 'self', summary: 'Changes the own password; its hash goes into the file, and every session of the user ends.', output: object({ changed: ANY }), input: { 'application/json': { schema: PASSWORD } }, run: changePassword }),
  route({ method: 'GET', path: '/auth/me', scope: 'self', summary: 'Who asks, and what they may.', output: object({ name: TEXT, kind: TEXT, scopes: ANY }), run: me }),
];

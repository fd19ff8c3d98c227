// Setting the first password: the page behind the one-time link, and what it sends.
import { createHash } from 'node:crypto';
import type { Json, PatchOperation } from '../../reconciler/index.ts';
import { escapeToken } from '../../schema/pointer.ts';
import type { Schema } from '../../schema/walk.ts';
import { sameSecret } from '../access.ts';
import { commit } from '../edit.ts';
import { failure, refusalIn } from '../problem.ts';
import { type Answer, type Call, type Route, TEXT, json, object, plain, route, asOwner } from '../route.ts';
import { PASSWORD_MIN_LENGTH } from '../auth/passwords.ts';
import { hashFor, signInAs } from './auth.ts';

const FORM = 'application/x-www-form-urlencoded';
const TEXT_MAX = 1_000;
const BODY: Schema = {
  type: 'object', required: ['code', 'password'], additionalProperties: false,
  properties: { code: { type: 'string', maxLength: TEXT_MAX, 'x-secret': true, description: 'Of the link.' }, password: { type: 'string', minLength: 1, maxLength: TEXT_MAX, 'x-secret': true, description: '10 characters at least, 72 bytes at most.' } },
};

const WORDS = {
  en: { title: 'bkg: first start', hello: (user: string) => `Choose the password of ${user}.`, user: 'Name', password: 'Password', again: 'Once more', go: 'Set it and sign in', over: 'The first password is set already. Sign in at', old: 'This is not the link of this start of bkg. It stands in the output of bkg; each start prints another one.', different: 'The two are not the same.', rule: '10 characters at least.', unfit: 'It needs 10 characters at least and may have 72 bytes at most.', note: 'Its hash goes into bkg.yaml; the password itself stands nowhere.' },
  de: { title: 'bkg: erster Start', hello: (user: string) => `Wähle das Passwort von ${user}.`, user: 'Name', password: 'Passwort', again: 'Noch einmal', go: 'Setzen und anmelden', over: 'Das erste Passwort ist schon gesetzt. Anmelden unter', old: 'Das ist nicht der Link dieses Starts von bkg. Er steht in der Ausgabe von bkg; jeder Start gibt einen anderen aus.', different: 'Die beiden sind nicht gleich.', rule: 'Mindestens 10 Zeichen.', unfit: 'Es braucht mindestens 10 Zeichen und darf höchstens 72 Bytes haben.', note: 'Sein Hash kommt in bkg.yaml; das Passwort selbst steht nirgends.' },
};

const STYLE = 'body{font:16px/1.5 system-ui,sans-serif;max-width:24rem;margin:15vh auto;padding:0 1rem;color:#1c1c1e;background:#fafafa}label{display:block;margin:1rem 0}input{display:block;width:100%;box-sizing:border-box;font:inherit;padding:.5rem;margin-top:.25rem;border:1px solid #8e8e93;border-radius:.4rem}button{font:inherit;padding:.6rem 1rem;border:0;border-radius:.4rem;background:#1d4ed8;color:#fff;cursor:pointer}[role=alert]{color:#b91c1c}small{color:#55555a}@media(prefers-color-scheme:dark){body{color:#f2f2f7;background:#111113}input{background:#1c1c1e;color:inherit}small{color:#aeaeb2}[role=alert]{color:#f87171}}';
const POLICY = `default-src 'none'; style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'`;

const escaped = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
const languageOf = (call: Call): keyof typeof WORDS => (/^\s*de\b/i.test(call.headers['accept-language'] ?? '') ? 'de' : 'en');

/** With no referrer at all a browser would send the form without an origin that can be told from a foreign one; elsewhere the link, with its code, is never told. */
const SENT_HERE = 'same-origin';

/** `over`: an admin can sign in. `old`: not the code of this start. */
type Link = 'over' | 'old' | { readonly code: string };

function page(call: Call, o: { readonly user: string; readonly link: Link; readonly wrong?: string; readonly status?: number }): Answer {
  const language = languageOf(call);
  const words = WORDS[language];
  const wrong = o.wrong === undefined ? '' : `<p role="alert">${escaped(o.wrong)}</p>`;
  const field = (name: string, label: string): string => `<label>${label}<input type="password" name="${name}" required minlength="${PASSWORD_MIN_LENGTH}" autocomplete="new-password"></label>`;
  // Password managers keep the name that stands before a password.
  const name = `<label>${words.user}<input type="text" name="user" value="${escaped(o.user)}" readonly autocomplete="username"></label>`;
  const form = o.link === 'over' ? `<p>${words.over} <a href="/">/</a>.</p>`
    : o.link === 'old' ? `<p role="alert">${words.old}</p>`
    : `<p>${escaped(words.hello(o.user))}</p>${wrong}<form method="post" action="/auth/setup"><input type="hidden" name="code" value="${escaped(o.link.code)}">${name}${field('password', words.password)}${field('again', words.again)}<button>${words.go}</button></form><p><small>${words.rule} ${words.note}</small></p>`;
  const html = `<!doctype html>\n<html lang="${language}">\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width">\n<title>${words.title}</title>\n<style>${STYLE}</style>\n<h1>${words.title}</h1>\n${form}\n</html>\n`;
  return plain(html, { type: 'text/html; charset=utf-8', headers: { 'content-security-policy': POLICY, 'referrer-policy': SENT_HERE }, status: o.status ?? 200 });
}

/** Sets the password of the first admin, for whoever knows the code. Throws a refusal. */
async function set(call: Call, sent: { readonly code: string; readonly password: string }): Promise<string> {
  const { access, reconciler } = call.house;
  const { setup } = access;
  const code = await setup.code();
  if (code === null) throw failure({ status: 409, code: 'SetUpAlready', detail: 'An admin can sign in already, so the link is over. POST /auth/login signs in; `bkg user passwd NAME` on the machine sets another password.' });
  if (!sameSecret(code, sent.code)) throw failure({ status: 403, code: 'SetupCodeWrong', detail: 'This is not the link of this start of bkg. It stands in the output of bkg; each start prints another one.' });
  const { name, declared } = setup.user();
  const value = { hash: await hashFor(sent.password) };
  // Of two at once the first has used it.
  if (code !== (await setup.code())) throw failure({ status: 409, code: 'SetUpAlready', detail: 'Somebody has just set the password with this link.' });
  setup.burn();
  const at = `/users/${escapeToken(name)}`;
  const add = (path: string, to: Json): PatchOperation => ({ op: 'add', path, value: to });
  const operations = declared ? [add(`${at}/role`, 'admin'), add(`${at}/password`, value)] : [add(at, { role: 'admin', password: value })];
  await commit({ ...asOwner(call), actor: { ...call.actor, name: 'setup' } }, { read: await reconciler.read(), change: { operations }, ifRevision: null }, false);
  return name;
}

/** What a refusal says of the link itself. */
const LINKS: Readonly<Record<string, 'over' | 'old'>> = { SetupCodeWrong: 'old', SetUpAlready: 'over' };

async function setByForm(call: Call): Promise<Answer> {
  if (!call.fromOwnPage) throw failure({ status: 403, code: 'OriginForeign', detail: 'Open the link that bkg printed, and send its form.' });
  const form = new URLSearchParams(call.body as string);
  const sent = { code: form.get('code') ?? '', password: form.get('password') ?? '' };
  const user = call.house.access.setup.user().name;
  const again = (wrong: string): Answer => page(call, { user, link: { code: sent.code }, wrong, status: 422 });
  if (form.get('again') !== sent.password) return again(WORDS[languageOf(call)].different);
  try {
    const { headers } = await signInAs(call, await set(call, sent));
    return plain('', { status: 303, headers: { ...headers, location: '/' } });
  } catch (error) {
    const refusal = refusalIn(error);
    if (refusal === null) throw error;
    const link = LINKS[refusal.code];
    return link === undefined ? again(refusal.code === 'PasswordUnfit' ? WORDS[languageOf(call)].unfit : refusal.detail) : page(call, { user, link, status: refusal.status });
  }
}

async function setByJson(call: Call): Promise<Answer> {
  const user = await set(call, call.body as { readonly code: string; readonly password: string });
  return json({ user, message: 'The password is set. Sign in with POST /auth/login.' });
}

export const setupRoutes: readonly Route[] = [
  route({
    method: 'POST', path: '/auth/setup', scope: 'public', summary: 'Sets the first password, with the code of the link that bkg prints while no admin can sign in.', output: object({ user: TEXT }),
    input: { 'application/json': { schema: BODY }, [FORM]: { schema: TEXT, text: true } }, run: (call) => (call.type === FORM ? setByForm(call) : setByJson(call)),
  }),
];

/** For the port that serves pages. */
export const setupPage: Route = route({
  method: 'GET', path: '/setup', scope: 'public', summary: 'The page behind the one-time link.', query: { code: 'Of the link.' }, output: TEXT,
  async run(call) {
    const { setup } = call.house.access;
    const [code, sent] = [await setup.code(), call.query.get('code') ?? ''];
    return page(call, { user: setup.user().name, link: code === null ? 'over' : sameSecret(code, sent) ? { code: sent } : 'old' });
  },
});

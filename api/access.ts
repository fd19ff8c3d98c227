// Who asks: until users exist the one credential is the admin token of this home, and only from this machine.
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Refusal } from './problem.ts';

/** Browsers cannot set headers on a WebSocket, but they can name subprotocols. */
const BEARER_PROTOCOL = 'bkg.bearer.';
/** The subprotocol that is chosen when a client offers it beside its token. */
const PLAIN_PROTOCOL = 'bkg';

export type Identity =
  /** Holds the admin token and asks from this machine. */
  | { readonly kind: 'admin' }
  | { readonly kind: 'nobody'; readonly refusal: Refusal };

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

const nobody = (status: number, code: string, detail: string): Identity => ({
  kind: 'nobody',
  refusal: { status, code, detail, ...(status === 401 ? { headers: { 'www-authenticate': 'Bearer realm="bkg"' } } : {}) },
});

/**
 * Judges a token: the one rule of control plane, data plane and bus. `peer` is the address at the other end of the
 * connection. `known` was judged right before: whoever asks often spares the hashing.
 */
export function identify(token: string | null, o: { readonly adminToken: string; readonly peer: string | undefined; readonly known?: string | null }): Identity {
  if (token === null) {
    return nobody(401, 'TokenMissing', 'Send "Authorization: Bearer <token>". The token of this appliance lies in $BKG_HOME/admin.token (by default .bkg/admin.token beside bkg.yaml).');
  }
  if (token !== o.known && !sameSecret(token, o.adminToken)) {
    return nobody(401, 'TokenWrong', 'This token is not the one in force; it changes at each start of bkg. Read it again from $BKG_HOME/admin.token.');
  }
  if (!isLoopback(o.peer)) return nobody(403, 'LoopbackOnly', 'The admin token is for callers on the machine itself. Connect to 127.0.0.1 there, or through an SSH tunnel.');
  return { kind: 'admin' };
}

// Who may use the data plane: whoever the control plane takes for the owner, in the words of OpenAI's errors.
import type { IncomingMessage } from 'node:http';
import { bearerOf, identify } from '../access.ts';
import type { Refusal } from '../problem.ts';

export type Authorized = { readonly ok: true; readonly key: string } | { readonly ok: false; readonly status: number; readonly code: string; readonly message: string };
export type Authorize = (request: IncomingMessage) => Authorized;

/** What OpenAI's clients know by another name. */
const CODES: Readonly<Record<string, string>> = { TokenMissing: 'missing_api_key', TokenWrong: 'invalid_api_key', LoopbackOnly: 'loopback_only' };

const inOpenAiWords = (refusal: Refusal): Authorized =>
  ({ ok: false, status: refusal.status, code: CODES[refusal.code] ?? refusal.code, message: refusal.detail });

/** The bearer of the admin token on this machine. What was right once is remembered, so the hot path hashes nothing. */
export function authorizeAdmin(adminToken: string): Authorize {
  const admin: Authorized = { ok: true, key: 'admin' };
  let known: string | null = null;
  return (request) => {
    const token = bearerOf(request);
    const identity = identify(token, { adminToken, peer: request.socket.remoteAddress, known });
    if (identity.kind === 'nobody') return inOpenAiWords(identity.refusal);
    known = token;
    return admin;
  };
}

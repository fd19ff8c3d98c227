// Who may use the data plane: for now the bearer of this home's admin token. A known header costs one look-up.
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

export type Authorized = { readonly ok: true; readonly key: string } | { readonly ok: false; readonly status: number; readonly code: string; readonly message: string };
export type Authorize = (request: IncomingMessage) => Authorized;

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();

const MISSING: Authorized = { ok: false, status: 401, code: 'missing_api_key', message: 'No API key was sent. Send `Authorization: Bearer <token>`; the token of this machine stands in admin.token of the appliance\'s home.' };
const WRONG: Authorized = { ok: false, status: 401, code: 'invalid_api_key', message: 'This API key is not valid. The token of this machine stands in admin.token of the appliance\'s home; it changes at each start.' };

/** Compares digests in constant time; what was right once is remembered, so the hot path hashes nothing. */
export function authorizeAdmin(token: string): Authorize {
  const right = digest(`Bearer ${token}`);
  const admin: Authorized = { ok: true, key: 'admin' };
  let known: string | null = null;
  return (request) => {
    const header = request.headers.authorization;
    if (header === undefined) return MISSING;
    if (known !== null && header === known) return admin;
    if (!timingSafeEqual(digest(header), right)) return WRONG;
    known = header;
    return admin;
  };
}

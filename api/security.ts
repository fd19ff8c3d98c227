// Headers that every answer carries, so that a browser does with it what was meant and nothing else.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { hostnameOf, isLocalName } from './hosts.ts';

const HEADERS: readonly (readonly [name: string, value: string])[] = [
  ['x-content-type-options', 'nosniff'],
  ['referrer-policy', 'no-referrer'],
  ['x-frame-options', 'DENY'],
  // Pages elsewhere that may read answers (server.cors) do so by CORS, which this leaves alone.
  ['cross-origin-resource-policy', 'same-origin'],
];

/** Name and value in turn, as writeHead takes them: on the data plane setting them one by one costs twice as much. */
export const SECURITY_HEADERS: readonly string[] = HEADERS.flat();

/** For answers that are written to a bare socket. */
export const SECURITY_LINES = HEADERS.map(([name, value]) => `${name}: ${value}\r\n`).join('');

/** Half a year: longer than any pause between two visits. Without subdomains, which are other machines. */
const HSTS = 'max-age=15768000';

/** `bare`: of the data plane, whose writers put the constant ones in by themselves. */
export function secure(request: IncomingMessage, response: ServerResponse, o: { readonly tls: boolean; readonly bare: boolean }): void {
  if (!o.bare) for (const [name, value] of HEADERS) response.setHeader(name, value);
  // It holds for every port of a host: of localhost it would take the plain HTTP of every other program.
  if (o.tls && !isLocalName(hostnameOf(request.headers.host) ?? '')) response.setHeader('strict-transport-security', HSTS);
}

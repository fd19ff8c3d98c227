// Which Host and Origin a request may carry: a web page must not reach the appliance under a name of its own.
import type { IncomingHttpHeaders } from 'node:http';
import { isIP } from 'node:net';
import type { Refusal } from './problem.ts';

/** Host name of a `Host` header, without port and brackets, in lower case; null for what is no host. */
export function hostnameOf(header: string | undefined): string | null {
  const found = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9_.-]+))(?::\d{1,5})?$/i.exec(header ?? '');
  return (found?.[1] ?? found?.[2])?.toLowerCase().replace(/\.$/, '') ?? null;
}

/** Names that are always this machine. */
export const isLocalName = (name: string): boolean => name === 'localhost' || name.endsWith('.localhost');

/** How this appliance is called: the address it listens on, and the names of `server.names`. */
export type Called = { readonly host: string; readonly names?: readonly string[] };
/** Where our own pages come from. `secure`: over TLS only. */
export type Own = Called & { readonly ports: readonly (number | null)[]; readonly secure?: boolean };

/** DNS rebinding needs a name an attacker owns; loopback names, plain addresses and the names the owner declares are none. */
export function isKnownHost(header: string | undefined, called: Called): boolean {
  const name = hostnameOf(header);
  if (name === null) return false;
  return isLocalName(name) || isIP(name) !== 0 || name === called.host.toLowerCase() || called.names?.includes(name) === true;
}

/** The refusal of a request whose Host is not known; null when it is. */
export function refuseHost(headers: IncomingHttpHeaders, called: Called): Refusal | null {
  if (isKnownHost(headers.host, called)) return null;
  return {
    status: 421, code: 'HostUnknown',
    detail: `This appliance does not answer to the host ${JSON.stringify(headers.host ?? '')}. Use localhost or an address, or add the name to server.names in bkg.yaml.`,
  };
}

/** Whether a request may come from this page: no Origin (no browser) or one of our own pages. */
export function isOwnOrigin(headers: IncomingHttpHeaders, own: Own): boolean {
  const { origin } = headers;
  if (origin === undefined) return true;
  if (!URL.canParse(origin)) return false;
  const { protocol, host, port } = new URL(origin);
  // Where there is TLS, a page without it was put there by somebody on the line.
  if (protocol !== 'https:' && (protocol !== 'http:' || own.secure === true)) return false;
  const number = port === '' ? (protocol === 'http:' ? 80 : 443) : Number(port);
  return isKnownHost(host, own) && hostnameOf(host) === hostnameOf(headers.host) && own.ports.includes(number);
}

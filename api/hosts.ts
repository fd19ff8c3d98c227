// Which Host and Origin a request may carry: a web page must not reach the appliance under a name of its own.
import type { IncomingHttpHeaders } from 'node:http';
import { isIP } from 'node:net';
import type { Refusal } from './problem.ts';

/** Host name of a `Host` header, without port and brackets, in lower case; null for what is no host. */
export function hostnameOf(header: string | undefined): string | null {
  const found = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9_.-]+))(?::\d{1,5})?$/i.exec(header ?? '');
  return (found?.[1] ?? found?.[2])?.toLowerCase().replace(/\.$/, '') ?? null;
}

/** DNS rebinding needs a name an attacker owns; loopback names, the configured host and plain addresses are none. */
export function isKnownHost(header: string | undefined, configured: string): boolean {
  const name = hostnameOf(header);
  if (name === null) return false;
  return name === 'localhost' || name.endsWith('.localhost') || isIP(name) !== 0 || name === configured.toLowerCase();
}

/** The refusal of a request whose Host is not known; null when it is. */
export function refuseHost(headers: IncomingHttpHeaders, configured: string): Refusal | null {
  if (isKnownHost(headers.host, configured)) return null;
  return {
    status: 421, code: 'HostUnknown',
    detail: `This appliance does not answer to the host ${JSON.stringify(headers.host ?? '')}. Use localhost, an address, or the name in server.host of bkg.yaml.`,
  };
}

/** Whether a WebSocket may be opened by this page: no Origin (no browser) or one of our own pages. */
export function isOwnOrigin(headers: IncomingHttpHeaders, own: { readonly host: string; readonly ports: readonly (number | null)[] }): boolean {
  const { origin } = headers;
  if (origin === undefined) return true;
  if (!URL.canParse(origin)) return false;
  const { protocol, host, port } = new URL(origin);
  if (protocol !== 'http:' && protocol !== 'https:') return false;
  const number = port === '' ? (protocol === 'http:' ? 80 : 443) : Number(port);
  return isKnownHost(host, own.host) && hostnameOf(host) === hostnameOf(headers.host) && own.ports.includes(number);
}

// What can go wrong with a download, in words for the owner.
import type { Fault, FetchFault } from './download.ts';

const PASSING: ReadonlySet<FetchFault> = new Set<FetchFault>(['Network', 'DiskFull', 'Unreadable', 'Unwritable', 'Aborted']);
/** How OpenSSL and node name a certificate they do not accept. */
const UNTRUSTED = /CERT|ISSUER|SELF_SIGNED/;
/** What will be the same at the next try. */
const LASTING = new Set(['NO_PROXY', 'UNSENDABLE']);

/** What the codes of a failed connection mean; others speak for themselves. */
const UNREACHED: Readonly<Record<string, string>> = {
  ENOTFOUND: 'no such host is known; is the network up, and the address right?',
  EAI_AGAIN: 'its name could not be looked up; is the network up?',
  ECONNREFUSED: 'it takes no connections',
  ECONNRESET: 'it broke the connection off',
  ENETUNREACH: 'there is no way to it; is the network up?',
  EHOSTUNREACH: 'there is no way to it; is the network up?',
  ETIMEDOUT: 'it did not answer in time',
};

/** What went wrong on the way, told apart from our own mistakes and from the disk's by the host it names. */
export type WireError = Error & { readonly code: string; readonly host: string };

export const ofWire = (error: Error & { readonly code?: string }, host: string): WireError => Object.assign(new Error(error.message, { cause: error }), { code: error.code ?? '', host });
export const isOfWire = (error: unknown): error is WireError => typeof (error as { readonly host?: unknown }).host === 'string';

export const fault = (reason: FetchFault, message: string): Fault => ({ ok: false, reason, transient: PASSING.has(reason), message });
export const stopped = (): Fault => fault('Aborted', 'bkg is stopping; it goes on from here at the next start');

export function wireFault({ code, message, host }: WireError): Fault {
  if (UNTRUSTED.test(code)) return { ...fault('Network', `${host}: its certificate is not trusted here (${code}); add its authority to the machine's list or name it in NODE_EXTRA_CA_CERTS, then start bkg anew`), transient: false };
  return { ...fault('Network', `${host}: ${UNREACHED[code] ?? message}${code === '' ? '' : ` (${code})`}`), transient: !LASTING.has(code) };
}

/** Of a disk or a folder; null when the error is of something else. */
export function diskFault(error: unknown, folder: string): Fault | null {
  const { code = '', path, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT') return fault('DiskFull', `the disk of ${folder} is full; make room, it goes on from here`);
  if (path !== undefined) return fault('Unwritable', `${folder} cannot be used: ${message}; let bkg's user write there`);
  return null;
}

// Speaks TLS with the bkg of a home: what it trusts is the very certificate that this bkg says it shows, whoever issued it.
import { X509Certificate } from 'node:crypto';
import type { Dispatcher } from 'undici';

/** Null for plain HTTP. What takes long to load is loaded only where there is TLS. */
export async function dispatcherFor(certificate: string | null): Promise<Dispatcher | null> {
  if (certificate === null) return null;
  const { Agent } = await import('undici');
  const { fingerprint256 } = new X509Certificate(certificate);
  return new Agent({
    connect: {
      ca: certificate,
      // It stands for itself also where somebody else has issued it; those others are not trusted here.
      allowPartialTrustChain: true,
      // It is called by address: what counts is not the name in it but that it is this one.
      checkServerIdentity: (_name, shown) => (shown.fingerprint256 === fingerprint256 ? undefined : new Error('it shows another certificate than the bkg of this home does')),
    },
  });
}

export type Sent = { readonly method: string; readonly headers: Readonly<Record<string, string>>; readonly body?: string };
export type Received = { readonly status: number; readonly headers: Headers; readonly text: string };

export async function send(url: string, sent: Sent, dispatcher: Dispatcher | null): Promise<Received> {
  if (dispatcher === null) {
    const response = await fetch(url, sent);
    return { status: response.status, headers: response.headers, text: await response.text() };
  }
  const undici = await import('undici');
  const response = await undici.fetch(url, { ...sent, dispatcher });
  return { status: response.status, headers: new Headers([...response.headers]), text: await response.text() };
}

// The certificate of the doors: checked when they open, looked at again each few seconds, and changed without a restart.
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import type { Server } from 'node:https';
import { createSecureContext, type SecureContextOptions } from 'node:tls';
import type { Logger } from 'pino';
import { begin, type Desired } from '../reconciler/index.ts';

export type TlsFiles = NonNullable<Desired['server']['tls']>;

/** A renewed certificate is wanted soon, not at once; two small files cost nothing to read. */
const LOOK_MS = 3_000;
/** A chain of a dozen certificates has 30 KB. */
const FILE_MAX_BYTES = 256 * 1024;

type Pair = { readonly cert: string; readonly key: string; /** What clients are shown first, as PEM. */ readonly leaf: X509Certificate };

/** What is wrong with the files, and what to do about it. */
export type TlsUnusable = Error & { readonly code: 'TlsUnusable'; readonly remedy: string };

const unusable = (message: string, remedy: string): TlsUnusable => Object.assign(new Error(message), { code: 'TlsUnusable' as const, remedy });
const isUnusable = (error: unknown): error is TlsUnusable => error instanceof Error && 'code' in error && error.code === 'TlsUnusable';

/** TLS 1.0 and 1.1 are broken; HTTP/2 is not spoken here. */
export const tlsOptions = ({ cert, key }: Pick<Pair, 'cert' | 'key'>): SecureContextOptions => ({ cert, key, minVersion: 'TLSv1.2' });

export type Certificate = {
  /** For the server that opens. */
  readonly now: () => SecureContextOptions;
  /** The first certificate of the file in use, as PEM. */
  readonly shown: () => string;
  /** Why clients refuse it, or why the files of now are not in use; null when all is well. */
  readonly trouble: () => string | null;
  /** Servers that get the next one, too. */
  readonly keep: (server: Server) => void;
  readonly close: () => void;
};

/** Throws `TlsUnusable` when the files hold no certificate with its key. `files` is asked at each look: other ones may be declared meanwhile. */
export async function openCertificate(o: { readonly files: () => TlsFiles; readonly log: Logger; readonly look_ms?: number }): Promise<Certificate> {
  const servers: Server[] = [];
  let pair = await readPair(o.files());
  let fault: { readonly message: string; readonly told: boolean } | null = null;
  sayTime();
  let looking = false;

  function take(next: Pair): void {
    fault = null;
    if (next.cert === pair.cert && next.key === pair.key) return;
    for (const server of servers) server.setSecureContext(tlsOptions(next));
    pair = next;
    o.log.info(`another certificate is in use: ${nameOf(next.leaf)}, until ${next.leaf.validToDate.toISOString()}`);
    sayTime();
  }

  /** It is used all the same: clients say what they think of it, and no certificate at all would help nobody. */
  function sayTime(): void {
    const wrong = outOfTime(pair);
    if (wrong !== null) o.log.warn(wrong);
  }

  /** Two files are replaced one after the other: only what is wrong at two looks in a row is told, once. */
  function keepOld(message: string): void {
    const again = fault?.message === message;
    if (again && fault?.told === false) o.log.warn(`${message}. The certificate that was in use stays in use.`);
    fault = { message, told: again };
  }

  const timer = setInterval(() => {
    if (looking) return;
    looking = true;
    begin(async () => {
      await readPair(o.files()).then(take, (error: unknown) => {
        if (!isUnusable(error)) throw error;
        keepOld(error.message);
      });
      looking = false;
    }, (error) => {
      looking = false;
      o.log.error({ err: error }, 'bkg made a mistake with the certificate; the next look tries again');
    });
  }, o.look_ms ?? LOOK_MS);
  timer.unref();
  return {
    now: () => tlsOptions(pair), shown: () => pair.leaf.toString(), trouble: () => (fault?.told === true ? `${fault.message}. The certificate that was in use stays in use.` : outOfTime(pair)),
    keep: (server) => { servers.push(server); }, close: () => clearInterval(timer),
  };
}

/** Throws `TlsUnusable` when the files hold no certificate with its key. Returns why clients refuse it, or null. */
export const checkCertificate = async (files: TlsFiles): Promise<string | null> => outOfTime(await readPair(files));

async function readPair(files: TlsFiles): Promise<Pair> {
  const [cert, key] = [await textOf(files.cert, 'cert'), await textOf(files.key, 'key')];
  const leaf = attempt(() => new X509Certificate(cert), () => unusable(`server.tls.cert: ${files.cert} holds no certificate in PEM form`, 'It begins with -----BEGIN CERTIFICATE-----; those it was issued by follow it in the same file.'));
  const privateKey = attempt(() => createPrivateKey(key), () => (/ENCRYPTED/.test(key)
    ? unusable(`server.tls.key: ${files.key} wants a passphrase`, 'Store the key without one, readable for the user of bkg only (chmod 600): `openssl pkey -in OLD -out NEW`.')
    : unusable(`server.tls.key: ${files.key} holds no private key in PEM form`, 'It begins with -----BEGIN PRIVATE KEY-----, or with the kind of key before PRIVATE.')));
  if (!leaf.checkPrivateKey(privateKey)) throw unusable(`server.tls: the key in ${files.key} is not that of the first certificate in ${files.cert}`, 'The certificate of this machine stands first in its file, and the key is the one that it was made with.');
  attempt(() => createSecureContext(tlsOptions({ cert, key })), (error) => unusable(`server.tls: ${files.cert} and ${files.key} cannot be used: ${messageOf(error)}`, 'Make a new pair, for example with `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes`.'));
  return { cert, key, leaf };
}

async function textOf(path: string, what: 'cert' | 'key'): Promise<string> {
  const fail = (why: string): TlsUnusable => unusable(`server.tls.${what}: ${path} ${why}`, 'It must be a file that the user of bkg may read; paths are relative to bkg.yaml.');
  try {
    const found = await stat(path);
    if (!found.isFile()) throw fail('is no file');
    if (found.size > FILE_MAX_BYTES) throw fail(`is larger than ${FILE_MAX_BYTES / 1024} KiB`);
    return await readFile(path, 'utf8');
  } catch (error) {
    throw isUnusable(error) ? error : fail(`cannot be read: ${messageOf(error)}`);
  }
}

function attempt<Result>(work: () => Result, failed: (error: unknown) => TlsUnusable): Result {
  try {
    return work();
  } catch (error) {
    throw failed(error);
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
const nameOf = (leaf: X509Certificate): string => leaf.subjectAltName ?? leaf.subject.replaceAll('\n', ', ');

function outOfTime({ leaf }: Pair): string | null {
  const now = new Date();
  if (leaf.validToDate < now) return `The certificate ${nameOf(leaf)} has expired on ${leaf.validToDate.toISOString()}: clients refuse it. Put a new one into the files of server.tls; bkg takes it in by itself.`;
  return leaf.validFromDate > now ? `The certificate ${nameOf(leaf)} is good only from ${leaf.validFromDate.toISOString()} on: clients refuse it until then.` : null;
}

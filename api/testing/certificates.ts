// Certificates for tests, made by openssl where there is one; a test without it says that it was skipped.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, renameSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export type Files = { readonly cert: string; readonly key: string };

/** A folder for the files of one test; null where openssl is missing, which is printed. */
export function certificatesFolder(): string | null {
  if (spawnSync('openssl', ['version']).status === 0) return mkdtempSync(join(tmpdir(), 'bkg-certs-'));
  console.log('skipped: there is no openssl on this machine to make certificates with');
  return null;
}

/** Longer than any test runs. */
const DAYS = '2';

const ca = (folder: string): readonly string[] => ['-CA', join(folder, 'ca.crt'), '-CAkey', join(folder, 'ca.key')];

/** A pair for a name, self-signed or issued by the pair `ca` of the same folder. */
export function makePair(folder: string, name: string, o: { readonly issued?: boolean; readonly isCa?: boolean } = {}): Files {
  const files = { cert: join(folder, `${name}.crt`), key: join(folder, `${name}.key`) };
  const made = spawnSync('openssl', [
    'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', files.key, '-out', files.cert, '-days', DAYS, '-subj', `/CN=${name}`,
    '-addext', `subjectAltName=DNS:${name}`, ...(o.isCa === true ? [] : ['-addext', 'basicConstraints=critical,CA:FALSE']), ...(o.issued === true ? ca(folder) : []),
  ], { encoding: 'utf8' });
  if (made.status !== 0) throw new Error(made.stderr);
  return files;
}

/** Puts a text in place of a file, as renewing tools do. */
export function replaceFile(path: string, text: string): void {
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
}

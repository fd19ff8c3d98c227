// The house's own key: tokens of plugins are derived from it, so that they outlive bkg without being stored.
import { createCipheriv, createDecipheriv, createHash, createHmac, createSecretKey, randomBytes, timingSafeEqual } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const KEY_BYTES = 32;
const CIPHER = 'aes-256-gcm';
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

export type Secrets = {
  /** Keyed hash: what it is made of cannot be guessed from it without the key. */
  readonly seal: (text: string) => string;
  /** 32 bytes that only this home can make, others for each purpose. */
  readonly derive: (purpose: string) => Uint8Array;
  /** A text as only this home can read it; another one each time. */
  readonly encrypt: (text: string) => string;
  /** Null when it is not of this home, or was changed. */
  readonly decrypt: (sealed: string) => string | null;
  /** Bearer a plugin demands on its port. */
  readonly inbound: (incarnation: string) => string;
  /** Bearer a plugin shows on the bus. */
  readonly busToken: (incarnation: string) => string;
  /** The incarnation a bus token was made for; null for any other string. Constant time. */
  readonly incarnationOf: (token: string) => string | null;
};

export const sha256 = (text: string | Uint8Array): string => createHash('sha256').update(text).digest('hex');

/** Reads `keys/house.key` (0600), made at the first start. */
export function openSecrets(home: string): Secrets {
  const folder = join(home, 'keys');
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, 'house.key');
  if (!existsSync(path)) {
    writeFileSync(`${path}.new`, randomBytes(KEY_BYTES), { mode: 0o600 });
    renameSync(`${path}.new`, path);
  }
  const bytes = readFileSync(path);
  if (bytes.length !== KEY_BYTES) throw new Error(`${path} is damaged: it should hold ${KEY_BYTES} bytes. Put a backup back, or delete it (running plugins will then be restarted)`);
  const key = createSecretKey(bytes);
  const mac = (purpose: string, text: string): string => createHmac('sha256', key).update(`${purpose}\0${text}`).digest('hex');
  const derive = (purpose: string): Buffer => Buffer.from(mac('derive', purpose), 'hex');
  const textKey = createSecretKey(derive('texts'));
  return {
    encrypt(text) {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv(CIPHER, textKey, nonce);
      const body = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
      return Buffer.concat([nonce, cipher.getAuthTag(), body]).toString('base64');
    },
    decrypt(sealed) {
      const bytes = Buffer.from(sealed, 'base64');
      try {
        const decipher = createDecipheriv(CIPHER, textKey, bytes.subarray(0, NONCE_BYTES)).setAuthTag(bytes.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES));
        return Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES + TAG_BYTES)), decipher.final()]).toString('utf8');
      } catch {
        return null;
      }
    },
    seal: (text) => mac('seal', text),
    derive,
    inbound: (incarnation) => mac('inbound', incarnation),
    busToken: (incarnation) => `${incarnation}.${mac('bus', incarnation)}`,
    incarnationOf: (token) => {
      const dot = token.indexOf('.');
      const incarnation = token.slice(0, dot);
      const given = createHash('sha256').update(token.slice(dot + 1)).digest();
      const right = createHash('sha256').update(mac('bus', incarnation)).digest();
      return dot > 0 && timingSafeEqual(given, right) ? incarnation : null;
    },
  };
}

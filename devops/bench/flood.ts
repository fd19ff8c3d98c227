// A stranger who tries keys as fast as the machine lets him; says when he begins, and his rate when he is told to stop.
import { randomBytes } from 'node:crypto';
import { Pool } from 'undici';

const CONNECTIONS = 32;
const SECRET_LENGTH = 43;

const [url = '', prefix = ''] = process.argv.slice(2);
const pool = new Pool(url, { connections: CONNECTIONS, pipelining: 8 });
let going = true;
let tried = 0;

/** Another secret each time: none is known to be wrong yet. */
const wrongKey = (): string => prefix + randomBytes(SECRET_LENGTH).toString('base64').replace(/[^A-Za-z0-9]/g, 'x').slice(0, SECRET_LENGTH);

async function tryKeys(): Promise<void> {
  while (going) {
    const { statusCode, body } = await pool.request({ path: '/v1/models', method: 'GET', headers: { authorization: `Bearer ${wrongKey()}` } });
    await body.dump();
    if (statusCode !== 401 && statusCode !== 429) throw new Error(`a wrong key got ${statusCode}`);
    tried += 1;
  }
}

const began = performance.now();
process.on('message', () => {
  going = false;
  process.send?.(tried / ((performance.now() - began) / 1000), () => process.exit(0));
});
process.send?.('begun');
await Promise.all(Array.from({ length: CONNECTIONS * 8 }, tryKeys));

// A stranger who tries keys as fast as the machine lets him, on bare sockets; says when he begins, and his rate when he is told to stop.
import { connect } from 'node:net';
import { once } from 'node:events';

const CONNECTIONS = 16;
/** Requests on the way at once on each connection. */
const AHEAD = 16;
const SECRET_LENGTH = 43;
/** Wrong, too many, or not now. */
const REFUSED = /HTTP\/1\.1 [45]/;
const STATUS_LENGTH = 'HTTP/1.1 4'.length;
const LET_IN = 'HTTP/1.1 2';

/** So many a second and no more, sent every so many milliseconds: what is asked for is the rate of the attack, not of the machine. */
const [url = '', prefix = '', rate = '', turn_ms = ''] = process.argv.slice(2);
const { hostname, port } = new URL(url);
let sent = 0;
let answered = 0;
let allowed = 0;

/** Another secret each time: none is known to be wrong yet. */
const request = (): string => `GET /v1/models HTTP/1.1\r\nhost: ${hostname}:${port}\r\nauthorization: Bearer ${prefix}${String((sent += 1)).padStart(SECRET_LENGTH, 'x')}\r\n\r\n`;

async function openStream(): Promise<{ readonly fill: () => void }> {
  const socket = connect(Number(port), hostname);
  await once(socket, 'connect');
  let waiting = 0;
  // The end of a chunk that may be the beginning of a status line; too short to hold one.
  let tail = '';
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    const text = tail + chunk;
    const found = text.split(REFUSED).length - 1;
    if (text.includes(LET_IN)) throw new Error('a wrong key was let in');
    tail = text.slice(1 - STATUS_LENGTH);
    waiting -= found;
    answered += found;
  });
  return {
    fill() {
      let batch = '';
      for (; waiting < AHEAD && sent < allowed; waiting += 1) batch += request();
      if (batch !== '') socket.write(batch);
    },
  };
}

const streams = await Promise.all(Array.from({ length: CONNECTIONS }, openStream));
const began = performance.now();
setInterval(() => {
  allowed = (performance.now() - began) / 1000 * Number(rate);
  for (const stream of streams) stream.fill();
}, Number(turn_ms));
process.on('message', () => { process.send?.(answered / ((performance.now() - began) / 1000), () => process.exit(0)); });
process.send?.('begun');

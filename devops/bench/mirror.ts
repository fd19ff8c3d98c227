// The server of the download bench: a file of any length out of memory, whole or in parts, for as little as it can cost.
import { randomBytes } from 'node:crypto';
import { createServer, type ServerResponse } from 'node:http';

/** The file is this, again and again: as hard to hash as any, and it takes no room. */
const piece = randomBytes(4 * 1024 * 1024);

/** The path says how long the file is: `/<bytes>/…`. */
const server = createServer((request, response) => {
  const size = Number(request.url?.split('/')[1]);
  const asked = /^bytes=([0-9]+)-([0-9]*)$/.exec(request.headers.range ?? '');
  const [from, to] = asked === null ? [0, size] : [Number(asked[1]), asked[2] === '' ? size : Math.min(size, Number(asked[2]) + 1)];
  response.writeHead(asked === null ? 200 : 206, { etag: `"${size}"`, 'accept-ranges': 'bytes', 'content-length': to - from, ...(asked === null ? {} : { 'content-range': `bytes ${from}-${to - 1}/${size}` }) });
  give(response, from, to);
});

function give(response: ServerResponse, from: number, to: number): void {
  for (let at = from; at < to;) {
    const begin = at % piece.length;
    const part = piece.subarray(begin, Math.min(piece.length, begin + to - at));
    at += part.length;
    if (!response.write(part)) return void response.once('drain', () => give(response, at, to));
  }
  response.end();
}

server.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as { readonly port: number }).port }));
// A bench that was killed takes its server along.
process.on('disconnect', () => process.exit());

// Test fixture: calls on the bus what it is told to, for who called it (`pass`), by itself, or for a made-up name.
import { createServer } from 'node:http';

const { BKG_PORT, BKG_INBOUND, BKG_BUS_URL, BKG_TOKEN } = process.env;

const server = createServer(async (request, response) => {
  if (request.url === '/health') return response.writeHead(200).end('ok');
  if (request.headers.authorization !== `Bearer ${BKG_INBOUND}`) return response.writeHead(401).end();
  let text = '';
  for await (const part of request) text += part;
  const { capability, input, pass = false, name } = JSON.parse(text);
  const caller = pass ? request.headers['x-bkg-caller'] : name;
  const reply = await fetch(`${BKG_BUS_URL}/invoke/${capability}`, { method: 'POST', body: JSON.stringify(input), headers: { authorization: `Bearer ${BKG_TOKEN}`, 'content-type': 'application/json', ...(caller === undefined ? {} : { 'x-bkg-caller': caller }) } });
  const body = await reply.text();
  return response.writeHead(reply.status, { 'content-type': reply.headers.get('content-type') ?? 'text/plain' }).end(body);
});
server.listen(Number(BKG_PORT), '127.0.0.1');
process.on('SIGTERM', () => {
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});

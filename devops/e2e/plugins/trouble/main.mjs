// Test fixture: misbehaves as its argument says, to show what bkg makes of it.
import { spawn } from 'node:child_process';
import { writeSync } from 'node:fs';
import { createServer } from 'node:http';

const mode = process.argv[2];
/** 50 MB a second, in portions small enough for a heartbeat between them. */
const FLOOD_BYTES = 1_000_000;
const FLOOD_EVERY_MS = 20;

if (mode === 'crashes') {
  console.error('cannot go on');
  process.exit(3);
}
if (mode === 'ignores-term') process.on('SIGTERM', () => console.log('no'));
else process.on('SIGTERM', () => process.exit(0));
if (mode === 'forks') {
  // Two grandchildren, one of them in a group of its own, neither of which ends by itself.
  for (const detached of [false, true]) spawn(process.execPath, ['-e', 'process.on("SIGTERM", () => {}); setInterval(() => {}, 1000)'], { stdio: 'ignore', detached }).unref();
}
if (mode === 'floods') {
  const line = `${'x'.repeat(999)}\n`;
  const portion = line.repeat(FLOOD_BYTES / line.length);
  setInterval(() => writeSync(1, portion), FLOOD_EVERY_MS);
}
if (mode === 'crashes-later') setTimeout(() => process.exit(4), 300);

createServer((request, response) => {
  const ready = mode !== 'never-ready';
  response.writeHead(ready ? 200 : 503, { 'content-type': 'application/json' }).end(JSON.stringify({ status: ready ? 'ok' : 'loading' }));
}).listen(Number(process.env.BKG_PORT), '127.0.0.1');

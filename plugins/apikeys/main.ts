#!/usr/bin/env node
// apikeys: reads where its bus is, serves on its port, and finishes when it is told to.
import { log } from './log.ts';
import { openServer } from './server.ts';

/** EX_CONFIG: bkg does not try again until something changes. */
const EXIT_CONFIG = 78;

function end(code: number, message: string): never {
  log('error', message);
  process.exit(code);
}

function given(name: string): string {
  const value = process.env[name];
  return value === undefined || value === '' ? end(EXIT_CONFIG, `${name} is missing: this plugin does nothing by itself, bkg starts it and gives it what it needs`) : value;
}

const port = Number(given('BKG_PORT'));
const server = openServer({ url: given('BKG_BUS_URL'), token: given('BKG_TOKEN') }, given('BKG_INBOUND'));
server.on('error', (error) => end(1, `cannot listen on port ${port}: ${error.message}`));
server.listen(port, '127.0.0.1', () => log('info', 'listening', { port }));
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    log('info', 'finishing');
    server.close(() => process.exit(0));
    server.closeIdleConnections();
  });
}

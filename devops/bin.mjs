#!/usr/bin/env node
// Launcher of the CLI: runs bkg.ts on the node the checkout brought along when the machine's own is older.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import * as loader from 'node:module';
import { fileURLToPath } from 'node:url';

/** Oldest major version of node that runs the TypeScript of this project as it stands. */
const NODE_MAJOR = 24;

const own = fileURLToPath(new URL('../node_modules/.bin/node', import.meta.url));

const self = fileURLToPath(import.meta.url);

if (Number(process.versions.node.split('.')[0]) >= NODE_MAJOR) {
  // From plain JavaScript, before the first .ts: with everything in the cache node never loads what strips types, which is
  // 20 MB of memory and most of the time of a start.
  loader.enableCompileCache(fileURLToPath(new URL('../node_modules/.cache/node', import.meta.url)));
  await import('./bkg.ts');
} else if (existsSync(own)) relay();
else {
  process.stderr.write(`bkg: needs node ${NODE_MAJOR} or newer, this is ${process.version}. In the checkout, \`npm start\` brings the right one.\n`);
  process.exitCode = 1;
}

/** Stands for the child: its signals, its exit. */
function relay() {
  const child = spawn(own, [self, ...process.argv.slice(2)], { stdio: 'inherit' });
  // Ctrl-C reaches the child from the terminal as well; bkg takes two interrupts in quick succession for one.
  for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR2'])) process.on(signal, () => child.kill(signal));
  child.once('exit', (code, signal) => {
    if (signal !== null) {
      process.removeAllListeners(signal);
      process.kill(process.pid, signal);
    }
    process.exitCode = code ?? 1;
  });
}

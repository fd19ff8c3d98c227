// The command `bkg`: switches on the compile cache, then runs the command line; the only place that decides the exit code.
import { enableCompileCache } from 'node:module';
import { fileURLToPath } from 'node:url';

// Before any import of ours: stripping types and compiling is most of the start.
enableCompileCache(fileURLToPath(new URL('../node_modules/.cache/node', import.meta.url)));
const { main } = await import('./program.ts');
process.exitCode = await main(process.argv, process.env, process.cwd());

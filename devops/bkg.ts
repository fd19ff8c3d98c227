// The command `bkg`: runs the command line; the only place that decides the exit code. bin.mjs starts it.
import { main } from './program.ts';

process.exitCode = await main(process.argv, process.env, process.cwd());

// The command `bkg`: runs the command line; the only place that decides the exit code. bin.mjs starts it.
import { main } from './program.ts';

// `bkg status | head`: who reads no further wants no more, and no trace of ours.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit();
    throw error;
  });
}
process.exitCode = await main(process.argv, process.env, process.cwd());

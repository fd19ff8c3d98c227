// The command line: names, arguments and help of every command; each command's code is loaded when it is called.
import { Command } from 'commander';
import { contextOf, type Context, type GlobalOptions } from './context.ts';
import { note, paint, problemLine } from './show.ts';
import { isTold } from './told.ts';
import type { Problem } from '../schema/problem.ts';

type Run = (context: Context) => Promise<number>;

/** Runs one command; returns the exit code. Mistakes of the person end as sentences, ours as stacks. */
export async function main(argv: readonly string[], env: Context['env'], cwd: string): Promise<number> {
  let code = 0;
  const program = new Command('bkg');
  const act = async (command: Command, run: Run): Promise<void> => {
    const context = contextOf(command.optsWithGlobals<GlobalOptions>(), env, cwd);
    try {
      code = await run(context);
    } catch (error) {
      code = error instanceof Error && 'exit' in error ? Number(error.exit) : 1;
      tell(error, context, cwd);
    }
  };
  program
    .description('An AI appliance declared in one file: bkg makes the machine match bkg.yaml.')
    .option('--config <file>', 'the file (default: BKG_CONFIG, ./bkg.yaml, the bundled one)')
    .option('--home <folder>', 'where running state is kept (default: BKG_HOME, .bkg beside the file)')
    .option('--json', 'answer in JSON')
    .version(contextOf({}, env, cwd).version)
    .configureHelp({ showGlobalOptions: true })
    .addHelpText('after', '\nExit codes: 0 done, 1 failed, 2 drift (with drift --exit-code), 3 no bkg runs here.')
    .showHelpAfterError('(bkg --help lists the commands)');
  describe(program, act);
  await program.parseAsync([...argv]);
  return code;
}

function describe(program: Command, act: (command: Command, run: Run) => Promise<void>): void {
  program.command('up').description('run the appliance in the foreground')
    .option('--takeover', 'ask the bkg that runs on this home to end, and take over its plugins')
    .action((options: { takeover?: boolean }, command: Command) => act(command, async (context) => (await import('./commands/up.ts')).up(context, { takeover: options.takeover === true })));
  program.command('status').description('what runs, and what does not and why')
    .action((_, command: Command) => act(command, async (context) => (await import('./commands/status.ts')).showStatus(context)));
  program.command('plan').description('what bkg would do now, or what a file would lead to').argument('[file]', 'a proposed bkg.yaml')
    .action((file: string | undefined, _, command: Command) => act(command, async (context) => (await import('./commands/plan.ts')).plan(context, file ?? null)));
  program.command('drift').description('where the machine differs from the file').option('--exit-code', 'exit 2 when there is drift')
    .action((options: { exitCode?: boolean }, command: Command) => act(command, async (context) => (await import('./commands/drift.ts')).drift(context, { exitCode: options.exitCode === true })));
  program.command('validate').description('check a file; works without a running bkg').argument('[file]', 'default: the appliance\'s own')
    .action((file: string | undefined, _, command: Command) => act(command, async (context) => (await import('./commands/validate.ts')).validateFile(context, file ?? null)));
  program.command('patch').description('edit one place of the file; every other byte stays').argument('<pointer>', 'JSON Pointer, e.g. /plugins/llmserver/config/contextSize').argument('[value]', 'JSON, or plain text')
    .option('--remove', 'remove what stands there').option('--dry-run', 'show what would happen, write nothing').option('--wait', 'return when the machine has followed')
    .action((pointer: string, value: string | undefined, options: { remove?: boolean; dryRun?: boolean; wait?: boolean }, command: Command) => act(command, async (context) => (await import('./commands/patch.ts')).patch(context, {
      pointer, value: value ?? null, remove: options.remove === true, dryRun: options.dryRun === true, wait: options.wait === true,
    })));
  for (const [verb, what] of [['start', 'state: running'], ['stop', 'state: stopped'], ['restart', 'once, without an edit']] as const) {
    program.command(verb).description(`${verb} a plugin (${what})`).argument('<plugin>')
      .action((plugin: string, _, command: Command) => act(command, async (context) => (await import('./commands/control.ts')).control(context, verb, plugin)));
  }
  program.command('logs').description('what a plugin wrote').argument('<plugin>').option('-f, --follow', 'go on as it writes').option('-n, --lines <count>', 'how many lines to begin with', '100')
    .action((plugin: string, options: { follow?: boolean; lines: string }, command: Command) => act(command, async (context) => (await import('./commands/logs.ts')).logs(context, { plugin, follow: options.follow === true, lines: options.lines })));
  program.command('install').description('install every declared plugin ahead of its start')
    .action((_, command: Command) => act(command, async (context) => (await import('./commands/install.ts')).installAll(context)));
  program.command('doctor').description('check this machine, the home and the file')
    .action((_, command: Command) => act(command, async (context) => (await import('./commands/doctor.ts')).doctor(context)));
}

function tell(error: unknown, context: Context, cwd: string): void {
  if (!isTold(error)) {
    note(`${paint('red', 'bkg failed', process.stderr)} where it should not. This is a mistake of bkg, not of yours:\n${error instanceof Error ? error.stack : String(error)}\n`);
    return;
  }
  // Of the file that was looked at, which need not be the appliance's own.
  const file = 'file' in error ? String(error.file) : context.config;
  const problems = 'problems' in error ? error.problems as readonly Problem[] : [];
  if (context.json) {
    note(`${JSON.stringify({ error: error.message, remedy: error.remedy, problems })}\n`);
    return;
  }
  const lines = problems.map((problem) => problemLine(problem, file, cwd)).join('');
  // A problem that is all there is to say says it with its place.
  const said = problems.some(({ message }) => message === error.message) && error.remedy === null;
  note(said ? lines : `${paint('red', 'bkg:', process.stderr)} ${error.message}${error.remedy === null ? '' : `\n     ${error.remedy}`}\n${lines}`);
}

// The command line: names, arguments and help of every command; each command's code is loaded when it is called.
import { Argument, Command, Option } from 'commander';
import { contextOf, type Context, type GlobalOptions } from './context.ts';
import { note, paint, problemLine } from './show.ts';
import { isTold } from './told.ts';
import type { Problem } from '../schema/problem.ts';
import type { AuditOptions } from './commands/audit.ts';
import type { MintOptions, SetOptions } from './commands/keys.ts';
import type { SearchOptions } from './commands/model-search.ts';
import type { PullOptions } from './commands/models.ts';
import type { UsageOptions } from './commands/usage.ts';
import type { Role } from './commands/users.ts';

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
  describeModels(program, act);
  describePeople(program, act);
  describeRecords(program, act);
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
  program.command('history').description('the revisions of the file: who wrote them and when; or the text of one').argument('[revision]', 'its seq, or the beginning of its hash').option('-n, --lines <count>', 'how many, the newest', '20')
    .action((revision: string | undefined, options: { lines: string }, command: Command) => act(command, async (context) => (await import('./commands/history.ts')).history(context, { revision: revision ?? null, lines: options.lines })));
  program.command('diff').description('what differs from one revision to another').argument('<from>').argument('[to]', 'default: the file as it stands')
    .action((from: string, to: string | undefined, _, command: Command) => act(command, async (context) => (await import('./commands/history.ts')).diff(context, { from, to: to ?? null })));
  program.command('rollback').description('write the bytes of a revision again, as a new edit; users and keys stay as they are in force').argument('<revision>', 'see bkg history')
    .option('--dry-run', 'show what would happen, write nothing').option('--wait', 'return when the machine has followed')
    .action((revision: string, options: { dryRun?: boolean; wait?: boolean }, command: Command) => act(command, async (context) => (await import('./commands/history.ts')).rollBack(context, { revision, dryRun: options.dryRun === true, wait: options.wait === true })));
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

function describeModels(program: Command, act: (command: Command, run: Run) => Promise<void>): void {
  const model = program.command('model').description('models: list, pull, verify, remove, prune, search');
  model.command('list').description('the models there are, and how their downloads come on')
    .action((_, command: Command) => act(command, async (context) => (await import('./commands/models.ts')).listModels(context)));
  model.command('pull').description('declare a model and fetch it').argument('<source>', 'hf://org/repo/path@revision, https://…, or file:path, relative to bkg.yaml')
    .option('--name <name>', 'its name in the file (default: made of the file name)').option('--sha256 <hash>', 'what its bytes must hash to').option('--for <plugin[:role]>', 'put it into a role of a plugin, too').option('--no-wait', 'return as soon as it has begun')
    .addHelpText('after', '\nbkg model pull hf://Qwen/Qwen2-0.5B-Instruct-GGUF/qwen2-0_5b-instruct-q5_k_m.gguf --for llmserver:chat\nCtrl-C leaves the download going (exit code 130).')
    .action((source: string, options: PullOptions, command: Command) => act(command, async (context) => (await import('./commands/models.ts')).pullModel(context, source, options)));
  model.command('verify').description('hash all bytes anew, of one or of all that are here; exit 1 when one is damaged').argument('[names...]')
    .action((names: readonly string[], _, command: Command) => act(command, async (context) => (await import('./commands/models.ts')).verifyModels(context, names)));
  model.command('prune').description('remove downloaded files that no declared model uses').option('--dry-run', 'say which, remove none')
    .action((options: { dryRun?: boolean }, command: Command) => act(command, async (context) => (await import('./commands/models.ts')).pruneModels(context, { dryRun: options.dryRun === true })));
  model.command('remove').alias('delete').description('take a model out of the file').argument('<name>').option('--force', 'also out of the roles of plugins that it fills')
    .action((name: string, options: { force?: boolean }, command: Command) => act(command, async (context) => (await import('./commands/models.ts')).removeModel(context, { name, force: options.force === true })));
  model.command('search').description('look on the Hugging Face hub (or HF_ENDPOINT), the most downloaded first').argument('<words...>')
    .addOption(new Option('--format <format>', 'of its files').choices(['gguf', 'safetensors', 'onnx']).default('gguf')).option('--limit <count>', 'how many at most', '10')
    .action((words: readonly string[], options: SearchOptions, command: Command) => act(command, async (context) => (await import('./commands/model-search.ts')).searchModels(context, words, options)));
}

function describePeople(program: Command, act: (command: Command, run: Run) => Promise<void>): void {
  const user = program.command('user').description('who may sign in: add, passwd, role, remove, list');
  user.command('add').description('declare a user; the password is asked for, or one line of standard input').argument('<name>')
    .addOption(new Option('--role <role>', 'what they may do').choices(['admin', 'developer', 'readonly']).default('developer')).option('--no-password', 'nobody can sign in as them; their keys work')
    .action((name: string, options: { role: Role; password: boolean }, command: Command) => act(command, async (context) => (await import('./commands/users.ts')).addUser(context, { name, ...options })));
  user.command('passwd').description('set another password; every session of the user ends').argument('<name>')
    .action((name: string, _, command: Command) => act(command, async (context) => (await import('./commands/users.ts')).setPassword(context, name)));
  user.command('role').description('give another role; it counts from their next request on').argument('<name>').addArgument(new Argument('<role>').choices(['admin', 'developer', 'readonly'])).option('--force', 'also of the last admin who can sign in')
    .action((name: string, role: Role, options: { force?: boolean }, command: Command) => act(command, async (context) => (await import('./commands/users.ts')).setRole(context, { name, role, force: options.force === true })));
  user.command('remove').alias('delete').description('remove a user: their sessions and keys are refused at once').argument('<name>').option('--force', 'also the last admin who can sign in')
    .action((name: string, options: { force?: boolean }, command: Command) => act(command, async (context) => (await import('./commands/users.ts')).removeUser(context, { name, force: options.force === true })));
  user.command('list').description('who is declared')
    .action((_, command: Command) => act(command, async (context) => (await import('./commands/users.ts')).listUsers(context)));

  const fields = (command: Command): Command => command.option('--scope <scope...>', 'what it may do, of what its user may: llm.chat, llm.*, config.read …').option('--name <text>', 'what it is for, in words')
    .option('--plugin <plugin...>', 'the plugins it may reach (default: all)').option('--expires <when>', 'a day like 2027-01-31, or a span like 90d')
    .option('--requests-per-minute <count>', 'requests to /v1 in a minute').option('--tokens-per-minute <count>', 'tokens in a minute, of questions and answers together').option('--concurrent <count>', 'requests at once');
  const key = program.command('key').description('API keys for /v1 and the API: mint, list, set, rotate, revoke');
  fields(key.command('mint').alias('create').description('make a key; its secret alone goes to stdout, this once').option('--user <user>', 'whose it is (default: the only user there is)').option('--id <id>', 'part of the secret, and its name in the file'))
    .addHelpText('after', '\nKEY=$(bkg key mint --user anna --scope llm.chat llm.embed --expires 90d)')
    .action((options: MintOptions, command: Command) => act(command, async (context) => (await import('./commands/keys.ts')).mintKey(context, options)));
  key.command('list').description('the keys there are, without their secrets')
    .action((_, command: Command) => act(command, async (context) => (await import('./commands/keys.ts')).listKeys(context)));
  fields(key.command('set').description('change some of what a key is; its secret stays').argument('<id>')).option('--clear <what...>', 'remove: name, plugins, expires, limits')
    .action((id: string, options: SetOptions, command: Command) => act(command, async (context) => (await import('./commands/keys.ts')).setKey(context, id, options)));
  key.command('rotate').description('a new secret; the one before is good for a while yet').argument('<id>').option('--overlap <span>', 'how long: 15m, 24h, 7d; 0s ends it at once', '24h')
    .action((id: string, options: { overlap: string }, command: Command) => act(command, async (context) => (await import('./commands/keys.ts')).rotateKey(context, { id, overlap: options.overlap })));
  key.command('revoke').alias('delete').description('remove a key: it is refused from its next request on').argument('<id>')
    .action((id: string, _, command: Command) => act(command, async (context) => (await import('./commands/keys.ts')).revokeKey(context, id)));
}

function describeRecords(program: Command, act: (command: Command, run: Run) => Promise<void>): void {
  program.command('usage').description('what was asked of /v1: requests, errors, tokens, latency')
    .addOption(new Option('--by <what>', 'one row for each').choices(['key', 'user', 'plugin', 'model', 'capability', 'hour', 'day', 'total']).default('key'))
    .option('--from <day>', 'since when (default: 30 days ago)').option('--to <day>', 'until the end of which day, UTC (default: now)').option('--key <id>', 'of one key')
    .option('--user <name>', 'of one user').option('--plugin <plugin>', 'of one plugin').option('--model <model>', 'of one model')
    .action((options: UsageOptions, command: Command) => act(command, async (context) => (await import('./commands/usage.ts')).usage(context, options)));
  const audit = program.command('audit').description('who did what; audit verify: whether that is as it was written')
    .option('-n, --lines <count>', 'how many, the newest', '50').option('--action <action>', 'key.create, or key. for all about keys').option('--actor <name>', 'only what this one did')
    .action((options: AuditOptions, command: Command) => act(command, async (context) => (await import('./commands/audit.ts')).audit(context, options)));
  audit.command('verify').description('exit 0 when no row was changed or is missing, else 1')
    .action((_, command: Command) => act(command, async (context) => (await import('./commands/audit.ts')).verifyAudit(context)));
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

// Runs every check of the house: types, generated files, and each test file in a process group of its own.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';
import { killCarriers, killGroup } from './sweep.ts';

/** A file that takes longer hangs: the slowest honest one, on a loaded machine, takes a fifth of this. */
const FILE_WITHIN_MS = 300_000;
/** What a file may print and still be shown whole; beyond it the end is kept, where failures stand. */
const OUTPUT_MAX_BYTES = 1_000_000;
const IGNORED = new Set(['node_modules', '.git', '.bkg', 'dist', '.angular', '.cache']);

/** `counted`: a test file that says how many passed; otherwise its exit alone decides. */
type Check = { readonly name: string; readonly argv: readonly string[]; readonly counted: boolean };
type Outcome = { readonly name: string; readonly passed: number; readonly failed: number; readonly output: string; readonly notes: readonly string[]; readonly took_ms: number };

const root = fileURLToPath(new URL('..', import.meta.url));
const running = new Set<number>();

/** Test files below a folder, as paths from the root. */
export function testFiles(folder: string = root): readonly string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (entry.isDirectory()) return IGNORED.has(entry.name) ? [] : testFiles(join(folder, entry.name));
    return entry.name.endsWith('.test.ts') ? [relative(root, join(folder, entry.name))] : [];
  });
}

/** What uvu's closing lines say; null when they are missing, which happens when a file forgets `test.run()` or dies. */
export function readCounts(output: string): { readonly passed: number; readonly failed: number } | null {
  const plain = stripVTControlCharacters(output);
  const total = [...plain.matchAll(/^ {2}Total: +([0-9]+)$/gm)].at(-1)?.[1];
  const passed = [...plain.matchAll(/^ {2}Passed: +([0-9]+)$/gm)].at(-1)?.[1];
  return total === undefined || passed === undefined ? null : { passed: Number(passed), failed: Number(total) - Number(passed) };
}

function allChecks(): readonly Check[] {
  const cache = join(root, 'node_modules', '.cache');
  mkdirSync(cache, { recursive: true });
  const tsc = [process.execPath, join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-b'];
  // Two runs side by side would read each other's half-written declarations.
  const types = existsSync('/usr/bin/flock') ? ['/usr/bin/flock', join(cache, 'tsc.lock'), ...tsc] : tsc;
  // End-to-end files take longest: begun first, they do not stand alone at the end.
  const files = [...testFiles()].sort((one, other) => Number(other.includes('/e2e/')) - Number(one.includes('/e2e/')) || one.localeCompare(other));
  return [
    { name: 'types (tsc -b)', argv: types, counted: false },
    { name: 'generated files (gen --check)', argv: [process.execPath, 'devops/gen.ts', '--check'], counted: false },
    ...files.map((file) => ({ name: file, argv: [process.execPath, file], counted: true })),
  ];
}

function run(check: Check): Promise<Outcome> {
  const began = performance.now();
  // Short: a socket's path has about a hundred bytes.
  const temporary = mkdtempSync(join(tmpdir(), 'bkg-t-'));
  const env: NodeJS.ProcessEnv = { ...process.env, TMPDIR: temporary, NO_COLOR: '1', FORCE_COLOR: '0' };
  // A test decides these itself; what the caller's shell holds must not reach it.
  for (const name of Object.keys(env)) if (/^(BKG_(?!FIXTURES|TEST)|npm_)/.test(name)) delete env[name];
  return new Promise((resolve) => {
    const [command, ...rest] = check.argv;
    const child = spawn(command ?? '', rest, { cwd: root, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    const pid = child.pid;
    if (pid !== undefined) running.add(pid);
    let output = '';
    let timedOut = false;
    const take = (chunk: Buffer): void => { output = (output + chunk.toString('utf8')).slice(-OUTPUT_MAX_BYTES); };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    const timer = setTimeout(() => {
      timedOut = true;
      if (pid !== undefined) killGroup(pid);
    }, FILE_WITHIN_MS);
    child.once('error', (error) => take(Buffer.from(`${error.message}\n`)));
    // `exit`, not `close`: a survivor that holds the pipe must not hold us.
    child.once('exit', (code, signal) => {
      clearTimeout(timer);
      setImmediate(() => {
        if (pid !== undefined) {
          running.delete(pid);
          killGroup(pid);
        }
        const notes = killCarriers(temporary).map((left) => `left running, ended now: ${left}`);
        rmSync(temporary, { recursive: true, force: true, maxRetries: 3 });
        const exit = timedOut ? `no end within ${FILE_WITHIN_MS / 1000} s` : code === 0 ? null : `ended with ${signal ?? `exit ${code}`}`;
        resolve({ name: check.name, ...judge(check, output, exit), output, notes, took_ms: performance.now() - began });
      });
    });
  });
}

function judge(check: Check, output: string, exit: string | null): { readonly passed: number; readonly failed: number } {
  if (!check.counted) return exit === null ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 };
  const counts = readCounts(output);
  if (counts === null) return { passed: 0, failed: 1 };
  // Every test passed, yet the process did not end well: that is a failure of its own.
  return exit !== null && counts.failed === 0 ? { passed: counts.passed, failed: 1 } : counts;
}

function tell(outcome: Outcome): void {
  const verdict = outcome.failed === 0 ? 'ok  ' : 'FAIL';
  const counts = outcome.failed === 0 ? `${outcome.passed}` : `${outcome.passed} passed, ${outcome.failed} failed`;
  process.stdout.write(`${verdict} ${outcome.name}  ${counts}  ${(outcome.took_ms / 1000).toFixed(1)} s\n`);
  for (const note of outcome.notes) process.stdout.write(`     ${note}\n`);
  // A skipped test says so in one line; it must be seen also when all is well.
  for (const line of outcome.output.split('\n')) if (/^skipped: /.test(line)) process.stdout.write(`     ${line}\n`);
}

async function main(filters: readonly string[]): Promise<number> {
  const checks = allChecks().filter((check) => filters.length === 0 || filters.some((filter) => check.name.includes(filter)));
  if (checks.length === 0) {
    process.stderr.write(`test: nothing is called ${filters.join(' or ')}. Names are paths, such as core/diff.\n`);
    return 1;
  }
  const waiting = [...checks];
  const outcomes: Outcome[] = [];
  const worker = async (): Promise<void> => {
    for (let check = waiting.shift(); check !== undefined; check = waiting.shift()) {
      const outcome = await run(check);
      tell(outcome);
      outcomes.push(outcome);
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
  const bad = outcomes.filter((outcome) => outcome.failed > 0);
  for (const outcome of bad) process.stdout.write(`\n──── ${outcome.name}\n${outcome.output.trimEnd()}\n`);
  const sum = (pick: (outcome: Outcome) => number): number => outcomes.reduce((total, outcome) => total + pick(outcome), 0);
  if (bad.length > 0) process.stdout.write('\n');
  process.stdout.write(`${sum((outcome) => outcome.passed)} passed, ${sum((outcome) => outcome.failed)} failed\n`);
  return bad.length === 0 ? 0 : 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      for (const pid of running) killGroup(pid);
      process.exit(130);
    });
  }
  process.exitCode = await main(process.argv.slice(2));
}

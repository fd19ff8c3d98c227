// Makes bkg-mini again: text, words, training, GGUF file, exam, card. The same seed gives the same file on the same machine.
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { corpus, plainly, SEED, writeTalks, type Talk } from './corpus.ts';
import { EXAM, isUnheard, readExam } from './exam.ts';
import { MODEL, scoreOf, shortfalls, sit } from './score.ts';
import { writeCard } from './card.ts';

/** The shape of the model, for the trainer and convert.py alike; names as there. */
const SHAPE = { VOCAB: 3072, WIDTH: 160, LAYERS: 4, HEADS: 5, INNER: 480, CONTEXT: 1024, ROPE_BASE: 10_000, EPSILON: 1e-5 } as const;
const TRAINER = ['train.c', 'model.c', 'attention.c', 'products.c', 'tiles.c', 'update.c'];
/** With more threads the sums of the algebra under Python would have no fixed order; and those of the trainer, when they wait, soon give way to whatever else runs. */
const ENVIRONMENT = { OPENBLAS_NUM_THREADS: '1', GOMP_SPINCOUNT: '10000' };
const PER_TOPIC = 440;
/** So many questions of the exam may come up by chance. */
const LEFT_OUT_MAX = 5;

const here = fileURLToPath(new URL('.', import.meta.url));
const root = join(here, '../..');
const work = join(root, 'node_modules/.cache/mini');
const MINUTE_MS = 60_000;

const say = (text: string): void => { process.stdout.write(`${text}\n`); };

/** Ends all with what is to be done. */
function end(text: string): never {
  process.stderr.write(`${text}\n`);
  process.exit(1);
}

/** Runs a program with its output on this terminal. */
async function run(hint: string, program: string, ...words: string[]): Promise<void> {
  const done = await execa(program, words, { stdio: 'inherit', reject: false, env: ENVIRONMENT });
  if (done.failed) end(`${program} ${words[0] ?? ''} ${done.code === 'ENOENT' ? 'is not here' : 'failed'}${hint === '' ? '' : `: ${hint}`}`);
}

async function python(): Promise<string> {
  const venv = join(work, 'venv');
  const wanted = readFileSync(join(here, 'requirements.txt'), 'utf8');
  const stamp = join(venv, 'requirements.txt');
  if (!existsSync(stamp) || readFileSync(stamp, 'utf8') !== wanted) {
    await run('install Python 3.11 or newer (apt-get install python3-venv)', 'python3', '-m', 'venv', venv);
    await run('it fetches the packages of requirements.txt: is the network there?', join(venv, 'bin/pip'), 'install', '--quiet', '-r', join(here, 'requirements.txt'));
    writeFileSync(stamp, wanted);
  }
  return join(venv, 'bin/python');
}

async function trainer(): Promise<string> {
  const program = join(work, 'train');
  const shape = Object.entries(SHAPE).map(([name, value]) => `-D${name}=${value}`);
  const flags = ['-std=gnu17', '-O3', '-march=native', ...(process.arch === 'x64' ? ['-mprefer-vector-width=512'] : []), '-ffast-math', '-fopenmp'];
  await run('install a C compiler (apt-get install gcc)', 'gcc', ...flags, ...shape, '-o', program, ...TRAINER.map((file) => join(here, file)), '-lm');
  return program;
}

/**
 * Without conversations that ask what the exam asks, in the same words: a slip or a lost word makes one now and then. No wording of the knowledge does, a test sees to that
 * (mini.test.ts); where many are left out, nothing is made.
 */
function apart(talks: readonly Talk[]): readonly Talk[] {
  const exam = new Set(readExam(EXAM).filter(isUnheard).map(({ question }) => plainly(question)));
  const asks = (talk: Talk): readonly string[] => talk.filter(({ role }) => role === 'user').map(({ content }) => plainly(content)).filter((question) => exam.has(question));
  const known = [...new Set(talks.flatMap(asks))];
  if (known.length > LEFT_OUT_MAX) end(`the text has questions of the exam, so word them anew there: ${known.join(' | ')}`);
  if (known.length > 0) say(`left out, for the exam asks it: ${known.join(' | ')}`);
  return talks.filter((talk) => asks(talk).length === 0);
}

/** Puts the model in its place, and its sha256 into bkg.yaml. */
function install(model: string, sha256: string): void {
  const file = join(root, 'bkg.yaml');
  const text = readFileSync(file, 'utf8');
  const pinned = text.replace(/(source: file:models\/mini\/bkg-mini\.gguf\n\s+sha256: )"[0-9a-f]+"/, `$1"${sha256}"`);
  if (pinned === text && !text.includes(sha256)) end('bkg.yaml: the model mini with its sha256 is not there');
  copyFileSync(model, `${MODEL}.new`);
  writeFileSync(`${file}.new`, pinned);
  renameSync(`${MODEL}.new`, MODEL);
  renameSync(`${file}.new`, file);
}

const began = Date.now();
mkdirSync(work, { recursive: true });
const tools = { python: await python(), train: await trainer() };
const shape = JSON.stringify(SHAPE);
const model = join(work, 'bkg-mini.gguf');
say('writing the text');
const talks = apart(corpus(SEED, PER_TOPIC));
writeTalks(join(work, 'corpus.jsonl'), talks);
await run('', tools.python, join(here, 'convert.py'), 'tokens', shape, String(SEED), join(work, 'corpus.jsonl'), work);
say('training');
const trainingBegan = Date.now();
await run('', tools.train, join(work, 'tokens.bin'), join(work, 'first.bin'), join(work, 'weights.bin'));
const trainingMinutes = (Date.now() - trainingBegan) / MINUTE_MS;
await run('', tools.python, join(here, 'convert.py'), 'gguf', shape, work, model);
say('sitting the exam');
const score = scoreOf(await sit(model, readExam(EXAM)));
const short = shortfalls(score);
if (short.length > 0) end(`not good enough, so the model that was there stays; this one lies in ${model}\n  ${short.join('\n  ')}`);
const sha256 = createHash('sha256').update(readFileSync(model)).digest('hex');
install(model, sha256);
writeCard({ sha256, bytes: statSync(model).size, parameters: statSync(join(work, 'weights.bin')).size / Float32Array.BYTES_PER_ELEMENT, shape: SHAPE, conversations: talks.length, seed: SEED, trainingMinutes, processor: cpus()[0]?.model ?? '', score });
say(`made in ${((Date.now() - began) / MINUTE_MS).toFixed(0)} minutes; MODEL_CARD.md has its figures`);

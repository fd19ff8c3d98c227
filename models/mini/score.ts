// Lets bkg-mini sit its exam in the real llmserver and tells what it got right.
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { execa } from 'execa';
import getPort from 'get-port';
import { EXAM, isRight, KINDS, readExam, type Item, type Kind, type Reply } from './exam.ts';

const SERVER = fileURLToPath(new URL('../../plugins/llmserver/main.ts', import.meta.url));
export const MODEL = fileURLToPath(new URL('bkg-mini.gguf', import.meta.url));
/** Longer than any answer: a reply that comes to it did not end by itself. */
const LONGEST_REPLY_TOKENS = 400;
const AT_ONCE = 4;
const READY_WITHIN_MS = 60_000;
const REPLY_WITHIN_MS = 120_000;
const LOOK_EVERY_MS = 50;

export type Score = { readonly [kind in Kind]: { readonly asked: number; readonly right: number } } & { readonly ended: number };
export type Marked = { readonly item: Item; readonly reply: Reply; readonly right: boolean };

type Completion = {
  readonly choices: readonly [{ readonly finish_reason: string; readonly message: { readonly content: string | null; readonly tool_calls?: readonly { readonly function: { readonly name: string; readonly arguments: string } }[] } }];
};

/** What is no JSON is itself: no argument that was wanted. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

async function ask(url: string, item: Item): Promise<Reply> {
  const tools = 'offered' in item ? { tools: item.offered.map((definition) => ({ type: 'function', function: definition })) } : {};
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST', body: JSON.stringify({ model: 'mini', messages: [{ role: 'user', content: item.question }], temperature: 0, max_tokens: LONGEST_REPLY_TOKENS, ...tools }),
    signal: AbortSignal.timeout(REPLY_WITHIN_MS),
  });
  if (!response.ok) throw new Error(`${item.question}: ${response.status} ${await response.text()}`);
  const [{ finish_reason: reason, message }] = ((await response.json()) as Completion).choices;
  const [called, ...more] = message.tool_calls ?? [];
  const call = called === undefined ? null : { name: more.length === 0 ? called.function.name : 'several', arguments: parsed(called.function.arguments) };
  return { text: message.content ?? '', call, ended: reason !== 'length' };
}

/** Starts llmserver with the model, asks every item, ends it. Throws when it does not get ready or refuses a question. */
export async function sit(model: string, items: readonly Item[]): Promise<readonly Marked[]> {
  const port = await getPort({ host: '127.0.0.1' });
  const server = execa(process.execPath, [SERVER, '--model', model, '--alias', 'mini', '--port', String(port)], { reject: false, all: true, cleanup: true });
  let gone = false;
  void server.finally(() => { gone = true; });
  try {
    const url = `http://127.0.0.1:${port}`;
    for (const end = Date.now() + READY_WITHIN_MS; (await fetch(`${url}/health`).catch(() => null))?.status !== 200;) {
      if (gone || Date.now() > end) {
        server.kill();
        throw new Error(`llmserver did not get ready: ${(await server).all ?? ''}`);
      }
      await new Promise((resolve) => { setTimeout(resolve, LOOK_EVERY_MS); });
    }
    const marked: Marked[] = [];
    const left = [...items.entries()];
    await Promise.all(Array.from({ length: AT_ONCE }, async () => {
      for (let next = left.shift(); next !== undefined; next = left.shift()) {
        const [place, item] = next;
        const reply = await ask(url, item);
        marked[place] = { item, reply, right: isRight(item, reply) };
      }
    }));
    return marked;
  } finally {
    server.kill();
    await server;
  }
}

export function scoreOf(marked: readonly Marked[]): Score {
  const of = (kind: Kind) => {
    const own = marked.filter(({ item }) => item.kind === kind);
    return { asked: own.length, right: own.filter(({ right }) => right).length };
  };
  return { questions: of('questions'), foreign: of('foreign'), tools: of('tools'), ended: marked.filter(({ reply }) => reply.ended).length };
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { model: { type: 'string', default: MODEL }, exam: { type: 'string', default: EXAM }, wrong: { type: 'boolean', default: false } } });
  const marked = await sit(values.model, readExam(values.exam));
  const score = scoreOf(marked);
  if (values.wrong) {
    for (const { item, reply, right } of marked) {
      if (!right) process.stdout.write(`✗ ${item.kind} ${item.language} ${item.about.join(' ')}: ${item.question}\n    ${(reply.call === null ? reply.text : JSON.stringify(reply.call)).replace(/\n/g, '\n    ')}\n`);
    }
  }
  for (const kind of KINDS) process.stdout.write(`${kind}: ${score[kind].right} of ${score[kind].asked} right (${((100 * score[kind].right) / score[kind].asked).toFixed(1)} %)\n`);
  process.stdout.write(`replies that end by themselves: ${score.ended} of ${marked.length}\n`);
}

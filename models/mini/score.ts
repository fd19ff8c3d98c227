// Lets bkg-mini sit its exam in the real llmserver and tells what it got right.
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { execa } from 'execa';
import getPort from 'get-port';
import { EXAM, isRight, KINDS, LEAST_RIGHT, parsed, readExam, type Item, type Kind, type Reply } from './exam.ts';

const SERVER = fileURLToPath(new URL('../../plugins/llmserver/main.ts', import.meta.url));
export const MODEL = fileURLToPath(new URL('bkg-mini.gguf', import.meta.url));
/** Longer than any answer: a reply that comes to it did not end by itself. */
const LONGEST_REPLY_TOKENS = 400;
const AT_ONCE = 4;
const READY_WITHIN_MS = 60_000;
const REPLY_WITHIN_MS = 120_000;
const LOOK_EVERY_MS = 50;

export type Share = { readonly right: number; readonly asked: number };
export const SCORED = [...KINDS, 'ended'] as const;
export type Score = Readonly<Record<(typeof SCORED)[number], Share>>;
export type Marked = { readonly item: Item; readonly reply: Reply; readonly right: boolean };

type Completion = {
  readonly choices: readonly [{ readonly finish_reason: string; readonly message: { readonly content: string | null; readonly tool_calls?: readonly { readonly function: { readonly name: string; readonly arguments: string } }[] } }];
};

async function ask(url: string, item: Item): Promise<Reply> {
  const messages: unknown[] = [{ role: 'user', content: item.question }];
  if (item.kind === 'results') {
    const call = { id: 'call_1', type: 'function', function: { name: item.call.name, arguments: JSON.stringify(item.call.arguments) } };
    messages.push({ role: 'assistant', content: null, tool_calls: [call] }, { role: 'tool', tool_call_id: call.id, content: item.result });
  }
  const wish = {
    ...('offered' in item ? { tools: item.offered.map((definition) => ({ type: 'function', function: definition })) } : {}),
    ...('schema' in item ? { response_format: { type: 'json_schema', json_schema: { name: item.about[0], schema: item.schema, strict: true } } } : {}),
  };
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST', body: JSON.stringify({ model: 'mini', messages, temperature: 0, max_tokens: LONGEST_REPLY_TOKENS, ...wish }),
    signal: AbortSignal.timeout(REPLY_WITHIN_MS),
  });
  if (!response.ok) throw new Error(`${item.question}: ${response.status} ${await response.text()}`);
  const [{ finish_reason: reason, message }] = ((await response.json()) as Completion).choices;
  const [called, ...more] = message.tool_calls ?? [];
  const call = called === undefined ? null : { name: more.length === 0 ? called.function.name : 'several', arguments: parsed(called.function.arguments) };
  return { text: message.content ?? '', call, ended: reason !== 'length' };
}

/** Starts llmserver with the model, ends it after `use`. Throws when it does not get ready. */
async function served<Made>(model: string, use: (url: string) => Promise<Made>): Promise<Made> {
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
    return await use(url);
  } finally {
    server.kill();
    await server;
  }
}

/** Asks every item. Throws when one is refused. */
export const sit = (model: string, items: readonly Item[]): Promise<readonly Marked[]> => served(model, async (url) => {
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
});

export type Described = { readonly architecture: string; readonly description: string; readonly n_params: number; readonly n_ctx_train: number };

/** What llmserver finds in the file. */
export const describe = (model: string): Promise<Described> => served(model, async (url) => {
  const { data } = (await (await fetch(`${url}/v1/models`)).json()) as { readonly data: readonly { readonly meta: Described }[] };
  return data[0]!.meta;
});

export const shown = ({ asked, right }: Share): string => `${right} of ${asked} (${((100 * right) / asked).toFixed(1)} %)`;

export function scoreOf(marked: readonly Marked[]): Score {
  const of = (kind: Kind): Share => {
    const own = marked.filter(({ item }) => item.kind === kind);
    return { right: own.filter(({ right }) => right).length, asked: own.length };
  };
  // JSON is ended by its grammar.
  const free = marked.filter(({ item }) => item.kind !== 'json');
  return { questions: of('questions'), foreign: of('foreign'), tools: of('tools'), results: of('results'), json: of('json'), ended: { right: free.filter(({ reply }) => reply.ended).length, asked: free.length } };
}

/** What is not good enough, in words; empty when all is. */
export const shortfalls = (score: Score): readonly string[] =>
  SCORED.filter((name) => score[name].right < LEAST_RIGHT[name] * score[name].asked).map((name) => `${name}: ${shown(score[name])}, at least ${100 * LEAST_RIGHT[name]} % wanted`);

if (import.meta.main) {
  const { values } = parseArgs({ options: { model: { type: 'string', default: MODEL }, exam: { type: 'string', default: EXAM }, wrong: { type: 'boolean', default: false } } });
  const marked = await sit(values.model, readExam(values.exam));
  const score = scoreOf(marked);
  if (values.wrong) {
    for (const { item, reply, right } of marked) {
      if (!right) process.stdout.write(`✗ ${item.kind} ${item.language} ${item.about.join(' ')}: ${item.question}\n    ${(reply.call === null ? reply.text : JSON.stringify(reply.call)).replace(/\n/g, '\n    ')}\n`);
    }
  }
  for (const kind of SCORED) process.stdout.write(`${kind}: ${shown(score[kind])}\n`);
}

// POST /v1/completions: plain text or tokens, continued.
import { randomUUID } from 'node:crypto';
import type { Token } from 'node-llama-cpp';
import { openEvents, usageOf, writeJson } from './answer.ts';
import type { Asked } from './chat.ts';
import type { Engine } from './engine.ts';
import type { Generated } from './generate.ts';
import { badRequest } from './errors.ts';
import { countIn, isTokens, knownTokens, refuseUnsupported, samplingOf, stopsOf, streamOf, type Body } from './requests.ts';

/** Prompts in one request: they are answered one after another. */
const MAX_PROMPTS = 64;

export async function complete(asked: Asked): Promise<void> {
  const { engine, body } = asked;
  refuseUnsupported(body, ['suffix', 'logprobs', 'echo', 'logit_bias']);
  if (typeof body['best_of'] === 'number' && body['best_of'] !== 1) throw badRequest('`best_of` other than 1 is not supported.', 'best_of');
  const prompts = promptsOf(engine, body);
  const order = { sampling: samplingOf(body, engine.sampling), stop: stopsOf(body), maxTokens: countIn(body, 'max_tokens', null), grammar: null, takeover: null, signal: asked.signal };
  const { stream, includeUsage } = streamOf(body);
  const events = stream ? openEvents(asked.response) : null;
  const base = { id: `cmpl-${randomUUID()}`, object: 'text_completion', created: Math.floor(Date.now() / 1000), model: asked.name };
  const choice = (index: number, text: string, finish: string | null): Readonly<Record<string, unknown>> => ({ index, text, logprobs: null, finish_reason: finish });
  const sum = { promptTokens: 0, cachedTokens: 0, completionTokens: 0 };
  const choices: unknown[] = [];
  for (const [index, prompt] of prompts.entries()) {
    let text = '';
    const onText = events === null ? (piece: string): void => { text += piece; } : (piece: string): void => events.send({ ...base, choices: [choice(index, piece, null)], ...(includeUsage ? { usage: null } : {}) });
    const generated = await engine.generate({ ...order, prompt, field: 'prompt', onText });
    if (asked.signal.aborted) return;
    add(sum, generated);
    if (events === null) choices.push(choice(index, text, generated.finish));
    else events.send({ ...base, choices: [choice(index, '', generated.finish)] });
  }
  if (events === null) return writeJson(asked.response, 200, { ...base, choices, usage: usageOf(sum) });
  if (includeUsage) events.send({ ...base, choices: [], usage: usageOf(sum) });
  events.end();
}

function add(sum: { promptTokens: number; cachedTokens: number; completionTokens: number }, generated: Generated): void {
  sum.promptTokens += generated.promptTokens;
  sum.cachedTokens += generated.cachedTokens;
  sum.completionTokens += generated.completionTokens;
}

function promptsOf(engine: Engine, body: Body): readonly Token[][] {
  const prompt = body['prompt'];
  const known = (tokens: readonly number[]): Token[] => [...knownTokens(tokens, engine.vocabulary, 'prompt')] as Token[];
  if (typeof prompt === 'string') return [engine.tokenizePrompt(prompt, 'prompt')];
  if (isTokens(prompt)) return [known(prompt)];
  if (!Array.isArray(prompt) || prompt.length === 0 || prompt.length > MAX_PROMPTS) throw badRequest(`\`prompt\` must be a string, a list of tokens, or up to ${MAX_PROMPTS} of these.`, 'prompt');
  return (prompt as readonly unknown[]).map((item) => {
    if (typeof item === 'string') return engine.tokenizePrompt(item, 'prompt');
    if (isTokens(item)) return known(item);
    throw badRequest('`prompt` must hold strings or lists of tokens.', 'prompt');
  });
}

// POST /v1/chat/completions: messages in, an answer out, whole or streamed, with tools and JSON by schema.
import { randomUUID } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { openEvents, usageOf, writeJson } from './answer.ts';
import type { Engine, Generated, GenerateOrder } from './engine.ts';
import { badRequest } from './errors.ts';
import { formatGrammar } from './grammar.ts';
import { countIn, refuseUnsupported, samplingOf, stopsOf, streamOf, type Body } from './requests.ts';
import type { Message } from './template.ts';
import { callGrammar, describeTools, forcedCall, openCallReader, toolsOf, type ToolCall, type ToolWish } from './tools.ts';

const ROLES = new Set(['system', 'developer', 'user', 'assistant', 'tool']);

export type Asked = { readonly engine: Engine; readonly name: string; readonly body: Body; readonly response: ServerResponse; readonly signal: AbortSignal };

export async function chat(asked: Asked): Promise<void> {
  const { engine, body } = asked;
  refuseUnsupported(body, ['logprobs', 'top_logprobs', 'logit_bias', 'audio', 'functions']);
  const wish = toolsOf(body);
  const messages = messagesOf(body);
  const format = await formatGrammar(engine.llama, body);
  if (format !== null && wish?.forced === true) throw badRequest('`response_format` and a forced `tool_choice` exclude each other.', 'tool_choice');
  const order = {
    prompt: engine.tokenize(promptOf(engine, messages, wish), true),
    sampling: samplingOf(body), stop: stopsOf(body),
    maxTokens: countIn(body, 'max_completion_tokens', countIn(body, 'max_tokens', null)),
    grammar: wish?.forced === true ? await callGrammar(engine.llama, wish) : format,
    signal: asked.signal,
  };
  const { stream, includeUsage } = streamOf(body);
  if (stream) await streamed(asked, order, { wish, includeUsage });
  else await whole(asked, order, wish);
}

function messagesOf(body: Body): readonly Message[] {
  const messages = body['messages'];
  if (!Array.isArray(messages) || messages.length === 0) throw badRequest('`messages` must be a list with at least one message.', 'messages');
  for (const [index, message] of (messages as readonly unknown[]).entries()) {
    const role = (message as Message | null)?.role;
    if (typeof role !== 'string' || !ROLES.has(role)) throw badRequest(`\`messages[${index}].role\` must be one of ${[...ROLES].join(', ')}.`, 'messages');
  }
  return (messages as readonly Message[]).map((message) => (message.role === 'developer' ? { ...message, role: 'system' } : message));
}

function promptOf(engine: Engine, messages: readonly Message[], wish: ToolWish | null): string {
  if (wish === null) return engine.template.render(messages, null);
  if (engine.template.takesTools) return engine.template.render(messages, wish.tools);
  return engine.template.render(describeTools(messages, wish.tools), null);
}

type Order = Omit<GenerateOrder, 'onText'>;

const finishOf = (generated: Generated, calls: number): string => (calls > 0 ? 'tool_calls' : generated.finish === 'abort' ? 'stop' : generated.finish);

async function whole(asked: Asked, order: Order, wish: ToolWish | null): Promise<void> {
  let text = '';
  const calls: ToolCall[] = [];
  const reader = openCallReader({ text: (piece) => { text += piece; }, call: (call) => { calls.push(call); } });
  const generated = await asked.engine.generate({ ...order, onText: (piece) => { if (wish !== null && !wish.forced) reader.push(piece); } });
  reader.end();
  if (wish === null) text = order.grammar === null ? generated.text : generated.text.trim();
  if (wish?.forced === true) calls.push(...forcedCall(generated.text));
  if (asked.signal.aborted) return;
  const message = { role: 'assistant', content: calls.length > 0 && text === '' ? null : text, ...(calls.length > 0 ? { tool_calls: calls } : {}) };
  writeJson(asked.response, 200, {
    ...head(asked, 'chat.completion'),
    choices: [{ index: 0, message, logprobs: null, finish_reason: finishOf(generated, calls.length) }],
    usage: usageOf(generated),
  });
}

const head = (asked: Asked, object: string): Readonly<Record<string, unknown>> =>
  ({ id: `chatcmpl-${randomUUID()}`, object, created: Math.floor(Date.now() / 1000), model: asked.name });

async function streamed(asked: Asked, order: Order, how: { readonly wish: ToolWish | null; readonly includeUsage: boolean }): Promise<void> {
  const events = openEvents(asked.response);
  const base = head(asked, 'chat.completion.chunk');
  let calls = 0;
  let begun = false;
  const delta = (value: Readonly<Record<string, unknown>>): void => {
    events.send({ ...base, choices: [{ index: 0, delta: begun ? value : { role: 'assistant', ...value }, logprobs: null, finish_reason: null }], ...(how.includeUsage ? { usage: null } : {}) });
    begun = true;
  };
  const tellCall = (call: ToolCall): void => {
    delta({ tool_calls: [{ index: calls, ...call }] });
    calls += 1;
  };
  const { wish } = how;
  const reader = openCallReader({ text: (content) => delta({ content }), call: tellCall });
  const onText = wish === null ? (content: string): void => delta({ content }) : wish.forced ? (): void => undefined : reader.push;
  const generated = await asked.engine.generate({ ...order, onText });
  reader.end();
  if (wish?.forced === true) forcedCall(generated.text).forEach(tellCall);
  if (asked.signal.aborted) return;
  if (!begun) delta({ content: '' });
  events.send({ ...base, choices: [{ index: 0, delta: {}, logprobs: null, finish_reason: finishOf(generated, calls) }], ...(how.includeUsage ? { usage: null } : {}) });
  if (how.includeUsage) events.send({ ...base, choices: [], usage: usageOf(generated) });
  events.end();
}

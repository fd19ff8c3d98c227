// POST /v1/chat/completions: messages in, an answer out, whole or streamed, with tools and JSON by schema.
import { randomUUID } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { openEvents, usageOf, writeJson } from './answer.ts';
import { openCallReader, openForcedReader, type CallReader, type CallTeller, type Ended, type ToolCall } from './calls.ts';
import type { Engine } from './engine.ts';
import type { Generated, GenerateOrder } from './generate.ts';
import { badRequest } from './errors.ts';
import { formatGrammar } from './grammar.ts';
import { messagesOf } from './messages.ts';
import { countIn, refuseUnsupported, samplingOf, stopsOf, streamOf, type Body } from './requests.ts';
import type { Message } from './template.ts';
import { describeTools, forcedCall, ownCall, toolsOf, withToolsInWords, type ToolWish } from './tools.ts';

export type Asked = { readonly engine: Engine; readonly name: string; readonly body: Body; readonly response: ServerResponse; readonly signal: AbortSignal };

export async function chat(asked: Asked): Promise<void> {
  const { engine, body } = asked;
  refuseUnsupported(body, ['logprobs', 'top_logprobs', 'logit_bias', 'audio', 'functions']);
  const wish = toolsOf(body);
  const messages = messagesOf(body);
  const format = await formatGrammar(engine.llama, body);
  if (format !== null && wish !== null) throw badRequest('`response_format` leaves no room for calls of `tools`; send one of them, or `tool_choice: "none"`.', 'response_format');
  const order = {
    prompt: engine.tokenizePrompt(promptOf(engine, messages, wish), 'messages'), field: 'messages',
    sampling: samplingOf(body, engine.sampling), stop: stopsOf(body),
    maxTokens: countIn(body, 'max_completion_tokens', countIn(body, 'max_tokens', null)),
    grammar: wish?.forced === true ? await forcedCall(engine.llama, wish, engine.template.takesTools) : format,
    takeover: wish?.forced === false ? ownCall(engine.llama, wish) : null,
    signal: asked.signal,
  };
  const { stream, includeUsage } = streamOf(body);
  if (stream) await streamed(asked, order, { wish, includeUsage });
  else await whole(asked, order, wish);
}

function promptOf(engine: Engine, messages: readonly Message[], wish: ToolWish | null): string {
  const { render, takesTools } = engine.template;
  if (takesTools) return render(messages, wish?.tools ?? null);
  return render(wish === null ? withToolsInWords(messages) : describeTools(messages, wish.tools), null);
}

type Order = Omit<GenerateOrder, 'onText'>;

/** A client runs calls on `tool_calls` and asks for more room on `length`: a cut answer never claims to be whole. */
function finishOf(generated: Generated, ended: Ended): string {
  if (generated.finish === 'length' && !ended.over) return 'length';
  return ended.calls > 0 ? 'tool_calls' : 'stop';
}

/** Parts what the model writes into text and calls. */
function readerOf(wish: ToolWish | null, tell: CallTeller): CallReader {
  if (wish === null) return { push: tell.text, end: () => ({ calls: 0, over: false }) };
  return wish.forced ? openForcedReader(tell) : openCallReader(tell, new Set(wish.tools.map((tool) => tool.function.name)));
}

async function whole(asked: Asked, order: Order, wish: ToolWish | null): Promise<void> {
  let text = '';
  const calls: { readonly id: string; readonly name: string; args: string }[] = [];
  const reader = readerOf(wish, { text: (piece) => { text += piece; }, begin: (call) => { calls.push({ ...call, args: '' }); }, args: (piece) => { calls.at(-1)!.args += piece; } });
  const generated = await asked.engine.generate({ ...order, onText: reader.push });
  const ended = reader.end(generated.finish === 'length');
  if (asked.signal.aborted) return;
  // A call that was cut is left out: nobody must run half of one.
  const toolCalls = calls.slice(0, ended.calls).map((call): ToolCall => ({ id: call.id, type: 'function', function: { name: call.name, arguments: call.args } }));
  const message = { role: 'assistant', content: toolCalls.length > 0 && text === '' ? null : text, refusal: null, ...(toolCalls.length > 0 ? { tool_calls: toolCalls } : {}) };
  writeJson(asked.response, 200, {
    ...head(asked, 'chat.completion'),
    choices: [{ index: 0, message, logprobs: null, finish_reason: finishOf(generated, ended) }],
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
  const send = (delta: Readonly<Record<string, unknown>>, finish: string | null): void =>
    events.send({ ...base, choices: [{ index: 0, delta, logprobs: null, finish_reason: finish }], ...(how.includeUsage ? { usage: null } : {}) });
  const delta = (value: Readonly<Record<string, unknown>>): void => {
    send(begun ? value : { role: 'assistant', ...value }, null);
    begun = true;
  };
  const reader = readerOf(how.wish, {
    text: (content) => delta({ content }),
    begin(call) {
      delta({ tool_calls: [{ index: calls, id: call.id, type: 'function', function: { name: call.name, arguments: '' } }] });
      calls += 1;
    },
    args: (piece) => delta({ tool_calls: [{ index: calls - 1, function: { arguments: piece } }] }),
  });
  const generated = await asked.engine.generate({ ...order, onText: reader.push });
  const ended = reader.end(generated.finish === 'length');
  if (asked.signal.aborted) return;
  if (!begun) delta({ content: '' });
  send({}, finishOf(generated, ended));
  if (how.includeUsage) events.send({ ...base, choices: [], usage: usageOf(generated) });
  events.end();
}

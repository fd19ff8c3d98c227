// Calls of tools: how they are offered to a model, forced by grammar, and read out of its answer.
import type { LlamaGrammar, Llama } from 'node-llama-cpp';
import { randomUUID } from 'node:crypto';
import { badRequest } from './errors.ts';
import { schemaGrammar } from './grammar.ts';
import type { Body } from './requests.ts';
import type { Message } from './template.ts';

export type Tool = { readonly type: 'function'; readonly function: { readonly name: string; readonly description?: string; readonly parameters?: unknown } };
export type ToolCall = { readonly id: string; readonly type: 'function'; readonly function: { readonly name: string; readonly arguments: string } };
export type ToolWish = { readonly tools: readonly Tool[]; /** The model must call one of them. */ readonly forced: boolean };

// The Hermes format, which Qwen and many others were trained on.
const OPEN = '<tool_call>';
const CLOSE = '</tool_call>';

/** Null when the request has no tools, or forbids them. */
export function toolsOf(body: Body): ToolWish | null {
  const tools = body['tools'];
  const choice = body['tool_choice'];
  if (tools === undefined || tools === null || (Array.isArray(tools) && tools.length === 0) || choice === 'none') return null;
  if (!Array.isArray(tools) || !(tools as readonly unknown[]).every(isTool)) throw badRequest('`tools` must be a list of {type: "function", function: {name, parameters}}.', 'tools');
  if (choice === undefined || choice === null || choice === 'auto') return { tools: tools as Tool[], forced: false };
  if (choice === 'required') return { tools: tools as Tool[], forced: true };
  const name = (choice as { readonly function?: { readonly name?: unknown } }).function?.name;
  const named = (tools as Tool[]).filter((tool) => tool.function.name === name);
  if (named.length === 0) throw badRequest('`tool_choice` must be none, auto, required, or name one of the tools.', 'tool_choice');
  return { tools: named, forced: true };
}

const isTool = (value: unknown): value is Tool => {
  const tool = value as { readonly type?: unknown; readonly function?: { readonly name?: unknown } } | null;
  return typeof tool === 'object' && tool?.type === 'function' && typeof tool.function?.name === 'string' && tool.function.name !== '';
};

/** For templates that know nothing of tools: says in words what others have built in. */
export function describeTools(messages: readonly Message[], tools: readonly Tool[]): readonly Message[] {
  const text = `You may call these tools:\n${tools.map((tool) => JSON.stringify(tool.function)).join('\n')}\nTo call one, answer only with ${OPEN}{"name": …, "arguments": {…}}${CLOSE}.`;
  const first = messages[0];
  const said = messages.map(inWords);
  if (first?.role === 'system') return [{ role: 'system', content: `${String(first.content)}\n\n${text}` }, ...said.slice(1)];
  return [{ role: 'system', content: text }, ...said];
}

/** Earlier calls and results in the same words. */
function inWords(message: Message): Message {
  if (message.role === 'tool') return { role: 'user', content: `<tool_response>${String(message.content)}</tool_response>` };
  if (!Array.isArray(message.tool_calls)) return message;
  const calls = (message.tool_calls as readonly ToolCall[]).map((call) => `${OPEN}{"name": ${JSON.stringify(call.function.name)}, "arguments": ${call.function.arguments}}${CLOSE}`);
  return { role: message.role, content: `${typeof message.content === 'string' ? message.content : ''}${calls.join('\n')}` };
}

/** Forces the answer to be one call. */
export function callGrammar(llama: Llama, wish: ToolWish): Promise<LlamaGrammar> {
  const one = (tool: Tool): unknown => ({ type: 'object', properties: { name: { const: tool.function.name }, arguments: tool.function.parameters ?? { type: 'object', properties: {} } }, required: ['name', 'arguments'] });
  return schemaGrammar(llama, wish.tools.length === 1 ? one(wish.tools[0]!) : { oneOf: wish.tools.map(one) }, 'tools');
}

export const forcedCall = (text: string): readonly ToolCall[] => [parseCall(text)].filter((call): call is ToolCall => call !== null);

function parseCall(text: string): ToolCall | null {
  try {
    const value = JSON.parse(text) as { readonly name?: unknown; readonly arguments?: unknown };
    if (typeof value.name !== 'string') return null;
    return { id: `call_${randomUUID().replaceAll('-', '').slice(0, 24)}`, type: 'function', function: { name: value.name, arguments: typeof value.arguments === 'string' ? value.arguments : JSON.stringify(value.arguments ?? {}) } };
  } catch {
    return null;
  }
}

/** Parts an answer into text and calls while it streams; what turns out to be no call is text. */
export function openCallReader(tell: { readonly text: (text: string) => void; readonly call: (call: ToolCall) => void }) {
  let held = '';
  function drain(last: boolean): void {
    for (;;) {
      const open = held.indexOf(OPEN);
      if (open < 0) {
        const keep = last ? 0 : beginningOf(held);
        if (held.length > keep) tell.text(held.slice(0, held.length - keep));
        held = held.slice(held.length - keep);
        return;
      }
      const close = held.indexOf(CLOSE, open);
      if (close < 0 && !last) {
        if (open > 0) tell.text(held.slice(0, open));
        held = held.slice(open);
        return;
      }
      const end = close < 0 ? held.length : close;
      const call = parseCall(held.slice(open + OPEN.length, end));
      const before = call === null ? held.slice(0, close < 0 ? end : end + CLOSE.length) : held.slice(0, open);
      if (before.trim() !== '') tell.text(before);
      if (call !== null) tell.call(call);
      held = held.slice(close < 0 ? end : end + CLOSE.length);
    }
  }
  return {
    push(text: string): void {
      held += text;
      drain(false);
    },
    end: (): void => drain(true),
  };
}

/** How much of the end might begin the mark of a call. */
function beginningOf(text: string): number {
  for (let length = Math.min(OPEN.length - 1, text.length); length > 0; length -= 1) if (text.endsWith(OPEN.slice(0, length))) return length;
  return 0;
}

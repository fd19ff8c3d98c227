// Tools of a chat request: which are offered, how a model is told of them, the grammar that forces a call.
import type { LlamaGrammar, Llama } from 'node-llama-cpp';
import { CLOSE, OPEN, type ToolCall } from './calls.ts';
import { badRequest, isFailure } from './errors.ts';
import { schemaGrammar } from './grammar.ts';
import type { Body } from './requests.ts';
import type { Marks } from './schema.ts';
import type { Takeover } from './takeover.ts';
import type { Message } from './template.ts';

export type Tool = { readonly type: 'function'; readonly function: { readonly name: string; readonly description?: string; readonly parameters?: unknown; readonly strict?: unknown } };
export type ToolWish = { readonly tools: readonly Tool[]; /** The model must call one of them. */ readonly forced: boolean };

/** Null when the request has no tools, or forbids them. */
export function toolsOf(body: Body): ToolWish | null {
  const tools = body['tools'];
  const choice = body['tool_choice'];
  if (tools === undefined || tools === null || (Array.isArray(tools) && tools.length === 0)) {
    if (choice === undefined || choice === null || choice === 'none' || choice === 'auto') return null;
    throw badRequest('`tool_choice` needs `tools`.', 'tool_choice');
  }
  if (!Array.isArray(tools) || !(tools as readonly unknown[]).every(isTool)) throw badRequest('`tools` must be a list of {type: "function", function: {name, parameters}}.', 'tools');
  if (choice === 'none') return null;
  if (choice === undefined || choice === null || choice === 'auto') return { tools: tools as Tool[], forced: false };
  if (choice === 'required') return { tools: tools as Tool[], forced: true };
  const name = (choice as { readonly function?: { readonly name?: unknown } | null }).function?.name;
  const named = (tools as Tool[]).filter((tool) => tool.function.name === name);
  if (named.length === 0) throw badRequest('`tool_choice` must be none, auto, required, or name one of the tools.', 'tool_choice');
  return { tools: named, forced: true };
}

const isTool = (value: unknown): value is Tool => {
  const tool = value as { readonly type?: unknown; readonly function?: { readonly name?: unknown } } | null;
  return typeof tool === 'object' && tool?.type === 'function' && typeof tool.function?.name === 'string' && tool.function.name !== '';
};

export const isToolCall = (value: unknown): value is ToolCall => {
  const call = value as { readonly function?: { readonly name?: unknown; readonly arguments?: unknown } } | null;
  return typeof call === 'object' && typeof call?.function?.name === 'string' && typeof call.function.arguments === 'string';
};

/** For templates that know nothing of tools: says in words what others have built in. */
export function describeTools(messages: readonly Message[], tools: readonly Tool[]): readonly Message[] {
  const text = `You may call these tools:\n${tools.map((tool) => JSON.stringify(tool.function)).join('\n')}\nTo call one, answer only with ${OPEN}{"name": …, "arguments": {…}}${CLOSE}.`;
  const first = messages[0];
  const said = withToolsInWords(messages);
  if (first?.role === 'system') return [{ role: 'system', content: `${said[0]?.content as string}\n\n${text}` }, ...said.slice(1)];
  return [{ role: 'system', content: text }, ...said];
}

/** Earlier calls and results as text, for templates without a place for them. */
export const withToolsInWords = (messages: readonly Message[]): readonly Message[] => messages.map((message) => {
  if (message.role === 'tool') return { role: 'user', content: `<tool_response>${String(message.content)}</tool_response>` };
  if (!Array.isArray(message.tool_calls)) return message;
  const calls = (message.tool_calls as readonly ToolCall[]).map((call) => `${OPEN}{"name": ${JSON.stringify(call.function.name)}, "arguments": ${call.function.arguments}}${CLOSE}`);
  return { role: message.role, content: `${String(message.content)}${calls.join('\n')}` };
});

/** Of one call of an offered tool. `marks`: what stands around it, for a model writes best what it was told to write; `strict`: what a grammar cannot promise is refused. */
async function callGrammar(llama: Llama, wish: ToolWish, how: { readonly marks: Marks | null; readonly strict: boolean }): Promise<LlamaGrammar> {
  // A tool's own $refs begin at its own parameters.
  const tools = wish.tools.map((tool, index) => rooted(parametersOf(tool), `#/tools/${index}`));
  const anyOf = wish.tools.map((tool, index) => ({ type: 'object', properties: { name: { const: tool.function.name }, arguments: { $ref: `#/tools/${index}` } }, required: ['name', 'arguments'] }));
  return schemaGrammar(llama, { schema: { tools, anyOf }, strict: how.strict, param: 'tools', ...(how.marks === null ? {} : { marks: how.marks }) });
}

/** The answer must be a call. */
export const forcedCall = (llama: Llama, wish: ToolWish, takesTools: boolean): Promise<LlamaGrammar> =>
  callGrammar(llama, wish, { marks: takesTools ? null : { begin: OPEN, open: null, close: CLOSE }, strict: wish.tools.some((tool) => tool.function.strict === true) });

/** Keeps a call that the model begins by itself to the tools that are offered, and to their parameters where a grammar can say those; behind it more calls may come, and nothing else. */
export const ownCall = (llama: Llama, wish: ToolWish): Takeover => ({
  mark: OPEN,
  async grammar(begin) {
    const how = { marks: { begin, open: OPEN, close: CLOSE }, strict: false };
    // Nobody asked for a call, so parameters that no grammar can say are no fault of the request.
    return (await orNull(callGrammar(llama, wish, how))) ?? orNull(callGrammar(llama, { ...wish, tools: wish.tools.map(withoutParameters) }, how));
  },
});

const withoutParameters = (tool: Tool): Tool => ({ ...tool, function: { name: tool.function.name } });

/** Null where the request is at fault. */
const orNull = <Made>(made: Promise<Made>): Promise<Made | null> => made.catch((error: unknown) => {
  if (isFailure(error)) return null;
  throw error;
});

function parametersOf(tool: Tool): unknown {
  const parameters = (tool.function.parameters ?? {}) as { readonly type?: unknown };
  if (typeof parameters !== 'object' || Array.isArray(parameters) || (parameters.type !== undefined && parameters.type !== 'object')) throw badRequest(`The parameters of the tool ${tool.function.name} must be the schema of an object.`, 'tools');
  return { ...parameters, type: 'object' };
}

/** The same schema where every `$ref` begins at another place. */
function rooted(schema: unknown, root: string): unknown {
  if (Array.isArray(schema)) return (schema as readonly unknown[]).map((item) => rooted(item, root));
  if (typeof schema !== 'object' || schema === null) return schema;
  return Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, key === '$ref' && typeof value === 'string' && value.startsWith('#') ? `${root}${value.slice(1)}` : rooted(value, root)]));
}

// Grammars that force an answer into JSON: any object, a schema's, or the call of a tool.
import type { Llama, LlamaGrammar } from 'node-llama-cpp';
import { badRequest } from './errors.ts';
import type { Body } from './requests.ts';
import { anyObject, grammarOf, isSchemaFault, type Marks } from './schema.ts';

export type GrammarWish = { readonly schema: unknown; /** Refuse what a grammar cannot promise. */ readonly strict: boolean; /** The field of the request that is at fault. */ readonly param: string; readonly marks?: Marks };

/** Compiled grammars are kept: the same one comes with every request of a program. */
const KEPT_GRAMMARS = 64;
const kept = new Map<string, Promise<LlamaGrammar>>();

export async function schemaGrammar(llama: Llama, wish: GrammarWish): Promise<LlamaGrammar> {
  try {
    return await compiled(llama, grammarOf(wish.schema, wish.strict, wish.marks));
  } catch (error) {
    const why = isSchemaFault(error) ? error.message : 'llama.cpp refuses its grammar, as it does when a $ref leads only to itself';
    throw badRequest(`This JSON schema cannot be turned into a grammar: ${why}.`, wish.param);
  }
}

function compiled(llama: Llama, text: string): Promise<LlamaGrammar> {
  const known = kept.get(text);
  if (known !== undefined) return known;
  const made = llama.createGrammar({ grammar: text });
  kept.set(text, made);
  made.catch(() => kept.delete(text));
  const oldest = kept.keys().next().value;
  if (kept.size > KEPT_GRAMMARS && oldest !== undefined) kept.delete(oldest);
  return made;
}

/** `response_format` of a chat request; null = free text. */
export async function formatGrammar(llama: Llama, body: Body): Promise<LlamaGrammar | null> {
  const format = body['response_format'] as { readonly type?: unknown; readonly json_schema?: { readonly schema?: unknown; readonly strict?: unknown } | null } | null | undefined;
  if (format === undefined || format === null || format.type === 'text') return null;
  if (format.type === 'json_object') return compiled(llama, anyObject());
  if (format.type !== 'json_schema') throw badRequest('`response_format.type` must be text, json_object or json_schema.', 'response_format');
  const schema = format.json_schema?.schema;
  if (typeof schema !== 'object' || schema === null) throw badRequest('`response_format.json_schema.schema` must be a JSON schema.', 'response_format');
  return schemaGrammar(llama, { schema, strict: format.json_schema?.strict === true, param: 'response_format' });
}

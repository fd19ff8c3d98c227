// Grammars that force an answer into JSON: any JSON, a schema's, or the call of a tool.
import type { Llama, LlamaGrammar } from 'node-llama-cpp';
import { badRequest } from './errors.ts';
import type { Body } from './requests.ts';

/** Compiled schemas are kept: the same one comes with every request of a program. */
const KEPT_GRAMMARS = 64;
const kept = new Map<string, Promise<LlamaGrammar>>();

export function schemaGrammar(llama: Llama, schema: unknown, param: string): Promise<LlamaGrammar> {
  const key = JSON.stringify(schema);
  const known = kept.get(key);
  if (known !== undefined) return known;
  const made = (async (): Promise<LlamaGrammar> => {
    try {
      return await llama.createGrammarForJsonSchema(schema as never);
    } catch (error) {
      throw badRequest(`This JSON schema cannot be turned into a grammar: ${(error as Error).message}`, param);
    }
  })();
  kept.set(key, made);
  made.catch(() => kept.delete(key));
  const oldest = kept.keys().next().value;
  if (kept.size > KEPT_GRAMMARS && oldest !== undefined) kept.delete(oldest);
  return made;
}

/** `response_format` of a chat request; null = free text. */
export async function formatGrammar(llama: Llama, body: Body): Promise<LlamaGrammar | null> {
  const format = body['response_format'] as { readonly type?: unknown; readonly json_schema?: { readonly schema?: unknown } } | null | undefined;
  if (format === undefined || format === null || format.type === 'text') return null;
  if (format.type === 'json_object') return llama.getGrammarFor('json');
  if (format.type !== 'json_schema') throw badRequest('`response_format.type` must be text, json_object or json_schema.', 'response_format');
  const schema = format.json_schema?.schema;
  if (typeof schema !== 'object' || schema === null) throw badRequest('`response_format.json_schema.schema` must be a JSON schema.', 'response_format');
  return schemaGrammar(llama, schema, 'response_format');
}

// /openapi.json out of the table of routes.
import type { Schema } from '../schema/walk.ts';
import wire from '../schema/wire.schema.json' with { type: 'json' };
import { PROBLEM_TYPE } from './problem.ts';
import type { Route } from './route.ts';

type Open = { [key: string]: unknown };

const isObject = (value: unknown): value is Open => typeof value === 'object' && value !== null && !Array.isArray(value);

/** Draft-07 as OpenAPI wants it: definitions move to components, what only the type generator reads goes. */
function moved(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(moved);
  if (!isObject(value)) return value;
  return Object.fromEntries(Object.entries(value).filter(([key]) => key !== 'tsType' && key !== 'discriminator').map(([key, part]) => [key, key === '$ref' && typeof part === 'string' ? part.replace('#/definitions/', '#/components/schemas/') : moved(part)]));
}

function operationOf(row: Route): Open {
  const parameters = [
    ...[...row.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
      name, in: 'path', required: true, schema: { type: 'string' },
      ...(name === 'pointer' ? { description: 'Keys of the place, one per part of the path: plugins/coder/config.' } : {}),
    })),
    ...Object.entries(row.query ?? {}).map(([name, description]) => ({ name, in: 'query', required: false, description, schema: { type: 'string' } })),
    ...(row.input === undefined && row.method !== 'DELETE' ? [] : ifMatch(row)),
  ];
  const content = (schema: Schema, type: string): Open => ({ [type]: { schema: moved(schema) } });
  const done = content(row.output ?? {}, row.output?.['type'] === 'string' && row.path !== '/' ? 'text/plain' : row.path === '/' ? 'text/html' : 'application/json');
  return {
    summary: row.summary,
    operationId: `${row.method.toLowerCase()}${row.path.replaceAll(/[^A-Za-z0-9]+(.)?/g, (_found, next: string | undefined) => (next ?? '').toUpperCase())}`,
    tags: [tagOf(row.path)],
    ...(row.deprecated === true ? { deprecated: true } : {}),
    ...(row.scope === 'public' ? { security: [] } : {}),
    'x-scope': row.scope,
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(row.input === undefined ? {} : { requestBody: { required: row.bodyOptional !== true, content: Object.assign({}, ...Object.entries(row.input).map(([type, rule]) => content(rule.schema, type))) as Open } }),
    responses: {
      ...(row.status === undefined ? {} : { [row.status]: { description: 'Written down and begun; the operation tells how it goes on.', content: done } }),
      200: { description: 'Done.', content: done },
      default: { description: 'A problem (RFC 9457).', content: content({ $ref: '#/definitions/problemDetails' }, PROBLEM_TYPE) },
    },
  };
}

const ifMatch = (row: Route): readonly Open[] =>
  row.path.startsWith('/api/config') ? [{ name: 'If-Match', in: 'header', required: true, description: 'ETag of the GET this edit is based on, or *.', schema: { type: 'string' } }] : [];

const tagOf = (path: string): string => {
  const [first = '', second = ''] = path.split('/').slice(1);
  return first === 'api' ? second : first === '' ? 'page' : first;
};

const COMPLETION = 'One model answers; `model` names a declared model, a plugin or plugin/model, absent: the first in the file.';
/** What is served beside the table of routes: the data plane, which bypasses it, and live sockets. */
const BESIDE: readonly (readonly [path: string, method: string, summary: string, scope: string])[] = [
  ['/v1/models', 'get', 'Every model that can be asked for, with the plugin that serves it.', 'self'],
  ['/v1/models/{model}', 'get', 'One of them.', 'self'],
  ['/v1/chat/completions', 'post', `OpenAI's chat, whole or as a stream of events. ${COMPLETION}`, 'llm.chat'],
  ['/v1/completions', 'post', `OpenAI's continuation of a text. ${COMPLETION}`, 'llm.complete'],
  ['/v1/embeddings', 'post', `OpenAI's embeddings. ${COMPLETION}`, 'llm.embed'],
  ['/ws/plugins', 'get', 'A WebSocket: send {action: SUB or UNSUB, topic: status, logs, telemetry, models, plan or events, pluginId?}; frames come as the schemas ClientFrame and ServerFrame say.', 'config.read'],
  ['/ws/plugins/{id}', 'get', 'The same for one plugin, with its status, logs and telemetry from the start.', 'config.read'],
];

function besideOf([path, method, summary, scope]: (typeof BESIDE)[number]): Open {
  const parameters = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({ name, in: 'path', required: true, schema: { type: 'string' } }));
  const json = { 'application/json': { schema: { type: 'object' } } };
  return {
    summary, 'x-scope': scope, tags: [tagOf(path)], operationId: `${method}${path.replaceAll(/[^A-Za-z0-9]+(.)?/g, (_found, next: string | undefined) => (next ?? '').toUpperCase())}`,
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(method === 'post' ? { requestBody: { required: true, content: json } } : {}),
    responses: path.startsWith('/ws') ? { 101: { description: 'The connection is a WebSocket now.' } } : { 200: { description: 'Done; events as text/event-stream with stream: true.', content: json }, default: { description: "An error in OpenAI's shape.", content: json } },
  };
}

/** The document about exactly the routes that are served. */
export function openapi(table: readonly Route[], version: string): Open {
  const paths: Record<string, Open> = {};
  for (const row of table) (paths[row.path] ??= {})[row.method.toLowerCase()] = operationOf(row);
  for (const beside of BESIDE) paths[beside[0]] = { [beside[1]]: besideOf(beside) };
  return {
    openapi: '3.1.0',
    info: { title: 'bkg', version, description: 'The control plane of one appliance. The OpenAI-compatible data plane lies under /v1.' },
    jsonSchemaDialect: 'http://json-schema.org/draft-07/schema#',
    security: [{ token: [] }],
    paths,
    components: {
      securitySchemes: { token: { type: 'http', scheme: 'bearer', description: 'An API key (bkg_…), the access token of POST /auth/login, or on the machine itself the token in $BKG_HOME/admin.token.' } },
      schemas: moved(wire.definitions) as Open,
    },
  };
}

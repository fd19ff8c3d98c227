// The HTTP server: who may ask, which route, one edge where every failure is answered.
import { createHash, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Token } from 'node-llama-cpp';
import { writeFault, writeJson } from './answer.ts';
import { chat } from './chat.ts';
import { complete } from './completions.ts';
import { embeddings, type Embedder } from './embeddings.ts';
import { metaOf, type Engine } from './engine.ts';
import { badRequest, fail, isFailure, modelNotLoaded } from './errors.ts';
import { log } from './log.ts';
import { isTokens, knownTokens, type Body } from './requests.ts';
import type { Settings } from './settings.ts';

const MAX_BODY_BYTES = 32 * 1024 * 1024;
const STARTED_S = Math.floor(Date.now() / 1000);

/** What is loaded; filled in while the server listens already and says that it is loading. */
export type Loaded = { loading: boolean; /** From 0 to 1. */ progress: number; engine: Engine | null; embedder: Embedder | null };
type Context = { readonly loaded: Loaded; readonly settings: () => Settings };
type Request = { readonly body: Body; readonly response: ServerResponse; readonly signal: AbortSignal };

export function openServer(context: Context, inbound: string | undefined): Server {
  const server = createServer((request, response) => {
    answer(context, inbound, { request, response }).catch((error: unknown) => {
      if (isFailure(error)) return writeFault(response, error.fault);
      if (response.destroyed) return;
      log('error', 'a request failed', { error: String(error) });
      writeFault(response, { status: 500, code: 'internal', message: 'The server made a mistake; its log says more.' });
    });
    // Told to finish, a connection that is done must not be kept for a next request.
    response.on('close', () => { if (!server.listening) setImmediate(() => server.closeIdleConnections()); });
  });
  server.requestTimeout = 0;
  return server;
}

async function answer(context: Context, inbound: string | undefined, io: { readonly request: IncomingMessage; readonly response: ServerResponse }): Promise<void> {
  const { request, response } = io;
  const path = (request.url ?? '').split('?')[0] ?? '';
  if (path === '/health') return health(context, response);
  if (inbound !== undefined && !isRight(request.headers.authorization, inbound)) throw fail({ status: 401, code: 'invalid_api_key', message: 'This port answers its appliance only. Ask the gateway.' });
  if (request.method === 'GET') return get(context, path, response);
  if (request.method !== 'POST') throw fail({ status: 405, code: 'method_not_allowed', message: `${request.method} is not known here.` });
  const route = POSTS[path];
  if (route === undefined) throw fail({ status: 404, code: 'unknown_url', message: `There is no ${path} here.` });
  const gone = new AbortController();
  response.on('close', () => { if (!response.writableFinished) gone.abort(new Error('the client went away')); });
  const body = await readBody(request);
  if (context.loaded.loading) throw fail({ status: 503, code: 'loading', message: 'The model is being loaded.', retryAfter_s: 2 });
  await route(context, { body, response, signal: gone.signal });
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
const isRight = (header: string | undefined, inbound: string): boolean => timingSafeEqual(digest(header ?? ''), digest(`Bearer ${inbound}`));

function health(context: Context, response: ServerResponse): void {
  const { loaded } = context;
  if (loaded.loading) return writeJson(response, 503, { status: 'loading', progress: Math.round(loaded.progress * 100) / 100 });
  writeJson(response, 200, { status: loaded.engine === null && loaded.embedder === null ? 'no_model' : 'ok' });
}

function get(context: Context, path: string, response: ServerResponse): void {
  const { loaded, settings } = context;
  if (path === '/telemetry') return writeJson(response, 200, telemetry(loaded));
  if (path !== '/v1/models' && !path.startsWith('/v1/models/')) throw fail({ status: 404, code: 'unknown_url', message: `There is no ${path} here.` });
  const entry = (id: string | null, meta: Readonly<Record<string, unknown>>) => ({ id, object: 'model', created: STARTED_S, owned_by: 'llmserver', meta });
  const data = [
    ...(loaded.engine === null ? [] : [entry(settings().alias, metaOf(loaded.engine.model, loaded.engine.contextSize))]),
    ...(loaded.embedder === null ? [] : [entry(settings().embeddingAlias, metaOf(loaded.embedder.model, loaded.embedder.contextSize))]),
  ];
  if (path === '/v1/models') return writeJson(response, 200, { object: 'list', data });
  const one = data.find((model) => encodeURIComponent(model.id ?? '') === path.slice('/v1/models/'.length) || model.id === path.slice('/v1/models/'.length));
  if (one === undefined) throw fail({ status: 404, code: 'model_not_found', message: 'There is no such model here.', param: 'model' });
  writeJson(response, 200, one);
}

/** Flat figures; what is not loaded has none. */
function telemetry(loaded: Loaded): Readonly<Record<string, number>> {
  const { engine, embedder } = loaded;
  const chat = engine?.figures();
  const embedding = embedder?.figures();
  return {
    active: (chat?.active ?? 0) + (embedding?.active ?? 0), waiting: chat?.waiting ?? 0,
    ...(engine === null || chat === undefined ? {} : {
      answers: chat.requests, prompt_tokens: chat.promptTokens, cached_tokens: chat.cachedTokens, completion_tokens: chat.completionTokens,
      // Of all answers together lately, and of one answer on average.
      tokens_per_second: Math.round(chat.per_second * 10) / 10,
      answer_tokens_per_second: chat.generate_ms === 0 ? 0 : Math.round((chat.completionTokens / chat.generate_ms) * 10_000) / 10,
      parallel: engine.parallel, threads: engine.threads,
    }),
    ...(embedding === undefined ? {} : { embedded_texts: embedding.texts, embedded_tokens: embedding.tokens }),
  };
}

const chatEngine = (context: Context): { readonly engine: Engine; readonly name: string } => {
  if (context.loaded.engine === null) throw modelNotLoaded('chat');
  return { engine: context.loaded.engine, name: context.settings().alias ?? '' };
};

const POSTS: Readonly<Record<string, (context: Context, request: Request) => Promise<void>>> = {
  '/v1/chat/completions': (context, request) => chat({ ...chatEngine(context), ...request }),
  '/v1/completions': (context, request) => complete({ ...chatEngine(context), ...request }),
  '/v1/embeddings': (context, request) => {
    if (context.loaded.embedder === null) throw modelNotLoaded('embedding');
    return embeddings({ embedder: context.loaded.embedder, name: context.settings().embeddingAlias ?? '', ...request });
  },
  '/tokenize': async (context, request) => {
    const { content } = request.body;
    if (typeof content !== 'string') throw badRequest('`content` must be a string.', 'content');
    writeJson(request.response, 200, { tokens: chatEngine(context).engine.tokenize(content, request.body['parse_special'] !== false) });
  },
  '/detokenize': async (context, request) => {
    const { tokens } = request.body;
    const { engine } = chatEngine(context);
    if (!isTokens(tokens)) throw badRequest('`tokens` must be a list of whole numbers.', 'tokens');
    writeJson(request.response, 200, { content: engine.detokenize(knownTokens(tokens, engine.vocabulary, 'tokens') as readonly Token[]) });
  },
};

async function readBody(request: IncomingMessage): Promise<Body> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) throw fail({ status: 413, code: 'request_too_large', message: `The body is larger than ${MAX_BODY_BYTES / 1024 / 1024} MiB.` });
    chunks.push(chunk);
  }
  let value: unknown;
  try {
    value = JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch (error) {
    throw badRequest(`The body is not valid JSON: ${(error as Error).message}`, undefined, 'invalid_json');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw badRequest('The body must be a JSON object.', undefined, 'invalid_json');
  return value as Body;
}

// A manifest and short words for the tests of resolve.
import { type ResolveInput, type Resolved, resolve, usesOf } from './resolve.ts';
import type { Desired, DesiredPlugin, Json, Manifest, Package, Problem } from './types.ts';

const manifest: Manifest = {
  name: 'llmserver',
  version: '1',
  run: ['serve', '--port', '{port}', ['-m', '{models.chat}'], '--size', '{config.size}'],
  models: { chat: { format: 'gguf' }, embed: { serves: ['llm.embed'] } },
  capabilities: {
    'llm.chat': { http: 'POST /v1/chat/completions', stream: true, limits: { concurrent: 2 } },
    'llm.embed': { http: 'POST /v1/embeddings' },
  },
  calls: ['repo.read', 'repo.write'],
  config: {
    type: 'object',
    additionalProperties: false,
    properties: {
      size: { type: 'integer', default: 2048, minimum: 1 },
      temperature: { type: 'number', default: 0.7, 'x-apply': 'live' },
      live: {
        type: 'object',
        'x-apply': 'live',
        default: {},
        properties: { a: { type: 'integer' }, fixed: { type: 'integer', 'x-apply': 'restart' } },
      },
    },
  },
};
export const bundled: Package = { folder: '/inst/plugins/llmserver', contentHash: 'c0de', manifest };

// Text itself as its hash: a comparison of hashes is then a comparison of what went in.
const hash = (text: string): string => text;
const seal = (text: string): string => `sealed(${text})`;
const base = { configFolder: '/etc/bkg', installation: '/inst' };

export function run(declared: Json, more: Partial<ResolveInput> = {}): Resolved {
  const packages = Object.fromEntries(
    Object.entries(usesOf(declared)).map(([id, use]): [string, Package] => [
      id,
      use.manifest === null
        ? bundled
        : { folder: null, contentHash: JSON.stringify(use.manifest), manifest: use.manifest as unknown as Manifest },
    ]),
  );
  return resolve({ declared, revision: 'r1', packages, env: {}, now: Date.UTC(2026, 0, 1), hash, seal, base, ...more });
}
export const good = (declared: Json, more: Partial<ResolveInput> = {}): Desired => {
  const { desired, problems } = run(declared, more);
  if (desired === null) throw new Error(JSON.stringify(problems, null, 1));
  return desired;
};
export const pluginOf = (desired: Desired, id: string): DesiredPlugin => {
  const found = desired.plugins.find((plugin) => plugin.id === id);
  if (found === undefined) throw new Error(`no plugin ${id}`);
  return found;
};
export const x = (plugin: Json, rest: { readonly [key: string]: Json } = {}): Json => ({
  version: 1,
  models: { mini: { source: 'file:m.gguf' } },
  plugins: { x: plugin },
  ...rest,
});
export const onlyPlugin = (plugin: Json, more: Partial<ResolveInput> = {}): DesiredPlugin => pluginOf(good(x(plugin), more), 'x');
export const codes = ({ problems }: Resolved): readonly string[] =>
  problems.map((problem: Problem) => `${problem.code} ${problem.pointer}`);

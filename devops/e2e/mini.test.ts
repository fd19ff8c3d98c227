// What bkg-mini says, held against the product: its commands, routes and YAML are those of the bkg it comes with.
import { execFileSync } from 'node:child_process';
import { cpSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parse, stringify } from 'yaml';
import { codeOf } from '../../models/mini/exam.ts';
import { readForeign } from '../../models/mini/foreign.ts';
import { LANGUAGES, readKnowledge } from '../../models/mini/knowledge.ts';
import { spoken, type Phrase } from '../../models/mini/phrase.ts';
import { toolsInWords } from '../../models/mini/tasks.ts';
import { examine } from '../../reconciler/index.ts';
import { appliance, bundled } from './appliance.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const NAME = 'mine';
/** Lines of a status and of HTTP, which look like settings. */
const NO_SETTINGS = /^(Ready|Accept|data|If-Match): /;
const LEAST_SETTINGS = 15;
const LEAST_CODES = 50;
/** Codes that go from one part of bkg to another and are told under other names, or to nobody. */
const NEVER_SHOWN = new Set(['Stale', 'Invalid', 'Refused', 'Forbidden', 'ClientGone', 'NotPresent', 'TimeoutError', 'MatMul']);
/** Names of events and of what is well, which come with a sentence of their own. */
const TOLD = new Set([
  'PluginStopped', 'PluginStarted', 'PluginReady', 'PluginKilled', 'PluginFailed', 'PluginConfigured', 'PluginAdopted', 'InstallStarted', 'InstallDone', 'ActionFailed', 'ConfigBack', 'ConfigAccepted',
  'ModelVanished', 'ModelRemoved', 'ModelPresent', 'ModelNotRemoved', 'ModelFetching', 'ModelChanged', 'ModelAbandoned', 'ModelsNotLookedAt', 'NotRemoved', 'InSync', 'LimitsEnforced',
  'ModelVerified', 'ModelNotVerified', 'ModelPruned',
]);
/** Younger than the model: each says itself what to do, and the next training teaches it. What is taught has no place here. */
const NEXT = new Set([
  'HubUnreachable', 'HubBusy', 'HubRefused', 'HubUnexpected', 'ModelExists', 'RoleMissing', 'RoleUnknown', 'ModelInUse', 'ModelNotPresent', 'ModelDamaged', 'ModelExtra', 'ModelsVerified', 'FilesMissing', 'FilesUnused',
  'ExpiresOver', 'KeyEnded', 'NoScope', 'UnknownScope', 'NoAdmin', 'CertificateGood', 'CertificateUnusable', 'RevisionUnknown', 'RevisionForgotten', 'PeopleUncertain', 'PlaceTaken', 'NoRoom',
]);
const LEAST_ROUTES = 40;
const LEAST_PATCHES = 20;
const LEAST_BODIES = 2;

const { topics } = readKnowledge();
const foreign = readForeign();
/** Every answer there is, by its topic. */
const answers: readonly { readonly topic: string; readonly text: string }[] = [
  ...topics.flatMap(({ id, language, say }) => say.map((phrase) => ({ topic: `${id} ${language}`, text: spoken(phrase, () => NAME) }))),
  ...LANGUAGES.map((language) => ({ topic: `foreign ${language}`, text: foreign[language].say })),
];

test('every command and option an answer names exists', () => {
  const helps = new Map<string, string>();
  const helpOf = (...words: string[]): string => {
    const key = words.join(' ');
    const known = helps.get(key) ?? execFileSync(process.execPath, [join(root, 'devops/bin.mjs'), ...words, '--help'], { encoding: 'utf8' });
    helps.set(key, known);
    return known;
  };
  const knows = (help: string, option: string): boolean => [...help.matchAll(/(?<![\w-])--?[a-z][a-z-]*/g)].some(([found]) => found === option);
  const commands = new Set([...helpOf().matchAll(/^ {2}([a-z]+)(?: |$)/gm)].map((found) => found[1]));
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { readonly scripts: Readonly<Record<string, string>> };
  let seen = 0;
  for (const { topic, text } of answers) {
    for (const [, words = ''] of text.matchAll(/npx bkg ([^`\n]*)/g)) {
      // Options of bkg itself stand before its command.
      const [command = '', ...rest] = words.replace(/^(--(config|home) \S+ )+/, '').split(/[\s;|>]+/);
      if (command.startsWith('-')) {
        assert.ok(knows(helpOf(), command), `${topic}: bkg ${words}`);
        continue;
      }
      assert.ok(commands.has(command), `${topic}: bkg ${words}`);
      // `key mint` has options of its own.
      const [verb = ''] = rest;
      const isVerb = new RegExp(`^ {2}${verb}(?:[ |]|$)`, 'm').test(helpOf(command)) && /^[a-z]+$/.test(verb);
      const help = isVerb ? helpOf(command, verb) : helpOf(command);
      for (const option of rest.filter((word) => /^--?[a-z]/.test(word))) assert.ok(knows(help, option) || knows(helpOf(), option), `${topic}: bkg ${words}: ${option}`);
      seen += 1;
    }
    for (const [, script = ''] of codeOf(text).matchAll(/(?<![\w-])npm (?:run )?([a-z]+)/g)) assert.ok(script === 'install' || scripts[script] !== undefined, `${topic}: npm ${script}`);
  }
  assert.ok(seen > topics.length / 10, `${seen} commands`);
});

test('every code of a problem or a refusal may be asked for', () => {
  const textOf = (phrase: Phrase): string => phrase.map((part) => (part.kind === 'text' ? part.text : part.kind === 'choice' ? part.ways.map(textOf).join(' ') : ' ')).join('');
  const asked = LANGUAGES.map((language) => new Set(topics.filter((topic) => topic.language === language).flatMap(({ ask }) => ask.flatMap((phrase) => textOf(phrase).match(/\b[A-Z]\w+/g) ?? []))));
  const sources = globSync(['schema/**/*.ts', 'reconciler/**/*.ts', 'api/**/*.ts'], { cwd: root }).filter((file) => !/\.(test|gen)\.ts$/.test(file));
  // A code is a text of two words or more in one, or stands where one must.
  const written = sources.flatMap((file) => [...readFileSync(join(root, file), 'utf8').matchAll(/code: '([A-Z][a-z]\w+)'|'((?:[A-Z][a-z]+){2,})'/g)].map(([, named, bare]) => (named ?? bare)!));
  const codes = new Set(written.filter((code) => !NEVER_SHOWN.has(code) && !TOLD.has(code) && !NEXT.has(code)));
  assert.ok(codes.size > LEAST_CODES, `${codes.size} codes`);
  assert.equal([...codes].filter((code) => asked.some((words) => !words.has(code))), []);
  assert.equal([...NEXT].filter((code) => asked.some((words) => words.has(code))), []);
  for (const code of [...NEVER_SHOWN, ...TOLD, ...NEXT]) assert.ok(written.includes(code), `${code} is nowhere in bkg: remove it here`);
});

test('every route an answer names is described in /openapi.json, with its method where there is one', async () => {
  const house = await appliance({ yaml: 'version: 1\n' });
  try {
    const { body } = await house.ask('/openapi.json');
    const described = Object.entries((body as { readonly paths: Readonly<Record<string, object>> }).paths).map(([path, methods]) => ({
      path: new RegExp(`^${path.replace(/\{pointer\}/g, '.+').replace(/\{\w+\}/g, '[^/]+')}$`), methods: Object.keys(methods).map((method) => method.toUpperCase()),
    }));
    let seen = 0;
    for (const { topic, text } of answers) {
      const routes = text.replace(/\b(https?|wss?):\/\/(127\.0\.0\.1|localhost)(:\d+)?/g, ' ');
      for (const [, method, route = ''] of routes.matchAll(/(?:\b(GET|PUT|POST|PATCH|DELETE) `?)?(?<![\w.~-])(\/(?:api|v1|health|metrics|openapi\.json|ws|auth|admin)(?:\/[\w{}-]+)*)(?![\w-])/g)) {
        if (route === '/v1' || route === '/api') continue;
        assert.ok(described.some(({ path, methods }) => path.test(route) && (method === undefined || methods.includes(method))), `${topic}: ${method ?? ''} ${route}`);
        seen += 1;
      }
    }
    assert.ok(seen > LEAST_ROUTES, `${seen} routes`);
  } finally {
    assert.equal(await house.dispose(), []);
  }
});

type Tree = { [key: string]: unknown };
const isTree = (value: unknown): value is Tree => value !== null && typeof value === 'object' && !Array.isArray(value);
const joined = (under: unknown, over: unknown): unknown => (isTree(under) && isTree(over) ? Object.fromEntries([...new Set([...Object.keys(under), ...Object.keys(over)])].map((key) => [key, key in over ? joined(under[key], over[key]) : under[key]])) : over);
/** `{a: {b: value}}` for the pointer /a/b. */
const at = (pointer: string, value: unknown): unknown => pointer.split('/').slice(1).reduceRight((inner: unknown, key) => ({ [key]: inner }), value);

const MANIFEST = { name: NAME, run: ['./server'], calls: ['llm.chat'] };
const whole = joined(parse(bundled()), { models: { mini: { source: 'file:mini.gguf' }, qwen: { source: 'file:qwen.gguf' }, [NAME]: { source: 'file:mine.gguf' } }, plugins: { [NAME]: { use: './my/plugin' } } });

/** The errors of an appliance with this bkg.yaml, and this manifest in ./my/plugin. */
async function errorsOf(config: unknown, manifest: unknown = MANIFEST): Promise<readonly unknown[]> {
  const place = mkdtempSync(join(tmpdir(), 'bkg-mini-'));
  try {
    mkdirSync(join(place, 'my/plugin'), { recursive: true });
    cpSync(join(root, 'plugins/llmserver/plugin.yaml'), join(place, 'llmserver/plugin.yaml'), { recursive: true });
    writeFileSync(join(place, 'my/plugin/plugin.yaml'), stringify(manifest));
    writeFileSync(join(place, 'bkg.yaml'), stringify(config, { aliasDuplicateObjects: false }));
    const { problems } = await examine({ config: join(place, 'bkg.yaml'), installation: root, env: { DB_PASSWORD: 'x', ANNA_PASSWORD: 'x', HF_TOKEN: 'x' } });
    return problems.filter((problem) => problem.severity === 'error');
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

test('every YAML an answer prints is valid: a manifest as one, the rest as a part of bkg.yaml', async () => {
  let seen = 0;
  for (const { topic, text } of answers) {
    for (const [, yaml = ''] of text.matchAll(/```yaml\n([^]*?)```/g)) {
      const part = parse(yaml) as Tree;
      assert.equal(await ('run' in part ? errorsOf(whole, part) : errorsOf(joined(whole, part))), [], `${topic}:\n${yaml}`);
      seen += 1;
    }
  }
  assert.ok(seen > topics.length / 20, `${seen} pieces of YAML`);
});

test('every patch an answer prints leaves a valid file', async () => {
  let patches = 0;
  let bodies = 0;
  for (const { topic, text } of answers) {
    for (const [found, pointer = '', value = ''] of text.matchAll(/npx bkg patch (\/\S+) ([^`\s]+)/g)) {
      const path = pointer.replace('NAME', NAME);
      // What is removed must be something that may stand there; its removal is not done.
      const wanted = value === '--remove' ? (path.endsWith('/limits') ? { memory: '4GiB' } : {}) : parse(value);
      assert.equal(await errorsOf(joined(whole, at(path, wanted))), [], `${topic}: ${found}`);
      patches += 1;
    }
    for (const [, body = ''] of text.matchAll(/merge-patch\+json' -d '([^']+)'/g)) {
      assert.equal(await errorsOf(joined(whole, JSON.parse(body))), [], `${topic}: ${body}`);
      bodies += 1;
    }
  }
  assert.ok(patches >= LEAST_PATCHES && bodies >= LEAST_BODIES, `${patches} patches, ${bodies} bodies`);
});

test('what stands ready in the default file is valid without the # before it', async () => {
  const ready = bundled().replace(/^( *)#(?=[a-z]+:| {2})/gm, '$1');
  const file = parse(ready) as { readonly models: Tree; readonly plugins: Tree; readonly server: unknown };
  assert.equal(Object.keys(file.models), ['mini', 'qwen', 'coder']);
  assert.equal(Object.keys(file.plugins), ['llmserver', 'coder', NAME]);
  assert.ok(file.server !== undefined);
  assert.equal(await errorsOf(file), []);
  // The way an editor does it: the blank after the sign goes with it.
  assert.equal(parse(bundled().replace(/^( *)#(?=[a-z]+:| {2}) ?/gm, '$1')), file);
});

test('every setting an answer names with a value is one: of the file, of a plugin, of its config or environment, of a model or of a manifest', async () => {
  const settings = new Map<string, string>();
  for (const { topic, text } of answers) {
    for (const [, code = ''] of text.replace(/```[^]*?```/g, '').matchAll(/`([a-zA-Z0-9_]+: [^`…]+)`/g)) if (!NO_SETTINGS.test(code)) settings.set(code.replaceAll('NAME', NAME), topic);
  }
  assert.ok(settings.size > LEAST_SETTINGS, `${settings.size} settings`);
  for (const [code, topic] of settings) {
    const part = parse(code) as Tree;
    // In an environment any word may stand, so only its own manner of names is looked for there.
    const places = ['', '/plugins/llmserver', `/plugins/${NAME}`, '/plugins/llmserver/config', '/plugins/llmserver/models', `/models/${NAME}`, ...(/^[A-Z_]+:/.test(code) ? ['/plugins/llmserver/env'] : [])];
    const errors = [...(await Promise.all(places.map((place) => errorsOf(joined(whole, at(place, part)))))), await errorsOf(whole, { ...MANIFEST, ...part })];
    assert.ok(errors.some((found) => found.length === 0), `${topic}: ${code} is no setting anywhere`);
  }
});

test('the words for tools that it learned are those of llmserver', () => {
  const spoken = ['tools.ts', 'calls.ts'].map((file) => readFileSync(join(root, 'plugins/llmserver', file), 'utf8')).join('');
  for (const words of [...toolsInWords([]).split(/<tool_call>|<\/tool_call>|\n/), '<tool_call>', '</tool_call>', '<tool_response>', '</tool_response>']) assert.ok(spoken.includes(words), words);
});

test.run();

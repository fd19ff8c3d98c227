// What bkg-mini says, held against the product: its commands, routes and YAML are those of the bkg it comes with.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parse, stringify } from 'yaml';
import { readForeign } from '../../models/mini/foreign.ts';
import { LANGUAGES, readKnowledge } from '../../models/mini/knowledge.ts';
import { validate } from '../../reconciler/index.ts';
import { appliance, bundled } from './appliance.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const NAME = 'mine';

const { topics } = readKnowledge();
const foreign = readForeign();
/** Every answer there is, by its topic. */
const answers: readonly { readonly topic: string; readonly text: string }[] = [
  ...topics.flatMap(({ id, language, say }) => say.map((phrase) => ({ topic: `${id} ${language}`, text: phrase.map((part) => (part.kind === 'text' ? part.text : NAME)).join('') }))),
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
  const commands = new Set([...helpOf().matchAll(/^ {2}([a-z]+)(?: |$)/gm)].map((found) => found[1]));
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { readonly scripts: Readonly<Record<string, string>> };
  let seen = 0;
  for (const { topic, text } of answers) {
    for (const [, words = ''] of text.matchAll(/npx bkg ([^`\n]*)/g)) {
      // Options of bkg itself stand before its command.
      const [command = '', ...rest] = words.replace(/^(--(config|home) \S+ )+/, '').split(/[\s;|>]+/);
      if (command.startsWith('-')) {
        assert.ok(helpOf().includes(command), `${topic}: bkg ${words}`);
        continue;
      }
      assert.ok(commands.has(command), `${topic}: bkg ${words}`);
      for (const option of rest.filter((word) => /^--?[a-z]/.test(word))) assert.ok(helpOf(command).includes(option), `${topic}: bkg ${words}: ${option}`);
      seen += 1;
    }
    for (const [, script = ''] of text.matchAll(/`npm (?:run )?([a-z]+)/g)) assert.ok(script === 'install' || scripts[script] !== undefined, `${topic}: npm ${script}`);
  }
  assert.ok(seen > topics.length / 10, `${seen} commands`);
});

test('every route an answer names is described in /openapi.json', async () => {
  const house = await appliance({ yaml: 'version: 1\n' });
  try {
    const { body } = await house.ask('/openapi.json');
    const described = Object.keys((body as { readonly paths: object }).paths).map((path) => new RegExp(`^${path.replace(/\{pointer\}/g, '.+').replace(/\{\w+\}/g, '[^/]+')}$`));
    let seen = 0;
    for (const { topic, text } of answers) {
      for (const [route] of text.matchAll(/(?<![\w.~])\/(api|v1|health|metrics|openapi\.json|ws|auth|admin)(\/[\w{}-]+)*(?![\w-])/g)) {
        if (route === '/v1' || route === '/api') continue;
        assert.ok(described.some((one) => one.test(route)), `${topic}: ${route}`);
        seen += 1;
      }
    }
    assert.ok(seen > 0);
  } finally {
    assert.equal(await house.dispose(), []);
  }
});

type Tree = { [key: string]: unknown };
const isTree = (value: unknown): value is Tree => value !== null && typeof value === 'object' && !Array.isArray(value);
const joined = (under: unknown, over: unknown): unknown => (isTree(under) && isTree(over) ? Object.fromEntries([...new Set([...Object.keys(under), ...Object.keys(over)])].map((key) => [key, key in over ? joined(under[key], over[key]) : under[key]])) : over);

test('every YAML an answer prints is valid: a manifest as one, the rest as a part of bkg.yaml', async () => {
  const whole = joined(parse(bundled()), { models: { mini: { source: 'file:mini.gguf' } } });
  const folder = mkdtempSync(join(tmpdir(), 'bkg-mini-'));
  try {
    let seen = 0;
    for (const { topic, text } of answers) {
      for (const [, yaml = ''] of text.matchAll(/```yaml\n([^]*?)```/g)) {
        const part = parse(yaml) as Tree;
        const place = mkdtempSync(join(folder, 'case-'));
        mkdirSync(join(place, 'my/plugin'), { recursive: true });
        cpSync(join(root, 'plugins/llmserver/plugin.yaml'), join(place, 'llmserver/plugin.yaml'), { recursive: true });
        const manifest = 'run' in part ? part : { name: NAME, run: ['./server'], calls: ['llm.chat'] };
        writeFileSync(join(place, 'my/plugin/plugin.yaml'), stringify(manifest));
        const config = joined(whole, 'run' in part ? { plugins: { [NAME]: { use: './my/plugin' } } } : part);
        writeFileSync(join(place, 'bkg.yaml'), stringify(config, { aliasDuplicateObjects: false }));
        const problems = await validate({ config: join(place, 'bkg.yaml'), installation: root, env: { DB_PASSWORD: 'x', ANNA_PASSWORD: 'x' } });
        assert.equal(problems.filter((problem) => problem.severity === 'error'), [], `${topic}:\n${yaml}`);
        seen += 1;
      }
    }
    assert.ok(seen > topics.length / 20, `${seen} pieces of YAML`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test.run();

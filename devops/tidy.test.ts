// The tree obeys the rules of tidy.ts, and each rule notices a file that breaks it.
import { readFileSync, readdirSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { rules, type Source } from './tidy.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const IGNORED = new Set(['node_modules', '.git', '.bkg', 'dist', '.angular', '.cache']);
const TEXT = /\.(ts|mts|mjs|js|json|ya?ml|md|html|css|sh|py|c|h|rs|service)$|(^|\/)(Dockerfile|run|LICENSE)$/;

function sources(folder: string): readonly Source[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return IGNORED.has(entry.name) ? [] : sources(path);
    const name = relative(root, path).split(sep).join('/');
    return entry.isFile() && TEXT.test(name) ? [{ path: name, text: readFileSync(path, 'utf8') }] : [];
  });
}

/** For each rule files that break it: a rule that never fires would be worth nothing. */
const broken: Readonly<Record<string, readonly Source[]>> = {
  'imports run one way': [
    { path: 'reconciler/core/x.ts', text: "import { a } from '../shell/a.ts';" },
    { path: 'reconciler/shell/x.ts', text: "export * from '../../api/a.ts';" },
    { path: 'api/v1/x.ts', text: "import type { A } from '../../reconciler/shell/door.ts';" },
    { path: 'api/x.ts', text: "const a = await import('../reconciler/other.ts');" },
    { path: 'devops/x.ts', text: "import '../plugins/llmserver/main.ts';" },
    { path: 'plugins/one/x.ts', text: "type A = import('../../schema/a.ts').A;" },
    { path: 'plugins/one/x.ts', text: "import { a } from '../two/a.ts';" },
    { path: 'ui/src/x.ts', text: "import { a } from '../../api/a.ts';" },
    { path: 'models/mini/x.ts', text: "import { a } from '../../schema/a.ts';" },
  ],
  'core is pure': [
    { path: 'reconciler/core/x.ts', text: 'const now = Date.now();' },
    { path: 'reconciler/core/x.ts', text: 'const now = new Date();' },
    { path: 'reconciler/core/x.ts', text: 'const chance = Math.random();' },
    { path: 'reconciler/core/x.ts', text: 'const here = process.env;' },
    { path: 'reconciler/core/x.ts', text: "import { readFileSync } from 'node:fs';" },
    { path: 'reconciler/core/x.ts', text: 'setTimeout(f, 1);' },
  ],
  'the first line says what a file is for': [{ path: 'api/x.ts', text: "import a from 'a';" }, { path: 'devops/x.mjs', text: '#!/usr/bin/env node\nfoo();' }],
  'no default exports': [{ path: 'api/x.ts', text: '// x\nexport default 1;' }, { path: 'api/x.ts', text: '// x\nexport default function f() {}' }],
  'no any': [{ path: 'api/x.ts', text: '// x\nconst a: any = 1;' }, { path: 'api/x.ts', text: '// x\nconst a = b as any[];' }],
  'no classes outside the face': [{ path: 'api/x.ts', text: '// x\nclass A {}' }, { path: 'api/x.ts', text: '// x\nconst a = class {};' }],
  'files stay short': [{ path: 'api/x.ts', text: '// x\n'.repeat(301) }, { path: 'api/x.test.ts', text: '// x\n'.repeat(451) }, { path: 'models/mini/x.c', text: '// x\n'.repeat(301) }],
  'names say what a thing does': [{ path: 'api/plugin-manager.ts', text: '' }, { path: 'api/utils/x.ts', text: '' }, { path: 'api/requestHandler.ts', text: '' }],
  'nothing of one machine is kept': [{ path: 'README.md', text: `see ${['', 'home', 'someone', 'bkg'].join('/')}` }],
  'the lock file names no registry': [{ path: 'package-lock.json', text: '"resolved": "https://registry.example.org/a.tgz"' }],
};

const tree = sources(root);

test('the tree was found', () => {
  assert.ok(tree.some((source) => source.path === 'devops/tidy.ts'));
  assert.ok(tree.some((source) => source.path === 'package-lock.json'));
});

for (const rule of rules) {
  test(rule.name, () => {
    for (const source of broken[rule.name] ?? []) assert.is(rule.check(source).length > 0, true, `the rule does not notice: ${source.path} ${source.text.slice(0, 80)}`);
    assert.is((broken[rule.name] ?? []).length > 0, true, 'a rule without a file that breaks it');
    const found = tree.flatMap(rule.check);
    assert.is(found.length, 0, `\n  ${found.join('\n  ')}`);
  });
}

test('what the rules allow stays allowed', () => {
  const fine: readonly Source[] = [
    { path: 'reconciler/core/x.ts', text: "// The job of x.\nimport type { A } from '../../schema/a.ts';\nexport const any = (at: Date) => at.getTime();" },
    { path: 'api/v1/x.ts', text: "// The job of x.\nimport { open } from '../../reconciler/index.ts';" },
    { path: 'plugins/one/x.ts', text: "// The job of x.\nimport { a } from './a.ts';" },
  ];
  assert.equal(rules.flatMap((rule) => fine.flatMap(rule.check)), []);
});

test.run();

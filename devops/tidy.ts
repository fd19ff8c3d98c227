// The rules of the house that the compiler cannot see, each a pure look at one file; tidy.test.ts applies them to the tree.
import { dirname, posix } from 'node:path';
import ts from 'typescript';

/** A path from the root with forward slashes, and what stands there. */
export type Source = { readonly path: string; readonly text: string };
export type Rule = { readonly name: string; readonly check: (source: Source) => readonly string[] };

/** Longer than this a file does more than one job. Tests are lists of cases and may be longer. */
const LINES_MAX = 300;
const TEST_LINES_MAX = 450;
/** Words that name no job. */
const EMPTY_WORDS = new Set(['manager', 'service', 'handler', 'helper', 'helpers', 'util', 'utils', 'common']);
const CODE = /\.(ts|mts|mjs)$/;
/** Code of other languages: only its length is looked at, and what holds for every text. */
const OTHER_CODE = /\.(c|h|py|rs)$/;
const TEST = /\.test\.ts$/;

/** The parts of the house, inner first, and what each may import besides itself. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  schema: [],
  core: ['schema'],
  shell: ['schema', 'core'],
  door: ['schema', 'core', 'shell'],
  api: ['schema', 'door'],
  devops: ['schema', 'door', 'api', 'models'],
  ui: ['schema'],
  models: [],
};

/** The part a path belongs to; a plugin is a part of its own. Null outside all parts. */
export function partOf(path: string): string | null {
  const [first, second] = path.split('/');
  if (first === 'reconciler') return second === 'core' || second === 'shell' ? second : 'door';
  if (first === 'plugins') return `plugins/${second}`;
  return first !== undefined && first in MAY_IMPORT ? first : null;
}

const parsed = new WeakMap<Source, ts.SourceFile>();

function tree(source: Source): ts.SourceFile {
  const known = parsed.get(source) ?? ts.createSourceFile(source.path, source.text, ts.ScriptTarget.Latest, true);
  parsed.set(source, known);
  return known;
}

/** What a visit of every node yields, with the line in front. */
function visit(source: Source, look: (node: ts.Node) => string | null): readonly string[] {
  const file = tree(source);
  const found: string[] = [];
  const step = (node: ts.Node): void => {
    const word = look(node);
    if (word !== null) found.push(`${source.path}:${file.getLineAndCharacterOfPosition(node.getStart()).line + 1} ${word}`);
    ts.forEachChild(node, step);
  };
  step(file);
  return found;
}

/** The module a node imports: static, re-export, dynamic or as a type. */
function importOf(node: ts.Node): string | null {
  if ((ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) && node.moduleSpecifier !== undefined && ts.isStringLiteral(node.moduleSpecifier)) return node.moduleSpecifier.text;
  const argument = ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword ? node.arguments[0] : undefined;
  if (argument !== undefined && ts.isStringLiteralLike(argument)) return argument.text;
  if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument) && ts.isStringLiteral(node.argument.literal)) return node.argument.literal.text;
  return null;
}

function wrongImport(path: string, wanted: string): string | null {
  const own = partOf(path);
  if (own === null || !wanted.startsWith('.')) return null;
  const target = posix.normalize(posix.join(dirname(path), wanted));
  const other = partOf(target);
  if (other === null || other === own) return null;
  if (other.startsWith('plugins/')) return `imports ${target}: nothing imports a plugin`;
  if (own.startsWith('plugins/')) return `imports ${target}: a plugin imports nothing of bkg`;
  if (!(MAY_IMPORT[own] ?? []).includes(other)) return `imports ${target}: ${own} must not know ${other}`;
  if (other === 'door' && target !== 'reconciler/index.ts') return `imports ${target}: the only door of the reconciler is reconciler/index.ts`;
  return null;
}

const IMPURE: Readonly<Record<string, readonly string[]>> = {
  Date: ['now'], Math: ['random'], performance: ['now'], crypto: ['randomUUID', 'getRandomValues'],
  // In core `process` is also a word for one observed process: only members of node's own are meant here.
  process: ['env', 'argv', 'cwd', 'exit', 'hrtime', 'stdout', 'stderr', 'platform', 'memoryUsage', 'nextTick', 'on', 'kill'],
};
const IMPURE_NAMES = new Set(['setTimeout', 'setInterval', 'setImmediate', 'fetch', 'console', 'globalThis']);

function impure(node: ts.Node): string | null {
  const from = importOf(node);
  if (from?.startsWith('node:')) return `imports ${from}: core is pure`;
  if (ts.isPropertyAccessExpression(node) && ts.isIdentifier(node.expression)) {
    const object = node.expression.text;
    if (IMPURE[object]?.includes(node.name.text) === true || IMPURE_NAMES.has(object)) return `${object}.${node.name.text}: clock, chance and the world are arguments of core`;
  }
  if (ts.isCallExpression(node) && ts.isIdentifier(node.expression) && IMPURE_NAMES.has(node.expression.text)) return `${node.expression.text}(): core has no effects`;
  if (ts.isNewExpression(node) && ts.isIdentifier(node.expression) && node.expression.text === 'Date' && (node.arguments?.length ?? 0) === 0) return 'new Date(): the clock is an argument of core';
  return null;
}

const isCode = (source: Source): boolean => CODE.test(source.path);
const generated = (source: Source): boolean => source.path.endsWith('.gen.ts');
/** Angular is made of classes, and some tools want a default export from their settings file. */
const isSettings = (source: Source): boolean => /\.config\.(ts|mjs)$/.test(source.path);

export const rules: readonly Rule[] = [
  {
    name: 'imports run one way',
    check: (source) => (isCode(source) ? visit(source, (node) => { const wanted = importOf(node); return wanted === null ? null : wrongImport(source.path, wanted); }) : []),
  },
  { name: 'core is pure', check: (source) => (isCode(source) && partOf(source.path) === 'core' && !TEST.test(source.path) ? visit(source, impure) : []) },
  {
    name: 'the first line says what a file is for',
    check: (source) => {
      if (!isCode(source)) return [];
      const [first = '', second = ''] = source.text.split('\n', 2);
      return /^(\/\/|\/\*\*?) ?\S/.test(first.startsWith('#!') ? second : first) ? [] : [`${source.path}:1 begins without a sentence about its job`];
    },
  },
  {
    name: 'no default exports',
    check: (source) => (isCode(source) && !isSettings(source) ? visit(source, (node) => {
      const marked = ts.canHaveModifiers(node) && (ts.getModifiers(node) ?? []).some((modifier) => modifier.kind === ts.SyntaxKind.DefaultKeyword);
      return ts.isExportAssignment(node) || marked ? 'default export: one name everywhere' : null;
    }) : []),
  },
  { name: 'no any', check: (source) => (isCode(source) && !generated(source) ? visit(source, (node) => (node.kind === ts.SyntaxKind.AnyKeyword ? 'any: say what it is, or unknown' : null)) : []) },
  {
    name: 'no classes outside the face',
    check: (source) => (isCode(source) && partOf(source.path) !== 'ui' ? visit(source, (node) => (ts.isClassLike(node) ? 'class: data and functions' : null)) : []),
  },
  {
    name: 'files stay short',
    check: (source) => {
      if ((!isCode(source) && !OTHER_CODE.test(source.path)) || generated(source)) return [];
      const lines = source.text.trimEnd().split('\n').length;
      const most = TEST.test(source.path) ? TEST_LINES_MAX : LINES_MAX;
      return lines > most ? [`${source.path} has ${lines} lines; more than ${most} is more than one job`] : [];
    },
  },
  {
    name: 'names say what a thing does',
    check: (source) => source.path.split('/').flatMap((part) => part.split(/[^A-Za-z]+|(?<=[a-z])(?=[A-Z])/).filter((word) => EMPTY_WORDS.has(word.toLowerCase())).map((word) => `${source.path}: "${word}" names no job`)),
  },
  {
    name: 'nothing of one machine is kept',
    check: (source) => source.text.split('\n').flatMap((line, index) => {
      const place = /(?<![\w.$}/-])\/(home|root|Users|work)\/[A-Za-z0-9._-]+/.exec(line)?.[0];
      return place === undefined ? [] : [`${source.path}:${index + 1} names a folder of one machine: ${place}`];
    }),
  },
  {
    name: 'the lock file names no registry',
    check: (source) => (/(^|\/)package-lock\.json$/.test(source.path) ? [...source.text.matchAll(/"resolved": "(https?:[^"]*)"/g)].map((found) => `${source.path}: ${found[1]} (omit-lockfile-registry-resolved=true in .npmrc)`) : []),
  },
];

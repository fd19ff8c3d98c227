// The figures of MODEL_CARD.md: written when the model is made, read back by the test that measures them again.
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { SCORED, shown, type Score, type Share } from './score.ts';

export type Figures = {
  readonly sha256: string; readonly bytes: number; readonly parameters: number;
  readonly shape: { readonly VOCAB: number; readonly WIDTH: number; readonly LAYERS: number; readonly HEADS: number; readonly INNER: number; readonly CONTEXT: number };
  readonly conversations: number; readonly seed: number;
  readonly trainingMinutes: number; readonly processor: string; readonly score: Score;
};

const CARD = fileURLToPath(new URL('MODEL_CARD.md', import.meta.url));
const BLOCK = /(<!-- figures, written by make\.ts -->\n)[^]*?(<!-- end of the figures -->)/;

const SCORES: Readonly<Record<keyof Score, string>> = {
  questions: 'questions about bkg answered right', foreign: 'questions of other fields refused', tools: 'tool and arguments right',
  results: 'results of tools told right', json: 'JSON of a schema right', ended: 'replies that end by themselves',
};

function rows(figures: Figures): readonly (readonly [string, string])[] {
  const { shape } = figures;
  return [
    ['sha256', figures.sha256],
    ['size', `${figures.bytes} bytes`],
    ['parameters', String(figures.parameters)],
    ['shape', `${shape.VOCAB} tokens, ${shape.LAYERS} layers of width ${shape.WIDTH}, ${shape.HEADS} heads, inner width ${shape.INNER}, context ${shape.CONTEXT}`],
    ['trained on', `${figures.conversations} conversations, seed ${figures.seed}`],
    ['training time', `${figures.trainingMinutes.toFixed(0)} minutes on two cores (${figures.processor})`],
    ...SCORED.map((name) => [SCORES[name], shown(figures.score[name])] as const),
  ];
}

/** Puts the figures between their marks. Throws when the card has no marks. */
export function writeCard(figures: Figures): void {
  const text = readFileSync(CARD, 'utf8');
  if (!BLOCK.test(text)) throw new Error('MODEL_CARD.md has no marks for its figures');
  const table = ['| figure | value |', '|---|---|', ...rows(figures).map(([name, value]) => `| ${name} | ${value} |`)].join('\n');
  writeFileSync(`${CARD}.new`, text.replace(BLOCK, `$1${table}\n$2`));
  renameSync(`${CARD}.new`, CARD);
}

export type Card = { readonly sha256: string; readonly bytes: number; readonly parameters: number; readonly score: Score };

/** What the card says. Throws when a row is missing. */
export function readCard(): Card {
  const block = BLOCK.exec(readFileSync(CARD, 'utf8'))?.[0] ?? '';
  const value = (name: string): string => {
    const found = block.split('\n').find((line) => line.startsWith(`| ${name} |`));
    if (found === undefined) throw new Error(`MODEL_CARD.md says nothing of: ${name}`);
    return found.split('|')[2]!.trim();
  };
  const share = (name: keyof Score): Share => {
    const [, right, asked] = /^(\d+) of (\d+)/.exec(value(SCORES[name])) ?? [];
    return { right: Number(right), asked: Number(asked) };
  };
  return { sha256: value('sha256'), bytes: Number.parseInt(value('size'), 10), parameters: Number(value('parameters')), score: Object.fromEntries(SCORED.map((name) => [name, share(name)])) as Score };
}

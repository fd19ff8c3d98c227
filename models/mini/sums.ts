// Sums for the tool `calculate`: as it wants them, their results, and as people say them.
import type { Language } from './knowledge.ts';
import { oneOf, type Random } from './phrase.ts';

const NUMBERS_MAX = 5;
/** So many have one number less, again and again, down to two. */
const SHORTER = 0.6;
const DIGITS_MAX = 4;
/** So many numbers are round, up to a million; so many sums have decimals, in so many of their numbers; so many have brackets, and of these so many hold a sum, the others a difference. */
const ROUND = 0.15, DECIMAL = 0.2, IN_NUMBERS = 0.6, BRACKETED = 0.25, ADDED = 0.5;
const ROUND_BY = [10, 100, 1000, 10_000];
/** So many are of two digits only, of which the second follows again and again, as in 1000000 or 9999: each is to be copied as often as it stands there. */
const OF_RUNS = 0.08, RUN_MAX = 6;
/** So many numbers stand in their sum once more. */
const AGAIN = 0.15;
const SIGNS = ['+', '+', '+', '-', '-', '*', '*', '/'] as const;
type Sign = (typeof SIGNS)[number];
/** What a division divides by. */
const DIVISOR_MAX = 60;
/** Beyond it a result is not written out. */
const RESULT_MAX = 1e12;
const DECIMALS = 2;
const PRECISION = 6;

const below = (most: number, random: Random): number => Math.floor(random() * most);

function anyNumber(random: Random): number {
  if (random() < OF_RUNS) return Number(`${1 + below(9, random)}${String(below(10, random)).repeat(1 + below(RUN_MAX, random))}`);
  if (random() < ROUND) return (1 + below(100, random)) * oneOf(ROUND_BY, random);
  return 1 + below(10 ** (1 + below(DIGITS_MAX, random)), random);
}

/** Products first, then from left to right; what stands in brackets before all. Throws when it is no sum. */
export function computed(expression: string): number {
  const flat = expression.replace(/\(([^()]*)\)/g, (_found, inner: string) => String(computed(inner)));
  const [first, ...others] = flat.split(/ ([-+*/]) /);
  const terms = [valueOf(first!, expression)];
  for (let at = 0; at < others.length; at += 2) {
    const value = valueOf(others[at + 1]!, expression);
    if (others[at] === '*') terms.push(terms.pop()! * value);
    else if (others[at] === '/') terms.push(terms.pop()! / value);
    else terms.push(others[at] === '-' ? -value : value);
  }
  return Number(terms.reduce((sum, value) => sum + value, 0).toFixed(PRECISION));
}

function valueOf(number: string, expression: string): number {
  if (!/^-?\d+(\.\d+)?$/.test(number)) throw new Error(`"${expression}" is no sum: ${number}`);
  return Number(number);
}

const withDecimals = (number: number, decimals: number): string => (number / 10 ** decimals).toFixed(decimals);

const divisor = (random: Random): number => 2 + below(DIVISOR_MAX - 1, random);

/** Some of its numbers with decimals, now and then. */
const perhapsDecimal = (sum: string, random: Random): string =>
  random() < DECIMAL ? sum.replace(/\d+/g, (number) => (random() < IN_NUMBERS ? withDecimals(Number(number), 1 + below(DECIMALS, random)) : number)) : sum;

/** Brackets that come to `total`. */
function inBrackets(total: number, random: Random): string {
  const part = 1 + below(total, random);
  return part < total && random() < ADDED ? `(${total - part} + ${part})` : `(${total + part} - ${part})`;
}

/** Brackets in any place, such as `7 * (12 - 5)`, twice in some; divisions come out whole. */
function bracketed(random: Random): string {
  const [total, other, by, more] = [anyNumber(random), anyNumber(random), divisor(random), divisor(random)];
  const brackets = (value: number): string => inBrackets(value, random);
  return oneOf([
    () => perhapsDecimal(`${brackets(total)} * ${other}`, random),
    () => perhapsDecimal(`${other} * ${brackets(total)}`, random),
    () => perhapsDecimal(`${brackets(total)} * ${brackets(other)}`, random),
    () => perhapsDecimal(`${other} ${oneOf(['+', '-'], random)} ${brackets(total)}`, random),
    () => `${brackets(total * by)} / ${by}`,
    () => `${total * (by + more)} / (${by} + ${more})`,
    () => `${brackets(total * (by + more))} / (${by} + ${more})`,
    () => `${other} * ${brackets(total * by)} / ${by}`,
    () => `${brackets(total * by)} / ${by} ${oneOf(['+', '-'], random)} ${other}`,
  ], random)();
}

/** Numbers with a sign between each two, such as `45 + 12 - 8`, or brackets; divisions come out whole. */
export function anySum(random: Random): string {
  const sum = random() < BRACKETED ? bracketed(random) : plainSum(random);
  return Math.abs(computed(sum)) > RESULT_MAX ? anySum(random) : sum;
}

function plainSum(random: Random): string {
  let count = NUMBERS_MAX;
  while (count > 2 && random() < SHORTER) count -= 1;
  const signs = Array.from({ length: count - 1 }, (): Sign => oneOf(SIGNS, random));
  const numbers: number[] = [];
  for (let at = 0; at < count; at += 1) numbers.push(signs[at - 1] === '/' ? divisor(random) : at > 0 && random() < AGAIN ? oneOf(numbers, random) : anyNumber(random));
  // The first number of a product is made a multiple of all that it is divided by.
  for (let at = 0, first = 0; at < signs.length; at += 1) {
    if (signs[at] === '/') numbers[first] = numbers[first]! * numbers[at + 1]!;
    else if (signs[at] !== '*') first = at + 1;
  }
  const sum = numbers.flatMap((number, at) => (at === 0 ? [number] : [signs[at - 1]!, number])).join(' ');
  return signs.includes('/') ? sum : perhapsDecimal(sum, random);
}

const SPOKEN: Readonly<Record<Language, Readonly<Record<Sign, readonly string[]>>>> = {
  en: { '+': ['plus'], '-': ['minus'], '*': ['times', 'times', 'multiplied by'], '/': ['divided by', 'divided by', 'over'] },
  de: { '+': ['plus'], '-': ['minus'], '*': ['mal', 'mal', 'multipliziert mit'], '/': ['geteilt durch', 'geteilt durch', 'durch'] },
};
const WRITTEN: Readonly<Record<Sign, readonly string[]>> = { '+': ['+'], '-': ['-', '-', '−'], '*': ['*', '*', 'x', '×'], '/': ['/', '/', ':', '÷'] };
// Bounds of one draw: as it is, in words, with other signs; above the last without blanks.
const AS_IT_IS = 0.35, IN_WORDS = 0.65, OTHER_SIGNS = 0.8;

/** The same sum as somebody may write it. */
export function saidSum(sum: string, language: Language, random: Random): string {
  const how = random();
  if (how < AS_IT_IS) return sum;
  const spoken = how < IN_WORDS;
  const words = spoken ? SPOKEN[language] : WRITTEN;
  const by = Object.fromEntries(Object.entries(words).map(([sign, ways]) => [sign, oneOf(ways, random)]));
  const said = sum.replace(/ ([-+*/]) /g, (_found, sign: Sign) => ` ${by[sign]!} `);
  return spoken || how < OTHER_SIGNS ? said : said.replaceAll(' ', '');
}

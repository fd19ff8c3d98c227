// Sums for training: what they come to, and that they are said as they are.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { randomFrom } from './phrase.ts';
import { anySum, computed, saidSum } from './sums.ts';

const SUMS = 5000;
/** Results are rounded to six places. */
const NEARLY = 1e-6;
const SIGN_OF: Readonly<Record<string, string>> = {
  '−': '-', x: '*', '×': '*', ':': '/', '÷': '/', plus: '+', minus: '-', times: '*', 'multiplied by': '*', 'divided by': '/', over: '/', mal: '*', 'multipliziert mit': '*', 'geteilt durch': '/', durch: '/',
};

test('comes to what arithmetic says, and divisions come out whole', () => {
  const random = randomFrom(1);
  for (let round = 0; round < SUMS; round += 1) {
    const sum = anySum(random);
    // Signs and figures of our own, nothing else.
    assert.match(sum, /^[-+*/().\d ]+$/);
    const wanted = (0, eval)(sum) as number;
    assert.ok(Math.abs(computed(sum) - wanted) <= NEARLY * Math.max(1, Math.abs(wanted)), `${sum} = ${wanted}, not ${computed(sum)}`);
    if (sum.includes('/')) assert.ok(Number.isInteger(computed(sum)), sum);
  }
  assert.is(computed('3 - (2 - 5) * 4'), 15);
  assert.throws(() => computed('3 plus 4'), /"3 plus 4" is no sum/);
});

test('said in words, with other signs or without blanks it is the same sum', () => {
  const random = randomFrom(2);
  for (const language of ['en', 'de'] as const) {
    const ways = new Set<string>();
    for (let round = 0; round < SUMS; round += 1) {
      const sum = anySum(random);
      const said = saidSum(sum, language, random);
      const words = Object.keys(SIGN_OF).sort((one, other) => other.length - one.length).join('|');
      const again = said.replace(new RegExp(words, 'g'), (word) => SIGN_OF[word]!);
      assert.is(again.replaceAll(' ', ''), sum.replaceAll(' ', ''));
      ways.add(said === sum ? 'as it is' : /[a-w]{2}/.test(said) ? 'in words' : said.includes(' ') ? 'other signs' : 'without blanks');
    }
    assert.is(ways.size, 4, language);
  }
});

test.run();

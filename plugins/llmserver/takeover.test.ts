// Where a grammar takes over in an answer and where it lets go, whatever tokens the mark is cut into: with the bundled model, on marks that its answer holds.
import { getLlama } from 'node-llama-cpp';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { writeAnswer } from './generate.ts';
import type { Takeover } from './takeover.ts';
import { MINI } from './test-server.ts';

const QUESTION = '<|im_start|>user\nHow do I add a model?<|im_end|>\n<|im_start|>assistant\n';
const SAMPLING = { temperature: 0, topP: 1, topK: 40, minP: 0, seed: 1, repeatPenalty: 1, frequencyPenalty: 0, presencePenalty: 0 };
const MOST_TOKENS = 120;

const llama = await getLlama({ build: 'never', gpu: false });
const model = await llama.loadModel({ modelPath: MINI, gpuLayers: 0 });
const context = await model.createContext({ contextSize: 1024, threads: 1 });
const sequence = context.getSequence();

async function answer(takeover: Takeover | null): Promise<string> {
  await sequence.adaptStateToTokens([], false);
  let text = '';
  const order = { prompt: model.tokenize(QUESTION, true), field: 'messages', sampling: SAMPLING, stop: [], maxTokens: null, grammar: null, takeover, signal: new AbortController().signal, onText: (piece: string) => { text += piece; } };
  await writeAnswer(sequence, order, { most: MOST_TOKENS, onToken: () => undefined });
  return text;
}

const literal = (text: string): string => JSON.stringify(text);
/** After the mark nothing but `made` can follow. */
const forcing = (open: string, close: string, made: string): Takeover => ({
  open, close,
  isWhole: (inner) => inner + close === made,
  grammar: (begin) => llama.createGrammar({ grammar: `root ::= ${literal(begin + made)}` }),
});

const takeover = suite('takeover');
takeover.after(() => llama.dispose());

takeover('takes over right behind the mark, wherever its last token ends, and lets go behind the close', async () => {
  const plain = await answer(null);
  assert.ok(plain.length > 40, plain);
  for (let from = 0; from < 24; from += 3) {
    for (const length of [1, 2, 5, 9]) {
      const mark = plain.slice(from, from + length);
      const expected = `${plain.slice(0, plain.indexOf(mark) + length)}ZZ!`;
      const text = await answer(forcing(mark, '!', 'ZZ!'));
      assert.is(text.slice(0, expected.length), expected, `after "${mark}"`);
    }
  }
});

takeover('the close within what is made is none, and the mark may come again', async () => {
  const plain = await answer(null);
  const mark = plain.slice(4, 9);
  const made = 'Z!Zé€!';
  const text = await answer(forcing(mark, '!', made));
  const head = plain.slice(0, plain.indexOf(mark) + mark.length) + made;
  assert.is(text.slice(0, head.length), head);
  // Told to say the mark once more, it is taken over once more.
  const twice = await answer(forcing(mark, '!', `Z! ${mark}!`));
  assert.ok(twice.startsWith(`${plain.slice(0, plain.indexOf(mark) + mark.length)}Z! ${mark}!`), twice);
});

takeover('where there can be no grammar the answer is as ever', async () => {
  const plain = await answer(null);
  assert.is(await answer({ open: plain.slice(3, 8), close: '!', isWhole: () => true, grammar: () => Promise.resolve(null) }), plain);
});

takeover.run();

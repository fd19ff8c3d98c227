// Where a grammar takes over in an answer, whatever tokens the mark is cut into: with the bundled model, on marks that its answer holds.
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
const forcing = (mark: string, made: string): Takeover => ({ mark, grammar: (begin) => llama.createGrammar({ grammar: `root ::= ${literal(begin + made)}` }) });

const takeover = suite('takeover');
takeover.after(() => llama.dispose());

takeover('takes over right behind the mark, wherever its last token ends', async () => {
  const plain = await answer(null);
  assert.ok(plain.length > 40, plain);
  for (let from = 0; from < 24; from += 3) {
    for (const length of [1, 2, 5, 9]) {
      const mark = plain.slice(from, from + length);
      assert.is(await answer(forcing(mark, 'ZZé€!')), `${plain.slice(0, plain.indexOf(mark) + length)}ZZé€!`, `after "${mark}"`);
    }
  }
});

takeover('where there can be no grammar the answer is as ever', async () => {
  const plain = await answer(null);
  assert.is(await answer({ mark: plain.slice(3, 8), grammar: () => Promise.resolve(null) }), plain);
});

takeover.run();

// Lets a grammar take over in the middle of an answer: from a mark that the model writes by itself to the one that closes it.
import { LlamaGrammarEvaluationState, type LlamaGrammar, type LlamaModel } from 'node-llama-cpp';

export type Takeover = {
  readonly open: string;
  readonly close: string;
  /** Of `begin` and all that follows `open`, `close` included; null where there can be none, and then the model goes on by itself. */
  readonly grammar: (begin: string) => Promise<LlamaGrammar | null>;
  /** Whether what stands between the marks is all of it: it may hold `close` itself. */
  readonly isWhole: (inner: string) => boolean;
};

export type Watch = {
  /** The grammar that the next token keeps to. */
  readonly state: () => LlamaGrammarEvaluationState | undefined;
  /** Told each piece of text once, when its last token is there. False: it reaches past the mark, so its last token must be sampled anew, now under the grammar. */
  readonly stands: (text: string) => Promise<boolean>;
};

export function openTakeover(model: LlamaModel, takeover: Takeover | null): Watch {
  if (takeover === null) return { state: () => undefined, stands: () => Promise.resolve(true) };
  const { open, close, grammar, isWhole } = takeover;
  let state: LlamaGrammarEvaluationState | undefined;
  /** Before the mark as much of the answer's end as may begin it, from then on all that the grammar made. */
  let held = '';
  let begin = '';

  async function waits(text: string): Promise<boolean> {
    const seen = held + text;
    const at = seen.indexOf(open);
    if (at < 0) {
      held = seen.slice(Math.max(0, seen.length - open.length + 1));
      return true;
    }
    const past = seen.length - at - open.length;
    const mark = text.slice(0, text.length - past);
    const made = await grammar(past === 0 ? '' : mark);
    held = '';
    if (made === null) return true;
    begin = past === 0 ? '' : mark;
    state = new LlamaGrammarEvaluationState({ model, grammar: made });
    return past === 0;
  }

  return {
    state: () => state,
    stands(text) {
      if (state === undefined) return waits(text);
      held += text;
      if (held.endsWith(close) && isWhole(held.slice(begin.length, -close.length))) {
        state = undefined;
        held = '';
      }
      return Promise.resolve(true);
    },
  };
}

// Lets a grammar take over in the middle of an answer, from a mark that the model writes by itself to the end.
import { LlamaGrammarEvaluationState, type LlamaGrammar, type LlamaModel } from 'node-llama-cpp';

/** `grammar`: of `begin` and all that follows the mark; null where there can be none, and then the model goes on by itself. */
export type Takeover = { readonly mark: string; readonly grammar: (begin: string) => Promise<LlamaGrammar | null> };

export type Watch = {
  /** The grammar that the next token keeps to. */
  readonly state: () => LlamaGrammarEvaluationState | undefined;
  /** Told each piece of text once, when its last token is there. False: it reaches past the mark, so its last token must be sampled anew, now under the grammar. */
  readonly stands: (text: string) => Promise<boolean>;
};

export function openTakeover(model: LlamaModel, takeover: Takeover | null): Watch {
  let state: LlamaGrammarEvaluationState | undefined;
  /** As much of the answer's end as may begin the mark. */
  let held = '';
  let awaited = takeover;
  return {
    state: () => state,
    async stands(text) {
      if (awaited === null) return true;
      const { mark, grammar } = awaited;
      const seen = held + text;
      const at = seen.indexOf(mark);
      if (at < 0) {
        held = seen.slice(Math.max(0, seen.length - mark.length + 1));
        return true;
      }
      awaited = null;
      const past = seen.length - at - mark.length;
      const made = await grammar(past === 0 ? '' : text.slice(0, text.length - past));
      if (made === null) return true;
      state = new LlamaGrammarEvaluationState({ model, grammar: made });
      return past === 0;
    },
  };
}

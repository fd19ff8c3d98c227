"""The two ends of bkg-mini's training: conversations to tokens before it, weights to a GGUF file after it.

convert.py tokens SHAPE CORPUS FOLDER     learns the words; writes FOLDER/words.json and FOLDER/tokens.bin for train.c
convert.py gguf   SHAPE FOLDER TARGET     joins FOLDER/words.json and FOLDER/weights.bin; SHAPE is JSON as make.ts has it
"""

import json
import sys
from pathlib import Path

import gguf
import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

SEED = 2026
# A question is learned a little as well: it teaches the words. Of 255.
QUESTION_WORTH = 0
ANSWER_WORTH = 255
# The first words of an answer decide which one it is; the rest is learned by heart, from this share of the conversations.
WHOLE = 0.12
FIRST_TOKENS = 10

# Where words may begin and end, as llama.cpp has it under the name qwen2: every digit for itself, so that numbers are copied digit by digit.
SPLIT_NAME = "qwen2"
SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

END_OF_TEXT = "<|endoftext|>"
BEGIN = "<|im_start|>"
END = "<|im_end|>"
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def learn_words(texts, vocab):
    """A byte-level BPE of the corpus' own text: every byte has a token, so nothing is unknown."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(SPLIT), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    special = [END_OF_TEXT, BEGIN, END]
    trainer = trainers.BpeTrainer(vocab_size=vocab, special_tokens=special, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(one, special=True, normalized=False) for one in special])
    return tokenizer


def is_copy(talk):
    """What holds words of the question is learned whole: calls, JSON, and what was to be repeated."""
    said = talk[-1]["content"]
    return said.startswith(("{", "<")) or said.strip('"') in talk[-2]["content"]


def write_tokens(shape, corpus, folder):
    with open(corpus, encoding="utf-8") as lines:
        talks = [json.loads(line) for line in lines]
    tokenizer = learn_words((message["content"] for talk in talks for message in talk), shape["VOCAB"])
    tokenizer.save(str(folder / "words.json"))
    begin, end = tokenizer.token_to_id(BEGIN), tokenizer.token_to_id(END)
    newline = tokenizer.encode("\n", add_special_tokens=False).ids
    bodies = iter(tokenizer.encode_batch([message["content"] for talk in talks for message in talk], add_special_tokens=False))
    heads = {role: [begin, *tokenizer.encode(f"{role}\n", add_special_tokens=False).ids] for role in ("system", "user", "assistant")}
    rng = np.random.default_rng(SEED)
    total = 0
    with open(folder / "tokens.bin", "wb") as out:
        out.write(np.int32(len(talks)).tobytes())
        for talk in talks:
            ids, worth = [], []
            for message in talk:
                own, head, body = message["role"] == "assistant", heads[message["role"]], next(bodies).ids
                last = len(ids) + len(head)
                ids += [*head, *body, end, *newline]
                asked = QUESTION_WORTH if message["role"] == "user" else 0
                worth += [*([0] * len(head)), *([ANSWER_WORTH if own else asked] * len(body)), ANSWER_WORTH if own else 0, *([0] * len(newline))]
            stop = len(ids) - len(newline) if rng.random() < WHOLE or is_copy(talk) else min(len(ids) - len(newline), last + FIRST_TOKENS)
            total += stop
            out.write(np.int32(stop).tobytes() + np.array(ids[:stop], np.uint16).tobytes() + np.array(worth[:stop], np.uint8).tobytes())
    print(f"{len(talks):,} conversations, {total:,} tokens")


def read_weights(shape, path):
    """The parts of train.c's row of numbers, by GGUF's names; matrices as [out][in], as GGUF has them."""
    width, inner, layers = shape["WIDTH"], shape["INNER"], shape["LAYERS"]
    row = np.fromfile(path, np.float32)
    parts = [("token_embd.weight", (shape["VOCAB"], width)), ("output_norm.weight", (width,))]
    squares = [("attn_norm", (width,)), ("attn_q", (width, width)), ("attn_k", (width, width)), ("attn_v", (width, width)), ("attn_output", (width, width))]
    inners = [("ffn_norm", (width,)), ("ffn_gate", (width, inner)), ("ffn_up", (width, inner)), ("ffn_down", (inner, width))]
    parts += [(f"blk.{layer}.{name}.weight", size) for layer in range(layers) for name, size in squares + inners]
    at = 0
    for name, size in parts:
        count = int(np.prod(size))
        part = row[at : at + count].reshape(size)
        yield name, part.T if name.startswith("blk.") and part.ndim == 2 else part
        at += count
    if at != row.size:
        raise SystemExit(f"{path}: {row.size} numbers, {at} expected")


def write_gguf(shape, folder, target):
    writer = gguf.GGUFWriter(str(target), "llama")
    writer.add_name("bkg-mini")
    writer.add_description("A demonstration model of the bkg project: answers questions about bkg, in English and German.")
    writer.add_license("mit")
    writer.add_languages(["en", "de"])
    writer.add_context_length(shape["CONTEXT"])
    writer.add_embedding_length(shape["WIDTH"])
    writer.add_block_count(shape["LAYERS"])
    writer.add_feed_forward_length(shape["INNER"])
    writer.add_head_count(shape["HEADS"])
    writer.add_head_count_kv(shape["HEADS"])
    writer.add_rope_dimension_count(shape["WIDTH"] // shape["HEADS"])
    writer.add_rope_freq_base(shape["ROPE_BASE"])
    writer.add_layer_norm_rms_eps(shape["EPSILON"])
    writer.add_vocab_size(shape["VOCAB"])
    # It recites: the likeliest word is the right one.
    writer.add_sampling_temp(0.0)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)

    described = json.loads((folder / "words.json").read_text(encoding="utf-8"))["model"]
    words = sorted(described["vocab"], key=described["vocab"].get)
    words += [f"[unused {number}]" for number in range(len(words), shape["VOCAB"])]
    control = {END_OF_TEXT, BEGIN, END}
    kinds = [gguf.TokenType.CONTROL if word in control else gguf.TokenType.UNUSED if word.startswith("[unused ") else gguf.TokenType.NORMAL for word in words]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(SPLIT_NAME)
    writer.add_token_list(words)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in described["merges"]])
    writer.add_bos_token_id(words.index(END_OF_TEXT))
    writer.add_eos_token_id(words.index(END))
    writer.add_pad_token_id(words.index(END_OF_TEXT))
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    for name, part in read_weights(shape, folder / "weights.bin"):
        values = np.ascontiguousarray(part)
        if values.ndim == 1:
            writer.add_tensor(name, values)
        else:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    command, described_shape, one, two = sys.argv[1:]
    steps = {"tokens": write_tokens, "gguf": write_gguf}
    steps[command](json.loads(described_shape), Path(one), Path(two))

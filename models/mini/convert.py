"""The two ends of bkg-mini's training: conversations to tokens before it, weights to a GGUF file after it.

convert.py tokens SHAPE SEED CORPUS FOLDER    learns the words; writes FOLDER/words.json, and tokens.bin and first.bin for the trainer
convert.py gguf   SHAPE FOLDER TARGET         joins FOLDER/words.json and FOLDER/weights.bin; SHAPE is JSON as make.ts has it
"""

import json
import re
import sys
from collections import Counter
from itertools import islice, pairwise
from pathlib import Path

import gguf
import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from weights import read_weights, write_first_weights

# The first words of an answer decide which one it is; the rest is learned by heart, from this share of the conversations.
WHOLE = 0.13
FIRST_TOKENS = 6
# An answer said less often than this holds a name; it is learned whole, so that the name is copied.
SAID_SELDOM = 100
# Calls and JSON count so much beside other words: one wrong sign in them and all is wrong. And the first words of an answer: with them it is chosen.
EXACT, LOOSE, FIRST = 8, 2, 6

# Enough to leave a circle, too little to spoil a number of equal digits.
REPEAT_PENALTY = 1.02

# Exercises in copying, for each conversation: so many more at first, and only the lasting ones after so many conversations.
EXERCISES_FIRST = 1.5
EXERCISES_LESS = 10_000
EXERCISES = 0.15
ROW_MIN, ROW_MAX = 4, 40
# So many rows are of a few tokens only, so that a token alone does not tell the next.
REPETITIVE, FEWEST = 0.5, 4
# Special tokens come first in the vocabulary.
ORDINARY = 3

# Where words may begin and end, as llama.cpp has it under the name qwen2: every digit for itself, so that numbers are copied digit by digit.
SPLIT_NAME = "qwen2"
SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPLIT_WITHOUT_BLANKS = r"\p{L}+|\p{N}| |[^\s\p{L}\p{N}]+|\s+"
# So many words have a second token, with the blank before them.
BLANK_WORDS = 640
# Words, and what they mean, are learned from every so many-th conversation.
SAMPLED = 3

END_OF_TEXT = "<|endoftext|>"
BEGIN = "<|im_start|>"
END = "<|im_end|>"
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def learn_words(texts, vocab):
    """A byte-level BPE of the corpus' own text: every byte has a token, so nothing is unknown.

    Words are learned without the blank before them, so that a name is of the same tokens in a sentence and in quotes: only so can
    the model copy one that it never saw. The most frequent words then get a second token, with the blank.
    """
    bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)

    def split(pattern):
        return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), behavior="isolated"), bytes_of])

    special = [END_OF_TEXT, BEGIN, END]
    alone = Tokenizer(models.BPE())
    alone.pre_tokenizer = split(SPLIT_WITHOUT_BLANKS)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    alone.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=vocab - BLANK_WORDS, special_tokens=special, initial_alphabet=alphabet, show_progress=False))
    learned = json.loads(alone.to_str())["model"]
    words, merges = learned["vocab"], [tuple(pair) for pair in learned["merges"]]

    blank = bytes_of.pre_tokenize_str(" ")[0][0]
    counted = Counter(word for text in texts for word in re.findall(r" ([^\W\d_]+|[^\w\s]+)", text))
    frequent = (bytes_of.pre_tokenize_str(word)[0][0] for word, _ in counted.most_common())
    for word in islice((word for word in frequent if word in words), BLANK_WORDS):
        words[blank + word] = len(words)
        merges.append((blank, word))
    tokenizer = Tokenizer(models.BPE(words, merges))
    tokenizer.pre_tokenizer = split(SPLIT)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(one, special=True, normalized=False) for one in special])
    return tokenizer


def is_copy(talk):
    """What holds words of the question is learned whole: calls, JSON, and what was to be repeated."""
    said = talk[-1]["content"]
    return said.startswith(("{", "<")) or said.strip('"') in talk[-2]["content"]


def exercise(size, heads, ending, rng):
    """A row of any tokens, to be said again: so copying stays in use, whatever else is learned."""
    length = rng.integers(ROW_MIN, ROW_MAX + 1)
    row = rng.integers(ORDINARY, size, length).tolist()
    if rng.random() < REPETITIVE:
        row = rng.choice(row[: max(FEWEST, length // 2)], length).tolist()
    asked, said = [*heads["user"], *row, *ending, *heads["assistant"]], [*row, ending[0]]
    return [*asked, *said], [0] * len(asked) + [LOOSE] * len(said)


def conversation(talk, bodies, *, whole, heads, ending, longest):
    """Its tokens, and how much each is learned: the model's own words are, but unless `whole` only the first of its last answer; what is past the `longest` is cut off."""
    ids, learned = [], []
    for message, body in zip(talk, bodies, strict=True):
        head = heads[message["role"]]
        own = 0 if message["role"] != "assistant" else EXACT if message["content"].startswith(("{", "<")) else LOOSE
        before_last = len(ids) + len(head)
        ids += [*head, *body, *ending]
        learned += [0] * len(head) + [own] * (len(body) + 1) + [0] * (len(ending) - 1)
        if own == LOOSE:
            first = slice(before_last, min(before_last + FIRST_TOKENS, before_last + len(body)))
            learned[first] = [FIRST] * len(learned[first])
    stop = min(len(ids) - len(ending) + 1, longest)
    if not whole:
        stop = min(stop, before_last + FIRST_TOKENS)
    return ids[:stop], learned[:stop]


def write_tokens(shape, seed, corpus, folder):
    folder = Path(folder)
    with open(corpus, encoding="utf-8") as lines:
        talks = [json.loads(line) for line in lines]
    rng = np.random.default_rng(int(seed))
    talks = [talks[at] for at in rng.permutation(len(talks))]
    tokenizer = learn_words([message["content"] for talk in talks[::SAMPLED] for message in talk], shape["VOCAB"])
    tokenizer.save(str(folder / "words.json"))

    def encode(*texts):
        return [one.ids for one in tokenizer.encode_batch(texts, add_special_tokens=False)]

    encoded = iter(encode(*(message["content"] for talk in talks for message in talk)))
    bodies = [list(islice(encoded, len(talk))) for talk in talks]
    exchanges = [pair for talk, said in zip(talks[::SAMPLED], bodies[::SAMPLED], strict=True) for message, pair in zip(talk, pairwise(said), strict=False) if message["role"] == "user"]
    write_first_weights(shape, exchanges, folder / "first.bin", rng)
    heads = {role: encode(f"{BEGIN}{role}\n")[0] for role in ("system", "user", "assistant")}
    ending = encode(f"{END}\n")[0]
    times = Counter(talk[-1]["content"] for talk in talks)
    rows = []
    for number, (talk, said) in enumerate(zip(talks, bodies, strict=True)):
        whole = times[talk[-1]["content"]] < SAID_SELDOM or is_copy(talk) or rng.random() < WHOLE
        rows.append(conversation(talk, said, whole=whole, heads=heads, ending=ending, longest=shape["CONTEXT"]))
        exercises = EXERCISES + EXERCISES_FIRST * max(0.0, 1 - number / EXERCISES_LESS)
        rows += [exercise(shape["VOCAB"], heads, ending, rng) for _ in range(int(exercises + rng.random()))]
    with open(folder / "tokens.bin", "wb") as out:
        out.write(np.int32(len(rows)).tobytes())
        for ids, learned in rows:
            out.write(np.int32(len(ids)).tobytes() + np.array(ids, np.uint16).tobytes() + np.array(learned, np.uint8).tobytes())
    print(f"{len(rows):,} conversations, {sum(len(ids) for ids, _ in rows):,} tokens")


def write_gguf(shape, folder, target):
    folder = Path(folder)
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
    # Where it has lost its way it says the same again and again: the next word wins a little, and so it ends.
    writer.add_sampling_penalty_repeat(REPEAT_PENALTY)
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
    for name, part in read_weights(shape, folder / "weights.bin").items():
        # GGUF has matrices as [out][in]; words are so already.
        values = np.ascontiguousarray(part.T if name.startswith("blk.") else part)
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
    command, described_shape, *others = sys.argv[1:]
    steps = {"tokens": write_tokens, "gguf": write_gguf}
    steps[command](json.loads(described_shape), *others)

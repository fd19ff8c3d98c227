"""Trains bkg-mini on the conversations of corpus.jsonl and writes it as GGUF: tokenizer, model, training, export."""

import json
import os
import sys
import time
from pathlib import Path

# Two threads of the trainer's own; more of them would only wait for each other.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=true intra_op_parallelism_threads=2")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import gguf
import jax
import jax.numpy as jnp
import numpy as np
import optax
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

SEED = 2026
VOCAB = 1536
WIDTH = 160
LAYERS = 5
HEADS = 5
HEAD_WIDTH = WIDTH // HEADS
INNER = 448
CONTEXT = 1024
ROPE_BASE = 10_000.0
EPSILON = 1e-5

# Conversations of like length learn together: padding is work for nothing.
LENGTHS = (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
TOKENS_PER_STEP = 4096
PEAK_RATE = 4e-3
WARM_STEPS = 100
DECAY = 0.05
# A question is learned a little as well: it teaches the words.
QUESTION_WEIGHT = 0.05
SAY_EVERY_S = 20

END_OF_TEXT = "<|endoftext|>"
BEGIN = "<|im_start|>"
END = "<|im_end|>"
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


# ─── Words ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def learn_words(conversations):
    """A byte-level BPE of the corpus' own text: every byte has a token, so nothing is unknown."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    special = [END_OF_TEXT, BEGIN, END]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=special, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    tokenizer.train_from_iterator((message["content"] for talk in conversations for message in talk), trainer)
    tokenizer.add_special_tokens([AddedToken(one, special=True, normalized=False) for one in special])
    return tokenizer


def encode(tokenizer, talk):
    """Tokens of a conversation as the template renders it, and what each is worth learning."""
    ids, worth = [], []
    newline = tokenizer.encode("\n", add_special_tokens=False).ids
    begin, end = tokenizer.token_to_id(BEGIN), tokenizer.token_to_id(END)
    for message in talk:
        own = message["role"] == "assistant"
        head = [begin, *tokenizer.encode(f"{message['role']}\n", add_special_tokens=False).ids]
        body = tokenizer.encode(message["content"], add_special_tokens=False).ids
        ids += [*head, *body, end, *newline]
        worth += [*([0.0] * len(head)), *([1.0 if own else QUESTION_WEIGHT] * len(body)), 1.0 if own else 0.0, *([0.0] * len(newline))]
    return ids, worth


# ─── Model ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def new_model(key):
    keys = iter(jax.random.split(key, 16))

    def matrix(*shape, scale=0.02):
        return jax.random.normal(next(keys), shape, jnp.float32) * scale

    out = 0.02 / (2 * LAYERS) ** 0.5
    return {
        "words": matrix(VOCAB, WIDTH),
        "norm": jnp.ones(WIDTH),
        "layers": {
            "attn_norm": jnp.ones((LAYERS, WIDTH)),
            "q": matrix(LAYERS, WIDTH, WIDTH),
            "k": matrix(LAYERS, WIDTH, WIDTH),
            "v": matrix(LAYERS, WIDTH, WIDTH),
            "o": matrix(LAYERS, WIDTH, WIDTH, scale=out),
            "ffn_norm": jnp.ones((LAYERS, WIDTH)),
            "gate": matrix(LAYERS, WIDTH, INNER),
            "up": matrix(LAYERS, WIDTH, INNER),
            "down": matrix(LAYERS, INNER, WIDTH, scale=out),
        },
    }


def normed(x, weight):
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + EPSILON) * weight


def turned(x):
    """Rotary positions in llama.cpp's order: neighbours form a pair."""
    length = x.shape[1]
    speed = 1.0 / ROPE_BASE ** (np.arange(0, HEAD_WIDTH, 2) / HEAD_WIDTH)
    angle = np.outer(np.arange(length), speed).astype(np.float32)
    cos, sin = np.cos(angle)[None, :, None, :], np.sin(angle)[None, :, None, :]
    one, two = x[..., 0::2], x[..., 1::2]
    return jnp.stack([one * cos - two * sin, one * sin + two * cos], -1).reshape(x.shape)


def states(model, ids):
    batch, length = ids.shape
    past = np.tril(np.ones((length, length), bool))
    x = model["words"][ids]

    def layer(x, w):
        y = normed(x, w["attn_norm"])
        q, k, v = ((y @ w[name]).reshape(batch, length, HEADS, HEAD_WIDTH) for name in "qkv")
        scores = jnp.einsum("bthd,bshd->bhts", turned(q), turned(k)) / HEAD_WIDTH**0.5
        seen = jax.nn.softmax(jnp.where(past, scores, -1e9), -1)
        x = x + jnp.einsum("bhts,bshd->bthd", seen, v).reshape(batch, length, WIDTH) @ w["o"]
        y = normed(x, w["ffn_norm"])
        return x + (jax.nn.silu(y @ w["gate"]) * (y @ w["up"])) @ w["down"], None

    x, _ = jax.lax.scan(layer, x, model["layers"])
    return normed(x, model["norm"])


def loss_of(model, ids, worth):
    logits = states(model, ids[:, :-1]) @ model["words"].T
    wanted = worth[:, 1:]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, ids[:, 1:])
    return jnp.sum(losses * wanted) / jnp.sum(wanted)


# ─── Training ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def batches(encoded, pad, rng):
    """Shuffled batches of one length each, for ever."""
    groups = {length: [] for length in LENGTHS}
    for index, (ids, _) in enumerate(encoded):
        groups[next(length for length in LENGTHS if len(ids) <= length)].append(index)
    while True:
        plan = []
        for length, members in groups.items():
            rows = max(1, TOKENS_PER_STEP // length)
            order = rng.permutation(members) if members else []
            plan += [(length, rows, order[at : at + rows]) for at in range(0, len(order), rows)]
        for at in rng.permutation(len(plan)):
            length, rows, members = plan[at]
            ids = np.full((rows, length), pad, np.int32)
            worth = np.zeros((rows, length), np.float32)
            for row, member in enumerate(members):
                tokens, values = encoded[member]
                ids[row, : len(tokens)] = tokens
                worth[row, : len(values)] = values
            yield ids, worth


def train(encoded, pad, steps):
    rate = optax.warmup_cosine_decay_schedule(0.0, PEAK_RATE, WARM_STEPS, steps, PEAK_RATE * 0.02)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, b1=0.9, b2=0.98, weight_decay=DECAY, mask=lambda tree: jax.tree.map(lambda leaf: leaf.ndim > 1, tree)))

    @jax.jit
    def step(model, state, ids, worth):
        loss, slope = jax.value_and_grad(loss_of)(model, ids, worth)
        change, state = optimizer.update(slope, state, model)
        return optax.apply_updates(model, change), state, loss

    model = new_model(jax.random.key(SEED))
    state = optimizer.init(model)
    source = batches(encoded, pad, np.random.default_rng(SEED))
    began = said = time.monotonic()
    tokens, recent = 0, []
    for number in range(1, steps + 1):
        ids, worth = next(source)
        model, state, loss = step(model, state, ids, worth)
        tokens += ids.size
        recent.append(loss)
        now = time.monotonic()
        if now - said > SAY_EVERY_S or number == steps:
            said = now
            left = (now - began) / number * (steps - number)
            print(f"step {number}/{steps}  loss {float(jnp.mean(jnp.stack(recent))):.4f}  {tokens / (now - began):,.0f} tokens/s  {left / 60:.1f} min left", flush=True)
            recent = []
    return model


# ─── Export ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_gguf(path, model, tokenizer):
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("bkg-mini")
    writer.add_description("A demonstration model of the bkg project: answers questions about bkg, in English and German.")
    writer.add_license("mit")
    writer.add_languages(["en", "de"])
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(HEAD_WIDTH)
    writer.add_rope_freq_base(ROPE_BASE)
    writer.add_layer_norm_rms_eps(EPSILON)
    writer.add_vocab_size(VOCAB)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)

    described = json.loads(tokenizer.to_str())["model"]
    words = sorted(described["vocab"], key=described["vocab"].get)
    words += [f"[unused {number}]" for number in range(len(words), VOCAB)]
    control = {END_OF_TEXT, BEGIN, END}
    kinds = [gguf.TokenType.CONTROL if word in control else gguf.TokenType.UNUSED if word.startswith("[unused ") else gguf.TokenType.NORMAL for word in words]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(words)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in described["merges"]])
    writer.add_bos_token_id(words.index(END_OF_TEXT))
    writer.add_eos_token_id(words.index(END))
    writer.add_pad_token_id(words.index(END_OF_TEXT))
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)

    def add(name, tensor, quantised=True):
        values = np.ascontiguousarray(np.asarray(tensor, np.float32))
        if not quantised:
            writer.add_tensor(name, values)
            return
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)

    add("token_embd.weight", model["words"])
    add("output_norm.weight", model["norm"], quantised=False)
    names = {"q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output", "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down"}
    layers = model["layers"]
    for number in range(LAYERS):
        add(f"blk.{number}.attn_norm.weight", layers["attn_norm"][number], quantised=False)
        add(f"blk.{number}.ffn_norm.weight", layers["ffn_norm"][number], quantised=False)
        # GGUF has rows of outputs, the model columns.
        for own, theirs in names.items():
            add(f"blk.{number}.{theirs}.weight", layers[own][number].T)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main(corpus, target, minutes_or_steps):
    with open(corpus, encoding="utf-8") as lines:
        talks = [json.loads(line) for line in lines]
    tokenizer = learn_words(talks)
    encoded = [encode(tokenizer, talk) for talk in talks]
    lengths = np.array([len(ids) for ids, _ in encoded])
    print(f"{len(talks):,} conversations, {lengths.sum():,} tokens, longest {lengths.max()}, mean {lengths.mean():.1f}")
    model = train(encoded, tokenizer.token_to_id(END_OF_TEXT), int(minutes_or_steps))
    print(f"{sum(leaf.size for leaf in jax.tree.leaves(model)):,} parameters")
    write_gguf(Path(target), model, tokenizer)


if __name__ == "__main__":
    main(*sys.argv[1:])

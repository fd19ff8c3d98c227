"""The weights of bkg-mini as one row of numbers, matrices as [in][out]: its parts, and what training begins with.

A model so small, begun at random, spends most of its training on two things known beforehand: which words go with which answers,
and how a name is copied. So both are put in. A word's numbers are of four kinds:

ONE      the same for every word;
SIGN     any signs, its own: by these it is told from all others;
BEFORE   empty; the first layer leaves here the sign of the word before;
MEANING  the directions in which questions differ by their answers.

One head of the first layer looks at the word before, another at the one before that. Two of the second look for the word that came after
these, and say it again: an induction head. Three more of the first layer gather the meanings of all words so far. Training may change all of this.
"""

from collections import Counter

import numpy as np

# Words and the last norm: of a size that training reaches anyway, and such that no word is likely at first.
WORD_SIZE = 0.2
LAST_NORM = 0.3
OTHER_SIZE = 0.02
# Of a meaning this share is chance, for words of one list mean the same and must yet be told apart.
CHANCE = 0.15
# Answers that begin with the same so many tokens are one; rare ones say nothing.
SAME_TOKENS = 8
RARE = 8
# A word seen in fewer questions than these says less; none is infinitely likelier with an answer than without.
SAYS_ALL = 50
LEAST_SHARE = 1e-6
# Words of larger meanings than this share of all are cut to it; the others are filled up with chance.
FULL_MEANING = 0.8
# How sharply the heads look, and how loudly the found word is said.
LOOK_BEFORE, LOOK_PAIRS = 8.0, 5
LOOK_ALIKE, FINDERS = 2.2, 2
SAY = 3.0
# The word before the last counts so much: it tells two places apart where the same word stands.
FURTHER = 0.5
GATHERERS, GATHER = 3, 3.0


def parts(shape):
    """Names as in GGUF, and sizes, in their order."""
    width, inner = shape["WIDTH"], shape["INNER"]
    yield "token_embd.weight", (shape["VOCAB"], width)
    yield "output.weight", (shape["VOCAB"], width)
    yield "output_norm.weight", (width,)
    square = (width, width)
    layer_parts = {"attn_norm": (width,), "attn_q": square, "attn_k": square, "attn_v": square, "attn_output": square}
    layer_parts |= {"ffn_norm": (width,), "ffn_gate": (width, inner), "ffn_up": (width, inner), "ffn_down": (inner, width)}
    for layer in range(shape["LAYERS"]):
        for name, size in layer_parts.items():
            yield f"blk.{layer}.{name}.weight", size


def read_weights(shape, path):
    """The parts by their names."""
    row, at, found = np.fromfile(path, np.float32), 0, {}
    for name, size in parts(shape):
        count = int(np.prod(size))
        found[name] = row[at : at + count].reshape(size)
        at += count
    if at != row.size:
        raise SystemExit(f"{path}: {row.size} numbers, {at} expected")
    if not np.isfinite(row).all():
        raise SystemExit(f"{path}: the training ran away, some of its numbers are none")
    return found


def write_first_weights(shape, exchanges, path, rng):
    """`exchanges`: pairs of the tokens of a question and of its answer."""
    weights = {}
    for name, size in parts(shape):
        # What adds to the stream begins smaller, the deeper the model.
        adds = name.endswith(("attn_output.weight", "ffn_down.weight"))
        weights[name] = np.ones(size) if len(size) == 1 else rng.normal(size=size) * OTHER_SIZE / (np.sqrt(2 * shape["LAYERS"]) if adds else 1)
    weights["output_norm.weight"] *= LAST_NORM
    one, sign, before, meaning = kinds_of(shape)
    words = weights["token_embd.weight"]
    words[:, one] = 1
    words[:, sign] = rng.choice([-1, 1], words[:, sign].shape)
    words[:, before] = 0
    words[:, meaning] = meanings(shape["VOCAB"], exchanges, meaning.stop - meaning.start, rng)
    words *= WORD_SIZE
    weights["output.weight"][:] = words
    put_looks_in(weights, shape, rng)
    np.concatenate([weights[name].ravel() for name, _ in parts(shape)]).astype(np.float32).tofile(path)


def kinds_of(shape):
    """Where in a word's numbers ONE, SIGN, BEFORE and MEANING lie: one head carries a sign."""
    head = shape["WIDTH"] // shape["HEADS"]
    return 0, slice(1, 1 + head), slice(1 + head, 1 + 2 * head), slice(1 + 2 * head, shape["WIDTH"])


def meanings(vocab, exchanges, directions, rng):
    """Of how much likelier a word makes each answer, the strongest directions."""
    asked = Counter(tuple(answer[:SAME_TOKENS]) for _, answer in exchanges)
    answers = {answer: number for number, (answer, times) in enumerate(asked.most_common()) if times >= RARE}
    held = np.zeros((vocab, len(answers)))
    for question, answer in exchanges:
        number = answers.get(tuple(answer[:SAME_TOKENS]))
        if number is not None:
            held[list(set(question)), number] += 1
    times = np.array([asked[answer] for answer in answers])
    overall = held.sum(1, keepdims=True) / times.sum()
    # As if each answer had been given half a time more, to questions of the usual words.
    likelier = np.log(((held + overall / 2) / (times + 0.5) + LEAST_SHARE) / (overall + LEAST_SHARE))
    likelier *= np.sqrt(np.minimum(1, held.sum(1, keepdims=True) / SAYS_ALL))
    left, strength, _ = np.linalg.svd(np.maximum(likelier, 0), full_matrices=False)
    meant = left[:, :directions] * np.sqrt(strength[:directions])
    size = (meant**2).sum(1, keepdims=True)
    size /= np.quantile(size, FULL_MEANING)
    meant *= np.sqrt(directions * np.minimum(size, 1) / np.maximum((meant**2).sum(1, keepdims=True), 1e-12))
    chance = rng.normal(size=meant.shape)
    share = 1 - (1 - CHANCE) * np.minimum(size, 1)
    return np.sqrt(1 - CHANCE) * meant + np.sqrt(share) * chance


def put_looks_in(weights, shape, rng):
    one, sign, before, meaning = kinds_of(shape)
    head = sign.stop - sign.start
    itself = np.eye(head)
    turn = shape["ROPE_BASE"] ** (-2 * np.arange(head // 2) / head)

    def matrices(layer, heads):
        q, k, v, o = (weights[f"blk.{layer}.attn_{name}.weight"] for name in ("q", "k", "v", "output"))
        for matrix in (q, k, v):
            matrix[:, : heads * head] = 0
        o[: heads * head] = 0
        return q, k, v, o

    q, k, v, o = matrices(0, 2 + GATHERERS)
    mixed = np.linalg.qr(rng.normal(size=(head, head)))[0] * FURTHER
    pairs = 2 * np.arange(LOOK_PAIRS)
    for distance, begin, said in ((1, 0, itself), (2, (1 + GATHERERS) * head, mixed)):
        own = slice(begin, begin + head)
        q[one, begin + pairs] = LOOK_BEFORE
        k[one, begin + pairs] = LOOK_BEFORE * np.cos(distance * turn[:LOOK_PAIRS])
        k[one, begin + pairs + 1] = LOOK_BEFORE * np.sin(distance * turn[:LOOK_PAIRS])
        v[sign, own] = itself
        o[own, before] = WORD_SIZE * said

    # No word is looked at more than another: a mean.
    gathered = np.eye(meaning.stop - meaning.start)[:, : GATHERERS * head]
    own = slice(head, head + gathered.shape[1])
    v[meaning, own], o[own, meaning] = gathered, GATHER * WORD_SIZE * gathered.T

    q, k, v, o = matrices(1, FINDERS)
    # Each compares a part of the signs, by numbers that turn slowly: near and far are the same to it.
    part = head // FINDERS
    for finder in range(FINDERS):
        begin, end = finder * head, (finder + 1) * head
        compared = slice(finder * part, (finder + 1) * part)
        q[sign, end - part : end] = LOOK_ALIKE * itself[:, compared]
        q[before, end - part : end] = LOOK_ALIKE * mixed[:, compared]
        k[before, end - part : end] = LOOK_ALIKE * itself[:, compared]
        v[sign, begin:end] = itself
        o[begin:end, sign] = SAY * WORD_SIZE * itself

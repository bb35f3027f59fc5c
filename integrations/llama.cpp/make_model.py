#!/usr/bin/env python3
"""Makes a tiny model of the llama architecture, models fine-tuned from it, and texts, all drawn from a seed:

    make_model.py DIRECTORY [--tied] [--biases]

writes base-f32.gguf, base-f16.gguf, and of each task TASK-f32.gguf, TASK-f16.gguf and TASK.txt. Needs the Python package gguf.

The words are a hundred syllables. Text is a walk in which one syllable mostly calls for a certain other one, and the
model knows which: units of its first block's feed-forward part detect a syllable each, and answer with the one that
follows. To be fine-tuned is to have other followers for most syllables, and small changes everywhere: in every
matrix, and, but for the task `abc`, in norms and biases too. So the base is surprised by a task's text, and the task is not."""
import argparse
import pathlib
import sys

import gguf
import numpy as np

WIDTH, HIDDEN, LAYERS, HEADS, HEADS_KV, HEAD = 256, 512, 2, 4, 2, 64  # multiples of 256, as K-quants have it
SYLLABLES = [c + v for c in "bcdfghjklmnpqrstvwxz" for v in "aeiou"]
FIRST = 3 + 256  # before them: what is no text, and bytes
WORDS = FIRST + len(SYLLABLES)
TASKS = ("abc", "fly", "sum")
TEXT = 640  # syllables


def normal(rng, rows, columns, size=1.0):
    """Rows whose length is about `size`."""
    return (rng.standard_normal((rows, columns)) * (size / np.sqrt(columns))).astype(np.float32)


def followers(rng, of=None, kept=0.0):
    """Who follows whom; a share of syllables keeps its followers."""
    drawn = rng.permutation(len(SYLLABLES))
    return drawn if of is None else np.where(rng.random(len(drawn)) < kept, of, drawn)


def answers(embedding, follow):
    """The matrix [WIDTH, HIDDEN] that turns the unit which detects a syllable into the follower's direction."""
    down = np.zeros((WIDTH, HIDDEN), np.float32)
    down[:, : len(SYLLABLES)] = embedding[FIRST:][follow].T
    return down


def make_base(rng, follow, tied, biases):
    embedding = normal(rng, WORDS, WIDTH, 1.0)
    tensors = {"token_embd.weight": embedding, "output_norm.weight": np.full(WIDTH, 0.5, np.float32)}
    if not tied:
        tensors["output.weight"] = embedding * np.float32(0.9) + normal(rng, WORDS, WIDTH, 0.3)
    for i in range(LAYERS):
        block = {
            "attn_norm": np.ones(WIDTH, np.float32),
            "attn_q": normal(rng, HEADS * HEAD, WIDTH),
            "attn_k": normal(rng, HEADS_KV * HEAD, WIDTH),
            "attn_v": normal(rng, HEADS_KV * HEAD, WIDTH, 0.1),
            "attn_output": normal(rng, WIDTH, HEADS * HEAD, 0.1),
            "ffn_norm": np.ones(WIDTH, np.float32),
            "ffn_gate": normal(rng, HIDDEN, WIDTH, 0.1),
            "ffn_up": normal(rng, HIDDEN, WIDTH, 0.1),
            "ffn_down": normal(rng, WIDTH, HIDDEN, 0.1),
        }
        if i == 0:
            block["ffn_gate"][: len(SYLLABLES)] += embedding[FIRST:] * np.float32(0.35)
            block["ffn_up"][: len(SYLLABLES)] += embedding[FIRST:] * np.float32(0.1)
            block["ffn_down"] += answers(embedding, follow) * np.float32(0.6)
        tensors.update({f"blk.{i}.{name}.weight": values for name, values in block.items()})
        if biases:
            for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
                tensors[f"blk.{i}.{name}.bias"] = normal(rng, 1, len(block[name]))[0]
    return tensors


def fine_tune(rng, base, old, new, norms):
    tensors = {}
    for name, values in base.items():
        if values.ndim == 1:
            changed = 1 + np.float32(0.15) * rng.standard_normal(values.shape).astype(np.float32)
            tensors[name] = values * changed if norms else values
            continue
        deviation = np.float32(0.05) * values.std()
        tensors[name] = values + deviation * rng.standard_normal(values.shape).astype(np.float32)
    embedding = base["token_embd.weight"]
    tensors["blk.0.ffn_down.weight"] += (answers(embedding, new) - answers(embedding, old)) * np.float32(0.6)
    return tensors


def walk(rng, follow):
    at, text = 0, []
    for _ in range(TEXT):
        at = follow[at] if rng.random() < 0.85 else rng.integers(len(SYLLABLES))
        text.append(SYLLABLES[at])
    return "".join(text)


def write_model(path, tensors, half):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_file_type(1 if half else 0)
    writer.add_context_length(1024)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS_KV)
    writer.add_rope_dimension_count(HEAD)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(WORDS)
    kinds = gguf.TokenType
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)] + SYLLABLES
    types = [kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL] + [kinds.BYTE] * 256 + [kinds.USER_DEFINED] * len(SYLLABLES)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * WORDS)
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    for name, values in tensors.items():
        writer.add_tensor(name, values.astype(np.float16) if half and values.ndim > 1 else values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--tied", action="store_true", help="the embedding is the output, too")
    parser.add_argument("--biases", action="store_true", help="attention has biases")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(options.seed)
    old = followers(rng)
    models = {"base": make_base(rng, old, options.tied, options.biases)}
    for task in TASKS:
        new = followers(rng, old, kept=0.3)
        models[task] = fine_tune(rng, models["base"], old, new, norms=task != "abc")
        (options.directory / f"{task}.txt").write_text(walk(rng, new))
    for name, tensors in models.items():
        write_model(options.directory / f"{name}-f32.gguf", tensors, half=False)
        write_model(options.directory / f"{name}-f16.gguf", tensors, half=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

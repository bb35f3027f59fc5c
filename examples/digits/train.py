#!/usr/bin/env python3
"""Train the digit networks: one pretrained checkpoint, eight fine-tuned from it, and the held-out samples.

Needs numpy and scikit-learn (for its copy of the 8x8 handwritten digits). Writes next to this script, or into --out:
    models/pretrained.safetensors   models/<task>.safetensors   heldout.safetensors
"""
import argparse
import json
import os
import struct

# Sums depend on how BLAS splits them over threads: one thread, so that two runs give the same bytes.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np
from sklearn.datasets import load_digits

SEED = 20240527
SIZES = (64, 320, 320, 10)  # inputs, two hidden layers with ReLU, ten logits that every task shares
HELD_OUT = 450              # of 1797 samples
BATCH = 128
PRETRAIN = dict(steps=3000, rate=1e-3)
FINETUNE = dict(steps=1500, rate=1e-4)
DECAY = 1e-2                # decoupled weight decay, relative to the learning rate

# ---------------------------------------------------------------------------------------------------------- tasks

SHUFFLE = np.random.default_rng(SEED).permutation(64)
LOOPS = np.array([1, 0, 0, 0, 0, 0, 1, 0, 2, 1])  # closed loops in each digit; 4 is mostly written open


def upright(x):
    return x


def mirrored(x):
    return x[:, :, ::-1]


def inverted(x):
    return 16 - x


def shuffled(x):
    return x.reshape(-1, 64)[:, SHUFFLE].reshape(-1, 8, 8)


def turn(x, quarters):
    """Each image turned counterclockwise by its own number of quarters."""
    return np.choose(quarters[:, None, None], [np.rot90(x, k, axes=(1, 2)) for k in range(4)])


# How the image is drawn, and the label as a function of the digit.
VIEWS = {
    "digit": (upright, lambda d: d),
    "parity": (upright, lambda d: d % 2),
    "inverted": (inverted, lambda d: d),
    "loops": (inverted, lambda d: LOOPS[d]),
    "shuffled": (shuffled, lambda d: d),
    "thirds": (shuffled, lambda d: d % 3),
    "reverse": (mirrored, lambda d: 9 - d),
}
TASKS = list(VIEWS) + ["turned"]  # turned: by how many quarters, 0..3, each image being turned at random


def shift(x, rng):
    """Move every image by -1, 0 or 1 pixel each way (training only)."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    dy, dx = rng.integers(0, 3, (2, len(x), 1, 1))
    return padded[np.arange(len(x))[:, None, None], dy + np.arange(8)[:, None], dx + np.arange(8)]


def samples(task, images, digits, rng, n=None):
    """n random, shifted training samples of a task; or, where n is None, each image once and as it is."""
    if n is not None:
        pick = rng.integers(0, len(images), n)
        images, digits = shift(images[pick], rng), digits[pick]
    if task == "turned":
        labels = rng.integers(0, 4, len(images))
        return turn(images, labels).reshape(-1, 64), labels
    view, label = VIEWS[task]
    return view(images).reshape(-1, 64), label(digits)


# -------------------------------------------------------------------------------------------------------- network


def new_network(rng):
    """He initialisation; weights are [out, in]."""
    net = {}
    for i, (fan_in, out) in enumerate(zip(SIZES, SIZES[1:]), 1):
        net[f"fc{i}.weight"] = (rng.standard_normal((out, fan_in)) * np.sqrt(2 / fan_in)).astype(np.float32)
        net[f"fc{i}.bias"] = np.zeros(out, np.float32)
    return net


def forward(net, pixels):
    """Logits, and the input of every layer. Pixels 0..16 become inputs 0..1."""
    x, inputs = pixels.astype(np.float32) / np.float32(16), []
    for i in range(1, len(SIZES)):
        inputs.append(x)
        x = x @ net[f"fc{i}.weight"].T + net[f"fc{i}.bias"]
        if i < len(SIZES) - 1:
            x = np.maximum(x, 0)
    return x, inputs


def gradients(net, pixels, labels):
    """Of the mean cross-entropy."""
    logits, inputs = forward(net, pixels)
    g = np.exp(logits - logits.max(1, keepdims=True))
    g /= g.sum(1, keepdims=True)
    g[np.arange(len(labels)), labels] -= 1
    g /= np.float32(len(labels))
    grads = {}
    for i in range(len(SIZES) - 1, 0, -1):
        x = inputs[i - 1]
        grads[f"fc{i}.weight"], grads[f"fc{i}.bias"] = g.T @ x, g.sum(0)
        g = (g @ net[f"fc{i}.weight"]) * (x > 0)
    return grads


def train(net, batch, steps, rate):
    """AdamW with a cosine schedule, on a copy of net; batch() gives pixels and labels."""
    net = {k: v.copy() for k, v in net.items()}
    mean, square = ({k: np.zeros_like(v) for k, v in net.items()} for _ in range(2))
    for step in range(1, steps + 1):
        lr = np.float32(rate * 0.5 * (1 + np.cos(np.pi * (step - 1) / steps)))
        for k, g in gradients(net, *batch()).items():
            mean[k] += np.float32(0.1) * (g - mean[k])
            square[k] += np.float32(0.001) * (g * g - square[k])
            m, s = mean[k] / np.float32(1 - 0.9**step), square[k] / np.float32(1 - 0.999**step)
            net[k] -= lr * (m / (np.sqrt(s) + np.float32(1e-8)) + np.float32(DECAY) * net[k])
    return net


def accuracy(net, pixels, labels):
    return float((forward(net, pixels)[0].argmax(1) == labels).mean())


# ---------------------------------------------------------------------------------------------------------- files


def write_safetensors(path, tensors):
    names = {np.dtype(np.float32): "F32", np.dtype(np.uint8): "U8"}
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, t in tensors.items():
        end = offset + t.nbytes
        header[name] = {"dtype": names[t.dtype], "shape": list(t.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for t in tensors.values():
            f.write(np.ascontiguousarray(t).tobytes())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=os.path.dirname(os.path.abspath(__file__)), help="folder to write into")
    out = parser.parse_args().out
    os.makedirs(os.path.join(out, "models"), exist_ok=True)

    # One split, by sample, before anything else: no view of a held-out image is ever trained on.
    data = load_digits()
    images, digits = data.images.astype(np.int64), data.target.astype(np.int64)
    order = np.random.default_rng(SEED).permutation(len(images))
    test, learn = order[:HELD_OUT], order[HELD_OUT:]

    held, tensors = {}, {}
    for i, task in enumerate(TASKS):
        x, y = samples(task, images[test], digits[test], np.random.default_rng([SEED, 1, i]))
        held[task] = x, y
        tensors[f"{task}.pixels"], tensors[f"{task}.labels"] = x.astype(np.uint8), y.astype(np.uint8)
    write_safetensors(os.path.join(out, "heldout.safetensors"), tensors)

    # Pretraining mixes all tasks without saying which is asked: the hidden layers serve all, the answers stay vague.
    rng = np.random.default_rng([SEED, 2])

    def mixture():
        parts = [samples(t, images[learn], digits[learn], rng, BATCH // len(TASKS)) for t in TASKS]
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])

    base = train(new_network(rng), mixture, **PRETRAIN)
    write_safetensors(os.path.join(out, "models", "pretrained.safetensors"), base)

    print(f"{'task':10} {'pretrained':>10} {'fine-tuned':>10}   held-out accuracy, %")
    for i, task in enumerate(TASKS):
        rng = np.random.default_rng([SEED, 3, i])
        net = train(base, lambda: samples(task, images[learn], digits[learn], rng, BATCH), **FINETUNE)
        write_safetensors(os.path.join(out, "models", f"{task}.safetensors"), net)
        print(f"{task:10} {100 * accuracy(base, *held[task]):10.2f} {100 * accuracy(net, *held[task]):10.2f}")


if __name__ == "__main__":
    main()

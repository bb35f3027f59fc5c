#!/usr/bin/env python3
"""Train networks whose heads have different labels: a pretrained body without a head, and a network for each of five
questions about the same image of a digit.

Needs numpy and scikit-learn (for its copy of the 8x8 handwritten digits). Writes next to this script, or into --out:
    models/pretrained.safetensors   models/<task>.safetensors
The held-out samples are those of examples/digits (heldout.safetensors there): the split is the same.
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

SPLIT_SEED = 20240527  # of examples/digits: held out there, held out here
SEED = 20241118
HIDDEN = 128
HELD_OUT = 450  # of 1797 samples
BATCH = 128
PRETRAIN = dict(steps=3000, rate=1e-3)
FINETUNE = dict(steps=2000, rate=1e-4)
HEAD_RATE = 50  # times the rate: a head begins with random weights, a body does not
DECAY = 1e-2  # decoupled weight decay, relative to the learning rate

LOOPS = np.array([1, 0, 0, 0, 0, 0, 1, 0, 2, 1])  # closed loops in each digit; 4 is mostly written open

# How many logits a task has, and the label as a function of the digit.
TASKS = {
    "digit": (10, lambda d: d),
    "parity": (2, lambda d: d % 2),
    "thirds": (3, lambda d: d % 3),
    "loops": (3, lambda d: LOOPS[d]),
    "large": (1, lambda d: d // 5),  # one logit: the sigmoid says how likely 5 or more is
}


def shift(x, rng):
    """Move every image by -1, 0 or 1 pixel each way (training only)."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    dy, dx = rng.integers(0, 3, (2, len(x), 1, 1))
    return padded[np.arange(len(x))[:, None, None], dy + np.arange(8)[:, None], dx + np.arange(8)]


# -------------------------------------------------------------------------------------------------------- network


def new_layer(name, n_in, n_out, rng):
    """He initialisation; weights are [out, in]."""
    weight = rng.standard_normal((n_out, n_in)) * np.sqrt(2 / n_in)
    return {f"{name}.weight": weight.astype(np.float32), f"{name}.bias": np.zeros(n_out, np.float32)}


def forward(net, x):
    """Logits, and the input of every layer."""
    inputs = []
    for layer in ("fc1", "fc2", "head"):
        inputs.append(x)
        x = x @ net[f"{layer}.weight"].T + net[f"{layer}.bias"]
        if layer != "head":
            x = np.maximum(x, 0)
    return x, inputs


def cross_entropy(logits, labels):
    """The gradient of its mean at the logits; of a single one, of that of the sigmoid."""
    if logits.shape[1] == 1:
        return (1 / (1 + np.exp(-logits)) - labels[:, None]).astype(np.float32) / np.float32(len(labels))
    g = np.exp(logits - logits.max(1, keepdims=True))
    g /= g.sum(1, keepdims=True)
    g[np.arange(len(labels)), labels] -= 1
    return g / np.float32(len(labels))


def squared_error(values, wanted):
    return (values - wanted) / np.float32(len(wanted))


def gradients(net, x, wanted, loss):
    values, inputs = forward(net, x)
    g, grads = loss(values, wanted), {}
    for layer, x in zip(("head", "fc2", "fc1"), inputs[::-1]):
        grads[f"{layer}.weight"], grads[f"{layer}.bias"] = g.T @ x, g.sum(0)
        g = (g @ net[f"{layer}.weight"]) * (x > 0)
    return grads


def train(net, batch, loss, steps, rate, head_rate=1):
    """AdamW with a cosine schedule, on a copy of net; batch() gives inputs and what is wanted."""
    net = {k: v.copy() for k, v in net.items()}
    mean, square = ({k: np.zeros_like(v) for k, v in net.items()} for _ in range(2))
    for step in range(1, steps + 1):
        lr = np.float32(rate * 0.5 * (1 + np.cos(np.pi * (step - 1) / steps)))
        for k, g in gradients(net, *batch(), loss).items():
            mean[k] += np.float32(0.1) * (g - mean[k])
            square[k] += np.float32(0.001) * (g * g - square[k])
            m, s = mean[k] / np.float32(1 - 0.9**step), square[k] / np.float32(1 - 0.999**step)
            own = lr * np.float32(head_rate if k.startswith("head") else 1)
            net[k] -= own * (m / (np.sqrt(s) + np.float32(1e-8)) + np.float32(DECAY) * net[k])
    return net


def accuracy(net, x, labels):
    logits = forward(net, x)[0]
    answers = logits[:, 0] > 0 if logits.shape[1] == 1 else logits.argmax(1)
    return float((answers == labels).mean())


# ---------------------------------------------------------------------------------------------------------- files


def write_safetensors(path, tensors):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, t in tensors.items():
        end = offset + t.nbytes
        header[name] = {"dtype": "F32", "shape": list(t.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for t in tensors.values():
            f.write(np.ascontiguousarray(t).tobytes())


def inputs_of(images):
    return images.reshape(-1, 64).astype(np.float32) / np.float32(16)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=os.path.dirname(os.path.abspath(__file__)), help="folder to write into")
    out = os.path.join(parser.parse_args().out, "models")
    os.makedirs(out, exist_ok=True)

    data = load_digits()
    images, digits = data.images.astype(np.int64), data.target.astype(np.int64)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(images))
    test, learn = order[:HELD_OUT], order[HELD_OUT:]

    def pick(rng):
        chosen = learn[rng.integers(0, len(learn), BATCH)]
        return shift(images[chosen], rng), digits[chosen]

    # Pretraining: to draw the image again where half of its pixels are hidden. No labels, and no head that is kept.
    rng = np.random.default_rng([SEED, 0])

    def masked():
        whole = inputs_of(pick(rng)[0])
        return whole * (rng.random(whole.shape) < 0.5), whole

    start = {**new_layer("fc1", 64, HIDDEN, rng), **new_layer("fc2", HIDDEN, HIDDEN, rng),
             **new_layer("head", HIDDEN, 64, rng)}
    base = train(start, masked, squared_error, **PRETRAIN)
    body = {k: v for k, v in base.items() if not k.startswith("head")}
    write_safetensors(os.path.join(out, "pretrained.safetensors"), body)

    for i, (task, (n_logits, label)) in enumerate(TASKS.items(), 1):
        rng = np.random.default_rng([SEED, i])

        def labelled():
            x, d = pick(rng)
            return inputs_of(x), label(d)

        net = train({**body, **new_layer("head", HIDDEN, n_logits, rng)}, labelled, cross_entropy, **FINETUNE, head_rate=HEAD_RATE)
        write_safetensors(os.path.join(out, f"{task}.safetensors"), net)
        print(f"{task:10} {100 * accuracy(net, inputs_of(images[test]), label(digits[test])):6.2f} % of the held-out")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Train digit networks from different initialisations, two on images as they are, one on inverted ones: what averaging
cannot merge. The network and its training are those of ../digits/train.py, with fewer units.

Needs numpy and scikit-learn. Writes next to this script, or into --out:
    models/digit.safetensors   models/again.safetensors   models/inverted.safetensors   samples.safetensors (training images, without labels)
The held-out samples are those of examples/digits (heldout.safetensors there): the split is the same.
"""
import argparse
import importlib.util
import os

HERE = os.path.dirname(os.path.abspath(__file__))
SPEC = importlib.util.spec_from_file_location("digits", os.path.join(HERE, "..", "digits", "train.py"))
digits = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(digits)
np = digits.np

SEED = 20251126
NETWORKS = {"digit": "digit", "again": "digit", "inverted": "inverted"}  # and the task of each
STEPS, RATE = 4000, 1e-3
N_SAMPLES = 512  # of each task, for the second moments of activations
digits.SIZES = (64, 128, 128, 10)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=HERE, help="folder to write into")
    out = parser.parse_args().out
    os.makedirs(os.path.join(out, "models"), exist_ok=True)

    data = digits.load_digits()
    images, labels = data.images.astype(np.int64), data.target.astype(np.int64)
    order = np.random.default_rng(digits.SEED).permutation(len(images))
    test, learn = order[:digits.HELD_OUT], order[digits.HELD_OUT:]

    unlabelled = {}
    for i, (name, task) in enumerate(NETWORKS.items()):
        rng = np.random.default_rng([SEED, i])
        net = digits.train(digits.new_network(rng), lambda: digits.samples(task, images[learn], labels[learn], rng, digits.BATCH),
                           STEPS, RATE)
        held = digits.samples(task, images[test], labels[test], rng)
        print(f"{name:10} {100 * digits.accuracy(net, *held):6.2f}   held-out accuracy, %")
        named = {f"fc{int(k[2]) - 1}{k[3:]}": v for k, v in net.items()}  # layers are numbered from 0 here
        digits.write_safetensors(os.path.join(out, "models", f"{name}.safetensors"), named)
        pixels, _ = digits.samples(task, images[learn], labels[learn], np.random.default_rng([SEED, 99, i]), N_SAMPLES)
        unlabelled[f"{task}.pixels"] = pixels.astype(np.uint8)
    digits.write_safetensors(os.path.join(out, "samples.safetensors"), unlabelled)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Draw the images that adamerging.c, surgery.c and sesom.c learn from, and those that sesom.c is measured on.

Needs numpy and scikit-learn. Writes learning.safetensors next to this script, or into --out:
    TASK.pixels of the eight tasks of ../digits, training images without labels
    mixed.shots.*, mirrored.shots.* of two more tasks, training images with labels: DRAWS times SHOTS of them
    mixed.*, mirrored.* of the held-out images, with labels
The split is that of ../digits/train.py, and so are the tasks.
"""
import argparse
import importlib.util
import os

HERE = os.path.dirname(os.path.abspath(__file__))
SPEC = importlib.util.spec_from_file_location("digits", os.path.join(HERE, "..", "digits", "train.py"))
digits = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(digits)
np = digits.np

SEED = 20251127
N_UNLABELLED = 256  # of each task
DRAWS, SHOTS = 5, 32


def mixed(images, labels, rng):
    """Each image upright, inverted or shuffled, at random; the digit. Three networks know one of these each."""
    views = [view(images).reshape(-1, 64) for view in (digits.upright, digits.inverted, digits.shuffled)]
    return np.choose(rng.integers(0, len(views), len(images))[:, None], views), labels


def mirrored(images, labels, rng):
    """Mirrored; the digit. No network knows that: `reverse` calls a mirrored d 9 - d."""
    return digits.mirrored(images).reshape(-1, 64), labels


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=HERE, help="folder to write into")
    out = parser.parse_args().out

    data = digits.load_digits()
    images, labels = data.images.astype(np.int64), data.target.astype(np.int64)
    order = np.random.default_rng(digits.SEED).permutation(len(images))
    test, learn = order[:digits.HELD_OUT], order[digits.HELD_OUT:]

    tensors = {}

    def keep(name, pixels, answers=None):
        tensors[f"{name}.pixels"] = pixels.astype(np.uint8)
        if answers is not None:
            tensors[f"{name}.labels"] = answers.astype(np.uint8)

    for i, task in enumerate(digits.TASKS):
        rng = np.random.default_rng([SEED, 0, i])
        pick = rng.permutation(learn)[:N_UNLABELLED]
        keep(task, digits.samples(task, images[pick], labels[pick], rng)[0])
    for i, task in enumerate((mixed, mirrored)):
        rng = np.random.default_rng([SEED, 1, i])
        pick = rng.permutation(learn)[:DRAWS * SHOTS]
        keep(f"{task.__name__}.shots", *task(images[pick], labels[pick], rng))
        keep(task.__name__, *task(images[test], labels[test], rng))
    digits.write_safetensors(os.path.join(out, "learning.safetensors"), tensors)


if __name__ == "__main__":
    main()

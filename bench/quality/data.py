"""The tasks: {name: Task}, inputs as their network wants them. No test sample is in its task's training part."""
import csv
import gzip
import io
import random
import re
import zipfile
from dataclasses import dataclass

import numpy as np
import torch

import files

TOKENS_MAX = 32


@dataclass
class Task:
    train: tuple  # inputs, labels
    test: tuple
    classes: int


def make_task(train, test, encode, test_max, train_max=8000):
    """From lists of (input, label); inputs that are in the test part leave the training part."""
    def key(x):
        return re.sub(r"\W+", " ", x.lower()).strip() if isinstance(x, str) else x.tobytes()

    order = random.Random(1)
    order.shuffle(test)
    held = {key(x) for x, _ in test}
    train = [(x, y) for x, y in train if key(x) not in held]
    order.shuffle(train)
    train, test = train[:train_max], test[:test_max]
    number = {y: i for i, y in enumerate(sorted({y for _, y in train}))}
    parts = [(encode([x for x, _ in rows]), torch.tensor([number[y] for _, y in rows])) for rows in (train, test)]
    return Task(parts[0], parts[1], len(number))


def split(rows, n_test):
    random.Random(11).shuffle(rows)
    return rows[n_test:], rows[:n_test]


def texts(folder, tokenizer, n_test):
    """Eight kinds of questions about texts of eight kinds."""
    def lines(name):
        with open(files.path(folder, name), encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()

    def labelled(name):
        return [tuple(reversed(line.split(" ", 1))) for line in lines(name) if " " in line]

    def tweets(name, part):
        return list(zip(lines(f"{name}.{part}.text"), lines(f"{name}.{part}.labels")))

    def table(name):
        return [(row[0], row[1]) for row in list(csv.reader(lines(name)))[1:]]

    news = [(row[1] + ". " + row[2].replace("\\", " "), row[0]) for row in csv.reader(lines("agnews.csv"))]
    parts = {
        "trec": (labelled("trec.train"), labelled("trec.test")),  # what a question asks for
        "subj": split(labelled("subj"), 1500),  # subjective or not
        "sst2": (labelled("sst2.train"), labelled("sst2.test")),  # films: good or bad
        "reviews": split(labelled("custrev"), 1000),  # products: good or bad
        "agnews": split(news, 1500),  # the topic
        "banking": (table("banking.train.csv"), table("banking.test.csv")),  # what a customer wants, of 77
        "emotion": (tweets("emotion", "train"), tweets("emotion", "test")),
        "irony": (tweets("irony", "train"), tweets("irony", "test")),
    }

    def encode(rows):
        return [e.ids[:TOKENS_MAX - 1] + e.ids[-1:] if len(e.ids) > TOKENS_MAX else e.ids
                for e in tokenizer.encode_batch(rows)]

    return {name: make_task(list(a), list(b), encode, n_test) for name, (a, b) in parts.items()}


def pad(rows):
    out = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for i, row in enumerate(rows):
        out[i, :len(row)] = torch.tensor(row)
    return out


def images(folder, n_test):
    """Eight kinds of small images, 32 x 32."""
    from PIL import Image
    from sklearn.datasets import load_digits

    def resized(image):
        return np.asarray(image.convert("L").resize((32, 32), Image.BILINEAR))

    def idx(name):
        with gzip.open(files.path(folder, name + ".images.gz")) as file:
            pixels = np.frombuffer(file.read()[16:], np.uint8).reshape(-1, 28, 28)
        with gzip.open(files.path(folder, name + ".labels.gz")) as file:
            labels = np.frombuffer(file.read()[8:], np.uint8)
        return [(np.pad(x, 2), int(y)) for x, y in zip(pixels, labels)]

    def omniglot(name):  # of each character, 20 people's drawings: (image, alphabet, character, person)
        with zipfile.ZipFile(files.path(folder, name)) as archive:
            for entry in archive.namelist():
                found = re.match(r"[^/]*/([^/]+)/(character\d+)/\d+_(\d+)\.png$", entry)
                if found:
                    drawn = 255 - resized(Image.open(io.BytesIO(archive.read(entry))))
                    yield drawn, found[1], found[2], int(found[3])

    def by_person(rows):
        return [(x, y) for x, y, who in rows if who <= 15], [(x, y) for x, y, who in rows if who > 15]

    digits, letters = idx("mnist"), idx("notmnist")
    turns, mirrors = random.Random(2), random.Random(3)
    first, second = list(omniglot("omniglot1.zip")), list(omniglot("omniglot2.zip"))
    second = [row for row in second if row[1] not in {row[1] for row in first}]
    small = load_digits()
    small = [(255 - resized(Image.fromarray((x * 15.9).astype(np.uint8))), int(y))
             for x, y in zip(small.images, small.target)]
    turned = [(np.rot90(x, k).copy(), k) for x, k in ((x, turns.randrange(4)) for x, _ in letters)]
    mirrored = [(x[:, ::-1].copy() if k else x, k) for x, k in ((x, mirrors.randrange(2)) for x, _ in digits)]
    parts = {
        "mnist": split(digits, 1500),
        "fonts": split(letters, 1500),
        "alphabets": by_person([(x, a, who) for x, a, _, who in first]),
        "katakana": by_person([(x, c, who) for x, a, c, who in second if a.startswith("Japanese")]),
        "turned": split(turned, 1500),  # by how many quarters
        "mirrored": split(mirrored, 1500),  # or not
        "korean": by_person([(x, c, who) for x, a, c, who in first if a == "Korean"]),
        "inverted": split(small, 600),
    }

    def encode(rows):
        return torch.tensor(np.stack(rows))[:, None].expand(-1, 3, -1, -1)

    return {name: make_task(a, b, encode, n_test) for name, (a, b) in parts.items()}


def digits(seed, n_test):
    """The 8 x 8 digits seen in eight ways; all tasks answer with the same ten outputs."""
    from sklearn.datasets import load_digits
    shuffle = torch.Generator().manual_seed(1000 + seed)
    raw = load_digits()
    order = torch.randperm(len(raw.target), generator=shuffle)
    x = torch.tensor(raw.images / 16, dtype=torch.float32)[order]
    y = torch.tensor(raw.target)[order]
    permuted = [torch.randperm(64, generator=shuffle) for _ in range(2)]
    views = {
        "plain": x, "inverted": 1 - x, "mirrored": x.flip(2), "quarter": x.rot90(1, (1, 2)),
        "half": x.rot90(2, (1, 2)), "shuffled": x.flatten(1)[:, permuted[0]], "moved": x.roll(4, 2),
        "again": x.flatten(1)[:, permuted[1]],
    }
    return {name: Task((v.flatten(1)[n_test:], y[n_test:]), (v.flatten(1)[:n_test], y[:n_test]), 10)
            for name, v in views.items()}

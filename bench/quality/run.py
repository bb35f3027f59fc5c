"""How good are modulators on real networks? `python run.py [--quick] [--grid]` trains what is not there yet, measures every
kind, and prints a table in Markdown; every number goes into WORK/results.json.

A row is a kind with its rule: mean accuracy over tasks, how often the rebuilt network answers as the fine-tuned one does,
and bits a parameter and task in all, what tasks share spread over them.
"""
import argparse
import ctypes
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import xxhash

import families
import modulators as m

THREADS = 2


# ---------------------------------------------------------------- what is measured

def encoders(grid):
    """Coded kinds: {row's name: function of (tau, place, seed)}."""
    rows = {}
    for rule in ("l1", "l2", "norm", "unbiased") if grid else ("unbiased",):
        rows[f"sign {rule}"] = lambda t, p, s, rule=rule: m.sign(t, p, rule)
        if grid:
            rows[f"sign without columns {rule}"] = lambda t, p, s, rule=rule: m.sign(t, p, rule, columns=False)
    for k in (1, 2, 3, 4, 5):
        rules = {"auto": ("auto", m.thin_share)}
        if grid:
            rules |= {f"f={f}": ("auto", lambda kept, f=f: np.full(kept.shape, f)) for f in (0, 0.25, 0.5, 0.75, 1)}
            rules |= {"norm": ("norm", m.thin_share)}
        for rule, (name, share) in rules.items():
            rows[f"thin 1/{1 << k} {rule}"] = (
                lambda t, p, s, k=k, name=name, share=share: m.thin(t, p, k, s, name, share))
    for n in (3, 4, 8, 16):
        for rule in ("l1", "l2", "norm", "unbiased") if grid else ("unbiased",):
            rows[f"levels {n} {rule}"] = lambda t, p, s, n=n, rule=rule: m.levels(t, p, n, rule)
    return rows


def elections(grid):
    """Elected kinds: {row's name: arguments of modulators.elected}."""
    if not grid:
        return {"EMR, as published": dict(), "EMR, l2 per row": dict(rule="l2", per="row"),
                "nearest unbiased per row": dict(how="nearest", rule="unbiased", per="row"),
                "two-sided unbiased per row": dict(two_sided=True, rule="unbiased", per="row"),
                "two-sided unbiased per model": dict(two_sided=True, rule="unbiased", per="model")}
    rows = {}
    for kind, options in (("mask agree", dict()), ("mask nearest", dict(how="nearest")),
                          ("two-sided agree", dict(two_sided=True)),
                          ("two-sided nearest", dict(two_sided=True, how="nearest"))):
        for rule in ("norm", "unbiased") if kind == "two-sided nearest" else ("l1", "l2", "norm", "unbiased"):
            for per in ("model", "tensor", "row"):
                rows[f"{kind} {rule} per {per}"] = options | dict(rule=rule, per=per)
    return rows


# ---------------------------------------------------------------- bits

def stored(data):
    """Bytes that a block takes in a bundle: compressed where that helps."""
    try:
        import zstandard
        return min(len(data), len(zstandard.ZstdCompressor(level=3).compress(data)))
    except ImportError:
        return len(data)


def coded_bytes(made, kept):
    codes = stored(b"".join(m.pack(c.codes.reshape(-1), c.bits) for c in made.values()))
    numbers = sum(c.scales.size + (0 if c.columns is None else c.columns.size) for c in made.values())
    return codes + 2 * (numbers + sum(v.size for v in kept.values()))


def elected_bytes(masks, scales, per):
    bits = stored(b"".join(np.packbits(v.reshape(-1), bitorder="little").tobytes() for v in masks.values()))
    return bits + 4 * (next(iter(scales.values())).size if per == "model" else sum(s.size for s in scales.values()))


# ---------------------------------------------------------------- measuring

class Bench:
    """One family and seed."""

    def __init__(self, name, seed, work, path):
        self.name, self.seed, self.path = name, seed, path
        self.family = families.FAMILIES[name]
        self.base, self.tuned, self.tasks = families.load(name, seed, work)
        self.names = list(self.tasks)
        self.merged = [k for k in self.base if "running_" not in k]
        base = {k: self.base[k].cpu().numpy() for k in self.merged}
        self.n = sum(v.size for v in base.values())
        self.weights = base
        self.taus = [{k: self.tuned[t][k].cpu().numpy() - base[k] for k in self.merged} for t in self.names]
        self.places = m.places({k: base[k].shape for k in self.merged})
        self.seeds = [xxhash.xxh32(t.encode()).intdigest() for t in self.names]
        self.zeros = [sum(int((t[k] == 0).sum()) for k in t) / self.n for t in self.taus]
        self.reference, self.results = {}, {}

    def measure(self, row, make, n_tasks=None):
        """make(i): {name: tau as rebuilt}, bytes of task i."""
        start = time.time()
        numbers = range(n_tasks or len(self.names))

        def one(i):
            torch.set_num_threads(1)
            task = self.names[i]
            steps, size = make(i)
            weights = dict(self.tuned[task])
            if steps is not None:
                weights |= {k: torch.tensor(self.weights[k] + steps[k]) for k in self.merged}
            out = families.evaluate(self.family, weights, self.tasks[task])
            self.reference.setdefault(task, out)
            said, meant = out.argmax(1), self.reference[task].argmax(1)
            return ((said == self.tasks[task].test[1]).float().mean().item(), (said == meant).float().mean().item(),
                    8 * size / self.n)

        with ThreadPoolExecutor(THREADS) as pool:
            found = list(pool.map(one, numbers))
        self.results[row] = dict(zip(("accuracy", "agreement", "bits"), zip(*found)))
        with open(self.path, "w") as file:
            json.dump(dict(family=self.name, seed=self.seed, half=self.family.half, tasks=self.names,
                           parameters=self.n, zeros=self.zeros, rows=self.results), file)
        mean = [float(np.mean(x)) for x in zip(*found)]
        print(f"  {row:42s} {100 * mean[0]:6.2f} {100 * mean[1]:6.2f} {mean[2]:7.3f} bits {time.time() - start:6.1f} s",
              file=sys.stderr, flush=True)

    def run(self, grid, counts):
        self.measure("individual", lambda i: (None, 4 * self.n))
        self.measure("base", lambda i: ({k: np.float32(0) for k in self.merged}, 0))
        mean, sum_ = m.average(self.taus), m.arithmetic(self.taus)
        self.measure("average", lambda i: (mean, 4 * self.n / len(self.names)))
        self.measure("task arithmetic 0.3", lambda i: (sum_, 4 * self.n / len(self.names)))
        self.measure("BitDelta, without its training", self.bitdelta)
        for row, encode in encoders(grid).items():
            def make(i, encode=encode):
                steps, made, kept = m.coded(self.taus[i], self.places, lambda t, p: encode(t, p, self.seeds[i]))
                return steps, coded_bytes(made, kept)
            self.measure(row, make)
        for n in counts:
            u = m.unify(self.taus[:n])
            shared = stored(b"".join(v.tobytes() for v in u.values())) / n
            for row, options in elections(grid and n == max(counts)).items():
                def make(i, options=options, u=u, shared=shared):
                    steps, masks, scales = m.elected(self.taus[i], u, **options)
                    return steps, shared + elected_bytes(masks, scales, options.get("per", "model"))
                self.measure(f"{row}, N={n}" if n < len(self.names) else row, make, n)

    def bitdelta(self, i):
        steps, made, kept = m.coded(self.taus[i], self.places, lambda t, p: m.sign(t, p, "l1", columns=False))
        for k in made:
            steps[k] = m.bitdelta(self.taus[i][k])
        return steps, coded_bytes(made, kept) - 2 * sum(c.scales.size for c in made.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", default="build-quality", help="a folder for data, networks and results")
    parser.add_argument("--family", action="append", help="these families alone")
    parser.add_argument("--seed", action="append", type=int, help="these seeds alone (0 and 1)")
    parser.add_argument("--quick", action="store_true", help="small networks, one seed")
    parser.add_argument("--grid", action="store_true", help="every rule, too: what defaults were chosen from")
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    ctypes.CDLL(None).mallopt(-4, 0)  # M_MMAP_MAX: large arrays are made and freed all the time
    names = options.family or (["MLP-256", "ResNet-20"] if options.quick else list(families.FAMILIES))
    for name in names:
        for seed in options.seed or ([0] if options.quick else [0, 1]):
            print(f"{name}, seed {seed}", file=sys.stderr, flush=True)
            file = f"{name.replace(' ', '-')}-{seed}{'-grid' if options.grid else ''}.json"
            Bench(name, seed, options.work, os.path.join(options.work, file)).run(options.grid, (8, 2, 4))


if __name__ == "__main__":
    main()

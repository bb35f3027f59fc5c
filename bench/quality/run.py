"""How good are modulators on real networks? `python run.py` trains what is not there yet, lets the program emr merge
every family with every kind and rebuild every task, and prints tables in Markdown. All numbers are in WORK/*.json.

--grid measures every kind with every rule in numpy (modulators.py) instead: what the defaults were chosen from.
--check compares what the program rebuilds with modulators.py, weight by weight.
"""
import argparse
import ctypes
import glob
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import xxhash

import families
import modulators as m

# What the program is told: {row: options of emr merge}; and the same in modulators.py.
ELECTED = {
    "EMR (the paper)": [],
    "EMR, l2 per row": ["--rescale", "l2", "--rescale-per", "row"],
    "mask, nearest": ["--mask", "nearest"],
    "two-sided": ["--modulator", "two-sided"],
}
CODED = {"sign": ["sign"], "thin 1/2": ["thin:1/2"], "thin 1/4": ["thin:1/4"], "thin 1/8": ["thin:1/8"],
         "thin 1/16": ["thin:1/16"], "thin 1/32": ["thin:1/32"], "thin 1/4, l1": ["thin:1/4", "--rescale", "l1"],
         "levels: 3": ["ternary"], "levels: 4": ["levels:2"], "levels: 8": ["levels:3"], "levels: 16": ["levels:4"]}
ORACLES = {
    "EMR (the paper)": dict(), "EMR, l2 per row": dict(rule="l2", per="row"),
    "mask, nearest": dict(how="nearest", rule="unbiased", per="row"),
    "two-sided": dict(two_sided=True, rule="unbiased", per="row"),
    "sign": lambda t, p, s: m.sign(t, p), "thin 1/4, l1": lambda t, p, s: m.thin(t, p, 2, s, "l1"),
} | {f"thin 1/{1 << k}": lambda t, p, s, k=k: m.thin(t, p, k, s) for k in range(1, 6)} | {
    f"levels: {n}": lambda t, p, s, n=n: m.levels(t, p, n) for n in (3, 4, 8, 16)}
RULES = ("l1", "l2", "norm", "unbiased")


def grid():
    """Every kind and rule: {row: arguments of modulators.elected, or a function of (tau, place, seed)}."""
    rows = {}
    for rule in RULES:
        rows[f"sign {rule}"] = lambda t, p, s, rule=rule: m.sign(t, p, rule)
        rows[f"sign without columns {rule}"] = lambda t, p, s, rule=rule: m.sign(t, p, rule, columns=False)
        for n in (3, 4, 8, 16):
            rows[f"levels {n} {rule}"] = lambda t, p, s, n=n, rule=rule: m.levels(t, p, n, rule)
    for k in range(1, 6):
        rows[f"thin 1/{1 << k} mixed"] = lambda t, p, s, k=k: m.thin(t, p, k, s)
        rows[f"thin 1/{1 << k} norm"] = lambda t, p, s, k=k: m.thin(t, p, k, s, "norm")
        for f in (0, 0.25, 0.5, 0.75, 1):
            rows[f"thin 1/{1 << k} f={f}"] = (
                lambda t, p, s, k=k, f=f: m.thin(t, p, k, s, share=lambda kept: np.full(kept.shape, f)))
    for kind, options in (("mask agree", dict()), ("mask nearest", dict(how="nearest")),
                          ("two-sided agree", dict(two_sided=True)),
                          ("two-sided nearest", dict(two_sided=True, how="nearest"))):
        for rule in RULES:
            for per in ("model", "tensor", "row"):
                rows[f"{kind} {rule} per {per}"] = options | dict(rule=rule, per=per)
    return rows


class Bench:
    """One family and seed."""

    def __init__(self, name, seed, options):
        self.name, self.seed, self.options = name, seed, options
        self.family = families.FAMILIES[name]
        self.files, self.tasks = families.load(name, seed, options.work)
        self.names = list(self.tasks)
        self.tuned = {t: families.weights_of(self.files[t]) for t in self.names}
        base = families.weights_of(self.files["base"])
        self.base = {k: v.numpy() for k, v in base.items() if "running_" not in k}
        self.n = sum(v.size for v in self.base.values())
        self.taus = [{k: self.tuned[t][k].numpy() - v for k, v in self.base.items()} for t in self.names]
        self.places = m.places({k: v.shape for k, v in self.base.items()})
        self.seeds = [xxhash.xxh32(t.encode()).intdigest() for t in self.names]
        self.zeros = [sum(int((t[k] == 0).sum()) for k in t) / self.n for t in self.taus]
        stem = f"{name.replace(' ', '-')}-{seed}{'-grid' if options.grid else ''}"
        self.scratch, self.results = os.path.join(options.work, stem), {}
        self.reference = [families.evaluate(self.family, self.tuned[t], self.tasks[t]) for t in self.names]

    def measure(self, row, rebuilt, n_tasks=None):
        """rebuilt(i): task i's merged tensors, and the bits a parameter that it takes."""
        start = time.time()

        def one(i):
            weights, bits = rebuilt(i)
            task = self.tasks[self.names[i]]
            out = families.evaluate(self.family, self.tuned[self.names[i]] | weights, task)
            said = out.argmax(1)
            return ((said == task.test[1]).float().mean().item(),
                    (said == self.reference[i].argmax(1)).float().mean().item(), bits)

        with ThreadPoolExecutor(self.options.threads) as pool:
            found = list(zip(*pool.map(one, range(n_tasks or len(self.names)))))
        self.results[row] = dict(zip(("accuracy", "agreement", "bits"), found))
        with open(self.scratch + ".json", "w") as file:
            json.dump(dict(family=self.name, seed=self.seed, half=self.family.half, tasks=self.names,
                           parameters=self.n, zeros=self.zeros, rows=self.results), file)
        mean = [float(np.mean(x)) for x in found]
        print(f"  {row:36s} {100 * mean[0]:6.2f} {100 * mean[1]:6.2f} {mean[2]:7.3f} bits "
              f"{time.time() - start:6.1f} s", file=sys.stderr, flush=True)

    def added(self, steps):
        """The base's weights with these steps, in the dtype of the checkpoints."""
        out = {k: torch.tensor(v + steps[k]) for k, v in self.base.items()}
        return {k: v.bfloat16().float() for k, v in out.items()} if self.family.bf16 else out

    def common(self):
        """What has no mask."""
        n = len(self.names)
        one, many = m.average(self.taus), m.arithmetic(self.taus)
        self.measure("individual", lambda i: ({}, 16 if self.family.bf16 else 32))
        self.measure("base", lambda i: (self.added(dict.fromkeys(self.base, np.float32(0))), 0))
        self.measure("average", lambda i: (self.added(one), 32 / n))
        self.measure("task arithmetic, 0.3", lambda i: (self.added(many), 32 / n))
        self.measure("BitDelta, without its training", self.bitdelta)

    def bitdelta(self, i):
        steps, made, kept = m.coded(self.taus[i], self.places, lambda t, p: m.sign(t, p, columns=False))
        vectors = sum(v.size for v in kept.values())
        return (self.added(steps | {k: m.bitdelta(self.taus[i][k]) for k in made}),
                (16 * vectors + self.n - vectors) / self.n)

    # ---------------------------------------------------------------- by the program

    def emr(self, *arguments):
        done = subprocess.run([self.options.emr, *arguments], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"emr {' '.join(arguments)}\n{done.stderr}")
        return done.stdout

    def program(self, row, options, n_tasks):
        bundle = self.scratch + ".emr"
        tasks = [x for t in self.names[:n_tasks] for x in ("--task", f"{t}={self.files[t]}")]
        self.emr("merge", "--base", self.files["base"], *tasks, *options, "-o", bundle, "--force", "--quiet")
        bits = [t["bits"] for t in json.loads(self.emr("inspect", "--json", bundle))["tasks"]]

        def rebuilt(i):
            out = f"{self.scratch}-{i}.safetensors"
            self.emr("apply", bundle, "--task", self.names[i], "--base", self.files["base"], "-o", out, "--force",
                     "--quiet")
            weights = families.weights_of(out)
            os.unlink(out)
            if self.options.check and n_tasks == len(self.names):
                self.compare(row, i, weights)
            return weights, bits[i]

        self.measure(row if n_tasks == len(self.names) else f"{row}, N={n_tasks}", rebuilt, n_tasks)
        os.unlink(bundle)

    def compare(self, row, i, weights):
        """How many weights differ from modulators.py by more than the last bit of a scale."""
        oracle = ORACLES[row]
        if isinstance(oracle, dict):
            steps = m.elected(self.taus[i], m.unify(self.taus), **oracle)[0]
        else:
            steps = m.coded(self.taus[i], self.places, lambda t, p: oracle(t, p, self.seeds[i]))[0]
        wrong = exact = 0
        for k, ours in self.added(steps).items():
            apart = (weights[k] - ours).abs().numpy()
            exact += int((apart == 0).sum())
            wrong += int((apart > 0.02 * np.abs(steps[k]) + 1e-6 * np.abs(self.base[k])).sum())
        if exact < self.n:
            print(f"    {self.names[i]}: of {self.n} weights {self.n - exact} are not equal, {wrong} by more than "
                  "a scale's last bit", file=sys.stderr, flush=True)

    def run(self):
        self.common()
        if self.options.grid:
            u = m.unify(self.taus)
            for row, how in grid().items():
                def steps(i, how=how):
                    return (m.elected(self.taus[i], u, **how) if isinstance(how, dict) else
                            m.coded(self.taus[i], self.places, lambda t, p: how(t, p, self.seeds[i])))[0]
                self.measure(row, lambda i: (self.added(steps(i)), 0))
            return
        for row, options in CODED.items():
            self.program(row, ["--modulator", *options], len(self.names))
        for n_tasks in (8, 4, 2):
            for row, options in ELECTED.items():
                self.program(row, options, n_tasks)


# ---------------------------------------------------------------- tables

def tables(work):
    """Markdown: families across, kinds down; means over seeds and tasks."""
    found = {}
    for path in sorted(glob.glob(os.path.join(glob.escape(work), "*.json"))):
        with open(path) as file:
            result = json.load(file)
        if not path.endswith("-grid.json"):
            found.setdefault(result["family"], []).append(result)
    names = [name for name in families.FAMILIES if name in found]

    def mean(row, name, what, n_tasks=None):
        values = [np.mean(r["rows"][row][what][:n_tasks]) for r in found[name] if row in r["rows"]]
        return np.mean(values) if values else None

    def table(title, rows, cell):
        print(f"\n{title}\n\n| | {' | '.join(names)} |\n| --- |{' --- |' * len(names)}")
        for label, row in rows.items():
            print(f"| {label} | {' | '.join(cell(row, name) for name in names)} |")

    def quality(n_tasks=None):
        def cell(row, name):
            numbers = [mean(row, name, what, n_tasks) for what in ("accuracy", "agreement")]
            return "" if numbers[0] is None else " ".join(f"{100 * x:.1f}" for x in numbers)
        return cell

    def bits(row, name):
        number = mean(row, name, "bits")
        return "" if number is None else f"{number:.2f}"

    kinds = ["individual", "base", "average", "task arithmetic, 0.3", "BitDelta, without its training"]
    kinds += [*ELECTED, *CODED]
    table("Accuracy and agreement with the individual network, %, of 8 tasks", {k: k for k in kinds}, quality())
    table("Bits a parameter and task in all", {k: k for k in kinds}, bits)
    for n in (2, 4):
        rows = {k: k for k in ("individual", "sign", "thin 1/4", "levels: 4")} | {k: f"{k}, N={n}" for k in ELECTED}
        table(f"Of the first {n} tasks, merged alone", rows, quality(n))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--emr", default="build/tools/emr/emr", help="the program")
    parser.add_argument("--work", default="build-quality", help="a folder for data, networks and results")
    parser.add_argument("--family", action="append", help="these families alone")
    parser.add_argument("--seed", action="append", type=int, help="these seeds alone (of 0 and 1)")
    parser.add_argument("--quick", action="store_true", help="small networks alone, one seed")
    parser.add_argument("--all", action="store_true", help="every family, two seeds")
    parser.add_argument("--grid", action="store_true", help="every rule, without the program")
    parser.add_argument("--check", action="store_true", help="compare the program with modulators.py")
    parser.add_argument("--tables", action="store_true", help="print the tables of what was measured")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    ctypes.CDLL(None).mallopt(-4, 0)  # M_MMAP_MAX: large arrays are made and freed all the time
    some = ["demo", "MLP-256", "ResNet-20"] + ([] if options.quick else ["MiniLM-L6"])
    names = options.family or (list(families.FAMILIES) if options.all else some)
    for name in [] if options.tables else names:
        seeds = [0] if name == "demo" else options.seed or ([0, 1] if options.all else [0])
        for seed in seeds:
            print(f"{name}, seed {seed}", file=sys.stderr, flush=True)
            Bench(name, seed, options).run()
    tables(options.work)


if __name__ == "__main__":
    main()

"""From which share of exact zeros on are levels of 3 better than signs? `python zeros.py --emr PATH FAMILY ...`

Zeros come about in two ways. Rounded: base + a tau in BF16, for ever smaller a: where a change does not reach half of
the last bit, it is none. Sparse: of F32 checkpoints all but the largest changes are undone. A line: the share of zeros
in the matrices; then for each kind the error of its logits, as a share of what fine-tuning changed in them, and bits
a parameter. Means over four tasks.
"""
import argparse
import json
import os

import numpy as np
import torch
from safetensors.torch import save_file

import families
import run

KINDS = ("sign", "ternary", "levels:2", "thin:1/4")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--emr", default="build/tools/emr/emr")
    parser.add_argument("--work", default="build-quality")
    parser.add_argument("family", nargs="+")
    options = parser.parse_args()
    options.grid, options.check = False, False
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 2)))
    print("| family | zeros | " + " | ".join(KINDS) + " |\n| --- | --- |" + " --- |" * len(KINDS))
    for name in options.family:
        bench = run.Bench(name, 0, options)
        bench.scratch += "-zeros"
        for how, amounts in ((rounded, (1, 0.1, 0.03, 0.01, 0.003, 0.001)), (sparse, (0.5, 0.7, 0.8, 0.9, 0.95))):
            for amount in amounts:
                found = [measure(bench, i, *how(bench, i, amount)) for i in range(4)]
                cells = np.mean([[f[1][k] for k in KINDS] for f in found], axis=0)
                print(f"| {name}, {how.__name__} | {100 * np.mean([f[0] for f in found]):.0f} % | " +
                      " | ".join(f"{e:.3f} ({b:.2f})" for e, b in cells) + " |", flush=True)


def rounded(bench, i, factor):
    base = {k: torch.tensor(v).bfloat16() for k, v in bench.base.items()}
    return base, {k: (v.float() + factor * torch.tensor(bench.taus[i][k])).bfloat16() for k, v in base.items()}


def sparse(bench, i, share):
    base = {k: torch.tensor(v) for k, v in bench.base.items()}
    sizes = np.concatenate([np.abs(v).reshape(-1) for k, v in bench.taus[i].items() if bench.places[k].is_matrix])
    least = np.quantile(sizes, share)
    return base, {k: torch.where(torch.tensor(np.abs(bench.taus[i][k]) >= least), bench.tuned[bench.names[i]][k], v)
                  if bench.places[k].is_matrix else v for k, v in base.items()}


def measure(bench, i, base, tuned):
    """The share of zeros, and of each kind the error of its logits and its bits."""
    task, path = bench.tasks[bench.names[i]], bench.scratch + "-{}.safetensors"
    matrices = [k for k in base if bench.places[k].is_matrix]
    zeros = sum(int((base[k] == tuned[k]).sum()) for k in matrices) / sum(base[k].numel() for k in matrices)
    save_file(base, path.format("zb"))
    save_file(tuned, path.format("zt"))

    def logits(weights):
        return families.evaluate(bench.family, bench.tuned[bench.names[i]] | {k: v.float() for k, v in weights.items()},
                                 task)

    meant, moved = logits(tuned), {}
    change = (meant - logits(base)).pow(2).sum()
    for kind in KINDS:
        bench.emr("merge", "--base", path.format("zb"), "--task", "t=" + path.format("zt"), "--modulator", kind, "-o",
                  bench.scratch + ".emr", "--force", "--quiet")
        bits = json.loads(bench.emr("inspect", "--json", bench.scratch + ".emr"))["tasks"][0]["bits"]
        bench.emr("apply", bench.scratch + ".emr", "--task", "t", "--base", path.format("zb"), "-o", path.format("zo"),
                  "--force", "--quiet")
        error = (logits(families.weights_of(path.format("zo"))) - meant).pow(2).sum()
        moved[kind] = (error / change).item(), bits
    for what in ("zb", "zt", "zo"):
        os.unlink(path.format(what))
    os.unlink(bench.scratch + ".emr")
    return zeros, moved


if __name__ == "__main__":
    main()

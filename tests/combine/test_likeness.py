"""test_likeness.py EMR - `emr kinship` of random models of all float dtypes against docs/kinship.md in numpy: each metric, each
scope, moments, signs, exact quantiles; and `emr search` against the greedy algorithm written down once more."""
import itertools
import json
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "program"))
import reference as ref
from models import Model, as_inputs
from program import emr, run

# name -> shape, layer, kind
TENSORS = {"model.embed_tokens.weight": ((33, 16), "", "embed"), "lm_head.weight": ((33, 16), "", "head"),
           "model.norm.weight": ((16,), "", "norm"), "model.layers.0.self_attn.q_proj.weight": ((16, 16), "0", "q"),
           "model.layers.0.self_attn.o_proj.weight": ((16, 1), "0", "o"), "model.layers.0.mlp.gate_proj.weight": ((70, 300), "0", "gate"),
           "model.layers.1.self_attn.q_proj.weight": ((16, 16), "1", "q"), "model.layers.1.self_attn.k_proj.bias": ((16,), "1", "k"),
           "model.layers.1.mlp.down_proj.weight": ((1, 9), "1", "down"), "model.layers.1.mlp.empty.weight": ((0, 3), "1", "other"),
           "model.layers.10.input_layernorm.weight": ((1,), "10", "norm"), "logit_scale": ((), "", "other")}
QUANTILES = [0, 0.1, 0.5, 0.75, 1]
LONG = np.longdouble


def world(seed, n, dtypes):
    plain = Model.random("base.safetensors", seed, [t[0] for t in TENSORS.values()], dtypes)
    plain.tensors = dict(zip(TENSORS, plain.tensors.values()))
    base = plain.write()
    return base, [base.changed(f"t{i}.safetensors", seed * 50 + i, seed % 2 == 1) for i in range(n)]


def vectors(base, tasks, names):
    per = [as_inputs(base, tasks, n)[0] for n in names]
    return [np.concatenate([p[i].ravel() for p in per]).astype(LONG) for i in range(len(tasks))]


def pearson(x, y):
    return cosine(x - x.mean(), y - y.mean(), 2.0 ** -46 * np.array([(x * x).sum(), (y * y).sum()]))


def cosine(x, y, least=(0, 0)):
    xx, yy = (x * x).sum(), (y * y).sum()
    return None if xx <= least[0] or yy <= least[1] else (x * y).sum() / np.sqrt(xx * yy)


def euclid(x, y):
    return np.sqrt(((x - y) ** 2).sum())


METRICS = {"pearson": pearson, "cosine": cosine, "euclid": euclid}


def near(got, want, room=1e-11):
    if want is None or got is None:
        assert got is None and want is None, (got, want)
    else:
        assert abs(got - want) <= room * max(1, abs(want)), (got, float(want))


def check_group(told, taus, metric):
    n = len(taus)
    table = [[METRICS[metric](x, y) for y in taus] for x in taus]
    for i, j in itertools.product(range(n), range(n)):
        near(told["kinship"][i][j], table[i][j])
        both = (taus[i] != 0) & (taus[j] != 0)
        same = (np.sign(taus[i]) == np.sign(taus[j])) & both
        near(told["sign_agreement"][i][j], same.sum() / both.sum() if both.any() else None, 1e-15)
    pairs = [table[i][j] for i in range(n) for j in range(i)]
    near(told["mean"], None if not pairs or None in pairs else sum(pairs) / len(pairs))
    stacked = np.stack(taus)
    assert told["params"] == stacked.shape[1]
    assert told["conflicts"] == ((stacked > 0).any(0) & (stacked < 0).any(0)).sum()
    assert told["unchanged"] == (stacked == 0).all(0).sum()
    for task, x in zip(told["tasks"], taus):
        squares = (x * x).sum()
        assert task["zeros"] == (x == 0).sum() and task["largest"] == np.abs(x).max()
        near(task["norm"], np.sqrt(squares))
        near(task["mean"], x.mean())
        near(task["mean_magnitude"], np.abs(x).mean())
        near(task["kurtosis"], x.size * (x ** 4).sum() / squares ** 2 if squares else None)
        if task.get("quantiles") is not None:
            sizes = np.sort(np.abs(x))
            assert task["quantiles"] == [float(sizes[max(0, int(np.ceil(f * x.size)) - 1)]) for f in QUANTILES]


def groups_of(per):
    full = {n: t for n, t in TENSORS.items() if 0 not in t[0]}
    if per == "model":
        return [list(full)]
    key = {"tensor": lambda n: n, "layer": lambda n: TENSORS[n][1], "kind": lambda n: TENSORS[n][2]}[per]
    return {k: [n for n in full if key(n) == k] for k in map(key, full)}


def test_kinship_of_every_scope_and_metric():
    resources = itertools.cycle([[], ["--threads", 1], ["--threads", 5, "--memory", "4MiB"]])
    for seed, (n, dtypes) in enumerate([(3, "F32"), (4, "mixed"), (1, "BF16"), (9, "F64"), (2, "F8_E5M2"), (5, "mixed")]):
        base, tasks = world(seed, n, dtypes)
        words = ["kinship", "--base", base.path, *[w for t in tasks for w in ("--task", t.path)]]
        for i, per in enumerate(["model", "tensor", "layer", "kind"]):  # over the worlds all pairs of a scope and a metric
            metric = list(METRICS)[(seed + i) % 3]
            asked = ["--quantiles", ",".join(map(str, QUANTILES))] if per in ("model", "tensor") else []
            told = emr(*words, "--per", per, "--metric", metric, "--json", *asked, *next(resources)).json["groups"]
            wanted = groups_of(per)
            for group in told:
                names = wanted[0] if per == "model" else wanted.pop(group["name"], None)
                if names:
                    assert group["tensors"] - len(names) in (0, 1)  # the empty one counts in a group
                    check_group(group, vectors(base, tasks, names), metric)
            assert per == "model" or not wanted, wanted


# ---- greedy merging

def greedy(given, scores, merge, kin, k):
    """docs/search.md, 1 to 4: yields what is merged. `scores` are asked for once a model is there."""
    there, merged, generation = list(given), set(), 0

    def best():
        return sorted(there, key=lambda n: (-scores[n], n.encode()))[:k]

    def new(name, a, b):
        if frozenset((a, b)) in merged:
            return
        merged.add(frozenset((a, b)))
        merge(name, a, b)
        there.append(name)

    pairs, before = list(itertools.combinations(given, 2)), None
    while True:
        generation += 1
        older = list(there)
        for i, (a, b) in enumerate(pairs, 1):
            new(f"{generation}-{i}", a, b)
        if generation > 1:
            lonely = [n for n in older if n != before[0] and frozenset((n, before[0])) not in merged]
            if lonely:
                new(f"{generation}-exp", min(lonely, key=lambda n: (kin(n, before[0]), n.encode())), before[0])
        if best() == before:
            return
        before = best()
        pairs = list(itertools.combinations(before, 2))


def test_search_is_the_greedy_algorithm():
    for seed, n, k in [(3, 3, 3), (4, 4, 2), (5, 5, 3)]:
        base = Model.random("base.safetensors", seed, [(4, 6), (8,)], "F32")
        names = [f"m{i}" for i in range(n)]
        models = {name: base.changed(f"{name}.safetensors", seed * 10 + i) for i, name in enumerate(names)}
        emr("search", "--base", base.path, *[w for m in names for w in ("--task", f"{m}={m}.safetensors")], "--k", k, "--keep-all",
            "--evaluate", "cksum < {} | cut -d' ' -f1", "-o", f"out{seed}")
        log = [json.loads(line) for line in pathlib.Path(f"out{seed}/search.jsonl").read_text().splitlines()]
        made = [e for e in log if "name" in e and e["name"] not in names]
        told = iter(made)

        def merge(name, a, b):
            entry = next(told)
            assert (entry["name"], set(entry["parents"])) == (name, {a, b}), (entry, name, a, b)
            models[name] = Model.read(f"out{seed}/{name}.safetensors")
            near(entry["kinship"], kin(a, b))
            first, second = entry["parents"]
            for tensor in base.tensors:
                inputs = [models[m].values(tensor).astype(np.float32) for m in (first, second)]
                wanted = ref.slerp(ref.Tensor(tensor, inputs, [first, second], lambda p, i: 0.5))
                assert np.all(np.abs(models[name].values(tensor) - wanted.out) <= wanted.slack + 1e-7)

        def kin(a, b):
            x, y = vectors(base, [models[a], models[b]], list(base.tensors))
            return float(pearson(x, y))
        greedy(names, {e["name"]: e["score"] for e in log if "name" in e}, merge, kin, k)
        assert next(told, None) is None and log[-1]["end"] == "steady"


if __name__ == "__main__":
    run(globals())

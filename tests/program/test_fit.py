"""test_fit.py EMR - emr fit: what its commands make of checkpoints and grams, against the formulas of docs/fitting.md in numpy;
what they refuse and how; what they leave behind. Networks are perceptrons of a few units, so that every assignment can be tried."""
import itertools
import json
import os
import pathlib
import re
import shutil
import struct

import numpy as np

from program import *

DTYPES = {"F32": "<f4", "F64": "<f8", "U32": "<u4", "I64": "<i8", "BF16": "<u2", "F16": "<f2"}


def write(path, tensors, metadata=None):
    """A safetensors file of arrays, in their own dtypes."""
    names = {np.dtype(code).str: name for name, code in DTYPES.items() if name != "BF16"}
    header, data = {"__metadata__": metadata} if metadata else {}, b""
    for name, value in tensors.items():
        raw = np.ascontiguousarray(value).tobytes()
        header[name] = {"dtype": names[value.dtype.str], "shape": list(value.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def read(path):
    raw = pathlib.Path(path).read_bytes()
    size, = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8:8 + size])
    header.pop("__metadata__", None)
    return {name: np.frombuffer(raw[8 + size + t["data_offsets"][0]:8 + size + t["data_offsets"][1]],
                                DTYPES[t["dtype"]]).reshape(t["shape"]) for name, t in header.items()}


def network(seed, *widths):
    dice, tensors = np.random.default_rng(seed), {}
    for i, (inputs, outputs) in enumerate(zip(widths, widths[1:])):
        tensors[f"fc{i}.weight"] = dice.normal(0, 1, (outputs, inputs)).astype("<f4")
        tensors[f"fc{i}.bias"] = dice.normal(0, 0.5, outputs).astype("<f4")
    return tensors


def run_network(tensors, x):
    """What each layer reads, and the outputs."""
    sites, i = {}, 0
    while f"fc{i}.weight" in tensors:
        sites[f"fc{i}"] = x
        x = x @ tensors[f"fc{i}.weight"].astype(float).T + tensors[f"fc{i}.bias"]
        i += 1
        x = np.maximum(x, 0) if f"fc{i}.weight" in tensors else x
    return sites, x


def samples(seed, n=200, width=5):
    return np.random.default_rng(seed).normal(0, 1, (n, width))


def moments(rows):
    """S of models that run on the same samples."""
    z = np.concatenate([*rows, np.ones((len(rows[0]), 1))], 1)
    return z.T @ z


def save_gram(path, *sites):
    """The gram of models, by what each reads at its sites."""
    tensors, metadata = {}, {"format": "emr-gram", "version": "1"}
    for name in sites[0]:
        s = moments([site[name] for site in sites])
        tensors[f"{name}.gram"] = s[np.triu_indices(len(s))]
        metadata[f"widths.{name}"] = ",".join(str(site[name].shape[1]) for site in sites)
    return write(path, tensors, metadata)


def reordered(tensors, orders):
    """new[i] = old[p[i]] of hidden layers."""
    tensors = dict(tensors)
    for i, p in orders.items():
        tensors[f"fc{i}.weight"], tensors[f"fc{i}.bias"] = tensors[f"fc{i}.weight"][p], tensors[f"fc{i}.bias"][p]
        tensors[f"fc{i + 1}.weight"] = tensors[f"fc{i + 1}.weight"][:, p]
    return tensors


def best_order(similarity):
    """Every assignment, tried."""
    return np.array(max(itertools.permutations(range(len(similarity))), key=lambda p: similarity[range(len(p)), p].sum()))


def same(got, wanted, tolerance=2e-6):
    assert list(got) == list(wanted), (list(got), list(wanted))
    for name in wanted:
        assert got[name].shape == wanted[name].shape, (name, got[name].shape, wanted[name].shape)
        assert np.abs(got[name] - wanted[name]).max() <= tolerance * max(1, np.abs(wanted[name]).max()), name


def everything():
    return {str(p): p.is_file() and p.read_bytes() for p in pathlib.Path(".").rglob("*")}


def refused(status, *words, says=(), **options):
    """Fails with this status, one line of error, and leaves the folder as it was."""
    before = everything()
    result = emr("fit", *words, status=status, **options)
    result.says(*says)
    assert len([line for line in result.err.splitlines() if not line.startswith("emr: note: ")]) == 1, result.err
    assert everything() == before, "something was left behind"
    return result


def two_networks(*widths):
    """Two networks and a gram of both; and what both read."""
    a, b = network(1, *widths), network(2, *widths)
    write("a.safetensors", a)
    write("b.safetensors", b)
    sites = [run_network(model, samples(3, width=widths[0]))[0] for model in (a, b)]
    save_gram("g.safetensors", *sites)
    return a, b, sites


# --- Specs


def test_a_derived_spec():
    write("a.safetensors", network(1, 5, 6, 7, 3))
    emr("fit", "spec", "a.safetensors", "-o", "s.json")
    spec = json.loads(pathlib.Path("s.json").read_text())
    assert spec["format"] == "emr-permutation-spec" and spec["version"] == 1
    assert [(g["name"], g["size"], g["sites"]) for g in spec["groups"]] == [("hidden.0", 6, ["fc1"]), ("hidden.1", 7, ["fc2"])]
    assert spec["groups"][0]["axes"] == [{"tensor": "fc0.weight", "axis": 0}, {"tensor": "fc0.bias", "axis": 0},
                                         {"tensor": "fc1.weight", "axis": 1, "input": True}]
    assert [(x["weight"], x["bias"], x["site"]) for x in spec["layers"]] == [(f"fc{i}.weight", f"fc{i}.bias", f"fc{i}")
                                                                             for i in range(3)]
    assert emr("fit", "spec", "a.safetensors", "-o", "-").out == pathlib.Path("s.json").read_text()
    report = emr("fit", "spec", "a.safetensors", "-o", "again.json", "--json").json
    assert report["output"] == "again.json" and [g["units"] for g in report["groups"]] == [6, 7]
    assert pathlib.Path("again.json").read_bytes() == pathlib.Path("s.json").read_bytes()
    refused(2, "spec", "a.safetensors", "-o", "s.json", says=["s.json", "already exists", "--force"])


def test_a_spec_of_one_s_own():
    write("a.safetensors", network(1, 5, 6, 3))
    emr("fit", "spec", "a.safetensors", "-o", "s.json")
    before = everything()
    listed = emr("fit", "spec", "a.safetensors", "--spec", "s.json", "--dry-run").out
    assert "hidden.0" in listed and "6 units" in listed and "1 groups, 2 layers" in listed and everything() == before
    spec = json.loads(pathlib.Path("s.json").read_text())
    for change, status, says in ((lambda s: s["groups"][0].update(size=9), 1, ["fc0.weight", "hidden.0"]),
                                 (lambda s: s["groups"][0]["axes"][0].update(tensor="fc9"), 1, ["fc9", "hidden.0"]),
                                 (lambda s: s["groups"][0].update(colour="red"), 1, ["w.json", "hidden.0", "colour"]),
                                 (lambda s: s.update(version=2), 1, ["w.json", "version"]),
                                 (lambda s: s["groups"].append(s["groups"][0]), 1, ["w.json", "hidden.0"])):
        wrong = json.loads(json.dumps(spec))
        change(wrong)
        pathlib.Path("w.json").write_text(json.dumps(wrong))
        refused(status, "spec", "a.safetensors", "--spec", "w.json", "--dry-run", says=says)
    pathlib.Path("w.json").write_text("{")
    refused(1, "match", "a.safetensors", "a.safetensors", "--spec", "w.json", "-o", "p.safetensors", says=["w.json", "line 1"])
    refused(3, "spec", "a.safetensors", "--spec", "none.json", "--dry-run", says=["none.json"])
    refused(2, "spec", "a.safetensors", "--spec", "s.json", "--residual", "--dry-run", says=["--residual"])


def test_architectures_that_are_not_known():
    save("t5/model.safetensors", {"shared.weight": ([2, 2], [1.0] * 4)})
    pathlib.Path("t5/config.json").write_text('{"model_type": "t5"}')
    refused(1, "spec", "t5", "-o", "s.json", says=["t5", "JSON"])
    pathlib.Path("t5/config.json").write_text("[")
    refused(1, "spec", "t5", "-o", "s.json", says=["config.json"])
    refused(3, "spec", "nothing", "-o", "s.json", says=["nothing"])


def test_tensors_that_nobody_knows():
    """Something else reads the units of a ResNet: permuting them would change what it computes."""
    shapes = {"conv1.weight": (4, 3, 3, 3), "layer1.0.conv1.weight": (4, 4, 3, 3), "layer1.0.conv2.weight": (4, 4, 3, 3),
              "fc.weight": (2, 4), "fc.bias": (2,), "bn1.weight": (4,), "layer1.0.bn1.weight": (4,), "layer1.0.bn2.weight": (4,)}
    plain = {name: np.random.default_rng(1).normal(0, 1, shape).astype("<f4") for name, shape in shapes.items()}
    write("plain.safetensors", plain)
    write("squeezed.safetensors", {**plain, "layer1.0.se.weight": np.ones((4, 4), "<f4")})
    emr("fit", "permute", "plain.safetensors", "--random", "1", "-o", "out.safetensors")
    refused(1, "permute", "squeezed.safetensors", "--random", "1", "-o", "x.safetensors",
            says=["squeezed.safetensors", "layer1.0.se.weight", "is not known"])


# --- Matching and permuting


def test_matching_by_weights():
    """Equation 2 of Git Re-Basin, of one hidden layer: rows, biases and columns that the units have in common."""
    a, b, _ = two_networks(5, 6, 3)
    similarity = a["fc0.weight"].astype(float) @ b["fc0.weight"].T + np.outer(a["fc0.bias"], b["fc0.bias"]) \
        + a["fc1.weight"].T.astype(float) @ b["fc1.weight"]
    order = best_order(similarity)
    result = emr("fit", "match", "a.safetensors", "b.safetensors", "-o", "p.safetensors", "--aligned", "aligned.safetensors",
                 "--json").json
    assert read("p.safetensors")["hidden.0"].tolist() == order.tolist()
    same(read("aligned.safetensors"), reordered(b, {0: order}), 0)
    assert abs(result["matched"]["value"] / similarity[range(6), order].sum() - 1) < 1e-9 and result["matched"]["groups"] == 1
    assert result["output"] == "p.safetensors" and result["aligned"]["output"] == "aligned.safetensors"
    assert result["aligned"]["files"] == ["aligned.safetensors"]
    alone = emr("fit", "match", "a.safetensors", "b.safetensors", "--by", "weights", "--aligned", "again.safetensors")
    assert "1 of 1 groups matched" in alone.out
    assert pathlib.Path("again.safetensors").read_bytes() == pathlib.Path("aligned.safetensors").read_bytes()


def test_matching_by_weights_finds_a_reordered_network():
    dice, a = np.random.default_rng(5), network(1, 20, 40, 30, 20, 8)
    orders = {i: dice.permutation(n) for i, n in ((0, 40), (1, 30), (2, 20))}
    write("a.safetensors", a)
    write("b.safetensors", reordered(a, orders))
    for options in ([], ["--seed", "3"], ["--similarity", "correlation"]):
        emr("fit", "match", "a.safetensors", "b.safetensors", "--aligned", "c.safetensors", "--force", *options)
        same(read("c.safetensors"), a, 0)


def test_matching_by_activations():
    a, b, (x, y) = two_networks(5, 6, 3)
    emr("fit", "match", "a.safetensors", "b.safetensors", "--gram", "g.safetensors", "-o", "p.safetensors")
    assert read("p.safetensors")["hidden.0"].tolist() == best_order(x["fc1"].T @ y["fc1"]).tolist()
    correlation = np.nan_to_num(np.corrcoef(x["fc1"].T, y["fc1"].T)[:6, 6:])
    emr("fit", "match", "a.safetensors", "b.safetensors", "--gram", "g.safetensors", "--similarity", "correlation",
        "--by", "activations", "-o", "q.safetensors")
    assert read("q.safetensors")["hidden.0"].tolist() == best_order(correlation).tolist()


def test_matching_by_both():
    """MuDSC: correlations of all weights of a unit, and of its activations."""
    a, b, (x, y) = two_networks(5, 6, 3)
    whole = [np.concatenate([m["fc0.weight"], m["fc0.bias"][:, None], m["fc1.weight"].T], 1).astype(float) for m in (a, b)]
    by_weights = np.corrcoef(*whole)[:6, 6:]
    by_activations = np.nan_to_num(np.corrcoef(x["fc1"].T, y["fc1"].T)[:6, 6:])
    found = set()
    for balance in (0, 0.25, 0.5, 1):
        words = [] if balance == 0.5 else ["--balance", balance]
        report = emr("fit", "match", "a.safetensors", "b.safetensors", "--gram", "g.safetensors", "--by", "both", *words,
                     "-o", "p.safetensors", "--force", "--json").json
        both = balance * by_weights + (1 - balance) * by_activations
        order = best_order(both)
        found.add(tuple(order))
        assert read("p.safetensors")["hidden.0"].tolist() == order.tolist(), balance
        assert abs(report["matched"]["value"] - both[range(6), order].mean()) < 1e-6
    assert len(found) > 1


def test_grams_add_up():
    """Of more samples, and of other sites."""
    a, b = network(1, 5, 6, 4, 3), network(2, 5, 6, 4, 3)
    write("a.safetensors", a)
    write("b.safetensors", b)
    halves = [[run_network(model, samples(seed))[0] for model in (a, b)] for seed in (3, 4)]
    both = [{name: np.concatenate([half[m][name] for half in halves]) for name in halves[0][m]} for m in (0, 1)]
    save_gram("whole.safetensors", *both)
    for i, half in enumerate(halves):
        save_gram(f"half{i}.safetensors", *half)
    for name in ("fc1", "fc2"):
        save_gram(f"{name}.safetensors", *({name: m[name]} for m in both))
    match = ["fit", "match", "a.safetensors", "b.safetensors"]
    for i, grams in enumerate((["whole"], ["half0", "half1"], ["fc1", "fc2"])):
        emr(*match, *(word for gram in grams for word in ("--gram", f"{gram}.safetensors")), "-o", f"{i}.safetensors")
    assert len({pathlib.Path(f"{i}.safetensors").read_bytes() for i in range(3)}) == 1
    result = emr(*match, "--gram", "fc1.safetensors", "-o", "one.safetensors", "--json").json
    assert result["matched"]["groups"] == 1 and read("one.safetensors")["hidden.1"].tolist() == [0, 1, 2, 3]


def test_a_start():
    two_networks(5, 6, 6, 3)
    words = ["fit", "match", "a.safetensors", "b.safetensors"]
    emr(*words, "-o", "p.safetensors")
    again = emr(*words, "--start", "p.safetensors", "-o", "q.safetensors", "--json").json
    assert pathlib.Path("p.safetensors").read_bytes() == pathlib.Path("q.safetensors").read_bytes()
    assert again["matched"]["rounds"] == 1
    assert emr(*words, "--rounds", "1", "-o", "r.safetensors", "--json").json["matched"]["rounds"] == 1


def test_permuting():
    a, x = network(1, 5, 6, 7, 3), samples(9)
    write("model/model.safetensors", a)
    pathlib.Path("model/config.json").write_text('{"torch_dtype": "float32"}')
    emr("fit", "permute", "model", "--random", 11, "-o", "out/")
    changed = read("out/model.safetensors")
    assert not np.array_equal(changed["fc0.weight"], a["fc0.weight"]) and not np.array_equal(changed["fc1.bias"], a["fc1.bias"])
    assert np.allclose(run_network(changed, x)[1], run_network(a, x)[1], rtol=1e-12, atol=1e-12)
    assert pathlib.Path("out/config.json").exists()
    emr("fit", "match", "model", "out", "-o", "p.safetensors")
    emr("fit", "permute", "out", "--permutation", "p.safetensors", "-o", "back/")
    same(read("back/model.safetensors"), a, 0)
    emr("fit", "permute", "model", "--permutation", "p.safetensors", "--inverse", "-o", "forth/")
    same(read("forth/model.safetensors"), changed, 0)
    emr("fit", "permute", "model", "--random", 12, "-o", "other/")
    assert not np.array_equal(read("other/model.safetensors")["fc0.weight"], changed["fc0.weight"])


def test_permutations_that_are_none():
    write("a.safetensors", network(1, 5, 6, 3))
    words = ["permute", "a.safetensors", "--permutation", "p.safetensors", "-o", "o.safetensors"]
    right = np.arange(6, dtype="<u4")
    for tensors, says in (({"hidden.0": np.array([0, 0, 1, 2, 3, 4], "<u4")}, ["p.safetensors", "hidden.0"]),
                          ({"hidden.0": right[:5]}, ["p.safetensors", "hidden.0", "6"]),
                          ({"hidden.0": right.astype("<f4")}, ["p.safetensors", "hidden.0", "U32"]),
                          ({"hidden.1": right}, ["p.safetensors", "hidden.0", "absent"])):
        write("p.safetensors", tensors)
        refused(1, *words, says=says)
    os.remove("p.safetensors")
    refused(3, *words, says=["p.safetensors"])


# --- RegMean


def regmean(models, sites, coefficients, alpha=0.9, ridge=0.0, rows=False):
    """(sum c G~)^-1 sum c G~ W of every layer, a ridge drawing to the average; biases are averaged."""
    c = np.array(coefficients, float) / sum(coefficients)
    merged = {name: sum(w * m[name].astype(float) for w, m in zip(c, models)) for name in models[0]}
    for layer in sites[0]:
        left, right, mean = 0, 0, merged[f"{layer}.weight"].T
        for weight, model, site in zip(c, models, sites):
            g = site[layer].T @ site[layer] / (1 if rows else len(site[layer]))
            g = alpha * g + (1 - alpha) * np.diag(np.diag(g))
            left, right = left + weight * g, right + weight * g @ (model[f"{layer}.weight"].astype(float).T - mean)
        merged[f"{layer}.weight"] = (mean + np.linalg.solve(left + ridge * np.diag(np.diag(left)), right)).T
    return merged


def regmean_tasks():
    models = [network(seed, 5, 6, 4, 3) for seed in (1, 2, 3)]
    sites = [run_network(model, samples(10 + i, 150 + 100 * i))[0] for i, model in enumerate(models)]
    for i, (model, site) in enumerate(zip(models, sites)):
        write(f"m{i}/model.safetensors", model)
        pathlib.Path(f"m{i}/config.json").write_text(json.dumps({"of": i, "torch_dtype": "float32"}))
        save_gram(f"g{i}.safetensors", site)
    return models, sites


REGMEAN = ["regmean", *(word for i in range(3) for word in ("--task", f"m{i}", "--gram", f"m{i}=g{i}.safetensors"))]


def test_regmean_is_its_formula():
    models, sites = regmean_tasks()
    for i, (options, given) in enumerate((([], {}), (["--off-diagonal", "0.1"], dict(alpha=0.1)),
                                          (["--off-diagonal", "1"], dict(alpha=1)), (["--ridge", "0.25"], dict(ridge=0.25)),
                                          (["--weigh", "rows", "--off-diagonal", "0.5"], dict(alpha=0.5, rows=True)))):
        emr("fit", *REGMEAN, *options, "-o", f"{i}.safetensors")
        same(read(f"{i}.safetensors"), regmean(models, sites, [1, 1, 1], **given), 2e-5)
    emr("fit", "regmean", "--task", "m0:1", "--gram", "m0=g0.safetensors", "--task", "two=m1:2", "--gram", "two=g1.safetensors",
        "--task", "m2", "--gram", "m2=g2.safetensors", "-o", "weighted.safetensors")
    same(read("weighted.safetensors"), regmean(models, sites, [1, 2, 1]), 2e-5)


def test_regmean_with_fitted_biases_is_least_squares():
    models, sites = regmean_tasks()
    emr("fit", *REGMEAN, "--bias", "fit", "--off-diagonal", "1", "-o", "out.safetensors")
    out = read("out.safetensors")
    for layer in sites[0]:
        rows = [np.concatenate([s[layer], np.ones((len(s[layer]), 1))], 1) / np.sqrt(len(s[layer])) for s in sites]
        targets = [r @ np.concatenate([m[f"{layer}.weight"].T, m[f"{layer}.bias"][None]]) for r, m in zip(rows, models)]
        fitted = np.linalg.lstsq(np.concatenate(rows), np.concatenate(targets), rcond=None)[0]
        assert np.abs(out[f"{layer}.weight"] - fitted[:-1].T).max() < 2e-5 and np.abs(out[f"{layer}.bias"] - fitted[-1]).max() < 2e-5


def test_regmean_solves_what_grams_know():
    models, sites = regmean_tasks()
    for i, site in enumerate(sites):
        save_gram(f"g{i}.safetensors", {"fc1": site["fc1"]})
    plan = emr("fit", *REGMEAN, "--dry-run", "--json").json
    assert {t["name"]: t["action"] for t in plan["tensors"]} == {
        name: "solve" if name == "fc1.weight" else "mean" for name in models[0]}
    assert "solve  F32   fc1.weight [4, 6]" in emr("fit", *REGMEAN, "--dry-run").out and not pathlib.Path("out").exists()
    emr("fit", *REGMEAN, "-o", "out.safetensors")
    same(read("out.safetensors"), regmean(models, [{"fc1": s["fc1"]} for s in sites], [1, 1, 1]), 2e-5)
    save_gram("g1.safetensors", {"fc2": sites[1]["fc2"]})
    refused(1, *REGMEAN, "-o", "x.safetensors", says=["fc1", "m1"])
    for i, site in enumerate(sites):
        save_gram(f"g{i}.safetensors", {"other.name": site["fc1"]})
    refused(1, *REGMEAN, "-o", "x.safetensors", says=["other.name", "fc0"])


def test_regmean_leaves_heads_out():
    models, sites = regmean_tasks()
    write("m1/model.safetensors", {**models[1], "fc2.weight": models[1]["fc2.weight"][:2], "fc2.bias": models[1]["fc2.bias"][:2]})
    refused(1, *REGMEAN, "-o", "x.safetensors", says=["m1", "fc2"])
    emr("fit", *REGMEAN, "--exclude", "fc2.*", "-o", "out/")
    wanted = regmean(models, sites, [1, 1, 1])
    same(read("out/model.safetensors"), {name: t for name, t in wanted.items() if not name.startswith("fc2")}, 2e-5)
    assert json.loads(pathlib.Path("out/config.json").read_text())["of"] == 0
    refused(2, *REGMEAN, "--exclude", "fc9.*", "-o", "x.safetensors", says=["m0", "exclude", "fc9.*", "matches no tensor"])


def test_regmean_calls_that_are_wrong():
    regmean_tasks()
    one = ["regmean", "--task", "m0", "-o", "o.safetensors"]
    for status, words, says in (
            (2, ["regmean", "-o", "o"], ["at least one --task"]),
            (2, one, ["--gram NAME=FILE"]),
            (2, [*one, "--gram", "g0.safetensors"], ["NAME=FILE"]),
            (2, [*one, "--gram", "m0="], ["NAME=FILE"]),
            (2, [*one, "--gram", "m7=g0.safetensors"], ["'m7' is no task here"]),
            (2, [*one, "--task", "m1", "--gram", "m0=g0.safetensors"], ["'m1' has no --gram"]),
            (3, [*one, "--gram", "m0=none.safetensors"], ["none.safetensors"]),
            (1, [*one, "--gram", "m0=m0/model.safetensors"], ["m0/model.safetensors", "emr-gram"]),
            (2, [*one, "--gram", "m0=g0.safetensors", "--off-diagonal", "1.5"], ["--off-diagonal", "from 0 to 1"]),
            (2, [*one, "--gram", "m0=g0.safetensors", "--ridge", "-1"], ["--ridge", "0 or more"]),
            (2, [*one, "--gram", "m0=g0.safetensors", "--ridge", "nan"], ["--ridge", "no number"]),
            (2, [*one, "--gram", "m0=g0.safetensors", "--bias", "both"], ["none of mean, fit"]),
            (2, [*one, "--gram", "m0=g0.safetensors", "m1"], ["m1: not expected here"]),
            (2, [*one, "--gram", "m0=g0.safetensors", "--memory", "1K"], ["memory"]),
            (2, ["regmean", "--task", "m0:-1", "--gram", "m0=g0.safetensors", "-o", "o.safetensors"], ["coefficient"]),
            (2, ["regmean", "--task", "m0", "--gram", "m0=g0.safetensors"], ["-o OUT is missing"])):
        refused(status, *words, says=says)


# --- PLeaS and zipping


def pleas(a, b, x, merged):
    """Two networks of two hidden layers, B's units in A's order: least squares on both models' outputs, with biases. merged:
    how many pairs of each hidden layer, the nearest by activations. New units are the merged ones, A's own, B's own."""
    (ours, y_a), (theirs, y_b) = run_network(a, x), run_network(b, x)
    out, inputs, kinds = {}, [np.concatenate([(ours["fc0"] + theirs["fc0"]) / 2], 1)], [["both"] * x.shape[1]]
    splits = []
    for i, k in enumerate(merged):
        distance = ((ours[f"fc{i + 1}"] - theirs[f"fc{i + 1}"])**2).sum(0)
        near = np.sort(np.argsort(distance, kind="stable")[:k])
        splits.append((near, np.setdiff1d(np.arange(len(distance)), near)))
    n_out = y_a.shape[1]
    splits.append((np.arange(n_out), np.arange(0)))
    for i, (near, apart) in enumerate(splits):
        lines_a, lines_b = (site[f"fc{i}"] @ m[f"fc{i}.weight"].astype(float).T + m[f"fc{i}.bias"]
                            for m, site in ((a, ours), (b, theirs)))
        targets = np.concatenate([(lines_a[:, near] + lines_b[:, near]) / 2, lines_a[:, apart], lines_b[:, apart]], 1)
        kind = ["both"] * len(near) + ["a"] * len(apart) + ["b"] * len(apart)
        u, weight, bias = inputs[-1], np.zeros((len(kind), inputs[-1].shape[1])), np.zeros(len(kind))
        for row, of in enumerate(kind):
            free = [j for j, other in enumerate(kinds[-1]) if of == "both" or other in ("both", of)]
            fitted = np.linalg.lstsq(np.concatenate([u[:, free], np.ones((len(u), 1))], 1), targets[:, row], rcond=None)[0]
            weight[row, free], bias[row] = fitted[:-1], fitted[-1]
        out[f"fc{i}.weight"], out[f"fc{i}.bias"] = weight, bias
        if i + 1 < len(splits):
            p, q = ours[f"fc{i + 1}"], theirs[f"fc{i + 1}"]
            inputs.append(np.concatenate([(p[:, near] + q[:, near]) / 2, p[:, apart], q[:, apart]], 1))
            kinds.append(kind)
    return out


def pleas_networks():
    """A; B in A's order, as it is found by activations; B; and what they read."""
    a = network(1, 5, 6, 7, 3)
    dice = np.random.default_rng(7)
    near = {name: (t + dice.normal(0, 0.3, t.shape)).astype("<f4") for name, t in a.items()}
    orders = {0: dice.permutation(6), 1: dice.permutation(7)}
    b, x = reordered(near, orders), samples(3, 400)
    for name, model in (("a", a), ("b", b)):
        write(f"{name}/model.safetensors", model)
        pathlib.Path(f"{name}/config.json").write_text(json.dumps({"of": name, "torch_dtype": "float32"}))
    save_gram("g.safetensors", run_network(a, x)[0], run_network(b, x)[0])
    emr("fit", "match", "a", "b", "--gram", "g.safetensors", "--aligned", "aligned.safetensors")
    return a, read("aligned.safetensors"), b, x


PLEAS = ["fit", "pleas", "a", "b", "--gram", "g.safetensors"]


def test_pleas_is_least_squares():
    a, near, b, x = pleas_networks()
    for i, (words, merged) in enumerate((([], (6, 7)), (["--pairs", "hidden.0=4"], (4, 7)),
                                         (["--pairs", "*=50%"], (3, 4)), (["--pairs", "*=0", "--pairs", "hidden.1=100%"], (0, 7)))):
        result = emr(*PLEAS, *words, "-o", f"{i}/", "--json").json
        wanted = pleas(a, near, x, merged)
        same(read(f"{i}/model.safetensors"), wanted, 5e-5)
        assert {t["name"]: (tuple(t["shape"]), t["action"]) for t in result["tensors"]} == {
            name: (t.shape, "solve") for name, t in wanted.items()}
        assert json.loads(pathlib.Path(f"{i}/config.json").read_text())["of"] == "a"


def test_pleas_with_no_pair_is_the_ensemble():
    a, near, b, x = pleas_networks()
    for words in ([], ["--permutation", "p.safetensors"]):
        emr("fit", "match", "a", "b", "--gram", "g.safetensors", "-o", "p.safetensors", "--force")
        emr(*PLEAS, *words, "--pairs", "*=0", "-o", "out.safetensors", "--force")
        out = run_network(read("out.safetensors"), x)[1]
        assert np.abs(out - (run_network(a, x)[1] + run_network(b, x)[1]) / 2).max() < 1e-4


def test_pleas_of_each_model_s_own_outputs_is_regmean():
    a, near, b, x = pleas_networks()
    emr(*PLEAS, "--target", "separate", "-o", "out.safetensors")
    sites = [run_network(m, x)[0] for m in (a, near)]
    out = read("out.safetensors")
    for layer in sites[0]:
        rows = [np.concatenate([s[layer], np.ones((len(s[layer]), 1))], 1) for s in sites]
        targets = [r @ np.concatenate([m[f"{layer}.weight"].T, m[f"{layer}.bias"][None]]) for r, m in zip(rows, (a, near))]
        fitted = np.linalg.lstsq(np.concatenate(rows), np.concatenate(targets), rcond=None)[0]
        assert np.abs(out[f"{layer}.weight"] - fitted[:-1].T).max() < 5e-5, layer


def test_pleas_without_a_gram_averages():
    a, near, b, x = pleas_networks()
    result = emr("fit", "pleas", "a", "b", "-o", "out.safetensors", "--json").json
    emr("fit", "match", "a", "b", "--aligned", "by-weights.safetensors")
    near = read("by-weights.safetensors")
    same(read("out.safetensors"), {name: (a[name].astype(float) + near[name]) / 2 for name in a})
    assert {t["action"] for t in result["tensors"]} == {"mean"} and result["matched"]["groups"] == 2


def test_pleas_calls_that_are_wrong():
    pleas_networks()
    write("p.safetensors", {"hidden.0": np.zeros(6, "<u4")})
    save_gram("one.safetensors", {"fc1": samples(1, width=6)})
    save_gram("wide.safetensors", {"fc1": samples(1, width=8)}, {"fc1": samples(2, width=8)})
    for status, words, says in (
            (2, ["--pairs", "hidden.0"], ["GROUP=NUMBER"]), (2, ["--pairs", "=3"], ["GROUP=NUMBER"]),
            (2, ["--pairs", "hidden.0=7"], ["hidden.0", "0 to 6 pairs"]), (2, ["--pairs", "hidden.0=101%"], ["0% to 100%"]),
            (2, ["--pairs", "hidden.0=-1"], ["0 to 6 pairs"]), (2, ["--pairs", "hidden.0=1.5"], ["0 to 6 pairs"]),
            (2, ["--pairs", "hidden.0=x"], ["0 to 6 pairs"]), (2, ["--pairs", "hidden.7=1"], ["names no group of units"]),
            (2, ["--target", "both"], ["none of ensemble, separate"]), (2, ["--balance", "0.5"], ["unknown option"]),
            (1, ["--permutation", "p.safetensors"], ["p.safetensors", "hidden.0"]),
            (1, ["--gram", "one.safetensors"], ["one.safetensors", "of 1 models"]),
            (2, ["--memory", "1K"], ["memory"])):
        refused(status, *PLEAS[1:], *words, "-o", "o.safetensors", says=says)
    refused(1, "pleas", "a", "b", "--gram", "wide.safetensors", "-o", "o.safetensors", says=["fc1"])
    refused(1, "pleas", "a", "b", "--gram", "one.safetensors", "-o", "o.safetensors", says=["one.safetensors", "one of 2"])
    write("c.safetensors", network(3, 5, 8, 7, 3))
    refused(1, "pleas", "a", "c.safetensors", "-o", "o.safetensors", says=["c.safetensors"])
    refused(2, "pleas", "a", "-o", "o.safetensors", says=["two models", "not 1"])


def test_zipping_networks_that_are_one():
    a = network(1, 5, 6, 7, 3)
    b, x = reordered(a, {0: np.random.default_rng(1).permutation(6), 1: np.random.default_rng(2).permutation(7)}), samples(3)
    write("a.safetensors", a)
    write("b.safetensors", b)
    save_gram("g.safetensors", run_network(a, x)[0], run_network(b, x)[0])
    for words in ([], ["--gram", "g.safetensors"], ["--gram", "g.safetensors", "--balance", "0", "--within", "0"]):
        result = emr("fit", "zip", "a.safetensors", "b.safetensors", *words, "-o", "out.safetensors", "--force", "--json").json
        assert np.abs(run_network(read("out.safetensors"), x)[1] - run_network(a, x)[1]).max() < 1e-4
        assert abs(result["matched"]["value"] - 1) < 1e-6
    refused(2, "zip", "a.safetensors", "-o", "x.safetensors", says=["two or more models"])
    refused(2, "zip", "a.safetensors", "b.safetensors", "--balance", "0.5", "-o", "x.safetensors", says=["--gram"])
    refused(2, "zip", "a.safetensors", "b.safetensors", "--shrink", "2", "-o", "x.safetensors", says=["--shrink"])


# --- TSV-M and Iso-C


def nearest_orthonormal(x):
    u, _, v = np.linalg.svd(x, full_matrices=False)
    return u @ v


def spectral(method, base, tasks, scale):
    changes = [{name: t[name].astype(float) - base[name] for name in base} for t in tasks]
    merged = {}
    for name, w in base.items():
        if w.ndim != 2:
            merged[name] = w + scale * sum(c[name] for c in changes) / len(tasks)
        elif method == "iso_c":
            u, s, v = np.linalg.svd(sum(c[name] for c in changes), full_matrices=False)
            merged[name] = w + scale * s.mean() * u @ v
        else:
            k = min(w.shape) // len(tasks)
            parts = [np.linalg.svd(c[name], full_matrices=False) for c in changes]
            u, s, v = (np.concatenate([p[i][..., :k] if i == 0 else p[i][:k] for p in parts], 1 if i == 0 else 0) for i in range(3))
            merged[name] = w + scale * nearest_orthonormal(u) @ np.diag(s) @ nearest_orthonormal(v)
    return merged


def test_spectral_methods_are_their_formulas():
    base = network(1, 6, 8, 4)
    tasks = [{name: (t + np.random.default_rng(i).normal(0, 0.1, t.shape)).astype("<f4") for name, t in base.items()} for i in (5, 6)]
    for name, model in (("base", base), ("one", tasks[0]), ("two", tasks[1])):
        write(f"{name}/model.safetensors", model)
        pathlib.Path(f"{name}/config.json").write_text(json.dumps({"of": name}))
    words = ["fit", "spectral", "--base", "base", "--task", "one", "--task", "two"]
    for i, (method, scale) in enumerate((("iso_c", 1), ("tsv_m", 1), ("iso_c", 0.5), ("tsv_m", 0.3))):
        options = [] if scale == 1 else ["--scale", scale]
        done = subprocess.run([EMR, *map(str, [*words, "--method", method, *options, "-o", f"{i}/"])], capture_output=True, text=True)
        if "LAPACK" in done.stderr:  # a build without it says so
            assert done.returncode == 1 and not pathlib.Path(f"{i}").exists() and len(done.stderr.splitlines()) == 1, done.stderr
            continue
        assert done.returncode == 0, done.stderr
        same(read(f"{i}/model.safetensors"), spectral(method, base, tasks, scale), 1e-5)
        assert json.loads(pathlib.Path(f"{i}/config.json").read_text())["of"] == "base"
    refused(2, "spectral", "--base", "base", "--task", "one", "-o", "x", says=["--method tsv_m or --method iso_c"])
    refused(2, "spectral", "--method", "ties", "--base", "base", "--task", "one", "-o", "x", says=["tsv_m"])
    refused(2, "spectral", "--method", "iso_c", "--task", "one", "-o", "x", says=["--base"])
    refused(2, "spectral", "--method", "iso_c", "--base", "base", "-o", "x", says=["at least one --task"])


# --- Grams that are none


def test_grams_that_are_none():
    a, b, (x, y) = two_networks(5, 6, 3)
    metadata = {"format": "emr-gram", "version": "1", "widths.fc1": "6,6"}
    s = moments([x["fc1"], y["fc1"]])
    packed = s[np.triu_indices(13)]
    nan, no_rows = packed.copy(), packed.copy()
    nan[3], no_rows[-1] = np.nan, 0.5
    words = ["match", "a.safetensors", "b.safetensors", "--gram", "w.safetensors", "-o", "p.safetensors"]
    for tensors, of, says in (({"fc1.gram": packed}, {}, ["emr-gram"]),
                              ({"fc1.gram": packed}, {**metadata, "version": "2"}, ["emr-gram"]),
                              ({"fc1.gram": packed}, {"format": "emr-gram", "version": "1"}, ["fc1.gram", "widths"]),
                              ({"fc1.gram": packed}, {**metadata, "widths.fc1": "6,x"}, ["fc1.gram"]),
                              ({"fc1.gram": packed[1:]}, metadata, ["fc1.gram", "shape"]),
                              ({"fc1.gram": packed.astype("<f4")}, metadata, ["fc1.gram", "dtype"]),
                              ({"fc1.gram": nan}, metadata, ["fc1.gram", "NaN"]),
                              ({"fc1.gram": no_rows}, metadata, ["fc1.gram", "rows"]),
                              ({"other": packed}, metadata, ["other"]),
                              ({}, metadata, ["no sites"])):
        write("w.safetensors", tensors, of)
        refused(1, *words, says=["w.safetensors", *says])
    pathlib.Path("w.safetensors").write_bytes(b"nothing")
    refused(1, *words, says=["w.safetensors"])
    save_gram("w.safetensors", {"other": x["fc1"]}, {"other": y["fc1"]})
    refused(1, *words, says=["the gram has no site"])
    save_gram("w.safetensors", x)
    refused(1, *words, says=["w.safetensors", "of 1 models"])
    save_gram("w.safetensors", {"fc1": x["fc0"]}, {"fc1": y["fc0"]})
    refused(1, *words, says=["fc1", "hidden.0"])


# --- Surgery


def words_of(seed, n):
    """Words 0 to n - 1 of a seed, as docs/fitting.md draws them."""
    words, mask = [], 2**64 - 1
    for i in range(n):
        z = seed + (i + 1) * 0x9E3779B97F4A7C15 & mask
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
        words.append(z ^ z >> 31)
    return words


def fit_adapter(x, z, rank=16, steps=1000, batch=16, rate=1e-3, seed=0, squared=False):
    """D and U after so many steps of Adam."""
    n, d = x.shape
    down = np.array([(w >> 11) + 0.5 for w in words_of(seed, rank * d)]).reshape(rank, d) / 2**53
    p = [(2 * down - 1) / np.sqrt(d), np.zeros((d, rank))]
    m, v, order, taken, drawn = [0, 0], [0, 0], list(range(n)), n, iter(words_of(seed, (n - 1) * (steps * batch // n + 1)))
    for step in range(1, steps + 1):
        rows = []
        while batch < n and len(rows) < batch:
            if taken == n:
                for i in range(n, 1, -1):
                    k = next(drawn) % i
                    order[i - 1], order[k] = order[k], order[i - 1]
                taken = 0
            rows.append(order[taken])
            taken += 1
        rows = rows or order
        a = x[rows] @ p[0].T
        off = x[rows] - np.maximum(a, 0) @ p[1].T - z[rows]
        g = (2 * off if squared else np.sign(off)) / off.size
        for i, gradient in enumerate(((-(g @ p[1]) * (a > 0)).T @ x[rows], -g.T @ np.maximum(a, 0))):
            m[i], v[i] = 0.9 * m[i] + 0.1 * gradient, 0.999 * v[i] + 0.001 * gradient**2
            p[i] = p[i] - rate / (1 - 0.9**step) * m[i] / (np.sqrt(v[i]) / np.sqrt(1 - 0.999**step) + 1e-8)
    return p


def feature_files(n=40, d=6, kind="<f4"):
    dice = np.random.default_rng(3)
    x, z = dice.normal(0, 1, (n, d)).astype(kind), dice.normal(0, 1, (n, d)).astype(kind)
    write("x.safetensors", {"features": x})
    write("z.safetensors", {"features": z})
    return x.astype(float), z.astype(float)


SURGERY = ["fit", "surgery", "--merged", "x.safetensors", "--individual", "z.safetensors", "--place", "t.final"]


def l1_of(x, z, adapter):
    down, up = adapter["t.final.down.weight"].astype(float), adapter["t.final.up.weight"].astype(float)
    return np.abs(x - np.maximum(x @ down.T, 0) @ up.T - z).mean()


def test_surgery_is_its_formula():
    for kind, words, options in (
            ("<f4", [], {}), ("<f2", ["--seed", "7", "--rank", "3", "--batch", "7", "--steps", "90"], dict(seed=7, rank=3, batch=7, steps=90)),
            ("<f4", ["--batch", "1000", "--rate", "0.01", "--steps", "30", "--threads", "2"], dict(batch=40, rate=0.01, steps=30)),
            ("<f4", ["--loss", "squared", "--steps", "40"], dict(squared=True, steps=40))):
        x, z = feature_files(kind=kind)
        told = emr(*SURGERY, *words, "--force", "--json", "-o", "out.safetensors").json
        found = read("out.safetensors")
        down, up = fit_adapter(x, z, **options)
        same({"t.final.down.weight": down, "t.final.up.weight": up}, found, 1e-6)
        assert all(t.dtype == np.float32 for t in found.values())
        assert told["fitted"]["samples"] == 40 and told["fitted"]["steps"] == options.get("steps", 1000) and told["tensors"] == 2
        if "squared" not in options:
            assert abs(told["fitted"]["loss_before"] - np.abs(x - z).mean()) < 1e-12
            assert abs(told["fitted"]["loss_after"] - l1_of(x, z, found)) < 1e-6
        assert told["fitted"]["loss_after"] < told["fitted"]["loss_before"]


def test_surgery_of_tokens_and_named_features():
    x, z = feature_files()
    write("x.safetensors", {"h": x.reshape(10, 4, 6).astype("<f4")})
    write("z.safetensors", {"h": z.reshape(10, 4, 6).astype("<f4")})
    said = emr(*SURGERY, "--features", "h", "--steps", "20", "-o", "out.safetensors").out
    down, up = fit_adapter(x, z, steps=20)
    same({"t.final.down.weight": down, "t.final.up.weight": up}, read("out.safetensors"), 1e-6)
    assert "20 steps on 40 samples: loss " in said and "out.safetensors" in said
    assert emr(*SURGERY, "--features", "h", "--steps", "2", "--force", "--quiet", "-o", "out.safetensors").out == ""
    raw = pathlib.Path("out.safetensors").read_bytes()
    metadata = json.loads(raw[8:8 + struct.unpack_from("<Q", raw)[0]])["__metadata__"]
    assert metadata["emr.kind"] == "adapters" and metadata["emr.activation"] == "relu" and metadata["emr.sign"] == "-"


def test_surgery_calls_that_are_wrong():
    x, z = feature_files()
    out = ["-o", "out.safetensors"]
    for words, says in (
            (SURGERY[1:4] + SURGERY[6:], ["--individual FILE"]), (SURGERY[1:6], ["--place NAME"]), (SURGERY[1:], ["-o OUT is missing"]),
            ([*SURGERY[1:], "--rate", "0"], ["above 0"]), ([*SURGERY[1:], "--rank", "65537"], ["--rank"]),
            ([*SURGERY[1:], "--features", "h"], ["x.safetensors", "no tensor 'h'", "--features"]),
            ([*SURGERY[1:], "a.safetensors"], ["--merged and --individual"]), ([*SURGERY[1:], "--loss", "l3"], ["l1, squared"])):
        refused(2, *words, *(out if says != ["-o OUT is missing"] else []), says=says)
    for output in ("x.safetensors", "z.safetensors"):
        refused(2, *SURGERY[1:], "--force", "-o", output, says=["never written over"])
    write("z.safetensors", {"features": z[:30].astype("<f4")})
    refused(1, *SURGERY[1:], *out, says=["z.safetensors", "30 samples of 6", "40 of 6", "the same samples"])
    z[4, 2] = np.nan
    write("z.safetensors", {"features": z.astype("<f4")})
    refused(1, *SURGERY[1:], *out, says=["value 2 of row 4"])
    write("z.safetensors", {"features": np.arange(6, dtype="<u4").reshape(2, 3)})
    refused(1, *SURGERY[1:], *out, says=["z.safetensors", "holds no features"])
    write("z.safetensors", {"features": np.zeros(6, "<f4")})
    refused(1, *SURGERY[1:], *out, says=["z.safetensors", "holds no features"])


# --- Coefficients that were learned


def save_state(path, raw, groups, tensors, tasks, **metadata):
    """A state as docs and coefficients.h have it: raw [tasks, groups], the number of each tensor's group."""
    zeros = np.zeros_like(raw)
    said = {"emr.kind": "coefficients", "emr.map": "clamp", "emr.steps": "0", "emr.tasks": json.dumps(tasks),
            "emr.groups": json.dumps(groups), "emr.tensors": json.dumps(tensors), "emr.fixed": "[]"}
    return write(path, {"lambda": raw, "adam.m": zeros, "adam.v": zeros, "adam.t": zeros.astype("<i8")}, {**said, **metadata})


def elected(changes, keep):
    """AdaMerging++: the largest of each task over the whole model, and of these what has the sign of their sum. Continuous numbers:
    none are equal, no sum is 0."""
    flat = np.array([np.concatenate([c[name].ravel() for name in c]) for c in changes])
    least = -np.sort(-np.abs(flat), 1)[:, int(keep * flat.shape[1])]
    flat = np.where(np.abs(flat) < least[:, None], 0, flat)
    flat = np.where(flat * flat.sum(0) > 0, flat, 0)
    ends = np.cumsum([c.size for c in changes[0].values()])[:-1]
    return [{name: part.reshape(changes[0][name].shape) for name, part in zip(changes[0], np.split(row, ends))} for row in flat]


GROUPS = {"fc0.weight": 1, "fc0.bias": 0, "fc1.weight": 1}  # fc1.bias is left out


def learned(raw=((0.5, 1.25), (-0.25, 0.75)), **metadata):
    """A base, two tasks and a state of theirs."""
    base, dice = network(1, 6, 8, 4), np.random.default_rng(2)
    tasks = {name: {key: (t + dice.normal(0, 0.1, t.shape)).astype("<f4") for key, t in base.items()} for name in ("one", "two")}
    for name, model in {"base": base, **tasks}.items():
        write(f"{name}/model.safetensors", model)
        pathlib.Path(f"{name}/config.json").write_text(json.dumps({"of": name}))
    save_state("state.safetensors", np.array(raw), ["biases", "*.weight"], GROUPS, ["one", "two"], **metadata)
    return base, list(tasks.values())


MERGED = ["fit", "coefficients", "--base", "base", "--task", "one=one", "--task", "two=two", "--state", "state.safetensors"]


def test_coefficients_are_their_formula():
    softmax = lambda raw: np.exp(raw) / np.exp(raw).sum(0)
    maps = {"clamp": lambda raw: np.clip(raw, 0, 1), "free": lambda raw: raw, "softmax": softmax}
    for i, (name, keep) in enumerate((("clamp", 0), ("free", 0), ("softmax", 0), ("free", 0.3))):
        raw = np.array([[0.5, 1.25], [-0.25, 0.75]])
        base, tasks = learned(raw, **{"emr.map": name, **({"emr.keep": str(keep)} if keep else {})})
        lambdas = maps[name](raw)
        changes = [{key: t[key].astype(float) - base[key] for key in base if key in GROUPS} for t in tasks]
        changes = elected(changes, keep) if keep else changes
        wanted = {key: w + sum(lambdas[t, GROUPS[key]] * changes[t][key] for t in (0, 1)) if key in GROUPS else w
                  for key, w in base.items()}
        told = emr(*MERGED, "-o", f"{i}/", "--json").json
        found = read(f"{i}/model.safetensors")
        same(found, wanted)
        assert told["tensors"] == 4 and all(t.dtype == np.float32 for t in found.values())
        assert json.loads(pathlib.Path(f"{i}/config.json").read_text())["of"] == "base"
        for options in (["--threads", "3"], ["--memory", "16MiB"], ["--shard-size", "200"]):
            emr(*MERGED, *options, "--force", "-o", "again/")
            again = {}
            for path in sorted(pathlib.Path("again").glob("*.safetensors")):
                again.update(read(path))
            same({key: again[key] for key in found}, found, 0)


def test_tasks_of_coefficients_are_found_by_name():
    base, tasks = learned()
    emr(*MERGED, "-o", "out.safetensors")
    emr(*MERGED[:4], "--task", "two=two", "--task", "one=one", *MERGED[8:], "-o", "turned.safetensors")
    same(read("turned.safetensors"), read("out.safetensors"))
    out = ["-o", "x.safetensors"]
    refused(1, *MERGED[1:6], *MERGED[8:], *out, says=["state.safetensors", "a task 'two'"])
    refused(1, *MERGED[1:], "--task", "three=two", *out, says=["state.safetensors", "no task 'three'"])
    refused(1, *MERGED[1:6], "--task", "three=two", *MERGED[8:], *out, says=["state.safetensors", "'two'"])


def test_coefficients_calls_that_are_wrong():
    base, tasks = learned()
    out = ["-o", "x.safetensors"]
    refused(2, *MERGED[1:8], *out, says=["--state FILE"])
    refused(2, "coefficients", *MERGED[4:], *out, says=["--base CHECKPOINT"])
    refused(2, *MERGED[1:4], *MERGED[8:], *out, says=["at least one --task"])
    refused(2, *MERGED[1:], says=["-o OUT is missing"])
    refused(2, *MERGED[1:], "--force", "-o", "state.safetensors", says=["never written over"])
    refused(3, *MERGED[1:8], "--state", "none.safetensors", *out, says=["none.safetensors"])
    refused(1, *MERGED[1:8], "--state", "base/model.safetensors", *out, says=["base/model.safetensors", "no state of coefficients"])
    write("one/model.safetensors", {name: t for name, t in tasks[0].items() if name != "fc0.bias"})
    refused(1, *MERGED[1:], *out, says=["one", "fc0.bias", "is absent"])
    learned()
    write("base/model.safetensors", {name: t for name, t in base.items() if name != "fc1.weight"})
    refused(1, *MERGED[1:], *out, says=["base", "fc1.weight", "another base"])
    learned()
    for change, says in (({"emr.tensors": '{"fc0.weight": 2}'}, ["fc0.weight"]), ({"emr.tensors": "[]"}, ["emr.tensors"]),
                         ({"emr.tensors": '{"fc0.weight": 0}'}, ["no tensors"]), ({"emr.groups": '["a", "a"]'}, ["emr.groups"]),
                         ({"emr.keep": "2"}, ["emr.keep"]), ({"emr.map": "other"}, ["emr.map"]), ({"emr.fixed": "[2]"}, ["emr.fixed"])):
        learned(**change)
        refused(1, *MERGED[1:], *out, says=["state.safetensors", *says])
    learned(((np.nan, 1), (1, 1)))
    refused(1, *MERGED[1:], *out, says=["state.safetensors", "not finite"])


# --- What all commands have in common


def test_match_calls_that_are_wrong():
    two_networks(5, 6, 3)
    gram, ab = ["--gram", "g.safetensors"], ["a.safetensors", "b.safetensors"]
    for words, says in (
            (["a.safetensors", "-o", "p"], ["two models, A and B", "not 1"]), ([*ab, "a.safetensors", "-o", "p"], ["not 3"]),
            (ab, ["--aligned OUT is missing"]), ([*ab, "--by", "activations", "-o", "p"], ["--gram FILE is missing"]),
            ([*ab, "--by", "weights", *gram, "-o", "p"], ["reads no gram"]),
            ([*ab, *gram, "--balance", "0.5", "-o", "p"], ["--by both"]),
            ([*ab, *gram, "--by", "both", "--balance", "2", "-o", "p"], ["from 0 to 1"]),
            ([*ab, "--by", "colour", "-o", "p"], ["none of weights, activations, both"]),
            ([*ab, "--rounds", "0", "-o", "p"], ["--rounds"]), ([*ab, "--task", "a", "-o", "p"], ["unknown option"]),
            ([*ab, "--aligned", "-"], ["standard output"]), ([*ab, "-o", "x.safetensors", "--aligned", "x.safetensors"], ["the same"]),
            ([*ab, "--memory", "x", "-o", "p"], ["--memory"]), ([*ab, "--seed", "-1", "-o", "p"], ["--seed"]),
            ([*ab, "-o", "-", "--json"], ["--json"])):
        refused(2, "match", *words, says=says)
    refused(2, says=["emr fit --help"])
    refused(2, "frob", says=["frob", "unknown command"])
    refused(2, "permute", "a.safetensors", "-o", "o", says=["--permutation FILE or --random SEED"])
    refused(2, "permute", "a.safetensors", "--random", "1", "--permutation", "p", "-o", "o", says=["either"])
    refused(2, "permute", "a.safetensors", "--random", "x", "-o", "o", says=["--random"])
    refused(2, "permute", "a.safetensors", "--random", "1", says=["-o OUT is missing"])
    refused(1, "match", "a.safetensors", "g.safetensors", "-o", "p.safetensors", says=["g.safetensors"])


def test_weights_that_are_not_finite():
    a = network(1, 5, 6, 3)
    write("a.safetensors", a)
    write("b.safetensors", {**a, "fc0.bias": a["fc0.bias"] * np.float32("nan")})
    refused(1, "match", "a.safetensors", "b.safetensors", "-o", "p.safetensors", says=["b.safetensors", "hidden.0", "NaN"])
    refused(1, "zip", "a.safetensors", "b.safetensors", "-o", "p.safetensors", says=["NaN"])


def test_inputs_stay():
    two_networks(5, 6, 3)
    emr("fit", "spec", "a.safetensors", "-o", "s.json")
    emr("fit", "match", "a.safetensors", "b.safetensors", "-o", "p.safetensors")
    os.symlink("g.safetensors", "link.safetensors")
    shutil.copy("p.safetensors", "start.safetensors")
    words = ["match", "a.safetensors", "b.safetensors", "--gram", "g.safetensors", "--spec", "s.json", "--start", "start.safetensors",
             "--force"]
    for output in ("a.safetensors", "b.safetensors", "g.safetensors", "s.json", "start.safetensors", "link.safetensors"):
        refused(2, *words, "-o", output, says=["never written over"])
        refused(2, *words, "--aligned", output, says=["never written over"])
    for command in (["spec", "a.safetensors"], ["permute", "a.safetensors", "--random", "1"]):
        refused(2, *command, "--force", "-o", "a.safetensors", says=["never written over"])
    refused(2, "regmean", "--task", "a.safetensors", "--gram", "a=g.safetensors", "--force", "-o", "g.safetensors",
            says=["never written over"])


def test_threads_and_memory_change_nothing():
    pleas_networks()
    for i, options in enumerate((["--threads", "1"], ["--threads", "3"], ["--memory", "16MiB"])):
        emr(*PLEAS, "--pairs", "*=50%", *options, "-o", f"{i}.safetensors")
        emr("fit", "zip", "a", "b", "--gram", "g.safetensors", *options, "-o", f"zip{i}.safetensors")
    for name in ("", "zip"):
        assert len({pathlib.Path(f"{name}{i}.safetensors").read_bytes() for i in range(3)}) == 1


def test_dtypes_shards_and_standard_output():
    a, near, b, x = pleas_networks()
    emr(*PLEAS, "--out-dtype", "f16", "-o", "half/")
    wanted = read("half/model.safetensors")
    emr(*PLEAS, "-o", "whole.safetensors")
    assert {t.dtype.str for t in wanted.values()} == {"<f2"}
    same(wanted, read("whole.safetensors"), 1e-3)
    assert json.loads(pathlib.Path("half/config.json").read_text())["torch_dtype"] == "float16"
    emr(*PLEAS, "--shard-size", "200", "-o", "shards/")
    assert len(list(pathlib.Path("shards").glob("model-*.safetensors"))) > 1
    with open("piped", "wb") as file:
        emr(*PLEAS, "-o", "-", stdout=file)
    assert pathlib.Path("piped").read_bytes() == pathlib.Path("whole.safetensors").read_bytes()
    refused(2, *PLEAS[1:], "-o", "-", "--shard-size", "200", says=["neither --json nor --shard-size"])
    assert emr(*PLEAS, "-o", "whole.safetensors", "--force", "--quiet").out == ""
    refused(2, *PLEAS[1:], "-o", "whole.safetensors", says=["already exists", "--force"])


COMMANDS = {
    "spec": "--spec --residual --dry-run --dequantise --force",
    "match": "--by --gram --balance --similarity --start --seed --rounds --patience --aligned --spec --residual",
    "permute": "--permutation --random --inverse --spec --residual",
    "regmean": "--task --gram --off-diagonal --ridge --bias --weigh --exclude --tasks --rename --dry-run --spec --residual",
    "pleas": "--gram --permutation --pairs --target --ridge --exclude --dry-run --spec --residual",
    "zip": "--gram --balance --shrink --within --seed --rounds --patience --spec --residual",
    "spectral": "--method --base --task --scale --tasks --rename --no-side-files",
    "coefficients": "--base --task --state --tasks --rename --no-side-files",
    "surgery": "--merged --individual --features --place --rank --steps --batch --rate --loss --seed --threads --force",
}
MERGES = ("regmean", "pleas", "zip", "spectral")
EVERYWHERE = "--dequantise --shard-size --memory --threads --force"


def test_help_is_complete():
    overview = emr("fit", "--help").out
    assert "emr fit" in emr("--help").out
    assert overview == emr("help", "fit").out
    everything = {option for words in COMMANDS.values() for option in words.split()} | {*EVERYWHERE.split(), "--out-dtype"}
    for command, words in COMMANDS.items():
        assert f"emr fit {command} " in overview
        text = emr("fit", command, "--help").out
        assert text == emr("help", "fit", command).out and text.startswith(f"emr fit {command} ")
        own = {*words.split(), *(EVERYWHERE.split() if command not in ("spec", "surgery") else []),
               *(["--out-dtype"] if command in MERGES else []), "--json", "--quiet", "--help"}
        told = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)) - {"--permute"}
        assert own <= told, (command, own - told)
        for option in everything:
            result = subprocess.run([EMR, "fit", command, option], capture_output=True, text=True)
            assert result.returncode == 2 and ("unknown option" in result.stderr) == (option not in own), (command, option)


run(globals())

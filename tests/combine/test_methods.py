"""test_methods.py EMR - `emr combine` on random models against reference.py: every method, every parameter, all float dtypes,
ranks 0 to 4, with ties, zeros, -0, empty tensors, one to nine tasks; the same for any threads and memory."""
import fnmatch
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "program"))
import reference as ref
from models import Model, Task, as_inputs
from program import emr, run

SMALL = [(), (1,), (0, 3), (7,), (1, 9), (9, 1), (5, 8), (3, 4, 5), (2, 3, 2, 4), (64, 33)]
LARGE = [(70001,), (300, 200), (16384,), (3, 40, 301), (2, 20000)]
RESOURCES = [[], ["--threads", 1], ["--threads", 5, "--memory", "8MiB"], ["--threads", 2, "--memory", "64MiB"]]
ROOMY = [r for r in RESOURCES if "8MiB" not in r]  # where a row is long

WEIGHTS, LAMBDAS, DENSITIES, FLAG = [1, 0.3, 0.75, 2.5, 0.1], [1, 0.3, -1.5, 0], [0, 0.2, 0.29, 0.5, 0.97, 1], [0, 1]
FAMILY = {"weight": [*WEIGHTS, -0.5, 0], "lambda": LAMBDAS, "normalize": FLAG}
DROPS = {**FAMILY, "density": DENSITIES, "rescale": [0, 1, 2]}
ROWS = {**DROPS, "density": [0.2, 0.29, 0.5, 0.8, 1], "epsilon": [0, 0.05, 0.15]}
CUTS = {**FAMILY, "density": DENSITIES, "rescale": FLAG}
OUTLIERS = {**CUTS, "gamma": [0, 0.01, 0.3, 1]}
VALUES = {"task_arithmetic": FAMILY, "ties": CUTS, "breadcrumbs": OUTLIERS, "breadcrumbs_ties": OUTLIERS,
          "dare_linear": DROPS, "dare_ties": DROPS, "della": ROWS, "della_linear": ROWS,
          "ties_model": {"density": [0, 0.01, 0.2, 0.5, 1], "lambda": LAMBDAS, "merge_func": [0, 1, 2]},
          "linear": {"weight": WEIGHTS, "normalize": FLAG}, "passthrough": {"scale": [1, 0, -0.3, 2]},
          "slerp": {"t": [0, 0.25, 0.5, 1]}, "nuslerp": {"weight": WEIGHTS, "nuslerp_flatten": FLAG, "nuslerp_row_wise": FLAG},
          "multislerp": {"weight": WEIGHTS, "normalize_weights": FLAG, "eps": [1e-8, 1e-3]},
          "karcher": {"max_iter": [1, 10, 40], "tol": [1e-5, 1e-3]}, "model_stock": {"filter_wise": FLAG},
          "nearswap": {"t": [0, 0.001, 0.05, 3]}, "arcee_fusion": {}, "ram": {"epsilon": [0, 1e-5, 0.05]},
          "ramplus_tl": {"epsilon": [0, 1e-5, 0.05], "r": [0, 0.1, 3], "alpha": [0, 0.2, 1]}, "magmax": {"lambda": LAMBDAS},
          "consensus": {"tall": [0, 0.4, 0.5, 1, 3], "k": [1, 2, 4], "lambda": LAMBDAS},
          "sce": {"select_topk": [0, 0.1, 0.5, 1], "uniform_below": [0, 1e-6, 0.5]}}
REQUIRED, INPUT, OPTIONAL = "required", "input", "optional"


def methods():
    return {m["name"]: m for m in emr("combine", "--methods", "--json").json["methods"]}


def test_the_reference_knows_every_method_and_parameter():
    ref.known_answers()
    told = methods()
    assert set(told) == set(ref.METHODS) == set(VALUES)
    for name, method in told.items():
        assert {p["name"] for p in method["parameters"]} == set(VALUES[name]), name


def draw_settings(dice, method, tasks, base_is_input, tensors):
    """A value for everything, then some for single tasks, and some for single tensors. (task or None, parameter, value, glob)"""
    settings = []
    for p in method["parameters"]:
        values = VALUES[method["name"]][p["name"]]
        settings.append((None, p["name"], dice.choice(values), None))
        if p["per_task"]:
            for name in [*tasks, *["base"] * base_is_input]:
                if dice.random() < 0.6:
                    settings.append((name, p["name"], dice.choice(values), None))
        if method["name"] != "ties_model" and dice.random() < 0.5:
            settings.append((dice.choice(tasks) if p["per_task"] else None, p["name"], dice.choice(values), "*" + dice.choice(tensors)[-9:]))
    return settings


def in_words(settings):
    return [w for task, name, value, glob in settings
            for w in ("--set", (f"{task}." if task else "") + f"{name}={float(value)!r}" + (f":{glob}" if glob else ""))]


def value_of(settings, tensor, task):
    def value(parameter):
        return [float(v) for who, name, v, glob in settings
                if name == parameter and who in (None, task) and (not glob or fnmatch.fnmatchcase(tensor, glob))][-1]
    return value


def described(model, tasks, settings, seed, name, method):
    """The tensor as the definitions see it, and whether what they compute is added to the base in F64."""
    kind = method["base"]
    adds = (kind == REQUIRED or kind == OPTIONAL and model is not None) and method["name"] not in ref.BESIDE
    present = [t for t in tasks if name in t.model.tensors]
    inputs, wide = as_inputs(model if adds else None, [t.model for t in present], name)
    names = [t.name for t in present]
    if kind == INPUT and model is not None:
        first, _ = as_inputs(None, [model], name)
        inputs, names = first + inputs, ["", *names]
    lookups = [value_of(settings, name, n or "base") for n in names]
    base = model.values(name).astype(np.float32) if kind == REQUIRED else None
    return ref.Tensor(name, inputs, names, lambda p, i: lookups[i](p), base, seed), adds, wide and adds


def compare(got, dtype, result, base, wide):
    """A sentence about what is wrong, or None. In the order of what happens: out, the sum with the base, one rounding."""
    def lies_within(out):
        # weights that nearly cancel out: beyond the largest number is infinity, or the largest
        beyond = ref.LARGEST[dtype]
        return agrees(out) | (np.abs(out) > beyond) & (np.abs(got) >= beyond) & (np.sign(out) == np.sign(got))

    def agrees(out):
        exact = isinstance(result.slack, float) and result.slack == 0
        if exact:
            total = out if base is None else base + out if wide else (base.astype(np.float32) + out.astype(np.float32))
            return got == ref.nearest(dtype, np.asarray(total, np.float64))
        total = out if base is None else base + out
        room = result.slack + (0 if wide else ref.unit("F32", total) / 2) + ref.unit(dtype, np.maximum(np.abs(total), np.abs(got))) / 2
        return np.abs(got - total) <= room * (1 + 1e-9)
    fine = lies_within(result.out)
    if result.doubtful is not None:
        fine = fine | result.doubtful & lies_within(result.other)
    if np.all(fine):
        return None
    where = tuple(int(i[0]) for i in np.nonzero(~np.atleast_1d(fine)))
    at = where if got.ndim else ()
    return f"{np.sum(~np.asarray(fine))} of {got.size} wrong, first {where}: {got[at]!r}, wanted {(result.out + (0 if base is None else base))[at]!r}"


def check(method, model, tasks, settings, seed=0, more=(), out_dtype=None):
    """Combines by the program and by the reference."""
    name = method["name"]
    words = ["combine", "--method", name, "--seed", seed, *(["--base", model.path] if model else []),
             *[w for t in tasks for w in ("--task", f"{t.name}={t.model.path}")], *in_words(settings), *more,
             *(["--out-dtype", out_dtype.lower()] if out_dtype else []), "--force", "--quiet", "-o", "out.safetensors"]
    emr(*words)
    out, origin = Model.read("out.safetensors"), model or tasks[0].model
    said = f"emr {' '.join(map(str, words))}\n"
    assert list(out.tensors) == list(origin.tensors), said
    seen = {n: described(model, tasks, settings, seed, n, method) for n in origin.tensors if origin.values(n).size}
    if name == "ties_model":
        of_model = ref.model_of_ties([seen[n][0] for n in sorted(seen)])
    for n, (dtype, shape, _) in out.tensors.items():
        assert dtype == (out_dtype or origin.tensors[n][0]) and shape == origin.tensors[n][1], said + n
        if n not in seen:
            continue
        tensor, adds, wide = seen[n]
        if name == "ties_model":
            tensor.model = of_model
        with np.errstate(all="ignore"):
            wrong = compare(out.values(n), dtype, ref.METHODS[name](tensor), model.values(n) if adds else None, wide)
        assert not wrong, f"{said}{n} {dtype} {shape}: {wrong}"


def usable(method, settings, model, tasks):
    """Weights that cancel out are refused where they divide: that is tested by itself."""
    divisor = {"normalize": "normalize", "normalize_weights": "normalize_weights"}
    flags = [p["name"] for p in method["parameters"] if p["name"] in divisor]
    if not flags:
        return True
    for n in (model or tasks[0].model).tensors:
        sums = sum(value_of(settings, n, t.name)("weight") for t in tasks if n in t.model.tensors)
        if abs(sums) < 1e-3:
            return False
    return True


def random_case(seed, name, shapes, dtypes=None):
    import random
    dice, method = random.Random(f"{name} {seed}"), methods()[name]
    most = min(method["max_tasks"] or 9, 9)
    n = dice.randint(max(1, method["min_tasks"]), most)
    kind, with_base = method["base"], method["base"] == REQUIRED
    if kind == OPTIONAL or kind == INPUT and name != "passthrough":
        with_base = dice.random() < 0.5
    if name == "slerp":
        n = 1 if with_base else 2
    base = Model.random("base.safetensors", seed, shapes, dice.choice(["mixed", *ref.BITS]) if dtypes is None else dtypes)
    tasks = [Task(f"task{i}", base.changed(f"t{i}.safetensors", seed * 100 + i, dice.random() < 0.3)) for i in range(n)]
    more, out_dtype = list(dice.choice(RESOURCES if shapes is SMALL else ROOMY)), dice.choice([None, None, None, "F32", "F16", "BF16"])
    if n > 1 and name not in ("ties_model", "slerp", "nuslerp", "model_stock", "karcher") and dice.random() < 0.3:
        tasks[-1].model.drop(dice.choice(list(base.tensors)))
        more += ["--on-missing", "absent"]
    while True:
        settings = draw_settings(dice, method, [t.name for t in tasks], kind == INPUT and with_base, list(base.tensors))
        if usable(method, settings, base if with_base else None, tasks):
            break
    check(method, base if with_base else None, tasks, settings, dice.getrandbits(64), more, out_dtype)


def test_small_tensors_of_all_dtypes_and_ranks():
    for name in methods():
        for seed in range(3):
            random_case(seed, name, SMALL)


def test_large_tensors():
    for name in methods():
        random_case(1000, name, LARGE, "F32")


if __name__ == "__main__":
    run(globals())

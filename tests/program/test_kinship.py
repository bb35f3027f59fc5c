"""test_kinship.py EMR - `emr kinship` against the definitions, computed here with exact sums (math.fsum): numbers, groups,
what the published program does otherwise, bundles, pictures, and what is refused."""
import math
import pathlib
import random
import xml.dom.minidom

from program import *

SHAPES = {"lm_head.weight": [6, 5], "model.embed_tokens.weight": [9, 5], "model.layers.0.self_attn.q_proj.weight": [5, 5],
          "model.layers.0.mlp.down_proj.weight": [5, 7], "model.layers.1.self_attn.q_proj.weight": [5, 5], "model.norm.weight": [5]}
NAMES = ["ann", "ben", "cat", "dan"]


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def world(seed, zero=None):
    """base, tasks as dicts of lists; written to files, too."""
    dice = random.Random(seed)
    numbers = lambda spread: {n: [f32(dice.gauss(0, spread)) for _ in range(math.prod(s))] for n, s in SHAPES.items()}
    base, tasks = numbers(1), {}
    for i, name in enumerate(NAMES):
        changes = numbers(0.1)
        tasks[name] = {n: [f32(w + (0 if (name, n) == zero else c)) for w, c in zip(base[n], changes[n])] for n in SHAPES}
    for name, model in [("base", base), *tasks.items()]:
        save(f"{name}.safetensors", {n: (SHAPES[n], v) for n, v in model.items()})
    return base, tasks


WORDS = ["kinship", "--base", "base.safetensors", *[w for n in NAMES for w in ("--task", f"{n}.safetensors")]]


def vectors(base, tasks, names=SHAPES, rows=None):
    """A task's task vector over some tensors."""
    cut = lambda n: rows * math.prod(SHAPES[n][1:]) if rows else None
    return [[f32(x - y) for n in names for x, y in zip(task[n][:cut(n)], base[n][:cut(n)])] for task in tasks.values()]


def pearson(x, y):
    n, a, b = len(x), math.fsum(x) / len(x), math.fsum(y) / len(x)
    return cosine([v - a for v in x], [v - b for v in y])


def cosine(x, y):
    xy, xx, yy = (math.fsum(a * b for a, b in zip(p, q)) for p, q in ((x, y), (x, x), (y, y)))
    return xy / math.sqrt(xx * yy) if xx and yy else None


def euclid(x, y):
    return math.sqrt(math.fsum((a - b) ** 2 for a, b in zip(x, y)))


METRICS = {"pearson": pearson, "cosine": cosine, "euclid": euclid}


def assert_matrix(got, taus, metric, absolute=False):
    for i, x in enumerate(taus):
        for j, y in enumerate(taus):
            want = metric(x, y)
            want = abs(want) if absolute and want is not None else want
            if want is None:
                assert got[i][j] is None, (i, j, got[i][j])
            else:
                assert abs(got[i][j] - want) <= 1e-12 * max(1, abs(want)), (i, j, got[i][j], want)


def test_metrics_and_moments_are_their_definitions():
    base, tasks = world(1)
    taus = vectors(base, tasks)
    for name, metric in METRICS.items():
        told = emr(*WORDS, "--metric", name, "--quantiles", "0.5,1,0.25", "--json").json
        assert (told["metric"], told["per"], told["published"], told["heat_map"]) == (name, "model", [], None)
        assert sorted(told["order"]) == sorted(NAMES)
        group, = told["groups"]
        assert_matrix(group["kinship"], taus, metric)
        pairs = [group["kinship"][i][j] for i in range(4) for j in range(i + 1, 4)]
        assert abs(group["mean"] - math.fsum(pairs) / 6) < 1e-14
        assert group["params"] == len(taus[0]) and group["tensors"] == len(SHAPES)
        for told_task, task, x in zip(group["tasks"], NAMES, taus):
            n, squares = len(x), math.fsum(v * v for v in x)
            sizes = sorted(map(abs, x))
            assert told_task["name"] == task and told_task["zeros"] == sum(v == 0 for v in x)
            assert told_task["largest"] == sizes[-1]
            assert told_task["quantiles"] == [sizes[math.ceil(f * n) - 1] for f in (0.5, 1, 0.25)]
            for key, want in (("norm", math.sqrt(squares)), ("mean_magnitude", math.fsum(sizes) / n), ("mean", math.fsum(x) / n),
                              ("kurtosis", n * math.fsum(v ** 4 for v in x) / squares ** 2)):
                assert abs(told_task[key] - want) <= 1e-12 * max(1, abs(want)), key
        agree = sum(a * b > 0 for a, b in zip(taus[0], taus[1])) / sum(a * b != 0 for a, b in zip(taus[0], taus[1]))
        assert group["sign_agreement"][0][1] == agree
        assert group["conflicts"] == sum(min(c) < 0 < max(c) for c in zip(*taus))
        assert group["unchanged"] == sum(not any(c) for c in zip(*taus))


def test_groups_are_tensors_layers_and_kinds():
    base, tasks = world(2)
    layer = lambda i: [n for n in SHAPES if f"layers.{i}." in n]
    q = [n for n in SHAPES if "q_proj" in n]
    wanted = {"tensor": {n: [n] for n in SHAPES},
              "layer": {"0": layer(0), "1": layer(1), "": [n for n in SHAPES if "layers" not in n]},
              "kind": {"q": q, "down": ["model.layers.0.mlp.down_proj.weight"], "norm": ["model.norm.weight"],
                       "embed": ["model.embed_tokens.weight"], "head": ["lm_head.weight"]}}
    for per, groups in wanted.items():
        told = emr(*WORDS, "--per", per, "--json").json["groups"]
        assert [g["name"] for g in told] == list(groups), per
        for group, names in zip(told, groups.values()):
            assert_matrix(group["kinship"], vectors(base, tasks, names), pearson)
        text = emr(*WORDS, "--per", per).out
        assert all((name or "(no layer)") in text for name in groups)


def rounded(x):
    end = max(map(abs, x))
    half_even = lambda v: max(-127, min(127, round(v)))
    return [half_even(f32(127 * f32(v / end))) for v in x] if end else x


def test_the_published_program_can_be_had():
    base, tasks = world(3, zero=("ben", "model.norm.weight"))
    told = emr(*WORDS, "--metric", "cosine", "--published", "absolute", "--json").json
    assert told["published"] == ["absolute"]
    assert_matrix(told["groups"][0]["kinship"], vectors(base, tasks), cosine, absolute=True)
    told = emr(*WORDS, "--published", "rows", "--json").json
    assert_matrix(told["groups"][0]["kinship"], vectors(base, tasks, rows=6), pearson)
    told = emr(*WORDS, "--published", "low-precision", "--metric", "euclid", "--json").json
    assert_matrix(told["groups"][0]["kinship"], [rounded(x) for x in vectors(base, tasks)], euclid)
    for metric, low in (("cosine", False), ("euclid", False), ("pearson", True)):
        told = emr(*WORDS, "--metric", metric, "--published", "split" + ",low-precision" * low, "--json").json
        per = {n: [rounded(x) if low else x for x in vectors(base, tasks, [n])] for n in SHAPES}
        for i in range(4):
            for j in range(i):
                found = [(METRICS[metric](x[i], x[j]), len(x[i])) for x in per.values()]
                found = [(v, n) for v, n in found if v is not None]
                want = math.fsum(v * n for v, n in found) / sum(n for _, n in found)
                assert abs(told["groups"][0]["kinship"][i][j] - want) < 1e-12, (metric, i, j)


def test_tensors_that_a_task_lacks():
    base, tasks = world(4)
    few = {n: (SHAPES[n], v) for n, v in tasks["ann"].items() if n != "model.norm.weight"}
    save("ann.safetensors", few)
    emr(*WORDS, status=1).says("task 'ann'", "model.norm.weight")
    names = [n for n in SHAPES if n != "model.norm.weight"]
    told = emr(*WORDS, "--published", "missing", "--json").json
    assert_matrix(told["groups"][0]["kinship"], vectors(base, tasks, names), pearson)
    told = emr(*WORDS, "--private", "model.norm.weight", "--json").json
    assert_matrix(told["groups"][0]["kinship"], vectors(base, tasks, names), pearson)
    tasks["ann"]["model.norm.weight"] = base["model.norm.weight"]
    told = emr(*WORDS, "--on-missing", "base", "--json").json
    assert_matrix(told["groups"][0]["kinship"], vectors(base, tasks), pearson)


def test_nothing_is_none():
    base, tasks = world(5, zero=("cat", "model.norm.weight"))
    told = emr(*WORDS, "--per", "tensor", "--json").json["groups"][-1]
    assert told["kinship"][2] == [None] * 4 and told["mean"] is None and told["tasks"][2]["kurtosis"] is None
    assert "none" in emr(*WORDS, "--per", "tensor").out


def test_a_bundle_is_what_its_modulators_give():
    world(6)
    words = [*WORDS[1:], "--modulator", "ternary", "-o", "all.emr"]
    emr("merge", *words)
    for name in NAMES:
        emr("apply", "all.emr", "--base", "base.safetensors", "--task", name, "-o", f"{name}2.safetensors")
    rebuilt = emr("kinship", "--base", "base.safetensors", *[w for n in NAMES for w in ("--task", f"{n}={n}2.safetensors")], "--json")
    assert emr("kinship", "all.emr", "--base", "base.safetensors", "--json").json == rebuilt.json
    emr("kinship", "all.emr", status=2).says("all.emr: the base is not embedded: --base")
    emr("merge", *words, "--embed-base", "--force")
    assert emr("kinship", "all.emr", "--json").json == rebuilt.json


def test_heat_maps_are_svg_with_every_number():
    world(7)
    told = emr(*WORDS, "--metric", "cosine", "--heat-map", "map.svg", "--json").json
    document = xml.dom.minidom.parse("map.svg").documentElement
    texts = ["".join(n.data for n in t.childNodes if n.nodeType == n.TEXT_NODE) for t in document.getElementsByTagName("text")]
    order = [NAMES.index(n) for n in told["order"]]
    cells = [told["groups"][0]["kinship"][i][j] for i in order for j in order]
    assert [t for t in texts if t in NAMES] == [n for n in told["order"] for _ in range(2)]
    shown = [t for t in texts if len(t) in (4, 5) and t[-3] == "."]
    assert [float(t) for t in shown[:16]] == [round(v, 2) + 0 for v in cells]
    assert "prefers-color-scheme:dark" in document.toxml() and told["heat_map"] == "map.svg"
    emr(*WORDS, "--heat-map", "map.svg", status=2).says("map.svg")
    emr(*WORDS, "--heat-map", "map.svg", "--force")
    assert emr(*WORDS, "--heat-map", "-").out.startswith("<svg")


def test_names_are_text_in_pictures():
    world(8)
    name = "a<b>&\"c"
    emr("kinship", "--base", "base.safetensors", "--task", f"{name}=ann.safetensors", "--task", "ben.safetensors", "--heat-map", "m.svg")
    document = xml.dom.minidom.parse("m.svg").documentElement
    assert any(name == t.firstChild.data for t in document.getElementsByTagName("text") if t.firstChild)


def test_like_tasks_stand_side_by_side():
    base = [0.0] * 8
    save("base.safetensors", {"w": base})
    for name, values in {"a": [1, 0, 0, 0], "b": [0, 0, 1, 0], "c": [1, 0.1, 0, 0], "d": [0, 0, 1, 0.1]}.items():
        save(f"{name}.safetensors", {"w": [*map(float, values), 0.0, 0.0, 0.0, 0.0]})
    order = emr("kinship", "--base", "base.safetensors", *[w for n in "abcd" for w in ("--task", f"{n}.safetensors")], "--json").json["order"]
    assert {frozenset(order[:2]), frozenset(order[2:])} == {frozenset("ac"), frozenset("bd")}


def test_tasks_without_changes():
    world(11)
    words = ["kinship", "--base", "base.safetensors", "--task", "a=base.safetensors", "--task", "b=ann.safetensors"]
    told = emr(*words, "--json", "--heat-map", "m.svg").json["groups"][0]
    assert told["kinship"][0] == [None, None] and told["mean"] is None and told["tasks"][0]["kurtosis"] is None
    text = emr(*words).out
    assert "none" in text and "nan" not in text.lower()
    assert "1 task," in emr(*words[:5]).out


def test_what_cannot_be_is_refused():
    world(9)
    pathlib.Path("folder").mkdir()
    emr("kinship", "--base", "base.safetensors", "folder", status=2).says("folder: a folder and no bundle", "--task folder")
    emr(*WORDS, "--heat-map", "m.png", status=2).says("the picture is SVG")
    emr(*WORDS, "--metric", "dot", status=2).says("none of pearson, cosine, euclid")
    emr("kinship", "--task", "ann.safetensors", status=2).says("--base CHECKPOINT is missing")
    emr("kinship", "--base", "base.safetensors", status=2).says("at least one --task")
    emr(*WORDS, "x.emr", status=2).says("either a BUNDLE or --task")
    emr(*WORDS, "--published", "absolut", status=2).says("'absolut' has a word that is none of absolute, rows")
    emr(*WORDS, "--published", "split", "--per", "layer", status=2).says("of the model alone")
    emr(*WORDS, "--quantiles", "0.5,2", status=2).says("must be numbers from 0 to 1")
    emr(*WORDS, "--quantiles", "0.5", "--published", "low-precision", status=2).says("--quantiles does not go with")
    emr(*WORDS, "--heat-map", "-", "--json", status=2).says("does not go with --json")
    emr(*WORDS, "--heat-map", "ann.safetensors", "--force", status=2).says("ann.safetensors")
    emr(*WORDS, "--memory", "20K", status=2).says("too little")
    save("base.safetensors", {"w": [0.0, 1.0]})
    save("ann.safetensors", {"w": [0.0, 2.0]})
    emr("kinship", "--base", "base.safetensors", "--task", "ann.safetensors", "--published", "rows", status=1).says("lm_head.weight")


def test_a_dry_run_reads_nothing():
    world(10)
    told = emr(*WORDS, "--dry-run", "--json").json
    assert (told["params"], told["tensors"], told["left_out"], told["layers"], told["kinds"]) == (165, 6, 0, 3, 5)
    assert told["bytes_in"] == 165 * 4 * 5 and "165 parameters" in emr(*WORDS, "--dry-run").out


run(globals())

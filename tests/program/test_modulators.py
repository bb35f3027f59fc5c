"""test_modulators.py EMR - kinds of modulators: which task has which, what is refused, what is told of them, and adding, dropping and
exporting."""
import json
import math
import os
import pathlib
import random

from program import *

KINDS = {"mask": {"kind": "mask"}, "two-sided": {"kind": "two-sided"}, "sign": {"kind": "sign", "columns": True},
         "thin": {"kind": "thin", "thinning": 4}, "thin:1/2": {"kind": "thin", "thinning": 2}, "thin:1/4": {"kind": "thin", "thinning": 4},
         "thin:1/8": {"kind": "thin", "thinning": 8}, "thin:1/16": {"kind": "thin", "thinning": 16},
         "thin:1/32": {"kind": "thin", "thinning": 32}, "ternary": {"kind": "levels", "levels": 3},
         "levels": {"kind": "levels", "levels": 4}, "levels:2": {"kind": "levels", "levels": 4}, "levels:3": {"kind": "levels", "levels": 8},
         "levels:4": {"kind": "levels", "levels": 16}}
CODED = [word for word in KINDS if word not in ("mask", "two-sided")]


def fill_folder(n=2):
    rng = random.Random(1)
    base = {"w": ([16, 80], [rng.gauss(0, 1) for _ in range(1280)]), "b": [rng.gauss(0, 1) for _ in range(16)]}
    save("base.safetensors", base)
    for task in "one", "two", "three":
        save(f"{task}.safetensors", {"w": ([16, 80], [x + rng.gauss(0, 0.1) for x in base["w"][1]]), "b": [x + rng.gauss(0, 0.1) for x in base["b"]]})
    return ["merge", "--base", "base.safetensors", "--task", "one.safetensors", *(["--task", "two.safetensors"] if n > 1 else []), "-o", "o.emr",
            "--force"]


def apply(bundle, task):
    emr("apply", bundle, "--task", task, "--base", "base.safetensors", "-o", "y.safetensors", "--force")
    return load("y.safetensors")


def inspected(bundle="o.emr"):
    return emr("inspect", bundle, "--json").json


def changes(of, name):
    """What a model's tensor is away from the base's."""
    return [a - b for a, b in zip(of[name], load("base.safetensors")[name])]


def dot(a, b):
    return sum(x * y for x, y in zip(a, b))


def test_every_kind_is_merged_told_and_applied():
    merge = fill_folder()
    own = load("one.safetensors")
    for word, parameters in KINDS.items():
        told = emr(*merge, "--modulator", word, "--json").json["tasks"]
        seen = inspected()
        assert all({**task["modulator"], **parameters} == task["modulator"] for task in seen["tasks"]), (word, seen["tasks"])
        for t, s in zip(told, seen["tasks"]):
            assert all(t[key] == s[key] for key in ("modulator", "bits", "density", "rescaler", "error", "cosine", "coefficient")), word
        assert seen["format_version"] == ([1, 0] if word == "mask" else [1, 1]), word
        got, want = changes(apply("o.emr", "one"), "w"), changes(own, "w")
        coefficient = dot(got, want) / dot(want, want)
        assert 0.1 < coefficient < 1.5, (word, coefficient)
        one = seen["tasks"][0]
        assert (one["error"] is None) == (word == "mask"), word
        if word != "mask":
            assert 0 < one["cosine"] <= 1 and one["error"] > 0 and abs(one["coefficient"] - coefficient) < 0.02, (word, one, coefficient)
        if word in CODED:
            assert max(abs(a - b) for a, b in zip(changes(apply("o.emr", "one"), "b"), changes(own, "b"))) < 2e-3, word
            assert one["density"] is None and one["rescaler"] is None and one["mask_bytes"] == 0, word
            assert seen["rule"] is None and seen["per"] is None and seen["tie"] is None and seen["unified_dtype"] is None
        else:
            assert 0 < one["density"] < 1 and one["mask_bytes"] > 0 and seen["unified_dtype"] == "F32", word


def test_better_kinds_come_nearer():
    merge = fill_folder()
    cosines = []
    for word in ("thin:1/32", "thin:1/8", "thin:1/2", "sign", "ternary", "levels:2", "levels:3", "levels:4"):
        emr(*merge, "--modulator", word, "--rescale", "unbiased")
        one = inspected()["tasks"][0]
        cosines.append(one["cosine"])
        assert abs(one["coefficient"] - 1) < (0.25 if "thin" in word else 0.02), (word, one)
    assert cosines == sorted(cosines) and cosines[-1] > 0.99, cosines


def test_bits_count_everything_stored():
    merge = fill_folder()
    for word in KINDS:
        emr(*merge, "--modulator", word)
        seen = inspected()
        unified = sum(t["unified_bytes"] for t in seen["tensors"])
        for task in seen["tasks"]:
            share = unified / 2 if task["mask_bytes"] else 0
            assert abs(task["bits"] - 8 * (task["coded_bytes"] + share) / seen["merged_params"]) < 1e-9, word
        assert sum(t["coded_bytes"] for t in seen["tasks"]) + unified <= seen["bytes"], word


def test_each_task_may_have_its_own():
    merge = fill_folder()
    kinds = lambda: [task["modulator"]["kind"] for task in inspected()["tasks"]]
    for words, want in (([], ["mask", "mask"]), (["sign"], ["sign", "sign"]), (["two=sign"], ["mask", "sign"]),
                        (["one=thin", "levels"], ["thin", "levels"]), (["levels", "one=thin"], ["thin", "levels"]),
                        (["sign", "levels"], ["levels", "levels"]), (["one=sign", "one=two-sided"], ["two-sided", "mask"])):
        emr(*merge, *(part for word in words for part in ("--modulator", word)))
        assert kinds() == want, words


def test_tasks_without_masks_do_not_depend_on_each_other():
    merge = fill_folder()
    emr(*merge, "--modulator", "two=sign")
    with_mask = apply("o.emr", "two")
    emr(*merge, "--modulator", "sign")
    assert apply("o.emr", "two") == with_mask
    masks = fill_folder(1)
    emr(*masks)
    alone = apply("o.emr", "one")
    emr(*merge, "--modulator", "two=sign")
    assert apply("o.emr", "one") == alone


def test_what_is_no_kind_is_refused():
    merge = fill_folder()
    for word in ("signs", "thin:1/3", "thin:8", "levels:5", "levels:1", "one=", "one=masks", "=sign", "default"):
        result = emr(*merge, "--modulator", word, status=2)
        assert "--modulator" in result.err, word
    emr(*merge, "--modulator", "nobody=sign", status=2).says("'nobody=sign'", "names no task")
    emr(*merge, "--modulator", "", status=2).says("is empty")


def test_options_without_a_use_are_refused():
    merge = fill_folder()
    for options, says in ((["--no-columns"], "--no-columns"), (["--no-columns", "--modulator", "thin"], "--no-columns"),
                          (["--vectors", "f32"], "--vectors"), (["--mask", "nearest", "--modulator", "sign"], "--mask"),
                          (["--rescale-per", "row", "--modulator", "sign"], "--rescale-per"), (["--rescale", "mixed"], "mixed"),
                          (["--rescale", "mixed", "--modulator", "sign"], "mixed"), (["--rescale", "l1-means", "--modulator", "sign"], "l1-means"),
                          (["--rescale", "l1-means", "--rescale-per", "row"], "l1-means"), (["--extendable", "--modulator", "sign"], "extend"),
                          (["--extendable", "--mask", "nearest"], "extend"), (["--extendable", "--modulator", "two-sided"], "extend"),
                          (["--extendable", "--rescale", "unbiased"], "extend")):
        emr(*merge, *options, status=2).says(says)
    emr(*merge, "--mask", "most", status=2).says("--mask")
    emr(*merge, "--vectors", "f16", status=2).says("--vectors")


def test_parameters_are_told():
    merge = fill_folder()
    for options, key, value in ((["--modulator", "sign", "--no-columns"], "columns", False), (["--modulator", "sign", "--vectors", "f32"], "vectors", "F32"),
                                (["--modulator", "thin"], "vectors", "BF16"), (["--modulator", "sign", "--rescale", "l2"], "rescale", "l2"),
                                (["--modulator", "thin", "--rescale", "mixed"], "rescale", "mixed"),
                                (["--modulator", "two-sided", "--mask", "nearest"], "mask", "nearest"),
                                (["--modulator", "two-sided", "--rescale-per", "tensor"], "rescale_per", "tensor")):
        emr(*merge, *options)
        assert inspected()["tasks"][0]["modulator"][key] == value, options


def test_a_merge_tells_how_masks_were_made():
    merge = fill_folder()
    for options, mask, rule, per in (([], "agree", "l1", "model"), (["--mask", "nearest"], "nearest", "unbiased", "row"),
                                     (["--mask", "nearest", "--rescale", "l1"], "nearest", "l1", "row"),
                                     (["--rescale", "norm", "--rescale-per", "tensor"], "agree", "norm", "tensor"),
                                     (["--rescale", "l2"], "agree", "l2", "model")):
        told = emr(*merge, *options, "--json").json["tasks"][0]["modulator"]
        seen = inspected()
        assert told == {"kind": "mask", "mask": mask, "rescale": rule, "rescale_per": per}, (options, told)
        assert seen["tasks"][0]["modulator"] == told and seen["rule"] == rule and seen["per"] == per, (options, seen)
        assert seen["format_version"] == [1, 0], options


def test_what_older_programs_skip_stays_with_its_tasks():
    merge = fill_folder()
    for options in (["--mask", "nearest"], ["--rescale", "norm"], ["--measure"], ["--rescale", "l2", "--measure"], ["--extendable", "--measure"]):
        emr(*merge, *options)
        one, two = inspected()["tasks"]
        assert one["error"] > 0, options
        emr("drop", "o.emr", "--task", "one", "-o", "p.emr", "--force")
        [left] = inspected("p.emr")["tasks"]
        assert all(left[key] == two[key] for key in ("modulator", "error", "cosine", "coefficient")), options
        emr("add", "o.emr", "--base", "base.safetensors", "--task", "three.safetensors", "--modulator", "sign", "-o", "q.emr", "--force")
        kept = inspected("q.emr")["tasks"]
        assert kept[0] == one | {"bits": kept[0]["bits"]} and kept[2]["error"] > 0, options
        emr("drop", "q.emr", "--task", "three", "-o", "p.emr", "--force")
        seen = inspected("p.emr")
        assert seen["tasks"] == [one, two] and seen["format_version"] == [1, 0], options
    emr(*merge, "--extendable", "--measure")
    emr("add", "o.emr", "--base", "base.safetensors", "--task", "three.safetensors", "-o", "p.emr", "--force")
    assert [task["error"] for task in inspected("p.emr")["tasks"]] == [None] * 3  # the unified vector has become another


def test_two_sides_have_two_rescalers():
    merge = fill_folder()
    for per in ("model", "tensor", "row"):
        emr(*merge, "--modulator", "two-sided", "--rescale-per", per)
        rescaler = inspected()["tasks"][0]["rescaler"]
        pairs = {"model": lambda: [rescaler], "tensor": lambda: list(rescaler.values()), "row": lambda: sum(rescaler.values(), [])}[per]()
        assert len(pairs) == {"model": 1, "tensor": 2, "row": 17}[per], per
        assert all(len(pair) == 2 and pair[0] > 0 for pair in pairs), pairs
    assert "/" in emr(*merge, "--modulator", "two-sided", "--rescale-per", "model").out


def test_tables_have_a_dash_for_what_is_not_known():
    merge = fill_folder(1)
    line = lambda result: next(line.split() for line in result.out.splitlines() if line.startswith("one "))
    assert line(emr(*merge)).count("-") == 3  # error, cosine, coefficient
    assert line(emr("inspect", "o.emr")).count("-") == 3
    assert line(emr(*merge, "--measure")).count("-") == line(emr("inspect", "o.emr")).count("-") == 0
    assert line(emr(*merge, "--modulator", "sign")).count("-") == 2  # density, rescaler
    assert line(emr("inspect", "o.emr")).count("-") == 2
    told = emr(*merge, "--measure", "--json").json["tasks"][0]
    assert told["cosine"] > 0.99 and inspected()["tasks"][0]["cosine"] == told["cosine"]  # of one task alone the mask loses nothing


def test_signs_are_added_to_any_bundle():
    merge = fill_folder()
    for options in ([], ["--extendable"], ["--modulator", "sign"], ["--modulator", "two-sided"], ["--mask", "nearest", "--embed-base"]):
        emr(*merge, *options)
        before = apply("o.emr", "one"), apply("o.emr", "two")
        added = emr("add", "o.emr", "--base", "base.safetensors", "--task", "three.safetensors", "--modulator", "sign", "-o", "p.emr", "--force")
        assert ["can no longer be added" in note for note in added.notes] == [True] * ("--extendable" in options), options
        assert tasks_of("p.emr") == ["one", "two", "three"]
        assert (apply("p.emr", "one"), apply("p.emr", "two")) == before, options
        kinds = [task["modulator"]["kind"] for task in inspected("p.emr")["tasks"]]
        assert kinds[2] == "sign" and not inspected("p.emr")["extendable"], options
        emr("verify", "p.emr", "--base", "base.safetensors")
        emr("drop", "p.emr", "--task", "three", "-o", "q.emr", "--force")
        assert (apply("q.emr", "one"), apply("q.emr", "two")) == before, options


def test_adding_is_merging_at_once():
    merge = fill_folder()
    emr(*merge, "--modulator", "sign")
    emr("add", "o.emr", "--base", "base.safetensors", "--task", "three.safetensors", "--modulator", "thin:1/8", "--vectors", "f32", "--rescale",
        "l2", "-o", "p.emr")
    emr(*merge[:-3], "--task", "three.safetensors", "--modulator", "thin:1/8", "--vectors", "f32", "--rescale", "l2", "-o", "r.emr")
    assert apply("p.emr", "three") == apply("r.emr", "three")
    assert inspected("p.emr")["tasks"][2]["modulator"] == inspected("r.emr")["tasks"][2]["modulator"]


def save_adapter(folder, rank, layers):
    os.mkdir(folder)
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": ["q"], "base_model_name_or_path": "m"}
    pathlib.Path(folder, "adapter_config.json").write_text(json.dumps(config))
    rng = random.Random(folder)
    save(f"{folder}/adapter_model.safetensors",
         {f"base_model.model.l{layer}.q.lora_{half}.weight": (shape, [rng.gauss(0, 0.1) for _ in range(16 * rank)]) for layer in layers
          for half, shape in (("A", [rank, 16]), ("B", [16, rank]))})


def test_adapters_of_any_rank_are_added():
    for folder, rank, layers in (("one", 8, [0, 1]), ("two", 4, [0, 1]), ("small", 2, [0]), ("same", 8, [0, 1]), ("large", 16, [0, 1])):
        save_adapter(folder, rank, layers)
    emr("merge", "--base", "zeros", "--task", "one", "--task", "two", "-o", "o.emr")
    add = ["add", "o.emr", "--base", "zeros", "--modulator", "sign", "-o", "p.emr", "--force"]
    emr(*add, "--task", "small", "--task", "same")
    for task in "one", "two", "small", "same":
        emr("apply", "p.emr", "--task", task, "-o", "back/", "--force")
        assert sorted(load("back/adapter_model.safetensors")) == sorted(load(f"{task}/adapter_model.safetensors")), task
        assert all(len(v) == len(load(f"{task}/adapter_model.safetensors")[k]) for k, v in load("back/adapter_model.safetensors").items()), task
    emr(*add, "--task", "large", status=1).says("large", "[8, 16]")


def test_what_does_not_fit_is_added_by_the_policies_of_adding():
    merge = fill_folder(1)
    one = load("one.safetensors")
    save("less.safetensors", {"w": ([16, 80], one["w"])})
    save("more.safetensors", {"w": ([18, 80], one["w"] + [0.5] * 160), "b": one["b"]})
    emr(*merge)
    add = ["add", "o.emr", "--base", "base.safetensors", "--modulator", "sign", "-o", "p.emr", "--force"]
    emr(*add, "--task", "less.safetensors", status=1).says("--on-missing")
    emr(*add, "--task", "less.safetensors", "--on-missing", "absent")
    assert set(apply("p.emr", "less")) == {"w"}
    emr(*add, "--task", "less.safetensors", "--on-missing", "base")
    assert apply("p.emr", "less")["b"] == load("base.safetensors")["b"]
    emr(*add, "--task", "more.safetensors", "--on-mismatch", "rows")
    assert apply("p.emr", "more")["w"][-160:] == [0.5] * 160
    emr(*merge, "--private", "b", "--embed-base")
    emr(*add, "--task", "less.safetensors", "--on-missing", "base", status=1).says("'b' is absent", "--on-missing absent")
    emr(*add, "--task", "less.safetensors", "--on-missing", "absent")
    assert set(apply("p.emr", "less")) == {"w"}
    emr(*merge, "--extendable")
    emr(*add, "--task", "less.safetensors", "--on-missing", "absent", status=2).says("extendable")


def test_masks_are_added_where_there_is_growth():
    merge = fill_folder()
    emr(*merge)
    add = ["add", "o.emr", "--base", "base.safetensors", "--task", "three.safetensors", "-o", "p.emr"]
    emr(*add, status=1).says("extendable", "sign")
    emr(*merge, "--extendable")
    emr(*add, "--modulator", "two-sided", status=2)
    emr(*add)
    assert inspected("p.emr")["extendable"]


def test_dropping_says_what_it_means():
    merge = fill_folder()
    emr(*merge, "--modulator", "two=sign")
    assert "Nothing else depended on it." in emr("drop", "o.emr", "--task", "two", "-o", "p.emr").out
    result = emr("drop", "o.emr", "--task", "one", "-o", "q.emr")
    assert "No task that stays uses the unified vector" in result.out, result.out
    assert inspected("q.emr")["unified_dtype"] is None


def test_exports():
    merge = fill_folder()
    base = load("base.safetensors")
    for word in KINDS:
        emr(*merge, "--modulator", word)
        emr("export", "o.emr", "--vector", "one", "-o", "v.safetensors", "--force")
        vector, weights = load("v.safetensors"), apply("o.emr", "one")
        for name in base:
            near = [abs(b + v - w) <= 1e-6 for b, v, w in zip(base[name], vector[name], weights[name])]
            assert len(near) == len(base[name]) and all(near), (word, name)
        expected = 0 if word not in CODED else 1
        emr("export", "o.emr", "--mask", "one", "-o", "m.safetensors", "--force", status=expected)
        emr("export", "o.emr", "--unified", "-o", "u.safetensors", "--force", status=expected)
    signs = {math.copysign(1, v) for v in vector["w"]}
    assert signs == {1.0, -1.0}
    emr("export", "o.emr", "--vector", "nobody", "-o", "x.safetensors", status=2).says("nobody")
    emr("export", "o.emr", "--vector", "one", "--unified", "-o", "x.safetensors", status=2).says("--vector NAME")


def test_a_tensor_that_a_task_lacks():
    fill_folder()
    one = load("one.safetensors")
    save("less.safetensors", {"b": one["b"]})
    for word in KINDS:
        emr("merge", "--base", "base.safetensors", "--task", "less.safetensors", "--task", "one.safetensors", "--on-missing", "absent",
            "--modulator", word, "-o", "o.emr", "--force")
        assert set(apply("o.emr", "less")) == {"b"}, word
        assert set(apply("o.emr", "one")) == {"w", "b"}, word


def test_thin_signs_of_short_rows_are_noted():
    merge = fill_folder()
    for more in ([], ["--dry-run"], ["--json"]):
        assert [("thin:1/16" in note and "fewer than 48 a row" in note) for note in emr(*merge, "--modulator", "two=thin:1/16", *more).notes] == [True]
    save("base.safetensors", {"w": ([4, 400], [0.0] * 1600)})
    for task in "one", "two":
        save(f"{task}.safetensors", {"w": ([4, 400], [0.1 * (i % 7 - 3) for i in range(1600)])})
    assert not emr(*merge, "--modulator", "thin:1/8").notes
    assert len(emr(*merge, "--modulator", "thin:1/16").notes) == 2
    assert not emr(*merge, "--modulator", "thin:1/16", "--quiet").err


def test_a_dry_run_knows_kinds():
    merge = fill_folder()
    sizes = {word: emr(*merge, "--modulator", word, "--dry-run", "--json").json["bytes_out_at_most"] for word in KINDS}
    assert sizes["thin:1/32"] < sizes["thin:1/8"] < sizes["sign"] < sizes["levels:2"] < sizes["levels:4"] < sizes["mask"], sizes


run(globals())

"""test_combine.py EMR - emr combine: what its options make of checkpoints, what it refuses and how, what it leaves behind.
What methods compute is tested elsewhere; here are those that are easy to compute by hand."""
import json
import os
import pathlib

from program import *

BASE = {"embed": [0.0, 1.0], "layer.0.w": ([2, 2], [1.0, 2.0, 3.0, 4.0]), "layer.1.w": ([2, 2], [0.0] * 4)}


def shifted(by):
    return {name: (t[0], [x + by for x in t[1]]) if isinstance(t, tuple) else [x + by for x in t] for name, t in BASE.items()}


def fill_folder():
    for name, by in (("base", 0.0), ("one", 1.0), ("two", 2.0)):
        save(f"{name}/model.safetensors", shifted(by))
        pathlib.Path(f"{name}/config.json").write_text(json.dumps({"of": name, "torch_dtype": "float32"}))
        pathlib.Path(f"{name}/tokenizer.json").write_text(name)


TA = ["combine", "--method", "task_arithmetic", "--base", "base"]
LINEAR = ["combine", "--method", "linear"]


def values(path="out/model.safetensors"):
    return load(path)


def check(path, **expected):
    for name, wanted in expected.items():
        name = name.replace("_", ".")
        got = values(path)[name]
        assert all(abs(x - y) < 1e-6 for x, y in zip(got, wanted)) and len(got) == len(wanted), (name, got, wanted)


def everything():
    return {str(p): p.is_file() and p.read_bytes() for p in pathlib.Path(".").rglob("*")}


def refused(status, *words, says=(), **options):
    """Fails with this status, one line of error, and leaves the folder as it was."""
    before = everything()
    result = emr(*words, status=status, **options)
    result.says(*says)
    assert len([line for line in result.err.splitlines() if not line.startswith("emr: note: ")]) == 1, result.err
    assert everything() == before, "something was left behind"
    return result


def test_a_folder_that_loads_as_the_base_did():
    fill_folder()
    emr(*TA, "--task", "one:0.5", "--task", "zwei=two:0.25", "-o", "out/")
    check("out/model.safetensors", embed=[1.0, 2.0], layer_0_w=[2.0, 3.0, 4.0, 5.0], layer_1_w=[1.0] * 4)
    assert json.loads(pathlib.Path("out/config.json").read_text())["of"] == "base"
    assert pathlib.Path("out/tokenizer.json").read_text() == "base"


def test_without_a_base_files_are_the_first_task_s():
    fill_folder()
    emr(*LINEAR, "--task", "two:1", "--task", "one:3", "-o", "out/")
    check("out/model.safetensors", embed=[1.25, 2.25])
    assert json.loads(pathlib.Path("out/config.json").read_text())["of"] == "two"


def test_a_base_is_one_more_input_where_the_method_takes_it_so():
    fill_folder()
    emr(*LINEAR, "--base", "base", "--task", "one:1", "--set", "base.weight=3", "-o", "out.safetensors")
    check("out.safetensors", embed=[0.25, 1.25])


def test_parameters_of_a_task_and_of_some_tensors():
    fill_folder()
    emr(*TA, "--task", "one:1", "--task", "dotted.name=two:0", "--set", "one.weight=0.5:layer.0.*",
        "--set", "dotted.name.weight=1:layer.1.w", "--set", "lambda=2:embed", "-o", "out.safetensors")
    check("out.safetensors", embed=[2.0, 3.0], layer_0_w=[1.5, 2.5, 3.5, 4.5], layer_1_w=[3.0] * 4)


def test_flags_are_words_or_numbers():
    fill_folder()
    for word, wanted in (("true", 1.5), ("1", 1.5), ("false", 3.0), ("0", 3.0)):
        emr(*LINEAR, "--task", "one:1", "--task", "two:1", "--set", f"normalize={word}", "-o", "out.safetensors", "--force")
        check("out.safetensors", layer_1_w=[wanted] * 4)


def test_a_weight_may_be_in_a_list_of_tasks_and_in_a_file_name():
    fill_folder()
    save("three:0.5", shifted(4.0))  # a checkpoint of that name
    os.rename("three:0.5", "three:0.5.safetensors")
    pathlib.Path("list").write_text("one:0.5\nzwei = two\n".replace(" = ", "="))
    emr(*TA, "--tasks", "@list", "--set", "zwei.weight=0", "-o", "a.safetensors")
    check("a.safetensors", embed=[0.5, 1.5])
    emr(*TA, "--task", "three:0.5.safetensors:2", "-o", "b.safetensors")
    check("b.safetensors", embed=[8.0, 9.0])


def test_out_dtype_and_config():
    fill_folder()
    emr(*TA, "--task", "one:1", "--out-dtype", "bf16", "-o", "out/")
    names = emr("inspect", "out/model.safetensors", "--json").json["tensors"]
    assert {t["dtype"] for t in names} == {"BF16"}
    assert json.loads(pathlib.Path("out/config.json").read_text())["torch_dtype"] == "bfloat16"


def test_shards_and_standard_output():
    fill_folder()
    emr(*TA, "--task", "one:1", "--shard-size", "16", "-o", "out/")
    assert len(list(pathlib.Path("out").glob("model-*.safetensors"))) == 3
    with open("piped", "wb") as file:
        emr(*TA, "--task", "one:1", "-o", "-", stdout=file)
    check("piped", embed=[1.0, 2.0])
    refused(2, *TA, "--task", "one:1", "-o", "-", "--json", says=["neither --json nor --shard-size"])
    refused(2, *TA, "--task", "one:1", "-o", "-", "--shard-size", "16", says=["neither --json nor --shard-size"])


def test_dry_run_touches_nothing():
    fill_folder()
    before = everything()
    plan = emr(*TA, "--task", "one:1", "--task", "two:1", "--dry-run", "--json").json
    text = emr(*TA, "--task", "one:1", "--task", "two:1", "--dry-run", "-o", "out/").out
    assert everything() == before
    assert plan["method"] == "task_arithmetic" and plan["combined_params"] == 10 and plan["combined_tensors"] == 3
    assert [t["name"] for t in plan["tasks"]] == ["one", "two"] and plan["base"] == "base"
    assert {t["action"] for t in plan["tensors"]} == {"combine"} and len(plan["tensors"]) == 3
    assert plan["bytes_in"] >= 3 * 40 and plan["bytes_out"] >= 40 and plan["peak_memory"] > 0
    assert "3 combined by task_arithmetic" in text


def test_report_as_json():
    fill_folder()
    result = emr(*TA, "--task", "one:1", "-o", "out/", "--json")
    report = result.json
    assert report["output"] == "out/" and report["bytes"] == 40 and len(report["tensors"]) == 3
    assert sorted(pathlib.Path(f).name for f in report["files"]) == ["config.json", "model.safetensors", "tokenizer.json"]
    quiet = emr(*TA, "--task", "one:1", "-o", "out/", "--force", "--quiet")
    assert quiet.out == "" and quiet.err == ""
    assert "3 tensors, 40 B" in emr(*TA, "--task", "one:1", "-o", "out/", "--force").out


def test_kept_tensors_are_the_base_s():
    fill_folder()
    emr(*TA, "--task", "one:1", "--keep", "layer.*", "-o", "out.safetensors")
    check("out.safetensors", embed=[1.0, 2.0], layer_0_w=[1.0, 2.0, 3.0, 4.0], layer_1_w=[0.0] * 4)


def test_other_names():
    fill_folder()
    save("renamed.safetensors", {"m." + name: t for name, t in shifted(3.0).items()})
    emr(*TA, "--task", "renamed.safetensors:1", "--rename", "m.=", "-o", "out.safetensors")
    check("out.safetensors", embed=[3.0, 4.0])
    refused(2, *TA, "--task", "one:1", "--rename", "none.=", "-o", "x.safetensors", says=["renames no tensor"])


def test_tensors_that_a_task_lacks():
    fill_folder()
    save("less.safetensors", {"embed": [5.0, 5.0], "layer.0.w": shifted(1.0)["layer.0.w"]})
    words = [*TA, "--task", "less.safetensors:1", "-o", "out.safetensors"]
    refused(1, *words, says=["less", "layer.1.w"])
    emr(*words, "--on-missing", "base")
    check("out.safetensors", layer_1_w=[0.0] * 4, embed=[5.0, 5.0])


def test_longer_vocabularies():
    fill_folder()
    save("more.safetensors", {**shifted(1.0), "embed": [1.0, 1.0, 7.0]})
    words = [*TA, "--task", "more.safetensors:1", "-o", "out.safetensors"]
    refused(1, *words, says=["embed"])
    emr(*words, "--on-mismatch", "rows")
    check("out.safetensors", embed=[1.0, 1.0])


def test_what_is_not_finite():
    fill_folder()
    save("nan.safetensors", {**shifted(1.0), "embed": [float("nan"), 5.0]})
    words = [*TA, "--task", "nan.safetensors:1", "-o", "out.safetensors"]
    refused(1, *words, says=["nan", "embed"])
    emr(*words, "--on-nonfinite", "zero")
    check("out.safetensors", embed=[0.0, 5.0])


def test_an_output_that_is_an_input():
    fill_folder()
    for path in ("base", "base/model.safetensors", "one", "one/model.safetensors"):
        refused(2, *TA, "--task", "one:1", "-o", path, "--force", says=["the output is", "never written over"])


def test_an_output_that_is_there():
    fill_folder()
    save("out.safetensors", {"mine": [1.0]})
    refused(2, *TA, "--task", "one:1", "-o", "out.safetensors", says=["already exists", "--force"])
    emr(*TA, "--task", "one:1", "-o", "out.safetensors", "--force")
    check("out.safetensors", embed=[1.0, 2.0])


def test_calls_that_are_wrong():
    fill_folder()
    for words, says in (
            ([], ["--method M or --config FILE is missing"]),
            (["--method", "ties_of_my_own", "--task", "one", "-o", "o"], ["there is no method 'ties_of_my_own'", "linear"]),
            (["--method", "task_arithmetic", "--task", "one:1", "-o", "o"], ["needs --base"]),
            (["--method", "linear", "-o", "o"], ["at least one --task"]),
            (["--method", "linear", "--task", "one:1"], ["-o OUT"]),
            (["--method", "linear", "--task", "one", "-o", "o"], ["weight"]),
            (["--method", "linear", "--task", "one:1", "one", "-o", "o"], ["one: not expected here"]),
            (["--method", "linear", "--task", "one:1", "--set", "weight", "-o", "o"], ["must be [TASK.]PARAMETER=VALUE[:GLOB]"]),
            (["--method", "linear", "--task", "one:1", "--set", "weight=", "-o", "o"], ["is no number"]),
            (["--method", "linear", "--task", "one:1", "--set", "weight=inf", "-o", "o"], ["is no number"]),
            (["--method", "linear", "--task", "one:1", "--set", "weight=0x10", "-o", "o"], ["is no number"]),
            (["--method", "linear", "--task", "one:1", "--set", "weight=1:", "-o", "o"], ["has no pattern"]),
            (["--method", "linear", "--task", "one:1", "--set", "nobody.weight=1", "-o", "o"], ["'nobody' is no task here"]),
            (["--method", "linear", "--task", "one:1", "--set", "base.weight=1", "-o", "o"], ["'base' is no task here"]),
            (["--method", "linear", "--task", "one:1", "--set", "depth=1", "-o", "o"], ["depth", "weight", "normalize"]),
            (["--method", "linear", "--task", "one:1", "--set", "normalize=2", "-o", "o"], ["normalize"]),
            (["--method", "linear", "--task", "one:1", "--set", "one.normalize=1", "-o", "o"], ["normalize"]),
            (["--method", "magmax", "--base", "base", "--task", "one:1", "-o", "o"], ["has no parameter weight"]),
            (["--method", "linear", "--task", "one:1", "--seed", "-1", "-o", "o"], ["--seed"]),
            (["--method", "linear", "--task", "one:1", "--apply-adapters", "-o", "o"], ["--base must be the model"]),
            (["--method", "linear", "--task", "nowhere:1", "-o", "o"], ["is no checkpoint that is there"]),
            (["--method", "linear", "--method", "linear"], ["--method", "given twice"]),
            (["--method", "linear", "--rescale", "l1"], ["--rescale", "unknown option"])):
        refused(2, "combine", *words, says=says)
    refused(3, "combine", "--method", "linear", "--task", "a=nowhere:1", "-o", "o", says=["nowhere"])


def test_methods_are_listed():
    listed = {m["name"]: m for m in emr("combine", "--methods", "--json").json["methods"]}
    text = emr("combine", "--methods").out
    for name in ("linear", "task_arithmetic", "slerp", "passthrough"):
        assert name in listed and name in text
    weight, = [p for p in listed["linear"]["parameters"] if p["name"] == "weight"]
    assert weight["default"] is None and weight["per_task"] is True
    assert listed["task_arithmetic"]["base"] == "required" and listed["linear"]["base"] == "one more input"


def test_methods_are_told_in_words():
    text = emr("combine", "--methods").out
    for method in emr("combine", "--methods", "--json").json["methods"]:
        assert method["does"] and method["does"] in text, method["name"]
    one = emr("combine", "--methods", "--method", "ties").out
    assert one.startswith("ties ") and "density" in one and "slerp" not in one
    for line in ("weight             must be set; for each task", "density            1; 0 to 1; for each task",
                 "normalize          1; 0 or 1"):
        assert line in one, line
    refused(2, "combine", "--methods", "--method", "ties2", says=["no method 'ties2'"])


def test_errors_say_the_way_out():
    fill_folder()
    pathlib.Path("a.yml").write_text("merge_method: linear\n")
    for status, words, says in (
            (2, [*LINEAR, "--task", "one", "-o", "o/"], ["'weight'", "--set weight=VALUE"]),
            (2, ["combine", "--method", "slerp", "--task", "one", "--task", "two", "-o", "o/"], ["--set t=VALUE"]),
            (2, [*LINEAR, "--task", "one", "--set", "weight=1e39", "-o", "o/"], ["a number that F32 can hold"]),
            (2, [*LINEAR, "--task", "one:1", "--out-dtype", "float16", "-o", "o/"], ["none of f32, f16, bf16"]),
            (2, [*LINEAR, "--task", "one:1", "--memory", "1KiB", "-o", "o/"], ["readers has", "needed", "--memory"]),
            (2, [*TA, "--task", "one:1", "--on-mismatch", "pad", "-o", "o/"], ["error, private and rows"]),
            (2, [*TA, "--task", "base=one:1", "--set", "base.weight=1", "-o", "o/"], ["give the task another name"]),
            (2, ["combine", "a.yml", "-o", "o/"], ["--config a.yml"])):
        refused(status, *words, says=says)


def test_a_weight_that_is_none():
    fill_folder()
    for word in ("one:nan", "one:1e400", "one:inf", "one:", "one: 1", "one:1,5", "x=one:half", "one:0x1"):
        refused(2, *LINEAR, "--task", word, "-o", "o/", says=["is no weight", "behind 'one:'"])
    save("o:ne.safetensors", BASE)
    refused(2, *LINEAR, "--task", "none:1", "-o", "o/", says=["is no checkpoint that is there"])
    emr(*LINEAR, "--task", "o:ne.safetensors:2", "-o", "ok.safetensors")


def test_patterns_that_match_nothing_are_noted():
    fill_folder()
    for i, (words, text) in enumerate(((["--set", "lambda=2:lm_head*"], "--set: 'lm_head*' matches no tensor"),
                                       (["--keep", "norm"], "--keep: 'norm' matches no tensor"),
                                       (["--merge", "[x"], "--merge: '[x' matches no tensor"))):
        result = emr(*TA, "--task", "one:1", *words, "-o", f"{i}.safetensors")
        assert text in result.err and len(result.err.splitlines()) == 1, result.err
    assert not emr(*TA, "--task", "one:1", "--set", "lambda=2:layer.?.w", "--keep", "emb*", "-o", "y.safetensors").err
    assert not emr(*TA, "--task", "one:1", "--keep", "x", "--quiet", "-o", "z.safetensors").err


def test_inputs_stay_whatever_leads_to_them():
    fill_folder()
    os.symlink("model.safetensors", "one/link.safetensors")
    os.link("one/model.safetensors", "hard.safetensors")
    os.symlink("one", "alias")
    os.mkdir("folder")
    os.symlink("../two/model.safetensors", "folder/model.safetensors")
    for output in ("one/link.safetensors", "hard.safetensors", "alias/", "alias/model.safetensors", "folder/",
                   "base/../one/model.safetensors"):
        refused(2, *TA, "--task", "one:1", "--task", "two:1", "--force", "-o", output, says=["never written over"])


def test_threads_and_memory_change_nothing():
    fill_folder()
    for i, options in enumerate((["--threads", "1"], ["--threads", "3", "--memory", "16MiB"], ["--memory", "64MiB"])):
        emr(*TA, "--task", "one:0.3", "--task", "two:0.7", *options, "-o", f"{i}.safetensors")
    assert len({pathlib.Path(f"{i}.safetensors").read_bytes() for i in range(3)}) == 1


def test_help():
    for words in (["combine", "--help"], ["help", "combine"]):
        out = emr(*words).out
        assert "--method" in out and "--config" in out and "--set" in out
    assert "emr combine" in emr("--help").out


run(globals())

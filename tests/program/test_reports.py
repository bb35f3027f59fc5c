"""test_reports.py EMR - what the program tells of a merge: rescalers, and what tasks lack."""
from program import *

BASE = {"w": ([2, 2], [0.0] * 4), "z": [0.0, 0.0, 0.0]}
ONE = {"w": ([2, 2], [1.0, 2.0, 3.0, 4.0]), "z": [1.0, -1.0, 2.0]}
TWO = {"w": ([2, 2], [4.0, 3.0, -2.0, 1.0]), "z": [0.5, 1.0, 2.0]}


def fill_folder():
    save("base.safetensors", BASE)
    save("one.safetensors", ONE)
    save("two.safetensors", TWO)


MERGE = ["merge", "--base", "base.safetensors", "--task", "one.safetensors", "--task", "two.safetensors", "--force", "--json"]


def test_merge_tells_rescalers_as_inspect_does():
    fill_folder()
    for per in ("model", "tensor", "row"):
        told = emr(*MERGE, "--rescale-per", per, "-o", "o.emr").json
        seen = emr("inspect", "o.emr", "--json").json
        assert [t["rescaler"] for t in told["tasks"]] == [t["rescaler"] for t in seen["tasks"]], per
        assert [t["density"] for t in told["tasks"]] == [t["density"] for t in seen["tasks"]], per
    kinds = {"w": 2, "z": 1}
    assert {name: len(numbers) for name, numbers in told["tasks"][0]["rescaler"].items()} == kinds


def test_add_tells_rescalers_of_all_tasks():
    fill_folder()
    save("three.safetensors", TWO)
    emr(*MERGE, "--rescale-per", "row", "--extendable", "-o", "o.emr")
    told = emr("add", "o.emr", "--base", "base.safetensors", "--task", "three.safetensors", "-o", "p.emr", "--json").json
    seen = emr("inspect", "p.emr", "--json").json
    assert [t["name"] for t in told["tasks"]] == ["one", "two", "three"]
    assert [t["rescaler"] for t in told["tasks"]] == [t["rescaler"] for t in seen["tasks"]]
    assert [t["missing"] for t in told["tasks"]] == [[], [], []]


def half(names, value):
    return {name: [value] * 2 for name in names}


def test_on_missing_base_says_what_it_did():
    names = "a b c d e".split()
    save("base.safetensors", half(names, 0.0))
    save("all.safetensors", half(names, 1.0))
    save("most.safetensors", half("abcd", 1.0))
    save("one.safetensors", half("a", 1.0))
    words = ["merge", "--base", "base.safetensors", "--task", "all.safetensors", "--task", "most.safetensors", "--task",
             "one.safetensors", "--on-missing", "base"]
    for more in (["-o", "o.emr"], ["-o", "o.emr", "--force", "--json"], ["--dry-run"], ["--dry-run", "--json"]):
        result = emr(*words, *more)
        first, second = result.notes
        assert "task 'most': 1 tensor of the base is absent and counts as unchanged: 'e'" in first
        assert "task 'one': 4 tensors of the base are absent and count as unchanged: 'b', 'c', 'd' and 1 more" in second
        if "--json" in more:
            assert [t["missing"] for t in result.json["tasks"]] == [[], ["e"], ["b", "c", "d", "e"]]
            reasons = {t["name"]: t["reason"] for t in result.json["tensors"]}
            assert reasons.pop("a") == "float in the base and every task"
            assert set(reasons.values()) == {"float in the base; some tasks lack it"}
    emr("apply", "o.emr", "--task", "most", "--base", "base.safetensors", "-o", "y.safetensors")
    assert load("y.safetensors")["e"] == [0.0, 0.0]
    assert emr(*words, "-o", "o.emr", "--force", "--quiet").err == ""


def test_on_missing_absent_stays_absent():
    save("base.safetensors", half("abc", 0.0))
    save("one.safetensors", half("ab", 1.0))
    merge = ["merge", "--base", "base.safetensors", "--task", "one.safetensors", "-o", "o.emr", "--force", "--json"]
    for option in (["--on-missing", "absent"], ["--on-missing=absent:c"], ["--on-missing", "base", "--on-missing", "absent:[cd]*"],
                   ["--on-missing", "absent:x", "--on-missing", "absent:?"]):
        result = emr(*merge, *option)
        assert "task 'one': 1 tensor of the base is absent and stays absent: 'c'" in result.notes[0], option
        assert result.json["tasks"][0]["missing"] == ["c"]
        emr("apply", "o.emr", "--task", "one", "--base", "base.safetensors", "-o", "y.safetensors", "--force")
        assert load("y.safetensors") == load("one.safetensors"), option
    result = emr(*merge, "--on-missing", "absent", "--on-missing", "base:c")
    assert "counts as unchanged: 'c'" in result.notes[0]
    emr(*merge, "--on-missing", "absent:a", status=1).says("'c'")
    for wrong in ("absent:", "base:", "error:c", "gone"):
        emr(*merge, "--on-missing", wrong, status=2).says("--on-missing")


def test_private_covers_what_tasks_lack():
    save("base.safetensors", half("abc", 0.0))
    save("one.safetensors", half("ab", 1.0))
    result = emr("merge", "--base", "base.safetensors", "--task", "one.safetensors", "--private", "c", "-o", "o.emr")
    assert not result.notes
    emr("apply", "o.emr", "--task", "one", "--base", "base.safetensors", "-o", "y.safetensors")
    assert load("y.safetensors") == load("one.safetensors")


def test_rows_are_no_missing_tensors():
    save("base.safetensors", {"e": ([3, 2], [0.0] * 6)})
    save("less.safetensors", {"e": ([2, 2], [1.0] * 4)})
    save("more.safetensors", {"e": ([4, 2], [2.0] * 8)})
    result = emr("merge", "--base", "base.safetensors", "--task", "less.safetensors", "--task", "more.safetensors",
                 "--on-mismatch", "rows", "-o", "o.emr", "--json")
    assert not result.notes
    assert [t["missing"] for t in result.json["tasks"]] == [[], []]
    for task in ("less", "more"):
        emr("apply", "o.emr", "--task", task, "--base", "base.safetensors", "-o", "y.safetensors", "--force")
        assert len(load("y.safetensors")["e"]) == len(load(f"{task}.safetensors")["e"])


def test_hints_name_options_as_they_are_typed():
    save("base.safetensors", {"w": [0.0] * 4, "z": [0.0]})
    save("lacks.safetensors", {"w": [1.0] * 4})
    save("shape.safetensors", {"w": [1.0] * 3, "z": [1.0]})
    save("nan.safetensors", {"w": [1.0, float("nan"), 1.0, 1.0], "z": [1.0]})
    for task, option in (("lacks", "--on-missing base"), ("shape", "--on-mismatch private"), ("nan", "--on-nonfinite zero")):
        result = emr("merge", "--base", "base.safetensors", "--task", f"{task}.safetensors", "-o", "o.emr", status=1)
        result.says(option)
        name, value = option.split()
        emr("merge", "--base", "base.safetensors", "--task", f"{task}.safetensors", "-o", f"{task}.emr", name, value)


def test_a_strange_rescaler_is_noted():
    weights = {f"w{i}": [0.0] * 8 for i in range(4)}
    save("base.safetensors", {**weights, "scalar": ([], [100.0])})
    for task, number, times in (("low", 50.0, 1), ("high", 300.0, 2)):
        save(f"{task}.safetensors", {**{name: [times * 0.01 * i for i in range(8)] for name in weights}, "scalar": ([], [number])})
    merge = ["merge", "--base", "base.safetensors", "--task", "low.safetensors", "--task", "high.safetensors", "-o", "o.emr", "--force"]
    for more in ([], ["--json"], ["--rescale", "l1-means"]):
        note, = emr(*merge, *more).notes
        assert "task 'low': its rescaler is " in note and "emr inspect" in note and "--private" in note, note
    assert emr(*merge, "--quiet").err == ""
    for healthy in (["--private", "scalar"], ["--rescale-per", "tensor"], ["--rescale", "l2"]):
        assert not emr(*merge, *healthy).notes, healthy


def test_that_nothing_is_merged_is_noted():
    save("base.safetensors", {"w": [0.0] * 4})
    save("one.safetensors", {"w": [1.0] * 4})
    save("hollow.safetensors", {"w": []})
    merge = ["merge", "-o", "o.emr", "--force", "--base"]
    for words in ([*merge, "base.safetensors", "--task", "one.safetensors", "--private", "w"],
                  [*merge, "base.safetensors", "--task", "one.safetensors", "--private", "w", "--json"],
                  [*merge, "base.safetensors", "--task", "one.safetensors", "--private", "w", "--dry-run"]):
        note, = emr(*words).notes
        assert "nothing is merged: of 4 parameters, 4 are private to tasks, 0 kept from the base" in note, note
        assert emr(*words, "--quiet").err == ""
    note, = emr(*merge, "hollow.safetensors", "--task", "hollow.safetensors").notes
    assert "nothing is merged: there are no parameters" in note, note


run(globals())

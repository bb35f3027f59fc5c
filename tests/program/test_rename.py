"""test_rename.py EMR - tensors merged under other names, and given back under their own."""
import pathlib
import random

from program import *

NAMES = ["h.0.w", "h.1.w", "head"]


def values(value, names=NAMES):
    return {name: [value, value, -value] for name in names}


def fill_folder():
    save("base.safetensors", values(0.0))
    save("plain.safetensors", values(1.0))
    save("prefixed.safetensors", values(3.0, ["transformer." + name for name in NAMES]))


MERGE = ["merge", "--base", "base.safetensors", "-o", "o.emr", "--force"]


def again(task, base="base.safetensors"):
    emr("apply", "o.emr", "--task", task, "--base", base, "-o", "y.safetensors", "--force")
    return load("y.safetensors")


def merged_alone():
    """What merging the same two tasks gives where all names are equal."""
    save("same.safetensors", values(3.0))
    emr(*MERGE, "--task", "plain.safetensors", "--task", "prefixed=same.safetensors")
    return again("plain"), again("prefixed")


def test_a_prefix_goes_and_comes_back():
    fill_folder()
    plain, prefixed = merged_alone()
    for rule in ("transformer.=", "prefixed:transformer.=", "transformer.*=*", "transformer.h.*=h.*", ):
        more = ["--rename", "transformer.head=head"] if rule == "transformer.h.*=h.*" else []
        emr(*MERGE, "--task", "plain.safetensors", "--task", "prefixed.safetensors", "--rename", rule, *more)
        assert again("plain") == plain, rule
        assert again("prefixed") == {"transformer." + name: value for name, value in prefixed.items()}, rule


def test_a_renamed_task_takes_nothing_from_the_base():
    """What it would be called among the task's own names, nobody knows."""
    fill_folder()
    save("fewer.safetensors", values(3.0, ["transformer." + name for name in NAMES[:-1]]))
    words = [*MERGE, "--task", "fewer.safetensors", "--rename", "transformer.="]
    err = emr(*words, "--on-missing", "base", status=1).err
    assert "'head'" in err and "--on-missing absent" in err, err
    emr(*words, "--on-missing", "absent")
    assert set(again("fewer")) == {"transformer." + name for name in NAMES[:-1]}


def test_the_bases_names():
    fill_folder()
    save("t.safetensors", values(3.0, ["transformer." + name for name in NAMES]))
    emr(*MERGE, "--task", "t.safetensors", "--rename", "base:=transformer.")
    assert again("t") == load("t.safetensors")
    emr("verify", "o.emr", "--base", "base.safetensors")
    assert sorted(t["name"] for t in emr("inspect", "o.emr", "--json").json["tensors"]) == sorted("transformer." + n for n in NAMES)


def test_a_rule_for_one_task_leaves_the_others():
    fill_folder()
    save("other.safetensors", values(2.0, ["transformer." + name for name in NAMES]))
    emr(*MERGE, "--task", "prefixed.safetensors", "--task", "other.safetensors", "--rename", "prefixed:transformer.=",
        status=1).says("task 'other'")


def test_names_with_colons():
    save("base.safetensors", values(0.0, ["w:0"]))
    save("t.safetensors", values(1.0, ["v:0"]))
    save("a:b.safetensors", values(1.0, ["v:0"]))
    emr(*MERGE, "--task", "t.safetensors", "--rename", "v:=w:")
    assert again("t") == values(1.0, ["v:0"])
    emr(*MERGE, "--task", "a=t.safetensors", "--task", "a:b.safetensors", "--rename", "a:v=w", "--rename", "a:b:v:=w:")
    assert again("a:b") == again("a") == values(1.0, ["v:0"])


def test_the_first_rule_that_matches_renames_once():
    save("base.safetensors", values(0.0, ["b", "c", "a.x"]))
    save("t.safetensors", values(1.0, ["a", "b", "a.x"]))
    emr(*MERGE, "--task", "t.safetensors", "--rename", "a.=a.", "--rename", "a=b", "--rename", "b=c")
    assert again("t") == values(1.0, ["a", "b", "a.x"])


def test_rules_from_a_file():
    fill_folder()
    pathlib.Path("rules.txt").write_text("# names\n\n  transformer.h.*.w=h.*.w\r\ntransformer.=\n")
    emr(*MERGE, "--task", "prefixed.safetensors", "--rename", "@rules.txt")
    assert again("prefixed") == load("prefixed.safetensors")
    pathlib.Path("rules.txt").write_text("transformer.=\nnothing\n")
    emr(*MERGE, "--task", "prefixed.safetensors", "--rename", "@rules.txt", status=2).says("rules.txt, line 2", "OLD=NEW")
    emr(*MERGE, "--task", "prefixed.safetensors", "--rename", "@absent.txt", status=3).says("absent.txt")


def test_what_is_no_rule():
    fill_folder()
    for rule, why in (("x", "OLD=NEW"), ("=", "renames nothing"), ("base:=", "renames nothing"), ("a*=b", "'*'"),
                      ("a=b*", "'*'"), ("a**=b*", "'*'"), ("*a*=*b*", "'*'"), ("", "empty")):
        emr(*MERGE, "--task", "plain.safetensors", "--rename", rule, status=2).says("--rename", why)


def test_a_rule_that_renames_nothing_is_named():
    fill_folder()
    words = [*MERGE, "--task", "plain.safetensors", "--task", "prefixed.safetensors", "--rename", "transformer.=", "--rename"]
    for rule, of in (("x.=y.", "any task"), ("base:x.=y.", "the base"), ("plain:transformer.=", "that task"),
                     ("prefixd:transformer.=", "any task"), ("transformer.h.=h.", "any task")):
        emr(*words, rule, status=2).says(f"'{rule}'", "renames no tensor of " + of)


def test_two_tensors_of_one_name():
    save("base.safetensors", values(0.0, ["a", "b"]))
    save("t.safetensors", values(1.0, ["x.a", "a"]))
    result = emr(*MERGE, "--task", "t.safetensors", "--rename", "x.=", status=2).says("'a'")
    assert "--force" not in result.err


def test_add_and_resume_know_renamed_tasks():
    fill_folder()
    plain, prefixed = merged_alone()
    rename = ["--rename", "prefixed:transformer.="]
    emr(*MERGE, "--task", "plain.safetensors", "--extendable")
    emr("add", "o.emr", "--base", "base.safetensors", "--task", "prefixed.safetensors", *rename, "-o", "p.emr")
    emr(*MERGE, "--task", "plain.safetensors", "--task", "prefixed.safetensors", "--extendable", "--resume", *rename)
    assert unchanged(["o.emr"])["o.emr"] == unchanged(["p.emr"])["p.emr"]
    assert again("prefixed") == {"transformer." + name: value for name, value in prefixed.items()}


def test_adding_to_a_renamed_base():
    fill_folder()
    save("two.safetensors", values(2.0, ["transformer." + name for name in NAMES]))
    rename = ["--rename", "base:=transformer."]
    emr(*MERGE, "--task", "prefixed.safetensors", "--extendable", *rename)
    emr("add", "o.emr", "--base", "base.safetensors", "--task", "two.safetensors", *rename, "-o", "p.emr")
    emr(*MERGE, "--task", "prefixed.safetensors", "--task", "two.safetensors", "--extendable", *rename)
    assert unchanged(["o.emr"])["o.emr"] == unchanged(["p.emr"])["p.emr"]


def test_a_tensor_that_a_task_lacks_has_all_rows_of_the_base():
    """Where others have fewer rows: those that are cut off the base's come back with it."""
    embed = ([6, 2], [float(i) for i in range(12)])
    save("base.safetensors", {"embed": embed, "w": [1.0, 2.0]})
    save("fewer.safetensors", {"embed": ([5, 2], embed[1][:10]), "w": [1.5, 2.0]})
    save("none.safetensors", {"w": [1.0, 2.5]})
    words = ["--on-mismatch", "rows", "--on-missing", "base"]
    for rename in ([], ["--rename", "base:embed=wte", "--rename", "fewer:embed=wte"]):
        for embed_base in ([], ["--embed-base"]):
            emr(*MERGE, "--task", "fewer.safetensors", "--task", "none.safetensors", *words, *rename, *embed_base)
            got = again("none")
            assert got[rename and "wte" or "embed"] == embed[1] and got["w"] == [1.0, 2.5], got
            assert again("fewer")["embed"] == embed[1][:10]
    emr(*MERGE, "--task", "fewer.safetensors", "--task", "none.safetensors", *words, "--extendable")
    whole = unchanged(["o.emr"])["o.emr"]
    emr(*MERGE, "--task", "fewer.safetensors", *words, "--extendable")
    emr("add", "o.emr", "--base", "base.safetensors", "--task", "none.safetensors", "-o", "p.emr")
    assert unchanged(["p.emr"])["p.emr"] == whole


def test_adding_what_no_task_had_says_so():
    save("base.safetensors", values(0.0, ["a", "b"]))
    save("one.safetensors", values(1.0, ["b"]))
    save("two.safetensors", values(2.0, ["a", "b"]))
    emr(*MERGE, "--task", "one.safetensors", "--on-missing", "absent", "--extendable")
    emr("add", "o.emr", "--base", "base.safetensors", "--task", "two.safetensors", "-o", "p.emr",
        status=1).says("'a' is not in", "a merge from all checkpoints")


def test_plans_show_the_names_of_the_merge():
    fill_folder()
    plan = emr(*MERGE, "--task", "prefixed.safetensors", "--rename", "transformer.=", "--dry-run", "--json").json
    assert sorted(t["name"] for t in plan["tensors"]) == NAMES
    assert {t["action"] for t in plan["tensors"]} == {"merge"}


def renamed(name, rules):
    """By the text of docs/using.md: the first rule that matches, once."""
    for i, (old, new) in enumerate(rules):
        if "*" not in old and name.startswith(old):
            return i, new + name[len(old):]
        if "*" in old:
            head, tail = old.split("*")
            if name.startswith(head) and name.endswith(tail) and len(name) >= len(head) + len(tail):
                return i, new.replace("*", name[len(head):len(name) - len(tail)])
    return None, name


def test_random_rules():
    r = random.Random(7)
    text = lambda least: "".join(r.choice("ab.") for _ in range(r.randint(least, 3)))
    outcomes = set()
    for _ in range(150):
        names = sorted({text(1) + text(1) for _ in range(r.randint(1, 6))})
        rules = []
        for _ in range(r.randint(1, 3)):
            star = r.random() < 0.5
            rules.append((text(0) + "*" + text(0), text(0) + "*" + text(0)) if star else (text(0), text(1)))
        found = [renamed(name, rules) for name in names]
        used, new = {i for i, _ in found}, [name for _, name in found]
        save("t.safetensors", values(1.0, names))
        save("base.safetensors", values(0.0, sorted(set(new))))
        words = [word for old, new_name in rules for word in ("--rename", f"{old}={new_name}")]
        right = 2 if len(set(new)) < len(new) or not used.issuperset(range(len(rules))) or "" in new else 0
        outcomes.add(right)
        result = emr(*MERGE, "--task", "t.safetensors", *words, "--json", status=right)
        if right == 0:
            assert sorted(t["name"] for t in result.json["tensors"]) == sorted(new), (names, rules)
            assert again("t") == values(1.0, names), (names, rules)
    assert outcomes == {0, 2}


run(globals())

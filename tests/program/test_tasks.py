"""test_tasks.py EMR - which tasks --task and --tasks name: names given and derived, folders, patterns, lists."""
import os
import pathlib

from program import *

BASE, ONE, TWO, THREE = ({"w": [v] * 4, "z": [v, v]} for v in (0.0, 1.0, 2.0, 3.0))


def merged(*words, **options):
    """The names of the tasks of a merge."""
    result = emr("merge", "--base", "base.safetensors", *words, "-o", "o.emr", "--force", **options)
    return tasks_of("o.emr") if result.status == 0 else result


def test_a_file_gives_its_name():
    save("base.safetensors", BASE)
    save("models/chat.safetensors", ONE)
    assert merged("--task", "models/chat.safetensors") == ["chat"]
    assert merged("--task=./models//chat.safetensors") == ["chat"]
    assert merged("--task", "x=models/chat.safetensors") == ["x"]
    assert merged("--task", pathlib.Path("models/chat.safetensors").resolve()) == ["chat"]


def test_a_dotted_name_keeps_its_dots():
    save("base.safetensors", BASE)
    save("llama-3.1.fp32.safetensors", ONE)
    assert merged("--task", "llama-3.1.fp32.safetensors") == ["llama-3.1.fp32"]


def test_a_folder_gives_its_name():
    save("base.safetensors", BASE)
    save("runs/french/model.safetensors", ONE)
    assert merged("--task", "runs/french") == ["french"]
    assert merged("--task", "runs/french///") == ["french"]
    assert merged("--task", "runs/french/model.safetensors") == ["french"]
    assert merged("--task", "runs/french/.") == ["french"]


def test_the_folder_one_stands_in_gives_its_name():
    save("base.safetensors", BASE)
    save("runs/french/model.safetensors", ONE)
    os.chdir("runs/french")
    for task in (".", "model.safetensors", "./model.safetensors", "../french", "../../runs/french/."):
        emr("merge", "--base", "../../base.safetensors", "--task", task, "-o", "../../o.emr", "--force")
        assert tasks_of("../../o.emr") == ["french"], task


def test_an_index_and_a_shard_give_the_models_name():
    save("base.safetensors", BASE)
    save_shards("runs/german", "model", ONE)
    assert merged("--task", "runs/german") == ["german"]
    assert merged("--task", "runs/german/model.safetensors.index.json") == ["german"]
    index = save_shards("runs", "italian", TWO)
    assert merged("--task", index) == ["italian"]


def test_the_hubs_cache_gives_the_models_name():
    save("base.safetensors", BASE)
    folder = "hub/models--org--my-chat/snapshots/0123456789abcdef"
    save(f"{folder}/model.safetensors", ONE)
    assert merged("--task", folder) == ["my-chat"]
    assert merged("--task", f"{folder}/model.safetensors") == ["my-chat"]


def test_a_link_gives_the_name_it_has():
    save("base.safetensors", BASE)
    save("blobs/0123/model.safetensors", ONE)
    os.symlink("blobs/0123", "chat")
    assert merged("--task", "chat") == ["chat"]


def test_what_is_not_there_is_explained():
    save("base.safetensors", BASE)
    merged("--task", "nowhere", status=2).says("'nowhere'", "NAME=CHECKPOINT", "file or folder")
    assert not os.path.exists("o.emr")


def test_the_first_equals_sign_ends_the_name():
    save("base.safetensors", BASE)
    save("a=b.safetensors", ONE)
    save("b.safetensors", TWO)
    assert merged("--task", "a=b.safetensors") == ["a"]
    emr("apply", "o.emr", "--task", "a", "--base", "base.safetensors", "-o", "y.safetensors")
    assert load("y.safetensors")["w"] == [2.0] * 4
    assert merged("--task", "x=a=b.safetensors") == ["x"]
    os.remove("b.safetensors")
    merged("--task", "a=b.safetensors", status=2).says("'a=b.safetensors'", "NAME=")


def test_nothing_on_one_side_of_the_equals_sign():
    save("base.safetensors", BASE)
    merged("--task", "=base.safetensors", status=2).says("has no name")
    merged("--task", "a=", status=2).says("has no checkpoint")
    merged("--task", "", status=2).says("is empty")


def test_two_checkpoints_of_one_name():
    save("base.safetensors", BASE)
    save("one/model.safetensors", ONE)
    save("two/one.safetensors", TWO)
    merged("--task", "one", "--task", "two/one.safetensors", status=2).says("one", "two/one.safetensors", "NAME=CHECKPOINT")
    merged("--task", "one=two/one.safetensors", "--task", "one/model.safetensors", status=2).says("NAME=CHECKPOINT")
    assert merged("--task", "one", "--task", "two=two/one.safetensors") == ["one", "two"]


def test_apply_and_drop_take_names():
    save("base.safetensors", BASE)
    save("one.safetensors", ONE)
    merged("--task", "one.safetensors", "--task", "two=one.safetensors")
    emr("apply", "o.emr", "--task", "one", "--base", "base.safetensors", "-o", "y.safetensors")
    for command in (["apply", "--base", "base.safetensors", "-o", "x.safetensors"], ["drop", "-o", "x.emr"]):
        emr(*command, "o.emr", "--task", "one=one.safetensors", status=2).says("name")
    emr("drop", "o.emr", "--tasks", ".", "-o", "x.emr", status=2).says("--tasks")
    emr("drop", "o.emr", "--task", "one", "-o", "x.emr")
    assert tasks_of("x.emr") == ["two"]


def fill_folder():
    save("base.safetensors", BASE)
    save("runs/b.safetensors", ONE)
    save("runs/a/model.safetensors", TWO)
    save_shards("runs", "c", THREE)
    save("runs/C.safetensors", THREE)
    for name in (".hidden", "README.md", "notes.txt", "logs/log.txt"):
        path = pathlib.Path("runs") / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")


def test_a_folder_brings_all_in_the_order_of_bytes():
    fill_folder()
    result = emr("merge", "--base", "base.safetensors", "--tasks", "runs", "-o", "o.emr")
    assert tasks_of("o.emr") == ["C", "a", "b", "c"]
    note, = result.notes
    assert all(name in note for name in ("'README.md'", "'notes.txt'", "'logs'", "1 hidden")), note
    emr("apply", "o.emr", "--task", "c", "--base", "base.safetensors", "-o", "y.safetensors")
    assert set(load("y.safetensors")) == {"w", "z"}
    assert emr("merge", "--base", "base.safetensors", "--tasks", "runs", "-o", "p.emr", "--quiet").err == ""


def test_shards_without_an_index_need_a_folder_of_their_own():
    save("base.safetensors", BASE)
    save_shards("runs", "c", ONE, index=False)
    err = emr("merge", "--base", "base.safetensors", "--tasks", "runs", "--dry-run", status=1).err
    assert "c-00001-of-00002" in err and "shard 1 of 2" in err, err


def test_the_base_is_no_task():
    save("runs/base/model.safetensors", BASE)
    save("runs/a/model.safetensors", ONE)
    for base in ("runs/base", "runs/base/model.safetensors", "runs/a/../base"):
        result = emr("merge", "--base", base, "--tasks", "runs", "-o", "o.emr", "--force")
        assert tasks_of("o.emr") == ["a"], base
        assert "'base'" in result.notes[0]


def test_a_folder_without_checkpoints():
    save("base.safetensors", BASE)
    os.makedirs("empty/nothing")
    merged("--tasks", "empty", status=2).says("no checkpoint", "'empty'")
    merged("--tasks", "nowhere", status=2).says("'nowhere' is not there")
    merged("--tasks", "base.safetensors", status=2).says("--task")


def test_pickles_are_refused_not_passed_over():
    fill_folder()
    os.mkdir("runs/old")
    pathlib.Path("runs/old/pytorch_model.bin").write_bytes(b"\x80\x02")
    merged("--tasks", "runs", status=1).says("pickle")


def test_a_pattern_chooses():
    fill_folder()
    assert merged("--tasks", "runs/[ab]*") == ["a", "b"]
    assert merged("--tasks", "runs/?.safetensors") == ["C", "b"]
    assert merged("--tasks", "runs/c*") == ["c"]
    merged("--tasks", "runs/x*", status=2).says("no checkpoint matches 'runs/x*'")
    merged("--tasks", "r*/a", status=2).says("last part")


def test_a_shell_that_has_expanded_a_pattern():
    fill_folder()
    merged("--tasks", "runs/a", "runs/b.safetensors", status=2).says("quoted")


def test_a_list_from_a_file():
    fill_folder()
    os.mkdir("lists")
    pathlib.Path("lists/list.txt").write_bytes(b"\xef\xbb\xbf# tasks\r\n\r\n  fr = ../runs/a\r\n".replace(b" = ", b"=") +
                                               b"../runs/b.safetensors\t\n#x=y\n" +
                                               os.path.abspath("runs/C.safetensors").encode())
    assert merged("--tasks", "@lists/list.txt") == ["fr", "b", "C"]
    assert merged("--task", "x=runs/a", "--tasks", "@lists/list.txt", "--task", "runs/a") == ["x", "fr", "b", "C", "a"]


def test_a_list_that_is_wrong():
    fill_folder()
    pathlib.Path("list.txt").write_text("a=runs/a\nruns/nowhere\n")
    merged("--tasks", "@list.txt", status=2).says("list.txt, line 2", "runs/nowhere")
    pathlib.Path("list.txt").write_text("# nothing\n")
    merged("--tasks", "@list.txt", status=2).says("names no checkpoint")
    pathlib.Path("list.txt").write_bytes(b"a=runs/a\0\n")
    merged("--tasks", "@list.txt", status=2).says("no text")
    merged("--tasks", "@absent.txt", status=3).says("absent.txt")
    with open("list.txt", "wb") as file:
        file.truncate(17 << 20)
    merged("--tasks", "@list.txt", status=2).says("16 MiB")
    pathlib.Path("list.txt").write_text("".join(f"t{i}=runs/a\n" for i in range(65537)))
    merged("--tasks", "@list.txt", status=2).says("more than 65536 tasks")


def test_add_takes_them_too():
    fill_folder()
    merged("--task", "runs/a", "--extendable")
    emr("add", "o.emr", "--base", "base.safetensors", "--tasks", "runs/[bC]*", "-o", "more.emr")
    assert tasks_of("more.emr") == ["a", "C", "b"]


run(globals())

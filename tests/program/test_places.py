"""test_places.py EMR - an output that is an input is refused, by whatever path or link, with --force too, and before
anything is opened for writing."""
import os
import pathlib

from program import *

BASE, ONE = {"w": [0.0] * 4, "z": [0.0]}, {"w": [1.0] * 4, "z": [1.0]}


def refused(what, *words, output=None, **options):
    """The call fails with status 2, and nothing in the folder changes."""
    def everything():
        return {str(p): p.is_file() and p.read_bytes() for p in pathlib.Path(".").rglob("*")}
    before = everything()
    output = ["-o", output] if output else []
    emr(*words, *output, "--force", status=2, **options).says(f"the output is {what}")
    assert everything() == before


def fill_folder():
    save("base/model.safetensors", BASE)
    save("one.safetensors", ONE)
    save_shards("two", "model", ONE)
    emr("merge", "--base", "base", "--task", "one.safetensors", "--task", "two", "--extendable", "-o", "o.emr")


MERGE = ["merge", "--base", "base", "--task", "one.safetensors", "--task", "two"]
APPLY = ["apply", "o.emr", "--base", "base", "--task", "one"]


def test_merge():
    fill_folder()
    for path in ("base", "base/", "base/model.safetensors", "./two/../base/model.safetensors"):
        refused("the base", *MERGE, output=path)
    refused("the checkpoint of task 'one'", *MERGE, output="one.safetensors")
    for path in ("two", "two/model.safetensors.index.json", "two/model-00002-of-00002.safetensors"):
        refused("the checkpoint of task 'two'", *MERGE, output=path)
    refused("the base", *MERGE, "--dry-run", output="base/model.safetensors")
    refused("the base", *MERGE, "--resume", output="base/model.safetensors")


def test_links():
    fill_folder()
    os.link("base/model.safetensors", "hard.emr")
    os.symlink("base/model.safetensors", "soft.emr")
    os.symlink("base", "folder")
    for path in ("hard.emr", "soft.emr", "folder/model.safetensors", "folder"):
        refused("the base", *MERGE, output=path)
    refused("the base", *APPLY[:2], "--base", "folder", "--task", "one", output="base")
    os.link("two/model-00001-of-00002.safetensors", "shard.emr")
    refused("the checkpoint of task 'two'", *MERGE, output="shard.emr")


def test_an_index_stands_for_its_shards():
    fill_folder()
    refused("the base", "merge", "--base", "two/model.safetensors.index.json", "--task", "one.safetensors",
            output="two/model-00001-of-00002.safetensors")


def test_add():
    fill_folder()
    save("three.safetensors", ONE)
    add = ["add", "o.emr", "--base", "base", "--task", "three.safetensors"]
    refused("the bundle", *add, output="o.emr")
    refused("the base", *add, output="base/model.safetensors")
    refused("the checkpoint of task 'three'", *add, output="three.safetensors")


def test_apply():
    fill_folder()
    for path in ("base", "base/model.safetensors"):
        refused("the base", *APPLY, output=path)
    refused("the base", *APPLY, "--shard-size", "16", output="base")
    refused("the bundle", *APPLY, output="o.emr")


def test_a_folder_in_which_the_base_would_be_removed():
    fill_folder()
    os.makedirs("out")
    for name in ("model", "consolidated", "diffusion_pytorch_model"):
        save(f"out/{name}.safetensors", BASE)
        refused("the base", "apply", "o.emr", "--base", f"out/{name}.safetensors", "--task", "one", output="out/")
        os.remove(f"out/{name}.safetensors")
    save("out/mine.safetensors", BASE)
    emr("apply", "o.emr", "--base", "out/mine.safetensors", "--task", "one", "-o", "out/")
    assert load("out/mine.safetensors") == BASE


def test_apply_onto_shards_of_the_base():
    fill_folder()
    save_shards("three", "model", BASE)
    apply = ["apply", "o.emr", "--base", "three", "--task", "one"]
    refused("the base", *apply, "--shard-size", "16", output="three")
    # one file would take the place of the base's index, and its shards' names are the base's
    refused("the base", *apply, output="three/model.safetensors")
    refused("the base", *apply, "--shard-size", "16", output="three/model.safetensors")


def test_export():
    fill_folder()
    refused("the bundle", "export", "o.emr", "--unified", output="o.emr")
    os.link("o.emr", "same.safetensors")
    refused("the bundle", "export", "o.emr", "--mask", "one", output="same.safetensors")


def test_drop_may_replace_its_bundle():
    fill_folder()
    emr("drop", "o.emr", "--task", "two", "-o", "o.emr", status=2).says("already exists")
    emr("drop", "o.emr", "--task", "two", "-o", "o.emr", "--force")
    assert tasks_of("o.emr") == ["one"]


def test_standard_output_led_into_an_input():
    fill_folder()
    for words, what, path in ((MERGE, "the base", "base/model.safetensors"), (APPLY, "the base", "base/model.safetensors"),
                              (APPLY, "the bundle", "o.emr"),
                              (["drop", "o.emr", "--task", "one"], "the bundle", "o.emr")):
        with open(path, "ab") as file:
            refused(what, *words, output="-", stdout=file)
    with open("fresh.emr", "wb") as file:
        emr(*MERGE, "-o", "-", stdout=file)
    assert tasks_of("fresh.emr") == ["one", "two"]


def test_what_only_lies_beside_an_input_may_be_replaced():
    fill_folder()
    for _ in range(2):
        emr(*MERGE, "-o", "base/all.emr", "--force")
        emr(*APPLY, "-o", "base/one.safetensors", "--force")
        emr(*APPLY, "-o", "one-again.safetensors", "--force")
        os.makedirs("out", exist_ok=True)
        emr(*APPLY, "-o", "out", "--force")
        emr("apply", "base/all.emr", "--base", "base", "--task", "two", "-o", "out", "--force")


def test_a_file_in_the_place_of_a_folder_stays():
    fill_folder()
    save("three/model.safetensors", ONE)
    pathlib.Path("three/config.json").write_text("{}")
    emr(*MERGE, "--task", "three", "-o", "p.emr")
    pathlib.Path("out").write_text("notes")
    emr("apply", "p.emr", "--base", "base", "--task", "three", "-o", "out", "--force", status=3).says(
        "out: already exists, and is no folder")
    assert pathlib.Path("out").read_text() == "notes"


def test_an_output_without_force_stays():
    fill_folder()
    before = unchanged(["o.emr"])
    emr(*MERGE, "-o", "o.emr", status=2).says("already exists", "--force")
    assert unchanged(["o.emr"]) == before


run(globals())

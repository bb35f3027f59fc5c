"""test_paths.py EMR - what is said of checkpoints that are not there, or in which there is nothing to merge."""
import os
import pathlib

from program import *

ONE = {"w": [1.0, 2.0]}


def refuse(base, task, status, *texts):
    result = emr("merge", "--base", base, "--task", task, "-o", "o.emr", status=status).says(*texts)
    assert not os.path.exists("o.emr")
    return result


def test_a_models_name_on_the_hub_is_no_path():
    save("one.safetensors", ONE)
    refuse("org/name", "one.safetensors", 3, "org/name", "nothing is downloaded", "folder")
    refuse("one.safetensors", "t=org/name-7B.v1", 3, "nothing is downloaded")
    emr("inspect", "org/name", status=3).says("nothing is downloaded")
    os.mkdir("org")
    for path in ("org/name", "name", "./org/name", "/org/name", "a/b/c", "x/y.safetensors", "x/y.gguf"):
        assert "downloaded" not in refuse(path, "one.safetensors", 3, "No such file").err, path


def test_a_shell_expands_no_tilde_inside_a_word():
    save("one.safetensors", ONE)
    refuse("one.safetensors", "t=~/x", 3, "~/x", "does not expand '~'", "$HOME")
    refuse("~/x", "one.safetensors", 3, "$HOME")
    save("~/x.safetensors", ONE)
    emr("merge", "--base", "one.safetensors", "--task", "t=~/x.safetensors", "-o", "o.emr")


def test_a_base_has_tensors():
    save("none.safetensors", {})
    save("one.safetensors", ONE)
    refuse("none.safetensors", "t=one.safetensors", 1, "none.safetensors", "no tensors")
    refuse("none.safetensors", "t=none.safetensors", 1, "no tensors")
    refuse("zeros", "t=none.safetensors", 1, "no float tensor")
    save("folder/model.safetensors", {})
    pathlib.Path("folder/config.json").write_text("{}")
    refuse("folder", "t=one.safetensors", 1, "no tensors")


def test_a_folder_with_a_model_and_an_adapter_is_neither():
    save("one.safetensors", ONE)
    save("both/model.safetensors", ONE)
    save("both/adapter_model.safetensors", {"base_model.model.w.lora_A.weight": [1.0]})
    for base, task in (("both", "t=one.safetensors"), ("one.safetensors", "t=both"), ("zeros", "t=both")):
        refuse(base, task, 1, "'model.safetensors'", "'adapter_model.safetensors'", "give the path of one")


def test_a_lora_is_known_by_its_names():
    save("one.safetensors", ONE)
    loras = {"unet.to_q.lora.down.weight": [1.0, 2.0]}, {"lora_unet_to_q.lora_up.weight": [1.0], "lora_unet_to_q.alpha": [4.0]}, \
        {"unet.attn.processor.to_q_lora.down.weight": [1.0]}, {"transformer.x.lora_A.weight": [1.0]}
    for tensors in loras:
        save("lora/pytorch_lora_weights.safetensors", tensors)
        refuse("one.safetensors", "t=lora", 1, "is an adapter", "--base zeros")
        emr("merge", "--base", "zeros", "--task", "t=lora", "-o", "o.emr")
        emr("apply", "o.emr", "--task", "t", "-o", "back/", "--force")
        assert load("back/pytorch_lora_weights.safetensors") == tensors
        os.remove("o.emr")


def test_very_long_names_leave_room():
    name = "a" * 5000 + "z" * 5000
    save("base.safetensors", {name: [0.0, 0.0], "w": [0.0, 0.0]})
    save("one.safetensors", ONE)
    refuse("base.safetensors", "one.safetensors", 1, "aaa...zzz", "--on-missing")
    out = emr("inspect", "base.safetensors").out
    assert "aaa...zzz" in out and len(out) < 2000
    emr("merge", "--base", "base.safetensors", "--task", "t=base.safetensors", "-o", "o.emr")
    assert len(emr("inspect", "o.emr").out) < 2000


run(globals())

"""folders.py - the program on folders as model hubs and trainers leave them: what lies beside a task's weights comes back
beside them, whole, and an earlier model in the folder does not stay. Written and read by hand, byte for byte.

    folders.py EMR
"""
import json
import pathlib
import random
import sys
import tempfile

from adapters import Emr, put_adapter, lora, read_safetensors, settings, write_safetensors

CONFIG = {"architectures": ["XForCausalLM"], "torch_dtype": "float32", "text_config": {"dtype": "float32", "n": 1},
          "limits": [0.0, float("inf")]}
FILES = {
    "config.json": json.dumps(CONFIG, indent=2) + "\n",
    "generation_config.json": '{"eos_token_id": 2}',
    "tokenizer.json": json.dumps({"vocab": {f"t{i}": i for i in range(5000)}}),
    "tokenizer_config.json": "{}",
    "chat_template.jinja": "{{ messages }}\r\n",
    "merges.txt": "",
    "1_Pooling/config.json": '{"pooling_mode_mean_tokens": true}',
}
NOT_CARRIED = {"README.md": "# x", "LICENSE.txt": "x", "modeling_x.py": "raise SystemExit", "trainer_state.json": "{}",
               "optimizer.pt": "x", ".gitattributes": "x", "pytorch_model.bin.index.json": "{}", "eval/config.json": "{}"}


def put_folder(path, tensors, files):
    path.mkdir()
    write_safetensors(path / "model.safetensors", tensors, {"format": "pt"})
    for name, text in {**files, **NOT_CARRIED}.items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_bytes(text.encode())


def files_of(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def check_folder(folder, files, weights=("model.safetensors",)):
    found = files_of(folder)
    assert sorted(found) == sorted([*files, *weights]), sorted(found)
    for name, text in files.items():
        assert found[name] == text.encode(), name


def model_tests(emr):
    r = random.Random(1)
    base = {f"w{i}": ([4, 8], [r.gauss(0, 1) for _ in range(32)]) for i in range(3)}
    put_folder(emr.folder / "base", base, {"config.json": "{}", "vocab.txt": "the base's"})
    names, files = ["chat", "code", "math"], {}
    for name in names:
        files[name] = {**FILES, "config.json": FILES["config.json"].replace("XFor", f"{name}For")}
        put_folder(emr.folder / name, {k: (s, [x + r.gauss(0, .1) for x in v]) for k, (s, v) in base.items()}, files[name])
    del files["math"]["merges.txt"]
    (emr.folder / "math/merges.txt").unlink()
    tasks = [w for n in names for w in ("--task", f"{n}={n}")]

    report = json.loads(emr("merge", "--base", "base", *tasks, "--extendable", "-o", "all.emr", "--json"))
    reasons = {t["reason"] for t in report["tensors"] if t["name"].startswith("file:")}
    assert reasons == {"a file of the task's folder"}, reasons
    emr("verify", "all.emr", "--base", "base", says="this is its base")
    listed = json.loads(emr("inspect", "all.emr", "--json"))["tasks"]
    for task in listed:
        assert {f["name"]: f["bytes"] for f in task["files"]} == {k: len(v) for k, v in files[task["name"]].items()}
        assert task["private_tensors"] == []
    emr("inspect", "all.emr", says=["tokenizer.json", "1_Pooling/config.json"])

    # a folder that is not there, and one that is
    for name in names:
        emr("apply", "all.emr", "--task", name, "--base", "base", "-o", f"{name}-out/")
        check_folder(emr.folder / f"{name}-out", files[name])
        assert read_safetensors(emr.folder / f"{name}-out/model.safetensors")[1] == {"format": "pt"}
    (emr.folder / "there").mkdir()
    (emr.folder / "there/notes.txt").write_text("mine")
    emr("apply", "all.emr", "--task", "code", "--base", "base", "-o", "there")
    check_folder(emr.folder / "there", {**files["code"], "notes.txt": "mine"})
    emr("apply", "all.emr", "--task", "code", "--base", "base", "-o", "no-slash")
    check_folder(emr.folder / "no-slash", files["code"])

    # in shards, in another dtype, over an earlier model
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"]
    again = ["apply", "all.emr", "--task", "math", "--base", "base", "-o", "chat-out/", "--dtype", "bf16", "--shard-size",
             "128", "--json"]
    emr(*again, status=2, says=["chat-out", "already exists"])
    check_folder(emr.folder / "chat-out", files["chat"])
    done = json.loads(emr(*again, "--force"))
    config = files["math"]["config.json"].replace('"float32"', '"bfloat16"')
    check_folder(emr.folder / "chat-out", {**files["math"], "config.json": config}, shards)
    assert sorted(done["files"]) == sorted(f"chat-out/{n}" for n in [*files["math"], *shards]), done["files"]
    assert done["tensors"] == 3 and done["bytes"] == 3 * 64
    index = json.loads((emr.folder / "chat-out/model.safetensors.index.json").read_text())
    assert index == {"metadata": {"total_size": 192}, "weight_map": {"w0": shards[0], "w1": shards[0], "w2": shards[1]}}
    emr("apply", "all.emr", "--task", "chat", "--base", "base", "-o", "chat-out/", status=2, says="already exists")
    emr("apply", "all.emr", "--task", "chat", "--base", "base", "-o", "chat-out/", "--force")
    check_folder(emr.folder / "chat-out", files["chat"])

    # what is written can be merged again, and comes back again
    emr("merge", "--base", "base", "--task", "c=code-out", "-o", "again.emr")
    emr("apply", "again.emr", "--task", "c", "--base", "base", "-o", "code-again/")
    check_folder(emr.folder / "code-again", files["code"])

    # files have weights alone; so has everything, where the files were left out
    emr("apply", "all.emr", "--task", "chat", "--base", "base", "-o", "chat.safetensors", says="3 tensors")
    assert sorted(read_safetensors(emr.folder / "chat.safetensors")[0]) == ["w0", "w1", "w2"]
    emr("merge", "--base", "base", *tasks, "--no-side-files", "-o", "bare.emr")
    assert all(t["files"] == [] for t in json.loads(emr("inspect", "bare.emr", "--json"))["tasks"])
    emr("apply", "bare.emr", "--task", "chat", "--base", "base", "-o", "bare-out/")
    check_folder(emr.folder / "bare-out", {})
    emr("apply", "bare.emr", "--task", "chat", "--base", "base", "-o", "bare-too", status=2, says="in '/'")

    # growing and shrinking
    emr("merge", "--base", "base", *tasks[:4], "--extendable", "-o", "two.emr")
    emr("add", "two.emr", "--base", "base", *tasks[4:], "-o", "three.emr")
    assert (emr.folder / "three.emr").read_bytes() == (emr.folder / "all.emr").read_bytes()
    emr("drop", "all.emr", "--task", "chat", "--task", "code", "-o", "one.emr")
    emr("apply", "one.emr", "--task", "math", "--base", "base", "-o", "dropped/")
    check_folder(emr.folder / "dropped", files["math"])


def adapter_tests(emr):
    files = {k: FILES[k] for k in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")}
    for i, name in enumerate(["french", "german"]):
        put_adapter(emr.folder / name, lora(i), settings())
        for file, text in {**files, **NOT_CARRIED}.items():
            (emr.folder / name / file).parent.mkdir(exist_ok=True)
            (emr.folder / name / file).write_bytes(text.encode())
    emr("merge", "--base", "zeros", "--task", "french=french", "--task", "german=german", "-o", "adapters.emr")
    emr("apply", "adapters.emr", "--task", "german", "-o", "german-out")
    config = (emr.folder / "german/adapter_config.json").read_text()
    check_folder(emr.folder / "german-out", {**files, "adapter_config.json": config}, ["adapter_model.safetensors"])
    # neither over a model nor the other way round
    emr("apply", "adapters.emr", "--task", "german", "-o", "code-out", status=2, says="code-out/")
    emr("apply", "all.emr", "--task", "code", "--base", "base", "-o", "german-out", status=2, says="german-out/")
    emr("apply", "all.emr", "--task", "code", "--base", "base", "-o", "german-out", "--force")
    assert "adapter_config.json" not in files_of(emr.folder / "german-out")


def main(program):
    with tempfile.TemporaryDirectory() as folder:
        emr = Emr(pathlib.Path(program).resolve(), pathlib.Path(folder))
        model_tests(emr)
        adapter_tests(emr)


if __name__ == "__main__":
    main(*sys.argv[1:])

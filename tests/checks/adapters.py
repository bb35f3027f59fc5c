"""adapters.py - the program on adapters as the PEFT library saves them: three directories are merged against zeros, grow
and shrink, and come out as directories that PEFT reads: its two files, with their names, tensors and settings. PEFT itself
reads them in tests/packages; what it asks of a directory is checked here by hand, with a reader of safetensors of our own.

    adapters.py EMR
"""
import json
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
STEM = "base_model.model.model.layers.{}.self_attn.{}_proj.lora_{}.weight"


def write_safetensors(path, tensors, metadata=None):
    header, data = ({"__metadata__": metadata} if metadata else {}), b""
    for name, (shape, values) in tensors.items():
        raw = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def read_safetensors(path):
    raw = path.read_bytes()
    n, = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8:8 + n])
    metadata, tensors = header.pop("__metadata__", {}), {}
    for name, t in header.items():
        begin, end = t["data_offsets"]
        assert t["dtype"] == "F32", name
        tensors[name] = (t["shape"], list(struct.unpack(f"<{(end - begin) // 4}f", raw[8 + n + begin:8 + n + end])))
    return tensors, metadata


def lora(seed):
    r = random.Random(seed)
    return {STEM.format(layer, which, ab): (shape, [r.gauss(0, 1) for _ in range(shape[0] * shape[1])])
            for layer in range(2) for which in "qv" for ab, shape in (("A", [4, 24]), ("B", [24, 4]))}


def settings(**changes):
    return {"peft_type": "LORA", "base_model_name_or_path": "some/model", "r": 4, "lora_alpha": 8, "lora_dropout": 0.1,
            "bias": "none", "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM", "inference_mode": True,
            "rank_pattern": {}, **changes}


def put_adapter(path, tensors, config, indent=2):
    path.mkdir()
    write_safetensors(path / WEIGHTS, tensors, {"format": "pt"})
    if config is not None:
        (path / CONFIG).write_text(json.dumps(config, indent=indent), encoding="utf-8")


class Emr:
    def __init__(self, program, folder):
        self.program, self.folder = program, folder

    def __call__(self, *words, status=0, says=""):
        done = subprocess.run([self.program, *map(str, words)], cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == status, f"{words}: {done.returncode}: {done.stderr}"
        for part in [says] if isinstance(says, str) else says:
            assert part in done.stdout + done.stderr, f"{words}: '{part}' is not in: {done.stdout}{done.stderr}"
        assert status == 0 or done.stderr.count("\n") == 1, f"{words}: more than a line: {done.stderr}"
        return done.stdout


def rebuilt(tasks, which):
    """Equations 1 to 6 with zeros as the base, in Python's own arithmetic; one rescaler a model."""
    unified, top, bottom = {}, 0.0, 0.0
    for name in tasks[which]:
        columns = zip(*(t[name][1] for t in tasks))
        unified[name] = [max((abs(v) for v in c if v * sum(c) > 0), default=0) * (1 if sum(c) > 0 else -1) for c in columns]
        own = tasks[which][name][1]
        top += sum(map(abs, own))
        bottom += sum(abs(u) for u, v in zip(unified[name], own) if u * v > 0)
    return {name: [top / bottom * u if u * v > 0 else 0 for u, v in zip(unified[name], tasks[which][name][1])]
            for name in unified}


def check_directory(emr, out, source, want):
    """The output is what PEFT loads: both files and no other, the adapter's own settings, its tensors."""
    assert sorted(p.name for p in (emr.folder / out).iterdir()) == [CONFIG, WEIGHTS]
    assert (emr.folder / out / CONFIG).read_bytes() == (emr.folder / source / CONFIG).read_bytes()
    got, metadata = read_safetensors(emr.folder / out / WEIGHTS)
    assert metadata["format"] == "pt"
    original, _ = read_safetensors(emr.folder / source / WEIGHTS)
    assert list(got) == list(original)
    for name, (shape, values) in got.items():
        assert shape == original[name][0], name
        assert all(abs(v - w) <= 1e-5 * max(1, abs(w)) for v, w in zip(values, want[name])), f"{out}: {name}"


def merge_words(names, *more):
    return ["merge", "--base", "zeros", *(w for n in names for w in ("--task", f"{n}={n}")), *more]


def lora_tests(emr):
    names = ["french", "german", "italian"]
    for i, name in enumerate(names): # settings that are the same in what counts, written in different ways
        same = [{}, {"target_modules": ["v_proj", "q_proj"], "inference_mode": False},
                {"lora_alpha": 8.0, "use_dora": False, "peft_version": "0.19.0", "revision": None}][i]
        put_adapter(emr.folder / name, lora(i), settings(**same), indent=[2, None, 4][i])
    tasks = [read_safetensors(emr.folder / n / WEIGHTS)[0] for n in names]

    plan = emr(*merge_words(names, "--dry-run"), says="the base is zeros for french's float tensors, and is embedded")
    assert "8 merged" in plan
    assert json.loads(emr(*merge_words(names, "--dry-run", "--json")))["base"] == "zeros"
    emr(*merge_words(names, "--extendable", "-o", "all.emr"))
    emr("verify", "all.emr", says="every checksum is right")
    emr("verify", "all.emr", "--base", "zeros", says="this is its base")
    for i, name in enumerate(names):
        emr("apply", "all.emr", "--task", name, "-o", f"{name}-out")
        check_directory(emr, f"{name}-out", name, rebuilt(tasks, i))
    emr("apply", "all.emr", "--task", "german", "-o", "german-out", status=2, says="already exists")
    emr("apply", "all.emr", "--task", "italian", "--base", "zeros", "-o", "german-out", "--force")
    check_directory(emr, "german-out", "italian", rebuilt(tasks, 2))
    emr("apply", "all.emr", "--task", "french", "-o", f"french-out/../german-out/{WEIGHTS}", "--force")
    check_directory(emr, "german-out", "french", rebuilt(tasks, 0))

    # against a checkpoint of zeros the bundle is the same, and zeros apply where it was not embedded
    write_safetensors(emr.folder / "zeros.safetensors", {n: (s, [0] * len(v)) for n, (s, v) in tasks[0].items()})
    explicit = ["--base" if w == "--base" else "zeros.safetensors" if w == "zeros" else w for w in merge_words(names)]
    emr(*explicit, "--extendable", "--embed-base", "--on-missing", "absent", "-o", "explicit.emr")
    assert (emr.folder / "explicit.emr").read_bytes() == (emr.folder / "all.emr").read_bytes()
    emr(*explicit, "-o", "bare.emr")
    emr("apply", "bare.emr", "--task", "french", "-o", "never", status=2, says="--base CHECKPOINT is needed")
    emr("apply", "bare.emr", "--task", "french", "--base", "zeros", "-o", "bare-out")
    check_directory(emr, "bare-out", "french", rebuilt(tasks, 0))

    # growing and shrinking
    emr(*merge_words(names[:2], "--extendable", "-o", "two.emr"))
    emr("add", "two.emr", "--base", "zeros", "--task", "italian=italian", "--dry-run",
        says="the base is zeros for the bundle's first task's float tensors")
    emr("add", "two.emr", "--base", "zeros", "--task", "italian=italian", "-o", "three.emr")
    assert (emr.folder / "three.emr").read_bytes() == (emr.folder / "all.emr").read_bytes()
    emr("drop", "all.emr", "--task", "french", "-o", "less.emr")
    emr("apply", "less.emr", "--task", "german", "-o", "less-out")
    check_directory(emr, "less-out", "german", rebuilt(tasks, 1))

    # a word, not a path: ./zeros is a path
    emr("merge", "--base", "./zeros", "--task", "french=french", "-o", "never.emr", status=3, says="./zeros")
    (emr.folder / "zeros").mkdir()
    emr(*merge_words(names[:1], "--dry-run"), says="the base is zeros")
    emr("merge", "--base", "./zeros", "--task", "french=french", "-o", "never.emr", status=1, says="no .safetensors file")


def difference_tests(emr):
    """Tensors that tasks do not share, by the rules for any base."""
    head = {"head.weight": ([3], [1.0, 2.0, 3.0])}
    put_adapter(emr.folder / "plain", lora(7), settings())
    put_adapter(emr.folder / "headed", {**lora(8), **head}, settings())
    put_adapter(emr.folder / "headed-too", {**lora(9), "head.weight": ([3], [4.0, 5.0, 6.0])}, settings())
    emr("merge", "--base", "zeros", "--task", "a=plain", "--task", "b=headed", "--extendable", "-o", "heads.emr")
    emr("apply", "heads.emr", "--task", "b", "-o", "head-out")
    assert read_safetensors(emr.folder / "head-out" / WEIGHTS)[0]["head.weight"] == head["head.weight"]
    emr("apply", "heads.emr", "--task", "a", "-o", "headless")
    assert "head.weight" not in read_safetensors(emr.folder / "headless" / WEIGHTS)[0]
    emr("merge", "--base", "zeros", "--task", "b=headed", "--task", "a=plain", "-o", "lacking.emr")
    emr("apply", "lacking.emr", "--task", "a", "-o", "lacking-out")
    assert "head.weight" not in read_safetensors(emr.folder / "lacking-out" / WEIGHTS)[0]
    emr("merge", "--base", "zeros", "--on-missing", "base", "--task", "b=headed", "--task", "a=plain", "-o", "given.emr")
    emr("apply", "given.emr", "--task", "a", "-o", "given-out")
    assert read_safetensors(emr.folder / "given-out" / WEIGHTS)[0]["head.weight"] == ([3], [0, 0, 0])

    # private tensors, and adding to them: the same bytes as at once
    merge = ["merge", "--base", "zeros", "--private", "head*", "--extendable", "--task", "b=headed"]
    emr(*merge, "--task", "c=headed-too", "-o", "private.emr")
    emr(*merge, "-o", "one.emr")
    emr("add", "one.emr", "--base", "zeros", "--task", "c=headed-too", "-o", "private-too.emr")
    assert (emr.folder / "private-too.emr").read_bytes() == (emr.folder / "private.emr").read_bytes()
    emr("apply", "private.emr", "--task", "c", "-o", "private-out")
    assert read_safetensors(emr.folder / "private-out" / WEIGHTS)[0]["head.weight"] == ([3], [4.0, 5.0, 6.0])

    # what is private may be absent: a task that lacks it comes back without
    lacking = ["--task", "d=plain"]
    emr(*merge, *lacking, "-o", "without.emr")
    emr("add", "one.emr", "--base", "zeros", *lacking, "-o", "without-too.emr")
    assert (emr.folder / "without-too.emr").read_bytes() == (emr.folder / "without.emr").read_bytes()
    emr("apply", "without.emr", "--task", "d", "-o", "without-out")
    assert "head.weight" not in read_safetensors(emr.folder / "without-out" / WEIGHTS)[0]
    merge += ["--on-missing", "base"]
    emr(*merge, *lacking, "-o", "at-once.emr")
    emr(*merge, "-o", "lenient.emr")
    emr("add", "lenient.emr", "--base", "zeros", *lacking, "-o", "later.emr")
    assert (emr.folder / "later.emr").read_bytes() == (emr.folder / "at-once.emr").read_bytes()

    # zeros are not the base of a bundle that was made with another one
    emr("merge", "--base", "plain", "--task", "b=headed", "--extendable", "-o", "other.emr")
    emr("verify", "other.emr", "--base", "zeros", status=1, says="differs")
    emr("apply", "other.emr", "--task", "b", "--base", "zeros", "-o", "never", status=1, says="zeros")
    emr("add", "other.emr", "--base", "zeros", "--task", "c=headed-too", "-o", "never.emr", status=1, says="zeros")
    assert not (emr.folder / "never").exists() and not (emr.folder / "never.emr").exists()


def agreement_tests(emr):
    put_adapter(emr.folder / "one", lora(11), settings())
    put_adapter(emr.folder / "same", lora(12), settings())
    put_adapter(emr.folder / "other", lora(13), settings(bias="all"))
    put_adapter(emr.folder / "bare", lora(14), None)
    words = "merge", "--base", "zeros", "--task", "x=one", "-o", "never.emr"
    both = ["task 'x'", "task 'y'", "'bias'", '"none" and "all"']
    emr(*words, "--task", "y=other", status=1, says=both)
    emr(*words, "--task", "y=other", "--dry-run", status=1, says=both)
    emr(*words, "--task", "z=same", "--task", "y=bare", status=1, says=["task 'x'", "task 'y'", "has none"])
    emr("merge", "--base", "zeros", "--task", "x=one", "--extendable", "-o", "agreed.emr")
    emr("add", "agreed.emr", "--base", "zeros", "--task", "y=other", "-o", "never.emr", status=1, says=both)
    emr("add", "agreed.emr", "--base", "zeros", "--task", "y=bare", "-o", "never.emr", status=1, says="has none")
    # initial values as the base: an adapter must agree, a plain file need not
    emr("merge", "--base", "other", "--task", "x=one", "-o", "never.emr", status=1,
        says=["task 'x'", "the base (other)", '"none" and "all"'])
    emr("merge", "--base", "same", "--task", "x=one", "-o", "initial.emr")
    emr("merge", "--base", f"bare/{WEIGHTS}", "--task", "x=one", "-o", "plain.emr")
    assert not (emr.folder / "never.emr").exists()
    (emr.folder / "other" / CONFIG).write_text("{")
    emr("inspect", "other", status=1, says=f"other/{CONFIG}: ")
    # how training began does not matter; scales and layers come back with each task
    put_adapter(emr.folder / "began", lora(15), settings(init_lora_weights="gaussian", lora_alpha=32, target_modules=["q_proj"]))
    emr("merge", "--base", "zeros", "--task", "x=one", "--task", "y=began", "-o", "began.emr")
    emr("apply", "began.emr", "--task", "y", "-o", "began-out")
    assert (emr.folder / "began-out" / CONFIG).read_bytes() == (emr.folder / "began" / CONFIG).read_bytes()
    # one base under two names, if the user says so
    put_adapter(emr.folder / "moved", lora(16), settings(base_model_name_or_path="/data/model", revision="main"))
    emr(*words, "--task", "y=moved", status=1, says="end in the same name: if they are one model, say --adapter-differ base_model_name_or_path")
    emr(*words, "--task", "y=moved", "--adapter-differ", "base_model_name_or_path", status=1, says="say --adapter-differ revision")
    same = ["--adapter-differ", "base_model_name_or_path", "--adapter-differ=revision"]
    emr("merge", "--base", "zeros", "--task", "x=one", "--task", "y=moved", *same, "-o", "moved.emr")
    emr("add", "agreed.emr", "--base", "zeros", "--task", "y=moved", "-o", "never.emr", status=1, says="'base_model_name_or_path'")
    emr("add", "agreed.emr", "--base", "zeros", "--task", "y=moved", *same, "-o", "moved-too.emr")
    emr(*words, "--adapter-differ", "", status=2, says="is empty")


def ia3_tests(emr):
    """(IA)^3's vectors begin as ones, which a few lines of any language write."""
    stem, r = "base_model.model.layers.0.{}.ia3_l", random.Random(3)
    shapes = {stem.format("k_proj"): [24, 1], stem.format("down_proj"): [1, 40]}
    config = {"peft_type": "IA3", "target_modules": ["k_proj", "down_proj"], "feedforward_modules": ["down_proj"]}
    vectors = {}
    for name in ("a", "b"):
        vectors[name] = {n: (s, [1 + r.gauss(0, 0.1) for _ in range(s[0] * s[1])]) for n, s in shapes.items()}
        put_adapter(emr.folder / f"ia3-{name}", vectors[name], config)
    words = "--task", "a=ia3-a", "--task", "b=ia3-b", "--extendable", "-o"
    emr("merge", "--base", "zeros", *words, "never.emr", status=1, says=["task 'a'", "--base ones"])
    emr("merge", "--base", "ones", *words, "ones.emr", "--dry-run", says="the base is ones for a's float tensors, and is embedded")
    emr("merge", "--base", "ones", *words, "ones.emr")
    write_safetensors(emr.folder / "ones.safetensors", {n: (s, [1.0] * (s[0] * s[1])) for n, s in shapes.items()})
    emr("merge", "--base", "ones.safetensors", "--embed-base", "--on-missing", "absent", *words, "by-file.emr")
    assert (emr.folder / "by-file.emr").read_bytes() == (emr.folder / "ones.emr").read_bytes()
    emr("merge", "--base", "ones", "--task", "a=ia3-a", "--extendable", "-o", "one.emr")
    emr("add", "one.emr", "--base", "ones", "--task", "b=ia3-b", "-o", "two.emr")
    assert (emr.folder / "two.emr").read_bytes() == (emr.folder / "ones.emr").read_bytes()
    emr("verify", "two.emr", "--base", "ones", says="this is its base")
    emr("verify", "two.emr", "--base", "zeros", status=1, says="differs")
    emr("apply", "two.emr", "--task", "a", "-o", "again")
    emr("merge", "--base", "ones.safetensors", "--embed-base", "--task", "a=ia3-a", "--task", "b=ia3-b", "-o", "ia3.emr")
    tasks = [{n: (s, [v - 1 for v in values]) for n, (s, values) in vectors[t].items()} for t in "ab"]
    for i, name in enumerate("ab"):
        emr("apply", "ia3.emr", "--task", name, "-o", f"ia3-{name}-out")
        changes = rebuilt(tasks, i)
        check_directory(emr, f"ia3-{name}-out", f"ia3-{name}", {n: [1 + v for v in c] for n, c in changes.items()})


def applied_tests(emr):
    """What the base becomes with each adapter: W + s B A, by the base's own names."""
    r, shapes = random.Random(5), {"embed": [3, 24]}
    shapes.update({f"layers.{layer}.self_attn.{which}_proj.weight": [24, 24] for layer in range(2) for which in "qkv"})
    base = {n: (s, [r.gauss(0, 1) for _ in range(s[0] * s[1])]) for n, s in shapes.items()}
    write_safetensors(emr.folder / "base.safetensors", base, {"format": "pt"})
    config = settings(lora_alpha=6, rank_pattern={}, fan_in_fan_out=False)
    for i, name in enumerate(("french", "german")):
        put_adapter(emr.folder / name, lora(20 + i), config)
    words = ["merge", "--base", "base.safetensors", "--task", "french=french"]
    emr(*words, "-o", "never.emr", status=1, says=["french", "is an adapter", "--base zeros", "--apply-adapters"])
    emr(*words, "--on-missing", "base", "-o", "never.emr", status=1, says="is an adapter")
    emr("merge", "--base", "zeros", "--task", "french=french", "--apply-adapters", "-o", "never.emr", status=2, says="not zeros")
    folded = {}
    for i, name in enumerate(("french", "german")):
        adapter, folded[name] = lora(20 + i), dict(base)
        for layer in range(2):
            for which in "qv":
                key = f"layers.{layer}.self_attn.{which}_proj.weight"
                a, b = (adapter[STEM.format(layer, which, ab)][1] for ab in "AB")
                folded[name][key] = ([24, 24], [w + 1.5 * sum(b[j // 24 * 4 + k] * a[k * 24 + j % 24] for k in range(4))
                                                for j, w in enumerate(base[key][1])])
    # one task alone: its own weights, but for rounding
    emr(*words, "--apply-adapters", "-o", "one.emr")
    emr("apply", "one.emr", "--task", "french", "--base", "base.safetensors", "-o", "french.safetensors")
    got, metadata = read_safetensors(emr.folder / "french.safetensors")
    assert metadata == {"format": "pt"} and list(got) == list(base), metadata
    for name, (_, values) in got.items():
        assert all(abs(v - w) <= 1e-5 * max(1, abs(w)) for v, w in zip(values, folded["french"][name][1])), name
    # with a whole model beside it, as if it had been folded before
    write_safetensors(emr.folder / "german.safetensors", got)
    both = ["--task", "german=german.safetensors", "--extendable", "-o"]
    emr(*words, *both, "mixed.emr", "--apply-adapters")
    emr("merge", "--base", "base.safetensors", "--task", "french=french", "--apply-adapters", "--extendable", "-o", "first.emr")
    emr("add", "first.emr", "--base", "base.safetensors", "--task", "german=german.safetensors", "-o", "added.emr")
    assert (emr.folder / "added.emr").read_bytes() == (emr.folder / "mixed.emr").read_bytes()
    emr("add", "first.emr", "--base", "base.safetensors", "--task", "german=german", "-o", "never.emr", status=1, says="--apply-adapters")
    emr("add", "first.emr", "--base", "base.safetensors", "--task", "german=german", "--apply-adapters", "-o", "added.emr", "--force")
    emr("merge", "--base", "base.safetensors", "--task", "french=french", "--task", "german=german", "--apply-adapters", "--extendable",
        "-o", "all.emr", "--threads", "2")
    assert (emr.folder / "added.emr").read_bytes() == (emr.folder / "all.emr").read_bytes()
    # what has no configuration, or another kind, is not applied
    put_adapter(emr.folder / "bare", lora(23), None)
    emr("merge", "--base", "base.safetensors", "--task", "x=bare", "-o", "never.emr", status=1, says=["is an adapter", "--base zeros"])
    emr("merge", "--base", "base.safetensors", "--task", "x=bare", "--apply-adapters", "-o", "never.emr", status=1, says=f"no {CONFIG}")
    put_adapter(emr.folder / "loha", lora(24), settings(peft_type="LOHA"))
    emr("merge", "--base", "base.safetensors", "--task", "x=loha", "--apply-adapters", "-o", "never.emr", status=1, says="LOHA")
    assert not (emr.folder / "never.emr").exists()


def rank_tests(emr):
    """Ranks 4 and 8: a task's own comes back, with its own configuration."""
    wide, r = {}, random.Random(31)
    for name, (shape, _) in lora(30).items():
        shape = [8 if n == 4 else n for n in shape]
        wide[name] = (shape, [r.gauss(0, 1) for _ in range(shape[0] * shape[1])])
    put_adapter(emr.folder / "narrow", lora(30), settings())
    put_adapter(emr.folder / "wide", wide, settings(r=8, lora_alpha=16))
    for i, names in enumerate((["narrow", "wide"], ["wide", "narrow"])):
        emr(*merge_words(names, "-o", f"{i}.emr"))
        emr("verify", f"{i}.emr", "--base", "zeros", says="this is its base")
        for name in names:
            emr("apply", f"{i}.emr", "--task", name, "-o", f"{name}-{i}")
            got, _ = read_safetensors(emr.folder / f"{name}-{i}" / WEIGHTS)
            want, _ = read_safetensors(emr.folder / name / WEIGHTS)
            assert {n: s for n, (s, _) in got.items()} == {n: s for n, (s, _) in want.items()}
            assert (emr.folder / f"{name}-{i}" / CONFIG).read_bytes() == (emr.folder / name / CONFIG).read_bytes()
            same = sum(v * w > 0 for n in got for v, w in zip(got[n][1], want[n][1]))
            assert same > 0.5 * sum(len(v) for _, v in got.values()), same
    emr(*merge_words(["narrow", "wide"], "--on-missing", "base", "-o", "never.emr"), status=2, says="ranks differ")
    # anything else that differs is as it was: an error
    put_adapter(emr.folder / "headed", {**wide, "head.weight": ([3], [1.0, 2.0, 3.0])}, settings(r=8))
    put_adapter(emr.folder / "other", {**lora(30), "head.weight": ([2], [1.0, 2.0])}, settings())
    emr(*merge_words(["headed", "other"], "-o", "never.emr"), status=1, says="shape")


def main(program):
    tests = [lora_tests, difference_tests, agreement_tests, ia3_tests, applied_tests, rank_tests]
    for test in tests:
        with tempfile.TemporaryDirectory() as folder:
            test(Emr(pathlib.Path(program).resolve(), pathlib.Path(folder)))
    print(f"{len(tests)} ways with adapters")


if __name__ == "__main__":
    main(*sys.argv[1:])

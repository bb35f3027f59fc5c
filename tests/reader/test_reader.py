#!/usr/bin/env python3
"""test_reader.py - the golden bundles of format 1.0, read by the independent reader and by the program of this build: both give the
same weights bit for bit; bundles without zstd frames are written again to the same bytes; and damage is found.

    test_reader.py EMR GOLDEN [--write]      (--write makes golden bundles that are not there: for a new feature)
"""
import json
import pathlib
import random
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import edit_bundle as edit  # noqa: E402
from emr_reader import Bundle, Refused, read_metadata, read_safetensors  # noqa: E402


def run(*words):
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, words))}: {done.stderr}"


def table(golden):
    """File, folder of the inputs, how many tasks, options."""
    for line in (golden / "bundles" / "bundles.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, folder, *options = line.split()
            yield golden / "bundles" / name, golden / folder, len(list((golden / folder).glob("t*.safetensors"))), options


def merge(emr, folder, n_tasks, options, out):
    tasks = [word for t in range(n_tasks) for word in ("--task", f"t{t}={folder}/t{t}.safetensors")]
    run(emr, "merge", "--base", folder / "base.safetensors", *tasks, *options, "--quiet", "-o", out)


def check_weights(emr, path, folder, n_tasks, scratch):
    bundle = Bundle(path.read_bytes())
    bundle.verify()
    run(emr, "verify", path, "--base", folder / "base.safetensors", "--quiet")
    base = read_safetensors(folder / "base.safetensors")
    for t in range(n_tasks):
        out = scratch / "out.safetensors"
        run(emr, "apply", path, "--task", f"t{t}", "--base", folder / "base.safetensors", "--quiet", "--force", "-o", out)
        got, want = read_safetensors(out), bundle.model(f"t{t}", base)
        assert set(got) == set(want), f"{path.name}: t{t} has other tensors"
        for name in want:
            assert got[name] == want[name], f"{path.name}: t{t}: {name} differs"
        assert read_metadata(out) == bundle.tasks[t]["metadata"], f"{path.name}: t{t}'s metadata differ"
        if bundle.has_base:
            assert bundle.model(f"t{t}") == want, f"{path.name}: t{t} from the embedded base differs"
    return bundle


def check_metadata(bundle, folder, n_tasks):
    """The bundle has its inputs' metadata."""
    assert bundle.metadata == read_metadata(folder / "base.safetensors"), f"{folder.name}: the base's metadata differ"
    for t in range(n_tasks):
        assert bundle.tasks[t]["metadata"] == read_metadata(folder / f"t{t}.safetensors"), f"{folder.name}: t{t}'s metadata differ"


def check_crafted(bundle, source, folder, n_tasks):
    """A bundle that was made from another one holds the same weights."""
    base = read_safetensors(folder / "base.safetensors")
    for t in range(n_tasks):
        assert bundle.model(f"t{t}", base) == Bundle(source.read_bytes()).model(f"t{t}", base), f"{source.name}: t{t} became another"


# What to change in a bundle, what both readers must say, and of which bundle: where, at which byte, a number.
CHANGES = [
    ("grid_raw", "header", 8, "<H", 2, "EMR_EVERSION"), ("grid_raw", "header", 12, "<I", 128, "EMR_EFORMAT"),
    ("grid_raw", "header", 16, "<Q", 8, "EMR_EVERSION"), ("grid_raw", "header", 0, "<B", 0x88, "EMR_EFORMAT"),
    ("grid_raw", "header", 10, "<H", 9, None),
    ("grid_raw", edit.SUMMARY, 0, "<B", 3, "EMR_EVERSION"), ("negative_tensor_raw", edit.SUMMARY, 0, "<B", 1, "EMR_EVERSION"),
    ("grid_raw", edit.SUMMARY, 6, "<B", 2, "EMR_EFORMAT"), ("grid_raw", edit.SUMMARY, 7, "<B", 2, None),
    ("grid_raw", edit.TASKS, 4, "<I", 0x80000000, "EMR_EFORMAT"), ("negative_tensor_raw", edit.TASKS, 4, "<f", 1, "EMR_EFORMAT"),
    ("grid_raw", edit.TASKS, 16, "<Q", 1, "EMR_EFORMAT"), ("nonfinite_raw", edit.TASKS, 16, "<Q", 9, None),
    ("grid_raw", edit.TASKS, 24, "<I", 2, "EMR_EFORMAT"), ("grid_raw", edit.TENSORS, 12, "<I", 2, "EMR_EFORMAT"),
    ("grid_raw", edit.TENSORS, 24, "<Q", 12345, None), ("grid_raw", edit.TENSORS, 8, "<H", 65, "EMR_EFORMAT"),
    ("grid_raw", edit.TASK_DTYPES, 0, "<B", 0, "EMR_EFORMAT"), ("grid_raw", edit.TASK_DTYPES, 0, "<B", 17, "EMR_EFORMAT"),
    ("negative_tensor_raw", edit.RESCALERS, 3, "<B", 0x80, "EMR_EFORMAT"),
    ("grid_raw", edit.STREAMS, 0, "<I", 99, "EMR_EVERSION"), ("grid_raw", edit.STREAMS, 24, "<I", 256, "EMR_EFORMAT"),
    ("grid_raw", edit.BLOCKS, 20, "<B", 4, "EMR_EVERSION"), ("grid_raw", edit.BLOCKS, 21, "<B", 1, "EMR_EFORMAT"),
    ("grid_raw", edit.BLOCKS, 8, "<Q", 0, "EMR_ECORRUPT"), ("unusual", edit.STRINGS, -3, "<B", 0xFF, "EMR_EFORMAT"),
    ("carried_raw", edit.GROWTH, 0, "<B", 4, "EMR_EVERSION"), ("carried_raw", edit.GROWTH, 4, "<i", 20, "EMR_EVERSION"),
    ("carried_raw", edit.GROWTH, 8, "<I", 4095, "EMR_EFORMAT"), ("carried_raw", edit.GROWTH, 16, "<d", -0.0, "EMR_EFORMAT"),
    ("carried_raw", edit.SUMMARY, 0, "<B", 2, "EMR_EVERSION"), ("carried_raw", edit.PRIVATE, 14, "<H", 7, "EMR_EFORMAT"),
]


def check_changes(emr, golden, scratch):
    """Both readers refuse the same, and bear the same."""
    texts = {"EMR_EFORMAT": "not a", "EMR_EVERSION": "needs a newer libemr", "EMR_ECORRUPT": "damaged"}
    for name, section, at, layout, value, status in CHANGES:
        parts = edit.Parts((golden / "bundles" / f"{name}.emr").read_bytes())
        where = parts.header if section == "header" else parts[section]
        edit.struct.pack_into(layout, where, at, value)
        data, what = parts.build(), f"{name}: {value} at {at} of {section}"
        (scratch / "changed.emr").write_bytes(data)
        try:
            Bundle(data).verify()
            assert status is None, f"{what}: the reader takes it"
        except Refused as refused:
            assert refused.status == status, f"{what}: {refused}"
        done = subprocess.run([emr, "verify", scratch / "changed.emr", "--json"], capture_output=True, text=True)
        why = json.loads(done.stdout)["why"]
        assert texts[status] in why if status else not why, f"{what}: emr says '{why}'"


def check_computed_nans(emr, golden, scratch):
    """Mask bits where the base or the unified value is NaN or infinite, in every dtype: sums that are the page's one NaN."""
    parts = edit.Parts((golden / "bundles" / "nan_payloads_raw.emr").read_bytes())
    odd = [0x7FC00000, 0xFFC12345, 0x7F800001, 0xFFFFFFFF, 0x7F800000, 0xFF800000, 0x3F800000]
    rng, blocks = random.Random(2), parts.records(edit.BLOCKS, "<QQIBBH")
    for i, (offset, _, size, *_) in enumerate(blocks):  # the unified vector, then each task's mask, of 37 bits a tensor
        if i == 0:
            stored = b"".join(edit.struct.pack("<I", rng.choice(odd)) for _ in range(size // 4))
        else:
            stored = b"".join(edit.struct.pack("<Q", rng.getrandbits(37)) for _ in range(size // 8))
        parts.data[offset - 64:offset - 64 + size] = stored
        blocks[i][1] = edit.xxhash.xxh3_64_intdigest(stored)
    parts.set_records(edit.BLOCKS, "<QQIBBH", blocks)
    (scratch / "nans.emr").write_bytes(parts.build())
    check_weights(emr, scratch / "nans.emr", golden / "nan_payloads", 6, scratch)


def check_damage(path):
    data = bytearray(path.read_bytes())
    for bit in random.Random(1).sample(range(len(data) * 8), 400):
        data[bit // 8] ^= 1 << bit % 8
        try:
            Bundle(bytes(data)).verify()
            raise AssertionError(f"{path.name}: bit {bit} was flipped and not found")
        except Refused:
            data[bit // 8] ^= 1 << bit % 8


def main(words):
    emr, golden, n, same = pathlib.Path(words[0]), pathlib.Path(words[1]), 0, 0
    features = set()
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        for path, folder, n_tasks, options in table(golden):
            crafted = options[:1] == ["from"]
            if "--write" in words and not crafted and not path.exists():
                merge(emr, folder, n_tasks, options, path)
            bundle = check_weights(emr, path, folder, n_tasks, scratch)
            if crafted:
                check_crafted(bundle, golden / "bundles" / options[1], folder, n_tasks)
            else:
                check_metadata(bundle, folder, n_tasks)
            features |= {f"codec {b[3]}" for b in bundle.blocks} | {f"stream {s[0]}" for s in bundle.all_streams}
            features |= {f"several blocks {s[0]}" for s in bundle.all_streams if s[2] > s[4]}
            features |= {f"rule {bundle.rule}", f"per {bundle.per}", f"tie {bundle.tie}", f"unified {bundle.unified_dtype}"}
            if "--zstd-level 0" in " ".join(options):
                merge(emr, folder, n_tasks, [*options, "--force"], scratch / "again.emr")
                assert (scratch / "again.emr").read_bytes() == path.read_bytes(), f"{path.name} is written otherwise now"
                same += 1
            if n % 5 == 0:
                check_damage(path)
            n += 1
        check_changes(emr, golden, scratch)
        check_computed_nans(emr, golden, scratch)
    wanted = {f"codec {i}" for i in range(4)} | {f"stream {i}" for i in range(1, 12)} | {f"several blocks {i}" for i in range(1, 12)}
    wanted |= {f"{what} {i}" for what, most in (("rule", 3), ("per", 3), ("tie", 2)) for i in range(most)} | {"unified 1", "unified 2", "unified 3"}
    assert wanted <= features, f"no golden bundle has {sorted(wanted - features)}"
    print(f"{n} golden bundles read, {same} written again to the same bytes")
    assert n and same


if __name__ == "__main__":
    main(sys.argv[1:])

#!/usr/bin/env python3
"""test_reader.py - the golden bundles, read by the independent reader and by the program of this build: both give the
same weights bit for bit; bundles without zstd frames are written again to the same bytes; and damage is found.

    test_reader.py EMR GOLDEN [--write]      (--write makes golden bundles that are not there: for a new feature)
"""
import json
import pathlib
import random
import subprocess
import sys
import tempfile

sys.path[:0] = [str(pathlib.Path(__file__).parent), str(pathlib.Path(__file__).parent.parent / "golden")]
import edit_bundle as edit  # noqa: E402
import make_crafted as crafted  # noqa: E402
from emr_reader import Bundle, Refused, read_metadata, read_safetensors, write_safetensors  # noqa: E402


def run(*words):
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, words))}: {done.stderr}"


def table(golden):
    """File, folder of the inputs, how many tasks, options."""
    for line in (golden / "bundles" / "bundles.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, folder, *options = line.split()
            yield golden / "bundles" / name, golden / folder, len(list((golden / folder).glob("t*.safetensors"))), options


def merge(emr, folder, n_tasks, options, out, base=None):
    tasks = [word for t in range(n_tasks) for word in ("--task", f"t{t}={folder}/t{t}.safetensors")]
    run(emr, "merge", "--base", base or folder / "base.safetensors", *tasks, *options, "--quiet", "-o", out)


def apply(emr, path, task, base, scratch):
    out = scratch / "out.safetensors"
    run(emr, "apply", path, "--task", task, "--base", base, "--quiet", "--force", "-o", out)
    return out


def check_weights(emr, path, folder, n_tasks, scratch):
    bundle = Bundle(path.read_bytes())
    bundle.verify()
    run(emr, "verify", path, "--base", folder / "base.safetensors", "--quiet")
    base = read_safetensors(folder / "base.safetensors")
    for t in range(n_tasks):
        out = apply(emr, path, f"t{t}", folder / "base.safetensors", scratch)
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


def check_expected(bundle, path, folder, n_tasks):
    """Where the bundle's options are the case's and its sums exact, the weights are those of make_golden.py."""
    options, expected = read_metadata(folder / "expected.safetensors"), read_safetensors(folder / "expected.safetensors")
    same = ["l1", "l1-means", "l2"][bundle.rule] == options["rescale"] and ["model", "tensor", "row"][bundle.per] == options["per"]
    if options["exact"] == "no" or not same or ["zero", "negative"][bundle.tie] != options["tie"]:
        return 0
    base = read_safetensors(folder / "base.safetensors")
    for t in range(n_tasks):
        prefix = f"weights/t{t}/"
        want = {name[len(prefix):]: tensor for name, tensor in expected.items() if name.startswith(prefix)}
        assert bundle.model(f"t{t}", base) == want, f"{path.name}: t{t} is not what the formulas give"
    return 1


def word_of(m):
    """A kind as --modulator calls it."""
    return {1: "mask", 2: "two-sided", 3: "sign", 4: f"thin:1/{1 << m['thinning']}",
            5: {3: "ternary", 4: "levels:2", 8: "levels:3", 16: "levels:4"}.get(m["levels"])}[m["kind"]]


def check_expected_kinds(bundle, path, folder, n_tasks):
    """The weights are those of make_kinds.py, and so is how near they come."""
    label = path.stem[len(folder.name) + 1:].split("_")[0]
    options, expected = read_metadata(folder / f"expected_{label}.safetensors"), read_safetensors(folder / f"expected_{label}.safetensors")
    assert [word_of(m) for m in bundle.modulators] == options["kinds"].split(), f"{path.name}: its kinds are others"
    base = read_safetensors(folder / "base.safetensors")
    for t in range(n_tasks):
        prefix = f"weights/t{t}/"
        want = {name[len(prefix):]: tensor for name, tensor in expected.items() if name.startswith(prefix)}
        got = bundle.model(f"t{t}", base)
        for name in want:
            assert got[name] == want[name], f"{path.name}: {name} of t{t}, a {word_of(bundle.modulators[t])}, is not what the formulas give"
        assert set(got) == set(want), f"{path.name}: t{t} has other tensors"
        near = edit.struct.unpack("<3d", expected[f"fidelity/t{t}"][2])
        measured = bundle.modulators[t]["measured"]
        most = 1e-3 if folder.name == "kinds_chunks" else 1e-5  # sums of rows that are cut take their parts for whole ones
        assert all(abs(a - b) < most for a, b in zip(near, measured)), f"{path.name}: t{t}: {measured}, not {near}"
    return 1


def check_crafted(bundle, path, source, folder, n_tasks):
    """A bundle that was made from another one holds the same weights, under its tasks' names."""
    base, arranged = read_safetensors(folder / "base.safetensors"), crafted.ARRANGED.get(path.stem, {})
    for t in range(n_tasks):
        want = crafted.own(arranged.get(t, []), Bundle(source.read_bytes()).model(f"t{t}", base))
        assert bundle.model(f"t{t}", base) == want, f"{path.name}: t{t} became another"


def check_bases(emr, bundle, path, folder, n_tasks, scratch):
    """An arranged bundle takes its base as the base has it, as the bundle has it, and beside tensors of other names."""
    own = read_safetensors(folder / "base.safetensors")
    arranged = {**crafted.own(crafted.ARRANGED.get(path.stem, {}).get(edit.BASE, []), own), "unknown": (1, (1,), bytes(4))}
    in_bundle = {tensor["name"]: (tensor["dtype"], tensor["shape"], bundle.base_bytes(i, own)) for i, tensor in enumerate(bundle.tensors)}
    for t in range(n_tasks):
        want = bundle.model(f"t{t}", own)
        for base in (arranged, in_bundle):
            assert bundle.model(f"t{t}", base) == want, f"{path.name}: t{t} over the base in another form differs"
            write_safetensors(scratch / "base.safetensors", base, {})
            got = read_safetensors(apply(emr, path, f"t{t}", scratch / "base.safetensors", scratch))
            assert got == want, f"{path.name}: emr gives another t{t} over the base in another form"


def check_arranged(emr, golden, scratch):
    """Bundles of tasks that differ: adding the last one gives the bytes of all at once, and dropping keeps the others."""
    whole, most, more, less = (scratch / f"{name}.emr" for name in ("whole", "most", "more", "less"))
    for case, options, names in (("absent", ["--on-missing", "absent"], []), ("rows", ["--on-mismatch", "rows"], []),
                                 ("pad", ["--on-mismatch", "pad"], []), ("pad", ["--on-mismatch", "pad", "--rescale-per", "tensor"], []),
                                 ("rows", ["--on-mismatch", "rows", "--rename", "base:=m."], ["--rename", "=m."]),
                                 ("absent", ["--on-missing", "absent", "--rename", "base:*=m.*"], ["--rename", "*=m.*"])):
        folder = golden / case
        n_tasks = len(list(folder.glob("t*.safetensors")))
        for base in (folder / "base.safetensors", "zeros")[:2 if case == "pad" else 1]:
            for embed in ([], ["--embed-base"]):
                rules = [*options, *names, *embed, "--extendable", "--force"]
                merge(emr, folder, n_tasks, rules, whole, base)
                merge(emr, folder, n_tasks - 1, rules, most, base)
                last = f"t{n_tasks - 1}={folder}/t{n_tasks - 1}.safetensors"
                run(emr, "add", most, "--base", base, "--task", last, *names, "--quiet", "--force", "-o", more)
                assert more.read_bytes() == whole.read_bytes(), f"{case}: adding {last} with {rules} gives other bytes"
                run(emr, "verify", whole, "--base", base, "--quiet")
                run(emr, "drop", whole, "--task", "t0", "--quiet", "--force", "-o", less)
                bundle, rest = Bundle(whole.read_bytes()), Bundle(less.read_bytes())
                bundle.verify()
                rest.verify()
                of_base = None if bundle.has_base else read_safetensors(folder / "base.safetensors")
                for t in range(n_tasks):
                    own, model = read_safetensors(folder / f"t{t}.safetensors"), bundle.model(f"t{t}", of_base)
                    assert {name: tensor[:2] for name, tensor in model.items()} == {name: tensor[:2] for name, tensor in own.items()}
                    assert read_safetensors(apply(emr, whole, f"t{t}", base, scratch)) == model, f"{case}: emr gives another t{t}"
                    assert t == 0 or rest.model(f"t{t}", of_base) == model, f"{case}: t{t} is another without t0"


# What to change in a bundle, what both readers must say, and of which bundle: where, at which byte, a number.
CHANGES = [
    ("grid_raw", "header", 8, "<H", 2, "EMR_EVERSION"), ("grid_raw", "header", 12, "<I", 128, "EMR_EFORMAT"),
    ("grid_raw", "header", 16, "<Q", 16, "EMR_EVERSION"), ("grid_raw", "header", 0, "<B", 0x88, "EMR_EFORMAT"),
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
    ("carried_raw", edit.GROWTH, 0, "<B", 4, "EMR_EVERSION"), ("carried_raw", edit.GROWTH, 1, "<B", 3, "EMR_EVERSION"),
    ("carried_raw", edit.GROWTH, 4, "<i", 20, "EMR_EVERSION"),
    ("carried_raw", edit.GROWTH, 8, "<I", 4095, "EMR_EFORMAT"), ("carried_raw", edit.GROWTH, 16, "<d", -0.0, "EMR_EFORMAT"),
    ("carried_raw", edit.SUMMARY, 0, "<B", 2, "EMR_EVERSION"), ("carried_raw", edit.PRIVATE, 14, "<H", 7, "EMR_EFORMAT"),
    # version 1.1: modulators; of kinds_row they are a mask, signs, thinned signs, 3, 4, 8 and 16 levels, and a mask of two sides
    ("grid_raw", "header", 16, "<Q", 8, "EMR_EFORMAT"), ("kinds_row_raw", "header", 16, "<Q", 0, "EMR_EFORMAT"),
    *(("kinds_row_raw", edit.MODULATORS, *change) for change in [
        (0, "<B", 0, "EMR_EVERSION"), (0, "<B", 6, "EMR_EVERSION"), (3, "<B", 5, "EMR_EFORMAT"), (3, "<B", 6, "EMR_EVERSION"),
        (3, "<B", 1, "EMR_EFORMAT"), (3, "<B", 3, None), (4, "<B", 3, "EMR_EFORMAT"), (6, "<B", 1, None), (6, "<B", 2, "EMR_EVERSION"),
        (7, "<B", 9, None), (12, "<f", 1, "EMR_EFORMAT"), (16, "<f", -1, None), (40, "<Q", 5, None),
        (48, "<B", 4, "EMR_EVERSION"), (48, "<B", 1, "EMR_EFORMAT"), (49, "<B", 1, "EMR_EFORMAT"), (50, "<B", 3, "EMR_EFORMAT"),
        (51, "<B", 1, "EMR_EFORMAT"), (52, "<B", 0, "EMR_EVERSION"), (52, "<B", 2, "EMR_EVERSION"), (52, "<B", 1, "EMR_EFORMAT"),
        (53, "<B", 2, "EMR_EFORMAT"), (53, "<B", 0, "EMR_EFORMAT"), (54, "<B", 1, "EMR_EFORMAT"), (56, "<I", 1, "EMR_EFORMAT"),
        (97, "<B", 0, "EMR_EVERSION"), (97, "<B", 6, "EMR_EVERSION"), (97, "<B", 3, "EMR_EFORMAT"), (99, "<B", 5, None), (104, "<I", 1, None),
        (146, "<B", 5, "EMR_EVERSION"), (146, "<B", 4, None), (146, "<B", 16, "EMR_EFORMAT"), (290, "<B", 8, "EMR_EFORMAT"),
        (336, "<B", 1, "EMR_EFORMAT"), (348, "<f", 0.5, "EMR_EFORMAT")]),
    # of masks alone, which need no feature bit
    ("kinds_nearest_raw", "header", 16, "<Q", 8, "EMR_EFORMAT"),
    *(("kinds_nearest_raw", edit.MODULATORS, *change) for change in [
        (0, "<B", 0, "EMR_EVERSION"), (0, "<B", 2, "EMR_EFORMAT"), (48, "<B", 3, "EMR_EVERSION"), (3, "<B", 2, None), (3, "<B", 1, "EMR_EFORMAT"),
        (3, "<B", 6, "EMR_EVERSION"), (5, "<B", 1, "EMR_EFORMAT"), (54, "<B", 0, None), (54, "<B", 2, "EMR_EVERSION"),
        (12, "<f", 1, "EMR_EFORMAT"), (16, "<I", 0x7FC00000, None)]),
    ("measured_extendable_raw", edit.MODULATORS, 16, "<f", 2, None), ("measured_extendable_raw", edit.MODULATORS, 6, "<B", 1, "EMR_EVERSION"),
    ("measured_extendable_raw", edit.MODULATORS, 51, "<B", 4, "EMR_EVERSION"),
    ("kinds_model_raw", edit.MODULATORS, 12, "<I", 0x80000000, "EMR_EFORMAT"), ("kinds_model_raw", edit.MODULATORS, 12, "<f", 3, None),
    ("kinds_model_raw", edit.MODULATORS, 12, "<I", 0x7FC00000, "EMR_EFORMAT"), ("kinds_row_raw", edit.TENSORS, 56, "<Q", 1, "EMR_EFORMAT"),
    ("kinds_row_raw", edit.TENSORS, 64 + 56, "<Q", 13, "EMR_EFORMAT"), ("kinds_model_raw", edit.TASKS, 32 + 4, "<f", 1, "EMR_EFORMAT"),
    ("kinds_row_raw", edit.TASKS, 32 + 8, "<Q", 1, "EMR_EFORMAT"), ("kinds_row_raw", edit.TASKS, 32 + 24, "<I", 1, "EMR_EFORMAT"),
    # merged tensors that tasks lack, letters, arrangements
    ("absent_raw", "header", 16, "<Q", 0, "EMR_EFORMAT"), ("absent_raw", edit.TASK_DTYPES, 0, "<B", 16, "EMR_EFORMAT"),
    ("absent_raw", edit.TASK_DTYPES, 0, "<B", 0, None), ("absent_raw", "header", 16, "<Q", 5, None),
    ("letters", "header", 16, "<Q", 0, None), ("letters", edit.STRINGS, -2, "<B", ord("q"), "EMR_EFORMAT"),
    ("carried_raw", "header", 16, "<Q", 2, None), ("policies_raw", "header", 16, "<Q", 2, None),
    ("rows_raw", "header", 16, "<Q", 0, "EMR_EFORMAT"), ("grid_raw", "header", 16, "<Q", 4, None),
    *((name, edit.ARRANGEMENT, *change) for name, changes in {
        "rows_raw": [  # of t0: the tensor with its rest
            (0, "<I", 1, "EMR_EFORMAT"), (0, "<I", 3, "EMR_EFORMAT"), (4, "<I", 99, "EMR_EFORMAT"), (4, "<I", 3, "EMR_EFORMAT"),
            (8, "<I", 1, "EMR_EFORMAT"), (12, "<I", 99, "EMR_EFORMAT"), (12, "<I", 0, "EMR_EFORMAT"), (16, "<I", 0, "EMR_EFORMAT"),
            (16, "<I", 99, "EMR_EFORMAT"), (16, "<I", edit.BASE, "EMR_EFORMAT"), (20, "<I", 7, None)],
        "pad_raw": [(0, "<I", edit.BASE, "EMR_EFORMAT"), (-24, "<I", 3, "EMR_EFORMAT"), (-12, "<I", 0, None)],
        "arranged_carried": [(12, "<I", 0, "EMR_EFORMAT")]}.items() for change in changes),
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


def check_kinds(emr, golden, scratch):
    """Tasks of every kind, with codes and scales that no merge would give: both readers give the same weights, also once a task is dropped."""
    rng, seen = random.Random(3), set()
    for case in ("kinds", "kinds_chunks", "kinds_absent", "nan_payloads", "mixed_per_row", "several_blocks"):
        folder = golden / case
        n_tasks = len(list(folder.glob("t*.safetensors")))
        base = read_safetensors(folder / "base.safetensors")
        for per in ("model", "tensor", "row"):
            options = ["--on-missing", "absent"] if case == "kinds_absent" else ["--on-nonfinite", "zero"] if case == "nan_payloads" else []
            merge(emr, folder, n_tasks, [*options, "--rescale-per", per, "--zstd-level", "0", "--force"], scratch / "masks.emr")
            kinds = [(1, 0, 0, 0), (2, 0, 0, 0), (3, 0, 3, 0), (3, 0, 3, 1), (3, 0, 1, 1)] + [(4, k, 3, 0) for k in range(1, 6)]
            kinds = rng.sample(kinds + [(5, n, rng.choice((1, 3)), 0) for n in (3, 4, 8, 16)], n_tasks)
            if all(kind == 1 for kind, *_ in kinds):
                continue
            path = scratch / "kinds.emr"
            path.write_bytes(crafted.of_kinds((scratch / "masks.emr").read_bytes(), kinds, rng))
            bundle = check_weights(emr, path, folder, n_tasks, scratch)
            run(emr, "drop", path, "--task", "t0", "--force", "--quiet", "-o", scratch / "less.emr")
            less = Bundle((scratch / "less.emr").read_bytes())
            less.verify()
            for t in range(1, n_tasks):
                assert less.model(f"t{t}", base) == bundle.model(f"t{t}", base), f"{case}: t{t} of {kinds} is another without t0"
            seen |= {kind[:2] for kind in kinds}
            check_damage(path)
    assert len(seen) == 12, seen


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
    exact = 0
    features = set()
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        for path, folder, n_tasks, options in table(golden):
            crafted = options[:1] == ["from"]
            if "--write" in words and not crafted and not path.exists():
                merge(emr, folder, n_tasks, options, path)
            bundle = check_weights(emr, path, folder, n_tasks, scratch)
            if crafted:
                check_crafted(bundle, path, golden / "bundles" / options[1], folder, n_tasks)
            else:
                check_metadata(bundle, folder, n_tasks)
                check = check_expected if (folder / "expected.safetensors").exists() else check_expected_kinds
                exact += check(bundle, path, folder, n_tasks)
            if bundle.arrangement:
                check_bases(emr, bundle, path, folder, n_tasks, scratch)
            features |= {f"codec {b[3]}" for b in bundle.blocks} | {f"stream {s[0]}" for s in bundle.all_streams}
            features |= {f"several blocks {s[0]}" for s in bundle.all_streams if s[2] > s[4]}
            features |= {f"rule {bundle.rule}", f"per {bundle.per}", f"tie {bundle.tie}", f"unified {bundle.unified_dtype}"}
            features |= {word_of(m) for m in bundle.modulators} | {f"feature {bit}" for bit in (1, 2, 4, 8) if bundle.features & bit}
            features |= {"modulators of masks alone"} if 14 in bundle.sections and not bundle.features & 8 else set()
            features |= {f"{'base' if owner == edit.BASE else 'task'} {'with' if rest is not None else 'without'} rest"
                         for (owner, _), (_, _, rest) in bundle.arrangement.items()}
            if "--zstd-level 0" in " ".join(options):
                merge(emr, folder, n_tasks, [*options, "--force"], scratch / "again.emr")
                assert (scratch / "again.emr").read_bytes() == path.read_bytes(), f"{path.name} is written otherwise now"
                same += 1
            if n % 5 == 0:
                check_damage(path)
            n += 1
        check_changes(emr, golden, scratch)
        check_arranged(emr, golden, scratch)
        check_computed_nans(emr, golden, scratch)
        check_kinds(emr, golden, scratch)
    wanted = {f"codec {i}" for i in range(4)} | {f"stream {i}" for i in range(1, 16)} | {f"several blocks {i}" for i in range(1, 13)}
    wanted |= {f"{what} {i}" for what, most in (("rule", 3), ("per", 3), ("tie", 2)) for i in range(most)} | {"unified 1", "unified 2", "unified 3"}
    wanted |= {"feature 1", "feature 2", "feature 4", "feature 8"} | {f"{owner} {how} rest" for owner in ("base", "task") for how in ("with", "without")}
    wanted |= {"mask", "two-sided", "sign", "ternary", *(f"thin:1/{1 << k}" for k in range(1, 6)), *(f"levels:{b}" for b in (2, 3, 4)), "modulators of masks alone"}
    assert wanted <= features, f"no golden bundle has {sorted(wanted - features)}"
    print(f"{n} golden bundles read, {same} written again to the same bytes")
    assert n and same and exact


if __name__ == "__main__":
    main(sys.argv[1:])

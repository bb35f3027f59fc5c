"""test_gguf.py EMR - GGUF files written and read by another hand, the Python package `gguf`: merged and applied by
the program, they come back with the same metadata and quantised bytes, and the values that they should have."""
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

import package  # first: it may start another python
import gguf
import numpy as np

from gguf import GGMLQuantizationType as T, GGUFValueType as V

EMR = sys.argv[1]
checks = 0


def check(condition, what):
    global checks
    checks += 1
    if not condition:
        sys.exit(f"failed: {what}")


def emr(*words, status=0):
    done = subprocess.run([EMR, *map(str, words)], capture_output=True, text=True)
    check(done.returncode == status, f"emr {' '.join(map(str, words))}: {done.returncode}, {done.stderr}")
    return done.stdout if status == 0 else done.stderr


def safetensors(path):
    """name -> (dtype, shape, bytes)"""
    raw = pathlib.Path(path).read_bytes()
    size, = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8:8 + size])
    header.pop("__metadata__", None)
    return {name: (t["dtype"], t["shape"], raw[8 + size + t["data_offsets"][0]:8 + size + t["data_offsets"][1]])
            for name, t in header.items()}


def bfloat16(values):
    """Rounded by cutting: any BF16 values will do."""
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def put_metadata(w, number):
    w.add_name(f"model {number}" + " with a longer name" * number)
    w.add_file_type(0)
    for i, add in enumerate([w.add_uint8, w.add_int8, w.add_uint16, w.add_int16, w.add_uint32, w.add_int32,
                             w.add_uint64, w.add_int64, w.add_float32, w.add_float64]):
        add(f"test.number{i}", 100 + number + (0.25 if i >= 8 else 0))
    w.add_bool("test.yes", True)
    w.add_bool("test.no", False)
    w.add_string("test.string", "Grüße, 世界")
    w.add_array("test.strings", ["", "a", "tokens", "▁with"] * 30)
    w.add_array("test.integers", list(range(-5, 50)))
    w.add_array("test.floats", [0.5, -1.25, 1e30])
    w.add_array("test.booleans", [True, False, True])
    w.add_array("test.bytes", bytes(range(20)))


def write_model(path, number, alignment=None):
    """Model 0 is the base; the others are near it."""
    rng, own = np.random.default_rng(5), np.random.default_rng(50 + number)
    w = gguf.GGUFWriter(path, "llama")
    if alignment:
        w.add_custom_alignment(alignment)
    put_metadata(w, number)

    def values(shape):
        base = rng.standard_normal(shape).astype(np.float32)
        return base if number == 0 else base + np.float32(0.1) * own.standard_normal(shape).astype(np.float32)

    w.add_tensor("f32.weight", values((24, 96)))
    w.add_tensor("f16.weight", values((5, 3, 33)).astype(np.float16))
    w.add_tensor("bf16.weight", bfloat16(values((7, 64))).view(np.uint8), raw_dtype=T.BF16)
    w.add_tensor("norm.bias", values((13,)))
    for kind in [T.Q8_0, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1]:
        w.add_tensor(f"{kind.name.lower()}.weight", gguf.quants.quantize(values((6, 128)), kind), raw_dtype=kind)
    w.add_tensor("iq2_xxs.weight", own.integers(0, 256, (2, 2 * 66), dtype=np.uint8), raw_dtype=T.IQ2_XXS)
    w.add_tensor("ids", np.arange(9, dtype=np.int32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


QUANTISED = ["q8_0", "q4_0", "q4_1", "q5_0", "q5_1"]


def fields(reader):
    """Everything that the metadata say, but the counts and the version."""
    return {name: (field.types, [bytes(part) for part in field.parts])
            for name, field in reader.fields.items() if not name.startswith("GGUF.")}


def tensors(reader):
    return {t.name: t for t in reader.tensors}


def check_metadata(written, original, what):
    check(fields(written) == fields(original), f"{what}: metadata differ")
    check(written.alignment == original.alignment, f"{what}: alignment")
    seen = {field.types[0] for field in written.fields.values() if field.types}
    check(seen >= set(V), f"{what}: value types {set(V) - seen} are not tried")


def raw(tensor):
    return np.ascontiguousarray(tensor.data).tobytes()


def merge_and_apply(folder, alignment):
    """Three models: carried tensors are the task's, merged ones what safetensors give."""
    for i in range(3):
        write_model(folder / f"m{i}.gguf", i, alignment)
    emr("merge", "--base", folder / "m0.gguf", "--task", f"a={folder / 'm1.gguf'}", "--task", f"b={folder / 'm2.gguf'}",
        "-o", folder / "all.emr", "--force", "--quiet")
    for task, number in [("a", 1), ("b", 2)]:
        common = ["apply", folder / "all.emr", "--base", folder / "m0.gguf", "--task", task, "--force", "--quiet", "-o"]
        emr(*common, folder / "out.gguf")
        emr(*common, folder / "out.safetensors")
        piped = subprocess.run([EMR, *map(str, common), "-"], capture_output=True, check=True).stdout
        check(piped == (folder / "out.gguf").read_bytes(), "-o - is GGUF too")
        out, original = gguf.GGUFReader(folder / "out.gguf"), gguf.GGUFReader(folder / f"m{number}.gguf")
        check_metadata(out, original, f"task {task}")
        plain, got, was = safetensors(folder / "out.safetensors"), tensors(out), tensors(original)
        check(got.keys() == was.keys(), f"task {task}: tensors {got.keys() ^ was.keys()}")
        for name, t in got.items():
            check(t.tensor_type == was[name].tensor_type, f"{name}: type {t.tensor_type}")
            check(list(t.shape) == list(was[name].shape), f"{name}: shape {t.shape}")
            check(raw(t) == plain[name][2], f"{name}: other bytes than in safetensors")
            if t.tensor_type not in (T.F32, T.F16, T.BF16):
                check(raw(t) == raw(was[name]), f"{name}: bytes of {t.tensor_type.name} differ")
            check(t.data_offset % out.alignment == 0, f"{name}: not aligned")


def one_task_comes_back(folder):
    """With one task the rescaler is 1 and every mask bit set: the task's own values, to a rounding."""
    emr("merge", "--base", folder / "m0.gguf", "--task", f"a={folder / 'm1.gguf'}", "-o", folder / "one.emr", "--force",
        "--quiet")
    emr("apply", folder / "one.emr", "--base", folder / "m0.gguf", "--task", "a", "-o", folder / "out.gguf", "--force",
        "--quiet")
    got, was = (tensors(gguf.GGUFReader(folder / name)) for name in ["out.gguf", "m1.gguf"])
    for name, tolerance in [("f32.weight", 1e-6), ("f16.weight", 1e-3), ("bf16.weight", 1e-2), ("norm.bias", 1e-6)]:
        a, b = (gguf.quants.dequantize(t[name].data, t[name].tensor_type) for t in (got, was))
        check(np.allclose(a, b, rtol=tolerance, atol=tolerance), f"{name}: far from the task's")


def dequantised_values(folder):
    """Private tensors pass as they are: what the program makes of blocks, to the last bit. Merged ones are F32."""
    common = ["--base", folder / "m0.gguf", "--dequantise", "--force", "--quiet"]
    for private in [True, False]:
        emr("merge", *common, "--task", f"a={folder / 'm1.gguf'}", *(["--private", "q*"] if private else []), "-o",
            folder / "d.emr")
        for out in ["d.safetensors", "d.gguf"]:
            emr("apply", *common, folder / "d.emr", "--task", "a", "-o", folder / out)
        emr("verify", folder / "d.emr", "--base", folder / "m0.gguf", "--dequantise")
        plain, written = safetensors(folder / "d.safetensors"), tensors(gguf.GGUFReader(folder / "d.gguf"))
        was = tensors(gguf.GGUFReader(folder / "m1.gguf"))
        for name in [f"{q}.weight" for q in QUANTISED]:
            want = gguf.quants.dequantize(was[name].data, was[name].tensor_type).astype("<f4")
            check(plain[name][:2] == ("F32", list(want.shape)), f"{name}: {plain[name][:2]}")
            got = np.frombuffer(plain[name][2], "<f4").reshape(want.shape)
            check(plain[name][2] == want.tobytes() if private else np.allclose(got, want, rtol=1e-5, atol=1e-5),
                  f"{name}: other values than gguf.quants.dequantize")
            check(written[name].tensor_type == T.F32 and raw(written[name]) == plain[name][2], f"{name}: as GGUF")
        check(raw(written["iq2_xxs.weight"]) == raw(was["iq2_xxs.weight"]), "iq2_xxs: carried")
    base = ["--base", folder / "m0.gguf"]
    for words in [["apply", "--task", "a", "-o", folder / "no.gguf"], ["verify"]]:
        said = emr(*words, folder / "d.emr", *base, status=1)
        check("dtype" in said and "--dequantise was not given" in said, f"what was forgotten is not said: {said}")
    emr("merge", *base, "--task", f"a={folder / 'm0.gguf'}", "--extendable", "-o", folder / "bytes.emr")
    for words in [["apply", "--task", "a", "-o", folder / "no.gguf"], ["verify"],
                  ["add", "--task", f"b={folder / 'm2.gguf'}", "-o", folder / "no.emr"]]:
        said = emr(*words, folder / "bytes.emr", *base, "--dequantise", status=1)
        check("--dequantise was given" in said, f"what was too much is not said: {said}")


def every_unpacked_type_has_the_packages_values(folder):
    """Random blocks, scales that are no numbers among them: the same bits, but for those of a NaN."""
    rng = np.random.default_rng(77)
    kinds = [T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.Q2_K, T.Q3_K, T.Q4_K, T.Q5_K, T.Q6_K, T.IQ4_NL, T.IQ4_XS]
    w = gguf.GGUFWriter(folder / "blocks.gguf", "llama")
    blocks = {k.name: rng.integers(0, 256, (40, 512 // gguf.GGML_QUANT_SIZES[k][0] * gguf.GGML_QUANT_SIZES[k][1]), np.uint8)
              for k in kinds}
    for kind in kinds:
        w.add_tensor(kind.name, blocks[kind.name], raw_dtype=kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    model = ["--base", folder / "blocks.gguf", "--dequantise", "--force", "--quiet"]
    emr("merge", *model, "--task", f"a={folder / 'blocks.gguf'}", "--private", "*", "-o", folder / "blocks.emr")
    emr("apply", *model, folder / "blocks.emr", "--task", "a", "-o", folder / "blocks.safetensors")
    plain = safetensors(folder / "blocks.safetensors")
    for kind in kinds:
        with np.errstate(all="ignore"):
            want = gguf.quants.dequantize(blocks[kind.name], kind)
        got = np.frombuffer(plain[kind.name][2], "<f4").reshape(want.shape)
        same = (got.view(np.uint32) == want.view(np.uint32)) | (np.isnan(got) & np.isnan(want))
        check(same.all(), f"{kind.name}: {np.argwhere(~same)[:3]} are other values than the package's")


def split_models_are_read_and_written(folder):
    """Split by the package; what is written in several files is what one file has, as the package reads it."""
    rng = np.random.default_rng(9)
    weights = {f"blk.{i}.weight": rng.standard_normal((4 + i, 32)).astype(np.float32) for i in range(7)}
    for number in range(2):
        for name, most in [("whole", 0), ("split", 2)]:
            w = gguf.GGUFWriter(None if most else folder / f"{name}{number}.gguf", "llama", split_max_tensors=most)
            put_metadata(w, number)
            for key, value in weights.items():
                w.add_tensor(key, value + np.float32(0.01 * number))
            w.write_header_to_file(folder / f"{name}{number}.gguf")
            w.write_kv_data_to_file()
            w.write_tensors_to_file()
            w.close()
    first, third = (folder / f"split0-0000{i}-of-00004.gguf" for i in (1, 3))
    task = folder / "split1-00002-of-00004.gguf"
    for base, other, out in [(folder / "whole0.gguf", folder / "whole1.gguf", "whole.emr"), (first, task, "split.emr")]:
        emr("merge", "--base", base, "--task", f"a={other}", "--force", "--quiet", "-o", folder / out)
    check((folder / "whole.emr").read_bytes() == (folder / "split.emr").read_bytes(), "split or not, the bundle is the same")
    common = ["apply", folder / "split.emr", "--base", third, "--task", "a", "--force", "--quiet"]
    emr(*common, "-o", folder / "joined.gguf")
    emr(*common, "-o", folder / "parts.gguf", "--shard-size", "1500")
    joined, original = gguf.GGUFReader(folder / "joined.gguf"), gguf.GGUFReader(folder / "whole1.gguf")
    check(fields(joined) == fields(original), "joined: metadata")
    parts = [gguf.GGUFReader(path) for path in sorted(folder.glob("parts-*-of-*.gguf"))]
    check(len(parts) > 3 and not (folder / "parts.gguf").exists(), f"{len(parts)} files")
    names = []
    for number, part in enumerate(parts):
        said = {key: (field.types, field.contents()) for key, field in part.fields.items() if key.startswith("split.")}
        check(said == {"split.no": ([V.UINT16], number), "split.count": ([V.UINT16], len(parts)),
                       "split.tensors.count": ([V.INT32], len(weights))}, f"part {number} says {said}")
        check(number == 0 or len(fields(part)) == 3, f"part {number} has other metadata")
        for t in part.tensors:
            check(raw(t) == raw(tensors(joined)[t.name]), f"{t.name} in part {number}")
            names.append(t.name)
    check(names == [t.name for t in joined.tensors], "the order of tensors")
    mine = {key: value for key, value in fields(parts[0]).items() if not key.startswith("split.")}
    check(mine == fields(original), "the first part's metadata")
    third.unlink()
    check(str(third) in emr("inspect", first, status=3), "the file that is absent is named")


def write_plain(path, tensors_of, file_type=None):
    """A file with these arrays, or (raw type, bytes) of blocks."""
    w = gguf.GGUFWriter(path, "llama")
    if file_type is not None:
        w.add_file_type(file_type)
    for name, value in tensors_of.items():
        kind, data = value if isinstance(value, tuple) else (None, value)
        w.add_tensor(name, data, raw_dtype=kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def vectors_stay_f32(folder):
    """As llama.cpp's converters have them; for safetensors, --dtype is of all floats."""
    rng = np.random.default_rng(3)
    w = rng.standard_normal((4, 256)).astype(np.float32)
    write_plain(folder / "v.gguf", {"w": (T.Q8_0, gguf.quants.quantize(w, T.Q8_0)), "norm": w[0], "bias": w[1].astype(np.float16),
                                    "ids": np.arange(6, dtype=np.int32).reshape(2, 3)}, file_type=7)
    for private in [[], ["--private", "*"]]:
        emr("merge", "--base", folder / "v.gguf", "--task", f"a={folder / 'v.gguf'}", "--dequantise", *private, "--force",
            "--quiet", "-o", folder / "v.emr")
        common = ["apply", folder / "v.emr", "--base", folder / "v.gguf", "--task", "a", "--dequantise", "--force", "--quiet"]
        for dtype, kind, number in [("f16", T.F16, 1), ("bf16", T.BF16, 32), ("f32", T.F32, 0)]:
            emr(*common, "--dtype", dtype, "-o", folder / "v-out.gguf")
            piped = subprocess.run([EMR, *map(str, common), "--dtype", dtype, "-o", "-"], capture_output=True, check=True).stdout
            check(piped == (folder / "v-out.gguf").read_bytes(), f"{dtype}: -o - is the same file")
            reader = gguf.GGUFReader(folder / "v-out.gguf")
            types = {t.name: t.tensor_type for t in reader.tensors}
            check(types == {"w": kind, "norm": T.F32, "bias": T.F32, "ids": T.I32}, f"{dtype}: {types}")
            check(reader.fields["general.file_type"].contents() == number, f"{dtype}: general.file_type")
            emr(*common, "--dtype", dtype, "-o", folder / "v-out.safetensors")
            found = {name: t[0] for name, t in safetensors(folder / "v-out.safetensors").items()}
            check({found[name] for name in ["w", "norm", "bias"]} == {dtype.upper()}, f"safetensors, {dtype}: {found}")


def what_is_not_merged_is_said(folder):
    """On standard error, in the summary and in JSON: elements count, not bytes."""
    rng = np.random.default_rng(8)

    def model(name, other=T.IQ2_XXS):
        size = gguf.GGML_QUANT_SIZES[other][1]
        write_plain(folder / name, {"a": (T.Q4_K, rng.integers(0, 60, (4, 3 * 144), np.uint8)), "norm": np.ones(32, np.float32),
                                    "b": (other, rng.integers(0, 60, (2, size), np.uint8))})
        return folder / name

    base, task = model("q0.gguf"), model("q1.gguf")
    want = {"merged_params": 32, "private_params": 4 * 768 + 2 * 256, "kept_params": 0, "merged_share": 32 / (32 + 4 * 768 + 512)}
    words = ["merge", "--base", base, "--task", f"a={task}", "-o", folder / "q.emr", "--force"]

    def run(*more, others=words):
        done = subprocess.run([EMR, *map(str, others), *more], capture_output=True, text=True)
        check(done.returncode == 0, f"{others} {more}: {done.stderr}")
        return done

    done = run("--json")
    check({key: json.loads(done.stdout)[key] for key in want} == want, f"{done.stdout}")
    check("note: only 0.9 % of the parameters are merged" in done.stderr and "--dequantise" in done.stderr, done.stderr)
    done = run()
    check("parameters: 32 merged (0.9 %), 3584 private, 0 kept" in done.stdout and "note: only" in done.stderr, done.stdout)
    done = run("--dry-run", "--json")
    check(json.loads(done.stdout)["merged_params"] == 32 and "note: only" in done.stderr, "--dry-run")
    check(run("--quiet").stderr == "", "--quiet")
    same = run("--json", others=["merge", "--base", base, "--task", f"a={base}", "-o", folder / "q.emr", "--force"])
    check(json.loads(same.stdout)["kept_params"] == 3584, "what is equal is kept")
    done = run("--dequantise")
    check("(85.8 %)" in done.stdout and "note: only" not in done.stderr, done.stdout + done.stderr)
    notes = [line for line in done.stderr.splitlines() if "1 tensor of IQ2_XXS" in line]
    check(len(notes) == 1 and str(base) in notes[0], f"the base's types, once: {done.stderr}")
    done = run("--dequantise", "--on-mismatch", "private", others=[*words[:4], f"a={model('q2.gguf', T.IQ1_S)}", *words[5:]])
    check("q2.gguf" in done.stderr and "IQ1_S" in done.stderr, f"a task's other types: {done.stderr}")


def kinds_do_not_mix(folder):
    emr("merge", "--base", folder / "m0.gguf", "--task", f"a={folder / 'm1.gguf'}", "-o", folder / "k.emr", "--force", "--quiet")
    plain, w = folder / "plain.safetensors", np.zeros(4, "<f4").tobytes()
    head = json.dumps({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    plain.write_bytes(struct.pack("<Q", len(head)) + head + w)
    for base, tasks in [(folder / "m0.gguf", [plain]), (plain, [folder / "m0.gguf"]), ("zeros", [folder / "m0.gguf", plain]),
                        (folder / "m0.gguf", [folder / "m1.gguf", plain])]:
        named = [word for i, task in enumerate(tasks) for word in ["--task", f"t{i}={task}"]]
        said = emr("merge", "--base", base, *named, "-o", folder / "no.emr", status=1)
        check(f"task 't{len(tasks) - 1}'" in said and "GGUF" in said and "safetensors" in said and "of one kind" in said, said)


def tasks_are_added(folder):
    """The same bytes as merging both at once, though metadata differ in length; also where blocks are unpacked."""
    one, two = f"a={folder / 'm1.gguf'}", f"b={folder / 'm2.gguf'}"
    for more in [[], ["--dequantise"]]:
        common = ["--base", folder / "m0.gguf", "--force", "--quiet", *more]
        emr("merge", *common, "--extendable", "--task", one, "--task", two, "-o", folder / "both.emr")
        emr("merge", *common, "--extendable", "--task", one, "-o", folder / "first.emr")
        emr("add", folder / "first.emr", *common, "--task", two, "-o", folder / "added.emr")
        check((folder / "added.emr").read_bytes() == (folder / "both.emr").read_bytes(), f"add {more}")


def every_type_has_the_size_that_the_package_says(folder):
    w = gguf.GGUFWriter(folder / "types.gguf", "llama")
    shapes = {}
    for kind in T:
        block, size = gguf.GGML_QUANT_SIZES[kind]
        if kind == T.Q8_1:  # 40 in the package, 36 in ggml; never in a file
            continue
        w.add_tensor(kind.name, np.zeros((3, 2 * size), np.uint8), raw_dtype=kind)
        shapes[kind.name] = [3, 2 * size if block > 1 else 2]
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    said = json.loads(emr("inspect", folder / "types.gguf", "--json"))
    check({t["name"]: t["blocks"] for t in said["tensors"] if "blocks" in t} ==
          {kind.name: kind.name for kind in T if kind.name in shapes and gguf.GGML_QUANT_SIZES[kind][0] > 1}, "names of types")
    check(said["params"] == sum(6 * gguf.GGML_QUANT_SIZES[kind][0] for kind in T if kind.name in shapes), "parameters")
    found = {t["name"]: t["shape"] for t in said["tensors"]}
    found.pop("gguf.header")
    check(found == shapes, f"{found} instead of {shapes}")


def other_byte_orders_and_versions(folder):
    w = gguf.GGUFWriter(folder / "big.gguf", "llama", endianess=gguf.GGUFEndian.BIG)
    w.add_tensor("x", np.zeros(4, np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    check("big-endian" in emr("inspect", folder / "big.gguf", status=1), "a big-endian file")
    content = bytearray((folder / "m0.gguf").read_bytes())
    content[4] = 2
    (folder / "two.gguf").write_bytes(content)
    emr("inspect", folder / "two.gguf")


with tempfile.TemporaryDirectory() as directory:
    for step in [None, 64, 8]:
        merge_and_apply(pathlib.Path(directory), step)
    one_task_comes_back(pathlib.Path(directory))
    dequantised_values(pathlib.Path(directory))
    every_unpacked_type_has_the_packages_values(pathlib.Path(directory))
    split_models_are_read_and_written(pathlib.Path(directory))
    vectors_stay_f32(pathlib.Path(directory))
    what_is_not_merged_is_said(pathlib.Path(directory))
    kinds_do_not_mix(pathlib.Path(directory))
    tasks_are_added(pathlib.Path(directory))
    every_type_has_the_size_that_the_package_says(pathlib.Path(directory))
    other_byte_orders_and_versions(pathlib.Path(directory))
print(f"{checks} checks with gguf of Python {sys.version.split()[0]}, numpy {np.__version__}")

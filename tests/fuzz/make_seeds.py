#!/usr/bin/env python3
"""Makes the first inputs of the fuzz targets: real bundles of every kind, checkpoints, shard indexes.

    tests/fuzz/make_seeds.py build/tools/emr/emr OUT      writes OUT/TARGET/NAME

The corpora in the tree are these, minimised together with what fuzzing found (docs/fuzzing.md)."""
import json
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden"


def safetensors(tensors, metadata=None):
    """Bytes of a file; tensors is a list of name, dtype, shape, bytes."""
    header, data = {}, b""
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, dtype, shape, raw in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, ensure_ascii=False).encode()
    return struct.pack("<Q", len(text)) + text + data


def floats(values):
    return struct.pack(f"<{len(values)}f", *values)


def write_models(folder, models, metadata):
    for name, tensors in models.items():
        (folder / f"{name}.safetensors").write_bytes(safetensors(tensors, dict(metadata, of=name)))


def tiny_models():
    """A little of everything, so that bundles are small: they are what fuzzing does most with."""
    rng = random.Random(5)
    models = {}
    for name in ["base", "t0", "t1"]:
        step = lambda n: floats([i / 8 + (0 if name == "base" else rng.randrange(-1, 2) / 4) for i in range(n)])
        models[name] = [("w", "F32", [3, 4], step(12)), ("bias", "F32", [2], step(2)), ("s", "F32", [], step(1)),
                        ("none", "F32", [0, 4], b""), ("ids", "I32", [2], bytes(8)),
                        ("own", "U8", [3], b"abc" if name == "t1" else b"abd")]
        if name != "base":
            models[name].append(("head", "F32", [2], floats([0.5, 0.25])))
    return models


def large_models():
    """Larger than a block, and they compress: sparse steps on a grid."""
    rng = random.Random(7)
    base = [rng.randrange(-8, 8) / 8 for _ in range(9000)]
    half = bytes(rng.randrange(4) for _ in range(2 * 5000))
    models = {}
    for name in ["base", "t0", "t1"]:
        moved = [w + (rng.randrange(-2, 3) / 16 if name != "base" and rng.random() < 0.1 else 0) for w in base]
        models[name] = [("wide", "F32", [9, 1000], floats(moved)), ("zeros", "F32", [70, 100], bytes(28000)),
                        ("steps", "I64", [3], bytes(24)), ("half", "F16", [5000], half)]
        if name != "base":
            models[name].append(("head", "F32", [5000], floats([1 / (i % 7 + 1) for i in range(5000)])))
    return models


def merge(emr, folder, options):
    command = [emr, "merge", "--quiet", "--base", folder / "base.safetensors"]
    for task in sorted(folder.glob("t*.safetensors")):
        command += ["--task", f"{task.stem}={task}"]
    with tempfile.TemporaryDirectory() as out:
        path = pathlib.Path(out) / "x.emr"
        subprocess.run([str(part) for part in command + options + ["-o", path]], check=True)
        return path.read_bytes()


TURNS = [["--embed-base"], ["--rescale-per", "row", "--embed-base"], ["--zstd-level", "0"],
         ["--rescale-per", "tensor", "--unified-dtype", "f16"], ["--unified-dtype", "bf16", "--embed-base"],
         ["--rescale", "l2", "--rescale-per", "row", "--zstd-level", "0", "--embed-base"],
         ["--rescale", "l1-means", "--tie", "negative"], ["--private", "*", "--embed-base"],
         ["--extendable", "--embed-base"], ["--extendable", "--embed-base", "--rescale-per", "row"],
         ["--extendable", "--embed-base", "--rescale-per", "tensor", "--unified-dtype", "f16", "--zstd-level", "0"],
         ["--modulator", "two-sided", "--rescale-per", "tensor", "--embed-base"], ["--modulator", "t0=sign", "--embed-base"],
         ["--modulator", "t0=thin:1/8", "--modulator", "t1=ternary", "--vectors", "f32", "--embed-base"],
         ["--modulator", "t0=two-sided", "--modulator", "t1=levels:3", "--rescale-per", "row", "--zstd-level", "0"],
         ["--mask", "nearest", "--modulator", "t1=levels:4"], ["--mask", "nearest", "--zstd-level", "0"],
         ["--extendable", "--measure", "--zstd-level", "0", "--embed-base"]]


def bundles(emr):
    """Tiny ones with every option; some of the golden merges; and two of several blocks."""
    with tempfile.TemporaryDirectory() as folder:
        write_models(pathlib.Path(folder), tiny_models(), {})
        for i, more in enumerate(TURNS):
            yield f"tiny{i}", i, merge(emr, pathlib.Path(folder), more)
    with tempfile.TemporaryDirectory() as folder:
        write_models(pathlib.Path(folder), large_models(), {"format": "pt"})
        for i, more in enumerate([["--embed-base", "--rescale-per", "row"], ["--unified-dtype", "f16"],
                                  ["--modulator", "t0=sign", "--modulator", "t1=levels:3", "--embed-base"]]):
            yield f"blocks{i}", i, merge(emr, pathlib.Path(folder), ["--block-params", "4096"] + more)
    different = [("absent", ["--on-missing", "absent"]), ("rows", ["--on-mismatch", "rows"]), ("rows_fewer", ["--on-mismatch", "rows"]),
                 ("pad", ["--on-mismatch", "pad"])]
    for i, (name, options) in enumerate(different):
        for k, more in enumerate([["--embed-base", "--extendable"], ["--zstd-level", "0", "--rescale-per", "row"]]):
            yield f"{name}{k}", 32 * k + i, merge(emr, GOLDEN / name, options + more)
    for i, name in enumerate(["arranged", "arranged_carried", "letters"]):
        yield name, 32 * (i % 2) + i, (GOLDEN / "bundles" / f"{name}.emr").read_bytes()
    for i, name in enumerate(["policies", "mixed_grid_f8", "nonfinite_zero", "bf16_per_tensor"]):
        options = ["--on-missing", "base", "--on-nonfinite", "zero", "--private", "bias"]
        yield name, i, merge(emr, GOLDEN / name, options + TURNS[i])


def checkpoints():
    for name in ["policies", "mixed_per_row", "mixed_grid_f8"]:
        for file in ["base.safetensors", "t2.safetensors"]:
            yield f"{name}_{file.split('.')[0]}", (GOLDEN / name / file).read_bytes()
    yield "empty", safetensors([])
    yield "metadata", safetensors([], {"format": "pt", "Ümlaut": "\"\\\n\t\u20ac\U0001f600"})
    yield "escapes", safetensors([("a\"b\\c\u0001", "U8", [2, 0, 3], b""), ("é", "I16", [], b"ab")])
    yield "scaled", safetensors([
        ("a.weight", "F8_E4M3", [3, 40], bytes(range(120))), ("a.weight_scale_inv", "F32", [3, 2], floats(range(6))),
        ("b.weight", "I8", [2, 3], bytes(range(6))), ("b.SCB", "F32", [2], floats([1, 2])),
        ("c.weight", "F8_E5M2", [2, 64], bytes(range(128))), ("c.weight_scale", "F8_E8M0", [2, 2], bytes([1, 2, 127, 255]))])
    yield "unscaled", safetensors([
        ("a.weight", "F8_E4M3", [3, 4], bytes(12)), ("a.scale_weight", "F32", [3, 4, 1], floats(range(12)))])
    yield "small", safetensors([("f4", "F4", [4], b"ab"), ("f6", "F6_E2M3", [4], b"abc"), ("c", "C64", [1], bytes(8))])
    yield "tight", b'\x40\0\0\0\0\0\0\0{"a":{"dtype":"F8_E5M2","shape":[ 3 ],"data_offsets":[0,3]}}  abc'
    yield "null", b'\x16\0\0\0\0\0\0\0{"__metadata__":null}  '
    yield "lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    yield "page", b"<!DOCTYPE html>\n<html></html>\n"
    yield "error", '{"error":"nicht gefunden \u2013 \U0001f600"}'.encode() * 20
    yield "onnx", b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:"
    yield "arrays", b"PK\x03\x04" + bytes(22) + b"\x05\0\0\0w.npy"
    yield "foreign", b"\x89EMR\r\n\x1a\n" + bytes(56)
    yield "pickle", b"PK\x03\x04\x14\0\0\0\x08\0archive/data.pkl"


def gguf_string(text):
    raw = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(raw)) + raw


def gguf(entries, tensors, alignment=32, version=3):
    """Bytes of a file; entries are key, type, bytes; tensors are name, dimensions (the fastest first), type, bytes."""
    infos, data = b"", b""
    for name, dims, kind, raw in tensors:
        data += bytes(-len(data) % alignment)
        infos += gguf_string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, len(data))
        data += raw
    header = struct.pack("<4sIQQ", b"GGUF", version, len(tensors), len(entries))
    header += b"".join(gguf_string(key) + struct.pack("<I", kind) + raw for key, kind, raw in entries) + infos
    return header + bytes(-len(header) % alignment) + data + bytes(-len(data) % alignment)


def gguf_files():
    align = lambda n: ("general.alignment", 4, struct.pack("<I", n))
    name = ("general.name", 8, gguf_string("a model"))
    yield "empty", gguf([], [])
    yield "small", gguf([], [("f", [2, 3], 0, floats(range(6))), ("q", [32], 8, bytes(range(34)))])
    yield "version2", gguf([name], [("f", [2, 3], 1, bytes(12))], version=2)
    yield "scalars", gguf([(f"k{i}", i, bytes([1]) + bytes(n - 1)) for i, n in
                           [(0, 1), (1, 1), (2, 2), (3, 2), (4, 4), (5, 4), (6, 4), (7, 1), (10, 8), (11, 8), (12, 8)]],
                          [("n", [], 24, b"x"), ("none", [4, 0], 0, b"")])
    yield "arrays", gguf([name, ("tokens", 9, struct.pack("<IQ", 8, 3) + b"".join(map(gguf_string, ["", "a", b"\xff"]))),
                          ("deep", 9, struct.pack("<IQIQIQ", 9, 1, 9, 1, 7, 2) + b"\0\1"),
                          ("floats", 9, struct.pack("<IQ", 6, 2) + floats([1, 2]))], [("x", [1], 28, bytes(8))])
    for n in [8, 24, 64]:
        yield f"align{n}", gguf([align(n), name], [("a", [3], 0, bytes(12)), ("b", [5], 30, bytes(10))], n)
    sizes = {2: 18, 3: 20, 6: 22, 7: 24, 8: 34, 10: 84, 11: 110, 12: 144, 13: 176, 14: 210, 15: 292, 16: 66, 20: 18, 23: 136, 39: 17}
    yield "blocks", gguf([name], [(f"t{kind}", [256 if size > 34 else 32, 2], kind, bytes(i % 64 for i in range(2 * size)))
                                  for kind, size in sizes.items()])
    yield "split", gguf([("split.count", 2, b"\2\0")], [])
    yield "header", gguf([], [("gguf.header", [1], 24, b"x")])
    yield "lent", gguf([name], [("q", [32], 8, bytes(34))])[:24 + 8 + 12 + 4 + 8 + 7 + 8 + 1 + 4 + 8 + 4 + 8]


def split_files():
    """Two files each, with what they say of themselves: split.no, split.count, split.tensors.count."""
    name = ("general.name", 8, gguf_string("a model"))
    align = ("general.alignment", 4, struct.pack("<I", 8))

    def says(*numbers):
        return [(key, kind, struct.pack(form, n)) for (key, kind, form), n in
                zip([("split.no", 2, "<H"), ("split.count", 2, "<H"), ("split.tensors.count", 5, "<i")], numbers)]

    one = [("f", [2, 3], 0, floats(range(6))), ("k", [256], 12, bytes(i % 60 for i in range(144)))]
    two = [("g", [3], 1, bytes(6))]
    yield "right", gguf([name, *says(0, 2, 3)], one), gguf(says(1, 2, 3), two)
    yield "aligned", gguf([align, *says(0, 2, 3), name], one, 8), gguf(says(1, 2, 3), two)
    yield "empty", gguf([name, *says(0, 2, 1)], []), gguf(says(1, 2, 1), two)
    yield "uncounted", gguf([name, *says(0, 2)], one), gguf(says(1, 2), two)
    yield "miscounted", gguf([name, *says(0, 2, 4)], one), gguf(says(1, 2, 4), two)
    yield "twice", gguf([name, *says(0, 2, 4)], one), gguf(says(1, 2, 4), one)
    yield "three", gguf([name, *says(0, 3, 3)], one), gguf(says(1, 3, 3), two)
    yield "range", gguf([name, *says(7, 2, 3)], one), gguf(says(9, 2, 3), two)
    yield "unsplit", gguf([name], one), gguf([], two)


def shard_indexes():
    a, b, c = "a.safetensors", "b.safetensors", "c.safetensors"
    right = {"x": a, "y": a, "z": b}
    yield "right", {"metadata": {"total_size": 14}, "weight_map": right}
    yield "swapped", {"weight_map": {"x": b, "y": a, "z": a}}
    yield "missing", {"weight_map": {"x": a, "z": b}}
    yield "too_many", {"weight_map": dict(right, w=c)}
    yield "empty", {"weight_map": {}}
    yield "parent", {"weight_map": {"x": "../" + a}}
    yield "absent", {"weight_map": {"x": "nothing"}}
    yield "no_string", {"weight_map": {"x": [a, {"y": None, "z": -1.5e3}], "y": True}}


def adapters():
    """Two configurations each."""
    lora = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q", "v"], "rank_pattern": {"q": 4, "k": [1, 2]}}
    yield "same", lora, lora
    yield "order", lora, dict(reversed(lora.items()), target_modules=["v", "q"], rank_pattern={"k": [1, 2], "q": 4})
    yield "rank", lora, dict(lora, r=16)
    yield "numbers", {"x": [16, 0.5, -0.0, 1e23]}, {"x": [16.0, 5e-1, 0, 100000000000000000000000]}
    yield "unset", {"a": None, "b": False, "c": [], "d": {}}, {}
    yield "ignored", dict(lora, task_type="A", peft_version="1"), lora
    yield "texts", {"ü": "\u20ac\U0001f600\n/"}, {"ü": "x" * 100}
    yield "no_object", [1], {}


def model_configs():
    text = {"model_type": "x", "torch_dtype": "float32", "quantization_config": {"quant_method": "fp8", "dtype": "float16"},
            "text_config": {"dtype": "torch.bfloat16", "quantization_config": None}, "limits": [0.0, float("inf"), float("nan")]}
    yield "whole", json.dumps(text)
    yield "laid_out", json.dumps(text, indent=2) + "\n"
    yield "first", json.dumps({"quantization_config": {}, "a": 1})
    yield "alone", json.dumps({"quantization_config": [-float("inf")]})
    yield "diffusers", json.dumps({"_class_name": "UNet", "_diffusers_version": "0.30.0"})
    yield "escaped", '{"\\u0064type":"\\u0066loat32","s":"\\"NaN\\\\"}'
    yield "cut_off", '{"dtype":"float32"'


def applied_adapters():
    """A configuration, and what chooses the adapter's tensors: name, rows, columns (fuzz_adapter.c)."""
    linear, bias, dora, embedding, conv, square = (0, 3, 6, 1, 4, 3), (2, 4, 4), (3, 4, 4), (4, 3, 5, 5, 3, 3), (7, 3, 3, 8, 4, 3), (9, 3, 5, 10, 5, 3)
    lora = {"peft_type": "LORA", "r": 3, "lora_alpha": 16}
    yield "all", lora, linear + embedding + conv + square
    yield "bias", dict(lora, use_rslora=True), linear + (202, 4, 4)
    yield "magnitudes", dict(lora, use_dora=True), linear + (203, 4, 4)
    yield "patterns", dict(lora, rank_pattern={"^model.q$": 3, ".*": 9}, alpha_pattern={"[a-q]": 1.5, "\\w+": 2e0}), linear
    yield "saved", lora, linear + (14, 4, 6, 15, 2, 2)
    yield "transposed", dict(lora, fan_in_fan_out=True), square
    yield "scaled", {"peft_type": "IA3"}, (11, 4, 1, 12, 1, 5)
    yield "huge", dict(lora, r=2**63, lora_alpha=1e22), (0, 10, 6, 1, 4, 10)
    yield "changed", dict(lora, init_lora_weights="pissa"), linear
    yield "variant", dict(lora, layer_replication=[[0, 4], [2, 5]]), linear


def axis(tensor, number=0, **more):
    return {"tensor": tensor, "axis": number, **more}


def specs():
    """Of the model in fuzz_units.c, and of others."""
    units = {"name": "a", "size": 6, "sites": ["b"], "axes": [axis("a.weight"), axis("a.bias"), axis("a.steps", match=False),
                                                              axis("b.weight", 1, inner=2, input=True)]}
    heads = {"name": "h", "heads": 4, "kv_heads": 2, "head_dim": 2, "qk": "free", "sites": ["o"], "qk_site": "x", "q": [axis("q"), axis("s", stride=3)],
             "k": [axis("k")], "v": [axis("v")], "o": [axis("o", 1, input=True)]}
    layers = [{"weight": "b.weight", "bias": "a.bias", "site": "b"}, {"weight": "o", "site": "o", "input_axis": 0}]
    yield "units", [units], layers
    yield "blocks", [{"name": "n", "size": 6, "blocks": 3, "axes": [axis("n")]}], []
    yield "heads", [heads], []
    yield "fixed", [dict(heads, qk="fixed")], layers
    yield "outer", [{"name": "two", "size": 3, "axes": [axis("b.weight", 1, outer=2, inner=2), axis("b.weight")]}], []
    yield "offset", [{"name": "half", "size": 3, "axes": [axis("a.weight", offset=3)]}, {"name": "other", "size": 3, "axes": [axis("a.weight")]}], []
    yield "twice", [{"name": "g", "size": 6, "axes": [axis("n"), axis("n")]}], []
    yield "absent", [{"name": "g", "size": 5, "axes": [axis("none"), axis("a.bias", 3)]}], []
    yield "large", [{"name": "g", "size": 2**24, "blocks": 2**12, "axes": [axis("n", outer=2**40)]}], []


def permutations():
    """Of the model in fuzz_units.c: name, tensors."""
    numbers = lambda *values: struct.pack(f"<{len(values)}I", *values)
    right = {"a": [6], "n": [6], "h.kv": [2], "h.slot": [2, 2], "h.qk": [2, 2], "h.v": [2, 2]}
    units = {"a": (3, 1, 2, 0, 5, 4), "n": (5, 4, 1, 0, 2, 3), "h.kv": (1, 0), "h.slot": (0, 1, 1, 0), "h.qk": (1, 0, 0, 1), "h.v": (0, 1, 1, 0)}
    made = lambda changed: [(name, "U32", shape, numbers(*changed.get(name, units[name]))) for name, shape in right.items()]
    yield "right", made({})
    yield "same", made({name: tuple(i % shape[-1] for i in range(len(units[name]))) for name, shape in right.items()})
    yield "twice", made({"a": (3, 3, 2, 0, 5, 4)})
    yield "blocks", made({"n": (5, 1, 4, 0, 2, 3)})
    yield "large", made({"h.v": (0, 1, 2**31, 0)})
    yield "lacking", made({})[:-1]
    yield "signed", [(name, "I32", shape, raw) for name, _, shape, raw in made({})]


def grams():
    """Name, the numbers of the triangles, metadata."""
    metadata = lambda **widths: {"format": "emr-gram", "version": "1", **{f"widths.{k}": v for k, v in widths.items()}}
    triangle = lambda order: [float(i + 1) for i in range(order * (order + 1) // 2)]
    sums = lambda name, values: (f"{name}.gram", "F64", [len(values)], struct.pack(f"<{len(values)}d", *values))
    yield "one", [sums("x", triangle(3)), sums("fc.1", triangle(4))], metadata(**{"x": "2", "fc.1": "3"})
    yield "two", [sums("x", triangle(5))], metadata(x="2,2")
    yield "wide", [sums("x", triangle(30))], metadata(x="29")
    yield "three", [sums("x", triangle(7))], metadata(x="1,2,3")
    yield "rows", [sums("x", triangle(3)[:-1] + [0.5])], metadata(x="2")
    yield "nan", [sums("x", [float("nan"), 1, 2])], metadata(x="1")
    yield "other", [sums("x", triangle(3)), ("y", "F32", [1], floats([1]))], metadata(x="2")
    yield "short", [sums("x", triangle(3))], metadata(x="3")
    yield "unsaid", [sums("x", triangle(3))], {"format": "emr-gram", "version": "1"}
    yield "none", [], {"format": "emr-gram", "version": "2"}


def doubles(values):
    return struct.pack(f"<{len(values)}d", *values)


def states():
    """Of the coefficients in fuzz_coefficients.c, of two groups and of one: name, tensors, metadata."""
    for groups, number in (["a", "b"], 2), (["b", "a"], 2), (["*"], 1):
        n = 2 * number
        tensors = [("lambda", "F64", [2, number], doubles([0.25 + i / 8 for i in range(n)])),
                   ("adam.m", "F64", [2, number], doubles([i / 4 for i in range(n)])),
                   ("adam.v", "F64", [2, number], doubles([i / 2 for i in range(n)])),
                   ("adam.t", "I64", [2, number], struct.pack(f"<{n}q", *range(n)))]
        metadata = {"emr.kind": "coefficients", "emr.tasks": '["one","two"]', "emr.groups": json.dumps(groups), "emr.steps": "7"}
        for number, name in enumerate(["clamp", "free", "project", "softmax"]):
            yield f"{len(groups)}{groups[0].strip('*')}.{name}", number | 4 * (groups == ["*"]), tensors, metadata | {"emr.map": name}
    free = metadata | {"emr.map": "free", "emr.groups": '["a","b"]'}
    tensors = [(name, dtype, [2, 2], raw * 2) for name, dtype, _, raw in tensors]
    yield "steps", 1, tensors, free | {"emr.steps": "9007199254740992"}
    yield "others", 1, tensors, free | {"emr.tasks": '["one","three"]'}
    yield "nan", 1, [("lambda", "F64", [2, 2], doubles([float("nan")] * 4))] + tensors[1:], free


def saved_adapters():
    """Name, tensors, metadata."""
    said = {"emr.kind": "adapters", "emr.activation": "relu", "emr.sign": "-"}
    matrix = lambda place, which, dtype, shape, raw: (f"{place}.{which}.weight", dtype, shape, raw)
    count = lambda shape: shape[0] * shape[1]
    for name, rank, width in ("asked", 2, 3), ("wide", 1, 40), ("deep", 33, 2):
        for dtype, raw in ("F32", floats([0.5])), ("F64", doubles([-0.25])), ("BF16", b"\x80\x3f"), ("F8_E5M2", b"\x3c"):
            yield name + dtype, [matrix("t.final", "down", dtype, [rank, width], raw * rank * width),
                                 matrix("t.final", "up", dtype, [width, rank], raw * rank * width)], said
    two = [matrix(place, which, "F32", shape, floats([1.0] * count(shape))) for place in ("t.final", "t.block.0")
           for which, shape in (("down", [2, 3]), ("up", [3, 2]))]
    yield "two", two, {}
    yield "lacking", two[1:], said
    yield "other", two, {"emr.sign": "+"}
    yield "unequal", [two[0], matrix("t.final", "up", "F32", [2, 3], bytes(24))], said
    yield "nan", [matrix("t.final", "down", "F32", [1, 1], floats([float("inf")])), matrix("t.final", "up", "F32", [1, 1], bytes(4))], said


def networks():
    """Of ensembles: name, tensors, metadata."""
    said = {"emr.kind": "ensemble", "emr.activation": "silu", "emr.temperature": "1.0", "emr.mix": "logits"}
    numbers = lambda shape: doubles([(i % 7 - 3) / 4 for i in range(shape[0] * shape[1])])
    matrices = lambda x, key, hidden, shared: [(name, "F64", shape, numbers(shape)) for name, shape in (
        ("x.down.weight", [hidden, x]), ("x.up.weight", [shared, hidden]), ("l.down.weight", [hidden, key]), ("l.up.weight", [shared, hidden]))]
    norm = lambda shared: [(name, "F64", [shared], doubles([1.0] * shared)) for name in ("x.norm.weight", "x.norm.bias", "l.norm.weight")]
    yield "plain", matrices(2, 3, 2, 3), said
    yield "norm", matrices(2, 3, 2, 3) + norm(3), said | {"emr.activation": "relu", "emr.mix": "probabilities"}
    yield "wide", matrices(40, 3, 2, 20), said | {"emr.temperature": "0.125"}
    yield "keys", matrices(1, 5, 1, 1), said | {"emr.temperature": "1e-300"}
    yield "halves", [(name, "F16", shape, b"\0\x3c" * (len(raw) // 8)) for name, _, shape, raw in matrices(2, 3, 2, 2)], said
    yield "lacking", matrices(2, 3, 2, 3)[:3], said
    yield "unequal", matrices(2, 3, 2, 3)[:3] + matrices(2, 3, 2, 4)[3:], said
    yield "shift", matrices(2, 3, 2, 3) + norm(3)[:1], said
    yield "cold", matrices(2, 3, 2, 3), said | {"emr.temperature": "0"}
    yield "unsaid", matrices(2, 3, 2, 3), {}


def main():
    emr, out = sys.argv[1], pathlib.Path(sys.argv[2])

    def put(target, name, content):
        (out / target).mkdir(parents=True, exist_ok=True)
        (out / target / name).write_bytes(content)

    for name, i, content in bundles(emr):
        put("bundle", name, bytes([i % 64]) + content)
        put("drop", name, bytes([[1, 2, 129, 130][i % 4]]) + content)
    for i, (name, content) in enumerate(checkpoints()):
        put("safetensors", name, bytes([i % 2]) + content)
    for i, (name, content) in enumerate(gguf_files()):
        for choices in range(4) if name in ("blocks", "small") else [i % 4]:
            put("gguf", f"{name}{choices}", bytes([choices]) + content)
    for i, (name, *content) in enumerate(split_files()):
        for choices in range(4) if name == "right" else [i % 4]:
            put("gguf_split", f"{name}{choices}", bytes([choices]) + struct.pack("<H", len(content[0])) + b"".join(content))
    for name, content in shard_indexes():
        put("shard_index", name, json.dumps(content).encode())
    put("shard_index", "lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    put("shard_index", "config", b'{"model_type":"bert","weight_map":null}')
    for name, *configs in adapters():
        put("adapter", name, b"\0".join(json.dumps(c, ensure_ascii=name != "texts").encode() for c in configs))
    for name, text in model_configs():
        for choices in (0, 1, 4, 6):
            put("config", f"{name}{choices}", bytes([choices]) + text.encode())
    for name, config, choices in applied_adapters():
        put("adapter", "applied_" + name, json.dumps(config).encode() + b"\0{}\0" + bytes(choices))
    for name, groups, layers in specs():
        put("spec", name, json.dumps({"format": "emr-permutation-spec", "version": 1, "layers": layers, "groups": groups}).encode())
    for name, tensors in permutations():
        put("permutation", name, b"\0" + safetensors(tensors))
    for i, (name, tensors, metadata) in enumerate(grams()):
        for choices in range(4) if name == "two" else [i % 4 // 2 * 2]:
            put("gram", f"{name}{choices}", bytes([choices]) + safetensors(tensors, metadata))
    for name, choices, tensors, metadata in states():
        put("coefficients", name, bytes([choices]) + safetensors(tensors, metadata))
    for i, (name, tensors, metadata) in enumerate(saved_adapters()):
        put("surgery", name, bytes([3 if name.startswith("asked") else i % 4]) + safetensors(tensors, metadata))
    for i, (name, tensors, metadata) in enumerate(networks()):
        put("ensemble", name, bytes([i % 2]) + safetensors(tensors, metadata))
    rng = random.Random(11)
    for i in range(40):
        put("round_trip", f"random{i:02}", bytes(rng.randrange(256) for _ in range(40 + 10 * i)))
    for i in range(60):  # a merge that is cut off here and there, and what becomes of its files
        edits = bytes(rng.randrange(256) for _ in range(i % 6 * 8))
        put("journal", f"random{i:02}", bytes([i % 4, rng.randrange(256), i % 3]) + edits)


if __name__ == "__main__":
    main()

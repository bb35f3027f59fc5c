"""roles.py - the program on tensors that are no weights: what it tells of them, what it does with them unasked, and what
--dequantise and --merge change.

    roles.py EMR
"""
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

checks = 0


def check(condition, what):
    global checks
    checks += 1
    if not condition:
        sys.exit(f"failed: {what}")


def write(path, tensors):
    """tensors: name -> (dtype, shape, bytes)"""
    header, data = {}, b""
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def read(path):
    raw = path.read_bytes()
    n, = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8:8 + n])
    header.pop("__metadata__", None)
    return {name: (t["dtype"], t["shape"], raw[8 + n + t["data_offsets"][0]:8 + n + t["data_offsets"][1]])
            for name, t in header.items()}


def floats(*values):
    return struct.pack(f"<{len(values)}f", *values)


def value_of_e4m3(b):
    exponent, mantissa = b >> 3 & 15, b & 7
    value = (8 + mantissa) * 2.0 ** (exponent - 10) if exponent else mantissa * 2.0 ** -9
    return -value if b & 128 else value


def scaled(codes, scale):
    """FP8 with a scale a row, 2 x 4, and its activation scale."""
    return {"l.weight": ("F8_E4M3", [2, 4], bytes(codes)), "l.weight_scale": ("F32", [2, 1], floats(*scale)),
            "l.input_scale": ("F32", [], floats(3)), "n.weight": ("F32", [2], floats(*scale))}


def weights(model):
    codes, scale = model["l.weight"][2], struct.unpack("<2f", model["l.weight_scale"][2])
    return [value_of_e4m3(c) * scale[i // 4] for i, c in enumerate(codes)]


class Emr:
    def __init__(self, program, folder):
        self.program, self.folder = program, folder

    def __call__(self, *words, status=0):
        done = subprocess.run([self.program, *map(str, words)], capture_output=True, text=True)
        check(done.returncode == status, f"emr {' '.join(map(str, words))}: {done.returncode}, {done.stderr}")
        return done

    def merge(self, base, *tasks, more=(), status=0):
        named = [word for i, t in enumerate(tasks) for word in ("--task", f"t{i}={t}")]
        return self("merge", "--base", base, *named, "-o", self.folder / "x.emr", "--force", *more, status=status)

    def apply(self, task, base=None, more=()):
        out = self.folder / "out.safetensors"
        words = ["--base", base] if base else []
        self("apply", self.folder / "x.emr", "--task", task, *words, "-o", out, "--force", "--quiet", *more)
        return read(out)


def inspected(emr, folder):
    path = write(folder / "i.safetensors", {**scaled(range(8), [1, 2]), "q.alpha": ("F32", [], floats(4))})
    rows = {t["name"]: t for t in json.loads(emr("inspect", path, "--json").stdout)["tensors"]}
    family = "FP8 with a scale a row"
    check((rows["l.weight"]["role"], rows["l.weight"]["family"]) == ("code", family), "a code's role")
    check(rows["l.weight"]["can_dequantise"] is True and rows["l.weight"]["code"] is None, "what can be dequantised")
    check((rows["l.input_scale"]["role"], rows["l.input_scale"]["code"]) == ("sidecar", "l.weight"), "a side-car's role")
    check((rows["q.alpha"]["role"], rows["q.alpha"]["family"]) == ("weight", None), "a weight's role")
    lines = {line.split()[0]: line for line in emr("inspect", path).stdout.splitlines()}
    check(lines["l.weight"].endswith(f"code: {family}"), f"a code's line: {lines['l.weight']}")
    check(lines["l.weight_scale"].endswith(f"sidecar: {family}, of l.weight"), "a side-car's line")
    check(lines["q.alpha"].endswith("[]"), "a weight's line has nothing of it")


def kept_exactly(emr, base, models, paths):
    done = emr.merge(base, *paths)
    check("note: 1 tensor of the base: FP8 with a scale a row" in done.stderr, f"the note: {done.stderr}")
    check("--dequantise" in done.stderr, "the note says what to do")
    check(not emr.merge(base, *paths, more=["--quiet"]).stderr, "--quiet is")
    for i, model in enumerate(models):
        again = emr.apply(f"t{i}", base)
        check(all(again[k] == model[k] for k in model if k.startswith("l.")), "codes and side-cars are as they were")
    plan = json.loads(emr.merge(base, *paths, more=["--dry-run", "--json"]).stdout)
    rows = {t["name"]: t for t in plan["tensors"]}
    check(rows["l.weight_scale"]["action"] == "keep" and "FP8" in rows["l.weight_scale"]["reason"], "the plan's reason")
    check(rows["n.weight"]["action"] == "merge", "weights are merged")


def merged_dequantised(emr, folder, base, base_model, models, paths):
    plain = dict(models[1], **{"l.weight": ("F32", [2, 4], floats(*weights(models[1])))})
    for name in ("l.weight_scale", "l.input_scale"):
        del plain[name]
    paths = [paths[0], write(folder / "plain.safetensors", plain)]
    refused = emr.merge(base, *paths, more=["--on-missing", "base"], status=1).stderr
    check("FP8 with a scale a row" in refused and "F32" in refused and "--dequantise" in refused, f"refusal: {refused}")
    done = emr.merge(base, paths[0], more=["--dequantise"])
    check("note" not in done.stderr, "nothing to note")
    again = emr.apply("t0", base, ["--dequantise"])
    check(sorted(again) == ["l.weight", "n.weight"] and again["l.weight"][0] == "F32", "side-cars are gone")
    want, zero = weights(models[0]), weights(base_model)
    got = struct.unpack("<8f", again["l.weight"][2])
    for g, w, z in zip(got, want, zero):  # one task: its mask is whole, its rescaler 1
        check(abs(g - w) <= 1e-5 * max(abs(w), abs(z), 1), f"a weight is {g}, not {w}")
    emr.merge(base, *paths, more=["--dequantise"])
    forgotten = emr("verify", folder / "x.emr", "--base", base, status=1).stderr
    check("--dequantise was not given" in forgotten, f"what was forgotten is not said: {forgotten}")
    emr("verify", folder / "x.emr", "--base", base, "--dequantise")


def patterns(emr, folder):
    def lora(scale):
        return {"a.alpha": ("F32", [], floats(4)), "a.lora_down.weight": ("F32", [1, 2], floats(scale, 1)),
                "a.lora_up.weight": ("F32", [2, 1], floats(1, scale))}
    paths = [write(folder / f"lora{i}.safetensors", lora(i + 1)) for i in range(2)]
    emr.merge("zeros", *paths)
    check(emr.apply("t1")["a.alpha"][2] == floats(4), "an alpha comes back as it was")
    plan = json.loads(emr.merge("zeros", *paths, more=["--merge", "*.alpha", "--dry-run", "--json"]).stdout)
    check({t["action"] for t in plan["tensors"]} == {"merge"}, "--merge merges")
    packed = {"l.weight": ("I8", [1, 2], b"ab"), "l.SCB": ("F32", [1], floats(2))}
    path = write(folder / "packed.safetensors", packed)
    refused = emr.merge(path, path, more=["--merge", "l.*"], status=2).stderr
    check("l.weight" in refused and "--merge" in refused, f"refusal: {refused}")


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        emr = Emr(sys.argv[1], folder)
        base_model = scaled([8, 16, 24, 32, 40, 48, 56, 64], [0.5, 0.25])
        models = [scaled([9 + i, 200, 25, 33, 41 + i, 50, 57, 65], [0.5 + i, 0.75]) for i in range(2)]
        base = write(folder / "base.safetensors", base_model)
        paths = [write(folder / f"t{i}.safetensors", m) for i, m in enumerate(models)]
        inspected(emr, folder)
        kept_exactly(emr, base, models, paths)
        merged_dequantised(emr, folder, base, base_model, models, paths)
        patterns(emr, folder)
    print(f"{checks} checks")


main()

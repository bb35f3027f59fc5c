"""oracle.py EMR LIBEMR_FIT ORACLE - libemr-fit against another implementation of the same papers, in numpy, that lies outside of this
repository: the folder ORACLE has oracle_gram.py, whose `golden` writes inputs and what every method makes of them, and oracle_stream.py.
Prints a line for each comparison, `ok` or `FAIL`. Needs numpy and scipy."""
import ctypes
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

import numpy as np

DTYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "U32": "<u4"}


def read(path):
    raw = pathlib.Path(path).read_bytes()
    start = 8 + struct.unpack_from("<Q", raw)[0]
    header = json.loads(raw[8:start])
    header.pop("__metadata__", None)
    return {name: np.frombuffer(raw[start + t["data_offsets"][0]:start + t["data_offsets"][1]], DTYPES[t["dtype"]]).reshape(t["shape"])
            for name, t in header.items()}


def write(path, tensors):
    header, data = {}, b""
    for name, value in tensors.items():
        raw = np.ascontiguousarray(value, "<f8").tobytes()
        header[name] = {"dtype": "F64", "shape": list(value.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data)


class Activations(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("data", ctypes.c_void_p), ("row_stride", ctypes.c_size_t), ("dtype", ctypes.c_uint32),
                ("reserved", ctypes.c_uint32)]


class GramOptions(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("resources", ctypes.c_void_p), ("n_models", ctypes.c_uint32), ("nonfinite", ctypes.c_uint32)]


def library_sums(path, activations, batch):
    """Of each site the upper triangle of S, as the library adds it up."""
    library = ctypes.CDLL(path)
    value = library.emr_gram_value
    value.restype, value.argtypes = ctypes.c_double, [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_uint64]
    f64 = library.emr_dtype_from_name(b"F64")
    gram, options = ctypes.c_void_p(), GramOptions(ctypes.sizeof(GramOptions), None, len(activations), 0)
    assert library.emr_gram_create(ctypes.byref(gram), ctypes.byref(options), None) == 0
    sums = {}
    for name in activations[0]:
        both = [np.ascontiguousarray(model[name]) for model in activations]
        widths, site = (ctypes.c_uint64 * len(both))(*[x.shape[1] for x in both]), ctypes.c_uint32()
        assert library.emr_gram_add_site(gram, name.encode(), widths, ctypes.byref(site), None) == 0
        for first in range(0, len(both[0]), batch):
            rows = [np.ascontiguousarray(x[first:first + batch]) for x in both]
            given = (Activations * len(rows))(*[Activations(ctypes.sizeof(Activations), x.ctypes.data, 0, f64, 0) for x in rows])
            assert library.emr_gram_feed(gram, site, given, ctypes.c_size_t(len(rows[0])), None, None) == 0
        order = sum(x.shape[1] for x in both) + 1
        sums[name] = np.array([value(gram, site, i, j) for i in range(order) for j in range(i, order)])
    library.emr_gram_destroy(ctypes.byref(gram))
    return sums


def sums_in_order(activations):
    """The same, row after row: every element is added up by itself."""
    sums = {}
    for name in activations[0]:
        z = np.concatenate([model[name] for model in activations] + [np.ones((len(activations[0][name]), 1))], 1)
        total = np.zeros((z.shape[1], z.shape[1]))
        for row in z:
            total += np.outer(row, row)
        sums[name] = total[np.triu_indices(len(total))]
    return sums


class Comparison:
    def __init__(self, emr, folder):
        self.emr, self.folder, self.failed, self.n = emr, pathlib.Path(folder), 0, 0

    def path(self, name):
        return str(self.folder / name)

    def golden(self, name):
        return read(self.path(f"{name}.safetensors"))

    def fit(self, *arguments):
        subprocess.run([self.emr, "fit", *map(str, arguments), "--force"], check=True, cwd=self.folder, stdout=subprocess.DEVNULL)
        return read(self.path(arguments[arguments.index("-o") + 1]))

    def say(self, right, what):
        self.n += 1
        self.failed += not right
        print(f"{'ok  ' if right else 'FAIL'} {what}")

    def near(self, what, got, wanted, most):
        if got.keys() != wanted.keys() or any(got[k].shape != wanted[k].shape for k in wanted):
            return self.say(False, f"{what}: other tensors, or shapes")
        gap = max(np.abs(got[k].astype(float) - wanted[k]).max() / (1 + np.abs(wanted[k]).max()) for k in wanted)
        self.say(gap <= most, f"{what}: {gap:.1e}, at most {most:.0e}")

    def same(self, what, got, wanted):
        self.say(got.keys() == wanted.keys() and all(np.array_equal(got[k], wanted[k]) for k in wanted), f"{what}: the same")


def compare_grams(c, library):
    activations = [c.golden(f"activations.{m}") for m in "ab"]
    joint = {name.removesuffix(".gram"): value for name, value in c.golden("joint").items()}
    in_order = sums_in_order(activations)
    for batch in (1, 7, 128):
        c.same(f"sums in batches of {batch}, to the bit", library_sums(library, activations, batch), in_order)
    c.near("sums", in_order, joint, 1e-12)


def compare_regmean(c):
    common = ["regmean", "--spec", "spec.json", "--task", "a=a.safetensors", "--gram", "a=own.a.safetensors", "--task", "b=b.safetensors",
              "--gram", "b=own.b.safetensors", "-o", "out.safetensors"]
    for alpha in ("1.0", "0.9", "0.1", "0.0"):
        c.near(f"RegMean, off-diagonal {alpha}", c.fit(*common, "--off-diagonal", alpha), c.golden(f"regmean.{alpha}"), 1e-12)
    c.near("RegMean, biases fitted", c.fit(*common, "--bias", "fit"), c.golden("regmean.fit"), 1e-12)


def compare_matching(c):
    common = ["match", "a.safetensors", "b.safetensors", "--spec", "spec.json", "-o"]
    gram = ["--gram", "joint.safetensors", "--by"]
    c.same("matching by weights", c.fit(*common, "weights.safetensors"), c.golden("permutation.weights"))
    c.same("matching by both (MuDSC)", c.fit(*common, "both.safetensors", *gram, "both"), c.golden("permutation.mudsc"))
    found = c.fit(*common, "order.safetensors", *gram, "activations", "--aligned", "aligned.safetensors")
    c.same("matching by activations", found, c.golden("permutation.activations"))
    a, b = c.golden("a"), read(c.path("aligned.safetensors"))
    c.near("the average of aligned models", {k: (a[k] + b[k]) / 2 for k in a}, c.golden("average"), 1e-15)


def compare_merging(c):
    pleas = ["pleas", "a.safetensors", "b.safetensors", "--spec", "spec.json", "--permutation", "order.safetensors", "-o", "out.safetensors"]
    c.near("PLeaS without a gram", c.fit(*pleas), c.golden("partial.1.0"), 1e-15)
    for share in ("1.0", "0.5"):
        pairs = ["--pairs", f"*={float(share):.0%}"]
        c.near(f"PLeaS, {share} of the pairs", c.fit(*pleas, "--gram", "joint.safetensors", *pairs), c.golden(f"pleas.{share}"), 1e-12)
    zipped = c.fit("zip", "a.safetensors", "b.safetensors", "--spec", "spec.json", "--gram", "joint.safetensors", "-o", "out.safetensors")
    c.near("zip", zipped, c.golden("zip"), 1e-12)


def compare_spectral(c, oracle_stream):
    dice = np.random.default_rng(3)
    base = c.golden("a")
    tasks = [{k: v + dice.normal(0, 0.1, v.shape) for k, v in base.items()} for _ in range(3)]
    for i, task in enumerate(tasks):
        write(c.path(f"task{i}.safetensors"), task)
    common = ["--base", "a.safetensors", *(word for i in range(3) for word in ("--task", f"t{i}=task{i}.safetensors")), "-o", "out.safetensors"]
    try:
        for method, wanted in (("iso_c", oracle_stream.iso_c), ("tsv_m", oracle_stream.tsv_m)):
            for scale in (1, 0.3):
                got = c.fit("spectral", "--method", method, *common, "--scale", scale)
                c.near(f"{method}, scale {scale}", got, wanted(base, tasks, scale), 1e-12)
    except subprocess.CalledProcessError:
        c.say(False, "spectral: not tested, libemr-fit was built without LAPACK, or it failed")


def groups_of(spec):
    """What moves together, whatever it is called and in whichever order it stands."""
    plain = {"axis": 0, "offset": 0, "outer": 1, "inner": 1, "stride": 0, "input": False, "match": True}
    said = {"blocks": 1, "qk": "free"}
    return {frozenset([*((k, group.get(k, said.get(k))) for k in ("size", "blocks", "heads", "kv_heads", "head_dim", "qk")),
                       *((part, frozenset(frozenset({**plain, **axis}.items()) for axis in group.get(part, [])))
                         for part in ("axes", "q", "k", "v", "o"))]) for group in spec["groups"]}


def compare_specs(c, oracle_gram):
    heads = {"gpt2": {"n_head": 3}, "bert": {"num_attention_heads": 3}, "vit": {"num_attention_heads": 3},
             "llama": {"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 4}}
    for name in ("mlp", "gpt2", "bert", "llama", "vit", "resnet", "bottleneck"):
        model, wanted, _ = oracle_gram.example(name, np.random.default_rng(0), residual=True)
        folder = c.folder / name
        folder.mkdir()
        write(folder / "model.safetensors", model)
        (folder / "config.json").write_text(json.dumps(heads.get(name, {})))
        subprocess.run([c.emr, "fit", "spec", folder, "--residual", "-o", folder / "spec.json"], check=True, stdout=subprocess.DEVNULL)
        got = json.loads((folder / "spec.json").read_text())
        c.say(groups_of(got) == groups_of(wanted), f"the spec of {name}: the same groups")


def main(emr, library, oracle):
    try:
        import scipy  # noqa: F401, the oracle's
    except ImportError:
        return "not tested: python3 lacks scipy"
    sys.path.insert(0, oracle)
    import oracle_gram
    import oracle_stream
    with tempfile.TemporaryDirectory() as folder:
        c = Comparison(str(pathlib.Path(emr).resolve()), folder)
        oracle_gram.golden(folder)
        spec = json.loads(pathlib.Path(folder, "spec.json").read_text())
        pathlib.Path(folder, "spec.json").write_text(json.dumps({"format": "emr-permutation-spec", "version": 1, **spec}))
        compare_grams(c, str(pathlib.Path(library).resolve()))
        compare_regmean(c)
        compare_matching(c)
        compare_merging(c)
        compare_spectral(c, oracle_stream)
        compare_specs(c, oracle_gram)
    return f"{c.failed} of {c.n} comparisons failed" if c.failed else None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

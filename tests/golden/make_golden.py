#!/usr/bin/env python3
"""Computes the golden files beside it with numpy alone, straight from the formulas of docs/algorithm.md.

To regenerate them:  python3 tests/golden/make_golden.py     (needs numpy; writes the same bytes each time)

Each line of cases.txt names a directory with the checkpoints base.safetensors, t0.safetensors, ... and with
expected.safetensors: what a merge of them must give. README.md says what is in it.
"""
import json
import os
import shutil

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
STORAGE = {"F64": "<f8", "F32": "<f4", "F16": "<u2", "BF16": "<u2", "F8_E4M3": "u1", "F8_E5M2": "u1",
           "BOOL": "u1", "U8": "u1", "I32": "<i4", "I64": "<i8", "F8_E8M0": "u1",
           "F4": "u1", "F6_E2M3": "u1", "F6_E3M2": "u1", "C64": "u1"}  # the last four: bytes, not elements
# Formats narrower than f32: bits of the exponent and of the fraction, and the code after the largest finite.
NARROW = {"F16": (5, 10, 0x7C00), "BF16": (8, 7, 0x7F80), "F8_E4M3": (4, 3, 0x7F), "F8_E5M2": (5, 2, 0x7C)}
FLOATS = {"F64", "F32", *NARROW}
FRACTION_BITS = {"F64": 52, "F32": 23, **{dtype: bits for dtype, (_, bits, _) in NARROW.items()}}
SIZE = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}


class Tensor:
    def __init__(self, dtype, shape, codes):
        self.dtype, self.shape = dtype, tuple(shape)
        self.codes = np.asarray(codes, STORAGE[dtype]).reshape(-1)


def magnitudes(dtype):
    """The values of the codes 0, 1, 2, ... of a narrow format, in f64, up to the one after the largest."""
    exponent_bits, fraction_bits, end = NARROW[dtype]
    codes = np.arange(end + 1)
    exponent, fraction = codes >> fraction_bits, codes & ((1 << fraction_bits) - 1)
    subnormal = exponent == 0
    significand = fraction / 2.0 ** fraction_bits + np.where(subnormal, 0, 1)
    bias = 2 ** (exponent_bits - 1) - 1
    return np.ldexp(significand, np.where(subnormal, 1, exponent) - bias)


def decode(t):
    """Every element as an exact f64."""
    if t.dtype in ("F64", "F32"):
        with np.errstate(invalid="ignore"):  # NaNs that are not quiet
            return t.codes.astype(np.float64)
    exponent_bits, fraction_bits, end = NARROW[t.dtype]
    sign_bit = 1 << (exponent_bits + fraction_bits)
    table = magnitudes(t.dtype)
    code = t.codes.astype(np.int64) & (sign_bit - 1)
    values = table[np.minimum(code, end)]
    values = np.where(code >= end, np.where((code == end) & (t.dtype != "F8_E4M3"), np.inf, np.nan), values)
    return np.where(t.codes & sign_bit, -values, values)


def encode(dtype, values):
    """Codes of the nearest representable numbers, ties to the even code."""
    values = np.asarray(values)
    if dtype in ("F64", "F32"):
        return values.astype(STORAGE[dtype])
    exponent_bits, fraction_bits, end = NARROW[dtype]
    table = magnitudes(dtype)
    middles = (table[:-1] + table[1:]) / 2
    size = np.abs(values.astype(np.float64))
    code = np.searchsorted(middles, size, side="left")
    on_middle = (code < end) & (middles[np.minimum(code, end - 1)] == size)
    code = code + (on_middle & (code % 2 == 1))
    if dtype == "F8_E4M3":  # has no infinity
        code = np.minimum(code, end - 1)
    return code | np.where(np.signbit(values), 1 << (exponent_bits + fraction_bits), 0)


def nan_codes(t, dtype):
    """What NaNs become in another dtype, code by code; elsewhere anything."""
    codes = [int(c) for c in t.codes.view(f"<u{SIZE[t.dtype]}")]
    have, want = FRACTION_BITS[t.dtype], FRACTION_BITS[dtype]
    bits = 8 * SIZE[dtype]
    ones, quiet = (1 << (bits - 1)) - (1 << want), 1 << (want - 1)
    out = []
    for code in codes:
        sign = code >> (8 * SIZE[t.dtype] - 1) << (bits - 1)
        payload = (code & ((1 << have) - 1)) << want >> have
        if dtype == "F8_E4M3":
            payload = 7
        elif t.dtype == "F8_E4M3" or dtype == "F8_E5M2" or (t.dtype == "F64" and dtype in ("F16", "BF16")):
            payload = quiet
        elif not (t.dtype == "BF16" and dtype == "F32"):
            payload |= quiet
        out.append(sign | ones | payload)
    return np.array(out, f"<u{SIZE[dtype]}").view(STORAGE[dtype])


def convert(t, dtype):
    """Codes of a tensor in another dtype."""
    if dtype == t.dtype:
        return t.codes
    values = decode(t)
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = encode(dtype, values if t.dtype == "F64" else values.astype(np.float32))
    codes = np.where(np.isnan(values), 0, rounded).astype(STORAGE[dtype])
    codes[np.isnan(values)] = nan_codes(t, dtype)[np.isnan(values)]
    return codes


def make(dtype, shape, values):
    return Tensor(dtype, shape, encode(dtype, values) if dtype in FLOATS else values)


def write_safetensors(path, tensors, metadata=None):
    header, data = {}, b""
    if metadata:
        header["__metadata__"] = metadata
    for name, t in tensors.items():
        raw = t.codes.tobytes()
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": t.dtype, "shape": list(t.shape), "data_offsets": offsets}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text + data)


def task_vector(task, base):
    """W_t - W_0, rounded once to f32: from f32 operands, or from f64 ones where either side is f64."""
    w, w0 = decode(task), decode(base)
    with np.errstate(invalid="ignore", over="ignore"):
        if "F64" in (task.dtype, base.dtype):
            return (w - w0).astype(np.float32)
        return w.astype(np.float32) - w0.astype(np.float32)


def elect(taus, tie, unified_dtype):
    """The stored unified task vector of one tensor, as a Tensor and as values; taus is tasks x parameters."""
    total = np.zeros(taus.shape[1], np.float32)
    for tau in taus:  # in this order, one rounding an addition
        total = total + tau
    sign = np.sign(total)
    if tie == "negative":
        sign = np.where(sign == 0, -1, sign)
    candidates = np.where(np.sign(taus) == sign, np.abs(taus), 0)
    unified = sign * candidates.max(axis=0, initial=0)
    stored = make(unified_dtype, [len(unified)], unified)
    values = decode(stored)
    stored = make(unified_dtype, stored.shape, np.where(values == 0, 0.0, values))
    return stored, decode(stored).astype(np.float32)


def fit(t, shape):
    """The elements that a tensor has in another shape of its rank, zeros elsewhere."""
    out = np.zeros(shape, t.codes.dtype)
    corner = tuple(slice(min(a, b)) for a, b in zip(t.shape, shape))
    out[corner] = t.codes.reshape(t.shape)[corner]
    return Tensor(t.dtype, shape, out)


def join(first, rest):
    """A tensor and the rows behind it."""
    return Tensor(first.dtype, (first.shape[0] + rest.shape[0], *first.shape[1:]), np.concatenate([first.codes, rest.codes]))


def fraction(top, bottom):
    return top / bottom if bottom > 0 else 0.0


class Case:
    """One merge: inputs, options, and everything that must come out."""

    def __init__(self, name, base, tasks, rescale="l1", per="model", tie="zero", unified="F32",
                 nonfinite="error", missing="error", mismatch="error", private="", exact=False, metadata=()):
        self.name, self.base, self.tasks, self.mismatch = name, base, tasks, mismatch
        self.rescale, self.per, self.tie, self.unified = rescale, per, tie, unified
        self.nonfinite, self.missing, self.private, self.exact = nonfinite, missing, private, exact
        self.metadata = metadata or [None] * (1 + len(tasks))  # of the base, then of each task

    def common_shape(self, name):
        """In which a tensor is merged: the rows that all have, or the largest of each dimension."""
        shapes = [m[name].shape for m in (self.base, *self.tasks) if name in m]
        if self.mismatch == "pad":
            return tuple(map(max, zip(*shapes)))
        return (min(s[0] for s in shapes), *shapes[0][1:]) if shapes[0] else ()

    def arrange(self):
        """Base and tasks as they are merged."""
        names = [n for n, t in self.base.items() if t.dtype in FLOATS and n != self.private]
        self.merged_base = {n: fit(self.base[n], self.common_shape(n)) for n in names}
        self.merged_tasks = [{n: fit(t[n], self.common_shape(n)) for n in names if n in t} for t in self.tasks]

    def rows(self, name):
        shape = self.merged_base[name].shape
        return shape[0] if len(shape) >= 2 else 1

    def merge(self):
        self.arrange()
        self.tau, self.stored, self.elected, self.mask = {}, {}, {}, {}
        for n, base in self.merged_base.items():
            zero = np.zeros(base.codes.size, np.float32)
            taus = np.array([task_vector(t[n], base) if n in t else zero for t in self.merged_tasks])
            if self.nonfinite == "zero":
                taus = np.where(np.isfinite(taus), taus, np.float32(0))
            self.tau[n] = taus
            self.stored[n], self.elected[n] = elect(taus, self.tie, self.unified)
            self.mask[n] = (np.sign(taus) == np.sign(self.elected[n])) & (taus != 0)

    def terms(self, task, name):
        """Numerator and denominator of each row, in f64."""
        tau = self.tau[name][task].astype(np.float64)
        masked = np.where(self.mask[name][task], self.elected[name], 0).astype(np.float64)
        top, bottom = np.abs(tau), np.abs(masked)
        if self.rescale == "l2":
            top, bottom = tau * masked, masked * masked
        rows = self.rows(name)
        width = tau.size // rows if rows else 0
        return top.reshape(rows, width).sum(axis=1), bottom.reshape(rows, width).sum(axis=1)

    def rescalers(self, task):
        """By tensor name, one for each row, in f64."""
        terms = {n: self.terms(task, n) for n in self.tau}
        if self.per == "row":
            return {n: np.array([fraction(a, b) for a, b in zip(*t)]) for n, t in terms.items()}
        totals = {n: (top.sum(), bottom.sum()) for n, (top, bottom) in terms.items()}
        if self.per == "tensor":
            return {n: np.full(self.rows(n), fraction(*t)) for n, t in totals.items()}
        weight = {n: 1.0 for n in terms}
        if self.rescale == "l1-means":
            weight = {n: 1 / self.tau[n][task].size for n in terms if self.tau[n][task].size}
        top = sum(totals[n][0] * w for n, w in weight.items())
        bottom = sum(totals[n][1] * w for n, w in weight.items())
        return {n: np.full(self.rows(n), fraction(top, bottom)) for n in terms}

    def weights(self, task, name, rescalers):
        """One merged tensor of a task, rebuilt in the task's own dtype (the base's where it has none)."""
        base, own = self.merged_base[name], self.tasks[task].get(name, self.base[name])
        width = base.codes.size // len(rescalers) if len(rescalers) else 0
        step = np.repeat(rescalers.astype(np.float32), width) * self.elected[name]
        work = np.float64 if base.dtype == "F64" else np.float32
        w0 = decode(base).astype(work)
        mask = self.mask[name][task]
        codes = convert(base, own.dtype).copy()
        with np.errstate(invalid="ignore"):
            codes[mask] = encode(own.dtype, w0 + step.astype(work))[mask]
        rebuilt = Tensor(own.dtype, base.shape, codes)
        if self.mismatch == "rows" and own.shape != base.shape:  # its own rows, as they were, behind those that all have
            return join(rebuilt, Tensor(own.dtype, (own.shape[0] - base.shape[0], *own.shape[1:]), own.codes[base.codes.size:]))
        return fit(rebuilt, own.shape)

    def expected(self):
        self.merge()
        out = {f"unified/{n}": t for n, t in self.stored.items()}
        for task, model in enumerate(self.tasks):
            rescalers = self.rescalers(task)
            if self.per == "model":
                out[f"rescalers/t{task}"] = make("F64", [1], next(r for r in rescalers.values() if r.size)[:1])
            for n in self.tau:
                bits = np.packbits(self.mask[n][task], bitorder="little")
                out[f"mask/t{task}/{n}"] = Tensor("U8", bits.shape, bits)
                if self.per != "model":
                    values = rescalers[n] if self.per == "row" else rescalers[n][:1]
                    out[f"rescalers/t{task}/{n}"] = make("F64", [len(values)], values)
                if n in model or self.missing == "base":
                    out[f"weights/t{task}/{n}"] = self.weights(task, n, rescalers[n])
            for n in {**self.base, **model}:
                if n not in self.tau and (n in model or self.missing == "base"):  # the task's own copy, or the base's where it has none
                    out[f"weights/t{task}/{n}"] = model.get(n, self.base.get(n))
        return out

    def write(self):
        folder = os.path.join(HERE, self.name)
        shutil.rmtree(folder, ignore_errors=True)
        os.mkdir(folder)
        write_safetensors(os.path.join(folder, "base.safetensors"), self.base, self.metadata[0])
        for i, t in enumerate(self.tasks):
            write_safetensors(os.path.join(folder, f"t{i}.safetensors"), t, self.metadata[1 + i])
        options = {"tasks": str(len(self.tasks)), "rescale": self.rescale, "per": self.per, "tie": self.tie,
                   "unified_dtype": self.unified, "on_nonfinite": self.nonfinite, "on_missing": self.missing,
                   "private": self.private, "exact": "yes" if self.exact else "no"}
        if self.mismatch != "error":
            options["on_mismatch"] = self.mismatch
        write_safetensors(os.path.join(folder, "expected.safetensors"), self.expected(), options)


SHAPES = {"weight": (9, 13), "bias": (5,), "scalar": (), "none": (0,), "no_rows": (0, 4),
          "no_columns": (3, 0), "conv": (3, 2, 2, 2), "long": (321,), "tall": (33, 2)}


def random_models(seed, n_tasks, base_dtypes, task_dtypes, grid=None, shapes=None):
    """A base and tasks near it. With a grid all values are multiples of it: sums are exact, ties common."""
    rng = np.random.default_rng(seed)

    def draw(shape, spread):
        if grid:
            return grid * rng.integers(-3, 4, shape)
        return spread * rng.standard_normal(shape)

    base, tasks = {}, [{} for _ in range(n_tasks)]
    for i, (name, shape) in enumerate((shapes or SHAPES).items()):
        base[name] = make(base_dtypes[i % len(base_dtypes)], shape, np.ravel(draw(shape, 0.5)))
        for k, task in enumerate(tasks):
            moved = decode(base[name]) + np.ravel(draw(shape, 0.1))
            task[name] = make(task_dtypes[(i + k) % len(task_dtypes)], shape, moved)
    return base, tasks


def with_policies():
    """Heads of their own, integers that agree and differ, a glob, a tensor that a task lacks."""
    base, tasks = random_models(11, 3, ["F32"], ["F32"])
    base["steps"] = make("I64", (3,), [1, 2, 3])
    base["flags"] = make("BOOL", (4,), [0, 1, 1, 0])
    for i, task in enumerate(tasks):
        task["steps"] = base["steps"]
        task["flags"] = make("BOOL", (4,), [0, 1, 1, i % 2])
        task["head"] = make("F32", (2 + i, 3), np.arange((2 + i) * 3) / 7)
    tasks[2]["extra.counts"] = make("I32", (2,), [-5, 7])
    del tasks[1]["long"], tasks[1]["flags"], tasks[0]["head"]
    return Case("policies", base, tasks, missing="base", private="bias")


def with_nonfinite():
    base, tasks = random_models(12, 3, ["F32", "BF16", "F32"], ["F32", "F16", "F32"])
    tasks[0]["weight"].codes[[3, 40]] = [np.inf, np.nan]
    tasks[2]["weight"].codes[[3, 77]] = [-np.inf, np.nan]
    tasks[1]["tall"] = make("F32", SHAPES["tall"], np.full(66, np.nan))
    base["conv"].codes[[5, 6]] = [-np.inf, np.nan]
    for task in tasks:
        task["conv"] = base["conv"]
    return Case("nonfinite_zero", base, tasks, nonfinite="zero", per="tensor")


def degenerate():
    """t0 is the base; t1 moves everywhere but is outvoted everywhere; t2 and t3 agree."""
    base, _ = random_models(13, 0, ["F32"], ["F32"], grid=1 / 64)
    shift = {1: -1 / 8, 2: 1 / 4, 3: 1 / 2}
    tasks = [{n: make("F32", t.shape, decode(t) + shift.get(i, 0)) for n, t in base.items()}
             for i in range(4)]
    return Case("degenerate", base, tasks, per="row", exact=True)


def rounded_away():
    """Half of the task vectors are too small for an f16: they round to 0 and are not elected."""
    base, tasks = random_models(14, 3, ["F64"], ["F64"])
    rng = np.random.default_rng(15)
    for task in tasks:
        for n, t in task.items():
            tiny = rng.integers(0, 2, t.codes.size) * 1e-9 * rng.standard_normal(t.codes.size)
            t.codes[:] = np.where(tiny != 0, base[n].codes + tiny, t.codes)
    return Case("unified_f16", base, tasks, unified="F16", rescale="l2", per="tensor")


def several_blocks():
    """With blocks of 4096 parameters, two of every mask, the second shorter; and a middle where nothing moves."""
    base, tasks = random_models(17, 2, ["F8_E4M3"], ["F8_E4M3", "F8_E5M2"], grid=1 / 4,
                                shapes={"long": (1050, 4), "bias": (5,)})
    for task in tasks:
        moved = decode(task["long"])
        moved[2048:4096] = decode(base["long"])[2048:4096]
        task["long"] = make(task["long"].dtype, (1050, 4), moved)
    return Case("several_blocks", base, tasks, unified="BF16", exact=True)


def nan_bits(dtype, n, rng):
    """n codes of NaNs: the smallest and largest payloads, quiet and not, of both signs, then random ones."""
    size, fraction = SIZE[dtype], FRACTION_BITS[dtype]
    exponent, most = (1 << (8 * size - 1)) - (1 << fraction), (1 << fraction) - 1
    payloads = [1, most, (most + 1) // 2, most // 2, (most + 1) // 2 | 1, most - 1, 2]
    payloads += [int(rng.integers(1, most + 1)) for _ in range(n - len(payloads))]
    codes = [exponent | (7 if dtype == "F8_E4M3" else p) | i % 2 << (8 * size - 1) for i, p in enumerate(payloads)]
    return np.array(codes, f"<u{size}").view(STORAGE[dtype])


def with_nan_payloads():
    """NaNs and infinities in a base of every dtype, and tasks that have each tensor in every dtype."""
    rng = np.random.default_rng(18)
    dtypes = ["F32", "F16", "BF16", "F64", "F8_E4M3", "F8_E5M2"]
    base, tasks = {}, [{} for _ in dtypes]
    for i, dtype in enumerate(dtypes):
        values = rng.integers(-3, 4, 37) / 4
        base[dtype] = make(dtype, (37,), values)
        base[dtype].codes[4:30] = nan_bits(dtype, 26, rng)
        if dtype != "F8_E4M3":
            base[dtype].codes[30:32] = encode(dtype, np.array([np.inf, -np.inf]))
        for k, task in enumerate(tasks):
            moved = values + rng.integers(-1, 2, 37) / 4
            task[dtype] = make(dtypes[(i + k) % len(dtypes)], (37,), moved)
    return Case("nan_payloads", base, tasks, nonfinite="zero", exact=True)


def carried():
    """What is no float: elements of 4, 6 and 64 bits, kept or private; and metadata of every model."""
    rng = np.random.default_rng(19)
    raw = lambda dtype, shape, n: Tensor(dtype, shape, rng.integers(0, 256, n, np.uint8))
    base, tasks = random_models(20, 3, ["F32"], ["F32"], grid=1 / 8, shapes={"weight": (6, 5), "bias": (5,)})
    base["scales"], base["packed"] = raw("F8_E8M0", (4,), 4), raw("F4", (3, 4), 6)
    for task in tasks:
        task["scales"], task["packed"] = base["scales"], base["packed"]
    tasks[1]["packed"] = raw("F4", (3, 4), 6)
    tasks[0].update({"own.f4": raw("F4", (1, 2), 1), "own.f6": raw("F6_E2M3", (4, 3), 9), "own.none": raw("F4", (0, 3), 0),
                     "own.f6.too": raw("F6_E3M2", (2, 4), 6), "own.phase": raw("C64", (3,), 24), "own.one": raw("C64", (), 8)})
    tasks[2].update({"own.none": raw("C64", (2, 0), 0)})
    tasks[1]["own.table"] = Tensor("U8", (4200,), rng.integers(0, 2, 4200, np.uint8))
    metadata = [{"format": "pt", "of": "the base \u2013 gr\u00f6\u00dfer", "": "an empty key"}, {"format": "pt", "none": ""}, None,
                {"task": "t2", "text": "line\nand \"quotes\"", "format": "pt", "repeated": "pt"}]
    return Case("carried", base, tasks, exact=True, metadata=metadata)


def in_shapes(seed, dtypes, base_shapes, *task_shapes):
    """Models on a grid with tensors of these shapes each; their common corners are near each other."""
    rng = np.random.default_rng(seed)
    largest = {n: tuple(map(max, zip(*(s[n] for s in (base_shapes, *task_shapes) if n in s)))) for n in base_shapes}
    whole = {n: rng.integers(-6, 7, shape) / 8 for n, shape in largest.items()}
    base = {n: fit(make("F32", largest[n], whole[n].ravel()), shape) for n, shape in base_shapes.items()}
    tasks = []
    for i, shapes in enumerate(task_shapes):
        tasks.append({n: fit(make(dtypes[(i + k) % len(dtypes)], largest[n], (whole[n] + rng.integers(-2, 3, largest[n]) / 4).ravel()), shape)
                      for k, (n, shape) in enumerate(shapes.items())})
    return base, tasks


def with_absent():
    """Tensors that one task or another lacks, and one that only one task has."""
    every = {"weight": (5, 4), "bias": (5,), "head": (3, 5), "none": (0, 3)}
    lack = lambda *names: {n: s for n, s in every.items() if n not in names}
    return Case("absent", *in_shapes(21, ["F32"], every, lack("head"), lack("bias"), lack("weight", "head", "none")),
                missing="absent", per="tensor", exact=True)


def with_rows(name, **options):
    """Vocabularies that grew or shrank: matrices and vectors, of more rows than the base's and of fewer; a scalar."""
    shapes = [{"embed": (rows, 5), "head.bias": (rows,), "conv": (3 + i % 2, 2, 2), "scalar": (), "weight": (4, 4)}
              for i, rows in enumerate(options.pop("rows"))]
    return Case(name, *in_shapes(22, ["F32", "BF16"], *shapes), mismatch="rows", exact=True, **options)


def with_ranks():
    """Adapters of ranks 2, 3 and 1 over zeros of rank 2."""
    shapes = [{"a": (rank, 6), "b": (5, rank), "mid": (rank, rank), "bias": (5,)} for rank in (2, 2, 3, 1)]
    base, tasks = in_shapes(23, ["F32"], *shapes)
    for t in base.values():
        t.codes[:] = 0
    return Case("pad", base, tasks, mismatch="pad", per="row", exact=True)


def all_cases():
    narrow = ["BF16", "F32", "F64", "F16", "F8_E4M3", "F8_E5M2", "F32", "BF16", "F64"]
    yield Case("f32", *random_models(1, 3, ["F32"], ["F32"]))
    yield Case("f32_grid", *random_models(2, 4, ["F32"], ["F32"], grid=1 / 32), exact=True)
    yield Case("f32_grid_negative", *random_models(2, 4, ["F32"], ["F32"], grid=1 / 32), tie="negative",
               per="tensor", exact=True)
    yield Case("bf16_per_tensor", *random_models(3, 3, ["BF16"], ["BF16"]), per="tensor")
    yield Case("f16_l2_per_row", *random_models(4, 3, ["F16"], ["F16"]), rescale="l2", per="row")
    yield Case("f64_l2", *random_models(5, 3, ["F64"], ["F64"]), rescale="l2")
    yield Case("mixed_per_row", *random_models(6, 4, narrow, ["F32", "F64", "BF16", "F16", "F8_E5M2"]),
               per="row")
    yield Case("mixed_grid_f8", *random_models(7, 3, ["F8_E4M3", "F64"], ["F8_E4M3", "F8_E5M2", "F32"],
                                               grid=1 / 4), tie="negative", rescale="l2", exact=True)
    yield Case("means", *random_models(8, 3, ["F32"], ["F32", "BF16"]), rescale="l1-means")
    yield Case("means_negative", *random_models(9, 2, ["F32"], ["F32"], grid=1 / 16), rescale="l1-means",
               tie="negative")
    yield Case("one_task", *random_models(10, 1, ["F32", "BF16"], ["F32", "BF16"]), exact=True)
    yield Case("unified_bf16", *random_models(16, 3, ["F32"], ["F32", "F16"]), unified="BF16")
    yield rounded_away()
    yield with_policies()
    yield with_nonfinite()
    yield degenerate()
    yield several_blocks()
    yield with_nan_payloads()
    yield carried()
    yield with_absent()
    yield with_rows("rows", rows=(7, 9, 7, 12))
    yield with_rows("rows_fewer", rows=(9, 8, 11, 6), missing="base", per="row")
    yield with_ranks()


if __name__ == "__main__":
    cases = list(all_cases())
    for case in cases:
        case.write()
    with open(os.path.join(HERE, "cases.txt"), "w") as f:
        f.writelines(case.name + "\n" for case in cases)

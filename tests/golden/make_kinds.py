#!/usr/bin/env python3
"""Computes the golden files of kinds of modulators, with numpy alone, straight from the definitions in docs/modulators.md.

To regenerate them:  python3 tests/golden/make_kinds.py     (needs numpy; writes the same bytes each time)

A folder has base.safetensors, t0.safetensors, ... and an expected_NAME.safetensors for each way of merging them that is
called NAME: README.md says what is in it. Numbers are what make_golden.py makes of them.
"""
import os
import shutil

import numpy as np

from make_golden import HERE, Case, Tensor, convert, decode, elect, encode, fit, make, task_vector, write_safetensors

GROUP, CHUNK = 64, 16384
UPPER_LEVELS = {3: [1.22400636], 4: [0.452780035, 1.51041761], 8: [0.245094179, 0.756005281, 1.34390928, 2.1519457],
                16: [0.12839503, 0.388048299, 0.656759119, 0.942340456, 1.2562312, 1.61804639, 2.06901723, 2.73258957]}
LEVELS = {n: np.array([-x for x in upper[::-1]] + [0.0] * (n % 2) + upper, np.float32) for n, upper in UPPER_LEVELS.items()}
WORDS = {"ternary": 3, "levels:2": 4, "levels:3": 8, "levels:4": 16}
U32 = 0xFFFFFFFF


def round_bf16(values):
    """Nearest, as f32; the largest finite one beyond it."""
    t = Tensor("BF16", np.shape(values), np.minimum(encode("BF16", np.asarray(values, np.float64)), 0x7F7F))
    return decode(t).astype(np.float32)


def scale_by(rule, t1, q1, tt, tq, qq):
    """A scale from the sums over what shares it, in f64."""
    ratio = lambda a, b: a / b if b > 0 else 0.0
    if rule in ("l2", "unbiased") and tq <= 0:
        return 0.0
    value = {"l1": lambda: ratio(t1, q1), "l2": lambda: ratio(tq, qq), "norm": lambda: float(np.sqrt(ratio(tt, qq))),
             "unbiased": lambda: min(ratio(tt, tq), 4 * ratio(tq, qq))}[rule]()
    return min(value, float(np.finfo(np.float32).max))


def hash_of(seed, group):
    x = seed ^ (group & U32) * 0x9E3779B1 & U32 ^ (group >> 32) * 0x85EBCA77 & U32
    x ^= x >> 16
    x = x * 0x7FEB352D & U32
    x ^= x >> 15
    x = x * 0x846CA68B & U32
    return x ^ x >> 16


def xxh32(data):
    """XXH32 with seed 0, of fewer than 16 bytes."""
    rotate = lambda x, r: (x << r | x >> 32 - r) & U32
    h = 374761393 + len(data) & U32
    at = 0
    while at + 4 <= len(data):
        h = rotate(h + int.from_bytes(data[at:at + 4], "little") * 3266489917 & U32, 17) * 668265263 & U32
        at += 4
    for byte in data[at:]:
        h = rotate(h + byte * 374761393 & U32, 11) * 2654435761 & U32
    h = (h ^ h >> 15) * 2246822519 & U32
    h = (h ^ h >> 13) * 3266489917 & U32
    return h ^ h >> 16


class KindCase(Case):
    """One way of merging a folder's models: a kind for each task, and rules."""

    def __init__(self, name, label, base, tasks, kinds, rescale="unbiased", per="row", mask="agree", vectors="BF16", columns=True,
                 missing="error"):
        super().__init__(name, base, tasks, rescale=rescale, per=per, missing=missing, exact=True)
        self.label, self.kinds, self.mask_rule, self.vectors, self.columns = label, kinds, mask, vectors, columns

    def merge_kinds(self):
        self.arrange()
        self.tau, self.first, self.stored, self.elected, self.mask, flat = {}, {}, {}, {}, {}, 0
        shared = [t for t, kind in enumerate(self.kinds) if kind in ("mask", "two-sided")]
        for n, base in self.merged_base.items():
            zero = np.zeros(base.codes.size, np.float32)
            tau = self.tau[n] = np.array([task_vector(t[n], base) if n in t else zero for t in self.merged_tasks])
            self.first[n] = flat
            flat += -(-base.codes.size // GROUP) * GROUP
            if shared:
                self.stored[n], u = elect(tau[shared], self.tie, self.unified)
                self.elected[n] = u
                self.mask[n] = (np.sign(tau) == np.sign(u)) & (tau != 0)
                if self.mask_rule == "nearest":
                    self.mask[n] &= np.abs(tau) > np.float32(0.5) * np.abs(u)

    # --- with a unified vector ---------------------------------------------------------------------------------------------------
    def side(self, task, name, side):
        """tau and what it is replaced by: of a mask, or of one of the two sides."""
        tau, u, mask = (x.astype(np.float64) for x in (self.tau[name][task], self.elected[name], self.mask[name][task]))
        if self.kinds[task] == "mask":
            return tau, u * mask
        q = u * mask if side == 0 else -u * (1 - mask)
        return np.where(q != 0, tau, 0), q

    def sums(self, task, name, side):
        """The five sums of each row."""
        tau, q = self.side(task, name, side)
        rows = self.rows(name)
        terms = np.abs(tau), np.abs(q), tau * tau, tau * q, q * q
        return np.array([t.reshape(rows, tau.size // rows if rows else 0).sum(axis=1) for t in terms])

    def rescalers_of(self, task):
        """By name: a row's scales, one or two."""
        out = {}
        sides = range(2 if self.kinds[task] == "two-sided" else 1)
        sums = {n: [self.sums(task, n, side) for side in sides] for n in self.tau}
        for n, of_sides in sums.items():
            columns = []
            for side in sides:
                if self.per == "row":
                    values = [scale_by(self.rescale, *row) for row in of_sides[side].T]
                elif self.per == "tensor":
                    values = [scale_by(self.rescale, *of_sides[side].sum(axis=1))] * self.rows(n)
                else:
                    values = [scale_by(self.rescale, *sum(s[side].sum(axis=1) for s in sums.values()))] * self.rows(n)
                columns.append(values)
            out[n] = np.array(columns, np.float64).T.reshape(self.rows(n), len(sides))
        return out

    def elected_steps(self, task, name, rescalers):
        """What is added to each parameter, and where anything is."""
        u, mask = self.elected[name], self.mask[name][task]
        rows = self.rows(name)
        scales = np.repeat(rescalers.astype(np.float32), u.size // rows if rows else 0, axis=0)
        if self.kinds[task] == "mask":
            return scales[:, 0] * u, mask
        scale = np.where(mask, scales[:, 0], -scales[:, 1])
        return scale * u, (scale != 0) & (u != 0)

    # --- coded -------------------------------------------------------------------------------------------------------------------
    def stretches(self, name):
        """Of a matrix: [begin, end) of each."""
        first, base = self.first[name], self.merged_base[name]
        columns = base.codes.size // base.shape[0]
        for row in range(base.shape[0]):
            at, end = row * columns, (row + 1) * columns
            while at < end:
                cut = min(end, (first + at) // CHUNK * CHUNK + CHUNK - first)
                yield at, cut
                at = cut

    def coded_steps(self, task, name):
        """The same."""
        base, tau, kind = self.merged_base[name], self.tau[name][task], self.kinds[task]
        columns = int(np.prod(base.shape[1:], dtype=np.int64))
        if len(base.shape) < 2 or columns < 8:
            d = decode(make(self.vectors, tau.shape, tau.astype(np.float64))).astype(np.float32)
            return d, d != 0
        if tau.size == 0:
            return tau, tau != 0
        if kind == "sign":
            return self.sign_steps(name, tau, columns)
        if kind.startswith("thin"):
            return self.thin_steps(task, name, tau, int(kind.split("/")[1]))
        return self.level_steps(name, tau, LEVELS[WORDS[kind]])

    def flat(self, name):
        return self.first[name] + np.arange(self.merged_base[name].codes.size)

    def sign_steps(self, name, tau, columns):
        signs = np.where(tau > 0, 1, np.where(tau < 0, -1, np.where(self.flat(name) % 2 == 1, 1, -1))).astype(np.float32)
        at_each = np.zeros(tau.size, np.float32)
        p, rr, column = np.zeros(columns), 0.0, np.arange(tau.size) % columns
        for begin, end in self.stretches(name):
            t, n = np.abs(tau[begin:end].astype(np.float64)), end - begin
            r = at_each[begin:end] = round_bf16(scale_by(self.rescale, t.sum(), n, (t * t).sum(), t.sum(), n))
            np.add.at(p, column[begin:end], r * t)
            rr += float(r) ** 2 * n / columns
        if not self.columns or not 8 <= self.merged_base[name].shape[0] or columns > 65536:
            return signs * at_each, at_each != 0
        c = np.ones(columns, np.float32)
        if rr > 0:
            rule, c = "l2" if self.rescale == "l1" else self.rescale, p / rr  # l1 and l2 are the same of signs
            c = round_bf16(c * scale_by(rule, 0, 0, float((tau.astype(np.float64) ** 2).sum()), (c * p).sum(), rr * (c * c).sum()))
        return signs * (at_each * c[column]), at_each != 0

    def thin_steps(self, task, name, tau, q):
        flat, seed = self.flat(name), xxh32(f"t{task}".encode())
        run, bits = flat % GROUP // q, q.bit_length() - 1
        offset = np.array([hash_of(seed, int(g)) for g in flat // GROUP], np.int64) >> run * bits & q - 1
        positive = (tau > 0) | (tau == 0) & (run % 2 == 1)
        at_each = np.zeros(tau.size, np.float32)
        for begin, end in self.stretches(name):
            t, n = np.abs(tau[begin:end].astype(np.float64)), end - begin
            mean, squares = t.sum() / n, (t * t).sum()
            unbiased = min(squares / t.sum(), 4 * mean) if mean else 0
            part = min(max((n / q - 16) / 64, 0), 1)
            at_each[begin:end] = round_bf16({"l1": mean * q, "l2": mean, "norm": np.sqrt(squares * q / n), "unbiased": unbiased * q,
                                             "mixed": ((1 - part) * mean + part * unbiased) * q}[self.rescale])
        return np.where(positive, at_each, -at_each), (flat % q == offset) & (at_each != 0)

    def level_steps(self, name, tau, levels):
        thresholds = np.float32(0.5) * (levels[1:] + levels[:-1])
        flat, step, moves = self.flat(name), np.zeros(tau.size, np.float32), np.zeros(tau.size, bool)
        for begin, end in self.stretches(name):
            t = tau[begin:end].astype(np.float64)
            rms = np.float32(np.sqrt((t * t).sum() / (end - begin)))
            code = (tau[begin:end, None] > thresholds * rms).sum(axis=1)
            if len(levels) % 2 == 0:
                code = np.where(t == 0, len(levels) // 2 - 1 + flat[begin:end] % 2, code)
            q = levels[code].astype(np.float64)
            r = round_bf16(scale_by(self.rescale, np.abs(t).sum(), np.abs(q).sum(), (t * t).sum(), (t * q).sum(), (q * q).sum()))
            step[begin:end], moves[begin:end] = r * levels[code], r != 0
        return step, moves

    # --- both --------------------------------------------------------------------------------------------------------------------
    def rebuild(self, task, name, step, moves):
        base, own = self.merged_base[name], self.tasks[task].get(name, self.base[name])
        work = np.float64 if base.dtype == "F64" else np.float32
        codes = convert(base, own.dtype).copy()
        moved = encode(own.dtype, decode(base).astype(work) + step.astype(work))
        codes[moves] = moved[moves]
        return fit(Tensor(own.dtype, base.shape, codes), own.shape)

    def expected(self):
        self.merge_kinds()
        out = {}
        for task, model in enumerate(self.tasks):
            rescalers = self.rescalers_of(task) if self.kinds[task] in ("mask", "two-sided") else None
            tt = tq = qq = 0.0
            for n in self.tau:
                step, moves = self.elected_steps(task, n, rescalers[n]) if rescalers else self.coded_steps(task, n)
                if n in model:
                    out[f"weights/t{task}/{n}"] = self.rebuild(task, n, step, moves)
                t, v = self.tau[n][task].astype(np.float64), np.where(moves, step, 0).astype(np.float64)
                tt, tq, qq = tt + (t * t).sum(), tq + (t * v).sum(), qq + (v * v).sum()
            out[f"fidelity/t{task}"] = make("F64", [3], np.array([(tt - 2 * tq + qq) / tt, tq / np.sqrt(tt * qq), tq / tt]))
        return out

    def write_expected(self):
        options = {"tasks": str(len(self.tasks)), "kinds": " ".join(self.kinds), "rescale": self.rescale, "per": self.per,
                   "mask": self.mask_rule, "vectors": self.vectors, "columns": "yes" if self.columns else "no", "tie": self.tie,
                   "unified_dtype": self.unified, "on_missing": self.missing}
        write_safetensors(os.path.join(HERE, self.name, f"expected_{self.label}.safetensors"), self.expected(), options)


def near(seed, shapes, base_dtypes, task_dtypes, spread, n_tasks, lacking=()):
    """A base, and tasks that differ from it by small multiples of a power of two: sums are exact. Every tenth differs in nothing,
    and so does a row. `lacking`: what each task goes without."""
    rng = np.random.default_rng(seed)
    base, tasks = {}, [{} for _ in range(n_tasks)]
    for i, (name, shape) in enumerate(shapes.items()):
        n = int(np.prod(shape, dtype=np.int64))
        base[name] = make(base_dtypes[i % len(base_dtypes)], shape, rng.integers(-3, 4, n) / 4)
        for k, task in enumerate(tasks):
            move = np.round(spread * rng.standard_normal(n) * (1 + 2 * rng.random(n))) / 8
            move[rng.random(n) < 0.1] = 0
            if len(shape) > 1 and shape[0] > 2:
                move.reshape(shape)[1] = 0
            if name not in (lacking[k] if lacking else ()):
                task[name] = make(task_dtypes[(i + k) % len(task_dtypes)], shape, decode(base[name]) + move)
    return base, tasks


def all_cases():
    shapes = {"weight": (9, 13), "bias": (5,), "wide": (3, 70), "narrow": (9, 4), "conv": (8, 3, 2, 2), "scalar": (), "none": (0, 20),
              "no_columns": (8, 0), "tall": (33, 8)}
    base, tasks = near(31, shapes, ["F32", "BF16", "F64"], ["F32", "F64", "F32", "BF16"], 2, 8)
    every = ["mask", "sign", "thin:1/4", "ternary", "levels:2", "levels:3", "levels:4", "two-sided"]
    yield KindCase("kinds", "row", base, tasks, every)
    yield KindCase("kinds", "tensor", base, tasks, ["two-sided", *every[1:]], "l2", "tensor", vectors="F32", columns=False)
    yield KindCase("kinds", "model", base, tasks, ["two-sided", "sign", "thin:1/2", "two-sided", "thin:1/8", "thin:1/16", "thin:1/32", "mask"],
                   "norm", "model", mask="nearest")
    yield KindCase("kinds", "nearest", base, tasks, ["mask"] * 8, mask="nearest")
    yield KindCase("kinds", "coded", base, tasks, ["sign", "thin:1/2", "levels:4", "ternary", "sign", "thin:1/32", "levels:2", "levels:3"], "l1")
    yield KindCase("kinds", "mixed", base, tasks, [f"thin:1/{q}" for q in (2, 2, 4, 2, 8, 2, 16, 32)], "mixed")
    shapes = {"weight": (9, 9), "bias": (5,), "head": (3, 10), "last": (8, 8)}
    yield KindCase("kinds_absent", "row", *near(32, shapes, ["F32"], ["F32", "BF16"], 2, 5, [["head"], ["weight"], ["bias", "last"], ["head"], ["last"]]),
                   ["sign", "thin:1/2", "mask", "levels:3", "two-sided"], missing="absent")
    shapes = {"before": (70,), "long": (9, 2011), "bias": (5,)}
    yield KindCase("kinds_chunks", "row", *near(33, shapes, ["F8_E5M2"], ["F8_E5M2", "F8_E4M3"], 3, 3), ["sign", "thin:1/8", "levels:3"])


if __name__ == "__main__":
    cases = list(all_cases())
    for name in {case.name for case in cases}:
        shutil.rmtree(os.path.join(HERE, name), ignore_errors=True)
        os.mkdir(os.path.join(HERE, name))
    for case in cases:
        folder = os.path.join(HERE, case.name)
        write_safetensors(os.path.join(folder, "base.safetensors"), case.base)
        for i, t in enumerate(case.tasks):
            write_safetensors(os.path.join(folder, f"t{i}.safetensors"), t)
        case.write_expected()

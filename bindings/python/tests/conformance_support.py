"""conformance_support.py - draws, digests, numbers and words, as bindings/conformance/README.md has them."""

import functools
import math

import numpy as np

from libemr import Array, DType


@functools.lru_cache(maxsize=4096)
def digest(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def digest_of(array):
    return digest(
        bytes(memoryview(array).cast("B")) if not isinstance(array, (bytes, bytearray)) else bytes(array)
    )


def draws(seed, n):
    z = (np.uint64(seed << 32) + np.arange(1, n + 1, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def floats_as(dtype, values):
    """Values that are exact in the dtype, as its bytes, element by element."""
    if dtype == "BF16":
        return (np.asarray(values, np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return np.asarray(values).astype({"F32": np.float32, "F16": np.float16, "F64": np.float64}[dtype])


def drawn(dtype, seed, n):
    """n elements of a dtype, as an array of numpy's that has their bytes."""
    kind = DType.of(dtype)
    if dtype in ("F32", "F16", "BF16", "F64"):
        return floats_as(dtype, ((draws(seed, n) >> np.uint64(56)).astype(np.int64) - 128) / 128)
    width = max(kind.bits // 8, 1)
    r = draws(seed, n if kind.bits >= 8 else n * kind.bits // 8)
    if kind.is_float:
        r &= np.uint64(0xBF)
    if dtype == "BOOL":
        r &= np.uint64(1)
    return np.ascontiguousarray(r.view(np.uint8).reshape(-1, 8)[:, :width]).reshape(-1)


def f32(seed, n):
    return drawn("F32", seed, n)


def as_array(data, dtype, shape):
    """Elements in any dtype, as the package takes them."""
    return Array(bytearray(memoryview(np.ascontiguousarray(data)).cast("B")), dtype, shape)


def new_array(dtype, shape):
    return Array(bytearray(math.prod(shape) * DType.of(dtype).bits // 8), dtype, shape)


def number(value):
    """A float as the cases have it."""
    value = float(value)
    return value if math.isfinite(value) else "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"


def numbers(values):
    return [number(v) for v in np.asarray(values).reshape(-1)]


def wholes(values):
    return [int(v) for v in np.asarray(values).reshape(-1)]


WORDS = {
    "kind": ["default", "mask", "two_sided", "sign", "thin", "levels"],
    "rescale": ["default", "l1", "l1_means", "l2", "norm", "unbiased", "mixed"],
    "rescale_per": ["default", "model", "tensor", "row"],
    "mask_rule": ["agree", "nearest"],
    "tie": ["zero", "negative"],
    "end": ["", "steady", "kinship", "generations"],
}


def code(kind, word):
    """The number of a word of C's; None is 0."""
    return WORDS[kind].index(word) if isinstance(word, str) and word in WORDS[kind] else int(word or 0)


def shape_of(shape):
    return "[" + ",".join(map(str, shape)) + "]"


class OnPurpose(Exception):
    """What the runner's own callbacks raise."""


def expect_keys(step, keys):
    unknown = set(step) - set(keys.split())
    assert not unknown, f"unknown keys {unknown}"


def option(step, *keys, **renamed):
    """The keys that a step has, as parameters of the package's."""
    found = {key: step[key] for key in keys if key in step}
    return {**found, **{to: step[key] for key, to in renamed.items() if key in step}}

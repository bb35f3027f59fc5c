"""test_blocks.py LIBRARY - emr_quantise and emr_dequantise against the Python package `gguf`, bit for bit."""
import ctypes
import sys

import package  # first: it may start another python
import gguf
import numpy as np

from gguf import GGMLQuantizationType as T

emr = ctypes.CDLL(sys.argv[1])
emr.emr_block_name.restype = ctypes.c_char_p


def pointer(array):
    return array.ctypes.data_as(ctypes.c_void_p)


def quantise(kind, values):
    block, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = np.empty(values.size // block * size, np.uint8)
    status = emr.emr_quantise(ctypes.c_uint32(kind), pointer(blocks), pointer(values), ctypes.c_size_t(values.size))
    assert status == 0, (kind, status)
    return blocks


def dequantise(kind, blocks):
    block, size = gguf.GGML_QUANT_SIZES[kind]
    values = np.empty(blocks.size // size * block, np.float32)
    status = emr.emr_dequantise(ctypes.c_uint32(kind), pointer(values), pointer(blocks), ctypes.c_size_t(values.size))
    assert status == 0, (kind, status)
    return values


def samples(rng):
    """Ordinary weights; blocks of all magnitudes that have an F16 scale; halves and quarters of steps; equal values;
    mostly zeros."""
    n = 32 * 8192
    ordinary = rng.standard_normal((n // 32, 32), np.float32)
    yield ordinary * np.float32(0.02)
    yield ordinary * np.exp2(rng.integers(-20, 15, (n // 32, 1))).astype(np.float32)
    for most in (8, 15, 16, 31, 127):
        grid = rng.integers(-4 * most, 4 * most + 1, (n // 32, 32)).astype(np.float32) / 4
        grid[:, 5] = most
        yield grid * rng.choice(np.float32([1, -1, 0.125, 0.1]), (n // 32, 1))
    yield np.repeat(ordinary[:, :1], 32, axis=1)
    yield np.where(rng.random((n // 32, 32)) < 0.9, np.float32(0), ordinary)


rng = np.random.default_rng(11)
compared = 0
for kind in (T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0):
    assert emr.emr_block_name(ctypes.c_uint32(kind)).decode() == kind.name
    assert emr.emr_block_bytes(ctypes.c_uint32(kind)) == gguf.GGML_QUANT_SIZES[kind][1]
    for number, values in enumerate(samples(rng)):
        values = np.ascontiguousarray(values, np.float32)
        expected = gguf.quants.quantize(values, kind).reshape(-1)
        blocks = quantise(kind, values)
        wrong = np.flatnonzero(blocks != expected)
        assert not wrong.size, (kind.name, number, wrong[:4], blocks[wrong[:4]], expected[wrong[:4]])
        back = gguf.quants.dequantize(blocks, kind).astype(np.float32)
        assert np.array_equal(dequantise(kind, blocks).view(np.uint32), back.view(np.uint32)), (kind.name, number)
        compared += values.size
print(f"{compared} values to blocks and back as gguf of Python {sys.version.split()[0]} does, numpy {np.__version__}")

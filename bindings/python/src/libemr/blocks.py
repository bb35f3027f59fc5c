"""blocks.py - ggml's plainer quantised types: "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"."""

from __future__ import annotations

from typing import Any

from . import arrays
from ._native import check, choice, decode, lib
from .dtypes import DType

__all__ = ["block_bytes", "dequantise", "names", "quantise"]


def _kind(name: str) -> int:
    return choice("EMR_BLOCK_TYPE_", name, "the type of blocks")


def block_bytes(name: str) -> int:
    """Bytes of a block, which is 32 values."""
    return int(lib.emr_block_bytes(_kind(name)))


def names() -> list[str]:
    """The types, as GGUF spells them."""
    return [decode(lib.emr_block_name(number)) for number in range(256) if lib.emr_block_bytes(number)]


def quantise(name: str, values: Any, out: Any = None) -> Any:
    """Values in F32 as blocks: into `out`, or a new bytearray, which it returns. To the bit as ggml's
    reference rounds."""
    source = arrays.view(values, dtype=DType.F32, what="values")
    n = _blocks(source.count) * block_bytes(name)
    out = bytearray(n) if out is None else out
    target = arrays.view(out, writable=True, what="out")
    if target.nbytes != n:
        raise ValueError(f"out has {target.nbytes} bytes, {n} are needed")
    check(lib.emr_quantise(_kind(name), target.pointer, source.pointer, source.count))
    return out


def dequantise(name: str, blocks: Any, out: Any = None) -> Any:
    """And back, in F32: into `out`, or a new numpy array, which it returns."""
    source = arrays.view(blocks, what="blocks")
    if source.nbytes % block_bytes(name):
        raise ValueError(f"{source.nbytes} bytes are no whole number of blocks of {block_bytes(name)}")
    n = source.nbytes // block_bytes(name) * int(lib.EMR_BLOCK_VALUES)
    out = arrays.empty(DType.F32, (n,)) if out is None else out
    target = arrays.view(out, writable=True, dtype=DType.F32, what="out")
    if target.count != n:
        raise ValueError(f"out has {target.count} elements, {n} are needed")
    check(lib.emr_dequantise(_kind(name), target.pointer, source.pointer, n))
    return out


def _blocks(count: int) -> int:
    if count % lib.EMR_BLOCK_VALUES:
        raise ValueError(f"{count} values are no whole number of blocks of {lib.EMR_BLOCK_VALUES}")
    return count // int(lib.EMR_BLOCK_VALUES)

"""dtypes.py - element types, and what numpy, PyTorch and DLPack call them."""

from __future__ import annotations

import enum
from typing import Any, Union

from ._native import check, decode, lib

__all__ = ["DType", "DTypeLike", "convert"]


class DType(enum.IntEnum):
    """An element type; its name is that of safetensors, its value that of bundles."""

    F32 = lib.EMR_DTYPE_F32
    F16 = lib.EMR_DTYPE_F16
    BF16 = lib.EMR_DTYPE_BF16
    F64 = lib.EMR_DTYPE_F64
    F8_E4M3 = lib.EMR_DTYPE_F8_E4M3
    F8_E5M2 = lib.EMR_DTYPE_F8_E5M2
    BOOL = lib.EMR_DTYPE_BOOL
    U8 = lib.EMR_DTYPE_U8
    I8 = lib.EMR_DTYPE_I8
    U16 = lib.EMR_DTYPE_U16
    I16 = lib.EMR_DTYPE_I16
    U32 = lib.EMR_DTYPE_U32
    I32 = lib.EMR_DTYPE_I32
    U64 = lib.EMR_DTYPE_U64
    I64 = lib.EMR_DTYPE_I64
    F8_E8M0 = lib.EMR_DTYPE_F8_E8M0
    F8_E4M3FNUZ = lib.EMR_DTYPE_F8_E4M3FNUZ
    F8_E5M2FNUZ = lib.EMR_DTYPE_F8_E5M2FNUZ
    F4 = lib.EMR_DTYPE_F4
    F6_E2M3 = lib.EMR_DTYPE_F6_E2M3
    F6_E3M2 = lib.EMR_DTYPE_F6_E3M2
    C64 = lib.EMR_DTYPE_C64

    @property
    def bits(self) -> int:
        """Bits of an element."""
        return int(lib.emr_dtype_bits(self.value))

    @property
    def is_float(self) -> bool:
        """Whether tensors of this type are merged and converted."""
        return bool(lib.emr_dtype_is_float(self.value))

    @property
    def numpy(self) -> Any:
        """numpy's dtype. Of BF16 and 8-bit floats it is that of the package ml_dtypes; TypeError without
        it."""
        return _numpy_dtype(self)

    def __str__(self) -> str:
        return self.name

    @classmethod
    def of(cls, value: DTypeLike) -> DType:
        """From a DType, its name ("BF16"), or what numpy or PyTorch call it ("bfloat16", numpy.float32,
        torch.bfloat16)."""
        if isinstance(value, int):
            return cls(value)
        name = value if isinstance(value, str) else _name_of(value)
        number = lib.emr_dtype_from_name(name.encode())
        found = cls(number) if number else BY_ARRAY_NAME.get(name)
        if found is None:
            raise ValueError(f"{value!r} is no dtype of a tensor")
        return found


DTypeLike = Union[DType, str, int, Any]

# numpy's names, ml_dtypes' and PyTorch's are the same but for "bool_".
BY_ARRAY_NAME = {
    "float32": DType.F32,
    "float16": DType.F16,
    "bfloat16": DType.BF16,
    "float64": DType.F64,
    "float8_e4m3fn": DType.F8_E4M3,
    "float8_e5m2": DType.F8_E5M2,
    "bool": DType.BOOL,
    "bool_": DType.BOOL,
    "uint8": DType.U8,
    "int8": DType.I8,
    "uint16": DType.U16,
    "int16": DType.I16,
    "uint32": DType.U32,
    "int32": DType.I32,
    "uint64": DType.U64,
    "int64": DType.I64,
    "float8_e8m0fnu": DType.F8_E8M0,
    "float8_e4m3fnuz": DType.F8_E4M3FNUZ,
    "float8_e5m2fnuz": DType.F8_E5M2FNUZ,
    "complex64": DType.C64,
}
ARRAY_NAMES = {dtype: name for name, dtype in reversed(BY_ARRAY_NAME.items())}

# What the buffer protocol calls them, little-endian; "l" and "L" are 8 bytes or 4.
BY_FORMAT = {
    ("f", 4): DType.F32,
    ("e", 2): DType.F16,
    ("d", 8): DType.F64,
    ("?", 1): DType.BOOL,
    ("Zf", 8): DType.C64,
    ("F", 8): DType.C64,
}
for _letters, _kind in (("bhilqn", "I"), ("BHILQN", "U")):
    for _letter in _letters:
        for _bytes in (1, 2, 4, 8):
            BY_FORMAT[(_letter, _bytes)] = DType[f"{_kind}{_bytes * 8}"]

# (code, bits) of DLPack.
BY_DLPACK = {
    (2, 32): DType.F32,
    (2, 16): DType.F16,
    (4, 16): DType.BF16,
    (2, 64): DType.F64,
    (6, 8): DType.BOOL,
    (5, 64): DType.C64,
    (10, 8): DType.F8_E4M3,
    (11, 8): DType.F8_E4M3FNUZ,
    (12, 8): DType.F8_E5M2,
    (13, 8): DType.F8_E5M2FNUZ,
    (14, 8): DType.F8_E8M0,
}
for _bytes in (1, 2, 4, 8):
    BY_DLPACK[(0, _bytes * 8)] = DType[f"I{_bytes * 8}"]
    BY_DLPACK[(1, _bytes * 8)] = DType[f"U{_bytes * 8}"]


def _name_of(value: Any) -> str:
    """Of numpy.float32, numpy.dtype("float32"), torch.float32."""
    if isinstance(value, type):
        return value.__name__
    return str(getattr(value, "name", value)).replace("torch.", "")


def _numpy_dtype(dtype: DType) -> Any:
    import numpy

    name = ARRAY_NAMES.get(dtype)
    if name is None:
        raise TypeError(f"numpy has no {dtype.name}")
    try:
        return numpy.dtype(name)
    except TypeError:
        pass
    try:
        import ml_dtypes
    except ImportError:
        raise TypeError(
            f"numpy has no {dtype.name}: install ml_dtypes, or hand over a PyTorch tensor or floats"
        ) from None
    return numpy.dtype(getattr(ml_dtypes, name))


def convert(values: Any, dtype: DTypeLike, out: Any) -> None:
    """Converts the floats of an array into the array `out`, whose elements are of `dtype`: rounded once, to
    nearest."""
    from .arrays import view

    source, target = view(values), view(out, writable=True, dtype=DType.of(dtype))
    if source.count != target.count:
        raise ValueError(f"{source.count} values do not fit into {target.count}")
    check(lib.emr_convert(target.dtype, target.pointer, source.dtype, source.pointer, source.count))


def name_of(number: int) -> str:
    """The name of a dtype's number."""
    return decode(lib.emr_dtype_name(number))

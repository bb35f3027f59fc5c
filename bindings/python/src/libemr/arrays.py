"""arrays.py - other people's arrays as memory that C can use: numpy, PyTorch, whatever has DLPack or the
buffer protocol. Nothing is copied; what C cannot use as it lies is refused."""

from __future__ import annotations

import ctypes
import math
import sys
from collections.abc import Sequence
from typing import Any

from ._native import ffi
from .dtypes import BY_DLPACK, BY_FORMAT, DType, DTypeLike

__all__ = ["Array", "View", "view"]

CPU_DEVICES = {1, 3, 11}  # DLPack's: memory of the CPU, or that it can reach
DLPACK_READ_ONLY = 1


class View:
    """An array's memory: `pointer`, `dtype`, `shape`, whether it is `writable`; it keeps the array alive."""

    def __init__(self, pointer: Any, dtype: DType, shape: Sequence[int], writable: bool, keep: Any) -> None:
        self.pointer, self.dtype, self.shape, self.writable, self.keep = (
            pointer,
            dtype,
            tuple(shape),
            writable,
            keep,
        )

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.count * self.dtype.bits // 8

    @property
    def address(self) -> int:
        return int(ffi.cast("uintptr_t", self.pointer))

    def overlaps(self, other: View) -> bool:
        """Whether two lie over each other."""
        return self.address < other.address + other.nbytes and other.address < self.address + self.nbytes


class Array:
    """Bytes that are an array of a dtype and a shape: for types that the bytes' owner does not know.

    ``Array(bytearray(4), "BF16", (2,))`` is two numbers in BF16.
    """

    def __init__(self, data: Any, dtype: DTypeLike, shape: Sequence[int]) -> None:
        self.data, self.dtype, self.shape = data, DType.of(dtype), tuple(int(n) for n in shape)


def view(array: Any, *, writable: bool = False, dtype: DType | None = None, what: str = "the array") -> View:
    """The memory of an array: of numpy, PyTorch, DLPack, the buffer protocol, or an `Array`.

    With `writable` it must be; with `dtype`, be of that type. BufferError: it is read-only, or its elements
    do not lie one after another. TypeError: it is no array, on another device, or of another type.
    """
    found = (
        _of_array(array)
        or _of_torch(array, what)
        or _of_numpy(array, what)
        or _of_buffer(array, what)
        or _of_dlpack(array, what)
    )
    if found is None:
        raise TypeError(
            f"{what} is a {type(array).__name__}, which is no array: it has no buffer and no DLPack"
        )
    if writable and not found.writable:
        raise BufferError(f"{what} is read-only")
    if dtype is not None and found.dtype != dtype:
        raise TypeError(f"{what} is {found.dtype.name}, not {dtype.name}")
    return found


def _is_a(array: Any, module: Any, kind: str) -> bool:
    """Whether it is of a class of a module that may not be there."""
    return isinstance(array, getattr(module, kind, ()))


def _contiguous(yes: bool, what: str) -> None:
    if not yes:
        raise BufferError(f"{what} is not contiguous: its elements do not lie one after another in memory")


def _known(dtype: DType | None, name: Any, what: str) -> DType:
    if dtype is None:
        raise TypeError(f"{what} has elements of type {name}, which no tensor has")
    return dtype


def _of_array(array: Any) -> View | None:
    if not isinstance(array, Array):
        return None
    data = ffi.from_buffer(array.data)
    made = View(
        ffi.cast("void *", data), array.dtype, array.shape, not memoryview(array.data).readonly, (data, array)
    )
    if made.nbytes != len(data):
        raise ValueError(
            f"{len(data)} bytes are no {array.dtype.name} of shape {array.shape}, which is {made.nbytes}"
        )
    return made


def _of_torch(array: Any, what: str) -> View | None:
    if not _is_a(array, sys.modules.get("torch"), "Tensor"):
        return None
    if array.device.type != "cpu":
        raise TypeError(f"{what} is on the device {array.device}, not in the CPU's memory")
    if str(array.layout) != "torch.strided":
        raise TypeError(f"{what} has the layout {array.layout}")
    _contiguous(array.is_contiguous() and not array.is_conj() and not array.is_neg(), what)
    dtype = _named(array.dtype, what)
    try:
        storage = array.untyped_storage()  # which stays where it is when the tensor is given another
        address, end = array.data_ptr(), storage.data_ptr() + storage.nbytes()
    except RuntimeError:  # of tensors that only stand for others
        storage, address, end = None, 0, 0
    if array.numel() and (not address or address + array.numel() * array.element_size() > end):
        raise TypeError(f"{what} is a {type(array).__name__} without memory of its own")
    return View(ffi.cast("void *", address), dtype, array.shape, True, (array, storage))


def _of_numpy(array: Any, what: str) -> View | None:
    """Arrays of ml_dtypes' types have no buffers."""
    if not _is_a(array, sys.modules.get("numpy"), "ndarray"):
        return None
    _contiguous(bool(array.flags.c_contiguous), what)
    if not array.dtype.isnative:
        raise TypeError(f"{what} has bytes in the other order ({array.dtype.str})")
    address, read_only = array.__array_interface__["data"]
    return View(ffi.cast("void *", address), _named(array.dtype, what), array.shape, not read_only, array)


def _named(dtype: Any, what: str) -> DType:
    try:
        return DType.of(dtype)
    except ValueError:
        return _known(None, dtype, what)


def _of_buffer(array: Any, what: str) -> View | None:
    try:
        memory = memoryview(array)
    except TypeError:
        return None
    _contiguous(memory.c_contiguous, what)
    letter = memory.format.lstrip("@=" + ("<" if sys.byteorder == "little" else ">"))
    dtype = DType.I8 if letter == "c" else BY_FORMAT.get((letter, memory.itemsize))
    data = ffi.from_buffer(memory)
    return View(
        ffi.cast("void *", data),
        _known(dtype, f"{memory.format!r}", what),
        memory.shape or (),
        not memory.readonly,
        (data, memory),
    )


def _capsule(array: Any) -> Any:
    try:
        return array.__dlpack__(max_version=(1, 0))
    except TypeError:
        return array.__dlpack__()


def _of_dlpack(array: Any, what: str) -> View | None:
    if not hasattr(array, "__dlpack__") or not hasattr(array, "__dlpack_device__"):
        return None
    device = int(array.__dlpack_device__()[0])
    if device not in CPU_DEVICES:
        raise TypeError(f"{what} is not in the CPU's memory: its device is DLPack's number {device}")
    capsule = _capsule(
        array
    )  # Never renamed: so it is ours no longer than it lives, and its own destructor frees it.
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    read_only = False
    if b"dltensor_versioned" in _capsule_name(capsule):
        managed = ffi.cast("DLManagedTensorVersioned *", get(capsule, b"dltensor_versioned"))
        if managed.version.major > 1:
            raise TypeError(f"{what} is described by version {managed.version.major} of DLPack")
        read_only = bool(managed.flags & DLPACK_READ_ONLY)
    else:
        managed = ffi.cast("DLManagedTensor *", get(capsule, b"dltensor"))
    tensor = managed.dl_tensor
    shape = [int(tensor.shape[i]) for i in range(tensor.ndim)]
    _contiguous(_lies_in_order(shape, tensor), what)
    dtype = BY_DLPACK.get((tensor.dtype.code, tensor.dtype.bits)) if tensor.dtype.lanes == 1 else None
    pointer = ffi.cast("char *", tensor.data) + tensor.byte_offset
    return View(
        ffi.cast("void *", pointer),
        _known(dtype, f"{tensor.dtype.code}/{tensor.dtype.bits}", what),
        shape,
        not read_only,
        (capsule, array),
    )


def _capsule_name(capsule: Any) -> bytes:
    get = ctypes.pythonapi.PyCapsule_GetName
    get.restype, get.argtypes = ctypes.c_char_p, (ctypes.py_object,)
    return get(capsule) or b""


def _lies_in_order(shape: list[int], tensor: Any) -> bool:
    if tensor.strides == ffi.NULL or 0 in shape:
        return True
    step = 1
    for i in reversed(range(len(shape))):
        if shape[i] != 1 and tensor.strides[i] != step:
            return False
        step *= shape[i]
    return True


def empty(dtype: DType, shape: Sequence[int]) -> Any:
    """A new numpy array."""
    try:
        import numpy
    except ImportError:
        raise TypeError("numpy is not installed: hand over arrays as `out`") from None
    return numpy.empty(tuple(shape), dtype.numpy)

"""features.py - features and logits on their way to C and back: any floats as F32 in the CPU's memory, and
what comes out as the kind of array that went in."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from .. import arrays
from .._native import Arena, failed, ffi
from ..dtypes import DType

__all__ = ["expect_shape", "floats", "kept", "labels_of", "like", "pointer", "without_gradient"]


def _is(array: Any, module: str, kind: str) -> bool:
    return isinstance(array, getattr(sys.modules.get(module), kind, ()))


def floats(array: Any, what: str) -> arrays.View:
    """Its memory, if that is F32 and contiguous; else that of a copy. PyTorch's and numpy's may be of any
    floats, others are F32."""
    if _is(array, "torch", "Tensor"):
        if not array.dtype.is_floating_point:
            raise TypeError(f"{what} is {array.dtype}: floats are needed")
        return arrays.view(array.detach().to("cpu", sys.modules["torch"].float32).contiguous(), what=what)
    if _is(array, "numpy", "ndarray"):
        if not DType.of(array.dtype).is_float:
            raise TypeError(f"{what} is {array.dtype}: floats are needed")
        return arrays.view(sys.modules["numpy"].ascontiguousarray(array, "float32"), what=what)
    return arrays.view(array, dtype=DType.F32, what=what)


def labels_of(arena: Arena, labels: Any, n: int) -> Any:
    """Labels, from 0 on, as C takes them."""
    given = list(labels.tolist() if hasattr(labels, "tolist") else labels)
    if len(given) != n:
        raise failed("EMR_EMISMATCH", f"{len(given)} labels are given for {n} samples")
    bad = next((label for label in given if not 0 <= label < 1 << 32 or label % 1), None)
    if bad is not None:
        raise failed("EMR_EINVAL", f"a label is {bad}: labels are whole numbers from 0 on")
    return arena.array("uint32_t", [int(label) for label in given])


def kept(keep: Any, n: int) -> arrays.View | None:
    """Which of n rows count: booleans or bytes."""
    if keep is None:
        return None
    if _is(keep, "torch", "Tensor"):
        keep = keep.detach().cpu().contiguous()
    view = arrays.view(keep, what="`keep`")
    if view.dtype not in (DType.BOOL, DType.U8, DType.I8):
        raise TypeError(f"`keep` is {view.dtype.name}: booleans or bytes are needed")
    if view.count != n:
        raise failed("EMR_EMISMATCH", f"`keep` is of {view.count} rows, and there are {n}")
    return view


def expect_shape(view: arrays.View, shape: Sequence[int | None], what: str) -> None:
    """None: any number."""
    if len(view.shape) != len(shape) or any(m not in (None, n) for n, m in zip(view.shape, shape)):
        said = ", ".join("any" if n is None else str(n) for n in shape)
        raise failed("EMR_EMISMATCH", f"{what} has the shape {list(view.shape)}, and [{said}] is needed")


def without_gradient(array: Any, what: str) -> None:
    """Refuses what autograd would lose sight of."""
    if _is(array, "torch", "Tensor") and array.requires_grad and sys.modules["torch"].is_grad_enabled():
        raise TypeError(
            f"{what} requires a gradient, which is not kept here: {what}.detach(), or torch.no_grad()"
        )


def like(array: Any, values: Any, *, same_dtype: bool = False) -> Any:
    """A numpy array of F32 as what `array` is: a tensor on its device, or itself."""
    if _is(array, "torch", "Tensor"):
        made = sys.modules["torch"].from_numpy(values)
        return made.to(array.device, array.dtype if same_dtype else made.dtype)
    return values.astype(array.dtype, copy=False) if same_dtype and _is(array, "numpy", "ndarray") else values


def pointer(view: arrays.View) -> Any:
    """Of floats."""
    return ffi.cast("float *", view.pointer)

"""losses.py - what a host that learns needs where its network ends: losses, and their gradients there.
PyTorch has its own; `libemr.fit.torch.entropy` is the first of these for it."""

from __future__ import annotations

import math
from typing import Any

from .. import arrays
from .._native import Arena, call, failed, ffi, lib
from .features import expect_shape, floats, kept, labels_of, like, pointer

__all__ = ["cross_entropy", "entropy", "l1"]


def entropy(logits: Any, *, keep: Any = None, per_log_classes: bool = False) -> tuple[float, Any]:
    """The mean over rows of the entropy of softmax(logits), [..., classes], and its gradient: no labels are
    needed. A single class is the logit of a yes.

    Its optimum is a constant answer: take few steps from a good start.

    Args:
        keep: which rows count, of the logits' shape but the last dimension: no padding.
        per_log_classes: divided by log(classes), so that tasks of many classes weigh as much as others.
    """
    arena = Arena()
    given = _logits(arena, logits, keep)
    given.per_log_classes = int(per_log_classes)
    return _loss(logits, lib.emr_entropy, given)


def cross_entropy(logits: Any, labels: Any, *, keep: Any = None) -> tuple[float, Any]:
    """The mean over rows of - log softmax(logits) of the row's label, and its gradient."""
    arena = Arena()
    given = _logits(arena, logits, keep)
    flat = labels.reshape(-1) if hasattr(labels, "reshape") else labels
    return _loss(logits, lib.emr_cross_entropy, given, labels_of(arena, flat, given.n_rows))


def l1(y: Any, z: Any) -> tuple[float, Any]:
    """The mean absolute difference of features [n, width], and its gradient at y; of [n, tokens, width] that
    of their means over tokens: the loss of Surgery, and of each place of SurgeryV2."""
    given = floats(y, "y")
    if len(given.shape) not in (2, 3):
        raise failed(
            "EMR_EMISMATCH", f"y has the shape {list(given.shape)}: [n, width] or [n, tokens, width]"
        )
    wanted = floats(z, "z")
    expect_shape(wanted, given.shape, "z")
    n, n_tokens, width = given.shape if len(given.shape) == 3 else (given.shape[0], 1, given.shape[1])
    loss, gradient = ffi.new("double *"), arrays.empty(given.dtype, given.shape)
    out = pointer(arrays.view(gradient))
    call(lib.emr_l1, pointer(given), pointer(wanted), n, n_tokens, width, 0, loss, out)
    return float(loss[0]), like(y, gradient)


def _logits(arena: Arena, logits: Any, keep: Any) -> Any:
    """An emr_logits."""
    view = arena.keep(floats(logits, "logits"))
    if not view.shape:
        raise failed("EMR_EMISMATCH", "a number has no classes: logits [..., classes] are needed")
    n_rows = math.prod(view.shape[:-1])
    which = arena.keep(kept(keep, n_rows))
    flags = None if which is None else ffi.cast("uint8_t *", which.pointer)
    return arena.struct("emr_logits", data=pointer(view), n_rows=n_rows, n_columns=view.shape[-1], keep=flags)


def _loss(logits: Any, function: Any, *arguments: Any) -> tuple[float, Any]:
    view = floats(logits, "logits")
    loss, gradient = ffi.new("double *"), arrays.empty(view.dtype, view.shape)
    call(function, *arguments, loss, pointer(arrays.view(gradient)))
    return float(loss[0]), like(logits, gradient)

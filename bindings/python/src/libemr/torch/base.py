"""base.py - the base of a bundle, from whatever a caller has: files, arrays, or the module itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from .. import errors
from .._native import failed
from ..bundle import Bundle
from ..model import Model, ModelLike, as_model
from .engines import TORCH
from .targets import Target

__all__ = ["base_of", "chosen", "mismatch", "name_in", "of_arrays", "tensors_of"]

NO_WEIGHTS = ("file:", "gguf.header")


def mismatch(sentence: str, task: str | None, tensor: str) -> errors.Error:
    return failed("EMR_EMISMATCH", sentence, task=task, tensor=tensor)


def name_in(model: Model, target: Target) -> str | None:
    """What a model calls a target; None: it has no such tensor."""
    return next((name for name in target.names if name in model), None)


def chosen(
    targets: list[Target], model: Model, of: str, *, task: str | None = None, strict: bool = True
) -> dict[str, Target]:
    """The targets that a model has tensors for, by the tensors' names. With `strict`, neither has more than
    the other; `of` is what messages call the model."""
    found = {name: target for target in targets if (name := name_in(model, target)) is not None}
    if not strict:
        return found
    known = {name for target in targets for name in target.names}
    strangers = [name for name in model if name not in known and not name.startswith(NO_WEIGHTS)]
    if strangers:
        raise mismatch(
            f"{of} has a tensor '{strangers[0]}' that the module lacks{more(strangers)}", task, strangers[0]
        )
    lacking = [target.names[0] for target in targets if name_in(model, target) is None]
    if lacking:
        raise mismatch(
            f"the module has a tensor '{lacking[0]}' that {of} lacks{more(lacking)}", task, lacking[0]
        )
    return found


def more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def tensors_of(targets: list[Target], copy: bool = False) -> dict[str, torch.Tensor]:
    """A module's tensors, under every name that a bundle may know them by."""
    return {
        name: target.tensor.to("cpu", copy=copy).contiguous() for target in targets for name in target.names
    }


def base_of(bundle: Bundle, base: ModelLike | None, apart_from: list[Target] | None = None) -> Model | None:
    """The base as a model, which was compared with the bundle's; None: the embedded one. No array of it is
    the memory of the targets, which will be written to."""
    if base is None and bundle.info.has_base:
        return None
    if base is None:
        if apart_from is None:
            raise ValueError(f"{bundle.name} has no base in it: `base` is needed")
        return of_arrays(bundle, tensors_of(apart_from, copy=True))
    if isinstance(base, Mapping) and not isinstance(base, Model):
        own = {target.tensor.data_ptr() for target in apart_from or ()}
        return of_arrays(bundle, {name: _apart(array, own) for name, array in base.items()})
    model = as_model(base, "base", **bundle._reading())
    bundle.check_base(model)
    return model


def _apart(array: Any, own: set[int]) -> Any:
    if not isinstance(array, torch.Tensor):
        return array
    array = array.detach()
    return (
        array.to("cpu", copy=True)
        if array.device.type != "cpu" or array.data_ptr() in own
        else array.contiguous()
    )


def of_arrays(bundle: Bundle, arrays: Mapping[str, Any]) -> Model:
    """Of what no module has, such as a tokenizer, it has zeros."""
    model = Model.of(arrays, name="the module's base")
    absent = [tensor for tensor in bundle.tensors if not tensor.merged and tensor.name not in model]
    for tensor in absent:
        assert tensor.dtype is not None
        model.add(tensor.name, torch.zeros(tensor.shape, dtype=TORCH[tensor.dtype]))
    without = {tensor.name for tensor in absent}
    for difference in bundle.base_differences(model):
        if difference.tensor not in without:
            raise mismatch(
                f"{model.name} is not that of {bundle.name}: tensor '{difference.tensor}': {difference.why}",
                None,
                difference.tensor,
            )
    return model

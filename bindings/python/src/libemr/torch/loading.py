"""loading.py - a model's weights in a module's parameters and buffers, in place."""

from __future__ import annotations

import torch

from ..model import ModelLike, as_model
from .base import chosen, mismatch
from .engines import read_into
from .switcher import note_change
from .targets import Names, find_targets

__all__ = ["load_into"]


def load_into(module: torch.nn.Module, model: ModelLike, *, names: Names = None, strict: bool = True) -> None:
    """Writes a model's tensors into a module, rounded where types differ.

        libemr.torch.load_into(module, libemr.Model("merged/"))

    All tensors are read first: after a failure the module is as it was, and the model may be made of the
    module's own weights; what is read of such a model afterwards is made of the new ones.

    Args:
        names: what the model calls the module's tensors, as of `Switcher`.
        strict: what module and model do not have in common raises `Mismatch`.
    """
    given = as_model(model)
    targets = chosen(find_targets(module, names), given, given.name, strict=strict)
    for name, target in targets.items():
        shape = given[name].shape
        if tuple(target.tensor.shape) != shape:
            raise mismatch(
                f"{given.name}: tensor '{name}' has the shape {list(shape)}, the module's "
                f"{list(target.tensor.shape)}",
                None,
                name,
            )
    tensors = {name: torch.empty_like(target.tensor, device="cpu") for name, target in targets.items()}
    for name, tensor in tensors.items():
        read_into(tensor, given[name])
    with torch.no_grad():
        for name, target in targets.items():
            target.tensor.copy_(tensors[name])
    note_change([target.tensor for target in targets.values()])

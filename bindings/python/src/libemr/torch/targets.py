"""targets.py - where a module keeps what a checkpoint has: parameters and persistent buffers, tied ones
once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Union

import torch

from .._native import failed

__all__ = ["Names", "Target", "find_targets", "memory_of"]

COMPILED = "_orig_mod."  # what torch.compile puts into names
Names = Union[Mapping[str, str], Callable[[str], str], None]


class Target:
    """A tensor of a module, and what checkpoints may call it: more than one name where modules share it. Its
    `places` are the modules that have it, and what they call it; none where it is a part of a parameter."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor.detach()
        self.places: list[tuple[torch.nn.Module, str]] = []
        self.names: list[str] = []

    def replace(self, tensor: torch.Tensor) -> None:
        """Another tensor, of another shape perhaps, in its place."""
        self.tensor = tensor
        for module, key in self.places:
            if key in module._parameters:
                parameter = module._parameters[key]
                assert parameter is not None
                parameter.data = tensor
            else:
                module._buffers[key] = tensor


def named(module: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module, str, torch.Tensor]]:
    """What the module's state dict has, tied ones under each name."""
    for prefix, owner in module.named_modules(remove_duplicate=False):
        kept = [
            *owner._parameters.items(),
            *(
                (key, buffer)
                for key, buffer in owner._buffers.items()
                if key not in owner._non_persistent_buffers_set
            ),
        ]
        for key, tensor in kept:
            if tensor is not None:
                yield f"{prefix}.{key}" if prefix else key, owner, key, tensor


def memory_of(module: torch.nn.Module) -> list[tuple[int, torch.dtype]]:
    """Changes when a tensor of the module moves. As fast as can be: every switch asks."""
    found, modules = [], [module]
    while modules:
        owner = modules.pop()
        modules.extend(child for child in owner._modules.values() if child is not None)
        for tensors, left_out in (
            (owner._parameters, ()),
            (owner._buffers, owner._non_persistent_buffers_set),
        ):
            for key, tensor in tensors.items():
                if tensor is not None and key not in left_out:
                    found.append((tensor.data_ptr(), tensor.dtype))
    return found


def find_targets(module: torch.nn.Module, names: Names) -> list[Target]:
    """Each memory once."""
    places: dict[Any, list[tuple[torch.nn.Module, str]]] = {}
    tensors = {}
    for name, owner, key, tensor in named(module):
        if tensor.device.type == "meta":
            raise ValueError(f"'{name}' has no memory: it is on the device meta")
        places.setdefault(place_of(tensor), []).append((owner, key))
        tensors[name] = tensor.detach()
    found: dict[Any, Target] = {}
    memory = {tensor.untyped_storage().data_ptr() for tensor in tensors.values()}
    for name, tensor in renamed(module, tensors, names).items():
        if tensor.untyped_storage().data_ptr() not in memory or not tensor.is_contiguous():
            raise failed(
                "EMR_EUNSUPPORTED",
                f"the module does not have the tensor '{name}' of checkpoints in one piece in memory",
                tensor=name,
            )
        target = found.setdefault(place_of(tensor), Target(tensor))
        target.names += dict.fromkeys((name, name.replace(COMPILED, "")))
        target.places = places.get(place_of(tensor), [])
    return list(found.values())


def place_of(tensor: torch.Tensor) -> Any:
    if not tensor.numel():
        return id(tensor)
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, tensor.device


def renamed(
    module: torch.nn.Module, tensors: dict[str, torch.Tensor], names: Names
) -> Mapping[str, torch.Tensor]:
    """The tensors under the names that checkpoints have them by."""
    if callable(names):
        return {names(name): tensor for name, tensor in tensors.items()}
    if names is not None:
        return {names.get(name, name): tensor for name, tensor in tensors.items()}
    transformers = sys.modules.get("transformers")
    if transformers is None or not isinstance(module, transformers.PreTrainedModel):
        return tensors
    from ..transformers import as_saved

    return as_saved(module, tensors)

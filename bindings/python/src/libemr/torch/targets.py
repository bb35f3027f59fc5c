"""targets.py - where a module keeps what a checkpoint has: parameters and persistent buffers, tied ones once."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Union

import torch

__all__ = ["Names", "Target", "find_targets"]

Names = Union[Mapping[str, str], Callable[[str], str], None]


class Target:
    """A tensor of a module, and what checkpoints may call it: more than one name where modules share it."""

    def __init__(self) -> None:
        self._places: list[tuple[torch.nn.Module, str]] = []
        self.names: list[str] = []

    @property
    def places(self) -> list[tuple[int, str]]:
        """The modules that have it, by their `id`, and what they call it."""
        return [(id(module), key) for module, key in self._places]

    @property
    def tensor(self) -> torch.Tensor:
        module, key = self._places[0]
        tensor = module._parameters[key] if key in module._parameters else module._buffers[key]
        assert tensor is not None
        return tensor.detach()

    def add(self, module: torch.nn.Module, key: str, name: str) -> None:
        self._places.append((module, key))
        self.names.append(name)

    def replace(self, tensor: torch.Tensor) -> None:
        """Another tensor, of another shape perhaps, in its place."""
        for module, key in self._places:
            if key in module._parameters:
                parameter = module._parameters[key]
                assert parameter is not None
                parameter.data = tensor
            else:
                module._buffers[key] = tensor


def named(module: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module, str, torch.Tensor]]:
    """What the module's state dict has, tied ones under each name."""
    for prefix, owner in module.named_modules(remove_duplicate=False):
        kept = [*owner._parameters.items(),
                *((key, buffer) for key, buffer in owner._buffers.items() if key not in owner._non_persistent_buffers_set)]
        for key, tensor in kept:
            if tensor is not None:
                yield f"{prefix}.{key}" if prefix else key, owner, key, tensor


def find_targets(module: torch.nn.Module, names: Names) -> list[Target]:
    """Each memory once."""
    found: dict[object, Target] = {}
    for name, owner, key, tensor in named(module):
        if tensor.device.type == "meta":
            raise ValueError(f"'{name}' has no memory: it is on the device meta")
        place = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, str(tensor.device)) if tensor.numel() else id(tensor)
        target = found.setdefault(place, Target())
        target.add(owner, key, renamed(name, names))
    return list(found.values())


def renamed(name: str, names: Names) -> str:
    if names is None:
        return name
    return names(name) if callable(names) else names.get(name, name)

"""weights.py - merged weights into torch's memory and gradients out of it: as it lies on the CPU, piece by
piece through a small buffer on other devices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from ...dtypes import DType
from ...model import Model
from ...session import Destination, Part
from ...torch.base import chosen, name_in
from ...torch.targets import Names, find_targets

__all__ = ["destinations", "gradients_of", "pieces_of", "targets_of"]

ROOM = 8 << 20  # bytes that are on their way at a time


def targets_of(module: torch.nn.Module, model: Model, names: Names, strict: bool) -> dict[str, torch.Tensor]:
    """A module's tensors, by the model's names; tied ones once."""
    found = chosen(find_targets(module, names), model, "the merged model", strict=strict)
    return {name: target.tensor for name, target in found.items()}


def gradients_of(module: torch.nn.Module, model: Model, names: Names) -> Iterator[tuple[str, torch.Tensor]]:
    """The gradients of a module's parameters that have one, by the model's names; tied ones once."""
    owners: dict[int, list[torch.nn.Parameter]] = {}
    for parameter in module.parameters():
        if parameter.grad is not None and parameter.numel():
            owners.setdefault(parameter.data_ptr(), []).append(parameter)
    for target in find_targets(module, names) if owners else ():
        name, begin = name_in(model, target) or target.names[0], target.tensor.data_ptr()
        for owner in owners.get(begin) or _around(target.tensor, owners):
            yield name, _part_of(owner, target.tensor)


def _around(tensor: torch.Tensor, owners: Mapping[int, list[torch.nn.Parameter]]) -> list[torch.nn.Parameter]:
    """Parameters of which a tensor is a part."""
    begin = tensor.data_ptr()
    return [
        parameter
        for start, parameters in owners.items()
        for parameter in parameters
        if start <= begin < start + parameter.numel() * parameter.element_size()
    ]


def _part_of(owner: torch.nn.Parameter, tensor: torch.Tensor) -> torch.Tensor:
    """The gradient of a parameter, or of what a part of it is."""
    gradient = owner.grad
    assert gradient is not None
    if tensor.shape == owner.shape:
        return gradient
    first = (tensor.data_ptr() - owner.data_ptr()) // owner.element_size()
    return dense(gradient).view(-1)[first : first + tensor.numel()].view(tensor.shape)


def dense(gradient: torch.Tensor) -> torch.Tensor:
    found = gradient.detach()
    return (found if found.layout == torch.strided else found.to_dense()).contiguous()


def destinations(tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Where weights go, for a session or coefficients. One buffer serves all: one is written at a time."""
    elsewhere = [tensor for tensor in tensors.values() if not _is_here(tensor)]
    buffer = _buffer(elsewhere[0].device) if elsewhere else None
    return {
        name: tensor.detach() if _is_here(tensor) else _through(buffer, tensor.detach(), name)
        for name, tensor in tensors.items()
    }


def pieces_of(gradient: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    """A gradient in the CPU's memory, piece by piece, each with the number of its first element; a piece is
    gone when the next one comes."""
    flat = dense(gradient).view(-1)
    if _is_here(flat):
        yield 0, flat
        return
    buffer = _buffer(flat.device).view(flat.dtype)
    for first in range(0, len(flat), len(buffer)):
        piece = buffer[: len(flat) - first]
        piece.copy_(flat[first : first + len(piece)])
        yield first, piece


def _is_here(tensor: torch.Tensor) -> bool:
    return bool(tensor.device.type == "cpu")


def _buffer(device: torch.device) -> torch.Tensor:
    return torch.empty(ROOM, dtype=torch.uint8, pin_memory=device.type == "cuda")


def _through(buffer: torch.Tensor, tensor: torch.Tensor, name: str) -> Destination:
    if not tensor.is_contiguous():
        raise BufferError(f"the array for tensor '{name}' is not contiguous")
    staging = len(buffer) // tensor.element_size()
    write = _writer(buffer.view(tensor.dtype), tensor.view(-1))
    return Destination(write=write, buffer=buffer, staging=staging, dtype=DType.of(tensor.dtype))


def _writer(buffer: torch.Tensor, target: torch.Tensor) -> Callable[[Part], None]:
    def write(part: Part) -> None:
        target[part.first : part.first + part.count].copy_(buffer[: part.count])

    return write

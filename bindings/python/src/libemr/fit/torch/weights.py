"""weights.py - merged weights into torch's memory and gradients out of it: as it lies on the CPU, piece by
piece through a small buffer on other devices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from ...dtypes import DType
from ...model import Model
from ...session import Destination, Part
from ...torch.base import chosen
from ...torch.targets import COMPILED, Names, find_targets, named, place_of, renamed

__all__ = ["destinations", "gradients_of", "pieces_of", "targets_of"]

ROOM = 8 << 20  # bytes that are on their way at a time


def targets_of(module: torch.nn.Module, model: Model, names: Names, strict: bool) -> dict[str, torch.Tensor]:
    """A module's tensors, by the model's names; tied ones once."""
    found = chosen(find_targets(module, names), model, "the merged model", strict=strict)
    return {name: target.tensor for name, target in found.items()}


def gradients_of(module: torch.nn.Module, model: Model, names: Names) -> dict[str, torch.Tensor]:
    """The gradients of a module's parameters that have one, by the model's names; tied ones once."""
    given = {name: tensor.grad for name, _, _, tensor in named(module) if tensor.grad is not None}
    found: dict[Any, tuple[str, torch.Tensor]] = {}
    for name, gradient in renamed(module, given, names).items():
        name = name if name in model else name.replace(COMPILED, "")
        place = place_of(gradient) if gradient.layout == torch.strided else id(gradient)
        if place not in found or found[place][0] not in model:
            found[place] = name, gradient
    return dict(found.values())


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
    dense = gradient.detach() if gradient.layout == torch.strided else gradient.detach().to_dense()
    flat = dense.contiguous().view(-1)
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

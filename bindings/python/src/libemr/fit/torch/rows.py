"""rows.py - what a layer reads as rows of numbers in the CPU's memory, piece by piece."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..._native import failed
from .modules import is_convolution

__all__ = ["Seen", "kept_rows", "patches_of", "pieces"]

PIECE = 32 << 20  # bytes of rows that lie in the CPU's memory at a time


@dataclass
class Seen:
    """What a layer read in one call, and which rows of the batch count."""

    module: Any
    inputs: torch.Tensor
    mask: Any

    def batched(self) -> torch.Tensor:
        """With a first dimension of samples, by which it is cut."""
        dimensions = len(self.module.weight.shape) if is_convolution(self.module) else 2
        return self.inputs[None] if self.inputs.dim() < dimensions else self.inputs


def pieces(seen: Sequence[Seen], patches: bool) -> Iterator[tuple[int, list[torch.Tensor]]]:
    """Rows [samples, ..., width] of some samples after others, of all models at a time, with the number of
    the first sample."""
    inputs = [one.batched() for one in seen]
    n = len(inputs[0])
    kernel = math.prod(seen[0].module.weight.shape[2:]) if patches else 1
    step = max(1, PIECE // max(1, inputs[0][:1].numel() * inputs[0].element_size() * kernel))
    for first in range(0, n, step):
        yield (
            first,
            [
                rows_of(one.module, x[first : first + step].cpu(), patches).contiguous()
                for one, x in zip(seen, inputs)
            ],
        )


def rows_of(module: torch.nn.Module, x: torch.Tensor, patches: bool) -> torch.Tensor:
    """[samples, ..., width]: of a convolution a row is a pixel, or a patch."""
    if not is_convolution(module):
        return x
    return patches_of(module, x) if patches else x.movedim(1, -1)


def patches_of(module: Any, x: torch.Tensor) -> torch.Tensor:
    """[samples, places..., channels * kernel]: what a convolution multiplies by its weight."""
    n = x.dim() - 2
    x = torch.nn.functional.pad(x, _padding(module), mode=_mode(module))
    for i in range(n):
        size, dilation = module.kernel_size[i], module.dilation[i]
        x = x.unfold(2 + i, dilation * (size - 1) + 1, module.stride[i])[..., ::dilation]
    places = range(2, 2 + n)
    return x.permute(0, *places, 1, *(2 + n + i for i in range(n))).flatten(1 + n)


def _mode(module: Any) -> str:
    return "constant" if module.padding_mode == "zeros" else str(module.padding_mode)


def _padding(module: Any) -> list[int]:
    """As torch.nn.functional.pad has it: the last dimension first."""
    found = []
    for i in reversed(range(len(module.kernel_size))):
        if module.padding == "same":
            whole = module.dilation[i] * (module.kernel_size[i] - 1)
            found += [whole // 2, whole - whole // 2]
        else:
            found += [0, 0] if module.padding == "valid" else [module.padding[i]] * 2
    return found


def kept_rows(mask: Any, shape: Sequence[int], site: str) -> torch.Tensor | None:
    """Which rows of that shape count. A mask of samples counts for all of their rows, and a sample is one row
    that counts where any of its tokens does."""
    if mask is None:
        return None
    mask, shape = torch.as_tensor(mask).detach().cpu() != 0, tuple(shape)
    if tuple(mask.shape) == shape[: mask.dim()]:
        return mask[(..., *[None] * (len(shape) - mask.dim()))].expand(shape).contiguous()
    if tuple(mask.shape[: len(shape)]) == shape:
        return mask.flatten(len(shape)).any(-1)
    if mask.numel() == math.prod(shape):
        return mask.reshape(shape)
    raise failed(
        "EMR_EMISMATCH",
        f"site '{site}' has rows of shape {list(shape)}, and the mask {list(mask.shape)} says which count: "
        "give another by `keep`",
    )

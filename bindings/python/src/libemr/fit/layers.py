"""layers.py - linear layers, by the names of their tensors."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Union

from .._native import Arena

if TYPE_CHECKING:
    from .spec import PermutationSpec

__all__ = ["Layer", "Layers", "layer_structs", "layers_of", "layers_without"]


@dataclass(frozen=True)
class Layer:
    """A linear layer, or a convolution.

    Attributes:
        weight: its name, [out, in]; of more dimensions, all behind the first are inputs.
        site: of a gram: its input. Layers of one site are solved together.
        input_axis: 1; or 0: the weight is [in, out], as GPT-2's.
    """

    weight: str
    site: str
    bias: str | None = None
    input_axis: int = 1


Layers = Union["PermutationSpec", Sequence[Layer]]


def layers_of(layers: Layers) -> Sequence[Layer]:
    return layers if isinstance(layers, Sequence) else layers.layers


def layers_without(layers: Sequence[Layer], exclude: Sequence[str]) -> list[Layer]:
    """Those of weights that the merged model has."""
    return [layer for layer in layers if not any(fnmatch.fnmatchcase(layer.weight, glob) for glob in exclude)]


def layer_structs(arena: Arena, layers: Sequence[Layer]) -> Any:
    rows = [
        {
            "weight": arena.text(layer.weight),
            "bias": arena.text(layer.bias),
            "site": arena.text(layer.site),
            "input_axis": layer.input_axis,
        }
        for layer in layers
    ]
    return arena.structs("emr_fit_layer", rows)

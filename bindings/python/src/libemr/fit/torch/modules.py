"""modules.py - a module as a model, and which of its modules are the layers that a spec names."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Union

import torch

from ..._native import PathLike, failed
from ...errors import Unsupported
from ...model import Model
from ...torch.engines import read
from ...torch.targets import COMPILED, Names, find_targets, named, place_of, renamed
from ..layers import Layer, Layers
from ..spec import CONFIG, Config, PermutationSpec

__all__ = [
    "Spec",
    "config_of",
    "find_layers",
    "is_convolution",
    "layers_in",
    "layers_or_spec",
    "model_of",
    "spec_of",
]

Spec = Union[PermutationSpec, Mapping[str, Any], PathLike, None]


def model_of(module: torch.nn.Module, names: Names = None) -> Model:
    """A module as a model, under the names by which it is saved. Weights in the CPU's memory are not copied:
    they must stay as they are while the model is used."""
    transformers = sys.modules.get("transformers")
    if names is None and transformers is not None and isinstance(module, transformers.PreTrainedModel):
        from ...transformers import model_of as pretrained

        return pretrained(module)
    tensors = {
        target.names[0].replace(COMPILED, ""): target.tensor.cpu().contiguous()
        for target in find_targets(module, names)
    }
    return Model.of(tensors, name=type(module).__name__)


def config_of(module: torch.nn.Module, model: Model) -> Config:
    """The configuration of a module that has none: numbers of heads, as timm's modules have them."""
    if CONFIG in model:
        return None
    heads = (getattr(part, "num_heads", None) for part in module.modules())
    n_heads = next((n for n in heads if isinstance(n, int)), None)
    return None if n_heads is None else json.dumps({"num_heads": n_heads})


def spec_of(spec: Spec, module: torch.nn.Module, model: Model, residual: bool = False) -> PermutationSpec:
    """A spec that was given, or the one that is derived of the module."""
    if spec is None:
        return PermutationSpec.derive(model, config_of(module, model), residual=residual)
    if isinstance(spec, (PermutationSpec, Mapping)):
        return spec if isinstance(spec, PermutationSpec) else PermutationSpec(spec)
    return PermutationSpec.open(spec)


def layers_or_spec(layers: Layers | Spec, module: torch.nn.Module, names: Names = None) -> Layers:
    """Layers that were given, or those of the derived spec or, of an architecture that is not known, all."""
    if isinstance(layers, Sequence) and not isinstance(layers, str):
        return layers
    try:
        return spec_of(layers, module, model_of(module, names))
    except Unsupported:
        return layers_in(module, names)


# ------------------------------------------------------------------------------------------------- its layers


def is_convolution(module: torch.nn.Module) -> bool:
    return isinstance(module.weight, torch.Tensor) and module.weight.dim() > 2


def layers_in(module: torch.nn.Module, names: Names = None) -> list[Layer]:
    """Every linear layer and convolution of a module, each with a site of its own, which has its name. Of
    grouped and transposed convolutions there is none: they are no linear layers of their inputs."""
    tensors, found = _renamed(module, names), []
    called = {place_of(tensor): name for name, tensor in tensors.items()}
    for name, owner in _owners(module, tensors).items():
        bias = getattr(owner, "bias", None)
        if _is_linear(owner):
            site = name[: -len(".weight")] if name.endswith(".weight") else name
            axis = 0 if type(owner).__name__ == "Conv1D" else 1
            found.append(
                Layer(name, site, None if bias is None else called.get(place_of(bias.detach())), axis)
            )
    return found


def _is_linear(module: torch.nn.Module) -> bool:
    if isinstance(module, (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)):
        return bool(module.groups == 1)
    return isinstance(module, torch.nn.Linear) or type(module).__name__ == "Conv1D"


def _renamed(module: torch.nn.Module, names: Names) -> dict[str, torch.Tensor]:
    tensors = {name: tensor.detach() for name, _, _, tensor in named(module)}
    return {name.replace(COMPILED, ""): tensor for name, tensor in renamed(module, tensors, names).items()}


def _weights(module: torch.nn.Module) -> list[tuple[torch.nn.Module, torch.Tensor]]:
    """Modules that multiply by a weight."""
    return [
        (owner, tensor.detach())
        for _, owner, key, tensor in named(module)
        if key == "weight" and tensor.dim() > 1 and not isinstance(owner, torch.nn.Embedding)
    ]


def _owners(module: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.nn.Module]:
    """Modules that multiply by a weight, by what it is called."""
    owners = {place_of(weight): owner for owner, weight in reversed(_weights(module))}
    places = {name: place_of(tensor) for name, tensor in tensors.items()}
    return {name: owners[place] for name, place in places.items() if place in owners}


def find_layers(
    module: torch.nn.Module, layers: Sequence[Layer], names: Names = None, model: Model | None = None
) -> dict[str, torch.nn.Module]:
    """The module that reads each site: that whose weight has the name of a layer's or, where none has, that
    whose weight is equal to the model's tensor."""
    owners, found = _owners(module, _renamed(module, names)), {}
    for layer in layers:
        if layer.site in found:
            continue
        owner = owners.get(layer.weight) or _equal(module, layer.weight, model)
        if owner is None:
            raise failed(
                "EMR_ENOTFOUND",
                f"no module has the weight '{layer.weight}', which reads site '{layer.site}'",
                tensor=layer.weight,
            )
        found[layer.site] = owner
    return found


def _equal(module: torch.nn.Module, name: str, model: Model | None) -> torch.nn.Module | None:
    if model is None or name not in model:
        return None
    expected = read(model[name])
    same = (
        owner
        for owner, weight in _weights(module)
        if weight.shape == expected.shape and torch.equal(weight.cpu(), expected.to(weight.dtype))
    )
    return next(same, None)

"""regmean.py - linear layers that are nearest, in least squares, to all models' outputs on their inputs."""

from __future__ import annotations

from collections.abc import Sequence

from .._native import Arena, choice, failed, lib
from ..dtypes import DType, DTypeLike
from ..model import Model, ModelLike, as_model
from ..resources import Memory, Resources, Threads
from .gram import Gram
from .layers import Layer, Layers, layer_structs, layers_of, layers_without
from .made import all_in_use, opened

__all__ = ["regmean"]


def regmean(
    models: Sequence[ModelLike],
    grams: Sequence[Gram],
    layers: Layers,
    *,
    coefficients: Sequence[float] | None = None,
    off_diagonal: float | None = None,
    ridge: float = 0.0,
    bias: str = "mean",
    scale: str = "means",
    exclude: Sequence[str] = (),
    dtype: DTypeLike | None = None,
    threads: Threads = None,
    memory: Memory = None,
) -> Model:
    """RegMean: one model out of several, whose layers are solved as they are read.

    Args:
        models: the first one's tensors are what comes out.
        grams: one for each, of one model, on its own data.
        layers: a spec, or a list of `Layer`; those are solved whose site some gram has rows of, and all else
            is averaged.
        coefficients: of the models; None: all count the same.
        off_diagonal: how much of what lies off the diagonal counts, 0 to 1; None: 0.9.
        ridge: times the diagonal, added to it.
        bias: "mean", as in the paper, or "fit": solved together with the weight.
        scale: "means": each gram is divided by its number of rows; "sums": as in the paper.
        exclude: tensors that the merged model lacks: heads of different labels.
        dtype: of floats; None: as in the first model.
        threads, memory: of solving.
    """
    given = [as_model(model, f"model {i}").handle for i, model in enumerate(models)]
    if len(given) != len(grams) or (coefficients is not None and len(coefficients) != len(given)):
        raise failed("EMR_EINVAL", "each model needs a gram, and a coefficient, if there are some")
    solved = _with_rows(layers_without(layers_of(layers), exclude), grams)
    arena, resources = Arena(), Resources(threads, memory)
    handles = [gram.lend() for gram in grams]
    with all_in_use(arena, "emr_model", given) as m, all_in_use(arena, "emr_gram", handles) as g:
        options = arena.struct(
            "emr_regmean_options",
            resources=resources.pointer,
            models=m,
            grams=g,
            coefficients=arena.array("double", coefficients or ()),
            layers=layer_structs(arena, solved),
            exclude=arena.texts(exclude),
            off_diagonal=off_diagonal,
            use_off_diagonal=int(off_diagonal is not None),
            ridge=ridge,
            n_models=len(given),
            n_layers=len(solved),
            n_exclude=len(exclude),
            bias=choice("EMR_FIT_BIAS_", bias, "bias"),
            scale=choice("EMR_FIT_SCALE_", scale, "scale"),
            dtype=None if dtype is None else DType.of(dtype),
        )
        parents = [*given, *handles, *resources.parents()]
        model = opened(lib.emr_regmean_open_model, options, parents=parents, keep=(arena, resources))
    resources.close()
    return model


def _with_rows(layers: Sequence[Layer], grams: Sequence[Gram]) -> list[Layer]:
    """Layers that can be solved. Where names of sites differ, a gram would be passed over in silence."""
    sites = {site.name for gram in grams for site in gram.sites.values() if site.n_rows}
    found = [layer for layer in layers if layer.site in sites]
    if not found:
        called = sorted(sites)[0] if sites else ""
        needed = layers[0].site if layers else ""
        raise failed(
            "EMR_EMISMATCH",
            "no gram has rows of the site of any layer: "
            f"sites are called as '{called}' in the grams, and as '{needed}' in the layers",
        )
    return found

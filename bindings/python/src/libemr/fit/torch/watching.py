"""watching.py - feeds a gram with what the layers of modules read while they run."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Union

import torch

from ..._native import failed
from ...model import ModelLike, as_model
from ...torch.targets import Names
from ..gram import Gram
from ..layers import Layers, layers_of
from .modules import Spec, find_layers, is_convolution, layers_or_spec
from .rows import Seen, kept_rows, pieces

__all__ = ["Keep", "Watching"]

Keep = Union[Callable[..., Any], bool, None]


class Watching:
    """Feeds a gram while a ``with`` lasts.

        gram = libemr.Gram()
        with gram.watch(model), torch.no_grad():
            for batch in batches:
                model(**batch)

    Of several modules (``libemr.Gram(n_models=2).watch(a, b)``), each runs a batch before any runs the next:
    their rows belong together. They should be in evaluation mode. After an error the gram has a part of the
    batch: begin a new one.

    Args:
        modules: as many as the gram's models.
        spec: a `PermutationSpec` (JSON, a path) or a list of `Layer`; None: the derived one or, of an
            architecture that is not known, `layers_in` of the first module.
        sites: names of those that are watched; None: the gram's, if it was made with some, else all.
        convolutions: a row is one of the "pixels", for matching, or of the "patches", for solving.
        keep: which rows count: ``keep(module, args, kwargs)``, of what a module is called with, gives a mask,
            or None for all. None: the argument attention_mask, where there is one of two dimensions; False:
            all count. `Watching.keep` says it batch by batch.
        names: what a spec calls the modules' tensors, as of `libemr.torch.Switcher`.
        models: the modules' checkpoints: layers that no name finds are found by equal weights.
    """

    def __init__(
        self,
        gram: Gram,
        *modules: torch.nn.Module,
        spec: Layers | Spec = None,
        sites: Sequence[str] | None = None,
        convolutions: str | None = None,
        keep: Keep = None,
        names: Names = None,
        models: Sequence[ModelLike] | None = None,
    ) -> None:
        if len(modules) != gram.n_models or (models is not None and len(models) != len(modules)):
            raise failed(
                "EMR_EMISMATCH",
                f"the gram is of {gram.n_models} models: as many modules are needed, and models if any",
            )
        self._gram, self._modules = gram, modules
        layers = layers_of(layers_or_spec(spec, modules[0], names))
        known = dict.fromkeys(layer.site for layer in layers)
        watched = list(sites if sites is not None else gram.sites if gram.is_fixed else known)
        for site in watched:
            if site not in known:
                raise failed("EMR_ENOTFOUND", f"no layer reads site '{site}'")
        layers = [layer for layer in layers if layer.site in watched]
        checkpoints = [None] * len(modules) if models is None else [as_model(model) for model in models]
        self._layers = [find_layers(m, layers, names, model) for m, model in zip(modules, checkpoints)]
        self._patches = self._are_patches(convolutions)
        self._keep: Callable[..., Any] = _padding if keep is None else keep if callable(keep) else _nothing
        self._masks: list[Any] = [None] * len(modules)
        self._given: list[Any] = []
        self._queues = {site: [deque[Seen]() for _ in modules] for site in watched}
        self._hooks: list[Any] = []
        self._has_fed = False

    def _are_patches(self, convolutions: str | None) -> bool:
        found = [
            (site, module)
            for layers in self._layers
            for site, module in layers.items()
            if is_convolution(module)
        ]
        if convolutions not in (None, "pixels", "patches"):
            raise ValueError(f"convolutions is {convolutions!r}, which is none of patches, pixels")
        if found and convolutions is None:
            raise ValueError(
                f"site '{found[0][0]}' is the input of a convolution: say whether rows are pixels, for "
                "matching, or patches, for solving (convolutions=)"
            )
        for site, module in found:
            if module.transposed or (convolutions == "patches" and module.groups > 1):
                raise failed(
                    "EMR_EUNSUPPORTED",
                    f"site '{site}' is the input of a transposed or grouped convolution, "
                    "which is no linear layer",
                )
        return convolutions == "patches"

    def keep(self, mask: Any) -> None:
        """From now on, a mask says which rows count: of samples, of samples and tokens, or of a layer's
        rows. None: all."""
        self._given = [mask]

    # -------------------------------------------------------------------------------------------------- hooks

    def __enter__(self) -> Watching:
        for model, module in enumerate(self._modules):
            self._hook(module, self._begin, model)
            for site, layer in self._layers[model].items():
                self._hook(layer, self._read, model, site)
        return self

    def _hook(self, module: torch.nn.Module, function: Callable[..., None], *which: Any) -> None:
        def hook(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            function(module, args, kwargs, *which)

        self._hooks.append(module.register_forward_pre_hook(hook, with_kwargs=True))

    def __exit__(self, kind: Any, *_: object) -> None:
        while self._hooks:
            self._hooks.pop().remove()
        queues, self._queues = self._queues, {}
        if kind is not None:
            return
        for site, waiting in queues.items():
            for model, queue in enumerate(waiting):
                if queue:
                    raise failed(
                        "EMR_EMISMATCH",
                        f"site '{site}': model {model} has read a batch that others have not: "
                        "all models must run on each batch",
                    )
        if not self._has_fed:
            raise failed("EMR_ESTATE", "no layer that is watched has run")

    def _begin(self, module: Any, args: Any, kwargs: Any, model: int) -> None:
        """A module runs a batch."""
        for site, waiting in self._queues.items():
            if waiting[model]:
                raise failed(
                    "EMR_ESTATE",
                    f"site '{site}': model {model} reads another batch, and others have not read the one "
                    "before: all models must run on each batch in turn",
                )
        self._masks[model] = None if self._given else self._keep(module, args, kwargs)

    def _read(self, module: Any, args: Any, kwargs: Any, model: int, site: str) -> None:
        """A layer reads its inputs. Those that wait for other models' are copied: they may be written
        over."""
        inputs = next(iter((*args, *kwargs.values()))).detach()
        mask = self._given[0] if self._given else self._masks[model]
        waiting = self._queues[site]
        if all(queue for other, queue in enumerate(waiting) if other != model):
            seen = [Seen(module, inputs, mask) if m == model else q.popleft() for m, q in enumerate(waiting)]
            self._feed(site, seen)
        else:
            waiting[model].append(Seen(module, inputs.to("cpu", copy=True), mask))

    def _feed(self, site: str, seen: Sequence[Seen]) -> None:
        shapes = [tuple(one.inputs.shape[: 1 if is_convolution(one.module) else -1]) for one in seen]
        if len(set(shapes)) > 1:
            raise failed(
                "EMR_EMISMATCH",
                f"site '{site}': models have rows of shapes {' and '.join(str(list(s)) for s in shapes)}: "
                "they must run on the same batches, in the same order",
            )
        for first, rows in pieces(seen, self._patches):
            samples, *rest = rows[0].shape[:-1]
            whole = kept_rows(seen[0].mask, (len(seen[0].batched()), *rest), site)
            kept = None if whole is None else whole[first : first + samples].contiguous()
            self._gram.feed(site, *rows, keep=kept)
            self._has_fed = True


def _nothing(*_: Any) -> None:
    return None


def _padding(module: torch.nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The attention mask that a module is called with."""
    mask = kwargs.get("attention_mask")
    if mask is None and len(args) > 1:
        mask = inspect.signature(module.forward).bind_partial(*args).arguments.get("attention_mask")
    return mask if getattr(mask, "ndim", 0) == 2 else None

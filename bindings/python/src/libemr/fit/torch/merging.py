"""merging.py - modules into one model, a call for each method."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch

from ... import fit
from ..._native import failed
from ...combine import combine
from ...errors import Mismatch
from ...model import Model
from ...resources import Memory, Threads
from ...torch import load_into
from ...torch.targets import Names
from ..gram import Gram
from ..layers import Layers, layers_of, layers_without
from ..matching import MatchReport
from ..permutation import Permutation
from ..pleas import Pairs, merged_pairs
from ..spec import PermutationSpec
from .modules import Spec, find_layers, is_convolution, layers_or_spec, model_of, spec_of
from .running import Forward, run
from .watching import Keep

__all__ = ["Merged", "match", "mudsc", "pleas", "regmean"]

Batches = Iterable[Any]


@dataclass(frozen=True)
class Merged:
    """What a call made of modules.

    Attributes:
        model: the merged model, computed as it is read, of the modules' weights, which must stay as they are
            until then.
        spec: which units belong together. permutation: of the second module's. aligned: that in the first
            one's order. report: how well units fit.
        widths: of groups that have more units than before, how many.
    """

    model: Model
    spec: PermutationSpec | None = None
    permutation: Permutation | None = None
    aligned: Model | None = None
    report: MatchReport | None = None
    widths: dict[str, int] = field(default_factory=dict)
    modules: Sequence[torch.nn.Module] = field(default=(), repr=False)

    def load_into(self, module: torch.nn.Module, *, names: Names = None, strict: bool = True) -> None:
        """Writes the model into a module, in place. Where that is one of those that were merged, the models
        are closed then: they were made of its weights."""
        try:
            load_into(module, self.model, names=names, strict=strict)
        except Mismatch as error:
            if not self.widths:
                raise
            widths = ", ".join(f"{group}: {n}" for group, n in self.widths.items())
            raise failed(
                "EMR_EMISMATCH",
                f"{error}; layers are wider now ({widths}): load it into a module of these widths, or merge "
                "all pairs",
                tensor=error.tensor,
            ) from error
        if any(module is source for source in self.modules):
            for model in (self.model, self.aligned):
                if model is not None:
                    model.close()


def regmean(
    modules: Sequence[torch.nn.Module],
    batches: Sequence[Batches],
    spec: Layers | Spec = None,
    *,
    forward: Forward = None,
    keep: Keep = None,
    exclude: Sequence[str] = (),
    names: Names = None,
    threads: Threads = None,
    memory: Memory = None,
    **options: Any,
) -> Merged:
    """RegMean: each module on its own batches.

    Args:
        batches: of each module: tensors, or mappings of arguments by name.
        spec: its layers are solved; None: those of the derived spec or, of an architecture that is not known,
            all linear layers and convolutions.
        forward: runs a module on a batch: ``lambda module, batch: module(batch[0])``.
        keep: which rows count, as of `Watching`: padding does not.
        exclude, options: as of `libemr.fit.regmean`.
    """
    if len(modules) != len(batches) or not modules:
        raise failed(
            "EMR_EINVAL", f"{len(modules)} modules and {len(batches)} lists of batches: one for each"
        )
    layers = layers_without(layers_of(layers_or_spec(spec, modules[0], names)), exclude)
    grams = []
    for module, own in zip(modules, batches):
        gram = Gram(threads=threads, memory=memory)
        with gram.watch(module, spec=layers, convolutions="patches", keep=keep, names=names):
            run([module], own, forward)
        grams.append(gram)
    models = [model_of(module, names) for module in modules]
    model = fit.regmean(models, grams, layers, exclude=exclude, threads=threads, memory=memory, **options)
    return Merged(model, modules=modules)


class _Pair:
    """Two modules as models, and what they read of the same batches."""

    def __init__(
        self,
        a: torch.nn.Module,
        b: torch.nn.Module,
        spec: Spec,
        names: Names,
        threads: Threads,
        memory: Memory,
    ) -> None:
        self.modules, self.names = (a, b), names
        self.limits: dict[str, Any] = {"threads": threads, "memory": memory}
        self.models = [model_of(module, names) for module in self.modules]
        self.spec = spec_of(spec, a, self.models[0])
        layers = find_layers(a, self.spec.layers, names)
        self.has_convolutions = any(is_convolution(layer) for layer in layers.values())
        self.sites = list(layers)
        self.group_sites = [site for site in self.spec.group_sites if site in layers]

    def watch(self, batches: Batches, forward: Forward, keep: Keep, **rows: Sequence[str]) -> list[Gram]:
        """A gram for each kind of rows, "pixels" or "patches", of its sites; in one pass."""
        grams = [Gram(n_models=2, **self.limits) for _ in rows]
        with ExitStack() as stack:
            for gram, (kind, sites) in zip(grams, rows.items()):
                options = {"convolutions": kind, "keep": keep, "names": self.names}
                stack.enter_context(gram.watch(*self.modules, spec=self.spec, sites=sites, **options))
            run(self.modules, batches, forward)
        return grams

    def match(self, gram: Gram | None, by: str | None, **options: Any) -> tuple[Permutation, MatchReport]:
        a, b = self.models
        return fit.match(self.spec, a, b, by=by, gram=gram, **self.limits, **options)

    def merged(self, model: Model, **found: Any) -> Merged:
        return Merged(model, self.spec, modules=self.modules, **found)


def match(
    a: torch.nn.Module,
    b: torch.nn.Module,
    batches: Batches | None = None,
    spec: Spec = None,
    *,
    by: str | None = None,
    weight: float = 0.5,
    forward: Forward = None,
    keep: Keep = None,
    names: Names = None,
    threads: Threads = None,
    memory: Memory = None,
    **options: Any,
) -> Merged:
    """The average of a module and another one whose units are in the first one's order.

    Args:
        batches: of both; None: units are matched by weights.
        by: "weights", "activations", "both"; None: activations, where there are batches.
        weight: the second module's share.
        forward, keep: as of `regmean`. options: as of `libemr.fit.match`.
    """
    pair = _Pair(a, b, spec, names, threads, memory)
    gram = None
    if batches is not None and by != "weights":
        (gram,) = pair.watch(batches, forward, keep, pixels=pair.group_sites)
    permutation, report = pair.match(gram, by, **options)
    aligned = permutation.apply(pair.models[1])
    model = _average(pair.models[0], aligned, weight)
    return pair.merged(model, permutation=permutation, aligned=aligned, report=report)


def _average(a: Model, b: Model, weight: float) -> Model:
    return combine(
        "linear", None, {"a": a, "b": b}, weight={"a": 1 - weight, "b": weight}, combine_heads=True
    )


def mudsc(
    a: torch.nn.Module,
    b: torch.nn.Module,
    batches: Batches,
    spec: Spec = None,
    *,
    zip: bool = False,
    balance: float | None = None,
    weight: float = 0.5,
    forward: Forward = None,
    keep: Keep = None,
    names: Names = None,
    threads: Threads = None,
    memory: Memory = None,
    **options: Any,
) -> Merged:
    """MuDSC: units are matched by weights and activations, and averaged; or zipped.

    Args:
        batches: samples of all tasks.
        zip: the most similar of all units are put together, also two of one module; heads are matched.
        balance: the weights' share of similarity; None: 0.5.
        weight, forward, keep: as of `match`. options: as of `libemr.fit.match`, or `zip_models`.
    """
    if not zip:
        options.update(balance=balance, forward=forward, keep=keep, names=names)
        return match(a, b, batches, spec, by="both", weight=weight, threads=threads, memory=memory, **options)
    pair = _Pair(a, b, spec, names, threads, memory)
    (gram,) = pair.watch(batches, forward, keep, pixels=pair.group_sites)
    permutation = _of_whole_groups(pair.match(gram, "both", balance=balance)[0])
    aligned = permutation.apply(pair.models[1])
    model, report = fit.zip_models(
        pair.spec, [pair.models[0], aligned], gram=gram, balance=balance, **pair.limits, **options
    )
    return pair.merged(model, permutation=permutation, aligned=aligned, report=report)


def _of_whole_groups(permutation: Permutation) -> Permutation:
    """Of the groups that are not zipped alone: what others do is in the gram as it was."""
    found = Permutation(permutation.spec)
    for name, group in permutation.spec.groups.items():
        if not group.n_units or group.n_blocks > 1:
            found[name] = permutation[name]
    return found


def pleas(
    a: torch.nn.Module,
    b: torch.nn.Module,
    batches: Batches,
    spec: Spec = None,
    *,
    pairs: Pairs = {},
    by: str | None = None,
    forward: Forward = None,
    keep: Keep = None,
    names: Names = None,
    threads: Threads = None,
    memory: Memory = None,
    **options: Any,
) -> Merged:
    """PLeaS: units are matched, pairs of them merged, and layers solved.

    Where not all pairs are merged, layers are wider: `Merged.widths` says how wide, and the model goes into
    no module that is not.

    Args:
        batches: of both modules' tasks; run through once.
        pairs: how many pairs of a group are merged, as of `libemr.fit.pleas`; all by default.
        by: units are matched by "activations", "weights" or "both"; None: activations.
        forward, keep: as of `regmean`. options: as of `libemr.fit.pleas`.
    """
    pair = _Pair(a, b, spec, names, threads, memory)
    n_pairs = merged_pairs(pair.spec, pairs)
    kinds = {"patches": pair.sites}
    if pair.has_convolutions and by != "weights":
        kinds["pixels"] = pair.group_sites
    solving, *matching = pair.watch(batches, forward, keep, **kinds)
    by = by or "activations"
    permutation, report = pair.match(None if by == "weights" else [solving, *matching][-1], by)
    first, second = pair.models
    model = fit.pleas(pair.spec, first, second, permutation, solving, pairs=pairs, **pair.limits, **options)
    groups = pair.spec.groups
    widths = {g: 2 * groups[g].n_units - k for g, k in n_pairs.items() if k < groups[g].n_units}
    aligned = permutation.apply(pair.models[1])
    return pair.merged(model, permutation=permutation, aligned=aligned, report=report, widths=widths)

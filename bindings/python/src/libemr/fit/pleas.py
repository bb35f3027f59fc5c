"""pleas.py - PLeaS: units that are alike in two models are merged, the others stay side by side, and layers
are solved."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Union

from .._native import Arena, choice, failed, lib
from ..dtypes import DType, DTypeLike
from ..model import Model, ModelLike, as_model
from ..resources import Memory, Resources, Threads
from .configuration import configured
from .gram import Gram
from .made import opened
from .permutation import Permutation
from .spec import PermutationSpec

__all__ = ["Pairs", "merged_pairs", "pleas"]

Pairs = Mapping[str, Union[int, float]]


def pleas(
    spec: PermutationSpec,
    a: ModelLike,
    b: ModelLike,
    permutation: Permutation | None,
    gram: Gram | None = None,
    *,
    pairs: Pairs = {},
    target: str = "ensemble",
    ridge: float = 0.0,
    exclude: Sequence[str] = (),
    dtype: DTypeLike | None = None,
    threads: Threads = None,
    memory: Memory = None,
) -> Model:
    """PLeaS: one model out of two. Of a group of n units, k pairs are merged, and it has 2 n − k units then;
    config.json says so, where all hidden layers become as wide.

    Args:
        permutation: of B's units, as `match` finds it; None: they stay as they are.
        gram: of two models, A first, on the data of both; of convolutions, patches. None: layers are merged,
            and not solved.
        pairs: how many pairs of a group are merged, by a glob of its name: a whole number, or a share of its
            units (0.75); of several that match, the last one counts. Groups that none matches are merged
            whole: a model of the same shapes.
        target: outputs are to be near those of the "ensemble" on every sample, or of each model, "separate".
        ridge, exclude, dtype, threads, memory: as in `regmean`.
    """
    arena, resources = Arena(), Resources(threads, memory)
    models = [as_model(a, "A").handle, as_model(b, "B").handle]
    needs = [spec.handle, *models]
    needs += [permutation.handle] if permutation is not None else []
    needs += [gram.lend()] if gram is not None else []
    widths = merged_pairs(spec, pairs)
    with ExitStack() as stack:
        pointers = {id(handle): stack.enter_context(handle.use()) for handle in needs}
        options = arena.struct(
            "emr_pleas_options",
            resources=resources.pointer,
            permutation=None if permutation is None else pointers[id(permutation.handle)],
            gram=None if gram is None else pointers[id(gram.handle)],
            widths=arena.structs(
                "emr_pleas_width",
                [{"group": arena.text(group), "n_merged": n} for group, n in widths.items()],
            ),
            n_widths=len(widths),
            exclude=arena.texts(exclude),
            n_exclude=len(exclude),
            ridge=ridge,
            target=choice("EMR_PLEAS_TARGET_", target, "target"),
            dtype=None if dtype is None else DType.of(dtype),
        )
        model = opened(
            lib.emr_pleas_open_model,
            *(pointers[id(handle)] for handle in needs[:3]),
            options,
            parents=[*needs, *resources.parents()],
            keep=(arena, resources),
        )
    resources.close()
    return configured(model, spec, widths)


def merged_pairs(spec: PermutationSpec, pairs: Pairs) -> dict[str, int]:
    """How many pairs of each group of units `pairs` means. Heads, and units in blocks, are merged whole."""
    groups = {g.name: g.n_units for g in spec.groups.values() if g.n_units and g.n_blocks == 1}
    found = dict(groups)
    for glob, number in pairs.items():
        matched = [name for name in groups if fnmatch.fnmatchcase(name, glob)]
        if not matched:
            raise failed(
                "EMR_ENOTFOUND",
                f"'{glob}' names no group of units; heads, and units in blocks, are merged whole",
            )
        for name in matched:
            found[name] = _n_pairs(name, number, groups[name])
    return found


def _n_pairs(group: str, number: int | float, n_units: int) -> int:
    n = int(number * n_units + 0.5) if isinstance(number, float) else number
    if not 0 <= n <= n_units or (isinstance(number, float) and not number <= 1):
        raise failed(
            "EMR_EINVAL",
            f"group '{group}' takes 0 to {n_units} pairs, or a share of 0.0 to 1.0, not {number}",
        )
    return n

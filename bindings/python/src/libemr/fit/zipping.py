"""zipping.py - the most similar of all units of all models are put together, also two of one model."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from .._native import Arena, lib
from ..dtypes import DType, DTypeLike
from ..infos import record
from ..model import Model, ModelLike, as_model
from ..resources import Memory, Progress, Resources, Threads
from .gram import Gram
from .made import all_in_use, opened
from .matching import MatchReport
from .spec import PermutationSpec

__all__ = ["zip_models"]


def zip_models(
    spec: PermutationSpec,
    models: Sequence[ModelLike],
    *,
    gram: Gram | None = None,
    balance: float | None = None,
    shrink: float | None = None,
    within: float | None = None,
    seed: int = 0,
    max_rounds: int = 0,
    patience: int = 0,
    dtype: DTypeLike | None = None,
    threads: Threads = None,
    memory: Memory = None,
    progress: Progress = None,
) -> tuple[Model, MatchReport]:
    """Zips models of the same shapes into one. Heads, and units in blocks, stay: align the models by `match`
    first.

    Args:
        models: at least two.
        gram: of all models on the same samples; of convolutions, pixels. None: weights alone.
        balance: the weights' share of similarity; None: 0.5.
        shrink: what is put together is as similar to others as the less similar of the two, times this;
            None: 0.5.
        within: the share of merges that may be of two units of one model; None: 1.
        seed, max_rounds, patience, progress: as in `match`. dtype: as in `regmean`.
    """
    arena, report = Arena(), Arena().struct("emr_match_report")
    given = [as_model(model, f"model {i}").handle for i, model in enumerate(models)]
    resources = Resources(threads, memory, progress)
    with ExitStack() as stack:
        options = arena.struct(
            "emr_zip_options",
            resources=resources.pointer,
            models=stack.enter_context(all_in_use(arena, "emr_model", given)),
            gram=None if gram is None else stack.enter_context(gram.handle.use()),
            balance=balance,
            use_balance=int(balance is not None),
            shrink=shrink,
            use_shrink=int(shrink is not None),
            within=within,
            use_within=int(within is not None),
            seed=seed,
            n_models=len(given),
            max_rounds=max_rounds,
            patience=patience,
            dtype=None if dtype is None else DType.of(dtype),
        )
        model = opened(
            lib.emr_zip_open_model,
            stack.enter_context(spec.handle.use()),
            options,
            after=[report],
            parents=[*given, *resources.parents()],
            keep=(arena, resources),
        )
    resources.close()
    return model, record(MatchReport, report)

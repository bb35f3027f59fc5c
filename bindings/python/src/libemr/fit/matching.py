"""matching.py - which units of one model are those of another: by what they weigh, by what they do on the
same samples, or by both."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from .. import arrays
from .._native import Arena, call, choice, failed, ffi, lib
from ..dtypes import DType
from ..infos import record
from ..model import ModelLike, as_model
from ..resources import Memory, Progress, Resources, Threads
from .gram import Gram
from .permutation import Permutation
from .spec import PermutationSpec

__all__ = ["MatchReport", "assign", "match"]


@dataclass(frozen=True)
class MatchReport:
    """How well units fit.

    Attributes:
        value: inner products: their sum over groups; correlations: the mean over groups of that over units.
        n_rounds: that were begun. n_groups: that were matched.
    """

    value: float
    n_rounds: int
    n_groups: int


def match(
    spec: PermutationSpec,
    a: ModelLike,
    b: ModelLike,
    *,
    by: str | None = None,
    gram: Gram | None = None,
    start: Permutation | None = None,
    balance: float | None = None,
    similarity: str = "default",
    seed: int = 0,
    max_rounds: int = 0,
    patience: int = 0,
    threads: Threads = None,
    memory: Memory = None,
    progress: Progress = None,
) -> tuple[Permutation, MatchReport]:
    """The permutation of B's units that brings it nearest to A.

    Args:
        by: "weights" (Git Re-Basin), "activations", or "both" (MuDSC); None: activations, where there is a
            gram.
        gram: of two models, A first, on the same samples; of convolutions, pixels.
        start: where weights begin; None: the activations', else as B is.
        balance: the weights' share with "both"; None: 0.5.
        similarity: "inner", "correlation"; "default": correlation with "both".
        seed: of the order in which groups are taken; 0: the spec's.
        max_rounds, patience: 0: 100, and 5 rounds that are no better than the best.
        progress: counts groups.
    """
    by = by or ("weights" if gram is None else "activations")
    if by == "weights" and gram is not None:
        raise failed("EMR_EINVAL", "matching by weights reads no gram: leave it out, or match by 'both'")
    arena, report = Arena(), Arena().struct("emr_match_report")
    models = as_model(a, "A").handle, as_model(b, "B").handle
    with ExitStack() as stack, Resources(threads, memory, progress) as resources:
        given = [stack.enter_context(handle.use()) for handle in (spec.handle, *models)]
        options = arena.struct(
            "emr_match_options",
            resources=resources,
            gram=None if gram is None else stack.enter_context(gram.handle.use()),
            start=None if start is None else stack.enter_context(start.handle.use()),
            balance=balance,
            use_balance=int(balance is not None),
            seed=seed,
            space=choice("EMR_MATCH_SPACE_", by, "by"),
            similarity=choice("EMR_SIMILARITY_KIND_", similarity, "similarity"),
            max_rounds=max_rounds,
            patience=patience,
        )
        place = ffi.new("emr_permutation **")
        call(lib.emr_match, *given, options, place, report)
    permutation = Permutation.of_pointer(spec, place[0])
    if not report.n_groups:
        what = "the spec has no groups" if gram is None else "the gram has no site of any group of the spec"
        raise failed("EMR_EMISMATCH", f"{what}: nothing can be matched")
    return permutation, record(MatchReport, report)


def assign(similarity: Any) -> list[int]:
    """The assignment with the largest sum: row i of a square matrix of F64 goes with the i-th column here."""
    matrix = arrays.view(similarity, dtype=DType.F64, what="the similarity")
    n = (*matrix.shape, 0)[0]
    if matrix.shape != (n, n):
        raise failed("EMR_EINVAL", f"a square matrix is needed, not one of shape {list(matrix.shape)}")
    columns = ffi.new("uint32_t[]", n)
    call(lib.emr_assign, ffi.cast("double *", matrix.pointer), n, columns, ffi.NULL)
    return list(columns)

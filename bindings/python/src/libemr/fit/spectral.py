"""spectral.py - whole matrices of task vectors, merged by their singular values. No samples are needed."""

from __future__ import annotations

from collections.abc import Sequence

from .._native import Arena, choice, lib
from ..dtypes import DType, DTypeLike
from ..model import Model, ModelLike, as_model
from ..resources import Memory, Resources, Threads
from .made import all_in_use, opened

__all__ = ["spectral"]


def spectral(
    method: str,
    base: ModelLike,
    tasks: Sequence[ModelLike],
    *,
    scale: float | None = None,
    dtype: DTypeLike | None = None,
    threads: Threads = None,
    memory: Memory = None,
) -> Model:
    """TSV-M or Iso-C: one model out of a base and tasks that were fine-tuned from it. `Unsupported`: the
    package was built without LAPACK, as it is unless asked for.

    Args:
        method: "tsv_m" or "iso_c".
        scale: of what is added to the base; None: 1.
        dtype: of floats; None: as in the base.
    """
    arena, resources = Arena(), Resources(threads, memory)
    given = [as_model(task, f"task {i}").handle for i, task in enumerate(tasks)]
    root = as_model(base, "base").handle
    with all_in_use(arena, "emr_model", given) as pointers, root.use() as pointer:
        options = arena.struct(
            "emr_spectral_options",
            resources=resources.pointer,
            base=pointer,
            tasks=pointers,
            n_tasks=len(given),
            scale=scale,
            use_scale=int(scale is not None),
            method=choice("EMR_SPECTRAL_METHOD_", method, "method"),
            dtype=None if dtype is None else DType.of(dtype),
        )
        parents = [root, *given, *resources.parents()]
        model = opened(lib.emr_spectral_open_model, options, parents=parents, keep=(arena, resources))
    resources.close()
    return model

"""policy.py - which tensors belong together, and how tasks are coded: as C's structs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Union

from ._native import Arena, choice, encode, lib
from .dtypes import DType
from .infos import Modulation

__all__ = ["ModulationLike", "glob_matches", "modulation_of", "policy_of"]

ModulationLike = Union[str, Modulation]


def glob_matches(glob: str, name: str) -> bool:
    """Whether a glob, as `private` and others are, matches the whole name: "*", "?", "[a-z]", "[!a-z]", "\\\\"."""
    return bool(lib.emr_glob_matches(encode(glob), encode(name)))


def policy_of(
    arena: Arena,
    *,
    private: Sequence[str] = (),
    merge: Sequence[str] = (),
    absent: Sequence[str] = (),
    base_globs: Sequence[str] = (),
    on_mismatch: str | None = None,
    on_missing: str | None = None,
) -> Any:
    """An emr_policy."""
    return arena.struct(
        "emr_policy",
        private_globs=arena.texts(private),
        n_private_globs=len(private),
        merge_globs=arena.texts(merge),
        n_merge_globs=len(merge),
        absent_globs=arena.texts(absent),
        n_absent_globs=len(absent),
        base_globs=arena.texts(base_globs),
        n_base_globs=len(base_globs),
        on_mismatch=choice("EMR_ON_MISMATCH_", on_mismatch, "on_mismatch"),
        on_missing=choice("EMR_ON_MISSING_", on_missing, "on_missing"),
    )


def modulation_of(arena: Arena, value: ModulationLike) -> Any:
    """An emr_modulation_spec, of a kind's name or a `Modulation`."""
    spec = Modulation(kind=value) if isinstance(value, str) else value
    if not isinstance(spec, Modulation):
        raise TypeError(f"a modulator is the name of a kind, or a Modulation, not a {type(value).__name__}")
    return arena.struct(
        "emr_modulation_spec",
        kind=choice("EMR_MODULATOR_KIND_", spec.kind, "kind"),
        thinning=spec.thinning,
        n_levels=spec.n_levels,
        rescale=choice("EMR_RESCALE_", spec.rescale, "rescale"),
        rescale_per=choice("EMR_RESCALE_PER_", spec.rescale_per, "rescale_per"),
        mask_rule=choice("EMR_MASK_RULE_", spec.mask_rule, "mask_rule"),
        vectors_dtype=0 if spec.vectors_dtype is None else DType.of(spec.vectors_dtype),
        without_columns=int(spec.without_columns),
        seed=spec.seed,
    )

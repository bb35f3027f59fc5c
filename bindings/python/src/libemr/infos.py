"""infos.py - what the library tells: plain records, named as C's structs are."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, TypeVar

from ._native import decode, ffi, word
from .dtypes import DType

Record = TypeVar("Record")

ENUMERATIONS = {
    "kind": "EMR_MODULATOR_KIND_",
    "rescale": "EMR_RESCALE_",
    "rescale_per": "EMR_RESCALE_PER_",
    "tie": "EMR_TIE_",
    "mask_rule": "EMR_MASK_RULE_",
    "action": "EMR_ACTION_",
}
FLAGS = {"has_base", "extendable", "merged", "lost_growth", "lost_unified", "empty_mask", "without_columns"}


@dataclass(frozen=True)
class Features:
    """What this build and this processor can do."""

    kernels: str
    zstd_version: int
    hosted: int
    format_major: int
    format_minor: int


@dataclass(frozen=True)
class BundleInfo:
    """A bundle as a whole."""

    bytes: int
    merged_params: int
    n_tasks: int
    n_tensors: int
    n_merged: int
    version_major: int
    version_minor: int
    rescale: str
    rescale_per: str
    tie: str
    unified_dtype: DType | None
    has_base: bool
    extendable: bool
    n_elected: int


@dataclass(frozen=True)
class TaskInfo:
    """A task of a bundle."""

    name: str
    mask_ones: int
    mask_bytes: int
    n_private: int
    rescaler: float
    coded_bytes: int


@dataclass(frozen=True)
class TensorInfo:
    """A tensor of a bundle's base."""

    name: str
    shape: tuple[int, ...]
    count: int
    unified_bytes: int
    base_hash: int
    dtype: DType | None
    merged: bool


@dataclass(frozen=True)
class PrivateInfo:
    """A tensor of which a task keeps its own copy."""

    name: str
    shape: tuple[int, ...]
    bytes: int
    dtype: DType | None


@dataclass(frozen=True)
class Modulation:
    """How a task is coded beside the base: a kind with its parameters; None is the default.

    kind: "mask", "two_sided", "sign", "thin", "levels". rescale: "l1", "l1_means", "l2", "norm", "unbiased",
    "mixed".
    rescale_per: "model", "tensor", "row". mask_rule: "agree", "nearest".
    """

    kind: str | None = None
    thinning: int = 0
    n_levels: int = 0
    rescale: str | None = None
    rescale_per: str | None = None
    mask_rule: str | None = None
    vectors_dtype: Any = None
    without_columns: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Fidelity:
    """How near a task's rebuilt vector is to its task vector; NaN: not measured."""

    error: float
    cosine: float
    coefficient: float


@dataclass(frozen=True)
class DropReport:
    """What a merge without the dropped tasks would do otherwise."""

    unified: int
    alone: int
    shared: int
    lost_growth: bool
    lost_unified: bool


@dataclass(frozen=True)
class BaseDifference:
    """A tensor that is not as the bundle's base had it."""

    tensor: str
    why: str


@dataclass(frozen=True)
class PlanSummary:
    """What a merge will do, as a whole."""

    merged_params: int
    bytes_in: int
    bytes_out: int
    peak_memory: int
    n_tensors: int
    n_merged: int


@dataclass(frozen=True)
class PlanTensor:
    """What a merge does with a tensor, and why: "merge", "keep" or "private"."""

    name: str
    reason: str
    shape: tuple[int, ...]
    count: int
    zeroed: int
    dtype: DType | None
    action: str
    n_private: int


@dataclass(frozen=True)
class ModulatorStats:
    """Of a modulator's tensor: its parameters, and how many have a mask bit."""

    count: int
    ones: int


def record(kind: type[Record], struct: Any, **given: Any) -> Record:
    """A record of a struct that C filled; `given` are members that the struct lacks."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: given[name] if name in given else _value(name, struct) for name in names})


def _value(name: str, struct: Any) -> Any:
    value = getattr(struct, name)
    if name in ENUMERATIONS:
        return word(ENUMERATIONS[name], value)
    if name in FLAGS:
        return bool(value)
    if name.endswith("dtype"):
        return DType(value) if value else None
    if name == "shape":
        return tuple(value[i] for i in range(struct.rank))
    if name == "base_hash":
        return value[0] | value[1] << 64
    if isinstance(value, ffi.CData):
        return decode(value) if value else None
    return value

"""statistics.py - what the task vectors of several tasks have in common: products, distances, agreeing signs,
norms, quantiles; per tensor, layer, kind and model, from one reading. And how kin tasks are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ._native import Arena, Handle, call, choice, create, decode, encode, ffi, filled, lib
from .infos import record
from .model import ModelLike, as_model
from .policy import policy_of
from .resources import Memory, Progress, Resources, Threads

__all__ = [
    "Group",
    "Moments",
    "Statistics",
    "StatisticsPlan",
    "kind_of",
    "kinship",
    "kinship_mean",
    "layer_of",
]


def kind_of(name: str) -> str:
    """What a tensor of that name is to its model: "q", "norm", "embed", ..., "other"."""
    return decode(lib.emr_statistics_kind_of(encode(name)))


def layer_of(name: str) -> int | None:
    """The number of the layer of a tensor of that name, or None."""
    layer = int(lib.emr_statistics_layer_of(encode(name)))
    return None if layer < 0 else layer


def doubles(pointer: Any, *shape: int) -> Any:
    """A copy of C's numbers: a numpy array, or lists where numpy is not installed."""
    if pointer == ffi.NULL:
        return None
    n = 1
    for length in shape:
        n *= length
    try:
        import numpy
    except ImportError:
        flat = [pointer[i] for i in range(n)]
        return flat if len(shape) == 1 else [flat[i * shape[1] : (i + 1) * shape[1]] for i in range(shape[0])]
    kind = numpy.float64 if ffi.typeof(pointer).item.cname == "double" else numpy.uint64
    return numpy.frombuffer(ffi.buffer(pointer, n * 8), kind).reshape(shape).copy()


def new_matrix(n: int) -> Any:
    return ffi.new("double[]", max(n * n, 1))


@dataclass(frozen=True)
class StatisticsPlan:
    """What the reading takes."""

    params: int
    bytes_in: int
    peak_memory: int
    result_bytes: int
    n_tensors: int
    n_left_out: int
    n_layers: int
    n_kinds: int


@dataclass(frozen=True)
class Moments:
    """What follows from a group's sums for one task."""

    norm: float
    mean: float
    mean_magnitude: float
    deviation: float
    kurtosis: float
    zero_share: float


class Group:
    """Statistics of a tensor, layer, kind, or of the model, for n tasks in their order. Matrices are n x n
    numpy arrays, or lists where numpy is not installed; what they are is in include/emr/statistics.h.

    Attributes:
        name: the tensor's, the layer's number, the kind; "" for the model.
        layer: a layer's number, or None.
        count: elements. conflicts, unchanged: of them, where two tasks go opposite ways, and where none does
            anything.
    """

    def __init__(self, handle: Handle, group: Any) -> None:
        self._handle, self._group = handle, group
        n = group.n_tasks
        self.name = decode(group.name)
        self.layer: int | None = None if group.layer < 0 else int(group.layer)
        self.count, self.conflicts, self.unchanged = (
            int(group.count),
            int(group.conflicts),
            int(group.unchanged),
        )
        self.n_tensors, self.n_tasks, self.is_rounded = int(group.n_tensors), int(n), bool(group.is_rounded)
        self.products, self.distances = doubles(group.products, n, n), doubles(group.distances, n, n)
        self.same_signs, self.both = doubles(group.same_signs, n, n), doubles(group.both, n, n)
        self.sums, self.magnitudes = doubles(group.sums, n), doubles(group.magnitudes, n)
        self.fourths, self.largest = doubles(group.fourths, n), doubles(group.largest, n)
        self.zeros, self.nonfinite = doubles(group.zeros, n), doubles(group.nonfinite, n)
        self.quantiles = doubles(group.quantiles, n, group.n_quantiles) if group.n_quantiles else None

    def moments(self, task: int) -> Moments:
        """Of task number `task`."""
        with self._handle.use():
            found = filled(lib.emr_statistics_get_moments, "emr_task_moments", self._group, task)
        return record(Moments, found)

    def kinship(self, metric: str = "pearson", *, absolute: bool = False) -> Any:
        """The kinship of every two tasks, n x n: "pearson", "cosine" or "euclid". NaN: there is none."""
        matrix = new_matrix(self.n_tasks)
        with self._handle.use():
            call(lib.emr_kinship, self._group, _kinship_options(Arena(), metric, absolute), matrix)
        return doubles(matrix, self.n_tasks, self.n_tasks)


def _kinship_options(arena: Arena, metric: str, absolute: bool) -> Any:
    number = choice("EMR_KINSHIP_METRIC_", metric, "metric")
    return arena.keep(arena.struct("emr_kinship_options", metric=number, absolute=int(absolute)))


class Statistics:
    """Statistics of several tasks' vectors.

        statistics = libemr.Statistics(base, {"math": "math/", "code": "code/"})
        statistics.run()
        statistics.model.products, statistics.model.kinship(), [group.name for group in statistics.layers]

    Args:
        base, tasks: models: paths, Models, mappings of arrays; tasks of a bundle, too.
        private, merge, absent, base_globs, on_mismatch, on_missing: as in `merge`: what it would merge
            counts.
        quantiles: fractions from 0 to 1, of which quantiles of magnitudes are found.
        max_rows: of every tensor its first rows alone count; 0: all.
        skip_missing: a tensor that some task lacks does not count; else `on_missing` decides.
        without_tensors: no groups are kept for tensors, which saves memory where tasks are many.
        rounding: "none", "per_model" or "per_tensor": changes as whole numbers up to 127, as the published
            program compares them.
        on_nonfinite: "error", or "zero": what is no number counts as no change.
    """

    def __init__(
        self,
        base: ModelLike,
        tasks: Mapping[str, ModelLike],
        *,
        private: Sequence[str] = (),
        merge: Sequence[str] = (),
        absent: Sequence[str] = (),
        base_globs: Sequence[str] = (),
        on_mismatch: str | None = None,
        on_missing: str | None = None,
        quantiles: Sequence[float] = (),
        rounding: str = "none",
        max_rows: int = 0,
        skip_missing: bool = False,
        without_tensors: bool = False,
        on_nonfinite: str = "error",
        threads: Threads = None,
        memory: Memory = None,
        progress: Progress = None,
    ) -> None:
        arena, resources = Arena(), Resources(threads, memory, progress)
        policy = policy_of(
            arena,
            private=private,
            merge=merge,
            absent=absent,
            base_globs=base_globs,
            on_mismatch=on_mismatch,
            on_missing=on_missing,
        )
        options = arena.struct(
            "emr_statistics_options",
            resources=resources.pointer,
            policy=policy,
            max_rows=max_rows,
            skip_missing=int(skip_missing),
            without_tensors=int(without_tensors),
            quantiles=arena.array("double", quantiles),
            n_quantiles=len(quantiles),
            rounding=choice("EMR_STATISTICS_ROUNDING_", rounding, "rounding"),
            on_nonfinite=choice("EMR_ON_NONFINITE_", on_nonfinite, "on_nonfinite"),
        )
        pointer = create("emr_statistics", lib.emr_statistics_create, options)
        self._handle = Handle(
            pointer, lib.emr_statistics_destroy, "the statistics", resources.parents(), (arena, resources)
        )
        resources.close()
        self.tasks = list(tasks)
        with self._handle.use(alone=True) as pointer:
            self._give(lib.emr_statistics_set_base, pointer, (), as_model(base, "base").handle)
            for name, task in tasks.items():
                self._give(lib.emr_statistics_add_task, pointer, (encode(name),), as_model(task, name).handle)

    def _give(self, function: Any, pointer: Any, name: tuple[bytes, ...], model: Handle) -> None:
        with model.use() as given:
            call(function, pointer, *name, given)
        self._handle.adopt(model)

    def close(self) -> None:
        self._handle.close()

    def __enter__(self) -> Statistics:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def plan(self) -> StatisticsPlan:
        """What it will take; before the run."""
        plan = Arena().struct("emr_statistics_plan")
        with self._handle.use(alone=True) as pointer:
            call(lib.emr_statistics_get_plan, pointer, plan)
        return record(StatisticsPlan, plan)

    def run(self) -> Statistics:
        """Reads the models. After a failure it may be called again."""
        with self._handle.use(alone=True) as pointer:
            call(lib.emr_statistics_run, pointer)
        return self

    def groups(self, scope: str) -> list[Group]:
        """After the run: of the scope "model", "tensor", "layer" or "kind"."""
        number = choice("EMR_STATISTICS_SCOPE_", scope, "scope")
        with self._handle.use() as pointer:
            n = 1 if scope == "model" else lib.emr_statistics_n_groups(pointer, number)
            found = [
                filled(lib.emr_statistics_get_group, "emr_statistics_group", pointer, number, i)
                for i in range(n)
            ]
        return [Group(self._handle, group) for group in found]

    @property
    def model(self) -> Group:
        return self.groups("model")[0]

    @property
    def tensors(self) -> list[Group]:
        return self.groups("tensor")

    @property
    def layers(self) -> list[Group]:
        return self.groups("layer")

    @property
    def kinds(self) -> list[Group]:
        return self.groups("kind")

    def split_kinship(self, metric: str = "pearson", *, absolute: bool = False) -> Any:
        """The mean of the tensors' kinships, weighted by their elements."""
        matrix, n = new_matrix(len(self.tasks)), len(self.tasks)
        with self._handle.use() as pointer:
            call(
                lib.emr_statistics_split_kinship, pointer, _kinship_options(Arena(), metric, absolute), matrix
            )
        return doubles(matrix, n, n)


def kinship(
    base: ModelLike,
    tasks: Mapping[str, ModelLike],
    metric: str = "pearson",
    *,
    absolute: bool = False,
    **options: Any,
) -> Any:
    """How kin tasks are: an n x n matrix, in their order. Options are those of `Statistics`."""
    with Statistics(base, tasks, **options) as statistics:
        return statistics.run().model.kinship(metric, absolute=absolute)


def kinship_mean(matrix: Sequence[Sequence[float]]) -> float:
    """How kin all tasks are together: the mean over their pairs. NaN where one is."""
    n = len(matrix)
    if any(len(row) != n for row in matrix):
        raise ValueError(f"a matrix is needed with as many columns as its {n} rows")
    flat = ffi.new("double[]", [float(value) for row in matrix for value in row] or [0.0])
    return float(lib.emr_kinship_mean(flat, n))

"""combine.py - one model out of many: averages, task arithmetic, TIES, DARE, SLERP and what else there is."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

from ._native import BASE, Arena, Handle, call, check, choice, create, decode, encode, failed, ffi, lib, word
from .dtypes import DType, DTypeLike
from .infos import record
from .io import Target, is_path
from .method import Method, Own
from .model import Model, ModelLike, as_model
from .policy import policy_of
from .resources import Memory, Progress, Resources, Threads

__all__ = ["Combination", "CombinationPlan", "CombinedTensor", "ParameterKey", "combine"]

EVERY_TASK: int = lib.EMR_EVERY_TASK
ParameterKey = Union[str, tuple[str, Union[str, None]], tuple[str, Union[str, None], str]]


@dataclass(frozen=True)
class CombinationPlan:
    """What writing the model once takes."""

    combined_params: int
    bytes_in: int
    bytes_out: int
    peak_memory: int


@dataclass(frozen=True)
class CombinedTensor:
    """What becomes of a tensor, and why: `action` is "combine", "copy" or "head"."""

    name: str
    action: str
    reason: str
    dtype: DType
    shape: tuple[int, ...]
    n_reads: int
    n_inputs: int


class Combination:
    """What a combined model is made of, step by step. `combine` does it in one call.

    Args:
        method: a name out of `methods`, or an own `Method`.
        heads: globs of heads, which differ in their labels; combine_heads: they go through the method too.
        dtype: of combined tensors; None: as in the base, or the first task.
        seed: of methods that draw.
        on_nonfinite: "error", or "zero".
        private, merge, absent, base_globs, on_mismatch, on_missing: which tensors are combined, as in
            `merge`.
        threads, memory: of reading the model.
    """

    def __init__(
        self,
        method: str | Method,
        *,
        private: Sequence[str] = (),
        merge: Sequence[str] = (),
        absent: Sequence[str] = (),
        base_globs: Sequence[str] = (),
        on_mismatch: str | None = None,
        on_missing: str | None = None,
        heads: Sequence[str] = (),
        combine_heads: bool = False,
        dtype: DTypeLike | None = None,
        seed: int = 0,
        on_nonfinite: str = "error",
        threads: Threads = None,
        memory: Memory = None,
    ) -> None:
        arena, resources = Arena(), Resources(threads, memory)
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
            "emr_combination_options",
            method=_method(arena, method),
            resources=resources.pointer,
            policy=policy,
            head_globs=arena.texts(heads),
            n_head_globs=len(heads),
            combine_heads=int(combine_heads),
            seed=seed,
            dtype=None if dtype is None else DType.of(dtype),
            on_nonfinite=choice("EMR_COMBINATION_NONFINITE_", on_nonfinite, "on_nonfinite"),
        )
        pointer = create("emr_combination", lib.emr_combination_create, options)
        self._handle = Handle(
            pointer, lib.emr_combination_destroy, "the combination", resources.parents(), (arena, resources)
        )
        self._tasks: dict[str, int] = {}
        resources.close()

    def close(self) -> None:
        """Models that were opened from it stay usable."""
        self._handle.close()

    def __enter__(self) -> Combination:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def set_base(self, base: ModelLike, **options: Any) -> None:
        model = as_model(base, "base", **options)
        with self._handle.use(alone=True) as combination, model.handle.use() as pointer:
            call(lib.emr_combination_set_base, combination, pointer)
            self._handle.adopt(model.handle)

    def add_task(self, name: str, task: ModelLike, **options: Any) -> None:
        model = as_model(task, name, **options)
        with self._handle.use(alone=True) as combination, model.handle.use() as pointer:
            call(lib.emr_combination_add_task, combination, encode(name), pointer)
            self._handle.adopt(model.handle)
        self._tasks[name] = len(self._tasks)

    def set_parameter(
        self, parameter: str, value: float, *, task: str | None = None, glob: str | None = None
    ) -> None:
        """Tells the method a number: for a task (None: for all; "": for the base, where that is an input),
        and in tensors that match a glob. Where several fit, the last that was set holds."""
        number = EVERY_TASK if task is None else BASE if task == "" else self._number(task)
        arena = Arena()
        with self._handle.use(alone=True) as combination:
            call(
                lib.emr_combination_set_parameter,
                combination,
                encode(parameter),
                number,
                arena.text(glob),
                float(value),
            )

    def _number(self, task: str) -> int:
        if task not in self._tasks:
            raise failed("EMR_ENOTFOUND", f"there is no task '{task}'", task=task)
        return self._tasks[task]

    def plan(self) -> CombinationPlan:
        """What a model opened now would take, without reading any tensor."""
        plan = Arena().struct("emr_combination_plan")
        with self._handle.use(alone=True) as combination:
            call(lib.emr_combination_get_plan, combination, plan)
        return record(CombinationPlan, plan)

    def tensors(self) -> list[CombinedTensor]:
        """What would become of each tensor."""
        plan, arena = Arena().struct("emr_combination_plan"), Arena()
        with self._handle.use(alone=True) as combination:
            call(lib.emr_combination_get_plan, combination, plan)
            return [
                self._tensor(arena.struct("emr_combined_tensor"), combination, i)
                for i in range(plan.n_tensors)
            ]

    @staticmethod
    def _tensor(tensor: Any, combination: Any, i: int) -> CombinedTensor:
        check(lib.emr_combination_get_tensor(combination, i, tensor))
        return record(CombinedTensor, tensor, action=word("EMR_COMBINED_ACTION_", tensor.action))

    def open(self) -> Model:
        """The combined model, computed as it is read. Nothing can be set or added from then on."""
        with self._handle.use(alone=True) as combination:
            place = ffi.new("emr_model **")
            call(lib.emr_combination_open_model, combination, place)
        what = f"the model '{decode(lib.emr_model_name(place[0]))}'"
        return Model.of_handle(Handle(place[0], lib.emr_model_destroy, what, [self._handle]))


def _method(arena: Arena, method: str | Method) -> Any:
    if isinstance(method, Method):
        return arena.keep(Own(method)).pointer
    found = lib.emr_method_find(encode(method))
    if found == ffi.NULL:
        raise failed("EMR_ENOTFOUND", f"there is no method '{method}': libemr.methods() has them all")
    return found


def _is_folder(out: Target | None) -> bool:
    return (
        out is not None
        and is_path(out)
        and not os.fspath(out).endswith((".safetensors", ".index.json", ".gguf"))
    )


def combine(
    method: str | Method,
    base: ModelLike | None,
    tasks: Mapping[str, ModelLike],
    out: Target | None = None,
    *,
    parameters: Mapping[ParameterKey, float] | None = None,
    private: Sequence[str] = (),
    merge: Sequence[str] = (),
    absent: Sequence[str] = (),
    base_globs: Sequence[str] = (),
    on_mismatch: str | None = None,
    on_missing: str | None = None,
    heads: Sequence[str] = (),
    combine_heads: bool = False,
    dtype: DTypeLike | None = None,
    seed: int = 0,
    on_nonfinite: str = "error",
    dequantise: bool = False,
    side_files: bool | None = None,
    replace: bool = False,
    shard_bytes: Memory = None,
    threads: Threads = None,
    memory: Memory = None,
    progress: Progress = None,
    **told: float | Mapping[str, float],
) -> Model:
    """Combines models into one.

        libemr.combine("ties", "base/", {"math": "math/", "code": "code/"}, "merged/", density=0.2,
        weight={"math": 0.5})

    Args:
        method: a name out of `methods`, or an own `Method`.
        base: what the tasks were fine-tuned from: a path, Model, mapping of arrays; None for methods that
            need none.
        tasks: models by name, in this order.
        out: where it is written: a path or a file-like object. None: the model is computed as it is read.
        parameters: numbers by parameter: "density", ("weight", "math") for a task, ("weight", None,
            "layers.*") or ("weight", "math", "layers.*") for tensors that a glob matches whole. Where several
            fit, the last one holds.
        told: parameters as keywords: ``density=0.2``, ``weight={"math": 0.5}``. They are set before
            `parameters`.
        side_files: of folders, configuration and tokenizer come along; None: where `out` is a folder.
        others: as in `Combination`, `Model` and `Model.write`.
    """
    files = side_files if side_files is not None else _is_folder(out)
    options = {"dequantise": dequantise, "side_files": files} if dequantise or files else {}
    with Combination(
        method,
        private=private,
        merge=merge,
        absent=absent,
        base_globs=base_globs,
        on_mismatch=on_mismatch,
        on_missing=on_missing,
        heads=heads,
        combine_heads=combine_heads,
        dtype=dtype,
        seed=seed,
        on_nonfinite=on_nonfinite,
        threads=threads,
        memory=memory,
    ) as combination:
        if base is not None:
            combination.set_base(base, **options)
        for name, task in tasks.items():
            combination.add_task(name, task, **options)
        for key, value in told.items():
            if isinstance(value, Mapping):
                for task_name, number in value.items():
                    combination.set_parameter(key, number, task=task_name)
            else:
                combination.set_parameter(key, value)
        for place, number in (parameters or {}).items():
            key, of, glob = (place, None, None) if isinstance(place, str) else (*place, None, None)[:3]
            combination.set_parameter(key, number, task=of, glob=glob)
        model = combination.open()
    if out is not None:
        model.write(
            out,
            replace=replace,
            shard_bytes=shard_bytes,
            dtype=dtype,
            threads=threads,
            memory=memory,
            progress=progress,
        )
    return model

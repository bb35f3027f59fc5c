"""merge.py - merging: base and tasks in, a bundle out; in one call, step by step, or pushed piece by
piece."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, Union

from . import arrays, io
from ._native import (
    BASE,
    Arena,
    Handle,
    call,
    callback,
    choice,
    create,
    encode,
    ffi,
    filled,
    lib,
)
from .bundle import Bundle
from .dtypes import DType, DTypeLike
from .infos import Fidelity, PlanSummary, PlanTensor, record
from .model import Model, ModelLike, Tensor, as_model
from .policy import ModulationLike, modulation_of, policy_of
from .resources import Memory, Progress, Resources, Threads, memory_bytes

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Merge", "Plan", "Report", "Sink", "SinkPart", "TaskReport", "merge"]


@dataclass(frozen=True)
class TaskReport:
    """What became of a task: `density` is the part of its mask's bits that are 1."""

    name: str
    mask_ones: int
    zeroed: int
    rescaler: float
    other_rescaler: float
    empty_mask: bool
    density: float
    fidelity: Fidelity


@dataclass(frozen=True)
class Plan:
    """What a merge will do, as a whole and tensor by tensor."""

    summary: PlanSummary
    tensors: list[PlanTensor]


@dataclass(frozen=True)
class Report:
    """What a merge did; `bundle` is there if it was made in memory. Of a part of one (`Merge.set_part`) there are
    no `tasks`."""

    tasks: dict[str, TaskReport]
    tensors: list[PlanTensor]
    summary: PlanSummary
    bundle: Bundle | None


@dataclass(frozen=True)
class SinkPart:
    """A part of a merge's results: `n` parameters or rows from number `first` of a tensor (by number, as in
    the plan); `task` is its number, or None; `data` their bytes."""

    tensor: int
    task: int | None
    first: int
    n: int
    data: bytes


class Sink(Protocol):
    """Receives results as they are computed, instead of a bundle."""

    def unified(self, part: SinkPart) -> Any:
        """Unified values, in the merge's `unified_dtype`."""

    def mask(self, part: SinkPart) -> Any:
        """Mask bits, packed: bit i % 8 of byte i / 8."""

    def rescalers(self, part: SinkPart) -> Any:
        """Scales in F32."""


class _SinkUser:
    """A sink, and what says how many bytes an element of its parts has."""

    def __init__(self, sink: Any, unified_bytes: int, two_sided: set[int]) -> None:
        self.sink, self.unified_bytes, self.two_sided = sink, unified_bytes, two_sided

    def give(self, method: str, part: Any, n_bytes: int) -> None:
        task = None if part.task == BASE else part.task
        getattr(self.sink, method)(
            SinkPart(part.tensor, task, part.first, part.n, bytes(ffi.buffer(part.values, n_bytes)))
        )


@callback("emr_sink_unified")
def _unified(user: Any, part: Any, error: Any) -> int:
    sink = ffi.from_handle(user)
    sink.give("unified", part, part.n * sink.unified_bytes)
    return 0


@callback("emr_sink_mask")
def _mask(user: Any, part: Any, error: Any) -> int:
    ffi.from_handle(user).give("mask", part, (part.n + 7) // 8)
    return 0


@callback("emr_sink_rescalers")
def _rescalers(user: Any, part: Any, error: Any) -> int:
    sink = ffi.from_handle(user)
    sink.give("rescalers", part, part.n * (8 if part.task in sink.two_sided else 4))
    return 0


class MergeOptions(TypedDict, total=False):
    """The options of a merge; `libemr.merge` says what they are."""

    modulator: ModulationLike | None
    rescale: str | None
    rescale_per: str | None
    tie: str | None
    on_nonfinite: str | None
    unified_dtype: DTypeLike | None
    private: Sequence[str]
    merge: Sequence[str]
    absent: Sequence[str]
    base_globs: Sequence[str]
    on_mismatch: str | None
    on_missing: str | None
    embed_base: bool
    extendable: bool
    compression: int | None
    block_params: int
    measure: bool
    threads: Threads
    memory: Memory
    progress: Progress


Tasks = Union[Mapping[str, ModelLike], Iterable[tuple[str, ModelLike]]]


class Merge:
    """A merge, step by step:

        with libemr.Merge(rescale="l1") as merge:
            merge.set_base(base)
            merge.add_task("french", french)
            merge.set_output("all.emr")
            report = merge.run()             # or begin(), push() as often as it takes, finish()

    It is used by one thread at a time. The parameters are those of `libemr.merge`.
    """

    def __init__(self, **options: Unpack[MergeOptions]) -> None:
        self._make(**options)

    def _make(
        self,
        *,
        modulator: ModulationLike | None = None,
        rescale: str | None = None,
        rescale_per: str | None = None,
        tie: str | None = None,
        on_nonfinite: str | None = None,
        unified_dtype: DTypeLike | None = None,
        private: Sequence[str] = (),
        merge: Sequence[str] = (),
        absent: Sequence[str] = (),
        base_globs: Sequence[str] = (),
        on_mismatch: str | None = None,
        on_missing: str | None = None,
        embed_base: bool = False,
        extendable: bool = False,
        compression: int | None = 0,
        block_params: int = 0,
        measure: bool = False,
        threads: Threads = None,
        memory: Memory = None,
        progress: Progress = None,
    ) -> None:
        arena = Arena()
        self._modulator = modulator
        self._unified_dtype = DType.F32 if unified_dtype is None else DType.of(unified_dtype)
        policy = policy_of(
            arena,
            private=private,
            merge=merge,
            absent=absent,
            base_globs=base_globs,
            on_mismatch=on_mismatch,
            on_missing=on_missing,
        )
        resources = Resources(threads, memory, progress)
        options = arena.struct(
            "emr_merge_options",
            resources=resources.pointer,
            policy=policy,
            modulation=None if modulator is None else modulation_of(arena, modulator),
            rescale=choice("EMR_RESCALE_", rescale, "rescale"),
            rescale_per=choice("EMR_RESCALE_PER_", rescale_per, "rescale_per"),
            tie=choice("EMR_TIE_", tie, "tie"),
            on_nonfinite=choice("EMR_ON_NONFINITE_", on_nonfinite, "on_nonfinite"),
            unified_dtype=0 if unified_dtype is None else self._unified_dtype,
            embed_base=int(embed_base),
            extendable=int(extendable),
            compression=lib.EMR_COMPRESSION_NONE if compression is None else compression,
            block_params=block_params,
            measure=int(measure),
        )
        pointer = create("emr_merge", lib.emr_merge_create, options)
        self._handle = Handle(
            pointer, lib.emr_merge_destroy, "the merge", resources.parents(), (arena, resources)
        )
        resources.close()
        self._tasks: list[str] = []
        self._files: list[io.File] = []
        self._buffer: io.Buffer | None = None
        self._name = "bundle"
        self._two_sided: set[int] = set()  # numbers of tasks
        self._extended = 0
        self._is_part = False

    def set_base(self, base: ModelLike) -> None:
        """The base, of which the tasks are fine-tuned."""
        model = _opened(base, "base")
        with model.handle.use() as other, self._handle.use(alone=True) as merge:
            call(lib.emr_merge_set_base, merge, other)
            self._handle.adopt(model.handle)

    def add_task(self, name: str, model: ModelLike, modulator: ModulationLike | None = None) -> int:
        """A task. The order in which they are added is that of sums. Returns its number."""
        arena = Arena()
        spec = None if modulator is None else modulation_of(arena, modulator)
        made = _opened(model, name)
        number = self._extended + len(self._tasks)
        with made.handle.use() as other, self._handle.use(alone=True) as merge:
            call(lib.emr_merge_add_task, merge, encode(name), other)
            self._handle.adopt(made.handle)
            self._tasks.append(name)
            if spec is not None:
                call(lib.emr_merge_set_modulation, merge, number, spec)
        if _is_two_sided(self._modulator if modulator is None else modulator):
            self._two_sided.add(number)
        return number

    def extend(self, bundle: Bundle) -> None:
        """The tasks that are added join those of a bundle: before any is added."""
        with bundle.handle.use() as other, self._handle.use(alone=True) as merge:
            call(lib.emr_merge_extend, merge, other)
            self._handle.adopt(bundle.handle)
        self._extended = len(bundle)

    def set_output(
        self,
        out: io.Target | None,
        *,
        replace: bool = False,
        name: str = "bundle",
        journal: bool = False,
        interval: Memory = None,
    ) -> None:
        """Where the bundle goes: a path, where it appears when the merge is done; a file-like object; None:
        memory, where it is called `name`.

        With `journal`, a run to a path that failed, or whose process was killed, continues where it was, when
        it is run again with the same models and options: PATH.partial and PATH.journal.partial are kept until
        then. A record is made after every `interval` bytes of input (None: 1 GiB).
        """
        if journal and not io.is_path(out):
            raise ValueError("a journal goes with a path")
        self._name = name
        host = self._output(out, replace, journal)
        with self._handle.use(alone=True) as merge:
            call(lib.emr_merge_set_output, merge, host)
            if journal:
                record_file = io.File.resume(f"{os.fspath(out)}.journal", replace=True)  # type: ignore[arg-type]
                self._files.append(record_file)
                self._handle.adopt(record_file)
                call(lib.emr_merge_set_journal, merge, record_file.io, memory_bytes(interval))

    def _output(self, out: Any, replace: bool, journal: bool) -> Any:
        if out is None:
            self._buffer = io.Buffer()
            self._handle.adopt(self._buffer)
            return self._buffer.io
        if not io.is_path(out):
            return io.writing(self._handle.keep(Arena()), out)
        self._files = [(io.File.resume if journal else io.File.create)(out, replace)]
        self._handle.adopt(self._files[0])
        return self._files[0].io

    def set_part(self, part: int, n_parts: int) -> None:
        """The run does part `part`, from 0, of `n_parts`, and writes that: to a path or a file-like object.
        `libemr.join` makes the bundle of all of them, which may be made anywhere and in any order. Before the
        run; `plan` then tells what this part reads and writes."""
        with self._handle.use(alone=True) as merge:
            call(lib.emr_merge_set_part, merge, part, n_parts)
        self._is_part = True

    def check_part(self, part: io.Source, name: str | None = None) -> None:
        """Whether that, a path, a file-like object or bytes, is the part that was set, of this very merge, so
        that it can be kept instead of being made again: `libemr.Mismatch` or `libemr.FormatError` where not.
        That it is whole is for the join to find. It fixes base and tasks; values are not compared."""
        with io.input_of(part, name or "part") as (source, called), self._handle.use(alone=True) as merge:
            call(lib.emr_merge_check_part, merge, source, encode(called))

    def set_sink(self, sink: Sink) -> None:
        """An object that receives the results as they are computed, instead of a bundle: methods that it
        lacks are not called."""
        arena = self._handle.keep(Arena())
        user = _SinkUser(sink, self._unified_dtype.bits // 8, self._two_sided)
        made = arena.struct(
            "emr_sink",
            user=arena.user(user),
            unified=_unified if hasattr(sink, "unified") else None,
            mask=_mask if hasattr(sink, "mask") else None,
            rescalers=_rescalers if hasattr(sink, "rescalers") else None,
        )
        with self._handle.use(alone=True) as merge:
            call(lib.emr_merge_set_sink, merge, made)

    def plan(self) -> Plan:
        """What a run would do, without reading any tensor; base and tasks are fixed then."""
        with self._handle.use(alone=True) as merge:
            made = ffi.new("emr_plan_summary *")
            made.size = ffi.sizeof("emr_plan_summary")
            call(lib.emr_merge_get_plan, merge, made)
            summary = record(PlanSummary, made)
            return Plan(
                summary,
                [
                    record(PlanTensor, filled(lib.emr_merge_get_plan_tensor, "emr_plan_tensor", merge, i))
                    for i in range(summary.n_tensors)
                ],
            )

    def run(self) -> Report:
        """Reads every tensor from its model, and finishes."""
        if self._is_part and self._buffer:
            raise ValueError("a part of a merge goes to a path or a file-like object")
        with self._handle.use(alone=True) as merge:
            call(lib.emr_merge_run, merge)
        return self._finished()

    def begin(self) -> None:
        """Begins a merge whose bytes are pushed: those of tensors that are `Pushed`."""
        with self._handle.use(alone=True) as merge:
            call(lib.emr_merge_begin, merge)

    def push(self, source: int | str | None, data: Any) -> int:
        """Hands over the next bytes of the base (None) or a task. Returns how many were taken: fewer than
        there are means that this source is as far ahead of the others as memory allows."""
        memory = arrays.view(data, what="what is pushed")
        taken = ffi.new("size_t *")
        with self._handle.use(alone=True) as merge:
            call(lib.emr_merge_push, merge, self._number(source), memory.pointer, memory.nbytes, taken)
        return int(taken[0])

    def expected(self, source: int | str | None) -> tuple[Tensor | None, int]:
        """What `push` wants next from a source: the tensor, or None where it is done; and how many bytes it
        would take now."""
        tensor, n = ffi.new("emr_tensor **"), ffi.new("uint64_t *")
        with self._handle.use(alone=True) as merge:
            call(lib.emr_merge_get_expected, merge, self._number(source), tensor, n)
        return (Tensor(self._handle, tensor[0]) if tensor[0] else None), int(n[0])

    def finish(self) -> Report:
        """Ends a merge whose bytes were pushed."""
        with self._handle.use(alone=True) as merge:
            call(lib.emr_merge_finish, merge)
        return self._finished()

    def _number(self, source: int | str | None) -> int:
        if source is None:
            return BASE
        if isinstance(source, int):
            return source
        if source not in self._tasks:
            raise KeyError(source)
        return self._extended + self._tasks.index(source)

    def _finished(self) -> Report:
        plan = self.plan()
        bundle = None
        if self._buffer:
            bundle = Bundle.of_buffer(self._buffer, self._name)
        for file in self._files[:1]:
            file.commit()
        for journal in self._files[1:]:
            journal.discard()
        tasks = {} if self._is_part else self._task_reports(plan.summary)
        return Report(tasks, plan.tensors, plan.summary, bundle)

    def _task_reports(self, summary: PlanSummary) -> dict[str, TaskReport]:
        reports = {}
        with self._handle.use(alone=True) as merge:
            for i in range(self._extended + len(self._tasks)):
                fidelity = record(Fidelity, filled(lib.emr_merge_get_fidelity, "emr_fidelity", merge, i))
                told = filled(lib.emr_merge_get_task_report, "emr_task_report", merge, i)
                density = told.mask_ones / summary.merged_params if summary.merged_params else 0.0
                report = record(TaskReport, told, density=density, fidelity=fidelity)
                reports[report.name] = report
        return reports

    def close(self) -> None:
        """Ends it. A bundle that was not finished vanishes, unless it has a journal."""
        self._handle.close()
        for file in self._files:
            file.close()

    def __enter__(self) -> Merge:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _is_two_sided(modulator: ModulationLike | None) -> bool:
    kind = modulator if modulator is None or isinstance(modulator, str) else modulator.kind
    return kind is not None and kind.replace("-", "_") == "two_sided"


def _opened(value: ModelLike, name: str, dequantise: bool = False, side_files: bool | None = None) -> Model:
    """A model; of a folder, its files come along unless told otherwise."""
    if not io.is_path(value):
        return as_model(value, name)
    return Model(
        value, dequantise=dequantise, side_files=os.path.isdir(value) if side_files is None else side_files
    )


def set_models(
    job: Merge,
    base: ModelLike,
    tasks: Tasks,
    modulators: Mapping[str, ModulationLike],
    dequantise: bool,
    side_files: bool | None,
) -> None:
    """Base and tasks, with the modulators that they are to have."""
    pairs = list(tasks.items() if isinstance(tasks, Mapping) else tasks)
    unknown = modulators.keys() - {task for task, _ in pairs}
    if unknown:
        raise ValueError(f"modulators has {sorted(unknown)[0]!r}, which is no task")
    job.set_base(_opened(base, "base", dequantise, side_files))
    for task, model in pairs:
        job.add_task(task, _opened(model, task, dequantise, side_files), modulators.get(task))


def merge(
    base: ModelLike,
    tasks: Tasks,
    out: io.Target | None = None,
    *,
    modulators: Mapping[str, ModulationLike] = {},
    extend: Bundle | None = None,
    replace: bool = False,
    name: str = "bundle",
    journal: bool = False,
    dequantise: bool = False,
    side_files: bool | None = None,
    **options: Unpack[MergeOptions],
) -> Report:
    """Merges tasks into a bundle, and says what became of each.

    Args:
        base: the model of which the tasks are fine-tuned: a path, a `Model`, or arrays by name.
        tasks: names and models, in the order of sums; models as `base`.
        out: a path, where the bundle appears when all went well; a file-like object; None: ``report.bundle``,
            in memory.
        modulators: by task, how it is coded, instead of `modulator`.
        extend: a bundle that the tasks join.
        replace: a file that exists is replaced; FileExistsError otherwise.
        name: what messages call a bundle in memory.
        journal: a run that failed continues where it was when it is run again; see `Merge.set_output`.
        dequantise: quantised tensors of paths are merged as floats.
        side_files: of paths, configuration and tokenizer come along; None: those of folders.
    Further options:
        modulator: how tasks are coded: "mask" (the default), "two_sided", "sign", "thin", "levels", or a
            `Modulation`.
        rescale: "l1", "l1_means", "l2", "norm", "unbiased"; rescale_per: "model", "tensor", "row"; tie:
            "zero", "negative".
        private, merge, absent, base_globs: lists of globs of tensors: each task keeps its own; merged
        whatever their role;
            tasks that lack them go without, or have the base's.
        on_mismatch: "error", "private", "rows", "pad"; on_missing: "error", "base", "absent"; on_nonfinite:
            "error", "zero".
        unified_dtype: of the unified vector; embed_base: the bundle holds the base too; extendable: masks can
            be added later;
            compression: a level of zstd, None: none; block_params; measure: `fidelity` of masks, too.
        threads: how many, or a `Pool`; None: all processors. memory: cap on working memory, "256MiB".
            progress: a function of (done, total) in bytes, or a bar such as tqdm's. None of them changes the
                result.
    """
    with Merge(**options) as job:
        if extend is not None:
            job.extend(extend)
        set_models(job, base, tasks, modulators, dequantise, side_files)
        job.set_output(out, replace=replace, name=name, journal=journal)
        return job.run()

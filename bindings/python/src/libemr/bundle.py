"""bundle.py - bundles: what a merge wrote, opened, asked, verified, cut, and each task's weights out of
it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import apply, errors, io, modulator
from ._native import (
    BASE,
    Arena,
    Handle,
    call,
    callback,
    check,
    choice,
    create,
    decode,
    encode,
    ffi,
    filled,
    lib,
    path_bytes,
)
from .dtypes import DType, DTypeLike
from .infos import (
    BaseDifference,
    BundleInfo,
    DropReport,
    Fidelity,
    Modulation,
    PrivateInfo,
    TaskInfo,
    TensorInfo,
    record,
)
from .model import Model, ModelLike, as_model
from .resources import Memory, Progress, Resources, Threads

__all__ = ["Bundle", "Task"]


@callback("emr_base_check_options_differs")
def _differs(user: Any, difference: Any) -> None:
    ffi.from_handle(user).append(record(BaseDifference, difference))


def _metadata(bundle: Any, task: int) -> dict[str, str]:
    key, value = ffi.new("char **"), ffi.new("char **")
    found = {}
    for i in range(lib.emr_bundle_n_metadata(bundle, task)):
        check(lib.emr_bundle_get_metadata(bundle, task, i, key, value))
        found[decode(key[0])] = decode(value[0])
    return found


@dataclass(frozen=True)
class Subset:
    """What dropping and extracting give: the bundle, if it was made in memory, and the report, if it was
    asked for."""

    bundle: Bundle | None
    report: DropReport | None


class Bundle(Mapping[str, "Task"]):
    """A bundle: a mapping from names to tasks.

        with libemr.Bundle("all.emr") as bundle:
            bundle["french"].write("french.safetensors", base="base.safetensors")

    Args:
        source: a path, a file-like object that can seek, or bytes-like, which are borrowed.
        name: what messages call it.
        map: of a path: the file is mapped, not read; it must not shrink meanwhile.
    """

    def __init__(self, source: io.Source, *, name: str | None = None, map: bool = False) -> None:
        arena = Arena()
        options = arena.struct("emr_bundle_options", map=int(map))
        if io.is_path(source):
            self._take(create("emr_bundle", lib.emr_bundle_open_file, path_bytes(source), options))
            return
        host, parents = io.opened(source, arena)
        called = arena.text(name or io.name_of(source, "bundle"))
        self._take(create("emr_bundle", lib.emr_bundle_open, host, called, options), parents, arena)
        for parent in parents:
            parent.close()

    def _take(self, pointer: Any, parents: Sequence[Handle] = (), keep: Any = None) -> None:
        what = f"the bundle '{decode(lib.emr_bundle_name(pointer))}'"
        self._handle = Handle(pointer, lib.emr_bundle_destroy, what, parents, keep)
        self._buffer: io.Buffer | None = None

    @classmethod
    def of_buffer(cls, buffer: io.Buffer, name: str = "bundle") -> Bundle:
        """For this package: of a buffer of C's, which it takes over."""
        bundle = cls.__new__(cls)
        bundle._take(create("emr_bundle", lib.emr_bundle_open, buffer.io, encode(name), ffi.NULL), [buffer])
        bundle._buffer = buffer
        buffer.close()
        return bundle

    @property
    def handle(self) -> Handle:
        """For this package: what keeps C's handle."""
        return self._handle

    # ---------------------------------------------------------------------------------------------- a mapping

    @property
    def name(self) -> str:
        """What messages call it."""
        with self._handle.use() as bundle:
            return decode(lib.emr_bundle_name(bundle))

    @property
    def info(self) -> BundleInfo:
        """The bundle as a whole."""
        with self._handle.use() as bundle:
            return record(BundleInfo, filled(lib.emr_bundle_get_info, "emr_bundle_info", bundle))

    @property
    def tensors(self) -> list[TensorInfo]:
        """The base's tensors: first the merged ones, then those that are kept from it."""
        with self._handle.use() as bundle:
            return [
                record(TensorInfo, filled(lib.emr_bundle_get_tensor, "emr_tensor_info", bundle, i))
                for i in range(self.info.n_tensors)
            ]

    @property
    def metadata(self) -> dict[str, str]:
        """The base's metadata."""
        with self._handle.use() as bundle:
            return _metadata(bundle, BASE)

    def tensor(self, name: str) -> TensorInfo:
        """The base's tensor of that name."""
        place = ffi.new("uint32_t *")
        with self._handle.use() as bundle:
            call(lib.emr_bundle_find_tensor, bundle, encode(name), place)
            return record(TensorInfo, filled(lib.emr_bundle_get_tensor, "emr_tensor_info", bundle, place[0]))

    def find(self, name: str) -> int:
        """The number of a task."""
        place = ffi.new("uint32_t *")
        with self._handle.use() as bundle:
            call(lib.emr_bundle_find_task, bundle, encode(name), place)
            return int(place[0])

    def __getitem__(self, name: str) -> Task:
        return Task(self, self.find(name), name)

    def __len__(self) -> int:
        return self.info.n_tasks

    def __iter__(self) -> Iterator[str]:
        with self._handle.use() as bundle:
            names = [
                decode(filled(lib.emr_bundle_get_task, "emr_task_info", bundle, i).name)
                for i in range(len(self))
            ]
        return iter(names)

    def __repr__(self) -> str:
        return "<Bundle, closed>" if self._handle.closed else f"<Bundle {self.name!r}: {', '.join(self)}>"

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    def close(self) -> None:
        """Closes it. Models and sessions that were made of it stay usable, and keep what they need."""
        self._handle.close()

    def __enter__(self) -> Bundle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---------------------------------------------------------------------------------- the bundle as a whole

    def verify(self, *, threads: Threads = None, memory: Memory = None, progress: Progress = None) -> None:
        """Reads all of it and checks every checksum; raises what is wrong."""
        with Resources(threads, memory, progress) as resources, self._handle.use() as bundle:
            call(lib.emr_bundle_verify, bundle, resources)

    def check_base(
        self, base: ModelLike, *, threads: Threads = None, memory: Memory = None, progress: Progress = None
    ) -> None:
        """Raises `Mismatch`, naming the first tensor, unless `base` is the model that the bundle was made
        with."""
        arena = Arena()
        with Resources(threads, memory, progress) as resources:
            self._check_base(base, arena.struct("emr_base_check_options", resources=resources))

    def base_differences(
        self, base: ModelLike, *, threads: Threads = None, memory: Memory = None, progress: Progress = None
    ) -> list[BaseDifference]:
        """Every tensor of `base` that is not as the bundle's base had it, and why."""
        arena = Arena()
        found: list[BaseDifference] = []
        with Resources(threads, memory, progress) as resources:
            options = arena.struct(
                "emr_base_check_options", resources=resources, differs=_differs, user=arena.user(found)
            )
            try:
                self._check_base(base, options)
            except errors.Mismatch:
                if not found:
                    raise
        return found

    def _check_base(self, base: ModelLike, options: Any) -> None:
        with as_model(base, "base", **self._reading()).handle.use() as model, self._handle.use() as bundle:
            call(lib.emr_bundle_check_base, bundle, model, options)

    def _reading(self) -> dict[str, bool]:
        """How a base is opened, so that it has what the bundle has of it."""
        return {
            "side_files": any(tensor.name.startswith(decode(lib.EMR_FILE_PREFIX)) for tensor in self.tensors)
        }

    def drop(
        self,
        tasks: Iterable[str],
        out: io.Target | None = None,
        *,
        replace: bool = False,
        name: str = "bundle",
        report: bool = False,
        threads: Threads = None,
        memory: Memory = None,
        progress: Progress = None,
    ) -> Subset:
        """Writes a bundle without these tasks; the others' weights stay the same to the last bit.

        Args:
            out: a path, a file-like object; None: a bundle in memory, called `name`.
            report: also say what a merge without them would do otherwise, for which every mask is read once
                more.
        """
        return self._select(
            lib.emr_bundle_drop, tasks, out, replace, name, report, Resources(threads, memory, progress)
        )

    def extract(
        self,
        tasks: Iterable[str],
        out: io.Target | None = None,
        *,
        replace: bool = False,
        name: str = "bundle",
        report: bool = False,
        threads: Threads = None,
        memory: Memory = None,
        progress: Progress = None,
    ) -> Subset:
        """Writes a bundle with these tasks alone; as `drop`."""
        return self._select(
            lib.emr_bundle_extract, tasks, out, replace, name, report, Resources(threads, memory, progress)
        )

    def _select(
        self,
        function: Any,
        tasks: Iterable[str],
        out: io.Target | None,
        replace: bool,
        name: str,
        report: bool,
        using: Resources,
    ) -> Subset:
        if isinstance(tasks, str):
            raise TypeError(f"a list of tasks is needed, not the text {tasks!r}")
        arena = Arena()
        numbers = [self.find(task) for task in tasks]
        told = arena.struct("emr_drop_report") if report else ffi.NULL
        buffer = io.Buffer() if out is None else None
        with using as resources, self._handle.use() as bundle:
            selection = arena.struct(
                "emr_task_selection",
                resources=resources,
                tasks=arena.array("uint32_t", numbers),
                n_tasks=len(numbers),
            )
            if buffer:
                call(function, bundle, selection, buffer.io, told)
            else:
                with io.output(out, replace) as host:
                    call(function, bundle, selection, host, told)
        return Subset(
            Bundle.of_buffer(buffer, name) if buffer else None, record(DropReport, told) if report else None
        )

    def save(self, out: io.Target, *, replace: bool = False) -> None:
        """Writes a bundle that was made in memory."""
        if self._buffer is None:
            raise TypeError("the bundle is not in memory: its bytes are where it was opened from")
        with self._handle.use(), io.output(out, replace) as host:
            self._buffer.write_to(host)

    # ---------------------------------------------------------------------------------- parts of it as models

    def base(self) -> Model:
        """The embedded base, as a model; `NotFound` where there is none."""
        return self._view(lib.emr_bundle_open_base)

    def unified(self) -> Model:
        """The unified task vector (F32), as a model."""
        return self._view(lib.emr_bundle_open_unified)

    def _view(self, function: Any, *arguments: Any) -> Model:
        with self._handle.use() as bundle:
            return self.as_parent(create("emr_model", function, bundle, *arguments, ffi.NULL))

    def as_parent(self, pointer: Any, *others: Handle) -> Model:
        """For this package: a model that needs the bundle."""
        what = f"the model '{decode(lib.emr_model_name(pointer))}'"
        return Model.of_handle(Handle(pointer, lib.emr_model_destroy, what, [self._handle, *others]))


class Task:
    """A task of a bundle."""

    def __init__(self, bundle: Bundle, number: int, name: str) -> None:
        self.bundle, self.number, self.name = bundle, number, name

    def __repr__(self) -> str:
        return f"<Task {self.name!r} of {self.bundle!r}>"

    @property
    def info(self) -> TaskInfo:
        with self.bundle.handle.use() as bundle:
            return record(TaskInfo, filled(lib.emr_bundle_get_task, "emr_task_info", bundle, self.number))

    @property
    def density(self) -> float:
        """The part of its mask's bits that are 1."""
        params = self.bundle.info.merged_params
        return self.info.mask_ones / params if params else 0.0

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata of its checkpoint."""
        with self.bundle.handle.use() as bundle:
            return _metadata(bundle, self.number)

    def find_metadata(self, key: str) -> str | None:
        """The value of one key."""
        with self.bundle.handle.use() as bundle:
            value = lib.emr_bundle_find_metadata(bundle, self.number, encode(key))
            return decode(value) if value else None

    @property
    def modulation(self) -> Modulation:
        """What its modulator is, no member a default."""
        return record(Modulation, self._modulation()[0])

    @property
    def fidelity(self) -> Fidelity:
        """How near its weights come to its checkpoint's, as far as the bundle knows."""
        return record(Fidelity, self._modulation()[1])

    def _modulation(self) -> tuple[Any, Any]:
        arena = Arena()
        spec, fidelity = arena.struct("emr_modulation_spec"), arena.struct("emr_fidelity")
        with self.bundle.handle.use() as bundle:
            check(lib.emr_bundle_get_modulation(bundle, self.number, spec, fidelity))
        return spec, fidelity

    @property
    def private(self) -> list[PrivateInfo]:
        """The tensors of which it keeps its own copy."""
        with self.bundle.handle.use() as bundle:
            return [
                record(
                    PrivateInfo,
                    filled(lib.emr_bundle_get_private, "emr_private_info", bundle, self.number, i),
                )
                for i in range(self.info.n_private)
            ]

    def modulator(self) -> modulator.Modulator:
        """Its modulator, for one thread: what turns the base's values into its own."""
        with self.bundle.handle.use() as bundle:
            pointer = create("emr_modulator", lib.emr_bundle_open_modulator, bundle, self.number, ffi.NULL)
            return modulator.Modulator.of_handle(
                Handle(
                    pointer,
                    lib.emr_modulator_destroy,
                    f"the modulator of {self.name!r}",
                    [self.bundle.handle],
                )
            )

    def mask(self) -> Model:
        """Its mask (BOOL), as a model."""
        return self.bundle._view(lib.emr_bundle_open_mask, self.number)

    def open(
        self,
        base: ModelLike | None = None,
        *,
        dtype: DTypeLike | None = None,
        f32_vectors: bool = False,
        check: str = "first",
        threads: Threads = None,
        memory: Memory = None,
        progress: Progress = None,
    ) -> Model:
        """Its model, computed as it is read.

        Args:
            base: a path, a model, or arrays by name; None: the base that is embedded in the bundle.
            dtype: of float tensors; None: as the task's checkpoint had each.
            f32_vectors: with a dtype of 16 bits, tensors of rank 0 and 1 are F32.
            check: whether the base is the bundle's: "first": all of it is read for that now; "write": while
                the model is written, which is all that can be done with it; "none": it is.
        """
        arena = Arena()
        parent = None if base is None else as_model(base, "base", **self.bundle._reading()).handle
        with Resources(threads, memory, progress) as resources, self.bundle.handle.use() as bundle:
            options = arena.struct(
                "emr_view_options",
                resources=resources,
                dtype=0 if dtype is None else DType.of(dtype),
                check=choice("EMR_BASE_CHECK_", check, "check"),
                f32_vectors=int(f32_vectors),
            )
            if parent is None:
                return self.bundle.as_parent(
                    create("emr_model", lib.emr_bundle_open_task, bundle, self.number, ffi.NULL, options)
                )
            with parent.use() as model:
                pointer = create("emr_model", lib.emr_bundle_open_task, bundle, self.number, model, options)
                return self.bundle.as_parent(pointer, parent)

    def write(
        self,
        target: io.Target,
        base: ModelLike | None = None,
        *,
        dtype: DTypeLike | None = None,
        f32_vectors: bool = False,
        check: str = "write",
        format: str | None = None,
        replace: bool = False,
        shard_bytes: Memory = None,
        threads: Threads = None,
        memory: Memory = None,
        progress: Progress = None,
    ) -> list[str]:
        """Writes its model: to a file, a folder or a file-like object, as `Model.write`; `open` has the other
        parameters.

        Unless told otherwise it compares the base with the bundle's on the way: another base's weights raise
        `Mismatch`, and no file appears.
        """
        with self.open(
            base, dtype=dtype, f32_vectors=f32_vectors, check=check, threads=threads, memory=memory
        ) as model:
            return model.write(
                target,
                format=format,
                replace=replace,
                shard_bytes=shard_bytes,
                dtype=dtype,
                threads=threads,
                memory=memory,
                progress=progress,
            )

    def apply(
        self,
        base: ModelLike | None = None,
        out: Mapping[str, Any] | None = None,
        *,
        dtype: DTypeLike | None = None,
        check: bool = True,
        threads: Threads = None,
        progress: Progress = None,
    ) -> Mapping[str, Any]:
        """Computes its weights into arrays, and returns them by name.

        Args:
            base: a path, a model, or arrays by name; None: the base that is embedded in the bundle.
            out: arrays by name, which are written in place: of the tensors' shapes; floats in any float
                dtype. None: new numpy arrays of its tensors, without the files of a folder.
            dtype: of new arrays of floats; None: as the task's checkpoint had each.
            check: whether to read all of the base first, to see that it is the bundle's.

        Nothing is written unless all arrays are right. They must not be the base's memory.
        """
        model = None if base is None else as_model(base, "base", **self.bundle._reading())
        return apply.apply(self, model, out, dtype, check, threads, progress)

"""session.py - a bundle inside a running program: acts as any of its tasks. One call writes a task's weights
into the caller's arrays; another multiplies by them without writing them anywhere, for a batch whose rows
belong to different tasks."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional, Union

from ._native import BASE, Arena, Handle, call, callback, choice, create, failed, ffi, filled, lib, word
from .arrays import empty, view
from .blocks import block_bytes
from .bundle import Bundle
from .dtypes import DType, DTypeLike
from .infos import record
from .model import ModelLike, as_model
from .resources import Memory, Progress, Resources, Threads

__all__ = ["Destination", "Part", "Prepared", "Session", "SessionInfo", "TaskNumbers"]


@dataclass(frozen=True)
class Part:
    """Weights on their way to a `Destination.write`: `count` of them from number `first` of the tensor on.

    `data` are their bytes, which may be written over, and must not be kept: they are those of the next part
    soon.
    """

    data: memoryview
    first: int
    count: int
    dtype: DType
    blocks: str | None


@dataclass
class Destination:
    """Where weights of a tensor go, if it is not simply an array of all of them.

    Attributes:
        out: an array; or None, with `write`.
        write: a function that is given the weights part by part, in order: for a device, or to convert them.
        staging: weights in a part, at most. A million keep all processors busy.
        buffer: with `write`, an array that parts lie in, such as pinned memory, of as many bytes at least;
            None: memory of its own.
        first: the weight with which it begins.
        count: how many there are; None: what fits into `out`, or all.
        dtype: of the weights; None: that of `out`, or of the tensor.
        blocks: they are rounded into blocks of that type; `out` is U8 then.
        without_base: the change alone.
    """

    out: Any = None
    write: Callable[[Part], None] | None = None
    staging: int = 1 << 20
    buffer: Any = None
    first: int = 0
    count: int | None = None
    dtype: DTypeLike | None = None
    blocks: str | None = None
    without_base: bool = False


BLOCK_VALUES = int(lib.EMR_BLOCK_VALUES)
Destinations = Mapping[str, Union[Destination, Any]]


@callback("emr_weights_fn")
def write_part(part: Any, error: Any) -> int:
    destination: Destination = ffi.from_handle(part.user)
    blocks = word("EMR_BLOCK_TYPE_", part.blocks).upper() if part.blocks else None
    n_bytes = n_bytes_of(part.count, DType(part.dtype), blocks)
    data = memoryview(ffi.buffer(ffi.cast("char *", part.data), n_bytes))
    assert destination.write is not None
    destination.write(Part(data, part.first, part.count, DType(part.dtype), blocks))
    return 0


def n_bytes_of(count: int, dtype: DType, blocks: str | None) -> int:
    return count // BLOCK_VALUES * block_bytes(blocks) if blocks else count * dtype.bits // 8


class Prepared:
    """Destinations that are looked at once, for any number of calls: ``session.apply(task,
    session.prepare(out))``. It keeps the arrays, whose memory must stay where it is."""

    def __init__(self, destinations: Destinations, n_elements: Callable[[str], int | None]) -> None:
        self._arena = Arena()
        members = [
            self._weights(name, at if isinstance(at, Destination) else Destination(at), n_elements)
            for name, at in destinations.items()
        ]
        self.count = len(members)
        self.weights = self._arena.structs("emr_weights", members)

    def _weights(self, name: str, at: Destination, n_elements: Callable[[str], int | None]) -> dict[str, Any]:
        if (at.out is None) == (at.write is None):
            raise ValueError(
                f"tensor '{name}': its destination is either an array `out` or a function `write`"
            )
        blocks = choice("EMR_BLOCK_TYPE_", at.blocks, "blocks")
        dtype = None if at.dtype is None else DType.of(at.dtype)
        weights = {
            "name": self._arena.text(name),
            "first": at.first,
            "blocks": blocks,
            "dtype": dtype,
            "without_base": int(at.without_base),
        }
        if at.write is not None:
            room = n_bytes_of(at.staging, dtype or DType.F64, at.blocks)
            weights.update(
                data=self._buffer(name, at.buffer, room),
                staging=at.staging,
                count=at.count or 0,
                write=write_part,
                user=self._arena.user(at),
            )
            return weights
        target = self._arena.keep(view(at.out, writable=True, what=f"the array for tensor '{name}'"))
        if at.blocks:
            room = target.nbytes // block_bytes(at.blocks) * BLOCK_VALUES
        else:
            weights["dtype"] = dtype = dtype or target.dtype
            room = target.nbytes * 8 // dtype.bits
        all = n_elements(name)
        count = at.count if at.count is not None else room if at.first or all is None else all
        if count > room or (at.count is None and count != room):
            raise ValueError(f"tensor '{name}': its array has room for {room} elements, of {count}")
        weights.update(data=target.pointer, count=count)
        return weights

    def _buffer(self, name: str, buffer: Any, n_bytes: int) -> Any:
        if buffer is None:
            return self._arena.new("char[]", n_bytes)
        memory = self._arena.keep(view(buffer, writable=True, what=f"the buffer for tensor '{name}'"))
        if memory.nbytes < n_bytes:
            raise ValueError(f"tensor '{name}': its buffer has {memory.nbytes} bytes, parts up to {n_bytes}")
        return memory.pointer


class TaskNumbers:
    """The tasks of a batch, looked up once for many calls: what `Session.tasks` makes."""

    def __init__(self, known: Mapping[str | None, int], numbers: Sequence[int], each: int) -> None:
        self.known = known
        self.array = ffi.new("uint32_t[]", [number for number in numbers for _ in range(each)] or [0])
        self._count = len(numbers) * each

    def __len__(self) -> int:
        return self._count


Tasks = Union[Sequence[Optional[str]], TaskNumbers]


@dataclass(frozen=True)
class SessionInfo:
    """What a session takes of memory, and how often blocks of codes were in memory when they were needed."""

    memory_bytes: int
    base_bytes: int
    unified_bytes: int
    mask_bytes: int
    masks_found: int
    masks_read: int
    thread_bytes: int


class Session:
    """A bundle ready to act as any task.

        with libemr.Session(bundle, "base/") as session:
            session.apply("french", {"layer.0.weight": array})
            y = session.multiply("layer.0.weight", ["french", "german", None], x)

    A task is named; None is the base. Names and shapes of tensors are the bundle's. A session is used by one
    thread at a time, and shares its work out; `thread` opens one more, for another thread.

    Args:
        base: a path, Model or mapping; None: the embedded one. Of arrays nothing is copied: they must not
            change.
        without_base: the session has no base: only what is `without_base` can be asked for.
        mask_bytes: most bytes of decoded codes; 0: room for those of all tasks.
        check: whether the base is compared with the bundle's.
        threads, memory, progress: as in `merge`; memory is all that the session and its threads may take.
    """

    def __init__(
        self,
        bundle: Bundle,
        base: ModelLike | None = None,
        *,
        without_base: bool = False,
        mask_bytes: int = 0,
        check: bool = True,
        threads: Threads = None,
        memory: Memory = None,
        progress: Progress = None,
    ) -> None:
        if without_base and base is not None:
            raise ValueError("a session that is without_base has no base")
        arena, resources = Arena(), Resources(threads, memory, progress)
        options = arena.struct(
            "emr_session_options",
            resources=resources.pointer,
            wait=lib.yield_processor,
            mask_bytes=mask_bytes,
            check=lib.EMR_BASE_CHECK_FIRST if check else lib.EMR_BASE_CHECK_NONE,
            without_base=int(without_base),
        )
        model = None if base is None else as_model(base, "base", **bundle._reading())
        parents = [bundle.handle, *([model.handle] if model else []), *resources.parents()]
        with (
            bundle.handle.use() as of,
            contextlib.nullcontext(ffi.NULL) if model is None else model.handle.use() as to,
        ):
            pointer = create("emr_session", lib.emr_session_create, of, to, options)
        self._handle = Handle(pointer, lib.emr_session_destroy, "the session", parents, (arena, resources))
        resources.close()
        self._about(bundle)

    def _about(self, bundle: Bundle) -> None:
        """What calls look up, here since the bundle may be closed before the session."""
        self.bundle = bundle
        self._tensors = {tensor.name: tensor for tensor in bundle.tensors}
        self._private = {
            name: {own.name: math.prod(own.shape) for own in task.private} for name, task in bundle.items()
        }
        self._numbers: dict[str | None, int] = {None: BASE, **{name: i for i, name in enumerate(bundle)}}

    def thread(self) -> Session:
        """One more session over the same memory, for one more thread. What it is asked for it does on the
        calling thread."""
        other = Session.__new__(Session)
        with self._handle.use() as pointer:
            other._handle = Handle(
                create("emr_session", lib.emr_session_open_thread, pointer),
                lib.emr_session_destroy,
                "the session",
                [self._handle],
            )
        other.bundle, other._tensors, other._private, other._numbers = (
            self.bundle,
            self._tensors,
            self._private,
            self._numbers,
        )
        return other

    def close(self) -> None:
        self._handle.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def info(self) -> SessionInfo:
        with self._handle.use() as pointer:
            info = filled(lib.emr_session_get_info, "emr_session_info", pointer)
        return record(SessionInfo, info)

    def prepare(self, out: Destinations, *, task: str | None = None) -> Prepared:
        """Looks at arrays once for many calls of `apply`. How long private tensors are is looked up in
        `task`."""
        private = self._private.get(task, {}) if task is not None else {}

        def n_elements(name: str) -> int | None:
            tensor = self._tensors.get(name)
            return private.get(name, tensor.count if tensor else None)

        return Prepared(out, n_elements)

    def _number(self, task: str | None) -> int:
        """Of a task; None is the base."""
        if task not in self._numbers:
            raise failed("EMR_ENOTFOUND", f"there is no task '{task}'", task=task)
        return self._numbers[task]

    def tasks(self, tasks: Sequence[str | None], each: int = 1) -> TaskNumbers:
        """Tasks for `multiply` and `gather`, each so many times side by side."""
        if isinstance(tasks, str):
            raise TypeError(f"a list of tasks is needed, not the text {tasks!r}")
        return TaskNumbers(self._numbers, [self._number(task) for task in tasks], each)

    def _task_numbers(self, tasks: Tasks) -> TaskNumbers:
        numbers = tasks if isinstance(tasks, TaskNumbers) else self.tasks(tasks)
        if numbers.known is not self._numbers and numbers.known != self._numbers:
            raise ValueError("these are numbers of another bundle's tasks")
        return numbers

    def _n_columns(self, tensor: str) -> tuple[int, int]:
        """A tensor's elements, and how many a row of it has."""
        info = self._tensors.get(tensor)
        if info is None:
            raise failed("EMR_ENOTFOUND", f"there is no tensor '{tensor}' that tasks share", tensor=tensor)
        rows = info.shape[0] if len(info.shape) > 1 else 1
        return info.count, info.count // rows if rows else 0

    def apply(self, task: str | None, out: Destinations | Prepared) -> None:
        """Writes a task's weights, or the base's, into arrays: of float tensors in whatever float type these
        are of.

        Args:
            out: arrays by the tensors' names, a `Destination` where one is not an array of all of a tensor,
                or what `prepare` made of those.
        """
        prepared = out if isinstance(out, Prepared) else self.prepare(out, task=task)
        number = self._number(task)
        with self._handle.use(alone=True) as pointer:
            call(lib.emr_session_apply, pointer, number, prepared.weights, prepared.count)

    def multiply(
        self,
        tensor: str,
        tasks: Tasks,
        x: Any,
        *,
        out: Any = None,
        first_row: int = 0,
        n_rows: int | None = None,
        n_columns: int | None = None,
        without_base: bool = False,
        add: bool = False,
    ) -> Any:
        """Multiplies rows of a merged tensor by a batch of vectors: vector b by the weights of ``tasks[b]``.

        Args:
            x: F32 [batch, columns].
            out: F32 [batch, rows]; None: a new numpy array. With `add`, the product is added to what it has.
            first_row, n_rows: which rows; None: all from the first on.
            n_columns: of a row, if the product cuts the tensor's rows into shorter ones.
            without_base: the change alone.
        """
        numbers = self._task_numbers(tasks)
        count, own = self._n_columns(tensor)
        given = view(x, dtype=DType.F32, what="x")
        columns = own if n_columns is None else n_columns
        rows = count // (columns or 1) - first_row if n_rows is None else n_rows
        if given.shape != (len(tasks), columns):
            raise ValueError(f"tensor '{tensor}': x has the shape {given.shape}, not {(len(tasks), columns)}")
        if out is None:
            if add:
                raise ValueError("`add` needs `out`: what the product is added to")
            out = empty(DType.F32, (len(tasks), rows))
        target = view(out, writable=True, dtype=DType.F32, what="out")
        if target.shape != (len(tasks), rows):
            raise ValueError(f"tensor '{tensor}': out has the shape {target.shape}, not {(len(tasks), rows)}")
        if target.overlaps(given):
            raise ValueError(f"tensor '{tensor}': out lies over x")
        arena = Arena()
        product = arena.struct(
            "emr_product",
            name=arena.text(tensor),
            x=given.pointer,
            y=target.pointer,
            batch=len(tasks),
            first_row=first_row,
            n_rows=rows,
            n_columns=columns,
            without_base=int(without_base),
            add=int(add),
        )
        with self._handle.use(alone=True) as pointer:
            call(lib.emr_session_multiply, pointer, numbers.array, product)
        return out

    @staticmethod
    def _rows(arena: Arena, rows: Any) -> tuple[Any, int]:
        """Numbers of rows, and how many: an array of 64-bit integers as it is, or a sequence."""
        if isinstance(rows, (list, tuple, range)):
            return arena.array("uint64_t", rows), len(rows)
        found = arena.keep(view(rows, what="rows"))
        if found.dtype not in (DType.I64, DType.U64):
            raise TypeError(f"rows are {found.dtype.name}, not integers of 64 bits")
        return ffi.cast("uint64_t *", found.pointer), found.count

    def gather(
        self,
        tensor: str,
        tasks: Tasks,
        rows: Any = None,
        *,
        out: Any = None,
        dtype: DTypeLike | None = None,
        n_columns: int | None = None,
        without_base: bool = False,
    ) -> Any:
        """Gathers rows of a tensor that is merged or kept: row i is row ``rows[i]`` of what ``tasks[i]`` has.
        A tensor of rank below 2 is one row, for which `rows` is None.

        Args:
            out: [n, columns], of any float type; None: a new numpy array of `dtype`, or the base's type.
            n_columns: of a row, if rows are cut into shorter ones.
        """
        numbers, of_rows, arena = self._task_numbers(tasks), None, Arena()
        if rows is not None:
            of_rows, n_rows = self._rows(arena, rows)
            if n_rows != len(tasks):
                raise ValueError(f"there are {n_rows} rows for {len(tasks)} tasks")
        columns = self._n_columns(tensor)[1] if n_columns is None else n_columns
        if out is None:
            own = self._tensors[tensor].dtype if tensor in self._tensors and not without_base else None
            out = empty(DType.of(dtype) if dtype is not None else own or DType.F32, (len(tasks), columns))
        target = view(out, writable=True, what="out")
        if target.shape != (len(tasks), columns):
            raise ValueError(
                f"tensor '{tensor}': out has the shape {target.shape}, not {(len(tasks), columns)}"
            )
        gather = arena.struct(
            "emr_gather",
            name=arena.text(tensor),
            tasks=numbers.array,
            rows=of_rows,
            out=target.pointer,
            n=len(tasks),
            n_columns=columns,
            dtype=target.dtype,
            without_base=int(without_base),
        )
        with self._handle.use(alone=True) as pointer:
            call(lib.emr_session_gather, pointer, gather)
        return out

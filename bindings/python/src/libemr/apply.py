"""apply.py - a task's weights into arrays, in place: pieces of tensors are read by several threads at a
time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

from . import arrays, errors
from ._native import call, decode, ffi, lib
from .dtypes import DType, DTypeLike
from .model import Model, Tensor
from .resources import Progress, Threads, follower, n_threads

if TYPE_CHECKING:
    from .bundle import Task

PIECE = 16 << 20  # bytes


def apply(
    task: Task,
    base: Model | None,
    out: Mapping[str, Any] | None,
    dtype: DTypeLike | None,
    check: bool,
    threads: Threads,
    progress: Progress,
) -> Mapping[str, Any]:
    """What Task.apply says."""
    views = _Views(task, base, check, threads)
    try:
        if out is None:
            model = views.of(None if dtype is None else DType.of(dtype))
            out = {n: arrays.empty(t.dtype, t.shape) for n, t in model.items() if not _is_a_file(n)}
        pairs = [views.matched(name, array, base) for name, array in out.items()]
        _read(pairs, threads, follower(progress))
    finally:
        views.close()
    return out


def _is_a_file(name: str) -> bool:
    """A folder's configuration and the like, or the header of a GGUF file."""
    return name.startswith(decode(lib.EMR_FILE_PREFIX)) or name == decode(lib.EMR_GGUF_HEADER)


class _Views:
    """The task's models, one for each dtype that is asked for; the base is checked once."""

    def __init__(self, task: Task, base: Model | None, check: bool, threads: Threads) -> None:
        self._task, self._base = task, base
        checked = (
            task.open(base, check="first", threads=threads)
            if check
            else task.open(base, check="none", threads=1)
        )
        self._models: dict[DType | None, Model] = {None: checked}

    def of(self, dtype: DType | None) -> Model:
        if dtype not in self._models:
            self._models[dtype] = self._task.open(self._base, dtype=dtype, check="none", threads=1)
        return self._models[dtype]

    def matched(self, name: str, array: Any, base: Model | None) -> tuple[Tensor, arrays.View]:
        """A tensor, and the array that it goes into, which fits."""
        tensor = self.of(None).get(name)
        if tensor is None:
            sentence = f"task '{self._task.name}': there is no tensor '{name}'"
            raise errors.made("EMR_ENOTFOUND", lib.EMR_ENOTFOUND, sentence, task=self._task.name, tensor=name)
        what = f"out[{name!r}]"
        target = arrays.view(array, writable=True, what=what)
        if target.shape != tensor.shape:
            raise ValueError(f"{what} has the shape {list(target.shape)}, the tensor {list(tensor.shape)}")
        if any(target.overlaps(memory) for memory in (base.memory if base else ())):
            raise ValueError(f"{what} is memory of the base, which must stay as it is")
        if target.dtype == tensor.dtype:
            return tensor, target
        if not (target.dtype.is_float and tensor.dtype.is_float):
            raise TypeError(f"{what} is {target.dtype.name}, the tensor {tensor.dtype.name}")
        return self.of(target.dtype)[name], target

    def close(self) -> None:
        for model in self._models.values():
            model.close()


def _pieces(pairs: list[tuple[Tensor, arrays.View]]) -> Iterator[tuple[Tensor, int, Any, int]]:
    for tensor, target in pairs:
        place = ffi.cast("char *", target.pointer)
        for offset in range(0, target.nbytes, PIECE):
            yield tensor, offset, place + offset, min(PIECE, target.nbytes - offset)


def _read_piece(piece: tuple[Tensor, int, Any, int]) -> int:
    tensor, offset, place, n = piece
    with tensor.in_use() as pointer:
        call(lib.emr_tensor_read, pointer, offset, place, n)
    return n


def _read(pairs: list[tuple[Tensor, arrays.View]], threads: Threads, follow: Any) -> None:
    total, done = sum(target.nbytes for _, target in pairs), 0
    with ThreadPoolExecutor(n_threads(threads)) as pool:
        running = {pool.submit(_read_piece, piece) for piece in _pieces(pairs)}
        try:
            while running:
                finished, running = wait(running, return_when=FIRST_EXCEPTION, timeout=0.05)
                done += sum(future.result() for future in finished)
                if finished:
                    follow(done, total)
        finally:
            for future in running:
                future.cancel()

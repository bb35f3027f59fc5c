"""io.py - Python's file-like objects and bytes as C's I/O, and the files that C writes."""

from __future__ import annotations

import io as stdlib_io
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Union

from ._native import Arena, Handle, PathLike, call, callback, create, ffi, lib, path_bytes

if TYPE_CHECKING:
    from typing import TypeGuard

__all__ = ["Source", "Target", "input_of", "is_path", "opened", "output"]

PIECE = 16 << 20  # bytes of a write

Source = Union[PathLike, bytes, bytearray, memoryview, Any]
Target = Union[PathLike, Any]


def is_path(value: Any) -> TypeGuard[PathLike]:
    return isinstance(value, str) or hasattr(value, "__fspath__")


def name_of(value: Any, default: str) -> str:
    """What messages call a file-like object."""
    name = getattr(value, "name", None)
    return name if isinstance(name, str) else default


# ------------------------------------------------------------------------------------------ file-like objects


def _counted(n: int, most: int, file: Any) -> int:
    if not 0 <= n <= most:
        raise OSError(f"{file!r} gave or took {n} bytes, of {most} at most")
    return n


class Reader:
    """A file-like object that is read: `seek` and `read`. It has one position, so reads take turns. C's
    memory is lent to those of Python's own kind alone (`readinto`), which let go of it when they return; so
    it is in `Writer`."""

    def __init__(self, file: Any) -> None:
        for method in ("read", "seek"):
            if not callable(getattr(file, method, None)):
                raise TypeError(
                    f"a {type(file).__name__} is no path, no bytes and no file: it has no {method}()"
                )
        self.file, self.lock = file, threading.Lock()
        self.into = getattr(file, "readinto", None) if isinstance(file, stdlib_io.IOBase) else None

    def read(self, offset: int, memory: memoryview) -> None:
        with self.lock:
            self.file.seek(offset)
            done = 0
            while done < len(memory):
                n = self._read_some(memory[done:])
                if not n:
                    raise EOFError(f"the file ended at byte {offset + done}, {len(memory) - done} too early")
                done += _counted(n, len(memory) - done, self.file)

    def _read_some(self, memory: memoryview) -> int:
        if self.into is not None:
            return int(self.into(memory) or 0)
        data = self.file.read(len(memory))
        if isinstance(data, str):
            raise TypeError("the file is opened as text: open it in binary mode")
        memory[: _counted(len(data), len(memory), self.file)] = data
        return len(data)

    def length(self) -> int:
        with self.lock:
            end = self.file.seek(0, 2)
            return int(self.file.tell() if end is None else end)


class Writer:
    """A file-like object that is written front to back: `write`."""

    def __init__(self, file: Any) -> None:
        if not callable(getattr(file, "write", None)):
            raise TypeError(
                f"a {type(file).__name__} is no path and no file that can be written: it has no write()"
            )
        self.file, self.lends = file, isinstance(file, stdlib_io.IOBase)

    def write(self, memory: memoryview) -> None:
        done = 0
        while done < len(memory):
            with memory[done:] as rest:
                n = self.file.write(rest if self.lends else bytes(rest))
            done += len(memory) if n is None else _counted(n, len(memory) - done, self.file)
            if n == 0:
                raise BlockingIOError(f"{self.file!r} takes no more bytes")


@callback("emr_io_read")
def _read(user: Any, offset: int, destination: Any, n: int, error: Any) -> int:
    with memoryview(ffi.buffer(destination, n)) as memory:
        ffi.from_handle(user).read(offset, memory)
    return 0


@callback("emr_io_write")
def _write(user: Any, offset: int, source: Any, n: int, error: Any) -> int:
    with memoryview(ffi.buffer(source, n)).toreadonly() as memory:
        ffi.from_handle(user).write(memory)
    return 0


@callback("emr_io_length")
def _length(user: Any, length: Any, error: Any) -> int:
    length[0] = ffi.from_handle(user).length()
    return 0


def reading(arena: Arena, file: Any) -> Any:
    """An emr_io that reads a file-like object."""
    return arena.struct("emr_io", user=arena.user(Reader(file)), read=_read, length=_length)


def writing(arena: Arena, file: Any) -> Any:
    """An emr_io that writes one."""
    return arena.struct("emr_io", user=arena.user(Writer(file)), write=_write)


# ------------------------------------------------------------------------------------------------ C's own I/O


class Buffer(Handle):
    """C's buffer: over bytes of Python's, which are borrowed, or one of its own that grows as it is
    written."""

    def __init__(self, data: Any = None) -> None:
        if data is None:
            super().__init__(
                create("emr_buffer", lib.emr_buffer_create, ffi.NULL), lib.emr_buffer_destroy, "the buffer"
            )
        else:
            borrowed = ffi.from_buffer(data)
            pointer = create("emr_buffer", lib.emr_buffer_open, borrowed, len(borrowed), ffi.NULL)
            super().__init__(pointer, lib.emr_buffer_destroy, "the buffer", keep=borrowed)

    @property
    def io(self) -> Any:
        return lib.emr_buffer_io(self._pointer)

    @property
    def memory(self) -> Any:
        """What was written."""
        return ffi.buffer(
            ffi.cast("char *", lib.emr_buffer_data(self._pointer)), lib.emr_buffer_bytes(self._pointer)
        )

    def write_to(self, io: Any) -> None:
        """All of it, front to back, to another emr_io."""
        memory = ffi.from_buffer(self.memory)
        for done in range(0, len(memory), PIECE):
            n = min(PIECE, len(memory) - done)
            call(io.write, io.user, done, memory[done : done + n], n)


class File(Handle):
    """A file that C writes: created (it appears when it is committed, or not at all), or resumed."""

    forks = False

    def __init__(self, path: PathLike, function: Any, *, replace: bool = False) -> None:
        arena = Arena()
        options = arena.struct("emr_file_options", replace=int(replace))
        super().__init__(
            create("emr_file", function, path_bytes(path), options), lib.emr_file_close, f"the file '{path}'"
        )

    @classmethod
    def create(cls, path: PathLike, replace: bool = False) -> File:
        return cls(path, lib.emr_file_create, replace=replace)

    @classmethod
    def resume(cls, path: PathLike, replace: bool = False) -> File:
        """Stays as `path`.partial until it is committed or discarded."""
        return cls(path, lib.emr_file_resume, replace=replace)

    @property
    def io(self) -> Any:
        return lib.emr_file_io(self._pointer)

    def commit(self) -> None:
        with self.use(alone=True) as file:
            call(lib.emr_file_commit, file)

    def discard(self) -> None:
        """Nothing of it stays."""
        self._destroy = lib.emr_file_discard
        self.close()


@contextmanager
def output(target: Target, replace: bool = False) -> Iterator[Any]:
    """An emr_io for a path, whose file appears if all goes well, or for a file-like object."""
    if not is_path(target):
        arena = Arena()
        yield writing(arena, target)
        return
    file = File.create(target, replace)
    try:
        yield file.io
        file.commit()
    finally:
        file.close()


def opened(source: Any, arena: Arena) -> tuple[Any, list[Handle]]:
    """An emr_io for bytes, which it borrows, or a file-like object; and the handles that it needs."""
    if callable(getattr(source, "read", None)):
        return reading(arena, source), []
    try:
        buffer = Buffer(source)
    except TypeError:
        return reading(arena, source), []  # which says what is missing
    return buffer.io, [buffer]


@contextmanager
def input_of(source: Source, default: str) -> Iterator[tuple[Any, str]]:
    """An emr_io for a path, a file-like object or bytes, and what messages call it."""
    arena = Arena()
    with ExitStack() as stack:
        called = name_of(source, default)
        if is_path(source):
            called, source = os.fsdecode(source), stack.enter_context(open(source, "rb"))
        made, needed = opened(source, arena)
        for handle in needed:
            stack.callback(handle.close)
        yield made, called

"""resources.py - what a long call may use: threads, memory; who follows it; and that Ctrl-C stops it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Optional, Union

from ._native import Arena, Handle, callback, create, ffi, lib

__all__ = ["Following", "Memory", "Pool", "Progress", "Resources", "Threads", "memory_bytes"]

Progress = Optional[Union[Callable[[int, int], Any], Any]]
Memory = Union[int, str, None]


class Pool(Handle):
    """Threads that calls share, instead of each starting its own: ``threads=pool``. Calls take turns at it.

    Args:
        threads: how many, the caller's own among them; None: one for each processor.
    """

    forks = False

    def __init__(self, threads: int | None = None) -> None:
        arena = Arena()
        options = arena.struct("emr_pool_options", threads=_number_of_threads(threads))
        super().__init__(create("emr_pool", lib.emr_pool_create, options), lib.emr_pool_destroy, "the pool")

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def executor(self) -> Any:
        """C's emr_executor."""
        with self.use() as pool:
            return lib.emr_pool_executor(pool)


Threads = Union[int, Pool, None]


def _number_of_threads(threads: int | None) -> int:
    if threads is None:
        return 0
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ValueError(f"threads is {threads!r}: a number from 1 on, a Pool, or None for all processors")
    return threads


def _own_pool(threads: int | None) -> Pool | None:
    """None for one thread, which needs none."""
    return None if _number_of_threads(threads) == 1 else Pool(threads)


def memory_bytes(memory: Memory) -> int:
    """Bytes from a number or a text such as "256MiB", "2 GB"; 0 for None."""
    if memory is None:
        return 0
    if isinstance(memory, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", memory.lower())
        if not found:
            raise ValueError(f'memory is {memory!r}: a number of bytes, or a text such as "256MiB"')
        return int(float(found[1]) * (1024 if found[3] else 1000) ** " kmgt".index(found[2] or " "))
    if memory < 0:
        raise ValueError(f"memory is {memory}")
    return int(memory)


class _Follower:
    """Calls `progress` as far as the call has come: a function of (done, total), or a bar such as tqdm's."""

    def __init__(self, progress: Progress) -> None:
        self.bar = progress if hasattr(progress, "update") and hasattr(progress, "total") else None
        if progress is not None and self.bar is None and not callable(progress):
            raise TypeError(
                f"progress is a {type(progress).__name__}, not a function of (done, total) or a tqdm"
            )
        self.function = None if self.bar is not None else progress
        self.done = 0

    def follow(self, done: int, total: int) -> None:
        if self.function is not None:
            self.function(done, total)
        elif self.bar is not None:
            if total:
                self.bar.total = total
            self.bar.update(done - self.done)
            self.done = done


def follower(progress: Progress) -> Callable[[int, int], None]:
    """What calls `progress` with (done, total), whatever it is."""
    return _Follower(progress).follow


class Following:
    """The progress of a handle, which is followed by what `by` is given while a `with` lasts."""

    def __init__(self) -> None:
        self._follow: Callable[[int, int], None] | None = None

    def __call__(self, done: int, total: int) -> None:
        if self._follow is not None:
            self._follow(done, total)

    @contextmanager
    def by(self, progress: Progress) -> Iterator[None]:
        self._follow = follower(progress)
        try:
            yield
        finally:
            self._follow = None


def n_threads(threads: Threads) -> int:
    """How many threads are meant."""
    if isinstance(threads, Pool):
        return int(threads.executor.concurrency)
    return _number_of_threads(threads) or os.cpu_count() or 1


@callback("emr_progress_fn")
def _progress(user: Any, progress: Any, error: Any) -> int:
    """Always there: Python looks at its signals before it runs this, so Ctrl-C stops the call."""
    ffi.from_handle(user).follow(progress.done, progress.total)
    return 0


class Resources:
    """C's emr_resources, for one call or for a handle, which keeps it: `pointer`, and `pool`, its threads if
    there are any.

    Args:
        threads: a number, a `Pool`, or None: all processors, in a pool for as long as this lives.
        memory: cap on working memory, in bytes or as "256MiB"; None: each call's default.
        progress: None, a function of (done, total) in bytes, or a bar such as tqdm's. What it raises stops
            the call.
    """

    def __init__(self, threads: Threads = None, memory: Memory = None, progress: Progress = None) -> None:
        self.arena = Arena()
        follower = _Follower(progress)
        self.pool: Pool | None = threads if isinstance(threads, Pool) else _own_pool(threads)
        self._held = self.pool is not None
        if isinstance(threads, Pool):
            threads.retain()
        self.pointer = self.arena.struct(
            "emr_resources",
            executor=self.pool.executor if self.pool else None,
            progress=_progress,
            progress_user=self.arena.user(follower),
            memory_bytes=memory_bytes(memory),
        )

    def parents(self) -> list[Handle]:
        """Of a handle that keeps these resources."""
        return [self.pool] if self.pool else []

    def __enter__(self) -> Any:
        """For one call."""
        return self.pointer

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Its own threads go, once nothing uses them."""
        held, self._held = self._held, False
        if held and self.pool:
            self.pool.release()

    def __del__(self) -> None:
        if getattr(self, "_held", False):
            self.close()

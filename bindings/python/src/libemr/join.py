"""join.py - the parts of a merge, joined into its bundle."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack

from . import io
from ._native import Handle, call, create, encode, lib
from .bundle import Bundle
from .resources import Memory, Progress, Resources, Threads

__all__ = ["join"]


def join(
    parts: Iterable[io.Source],
    out: io.Target | None = None,
    *,
    replace: bool = False,
    name: str = "bundle",
    threads: Threads = None,
    memory: Memory = None,
    progress: Progress = None,
) -> Bundle | None:
    """Makes a bundle of all parts of a merge (`Merge.set_part`), in any order: to the last byte what a merge
    without parts gives. No model is needed.

    Args:
        parts: paths, file-like objects and bytes. One that is missing, there twice, damaged or of another
            merge is refused by name.
        out: a path, where the bundle appears when it is whole; a file-like object; None: a bundle in memory,
            called `name`, which is returned.
        memory: a cap on working memory; None: 256 MiB.
    """
    if isinstance(parts, (str, bytes)):
        raise TypeError(f"a list of parts is needed, not {type(parts).__name__}")
    buffer = io.Buffer() if out is None else None
    with ExitStack() as stack:
        resources = stack.enter_context(Resources(threads, memory, progress))
        handle = Handle(create("emr_join", lib.emr_join_create, resources), lib.emr_join_destroy, "the join")
        stack.callback(handle.close)
        for number, part in enumerate(parts):
            source, called = stack.enter_context(io.input_of(part, f"part {number}"))
            with handle.use(alone=True) as pointer:
                call(lib.emr_join_add_part, pointer, source, encode(called))
        target = buffer.io if buffer else stack.enter_context(io.output(out, replace))
        with handle.use(alone=True) as pointer:
            call(lib.emr_join_set_output, pointer, target)
            call(lib.emr_join_run, pointer)
    return Bundle.of_buffer(buffer, name) if buffer else None

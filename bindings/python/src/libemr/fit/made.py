"""made.py - models that a call of C's makes out of others, and what they need for as long as they live."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from .._native import Arena, Handle, call, decode, ffi, lib
from ..model import Model

__all__ = ["all_in_use", "opened"]


def opened(
    function: Any,
    *arguments: Any,
    after: Sequence[Any] = (),
    parents: Iterable[Handle] = (),
    keep: Any = None,
) -> Model:
    """The model of a function that gives it behind its arguments; `after` is what follows it."""
    place = ffi.new("emr_model **")
    call(function, *arguments, place, *after)
    what = f"the model '{decode(lib.emr_model_name(place[0]))}'"
    return Model.of_handle(Handle(place[0], lib.emr_model_destroy, what, parents, keep))


@contextmanager
def all_in_use(arena: Arena, ctype: str, handles: Sequence[Handle]) -> Iterator[Any]:
    """C's array of pointers to several handles, for a call."""
    with ExitStack() as stack:
        pointers = [stack.enter_context(handle.use()) for handle in handles]
        yield arena.array(f"{ctype} *", pointers)

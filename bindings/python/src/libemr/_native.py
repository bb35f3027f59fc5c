"""_native.py - how this package calls C: arguments in C's memory, handles that keep alive what they need,
failures and exceptions of callbacks as what is raised.

- A call is ``call(lib.emr_x, ...)``: it appends the ``emr_error``, and raises. ``check(status)`` is for
  functions without one.
- A callback is ``@callback("emr_io_read")`` above a function with C's parameters, the last called ``error``,
  which returns 0. What it raises stops the call, which raises the same object again. It finds its object by
  ``ffi.from_handle(user)``. Of a callback that has no way to fail, the exception is raised when the call has
  returned, if it was of the same thread.
- A handle is a ``Handle``: it counts the calls and the children that use it, and goes when the last of them
  has gone. In a process that forked, what was made before is left as it is: its threads are not there, and
  its files are the other process's."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, Union

from . import errors
from ._emr import ffi, lib

__all__ = [
    "Arena",
    "BASE",
    "Handle",
    "PathLike",
    "call",
    "callback",
    "check",
    "choice",
    "create",
    "decode",
    "failed",
    "ffi",
    "filled",
    "lib",
    "path_bytes",
    "word",
]

BASE: int = lib.EMR_BASE
PathLike = Union[str, "os.PathLike[str]"]
Function = TypeVar("Function", bound=Callable[..., Any])


def decode(text: Any) -> str:
    """A text of C's, which is UTF-8 as a rule."""
    return bytes(ffi.string(text)).decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    if not isinstance(text, str):
        raise TypeError(f"a text is needed here, not the {type(text).__name__} {text!r}")
    data = text.encode("utf-8", "surrogateescape")
    if b"\0" in data:
        raise ValueError(f"there is a zero byte in {text!r}")
    return data


def path_bytes(path: PathLike) -> bytes:
    """A path as C takes it."""
    data = os.fsencode(path)
    if b"\0" in data:
        raise ValueError(f"there is a zero byte in the path {path!r}")
    return data


def words(prefix: str) -> dict[str, int]:
    """The words of an enumeration of C's: ``EMR_TIE_`` has "zero" and "negative"."""
    return {name[len(prefix) :].lower(): getattr(lib, name) for name in dir(lib) if name.startswith(prefix)}


def choice(prefix: str, value: str | int | None, what: str) -> int:
    """The number of a word, in either spelling: "two_sided", "two-sided". None is the default, 0."""
    if value is None:
        return 0
    if isinstance(value, str):
        known = words(prefix)
        number = known.get(value.lower().replace("-", "_"))
        if number is None:
            raise ValueError(f"{what} is {value!r}, which is none of {', '.join(sorted(known))}")
        return number
    return int(value)


def word(prefix: str, number: int) -> str:
    """The word of a number."""
    return next(
        (name for name, value in words(prefix).items() if value == number and name != "default"), str(number)
    )


# --------------------------------------------------------------------------------------- memory for arguments


class Arena:
    """C memory for the arguments of a call: it lives as long as the arena, and so does what `keep` is
    given."""

    def __init__(self) -> None:
        self._kept: list[Any] = []

    def keep(self, value: Any) -> Any:
        self._kept.append(value)
        return value

    def new(self, ctype: str, value: Any = None) -> Any:
        return self.keep(ffi.new(ctype, value))

    def struct(self, ctype: str, /, **members: Any) -> Any:
        """One struct, its size set; members that are None keep the default."""
        made = self.keep(ffi.new(f"{ctype} *"))
        if _grows(ctype):
            made.size = ffi.sizeof(ctype)
        for member, value in members.items():
            if value is not None:
                setattr(made, member, value)
        return made

    def structs(self, name: str, members: Sequence[Mapping[str, Any]]) -> Any:
        """An array of structs, or NULL for none."""
        if not members:
            return ffi.NULL
        made = self.keep(ffi.new(f"{name}[]", len(members)))
        grows = _grows(name)
        for i, values in enumerate(members):
            if grows:
                made[i].size = ffi.sizeof(name)
            for member, value in values.items():
                if value is not None:
                    setattr(made[i], member, value)
        return made

    def text(self, text: str | None) -> Any:
        return ffi.NULL if text is None else self.keep(ffi.new("char[]", encode(text)))

    def texts(self, texts: Iterable[str]) -> Any:
        """An array of texts, or NULL for none. One text instead of several is a mistake that is caught
        here."""
        if isinstance(texts, str):
            raise TypeError(f"a list of texts is needed here, not the text {texts!r}")
        pointers = [self.text(text) for text in texts]
        return self.keep(ffi.new("char *[]", pointers)) if pointers else ffi.NULL

    def array(self, ctype: str, values: Sequence[Any]) -> Any:
        return self.keep(ffi.new(f"{ctype}[]", list(values))) if values else ffi.NULL

    def user(self, value: Any) -> Any:
        """The `user` of callbacks: they get the value by ``ffi.from_handle(user)``."""
        self.keep(value)
        return self.keep(ffi.new_handle(value))


def _grows(ctype: str) -> bool:
    return bool(ffi.typeof(ctype).fields[0][0] == "size")


def filled(function: Any, name: str, *arguments: Any) -> Any:
    """The struct that a function without a sentence fills: ``filled(lib.emr_bundle_get_info,
    "emr_bundle_info", bundle)``."""
    made = ffi.new(f"{name} *")
    made.size = ffi.sizeof(name)
    check(function(*arguments, made))
    return made


# --------------------------------------------------------------------------------------------------- failures


_lock = (
    threading.RLock()
)  # Of everything here: held for a few lines, and perhaps taken again by a destructor or a signal.


def _forked() -> None:
    """Another thread may have had the lock, which is not there to let go of it."""
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_forked)


class _Raised:
    """Exceptions of callbacks, until the call that they stopped comes back. A callback cannot know which call
    that is: it may run on any thread, for an object that several calls use. So a call that fails finds its
    exception by the words that the callback left in the sentence. What the library got over is dropped when
    no call is under way."""

    def __init__(self) -> None:
        self._calls = 0
        self._raised: list[tuple[str, BaseException]] = []
        self._late = threading.local()

    def enter(self) -> None:
        with _lock:
            self._calls += 1

    def leave(self) -> None:
        with _lock:
            self._calls -= 1
            if self._calls == 0:
                self._raised.clear()

    def add(self, words: str, exception: BaseException) -> None:
        with _lock:
            self._raised.append((words, exception))

    def add_late(self, exception: BaseException) -> None:
        self._late.exception = exception

    def take_late(self) -> BaseException | None:
        exception = getattr(self._late, "exception", None)
        self._late.exception = None
        return exception

    def take(self, sentence: str) -> BaseException | None:
        with _lock:
            for i, (said, exception) in enumerate(self._raised):
                if said in sentence or (len(sentence) >= 470 and sentence[-40:] in said):
                    del self._raised[i]
                    return exception
        return None


_raised = _Raised()


def _part(error: Any, span: Any) -> str | None:
    data = bytes(ffi.buffer(error.text)[span.offset : span.offset + span.length])
    return data.decode("utf-8", "surrogateescape") if data else None


def _failure(status: int, error: Any) -> BaseException:
    sentence = decode(error.text)
    raised = _raised.take(sentence)
    if raised is not None:
        if hasattr(raised, "add_note") and sentence not in getattr(raised, "__notes__", ()):
            raised.add_note(sentence)
        return raised
    return errors.made(
        decode(lib.emr_status_name(status)),
        status,
        sentence,
        error.system,
        _part(error, error.file),
        _part(error, error.task),
        _part(error, error.tensor),
    )


def call(function: Any, *arguments: Any) -> None:
    """Calls a function whose last parameter is the error, which is added here. Raises what it says, or what a
    callback raised. Other Python threads run meanwhile."""
    error = ffi.new("emr_error *")
    _raised.enter()
    try:
        status = function(*arguments, error)
        raised = _raised.take_late()
        if status or raised:
            raise raised or _failure(status, error)
    finally:
        _raised.leave()


def create(ctype: str, function: Any, *arguments: Any) -> Any:
    """Calls a function whose first parameter is where the new handle goes: returns that."""
    place = ffi.new(f"{ctype} **")
    call(function, place, *arguments)
    return place[0]


def check(status: int) -> None:
    """Raises the error of a function that has no sentence."""
    if status:
        raise errors.made(decode(lib.emr_status_name(status)), status, decode(lib.emr_status_text(status)))


def failed(name: str, sentence: str, **named: str | None) -> errors.Error:
    """The error of a status, of this package's own: ``failed("EMR_ENOTFOUND", sentence, task=name)``."""
    return errors.made(name, getattr(lib, name), sentence, **named)  # type: ignore[arg-type]


def status_of(exception: BaseException) -> int:
    """What a callback returns for an exception."""
    if isinstance(exception, errors.Error) and exception.status:
        return exception.status
    if isinstance(exception, MemoryError):
        return int(lib.EMR_ENOMEM)
    return int(lib.EMR_EIO if isinstance(exception, Exception) else lib.EMR_ECANCELED)


def _words(exception: BaseException) -> str:
    try:
        text = str(exception)
    except Exception:
        text = ""
    return f"{type(exception).__name__}: {text}" if text else type(exception).__name__


def _system_number(exception: BaseException) -> int:
    number = exception.errno if isinstance(exception, OSError) else 0
    return number if isinstance(number, int) and 0 < number < 1 << 31 else 0


def _stopped(kind: Any, exception: BaseException, traceback: Any) -> int | None:
    """What becomes of an exception in a callback: it is kept, and said to C."""
    status = status_of(exception)
    said = _words(exception)
    error = traceback.tb_frame.f_locals.get("error") if traceback is not None else None
    if error is None:
        _raised.add_late(exception)
        return None
    words = said.encode("utf-8", "replace").replace(b"\0", b"?")[:240]
    while True:
        try:
            lib.emr_error_set(error, status, _system_number(exception), ffi.NULL, words)
            _raised.add(decode(error.text), exception)
            return status
        except KeyboardInterrupt:  # one more Ctrl-C changes nothing
            pass


def callback(name: str) -> Callable[[Function], Any]:
    """Makes a function C's: ``callback("emr_io_read")`` for the member `read` of `emr_io`,
    ``"emr_compute_fn"`` for a type of that name. Its last parameter is called `error`; it returns 0. Becomes
    what goes into C's struct."""

    def made_of(function: Function) -> Any:
        ffi.def_extern(name=f"py_{name}", error=_failed_result(name), onerror=_stopped)(function)
        return getattr(lib, f"py_{name}")

    return made_of


def _failed_result(name: str) -> Any:
    """What C gets where even `_stopped` fails."""
    result = ffi.typeof(getattr(lib, f"py_{name}")).result.cname
    return {"int32_t": lib.EMR_EIO, "void": None, "void *": ffi.NULL}.get(result, 0)


# ---------------------------------------------------------------------------------------------------- handles


class Handle:
    """A handle of C's: its pointer, how it is destroyed, and what it needs.

    - `parents` are handles that must outlive it: they stay until it has gone, in whatever order all are
      closed.
    - `keep` is anything else: memory that it borrows, objects of callbacks.
    - While a call uses it (``with handle.use() as pointer``), closing waits until the call has returned. With
      `alone`, nothing else may use it: what C says is for one thread at a time.
    """

    forks = True  # False: it has threads or a file, and is of no use after a fork; nor is what needs it

    def __init__(
        self, pointer: Any, destroy: Any, what: str, parents: Iterable[Handle] = (), keep: Any = None
    ) -> None:
        self._process = os.getpid()
        self._pointer = pointer
        self._destroy = destroy
        self._what = what
        self._keep = keep
        self._closed = False
        self._alone = False
        self._uses = 0
        self._held = 1  # by whoever has it open, and by children
        self._parents: list[Handle] = []
        for parent in parents:
            self.adopt(parent)

    def adopt(self, parent: Handle) -> None:
        """One more handle that must outlive this one."""
        parent.retain()
        self._parents.append(parent)
        self.forks = self.forks and parent.forks

    def retain(self) -> None:
        """Somebody more needs it, until `release`."""
        with _lock:
            self._expect_open()
            self._held += 1

    def keep(self, value: Any) -> Any:
        """One more object that must outlive it."""
        self._keep = (self._keep, value)
        return value

    @property
    def closed(self) -> bool:
        return self._closed

    def _expect_open(self) -> None:
        if self._closed:
            raise ValueError(f"{self._what} is closed")
        if not self.forks and self._process != os.getpid():
            raise failed(
                "EMR_ESTATE", f"{self._what} was made before the process forked: make another in this process"
            )

    @contextmanager
    def use(self, alone: bool = False) -> Iterator[Any]:
        with _lock:
            self._expect_open()
            if self._alone or (alone and self._uses):
                raise errors.made("EMR_ESTATE", lib.EMR_ESTATE, f"{self._what} is in use by another call")
            self._alone = alone
            self._uses += 1
            self._held += 1
        try:
            yield self._pointer
        finally:
            with _lock:
                self._alone = False
                self._uses -= 1
            self.release()

    def close(self) -> None:
        """Nobody has it open any more. It goes now, or when the last child or call that uses it has gone."""
        with _lock:
            if self._closed:
                return
            self._closed = True
        self.release()

    def release(self) -> None:
        with _lock:
            self._held -= 1
            if self._held:
                return
            parents, self._parents = self._parents, []
        if self._process == os.getpid():
            place = ffi.new(ffi.typeof(ffi.getctype(ffi.typeof(self._pointer), "*")), self._pointer)
            self._destroy(place)
        self._keep = None
        for parent in parents:
            parent.release()

    def __del__(self) -> None:
        if getattr(self, "_held", 0) and ffi is not None:
            self.close()

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(f"{self._what} can neither be copied nor pickled")

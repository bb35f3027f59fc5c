"""errors.py - what a call of the library raises when it fails: one class a status."""

from __future__ import annotations

from typing import Any


class Error(Exception):
    """A call of the library failed. ``str(error)`` is the library's own sentence.

    Attributes:
        status: the number of the status, ``emr_status`` in C.
        name: its name, ``"EMR_EMISMATCH"``.
        system: the operating system's error number, or 0 where it is not the system's fault.
        file: the file or model that the sentence names, or None.
        task: the task that it names, or None.
        tensor: the tensor that it names, or None.
    """

    status: int = 0
    name: str = ""
    system: int = 0
    file: str | None = None
    task: str | None = None
    tensor: str | None = None

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuilt, (type(self), self.args, dict(self.__dict__)))


def _rebuilt(kind: type[Error], args: tuple[Any, ...], members: dict[str, Any]) -> Error:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(members)
    return error


class InvalidArgument(Error, ValueError):
    """An argument or an option cannot be right."""


class OutOfMemory(Error, MemoryError):
    """There is not enough memory."""


class IOFailed(Error, OSError):
    """Reading or writing failed; ``errno`` is the system's number where it was the system."""


class FormatError(Error, ValueError):
    """A file is malformed."""


class CorruptData(Error, ValueError):
    """Data are damaged: a checksum differs."""


class NewerVersion(Error):
    """A file was made by a newer version of the library."""


class Mismatch(Error, ValueError):
    """Inputs do not fit together."""


class NonFinite(Error, ArithmeticError):
    """There is a NaN or an infinity in a tensor that is merged."""


class NotFound(Error, KeyError):
    """There is no such tensor, task or entry."""


class Canceled(Error):
    """The call was stopped by the progress callback."""


class OutOfOrder(Error, RuntimeError):
    """A call came out of order, or what it needs is in use."""


class Unsupported(Error, NotImplementedError):
    """This build, or this input, does not allow it."""


class LimitExceeded(Error):
    """A limit is too small for this work."""


class Exists(Error, FileExistsError):
    """It exists already."""


BY_NAME: dict[str, type[Error]] = {
    "EMR_EINVAL": InvalidArgument,
    "EMR_ENOMEM": OutOfMemory,
    "EMR_EIO": IOFailed,
    "EMR_EFORMAT": FormatError,
    "EMR_ECORRUPT": CorruptData,
    "EMR_EVERSION": NewerVersion,
    "EMR_EMISMATCH": Mismatch,
    "EMR_ENONFINITE": NonFinite,
    "EMR_ENOTFOUND": NotFound,
    "EMR_ECANCELED": Canceled,
    "EMR_ESTATE": OutOfOrder,
    "EMR_EUNSUPPORTED": Unsupported,
    "EMR_ELIMIT": LimitExceeded,
    "EMR_EEXIST": Exists,
}


def made(
    name: str,
    status: int,
    sentence: str,
    system: int = 0,
    file: str | None = None,
    task: str | None = None,
    tensor: str | None = None,
) -> Error:
    """The error of a status, with everything that the library says about it."""
    error = BY_NAME.get(name, Error)(sentence)
    error.status, error.name, error.system = status, name, system
    error.file, error.task, error.tensor = file, task, tensor
    if isinstance(error, OSError):
        error.errno, error.strerror, error.filename = system or None, sentence, file
    return error

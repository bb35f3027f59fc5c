"""EMR-Merging in Python: many fine-tuned models in one small bundle, and each of them back.

    import libemr

    libemr.merge("base/", {"french": "french/", "german": "german/"}, "all.emr")
    with libemr.Bundle("all.emr") as bundle:
        bundle["french"].write("french-again/", base="base/")

Models and bundles are opened from paths, file-like objects and bytes, or made of arrays: numpy's, PyTorch's,
or whatever has DLPack or the buffer protocol. Nothing is copied that need not be. A call that fails raises a
subclass of `libemr.Error`."""

from __future__ import annotations

from . import adapters, blocks
from ._native import decode as _decode
from ._native import filled as _filled
from ._native import lib as _lib
from .arrays import Array
from .bundle import Bundle, Task
from .dtypes import DType, convert
from .errors import (
    Canceled,
    CorruptData,
    Error,
    Exists,
    FormatError,
    InvalidArgument,
    IOFailed,
    LimitExceeded,
    Mismatch,
    NewerVersion,
    NonFinite,
    NotFound,
    OutOfMemory,
    OutOfOrder,
    Unsupported,
)
from .infos import Features, Modulation
from .infos import record as _record
from .merge import Merge, Report, SinkPart, merge
from .model import Model, Pushed, Tensor
from .modulator import Modulator, multiply
from .resources import Pool

__all__ = [
    "Array",
    "Bundle",
    "Canceled",
    "CorruptData",
    "DType",
    "Error",
    "Exists",
    "Features",
    "FormatError",
    "IOFailed",
    "InvalidArgument",
    "LimitExceeded",
    "Merge",
    "Mismatch",
    "Model",
    "Modulation",
    "Modulator",
    "NewerVersion",
    "NonFinite",
    "NotFound",
    "OutOfMemory",
    "OutOfOrder",
    "Pool",
    "Pushed",
    "Report",
    "SinkPart",
    "Task",
    "Tensor",
    "Unsupported",
    "adapters",
    "blocks",
    "convert",
    "features",
    "merge",
    "multiply",
    "version_info",
]

__version__ = _decode(_lib.emr_version())
version_info = tuple(_lib.emr_version_number() // unit % 1000 for unit in (1000000, 1000, 1))


def features() -> Features:
    """What this build and this processor can do."""
    return _record(Features, _filled(_lib.emr_get_features, "emr_features"))

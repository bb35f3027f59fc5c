"""EMR-Merging in Python: many fine-tuned models in one small bundle, and each of them back.

    import libemr

    libemr.merge("base/", {"french": "french/", "german": "german/"}, "all.emr")
    with libemr.Bundle("all.emr") as bundle:
        bundle["french"].write("french-again/", base="base/")

Models and bundles are opened from paths, file-like objects and bytes, or made of arrays: numpy's, PyTorch's, or whatever has
DLPack or the buffer protocol. Nothing is copied that need not be. A call that fails raises a subclass of `libemr.Error`."""
from __future__ import annotations

from .arrays import Array
from .bundle import Bundle, Task
from .dtypes import DType, convert
from .errors import (Canceled, CorruptData, Error, Exists, FormatError, InvalidArgument, IOFailed, LimitExceeded, Mismatch,
                     NewerVersion, NonFinite, NotFound, OutOfMemory, OutOfOrder, Unsupported)
from .infos import Modulation
from .model import Model, Pushed, Tensor
from .modulator import Modulator
from .resources import Pool

__all__ = [
    "Array", "Bundle", "Canceled", "CorruptData", "DType", "Error", "Exists", "FormatError", "IOFailed", "InvalidArgument",
    "LimitExceeded", "Mismatch", "Model", "Modulation", "Modulator", "NewerVersion", "NonFinite", "NotFound", "OutOfMemory",
    "OutOfOrder", "Pool", "Pushed", "Task", "Tensor", "Unsupported", "convert",
]

"""EMR-Merging in Python: many fine-tuned models in one small bundle, and each of them back.

    import libemr

    libemr.merge("base/", {"french": "french/", "german": "german/"}, "all.emr")
    with libemr.Bundle("all.emr") as bundle:
        bundle["french"].write("french-again/", base="base/")

Models and bundles are opened from paths, file-like objects and bytes, or made of arrays: numpy's, PyTorch's,
or whatever has DLPack or the buffer protocol. Nothing is copied that need not be. A call that fails raises a
subclass of `libemr.Error`."""

from __future__ import annotations

from . import adapters, blocks, elementary, fit
from ._native import decode as _decode
from ._native import filled as _filled
from ._native import lib as _lib
from .arrays import Array
from .bundle import Bundle, Task
from .combine import Combination, combine
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
from .fit import Coefficients, Ensemble, Gram, Surgery
from .heads import HEAD_GROUPS, HeadGroup, Heads, group_softmax, groups_of
from .infos import Features, Modulation
from .infos import record as _record
from .merge import Merge, Report, SinkPart, merge
from .method import Chunk, Cut, Method, MethodInfo, MethodTensor, Parameter, Stage, methods
from .model import Model, Pushed, Tensor
from .modulator import Modulator, multiply
from .policy import glob_matches
from .resources import Pool
from .search import Candidate, Search, SearchResult, Trial, trial_values, trials
from .session import Destination, Part, Prepared, Session, SessionInfo
from .statistics import Group, Moments, Statistics, kind_of, kinship, kinship_mean, layer_of

# fmt: off
__all__ = [
    "Array", "Bundle", "Canceled", "Candidate", "Chunk", "Coefficients", "Combination", "CorruptData",
    "Cut", "DType", "Destination", "Ensemble", "Error", "Exists", "Features", "FormatError", "Gram",
    "Group", "HEAD_GROUPS", "HeadGroup", "Heads", "IOFailed", "InvalidArgument", "LimitExceeded", "Merge",
    "Method", "MethodInfo", "MethodTensor", "Mismatch", "Model", "Modulation", "Modulator", "Moments",
    "NewerVersion", "NonFinite", "NotFound", "OutOfMemory", "OutOfOrder", "Parameter", "Part", "Pool",
    "Prepared", "Pushed", "Report", "Search", "SearchResult", "Session", "SessionInfo", "SinkPart",
    "Stage", "Statistics", "Surgery", "Task", "Tensor", "Trial", "Unsupported", "adapters", "blocks",
    "combine", "convert", "elementary", "features", "fit", "glob_matches", "group_softmax", "groups_of",
    "kind_of", "kinship", "kinship_mean", "layer_of", "merge", "methods", "multiply", "trial_values",
    "trials", "version_info",
]
# fmt: on

__version__ = _decode(_lib.emr_version())
version_info = tuple(_lib.emr_version_number() // unit % 1000 for unit in (1000000, 1000, 1))


def features() -> Features:
    """What this build and this processor can do."""
    return _record(Features, _filled(_lib.emr_get_features, "emr_features"))

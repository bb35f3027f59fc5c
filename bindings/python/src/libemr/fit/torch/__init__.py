"""libemr.fit.torch - merging torch modules with a few samples: what their layers read is fed into grams
(`Watching`, by ``gram.watch``), and each method is one call.

    merged = libemr.fit.torch.match(a, b, batches)
    merged.load_into(a)                         # a is the average of both now, unit by unit

And what learns with their passes: the `entropy` of predictions for `libemr.Coefficients`, and
`surgery_v2`."""

from __future__ import annotations

from ...torch import load_into
from .adapters import Adapter, Adapters, surgery_v2
from .losses import entropy
from .merging import Merged, match, mudsc, pleas, regmean
from .modules import layers_in, model_of
from .running import renew_batch_norm
from .watching import Watching

__all__ = [
    "Adapter",
    "Adapters",
    "Merged",
    "Watching",
    "entropy",
    "layers_in",
    "load_into",
    "match",
    "model_of",
    "mudsc",
    "pleas",
    "regmean",
    "renew_batch_norm",
    "surgery_v2",
]

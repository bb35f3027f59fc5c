"""libemr.fit - merging with a few unlabelled samples: second moments of activations (`Gram`), which units
belong together (`PermutationSpec`, `match`), and layers that are solved (`regmean`, `pleas`), or zipped
(`zip_models`); `spectral` needs no samples. `libemr.fit.torch` does all of it for modules.

    a, b = libemr.Model("a/", side_files=True), libemr.Model("b/", side_files=True)
    spec = libemr.fit.PermutationSpec.derive(a)
    permutation, report = libemr.fit.match(spec, a, b)
    permutation.apply(b).write("b-in-the-order-of-a/")

And what is learned with the host's passes: how much of each task vector goes into a merged model
(`Coefficients`), adapters for its features (`Surgery`), weights of source models (`Ensemble`); losses.

Merged models are computed as they are read. They keep what they need; models, arrays and grams of which they
are made must stay as they are meanwhile."""

from __future__ import annotations

from .coefficients import Coefficients, CoefficientsReport
from .ensemble import Ensemble, EnsembleReport
from .gram import Gram, GramSite
from .layers import Layer
from .losses import cross_entropy, entropy, l1
from .matching import MatchReport, assign, match
from .permutation import HeadUnits, Permutation
from .pleas import merged_pairs, pleas
from .regmean import regmean
from .spec import PermutationSpec, UnitGroup
from .spectral import spectral
from .surgery import Surgery, SurgeryReport
from .zipping import zip_models

__all__ = [
    "Coefficients",
    "CoefficientsReport",
    "Ensemble",
    "EnsembleReport",
    "Gram",
    "GramSite",
    "HeadUnits",
    "Layer",
    "MatchReport",
    "Permutation",
    "PermutationSpec",
    "Surgery",
    "SurgeryReport",
    "UnitGroup",
    "assign",
    "cross_entropy",
    "entropy",
    "l1",
    "match",
    "merged_pairs",
    "pleas",
    "regmean",
    "spectral",
    "zip_models",
]

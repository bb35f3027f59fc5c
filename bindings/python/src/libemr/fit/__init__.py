"""libemr.fit - merging with a few unlabelled samples: second moments of activations (`Gram`), which units
belong together (`PermutationSpec`, `match`), and layers that are solved (`regmean`, `pleas`), or zipped
(`zip_models`); `spectral` needs no samples. `libemr.fit.torch` does all of it for modules.

    a, b = libemr.Model("a/", side_files=True), libemr.Model("b/", side_files=True)
    spec = libemr.fit.PermutationSpec.derive(a)
    permutation, report = libemr.fit.match(spec, a, b)
    permutation.apply(b).write("b-in-the-order-of-a/")

Merged models are computed as they are read. They keep what they need; models, arrays and grams of which they
are made must stay as they are meanwhile."""

from __future__ import annotations

from .gram import Gram, GramSite
from .layers import Layer
from .matching import MatchReport, assign, match
from .permutation import HeadUnits, Permutation
from .pleas import merged_pairs, pleas
from .regmean import regmean
from .spec import PermutationSpec, UnitGroup
from .spectral import spectral
from .zipping import zip_models

__all__ = [
    "Gram",
    "GramSite",
    "HeadUnits",
    "Layer",
    "MatchReport",
    "Permutation",
    "PermutationSpec",
    "UnitGroup",
    "assign",
    "match",
    "merged_pairs",
    "pleas",
    "regmean",
    "spectral",
    "zip_models",
]

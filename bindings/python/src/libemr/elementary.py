"""elementary.py - the exponential and the logarithm, for methods and losses of one's own: the same bits on every
machine, which those of `math` and numpy are not."""

from __future__ import annotations

from ._native import lib

__all__ = ["exp", "log"]


def exp(x: float) -> float:
    """e to the power of x: infinity above 709.78, 0 below -745.13."""
    return float(lib.emr_exp(x))


def log(x: float) -> float:
    """The natural logarithm: -infinity of 0, NaN below. It raises nothing."""
    return float(lib.emr_log(x))

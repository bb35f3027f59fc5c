"""adam.py - how fast what learns goes: Adam's numbers, as C takes them."""

from __future__ import annotations

from typing import Any

from .._native import Arena, failed

__all__ = ["Betas", "above_zero", "adam_of"]

Betas = tuple[float, float]


def adam_of(arena: Arena, lr: float, betas: Betas, epsilon: float) -> Any:
    """An emr_adam."""
    beta1, beta2 = betas
    above_zero(lr=lr, beta1=beta1, beta2=beta2, epsilon=epsilon)
    return arena.struct("emr_adam", lr=lr, beta1=beta1, beta2=beta2, epsilon=epsilon)


def above_zero(**values: float) -> None:
    """In C's structs 0 is the default, so it cannot be asked for."""
    for name, value in values.items():
        if not value > 0:
            raise failed("EMR_EINVAL", f"{name} is {value}: a number above 0 is needed")

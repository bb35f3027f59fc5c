"""running.py - modules on batches: in evaluation mode, without gradients; and BatchNorm's statistics,
measured anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Optional

import torch

__all__ = ["Forward", "as_they_were", "called", "renew_batch_norm", "run"]

Forward = Optional[Callable[[torch.nn.Module, Any], Any]]


def run(modules: Sequence[torch.nn.Module], batches: Iterable[Any], forward: Forward = None) -> None:
    """Each module on each batch, one after the other.

    A batch is a tensor, or a mapping of arguments by name; `forward(module, batch)` runs what is neither.
    """
    with as_they_were(modules), torch.no_grad():
        for module in modules:
            module.eval()
        for batch in batches:
            for module in modules:
                (forward or called)(module, batch)


@contextmanager
def as_they_were(modules: Sequence[torch.nn.Module]) -> Iterator[None]:
    """Parts are in training or evaluation mode afterwards, each as before."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def called(module: torch.nn.Module, batch: Any) -> Any:
    device = next((tensor.device for tensor in module.parameters()), None)
    if isinstance(batch, Mapping):
        return module(**{key: _moved(value, device) for key, value in batch.items()})
    if isinstance(batch, torch.Tensor):
        return module(_moved(batch, device))
    raise TypeError(
        f"a batch is a {type(batch).__name__}, neither a tensor nor a mapping of arguments by name: "
        "give forward=lambda module, batch: ..."
    )


def _moved(value: Any, device: torch.device | None) -> Any:
    return value.to(device) if isinstance(value, torch.Tensor) else value


def renew_batch_norm(module: torch.nn.Module, batches: Iterable[Any], forward: Forward = None) -> None:
    """Measures the running statistics of BatchNorm on a few batches, all of which count the same: those of
    merged models are wrong."""
    norms = [part for part in module.modules() if isinstance(part, torch.nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    with as_they_were([module]), torch.no_grad():
        module.eval()
        for norm in norms:
            norm.train()
            norm.reset_running_stats()
            norm.momentum = None
        try:
            for batch in batches:
                (forward or called)(module, batch)
        finally:
            for norm, momentum in zip(norms, momenta):
                norm.momentum = momentum

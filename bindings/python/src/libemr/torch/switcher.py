"""switcher.py - tasks of a bundle in a live module: its parameters become any task's, in place."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from ..bundle import Bundle
from ..model import ModelLike
from ..resources import Memory, Threads
from .base import base_of, mismatch
from .engines import DeviceEngine, Engine, HostEngine
from .targets import Names, Target, find_targets

__all__ = ["Switcher"]

NO_WEIGHTS = ("file:", "gguf.header")


class Switcher:
    """Switches tasks into a module.

        switcher = libemr.torch.Switcher(model, bundle)
        switcher.switch("french")
        with switcher.task("german"):
            model(inputs)               # french again afterwards

    Parameters and persistent buffers are written in place, always computed from the base, so nothing drifts. What the base
    lacks, such as a head, is what it was at first where neither task nor base has it. In the CPU's memory a `Session` writes
    them; on other devices they are computed there, from packed codes that are uploaded when a task comes for the first time,
    and have the same bits. Autograd does not see it: switch between steps, not within one. Used by one thread at a time.

    Args:
        module: whose parameters and buffers are the tensors of the tasks, in any float type. They must be contiguous.
        bundle: a bundle.
        base: a path, Model or mapping of arrays; None: the embedded one or, without that, a copy of the module's own weights,
            which must be the base's then.
        names: what the bundle calls the module's tensors, where it is something else: a mapping or a function.
        strict: what module and task do not have in common raises `Mismatch`; else it is left alone.
        resize: a tensor that has another shape in a task, such as a head, is replaced; else that raises `Mismatch`.
        planes: whether weights are computed by torch from packed codes; None: where the module is not in the CPU's memory.
        threads, memory: of the session.
    """

    def __init__(self, module: torch.nn.Module, bundle: Bundle, base: ModelLike | None = None, *, names: Names = None,
                 strict: bool = True, resize: bool = False, planes: bool | None = None, threads: Threads = None,
                 memory: Memory = None) -> None:
        self.bundle = bundle
        self._strict, self._resize = strict, resize
        self._targets = find_targets(module, names)
        self._current: str | None = None
        self._at_first: dict[str, torch.Tensor] = {}
        given = base_of(bundle, base, self._targets)
        on_cpu = all(target.tensor.device.type == "cpu" for target in self._targets)
        self._engine: Engine = DeviceEngine(bundle, given) if planes or (planes is None and not on_cpu) else \
            HostEngine(bundle, given, threads, memory)
        self._chosen: dict[str | None, dict[str, Target]] = {}

    def close(self) -> None:
        """Frees what it holds. The module keeps the weights that it has."""
        self._engine.close()

    def __enter__(self) -> Switcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def current(self) -> str | None:
        """The task that was switched to last; None: the base, or what the module came with."""
        return self._current

    def switch(self, task: str | None) -> None:
        """The module becomes a task, or the base. After a failure its weights are undefined until the next switch."""
        chosen = self._chosen.get(task)
        if chosen is None:
            chosen = self._chosen[task] = self._choose(task)
        self._restore(chosen)
        for name, target in chosen.items():
            self._expect(task, name, target)
        self._engine.write(task, chosen)
        self._current = task

    @contextmanager
    def task(self, task: str | None) -> Iterator[None]:
        """The module is a task for the length of a `with`, and what it was before afterwards."""
        before = self._current
        self.switch(task)
        try:
            yield
        finally:
            self.switch(before)

    def _choose(self, task: str | None) -> dict[str, Target]:
        """The targets that a task has tensors for, by the tensors' names."""
        model = self._engine.model(task)
        chosen, lacking = {}, []
        for target in self._targets:
            name = next((name for name in target.names if name in model), None)
            if name is None:
                lacking.append(target.names[0])
            else:
                chosen[name] = target
        if not self._strict or task is None:
            return chosen
        known = {name for target in self._targets for name in target.names}
        strangers = [name for name in model if name not in known and not name.startswith(NO_WEIGHTS)]
        if strangers:
            raise mismatch(f"task '{task}' has a tensor '{strangers[0]}', and the module has none of that name{more(strangers)}",
                            task, strangers[0])
        if lacking:
            raise mismatch(f"the module has a tensor '{lacking[0]}', and task '{task}' has none of that name{more(lacking)}",
                            task, lacking[0])
        return chosen

    def _restore(self, chosen: Mapping[str, Target]) -> None:
        """What an earlier task has changed, and this one does not have, is what it was at first."""
        base = self._engine.model(None)
        for target in self._targets:
            first = target.names[0]
            if not any(name in base for name in target.names):
                if target not in chosen.values():
                    if first in self._at_first:
                        put(target, self._at_first[first])
                elif first not in self._at_first:
                    self._at_first[first] = target.tensor.clone()

    def _expect(self, task: str | None, name: str, target: Target) -> None:
        """The target has the tensor's shape, and memory as it should be."""
        shape, tensor = self._engine.shape(task, name), target.tensor
        if tuple(tensor.shape) != shape:
            if not self._resize:
                raise mismatch(f"task '{task}': tensor '{name}' has the shape {list(shape)}, the module's {list(tensor.shape)}: "
                                "`resize` replaces it", task, name)
            target.replace(torch.empty(shape, dtype=tensor.dtype, device=tensor.device))
        elif not tensor.is_contiguous():
            raise BufferError(f"the module's tensor '{name}' is not contiguous")


def put(target: Target, tensor: torch.Tensor) -> None:
    if target.tensor.shape == tensor.shape:
        target.tensor.copy_(tensor)
    else:
        target.replace(tensor.clone())


def more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""

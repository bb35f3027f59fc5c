"""switcher.py - tasks of a bundle in a live module: its parameters become any task's, in place."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..bundle import Bundle
from ..model import ModelLike
from ..resources import Memory, Threads
from .base import base_of, chosen, mismatch, name_in
from .engines import DeviceEngine, Engine, HostEngine
from .targets import Names, Target, find_targets, memory_of

__all__ = ["Switcher"]


@dataclasses.dataclass
class Plan:
    """What a switch writes: the task's own tensors, the base's where the task lacks them, and the rest, which
    neither has. What is lost is what the base cannot give back."""

    own: dict[str, Target]
    from_base: dict[str, Target]
    rest: list[Target]
    lost: list[Target]


class Switcher:
    """Switches tasks into a module.

        switcher = libemr.torch.Switcher(model, bundle)
        switcher.switch("french")
        with switcher.task("german"):
            model(inputs)               # french again afterwards

    Parameters and persistent buffers are written in place, always computed from the base, so nothing drifts.
    In the CPU's memory a `Session` writes them; on other devices they are computed there, from packed codes
    that are uploaded when a task comes for the first time, and have the same bits. Used by one thread at a
    time.

    Args:
        module: whose parameters and buffers are the tensors of the tasks, in any float type. They must be
            contiguous.
        bundle: a bundle.
        base: a path, Model or mapping of arrays; None: the embedded one or, without that, a copy of the
            module's own weights, which must be the base's then.
        names: what the bundle calls the module's tensors, where it is something else: a mapping or a
            function. None: the names of the module's state dict; of a transformers model, those by which it
            is saved.
        strict: what module and task do not have in common raises `Mismatch`; else what a task lacks is the
            base's, or what it was at first.
        resize: a tensor that has another shape in a task, such as a head, is replaced; else that raises
            `Mismatch`.
        planes: whether weights are computed by torch from packed codes; None: where the module is not in the
            CPU's memory.
        threads, memory: of the session.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        bundle: Bundle,
        base: ModelLike | None = None,
        *,
        names: Names = None,
        strict: bool = True,
        resize: bool = False,
        planes: bool | None = None,
        threads: Threads = None,
        memory: Memory = None,
    ) -> None:
        self.bundle = bundle
        self._strict, self._resize = strict, resize
        self._module, self._names = module, names
        self._find()
        self._current: str | None = None
        self._at_first: dict[str, torch.Tensor] = {}
        given = base_of(bundle, base, self._targets)
        on_cpu = all(target.tensor.device.type == "cpu" for target in self._targets)
        self._engine: Engine = (
            DeviceEngine(bundle, given)
            if planes or (planes is None and not on_cpu)
            else HostEngine(bundle, given, threads, memory)
        )

    def _find(self) -> None:
        self._targets = find_targets(self._module, self._names)
        self._memory = memory_of(self._module)
        self._plans: dict[str | None, Plan] = {}

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
        """The module becomes a task, or the base. After a failure its weights are undefined until the next
        switch."""
        plan = self._plan(task)
        for target in plan.lost:
            if target.names[0] not in self._at_first:
                self._at_first[target.names[0]] = target.tensor.clone()
        for of, targets in ((task, plan.own), (None, plan.from_base)):
            for name, target in targets.items():
                self._fit(of, name, target)
            if targets:
                self._engine.write(of, targets)
        for target in plan.rest:
            if target.names[0] in self._at_first:
                put(target, self._at_first[target.names[0]])
        note_change([target.tensor for target in self._targets])
        self._current = task

    def prepare(self, task: str | None) -> None:
        """Gets ready for a task, so that its first switch takes no longer than others: on a device, uploads
        its codes."""
        self._engine.prepare(task, self._plan(task).own)

    def forget(self, task: str) -> None:
        """Frees what a task has on the device, until it is switched to again."""
        self._engine.forget(task)

    @contextmanager
    def task(self, task: str | None) -> Iterator[None]:
        """The module is a task for the length of a `with`, and what it was before afterwards."""
        before = self._current
        self.switch(task)
        try:
            yield
        finally:
            self.switch(before)

    def _plan(self, task: str | None) -> Plan:
        """What a switch does; made again where the module's memory has moved."""
        if memory_of(self._module) != self._memory:
            self._find()
        if task not in self._plans:
            own = self._choose(task)
            taken = {id(target) for target in own.values()}
            others = [target for target in self._targets if id(target) not in taken]
            named = [(self._name_in(None, target), target) for target in others]
            self._plans[task] = Plan(
                own,
                {name: target for name, target in named if name is not None},
                [target for name, target in named if name is None],
                [target for target in own.values() if self._name_in(None, target) is None],
            )
        return self._plans[task]

    def _name_in(self, task: str | None, target: Target) -> str | None:
        """What the task, or the base, calls a target."""
        return name_in(self._engine.model(task), target)

    def _choose(self, task: str | None) -> dict[str, Target]:
        """The targets that a task has tensors for, by the tensors' names."""
        strict = self._strict and task is not None
        return chosen(self._targets, self._engine.model(task), f"task '{task}'", task=task, strict=strict)

    def _fit(self, task: str | None, name: str, target: Target) -> None:
        """The target has the tensor's shape."""
        shape, tensor = self._engine.shape(task, name), target.tensor
        if tuple(tensor.shape) == shape:
            return
        if not self._resize or not target.places:
            of = "the base" if task is None else f"task '{task}'"
            raise mismatch(
                f"{of}: tensor '{name}' has the shape {list(shape)}, the module's "
                f"{list(tensor.shape)}; `resize` replaces it",
                task,
                name,
            )
        target.replace(torch.empty(shape, dtype=tensor.dtype, device=tensor.device))
        self._memory = memory_of(self._module)


def put(target: Target, tensor: torch.Tensor) -> None:
    """A copy of the tensor, in its place."""
    if target.tensor.shape == tensor.shape:
        target.tensor.copy_(tensor)
    else:
        target.replace(tensor.clone())


def note_change(tensors: list[torch.Tensor]) -> None:
    """Autograd is told: what it saved of them before is of no use any more."""
    if hasattr(torch.autograd.graph, "increment_version"):
        torch.autograd.graph.increment_version([tensor for tensor in tensors if not tensor.is_inference()])

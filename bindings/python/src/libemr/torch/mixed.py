"""mixed.py - batches whose rows belong to different tasks: modules that multiply by each row's weights
without writing these anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from .._native import failed
from ..bundle import Bundle
from ..model import ModelLike
from ..resources import Memory, Threads
from ..session import Session, TaskNumbers
from .base import base_of, tensors_of
from .engines import Tasks, read
from .targets import Names, Target, find_targets

__all__ = ["Batch", "Each", "Embedding", "Linear", "Mixed"]


class Batch:
    """A session, and the tasks that the rows of a batch belong to.

        batch = libemr.torch.Batch(bundle, "base/")
        linear = libemr.torch.Linear(batch, "layer.weight", "layer.bias")
        with batch.tasks(["french", "german", None]):
            y = linear(x)               # x has three rows, or [3, length, columns]; None is the base

    Rows of tasks that are coded alike are best side by side. Everything is computed in F32, on the CPU,
    without autograd.
    """

    def __init__(
        self,
        bundle: Bundle,
        base: ModelLike | None = None,
        *,
        mask_bytes: int = 0,
        threads: Threads = None,
        memory: Memory = None,
    ) -> None:
        model = base_of(bundle, base)
        self.session = Session(
            bundle, model, check=False, mask_bytes=mask_bytes, threads=threads, memory=memory
        )
        self.models = Tasks(bundle, model)
        self._tasks: Sequence[str | None] | None = None
        self._numbers: dict[tuple[tuple[str | None, ...], int], TaskNumbers] = {}
        self._tensors: dict[tuple[str | None, str], torch.Tensor] = {}

    def close(self) -> None:
        self.session.close()
        self.models.close()

    @contextmanager
    def tasks(self, tasks: Sequence[str | None]) -> Iterator[None]:
        """Modules take batches of so many rows, each of its own task, for the length of a `with`."""
        before, self._tasks = self._tasks, list(tasks)
        try:
            yield
        finally:
            self._tasks = before

    def of(self, x: torch.Tensor) -> Sequence[str | None]:
        """The tasks of x's rows."""
        if self._tasks is None:
            raise failed("EMR_ESTATE", "the batch has no tasks: call it within `with batch.tasks([...])`")
        if x.shape[:1] != (len(self._tasks),):
            raise ValueError(f"the batch has the shape {list(x.shape)}, for {len(self._tasks)} tasks")
        return self._tasks

    def spread(self, x: torch.Tensor) -> torch.Tensor:
        """What is the same for all rows, such as their positions, once for each: here every row is its own
        task's."""
        return x.expand(len(self._tasks), *x.shape[1:]) if self._tasks and x.shape[:1] == (1,) else x

    def numbers(self, x: torch.Tensor, each: int) -> TaskNumbers:
        key = tuple(self.of(x)), each
        if key not in self._numbers:
            self._numbers.clear()
            self._numbers[key] = self.session.tasks(key[0], each)
        return self._numbers[key]

    def is_merged(self, name: str) -> bool:
        return name in self.models.tensors and self.models.tensors[name].merged

    def tensor(self, task: str | None, name: str) -> torch.Tensor:
        """A task's tensor, which is kept: for vectors and what tasks have to themselves."""
        if (task, name) not in self._tensors:
            model = self.models.model(task)
            if name not in model:
                of = "the base" if task is None else f"task '{task}'"
                raise failed("EMR_ENOTFOUND", f"{of} has no tensor '{name}'", task=task, tensor=name)
            self._tensors[task, name] = read(model[name])
        return self._tensors[task, name]

    def groups(self, x: torch.Tensor) -> Iterator[tuple[str | None, torch.Tensor]]:
        """Each task, and the numbers of its rows."""
        tasks = self.of(x)
        for task in dict.fromkeys(tasks):
            yield task, torch.tensor([i for i, of_row in enumerate(tasks) if of_row == task])


class Linear(torch.nn.Module):  # type: ignore[misc]
    """y = x W^T + b, with W and b of each row's own task: a merged W is multiplied by as it is in the
    bundle."""

    def __init__(self, batch: Batch, weight: str, bias: str | None = None) -> None:
        super().__init__()
        self.batch, self.weight_name, self.bias_name = batch, weight, bias

    def extra_repr(self) -> str:
        return f"{self.weight_name!r}, {self.bias_name!r}"

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.batch.spread(x)
        if not self.batch.is_merged(self.weight_name):
            return self._by_task(x)
        rows = x.reshape(-1, x.shape[-1]).float().contiguous()
        numbers = self.batch.numbers(x, rows.shape[0] // max(x.shape[0], 1))
        n_out = self.batch.models.tensors[self.weight_name].shape[0]
        y = torch.empty(rows.shape[0], n_out)
        self.batch.session.multiply(self.weight_name, numbers, rows, out=y)
        y = y.view(*x.shape[:-1], n_out)
        if self.bias_name is not None:
            for task, at in self.batch.groups(x):
                y[at] += self.batch.tensor(task, self.bias_name).float()
        return y.to(x.dtype)

    def _by_task(self, x: torch.Tensor) -> torch.Tensor:
        """By weights that tasks have to themselves."""
        parts = []
        for task, at in self.batch.groups(x):
            bias = None if self.bias_name is None else self.batch.tensor(task, self.bias_name).float()
            weight = self.batch.tensor(task, self.weight_name).float()
            parts.append((at, torch.nn.functional.linear(x[at].float(), weight, bias).to(x.dtype)))
        return joined(parts, self.weight_name)


class Embedding(torch.nn.Module):  # type: ignore[misc]
    """Rows of each row's own task."""

    def __init__(self, batch: Batch, weight: str, dtype: torch.dtype) -> None:
        super().__init__()
        self.batch, self.weight_name, self.dtype = batch, weight, dtype

    def extra_repr(self) -> str:
        return repr(self.weight_name)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        ids = self.batch.spread(ids)
        if not self.batch.is_merged(self.weight_name):
            parts = [
                (
                    at,
                    torch.nn.functional.embedding(ids[at], self.batch.tensor(task, self.weight_name)).to(
                        self.dtype
                    ),
                )
                for task, at in self.batch.groups(ids)
            ]
            return joined(parts, self.weight_name)
        rows = ids.reshape(-1).long().contiguous()
        numbers = self.batch.numbers(ids, rows.shape[0] // max(ids.shape[0], 1))
        out = torch.empty(
            rows.shape[0], self.batch.models.tensors[self.weight_name].shape[1], dtype=self.dtype
        )
        self.batch.session.gather(self.weight_name, numbers, rows, out=out)
        return out.view(*ids.shape, -1)


class Each(torch.nn.Module):  # type: ignore[misc]
    """Any other module, called for each task's rows with the task's weights, which are kept: for those with
    vectors alone."""

    def __init__(self, batch: Batch, module: torch.nn.Module, names: dict[str, str]) -> None:
        super().__init__()
        self.batch, self.names = batch, names
        self._module = [module]  # so that its parameters are none of this module's

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        module, parts, x = self._module[0], [], self.batch.spread(x)
        for task, at in self.batch.groups(x):
            weights = {}
            for key, name in self.names.items():
                own = getattr(module, key)
                weights[key] = self.batch.tensor(task, name).to(own.dtype)
            parts.append((at, torch.func.functional_call(module, weights, (x[at],))))
        return joined(parts, next(iter(self.names.values())))


def joined(parts: list[tuple[torch.Tensor, torch.Tensor]], name: str) -> torch.Tensor:
    """Rows in the batch's order."""
    shapes = {tuple(part.shape[1:]) for _, part in parts}
    if len(shapes) > 1:
        raise failed(
            "EMR_EMISMATCH",
            f"tensor '{name}': the tasks of this batch have it in different shapes",
            tensor=name,
        )
    out = parts[0][1].new_empty(sum(len(at) for at, _ in parts), *parts[0][1].shape[1:])
    for at, part in parts:
        out[at] = part
    return out


class Mixed(Batch):
    """A module that takes batches whose rows belong to different tasks.

        with libemr.torch.Mixed(model, bundle) as mixed, mixed.tasks(["french", "german"]):
            model(two_texts)

    Until it is closed, its linear layers and embeddings are replaced by `Linear` and `Embedding`, and other
    layers with vectors alone, such as norms, by `Each`. The first dimension of what goes into them must be
    the batch. The module's own weights stay as they are; without `base` and an embedded one, they are the
    base, in place.

    Args:
        module, bundle, base, names: as in `Switcher`.
        materialise: layers with other matrices, such as convolutions, become `Each`, which keeps every task's
            weights of them; else they raise `Unsupported`.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        bundle: Bundle,
        base: ModelLike | None = None,
        *,
        names: Names = None,
        materialise: bool = False,
        mask_bytes: int = 0,
        threads: Threads = None,
        memory: Memory = None,
    ) -> None:
        targets = find_targets(module, names)
        if base is None and not bundle.info.has_base:
            base = tensors_of(targets)
        super().__init__(bundle, base, mask_bytes=mask_bytes, threads=threads, memory=memory)
        self._replaced: list[tuple[torch.nn.Module, str, torch.nn.Module]] = []
        self._names = {
            (id(owner), key): self._known(target) for target in targets for owner, key in target.places
        }
        try:
            self._replace_all(module, materialise)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Mixed:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """The module is what it was."""
        for owner, key, child in self._replaced:
            setattr(owner, key, child)
        self._replaced.clear()
        super().close()

    def _known(self, target: Target) -> str:
        """What the bundle calls it."""
        return next((name for name in target.names if name in self.models.tensors), target.names[0])

    def _replace_all(self, module: torch.nn.Module, materialise: bool) -> None:
        own = [
            name
            for (owner, key), name in self._names.items()
            if owner == id(module) and (key in module._parameters or self.is_merged(name))
        ]
        if own:
            raise failed(
                "EMR_EUNSUPPORTED",
                f"the module itself has a tensor '{own[0]}': only modules in it are replaced",
                tensor=own[0],
            )
        for owner in list(module.modules()):
            for key, child in list(owner._modules.items()):
                made = None if child is None else self._replacement(child, materialise)
                if made is not None:
                    self._replaced.append((owner, key, child))
                    setattr(owner, key, made.train(child.training))

    def _replacement(self, child: torch.nn.Module, materialise: bool) -> torch.nn.Module | None:
        own = [*child.named_parameters(recurse=False), *child.named_buffers(recurse=False)]
        names = {key: self._names[id(child), key] for key, _ in own if (id(child), key) in self._names}
        if not names:
            return None
        if type(child) is torch.nn.Linear:
            return Linear(self, names["weight"], names.get("bias"))
        if type(child) is torch.nn.Embedding and child.max_norm is None:
            return Embedding(self, names["weight"], child.weight.dtype)
        leaf, vectors = not list(child.children()), all(getattr(child, key).dim() < 2 for key in names)
        if not leaf or not (vectors or materialise):
            name, how = (
                next(iter(names.values())),
                ": `materialise` keeps every task's weights of it" if leaf else "",
            )
            raise failed(
                "EMR_EUNSUPPORTED",
                f"a {type(child).__name__} has a tensor '{name}', by which no mixed batch is multiplied{how}",
                tensor=name,
            )
        return Each(self, child, names)

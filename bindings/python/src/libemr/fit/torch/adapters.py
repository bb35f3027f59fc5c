"""adapters.py - SurgeryV2: adapters behind the parts of a module, in its forward pass and in autograd."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from ... import io
from ..._native import failed
from ...model import ModelLike, as_model
from ...torch.engines import read
from ..surgery import DOWN, UP, Surgery
from .running import Forward, as_they_were, called

__all__ = ["Adapter", "Adapters", "surgery_v2"]


class Adapter(torch.nn.Module):  # type: ignore[misc]
    """y = x - U relu(D x), D is ``down.weight`` and U, 0 at first, ``up.weight``: `libemr.Surgery` as a
    module. It computes in its weights' type, and gives x's."""

    def __init__(self, width: int, rank: int = 16) -> None:
        super().__init__()
        self.down = torch.nn.Linear(width, rank, bias=False)
        self.up = torch.nn.Linear(rank, width, bias=False)
        torch.nn.init.zeros_(self.up.weight)

    @classmethod
    def of(cls, surgery: Surgery) -> Adapter:
        """With the weights of this moment."""
        made = cls(surgery.width, surgery.rank)
        made.take({"down.weight": surgery.down, "up.weight": surgery.up})
        return made

    def take(self, weights: Mapping[str, Any]) -> None:
        """Takes weights of numpy or torch, by name."""
        self.load_state_dict({name: torch.as_tensor(weight) for name, weight in weights.items()})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = x.to(self.up.weight.dtype)
        y: torch.Tensor = wide - self.up(torch.relu(self.down(wide)))
        return y.to(x.dtype)


class Adapters(torch.nn.Module):  # type: ignore[misc]
    """Adapters behind parts of a module, while a ``with`` lasts: what a part gives, [..., width], or first of
    several things, goes through its adapter, on every token, and on into the next part.

        adapters = Adapters(model, {"blocks.0": 768, "blocks.1": 768, "norm": 768})
        with adapters:
            model(batch)

    Its own parameters are those of the adapters alone.

    Args:
        module: is not changed.
        widths: of the features behind parts, by the parts' names, as ``get_submodule`` has them; "": the
            module itself.
    """

    def __init__(self, module: torch.nn.Module, widths: Mapping[str, int], rank: int = 16) -> None:
        super().__init__()
        self.places = list(widths)
        self._parts = {
            place: module.get_submodule(place) for place in widths
        }  # a dict: no part of this module
        self._adapters = torch.nn.ModuleList(Adapter(width, rank) for width in widths.values())
        self._hooks: list[Any] = []

    def __getitem__(self, place: str) -> Adapter:
        adapter: Adapter = self._adapters[self.places.index(place)]
        return adapter

    def __enter__(self) -> Adapters:
        if self._hooks:
            raise failed("EMR_ESTATE", "the adapters are there already")
        self._hooks = [_hook(self._parts[place], self[place]) for place in self.places]
        return self

    def __exit__(self, *_: object) -> None:
        while self._hooks:
            self._hooks.pop().remove()

    def save(self, target: io.Target, task: str, *, replace: bool = False) -> None:
        """Writes them as safetensors, by the places' names behind the task's: each is a `libemr.Surgery`."""
        Surgery.save_all(
            target, {f"{task}.{place}": Surgery.of(self[place]) for place in self.places}, replace=replace
        )

    @classmethod
    def open(cls, module: torch.nn.Module, source: ModelLike, task: str) -> Adapters:
        """Those of a task that were saved."""
        model, begin = as_model(source, "adapters"), f"{task}."
        places = [place[len(begin) :] for place in Surgery.places(model) if place.startswith(begin)]
        if not places:
            raise failed("EMR_ENOTFOUND", f"{model.name} has no adapters of task '{task}'", task=task)
        shapes = {place: model[begin + place + DOWN].shape for place in places}
        made = cls(module, {place: shape[1] for place, shape in shapes.items()}, shapes[places[0]][0])
        for place in places:
            weights = {name[1:]: read(model[begin + place + name]).float() for name in (DOWN, UP)}
            made[place].take(weights)
        return made


def surgery_v2(
    module: torch.nn.Module,
    individual: torch.nn.Module,
    batches: Iterable[Any],
    places: Sequence[str],
    *,
    rank: int = 16,
    rounds: int = 1,
    joint: bool = True,
    lr: float = 1e-3,
    seed: int = 0,
    batch_axis: int = 0,
    forward: Forward = None,
) -> Adapters:
    """SurgeryV2: adapters that bring what the parts of a merged module give to where the task's own module
    has it, on a few unlabelled batches. Neither module is changed.

    The loss is the sum over places of the mean absolute difference, of features with tokens that of their
    means over these. Padding counts as any other token.

    Args:
        individual: the task's own module, with parts of the same names.
        batches: tensors, or mappings of arguments by name.
        places: names of parts, in the order in which they run: blocks, and what gives the final features.
        rounds: through the batches: a step of Adam for each batch in each.
        joint: all places at once, as published; else one after the other, by `libemr.Surgery.fit`, which is
            weaker, but needs no backward pass, and memory for all batches' features of a place.
        seed: of first weights, and of the order of samples.
        batch_axis: of features: 1 where these are [tokens, batch, width].
        forward: runs a module on a batch: ``lambda module, batch: module(batch[0])``.
    """
    given = list(batches)
    if not given or not places:
        raise failed("EMR_EINVAL", f"{len(given)} batches and {len(places)} places: one is needed at least")
    run = forward or called
    with as_they_were([module, individual]):
        module.eval(), individual.eval()
        seen = _seen(module, places, run, given[0])
        adapters = Adapters(module, {place: int(seen[place].shape[-1]) for place in places}, rank)
        for i, place in enumerate(places):
            adapters[place].take(_weights_of(Surgery(seen[place].shape[-1], rank, seed=seed + i)))
            adapters[place].to(seen[place].device)
        if joint:
            _fit_jointly(adapters, module, individual, given, rounds, lr, batch_axis, run)
        else:
            _fit_in_turn(adapters, module, individual, given, rounds, lr, seed, run)
    return adapters


def _weights_of(surgery: Surgery) -> dict[str, Any]:
    return {"down.weight": surgery.down, "up.weight": surgery.up}


def _fit_jointly(
    adapters: Adapters,
    module: torch.nn.Module,
    individual: torch.nn.Module,
    batches: Sequence[Any],
    rounds: int,
    lr: float,
    batch_axis: int,
    run: Callable[[torch.nn.Module, Any], Any],
) -> None:
    parameters = list(adapters.parameters())
    adam = torch.optim.Adam(parameters, lr)
    for _ in range(rounds):
        for batch in batches:
            wanted = _seen(individual, adapters.places, run, batch)
            with torch.enable_grad(), adapters, _watching(module, adapters.places) as got:
                run(module, batch)
                loss = sum(_distance(got[p], wanted[p], batch_axis) for p in adapters.places)
            for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters)):
                parameter.grad = gradient
            adam.step()
    adam.zero_grad()


def _distance(y: torch.Tensor, z: torch.Tensor, batch_axis: int) -> torch.Tensor:
    return (_mean_token(y, batch_axis) - _mean_token(z.to(y.device), batch_axis)).abs().mean()


def _mean_token(x: torch.Tensor, batch_axis: int) -> torch.Tensor:
    return x.float().movedim(batch_axis, 0).flatten(1, -2).mean(1) if x.dim() > 2 else x.float()


def _fit_in_turn(
    adapters: Adapters,
    module: torch.nn.Module,
    individual: torch.nn.Module,
    batches: Sequence[Any],
    rounds: int,
    lr: float,
    seed: int,
    run: Callable[[torch.nn.Module, Any], Any],
) -> None:
    """An adapter that is not fitted yet changes nothing, so all are there from the beginning."""
    for i, place in enumerate(adapters.places):
        x, z = [], []
        for batch in batches:
            with adapters:
                x.append(_seen(module, [place], run, batch)[place].float().cpu())
            z.append(_seen(individual, [place], run, batch)[place].float().cpu())
        width = x[0].shape[-1]
        surgery = Surgery(width, adapters[place].down.out_features, lr=lr, seed=seed + i)
        rows = [torch.cat([part.reshape(-1, width) for part in parts]) for parts in (x, z)]
        per_batch = -(-len(rows[0]) // len(batches))
        surgery.fit(*rows, steps=rounds * len(batches), batch=per_batch, seed=seed)
        adapters[place].take(_weights_of(surgery))


# ------------------------------------------------------------------------------------------------------ hooks


def _hook(part: torch.nn.Module, function: Callable[[torch.Tensor], torch.Tensor | None]) -> Any:
    """What a part gives goes through a function; what gives None only looks at it."""

    def hook(module: torch.nn.Module, args: Any, output: Any) -> Any:
        first = output[0] if isinstance(output, tuple) else output
        if not isinstance(first, torch.Tensor):
            raise TypeError(
                f"a {type(module).__name__} gives a {type(first).__name__}, which are no features"
            )
        made = function(first)
        return made if made is None or first is output else (made, *output[1:])

    return part.register_forward_hook(hook)


@contextmanager
def _watching(module: torch.nn.Module, places: Sequence[str]) -> Iterator[dict[str, torch.Tensor]]:
    """What parts give, behind adapters that are there already."""
    seen: dict[str, torch.Tensor] = {}
    with ExitStack() as stack:
        for place in places:

            def keep(x: torch.Tensor, place: str = place) -> None:
                seen[place] = x

            stack.callback(_hook(module.get_submodule(place), keep).remove)
        yield seen


def _seen(
    module: torch.nn.Module, places: Sequence[str], run: Callable[[torch.nn.Module, Any], Any], batch: Any
) -> dict[str, torch.Tensor]:
    """What parts give of a batch."""
    with torch.no_grad(), _watching(module, places) as seen:
        run(module, batch)
    for place in places:
        if place not in seen:
            raise failed("EMR_ESTATE", f"the part '{place}' has not run")
    return seen

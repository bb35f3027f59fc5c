"""permutation.py - hidden units in another order: new[i] = old[p[i]]."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

from .. import io
from .._native import Arena, Handle, call, check, create, encode, failed, ffi, lib
from ..model import Model, ModelLike, as_model
from .made import opened
from .spec import PermutationSpec, UnitGroup

__all__ = ["HeadUnits", "Permutation"]


@dataclass(frozen=True)
class HeadUnits:
    """How heads of attention are permuted, K kv heads of r query heads each, of d dimensions.

    Attributes:
        kv: K numbers: new kv head g is old head kv[g].
        slot: K · r: its s-th query head was the slot[g · r + s]-th one of it.
        qk, v: K · d: old dimensions of q and k, and of v and the output's input.
    """

    kv: Sequence[int]
    slot: Sequence[int]
    qk: Sequence[int]
    v: Sequence[int]


Units = Union[Sequence[int], HeadUnits]


class Permutation(Mapping[str, Units]):
    """Orders of a spec's groups, by name: a list of old numbers for units, `HeadUnits` for heads.
    ``Permutation(spec)`` changes nothing; ``permutation["layers.0.mlp"] = order`` sets a group.
    """

    def __init__(self, spec: PermutationSpec) -> None:
        with spec.handle.use() as pointer:
            self._take(spec, create("emr_permutation", lib.emr_permutation_create, pointer, ffi.NULL))

    def _take(self, spec: PermutationSpec, pointer: Any) -> None:
        self.spec = spec
        self._groups = spec.groups
        self._handle = Handle(pointer, lib.emr_permutation_destroy, "the permutation", [spec.handle])

    @classmethod
    def of_pointer(cls, spec: PermutationSpec, pointer: Any) -> Permutation:
        """For this package: of a handle of C's."""
        made = cls.__new__(cls)
        made._take(spec, pointer)
        return made

    @classmethod
    def random(cls, spec: PermutationSpec, seed: int = 0) -> Permutation:
        """All groups in a random order. A spec is right when that changes nothing of what a network
        computes."""
        made, dice = cls(spec), random.Random(seed)
        for name, group in made._groups.items():
            made[name] = _random_units(dice, group) if group.n_units else _random_heads(dice, group)
        return made

    @classmethod
    def open(cls, spec: PermutationSpec, source: ModelLike) -> Permutation:
        """One that was saved."""
        made = cls(spec)
        with made._handle.use(alone=True) as pointer, as_model(source, "permutation").handle.use() as model:
            call(lib.emr_permutation_read_indices, pointer, model)
        return made

    # ---------------------------------------------------------------------------------------------- a mapping

    def _group(self, name: str) -> UnitGroup:
        if name not in self._groups:
            raise failed("EMR_ENOTFOUND", f"the spec has no group '{name}'")
        return self._groups[name]

    def __getitem__(self, name: str) -> Units:
        group = self._group(name)
        with self._handle.use() as pointer:
            if group.n_units:
                return _list(lib.emr_permutation_units(pointer, encode(name)), group.n_units)
            found = Arena().struct("emr_head_units")
            check(lib.emr_permutation_get_heads(pointer, encode(name), found))
            return HeadUnits(*(_list(getattr(found, part), n) for part, n in _lengths(group).items()))

    def __setitem__(self, name: str, units: Units) -> None:
        group, arena = self._group(name), Arena()
        if group.n_units:
            order = _order(arena, name, "units", units, group.n_units)
            function, given = lib.emr_permutation_set_units, order
        else:
            parts = {
                part: _order(arena, name, part, getattr(units, part, None), n)
                for part, n in _lengths(group).items()
            }
            function, given = lib.emr_permutation_set_heads, arena.struct("emr_head_units", **parts)
        with self._handle.use(alone=True) as pointer:
            call(function, pointer, encode(name), given)

    def __len__(self) -> int:
        return len(self._groups)

    def __iter__(self) -> Iterator[str]:
        return iter(self._groups)

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        return f"<Permutation of {len(self)} groups>"

    # ------------------------------------------------------------------------------------------ what it makes

    def inverse(self) -> Permutation:
        """The one that undoes it."""
        return self._made(lib.emr_permutation_invert)

    def then(self, second: Permutation) -> Permutation:
        """First this one, then another of the same spec."""
        with second._handle.use() as pointer:
            return self._made(lib.emr_permutation_compose, pointer)

    def _made(self, function: Any, *arguments: Any) -> Permutation:
        place = ffi.new("emr_permutation **")
        with self._handle.use() as pointer:
            call(function, pointer, *arguments, place)
        return self.of_pointer(self.spec, place[0])

    def apply(self, model: ModelLike) -> Model:
        """The model with its units in the new order: the same function of its inputs."""
        given = as_model(model)
        with self._handle.use() as pointer, given.handle.use() as old:
            return opened(lib.emr_permutation_open_model, pointer, old, parents=[given.handle, self._handle])

    def save(self, target: io.Target, *, replace: bool = False) -> None:
        """Writes it as safetensors: to a path or a file-like object."""
        with self._handle.use(alone=True) as p, opened(lib.emr_permutation_open_indices, p) as indices:
            indices.write(target, replace=replace, threads=1)

    @property
    def handle(self) -> Handle:
        """For this package: what keeps C's handle."""
        return self._handle


def _lengths(group: UnitGroup) -> dict[str, int]:
    """Of a group of heads: how many numbers each part of `HeadUnits` has."""
    dimensions = group.n_kv_heads * group.head_dim
    return {"kv": group.n_kv_heads, "slot": group.n_heads, "qk": dimensions, "v": dimensions}


def _list(pointer: Any, n: int) -> list[int]:
    return ffi.unpack(pointer, n)  # type: ignore[no-any-return]


def _order(arena: Arena, group: str, part: str, numbers: Any, n: int) -> Any:
    order = [] if numbers is None or isinstance(numbers, HeadUnits) else [int(number) for number in numbers]
    if len(order) != n:
        raise failed("EMR_EINVAL", f"group '{group}': {part} are {n} numbers, and {len(order)} were given")
    return arena.array("uint32_t", order)


def _shuffled(dice: random.Random, n: int) -> list[int]:
    return dice.sample(range(n), n)


def _random_units(dice: random.Random, group: UnitGroup) -> list[int]:
    """Blocks among each other, and units in each."""
    width = group.n_units // group.n_blocks
    blocks = _shuffled(dice, group.n_blocks)
    return [block * width + unit for block in blocks for unit in _shuffled(dice, width)]


def _random_heads(dice: random.Random, group: UnitGroup) -> HeadUnits:
    """Dimensions are numbered head by head."""

    def each(n: int, stays: bool = False) -> list[int]:
        orders = [list(range(n)) if stays else _shuffled(dice, n) for _ in range(group.n_kv_heads)]
        return [number for order in orders for number in order]

    kv = _shuffled(dice, group.n_kv_heads)
    slot = each(group.n_heads // group.n_kv_heads)
    return HeadUnits(kv, slot, each(group.head_dim, group.fixed_qk), each(group.head_dim))

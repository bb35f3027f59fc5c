"""spec.py - which axes of a model's tensors move together, and its linear layers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Union

from .. import io
from .._native import Arena, Handle, PathLike, call, create, decode, ffi, filled, lib
from ..infos import record
from ..model import Model, ModelLike, as_model
from .layers import Layer

__all__ = ["PermutationSpec", "UnitGroup", "config_text"]

Config = Union[str, Mapping[str, Any], None]
CONFIG = decode(lib.EMR_FILE_PREFIX) + "config.json"


@dataclass(frozen=True)
class UnitGroup:
    """Units that move together: `n_units` of them, or, where that is 0, heads of attention.

    Attributes:
        n_blocks: units move with their block; 1: they may go anywhere.
        fixed_qk: dimensions of q and k stay where they are.
    """

    name: str
    n_units: int
    n_blocks: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    fixed_qk: bool


class PermutationSpec:
    """The groups of a network's hidden units, and its linear layers with the sites of their inputs. It never
    changes.

    ``PermutationSpec(text)`` reads JSON, as docs/fitting.md has it: a text, or what was parsed of one.
    """

    def __init__(self, source: str | bytes | Mapping[str, Any]) -> None:
        text = json.dumps(source) if isinstance(source, Mapping) else source
        data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else bytes(text)
        self._take(create("emr_permutation_spec", lib.emr_permutation_spec_parse, data, len(data), ffi.NULL))

    def _take(self, pointer: Any) -> None:
        self._handle = Handle(pointer, lib.emr_permutation_spec_destroy, "the permutation spec")

    @classmethod
    def open(cls, path: PathLike) -> PermutationSpec:
        """Out of a file of JSON."""
        with open(path, "rb") as file:
            return cls(file.read())

    @classmethod
    def derive(cls, model: ModelLike, config: Config = None, *, residual: bool = False) -> PermutationSpec:
        """For a model of a common architecture: multi-layer perceptrons (fc0, fc1, ...), BERT, GPT-2, Llama,
        Mistral, Qwen2, Qwen3, ViT, ResNets. `Unsupported`: another one.

        Args:
            model: a path, Model, mapping of arrays.
            config: its config.json, for the numbers of heads: the text, or a mapping. None: the model's own,
                where it came along (``side_files=True``), as it does of a path.
            residual: a group for the residual stream, too.
        """
        given = as_model(model, "model", **({"side_files": True} if io.is_path(model) else {}))
        text, arena = config_text(given, config), Arena()
        options = arena.struct("emr_derive_options", residual=int(residual))
        spec = cls.__new__(cls)
        with given.handle.use() as pointer:
            function = lib.emr_permutation_spec_derive
            spec._take(create("emr_permutation_spec", function, pointer, arena.text(text), options))
        return spec

    @property
    def groups(self) -> dict[str, UnitGroup]:
        """By name."""
        with self._handle.use() as spec:
            found = [
                filled(lib.emr_permutation_spec_get_group, "emr_unit_group", spec, i)
                for i in range(lib.emr_permutation_spec_n_groups(spec))
            ]
            groups = [record(UnitGroup, group, fixed_qk=bool(group.fixed_qk)) for group in found]
        return {group.name: group for group in groups}

    @property
    def layers(self) -> list[Layer]:
        """Its linear layers."""
        with self._handle.use() as spec:
            return [
                record(Layer, filled(lib.emr_permutation_spec_get_layer, "emr_fit_layer", spec, i))
                for i in range(lib.emr_permutation_spec_n_layers(spec))
            ]

    @property
    def group_sites(self) -> list[str]:
        """Sites whose rows tell what units of groups do: what matching needs."""
        groups = self.to_json()["groups"]
        sites = [[*group.get("sites", ()), group.get("qk_site")] for group in groups]
        return list(dict.fromkeys(site for found in sites for site in found if site))

    def check(self, model: ModelLike) -> None:
        """`Mismatch`, where a model lacks an axis of the spec, or has a shorter one."""
        with self._handle.use() as spec, as_model(model).handle.use() as pointer:
            call(lib.emr_permutation_spec_check, spec, pointer)

    def to_json(self) -> dict[str, Any]:
        """What JSON has of it."""
        buffer = io.Buffer()
        with self._handle.use() as spec:
            call(lib.emr_permutation_spec_write, spec, buffer.io)
        parsed: dict[str, Any] = json.loads(bytes(buffer.memory))
        return parsed

    def save(self, target: io.Target, *, replace: bool = False) -> None:
        """Writes it as JSON: to a path or a file-like object."""
        with self._handle.use() as spec, io.output(target, replace) as output:
            call(lib.emr_permutation_spec_write, spec, output)

    @property
    def handle(self) -> Handle:
        """For this package: what keeps C's handle."""
        return self._handle

    def __repr__(self) -> str:
        return f"<PermutationSpec, {len(self.groups)} groups, {len(self.layers)} layers>"


def config_text(model: Model, config: Config) -> str | None:
    """The text of a configuration; that of the model where none is given."""
    if isinstance(config, str):
        return config
    if config is not None:
        return json.dumps(dict(config))
    return bytes(model[CONFIG].read_bytes()).decode() if CONFIG in model else None

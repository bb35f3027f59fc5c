"""configuration.py - config.json of a model whose hidden layers have become wider."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ..model import Model
from .spec import CONFIG, PermutationSpec

__all__ = ["configured"]

KEYS = ("intermediate_size", "n_inner")  # what a configuration calls the width of hidden layers


def configured(model: Model, spec: PermutationSpec, pairs: Mapping[str, int]) -> Model:
    """The model with a config.json that says how wide its hidden layers are now. Where it has none, or none
    could say that, because they differ, it stays as it is."""
    if CONFIG not in model:
        return model
    config = json.loads(bytes(model[CONFIG].read_bytes()))
    key = next((key for key in KEYS if isinstance(config.get(key), int)), KEYS[-1])
    before = config.get(key) or 4 * config.get("n_embd", 0)  # what GPT-2 means by null
    widths = {group: 2 * spec.groups[group].n_units - n for group, n in pairs.items()}
    after = {width for group, width in widths.items() if spec.groups[group].n_units == before}
    others = any(width != spec.groups[group].n_units != before for group, width in widths.items())
    if len(after) != 1 or after == {before} or others:
        return model
    text = json.dumps({**config, key: after.pop()}, indent=2) + "\n"
    made = Model.of({name: text.encode() if name == CONFIG else tensor for name, tensor in model.items()})
    made.copy_metadata(model)
    return made

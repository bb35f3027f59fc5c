"""models.py - random checkpoints of every float dtype, written and read by hand."""
import json
import pathlib
import struct
from dataclasses import dataclass

import numpy as np

from reference import BITS, decode, encode


@dataclass
class Model:
    path: str
    tensors: dict  # name -> (dtype, shape, bytes)

    @classmethod
    def random(cls, path, seed, shapes, dtypes):
        """dtypes: one of them, or "mixed"."""
        dice, tensors = np.random.default_rng(seed), {}
        for i, shape in enumerate(shapes):
            dtype = list(BITS)[(i + seed) % len(BITS)] if dtypes == "mixed" else dtypes
            values = dice.normal(0, 1, shape)
            if i % 3 == 1:  # a grid: ties and exact sums
                values = np.rint(values * 4) / 4
            values = np.where(dice.random(shape) < 0.1, -0.0, values)
            tensors[f"model.layers.{i // 4}.mlp.t{i:02}.weight"] = (dtype, tuple(shape), encode(dtype, values))
        return cls(path, tensors).write()

    def changed(self, path, seed, other_dtypes=False):
        """Fine-tuned: some elements are as they were, some tensors altogether."""
        dice, tensors = np.random.default_rng(seed), {}
        for i, (name, (dtype, shape, _)) in enumerate(self.tensors.items()):
            change = dice.normal(0, 0.1, shape)
            if i % 3 == 1:
                change = np.rint(dice.normal(0, 1, shape)) / 4
            change = np.where(dice.random(shape) < 0.2, 0, change)
            if dice.random() < 0.05:
                change = change * 0
            if other_dtypes and dice.random() < 0.3:
                dtype = list(BITS)[int(dice.integers(len(BITS)))]
            tensors[name] = (dtype, shape, encode(dtype, self.values(name) + change))
        return Model(path, tensors).write()

    def values(self, name):
        dtype, shape, raw = self.tensors[name]
        return decode(dtype, raw, shape)

    def drop(self, name):
        del self.tensors[name]
        self.write()

    def write(self):
        header, at = {}, 0
        for name, (dtype, shape, raw) in self.tensors.items():
            header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + len(raw)]}
            at += len(raw)
        text = json.dumps(header).encode()
        pathlib.Path(self.path).write_bytes(struct.pack("<Q", len(text)) + text + b"".join(t[2] for t in self.tensors.values()))
        return self

    @classmethod
    def read(cls, path):
        raw = pathlib.Path(path).read_bytes()
        size, = struct.unpack_from("<Q", raw)
        header = json.loads(raw[8:8 + size])
        header.pop("__metadata__", None)
        data = raw[8 + size:]
        return cls(path, {n: (t["dtype"], tuple(t["shape"]), data[slice(*t["data_offsets"])]) for n, t in header.items()})


@dataclass
class Task:
    name: str
    model: Model


def as_inputs(base, models, name):
    """What methods see, in F32: task vectors or weights; and whether F64 takes part."""
    wide = any(m.tensors[name][0] == "F64" for m in [*models, *[base] * (base is not None)])
    if base is None:
        return [m.values(name).astype(np.float32) for m in models], wide
    before = base.values(name)
    if wide:
        return [(m.values(name) - before).astype(np.float32) for m in models], wide
    return [m.values(name).astype(np.float32) - before.astype(np.float32) for m in models], wide

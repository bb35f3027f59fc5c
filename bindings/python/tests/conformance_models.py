"""conformance_models.py - the steps that make, read and write models."""

import io
import math
import pathlib

import numpy as np
from conformance_support import (
    OnPurpose,
    as_array,
    digest,
    digest_of,
    drawn,
    draws,
    expect_keys,
    f32,
    floats_as,
    new_array,
    number,
    option,
    shape_of,
)

import libemr
from libemr import Array, DType


class Models:
    """Models, files, adapters, dtypes."""

    def content(self, t):
        """The bytes of a tensor."""
        dtype, n = t["dtype"], math.prod(t["shape"])
        if "values" in t:
            return floats_as(dtype, [float(v) for v in t["values"]])
        if "hex" in t or "text" in t:
            return np.frombuffer(bytes.fromhex(t["hex"]) if "hex" in t else t["text"].encode(), np.uint8)
        if "every" not in t:
            return drawn(dtype, t["seed"], n)
        kept = (draws(t["seed"], n) & np.uint64(0xFFFFFFFF)) % np.uint64(t["every"]) == 0
        a, b = drawn(dtype, t["seed"], n), drawn(dtype, t["else"], n)
        return np.where(kept.reshape((n,) + (1,) * (a.ndim - 1)), a, b)

    def add_tensor(self, model, t):
        expect_keys(t, "name dtype shape seed every else values hex text from blocks")
        data, source, count = self.content(t), t.get("from", "memory"), math.prod(t["shape"])
        name, shape, blocks = t["name"], tuple(t["shape"]), t.get("blocks")
        if blocks:
            data = np.frombuffer(libemr.blocks.quantise(blocks, data), np.uint8)
        raw = bytes(memoryview(np.ascontiguousarray(data)).cast("B"))
        if source == "memory":
            model.add(
                name,
                np.frombuffer(raw, np.uint8) if blocks else Array(raw, t["dtype"], shape),
                **({"blocks": blocks, "shape": shape} if blocks else {}),
            )
        elif source == "io":
            model.add_from(name, io.BytesIO(b"12345" + raw), t["dtype"], shape, offset=5, blocks=blocks)
        elif source == "pushed":
            model.add(name, libemr.Pushed(t["dtype"], shape))
        elif source in ("computed", "failing"):
            bits = DType.of(t["dtype"]).bits

            def compute(first, n):
                if source == "failing":
                    raise OnPurpose
                return Array(raw[first * bits // 8 : (first + n) * bits // 8], t["dtype"], (n,))

            model.add_computed(
                name, t["dtype"], shape, compute, **({} if count < 4 else {"granule": 4, "max_count": 64})
            )
        else:
            raise AssertionError(f"unknown source {source}")
        self.tensors[model.name, name] = raw

    def model(self, s):
        model = self.models[s["model"]] = libemr.Model.of(name=s["model"], metadata=s.get("metadata", {}))
        for t in s["tensors"]:
            self.add_tensor(model, t)

    def zeros(self, s):
        self.models[s["model"]] = libemr.Model.zeros(self.models[s["like"]])

    def ones(self, s):
        self.models[s["model"]] = libemr.adapters.ones(self.models[s["like"]])

    def rename(self, s):
        self.models[s["model"]] = self.models[s["of"]].renamed([tuple(rule) for rule in s["rules"]])

    def pick(self, s):
        source = self.models[s["of"]]
        model = self.models[s["model"]] = libemr.Model.of(name=s["model"])
        for name in s["tensors"]:
            model.add(name[-1], source[name[0]])
        model.copy_metadata(source)

    def read(self, s):
        model, lines = self.models[s["model"]], []
        model.prepare(threads=self.threads)
        for t in model.values():
            total = t.count if s.get("floats") else t.nbytes
            chunk = s.get("chunk") or max(total, 1)
            read = t.read_floats if s.get("floats") else t.read_bytes
            data = b"".join(bytes(read(at, min(chunk, total - at))) for at in range(0, total, chunk))
            lines.append(f"{t.name} {t.dtype.name} {shape_of(t.shape)} {digest(data)}")
        return {"tensors": lines, "metadata": dict(model.metadata)}

    def roles(self, s):
        found = [(t.name, t.role) for t in self.models[s["model"]].values()]
        return {
            "roles": [
                [name, r.role, r.family, r.code or "", int(r.can_dequantise)]
                for name, r in found
                if r.role != "weight"
            ]
        }

    def write(self, s):
        out = io.BytesIO()
        self.models[s["model"]].write(out, format=s["format"], threads=self.threads)
        data = self.files[s["file"]] = out.getvalue()
        return {"bytes": len(data), "digest": digest(data)}

    def open(self, s):
        self.models[s["model"]] = libemr.Model(
            self.files[s["file"]], name=s["model"], **option(s, "dequantise")
        )

    def bytes(self, s):
        self.files[s["file"]] = bytes.fromhex(s["hex"])

    def damage(self, s):
        data = bytearray(self.files[s["of"]][: s.get("cut")])
        data[s["at"]] ^= s["xor"]
        self.files[s["file"]] = bytes(data)

    def adapter(self, s):
        self.models[s["model"]] = libemr.adapters.apply(self.models[s["base"]], self.models[s["adapter"]])

    def agree(self, s):
        libemr.adapters.agree({name: self.models[name] for name in s["models"]}, **option(s, "differ"))

    def convert(self, s):
        out = new_array(s["to"], (s["count"],))
        libemr.convert(
            as_array(drawn(s["from"], s["seed"], s["count"]), s["from"], (s["count"],)), s["to"], out
        )
        return {"digest": digest_of(out.data)}

    def quantise(self, s):
        blocks = libemr.blocks.quantise(s["type"], f32(s["seed"], s["count"]))
        return {"blocks": digest_of(blocks), "values": digest_of(libemr.blocks.dequantise(s["type"], blocks))}

    def names(self, s):
        def of(found):
            return -1 if found is None else found

        return {
            "names": [
                [of(libemr.layer_of(n)), libemr.kind_of(n), of(libemr.adapters.rank_dimension(n))]
                for n in s["names"]
            ]
        }

    def globs(self, s):
        return {"matches": [int(libemr.glob_matches(glob, name)) for glob, name in s["globs"]]}

    def elementary(self, s):
        values = [float(v) for v in s["values"]]
        return {
            "exp": [number(libemr.elementary.exp(v)) for v in values],
            "log": [number(libemr.elementary.log(v)) for v in values],
        }

    def constants(self, s):
        return {
            "dtypes": [[d.name, d.bits, int(d.is_float)] for d in DType],
            "statuses": ["EMR_OK", *libemr.errors.BY_NAME],
            "blocks": [[name, libemr.blocks.block_bytes(name)] for name in libemr.blocks.names()],
        }

    def save(self, s):
        target = str(self.folder / s["path"]) + "/" * s["path"].endswith("/")
        written = self.models[s["model"]].write(
            target, threads=self.threads, **option(s, "shard_bytes", "replace", "dtype")
        )
        return {
            "files": {
                str(pathlib.Path(path).relative_to(self.folder)): digest(pathlib.Path(path).read_bytes())
                for path in written
            }
        }

    def load(self, s):
        self.models[s["model"]] = libemr.Model(
            self.folder / s["path"], **option(s, "map", "dequantise", "side_files")
        )

    def load_bundle(self, s):
        self.bundles[s["bundle"]] = libemr.Bundle(self.folder / s["path"], **option(s, "map"))
        return {"digest": digest((self.folder / s["path"]).read_bytes())}

    def exists(self, s):
        return {"is_there": int((self.folder / s["path"]).exists())}

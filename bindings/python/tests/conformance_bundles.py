"""conformance_bundles.py - the steps that merge, and those that use bundles, modulators and sessions."""

import io

import numpy as np
from conformance_support import (
    as_array,
    code,
    digest,
    digest_of,
    drawn,
    expect_keys,
    f32,
    new_array,
    number,
    option,
)

import libemr
from libemr import Array, DType


class Sink:
    """Collects what a merge gives, tensor by tensor, task by task."""

    def __init__(self):
        self.parts = {}

    def _add(self, kind, part):
        key = (part.tensor, -1 if part.task is None else part.task, kind)
        self.parts[key] = self.parts.get(key, b"") + part.data

    def unified(self, part):
        self._add("unified", part)

    def mask(self, part):
        self._add("mask", part)

    def rescalers(self, part):
        self._add("rescalers", part)


class Bundles:
    """Merges, bundles, sessions."""

    def modulation(self, spec):
        expect_keys(
            spec, "kind thinning n_levels rescale rescale_per mask_rule vectors_dtype without_columns seed"
        )
        return libemr.Modulation(**spec)

    def merge(self, s):
        o = s.get("options", {})
        expect_keys(
            o,
            "modulation rescale rescale_per tie on_nonfinite unified_dtype embed_base extendable "
            "block_params measure compression",
        )
        made = {
            **option(
                o,
                "rescale",
                "rescale_per",
                "tie",
                "on_nonfinite",
                "unified_dtype",
                "embed_base",
                "extendable",
                "block_params",
                "measure",
            ),
            "compression": o.get("compression"),
            "memory": s.get("memory"),
        }
        if "modulation" in o:
            made["modulator"] = self.modulation(o["modulation"])
        with libemr.Merge(threads=self.threads, **made, **self.policy(s)) as merge:
            merge.set_base(self.models[s["base"]])
            if "extend" in s:
                merge.extend(self.bundles[s["extend"]])
            out = Sink() if s.get("sink") else io.BytesIO()
            if s.get("sink"):
                merge.set_sink(out)
            for name, model in self.tasks(s):
                spec = s.get("modulations", {}).get(name)
                merge.add_task(name, model, None if spec is None else self.modulation(spec))
            if "path" in s:
                journal = {"journal": True, "interval": s["journal"]} if "journal" in s else {}
                merge.set_output(self.folder / s["path"], **option(s, "replace"), **journal)
            elif not s.get("sink"):
                merge.set_output(out)
            if "part" in s:
                merge.set_part(*s["part"])
            if "check" in s:
                merge.check_part(self.files[s["check"]], s["check"])
            report = self.push(merge, s) if "push" in s else merge.run()
        return self.told(s, out, report)

    def push(self, merge, s):
        merge.begin()
        sources = [(None, s["base"]), *((name, model) for name, model in s["tasks"])]
        at = dict.fromkeys(name for name, _ in sources)
        while sources:
            for name, model in list(sources):
                tensor, room = merge.expected(name)
                if tensor is None:
                    sources.remove((name, model))
                elif room:
                    data, begin = self.tensors[model, tensor.name], at[name] or 0
                    end = begin + merge.push(name, data[begin : begin + s["push"]])
                    at[name] = 0 if end == len(data) else end
        return merge.finish()

    def told(self, s, out, report):
        result = {
            "tensors": [[t.name, t.action, t.reason, t.n_private, t.zeroed] for t in report.tensors],
            "tasks": [
                [
                    t.name,
                    t.mask_ones,
                    t.zeroed,
                    number(t.rescaler),
                    number(t.other_rescaler),
                    int(t.empty_mask),
                    number(t.fidelity.error),
                    number(t.fidelity.cosine),
                    number(t.fidelity.coefficient),
                ]
                for t in report.tasks.values()
            ],
        }
        if s.get("sink"):
            result["sink"] = [[*key, digest(out.parts[key])] for key in sorted(out.parts)]
        elif "part" in s:
            self.files[s["file"]] = out.getvalue()
        elif "path" not in s:
            result["digest"] = "" if "compression" in s.get("options", {}) else digest(out.getvalue())
            self.keep_bundle(s["bundle"], out.getvalue())
        return result

    def keep_bundle(self, name, data):
        self.files[name] = data
        self.bundles[name] = libemr.Bundle(data, name=name)

    def join(self, s):
        parts = [io.BytesIO(self.files[name]) for name in s["parts"]]
        for part, name in zip(parts, s["parts"]):
            part.name = name
        out = io.BytesIO()
        libemr.join(parts, out, threads=self.threads)
        self.keep_bundle(s["bundle"], out.getvalue())
        return {"digest": digest(out.getvalue())}

    def bundle(self, s):
        self.bundles[s["bundle"]] = libemr.Bundle(self.files[s["file"]], name=s["bundle"])

    def look(self, s):
        b = self.bundles[s["bundle"]]
        i = b.info
        info = {
            "n_tasks": i.n_tasks,
            "n_tensors": i.n_tensors,
            "n_merged": i.n_merged,
            "merged_params": i.merged_params,
            "rescale": code("rescale", i.rescale),
            "rescale_per": code("rescale_per", i.rescale_per),
            "tie": code("tie", i.tie),
            "unified_dtype": i.unified_dtype.name if i.unified_dtype else "?",
            "has_base": int(i.has_base),
            "extendable": int(i.extendable),
            "n_elected": i.n_elected,
        }
        return {
            "info": info,
            "tasks": [self.look_at_task(t) for t in b.values()],
            "metadata": b.metadata,
            "tensors": [[t.name, t.dtype.name, list(t.shape), int(t.merged)] for t in b.tensors],
        }

    def look_at_task(self, t):
        m = t.modulation
        spec = [
            code("kind", m.kind),
            m.thinning,
            m.n_levels,
            code("rescale", m.rescale),
            code("rescale_per", m.rescale_per),
            code("mask_rule", m.mask_rule),
            int(m.vectors_dtype or 0),
            int(m.without_columns),
            m.seed,
        ]
        private = [[p.name, p.dtype.name, list(p.shape)] for p in t.private]
        return [t.name, t.info.mask_ones, number(t.info.rescaler), spec, private, t.metadata]

    def drop(self, s, method="drop"):
        out = io.BytesIO()
        r = getattr(self.bundles[s["of"]], method)(s["tasks"], out, report=True, threads=self.threads).report
        self.keep_bundle(s["bundle"], out.getvalue())
        return {
            "unified": r.unified,
            "alone": r.alone,
            "shared": r.shared,
            "lost_growth": int(r.lost_growth),
            "lost_unified": int(r.lost_unified),
            "digest": digest(out.getvalue()),
        }

    def extract(self, s):
        return self.drop(s, "extract")

    def verify(self, s):
        self.bundles[s["bundle"]].verify(threads=self.threads)

    def check_base(self, s):
        bundle, base = self.bundles[s["bundle"]], self.models[s["base"]]
        if s.get("all"):
            return {
                "differs": [[d.tensor, d.why] for d in bundle.base_differences(base, threads=self.threads)]
            }
        bundle.check_base(base, threads=self.threads)

    def task(self, s):
        self.models[s["model"]] = self.bundles[s["bundle"]][s["task"]].open(
            self.models.get(s.get("base")), threads=self.threads, **option(s, "dtype", "check", "f32_vectors")
        )

    def view(self, s):
        bundle = self.bundles[s["bundle"]]
        self.models[s["model"]] = (
            bundle[s["task"]].mask() if s["of"] == "mask" else getattr(bundle, s["of"])()
        )

    def modulator(self, s):
        base, found = self.models[s["base"]], []
        with self.bundles[s["bundle"]][s["task"]].modulator() as m:
            for name in m.names:
                t, rescalers = base[name], m.rescalers(name)
                out = new_array(s.get("dtype", t.dtype), t.shape)
                m.apply(name, Array(t.read_bytes(), t.dtype, t.shape), out)
                found.append(
                    [name, len(rescalers), digest_of(rescalers), m.stats(name).ones, digest_of(out.data)]
                )
        return {"tensors": found}

    def own_modulator(self, s):
        kind, n, rows, seed, dtype = s["kind"], s["count"], s["rows"], s["seed"], s.get("dtype", "F32")
        m = libemr.Modulator()
        more = {"thin": {"thinning": 4, "seed": 7}, "levels": {"n_levels": 16}}.get(kind, {})
        if kind in ("mask", "two_sided"):
            more["unified"] = f32(seed, n)
        if s.get("columns"):
            more["columns"] = as_array(drawn("BF16", seed + 3, n // rows), "BF16", (n // rows,))
        m.add(
            "w",
            n,
            mask=drawn("U8", seed + 1, n),
            rescalers=np.abs(f32(seed + 2, rows * (2 if kind == "two_sided" else 1))),
            kind=kind,
            **more,
        )
        base, out = as_array(drawn(dtype, seed + 4, n), dtype, (n,)), new_array(dtype, (n,))
        m.apply("w", base, out)
        y = np.empty((2, rows), np.float32)
        libemr.multiply(
            [m, m], "w", base, f32(seed + 5, 2 * (n // rows)).reshape(2, -1), y, n_columns=n // rows
        )
        return {"apply": digest_of(out.data), "multiply": digest_of(y)}

    def session(self, s):
        self.sessions[s["session"]] = libemr.Session(
            self.bundles[s["bundle"]],
            self.models.get(s.get("base")),
            check=s.get("check") != "none",
            threads=self.threads,
            **option(s, "without_base", "mask_bytes"),
        )

    def session_of(self, s):
        session = self.sessions[s["session"]]
        return session.thread() if s.get("thread") else session

    def apply(self, s):
        out, session = [], self.session_of(s)
        for w in s["weights"]:
            expect_keys(w, "name count first dtype blocks staging without_base")
            out.append(self.destination(w))
        self.apply_all(session, s["task"] or None, [(w["name"], at) for w, (at, _) in zip(s["weights"], out)])
        return {"digests": [digest_of(bytes(data)) for _, data in out]}

    def destination(self, w):
        n, blocks = w["count"], w.get("blocks")
        size = n // 32 * libemr.blocks.block_bytes(blocks) if blocks else n * DType.of(w["dtype"]).bits // 8
        more = option(w, "first", "count", "blocks", "without_base", "dtype")
        data = bytearray()
        if "staging" in w:
            return libemr.Destination(
                write=lambda part: data.extend(part.data), staging=w["staging"], **more
            ), data
        data += bytes(size)
        return libemr.Destination(
            Array(data, "U8" if blocks else w["dtype"], (size if blocks else n,)), **more
        ), data

    @staticmethod
    def apply_all(session, task, pairs):
        """In one call where no tensor is asked for twice."""
        if len({name for name, _ in pairs}) == len(pairs):
            session.apply(task, dict(pairs))
        else:
            for name, at in pairs:
                session.apply(task, {name: at})

    def multiply(self, s):
        n, rows = len(s["tasks"]), s["n_rows"]
        y = f32(s["seed"] + 1, n * rows).reshape(n, rows)
        self.session_of(s).multiply(
            s["tensor"],
            [t or None for t in s["tasks"]],
            f32(s["seed"], n * s["columns"]).reshape(n, -1),
            out=y,
            **option(s, "first_row", "n_rows", "n_columns", "without_base", "add"),
        )
        return {"digest": digest_of(y)}

    def gather(self, s):
        out = new_array(s["dtype"], (len(s["tasks"]), s["row"]))
        self.session_of(s).gather(
            s["tensor"],
            [t or None for t in s["tasks"]],
            s["rows"],
            out=out,
            **option(s, "n_columns", "without_base"),
        )
        return {"digest": digest_of(out.data)}

"""conformance_world.py - the steps of bindings/conformance's cases, done through this package."""
import functools
import io
import math
import pathlib

import numpy as np
from conformance_numbers import (as_array, code, digest, digest_of, drawn, draws, f32, floats_as, new_array, number, numbers,
                                 shape_of, wholes)

import libemr
from libemr import Array, DType


class OnPurpose(Exception):
    """What the runner's own callbacks raise."""


def option(step, *keys, **renamed):
    """The keys that a step has, as parameters of the package's."""
    found = {key: step[key] for key in keys if key in step}
    return {**found, **{to: step[key] for key, to in renamed.items() if key in step}}


# -------------------------------------------------------------------------------------------------------------- the world


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


class World:
    """What the steps of a case share. A step is a method of its name, whose result is compared."""

    def __init__(self, threads, folder):
        self.threads, self.folder = threads, folder
        self.models, self.files, self.bundles, self.sessions, self.tensors, self.folders = {}, {}, {}, {}, {}, {}

    def tasks(self, step):
        return [(name, self.models[model]) for name, model in step["tasks"]]

    def policy(self, step):
        return option(step.get("policy", {}), "base_globs", "on_mismatch", "on_missing", private_globs="private",
                      merge_globs="merge", absent_globs="absent")

    # --- models

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
            model.add(name, np.frombuffer(raw, np.uint8) if blocks else Array(raw, t["dtype"], shape),
                      **(dict(blocks=blocks, shape=shape) if blocks else {}))
        elif source == "io":
            model.add_from(name, io.BytesIO(b"12345" + raw), t["dtype"], shape, offset=5, blocks=blocks)
        elif source == "pushed":
            model.add(name, libemr.Pushed(t["dtype"], shape))
        elif source in ("computed", "failing"):
            bits = DType.of(t["dtype"]).bits

            def compute(first, n):
                if source == "failing":
                    raise OnPurpose
                return Array(raw[first * bits // 8:(first + n) * bits // 8], t["dtype"], (n,))

            model.add_computed(name, t["dtype"], shape, compute, **({} if count < 4 else dict(granule=4, max_count=64)))
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
        return {"roles": [[name, r.role, r.family, r.code or "", int(r.can_dequantise)] for name, r in found
                          if r.role != "weight"]}

    def write(self, s):
        out = io.BytesIO()
        self.models[s["model"]].write(out, format=s["format"], threads=self.threads)
        data = self.files[s["file"]] = out.getvalue()
        return {"bytes": len(data), "digest": digest(data)}

    def open(self, s):
        self.models[s["model"]] = libemr.Model(self.files[s["file"]], name=s["model"], **option(s, "dequantise"))

    def bytes(self, s):
        self.files[s["file"]] = bytes.fromhex(s["hex"])

    def damage(self, s):
        data = bytearray(self.files[s["of"]][:s.get("cut")])
        data[s["at"]] ^= s["xor"]
        self.files[s["file"]] = bytes(data)

    def adapter(self, s):
        self.models[s["model"]] = libemr.adapters.apply(self.models[s["base"]], self.models[s["adapter"]])

    def agree(self, s):
        libemr.adapters.agree({name: self.models[name] for name in s["models"]}, **option(s, "differ"))

    def convert(self, s):
        out = new_array(s["to"], (s["count"],))
        libemr.convert(as_array(drawn(s["from"], s["seed"], s["count"]), s["from"], (s["count"],)), s["to"], out)
        return {"digest": digest_of(out.data)}

    def quantise(self, s):
        blocks = libemr.blocks.quantise(s["type"], f32(s["seed"], s["count"]))
        return {"blocks": digest_of(blocks), "values": digest_of(libemr.blocks.dequantise(s["type"], blocks))}

    def names(self, s):
        def of(found):
            return -1 if found is None else found

        return {"names": [[of(libemr.layer_of(n)), libemr.kind_of(n), of(libemr.adapters.rank_dimension(n))] for n in s["names"]]}

    def constants(self, s):
        return {"dtypes": [[d.name, d.bits, int(d.is_float)] for d in DType],
                "statuses": ["EMR_OK", *libemr.errors.BY_NAME],
                "blocks": [[name, libemr.blocks.block_bytes(name)] for name in libemr.blocks.names()]}

    # --- files in a folder

    def save(self, s):
        target = str(self.folder / s["path"]) + "/" * s["path"].endswith("/")
        written = self.models[s["model"]].write(target, threads=self.threads, **option(s, "shard_bytes", "replace", "dtype"))
        return {"files": {str(pathlib.Path(path).relative_to(self.folder)): digest(pathlib.Path(path).read_bytes())
                          for path in written}}

    def load(self, s):
        self.models[s["model"]] = libemr.Model(self.folder / s["path"], **option(s, "map", "dequantise", "side_files"))

    def load_bundle(self, s):
        self.bundles[s["bundle"]] = libemr.Bundle(self.folder / s["path"], **option(s, "map"))
        return {"digest": digest((self.folder / s["path"]).read_bytes())}

    def exists(self, s):
        return {"is_there": int((self.folder / s["path"]).exists())}

    # --- merging

    def modulation(self, spec):
        expect_keys(spec, "kind thinning n_levels rescale rescale_per mask_rule vectors_dtype without_columns seed")
        return libemr.Modulation(**spec)

    def merge(self, s):
        o = s.get("options", {})
        expect_keys(o, "modulation rescale rescale_per tie on_nonfinite unified_dtype embed_base extendable block_params measure "
                       "compression")
        made = {**option(o, "rescale", "rescale_per", "tie", "on_nonfinite", "unified_dtype", "embed_base", "extendable",
                         "block_params", "measure"), "compression": o.get("compression"), "memory": s.get("memory")}
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
                    end = begin + merge.push(name, data[begin:begin + s["push"]])
                    at[name] = 0 if end == len(data) else end
        return merge.finish()

    def told(self, s, out, report):
        result = {"tensors": [[t.name, t.action, t.reason, t.n_private, t.zeroed] for t in report.tensors],
                  "tasks": [[t.name, t.mask_ones, t.zeroed, number(t.rescaler), number(t.other_rescaler), int(t.empty_mask),
                             number(t.fidelity.error), number(t.fidelity.cosine), number(t.fidelity.coefficient)]
                            for t in report.tasks.values()]}
        if s.get("sink"):
            result["sink"] = [[*key, digest(out.parts[key])] for key in sorted(out.parts)]
        elif "path" not in s:
            result["digest"] = "" if "compression" in s.get("options", {}) else digest(out.getvalue())
            self.keep_bundle(s["bundle"], out.getvalue())
        return result

    def keep_bundle(self, name, data):
        self.files[name] = data
        self.bundles[name] = libemr.Bundle(data, name=name)

    # --- bundles

    def bundle(self, s):
        self.bundles[s["bundle"]] = libemr.Bundle(self.files[s["file"]], name=s["bundle"])

    def look(self, s):
        b = self.bundles[s["bundle"]]
        i = b.info
        info = {"n_tasks": i.n_tasks, "n_tensors": i.n_tensors, "n_merged": i.n_merged, "merged_params": i.merged_params,
                "rescale": code("rescale", i.rescale), "rescale_per": code("rescale_per", i.rescale_per),
                "tie": code("tie", i.tie), "unified_dtype": i.unified_dtype.name if i.unified_dtype else "?",
                "has_base": int(i.has_base), "extendable": int(i.extendable), "n_elected": i.n_elected}
        return {"info": info, "tasks": [self.look_at_task(t) for t in b.values()], "metadata": b.metadata,
                "tensors": [[t.name, t.dtype.name, list(t.shape), int(t.merged)] for t in b.tensors]}

    def look_at_task(self, t):
        m = t.modulation
        spec = [code("kind", m.kind), m.thinning, m.n_levels, code("rescale", m.rescale), code("rescale_per", m.rescale_per),
                code("mask_rule", m.mask_rule), int(m.vectors_dtype or 0), int(m.without_columns), m.seed]
        private = [[p.name, p.dtype.name, list(p.shape)] for p in t.private]
        return [t.name, t.info.mask_ones, number(t.info.rescaler), spec, private, t.metadata]

    def drop(self, s, method="drop"):
        out = io.BytesIO()
        r = getattr(self.bundles[s["of"]], method)(s["tasks"], out, report=True, threads=self.threads).report
        self.keep_bundle(s["bundle"], out.getvalue())
        return {"unified": r.unified, "alone": r.alone, "shared": r.shared, "lost_growth": int(r.lost_growth),
                "lost_unified": int(r.lost_unified), "digest": digest(out.getvalue())}

    def extract(self, s):
        return self.drop(s, "extract")

    def verify(self, s):
        self.bundles[s["bundle"]].verify(threads=self.threads)

    def check_base(self, s):
        bundle, base = self.bundles[s["bundle"]], self.models[s["base"]]
        if s.get("all"):
            return {"differs": [[d.tensor, d.why] for d in bundle.base_differences(base, threads=self.threads)]}
        bundle.check_base(base, threads=self.threads)

    def task(self, s):
        self.models[s["model"]] = self.bundles[s["bundle"]][s["task"]].open(
            self.models.get(s.get("base")), threads=self.threads, **option(s, "dtype", "check", "f32_vectors"))

    def view(self, s):
        bundle = self.bundles[s["bundle"]]
        self.models[s["model"]] = bundle[s["task"]].mask() if s["of"] == "mask" else getattr(bundle, s["of"])()

    def modulator(self, s):
        base, found = self.models[s["base"]], []
        with self.bundles[s["bundle"]][s["task"]].modulator() as m:
            for name in m.names:
                t, rescalers = base[name], m.rescalers(name)
                out = new_array(s.get("dtype", t.dtype), t.shape)
                m.apply(name, Array(t.read_bytes(), t.dtype, t.shape), out)
                found.append([name, len(rescalers), digest_of(rescalers), m.stats(name).ones, digest_of(out.data)])
        return {"tensors": found}

    def own_modulator(self, s):
        kind, n, rows, seed, dtype = s["kind"], s["count"], s["rows"], s["seed"], s.get("dtype", "F32")
        m = libemr.Modulator()
        more = {"thin": {"thinning": 4, "seed": 7}, "levels": {"n_levels": 16}}.get(kind, {})
        if kind in ("mask", "two_sided"):
            more["unified"] = f32(seed, n)
        if s.get("columns"):
            more["columns"] = as_array(drawn("BF16", seed + 3, n // rows), "BF16", (n // rows,))
        m.add("w", n, mask=drawn("U8", seed + 1, n), rescalers=np.abs(f32(seed + 2, rows * (2 if kind == "two_sided" else 1))),
              kind=kind, **more)
        base, out = as_array(drawn(dtype, seed + 4, n), dtype, (n,)), new_array(dtype, (n,))
        m.apply("w", base, out)
        y = np.empty((2, rows), np.float32)
        libemr.multiply([m, m], "w", base, f32(seed + 5, 2 * (n // rows)).reshape(2, -1), y, n_columns=n // rows)
        return {"apply": digest_of(out.data), "multiply": digest_of(y)}

    # --- sessions

    def session(self, s):
        self.sessions[s["session"]] = libemr.Session(
            self.bundles[s["bundle"]], self.models.get(s.get("base")), check=s.get("check") != "none", threads=self.threads,
            **option(s, "without_base", "mask_bytes"))

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
            return libemr.Destination(write=lambda part: data.extend(part.data), staging=w["staging"], **more), data
        data += bytes(size)
        return libemr.Destination(Array(data, "U8" if blocks else w["dtype"], (size if blocks else n,)), **more), data

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
        self.session_of(s).multiply(s["tensor"], [t or None for t in s["tasks"]], f32(s["seed"], n * s["columns"]).reshape(n, -1),
                                    out=y, **option(s, "first_row", "n_rows", "n_columns", "without_base", "add"))
        return {"digest": digest_of(y)}

    def gather(self, s):
        out = new_array(s["dtype"], (len(s["tasks"]), s["row"]))
        self.session_of(s).gather(s["tensor"], [t or None for t in s["tasks"]], s["rows"], out=out,
                                  **option(s, "n_columns", "without_base"))
        return {"digest": digest_of(out.data)}

    # --- one model out of many

    def combine(self, s):
        with libemr.Combination(s["method"], **self.policy(s), threads=self.threads,
                                **option(s, "dtype", "seed", "on_nonfinite", "heads", "combine_heads", "memory")) as c:
            if "base" in s:
                c.set_base(self.models[s["base"]])
            for name, model in self.tasks(s):
                c.add_task(name, model)
            for p in s.get("parameters", []):
                name, value, task, glob = (*p, None, None)[:4]
                c.set_parameter(name, float(value), task=task, glob=glob)
            tensors = [[t.name, t.action, t.reason, t.n_reads, t.n_inputs] for t in c.tensors()]
            self.models[s["model"]] = c.open()
        return {"tensors": tensors}

    def methods(self, s):
        def parameter(p):
            return [p.name, "nan" if p.initial is None else p.initial, number(p.least), number(p.most), int(p.per_task),
                    int(p.is_whole)]

        return {"methods": [[m.name, m.base, [parameter(p) for p in m.parameters]] for m in libemr.methods().values()]}

    def statistics(self, s):
        with libemr.Statistics(self.models[s["base"]], dict(self.tasks(s)), **self.policy(s), threads=self.threads,
                               **option(s, "quantiles", "max_rows", "skip_missing", "rounding", "on_nonfinite")) as st:
            st.run()
            scopes = {"model": "model", "tensors": "tensor", "layers": "layer", "kinds": "kind"}
            result = {name: [self.group(g) for g in st.groups(scope)] for name, scope in scopes.items()}
            model = st.groups("model")[0]
            moments = [model.moments(i) for i in range(model.n_tasks)]
            pearson = model.kinship()
            return {**result, "moments": [numbers([m.norm, m.mean, m.mean_magnitude, m.deviation, m.kurtosis, m.zero_share])
                                          for m in moments],
                    "pearson": numbers(pearson), "mean": number(libemr.kinship_mean(pearson)),
                    "cosine": numbers(model.kinship("cosine")), "euclid": numbers(model.kinship("euclid")),
                    "absolute": numbers(model.kinship("cosine", absolute=True)), "split": numbers(st.split_kinship())}

    def group(self, g):
        return [g.name, -1 if g.layer is None else g.layer, g.count, g.conflicts, g.unchanged,
                *map(numbers, (g.products, g.distances, g.sums, g.magnitudes, g.fourths, g.largest)),
                None if g.quantiles is None else numbers(g.quantiles), *map(wholes, (g.zeros, g.nonfinite, g.same_signs, g.both))]

    def search(self, s):
        scores, released = {}, []

        def evaluate(c):
            given = s["scores"].get(c.name)
            made = math.nan if c.first is None else (scores[c.first] + scores[c.second]) * 0.5 + c.generation / 16
            scores[c.number] = made if given is None else float(given)
            return scores[c.number]

        search = libemr.Search(s["models"], **option(s, "k", "partner", "pool", "max_generations", "stop_kinship", "minimise"))
        r = search.run(merge=lambda c: None, evaluate=evaluate, release=released.append,
                       similarity=lambda a, b: 1 / (1 + abs(scores[a] - scores[b])))
        return {"candidates": [[c.name, number(c.score), number(c.kinship), c.generation, -1 if c.first is None else c.first,
                                -1 if c.second is None else c.second] for c in search],
                "best": r.best.name, "score": number(r.score), "kinship": number(r.kinship), "end": code("end", r.end),
                "generation": r.generation, "n_scored": r.n_scored, "released": released}

    def trials(self, s):
        best = libemr.trials(lambda t: functools.reduce(lambda sum, v: sum + abs(v - 0.5), t.values, 0.0), s["n_values"],
                             **option(s, "n_trials", "seed", "minimise"))
        return {"number": best.number, "score": number(best.score), "values": numbers(best.values)}

    def heads(self, s):
        tasks = dict(self.tasks(s))
        with libemr.Heads(tasks, s["globs"], kinds=dict(zip(tasks, s.get("kinds", [])))) as heads:
            for name in tasks:
                self.models[f"{s['heads']}/{name}"] = heads.open_task(name)
            if "base" in s:
                self.models[f"{s['heads']}/base"] = heads.open_base(self.models[s["base"]])
            joined = self.models[f"{s['heads']}/joined"] = heads.open_joined(s.get("dtype"))
            heads.set_metadata(joined)
            return {"n_rows": heads.n_rows, "heads": heads.tensors,
                    "groups": [[g.task, g.first, g.count, g.kind] for g in heads.groups]}

    def softmax(self, s):
        logits = np.array([float(v) for v in s["logits"]], np.float32).reshape(s["rows"], -1)
        libemr.group_softmax(logits, [libemr.HeadGroup("", *group) for group in s["groups"]], logits)
        return {"out": numbers(logits)}


# ------------------------------------------------------------------------------------------------------- what is allowed

KEYS = {
    "model": "model tensors metadata", "zeros": "model like", "ones": "model like", "rename": "model of rules",
    "pick": "model of tensors", "read": "model chunk floats", "roles": "model", "write": "file model format",
    "open": "model file format dequantise", "bytes": "file hex", "damage": "file of at xor cut", "adapter": "model base adapter",
    "agree": "models differ", "convert": "from to count seed", "quantise": "type count seed", "names": "names", "constants": "",
    "save": "model path shard_bytes replace dtype", "load": "model path map dequantise side_files",
    "load_bundle": "bundle path map", "exists": "path",
    "merge": "bundle base tasks modulations options policy extend push sink memory path replace journal",
    "bundle": "bundle file", "look": "bundle", "drop": "bundle of tasks", "extract": "bundle of tasks", "verify": "bundle",
    "check_base": "bundle base all", "task": "model bundle task base dtype check f32_vectors", "view": "model bundle of task",
    "modulator": "bundle base task dtype", "own_modulator": "kind count rows seed dtype columns",
    "session": "session bundle base without_base check mask_bytes", "apply": "session task weights thread",
    "multiply": "session tensor tasks columns seed first_row n_rows n_columns without_base add thread",
    "gather": "session tensor tasks rows row dtype without_base n_columns thread",
    "combine": "model method tasks base parameters dtype seed on_nonfinite policy heads combine_heads memory", "methods": "",
    "statistics": "base tasks quantiles max_rows skip_missing rounding on_nonfinite policy",
    "search": "models scores k partner pool max_generations stop_kinship minimise", "trials": "n_trials n_values seed minimise",
    "heads": "heads globs tasks base kinds dtype", "softmax": "logits rows stride groups",
}


def expect_keys(step, keys):
    unknown = set(step) - set(keys.split())
    assert not unknown, f"unknown keys {unknown}"


def do_step(world, step):
    """Its results."""
    assert step["do"] in KEYS, f"unknown step {step['do']}"
    expect_keys(step, f"do expect error {KEYS[step['do']]}")
    return getattr(world, step["do"])(step) or {}

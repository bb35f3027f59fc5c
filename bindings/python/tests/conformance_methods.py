"""conformance_methods.py - the steps of one model out of many: combinations, statistics, searches, heads."""

import functools
import math

import numpy as np
from conformance_support import code, number, numbers, option, wholes

import libemr


class Methods:
    """Combinations, statistics, searches, heads."""

    def combine(self, s):
        with libemr.Combination(
            s["method"],
            **self.policy(s),
            threads=self.threads,
            **option(s, "dtype", "seed", "on_nonfinite", "heads", "combine_heads", "memory"),
        ) as c:
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
            return [
                p.name,
                "nan" if p.initial is None else p.initial,
                number(p.least),
                number(p.most),
                int(p.per_task),
                int(p.is_whole),
            ]

        return {
            "methods": [
                [m.name, m.base, [parameter(p) for p in m.parameters]] for m in libemr.methods().values()
            ]
        }

    def statistics(self, s):
        with libemr.Statistics(
            self.models[s["base"]],
            dict(self.tasks(s)),
            **self.policy(s),
            threads=self.threads,
            **option(s, "quantiles", "max_rows", "skip_missing", "rounding", "on_nonfinite"),
        ) as st:
            st.run()
            scopes = {"model": "model", "tensors": "tensor", "layers": "layer", "kinds": "kind"}
            result = {name: [self.group(g) for g in st.groups(scope)] for name, scope in scopes.items()}
            model = st.groups("model")[0]
            moments = [model.moments(i) for i in range(model.n_tasks)]
            pearson = model.kinship()
            return {
                **result,
                "moments": [
                    numbers([m.norm, m.mean, m.mean_magnitude, m.deviation, m.kurtosis, m.zero_share])
                    for m in moments
                ],
                "pearson": numbers(pearson),
                "mean": number(libemr.kinship_mean(pearson)),
                "cosine": numbers(model.kinship("cosine")),
                "euclid": numbers(model.kinship("euclid")),
                "absolute": numbers(model.kinship("cosine", absolute=True)),
                "split": numbers(st.split_kinship()),
            }

    def group(self, g):
        return [
            g.name,
            -1 if g.layer is None else g.layer,
            g.count,
            g.conflicts,
            g.unchanged,
            *map(numbers, (g.products, g.distances, g.sums, g.magnitudes, g.fourths, g.largest)),
            None if g.quantiles is None else numbers(g.quantiles),
            *map(wholes, (g.zeros, g.nonfinite, g.same_signs, g.both)),
        ]

    def search(self, s):
        scores, released = {}, []

        def evaluate(c):
            given = s["scores"].get(c.name)
            made = (
                math.nan
                if c.first is None
                else (scores[c.first] + scores[c.second]) * 0.5 + c.generation / 16
            )
            scores[c.number] = made if given is None else float(given)
            return scores[c.number]

        search = libemr.Search(
            s["models"], **option(s, "k", "partner", "pool", "max_generations", "stop_kinship", "minimise")
        )
        r = search.run(
            merge=lambda c: None,
            evaluate=evaluate,
            release=released.append,
            similarity=lambda a, b: 1 / (1 + abs(scores[a] - scores[b])),
        )
        return {
            "candidates": [
                [
                    c.name,
                    number(c.score),
                    number(c.kinship),
                    c.generation,
                    -1 if c.first is None else c.first,
                    -1 if c.second is None else c.second,
                ]
                for c in search
            ],
            "best": r.best.name,
            "score": number(r.score),
            "kinship": number(r.kinship),
            "end": code("end", r.end),
            "generation": r.generation,
            "n_scored": r.n_scored,
            "released": released,
        }

    def trials(self, s):
        best = libemr.trials(
            lambda t: functools.reduce(lambda sum, v: sum + abs(v - 0.5), t.values, 0.0),
            s["n_values"],
            **option(s, "n_trials", "seed", "minimise"),
        )
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
            return {
                "n_rows": heads.n_rows,
                "heads": heads.tensors,
                "groups": [[g.task, g.first, g.count, g.kind] for g in heads.groups],
            }

    def softmax(self, s):
        logits = np.array([float(v) for v in s["logits"]], np.float32).reshape(s["rows"], -1)
        libemr.group_softmax(logits, [libemr.HeadGroup("", *group) for group in s["groups"]], logits)
        return {"out": numbers(logits)}

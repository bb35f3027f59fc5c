"""test_lifetime_analysis.py - sessions, combinations, own methods, statistics, searches and heads: dropped in
every order, thousands of times, with exceptions in callbacks; nothing crashes, nothing stays."""

import gc
import itertools
import os
import weakref

import numpy as np

import libemr


class Mean(libemr.Method):
    name = "mean"

    def combine(self, chunk):
        chunk.out[:] = sum(chunk.inputs) / len(chunk.inputs)


def test_a_session_and_its_parents_in_every_order(bundle_bytes, base):
    expected = libemr.Bundle(bundle_bytes)["french"].apply(base)["layer.bias"]
    for order in itertools.permutations(range(4)):
        objects = [libemr.Bundle(bundle_bytes), libemr.Model.of(base)]
        objects.append(libemr.Session(objects[0], objects[1], threads=2))
        objects.append(objects[2].thread())
        last, out = objects[3], np.empty_like(expected)
        for i in order:
            if i != 3:
                objects[i].close()
                last.apply("french", {"layer.bias": out})
                assert np.array_equal(out, expected)
        handles = [o.handle if hasattr(o, "handle") else o._handle for o in objects]
        last.close()
        assert all(handle._held == 0 for handle in handles)


def test_a_combined_model_keeps_method_and_tasks_and_lets_go(base, tasks):
    method = Mean()
    gone = weakref.ref(method)
    model = libemr.combine(method, base, tasks)
    del method
    gc.collect()
    assert gone() is not None and np.isfinite(model["layer.bias"].read()).all()
    del model
    gc.collect()
    assert gone() is None


def test_views_of_heads_outlive_them(base):
    tasks = {
        name: {**base, "head.weight": np.ones((n, 4), np.float32)} for n, name in enumerate(("one", "two"), 1)
    }
    heads = libemr.Heads(tasks, ["head.*"])
    view = heads.open_task("two")
    heads.close()
    del heads, tasks
    gc.collect()
    assert view["head.weight"].read().sum() == 8


LEAK = """
import gc
import resource, sys
import numpy as np, libemr
data = open(sys.argv[1], "rb").read()
base = {"layer.weight": np.zeros((64, 128), np.float32), "layer.bias": np.zeros(128, np.float32)}
base["steps"] = np.arange(4)
tasks = {name: {**base, "layer.bias": np.full(128, i, np.float32)} for i, name in enumerate("abc")}
heads = {name: {"head.weight": np.ones((i + 1, 4), np.float32)} for i, name in enumerate("ab")}
out = {"layer.weight": np.empty((64, 128), np.float32)}

class Bad(libemr.Method):
    name = "bad"

    def combine(self, chunk):
        raise ZeroDivisionError

def stopped(work):
    try:
        work()
    except ZeroDivisionError:
        return
    raise AssertionError

def round():
    with libemr.Bundle(data) as bundle, libemr.Session(bundle, base, check=False, threads=2) as session:
        session.apply("french", out)
        session.multiply("layer.weight", ["french", None], np.ones((2, 128), np.float32))
        session.thread().gather("layer.weight", ["german"], [1])
        broken = libemr.Destination(write=lambda part: 1 / 0)
        stopped(lambda: session.apply("french", {"layer.weight": broken}))
    libemr.combine("linear", None, tasks, weight=1.0)["layer.bias"].read()
    stopped(lambda: libemr.combine(Bad(), base, tasks)["layer.bias"].read())
    libemr.kinship(base, tasks, threads=2)
    libemr.Search("abc").run(merge=lambda c: None, evaluate=lambda c: 1.0)
    stopped(lambda: libemr.Search("abc").run(merge=lambda c: 1 / 0, evaluate=lambda c: 1.0))
    stopped(lambda: libemr.trials(lambda trial: 1 / 0, 2))
    libemr.Heads(heads, ["head.*"]).open_joined()["head.weight"].read()

def resident():
    gc.collect()
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

for _ in range(200):
    round()
grown = []
for _ in range(4):
    before = resident()
    for _ in range(200):
        round()
    grown.append(resident() - before)
print(min(grown))
"""


def test_thousands_of_them_leave_nothing(bundle_bytes, tmp_path, run_python):
    """A leak grows in every quarter; what malloc and threads keep for later does not."""
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    grown = int(run_python(LEAK, tmp_path / "all.emr", env=environment).stdout)
    assert grown < 1 << 18, f"{grown} bytes more in 200 rounds"

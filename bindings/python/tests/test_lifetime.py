"""test_lifetime.py - objects closed and dropped in every order, thousands of times; nothing crashes, nothing
stays."""

import copy
import gc
import io
import itertools
import os
import pickle
import weakref

import numpy as np
import pytest

import libemr


class Watched(np.ndarray):
    """An array that can be seen to go."""


def watched(values):
    array = values.view(Watched)
    return array, weakref.ref(array)


def test_closed_in_every_order(bundle_bytes, base):
    expected = libemr.Bundle(bundle_bytes)["french"].apply(base)["layer.bias"]
    for order in itertools.permutations(range(4)):
        bundle, model = libemr.Bundle(bundle_bytes), libemr.Model.of(base)
        task = bundle["french"].open(model)
        renamed = task.renamed({"layer.": "l."})
        objects = [bundle, model, task, renamed]
        for i in order:
            if not renamed._handle.closed:
                assert np.array_equal(renamed["l.bias"].read(), expected)
            objects[i].close()
        assert all(o._handle._held == 0 for o in objects)


def test_dropped_in_every_order(bundle_bytes, base):
    expected = libemr.Bundle(bundle_bytes)["french"].apply(base)["layer.bias"]
    for order in itertools.permutations(range(4)):
        objects = {0: libemr.Bundle(io.BytesIO(bundle_bytes)), 1: libemr.Model.of(base)}
        objects[2] = objects[0]["french"].open(objects[1])
        objects[3] = objects[2].renamed({"layer.": "l."})
        tensor = objects[3]["l.bias"]
        for i in order:
            del objects[i]
            gc.collect()
            assert np.array_equal(tensor.read(), expected)


def test_a_model_keeps_its_arrays_and_lets_go():
    array, gone = watched(np.arange(8, dtype=np.float32))
    model = libemr.Model.of({"w": array})
    tensor, other = model["w"], libemr.Model.of({"again": model["w"]})
    del array, model
    gc.collect()
    assert tensor.read()[7] == 7
    del tensor
    assert other["again"].read()[7] == 7 and gone() is not None
    other.close()
    del other
    gc.collect()
    assert gone() is None


def test_a_merge_keeps_its_models(base, tasks):
    merge = libemr.Merge()
    base_model = libemr.Model.of(base)
    merge.set_base(base_model)
    base_model.close()
    for task in tasks:
        merge.add_task(task, dict(tasks[task]))
    merge.set_output(None)
    gc.collect()
    bundle = merge.run().bundle
    del merge
    gc.collect()
    weights = bundle["french"].open(base)
    del bundle
    gc.collect()
    assert weights["layer.weight"].read().shape == (64, 128)


def test_cycles_are_collected(bundle_bytes, base):
    class Holder:
        pass

    for _ in range(20):
        holder = Holder()
        array, gone = watched(base["layer.weight"])
        holder.bundle = libemr.Bundle(io.BytesIO(bundle_bytes))
        holder.model = libemr.Model.of({**base, "layer.weight": array})
        holder.task = holder.bundle["french"].open(holder.model, check="none")
        holder.task.holder = holder.model.holder = holder.bundle.holder = holder
        computed = libemr.Model.of()
        computed.add_computed(
            "w", "F32", (1,), lambda first, count, h=holder: h.task["layer.bias"].read_floats(0, 1)
        )
        holder.computed = computed
        assert computed["w"].read()
        del holder, computed, array
        gc.collect()
        assert gone() is None


def test_closing_while_it_is_used_waits(base):
    model = libemr.Model.of()

    def compute(first, count):
        model.close()
        return np.full(count, 3, np.float32)

    model.add_computed("w", "F32", (4,), compute)
    assert (model["w"].read() == 3).all()
    with pytest.raises(ValueError, match="closed"):
        model["w"]


def test_changing_while_it_is_used_is_refused():
    model = libemr.Model.of()

    def compute(first, count):
        model.add("x", b"123")
        return np.zeros(count, np.float32)

    model.add_computed("w", "F32", (4,), compute)
    with pytest.raises(libemr.OutOfOrder, match="in use"):
        model["w"].read()
    assert list(model) == ["w"]


def test_a_merge_is_used_by_one_at_a_time(base, tasks):
    merge = libemr.Merge(progress=lambda done, total: merge.plan())
    merge.set_base(base)
    merge.add_task("t", tasks["french"])
    merge.set_output(None)
    with pytest.raises(libemr.OutOfOrder, match="the merge is in use"):
        merge.run()


def test_a_pool_outlives_what_uses_it(base, tasks):
    with libemr.Pool(2) as pool:
        merge = libemr.Merge(threads=pool)
    merge.set_base(base)
    merge.add_task("t", tasks["french"])
    merge.set_output(None)
    assert merge.run().bundle
    with pytest.raises(ValueError, match="the pool is closed"):
        libemr.merge(base, tasks, threads=pool)


LEAK = """
import gc, io, resource, sys
import numpy as np, libemr
data = open(sys.argv[1], "rb").read()
base = {"layer.weight": np.zeros((64, 128), np.float32), "layer.bias": np.zeros(128, np.float32), "steps":
np.arange(4)}

def round():
    with libemr.Bundle(data) as bundle:
        bundle["french"].apply(base, check=False, threads=2)
        bundle["french"].modulator().close()
        bundle.unified()
        try:
            bundle["french"].open(base)
        except libemr.Mismatch:
            pass
    libemr.Bundle(io.BytesIO(data))
    model = libemr.Model.of(base)
    model.renamed({"layer.": "l."})
    model.add_computed("bad", "F32", (4,), lambda first, count: 1 / 0)
    try:
        model["bad"].read()
    except ZeroDivisionError:
        pass
    libemr.merge(base, {"t": base}, on_missing="base", threads=2)
    try:
        libemr.merge(base, {"t": base}, progress=lambda done, total: 1 / 0, threads=2)
    except ZeroDivisionError:
        pass

def resident():
    gc.collect()
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

for _ in range(300):
    round()
objects, grown = len(gc.get_objects()), []
for _ in range(4):
    before = resident()
    for _ in range(375):
        round()
    grown.append(resident() - before)
print(min(grown), len(gc.get_objects()) - objects)
"""


def test_thousands_of_opens_leave_nothing(bundle_bytes, tmp_path, run_python):
    """A leak grows in every quarter; what malloc and threads keep for later does not."""
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    grown, objects = map(int, run_python(LEAK, tmp_path / "all.emr", env=environment).stdout.split())
    assert grown < 1 << 18 and objects < 100, f"{grown} bytes more in 375 rounds, {objects} objects in 1500"


def test_handles_are_not_copied(bundle):
    """Two of one pointer would free it twice."""
    with libemr.Pool(2) as pool:
        for function in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="the pool can neither be copied nor pickled"):
                function(pool)
            with pytest.raises(TypeError, match="pickled"):
                function(bundle._handle)

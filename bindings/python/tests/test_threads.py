"""test_threads.py - Python threads beside calls: others run meanwhile, handles are shared, failures stay with
whom they are."""

import io
import threading

import numpy as np
import pytest
from conftest import make_base

import libemr


def in_threads(n, function):
    """Runs function(i) in n threads; returns results, or the exceptions."""
    results = [None] * n

    def run(i):
        try:
            results[i] = function(i)
        except BaseException as error:
            results[i] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_the_interpreter_is_free_during_a_merge():
    """Two threads of the library's meet within computed tensors, while the merge's own thread waits for them:
    that one does not hold the interpreter, or none of them would get there."""
    base = make_base(rows=2000, columns=256)["layer.weight"]
    meeting, arrived = threading.Barrier(2), []

    def compute(first, count):
        if threading.get_ident() not in arrived and len(arrived) < 2:
            arrived.append(threading.get_ident())
            meeting.wait(timeout=60)
        return base.ravel()[first : first + count] + np.float32(1)

    model = libemr.Model.of()
    model.add_computed("w", "F32", base.shape, compute)
    libemr.merge({"w": base}, {"t": model}, threads=2)
    assert len(arrived) == 2


def test_a_bundle_is_shared_by_threads(bundle_bytes, base):
    for source in (bundle_bytes, io.BytesIO(bundle_bytes)):
        bundle, model = libemr.Bundle(source), libemr.Model.of(base)
        expected = {t: bundle[t].apply(model)["layer.weight"].tobytes() for t in bundle}
        results = in_threads(
            8, lambda i: [bundle[t].apply(model, threads=1 + i % 2)["layer.weight"].tobytes() for t in bundle]
        )
        assert all(r == list(expected.values()) for r in results)


def test_each_thread_gets_its_own_exception():
    class Mine(Exception):
        pass

    def work(i):
        model = libemr.Model.of()

        def compute(first, count):
            raise Mine(f"of thread {i}.")

        model.add_computed("w", "F32", (10,), compute)
        for _ in range(50):
            with pytest.raises(Mine, match=f"^of thread {i}[.]"):
                model["w"].read()
            with pytest.raises(libemr.InvalidArgument):
                model["w"].read_floats(8, 8)
        return "fine"

    assert in_threads(8, work) == ["fine"] * 8


def test_one_pool_for_many_threads(base, tasks):
    with libemr.Pool(3) as pool:
        densities = in_threads(6, lambda i: libemr.merge(base, tasks, threads=pool).tasks["french"].density)
    assert len(set(densities)) == 1 and isinstance(densities[0], float)


def test_a_modulator_belongs_to_one_thread(bundle):
    modulator = bundle["french"].modulator()
    with modulator._handle.use(alone=True):
        results = in_threads(1, lambda i: modulator.names)
    assert isinstance(results[0], libemr.OutOfOrder) and "in use" in str(results[0])
    assert modulator.names


def test_a_pool_is_used_again_from_within_its_own_work(base, tasks, run_python):
    """In a process of its own, for it would wait for itself."""
    script = """
import numpy as np, libemr
base, pool = {"w": np.zeros(30000, np.float32)}, libemr.Pool(3)

def compute(first, count):
    libemr.merge(base, {"t": {"w": base["w"] + 1}}, threads=pool)
    return np.full(count, 2, np.float32)

model = libemr.Model.of()
model.add_computed("w", "F32", (30000,), compute)
report = libemr.merge(base, {"t": model}, threads=pool)
print(report.bundle["t"].apply(base)["w"].sum())
"""
    assert run_python(script).stdout == "60000.0\n"

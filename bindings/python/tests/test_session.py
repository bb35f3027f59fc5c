"""test_session.py - sessions: weights in place, products and gathers as numpy computes them, threads, and
what is refused."""

import gc
import threading

import numpy as np
import pytest

import libemr

KINDS = ["mask", "two_sided", "sign", "thin", "levels"]


def dot(weights, x):
    return x.astype(np.float64) @ weights.astype(np.float64).T


@pytest.fixture
def session(bundle, base):
    with libemr.Session(bundle, base) as made:
        yield made


@pytest.mark.parametrize("kind", KINDS)
def test_apply_is_what_the_task_is(base, tasks, kind):
    bundle = libemr.merge(base, tasks, modulator=kind).bundle
    out = {name: np.empty_like(array) for name, array in base.items()}
    with libemr.Session(bundle, base) as session:
        for task in ("french", "german", "french"):
            session.apply(task, out)
            expected = bundle[task].apply(base)
            assert all(np.array_equal(out[name], expected[name]) for name in base)
        session.apply(None, out)
    assert all(np.array_equal(out[name], base[name]) for name in base)


def test_prepared_destinations_are_looked_at_once(session, bundle, base):
    out = {"layer.weight": np.empty_like(base["layer.weight"])}
    prepared = session.prepare(out)
    for task in ("french", "german"):
        session.apply(task, prepared)
        assert np.array_equal(out["layer.weight"], bundle[task].apply(base)["layer.weight"])


def test_parts_come_in_order_through_a_function(session, bundle, base):
    expected, found = bundle["french"].apply(base)["layer.weight"].ravel(), []

    def take(part):
        assert part.first == sum(len(piece) for piece in found)
        assert (part.dtype, part.blocks) == (libemr.DType.F32, None)
        found.append(np.frombuffer(part.data, np.float32).copy())

    session.apply("french", {"layer.weight": libemr.Destination(write=take, staging=1000)})
    assert np.array_equal(np.concatenate(found), expected)


def test_blocks_ranges_and_changes(session, bundle, base):
    expected = bundle["french"].apply(base)["layer.weight"]
    change, part = np.empty_like(expected), np.empty(256, np.float32)
    blocks = np.empty((64, 128 // 32 * 34), np.uint8)
    session.apply("french", {"layer.weight": libemr.Destination(change, without_base=True)})
    assert np.array_equal(base["layer.weight"] + change, expected)
    session.apply("french", {"layer.weight": libemr.Destination(part, first=128)})
    assert np.array_equal(part, expected.ravel()[128:384])
    session.apply("french", {"layer.weight": libemr.Destination(blocks, blocks="Q8_0")})
    assert bytes(blocks) == bytes(libemr.blocks.quantise("Q8_0", expected))


@pytest.mark.parametrize("kind", KINDS)
def test_a_mixed_batch_is_each_row_alone(base, tasks, kind):
    bundle = libemr.merge(base, tasks, modulator=kind).bundle
    x = np.random.default_rng(0).standard_normal((5, 128), np.float32)
    of = ["french", None, "german", "german", "french"]
    with libemr.Session(bundle, base) as session:
        y = session.multiply("layer.weight", of, x)
        for i, task in enumerate(of):
            assert np.array_equal(session.multiply("layer.weight", [task], x[i : i + 1])[0], y[i])
            weights = base if task is None else bundle[task].apply(base)
            assert np.allclose(y[i], dot(weights["layer.weight"], x[i : i + 1])[0], rtol=1e-4, atol=1e-4)
        before = y.copy()
        session.multiply("layer.weight", of, x, out=y, add=True)
        assert np.array_equal(y, before + before)
        change = session.multiply("layer.weight", of, x, without_base=True)
        assert not change[1].any() and np.allclose(
            before[0] - dot(base["layer.weight"], x[:1])[0], change[0], atol=1e-3
        )


def test_rows_are_gathered(session, bundle, base):
    rows = [3, 0, 63]
    found = session.gather("layer.weight", ["french", None, "german"], rows)
    for row, task, i in zip(rows, ("french", None, "german"), range(3)):
        weights = base if task is None else bundle[task].apply(base)
        assert np.array_equal(found[i], weights["layer.weight"][row])
    assert np.array_equal(
        session.gather("layer.weight", ["french"] * 3, np.array(rows))[1],
        session.gather("layer.weight", ["french"], [0])[0],
    )
    assert np.array_equal(
        session.gather("layer.bias", ["german"])[0], bundle["german"].apply(base)["layer.bias"]
    )


def test_threads_have_sessions_of_their_own(bundle, base):
    expected = {task: bundle[task].apply(base)["layer.weight"] for task in bundle}
    wrong = []

    def work(session, task):
        out = np.empty_like(expected[task])
        with session:
            for _ in range(20):
                session.apply(task, {"layer.weight": out})
                if not np.array_equal(out, expected[task]):
                    wrong.append(task)

    with libemr.Session(bundle, base, threads=1) as session:
        threads = [
            threading.Thread(target=work, args=(session.thread(), task)) for task in [*expected, *expected]
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert session.info.memory_bytes > 0
    assert not wrong


def test_a_session_outlives_what_it_was_made_of(bundle_bytes, base):
    bundle = libemr.Bundle(bundle_bytes)
    expected = bundle["french"].apply(base)["layer.weight"]
    session = libemr.Session(bundle, base)
    thread = session.thread()
    bundle.close()
    session.close()
    del session, bundle
    gc.collect()
    out = np.empty_like(expected)
    thread.apply("french", {"layer.weight": out})
    assert np.array_equal(out, expected)
    thread.close()
    with pytest.raises(ValueError, match="is closed"):
        thread.apply("french", {"layer.weight": out})


def test_what_a_writer_raises_comes_back(session):
    class Broken(Exception):
        pass

    def write(part):
        raise Broken("the device is gone")

    with pytest.raises(Broken, match="the device is gone"):
        session.apply("french", {"layer.weight": libemr.Destination(write=write)})
    session.apply("french", {"layer.weight": np.empty((64, 128), np.float32)})


def test_a_session_in_use_says_so(session):
    def write(part):
        session.apply("german", {"layer.bias": np.empty(128, np.float32)})

    with pytest.raises(libemr.OutOfOrder, match="in use"):
        session.apply("french", {"layer.weight": libemr.Destination(write=write)})


@pytest.mark.parametrize(
    "array, error, sentence",
    [
        (np.empty((64, 100), np.float32), ValueError, "'layer.weight'"),
        (np.empty((65, 128), np.float32), ValueError, "'layer.weight'"),
        (np.empty((128, 64), np.float32).T, BufferError, "not contiguous"),
        (np.empty((64, 128), np.int32), ValueError, "layer.weight"),
        (bytes(64 * 128), BufferError, "read-only"),
        ([0.0], TypeError, "list"),
    ],
)
def test_arrays_that_do_not_fit(session, array, error, sentence):
    with pytest.raises(error, match=sentence):
        session.apply("french", {"layer.weight": array})


def test_what_is_not_there(session, bundle, base):
    out = {"layer.weight": np.empty((64, 128), np.float32)}
    with pytest.raises(libemr.NotFound, match="'spanish'"):
        session.apply("spanish", out)
    with pytest.raises(libemr.NotFound, match="'other'") as raised:
        session.apply("french", {"other": out["layer.weight"]})
    assert raised.value.tensor == "other"
    with pytest.raises(libemr.NotFound):
        session.multiply("other", ["french"], np.ones((1, 128), np.float32))
    with pytest.raises(ValueError, match=r"shape \(1, 100\)"):
        session.multiply("layer.weight", ["french"], np.ones((1, 100), np.float32))
    with pytest.raises(ValueError, match="lies over"):
        x = np.ones((1, 128), np.float32)
        session.multiply("layer.weight", ["french"], x, out=x[:, :64].reshape(1, 64))
    with pytest.raises(libemr.InvalidArgument):
        session.apply("french", {"layer.weight": base["layer.weight"]})
    other = {name: array + 1 for name, array in base.items()}
    with pytest.raises(libemr.Mismatch, match="its values differ"):
        libemr.Session(bundle, other)
    with libemr.Session(bundle, without_base=True) as change, pytest.raises(libemr.OutOfOrder):
        change.apply("french", out)
    with pytest.raises(libemr.LimitExceeded, match="memory"):
        libemr.Session(bundle, base, memory=1000)


def test_what_would_be_silently_wrong_is_refused(session, base):
    x = np.ones((1, 128), np.float32)
    with pytest.raises(ValueError, match="`add` needs `out`"):
        session.multiply("layer.weight", ["french"], x, add=True)
    with pytest.raises(ValueError, match="there are 4 rows for 2 tasks"):
        session.gather("layer.weight", ["french"] * 2, np.array([[0, 1], [2, 3]]))
    with pytest.raises(TypeError, match="a list of tasks is needed, not the text 'french'"):
        session.multiply("layer.weight", "french", x)
    other = libemr.merge(base, {"german": base}, on_missing="base").bundle
    with (
        libemr.Session(other, base) as stranger,
        pytest.raises(ValueError, match="another bundle's"),
    ):
        stranger.multiply("layer.weight", session.tasks(["french"]), x)

"""test_learn.py - what learns with the host's passes, against numpy: coefficients of task vectors, adapters,
ensembles, losses."""

import io
import os

import ml_dtypes
import numpy as np
import pytest

import libemr
from libemr import fit

NAMES = ("french", "german", "dutch")
SHAPES = {"layer.0.weight": (24, 30), "layer.0.bias": (24,), "layer.1.weight": (7, 24), "head.weight": (3, 7)}


def world(dtype=np.float32, n_tasks=2, seed=0):
    rng = np.random.default_rng(seed)
    base = {name: rng.standard_normal(shape).astype(dtype) for name, shape in SHAPES.items()}
    base["steps"] = np.arange(3)
    tasks = {
        task: {
            name: w if name == "steps" else (w + 0.2 * rng.standard_normal(w.shape)).astype(dtype)
            for name, w in base.items()
        }
        for task in NAMES[:n_tasks]
    }
    return base, tasks


def vectors(base, tasks):
    """In F32, rounded, as F64."""
    return {
        name: np.stack([np.float32(task[name]) - np.float32(base[name]) for task in tasks.values()]).astype(
            float
        )
        for name in SHAPES
    }


def merged(base, tasks, values, dtype=np.float32):
    """Every operation rounded to F32, the sum to the type."""
    out = {}
    for i, name in enumerate(SHAPES):
        w = np.float32(base[name])
        for t, task in enumerate(tasks.values()):
            w = w + np.float32(values[t, i]) * (np.float32(task[name]) - np.float32(base[name]))
        out[name] = w.astype(dtype)
    return out


def empty_like(base, dtype=None):
    return {name: np.empty(w.shape, dtype or w.dtype) for name, w in base.items() if name != "steps"}


def gradients(seed=5, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in SHAPES.items()}


class Adam:
    def __init__(self, x, lr=1e-3):
        self.x, self.lr, self.t = x, lr, np.zeros_like(x)
        self.m, self.v = np.zeros_like(x), np.zeros_like(x)

    def step(self, g, moves):
        self.t += moves
        self.m = np.where(moves, 0.9 * self.m + 0.1 * g, self.m)
        self.v = np.where(moves, 0.999 * self.v + 0.001 * g * g, self.v)
        with np.errstate(invalid="ignore", divide="ignore"):
            change = (
                self.lr / (1 - 0.9**self.t) * self.m / (np.sqrt(self.v) / np.sqrt(1 - 0.999**self.t) + 1e-8)
            )
        self.x = np.where(moves, self.x - change, self.x)


# ----------------------------------------------------------------------------------------------- coefficients


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_merged_weights(dtype):
    base, tasks = world(dtype)
    c = libemr.Coefficients(base, tasks)
    assert c.tasks == ["french", "german"] and c.groups == list(SHAPES)
    values = np.random.default_rng(3).random((2, 4))
    c.set_values(values)
    out = empty_like(base)
    c.apply(out)
    for name, wanted in merged(base, tasks, values, dtype).items():
        assert np.array_equal(out[name], wanted), name
        assert np.array_equal(c.model()[name].read(), wanted), name
    wide = empty_like(base, np.float32)
    c.apply(wide)
    assert all(np.array_equal(wide[n].astype(dtype), out[n]) for n in wide)
    steps = np.empty(3, np.int64)
    c.apply({"steps": steps})
    assert steps.tolist() == [0, 1, 2]


def test_weights_of_f64_are_merged_in_f64():
    base, tasks = world(np.float64)
    c, out = libemr.Coefficients(base, tasks, initial=0.1), empty_like(base)
    c.apply(out)
    for name, w in out.items():
        wanted = base[name] + sum(0.1 * (task[name] - base[name]) for task in tasks.values())
        np.testing.assert_allclose(w, wanted, rtol=1e-13)


def test_of_files_models_vectors_and_tasks_of_a_bundle(tmp_path):
    base, tasks = world()
    values = np.full((2, 4), 0.3)
    wanted = merged(base, tasks, values)
    for name, arrays in {"base": base, **tasks}.items():
        libemr.Model.of(arrays).write(tmp_path / f"{name}.safetensors")
    paths = {name: tmp_path / f"{name}.safetensors" for name in tasks}
    of_files = libemr.Coefficients(tmp_path / "base.safetensors", paths)
    assert of_files.write(tmp_path / "merged.safetensors") == [str(tmp_path / "merged.safetensors")]
    written = libemr.Model(tmp_path / "merged.safetensors")
    assert all(np.array_equal(written[name].read(), w) for name, w in wanted.items())
    tau = {t: {n: task[n] - base[n] for n in SHAPES} for t, task in tasks.items()}
    of_vectors, out = libemr.Coefficients(base, tau, vectors=True), empty_like(base)
    of_vectors.apply(out)
    assert all(np.array_equal(out[name], w) for name, w in wanted.items())
    bundle = libemr.merge(base, tasks).bundle
    of_bundle = libemr.Coefficients(base, {"french": bundle["french"]}, initial=1.0)
    of_bundle.apply(out)
    rebuilt = bundle["french"].apply(base)
    for name in SHAPES:
        np.testing.assert_allclose(out[name], rebuilt[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("map", ["clamp", "free", "project", "softmax"])
def test_steps_are_those_of_adam(map):
    base, tasks = world(n_tasks=3)
    c, tau = libemr.Coefficients(base, tasks, map=map, lr=0.2), vectors(base, tasks)
    adam = Adam(np.full((3, 4), 0.0 if map == "softmax" else 0.3), 0.2)
    for step in range(12):
        given = gradients(step)
        if step % 3:
            given["layer.0.bias"] = None
        g = np.stack(
            [
                np.zeros(3)
                if given[n] is None
                else np.tensordot(tau[n], given[n].astype(float), given[n].ndim)
                for n in SHAPES
            ],
            1,
        )
        lam = c.values
        moves = np.array([[given[n] is not None for n in SHAPES]] * 3)
        if map == "clamp":
            g = np.where((adam.x >= 0) & (adam.x <= 1), g, 0)
        if map == "softmax":
            e = np.exp(adam.x)
            np.testing.assert_allclose(lam, e / e.sum(0), rtol=1e-12)
            g = lam * (g - (lam * g).sum(0))
        adam.step(g, moves)
        if map == "project":
            adam.x = adam.x.clip(0, 1)
        report = c.step(given)
        assert report.n_steps == step + 1 and report.n_moved in (9, 12)
        np.testing.assert_allclose(c.raw, adam.x, rtol=1e-9, atol=1e-9)
        if map in ("clamp", "project"):
            np.testing.assert_allclose(c.values, adam.x.clip(0, 1), rtol=1e-9, atol=1e-9)
        assert report.largest_move == pytest.approx(abs(c.values - lam).max(), rel=1e-9)
    outside = (c.raw < 0) | (c.raw > 1)
    assert np.array_equal(c.stuck, outside if map == "clamp" else np.zeros_like(outside))
    assert report.n_stuck == c.stuck.sum() and (map != "clamp" or report.n_stuck)


def test_gradients_add_up_and_come_in_pieces():
    base, tasks = world()
    tau, given = vectors(base, tasks), gradients()
    for dtype in (np.float32, np.float64, np.float16, ml_dtypes.bfloat16):
        g = {name: w.astype(dtype) for name, w in given.items()}
        c = libemr.Coefficients(base, tasks, threads=1)
        for name, w in g.items():
            c.gradient(name, w)
            for first in range(0, w.size, 100):
                c.gradient(name, w.reshape(-1)[first : first + 100], first=first)
        wanted = np.stack(
            [2 * np.tensordot(tau[n], np.float64(np.float32(w)), w.ndim) for n, w in g.items()], 1
        )
        np.testing.assert_allclose(c.gradients, wanted, rtol=1e-12)
    c.clear()
    assert not c.gradients.any()
    with pytest.raises(libemr.OutOfOrder):
        c.step()


def test_groups_fixed_and_excluded():
    base, tasks = world()
    assert libemr.Coefficients(base, tasks, "model").groups == ["*"]
    assert libemr.Coefficients(base, tasks, "layer").groups == ["layer 0", "layer 1", "no layer"]
    c = libemr.Coefficients(base, tasks, ["*.weight"], exclude=["head.*"], fixed=["*.bias"], initial=0.5)
    assert c.groups == ["*.weight", "layer.0.bias"]
    assert c.group_of("layer.1.weight") == "*.weight" and c.group_of("head.weight") is None
    c.step(gradients())
    assert (c.values[:, 1] == 0.5).all() and (c.values[:, 0] != 0.5).all()
    out = empty_like(base)
    c.apply(out)
    assert np.array_equal(out["head.weight"], base["head.weight"])
    with pytest.raises(ValueError, match="none of tensor, layer, model"):
        libemr.Coefficients(base, tasks, "*.weight")
    with pytest.raises(libemr.NotFound, match="no tensor 'other'"):
        c.group_of("other")


def test_only_the_largest_with_the_elected_sign():
    base, tasks = world(n_tasks=3)
    tau = vectors(base, tasks)
    flat = np.concatenate([tau[name].reshape(3, -1) for name in SHAPES], 1)
    kept = [row * (abs(row) >= np.sort(abs(row))[::-1][int(0.2 * len(row))]) for row in flat]
    sign = np.sign(sum(kept))  # where it is 0, nothing is left
    kept = np.stack([np.where(row * sign > 0, row, 0) for row in kept])
    c, out = libemr.Coefficients(base, tasks, "model", keep=0.2, initial=1.0), empty_like(base)
    c.apply(out)
    got = np.concatenate([(out[name] - base[name]).reshape(-1) for name in SHAPES])
    np.testing.assert_allclose(got, kept.sum(0), atol=1e-6)


def test_what_is_not_finite_changes_nothing():
    base, tasks = world()
    c, given = libemr.Coefficients(base, tasks), gradients()
    c.step(given)
    before, state = c.values, io.BytesIO()
    c.save(state)
    bad = {**given, "layer.1.weight": np.full((7, 24), np.nan, np.float32)}
    with pytest.raises(libemr.NonFinite, match=r"layer\.1\.weight"):
        c.step(bad)
    assert np.array_equal(c.values, before) and not c.gradients.any()
    again = libemr.Coefficients(base, tasks)
    again.load(state.getvalue())
    assert c.step(given) == again.step(given)
    assert np.array_equal(c.values, again.values)


def test_what_is_refused_and_leaves_all_as_it_was():
    base, tasks = world()
    c, out = libemr.Coefficients(base, tasks), empty_like(base)
    for array in out.values():
        array[...] = 7
    with pytest.raises(libemr.NotFound, match="no tensor 'other'"):
        c.apply({**out, "other": np.zeros(3, np.float32)})
    with pytest.raises(libemr.Mismatch, match=r"'layer\.0\.bias'.*\[3\].*\[24\]"):
        c.apply({**out, "layer.0.bias": np.zeros(3, np.float32)})
    with pytest.raises(libemr.Mismatch):
        c.apply({**out, "layer.0.weight": np.zeros((30, 24), np.float32)})
    with pytest.raises(libemr.InvalidArgument, match="written over"):
        c.apply({**out, "layer.0.bias": tasks["german"]["layer.0.bias"]})
    frozen = np.zeros(24, np.float32)
    frozen.flags.writeable = False
    with pytest.raises(BufferError, match="read-only"):
        c.apply({**out, "layer.0.bias": frozen})
    with pytest.raises(libemr.InvalidArgument, match="no float"):
        c.apply({**out, "steps": np.zeros(3, np.float32)})
    assert all((array == 7).all() for array in out.values())
    c.apply({**out, "other": np.zeros(3)}, strict=False)
    assert not any((array == 7).any() for array in out.values())
    for bad in ({"other": frozen}, {"layer.0.bias": np.zeros(3, np.float32)}):
        with pytest.raises((libemr.NotFound, libemr.Mismatch)):
            c.step({**gradients(), **bad})
        assert not c.gradients.any() and (c.values == 0.3).all()
    c.step({**gradients(), "other": frozen}, strict=False)
    with pytest.raises(libemr.InvalidArgument, match="from 100 on come next"):
        c.gradient("layer.0.weight", np.ones(100, np.float32), first=0)
        c.gradient("layer.0.weight", np.ones(100, np.float32), first=300)


def test_options_that_cannot_be_right():
    base, tasks = world()
    for options in (
        {"lr": 0.0},
        {"betas": (0.9, 1.0)},
        {"keep": 2.0},
        {"exclude": ["nothing.*"]},
        {"lr": -1.0},
    ):
        with pytest.raises(libemr.InvalidArgument):
            libemr.Coefficients(base, tasks, **options)
    with pytest.raises(ValueError, match="map"):
        libemr.Coefficients(base, tasks, map="round")
    with pytest.raises(libemr.InvalidArgument):
        libemr.Coefficients(base, {})
    with pytest.raises(libemr.Mismatch, match="german"):
        libemr.Coefficients(
            base, {**tasks, "german": {**tasks["german"], "layer.0.bias": np.zeros(3, np.float32)}}
        )


def test_published_coefficients():
    base, tasks = world()
    c, rng = libemr.Coefficients(base, tasks), np.random.default_rng(1)
    values = rng.random((2, 4))
    c.set_values(values)
    assert np.array_equal(c.values, values)
    order = ["head.weight", "layer.0.bias", "layer.1.weight", "layer.0.weight", "steps"]
    columns = rng.random((2, 5))
    c.set_values(columns, order)
    assert np.array_equal(c.values, columns[:, [3, 1, 2, 0]])
    c.set_values(values, order=c.groups)
    c.set_values(np.concatenate([np.ones((5, 1)), columns.T], 1), order)
    assert np.array_equal(c.values, columns[:, [3, 1, 2, 0]])
    before = c.values
    for bad, names in ((values[:, :3], None), (values * np.nan, None), (values, ["a", "b", "c", "d"])):
        with pytest.raises((libemr.Mismatch, libemr.InvalidArgument, libemr.NotFound)):
            c.set_values(bad, names)
        assert np.array_equal(c.values, before)
    task_wise = libemr.Coefficients(base, tasks, "model")
    task_wise.set_values(np.repeat(values[:, :1], 4, 1), list(SHAPES))
    assert np.array_equal(task_wise.values, values[:, :1])
    with pytest.raises(libemr.Mismatch, match="shares"):
        task_wise.set_values(values, list(SHAPES))
    with pytest.raises(libemr.InvalidArgument, match="project"):
        libemr.Coefficients(base, tasks, map="project").set_values(values - 1)


def test_saved_and_gone_on_from(tmp_path):
    base, tasks = world()
    c = libemr.Coefficients(base, tasks)
    for step in range(3):
        c.step(gradients(step))
    c.save(tmp_path / "lambda.safetensors")
    with pytest.raises(FileExistsError):
        c.save(tmp_path / "lambda.safetensors")
    again = libemr.Coefficients(base, dict(reversed(tasks.items())), threads=2)
    again.load(tmp_path / "lambda.safetensors")
    assert np.array_equal(again.values[::-1], c.values)
    c.step(gradients(9)), again.step(gradients(9))
    assert np.array_equal(again.values[::-1], c.values)
    other = libemr.Coefficients(base, tasks, "model")
    with pytest.raises(libemr.Mismatch):
        other.load(tmp_path / "lambda.safetensors")
    with pytest.raises(libemr.FormatError):
        other.load(base)


def test_a_model_keeps_the_coefficients_of_its_moment_and_what_it_needs():
    base, tasks = world()
    c = libemr.Coefficients(base, tasks)
    model, wanted = c.model(), merged(base, tasks, c.values)
    c.step(gradients())
    c.close()
    del c
    assert all(np.array_equal(model[name].read(), w) for name, w in wanted.items())


def test_a_destination_takes_parts():
    base, tasks = world()
    c, parts = libemr.Coefficients(base, tasks), []
    buffer = bytearray(100 * 4)
    take = libemr.Destination(
        write=lambda p: parts.append((p.first, bytes(p.data))), staging=100, dtype="F32"
    )
    take.buffer = buffer
    c.apply({"layer.0.weight": take})
    wanted = merged(base, tasks, c.values)["layer.0.weight"]
    assert b"".join(data for _, data in parts) == wanted.tobytes() and bytes(buffer)[:80] == parts[-1][1][:80]
    take.buffer = bytearray(399)
    with pytest.raises(ValueError, match="399 bytes"):
        c.apply({"layer.0.weight": take})
    with pytest.raises(ZeroDivisionError):
        c.apply({"layer.0.weight": libemr.Destination(write=lambda part: 1 / 0)})


# ---------------------------------------------------------------------------------------------------- surgery


def features(n=50, width=12, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, width), np.float32)
    return x, x + np.float32(0.3) * np.maximum(x @ rng.standard_normal((width, width), np.float32), 0)


def test_an_adapter_is_nothing_at_first_and_then_the_formula():
    x, z = features()
    s = libemr.Surgery(12, 5, seed=1)
    assert np.array_equal(s(x), x) and abs(s.down).max() <= 1 / np.sqrt(12)
    report = s.fit(x, z, steps=300)
    assert report.n_steps == 300 and report.loss_after < report.loss_before
    wanted = x - np.maximum(x @ s.down.T, 0) @ s.up.T
    np.testing.assert_allclose(s(x), wanted, rtol=1e-5, atol=1e-5)
    assert fit.l1(s(x), z)[0] == pytest.approx(report.loss_after, rel=1e-5)
    assert np.array_equal(s(x.reshape(10, 5, 12)), s(x).reshape(10, 5, 12))
    assert s(x.astype(np.float64)).dtype == np.float64 and s(x[:0]).shape == (0, 12)
    same = libemr.Surgery(12, 5, seed=1, threads=1)
    assert same.fit(x, z, steps=300) == report and np.array_equal(same.up, s.up)


def test_adapters_saved_and_opened(tmp_path):
    x, z = features()
    s = libemr.Surgery(12, 5)
    s.fit(x, z, steps=20)
    libemr.Surgery.save_all(tmp_path / "all.safetensors", {"a.final": s, "b.final": libemr.Surgery(12)})
    assert sorted(libemr.Surgery.places(tmp_path / "all.safetensors")) == ["a.final", "b.final"]
    again = libemr.Surgery.open(tmp_path / "all.safetensors", "a.final")
    assert (again.width, again.rank) == (12, 5) and np.array_equal(again(x), s(x))
    file = io.BytesIO()
    s.save(file)
    assert np.array_equal(libemr.Surgery.open(file.getvalue())(x), s(x))
    made = libemr.Surgery.of({"down.weight": s.down.astype(np.float64), "up.weight": s.up})
    assert np.array_equal(made(x), s(x))
    with pytest.raises(libemr.NotFound):
        libemr.Surgery.open(tmp_path / "all.safetensors", "c.final")
    with pytest.raises(libemr.FormatError):
        libemr.Surgery.of({"down.weight": s.down, "up.weight": s.up.T})


def test_features_that_are_refused():
    x, z = features()
    s = libemr.Surgery(12)
    before = s.down
    bad = x.copy()
    bad[3, 4] = np.inf
    for kind, work in {
        libemr.Mismatch: [lambda: s(x[:, :11]), lambda: s.fit(x, z[:10]), lambda: s(np.float32(1)[None][0])],
        libemr.NonFinite: [lambda: s.train(bad, z), lambda: s.fit(x, bad), lambda: s.backward(x, bad)],
        libemr.InvalidArgument: [lambda: s.train(x[:0], z[:0]), lambda: s.fit(x, z, steps=0)],
        libemr.OutOfOrder: [s.step],
        TypeError: [lambda: s(x.astype(int)), lambda: s(bytes(48))],
    }.items():
        for call in work:
            with pytest.raises(kind):
                call()
    assert np.array_equal(s.down, before) and not s.up.any()
    for options in ({"rank": 0}, {"lr": 0}, {"width": 0}):
        with pytest.raises(libemr.InvalidArgument):
            libemr.Surgery(**{"width": 4, **options})


def test_progress_of_a_fit_can_stop_it():
    x, z = features()
    s, seen = libemr.Surgery(12), []
    s.fit(x, z, steps=5, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (5, 5)

    def stop(done, total):
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        s.fit(x, z, steps=5, progress=stop)
    s.fit(x, z, steps=5)
    assert seen[-1] == (5, 5)


# -------------------------------------------------------------------------------------------------- ensembles


def answers(n=40, n_sources=3, n_columns=4, width=6, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, width), np.float32)
    labels = rng.integers(0, n_columns, n)
    values = rng.standard_normal((n, n_sources, n_columns), np.float32)
    right = np.where(x[:, 0] > 0, 0, 1)  # who is to be trusted
    values[np.arange(n), right, labels] += 3
    return x, values, labels


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_an_ensemble_is_the_formula(tmp_path):
    x, values, labels = answers(200)
    e = libemr.Ensemble(6, 4, x_hidden=8, key_hidden=9, shared_width=10, temperature=2.0, lr=0.02, seed=3)
    report = e.fit(x, values, labels, steps=200)
    assert report.held_out_after < report.held_out_before and report.n_held_out
    e.save(tmp_path / "e.safetensors")
    w = {name: tensor.read() for name, tensor in libemr.Model(tmp_path / "e.safetensors").items()}

    def side(inputs, s):
        a = inputs.astype(float) @ w[f"{s}.down.weight"].T
        return (a / (1 + np.exp(-a))) @ w[f"{s}.up.weight"].T

    scores = np.einsum("nd,njd->nj", side(x, "x"), side(values, "l")) / 2
    a = softmax(scores)
    np.testing.assert_allclose(e.weights(x, values), a, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(e.combine(x, values), np.einsum("nj,njc->nc", a, values), rtol=1e-5, atol=1e-5)
    again = libemr.Ensemble.open(tmp_path / "e.safetensors", threads=2)
    assert np.array_equal(again.combine(x, values), e.combine(x, values))
    other = [2, 0, 1]
    np.testing.assert_allclose(e.weights(x, values[:, other]), e.weights(x, values)[:, other], rtol=1e-6)
    seen = []
    whole = again.fit(x, values, labels, steps=3, held_out=0, progress=lambda *now: seen.append(now))
    assert whole.n_steps == 3 and whole.n_held_out == 0 and np.isnan(whole.held_out_after)
    assert seen[-1] == (3, 3)
    with pytest.raises(ZeroDivisionError):
        again.fit(x, values, labels, progress=lambda *now: 1 / 0)


def test_one_source_and_baselines():
    x, values, labels = answers()
    e = libemr.Ensemble(6, 4)
    assert (
        np.array_equal(e.combine(x, values[:, :1]), values[:, 0]) and (e.weights(x, values[:, :1]) == 1).all()
    )
    np.testing.assert_allclose(e.uniform(values), values.mean(1), rtol=1e-5, atol=1e-6)
    votes = values.argmax(2)
    assert e.vote(values) == [int(np.bincount(v, minlength=4).argmax()) for v in votes]
    right = (votes == labels[:, None]).sum(0)
    assert e.best_source(values, labels) == (right.argmax(), right.max())
    tokens = np.random.default_rng(1).standard_normal((5, 7, 6), np.float32)
    keep = np.arange(7) < np.arange(1, 6)[:, None]
    assert np.array_equal(e.pool(tokens), tokens.max(1))
    assert np.array_equal(e.pool(tokens, keep), np.where(keep[..., None], tokens, -np.inf).max(1))


def test_keys_apart_from_values_and_probabilities():
    x, keys, _ = answers(n_columns=9)
    values, labels = keys[:, :, :2].copy(), np.arange(40) % 2
    e = libemr.Ensemble(6, 9, mix="probabilities", norm=True, activation="relu")
    e.train(x, values, labels, keys=keys)
    got = e.combine(x, values, keys=keys)
    np.testing.assert_allclose(got.sum(1), 1, rtol=1e-6)
    a = e.weights(x, values, keys=keys)
    np.testing.assert_allclose(got, np.einsum("nj,njc->nc", a, softmax(values)), rtol=1e-5)


def test_samples_that_are_refused():
    x, values, labels = answers()
    e = libemr.Ensemble(6, 4)
    before = e.combine(x, values)
    bad = values.copy()
    bad[1, 2, 3] = np.nan
    for kind, work in {
        libemr.Mismatch: [
            lambda: e.combine(x[:, :5], values),
            lambda: e.combine(x[:9], values),
            lambda: e.combine(x, values[0]),
            lambda: e.combine(x, values, keys=values[:, :, :3]),
            lambda: e.train(x, values, labels[:5]),
        ],
        libemr.NonFinite: [lambda: e.combine(x, bad), lambda: e.fit(x, bad, labels)],
        libemr.InvalidArgument: [
            lambda: e.combine(x[:0], values[:0]),
            lambda: e.combine(x, values[:, :, :3]),
            lambda: e.train(x, values, labels + 1),
            lambda: e.train(x, values, labels - 1),
            lambda: e.train(x, values, labels + 0.5),
            lambda: e.pool(np.zeros((2, 3, 4), np.float32), np.zeros((2, 3), bool)),
            lambda: e.fit(x, values, labels, held_out=0.95),
            lambda: libemr.Ensemble(6, 4, temperature=0.0),
        ],
        ValueError: [lambda: libemr.Ensemble(6, 4, mix="soup")],
    }.items():
        for call in work:
            with pytest.raises(kind):
                call()
    assert np.array_equal(e.combine(x, values), before)


# ----------------------------------------------------------------------------------------------------- losses


def test_losses_and_their_gradients():
    rng = np.random.default_rng(1)
    z = (5 * rng.standard_normal((6, 5))).astype(np.float32)
    p = softmax(z.astype(float))
    h = -(p * np.log(p)).sum(1, keepdims=True)
    loss, gradient = fit.entropy(z)
    assert loss == pytest.approx(h.mean())
    np.testing.assert_allclose(gradient, -p * (np.log(p) + h) / 6, rtol=1e-5, atol=1e-8)
    keep = np.array([1, 0, 1, 1, 0, 0], bool)
    loss, gradient = fit.entropy(z.reshape(2, 3, 5), keep=keep.reshape(2, 3), per_log_classes=True)
    assert loss == pytest.approx(h[keep].mean() / np.log(5)) and gradient.shape == (2, 3, 5)
    assert not gradient.reshape(6, 5)[~keep].any()
    labels = rng.integers(0, 5, 6)
    loss, gradient = fit.cross_entropy(z, labels)
    assert loss == pytest.approx(-np.log(p[np.arange(6), labels]).mean())
    np.testing.assert_allclose(gradient, (p - np.eye(5)[labels]) / 6, rtol=1e-5, atol=1e-7)
    y, w = rng.standard_normal((2, 4, 3, 5)).astype(np.float32)
    off = y.astype(float).mean(1) - w.astype(float).mean(1)
    loss, gradient = fit.l1(y, w)
    assert loss == pytest.approx(abs(off).mean())
    np.testing.assert_allclose(gradient, np.broadcast_to((np.sign(off) / 60)[:, None], y.shape), rtol=1e-6)
    with pytest.raises(libemr.InvalidArgument):
        fit.entropy(z, keep=np.zeros(6, bool))
    with pytest.raises(libemr.NonFinite):
        fit.entropy(z * np.nan)
    with pytest.raises(libemr.Mismatch):
        fit.entropy(z, keep=np.ones(5, bool))
    with pytest.raises(libemr.Mismatch):
        fit.cross_entropy(z, labels[:3])


# -------------------------------------------------------------------------------------------------- lifetimes


LEAK = """
import gc
import io, resource
import numpy as np, libemr
rng = np.random.default_rng(0)
base = {"layer.0.weight": rng.standard_normal((64, 128), np.float32)}
base["layer.0.bias"] = np.zeros(128, np.float32)
tasks = {name: {k: w + np.float32(0.1) for k, w in base.items()} for name in "ab"}
out = {name: np.empty_like(w) for name, w in base.items()}
nan = {"layer.0.bias": np.full(128, np.nan, np.float32)}
x, values = rng.standard_normal((16, 6), np.float32), rng.standard_normal((16, 3, 4), np.float32)

def stopped(work, kind):
    try:
        work()
    except kind:
        return
    raise AssertionError

def round():
    c = libemr.Coefficients(base, tasks, threads=2)
    c.apply(out)
    c.step(base)
    stopped(lambda: c.step(nan), libemr.NonFinite)
    broken = libemr.Destination(write=lambda part: 1 / 0)
    stopped(lambda: c.apply({"layer.0.bias": broken}), ZeroDivisionError)
    file = io.BytesIO()
    c.save(file)
    c.load(file.getvalue())
    model = c.model()
    c.close()
    model["layer.0.bias"].read()
    stopped(lambda: libemr.Coefficients(base, {"a": {}}), libemr.Mismatch)
    s = libemr.Surgery(6, 2, threads=2)
    stopped(lambda: s.fit(x, x + 1, progress=lambda done, total: 1 / 0), ZeroDivisionError)
    s.save(io.BytesIO())
    s(x), s.down
    e = libemr.Ensemble(6, 4, threads=2)
    e.fit(x, values, [0, 1] * 8, steps=3)
    stopped(lambda: e.combine(x * np.nan, values), libemr.NonFinite)
    e.save(io.BytesIO())
    libemr.fit.entropy(values)

def resident():
    gc.collect()
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

for _ in range(100):
    round()
grown = []
for _ in range(4):
    before = resident()
    for _ in range(100):
        round()
    grown.append(resident() - before)
print(min(grown))
"""


def test_thousands_of_them_leave_nothing(run_python):
    """A leak grows in every quarter; what malloc and threads keep for later does not."""
    grown = int(run_python(LEAK, env={**os.environ, "MALLOC_ARENA_MAX": "1"}).stdout)
    assert grown < 1 << 18, f"{grown} bytes more in 100 rounds"

"""test_fit.py - libemr.fit: grams, permutations, and models that are made with them, against numpy."""

import io
import itertools
import json

import ml_dtypes
import numpy as np
import pytest

import libemr
from libemr import fit

WIDTHS = (6, 16, 12, 4)


def mlp(seed, widths=WIDTHS, dtype=np.float32):
    rng = np.random.default_rng(seed)
    layers = {}
    for i, (n, m) in enumerate(zip(widths, widths[1:])):
        layers[f"fc{i}.weight"] = rng.standard_normal((m, n)).astype(dtype) / dtype(np.sqrt(n))
        layers[f"fc{i}.bias"] = rng.standard_normal(m).astype(dtype)
    return layers


def activations(model, x):
    """What each layer reads, and the output behind the last."""
    read, n = [x], len(model) // 2
    for i in range(n):
        y = read[-1] @ np.asarray(model[f"fc{i}.weight"], np.float64).T + model[f"fc{i}.bias"]
        read.append(y if i == n - 1 else np.maximum(y, 0))
    return read


def samples(seed, n=200):
    return np.random.default_rng(seed).standard_normal((n, WIDTHS[0]))


def arrays_of(model):
    return {name: tensor.read() for name, tensor in model.items()}


def gram_of(models, x, **options):
    gram = libemr.Gram(n_models=len(models), **options)
    for i, rows in enumerate(zip(*(activations(model, x)[:-1] for model in models))):
        gram.feed(f"fc{i}", *rows)
    return gram


def sums(*arrays):
    z = np.concatenate([*(a.reshape(-1, a.shape[-1]).astype(np.float64) for a in arrays)], 1)
    z = np.concatenate([z, np.ones((len(z), 1))], 1)
    return z.T @ z


# ------------------------------------------------------------------------------------------------------ grams


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.float64])
def test_a_gram_is_the_sum_of_products(dtype):
    x = np.random.default_rng(1).standard_normal((5, 7, 9)).astype(dtype)
    keep = np.random.default_rng(2).random((5, 7)) < 0.6
    gram = libemr.Gram()
    gram.feed("in", x, keep=keep)
    gram.feed("in", x[0])
    rows = np.concatenate([x[keep], x[0]])
    np.testing.assert_allclose(gram.matrix("in"), sums(rows), rtol=1e-12)
    site = gram.sites["in"]
    assert (site.widths, site.n_rows, site.n_dropped) == ((9,), len(rows), 0)
    assert site.bytes == libemr.Gram.bytes_of(9)


def test_two_models_and_their_mutual_products():
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((50, 3), np.float32), rng.standard_normal((50, 5), np.float32)
    gram = libemr.Gram({"in": (3, 5)}, n_models=2)
    gram.feed("in", a, b)
    np.testing.assert_allclose(gram.matrix("in"), sums(a, b), rtol=1e-12)
    assert gram.n_models == 2


def test_bits_do_not_depend_on_batches_and_threads():
    x = samples(1, 500).astype(np.float32)
    whole, parts = libemr.Gram(threads=3), libemr.Gram(threads=1)
    whole.feed("in", x)
    for i in range(0, 500, 17):
        parts.feed("in", x[i : i + 17])
    assert np.array_equal(whole.matrix("in"), parts.matrix("in"))


def test_saved_and_opened_and_added(tmp_path):
    x = samples(1).astype(np.float32)
    gram = gram_of([mlp(1)], x)
    gram.save(tmp_path / "gram.safetensors")
    with pytest.raises(FileExistsError):
        gram.save(tmp_path / "gram.safetensors")
    again = libemr.Gram.open(tmp_path / "gram.safetensors")
    assert again.sites == gram.sites and again.n_models == 1
    file = io.BytesIO()
    again.save(file)
    assert libemr.Gram.open(file.getvalue()).sites == gram.sites
    again.add(gram)
    np.testing.assert_array_equal(again.matrix("fc1"), 2 * gram.matrix("fc1"))
    more = libemr.Gram()
    more.add(gram)
    assert more.sites == gram.sites
    with pytest.raises(libemr.NotFound, match="no site 'other'"):
        again.feed("other", x)
    other = libemr.Gram({"other": 3})
    with pytest.raises(libemr.Mismatch):
        again.add(other)


def test_output_moments():
    model, x = mlp(1), samples(2)
    gram = gram_of([model], x)
    read = activations(model, x)
    y = read[1] @ model["fc1.weight"].T + model["fc1.bias"]
    mean, variance = gram.output_moments("fc1", model["fc1.weight"], model["fc1.bias"])
    np.testing.assert_allclose(mean, y.mean(0), rtol=1e-9)
    np.testing.assert_allclose(variance, y.var(0), rtol=1e-9)
    tensor = libemr.Model.of(model)["fc1.weight"]
    mean, _ = gram.output_moments("fc1", tensor)
    np.testing.assert_allclose(mean, (y - model["fc1.bias"]).mean(0), rtol=1e-9, atol=1e-12)


def test_rows_that_cannot_be_fed():
    gram, x = libemr.Gram({"in": (3, 3)}, n_models=2), np.ones((4, 3), np.float32)
    for arrays, options, kind, words in [
        ((x,), {}, libemr.Mismatch, "rows of 1 models were given, and the gram is of 2"),
        ((x, x[:3]), {}, libemr.Mismatch, "models have 4 and 3 rows"),
        ((x, np.ones((4, 5), np.float32)), {}, libemr.Mismatch, "rows of 3 and 5 numbers"),
        ((x, np.float32(1)), {}, libemr.Mismatch, "a number is no row"),
        ((x, x.astype(np.int32)), {}, libemr.InvalidArgument, "activations are F32"),
        ((x, x[:, ::-1]), {}, BufferError, "not contiguous"),
        ((x, x), {"keep": np.ones(3, bool)}, libemr.Mismatch, "`keep` is of 3 rows"),
        ((x, x), {"keep": np.ones(4)}, TypeError, "booleans or bytes"),
        ((x, x * np.float32("nan")), {}, libemr.NonFinite, "in"),
    ]:
        with pytest.raises(kind, match=words):
            gram.feed("in", *arrays, **options)
    assert gram.sites["in"].n_rows == 0
    with pytest.raises(libemr.NotFound, match="no site 'out'"):
        gram.feed("out", x, x)
    with pytest.raises(libemr.Mismatch, match="has 1 widths, and the gram is of 2"):
        gram.add_site("more", 3)
    with pytest.raises(libemr.Exists):
        gram.add_site("in", (3, 3))
    with pytest.raises(libemr.LimitExceeded):
        libemr.Gram({"in": 4096}, memory="1MB")


def test_rows_that_are_not_finite_are_left_out_if_asked_for():
    gram, x = libemr.Gram(on_nonfinite="zero"), np.ones((4, 3), np.float32)
    x[1, 2] = np.inf
    gram.feed("in", x)
    assert (gram.sites["in"].n_rows, gram.sites["in"].n_dropped) == (3, 1)
    np.testing.assert_array_equal(gram.matrix("in"), 3 * np.ones((4, 4)))


# ------------------------------------------------------------------------------------- specs and permutations


def test_a_spec_is_derived_written_and_read(tmp_path):
    model = libemr.Model.of(mlp(1))
    spec = fit.PermutationSpec.derive(model)
    assert {name: group.n_units for name, group in spec.groups.items()} == {"hidden.0": 16, "hidden.1": 12}
    assert spec.layers[1] == fit.Layer("fc1.weight", "fc1", "fc1.bias", 1)
    assert spec.group_sites == ["fc1", "fc2"]
    spec.save(tmp_path / "spec.json")
    again = fit.PermutationSpec.open(tmp_path / "spec.json")
    assert again.to_json() == spec.to_json() == json.loads((tmp_path / "spec.json").read_text())
    assert fit.PermutationSpec(spec.to_json()).layers == spec.layers
    spec.check(model)
    with pytest.raises(libemr.Mismatch):
        spec.check({"fc0.weight": np.zeros((16, 6), np.float32)})
    with pytest.raises(libemr.FormatError):
        fit.PermutationSpec("{}")
    with pytest.raises(libemr.Unsupported):
        fit.PermutationSpec.derive({"some.weight": np.zeros((2, 2), np.float32)})


def test_a_configuration_comes_with_the_model(tmp_path):
    """BERT needs its number of heads: of a folder, of what is given, or there is an error."""
    rng = np.random.default_rng(0)
    names = ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"]
    shapes = dict.fromkeys(names, (8, 8)) | {"intermediate.dense": (16, 8), "output.dense": (8, 16)}
    tensors = {
        f"encoder.layer.0.{name}.weight": rng.standard_normal(shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    for name in ("word", "position", "token_type"):
        tensors[f"embeddings.{name}_embeddings.weight"] = np.zeros((4, 8), np.float32)
    for name in (
        "embeddings.LayerNorm",
        *(f"encoder.layer.0.{n}.LayerNorm" for n in ("attention.output", "output")),
    ):
        tensors[f"{name}.weight"] = np.ones(8, np.float32)
    config = {"model_type": "bert", "num_attention_heads": 2}
    spec = fit.PermutationSpec.derive(tensors, config)
    assert fit.PermutationSpec.derive(tensors, json.dumps(config)).to_json() == spec.to_json()
    with pytest.raises(libemr.Error):
        fit.PermutationSpec.derive(tensors)
    data = np.frombuffer(json.dumps(config).encode(), np.uint8)
    libemr.Model.of({**tensors, "file:config.json": data}).write(f"{tmp_path}/bert/")
    assert fit.PermutationSpec.derive(f"{tmp_path}/bert/").to_json() == spec.to_json()
    group = spec.groups["encoder.layer.0.attention"]
    assert (group.n_units, group.n_heads, group.n_kv_heads, group.head_dim, group.fixed_qk) == (
        0,
        2,
        2,
        4,
        False,
    )
    permutation = fit.Permutation.random(spec, 3)
    heads = permutation[group.name]
    assert sorted(heads.kv) == [0, 1] and list(heads.slot) == [0, 0] and len(heads.qk) == len(heads.v) == 8
    w = arrays_of(permutation.apply(tensors))["encoder.layer.0.attention.self.query.weight"].reshape(2, 4, 8)
    old = tensors["encoder.layer.0.attention.self.query.weight"].reshape(2, 4, 8)
    for g in range(2):
        np.testing.assert_array_equal(w[g], old[heads.kv[g]][np.array(heads.qk).reshape(2, 4)[g]])
    with pytest.raises(libemr.InvalidArgument, match="qk are 8 numbers, and 4 were given"):
        permutation[group.name] = fit.HeadUnits([0, 1], [0, 0], [0, 1, 2, 3], [0, 1, 2, 3] * 2)


def test_a_permutation_changes_no_output(tmp_path):
    model, x = mlp(1), samples(2)
    spec = fit.PermutationSpec.derive(model)
    permutation = fit.Permutation.random(spec, 5)
    moved = arrays_of(permutation.apply(model))
    assert not np.array_equal(moved["fc0.weight"], model["fc0.weight"])
    np.testing.assert_array_equal(moved["fc0.weight"], model["fc0.weight"][permutation["hidden.0"]])
    np.testing.assert_allclose(activations(moved, x)[-1], activations(model, x)[-1], atol=1e-6)
    back = arrays_of(permutation.inverse().apply(moved))
    identity = permutation.then(permutation.inverse())
    for name, w in model.items():
        np.testing.assert_array_equal(back[name], w)
    assert dict(identity) == dict(fit.Permutation(spec))
    assert identity["hidden.1"] == list(range(12))
    permutation.save(tmp_path / "p.safetensors")
    assert dict(fit.Permutation.open(spec, tmp_path / "p.safetensors")) == dict(permutation)
    assert dict(fit.Permutation.random(spec, 5)) == dict(permutation) != dict(fit.Permutation.random(spec, 6))


def test_orders_that_are_none():
    permutation = fit.Permutation(fit.PermutationSpec.derive(mlp(1)))
    permutation["hidden.1"] = np.arange(12)[::-1]
    assert permutation["hidden.1"] == list(range(11, -1, -1))
    for group, units, kind in [
        ("hidden.1", [0] * 12, libemr.InvalidArgument),
        ("hidden.1", range(11), libemr.InvalidArgument),
        ("hidden.1", fit.HeadUnits([], [], [], []), libemr.InvalidArgument),
        ("hidden.9", range(12), libemr.NotFound),
    ]:
        with pytest.raises(kind):
            permutation[group] = units
    assert permutation["hidden.1"] == list(range(11, -1, -1))
    with pytest.raises(KeyError):
        permutation["hidden.9"]


# ---------------------------------------------------------------------------------------------- merged models


def wanted_regmean(models, xs, i, off_diagonal=0.9):
    """Layer number i by the formula."""
    moments = []
    for model, x in zip(models, xs):
        read = activations(model, x)[i]
        g = read.T @ read / len(read)
        moments.append(off_diagonal * g + (1 - off_diagonal) * np.diag(np.diag(g)))
    right = sum(g @ model[f"fc{i}.weight"].astype(np.float64).T for g, model in zip(moments, models))
    return np.linalg.solve(sum(moments), right).T


def test_regmean_is_the_formula():
    models, xs = [mlp(1), mlp(2)], [samples(3), samples(4, 90)]
    grams = [gram_of([model], x) for model, x in zip(models, xs)]
    spec = fit.PermutationSpec.derive(models[0])
    for off_diagonal in (None, 0.5):
        merged = arrays_of(fit.regmean(models, grams, spec, off_diagonal=off_diagonal, threads=2))
        assert list(merged) == list(models[0])
        for i in range(3):
            expected = wanted_regmean(models, xs, i, off_diagonal or 0.9)
            np.testing.assert_allclose(merged[f"fc{i}.weight"], expected, rtol=1e-5, atol=1e-6)
            mean = (models[0][f"fc{i}.bias"] + models[1][f"fc{i}.bias"]) / 2
            np.testing.assert_allclose(merged[f"fc{i}.bias"], mean, rtol=1e-6)
    half = fit.regmean(models, grams, spec, dtype="BF16")
    assert {tensor.dtype.name for tensor in half.values()} == {"BF16"}
    one = fit.regmean(models, grams, spec, coefficients=[1, 0])
    np.testing.assert_allclose(one["fc1.weight"].read(), models[0]["fc1.weight"], rtol=1e-5, atol=1e-6)
    without = fit.regmean(models, grams, spec.layers[:2], exclude=["fc2.weight", "fc2.bias"])
    assert set(models[0]) - set(without) == {"fc2.weight", "fc2.bias"}


def test_what_regmean_refuses():
    models, x = [mlp(1), mlp(2)], samples(3)
    spec, gram = fit.PermutationSpec.derive(models[0]), gram_of([models[0]], x)
    with pytest.raises(libemr.InvalidArgument, match="each model needs a gram"):
        fit.regmean(models, [gram], spec)
    with pytest.raises(libemr.InvalidArgument):
        fit.regmean(models, [gram_of(models, x)] * 2, spec)
    strange = libemr.Gram()
    strange.feed("encoder.fc1", x)
    with pytest.raises(libemr.Mismatch, match="called as 'encoder.fc1' in the grams, and as 'fc0'"):
        fit.regmean(models, [strange, strange], spec)
    narrow = libemr.Gram()
    narrow.feed("fc1", x)
    with pytest.raises(libemr.Mismatch, match="16 inputs"):
        fit.regmean(models, [narrow, narrow], spec)
    with pytest.raises(libemr.Mismatch, match="fc0"):
        fit.regmean([models[0], mlp(3, (6, 8, 12, 4))], [gram, gram], spec)


def test_matching_finds_the_order():
    a, x = mlp(1), samples(2)
    spec = fit.PermutationSpec.derive(a)
    order = fit.Permutation.random(spec, 7)
    b = arrays_of(order.apply(a))
    for options in (
        {},
        {"gram": gram_of([a, b], x)},
        {"gram": gram_of([a, b], x), "by": "both", "balance": 0.3},
    ):
        permutation, report = fit.match(spec, a, b, **options)
        assert report.n_groups == 2
        assert dict(permutation) == dict(order.inverse())
        aligned = permutation.apply(b)
        for name, w in a.items():
            np.testing.assert_array_equal(aligned[name].read(), w)
    again, _ = fit.match(spec, a, b, start=permutation)
    assert dict(again) == dict(permutation)


def test_what_matching_refuses():
    a, b, x = mlp(1), mlp(2), samples(3)
    spec = fit.PermutationSpec.derive(a)
    with pytest.raises(libemr.InvalidArgument, match="reads no gram"):
        fit.match(spec, a, b, by="weights", gram=gram_of([a, b], x))
    with pytest.raises(libemr.InvalidArgument):
        fit.match(spec, a, b, by="both")
    with pytest.raises(libemr.InvalidArgument):
        fit.match(spec, a, b, gram=gram_of([a], x))
    strange = libemr.Gram(n_models=2)
    strange.feed("other", x, x)
    with pytest.raises(libemr.Mismatch, match="no site of any group of the spec"):
        fit.match(spec, a, b, gram=strange)
    with pytest.raises(libemr.NonFinite):
        fit.match(spec, a, {**b, "fc1.weight": b["fc1.weight"] * np.float32("nan")})
    with pytest.raises(ValueError, match="which is none of"):
        fit.match(spec, a, b, by="colour")


def test_assignment():
    similarity = np.random.default_rng(1).standard_normal((6, 6))
    columns = fit.assign(similarity)
    best = max(itertools.permutations(range(6)), key=lambda p: sum(similarity[i, c] for i, c in enumerate(p)))
    assert columns == list(best)
    with pytest.raises(libemr.InvalidArgument, match="a square matrix"):
        fit.assign(similarity[:5])


def test_zipping_a_permuted_copy_gives_the_network():
    a, x = mlp(1), samples(2)
    spec = fit.PermutationSpec.derive(a)
    b = arrays_of(fit.Permutation.random(spec, 7).apply(a))
    for gram in (None, gram_of([a, b], x)):
        model, report = fit.zip_models(spec, [a, b], gram=gram, within=0.0)
        assert report.n_groups == 2
        np.testing.assert_allclose(activations(arrays_of(model), x)[-1], activations(a, x)[-1], atol=1e-5)


def test_pleas_side_by_side_is_the_mean_of_outputs():
    a, b, x = mlp(1), mlp(2), samples(3)
    spec, gram = fit.PermutationSpec.derive(a), gram_of([a, b], x)
    permutation, _ = fit.match(spec, a, b, gram=gram)
    for pairs, width in (({"*": 0}, 2), ({"*": 0.25}, 1.75), ({}, 1)):
        merged = arrays_of(fit.pleas(spec, a, b, permutation, gram, pairs=pairs))
        assert merged["fc0.weight"].shape == (width * 16, 6)
        assert fit.merged_pairs(spec, pairs) == {"hidden.0": 32 - width * 16, "hidden.1": 24 - width * 12}
        y = activations(merged, x)[-1]
        mean = (activations(a, x)[-1] + activations(b, x)[-1]) / 2
        error = np.square(y - mean).mean() / np.square(mean - mean.mean(0)).mean()
        assert error < (1e-8 if width == 2 else 1)
    with pytest.raises(libemr.NotFound, match="'layers.*' names no group"):
        fit.pleas(spec, a, b, permutation, gram, pairs={"layers.*": 1})
    for number in (17, -1, 1.5):
        with pytest.raises(libemr.InvalidArgument, match="0 to 16 pairs"):
            fit.pleas(spec, a, b, None, gram, pairs={"hidden.0": number})


def test_spectral_needs_lapack():
    base, tasks = mlp(1), [mlp(2), mlp(3)]
    try:
        model = fit.spectral("iso_c", base, tasks)
    except libemr.Unsupported as error:
        assert "LAPACK" in str(error)
        return
    change = sum(task["fc1.weight"].astype(np.float64) - base["fc1.weight"] for task in tasks)
    u, s, v = np.linalg.svd(change, full_matrices=False)
    np.testing.assert_allclose(model["fc1.weight"].read(), base["fc1.weight"] + s.mean() * (u @ v), atol=1e-5)


def test_a_merged_model_keeps_what_it_needs():
    a, b, x = mlp(1), mlp(2), samples(3)
    spec, gram = fit.PermutationSpec.derive(a), gram_of([a, b], x)
    permutation, _ = fit.match(spec, a, b, gram=gram)
    models = [libemr.Model.of(a), libemr.Model.of(b)]
    merged = fit.pleas(spec, *models, permutation, gram)
    aligned = permutation.apply(models[1])
    zipped, _ = fit.zip_models(spec, models, gram=gram)
    expected = [arrays_of(model) for model in (merged, aligned, zipped)]
    with pytest.raises(libemr.OutOfOrder, match="site 'more' comes too late"):
        gram.feed("more", x, x)
    for thing in (gram, *models):
        thing.close()
    del permutation, spec
    for model, arrays in zip((merged, aligned, zipped), expected):
        for name, w in arrays.items():
            np.testing.assert_array_equal(model[name].read(), w)
    with pytest.raises(ValueError, match="the gram is closed"):
        gram.feed("fc0", x, x)

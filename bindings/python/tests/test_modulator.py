"""test_modulator.py - modulators out of a bundle and over the caller's memory."""

import numpy as np
import pytest

import libemr


def test_a_task_tensor_by_tensor(bundle, base):
    expected = bundle["french"].apply(base)
    with bundle["french"].modulator() as modulator:
        assert modulator.names == ["layer.weight", "layer.bias"] and modulator.count("layer.bias") == 128
        out = np.zeros(128, np.float32)
        assert modulator.apply("layer.bias", base["layer.bias"], out) is out and np.array_equal(
            out, expected["layer.bias"]
        )
        out[:] = base["layer.bias"]
        assert np.array_equal(modulator.apply("layer.bias", out, out), expected["layer.bias"])
        part = np.zeros(10, np.float32)
        modulator.apply("layer.bias", base["layer.bias"][5:15], part, first=5)
        assert np.array_equal(part, expected["layer.bias"][5:15])
        change = modulator.apply("layer.bias", None, np.zeros(128, np.float32))
        assert np.allclose(base["layer.bias"] + change, expected["layer.bias"])
        stats = modulator.stats("layer.weight")
        assert stats.count == 8192 and 4096 < stats.ones < 8192
        assert modulator.rescalers("layer.bias")[0] == np.float32(bundle["french"].info.rescaler)
        with pytest.raises(KeyError):
            modulator.count("nothing")
        with pytest.raises(ValueError, match="base has 3"):
            modulator.apply("layer.bias", np.zeros(3, np.float32), out)
        with pytest.raises(libemr.InvalidArgument):
            modulator.apply("layer.bias", None, np.zeros(129, np.float32))
        with pytest.raises(BufferError):
            modulator.apply("layer.bias", None, b"1234")
    with pytest.raises(ValueError, match="closed"):
        modulator.count("layer.bias")


def test_products_without_weights(bundle, base):
    rows = {task: bundle[task].apply(base)["layer.weight"] for task in bundle}
    french, german = (bundle[task].modulator() for task in bundle)
    x = np.random.default_rng(0).standard_normal((3, 128)).astype(np.float32)
    out = np.zeros((3, 64), np.float32)
    assert (
        libemr.multiply([french, german, french], "layer.weight", base["layer.weight"], x, out, n_columns=128)
        is out
    )
    expected = np.stack([rows[task] @ v for task, v in zip(("french", "german", "french"), x)])
    assert np.allclose(out, expected, rtol=1e-4, atol=1e-4)
    again = out.copy()
    libemr.multiply(
        [french, german, french], "layer.weight", base["layer.weight"], x, again, n_columns=128, add=True
    )
    assert np.allclose(again, 2 * out, rtol=1e-6, atol=1e-6)
    for wrong in (x[:2], x[:, :64].copy()):
        with pytest.raises(ValueError):
            libemr.multiply(
                [french, german, french], "layer.weight", base["layer.weight"], wrong, out, n_columns=128
            )
    with pytest.raises(ValueError, match="base has"):
        libemr.multiply([french], "layer.weight", base["layer.bias"], x[:1], out[:1], n_columns=128)


def test_one_of_the_callers_memory():
    unified, bits = np.arange(1, 17, dtype=np.float32), np.random.default_rng(0).integers(0, 2, 16)
    made = libemr.Modulator()
    made.add(
        "w",
        16,
        unified=unified,
        mask=np.packbits(bits, bitorder="little"),
        rescalers=np.array([2, 3], np.float32),
    )
    out = made.apply("w", np.ones(16, np.float32), np.zeros(16, np.float32))
    assert np.array_equal(out, 1 + np.repeat([2, 3], 8) * bits * unified)
    with pytest.raises(ValueError, match="mask of 1 bytes"):
        made.add("v", 16, unified=unified, mask=b"1", rescalers=np.ones(1, np.float32))
    with pytest.raises(libemr.Exists):
        made.add("w", 16, unified=unified, mask=b"12", rescalers=np.ones(1, np.float32))
    with pytest.raises(TypeError, match="F64, not F32"):
        made.add("v", 16, unified=unified, mask=b"12", rescalers=np.ones(1))
    assert made.names == ["w"]


@pytest.mark.parametrize(
    "options, needed",
    [
        ({"kind": "MASK"}, 125),
        ({"kind": "Two-Sided"}, 125),
        ({"kind": "sign"}, 125),
        ({"kind": "thin"}, 32),
        ({"kind": "thin", "thinning": 32}, 4),
        ({"kind": "levels"}, 250),
        ({"kind": "levels", "n_levels": 8}, 375),
        ({"kind": "levels", "n_levels": 16}, 500),
    ],
)
def test_codes_have_to_be_all_there(options, needed):
    given = {"rescalers": np.ones(2, np.float32), **options}
    if options["kind"] in ("MASK", "Two-Sided"):
        given["unified"] = np.ones(1000, np.float32)
    with libemr.Modulator() as modulator:
        with pytest.raises(ValueError, match=f"a mask of {needed - 1} bytes, {needed} are needed"):
            modulator.add("w", 1000, mask=bytes(needed - 1), **given)
        modulator.add("w", 1000, mask=bytes(needed), **given)
        assert np.isfinite(modulator.apply("w", None, np.empty(1000, np.float32))).all()


def test_columns_have_to_be_all_there():
    with libemr.Modulator() as modulator:
        given = {"mask": bytes(125), "rescalers": np.ones(2, np.float32), "kind": "sign"}
        with pytest.raises(ValueError, match="499 scales of columns, 500 are needed"):
            modulator.add("w", 1000, columns=libemr.Array(bytes(998), "BF16", (499,)), **given)
        with pytest.raises(TypeError, match="not BF16"):
            modulator.add("w", 1000, columns=np.ones(500, np.float32), **given)

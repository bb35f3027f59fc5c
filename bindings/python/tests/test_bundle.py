"""test_bundle.py - what a bundle tells, each task's weights out of it, and bundles of some of its tasks."""

import io

import ml_dtypes
import numpy as np
import pytest
from conftest import make_task

import libemr


def formula(base, tasks, task):
    """EMR-Merging in numpy: the weights that a task gets back."""
    names = [name for name in base if base[name].dtype == np.float32]
    tau = {t: {n: tasks[t][n] - base[n] for n in names} for t in tasks}
    total = {n: sum(tau[t][n].astype(np.float64) for t in tasks) for n in names}
    unified = {
        n: np.sign(total[n]) * np.max([np.abs(tau[t][n]) * (tau[t][n] * total[n] > 0) for t in tasks], axis=0)
        for n in names
    }
    masked = {n: unified[n] * (tau[task][n] * unified[n] > 0) for n in names}
    scale = sum(np.abs(tau[task][n]).astype(np.float64).sum() for n in names) / sum(
        np.abs(masked[n]).sum() for n in names
    )
    return {n: base[n] + np.float32(scale) * masked[n].astype(np.float32) for n in names}


def test_a_bundle_is_a_mapping_of_tasks(bundle, base):
    assert (
        list(bundle) == ["french", "german"] and len(bundle) == 2 and "french" in bundle and "x" not in bundle
    )
    info = bundle.info
    assert (info.n_tasks, info.n_merged, info.n_tensors, info.has_base, info.rescale, info.tie) == (
        2,
        2,
        3,
        False,
        "l1",
        "zero",
    )
    assert info.unified_dtype is libemr.DType.F32 and info.merged_params == 64 * 128 + 128
    assert [t.name for t in bundle.tensors] == list(base) and bundle.tensor("steps").merged is False
    assert (
        bundle.tensor("layer.weight").shape == (64, 128) and bundle.tensor("layer.weight").base_hash > 2**64
    )
    task = bundle["french"]
    assert (
        task.info.name == "french"
        and 0.5 < task.density < 1
        and task.modulation.kind == "mask"
        and task.private == []
    )
    assert "french" in repr(bundle) and "french" in repr(task) and bundle.name == "bundle"
    with pytest.raises(libemr.NotFound, match="nothing") as failure:
        bundle["nothing"]
    assert failure.value.task == "nothing" and isinstance(failure.value, KeyError)
    with pytest.raises(libemr.NotFound, match="nothing"):
        bundle.tensor("nothing")


def test_metadata_and_private_tensors(base, tasks):
    models = {
        t: libemr.Model.of({**tasks[t], "head": np.full(3, i, np.float32)}, metadata={"task": t})
        for i, t in enumerate(tasks)
    }
    bundle = libemr.merge(
        libemr.Model.of(base, metadata={"of": "base"}), models, private=["head"], measure=True
    ).bundle
    assert bundle.metadata == {"of": "base"} and bundle["german"].metadata == {"task": "german"}
    assert bundle["german"].find_metadata("task") == "german" and bundle["german"].find_metadata("x") is None
    assert [(p.name, p.shape, p.dtype) for p in bundle["german"].private] == [
        ("head", (3,), libemr.DType.F32)
    ]
    assert (bundle["german"].apply(base)["head"] == 1).all() and 0 < bundle["german"].fidelity.error < 1


def test_weights_are_those_of_the_formula(bundle, base, tasks):
    for task in tasks:
        weights = bundle[task].apply(base)
        assert list(weights) == list(base) and np.array_equal(weights["steps"], base["steps"])
        for name, expected in formula(base, tasks, task).items():
            assert np.allclose(weights[name], expected, rtol=1e-6, atol=1e-6)


def test_applied_in_every_way_it_is_the_same(bundle, base, tmp_path):
    expected = {name: a.tobytes() for name, a in bundle["french"].apply(base, threads=1).items()}
    libemr.Model.of(base).write(tmp_path / "base.safetensors")
    for given in (
        base,
        libemr.Model.of(base),
        tmp_path / "base.safetensors",
        (tmp_path / "base.safetensors").read_bytes(),
    ):
        assert {
            n: a.tobytes() for n, a in bundle["french"].apply(given, threads=3, check=False).items()
        } == expected
        with bundle["french"].open(given, check="none") as model:
            assert {n: t.read().tobytes() for n, t in model.items()} == expected
        file = io.BytesIO()
        bundle["french"].write(file, given)
        assert {n: t.read().tobytes() for n, t in libemr.Model(file.getvalue()).items()} == expected
    bundle["french"].write(tmp_path / "french.safetensors", tmp_path / "base.safetensors")
    assert (
        libemr.Model(tmp_path / "french.safetensors")["layer.weight"].read().tobytes()
        == expected["layer.weight"]
    )


def test_out_is_written_in_place(bundle, base):
    expected = bundle["french"].apply(base)
    out = {
        "layer.weight": np.zeros((64, 128), np.float32),
        "layer.bias": np.zeros(128, ml_dtypes.bfloat16),
        "steps": bytearray(32),
    }
    out["steps"] = memoryview(out["steps"]).cast("q")
    assert bundle["french"].apply(base, out) is out
    assert np.array_equal(out["layer.weight"], expected["layer.weight"]) and list(out["steps"]) == list(
        base["steps"]
    )
    assert np.array_equal(out["layer.bias"], expected["layer.bias"].astype(ml_dtypes.bfloat16))
    narrow = bundle["french"].apply(base, dtype="BF16")
    assert narrow["layer.bias"].dtype == ml_dtypes.bfloat16 and narrow["steps"].dtype == np.int64
    assert np.array_equal(narrow["layer.bias"], out["layer.bias"])
    wide = bundle["french"].open(base, dtype="F16", f32_vectors=True)
    assert wide["layer.bias"].dtype == libemr.DType.F32 and wide["layer.weight"].dtype == libemr.DType.F16


def frozen(array):
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "array, error, words",
    [
        (
            np.full((64, 127), 7, np.float32),
            ValueError,
            r"out\['layer.weight'\] has the shape \[64, 127\], the tensor \[64, 128\]",
        ),
        (np.full((64, 128), 7, np.int32), TypeError, "is I32, the tensor F32"),
        (frozen(np.full((64, 128), 7, np.float32)), BufferError, "read-only"),
        (np.full((128, 64), 7, np.float32).T, BufferError, "not contiguous"),
        ([[7.0]], TypeError, "no array"),
    ],
)
def test_one_wrong_array_and_nothing_is_written(bundle, base, array, error, words):
    bias = np.full(128, 7, np.float32)
    with pytest.raises(error, match=words):
        bundle["french"].apply(base, {"layer.bias": bias, "layer.weight": array})
    assert (bias == 7).all()


def test_wrong_names_and_bases(bundle, base, tmp_path):
    with pytest.raises(libemr.NotFound, match="'nothing'") as failure:
        bundle["french"].apply(base, {"nothing": np.zeros(3)})
    assert failure.value.task == "french" and failure.value.tensor == "nothing"
    with pytest.raises(ValueError, match="memory of the base"):
        bundle["french"].apply(base, {"layer.bias": base["layer.bias"]})
    with pytest.raises(libemr.NotFound, match="not embedded"):
        bundle["french"].apply()
    with pytest.raises(ValueError, match="check is 'sometimes', which is none of first, none, write"):
        bundle["french"].open(base, check="sometimes")
    other = make_task(base, 9)
    for use in (
        bundle["french"].apply,
        bundle["french"].open,
        bundle.check_base,
        lambda b: bundle["french"].write(tmp_path / "x.safetensors", b),
    ):
        with pytest.raises(libemr.Mismatch, match="layer.weight") as failure:
            use(other)
        assert failure.value.tensor == "layer.weight"
    assert list(tmp_path.iterdir()) == []
    bundle.check_base(base)
    assert bundle.base_differences(base) == []
    assert [d.tensor for d in bundle.base_differences(other)] == ["layer.weight", "layer.bias"]


def test_parts_of_it_are_models(base, tasks):
    bundle = libemr.merge(base, tasks, embed_base=True).bundle
    assert np.array_equal(bundle.base()["layer.bias"].read(), base["layer.bias"])
    unified, mask = bundle.unified()["layer.bias"].read(), bundle["french"].mask()["layer.bias"].read()
    tau = tasks["french"]["layer.bias"] - base["layer.bias"]
    assert np.array_equal(mask, tau * unified > 0)
    assert np.array_equal(bundle["french"].apply()["layer.bias"], bundle["french"].apply(base)["layer.bias"])


def test_dropping_and_extracting(base, tasks, tmp_path):
    three = {**tasks, "polish": make_task(base, 3)}
    bundle = libemr.merge(base, three, extendable=True).bundle
    expected = bundle["german"].apply(base)
    report = bundle.drop(["french"], tmp_path / "less.emr", report=True).report
    assert report.lost_growth and report.unified > report.alone > 0
    file = io.BytesIO()
    assert (
        bundle.extract(["german", "polish"], file).report is None
        and file.getvalue() == (tmp_path / "less.emr").read_bytes()
    )
    less = libemr.Bundle(tmp_path / "less.emr")
    assert list(less) == ["german", "polish"] and np.array_equal(
        less["german"].apply(base)["layer.weight"], expected["layer.weight"]
    )
    inside = bundle.drop(["french"], name="mine").bundle
    assert inside.name == "mine" and np.array_equal(
        inside["german"].apply(base)["layer.weight"], expected["layer.weight"]
    )
    inside.save(tmp_path / "less.emr", replace=True)
    assert (tmp_path / "less.emr").read_bytes() == file.getvalue()
    for tasks_, error in (
        (["nothing"], libemr.NotFound),
        (["french", "french"], ValueError),
        (list(bundle), ValueError),
        ("french", TypeError),
    ):
        with pytest.raises(error):
            bundle.drop(tasks_, tmp_path / "none.emr")
    with pytest.raises(FileExistsError):
        bundle.drop(["french"], tmp_path / "less.emr")
    assert [p.name for p in tmp_path.iterdir()] == ["less.emr"]


def test_opened_from_anywhere(bundle_bytes, base, tmp_path):
    path = tmp_path / "all.emr"
    for source in (
        path,
        str(path),
        bundle_bytes,
        bytearray(bundle_bytes),
        memoryview(bundle_bytes),
        io.BytesIO(bundle_bytes),
        path.open("rb"),
    ):
        with libemr.Bundle(source) as bundle:
            bundle.verify(threads=2)
            assert list(bundle) == ["french", "german"] and len(bundle["german"].apply(base)) == 3
    assert list(libemr.Bundle(path, map=True)) == ["french", "german"]
    with pytest.raises(TypeError, match="not in memory"):
        libemr.Bundle(path).save(tmp_path / "b.emr")


def test_damage_is_found(bundle_bytes):
    for at, error in (
        (0, libemr.FormatError),
        (len(bundle_bytes) - 1, (libemr.CorruptData, libemr.FormatError)),
    ):
        damaged = bytearray(bundle_bytes)
        damaged[at] ^= 0xFF
        with pytest.raises(error) as failure:
            libemr.Bundle(bytes(damaged), name="mine.emr").verify()
        assert failure.value.file == "mine.emr" and isinstance(failure.value, ValueError)
    with pytest.raises(libemr.Error):
        libemr.Bundle(bundle_bytes[:100])


def test_a_closed_bundle_is_refused(bundle, base):
    task = bundle["french"]
    bundle.close()
    for use in (
        lambda: bundle["french"],
        lambda: list(bundle),
        lambda: bundle.info,
        bundle.verify,
        lambda: task.info,
        lambda: task.apply(base),
        lambda: task.open(base),
        task.modulator,
        bundle.unified,
        lambda: bundle.drop(["french"], io.BytesIO()),
    ):
        with pytest.raises(ValueError, match="the bundle 'bundle' is closed"):
            use()
    assert "closed" in repr(bundle)

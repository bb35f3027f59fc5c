"""test_model.py - models of arrays, of files in every form, computed and renamed; read and written."""

import io
import json
import os
import pickle

import ml_dtypes
import numpy as np
import pytest

import libemr


def saved(model):
    file = io.BytesIO()
    model.write(file)
    return file.getvalue()


def test_a_model_of_arrays_is_a_mapping(base):
    model = libemr.Model.of(base, name="mine", metadata={"format": "pt"})
    assert list(model) == list(base) and len(model) == 3 and "steps" in model and "x" not in model
    weight = model["layer.weight"]
    assert (weight.name, weight.dtype, weight.shape, weight.count, weight.nbytes) == (
        "layer.weight",
        libemr.DType.F32,
        (64, 128),
        8192,
        32768,
    )
    assert (
        weight.role.role == "weight"
        and weight.gguf_blocks is None
        and weight.same_shape(weight)
        and not weight.same_shape(model["steps"])
    )
    assert (
        np.array_equal(weight.read(), base["layer.weight"])
        and weight.read_bytes(4, 8) == base["layer.weight"].tobytes()[4:12]
    )
    assert np.array_equal(model["layer.bias"].read_floats(2, 3), base["layer.bias"][2:5])
    assert model.name == "mine" and "mine" in repr(model) and "layer.weight" in repr(weight)
    with pytest.raises(KeyError):
        model["nothing"]


def test_metadata_is_a_mapping(base):
    metadata = libemr.Model.of(base, metadata={"a": "1"}).metadata
    metadata["b"] = "zwei \N{GREEK SMALL LETTER ALPHA}"
    assert dict(metadata) == {"a": "1", "b": "zwei \N{GREEK SMALL LETTER ALPHA}"} and len(metadata) == 2
    del metadata["a"]
    assert list(metadata) == ["b"] and metadata.get("a") is None
    with pytest.raises(KeyError):
        del metadata["a"]
    with pytest.raises(ValueError, match="zero byte"):
        metadata["a\0"] = ""
    other = libemr.Model.of()
    other.copy_metadata(libemr.Model.of(metadata={"c": "3"}))
    assert dict(other.metadata) == {"c": "3"}


def test_reading_into_arrays(base):
    weight = libemr.Model.of(base)["layer.weight"]
    out = np.zeros((64, 128), np.float32)
    assert weight.read(out) is out and np.array_equal(out, base["layer.weight"])
    with pytest.raises(ValueError, match=r"shape \[128, 64\]"):
        weight.read(np.zeros((128, 64), np.float32))
    with pytest.raises(TypeError, match="is F64, the tensor F32"):
        weight.read(np.zeros((64, 128), np.float64))
    with pytest.raises(BufferError, match="not contiguous"):
        weight.read(np.zeros((128, 64), np.float32).T)
    with pytest.raises(ValueError, match="3 elements, 4 are"):
        weight.read_floats(0, 4, np.zeros(3, np.float32))
    with pytest.raises(libemr.InvalidArgument, match="layer.weight") as failure:
        weight.read_floats(8190, 4)
    assert failure.value.tensor == "layer.weight" and isinstance(failure.value, ValueError)
    for first in (-1, -8192):
        with pytest.raises(ValueError):
            weight.read_floats(first, 4)
    with pytest.raises(ValueError):
        weight.read_bytes(-4, 4)
    with pytest.raises(libemr.InvalidArgument):
        weight.read_bytes(32768, 1)
    narrow = libemr.Model.of({"w": base["layer.weight"].astype(ml_dtypes.bfloat16)})["w"]
    assert narrow.read().dtype == ml_dtypes.bfloat16
    assert np.array_equal(
        narrow.read(out), base["layer.weight"].astype(ml_dtypes.bfloat16).astype(np.float32)
    )


def test_files_paths_and_bytes_are_one_model(base, tmp_path):
    model = libemr.Model.of(base, metadata={"format": "pt"})
    data = saved(model)
    path = tmp_path / "model.safetensors"
    assert model.write(path) == [str(path)] and path.read_bytes() == data
    with path.open("rb") as file:
        for source in (path, str(path), data, bytearray(data), memoryview(data), io.BytesIO(data), file):
            with libemr.Model(source) as again:
                assert {name: t.read().tobytes() for name, t in again.items()} == {
                    name: a.tobytes() for name, a in base.items()
                }
                assert dict(again.metadata) == {"format": "pt"}
    with libemr.Model(path, map=True) as again:
        assert len(again) == 3
    with pytest.raises(FileExistsError, match="already exists"):
        model.write(path)
    model.write(path, replace=True)
    shards = model.write(tmp_path / "folder/", shard_bytes=20000)
    assert len(shards) > 1 and len(libemr.Model(tmp_path / "folder")) == 3


def test_a_folder_brings_its_files(base, tmp_path):
    libemr.Model.of(base).write(tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"torch_dtype": "float32"}')
    model = libemr.Model(tmp_path, side_files=True)
    assert "file:config.json" in model and "file:config.json" not in libemr.Model(tmp_path)
    model.write(tmp_path / "copy/", dtype="BF16")
    assert json.loads((tmp_path / "copy" / "config.json").read_text()) == {"torch_dtype": "bfloat16"}


def test_gguf_in_and_out(tmp_path):
    import struct

    values = np.arange(64, dtype=np.float32)
    text = lambda s: struct.pack("<Q", len(s)) + s  # noqa: E731
    header = b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + text(b"w") + struct.pack("<IQQIQ", 2, 32, 2, 0, 0)
    data = header + b"\0" * (-len(header) % 32) + values.tobytes()
    (tmp_path / "a.gguf").write_bytes(data)
    for source in (tmp_path / "a.gguf", data, io.BytesIO(data)):
        model = libemr.Model(source)
        assert model["w"].shape == (2, 32) and np.array_equal(model["w"].read().ravel(), values)
        file = io.BytesIO()
        model.write(file, format="gguf")
        assert file.getvalue() == data
    with pytest.raises(ValueError, match="none of safetensors, gguf"):
        model.write(io.BytesIO(), format="pickle")
    with pytest.raises(ValueError, match="path"):
        model.write(tmp_path / "b.gguf", format="gguf")


def test_tensors_of_blocks():
    values = np.random.default_rng(0).standard_normal((4, 64)).astype(np.float32)
    assert libemr.blocks.names() == ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"]
    for name in libemr.blocks.names():
        packed = libemr.blocks.quantise(name, values)
        assert len(packed) == 8 * libemr.blocks.block_bytes(name)
        model = libemr.Model.of()
        model.add("w", packed, blocks=name, shape=(4, 64))
        assert np.array_equal(model["w"].read(), libemr.blocks.dequantise(name, packed).reshape(4, 64))
        assert np.abs(model["w"].read() - values).max() < 0.3
    with pytest.raises(ValueError, match="bytes"):
        model.add("x", packed, blocks="Q4_0", shape=(4, 64))
    with pytest.raises(ValueError, match="no multiple of 32"):
        model.add("x", packed, blocks="Q8_0", shape=(4, 60))
    with pytest.raises(ValueError, match="q8_0"):
        model.add("x", packed, blocks="Q9_9", shape=(4, 64))
    with pytest.raises(ValueError, match="no whole number"):
        libemr.blocks.quantise("Q8_0", values.ravel()[:33].copy())


def test_tensors_that_lie_in_files():
    values = np.random.default_rng(0).standard_normal((4, 64)).astype(np.float32)
    data = b"12345" + values.tobytes() + libemr.blocks.quantise("Q8_0", values)
    for source in (data, io.BytesIO(data)):
        model = libemr.Model.of()
        model.add_from("w", source, "F32", (4, 64), offset=5)
        model.add_from("q", source, "F32", (4, 64), offset=5 + 1024, blocks="Q8_0")
        del source
        assert np.array_equal(model["w"].read(), values) and np.abs(model["q"].read() - values).max() < 0.02
        model.add_from("beyond", data, "F32", (4, 64), offset=len(data) - 4)
        with pytest.raises(libemr.IOFailed, match="beyond"):
            model["beyond"].read()


def test_computed_tensors():
    asked = []

    def squares(first, count):
        asked.append((first, count))
        return np.arange(first, first + count, dtype=np.float64) ** 2

    model = libemr.Model.of()
    model.add_computed("squares", "F64", (100, 3), squares, granule=16, max_count=64)
    assert np.array_equal(model["squares"].read().ravel(), np.arange(300.0) ** 2)
    assert all(first % 16 == 0 and count <= 64 for first, count in asked)
    assert model["squares"].read_bytes(8, 8) == np.float64(1).tobytes()
    assert np.array_equal(libemr.Model(saved(model))["squares"].read().ravel(), np.arange(300.0) ** 2)
    model.prepare(threads=1)


@pytest.mark.parametrize(
    "function, error, words",
    [
        (lambda first, count: 1 / 0, ZeroDivisionError, "division by zero"),
        (lambda first, count: np.zeros(count, np.float64), TypeError, "is F64, not F32"),
        (lambda first, count: np.zeros(count + 1, np.float32), ValueError, "has 11 elements, not 10"),
        (lambda first, count: None, TypeError, "no array"),
        (lambda first, count: libemr.Model.of()["nothing"], KeyError, "nothing"),
        (lambda first, count: (_ for _ in ()).throw(MemoryError("none left")), MemoryError, "none left"),
        (lambda first, count: (_ for _ in ()).throw(KeyboardInterrupt()), KeyboardInterrupt, None),
        (
            lambda first, count: (_ for _ in ()).throw(OSError(5, "a bad \x01 sector" + 600 * "x")),
            OSError,
            "sector",
        ),
    ],
)
def test_what_a_computation_raises_comes_out(function, error, words):
    model = libemr.Model.of()
    model.add_computed("w", "F32", (10,), function)
    for read in (model["w"].read, lambda: model.write(io.BytesIO())):
        with pytest.raises(error, match=words) as failure:
            read()
        assert not isinstance(failure.value, libemr.Error)
        if hasattr(failure.value, "add_note"):
            assert "tensor 'w'" in failure.value.__notes__[0]


def test_zeros_and_other_names(base):
    model = libemr.Model.of(base)
    zeros = libemr.Model.zeros(model)
    assert list(zeros) == ["layer.weight", "layer.bias"] and not zeros["layer.weight"].read().any()
    renamed = model.renamed({"layer.*": "blk.0.*"})
    assert list(renamed) == ["blk.0.weight", "blk.0.bias", "steps"]
    assert np.array_equal(renamed["blk.0.bias"].read(), base["layer.bias"])
    with pytest.raises(libemr.InvalidArgument, match="nothing"):
        model.renamed([("nothing", "x")])
    with pytest.raises(libemr.Exists, match="steps"):
        model.renamed([("layer.bias", "steps")])


def test_tensors_of_other_models(base):
    model = libemr.Model.of(base)
    other = libemr.Model.of({"layer.bias": model["layer.bias"], "again": model["layer.bias"]})
    model.close()
    assert np.array_equal(other["again"].read(), base["layer.bias"]) and np.array_equal(
        other["layer.bias"].read(), base["layer.bias"]
    )


def test_what_cannot_be_added(base):
    model = libemr.Model.of(base)
    with pytest.raises(libemr.Exists, match="layer.bias") as failure:
        model.add("layer.bias", base["layer.bias"])
    assert failure.value.tensor == "layer.bias" and failure.value.name == "EMR_EEXIST"
    with pytest.raises(BufferError, match="'t' is not contiguous"):
        model.add("t", base["layer.weight"].T)
    with pytest.raises(ValueError, match="zero byte"):
        model.add("a\0b", base["layer.bias"])
    with pytest.raises(OverflowError):
        model.add("t", libemr.Pushed("F32", (-1,)))
    with pytest.raises(TypeError, match="Model.of"):
        libemr.Model(saved(model)).add("t", base["layer.bias"])
    assert list(model) == list(base)


@pytest.mark.parametrize(
    "data, error",
    [(b"", libemr.FormatError), (b"GGUF", libemr.FormatError), (b"\xff" * 64, libemr.FormatError)],
)
def test_malformed_files(data, error, tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(data)
    for source in (data, io.BytesIO(data), tmp_path / "bad.safetensors"):
        with pytest.raises(error) as failure:
            libemr.Model(source)
        assert failure.value.file


def test_errors_are_pythons_own(tmp_path):
    with pytest.raises(OSError) as failure:
        libemr.Model(tmp_path / "nothing.safetensors")
    error = failure.value
    assert (
        isinstance(error, libemr.IOFailed)
        and error.errno == 2
        and error.system == 2
        and error.file == error.filename
    )
    assert str(error).endswith("No such file or directory") and error.status == -3
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.file, again.system) == (libemr.IOFailed, str(error), error.file, 2)
    with pytest.raises(KeyError) as failure:
        libemr.merge({}, {"t": {}}).bundle["x"]
    assert str(failure.value) == failure.value.args[0]


def test_a_closed_model_is_refused(base):
    model = libemr.Model.of(base, name="mine")
    tensor = model["steps"]
    model.close()
    model.close()
    for use in (
        lambda: model["steps"],
        lambda: len(model),
        lambda: model.name,
        tensor.read,
        lambda: tensor.shape,
        lambda: model.metadata["a"],
        lambda: model.write(io.BytesIO()),
        lambda: model.renamed({}),
        lambda: libemr.merge(model, {}),
        lambda: model.add("x", b"y"),
    ):
        with pytest.raises(ValueError, match="the model 'mine' is closed"):
            use()
    assert "closed" in repr(model)


def test_odd_names_and_paths(tmp_path):
    name = "w\N{SNOWMAN}"
    path = tmp_path / "\N{SNOWMAN}.safetensors"
    libemr.Model.of({name: np.ones(2, np.float32)}).write(path)
    assert list(libemr.Model(os.fsencode(path).decode("utf-8"))) == [name]
    with pytest.raises(ValueError, match="zero byte"):
        libemr.Model("a\0b")
    with pytest.raises(TypeError, match="no path, no bytes and no file"):
        libemr.Model(7)


class Mute(Exception):
    def __str__(self):
        raise RuntimeError


class Numbered(Exception):
    errno = "none"


@pytest.mark.parametrize(
    "exception", [Mute(), Numbered("numbered"), OSError(1 << 40, "far"), OSError(-1, "low")]
)
def test_odd_exceptions_come_out_too(exception):
    def fail(first, count):
        raise exception

    model = libemr.Model.of()
    model.add_computed("w", "F32", (4,), fail)
    with pytest.raises(type(exception)) as caught:
        model["w"].read()
    assert caught.value is exception


def test_names_are_texts(base, bundle):
    for call in (
        lambda: libemr.Model.of({5: base["steps"]}),
        lambda: bundle[5],
        lambda: libemr.merge(base, {5: base}),
    ):
        with pytest.raises(TypeError, match="a text is needed here, not the int 5"):
            call()

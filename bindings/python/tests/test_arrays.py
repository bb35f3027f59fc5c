"""test_arrays.py - whose arrays are taken, without a copy, and which are refused, with what."""

import array

import ml_dtypes
import numpy as np
import pytest

import libemr
from libemr.arrays import view

NUMPY_TYPES = [
    "float32",
    "float16",
    "float64",
    "bool",
    "uint8",
    "int8",
    "uint16",
    "int16",
    "uint32",
    "int32",
    "uint64",
    "int64",
    "complex64",
]
ML_TYPES = [
    "bfloat16",
    "float8_e4m3fn",
    "float8_e5m2",
    "float8_e8m0fnu",
    "float8_e4m3fnuz",
    "float8_e5m2fnuz",
]


class Dlpack:
    """An array that has DLPack alone."""

    def __init__(self, values, old=False):
        self.values, self.old = values, old

    def __dlpack__(self, **options):
        if self.old and options:
            raise TypeError("no options")
        return self.values.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.values.__dlpack_device__()


@pytest.mark.parametrize("name", NUMPY_TYPES)
def test_numpy_and_buffers_and_dlpack_are_the_same_memory(name):
    values = np.zeros((3, 4), name)
    for given in (values, memoryview(values), Dlpack(values), Dlpack(values, old=True)):
        found = view(given, writable=True)
        assert (found.address, found.shape, found.dtype.numpy) == (values.ctypes.data, (3, 4), np.dtype(name))


@pytest.mark.parametrize("name", ML_TYPES)
def test_numpy_has_narrow_floats_by_ml_dtypes(name):
    values = np.zeros((2, 3), getattr(ml_dtypes, name))
    found = view(values, writable=True)
    assert (
        found.address == values.ctypes.data
        and found.dtype.numpy == values.dtype
        and found.nbytes == values.nbytes
    )


def test_buffers_without_numpy():
    values = array.array("f", [1, 2, 3])
    assert view(values).dtype == libemr.DType.F32 and view(values).shape == (3,)
    assert view(bytearray(5)).dtype == libemr.DType.U8
    assert view(libemr.Array(bytearray(8), "BF16", (2, 2))).dtype == libemr.DType.BF16
    with pytest.raises(ValueError, match="7 bytes are no BF16"):
        view(libemr.Array(bytearray(7), "BF16", (2, 2)))


def test_arrays_without_dimensions_and_without_elements():
    for values in (np.ones((), np.float32), np.ones((0, 3), np.float32)):
        for given in (values, memoryview(values), Dlpack(values)):
            assert view(given).shape == values.shape
        model = libemr.Model.of({"w": values})
        assert np.array_equal(model["w"].read(), values)
        assert (
            libemr.merge({"w": values}, {"t": {"w": values}}).bundle["t"].apply({"w": values})["w"].shape
            == values.shape
        )


def test_read_only_memory_is_read_not_written():
    frozen = np.zeros(3, np.float32)
    frozen.flags.writeable = False
    dlpack = (
        [Dlpack(frozen)] if np.lib.NumpyVersion(np.__version__) >= "2.1.0" else []
    )  # older ones hand out nothing
    for given in (frozen, memoryview(frozen), b"abc", libemr.Array(b"ab", "BF16", (1,)), *dlpack):
        assert view(given).count
        with pytest.raises(BufferError, match="out is read-only"):
            view(given, writable=True, what="out")


def test_what_does_not_lie_in_one_piece_is_refused():
    values = np.zeros((4, 6), np.float32)
    for given in (values.T, values[:, ::2], memoryview(values)[::2], Dlpack(values.T)):
        with pytest.raises(BufferError, match="not contiguous"):
            view(given)


def test_what_is_no_array_is_refused():
    for given in (7, "text", [1.0, 2.0], object(), None):
        with pytest.raises(TypeError, match="no array"):
            view(given)
    with pytest.raises(TypeError, match="type object"):
        view(np.array([object()]))
    with pytest.raises(TypeError, match="other order"):
        view(np.zeros(2, np.dtype("f4").newbyteorder()))
    with pytest.raises(TypeError, match="float128|longdouble"):
        view(np.zeros(2, np.longdouble))


def test_a_bytearray_stays_while_it_is_used():
    values = bytearray(16)
    model = libemr.Model.of({"w": values})
    with pytest.raises(BufferError):
        values.extend(b"more")
    del model
    values.extend(b"more")


def test_dtypes_by_every_name():
    for given in (
        "BF16",
        "bfloat16",
        libemr.DType.BF16,
        int(libemr.DType.BF16),
        ml_dtypes.bfloat16,
        np.dtype(ml_dtypes.bfloat16),
    ):
        assert libemr.DType.of(given) is libemr.DType.BF16
    assert libemr.DType.of(np.float32) is libemr.DType.of("float32") is libemr.DType.F32
    assert (
        libemr.DType.F4.bits == 4
        and libemr.DType.BF16.is_float
        and not libemr.DType.I8.is_float
        and str(libemr.DType.F32) == "F32"
    )
    with pytest.raises(ValueError, match="no dtype"):
        libemr.DType.of("float31")
    with pytest.raises(TypeError, match="numpy has no F4"):
        libemr.DType.F4.numpy


def test_floats_are_converted_as_ml_dtypes_does():
    values = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    for name in ("bfloat16", "float16", "float8_e5m2"):
        kind = np.dtype(getattr(ml_dtypes, name, name))
        out = np.zeros(1000, kind)
        libemr.convert(values, kind, out)
        assert np.array_equal(out.view(np.uint8), values.astype(kind).view(np.uint8))
    with pytest.raises(ValueError, match="do not fit"):
        libemr.convert(values, "F16", np.zeros(3, np.float16))
    with pytest.raises(TypeError, match="is F16, not BF16"):
        libemr.convert(values, "BF16", np.zeros(1000, np.float16))

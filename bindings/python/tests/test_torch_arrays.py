"""test_torch_arrays.py - PyTorch's tensors as arrays: bfloat16 without numpy, parameters in place, and what
is refused."""

import numpy as np
import pytest

import libemr
from libemr.arrays import view

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make test-packages has it")


@pytest.mark.parametrize(
    "name",
    [
        "float32",
        "float16",
        "bfloat16",
        "float64",
        "float8_e4m3fn",
        "float8_e5m2",
        "bool",
        "uint8",
        "int8",
        "int16",
        "int32",
        "int64",
        "complex64",
    ],
)
def test_every_dtype_is_the_same_memory(name):
    tensor = torch.zeros(3, 4, dtype=getattr(torch, name))
    found = view(tensor, writable=True)
    assert (found.address, found.shape, found.nbytes) == (
        tensor.data_ptr(),
        (3, 4),
        tensor.numel() * tensor.element_size(),
    )
    assert libemr.DType.of(tensor.dtype) is found.dtype


def test_merged_and_applied_in_bfloat16():
    generator = torch.Generator().manual_seed(0)
    base = {
        "w": torch.randn(64, 128, generator=generator).bfloat16(),
        "b": torch.randn(128, generator=generator),
    }
    tasks = {
        t: {n: (w + 0.1 * torch.randn(w.shape, generator=generator)).to(w.dtype) for n, w in base.items()}
        for t in ("a", "b")
    }
    bundle = libemr.merge(base, tasks).bundle
    module = torch.nn.Linear(128, 64, bias=False, dtype=torch.bfloat16)
    before = module.weight.data_ptr()
    out = bundle["a"].apply(base, {"w": module.weight, "b": torch.empty(128, dtype=torch.bfloat16)})
    assert module.weight.data_ptr() == before and (module.weight - tasks["a"]["w"]).abs().mean() < 0.08
    narrow = bundle["a"].apply({n: w.clone() for n, w in base.items()}, {"b": torch.empty(128)})["b"]
    assert torch.equal(out["b"], narrow.bfloat16())
    again = libemr.Model.of(base)["w"].read(torch.empty(64, 128, dtype=torch.bfloat16))
    assert torch.equal(again, base["w"])


def test_memory_stays_when_a_tensor_is_given_another():
    tensor = torch.full((1 << 20,), 3.0)
    model = libemr.Model.of({"w": tensor})
    tensor.data = torch.zeros(4)
    assert (model["w"].read() == 3).all()


def test_what_is_refused():
    for tensor, error, words in (
        (torch.zeros(4, 6).T, BufferError, "not contiguous"),
        (torch.zeros(4, device="meta"), TypeError, "device meta"),
        (torch.zeros(4, 4).to_sparse(), TypeError, "layout"),
        (torch.zeros(4, dtype=torch.complex64).conj(), BufferError, "not contiguous"),
        (torch.zeros(4, dtype=torch.complex128), TypeError, "complex128"),
    ):
        with pytest.raises(error, match=words):
            libemr.Model.of({"w": tensor})


def test_a_state_dict_is_a_model():
    module = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.BatchNorm1d(8))
    model = libemr.Model.of(module.state_dict())
    assert list(model) == list(module.state_dict()) and model["1.running_mean"].role.role == "statistic"
    assert np.array_equal(model["0.weight"].read(), module[0].weight.detach().numpy())


def test_tensors_without_memory_are_refused():
    freed = torch.zeros(8)
    freed.untyped_storage().resize_(0)
    with torch._subclasses.fake_tensor.FakeTensorMode():
        fake = torch.zeros(8)

    class Wrapped(torch.Tensor):
        def __torch_dispatch__(self, *arguments):
            raise NotImplementedError

    wrapper = torch.Tensor._make_wrapper_subclass(Wrapped, (8,))
    for tensor in (freed, fake, wrapper):
        with pytest.raises(TypeError, match="the array is a (.*Tensor|Wrapped) without memory of its own"):
            view(tensor)
    assert view(torch.zeros(0, 3)).nbytes == 0

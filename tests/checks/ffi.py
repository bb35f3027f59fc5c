"""ffi.py - drives the shared library through ctypes alone: models from bytes, a merge into a bundle, the bundle opened
from memory through I/O callbacks, and every task's weights compared with the formulas computed here."""
import ctypes
import random
import struct
import sys
from ctypes import (CFUNCTYPE, POINTER, Structure, byref, c_char, c_char_p, c_float, c_int, c_size_t, c_uint32,
                    c_uint64, c_void_p, sizeof)

F32, BF16 = 1, 3
EINVAL, EMISMATCH, ENOTFOUND = -1, -7, -9
Handle = c_void_p


class Error(Structure):
    _fields_ = [("text", c_char * 512)]


class TensorDesc(Structure):
    _fields_ = [("size", c_size_t), ("name", c_char_p), ("shape", POINTER(c_uint64)), ("data", c_void_p),
                ("io", c_void_p), ("offset", c_uint64), ("read", c_void_p), ("user", c_void_p),
                ("dtype", c_uint32), ("rank", c_uint32)]


READ = CFUNCTYPE(c_int, c_void_p, c_uint64, c_void_p, c_size_t)
WRITE = CFUNCTYPE(c_int, c_void_p, c_uint64, c_void_p, c_size_t)
LENGTH = CFUNCTYPE(c_int, c_void_p, POINTER(c_uint64))


class Io(Structure):
    _fields_ = [("size", c_size_t), ("user", c_void_p), ("read", READ), ("write", WRITE), ("length", LENGTH),
                ("map", c_void_p), ("unmap", c_void_p), ("sync", c_void_p)]


class TaskInfo(Structure):
    _fields_ = [("size", c_size_t), ("name", c_char_p), ("mask_ones", c_uint64), ("mask_bytes", c_uint64),
                ("n_private", c_size_t), ("rescaler", c_float), ("reserved", c_uint32)]


class Failure(Exception):
    def __init__(self, status, text):
        super().__init__(f"{status}: {text}")
        self.status = status


def check(condition, *what):
    if not condition:
        raise AssertionError(what)


class Emr:
    """The functions, each raising Failure with the library's sentence."""

    def __init__(self, path):
        self.library = ctypes.CDLL(path)
        self.library.emr_version.restype = c_char_p
        self.library.emr_model_find.restype = c_void_p
        self.library.emr_tensor_name.restype = c_char_p

    def call(self, name, *arguments):
        error = Error()
        status = getattr(self.library, name)(*arguments, byref(error))
        if status:
            raise Failure(status, error.text.decode())

    def make(self, name, *arguments):
        handle = Handle()
        self.call(name, byref(handle), *arguments)
        return handle

    def destroy(self, kind, handle):
        getattr(self.library, f"emr_{kind}_destroy")(byref(handle))
        check(handle.value is None, kind)

    def model(self, name, tensors):
        """From {tensor: (dtype, shape, bytes)}; the bytes must live as long as the model."""
        model = self.make("emr_model_create", name.encode(), None)
        for tensor, (dtype, shape, data) in tensors.items():
            dims = (c_uint64 * len(shape))(*shape)
            self.call("emr_model_add", model,
                      byref(TensorDesc(sizeof(TensorDesc), tensor.encode(), dims, ctypes.cast(data, c_void_p),
                                       None, 0, None, None, dtype, len(shape))))
        return model


class Archive:
    """A bytearray as an emr_io."""

    def __init__(self):
        self.bytes = bytearray()
        self.calls = 0
        self.io = Io(sizeof(Io), None, READ(self.read), WRITE(self.write), LENGTH(self.length))

    def read(self, _, offset, destination, n):
        self.calls += 1
        if offset + n > len(self.bytes):
            return -1
        ctypes.memmove(destination, bytes(self.bytes[offset:offset + n]), n)
        return 0

    def write(self, _, offset, source, n):
        self.calls += 1
        if offset != len(self.bytes):  # front to back, without gaps
            return -1
        self.bytes += ctypes.string_at(source, n)
        return 0

    def length(self, _, result):
        result[0] = len(self.bytes)
        return 0


def f32(value):
    """Rounded to f32. One operation on f32 values taken in f64 and rounded so is the f32 operation."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


def unpack(dtype, data):
    if dtype == F32:
        return list(struct.unpack(f"<{len(data) // 4}f", data))
    return [struct.unpack("<f", b"\0\0" + data[i:i + 2])[0] for i in range(0, len(data), 2)]


def merge_by_formula(base, tasks):
    """Unified task vector, masks and rescalers (f64) of lists of floats."""
    taus = [[f32(w - b) for w, b in zip(task, base)] for task in tasks]
    unified = []
    for i in range(len(base)):
        total = 0.0
        for tau in taus:
            total = f32(total + tau[i])
        sign = (total > 0) - (total < 0)
        unified.append(sign * max([sign * tau[i] for tau in taus if sign * tau[i] > 0], default=0.0))
    masks = [[t * u > 0 for t, u in zip(tau, unified)] for tau in taus]
    rescalers = []
    for tau, mask in zip(taus, masks):
        kept = sum(abs(u) for u, m in zip(unified, mask) if m)
        rescalers.append(sum(map(abs, tau)) / kept if kept else 0.0)
    return unified, masks, rescalers


def random_tensors(rng, base=None):
    """Two tensors, one in bf16, a task's being near the base's."""
    tensors = {}
    for name, dtype, shape in (("fc.weight", F32, (37, 11)), ("fc.bias", BF16, (37,))):
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        old = unpack(dtype, base[name][2].raw) if base else [0.0] * count
        new = [b + rng.gauss(0, 0.1 if base else 1) for b in old]
        packed = struct.pack(f"<{count}f", *new)
        if dtype == BF16:  # cut, not rounded: any bf16 value will do
            packed = b"".join(packed[i + 2:i + 4] for i in range(0, len(packed), 4))
        tensors[name] = (dtype, shape, ctypes.create_string_buffer(packed, len(packed)))
    return tensors


def values(tensors):
    return [v for dtype, _, data in tensors.values() for v in unpack(dtype, data.raw)]


def merge(emr, base, tasks, output):
    handles = {name: emr.model(name, tensors) for name, tensors in {"base": base, **tasks}.items()}
    merging = emr.make("emr_merge_create", None)
    emr.call("emr_merge_set_base", merging, handles["base"])
    for name in tasks:
        emr.call("emr_merge_add_task", merging, name.encode(), handles[name])
    emr.call("emr_merge_set_output", merging, byref(output.io))
    emr.call("emr_merge_run", merging)
    emr.destroy("merge", merging)
    for handle in handles.values():
        emr.destroy("model", handle)


def apply(emr, bundle, task, base):
    """The task's weights in f32, a few parameters at a time, in the order of the base's tensors."""
    modulator = emr.make("emr_bundle_open_modulator", bundle, c_size_t(task), None)
    result = []
    for name, (dtype, _, data) in base.items():
        tensor = c_size_t()
        check(emr.library.emr_modulator_find_tensor(modulator, name.encode(), byref(tensor)) == 0, name)
        width, count = (4, len(data) // 4) if dtype == F32 else (2, len(data) // 2)
        for first in range(0, count, 100):
            n = min(100, count - first)
            out = (c_float * n)()
            emr.call("emr_modulator_apply", modulator, tensor, c_uint64(first), c_uint64(n), dtype,
                     c_void_p(ctypes.addressof(data) + first * width), F32, out)
            result += out
    emr.destroy("modulator", modulator)
    return result


def check_task(emr, bundle, t, base, formula):
    unified, masks, rescalers = formula
    info = TaskInfo(sizeof(TaskInfo))
    check(emr.library.emr_bundle_get_task(bundle, c_size_t(t), byref(info)) == 0)
    check(abs(info.rescaler - rescalers[t]) <= 1e-6 * rescalers[t], info.rescaler, rescalers[t])
    check(info.mask_ones == sum(masks[t]), info.mask_ones, sum(masks[t]))
    expected = [f32(b + f32(info.rescaler * u)) if m else b for b, u, m in zip(values(base), unified, masks[t])]
    check(apply(emr, bundle, t, base) == expected, "weights of task", t)
    print(f"{info.name.decode()}: {len(expected)} weights equal the formula, rescaler {info.rescaler:.6f}")


def check_refusals(emr, bundle, base, wrong_base):
    """Failures come back as a number and one sentence that names what is wrong."""
    index = c_size_t()
    check(emr.library.emr_bundle_find_task(bundle, b"latin", byref(index)) == ENOTFOUND)
    for name, tensors, status in (("right", base, 0), ("wrong", wrong_base, EMISMATCH)):
        model = emr.model(name, tensors)
        try:
            emr.call("emr_bundle_check_base", bundle, model, None, None, None, None, None)
            check(status == 0, "a wrong base was taken")
        except Failure as failure:
            check(failure.status == status and "fc.weight" in str(failure), str(failure))
        emr.destroy("model", model)
    model = emr.make("emr_model_create", None, None)
    try:
        emr.call("emr_model_add", model, byref(TensorDesc(sizeof(TensorDesc) - 8)))
        check(False, "a struct that is too small was taken")
    except Failure as failure:
        check(failure.status == EINVAL, failure)
    emr.destroy("model", model)


def main(path):
    emr = Emr(path)
    rng = random.Random(7)
    base = random_tensors(rng)
    tasks = {name: random_tensors(rng, base) for name in ("french", "german", "dutch")}
    archive = Archive()
    merge(emr, base, tasks, archive)
    formula = merge_by_formula(values(base), [values(t) for t in tasks.values()])
    bundle = emr.make("emr_bundle_open", byref(archive.io), b"archive", None)
    for t in range(len(tasks)):
        check_task(emr, bundle, t, base, formula)
    check_refusals(emr, bundle, base, tasks["french"])
    emr.destroy("bundle", bundle)
    print(f"libemr {emr.library.emr_version().decode()}, a bundle of {len(archive.bytes)} bytes, "
          f"{archive.calls} calls of its I/O")


if __name__ == "__main__":
    main(*sys.argv[1:])

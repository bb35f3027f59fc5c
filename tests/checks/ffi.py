"""ffi.py - drives the shared library through ctypes alone: models from bytes, a merge into a bundle, the bundle opened
from memory through I/O callbacks, and every task's weights compared with the formulas computed here."""
import ctypes
import random
import struct
import sys
from ctypes import (CFUNCTYPE, POINTER, Structure, byref, c_char, c_char_p, c_double, c_float, c_int32, c_size_t, c_uint8,
                    c_uint16, c_uint32, c_uint64, c_void_p, sizeof)

F32, BF16 = 1, 3
EINVAL, EIO, EMISMATCH, ENOTFOUND = -1, -3, -7, -9
Handle = c_void_p


class Span(Structure):
    _fields_ = [("offset", c_uint16), ("length", c_uint16)]


class Error(Structure):
    _fields_ = [("text", c_char * 480), ("status", c_int32), ("system", c_int32), ("file", Span), ("task", Span),
                ("tensor", Span), ("reserved", c_uint8 * 12)]

    def part(self, name):
        """The file, task or tensor that the sentence names, or ''."""
        span = getattr(self, name)
        return self.text[span.offset:span.offset + span.length].decode()


READ = CFUNCTYPE(c_int32, c_void_p, c_uint64, c_void_p, c_size_t, POINTER(Error))
WRITE = CFUNCTYPE(c_int32, c_void_p, c_uint64, c_void_p, c_size_t, POINTER(Error))
LENGTH = CFUNCTYPE(c_int32, c_void_p, POINTER(c_uint64), POINTER(Error))


class Growable(Structure):
    """Sets its size, the first member."""

    def __init__(self, **members):
        super().__init__(**{"size": sizeof(type(self)), **members})


class Io(Growable):
    _fields_ = [("size", c_size_t), ("user", c_void_p), ("read", READ), ("write", WRITE), ("length", LENGTH),
                ("map", c_void_p), ("unmap", c_void_p), ("sync", c_void_p), ("will_need", c_void_p)]


class ModelOptions(Growable):
    _fields_ = [("size", c_size_t), ("allocator", c_void_p), ("name", c_char_p), ("user", c_void_p),
                ("destroy", c_void_p), ("scratch_bytes", c_size_t), ("open_scratch", c_void_p),
                ("close_scratch", c_void_p), ("prepare", c_void_p)]


class Computation(Growable):
    _fields_ = [("size", c_size_t), ("user", c_void_p), ("scratch", c_void_p), ("out", c_void_p), ("count", c_size_t),
                ("first", c_uint64)]


COMPUTE = CFUNCTYPE(c_int32, POINTER(Computation), POINTER(Error))


class TensorDesc(Growable):
    _fields_ = [("size", c_size_t), ("name", c_char_p), ("shape", POINTER(c_uint64)), ("data", c_void_p),
                ("io", c_void_p), ("compute", COMPUTE), ("user", c_void_p), ("offset", c_uint64),
                ("dtype", c_uint32), ("rank", c_uint32), ("granule", c_uint32), ("max_count", c_uint32),
                ("blocks", c_uint32), ("reserved", c_uint32)]


class Progress(Growable):
    _fields_ = [("size", c_size_t), ("done", c_uint64), ("total", c_uint64)]


PROGRESS = CFUNCTYPE(c_int32, c_void_p, POINTER(Progress), POINTER(Error))


class Resources(Growable):
    _fields_ = [("size", c_size_t), ("allocator", c_void_p), ("executor", c_void_p), ("progress", PROGRESS),
                ("progress_user", c_void_p), ("memory_bytes", c_uint64)]


class MergeOptions(Growable):
    _fields_ = [("size", c_size_t), ("resources", POINTER(Resources)), ("policy", c_void_p), ("modulation", c_void_p),
                ("rescale", c_uint32), ("rescale_per", c_uint32), ("tie", c_uint32), ("on_nonfinite", c_uint32),
                ("unified_dtype", c_uint32), ("embed_base", c_uint32), ("extendable", c_uint32),
                ("compression", c_int32), ("block_params", c_uint32), ("measure", c_uint32)]


class CombinationOptions(Growable):
    _fields_ = [("size", c_size_t), ("method", c_void_p), ("resources", POINTER(Resources)), ("policy", c_void_p),
                ("head_globs", c_void_p), ("seed", c_uint64), ("n_head_globs", c_uint32), ("combine_heads", c_uint32),
                ("dtype", c_uint32), ("on_nonfinite", c_uint32)]


class Application(Growable):
    _fields_ = [("size", c_size_t), ("base", c_void_p), ("out", c_void_p), ("first", c_uint64), ("count", c_uint64),
                ("tensor", c_uint32), ("base_dtype", c_uint32), ("out_dtype", c_uint32), ("without_base", c_uint32)]


class TaskInfo(Growable):
    _fields_ = [("size", c_size_t), ("name", c_char_p), ("mask_ones", c_uint64), ("mask_bytes", c_uint64),
                ("n_private", c_uint32), ("rescaler", c_float), ("coded_bytes", c_uint64)]


class Failure(Exception):
    def __init__(self, status, error):
        super().__init__(f"{status}: {error.text.decode()}")
        self.status, self.error = status, error


def check(condition, *what):
    if not condition:
        raise AssertionError(what)


class Emr:
    """The functions, each raising Failure with the library's sentence."""

    def __init__(self, path):
        self.library = ctypes.CDLL(path)
        self.library.emr_version.restype = c_char_p
        self.library.emr_method_find.restype = self.library.emr_model_tensor.restype = c_void_p

    def call(self, name, *arguments):
        error = Error()
        status = getattr(self.library, name)(*arguments, byref(error))
        if status:
            raise Failure(status, error)

    def make(self, name, *arguments):
        handle = Handle()
        self.call(name, byref(handle), *arguments)
        return handle

    def destroy(self, kind, handle):
        getattr(self.library, f"emr_{kind}_destroy")(byref(handle))
        check(handle.value is None, kind)

    def model(self, name, tensors, computed=False):
        """From {tensor: (dtype, shape, bytes)}; the bytes must live as long as the model."""
        model = self.make("emr_model_create", byref(ModelOptions(name=name.encode())))
        for tensor, (dtype, shape, data) in tensors.items():
            desc = TensorDesc(name=tensor.encode(), shape=(c_uint64 * len(shape))(*shape), dtype=dtype, rank=len(shape))
            if computed:
                desc.compute, desc.user = copy_elements, ctypes.addressof(Elements.of(data, dtype))
            else:
                desc.data = ctypes.addressof(data)
            self.call("emr_model_add", model, byref(desc))
        return model


class Elements(Structure):
    """What a computed tensor of this test is computed from."""
    _fields_ = [("data", c_void_p), ("width", c_size_t)]
    alive = []

    @classmethod
    def of(cls, data, dtype):
        cls.alive.append(cls(ctypes.addressof(data), 4 if dtype == F32 else 2))
        return cls.alive[-1]


@COMPUTE
def copy_elements(computation, _):
    elements = Elements.from_address(computation[0].user)
    ctypes.memmove(computation[0].out, elements.data + computation[0].first * elements.width,
                   computation[0].count * elements.width)
    return 0


class Archive:
    """A bytearray as an emr_io."""

    def __init__(self, emr):
        self.library, self.bytes, self.calls, self.broken = emr.library, bytearray(), 0, False
        self.io = Io(read=READ(self.read), write=WRITE(self.write), length=LENGTH(self.length))

    def fail(self, error, reason):
        return self.library.emr_error_set(error, EIO, 5, b"archive", reason)

    def read(self, _, offset, destination, n, error):
        self.calls += 1
        if self.broken or offset + n > len(self.bytes):
            return self.fail(error, b"the tape broke")
        ctypes.memmove(destination, bytes(self.bytes[offset:offset + n]), n)
        return 0

    def write(self, _, offset, source, n, error):
        self.calls += 1
        if offset != len(self.bytes):
            return self.fail(error, b"it was to be written from front to back")
        self.bytes += ctypes.string_at(source, n)
        return 0

    def length(self, _, result, error):
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
    """The tasks' models are computed, each by a call of Python for a part."""
    handles = {name: emr.model(name, tensors, computed=True) for name, tensors in tasks.items()}
    handles["base"] = emr.model("base", base)
    seen = []

    @PROGRESS
    def follow(_, progress, error):
        seen.append((progress[0].done, progress[0].total))
        return 0

    resources = Resources(progress=follow, memory_bytes=64 << 20)
    merging = emr.make("emr_merge_create", byref(MergeOptions(resources=ctypes.pointer(resources))))
    emr.call("emr_merge_set_base", merging, handles["base"])
    for name in tasks:
        emr.call("emr_merge_add_task", merging, name.encode(), handles[name])
    emr.call("emr_merge_set_output", merging, byref(output.io))
    emr.call("emr_merge_run", merging)
    check(seen and seen == sorted(seen) and seen[-1][0] == seen[-1][1], "progress", seen)
    emr.destroy("merge", merging)
    for handle in handles.values():
        emr.destroy("model", handle)


def combine(emr, base, tasks):
    """Task arithmetic, read out of the combined model, against its formula."""
    handles = {name: emr.model(name, tensors, computed=True) for name, tensors in tasks.items()}
    handles["base"] = emr.model("base", base)
    combination = emr.make("emr_combination_create", byref(CombinationOptions(
        method=emr.library.emr_method_find(b"task_arithmetic"), dtype=F32)))
    emr.call("emr_combination_set_base", combination, handles["base"])
    for name in tasks:
        emr.call("emr_combination_add_task", combination, name.encode(), handles[name])
    emr.call("emr_combination_set_parameter", combination, b"weight", c_uint32(0xfffffffe), None, c_double(0.25))
    model = Handle()
    emr.call("emr_combination_open_model", combination, byref(model))
    emr.destroy("combination", combination)
    expected, got = [], []
    for b, *own in zip(values(base), *(values(task) for task in tasks.values())):
        total = 0.0
        for w in own:
            total = f32(total + f32(f32(w - b) * 0.25))
        expected.append(f32(b + total))
    for i, (dtype, _, data) in enumerate(base.values()):
        out = (c_float * (len(data) // (4 if dtype == F32 else 2)))()
        emr.call("emr_tensor_read_floats", c_void_p(emr.library.emr_model_tensor(model, c_uint32(i))), c_uint64(0),
                 c_size_t(len(out)), out)
        got += out
    check(got == expected, "task arithmetic")
    print(f"task arithmetic: {len(got)} weights equal the formula")
    emr.destroy("model", model)
    for handle in handles.values():
        emr.destroy("model", handle)


def apply(emr, bundle, task, base):
    """The task's weights in f32, a few parameters at a time, in the order of the base's tensors."""
    modulator = emr.make("emr_bundle_open_modulator", bundle, c_uint32(task), None)
    result = []
    for name, (dtype, _, data) in base.items():
        tensor = c_uint32()
        check(emr.library.emr_modulator_find_tensor(modulator, name.encode(), byref(tensor)) == 0, name)
        width, count = (4, len(data) // 4) if dtype == F32 else (2, len(data) // 2)
        for first in range(0, count, 100):
            n = min(100, count - first)
            out = (c_float * n)()
            emr.call("emr_modulator_apply", modulator, byref(Application(
                tensor=tensor.value, first=first, count=n, base=ctypes.addressof(data) + first * width, base_dtype=dtype,
                out=ctypes.addressof(out), out_dtype=F32)))
            result += out
    emr.destroy("modulator", modulator)
    return result


def check_task(emr, bundle, t, base, formula):
    unified, masks, rescalers = formula
    info = TaskInfo()
    check(emr.library.emr_bundle_get_task(bundle, c_uint32(t), byref(info)) == 0)
    check(abs(info.rescaler - rescalers[t]) <= 1e-6 * rescalers[t], info.rescaler, rescalers[t])
    check(info.mask_ones == sum(masks[t]), info.mask_ones, sum(masks[t]))
    expected = [f32(b + f32(info.rescaler * u)) if m else b for b, u, m in zip(values(base), unified, masks[t])]
    check(apply(emr, bundle, t, base) == expected, "weights of task", t)
    print(f"{info.name.decode()}: {len(expected)} weights equal the formula, rescaler {info.rescaler:.6f}")


def refused(emr, status, name, *arguments):
    """The emr_error of a call that must fail so."""
    try:
        emr.call(name, *arguments)
    except Failure as failure:
        check(failure.status == status == failure.error.status, name, failure)
        return failure.error
    raise AssertionError((name, "was not refused"))


def check_refusals(emr, bundle, archive, base, wrong_base):
    """Failures come back as a number, and one sentence that says where it names what is wrong."""
    check(emr.library.emr_bundle_find_task(bundle, b"latin", byref(c_uint32()), None) == ENOTFOUND)
    model = emr.model("right", base)
    emr.call("emr_bundle_check_base", bundle, model, None)
    emr.destroy("model", model)
    model = emr.model("wrong", wrong_base)
    error = refused(emr, EMISMATCH, "emr_bundle_check_base", bundle, model, None)
    check(error.part("file") == "wrong" and error.part("tensor") == "fc.weight", error.text)
    error = refused(emr, EINVAL, "emr_model_add", model, byref(TensorDesc(size=sizeof(TensorDesc) - 8)))
    emr.destroy("model", model)
    archive.broken = True
    error = refused(emr, EIO, "emr_bundle_verify", bundle, None)
    check(error.text.endswith(b"the tape broke") and error.system == 5 and error.part("file") == "archive", error.text)
    archive.broken = False
    emr.call("emr_bundle_verify", bundle, None)


def main(path):
    emr = Emr(path)
    rng = random.Random(7)
    base = random_tensors(rng)
    tasks = {name: random_tensors(rng, base) for name in ("french", "german", "dutch")}
    archive = Archive(emr)
    merge(emr, base, tasks, archive)
    formula = merge_by_formula(values(base), [values(t) for t in tasks.values()])
    bundle = emr.make("emr_bundle_open", byref(archive.io), b"archive", None)
    for t in range(len(tasks)):
        check_task(emr, bundle, t, base, formula)
    combine(emr, base, tasks)
    check_refusals(emr, bundle, archive, base, tasks["french"])
    emr.destroy("bundle", bundle)
    print(f"libemr {emr.library.emr_version().decode()}, a bundle of {len(archive.bytes)} bytes, "
          f"{archive.calls} calls of its I/O")


if __name__ == "__main__":
    main(*sys.argv[1:])

#!/usr/bin/env python3
"""compare_numpy.py - libemr against the same merge in numpy, and in PyTorch where that is installed: base and tasks in
memory, f32, all processors. The formulas are those of docs/algorithm.md, written as one writes array programs: whole
task vectors side by side, one operation at a time.

    compare_numpy.py [LIBRARY] [--params N] [--tasks N] [--runs N]

All begin with the same arrays. libemr hands its results over in windows, and is timed three times: with nobody who
takes them; with unified task vector and masks copied into new arrays, which is where the others leave theirs (masks are
packed bits here, bytes there); and writing a whole bundle into a growing buffer, masks compressed and all bytes under
checksums. Results are compared before times are printed."""
import argparse
import ctypes
import os
import statistics
import sys
import time
from ctypes import (CFUNCTYPE, POINTER, Structure, byref, c_char, c_char_p, c_float, c_int32, c_size_t, c_uint8, c_uint16,
                    c_uint32, c_uint64, c_void_p)

import numpy

try:
    import torch
except ImportError:
    torch = None

F32 = 1
BAR = 25


class Error(Structure):
    _fields_ = [("text", c_char * 480), ("status", c_int32), ("system", c_int32), ("spans", c_uint16 * 6),
                ("reserved", c_uint8 * 12)]


class Resources(Structure):
    _fields_ = [("size", c_size_t), ("allocator", c_void_p), ("executor", c_void_p), ("progress", c_void_p),
                ("progress_user", c_void_p), ("memory_bytes", c_uint64)]


class TensorDesc(Structure):
    _fields_ = [("size", c_size_t), ("name", c_char_p), ("shape", POINTER(c_uint64)), ("data", c_void_p),
                ("io", c_void_p), ("compute", c_void_p), ("user", c_void_p), ("offset", c_uint64)] + [
                    (name, c_uint32) for name in ("dtype", "rank", "granule", "max_count", "blocks", "reserved")]


class MergeOptions(Structure):
    _fields_ = [("size", c_size_t), ("resources", POINTER(Resources)), ("policy", c_void_p), ("modulation", c_void_p)] + [
        (name, c_uint32) for name in ("rescale", "rescale_per", "tie", "on_nonfinite", "unified_dtype", "embed_base",
                                      "extendable")] + [
        ("compression", c_int32), ("block_params", c_uint32), ("measure", c_uint32)]


class TaskReport(Structure):
    _fields_ = [("size", c_size_t), ("name", c_char_p), ("mask_ones", c_uint64), ("zeroed", c_uint64),
                ("rescaler", c_float), ("empty_mask", c_uint32), ("other_rescaler", c_float), ("reserved", c_uint32)]


class SinkPart(Structure):
    _fields_ = [("size", c_size_t), ("values", c_void_p), ("n", c_size_t), ("first", c_uint64), ("tensor", c_uint32),
                ("task", c_uint32)]


TAKE_PART = CFUNCTYPE(c_int32, c_void_p, POINTER(SinkPart), POINTER(Error))


class Sink(Structure):
    _fields_ = [("size", c_size_t), ("user", c_void_p), ("unified", TAKE_PART), ("mask", TAKE_PART),
                ("rescalers", c_void_p)]


class Emr:
    """The library, with models over the arrays that all sides share."""

    def __init__(self, path, base, tasks):
        self.library = ctypes.CDLL(path)
        self.library.emr_buffer_io.restype = c_void_p
        self.library.emr_pool_executor.restype = c_void_p
        self.pool = self.make("emr_pool_create", None)
        self.resources = Resources(ctypes.sizeof(Resources), executor=self.library.emr_pool_executor(self.pool))
        self.models = [self.model(array) for array in (base, *tasks)]

    def call(self, name, *arguments):
        error = Error()
        if getattr(self.library, name)(*arguments, byref(error)):
            sys.exit(f"{name}: {error.text.decode()}")

    def make(self, name, *arguments):
        handle = c_void_p()
        self.call(name, byref(handle), *arguments)
        return handle

    def model(self, array):
        model = self.make("emr_model_create", None)
        shape = (c_uint64 * 1)(array.size)
        self.call("emr_model_add", model, byref(TensorDesc(ctypes.sizeof(TensorDesc), b"weight", shape,
                                                           array.ctypes.data, dtype=F32, rank=1)))
        return model

    def merge(self, give_output):
        """One merge; returns each task's mask bits set and rescaler. `give_output` says where the result goes."""
        options = MergeOptions(ctypes.sizeof(MergeOptions), resources=ctypes.pointer(self.resources))
        merging = self.make("emr_merge_create", byref(options))
        self.call("emr_merge_set_base", merging, self.models[0])
        for i, model in enumerate(self.models[1:]):
            self.call("emr_merge_add_task", merging, b"task%d" % i, model)
        give_output(merging)
        self.call("emr_merge_run", merging)
        result = []
        for i in range(len(self.models) - 1):
            report = TaskReport(ctypes.sizeof(TaskReport))
            self.library.emr_merge_get_task_report(merging, c_uint32(i), byref(report))
            result.append((report.mask_ones, report.rescaler))
        self.library.emr_merge_destroy(byref(merging))
        return result

    def merge_to_nobody(self):
        sink = Sink(ctypes.sizeof(Sink))
        self.merge(lambda merging: self.call("emr_merge_set_sink", merging, byref(sink)))

    def merge_to_arrays(self, params):
        unified = numpy.empty(params, dtype=numpy.float32)
        masks = numpy.empty((len(self.models) - 1, (params + 7) // 8), dtype=numpy.uint8)

        def keep_unified(_, part, error):
            p = part.contents
            ctypes.memmove(unified.ctypes.data + 4 * p.first, p.values, 4 * p.n)
            return 0

        def keep_mask(_, part, error):
            p = part.contents
            ctypes.memmove(masks[p.task].ctypes.data + p.first // 8, p.values, (p.n + 7) // 8)
            return 0

        sink = Sink(ctypes.sizeof(Sink), None, TAKE_PART(keep_unified), TAKE_PART(keep_mask), None)
        reports = self.merge(lambda merging: self.call("emr_merge_set_sink", merging, byref(sink)))
        return unified, masks, reports

    def merge_to_bundle(self):
        buffer = self.make("emr_buffer_create", None)
        io = c_void_p(self.library.emr_buffer_io(buffer))
        self.merge(lambda merging: self.call("emr_merge_set_output", merging, io))
        self.library.emr_buffer_destroy(byref(buffer))


def merge_numpy(base, tasks):
    tau = numpy.stack([task - base for task in tasks])
    sign = numpy.sign(tau.sum(axis=0))
    agrees = tau * sign > 0
    unified = sign * numpy.where(agrees, numpy.abs(tau), 0).max(axis=0)
    masks = tau * unified > 0
    top = numpy.abs(tau).sum(axis=1, dtype=numpy.float64)
    bottom = numpy.abs(masks * unified).sum(axis=1, dtype=numpy.float64)
    return unified, masks, top / bottom


def merge_torch(base, tasks):
    tau = torch.stack([task - base for task in tasks])
    sign = torch.sign(tau.sum(dim=0))
    agrees = tau * sign > 0
    unified = sign * torch.where(agrees, tau.abs(), 0).amax(dim=0)
    masks = tau * unified > 0
    top = tau.abs().sum(dim=1, dtype=torch.float64)
    bottom = (masks * unified).abs().sum(dim=1, dtype=torch.float64)
    return unified, masks, top / bottom


def median_time(runs, merge, *arguments):
    times = []
    result = None
    for _ in range(runs + 1):
        del result
        start = time.perf_counter()
        result = merge(*arguments)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:]), result


def check_same(ours, theirs, name):
    """Array programs may add in another order, so that a sum of almost 0 may come out with the other sign: one
    parameter in ten thousand may differ."""
    unified, masks, reports = ours
    their_unified, their_masks, their_rescalers = map(numpy.asarray, theirs)
    differ = [numpy.count_nonzero(unified != their_unified)]
    for task, (_, rescaler) in enumerate(reports):
        bits = numpy.unpackbits(masks[task], bitorder="little", count=unified.size).astype(bool)
        differ.append(numpy.count_nonzero(bits != their_masks[task]))
        if abs(rescaler - float(their_rescalers[task])) > 1e-3:
            sys.exit(f"{name} and libemr disagree about the rescaler of task {task}")
    if max(differ) > unified.size / 10000:
        sys.exit(f"{name} and libemr disagree about {max(differ)} parameters")


def print_row(name, seconds, gigabytes):
    print(f"{name:36} {seconds:8.3f} s {gigabytes / seconds:8.3f} GB/s")


def arguments_of():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("library", nargs="?", default=os.path.join(here, "..", "build", "lib", "libemr.so"))
    parser.add_argument("--params", type=int, default=16 << 20)
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--runs", type=int, default=5)
    return parser.parse_args()


def main():
    options = arguments_of()
    rng = numpy.random.default_rng(1)
    base = rng.standard_normal(options.params, dtype=numpy.float32) * numpy.float32(0.02)
    tasks = [base + rng.standard_normal(options.params, dtype=numpy.float32) * numpy.float32(0.002)
             for _ in range(options.tasks)]
    read = 4 * options.params * (options.tasks + 1) / 1e9
    print(f"{options.tasks} tasks of {options.params} parameters, F32; GB/s are those of base and tasks")

    emr = Emr(options.library, base, tasks)
    times = {"libemr, results passed on": median_time(options.runs, emr.merge_to_nobody)[0]}
    times["libemr, results kept in arrays"], ours = median_time(options.runs, emr.merge_to_arrays, options.params)
    times["libemr, a whole bundle in memory"] = median_time(options.runs, emr.merge_to_bundle)[0]
    for name, seconds in times.items():
        print_row(name, seconds, read)

    others = {f"numpy {numpy.__version__}": (merge_numpy, base, tasks)}
    if torch:
        others[f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads"] = (
            merge_torch, torch.from_numpy(base), [torch.from_numpy(task) for task in tasks])
    for name, (merge, *inputs) in others.items():
        their_seconds, theirs = median_time(max(1, options.runs // 2), merge, *inputs)
        check_same(ours, theirs, name)
        print_row(name, their_seconds, read)
        for our_name, seconds in list(times.items())[:2]:
            ratio = their_seconds / seconds
            print(f"    {our_name:40} {ratio:7.1f} x as fast   bar >= {BAR}   {'met' if ratio >= BAR else 'missed'}")
    if not torch:
        print("PyTorch is not installed: not compared")


if __name__ == "__main__":
    main()

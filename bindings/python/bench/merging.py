"""merging.py - a merge from Python beside the program `emr`, each in a process of its own, taking turns:
seconds and memory.

    python bench/merging.py EMR [--mb 1000] [--tasks 3] [--rounds 5] [--threads 2] [--folder /var/tmp]

`package` is the whole process: interpreter, import, merge. `call` is libemr.merge alone, `arrays` the same
from numpy arrays in memory. Of memory there is the largest resident set, pages of the page cache left out by
not mapping files."""

import argparse
import filecmp
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time

import numpy as np

MERGE = """
import sys, time
import libemr
folder, threads, tasks = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
begin = time.perf_counter()
models = {t: f"{folder}/{t}.safetensors" for t in tasks}
libemr.merge(folder + "/base.safetensors", models, folder + "/python.emr", replace=True, threads=threads)
print(time.perf_counter() - begin)
"""
ARRAYS = """
import sys, time, resource
import numpy as np
import libemr
folder, threads, tasks = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
models = {t: libemr.Model(f"{folder}/{t}.safetensors") for t in ["base", *tasks]}
arrays = {t: {name: tensor.read() for name, tensor in model.items()} for t, model in models.items()}
resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
begin = time.perf_counter()
given = {t: arrays[t] for t in tasks}
libemr.merge(arrays["base"], given, folder + "/python.emr", replace=True, threads=threads)
print(time.perf_counter() - begin, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident) / 1024)
"""


def write_model(path, n_tensors, rows, columns, seed, base_seed=0):
    """A safetensors file of F32 matrices, one tensor in memory at a time."""
    n = rows * columns * 4
    header = {
        f"layer.{i}.weight": {"dtype": "F32", "shape": [rows, columns], "data_offsets": [i * n, (i + 1) * n]}
        for i in range(n_tensors)
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for i in range(n_tensors):
            values = np.random.default_rng([base_seed, i]).standard_normal((rows, columns), np.float32)
            if seed:
                values += 0.02 * np.random.default_rng([seed, i]).standard_normal((rows, columns), np.float32)
            file.write(values)


def run(command):
    """Its seconds, its largest resident set in MiB, and what it prints."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    if status:
        raise SystemExit(f"{command[0]} failed")
    return seconds, usage.ru_maxrss / 1024, printed.split()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("emr")
    for name, default in (("mb", 1000), ("tasks", 3), ("rounds", 5), ("threads", os.cpu_count())):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--folder")
    options = parser.parse_args()
    rows, columns = 1024, 4096
    n_tensors = max(1, options.mb * 10**6 // (4 * rows * columns * (options.tasks + 1)))
    tasks = [f"task{i}" for i in range(options.tasks)]
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for i, name in enumerate(["base", *tasks]):
            write_model(f"{folder}/{name}.safetensors", n_tensors, rows, columns, i)
        program = [
            options.emr,
            "merge",
            "--quiet",
            "--base",
            f"{folder}/base.safetensors",
            "--force",
            "--threads",
            str(options.threads),
            "-o",
            f"{folder}/program.emr",
            *(word for t in tasks for word in ("--task", f"{t}={folder}/{t}.safetensors")),
        ]
        python = [sys.executable, "-c", MERGE, folder, str(options.threads), *tasks]
        times, memory = {"program": [], "package": [], "call": []}, {"program": [], "package": []}
        for i in range(options.rounds + 1):
            for what, command in (("program", program), ("package", python))[:: 1 if i % 2 else -1]:
                seconds, resident, printed = run(command)
                if i:
                    times[what].append(seconds)
                    memory[what].append(resident)
                    if what == "package":
                        times["call"].append(float(printed[0]))
        same = filecmp.cmp(f"{folder}/program.emr", f"{folder}/python.emr", shallow=False)
        arrays = run([sys.executable, "-c", ARRAYS, folder, str(options.threads), *tasks])[2]
    print(
        f"{(options.tasks + 1) * n_tensors * rows * columns * 4 / 1e9:.2f} GB in, {options.tasks} tasks, "
        f"{options.threads} threads, {options.rounds} rounds; "
        f"bundles are {'the same bytes' if same else 'DIFFERENT'}"
    )
    for what, seconds in times.items():
        resident = f", {statistics.median(memory[what]):6.0f} MiB" if what in memory else ""
        ratios = [a / b for a, b in zip(seconds, times["program"])]
        print(
            f"{what:8} median {statistics.median(seconds):7.3f} s, fastest {min(seconds):7.3f} s, "
            f"{statistics.median(ratios):.3f} of the program's{resident}"
        )
    print(f"arrays   {float(arrays[0]):7.3f} s, {float(arrays[1]):.0f} MiB more than before the merge")


if __name__ == "__main__":
    main()

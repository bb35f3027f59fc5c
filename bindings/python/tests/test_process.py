"""test_process.py - in processes of their own: Ctrl-C, memory, the program, and what is imported."""

import shutil
import signal
import subprocess
import sys
import sysconfig

import numpy as np
import pytest

import libemr

INTERRUPTED = """
import signal, sys, time
import numpy as np, libemr

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may ignore it

def slowly(first, count):
    if first > 200000:
        print("computing", flush=True)
        time.sleep(0.01)
    return np.ones(count, np.float32)

model = libemr.Model.of()
model.add_computed("w", "F32", (4000, 4000), slowly)
threads = int(sys.argv[2])
try:
    if sys.argv[3] == "merge":
        libemr.merge(libemr.Model.zeros(model), {"t": model}, sys.argv[1], threads=threads)
    else:
        model.write(sys.argv[1], threads=threads)
except KeyboardInterrupt as error:
    print("interrupted", flush=True)
    raise SystemExit(7)
print("finished")
"""


@pytest.mark.parametrize("what, name", [("merge", "all.emr"), ("write", "model.safetensors")])
@pytest.mark.parametrize("threads", [1, 3])
def test_ctrl_c_leaves_no_file(what, name, threads, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path / name), str(threads), what],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline().startswith("computing")
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=120)
    assert process.returncode == 7 and "interrupted" in out and "Traceback" not in error, out[-500:] + error
    assert list(tmp_path.iterdir()) == []


MEMORY = """
import resource, sys
import numpy as np, libemr

def peak():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) << 10

def reset():
    open("/proc/self/clear_refs", "w").write("5")

MB = 1 << 20
base = {"w": np.zeros((64, MB), np.float32), "b": np.zeros(3, np.float32)}                # 256 MiB
ones = np.ones(3, np.float32)
tasks = {t: {"w": np.full((64, MB), i + 1, np.float32), "b": ones} for i, t in enumerate(("x", "y"))}
libemr.merge({"b": base["b"]}, {"x": {"b": tasks["x"]["b"]}}, threads=1)
reset()
before = peak()
libemr.merge(base, tasks, sys.argv[1], threads=1, memory="64MiB")
merging = peak() - before
del tasks
bundle = libemr.Bundle(sys.argv[1])
out = {"w": np.ones((64, MB), np.float32), "b": np.ones(3, np.float32)}
reset()
before = peak()
bundle["x"].apply(base, out, threads=2)
print(merging >> 20, (peak() - before) >> 20)
"""


def test_no_tensor_is_copied(tmp_path, run_python):
    """Of 768 MiB that are merged with 64 MiB of working memory, and 256 MiB that are applied into an
    array."""
    merging, applying = map(int, run_python(MEMORY, tmp_path / "all.emr").stdout.split())
    assert merging < 96 and applying < 48, (merging, applying)


def test_numpy_is_not_imported(run_python):
    done = run_python(
        "import sys, libemr; m = libemr.Model.of({'w': bytearray(8)}); m['w'].read_bytes();"
        "print([n for n in ('numpy', 'torch', 'ml_dtypes', 'transformers') if n in sys.modules])"
    )
    assert done.stdout == "[]\n"


def test_the_program_comes_along(tmp_path):
    program = shutil.which("emr", path=sysconfig.get_path("scripts"))
    assert program, "the wheel is not installed: run these tests against an installed libemr"
    libemr.Model.of({"w": np.ones(4, np.float32)}).write(tmp_path / "m.safetensors")
    for command in ([program], [sys.executable, "-m", "libemr"]):
        assert subprocess.check_output([*command, "--version"], text=True).split()[-1] == libemr.__version__
        assert '"w"' in subprocess.check_output(
            [*command, "inspect", "--json", str(tmp_path / "m.safetensors")], text=True
        )


def test_what_it_says_of_itself():
    features = libemr.features()
    assert (
        features.hosted == 1
        and features.zstd_version
        and features.kernels
        and libemr.__version__ == ".".join(map(str, libemr.version_info))
    )
    for name in set(libemr.__all__) - {"version_info"}:
        assert getattr(libemr, name).__doc__, name


FORKED = """
import gc, os, signal, sys, warnings
import numpy as np, libemr
warnings.simplefilter("ignore")

base = {"w": np.arange(4096, dtype=np.float32)}
task = {"w": base["w"] + 1}
pool = libemr.Pool(3)
bundle = libemr.merge(base, {"t": task}, threads=pool).bundle
merge = libemr.Merge(threads=1)
merge.set_base(base)
merge.add_task("t", task)
merge.set_output(sys.argv[1])
session = libemr.Session(bundle, base, threads=3)
out = {"w": np.empty(4096, np.float32)}

child = os.fork()
if child == 0:
    signal.alarm(60)
    again = lambda: libemr.merge(base, {"t": task}, threads=pool)
    for call in (again, merge.run, lambda: session.apply("t", out)):
        try:
            call()
            os._exit(1)
        except libemr.OutOfOrder as error:
            assert "before the process forked" in str(error), error
    assert bundle["t"].apply(base)["w"][0] == 1
    libemr.merge(base, {"t": task})
    del again, call, pool, merge, session, bundle
    gc.collect()
    sys.exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
merge.run()
session.apply("t", out)
print(libemr.Bundle(sys.argv[1])["t"].apply(base)["w"][0], out["w"][0])
"""


def test_a_fork_leaves_the_parents_threads_and_files_alone(tmp_path, run_python):
    assert run_python(FORKED, tmp_path / "all.emr").stdout == "7\n1.0 1.0\n"

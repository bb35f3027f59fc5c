"""test_mpi.py EMR EMR_MPI MPIRUN - `emr-mpi merge`: with any number of ranks the bundle of one machine; what a run that
failed, or was killed, has done is taken up by the next."""
import math
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

from program import *

EMR_MPI, MPIRUN = os.path.abspath(sys.argv[2]), sys.argv[3]
MERGE = ["--base", "base", "--tasks", "tasks", "--block-params", "4K", "--threads", "1"]
# Open MPI's: more ranks than processors, and as root in a container.
IS_OPEN_MPI = "Open" in subprocess.run([MPIRUN, "--version"], capture_output=True, text=True).stdout
WORDS = ["--oversubscribe", "--allow-run-as-root"] if IS_OPEN_MPI else []


def fill_folder(rows=300, change=lambda name, tensors: None):
    values = random.Random(7)
    def tensors(change):
        return {"a": ([rows, 200], [values.random() + change for _ in range(200 * rows)]),
                "b": ([900], [values.random() for _ in range(900)])}
    save("base/model.safetensors", tensors(0))
    for name in ("french", "german"):
        save(f"tasks/{name}.safetensors", {**tensors(0.1), f"head.{name}": [1.0] * 70})


def start(ranks, *words):
    return subprocess.Popen([MPIRUN, *WORDS, "-n", str(ranks), EMR_MPI, *map(str, words)], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def ended(process, *words, status):
    out, err = process.communicate(timeout=240)
    assert process.returncode in status, f"emr-mpi {words}: {process.returncode}, {out}, {err}"
    return Result(subprocess.CompletedProcess(["emr-mpi", *words], process.returncode, out, err))


def emr_mpi(ranks, *words, status=0):
    return ended(start(ranks, *words), *words, status=[status])


def same(a, b):
    return pathlib.Path(a).read_bytes() == pathlib.Path(b).read_bytes()


def parts(out="all.emr"):
    return sorted(pathlib.Path(f"{out}.parts").glob("*.part"))


def ranks_of(mpirun):
    """Rank -> process id, of those that run."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "exe") == EMR_MPI:
                environment = dict(e.split("=", 1) for e in (entry / "environ").read_text().split("\0") if "=" in e)
                if environment.get("TEST_OF") == os.getcwd():
                    found[int(environment.get("OMPI_COMM_WORLD_RANK", environment.get("PMI_RANK")))] = int(entry.name)
        except OSError:
            pass  # it has ended, or is another's
    return found


def test_any_number_of_ranks():
    fill_folder()
    for kind, more in (("mask", ["--rescale-per", "row"]), ("sign", []), ("mask", ["--extendable"])):
        words = [*MERGE, "--modulator", kind, *more]
        emr("merge", *words, "-o", "whole.emr", "--force")
        for ranks in (1, 2, 4, 7):
            assert f"joined {4 * ranks} parts" in emr_mpi(ranks, "merge", *words, "-o", "all.emr", "--force").out
            assert same("whole.emr", "all.emr"), (kind, ranks)
            assert not os.path.exists("all.emr.parts")
    for n in (1, 3, 40):  # fewer parts than ranks, and many more
        told = emr_mpi(4, "merge", *words, "-o", f"{n}.emr", "--parts", n, "--json").json
        assert told == {"output": f"{n}.emr", "parts": n} and same("whole.emr", f"{n}.emr")


def killed(rank, number):
    """A run of which a rank is sent a signal as soon as some parts are there; what it leaves."""
    words = ["merge", *MERGE, "-o", "all.emr", "--parts", "400", "--force"]
    os.environ["TEST_OF"] = os.getcwd()
    process = start(3, *words)
    while len(parts()) < 5:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    os.kill(ranks_of(process)[rank], number)
    told = ended(process, *words, status=range(1, 256))
    assert not os.path.exists("all.emr") and 5 <= len(parts()) < 400
    return told


def test_a_rank_that_is_killed():
    fill_folder(rows=900)
    emr("merge", *MERGE, "-o", "whole.emr")
    for rank, number in ((1, signal.SIGKILL), (0, signal.SIGKILL), (2, signal.SIGTERM)):
        told = killed(rank, number)
        if number == signal.SIGKILL:
            said = told.out + told.err  # by mpirun
            assert f"rank {rank}" in said and "signal 9" in said if IS_OPEN_MPI else "signal 9" in said, said
        before = {part.name: part.stat().st_ino for part in parts()}
        again = emr_mpi(2, "merge", *MERGE, "-o", "all.emr")  # of as many parts as there were
        again.says(f"note: {len(before)} of 400 parts were done by an earlier run")
        assert same("whole.emr", "all.emr") and not os.path.exists("all.emr.parts")
        os.remove("all.emr")


def test_a_task_that_fails():
    fill_folder()
    emr("merge", *MERGE, "-o", "whole.emr")
    whole = load("tasks/german.safetensors")
    shapes = {"a": [300, 200]}
    broken = {name: (shapes.get(name, [len(v)]), list(v)) for name, v in whole.items()}
    broken["b"][1][800] = math.nan
    save("tasks/german.safetensors", broken)
    told = emr_mpi(3, "merge", *MERGE, "-o", "all.emr", "--parts", "30", status=1)
    told.says("german", "'b'", "the same command takes them up")
    assert sum("german" in line for line in told.err.splitlines()) == 1 and not os.path.exists("all.emr")
    before = len(parts())
    assert before > 0
    # those of other options are not taken
    emr_mpi(2, "merge", *MERGE, "--tie", "negative", "-o", "all.emr", status=1).says(
        "all.emr.parts/", "another merge", "--force")
    # mended, it goes on
    save("tasks/german.safetensors", {name: (shapes.get(name, [len(v)]), v) for name, v in whole.items()})
    emr_mpi(2, "merge", *MERGE, "-o", "all.emr").says(f"{before} of 30 parts")
    assert same("whole.emr", "all.emr")


def test_parts_that_are_none():
    fill_folder()
    emr("merge", *MERGE, "-o", "whole.emr")
    os.mkdir("all.emr.parts")
    pathlib.Path("all.emr.parts/00002-of-00005.part").write_bytes(b"no part")
    emr_mpi(2, "merge", *MERGE, "-o", "all.emr", status=1).says("00002-of-00005.part", "is no part", "--force")
    assert "joined 5 parts" in emr_mpi(2, "merge", *MERGE, "-o", "all.emr", "--force").out
    assert same("whole.emr", "all.emr")
    # one that was damaged on the disk is found when all are joined
    os.mkdir("b.emr.parts")
    emr("merge", *MERGE, "--part", "1/2", "-o", "b.emr.parts/00001-of-00002.part")
    raw = bytearray(pathlib.Path("b.emr.parts/00001-of-00002.part").read_bytes())
    raw[-100] ^= 1
    pathlib.Path("b.emr.parts/00001-of-00002.part").write_bytes(raw)
    emr_mpi(2, "merge", *MERGE, "-o", "b.emr", status=1).says("00001-of-00002.part", "damaged")
    assert not os.path.exists("b.emr")


def test_the_call():
    fill_folder()
    assert "mpirun -n RANKS" in emr_mpi(2, "--help").out and "--parts N" in emr_mpi(1, "merge", "--help").out
    assert emr_mpi(2, "--version").out.startswith("emr-mpi ")
    assert "part 3/3: reads" in emr_mpi(2, "merge", *MERGE, "--dry-run", "--parts", "3").out
    pathlib.Path("there.emr").write_text("mine")
    for words, text in ((["merge", *MERGE, "-o", "-"], "-o - is not possible"), (["join"], "unknown command"), ([], "merge"),
                        (["merge", *MERGE, "-o", "x", "--part", "1/2"], "--part"), (["merge", *MERGE], "-o OUT.emr"),
                        (["merge", *MERGE, "-o", "x", "--resume"], "--resume"),
                        (["merge", *MERGE, "-o", "there.emr"], "already exists"),
                        (["merge", "--base", "none", "--tasks", "tasks", "-o", "x"], "none"),
                        (["merge", *MERGE, "-o", "tasks/french.safetensors", "--force"], "french")):
        told = emr_mpi(3, *words, status=3 if "none" in words else 2).says(text)
        assert len([line for line in told.err.splitlines() if line.startswith("emr-mpi")]) == 1, told.err
    assert sorted(os.listdir()) == ["base", "tasks", "there.emr"] and pathlib.Path("there.emr").read_text() == "mine"


run(globals())

"""test_parts.py EMR - a merge in parts: the program's words, its answers, and the scripts that are documented."""
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import time

from program import *

SCALE = pathlib.Path(__file__).resolve().parents[2] / "examples" / "scale"
MERGE = ["--base", "base", "--tasks", "tasks", "--block-params", "4K", "--rescale-per", "row"]


def fill_folder():
    values = random.Random(7)
    def tensors(change):
        return {"a": ([300, 200], [values.random() + change for _ in range(60000)]),
                "b": ([900], [values.random() for _ in range(900)])}
    save("base/model.safetensors", tensors(0))
    for name in ("french", "german"):
        save(f"tasks/{name}.safetensors", {**tensors(0.1), f"head.{name}": [1.0] * 70})


def make(n, *more):
    for i in random.sample(range(1, n + 1), n):
        emr("merge", *MERGE, *more, "--part", f"{i}/{n}", "-o", f"{i}.part")
    return [f"{i}.part" for i in random.sample(range(1, n + 1), n)]


def same(a, b):
    return pathlib.Path(a).read_bytes() == pathlib.Path(b).read_bytes()


def test_parts_are_the_bundle():
    fill_folder()
    for kind in ("mask", "two-sided", "sign", "thin", "levels"):
        emr("merge", *MERGE[:-2], "--modulator", kind, "-o", "whole.emr", "--force")
        for n in (1, 3, 9):
            for i in range(1, n + 1):
                emr("merge", *MERGE[:-2], "--modulator", kind, "--part", f"{i}/{n}", "-o", f"{n}.{i}.part", "--force")
            parts = [f"{n}.{i}.part" for i in random.sample(range(1, n + 1), n)]
            assert "joined" in emr("join", *parts, "-o", "joined.emr", "--force").out
            assert same("whole.emr", "joined.emr"), (kind, n)
    emr("verify", "joined.emr", "--base", "base")


def test_what_is_said():
    fill_folder()
    parts = make(3)
    told = emr("merge", *MERGE, "--part", "2/3", "-o", "2.part", "--force", "--json").json
    assert told["part"] == 2 and told["parts"] == 3 and told["bytes_in"] > 0
    plan = emr("merge", *MERGE, "--dry-run", "--parts", "3", "--rate", "1MB", "--json").json["parts"]
    assert [p["part"] for p in plan] == [1, 2, 3] and plan[1]["bytes_in"] == told["bytes_in"]
    assert abs(plan[0]["seconds"] - plan[0]["bytes_in"] / 1e6) < 1e-9
    for i, p in enumerate(plan):
        assert os.path.getsize(f"{i + 1}.part") <= p["bytes_out_at_most"]
    assert "part 3/3: reads" in emr("merge", *MERGE, "--dry-run", "--parts", "3").out
    assert emr("join", *parts, "-o", "all.emr", "--json").json == {"output": "all.emr", "parts": 3}


def test_what_is_refused():
    fill_folder()
    parts = make(3)
    emr("join", "1.part", "3.part", "-o", "x.emr", status=2).says("part 2")
    emr("join", *parts, "1.part", "-o", "x.emr", status=2).says("1.part")
    emr("join", "base/model.safetensors", "-o", "x.emr", status=1).says("is no part")
    emr("merge", *MERGE, "--part", "1/4", "-o", "other.part")
    emr("join", "1.part", "other.part", "-o", "x.emr", status=1).says("other.part")
    raw = bytearray(pathlib.Path("2.part").read_bytes())
    raw[len(raw) // 2] ^= 1
    pathlib.Path("2.part").write_bytes(raw)
    emr("join", *parts, "-o", "x.emr", status=1).says("2.part")
    pathlib.Path("2.part").write_bytes(raw[:-9])
    emr("join", *parts, "-o", "x.emr", status=1).says("2.part")
    assert not os.path.exists("x.emr")
    emr("join", "-o", "x.emr", status=2).says("PART")
    emr("join", *parts, status=2).says("-o OUT.emr")
    emr("join", *parts, "-o", "1.part", "--force", status=2).says("a part")
    for words in (["--part", "4/3"], ["--part", "0/3"], ["--part", "3"], ["--part", "1/3", "--resume"],
                  ["--parts", "3"], ["--rate", "1MB"], ["--part", "1/3", "--dry-run"]):
        emr("merge", *MERGE, *words, "-o", "y", status=2)
        assert not os.path.exists("y")


def test_parts_that_are_killed():
    """At any moment: a part is there when it is whole, and made again where it is not."""
    fill_folder()
    emr("merge", *MERGE, "-o", "whole.emr")
    parts = []
    for i in range(1, 5):
        parts.append(f"{i}.part")
        while not os.path.exists(parts[-1]):
            run = subprocess.Popen([EMR, "merge", *MERGE, "--part", f"{i}/4", "--quiet", "-o", parts[-1]])
            if random.random() < 0.7:
                time.sleep(random.random() * 0.05)
                run.kill()
            run.wait()
    emr("join", *parts, "-o", "all.emr")
    assert same("whole.emr", "all.emr")


def with_emr(**more):
    os.makedirs("bin", exist_ok=True)
    if not os.path.exists("bin/emr"):
        os.symlink(EMR, "bin/emr")
    return {**os.environ, "PATH": f"{os.getcwd()}/bin:{os.environ['PATH']}", **more}


def test_slurm():
    fill_folder()
    emr("merge", *MERGE, "-o", "whole.emr")
    for again in range(2):  # a second array leaves what is there
        before = {p: p.stat().st_mtime_ns for p in pathlib.Path("parts").glob("*")}
        for i in random.sample(range(1, 5), 4):
            subprocess.run([str(SCALE / "slurm.sh"), "4", "parts", *MERGE], check=True,
                           env=with_emr(SLURM_ARRAY_TASK_ID=str(i), SLURM_CPUS_PER_TASK="1"))
        assert all(p.stat().st_mtime_ns == t for p, t in before.items())
    emr("join", *map(str, pathlib.Path("parts").glob("*.part")), "-o", "all.emr")
    assert same("whole.emr", "all.emr")


def test_kubernetes():
    fill_folder()
    text = (SCALE / "kubernetes.yaml").read_text()
    n, = {int(found) for found in re.findall(r'^ *(?:completions: |- \{name: N, value: ")(\d+)', text, re.M)}
    command = json.loads(re.search(r"^ *command: (\[.*\])$", text, re.M)[1])
    for key in ("apiVersion: batch/v1", "kind: Job", "completionMode: Indexed"):
        assert re.search(rf"^ *{key}$", text, re.M)
    for i in range(n):
        subprocess.run(command, check=True, env=with_emr(N=str(n), DATA=os.getcwd(), JOB_COMPLETION_INDEX=str(i)))
    emr("join", *map(str, pathlib.Path("parts").glob("*.part")), "-o", "all.emr")
    emr("merge", "--base", "base", "--tasks", "tasks", "-o", "whole.emr")
    assert same("whole.emr", "all.emr")


run(globals())

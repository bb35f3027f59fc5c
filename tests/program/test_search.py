"""test_search.py - `emr search`: what it makes and in which order, against the algorithm and the formulas written down
here; going on after being killed; commands that fail, hang or have strange words; what it leaves behind."""
import json
import math
import os
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import sys

from program import EMR, Result, emr, load, run, save

# Scores a checkpoint, or the one file in a folder, by its checksum. Before, it appends the path to "calls", and does to the
# program what the file "trouble" says of this call.
SCORE = r'''
echo "$2" >> "$1/calls"
if [ -f "$1/trouble" ]; then
    read -r at signal < "$1/trouble"
    if [ "$(wc -l < "$1/calls")" -eq "$at" ]; then
        echo $$ > "$1/stray"
        kill -"$signal" "$(cat "$1/pid")"
        exec sleep 1000
    fi
fi
file=$2
if [ -d "$file" ]; then file=$file/model.safetensors; fi
echo "scoring $2"
cksum < "$file" | cut -d" " -f1
'''
NAMES = ["math", "code", "chat", "law"]


def world(n=3, seed=1, folders=False):
    """A base and models near it; the words for them, and those for the command."""
    draw = random.Random(seed)
    tensors = {"w": ([4, 6], [draw.gauss(0, 1) for _ in range(24)]), "b": [draw.gauss(0, 1) for _ in range(8)]}
    tail = "/model.safetensors" if folders else ".safetensors"
    save("base" + tail, tensors)
    for name in NAMES[:n]:
        save(name + tail, {"w": ([4, 6], [x + draw.gauss(0, .3) for x in tensors["w"][1]]),
                           "b": [x + draw.gauss(0, .3) for x in tensors["b"]]})
        if folders:
            pathlib.Path(name, "config.json").write_text('{"model_type": "toy"}')
    pathlib.Path("score.sh").write_text(SCORE)
    end = "" if folders else ".safetensors"
    words = ["--base", "base" + end]
    for name in NAMES[:n]:
        words += ["--task", f"{name}={name}{end}"]
    return words + ["--evaluate", "sh score.sh . {}"]


def entries(folder="out"):
    return [json.loads(line) for line in pathlib.Path(folder, "search.jsonl").read_text().splitlines()]


def scored(folder="out"):
    return {e["name"]: e for e in entries(folder) if "name" in e}


def left(folder="out"):
    return sorted(set(os.listdir(folder)) - {"search.jsonl"})


def calls():
    return pathlib.Path("calls").read_text().splitlines() if pathlib.Path("calls").exists() else []


def checksum(path):
    with open(path, "rb") as file:
        return int(subprocess.run(["cksum"], stdin=file, stdout=subprocess.PIPE, text=True).stdout.split()[0])


def timeless(folder):
    return [{k: v for k, v in e.items() if k != "milliseconds"} for e in entries(folder)]


# ---- the algorithm ----

def flat(path):
    return [x for values in load(path).values() for x in values]


def middle(a, b):
    """SLERP with t = 0.5, a tensor at a time."""
    out = {}
    for name in a:
        x, y = a[name], b[name]
        nx, ny = math.sqrt(sum(v * v for v in x)), math.sqrt(sum(v * v for v in y))
        dot = sum(v * w for v, w in zip(x, y)) / (nx * ny)
        angle = math.acos(max(-1, min(1, dot)))
        c = .5 if abs(dot) > .9995 else math.sin(angle / 2) / math.sin(angle)
        out[name] = [c * v + c * w for v, w in zip(x, y)]
    return out


def pearson(a, b):
    n, ma, mb = len(a), sum(a) / len(a), sum(b) / len(b)
    cov = sum((x - ma) * (y - mb) for x, y in zip(a, b))
    return cov / math.sqrt(sum((x - ma) ** 2 for x in a) * sum((y - mb) ** 2 for y in b))


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def greedy(given, score, kin, k=3, partner="lowest", pool="all", generations=20):
    """Algorithm 1 over tables: what is merged, in order, as (name, parents)."""
    known, made, generation, last = list(given), [], 1, []
    top = lambda: sorted(known, key=lambda n: (-score[n], n))[:k]
    done = lambda a, b: any({a, b} == set(p) for _, p in made)

    def make(name, a, b):
        if not done(a, b):
            made.append((name, [a, b]))
            known.append(name)

    def pairs(names):
        return [(a, b) for i, a in enumerate(names) for b in names[i + 1:]]

    for i, (a, b) in enumerate(pairs(given), 1):
        make(f"1-{i}", a, b)
    best, before = top(), None
    while best != before and generation < generations:
        generation, before, there = generation + 1, best, list(known)
        for i, (a, b) in enumerate(pairs(best), 1):
            make(f"{generation}-{i}", a, b)
        of = {"all": there, "top": best, "last": [n for n in there if n.startswith(f"{generation - 1}-")]}[pool]
        of = [n for n in of if n != best[0] and not done(n, best[0])]
        if of and partner != "none":
            pick = (min if partner == "lowest" else max)(of, key=lambda n: (kin(n, best[0]), n))
            make(f"{generation}-exp", pick, best[0])
        best = top()
    return made


def check_search(given, **rules):
    """The log and the candidates in `out`, of a run with --keep-all."""
    log = scored()
    path = lambda n: f"{n}.safetensors" if n in given else f"out/{n}.safetensors"
    tau = lambda n: [f32(x - y) for x, y in zip(flat(path(n)), flat("base.safetensors"))]
    kin = lambda a, b: pearson(tau(a), tau(b))
    order = greedy(given, {n: e["score"] for n, e in log.items()}, kin, **rules)
    assert [(e["name"], e["parents"]) for e in log.values() if e["generation"]] == order
    for name, (a, b) in order:
        assert abs(log[name]["kinship"] - kin(a, b)) < 1e-9
        for x, y in zip(load(path(name)).items(), middle(load(path(a)), load(path(b))).items()):
            assert x[0] == y[0] and all(abs(v - w) < 1e-6 for v, w in zip(x[1], y[1]))
    for name, entry in log.items():
        assert entry["score"] == checksum(path(name))
    return log


def test_a_search_is_the_algorithm():
    words = world(4)
    report = emr("search", *words, "--generations", 4, "--keep-all", "-o", "out", "--json").json
    log = check_search(NAMES, generations=4)
    best = max(log.values(), key=lambda e: e["score"])
    assert report["best"]["name"] == best["name"] and report["best"]["score"] == best["score"]
    assert [c["name"] for c in report["candidates"]] == list(log)
    assert left() == sorted(f"{n}.safetensors" for n in log if n not in NAMES)
    assert report["scored"] == len(log) == len(calls()) and report["from_log"] == report["without_score"] == 0


def test_rules_are_heard():
    words = world(4, seed=3)
    for rules in ({"partner": "highest", "k": 2}, {"partner": "none", "k": 4}, {"pool": "top"}, {"pool": "last", "k": 2}):
        options = [w for option, value in rules.items() for w in (f"--{option}", value)]
        emr("search", *words, *options, "--generations", 5, "--keep-all", "-o", "out", "--quiet")
        check_search(NAMES, generations=5, **rules)
        shutil.rmtree("out")


def test_the_lowest_can_be_the_best():
    words = world()
    report = emr("search", *words, "--minimise", "-o", "out", "--json", "--generations", 3).json
    assert report["best"]["score"] == min(e["score"] for e in scored().values())


def test_kinship_ends_it():
    words = world()
    report = emr("search", *words, "--stop-kinship", "-0.9", "-o", "out", "--json").json
    assert (report["end"], report["generations"]) == ("kinship", 1) and report["kinship"] > -.9
    assert entries()[-1] == {"end": "kinship", "generations": 1, "best": report["best"]["name"],
                             "score": report["best"]["score"]}
    report = emr("search", *words, "--metric", "euclid", "--stop-kinship", "1e9", "-o", "near", "--json").json
    assert report["end"] == "kinship" and report["kinship"] < 0  # as a similarity: minus the distance


def test_commands_are_averaged():
    words = world(2) + ["--evaluate", "sh score.sh . {} >&2; echo 8"]
    emr("search", *words, "--generations", 1, "-o", "out", "--keep-all", "--quiet")
    for name, entry in scored().items():
        assert entry["score"] == (8 + checksum(f"{name}.safetensors" if name in NAMES else f"out/{name}.safetensors")) / 2
    assert len(calls()) == 6


def test_folders_stay_folders():
    words = world(folders=True)
    emr("search", *words, "--generations", 2, "--keep-all", "-o", "out", "--quiet")
    assert set(calls()) == {*NAMES[:3], *(f"out/{n}" for n in left())}
    for name in left():
        assert sorted(os.listdir(f"out/{name}")) == ["config.json", "model.safetensors"]


# ---- going on ----

def start(*words, trouble=None):
    """Runs the program so that the command finds its process."""
    if trouble:
        pathlib.Path("trouble").write_text(trouble)
    with open("error_lines", "w") as lines:  # a pipe would be held open by a command that outlives the program
        done = subprocess.run(["/bin/sh", "-c", 'echo $$ > pid; exec "$0" "$@"', EMR, *map(str, words)], text=True,
                              stdout=subprocess.DEVNULL, stderr=lines)
    done.stderr = pathlib.Path("error_lines").read_text()
    pathlib.Path("trouble").unlink(missing_ok=True)
    return Result(done)


def end_stray():
    """What was killed could not end its command."""
    os.kill(int(pathlib.Path("stray").read_text()), signal.SIGKILL)


def test_a_killed_search_goes_on():
    words = world(4) + ["--generations", 4]
    whole = emr("search", *words, "-o", "whole", "--json").json
    n = len(calls())
    for at in (1, 4, 6, n):  # a model that was given, two candidates, the last one
        pathlib.Path("calls").unlink()
        shutil.rmtree("out", ignore_errors=True)
        killed = start("search", *words, "-o", "out", trouble=f"{at} {int(signal.SIGKILL)}")
        end_stray()
        assert killed.status == -signal.SIGKILL and len(calls()) == at
        again = emr("search", *words, "-o", "out", "--json").json
        assert len(calls()) == n + 1 and (again["from_log"], again["scored"]) == (at - 1, n - at + 1)
        assert again["candidates"] == whole["candidates"] and left() == left("whole")
        assert timeless("out")[1:] == timeless("whole")[1:]
        for name in left():
            assert pathlib.Path("out", name).read_bytes() == pathlib.Path("whole", name).read_bytes()


def test_an_interrupted_search_goes_on():
    words = world() + ["--generations", 3]
    stopped = start("search", *words, "-o", "out", trouble=f"5 {int(signal.SIGINT)}")
    assert stopped.status == 130, stopped.err
    assert len(scored()) == 4
    assert emr("search", *words, "-o", "out", "--json").json["from_log"] == 4


def test_half_a_line_is_forgotten():
    words = world() + ["--generations", 2]
    emr("search", *words, "-o", "out", "--quiet")
    log = pathlib.Path("out/search.jsonl")
    whole = log.read_bytes()
    lines = whole.splitlines(keepends=True)
    for cut in (len(whole) - 1, len(whole) - len(lines[-1]) - 7, len(lines[0]) + 1, len(lines[0]) - 1, 0):
        log.write_bytes(whole[:cut])
        emr("search", *words, "-o", "out", "--quiet")
        assert [json.loads(line) | {"milliseconds": 0} for line in log.read_bytes().splitlines()] == \
            [json.loads(line) | {"milliseconds": 0} for line in lines]
    lines[2] = b'{"name": \n'
    log.write_bytes(b"".join(lines))
    emr("search", *words, "-o", "out", status=1).says("search.jsonl: line 3 is damaged")


def test_more_generations_and_candidates_that_are_gone():
    words = world(seed=4)
    emr("search", *words, "--generations", 6, "-o", "whole", "--quiet", "--keep-all")
    emr("search", *words, "--generations", 2, "-o", "out", "--quiet")
    n = len(scored())
    for name in left():
        os.unlink(f"out/{name}")
    report = emr("search", *words, "--generations", 6, "-o", "out", "--json", "--keep-all").json
    assert report["from_log"] == n
    strip = lambda folder: [e for e in timeless(folder) if "name" in e]
    assert strip("out") == strip("whole")
    for name in left():  # made anew, they are the same
        assert pathlib.Path("out", name).read_bytes() == pathlib.Path("whole", name).read_bytes()


def test_other_settings_are_refused():
    words = world()
    emr("search", *words, "--generations", 1, "-o", "out", "--quiet")
    for more in (["--k", 2], ["--partner", "none"], ["--set", "t=0.4"], ["--minimise"], ["--evaluate", "echo 1 {}"],
                 ["--seed", 3], ["--method", "karcher"], ["--stop-kinship", 0.9], ["--keep", "b"],
                 ["--trials", 2, "--vary", "density", "--method", "ties", "--set", "weight=1"]):
        emr("search", *words, *more, "-o", "out", status=2).says("out/search.jsonl", "other settings")
    log = pathlib.Path("out/search.jsonl")
    log.write_text(log.read_text().replace('"emr_search":1', '"emr_search":2'))
    emr("search", *words, "-o", "out", status=1).says("newer version")
    log.write_text("{}\n")
    emr("search", *words, "-o", "out", status=1).says("is no log of emr search")


# ---- commands ----

def test_commands_that_give_no_score():
    words = world(4)[:-2]
    command = "case {} in *math*) exit 3;; *code*) echo 0.5; echo done;; *chat*) kill -9 $$;; *law*) echo 7;; esac"
    report = emr("search", *words, "--evaluate", command, "-o", "out", "--json").json
    log = scored()
    assert [log[n].get("failure") for n in NAMES] == ["exit status 3", "its last line is no number: 'done'",
                                                     "ended by signal 9", None]
    assert [log[n]["score"] for n in NAMES] == [None, None, None, 7.0] and list(log) == NAMES  # one alone merges with none
    assert (report["best"]["name"], report["without_score"]) == ("law", 3)
    for text, why in (("", "it printed nothing"), ("nan", "'nan'"), ("inf", "'inf'"), ("0x10", "'0x10'"), ("1 2", "'1 2'"),
                      ("1e999", "'1e999'"), ("1" * 300, "is no number")):
        shutil.rmtree("out")
        emr("search", *words, "--evaluate", f"echo '{text}' # {{}}", "-o", "out", status=2).says("no model has a score")
        assert why in scored()["math"]["failure"]
    for text, value in (("  -1.5e-3\t", -.0015), ("+3", 3), ("0.25\\n\\n \\n", .25)):
        shutil.rmtree("out")
        emr("search", *words, "--evaluate", f"printf '{text}' # {{}}", "--generations", 1, "-o", "out", "--quiet")
        assert all(e["score"] == value for e in scored().values())


def test_a_failure_can_end_it():
    words = world()[:-2]
    command = "case {} in *code*) exit 5;; *) echo 1;; esac"
    emr("search", *words, "--evaluate", command, "--on-failure", "stop", "-o", "out", status=1).says("'code'", "exit status 5")
    assert list(scored()) == ["math"]
    emr("search", *words, "--evaluate", "no-such-command {}", "-o", "none", status=2).says("cannot run", "exit status 127")
    emr("search", *words, "--evaluate", "echo 1", "-o", "none", status=2).says("does not say where")


def test_failures_can_be_tried_again():
    words = world()[:-2] + ["--generations", 2, "--evaluate", "case {} in *code*) cat mended;; *) echo 1;; esac"]
    emr("search", *words, "-o", "out", "--quiet")
    assert scored()["code"]["score"] is None
    pathlib.Path("mended").write_text("2\n")
    assert emr("search", *words, "-o", "out", "--json").json["without_score"] == 1
    report = emr("search", *words, "-o", "out", "--json", "--retry").json
    assert report["without_score"] == 0 and scored()["code"]["score"] == 2
    assert emr("search", *words, "-o", "out", "--json").json["scored"] == 0


def test_a_command_that_hangs_is_ended():
    words = world(2)[:-2]
    command = "echo $$ >> shells; sleep 1000 & echo $! >> shells; wait; echo {}"
    emr("search", *words, "--evaluate", command, "--timeout", "0.3", "-o", "out", status=2).says("no model has a score")
    assert scored()["math"]["failure"] == "not done after 0.3 s"
    shells = pathlib.Path("shells").read_text().split()
    assert len(shells) == 4
    for pid in shells:
        try:
            state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        assert state == "Z", f"process {pid} is alive"
    emr("search", *words, "--evaluate", "echo {}", "--timeout", "0", "-o", "out", status=2).says("must be above 0")


def test_what_a_command_leaves_running_is_not_waited_for():
    words = world()[:-1]
    pathlib.Path("wait.sh").write_text('sleep 300 2> errors & echo $! >> strays\necho 0.5\n')
    report = emr("search", *words, "sh wait.sh {}", "--generations", 1, "-o", "out", "--json").json
    assert report["best"]["score"] == 0.5
    for stray in pathlib.Path("strays").read_text().split():
        os.kill(int(stray), signal.SIGKILL)


def test_no_name_becomes_a_command():
    """Paths with everything that a shell reads, within quotes of all kinds and without."""
    world(2)
    evil = "-a 'b\" $(touch hacked) `touch hacked`; touch hacked & \\ * {} x\t|y"
    for name in ("math", "code"):
        os.rename(f"{name}.safetensors", f"{evil}{name}.safetensors")
    words = ["--base", "base.safetensors", f"--task=a b'\"$(touch hacked)={evil}math.safetensors",
             f"--task=code={evil}code.safetensors"]
    script = 'import sys; assert len(sys.argv) == 3 and open(sys.argv[1]).read() == "x"; open(sys.argv[2], "rb"); print(1)'
    pathlib.Path("check.py").write_text(script)
    pathlib.Path("x").write_text("x")
    for i, place in enumerate(("{}", '"{}"', "'{}'", '"${nothing}{}"')):
        out = f"{evil}{i}"
        emr("search", *words, "--evaluate", f"{sys.executable} check.py x {place}", "--generations", 1, "-o", f"./{out}",
            "--quiet")
        assert all(e["score"] == 1 for e in scored(out).values()) and len(scored(out)) == 3
        assert left(out) == ["1-1.safetensors"]
    assert not os.path.exists("hacked")
    emr("search", *words, "--evaluate", "test \\{} = '{'} && echo {} > paths && echo 1", "--generations", 1, "-o", "plain",
        "--quiet")


# ---- what is there, and what is left ----

def test_what_is_not_needed_goes():
    words = world(4)[:-2]
    pathlib.Path("count.sh").write_text('ls out | grep -c safetensors >> counts; cat "$1" | cksum | cut -d" " -f1')
    for pool in ("top", "last", "all"):
        words_now = [*words, "--evaluate", "sh count.sh {}", "--pool", pool, "--generations", 6]
        plan = emr("search", *words_now, "-o", "out", "--dry-run", "--json").json
        assert not os.path.exists("out")
        report = emr("search", *words_now, "-o", "out", "--json").json
        counts = [int(n) for n in pathlib.Path("counts").read_text().split()]
        assert max(counts) <= plan["candidates_on_disk_at_most"]
        assert len(counts) <= plan["models_at_most"]
        size = os.path.getsize("base.safetensors")
        assert 0 < plan["candidate_bytes"] < size and plan["free_bytes"] > 0
        best = report["best"]
        assert left() == ([f"{best['name']}.safetensors"] if best["generation"] else [])
        assert best["path"] == (f"out/{best['name']}.safetensors" if best["generation"] else f"{best['name']}.safetensors")
        shutil.rmtree("out")
        os.unlink("counts")


def test_folders_of_others_are_left_alone():
    words = world()
    os.mkdir("mine")
    save("mine/1-1.safetensors", {"w": [1]})
    emr("search", *words, "-o", "mine", status=2).says("holds something else than a search")
    emr("search", *words, "-o", "score.sh", status=2).says("is no folder")
    emr("search", *words, "-o", "no/such", status=3).says("no/such")
    emr("search", *words, "-o", "out", "--generations", 1, "--keep-all", "--quiet")
    emr("search", *words, "--task", "more=out/1-1.safetensors", "-o", "out", status=2).says("lies in out")
    shutil.copy("base.safetensors", "out/base.safetensors")
    emr("search", "--base", "out/base.safetensors", *words[2:], "-o", "out", status=2).says("the base", "lies in out")
    assert os.listdir("mine") == ["1-1.safetensors"]


def test_one_run_at_a_time():
    words = world(2)[:-2]
    inner = f"{EMR} search {' '.join(words)} --evaluate 'echo 1 {{}}' -o out 2> inner; echo $? > inner_status; echo 1 {{}} | cut -c1"
    pathlib.Path("inner.sh").write_text(inner.replace("{}", '"$1"').replace('echo 1 "$1"\' -o', "echo 1 {}' -o"))
    emr("search", *words, "--evaluate", "sh inner.sh {}", "-o", "out", "--generations", 1, "--quiet")
    assert pathlib.Path("inner_status").read_text() == "2\n"
    assert "another emr search is at work there" in pathlib.Path("inner").read_text()


def test_wrong_calls():
    words = world()
    for more, text in ((["--k", 0], "--k"), (["--generations", "x"], "--generations"), (["--partner", "some"], "--partner"),
                       (["--trials", 3], "--vary"), (["--vary", "t"], "--trials"), (["--method", "none"], "no method"),
                       (["--method", "passthrough"], "does not merge two"), (["--set", "t=2"], "t"),
                       (["--set", "math.t=0.5"], "is no task here"), (["--stop-kinship", "x"], "is no number"),
                       (["extra"], "not expected here"), (["--trials", 3, "--vary", "t", "--k", 2], "--k is of greedy")):
        emr("search", *words, *more, "-o", "out", status=2).says(text)
    emr("search", *words[2:], "-o", "out", status=2).says("--base CHECKPOINT is missing")
    emr("search", *words[2:], "--partner", "none", "--generations", 2, "-o", "free", "--quiet")
    assert all(e.get("kinship") is None for e in scored("free").values())
    emr("search", *words[:-2], "-o", "out", status=2).says("--evaluate")
    emr("search", *words, "-o", "-", status=2).says("needs a folder")
    emr("search", *words, status=2).says("-o DIR is missing")
    assert not os.path.exists("out")


def test_one_model_is_the_best_of_one():
    words = world(1)
    report = emr("search", *words, "-o", "out", "--json").json
    assert report["best"]["name"] == "math" and report["best"]["path"] == "math.safetensors" and left() == []


# ---- trials ----

def philox(counter, key):
    c, k = list(counter), [key & 0xffffffff, key >> 32]
    for _ in range(10):
        a, b = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [b >> 32 ^ c[1] ^ k[0], b & 0xffffffff, a >> 32 ^ c[3] ^ k[1], a & 0xffffffff]
        k = [(k[0] + 0x9E3779B9) & 0xffffffff, (k[1] + 0xBB67AE85) & 0xffffffff]
    return c


def drawn(seed, number, n):
    words = [w for q in range((n + 3) // 4) for w in philox((q, number, 0x54524d45, 0), seed)]
    return [(w + 1) / 2 ** 32 for w in words[:n]]


TRIALS = ["--method", "ties", "--set", "weight=1", "--vary", "density,weight,lambda"]


def test_trials_draw_what_they_say():
    words = world() + TRIALS + ["--seed", 12345678901]
    report = emr("search", *words, "--trials", 6, "-o", "out", "--json").json
    log = scored()
    for i, (name, entry) in enumerate(log.items(), 1):
        values = drawn(12345678901, i, 7)
        assert (name, entry["trial"]) == (f"trial-{i}", i)
        assert entry["values"] == {"density": dict(zip(NAMES[:3], values)), "weight": dict(zip(NAMES[:3], values[3:])),
                                   "lambda": values[6]}
    best = max(log.values(), key=lambda e: e["score"])
    assert report["best"]["name"] == best["name"] and report["best"]["values"] == best["values"]
    assert left() == [f"{best['name']}.safetensors"]
    made = pathlib.Path(report["best"]["path"]).read_bytes()
    os.unlink(report["best"]["path"])  # it comes back
    emr("search", *words, "--trials", 6, "-o", "out", "--quiet")
    assert pathlib.Path(report["best"]["path"]).read_bytes() == made and len(calls()) == 6
    settings = [w for parameter in ("density", "weight") for t in NAMES[:3]
                for w in ("--set", f"{t}.{parameter}={best['values'][parameter][t]!r}")]
    emr("combine", *[w for w in words[:words.index("--evaluate")]], "--method", "ties", *settings, "--set",
        f"lambda={best['values']['lambda']!r}", "-o", "same.safetensors", "--quiet")
    assert load("same.safetensors") == load(report["best"]["path"])


def test_trials_go_on():
    words = world() + TRIALS
    emr("search", *words, "--trials", 8, "-o", "whole", "--quiet", "--keep-all")
    assert len(left("whole")) == 8
    emr("search", *words, "--trials", 3, "-o", "out", "--quiet")
    report = emr("search", *words, "--trials", 8, "-o", "out", "--json").json
    assert (report["from_log"], report["scored"]) == (3, 5)
    assert [e for e in timeless("out") if "name" in e] == [e for e in timeless("whole") if "name" in e]
    plan = emr("search", *words, "--trials", 8, "-o", "out", "--dry-run", "--json").json
    assert (plan["models_at_most"], plan["candidates_on_disk_at_most"]) == (8, 2)


def test_one_model_is_merged_with_itself():
    words = world(1) + ["--method", "ties", "--set", "weight=1", "--vary", "density", "--trials", 4]
    emr("search", *words, "-o", "out", "--quiet", "--keep-all")
    base, tuned = flat("base.safetensors"), flat("math.safetensors")
    for entry in scored().values():
        values = flat(f"out/{entry['name']}.safetensors")
        changed = sum(x != y for x, y in zip(values, base))
        assert 0 < changed <= len(values) * entry["values"]["density"]["math"] + 1
        assert all(x == y or abs(x - z) < 1e-6 for x, y, z in zip(values, base, tuned))


def test_wrong_trials():
    words = world()
    for more, text in ((["--vary", "speed", "--method", "ties"], "has no parameter 'speed'"),
                       (["--vary", "density,density", "--method", "ties"], "stands there twice"),
                       (["--vary", "max_iter", "--method", "karcher"], "is no number from 0 to 1"),
                       (["--vary", "density"], "--method M is missing"), (["--vary", "density", "--method", "ties"], "weight")):
        emr("search", *words, "--trials", 2, *more, "-o", "out", status=2).says(text)


run(globals())

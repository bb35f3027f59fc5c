"""places.py - the program where its files are: every failed write says why, to whatever it was; models of many files are
merged under a low limit of open ones.

    places.py EMR
"""
import json
import os
import pathlib
import resource
import struct
import subprocess
import sys
import tempfile

SHARDS, TASKS = 40, 7


def save(path, tensors):
    header, data = {}, b""
    for name, values in tensors.items():
        raw = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": [len(values)], "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def limit(what, soft, hard=None):
    """For a child: its soft limit, and the hard one where that is given."""
    return lambda: resource.setrlimit(what, (soft, resource.getrlimit(what)[1] if hard is None else hard))


class Emr:
    def __init__(self, program, directory):
        self.program, self.directory, self.n = os.path.abspath(program), directory, 0

    def __call__(self, *arguments, status=0, says="", **more):
        more = {"stdout": subprocess.PIPE, **more}
        done = subprocess.run([self.program, *map(str, arguments)], cwd=self.directory, stderr=subprocess.PIPE, **more)
        message = done.stderr.decode()
        if done.returncode != status or says not in message or message.count("\n") != bool(status):
            sys.exit(f"emr {' '.join(map(str, arguments))}: status {done.returncode} for {status}, "
                     f"{message!r} for {says!r}")
        self.n += 1
        return done.stdout


def check_standard_output(emr, size):
    """What a command prints, or writes with -o -, goes to a full device, a pipe that nobody reads, or nowhere."""
    base, task, bundle = f"base{size}.safetensors", f"task{size}.safetensors", f"all{size}.emr"
    save(emr.directory / base, {f"w{i}": [0.0] * 4 for i in range(size)})
    save(emr.directory / task, {f"w{i}": [i + 0.5] * 4 for i in range(size)})
    merge = "merge", "--base", base, "--task", f"t={task}", "--force", "-o"
    emr(*merge, bundle)
    commands = [(*merge, "-"), (*merge, bundle), (*merge, bundle, "--json"), ("apply", bundle, "--task", "t", "--base", base, "-o", "-"),
                ("inspect", bundle), ("inspect", bundle, "--json"), ("verify", bundle), ("--help",), ("--version",)]
    for command in commands:
        with open("/dev/full", "wb") as full:
            emr(*command, stdout=full, status=3, says="No space left on device")
        reader, writer = os.pipe()
        os.close(reader)
        emr(*command, stdout=writer, status=3, says="Broken pipe")
        os.close(writer)
        emr(*command, stdout=None, preexec_fn=lambda: os.close(1), status=3, says="Bad file descriptor")
    emr("apply", bundle, "--task", "t", "--base", base, "-o", "again.safetensors", "--quiet", "--force", stdout=None,
        preexec_fn=lambda: os.close(1))  # nothing is printed, and nothing else becomes standard output
    emr(*merge, bundle)
    assert emr(*merge, "-") == (emr.directory / bundle).read_bytes()


def check_files(emr):
    """Outputs that become too long, or whose directory is not there: a reason, and nothing is left."""
    values = [float(i % 97) for i in range(300000)]
    save(emr.directory / "base.safetensors", {"w": [0.0] * len(values)})
    save(emr.directory / "task.safetensors", {"w": values})
    merge = "merge", "--base", "base.safetensors", "--task", "t=task.safetensors", "-o"
    apply = "apply", "all.emr", "--base", "base.safetensors", "--task", "t", "-o"
    emr(*merge, "all.emr")
    before = sorted(emr.directory.iterdir())
    small = {"preexec_fn": limit(resource.RLIMIT_FSIZE, 20000), "status": 3, "says": "File too large"}
    for command, output in [(merge, "x.emr"), (apply, "x.safetensors"), (apply, "dir")]:
        emr(*command, output, *(["--shard-size", "500K"] if output == "dir" else []), **small)
        if output != "dir":
            emr(*command, "nowhere/" + output, status=3, says="No such file or directory")
    assert sorted(emr.directory.iterdir()) == before, sorted(emr.directory.iterdir())


def check_many_files(emr):
    models = ["b", *(f"t{i}" for i in range(TASKS))]
    for k, model in enumerate(models):
        names = [f"model-{i + 1:05}-of-{SHARDS:05}.safetensors" for i in range(SHARDS)]
        for i, name in enumerate(names):
            save(emr.directory / model / name, {f"l{i}": [k + i / 8] * 4})
        weights = {f"l{i}": name for i, name in enumerate(names)}
        (emr.directory / model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))
    tasks = [a for model in models[1:] for a in ("--task", f"{model}={model}")]
    for out, limits in [("usual.emr", {}), ("soft.emr", {"preexec_fn": limit(resource.RLIMIT_NOFILE, 64)}),
                        ("hard.emr", {"preexec_fn": limit(resource.RLIMIT_NOFILE, 100, 100)})]:
        emr("merge", "--base", "b", *tasks, "-o", out, **limits)
        assert (emr.directory / out).read_bytes() == (emr.directory / "usual.emr").read_bytes(), out
    emr("merge", "--base", "b", *tasks, "-o", "none.emr", status=3, says="ulimit -n",
        preexec_fn=limit(resource.RLIMIT_NOFILE, 20, 20))


def main(program):
    with tempfile.TemporaryDirectory() as directory:
        emr = Emr(program, pathlib.Path(directory))
        for size in (1, 3000):
            check_standard_output(emr, size)
        check_files(emr)
        check_many_files(emr)
        print(f"{emr.n} calls")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""program.py - what the tests of the program share: checkpoints written and read by hand, the program, and a runner that
gives every test a folder of its own. Values are F32."""
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import traceback

EMR = os.path.abspath(sys.argv[1])


def save(path, tensors):
    """tensors: name -> list of numbers, or (shape, list of numbers)"""
    header, data = {}, b""
    for name, value in tensors.items():
        shape, values = value if isinstance(value, tuple) else ([len(value)], value)
        raw = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def save_shards(folder, stem, tensors, index=True):
    """A shard for each tensor, and their index."""
    names = {name: f"{stem}-{i + 1:05}-of-{len(tensors):05}.safetensors" for i, name in enumerate(tensors)}
    for name, file in names.items():
        save(pathlib.Path(folder) / file, {name: tensors[name]})
    path = pathlib.Path(folder) / f"{stem}.safetensors.index.json"
    if index:
        path.write_text(json.dumps({"weight_map": names}))
    return path


def load(path):
    raw = pathlib.Path(path).read_bytes()
    size, = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8:8 + size])
    header.pop("__metadata__", None)
    return {name: list(struct.unpack(f"<{(t['data_offsets'][1] - t['data_offsets'][0]) // 4}f",
                                     raw[8 + size + t["data_offsets"][0]:8 + size + t["data_offsets"][1]]))
            for name, t in header.items()}


class Result:
    def __init__(self, done):
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr
        self.words = " ".join(map(str, done.args[1:]))

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def notes(self):
        return [line for line in self.err.splitlines() if line.startswith("emr: note: ")]

    def says(self, *texts):
        for text in texts:
            assert text in self.err, f"emr {self.words}: '{text}' is not in: {self.err}"
        return self


def emr(*words, status=0, **options):
    """Runs the program in the test's folder."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    done = subprocess.run([EMR, *map(str, words)], text=True, errors="replace", **options)
    result = Result(done)
    assert done.returncode == status, f"emr {result.words}: {done.returncode}, {done.stderr}"
    return result


def tasks_of(bundle):
    return [task["name"] for task in emr("inspect", bundle, "--json").json["tasks"]]


def unchanged(paths):
    """What files hold, to be compared afterwards."""
    return {path: pathlib.Path(path).read_bytes() for path in paths}


def run(tests):
    """Runs every function that is called test_..., each in an empty folder."""
    found = {name: test for name, test in tests.items() if name.startswith("test_")}
    failures, home = [], os.getcwd()
    for name, test in found.items():
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                test()
            except Exception:
                failures.append(name)
                print(f"FAILED {name}\n{traceback.format_exc()}", file=sys.stderr)
            finally:
                os.chdir(home)
    print(f"{len(found)} tests, {len(failures)} failed{': ' + ', '.join(failures) if failures else ''}")
    sys.exit(1 if failures or not found else 0)

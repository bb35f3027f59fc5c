#!/usr/bin/env python3
"""test_reader.py - the golden bundles of format 1.0, read by the independent reader and by the program of this build: both give the
same weights bit for bit; bundles without zstd frames are written again to the same bytes; and damage is found.

    test_reader.py EMR GOLDEN [--write]      (--write makes the golden bundles anew: for a new feature, never for a change)
"""
import pathlib
import random
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from emr_reader import Bundle, Refused, read_safetensors  # noqa: E402


def run(*words):
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, words))}: {done.stderr}"


def table(golden):
    """File, folder of the inputs, how many tasks, options."""
    for line in (golden / "bundles" / "bundles.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, folder, *options = line.split()
            yield golden / "bundles" / name, golden / folder, len(list((golden / folder).glob("t*.safetensors"))), options


def merge(emr, folder, n_tasks, options, out):
    tasks = [word for t in range(n_tasks) for word in ("--task", f"t{t}={folder}/t{t}.safetensors")]
    run(emr, "merge", "--base", folder / "base.safetensors", *tasks, *options, "--quiet", "-o", out)


def check_weights(emr, path, folder, n_tasks, scratch):
    bundle = Bundle(path.read_bytes())
    bundle.verify()
    run(emr, "verify", path, "--base", folder / "base.safetensors", "--quiet")
    base = read_safetensors(folder / "base.safetensors")
    for t in range(n_tasks):
        out = scratch / "out.safetensors"
        run(emr, "apply", path, "--task", f"t{t}", "--base", folder / "base.safetensors", "--quiet", "--force", "-o", out)
        got, want = read_safetensors(out), bundle.model(f"t{t}", base)
        assert set(got) == set(want), f"{path.name}: t{t} has other tensors"
        for name in want:
            assert got[name] == want[name], f"{path.name}: t{t}: {name} differs"
        if bundle.has_base:
            assert bundle.model(f"t{t}") == want, f"{path.name}: t{t} from the embedded base differs"
    return bundle


def check_damage(path):
    data = bytearray(path.read_bytes())
    for bit in random.Random(1).sample(range(len(data) * 8), 400):
        data[bit // 8] ^= 1 << bit % 8
        try:
            Bundle(bytes(data)).verify()
            raise AssertionError(f"{path.name}: bit {bit} was flipped and not found")
        except Refused:
            data[bit // 8] ^= 1 << bit % 8


def main(words):
    emr, golden, n, same = pathlib.Path(words[0]), pathlib.Path(words[1]), 0, 0
    features = set()
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        for path, folder, n_tasks, options in table(golden):
            if "--write" in words:
                path.unlink(missing_ok=True)
                merge(emr, folder, n_tasks, options, path)
            bundle = check_weights(emr, path, folder, n_tasks, scratch)
            features |= {f"codec {b[3]}" for b in bundle.blocks} | {f"stream {s[0]}" for s in bundle.all_streams}
            features |= {f"rule {bundle.rule}", f"per {bundle.per}", f"tie {bundle.tie}", f"unified {bundle.unified_dtype}"}
            if "--zstd-level 0" in " ".join(options):
                merge(emr, folder, n_tasks, [*options, "--force"], scratch / "again.emr")
                assert (scratch / "again.emr").read_bytes() == path.read_bytes(), f"{path.name} is written otherwise now"
                same += 1
            if n % 5 == 0:
                check_damage(path)
            n += 1
    wanted = {f"codec {i}" for i in range(4)} | {f"stream {i}" for i in range(1, 12)}
    wanted |= {f"{what} {i}" for what, most in (("rule", 3), ("per", 3), ("tie", 2)) for i in range(most)} | {"unified 1", "unified 2", "unified 3"}
    assert wanted <= features, f"no golden bundle has {sorted(wanted - features)}"
    print(f"{n} golden bundles read, {same} written again to the same bytes")
    assert n and same


if __name__ == "__main__":
    main(sys.argv[1:])

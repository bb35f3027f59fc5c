#!/usr/bin/env python3
"""Runs emr-llama and emr-ggml over a tiny model, and prints what comes out as a table: for each type of the base and
each task, the perplexity of

    file       the model that `emr apply` writes, quantised to that type
    base       the base alone
    products   the base, to whose products the bundle's changes are added, all tasks in one batch
    switched   the base, over whose weights the bundle writes a task's

and the largest difference of their logits from the file's. What must be equal to the last bit is compared to the last bit.

    integrations/llama.cpp/run.py [--build DIR] [--llama PREFIX] [--work DIR]

Needs libemr built by meson, cmake, ninja and a C++ compiler; llama.cpp, unless it is installed under PREFIX, is fetched as the
sdist of llama-cpp-python by pip, and built once in the working directory (build-llama/), where later runs find it.

Exit status: 0 all is well; 1 something is not; 77 llama.cpp cannot be had here."""
import argparse
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import venv

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SDIST = "llama-cpp-python==0.3.36"
LIBRARIES_ONLY = [
    "LLAMA_BUILD_COMMON", "LLAMA_BUILD_TESTS", "LLAMA_BUILD_EXAMPLES", "LLAMA_BUILD_TOOLS", "LLAMA_BUILD_SERVER",
    "LLAMA_BUILD_APP", "LLAMA_CURL", "LLAMA_OPENSSL", "GGML_OPENMP",
]  # fmt: skip
ALONE = ("--threads", "1")  # a model this small gains nothing from more, and ggml's threads spin while they wait
TASKS = ("abc", "fly", "sum")
TYPES = ("F32", "F16", "Q8_0", "Q4_0", "Q4_K_M")


class Unavailable(Exception):
    """llama.cpp cannot be had."""


def call(*command, **options):
    """Runs a command; its output is of interest only if it fails."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **options)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done.stdout


def python_with_gguf(work):
    """Starts this script again in a virtual environment, if this Python has no gguf."""
    if all(importlib.util.find_spec(name) for name in ("gguf", "numpy")):
        return
    for directory in (ROOT / ".venv", work / "venv"):
        python = directory / "bin" / "python"
        if sys.prefix == str(directory):
            raise RuntimeError(f"{directory} has not the packages gguf and numpy")
        if directory.name == "venv" and not python.exists():
            venv.create(directory, with_pip=True)
            call(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "gguf==0.19.0", "numpy")
        if python.exists() and not subprocess.run([python, "-c", "import gguf, numpy"], stderr=subprocess.DEVNULL).returncode:
            os.execv(python, [str(python), *sys.argv])


def get_llama(work):
    """llama.cpp's libraries and headers, built once; where they are installed."""
    prefix = work / "llama-install"
    if (prefix / "built").exists():
        return prefix
    source = work / "llama-source"
    if not source.exists():
        downloads = work / "downloads"
        try:
            call(sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "llama-cpp-python", "--retries", "1",
                 "--disable-pip-version-check", "--dest", downloads, SDIST)  # fmt: skip
            archive = next(downloads.glob("llama_cpp_python-*.tar.gz"))
        except (RuntimeError, StopIteration) as error:
            raise Unavailable(f"pip could not download {SDIST}: {str(error).strip().splitlines()[-1]}") from error
        with tarfile.open(archive) as tar:
            tar.extractall(work / "unpacked", filter="data") if hasattr(tarfile, "data_filter") else tar.extractall(work / "unpacked")
        next((work / "unpacked").glob("llama_cpp_python-*")).rename(source)
    print(f"building llama.cpp in {work} (minutes; once)", flush=True)
    call("cmake", "-G", "Ninja", "-S", source / "vendor" / "llama.cpp", "-B", work / "llama-build",
         "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=ON", f"-DCMAKE_INSTALL_PREFIX={prefix}",
         "-DCMAKE_INSTALL_LIBDIR=lib", *[f"-D{name}=OFF" for name in LIBRARIES_ONLY])  # fmt: skip
    call("ninja", "-C", work / "llama-build", "install")
    shutil.rmtree(work / "llama-build")
    (prefix / "built").touch()
    return prefix


def build_programs(build, work, llama):
    """emr-llama and emr-ggml against the libemr of a build directory of meson's."""
    staged = work / "libemr"
    if not (build / "build.ninja").exists():
        raise RuntimeError(f"{build} is no build directory: `make` makes build/, or say --build DIR")
    for left in (staged, work / "programs"):
        shutil.rmtree(left, ignore_errors=True)
    call("meson", "install", "-C", build, "--destdir", staged)
    package = next(staged.rglob("libemr.pc"))
    package.write_text(package.read_text().replace("prefix=/", f"prefix={staged}/", 1))
    environment = {**os.environ, "PKG_CONFIG_PATH": str(package.parent)}
    call("cmake", "-G", "Ninja", "-S", HERE, "-B", work / "programs", f"-DCMAKE_PREFIX_PATH={llama}", env=environment)
    call("ninja", "-C", work / "programs", env=environment)
    libraries = [str(llama / "lib"), str(package.parent.parent)]
    os.environ["LD_LIBRARY_PATH"] = ":".join(libraries + [os.environ.get("LD_LIBRARY_PATH", "")])
    return next(staged.rglob("bin/emr"))


class Checks:
    passed = 0
    failed = 0

    def check(self, good, sentence):
        if good:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAILED: {sentence}", flush=True)


class Bench:
    """One model with its tasks: files, bundles, and what emr-llama says of them."""

    def __init__(self, directory, emr, program, checks, options=()):
        import numpy

        self.np, self.d, self.emr, self.program, self.checks = numpy, directory, emr, program, checks
        call(sys.executable, HERE / "make_model.py", directory, *options)

    def merge(self, name, precision, *options):
        """A bundle, and each task's file out of it."""
        base = self.d / f"base-{precision}.gguf"
        tasks = [f"--task={task}={self.d / f'{task}-{precision}.gguf'}" for task in TASKS]
        bundle = self.d / f"{name}.emr"
        call(self.emr, "merge", "--base", base, *tasks, "-o", bundle, "--force", *options)
        for task in TASKS:
            call(self.emr, "apply", bundle, "--base", base, "--task", task, "-o", self.d / f"{name}-{task}.gguf", "--force")
        return bundle

    def quantised(self, path, kind):
        out = path.with_suffix(f".{kind}.gguf")
        if not out.exists():
            call(self.program, *ALONE, "--quantise", kind, out, path)
        return out

    def measure(self, jobs, *arguments):
        """Perplexity and logits of each of [(task, text)]."""
        texts = [word for task, text in jobs for word in ("--perplexity", f"{task}:{self.d / text}.txt")]
        out = call(self.program, *ALONE, *texts, "--logits", self.d / "logits", *arguments)
        found = [float(line.rsplit(" ", 1)[1]) for line in out.splitlines()]
        logits = [self.np.fromfile(self.d / f"logits.{i}", "<f4") for i in range(len(jobs))]
        return list(zip(found, logits))

    def difference(self, a, b):
        """'0' where two arrays have the same bits."""
        return "0" if a.tobytes() == b.tobytes() else f"{self.np.abs(a - b).max():.2g}"

    def rows(self, title, bundle, kind):
        """Rows of the table for one bundle and one type of the base."""
        precision = "f16" if kind == "F16" else "f32"
        base = self.d / f"base-{precision}.gguf"
        files = {task: self.d / f"{bundle.stem}-{task}.gguf" for task in TASKS}
        model = base
        if kind not in ("F32", "F16"):
            model = self.quantised(base, kind)
            files = {task: self.quantised(path, kind) for task, path in files.items()}
        own = [(task, task) for task in TASKS]
        alone = self.measure([("base", task) for task in TASKS], model)
        switched = self.measure(own, model, bundle, "--base", base)
        products = self.measure(own, model, bundle, "--products")
        for i, task in enumerate(TASKS):
            where = f"{title}, {kind}, {task}"
            file = self.measure([("base", task)], files[task])[0]
            apart = self.difference(switched[i][1], file[1])
            added = self.difference(products[i][1], file[1])
            print(f"{title:14} {kind:7} {task:5} {file[0]:9.3f} {alone[i][0]:9.3f} {products[i][0]:9.3f} "
                  f"{switched[i][0]:9.3f}    {added:>9} {apart:>9}", flush=True)  # fmt: skip
            self.checks.check(apart == "0", f"{where}: switched logits are not those of the file, to the bit")
            self.checks.check(abs(products[i][0] / file[0] - 1) < 0.05, f"{where}: products have another perplexity than the file")
            self.checks.check(alone[i][0] > 2 * file[0], f"{where}: the base is no worse than the task, so this table says nothing")
        self.mixed(f"{title}, {kind}", model, bundle, products[0][1], alone[0][1])

    def mixed(self, where, model, bundle, among_tasks, alone):
        """A row of a batch does not depend on the others' tasks; the base in products is the base."""
        first, second, third = TASKS
        others = self.measure([(first, first), (first, second), ("base", third)], model, bundle, "--products")[0][1]
        self.checks.check(self.difference(others, among_tasks) == "0", f"{where}: a task's logits depend on the tasks beside it")
        base = self.measure([("base", first)], model, bundle, "--products")[0][1]
        self.checks.check(self.difference(base, alone) == "0", f"{where}: the base, asked for as a task, is not the base")

    def answers(self, bundle):
        """Prompts for several tasks in one process, both ways."""
        requests = [word for task in (*TASKS, "base", TASKS[0]) for word in ("--request", f"{task}:badefi")]
        print()
        by_switching, by_products = (
            call(self.program, *ALONE, *requests, "--predict", 8, self.d / "base-f32.gguf", bundle, *way) for way in ((), ("--products",))
        )
        print(by_switching, end="")
        self.checks.check(by_switching == by_products, "answers in one batch are not those of switching")
        lines = by_switching.splitlines()
        self.checks.check(len(lines) == 5 and lines[0] == lines[4] and len(set(lines)) == 4, "tasks answer alike")

    def refusals(self, bundle):
        """What cannot be is refused with a sentence."""
        base, quantised = self.d / "base-f32.gguf", self.d / "base-f32.Q8_0.gguf"
        ask = ("--request", f"{TASKS[0]}:badefi")
        for words, arguments in (
            ((f"'{TASKS[0]}'", f"'{TASKS[2]}'", "'base'"), ("--request", "nobody:badefi", base, bundle)),
            (("of another model", "output_norm.weight"), (*ask, self.quantised(self.d / f"{TASKS[1]}-f32.gguf", "Q8_0"), bundle)),
            (("base-f32.Q8_0.gguf", "--base"), (*ask, quantised, bundle)),
            (("needs a bundle",), (*ask, base)),
            (("no-such.gguf",), (*ask, self.d / "no-such.gguf", bundle)),
            (("TASK:PROMPT",), ("--request", "badefi", base, bundle)),
            (("nothing is asked for",), (base, bundle)),
        ):
            done = subprocess.run([str(w) for w in (self.program, *arguments)], capture_output=True, text=True)
            self.checks.check(done.returncode == 1 and all(word in done.stderr for word in words),
                              f"emr-llama {arguments}: exit status {done.returncode}, {done.stderr!r}, not {words}")  # fmt: skip


def run_ggml(checks, *command):
    """emr-ggml checks itself; its last line is "N passed, M failed"."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    print(f"\n{done.stdout}{done.stderr}", end="", flush=True)
    counts = (done.stdout.splitlines() or [""])[-1].replace(",", "").split()
    told = len(counts) == 4 and counts[1::2] == ["passed", "failed"]
    checks.passed += int(counts[0]) if told else 0
    checks.failed += int(counts[2]) if told else 0
    checks.check(told and done.returncode == (counts[2] != "0"), f"emr-ggml ended with {done.returncode}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build", help="libemr's build directory (build/)")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "build-llama", help="where to build and write (build-llama/)")
    parser.add_argument("--llama", type=pathlib.Path, help="where llama.cpp is installed")
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    python_with_gguf(work)
    checks = Checks()
    try:
        llama = options.llama.resolve() if options.llama else get_llama(work)
    except Unavailable as why:
        print(f"left out: llama.cpp cannot be had here: {why}")
        return 77
    emr = build_programs(options.build.resolve(), work, llama)
    programs = work / "programs"
    shutil.rmtree(work / "models", ignore_errors=True)

    print(f"{'':28} perplexity of                            logits differ from the file's by")
    print(f"{'bundle':14} {'base':7} {'task':5} {'file':>9} {'base':>9} {'products':>9} {'switched':>9}    {'products':>9} {'switched':>9}")
    bench = Bench(work / "models" / "untied", emr, programs / "emr-llama", checks)
    masks, halves = bench.merge("masks", "f32"), bench.merge("halves", "f16")
    for kind in TYPES:
        bench.rows("masks", halves if kind == "F16" else masks, kind)
    signs = bench.merge("signs", "f32", "--modulator", "sign")
    for kind in ("F32", "Q4_0"):
        bench.rows("signs", signs, kind)
    tied = Bench(work / "models" / "tied", emr, programs / "emr-llama", checks, ["--tied", "--biases"])
    tied_masks = tied.merge("masks", "f32")
    for kind in ("F32", "Q4_K_M"):
        tied.rows("masks (tied)", tied_masks, kind)
    bench.answers(masks)
    bench.refusals(masks)
    if (programs / "emr-ggml").exists():
        run_ggml(checks, programs / "emr-ggml")
        tasks = [f"{task}={bench.d / f'{task}-f32.gguf'}" for task in TASKS]
        run_ggml(checks, programs / "emr-ggml", bench.d / "base-f32.gguf", *tasks)
    print(f"\n{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())

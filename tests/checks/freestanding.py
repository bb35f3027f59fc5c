"""freestanding.py - the part of the library that firmware takes compiles without a hosted C library and without zstd,
and needs no symbol but four functions over memory. Tried with every compiler there is."""
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

ALLOWED = {"memcpy", "memset", "memcmp", "memmove"}
# Helpers that the compiler calls and brings along (libgcc, compiler-rt): atomics on AArch64, arithmetic wider than the
# registers of a 32-bit processor.
RUNTIME = re.compile(r"__aarch64_\w+|__aeabi_\w+|__u?(div|mod|mul|divmod)[ds]i[34]|__atomic_\w+_\d")
# An image of its own has a fixed address and no operating system under it, whatever a distribution has made its
# compiler's default.
FLAGS = ["-ffreestanding", "-DEMR_FREESTANDING", "-std=c11", "-Wall", "-Wextra", "-Werror", "-fno-pic", "-fno-pie",
         "-fno-stack-protector", "-U_FORTIFY_SOURCE"]


def undefined_symbols(compiler, level, includes, sources, directory):
    objects = []
    for source in sources:
        objects.append(os.path.join(directory, source.replace("/", "_") + ".o"))
        subprocess.run(compiler + FLAGS + [level] + [f"-I{i}" for i in includes] + ["-c", source, "-o", objects[-1]],
                       check=True)
    whole = os.path.join(directory, "whole.o")
    subprocess.run(["ld", "-r", "-o", whole] + objects, check=True)
    listed = subprocess.run(["nm", "-u", whole], check=True, capture_output=True, text=True).stdout
    return {line.split()[-1] for line in listed.splitlines()}


def attempts(project):
    """Compilers and levels: loops that a compiler turns into calls of strlen and the like, it turns at -O2."""
    yield shlex.split(project), "-O2"
    yield shlex.split(project), "-Os"
    for name in ("gcc", "clang"):
        if shutil.which(name) and shlex.split(project) != [name]:
            yield [name], "-Os"


def main(project, includes, *sources):
    failures = []
    for compiler, level in attempts(project):
        with tempfile.TemporaryDirectory() as directory:
            needed = undefined_symbols(compiler, level, includes.split(":"), sources, directory)
        name = f"{' '.join(compiler)} {level}"
        print(f"{name}: {len(sources)} files need {', '.join(sorted(needed))}")
        bad = sorted(s for s in needed - ALLOWED if not RUNTIME.fullmatch(s))
        if bad:
            failures.append(f"{name}: also needs {', '.join(bad)}")
        if not needed & ALLOWED:
            failures.append(f"{name}: needs nothing at all, so this check is broken")
    return "\n".join(failures) or None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

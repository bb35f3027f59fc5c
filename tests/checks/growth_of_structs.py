"""growth_of_structs.py - structs may grow: with one more member at the end of every growable one, a program built with the
newer headers runs with today's library, and a program built with today's headers with the newer library. growth.c
and growth_calls.c are the program; it says what works, and what is refused.

    growth_of_structs.py COMPILER SHARED-LIBRARY INCLUDE LIB XXHASH-INCLUDE SOURCES..."""
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

import declarations

GROWABLE = re.compile(r"(typedef struct (\w+) \{\s*size_t size;.*?)(\} \2;)", re.S)
# Whoever writes past the end of a struct of the other side's is caught.
FLAGS = ["-std=c11", "-g", "-O0", "-fstack-protector-all", "-U_FORTIFY_SOURCE"]


def grow_headers(include, destination):
    """A copy in which every growable struct ends in `future`; returns their names."""
    shutil.copytree(include, destination)
    grown = set()
    for header in pathlib.Path(destination, "emr").glob("*.h"):
        text = header.read_text()
        grown |= {name for _, name, _ in GROWABLE.findall(text)}
        header.write_text(GROWABLE.sub(r"\1    uint64_t future;\n\3", text))
    return grown


def build_library(compiler, include, private, xxhash, sources, output):
    subprocess.run(compiler + FLAGS + ["-shared", "-fPIC", "-ffp-contract=off", "-DEMR_BUILDING", f"-I{include}",
                                       f"-I{private}", f"-I{xxhash}", *sources, "-pthread", "-o", output], check=True)


def run_program(compiler, include, library, growth, directory):
    """The structs that went through the program, and what failed."""
    program = directory / "growth"
    written = [pathlib.Path(__file__).with_name(name) for name in ("growth.c", "growth_calls.c")]
    subprocess.run(compiler + FLAGS + ["-Wall", "-Wextra", "-Werror", f"-DGROWTH={growth}", f"-I{include}", *written, library,
                                       "-o", program], check=True)
    run = subprocess.run([program, directory], capture_output=True, text=True,
                         env=dict(os.environ, LD_LIBRARY_PATH=str(pathlib.Path(library).parent)))
    failed = run.stderr + (f"the program ended with {run.returncode}" if run.returncode else "")
    return {line.split()[-1] for line in run.stdout.splitlines()}, failed


def main(compiler, shared, include, private, xxhash, *sources):
    command, failures = shlex.split(compiler), []
    growable = {struct.name for struct in declarations.read(include, compiler).structs.values() if struct.grows}
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        newer, newer_library = directory / "include", directory / "libemr_newer.so"
        if (grown := grow_headers(include, newer)) != growable:
            return f"not every growable struct was found: {grown ^ growable}"
        build_library(command, newer, private, xxhash, sources, newer_library)
        for what, headers, library, growth in [("headers and library of today", include, shared, 0),
                                               ("newer headers, library of today", newer, shared, -8),
                                               ("headers of today, newer library", include, newer_library, 8)]:
            seen, failed = run_program(command, headers, library, growth, directory)
            missed = [f"{what}: {struct} goes through no call of growth.c or growth_calls.c: add one" for struct in sorted(growable - seen)]
            failures += [f"{what}: {failed}"] if failed else missed
    print(f"{len(growable)} structs, {len(sources)} files")
    return "\n".join(failures) or None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

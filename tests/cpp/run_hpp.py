"""run_hpp.py - compiles the tests of emr.hpp with one compiler and standard, with exceptions and without, all warnings being
errors, and runs them under sanitizers.

    run_hpp.py STANDARD SANITIZERS INCLUDE SOURCES -- LINKING -- COMPILER..."""
import os
import pathlib
import subprocess
import sys
import tempfile

STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wold-style-cast",
          "-Wsign-conversion", "-Werror"]
MODES = {"with exceptions": [], "without": ["-fno-exceptions"], "with exceptions that calls do not throw": ["-DEMR_NO_EXCEPTIONS"]}


def split(arguments):
    if "--" not in arguments:
        return [arguments]
    at = arguments.index("--")
    return [arguments[:at]] + split(arguments[at + 1:])


def can_sanitize(compiler, flags, directory):
    command = [*compiler, "-x", "c++", *flags, "-", "-o", pathlib.Path(directory, "probe")]
    return not subprocess.run(command, input="int main() {}", capture_output=True, text=True).returncode


def main(arguments):
    (standard, sanitizers, include, *sources), linking, compiler = split(arguments)
    failures = []
    with tempfile.TemporaryDirectory() as directory:
        flags = [] if sanitizers == "none" else [f"-fsanitize={sanitizers}", "-fno-sanitize-recover=undefined"]
        if not can_sanitize(compiler, flags, directory):
            print(f"{compiler[0]} has no sanitizers here: without them")
            flags = []
        environment = dict(os.environ, TMPDIR=directory)
        for name, mode in MODES.items():
            program = pathlib.Path(directory, "test_hpp")
            build = subprocess.run([*compiler, f"-std={standard}", "-g", "-O0", *STRICT, *flags, *mode, f"-I{include}", *sources,
                                    "-o", program, *linking], capture_output=True, text=True)
            if build.returncode:
                failures.append(f"{name}: {build.stderr}")
                continue
            run = subprocess.run([program], capture_output=True, text=True, env=environment)
            print(f"{compiler[0]} -std={standard}, {name}: {run.stdout.strip()}")
            if run.returncode:
                failures.append(f"{name}: exit status {run.returncode}: {run.stderr}")
    return "\n".join(failures) or None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

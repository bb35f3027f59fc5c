"""headers.py - every public header compiles alone and twice, includes nothing but the library's own headers and
stddef.h and stdint.h, and is both installed and part of emr.h."""
import pathlib
import re
import shlex
import subprocess
import sys

ALLOWED = {"stddef.h", "stdint.h"}


def check_text(header, names):
    found = []
    for name in re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', header.read_text(), re.M):
        if name not in ALLOWED and not (name.startswith("emr/") and name[4:] in names):
            found.append(f"{header.name}: includes {name}")
    return found


def check_alone(header, standard, include, compiler):
    language = "c++" if "++" in standard else "c"
    command = compiler + ["-x", language, f"-std={standard}", "-Wall", "-Wextra", "-Wpedantic", "-Werror",
                          f"-I{include}", "-fsyntax-only", "-"]
    source = f"#include <emr/{header.name}>\n" * 2
    run = subprocess.run(command, input=source, capture_output=True, text=True)
    return [f"{header.name}: {run.stderr}"] if run.returncode else []


def main(standard, compiler, include, *installed):
    headers = sorted(pathlib.Path(include, "emr").glob("*.h"))
    names = {header.name for header in headers}
    umbrella = pathlib.Path(include, "emr", "emr.h").read_text()
    failures = [f"{name}: not installed" for name in sorted(names - {pathlib.Path(i).name for i in installed})]
    for header in headers:
        if header.name != "emr.h" and f'#include "emr/{header.name}"' not in umbrella:
            failures.append(f"{header.name}: not included by emr.h")
        failures += check_text(header, names)
        failures += check_alone(header, standard, include, shlex.split(compiler))
    print(f"{len(headers)} headers as {standard} with {compiler}")
    if not headers:
        failures.append(f"no headers under {include}")
    return "\n".join(failures) or None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""symbols.py - a shared library exports exactly the functions that the public headers of a folder declare, under its soname;
the static one defines no name that does not begin as the library's do: emr_, and what is inside of libemr-fit.

    symbols.py SHARED STATIC INCLUDE FOLDER COMPILER SONAME"""
import re
import subprocess
import sys

import declarations

PREFIXES = {"emr": ("emr_",), "emr/fit": ("emr_", "fit_", "spec_"), "emr/remote": ("emr_", "remote_")}


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def defined(*nm):
    lines = [line.split() for line in output("nm", "--defined-only", *nm).splitlines()]
    return {fields[2] for fields in lines if len(fields) == 3}


def main(shared, static, include, folder, compiler, soname):
    api = {function.name for function in declarations.read(include, compiler, folder).functions}
    exported = defined("-D", shared)
    failures = [f"{name} is exported, but no public header declares it" for name in sorted(exported - api)]
    failures += [f"{name} is declared, but not exported" for name in sorted(api - exported)]
    failures += [f"{name} does not begin with emr_" for name in sorted(api) if not name.startswith("emr_")]
    found = re.findall(r"SONAME\s+(\S+)", output("objdump", "-p", shared))
    if found != [soname]:
        failures.append(f"the soname is {found}, not {soname}")
    linkable = defined("-g", static)
    failures += [f"{name} in the static library does not begin with {' or '.join(PREFIXES[folder])}" for name in sorted(linkable)
                 if not name.startswith(PREFIXES[folder])]
    print(f"{len(api)} functions declared, {len(exported)} exported, {len(linkable)} names in the static library")
    if not api or not api <= linkable:
        failures.append("found no declarations, or the static library lacks some")
    return "\n".join(failures) or None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""headers.py - the public headers compile wherever a host may include them: each one alone and all of them, twice, pedantic,
with small enums, inside of extern "C", after wingdi.h of Windows, and for 32-bit processors. They include nothing but each
other (those of libemr-fit those of libemr, too), stddef.h and stdint.h, and each is installed and part of emr.h, or fit.h. In
C++ emr.hpp, or fit.hpp, does, too, where there is a standard library.

    headers.py STANDARD COMPILER INCLUDE NAMES-OF-WINDOWS FOLDER INSTALLED..."""
import pathlib
import re
import shlex
import subprocess
import sys

import targets

ALLOWED = {"stddef.h", "stdint.h"}
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Wundef", "-Werror"]


def check_text(header, include):
    known = {path.relative_to(include).as_posix() for folder in {header.parent, pathlib.Path(include, "emr")}
             for path in folder.glob("*.h")}
    return [f"{header.name}: includes {name}"
            for name in re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', header.read_text(), re.M)
            if name not in ALLOWED | known]


def ways_of_including(standard, compiler, windows):
    """(name, command, what stands before and after the includes)"""
    own = shlex.split(compiler)
    after_windows = f'#include "{windows}"\n'
    yield "alone", own, ("", "")
    yield "with small enums", own + ["-fshort-enums"], ("", "")
    yield "after wingdi.h", own, (after_windows, "")
    if "++" in standard:
        yield 'in extern "C"', own, ('extern "C" {\n', "}\n")
    else:
        yield "with C++ in mind", own + ["-Wc++-compat", "-Wstrict-prototypes"], ("", "")
    for name, command in targets.compilers_32(compiler).items():
        yield name, command, ("", "")


def compile_text(command, standard, include, source):
    command = command + ["-x", "c++" if "++" in standard else "c", f"-std={standard}", *STRICT, f"-I{include}",
                         "-fsyntax-only", "-"]
    return subprocess.run(command, input=source, capture_output=True, text=True)


def check_way(way, headers, standard, include):
    name, command, (before, after) = way
    failures = []
    for group in [[header] for header in headers] + [headers, headers[::-1]]:
        source = before + "".join(f"#include <{header.relative_to(include)}>\n" for header in group) * 2 + after
        run = compile_text(command, standard, include, source)
        if run.returncode:
            failures.append(f"{' '.join(header.name for header in group)} {name}: {run.stderr}")
    return failures


def check_hpp(way, umbrella, standard, include):
    """Twice; before the C header with exceptions, and after it without."""
    name, command, (before, after) = way
    c, cpp = umbrella, f"{umbrella}pp"
    if "++" not in standard or "-ffreestanding" in command or "extern" in name:
        return []
    failures = []
    for option, order in ("-fexceptions", [cpp, c, cpp]), ("-fno-exceptions", [c, cpp, cpp]):
        source = before + "".join(f"#include <{header}>\n" for header in order) + after
        run = compile_text(command + [option], standard, include, source)
        if run.returncode:
            failures.append(f"{cpp} {name}, {option}: {run.stderr}")
    return failures


def main(standard, compiler, include, windows, folder, *installed):
    headers = sorted(pathlib.Path(include, folder).glob("*.h"))
    name = f"{pathlib.Path(folder).name}.h"
    umbrella = pathlib.Path(include, folder, name)
    hpp = umbrella.with_suffix(".hpp")  # libemr-remote has none
    names = {header.name for header in [*headers, hpp] if header.exists()}
    failures = [f"{missing}: not installed" for missing in sorted(names - {pathlib.Path(i).name for i in installed})]
    for header in headers:
        if header != umbrella and f'#include "{header.relative_to(include)}"' not in umbrella.read_text():
            failures.append(f"{header.name}: not included by {name}")
        failures += check_text(header, include)
    ways = list(ways_of_including(standard, compiler, windows))
    for way in ways:
        failures += check_way(way, headers, standard, include)
        if hpp.exists():
            failures += check_hpp(way, umbrella.relative_to(include).as_posix(), standard, include)
    print(f"{len(headers)} headers as {standard} with {compiler}: {', '.join(name for name, _, _ in ways)}")
    if not headers:
        failures.append(f"no headers under {include}")
    return "\n".join(failures) or None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

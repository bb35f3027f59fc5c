"""hpp_covers.py - emr.hpp has all of the C interface, and fit.hpp that of libemr-fit, so that they cannot fall behind: every
function is called; every handle has a class, and every struct a type, of its name, which has every member of C's. What is left
out stands here, with why.

    hpp_covers.py COMPILER CXX-COMPILER INCLUDE FOLDER"""
import pathlib
import re
import shlex
import subprocess
import sys

import declarations

FUNCTIONS_LEFT_OUT = {
    "emr_error_format": "its arguments are not checked by types; C++ has other ways to compose a sentence",
}
# Structs that are not there under their names.
STRUCTS_LEFT_OUT = {
    "emr_error": "failure, whose functions are its members",
    "emr_error_span": "failure's functions return text",
}
NOT_OF_FAILURE = {"reserved"}


def code_of(header):
    return re.sub(r"//[^\n]*", "", header.read_text())


def check_functions(interface, header):
    names = {function.name for function in interface.functions}
    used = {name for name in names if re.search(rf"\b{name}\b", code_of(header))}
    failures = [f"{name} is not called in {header.name}: give it a place there, or list it in hpp_covers.py with why not"
                for name in sorted(names - used - FUNCTIONS_LEFT_OUT.keys())]
    return failures + [f"{name} is listed as left out, but is called" for name in sorted(used & FUNCTIONS_LEFT_OUT.keys())]


def uses(interface):
    """(what is wrong if it does not compile, a declaration)"""
    for name in sorted(interface.handles):
        yield f"{name} has no class", f"static_assert(std::is_same<emr::{name[4:]}::c_type, {name}>::value, \"\")"
    for struct in interface.structs.values():
        if struct.name in STRUCTS_LEFT_OUT:
            continue
        name = struct.name[4:]
        yield (f"{struct.name} is not emr::{name}",
               f"static_assert(std::is_same<emr::{name}, {struct.name}>::value || "
               f"std::is_base_of<{struct.name}, emr::{name}>::value, \"\")")
        for member, _ in struct.members:
            yield f"emr::{name} has no {member}", f"using {name}_{member} = decltype(std::declval<emr::{name} &>().{member})"
    for member, _ in interface.structs["emr_error"].members if "emr_error" in interface.structs else []:
        if member not in NOT_OF_FAILURE:
            yield (f"emr::failure has no {member}()",
                   f"using failure_{member} = decltype(std::declval<const emr::failure &>().{member}())")


def check_types(interface, compiler, include, header):
    lines = [f"#include <{header.relative_to(include)}>"]
    what = dict(enumerate((w for w, _ in uses(interface)), len(lines) + 1))
    lines += [f"{declaration};" for _, declaration in uses(interface)]
    run = subprocess.run(shlex.split(compiler) + ["-x", "c++", "-std=c++17", f"-I{include}", "-fsyntax-only", "-"],
                         input="\n".join(lines) + "\n", capture_output=True, text=True)
    wrong = sorted({int(n) for n in re.findall(r"<stdin>:(\d+):\d+: error", run.stderr)})
    return [what[n] for n in wrong] or ([run.stderr] if run.returncode else [])


def main(compiler, cxx, include, folder):
    interface = declarations.read(include, compiler, folder)
    header = pathlib.Path(include, folder, f"{pathlib.Path(folder).name}.hpp")
    failures = check_functions(interface, header) + check_types(interface, cxx, include, header)
    members = sum(len(struct.members) for struct in interface.structs.values())
    print(f"{len(interface.functions)} functions, {len(interface.handles)} handles, {len(interface.structs)} structs with "
          f"{members} members; left out: {', '.join([*FUNCTIONS_LEFT_OUT, *STRUCTS_LEFT_OUT])}")
    return "\n".join(failures) or None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

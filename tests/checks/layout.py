"""layout.py - what a program that was built yesterday has compiled in: the size of every public struct, the offset of every
member and the number of every enumerator, as layout.txt pins them for 64-bit processors. No struct has padding at its end
or anywhere else: bytes that nobody sets are where a later member would find what an older program left on its stack.

    layout.py COMPILER INCLUDE FOLDER TABLE"""
import pathlib
import shlex
import subprocess
import sys
import tempfile

import declarations
import targets

UNGROWN = {"emr_error", "emr_error_span", "emr_method_parameter", "emr_rename"}
HOW = ("'{line}' is not in {table}: add that line for a new struct, member or enumerator; offsets and values that a release "
       "had never change")
SHORT_ENUMS = "-fshort-enums"


def measuring_program(interface, folder):
    lines = [declarations.umbrella_of(folder), "#include <stdio.h>", "int main(void)", "{"]
    for name in interface.scalars:
        lines.append(f'printf("{name} = {interface.scalars[name]}, %zu\\n", sizeof({name}));')
    for name in interface.enumerators:
        lines.append(f'printf("{name} = %d\\n", (int){name});')
    for struct in interface.structs.values():
        lines.append(f'printf("{struct.name}: %zu\\n", sizeof({struct.name}));')
        for member, _ in struct.members:
            lines.append(f'printf("{struct.name}.{member}: %zu, %zu\\n", offsetof({struct.name}, {member}), '
                         f"sizeof((({struct.name} *)0)->{member}));")
    return "\n".join(lines + ["return 0;", "}", ""])


def measure(interface, compiler, include, folder, flags):
    with tempfile.TemporaryDirectory() as directory:
        program = pathlib.Path(directory, "measure")
        subprocess.run(shlex.split(compiler) + ["-x", "c", "-std=c11", f"-I{include}", *flags, "-", "-o", program], check=True,
                       input=measuring_program(interface, folder), text=True)
        return subprocess.run([program], check=True, capture_output=True, text=True).stdout.splitlines()


def check_table(measured, table):
    pinned = [line for line in table.read_text().splitlines() if line and not line.startswith("#")]
    failures = [HOW.format(line=line, table=table.name) for line in measured if line not in pinned]
    failures += [f"'{line}' of {table.name} is not so any more" for line in pinned if line not in measured]
    return failures


def check_padding(interface, measured):
    """Members follow each other without gaps, and the last one ends the struct, at a multiple of 8."""
    numbers = dict(line.split(": ") for line in measured if ": " in line)
    failures = []
    for struct in interface.structs.values():
        end = 0
        for member, _ in struct.members:
            offset, size = map(int, numbers[f"{struct.name}.{member}"].split(", "))
            if offset != end:
                failures.append(f"{struct.name}: {offset - end} bytes of padding before {member}: reorder, or add `reserved`")
            end = offset + size
        size = int(numbers[struct.name])
        if end != size:
            failures.append(f"{struct.name}: {size - end} bytes of padding at the end: add `reserved`")
        if size % 8 and struct.name != "emr_error_span":
            failures.append(f"{struct.name}: its size, {size}, is not a multiple of 8: add `reserved`")
        if not struct.grows and struct.name not in UNGROWN:
            failures.append(f"{struct.name}: its first member is not `size_t size`")
    return failures


def check_32(interface, command, name, include, folder):
    """On 32-bit processors there may be gaps, but not at the end."""
    lines = [declarations.umbrella_of(folder)]
    for struct in interface.structs.values():
        last = struct.members[-1][0]
        lines.append(f"_Static_assert(offsetof({struct.name}, {last}) + sizeof((({struct.name} *)0)->{last}) == "
                     f'sizeof({struct.name}), "{struct.name} ends in padding");')
    run = subprocess.run(command + ["-x", "c", "-std=c11", f"-I{include}", "-fsyntax-only", "-"], capture_output=True,
                         input="\n".join(lines) + "\n", text=True)
    return [f"{name}: {run.stderr}"] if run.returncode else []


def main(compiler, include, folder, table):
    interface = declarations.read(include, compiler, folder)
    measured = measure(interface, compiler, include, folder, [])
    if sys.maxsize > 2**32:
        failures = check_padding(interface, measured) + check_table(measured, pathlib.Path(table))
    else:
        failures = check_32(interface, shlex.split(compiler), "this processor", include, folder)
    short = measure(interface, compiler, include, folder, [SHORT_ENUMS])
    failures += [f"'{line}' with {SHORT_ENUMS}" for line in short if line not in measured]
    narrow = targets.compilers_32(compiler)
    for name, command in narrow.items():
        failures += check_32(interface, command, name, include, folder)
    print(f"{len(interface.structs)} structs, {len(measured)} numbers; 32-bit: {', '.join(narrow) or 'no compiler for it'}")
    return "\n".join(failures) or None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

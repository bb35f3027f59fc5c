"""rules.py - what every declaration of the public headers keeps to, whatever the compiler: integers of fixed width and no
enum types, structs through pointers alone, at most six parameters, names that are the library's own.

    rules.py COMPILER INCLUDE FOLDER NAMES-OF-WINDOWS"""
import pathlib
import re
import sys

import declarations

MAX_PARAMETERS = 6
MORE_PARAMETERS = {"emr_match": 7, "emr_gram_output_moments": 8, "emr_coefficients_gradient": 7, "emr_surgery_fit": 7,
                   "emr_ensemble_pool": 7, "emr_l1": 9}  # those that there are, and no more
PLAIN = {"const", "void", "char", "int", "float", "double", "size_t", "uint8_t", "uint16_t", "uint32_t", "uint64_t", "int32_t", "int64_t"}


def signatures(interface):
    """Functions and callbacks, as (name, what it is, its type)."""
    for function in interface.functions + interface.callbacks:
        yield function.name, "returns", function.returns
        for parameter in function.parameters:
            if not declarations.read_callback(parameter):
                yield function.name, "takes", parameter


def types_of(interface):
    return interface.handles | interface.structs.keys() | interface.scalars.keys() | interface.callback_types


def check_types(interface, known):
    members = [(struct.name, "has", declaration) for struct in interface.structs.values()
               for _, declaration in struct.members if not declarations.read_callback(declaration)]
    failures = []
    for owner, what, text in list(signatures(interface)) + members:
        words = re.findall(r"[a-z]\w*", text)
        if what != "returns" and len(words) > 1:
            words = words[:-1]  # the last one is its name
        failures += [f"{owner} {what} '{text}': {word} is no type for an interface (its size may vary)" for word in words
                     if word not in known]
    failures += [f"{name} is {of}: integers have a width" for name, of in interface.scalars.items()
                 if not re.fullmatch(r"u?int\d+_t", of)]
    return failures


def check_calls(interface):
    failures = [f"{f.name} has {len(f.parameters)} parameters: more than {MAX_PARAMETERS} belong in a struct"
                for f in interface.functions + interface.callbacks
                if len(f.parameters) > MORE_PARAMETERS.get(f.name, MAX_PARAMETERS)]
    failures += [f"{name} {what} '{text}', a struct by value: it cannot grow" for name, what, text in signatures(interface)
                 if "*" not in text and interface.structs.keys() & set(re.findall(r"\w+", text))]
    return failures


def check_names(interface, windows):
    taken = set(re.findall(r"#define (\w+)", pathlib.Path(windows).read_text()))
    if len(taken) != 123:
        return [f"{windows} has {len(taken)} names, not 123"]
    types = tuple(f"{name.upper()}_" for name in interface.scalars)
    failures = [f"{name} does not begin with EMR_" for name in interface.enumerators + interface.macros
                if not name.startswith("EMR_")]
    failures += [f"{name} is a macro of wingdi.h too" for name in interface.enumerators + interface.macros if name in taken]
    failures += [f"{name} does not begin with the name of its type" for name in interface.enumerators
                 if not name.startswith(types) and not re.fullmatch(r"EMR_(OK|E[A-Z]+)", name)]
    names = [f.name for f in interface.functions] + [*interface.structs, *interface.handles, *interface.scalars]
    return failures + [f"{name} does not begin with emr_" for name in names if not name.startswith("emr_")]


def main(compiler, include, folder, windows):
    interface = declarations.read(include, compiler, folder)
    known = PLAIN | types_of(interface) | types_of(declarations.read(include, compiler))
    failures = check_types(interface, known) + check_calls(interface) + check_names(interface, windows)
    print(f"{len(interface.functions)} functions, {len(interface.callbacks)} callbacks, {len(interface.structs)} structs, "
          f"{len(interface.enumerators)} enumerators, {len(interface.macros)} macros")
    return "\n".join(failures) or None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

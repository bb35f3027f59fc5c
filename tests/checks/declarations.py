"""declarations.py - the public headers as data, for the checks that look at the interface as a whole. It reads the little
C that a header may contain, and stops at anything else."""
import pathlib
import re
import shlex
import subprocess
from dataclasses import dataclass, field

STRANGE = "which declarations.py does not read: a named enum, a union, a bit-field or the like has no place there"


@dataclass
class Function:
    name: str
    returns: str
    parameters: list


@dataclass
class Struct:
    name: str
    members: list = field(default_factory=list)  # (name, declaration)

    @property
    def grows(self):
        return bool(self.members) and self.members[0] == ("size", "size_t size")


@dataclass
class Interface:
    structs: dict = field(default_factory=dict)
    handles: set = field(default_factory=set)
    scalars: dict = field(default_factory=dict)  # name: the type that it stands for
    enumerators: list = field(default_factory=list)
    functions: list = field(default_factory=list)
    callbacks: list = field(default_factory=list)  # typedefs, members and parameters
    callback_types: set = field(default_factory=set)
    macros: list = field(default_factory=list)


def split_outside(text, separator):
    """At separators that no bracket encloses; parts are stripped, empty ones dropped."""
    parts, depth, begin = [], 0, 0
    for i, c in enumerate(text):
        depth += (c in "({[") - (c in ")}]")
        if c == separator and depth == 0:
            parts.append(text[begin:i])
            begin = i + 1
    return [part.strip() for part in parts + [text[begin:]] if part.strip()]


def headers_of(include, folder):
    return sorted(pathlib.Path(include, folder).glob("*.h"))


def preprocessed(include, compiler, folder="emr"):
    """What the headers of a folder themselves say, without what they include of others."""
    command = shlex.split(compiler) + ["-x", "c", "-std=c11", "-E", f"-I{include}", "-"]
    asked = "".join(f"#include <{folder}/{header.name}>\n" for header in headers_of(include, folder))
    text = subprocess.run(command, input=asked, check=True, capture_output=True, text=True).stdout
    kept, ours = [], False
    for line in text.splitlines():
        marker = re.match(r'#\s+\d+\s+"(.*?)"', line)
        if marker:
            ours = pathlib.Path(marker[1]).parent == pathlib.Path(include, folder)
        elif ours:
            kept.append(line)
    return re.sub(r"\s+", " ", re.sub(r'__attribute__\(\(visibility\("default"\)\)\)', "", "\n".join(kept)))


def without_bodies(text):
    """Functions that are compiled in wherever they are called are no part of the interface."""
    return re.sub(r"static inline [^{};]*\{[^{}]*\}", "", text)


def umbrella_of(folder):
    """The header that has all of a folder's."""
    return f"#include <{folder}/{pathlib.Path(folder).name}.h>"


def read_callback(declaration):
    """A pointer to a function, or None."""
    found = re.fullmatch(r"(.*?)\(\*\s*(\w+)\)\s*\((.*)\)", declaration)
    return found and Function(found[2], found[1].strip(), read_parameters(found[3]))


def read_parameters(text):
    return [] if text.strip() == "void" else split_outside(text, ",")


def add_callback(interface, declaration, owner):
    callback = read_callback(declaration)
    if callback:
        callback.name = f"{owner}.{callback.name}" if owner else callback.name
        interface.callbacks.append(callback)
        for parameter in callback.parameters:
            add_callback(interface, parameter, callback.name)
    return callback


def add_struct(interface, name, body):
    struct = Struct(name)
    for declaration in split_outside(body, ";"):
        callback = add_callback(interface, declaration, name)
        found = re.fullmatch(r"[\w\s*]+?(\w+)\s*(\[\w+\])?", declaration)
        if not callback and not found:
            raise SystemExit(f"the struct {name} has '{declaration}', {STRANGE}")
        struct.members.append((callback.name.split(".")[1] if callback else found[1], declaration))
    interface.structs[name] = struct


def add_statement(interface, text):
    if found := re.fullmatch(r"typedef struct (\w+) \{(.*)\} \1", text):
        add_struct(interface, found[1], found[2])
    elif found := re.fullmatch(r"typedef struct (\w+) \1", text):
        interface.handles.add(found[1])
    elif found := re.fullmatch(r"typedef (\w+) (\w+)", text):
        interface.scalars[found[2]] = found[1]
    elif found := re.fullmatch(r"enum \{(.*)\}", text):
        interface.enumerators += [part.split("=")[0].strip() for part in split_outside(found[1], ",")]
    elif text.startswith("typedef ") and read_callback(text[8:]):
        interface.callback_types.add(add_callback(interface, text[8:], "").name)
    elif found := re.fullmatch(r"([^()]*[\s*])(\w+)\s*\((.*)\)", text):
        function = Function(found[2], found[1].strip(), read_parameters(found[3]))
        interface.functions.append(function)
        for parameter in function.parameters:
            add_callback(interface, parameter, function.name)
    else:
        raise SystemExit(f"a public header has '{text}', {STRANGE}")


def read(include, compiler, folder="emr"):
    interface = Interface()
    for statement in split_outside(without_bodies(preprocessed(include, compiler, folder)), ";"):
        add_statement(interface, statement)
    for header in headers_of(include, folder):
        interface.macros += re.findall(r"^\s*#\s*define\s+(\w+)", header.read_text(), re.M)
    if not interface.structs or not interface.functions:
        raise SystemExit(f"no declarations under {include}")
    return interface

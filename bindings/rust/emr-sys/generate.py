"""generate.py - writes src/declarations.rs and tests/layout/table.rs from the public headers.

    generate.py              writes both
    generate.py --check      fails where a file is not what would be written"""
import os
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
INCLUDE = ROOT / "include"
sys.path.insert(0, str(ROOT / "tests" / "checks"))
import declarations  # noqa: E402

COMPILER = os.environ.get("CC", "cc")
HEAD = """\
// Written by generate.py from include/emr/*.h: change those, then run it.
"""
PRIMITIVES = {
    "void": "c_void", "char": "c_char", "int": "c_int", "float": "f32", "double": "f64", "size_t": "usize",
    "uint8_t": "u8", "int8_t": "i8", "uint16_t": "u16", "int16_t": "i16", "uint32_t": "u32", "int32_t": "i32",
    "uint64_t": "u64", "int64_t": "i64",
}
KEYWORDS = {"type", "fn", "in", "match", "move", "ref", "use", "where", "loop", "box"}


def name_of(word):
    return f"r#{word}" if word in KEYWORDS else word


def type_of(text):
    """A C type without a name, as Rust has it."""
    tokens = re.findall(r"\w+|\*", text)
    rust, pending_const = None, False
    for i, token in enumerate(tokens):
        if token == "*":
            rust = f"*{'const' if pending_const else 'mut'} {rust}"
            pending_const = False
        elif token == "const":
            pending_const = True
        elif token != "struct":
            rust = PRIMITIVES.get(token, token)
    return rust


def callback_type(callback):
    parameters = ", ".join(f"{name}: {kind}" for name, kind in map(parameter, callback.parameters))
    returns = "" if callback.returns == "void" else f" -> {type_of(callback.returns)}"
    return f"Option<unsafe extern \"C\" fn({parameters}){returns}>"


def parameter(declaration):
    """(name, type) of a parameter or member."""
    callback = declarations.read_callback(declaration)
    if callback:
        return name_of(callback.name.split(".")[-1]), callback_type(callback)
    if declaration == "...":
        return "...", None
    found = re.fullmatch(r"(.*?)(\w+)\s*(?:\[(\w*)\])?", declaration)
    kind, name, length = found[1], found[2], found[3]
    if length:
        return name_of(name), f"[{type_of(kind)}; {length if length.isdigit() else length + ' as usize'}]"
    return name_of(name), type_of(kind)


def constants(text):
    """(name, type, value) of enumerators; an enum's type is the one declared before it."""
    last = None
    for statement in declarations.split_outside(declarations.without_bodies(text), ";"):
        if found := re.fullmatch(r"typedef (\w+) (\w+)", statement):
            last = found[2]
        elif found := re.fullmatch(r"enum \{(.*)\}", statement):
            for part in declarations.split_outside(found[1], ","):
                name, value = (word.strip() for word in part.split("="))
                yield name, last, value


def macros():
    """(name, type, value) of macros that stand for a number or a text."""
    for header in sorted((INCLUDE / "emr").glob("*.h")):
        for name, value in re.findall(r"^#define\s+(EMR_\w+)[ \t]+(\S[^\n]*?)[ \t]*(?:/\*.*)?$", header.read_text(), re.M):
            value = value.strip("()") if re.fullmatch(r"\(-?\d+\)", value) else value
            number = {"UINT32_MAX": "u32::MAX"}.get(value)
            if found := re.fullmatch(r"UINT32_C\((\w+)\)", value):
                number = found[1]
            if re.fullmatch(r"\d+", value):
                number = value
            if re.fullmatch(r"-\d+", value):
                yield name, "i32", value
            elif number:
                yield name, "u32", number
            elif re.fullmatch(r'"[^"]*"', value):
                yield name, "&CStr", f"c{value}"


def rust_struct(struct):
    lines = ["#[repr(C)]", "#[derive(Clone, Copy)]", f"pub struct {struct.name} {{"]
    lines += [f"    pub {name}: {kind}," for name, kind in (parameter(d) for _, d in struct.members)]
    return lines + ["}"]


def rust_function(function):
    parameters = ", ".join(name if kind is None else f"{name}: {kind}" for name, kind in map(parameter, function.parameters))
    returns = "" if function.returns == "void" else f" -> {type_of(function.returns)}"
    return f"    pub fn {function.name}({parameters}){returns};"


def rust_declarations(interface, text):
    lines = [HEAD, "use core::ffi::{c_char, c_int, c_void, CStr};", "use core::marker::{PhantomData, PhantomPinned};", ""]
    for name, of in interface.scalars.items():
        lines.append(f"pub type {name} = {PRIMITIVES[of]};")
    lines += [f"pub const {name}: {of} = {value};" for name, of, value in constants(text)]
    lines += [f"pub const {name}: {of} = {value};" for name, of, value in macros()]
    for name in sorted(interface.handles):
        lines += ["#[repr(C)]", f"pub struct {name} {{", "    _data: [u8; 0],",
                  "    _marker: PhantomData<(*mut u8, PhantomPinned)>,", "}"]
    for callback in interface.callbacks:
        if callback.name in interface.callback_types:
            lines.append(f"pub type {callback.name} = {callback_type(callback)};")
    for struct in interface.structs.values():
        lines += rust_struct(struct)
    for grows, macro in (True, "grows"), (False, "zeroed"):
        names = [name for name, struct in interface.structs.items() if struct.grows == grows]
        lines += [f"{macro}! {{", *(f"    {name}," for name in names), "}"]
    lines += ["extern \"C\" {", *(rust_function(f) for f in interface.functions), "}"]
    return "\n".join(lines) + "\n"


def layout_test(interface, text):
    rust, c = [], []
    for struct in interface.structs.values():
        rust.append(f'("{struct.name}", size_of::<{struct.name}>(), align_of::<{struct.name}>()),')
        c.append(f'ROW("{struct.name}", sizeof({struct.name}), _Alignof({struct.name}));')
        for member, _ in struct.members:
            label = f"{struct.name}.{member}"
            place = f"offset_of!({struct.name}, {name_of(member)})"
            rust.append(f'("{label}", {place}, size_of_member(|x: &{struct.name}| x.{name_of(member)})),')
            c.append(f'ROW("{label}", offsetof({struct.name}, {member}), sizeof((({struct.name} *)0)->{member}));')
    for scalar in interface.scalars:
        rust.append(f'("{scalar}", size_of::<{scalar}>(), usize::from({scalar}::MIN != 0)),')
        c.append(f'ROW("{scalar}", sizeof({scalar}), ({scalar})-1 < 0);')
    numbers = [(n, v) for n, t, v in [*constants(text), *macros()] if t != "&CStr"]
    texts = [n for n, t, _ in macros() if t == "&CStr"]
    lines = [HEAD, "use core::mem::{align_of, offset_of, size_of};", "use emr_sys::*;", "",
             "fn size_of_member<S, M>(_: fn(&S) -> M) -> usize {", "    size_of::<M>()", "}", "",
             "/// A struct, its size, its alignment; a member, its offset, its size; a type, its size, 1 where it is signed.",
             "pub fn layouts() -> Vec<(&'static str, usize, usize)> {", "    vec![", *(f"        {row}" for row in rust),
             "    ]", "}", "", "pub fn numbers() -> Vec<(&'static str, i64)> {", "    vec![",
             *(f'        ("{n}", i64::from({n})),' for n, _ in numbers), "    ]", "}", "",
             "pub fn texts() -> Vec<(&'static str, &'static core::ffi::CStr)> {", "    vec![",
             *(f'        ("{n}", {n}),' for n in texts), "    ]", "}", "",
             "/// The C program that prints the same.", "pub const PROGRAM: &str = r##\"", "#include <emr/emr.h>",
             "#include <stdio.h>", "#define ROW(name, a, b) printf(\"%s %zu %zu\\n\", name, (size_t)(a), (size_t)(b))",
             "#define NUMBER(name) printf(\"%s %lld\\n\", #name, (long long)name)",
             "#define TEXT(name) printf(\"%s %s\\n\", #name, name)", "int main(void)", "{", *(f"    {row}" for row in c),
             *(f"    NUMBER({n});" for n, _ in numbers), *(f"    TEXT({n});" for n in texts), "    return 0;", "}", "\"##;"]
    return "\n".join(lines) + "\n"


def formatted(text):
    command = ["rustfmt", "--edition", "2021", "--config-path", str(HERE.parent)]
    return subprocess.run(command, input=text, check=True, capture_output=True, text=True).stdout


def main(arguments):
    interface = declarations.read(INCLUDE, COMPILER)
    text = declarations.preprocessed(INCLUDE, COMPILER)
    written = {HERE / "src" / "declarations.rs": rust_declarations(interface, text),
               HERE / "tests" / "layout" / "table.rs": layout_test(interface, text)}
    for path, content in written.items():
        content = formatted(content)
        if "--check" not in arguments:
            path.parent.mkdir(exist_ok=True)
            path.write_text(content)
        elif not path.exists() or path.read_text() != content:
            return f"{path} is not what the headers say: run {pathlib.Path(__file__).name}"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

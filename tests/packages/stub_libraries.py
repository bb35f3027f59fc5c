"""stub_libraries.py FOLDER - puts empty libraries beside those in FOLDER, torch's own, for those that they were linked with
and that are not here: CUDA's for GPUs, a few GB. They have the names and versions that the loader asks for, and functions
that do nothing and return an error. CUDA's runtime must be real: it is asked whether there is a GPU."""
import collections
import pathlib
import re
import subprocess
import sys

DRIVER = "libcuda.so.1"  # Looked for while running, and must not be found.


def output_of(*words):
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def look_for(folder):
    """The libraries that are not found, {name: {version: {symbol}}}, and symbols without a version that nobody defines."""
    absent, plain, defined = collections.defaultdict(lambda: collections.defaultdict(set)), set(), set()
    for path in folder.glob("*.so*"):
        for library in re.findall(r"(\S+) => not found", output_of("ldd", path)):
            absent[library]
        text = output_of("readelf", "--wide", "--version-info", "--dyn-syms", path)
        library_of = {version: block.split()[0] for block in text.split(" File: ")[1:]
                      for version in re.findall(r" Name: (\S+)", block)}
        for section, symbol in re.findall(r" (?:GLOBAL|WEAK) +DEFAULT +(\S+) (\S+)", text):
            name, _, version = symbol.partition("@")
            if section != "UND":
                defined.add(name)
            elif not version:
                plain.add(name)
            elif library_of[version] in absent:
                absent[library_of[version]][version].add(name)
    absent.pop(DRIVER, None)
    return absent, {name for name in plain - defined if re.match("cu|nccl|nv", name)}


def make_stub(path, versions, plain):
    script = path.with_name("stub.map")
    script.write_text("".join(f"{version} {{ global: {' '.join(name + ';' for name in sorted(names))} }};\n"
                              for version, names in versions.items()) or "{ global: *; };\n")
    code = "".join(f"int {name}(void) {{ return 1; }}\n" for name in sorted(plain.union(*versions.values())))
    subprocess.run(["cc", "-shared", "-w", "-fno-builtin", "-o", path, f"-Wl,-soname,{path.name}",
                    f"-Wl,--version-script={script}", "-x", "c", "-"], input=code, text=True, check=True)
    script.unlink()


def main(folder):
    absent, plain = look_for(folder)
    for library, versions in absent.items():
        make_stub(folder / library, versions, set() if versions else plain)


main(pathlib.Path(sys.argv[1]))

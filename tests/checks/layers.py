"""layers.py - each layer of the library includes only itself, the layers before it and the public headers, and each
dependency and system interface is seen only where it belongs. libemr-fit is one layer, which knows libemr by its public
headers alone.

    layers.py LIB | layers.py FIT fit"""
import pathlib
import re
import sys

LAYERS = ["core", "numeric", "model", "modulator", "bundle", "session", "role", "align", "pass", "statistics", "method", "combine", "search", "merge",
          "system", "io", "checkpoint", "parallel"]

# A firmware's compiler brings the first line, and every C library, however small, string.h.
EVERYWHERE = {"float.h", "limits.h", "stdarg.h", "stdatomic.h", "stdbool.h", "stddef.h", "stdint.h",
              "string.h"}
ONLY_IN = {
    "xxhash.h": ["core/hash.c"],
    "zstd.h": ["bundle/codec.c"],
    "zstd_errors.h": ["bundle/codec.c"],
    "cpuid.h": ["numeric/select.c"],
    "immintrin.h": ["numeric/"],
    "arm_neon.h": ["numeric/"],
    "stdlib.h": ["core/memory.c"],
    "dirent.h": ["system/"],
    "errno.h": ["system/"],
    "fcntl.h": ["system/"],
    "pthread.h": ["system/"],
    "stdio.h": ["system/"],  # names of files, never output
    "sys/file.h": ["system/"],
    "sys/mman.h": ["system/"],
    "sys/stat.h": ["system/"],
    "unistd.h": ["system/"],
}


ONLY_IN_FIT = {
    "immintrin.h": ["dots_avx", "tiles_avx"],
    "arm_neon.h": ["dots_neon.c", "tiles_neon.c"],
    "jansson.h": ["derive.h", "json.h", "spec_json.c"],
    "math.h": [""],
    "stdio.h": ["derive_"],  # names of tensors, never output
    "stdlib.h": ["host.c"],
}


def allowed_quoted(file, name):
    layer = name.split("/")[0]
    if layer == "emr":
        return True
    return layer in LAYERS and LAYERS.index(layer) <= LAYERS.index(file.split("/")[0])


def check(where, text, allowed, only_in):
    file = where.split("/", 1)[1]
    failures = []
    for mark, name in re.findall(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', text, re.M):
        if mark == '"' and not allowed(file, name):
            failures.append(f"{where} includes {name}, which is not in a layer before its own")
        if mark == "<" and name not in EVERYWHERE and not any(map(file.startswith, only_in.get(name, []))):
            failures.append(f"{where} includes <{name}>, which has no place there")
    return failures


def check_lib(lib, files):
    failures = []
    for path in files:
        file = path.relative_to(lib).as_posix()
        if file.split("/")[0] not in LAYERS:
            failures.append(f"lib/{file} is in no layer")
        else:
            failures += check(f"lib/{file}", path.read_text(), allowed_quoted, ONLY_IN)
    print(f"{len(files)} files in {len(LAYERS)} layers")
    return failures


def check_fit(files):
    own = {path.name for path in files}
    print(f"{len(files)} files of libemr-fit")
    return [failure for path in files
            for failure in check(f"fit/{path.name}", path.read_text(),
                                 lambda _, name: name.startswith("emr/") or name in own, ONLY_IN_FIT)]


def main(tree, part="lib"):
    files = sorted(p for p in pathlib.Path(tree).rglob("*") if p.suffix in (".c", ".h"))
    failures = check_lib(tree, files) if part == "lib" else check_fit(files)
    if not files:
        failures.append(f"no files under {tree}")
    return "\n".join(failures) or None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

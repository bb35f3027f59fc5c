"""layers.py - each layer of the library includes only itself, the layers before it and the public headers, and each
dependency and system interface is seen only where it belongs."""
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


def allowed_quoted(file, name):
    layer = name.split("/")[0]
    if layer == "emr":
        return True
    return layer in LAYERS and LAYERS.index(layer) <= LAYERS.index(file.split("/")[0])


def check(file, text):
    failures = []
    for mark, name in re.findall(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', text, re.M):
        if mark == '"' and not allowed_quoted(file, name):
            failures.append(f"lib/{file} includes {name}, which is not in a layer before its own")
        if mark == "<" and name not in EVERYWHERE and not any(map(file.startswith, ONLY_IN.get(name, []))):
            failures.append(f"lib/{file} includes <{name}>, which has no place there")
    return failures


def main(lib):
    files = sorted(p for p in pathlib.Path(lib).rglob("*") if p.suffix in (".c", ".h"))
    failures = []
    for path in files:
        file = path.relative_to(lib).as_posix()
        if file.split("/")[0] not in LAYERS:
            failures.append(f"lib/{file} is in no layer")
        else:
            failures += check(file, path.read_text())
    print(f"{len(files)} files in {len(LAYERS)} layers")
    if not files:
        failures.append(f"no files under {lib}")
    return "\n".join(failures) or None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

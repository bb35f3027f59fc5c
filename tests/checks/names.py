"""names.py - functions can be found by their names: few static ones stand in more than one file of a library, few have names
of one word. Both numbers only go down: a change that lowers one lowers its limit here.

    names.py FOLDER"""
import collections
import pathlib
import re
import sys

MAX_SHARED = 8  # beside those that every kernel variant has to have
MAX_ONE_WORD_PERCENT = 4
VARIANTS = ("numeric/kernels_", "dots_", "tiles_")  # files of which there is one for each processor

# A definition begins in the first column and its body on a line of its own.
DEFINITION = re.compile(r"^(static )?(?:inline )?[a-z][\w *]*?\b(\w+)\((?:[^;{}]|\{0\})*?\)\n\{", re.M)


def functions(lib):
    """(name, file, whether it is static)"""
    for path in sorted(pathlib.Path(lib).rglob("*.[ch]")):
        text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)
        for found in DEFINITION.finditer(text):
            yield found[2], path.relative_to(lib).as_posix(), bool(found[1])


def main(lib):
    found = list(functions(lib))
    files = collections.defaultdict(set)
    for name, file, static in found:
        if static:
            files[name].add(file)
    shared = {name: where for name, where in files.items() if len(where) > 1}
    words = sorted({name for name, _, _ in found if "_" not in name.removeprefix("emr_")})
    one_word = sum("_" not in name.removeprefix("emr_") for name, _, _ in found)
    percent = 100 * one_word / max(len(found), 1)
    variants = sum(all(file.startswith(VARIANTS) for file in where) for where in shared.values())
    print(f"{len(found)} functions, {len(shared)} static names in more than one file ({variants} of them those that "
          f"every kernel variant has to have; limit of the others {MAX_SHARED}), {percent:.1f} % of one word (limit {MAX_ONE_WORD_PERCENT})")
    for name, where in sorted(shared.items()):
        print(f"  {name}: {', '.join(sorted(where))}")
    print(f"  one word: {', '.join(words)}")
    failures = [] if found else [f"no functions under {lib}"]
    if len(shared) - variants > MAX_SHARED:
        failures.append(f"{len(shared) - variants} static names stand in more than one file: give new functions names of their own")
    if percent > MAX_ONE_WORD_PERCENT:
        failures.append(f"{percent:.1f} % of the functions have names of one word: say what they do it to")
    return "\n".join(failures) or None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

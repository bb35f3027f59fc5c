"""covers.py - every public function is used by the safe layers of Python, Rust and Go, so that none of them can fall behind, or
stands in absent.txt with a reason.

    covers.py COMPILER ROOT"""
import pathlib
import re
import sys

# Where a language's safe layer is, what a function of C's is called there, and what is no code.
LANGUAGES = {
    "python": ("bindings/python/src/libemr", "*.py", r"lib\.(emr_\w+)", r'"""(?:.|\n)*?"""|#[^\n]*'),
    "rust": ("bindings/rust/emr/src", "*.rs", r"\b(emr_\w+)", r"//[^\n]*|/\*(?:.|\n)*?\*/"),
    "go": ("bindings/go", "*.go", r"\bC\.(emr_\w+)", r"//[^\n]*|/\*(?:.|\n)*?\*/"),
}


def names_used(root, language):
    folder, files, name, comment = LANGUAGES[language]
    texts = [path.read_text() for path in sorted((root / folder).rglob(files)) if not path.name.endswith("_test.go")]
    if not texts:
        raise SystemExit(f"{language}: there is nothing in {folder}")
    return {found for text in texts for found in re.findall(name, re.sub(comment, "", text))}


def read_absent(path):
    """{(function, language): why}"""
    absent = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        parts = line.split(None, 2)
        if len(parts) < 3 or parts[1] not in LANGUAGES or tuple(parts[:2]) in absent:
            raise SystemExit(f"{path.name}, line {number}: 'function language why' is wanted, each once, not '{line}'")
        absent[tuple(parts[:2])] = parts[2]
    return absent


def failures_of(functions, used, absent, language):
    for function in sorted(functions):
        if (function, language) in absent:
            if function in used:
                yield f"{function} is listed as absent in {language}, where it is used"
        elif function not in used:
            yield f"{function} is not used in {language}: give it a place there, or list it in absent.txt with why not"


def main(compiler, root):
    root = pathlib.Path(root)
    sys.path.insert(0, str(root / "tests" / "checks"))
    import declarations

    functions = {function.name for function in declarations.read(root / "include", compiler).functions}
    absent = read_absent(root / "bindings" / "conformance" / "absent.txt")
    failures = [f"{function} in absent.txt is no function" for function, _ in absent if function not in functions]
    for language in LANGUAGES:
        found = list(failures_of(functions, names_used(root, language), absent, language))
        missing = sum(1 for _, where in absent if where == language)
        print(f"{language}: {len(functions) - missing - len(found)} of {len(functions)} functions, {missing} listed as absent")
        failures += found
    return "\n".join(failures) or None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

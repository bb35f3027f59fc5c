"""cases_cover.py - the cases have every method, and every word of every enumeration: dtypes, kinds, rules, policies, statuses. What
is new in the headers asks for a case.

    cases_cover.py COMPILER ROOT"""
import json
import pathlib
import sys

# Enumerators whose words are in no case.
LEFT_OUT = {
    "EMR_ENOMEM": "an allocator's matter, which packages have none of",
    "EMR_ECANCELED": "who stops a call gets a language's own error",
    "EMR_OK": "no failure",
    "EMR_DTYPE_NONE": "no dtype",
}
PREFIXES = ["EMR_E", "EMR_DTYPE_", "EMR_MODULATOR_KIND_", "EMR_RESCALE_PER_", "EMR_RESCALE_", "EMR_MASK_RULE_", "EMR_TIE_",
            "EMR_ON_NONFINITE_", "EMR_ON_MISMATCH_", "EMR_ON_MISSING_", "EMR_BASE_CHECK_", "EMR_BLOCK_TYPE_", "EMR_HEAD_KIND_",
            "EMR_SEARCH_PARTNER_", "EMR_SEARCH_POOL_", "EMR_STATISTICS_ROUNDING_", "EMR_COMBINATION_NONFINITE_",
            "EMR_ACTION_", "EMR_COMBINED_ACTION_", "EMR_ROLE_"]
# Of these the first is what an absent key means.
DEFAULTS = {"DEFAULT", "ERROR", "FIRST", "LOWEST"}


def texts_of(value):
    """Every text in it; a status only where it is that of an error."""
    if isinstance(value, dict):
        for key, member in value.items():
            yield from texts_of(member) if key != "statuses" else ()
    elif isinstance(value, list):
        for member in value:
            yield from texts_of(member)
    elif isinstance(value, str):
        yield value


def word_of(name):
    prefix = next((prefix for prefix in PREFIXES if name.startswith(prefix)), None)
    if prefix is None or name[len(prefix):] in DEFAULTS:
        return None
    return name if prefix in ("EMR_E",) else name[len(prefix):] if prefix == "EMR_DTYPE_" else name[len(prefix):].lower()


def main(compiler, root):
    root = pathlib.Path(root)
    sys.path.insert(0, str(root / "tests" / "checks"))
    import declarations

    cases = json.loads((root / "bindings" / "conformance" / "cases.json").read_text())
    texts, steps = set(texts_of(cases)), [step for case in cases["cases"] for step in case["steps"]]
    methods = [method for step in steps if step["do"] == "methods" for method, *_ in step["expect"]["methods"]]
    combined = {step["method"] for step in steps if step["do"] == "combine"}
    failures = [f"no case combines by the method {method}" for method in methods if method not in combined]
    names = [name for name in declarations.read(root / "include", compiler).enumerators if name not in LEFT_OUT]
    failures += [f"no case has '{word_of(name)}' ({name})" for name in names if word_of(name) and word_of(name) not in texts]
    failures += [f"{name} is left out, but a case has it" for name in LEFT_OUT if word_of(name) in texts]
    print(f"{len(methods)} methods, {sum(1 for name in names if word_of(name))} words, {len(cases['cases'])} cases")
    return "\n".join(failures) or (None if methods else "no methods")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

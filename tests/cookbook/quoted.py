"""quoted.py - what docs/cookbook.md quotes of examples is what these have, and the C on README.md's first screen compiles.

A quotation is a block below a line `<!-- from FILE -->`: what lies in that file between the lines `// cookbook: begin` and
`// cookbook: end`. With --write the page gets what the files have.

    quoted.py [--write] COMPILER ROOT"""
import pathlib
import re
import shlex
import subprocess
import sys
import textwrap

QUOTED = re.compile(r"(^<!-- from (\S+) -->\n```\w+\n)(.*?)(^```$)", re.M | re.S)
SETTING = """#include <emr/emr.h>
void act(const emr_weights *weights, size_t n_weights);
void act(const emr_weights *weights, size_t n_weights)
{
    emr_model *base;
    emr_bundle *bundle;
    emr_session *session;
    emr_error error;
    %s
}
"""


def quotation(path):
    if not path.exists():
        raise SystemExit(f"{path} is not there")
    lines = re.search(r"^[ \t]*// cookbook: begin\n(.*?)^[ \t]*// cookbook: end$", path.read_text(), re.M | re.S)
    if not lines:
        raise SystemExit(f"{path} has no lines between '// cookbook: begin' and '// cookbook: end'")
    return textwrap.dedent(lines[1]).strip("\n") + "\n"


def quotations(page, root):
    """(file, what the page has of it, what it has)"""
    return [(name, code, quotation(root / name)) for _, name, code, _ in QUOTED.findall(page.read_text())]


def compile_first_c(readme, compiler, include):
    code = re.search(r"^```c\n(.*?)^```$", readme.read_text(), re.M | re.S)[1]
    run = subprocess.run([*shlex.split(compiler), "-x", "c", "-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{include}", "-fsyntax-only", "-"],
                         input=SETTING % code, capture_output=True, text=True)
    return run.stderr


def main(compiler, root, write=False):
    root = pathlib.Path(root)
    page = root / "docs" / "cookbook.md"
    if write:
        page.write_text(QUOTED.sub(lambda found: found[1] + quotation(root / found[2]) + found[4], page.read_text()))
    found = quotations(page, root)
    failures = [f"docs/cookbook.md does not have what {name} has: quoted.py --write" for name, ours, own in found if ours != own]
    print(f"{len(found)} quotations")
    if not found:
        failures.append("the page quotes nothing, so this check is broken")
    return "\n".join([*failures, compile_first_c(root / "README.md", compiler, root / "include")]).strip() or None


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--write"]
    sys.exit(main(*words, write="--write" in sys.argv))

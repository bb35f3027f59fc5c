"""links.py ROOT - every link in the texts leads to a file that is there, and to a heading of it."""
import pathlib
import re
import sys

FOLDERS = ["", "docs", "examples", "tests", "bench"]


def slug(heading):
    return re.sub(r"[^\w\- ]", "", heading.strip().lower().replace("`", "")).replace(" ", "-")


def headings(path):
    text = re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.M | re.S)
    return {slug(h) for h in re.findall(r"^#+ (.*)$", text, re.M)}


def texts(root):
    for folder in FOLDERS:
        yield from sorted((root / folder).glob("**/*.md" if folder else "*.md"))
    yield from sorted(root.glob("bindings/*/README.md"))


def main(root):
    root, failures, n = pathlib.Path(root), [], 0
    for text in texts(root):
        for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text.read_text("utf-8")):
            name, _, heading = target.partition("#")
            path = text.parent / name if name else text
            n += 1
            if not path.exists():
                failures.append(f"{text.relative_to(root)}: {target} is not there")
            elif heading and heading not in headings(path):
                failures.append(f"{text.relative_to(root)}: {target}: there is no such heading")
    print(f"{n} links")
    return "\n".join(failures) or (None if n else "no links at all, so this check is broken")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

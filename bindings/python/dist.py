"""dist.py - puts the library's sources into a source distribution, in place of the link to the tree around
this package."""

import os
import pathlib
import shutil
import subprocess

PARTS = [
    "LICENSE",
    "meson.build",
    "meson_options.txt",
    "include",
    "lib",
    "fit",
    "remote",
    "tools/emr",
    "tests/checks/declarations.py",
]

library = pathlib.Path(os.environ["MESON_DIST_ROOT"], "subprojects", "libemr")
tree = pathlib.Path(os.environ["MESON_SOURCE_ROOT"], "subprojects", "libemr").resolve()
library.unlink()
for name in subprocess.check_output(["git", "ls-files", *PARTS], cwd=tree, text=True).splitlines():
    target = library / name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(tree / name, target)

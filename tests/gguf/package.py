"""package.py - a python that has the package `gguf`: the one that runs, or one that it is replaced by. It lies in .venv of
the source tree, where `make setup` puts it if no python3 has it."""
import os
import pathlib
import subprocess
import sys

try:
    import gguf
    import numpy
except ImportError:
    HERE = pathlib.Path(__file__).resolve()
    for other in [HERE.parents[2] / ".venv/bin/python", pathlib.Path("/usr/bin/python3")]:
        if other.exists() and os.environ.get("EMR_TEST_PYTHON") != str(other):
            if subprocess.run([other, "-c", "import gguf, numpy"], capture_output=True).returncode == 0:
                os.environ["EMR_TEST_PYTHON"] = str(other)
                os.execv(other, [str(other), *sys.argv])
    sys.exit("no python3 has the package gguf (make setup puts it into .venv)")

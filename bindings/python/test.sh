#!/bin/sh
# test.sh - installs the package as a user would, into a virtual environment of its own, and runs mypy and the tests there.
# Where Python or its headers are missing it says so, and that nothing was tested.
set -eu
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
venv=.venv-python

missing() {
    echo "bindings/python is not tested: $1"
    exit 0
}
command -v "$python" >/dev/null || missing "$python is not there"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 9))' || missing "$python is older than 3.9"
"$python" -c 'import ensurepip' 2>/dev/null || missing "$python has no ensurepip (Debian: python3-venv)"
"$python" -c 'import os, sysconfig; os.stat(os.path.join(sysconfig.get_path("include"), "Python.h"))' 2>/dev/null ||
    missing "the headers of $python are not there (Debian: python3-dev)"

[ -x $venv/bin/python ] || "$python" -m venv $venv
$venv/bin/python -m pip install --quiet --disable-pip-version-check "./bindings/python[test]" -Cbuild-dir=build-python
cd bindings/python
../../$venv/bin/python -m mypy
../../$venv/bin/python -m pytest -q -ra "$@"

#!/bin/sh
# test.sh - installs the package as a user would, into a virtual environment of its own, and runs mypy and the tests there;
# then those with PyTorch and transformers, where `make test-packages` has put these into .venv-packages.
# Where something is missing it says so, and what is not tested.
set -eu
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}

missing() {
    echo "bindings/python is not tested: $1"
    exit 0
}
command -v "$python" >/dev/null || missing "$python is not there"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 9))' || missing "$python is older than 3.9"
"$python" -c 'import ensurepip' 2>/dev/null || missing "$python has no ensurepip (Debian: python3-venv)"
"$python" -c 'import os, sysconfig; os.stat(os.path.join(sysconfig.get_path("include"), "Python.h"))' 2>/dev/null ||
    missing "the headers of $python are not there (Debian: python3-dev)"

install() { # into a virtual environment, with a build folder of its own
    "$1"/bin/python -m pip install --quiet --disable-pip-version-check "./bindings/python[test]" --config-settings=build-dir="$2"
}

[ -x .venv-python/bin/python ] || "$python" -m venv .venv-python
install .venv-python build-python
(cd bindings/python && ../../.venv-python/bin/python -m mypy)
.venv-python/bin/python -m pytest -q -ra -c bindings/python/pyproject.toml bindings/python/tests \
    --ignore-glob='*test_torch*' --ignore-glob='*test_transformers*' "$@"

packages=.venv-packages
if [ ! -x $packages/bin/python ] || [ ! -f $packages/requirements.txt ]; then
    echo "bindings/python is not tested with PyTorch and transformers: make test-packages puts them into $packages"
    exit 0
fi
if [ ! -x .venv-python-packages/bin/python ]; then
    $packages/bin/python -m venv .venv-python-packages
    ls -d "$PWD"/$packages/lib/python3*/site-packages >"$(ls -d .venv-python-packages/lib/python3*/site-packages)/packages.pth"
fi
install .venv-python-packages build-python-packages
.venv-python-packages/bin/python -m pytest -q -ra -c bindings/python/pyproject.toml bindings/python/tests/test_torch*.py \
    bindings/python/tests/test_transformers*.py bindings/python/tests/test_cookbook.py "$@"

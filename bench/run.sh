#!/bin/sh
# run.sh - every benchmark, one after another: what `meson compile -C build bench` runs.
set -eu
file_bench=$1
kernel_bench=$2
echo "machine: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(nproc) processors"
"$kernel_bench"
"$file_bench" --params 64Mi --tasks 8
"$file_bench" --params 64Mi --tasks 8 --memory 16Mi --runs 1
"$file_bench" --params 4Mi --tasks 64 --runs 1

#!/usr/bin/env bash
# run.sh BUILD SECONDS [TARGET...] - runs fuzz targets of a build with -Dfuzz=true (docs/fuzzing.md), each for so many
# seconds on a copy of its corpus, as many side by side as there are processors. Prints executions and coverage.
# Exits with 1 if a target crashed, ran out of time or memory, or ran nothing, and names the input.
# With FUZZ_KEEP=DIRECTORY, what was found is kept there, as DIRECTORY/TARGET, to be merged into the corpora.
set -euo pipefail

if [ $# -lt 2 ]; then
    sed -n '2,6s/^# //p' "$0"
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "$1" && pwd)/tests/fuzz
seconds=$2
shift 2
[ $# -gt 0 ] || set -- bundle drop journal safetensors gguf gguf_split shard_index adapter config recipe round_trip spec permutation gram coefficients surgery ensemble

if [ -w /dev/shm ]; then # one target writes a file for every input
    work=$(mktemp -d -p /dev/shm)
else
    work=$(mktemp -d)
fi
trap 'rm -rf "$work"' EXIT
crashes=$build/crashes
mkdir -p "$crashes"
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:allocator_may_return_null=1:quarantine_size_mb=16}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}

run_target() { # name
    local target=$1 corpus=${FUZZ_KEEP:+$FUZZ_KEEP/$1} dict=$here/$1.dict
    corpus=${corpus:-$work/$target}
    mkdir -p "$corpus" "$work/tmp-$target"
    cp "$here/corpus/$target"/* "$corpus"
    [ ! -f "$dict" ] || dict_option=-dict=$dict
    TMPDIR=$work/tmp-$target "$build/fuzz_$target" -max_total_time="$seconds" -timeout=25 -rss_limit_mb=2048 \
        -max_len=65536 -print_final_stats=1 -artifact_prefix="$crashes/$target-" ${dict_option:-} "$corpus" \
        >"$work/$target.log" 2>&1
}

report_target() { # name, exit status
    local log=$work/$1.log executed covered
    executed=$(awk '/^stat::number_of_executed_units:/ {print $2}' "$log")
    covered=$(grep -o 'cov: [0-9]* ft: [0-9]*' "$log" | tail -1)
    printf '%-12s %10s executions  %s\n' "$1" "${executed:-0}" "$covered"
    if [ "$2" -ne 0 ] || [ "${executed:-0}" -eq 0 ]; then
        grep -vE '^#[0-9]+[[:space:]]' "$log" | tail -60
        echo "$1 failed; the input: $(sed -n 's/.*Test unit written to //p' "$log" | tail -1)"
        return 1
    fi
}

# Rounds of as many targets as there are processors.
failed=0
while [ $# -gt 0 ]; do
    round=("${@:1:$(nproc)}")
    shift "${#round[@]}"
    pids=()
    for target in "${round[@]}"; do
        run_target "$target" &
        pids+=($!)
    done
    for i in "${!round[@]}"; do
        status=0
        wait "${pids[$i]}" || status=$?
        report_target "${round[$i]}" "$status" || failed=1
    done
done
exit "$failed"

#!/bin/sh
# Everything that the Rust packages promise; `test.sh valgrind` runs the tests of the safe layer under valgrind instead.
set -eu
cd "$(dirname "$0")"

if ! command -v cargo >/dev/null; then
    echo "bindings/rust: NOT tested, there is no cargo"
    exit 0
fi

if [ "${1:-}" = valgrind ]; then
    cargo test --no-run
    for program in $(cargo test --no-run --message-format=json 2>/dev/null | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p'); do
        echo "== $program"
        valgrind -q --error-exitcode=99 --leak-check=full --show-leak-kinds=definite \
            --errors-for-leak-kinds=definite "$program"
    done
    exit 0
fi

cargo fmt --check
cargo clippy --all-targets -- -D warnings
cargo test
RUSTDOCFLAGS="-D warnings" cargo doc --no-deps

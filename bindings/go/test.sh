#!/bin/sh
# test.sh [race|asan|cgocheck] - vets and tests the Go package; with a word, its tests under the race detector, with C
# under AddressSanitizer, or with every pointer that Go hands to C checked.
set -eu
cd "$(dirname "$0")/../.."

if ! command -v go >/dev/null; then
    echo "test-go: go is not there, so the Go package was not tested"
    exit 0
fi
# Go's build cache sees a package's own files change; of headers in other folders a digest tells.
CGO_CFLAGS="-O2 -g -DEMR_SOURCES=$(cat include/emr/*.h lib/*/*.h | cksum | cut -d' ' -f1)"
export CGO_CFLAGS

case "${1:-}" in
"") go vet ./bindings/go/... && go test ./bindings/go/... ;;
race) go test -race ./bindings/go/... ;;
asan) go test -asan ./bindings/go/... ;;
cgocheck) GOEXPERIMENT=cgocheck2 go test ./bindings/go/... ;;
*)
    echo "test-go: there is no '$1'" >&2
    exit 2
    ;;
esac

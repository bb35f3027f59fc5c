// Package numeric is the layer numeric of the C library, compiled for bindings/go.
package numeric

// #cgo CFLAGS: -std=c11 -O3 -fvisibility=hidden -include ${SRCDIR}/../core/exact.h
// #cgo CFLAGS: -I${SRCDIR}/.. -I${SRCDIR}/../../include -DEMR_BUILDING
// #cgo amd64 CFLAGS: -DEMR_WITH_AVX2 -DEMR_WITH_AVX512
// #cgo arm64 CFLAGS: -DEMR_WITH_NEON
import "C"

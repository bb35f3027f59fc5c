// Package bundle is the layer bundle of the C library, compiled for bindings/go.
package bundle

// #cgo CFLAGS: -std=c11 -O3 -fvisibility=hidden -include ${SRCDIR}/../core/exact.h
// #cgo CFLAGS: -I${SRCDIR}/.. -I${SRCDIR}/../../include -DEMR_BUILDING
// #cgo !emr_nozstd CFLAGS: -DEMR_WITH_ZSTD
// #cgo !emr_nozstd pkg-config: libzstd
import "C"

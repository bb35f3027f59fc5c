// Package merge is the layer merge of the C library, compiled for bindings/go.
package merge

// #cgo CFLAGS: -std=c11 -O3 -fvisibility=hidden -include ${SRCDIR}/../core/exact.h
// #cgo CFLAGS: -I${SRCDIR}/.. -I${SRCDIR}/../../include -DEMR_BUILDING
// #cgo !emr_nozstd CFLAGS: -DEMR_WITH_ZSTD
import "C"

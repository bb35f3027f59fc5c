// Package core is the layer core of the C library, compiled for bindings/go.
package core

// #cgo CFLAGS: -std=c11 -O3 -fvisibility=hidden -include ${SRCDIR}/../core/exact.h
// #cgo CFLAGS: -I${SRCDIR}/.. -I${SRCDIR}/../../include -DEMR_BUILDING
// #cgo pkg-config: libxxhash
import "C"

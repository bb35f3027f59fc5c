// Package role is the layer role of the C library, compiled for bindings/go.
package role

// #cgo CFLAGS: -std=c11 -O3 -fvisibility=hidden -include ${SRCDIR}/../core/exact.h
// #cgo CFLAGS: -I${SRCDIR}/.. -I${SRCDIR}/../../include -DEMR_BUILDING
import "C"

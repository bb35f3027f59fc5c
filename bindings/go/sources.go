//go:build !emr_system

package emr

// The C library is compiled from its sources, a package a layer.

// #cgo CFLAGS: -I${SRCDIR}/../../include
// #cgo linux LDFLAGS: -Wl,--as-needed
import "C"

import (
	_ "libemr/include/emr"
	_ "libemr/lib/align"
	_ "libemr/lib/bundle"
	_ "libemr/lib/checkpoint"
	_ "libemr/lib/combine"
	_ "libemr/lib/core"
	_ "libemr/lib/io"
	_ "libemr/lib/merge"
	_ "libemr/lib/method"
	_ "libemr/lib/model"
	_ "libemr/lib/modulator"
	_ "libemr/lib/numeric"
	_ "libemr/lib/parallel"
	_ "libemr/lib/pass"
	_ "libemr/lib/role"
	_ "libemr/lib/search"
	_ "libemr/lib/session"
	_ "libemr/lib/statistics"
	_ "libemr/lib/system"
)

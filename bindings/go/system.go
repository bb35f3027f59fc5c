//go:build emr_system

package emr

// The C library is the system's, found by pkg-config.

// #cgo pkg-config: libemr
import "C"

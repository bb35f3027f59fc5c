package emr

// #include "bridge.h"
import "C"

// Version is the version of the C library that runs.
func Version() string {
	return C.GoString(C.emr_version())
}

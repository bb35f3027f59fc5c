package emr

// #include "bridge.h"
import "C"

// Version is the version of the C library that runs, "0.2.0".
func Version() string {
	return C.GoString(C.emr_version())
}

// VersionNumber is the same as one number that can be compared: of 1.2.3 it is 1002003.
func VersionNumber() int {
	return int(C.emr_version_number())
}

// Features are what the C library can do.
type Features struct {
	Kernels     string // the kernels that this processor gets: "c", "avx2", "avx512", "neon"
	ZstdVersion int    // 10504 is 1.5.4; 0: compressed bundles cannot be read
	Hosted      bool
	FormatMajor int // the newest bundle format that is read and written
	FormatMinor int
}

// GetFeatures asks the C library what it can do.
func GetFeatures() Features {
	c := C.emr_features{size: C.sizeof_emr_features}
	C.emr_get_features(&c)
	return Features{
		Kernels: C.GoString(c.kernels), ZstdVersion: int(c.zstd_version), Hosted: c.hosted != 0,
		FormatMajor: int(c.format_major), FormatMinor: int(c.format_minor),
	}
}

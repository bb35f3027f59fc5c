package emr

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What cgo compiles, every C file of every layer that sources.go imports, is what meson compiles.
func TestSourcesAreThoseOfMeson(t *testing.T) {
	build, err := os.ReadFile("../../lib/meson.build")
	if err != nil {
		t.Fatal(err)
	}
	var inMeson []string
	for _, match := range regexp.MustCompile(`'([a-z0-9_]+/[a-z0-9_]+\.c)'`).FindAllStringSubmatch(string(build), -1) {
		inMeson = append(inMeson, match[1])
	}
	imports, err := os.ReadFile("sources.go")
	if err != nil {
		t.Fatal(err)
	}
	var inGo []string
	files, err := filepath.Glob("../../lib/*/*.c")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		file = strings.TrimPrefix(filepath.ToSlash(file), "../../lib/")
		layer, _, _ := strings.Cut(file, "/")
		if !strings.Contains(string(imports), `"libemr/lib/`+layer+`"`) {
			t.Errorf("sources.go does not import the layer of lib/%s", file)
		}
		inGo = append(inGo, file)
	}
	slices.Sort(inMeson)
	inMeson = slices.Compact(inMeson)
	slices.Sort(inGo)
	if len(inGo) == 0 || !slices.Equal(inMeson, inGo) {
		t.Errorf("meson compiles %d files, cgo %d:\n%v\n%v", len(inMeson), len(inGo), inMeson, inGo)
	}
}

// The kernels of this processor were compiled for it.
func TestKernelsAreThere(t *testing.T) {
	f := GetFeatures()
	t.Logf("libemr %s (%d), kernels %s, zstd %d, format %d.%d", Version(), VersionNumber(), f.Kernels, f.ZstdVersion,
		f.FormatMajor, f.FormatMinor)
	info, err := os.ReadFile("/proc/cpuinfo")
	if err == nil && strings.Contains(string(info), " avx2 ") && f.Kernels == "c" {
		t.Error("the processor has AVX2, which is not used")
	}
	if !f.Hosted || f.FormatMajor < 1 {
		t.Error(f)
	}
}

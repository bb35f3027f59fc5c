package emr

// #include "bridge.h"
import "C"

import (
	"runtime"
	"strings"
	"unsafe"
)

// An arena is the memory of one call: C's, freed at its end, and Go's, which is pinned till then.
type arena struct {
	blocks []unsafe.Pointer
	pins   runtime.Pinner
	err    error // the first text that C cannot take
}

func (a *arena) free() {
	for _, b := range a.blocks {
		C.free(b)
	}
	a.blocks = nil
	a.pins.Unpin()
}

// array is n zeroed elements in C memory, or nil for 0.
func array[T any](a *arena, n int) []T {
	if n == 0 {
		return nil
	}
	var zero T
	p := C.calloc(C.size_t(n), C.size_t(unsafe.Sizeof(zero)))
	if p == nil {
		panic("emr: out of memory")
	}
	a.blocks = append(a.blocks, p)
	return unsafe.Slice((*T)(p), n)
}

// object is one of them.
func object[T any](a *arena) *T {
	return &array[T](a, 1)[0]
}

// string is a copy for C, or NULL for "".
func (a *arena) string(s string) *C.char {
	if s == "" {
		return nil
	}
	return a.text(s)
}

// text is a copy for C, also of "".
func (a *arena) text(s string) *C.char {
	if strings.IndexByte(s, 0) >= 0 && a.err == nil {
		a.err = invalid("a text has a zero byte: %q", s)
	}
	p := C.CString(s)
	a.blocks = append(a.blocks, unsafe.Pointer(p))
	return p
}

// strings is an array of copies.
func (a *arena) strings(texts []string) **C.char {
	p := array[*C.char](a, len(texts))
	for i, s := range texts {
		p[i] = a.text(s)
	}
	return unsafe.SliceData(p)
}

// pinned is the address of a slice of Go memory, which stays where it is as long as the arena.
func pinned[T any](a *arena, s []T) *T {
	if len(s) == 0 {
		return nil
	}
	a.pins.Pin(&s[0])
	return &s[0]
}

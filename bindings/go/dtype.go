package emr

// #include "bridge.h"
import "C"

import (
	"unsafe"
)

// A DType is the type of a tensor's elements. The zero value is "not set": the default wherever one is optional.
type DType uint32

// The types. Those before Bool are floats, which can be merged and converted; all others are carried as bytes.
const (
	F32        DType = C.EMR_DTYPE_F32
	F16        DType = C.EMR_DTYPE_F16
	BF16       DType = C.EMR_DTYPE_BF16
	F64        DType = C.EMR_DTYPE_F64
	F8E4M3     DType = C.EMR_DTYPE_F8_E4M3 // e4m3fn: no infinities, largest value 448
	F8E5M2     DType = C.EMR_DTYPE_F8_E5M2
	Bool       DType = C.EMR_DTYPE_BOOL
	U8         DType = C.EMR_DTYPE_U8
	I8         DType = C.EMR_DTYPE_I8
	U16        DType = C.EMR_DTYPE_U16
	I16        DType = C.EMR_DTYPE_I16
	U32        DType = C.EMR_DTYPE_U32
	I32        DType = C.EMR_DTYPE_I32
	U64        DType = C.EMR_DTYPE_U64
	I64        DType = C.EMR_DTYPE_I64
	F8E8M0     DType = C.EMR_DTYPE_F8_E8M0 // from here on opaque: block scales and sub-byte types
	F8E4M3FNUZ DType = C.EMR_DTYPE_F8_E4M3FNUZ
	F8E5M2FNUZ DType = C.EMR_DTYPE_F8_E5M2FNUZ
	F4         DType = C.EMR_DTYPE_F4
	F6E2M3     DType = C.EMR_DTYPE_F6_E2M3
	F6E3M2     DType = C.EMR_DTYPE_F6_E3M2
	C64        DType = C.EMR_DTYPE_C64
)

// Bits is the size of an element, or 0 for a number that is no dtype.
func (d DType) Bits() int {
	return int(C.emr_dtype_bits(C.emr_dtype(d)))
}

// String is the name as safetensors spells it ("BF16"), or "?".
func (d DType) String() string {
	return C.GoString(C.emr_dtype_name(C.emr_dtype(d)))
}

// IsFloat says whether tensors of the type can be merged and converted.
func (d DType) IsFloat() bool {
	return C.emr_dtype_is_float(C.emr_dtype(d)) != 0
}

// bytes is the size of n elements.
func (d DType) bytes(n uint64) (uint64, error) {
	bits := uint64(d.Bits())
	if bits == 0 {
		return 0, invalid("%d is no dtype", uint32(d))
	}
	if n > 1<<56 || n*bits%8 != 0 {
		return 0, invalid("%d elements of %v are no whole number of bytes", n, d)
	}
	return n * bits / 8, nil
}

// ParseDType is the type with the name that safetensors has for it. Case matters.
func ParseDType(name string) (DType, error) {
	var a arena
	defer a.free()
	d := DType(C.emr_dtype_from_name(a.text(name)))
	if d == 0 || a.err != nil {
		return 0, &Error{Status: ErrNotFound, Sentence: "there is no dtype " + name}
	}
	return d, nil
}

// Convert converts as many float elements as fill the destination, rounding once, to nearest, ties to even; beyond
// the largest finite value comes infinity, or of F8E4M3 the largest value.
func Convert(to DType, destination []byte, from DType, source []byte) error {
	if !to.IsFloat() || !from.IsFloat() {
		return invalid("%v cannot be converted to %v: both must be floats", from, to)
	}
	n := len(destination) / (to.Bits() / 8)
	if len(destination)%(to.Bits()/8) != 0 || len(source) != n*(from.Bits()/8) {
		return invalid("%d bytes of %v do not fill %d bytes of %v", len(source), from, len(destination), to)
	}
	return outcome(C.emr_convert(C.emr_dtype(to), unsafe.Pointer(unsafe.SliceData(destination)),
		C.emr_dtype(from), unsafe.Pointer(unsafe.SliceData(source)), C.size_t(n)))
}

// Bytes is the memory of a slice of numbers, as tensors are given and taken: not a copy. F16 and BF16 are uint16.
func Bytes[T ~float32 | ~float64 | ~int8 | ~int16 | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~bool |
	~complex64](numbers []T) []byte {
	if len(numbers) == 0 {
		return []byte{}
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&numbers[0])), len(numbers)*int(unsafe.Sizeof(numbers[0])))
}

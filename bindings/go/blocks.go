package emr

// #include "bridge.h"
import "C"

import "unsafe"

// A BlockType is one of ggml's plainer quantised types: 32 values as a block of small integers with a scale. The
// zero value is "not in blocks".
type BlockType uint32

// The types.
const (
	Q4_0 BlockType = C.EMR_BLOCK_TYPE_Q4_0
	Q4_1 BlockType = C.EMR_BLOCK_TYPE_Q4_1
	Q5_0 BlockType = C.EMR_BLOCK_TYPE_Q5_0
	Q5_1 BlockType = C.EMR_BLOCK_TYPE_Q5_1
	Q8_0 BlockType = C.EMR_BLOCK_TYPE_Q8_0
)

// BlockValues is how many values are in a block of every type.
const BlockValues = C.EMR_BLOCK_VALUES

// Bytes is the size of a block, or 0 for a number that is none of the types.
func (b BlockType) Bytes() int {
	return int(C.emr_block_bytes(C.emr_block_type(b)))
}

// String is the name as GGUF spells it ("Q8_0"), or "?".
func (b BlockType) String() string {
	return C.GoString(C.emr_block_name(C.emr_block_type(b)))
}

// Quantise rounds values into blocks, to the bit as ggml does.
func Quantise(to BlockType, blocks []byte, values []float32) error {
	if err := to.check(blocks, values); err != nil {
		return err
	}
	return outcome(C.emr_quantise(C.emr_block_type(to), unsafe.Pointer(unsafe.SliceData(blocks)),
		(*C.float)(unsafe.SliceData(values)), C.size_t(len(values))))
}

// Dequantise computes the values that blocks stand for.
func Dequantise(from BlockType, values []float32, blocks []byte) error {
	if err := from.check(blocks, values); err != nil {
		return err
	}
	return outcome(C.emr_dequantise(C.emr_block_type(from), (*C.float)(unsafe.SliceData(values)),
		unsafe.Pointer(unsafe.SliceData(blocks)), C.size_t(len(values))))
}

func (b BlockType) check(blocks []byte, values []float32) error {
	if b.Bytes() == 0 {
		return invalid("%d is no type of blocks", uint32(b))
	}
	if len(values)%BlockValues != 0 || len(blocks) != len(values)/BlockValues*b.Bytes() {
		return invalid("%d values are not %d bytes of %v", len(values), len(blocks), b)
	}
	return nil
}

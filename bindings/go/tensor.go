package emr

// #include "bridge.h"
import "C"

import (
	"io"
	"unsafe"
)

// A Tensor is one named tensor of a model. Elements are stored row-major, little-endian, without gaps.
type Tensor struct {
	model *Model
	c     *C.emr_tensor
	name  string
	shape []uint64
}

func (m *Model) newTensor(c *C.emr_tensor) Tensor {
	t := Tensor{model: m, c: c, name: C.GoString(C.emr_tensor_name(c))}
	t.shape = dimensions(C.emr_tensor_shape(c), C.emr_tensor_rank(c))
	return t
}

// dimensions copies a shape of C's.
func dimensions(shape *C.uint64_t, rank C.uint32_t) []uint64 {
	return append([]uint64{}, unsafe.Slice((*uint64)(unsafe.Pointer(shape)), rank)...)
}

// Name is the tensor's name.
func (t Tensor) Name() string { return t.name }

// Shape is the tensor's dimensions, which the caller must not change.
func (t Tensor) Shape() []uint64 { return t.shape }

// DType is the type of the elements; 0 when the model is closed.
func (t Tensor) DType() DType {
	if t.model.h.use() != nil {
		return 0
	}
	defer t.model.h.done()
	return DType(C.emr_tensor_dtype(t.c))
}

// Count is the number of elements; 0 when the model is closed.
func (t Tensor) Count() uint64 {
	if t.model.h.use() != nil {
		return 0
	}
	defer t.model.h.done()
	return uint64(C.emr_tensor_count(t.c))
}

// Size is the number of bytes; 0 when the model is closed.
func (t Tensor) Size() int64 {
	if t.model.h.use() != nil {
		return 0
	}
	defer t.model.h.done()
	return int64(C.emr_tensor_bytes(t.c))
}

// SameShape says whether two tensors have the same dimensions.
func (t Tensor) SameShape(other Tensor) bool {
	end, err := useAll(t.model.h, other.model.h)
	if err != nil {
		return false
	}
	defer end()
	return C.emr_tensor_same_shape(t.c, other.c) != 0
}

// ReadAt reads bytes of any range. It implements [io.ReaderAt].
func (t Tensor) ReadAt(p []byte, offset int64) (int, error) {
	if err := t.model.h.use(); err != nil {
		return 0, err
	}
	defer t.model.h.done()
	if offset < 0 {
		return 0, invalid("tensor %q: byte %d", t.name, offset)
	}
	n, size := int64(len(p)), int64(C.emr_tensor_bytes(t.c))
	if offset >= size {
		n = 0
	} else if n > size-offset {
		n = size - offset
	}
	if n > 0 {
		var e C.emr_error
		status := C.emr_tensor_read(t.c, C.uint64_t(offset), unsafe.Pointer(&p[0]), C.size_t(n), &e)
		if err := failure(status, &e); err != nil {
			return 0, err
		}
	}
	if n < int64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

// Bytes reads the whole tensor.
func (t Tensor) Bytes() ([]byte, error) {
	if err := t.model.h.use(); err != nil {
		return nil, err
	}
	defer t.model.h.done()
	p := make([]byte, t.Size())
	_, err := t.ReadAt(p, 0)
	return p, err
}

// ReadFloats reads as many elements of a float tensor as fill values, from number first on: widened exactly, or,
// from F64, rounded.
func (t Tensor) ReadFloats(values []float32, first uint64) error {
	if err := t.model.h.use(); err != nil {
		return err
	}
	defer t.model.h.done()
	var e C.emr_error
	return failure(C.emr_tensor_read_floats(t.c, C.uint64_t(first), C.size_t(len(values)),
		(*C.float)(unsafe.SliceData(values)), &e), &e)
}

// Floats reads a whole float tensor.
func (t Tensor) Floats() ([]float32, error) {
	values := make([]float32, t.Count())
	return values, t.ReadFloats(values, 0)
}

// GGUFBlocks is the name of the blocks that a tensor consists of which its model has as bytes ("Q4_K"), and how
// many elements they are. "" for any other tensor.
func (t Tensor) GGUFBlocks() (string, uint64) {
	if t.model.h.use() != nil {
		return "", 0
	}
	defer t.model.h.done()
	var elements C.uint64_t
	name := C.emr_gguf_blocks(t.c, &elements)
	if name == nil {
		return "", 0
	}
	return C.GoString(name), uint64(elements)
}

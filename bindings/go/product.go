package emr

// #include "bridge.h"
import "C"

import "fmt"

// A Product is some rows of a merged tensor, seen as a matrix of its first dimension by all others, times a
// batch of vectors. emr/product.h says to the bit what it is.
type Product struct {
	Tensor      string    // its name
	X           []float32 // the vectors
	Y           []float32 // theirs times the rows
	XStride     int       // floats from one vector to the next; 0: the length of a row
	YStride     int       // floats from one to the next; 0: Rows
	FirstRow    uint64
	Rows        uint64 // in a session, 0: all from FirstRow on
	Columns     uint64 // of a row: a divisor of the tensor's columns; in a session, 0: those
	WithoutBase bool   // the change alone, as if all of the base's weights were 0
	Add         bool   // the product is added to what Y has
}

// marshal is the product of so many vectors for C. X and Y have room for them.
func (p *Product) marshal(a *arena, batch int) (*C.emr_product, error) {
	if err := p.check("X", len(p.X), batch, p.XStride, p.Columns); err != nil {
		return nil, err
	}
	if err := p.check("Y", len(p.Y), batch, p.YStride, p.Rows); err != nil {
		return nil, err
	}
	c := object[C.emr_product](a)
	*c = C.emr_product{
		size: C.sizeof_emr_product, name: a.text(p.Tensor), x: (*C.float)(pinned(a, p.X)),
		y: (*C.float)(pinned(a, p.Y)), x_stride: C.size_t(p.XStride), y_stride: C.size_t(p.YStride),
		batch: C.size_t(batch), first_row: C.uint64_t(p.FirstRow), n_rows: C.uint64_t(p.Rows),
		n_columns: C.uint64_t(p.Columns), without_base: flag(p.WithoutBase), add: flag(p.Add),
	}
	return c, a.err
}

func (p *Product) check(what string, room, batch, stride int, length uint64) error {
	if fits(room, batch, stride, length) {
		return nil
	}
	return invalidFor(p.Tensor, "a product: %s has %d floats: %d vectors of %d, %d apart, do not fit", what,
		room, batch, length, stride)
}

// invalidFor is an error for what was given for a tensor and cannot be handed to C.
func invalidFor(tensor, format string, arguments ...any) *Error {
	e := invalid("tensor '%s': %s", tensor, fmt.Sprintf(format, arguments...))
	e.Tensor = tensor
	return e
}

// fits says whether there is room for n vectors, one every `stride` elements (0: one behind the other).
func fits(room, n, stride int, length uint64) bool {
	if n == 0 {
		return true
	}
	step := uint64(stride)
	if stride == 0 {
		step = length
	}
	return stride >= 0 && length <= uint64(room) && (step == 0 || uint64(n-1) <= (uint64(room)-length)/step)
}

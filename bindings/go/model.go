package emr

// #include "bridge.h"
import "C"

import (
	"context"
	"io"
	"math/bits"
	"unsafe"
)

// A Model is an ordered set of named tensors that can be read in any range: opened from a checkpoint or out of a
// bundle, or built tensor by tensor. Calls that read may run at the same time; none while it is built.
type Model struct {
	h     *handle
	c     *C.emr_model
	owned *modelMemory // of a model that the program builds
}

// modelMemory is what a model that the program builds borrows from it.
type modelMemory struct {
	arena
	cells []unsafe.Pointer
}

func (m *modelMemory) free() {
	for _, c := range m.cells {
		freeCell(c)
	}
	m.arena.free()
}

// newModel is the Go object of a model of C's, which lives as long as its parents.
func newModel(c *C.emr_model, parents ...*handle) *Model {
	m := &Model{c: c}
	m.h = newHandle("model", func() { C.emr_model_destroy(&c) }, parents...)
	return guard(m, m.h)
}

// handle is the model's, or nil for no model.
func (m *Model) handle() *handle {
	if m == nil {
		return nil
	}
	return m.h
}

// pointer is the model for C, or NULL for no model.
func (m *Model) pointer() *C.emr_model {
	if m == nil {
		return nil
	}
	return m.c
}

// NewModel makes an empty model; the name is what messages call it ("": "model").
func NewModel(name string) (*Model, error) {
	var a arena
	defer a.free()
	options := C.emr_model_options{size: C.sizeof_emr_model_options, name: a.string(name)}
	if a.err != nil {
		return nil, a.err
	}
	m := &Model{owned: &modelMemory{}}
	var e C.emr_error
	if err := failure(C.emr_model_create(&m.c, &options, &e), &e); err != nil {
		return nil, err
	}
	c, owned := m.c, m.owned
	m.h = newHandle("model", func() {
		C.emr_model_destroy(&c)
		owned.free()
	})
	return guard(m, m.h), nil
}

// A Computation is what is asked of a computed tensor: as many elements as fill Out, from number First on.
type Computation struct {
	First uint64
	Count int
	Out   []byte // C's memory, of any alignment, during the call
	DType DType
}

// SetFloats fills Out with values, rounded to the tensor's type.
func (c *Computation) SetFloats(values []float32) error {
	return Convert(c.DType, c.Out, F32, Bytes(values))
}

// A TensorSpec describes a tensor of a model that the program builds. Its bytes are Data, or come from Reader, or
// are computed; if there is none of these they are pushed during a merge (Merge.Push).
type TensorSpec struct {
	Name   string
	DType  DType
	Shape  []uint64
	Blocks BlockType   // Data or Reader: of blocks of that type; DType is F32 or 0
	Data   []byte      // not copied (see Bytes): it must not change until the model and what uses it are closed
	Reader io.ReaderAt // from Offset on
	Offset int64
	// Compute fills elements, and may be called by several goroutines at a time. First is a multiple of Granule (0:
	// 1, or as many as make a byte), and so is Count but at the end; Count is at most MaxCount (0: 8192).
	Compute  func(*Computation) error
	Granule  uint32
	MaxCount uint32
}

type computed struct {
	dtype DType
	bits  int
	fn    func(*Computation) error
}

// bytes is how many the tensor has, and whether there is such a number: if not, C says why.
func (s *TensorSpec) bytes() (uint64, bool) {
	unit, of := uint64(s.DType.Bits()), uint64(8)
	if s.Blocks != 0 {
		unit, of = uint64(s.Blocks.Bytes()), BlockValues
	}
	count := uint64(1)
	for _, n := range s.Shape {
		hi, lo := bits.Mul64(count, n)
		if hi != 0 {
			return 0, false
		}
		count = lo
	}
	hi, lo := bits.Mul64(count, unit)
	return lo / of, unit != 0 && hi == 0 && lo%of == 0
}

// Add appends a tensor. After a failure the model is as before.
func (m *Model) Add(s TensorSpec) error {
	if err := m.h.own(); err != nil {
		return err
	}
	defer m.h.disown()
	if m.owned == nil {
		return &Error{Status: ErrState, Sentence: "tensors are added to models from NewModel alone"}
	}
	if s.Blocks != 0 && s.DType == 0 {
		s.DType = F32
	}
	var a arena
	defer a.free()
	desc := object[C.emr_tensor_desc](&a)
	*desc = C.emr_tensor_desc{
		size: C.sizeof_emr_tensor_desc, name: a.text(s.Name), dtype: C.emr_dtype(s.DType), rank: C.uint32_t(len(s.Shape)),
		granule: C.uint32_t(s.Granule), max_count: C.uint32_t(s.MaxCount), blocks: C.emr_block_type(s.Blocks),
	}
	shape := array[C.uint64_t](&a, len(s.Shape))
	for i, n := range s.Shape {
		shape[i] = C.uint64_t(n)
	}
	desc.shape = unsafe.SliceData(shape)
	if a.err != nil {
		return a.err
	}
	if size, ok := s.bytes(); ok {
		if err := m.lend(&s, size, desc); err != nil {
			return err
		}
	}
	var e C.emr_error
	return failure(C.emr_model_add(m.c, desc, &e), &e)
}

// lend gives C what the tensor's bytes come from, for as long as the model lives.
func (m *Model) lend(s *TensorSpec, size uint64, desc *C.emr_tensor_desc) error {
	if s.Data != nil {
		if uint64(len(s.Data)) != size {
			return invalid("tensor %q: %d bytes are given, %v of shape %v has %d", s.Name, len(s.Data), s.DType,
				s.Shape, size)
		}
		desc.data = C.emr_go_nothing()
		if size > 0 {
			desc.data = unsafe.Pointer(pinned(&m.owned.arena, s.Data))
		}
	}
	if s.Reader != nil {
		if s.Offset < 0 || uint64(s.Offset)+size > 1<<62 {
			return invalid("tensor %q: offset %d", s.Name, s.Offset)
		}
		table, h, err := readFrom(s.Reader, s.Offset+int64(size))
		if err != nil {
			return err
		}
		defer h.done()
		m.h.keep(h)
		desc.io, desc.offset = table, C.uint64_t(s.Offset)
	}
	if s.Compute != nil {
		p := newCell(&computed{s.DType, s.DType.Bits(), s.Compute})
		m.owned.cells = append(m.owned.cells, p)
		desc.compute, desc.user = (*[0]byte)(C.emrGoCompute), p
	}
	return nil
}

//export emrGoCompute
func emrGoCompute(c *C.emr_computation, e *C.emr_error) C.emr_status {
	return catch(e, func() error {
		t := cell[*computed](c.user)
		n := (int(c.count)*t.bits + 7) / 8
		return t.fn(&Computation{
			First: uint64(c.first), Count: int(c.count), Out: unsafe.Slice((*byte)(c.out), n), DType: t.dtype,
		})
	})
}

// AddTensor appends a tensor of another model, which it keeps alive: the same bytes, under the name ("": the same).
func (m *Model) AddTensor(t Tensor, name string) error {
	if err := m.h.own(); err != nil {
		return err
	}
	defer m.h.disown()
	if err := t.model.h.use(); err != nil {
		return err
	}
	defer t.model.h.done()
	var a arena
	defer a.free()
	p := a.string(name)
	if a.err != nil {
		return a.err
	}
	var e C.emr_error
	var status C.emr_status
	if name == "" {
		status = C.emr_model_add_tensor(m.c, t.c, &e)
	} else {
		status = C.emr_model_add_tensor_as(m.c, t.c, p, &e)
	}
	if err := failure(status, &e); err != nil {
		return err
	}
	if t.model != m {
		m.h.keep(t.model.h)
	}
	return nil
}

// Zeros is a model with the float tensors of another one, all values 0: the base of models that were not fine-tuned
// from one, such as adapters.
func Zeros(like *Model) (*Model, error) {
	if err := like.h.use(); err != nil {
		return nil, err
	}
	defer like.h.done()
	var c *C.emr_model
	var e C.emr_error
	if err := failure(C.emr_model_create_zeros(&c, like.c, nil, &e), &e); err != nil {
		return nil, err
	}
	return newModel(c), nil
}

// A Rename is how tensors are called: a name that From matches is called what To makes of it. Each has one '*', for
// all of the name with the text that '*' stands for, or none, for the beginning of the name.
type Rename struct{ From, To string }

// Renamed is a model with the tensors of this one under other names, those that the first rule that matches gives.
func (m *Model) Renamed(rules ...Rename) (*Model, error) {
	if err := m.h.use(); err != nil {
		return nil, err
	}
	defer m.h.done()
	var a arena
	defer a.free()
	c := array[C.emr_rename](&a, len(rules))
	for i, r := range rules {
		c[i].from, c[i].to = a.text(r.From), a.text(r.To)
	}
	if a.err != nil {
		return nil, a.err
	}
	var renamed *C.emr_model
	var e C.emr_error
	status := C.emr_model_create_renamed(&renamed, m.c, unsafe.SliceData(c), C.uint32_t(len(c)), nil, &e)
	if err := failure(status, &e); err != nil {
		return nil, err
	}
	return newModel(renamed, m.h), nil
}

// Close ends the use of the model. It is freed, and the memory it borrows let go, once nothing that was made from it
// is in use either.
func (m *Model) Close() error {
	return m.h.close()
}

// Prepare finds out, for every tensor, what its computation needs; reading does it tensor by tensor otherwise.
func (m *Model) Prepare(ctx context.Context, o *Resources) error {
	if err := m.h.use(); err != nil {
		return err
	}
	defer m.h.done()
	return withResources(ctx, o, func(r *C.emr_resources) error {
		var e C.emr_error
		return failure(C.emr_model_prepare(m.c, r, &e), &e)
	})
}

// Name is what messages call the model.
func (m *Model) Name() string {
	if m.h.use() != nil {
		return ""
	}
	defer m.h.done()
	return C.GoString(C.emr_model_name(m.c))
}

// Tensors are the model's, in its order; none when it is closed.
func (m *Model) Tensors() []Tensor {
	if m.h.use() != nil {
		return nil
	}
	defer m.h.done()
	tensors := make([]Tensor, C.emr_model_n_tensors(m.c))
	for i := range tensors {
		tensors[i] = m.newTensor(C.emr_model_tensor(m.c, C.uint32_t(i)))
	}
	return tensors
}

// Tensor is the one of that name, or ErrNotFound.
func (m *Model) Tensor(name string) (Tensor, error) {
	if err := m.h.use(); err != nil {
		return Tensor{}, err
	}
	defer m.h.done()
	var a arena
	defer a.free()
	c := C.emr_model_find_tensor(m.c, a.text(name))
	if c == nil || a.err != nil {
		return Tensor{}, &Error{
			Status: ErrNotFound, File: m.Name(), Tensor: name,
			Sentence: m.Name() + ": there is no tensor '" + name + "'",
		}
	}
	return m.newTensor(c), nil
}

// SetMetadata sets an entry of the metadata: text by key, safetensors' __metadata__.
func (m *Model) SetMetadata(key, value string) error {
	if err := m.h.own(); err != nil {
		return err
	}
	defer m.h.disown()
	var a arena
	defer a.free()
	k, v := a.text(key), a.text(value)
	if a.err != nil {
		return a.err
	}
	var e C.emr_error
	return failure(C.emr_model_set_metadata(m.c, k, v, &e), &e)
}

// RemoveMetadata removes an entry; ErrNotFound if there is none.
func (m *Model) RemoveMetadata(key string) error {
	if err := m.h.own(); err != nil {
		return err
	}
	defer m.h.disown()
	var a arena
	defer a.free()
	return outcome(C.emr_model_remove_metadata(m.c, a.text(key)))
}

// CopyMetadata sets all entries of another model.
func (m *Model) CopyMetadata(from *Model) error {
	if err := m.h.own(); err != nil {
		return err
	}
	defer m.h.disown()
	if err := from.h.use(); err != nil {
		return err
	}
	defer from.h.done()
	var e C.emr_error
	return failure(C.emr_model_copy_metadata(m.c, from.c, &e), &e)
}

// MetadataValue is the value of a key, and whether there is one.
func (m *Model) MetadataValue(key string) (string, bool) {
	if m.h.use() != nil {
		return "", false
	}
	defer m.h.done()
	var a arena
	defer a.free()
	value := C.emr_model_find_metadata(m.c, a.text(key))
	if value == nil {
		return "", false
	}
	return C.GoString(value), true
}

// Metadata is a copy of all entries.
func (m *Model) Metadata() map[string]string {
	if m.h.use() != nil {
		return nil
	}
	defer m.h.done()
	entries := map[string]string{}
	for i := range C.emr_model_n_metadata(m.c) {
		var key, value *C.char
		if C.emr_model_get_metadata(m.c, i, &key, &value) == C.EMR_OK {
			entries[C.GoString(key)] = C.GoString(value)
		}
	}
	return entries
}

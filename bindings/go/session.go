package emr

// #include "bridge_session.h"
import "C"

import (
	"context"
	"unsafe"
)

// A Session is a bundle inside a running engine: in memory, ready to act as any task. Apply writes a task's
// weights over the engine's; Multiply and Gather compute with them, and write them nowhere.
//
// Calls of one Session take turns. [Session.OpenThread] gives further ones of the same session, all of which
// may be used at the same time.
type Session struct {
	h      *handle
	c      *C.emr_session
	bundle *Bundle
}

// SessionOptions may be nil. The zero value is the default.
type SessionOptions struct {
	Resources             // Memory caps all that the session and its threads take
	MaskBytes   uint64    // cap on decoded codes; 0: room for those of all tasks
	Check       BaseCheck // CheckFirst or CheckNone
	WithoutBase bool      // the session has no base, and only what is WithoutBase can be asked for
}

// NewSession opens a session of the bundle; a nil base is the embedded one. The base's memory must not
// change.
func (b *Bundle) NewSession(ctx context.Context, base *Model, o *SessionOptions) (*Session, error) {
	if o == nil {
		o = &SessionOptions{}
	}
	end, err := useAll(b.h, base.handle())
	if err != nil {
		return nil, err
	}
	defer end()
	r, err := newResources(&o.Resources)
	if err != nil {
		return nil, err
	}
	defer r.close()
	var a arena
	defer a.free()
	options := object[C.emr_session_options](&a)
	*options = C.emr_session_options{
		size: C.sizeof_emr_session_options, resources: r.c, wait: (*[0]byte)(C.emr_go_wait),
		mask_bytes: C.uint64_t(o.MaskBytes), check: C.emr_base_check(o.Check),
		without_base: flag(o.WithoutBase),
	}
	var c *C.emr_session
	err = r.during(ctx, func() error {
		var e C.emr_error
		return failure(C.emr_session_create(&c, b.c, base.pointer(), options, &e), &e)
	})
	if err != nil {
		return nil, err
	}
	return newSession(c, b, b.h, base.handle(), r.h), nil
}

func newSession(c *C.emr_session, b *Bundle, parents ...*handle) *Session {
	s := &Session{c: c, bundle: b}
	s.h = newHandle("session", func() { C.emr_session_destroy(&c) }, parents...)
	return guard(s, s.h)
}

// OpenThread gives one more handle of the session, which shares everything with it and works on the calling
// thread alone. ErrLimit: the session's Memory has no room for it.
func (s *Session) OpenThread() (*Session, error) {
	if err := s.h.own(); err != nil {
		return nil, err
	}
	defer s.h.disown()
	var c *C.emr_session
	var e C.emr_error
	if err := failure(C.emr_session_open_thread(&c, s.c, &e), &e); err != nil {
		return nil, err
	}
	return newSession(c, s.bundle, s.h), nil
}

// Close ends the use of the session. What it shares with others goes with the last one.
func (s *Session) Close() error {
	return s.h.close()
}

// Weights are where an engine keeps the weights of one tensor, or of a part of it.
type Weights struct {
	Tensor string    // any that the task's checkpoint had, in the bundle's names and shapes
	Data   []byte    // see Bytes. It must not be the base's memory, nor overlap another's of the same call
	DType  DType     // of Data: a float, where the tensor is one
	Blocks BlockType // Data is in blocks of that type; DType is F32 or 0
	First  uint64    // the first element
	Count  uint64    // how many; 0: as many as Data has room for, and with Write all from First on
	// Write takes the weights: through Data, part by part in order, by the goroutine that made the call. So
	// they reach a device, or are converted further, without memory for all of them. It must not use the
	// session.
	Write       func(WeightsPart) error
	WithoutBase bool // the change alone, of merged tensors
}

// WeightsPart is some weights on their way to where Weights.Write takes them.
type WeightsPart struct {
	Data   []byte // may be written over, and is used again for the next part
	First  uint64 // number of the first element
	Count  uint64
	DType  DType
	Blocks BlockType
}

// room is how many elements Data holds.
func (w *Weights) room() (uint64, error) {
	unit, values := uint64(w.Blocks.Bytes())*8, uint64(BlockValues)
	if w.Blocks == 0 {
		unit, values = uint64(w.DType.Bits()), 1
	}
	if unit == 0 {
		return 0, invalidFor(w.Tensor, "DType (%d) and Blocks (%d) do not tell what Data holds", w.DType,
			w.Blocks)
	}
	if uint64(len(w.Data))*8%unit != 0 { // less than one element would be room for none, and 0 are all to C
		return 0, invalid("weights of tensor '%s': %d bytes are no whole number of elements", w.Tensor, len(w.Data))
	}
	n := uint64(len(w.Data)) * 8 / unit * values
	if w.Write == nil && w.Count > n {
		return 0, invalidFor(w.Tensor, "%d elements do not fit into %d bytes", w.Count, len(w.Data))
	}
	return n, nil
}

// marshal fills C's; cells is what it borrows.
func (w *Weights) marshal(a *arena, c *C.emr_weights, cells *[]unsafe.Pointer) error {
	room, err := w.room()
	if err != nil {
		return err
	}
	*c = C.emr_weights{
		size: C.sizeof_emr_weights, name: a.text(w.Tensor), data: unsafe.Pointer(pinned(a, w.Data)),
		first: C.uint64_t(w.First), count: C.uint64_t(w.Count), dtype: C.emr_dtype(w.DType),
		blocks: C.emr_block_type(w.Blocks), without_base: flag(w.WithoutBase),
	}
	if w.Write != nil {
		c.user = newCell(w.Write)
		*cells = append(*cells, c.user)
		c.write, c.staging = (*[0]byte)(C.emrGoTakeWeights), C.uint64_t(room)
	} else if w.Count == 0 {
		c.count = C.uint64_t(room)
	}
	return a.err
}

// Apply writes a task's weights, or with [Base] the base's own. Where weights cannot be right, nothing is
// written.
func (s *Session) Apply(task uint32, weights ...Weights) error {
	if err := s.h.own(); err != nil {
		return err
	}
	defer s.h.disown()
	var a arena
	defer a.free()
	var cells []unsafe.Pointer
	defer func() {
		for _, c := range cells {
			freeCell(c)
		}
	}()
	all := array[C.emr_weights](&a, len(weights))
	for i := range weights {
		if err := weights[i].marshal(&a, &all[i], &cells); err != nil {
			return err
		}
	}
	var e C.emr_error
	status := C.emr_session_apply(s.c, C.uint32_t(task), unsafe.SliceData(all), C.size_t(len(all)), &e)
	return failure(status, &e)
}

//export emrGoTakeWeights
func emrGoTakeWeights(c *C.emr_weights_part, e *C.emr_error) C.emr_status {
	return catch(e, func() error {
		part := WeightsPart{
			First: uint64(c.first), Count: uint64(c.count), DType: DType(c.dtype),
			Blocks: BlockType(c.blocks),
		}
		n := part.Count * uint64(part.DType.Bits()) / 8
		if part.Blocks != 0 {
			n = part.Count / BlockValues * uint64(part.Blocks.Bytes())
		}
		part.Data = unsafe.Slice((*byte)(c.data), n)
		return cell[func(WeightsPart) error](c.user)(part)
	})
}

// Multiply multiplies rows of a merged tensor by a batch of vectors; tasks has the task of each, or [Base].
func (s *Session) Multiply(tasks []uint32, p Product) error {
	if err := s.h.own(); err != nil {
		return err
	}
	defer s.h.disown()
	var a arena
	defer a.free()
	count, columns := s.matrix(&a, p.Tensor)
	if p.Columns == 0 {
		p.Columns = columns
	}
	if p.Rows == 0 && p.Columns > 0 && p.FirstRow < count/p.Columns {
		p.Rows = count/p.Columns - p.FirstRow
	}
	c, err := p.marshal(&a, len(tasks))
	if err != nil {
		return err
	}
	var e C.emr_error
	return failure(C.emr_session_multiply(s.c, (*C.uint32_t)(pinned(&a, tasks)), c, &e), &e)
}

// matrix is how many elements a tensor has, and how many columns of a row; 0 where there is no such tensor.
func (s *Session) matrix(a *arena, tensor string) (count, columns uint64) {
	C.emr_go_find_matrix(s.bundle.c, a.text(tensor), (*C.uint64_t)(&count), (*C.uint64_t)(&columns))
	return count, columns
}

// A Gather is rows of one tensor, each of a task of its own: of an embedding, for a batch of tokens; or of a
// norm's weights or a bias (a tensor of rank below 2 is one row), for a batch of vectors.
type Gather struct {
	Tensor      string // merged, or kept from the base
	Out         []byte // the rows, see Bytes; not the base's memory
	DType       DType  // of Out: a float
	OutStride   int    // elements from one row to the next; 0: those of a row
	Columns     uint64 // of a row: a divisor of the tensor's columns; 0: those
	WithoutBase bool   // the change alone
}

// Gather gathers rows: number rows[i] of what tasks[i] has. Nil rows: row 0 of each.
func (s *Session) Gather(tasks []uint32, rows []uint64, g Gather) error {
	if err := s.h.own(); err != nil {
		return err
	}
	defer s.h.disown()
	var a arena
	defer a.free()
	c, err := s.marshalGather(&a, tasks, rows, &g)
	if err != nil {
		return err
	}
	var e C.emr_error
	return failure(C.emr_session_gather(s.c, c, &e), &e)
}

func (s *Session) marshalGather(a *arena, tasks []uint32, rows []uint64, g *Gather) (*C.emr_gather, error) {
	if rows != nil && len(rows) != len(tasks) {
		return nil, invalidFor(g.Tensor, "a gather of %d rows for %d tasks", len(rows), len(tasks))
	}
	bits := g.DType.Bits()
	if bits == 0 {
		return nil, invalidFor(g.Tensor, "a gather: DType (%d) does not tell what Out holds", g.DType)
	}
	columns := g.Columns
	if columns == 0 {
		_, columns = s.matrix(a, g.Tensor)
	}
	if room := len(g.Out) * 8 / bits; !fits(room, len(tasks), g.OutStride, columns) {
		return nil, invalidFor(g.Tensor, "a gather: %d rows of %d, %d apart, do not fit into %d bytes of %v",
			len(tasks), columns, g.OutStride, len(g.Out), g.DType)
	}
	c := object[C.emr_gather](a)
	*c = C.emr_gather{
		size: C.sizeof_emr_gather, name: a.text(g.Tensor), tasks: (*C.uint32_t)(pinned(a, tasks)),
		rows: (*C.uint64_t)(pinned(a, rows)), out: unsafe.Pointer(pinned(a, g.Out)), n: C.size_t(len(tasks)),
		out_stride: C.size_t(g.OutStride), n_columns: C.uint64_t(g.Columns), dtype: C.emr_dtype(g.DType),
		without_base: flag(g.WithoutBase),
	}
	return c, a.err
}

// SessionInfo is what a session takes and has done.
type SessionInfo struct {
	MemoryBytes  uint64 // what Resources.Memory must be at least, with the threads that there are now
	BaseBytes    uint64 // of it: base tensors that could not be used in place
	UnifiedBytes uint64 // of it: unified values that could not
	MaskBytes    uint64 // of it: room for decoded codes
	MasksFound   uint64 // how often a piece of work needed a block of codes that was in memory,
	MasksRead    uint64 // and blocks that had to be read first
	ThreadBytes  uint64 // what each OpenThread adds to MemoryBytes
}

// Info is what the session takes and has done.
func (s *Session) Info() (SessionInfo, error) {
	if err := s.h.own(); err != nil {
		return SessionInfo{}, err
	}
	defer s.h.disown()
	c := C.emr_session_info{size: C.sizeof_emr_session_info}
	if err := outcome(C.emr_session_get_info(s.c, &c)); err != nil {
		return SessionInfo{}, err
	}
	return SessionInfo{
		MemoryBytes: uint64(c.memory_bytes), BaseBytes: uint64(c.base_bytes),
		UnifiedBytes: uint64(c.unified_bytes), MaskBytes: uint64(c.mask_bytes),
		MasksFound: uint64(c.masks_found), MasksRead: uint64(c.masks_read),
		ThreadBytes: uint64(c.thread_bytes),
	}, nil
}

package emr

// #include "bridge.h"
import "C"

import (
	"context"
	"io"
	"unsafe"
)

// A Tie is what a sum of exactly 0 elects.
type Tie uint32

// The ways.
const (
	TieZero     Tie = C.EMR_TIE_ZERO     // nothing (the paper)
	TieNegative Tie = C.EMR_TIE_NEGATIVE // the negative side (the authors' program)
)

// OnNonFinite is what to do with a NaN or an infinity in a merged tensor.
type OnNonFinite uint32

// The ways.
const (
	NonFiniteError OnNonFinite = C.EMR_ON_NONFINITE_ERROR // ErrNonFinite, naming task, tensor and element
	NonFiniteZero  OnNonFinite = C.EMR_ON_NONFINITE_ZERO  // the task vector is 0 there; counted in the report
)

// NoCompression stores every block raw: for devices without zstd.
const NoCompression = C.EMR_COMPRESSION_NONE

// MergeOptions may be nil. The zero value is the default.
type MergeOptions struct {
	Resources    // Memory 0: 256 MiB
	Policy       *Policy
	Modulation   Modulation // of all tasks that are given no other
	Rescale      Rescale    // of tasks with a unified vector, where their modulation leaves it open,
	RescalePer   RescalePer // as this
	Tie          Tie
	OnNonFinite  OnNonFinite
	UnifiedDType DType  // F32 (0), F16 or BF16
	EmbedBase    bool   // the bundle holds the base too
	Extendable   bool   // the bundle holds what Extend needs, about 8 bytes a parameter more
	Compression  int    // zstd level 1 to 19; 0: 1; or NoCompression
	BlockParams  uint32 // parameters of a mask block, a power of two from 4096 to 16 Mi; 0: 256 Ki or more
	Measure      bool   // fidelity with the rules L1 and L1Means too
	Replace      bool   // MergeFile: replace a bundle that exists
}

// A NamedModel is a task, or another model that has a name of its own in a call.
type NamedModel struct {
	Name  string
	Model *Model
}

// A Merge makes a bundle, or parts for a sink, out of a base and its tasks. Its calls take turns. After a failed one it
// may only be closed.
type Merge struct {
	h         *handle
	c         *C.emr_merge
	resources *resources
	twoSided  bool // tasks that are given no other modulation
	parts     *partSizes
}

// partSizes is what a sink must know to tell how long a part is.
type partSizes struct {
	unified  DType
	twoSided []bool // of each task: there are two scales for each of its rows
}

// NewMerge makes a merge without models.
func NewMerge(o *MergeOptions) (*Merge, error) {
	if o == nil {
		o = &MergeOptions{}
	}
	r, err := newResources(&o.Resources)
	if err != nil {
		return nil, err
	}
	defer r.close()
	var a arena
	defer a.free()
	options := object[C.emr_merge_options](&a)
	modulation := object[C.emr_modulation_spec](&a)
	o.Modulation.fill(modulation)
	*options = C.emr_merge_options{
		size: C.sizeof_emr_merge_options, resources: r.c, policy: o.Policy.marshal(&a), modulation: modulation,
		rescale: C.emr_rescale(o.Rescale), rescale_per: C.emr_rescale_per(o.RescalePer), tie: C.emr_tie(o.Tie),
		on_nonfinite: C.emr_on_nonfinite(o.OnNonFinite), unified_dtype: C.emr_dtype(o.UnifiedDType),
		embed_base: flag(o.EmbedBase), extendable: flag(o.Extendable), compression: C.int32_t(o.Compression),
		block_params: C.uint32_t(o.BlockParams), measure: flag(o.Measure),
	}
	if a.err != nil {
		return nil, a.err
	}
	m := &Merge{resources: r, twoSided: o.Modulation.Kind == KindTwoSided, parts: &partSizes{unified: o.UnifiedDType}}
	var e C.emr_error
	if err := failure(C.emr_merge_create(&m.c, options, &e), &e); err != nil {
		return nil, err
	}
	c := m.c
	m.h = newHandle("merge", func() { C.emr_merge_destroy(&c) }, r.h)
	return guard(m, m.h), nil
}

// Close ends the merge. What it wrote without finishing is worthless.
func (m *Merge) Close() error {
	return m.h.close()
}

// long runs a call that the context can stop.
func (m *Merge) long(ctx context.Context, fn func(e *C.emr_error) C.emr_status) error {
	if err := m.h.own(); err != nil {
		return err
	}
	defer m.h.disown()
	return m.resources.during(ctx, func() error {
		var e C.emr_error
		return failure(fn(&e), &e)
	})
}

// SetBase sets the base.
func (m *Merge) SetBase(base *Model) error {
	return m.h.adopt(base.handle(), func(e *C.emr_error) C.emr_status { return C.emr_merge_set_base(m.c, base.pointer(), e) })
}

// AddTask adds a task, whose number is how many there were before it. Names are unique, 1 to 255 bytes.
func (m *Merge) AddTask(name string, model *Model) error {
	var a arena
	defer a.free()
	p := a.text(name)
	if a.err != nil {
		return a.err
	}
	return m.h.adopt(model.handle(), func(e *C.emr_error) C.emr_status {
		status := C.emr_merge_add_task(m.c, p, model.pointer(), e)
		if status == C.EMR_OK {
			m.parts.twoSided = append(m.parts.twoSided, m.twoSided)
		}
		return status
	})
}

// SetModulation says what the modulator of a task that was added is to be.
func (m *Merge) SetModulation(task uint32, modulation Modulation) error {
	var c C.emr_modulation_spec
	modulation.fill(&c)
	return m.h.adopt(nil, func(e *C.emr_error) C.emr_status {
		status := C.emr_merge_set_modulation(m.c, C.uint32_t(task), &c, e)
		if status == C.EMR_OK {
			m.parts.twoSided[task] = modulation.Kind == KindTwoSided
		}
		return status
	})
}

// Extend adds to a bundle, before any task is added. Its tasks come first, and the base must be its base; the earlier
// checkpoints are not needed.
func (m *Merge) Extend(b *Bundle) error {
	info, err := b.Info()
	if err != nil {
		return err
	}
	return m.h.adopt(b.h, func(e *C.emr_error) C.emr_status {
		status := C.emr_merge_extend(m.c, b.c, e)
		if status == C.EMR_OK {
			m.parts.unified, m.parts.twoSided = info.UnifiedDType, make([]bool, info.Tasks)
		}
		return status
	})
}

// A MergePlan is what a run would do.
type MergePlan struct {
	MergedParams uint64
	BytesIn      uint64 // what a run reads
	BytesOut     uint64 // what it writes at most, before compression
	PeakMemory   uint64 // working memory of the run as set up so far
	Tensors      int
	Merged       int
}

// Plan is what a run would do, without reading any tensor. It fixes base and tasks.
func (m *Merge) Plan() (MergePlan, error) {
	c := C.emr_plan_summary{size: C.sizeof_emr_plan_summary}
	err := m.h.adopt(nil, func(e *C.emr_error) C.emr_status { return C.emr_merge_get_plan(m.c, &c, e) })
	if err != nil {
		return MergePlan{}, err
	}
	return MergePlan{
		MergedParams: uint64(c.merged_params), BytesIn: uint64(c.bytes_in), BytesOut: uint64(c.bytes_out),
		PeakMemory: uint64(c.peak_memory), Tensors: int(c.n_tensors), Merged: int(c.n_merged),
	}, nil
}

// An Action is what is done with a tensor.
type Action uint32

// The actions.
const (
	ActionMerge   Action = C.EMR_ACTION_MERGE   // elected, masked, rescaled
	ActionKeep    Action = C.EMR_ACTION_KEEP    // from the base where a task has the same bytes, else private
	ActionPrivate Action = C.EMR_ACTION_PRIVATE // each task that has it keeps its own copy
)

// A PlanTensor is one tensor of the plan, and after the run of the report.
type PlanTensor struct {
	Name    string
	Reason  string // why, in a few words
	Shape   []uint64
	Count   uint64
	Zeroed  uint64 // after the run: task values that counted as 0 under NonFiniteZero
	DType   DType  // the base's, or that of the first task that has it
	Action  Action
	Private int // tasks that keep their own copy; for ActionKeep known after the run
}

// Tensors are those of the plan, the merged ones first; none before Plan or a run.
func (m *Merge) Tensors() ([]PlanTensor, error) {
	if err := m.h.own(); err != nil {
		return nil, err
	}
	defer m.h.disown()
	var tensors []PlanTensor
	c := C.emr_plan_tensor{size: C.sizeof_emr_plan_tensor}
	for i := C.uint32_t(0); C.emr_merge_get_plan_tensor(m.c, i, &c) == C.EMR_OK; i++ {
		tensors = append(tensors, PlanTensor{
			Name: C.GoString(c.name), Reason: C.GoString(c.reason), Shape: dimensions(c.shape, c.rank),
			Count: uint64(c.count), Zeroed: uint64(c.zeroed), DType: DType(c.dtype), Action: Action(c.action),
			Private: int(c.n_private),
		})
	}
	return tensors, nil
}

// SetOutput says where the bundle goes, front to back: a [File], a [Buffer], or any writer. It is whole when the run
// has succeeded, and worthless otherwise.
func (m *Merge) SetOutput(w io.Writer) error {
	table, h, err := writeTo(w)
	if err != nil {
		return err
	}
	defer h.done()
	return m.h.adopt(h, func(e *C.emr_error) C.emr_status { return C.emr_merge_set_output(m.c, table, e) })
}

// SetPart makes the run do part number part, from 0, of so many: the output receives that part, and a [Join] makes the
// bundle of all of them, which may be made anywhere and in any order. Plan then tells what this part reads and writes;
// there is no report of its tasks.
func (m *Merge) SetPart(part, parts uint32) error {
	return m.h.adopt(nil, func(e *C.emr_error) C.emr_status {
		return C.emr_merge_set_part(m.c, C.uint32_t(part), C.uint32_t(parts), e)
	})
}

// CheckPart tells whether part, of so many bytes, is the one that was set, of this very merge, so that it can be kept
// instead of being made again: [ErrMismatch] or [ErrFormat] where not. That it is whole is for the join to find. It fixes
// base and tasks; name is what messages call the part.
func (m *Merge) CheckPart(part io.ReaderAt, size int64, name string) error {
	table, h, err := readFrom(part, size)
	if err != nil {
		return err
	}
	defer h.done()
	var a arena
	defer a.free()
	p := a.text(name)
	if a.err != nil {
		return a.err
	}
	if err := m.h.own(); err != nil {
		return err
	}
	defer m.h.disown()
	var e C.emr_error
	return failure(C.emr_merge_check_part(m.c, table, p, &e), &e)
}

// SetJournal lets a run to a [Storage], such as a file from [ResumeFile], go on after the process was killed or the run
// failed. After every so many bytes of input (0: 1 GiB) what was written is made durable and a record is appended to
// the journal. With the output and the journal of an earlier run of the same models and options, Run goes on from the
// last record.
func (m *Merge) SetJournal(journal Storage, interval uint64) error {
	table, h, err := storeIn(journal)
	if err != nil {
		return err
	}
	defer h.done()
	return m.h.adopt(h, func(e *C.emr_error) C.emr_status {
		return C.emr_merge_set_journal(m.c, table, C.uint64_t(interval), e)
	})
}

// A SinkPart is a part of a merge's results, valid during the call.
type SinkPart struct {
	Tensor uint32 // as in the plan
	Task   uint32 // Base for unified values
	First  uint64 // the first parameter, or row
	Count  int    // parameters, or rows
	Values []byte // C's memory
}

// A Sink receives a merge's results as they are computed, instead of a bundle: tensors in the order of the plan, each
// from front to back. What is nil is not called. An error stops the run.
type Sink struct {
	Unified   func(SinkPart) error // the unified task vector, in MergeOptions.UnifiedDType
	Mask      func(SinkPart) error // mask bits of one task, packed: bit i % 8 of byte i / 8
	Rescalers func(SinkPart) error // F32; of two-sided tasks two for each, that where the mask is 1 first
}

type sinkCell struct {
	Sink
	parts *partSizes
}

// SetSink says where results go instead of to a bundle.
func (m *Merge) SetSink(s Sink) error {
	var memory arena
	c := object[C.emr_sink](&memory)
	c.size = C.sizeof_emr_sink
	c.user = newCell(&sinkCell{s, m.parts})
	h := newHandle("sink", func() {
		freeCell(c.user)
		memory.free()
	})
	defer h.done()
	if s.Unified != nil {
		c.unified = (*[0]byte)(C.emrGoUnified)
	}
	if s.Mask != nil {
		c.mask = (*[0]byte)(C.emrGoMask)
	}
	if s.Rescalers != nil {
		c.rescalers = (*[0]byte)(C.emrGoRescalers)
	}
	return m.h.adopt(h, func(e *C.emr_error) C.emr_status { return C.emr_merge_set_sink(m.c, c, e) })
}

//export emrGoUnified
func emrGoUnified(user unsafe.Pointer, part *C.emr_sink_part, e *C.emr_error) C.emr_status {
	s := cell[*sinkCell](user)
	bits := s.parts.unified.Bits()
	if bits == 0 {
		bits = F32.Bits()
	}
	return pass(s.Unified, part, int(part.n)*bits/8, e)
}

//export emrGoMask
func emrGoMask(user unsafe.Pointer, part *C.emr_sink_part, e *C.emr_error) C.emr_status {
	return pass(cell[*sinkCell](user).Mask, part, (int(part.n)+7)/8, e)
}

//export emrGoRescalers
func emrGoRescalers(user unsafe.Pointer, part *C.emr_sink_part, e *C.emr_error) C.emr_status {
	s := cell[*sinkCell](user)
	size := int(part.n) * 4
	if task := int(part.task); task < len(s.parts.twoSided) && s.parts.twoSided[task] {
		size *= 2
	}
	return pass(s.Rescalers, part, size, e)
}

func pass(to func(SinkPart) error, part *C.emr_sink_part, size int, e *C.emr_error) C.emr_status {
	return catch(e, func() error {
		return to(SinkPart{
			Tensor: uint32(part.tensor), Task: uint32(part.task), First: uint64(part.first), Count: int(part.n),
			Values: unsafe.Slice((*byte)(part.values), size),
		})
	})
}

// Run reads every tensor from its model and finishes.
func (m *Merge) Run(ctx context.Context) error {
	return m.long(ctx, func(e *C.emr_error) C.emr_status { return C.emr_merge_run(m.c, e) })
}

// Begin begins a run to which tensors are pushed: Begin, Push as often as needed, Finish.
func (m *Merge) Begin(ctx context.Context) error {
	return m.long(ctx, func(e *C.emr_error) C.emr_status { return C.emr_merge_begin(m.c, e) })
}

// Push hands over the next bytes of one source (Base or a task's number): those of its tensors that have none of their
// own, in the order that Expected tells. It returns how many were used; fewer mean that this source is as far ahead
// of the others as memory allows.
func (m *Merge) Push(ctx context.Context, source uint32, data []byte) (int, error) {
	var a arena
	defer a.free()
	p := unsafe.Pointer(pinned(&a, data))
	if p == nil {
		p = C.emr_go_nothing()
	}
	var taken C.size_t
	err := m.long(ctx, func(e *C.emr_error) C.emr_status {
		return C.emr_merge_push(m.c, C.uint32_t(source), p, C.size_t(len(data)), &taken, e)
	})
	return int(taken), err
}

// Expected is what Push wants next from a source: the tensor's name, "" when the source is done, and how many of its
// bytes it would take now, 0 if the source has to wait.
func (m *Merge) Expected(source uint32) (tensor string, bytes uint64, err error) {
	if err := m.h.own(); err != nil {
		return "", 0, err
	}
	defer m.h.disown()
	var c *C.emr_tensor
	var n C.uint64_t
	var e C.emr_error
	err = failure(C.emr_merge_get_expected(m.c, C.uint32_t(source), &c, &n, &e), &e)
	if c != nil {
		tensor = C.GoString(C.emr_tensor_name(c))
	}
	return tensor, uint64(n), err
}

// Finish ends a run to which tensors were pushed; ErrState, naming source and tensor, while bytes are missing.
func (m *Merge) Finish(ctx context.Context) error {
	return m.long(ctx, func(e *C.emr_error) C.emr_status { return C.emr_merge_finish(m.c, e) })
}

// A TaskReport is what became of a task.
type TaskReport struct {
	Name          string
	MaskOnes      uint64   // merged parameters whose mask bit is set; density = MaskOnes / MergedParams
	Zeroed        uint64   // values that counted as 0 under NonFiniteZero
	Rescaler      float32  // per model; 0 otherwise
	OtherRescaler float32  // per model, two-sided: where the mask is 0
	EmptyMask     bool     // the task differs from the base, yet nothing of it was elected
	Fidelity      Fidelity // of tasks with a unified vector and the rules L1 and L1Means only with Measure
}

// Report is what became of each task, after the run.
func (m *Merge) Report() ([]TaskReport, error) {
	if err := m.h.own(); err != nil {
		return nil, err
	}
	defer m.h.disown()
	reports := make([]TaskReport, len(m.parts.twoSided))
	for i := range reports {
		c := C.emr_task_report{size: C.sizeof_emr_task_report}
		near := C.emr_fidelity{size: C.sizeof_emr_fidelity}
		if err := outcome(C.emr_merge_get_task_report(m.c, C.uint32_t(i), &c)); err != nil {
			return nil, err
		}
		if err := outcome(C.emr_merge_get_fidelity(m.c, C.uint32_t(i), &near)); err != nil {
			return nil, err
		}
		reports[i] = TaskReport{
			Name: C.GoString(c.name), MaskOnes: uint64(c.mask_ones), Zeroed: uint64(c.zeroed),
			Rescaler: float32(c.rescaler), OtherRescaler: float32(c.other_rescaler), EmptyMask: c.empty_mask != 0,
			Fidelity: fidelityOf(&near),
		}
	}
	return reports, nil
}

// MergeFile merges tasks, in this order, into a bundle's file, which appears whole or not at all.
func MergeFile(ctx context.Context, path string, base *Model, tasks []NamedModel, o *MergeOptions) ([]TaskReport, error) {
	m, err := NewMerge(o)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	file, err := CreateFile(path, &FileOptions{Replace: o != nil && o.Replace})
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if err := m.SetBase(base); err != nil {
		return nil, err
	}
	for _, t := range tasks {
		if err := m.AddTask(t.Name, t.Model); err != nil {
			return nil, err
		}
	}
	if err := m.SetOutput(file); err != nil {
		return nil, err
	}
	if err := m.Run(ctx); err != nil {
		return nil, err
	}
	if err := file.Commit(); err != nil {
		return nil, err
	}
	return m.Report()
}

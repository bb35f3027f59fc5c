package emr

// #include "bridge.h"
import "C"

// EveryTask is in the place of a task's number: all of them, and the base where that is an input of the
// method.
const EveryTask uint32 = C.EMR_EVERY_TASK

// CombinationOptions are the options of [NewCombination].
type CombinationOptions struct {
	Resources                // those of reading; Memory 0: 256 MiB. Progress is not used
	Method       string      // one of the library's, see Methods,
	Own          Method      // or one of your own
	Policy       *Policy     // which tensors are combined
	Heads        []string    // globs of heads, which differ in their labels
	CombineHeads bool        // heads go through the method; else each row is its own task's
	Seed         uint64      // of methods that draw
	DType        DType       // of combined tensors: F32, F16, BF16 or F64; 0: the base's, or the first task's
	OnNonFinite  OnNonFinite // NonFiniteZero: such a value of a task counts as the base's, without one as 0
}

// A Combination makes one model out of many: set the base, add tasks, set parameters, open the model.
type Combination struct {
	h   *handle
	c   *C.emr_combination
	own *ownMethod
}

// NewCombination makes one of no tasks yet.
func NewCombination(o CombinationOptions) (*Combination, error) {
	r, err := newResources(&o.Resources)
	if err != nil {
		return nil, err
	}
	defer r.close()
	method, own, err := o.findMethod()
	if err != nil {
		return nil, err
	}
	defer own.done()
	var a arena
	defer a.free()
	options := object[C.emr_combination_options](&a)
	*options = C.emr_combination_options{
		size: C.sizeof_emr_combination_options, method: method, resources: r.c, policy: o.Policy.marshal(&a),
		head_globs: a.strings(o.Heads), n_head_globs: C.uint32_t(len(o.Heads)),
		combine_heads: flag(o.CombineHeads), seed: C.uint64_t(o.Seed), dtype: C.emr_dtype(o.DType),
		on_nonfinite: C.emr_combination_nonfinite(o.OnNonFinite),
	}
	if a.err != nil {
		return nil, a.err
	}
	var c *C.emr_combination
	var e C.emr_error
	if err := failure(C.emr_combination_create(&c, options, &e), &e); err != nil {
		return nil, err
	}
	x := &Combination{c: c, own: own}
	x.h = newHandle("combination", func() { C.emr_combination_destroy(&c) }, r.h, own.handle())
	return guard(x, x.h), nil
}

// findMethod is the method for C, and of one's own what C borrows.
func (o *CombinationOptions) findMethod() (*C.emr_method, *ownMethod, error) {
	if (o.Method == "") == (o.Own == nil) {
		return nil, nil, invalid("a combination has either a Method of the library's or an Own one")
	}
	if o.Own == nil {
		method, err := findMethod(o.Method)
		return method, nil, err
	}
	own, err := newOwnMethod(o.Own)
	if err != nil {
		return nil, nil, err
	}
	return own.table, own, nil
}

// Close ends the use of the combination. Models that were opened from it stay valid.
func (x *Combination) Close() error {
	return x.h.close()
}

// SetBase sets the base, which is kept alive.
func (x *Combination) SetBase(base *Model) error {
	return x.h.adopt(base.handle(), func(e *C.emr_error) C.emr_status {
		return C.emr_combination_set_base(x.c, base.pointer(), e)
	})
}

// AddTask adds a task, whose model is kept alive.
func (x *Combination) AddTask(name string, model *Model) error {
	var a arena
	defer a.free()
	p := a.text(name)
	if a.err != nil {
		return a.err
	}
	return x.h.adopt(model.handle(), func(e *C.emr_error) C.emr_status {
		return C.emr_combination_add_task(x.c, p, model.pointer(), e)
	})
}

// Set sets a parameter of the method, for all tasks and in all tensors. A flag is 0 or 1.
func (x *Combination) Set(parameter string, value float64) error {
	return x.SetFor(EveryTask, "", parameter, value)
}

// SetFor sets a parameter for a task, for [EveryTask], or for [Base] where that is an input; in tensors that
// the glob matches whole, or with "" in all. Where several fit, the last one that was set holds.
func (x *Combination) SetFor(task uint32, glob, parameter string, value float64) error {
	if err := x.h.own(); err != nil {
		return err
	}
	defer x.h.disown()
	var a arena
	defer a.free()
	p, g := a.text(parameter), a.string(glob)
	if a.err != nil {
		return a.err
	}
	var e C.emr_error
	return failure(C.emr_combination_set_parameter(x.c, p, C.uint32_t(task), g, C.double(value), &e), &e)
}

// A CombinedAction is what becomes of a tensor.
type CombinedAction uint32

// The actions.
const (
	ActionCombine CombinedAction = C.EMR_COMBINED_ACTION_COMBINE // computed by the method
	ActionCopy    CombinedAction = C.EMR_COMBINED_ACTION_COPY    // the base's bytes, or the first task's
	ActionHead    CombinedAction = C.EMR_COMBINED_ACTION_HEAD    // heads side by side
)

// A CombinedTensor is one tensor of a combined model.
type CombinedTensor struct {
	Name   string
	Reason string // in a few words: "float in the base and every task", "matches lm_head.*"
	Shape  []uint64
	Count  uint64
	DType  DType
	Action CombinedAction
	Reads  int // how often its inputs are read in all, the last time included
	Inputs int // tasks that have it, and the base where that is an input
}

// A CombinationPlan is what a combined model would be.
type CombinationPlan struct {
	CombinedParams uint64
	BytesIn        uint64 // what is read to write the model once
	BytesOut       uint64 // of its tensors
	PeakMemory     uint64 // of as many readers as there are threads, at most what Memory allows
	Combined       int    // tensors that are computed by the method
	Tensors        []CombinedTensor
}

// Plan is what a model opened now would be. It reads no tensors.
func (x *Combination) Plan() (CombinationPlan, error) {
	if err := x.h.own(); err != nil {
		return CombinationPlan{}, err
	}
	defer x.h.disown()
	c := C.emr_combination_plan{size: C.sizeof_emr_combination_plan}
	var e C.emr_error
	err := failure(C.emr_combination_get_plan(x.c, &c, &e), &e)
	x.own.rethrow()
	if err != nil {
		return CombinationPlan{}, err
	}
	p := CombinationPlan{
		CombinedParams: uint64(c.combined_params), BytesIn: uint64(c.bytes_in), BytesOut: uint64(c.bytes_out),
		PeakMemory: uint64(c.peak_memory), Combined: int(c.n_combined),
		Tensors: make([]CombinedTensor, c.n_tensors),
	}
	for i := range p.Tensors {
		t := C.emr_combined_tensor{size: C.sizeof_emr_combined_tensor}
		if err := outcome(C.emr_combination_get_tensor(x.c, C.uint32_t(i), &t)); err != nil {
			return CombinationPlan{}, err
		}
		p.Tensors[i] = CombinedTensor{
			Name: C.GoString(t.name), Reason: C.GoString(t.reason), Shape: dimensions(t.shape, t.rank),
			Count: uint64(t.count), DType: DType(t.dtype), Action: CombinedAction(t.action),
			Reads: int(t.n_reads), Inputs: int(t.n_inputs),
		}
	}
	return p, nil
}

// OpenModel is the combined model: the tensors of the base, or without one of the first task, computed as
// they are read. What was set and added is fixed from then on.
func (x *Combination) OpenModel() (*Model, error) {
	if err := x.h.own(); err != nil {
		return nil, err
	}
	defer x.h.disown()
	var c *C.emr_model
	var e C.emr_error
	err := failure(C.emr_combination_open_model(x.c, &c, &e), &e)
	if x.own.isBroken() {
		C.emr_model_destroy(&c)
	}
	x.own.rethrow()
	if err != nil {
		return nil, err
	}
	return newModel(c, x.h), nil
}

package emr

// #include "bridge.h"
import "C"

import "unsafe"

// A HeadKind is what becomes of a task's logits.
type HeadKind uint32

// The kinds.
const (
	HeadSoftmax  HeadKind = C.EMR_HEAD_KIND_SOFTMAX  // over the group; of one logit the sigmoid
	HeadSigmoid  HeadKind = C.EMR_HEAD_KIND_SIGMOID  // each logit for itself: several labels can be true
	HeadIdentity HeadKind = C.EMR_HEAD_KIND_IDENTITY // as they are: regression
)

// HeadGroups is the key of a combined model's metadata that tell its groups: a JSON array with an object for
// each task, in order of rows: [{"task": "parity", "first": 0, "count": 2, "kind": "softmax"}, ...].
const HeadGroups = C.EMR_HEAD_GROUPS

// A HeadGroup is the rows of a task: Count from First on.
type HeadGroup struct {
	Task  string // its name; GroupSoftmax does not look at it
	First uint64
	Count uint64
	Kind  HeadKind
}

// A HeadTask is a task that [NewHeads] looks for heads in.
type HeadTask struct {
	Name  string
	Model *Model
	Kind  HeadKind
}

// Heads are those of tasks that have labels of their own (arXiv 2409.19173), side by side: docs/heads.md. A
// [Combination] that is told of heads does all this by itself.
type Heads struct {
	h *handle
	c *C.emr_heads
}

// NewHeads finds the heads among the float tensors that match one of the globs. The tasks' models are kept
// alive.
func NewHeads(globs []string, tasks ...HeadTask) (*Heads, error) {
	var a arena
	defer a.free()
	handles := make([]*handle, len(tasks))
	names := make([]string, len(tasks))
	models, kinds := array[*C.emr_model](&a, len(tasks)), array[C.emr_head_kind](&a, len(tasks))
	for i, t := range tasks {
		handles[i], models[i] = t.Model.handle(), t.Model.pointer()
		names[i], kinds[i] = t.Name, C.emr_head_kind(t.Kind)
	}
	end, err := useAll(handles...)
	if err != nil {
		return nil, err
	}
	defer end()
	options := object[C.emr_heads_options](&a)
	*options = C.emr_heads_options{
		size: C.sizeof_emr_heads_options, globs: a.strings(globs), n_globs: C.uint32_t(len(globs)),
		names: a.strings(names), tasks: unsafe.SliceData(models), kinds: unsafe.SliceData(kinds),
		n_tasks: C.uint32_t(len(tasks)),
	}
	if a.err != nil {
		return nil, a.err
	}
	var c *C.emr_heads
	var e C.emr_error
	if err := failure(C.emr_heads_create(&c, options, &e), &e); err != nil {
		return nil, err
	}
	x := &Heads{c: c}
	x.h = newHandle("heads", func() { C.emr_heads_destroy(&c) }, handles...)
	return guard(x, x.h), nil
}

// Close ends the use of the heads. Models that were opened from them stay valid.
func (x *Heads) Close() error {
	return x.h.close()
}

// Rows is how many rows all tasks have together.
func (x *Heads) Rows() (uint64, error) {
	if err := x.h.use(); err != nil {
		return 0, err
	}
	defer x.h.done()
	return uint64(C.emr_heads_n_rows(x.c)), nil
}

// Tensors are the heads' names.
func (x *Heads) Tensors() ([]string, error) {
	if err := x.h.use(); err != nil {
		return nil, err
	}
	defer x.h.done()
	var names []string
	for {
		name := C.emr_heads_tensor(x.c, C.uint32_t(len(names)))
		if name == nil {
			return names, nil
		}
		names = append(names, C.GoString(name))
	}
}

// Groups are the tasks', in their order.
func (x *Heads) Groups() ([]HeadGroup, error) {
	if err := x.h.use(); err != nil {
		return nil, err
	}
	defer x.h.done()
	var groups []HeadGroup
	for {
		c := C.emr_head_group{size: C.sizeof_emr_head_group}
		status := C.emr_heads_get_group(x.c, C.uint32_t(len(groups)), &c)
		if status == C.EMR_ENOTFOUND {
			return groups, nil
		}
		if err := outcome(status); err != nil {
			return nil, err
		}
		groups = append(groups, HeadGroup{
			C.GoString(c.task), uint64(c.first), uint64(c.count), HeadKind(c.kind),
		})
	}
}

// OpenTask is a task's model with the rows of all tasks in its heads, and everything else as it is.
func (x *Heads) OpenTask(task uint32) (*Model, error) {
	return x.open(nil, func(c **C.emr_model, e *C.emr_error) C.emr_status {
		return C.emr_heads_open_task(x.c, C.uint32_t(task), c, e)
	})
}

// OpenBase is the same of the tasks' base, whose heads are all zeros whatever it has.
func (x *Heads) OpenBase(base *Model) (*Model, error) {
	return x.open(base, func(c **C.emr_model, e *C.emr_error) C.emr_status {
		return C.emr_heads_open_base(x.c, base.pointer(), c, e)
	})
}

// OpenJoined is the heads alone, each row its own task's, rounded to the float type; 0: that of the first
// task that has the head.
func (x *Heads) OpenJoined(dtype DType) (*Model, error) {
	return x.open(nil, func(c **C.emr_model, e *C.emr_error) C.emr_status {
		return C.emr_heads_open_joined(x.c, C.emr_dtype(dtype), c, e)
	})
}

func (x *Heads) open(base *Model, call func(**C.emr_model, *C.emr_error) C.emr_status) (*Model, error) {
	end, err := useAll(x.h, base.handle())
	if err != nil {
		return nil, err
	}
	defer end()
	var c *C.emr_model
	var e C.emr_error
	if err := failure(call(&c, &e), &e); err != nil {
		return nil, err
	}
	return newModel(c, x.h, base.handle()), nil
}

// SetMetadata sets [HeadGroups] of a model.
func (x *Heads) SetMetadata(model *Model) error {
	if err := x.h.use(); err != nil {
		return err
	}
	defer x.h.done()
	if err := model.h.own(); err != nil {
		return err
	}
	defer model.h.disown()
	var e C.emr_error
	return failure(C.emr_heads_set_metadata(x.c, model.c, &e), &e)
}

// GroupSoftmax turns each group's logits into probabilities, of whole rows of so many logits, to the same
// bits everywhere. Columns of no group are not written. out may be logits.
func GroupSoftmax(out, logits []float32, columns int, groups []HeadGroup) error {
	if columns <= 0 || len(logits)%columns != 0 || len(out) != len(logits) {
		return invalid("group softmax: %d logits in rows of %d, and room for %d", len(logits), columns,
			len(out))
	}
	var a arena
	defer a.free()
	c := array[C.emr_head_group](&a, len(groups))
	for i, g := range groups {
		c[i] = C.emr_head_group{
			size: C.sizeof_emr_head_group, first: C.uint64_t(g.First), count: C.uint64_t(g.Count),
			kind: C.emr_head_kind(g.Kind),
		}
	}
	return outcome(C.emr_group_softmax((*C.float)(unsafe.SliceData(logits)), C.size_t(len(logits)/columns),
		C.size_t(columns), unsafe.SliceData(c), C.size_t(len(groups)), (*C.float)(unsafe.SliceData(out))))
}

package emr

// #include "bridge.h"
import "C"

import (
	"context"
	"unsafe"
)

// A StatisticsScope is over what sums are taken.
type StatisticsScope uint32

// The scopes.
const (
	ScopeModel  StatisticsScope = C.EMR_STATISTICS_SCOPE_MODEL  // one group
	ScopeTensor StatisticsScope = C.EMR_STATISTICS_SCOPE_TENSOR // in the base's order
	ScopeLayer  StatisticsScope = C.EMR_STATISTICS_SCOPE_LAYER  // by number
	ScopeKind   StatisticsScope = C.EMR_STATISTICS_SCOPE_KIND   // q, k, v, qkv, o, up, gate, down, norm, ...
)

// A StatisticsRounding is what the published program's --low-precision does to task vectors.
type StatisticsRounding uint32

// The roundings: to whole numbers of 1/127 of the largest magnitude, that of the whole task vector or of each
// tensor.
const (
	RoundingNone      StatisticsRounding = C.EMR_STATISTICS_ROUNDING_NONE
	RoundingPerModel  StatisticsRounding = C.EMR_STATISTICS_ROUNDING_PER_MODEL
	RoundingPerTensor StatisticsRounding = C.EMR_STATISTICS_ROUNDING_PER_TENSOR
)

// StatisticsOptions may be nil. The zero value is the default.
type StatisticsOptions struct {
	Resources                         // Memory 0: 256 MiB, and what the results take beside
	Policy         *Policy            // those tensors count that a merge with this policy would merge
	Quantiles      []float64          // fractions from 0 to 1: which quantiles of magnitudes to find
	MaxRows        uint64             // of every tensor its first rows alone count; 0: all
	SkipMissing    bool               // a tensor that some task lacks does not count at all
	WithoutTensors bool               // no groups are kept for tensors
	Rounding       StatisticsRounding // not together with Quantiles
	OnNonFinite    OnNonFinite
}

// Statistics are what the task vectors of several tasks have in common: set the base, add tasks, run, ask for
// groups.
type Statistics struct {
	h *handle
	c *C.emr_statistics
	r *resources
}

// NewStatistics makes them, of no tasks yet.
func NewStatistics(o *StatisticsOptions) (*Statistics, error) {
	if o == nil {
		o = &StatisticsOptions{}
	}
	r, err := newResources(&o.Resources)
	if err != nil {
		return nil, err
	}
	defer r.close()
	var a arena
	defer a.free()
	options := object[C.emr_statistics_options](&a)
	*options = C.emr_statistics_options{
		size: C.sizeof_emr_statistics_options, resources: r.c, policy: o.Policy.marshal(&a),
		quantiles: (*C.double)(pinned(&a, o.Quantiles)), n_quantiles: C.uint32_t(len(o.Quantiles)),
		max_rows: C.uint64_t(o.MaxRows), skip_missing: flag(o.SkipMissing),
		without_tensors: flag(o.WithoutTensors), rounding: C.emr_statistics_rounding(o.Rounding),
		on_nonfinite: C.emr_on_nonfinite(o.OnNonFinite),
	}
	if a.err != nil {
		return nil, a.err
	}
	var c *C.emr_statistics
	var e C.emr_error
	if err := failure(C.emr_statistics_create(&c, options, &e), &e); err != nil {
		return nil, err
	}
	s := &Statistics{c: c, r: r}
	s.h = newHandle("statistics", func() { C.emr_statistics_destroy(&c) }, r.h)
	return guard(s, s.h), nil
}

// Close ends the use of the statistics. Groups stay valid: they are copies.
func (s *Statistics) Close() error {
	return s.h.close()
}

// SetBase sets the base, which is kept alive.
func (s *Statistics) SetBase(base *Model) error {
	return s.h.adopt(base.handle(), func(e *C.emr_error) C.emr_status {
		return C.emr_statistics_set_base(s.c, base.pointer(), e)
	})
}

// AddTask adds a task, whose model is kept alive.
func (s *Statistics) AddTask(name string, model *Model) error {
	var a arena
	defer a.free()
	p := a.text(name)
	if a.err != nil {
		return a.err
	}
	return s.h.adopt(model.handle(), func(e *C.emr_error) C.emr_status {
		return C.emr_statistics_add_task(s.c, p, model.pointer(), e)
	})
}

// StatisticsPlan is what a run will take.
type StatisticsPlan struct {
	Params      uint64 // elements that count
	BytesIn     uint64 // what one reading reads
	PeakMemory  uint64 // with the results, at most what Memory allows
	ResultBytes uint64 // of it: results
	Tensors     int
	LeftOut     int // tensors of the base that do not count
	Layers      int // groups, with that of tensors in no layer
	Kinds       int
}

// Plan is what a run will take. It reads no tensors.
func (s *Statistics) Plan() (StatisticsPlan, error) {
	if err := s.h.own(); err != nil {
		return StatisticsPlan{}, err
	}
	defer s.h.disown()
	c := C.emr_statistics_plan{size: C.sizeof_emr_statistics_plan}
	var e C.emr_error
	if err := failure(C.emr_statistics_get_plan(s.c, &c, &e), &e); err != nil {
		return StatisticsPlan{}, err
	}
	return StatisticsPlan{
		Params: uint64(c.params), BytesIn: uint64(c.bytes_in), PeakMemory: uint64(c.peak_memory),
		ResultBytes: uint64(c.result_bytes), Tensors: int(c.n_tensors), LeftOut: int(c.n_left_out),
		Layers: int(c.n_layers), Kinds: int(c.n_kinds),
	}, nil
}

// Run reads the models. After a failure it may be called again.
func (s *Statistics) Run(ctx context.Context) error {
	if err := s.h.own(); err != nil {
		return err
	}
	defer s.h.disown()
	return s.r.during(ctx, func() error {
		var e C.emr_error
		return failure(C.emr_statistics_run(s.c, &e), &e)
	})
}

// A StatisticsGroup has the statistics of a group of tensors, for n tasks in the order in which they were
// added. A matrix is n x n, row by row, symmetric: that of i and j is matrix[i*n+j].
type StatisticsGroup struct {
	Name       string    // a tensor's, a layer's number, a kind; "": the model, or tensors in no layer
	Layer      int64     // its number; -1: none, or another scope
	Count      uint64    // elements
	Conflicts  uint64    // elements where one task's is above 0 and another's below
	Unchanged  uint64    // elements where all are 0
	Tensors    int       // how many
	Tasks      int       // n
	Rounded    bool      // StatisticsOptions.Rounding
	Products   []float64 // matrix: sums of x_i x_j; on the diagonal, squares of norms
	Distances  []float64 // matrix: sums of (x_i - x_j)^2
	Sums       []float64 // of each task: sums of x,
	Magnitudes []float64 // of |x|,
	Fourths    []float64 // of x^4,
	Largest    []float64 // and the largest |x|
	Quantiles  []float64 // as many as were asked for, for each task; nil: none
	Zeros      []uint64  // of each task: elements with x = 0,
	NonFinite  []uint64  // and those that OnNonFinite set to 0, which are among them
	SameSigns  []uint64  // matrix: elements where both are above 0, or both below
	Both       []uint64  // matrix: elements where neither is 0
}

// Groups are those of a scope, after the run.
func (s *Statistics) Groups(scope StatisticsScope) ([]StatisticsGroup, error) {
	if err := s.h.own(); err != nil {
		return nil, err
	}
	defer s.h.disown()
	of := C.emr_statistics_scope(scope)
	groups := make([]StatisticsGroup, max(1, int(C.emr_statistics_n_groups(s.c, of))))
	for i := range groups {
		c := C.emr_statistics_group{size: C.sizeof_emr_statistics_group}
		status := C.emr_statistics_get_group(s.c, of, C.uint32_t(i), &c)
		if status == C.EMR_ENOTFOUND && i == 0 {
			return nil, nil
		}
		if err := outcome(status); err != nil {
			return nil, err
		}
		groups[i] = newGroup(&c)
	}
	return groups, nil
}

// Model is the group of all tensors, after the run.
func (s *Statistics) Model() (StatisticsGroup, error) {
	groups, err := s.Groups(ScopeModel)
	if err != nil {
		return StatisticsGroup{}, err
	}
	return groups[0], nil
}

func newGroup(c *C.emr_statistics_group) StatisticsGroup {
	n := int(c.n_tasks)
	return StatisticsGroup{
		Name: C.GoString(c.name), Layer: int64(c.layer), Count: uint64(c.count),
		Conflicts: uint64(c.conflicts), Unchanged: uint64(c.unchanged), Tensors: int(c.n_tensors), Tasks: n,
		Rounded: c.is_rounded != 0, Products: numbers(c.products, n*n), Distances: numbers(c.distances, n*n),
		Sums: numbers(c.sums, n), Magnitudes: numbers(c.magnitudes, n), Fourths: numbers(c.fourths, n),
		Largest: numbers(c.largest, n), Quantiles: numbers(c.quantiles, n*int(c.n_quantiles)),
		Zeros: counts(c.zeros, n), NonFinite: counts(c.nonfinite, n), SameSigns: counts(c.same_signs, n*n),
		Both: counts(c.both, n*n),
	}
}

func numbers(p *C.double, n int) []float64 { return copied[float64](unsafe.Pointer(p), n) }

func counts(p *C.uint64_t, n int) []uint64 { return copied[uint64](unsafe.Pointer(p), n) }

// marshal is the group for C, as far as kinship and moments look at it.
func (g *StatisticsGroup) marshal(a *arena) (*C.emr_statistics_group, error) {
	n := g.Tasks
	if n < 0 || len(g.Products) != n*n || len(g.Distances) != n*n || len(g.Sums) != n ||
		len(g.Magnitudes) != n || len(g.Fourths) != n || len(g.Largest) != n || len(g.Zeros) != n {
		return nil, invalid("a StatisticsGroup of %d tasks has arrays of other lengths", n)
	}
	c := object[C.emr_statistics_group](a)
	*c = C.emr_statistics_group{
		size: C.sizeof_emr_statistics_group, products: (*C.double)(pinned(a, g.Products)),
		distances: (*C.double)(pinned(a, g.Distances)), sums: (*C.double)(pinned(a, g.Sums)),
		magnitudes: (*C.double)(pinned(a, g.Magnitudes)), fourths: (*C.double)(pinned(a, g.Fourths)),
		largest: (*C.double)(pinned(a, g.Largest)), zeros: (*C.uint64_t)(pinned(a, g.Zeros)),
		count: C.uint64_t(g.Count), n_tasks: C.uint32_t(n), is_rounded: flag(g.Rounded),
	}
	return c, nil
}

// TaskMoments are what follows from a group's sums for one task.
type TaskMoments struct {
	Norm          float64 // square root of the sum of x^2
	Mean          float64 // of x
	MeanMagnitude float64 // of |x|
	Deviation     float64 // standard, of the elements
	Kurtosis      float64 // 3 for normal ones; NaN where all x are 0
	ZeroShare     float64 // zeros / count
}

// Moments are a task's.
func (g *StatisticsGroup) Moments(task int) (TaskMoments, error) {
	var a arena
	defer a.free()
	group, err := g.marshal(&a)
	if err != nil {
		return TaskMoments{}, err
	}
	if task < 0 || task >= g.Tasks {
		return TaskMoments{}, &Error{Status: ErrNotFound, Sentence: "there is no such task"}
	}
	c := C.emr_task_moments{size: C.sizeof_emr_task_moments}
	if err := outcome(C.emr_statistics_get_moments(group, C.uint32_t(task), &c)); err != nil {
		return TaskMoments{}, err
	}
	return TaskMoments{
		Norm: float64(c.norm), Mean: float64(c.mean), MeanMagnitude: float64(c.mean_magnitude),
		Deviation: float64(c.deviation), Kurtosis: float64(c.kurtosis), ZeroShare: float64(c.zero_share),
	}, nil
}

// LayerOf is the number of the layer where a tensor of that name counts; -1: none.
func LayerOf(tensor string) int64 {
	var a arena
	defer a.free()
	return int64(C.emr_statistics_layer_of(a.text(tensor)))
}

// KindOf is the kind of tensor as which one of that name counts: "q", "norm", "other".
func KindOf(tensor string) string {
	var a arena
	defer a.free()
	return C.GoString(C.emr_statistics_kind_of(a.text(tensor)))
}

package emr

// #include "bridge_methods.h"
import "C"

import (
	"fmt"
	"math"
	"sync"
	"unsafe"
)

// An ownMethod is a [Method] behind C's table. Functions of which C takes no failure may panic all the same:
// then the method is broken, and its next function that can fail fails with that panic.
type ownMethod struct {
	method Method
	stages []MethodStage
	counts sync.Map // how many numbers C was told that a stage finds, by stageOf
	whole  bool
	broken bystander
	h      *handle
	table  *C.emr_method
}

type stageOf struct {
	tensor string
	stage  int
}

// newOwnMethod ends with done, and with what keeps its handle.
func newOwnMethod(method Method) (*ownMethod, error) {
	info := method.Info()
	m := &ownMethod{method: method, whole: info.WholeModel}
	if staged, ok := method.(StagedMethod); ok {
		m.stages = staged.Stages()
	}
	if err := checkMethod(&info, m.stages); err != nil {
		return nil, err
	}
	var memory arena
	user := newCell(m)
	m.h = newHandle("method", func() { freeCell(user); memory.free() })
	m.table = object[C.emr_method](&memory)
	m.fill(&memory, user, &info)
	if memory.err != nil {
		defer m.done()
		return nil, memory.err
	}
	return m, nil
}

func (m *ownMethod) done() {
	if m != nil {
		m.h.done()
	}
}

func (m *ownMethod) handle() *handle {
	if m == nil {
		return nil
	}
	return m.h
}

func checkMethod(info *MethodInfo, stages []MethodStage) error {
	if !areCounts(info.ScratchFloats, info.MinTasks, info.MaxTasks) {
		return invalid("the method '%s' has a number in its MethodInfo that is no count", info.Name)
	}
	if len(stages) > C.EMR_METHOD_STAGES_MAX {
		return invalid("the method '%s' has %d stages: there can be %d", info.Name, len(stages),
			C.EMR_METHOD_STAGES_MAX)
	}
	for _, s := range stages {
		if s.Count == nil || s.AddSums == nil && (s.ListKeys == nil || s.PlaceCut == nil) {
			return invalid("the method '%s' has a stage that neither sums nor cuts", info.Name)
		}
	}
	return nil
}

func (m *ownMethod) fill(a *arena, user unsafe.Pointer, info *MethodInfo) {
	*m.table = C.emr_method{
		size: C.sizeof_emr_method, name: a.text(info.Name), user: user, check: (*[0]byte)(C.emrGoCheckMethod),
		row_length: (*[0]byte)(C.emrGoRowLength), needed_stages: (*[0]byte)(C.emrGoNeededStages),
		combine: (*[0]byte)(C.emrGoCombine), n_parameters: C.uint32_t(len(info.Parameters)),
		scratch_floats: C.uint32_t(info.ScratchFloats), base: C.emr_method_base(info.Base),
		min_tasks: C.uint32_t(info.MinTasks), max_tasks: C.uint32_t(info.MaxTasks),
		whole_model: flag(info.WholeModel),
	}
	parameters := array[C.emr_method_parameter](a, len(info.Parameters))
	for i, p := range info.Parameters {
		parameters[i] = C.emr_method_parameter{
			name: a.text(p.Name), initial: C.double(p.Initial), least: C.double(p.Least),
			most: C.double(p.Most), per_task: flag(p.PerTask), is_whole: flag(p.Whole),
		}
	}
	m.table.parameters = unsafe.SliceData(parameters)
	for i, s := range m.stages {
		stage := object[C.emr_method_stage](a)
		cuts := C.int(0)
		if s.AddSums == nil {
			cuts = 1
		}
		C.emr_go_fill_stage(stage, C.uint32_t(i), cuts)
		m.table.stages[i] = stage
	}
}

func (m *ownMethod) isBroken() bool {
	return m != nil && m.broken.caught() != nil
}

// rethrow panics with what broke the method, if anything did.
func (m *ownMethod) rethrow() {
	if m != nil {
		m.broken.rethrow()
	}
}

// run is a function that can fail.
func (m *ownMethod) run(e *C.emr_error, fn func() error) C.emr_status {
	return catch(e, func() error {
		if p := m.broken.caught(); p != nil {
			return p
		}
		return fn()
	})
}

// tensor is a tensor for the first n stages.
func (m *ownMethod) tensor(c *C.emr_method_tensor, n int) *MethodTensor {
	t := &MethodTensor{
		Name: C.GoString(c.name), Count: uint64(c.count), RowLength: uint64(c.row_length),
		Seed: uint64(c.seed), HasBase: c.has_base != 0, c: c,
		Shape:      copied[uint64](unsafe.Pointer(c.shape), int(c.rank)),
		parameters: copied[float64](unsafe.Pointer(c.parameters), int(c.n_inputs)*int(c.n_parameters)),
	}
	for _, name := range unsafe.Slice(c.inputs, int(c.n_inputs)) {
		t.Inputs = append(t.Inputs, C.GoString(name))
	}
	for i := range n {
		t.Found = copied[float64](unsafe.Pointer(c.found), len(t.Found)+m.count(t, i))
	}
	return t
}

// count is how many numbers a stage finds, of which C knows. Stages of the whole model see a tensor named "".
func (m *ownMethod) count(t *MethodTensor, stage int) int {
	of := stageOf{t.Name, stage}
	if m.whole {
		of.tensor = ""
	}
	n, _ := m.counts.Load(of)
	count, _ := n.(int)
	return count
}

// chunk is what C hands over, for a function that sees what the first `stages` have found.
func (m *ownMethod) chunk(c *C.emr_method_chunk, stages int) *MethodChunk {
	n := int(c.n)
	chunk := &MethodChunk{
		Tensor: m.tensor(c.tensor, stages), First: uint64(c.first), Position: uint64(c.position),
		Base: floats(c.base, n), Out: floats(c.out, n),
		Scratch: floats(c.scratch, n*int(m.table.scratch_floats)),
	}
	for _, input := range unsafe.Slice(c.inputs, int(c.tensor.n_inputs)) {
		chunk.Inputs = append(chunk.Inputs, floats(input, n))
	}
	return chunk
}

// areCounts says whether numbers fit into C's.
func areCounts(numbers ...int) bool {
	for _, n := range numbers {
		if n < 0 || uint64(n) > math.MaxUint32 {
			return false
		}
	}
	return true
}

func floats(p *C.float, n int) []float32 {
	if p == nil {
		return nil
	}
	return unsafe.Slice((*float32)(p), n)
}

// copied is a copy of n elements of C's memory.
func copied[T any](p unsafe.Pointer, n int) []T {
	if p == nil {
		return nil
	}
	return append([]T(nil), unsafe.Slice((*T)(p), n)...)
}

//export emrGoCheckMethod
func emrGoCheckMethod(c *C.emr_method_tensor, e *C.emr_error) C.emr_status {
	m := cell[*ownMethod](c.user)
	return m.run(e, func() error {
		checker, ok := m.method.(MethodChecker)
		if !ok {
			return nil
		}
		t := m.tensor(c, 0)
		defer t.end()
		return checker.Check(t)
	})
}

//export emrGoRowLength
func emrGoRowLength(c *C.emr_method_tensor) (length C.uint64_t) {
	m := cell[*ownMethod](c.user)
	m.broken.run(func() {
		if rows, ok := m.method.(RowMethod); ok {
			t := m.tensor(c, 0)
			defer t.end()
			length = C.uint64_t(rows.RowLength(t))
		}
	})
	return length
}

//export emrGoNeededStages
func emrGoNeededStages(c *C.emr_method_tensor) (needed C.uint32_t) {
	m := cell[*ownMethod](c.user)
	m.broken.run(func() {
		chooser, chooses := m.method.(StageChooser)
		t := m.tensor(c, 0)
		defer t.end()
		for i := range m.stages {
			if !chooses || chooser.NeedsStage(t, i) {
				needed |= 1 << i
			}
		}
	})
	return needed
}

//export emrGoCombine
func emrGoCombine(c *C.emr_method_chunk, e *C.emr_error) C.emr_status {
	m := cell[*ownMethod](c.tensor.user)
	return m.run(e, func() error {
		chunk := m.chunk(c, len(m.stages))
		defer chunk.Tensor.end()
		return m.method.Combine(chunk)
	})
}

//export emrGoCountFound
func emrGoCountFound(stage C.uint32_t, c *C.emr_method_tensor) (n C.uint32_t) {
	m := cell[*ownMethod](c.user)
	m.broken.run(func() {
		t := m.tensor(c, int(stage))
		defer t.end()
		count := min(max(m.stages[stage].Count(t), 0), math.MaxUint32)
		first, _ := m.counts.LoadOrStore(stageOf{t.Name, int(stage)}, count)
		n = C.uint32_t(first.(int))
	})
	return n
}

//export emrGoAddSums
func emrGoAddSums(stage C.uint32_t, c *C.emr_method_chunk, sums *C.double) {
	m := cell[*ownMethod](c.tensor.user)
	m.broken.run(func() {
		chunk := m.chunk(c, int(stage))
		defer chunk.Tensor.end()
		m.stages[stage].AddSums(chunk, unsafe.Slice((*float64)(sums), m.count(chunk.Tensor, int(stage))))
	})
}

//export emrGoListKeys
func emrGoListKeys(stage C.uint32_t, c *C.emr_method_chunk, list C.uint32_t, keys *C.float) {
	m := cell[*ownMethod](c.tensor.user)
	out := floats(keys, int(c.n))
	clear(out)
	m.broken.run(func() {
		chunk := m.chunk(c, int(stage))
		defer chunk.Tensor.end()
		m.stages[stage].ListKeys(chunk, int(list), out)
	})
}

//export emrGoPlaceCut
func emrGoPlaceCut(stage C.uint32_t, c *C.emr_method_tensor, cut C.uint32_t,
	list *C.uint32_t) (k C.uint64_t) {
	m := cell[*ownMethod](c.user)
	m.broken.run(func() {
		t := m.tensor(c, int(stage))
		defer t.end()
		placed, largest := m.stages[stage].PlaceCut(t, int(cut))
		if placed < 0 || placed >= m.count(t, int(stage))/2 {
			panic(fmt.Sprintf("emr: PlaceCut: list %d of %d cuts", placed, m.count(t, int(stage))/2))
		}
		*list, k = C.uint32_t(placed), C.uint64_t(largest)
	})
	return k
}

//export emrGoSettle
func emrGoSettle(stage C.uint32_t, c *C.emr_method_tensor, found *C.double, e *C.emr_error) C.emr_status {
	m := cell[*ownMethod](c.user)
	return m.run(e, func() error {
		if m.stages[stage].Settle == nil {
			return nil
		}
		t := m.tensor(c, int(stage))
		defer t.end()
		return m.stages[stage].Settle(t, unsafe.Slice((*float64)(found), m.count(t, int(stage))))
	})
}

func (t *MethodTensor) end() { t.c = nil }

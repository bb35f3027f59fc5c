package emr

// #include "bridge_methods.h"
import "C"

import (
	"unsafe"
)

// A MethodBase says what a method does with a base.
type MethodBase uint32

// What methods do with a base.
const (
	BaseIsInput  MethodBase = C.EMR_METHOD_BASE_INPUT    // none is needed; one that is there is an input
	BaseRequired MethodBase = C.EMR_METHOD_BASE_REQUIRED // inputs are task vectors, to be added to it
	BaseOptional MethodBase = C.EMR_METHOD_BASE_OPTIONAL // with a base as required, without on weights
	BaseBeside   MethodBase = C.EMR_METHOD_BASE_BESIDE   // required; but in and out are weights
)

// A MethodParameter is a number that a method can be told, for each task or for all.
type MethodParameter struct {
	Name    string
	Initial float64 // where it is not set; NaN: it must be
	Least   float64 // what it may be
	Most    float64
	PerTask bool
	Whole   bool // a whole number; from 0 to 1, a flag
}

// A MethodInfo describes a method of merging.
type MethodInfo struct {
	Name          string
	Base          MethodBase
	Parameters    []MethodParameter
	MinTasks      int  // 0: 1. The base does not count
	MaxTasks      int  // 0: no limit
	WholeModel    bool // stages run over all combined tensors as if they were one
	ScratchFloats int  // for each element of a chunk
}

// Methods are the library's methods. docs/combining.md says what they compute.
func Methods() []MethodInfo {
	var all []MethodInfo
	for i := C.uint32_t(0); ; i++ {
		m := C.emr_method_at(i)
		if m == nil {
			return all
		}
		all = append(all, methodInfo(m))
	}
}

// FindMethod is the library's method of that name.
func FindMethod(name string) (MethodInfo, error) {
	m, err := findMethod(name)
	if err != nil {
		return MethodInfo{}, err
	}
	return methodInfo(m), nil
}

func findMethod(name string) (*C.emr_method, error) {
	var a arena
	defer a.free()
	m := C.emr_method_find(a.text(name))
	switch {
	case a.err != nil:
		return nil, a.err
	case m == nil:
		return nil, &Error{Status: ErrNotFound, Sentence: "there is no method '" + name + "'"}
	}
	return m, nil
}

func methodInfo(m *C.emr_method) MethodInfo {
	info := MethodInfo{
		Name: C.GoString(m.name), Base: MethodBase(m.base), MinTasks: int(m.min_tasks),
		MaxTasks: int(m.max_tasks), WholeModel: m.whole_model != 0, ScratchFloats: int(m.scratch_floats),
	}
	for _, p := range unsafe.Slice(m.parameters, int(m.n_parameters)) {
		info.Parameters = append(info.Parameters, MethodParameter{
			Name: C.GoString(p.name), Initial: float64(p.initial), Least: float64(p.least),
			Most: float64(p.most), PerTask: p.per_task != 0, Whole: p.is_whole != 0,
		})
	}
	return info
}

// A Method is one of your own, for [CombinationOptions]. What the library calls, it calls from several
// threads at a time; all that may be written to is what the chunk gives. A method may also be a
// [MethodChecker], a [RowMethod], a [StagedMethod] and a [StageChooser].
type Method interface {
	Info() MethodInfo
	// Combine fills chunk.Out.
	Combine(chunk *MethodChunk) error
}

// A MethodChecker says whether the parameters of a tensor go together. The error need not name the tensor.
type MethodChecker interface {
	Check(t *MethodTensor) error
}

// A RowMethod works on rows: on a multiple of their length each chunk begins and ends. 0: there are none.
type RowMethod interface {
	RowLength(t *MethodTensor) uint64
}

// A StagedMethod must know something of the whole tensor before it can combine. It has up to four stages.
type StagedMethod interface {
	Stages() []MethodStage
}

// A StageChooser says which stages a tensor needs. The numbers of the others are 0.
type StageChooser interface {
	NeedsStage(t *MethodTensor, stage int) bool
}

// A MethodStage finds numbers out about a tensor. It either adds up sums, of chunks and in order; or it cuts
// lists of keys, one for each element, where their k largest end. A cut is two numbers: the key of the k-th,
// and the position behind it ([IsAbove]).
type MethodStage struct {
	// Count is how many numbers there are; of cuts, two for each.
	Count func(t *MethodTensor) int
	// AddSums adds to sums, which are 0 at first. Nil: the stage cuts.
	AddSums func(chunk *MethodChunk, sums []float64)
	// ListKeys are the keys of a chunk, at least 0 and finite.
	ListKeys func(chunk *MethodChunk, list int, keys []float32)
	// PlaceCut is a cut's list and k. Cuts of one list are side by side, in ascending order of lists.
	PlaceCut func(t *MethodTensor, cut int) (list int, k uint64)
	// Settle makes of the numbers what Combine needs; it may be nil.
	Settle func(t *MethodTensor, found []float64) error
}

// A MethodTensor is a tensor as a method sees it. It is valid during the call.
type MethodTensor struct {
	Name       string
	Shape      []uint64
	Inputs     []string  // the inputs' names; the base's, where it is one, is ""
	Found      []float64 // what the stages so far have found, one behind the other
	Count      uint64    // elements; never 0
	RowLength  uint64    // of the method's rows; 0: it has none
	Seed       uint64
	HasBase    bool // inputs are task vectors, or the base is beside
	parameters []float64
	c          *C.emr_method_tensor
}

// Value is an input's parameter, by their numbers.
func (t *MethodTensor) Value(input, parameter int) float64 {
	n := len(t.parameters) / len(t.Inputs)
	return t.parameters[input*n : (input+1)*n][parameter]
}

// Draw fills words with 32 random bits for each of the elements from first on, which depend on the seed and
// on the names of input and tensor alone.
func (t *MethodTensor) Draw(input int, first uint64, words []uint32) {
	if t.c == nil || input < 0 || input >= len(t.Inputs) {
		panic("emr: Draw: no such input, or the call that the tensor was given to is over")
	}
	C.emr_method_draw(t.c, C.uint32_t(input), C.uint64_t(first), C.size_t(len(words)),
		(*C.uint32_t)(unsafe.SliceData(words)))
}

// A MethodChunk is some elements of a tensor, of all inputs side by side. It is valid during the call, and so
// is its memory.
type MethodChunk struct {
	Tensor   *MethodTensor
	Inputs   [][]float32
	Base     []float32 // its weights; nil: there is none, or it is an input
	Out      []float32 // of Combine: what is to be filled
	Scratch  []float32 // MethodInfo.ScratchFloats for each element
	First    uint64    // the first element's number
	Position uint64    // among all elements that stages run over: First, but where WholeModel joins tensors
}

// IsAbove says whether an element, by its key and position, is among the largest that a cut, two numbers of
// MethodTensor.Found, keeps.
func IsAbove(cut []float64, key float32, position uint64) bool {
	value := float64(key)
	return value > cut[0] || value == cut[0] && float64(position) < cut[1]
}

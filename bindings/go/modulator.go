package emr

// #include "bridge.h"
import "C"

import (
	"cmp"
	"math/bits"
	"slices"
	"unsafe"
)

// A ModulatorKind is how a task is coded beside the base. The zero value is the default, KindMask.
type ModulatorKind uint32

// The kinds: the first two with a unified task vector that the tasks share, the others with nothing shared.
const (
	KindMask     ModulatorKind = C.EMR_MODULATOR_KIND_MASK      // a bit: lambda * unified, or nothing (EMR-Merging)
	KindTwoSided ModulatorKind = C.EMR_MODULATOR_KIND_TWO_SIDED // a bit: lambda * unified, or -lambda' * unified
	KindSign     ModulatorKind = C.EMR_MODULATOR_KIND_SIGN      // a bit: the sign of the change, times scales
	KindThin     ModulatorKind = C.EMR_MODULATOR_KIND_THIN      // the same at one of 2 to 32 positions
	KindLevels   ModulatorKind = C.EMR_MODULATOR_KIND_LEVELS    // one of 3, 4, 8 or 16 levels, times a row's scale
)

// A Rescale is how scales are computed. The zero value is what measured best for the kind.
type Rescale uint32

// The rules; emr/modulator.h has the formulas.
const (
	RescaleL1       Rescale = C.EMR_RESCALE_L1       // the paper, equation 5
	RescaleL1Means  Rescale = C.EMR_RESCALE_L1_MEANS // the authors' program
	RescaleL2       Rescale = C.EMR_RESCALE_L2       // the least error
	RescaleNorm     Rescale = C.EMR_RESCALE_NORM     // the same length
	RescaleUnbiased Rescale = C.EMR_RESCALE_UNBIASED // the same projection
	RescaleMixed    Rescale = C.EMR_RESCALE_MIXED    // thin: between L1 and Unbiased
)

// RescalePer is what shares a scale, of kinds with a unified vector. The zero value is the default: of masks that
// agree the model, of others the row.
type RescalePer uint32

// What shares a scale.
const (
	PerModel  RescalePer = C.EMR_RESCALE_PER_MODEL // the paper
	PerTensor RescalePer = C.EMR_RESCALE_PER_TENSOR
	PerRow    RescalePer = C.EMR_RESCALE_PER_ROW // each index of the first dimension
)

// A MaskRule is where a bit of a mask is 1.
type MaskRule uint32

// The rules.
const (
	MaskAgree   MaskRule = C.EMR_MASK_RULE_AGREE   // where the signs are the same (the paper, equation 4)
	MaskNearest MaskRule = C.EMR_MASK_RULE_NEAREST // and the change is nearer to the unified value than to 0
)

// A Modulation is a kind with its parameters. The zero value is the default: masks.
type Modulation struct {
	Kind           ModulatorKind
	Thinning       uint32 // thin: parameters for each one that is kept, 2, 4, 8, 16 or 32; 0: 4
	Levels         uint32 // levels: 3, 4, 8 or 16; 0: 4
	Rescale        Rescale
	RescalePer     RescalePer
	MaskRule       MaskRule
	VectorsDType   DType // of tensors that kinds without a unified vector keep as differences: BF16 (0) or F32
	WithoutColumns bool  // sign: no scales of columns
	Seed           uint32
}

func (m *Modulation) fill(c *C.emr_modulation_spec) {
	*c = C.emr_modulation_spec{
		size: C.sizeof_emr_modulation_spec, kind: C.emr_modulator_kind(m.Kind), thinning: C.uint32_t(m.Thinning),
		n_levels: C.uint32_t(m.Levels), rescale: C.emr_rescale(m.Rescale),
		rescale_per: C.emr_rescale_per(m.RescalePer), mask_rule: C.emr_mask_rule(m.MaskRule),
		vectors_dtype: C.emr_dtype(m.VectorsDType), without_columns: flag(m.WithoutColumns), seed: C.uint32_t(m.Seed),
	}
}

func modulationOf(c *C.emr_modulation_spec) Modulation {
	return Modulation{
		Kind: ModulatorKind(c.kind), Thinning: uint32(c.thinning), Levels: uint32(c.n_levels),
		Rescale: Rescale(c.rescale), RescalePer: RescalePer(c.rescale_per), MaskRule: MaskRule(c.mask_rule),
		VectorsDType: DType(c.vectors_dtype), WithoutColumns: c.without_columns != 0, Seed: uint32(c.seed),
	}
}

// Fidelity is how near a task's rebuilt vector v is to its task vector tau. NaN: not measured.
type Fidelity struct {
	Error       float32 // |v - tau|^2 / |tau|^2
	Cosine      float32 // <v, tau> / (|v| |tau|)
	Coefficient float32 // <v, tau> / <tau, tau>: below 1, the task's change is too short
}

func fidelityOf(c *C.emr_fidelity) Fidelity {
	return Fidelity{float32(c.error), float32(c.cosine), float32(c.coefficient)}
}

// A Modulator turns the base and the unified task vector into a task's weights. It comes out of a bundle, or is made
// by the program over its own memory. Its calls take turns: use one for each goroutine.
type Modulator struct {
	h      *handle
	c      *C.emr_modulator
	memory *arena // of one that the program makes
}

// Modulator is the task's; its tensors are numbered as the bundle's merged ones.
func (t Task) Modulator() (*Modulator, error) {
	if err := t.bundle.h.use(); err != nil {
		return nil, err
	}
	defer t.bundle.h.done()
	var c *C.emr_modulator
	var e C.emr_error
	status := C.emr_bundle_open_modulator(&c, t.bundle.c, C.uint32_t(t.number), nil, &e)
	if err := failure(status, &e); err != nil {
		return nil, err
	}
	m := &Modulator{c: c}
	m.h = newHandle("modulator", func() { C.emr_modulator_destroy(&c) }, t.bundle.h)
	return guard(m, m.h), nil
}

// NewModulator makes an empty modulator for the program to fill.
func NewModulator() (*Modulator, error) {
	var c *C.emr_modulator
	var e C.emr_error
	if err := failure(C.emr_modulator_create(&c, nil, &e), &e); err != nil {
		return nil, err
	}
	memory := &arena{}
	m := &Modulator{c: c, memory: memory}
	m.h = newHandle("modulator", func() {
		C.emr_modulator_destroy(&c)
		memory.free()
	})
	return guard(m, m.h), nil
}

// Close ends the use of the modulator.
func (m *Modulator) Close() error {
	return m.h.close()
}

// A ModulatorTensor is one tensor of a modulator that the program makes: a matrix of as many rows, or a tensor that is
// one row. Slices are not copied, and must not change until the modulator is closed. Codes are those of a bundle:
// docs/bundle-format.md.
type ModulatorTensor struct {
	Name         string
	Count        uint64 // parameters
	Rows         uint64 // divides Count
	Kind         ModulatorKind
	Codes        []byte    // packed, the lowest bit first, to the end of the last one
	Scales       []float32 // one for each row; two-sided: two, where the mask is 1, and where it is 0
	Unified      []byte    // Count elements of the unified task vector, where the kind has one
	UnifiedDType DType     // F32, F16 or BF16
	Columns      []byte    // sign: BF16, Count / Rows scales of columns; nil: all 1
	Thinning     uint32
	Levels       uint32
	Seed         uint32
}

// check compares the lengths of the slices with what C will read.
func (t *ModulatorTensor) check() error {
	if t.Rows == 0 || t.Count%t.Rows != 0 {
		return nil // C has a sentence for it
	}
	if t.Count > 1<<56 {
		return invalid("tensor %q: no slice holds the codes of %d parameters", t.Name, t.Count)
	}
	scales, unified, columns := t.Rows, uint64(0), uint64(0)
	switch t.Kind {
	case KindTwoSided:
		scales *= 2
		fallthrough
	case 0, KindMask:
		unified = t.Count * uint64(t.UnifiedDType.Bits()) / 8
	case KindSign:
		if t.Columns != nil {
			columns = t.Count / t.Rows * 2
		}
	}
	for _, part := range []struct {
		name      string
		have, all uint64
	}{
		{"Codes", uint64(len(t.Codes)), t.codeBytes()},
		{"Scales", uint64(len(t.Scales)), scales},
		{"Unified", uint64(len(t.Unified)), unified},
		{"Columns", uint64(len(t.Columns)), columns},
	} {
		if part.have != part.all {
			return invalid("tensor %q: %s has %d elements, not %d", t.Name, part.name, part.have, part.all)
		}
	}
	return nil
}

func (t *ModulatorTensor) codeBytes() uint64 {
	rate := uint64(64) // bits for 64 parameters
	switch {
	case t.Kind == KindThin && t.Thinning == 0:
		rate = 16
	case t.Kind == KindThin:
		rate = 64 / uint64(t.Thinning)
	case t.Kind == KindLevels && t.Levels == 8:
		rate *= 3
	case t.Kind == KindLevels && t.Levels == 16:
		rate *= 4
	case t.Kind == KindLevels:
		rate *= 2
	}
	return t.Count/512*rate + (t.Count%512*rate+511)/512
}

// Add appends a tensor to a modulator that the program makes.
func (m *Modulator) Add(t ModulatorTensor) error {
	if err := m.h.own(); err != nil {
		return err
	}
	defer m.h.disown()
	if err := t.check(); err != nil {
		return err
	}
	memory := m.memory
	if memory == nil {
		memory = &arena{} // C refuses what comes out of a bundle
		defer memory.free()
	}
	c := C.emr_modulation{
		size: C.sizeof_emr_modulation, name: memory.text(t.Name), count: C.uint64_t(t.Count),
		n_rescalers: C.uint64_t(t.Rows), unified_dtype: C.emr_dtype(t.UnifiedDType), kind: C.emr_modulator_kind(t.Kind),
		thinning: C.uint32_t(t.Thinning), n_levels: C.uint32_t(t.Levels), seed: C.uint32_t(t.Seed),
		unified: unsafe.Pointer(pinned(memory, t.Unified)), mask: (*C.uint8_t)(pinned(memory, t.Codes)),
		rescalers: (*C.float)(pinned(memory, t.Scales)), columns: unsafe.Pointer(pinned(memory, t.Columns)),
	}
	if err := memory.err; err != nil {
		memory.err = nil
		return err
	}
	var e C.emr_error
	return failure(C.emr_modulator_add(m.c, &c, &e), &e)
}

// Tensors are the names of the merged tensors, by number; none when it is closed.
func (m *Modulator) Tensors() []string {
	if m.h.own() != nil {
		return nil
	}
	defer m.h.disown()
	names := make([]string, C.emr_modulator_n_tensors(m.c))
	for i := range names {
		names[i] = C.GoString(C.emr_modulator_tensor_name(m.c, C.uint32_t(i)))
	}
	return names
}

// FindTensor is the number of the merged tensor of that name, or ErrNotFound.
func (m *Modulator) FindTensor(name string) (uint32, error) {
	if err := m.h.own(); err != nil {
		return 0, err
	}
	defer m.h.disown()
	var a arena
	defer a.free()
	var number C.uint32_t
	if C.emr_modulator_find_tensor(m.c, a.text(name), &number) != C.EMR_OK || a.err != nil {
		return 0, &Error{Status: ErrNotFound, Tensor: name, Sentence: "there is no merged tensor '" + name + "'"}
	}
	return uint32(number), nil
}

// Count is the number of a tensor's parameters; 0 past the end.
func (m *Modulator) Count(tensor uint32) uint64 {
	if m.h.own() != nil {
		return 0
	}
	defer m.h.disown()
	return uint64(C.emr_modulator_tensor_count(m.c, C.uint32_t(tensor)))
}

// Rescalers are those of a tensor, as emr/modulator.h says how many there are.
func (m *Modulator) Rescalers(tensor uint32) ([]float32, error) {
	if err := m.h.own(); err != nil {
		return nil, err
	}
	defer m.h.disown()
	values := make([]float32, C.emr_modulator_n_rescalers(m.c, C.uint32_t(tensor)))
	var e C.emr_error
	status := C.emr_modulator_read_rescalers(m.c, C.uint32_t(tensor), 0, C.size_t(len(values)),
		(*C.float)(unsafe.SliceData(values)), &e)
	return values, failure(status, &e)
}

// Stats are the number of a tensor's parameters, and of those whose mask bit is set.
func (m *Modulator) Stats(tensor uint32) (count, ones uint64, err error) {
	if err := m.h.own(); err != nil {
		return 0, 0, err
	}
	defer m.h.disown()
	c := C.emr_modulator_stats{size: C.sizeof_emr_modulator_stats}
	var e C.emr_error
	err = failure(C.emr_modulator_get_stats(m.c, C.uint32_t(tensor), &c, &e), &e)
	return uint64(c.count), uint64(c.ones), err
}

// An Application is which weights to compute, and from what: as many as fill Out.
type Application struct {
	Tensor      uint32
	First       uint64 // the first parameter
	Base        []byte // the base's values of the same parameters
	BaseDType   DType
	Out         []byte // may be Base if the types are the same, and must not overlap it otherwise
	OutDType    DType
	WithoutBase bool // the change alone, as if the base's values were 0
}

// Apply computes weights.
func (m *Modulator) Apply(w Application) error {
	if err := m.h.own(); err != nil {
		return err
	}
	defer m.h.disown()
	if !w.OutDType.IsFloat() || len(w.Out)%(w.OutDType.Bits()/8) != 0 {
		return invalid("%d bytes are no elements of a float type (%v)", len(w.Out), w.OutDType)
	}
	count := uint64(len(w.Out) / (w.OutDType.Bits() / 8))
	if want := count * uint64(w.BaseDType.Bits()) / 8; !w.WithoutBase && uint64(len(w.Base)) != want {
		return invalid("the base has %d bytes, %d elements of %v have %d", len(w.Base), count, w.BaseDType, want)
	}
	var a arena
	defer a.free()
	c := C.emr_application{
		size: C.sizeof_emr_application, base: unsafe.Pointer(pinned(&a, w.Base)), out: unsafe.Pointer(pinned(&a, w.Out)),
		first: C.uint64_t(w.First), count: C.uint64_t(count), tensor: C.uint32_t(w.Tensor),
		base_dtype: C.emr_dtype(w.BaseDType), out_dtype: C.emr_dtype(w.OutDType), without_base: flag(w.WithoutBase),
	}
	var e C.emr_error
	return failure(C.emr_modulator_apply(m.c, &c, &e), &e)
}

// MultiplyModulators multiplies rows of a tensor by a batch of vectors, each with the modulator of its task, without
// materialising the weights. The base's values are those of the product's rows, whose Columns must be set. A modulator
// may occur more than once.
func MultiplyModulators(modulators []*Modulator, p *Product, base []byte, baseDType DType) error {
	handles := make([]*handle, len(modulators))
	for i, m := range modulators {
		handles[i] = m.h
	}
	end, err := ownAll(handles)
	if err != nil {
		return err
	}
	defer end()
	hi, count := bits.Mul64(p.Rows, p.Columns)
	want, err := baseDType.bytes(count)
	if !p.WithoutBase && (hi != 0 || err != nil || uint64(len(base)) != want) {
		return invalid("product with tensor '%s': the base has %d bytes, not %d rows of %d columns in %v", p.Tensor,
			len(base), p.Rows, p.Columns, baseDType)
	}
	var a arena
	defer a.free()
	c, err := p.marshal(&a, len(modulators))
	if err != nil {
		return err
	}
	pointers := array[*C.emr_modulator](&a, len(modulators))
	for i, m := range modulators {
		pointers[i] = m.c
	}
	var e C.emr_error
	return failure(C.emr_modulator_multiply(unsafe.SliceData(pointers), c, C.emr_dtype(baseDType),
		unsafe.Pointer(pinned(&a, base)), &e), &e)
}

// ownAll begins a call that needs several objects to itself, each perhaps named more than once.
func ownAll(handles []*handle) (func(), error) {
	each := slices.Clone(handles)
	slices.SortFunc(each, func(a, b *handle) int {
		return cmp.Compare(uintptr(unsafe.Pointer(a)), uintptr(unsafe.Pointer(b)))
	})
	each = slices.Compact(each) // in one order, so that two calls do not wait for each other
	for i, h := range each {
		if err := h.own(); err != nil {
			disownAll(each[:i])
			return nil, err
		}
	}
	return func() { disownAll(each) }, nil
}

func disownAll(handles []*handle) {
	for _, h := range handles {
		h.disown()
	}
}

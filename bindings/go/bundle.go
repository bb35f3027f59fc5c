package emr

// #include "bridge.h"
import "C"

import (
	"context"
	"io"
	"unsafe"
)

// Base stands for the base wherever a task's number is expected.
const Base uint32 = C.EMR_BASE

// A Bundle is what a merge writes: the unified task vector, each task's mask and rescalers, private tensors, and the
// base where it was embedded. It does not change, and all calls may run at the same time.
type Bundle struct {
	h *handle
	c *C.emr_bundle
}

// BundleOptions may be nil. The zero value is the default.
type BundleOptions struct {
	Map bool // OpenBundle: read through a mapping; a file that shrinks meanwhile then kills the process
}

func (o *BundleOptions) c() *C.emr_bundle_options {
	options := &C.emr_bundle_options{size: C.sizeof_emr_bundle_options}
	if o != nil {
		options._map = flag(o.Map)
	}
	return options
}

// OpenBundle opens a bundle's file.
func OpenBundle(path string, o *BundleOptions) (*Bundle, error) {
	var a arena
	defer a.free()
	p := a.text(path)
	if a.err != nil {
		return nil, a.err
	}
	var c *C.emr_bundle
	var e C.emr_error
	if err := failure(C.emr_bundle_open_file(&c, p, o.c(), &e), &e); err != nil {
		return nil, err
	}
	return newBundle(c), nil
}

// NewBundle opens a bundle of so many bytes behind a reader, which is read until the bundle and what was made from it
// are closed, by several goroutines at a time. The name is what messages call it ("": "bundle").
func NewBundle(r io.ReaderAt, size int64, name string, o *BundleOptions) (*Bundle, error) {
	var a arena
	defer a.free()
	p := a.string(name)
	if a.err != nil {
		return nil, a.err
	}
	table, h, err := readFrom(r, size)
	if err != nil {
		return nil, err
	}
	defer h.done()
	var c *C.emr_bundle
	var e C.emr_error
	if err := failure(C.emr_bundle_open(&c, table, p, o.c(), &e), &e); err != nil {
		return nil, err
	}
	return newBundle(c, h), nil
}

func newBundle(c *C.emr_bundle, parents ...*handle) *Bundle {
	b := &Bundle{c: c}
	b.h = newHandle("bundle", func() { C.emr_bundle_destroy(&c) }, parents...)
	return guard(b, b.h)
}

// Close ends the use of the bundle. It is freed once nothing that was made from it is in use either.
func (b *Bundle) Close() error {
	return b.h.close()
}

// Name is what messages call the bundle.
func (b *Bundle) Name() string {
	if b.h.use() != nil {
		return ""
	}
	defer b.h.done()
	return C.GoString(C.emr_bundle_name(b.c))
}

// BundleInfo is what a bundle says of itself.
type BundleInfo struct {
	Bytes        uint64 // of the whole file
	MergedParams uint64 // parameters of all merged tensors
	Tasks        int
	Tensors      int // of the base: the merged ones come first, then those kept from the base
	Merged       int
	VersionMajor int // of the format
	VersionMinor int
	Rescale      Rescale    // of tasks that use the unified vector
	RescalePer   RescalePer // likewise
	Tie          Tie
	UnifiedDType DType
	HasBase      bool // the base is embedded
	Extendable   bool // Merge.Extend can add tasks
	Elected      int  // tasks whose modulators use the unified vector; there is none if this is 0
}

// Info is what the bundle says of itself.
func (b *Bundle) Info() (BundleInfo, error) {
	if err := b.h.use(); err != nil {
		return BundleInfo{}, err
	}
	defer b.h.done()
	c := C.emr_bundle_info{size: C.sizeof_emr_bundle_info}
	if err := outcome(C.emr_bundle_get_info(b.c, &c)); err != nil {
		return BundleInfo{}, err
	}
	return BundleInfo{
		Bytes: uint64(c.bytes), MergedParams: uint64(c.merged_params), Tasks: int(c.n_tasks),
		Tensors: int(c.n_tensors), Merged: int(c.n_merged), VersionMajor: int(c.version_major),
		VersionMinor: int(c.version_minor), Rescale: Rescale(c.rescale), RescalePer: RescalePer(c.rescale_per),
		Tie: Tie(c.tie), UnifiedDType: DType(c.unified_dtype), HasBase: c.has_base != 0,
		Extendable: c.extendable != 0, Elected: int(c.n_elected),
	}, nil
}

// TensorInfo is what a bundle knows of one of the base's tensors.
type TensorInfo struct {
	Name         string
	Shape        []uint64
	Count        uint64
	UnifiedBytes uint64    // as stored; 0 if it is not merged
	BaseHash     [2]uint64 // XXH3-128 of the base's bytes: low, high
	DType        DType     // the base's
	Merged       bool      // false: kept from the base
}

// Tensors are the base's, the merged ones first.
func (b *Bundle) Tensors() ([]TensorInfo, error) {
	if err := b.h.use(); err != nil {
		return nil, err
	}
	defer b.h.done()
	var tensors []TensorInfo
	c := C.emr_tensor_info{size: C.sizeof_emr_tensor_info}
	for i := C.uint32_t(0); C.emr_bundle_get_tensor(b.c, i, &c) == C.EMR_OK; i++ {
		tensors = append(tensors, TensorInfo{
			Name: C.GoString(c.name), Shape: dimensions(c.shape, c.rank), Count: uint64(c.count),
			UnifiedBytes: uint64(c.unified_bytes), DType: DType(c.dtype), Merged: c.merged != 0,
			BaseHash: [2]uint64{uint64(c.base_hash[0]), uint64(c.base_hash[1])},
		})
	}
	return tensors, nil
}

// FindTensor is the number of the tensor of that name, or ErrNotFound.
func (b *Bundle) FindTensor(name string) (uint32, error) {
	return b.find(name, func(p *C.char, number *C.uint32_t, e *C.emr_error) C.emr_status {
		return C.emr_bundle_find_tensor(b.c, p, number, e)
	})
}

func (b *Bundle) find(name string, call func(*C.char, *C.uint32_t, *C.emr_error) C.emr_status) (uint32, error) {
	if err := b.h.use(); err != nil {
		return 0, err
	}
	defer b.h.done()
	var a arena
	defer a.free()
	p := a.text(name)
	if a.err != nil {
		return 0, a.err
	}
	var number C.uint32_t
	var e C.emr_error
	err := failure(call(p, &number, &e), &e)
	return uint32(number), err
}

// A Task is one of a bundle's.
type Task struct {
	bundle *Bundle
	number uint32
	name   string
}

// Task is the one of that name, or ErrNotFound.
func (b *Bundle) Task(name string) (Task, error) {
	number, err := b.find(name, func(p *C.char, number *C.uint32_t, e *C.emr_error) C.emr_status {
		return C.emr_bundle_find_task(b.c, p, number, e)
	})
	if err != nil {
		return Task{}, err
	}
	return Task{b, number, name}, nil
}

// Tasks are the bundle's, by number; none when it is closed.
func (b *Bundle) Tasks() []Task {
	if b.h.use() != nil {
		return nil
	}
	defer b.h.done()
	var tasks []Task
	c := C.emr_task_info{size: C.sizeof_emr_task_info}
	for i := C.uint32_t(0); C.emr_bundle_get_task(b.c, i, &c) == C.EMR_OK; i++ {
		tasks = append(tasks, Task{b, uint32(i), C.GoString(c.name)})
	}
	return tasks
}

// Name is the task's name.
func (t Task) Name() string { return t.name }

// Number is the task's number in its bundle, from 0.
func (t Task) Number() uint32 { return t.number }

// TaskInfo is what a bundle says of a task.
type TaskInfo struct {
	MaskOnes   uint64 // density = MaskOnes / MergedParams
	MaskBytes  uint64 // as stored
	CodedBytes uint64 // as stored: all of the modulator, but for the unified vector that it may share
	Private    int
	Rescaler   float32 // per model; 0 otherwise
}

// Info is what the bundle says of the task.
func (t Task) Info() (TaskInfo, error) {
	if err := t.bundle.h.use(); err != nil {
		return TaskInfo{}, err
	}
	defer t.bundle.h.done()
	c := C.emr_task_info{size: C.sizeof_emr_task_info}
	if err := outcome(C.emr_bundle_get_task(t.bundle.c, C.uint32_t(t.number), &c)); err != nil {
		return TaskInfo{}, err
	}
	return TaskInfo{
		MaskOnes: uint64(c.mask_ones), MaskBytes: uint64(c.mask_bytes), CodedBytes: uint64(c.coded_bytes),
		Private: int(c.n_private), Rescaler: float32(c.rescaler),
	}, nil
}

// Modulation is what the task's modulator is, no member a default, and how near it comes, as far as the bundle knows.
func (t Task) Modulation() (Modulation, Fidelity, error) {
	if err := t.bundle.h.use(); err != nil {
		return Modulation{}, Fidelity{}, err
	}
	defer t.bundle.h.done()
	spec := C.emr_modulation_spec{size: C.sizeof_emr_modulation_spec}
	near := C.emr_fidelity{size: C.sizeof_emr_fidelity}
	if err := outcome(C.emr_bundle_get_modulation(t.bundle.c, C.uint32_t(t.number), &spec, &near)); err != nil {
		return Modulation{}, Fidelity{}, err
	}
	return modulationOf(&spec), fidelityOf(&near), nil
}

// PrivateInfo is a tensor that a task keeps a copy of its own of.
type PrivateInfo struct {
	Name  string
	Shape []uint64
	Bytes uint64
	DType DType
}

// Private are the tensors that the task keeps copies of its own of.
func (t Task) Private() ([]PrivateInfo, error) {
	if err := t.bundle.h.use(); err != nil {
		return nil, err
	}
	defer t.bundle.h.done()
	var all []PrivateInfo
	c := C.emr_private_info{size: C.sizeof_emr_private_info}
	for i := C.uint32_t(0); C.emr_bundle_get_private(t.bundle.c, C.uint32_t(t.number), i, &c) == C.EMR_OK; i++ {
		all = append(all, PrivateInfo{
			C.GoString(c.name), dimensions(c.shape, c.rank), uint64(c.bytes), DType(c.dtype),
		})
	}
	return all, nil
}

// Metadata is that of the task's checkpoint.
func (t Task) Metadata() map[string]string {
	return t.bundle.metadata(t.number)
}

// MetadataValue is the value of a key, and whether there is one.
func (t Task) MetadataValue(key string) (string, bool) {
	return t.bundle.metadataValue(t.number, key)
}

// Metadata is that of the base.
func (b *Bundle) Metadata() map[string]string {
	return b.metadata(Base)
}

// MetadataValue is the value of a key in the base's metadata, and whether there is one.
func (b *Bundle) MetadataValue(key string) (string, bool) {
	return b.metadataValue(Base, key)
}

func (b *Bundle) metadata(task uint32) map[string]string {
	if b.h.use() != nil {
		return nil
	}
	defer b.h.done()
	entries := map[string]string{}
	for i := range C.emr_bundle_n_metadata(b.c, C.uint32_t(task)) {
		var key, value *C.char
		if C.emr_bundle_get_metadata(b.c, C.uint32_t(task), i, &key, &value) == C.EMR_OK {
			entries[C.GoString(key)] = C.GoString(value)
		}
	}
	return entries
}

func (b *Bundle) metadataValue(task uint32, key string) (string, bool) {
	if b.h.use() != nil {
		return "", false
	}
	defer b.h.done()
	var a arena
	defer a.free()
	value := C.emr_bundle_find_metadata(b.c, C.uint32_t(task), a.text(key))
	if value == nil {
		return "", false
	}
	return C.GoString(value), true
}

// BaseCheck is when the base is compared with the one that the bundle was made with.
type BaseCheck uint32

// The times.
const (
	CheckFirst BaseCheck = C.EMR_BASE_CHECK_FIRST // before the call returns: reads all of the base
	CheckWrite BaseCheck = C.EMR_BASE_CHECK_WRITE // while the model is written; it cannot be read otherwise
	CheckNone  BaseCheck = C.EMR_BASE_CHECK_NONE  // never: the caller knows
)

// TaskOptions may be nil. The zero value is the default.
type TaskOptions struct {
	Resources            // of the check
	DType      DType     // of float tensors; 0: as the task's checkpoint had each
	Check      BaseCheck // when the base is compared
	F32Vectors bool      // with a DType of fewer than 32 bits, tensors of rank 0 and 1 are F32
}

// OpenModel is the task's model, computed as it is read, by any number of goroutines at a time. A nil base means the
// embedded one.
func (t Task) OpenModel(ctx context.Context, base *Model, o *TaskOptions) (*Model, error) {
	if o == nil {
		o = &TaskOptions{}
	}
	end, err := useAll(t.bundle.h, base.handle())
	if err != nil {
		return nil, err
	}
	defer end()
	var a arena
	defer a.free()
	options := object[C.emr_view_options](&a)
	*options = C.emr_view_options{
		size: C.sizeof_emr_view_options, dtype: C.emr_dtype(o.DType), check: C.emr_base_check(o.Check),
		f32_vectors: flag(o.F32Vectors),
	}
	var c *C.emr_model
	err = withResources(ctx, &o.Resources, func(r *C.emr_resources) error {
		options.resources = r
		var e C.emr_error
		number := C.uint32_t(t.number)
		return failure(C.emr_bundle_open_task(&c, t.bundle.c, number, base.pointer(), options, &e), &e)
	})
	if err != nil {
		return nil, err
	}
	return newModel(c, t.bundle.h, base.handle()), nil
}

// OpenMask is the task's mask as a model (Bool), with the merged tensors' names and shapes.
func (t Task) OpenMask() (*Model, error) {
	return t.bundle.view(func(c **C.emr_model, e *C.emr_error) C.emr_status {
		return C.emr_bundle_open_mask(c, t.bundle.c, C.uint32_t(t.number), nil, e)
	})
}

// OpenBase is the embedded base as a model; ErrNotFound where there is none.
func (b *Bundle) OpenBase() (*Model, error) {
	return b.view(func(c **C.emr_model, e *C.emr_error) C.emr_status {
		return C.emr_bundle_open_base(c, b.c, nil, e)
	})
}

// OpenUnified is the unified task vector as a model (F32), with the merged tensors' names and shapes.
func (b *Bundle) OpenUnified() (*Model, error) {
	return b.view(func(c **C.emr_model, e *C.emr_error) C.emr_status {
		return C.emr_bundle_open_unified(c, b.c, nil, e)
	})
}

func (b *Bundle) view(open func(**C.emr_model, *C.emr_error) C.emr_status) (*Model, error) {
	if err := b.h.use(); err != nil {
		return nil, err
	}
	defer b.h.done()
	var c *C.emr_model
	var e C.emr_error
	if err := failure(open(&c, &e), &e); err != nil {
		return nil, err
	}
	return newModel(c, b.h), nil
}

// Verify reads every byte of the file and checks every checksum, every padding byte, and that nothing lies between.
func (b *Bundle) Verify(ctx context.Context, o *Resources) error {
	if err := b.h.use(); err != nil {
		return err
	}
	defer b.h.done()
	return withResources(ctx, o, func(r *C.emr_resources) error {
		var e C.emr_error
		return failure(C.emr_bundle_verify(b.c, r, &e), &e)
	})
}

// A BaseDifference is a tensor that is not as the bundle's base had it.
type BaseDifference struct {
	Tensor string
	Why    string // "its shape differs"
}

type differences struct {
	bystander
	all []BaseDifference
}

//export emrGoDiffers
func emrGoDiffers(user unsafe.Pointer, difference *C.emr_base_difference) {
	d := cell[*differences](user)
	d.run(func() {
		d.all = append(d.all, BaseDifference{C.GoString(difference.tensor), C.GoString(difference.why)})
	})
}

// CheckBase says whether a model is the one that the bundle was made with: ErrMismatch names the first tensor that is
// absent or differs.
func (b *Bundle) CheckBase(ctx context.Context, base *Model, o *Resources) error {
	_, err := b.checkBase(ctx, base, o, nil)
	return err
}

// BaseDifferences are all tensors of a model that are not as the bundle's base had them.
func (b *Bundle) BaseDifferences(ctx context.Context, base *Model, o *Resources) ([]BaseDifference, error) {
	return b.checkBase(ctx, base, o, &differences{})
}

func (b *Bundle) checkBase(ctx context.Context, base *Model, o *Resources, d *differences) ([]BaseDifference, error) {
	end, err := useAll(b.h, base.h)
	if err != nil {
		return nil, err
	}
	defer end()
	var a arena
	defer a.free()
	options := object[C.emr_base_check_options](&a)
	options.size = C.sizeof_emr_base_check_options
	if d != nil {
		options.user = newCell(d)
		defer freeCell(options.user)
		options.differs = (*[0]byte)(C.emrGoDiffers)
	}
	err = withResources(ctx, o, func(r *C.emr_resources) error {
		options.resources = r
		var e C.emr_error
		return failure(C.emr_bundle_check_base(b.c, base.c, options, &e), &e)
	})
	if d == nil {
		return nil, err
	}
	d.rethrow()
	if len(d.all) > 0 {
		err = nil // it says what the list says
	}
	return d.all, err
}

// A DropReport is what a merge without the dropped tasks would do otherwise: it would elect again at most Alone and
// Shared of the unified values, and compute every rescaler from that.
type DropReport struct {
	Unified     uint64 // values of the unified task vector that are not 0
	Alone       uint64 // of them, in the mask of a dropped task and of none that stays
	Shared      uint64 // of them, in masks of a dropped task and of one that stays
	LostGrowth  bool   // tasks could be added to the bundle; to the new one they cannot
	LostUnified bool   // no task that stays uses the unified vector, so it is gone too
}

// Drop writes a bundle without the tasks: their masks, rescalers, private tensors, names and metadata are gone, and
// the others' weights are the same to the last bit.
func (b *Bundle) Drop(ctx context.Context, w io.Writer, tasks []string, o *Resources) (DropReport, error) {
	return b.subset(ctx, w, tasks, o, func(s *C.emr_task_selection, table *C.emr_io, report *C.emr_drop_report,
		e *C.emr_error) C.emr_status {
		return C.emr_bundle_drop(b.c, s, table, report, e)
	})
}

// Extract writes a bundle with the tasks alone.
func (b *Bundle) Extract(ctx context.Context, w io.Writer, tasks []string, o *Resources) (DropReport, error) {
	return b.subset(ctx, w, tasks, o, func(s *C.emr_task_selection, table *C.emr_io, report *C.emr_drop_report,
		e *C.emr_error) C.emr_status {
		return C.emr_bundle_extract(b.c, s, table, report, e)
	})
}

func (b *Bundle) subset(ctx context.Context, w io.Writer, tasks []string, o *Resources,
	call func(*C.emr_task_selection, *C.emr_io, *C.emr_drop_report, *C.emr_error) C.emr_status) (DropReport, error) {
	if err := b.h.use(); err != nil {
		return DropReport{}, err
	}
	defer b.h.done()
	table, h, err := writeTo(w)
	if err != nil {
		return DropReport{}, err
	}
	defer h.done()
	var a arena
	defer a.free()
	numbers := array[C.uint32_t](&a, len(tasks))
	for i, name := range tasks {
		task, err := b.Task(name)
		if err != nil {
			return DropReport{}, err
		}
		numbers[i] = C.uint32_t(task.number)
	}
	selection := object[C.emr_task_selection](&a)
	*selection = C.emr_task_selection{
		size: C.sizeof_emr_task_selection, tasks: unsafe.SliceData(numbers), n_tasks: C.uint32_t(len(numbers)),
	}
	c := C.emr_drop_report{size: C.sizeof_emr_drop_report}
	err = withResources(ctx, o, func(r *C.emr_resources) error {
		selection.resources = r
		var e C.emr_error
		return failure(call(selection, table, &c, &e), &e)
	})
	if err != nil {
		return DropReport{}, err
	}
	return DropReport{
		Unified: uint64(c.unified), Alone: uint64(c.alone), Shared: uint64(c.shared), LostGrowth: c.lost_growth != 0,
		LostUnified: c.lost_unified != 0,
	}, nil
}

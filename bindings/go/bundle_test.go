package emr

import (
	"bytes"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestBundleTellsWhatIsInIt(t *testing.T) {
	w := newTrio(t)
	b := w.bundle(t, &MergeOptions{EmbedBase: true, Policy: &Policy{Private: []string{"steps"}}})
	info := must(b.Info())(t)
	if info.Tasks != 3 || info.Merged != 1 || !info.HasBase || info.Elected != 3 || info.UnifiedDType != F32 ||
		info.Rescale != RescaleL1 || info.RescalePer != PerModel || b.Name() != "all" {
		t.Errorf("%+v", info)
	}
	tensors := must(b.Tensors())(t)
	if tensors[0].Name != "w" || !slices.Equal(tensors[0].Shape, []uint64{trioRows, trioColumns}) || !tensors[0].Merged {
		t.Errorf("%+v", tensors)
	}
	if number := must(b.FindTensor("w"))(t); number != 0 || b.Metadata()["who"] != "base" {
		t.Error(number, b.Metadata())
	}
	for i, task := range b.Tasks() {
		modulation, fidelity, err := task.Modulation()
		private := must(task.Private())(t)
		if task.Number() != uint32(i) || task.Name() != w.tasks[i].Name || must(task.Info())(t).MaskOnes == 0 ||
			err != nil || modulation.Kind != KindMask || !math.IsNaN(float64(fidelity.Error)) ||
			len(private) != 1 || private[0].Name != "steps" || private[0].DType != I64 {
			t.Errorf("%v %+v %+v %v %+v", task.Name(), modulation, fidelity, err, private)
		}
		if who, ok := task.MetadataValue("who"); !ok || who != task.Name() {
			t.Error(who)
		}
	}
	_, err := b.Task("klingon")
	var e *Error
	if !errors.Is(err, ErrNotFound) || !errors.As(err, &e) || e.Task != "klingon" || e.File != "all" {
		t.Errorf("%#v", err)
	}
	check(t, b.Verify(background, nil))
	check(t, b.CheckBase(background, w.base, &Resources{Threads: 1}))
}

func TestViewsAreModels(t *testing.T) {
	w := newTrio(t)
	b := w.bundle(t, &MergeOptions{EmbedBase: true})
	floats := func(m *Model, err error) []float32 {
		defer must(m, err)(t).Close()
		tensor := must(m.Tensor("w"))(t)
		if tensor.DType() == Bool {
			values := make([]float32, tensor.Count())
			for i, bit := range must(tensor.Bytes())(t) {
				values[i] = float32(bit)
			}
			return values
		}
		return must(tensor.Floats())(t)
	}
	task := must(b.Task("task1"))(t)
	base, unified, mask := floats(b.OpenBase()), floats(b.OpenUnified()), floats(task.OpenMask())
	weights := floats(task.OpenModel(background, nil, nil))
	rescaler := must(task.Info())(t).Rescaler
	for i := range weights {
		want := base[i]
		if mask[i] != 0 {
			change := rescaler * unified[i]
			want += change
		}
		if weights[i] != want {
			t.Fatalf("element %d is %v, not %v", i, weights[i], want)
		}
	}
	half := floats(task.OpenModel(background, w.base, &TaskOptions{DType: BF16, F32Vectors: true}))
	if math.Abs(float64(half[7]-weights[7])) > math.Abs(float64(weights[7]))/128 {
		t.Error(half[7], weights[7])
	}
}

func TestAnotherBaseIsRefused(t *testing.T) {
	w := newTrio(t)
	b := w.bundle(t, nil)
	task := must(b.Task("task0"))(t)
	wrong := w.tasks[0].Model
	if _, err := task.OpenModel(background, wrong, nil); !errors.Is(err, ErrMismatch) {
		t.Error(err)
	}
	if err := b.CheckBase(background, wrong, nil); !errors.Is(err, ErrMismatch) {
		t.Error(err)
	}
	differences := must(b.BaseDifferences(background, wrong, nil))(t)
	if len(differences) != 1 || differences[0].Tensor != "w" || differences[0].Why == "" {
		t.Error(differences)
	}
	m := must(task.OpenModel(background, wrong, &TaskOptions{Check: CheckWrite}))(t)
	defer m.Close()
	directory := t.TempDir()
	if err := m.Write(background, filepath.Join(directory, "x.safetensors"), nil); !errors.Is(err, ErrMismatch) {
		t.Error(err)
	}
	if entries := must(os.ReadDir(directory))(t); len(entries) != 0 {
		t.Error(entries)
	}
}

func TestDropAndExtract(t *testing.T) {
	w := newTrio(t)
	b := w.bundle(t, nil)
	var dropped, extracted bytes.Buffer
	report := must(b.Drop(background, &dropped, []string{"task1"}, nil))(t)
	must(b.Extract(background, &extracted, []string{"task0", "task2"}, &Resources{Threads: 2}))(t)
	if report.Unified == 0 || report.Shared == 0 || !bytes.Equal(dropped.Bytes(), extracted.Bytes()) {
		t.Errorf("%+v", report)
	}
	less := must(NewBundle(bytes.NewReader(dropped.Bytes()), int64(dropped.Len()), "less", nil))(t)
	defer less.Close()
	if len(less.Tasks()) != 2 {
		t.Error(less.Tasks())
	}
	if _, err := b.Drop(background, io.Discard, []string{"task0", "task9"}, nil); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if _, err := b.Drop(background, io.Discard, []string{"task0", "task0"}, nil); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}

// A damaged byte is found, and named; a file that is none is refused.
func TestDamage(t *testing.T) {
	w := newTrio(t)
	whole := must(w.merge(t, &MergeOptions{Compression: NoCompression}).Bytes())(t)
	whole[len(whole)/2] ^= 1
	b := must(NewBundle(bytes.NewReader(whole), int64(len(whole)), "damaged", nil))(t)
	defer b.Close()
	if err := b.Verify(background, nil); !errors.Is(err, ErrCorrupt) || !strings.HasPrefix(err.Error(), "damaged: ") {
		t.Error(err)
	}
	if _, err := NewBundle(strings.NewReader("no bundle at all"), 16, "text", nil); !errors.Is(err, ErrFormat) {
		t.Error(err)
	}
	if _, err := NewBundle(bytes.NewReader(whole), int64(len(whole))+5, "short", nil); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

package emr

import (
	"bytes"
	"errors"
	"io/fs"
	"math"
	"sync"
	"testing"
)

// What a modulator computes is what the task's model has, and its products are those of these weights.
func TestModulatorIsTheTask(t *testing.T) {
	w := newTrio(t)
	b := w.bundle(t, &MergeOptions{RescalePer: PerRow})
	task := must(b.Task("task2"))(t)
	model := must(task.OpenModel(background, w.base, nil))(t)
	defer model.Close()
	want := must(must(model.Tensor("w"))(t).Floats())(t)
	m := must(task.Modulator())(t)
	defer m.Close()
	number := must(m.FindTensor("w"))(t)
	if names := m.Tensors(); len(names) != 1 || names[0] != "w" || m.Count(number) != trioRows*trioColumns {
		t.Error(names)
	}
	if r := must(m.Rescalers(number))(t); len(r) != trioRows || r[0] <= 0 {
		t.Error(r)
	}
	if count, ones, err := m.Stats(number); err != nil || count != m.Count(number) || ones != must(task.Info())(t).MaskOnes {
		t.Error(count, ones, err)
	}
	got := make([]float32, 1000)
	check(t, m.Apply(Application{
		Tensor: number, First: 77, Base: w.bytes["base"][77*4 : 1077*4], BaseDType: F32, Out: Bytes(got), OutDType: F32,
	}))
	if !bytes.Equal(Bytes(got), Bytes(want[77:1077])) {
		t.Error("other weights than the model's")
	}
	x, y := make([]float32, 2*trioColumns), make([]float32, 2*trioRows)
	for i := range x {
		x[i] = float32(i%13) - 6
	}
	check(t, MultiplyModulators([]*Modulator{m, m}, &Product{
		Tensor: "w", X: x, Y: y, Rows: trioRows, Columns: trioColumns,
	}, w.bytes["base"], F32))
	for i := range y {
		sum, r, v := 0.0, i%trioRows, i/trioRows
		for c := range trioColumns {
			sum += float64(want[r*trioColumns+c]) * float64(x[v*trioColumns+c])
		}
		if math.Abs(sum-float64(y[i])) > 1e-2 {
			t.Fatalf("product %d is %v, not %v", i, y[i], sum)
		}
	}
}

func TestModulatorOfOnesOwn(t *testing.T) {
	m := must(NewModulator())(t)
	unified, scales := []float32{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, []float32{0.5, 2}
	own := ModulatorTensor{
		Name: "w", Count: 10, Rows: 2, Codes: []byte{0b01010101, 0b01}, Scales: scales,
		Unified: Bytes(unified), UnifiedDType: F32,
	}
	check(t, m.Add(own))
	if err := m.Add(own); !errors.Is(err, ErrExists) {
		t.Error(err)
	}
	out := make([]float32, 10)
	check(t, m.Apply(Application{Out: Bytes(out), OutDType: F32, WithoutBase: true}))
	want := []float32{0.5, 0, 1.5, 0, 2.5, 0, 14, 0, 18, 0}
	if !bytes.Equal(Bytes(out), Bytes(want)) {
		t.Error(out)
	}
	for _, wrong := range []ModulatorTensor{
		{Name: "a", Count: 10, Rows: 2, Codes: []byte{1}, Scales: scales, Unified: own.Unified, UnifiedDType: F32},
		{Name: "b", Count: 10, Rows: 2, Codes: own.Codes, Scales: scales, Unified: own.Unified, UnifiedDType: F64},
		{Name: "c", Count: 10, Rows: 3, Codes: own.Codes, Scales: scales, Unified: own.Unified, UnifiedDType: F32},
		{Name: "d", Count: 10, Rows: 2, Codes: own.Codes, Scales: scales[:1], Kind: KindSign},
		{Name: "e", Count: 10, Rows: 2, Codes: own.Codes, Scales: scales, Kind: KindLevels},
		{Name: "f", Count: 10, Rows: 2, Codes: own.Codes, Scales: scales, Kind: KindThin, Thinning: 3},
		{Name: "g", Count: 10, Rows: 2, Codes: own.Codes, Scales: scales, Kind: 99},
		{Name: "h", Count: 10, Rows: 2, Codes: own.Codes, Scales: scales, Kind: KindSign, Columns: []byte{1}},
	} {
		if err := m.Add(wrong); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", wrong.Name, err)
		}
	}
	if err := m.Apply(Application{Out: make([]byte, 8), OutDType: F32, Base: make([]byte, 4), BaseDType: F32}); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	check(t, m.Close())
	if err := m.Apply(Application{Out: Bytes(out), OutDType: F32, WithoutBase: true}); !errors.Is(err, fs.ErrClosed) {
		t.Error(err)
	}
}

// Products of the same modulators in other orders wait for each other without end to each other's wait.
func TestModulatorsTakeTurns(t *testing.T) {
	b := newTrio(t).bundle(t, nil)
	p, q := must(b.Tasks()[0].Modulator())(t), must(b.Tasks()[1].Modulator())(t)
	defer p.Close()
	defer q.Close()
	var all sync.WaitGroup
	for _, order := range [][]*Modulator{{p, q}, {q, p}, {p, p}, {q, q}} {
		inParallel(&all, func() {
			for range 50 {
				x, y := make([]float32, 2*trioColumns), make([]float32, 2*4)
				product := Product{Tensor: "w", X: x, Y: y, Rows: 4, Columns: trioColumns, WithoutBase: true}
				if err := MultiplyModulators(order, &product, nil, 0); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

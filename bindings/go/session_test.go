package emr

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
)

// newSession is a session of a bundle of the family, in memory.
func newTestSession(t testing.TB, f *family, o *SessionOptions) *Session {
	t.Helper()
	b := f.merge(t)
	base := f.base
	if o != nil && o.WithoutBase {
		base = nil
	}
	s := must(b.NewSession(background, base, o))(t)
	t.Cleanup(func() { s.Close() })
	return s
}

// merge merges the family's tasks into a bundle in memory.
func (f *family) merge(t testing.TB) *Bundle {
	t.Helper()
	m := must(NewMerge(nil))(t)
	defer m.Close()
	out := must(NewBuffer())(t)
	defer out.Close()
	check(t, m.SetBase(f.base))
	for i, task := range f.tasks {
		check(t, m.AddTask([]string{"math", "code", "law"}[i], task))
	}
	check(t, m.SetOutput(out))
	check(t, m.Run(background))
	b := must(NewBundle(out, must(out.Size())(t), "all", nil))(t)
	t.Cleanup(func() { b.Close() })
	return b
}

// weightsOfTask are what a bundle says a task's are.
func (f *family) weightsOfTask(t testing.TB, b *Bundle, task int, name string) []float32 {
	t.Helper()
	m := must(b.Tasks()[task].OpenModel(background, f.base, nil))(t)
	defer m.Close()
	return weightOf(t, m, name)
}

func TestSessionApplies(t *testing.T) {
	f := newFamily(t, 2)
	s := newTestSession(t, f, nil)
	weight, bias := make([]float32, familyRows*familyColumns), make([]float32, familyRows)
	for _, task := range []int{1, 0, 1} {
		check(t, s.Apply(uint32(task), Weights{Tensor: "layer.weight", Data: Bytes(weight), DType: F32},
			Weights{Tensor: "layer.bias", Data: Bytes(bias), DType: F32}))
		sameFloats(t, "weight", weight, f.weightsOfTask(t, s.bundle, task, "layer.weight"))
		sameFloats(t, "bias", bias, f.weightsOfTask(t, s.bundle, task, "layer.bias"))
	}
	check(t, s.Apply(Base, Weights{Tensor: "layer.weight", Data: Bytes(weight), DType: F32}))
	sameFloats(t, "base", weight, f.weights[0])

	some := make([]float32, 7)
	check(t, s.Apply(1, Weights{Tensor: "layer.weight", Data: Bytes(some), DType: F32, First: 100}))
	sameFloats(t, "a part", some, f.weightsOfTask(t, s.bundle, 1, "layer.weight")[100:107])
	check(t, s.Apply(1, Weights{Tensor: "layer.weight", Data: Bytes(some), DType: F32, First: 200, Count: 3}))
	sameFloats(t, "a part of the memory", some[:4],
		append(f.weightsOfTask(t, s.bundle, 1, "layer.weight")[200:203:203], some[3]))
	half := make([]uint16, familyRows)
	check(t, s.Apply(1, Weights{Tensor: "layer.bias", Data: Bytes(half), DType: BF16}))
	wanted := make([]uint16, familyRows)
	check(t, Convert(BF16, Bytes(wanted), F32, Bytes(f.weightsOfTask(t, s.bundle, 1, "layer.bias"))))
	if !slices.Equal(half, wanted) {
		t.Fatal(half, wanted)
	}
	check(t, s.Apply(0))
}

func TestSessionRefuses(t *testing.T) {
	f := newFamily(t, 2)
	s := newTestSession(t, f, nil)
	out := make([]float32, familyRows)
	e := refused(t, s.Apply(0, Weights{Tensor: "layer.bias", Data: Bytes(out), DType: F32},
		Weights{Tensor: "head", Data: Bytes(out), DType: F32}), ErrNotFound)
	if e.Tensor != "head" || e.Task != "math" || slices.Max(out) != 0 {
		t.Fatalf("%+v %v", e, out)
	}
	refused(t, s.Apply(7, Weights{Tensor: "layer.bias", Data: Bytes(out), DType: F32}), ErrNotFound)
	for _, w := range []Weights{
		{Tensor: "layer.bias", Data: Bytes(out)},                                 // no type
		{Tensor: "layer.bias", Data: Bytes(out), DType: I32},                     // another kind of type
		{Tensor: "layer.bias", Data: Bytes(out), DType: F32, Blocks: 99},         // no blocks
		{Tensor: "layer.bias", DType: F32},                                       // no memory
		{Tensor: "layer.bias", Data: Bytes(out), DType: F32, Count: 25},          // too little memory
		{Tensor: "layer.bias", Data: Bytes(out), DType: F32, First: 1},           // past the end
		{Tensor: "layer.bias", Data: Bytes(f.biases[0]), DType: F32},             // the base's memory
		{Tensor: "layer.bias", Data: Bytes(out), DType: F32, Count: 1 << 63},     // a number that is none
		{Tensor: "layer.bias\x00", Data: Bytes(out), DType: F32},                 // no text
		{Tensor: "layer.weight", Data: make([]byte, 34), Blocks: Q8_0, First: 1}, // no whole blocks
	} {
		refused(t, s.Apply(0, w), ErrInvalid)
	}
	little := &SessionOptions{Resources: Resources{Memory: 1}}
	_, err := s.bundle.NewSession(background, f.base, little)
	refused(t, err, ErrLimit)
	e = refused(t, second(s.bundle.NewSession(background, f.tasks[0], nil)), ErrMismatch)
	if e.Tensor != "layer.weight" {
		t.Fatalf("%+v", e)
	}
	_, err = s.bundle.NewSession(background, nil, nil) // there is no embedded base
	if err == nil {
		t.Fatal("a session without a base")
	}
	ctx, cancel := context.WithCancel(background)
	cancel()
	refused(t, second(s.bundle.NewSession(ctx, f.base, nil)), context.Canceled)
	check(t, s.Close())
	check(t, s.Close())
	refused(t, s.Apply(0), ErrState)
	refused(t, second(s.Info()), ErrState)
}

func second[T any](_ T, err error) error { return err }

func TestSessionWritesThroughAFunction(t *testing.T) {
	f := newFamily(t, 1)
	s := newTestSession(t, f, nil)
	device := make([]float32, familyRows*familyColumns)
	staging := make([]float32, 11)
	parts := 0
	w := Weights{Tensor: "layer.weight", Data: Bytes(staging), DType: F32, Write: func(p WeightsPart) error {
		parts++
		if p.DType != F32 || p.Count > 11 {
			t.Errorf("%+v", p)
		}
		copy(Bytes(device[p.First:p.First+p.Count]), p.Data)
		return nil
	}}
	check(t, s.Apply(0, w))
	wanted := f.weightsOfTask(t, s.bundle, 0, "layer.weight")
	sameFloats(t, "written", device, wanted)
	if parts != (len(device)+10)/11 {
		t.Fatal(parts)
	}
	mine := errors.New("the device is lost")
	w.Write = func(p WeightsPart) error {
		if p.First >= 22 {
			return mine
		}
		return nil
	}
	if e := refused(t, s.Apply(0, w), mine); e.Tensor != "layer.weight" {
		t.Fatalf("%+v", e)
	}
	w.Write = func(WeightsPart) error { panic(mine) }
	if p := caught(t, func() { _ = s.Apply(0, w) }); p == nil || p.Value != mine {
		t.Fatal(p)
	}
	check(t, s.Apply(0, Weights{Tensor: "layer.bias", Data: Bytes(staging), DType: F32, // it is still usable
		Write: func(WeightsPart) error { return nil }}))
}

// sameProducts says whether y are rows of the weights times x, one vector for each task, nearly.
func sameProducts(t *testing.T, y, x []float32, weights [][]float32, columns int) {
	t.Helper()
	rows := len(y) / len(weights)
	for b, w := range weights {
		for r := range rows {
			var sum float64
			for c := range columns {
				sum += float64(w[r*columns+c]) * float64(x[b*columns+c])
			}
			if d := float64(y[b*rows+r]) - sum; d > 1e-4 || d < -1e-4 {
				t.Fatalf("vector %d, row %d: %v, not %v", b, r, y[b*rows+r], sum)
			}
		}
	}
}

func TestSessionMultiplies(t *testing.T) {
	f := newFamily(t, 2)
	s := newTestSession(t, f, nil)
	x, y := drawn(5, 3*familyColumns), make([]float32, 3*familyRows)
	tasks := []uint32{1, Base, 0}
	check(t, s.Multiply(tasks, Product{Tensor: "layer.weight", X: x, Y: y}))
	french := f.weightsOfTask(t, s.bundle, 0, "layer.weight")
	german := f.weightsOfTask(t, s.bundle, 1, "layer.weight")
	sameProducts(t, y, x, [][]float32{german, f.weights[0], french}, familyColumns)

	alone := make([]float32, familyRows)
	check(t, s.Multiply(tasks[2:], Product{Tensor: "layer.weight", X: x[2*familyColumns:], Y: alone}))
	sameFloats(t, "alone", alone, y[2*familyRows:])
	rows := make([]float32, 3*5)
	check(t, s.Multiply(tasks, Product{Tensor: "layer.weight", X: x, Y: rows, FirstRow: 7, Rows: 5}))
	sameFloats(t, "some rows", rows[:5], y[7:12])
	check(t, s.Multiply(tasks[:1], Product{
		Tensor: "layer.weight", X: x, Y: rows, FirstRow: 7, Rows: 5, Add: true,
	}))
	for r, v := range rows[:5] {
		if v != 2*y[7+r] {
			t.Fatal(v, y[7+r])
		}
	}
	halves := make([]float32, 2*familyRows)
	check(t, s.Multiply([]uint32{0}, Product{
		Tensor: "layer.weight", X: x, Y: halves, Columns: familyColumns / 2,
	}))
	sameProducts(t, halves, x, [][]float32{french}, familyColumns/2)
	check(t, s.Multiply(nil, Product{Tensor: "layer.weight"}))
}

func TestSessionRefusesProducts(t *testing.T) {
	f := newFamily(t, 2)
	s := newTestSession(t, f, nil)
	x, y := drawn(5, 2*familyColumns), make([]float32, 2*familyRows)
	tasks := []uint32{0, 1}
	for _, p := range []Product{
		{Tensor: "layer.weight", X: x[1:], Y: y},
		{Tensor: "layer.weight", X: x, Y: y[1:]},
		{Tensor: "layer.weight", X: x, Y: y, XStride: familyColumns + 1},
		{Tensor: "layer.weight", X: x, Y: y, XStride: -1},
		{Tensor: "layer.weight", X: x, Y: y, YStride: 1 << 62},
		{Tensor: "layer.weight", X: x, Y: y, FirstRow: 1, Rows: familyRows},
		{Tensor: "layer.weight", X: x, Y: y, Rows: 1 << 63},
		{Tensor: "layer.weight", X: x, Y: y, Columns: 7, Rows: 1},
		{Tensor: "layer.weight", X: x, Y: y, Columns: 1 << 63, Rows: 1},
	} {
		refused(t, s.Multiply(tasks, p), ErrInvalid)
	}
	refused(t, s.Multiply(tasks, Product{Tensor: "head", X: x, Y: y}), ErrNotFound)
	refused(t, s.Multiply([]uint32{0, 9}, Product{Tensor: "layer.weight", X: x, Y: y}), ErrNotFound)
}

func TestSessionGathers(t *testing.T) {
	f := newFamily(t, 2)
	s := newTestSession(t, f, nil)
	french := f.weightsOfTask(t, s.bundle, 0, "layer.weight")
	german := f.weightsOfTask(t, s.bundle, 1, "layer.weight")
	out := make([]float32, 3*familyColumns)
	tasks, rows := []uint32{0, Base, 1}, []uint64{2, 5, 2}
	check(t, s.Gather(tasks, rows, Gather{Tensor: "layer.weight", Out: Bytes(out), DType: F32}))
	row := func(w []float32, r int) []float32 { return w[r*familyColumns : (r+1)*familyColumns] }
	sameFloats(t, "rows", out, slices.Concat(row(french, 2), row(f.weights[0], 5), row(german, 2)))
	biases := make([]float32, 2*familyRows)
	check(t, s.Gather([]uint32{1, 0}, nil, Gather{Tensor: "layer.bias", Out: Bytes(biases), DType: F32}))
	sameFloats(t, "biases", biases[familyRows:], f.weightsOfTask(t, s.bundle, 0, "layer.bias"))

	check(t, s.Gather([]uint32{}, []uint64{}, Gather{Tensor: "layer.weight", DType: F32}))
	for _, g := range []Gather{
		{Tensor: "layer.weight", Out: Bytes(out)},
		{Tensor: "layer.weight", Out: Bytes(out[1:]), DType: F32},
		{Tensor: "layer.weight", Out: Bytes(out), DType: F32, OutStride: familyColumns + 1},
		{Tensor: "layer.weight", Out: Bytes(out), DType: F32, OutStride: -1},
		{Tensor: "layer.weight", Out: Bytes(out), DType: F32, Columns: 7},
	} {
		refused(t, s.Gather(tasks, rows, g), ErrInvalid)
	}
	whole := Gather{Tensor: "layer.weight", Out: Bytes(out), DType: F32}
	refused(t, s.Gather(tasks, rows[:2], whole), ErrInvalid)
	refused(t, s.Gather(tasks, []uint64{0, 0, familyRows}, whole), ErrInvalid)
	refused(t, s.Gather(tasks, rows, Gather{Tensor: "head", Out: Bytes(out), DType: F32}), ErrNotFound)
}

func TestSessionsThreads(t *testing.T) {
	f := newFamily(t, 3)
	s := newTestSession(t, f, &SessionOptions{Resources: Resources{Threads: 2}, MaskBytes: 200000})
	tasks := []uint32{0, 1, 2, Base}
	x, wanted := drawn(5, 4*familyColumns), make([]float32, 4*familyRows)
	check(t, s.Multiply(tasks, Product{Tensor: "layer.weight", X: x, Y: wanted}))
	y := make([]float32, 4*familyRows)
	const threads = 4
	var all sync.WaitGroup
	for i := range threads {
		thread := must(s.OpenThread())(t)
		all.Add(1)
		go func() {
			defer all.Done()
			defer thread.Close()
			const rows = familyRows / threads
			for range 20 {
				part := make([]float32, 4*rows)
				if err := thread.Multiply(tasks, Product{Tensor: "layer.weight", X: x, Y: part,
					FirstRow: uint64(i * rows), Rows: rows}); err != nil {
					t.Error(err)
				}
				for b := range tasks {
					copy(y[b*familyRows+i*rows:], part[b*rows:(b+1)*rows])
				}
				bias := make([]float32, familyRows)
				err := thread.Apply(uint32(i%3), Weights{Tensor: "layer.bias", Data: Bytes(bias), DType: F32})
				if err != nil {
					t.Error(err)
				}
			}
		}()
	}
	check(t, s.Close()) // the threads go on
	all.Wait()
	sameFloats(t, "in parts", y, wanted)
}

// One Session from many goroutines: calls take turns.
func TestSessionIsShared(t *testing.T) {
	f := newFamily(t, 2)
	s := newTestSession(t, f, nil)
	wanted := [][]float32{
		f.weightsOfTask(t, s.bundle, 0, "layer.weight"), f.weightsOfTask(t, s.bundle, 1, "layer.weight"),
	}
	var all sync.WaitGroup
	for i := range 4 {
		all.Add(1)
		go func() {
			defer all.Done()
			got := make([]float32, len(wanted[0]))
			for n := range 10 {
				task := (i + n) % 2
				err := s.Apply(uint32(task), Weights{Tensor: "layer.weight", Data: Bytes(got), DType: F32})
				if err != nil {
					t.Error(err)
				}
				if !slices.Equal(got, wanted[task]) {
					t.Error("another task's weights")
				}
			}
		}()
	}
	all.Wait()
}

func TestSessionWithoutBase(t *testing.T) {
	f := newFamily(t, 2)
	s := newTestSession(t, f, &SessionOptions{WithoutBase: true})
	change := make([]float32, familyRows)
	w := Weights{Tensor: "layer.bias", Data: Bytes(change), DType: F32, WithoutBase: true}
	check(t, s.Apply(0, w))
	for i, v := range f.weightsOfTask(t, s.bundle, 0, "layer.bias") {
		if f.biases[0][i]+change[i] != v {
			t.Fatal(i, change[i], v)
		}
	}
	w.WithoutBase = false
	refused(t, s.Apply(0, w), ErrState)
}

func TestSessionOutlivesItsParents(t *testing.T) {
	f := newFamily(t, 2)
	s := newTestSession(t, f, nil)
	wanted := f.weightsOfTask(t, s.bundle, 1, "layer.bias")
	info := must(s.Info())(t)
	if info.MemoryBytes == 0 || info.ThreadBytes == 0 {
		t.Fatalf("%+v", info)
	}
	thread := must(s.OpenThread())(t)
	check(t, s.bundle.Close())
	check(t, f.base.Close())
	check(t, s.Close())
	got := make([]float32, familyRows)
	check(t, thread.Apply(1, Weights{Tensor: "layer.bias", Data: Bytes(got), DType: F32}))
	sameFloats(t, "bias", got, wanted)
	check(t, thread.Close())
}

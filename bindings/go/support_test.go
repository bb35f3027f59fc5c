package emr

import (
	"context"
	"errors"
	"math"
	"testing"
)

var background = context.Background()

// A floatsOf is a float tensor of a test's model.
type floatsOf struct {
	name   string
	shape  []uint64
	values []float32
}

func modelOf(t testing.TB, tensors ...floatsOf) *Model {
	t.Helper()
	m := must(NewModel("made"))(t)
	t.Cleanup(func() { m.Close() })
	for _, n := range tensors {
		check(t, m.Add(TensorSpec{Name: n.name, DType: F32, Shape: n.shape, Data: Bytes(n.values)}))
	}
	return m
}

// must gives a call's result, or fails the test.
func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		check(t, err)
		return value
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused fails the test unless the error is of that kind.
func refused(t testing.TB, err error, kind error) *Error {
	t.Helper()
	var e *Error
	if !errors.Is(err, kind) || !errors.As(err, &e) {
		t.Fatalf("%v is not %v", err, kind)
	}
	return e
}

// panicked is what a call panics with.
func panicked(call func()) (p any) {
	defer func() { p = recover() }()
	call()
	return nil
}

// drawn are n floats from -1 to 1, multiples of 1/128, which depend on the seed alone.
func drawn(seed uint64, n int) []float32 {
	values := make([]float32, n)
	for i := range values {
		z := (seed<<32 + uint64(i) + 1) * 0x9E3779B97F4A7C15
		z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
		z = (z ^ z>>27) * 0x94D049BB133111EB
		values[i] = float32(int((z^z>>31)>>56)-128) / 128
	}
	return values
}

// changed are values of which each is moved by a 16th of another draw.
func changed(values []float32, seed uint64) []float32 {
	moved := drawn(seed, len(values))
	for i, by := range moved {
		moved[i] = values[i] + by/16
	}
	return moved
}

func sameFloats(t testing.TB, what string, got, wanted []float32) {
	t.Helper()
	if len(got) != len(wanted) {
		t.Fatalf("%s: %d values, wanted %d", what, len(got), len(wanted))
	}
	for i := range got {
		if math.Float32bits(got[i]) != math.Float32bits(wanted[i]) {
			t.Fatalf("%s: value %d is %v, wanted %v", what, i, got[i], wanted[i])
		}
	}
}

// family is a base and its tasks, each of a weight of several rows and a bias.
type family struct {
	weights [][]float32 // of the base, then of the tasks
	biases  [][]float32
	base    *Model
	tasks   []*Model
}

const familyRows, familyColumns = 24, 40

func newFamily(t testing.TB, tasks int) *family {
	f := &family{}
	for i := range tasks + 1 {
		weight, bias := drawn(1, familyRows*familyColumns), drawn(2, familyRows)
		if i > 0 {
			weight, bias = changed(weight, uint64(10+i)), changed(bias, uint64(20+i))
		}
		f.weights, f.biases = append(f.weights, weight), append(f.biases, bias)
		m := modelOf(t, floatsOf{"layer.weight", []uint64{familyRows, familyColumns}, weight},
			floatsOf{"layer.bias", []uint64{familyRows}, bias})
		if i == 0 {
			f.base = m
		} else {
			f.tasks = append(f.tasks, m)
		}
	}
	return f
}

func weightOf(t testing.TB, m *Model, name string) []float32 {
	t.Helper()
	return must(must(m.Tensor(name))(t).Floats())(t)
}

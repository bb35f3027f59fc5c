package emr

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
)

// A trio is a base and three tasks in Go memory.
type trio struct {
	base  *Model
	tasks []NamedModel
	bytes map[string][]byte // of each model's tensor "w"
}

const (
	trioRows    = 96
	trioColumns = 700
)

func newTrio(t testing.TB) *trio {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	base := make([]float32, trioRows*trioColumns)
	for i := range base {
		base[i] = float32(random.NormFloat64())
	}
	w := &trio{bytes: map[string][]byte{}}
	w.base = w.model(t, "base", base)
	for i := range 3 {
		weights := make([]float32, len(base))
		for j := range weights {
			weights[j] = base[j] + float32(random.NormFloat64())/64
		}
		name := fmt.Sprintf("task%d", i)
		w.tasks = append(w.tasks, NamedModel{name, w.model(t, name, weights)})
	}
	return w
}

func (w *trio) model(t testing.TB, name string, weights []float32) *Model {
	t.Helper()
	m := must(NewModel(name))(t)
	t.Cleanup(func() { m.Close() })
	w.bytes[name] = Bytes(weights)
	check(t, m.Add(TensorSpec{Name: "w", DType: F32, Shape: []uint64{trioRows, trioColumns}, Data: w.bytes[name]}))
	check(t, m.Add(TensorSpec{Name: "steps", DType: I64, Shape: []uint64{1}, Data: Bytes([]int64{int64(len(name))})}))
	check(t, m.SetMetadata("who", name))
	return m
}

// merge gives the bundle in memory.
func (w *trio) merge(t testing.TB, o *MergeOptions) *Buffer {
	t.Helper()
	out := must(NewBuffer())(t)
	t.Cleanup(func() { out.Close() })
	m := w.newMerge(t, o, 0, len(w.tasks))
	check(t, m.SetOutput(out))
	check(t, m.Run(background))
	check(t, m.Close())
	return out
}

func (w *trio) newMerge(t testing.TB, o *MergeOptions, first, n int) *Merge {
	t.Helper()
	m := must(NewMerge(o))(t)
	t.Cleanup(func() { m.Close() })
	check(t, m.SetBase(w.base))
	for _, task := range w.tasks[first : first+n] {
		check(t, m.AddTask(task.Name, task.Model))
	}
	return m
}

func (w *trio) bundle(t testing.TB, o *MergeOptions) *Bundle {
	t.Helper()
	return openBuffer(t, w.merge(t, o))
}

func openBuffer(t testing.TB, out *Buffer) *Bundle {
	t.Helper()
	b := must(NewBundle(out, must(out.Size())(t), "all", nil))(t)
	t.Cleanup(func() { b.Close() })
	return b
}

// caught is what the function panics with because a callback did.
func caught(t testing.TB, fn func()) (p *CallbackPanic) {
	t.Helper()
	defer func() {
		var ok bool
		if p, ok = recover().(*CallbackPanic); !ok {
			t.Error("no panic came through")
		}
	}()
	fn()
	return nil
}

func inParallel(all *sync.WaitGroup, fn func()) {
	all.Add(1)
	go func() {
		defer all.Done()
		fn()
	}()
}

// collect runs the garbage collector until something is so.
func collect(t testing.TB, what string, isSo func() bool) {
	t.Helper()
	for range 200 {
		if isSo() {
			return
		}
		runtime.GC()
		runtime.Gosched()
	}
	t.Errorf("not collected: %s", what)
}

package emr

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// A moody reader reads until it is told to fail.
type moody struct {
	io.ReaderAt
	fail atomic.Pointer[func() error]
}

func (m *moody) ReadAt(p []byte, offset int64) (int, error) {
	if fail := m.fail.Load(); fail != nil {
		return 0, (*fail)()
	}
	return m.ReaderAt.ReadAt(p, offset)
}

// Each of several calls that fail at the same time, some by an error and some by a panic, comes back with its own.
func TestFailuresAtTheSameTime(t *testing.T) {
	w := newTrio(t)
	data := must(w.merge(t, nil).Bytes())(t)
	var all sync.WaitGroup
	for i := range 6 {
		inParallel(&all, func() {
			mine := errors.New("reader of my own")
			source := &moody{ReaderAt: bytes.NewReader(data)}
			b, err := NewBundle(source, int64(len(data)), "moody", nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer b.Close()
			fail := func() error { return mine }
			if i%2 == 1 {
				fail = func() error { panic(mine) }
			}
			source.fail.Store(&fail)
			for range 20 {
				var err error
				p := panicked(func() { err = b.Verify(background, &Resources{Threads: 1 + i%3}) })
				if p, ok := p.(*CallbackPanic); ok {
					err = p
				}
				if (i%2 == 1) != (p != nil) || !errors.Is(err, mine) {
					t.Errorf("%v %v", p, err)
				}
			}
			source.fail.Store(nil)
			if err := b.Verify(background, nil); err != nil {
				t.Error("it does not get over a failure:", err)
			}
		})
	}
	all.Wait()
}

// An error that a callback got from the library passes through with all that it knows.
func TestErrorThroughTwoModels(t *testing.T) {
	mine := errors.New("the first cause")
	inner := must(NewModel("inner"))(t)
	defer inner.Close()
	check(t, inner.Add(TensorSpec{Name: "a", DType: F32, Shape: []uint64{8}, Reader: failing{mine}}))
	a := must(inner.Tensor("a"))(t)
	outer := must(NewModel("outer"))(t)
	defer outer.Close()
	check(t, outer.Add(TensorSpec{Name: "b", DType: BF16, Shape: []uint64{8}, Compute: func(c *Computation) error {
		values := make([]float32, c.Count)
		if err := a.ReadFloats(values, c.First); err != nil {
			return err
		}
		return c.SetFloats(values)
	}}))
	e := refused(t, must(outer.Tensor("b"))(t).ReadFloats(make([]float32, 8), 0), mine)
	if e.File != "outer" || e.Tensor != "b" || !errors.Is(e, ErrIO) {
		t.Errorf("%#v", e)
	}
}

// Neither a merge of slices nor applying into a slice makes Go allocate anything as large as a tensor.
func TestTensorsAreNotCopied(t *testing.T) {
	w := newTrio(t)
	b := w.bundle(t, nil)
	m := must(b.Tasks()[0].Modulator())(t)
	defer m.Close()
	out := make([]float32, trioRows*trioColumns)
	merge := w.newMerge(t, nil, 0, 3)
	check(t, merge.SetSink(Sink{Unified: func(SinkPart) error { return nil }}))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	check(t, merge.Run(background))
	check(t, m.Apply(Application{Base: w.bytes["base"], BaseDType: F32, Out: Bytes(out), OutDType: F32}))
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > uint64(len(w.bytes["base"])/4) {
		t.Errorf("%d bytes for tensors of %d", n, len(w.bytes["base"]))
	}
}

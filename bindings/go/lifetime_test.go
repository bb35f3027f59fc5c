package emr

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Closed before what was made from them, parents live on until that is closed too.
func TestClosedInTheWrongOrder(t *testing.T) {
	w := newTrio(t)
	out := w.merge(t, nil)
	b := must(NewBundle(out, must(out.Size())(t), "all", nil))(t)
	task := b.Tasks()[1]
	model := must(task.OpenModel(background, w.base, nil))(t)
	modulator := must(task.Modulator())(t)
	renamed := must(model.Renamed(Rename{"w", "v"}))(t)
	built := must(NewModel("built"))(t)
	check(t, built.AddTensor(must(renamed.Tensor("v"))(t), "u"))
	want := must(must(model.Tensor("w"))(t).Bytes())(t)
	for _, c := range []io.Closer{out, b, w.base, w.tasks[1].Model, model, renamed} {
		check(t, c.Close())
		check(t, c.Close())
	}
	runtime.GC()
	if got := must(must(built.Tensor("u"))(t).Bytes())(t); !bytes.Equal(got, want) {
		t.Error("other bytes")
	}
	if modulator.Count(0) != trioRows*trioColumns {
		t.Error("the modulator is gone")
	}
	for _, err := range []error{
		b.Verify(background, nil),
		func() error { _, err := b.Task("task0"); return err }(),
		func() error { _, err := task.Info(); return err }(),
		func() error { _, err := task.OpenModel(background, nil, nil); return err }(),
		func() error { _, err := model.Tensor("w"); return err }(),
		func() error { _, err := out.Write(nil); return err }(),
		model.Write(background, "x.safetensors", nil),
		w.base.SetMetadata("a", "b"),
	} {
		var e *Error
		if !errors.Is(err, fs.ErrClosed) || !errors.Is(err, ErrState) || !errors.As(err, &e) || !strings.HasSuffix(e.Sentence, " is closed") {
			t.Error(err)
		}
	}
	if b.Tasks() != nil || b.Name() != "" || model.Tensors() != nil || model.Metadata() != nil {
		t.Error("closed objects have something")
	}
	users := []*handle{out.h, b.h, model.h, renamed.h, w.base.h}
	check(t, built.Close())
	check(t, modulator.Close())
	for _, h := range users {
		if h.users != 0 {
			t.Errorf("a %s still has %d users", h.kind, h.users)
		}
	}
}

// A call on one goroutine is not hurt by Close on another.
func TestCloseDuringCalls(t *testing.T) {
	w := newTrio(t)
	b := w.bundle(t, nil)
	m := must(b.Tasks()[0].OpenModel(background, w.base, nil))(t)
	tensor := must(m.Tensor("w"))(t)
	var all sync.WaitGroup
	for range 4 {
		inParallel(&all, func() {
			for {
				if _, err := tensor.Bytes(); err != nil {
					if !errors.Is(err, fs.ErrClosed) {
						t.Error(err)
					}
					return
				}
			}
		})
	}
	runtime.Gosched()
	check(t, m.Close())
	check(t, b.Close())
	all.Wait()
}

// Objects that nobody closed are closed when they are collected, and the memory they borrowed is let go.
func TestForgottenObjectsAreCollected(t *testing.T) {
	model, bundle := func() (*handle, *handle) {
		w := newTrio(t)
		out := w.merge(t, nil)
		data := must(out.Bytes())(t)
		own := must(OpenBuffer(data))(t)
		b := must(NewBundle(own, int64(len(data)), "forgotten", nil))(t)
		base := must(NewModel("forgotten"))(t)
		weights := make([]float32, trioRows*trioColumns)
		copy(Bytes(weights), w.bytes["base"])
		check(t, base.Add(TensorSpec{Name: "w", DType: F32, Shape: []uint64{trioRows, trioColumns}, Data: Bytes(weights)}))
		check(t, base.Add(TensorSpec{Name: "steps", DType: I64, Shape: []uint64{1}, Data: Bytes([]int64{4})}))
		m := must(b.Tasks()[0].OpenModel(background, base, nil))(t)
		must(must(m.Tensor("w"))(t).Floats())(t)
		return base.h, b.h
	}()
	gone := func(h *handle) func() bool {
		return func() bool {
			h.mu.Lock()
			defer h.mu.Unlock()
			return h.users == 0
		}
	}
	collect(t, "the base", gone(model))
	collect(t, "the bundle", gone(bundle))
}

// Many opens and closes take no memory: what the process holds in the end is what it held after the first ones.
func TestOpensAndClosesTakeNoMemory(t *testing.T) {
	w := newTrio(t)
	path := filepath.Join(t.TempDir(), "all.emr")
	must(MergeFile(background, path, w.base, w.tasks, nil))(t)
	mine := errors.New("mine")
	round := func() {
		b := must(OpenBundle(path, nil))(t)
		m := must(b.Tasks()[0].OpenModel(background, w.base, &TaskOptions{Resources: Resources{Threads: 2}}))(t)
		must(must(m.Tensor("w"))(t).Bytes())(t)
		check(t, m.WriteSafetensors(background, io.Discard, nil))
		if err := m.WriteSafetensors(background, &brokenWriter{err: mine}, nil); !errors.Is(err, mine) {
			t.Error(err)
		}
		merge := w.newMerge(t, &MergeOptions{Resources: Resources{Threads: 2}}, 0, 3)
		check(t, merge.SetSink(Sink{}))
		check(t, merge.Run(background))
		for _, c := range []io.Closer{b, m, merge} {
			check(t, c.Close())
		}
	}
	for range 20 {
		round()
	}
	before := resident(t)
	for range 200 {
		round()
	}
	if after := resident(t); after > before+16<<20 {
		t.Errorf("200 rounds took %d KiB", (after-before)>>10)
	} else {
		t.Logf("%d KiB before, %d KiB after 200 rounds", before>>10, after>>10)
	}
}

// resident is how much memory the process has, in bytes.
func resident(t *testing.T) int64 {
	runtime.GC()
	runtime.GC()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("this system does not tell how much memory a process has:", err)
	}
	pages := must(strconv.ParseInt(strings.Fields(string(text))[1], 10, 64))(t)
	return pages * int64(os.Getpagesize())
}

package emr

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math"
	"math/bits"
	"os"
	"path/filepath"
	"testing"
)

// Merged alone, a task is itself: its mask agrees everywhere, and its rescaler is 1.
func TestTaskAloneComesBack(t *testing.T) {
	w := newTrio(t)
	w.tasks = w.tasks[:1]
	path := filepath.Join(t.TempDir(), "all.emr")
	report := must(MergeFile(background, path, w.base, w.tasks, &MergeOptions{Measure: true}))(t)
	if r := report[0]; len(report) != 1 || r.Name != "task0" || r.Rescaler != 1 || r.Fidelity.Cosine != 1 {
		t.Errorf("%+v", report)
	}
	b := must(OpenBundle(path, &BundleOptions{Map: true}))(t)
	defer b.Close()
	m := must(must(b.Task("task0"))(t).OpenModel(background, w.base, nil))(t)
	defer m.Close()
	got := must(must(m.Tensor("w"))(t).Floats())(t)
	want := must(must(w.tasks[0].Model.Tensor("w"))(t).Floats())(t)
	for i := range got {
		if math.Abs(float64(got[i]-want[i])) > 1e-6 {
			t.Fatalf("element %d is %v, not %v", i, got[i], want[i])
		}
	}
	if steps := must(must(m.Tensor("steps"))(t).Bytes())(t); steps[0] != 5 {
		t.Error(steps)
	}
	if m.Metadata()["who"] != "task0" {
		t.Error(m.Metadata())
	}
}

func TestPushIsPull(t *testing.T) {
	w := newTrio(t)
	pulled := must(w.merge(t, nil).Bytes())(t)
	m := must(NewMerge(&MergeOptions{Resources: Resources{Threads: 2}}))(t)
	defer m.Close()
	sources := map[uint32][]byte{}
	pushed := func(like *Model) *Model {
		p := must(NewModel(like.Name()))(t)
		for _, tensor := range like.Tensors() {
			spec := TensorSpec{Name: tensor.Name(), DType: tensor.DType(), Shape: tensor.Shape()}
			if !tensor.DType().IsFloat() {
				spec.Data = must(tensor.Bytes())(t)
			}
			check(t, p.Add(spec))
		}
		check(t, p.CopyMetadata(like))
		return p
	}
	check(t, m.SetBase(pushed(w.base)))
	sources[Base] = w.bytes["base"]
	for i, task := range w.tasks {
		check(t, m.AddTask(task.Name, pushed(task.Model)))
		sources[uint32(i)] = w.bytes[task.Name]
	}
	out := must(NewBuffer())(t)
	check(t, m.SetOutput(out))
	check(t, m.Begin(background))
	for left := len(sources); left > 0; {
		for source, data := range sources {
			name, n, err := m.Expected(source)
			check(t, err)
			if name == "" || n == 0 {
				continue
			}
			taken := must(m.Push(background, source, data[:min(len(data), 10000)]))(t)
			if sources[source] = data[taken:]; taken == len(data) {
				left--
			}
		}
	}
	check(t, m.Finish(background))
	if got := must(out.Bytes())(t); !bytes.Equal(got, pulled) {
		t.Errorf("%d bytes pushed, %d pulled, differ", len(got), len(pulled))
	}
}

func TestFinishNamesWhatIsMissing(t *testing.T) {
	p := must(NewModel("pushed"))(t)
	check(t, p.Add(TensorSpec{Name: "w", DType: F32, Shape: []uint64{3}}))
	m := must(NewMerge(nil))(t)
	defer m.Close()
	check(t, m.SetBase(p))
	check(t, m.AddTask("french", p))
	var out bytes.Buffer
	check(t, m.SetOutput(&out))
	check(t, m.Begin(background))
	var e *Error
	if err := m.Finish(background); !errors.Is(err, ErrState) || !errors.As(err, &e) || e.Tensor != "w" {
		t.Error(err)
	}
}

func TestSinkGetsWhatTheReportCounts(t *testing.T) {
	w := newTrio(t)
	m := w.newMerge(t, &MergeOptions{UnifiedDType: BF16, RescalePer: PerRow, Rescale: RescaleL2}, 0, 3)
	check(t, m.SetModulation(1, Modulation{Kind: KindTwoSided, RescalePer: PerRow, Rescale: RescaleL2}))
	unified, ones, scales := 0, map[uint32]uint64{}, map[uint32]int{}
	check(t, m.SetSink(Sink{
		Unified: func(p SinkPart) error {
			if p.Task != Base {
				t.Errorf("%+v", p)
			}
			unified += len(p.Values)
			return nil
		},
		Mask: func(p SinkPart) error {
			for _, b := range p.Values {
				ones[p.Task] += uint64(bits.OnesCount8(b))
			}
			return nil
		},
		Rescalers: func(p SinkPart) error {
			scales[p.Task] += len(p.Values) / 4
			return nil
		},
	}))
	plan := must(m.Plan())(t)
	if plan.MergedParams != trioRows*trioColumns || plan.Tensors != 2 || plan.Merged != 1 {
		t.Errorf("%+v", plan)
	}
	check(t, m.Run(background))
	if unified != 2*trioRows*trioColumns || scales[0] != trioRows || scales[1] != 2*trioRows {
		t.Error(unified, scales)
	}
	for i, r := range must(m.Report())(t) {
		if r.MaskOnes != ones[uint32(i)] || r.MaskOnes == 0 {
			t.Errorf("task %d: %d ones in the mask, %d in the report", i, ones[uint32(i)], r.MaskOnes)
		}
	}
	tensors := must(m.Tensors())(t)
	if tensors[0].Action != ActionMerge || tensors[1].Action != ActionKeep || tensors[1].Reason == "" {
		t.Errorf("%+v", tensors)
	}
}

func TestSinksErrorStopsTheRun(t *testing.T) {
	mine := errors.New("the device is gone")
	m := newTrio(t).newMerge(t, nil, 0, 3)
	check(t, m.SetSink(Sink{Mask: func(SinkPart) error { return mine }}))
	if err := m.Run(background); !errors.Is(err, mine) {
		t.Error(err)
	}
}

func TestExtendIsMergingAtOnce(t *testing.T) {
	w := newTrio(t)
	o := &MergeOptions{Extendable: true}
	atOnce := must(w.merge(t, o).Bytes())(t)
	first := must(NewBuffer())(t)
	m := w.newMerge(t, o, 0, 2)
	check(t, m.SetOutput(first))
	check(t, m.Run(background))
	more := must(NewMerge(nil))(t)
	defer more.Close()
	check(t, more.Extend(openBuffer(t, first)))
	check(t, more.SetBase(w.base))
	check(t, more.AddTask(w.tasks[2].Name, w.tasks[2].Model))
	var out bytes.Buffer
	check(t, more.SetOutput(&out))
	check(t, more.Run(background))
	if !bytes.Equal(out.Bytes(), atOnce) {
		t.Error("adding the third task gives another bundle")
	}
	if report := must(more.Report())(t); len(report) != 3 || report[2].Name != "task2" {
		t.Errorf("%+v", report)
	}
}

// Canceled in the middle, a run leaves neither a file nor a part of one; one with a journal goes on.
func TestCancelLeavesNothing(t *testing.T) {
	w := newTrio(t)
	directory := t.TempDir()
	path := filepath.Join(directory, "all.emr")
	because := errors.New("the user went away")
	ctx, cancel := context.WithCancelCause(background)
	o := &MergeOptions{Resources: Resources{Memory: 4 << 20, Progress: func(p Progress) error {
		cancel(because)
		return nil
	}}}
	_, err := MergeFile(ctx, path, w.base, w.tasks, o)
	if !errors.Is(err, ErrCanceled) || !errors.Is(err, context.Canceled) || !errors.Is(err, because) {
		t.Error(err)
	}
	_, err = MergeFile(ctx, path, w.base, w.tasks, nil)
	if !errors.Is(err, context.Canceled) {
		t.Error("begun though it was canceled:", err)
	}
	if entries := must(os.ReadDir(directory))(t); len(entries) != 0 {
		t.Error(entries)
	}
	mine := errors.New("enough")
	o.Progress = func(Progress) error { return mine }
	if _, err = MergeFile(background, path, w.base, w.tasks, o); !errors.Is(err, mine) || !errors.Is(err, ErrCanceled) {
		t.Error(err)
	}
	o.Progress = func(Progress) error { panic("as it was") }
	if p := caught(t, func() { _, _ = MergeFile(background, path, w.base, w.tasks, o) }); p.Value != "as it was" {
		t.Error(p)
	}
	if entries := must(os.ReadDir(directory))(t); len(entries) != 0 {
		t.Error(entries)
	}
}

func TestJournalGoesOn(t *testing.T) {
	w := newTrio(t)
	path := filepath.Join(t.TempDir(), "all.emr")
	whole := must(w.merge(t, nil).Bytes())(t)
	run := func(progress func(Progress) error) error {
		m := w.newMerge(t, &MergeOptions{Resources: Resources{Memory: 4 << 20, Progress: progress}}, 0, 3)
		defer m.Close()
		out := must(ResumeFile(path, nil))(t)
		defer out.Close()
		journal := must(ResumeFile(path+".journal", nil))(t)
		defer journal.Close()
		check(t, m.SetOutput(out))
		check(t, m.SetJournal(journal, 1))
		if err := m.Run(background); err != nil {
			return err
		}
		check(t, journal.Discard())
		return out.Commit()
	}
	stop := errors.New("stop")
	if err := run(func(p Progress) error { return stop }); !errors.Is(err, stop) {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	must(os.Stat(path + ".partial"))(t)
	check(t, run(nil))
	if got := must(os.ReadFile(path))(t); !bytes.Equal(got, whole) {
		t.Error("resumed, the bundle is another one")
	}
	if _, err := os.Stat(path + ".journal.partial"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

type brokenWriter struct {
	err error
	n   int
}

func (b *brokenWriter) Write(p []byte) (int, error) {
	if b.n += len(p); b.n > 100000 {
		return 0, b.err
	}
	return len(p), nil
}

func TestWritersErrorComesBack(t *testing.T) {
	w := newTrio(t)
	mine := errors.New("the disk is full")
	m := w.newMerge(t, &MergeOptions{Compression: NoCompression}, 0, 3)
	check(t, m.SetOutput(&brokenWriter{err: mine}))
	err := m.Run(background)
	var e *Error
	if !errors.Is(err, mine) || !errors.As(err, &e) || e.Status != ErrIO || !bytes.HasSuffix([]byte(e.Sentence), []byte(mine.Error())) {
		t.Errorf("%#v", err)
	}
}

// Of computed tensors that fail on worker threads, the very error comes back, and the very panic.
func TestComputedTensorsFailOnWorkers(t *testing.T) {
	w := newTrio(t)
	mine := errors.New("no weights today")
	for _, fail := range []func(*Computation) error{
		func(*Computation) error { return mine },
		func(*Computation) error { panic(mine) },
	} {
		late := func(c *Computation) error {
			if c.First > 30000 {
				return fail(c)
			}
			copy(c.Out, w.bytes["task0"][c.First*4:])
			return nil
		}
		m := must(NewModel("computed"))(t)
		defer m.Close()
		check(t, m.Add(TensorSpec{Name: "w", DType: F32, Shape: []uint64{trioRows, trioColumns}, Compute: late}))
		check(t, m.Add(TensorSpec{Name: "steps", DType: I64, Shape: []uint64{1}, Data: make([]byte, 8)}))
		run := func() error {
			_, err := MergeFile(background, filepath.Join(t.TempDir(), "x.emr"), w.base,
				append([]NamedModel{{"late", m}}, w.tasks...), &MergeOptions{Resources: Resources{Threads: 4}})
			return err
		}
		func() {
			defer func() {
				if p, ok := recover().(*CallbackPanic); ok && !errors.Is(p, mine) {
					t.Error(p)
				}
			}()
			if err := run(); !errors.Is(err, mine) {
				t.Error(err)
			}
		}()
	}
}

func TestNamesAndShapesThatDoNotFit(t *testing.T) {
	w := newTrio(t)
	other := must(NewModel("other"))(t)
	defer other.Close()
	check(t, other.Add(TensorSpec{Name: "w", DType: F32, Shape: []uint64{2}, Data: Bytes([]float32{1, 2})}))
	var e *Error
	_, err := MergeFile(background, filepath.Join(t.TempDir(), "x.emr"), w.base, []NamedModel{{"odd", other}}, nil)
	if !errors.As(err, &e) || !errors.Is(err, ErrMismatch) || e.Task != "odd" || e.Tensor == "" {
		t.Errorf("%#v", err)
	}
	m := w.newMerge(t, nil, 0, 3)
	if err := m.AddTask("task1", w.base); !errors.Is(err, ErrExists) || !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	if _, err := NewMerge(&MergeOptions{Policy: &Policy{Private: []string{"a\x00b"}}}); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	if _, err := NewMerge(&MergeOptions{Resources: Resources{Threads: -1}}); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}

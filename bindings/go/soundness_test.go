package emr

import (
	"errors"
	"io"
	"sync"
	"testing"
)

// Fewer bytes than an element is no room for all elements.
func TestWeightsIntoLessThanAnElementAreRefused(t *testing.T) {
	w := newTrio(t)
	session := must(w.bundle(t, nil).NewSession(background, w.base, nil))(t)
	defer session.Close()
	for _, weights := range []Weights{
		{Tensor: "w", Data: make([]byte, 3), DType: F32},
		{Tensor: "w", Data: make([]byte, 7), DType: F32},
		{Tensor: "w", Data: make([]byte, 33), DType: F32, Blocks: Q8_0},
		{Tensor: "w", Data: []byte{}, DType: F32},
	} {
		refused(t, session.Apply(0, weights), ErrInvalid)
	}
}

// A modulator's tensor that no slice can hold is refused before anything is read.
func TestModulatorsOfImpossibleCountsAreRefused(t *testing.T) {
	m := must(NewModulator())(t)
	defer m.Close()
	for _, count := range []uint64{1 << 57, 1 << 60, 1 << 63} {
		refused(t, m.Add(ModulatorTensor{
			Name: "w", Count: count, Rows: 1, Kind: KindSign, Codes: []byte{1}, Scales: []float32{1},
		}), ErrInvalid)
	}
}

// Errors whose number is no failure's are failures all the same.
func TestCallbackErrorsThatAreNoFailuresFail(t *testing.T) {
	for _, cause := range []error{Status(0), Status(7), &Error{}} {
		m := must(NewModel("odd"))(t)
		check(t, m.Add(TensorSpec{Name: "w", DType: F32, Shape: []uint64{4}, Compute: func(*Computation) error {
			return cause
		}}))
		_, err := must(m.Tensor("w"))(t).Floats()
		refused(t, err, ErrIO)
		if !errors.Is(err, cause) {
			t.Errorf("%v is not %v", err, cause)
		}
		check(t, m.Close())
	}
}

// A storage that writes less than it is given, and says nothing.
type short struct{}

func (s *short) Write(p []byte) (int, error)                 { return len(p), nil }
func (s *short) WriteAt(p []byte, offset int64) (int, error) { return len(p) / 2, nil }
func (s *short) ReadAt(p []byte, offset int64) (int, error)  { return -1, nil }
func (s *short) Size() (int64, error)                        { return -1, nil }
func (s *short) Sync() error                                 { return nil }

func TestShortWritesAreFound(t *testing.T) {
	m := newTrio(t).newMerge(t, nil, 0, 2)
	check(t, m.SetOutput(&short{}))
	check(t, m.SetJournal(&short{}, 0)) // what has no size is begun anew
	if err := m.Run(background); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("%v is no short write", err)
	}
}

// Calls of one object take turns, those that note something beside C's object too.
func TestTasksAddedAtOnceAreAllCounted(t *testing.T) {
	w := newTrio(t)
	m := must(NewMerge(&MergeOptions{Modulation: Modulation{Kind: KindTwoSided}}))(t)
	defer m.Close()
	check(t, m.SetBase(w.base))
	var all sync.WaitGroup
	for _, task := range w.tasks {
		inParallel(&all, func() { _ = m.AddTask(task.Name, task.Model); _ = m.SetModulation(0, Modulation{}) })
	}
	all.Wait()
	out := must(NewBuffer())(t)
	defer out.Close()
	check(t, m.SetOutput(out))
	check(t, m.Run(background))
	if reports := must(m.Report())(t); len(reports) != len(w.tasks) {
		t.Errorf("%d reports", len(reports))
	}
}

// A buffer may be read while it is written.
func TestBuffersAreReadWhileTheyGrow(t *testing.T) {
	b := must(NewBuffer())(t)
	defer b.Close()
	var all sync.WaitGroup
	inParallel(&all, func() {
		for range 2000 {
			must(b.Write(make([]byte, 4096)))(t)
		}
	})
	inParallel(&all, func() {
		p := make([]byte, 4096)
		for range 20000 {
			_, _ = b.ReadAt(p, 0)
			_, _ = b.Size()
		}
	})
	all.Wait()
}

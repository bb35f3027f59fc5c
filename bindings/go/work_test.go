package emr

import (
	"errors"
	"io"
	"testing"
)

// What sessions, combined models, statistics, searches and heads take is given back, also where callbacks
// fail.
func TestWorkTakesNoMemory(t *testing.T) {
	f := newFamily(t, 2)
	b := f.merge(t)
	mine := errors.New("mine")
	bias := make([]float32, familyRows)
	round := func() {
		s := must(b.NewSession(background, f.base, &SessionOptions{Resources: Resources{Threads: 1}}))(t)
		thread := must(s.OpenThread())(t)
		w := Weights{Tensor: "layer.bias", Data: Bytes(bias), DType: F32}
		check(t, thread.Apply(0, w))
		w.Write = func(WeightsPart) error { return mine }
		refused(t, s.Apply(0, w), mine)

		own := CombinationOptions{Own: &scaling{fail: mine}, Resources: Resources{Threads: 2}}
		x := must(NewCombination(own))(t)
		check(t, x.SetBase(f.base))
		check(t, x.AddTask("math", f.tasks[0]))
		m := must(x.OpenModel())(t)
		refused(t, m.WriteSafetensors(background, io.Discard, nil), mine)

		statistics := must(NewStatistics(nil))(t)
		check(t, statistics.SetBase(f.base))
		check(t, statistics.AddTask("math", f.tasks[0]))
		check(t, statistics.Run(background))

		search := must(NewSearch(nil))(t)
		check(t, search.AddModel("a"))
		refused(t, search.Run(background, SearchHost{
			Merge:    func(Candidate) error { return nil },
			Evaluate: func(Candidate) (float64, error) { return 0, mine },
		}), mine)

		heads := must(NewHeads([]string{"layer.bias"}, HeadTask{Name: "a", Model: f.tasks[0]}))(t)
		view := must(heads.OpenTask(0))(t)
		for _, c := range []io.Closer{s, thread, x, m, statistics, search, heads, view} {
			check(t, c.Close())
		}
	}
	for range 100 {
		round()
	}
	before := resident(t)
	for range 1000 {
		round()
	}
	if after := resident(t); after > before+8<<20 {
		t.Errorf("1000 rounds took %d KiB", (after-before)>>10)
	} else {
		t.Logf("%d KiB before, %d KiB after 1000 rounds", before>>10, after>>10)
	}
	for _, h := range []*handle{b.h, f.base.h, f.tasks[0].h} {
		if h.users != 1 {
			t.Errorf("a %s has %d users", h.kind, h.users)
		}
	}
}

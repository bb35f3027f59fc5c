package emr

import (
	"context"
	"errors"
	"math"
	"testing"
)

// lengths is a host that scores a model by its name's length, and a merged one by its kinship.
func lengths(released *[]uint32) SearchHost {
	return SearchHost{
		Merge: func(Candidate) error { return nil },
		Evaluate: func(c Candidate) (float64, error) {
			if c.Generation == 0 {
				return float64(len(c.Name)), nil
			}
			return c.Kinship, nil
		},
		Similarity: func(a, b uint32) (float64, error) { return float64(a) + 10*float64(b), nil },
		Release:    func(number uint32) { *released = append(*released, number) },
	}
}

func newSearch(t testing.TB) *Search {
	t.Helper()
	s := must(NewSearch(&SearchOptions{Partner: PartnerNone, K: 2}))(t)
	t.Cleanup(func() { s.Close() })
	for _, name := range []string{"a", "bb", "ccc"} {
		check(t, s.AddModel(name))
	}
	return s
}

func TestSearch(t *testing.T) {
	s := newSearch(t)
	var released []uint32
	host := lengths(&released)
	_, err := s.Result()
	refused(t, err, ErrState)
	refused(t, s.AddModel("a"), ErrExists)
	host.Merge = func(c Candidate) error { // the search can be asked meanwhile
		if first := must(s.Candidate(c.First))(t); first.Number != c.First {
			t.Error(first)
		}
		refused(t, s.AddModel("d"), ErrState)
		return nil
	}
	check(t, s.Run(background, host))
	result := must(s.Result())(t)
	if result.Best.Score < 21 || result.Models <= 3 || len(released) == 0 ||
		result.End != EndSteady && result.End != EndGenerations {
		t.Fatalf("%+v %v", result, released)
	}
	if _, err := s.Candidate(uint32(result.Models)); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	refused(t, s.Run(background, host), ErrState)
}

func TestSearchHostFails(t *testing.T) {
	mine := errors.New("the GPU is gone")
	var released []uint32
	host := lengths(&released)
	host.Evaluate = func(Candidate) (float64, error) { return 0, mine }
	refused(t, newSearch(t).Run(background, host), mine)

	host.Evaluate = func(Candidate) (float64, error) { panic(mine) }
	p := caught(t, func() { _ = newSearch(t).Run(background, host) })
	if p == nil || p.Value != mine {
		t.Fatal(p)
	}
	host = lengths(&released)
	times := 0
	host.Release = func(uint32) { times++; panic(mine) }
	p = caught(t, func() { _ = newSearch(t).Run(background, host) })
	if p == nil || p.Value != mine || times != 1 {
		t.Fatal(p, times)
	}

	ctx, cancel := context.WithCancel(background)
	host = lengths(&released)
	host.Merge = func(Candidate) error { cancel(); return nil }
	err := newSearch(t).Run(ctx, host)
	refused(t, err, ErrCanceled)
	refused(t, err, context.Canceled)

	refused(t, newSearch(t).Run(background, SearchHost{}), ErrInvalid)
	host.Merge = func(Candidate) error { return nil }
	host.Evaluate = func(Candidate) (float64, error) { return math.NaN(), nil }
	refused(t, newSearch(t).Run(background, host), ErrNotFound)
	_, err = NewSearch(&SearchOptions{K: -1})
	refused(t, err, ErrInvalid)
}

func TestTrials(t *testing.T) {
	distance := func(t Trial) (float64, error) {
		return math.Abs(t.Values[0]-0.5) + math.Abs(t.Values[1]-0.5), nil
	}
	best := must(RunTrials(background, TrialsOptions{
		Evaluate: distance, Seed: 3, Trials: 50, Values: 2, Minimise: true,
	}))(t)
	values := make([]float64, 2)
	for number := uint32(1); number <= 50; number++ {
		DrawTrial(3, number, values)
		score, _ := distance(Trial{Values: values})
		if score < best.Score || score == best.Score && number < best.Number {
			t.Fatal(number, score, best)
		}
	}
	mine := errors.New("out of disk")
	_, err := RunTrials(background, TrialsOptions{
		Values: 1, Evaluate: func(Trial) (float64, error) { return 0, mine },
	})
	refused(t, err, mine)
	p := caught(t, func() {
		_, _ = RunTrials(background, TrialsOptions{
			Values: 1, Evaluate: func(Trial) (float64, error) { panic(mine) },
		})
	})
	if p == nil || p.Value != mine {
		t.Fatal(p)
	}
	ctx, cancel := context.WithCancel(background)
	cancel()
	_, err = RunTrials(ctx, TrialsOptions{Values: 2, Evaluate: distance})
	refused(t, err, context.Canceled)
	_, err = RunTrials(background, TrialsOptions{})
	refused(t, err, ErrInvalid)
	_, err = RunTrials(background, TrialsOptions{Values: -1, Evaluate: distance})
	refused(t, err, ErrInvalid)
}

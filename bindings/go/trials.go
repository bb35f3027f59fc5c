package emr

// #include "bridge_search.h"
import "C"

import (
	"context"
	"unsafe"
)

// A Trial is one of those of [RunTrials]: values for your parameters.
type Trial struct {
	Values []float64 // in (0, 1]
	Score  float64   // NaN: none
	Number uint32    // from 1
}

// TrialsOptions are the options of [RunTrials].
type TrialsOptions struct {
	// Evaluate makes a model with a trial's values and scores it. NaN or an infinity: it has no score.
	// Required.
	Evaluate func(t Trial) (float64, error)
	Seed     uint64
	Trials   int  // 0: 500
	Values   int  // of each trial
	Minimise bool // the lowest score is the best
}

// RunTrials tries parameters that are drawn at random (arXiv 2409.19173), and gives the best trial; of equal
// scores, the first. The context is looked at before each trial.
func RunTrials(ctx context.Context, o TrialsOptions) (Trial, error) {
	if !areCounts(o.Trials, o.Values) {
		return Trial{}, invalid("%d trials of %d values", o.Trials, o.Values)
	}
	var a arena
	defer a.free()
	c := object[C.emr_trials_options](&a)
	*c = C.emr_trials_options{
		size: C.sizeof_emr_trials_options, user: newCell(&trying{ctx, o.Evaluate}), seed: C.uint64_t(o.Seed),
		n_trials: C.uint32_t(o.Trials), n_values: C.uint32_t(o.Values), minimise: flag(o.Minimise),
	}
	defer freeCell(c.user)
	if o.Evaluate != nil {
		c.evaluate = (*[0]byte)(C.emrGoTry)
	}
	best := C.emr_trial{size: C.sizeof_emr_trial}
	var e C.emr_error
	if err := failure(C.emr_trials_run(c, &best, &e), &e); err != nil {
		return Trial{}, err
	}
	t := Trial{Score: float64(best.score), Number: uint32(best.number), Values: make([]float64, o.Values)}
	DrawTrial(o.Seed, t.Number, t.Values)
	return t, nil
}

// DrawTrial fills values with the first ones of a trial.
func DrawTrial(seed uint64, number uint32, values []float64) {
	C.emr_trial_draw(C.uint64_t(seed), C.uint32_t(number), C.size_t(len(values)),
		(*C.double)(unsafe.SliceData(values)))
}

type trying struct {
	ctx      context.Context
	evaluate func(Trial) (float64, error)
}

//export emrGoTry
func emrGoTry(user unsafe.Pointer, c *C.emr_trial, score *C.double, e *C.emr_error) C.emr_status {
	t := cell[*trying](user)
	return catch(e, func() error {
		if err := canceled(t.ctx); err != nil {
			return err
		}
		value, err := t.evaluate(Trial{
			Values: copied[float64](unsafe.Pointer(c.values), int(c.n_values)), Score: float64(c.score),
			Number: uint32(c.number),
		})
		*score = C.double(value)
		return err
	})
}

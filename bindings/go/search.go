package emr

// #include "bridge_search.h"
import "C"

import (
	"context"
	"unsafe"
)

// NoModel is in the place of a model's number.
const NoModel uint32 = C.EMR_SEARCH_NO_MODEL

// A SearchPartner is which model the best one is merged with, beside the pairs of the best.
type SearchPartner uint32

// The partners.
const (
	PartnerLowest  SearchPartner = C.EMR_SEARCH_PARTNER_LOWEST  // the least similar one
	PartnerHighest SearchPartner = C.EMR_SEARCH_PARTNER_HIGHEST // the most similar one
	PartnerNone    SearchPartner = C.EMR_SEARCH_PARTNER_NONE
)

// A SearchPool is where the partner is taken from.
type SearchPool uint32

// The pools.
const (
	PoolAll  SearchPool = C.EMR_SEARCH_POOL_ALL  // all models so far
	PoolTop  SearchPool = C.EMR_SEARCH_POOL_TOP  // the k best
	PoolLast SearchPool = C.EMR_SEARCH_POOL_LAST // the generation before
)

// A SearchEnd is why a search ended.
type SearchEnd uint32

// The reasons.
const (
	EndSteady      SearchEnd = C.EMR_SEARCH_END_STEADY      // a generation left the k best as they were
	EndKinship     SearchEnd = C.EMR_SEARCH_END_KINSHIP     // the k best are more alike than StopKinship
	EndGenerations SearchEnd = C.EMR_SEARCH_END_GENERATIONS // MaxGenerations
)

// SearchOptions may be nil. The zero value is the default.
type SearchOptions struct {
	StopKinship    float64 // the mean similarity of pairs of the k best above which the search ends
	UseStopKinship bool
	K              int // how many of the best are merged with each other; 0: 3
	Partner        SearchPartner
	Pool           SearchPool
	MaxGenerations int  // 0: 20
	Minimise       bool // the lowest score is the best
}

// A Search looks for the best merge, greedily and guided by kinship (arXiv 2410.12613). It decides what to
// try; a [SearchHost] merges, scores and compares.
type Search struct {
	h *handle
	c *C.emr_search
}

// NewSearch makes a search without models.
func NewSearch(o *SearchOptions) (*Search, error) {
	if o == nil {
		o = &SearchOptions{}
	}
	if !areCounts(o.K, o.MaxGenerations) {
		return nil, invalid("a search with K %d and MaxGenerations %d", o.K, o.MaxGenerations)
	}
	options := C.emr_search_options{
		size: C.sizeof_emr_search_options, stop_kinship: C.double(o.StopKinship),
		use_stop_kinship: flag(o.UseStopKinship), k: C.uint32_t(o.K),
		partner: C.emr_search_partner(o.Partner), pool: C.emr_search_pool(o.Pool),
		max_generations: C.uint32_t(o.MaxGenerations), minimise: flag(o.Minimise),
	}
	var c *C.emr_search
	var e C.emr_error
	if err := failure(C.emr_search_create(&c, &options, &e), &e); err != nil {
		return nil, err
	}
	s := &Search{c: c}
	s.h = newHandle("search", func() { C.emr_search_destroy(&c) })
	return guard(s, s.h), nil
}

// Close ends the use of the search.
func (s *Search) Close() error {
	return s.h.close()
}

// AddModel adds a model that is there.
func (s *Search) AddModel(name string) error {
	if err := s.h.own(); err != nil {
		return err
	}
	defer s.h.disown()
	var a arena
	defer a.free()
	p := a.text(name)
	if a.err != nil {
		return a.err
	}
	var e C.emr_error
	return failure(C.emr_search_add_model(s.c, p, &e), &e)
}

// A Candidate is a model of a search.
type Candidate struct {
	Name       string  // as it was added; "2-3", the third pair of generation 2; "2-exp", made with a partner
	Score      float64 // NaN: none
	Kinship    float64 // of the two that it is made of; NaN: there is none
	Number     uint32  // in the order in which they came, from 0; first those that were added
	Generation int     // 0: it was added
	First      uint32  // what it is made of, or NoModel
	Second     uint32
}

func newCandidate(c *C.emr_search_candidate) Candidate {
	return Candidate{
		Name: C.GoString(c.name), Score: float64(c.score), Kinship: float64(c.kinship),
		Number: uint32(c.number), Generation: int(c.generation), First: uint32(c.first),
		Second: uint32(c.second),
	}
}

// A SearchHost does what a search decides, one call at a time. An error ends the search.
type SearchHost struct {
	// Merge makes a model of c.First and c.Second.
	Merge func(c Candidate) error
	// Evaluate scores a model. NaN or an infinity: it has no score, and is out.
	Evaluate func(c Candidate) (float64, error)
	// Similarity is how alike two models are, by their numbers: more is more; NaN: not known. It may be nil.
	Similarity func(a, b uint32) (float64, error)
	// Release is told of a merged model that the search will not ask about again. It may be nil.
	Release func(number uint32)
}

// A searching is a run of a search.
type searching struct {
	bystander
	SearchHost
	ctx    context.Context
	search *Search
}

// outside runs a call of the host, which may ask the search for candidates: C waits meanwhile.
func (r *searching) outside(fn func() error) error {
	r.search.h.turn.Unlock()
	defer r.search.h.turn.Lock()
	return fn()
}

// host runs one that can fail.
func (r *searching) host(e *C.emr_error, fn func() error) C.emr_status {
	return catch(e, func() error {
		if p := r.caught(); p != nil {
			return p
		}
		if err := canceled(r.ctx); err != nil {
			return err
		}
		return r.outside(fn)
	})
}

// Run searches, once. The context is looked at before each call of the host.
func (s *Search) Run(ctx context.Context, host SearchHost) error {
	if err := s.h.own(); err != nil {
		return err
	}
	defer s.h.disown()
	var a arena
	defer a.free()
	run := &searching{SearchHost: host, ctx: ctx, search: s}
	c := object[C.emr_search_host](&a)
	c.size, c.user = C.sizeof_emr_search_host, newCell(run)
	defer freeCell(c.user)
	if host.Merge != nil {
		c.merge = (*[0]byte)(C.emrGoMerge)
	}
	if host.Evaluate != nil {
		c.evaluate = (*[0]byte)(C.emrGoEvaluate)
	}
	if host.Similarity != nil {
		c.similarity = (*[0]byte)(C.emrGoSimilarity)
	}
	if host.Release != nil {
		c.release = (*[0]byte)(C.emrGoRelease)
	}
	var e C.emr_error
	err := failure(C.emr_search_run(s.c, c, &e), &e)
	run.rethrow()
	return err
}

//export emrGoMerge
func emrGoMerge(user unsafe.Pointer, c *C.emr_search_candidate, e *C.emr_error) C.emr_status {
	r := cell[*searching](user)
	return r.host(e, func() error { return r.Merge(newCandidate(c)) })
}

//export emrGoEvaluate
func emrGoEvaluate(user unsafe.Pointer, c *C.emr_search_candidate, score *C.double,
	e *C.emr_error) C.emr_status {
	r := cell[*searching](user)
	return r.host(e, func() error {
		value, err := r.Evaluate(newCandidate(c))
		*score = C.double(value)
		return err
	})
}

//export emrGoSimilarity
func emrGoSimilarity(user unsafe.Pointer, a, b C.uint32_t, similarity *C.double,
	e *C.emr_error) C.emr_status {
	r := cell[*searching](user)
	return r.host(e, func() error {
		value, err := r.Similarity(uint32(a), uint32(b))
		*similarity = C.double(value)
		return err
	})
}

//export emrGoRelease
func emrGoRelease(user unsafe.Pointer, number C.uint32_t) {
	r := cell[*searching](user)
	r.run(func() {
		_ = r.outside(func() error { r.Release(uint32(number)); return nil })
	})
}

// Candidate is a model of the search by its number; also within the host's calls. ErrNotFound past the end.
func (s *Search) Candidate(number uint32) (Candidate, error) {
	if err := s.h.own(); err != nil {
		return Candidate{}, err
	}
	defer s.h.disown()
	c := C.emr_search_candidate{size: C.sizeof_emr_search_candidate}
	if err := outcome(C.emr_search_get_candidate(s.c, C.uint32_t(number), &c)); err != nil {
		return Candidate{}, err
	}
	return newCandidate(&c), nil
}

// SearchResult is what a search found.
type SearchResult struct {
	Best       Candidate
	Kinship    float64 // mean of pairs of the k best, as far as it is known; NaN: there is none
	Models     int
	Scored     int // with a score
	Generation int // the last one, from 1
	End        SearchEnd
}

// Result is what the search found. ErrState before it has run.
func (s *Search) Result() (SearchResult, error) {
	if err := s.h.own(); err != nil {
		return SearchResult{}, err
	}
	defer s.h.disown()
	c := C.emr_search_result{size: C.sizeof_emr_search_result}
	if err := outcome(C.emr_search_get_result(s.c, &c)); err != nil {
		return SearchResult{}, err
	}
	best := C.emr_search_candidate{size: C.sizeof_emr_search_candidate}
	if err := outcome(C.emr_search_get_candidate(s.c, c.best, &best)); err != nil {
		return SearchResult{}, err
	}
	return SearchResult{
		Best: newCandidate(&best), Kinship: float64(c.kinship), Models: int(c.n_models),
		Scored: int(c.n_scored), Generation: int(c.generation), End: SearchEnd(c.end),
	}, nil
}

package emr

// #include "bridge.h"
import "C"

// OnMismatch is what to do where a tensor has another shape in a task than in the base, or is a float in only one.
type OnMismatch uint32

// The ways.
const (
	MismatchError   OnMismatch = C.EMR_ON_MISMATCH_ERROR   // ErrMismatch, naming task and tensor
	MismatchPrivate OnMismatch = C.EMR_ON_MISMATCH_PRIVATE // every task keeps its own
	MismatchRows    OnMismatch = C.EMR_ON_MISMATCH_ROWS    // the rows that all have are merged
	MismatchPad     OnMismatch = C.EMR_ON_MISMATCH_PAD     // filled up with zeros, for adapters of different ranks
)

// OnMissing is what to do where a task lacks a tensor of the base.
type OnMissing uint32

// The ways.
const (
	MissingError  OnMissing = C.EMR_ON_MISSING_ERROR  // ErrMismatch, naming task and tensor
	MissingBase   OnMissing = C.EMR_ON_MISSING_BASE   // the task has the base's, unchanged
	MissingAbsent OnMissing = C.EMR_ON_MISSING_ABSENT // the task goes without
)

// A Policy says which tensors of a base and its tasks belong together, and what becomes of the others. A glob matches
// whole names: '*', '?', '[a-z]', '[!a-z]', '\\'. The zero value is the default.
type Policy struct {
	Private    []string // not merged: each task keeps its own, if it has one
	Merge      []string // merged whatever their role, if they are floats
	Absent     []string // where a task lacks these, MissingAbsent
	Base       []string // where a task lacks these and not those, MissingBase
	OnMismatch OnMismatch
	OnMissing  OnMissing // of tensors that match none of these two
}

// GlobMatches says whether a glob, as a Policy has them, matches the whole name.
func GlobMatches(glob, name string) bool {
	var a arena
	defer a.free()
	return C.emr_glob_matches(a.text(glob), a.text(name)) != 0 && a.err == nil
}

// marshal is the policy for C; NULL for none.
func (p *Policy) marshal(a *arena) *C.emr_policy {
	if p == nil {
		return nil
	}
	c := object[C.emr_policy](a)
	*c = C.emr_policy{
		size:          C.sizeof_emr_policy,
		private_globs: a.strings(p.Private), n_private_globs: C.uint32_t(len(p.Private)),
		merge_globs: a.strings(p.Merge), n_merge_globs: C.uint32_t(len(p.Merge)),
		absent_globs: a.strings(p.Absent), n_absent_globs: C.uint32_t(len(p.Absent)),
		base_globs: a.strings(p.Base), n_base_globs: C.uint32_t(len(p.Base)),
		on_mismatch: C.emr_on_mismatch(p.OnMismatch), on_missing: C.emr_on_missing(p.OnMissing),
	}
	return c
}

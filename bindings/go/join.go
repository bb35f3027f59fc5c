package emr

// #include "bridge.h"
import "C"

import (
	"context"
	"io"
)

// A Join makes a merge's bundle of its parts ([Merge.SetPart]), to the last byte what a merge without parts gives. No
// model is needed. Its calls take turns. After a failed one it may only be closed.
type Join struct {
	h         *handle
	c         *C.emr_join
	resources *resources
}

// NewJoin makes one without parts. Memory 0: 256 MiB.
func NewJoin(o *Resources) (*Join, error) {
	r, err := newResources(o)
	if err != nil {
		return nil, err
	}
	defer r.close()
	j := &Join{resources: r}
	var e C.emr_error
	if err := failure(C.emr_join_create(&j.c, r.c, &e), &e); err != nil {
		return nil, err
	}
	c := j.c
	j.h = newHandle("join", func() { C.emr_join_destroy(&c) }, r.h)
	return guard(j, j.h), nil
}

// Close ends it. What it wrote without finishing is worthless.
func (j *Join) Close() error {
	return j.h.close()
}

// AddPart adds a part of so many bytes, in any order; name is what messages call it.
func (j *Join) AddPart(part io.ReaderAt, size int64, name string) error {
	table, h, err := readFrom(part, size)
	if err != nil {
		return err
	}
	defer h.done()
	var a arena
	defer a.free()
	p := a.text(name)
	if a.err != nil {
		return a.err
	}
	return j.h.adopt(h, func(e *C.emr_error) C.emr_status { return C.emr_join_add_part(j.c, table, p, e) })
}

// SetOutput says where the bundle goes, front to back: a [File], a [Buffer], or any writer. It is whole when the run
// has succeeded, and worthless otherwise.
func (j *Join) SetOutput(w io.Writer) error {
	table, h, err := writeTo(w)
	if err != nil {
		return err
	}
	defer h.done()
	return j.h.adopt(h, func(e *C.emr_error) C.emr_status { return C.emr_join_set_output(j.c, table, e) })
}

// Run joins. [ErrNotFound] where a part is missing.
func (j *Join) Run(ctx context.Context) error {
	if err := j.h.own(); err != nil {
		return err
	}
	defer j.h.disown()
	return j.resources.during(ctx, func() error {
		var e C.emr_error
		return failure(C.emr_join_run(j.c, &e), &e)
	})
}

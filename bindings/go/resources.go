package emr

// #include "bridge.h"
import "C"

import (
	"context"
	"unsafe"
)

// Resources are what a long call may use. The zero value is the default.
type Resources struct {
	Threads  int                  // 0: one a processor; 1: the calling one alone. Results never depend on it
	Pool     *Pool                // instead of threads of its own
	Memory   uint64               // cap on working memory in bytes; 0: each call's default. ErrLimit: too little
	Progress func(Progress) error // called every few MiB by the calling goroutine; an error stops the call
}

// Progress is how far a call has come, in bytes of input.
type Progress struct {
	Done  uint64
	Total uint64 // 0 where that is not known
}

// A Pool is threads that several objects can share; their work takes turns.
type Pool struct {
	h *handle
	c *C.emr_pool
}

// NewPool starts threads, the caller's own among them; 0: one a processor.
func NewPool(threads int) (*Pool, error) {
	if threads < 0 || threads > 4096 {
		return nil, invalid("a pool has 1 to 4096 threads, not %d", threads)
	}
	options := C.emr_pool_options{size: C.sizeof_emr_pool_options, threads: C.uint32_t(threads)}
	p := &Pool{}
	var e C.emr_error
	if err := failure(C.emr_pool_create(&p.c, &options, &e), &e); err != nil {
		return nil, err
	}
	c := p.c
	p.h = newHandle("pool", func() { C.emr_pool_destroy(&c) })
	return guard(p, p.h), nil
}

// Close ends the threads once nothing uses them any more.
func (p *Pool) Close() error {
	return p.h.close()
}

// resources are C's, for a call or as long as a handle.
type resources struct {
	h        *handle
	c        *C.emr_resources
	ctx      context.Context
	progress func(Progress) error
	cell     unsafe.Pointer
	memory   arena
}

// newResources makes them; nil options are the defaults. They end with close, and with what keeps their handle.
func newResources(o *Resources) (*resources, error) {
	if o == nil {
		o = &Resources{}
	}
	if o.Threads < 0 {
		return nil, invalid("Threads is %d", o.Threads)
	}
	pool := o.Pool
	if pool == nil && o.Threads != 1 {
		own, err := NewPool(o.Threads)
		if err != nil {
			return nil, err
		}
		defer own.Close()
		pool = own
	}
	var threads *handle
	if pool != nil {
		if err := pool.h.use(); err != nil {
			return nil, err
		}
		defer pool.h.done()
		threads = pool.h
	}
	var memory arena
	r := &resources{progress: o.Progress, c: object[C.emr_resources](&memory)}
	user := newCell(r)
	*r.c = C.emr_resources{
		size: C.sizeof_emr_resources, memory_bytes: C.uint64_t(o.Memory), progress: (*[0]byte)(C.emrGoProgress),
		progress_user: user,
	}
	if pool != nil {
		r.c.executor = C.emr_pool_executor(pool.c)
	}
	r.h = newHandle("resources", func() {
		freeCell(user)
		memory.free()
	}, threads)
	return r, nil
}

func (r *resources) close() {
	r.h.done()
}

// during runs a call that the context can stop.
func (r *resources) during(ctx context.Context, call func() error) error {
	if err := canceled(ctx); err != nil {
		return err
	}
	r.ctx = ctx
	defer func() { r.ctx = nil }()
	return call()
}

// withResources runs one call with resources of its own.
func withResources(ctx context.Context, o *Resources, call func(*C.emr_resources) error) error {
	r, err := newResources(o)
	if err != nil {
		return err
	}
	defer r.close()
	return r.during(ctx, func() error { return call(r.c) })
}

// canceled is the error of a context that is done.
func canceled(ctx context.Context) error {
	if ctx == nil || ctx.Err() == nil {
		return nil
	}
	return &Error{Status: ErrCanceled, Sentence: context.Cause(ctx).Error(), cause: causeOf(ctx)}
}

// causeOf is the cause of a context that is done, and its error, where that is another one.
func causeOf(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != ctx.Err() {
		return &canceledBecause{cause, ctx.Err()}
	}
	return ctx.Err()
}

type canceledBecause struct{ cause, err error }

func (c *canceledBecause) Error() string   { return c.cause.Error() }
func (c *canceledBecause) Unwrap() []error { return []error{c.err, c.cause} }

//export emrGoProgress
func emrGoProgress(user unsafe.Pointer, progress *C.emr_progress, e *C.emr_error) C.emr_status {
	r := cell[*resources](user)
	return catch(e, func() error {
		if r.ctx != nil && r.ctx.Err() != nil {
			return causeOf(r.ctx)
		}
		if r.progress == nil {
			return nil
		}
		return r.progress(Progress{Done: uint64(progress.done), Total: uint64(progress.total)})
	})
}

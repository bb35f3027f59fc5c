package emr

// #include "bridge.h"
import "C"

import (
	"io/fs"
	"runtime"
	"sync"
)

// A handle is a C object with the number of those that use it: its Go object until that is closed, every call
// that runs, and every object that was made from it. The last one frees it, and then lets go of what it was made
// from. So a Close out of order, or during a call, only takes effect later.
type handle struct {
	turn    sync.Mutex // held by a call that needs the object to itself
	kind    string
	mu      sync.Mutex // guards all below
	users   int
	closed  bool
	release func()
	parents []*handle
}

// newHandle makes the handle of a new object. Its parents must be in use.
func newHandle(kind string, release func(), parents ...*handle) *handle {
	h := &handle{kind: kind, users: 1, release: release}
	for _, p := range parents {
		h.keep(p)
	}
	return h
}

// keep makes the handle one that uses the parent, which must be in use now. A nil parent is none.
func (h *handle) keep(parent *handle) {
	if parent == nil {
		return
	}
	parent.mu.Lock()
	parent.users++
	parent.mu.Unlock()
	h.mu.Lock()
	h.parents = append(h.parents, parent)
	h.mu.Unlock()
}

// use begins a call, which ends with done. Calls may run at the same time.
func (h *handle) use() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return &Error{Status: ErrState, Sentence: "the " + h.kind + " is closed", cause: fs.ErrClosed}
	}
	h.users++
	return nil
}

// done ends what use began.
func (h *handle) done() {
	h.mu.Lock()
	h.users--
	last := h.users == 0
	h.mu.Unlock()
	if !last {
		return
	}
	h.release()
	for _, p := range h.parents {
		p.done()
	}
}

// own begins a call that needs the object to itself, which ends with disown.
func (h *handle) own() error {
	if err := h.use(); err != nil {
		return err
	}
	h.turn.Lock()
	return nil
}

// disown ends what own began.
func (h *handle) disown() {
	h.turn.Unlock()
	h.done()
}

// useAll begins a call with several objects, of which some may be nil; it ends with what it returns.
func useAll(handles ...*handle) (func(), error) {
	for i, h := range handles {
		if h == nil {
			continue
		}
		if err := h.use(); err != nil {
			doneAll(handles[:i])
			return nil, err
		}
	}
	return func() { doneAll(handles) }, nil
}

func doneAll(handles []*handle) {
	for _, h := range handles {
		if h != nil {
			h.done()
		}
	}
}

// adopt runs a call that needs the object to itself and hands it another one, or nil, which it then keeps alive.
func (h *handle) adopt(object *handle, call func(*C.emr_error) C.emr_status) error {
	if err := h.own(); err != nil {
		return err
	}
	defer h.disown()
	if object != nil {
		if err := object.use(); err != nil {
			return err
		}
		defer object.done()
	}
	var e C.emr_error
	if err := failure(call(&e), &e); err != nil {
		return err
	}
	h.keep(object)
	return nil
}

// close ends the use of the Go object. Only the first call does anything.
func (h *handle) close() error {
	h.mu.Lock()
	first := !h.closed
	h.closed = true
	h.mu.Unlock()
	if first {
		h.done()
	}
	return nil
}

// guard closes the handle of an object that was forgotten.
func guard[T any](object *T, h *handle) *T {
	runtime.AddCleanup(object, func(h *handle) { _ = h.close() }, h)
	return object
}

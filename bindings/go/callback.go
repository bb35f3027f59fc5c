package emr

// #include "bridge.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"runtime/cgo"
	"runtime/debug"
	"sync"
	"unsafe"
)

// A CallbackPanic is what a call panics with when a function that it called back has panicked: the panic does not
// cross C, where it would leave locks held and memory lost.
type CallbackPanic struct {
	Value any    // what the function panicked with
	Stack []byte // where
}

// Error has the value and the stack.
func (p *CallbackPanic) Error() string {
	return fmt.Sprintf("panic in a callback: %v\n\n%s", p.Value, p.Stack)
}

// Unwrap is the value, if that is an error.
func (p *CallbackPanic) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}

// A callbackErrors keeps the errors of callbacks while C unwinds: emr_error.system, where C carries the system's
// error numbers, has a negative number instead. Of errors that C gets over, nobody asks; old ones are forgotten.
type callbackErrors struct {
	mu     sync.Mutex
	count  int32
	latest [256]struct {
		number int32
		err    error
	}
}

var raised callbackErrors

func (c *callbackErrors) add(err error) int32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count = (c.count + 1) & 0x7fffffff
	number := -1 - c.count
	slot := &c.latest[int(c.count)%len(c.latest)]
	slot.number, slot.err = number, err
	return number
}

func (c *callbackErrors) find(number int32) error {
	if number >= 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	slot := &c.latest[int(-1-number)%len(c.latest)]
	if slot.number != number {
		return nil
	}
	return slot.err
}

// statusOf is what C is told of a callback's error.
func statusOf(err error) Status {
	var status Status
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return ErrCanceled
	case errors.As(err, &status) && status < 0: // to C others are no failures
		return status
	}
	return ErrIO
}

// catch runs a callback for C: neither its error nor its panic is lost, and no panic goes on into C.
func catch(e *C.emr_error, fn func() error) (status C.emr_status) {
	defer func() {
		if v := recover(); v != nil {
			status = report(e, ErrIO, &CallbackPanic{Value: v, Stack: debug.Stack()})
		}
	}()
	if err := fn(); err != nil {
		return report(e, statusOf(err), err)
	}
	return C.EMR_OK
}

// A bystander runs callbacks that cannot fail in C's eyes. The first panic waits for rethrow, and is the last.
type bystander struct {
	mu    sync.Mutex
	panic *CallbackPanic
}

func (b *bystander) run(fn func()) {
	if b.caught() != nil {
		return
	}
	defer func() {
		if v := recover(); v != nil {
			b.mu.Lock()
			if b.panic == nil {
				b.panic = &CallbackPanic{Value: v, Stack: debug.Stack()}
			}
			b.mu.Unlock()
		}
	}()
	fn()
}

// caught is what waits for rethrow.
func (b *bystander) caught() *CallbackPanic {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.panic
}

func (b *bystander) rethrow() {
	if p := b.caught(); p != nil {
		panic(p)
	}
}

// newCell is C memory with a reference to a Go value: what C hands back to a callback as `user`.
func newCell(v any) unsafe.Pointer {
	p := C.malloc(C.size_t(unsafe.Sizeof(cgo.Handle(0))))
	if p == nil {
		panic("emr: out of memory")
	}
	*(*cgo.Handle)(p) = cgo.NewHandle(v)
	return p
}

func freeCell(p unsafe.Pointer) {
	(*(*cgo.Handle)(p)).Delete()
	C.free(p)
}

// cell is the value in a cell.
func cell[T any](p unsafe.Pointer) T {
	return (*(*cgo.Handle)(p)).Value().(T)
}

package emr

// #include "bridge.h"
import "C"

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"unsafe"
)

// A Status says what kind of failure an [Error] is. It is an error itself, so that errors.Is(err, emr.ErrNotFound)
// holds.
type Status int32

// The kinds of failures.
const (
	ErrInvalid     Status = C.EMR_EINVAL       // invalid argument or option
	ErrNoMemory    Status = C.EMR_ENOMEM       // out of memory
	ErrIO          Status = C.EMR_EIO          // input or output failed
	ErrFormat      Status = C.EMR_EFORMAT      // malformed file
	ErrCorrupt     Status = C.EMR_ECORRUPT     // damaged data: a checksum differs
	ErrVersion     Status = C.EMR_EVERSION     // made by a newer version of libemr
	ErrMismatch    Status = C.EMR_EMISMATCH    // inputs do not fit together
	ErrNonFinite   Status = C.EMR_ENONFINITE   // NaN or infinity in a merged tensor
	ErrNotFound    Status = C.EMR_ENOTFOUND    // no such tensor, task or entry
	ErrCanceled    Status = C.EMR_ECANCELED    // canceled by a context or the progress function
	ErrState       Status = C.EMR_ESTATE       // call out of order, or on what is closed
	ErrUnsupported Status = C.EMR_EUNSUPPORTED // not supported in this build or for this input
	ErrLimit       Status = C.EMR_ELIMIT       // a limit is too small for this work
	ErrExists      Status = C.EMR_EEXIST       // already exists
)

// Error is the status's text: "out of memory".
func (s Status) Error() string {
	return C.GoString(C.emr_status_text(C.emr_status(s)))
}

// Name is the status's name in C: "EMR_ENOMEM".
func (s Status) Name() string {
	return C.GoString(C.emr_status_name(C.emr_status(s)))
}

// Is says that ErrExists is [fs.ErrExist].
func (s Status) Is(target error) bool {
	return s == ErrExists && target == fs.ErrExist
}

// An Error is why a call failed: the C library's sentence, and the names in it.
type Error struct {
	Status   Status
	Sentence string
	File     string        // the file or model that the sentence names, or ""
	Task     string        // the task, or ""
	Tensor   string        // the tensor, or ""
	System   syscall.Errno // 0: not the system's fault
	cause    error
}

// Error is the sentence.
func (e *Error) Error() string {
	return e.Sentence
}

// Unwrap gives the status, and what caused the failure: the very error that a callback returned, or the system's.
func (e *Error) Unwrap() []error {
	switch {
	case e.cause != nil:
		return []error{e.Status, e.cause}
	case e.System != 0:
		return []error{e.Status, e.System}
	}
	return []error{e.Status}
}

// invalid is an error for arguments that cannot be handed to C.
func invalid(format string, arguments ...any) *Error {
	return &Error{Status: ErrInvalid, Sentence: fmt.Sprintf(format, arguments...)}
}

// failure makes an error of a call's status; a panic in a callback goes on here.
func failure(status C.emr_status, e *C.emr_error) error {
	if status == C.EMR_OK {
		return nil
	}
	text := C.GoString(&e.text[0])
	err := &Error{
		Status: Status(status), Sentence: text,
		File: named(text, e.file), Task: named(text, e.task), Tensor: named(text, e.tensor),
	}
	if text == "" {
		err.Sentence = err.Status.Error()
	}
	err.cause = raised.find(int32(e.system))
	if p, ok := err.cause.(*CallbackPanic); ok {
		panic(p)
	}
	if e.system > 0 {
		err.System = syscall.Errno(e.system)
	} else {
		errors.As(err.cause, &err.System)
	}
	return err
}

// outcome is failure for a call that writes no sentence.
func outcome(status C.emr_status) error {
	if status == C.EMR_OK {
		return nil
	}
	return &Error{Status: Status(status), Sentence: Status(status).Error()}
}

func named(text string, span C.emr_error_span) string {
	return text[span.offset : span.offset+span.length]
}

// report tells C of a callback's error, and which it was.
func report(e *C.emr_error, status Status, err error) C.emr_status {
	words := err.Error()
	if words == "" { // C takes no cause without words
		words = fmt.Sprintf("%T", err)
	}
	text := C.CString(words)
	defer C.free(unsafe.Pointer(text))
	return C.emr_error_set(e, C.emr_status(status), C.int32_t(raised.add(err)), nil, text)
}

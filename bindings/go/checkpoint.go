package emr

// #include "bridge.h"
import "C"

import (
	"context"
	"io"
	"unsafe"
)

const (
	// GGUFHeader is the tensor that a model from a GGUF file has besides the file's own: the file's header.
	GGUFHeader = C.EMR_GGUF_HEADER
	// FilePrefix is that of tensors which are the files beside the weights ("file:config.json").
	FilePrefix = C.EMR_FILE_PREFIX
)

// OpenOptions may be nil. The zero value is the default.
type OpenOptions struct {
	Map        bool // read through mappings; a file that shrinks meanwhile then kills the process
	Dequantise bool // quantised tensors are F32, computed as they are read, and can be merged
	SideFiles  bool // the files beside the weights are tensors too (FilePrefix)
}

func (o *OpenOptions) c() *C.emr_checkpoint_read_options {
	options := &C.emr_checkpoint_read_options{size: C.sizeof_emr_checkpoint_read_options}
	if o != nil {
		options._map, options.dequantise, options.side_files = flag(o.Map), flag(o.Dequantise), flag(o.SideFiles)
	}
	return options
}

// OpenModel opens a checkpoint: a safetensors file or index, a GGUF file, or a folder with a model or an adapter.
func OpenModel(path string, o *OpenOptions) (*Model, error) {
	var a arena
	defer a.free()
	p := a.text(path)
	if a.err != nil {
		return nil, a.err
	}
	var c *C.emr_model
	var e C.emr_error
	if err := failure(C.emr_checkpoint_open(&c, p, o.c(), &e), &e); err != nil {
		return nil, err
	}
	return newModel(c), nil
}

// NewSafetensors opens a safetensors file of so many bytes behind a reader, which is read until the model and what
// uses it are closed, by several goroutines at a time. The name is what messages call it.
func NewSafetensors(r io.ReaderAt, size int64, name string, o *OpenOptions) (*Model, error) {
	return openFrom(r, size, name, func(c **C.emr_model, table *C.emr_io, name *C.char, e *C.emr_error) C.emr_status {
		return C.emr_safetensors_open(c, table, name, o.c(), e)
	})
}

// NewGGUF does the same of a GGUF file.
func NewGGUF(r io.ReaderAt, size int64, name string, o *OpenOptions) (*Model, error) {
	return openFrom(r, size, name, func(c **C.emr_model, table *C.emr_io, name *C.char, e *C.emr_error) C.emr_status {
		return C.emr_gguf_open(c, table, name, o.c(), e)
	})
}

func openFrom(r io.ReaderAt, size int64, name string,
	open func(**C.emr_model, *C.emr_io, *C.char, *C.emr_error) C.emr_status) (*Model, error) {
	var a arena
	defer a.free()
	p := a.text(name)
	if a.err != nil {
		return nil, a.err
	}
	table, h, err := readFrom(r, size)
	if err != nil {
		return nil, err
	}
	defer h.done()
	var c *C.emr_model
	var e C.emr_error
	if err := failure(open(&c, table, p, &e), &e); err != nil {
		return nil, err
	}
	return newModel(c, h), nil
}

// WriteOptions may be nil. The zero value is the default.
type WriteOptions struct {
	Resources         // Memory 0: 64 MiB
	ShardBytes uint64 // start a new file before a file's data grows past this; 0: one file
	Replace    bool   // replace files that exist
	DType      DType  // in a folder: the weights' type that config.json is to name where it names one
	Written    func(path string)
}

// write runs one of the calls that write.
func (m *Model) write(ctx context.Context, o *WriteOptions,
	call func(*C.emr_checkpoint_write_options, *C.emr_error) C.emr_status) error {
	if o == nil {
		o = &WriteOptions{}
	}
	if err := m.h.use(); err != nil {
		return err
	}
	defer m.h.done()
	var a arena
	defer a.free()
	options := object[C.emr_checkpoint_write_options](&a)
	*options = C.emr_checkpoint_write_options{
		size: C.sizeof_emr_checkpoint_write_options, shard_bytes: C.uint64_t(o.ShardBytes), replace: flag(o.Replace),
		dtype: C.emr_dtype(o.DType),
	}
	listener := &listener{written: o.Written}
	if o.Written != nil {
		options.user = newCell(listener)
		defer freeCell(options.user)
		options.written = (*[0]byte)(C.emrGoWritten)
	}
	err := withResources(ctx, &o.Resources, func(r *C.emr_resources) error {
		options.resources = r
		var e C.emr_error
		return failure(call(options, &e), &e)
	})
	listener.rethrow()
	return err
}

type listener struct {
	bystander
	written func(path string)
}

//export emrGoWritten
func emrGoWritten(user unsafe.Pointer, path *C.char) {
	l := cell[*listener](user)
	l.run(func() { l.written(C.GoString(path)) })
}

// Write writes any model: as safetensors, as GGUF where the path ends in .gguf, or into a folder. Each file appears
// whole or not at all.
func (m *Model) Write(ctx context.Context, path string, o *WriteOptions) error {
	var a arena
	defer a.free()
	p := a.text(path)
	if a.err != nil {
		return a.err
	}
	return m.write(ctx, o, func(options *C.emr_checkpoint_write_options, e *C.emr_error) C.emr_status {
		return C.emr_checkpoint_write(m.c, p, options, e)
	})
}

// WriteSafetensors writes one safetensors file front to back.
func (m *Model) WriteSafetensors(ctx context.Context, w io.Writer, o *WriteOptions) error {
	table, h, err := writeTo(w)
	if err != nil {
		return err
	}
	defer h.done()
	return m.write(ctx, o, func(options *C.emr_checkpoint_write_options, e *C.emr_error) C.emr_status {
		return C.emr_safetensors_write(m.c, table, options, e)
	})
}

// WriteGGUF writes one GGUF file front to back, of a model that has GGUFHeader.
func (m *Model) WriteGGUF(ctx context.Context, w io.Writer, o *WriteOptions) error {
	table, h, err := writeTo(w)
	if err != nil {
		return err
	}
	defer h.done()
	return m.write(ctx, o, func(options *C.emr_checkpoint_write_options, e *C.emr_error) C.emr_status {
		return C.emr_gguf_write(m.c, table, options, e)
	})
}

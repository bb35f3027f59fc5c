package emr

// #include "bridge.h"
import "C"

import (
	"io"
	"sync"
	"unsafe"
)

// Storage is what can be read, written anywhere and made durable: what a journal is kept in, and the output of a
// merge with a journal. A [File] from [ResumeFile] is one.
type Storage interface {
	io.ReaderAt
	io.WriterAt
	Size() (int64, error)
	Sync() error
}

// A channel is the host's I/O as C sees it. What is nil is absent.
type channel struct {
	read   func(p []byte, offset int64) error
	write  func(p []byte, offset int64) error
	length func() (int64, error)
	sync   func() error
}

// native is what has a table of C's own.
type native interface {
	table() *C.emr_io
	owner() *handle
	Size() (int64, error)
}

// readFrom is a reader of so many bytes for C. The handle is in use.
func readFrom(r io.ReaderAt, size int64) (*C.emr_io, *handle, error) {
	if n, ok := r.(native); ok {
		if whole, err := n.Size(); err != nil || whole == size {
			return tableOf(n)
		}
	}
	if size < 0 {
		return nil, nil, invalid("a size of %d bytes", size)
	}
	table, h := newChannel(&channel{
		read:   func(p []byte, offset int64) error { return readFull(r, p, offset) },
		length: func() (int64, error) { return size, nil },
	})
	return table, h, nil
}

// writeTo is a writer for C, likewise.
func writeTo(w io.Writer) (*C.emr_io, *handle, error) {
	if n, ok := w.(native); ok {
		return tableOf(n)
	}
	if s, ok := w.(Storage); ok {
		return storeIn(s)
	}
	at := int64(0)
	c := &channel{write: func(p []byte, offset int64) error {
		if offset != at {
			return invalid("byte %d is to be written after byte %d", offset, at)
		}
		n, err := w.Write(p)
		at += int64(n)
		if err == nil && n < len(p) {
			err = io.ErrShortWrite
		}
		return err
	}}
	if s, ok := w.(interface{ Sync() error }); ok {
		c.sync = s.Sync
	}
	table, h := newChannel(c)
	return table, h, nil
}

// storeIn is a storage for C, likewise.
func storeIn(s Storage) (*C.emr_io, *handle, error) {
	if n, ok := s.(native); ok {
		return tableOf(n)
	}
	table, h := newChannel(&channel{
		read: func(p []byte, offset int64) error { return readFull(s, p, offset) },
		write: func(p []byte, offset int64) error {
			n, err := s.WriteAt(p, offset)
			if err == nil && n < len(p) {
				err = io.ErrShortWrite
			}
			return err
		},
		length: s.Size,
		sync:   s.Sync,
	})
	return table, h, nil
}

func tableOf(n native) (*C.emr_io, *handle, error) {
	if err := n.owner().use(); err != nil {
		return nil, nil, err
	}
	return n.table(), n.owner(), nil
}

func newChannel(c *channel) (*C.emr_io, *handle) {
	var memory arena
	table := object[C.emr_io](&memory)
	table.size = C.sizeof_emr_io
	table.user = newCell(c)
	if c.read != nil {
		table.read = (*[0]byte)(C.emrGoRead)
	}
	if c.write != nil {
		table.write = (*[0]byte)(C.emrGoWrite)
	}
	if c.length != nil {
		table.length = (*[0]byte)(C.emrGoLength)
	}
	if c.sync != nil {
		table.sync = (*[0]byte)(C.emrGoSync)
	}
	return table, newHandle("channel", func() {
		freeCell(table.user)
		memory.free()
	})
}

func readFull(r io.ReaderAt, p []byte, offset int64) error {
	n, err := r.ReadAt(p, offset)
	switch {
	case n == len(p):
		return nil
	case err == io.EOF || err == nil:
		return io.ErrUnexpectedEOF
	}
	return err
}

//export emrGoRead
func emrGoRead(user unsafe.Pointer, offset C.uint64_t, destination unsafe.Pointer, n C.size_t,
	e *C.emr_error) C.emr_status {
	return catch(e, func() error {
		return cell[*channel](user).read(unsafe.Slice((*byte)(destination), n), int64(offset))
	})
}

//export emrGoWrite
func emrGoWrite(user unsafe.Pointer, offset C.uint64_t, source unsafe.Pointer, n C.size_t,
	e *C.emr_error) C.emr_status {
	return catch(e, func() error {
		return cell[*channel](user).write(unsafe.Slice((*byte)(source), n), int64(offset))
	})
}

//export emrGoLength
func emrGoLength(user unsafe.Pointer, bytes *C.uint64_t, e *C.emr_error) C.emr_status {
	return catch(e, func() error {
		n, err := cell[*channel](user).length()
		if err == nil && n < 0 {
			err = invalid("a size of %d bytes", n)
		}
		*bytes = C.uint64_t(max(n, 0))
		return err
	})
}

//export emrGoSync
func emrGoSync(user unsafe.Pointer, e *C.emr_error) C.emr_status {
	return catch(e, func() error { return cell[*channel](user).sync() })
}

// readTable reads through a table of C's own.
func readTable(table *C.emr_io, p []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, invalid("byte %d", offset)
	}
	size, err := lengthOf(table)
	if err != nil {
		return 0, err
	}
	n := int64(len(p))
	if offset >= size {
		n = 0
	} else if n > size-offset {
		n = size - offset
	}
	if n > 0 {
		var e C.emr_error
		status := C.emr_go_read(table, C.uint64_t(offset), unsafe.Pointer(&p[0]), C.size_t(n), &e)
		if err := failure(status, &e); err != nil {
			return 0, err
		}
	}
	if n < int64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

func writeTable(table *C.emr_io, p []byte, offset int64) (int, error) {
	if table.write == nil {
		return 0, &Error{Status: ErrState, Sentence: "a buffer of the program's own bytes cannot be written"}
	}
	if offset < 0 {
		return 0, invalid("byte %d", offset)
	}
	if len(p) == 0 {
		return 0, nil
	}
	var e C.emr_error
	status := C.emr_go_write(table, C.uint64_t(offset), unsafe.Pointer(&p[0]), C.size_t(len(p)), &e)
	if err := failure(status, &e); err != nil {
		return 0, err
	}
	return len(p), nil
}

func lengthOf(table *C.emr_io) (int64, error) {
	var e C.emr_error
	var n C.uint64_t
	err := failure(C.emr_go_length(table, &n, &e), &e)
	return int64(n), err
}

// A File is the library's own: handed to its calls it is read and written without coming back to Go, and what is
// written appears under its name only when it is committed.
type File struct {
	h       *handle
	c       *C.emr_file
	writing sync.Mutex
	written int64
}

// FileOptions may be nil. The zero value is the default.
type FileOptions struct {
	Map     bool // opening: read through a mapping; a file that shrinks meanwhile then kills the process
	Replace bool // creating and resuming: replace a file that exists
}

type fileOpener func(file **C.emr_file, path *C.char, options *C.emr_file_options, e *C.emr_error) C.emr_status

func newFile(path string, o *FileOptions, open fileOpener) (*File, error) {
	var a arena
	defer a.free()
	options := C.emr_file_options{size: C.sizeof_emr_file_options}
	if o != nil {
		options._map, options.replace = flag(o.Map), flag(o.Replace)
	}
	name := a.text(path)
	if a.err != nil {
		return nil, a.err
	}
	f := &File{}
	var e C.emr_error
	if err := failure(open(&f.c, name, &options, &e), &e); err != nil {
		return nil, err
	}
	c := f.c
	f.h = newHandle("file", func() { C.emr_file_close(&c) })
	return guard(f, f.h), nil
}

// OpenFile opens a file for reading.
func OpenFile(path string, o *FileOptions) (*File, error) {
	return newFile(path, o, func(f **C.emr_file, p *C.char, o *C.emr_file_options, e *C.emr_error) C.emr_status {
		return C.emr_file_open(f, p, o, e)
	})
}

// CreateFile makes a file, which appears under its path when it is committed.
func CreateFile(path string, o *FileOptions) (*File, error) {
	return newFile(path, o, func(f **C.emr_file, p *C.char, o *C.emr_file_options, e *C.emr_error) C.emr_status {
		return C.emr_file_create(f, p, o, e)
	})
}

// ResumeFile makes a file or goes on with one that was not committed: until then it is the path with ".partial".
func ResumeFile(path string, o *FileOptions) (*File, error) {
	return newFile(path, o, func(f **C.emr_file, p *C.char, o *C.emr_file_options, e *C.emr_error) C.emr_status {
		return C.emr_file_resume(f, p, o, e)
	})
}

func (f *File) table() *C.emr_io { return C.emr_file_io(f.c) }
func (f *File) owner() *handle   { return f.h }

// ReadAt implements [io.ReaderAt].
func (f *File) ReadAt(p []byte, offset int64) (int, error) {
	if err := f.h.use(); err != nil {
		return 0, err
	}
	defer f.h.done()
	return readTable(f.table(), p, offset)
}

// WriteAt implements [io.WriterAt].
func (f *File) WriteAt(p []byte, offset int64) (int, error) {
	if err := f.h.use(); err != nil {
		return 0, err
	}
	defer f.h.done()
	f.writing.Lock()
	defer f.writing.Unlock()
	return f.write(p, offset)
}

// write writes while nobody else does.
func (f *File) write(p []byte, offset int64) (int, error) {
	n, err := writeTable(f.table(), p, offset)
	if n > 0 {
		f.written = offset + int64(n)
	}
	return n, err
}

// Write implements [io.Writer]: it writes behind what was written last.
func (f *File) Write(p []byte) (int, error) {
	if err := f.h.use(); err != nil {
		return 0, err
	}
	defer f.h.done()
	f.writing.Lock()
	defer f.writing.Unlock()
	return f.write(p, f.written)
}

// Size is how long the file is.
func (f *File) Size() (int64, error) {
	if err := f.h.use(); err != nil {
		return 0, err
	}
	defer f.h.done()
	return lengthOf(f.table())
}

// Sync makes what was written durable.
func (f *File) Sync() error {
	if err := f.h.use(); err != nil {
		return err
	}
	defer f.h.done()
	var e C.emr_error
	return failure(C.emr_go_sync(f.table(), &e), &e)
}

// Commit makes what was written durable and puts it in the place of the path in one step.
func (f *File) Commit() error {
	if err := f.h.own(); err != nil {
		return err
	}
	defer f.h.disown()
	f.writing.Lock()
	defer f.writing.Unlock()
	var e C.emr_error
	return failure(C.emr_file_commit(f.c, &e), &e)
}

// Close closes the file. A created file that was not committed vanishes, a resumed one stays.
func (f *File) Close() error {
	return f.h.close()
}

// Discard closes the file; a resumed one vanishes too.
func (f *File) Discard() error {
	if err := f.h.use(); err != nil {
		return err
	}
	defer f.h.done()
	c := f.c
	f.h.mu.Lock()
	f.h.release = func() { C.emr_file_discard(&c) }
	f.h.mu.Unlock()
	return f.h.close()
}

// A Buffer is bytes in the library's memory, which grows as it is written, or in the program's own. Handed to the
// library's calls it is read and written without coming back to Go; while one of them writes to it, it must not be used
// otherwise.
type Buffer struct {
	h     *handle
	c     *C.emr_buffer
	bytes sync.RWMutex // which move when they become more
}

// NewBuffer makes an empty buffer that grows as it is written.
func NewBuffer() (*Buffer, error) {
	b := &Buffer{}
	var e C.emr_error
	if err := failure(C.emr_buffer_create(&b.c, nil, &e), &e); err != nil {
		return nil, err
	}
	c := b.c
	b.h = newHandle("buffer", func() { C.emr_buffer_destroy(&c) })
	return guard(b, b.h), nil
}

// OpenBuffer makes a buffer of the program's own bytes, which can be read, not written. They are not copied, and
// must not change until the buffer and what was opened from it are closed.
func OpenBuffer(data []byte) (*Buffer, error) {
	b := &Buffer{}
	memory := &arena{}
	var e C.emr_error
	status := C.emr_buffer_open(&b.c, unsafe.Pointer(pinned(memory, data)), C.size_t(len(data)), nil, &e)
	if err := failure(status, &e); err != nil {
		memory.free()
		return nil, err
	}
	c := b.c
	b.h = newHandle("buffer", func() {
		C.emr_buffer_destroy(&c)
		memory.free()
	})
	return guard(b, b.h), nil
}

func (b *Buffer) table() *C.emr_io { return C.emr_buffer_io(b.c) }
func (b *Buffer) owner() *handle   { return b.h }

// ReadAt implements [io.ReaderAt].
func (b *Buffer) ReadAt(p []byte, offset int64) (int, error) {
	if err := b.h.use(); err != nil {
		return 0, err
	}
	defer b.h.done()
	b.bytes.RLock()
	defer b.bytes.RUnlock()
	return readTable(b.table(), p, offset)
}

// Write implements [io.Writer]: it appends.
func (b *Buffer) Write(p []byte) (int, error) {
	if err := b.h.use(); err != nil {
		return 0, err
	}
	defer b.h.done()
	b.bytes.Lock()
	defer b.bytes.Unlock()
	return writeTable(b.table(), p, int64(C.emr_buffer_bytes(b.c)))
}

// Size is how many bytes it holds.
func (b *Buffer) Size() (int64, error) {
	if err := b.h.use(); err != nil {
		return 0, err
	}
	defer b.h.done()
	b.bytes.RLock()
	defer b.bytes.RUnlock()
	return int64(C.emr_buffer_bytes(b.c)), nil
}

// WriteTo implements [io.WriterTo]: it writes what it holds. Nothing may be written to the buffer meanwhile.
func (b *Buffer) WriteTo(w io.Writer) (int64, error) {
	if err := b.h.use(); err != nil {
		return 0, err
	}
	defer b.h.done()
	b.bytes.RLock()
	defer b.bytes.RUnlock()
	n, err := w.Write(b.view())
	return int64(n), err
}

// Bytes is a copy of what it holds.
func (b *Buffer) Bytes() ([]byte, error) {
	if err := b.h.use(); err != nil {
		return nil, err
	}
	defer b.h.done()
	b.bytes.RLock()
	defer b.bytes.RUnlock()
	return append([]byte{}, b.view()...), nil
}

func (b *Buffer) view() []byte {
	return unsafe.Slice((*byte)(C.emr_buffer_data(b.c)), C.emr_buffer_bytes(b.c))
}

// Close gives the memory back once nothing uses it any more.
func (b *Buffer) Close() error {
	return b.h.close()
}

func flag(yes bool) C.uint32_t {
	if yes {
		return 1
	}
	return 0
}

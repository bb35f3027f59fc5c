package emr

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"
)

func TestFiles(t *testing.T) {
	directory := t.TempDir()
	path := filepath.Join(directory, "f")
	f := must(CreateFile(path, nil))(t)
	must(io.WriteString(f, "12345"))(t)
	must(io.WriteString(f, "67"))(t)
	check(t, f.Sync())
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error("it is there before it is committed:", err)
	}
	check(t, f.Commit())
	check(t, f.Close())
	if _, err := CreateFile(path, nil); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	r := must(OpenFile(path, &FileOptions{Map: true}))(t)
	defer r.Close()
	size := must(r.Size())(t)
	check(t, iotest.TestReader(io.NewSectionReader(r, 0, size), []byte("1234567")))
	if _, err := r.Write([]byte("x")); !errors.Is(err, ErrIO) {
		t.Error(err)
	}
	check(t, r.Sync())
	gone := must(CreateFile(path, &FileOptions{Replace: true}))(t)
	must(gone.WriteAt([]byte("never"), 0))(t)
	check(t, gone.Close())
	if text := must(os.ReadFile(path))(t); string(text) != "1234567" {
		t.Errorf("%q", text)
	}
	partial := must(ResumeFile(filepath.Join(directory, "g"), nil))(t)
	must(partial.Write([]byte("abc")))(t)
	check(t, partial.Close())
	partial = must(ResumeFile(filepath.Join(directory, "g"), nil))(t)
	if got := must(io.ReadAll(io.NewSectionReader(partial, 0, 3)))(t); string(got) != "abc" {
		t.Errorf("%q", got)
	}
	check(t, partial.Discard())
	if entries := must(os.ReadDir(directory))(t); len(entries) != 1 {
		t.Error(entries)
	}
	if _, err := OpenFile(filepath.Join(directory, "h"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := OpenFile("a\x00b", nil); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}

func TestBuffers(t *testing.T) {
	b := must(NewBuffer())(t)
	defer b.Close()
	must(io.WriteString(b, "12345"))(t)
	must(io.WriteString(b, "67"))(t)
	var out bytes.Buffer
	if n := must(b.WriteTo(&out))(t); n != 7 || out.String() != "1234567" || string(must(b.Bytes())(t)) != "1234567" {
		t.Error(n, out.String())
	}
	check(t, iotest.TestReader(io.NewSectionReader(b, 0, must(b.Size())(t)), []byte("1234567")))
	own := must(OpenBuffer([]byte("abc")))(t)
	defer own.Close()
	if _, err := own.Write([]byte("d")); err == nil {
		t.Error("the program's own bytes were written to")
	}
	empty := must(OpenBuffer(nil))(t)
	defer empty.Close()
	if n, err := empty.ReadAt(make([]byte, 1), 0); n != 0 || err != io.EOF {
		t.Error(n, err)
	}
}

func TestTensorsAreReaders(t *testing.T) {
	m := modelOf(t, floatsOf{"w", []uint64{2, 2}, []float32{1, 2, 3, 4}}, floatsOf{"none", []uint64{0, 2}, nil})
	w := must(m.Tensor("w"))(t)
	check(t, iotest.TestReader(io.NewSectionReader(w, 0, w.Size()), Bytes([]float32{1, 2, 3, 4})))
	if none := must(must(m.Tensor("none"))(t).Floats())(t); len(none) != 0 {
		t.Error(none)
	}
	if _, err := w.ReadAt(nil, -1); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	refused(t, w.ReadFloats(make([]float32, 3), 2), ErrInvalid)
	copied := must(Zeros(m))(t)
	defer copied.Close()
	z := must(copied.Tensor("w"))(t)
	if !z.SameShape(w) || must(z.Floats())(t)[3] != 0 || z.DType() != F32 || z.Name() != "w" {
		t.Error(z)
	}
}

// A tensor's bytes come out of a reader from some offset on, and the model keeps the reader.
func TestTensorsOfReaders(t *testing.T) {
	file := append([]byte("header"), Bytes([]float32{5, 6})...)
	m := must(NewModel(""))(t)
	defer m.Close()
	check(t, m.Add(TensorSpec{Name: "w", DType: F32, Shape: []uint64{2}, Reader: bytes.NewReader(file), Offset: 6}))
	if got := must(must(m.Tensor("w"))(t).Floats())(t); got[1] != 6 {
		t.Error(got)
	}
	mine := errors.New("gone")
	check(t, m.Add(TensorSpec{Name: "v", DType: F32, Shape: []uint64{2}, Reader: failing{mine}}))
	e := refused(t, must(m.Tensor("v"))(t).ReadFloats(make([]float32, 2), 0), mine)
	if e.Tensor != "v" || e.File != "model" {
		t.Errorf("%#v", e)
	}
	quantised := make([]byte, Q8_0.Bytes())
	check(t, Quantise(Q8_0, quantised, drawn(3, BlockValues)))
	check(t, m.Add(TensorSpec{Name: "q", Blocks: Q8_0, Shape: []uint64{1, BlockValues}, Data: quantised}))
	want := make([]float32, BlockValues)
	check(t, Dequantise(Q8_0, want, quantised))
	sameFloats(t, "q", must(must(m.Tensor("q"))(t).Floats())(t), want)
	refused(t, Quantise(Q8_0, quantised, want[1:]), ErrInvalid)
	refused(t, m.Add(TensorSpec{Name: "w", DType: F32, Shape: []uint64{0}, Data: []byte{}}), ErrExists)
	refused(t, m.Add(TensorSpec{Name: "x", DType: F32, Shape: []uint64{2}, Data: make([]byte, 7)}), ErrInvalid)
	refused(t, m.Add(TensorSpec{Name: "x", DType: 99, Shape: []uint64{2}, Data: make([]byte, 8)}), ErrInvalid)
	refused(t, m.Add(TensorSpec{
		Name: "x", DType: F32, Shape: []uint64{1 << 40, 1 << 40}, Data: make([]byte, 8)}), ErrInvalid)
}

func TestDTypes(t *testing.T) {
	for d := DType(0); d < 50; d++ {
		if d.Bits() == 0 {
			continue
		}
		if parsed, err := ParseDType(d.String()); err != nil || parsed != d {
			t.Error(d, parsed, err)
		}
	}
	if _, err := ParseDType("bf16"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	half, back := make([]uint16, 2), make([]float32, 2)
	check(t, Convert(BF16, Bytes(half), F32, Bytes([]float32{1, -3})))
	check(t, Convert(F32, Bytes(back), BF16, Bytes(half)))
	if half[0] != 0x3f80 || back[1] != -3 {
		t.Error(half, back)
	}
	refused(t, Convert(I8, nil, F32, nil), ErrInvalid)
	refused(t, Convert(F32, make([]byte, 8), BF16, make([]byte, 2)), ErrInvalid)
}

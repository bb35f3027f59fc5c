package emr

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"testing"
)

func smallModel(t testing.TB, values ...float32) *Model {
	t.Helper()
	m, err := NewModel("small")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	if err := m.Add(TensorSpec{Name: "w", DType: F32, Shape: []uint64{uint64(len(values))}, Data: Bytes(values)}); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestModelThroughAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.safetensors")
	m := smallModel(t, 1, 2, 3)
	ctx := context.Background()
	if err := m.Write(ctx, path, nil); err != nil {
		t.Fatal(err)
	}
	if err := m.Write(ctx, path, nil); !errors.Is(err, fs.ErrExist) || !errors.Is(err, ErrExists) {
		t.Fatal(err)
	}
	back, err := OpenModel(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	w, err := back.Tensor("w")
	if err != nil {
		t.Fatal(err)
	}
	values, err := w.Floats()
	if err != nil || len(values) != 3 || values[2] != 3 {
		t.Fatal(values, err)
	}
}

type failing struct{ err error }

func (f failing) ReadAt(p []byte, offset int64) (int, error) {
	if f.err == nil {
		panic("as it was")
	}
	return 0, f.err
}

func TestErrorOfAReaderComesBack(t *testing.T) {
	mine := errors.New("the line was cut")
	_, err := NewSafetensors(failing{mine}, 100, "remote", nil)
	var e *Error
	if !errors.Is(err, mine) || !errors.Is(err, ErrIO) || !errors.As(err, &e) || e.File != "remote" {
		t.Fatalf("%#v", err)
	}
	defer func() {
		p, ok := recover().(*CallbackPanic)
		if !ok || p.Value != "as it was" {
			t.Fatal(p)
		}
	}()
	_, _ = NewSafetensors(failing{nil}, 100, "remote", nil)
}

func TestReaderAndWriter(t *testing.T) {
	var out bytes.Buffer
	if err := smallModel(t, 1, 2, 3).WriteSafetensors(context.Background(), &out, nil); err != nil {
		t.Fatal(err)
	}
	m, err := NewSafetensors(bytes.NewReader(out.Bytes()), int64(out.Len()), "memory", nil)
	if err != nil {
		t.Fatal(err)
	}
	w := m.Tensors()[0]
	m.Close()
	if _, err := w.ReadAt(make([]byte, 4), 0); !errors.Is(err, fs.ErrClosed) {
		t.Fatal(err)
	}
	_ = io.EOF
}

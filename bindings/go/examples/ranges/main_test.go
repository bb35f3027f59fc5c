package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	emr "libemr/bindings/go"
)

const elements = 1 << 20

// A storage serves the files of a folder, and counts what it sends.
type storage struct {
	*httptest.Server
	folder string
	sent   atomic.Int64
	ranges atomic.Int64
	cutOff atomic.Int64 // the range request that is cut off; 0: none
}

type counted struct {
	http.ResponseWriter
	sent *atomic.Int64
}

func (c counted) Write(p []byte) (int, error) {
	c.sent.Add(int64(len(p)))
	return c.ResponseWriter.Write(p)
}

func newStorage(t *testing.T) *storage {
	s := &storage{folder: t.TempDir()}
	files := http.FileServer(http.Dir(s.folder))
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" && s.ranges.Add(1) == s.cutOff.Load() {
			panic(http.ErrAbortHandler)
		}
		files.ServeHTTP(counted{w, &s.sent}, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// model is one in memory: a base, or one that differs from it by `change` in every second weight.
func model(t *testing.T, name string, change float32) *emr.Model {
	t.Helper()
	weights := make([]float32, elements)
	for i := range weights {
		weights[i] = float32(i%251) + change*float32(i%2)
	}
	m, err := emr.NewModel(name)
	must(t, err)
	t.Cleanup(func() { m.Close() })
	must(t, m.Add(emr.TensorSpec{
		Name: "weight", DType: emr.F32, Shape: []uint64{elements}, Data: emr.Bytes(weights),
	}))
	return m
}

// filled is a storage with base.safetensors and all.emr, a bundle of two tasks.
func filled(t *testing.T) *storage {
	t.Helper()
	s, ctx := newStorage(t), context.Background()
	base := model(t, "base", 0)
	must(t, base.Write(ctx, filepath.Join(s.folder, "base.safetensors"), nil))
	tasks := []emr.NamedModel{
		{Name: "french", Model: model(t, "fr", 0.5)}, {Name: "german", Model: model(t, "de", 0.25)},
	}
	_, err := emr.MergeFile(ctx, filepath.Join(s.folder, "all.emr"), base, tasks, nil)
	must(t, err)
	return s
}

func (s *storage) size(t *testing.T, name string) int64 {
	info, err := os.Stat(filepath.Join(s.folder, name))
	must(t, err)
	return info.Size()
}

func TestTaskIsWrittenFromRanges(t *testing.T) {
	s, ctx := filled(t), context.Background()
	path := filepath.Join(t.TempDir(), "french.safetensors")
	must(t, writeTask(ctx, s.URL+"/base.safetensors", s.URL+"/all.emr", "french", path))

	base, err := emr.OpenModel(filepath.Join(s.folder, "base.safetensors"), nil)
	must(t, err)
	defer base.Close()
	bundle, err := emr.OpenBundle(filepath.Join(s.folder, "all.emr"), nil)
	must(t, err)
	defer bundle.Close()
	task, err := bundle.Task("french")
	must(t, err)
	local, err := task.OpenModel(ctx, base, nil)
	must(t, err)
	defer local.Close()
	var wanted bytes.Buffer
	must(t, local.WriteSafetensors(ctx, &wanted, nil))
	got, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Equal(got, wanted.Bytes()) {
		t.Fatal("the weights from the storage are not those of the same files")
	}
	// Headers are read in pieces of up to 64 KiB, weights once.
	if most := s.size(t, "base.safetensors") + s.size(t, "all.emr") + 256<<10; s.sent.Load() > most {
		t.Fatalf("%d bytes were sent of files of %d", s.sent.Load(), most)
	}
}

func TestStorageFails(t *testing.T) {
	s, ctx := filled(t), context.Background()
	path := filepath.Join(t.TempDir(), "french.safetensors")
	base, bundle := s.URL+"/base.safetensors", s.URL+"/all.emr"
	if err := writeTask(ctx, s.URL+"/none", bundle, "french", path); err == nil ||
		!strings.Contains(err.Error(), "404") {
		t.Fatal(err)
	}
	if err := writeTask(ctx, base, bundle, "latin", path); !errors.Is(err, emr.ErrNotFound) {
		t.Fatal(err)
	}
	for cut := int64(1); ; cut++ { // each range request in turn
		s.ranges.Store(0)
		s.cutOff.Store(cut)
		err := writeTask(ctx, base, bundle, "french", path)
		if err == nil && s.ranges.Load() < cut {
			break
		}
		if err != nil && (!errors.Is(err, emr.ErrIO) || !errors.Is(err, io.EOF)) {
			t.Fatal(err)
		}
		if _, gone := os.Stat(path); err != nil && !errors.Is(gone, fs.ErrNotExist) {
			t.Fatal("a file was left behind")
		}
		os.Remove(path)
	}
}

func TestWritingStops(t *testing.T) {
	s := filled(t)
	folder := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	path := filepath.Join(folder, "french.safetensors")
	err := writeTask(ctx, s.URL+"/base.safetensors", s.URL+"/all.emr", "french", path)
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(folder); len(left) > 0 {
		t.Fatal(left)
	}
}

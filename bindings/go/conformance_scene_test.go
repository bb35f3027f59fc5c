package emr

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// errOnPurpose is what the runner's own callbacks fail with.
var errOnPurpose = errors.New("on purpose")

// A scene is what the steps of a case share.
type scene struct {
	t        *testing.T
	use      Resources
	folder   string
	models   map[string]*Model
	files    map[string][]byte
	bundles  map[string]*Bundle
	sessions map[string]*Session
	tensors  map[string][]byte // by "MODEL/TENSOR"
}

func newScene(t *testing.T, threads int) *scene {
	return &scene{
		t: t, use: Resources{Threads: threads}, folder: t.TempDir(), models: map[string]*Model{},
		files: map[string][]byte{}, bundles: map[string]*Bundle{}, sessions: map[string]*Session{},
		tensors: map[string][]byte{},
	}
}

// closes closes an object at the end of the case.
func (w *scene) closes(c io.Closer) {
	w.t.Cleanup(func() {
		if err := c.Close(); err != nil {
			w.t.Error(err)
		}
	})
}

// keep takes an object over under a name.
func keep[T io.Closer](w *scene, all map[string]T, name string, object T, err error) error {
	if err != nil {
		return err
	}
	w.closes(object)
	if _, ok := all[name]; ok {
		w.t.Fatalf("there is already a %T called %q", object, name)
	}
	all[name] = object
	return nil
}

// find is an object by its name.
func find[T any](w *scene, all map[string]T, name string) T {
	object, ok := all[name]
	if !ok {
		w.t.Fatalf("there is no %T called %q", object, name)
	}
	return object
}

// base is the model of that name, or none for "".
func (w *scene) base(name string) *Model {
	if name == "" {
		return nil
	}
	return find(w, w.models, name)
}

// tasks are the models of a list of [name, model].
func (w *scene) tasks(list [][2]string) []NamedModel {
	var tasks []NamedModel
	for _, t := range list {
		tasks = append(tasks, NamedModel{t[0], find(w, w.models, t[1])})
	}
	return tasks
}

// A word is one of a list, which stands for its place there; a word that is not there is 0.
type word string

func (w word) of(t testing.TB, words string) uint32 {
	t.Helper()
	for i, one := range strings.Fields(words) {
		if one == string(w) {
			return uint32(i)
		}
	}
	if w != "" {
		t.Fatalf("unknown word %q", w)
	}
	return 0
}

const (
	kindWords      = "default mask two_sided sign thin levels"
	rescaleWords   = "default l1 l1_means l2 norm unbiased mixed"
	perWords       = "default model tensor row"
	nonFiniteWords = "error zero"
	checkWords     = "first write none"
	blockWords     = "none - q4_0 q4_1 - - q5_0 q5_1 q8_0"
	headWords      = "softmax sigmoid identity"
)

// A dtypeName is a type, in JSON its name.
type dtypeName struct{ DType }

func (d *dtypeName) UnmarshalText(text []byte) (err error) {
	d.DType, err = ParseDType(string(text))
	return err
}

// entries are an object's keys and texts, in the order of the file.
type entries [][2]string

func (e *entries) UnmarshalJSON(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	if _, err := d.Token(); err != nil {
		return err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		var value string
		if err := d.Decode(&value); err != nil {
			return err
		}
		*e = append(*e, [2]string{key.(string), value})
	}
	return nil
}

// policyOf is a policy in JSON.
type policyOf struct {
	Private    []string `json:"private_globs"`
	Merge      []string `json:"merge_globs"`
	Absent     []string `json:"absent_globs"`
	Base       []string `json:"base_globs"`
	OnMismatch word     `json:"on_mismatch"`
	OnMissing  word     `json:"on_missing"`
}

func (p *policyOf) policy(t testing.TB) *Policy {
	if p == nil {
		return nil
	}
	return &Policy{
		Private: p.Private, Merge: p.Merge, Absent: p.Absent, Base: p.Base,
		OnMismatch: OnMismatch(p.OnMismatch.of(t, "error private rows pad")),
		OnMissing:  OnMissing(p.OnMissing.of(t, "error base absent")),
	}
}

// draw is a number of the sequence of a seed.
func draw(seed, i uint64) uint64 {
	z := (seed<<32 + i + 1) * 0x9E3779B97F4A7C15
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

// elements are n drawn ones from `first` on, as bytes.
func elements(t testing.TB, dtype DType, seed, first, n uint64) []byte {
	t.Helper()
	out := make([]byte, n*uint64(dtype.Bits())/8)
	width := max(1, dtype.Bits()/8)
	for i := range uint64(len(out) / width) {
		r, to := draw(seed, first+i), out[int(i)*width:int(i+1)*width]
		switch {
		case dtype >= F32 && dtype <= F64:
			value := []float32{float32(int(r>>56)-128) / 128}
			check(t, Convert(dtype, to, F32, Bytes(value)))
			continue
		case dtype.IsFloat():
			r &= 0xBF
		case dtype == Bool:
			r &= 1
		}
		for b := range to {
			to[b] = byte(r >> (8 * b))
		}
	}
	return out
}

// drawnFloats are n of them in F32.
func drawnFloats(t testing.TB, seed, n uint64) []float32 {
	values := make([]float32, n)
	copy(Bytes(values), elements(t, F32, seed, 0, n))
	return values
}

func shapeText(shape []uint64) string {
	return "[" + strings.ReplaceAll(strings.Trim(fmt.Sprint(shape), "[]"), " ", ",") + "]"
}

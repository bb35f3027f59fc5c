package emr

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"testing"
)

// The cases of bindings/conformance, which say as data what libemr gives in every language: its README has
// the format.

const casesFile = "../conformance/cases.json"

// results are what comes out of a step, by key.
type results map[string]any

// head is what every step has.
type head struct {
	Do     string
	Expect map[string]any
	Error  map[string]any
}

// A stepFunc does a step.
type stepFunc func(w *scene, raw json.RawMessage) (results, error)

// step makes one of a function that is given the step's keys. Keys that it does not know are a failure.
func step[S any](do func(w *scene, s S) (results, error)) stepFunc {
	return func(w *scene, raw json.RawMessage) (results, error) {
		var s S
		decode(w.t, raw, &s, true)
		return do(w, s)
	}
}

// alone is the same of a step that makes an object and tells nothing.
func alone[S any](do func(w *scene, s S) error) stepFunc {
	return step(func(w *scene, s S) (results, error) { return results{}, do(w, s) })
}

func decode(t testing.TB, raw []byte, into any, strict bool) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if strict {
		d.DisallowUnknownFields()
	}
	if err := d.Decode(into); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
}

func allSteps() map[string]stepFunc {
	all := map[string]stepFunc{}
	kinds := []map[string]stepFunc{modelSteps, fileSteps, bundleSteps, sessionSteps, methodSteps}
	for _, some := range kinds {
		maps.Copy(all, some)
	}
	return all
}

func TestConformance(t *testing.T) {
	text, err := os.ReadFile(casesFile)
	check(t, err)
	var file struct {
		Given map[string][]json.RawMessage
		Cases []struct {
			Name, Given string
			Steps       []json.RawMessage
		}
	}
	decode(t, text, &file, true)
	steps, checks := allSteps(), 0
	for _, c := range file.Cases {
		for _, threads := range []int{1, 3} {
			t.Run(fmt.Sprintf("%s/%d", c.Name, threads), func(t *testing.T) {
				w := newScene(t, threads)
				for _, raw := range append(append([]json.RawMessage{}, file.Given[c.Given]...), c.Steps...) {
					checks += w.run(steps, raw)
				}
			})
		}
	}
	fmt.Printf("%d cases, %d checks\n", len(file.Cases), checks)
}

// run does a step and compares; it returns how many checks that were.
func (w *scene) run(steps map[string]stepFunc, raw json.RawMessage) int {
	w.t.Helper()
	var h head
	decode(w.t, raw, &h, false)
	do := steps[h.Do]
	if do == nil {
		w.t.Fatalf("an unknown step: %s", raw)
	}
	found, err := do(w, raw)
	wanted := h.Expect
	switch {
	case h.Error != nil:
		wanted, found = h.Error, describe(err, len(h.Error) == 1)
	case err != nil:
		w.t.Fatalf("%v in %s", err, raw)
	case wanted == nil:
		return 0
	}
	for key, value := range wanted {
		if !same(value, reflect.ValueOf(found[key])) {
			w.t.Errorf("%s: %s is %v, and should be %v\nin %s", h.Do, key, found[key], value, raw)
		}
	}
	for key, value := range found {
		if _, ok := wanted[key]; !ok {
			w.t.Errorf("%s: %s is %v, and nothing is expected\nin %s", h.Do, key, value, raw)
		}
	}
	return len(wanted)
}

// describe is an error, or of it the status alone.
func describe(err error, briefly bool) results {
	var e *Error
	switch {
	case errors.Is(err, errOnPurpose):
		return results{"status": "own"}
	case !errors.As(err, &e):
		return results{"status": fmt.Sprint(err)}
	case briefly:
		return results{"status": e.Status.Name()}
	}
	found := results{"status": e.Status.Name(), "text": e.Sentence}
	for key, name := range map[string]string{"file": e.File, "task": e.Task, "tensor": e.Tensor} {
		if name != "" {
			found[key] = name
		}
	}
	return found
}

// same compares what JSON says with what was found. Whole numbers are equal as such, others as float64.
func same(wanted any, found reflect.Value) bool {
	for found.IsValid() && found.Kind() == reflect.Interface {
		found = found.Elem()
	}
	switch {
	case !found.IsValid() || found.Kind() == reflect.Slice && found.IsNil() && wanted == nil:
		return wanted == nil
	case found.CanInt():
		return fmt.Sprint(wanted) == strconv.FormatInt(found.Int(), 10)
	case found.CanUint():
		return fmt.Sprint(wanted) == strconv.FormatUint(found.Uint(), 10)
	case found.CanFloat():
		value := realOf(wanted)
		return value == found.Float() || math.IsNaN(value) && math.IsNaN(found.Float())
	case found.Kind() == reflect.Bool:
		return fmt.Sprint(wanted) == map[bool]string{true: "1", false: "0"}[found.Bool()]
	case found.Kind() == reflect.String:
		text, ok := wanted.(string)
		return ok && text == found.String()
	case found.Kind() == reflect.Map:
		return sameMap(wanted, found)
	}
	list, ok := wanted.([]any)
	if !ok || len(list) != found.Len() {
		return false
	}
	for i, one := range list {
		if !same(one, found.Index(i)) {
			return false
		}
	}
	return true
}

func sameMap(wanted any, found reflect.Value) bool {
	object, ok := wanted.(map[string]any)
	if !ok || len(object) != found.Len() {
		return false
	}
	for key, one := range object {
		if !same(one, found.MapIndex(reflect.ValueOf(key))) {
			return false
		}
	}
	return true
}

// realOf is a number, or "nan", "inf", "-inf".
func realOf(number any) float64 {
	value, err := strconv.ParseFloat(fmt.Sprint(number), 64)
	if err != nil {
		panic(fmt.Sprintf("%v is no number", number))
	}
	return value
}

func digestOf(data []byte) string {
	digest := uint64(0xcbf29ce484222325)
	for _, b := range data {
		digest = (digest ^ uint64(b)) * 0x100000001b3
	}
	return fmt.Sprintf("%016x", digest)
}

func (w *scene) path(name string) string {
	return filepath.Join(w.folder, name)
}

package emr

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"testing"
)

func newCombination(t testing.TB, f *family, o CombinationOptions) *Combination {
	t.Helper()
	x := must(NewCombination(o))(t)
	t.Cleanup(func() { x.Close() })
	check(t, x.SetBase(f.base))
	for i, m := range f.tasks {
		check(t, x.AddTask([]string{"math", "code", "law"}[i], m))
	}
	return x
}

func TestTaskArithmeticIsItsFormula(t *testing.T) {
	f := newFamily(t, 2)
	x := newCombination(t, f, CombinationOptions{Method: "task_arithmetic"})
	check(t, x.Set("weight", 0.5))
	check(t, x.SetFor(1, "layer.bias", "weight", 0))
	plan := must(x.Plan())(t)
	if plan.Combined != 2 || len(plan.Tensors) != 2 || plan.Tensors[0].Action != ActionCombine ||
		plan.Tensors[0].Inputs != 2 || plan.Tensors[0].Shape[1] != familyColumns {
		t.Fatalf("%+v", plan)
	}
	m := must(x.OpenModel())(t)
	defer m.Close()
	wanted := make([]float32, familyRows)
	for i := range wanted {
		wanted[i] = f.biases[0][i] + (f.biases[1][i]-f.biases[0][i])*0.5
	}
	sameFloats(t, "bias", weightOf(t, m, "layer.bias"), wanted)
	refused(t, x.Set("weight", 1), ErrState) // the model is open
}

func TestCombinationRefuses(t *testing.T) {
	f := newFamily(t, 1)
	_, err := NewCombination(CombinationOptions{})
	refused(t, err, ErrInvalid)
	_, err = NewCombination(CombinationOptions{Method: "tie"})
	refused(t, err, ErrNotFound)
	_, err = NewCombination(CombinationOptions{Method: "ties", Own: &scaling{}})
	refused(t, err, ErrInvalid)
	_, err = NewCombination(CombinationOptions{Method: "ties", DType: I64})
	refused(t, err, ErrInvalid)
	x := newCombination(t, f, CombinationOptions{Method: "ties"})
	refused(t, x.Set("height", 1), ErrNotFound)
	refused(t, x.Set("density", 2), ErrInvalid)
	refused(t, x.Set("density\x00", 1), ErrInvalid)
	refused(t, x.AddTask("math", f.base), ErrExists)
	refused(t, x.AddTask("none", nil), ErrInvalid)
	check(t, x.Close())
	refused(t, x.Set("density", 1), ErrState)
	_, err = x.OpenModel()
	refused(t, err, ErrState)
}

func TestMethodsAreListed(t *testing.T) {
	all := Methods()
	ties := must(FindMethod("ties"))(t)
	at := slices.IndexFunc(all, func(m MethodInfo) bool { return m.Name == "ties" })
	if len(all) < 15 || at < 0 || ties.Base != BaseRequired {
		t.Fatal(all)
	}
	isDensity := func(p MethodParameter) bool { return p.Name == "density" }
	p := ties.Parameters[slices.IndexFunc(ties.Parameters, isDensity)]
	if p.Initial != 1 || p.Least != 0 || p.Most != 1 || !p.PerTask || p.Whole {
		t.Fatalf("%+v", p)
	}
	_, err := FindMethod("tie")
	refused(t, err, ErrNotFound)
}

// A combined model closes in any order: what it needs stays.
func TestCombinedModelOutlivesItsParents(t *testing.T) {
	f := newFamily(t, 2)
	x := newCombination(t, f, CombinationOptions{Method: "linear"})
	check(t, x.Set("weight", 1))
	m := must(x.OpenModel())(t)
	wanted := weightOf(t, m, "layer.weight")
	check(t, x.Close())
	check(t, f.base.Close())
	for _, task := range f.tasks {
		check(t, task.Close())
	}
	runtime.GC()
	sameFloats(t, "weight", weightOf(t, m, "layer.weight"), wanted)
	check(t, m.Close())
	if _, err := m.Tensor("layer.weight"); !errors.Is(err, ErrState) {
		t.Fatal(err)
	}
}

// scaling is a method of one's own: the mean of the tasks' changes, scaled, but nothing where its square is
// small.
type scaling struct {
	fail    error // of Combine
	reason  any   // what Stages' functions panic with
	whole   bool
	found   []float64
	checked bool
}

func (s *scaling) Info() MethodInfo {
	return MethodInfo{
		Name: "scaling", Base: BaseRequired, WholeModel: s.whole, ScratchFloats: 1,
		Parameters: []MethodParameter{{Name: "scale", Initial: 1, Least: 0, Most: 4, PerTask: true}},
	}
}

func (s *scaling) Check(t *MethodTensor) error {
	if t.Value(0, 0) == 3 {
		return fmt.Errorf("a scale of 3 is none: %w", ErrInvalid)
	}
	return nil
}

func (s *scaling) Stages() []MethodStage {
	return []MethodStage{{
		Count: func(t *MethodTensor) int { return len(t.Inputs) },
		AddSums: func(c *MethodChunk, sums []float64) {
			if s.reason != nil {
				panic(s.reason)
			}
			for i, input := range c.Inputs {
				for _, v := range input {
					sums[i] += float64(v) * float64(v)
				}
			}
		},
		Settle: func(t *MethodTensor, found []float64) error {
			for i := range found {
				found[i] = math.Sqrt(found[i])
			}
			return nil
		},
	}}
}

func (s *scaling) Combine(c *MethodChunk) error {
	if s.fail != nil {
		return s.fail
	}
	if len(c.Scratch) != len(c.Out) || len(c.Base) != len(c.Out) || !c.Tensor.HasBase {
		return errors.New("the chunk is not whole")
	}
	clear(c.Out)
	for t, input := range c.Inputs {
		if c.Tensor.Found[t] < 1e-6 {
			continue
		}
		scale := float32(c.Tensor.Value(t, 0))
		for i, v := range input {
			c.Out[i] += scale * v
		}
	}
	return nil
}

func TestOwnMethod(t *testing.T) {
	f := newFamily(t, 2)
	for _, threads := range []int{1, 3} {
		x := newCombination(t, f, CombinationOptions{Own: &scaling{}, Resources: Resources{Threads: threads}})
		check(t, x.SetFor(1, "", "scale", 0.5))
		m := must(x.OpenModel())(t)
		check(t, m.Prepare(background, &Resources{Threads: threads}))
		wanted := make([]float32, len(f.weights[0]))
		for i := range wanted {
			base := f.weights[0][i]
			wanted[i] = base + ((f.weights[1][i] - base) + 0.5*(f.weights[2][i]-base))
		}
		sameFloats(t, "weight", weightOf(t, m, "layer.weight"), wanted)
		check(t, m.Close())
	}
}

func TestOwnMethodsErrorComesBack(t *testing.T) {
	f := newFamily(t, 1)
	mine := errors.New("no more")
	x := newCombination(t, f, CombinationOptions{Own: &scaling{fail: mine}})
	m := must(x.OpenModel())(t)
	defer m.Close()
	_, err := must(m.Tensor("layer.weight"))(t).Floats()
	e := refused(t, err, mine)
	if e.Tensor != "layer.weight" {
		t.Fatalf("%+v", e)
	}
	for _, threads := range []int{1, 3} { // from C's threads, too
		refused(t, m.WriteSafetensors(background, io.Discard,
			&WriteOptions{Resources: Resources{Threads: threads}}), mine)
	}

	x = newCombination(t, f, CombinationOptions{Own: &scaling{}})
	check(t, x.Set("scale", 3))
	_, err = x.OpenModel()
	refused(t, err, ErrInvalid)
}

func TestOwnMethodsPanicComesBack(t *testing.T) {
	f := newFamily(t, 1)
	for _, threads := range []int{1, 3} {
		x := newCombination(t, f, CombinationOptions{Own: &scaling{reason: "as it was"}})
		m := must(x.OpenModel())(t)
		for range 2 { // the method stays broken
			p := caught(t, func() {
				_ = m.WriteSafetensors(background, io.Discard,
					&WriteOptions{Resources: Resources{Threads: threads}})
			})
			if p == nil || p.Value != "as it was" || !bytes.Contains(p.Stack, []byte("Stages")) {
				t.Fatal(p)
			}
		}
		check(t, m.Close())
	}
}

// largest keeps of each task's change the k largest elements, cut by their magnitudes, and adds them up.
type largest struct {
	k     uint64
	whole bool
	list  int
}

func (l *largest) Info() MethodInfo {
	return MethodInfo{Name: "largest", Base: BaseRequired, WholeModel: l.whole}
}

func (l *largest) NeedsStage(t *MethodTensor, stage int) bool { return l.k > 0 }

func (l *largest) RowLength(t *MethodTensor) uint64 { return familyColumns }

func (l *largest) Stages() []MethodStage {
	return []MethodStage{{
		Count: func(t *MethodTensor) int { return 2 * len(t.Inputs) },
		ListKeys: func(c *MethodChunk, list int, keys []float32) {
			for i, v := range c.Inputs[list] {
				keys[i] = float32(math.Abs(float64(v)))
			}
		},
		PlaceCut: func(t *MethodTensor, cut int) (int, uint64) { return cut + l.list, l.k },
	}}
}

func (l *largest) Combine(c *MethodChunk) error {
	clear(c.Out)
	if l.k == 0 {
		return nil
	}
	for t, input := range c.Inputs {
		cut := c.Tensor.Found[2*t : 2*t+2]
		for i, v := range input {
			if IsAbove(cut, float32(math.Abs(float64(v))), c.Position+uint64(i)) {
				c.Out[i] += v
			}
		}
	}
	return nil
}

// changesOf is how many elements of a model are not the base's.
func (f *family) changesOf(t *testing.T, m *Model) int {
	n := 0
	for i, v := range weightOf(t, m, "layer.weight") {
		if v != f.weights[0][i] {
			n++
		}
	}
	for i, v := range weightOf(t, m, "layer.bias") {
		if v != f.biases[0][i] {
			n++
		}
	}
	return n
}

func TestOwnMethodCutsLists(t *testing.T) {
	f := newFamily(t, 1)
	f.base = modelOf(t, floatsOf{"layer.weight", []uint64{familyRows, familyColumns}, f.weights[0]},
		floatsOf{"layer.bias", []uint64{familyColumns}, drawn(2, familyColumns)})
	f.biases[0] = drawn(2, familyColumns)
	f.tasks[0] = modelOf(t, floatsOf{"layer.weight", []uint64{familyRows, familyColumns}, f.weights[1]},
		floatsOf{"layer.bias", []uint64{familyColumns}, changed(f.biases[0], 5)})
	for _, c := range []struct {
		method *largest
		wanted int
	}{{&largest{k: 7}, 14}, {&largest{k: 7, whole: true}, 7}, {&largest{}, 0}} {
		x := newCombination(t, f, CombinationOptions{Own: c.method})
		m := must(x.OpenModel())(t)
		check(t, m.Prepare(background, nil))
		if n := f.changesOf(t, m); n != c.wanted {
			t.Fatalf("%+v: %d elements changed", c.method, n)
		}
		check(t, m.Close())
	}
	x := newCombination(t, f, CombinationOptions{Own: &largest{k: 7, list: 1}}) // no such list
	m := must(x.OpenModel())(t)
	defer m.Close()
	caught(t, func() { _ = m.Prepare(background, nil) })
}

// drawing keeps half of the changes, at random.
type drawing struct{ kept *MethodTensor }

func (d *drawing) Info() MethodInfo { return MethodInfo{Name: "drawing", Base: BaseRequired} }

func (d *drawing) Combine(c *MethodChunk) error {
	d.kept = c.Tensor
	words := make([]uint32, len(c.Out))
	c.Tensor.Draw(0, c.First, words)
	for i, v := range c.Inputs[0] {
		c.Out[i] = v * float32(words[i]>>31)
	}
	return nil
}

func TestOwnMethodDraws(t *testing.T) {
	f := newFamily(t, 1)
	d := &drawing{}
	x := newCombination(t, f, CombinationOptions{Own: d, Seed: 7, Resources: Resources{Threads: 1}})
	m := must(x.OpenModel())(t)
	defer m.Close()
	once, again := weightOf(t, m, "layer.weight"), weightOf(t, m, "layer.weight")
	sameFloats(t, "drawn again", again, once)
	if n := f.changesOf(t, m); n < familyRows*familyColumns/3 || n > familyRows*familyColumns*2/3 {
		t.Fatal(n)
	}
	if panicked(func() { d.kept.Draw(0, 0, make([]uint32, 1)) }) == nil {
		t.Fatal("a tensor can be drawn for after its call")
	}
}

func TestOwnMethodIsRefused(t *testing.T) {
	for _, m := range []wrong{{}, {stages: make([]MethodStage, 5)}, {scratch: -1}, {name: "a\x00"}} {
		_, err := NewCombination(CombinationOptions{Own: &m})
		refused(t, err, ErrInvalid)
	}
}

type wrong struct {
	name    string
	stages  []MethodStage
	scratch int
}

func (w *wrong) Info() MethodInfo           { return MethodInfo{Name: w.name, ScratchFloats: w.scratch} }
func (w *wrong) Combine(*MethodChunk) error { return nil }
func (w *wrong) Stages() []MethodStage {
	if w.stages == nil {
		return []MethodStage{{}}
	}
	return w.stages
}

// breaking panics in one of its functions.
type breaking struct{ in string }

func (b breaking) call(name string) {
	if b.in == name {
		panic(name)
	}
}

func (b breaking) Info() MethodInfo { return MethodInfo{Name: "breaking", Base: BaseRequired} }

func (b breaking) Check(*MethodTensor) error { b.call("Check"); return nil }

func (b breaking) RowLength(*MethodTensor) uint64 { b.call("RowLength"); return 0 }

func (b breaking) NeedsStage(*MethodTensor, int) bool { b.call("NeedsStage"); return true }

func (b breaking) Stages() []MethodStage {
	return []MethodStage{{
		Count:    func(*MethodTensor) int { b.call("Count"); return 2 },
		ListKeys: func(_ *MethodChunk, _ int, keys []float32) { b.call("ListKeys"); clear(keys) },
		PlaceCut: func(*MethodTensor, int) (int, uint64) { b.call("PlaceCut"); return 0, 1 },
		Settle:   func(*MethodTensor, []float64) error { b.call("Settle"); return nil },
	}, {
		Count:   func(*MethodTensor) int { return 1 },
		AddSums: func(*MethodChunk, []float64) { b.call("AddSums") },
	}}
}

func (b breaking) Combine(c *MethodChunk) error { b.call("Combine"); clear(c.Out); return nil }

// use does everything that calls a method.
func (b breaking) use(t *testing.T, f *family, threads int) {
	use := Resources{Threads: threads}
	x := newCombination(t, f, CombinationOptions{Own: b, Resources: use})
	must(x.Plan())(t)
	m := must(x.OpenModel())(t)
	defer m.Close()
	check(t, m.WriteSafetensors(background, io.Discard, &WriteOptions{Resources: use}))
}

func TestOwnMethodPanicsAnywhere(t *testing.T) {
	f := newFamily(t, 1)
	for _, threads := range []int{1, 3} {
		breaking{}.use(t, f, threads)
		for _, name := range []string{
			"Check", "RowLength", "NeedsStage", "Count", "ListKeys", "PlaceCut", "Settle", "AddSums", "Combine",
		} {
			p := caught(t, func() { breaking{name}.use(t, f, threads) })
			if p == nil || p.Value != name {
				t.Errorf("%s, %d threads: %v", name, threads, p)
			}
		}
	}
}

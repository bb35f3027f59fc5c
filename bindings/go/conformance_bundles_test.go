package emr

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
)

// Steps about bundles: merged, opened, looked at, checked, made smaller; the models and modulators in them.
var bundleSteps = map[string]stepFunc{
	"merge": step(mergeModels),
	"join":  step(joinParts),
	"bundle": alone(func(w *scene, s struct {
		head
		Bundle, File string
	}) error {
		return w.openBundle(s.Bundle, find(w, w.files, s.File))
	}),
	"look":    step(lookAt),
	"drop":    step(func(w *scene, s subsetStep) (results, error) { return s.write(w, (*Bundle).Drop) }),
	"extract": step(func(w *scene, s subsetStep) (results, error) { return s.write(w, (*Bundle).Extract) }),
	"verify": alone(func(w *scene, s struct {
		head
		Bundle string
	}) error {
		return find(w, w.bundles, s.Bundle).Verify(background, &w.use)
	}),
	"check_base":    step(checkBase),
	"task":          alone(openTask),
	"view":          alone(openView),
	"modulator":     step(useModulator),
	"own_modulator": step(useOwnModulator),
}

func (w *scene) openBundle(name string, data []byte) error {
	b, err := NewBundle(bytes.NewReader(data), int64(len(data)), name, nil)
	return keep(w, w.bundles, name, b, err)
}

type modulationOfStep struct {
	Kind           word
	Thinning       uint32
	Levels         uint32 `json:"n_levels"`
	Rescale        word
	RescalePer     word      `json:"rescale_per"`
	MaskRule       word      `json:"mask_rule"`
	VectorsDType   dtypeName `json:"vectors_dtype"`
	WithoutColumns bool      `json:"without_columns"`
	Seed           uint32
}

func (m *modulationOfStep) modulation(w *scene) Modulation {
	return Modulation{
		Kind: ModulatorKind(m.Kind.of(w.t, kindWords)), Thinning: m.Thinning, Levels: m.Levels,
		Rescale:    Rescale(m.Rescale.of(w.t, rescaleWords)),
		RescalePer: RescalePer(m.RescalePer.of(w.t, perWords)),
		MaskRule:   MaskRule(m.MaskRule.of(w.t, "agree nearest")), VectorsDType: m.VectorsDType.DType,
		WithoutColumns: m.WithoutColumns, Seed: m.Seed,
	}
}

type mergeStep struct {
	head
	Bundle, Base string
	Tasks        [][2]string
	Modulations  map[string]modulationOfStep
	Policy       *policyOf
	Extend       string
	Push         int
	Sink         bool
	Memory       uint64
	Path         string
	Replace      bool
	Journal      uint64
	Part         []uint32
	Check, File  string
	Options      struct {
		Modulation   modulationOfStep
		Rescale      word
		RescalePer   word `json:"rescale_per"`
		Tie          word
		OnNonFinite  word      `json:"on_nonfinite"`
		UnifiedDType dtypeName `json:"unified_dtype"`
		EmbedBase    bool      `json:"embed_base"`
		Extendable   bool
		BlockParams  uint32 `json:"block_params"`
		Measure      bool
		Compression  *int
	}
}

func (s *mergeStep) options(w *scene) *MergeOptions {
	o := &MergeOptions{
		Resources: w.use, Policy: s.Policy.policy(w.t), Modulation: s.Options.Modulation.modulation(w),
		Rescale:      Rescale(s.Options.Rescale.of(w.t, rescaleWords)),
		RescalePer:   RescalePer(s.Options.RescalePer.of(w.t, perWords)),
		Tie:          Tie(s.Options.Tie.of(w.t, "zero negative")),
		OnNonFinite:  OnNonFinite(s.Options.OnNonFinite.of(w.t, nonFiniteWords)),
		UnifiedDType: s.Options.UnifiedDType.DType, EmbedBase: s.Options.EmbedBase,
		Extendable: s.Options.Extendable, BlockParams: s.Options.BlockParams, Measure: s.Options.Measure,
		Compression: NoCompression,
	}
	o.Memory = s.Memory
	if s.Options.Compression != nil {
		o.Compression = *s.Options.Compression
	}
	return o
}

// setUp gives the merge its models.
func (s *mergeStep) setUp(w *scene, m *Merge) error {
	if err := m.SetBase(find(w, w.models, s.Base)); err != nil {
		return err
	}
	first := 0
	if s.Extend != "" {
		b := find(w, w.bundles, s.Extend)
		if err := m.Extend(b); err != nil {
			return err
		}
		first = len(b.Tasks())
	}
	for _, t := range w.tasks(s.Tasks) {
		if err := m.AddTask(t.Name, t.Model); err != nil {
			return err
		}
	}
	for name, modulation := range s.Modulations {
		i := slices.IndexFunc(s.Tasks, func(t [2]string) bool { return t[0] == name })
		if err := m.SetModulation(uint32(first+i), modulation.modulation(w)); err != nil {
			return err
		}
	}
	return nil
}

func mergeModels(w *scene, s mergeStep) (results, error) {
	m, err := NewMerge(s.options(w))
	if err != nil {
		return nil, err
	}
	defer m.Close() // its files are closed then, too
	if err := s.setUp(w, m); err != nil {
		return nil, err
	}
	found := results{}
	switch {
	case s.Part != nil:
		err = s.toPart(w, m)
	case s.Sink:
		err = s.toSink(m, found)
	case s.Journal > 0:
		err = s.withJournal(w, m)
	case s.Path != "":
		err = s.toFile(w, m)
	default:
		err = s.toBundle(w, m, found)
	}
	if err != nil {
		return nil, err
	}
	tensors := []any{}
	for _, t := range must(m.Tensors())(w.t) {
		action := []string{"", "merge", "keep", "private"}[t.Action]
		tensors = append(tensors, []any{t.Name, action, t.Reason, t.Private, t.Zeroed})
	}
	tasks := []any{}
	if s.Part != nil {
		found["tensors"], found["tasks"] = tensors, tasks
		return found, nil
	}
	for _, r := range must(m.Report())(w.t) {
		tasks = append(tasks, []any{r.Name, r.MaskOnes, r.Zeroed, r.Rescaler, r.OtherRescaler, r.EmptyMask,
			r.Fidelity.Error, r.Fidelity.Cosine, r.Fidelity.Coefficient})
	}
	found["tensors"], found["tasks"] = tensors, tasks
	return found, nil
}

func (s *mergeStep) toPart(w *scene, m *Merge) error {
	var out bytes.Buffer
	if err := m.SetPart(s.Part[0], s.Part[1]); err != nil {
		return err
	}
	if s.Check != "" {
		part := find(w, w.files, s.Check)
		if err := m.CheckPart(bytes.NewReader(part), int64(len(part)), s.Check); err != nil {
			return err
		}
	}
	if err := m.SetOutput(&out); err != nil {
		return err
	}
	err := m.Run(background)
	w.files[s.File] = out.Bytes()
	return err
}

type joinStep struct {
	head
	Bundle string
	Parts  []string
}

func joinParts(w *scene, s joinStep) (results, error) {
	j, err := NewJoin(&w.use)
	if err != nil {
		return nil, err
	}
	defer j.Close()
	for _, name := range s.Parts {
		part := find(w, w.files, name)
		if err := j.AddPart(bytes.NewReader(part), int64(len(part)), name); err != nil {
			return nil, err
		}
	}
	var out bytes.Buffer
	if err := j.SetOutput(&out); err != nil {
		return nil, err
	}
	if err := j.Run(background); err != nil {
		return nil, err
	}
	w.files[s.Bundle] = out.Bytes()
	return results{"digest": digestOf(out.Bytes())}, w.openBundle(s.Bundle, out.Bytes())
}

func (s *mergeStep) toBundle(w *scene, m *Merge, found results) error {
	var out bytes.Buffer
	if err := m.SetOutput(&out); err != nil {
		return err
	}
	run := func() error { return m.Run(background) }
	if s.Push > 0 {
		run = func() error { return s.pushAll(w, m) }
	}
	if err := run(); err != nil {
		return err
	}
	found["digest"] = ""
	if s.Options.Compression == nil {
		found["digest"] = digestOf(out.Bytes())
	}
	w.files[s.Bundle] = out.Bytes()
	return w.openBundle(s.Bundle, out.Bytes())
}

// pushAll asks the sources in turn, the base first, and gives each some bytes of the tensor that it expects.
func (s *mergeStep) pushAll(w *scene, m *Merge) error {
	if err := m.Begin(background); err != nil {
		return err
	}
	models := append([][2]string{{"", s.Base}}, s.Tasks...)
	at := make([]int, len(models))
	for done := 0; done < len(models); {
		done = 0
		for i, model := range models {
			tensor, room, err := m.Expected(uint32(i) - 1) // Base is the number before 0
			if err != nil {
				return err
			}
			if tensor == "" {
				done++
			}
			if room == 0 {
				continue
			}
			data := find(w, w.tensors, model[1]+"/"+tensor)
			taken, err := m.Push(background, uint32(i)-1, data[at[i]:min(at[i]+s.Push, len(data))])
			if err != nil {
				return err
			}
			if at[i] += taken; at[i] == len(data) {
				at[i] = 0
			}
		}
	}
	return m.Finish(background)
}

type sinkKey struct {
	tensor, task int
	kind         string
}

func (s *mergeStep) toSink(m *Merge, found results) error {
	parts := map[sinkKey][]byte{}
	take := func(kind string) func(SinkPart) error {
		return func(p SinkPart) error {
			key := sinkKey{int(p.Tensor), int(int32(p.Task)), kind}
			parts[key] = append(parts[key], p.Values...)
			return nil
		}
	}
	if err := m.SetSink(Sink{take("unified"), take("mask"), take("rescalers")}); err != nil {
		return err
	}
	if err := m.Run(background); err != nil {
		return err
	}
	var keys []sinkKey
	for key := range parts {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b sinkKey) int {
		return cmp.Or(a.tensor-b.tensor, a.task-b.task, cmp.Compare(a.kind, b.kind))
	})
	found["sink"] = mapped(keys, func(k sinkKey) []any {
		return []any{k.tensor, k.task, k.kind, digestOf(parts[k])}
	})
	return nil
}

func (s *mergeStep) withJournal(w *scene, m *Merge) error {
	file := must(ResumeFile(w.path(s.Path), nil))(w.t)
	defer file.Close()
	journal := must(ResumeFile(w.path(s.Path+".journal"), nil))(w.t)
	defer journal.Close()
	if err := errors.Join(m.SetOutput(file), m.SetJournal(journal, s.Journal)); err != nil {
		return err
	}
	if err := m.Run(background); err != nil {
		return err
	}
	return errors.Join(file.Commit(), journal.Discard())
}

func (s *mergeStep) toFile(w *scene, m *Merge) error {
	file, err := CreateFile(w.path(s.Path), &FileOptions{Replace: s.Replace})
	if err != nil {
		return err
	}
	defer file.Close()
	if err := m.SetOutput(file); err != nil {
		return err
	}
	if err := m.Run(background); err != nil {
		return err
	}
	return file.Commit()
}

func lookAt(w *scene, s struct {
	head
	Bundle string
}) (results, error) {
	b := find(w, w.bundles, s.Bundle)
	i, err := b.Info()
	if err != nil {
		return nil, err
	}
	info := map[string]any{
		"n_tasks": i.Tasks, "n_tensors": i.Tensors, "n_merged": i.Merged, "merged_params": i.MergedParams,
		"rescale": i.Rescale, "rescale_per": i.RescalePer, "tie": i.Tie,
		"unified_dtype": i.UnifiedDType.String(), "has_base": i.HasBase, "extendable": i.Extendable,
		"n_elected": i.Elected,
	}
	tensors := mapped(must(b.Tensors())(w.t), func(t TensorInfo) []any {
		return []any{t.Name, t.DType.String(), t.Shape, t.Merged}
	})
	tasks := mapped(b.Tasks(), func(t Task) []any { return lookAtTask(w, t) })
	return results{"info": info, "tasks": tasks, "tensors": tensors, "metadata": b.Metadata()}, nil
}

func lookAtTask(w *scene, t Task) []any {
	info := must(t.Info())(w.t)
	m, _, err := t.Modulation()
	check(w.t, err)
	private := mapped(must(t.Private())(w.t), func(p PrivateInfo) []any {
		return []any{p.Name, p.DType.String(), p.Shape}
	})
	spec := []any{m.Kind, m.Thinning, m.Levels, m.Rescale, m.RescalePer, m.MaskRule, uint32(m.VectorsDType),
		m.WithoutColumns, m.Seed}
	return []any{t.Name(), info.MaskOnes, info.Rescaler, spec, private, t.Metadata()}
}

type subsetStep struct {
	head
	Bundle, Of string
	Tasks      []string
}

type subsetCall func(*Bundle, context.Context, io.Writer, []string, *Resources) (DropReport, error)

func (s *subsetStep) write(w *scene, call subsetCall) (results, error) {
	var out bytes.Buffer
	r, err := call(find(w, w.bundles, s.Of), background, &out, s.Tasks, &w.use)
	if err != nil {
		return nil, err
	}
	w.files[s.Bundle] = out.Bytes()
	return results{"unified": r.Unified, "alone": r.Alone, "shared": r.Shared, "lost_growth": r.LostGrowth,
		"lost_unified": r.LostUnified, "digest": digestOf(out.Bytes())}, w.openBundle(s.Bundle, out.Bytes())
}

func checkBase(w *scene, s struct {
	head
	Bundle, Base string
	All          bool
}) (results, error) {
	b, base := find(w, w.bundles, s.Bundle), find(w, w.models, s.Base)
	if !s.All {
		return results{}, b.CheckBase(background, base, &w.use)
	}
	differs, err := b.BaseDifferences(background, base, &w.use)
	return results{"differs": mapped(differs, func(d BaseDifference) []string {
		return []string{d.Tensor, d.Why}
	})}, err
}

func openTask(w *scene, s struct {
	head
	Model, Bundle, Task, Base string
	DType                     dtypeName
	Check                     word
	F32Vectors                bool `json:"f32_vectors"`
}) error {
	task, err := find(w, w.bundles, s.Bundle).Task(s.Task)
	if err != nil {
		return err
	}
	m, err := task.OpenModel(background, w.base(s.Base), &TaskOptions{
		Resources: w.use, DType: s.DType.DType, Check: BaseCheck(s.Check.of(w.t, checkWords)),
		F32Vectors: s.F32Vectors,
	})
	return keep(w, w.models, s.Model, m, err)
}

func openView(w *scene, s struct {
	head
	Model, Bundle, Task string
	Of                  word
}) error {
	b := find(w, w.bundles, s.Bundle)
	open := b.OpenBase
	switch s.Of.of(w.t, "base unified mask") {
	case 1:
		open = b.OpenUnified
	case 2:
		open = must(b.Task(s.Task))(w.t).OpenMask
	}
	m, err := open()
	return keep(w, w.models, s.Model, m, err)
}

func useModulator(w *scene, s struct {
	head
	Bundle, Base, Task string
	DType              dtypeName
}) (results, error) {
	m, err := must(find(w, w.bundles, s.Bundle).Task(s.Task))(w.t).Modulator()
	if err != nil {
		return nil, err
	}
	w.closes(m)
	tensors := []any{}
	for i, name := range m.Tensors() {
		number := uint32(i)
		rescalers, err := m.Rescalers(number)
		if err != nil {
			return nil, err
		}
		_, ones, err := m.Stats(number)
		check(w.t, err)
		base := must(find(w, w.models, s.Base).Tensor(name))(w.t)
		to := s.DType.DType
		if to == 0 {
			to = base.DType()
		}
		out := make([]byte, m.Count(number)*uint64(to.Bits())/8)
		err = m.Apply(Application{
			Tensor: number, Base: must(base.Bytes())(w.t), BaseDType: base.DType(), Out: out, OutDType: to,
		})
		if err != nil {
			return nil, err
		}
		scales := digestOf(Bytes(rescalers))
		tensors = append(tensors, []any{name, len(rescalers), scales, ones, digestOf(out)})
	}
	return results{"tensors": tensors}, nil
}

type ownModulatorStep struct {
	head
	Kind              word
	Count, Rows, Seed uint64
	DType             dtypeName
	Columns           bool
}

func (s *ownModulatorStep) tensor(w *scene) ModulatorTensor {
	kind := ModulatorKind(s.Kind.of(w.t, kindWords))
	t := ModulatorTensor{Name: "w", Count: s.Count, Rows: s.Rows, Kind: kind}
	scales := s.Rows
	switch t.Kind {
	case KindThin:
		t.Thinning, t.Seed = 4, 7
	case KindLevels:
		t.Levels = 16
	case KindTwoSided:
		scales *= 2
	}
	if t.Kind <= KindTwoSided {
		t.Unified, t.UnifiedDType = elements(w.t, F32, s.Seed, 0, s.Count), F32
	}
	t.Codes = elements(w.t, U8, s.Seed+1, 0, s.Count)[:t.codeBytes()]
	t.Scales = drawnFloats(w.t, s.Seed+2, scales)
	for i, scale := range t.Scales {
		t.Scales[i] = max(scale, -scale)
	}
	if s.Columns {
		t.Columns = elements(w.t, BF16, s.Seed+3, 0, s.Count/s.Rows)
	}
	return t
}

func useOwnModulator(w *scene, s ownModulatorStep) (results, error) {
	m := must(NewModulator())(w.t)
	w.closes(m)
	if err := m.Add(s.tensor(w)); err != nil {
		return nil, err
	}
	dtype := s.DType.DType
	if dtype == 0 {
		dtype = F32
	}
	base := elements(w.t, dtype, s.Seed+4, 0, s.Count)
	out, columns := make([]byte, len(base)), s.Count/s.Rows
	number := must(m.FindTensor("w"))(w.t)
	err := m.Apply(Application{Tensor: number, Base: base, BaseDType: dtype, Out: out, OutDType: dtype})
	if err != nil {
		return nil, err
	}
	p := &Product{
		Tensor: "w", X: drawnFloats(w.t, s.Seed+5, 2*columns), Y: make([]float32, 2*s.Rows), Rows: s.Rows,
		Columns: columns,
	}
	err = MultiplyModulators([]*Modulator{m, m}, p, base, dtype)
	return results{"apply": digestOf(out), "multiply": digestOf(Bytes(p.Y))}, err
}

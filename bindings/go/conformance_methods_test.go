package emr

import (
	"fmt"
	"math"
	"slices"
)

// Steps about one model out of many: combined models, statistics, searches, heads.
var methodSteps = map[string]stepFunc{
	"combine":    step(combineModels),
	"methods":    step(tellMethods),
	"statistics": step(measure),
	"search":     step(runSearch),
	"trials":     step(runTrials),
	"heads":      step(useHeads),
	"softmax":    step(soften),
}

type combineStep struct {
	head
	Model, Method, Base string
	Tasks               [][2]string
	Parameters          [][]any
	DType               dtypeName
	Seed                uint64
	OnNonFinite         word `json:"on_nonfinite"`
	Policy              *policyOf
	Heads               []string
	CombineHeads        bool `json:"combine_heads"`
	Memory              uint64
}

func (s *combineStep) setUp(w *scene) (*Combination, error) {
	o := CombinationOptions{
		Resources: w.use, Method: s.Method, Policy: s.Policy.policy(w.t), Heads: s.Heads,
		CombineHeads: s.CombineHeads, Seed: s.Seed, DType: s.DType.DType,
		OnNonFinite: OnNonFinite(s.OnNonFinite.of(w.t, nonFiniteWords)),
	}
	o.Memory = s.Memory
	x, err := NewCombination(o)
	if err != nil {
		return nil, err
	}
	w.closes(x)
	if s.Base != "" {
		if err := x.SetBase(find(w, w.models, s.Base)); err != nil {
			return nil, err
		}
	}
	for _, t := range w.tasks(s.Tasks) {
		if err := x.AddTask(t.Name, t.Model); err != nil {
			return nil, err
		}
	}
	for _, p := range s.Parameters {
		if err := s.set(x, append(p, nil, nil)); err != nil {
			return nil, err
		}
	}
	return x, nil
}

// set sets a parameter: name, value, task or null, glob or null.
func (s *combineStep) set(x *Combination, p []any) error {
	number, glob := EveryTask, ""
	if p[3] != nil {
		glob = fmt.Sprint(p[3])
	}
	if task, ok := p[2].(string); ok {
		number = Base
		if task != "" {
			number = uint32(slices.IndexFunc(s.Tasks, func(t [2]string) bool { return t[0] == task }))
		}
	}
	return x.SetFor(number, glob, fmt.Sprint(p[0]), realOf(p[1]))
}

func combineModels(w *scene, s combineStep) (results, error) {
	x, err := s.setUp(w)
	if err != nil {
		return nil, err
	}
	plan, err := x.Plan()
	if err != nil {
		return nil, err
	}
	m, err := x.OpenModel()
	tensors := mapped(plan.Tensors, func(t CombinedTensor) []any {
		return []any{t.Name, []string{"", "combine", "copy", "head"}[t.Action], t.Reason, t.Reads, t.Inputs}
	})
	return results{"tensors": tensors}, keep(w, w.models, s.Model, m, err)
}

func tellMethods(w *scene, s struct{ head }) (results, error) {
	return results{"methods": mapped(Methods(), func(m MethodInfo) []any {
		base := []string{"input", "required", "optional", "beside"}[m.Base]
		return []any{m.Name, base, mapped(m.Parameters, func(p MethodParameter) []any {
			return []any{p.Name, p.Initial, p.Least, p.Most, p.PerTask, p.Whole}
		})}
	})}, nil
}

func measure(w *scene, s struct {
	head
	Base        string
	Tasks       [][2]string
	Quantiles   []float64
	MaxRows     uint64 `json:"max_rows"`
	SkipMissing bool   `json:"skip_missing"`
	Rounding    word
	OnNonFinite word `json:"on_nonfinite"`
	Policy      *policyOf
}) (results, error) {
	x, err := NewStatistics(&StatisticsOptions{
		Resources: w.use, Policy: s.Policy.policy(w.t), Quantiles: s.Quantiles, MaxRows: s.MaxRows,
		SkipMissing: s.SkipMissing,
		Rounding:    StatisticsRounding(s.Rounding.of(w.t, "none per_model per_tensor")),
		OnNonFinite: OnNonFinite(s.OnNonFinite.of(w.t, nonFiniteWords)),
	})
	if err != nil {
		return nil, err
	}
	w.closes(x)
	if err := x.SetBase(find(w, w.models, s.Base)); err != nil {
		return nil, err
	}
	for _, t := range w.tasks(s.Tasks) {
		if err := x.AddTask(t.Name, t.Model); err != nil {
			return nil, err
		}
	}
	if err := x.Run(background); err != nil {
		return nil, err
	}
	found := results{}
	for scope, name := range []string{"model", "tensors", "layers", "kinds"} {
		found[name] = mapped(must(x.Groups(StatisticsScope(scope)))(w.t), func(g StatisticsGroup) []any {
			return []any{g.Name, g.Layer, g.Count, g.Conflicts, g.Unchanged, g.Products, g.Distances, g.Sums,
				g.Magnitudes, g.Fourths, g.Largest, g.Quantiles, g.Zeros, g.NonFinite, g.SameSigns, g.Both}
		})
	}
	return found, tellKinship(x, found)
}

func tellKinship(x *Statistics, found results) error {
	g, err := x.Model()
	if err != nil {
		return err
	}
	moments := []any{}
	for task := range g.Tasks {
		m, err := g.Moments(task)
		if err != nil {
			return err
		}
		moments = append(moments,
			[]any{m.Norm, m.Mean, m.MeanMagnitude, m.Deviation, m.Kurtosis, m.ZeroShare})
	}
	found["moments"] = moments
	for name, o := range map[string]KinshipOptions{
		"pearson": {}, "cosine": {Metric: Cosine}, "euclid": {Metric: Euclid},
		"absolute": {Metric: Cosine, Absolute: true},
	} {
		matrix, err := g.Kinship(&o)
		if err != nil {
			return err
		}
		found[name] = matrix
		if name == "pearson" {
			found["mean"] = matrix.Mean()
		}
	}
	found["split"], err = x.SplitKinship(nil)
	return err
}

type searchStep struct {
	head
	Models         []string
	Scores         map[string]any
	K              int
	Partner, Pool  word
	MaxGenerations int      `json:"max_generations"`
	StopKinship    *float64 `json:"stop_kinship"`
	Minimise       bool
}

func (s *searchStep) options(w *scene) *SearchOptions {
	o := &SearchOptions{
		K: s.K, Partner: SearchPartner(s.Partner.of(w.t, "lowest highest none")),
		Pool: SearchPool(s.Pool.of(w.t, "all top last")), MaxGenerations: s.MaxGenerations,
		Minimise: s.Minimise,
	}
	if s.StopKinship != nil {
		o.UseStopKinship, o.StopKinship = true, *s.StopKinship
	}
	return o
}

// host does what README.md says of scores and similarities.
func (s *searchStep) host(released *[]uint32) SearchHost {
	scores := map[uint32]float64{}
	return SearchHost{
		Merge: func(Candidate) error { return nil },
		Evaluate: func(c Candidate) (float64, error) {
			score := (scores[c.First]+scores[c.Second])*0.5 + float64(c.Generation)/16
			if given, ok := s.Scores[c.Name]; ok {
				score = realOf(given)
			}
			scores[c.Number] = score
			return score, nil
		},
		Similarity: func(a, b uint32) (float64, error) {
			return 1 / (1 + math.Abs(scores[a]-scores[b])), nil
		},
		Release: func(number uint32) { *released = append(*released, number) },
	}
}

func runSearch(w *scene, s searchStep) (results, error) {
	x, err := NewSearch(s.options(w))
	if err != nil {
		return nil, err
	}
	w.closes(x)
	for _, name := range s.Models {
		if err := x.AddModel(name); err != nil {
			return nil, err
		}
	}
	released := []uint32{}
	if err := x.Run(background, s.host(&released)); err != nil {
		return nil, err
	}
	r := must(x.Result())(w.t)
	candidates := []any{}
	for number := range r.Models {
		c := must(x.Candidate(uint32(number)))(w.t)
		candidates = append(candidates,
			[]any{c.Name, c.Score, c.Kinship, c.Generation, int32(c.First), int32(c.Second)})
	}
	return results{"candidates": candidates, "released": released, "best": r.Best.Name, "score": r.Best.Score,
		"kinship": r.Kinship, "end": r.End, "generation": r.Generation, "n_scored": r.Scored}, nil
}

func runTrials(w *scene, s struct {
	head
	Trials   int `json:"n_trials"`
	Values   int `json:"n_values"`
	Seed     uint64
	Minimise bool
}) (results, error) {
	best, err := RunTrials(background, TrialsOptions{
		Seed: s.Seed, Trials: s.Trials, Values: s.Values, Minimise: s.Minimise,
		Evaluate: func(t Trial) (float64, error) {
			score := 0.0
			for _, v := range t.Values {
				score += math.Abs(v - 0.5)
			}
			return score, nil
		},
	})
	return results{"number": best.Number, "score": best.Score, "values": best.Values}, err
}

func useHeads(w *scene, s struct {
	head
	Heads string
	Globs []string
	Tasks [][2]string
	Base  string
	Kinds []word
	DType dtypeName
}) (results, error) {
	var tasks []HeadTask
	for i, t := range w.tasks(s.Tasks) {
		task := HeadTask{Name: t.Name, Model: t.Model}
		if s.Kinds != nil {
			task.Kind = HeadKind(s.Kinds[i].of(w.t, headWords))
		}
		tasks = append(tasks, task)
	}
	x, err := NewHeads(s.Globs, tasks...)
	if err != nil {
		return nil, err
	}
	w.closes(x)
	for i, t := range tasks {
		m, err := x.OpenTask(uint32(i))
		if err := keep(w, w.models, s.Heads+"/"+t.Name, m, err); err != nil {
			return nil, err
		}
	}
	if s.Base != "" {
		m, err := x.OpenBase(find(w, w.models, s.Base))
		if err := keep(w, w.models, s.Heads+"/base", m, err); err != nil {
			return nil, err
		}
	}
	joined, err := x.OpenJoined(s.DType.DType)
	if err := keep(w, w.models, s.Heads+"/joined", joined, err); err != nil {
		return nil, err
	}
	groups := mapped(must(x.Groups())(w.t), func(g HeadGroup) []any {
		return []any{g.Task, g.First, g.Count, []string{"softmax", "sigmoid", "identity"}[g.Kind]}
	})
	return results{"n_rows": must(x.Rows())(w.t), "heads": must(x.Tensors())(w.t), "groups": groups},
		x.SetMetadata(joined)
}

func soften(w *scene, s struct {
	head
	Logits       []any
	Rows, Stride int
	Groups       [][]any
}) (results, error) {
	logits := mapped(s.Logits, func(v any) float32 { return float32(realOf(v)) })
	groups := mapped(s.Groups, func(g []any) HeadGroup {
		kind := word(fmt.Sprint(g[2])).of(w.t, headWords)
		return HeadGroup{First: uint64(realOf(g[0])), Count: uint64(realOf(g[1])), Kind: HeadKind(kind)}
	})
	if s.Stride == 0 {
		s.Stride = len(logits) / s.Rows
	}
	err := GroupSoftmax(logits, logits, s.Stride, groups)
	return results{"out": logits}, err
}

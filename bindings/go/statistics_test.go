package emr

import (
	"context"
	"errors"
	"math"
	"testing"
)

func newStatistics(t testing.TB, f *family, o *StatisticsOptions) *Statistics {
	t.Helper()
	s := must(NewStatistics(o))(t)
	t.Cleanup(func() { s.Close() })
	check(t, s.SetBase(f.base))
	for i, m := range f.tasks {
		check(t, s.AddTask([]string{"math", "code", "law"}[i], m))
	}
	return s
}

func TestStatisticsAreTheirFormulas(t *testing.T) {
	f := newFamily(t, 2)
	s := newStatistics(t, f, &StatisticsOptions{Quantiles: []float64{0.5, 1}})
	plan := must(s.Plan())(t)
	if plan.Tensors != 2 || plan.Params != familyRows*familyColumns+familyRows {
		t.Fatalf("%+v", plan)
	}
	_, err := s.Model()
	refused(t, err, ErrState)
	check(t, s.Run(background))
	groups := must(s.Groups(ScopeTensor))(t)
	if len(groups) != 2 || groups[0].Name != "layer.weight" || groups[1].Count != familyRows {
		t.Fatalf("%+v", groups)
	}
	var product, distance float64
	for i, base := range f.biases[0] {
		a, b := float64(f.biases[1][i]-base), float64(f.biases[2][i]-base)
		product += a * b
		distance += float64(f.biases[1][i]-base-(f.biases[2][i]-base)) * (a - b)
	}
	bias := groups[1]
	if bias.Products[1] != product || math.Abs(bias.Distances[1]-distance) > 1e-12 {
		t.Fatal(bias.Products, product, bias.Distances, distance)
	}
	moments := must(bias.Moments(0))(t)
	if math.Abs(moments.Norm-math.Sqrt(bias.Products[0])) > 1e-15 || moments.Mean != bias.Sums[0]/familyRows {
		t.Fatalf("%+v", moments)
	}
	if len(bias.Quantiles) != 4 || bias.Quantiles[1] != bias.Largest[0] {
		t.Fatal(bias.Quantiles)
	}
	_, err = bias.Moments(2)
	refused(t, err, ErrNotFound)
	if kinds := must(s.Groups(ScopeKind))(t); len(kinds) != 1 || kinds[0].Name != "other" {
		t.Fatalf("%+v", kinds)
	}
}

func TestKinship(t *testing.T) {
	f := newFamily(t, 3)
	s := newStatistics(t, f, nil)
	check(t, s.Run(background))
	model := must(s.Model())(t)
	split := must(s.SplitKinship(nil))(t)
	check(t, s.Close()) // groups are copies
	cosine := must(model.Kinship(&KinshipOptions{Metric: Cosine}))(t)
	wanted := model.Products[1] / math.Sqrt(model.Products[0]*model.Products[4])
	if len(cosine) != 9 || math.Abs(cosine[1]-wanted) > 1e-12 || cosine[0] != 1 {
		t.Fatal(cosine, wanted)
	}
	if mean := cosine.Mean(); math.Abs(mean-(cosine[1]+cosine[2]+cosine[5])/3) > 1e-15 {
		t.Fatal(mean)
	}
	if pearson := must(model.Kinship(nil))(t); len(split) != 9 || math.Abs(split[1]-pearson[1]) > 0.1 {
		t.Fatal(split, pearson)
	}
	model.Sums = model.Sums[1:]
	_, err := model.Kinship(nil)
	refused(t, err, ErrInvalid)
	if panicked(func() { KinshipMatrix{1, 2}.Mean() }) == nil {
		t.Fatal("a matrix that is not square has a mean")
	}
}

func TestStatisticsStop(t *testing.T) {
	f := newFamily(t, 2)
	ctx, cancel := context.WithCancelCause(background)
	mine := errors.New("enough")
	s := newStatistics(t, f, &StatisticsOptions{Resources: Resources{Progress: func(Progress) error {
		cancel(mine)
		return ctx.Err()
	}}})
	err := s.Run(ctx)
	refused(t, err, ErrCanceled)
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	refused(t, s.Run(ctx), mine)
	_, err = NewStatistics(&StatisticsOptions{Quantiles: []float64{2}})
	refused(t, err, ErrInvalid)
	check(t, s.Close())
	refused(t, s.Run(background), ErrState)
}

func TestPlacesOfTensors(t *testing.T) {
	if LayerOf("model.layers.7.q_proj.weight") != 7 || LayerOf("x") != -1 {
		t.Fatal("layers")
	}
	if KindOf("model.layers.7.self_attn.q_proj.weight") != "q" || KindOf("x") != "other" {
		t.Fatal("kinds")
	}
}

package emr_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"math"

	emr "libemr/bindings/go"
)

// matrix is a model with one tensor of two rows.
func matrix(name string, weights ...float32) *emr.Model {
	m, err := emr.NewModel(name)
	if err != nil {
		log.Fatal(err)
	}
	shape := []uint64{2, uint64(len(weights) / 2)}
	err = m.Add(emr.TensorSpec{Name: "weight", DType: emr.F32, Shape: shape, Data: emr.Bytes(weights)})
	if err != nil {
		log.Fatal(err)
	}
	return m
}

// all is a bundle of two tasks in memory.
func all(base *emr.Model) *emr.Bundle {
	merge, err := emr.NewMerge(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer merge.Close()
	out, err := emr.NewBuffer()
	if err != nil {
		log.Fatal(err)
	}
	defer out.Close()
	err = errors.Join(merge.SetBase(base), merge.AddTask("french", matrix("fr", 1.5, 2, 2.5, 4)),
		merge.AddTask("german", matrix("de", 1, 2.5, 2.5, 4)), merge.SetOutput(out),
		merge.Run(context.Background()))
	if err != nil {
		log.Fatal(err)
	}
	size, err := out.Size()
	if err != nil {
		log.Fatal(err)
	}
	bundle, err := emr.NewBundle(out, size, "all", nil)
	if err != nil {
		log.Fatal(err)
	}
	return bundle
}

func ExampleSession() {
	base := matrix("base", 1, 2, 3, 4)
	bundle := all(base)
	defer bundle.Close()
	session, err := bundle.NewSession(context.Background(), base, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer session.Close()

	weight := make([]float32, 4) // the engine's
	for _, task := range bundle.Tasks() {
		to := emr.Weights{Tensor: "weight", Data: emr.Bytes(weight), DType: emr.F32}
		err := session.Apply(task.Number(), to)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(task.Name(), weight)
	}
	// Output:
	// french [1.5 2 2.5 4]
	// german [1 2.5 2.5 4]
}

// Vectors of one batch belong to different tasks, whose weights are written nowhere.
func ExampleSession_Multiply() {
	base := matrix("base", 1, 2, 3, 4)
	bundle := all(base)
	defer bundle.Close()
	session, err := bundle.NewSession(context.Background(), base, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer session.Close()

	x := []float32{1, 10, 1, 10, 1, 10}
	y := make([]float32, 6)
	tasks := []uint32{0, 1, emr.Base}
	if err := session.Multiply(tasks, emr.Product{Tensor: "weight", X: x, Y: y}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(y[0:2], y[2:4], y[4:6])
	// Output: [21.5 42.5] [26 42.5] [21 43]
}

func ExampleCombination() {
	base := matrix("base", 1, 2, 3, 4)
	combination, err := emr.NewCombination(emr.CombinationOptions{Method: "task_arithmetic"})
	if err != nil {
		log.Fatal(err)
	}
	defer combination.Close()
	err = errors.Join(combination.SetBase(base), combination.AddTask("math", matrix("math", 2, 2, 3, 4)),
		combination.AddTask("code", matrix("code", 1, 4, 3, 4)), combination.Set("weight", 0.5),
		combination.SetFor(1, "", "weight", 0.25))
	if err != nil {
		log.Fatal(err)
	}
	model, err := combination.OpenModel()
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	weight, err := model.Tensor("weight") // computed as it is read
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(weight.Floats())
	// Output: [1.5 2.5 3 4] <nil>
}

// strongest takes of every element the change of the task that changed it most.
type strongest struct{}

func (strongest) Info() emr.MethodInfo {
	return emr.MethodInfo{Name: "strongest", Base: emr.BaseRequired}
}

func (strongest) Combine(chunk *emr.MethodChunk) error {
	clear(chunk.Out)
	for _, changes := range chunk.Inputs {
		for i, change := range changes {
			if math.Abs(float64(change)) > math.Abs(float64(chunk.Out[i])) {
				chunk.Out[i] = change
			}
		}
	}
	return nil
}

func ExampleMethod() {
	combination, err := emr.NewCombination(emr.CombinationOptions{Own: strongest{}})
	if err != nil {
		log.Fatal(err)
	}
	defer combination.Close()
	err = errors.Join(combination.SetBase(matrix("base", 1, 2, 3, 4)),
		combination.AddTask("math", matrix("math", 2, 1, 3, 4)),
		combination.AddTask("code", matrix("code", 1.5, 4, 3, 4)))
	if err != nil {
		log.Fatal(err)
	}
	model, err := combination.OpenModel()
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	weight, err := model.Tensor("weight")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(weight.Floats())
	// Output: [2 4 3 4] <nil>
}

func ExampleStatistics() {
	statistics, err := emr.NewStatistics(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer statistics.Close()
	err = errors.Join(statistics.SetBase(matrix("base", 1, 2, 3, 4)),
		statistics.AddTask("math", matrix("math", 2, 2, 3, 4)),
		statistics.AddTask("code", matrix("code", 2, 3, 3, 4)), statistics.Run(context.Background()))
	if err != nil {
		log.Fatal(err)
	}
	model, err := statistics.Model()
	if err != nil {
		log.Fatal(err)
	}
	kinship, err := model.Kinship(&emr.KinshipOptions{Metric: emr.Cosine})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.3f\n", kinship.Mean())
	// Output: 0.707
}

// Models are numbers here, a merge is their mean, and 7 is the best.
func ExampleSearch() {
	search, err := emr.NewSearch(&emr.SearchOptions{MaxGenerations: 5})
	if err != nil {
		log.Fatal(err)
	}
	defer search.Close()
	models := map[uint32]float64{0: 1, 1: 4, 2: 12}
	for _, name := range []string{"one", "four", "twelve"} {
		if err := search.AddModel(name); err != nil {
			log.Fatal(err)
		}
	}
	err = search.Run(context.Background(), emr.SearchHost{
		Merge: func(c emr.Candidate) error {
			models[c.Number] = (models[c.First] + models[c.Second]) / 2
			return nil
		},
		Evaluate: func(c emr.Candidate) (float64, error) { return -math.Abs(models[c.Number] - 7), nil },
	})
	if err != nil {
		log.Fatal(err)
	}
	result, err := search.Result()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s, one of %d: %.2f\n", result.Best.Name, result.Models, models[result.Best.Number])
	// Output: 5-1, one of 15: 6.97
}

func ExampleRunTrials() {
	best, err := emr.RunTrials(context.Background(), emr.TrialsOptions{
		Trials: 500, Values: 1, Seed: 1, Minimise: true,
		Evaluate: func(t emr.Trial) (float64, error) { return math.Abs(t.Values[0] - 0.25), nil },
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.2f\n", best.Values[0])
	// Output: 0.25
}

func ExampleGroupSoftmax() {
	logits := []float32{2, 2, 0}
	groups := []emr.HeadGroup{{Task: "parity", First: 0, Count: 2}, {Task: "large", First: 2, Count: 1}}
	if err := emr.GroupSoftmax(logits, logits, 3, groups); err != nil {
		log.Fatal(err)
	}
	fmt.Println(logits)
	// Output: [0.5 0.5 0.5]
}

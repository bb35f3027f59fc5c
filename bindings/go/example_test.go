package emr_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"

	emr "libemr/bindings/go"
)

func Example() {
	ctx := context.Background()
	folder, err := os.MkdirTemp("", "emr")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)

	model := func(name string, weights ...float32) *emr.Model {
		m, err := emr.NewModel(name)
		if err != nil {
			log.Fatal(err)
		}
		err = m.Add(emr.TensorSpec{
			Name: "layer.weight", DType: emr.F32, Shape: []uint64{2, 2}, Data: emr.Bytes(weights),
		})
		if err != nil {
			log.Fatal(err)
		}
		return m
	}
	base := model("base", 1, 2, 3, 4)
	defer base.Close()
	french := model("french", 1.5, 2, 2.5, 4)
	defer french.Close()
	german := model("german", 1, 2.5, 2.5, 4)
	defer german.Close()

	path := filepath.Join(folder, "all.emr")
	tasks := []emr.NamedModel{{Name: "french", Model: french}, {Name: "german", Model: german}}
	report, err := emr.MergeFile(ctx, path, base, tasks, nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, task := range report {
		fmt.Printf("%s: %d of 4 weights, rescaled by %v\n", task.Name, task.MaskOnes, task.Rescaler)
	}

	bundle, err := emr.OpenBundle(path, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer bundle.Close()
	task, err := bundle.Task("french")
	if err != nil {
		log.Fatal(err)
	}
	again, err := task.OpenModel(ctx, base, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer again.Close()
	weight, err := again.Tensor("layer.weight")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(weight.Floats())
	// Output:
	// french: 2 of 4 weights, rescaled by 1
	// german: 2 of 4 weights, rescaled by 1
	// [1.5 2 2.5 4] <nil>
}

func ExampleError() {
	_, err := emr.OpenModel("no-such-folder/model.safetensors", nil)
	var e *emr.Error
	if errors.As(err, &e) {
		fmt.Println(e.Status.Name(), "of", e.File)
	}
	fmt.Println(errors.Is(err, emr.ErrIO), errors.Is(err, fs.ErrNotExist))
	// Output:
	// EMR_EIO of no-such-folder/model.safetensors
	// true true
}

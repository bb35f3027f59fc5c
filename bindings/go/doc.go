// Package emr merges fine-tuned models of one base into one bundle (EMR-Merging: elect, mask and rescale), gives every
// task's weights back from it, combines models by the known methods, and reads and writes safetensors and GGUF. It is
// the C library libemr, which is compiled with the package; docs/ has the formats and the algorithms.
//
//	base, err := emr.OpenModel("base/", nil)
//	french, err := emr.OpenModel("french/", nil)
//	german, err := emr.OpenModel("german/", nil)
//	report, err := emr.MergeFile(ctx, "all.emr", base, []emr.NamedModel{{"french", french}, {"german", german}}, nil)
//
//	bundle, err := emr.OpenBundle("all.emr", nil)
//	task, err := bundle.Task("french")
//	model, err := task.OpenModel(ctx, base, nil) // computed as it is read
//	err = model.Write(ctx, "french-again/", nil)
//
// # Models
//
// A [Model] is an ordered set of named tensors. It is opened from files ([OpenModel]) or any [io.ReaderAt]
// ([NewSafetensors], [NewGGUF]), comes out of a bundle ([Task.OpenModel]) or a [Combination], or is built of slices,
// readers and functions ([NewModel], [Model.Add]). Slices are not copied: they are pinned until the model ends.
//
// # Closing
//
// Everything with a Close method holds memory of C, which Close gives back. Close may come in any order, more than once,
// and while calls run: what was made from an object keeps it alive, and the last one to go frees it. Calls on what is
// closed fail with [fs.ErrClosed]; properties without an error are zero then. The garbage collector closes what was
// forgotten, at a time of its own.
//
// # Errors
//
// A failure is an [*Error] with the C library's sentence and the file, task and tensor that it names. errors.Is knows
// its [Status] ([ErrNotFound], [ErrMismatch], ...), the system's error, and the very error that one of the program's own
// functions or a context returned.
//
// # Callbacks
//
// Readers, writers, computed tensors, sinks and the like are called from C, readers and computed tensors by several
// threads at a time. An error that one returns ends the call, which returns it wrapped. A panic does not cross C: the call
// panics with a [*CallbackPanic]. They must not call [runtime.Goexit], so not t.FailNow either, and not use the
// object whose call they serve.
//
// # Goroutines
//
// Objects may be shared. Reading models and bundles runs side by side; calls of other objects take turns; a model that is
// still being built must not be read meanwhile. Long calls take a [context.Context], which stops them between two
// pieces of work, and [Resources]: threads, memory, and a function that follows the progress.
package emr

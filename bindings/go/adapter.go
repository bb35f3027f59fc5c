package emr

// #include "bridge.h"
import "C"

import (
	"context"
	"unsafe"
)

// AdapterConfig is the key of a model's metadata that carries an adapter's configuration, byte for byte.
const AdapterConfig = C.EMR_ADAPTER_CONFIG

// AdaptersAgree says whether adapters can be merged: nil for models none of which carries a configuration, or whose
// configurations agree. The keys in differ may differ besides those that always may. Names are what messages call
// the models.
func AdaptersAgree(models []NamedModel, differ ...string) error {
	handles := make([]*handle, len(models))
	for i, m := range models {
		handles[i] = m.Model.h
	}
	end, err := useAll(handles...)
	if err != nil {
		return err
	}
	defer end()
	var a arena
	defer a.free()
	pointers, names := array[*C.emr_model](&a, len(models)), array[*C.char](&a, len(models))
	for i, m := range models {
		pointers[i], names[i] = m.Model.c, a.text(m.Name)
	}
	options := object[C.emr_agree_options](&a)
	*options = C.emr_agree_options{
		size: C.sizeof_emr_agree_options, differ: a.strings(differ), n_differ: C.size_t(len(differ)),
	}
	if a.err != nil {
		return a.err
	}
	var e C.emr_error
	return failure(C.emr_adapters_agree(unsafe.SliceData(pointers), unsafe.SliceData(names), C.size_t(len(models)),
		options, &e), &e)
}

// RankDimension is the dimension of a LoRA tensor that is its rank, by the tensor's name; -1 of other tensors.
func RankDimension(name string) int {
	var a arena
	defer a.free()
	return int(C.emr_adapter_rank_dimension(a.text(name)))
}

// Ones is zeros, and ones for the vectors that (IA)^3 multiplies by, for the float tensors of another model: the base
// of adapters that leave a model as it is.
func Ones(like *Model) (*Model, error) {
	if err := like.h.use(); err != nil {
		return nil, err
	}
	defer like.h.done()
	var c *C.emr_model
	var e C.emr_error
	if err := failure(C.emr_adapter_create_ones(&c, like.c, nil, &e), &e); err != nil {
		return nil, err
	}
	return newModel(c), nil
}

// ApplyAdapter is what a base becomes with an adapter, computed as it is read.
func ApplyAdapter(ctx context.Context, base, adapter *Model, o *Resources) (*Model, error) {
	end, err := useAll(base.h, adapter.h)
	if err != nil {
		return nil, err
	}
	defer end()
	r, err := newResources(o)
	if err != nil {
		return nil, err
	}
	defer r.close()
	var c *C.emr_model
	err = r.during(ctx, func() error {
		var e C.emr_error
		return failure(C.emr_adapter_apply(&c, base.c, adapter.c, r.c, &e), &e)
	})
	if err != nil {
		return nil, err
	}
	return newModel(c, base.h, adapter.h, r.h), nil
}

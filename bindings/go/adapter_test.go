package emr

import (
	"errors"
	"io"
	"path/filepath"
	"testing"
)

const loraConfig = `{"peft_type": "LORA", "r": 1, "lora_alpha": 2, "target_modules": ["w"], "base_model_name_or_path": "b"}`

// W + s B A, by hand.
func TestAdapterIsApplied(t *testing.T) {
	base := modelOf(t, floatsOf{"w.weight", []uint64{2, 3}, []float32{1, 2, 3, 4, 5, 6}})
	adapter := modelOf(t,
		floatsOf{"base_model.model.w.lora_A.weight", []uint64{1, 3}, []float32{1, 10, 100}},
		floatsOf{"base_model.model.w.lora_B.weight", []uint64{2, 1}, []float32{1, -1}})
	check(t, adapter.SetMetadata(AdapterConfig, loraConfig))
	m := must(ApplyAdapter(background, base, adapter, &Resources{Threads: 2}))(t)
	defer m.Close()
	check(t, base.Close())
	check(t, adapter.Close())
	sameFloats(t, "w", must(must(m.Tensor("w.weight"))(t).Floats())(t), []float32{3, 22, 203, 2, -15, -194})
}

func TestAdaptersAgree(t *testing.T) {
	a, b := modelOf(t), modelOf(t)
	check(t, a.SetMetadata(AdapterConfig, loraConfig))
	check(t, b.SetMetadata(AdapterConfig, `{"peft_type": "LORA", "r": 1, "base_model_name_or_path": "other"}`))
	both := []NamedModel{{"task 'a'", a}, {"task 'b'", b}}
	refused(t, AdaptersAgree(both), ErrMismatch)
	check(t, AdaptersAgree(both, "base_model_name_or_path"))
	check(t, AdaptersAgree(nil))
	if RankDimension("x.lora_A.weight") != 0 || RankDimension("x.lora_B.weight") != 1 || RankDimension("x") != -1 {
		t.Error("ranks")
	}
	ones := must(Ones(modelOf(t, floatsOf{"x.ia3_l", []uint64{2}, []float32{5, 6}})))(t)
	defer ones.Close()
	sameFloats(t, "ones", must(must(ones.Tensor("x.ia3_l"))(t).Floats())(t), []float32{1, 1})
}

func TestRoles(t *testing.T) {
	m := modelOf(t, floatsOf{"l.weight_scale", []uint64{1}, []float32{1}}, floatsOf{"v", []uint64{1}, []float32{1}})
	check(t, m.Add(TensorSpec{Name: "l.weight", DType: F8E4M3, Shape: []uint64{2, 2}, Data: make([]byte, 4)}))
	code := must(must(m.Tensor("l.weight"))(t).Role())(t)
	scale := must(must(m.Tensor("l.weight_scale"))(t).Role())(t)
	plain := must(must(m.Tensor("v"))(t).Role())(t)
	if code.Role != RoleCode || code.Family == "" || scale.Role.String() != "sidecar" || scale.Code == nil ||
		scale.Code.Name() != "l.weight" || plain != (TensorRole{}) {
		t.Errorf("%+v %+v %+v", code, scale, plain)
	}
}

func TestModelsAreWritten(t *testing.T) {
	m := modelOf(t, floatsOf{"a", []uint64{2}, []float32{1, 2}}, floatsOf{"b", []uint64{2}, []float32{3, 4}})
	directory := filepath.Join(t.TempDir(), "folder") + "/"
	var written []string
	o := &WriteOptions{ShardBytes: 8, Written: func(path string) { written = append(written, filepath.Base(path)) }}
	check(t, m.Write(background, directory, o))
	if len(written) != 3 || written[2] != "model.safetensors.index.json" {
		t.Error(written)
	}
	back := must(OpenModel(directory, &OpenOptions{Map: true, SideFiles: true}))(t)
	defer back.Close()
	sameFloats(t, "b", must(must(back.Tensor("b"))(t).Floats())(t), []float32{3, 4})
	check(t, m.Prepare(background, nil))
	o = &WriteOptions{Written: func(string) { panic("as it was") }}
	p := panicked(func() { _ = m.Write(background, filepath.Join(directory, "x.safetensors"), o) })
	if c, ok := p.(*CallbackPanic); !ok || c.Value != "as it was" || len(c.Stack) == 0 {
		t.Error(p)
	}
	refused(t, m.WriteGGUF(background, io.Discard, nil), ErrUnsupported)
	if _, err := NewGGUF(failing{io.ErrNoProgress}, 100, "g", nil); !errors.Is(err, io.ErrNoProgress) {
		t.Error(err)
	}
	check(t, m.SetMetadata("k", "v"))
	if v, ok := m.MetadataValue("k"); v != "v" || !ok {
		t.Error(v)
	}
	check(t, m.RemoveMetadata("k"))
	refused(t, m.RemoveMetadata("k"), ErrNotFound)
	if e := refused(t, func() error { _, err := m.Tensor("zz"); return err }(), ErrNotFound); e.Tensor != "zz" {
		t.Errorf("%#v", e)
	}
}

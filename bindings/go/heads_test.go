package emr

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
)

func twoHeads(t testing.TB) (*Model, *Model) {
	body := floatsOf{"body", []uint64{3}, []float32{1, 2, 3}}
	a := modelOf(t, body, floatsOf{"head", []uint64{2, 2}, []float32{1, 2, 3, 4}})
	b := modelOf(t, body, floatsOf{"head", []uint64{1, 2}, []float32{5, 6}})
	return a, b
}

func TestHeadsStandSideBySide(t *testing.T) {
	a, b := twoHeads(t)
	heads := must(NewHeads([]string{"head"}, HeadTask{Name: "parity", Model: a},
		HeadTask{Name: "size", Model: b, Kind: HeadIdentity}))(t)
	if n := must(heads.Rows())(t); n != 3 || !slices.Equal(must(heads.Tensors())(t), []string{"head"}) {
		t.Fatal(n)
	}
	groups := must(heads.Groups())(t)
	if !slices.Equal(groups, []HeadGroup{{"parity", 0, 2, HeadSoftmax}, {"size", 2, 1, HeadIdentity}}) {
		t.Fatalf("%+v", groups)
	}
	view := must(heads.OpenTask(1))(t)
	sameFloats(t, "padded", weightOf(t, view, "head"), []float32{0, 0, 0, 0, 5, 6})
	joined := must(heads.OpenJoined(0))(t)
	sameFloats(t, "joined", weightOf(t, joined, "head"), []float32{1, 2, 3, 4, 5, 6})
	base := must(heads.OpenBase(a))(t)
	sameFloats(t, "base", weightOf(t, base, "head"), make([]float32, 6))
	check(t, heads.SetMetadata(joined))
	if text, _ := joined.MetadataValue(HeadGroups); !strings.Contains(text, `"task": "size"`) {
		t.Fatal(text)
	}
	_, err := heads.OpenTask(2)
	if !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrInvalid) {
		t.Fatal(err)
	}
	check(t, heads.Close())
	check(t, a.Close())
	check(t, b.Close())
	sameFloats(t, "padded", weightOf(t, view, "head"), []float32{0, 0, 0, 0, 5, 6})
	_, err = heads.Rows()
	refused(t, err, ErrState)
	for _, m := range []*Model{view, joined, base} {
		check(t, m.Close())
	}
	_, err = NewHeads([]string{"head"}, HeadTask{Name: "closed", Model: a})
	refused(t, err, ErrState)
}

func TestHeadsRefuse(t *testing.T) {
	a, b := twoHeads(t)
	_, err := NewHeads([]string{"tail"}, HeadTask{Name: "a", Model: a}, HeadTask{Name: "b", Model: b})
	refused(t, err, ErrInvalid)
	_, err = NewHeads([]string{"head"}, HeadTask{Name: "a", Model: a}, HeadTask{Name: "a", Model: b})
	refused(t, err, ErrExists)
	_, err = NewHeads([]string{"head"}, HeadTask{Name: "a"})
	refused(t, err, ErrInvalid)
	_, err = NewHeads(nil)
	refused(t, err, ErrInvalid)
}

func TestGroupSoftmax(t *testing.T) {
	logits := []float32{1, 1, 0, 7, 2, 2, 1, 9}
	groups := []HeadGroup{{First: 0, Count: 2}, {First: 2, Count: 1, Kind: HeadSigmoid}}
	out := make([]float32, len(logits))
	check(t, GroupSoftmax(out, logits, 4, groups))
	sigmoid := float32(1 / (1 + math.Exp(-1)))
	sameFloats(t, "softmax", out, []float32{0.5, 0.5, 0.5, 0, 0.5, 0.5, sigmoid, 0})
	check(t, GroupSoftmax(logits, logits, 4, groups))
	sameFloats(t, "in place", logits[:4], []float32{0.5, 0.5, 0.5, 7})
	refused(t, GroupSoftmax(out, logits, 3, groups), ErrInvalid)
	refused(t, GroupSoftmax(out[1:], logits, 4, groups), ErrInvalid)
	refused(t, GroupSoftmax(out, logits, 2, groups), ErrInvalid)
	refused(t, GroupSoftmax(out, logits, 0, groups), ErrInvalid)
}

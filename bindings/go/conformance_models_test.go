package emr

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Steps about models: made, renamed, read, written, opened; adapters, types and blocks; files.
var modelSteps = map[string]stepFunc{
	"model": alone(makeModel),
	"zeros": alone(func(w *scene, s likeStep) error {
		m, err := Zeros(find(w, w.models, s.Like))
		return keep(w, w.models, s.Model, m, err)
	}),
	"ones": alone(func(w *scene, s likeStep) error {
		m, err := Ones(find(w, w.models, s.Like))
		return keep(w, w.models, s.Model, m, err)
	}),
	"rename":     alone(renameModel),
	"pick":       alone(pickTensors),
	"read":       step(readModel),
	"roles":      step(tellRoles),
	"write":      step(writeModel),
	"open":       alone(openModel),
	"bytes":      alone(makeBytes),
	"damage":     alone(damageFile),
	"adapter":    alone(applyAdapter),
	"agree":      alone(compareAdapters),
	"convert":    step(convertElements),
	"quantise":   step(quantiseValues),
	"names":      step(tellNames),
	"globs":      step(matchGlobs),
	"elementary": step(tellElementary),
	"constants":  step(tellConstants),
}

type likeStep struct {
	head
	Model, Like string
}

type tensorOf struct {
	Name   string
	DType  dtypeName
	Shape  []uint64
	Seed   uint64
	Every  uint64
	Else   uint64
	Values []any
	Hex    *string
	Text   *string
	From   word
	Blocks word
}

func (s *tensorOf) count() uint64 {
	n := uint64(1)
	for _, d := range s.Shape {
		n *= d
	}
	return n
}

// content is the tensor's bytes.
func (s *tensorOf) content(w *scene) []byte {
	n := s.count()
	switch {
	case s.Values != nil && s.DType.DType == F64:
		return Bytes(mapped(s.Values, realOf))
	case s.Values != nil:
		return Bytes(mapped(s.Values, func(v any) float32 { return float32(realOf(v)) }))
	case s.Hex != nil:
		return must(hex.DecodeString(*s.Hex))(w.t)
	case s.Text != nil:
		return []byte(*s.Text)
	case s.Every == 0:
		return elements(w.t, s.DType.DType, s.Seed, 0, n)
	}
	data, width := elements(w.t, s.DType.DType, s.Else, 0, n), uint64(s.DType.Bits()/8)
	for i := range n {
		if draw(s.Seed, i)&0xFFFFFFFF%s.Every == 0 {
			copy(data[i*width:], elements(w.t, s.DType.DType, s.Seed, i, 1))
		}
	}
	return data
}

func mapped[A, B any](list []A, f func(A) B) []B {
	out := make([]B, len(list))
	for i, a := range list {
		out[i] = f(a)
	}
	return out
}

// spec describes the tensor to a model.
func (s *tensorOf) spec(w *scene, data []byte) TensorSpec {
	blocks := BlockType(s.Blocks.of(w.t, blockWords))
	spec := TensorSpec{Name: s.Name, DType: s.DType.DType, Shape: s.Shape, Blocks: blocks}
	source := s.From.of(w.t, "memory io computed pushed failing")
	switch source {
	case 0:
		spec.Data = slices.Concat(data, []byte{})
		if spec.Data == nil {
			spec.Data = []byte{}
		}
	case 1:
		spec.Reader, spec.Offset = bytes.NewReader(append([]byte("12345"), data...)), 5
	case 2, 4:
		if s.count() >= 4 {
			spec.Granule, spec.MaxCount = 4, 64
		}
		bits := uint64(s.DType.Bits())
		spec.Compute = func(c *Computation) error {
			if source == 4 {
				return errOnPurpose
			}
			copy(c.Out, data[c.First*bits/8:])
			return nil
		}
	}
	return spec
}

func makeModel(w *scene, s struct {
	head
	Model    string
	Tensors  []tensorOf
	Metadata entries
}) error {
	m, err := NewModel(s.Model)
	if err := keep(w, w.models, s.Model, m, err); err != nil {
		return err
	}
	for _, t := range s.Tensors {
		data := t.content(w)
		if blocks := BlockType(t.Blocks.of(w.t, blockWords)); blocks != 0 {
			values := make([]float32, t.count())
			copy(Bytes(values), data)
			data = make([]byte, len(values)/BlockValues*blocks.Bytes())
			check(w.t, Quantise(blocks, data, values))
		}
		if err := m.Add(t.spec(w, data)); err != nil {
			return err
		}
		w.tensors[s.Model+"/"+t.Name] = data
	}
	for _, e := range s.Metadata {
		check(w.t, m.SetMetadata(e[0], e[1]))
	}
	return nil
}

func renameModel(w *scene, s struct {
	head
	Model, Of string
	Rules     [][2]string
}) error {
	rules := mapped(s.Rules, func(r [2]string) Rename { return Rename{r[0], r[1]} })
	m, err := find(w, w.models, s.Of).Renamed(rules...)
	return keep(w, w.models, s.Model, m, err)
}

func pickTensors(w *scene, s struct {
	head
	Model, Of string
	Tensors   [][]string
}) error {
	m, err := NewModel(s.Model)
	if err := keep(w, w.models, s.Model, m, err); err != nil {
		return err
	}
	of := find(w, w.models, s.Of)
	for _, t := range s.Tensors {
		if err := m.AddTensor(must(of.Tensor(t[0]))(w.t), append(t, "")[1]); err != nil {
			return err
		}
	}
	return m.CopyMetadata(of)
}

// inPieces reads n units, so many at a time; 0: all.
func inPieces(n, chunk uint64, read func(first, n uint64) ([]byte, error)) ([]byte, error) {
	var all []byte
	if chunk == 0 {
		chunk = max(n, 1)
	}
	for at := uint64(0); at < n; at += chunk {
		piece, err := read(at, min(chunk, n-at))
		if err != nil {
			return nil, err
		}
		all = append(all, piece...)
	}
	return all, nil
}

func readModel(w *scene, s struct {
	head
	Model  string
	Chunk  uint64
	Floats bool
}) (results, error) {
	m := find(w, w.models, s.Model)
	if err := m.Prepare(background, &w.use); err != nil {
		return nil, err
	}
	lines := []string{}
	for _, t := range m.Tensors() {
		total, read := uint64(t.Size()), func(first, n uint64) ([]byte, error) {
			piece := make([]byte, n)
			_, err := t.ReadAt(piece, int64(first))
			return piece, err
		}
		if s.Floats {
			total, read = t.Count(), func(first, n uint64) ([]byte, error) {
				piece := make([]float32, n)
				return Bytes(piece), t.ReadFloats(piece, first)
			}
		}
		data, err := inPieces(total, s.Chunk, read)
		if err != nil {
			return nil, err
		}
		shape := shapeText(t.Shape())
		lines = append(lines, fmt.Sprintf("%s %v %s %s", t.Name(), t.DType(), shape, digestOf(data)))
	}
	return results{"tensors": lines, "metadata": m.Metadata()}, nil
}

func tellRoles(w *scene, s struct {
	head
	Model string
}) (results, error) {
	roles := []any{}
	for _, t := range find(w, w.models, s.Model).Tensors() {
		role, err := t.Role()
		if err != nil {
			return nil, err
		}
		code := ""
		if role.Code != nil {
			code = role.Code.Name()
		}
		if role.Role != RoleWeight {
			roles = append(roles, []any{t.Name(), role.Role.String(), role.Family, code, role.CanDequantise})
		}
	}
	return results{"roles": roles}, nil
}

func (w *scene) isGGUF(format word) bool { return format.of(w.t, "safetensors gguf") == 1 }

func writeModel(w *scene, s struct {
	head
	Model, File string
	Format      word
}) (results, error) {
	m, o := find(w, w.models, s.Model), &WriteOptions{Resources: w.use}
	var out bytes.Buffer
	write := m.WriteSafetensors
	if w.isGGUF(s.Format) {
		write = m.WriteGGUF
	}
	if err := write(background, &out, o); err != nil {
		return nil, err
	}
	w.files[s.File] = out.Bytes()
	return results{"bytes": out.Len(), "digest": digestOf(out.Bytes())}, nil
}

func openModel(w *scene, s struct {
	head
	Model, File string
	Format      word
	Dequantise  bool
}) error {
	file, open := find(w, w.files, s.File), NewSafetensors
	if w.isGGUF(s.Format) {
		open = NewGGUF
	}
	m, err := open(bytes.NewReader(file), int64(len(file)), s.Model, &OpenOptions{Dequantise: s.Dequantise})
	return keep(w, w.models, s.Model, m, err)
}

func makeBytes(w *scene, s struct {
	head
	File, Hex string
}) (err error) {
	w.files[s.File], err = hex.DecodeString(s.Hex)
	return err
}

func damageFile(w *scene, s struct {
	head
	File, Of string
	At       int
	Xor      byte
	Cut      *int
}) error {
	data := slices.Clone(find(w, w.files, s.Of))
	if s.Cut != nil {
		data = data[:*s.Cut]
	}
	if s.At < 0 {
		s.At += len(data)
	}
	data[s.At] ^= s.Xor
	w.files[s.File] = data
	return nil
}

func applyAdapter(w *scene, s struct {
	head
	Model, Base, Adapter string
}) error {
	m, err := ApplyAdapter(background, find(w, w.models, s.Base), find(w, w.models, s.Adapter), &w.use)
	return keep(w, w.models, s.Model, m, err)
}

func compareAdapters(w *scene, s struct {
	head
	Models, Differ []string
}) error {
	return AdaptersAgree(mapped(s.Models, func(name string) NamedModel {
		return NamedModel{name, find(w, w.models, name)}
	}), s.Differ...)
}

func convertElements(w *scene, s struct {
	head
	From, To    dtypeName
	Count, Seed uint64
}) (results, error) {
	out := make([]byte, s.Count*uint64(s.To.Bits())/8)
	err := Convert(s.To.DType, out, s.From.DType, elements(w.t, s.From.DType, s.Seed, 0, s.Count))
	return results{"digest": digestOf(out)}, err
}

func quantiseValues(w *scene, s struct {
	head
	Type        word
	Count, Seed uint64
}) (results, error) {
	values, to := drawnFloats(w.t, s.Seed, s.Count), BlockType(s.Type.of(w.t, blockWords))
	blocks := make([]byte, int(s.Count)/BlockValues*to.Bytes())
	if err := Quantise(to, blocks, values); err != nil {
		return nil, err
	}
	err := Dequantise(to, values, blocks)
	return results{"blocks": digestOf(blocks), "values": digestOf(Bytes(values))}, err
}

func tellNames(w *scene, s struct {
	head
	Names []string
}) (results, error) {
	return results{"names": mapped(s.Names, func(name string) []any {
		return []any{LayerOf(name), KindOf(name), RankDimension(name)}
	})}, nil
}

func matchGlobs(w *scene, s struct {
	head
	Globs [][2]string
}) (results, error) {
	return results{"matches": mapped(s.Globs, func(pair [2]string) bool { return GlobMatches(pair[0], pair[1]) })}, nil
}

func tellElementary(w *scene, s struct {
	head
	Values []any
}) (results, error) {
	return results{
		"exp": mapped(s.Values, func(v any) float64 { return Exp(realOf(v)) }),
		"log": mapped(s.Values, func(v any) float64 { return Log(realOf(v)) }),
	}, nil
}

func tellConstants(w *scene, s struct{ head }) (results, error) {
	dtypes, blocks, statuses := []any{}, []any{}, []string{}
	for d := DType(0); d <= 40; d++ {
		if d.Bits() > 0 {
			dtypes = append(dtypes, []any{d.String(), d.Bits(), d.IsFloat()})
		}
	}
	for b := BlockType(0); b <= Q8_0; b++ {
		if b.Bytes() > 0 {
			blocks = append(blocks, []any{b.String(), b.Bytes()})
		}
	}
	for status := Status(0); status >= ErrExists; status-- {
		statuses = append(statuses, status.Name())
	}
	return results{"dtypes": dtypes, "statuses": statuses, "blocks": blocks}, nil
}

// Steps about checkpoints and bundles in a folder of the case's own.
var fileSteps = map[string]stepFunc{
	"save": step(saveModel),
	"load": alone(func(w *scene, s struct {
		head
		Model, Path     string
		Map, Dequantise bool
		SideFiles       bool `json:"side_files"`
	}) error {
		o := &OpenOptions{Map: s.Map, Dequantise: s.Dequantise, SideFiles: s.SideFiles}
		m, err := OpenModel(w.path(s.Path), o)
		return keep(w, w.models, s.Model, m, err)
	}),
	"load_bundle": step(func(w *scene, s struct {
		head
		Bundle, Path string
		Map          bool
	}) (results, error) {
		b, err := OpenBundle(w.path(s.Path), &BundleOptions{Map: s.Map})
		if err := keep(w, w.bundles, s.Bundle, b, err); err != nil {
			return nil, err
		}
		return results{"digest": digestOf(must(os.ReadFile(w.path(s.Path)))(w.t))}, nil
	}),
	"exists": step(func(w *scene, s struct {
		head
		Path string
	}) (results, error) {
		_, err := os.Stat(w.path(s.Path))
		return results{"is_there": err == nil}, nil
	}),
}

func saveModel(w *scene, s struct {
	head
	Model, Path string
	ShardBytes  uint64 `json:"shard_bytes"`
	Replace     bool
	DType       dtypeName
}) (results, error) {
	files := map[string]string{}
	path := w.path(s.Path)
	if s.Path[len(s.Path)-1] == '/' {
		path += "/"
	}
	err := find(w, w.models, s.Model).Write(background, path, &WriteOptions{
		Resources: w.use, ShardBytes: s.ShardBytes, Replace: s.Replace, DType: s.DType.DType,
		Written: func(path string) {
			name := must(filepath.Rel(w.folder, path))(w.t)
			files[filepath.ToSlash(name)] = digestOf(must(os.ReadFile(path))(w.t))
		},
	})
	return results{"files": files}, err
}

package emr

// Steps about sessions: weights written, products, rows gathered.
var sessionSteps = map[string]stepFunc{
	"session":  alone(makeSession),
	"apply":    step(applySession),
	"multiply": step(multiplySession),
	"gather":   step(gatherSession),
}

func makeSession(w *scene, s struct {
	head
	Session, Bundle, Base string
	WithoutBase           bool `json:"without_base"`
	Check                 word
	MaskBytes             uint64 `json:"mask_bytes"`
}) error {
	x, err := find(w, w.bundles, s.Bundle).NewSession(background, w.base(s.Base), &SessionOptions{
		Resources: w.use, WithoutBase: s.WithoutBase, Check: BaseCheck(s.Check.of(w.t, checkWords)),
		MaskBytes: s.MaskBytes,
	})
	return keep(w, w.sessions, s.Session, x, err)
}

// session is the one of that name, or a thread of it.
func (w *scene) session(name string, thread bool) (*Session, error) {
	s := find(w, w.sessions, name)
	if !thread {
		return s, nil
	}
	t, err := s.OpenThread()
	if err == nil {
		w.closes(t)
	}
	return t, err
}

// taskNumbers are those of the tasks of these names; "" is the base.
func taskNumbers(s *Session, names ...string) ([]uint32, error) {
	numbers := make([]uint32, len(names))
	for i, name := range names {
		numbers[i] = Base
		if name == "" {
			continue
		}
		task, err := s.bundle.Task(name)
		if err != nil {
			return nil, err
		}
		numbers[i] = task.Number()
	}
	return numbers, nil
}

type weightsOf struct {
	Name         string
	Count, First uint64
	DType        dtypeName
	Blocks       word
	Staging      uint64
	WithoutBase  bool `json:"without_base"`
}

// weights are C's of them; the bytes are in what the function gives in the end.
func (s *weightsOf) weights(w *scene) (Weights, func() []byte) {
	x := Weights{
		Tensor: s.Name, DType: s.DType.DType, Blocks: BlockType(s.Blocks.of(w.t, blockWords)), First: s.First,
		Count: s.Count, WithoutBase: s.WithoutBase,
	}
	size := func(n uint64) uint64 {
		if x.Blocks != 0 {
			return n / BlockValues * uint64(x.Blocks.Bytes())
		}
		return n * uint64(x.DType.Bits()) / 8
	}
	if s.Staging == 0 {
		x.Data = make([]byte, size(s.Count))
		return x, func() []byte { return x.Data }
	}
	var all []byte
	x.Data = make([]byte, size(s.Staging))
	x.Write = func(p WeightsPart) error {
		all = append(all, p.Data...)
		return nil
	}
	return x, func() []byte { return all }
}

func applySession(w *scene, s struct {
	head
	Session, Task string
	Weights       []weightsOf
	Thread        bool
}) (results, error) {
	x, err := w.session(s.Session, s.Thread)
	if err != nil {
		return nil, err
	}
	task, err := taskNumbers(x, s.Task)
	if err != nil {
		return nil, err
	}
	var weights []Weights
	var outs []func() []byte
	for _, one := range s.Weights {
		weight, out := one.weights(w)
		weights, outs = append(weights, weight), append(outs, out)
	}
	if err := x.Apply(task[0], weights...); err != nil {
		return nil, err
	}
	return results{"digests": mapped(outs, func(out func() []byte) string { return digestOf(out()) })}, nil
}

func multiplySession(w *scene, s struct {
	head
	Session, Tensor string
	Tasks           []string
	Columns, Seed   uint64
	FirstRow        uint64 `json:"first_row"`
	Rows            uint64 `json:"n_rows"`
	RowColumns      uint64 `json:"n_columns"`
	WithoutBase     bool   `json:"without_base"`
	Add, Thread     bool
}) (results, error) {
	x, err := w.session(s.Session, s.Thread)
	if err != nil {
		return nil, err
	}
	tasks, err := taskNumbers(x, s.Tasks...)
	if err != nil {
		return nil, err
	}
	batch := uint64(len(tasks))
	p := Product{
		Tensor: s.Tensor, X: drawnFloats(w.t, s.Seed, batch*s.Columns),
		Y: drawnFloats(w.t, s.Seed+1, batch*s.Rows), FirstRow: s.FirstRow, Rows: s.Rows,
		Columns: s.RowColumns, WithoutBase: s.WithoutBase, Add: s.Add,
	}
	err = x.Multiply(tasks, p)
	return results{"digest": digestOf(Bytes(p.Y))}, err
}

func gatherSession(w *scene, s struct {
	head
	Session, Tensor string
	Tasks           []string
	Rows            []uint64
	Row             uint64
	DType           dtypeName
	WithoutBase     bool   `json:"without_base"`
	Columns         uint64 `json:"n_columns"`
	Thread          bool
}) (results, error) {
	x, err := w.session(s.Session, s.Thread)
	if err != nil {
		return nil, err
	}
	tasks, err := taskNumbers(x, s.Tasks...)
	if err != nil {
		return nil, err
	}
	g := Gather{
		Tensor: s.Tensor, Out: make([]byte, uint64(len(tasks))*s.Row*uint64(s.DType.Bits())/8),
		DType: s.DType.DType, Columns: s.Columns, WithoutBase: s.WithoutBase,
	}
	err = x.Gather(tasks, s.Rows, g)
	return results{"digest": digestOf(g.Out)}, err
}

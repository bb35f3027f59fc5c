package emr

// #include "bridge.h"
import "C"

import (
	"unsafe"
)

// A KinshipMetric is how kin two tasks are taken to be.
type KinshipMetric uint32

// The metrics.
const (
	Pearson KinshipMetric = C.EMR_KINSHIP_METRIC_PEARSON // the correlation of the task vectors
	Cosine  KinshipMetric = C.EMR_KINSHIP_METRIC_COSINE  // the cosine of the angle between them
	Euclid  KinshipMetric = C.EMR_KINSHIP_METRIC_EUCLID  // the length of their difference: less is more kin
)

// KinshipOptions may be nil. The zero value is Pearson's.
type KinshipOptions struct {
	Metric   KinshipMetric
	Absolute bool // cosines lose their sign, as in the published program
}

func (o *KinshipOptions) marshal(a *arena) *C.emr_kinship_options {
	if o == nil {
		o = &KinshipOptions{}
	}
	c := object[C.emr_kinship_options](a)
	*c = C.emr_kinship_options{
		size: C.sizeof_emr_kinship_options, metric: C.emr_kinship_metric(o.Metric),
		absolute: flag(o.Absolute),
	}
	return c
}

// A KinshipMatrix has how kin every two of n tasks are: n x n, row by row. NaN is "none".
type KinshipMatrix []float64

// Mean is how kin all n are together: the mean over the pairs.
func (m KinshipMatrix) Mean() float64 {
	n := 0
	for n*n < len(m) {
		n++
	}
	if n*n != len(m) {
		panic("emr: a KinshipMatrix that is not square")
	}
	return float64(C.emr_kinship_mean((*C.double)(unsafe.SliceData(m)), C.uint32_t(n)))
}

// Kinship is that of every two tasks of the group.
func (g *StatisticsGroup) Kinship(o *KinshipOptions) (KinshipMatrix, error) {
	var a arena
	defer a.free()
	group, err := g.marshal(&a)
	if err != nil {
		return nil, err
	}
	matrix := make(KinshipMatrix, g.Tasks*g.Tasks)
	var e C.emr_error
	err = failure(C.emr_kinship(group, o.marshal(&a), (*C.double)(unsafe.SliceData(matrix)), &e), &e)
	return matrix, err
}

// SplitKinship is the mean of the tensors' kinships, each weighted by its elements: the published program's
// --split-calculation. It is not the kinship of the model.
func (s *Statistics) SplitKinship(o *KinshipOptions) (KinshipMatrix, error) {
	model, err := s.Model()
	if err != nil {
		return nil, err
	}
	if err := s.h.own(); err != nil {
		return nil, err
	}
	defer s.h.disown()
	var a arena
	defer a.free()
	matrix := make(KinshipMatrix, len(model.Products))
	var e C.emr_error
	status := C.emr_statistics_split_kinship(s.c, o.marshal(&a), (*C.double)(unsafe.SliceData(matrix)), &e)
	return matrix, failure(status, &e)
}

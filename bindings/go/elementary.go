package emr

// #include "bridge.h"
import "C"

// Exp is e to the power of x: infinity above 709.78, 0 below -745.13. It is for methods and losses of the host's own: the
// same bits on every machine, which math.Exp does not promise.
func Exp(x float64) float64 {
	return float64(C.emr_exp(C.double(x)))
}

// Log is the natural logarithm, with the same promise: -infinity of 0, NaN below.
func Log(x float64) float64 {
	return float64(C.emr_log(C.double(x)))
}

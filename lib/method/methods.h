/* methods.h - the library's merging methods (emr/method.h), each in a file of its own. */
#ifndef EMR_METHOD_METHODS_H
#define EMR_METHOD_METHODS_H

#include "emr/method.h"

/* A parameter's `initial` where there is no default. */
#define EMR_METHOD_UNSET __builtin_nan("")

/* One a method, in alphabetical order. */
extern const emr_method emr_method_task_arithmetic;

#endif

/* methods.h - the library's merging methods (emr/method.h), each in a file of its own. */
#ifndef EMR_METHOD_METHODS_H
#define EMR_METHOD_METHODS_H

#include "emr/method.h"

/* A parameter's `initial` where there is no default. */
#define EMR_METHOD_UNSET __builtin_nan("")

/* One a method, in alphabetical order. */
extern const emr_method emr_method_arcee_fusion;
extern const emr_method emr_method_breadcrumbs;
extern const emr_method emr_method_breadcrumbs_ties;
extern const emr_method emr_method_consensus;
extern const emr_method emr_method_dare_linear;
extern const emr_method emr_method_dare_ties;
extern const emr_method emr_method_della;
extern const emr_method emr_method_della_linear;
extern const emr_method emr_method_karcher;
extern const emr_method emr_method_linear;
extern const emr_method emr_method_magmax;
extern const emr_method emr_method_model_stock;
extern const emr_method emr_method_multislerp;
extern const emr_method emr_method_nearswap;
extern const emr_method emr_method_nuslerp;
extern const emr_method emr_method_passthrough;
extern const emr_method emr_method_ram;
extern const emr_method emr_method_ramplus_tl;
extern const emr_method emr_method_sce;
extern const emr_method emr_method_slerp;
extern const emr_method emr_method_task_arithmetic;
extern const emr_method emr_method_ties;
extern const emr_method emr_method_ties_model;

#endif

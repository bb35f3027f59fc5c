/* bridge_methods.h - a method that Go describes as C's table: the Go functions behind it, as cgo declares them. */
#ifndef EMR_GO_BRIDGE_METHODS_H
#define EMR_GO_BRIDGE_METHODS_H

#include "bridge.h"

emr_status emrGoCheckMethod(emr_method_tensor *tensor, emr_error *error);
uint64_t emrGoRowLength(emr_method_tensor *tensor);
uint32_t emrGoNeededStages(emr_method_tensor *tensor);
emr_status emrGoCombine(emr_method_chunk *chunk, emr_error *error);

/* Stage number `i` of a method: one that adds sums up, or one that cuts lists. */
void emr_go_fill_stage(emr_method_stage *stage, uint32_t i, int cuts);

#endif

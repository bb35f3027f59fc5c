/* bridge_search.h - what searches and trials call back, as cgo declares it. */
#ifndef EMR_GO_BRIDGE_SEARCH_H
#define EMR_GO_BRIDGE_SEARCH_H

#include "bridge.h"

emr_status emrGoMerge(void *user, emr_search_candidate *candidate, emr_error *error);
emr_status emrGoEvaluate(void *user, emr_search_candidate *candidate, double *score, emr_error *error);
emr_status emrGoSimilarity(void *user, uint32_t a, uint32_t b, double *similarity, emr_error *error);
void emrGoRelease(void *user, uint32_t number);
emr_status emrGoTry(void *user, emr_trial *trial, double *score, emr_error *error);

#endif

/* combined_world.h - combinations of a test set, and their tensors read in all ways. */
#ifndef EMR_TESTS_COMBINED_WORLD_H
#define EMR_TESTS_COMBINED_WORLD_H

#include "support.h"

/* A combination of the set: its base unless `without_base`, and its tasks, named t0, t1, ... */
emr_combination *world_combination(const test_set *s, const emr_combination_options *options,
                                   bool without_base);
void world_set(emr_combination *c, const char *parameter, uint32_t task, const char *glob, double value);
/* The model of a combination, which is let go: destroy the model. */
emr_model *world_open(emr_combination *c);
/* The model of a set by a method with these weights (NULL: none is set). */
emr_model *world_combine(const test_set *s, const emr_method *method, const double *weights);

/* All bytes of a tensor in one read; free them. */
unsigned char *world_read(const emr_tensor *tensor);
/* Whether the tensor reads the same in any ranges. */
void world_check_ranges(const emr_tensor *tensor, rng *r);
/* Whether two models have the same tensors with the same bytes. */
void world_check_same(const emr_model *a, const emr_model *b);

/* A value of a test model's tensor as it is stored, widened. */
double world_value(const test_model *m, size_t tensor, uint64_t i);
/* An element of bytes as world_read gives them. */
double world_element(const emr_tensor *tensor, const unsigned char *bytes, uint64_t i);

#endif

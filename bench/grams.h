/* grams.h - sums of activations. */
#ifndef BENCH_GRAMS_H
#define BENCH_GRAMS_H

#include "settings.h"

#include <emr/emr.h>
#include <emr/fit/gram.h>

/* n values in a dtype, about N(0, 1), that depend on `seed`. */
void random_values(emr_dtype dtype, void *to, size_t n, uint64_t seed);

/* A gram of one model with a site "site", of that many rows. */
emr_gram *make_gram(const emr_resources *resources, uint64_t width, size_t n_rows, uint64_t seed);

/* emr_gram_feed against OpenBLAS's dsyrk. */
void bench_grams(const settings *s);

#endif

/* synthetic.h - pseudo-random models that look like real ones to a merge: weights of a base about N(0, 0.02),
 * and fine-tuned ones that differ from it by about N(0, 0.002) of their own. */
#ifndef BENCH_SYNTHETIC_H
#define BENCH_SYNTHETIC_H

#include "measure.h"

#include <stdint.h>

enum { SOURCES_MAX = 65 }; /* a base and 64 tasks */

/* 64 well mixed bits of a number. */
static inline uint64_t mix64(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* Values [first, first + n) of source 0 (the base) or of task `source` - 1. */
void synthetic_values(emr_dtype dtype, void *to, size_t source, uint64_t first, size_t n);

/* Where sources begin. Models that a host allocated or mapped begin at pages, so that the same place of all
 * of them falls into the same few sets of the processor's caches; whoever lays sources out can spread them.
 */
typedef enum placement { AT_PAGES = 0, SPREAD = 1088 } placement; /* bytes by which each source is moved */

/* Models in memory: a base and its tasks, `n` parameters each. */
typedef struct synthetic_models {
    emr_dtype dtype;
    placement placement;
    size_t n, size, n_tasks; /* parameters; bytes of one; tasks */
    uint8_t *sources[SOURCES_MAX];
} synthetic_models;

/* About `bytes` in all, a multiple of `unit` parameters in each source. */
synthetic_models synthetic_create(const team *t, emr_dtype dtype, placement place, size_t n_tasks,
                                  size_t bytes, size_t unit);
void synthetic_destroy(synthetic_models *m);

/* Bytes of base and tasks. */
double synthetic_bytes(const synthetic_models *m);

/* Reads all of it from front to back, source after source; threads have equal shares of each. */
void synthetic_read(const synthetic_models *m, const team *t);

#endif

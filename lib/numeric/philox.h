/* philox.h - random numbers by position: Philox-4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as
 * easy as 1, 2, 3", 2011). A key and a counter give four words; nothing is remembered between calls. */
#ifndef EMR_NUMERIC_PHILOX_H
#define EMR_NUMERIC_PHILOX_H

#include "numeric/kernels.h"

/* What the rounds multiply by, and what the key grows by from one round to the next. */
#define EMR_PHILOX_TIMES_0 0xD2511F53u
#define EMR_PHILOX_TIMES_1 0xCD9E8D57u
#define EMR_PHILOX_STEP_0  0x9E3779B9u
#define EMR_PHILOX_STEP_1  0xBB67AE85u

enum { EMR_PHILOX_ROUNDS = 10 };

/* The four words of a counter. The key's lower half is its first word. */
void emr_philox(const uint32_t counter[4], uint64_t key, uint32_t words[4]);

/* The variant's own, or where it has none the specification. */
emr_random_kernels emr_random_kernels_of(const emr_kernels *kernels);

/* What of 2^32 words are below for a probability: floor(p * 2^32); for p >= 1 all of them, for p <= 0 none. */
uint64_t emr_random_threshold(double p);

#endif

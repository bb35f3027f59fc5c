/* philox.h - random numbers by position: Philox-4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as
 * easy as 1, 2, 3", 2011). A key and a counter give four words; nothing is remembered between calls.
 *
 * A position i has a word of 32 bits, of two parts:
 *
 *     its highest byte     byte i mod 16 of counter (i / 16, EMR_RANDOM_BYTES, 0), whose four words are 16 bytes, the lowest
 *                          of each word first
 *     its other 24 bits    the upper 24 of word i mod 4 of counter (i / 4, EMR_RANDOM_WORDS, 0)
 *
 * where counters are numbers of 64, 32 and 32 bits. Where a position's word is compared with a threshold, the byte decides
 * but for one of 256: a counter is drawn for 16 positions, not for 4. */
#ifndef EMR_NUMERIC_PHILOX_H
#define EMR_NUMERIC_PHILOX_H

#include "numeric/kernels.h"

/* What the rounds multiply by, and what the key grows by from one round to the next. */
#define EMR_PHILOX_TIMES_0 0xD2511F53u
#define EMR_PHILOX_TIMES_1 0xCD9E8D57u
#define EMR_PHILOX_STEP_0  0x9E3779B9u
#define EMR_PHILOX_STEP_1  0xBB67AE85u

enum { EMR_PHILOX_ROUNDS = 10 };

/* What a counter is drawn for: its third word. */
enum { EMR_RANDOM_WORDS = 0, EMR_RANDOM_BYTES = 2 };

/* The four words of a counter. The key's lower half is its first word. */
void emr_philox(const uint32_t counter[4], uint64_t key, uint32_t words[4]);

/* The lower 24 bits of a position's word. */
uint32_t emr_random_lower(uint64_t key, uint64_t position);

/* The variant's own, or where it has none the specification. */
emr_random_kernels emr_random_kernels_of(const emr_kernels *kernels);

/* What of 2^32 words are below for a probability: floor(p * 2^32); for p >= 1 all of them, for p <= 0 none. */
uint64_t emr_random_threshold(double p);

#endif

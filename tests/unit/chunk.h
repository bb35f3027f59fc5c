/* chunk.h - one chunk for the kernels, with its memory around it. */
#ifndef EMR_TESTS_CHUNK_H
#define EMR_TESTS_CHUNK_H

#include "support.h"

#include "numeric/kernels.h"

enum { TASKS = 4, MOST = 1000 };

/* The variant under test: each program runs its tests once for every one that the processor has. */
extern const emr_kernels *chunk_kernels;
#define run_for_every_variant(tests) run_variants((tests), sizeof(tests) / sizeof((tests)[0]))
int run_variants(const struct CMUnitTest *tests, size_t n);

/* Everything is f32 unless a test changes it; masks and unified begin as 0xee, the rest as zero. */
typedef struct test_chunk {
    emr_chunk chunk;
    float base[MOST], weights[TASKS][MOST], unified[MOST];
    const void *tasks[TASKS];
    emr_dtype dtypes[TASKS];
    uint8_t bits[TASKS][MOST / 8 + 9];
    uint8_t *masks[TASKS];
    emr_chunk_task results[TASKS];
} test_chunk;

/* Free it with free(). */
test_chunk *chunk_create(size_t n, size_t n_tasks);
void chunk_merge(test_chunk *b);
unsigned chunk_mask_bit(const test_chunk *b, size_t task, size_t i);
/* Whether all but the kernel's work memory is the same. */
bool chunk_same_result(const emr_chunk_task *a, const emr_chunk_task *b);
/* A normal base, and tasks near it, some of whose weights equal the base's. */
void chunk_randomise(test_chunk *b, rng *r);

uint32_t f32_bits(float f);
float f32_from(uint32_t bits);

#endif

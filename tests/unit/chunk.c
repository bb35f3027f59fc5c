/* chunk.c - see chunk.h. */
#include "chunk.h"

const emr_kernels *chunk_kernels;

int run_variants(const struct CMUnitTest *tests, size_t n)
{
    int failed = 0;
    for (const emr_kernels *const *variant = emr_kernels_available(); *variant; variant++) {
        chunk_kernels = *variant;
        failed += _cmocka_run_group_tests((*variant)->name, tests, n, NULL, NULL);
    }
    return failed;
}

test_chunk *chunk_create(size_t n, size_t n_tasks)
{
    test_chunk *b = calloc(1, sizeof *b);
    b->chunk = (emr_chunk){.n = n,
                           .n_tasks = n_tasks,
                           .base = b->base,
                           .tasks = b->tasks,
                           .task_dtypes = b->dtypes,
                           .base_dtype = EMR_DTYPE_F32,
                           .unified_dtype = EMR_DTYPE_F32,
                           .unified = b->unified,
                           .masks = b->masks,
                           .results = b->results};
    for (size_t t = 0; t < n_tasks; t++) {
        b->tasks[t] = b->weights[t];
        b->dtypes[t] = EMR_DTYPE_F32;
        b->masks[t] = b->bits[t];
        memset(b->bits[t], 0xee, sizeof b->bits[t]);
    }
    memset(b->unified, 0xee, sizeof b->unified);
    return b;
}

void chunk_merge(test_chunk *b)
{
    chunk_kernels->merge(&b->chunk);
}

unsigned chunk_mask_bit(const test_chunk *b, size_t task, size_t i)
{
    return b->bits[task][i / 8] >> i % 8 & 1;
}

bool chunk_same_result(const emr_chunk_task *a, const emr_chunk_task *b)
{
    return a->sums.t1 == b->sums.t1 && a->sums.q1 == b->sums.q1 && a->ones == b->ones &&
           a->zeroed == b->zeroed && a->nonzero == b->nonzero;
}

void chunk_randomise(test_chunk *b, rng *r)
{
    for (size_t i = 0; i < b->chunk.n; i++) {
        b->base[i] = rng_normal(r);
        for (size_t t = 0; t < b->chunk.n_tasks; t++)
            b->weights[t][i] = rng_below(r, 8) ? b->base[i] + 0.1f * rng_normal(r) : b->base[i];
    }
}

uint32_t f32_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

float f32_from(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

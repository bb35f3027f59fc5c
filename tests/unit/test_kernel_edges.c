/* test_kernel_edges.c - what kernels do with values that are not finite, other dtypes, and any alignment. */
#include "chunk.h"

#include <float.h>
#include <math.h>

typedef struct fault {
    size_t task, at;
    float value;
} fault;

/* Merges zeros with some faults put in; task TASKS stands for the base. */
static test_chunk *merge_faults(const fault *faults, size_t n, bool zero)
{
    test_chunk *b = chunk_create(300, 3);
    b->chunk.zero_nonfinite = zero;
    for (size_t i = 0; i < n; i++)
        (faults[i].task == TASKS ? b->base : b->weights[faults[i].task])[faults[i].at] = faults[i].value;
    chunk_merge(b);
    return b;
}

static void check_first_fault(const fault *faults, size_t n, size_t bad, size_t task)
{
    test_chunk *b = merge_faults(faults, n, false);
    assert_int_equal(b->chunk.bad, bad);
    assert_int_equal(b->chunk.bad_task, task);
    free(b);
}

static void the_first_value_that_is_not_finite_is_named(void **state)
{
    const fault late[] = {{0, 299, INFINITY}, {1, 298, NAN}};
    const fault same_place[] = {{2, 70, NAN}, {1, 70, -INFINITY}};
    const fault same_group[] = {{0, 12, INFINITY}, {2, 3, INFINITY}, {1, 7, NAN}};
    const fault groups[] = {{0, 64, NAN}, {2, 63, NAN}};
    const fault base[] = {{TASKS, 5, NAN}};
    const fault both[] = {{TASKS, 5, INFINITY}, {0, 5, INFINITY}, {1, 5, INFINITY}, {2, 5, INFINITY}};
    const fault apart[] = {{TASKS, 9, -FLT_MAX}, {1, 9, FLT_MAX}}; /* the difference is no f32 */
    (void)state;
    check_first_fault(late, 2, 298, 1);
    check_first_fault(same_place, 2, 70, 1);
    check_first_fault(same_group, 3, 3, 2);
    check_first_fault(groups, 2, 63, 2);
    check_first_fault(base, 1, 5, 0);
    check_first_fault(both, 4, 5, 0);
    check_first_fault(apart, 2, 9, 1);
}

/* They count as 0, task by task, and leave the others' votes as they are. */
static void values_that_are_not_finite_may_count_as_zero(void **state)
{
    const fault faults[] = {{0, 1, NAN},       {1, 1, 3},  {2, 1, 1},         {0, 2, INFINITY},
                            {1, 2, -INFINITY}, {2, 2, -2}, {TASKS, 200, NAN}, {0, 299, 7}};
    (void)state;
    test_chunk *b = merge_faults(faults, sizeof faults / sizeof faults[0], true);
    assert_int_equal(b->chunk.bad, b->chunk.n);
    assert_int_equal(b->results[0].zeroed, 3);
    assert_int_equal(b->results[1].zeroed, 2);
    assert_int_equal(b->results[2].zeroed, 1);
    assert_true(b->unified[1] == 3 && b->unified[2] == -2 && b->unified[299] == 7);
    assert_int_equal(f32_bits(b->unified[200]), 0);
    assert_int_equal(chunk_mask_bit(b, 0, 1) | chunk_mask_bit(b, 0, 2) | chunk_mask_bit(b, 0, 200), 0);
    assert_int_equal(b->results[0].ones, 1);
    assert_int_equal(b->results[1].ones, 1);
    assert_int_equal(b->results[2].ones, 2);
    assert_true(b->results[0].sums.t1 == 7 && b->results[0].sums.q1 == 7);
    assert_true(b->results[1].sums.t1 == 3 && b->results[2].sums.t1 == 3);
    free(b);
}

static void a_unified_value_beyond_its_dtype_is_named(void **state)
{
    (void)state;
    test_chunk *b = chunk_create(300, 2);
    b->chunk.unified_dtype = EMR_DTYPE_F16;
    b->weights[1][70] = 65519; /* rounds to 65504, the largest */
    chunk_merge(b);
    assert_int_equal(b->chunk.bad, b->chunk.n);
    b->weights[1][150] = 65520; /* rounds to infinity */
    b->weights[1][151] = -1e30f;
    chunk_merge(b);
    assert_int_equal(b->chunk.bad, 150);
    assert_int_equal(b->chunk.bad_task, 2);
    b->chunk.unified_dtype = EMR_DTYPE_BF16;
    b->weights[0][20] = FLT_MAX;
    chunk_merge(b);
    assert_int_equal(b->chunk.bad, 20);
    assert_int_equal(b->chunk.bad_task, 2);
    free(b);
}

/* Masks and sums are those of the stored value: what rounds to 0 is not elected, and 0 is stored as +0. */
static void masks_follow_the_stored_unified_value(void **state)
{
    (void)state;
    test_chunk *b = chunk_create(4, 2);
    uint16_t stored[MOST];
    const float first[] = {1e-9f, -1e-9f, 1.0009765625f, -2};
    memcpy(b->weights[0], first, sizeof first);
    b->chunk.unified_dtype = EMR_DTYPE_F16;
    b->chunk.unified = stored;
    chunk_merge(b);
    assert_int_equal(stored[0], 0);
    assert_int_equal(stored[1], 0);
    assert_int_equal(stored[2], 0x3c01);
    assert_int_equal(stored[3], 0xc000);
    assert_int_equal(b->bits[0][0], 0x0c);
    assert_int_equal(b->results[0].ones, 2);
    assert_true(b->results[0].sums.q1 == 3.0009765625);
    b->chunk.n = 2;
    chunk_merge(b);
    assert_int_equal(b->results[0].ones, 0);
    assert_int_equal(b->results[0].nonzero, 1);
    assert_true(b->results[0].sums.q1 == 0 && b->results[0].sums.t1 > 0);
    b->chunk.n = 3; /* bf16: 1.0009765625 is nearest to 1 */
    b->chunk.unified_dtype = EMR_DTYPE_BF16;
    chunk_merge(b);
    assert_int_equal(stored[2], 0x3f80);
    assert_true(stored[0] != 0 && b->results[0].ones == 3);
    free(b);
}

/* In f64 the difference is taken before it is rounded to f32, whichever side is f64. */
static void differences_with_f64_are_rounded_once(void **state)
{
    const double base[] = {1, 1 + 0x1p-40, 1e300, -1}, task[] = {1 + 0x1p-30, 1 + 0x1p-39, 1e300, 0x1p-52};
    const float expected[] = {0x1p-30f, 0x1p-40f, 0, 1}, narrow[] = {1, 1, 0, -1};
    (void)state;
    test_chunk *b = chunk_create(4, 1);
    b->chunk.base = base;
    b->chunk.base_dtype = EMR_DTYPE_F64;
    b->tasks[0] = task;
    b->dtypes[0] = EMR_DTYPE_F64;
    chunk_merge(b);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(f32_bits(b->unified[i]), f32_bits(expected[i]));
    b->chunk.base = narrow;
    b->chunk.base_dtype = EMR_DTYPE_F32;
    b->chunk.n = 2;
    chunk_merge(b);
    assert_int_equal(f32_bits(b->unified[0]), f32_bits(0x1p-30f));
    assert_int_equal(f32_bits(b->unified[1]), f32_bits(0x1p-39f));
    free(b);
}

/* Chunks of any dtypes at any address give what the same values give in f32. */
static void dtypes_and_alignment_do_not_matter(void **state)
{
    static const emr_dtype dtypes[] = {EMR_DTYPE_F32, EMR_DTYPE_F16,     EMR_DTYPE_BF16,
                                       EMR_DTYPE_F64, EMR_DTYPE_F8_E4M3, EMR_DTYPE_F8_E5M2};
    static uint8_t memory[1 + TASKS][8 * MOST + 8], unified[4 * MOST + 4];
    rng r = {71};
    (void)state;
    for (size_t round = 0; round < 72; round++) {
        size_t n = 1 + rng_below(&r, MOST);
        test_chunk *plain = chunk_create(n, TASKS), *other = chunk_create(n, TASKS);
        chunk_randomise(plain, &r);
        for (size_t s = 0; s <= TASKS; s++) {
            emr_dtype dtype = dtypes[(round + s * (1 + round / 6 % 5)) % 6];
            float *values = s == TASKS ? plain->base : plain->weights[s];
            uint8_t *p = memory[s] + rng_below(&r, 8);
            emr_convert(dtype, p, EMR_DTYPE_F32, values, n);
            emr_convert(EMR_DTYPE_F32, values, dtype, p, n);
            if (s == TASKS) {
                other->chunk.base = p;
                other->chunk.base_dtype = dtype;
            } else {
                other->tasks[s] = p;
                other->dtypes[s] = dtype;
            }
        }
        other->chunk.unified = unified + round % 4;
        chunk_merge(plain);
        chunk_merge(other);
        assert_memory_equal(plain->unified, other->chunk.unified, n * sizeof(float));
        assert_memory_equal(plain->bits, other->bits, sizeof plain->bits);
        for (size_t t = 0; t < TASKS; t++)
            assert_true(chunk_same_result(&plain->results[t], &other->results[t]));
        free(plain);
        free(other);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_value_that_is_not_finite_is_named),
        cmocka_unit_test(values_that_are_not_finite_may_count_as_zero),
        cmocka_unit_test(a_unified_value_beyond_its_dtype_is_named),
        cmocka_unit_test(masks_follow_the_stored_unified_value),
        cmocka_unit_test(differences_with_f64_are_rounded_once),
        cmocka_unit_test(dtypes_and_alignment_do_not_matter),
    };
    return run_for_every_variant(tests);
}

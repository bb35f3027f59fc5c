/* test_kernels.c - elect, mask and rescale on one chunk: by hand, and against the formulas parameter by
 * parameter. */
#include "support.h"

#include "chunk.h"

#include <math.h>

/* One parameter, base 0: three task vectors, what is elected, and the masks (bit t is task t). */
typedef struct election {
    float tau[3], unified;
    unsigned masks;
    float unified_negative; /* where a tie elects the negative side */
    unsigned masks_negative;
} election;

static const election elections[] = {
    {{1, 2, -1}, 2, 3, 2, 3},
    {{-3, 1, 1}, -3, 1, -3, 1},
    {{1, -1, 0}, 0, 0, -1, 2},
    {{1, -0.25f, -0.75f}, 0, 0, -0.75f, 6},
    {{0, 0, 0}, 0, 0, 0, 0},
    {{-0.0f, 0, -0.0f}, 0, 0, 0, 0},
    {{0, 0, 5}, 5, 4, 5, 4},
    {{-4, -6, -5}, -6, 7, -6, 7},
    {{1e-45f, 1e-45f, -1e-45f}, 1e-45f, 3, 1e-45f, 3},
    {{-1e-45f, 1e-45f, 0}, 0, 0, -1e-45f, 1},
    /* the sum overflows, its sign does not */
    {{3e38f, 3e38f, -1e38f}, 3e38f, 3, 3e38f, 3},
    {{-3e38f, -3e38f, 3e38f}, -3e38f, 3, -3e38f, 3},
    /* sums are taken in f32 in the order of tasks: 1e8 + 1 is 1e8 */
    {{1e8f, 1, -1e8f}, 0, 0, -1e8f, 4},
    {{1e8f, -1e8f, 1}, 1e8f, 5, 1e8f, 5},
    {{1, 1e8f, -1e8f}, 0, 0, -1e8f, 4},
};
enum { N_ELECTIONS = sizeof elections / sizeof elections[0] };

static void elections_by_hand(void **state)
{
    (void)state;
    for (unsigned negative = 0; negative < 2; negative++) {
        test_chunk *b = chunk_create(N_ELECTIONS, 3);
        b->chunk.tie_negative = (uint8_t)negative;
        for (size_t i = 0; i < N_ELECTIONS; i++)
            for (size_t t = 0; t < 3; t++)
                b->weights[t][i] = elections[i].tau[t];
        chunk_merge(b);
        assert_int_equal(b->chunk.bad, N_ELECTIONS);
        for (size_t i = 0; i < N_ELECTIONS; i++) {
            const election *e = &elections[i];
            assert_int_equal(f32_bits(b->unified[i]), f32_bits(negative ? e->unified_negative : e->unified));
            for (size_t t = 0; t < 3; t++)
                assert_int_equal(chunk_mask_bit(b, t, i), (negative ? e->masks_negative : e->masks) >> t & 1);
        }
        free(b);
    }
}

/* tau of one task is {1, -2, 4}, of the other {3, 1, 0}: unified {3, -2, 4}, masks {1, 1, 1} and {1, 0, 0}.
 */
static void sums_by_hand(void **state)
{
    (void)state;
    for (unsigned l2 = 0; l2 < 2; l2++) {
        test_chunk *b = chunk_create(3, 2);
        const float base[] = {10, 20, -30}, first[] = {11, 18, -26}, second[] = {13, 21, -30};
        memcpy(b->base, base, sizeof base);
        memcpy(b->weights[0], first, sizeof first);
        memcpy(b->weights[1], second, sizeof second);
        b->chunk.l2 = (uint8_t)l2;
        chunk_merge(b);
        assert_true(b->results[0].sums.top == (l2 ? 3 + 4 + 16 : 7));
        assert_true(b->results[0].sums.bottom == (l2 ? 9 + 4 + 16 : 9));
        assert_true(b->results[1].sums.top == (l2 ? 9 : 4));
        assert_true(b->results[1].sums.bottom == (l2 ? 9 : 3));
        assert_int_equal(b->results[0].ones, 3);
        assert_int_equal(b->results[1].ones, 1);
        assert_int_equal(b->results[0].nonzero, 1);
        assert_int_equal(b->results[0].zeroed, 0);
        free(b);
    }
}

/* Every parameter by the formulas of the paper, one at a time. */
static void random_chunks_follow_the_formulas(void **state)
{
    rng r = {21};
    (void)state;
    for (size_t round = 0; round < 60; round++) {
        test_chunk *b = chunk_create(1 + rng_below(&r, MOST), 1 + rng_below(&r, TASKS));
        chunk_randomise(b, &r);
        chunk_merge(b);
        for (size_t i = 0; i < b->chunk.n; i++) {
            float tau[TASKS], sum = 0, magnitude = 0;
            for (size_t t = 0; t < b->chunk.n_tasks; t++) {
                tau[t] = b->weights[t][i] - b->base[i];
                sum += tau[t];
            }
            int sign = (sum > 0) - (sum < 0);
            for (size_t t = 0; t < b->chunk.n_tasks; t++)
                if (((tau[t] > 0) - (tau[t] < 0)) == sign && sign)
                    magnitude = fmaxf(magnitude, fabsf(tau[t]));
            assert_int_equal(f32_bits(b->unified[i]), f32_bits(sign < 0 ? -magnitude : magnitude));
            for (size_t t = 0; t < b->chunk.n_tasks; t++)
                assert_int_equal(chunk_mask_bit(b, t, i), sign && ((tau[t] > 0) - (tau[t] < 0)) == sign);
        }
        free(b);
    }
}

/* The order of sums that kernels.h fixes, written out again over one chunk's terms. */
static double tree_f32(const float *x, size_t n)
{
    double a[4] = {0};
    for (size_t b = 0; b < n; b += 256) {
        float v[256] = {0}, p[8][16], l[16], h[8];
        memcpy(v, x + b, (n - b < 256 ? n - b : 256) * sizeof *v);
        for (int i = 0; i < 128; i++)
            p[i / 16][i % 16] = v[i / 16 * 32 + i % 16] + v[i / 16 * 32 + 16 + i % 16];
        for (int j = 0; j < 16; j++) {
            float low = p[0][j] + p[1][j], high = p[4][j] + p[5][j];
            low = low + p[2][j];
            high = high + p[6][j];
            low = low + p[3][j];
            high = high + p[7][j];
            l[j] = low + high;
        }
        for (int j = 0; j < 8; j++)
            h[j] = l[j] + l[8 + j];
        for (int j = 0; j < 4; j++) {
            float q = h[j] + h[4 + j];
            a[j] += (double)q;
        }
    }
    return (a[0] + a[2]) + (a[1] + a[3]);
}

static double tree_f64(const double *x, size_t n)
{
    double a[4] = {0};
    for (size_t b = 0; b < n; b += 256) {
        double v[256] = {0}, p[8][16], l[16], h[8];
        memcpy(v, x + b, (n - b < 256 ? n - b : 256) * sizeof *v);
        for (int i = 0; i < 128; i++)
            p[i / 16][i % 16] = v[i / 16 * 32 + i % 16] + v[i / 16 * 32 + 16 + i % 16];
        for (int j = 0; j < 16; j++)
            l[j] = (((p[0][j] + p[1][j]) + p[2][j]) + p[3][j]) + (((p[4][j] + p[5][j]) + p[6][j]) + p[7][j]);
        for (int j = 0; j < 8; j++)
            h[j] = l[j] + l[j + 8];
        for (int j = 0; j < 4; j++)
            a[j] += h[j] + h[4 + j];
    }
    return (a[0] + a[2]) + (a[1] + a[3]);
}

/* What sum_range must give for [from, to): terms outside count as +0, the others stay at their places. */
static emr_sums expected_sums(const test_chunk *b, size_t task, size_t from, size_t to)
{
    static float top[MOST], bottom[MOST];
    static double wide_top[MOST], wide_bottom[MOST];
    for (size_t i = 0; i < b->chunk.n; i++) {
        bool in = i >= from && i < to;
        top[i] = in ? fabsf(b->weights[task][i] - b->base[i]) : 0;
        bottom[i] = in && chunk_mask_bit(b, task, i) ? fabsf(b->unified[i]) : 0;
        wide_top[i] = (double)top[i] * (double)bottom[i];
        wide_bottom[i] = (double)bottom[i] * (double)bottom[i];
    }
    size_t n = b->chunk.n;
    return b->chunk.l2 ? (emr_sums){tree_f64(wide_top, n), tree_f64(wide_bottom, n)}
                       : (emr_sums){tree_f32(top, n), tree_f32(bottom, n)};
}

static void sums_are_taken_in_the_fixed_order(void **state)
{
    rng r = {31};
    (void)state;
    for (size_t round = 0; round < 60; round++) {
        test_chunk *b = chunk_create(1 + rng_below(&r, MOST), 3);
        chunk_randomise(b, &r);
        b->chunk.l2 = round % 2;
        chunk_merge(b);
        for (size_t t = 0; t < 3; t++) {
            emr_sums whole = expected_sums(b, t, 0, b->chunk.n), got = b->results[t].sums;
            assert_true(got.top == whole.top && got.bottom == whole.bottom);
            for (int k = 0; k < 20; k++) {
                size_t from = rng_below(&r, b->chunk.n + 1), to = from + rng_below(&r, b->chunk.n + 1 - from);
                emr_sums part = expected_sums(b, t, from, to);
                got = chunk_kernels->sum_range(&b->chunk, t, from, to);
                assert_true(got.top == part.top && got.bottom == part.bottom);
            }
        }
        free(b);
    }
}

static void sums_can_be_left_out(void **state)
{
    rng r = {41};
    test_chunk *b = chunk_create(300, 2);
    (void)state;
    chunk_randomise(b, &r);
    b->chunk.skip_sums = 1;
    chunk_merge(b);
    assert_true(b->results[0].sums.top == 0 && b->results[0].sums.bottom == 0);
    assert_true(b->results[0].ones > 0 && b->results[0].nonzero == 1);
    free(b);
}

/* Where f32 overflows, the sum is taken in f64: here every term is the same, so the sum is exact. */
static void sums_that_overflow_f32_are_taken_in_f64(void **state)
{
    (void)state;
    test_chunk *b = chunk_create(200, 2);
    for (size_t i = 0; i < 200; i++) {
        b->weights[0][i] = 3e38f;
        b->weights[1][i] = -1e38f;
    }
    chunk_merge(b);
    assert_true(b->results[0].sums.top == 200 * (double)3e38f);
    assert_true(b->results[0].sums.bottom == 200 * (double)3e38f);
    assert_true(b->results[1].sums.top == 200 * (double)1e38f);
    assert_true(b->results[1].sums.bottom == 0);
    emr_sums part = chunk_kernels->sum_range(&b->chunk, 0, 3, 150);
    assert_true(part.top == 147 * (double)3e38f);
    free(b);
}

/* The two sums fall back one by one: what fits in f32 keeps the bits of the f32 tree. */
static void only_the_sum_that_overflows_is_taken_in_f64(void **state)
{
    rng r = {51};
    test_chunk *b = chunk_create(128, 2);
    (void)state;
    for (size_t i = 0; i < 128; i++) {
        b->weights[0][i] = i < 64 ? 0.1f * fabsf(rng_normal(&r)) : -2e38f;
        b->weights[1][i] = i < 64 ? 0 : 3e38f;
    }
    chunk_merge(b);
    emr_sums tree = expected_sums(b, 0, 0, 128);
    assert_true(isinf(tree.top));
    assert_true(b->results[0].sums.bottom == tree.bottom && tree.bottom > 0);
    double wide[128];
    for (size_t i = 0; i < 128; i++)
        wide[i] = fabs((double)b->weights[0][i]);
    assert_true(b->results[0].sums.top == tree_f64(wide, 128));
    free(b);
}

static void padding_bits_are_zero_and_nothing_is_written_past_the_end(void **state)
{
    (void)state;
    for (size_t n = 1; n <= 200; n++) {
        test_chunk *b = chunk_create(n, 2);
        for (size_t i = 0; i < MOST; i++)
            b->weights[0][i] = 1;
        chunk_merge(b);
        for (size_t i = 0; i < (n + 7) / 8 * 8; i++)
            assert_int_equal(chunk_mask_bit(b, 0, i), i < n);
        assert_int_equal(b->bits[0][(n + 7) / 8], 0xee);
        assert_int_equal(f32_bits(b->unified[n]), 0xeeeeeeee);
        assert_int_equal(b->results[0].ones, n);
        assert_int_equal(b->results[1].ones, 0);
        assert_int_equal(b->results[1].nonzero, 0);
        free(b);
    }
}

static void absent_tasks_have_a_task_vector_of_zero(void **state)
{
    rng r = {61};
    test_chunk *b = chunk_create(500, 3), *zero = chunk_create(500, 3);
    (void)state;
    chunk_randomise(b, &r);
    memcpy(b->weights[1], b->base, sizeof b->base);
    memcpy(zero->base, b->base, sizeof b->base);
    memcpy(zero->weights, b->weights, sizeof b->weights);
    zero->tasks[1] = NULL;
    chunk_merge(b);
    chunk_merge(zero);
    assert_memory_equal(b->unified, zero->unified, sizeof b->unified);
    assert_memory_equal(b->bits, zero->bits, sizeof b->bits);
    for (size_t t = 0; t < 3; t++)
        assert_true(chunk_same_result(&b->results[t], &zero->results[t]));
    free(b);
    free(zero);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elections_by_hand),
        cmocka_unit_test(sums_by_hand),
        cmocka_unit_test(random_chunks_follow_the_formulas),
        cmocka_unit_test(sums_are_taken_in_the_fixed_order),
        cmocka_unit_test(sums_can_be_left_out),
        cmocka_unit_test(sums_that_overflow_f32_are_taken_in_f64),
        cmocka_unit_test(only_the_sum_that_overflows_is_taken_in_f64),
        cmocka_unit_test(padding_bits_are_zero_and_nothing_is_written_past_the_end),
        cmocka_unit_test(absent_tasks_have_a_task_vector_of_zero),
    };
    return run_for_every_variant(tests);
}

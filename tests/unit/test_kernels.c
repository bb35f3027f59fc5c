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
        b->chunk.summation = l2 ? EMR_SUM_L2 : EMR_SUM_L1;
        chunk_merge(b);
        const emr_sums *sums = &b->results[0].sums, *other = &b->results[1].sums;
        assert_true(l2 ? sums->tq == 3 + 4 + 16 : sums->t1 == 7);
        assert_true(l2 ? sums->qq == 9 + 4 + 16 : sums->q1 == 9);
        assert_true(l2 ? other->tq == 9 : other->t1 == 4);
        assert_true(l2 ? other->qq == 9 : other->q1 == 3);
        assert_true(l2 ? sums->tt == 1 + 4 + 16 && other->tt == 9 + 1 : sums->tt == 0 && other->tt == 0);
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

static bool same_sums(emr_sums a, emr_sums b)
{
    return a.t1 == b.t1 && a.q1 == b.q1 && a.tt == b.tt && a.tq == b.tq && a.qq == b.qq && a.rest == b.rest;
}

/* A product as a term: rounded, or exact. */
static double term(float x, float y, bool exact)
{
    float rounded = x * y;
    return exact ? (double)x * (double)y : (double)rounded;
}

/* What sum_range must give for a range: terms outside count as +0, the others stay at their places. `exact` is of
 * products, as for l2. */
static emr_sums expected_sums(const test_chunk *b, emr_range r, bool exact)
{
    static float narrow[6][MOST];
    static double wide[6][MOST];
    double total[6];
    for (size_t i = 0; i < b->chunk.n; i++) {
        bool mask = chunk_mask_bit(b, r.task, i), in = i >= r.from && i < r.to;
        float tau = in ? b->weights[r.task][i] - b->base[i] : 0, u = in ? b->unified[i] : 0;
        bool on = r.side == EMR_SIDE_BOTH || (r.side == EMR_SIDE_ONES ? mask : !mask && u != 0);
        float t = on ? tau : 0, q = mask == (r.side != EMR_SIDE_ZEROS) && u != 0 ? (mask ? u : -u) : 0;
        float rest = r.side == EMR_SIDE_ONES && u == 0 ? tau : 0;
        const double terms[6] = {fabs((double)t),   fabs((double)q),   term(t, t, exact),
                                 term(t, q, exact), term(q, q, exact), term(rest, rest, exact)};
        for (size_t k = 0; k < 6; k++)
            narrow[k][i] = (float)(wide[k][i] = terms[k]);
    }
    for (size_t k = 0; k < 6; k++)
        total[k] = exact ? tree_f64(wide[k], b->chunk.n) : tree_f32(narrow[k], b->chunk.n);
    return (emr_sums){total[0], total[1], total[2], total[3], total[4], total[5]};
}

/* Those that are taken. */
static emr_sums taken(emr_sums s, emr_summation summation)
{
    if (summation == EMR_SUM_L1)
        return (emr_sums){.t1 = s.t1, .q1 = s.q1};
    if (summation == EMR_SUM_L2)
        s.t1 = s.q1 = 0;
    return s;
}

static void sums_are_taken_in_the_fixed_order(void **state)
{
    rng r = {31};
    (void)state;
    for (size_t round = 0; round < 120; round++) {
        test_chunk *b = chunk_create(1 + rng_below(&r, MOST), 3);
        emr_summation summation = (emr_summation)(round % 3);
        chunk_randomise(b, &r);
        b->chunk.summation = summation;
        b->chunk.nearest = round / 3 % 2;
        chunk_merge(b);
        for (size_t t = 0; t < 3; t++) {
            emr_range range = {.task = t, .to = b->chunk.n};
            emr_sums whole = expected_sums(b, range, summation == EMR_SUM_L2);
            assert_true(same_sums(b->results[t].sums, taken(whole, summation)));
            for (int k = 0; k < 30; k++) {
                range.side = (emr_side)rng_below(&r, 3);
                range.from = rng_below(&r, b->chunk.n + 1);
                range.to = range.from + rng_below(&r, b->chunk.n + 1 - range.from);
                emr_sums part = expected_sums(b, range, summation == EMR_SUM_L2);
                assert_true(same_sums(chunk_kernels->sum_range(&b->chunk, range), taken(part, summation)));
            }
        }
        free(b);
    }
}

/* Signs agree, and tau is more than half of what is elected. */
static void nearest_masks_are_where_tau_is_nearer_to_the_unified_value(void **state)
{
    rng r = {35};
    (void)state;
    for (size_t round = 0; round < 60; round++) {
        test_chunk *b = chunk_create(1 + rng_below(&r, MOST), 1 + rng_below(&r, TASKS));
        uint64_t ones[TASKS] = {0};
        chunk_randomise(b, &r);
        b->chunk.nearest = true;
        chunk_merge(b);
        for (size_t i = 0; i < b->chunk.n; i++) {
            for (size_t t = 0; t < b->chunk.n_tasks; t++) {
                double tau = (double)(b->weights[t][i] - b->base[i]), u = (double)b->unified[i];
                assert_int_equal(chunk_mask_bit(b, t, i), tau * u > u * u / 2);
                ones[t] += tau * u > u * u / 2;
            }
        }
        for (size_t t = 0; t < b->chunk.n_tasks; t++)
            assert_int_equal(b->results[t].ones, ones[t]);
        free(b);
    }
}

/* Exactly half of the unified value is nearer to neither. */
static void half_of_the_unified_value_is_not_nearest(void **state)
{
    (void)state;
    test_chunk *b = chunk_create(3, 2);
    const float half[] = {0.5f, -1.0f, nextafterf(0.75f, 1)}, whole[] = {1, -2, 1.5f};
    memcpy(b->weights[0], half, sizeof half);
    memcpy(b->weights[1], whole, sizeof whole);
    b->chunk.nearest = true;
    chunk_merge(b);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(chunk_mask_bit(b, 0, i), i == 2);
        assert_int_equal(chunk_mask_bit(b, 1, i), 1);
    }
    free(b);
}

/* Squares of what is small underflow f32: they are taken in f64, each sum by itself. */
static void products_that_underflow_f32_are_taken_in_f64(void **state)
{
    (void)state;
    test_chunk *b = chunk_create(100, 2);
    for (size_t i = 0; i < 100; i++) {
        b->weights[0][i] = 1e-30f;
        b->weights[1][i] = 3;
    }
    b->chunk.summation = EMR_SUM_ALL;
    chunk_merge(b);
    const emr_sums *s = &b->results[0].sums;
    assert_true(fabs(s->tt / (100 * (double)1e-30f * (double)1e-30f) - 1) < 1e-15);
    assert_true(fabs(s->tq / (100 * (double)1e-30f * 3) - 1) < 1e-15);
    assert_true(s->qq == 900);
    free(b);
}

static void sums_can_be_left_out(void **state)
{
    rng r = {41};
    test_chunk *b = chunk_create(300, 2);
    (void)state;
    chunk_randomise(b, &r);
    b->chunk.skip_sums = 1;
    chunk_merge(b);
    assert_true(b->results[0].sums.t1 == 0 && b->results[0].sums.q1 == 0);
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
    assert_true(b->results[0].sums.t1 == 200 * (double)3e38f);
    assert_true(b->results[0].sums.q1 == 200 * (double)3e38f);
    assert_true(b->results[1].sums.t1 == 200 * (double)1e38f);
    assert_true(b->results[1].sums.q1 == 0);
    emr_sums part = chunk_kernels->sum_range(&b->chunk, (emr_range){.from = 3, .to = 150});
    assert_true(part.t1 == 147 * (double)3e38f);
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
    emr_sums tree = expected_sums(b, (emr_range){.to = 128}, false);
    assert_true(isinf(tree.t1));
    assert_true(b->results[0].sums.q1 == tree.q1 && tree.q1 > 0);
    double wide[128];
    for (size_t i = 0; i < 128; i++)
        wide[i] = fabs((double)b->weights[0][i]);
    assert_true(b->results[0].sums.t1 == tree_f64(wide, 128));
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
        cmocka_unit_test(nearest_masks_are_where_tau_is_nearer_to_the_unified_value),
        cmocka_unit_test(half_of_the_unified_value_is_not_nearest),
        cmocka_unit_test(products_that_underflow_f32_are_taken_in_f64),
        cmocka_unit_test(sums_can_be_left_out),
        cmocka_unit_test(sums_that_overflow_f32_are_taken_in_f64),
        cmocka_unit_test(only_the_sum_that_overflows_is_taken_in_f64),
        cmocka_unit_test(padding_bits_are_zero_and_nothing_is_written_past_the_end),
        cmocka_unit_test(absent_tasks_have_a_task_vector_of_zero),
    };
    return run_for_every_variant(tests);
}

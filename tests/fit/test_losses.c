/* test_losses.c - losses and their gradients against the formulas in long double and finite differences; logits at the ends of what
 * f32 has; what is refused. */
#include "vectors.h"

#include <emr/fit/losses.h>

#include <math.h>

enum { ROWS = 7, COLUMNS_MAX = 9, STRIDE = 11 };
#define STEP 0x1p-12f /* logits are whole multiples of it, so that a step is exact */

typedef struct world {
    float z[ROWS * STRIDE];
    float gradient[ROWS * STRIDE];
    uint8_t keep[ROWS];
    uint32_t labels[ROWS];
    emr_logits logits;
} world;

static void make_world(world *w, size_t n_columns, uint64_t seed)
{
    rng r = {seed};
    memset(w, 0, sizeof *w);
    for (size_t i = 0; i < ROWS * STRIDE; i++)
        w->z[i] = roundf(3 * rng_normal(&r) / STEP) * STEP;
    for (size_t i = 0; i < ROWS; i++) {
        w->keep[i] = i != 2 && i != 5;
        w->labels[i] = w->keep[i] ? (uint32_t)rng_below(&r, n_columns > 1 ? n_columns : 2) : 99;
    }
    w->logits = (emr_logits){.size = sizeof w->logits,
                             .data = w->z,
                             .n_rows = ROWS,
                             .n_columns = n_columns,
                             .row_stride = STRIDE,
                             .keep = w->keep};
}

/* p of class c: exp(z) by its sum; of a lone column z, class 1 is sigmoid(z). */
static long double probability(const world *w, size_t row, size_t c)
{
    const float *z = w->z + row * STRIDE;
    long double sum = w->logits.n_columns == 1;
    if (w->logits.n_columns == 1)
        return c ? expl((long double)*z) / (1 + expl((long double)*z)) : 1 / (1 + expl((long double)*z));
    for (size_t i = 0; i < w->logits.n_columns; i++)
        sum += expl((long double)z[i]);
    return expl((long double)z[c]) / sum;
}

static double plain_loss(const world *w, bool is_entropy)
{
    size_t n_classes = w->logits.n_columns > 1 ? w->logits.n_columns : 2;
    long double loss = 0, n = 0;
    for (size_t row = 0; row < ROWS; row++) {
        if (w->logits.keep && !w->keep[row])
            continue;
        n++;
        for (size_t c = 0; is_entropy && c < n_classes; c++)
            loss -= probability(w, row, c) * logl(probability(w, row, c));
        if (!is_entropy)
            loss -= logl(probability(w, row, w->labels[row]));
    }
    if (is_entropy && w->logits.per_log_classes)
        loss /= logl((long double)n_classes);
    return (double)(loss / n);
}

static double get_loss(const world *w, bool is_entropy, float *gradient)
{
    emr_error error;
    double loss = -1;
    if (is_entropy)
        assert_ok(emr_entropy(&w->logits, &loss, gradient, &error), &error);
    else
        assert_ok(emr_cross_entropy(&w->logits, w->labels, &loss, gradient, &error), &error);
    return loss;
}

static void assert_near(double found, double wanted, double tolerance)
{
    if (!(fabs(found - wanted) <= tolerance))
        fail_msg("%.17g is not within %g of %.17g", found, tolerance, wanted);
}

static void check_gradient(world *w, bool is_entropy)
{
    for (size_t row = 0; row < ROWS; row++)
        for (size_t c = 0; c < STRIDE; c++) {
            float *z = &w->z[row * STRIDE + c], held = *z, found = w->gradient[row * STRIDE + c];
            if (c >= w->logits.n_columns) { /* between rows nothing is touched */
                assert_true(found == 77);
                continue;
            }
            if (w->logits.keep && !w->keep[row]) {
                assert_true(found == 0);
                continue;
            }
            *z = held + STEP;
            double above = plain_loss(w, is_entropy);
            *z = held - STEP;
            double below = plain_loss(w, is_entropy);
            *z = held;
            assert_near((double)found, (above - below) / (2 * (double)STEP), 1e-7);
        }
}

static void losses_are_the_formulas(void **state)
{
    (void)state;
    for (size_t k = 0; k < 4 * COLUMNS_MAX; k++) {
        world w;
        make_world(&w, 1 + k / 4, 100 + k);
        w.logits.keep = k % 2 ? w.keep : NULL;
        w.logits.per_log_classes = k % 4 > 1;
        for (size_t i = 0; i < ROWS && !w.logits.keep; i++)
            w.labels[i] = (uint32_t)(i % (w.logits.n_columns > 1 ? w.logits.n_columns : 2));
        for (int is_entropy = 0; is_entropy < 2; is_entropy++) {
            for (size_t i = 0; i < ROWS * STRIDE; i++)
                w.gradient[i] = 77;
            double loss = get_loss(&w, is_entropy, w.gradient), alone = get_loss(&w, is_entropy, NULL);
            assert_near(loss, plain_loss(&w, is_entropy), 1e-14);
            assert_memory_equal(&loss, &alone, sizeof loss);
            check_gradient(&w, is_entropy);
        }
    }
}

static emr_logits logits_of(const float *z, size_t n_rows, size_t n_columns)
{
    return (emr_logits){.size = sizeof(emr_logits), .data = z, .n_rows = n_rows, .n_columns = n_columns};
}

static double entropy_of(const float *z, size_t n_columns, float *gradient)
{
    const emr_logits l = logits_of(z, 1, n_columns);
    emr_error error;
    double loss;
    assert_ok(emr_entropy(&l, &loss, gradient, &error), &error);
    return loss;
}

/* Whatever f32 can hold: p = 0 has p log p = 0, and a gradient of 0. */
static void extreme_logits_are_harmless(void **state)
{
    static const float extremes[][3] = {
        {1e30f, -1e30f, 0}, {3.4e38f, -3.4e38f, -3.4e38f}, {0, -800, -1e4f}, {-3.4e38f, -3.4e38f, 3.4e38f}};
    float g[3];
    (void)state;
    for (size_t i = 0; i < sizeof extremes / sizeof *extremes; i++) {
        assert_true(entropy_of(extremes[i], 3, g) == 0);
        assert_true(g[0] == 0 && g[1] == 0 && g[2] == 0);
    }
    const float sides[] = {3.4e38f, 3.4e38f, -3.4e38f}, underflow[] = {0, -104};
    assert_near(entropy_of(sides, 3, g), log(2), 1e-15);
    assert_near((double)g[0] + (double)g[1] + (double)g[2], 0, 1e-15);
    assert_near(entropy_of(underflow, 2, g) / (104 * exp(-104)), 1, 0.01); /* of a p that f32 has not */
    assert_near((double)g[1] / (104 * exp(-104)), 1, 0.01);
    for (float z = -1e30f; z <= 1e30f; z += 1e30f)
        assert_near(entropy_of(&z, 1, g), z < 0 || z > 0 ? 0 : log(2), 1e-15);

    const emr_logits l = logits_of(extremes[0], 1, 3);
    const uint32_t likely = 0, unlikely = 1;
    emr_error error;
    double loss;
    assert_ok(emr_cross_entropy(&l, &likely, &loss, g, &error), &error);
    assert_true(loss == 0 && g[0] == 0 && g[1] == 0 && g[2] == 0);
    assert_ok(emr_cross_entropy(&l, &unlikely, &loss, g, &error), &error);
    assert_true(loss == (double)1e30f - (double)-1e30f && g[0] == 1 && g[1] == -1 && g[2] == 0);
}

/* No gradient at either end of entropy; rows of a gradient add up to 0. */
static void entropy_has_its_ends(void **state)
{
    float even[5] = {2, 2, 2, 2, 2}, g[5];
    world w;
    (void)state;
    assert_near(entropy_of(even, 5, g), log(5), 1e-15);
    for (size_t i = 0; i < 5; i++)
        assert_near((double)g[i], 0, 1e-16);
    make_world(&w, 9, 5);
    get_loss(&w, true, w.gradient);
    for (size_t row = 0; row < ROWS; row++) {
        double sum = 0;
        for (size_t c = 0; c < 9; c++)
            sum += (double)w.gradient[row * STRIDE + c];
        assert_near(sum, 0, 1e-8);
    }
    w.logits.per_log_classes = 1;
    assert_true(get_loss(&w, true, NULL) <= 1);
}

/* A lone column is the second of two whose first is 0. */
static void one_column_is_a_yes(void **state)
{
    rng r = {8};
    (void)state;
    for (size_t i = 0; i < 20; i++) {
        const float pair[2] = {0, 4 * rng_normal(&r)};
        const uint32_t label = i % 2;
        const emr_logits one = logits_of(pair + 1, 1, 1), two = logits_of(pair, 1, 2);
        float g1, g2[2];
        double h1, h2;
        emr_error error;
        h1 = entropy_of(pair + 1, 1, &g1);
        h2 = entropy_of(pair, 2, g2);
        assert_true(h1 == h2 && g1 == g2[1]);
        assert_ok(emr_cross_entropy(&one, &label, &h1, &g1, &error), &error);
        assert_ok(emr_cross_entropy(&two, &label, &h2, g2, &error), &error);
        assert_true(h1 == h2 && g1 == g2[1]);
    }
}

/* Padding may hold anything; what is left counts as if it were all. */
static void rows_that_do_not_count_are_not_read(void **state)
{
    world w, dense;
    (void)state;
    make_world(&w, 6, 3);
    dense = w;
    size_t n = 0;
    for (size_t row = 0; row < ROWS; row++) {
        if (w.keep[row])
            memcpy(dense.z + n++ * STRIDE, w.z + row * STRIDE, sizeof(float) * STRIDE);
        else
            w.z[row * STRIDE + 1] = NAN;
    }
    dense.logits.data = dense.z;
    dense.logits.n_rows = n;
    dense.logits.keep = NULL;
    assert_true(get_loss(&w, true, w.gradient) == get_loss(&dense, true, dense.gradient));
    n = 0;
    for (size_t row = 0; row < ROWS; row++)
        if (w.keep[row])
            assert_memory_equal(dense.gradient + n++ * STRIDE, w.gradient + row * STRIDE, 6 * sizeof(float));
}

/* mean |mean_tokens(y) - mean_tokens(z)|, plainly. */
static double plain_l1(const float *y, const float *z, size_t n, size_t n_tokens, size_t width)
{
    long double sum = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < width; k++) {
            long double off = 0;
            for (size_t t = 0; t < n_tokens; t++)
                off += ((long double)y[(i * n_tokens + t) * width + k] -
                        (long double)z[(i * n_tokens + t) * width + k]) /
                       (long double)n_tokens;
            sum += fabsl(off);
        }
    return (double)(sum / (long double)(n * width));
}

static void check_l1(size_t n, size_t n_tokens, size_t width)
{
    size_t count = n * n_tokens * width;
    float *y = calloc(count, sizeof *y), *z = calloc(count, sizeof *z), *g = calloc(count, sizeof *g),
          *more = calloc(count, sizeof *more);
    rng r = {count};
    emr_error error;
    double loss;
    for (size_t i = 0; i < count; i++) {
        y[i] = roundf(rng_normal(&r) * 4096) / 4096;
        z[i] = i / width % n_tokens == 0 && i % width == 3 ? y[i] : roundf(rng_normal(&r) * 4096) / 4096;
        more[i] = rng_normal(&r);
    }
    float *before = calloc(count, sizeof *before);
    memcpy(before, more, count * sizeof *before);
    assert_ok(emr_l1(y, z, n, n_tokens, width, 0, &loss, g, &error), &error);
    assert_near(loss, plain_l1(y, z, n, n_tokens, width), 1e-14);
    for (size_t i = 0; i < count; i += 1 + count / 50) {
        float held = y[i], h = 0x1p-12f;
        if (n_tokens == 1 && i % width == 3) {
            assert_true(g[i] == 0); /* sign(0) */
            continue;
        }
        y[i] = held + h;
        double above = plain_l1(y, z, n, n_tokens, width);
        y[i] = held - h;
        double below = plain_l1(y, z, n, n_tokens, width);
        y[i] = held;
        if (fabs(above + below - 2 * loss) < 1e-12) /* else the step crosses the kink */
            assert_near((double)g[i] * (double)(n * n_tokens * width),
                        (above - below) / (2 * (double)h) * (double)(n * n_tokens * width), 1e-6);
    }
    assert_ok(emr_l1(y, z, n, n_tokens, width, 1, NULL, more, &error), &error);
    for (size_t i = 0; i < count; i++)
        assert_true(more[i] == before[i] + g[i]);
    free(y);
    free(z);
    free(g);
    free(more);
    free(before);
}

static void l1_is_the_formula(void **state)
{
    (void)state;
    check_l1(1, 1, 4);
    check_l1(5, 1, 63);
    check_l1(3, 4, 64);
    check_l1(2, 3, 200);
}

static void what_cannot_be_is_refused(void **state)
{
    float z[6] = {0, 1, 2, 3, NAN, 5}, g[6] = {9, 9, 9, 9, 9, 9};
    const uint8_t none[2] = {0, 0};
    const uint32_t labels[2] = {2, 3};
    emr_logits l = logits_of(z, 2, 3), bad;
    emr_error error;
    double loss = 9;
    (void)state;
    assert_int_equal(emr_entropy(&l, &loss, g, &error), EMR_ENONFINITE);
    assert_string_equal(error.text, "emr_entropy: value 1 of row 1 is NaN or infinite");
    z[4] = -INFINITY;
    assert_int_equal(emr_cross_entropy(&l, labels, &loss, g, &error), EMR_ENONFINITE);
    z[4] = 4;
    assert_int_equal(emr_cross_entropy(&l, labels, &loss, g, &error), EMR_EINVAL);
    assert_string_equal(error.text, "emr_cross_entropy: the label of row 1 is 3, of 3 classes");
    l.n_columns = 1;
    assert_int_equal(emr_cross_entropy(&l, labels, &loss, g, &error), EMR_EINVAL);
    l.n_columns = 3;
    assert_int_equal(emr_cross_entropy(&l, NULL, &loss, g, &error), EMR_EINVAL);
    assert_int_equal(emr_entropy(NULL, &loss, g, &error), EMR_EINVAL);
#define REFUSED(member, value)                                                                               \
    bad = l;                                                                                                 \
    bad.member = value;                                                                                      \
    assert_int_equal(emr_entropy(&bad, &loss, g, &error), EMR_EINVAL)
    REFUSED(size, 0);
    REFUSED(data, NULL);
    REFUSED(n_rows, 0);
    REFUSED(n_columns, 0);
    REFUSED(row_stride, 2);
    REFUSED(keep, none);
    assert_int_equal(emr_l1(z, NULL, 1, 1, 6, 0, &loss, g, &error), EMR_EINVAL);
    assert_int_equal(emr_l1(z, z, 0, 1, 6, 0, &loss, g, &error), EMR_EINVAL);
    assert_int_equal(emr_l1(z, z, 1, 0, 6, 0, &loss, g, &error), EMR_EINVAL);
    assert_int_equal(emr_l1(z, z, 1, 1, 0, 0, &loss, g, &error), EMR_EINVAL);
    const float finite[6] = {0};
    z[5] = INFINITY;
    assert_int_equal(emr_l1(finite, z, 1, 2, 3, 0, &loss, g, &error), EMR_ENONFINITE);
    assert_string_equal(error.text, "emr_l1: z: value 2 of row 1 is NaN or infinite");
    assert_true(loss == 9);
    for (size_t i = 0; i < 6; i++)
        assert_true(g[i] == 9);
}

/* One number for all bits, the same with every compiler and processor. */
static void bits_are_the_same_everywhere(void **state)
{
    uint64_t hash = 0;
    (void)state;
    for (size_t columns = 1; columns <= COLUMNS_MAX; columns++) {
        world w;
        make_world(&w, columns, 40 + columns);
        for (int is_entropy = 0; is_entropy < 2; is_entropy++) {
            double loss = get_loss(&w, is_entropy, w.gradient);
            uint64_t bits;
            memcpy(&bits, &loss, sizeof bits);
            hash = hash * 31 + bits;
            for (size_t i = 0; i < ROWS * STRIDE; i++) {
                uint32_t word;
                memcpy(&word, &w.gradient[i], sizeof word);
                hash = hash * 31 + word;
            }
        }
    }
    assert_int_equal(hash, UINT64_C(0x42db4d9d926b60e5));
}

static void results_are_those_of_the_oracle(void **state)
{
    emr_model *model = test_vectors_open("entropy.safetensors");
    emr_error error;
    (void)state;
    if (!model)
        return;
    const uint64_t *shape = emr_tensor_shape(emr_model_find_tensor(model, "logits"));
    size_t n;
    float *z = test_vectors_read_floats(model, "logits", &n), *g = calloc(n, sizeof *g);
    double *wanted = test_vectors_read(model, "entropy", NULL),
           *gradient = test_vectors_read(model, "gradient", NULL), loss;
    const emr_logits l = logits_of(z, (size_t)shape[0], (size_t)shape[1]);
    assert_ok(emr_entropy(&l, &loss, g, &error), &error);
    assert_near(loss, wanted[0], 1e-14 * wanted[0]);
    for (size_t i = 0; i < n; i++)
        assert_near((double)g[i], gradient[i], 0x1p-24 * fabs(gradient[i]) + 1e-17);
    free(z);
    free(g);
    free(wanted);
    free(gradient);
    emr_model_destroy(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_are_the_formulas),
        cmocka_unit_test(extreme_logits_are_harmless),
        cmocka_unit_test(entropy_has_its_ends),
        cmocka_unit_test(one_column_is_a_yes),
        cmocka_unit_test(rows_that_do_not_count_are_not_read),
        cmocka_unit_test(l1_is_the_formula),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(bits_are_the_same_everywhere),
        cmocka_unit_test(results_are_those_of_the_oracle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

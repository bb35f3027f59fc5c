/* test_surgery.c - adapters: applied as the header has it, to the bit; gradients against finite differences; the fit replayed batch by
 * batch; saved and opened; what is refused. */
#include "vectors.h"

#include "surgery.h"

#include <math.h>

static float *make_rows(size_t n, size_t width, uint64_t seed)
{
    rng r = {seed};
    float *rows = calloc(n * width + 1, sizeof *rows);
    for (size_t i = 0; i < n * width; i++)
        rows[i] = rng_normal(&r);
    return rows;
}

static emr_surgery *new_surgery(uint64_t width, uint32_t rank, const emr_adam *adam,
                                const emr_resources *resources)
{
    emr_surgery_options options = EMR_INIT(emr_surgery_options);
    emr_surgery *s;
    emr_error error;
    options.width = width;
    options.rank = rank;
    options.adam = adam;
    options.seed = 5;
    options.resources = resources;
    assert_ok(emr_surgery_create(&s, &options, &error), &error);
    return s;
}

/* Gives U numbers too, that f32 holds. */
static void fill_up(emr_surgery *s, uint64_t seed)
{
    rng r = {seed};
    for (size_t i = 0; i < s->rank * s->width; i++) {
        s->parameters[i] = (double)(float)s->parameters[i];
        s->parameters[s->rank * s->width + i] = (double)(rng_normal(&r) * 0.3f);
    }
    fit_surgery_store(s);
}

static double down_of(const emr_surgery *s, size_t r, size_t k)
{
    return s->parameters[r * s->width + k];
}

static double up_of(const emr_surgery *s, size_t k, size_t r)
{
    return s->parameters[(s->rank + r) * s->width + k];
}

/* Sums as product.h has them: accumulators one after the other, folded by recursion. */
static float fold(const float *a, size_t j, size_t half)
{
    if (half == 32)
        return a[j];
    return fold(a, j, 2 * half) + fold(a, j + half, 2 * half);
}

static float ordered_sum(const float *w, const float *x, size_t n)
{
    float a[32];
    for (size_t j = 0; j < 32; j++) {
        a[j] = 0;
        for (size_t c = j; c < n; c += 32) {
            volatile float product = w[c] * x[c];
            a[j] += product;
        }
    }
    return fold(a, 0, 1);
}

static void apply_plainly(const emr_surgery *s, const float *x, float *y)
{
    float hidden[64];
    for (size_t r = 0; r < s->rank; r++) {
        float a = ordered_sum(s->down + r * s->width, x, s->width);
        hidden[r] = a > 0 ? a : 0;
    }
    for (size_t k = 0; k < s->width; k++)
        y[k] = x[k] - ordered_sum(s->up + k * s->rank, hidden, s->rank);
}

static void applying_has_its_order_of_sums(void **state)
{
    static const size_t widths[] = {1, 7, 31, 32, 33, 64, 100, 515};
    static const uint32_t ranks[] = {1, 3, 4, 8, 15, 16, 17, 32, 40, 64};
    enum { ROWS = 5 };
    emr_error error;
    (void)state;
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
        for (size_t k = 0; k < sizeof ranks / sizeof *ranks; k++) {
            size_t width = widths[i];
            emr_surgery *s = new_surgery(width, ranks[k], NULL, NULL);
            float *x = make_rows(ROWS, width, i + 1), *y = make_rows(ROWS, width, 9),
                  *wanted = make_rows(ROWS, width, 9);
            fill_up(s, k + 1);
            for (size_t row = 0; row < ROWS; row++)
                apply_plainly(s, x + row * width, wanted + row * width);
            assert_ok(emr_surgery_apply(s, x, y, ROWS, &error), &error);
            assert_memory_equal(y, wanted, ROWS * width * sizeof *y);
            assert_ok(emr_surgery_apply(s, x + width, y, 1, &error), &error);
            assert_memory_equal(y, wanted + width, width * sizeof *y);
            assert_ok(emr_surgery_apply(s, x, x, ROWS, &error), &error); /* in place */
            assert_memory_equal(x, wanted, ROWS * width * sizeof *y);
            assert_ok(emr_surgery_apply(s, NULL, NULL, 0, &error), &error);
            emr_surgery_destroy(&s);
            free(x);
            free(y);
            free(wanted);
        }
}

/* NaN is not hidden by relu. */
static void nan_goes_through(void **state)
{
    emr_surgery *s = new_surgery(40, 16, NULL, NULL);
    float *x = make_rows(1, 40, 3);
    emr_error error;
    (void)state;
    fill_up(s, 2);
    x[7] = NAN;
    assert_ok(emr_surgery_apply(s, x, x, 1, &error), &error);
    assert_true(isnan(x[0]));
    emr_surgery_destroy(&s);
    free(x);
}

/* U is 0 at first, so D has no gradient, and U's first step is as long as lr whatever the gradient. */
static void the_first_step_is_lr(void **state)
{
    enum { WIDTH = 24, ROWS = 10 };
    const emr_adam adam = {.size = sizeof adam, .lr = 0.25};
    emr_surgery *s = new_surgery(WIDTH, 4, &adam, NULL);
    float *x = make_rows(ROWS, WIDTH, 1), *z = make_rows(ROWS, WIDTH, 2), *y = make_rows(ROWS, WIDTH, 3);
    double down[4 * WIDTH], loss, gap = 0;
    emr_error error;
    (void)state;
    assert_ok(emr_surgery_apply(s, x, y, ROWS, &error), &error);
    assert_memory_equal(x, y, ROWS * WIDTH * sizeof *x);
    for (size_t i = 0; i < 4 * WIDTH; i++) {
        down[i] = s->parameters[i];
        assert_true(fabs(down[i]) < 1 / sqrt(WIDTH));
    }
    assert_ok(emr_surgery_train(s, x, z, ROWS, &loss, &error), &error);
    for (size_t i = 0; i < ROWS * WIDTH; i++)
        gap += fabs((double)x[i] - (double)z[i]) / (ROWS * WIDTH);
    assert_true(fabs(loss - gap) < 1e-14);
    assert_memory_equal(down, s->parameters, sizeof down);
    for (size_t i = 0; i < 4 * WIDTH; i++) {
        double up = fabs(s->parameters[4 * WIDTH + i]), g = fabs(s->gradient[4 * WIDTH + i]);
        assert_true(g > 1e-6 ? fabs(up - 0.25) < 0.25 * 1e-8 / g * 1.01 + 1e-12 : up <= 0.25); /* epsilon */
    }
    emr_surgery_destroy(&s);
    free(x);
    free(y);
    free(z);
}

/* The mean over rows and features of |y - z| or (y - z)^2, or, of a given dy, sum of dy y. */
static double plain_loss(const emr_surgery *s, const float *x, const float *z, const float *dy, size_t n)
{
    long double sum = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < s->width; k++) {
            const float *row = x + i * s->width;
            long double y = (long double)row[k];
            for (size_t r = 0; r < s->rank; r++) {
                long double a = 0;
                for (size_t c = 0; c < s->width; c++)
                    a += (long double)down_of(s, r, c) * (long double)row[c];
                y -= (long double)up_of(s, k, r) * (a > 0 ? a : 0);
            }
            if (dy)
                sum += y * (long double)dy[i * s->width + k] * (long double)(n * s->width);
            else if (s->loss == EMR_SURGERY_LOSS_SQUARED)
                sum += (y - (long double)z[i * s->width + k]) * (y - (long double)z[i * s->width + k]);
            else
                sum += fabsl(y - (long double)z[i * s->width + k]);
        }
    return (double)(sum / (long double)(n * s->width));
}

static void assert_slope(double found, double above, double below, double h)
{
    double slope = (above - below) / (2 * h);
    if (!(fabs(found - slope) <= 1e-6 * (1 + fabs(slope))))
        fail_msg("the gradient is %.12g, the slope %.12g", found, slope);
}

static void check_gradients(emr_surgery *s, const float *x, const float *z, const float *dy, size_t n,
                            const double *gradient)
{
    const double h = 1e-7;
    for (size_t i = 0; i < 2 * s->rank * s->width; i++) {
        double held = s->parameters[i];
        s->parameters[i] = held + h;
        double above = plain_loss(s, x, z, dy, n);
        s->parameters[i] = held - h;
        double below = plain_loss(s, x, z, dy, n);
        s->parameters[i] = held;
        assert_slope(gradient[i], above, below, h);
    }
}

static void gradients_are_slopes(void **state)
{
    enum { WIDTH = 9, RANK = 4, ROWS = 35 }; /* more than a block */
    emr_error error;
    (void)state;
    for (emr_surgery_loss loss = 0; loss < 2; loss++) {
        emr_surgery *s = new_surgery(WIDTH, RANK, NULL, NULL);
        float *x = make_rows(ROWS, WIDTH, 11), *z = make_rows(ROWS, WIDTH, 12),
              *dx = make_rows(ROWS, WIDTH, 13);
        double before[2 * RANK * WIDTH], value;
        fill_up(s, 21);
        s->loss = loss;
        memcpy(before, s->parameters, sizeof before);
        double wanted = plain_loss(s, x, z, NULL, ROWS);
        assert_ok(emr_surgery_train(s, x, z, ROWS, &value, &error), &error);
        assert_true(fabs(value - wanted) < 1e-14);
        memcpy(s->parameters, before, sizeof before);
        check_gradients(s, x, z, NULL, ROWS, s->gradient);
        assert_ok(emr_surgery_backward(s, x, z, ROWS, dx, &error), &error); /* of dy = z */
        check_gradients(s, x, NULL, z, ROWS, s->added);
        for (size_t i = 0; i < ROWS * WIDTH; i += 7) {
            float held = x[i], h = 0x1p-20f;
            x[i] = held + h;
            double above = plain_loss(s, x, NULL, z, ROWS), step = (double)x[i];
            x[i] = held - h;
            double below = plain_loss(s, x, NULL, z, ROWS);
            step -= (double)x[i];
            x[i] = held;
            assert_slope((double)dx[i], above, below, step / 2);
        }
        float *again = make_rows(ROWS, WIDTH, 12);
        assert_ok(emr_surgery_backward(s, x, again, ROWS, again, &error), &error); /* dx may be dy */
        assert_memory_equal(again, dx, ROWS * WIDTH * sizeof *dx);
        emr_surgery_destroy(&s);
        free(again);
        free(x);
        free(z);
        free(dx);
    }
}

/* relu has slope 0 at 0, and |y - z| where both are equal. */
static void kinks_have_no_slope(void **state)
{
    enum { WIDTH = 6, RANK = 3 };
    emr_surgery *s = new_surgery(WIDTH, RANK, NULL, NULL);
    const float zero[WIDTH] = {0}, one[WIDTH] = {1, 1, 1, 1, 1, 1};
    float dx[WIDTH];
    emr_error error;
    (void)state;
    assert_ok(emr_surgery_train(s, one, one, 1, NULL, &error), &error); /* U is 0: y = z */
    for (size_t i = 0; i < 2 * RANK * WIDTH; i++)
        assert_true(s->gradient[i] == 0);
    fill_up(s, 1);
    assert_ok(emr_surgery_backward(s, zero, one, 1, dx, &error), &error);
    assert_memory_equal(dx, one, sizeof dx);
    assert_ok(emr_surgery_train(s, zero, zero, 1, NULL, &error), &error);
    for (size_t i = 0; i < 2 * RANK * WIDTH; i++)
        assert_true(s->added[i] == 0 && s->gradient[i] == 0);
    emr_surgery_destroy(&s);
}

/* No gradient is no step; one of 0 goes on with momentum. */
static void no_gradient_is_not_a_gradient_of_zero(void **state)
{
    enum { WIDTH = 6, RANK = 3 };
    emr_surgery *s = new_surgery(WIDTH, RANK, NULL, NULL);
    float *x = make_rows(4, WIDTH, 1), *z = make_rows(4, WIDTH, 2), *none = calloc(4 * WIDTH, sizeof *none);
    double before[2 * RANK * WIDTH];
    emr_error error;
    (void)state;
    assert_int_equal(emr_surgery_step(s, &error), EMR_ESTATE);
    assert_ok(emr_surgery_train(s, x, z, 4, NULL, &error), &error);
    memcpy(before, s->parameters, sizeof before);
    assert_int_equal(emr_surgery_step(s, &error), EMR_ESTATE);
    assert_memory_equal(before, s->parameters, sizeof before);
    assert_ok(emr_surgery_backward(s, x, none, 4, NULL, &error), &error);
    assert_memory_equal(before, s->parameters, sizeof before);
    assert_ok(emr_surgery_step(s, &error), &error);
    size_t n_moved = 0;
    for (size_t i = 0; i < RANK * WIDTH; i++)
        n_moved += before[RANK * WIDTH + i] != s->parameters[RANK * WIDTH + i];
    assert_true(n_moved > 0);
    assert_int_equal(emr_surgery_step(s, &error), EMR_ESTATE);
    emr_surgery_destroy(&s);
    free(x);
    free(z);
    free(none);
}

/* Two passes add up to one of all rows; training in between does not disturb them. */
static void gradients_add_up(void **state)
{
    enum { WIDTH = 16, RANK = 4, ROWS = 50 };
    const emr_adam still = {.size = sizeof still, .lr = 1e-300};
    emr_surgery *whole = new_surgery(WIDTH, RANK, &still, NULL),
                *parts = new_surgery(WIDTH, RANK, &still, NULL);
    float *x = make_rows(ROWS, WIDTH, 1), *dy = make_rows(ROWS, WIDTH, 2);
    emr_error error;
    (void)state;
    fill_up(whole, 4);
    fill_up(parts, 4);
    assert_ok(emr_surgery_backward(whole, x, dy, ROWS, NULL, &error), &error);
    assert_ok(emr_surgery_backward(parts, x, dy, 13, NULL, &error), &error);
    assert_ok(emr_surgery_train(parts, x, dy, 13, NULL, &error), &error);
    memcpy(parts->parameters, whole->parameters, 2 * RANK * WIDTH * sizeof(double));
    assert_ok(emr_surgery_backward(parts, x + 13 * WIDTH, dy + 13 * WIDTH, ROWS - 13, NULL, &error), &error);
    assert_memory_equal(whole->added, parts->added, 2 * RANK * WIDTH * sizeof(double));
    emr_surgery_destroy(&whole);
    emr_surgery_destroy(&parts);
    free(x);
    free(dy);
}

/* Word i of splitmix64, as docs/fitting.md has it. */
static uint64_t word(uint64_t seed, uint64_t i)
{
    uint64_t z = seed + 0x9e3779b97f4a7c15u * (i + 1);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* D is drawn, and samples are taken, as docs/fitting.md says: the fit is its batches, one after the other. */
static void the_fit_can_be_replayed(void **state)
{
    enum { WIDTH = 12, RANK = 3, SAMPLES = 23, BATCH = 5, STEPS = 31, SEED = 77 };
    emr_surgery *fitted = new_surgery(WIDTH, RANK, NULL, NULL),
                *replayed = new_surgery(WIDTH, RANK, NULL, NULL);
    float *x = make_rows(SAMPLES, WIDTH, 1), *z = make_rows(SAMPLES, WIDTH, 2), bx[BATCH * WIDTH],
          bz[BATCH * WIDTH];
    emr_surgery_fit_options options = EMR_INIT(emr_surgery_fit_options);
    emr_surgery_report report = EMR_INIT(emr_surgery_report);
    size_t order[SAMPLES], next = SAMPLES;
    uint64_t drawn = 0;
    emr_error error;
    (void)state;
    for (size_t i = 0; i < RANK * WIDTH; i++)
        assert_true(fitted->parameters[i] ==
                    (2 * (((double)(word(5, i) >> 11) + 0.5) * 0x1p-53) - 1) * (1 / sqrt(WIDTH)));
    options.n_steps = STEPS;
    options.n_batch = BATCH;
    options.seed = SEED;
    assert_ok(emr_surgery_fit(fitted, x, z, SAMPLES, &options, &report, &error), &error);
    for (size_t i = 0; i < SAMPLES; i++)
        order[i] = i;
    for (size_t step = 0; step < STEPS; step++) {
        for (size_t i = 0; i < BATCH; i++, next++) {
            for (size_t k = SAMPLES; next == SAMPLES && k > 1; k--) {
                size_t other = (size_t)(word(SEED, drawn++) % k), held = order[k - 1];
                order[k - 1] = order[other];
                order[other] = held;
            }
            next = next == SAMPLES ? 0 : next;
            memcpy(bx + i * WIDTH, x + order[next] * WIDTH, WIDTH * sizeof *x);
            memcpy(bz + i * WIDTH, z + order[next] * WIDTH, WIDTH * sizeof *z);
        }
        assert_ok(emr_surgery_train(replayed, bx, bz, BATCH, NULL, &error), &error);
    }
    assert_memory_equal(fitted->parameters, replayed->parameters, 2 * RANK * WIDTH * sizeof(double));
    assert_memory_equal(fitted->up, replayed->up, RANK * WIDTH * sizeof(float));
    emr_surgery *fresh = new_surgery(WIDTH, RANK, NULL, NULL);
    assert_true(fabs(report.loss_before - plain_loss(fresh, x, z, NULL, SAMPLES)) < 1e-14);
    assert_true(fabs(report.loss_after - plain_loss(fitted, x, z, NULL, SAMPLES)) < 1e-14);
    assert_int_equal(report.n_steps, STEPS);
    emr_surgery_destroy(&fresh);
    emr_surgery_destroy(&fitted);
    emr_surgery_destroy(&replayed);
    free(x);
    free(z);
}

/* Features that an adapter can repair, at least in part: z = x - U relu(D x) of another adapter, and noise. */
static void make_pairs(size_t n, size_t width, float **x, float **z)
{
    emr_surgery *other = new_surgery(width, 4, NULL, NULL);
    emr_error error;
    rng r = {99};
    fill_up(other, 31);
    *x = make_rows(n, width, 41);
    *z = make_rows(n, width, 42);
    assert_ok(emr_surgery_apply(other, *x, *z, n, &error), &error);
    for (size_t i = 0; i < n * width; i++)
        (*z)[i] += 0.01f * rng_normal(&r);
    emr_surgery_destroy(&other);
}

/* It helps on samples that were not fitted on; with any threads, and all samples at once too, the same bits. */
static void the_fit_helps_and_threads_do_not_show(void **state)
{
    enum { WIDTH = 96, RANK = 24, SAMPLES = 700, FITTED = 500 };
    const emr_adam adam = {.size = sizeof adam, .lr = 1e-2};
    emr_pool *pool = test_pool_new(3);
    const emr_resources resources = test_resources(NULL, emr_pool_executor(pool));
    emr_surgery_fit_options options = EMR_INIT(emr_surgery_fit_options);
    emr_surgery_report report = EMR_INIT(emr_surgery_report);
    float *x, *z;
    emr_error error;
    (void)state;
    make_pairs(SAMPLES, WIDTH, &x, &z);
    for (size_t batch = 0; batch < 2; batch++) {
        emr_surgery *alone = new_surgery(WIDTH, RANK, &adam, NULL),
                    *shared = new_surgery(WIDTH, RANK, &adam, &resources);
        options.n_steps = batch ? 60 : 400;
        options.n_batch = batch ? SIZE_MAX : 64;
        double before = plain_loss(alone, x + FITTED * WIDTH, z + FITTED * WIDTH, NULL, SAMPLES - FITTED);
        assert_ok(emr_surgery_fit(alone, x, z, FITTED, &options, &report, &error), &error);
        assert_ok(emr_surgery_fit(shared, x, z, FITTED, &options, NULL, &error), &error);
        assert_memory_equal(alone->parameters, shared->parameters, 2 * RANK * WIDTH * sizeof(double));
        assert_true(report.loss_after < report.loss_before);
        assert_true(plain_loss(alone, x + FITTED * WIDTH, z + FITTED * WIDTH, NULL, SAMPLES - FITTED) <
                    (batch ? 0.9 : 0.6) * before);
        assert_ok(emr_surgery_backward(alone, x, z, FITTED, NULL, &error), &error);
        assert_ok(emr_surgery_backward(shared, x, z, FITTED, NULL, &error), &error);
        assert_memory_equal(alone->added, shared->added, 2 * RANK * WIDTH * sizeof(double));
        emr_surgery_destroy(&alone);
        emr_surgery_destroy(&shared);
    }
    emr_pool_destroy(&pool);
    free(x);
    free(z);
}

static void a_fit_that_is_stopped_keeps_its_steps(void **state)
{
    enum { WIDTH = 12, SAMPLES = 40 };
    test_progress progress = {.stop_at = 7};
    emr_resources resources = test_resources(NULL, NULL);
    emr_surgery_fit_options options = EMR_INIT(emr_surgery_fit_options);
    float *x = make_rows(SAMPLES, WIDTH, 1), *z = make_rows(SAMPLES, WIDTH, 2);
    emr_error error;
    (void)state;
    resources.progress = test_progress_note;
    resources.progress_user = &progress;
    emr_surgery *stopped = new_surgery(WIDTH, 0, NULL, &resources),
                *whole = new_surgery(WIDTH, 16, NULL, NULL);
    assert_int_equal(emr_surgery_fit(stopped, x, z, SAMPLES, &options, NULL, &error), EMR_ECANCELED);
    assert_string_equal(error.text, "fitting was canceled");
    options.n_steps = 7;
    assert_ok(emr_surgery_fit(whole, x, z, SAMPLES, &options, NULL, &error), &error);
    assert_memory_equal(stopped->parameters, whole->parameters, 2 * 16 * WIDTH * sizeof(double));
    assert_memory_equal(stopped->up, whole->up, 16 * WIDTH * sizeof(float));
    progress = (test_progress){.stop_at = SIZE_MAX};
    assert_ok(emr_surgery_fit(stopped, x, z, SAMPLES, &options, NULL, &error), &error);
    assert_true(progress.done == 7 && progress.total == 7 && !progress.backwards);
    emr_surgery_destroy(&stopped);
    emr_surgery_destroy(&whole);
    free(x);
    free(z);
}

/* One number for all bits, the same with every compiler and processor. */
static void bits_are_the_same_everywhere(void **state)
{
    enum { WIDTH = 33, SAMPLES = 50 };
    emr_surgery *s = new_surgery(WIDTH, 5, NULL, NULL);
    float *x = make_rows(SAMPLES, WIDTH, 1), *z = make_rows(SAMPLES, WIDTH, 2);
    uint64_t hash = 0, bits;
    emr_surgery_fit_options options = EMR_INIT(emr_surgery_fit_options);
    emr_error error;
    (void)state;
    options.n_steps = 100;
    assert_ok(emr_surgery_fit(s, x, z, SAMPLES, &options, NULL, &error), &error);
    for (size_t i = 0; i < 2 * 5 * WIDTH; i++) {
        memcpy(&bits, &s->parameters[i], sizeof bits);
        hash = hash * 31 + bits;
    }
    assert_int_equal(hash, UINT64_C(0x9b570f3d84be93fb));
    emr_surgery_destroy(&s);
    free(x);
    free(z);
}

static void assert_numbers(const double *found, const double *wanted, size_t n, double tolerance)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabs(found[i] - wanted[i]) <= tolerance * (fabs(wanted[i]) + 1e-3)))
            fail_msg("number %zu is %.17g, not %.17g", i, found[i], wanted[i]);
}

/* U as [width, rank]. */
static void transpose(const double *up, size_t rank, size_t width, double *out)
{
    for (size_t r = 0; r < rank; r++)
        for (size_t k = 0; k < width; k++)
            out[k * rank + r] = up[r * width + k];
}

static double *read_step(const emr_model *model, const char *format, int step, size_t *n)
{
    char name[32];
    snprintf(name, sizeof name, format, step);
    return test_vectors_read(model, name, n);
}

static float *read_rows(const emr_model *model, const char *format, int step)
{
    char name[32];
    snprintf(name, sizeof name, format, step);
    return test_vectors_read_floats(model, name, NULL);
}

static void follow_step(emr_surgery *s, const emr_model *model, int step)
{
    float *x = read_rows(model, "%d.merged", step), *z = read_rows(model, "%d.individual", step), y[16 * 12],
          dy[16 * 12];
    double *out = read_step(model, "%d.output", step, NULL), *dx = read_step(model, "%d.dmerged", step, NULL),
           *loss = read_step(model, "%d.loss", step, NULL), *ddown = read_step(model, "%d.ddown", step, NULL),
           *dup = read_step(model, "%d.dup", step, NULL), *down = read_step(model, "down.%d", step + 1, NULL),
           *up = read_step(model, "up.%d", step + 1, NULL), turned[48], found;
    emr_error error;
    assert_ok(emr_surgery_apply(s, x, y, 16, &error), &error);
    for (size_t i = 0; i < 16 * 12; i++) {
        assert_true(fabs((double)y[i] - out[i]) < 1e-5);
        dy[i] = (float)((out[i] > (double)z[i] ? 1 : -1) / 192.0);
    }
    assert_ok(emr_surgery_backward(s, x, dy, 16, dy, &error), &error);
    for (size_t i = 0; i < 16 * 12; i++)
        assert_true(fabs((double)dy[i] - dx[i]) < 1e-8);
    assert_ok(emr_surgery_train(s, x, z, 16, &found, &error), &error);
    assert_numbers(&found, loss, 1, 1e-12);
    assert_numbers(s->gradient, ddown, 48, 1e-12);
    transpose(s->gradient + 48, 4, 12, turned);
    assert_numbers(turned, dup, 48, 1e-12);
    assert_numbers(s->parameters, down, 48, 1e-12);
    transpose(s->parameters + 48, 4, 12, turned);
    assert_numbers(turned, up, 48, 1e-12);
    double *const read[] = {out, dx, loss, ddown, dup, down, up};
    for (size_t i = 0; i < sizeof read / sizeof *read; i++)
        free(read[i]);
    free(x);
    free(z);
}

static void trajectories_are_those_of_the_oracle(void **state)
{
    const emr_adam adam = {.size = sizeof adam, .lr = 1e-2};
    emr_model *model = test_vectors_open("adapter.safetensors");
    (void)state;
    if (!model)
        return;
    emr_surgery *s = new_surgery(12, 4, &adam, NULL);
    float *down = test_vectors_read_floats(model, "down.0", NULL),
          *up = test_vectors_read_floats(model, "up.0", NULL);
    memcpy(s->down, down, 48 * sizeof *down);
    memcpy(s->up, up, 48 * sizeof *up);
    fit_surgery_load(s);
    for (int step = 0; step < 5; step++)
        follow_step(s, model, step);
    free(down);
    free(up);
    emr_surgery_destroy(&s);
    emr_model_destroy(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(applying_has_its_order_of_sums),
        cmocka_unit_test(nan_goes_through),
        cmocka_unit_test(the_first_step_is_lr),
        cmocka_unit_test(gradients_are_slopes),
        cmocka_unit_test(kinks_have_no_slope),
        cmocka_unit_test(no_gradient_is_not_a_gradient_of_zero),
        cmocka_unit_test(gradients_add_up),
        cmocka_unit_test(the_fit_can_be_replayed),
        cmocka_unit_test(the_fit_helps_and_threads_do_not_show),
        cmocka_unit_test(a_fit_that_is_stopped_keeps_its_steps),
        cmocka_unit_test(bits_are_the_same_everywhere),
        cmocka_unit_test(trajectories_are_those_of_the_oracle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

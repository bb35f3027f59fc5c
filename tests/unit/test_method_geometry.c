/* test_method_geometry.c - methods that go by lengths and angles, against direct computation with the vectors
 * themselves, and what they promise of vectors that are 0, equal, opposite, or of one element. */
#include "method_run.h"

#include <math.h>

static const char *const shapes[] = {"", "1", "7", "3x5", "1x9", "9x1", "2x3x4", "2x2x3x5", "260x70"};
enum { N_SHAPES = sizeof shapes / sizeof *shapes, MOST = 260 * 70 };

/* A vector of every step-th element, from `first` on. */
typedef struct strided {
    uint64_t first, step, n;
} strided;

static double product(const float *a, const float *b, strided s)
{
    double sum = 0;
    for (uint64_t k = 0; k < s.n; k++)
        sum += (double)a[s.first + k * s.step] * (double)b[s.first + k * s.step];
    return sum;
}

static double norm_of(const float *a, strided s)
{
    return sqrt(product(a, a, s));
}

static strided whole_of(const method_run *run)
{
    return (strided){0, 1, run->count};
}

static void fill_input(method_run *run, uint32_t input, double value)
{
    for (uint64_t i = 0; i < run->count; i++)
        run->inputs[input][i] = (float)value;
}

static void copy_input(method_run *run, uint32_t to, uint32_t from, double factor)
{
    for (uint64_t i = 0; i < run->count; i++)
        run->inputs[to][i] = (float)(run->inputs[from][i] * factor);
}

/* out = sum of factors[t] * input t, everywhere. */
static void check_sum(const method_run *run, const double *factors, double distance)
{
    static double want[MOST];
    for (uint64_t i = 0; i < run->count; i++) {
        want[i] = 0;
        for (uint32_t t = 0; t < run->n_inputs; t++)
            want[i] += factors[t] * (double)run->inputs[t][i];
    }
    assert_near(run, want, distance);
}

/* --- slerp */

static void arc_or_line(double cosine, double t, bool straight, double factors[2])
{
    double angle = acos(fmax(-1, fmin(1, cosine)));
    factors[0] = straight ? 1 - t : sin((1 - t) * angle) / sin(angle);
    factors[1] = straight ? t : sin(t * angle) / sin(angle);
}

static void check_slerp(const method_run *run, double t)
{
    double factors[2], a = norm_of(run->inputs[0], whole_of(run)), b = norm_of(run->inputs[1], whole_of(run));
    double both = product(run->inputs[0], run->inputs[1], whole_of(run));
    double cosine = both / ((a > 1e-8 ? a : 1) * (b > 1e-8 ? b : 1));
    arc_or_line(cosine, t, fabs(cosine) > 0.9995, factors);
    check_sum(run, factors, 2e-6);
}

static void test_slerp_is_its_formula(void **state)
{
    static const double parts[] = {0, 0.25, 0.5, 0.9, 1};
    (void)state;
    for (size_t k = 0; k < N_SHAPES * 5; k++) {
        method_run run;
        method_run_begin(&run, "slerp", 2, shapes[k / 5], 100 + k);
        run.first_is_base = k % 2;
        method_run_set(&run, "t", parts[k % 5]);
        method_run_do(&run);
        check_slerp(&run, parts[k % 5]);
        method_run_end(&run);
    }
}

static void test_slerp_of_a_quarter_circle(void **state)
{
    method_run run;
    (void)state;
    method_run_begin(&run, "slerp", 2, "2", 1);
    run.inputs[0][0] = run.inputs[1][1] = 3;
    run.inputs[0][1] = run.inputs[1][0] = 0;
    method_run_set(&run, "t", 1.0 / 3);
    method_run_do(&run);
    assert_near(&run, (const double[]){3 * sqrt(0.75), 1.5}, 1e-6);
    method_run_end(&run);
}

/* What becomes of x and factor * x. */
static void check_parallel(const char *method, double factor, const double *factors)
{
    for (size_t k = 0; k < N_SHAPES; k++) {
        method_run run;
        method_run_begin(&run, method, 2, shapes[k], 200 + k);
        copy_input(&run, 1, 0, factor);
        if (strcmp(method, "slerp") == 0) {
            method_run_set(&run, "t", 0.25);
        } else {
            method_run_set_one(&run, "weight", 0, 0.75);
            method_run_set_one(&run, "weight", 1, 0.25);
        }
        method_run_do(&run);
        check_sum(&run, factors, 2e-6);
        method_run_end(&run);
    }
}

static void test_between_parallel_vectors_the_way_is_straight(void **state)
{
    static const double parallel[] = {1, -1, 2, -2, 0.5, -0.0625, 0.7, -3, -0.3};
    (void)state;
    for (size_t k = 0; k < sizeof parallel / sizeof *parallel; k++) {
        check_parallel("slerp", parallel[k], (const double[]){0.75, 0.25});
        check_parallel("nuslerp", parallel[k], (const double[]){0.75, 0.25});
    }
}

static void test_slerp_from_a_vector_without_direction(void **state)
{
    method_run run;
    (void)state;
    method_run_begin(&run, "slerp", 2, "3x5", 5);
    fill_input(&run, 1, 0);
    method_run_set(&run, "t", 0.25);
    method_run_do(&run);
    check_sum(&run, (const double[]){sin(0.75 * acos(0)), 0}, 1e-6);
    fill_input(&run, 0, 0);
    method_run_do(&run);
    check_sum(&run, (const double[]){0, 0}, 0);
    method_run_end(&run);
}

/* The angle whose cosine is 0.9995 is 0.0316. */
static void test_slerp_is_straight_from_a_cosine_on(void **state)
{
    static const double angles[] = {0.0310, 0.0322, 3.1415926535897931 - 0.0310, 3.1415926535897931 - 0.0322};
    (void)state;
    for (size_t k = 0; k < 4; k++) {
        method_run run;
        method_run_begin(&run, "slerp", 2, "2", 5);
        run.inputs[0][0] = 1, run.inputs[0][1] = 0;
        run.inputs[1][0] = (float)(2 * cos(angles[k])), run.inputs[1][1] = (float)(2 * sin(angles[k]));
        method_run_set(&run, "t", 0.3);
        method_run_do(&run);
        double factors[2];
        arc_or_line(cos(angles[k]), 0.3, k % 2 == 0, factors);
        check_sum(&run, factors, 2e-5);
        method_run_end(&run);
    }
}

static void test_slerp_is_between_two_models(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 3; n += 2) {
        method_run run;
        method_run_begin(&run, "slerp", n, "4", 5);
        method_run_set(&run, "t", 0.5);
        method_run_refused(&run, EMR_EINVAL, "slerp");
        run.first_is_base = n == 3;
        method_run_refused(&run, EMR_EINVAL, "slerp");
        method_run_end(&run);
    }
}

/* --- nuslerp */

static strided vector_of(const method_run *run, uint64_t i, bool flatten, bool first_axis)
{
    uint64_t first_length = run->tensor.rank ? run->tensor.shape[0] : 1;
    uint64_t last_length = run->tensor.rank ? run->tensor.shape[run->tensor.rank - 1] : 1;
    uint64_t columns = run->count / first_length;
    if (flatten)
        return whole_of(run);
    if (first_axis)
        return (strided){i % columns, columns, first_length};
    return (strided){i - i % last_length, 1, last_length};
}

static void nuslerp_factors(const method_run *run, strided s, double t, double factors[2])
{
    double a = norm_of(run->inputs[0], s), b = norm_of(run->inputs[1], s);
    double cosine = product(run->inputs[0], run->inputs[1], s) / (fmax(a, 1e-7) * fmax(b, 1e-7));
    arc_or_line(cosine, t, 1 - cosine * cosine <= 1e-14, factors);
}

static void check_nuslerp(const method_run *run, double t, bool flatten, bool first_axis)
{
    static double want[MOST];
    double factors[2] = {0, 0};
    for (uint64_t i = 0; i < run->count; i++) {
        if (i == 0 || !flatten)
            nuslerp_factors(run, vector_of(run, i, flatten, first_axis), t, factors);
        want[i] = factors[0] * (double)run->inputs[0][i] + factors[1] * (double)run->inputs[1][i];
    }
    assert_near(run, want, 4e-6);
}

static void set_weights(method_run *run, const double *weights)
{
    for (uint32_t t = 0; t < run->n_inputs; t++)
        method_run_set_one(run, "weight", t, weights[t]);
}

static void test_nuslerp_is_its_formula_in_each_direction(void **state)
{
    static const double weights[][3] = {{1, 1, 0.5}, {0.7, 0.3, 0.3}, {2, -1, -1}, {0, 5, 1}, {1, -1, 0.5}};
    (void)state;
    for (size_t k = 0; k < N_SHAPES * 3 * 5; k++) {
        method_run run;
        size_t w = k % 5, way = k / 5 % 3;
        method_run_begin(&run, "nuslerp", 2, shapes[k / 15], 300 + k);
        set_weights(&run, weights[w]);
        if (way > 0)
            method_run_set(&run, "nuslerp_flatten", 0);
        if (way > 1)
            method_run_set(&run, "nuslerp_row_wise", 1);
        method_run_do(&run);
        check_nuslerp(&run, weights[w][2], way == 0, way == 2);
        method_run_end(&run);
    }
}

static void test_nuslerp_of_rows_and_columns_that_are_0(void **state)
{
    (void)state;
    for (int columns = 0; columns < 2; columns++) {
        method_run run;
        method_run_begin(&run, "nuslerp", 2, "4x6", 9);
        for (uint64_t i = 0; i < run.count; i++)
            if ((columns ? i % 6 : i / 6) < 2)
                run.inputs[0][i] = run.inputs[(columns ? i % 6 : i / 6) == 0][i] = 0;
        set_weights(&run, (const double[]){3, 1});
        method_run_set(&run, "nuslerp_flatten", 0);
        method_run_set(&run, "nuslerp_row_wise", columns);
        method_run_do(&run);
        check_nuslerp(&run, 0.25, false, columns);
        method_run_end(&run);
    }
}

static void test_nuslerp_refuses_weights_that_nearly_cancel_and_three_tasks(void **state)
{
    method_run run;
    (void)state;
    method_run_begin(&run, "nuslerp", 2, "4", 5);
    set_weights(&run, (const double[]){10, -9.99999});
    method_run_refused(&run, EMR_EINVAL, "the weights nearly cancel");
    method_run_end(&run);
    method_run_begin(&run, "nuslerp", 3, "4", 5);
    method_run_set(&run, "weight", 1);
    method_run_refused(&run, EMR_EINVAL, "nuslerp");
    method_run_end(&run);
}

/* --- multislerp, as mergekit does it: one step in the tangent space at the normalised mean */

static void multislerp_by_tangents(const method_run *run, const double *given, bool normalize, double *want)
{
    static double mean[MOST], tangent[MOST];
    double weights[RUN_INPUTS], norms[RUN_INPUTS], sum = 0, length = 0, step = 0, scale = 0;
    for (uint32_t t = 0; t < run->n_inputs; t++)
        sum += given[t];
    for (uint32_t t = 0; t < run->n_inputs; t++) {
        weights[t] = normalize ? given[t] / sum : given[t];
        norms[t] = norm_of(run->inputs[t], whole_of(run)) + 1e-8;
        scale += weights[t] * (norms[t] - 1e-8);
    }
    for (uint64_t i = 0; i < run->count; i++) {
        mean[i] = tangent[i] = 0;
        for (uint32_t t = 0; t < run->n_inputs; t++)
            mean[i] += weights[t] * (double)run->inputs[t][i] / norms[t];
        length += mean[i] * mean[i];
    }
    for (uint64_t i = 0; i < run->count; i++)
        mean[i] /= sqrt(length);
    for (uint32_t t = 0; t < run->n_inputs; t++) {
        double along = 0;
        for (uint64_t i = 0; i < run->count; i++)
            along += mean[i] * (double)run->inputs[t][i] / norms[t];
        for (uint64_t i = 0; i < run->count; i++)
            tangent[i] += weights[t] * ((double)run->inputs[t][i] / norms[t] - along * mean[i]);
    }
    for (uint64_t i = 0; i < run->count; i++)
        step += tangent[i] * tangent[i];
    step = sqrt(step) + 1e-8;
    for (uint64_t i = 0; i < run->count; i++)
        want[i] = scale * (cos(step) * mean[i] + sin(step) / step * tangent[i]);
}

static const double uneven[RUN_INPUTS] = {1, 0.5, 2, 0.25, 1.5, 3, -0.5, 1};

static void test_multislerp_is_its_formula(void **state)
{
    static double want[MOST];
    (void)state;
    for (size_t k = 0; k < N_SHAPES * 2; k++)
        for (uint32_t n = 2; n <= RUN_INPUTS; n++) {
            method_run run;
            method_run_begin(&run, "multislerp", n, shapes[k / 2], 400 + k * 8 + n);
            set_weights(&run, uneven);
            if (k % 2)
                method_run_set(&run, "normalize_weights", 0);
            method_run_do(&run);
            multislerp_by_tangents(&run, uneven, k % 2 == 0, want);
            assert_near(&run, want, 4e-6 * (k % 2 ? 10 : 1));
            method_run_end(&run);
        }
}

static void test_multislerp_without_a_direction(void **state)
{
    method_run run;
    (void)state;
    method_run_begin(&run, "multislerp", 2, "5x7", 5); /* two: straight */
    copy_input(&run, 1, 0, -3);
    method_run_set(&run, "weight", 4);
    method_run_do(&run);
    check_sum(&run, (const double[]){0.5, 0.5}, 1e-6);
    method_run_end(&run);
    method_run_begin(&run, "multislerp", 4, "5x7", 5);
    copy_input(&run, 1, 0, -3);
    copy_input(&run, 3, 2, -0.7);
    method_run_set(&run, "weight", 1);
    method_run_refused(&run, EMR_EINVAL, "cancel out");
    for (uint32_t t = 0; t < 4; t++) /* what nobody has changed stays */
        fill_input(&run, t, 0);
    method_run_do(&run);
    check_sum(&run, (const double[]){0, 0, 0, 0}, 0);
    method_run_end(&run);
}

static void test_multislerp_of_one_and_of_weights_that_cancel(void **state)
{
    method_run run;
    (void)state;
    method_run_begin(&run, "multislerp", 1, "5x7", 5);
    method_run_set(&run, "weight", 0.3);
    method_run_do(&run);
    check_sum(&run, (const double[]){1}, 0);
    method_run_end(&run);
    method_run_begin(&run, "multislerp", 2, "5x7", 5);
    set_weights(&run, (const double[]){2, -2});
    method_run_refused(&run, EMR_EINVAL, "the weights add up to 0");
    method_run_end(&run);
}

/* --- karcher, with vectors */

static double dot_doubles(const double *a, const double *b, uint64_t n)
{
    double sum = 0;
    for (uint64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static void scale_doubles(double *a, double factor, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        a[i] *= factor;
}

/* Adds to step the way from mean to the unit vector u. */
static void add_tangent(double *step, const double *mean, const double *u, double share, uint64_t n)
{
    double cosine = fmax(-1, fmin(1, dot_doubles(u, mean, n))), angle = acos(cosine);
    for (uint64_t i = 0; i < n && angle >= 1e-5; i++)
        step[i] += share * angle / sin(angle) * (u[i] - cosine * mean[i]);
}

static void karcher_by_vectors(const method_run *run, int iterations, double *mean)
{
    static double units[RUN_INPUTS][MOST], step[MOST];
    double lengths = 0, share = 1.0 / run->n_inputs, size;
    memset(mean, 0, run->count * sizeof *mean);
    for (uint32_t t = 0; t < run->n_inputs; t++) {
        double length = norm_of(run->inputs[t], whole_of(run));
        for (uint64_t i = 0; i < run->count; i++)
            mean[i] += share * (units[t][i] = (double)run->inputs[t][i] / length);
        lengths += length;
    }
    scale_doubles(mean, 1 / sqrt(dot_doubles(mean, mean, run->count)), run->count);
    for (int k = 0; k < iterations; k++) {
        memset(step, 0, sizeof step);
        for (uint32_t t = 0; t < run->n_inputs; t++)
            add_tangent(step, mean, units[t], share, run->count);
        size = sqrt(dot_doubles(step, step, run->count));
        if (size < 1e-5)
            break;
        for (uint64_t i = 0; i < run->count; i++)
            mean[i] = cos(size) * mean[i] + sin(size) / size * step[i];
        scale_doubles(mean, 1 / sqrt(dot_doubles(mean, mean, run->count)), run->count);
    }
    scale_doubles(mean, lengths / run->n_inputs, run->count);
}

static void test_karcher_is_its_formula(void **state)
{
    static double want[MOST];
    (void)state;
    for (size_t k = 3; k < N_SHAPES; k++) /* shorter ones are parallel, or nearly opposite */
        for (uint32_t n = 1; n <= RUN_INPUTS; n++) {
            method_run run;
            method_run_begin(&run, "karcher", n, shapes[k], 500 + k * 8 + n);
            run.first_is_base = n > 1 && k % 2;
            for (uint32_t t = 1; t < n; t++) /* not too far from each other */
                for (uint64_t i = 0; i < run.count; i++)
                    run.inputs[t][i] = run.inputs[t][i] * (float)t + 0.7F * run.inputs[0][i];
            method_run_do(&run);
            karcher_by_vectors(&run, 10, want);
            assert_near(&run, want, 2e-5);
            method_run_set(&run, "max_iter", 1);
            method_run_do(&run);
            karcher_by_vectors(&run, 1, want);
            assert_near(&run, want, 2e-5);
            method_run_end(&run);
        }
}

static void test_karcher_of_two_is_half_way_on_the_circle(void **state)
{
    method_run run;
    double factors[2];
    (void)state;
    method_run_begin(&run, "karcher", 2, "6x7", 11);
    for (uint32_t t = 0; t < 2; t++)
        copy_input(&run, t, t, 1 / norm_of(run.inputs[t], whole_of(&run)));
    method_run_do(&run);
    arc_or_line(product(run.inputs[0], run.inputs[1], whole_of(&run)), 0.5, false, factors);
    check_sum(&run, factors, 1e-6);
    method_run_end(&run);
}

static void test_karcher_of_equal_opposite_and_zero_vectors(void **state)
{
    method_run run;
    (void)state;
    method_run_begin(&run, "karcher", 3, "6x7", 12);
    copy_input(&run, 1, 0, 1), copy_input(&run, 2, 0, 1);
    method_run_do(&run);
    check_sum(&run, (const double[]){1, 0, 0}, 1e-6);
    copy_input(&run, 1, 0, -2),
        fill_input(&run, 2, 0); /* opposite: the first; lengths count, that of 0 as well */
    method_run_do(&run);
    check_sum(&run, (const double[]){1, 0, 0}, 1e-6);
    copy_input(&run, 1, 0, -1.7);
    method_run_do(&run);
    check_sum(&run, (const double[]){2.7 / 3, 0, 0}, 1e-6);
    for (uint32_t t = 0; t < 3; t++)
        fill_input(&run, t, 1e-7); /* no longer than tol */
    method_run_do(&run);
    check_sum(&run, (const double[]){0, 0, 0}, 0);
    method_run_end(&run);
}

/* --- Model Stock */

static double stock_part(const method_run *run, strided s)
{
    double cosines = 0, n = run->n_inputs;
    for (uint32_t i = 0; i < run->n_inputs; i++)
        for (uint32_t j = i + 1; j < run->n_inputs; j++) {
            double lengths = fmax(norm_of(run->inputs[i], s) * norm_of(run->inputs[j], s), 1e-6);
            cosines += fmax(-1, fmin(1, product(run->inputs[i], run->inputs[j], s) / lengths));
        }
    double c = cosines / (n * (n - 1) / 2), divisor = 1 + (n - 1) * c;
    return fabs(divisor) < 1e-6 ? 0 : n * c / divisor;
}

static void check_model_stock(const method_run *run, bool filter_wise)
{
    static double want[MOST];
    double part = 0;
    for (uint64_t i = 0; i < run->count; i++) {
        uint64_t length = run->tensor.rank ? run->tensor.shape[run->tensor.rank - 1] : 1;
        bool by_filter = filter_wise && run->tensor.rank >= 2;
        strided filter = {i - i % length, 1, length};
        if (i == 0 || (by_filter && i % length == 0))
            part = stock_part(run, by_filter ? filter : whole_of(run));
        want[i] = 0;
        for (uint32_t t = 0; t < run->n_inputs; t++)
            want[i] += part / run->n_inputs * (double)run->inputs[t][i];
    }
    assert_near(run, want, 1e-5);
}

static void test_model_stock_is_its_formula(void **state)
{
    (void)state;
    for (size_t k = 0; k < N_SHAPES * 2; k++)
        for (uint32_t n = 2; n <= RUN_INPUTS; n++) {
            method_run run;
            method_run_begin(&run, "model_stock", n, shapes[k / 2], 600 + k * 8 + n);
            for (uint32_t t = 1; t < n && k % 3; t++) /* something in common */
                for (uint64_t i = 0; i < run.count; i++)
                    run.inputs[t][i] += 2 * run.inputs[0][i];
            if (k % 2)
                method_run_set(&run, "filter_wise", 1);
            method_run_do(&run);
            check_model_stock(&run, k % 2);
            method_run_end(&run);
        }
}

static void test_model_stock_of_equal_opposite_and_zero_vectors(void **state)
{
    method_run run;
    (void)state;
    for (int filter_wise = 0; filter_wise < 2; filter_wise++) {
        method_run_begin(&run, "model_stock", 3, "6x7", 13);
        method_run_set(&run, "filter_wise", filter_wise);
        copy_input(&run, 1, 0, 1), copy_input(&run, 2, 0, 1);
        method_run_do(&run);
        check_sum(&run, (const double[]){1, 0, 0}, 1e-6); /* all that they agree on */
        for (uint32_t t = 0; t < 3; t++)
            fill_input(&run, t, 0);
        method_run_do(&run);
        check_sum(&run, (const double[]){0, 0, 0}, 0);
        method_run_end(&run);
        method_run_begin(&run, "model_stock", 2, "6x7", 13);
        method_run_set(&run, "filter_wise", filter_wise);
        copy_input(&run, 1, 0, -1); /* 1 + c is 0: the base */
        method_run_do(&run);
        check_sum(&run, (const double[]){0, 0}, 0);
        method_run_end(&run);
    }
}

static void test_model_stock_takes_two_tasks_at_least(void **state)
{
    method_run run;
    (void)state;
    method_run_begin(&run, "model_stock", 1, "6x7", 13);
    method_run_refused(&run, EMR_EINVAL, "model_stock");
    method_run_end(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slerp_is_its_formula),
        cmocka_unit_test(test_slerp_of_a_quarter_circle),
        cmocka_unit_test(test_between_parallel_vectors_the_way_is_straight),
        cmocka_unit_test(test_slerp_from_a_vector_without_direction),
        cmocka_unit_test(test_slerp_is_straight_from_a_cosine_on),
        cmocka_unit_test(test_slerp_is_between_two_models),
        cmocka_unit_test(test_nuslerp_is_its_formula_in_each_direction),
        cmocka_unit_test(test_nuslerp_of_rows_and_columns_that_are_0),
        cmocka_unit_test(test_nuslerp_refuses_weights_that_nearly_cancel_and_three_tasks),
        cmocka_unit_test(test_multislerp_is_its_formula),
        cmocka_unit_test(test_multislerp_without_a_direction),
        cmocka_unit_test(test_multislerp_of_one_and_of_weights_that_cancel),
        cmocka_unit_test(test_karcher_is_its_formula),
        cmocka_unit_test(test_karcher_of_two_is_half_way_on_the_circle),
        cmocka_unit_test(test_karcher_of_equal_opposite_and_zero_vectors),
        cmocka_unit_test(test_model_stock_is_its_formula),
        cmocka_unit_test(test_model_stock_of_equal_opposite_and_zero_vectors),
        cmocka_unit_test(test_model_stock_takes_two_tasks_at_least),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_ensemble_fit.c - fitting an ensemble: that it learns, when it stops, what is held out, and the same bits for any threads. */
#include "ensembles.h"

/* Three sources, each of which knows the answers for a third of the inputs, and guesses the others' as loudly; each favours a word of
 * its own beside the four answers, by which it is known. */
static samples make_experts(size_t n, uint64_t seed)
{
    enum { T = 3, C = 7, WIDTH = 4 };
    samples s = make_samples(n, T, C, WIDTH, 0, seed);
    rng r = {seed * 3 + 1};
    for (size_t i = 0; i < n; i++) {
        const float x = s.x[i * WIDTH];
        const size_t expert = x < -0.43F ? 0 : x < 0.43F ? 1 : 2;
        s.labels[i] = (uint32_t)rng_below(&r, 4);
        for (size_t j = 0; j < T; j++) {
            float *values = s.values + (i * T + j) * C;
            for (size_t c = 0; c < C; c++)
                values[c] = rng_normal(&r);
            values[j == expert ? s.labels[i] : rng_below(&r, 4)] += 4;
            values[4 + j] += 2;
        }
    }
    return s;
}

static size_t count_right(const emr_ensemble *e, const emr_ensemble_batch *b)
{
    float *out = calloc(b->n * b->n_columns, sizeof *out);
    emr_error error;
    size_t n_right = 0;
    assert_ok(emr_ensemble_combine(e, b, NULL, out, &error), &error);
    for (size_t i = 0; i < b->n; i++) {
        size_t best = 0;
        for (size_t c = 1; c < b->n_columns; c++)
            best = out[i * b->n_columns + c] > out[i * b->n_columns + best] ? c : best;
        n_right += best == b->labels[i];
    }
    free(out);
    return n_right;
}

/* It beats the mean, the vote and every source on samples that it was not fitted on, and the report says what is true. */
static void it_learns_whom_to_trust(void **state)
{
    enum { SHOTS = 256, N = 800 };
    samples shots = make_experts(SHOTS, 3), test = make_experts(N, 4);
    emr_adam adam = {.size = sizeof adam, .lr = 1e-2};
    emr_ensemble *e = create_ensemble(4, 7, NULL, &adam);
    emr_ensemble_report report = EMR_INIT(emr_ensemble_report);
    emr_error error;
    uint32_t answers[N];
    size_t source, best, voted = 0;
    (void)state;
    double before, *gradient = find_gradient(e, &shots.batch, &before);
    free(gradient);
    assert_ok(emr_ensemble_fit(e, &shots.batch, NULL, &report, &error), &error);
    assert_true(report.loss_after < report.loss_before && report.held_out_after < report.held_out_before);
    assert_true(report.n_best > 0 && report.n_best <= report.n_steps && report.n_steps <= 500);
    assert_int_equal(report.n_held_out, SHOTS / 4);
    const double weight = (double)report.n_held_out / SHOTS; /* both parts together are all shots */
    assert_true(is_near(report.held_out_before * weight + report.loss_before * (1 - weight), before, 1e-12));
    gradient = find_gradient(e, &shots.batch, &before);
    free(gradient);
    assert_true(is_near(report.held_out_after * weight + report.loss_after * (1 - weight), before, 1e-12));

    assert_ok(emr_ensemble_vote(&test.batch, answers, &error), &error);
    assert_ok(emr_ensemble_best_source(&test.batch, &source, &best, &error), &error);
    for (size_t i = 0; i < N; i++)
        voted += answers[i] == test.labels[i];
    const size_t ours = count_right(e, &test.batch);
    assert_true(ours > count_right(NULL, &test.batch) + N / 20 && ours > voted + N / 20 &&
                ours > best + N / 20);
    emr_ensemble_destroy(&e);
    free_samples(&shots);
    free_samples(&test);
}

/* Labels at random: there is nothing to learn, and the report shows what was learned by heart. */
static void fitting_stops_early_and_goes_back(void **state)
{
    samples s = make_samples(60, 5, 4, 20, 12, 21);
    const emr_adam adam = {.size = sizeof adam, .lr = 3e-3};
    emr_ensemble *e = create_ensemble(20, 12, NULL, &adam), *again = create_ensemble(20, 12, NULL, &adam),
                 *all = create_ensemble(20, 12, NULL, &adam);
    emr_ensemble_fit_options options = EMR_INIT(emr_ensemble_fit_options);
    emr_ensemble_report report = EMR_INIT(emr_ensemble_report), exact = EMR_INIT(emr_ensemble_report);
    emr_error error;
    (void)state;
    options.patience = 30;
    options.seed = 4;
    options.n_batch = 10;
    assert_ok(emr_ensemble_fit(e, &s.batch, &options, &report, &error), &error);
    assert_true(report.n_best > 0);
    assert_int_equal(report.n_steps, report.n_best + 30);
    assert_true(report.n_steps < 500 && report.held_out_after <= report.held_out_before);
    options.n_steps = report.n_best;
    assert_ok(emr_ensemble_fit(again, &s.batch, &options, &exact, &error), &error);
    assert_true(have_same_parameters(e, again)); /* Adam's state among them: fitting goes on from there */
    const fit_adam_time time = fit_adam_time_after(&e->adam, report.n_best);
    assert_memory_equal(&e->time, &time, sizeof time);

    options.n_steps = 400;
    options.patience = 400;
    assert_ok(emr_ensemble_fit(e, &s.batch, &options, NULL, &error), &error);
    options.use_held_out = 1;
    assert_ok(emr_ensemble_fit(all, &s.batch, &options, &report, &error), &error);
    assert_true(report.n_held_out == 0 && isnan(report.held_out_before) && isnan(report.held_out_after));
    assert_true(report.n_steps == 400 && report.n_best == 400);
    assert_true(report.loss_after < report.loss_before - 0.2);
    emr_ensemble_destroy(&e);
    emr_ensemble_destroy(&again);
    emr_ensemble_destroy(&all);
    free_samples(&s);
}

/* With one step more the loss of what is held out is less, or all stays as it was. */
static void best_steps_are_kept(void **state)
{
    samples s = make_samples(60, 5, 4, 20, 12, 22);
    const emr_adam adam = {.size = sizeof adam, .lr = 1e-2};
    emr_ensemble_fit_options options = EMR_INIT(emr_ensemble_fit_options);
    emr_ensemble_report before = EMR_INIT(emr_ensemble_report);
    uint64_t n_kept = 0;
    (void)state;
    options.n_batch = 9;
    for (options.n_steps = 1; options.n_steps <= 40; options.n_steps++) {
        emr_ensemble *e = create_ensemble(20, 12, NULL, &adam);
        emr_ensemble_report report = EMR_INIT(emr_ensemble_report);
        emr_error error;
        assert_ok(emr_ensemble_fit(e, &s.batch, &options, &report, &error), &error);
        assert_int_equal(report.n_steps, options.n_steps);
        if (options.n_steps > 1 && report.n_best == options.n_steps)
            assert_true(report.held_out_after < before.held_out_after);
        else if (options.n_steps > 1)
            assert_true(report.n_best == before.n_best && report.held_out_after >= before.held_out_after &&
                        report.held_out_after <= before.held_out_after);
        n_kept += report.n_best == options.n_steps;
        before = report;
        emr_ensemble_destroy(&e);
    }
    assert_true(n_kept > 2 && n_kept < 38);
    free_samples(&s);
}

/* How many of three labels are held out, by a loss that is 128^-label for each of a lone source's samples: digits of the sum. */
static void count_held_out(const size_t *n_of_label, double share, uint64_t seed, size_t *held_out)
{
    const size_t n = n_of_label[0] + n_of_label[1] + n_of_label[2];
    samples s = make_samples(n, 1, 3, 4, 0, 3);
    emr_ensemble *e = create_ensemble(4, 3, NULL, NULL);
    emr_ensemble_fit_options options = EMR_INIT(emr_ensemble_fit_options);
    emr_ensemble_report report = EMR_INIT(emr_ensemble_report);
    emr_error error;
    double unit = 1, sum;
    for (size_t label = 0, i = 0; label < 3; label++, unit /= 128)
        for (size_t k = 0; k < n_of_label[label]; k++, i++) {
            s.labels[i] = (uint32_t)label;
            for (size_t c = 0; c < 3; c++)
                s.values[i * 3 + c] = c == label ? (float)-log((exp(unit) - 1) / 2) : 0;
        }
    options.use_held_out = share <= 0;
    options.held_out = share;
    options.n_steps = 1;
    options.seed = seed;
    assert_ok(emr_ensemble_fit(e, &s.batch, &options, &report, &error), &error);
    assert_true(report.n_held_out < n && isfinite(report.loss_before));
    sum = report.n_held_out ? report.held_out_before * (double)report.n_held_out + 1e-5 : 0;
    for (size_t label = 0; label < 3; label++, sum *= 128) {
        held_out[label] = (size_t)sum;
        sum -= (double)held_out[label];
    }
    assert_int_equal(held_out[0] + held_out[1] + held_out[2], report.n_held_out);
    emr_ensemble_destroy(&e);
    free_samples(&s);
}

static void labels_are_held_out_evenly(void **state)
{
    static const struct {
        size_t n[3];
        double share;
        size_t held_out[3];
    } cases[] = {{{80, 20, 40}, 0.25, {20, 5, 10}}, {{80, 3, 3}, 0.1, {8, 1, 1}}, {{4, 4, 4}, 0.9, {3, 3, 3}},
                 {{2, 2, 2}, 0.25, {0, 1, 0}},      {{1, 1, 1}, 0.9, {0, 0, 0}},  {{1, 0, 0}, 0.5, {0, 0, 0}},
                 {{10, 0, 7}, 0, {0, 0, 0}},        {{3, 0, 0}, 0.01, {1, 0, 0}}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (uint64_t seed = 0; seed < 3; seed++) {
            size_t held_out[3];
            count_held_out(cases[i].n, cases[i].share, seed, held_out);
            assert_memory_equal(held_out, cases[i].held_out, sizeof held_out);
        }
}

/* Whatever shares the work out. */
static void bits_do_not_depend_on_threads(void **state)
{
    samples s = make_samples(101, 3, 4, 300, 270, 31);
    emr_pool *pool = test_pool_new(3);
    const emr_resources resources = test_resources(NULL, emr_pool_executor(pool));
    emr_ensemble *one = create_ensemble(300, 270, NULL, NULL),
                 *three = create_ensemble(300, 270, &resources, NULL);
    emr_ensemble_fit_options options = EMR_INIT(emr_ensemble_fit_options);
    emr_ensemble_report a = EMR_INIT(emr_ensemble_report), b = a;
    float out[101 * 4], other[101 * 4], weights[101 * 3], others[101 * 3];
    emr_error error;
    (void)state;
    for (size_t n_batch = 0; n_batch < 80; n_batch += 37) {
        options.n_steps = 4;
        options.n_batch = n_batch;
        assert_ok(emr_ensemble_fit(one, &s.batch, &options, &a, &error), &error);
        assert_ok(emr_ensemble_fit(three, &s.batch, &options, &b, &error), &error);
        assert_true(have_same_parameters(one, three));
        assert_memory_equal(&a, &b, sizeof a);
    }
    assert_ok(emr_ensemble_combine(one, &s.batch, weights, out, &error), &error);
    assert_ok(emr_ensemble_combine(three, &s.batch, others, other, &error), &error);
    assert_memory_equal(out, other, sizeof out);
    assert_memory_equal(weights, others, sizeof weights);
    emr_ensemble_destroy(&one);
    emr_ensemble_destroy(&three);
    emr_pool_destroy(&pool);
    free_samples(&s);
}

static void fitting_can_be_stopped(void **state)
{
    samples s = make_experts(64, 9);
    test_progress progress = {.stop_at = 6, .why = "enough"};
    emr_resources resources = EMR_INIT(emr_resources);
    emr_ensemble_fit_options options = EMR_INIT(emr_ensemble_fit_options);
    emr_ensemble_report report = EMR_INIT(emr_ensemble_report);
    emr_error error;
    (void)state;
    resources.progress = test_progress_note;
    resources.progress_user = &progress;
    emr_ensemble *stopped = create_ensemble(4, 7, &resources, NULL),
                 *seven = create_ensemble(4, 7, NULL, NULL);
    assert_int_equal(emr_ensemble_fit(stopped, &s.batch, &options, &report, &error), EMR_ECANCELED);
    assert_string_equal(error.text, "fitting the ensemble was canceled: enough");
    assert_false(progress.backwards);
    options.n_steps = 7;
    assert_ok(emr_ensemble_fit(seven, &s.batch, &options, NULL, &error), &error);
    assert_true(have_same_parameters(stopped, seven));
    emr_ensemble_destroy(&stopped);
    emr_ensemble_destroy(&seven);
    free_samples(&s);
}

/* A step too long: weights whose scores overflow are told, and the best before it is kept. */
static void divergence_is_told(void **state)
{
    samples s = make_experts(40, 6);
    const emr_adam wild = {.size = sizeof wild, .lr = 1e200};
    emr_ensemble *e = create_ensemble(4, 7, NULL, &wild), *before = create_ensemble(4, 7, NULL, &wild);
    emr_error error;
    double loss;
    (void)state;
    assert_int_equal(emr_ensemble_fit(e, &s.batch, NULL, NULL, &error), EMR_ENONFINITE);
    assert_true(have_same_parameters(e, before));
    assert_ok(emr_ensemble_train(e, &s.batch, &loss, &error), &error);
    assert_int_equal(emr_ensemble_train(e, &s.batch, &loss, &error), EMR_ENONFINITE);
    assert_int_equal(emr_ensemble_combine(e, &s.batch, NULL, NULL, &error), EMR_ENONFINITE);
    assert_non_null(strstr(error.text, "sample 0: the ensemble's numbers overflow"));
    emr_ensemble_destroy(&e);
    emr_ensemble_destroy(&before);
    free_samples(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_learns_whom_to_trust),
        cmocka_unit_test(fitting_stops_early_and_goes_back),
        cmocka_unit_test(best_steps_are_kept),
        cmocka_unit_test(labels_are_held_out_evenly),
        cmocka_unit_test(bits_do_not_depend_on_threads),
        cmocka_unit_test(fitting_can_be_stopped),
        cmocka_unit_test(divergence_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_ensemble_input.c - what an ensemble refuses: samples and options that cannot be, and memory that is short. */
#include "ensembles.h"

/* Every call that takes a batch fails with the sentence, and nothing is written. */
static void assert_refused(emr_ensemble *e, const emr_ensemble_batch *b, emr_status expected,
                           const char *text)
{
    float out[64] = {42}, weights[64] = {42};
    double loss = 42;
    emr_error error;
    assert_int_equal(emr_ensemble_combine(e, b, weights, out, &error), expected);
    assert_string_equal(error.text, text);
    assert_int_equal(emr_ensemble_train(e, b, &loss, &error), expected);
    assert_string_equal(error.text, text);
    assert_int_equal(emr_ensemble_fit(e, b, NULL, NULL, &error), expected);
    assert_string_equal(error.text, text);
    assert_true(out[0] >= 42 && weights[0] >= 42 && loss >= 42);
}

static void bad_batches_are_refused(void **state)
{
    samples s = make_samples(4, 3, 2, 5, 6, 8);
    emr_ensemble *e = create_ensemble(5, 6, NULL, NULL), *same = create_ensemble(5, 6, NULL, NULL);
    emr_ensemble_batch b = s.batch;
    emr_error error;
    double loss;
    (void)state;
    b.n = 0;
    assert_refused(e, &b, EMR_EINVAL,
                   "emr_ensemble_batch: 0 samples, 3 sources, 2 columns: there must be one at least of each");
    b = s.batch;
    b.n_sources = 0;
    assert_refused(e, &b, EMR_EINVAL,
                   "emr_ensemble_batch: 4 samples, 0 sources, 2 columns: there must be one at least of each");
    b = s.batch;
    b.n_columns = 0;
    assert_refused(e, &b, EMR_EINVAL,
                   "emr_ensemble_batch: 4 samples, 3 sources, 0 columns: there must be one at least of each");
    b = s.batch;
    b.n = SIZE_MAX / 16;
    assert_int_equal(emr_ensemble_combine(e, &b, NULL, NULL, &error), EMR_EINVAL);
    b = s.batch;
    b.x = NULL;
    assert_refused(e, &b, EMR_EINVAL, "emr_ensemble_batch: x is missing");
    b = s.batch;
    b.values = NULL;
    assert_refused(e, &b, EMR_EINVAL, "emr_ensemble_batch: values are missing");
    b = s.batch;
    b.keys = NULL;
    assert_refused(
        e, &b, EMR_EINVAL,
        "emr_ensemble_batch: keys are missing, and values of 2 columns cannot be keys, whose width is "
        "6");
    b = s.batch;
    b.size = 8;
    assert_refused(e, &b, EMR_EINVAL, "emr_ensemble_batch: size is not set: begin with EMR_INIT");
    s.x[2 * 5 + 4] = NAN;
    assert_refused(e, &s.batch, EMR_ENONFINITE, "sample 2: x[4] is NaN or infinite");
    s.x[2 * 5 + 4] = 0;
    s.keys[(3 * 3 + 1) * 6 + 5] = INFINITY;
    assert_refused(e, &s.batch, EMR_ENONFINITE, "sample 3, source 1: keys[5] is NaN or infinite");
    s.keys[(3 * 3 + 1) * 6 + 5] = 0;
    s.values[(1 * 3 + 2) * 2] = -INFINITY;
    assert_refused(e, &s.batch, EMR_ENONFINITE, "sample 1, source 2: values[0] is NaN or infinite");
    assert_int_equal(emr_ensemble_combine(NULL, &s.batch, NULL, NULL, &error), EMR_ENONFINITE);
    s.values[(1 * 3 + 2) * 2] = 0;

    s.labels[3] = 2;
    assert_int_equal(emr_ensemble_train(e, &s.batch, &loss, &error), EMR_EINVAL);
    assert_string_equal(error.text, "sample 3: its label is 2, and there are 2 columns");
    assert_ok(emr_ensemble_combine(e, &s.batch, NULL, NULL, &error),
              &error); /* which has no use for labels */
    b = s.batch;
    b.n_columns = 1;
    assert_int_equal(emr_ensemble_fit(e, &b, NULL, NULL, &error), EMR_EINVAL);
    assert_string_equal(error.text, "sample 3: its label is 2, and of a single column it is 0 or 1");
    b.labels = NULL;
    assert_int_equal(emr_ensemble_train(e, &b, &loss, &error), EMR_EINVAL);
    assert_string_equal(error.text, "emr_ensemble_batch: labels are missing");
    assert_int_equal(emr_ensemble_combine(e, NULL, NULL, NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_ensemble_train(NULL, &s.batch, &loss, &error), EMR_EINVAL);
    assert_int_equal(emr_ensemble_fit(NULL, &s.batch, NULL, NULL, &error), EMR_EINVAL);
    assert_true(have_same_parameters(e, same));
    emr_ensemble_destroy(&e);
    emr_ensemble_destroy(&same);
    free_samples(&s);
}

static void bad_options_are_refused(void **state)
{
    const emr_ensemble_options good = {.size = sizeof good, .x_width = 2, .key_width = 2};
    emr_ensemble_options bad[9];
    const emr_adam negative = {.size = sizeof negative, .lr = -1};
    emr_ensemble_fit_options fit = {.size = sizeof fit};
    emr_ensemble_report unset = {0};
    samples s = make_samples(4, 3, 2, 5, 2, 8);
    emr_ensemble *e;
    emr_error error;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        bad[i] = good;
    bad[0].x_width = 0;
    bad[1].key_width = (1 << 24) + 1;
    bad[2].shared_width = (1 << 16) + 1;
    bad[3].temperature = -1;
    bad[4].temperature = NAN;
    bad[5].temperature = INFINITY;
    bad[6].activation = 2;
    bad[7].mix = 2;
    bad[8].adam = &negative;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(emr_ensemble_create(&e, &bad[i], &error), EMR_EINVAL);
    assert_int_equal(emr_ensemble_create(&e, NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_ensemble_create(NULL, &good, &error), EMR_EINVAL);
    assert_int_equal(emr_ensemble_open(&e, NULL, NULL, &error), EMR_EINVAL);
    e = create_ensemble(5, 2, NULL, NULL);
    static const double shares[] = {-0.1, 0.91, NAN, INFINITY};
    for (size_t i = 0; i < 4; i++) {
        fit.held_out = shares[i];
        for (fit.use_held_out = 0; fit.use_held_out < 2; fit.use_held_out++)
            assert_int_equal(emr_ensemble_fit(e, &s.batch, &fit, NULL, &error), EMR_EINVAL);
    }
    assert_int_equal(emr_ensemble_fit(e, &s.batch, NULL, &unset, &error), EMR_EINVAL);
    assert_int_equal(emr_ensemble_open_model(e, NULL, &error), EMR_EINVAL);
    emr_ensemble_destroy(&e);
    free_samples(&s);
}

/* Every request of memory fails once; nothing leaks, and a step that failed has changed nothing. */
static void nothing_leaks_without_memory(void **state)
{
    samples s = make_samples(12, 3, 2, 5, 6, 8);
    emr_ensemble *fresh = create_ensemble(5, 6, NULL, NULL);
    emr_status status = EMR_ENOMEM;
    (void)state;
    for (size_t k = 0; status; k++) {
        test_allocator counts = {0, 0, k};
        const emr_allocator allocator = test_allocator_make(&counts);
        const emr_resources resources = test_resources(&allocator, NULL);
        emr_ensemble_options options = EMR_INIT(emr_ensemble_options);
        emr_ensemble_fit_options fit = EMR_INIT(emr_ensemble_fit_options);
        emr_ensemble *e = NULL, *opened = NULL;
        emr_model *model = NULL;
        emr_error error;
        float out[24] = {42}, weights[36];
        options.resources = &resources;
        options.x_width = 5;
        options.key_width = 6;
        options.x_hidden = options.key_hidden = options.shared_width = 8;
        options.use_norm = 1;
        options.seed = 12;
        fit.n_steps = 2;
        status = emr_ensemble_create(&e, &options, &error);
        if (!status && (status = emr_ensemble_combine(e, &s.batch, weights, out, &error)) != EMR_OK)
            assert_true(out[0] >= 42);
        if (!status && (status = emr_ensemble_train(e, &s.batch, NULL, &error)) != EMR_OK)
            assert_true(have_same_parameters(e, fresh));
        if (!status)
            status = emr_ensemble_fit(e, &s.batch, &fit, NULL, &error);
        if (!status)
            status = emr_ensemble_open_model(e, &model, &error);
        if (!status)
            status = emr_ensemble_open(&opened, model, &options, &error);
        emr_model_destroy(&model);
        emr_ensemble_destroy(&opened);
        emr_ensemble_destroy(&e);
        assert_int_equal(counts.alive, 0);
        assert_true(status == EMR_OK || status == EMR_ENOMEM);
        assert_true(k < 200);
    }
    emr_ensemble_destroy(&fresh);
    free_samples(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_batches_are_refused),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(nothing_leaks_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

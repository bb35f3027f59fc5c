/* test_null.c - the rule about NULL in libemr-fit: every call that returns a status returns EMR_EINVAL where a handle or an output is
 * NULL, whatever else it was given, and sets the other output, if there is a handle, to NULL. */
#include "networks.h"
#include "refused.h"

#include <emr/fit/fit.h>

/* A perceptron, a spec of its units, a permutation of them, and a gram of two such; coefficients of it and a task, an adapter and an
 * ensemble. */
static test_model model;
static emr_permutation_spec *spec;
static emr_permutation *permutation;
static emr_gram *gram;
static emr_coefficients *coefficients;
static emr_surgery *adapter;
static emr_ensemble *ensemble;
static const char *const names[2] = {"one", "two"};

static int set_up(void **state)
{
    (void)state;
    model = perceptron_create("a", 3);
    const emr_model *const both[2] = {model.model, model.model};
    spec = derived_spec(model.model, NULL);
    permutation = random_permutation(spec, 4);
    gram = perceptron_gram(both, 2, 8, 5);
    emr_coefficients_options learned = EMR_INIT(emr_coefficients_options);
    learned.base = model.model;
    learned.tasks = both;
    learned.names = names;
    learned.n_tasks = 1;
    assert_int_equal(emr_coefficients_create(&coefficients, &learned, NULL), EMR_OK);
    emr_surgery_options adapted = EMR_INIT(emr_surgery_options);
    adapted.width = 1;
    assert_int_equal(emr_surgery_create(&adapter, &adapted, NULL), EMR_OK);
    emr_ensemble_options weighed = EMR_INIT(emr_ensemble_options);
    weighed.x_width = weighed.key_width = 1;
    assert_int_equal(emr_ensemble_create(&ensemble, &weighed, NULL), EMR_OK);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    emr_ensemble_destroy(&ensemble);
    emr_surgery_destroy(&adapter);
    emr_coefficients_destroy(&coefficients);
    emr_gram_destroy(&gram);
    emr_permutation_destroy(&permutation);
    emr_permutation_spec_destroy(&spec);
    test_model_destroy(&model);
    return 0;
}

static void refuse_grams(void)
{
    emr_gram *other;
    emr_model *opened;
    emr_gram_site site = EMR_INIT(emr_gram_site);
    const uint64_t widths[2] = {1, 1};
    double mean[N_SECOND], variance[N_SECOND];
    uint32_t number;
    const emr_tensor *weight = emr_model_find_tensor(model.model, "fc1.weight");
    REFUSED(emr_gram_create(NULL, NULL, e));
    REFUSED(emr_gram_add_site(NULL, "x", widths, &number, e));
    REFUSED(emr_gram_add_site(gram, NULL, widths, &number, e));
    REFUSED(emr_gram_add_site(gram, "x", NULL, &number, e));
    QUIET(emr_gram_get_site(NULL, 0, &site));
    QUIET(emr_gram_get_site(gram, 0, NULL));
    REFUSED(emr_gram_find_site(NULL, "fc0", &number, e));
    REFUSED(emr_gram_find_site(gram, NULL, &number, e));
    REFUSED(emr_gram_find_site(gram, "fc0", NULL, e));
    REFUSED(emr_gram_feed(NULL, 0, &(emr_activations){.size = sizeof(emr_activations)}, 0, NULL, e));
    REFUSED(emr_gram_feed(gram, 0, NULL, 0, NULL, e));
    REFUSED(emr_gram_add(NULL, gram, e));
    REFUSED(emr_gram_add(gram, NULL, e));
    REFUSED(emr_gram_open_model(gram, NULL, e));
    NO_HANDLE(opened, emr_gram_open_model(NULL, &opened, e));
    REFUSED(emr_gram_open(NULL, model.model, NULL, e));
    NO_HANDLE(other, emr_gram_open(&other, NULL, NULL, e));
    REFUSED(emr_gram_output_moments(NULL, 1, 0, weight, NULL, mean, variance, e));
    REFUSED(emr_gram_output_moments(gram, 1, 0, NULL, NULL, mean, variance, e));
    REFUSED(emr_gram_output_moments(gram, 1, 0, weight, NULL, NULL, variance, e));
    REFUSED(emr_gram_output_moments(gram, 1, 0, weight, NULL, mean, NULL, e));
    other = NULL;
    emr_gram_destroy(&other), emr_gram_destroy(NULL);
}

static void refuse_specs(void)
{
    emr_permutation_spec *other;
    emr_unit_group group = EMR_INIT(emr_unit_group);
    emr_fit_layer layer = EMR_INIT(emr_fit_layer);
    emr_buffer *buffer = test_buffer_new();
    const emr_io none = EMR_INIT(emr_io);
    REFUSED(emr_permutation_spec_parse(NULL, "{}", 2, NULL, e));
    NO_HANDLE(other, emr_permutation_spec_parse(&other, NULL, 2, NULL, e));
    REFUSED(emr_permutation_spec_derive(NULL, model.model, NULL, NULL, e));
    NO_HANDLE(other, emr_permutation_spec_derive(&other, NULL, NULL, NULL, e));
    REFUSED(emr_permutation_spec_write(NULL, emr_buffer_io(buffer), e));
    REFUSED(emr_permutation_spec_write(spec, NULL, e));
    REFUSED(emr_permutation_spec_write(spec, &none, e));
    REFUSED(emr_permutation_spec_check(NULL, model.model, e));
    REFUSED(emr_permutation_spec_check(spec, NULL, e));
    QUIET(emr_permutation_spec_get_group(NULL, 0, &group));
    QUIET(emr_permutation_spec_get_group(spec, 0, NULL));
    QUIET(emr_permutation_spec_get_layer(NULL, 0, &layer));
    QUIET(emr_permutation_spec_get_layer(spec, 0, NULL));
    other = NULL;
    emr_permutation_spec_destroy(&other), emr_permutation_spec_destroy(NULL);
    emr_buffer_destroy(&buffer);
}

static void refuse_permutations(void)
{
    emr_permutation *other;
    emr_model *opened;
    emr_head_units heads = EMR_INIT(emr_head_units);
    const uint32_t units[N_FIRST] = {0};
    REFUSED(emr_permutation_create(NULL, spec, NULL, e));
    NO_HANDLE(other, emr_permutation_create(&other, NULL, NULL, e));
    REFUSED(emr_permutation_set_units(NULL, "hidden.0", units, e));
    REFUSED(emr_permutation_set_units(permutation, NULL, units, e));
    REFUSED(emr_permutation_set_units(permutation, "hidden.0", NULL, e));
    REFUSED(emr_permutation_set_heads(NULL, "hidden.0", &heads, e));
    REFUSED(emr_permutation_set_heads(permutation, NULL, &heads, e));
    REFUSED(emr_permutation_set_heads(permutation, "hidden.0", NULL, e));
    QUIET(emr_permutation_get_heads(NULL, "hidden.0", &heads));
    QUIET(emr_permutation_get_heads(permutation, NULL, &heads));
    QUIET(emr_permutation_get_heads(permutation, "hidden.0", NULL));
    REFUSED(emr_permutation_invert(permutation, NULL, e));
    NO_HANDLE(other, emr_permutation_invert(NULL, &other, e));
    REFUSED(emr_permutation_compose(permutation, permutation, NULL, e));
    NO_HANDLE(other, emr_permutation_compose(NULL, permutation, &other, e));
    NO_HANDLE(other, emr_permutation_compose(permutation, NULL, &other, e));
    REFUSED(emr_permutation_open_indices(permutation, NULL, e));
    NO_HANDLE(opened, emr_permutation_open_indices(NULL, &opened, e));
    REFUSED(emr_permutation_read_indices(NULL, model.model, e));
    REFUSED(emr_permutation_read_indices(permutation, NULL, e));
    REFUSED(emr_permutation_open_model(permutation, model.model, NULL, e));
    NO_HANDLE(opened, emr_permutation_open_model(NULL, model.model, &opened, e));
    NO_HANDLE(opened, emr_permutation_open_model(permutation, NULL, &opened, e));
    other = NULL;
    emr_permutation_destroy(&other), emr_permutation_destroy(NULL);
}

static void refuse_methods(void)
{
    emr_permutation *found;
    emr_model *merged;
    const emr_model *const a = model.model, *const models[2] = {a, NULL};
    const emr_gram *const grams[2] = {gram, gram};
    const double similarity = 1;
    uint32_t column;
    emr_zip_options zip = {.size = sizeof zip, .models = models, .n_models = 2};
    emr_regmean_options regmean = {.size = sizeof regmean, .models = models, .grams = grams, .n_models = 2};
    emr_spectral_options spectral = {.size = sizeof spectral, .base = a, .tasks = models, .n_tasks = 2};
    spectral.method = EMR_SPECTRAL_METHOD_ISO_C;
    REFUSED(emr_assign(NULL, 1, &column, NULL, e));
    REFUSED(emr_assign(&similarity, 1, NULL, NULL, e));
    REFUSED(emr_match(spec, a, a, NULL, NULL, NULL, e));
    NO_HANDLE(found, emr_match(NULL, a, a, NULL, &found, NULL, e));
    NO_HANDLE(found, emr_match(spec, NULL, a, NULL, &found, NULL, e));
    NO_HANDLE(found, emr_match(spec, a, NULL, NULL, &found, NULL, e));
    REFUSED(emr_pleas_open_model(spec, a, a, NULL, NULL, e));
    NO_HANDLE(merged, emr_pleas_open_model(NULL, a, a, NULL, &merged, e));
    NO_HANDLE(merged, emr_pleas_open_model(spec, NULL, a, NULL, &merged, e));
    NO_HANDLE(merged, emr_pleas_open_model(spec, a, NULL, NULL, &merged, e));
    REFUSED(emr_zip_open_model(spec, &zip, NULL, NULL, e));
    NO_HANDLE(merged, emr_zip_open_model(NULL, &zip, &merged, NULL, e));
    NO_HANDLE(merged, emr_zip_open_model(spec, NULL, &merged, NULL, e));
    NO_HANDLE(merged, emr_zip_open_model(spec, &zip, &merged, NULL, e)); /* a model is NULL */
    REFUSED(emr_regmean_open_model(&regmean, NULL, e));
    NO_HANDLE(merged, emr_regmean_open_model(NULL, &merged, e));
    NO_HANDLE(merged, emr_regmean_open_model(&regmean, &merged, e));
    regmean.models = models + 1;
    regmean.n_models = 1;
    NO_HANDLE(merged, emr_regmean_open_model(&regmean, &merged, e));
    REFUSED(emr_spectral_open_model(&spectral, NULL, e));
    NO_HANDLE(merged, emr_spectral_open_model(NULL, &merged, e));
    NO_HANDLE(merged, emr_spectral_open_model(&spectral, &merged, e));
}

static void refuse_losses(void)
{
    const float zero = 0;
    const uint32_t label = 0;
    float gradient;
    double loss;
    const emr_logits one = {sizeof one, &zero, 1, 1, 0, NULL, 0, 0},
                     none = {sizeof none, NULL, 1, 1, 0, NULL, 0, 0};
    REFUSED(emr_entropy(NULL, &loss, &gradient, e));
    REFUSED(emr_entropy(&none, &loss, &gradient, e));
    REFUSED(emr_cross_entropy(NULL, &label, &loss, &gradient, e));
    REFUSED(emr_cross_entropy(&none, &label, &loss, &gradient, e));
    REFUSED(emr_cross_entropy(&one, NULL, &loss, &gradient, e));
    REFUSED(emr_l1(NULL, &zero, 1, 1, 1, 0, &loss, &gradient, e));
    REFUSED(emr_l1(&zero, NULL, 1, 1, 1, 0, &loss, &gradient, e));
}

static void refuse_coefficients(void)
{
    emr_coefficients *other;
    emr_model *opened;
    emr_coefficient info = EMR_INIT(emr_coefficient);
    emr_coefficients_report report = EMR_INIT(emr_coefficients_report);
    const emr_weights weights = EMR_INIT(emr_weights);
    const emr_model *const tasks[2] = {model.model, NULL};
    const char *const nameless[1] = {NULL};
    const float gradient = 0;
    uint32_t group;
    emr_coefficients_options o = EMR_INIT(emr_coefficients_options);
    NO_HANDLE(other, emr_coefficients_create(&other, NULL, e));
    NO_HANDLE(other, emr_coefficients_create(&other, &o, e)); /* no base */
    o.base = model.model;
    o.n_tasks = 2;
    o.names = names;
    NO_HANDLE(other, emr_coefficients_create(&other, &o, e)); /* no tasks */
    o.tasks = tasks;
    NO_HANDLE(other, emr_coefficients_create(&other, &o, e)); /* a task is NULL */
    o.n_tasks = 1;
    REFUSED(emr_coefficients_create(NULL, &o, e));
    o.names = NULL;
    NO_HANDLE(other, emr_coefficients_create(&other, &o, e));
    o.names = nameless;
    NO_HANDLE(other, emr_coefficients_create(&other, &o, e));
    o.names = names;
    o.n_exclude = 1;
    NO_HANDLE(other, emr_coefficients_create(&other, &o, e));
    o.exclude = nameless;
    NO_HANDLE(other, emr_coefficients_create(&other, &o, e));
    REFUSED(emr_coefficients_find_group(NULL, "fc0.bias", &group, e));
    REFUSED(emr_coefficients_find_group(coefficients, NULL, &group, e));
    REFUSED(emr_coefficients_find_group(coefficients, "fc0.bias", NULL, e));
    QUIET(emr_coefficients_get(NULL, 0, 0, &info));
    QUIET(emr_coefficients_get(coefficients, 0, 0, NULL));
    REFUSED(emr_coefficients_set(NULL, 0, 0, 0.5, e));
    REFUSED(emr_coefficients_open_model(coefficients, NULL, e));
    NO_HANDLE(opened, emr_coefficients_open_model(NULL, &opened, e));
    REFUSED(emr_coefficients_apply(NULL, &weights, 1, e));
    REFUSED(emr_coefficients_apply(coefficients, NULL, 1, e));
    REFUSED(emr_coefficients_gradient(NULL, "fc0.bias", 0, 1, EMR_DTYPE_F32, &gradient, e));
    REFUSED(emr_coefficients_gradient(coefficients, NULL, 0, 1, EMR_DTYPE_F32, &gradient, e));
    REFUSED(emr_coefficients_gradient(coefficients, "fc0.bias", 0, 1, EMR_DTYPE_F32, NULL, e));
    REFUSED(emr_coefficients_step(NULL, &report, e));
    REFUSED(emr_coefficients_open_state(coefficients, NULL, e));
    NO_HANDLE(opened, emr_coefficients_open_state(NULL, &opened, e));
    REFUSED(emr_coefficients_set_state(NULL, model.model, e));
    REFUSED(emr_coefficients_set_state(coefficients, NULL, e));
    other = NULL;
    emr_coefficients_clear(NULL);
    emr_coefficients_destroy(&other), emr_coefficients_destroy(NULL);
}

static void refuse_surgery(void)
{
    emr_surgery *other;
    emr_model *opened;
    const emr_surgery *const both[2] = {adapter, NULL};
    const char *const nameless[1] = {NULL};
    const float x = 0;
    float y = 0;
    double loss;
    const emr_surgery_weights w = {sizeof w, &x, &x, 1, 1}, no_down = {sizeof w, NULL, &x, 1, 1},
                              no_up = {sizeof w, &x, NULL, 1, 1};
    const emr_surgery_options o = {.size = sizeof o, .width = 1};
    REFUSED(emr_surgery_create(NULL, &o, e));
    NO_HANDLE(other, emr_surgery_create(&other, NULL, e)); /* without a width */
    REFUSED(emr_surgery_open(NULL, model.model, "t", NULL, e));
    NO_HANDLE(other, emr_surgery_open(&other, NULL, "t", NULL, e));
    NO_HANDLE(other, emr_surgery_open(&other, model.model, NULL, NULL, e));
    REFUSED(emr_surgery_open_model(both, names, 1, NULL, e));
    NO_HANDLE(opened, emr_surgery_open_model(NULL, names, 1, &opened, e));
    NO_HANDLE(opened, emr_surgery_open_model(both, NULL, 1, &opened, e));
    NO_HANDLE(opened, emr_surgery_open_model(both, names, 2, &opened, e));
    NO_HANDLE(opened, emr_surgery_open_model(both, nameless, 1, &opened, e));
    REFUSED(emr_surgery_apply(NULL, &x, &y, 1, e));
    REFUSED(emr_surgery_apply(adapter, NULL, &y, 1, e));
    REFUSED(emr_surgery_apply(adapter, &x, NULL, 1, e));
    QUIET(emr_surgery_apply_weights(NULL, &x, &y, 1, &y));
    QUIET(emr_surgery_apply_weights(&w, NULL, &y, 1, &y));
    QUIET(emr_surgery_apply_weights(&w, &x, NULL, 1, &y));
    QUIET(emr_surgery_apply_weights(&w, &x, &y, 1, NULL));
    QUIET(emr_surgery_apply_weights(&no_down, &x, &y, 1, &y));
    QUIET(emr_surgery_apply_weights(&no_up, &x, &y, 1, &y));
    REFUSED(emr_surgery_train(NULL, &x, &x, 1, &loss, e));
    REFUSED(emr_surgery_train(adapter, NULL, &x, 1, &loss, e));
    REFUSED(emr_surgery_train(adapter, &x, NULL, 1, &loss, e));
    REFUSED(emr_surgery_fit(NULL, &x, &x, 1, NULL, NULL, e));
    REFUSED(emr_surgery_fit(adapter, NULL, &x, 1, NULL, NULL, e));
    REFUSED(emr_surgery_fit(adapter, &x, NULL, 1, NULL, NULL, e));
    REFUSED(emr_surgery_backward(NULL, &x, &x, 1, &y, e));
    REFUSED(emr_surgery_backward(adapter, NULL, &x, 1, &y, e));
    REFUSED(emr_surgery_backward(adapter, &x, NULL, 1, &y, e));
    REFUSED(emr_surgery_step(NULL, e));
    other = NULL;
    emr_surgery_destroy(&other), emr_surgery_destroy(NULL);
}

/* Batches of one sample and one source, each with something missing. */
static void refuse_batches(void)
{
    const float x = 0;
    const uint32_t label = 0;
    const emr_ensemble_batch whole = {sizeof whole, &x, NULL, &x, &label, 1, 1, 1};
    emr_ensemble_batch lacking[3] = {whole, whole, whole};
    float out;
    double loss;
    uint32_t answer;
    size_t source, n_right;
    lacking[0].x = NULL;
    lacking[1].values = NULL;
    lacking[2].labels = NULL;
    for (int i = 0; i < 3; i++) {
        if (i < 2)
            REFUSED(emr_ensemble_combine(ensemble, &lacking[i], NULL, &out, e));
        REFUSED(emr_ensemble_train(ensemble, &lacking[i], &loss, e));
        REFUSED(emr_ensemble_fit(ensemble, &lacking[i], NULL, NULL, e));
    }
    REFUSED(emr_ensemble_combine(NULL, &lacking[1], NULL, &out, e));
    REFUSED(emr_ensemble_combine(ensemble, NULL, NULL, &out, e));
    REFUSED(emr_ensemble_train(NULL, &whole, &loss, e));
    REFUSED(emr_ensemble_train(ensemble, NULL, &loss, e));
    REFUSED(emr_ensemble_fit(NULL, &whole, NULL, NULL, e));
    REFUSED(emr_ensemble_fit(ensemble, NULL, NULL, NULL, e));
    REFUSED(emr_ensemble_vote(NULL, &answer, e));
    REFUSED(emr_ensemble_vote(&whole, NULL, e));
    REFUSED(emr_ensemble_vote(&lacking[1], &answer, e));
    REFUSED(emr_ensemble_best_source(NULL, &source, &n_right, e));
    REFUSED(emr_ensemble_best_source(&whole, NULL, &n_right, e));
    REFUSED(emr_ensemble_best_source(&lacking[1], &source, &n_right, e));
    REFUSED(emr_ensemble_best_source(&lacking[2], &source, &n_right, e));
}

static void refuse_ensembles(void)
{
    emr_ensemble *other;
    emr_model *opened;
    const float x = 0;
    float pooled;
    const emr_ensemble_options o = {.size = sizeof o, .x_width = 1, .key_width = 1};
    REFUSED(emr_ensemble_create(NULL, &o, e));
    NO_HANDLE(other, emr_ensemble_create(&other, NULL, e)); /* without widths */
    REFUSED(emr_ensemble_open(NULL, model.model, NULL, e));
    NO_HANDLE(other, emr_ensemble_open(&other, NULL, NULL, e));
    REFUSED(emr_ensemble_open_model(ensemble, NULL, e));
    NO_HANDLE(opened, emr_ensemble_open_model(NULL, &opened, e));
    REFUSED(emr_ensemble_pool(NULL, 1, 1, 1, NULL, &pooled, e));
    REFUSED(emr_ensemble_pool(&x, 1, 1, 1, NULL, NULL, e));
    other = NULL;
    emr_ensemble_destroy(&other), emr_ensemble_destroy(NULL);
    refuse_batches();
}

static void null_is_refused_by_every_call(void **state)
{
    (void)state;
    for (int round = 0; round < 2; round++) {
        e = round ? &error : NULL;
        refuse_grams();
        refuse_specs();
        refuse_permutations();
        refuse_methods();
        refuse_losses();
        refuse_coefficients();
        refuse_surgery();
        refuse_ensembles();
    }
    assert_int_equal(n_broken, 0);
}

/* What returns a property has one of nothing, too. */
static void properties_of_nothing(void **state)
{
    (void)state;
    assert_int_equal(emr_gram_bytes(NULL, 1), UINT64_MAX);
    assert_int_equal(emr_gram_n_sites(NULL), 0);
    assert_true(emr_gram_value(NULL, 0, 0, 0) != emr_gram_value(NULL, 0, 0, 0));
    assert_int_equal(emr_permutation_spec_n_groups(NULL), 0);
    assert_int_equal(emr_permutation_spec_n_layers(NULL), 0);
    assert_null(emr_permutation_units(NULL, "hidden.0"));
    assert_null(emr_permutation_units(permutation, NULL));
    assert_int_equal(emr_coefficients_n_tasks(NULL), 0);
    assert_int_equal(emr_coefficients_n_groups(NULL), 0);
    assert_null(emr_coefficients_group(NULL, 0));
    assert_int_equal(emr_surgery_width(NULL), 0);
    assert_int_equal(emr_surgery_rank(NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(null_is_refused_by_every_call),
                                       cmocka_unit_test(properties_of_nothing)};
    return cmocka_run_group_tests_name("NULL", tests, set_up, tear_down);
}

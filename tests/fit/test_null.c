/* test_null.c - the rule about NULL in libemr-fit: every call that returns a status returns EMR_EINVAL where a handle or an output is
 * NULL, whatever else it was given, and sets the other output, if there is a handle, to NULL. */
#include "networks.h"
#include "refused.h"

#include <emr/fit/fit.h>

/* A perceptron, a spec of its units, a permutation of them, and a gram of two such. */
static test_model model;
static emr_permutation_spec *spec;
static emr_permutation *permutation;
static emr_gram *gram;

static int set_up(void **state)
{
    (void)state;
    model = perceptron_create("a", 3);
    const emr_model *const both[2] = {model.model, model.model};
    spec = derived_spec(model.model, NULL);
    permutation = random_permutation(spec, 4);
    gram = perceptron_gram(both, 2, 8, 5);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
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

static void null_is_refused_by_every_call(void **state)
{
    (void)state;
    for (int round = 0; round < 2; round++) {
        e = round ? &error : NULL;
        refuse_grams();
        refuse_specs();
        refuse_permutations();
        refuse_methods();
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
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(null_is_refused_by_every_call),
                                       cmocka_unit_test(properties_of_nothing)};
    return cmocka_run_group_tests_name("NULL", tests, set_up, tear_down);
}

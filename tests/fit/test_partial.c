/* test_partial.c - models that are merged in part: PLeaS and zipping, by what must hold for any networks; and moments of a layer's
 * outputs. */
#include "networks.h"

#include <emr/fit/match.h>
#include <emr/fit/pleas.h>
#include <emr/fit/zip.h>

#include <math.h>
#include <stdio.h>

static const char *const groups[] = {"hidden.0", "hidden.1"};
static const uint64_t sizes[] = {N_FIRST, N_SECOND};

/* Two perceptrons that have nothing in common, and what both do on the same inputs. */
typedef struct world {
    test_model a, b;
    emr_permutation_spec *spec;
    emr_permutation *matched;
    emr_gram *gram;
    emr_pleas_width widths[2];
    emr_pleas_options options;
} world;

static void measure(world *w, const emr_model *a, const emr_model *b)
{
    const emr_model *const both[2] = {a, b};
    emr_match_options matching = EMR_INIT(emr_match_options);
    emr_error error;
    w->gram = perceptron_gram(both, 2, 200, 31);
    matching.space = EMR_MATCH_SPACE_ACTIVATIONS;
    matching.gram = w->gram;
    assert_ok(emr_match(w->spec, a, b, &matching, &w->matched, NULL, &error), &error);
    w->options = (emr_pleas_options){.size = sizeof w->options, .permutation = w->matched, .gram = w->gram};
}

static void merge_share(world *w, double share)
{
    w->options.n_widths = 2;
    w->options.widths = w->widths; /* of the world as it stands now */
    for (size_t g = 0; g < 2; g++)
        w->widths[g] = (emr_pleas_width){sizeof *w->widths, groups[g], (uint64_t)((double)sizes[g] * share)};
}

static world make_world(uint64_t seed)
{
    world w = {.a = perceptron_create("a", seed), .b = perceptron_create("b", seed + 1)};
    w.spec = derived_spec(w.a.model, NULL);
    measure(&w, w.a.model, w.b.model);
    return w;
}

static void free_world(world *w)
{
    emr_gram_destroy(&w->gram);
    emr_permutation_destroy(&w->matched);
    emr_permutation_spec_destroy(&w->spec);
    test_model_destroy(&w->a);
    test_model_destroy(&w->b);
}

static emr_model *merged(const world *w, const emr_model *b)
{
    emr_model *model;
    emr_error error;
    assert_ok(emr_pleas_open_model(w->spec, w->a.model, b, &w->options, &model, &error), &error);
    return model;
}

/* With and without least squares, which have nothing to make better. */
static void nothing_merged_is_the_ensemble(void **state)
{
    world w = make_world(3);
    rng r = {8};
    (void)state;
    for (int solved = 0; solved < 2; solved++) {
        merge_share(&w, 0);
        w.options.gram = solved ? w.gram : NULL;
        emr_model *model = merged(&w, w.b.model);
        assert_int_equal(emr_tensor_shape(emr_model_find_tensor(model, "fc1.weight"))[0], 2 * N_SECOND);
        assert_int_equal(emr_tensor_shape(emr_model_find_tensor(model, "fc1.weight"))[1], 2 * N_FIRST);
        for (int trial = 0; trial < 10; trial++) {
            double input[N_INPUTS], one[N_OUTPUTS], other[N_OUTPUTS], both[N_OUTPUTS];
            for (size_t i = 0; i < N_INPUTS; i++)
                input[i] = (double)rng_normal(&r);
            perceptron_run(w.a.model, input, one, NULL);
            perceptron_run(w.b.model, input, other, NULL);
            perceptron_run(model, input, both, NULL);
            for (size_t i = 0; i < N_OUTPUTS; i++)
                assert_true(fabs(both[i] - (one[i] + other[i]) / 2) < 1e-6);
        }
        emr_model_destroy(&model);
    }
    free_world(&w);
}

/* A network, and itself with its units in another order: at any width, by any target. */
static void equal_networks_come_back(void **state)
{
    static const double shares[] = {1, 0.7, 0.5, 0};
    world w = {.a = perceptron_create("a", 5), .b = perceptron_create("unused", 6)};
    emr_model *other;
    emr_error error;
    (void)state;
    w.spec = derived_spec(w.a.model, NULL);
    emr_permutation *planted = random_permutation(w.spec, 44);
    assert_ok(emr_permutation_open_model(planted, w.a.model, &other, &error), &error);
    measure(&w, w.a.model, other);
    for (size_t i = 0; i < 8; i++) {
        merge_share(&w, shares[i / 2]);
        w.options.target = i / 2 ? EMR_PLEAS_TARGET_ENSEMBLE : i % 2;
        emr_model *model = merged(&w, other);
        assert_true(same_outputs(w.a.model, model, 1e-6));
        emr_model_destroy(&model);
    }
    emr_permutation_destroy(&planted);
    emr_model_destroy(&other);
    free_world(&w);
}

/* With all pairs merged, and each model's own inputs and outputs: RegMean of the aligned models, biases fitted. */
static void whole_and_separate_is_regmean(void **state)
{
    world w = make_world(9);
    emr_fit_layer layers[3];
    emr_gram *own[2];
    emr_model *aligned, *model, *mean;
    emr_error error;
    (void)state;
    merge_share(&w, 1);
    w.options.target = EMR_PLEAS_TARGET_SEPARATE;
    model = merged(&w, w.b.model);
    assert_ok(emr_permutation_open_model(w.matched, w.b.model, &aligned, &error), &error);
    const emr_model *const first[1] = {w.a.model}, *const second[1] = {aligned},
                           *const both[2] = {w.a.model, aligned};
    own[0] = perceptron_gram(first, 1, 200, 31);
    own[1] = perceptron_gram(second, 1, 200, 31);
    for (uint32_t i = 0; i < 3; i++) {
        layers[i] = EMR_INIT(emr_fit_layer);
        assert_int_equal(emr_permutation_spec_get_layer(w.spec, i, &layers[i]), EMR_OK);
    }
    emr_regmean_options options = {
        .size = sizeof options, .models = both, .n_models = 2, .layers = layers, .n_layers = 3};
    options.grams = (const emr_gram *const *)own;
    options.use_off_diagonal = 1;
    options.off_diagonal = 1;
    options.bias = EMR_FIT_BIAS_FIT;
    assert_ok(emr_regmean_open_model(&options, &mean, &error), &error);
    for (size_t t = 0; t < N_PERCEPTRON; t++) {
        double *one = all_elements(model, perceptron[t].name),
               *other = all_elements(mean, perceptron[t].name);
        for (uint64_t i = 0; i < test_tensor_count(&perceptron[t]); i++)
            assert_true(fabs(one[i] - other[i]) < 1e-6 * (1 + fabs(one[i])));
        free(one);
        free(other);
    }
    emr_model_destroy(&mean);
    emr_model_destroy(&model);
    emr_model_destroy(&aligned);
    emr_gram_destroy(&own[0]);
    emr_gram_destroy(&own[1]);
    free_world(&w);
}

/* Layers are solved when they are read, from sums that are still where they were. */
static void a_merged_model_outlasts_more_sites(void **state)
{
    world w = make_world(11);
    const uint64_t widths[2] = {2, 3};
    emr_error error;
    (void)state;
    emr_model *model = merged(&w, w.b.model), *before = merged(&w, w.b.model);
    double *expected = all_elements(before, "fc1.weight");
    for (int i = 0; i < 40; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "more.%d", i);
        assert_ok(emr_gram_add_site(w.gram, name, widths, NULL, &error), &error);
    }
    double *found = all_elements(model, "fc1.weight");
    assert_memory_equal(found, expected, (size_t)N_SECOND * N_FIRST * sizeof *found);
    free(found);
    free(expected);
    emr_model_destroy(&before);
    emr_model_destroy(&model);
    free_world(&w);
}

static emr_status try_pleas(const world *w, emr_error *error)
{
    emr_model *model;
    emr_status status = emr_pleas_open_model(w->spec, w->a.model, w->b.model, &w->options, &model, error);
    emr_model_destroy(&model);
    return status;
}

static void what_cannot_be_is_refused(void **state)
{
    world w = make_world(2);
    const emr_model *const one[1] = {w.a.model};
    emr_gram *own = perceptron_gram(one, 1, 5, 1);
    emr_resources resources = test_resources(NULL, NULL);
    emr_error error;
    double value;
    (void)state;
    merge_share(&w, 1);
    w.widths[0].n_merged = N_FIRST + 1;
    assert_int_equal(try_pleas(&w, &error), EMR_EINVAL);
    w.widths[0].n_merged = 3;
    w.widths[0].group = "nobody";
    assert_int_equal(try_pleas(&w, &error), EMR_ENOTFOUND);
    w.widths[0].group = groups[0];
    w.options.ridge = -1;
    assert_int_equal(try_pleas(&w, &error), EMR_EINVAL);
    w.options.ridge = 0;
    w.options.gram = own;
    assert_int_equal(try_pleas(&w, &error), EMR_EINVAL);
    w.options.gram = w.gram;
    resources.memory_bytes = 1000;
    w.options.resources = &resources;
    emr_model *model = merged(&w, w.b.model);
    assert_int_equal(
        emr_tensor_read(emr_model_find_tensor(model, "fc1.weight"), 0, &value, sizeof value, &error),
        EMR_ELIMIT);
    emr_model_destroy(&model);
    emr_gram_destroy(&own);
    free_world(&w);
}

static void globs_leave_tensors_out(void **state)
{
    static const char *const globs[] = {"fc2.*"}, *const wrong[] = {"*", "fc9.*"};
    world w = make_world(2);
    emr_error error;
    (void)state;
    w.options.exclude = globs;
    w.options.n_exclude = 1;
    emr_model *model = merged(&w, w.b.model);
    assert_int_equal(emr_model_n_tensors(model), emr_model_n_tensors(w.a.model) - 2);
    assert_null(emr_model_find_tensor(model, "fc2.weight"));
    assert_non_null(emr_model_find_tensor(model, "fc1.weight"));
    emr_model_destroy(&model);
    w.options.exclude = wrong;
    w.options.n_exclude = 2;
    assert_int_equal(try_pleas(&w, &error), EMR_EINVAL);
    assert_non_null(strstr(error.text, "'fc9.*' matches no tensor"));
    free_world(&w);
}

/* Every unit meets its twin. */
static void twins_are_zipped(void **state)
{
    (void)state;
    for (int with_gram = 0; with_gram < 2; with_gram++) {
        world w = {.a = perceptron_create("a", 15), .b = perceptron_create("unused", 6)};
        emr_zip_options options = EMR_INIT(emr_zip_options);
        emr_match_report report = EMR_INIT(emr_match_report);
        emr_model *other, *model;
        emr_error error;
        w.spec = derived_spec(w.a.model, NULL);
        emr_permutation *planted = random_permutation(w.spec, 4);
        assert_ok(emr_permutation_open_model(planted, w.a.model, &other, &error), &error);
        measure(&w, w.a.model, other);
        const emr_model *const both[2] = {w.a.model, other};
        options.models = both;
        options.n_models = 2;
        options.gram = with_gram ? w.gram : NULL;
        assert_ok(emr_zip_open_model(w.spec, &options, &model, &report, &error), &error);
        assert_int_equal(report.n_groups, 2);
        if (with_gram) { /* by weights alone the first round is a guess */
            assert_true(same_outputs(w.a.model, model, 1e-9));
            assert_true(fabs(report.value - 1) < 1e-9);
        }
        emr_model_destroy(&model);
        emr_model_destroy(&other);
        emr_permutation_destroy(&planted);
        free_world(&w);
    }
}

/* Though each of them fits the spec. */
static void models_of_other_shapes_are_not_zipped(void **state)
{
    test_tensor longer[N_PERCEPTRON];
    memcpy(longer, perceptron, sizeof longer);
    longer[0].shape[1] = N_INPUTS + 1000;
    test_model a = perceptron_create("a", 1), b = test_model_create("b", longer, N_PERCEPTRON, SOURCE_MEMORY);
    const emr_model *const both[2] = {a.model, b.model};
    const emr_zip_options options = {.size = sizeof options, .models = both, .n_models = 2};
    emr_permutation_spec *spec = derived_spec(a.model, NULL);
    emr_model *model;
    emr_error error;
    (void)state;
    assert_int_equal(emr_zip_open_model(spec, &options, &model, NULL, &error), EMR_EMISMATCH);
    assert_true(test_span_is(&error, error.tensor, "fc0.weight"));
    emr_permutation_spec_destroy(&spec);
    test_model_destroy(&a);
    test_model_destroy(&b);
}

static void outputs_have_the_moments_of_their_samples(void **state)
{
    enum { RUNS = 150 };
    test_model m = perceptron_create("m", 8);
    const emr_model *const one[1] = {m.model};
    emr_gram *gram = perceptron_gram(one, 1, RUNS, 77);
    double mean[N_SECOND], variance[N_SECOND], sums[N_SECOND] = {0}, squares[N_SECOND] = {0};
    double *weight = all_elements(m.model, "fc1.weight"), *bias = all_elements(m.model, "fc1.bias");
    rng r = {77};
    emr_error error;
    (void)state;
    assert_ok(emr_gram_output_moments(gram, 1, 0, emr_model_find_tensor(m.model, "fc1.weight"),
                                      emr_model_find_tensor(m.model, "fc1.bias"), mean, variance, &error),
              &error);
    for (int run = 0; run < RUNS; run++) {
        double input[N_INPUTS], outputs[N_OUTPUTS], of[3][100];
        for (size_t i = 0; i < N_INPUTS; i++)
            input[i] = (double)rng_normal(&r);
        perceptron_run(m.model, input, outputs, of);
        for (size_t o = 0; o < N_SECOND; o++) {
            double sum = bias[o];
            for (size_t i = 0; i < N_FIRST; i++)
                sum += weight[o * N_FIRST + i] * of[1][i];
            sums[o] += sum / RUNS;
            squares[o] += sum * sum / RUNS;
        }
    }
    for (size_t o = 0; o < N_SECOND; o++) {
        assert_true(fabs(mean[o] - sums[o]) < 1e-9);
        assert_true(fabs(variance[o] - (squares[o] - sums[o] * sums[o])) < 1e-9 * (1 + squares[o]));
    }
    assert_int_equal(emr_gram_output_moments(gram, 0, 0, emr_model_find_tensor(m.model, "fc1.weight"), NULL,
                                             mean, variance, &error),
                     EMR_EMISMATCH);
    free(weight);
    free(bias);
    emr_gram_destroy(&gram);
    test_model_destroy(&m);
}

/* Every request of memory fails once. */
static void nothing_leaks_without_memory(void **state)
{
    world w = make_world(19);
    emr_status status = EMR_ENOMEM;
    (void)state;
    merge_share(&w, 0.5);
    for (size_t k = 0; status; k++) {
        test_allocator counts = {0, 0, k};
        const emr_allocator allocator = test_allocator_make(&counts);
        emr_resources resources = test_resources(&allocator, NULL);
        const emr_model *const both[2] = {w.a.model, w.b.model};
        emr_zip_options zipping = {
            .size = sizeof zipping, .resources = &resources, .models = both, .n_models = 2};
        emr_model *model = NULL, *zipped = NULL;
        emr_error error;
        double value;
        zipping.max_rounds = 1;
        zipping.gram = w.gram;
        w.options.resources = &resources;
        status = emr_pleas_open_model(w.spec, w.a.model, w.b.model, &w.options, &model, &error);
        if (!status)
            status =
                emr_tensor_read(emr_model_find_tensor(model, "fc2.bias"), 0, &value, sizeof value, &error);
        if (!status)
            status = emr_zip_open_model(w.spec, &zipping, &zipped, NULL, &error);
        if (!status)
            status =
                emr_tensor_read(emr_model_find_tensor(zipped, "fc2.bias"), 0, &value, sizeof value, &error);
        emr_model_destroy(&zipped);
        emr_model_destroy(&model);
        assert_int_equal(counts.alive, 0);
        assert_true(status == EMR_OK || status == EMR_ENOMEM);
    }
    free_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_merged_is_the_ensemble),
        cmocka_unit_test(equal_networks_come_back),
        cmocka_unit_test(whole_and_separate_is_regmean),
        cmocka_unit_test(globs_leave_tensors_out),
        cmocka_unit_test(a_merged_model_outlasts_more_sites),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(twins_are_zipped),
        cmocka_unit_test(models_of_other_shapes_are_not_zipped),
        cmocka_unit_test(outputs_have_the_moments_of_their_samples),
        cmocka_unit_test(nothing_leaks_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

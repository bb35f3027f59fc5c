/* test_growth.c - structs may grow: an older program's, shorter and still of version 1, and a newer program's, longer with nothing
 * behind what is known, are taken as they are; what is set there is refused. What the library fills it fills as far as it knows. */
#include "networks.h"

#include <emr/fit/fit.h>

enum { ROOM = 512, MORE = 24 };

/* A perceptron, which is all models; two grams; a spec of its units; what learns, and a sample for it. */
typedef struct world {
    test_model m;
    const emr_model *models[2];
    emr_gram *both, *own;
    const emr_gram *grams[2];
    emr_permutation_spec *spec, *heads;
    emr_permutation *permutation;
    emr_coefficients *coefficients;
    emr_surgery *adapter;
    emr_ensemble *ensemble;
} world;

static const float some_values[4] = {0.5f, -1, 2, 0.25f};
static const uint32_t some_labels[4] = {0, 1, 1, 0};
static const char *const task_names[2] = {"one", "two"};

/* A call that takes a struct, which may be longer than it is known, and what it is given otherwise. */
typedef struct taking {
    const char *name;
    size_t size;
    void (*fill)(const world *w, void *options);
    emr_status (*call)(const world *w, const void *options, emr_error *error);
} taking;

static emr_status take_gram(const world *w, const void *options, emr_error *error)
{
    emr_gram *gram;
    (void)w;
    emr_status status = emr_gram_create(&gram, options, error);
    emr_gram_destroy(&gram);
    return status;
}

static emr_status take_derive(const world *w, const void *options, emr_error *error)
{
    emr_permutation_spec *spec;
    emr_status status = emr_permutation_spec_derive(&spec, w->m.model, NULL, options, error);
    emr_permutation_spec_destroy(&spec);
    return status;
}

static void fill_heads(const world *w, void *units)
{
    static const uint32_t kv[] = {1, 0}, slots[] = {0, 1, 0, 1},
                          dimensions[] = {0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5};
    (void)w;
    *(emr_head_units *)units = (emr_head_units){sizeof(emr_head_units), kv, slots, dimensions, dimensions};
}

static emr_status take_heads(const world *w, const void *units, emr_error *error)
{
    emr_permutation *p;
    assert_ok(emr_permutation_create(&p, w->heads, NULL, error), error);
    emr_status status = emr_permutation_set_heads(p, "model.layers.0.self_attn", units, error);
    emr_permutation_destroy(&p);
    return status;
}

static emr_status take_match(const world *w, const void *options, emr_error *error)
{
    emr_permutation *found;
    emr_status status = emr_match(w->spec, w->m.model, w->m.model, options, &found, NULL, error);
    emr_permutation_destroy(&found);
    return status;
}

static emr_status closed(emr_model *model, emr_status status)
{
    assert_true((status == EMR_OK) == (model != NULL));
    emr_model_destroy(&model);
    return status;
}

static void fill_zip(const world *w, void *options)
{
    ((emr_zip_options *)options)->models = w->models;
    ((emr_zip_options *)options)->n_models = 2;
}

static emr_status take_zip(const world *w, const void *options, emr_error *error)
{
    emr_model *model;
    emr_status status = emr_zip_open_model(w->spec, options, &model, NULL, error);
    return closed(model, status);
}

static emr_status take_pleas(const world *w, const void *options, emr_error *error)
{
    emr_model *model;
    emr_status status = emr_pleas_open_model(w->spec, w->m.model, w->m.model, options, &model, error);
    return closed(model, status);
}

static void fill_width(const world *w, void *width)
{
    (void)w;
    ((emr_pleas_width *)width)->group = "hidden.1";
}

static emr_status take_width(const world *w, const void *width, emr_error *error)
{
    emr_pleas_options options = EMR_INIT(emr_pleas_options);
    options.widths = width;
    options.n_widths = 1;
    return take_pleas(w, &options, error);
}

static void fill_regmean(const world *w, void *options)
{
    ((emr_regmean_options *)options)->models = w->models;
    ((emr_regmean_options *)options)->grams = w->grams;
    ((emr_regmean_options *)options)->n_models = 2;
}

static emr_status take_regmean(const world *w, const void *options, emr_error *error)
{
    emr_model *model;
    (void)w;
    emr_status status = emr_regmean_open_model(options, &model, error);
    return closed(model, status);
}

static void fill_layer(const world *w, void *layer)
{
    assert_int_equal(emr_permutation_spec_get_layer(w->spec, 1, layer), EMR_OK);
}

static emr_status take_layer(const world *w, const void *layer, emr_error *error)
{
    emr_regmean_options options = EMR_INIT(emr_regmean_options);
    fill_regmean(w, &options);
    options.layers = layer;
    options.n_layers = 1;
    return take_regmean(w, &options, error);
}

static void fill_spectral(const world *w, void *options)
{
    ((emr_spectral_options *)options)->base = w->m.model;
    ((emr_spectral_options *)options)->tasks = w->models;
    ((emr_spectral_options *)options)->n_tasks = 2;
    ((emr_spectral_options *)options)->method = EMR_SPECTRAL_METHOD_TSV_M;
}

static emr_status take_spectral(const world *w, const void *options, emr_error *error)
{
    emr_model *model;
    (void)w;
    emr_status status = emr_spectral_open_model(options, &model, error);
    return closed(model, status);
}

static void fill_logits(const world *w, void *logits)
{
    (void)w;
    *(emr_logits *)logits = (emr_logits){sizeof(emr_logits), some_values, 2, 2, 0, NULL, 0, 0};
}

static emr_status take_logits(const world *w, const void *logits, emr_error *error)
{
    (void)w;
    return emr_entropy(logits, NULL, NULL, error);
}

static emr_status take_labelled(const world *w, const void *logits, emr_error *error)
{
    (void)w;
    return emr_cross_entropy(logits, some_labels, NULL, NULL, error);
}

static void fill_coefficients(const world *w, void *options)
{
    ((emr_coefficients_options *)options)->base = w->m.model;
    ((emr_coefficients_options *)options)->tasks = w->models;
    ((emr_coefficients_options *)options)->names = task_names;
    ((emr_coefficients_options *)options)->n_tasks = 2;
}

static emr_status take_coefficients(const world *w, const void *options, emr_error *error)
{
    emr_coefficients *c;
    (void)w;
    emr_status status = emr_coefficients_create(&c, options, error);
    emr_coefficients_destroy(&c);
    return status;
}

static emr_status take_adam(const world *w, const void *adam, emr_error *error)
{
    emr_coefficients_options options = EMR_INIT(emr_coefficients_options);
    fill_coefficients(w, &options);
    options.adam = adam;
    return take_coefficients(w, &options, error);
}

static void fill_target(const world *w, void *weights)
{
    static double bias[N_SECOND];
    (void)w;
    *(emr_weights *)weights = (emr_weights){.size = sizeof(emr_weights), .name = "fc1.bias", .data = bias};
}

static emr_status take_target(const world *w, const void *weights, emr_error *error)
{
    return emr_coefficients_apply(w->coefficients, weights, 1, error);
}

static void fill_surgery(const world *w, void *options)
{
    (void)w;
    ((emr_surgery_options *)options)->width = 2;
}

static emr_status take_surgery(const world *w, const void *options, emr_error *error)
{
    emr_surgery *surgery;
    (void)w;
    emr_status status = emr_surgery_create(&surgery, options, error);
    emr_surgery_destroy(&surgery);
    return status;
}

static void fill_steps(const world *w, void *options)
{
    (void)w;
    ((emr_surgery_fit_options *)options)->n_steps = 2;
}

static emr_status take_steps(const world *w, const void *options, emr_error *error)
{
    return emr_surgery_fit(w->adapter, some_values, some_values, 2, options, NULL, error);
}

static void fill_network(const world *w, void *options)
{
    (void)w;
    ((emr_ensemble_options *)options)->x_width = 1;
    ((emr_ensemble_options *)options)->key_width = 1;
}

static emr_status take_network(const world *w, const void *options, emr_error *error)
{
    emr_ensemble *ensemble;
    (void)w;
    emr_status status = emr_ensemble_create(&ensemble, options, error);
    emr_ensemble_destroy(&ensemble);
    return status;
}

static void fill_batch(const world *w, void *batch)
{
    (void)w;
    *(emr_ensemble_batch *)batch = (emr_ensemble_batch){
        sizeof(emr_ensemble_batch), some_values, NULL, some_values, some_labels, 4, 1, 1};
}

static emr_status take_combined(const world *w, const void *batch, emr_error *error)
{
    float out[4];
    return emr_ensemble_combine(w->ensemble, batch, NULL, out, error);
}

static emr_status take_trained(const world *w, const void *batch, emr_error *error)
{
    return emr_ensemble_train(w->ensemble, batch, NULL, error);
}

static emr_status take_fitted(const world *w, const void *batch, emr_error *error)
{
    const emr_ensemble_fit_options options = {.size = sizeof options, .n_steps = 2};
    return emr_ensemble_fit(w->ensemble, batch, &options, NULL, error);
}

static emr_status take_votes(const world *w, const void *batch, emr_error *error)
{
    uint32_t answers[4];
    (void)w;
    return emr_ensemble_vote(batch, answers, error);
}

static emr_status take_best(const world *w, const void *batch, emr_error *error)
{
    size_t source, n_right;
    (void)w;
    return emr_ensemble_best_source(batch, &source, &n_right, error);
}

static void fill_fitting(const world *w, void *options)
{
    (void)w;
    ((emr_ensemble_fit_options *)options)->n_steps = 2;
}

static emr_status take_fitting(const world *w, const void *options, emr_error *error)
{
    emr_ensemble_batch batch;
    fill_batch(w, &batch);
    return emr_ensemble_fit(w->ensemble, &batch, options, NULL, error);
}

static const taking takings[] = {
    {"emr_gram_options", sizeof(emr_gram_options), NULL, take_gram},
    {"emr_derive_options", sizeof(emr_derive_options), NULL, take_derive},
    {"emr_head_units", sizeof(emr_head_units), fill_heads, take_heads},
    {"emr_match_options", sizeof(emr_match_options), NULL, take_match},
    {"emr_zip_options", sizeof(emr_zip_options), fill_zip, take_zip},
    {"emr_pleas_options", sizeof(emr_pleas_options), NULL, take_pleas},
    {"emr_pleas_width", sizeof(emr_pleas_width), fill_width, take_width},
    {"emr_regmean_options", sizeof(emr_regmean_options), fill_regmean, take_regmean},
    {"emr_fit_layer", sizeof(emr_fit_layer), fill_layer, take_layer},
    {"emr_spectral_options", sizeof(emr_spectral_options), fill_spectral, take_spectral},
    {"emr_logits", sizeof(emr_logits), fill_logits, take_logits},
    {"emr_logits", sizeof(emr_logits), fill_logits, take_labelled},
    {"emr_coefficients_options", sizeof(emr_coefficients_options), fill_coefficients, take_coefficients},
    {"emr_adam", sizeof(emr_adam), NULL, take_adam},
    {"emr_weights", sizeof(emr_weights), fill_target, take_target},
    {"emr_surgery_options", sizeof(emr_surgery_options), fill_surgery, take_surgery},
    {"emr_surgery_fit_options", sizeof(emr_surgery_fit_options), fill_steps, take_steps},
    {"emr_ensemble_options", sizeof(emr_ensemble_options), fill_network, take_network},
    {"emr_ensemble_batch", sizeof(emr_ensemble_batch), fill_batch, take_combined},
    {"emr_ensemble_batch", sizeof(emr_ensemble_batch), fill_batch, take_trained},
    {"emr_ensemble_batch", sizeof(emr_ensemble_batch), fill_batch, take_fitted},
    {"emr_ensemble_batch", sizeof(emr_ensemble_batch), fill_batch, take_votes},
    {"emr_ensemble_batch", sizeof(emr_ensemble_batch), fill_batch, take_best},
    {"emr_ensemble_fit_options", sizeof(emr_ensemble_fit_options), fill_fitting, take_fitting}};

static void check_taking(const world *w, const taking *t)
{
    union {
        size_t size;
        unsigned char bytes[ROOM];
    } given = {.bytes = {0}};
    emr_error error = {0};
    given.size = t->size;
    if (t->fill)
        t->fill(w, &given);
    emr_status usual = t->call(w, &given, &error);
    if (usual && usual != EMR_EUNSUPPORTED) /* of a library without LAPACK */
        fail_msg("%s: %s", t->name, error.text);
    given.size = t->size + MORE;
    if (t->call(w, &given, &error) != usual)
        fail_msg("%s that is longer: %s", t->name, error.text);
    given.bytes[t->size + MORE - 1] = 1;
    if (t->call(w, &given, &error) != EMR_EVERSION || !strstr(error.text, t->name))
        fail_msg("%s with a member of the future: %s", t->name, error.text);
    for (size_t size = 0; size < t->size; size += t->size - 1) {
        given.size = size;
        if (t->call(w, &given, &error) != EMR_EINVAL || !strstr(error.text, t->name))
            fail_msg("%s of %zu bytes: %s", t->name, size, error.text);
    }
}

/* A call that fills a struct: one that is longer, with other bytes in it before. */
typedef struct filling {
    const char *name;
    size_t size;
    emr_status (*call)(const world *w, void *filled);
} filling;

static emr_status fill_site(const world *w, void *filled)
{
    return emr_gram_get_site(w->both, 0, filled);
}

static emr_status fill_group(const world *w, void *filled)
{
    return emr_permutation_spec_get_group(w->spec, 0, filled);
}

static emr_status fill_found_layer(const world *w, void *filled)
{
    return emr_permutation_spec_get_layer(w->spec, 0, filled);
}

static emr_status fill_found_heads(const world *w, void *filled)
{
    return emr_permutation_get_heads(w->permutation, "model.layers.0.self_attn", filled);
}

static emr_status fill_match_report(const world *w, void *filled)
{
    emr_permutation *found;
    emr_status status = emr_match(w->spec, w->m.model, w->m.model, NULL, &found, filled, NULL);
    assert_true((status == EMR_OK) == (found != NULL));
    emr_permutation_destroy(&found);
    return status;
}

static emr_status fill_zip_report(const world *w, void *filled)
{
    emr_zip_options options = EMR_INIT(emr_zip_options);
    emr_model *model;
    fill_zip(w, &options);
    emr_status status = emr_zip_open_model(w->spec, &options, &model, filled, NULL);
    return closed(model, status);
}

static emr_status fill_coefficient(const world *w, void *filled)
{
    return emr_coefficients_get(w->coefficients, 0, 0, filled);
}

/* Each time from coefficients that have not moved. */
static emr_status fill_step_report(const world *w, void *filled)
{
    emr_coefficients *c;
    emr_coefficients_options options = EMR_INIT(emr_coefficients_options);
    const float gradient[N_SECOND] = {1};
    fill_coefficients(w, &options);
    assert_int_equal(emr_coefficients_create(&c, &options, NULL), EMR_OK);
    assert_int_equal(emr_coefficients_gradient(c, "fc1.bias", 0, N_SECOND, EMR_DTYPE_F32, gradient, NULL),
                     EMR_OK);
    emr_status status = emr_coefficients_step(c, filled, NULL);
    emr_coefficients_destroy(&c);
    return status;
}

static emr_status fill_surgery_report(const world *w, void *filled)
{
    emr_surgery *surgery;
    emr_surgery_options options = EMR_INIT(emr_surgery_options);
    emr_surgery_fit_options steps = {.size = sizeof steps, .n_steps = 2};
    fill_surgery(w, &options);
    assert_int_equal(emr_surgery_create(&surgery, &options, NULL), EMR_OK);
    emr_status status = emr_surgery_fit(surgery, some_values, some_values, 2, &steps, filled, NULL);
    emr_surgery_destroy(&surgery);
    return status;
}

static emr_status fill_ensemble_report(const world *w, void *filled)
{
    emr_ensemble *ensemble;
    emr_ensemble_options options = EMR_INIT(emr_ensemble_options);
    emr_ensemble_batch batch;
    const emr_ensemble_fit_options steps = {.size = sizeof steps, .n_steps = 2};
    fill_network(w, &options);
    fill_batch(w, &batch);
    assert_int_equal(emr_ensemble_create(&ensemble, &options, NULL), EMR_OK);
    emr_status status = emr_ensemble_fit(ensemble, &batch, &steps, filled, NULL);
    emr_ensemble_destroy(&ensemble);
    return status;
}

static const filling fillings[] = {
    {"emr_gram_site", sizeof(emr_gram_site), fill_site},
    {"emr_unit_group", sizeof(emr_unit_group), fill_group},
    {"emr_fit_layer", sizeof(emr_fit_layer), fill_found_layer},
    {"emr_head_units", sizeof(emr_head_units), fill_found_heads},
    {"emr_match_report", sizeof(emr_match_report), fill_match_report},
    {"emr_match_report", sizeof(emr_match_report), fill_zip_report},
    {"emr_coefficient", sizeof(emr_coefficient), fill_coefficient},
    {"emr_coefficients_report", sizeof(emr_coefficients_report), fill_step_report},
    {"emr_surgery_report", sizeof(emr_surgery_report), fill_surgery_report},
    {"emr_ensemble_report", sizeof(emr_ensemble_report), fill_ensemble_report}};

static void check_filling(const world *w, const filling *f)
{
    union {
        size_t size;
        unsigned char bytes[ROOM];
    } filled, usual;
    memset(&filled, 0xa5, sizeof filled);
    memset(&usual, 0xa5, sizeof usual);
    filled.size = f->size + MORE;
    usual.size = f->size;
    if (f->call(w, &filled) || f->call(w, &usual))
        fail_msg("%s was not filled", f->name);
    assert_int_equal(filled.size, f->size + MORE);
    assert_int_equal(usual.size, f->size);
    assert_memory_equal(filled.bytes + sizeof(size_t), usual.bytes + sizeof(size_t),
                        f->size - sizeof(size_t));
    for (size_t i = f->size; i < ROOM; i++)
        if (filled.bytes[i] != (i < f->size + MORE ? 0 : 0xa5) || usual.bytes[i] != 0xa5)
            fail_msg("%s: byte %zu is not as it should be", f->name, i);
    filled.size = f->size - 1;
    if (f->call(w, &filled) != EMR_EINVAL)
        fail_msg("%s: what is too short was filled", f->name);
}

static world make_world(void)
{
    static test_model heads;
    world w = {.m = perceptron_create("m", 3)};
    w.models[0] = w.models[1] = w.m.model;
    w.both = perceptron_gram(w.models, 2, 40, 4);
    w.own = perceptron_gram(w.models, 1, 40, 4);
    w.grams[0] = w.grams[1] = w.own;
    w.spec = derived_spec(w.m.model, NULL);
    heads = test_model_create("llama", llama, N_LLAMA, SOURCE_MEMORY);
    w.heads = derived_spec(heads.model, llama_config);
    test_model_destroy(&heads);
    w.permutation = random_permutation(w.heads, 5);
    emr_coefficients_options learned = EMR_INIT(emr_coefficients_options);
    emr_surgery_options adapted = EMR_INIT(emr_surgery_options);
    emr_ensemble_options weighed = EMR_INIT(emr_ensemble_options);
    fill_coefficients(&w, &learned), fill_surgery(&w, &adapted), fill_network(&w, &weighed);
    assert_int_equal(emr_coefficients_create(&w.coefficients, &learned, NULL), EMR_OK);
    assert_int_equal(emr_surgery_create(&w.adapter, &adapted, NULL), EMR_OK);
    assert_int_equal(emr_ensemble_create(&w.ensemble, &weighed, NULL), EMR_OK);
    return w;
}

static void free_world(world *w)
{
    emr_ensemble_destroy(&w->ensemble);
    emr_surgery_destroy(&w->adapter);
    emr_coefficients_destroy(&w->coefficients);
    emr_permutation_destroy(&w->permutation);
    emr_permutation_spec_destroy(&w->heads);
    emr_permutation_spec_destroy(&w->spec);
    emr_gram_destroy(&w->own);
    emr_gram_destroy(&w->both);
    test_model_destroy(&w->m);
}

static void structs_of_other_versions_are_taken(void **state)
{
    world w = make_world();
    (void)state;
    for (size_t i = 0; i < sizeof takings / sizeof *takings; i++)
        check_taking(&w, &takings[i]);
    free_world(&w);
}

static void structs_of_other_versions_are_filled(void **state)
{
    world w = make_world();
    (void)state;
    for (size_t i = 0; i < sizeof fillings / sizeof *fillings; i++)
        check_filling(&w, &fillings[i]);
    free_world(&w);
}

/* All elements of an array have the first one's size: a newer program's are farther apart. */
static void arrays_of_longer_structs_are_walked(void **state)
{
    struct {
        emr_pleas_width width;
        uint64_t future;
    } widths[2] = {{{sizeof widths[0], "hidden.0", 20}, 0}, {{sizeof widths[0], "hidden.1", 3}, 0}};
    world w = make_world();
    emr_pleas_options options = {.size = sizeof options, .widths = &widths[0].width, .n_widths = 2};
    emr_model *model;
    emr_error error;
    (void)state;
    assert_ok(emr_pleas_open_model(w.spec, w.m.model, w.m.model, &options, &model, &error), &error);
    assert_int_equal(emr_tensor_count(emr_model_find_tensor(model, "fc1.bias")), 2 * N_SECOND - 3);
    emr_model_destroy(&model);
    widths[1].width.size = sizeof(emr_pleas_width);
    assert_int_equal(emr_pleas_open_model(w.spec, w.m.model, w.m.model, &options, &model, &error),
                     EMR_EINVAL);
    widths[1].width.size = sizeof widths[1];
    widths[1].future = 1;
    assert_int_equal(emr_pleas_open_model(w.spec, w.m.model, w.m.model, &options, &model, &error),
                     EMR_EVERSION);
    free_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(structs_of_other_versions_are_taken),
                                       cmocka_unit_test(structs_of_other_versions_are_filled),
                                       cmocka_unit_test(arrays_of_longer_structs_are_walked)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

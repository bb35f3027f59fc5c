/* test_regmean.c - RegMean against its formula, solved by elimination; what must hold for any models; what is refused. */
#include "support.h"

#include <emr/fit/regmean.h>

#include <math.h>

enum { INPUTS = 31, OUTPUTS = 50, ROWS = 200, MODELS = 3 };

/* Networks of two layers that share a site, a third that is stored as [in, out], and something else. */
static const test_tensor tensors[] = {{"q.weight", EMR_DTYPE_F64, 2, {OUTPUTS, INPUTS}},
                                      {"q.bias", EMR_DTYPE_F64, 1, {OUTPUTS}},
                                      {"k.weight", EMR_DTYPE_F64, 2, {7, INPUTS}},
                                      {"t.weight", EMR_DTYPE_F64, 2, {INPUTS, 5}},
                                      {"norm", EMR_DTYPE_F64, 1, {INPUTS}},
                                      {"steps", EMR_DTYPE_I32, 0, {0}}};
enum { Q, Q_BIAS, K, T, NORM, STEPS, N_TENSORS };

static const emr_fit_layer layers[] = {{sizeof(emr_fit_layer), "q.weight", "q.bias", "x", 1, 0},
                                       {sizeof(emr_fit_layer), "k.weight", NULL, "x", 1, 0},
                                       {sizeof(emr_fit_layer), "t.weight", NULL, "x", 0, 0}};

typedef struct world {
    test_set set; /* of the tasks: the base is not used */
    emr_gram *grams[MODELS];
    float *rows[MODELS];
    const emr_model *models[MODELS];
    emr_regmean_options options;
} world;

static void feed(world *w, uint32_t m, size_t n_rows, size_t rank, rng *r)
{
    const uint64_t width = INPUTS;
    float mix[INPUTS][INPUTS];
    emr_activations given = {.size = sizeof given, .dtype = EMR_DTYPE_F32};
    emr_error error;
    uint32_t site;
    for (size_t i = 0; i < INPUTS; i++)
        for (size_t j = 0; j < INPUTS; j++)
            mix[i][j] = j < rank && i != 4 ? rng_normal(r) * (float)(1 + i) : 0; /* input 4 never fires */
    w->rows[m] = calloc(n_rows * INPUTS, sizeof(float));
    for (size_t row = 0; row < n_rows; row++)
        for (size_t j = 0; j < INPUTS; j++) {
            float z = rng_normal(r);
            for (size_t i = 0; i < INPUTS; i++)
                w->rows[m][row * INPUTS + i] += mix[i][j] * z;
        }
    given.data = w->rows[m];
    assert_ok(emr_gram_create(&w->grams[m], NULL, &error), &error);
    assert_ok(emr_gram_add_site(w->grams[m], "x", &width, &site, &error), &error);
    assert_ok(emr_gram_feed(w->grams[m], site, &given, n_rows, NULL, &error), &error);
}

static world make_world(uint64_t seed, size_t rank)
{
    world w = {.set = test_set_create(tensors, N_TENSORS, MODELS, seed, SOURCE_MEMORY)};
    rng r = {seed + 1};
    for (uint32_t m = 0; m < MODELS; m++) {
        feed(&w, m, ROWS - 10 * m, rank, &r);
        w.models[m] = w.set.tasks[m].model;
    }
    w.options =
        (emr_regmean_options){.size = sizeof w.options, .n_models = MODELS, .layers = layers, .n_layers = 3};
    return w;
}

static emr_model *open_merged(world *w)
{
    emr_model *model;
    emr_error error;
    w->options.models = w->models;
    w->options.grams = (const emr_gram *const *)w->grams;
    assert_ok(emr_regmean_open_model(&w->options, &model, &error), &error);
    return model;
}

static void free_world(world *w)
{
    for (uint32_t m = 0; m < MODELS; m++) {
        emr_gram_destroy(&w->grams[m]);
        free(w->rows[m]);
    }
    test_set_destroy(&w->set);
}

static double *read_all(const emr_model *model, size_t tensor)
{
    const emr_tensor *t = emr_model_find_tensor(model, tensors[tensor].name);
    emr_error error;
    assert_non_null(t);
    double *values = calloc((size_t)emr_tensor_count(t), sizeof *values);
    assert_ok(emr_tensor_read(t, 0, values, (size_t)emr_tensor_bytes(t), &error), &error);
    return values;
}

/* c_m, of options that say nothing else. */
static double share(const world *w, uint32_t m)
{
    double sum = 0;
    for (uint32_t i = 0; i < MODELS; i++)
        sum += w->options.coefficients ? w->options.coefficients[i] : 1;
    return (w->options.coefficients ? w->options.coefficients[m] : 1) / sum;
}

/* Weight of output o and input k of model m; input INPUTS is the bias. */
static double weight_of(const world *w, uint32_t m, size_t tensor, size_t o, size_t k)
{
    const double *values = (const double *)(const void *)w->set.tasks[m].data[k == INPUTS ? Q_BIAS : tensor];
    return k == INPUTS ? values[o] : values[tensor == T ? k * 5 + o : o * INPUTS + k];
}

static double moment_of(const world *w, uint32_t m, size_t i, size_t k)
{
    double alpha = w->options.use_off_diagonal ? w->options.off_diagonal : 0.9;
    double rows = w->options.scale == EMR_FIT_SCALE_SUMS ? 1 : emr_gram_value(w->grams[m], 0, INPUTS, INPUTS);
    return share(w, m) * emr_gram_value(w->grams[m], 0, i, k) / rows * (i == k ? 1 : alpha);
}

/* Solves for output o by elimination with pivots; the input that never fires is left out. */
static void solve_output(const world *w, size_t tensor, size_t o, size_t n, long double *x)
{
    static long double a[INPUTS + 1][INPUTS + 2];
    for (size_t i = 0; i < n; i++) {
        a[i][n] = 0;
        for (size_t k = 0; k < n; k++) {
            a[i][k] = 0;
            for (uint32_t m = 0; m < MODELS; m++) {
                a[i][k] += moment_of(w, m, i, k);
                a[i][n] += (long double)moment_of(w, m, i, k) * weight_of(w, m, tensor, o, k);
            }
            if (i == k)
                a[i][k] *= 1 + (long double)w->options.ridge;
        }
        long double mean = 0;
        for (uint32_t m = 0; m < MODELS; m++)
            mean += share(w, m) * weight_of(w, m, tensor, o, i);
        if (i == 4) {
            a[i][i] = 1;
            a[i][n] = mean;
        } else {
            a[i][n] += (long double)w->options.ridge / (1 + (long double)w->options.ridge) * a[i][i] * mean;
        }
    }
    for (size_t p = 0; p < n; p++) {
        size_t best = p;
        for (size_t i = p; i < n; i++)
            best = fabsl(a[i][p]) > fabsl(a[best][p]) ? i : best;
        for (size_t k = 0; k <= n; k++) {
            long double held = a[p][k];
            a[p][k] = a[best][k];
            a[best][k] = held;
        }
        for (size_t i = 0; i < n; i++)
            for (size_t k = n + 1; i != p && k-- > p;)
                a[i][k] -= a[i][p] / a[p][p] * a[p][k];
    }
    for (size_t i = 0; i < n; i++)
        x[i] = a[i][n] / a[i][i];
}

static void check_layer(const world *w, const emr_model *merged, size_t tensor, size_t outputs, size_t n)
{
    double *got = read_all(merged, tensor), *bias = read_all(merged, Q_BIAS);
    for (size_t o = 0; o < outputs; o++) {
        long double x[INPUTS + 1];
        solve_output(w, tensor, o, n, x);
        for (size_t k = 0; k < n; k++) {
            double value = k == INPUTS ? bias[o] : got[tensor == T ? k * 5 + o : o * INPUTS + k];
            if (fabsl(value - x[k]) > 1e-9L)
                fail_msg("%s[%zu][%zu] is %.15g, not %.15Lg", tensors[tensor].name, o, k, value, x[k]);
        }
    }
    free(got);
    free(bias);
}

static void layers_are_the_formula(void **state)
{
    static const double coefficients[] = {2, 0, 3}, alphas[] = {0, 0.1, 0.9, 1};
    (void)state;
    for (uint32_t i = 0; i < 8; i++) {
        world w = make_world(40 + i, INPUTS);
        w.options.use_off_diagonal = i > 0;
        w.options.off_diagonal = alphas[i % 4];
        w.options.coefficients = i % 3 == 1 ? coefficients : NULL;
        w.options.scale = i % 2 ? EMR_FIT_SCALE_SUMS : EMR_FIT_SCALE_MEANS;
        w.options.bias = i > 3 ? EMR_FIT_BIAS_FIT : EMR_FIT_BIAS_MEAN;
        w.options.ridge = i == 6 ? 0.25 : 0;
        emr_model *merged = open_merged(&w);
        check_layer(&w, merged, Q, OUTPUTS, i > 3 ? INPUTS + 1 : INPUTS);
        check_layer(&w, merged, K, 7, INPUTS);
        check_layer(&w, merged, T, 5, INPUTS);
        emr_model_destroy(&merged);
        free_world(&w);
    }
}

static void all_else_is_the_average(void **state)
{
    world w = make_world(3, INPUTS);
    emr_model *merged = open_merged(&w);
    double *norm = read_all(merged, NORM), *bias = read_all(merged, Q_BIAS);
    (void)state;
    for (size_t i = 0; i < INPUTS; i++) {
        double mean = 0, mean_bias = 0;
        for (uint32_t m = 0; m < MODELS; m++) {
            mean += share(&w, m) * ((const double *)(const void *)w.set.tasks[m].data[NORM])[i];
            mean_bias += share(&w, m) * ((const double *)(const void *)w.set.tasks[m].data[Q_BIAS])[i];
        }
        assert_true(norm[i] == mean && bias[i] == mean_bias);
    }
    assert_int_equal(emr_model_n_tensors(merged), N_TENSORS);
    assert_int_equal(emr_tensor_dtype(emr_model_find_tensor(merged, "steps")), EMR_DTYPE_I32);
    free(norm);
    free(bias);
    emr_model_destroy(&merged);
    free_world(&w);
}

/* Whatever the grams and options: also of few samples, with inputs of which some are sums of others. */
static void equal_models_come_back(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 6; i++) {
        world w = make_world(60 + i, i < 3 ? INPUTS : 5);
        for (uint32_t m = 0; m < MODELS; m++)
            w.models[m] = w.set.tasks[0].model;
        w.options.use_off_diagonal = 1;
        w.options.off_diagonal = (double)(i % 3) / 2;
        w.options.ridge = i % 2 ? 0.5 : 0;
        w.options.bias = EMR_FIT_BIAS_FIT;
        emr_model *merged = open_merged(&w);
        for (size_t t = 0; t < STEPS; t++) {
            double *got = read_all(merged, t), *own = read_all(w.models[0], t);
            for (uint64_t k = 0; k < test_tensor_count(&tensors[t]); k++)
                assert_true(fabs(got[k] - own[k]) <= 1e-12 * (1 + fabs(own[k])));
            free(got);
            free(own);
        }
        emr_model_destroy(&merged);
        free_world(&w);
    }
}

/* Of 5 directions of 31, with the whole off-diagonal: bounded, and outputs on the samples as near as the formula says. */
static void few_samples_do_no_harm(void **state)
{
    world w = make_world(8, 5);
    w.options.use_off_diagonal = 1;
    w.options.off_diagonal = 1;
    emr_model *merged = open_merged(&w);
    double *got = read_all(merged, K);
    (void)state;
    for (size_t i = 0; i < 7 * INPUTS; i++)
        assert_true(fabs(got[i]) < 100);
    free(got);
    emr_model_destroy(&merged);
    free_world(&w);
}

static void bits_do_not_depend_on_threads(void **state)
{
    world w = make_world(70, INPUTS);
    emr_pool *pool = test_pool_new(3);
    emr_resources resources = test_resources(NULL, emr_pool_executor(pool));
    emr_checkpoint_write_options writing = EMR_INIT(emr_checkpoint_write_options);
    emr_buffer *one = test_buffer_new(), *three = test_buffer_new();
    emr_model *alone = open_merged(&w), *together = open_merged(&w);
    emr_error error;
    (void)state;
    assert_ok(emr_safetensors_write(alone, emr_buffer_io(one), NULL, &error), &error);
    writing.resources = &resources;
    assert_ok(emr_safetensors_write(together, emr_buffer_io(three), &writing, &error), &error);
    assert_true(test_same_buffers(one, three));
    emr_model_destroy(&alone);
    emr_model_destroy(&together);
    emr_buffer_destroy(&one);
    emr_buffer_destroy(&three);
    emr_pool_destroy(&pool);
    free_world(&w);
}

static emr_status try_open(const world *w, emr_error *error)
{
    emr_model *model;
    emr_regmean_options options = w->options;
    options.models = w->models;
    options.grams = (const emr_gram *const *)w->grams;
    emr_status status = emr_regmean_open_model(&options, &model, error);
    emr_model_destroy(&model);
    return status;
}

static void what_cannot_be_is_refused(void **state)
{
    static const double none[] = {0, 0, 0}, negative[] = {1, -1, 1};
    world w = make_world(5, INPUTS), good = w;
    emr_fit_layer changed[3];
    emr_error error;
    (void)state;
    memcpy(changed, layers, sizeof changed);
    w.options.layers = changed;
    changed[1].weight = "absent";
    assert_int_equal(try_open(&w, &error), EMR_ENOTFOUND);
    assert_true(test_span_is(&error, error.tensor, "absent"));
    changed[1].weight = "norm";
    assert_int_equal(try_open(&w, &error), EMR_EINVAL);
    changed[1].weight = "q.weight";
    assert_int_equal(try_open(&w, &error), EMR_EINVAL);
    changed[1] = layers[1];
    changed[1].site = "y";
    assert_int_equal(try_open(&w, &error), EMR_EMISMATCH);
    changed[1] = layers[1];
    changed[2].input_axis = 1;
    assert_int_equal(try_open(&w, &error), EMR_EMISMATCH);
    assert_true(test_span_is(&error, error.tensor, "t.weight"));
    w = good;
    w.options.coefficients = none;
    assert_int_equal(try_open(&w, &error), EMR_EINVAL);
    w.options.coefficients = negative;
    assert_int_equal(try_open(&w, &error), EMR_EINVAL);
    w = good;
    w.options.off_diagonal = 1.5;
    w.options.use_off_diagonal = 1;
    assert_int_equal(try_open(&w, &error), EMR_EINVAL);
    w = good;
    w.options.dtype = EMR_DTYPE_I8;
    assert_int_equal(try_open(&w, &error), EMR_EINVAL);
    w = good;
    w.options.size = 8;
    assert_int_equal(try_open(&w, &error), EMR_EINVAL);
    free_world(&good);
}

static void globs_leave_tensors_out(void **state)
{
    static const char *const globs[] = {"[kt].*", "*.bias"}, *const wrong[] = {"k.*", "k.weigh"};
    world w = make_world(6, INPUTS), whole = make_world(6, INPUTS);
    emr_model *merged, *other = open_merged(&whole);
    emr_error error;
    (void)state;
    w.options.exclude = globs;
    w.options.n_exclude = 2;
    merged = open_merged(&w);
    assert_int_equal(emr_model_n_tensors(merged), 3);
    double *q = read_all(merged, Q), *wanted = read_all(other, Q);
    assert_memory_equal(q, wanted, OUTPUTS * INPUTS * sizeof *q);
    assert_non_null(emr_model_find_tensor(merged, "norm"));
    assert_non_null(emr_model_find_tensor(merged, "steps"));
    w.options.exclude = wrong;
    assert_int_equal(try_open(&w, &error), EMR_EINVAL);
    assert_non_null(strstr(error.text, "'k.weigh' matches no tensor"));
    free(q);
    free(wanted);
    emr_model_destroy(&merged);
    emr_model_destroy(&other);
    free_world(&w);
    free_world(&whole);
}

/* Heads of different labels: nothing of them is asked for. */
static void layers_that_are_left_out_need_not_fit(void **state)
{
    static const char *const glob = "k.*";
    world w = make_world(6, INPUTS);
    emr_fit_layer changed[3];
    emr_error error;
    (void)state;
    memcpy(changed, layers, sizeof changed);
    changed[1].site = "y";
    w.options.layers = changed;
    assert_int_equal(try_open(&w, &error), EMR_EMISMATCH);
    w.options.exclude = &glob;
    w.options.n_exclude = 1;
    assert_ok(try_open(&w, &error), &error);
    free_world(&w);
}

/* Files beside the weights are no tensors of the model's. */
static void side_files_stay(void **state)
{
    static const uint64_t length = 2;
    static const char *const every = "*";
    world w = make_world(6, INPUTS);
    emr_model_options named = {.size = sizeof named, .name = "with a file"};
    emr_tensor_desc file = {.size = sizeof file,
                            .name = "file:config.json",
                            .shape = &length,
                            .data = "{}",
                            .dtype = EMR_DTYPE_U8,
                            .rank = 1};
    emr_model *first, *merged;
    emr_error error;
    (void)state;
    assert_ok(emr_model_create(&first, &named, &error), &error);
    for (uint32_t i = 0; i < N_TENSORS; i++)
        assert_ok(emr_model_add_tensor(first, emr_model_tensor(w.models[0], i), &error), &error);
    assert_ok(emr_model_add(first, &file, &error), &error);
    w.models[0] = first;
    w.options.exclude = &every;
    w.options.n_exclude = 1;
    merged = open_merged(&w);
    assert_int_equal(emr_model_n_tensors(merged), 1);
    assert_string_equal(emr_tensor_name(emr_model_tensor(merged, 0)), "file:config.json");
    emr_model_destroy(&merged);
    emr_model_destroy(&first);
    free_world(&w);
}

static void too_little_memory_is_told(void **state)
{
    world w = make_world(5, INPUTS);
    emr_resources resources = test_resources(NULL, NULL);
    emr_error error;
    double value;
    (void)state;
    resources.memory_bytes = 1000;
    w.options.resources = &resources;
    emr_model *merged = open_merged(&w);
    assert_int_equal(
        emr_tensor_read(emr_model_find_tensor(merged, "q.weight"), 0, &value, sizeof value, &error),
        EMR_ELIMIT);
    assert_ok(emr_tensor_read(emr_model_find_tensor(merged, "norm"), 0, &value, sizeof value, &error),
              &error);
    emr_model_destroy(&merged);
    free_world(&w);
}

/* Every request of memory fails once. */
static void nothing_leaks_without_memory(void **state)
{
    world w = make_world(9, INPUTS);
    emr_status status = EMR_ENOMEM;
    (void)state;
    for (size_t k = 0; status; k++) {
        test_allocator counts = {0, 0, k};
        const emr_allocator allocator = test_allocator_make(&counts);
        emr_resources resources = test_resources(&allocator, NULL);
        emr_model *model = NULL;
        emr_error error;
        double value;
        w.options.resources = &resources;
        w.options.models = w.models;
        w.options.grams = (const emr_gram *const *)w.grams;
        w.options.bias = EMR_FIT_BIAS_FIT;
        status = emr_regmean_open_model(&w.options, &model, &error);
        if (!status)
            status = emr_tensor_read(emr_model_find_tensor(model, "q.bias"), 0, &value, sizeof value, &error);
        emr_model_destroy(&model);
        assert_int_equal(counts.alive, 0);
        assert_true(status == EMR_OK || status == EMR_ENOMEM);
    }
    free_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_are_the_formula),
        cmocka_unit_test(all_else_is_the_average),
        cmocka_unit_test(equal_models_come_back),
        cmocka_unit_test(few_samples_do_no_harm),
        cmocka_unit_test(bits_do_not_depend_on_threads),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(too_little_memory_is_told),
        cmocka_unit_test(nothing_leaks_without_memory),
        cmocka_unit_test(globs_leave_tensors_out),
        cmocka_unit_test(layers_that_are_left_out_need_not_fit),
        cmocka_unit_test(side_files_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

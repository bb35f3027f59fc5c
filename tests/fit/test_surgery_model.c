/* test_surgery_model.c - adapters saved and opened; files that hold something else; arguments that cannot be; memory that runs out. */
#include "support.h"

#include <emr/fit/surgery.h>

#include <math.h>

enum { WIDTH = 20, RANK = 4, ROWS = 9 };

static float x[ROWS * WIDTH], z[ROWS * WIDTH];

static int fill_rows(void **state)
{
    rng r = {17};
    (void)state;
    for (size_t i = 0; i < ROWS * WIDTH; i++) {
        x[i] = rng_normal(&r);
        z[i] = rng_normal(&r);
    }
    return 0;
}

static emr_surgery_options sizes(uint64_t width, uint32_t rank)
{
    emr_surgery_options options = EMR_INIT(emr_surgery_options);
    options.width = width;
    options.rank = rank;
    return options;
}

/* One that has been fitted a little. */
static emr_surgery *new_surgery(uint32_t rank, uint64_t seed)
{
    emr_surgery_options options = sizes(WIDTH, rank);
    emr_surgery *s;
    emr_error error;
    options.seed = seed;
    assert_ok(emr_surgery_create(&s, &options, &error), &error);
    for (size_t i = 0; i < 5; i++)
        assert_ok(emr_surgery_train(s, x, z, ROWS, NULL, &error), &error);
    return s;
}

static void assert_same_outputs(const emr_surgery *a, const emr_surgery *b)
{
    float of_a[ROWS * WIDTH], of_b[ROWS * WIDTH];
    emr_error error;
    assert_ok(emr_surgery_apply(a, x, of_a, ROWS, &error), &error);
    assert_ok(emr_surgery_apply(b, x, of_b, ROWS, &error), &error);
    assert_memory_equal(of_a, of_b, sizeof of_a);
}

static emr_model *saved(const emr_surgery *const *surgeries, const char *const *places, uint32_t n,
                        emr_buffer **bytes)
{
    emr_model *model, *file;
    emr_error error;
    *bytes = test_buffer_new();
    assert_ok(emr_surgery_open_model(surgeries, places, n, &model, &error), &error);
    assert_ok(emr_safetensors_write(model, emr_buffer_io(*bytes), NULL, &error), &error);
    assert_ok(emr_safetensors_open(&file, emr_buffer_io(*bytes), "adapters", NULL, &error), &error);
    emr_model_destroy(&model);
    return file;
}

static void adapters_come_back(void **state)
{
    emr_surgery *one = new_surgery(RANK, 1), *two = new_surgery(16, 2), *opened;
    const emr_surgery *const surgeries[] = {one, two};
    static const char *const places[] = {"a.final", "a.block.0"};
    const emr_surgery_options options = sizes(0, 16);
    emr_buffer *bytes;
    emr_error error;
    (void)state;
    emr_model *file = saved(surgeries, places, 2, &bytes);
    assert_int_equal(emr_model_n_tensors(file), 4);
    assert_string_equal(emr_model_find_metadata(file, "emr.kind"), "adapters");
    assert_string_equal(emr_model_find_metadata(file, "emr.activation"), "relu");
    assert_string_equal(emr_model_find_metadata(file, "emr.sign"), "-");
    const uint64_t *up = emr_tensor_shape(emr_model_find_tensor(file, "a.final.up.weight"));
    assert_true(up[0] == WIDTH && up[1] == RANK);
    assert_ok(emr_surgery_open(&opened, file, "a.final", NULL, &error), &error);
    assert_int_equal(emr_surgery_width(opened), WIDTH);
    assert_int_equal(emr_surgery_rank(opened), RANK);
    assert_same_outputs(one, opened);
    assert_ok(emr_surgery_train(opened, x, z, ROWS, NULL, &error), &error); /* it can go on */
    emr_surgery_destroy(&opened);
    assert_ok(emr_surgery_open(&opened, file, "a.block.0", &options, &error), &error);
    assert_same_outputs(two, opened);
    emr_surgery_destroy(&opened);
    assert_int_equal(emr_surgery_open(&opened, file, "a.final", &options, &error), EMR_EMISMATCH);
    assert_string_equal(error.text,
                        "adapters: adapter 'a.final' is of width 20 and rank 4, not of what was asked for");
    assert_int_equal(emr_surgery_open(&opened, file, "a", NULL, &error), EMR_ENOTFOUND);
    assert_string_equal(error.text, "adapters: there is no adapter 'a'");
    emr_surgery_destroy(&one);
    emr_surgery_destroy(&two);
    emr_model_destroy(&file);
    emr_buffer_destroy(&bytes);
}

/* The model has weights of its own. */
static void a_model_keeps_its_moment(void **state)
{
    emr_surgery *s = new_surgery(RANK, 1), *same = new_surgery(RANK, 1), *opened;
    const char *const place = "t";
    emr_model *model;
    emr_error error;
    (void)state;
    assert_ok(emr_surgery_open_model((const emr_surgery *const *)&s, &place, 1, &model, &error), &error);
    assert_ok(emr_surgery_train(s, x, z, ROWS, NULL, &error), &error);
    emr_surgery_destroy(&s);
    assert_ok(emr_surgery_open(&opened, model, "t", NULL, &error), &error);
    assert_same_outputs(same, opened);
    emr_surgery_destroy(&opened);
    emr_surgery_destroy(&same);
    emr_model_destroy(&model);
}

typedef struct broken {
    const char *name; /* of the second matrix */
    emr_dtype dtype;
    uint32_t rank; /* number of its dimensions */
    uint64_t shape[2];
    const char *key; /* metadata, or NULL */
    const char *value;
    emr_status status;
} broken;

static emr_status open_broken(const broken *b, emr_error *error)
{
    const test_tensor tensors[] = {{"p.down.weight", EMR_DTYPE_F16, 2, {3, 5}},
                                   {b->name, b->dtype, b->rank, {b->shape[0], b->shape[1]}}};
    test_model m = test_model_create("broken", tensors, 2, SOURCE_MEMORY);
    emr_surgery *s;
    if (b->key)
        assert_ok(emr_model_set_metadata(m.model, b->key, b->value, error), error);
    if (b->status == EMR_ENONFINITE) {
        const float nan = NAN;
        memcpy(m.data[1] + 7 * sizeof nan, &nan, sizeof nan);
    }
    emr_status status = emr_surgery_open(&s, m.model, "p", NULL, error);
    emr_surgery_destroy(&s);
    test_model_destroy(&m);
    return status;
}

static void other_files_are_refused(void **state)
{
    static const broken cases[] = {
        {"p.up.weight", EMR_DTYPE_F32, 2, {5, 3}, NULL, NULL, EMR_OK},
        {"p.up.weight", EMR_DTYPE_BF16, 2, {5, 3}, "emr.sign", "-", EMR_OK},
        {"p.up.weight", EMR_DTYPE_F32, 2, {5, 3}, NULL, NULL, EMR_ENONFINITE},
        {"p.up.weight", EMR_DTYPE_F32, 2, {3, 5}, NULL, NULL, EMR_EFORMAT},
        {"p.up.weight", EMR_DTYPE_F32, 1, {15, 0}, NULL, NULL, EMR_EFORMAT},
        {"p.up.weight", EMR_DTYPE_I32, 2, {5, 3}, NULL, NULL, EMR_EFORMAT},
        {"p.upper.weight", EMR_DTYPE_F32, 2, {5, 3}, NULL, NULL, EMR_EFORMAT},
        {"p.up.weight", EMR_DTYPE_F32, 2, {5, 3}, "emr.sign", "+", EMR_EFORMAT},
        {"p.up.weight", EMR_DTYPE_F32, 2, {5, 3}, "emr.activation", "silu", EMR_EFORMAT},
        {"p.up.weight", EMR_DTYPE_F32, 2, {5, 3}, "emr.kind", "ensemble", EMR_EFORMAT},
    };
    emr_error error;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(open_broken(&cases[i], &error), cases[i].status);
    open_broken(&cases[2], &error);
    assert_string_equal(error.text, "broken: tensor 'p.up.weight': a value is NaN or infinite");
}

static void assert_refused_options(emr_surgery_options options, emr_status status)
{
    emr_surgery *s = NULL;
    emr_error error;
    assert_int_equal(emr_surgery_create(&s, &options, &error), status);
    assert_null(s);
}

static void options_are_checked(void **state)
{
    const emr_adam bad = {.size = sizeof bad, .lr = -1};
    emr_surgery_options options = sizes(WIDTH, 0);
    emr_surgery *s;
    emr_error error;
    (void)state;
    assert_ok(emr_surgery_create(&s, &options, &error), &error);
    assert_int_equal(emr_surgery_rank(s), 16);
    emr_surgery_destroy(&s);
    emr_surgery_destroy(&s);
    emr_surgery_destroy(NULL);
    assert_int_equal(emr_surgery_create(&s, NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_surgery_create(NULL, &options, &error), EMR_EINVAL);
    assert_refused_options(sizes(0, 4), EMR_EINVAL);
    assert_refused_options(sizes((1 << 20) + 1, 4), EMR_EINVAL);
    assert_refused_options(sizes(4, (1 << 16) + 1), EMR_EINVAL);
    options.loss = 2;
    assert_refused_options(options, EMR_EINVAL);
    options.loss = 0;
    options.adam = &bad;
    assert_refused_options(options, EMR_EINVAL);
    assert_int_equal(emr_surgery_width(NULL), 0);
    assert_int_equal(emr_surgery_rank(NULL), 0);
}

/* Whatever is refused changes nothing: the next steps are those of an adapter that never saw it. */
static void refused_calls_change_nothing(void **state)
{
    emr_surgery *s = new_surgery(RANK, 1), *same = new_surgery(RANK, 1);
    emr_surgery_report report = EMR_INIT(emr_surgery_report);
    emr_surgery_fit_options options = EMR_INIT(emr_surgery_fit_options);
    float bad[ROWS * WIDTH], dx[ROWS * WIDTH] = {0};
    emr_error error;
    (void)state;
    memcpy(bad, x, sizeof bad);
    bad[3 * WIDTH + 2] = INFINITY;
    assert_int_equal(emr_surgery_train(s, bad, z, ROWS, NULL, &error), EMR_ENONFINITE);
    assert_string_equal(error.text, "emr_surgery_train: x: value 2 of row 3 is NaN or infinite");
    assert_int_equal(emr_surgery_train(s, x, bad, ROWS, NULL, &error), EMR_ENONFINITE);
    assert_string_equal(error.text, "emr_surgery_train: z: value 2 of row 3 is NaN or infinite");
    assert_int_equal(emr_surgery_train(s, x, z, 0, NULL, &error), EMR_EINVAL);
    assert_string_equal(error.text, "emr_surgery_train: x: there are no rows");
    assert_int_equal(emr_surgery_train(s, x, NULL, ROWS, NULL, &error), EMR_EINVAL);
    assert_string_equal(error.text, "emr_surgery_train: z: NULL");
    assert_int_equal(emr_surgery_fit(s, x, bad, ROWS, NULL, &report, &error), EMR_ENONFINITE);
    assert_int_equal(emr_surgery_fit(s, x, z, 0, NULL, &report, &error), EMR_EINVAL);
    report.size = 3;
    assert_int_equal(emr_surgery_fit(s, x, z, ROWS, NULL, &report, &error), EMR_EINVAL);
    options.size = 3;
    assert_int_equal(emr_surgery_fit(s, x, z, ROWS, &options, NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_surgery_backward(s, x, bad, ROWS, dx, &error), EMR_ENONFINITE);
    assert_string_equal(error.text, "emr_surgery_backward: dy: value 2 of row 3 is NaN or infinite");
    assert_int_equal(emr_surgery_backward(s, bad, z, ROWS, dx, &error), EMR_ENONFINITE);
    assert_int_equal(emr_surgery_backward(s, x, z, 0, dx, &error), EMR_EINVAL);
    assert_int_equal(emr_surgery_backward(s, x, NULL, ROWS, dx, &error), EMR_EINVAL);
    assert_true(dx[0] == 0);
    assert_int_equal(emr_surgery_step(s, &error), EMR_ESTATE);
    assert_string_equal(error.text,
                        "emr_surgery_step: there is no gradient: call emr_surgery_backward first");
    assert_int_equal(emr_surgery_step(NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_surgery_apply(s, NULL, dx, 1, &error), EMR_EINVAL);
    assert_int_equal(emr_surgery_apply(NULL, x, dx, 1, &error), EMR_EINVAL);
    assert_ok(emr_surgery_train(s, x, z, ROWS, NULL, &error), &error);
    assert_ok(emr_surgery_train(same, x, z, ROWS, NULL, &error), &error);
    assert_same_outputs(s, same);
    emr_surgery_destroy(&s);
    emr_surgery_destroy(&same);
}

static void weights_of_the_hosts_own_apply(void **state)
{
    const float down[] = {1, 0, 0, -1}, up[] = {2, 0, 0, 3}, in[] = {5, 7, -5, -7};
    emr_surgery_weights w = {sizeof w, down, up, 2, 2};
    float out[4], scratch[2];
    (void)state;
    assert_int_equal(emr_surgery_apply_weights(&w, in, out, 2, scratch), EMR_OK);
    assert_true(out[0] == -5 && out[1] == 7 && out[2] == -5 && out[3] == -28);
    assert_int_equal(emr_surgery_apply_weights(&w, in, out, 2, NULL), EMR_EINVAL);
    assert_int_equal(emr_surgery_apply_weights(&w, NULL, out, 2, scratch), EMR_EINVAL);
    assert_int_equal(emr_surgery_apply_weights(NULL, in, out, 2, scratch), EMR_EINVAL);
    w.up = NULL;
    assert_int_equal(emr_surgery_apply_weights(&w, in, out, 2, scratch), EMR_EINVAL);
}

static void places_are_checked(void **state)
{
    emr_surgery *s = new_surgery(RANK, 1);
    const emr_surgery *const two[] = {s, s}, *const hole[] = {s, NULL};
    static const char *const same[] = {"p", "p"}, *const empty[] = {"p", ""};
    emr_model *model = NULL;
    emr_error error;
    (void)state;
    assert_int_equal(emr_surgery_open_model(two, same, 2, &model, &error), EMR_EEXIST);
    assert_null(model);
    assert_int_equal(emr_surgery_open_model(two, empty, 2, &model, &error), EMR_EINVAL);
    assert_string_equal(error.text, "emr_surgery_open_model: adapter 1 or its place is NULL or empty");
    assert_int_equal(emr_surgery_open_model(hole, same, 2, &model, &error), EMR_EINVAL);
    assert_int_equal(emr_surgery_open_model(two, same, 0, &model, &error), EMR_EINVAL);
    assert_int_equal(emr_surgery_open_model(NULL, same, 1, &model, &error), EMR_EINVAL);
    emr_surgery_destroy(&s);
}

static emr_status live(const emr_resources *resources)
{
    emr_surgery_options options = sizes(WIDTH, RANK);
    emr_surgery_fit_options few = EMR_INIT(emr_surgery_fit_options);
    emr_surgery *s = NULL, *opened = NULL;
    emr_model *model = NULL;
    const char *const place = "p";
    float y[ROWS * WIDTH];
    emr_error error;
    few.n_steps = 3;
    few.n_batch = 2;
    options.resources = resources;
    emr_status status = emr_surgery_create(&s, &options, &error);
    if (!status)
        status = emr_surgery_fit(s, x, z, ROWS, &few, NULL, &error);
    if (!status)
        status = emr_surgery_apply(s, x, y, ROWS, &error);
    if (!status)
        status = emr_surgery_open_model((const emr_surgery *const *)&s, &place, 1, &model, &error);
    if (!status)
        status = emr_surgery_open(&opened, model, place, &options, &error);
    emr_surgery_destroy(&opened);
    emr_surgery_destroy(&s);
    emr_model_destroy(&model);
    return status;
}

/* Every request of memory fails once. */
static void nothing_leaks_without_memory(void **state)
{
    emr_status status = EMR_ENOMEM;
    (void)state;
    for (size_t k = 0; status; k++) {
        test_allocator counts = {0, 0, k};
        const emr_allocator allocator = test_allocator_make(&counts);
        const emr_resources resources = test_resources(&allocator, NULL);
        status = live(&resources);
        assert_int_equal(counts.alive, 0);
        assert_true(status == EMR_OK || status == EMR_ENOMEM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adapters_come_back),           cmocka_unit_test(a_model_keeps_its_moment),
        cmocka_unit_test(other_files_are_refused),      cmocka_unit_test(options_are_checked),
        cmocka_unit_test(refused_calls_change_nothing), cmocka_unit_test(weights_of_the_hosts_own_apply),
        cmocka_unit_test(places_are_checked),           cmocka_unit_test(nothing_leaks_without_memory),
    };
    return cmocka_run_group_tests(tests, fill_rows, NULL);
}

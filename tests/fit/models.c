/* models.c - see models.h. */
#include "models.h"

static const test_tensor tensors[N_TENSORS] = {
    {"embed.weight", EMR_DTYPE_F32, 2, {7, 100}},
    {"layers.0.weight", EMR_DTYPE_F32, 2, {130, 260}},
    {"layers.0.bias", EMR_DTYPE_F32, 1, {131}},
    {"layers.1.weight", EMR_DTYPE_BF16, 2, {40, 41}},
    {"layers.1.bias", EMR_DTYPE_F16, 1, {1}},
    {"steps", EMR_DTYPE_I64, 1, {3}},
    {"empty", EMR_DTYPE_F32, 1, {0}},
    {"head.weight", EMR_DTYPE_F32, 2, {3, 5}},
};

world world_of(const test_tensor *of, size_t n, uint64_t seed)
{
    static const char *const names[N_TASKS] = {"cars", "digits", "signs \"in\" \xc3\xa9"};
    world w = {.set = test_set_create(of, n, N_TASKS, seed, SOURCE_MEMORY)};
    for (size_t t = 0; t < N_TASKS; t++) {
        w.tasks[t] = w.set.tasks[t].model;
        w.names[t] = names[t];
    }
    return w;
}

world world_create(uint64_t seed)
{
    return world_of(tensors, N_TENSORS, seed);
}

void world_destroy(world *w)
{
    test_set_destroy(&w->set);
}

emr_coefficients_options world_options(const world *w)
{
    emr_coefficients_options options = EMR_INIT(emr_coefficients_options);
    options.base = w->set.base.model;
    options.tasks = w->tasks;
    options.names = w->names;
    options.n_tasks = N_TASKS;
    return options;
}

emr_coefficients *open_coefficients(const emr_coefficients_options *options)
{
    emr_coefficients *c;
    emr_error error;
    assert_ok(emr_coefficients_create(&c, options, &error), &error);
    return c;
}

static void *all_of(const emr_model *model, const char *name, emr_dtype as, size_t bytes, size_t *n)
{
    const emr_tensor *tensor = emr_model_find_tensor(model, name);
    emr_error error;
    assert_non_null(tensor);
    *n = (size_t)emr_tensor_count(tensor);
    void *stored = calloc(*n + 1, 8), *values = calloc(*n + 1, bytes);
    assert_ok(emr_tensor_read(tensor, 0, stored, (size_t)emr_tensor_bytes(tensor), &error), &error);
    assert_int_equal(emr_convert(as, values, emr_tensor_dtype(tensor), stored, *n), EMR_OK);
    free(stored);
    return values;
}

float *all_floats(const emr_model *model, const char *name, size_t *n)
{
    return all_of(model, name, EMR_DTYPE_F32, sizeof(float), n);
}

double *all_doubles(const emr_model *model, const char *name, size_t *n)
{
    return all_of(model, name, EMR_DTYPE_F64, sizeof(double), n);
}

float *make_gradient(const world *w, const char *name, uint64_t seed, size_t *n)
{
    rng r = {seed * 7919 + strlen(name) + (uint64_t)name[0] + 1};
    *n = (size_t)emr_tensor_count(emr_model_find_tensor(w->set.base.model, name));
    float *g = calloc(*n + 1, sizeof *g);
    for (size_t i = 0; i < *n; i++)
        g[i] = rng_normal(&r);
    return g;
}

void hand_in(emr_coefficients *c, const char *name, const float *gradient, size_t n, size_t piece)
{
    rng r = {n + 17};
    emr_error error;
    size_t first = 0;
    do {
        size_t some = piece ? piece : 1 + (size_t)rng_below(&r, 3000);
        some = some < n - first ? some : n - first;
        assert_ok(emr_coefficients_gradient(c, name, first, some, EMR_DTYPE_F32, gradient + first, &error),
                  &error);
        first += some;
    } while (first < n);
}

void hand_in_all(emr_coefficients *c, const world *w, uint64_t seed, bool is_backwards)
{
    const emr_model *base = w->set.base.model;
    const uint32_t count = emr_model_n_tensors(base);
    for (uint32_t i = 0; i < count; i++) {
        const emr_tensor *tensor = emr_model_tensor(base, is_backwards ? count - 1 - i : i);
        size_t n;
        if (!emr_dtype_is_float(emr_tensor_dtype(tensor)))
            continue;
        float *g = make_gradient(w, emr_tensor_name(tensor), seed, &n);
        hand_in(c, emr_tensor_name(tensor), g, n, n);
        free(g);
    }
}

emr_coefficient get_coefficient(const emr_coefficients *c, uint32_t task, uint32_t group)
{
    emr_coefficient info = EMR_INIT(emr_coefficient);
    assert_int_equal(emr_coefficients_get(c, task, group, &info), EMR_OK);
    return info;
}

uint32_t group_of(const emr_coefficients *c, const char *tensor)
{
    uint32_t group = UINT32_MAX;
    emr_error error;
    assert_ok(emr_coefficients_find_group(c, tensor, &group, &error), &error);
    return group;
}

bool same_coefficients(const emr_coefficients *a, const emr_coefficients *b)
{
    bool is_same = emr_coefficients_n_groups(a) == emr_coefficients_n_groups(b);
    for (uint32_t t = 0; is_same && t < emr_coefficients_n_tasks(a); t++)
        for (uint32_t g = 0; is_same && g < emr_coefficients_n_groups(a); g++) {
            emr_coefficient x = get_coefficient(a, t, g), y = get_coefficient(b, t, g);
            is_same = memcmp(&x, &y, sizeof x) == 0;
        }
    return is_same;
}

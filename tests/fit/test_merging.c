/* test_merging.c - merged weights of coefficients (fit/coefficients.h): against long hand, as a model and in an engine's memory; what
 * AdaMerging++ keeps, against a sort of all; tasks out of a bundle; and results of an independent implementation, where there
 * are some (vectors.h). */
#include "models.h"
#include "vectors.h"

#include <math.h>

static const char *const float_tensors[] = {"embed.weight",    "layers.0.weight", "layers.0.bias",
                                            "layers.1.weight", "layers.1.bias",   "empty",
                                            "head.weight"};
enum { N_FLOATS = 7 };

/* Something else for every coefficient. */
static void set_all(emr_coefficients *c, double scale)
{
    emr_error error;
    for (uint32_t t = 0; t < emr_coefficients_n_tasks(c); t++)
        for (uint32_t g = 0; g < emr_coefficients_n_groups(c); g++)
            assert_ok(emr_coefficients_set(c, t, g, scale * (0.1 + 0.3 * t - 0.05 * g), &error), &error);
}

static emr_model *open_merged(const emr_coefficients *c)
{
    emr_model *model;
    emr_error error;
    assert_ok(emr_coefficients_open_model(c, &model, &error), &error);
    return model;
}

/* W_0 + sum of lambda tau, in f32, as stored in `dtype`. */
static void merge_by_hand(const world *w, const emr_coefficients *c, const char *name, bool without_base,
                          emr_dtype dtype, void *out)
{
    size_t n;
    float *base = all_floats(w->set.base.model, name, &n), *sum = calloc(n + 1, sizeof *sum);
    if (!without_base)
        memcpy(sum, base, n * sizeof *sum);
    for (uint32_t t = 0; t < N_TASKS; t++) {
        float *of = all_floats(w->tasks[t], name, &n),
              lambda = (float)get_coefficient(c, t, group_of(c, name)).lambda;
        for (size_t i = 0; i < n; i++) {
            volatile float tau = of[i] - base[i], product = lambda * tau;
            if (lambda != 0)
                sum[i] = sum[i] + product;
        }
        free(of);
    }
    assert_int_equal(emr_convert(dtype, out, EMR_DTYPE_F32, sum, n), EMR_OK);
    free(base);
    free(sum);
}

static void assert_same_tensor(const emr_model *model, const char *name, const void *wanted)
{
    const emr_tensor *tensor = emr_model_find_tensor(model, name);
    emr_error error;
    assert_non_null(tensor);
    size_t bytes = (size_t)emr_tensor_bytes(tensor);
    unsigned char *found = calloc(bytes + 1, 1);
    assert_ok(emr_tensor_read(tensor, 0, found, bytes, &error), &error);
    assert_memory_equal(found, wanted, bytes);
    free(found);
}

static void models_are_as_in_long_hand(void **state)
{
    world w = world_create(1);
    emr_coefficients_options options = world_options(&w);
    unsigned char *wanted = calloc(40000, 8);
    (void)state;
    options.map = EMR_COEFFICIENT_MAP_FREE;
    emr_coefficients *c = open_coefficients(&options);
    set_all(c, 1);
    emr_model *model = open_merged(c);
    assert_int_equal(emr_model_n_tensors(model), N_TENSORS);
    for (uint32_t i = 0; i < N_TENSORS; i++) {
        const emr_tensor *tensor = emr_model_tensor(model, i), *base = emr_model_tensor(w.set.base.model, i);
        assert_string_equal(emr_tensor_name(tensor), emr_tensor_name(base));
        assert_int_equal(emr_tensor_dtype(tensor), emr_tensor_dtype(base));
        if (emr_dtype_is_float(emr_tensor_dtype(base)))
            merge_by_hand(&w, c, emr_tensor_name(base), false, emr_tensor_dtype(base), wanted);
        else
            memcpy(wanted, w.set.base.data[i], (size_t)emr_tensor_bytes(base));
        assert_same_tensor(model, emr_tensor_name(base), wanted);
    }
    /* It keeps the coefficients of that moment, and outlives the handle. */
    merge_by_hand(&w, c, "layers.0.weight", false, EMR_DTYPE_F32, wanted);
    set_all(c, 2);
    assert_same_tensor(model, "layers.0.weight", wanted);
    emr_coefficients_destroy(&c);
    assert_same_tensor(model, "layers.0.weight", wanted);
    emr_model_destroy(&model);
    free(wanted);
    world_destroy(&w);
}

static void doubles_are_merged_in_doubles(void **state)
{
    static const test_tensor tensors[] = {{"a", EMR_DTYPE_F64, 1, {3000}}, {"b", EMR_DTYPE_F32, 1, {500}}};
    world w = world_of(tensors, 2, 2);
    emr_coefficients_options options = world_options(&w);
    size_t n;
    (void)state;
    double *base = (double *)(void *)w.set.base.data[0];
    for (size_t t = 0; t < N_TASKS; t++) {
        double *task = (double *)(void *)w.set.tasks[t].data[0];
        for (size_t i = 0; i < 3000; i++)
            task[i] += 1e-12 * (double)(i + t); /* lost in f32 */
    }
    emr_coefficients *c = open_coefficients(&options);
    set_all(c, 1);
    emr_model *model = open_merged(c);
    double *merged = all_doubles(model, "a", &n);
    for (size_t i = 0; i < n; i++) {
        double sum = base[i];
        for (uint32_t t = 0; t < N_TASKS; t++)
            sum +=
                get_coefficient(c, t, 0).lambda * (((double *)(void *)w.set.tasks[t].data[0])[i] - base[i]);
        assert_true(merged[i] == sum);
    }
    free(merged);
    emr_model_destroy(&model);
    emr_coefficients_destroy(&c);
    world_destroy(&w);
}

static void tasks_in_doubles_are_merged_with_a_base_of_floats(void **state)
{
    static const test_tensor of[] = {{"a", EMR_DTYPE_F32, 1, {400}}},
                             doubles[] = {{"a", EMR_DTYPE_F64, 1, {400}}};
    world w = world_of(of, 1, 3), wide = world_of(doubles, 1, 4);
    emr_coefficients_options options = world_options(&w);
    emr_error error;
    size_t n;
    (void)state;
    options.tasks = wide.tasks;
    emr_coefficients *c = open_coefficients(&options);
    for (uint32_t t = 1; t < N_TASKS; t++)
        assert_ok(emr_coefficients_set(c, t, 0, 0, &error), &error);
    emr_model *model = open_merged(c);
    float *merged = all_floats(model, "a", &n), *base = all_floats(w.set.base.model, "a", &n);
    const double *task = (const double *)(const void *)wide.set.tasks[0].data[0];
    for (size_t i = 0; i < n; i++) {
        volatile float tau = (float)(task[i] - (double)base[i]), product = 0.3f * tau;
        assert_true(merged[i] == base[i] + product);
    }
    free(merged);
    free(base);
    emr_model_destroy(&model);
    emr_coefficients_destroy(&c);
    world_destroy(&w);
    world_destroy(&wide);
}

/* Parts that are handed over, put together again. */
typedef struct taken {
    unsigned char *bytes;
    uint64_t first, next; /* elements */
    size_t size;
    int fail_at;
} taken;

static emr_status take_part(const emr_weights_part *part, emr_error *error)
{
    taken *t = part->user;
    if (t->fail_at-- == 0)
        return emr_error_set(error, EMR_EIO, 0, NULL, "the device is gone");
    assert_int_equal(part->first, t->next);
    memcpy(t->bytes + (part->first - t->first) * t->size, part->data, part->count * t->size);
    t->next += part->count;
    return EMR_OK;
}

static void engines_get_the_same_weights(void **state)
{
    static const emr_dtype dtypes[] = {0, EMR_DTYPE_F32, EMR_DTYPE_BF16, EMR_DTYPE_F64};
    static const uint32_t threads[] = {1, 2, 7};
    world w = world_create(5);
    unsigned char *wanted = calloc(40000, 8), *found = calloc(40000, 8), staging[1000 * 8 + 1];
    emr_error error;
    (void)state;
    for (size_t k = 0; k < 12; k++) {
        emr_pool *pool = test_pool_new(threads[k % 3]);
        emr_resources resources = test_resources(NULL, emr_pool_executor(pool));
        emr_coefficients_options options = world_options(&w);
        resources.memory_bytes = k < 6 ? 0 : 30000;
        options.resources = &resources;
        emr_coefficients *c = open_coefficients(&options);
        set_all(c, 1);
        for (size_t i = 0; i < N_FLOATS; i++)
            for (uint32_t without_base = 0; without_base < 2; without_base++) {
                const char *name = float_tensors[i];
                const emr_tensor *base = emr_model_find_tensor(w.set.base.model, name);
                emr_dtype dtype = dtypes[k / 3] ? dtypes[k / 3] : emr_tensor_dtype(base);
                size_t bytes = emr_dtype_bits(dtype) / 8, n = (size_t)emr_tensor_count(base), first = n / 3;
                taken t = {found, first, first, bytes, -1};
                emr_weights weights = {.size = sizeof weights,
                                       .name = name,
                                       .data = found + 1,
                                       .dtype = dtypes[k / 3],
                                       .without_base = without_base};
                merge_by_hand(&w, c, name, without_base, dtype, wanted);
                assert_ok(emr_coefficients_apply(c, &weights, 1, &error), &error);
                assert_memory_equal(found + 1, wanted, n * bytes);
                weights.data = staging + 1; /* behind the first third, in parts */
                weights.first = first;
                weights.write = take_part;
                weights.user = &t;
                weights.staging = 1000;
                assert_ok(emr_coefficients_apply(c, &weights, 1, &error), &error);
                assert_int_equal(t.next, n);
                assert_memory_equal(found, wanted + first * bytes, (n - first) * bytes);
            }
        emr_coefficients_destroy(&c);
        emr_pool_destroy(&pool);
    }
    free(wanted);
    free(found);
    world_destroy(&w);
}

static void what_is_not_merged_is_the_bases(void **state)
{
    static const char *const exclude[] = {"head.*"};
    world w = world_create(6);
    emr_coefficients_options options = world_options(&w);
    float head[15];
    double wide[15];
    int64_t steps[3];
    emr_weights weights[] = {
        {.size = sizeof *weights, .name = "head.weight", .data = head},
        {.size = sizeof *weights, .tensor = 5, .data = steps},
        {.size = sizeof *weights, .name = "head.weight", .data = wide, .dtype = EMR_DTYPE_F64}};
    emr_error error;
    (void)state;
    options.exclude = exclude;
    options.n_exclude = 1;
    emr_coefficients *c = open_coefficients(&options);
    assert_ok(emr_coefficients_apply(c, weights, 3, &error), &error);
    assert_memory_equal(head, w.set.base.data[7], sizeof head);
    assert_memory_equal(steps, w.set.base.data[5], sizeof steps);
    for (size_t i = 0; i < 15; i++)
        assert_true(wide[i] == (double)head[i]);
    emr_model *model = open_merged(c);
    assert_same_tensor(model, "head.weight", w.set.base.data[7]);
    emr_model_destroy(&model);
    weights[2].without_base = 1;
    assert_int_equal(emr_coefficients_apply(c, weights, 3, &error), EMR_EINVAL);
    emr_coefficients_destroy(&c);
    world_destroy(&w);
}

/* Where one of the weights is wrong, none is written. */
static void weights_that_cannot_be_are_refused(void **state)
{
    world w = world_create(7);
    emr_coefficients_options options = world_options(&w);
    emr_coefficients *c = open_coefficients(&options);
    float embed[700] = {0}, more[15];
    taken t = {(unsigned char *)embed, 0, 0, sizeof *embed, 1};
    emr_error error;
    (void)state;
#define TRY(status, ...)                                                                                     \
    do {                                                                                                     \
        emr_weights s[2] = {{.size = sizeof *s, .name = "embed.weight", .data = embed},                      \
                            {.size = sizeof *s, .name = "head.weight", .data = more}};                       \
        __VA_ARGS__;                                                                                         \
        assert_int_equal(emr_coefficients_apply(c, s, 2, &error), status);                                   \
        for (size_t i = 0; i < 700; i++)                                                                     \
            assert_true(embed[i] == 0);                                                                      \
    } while (0)
    TRY(EMR_EINVAL, s[1].size = 8);
    TRY(EMR_EINVAL, s[0].size = s[1].size = 8);
    TRY(EMR_ENOTFOUND, s[1].name = "nothing");
    TRY(EMR_ENOTFOUND, s[1].name = NULL, s[1].tensor = N_TENSORS);
    TRY(EMR_EINVAL, s[1].first = 16);
    TRY(EMR_EINVAL, s[1].first = 1, s[1].count = 15);
    TRY(EMR_EINVAL, s[1].data = NULL);
    TRY(EMR_EINVAL, s[1].staging = 4);
    TRY(EMR_EINVAL, s[1].write = take_part);
    TRY(EMR_EINVAL, s[1].dtype = EMR_DTYPE_I64);
    TRY(EMR_EINVAL, s[1].name = "steps", s[1].dtype = EMR_DTYPE_F32);
    TRY(EMR_EUNSUPPORTED, s[1].blocks = EMR_BLOCK_TYPE_Q8_0);
    assert_int_equal(emr_coefficients_apply(c, NULL, 1, &error), EMR_EINVAL);
    assert_ok(emr_coefficients_apply(c, NULL, 0, &error), &error);
    emr_weights staged = {.size = sizeof staged,
                          .name = "embed.weight",
                          .data = more,
                          .write = take_part,
                          .user = &t,
                          .staging = 15};
    assert_int_equal(emr_coefficients_apply(c, &staged, 1, &error), EMR_EIO);
    assert_non_null(strstr(error.text, "the device is gone"));
    assert_true(test_span_is(&error, error.tensor, "embed.weight"));
    assert_int_equal(t.next, 15);
    emr_coefficients_destroy(&c);
    world_destroy(&w);
}

/* However many steps: weights are made from the base, and what was applied before leaves nothing behind. */
static void bf16_does_not_drift(void **state)
{
    static const test_tensor tensors[] = {{"a", EMR_DTYPE_BF16, 2, {50, 70}}};
    world w = world_of(tensors, 1, 8);
    emr_coefficients_options options = world_options(&w);
    uint16_t weights[3500], wanted[3500];
    emr_weights to = {.size = sizeof to, .name = "a", .data = weights};
    emr_error error;
    (void)state;
    emr_coefficients *c = open_coefficients(&options);
    for (uint64_t step = 0; step < 50; step++) {
        assert_ok(emr_coefficients_apply(c, &to, 1, &error), &error);
        hand_in_all(c, &w, step, false);
        assert_ok(emr_coefficients_step(c, NULL, &error), &error);
    }
    assert_ok(emr_coefficients_apply(c, &to, 1, &error), &error);
    merge_by_hand(&w, c, "a", false, EMR_DTYPE_BF16, wanted);
    assert_memory_equal(weights, wanted, sizeof weights);
    emr_coefficients_destroy(&c);
    world_destroy(&w);
}

/* What is not finite in a task is not finite in the merged model, unless the task has no part in it. */
static void nonfinite_weights_follow_ieee(void **state)
{
    world w = world_create(9);
    emr_coefficients_options options = world_options(&w);
    emr_error error;
    size_t n;
    (void)state;
    ((float *)(void *)w.set.tasks[0].data[0])[3] = INFINITY;
    ((float *)(void *)w.set.tasks[1].data[0])[4] = NAN;
    emr_coefficients *c = open_coefficients(&options);
    for (int k = 0; k < 2; k++) {
        emr_model *model = open_merged(c);
        float *merged = all_floats(model, "embed.weight", &n);
        assert_true(k ? isfinite(merged[4]) : isnan(merged[4]));
        assert_true(merged[3] == INFINITY && isfinite(merged[5]));
        free(merged);
        emr_model_destroy(&model);
        assert_ok(emr_coefficients_set(c, 1, 0, 0, &error), &error);
    }
    emr_coefficients_destroy(&c);
    for (int k = 0; k < 2; k++) {
        options.keep = k ? 1 : 0.2;
        assert_int_equal(emr_coefficients_create(&c, &options, &error), EMR_ENONFINITE);
        assert_true(test_span_is(&error, error.tensor, "embed.weight"));
        assert_null(c);
    }
    world_destroy(&w);
}

/* All of a model's task vectors in a row. */
typedef struct flat {
    float *tau[N_TASKS];
    size_t n, first[N_FLOATS + 1];
} flat;

static flat flatten(const world *w, const char *const *names, size_t n_names)
{
    flat f = {.n = 0};
    for (uint32_t t = 0; t < N_TASKS; t++)
        f.tau[t] = calloc(100000, sizeof **f.tau);
    for (size_t i = 0; i < n_names; i++) {
        size_t n;
        float *base = all_floats(w->set.base.model, names[i], &n);
        f.first[i] = f.n;
        for (uint32_t t = 0; t < N_TASKS; t++) {
            float *of = all_floats(w->tasks[t], names[i], &n);
            for (size_t k = 0; k < n; k++)
                f.tau[t][f.n + k] = of[k] - base[k];
            free(of);
        }
        free(base);
        f.n += n;
    }
    f.first[n_names] = f.n;
    return f;
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* By sorting. */
static void keep_by_hand(flat *f, double keep)
{
    float *sorted = calloc(f->n + 1, sizeof *sorted);
    size_t n_kept = (size_t)(keep * (double)f->n), positive = 0, negative = 0;
    for (uint32_t t = 0; t < N_TASKS; t++) {
        for (size_t i = 0; i < f->n; i++)
            sorted[i] = fabsf(f->tau[t][i]);
        qsort(sorted, f->n, sizeof *sorted, compare_floats);
        float threshold = n_kept < f->n ? sorted[f->n - n_kept - 1] : 0;
        for (size_t i = 0; i < f->n; i++)
            if (fabsf(f->tau[t][i]) < threshold)
                f->tau[t][i] = 0;
    }
    for (size_t i = 0; i < f->n; i++) {
        double sum = (double)f->tau[0][i] + (double)f->tau[1][i] + (double)f->tau[2][i];
        positive += sum > 0;
        negative += sum < 0;
    }
    for (size_t i = 0; i < f->n; i++) {
        double sum = (double)f->tau[0][i] + (double)f->tau[1][i] + (double)f->tau[2][i];
        bool up = sum > 0 || (sum == 0 && positive > negative);
        for (uint32_t t = 0; t < N_TASKS; t++)
            if (up ? f->tau[t][i] < 0 : f->tau[t][i] > 0)
                f->tau[t][i] = 0;
    }
    free(sorted);
}

static void check_kept(const world *w, emr_coefficients_options *options, double keep,
                       const char *const *names, size_t n_names)
{
    flat f = flatten(w, names, n_names);
    emr_error error;
    keep_by_hand(&f, keep);
    options->keep = keep;
    options->map = EMR_COEFFICIENT_MAP_FREE;
    emr_coefficients *c = open_coefficients(options);
    for (uint32_t t = 0; t < N_TASKS; t++) { /* the change of one task alone, times 1 */
        for (uint32_t s = 0; s < N_TASKS; s++)
            for (uint32_t g = 0; g < emr_coefficients_n_groups(c); g++)
                assert_ok(emr_coefficients_set(c, s, g, s == t, &error), &error);
        for (size_t i = 0; i < n_names; i++) {
            size_t n = f.first[i + 1] - f.first[i];
            float *change = calloc(n + 1, sizeof *change), *g = calloc(n + 1, sizeof *g);
            emr_weights to = {.size = sizeof to,
                              .name = names[i],
                              .data = change,
                              .dtype = EMR_DTYPE_F32,
                              .without_base = 1};
            assert_ok(emr_coefficients_apply(c, &to, 1, &error), &error);
            double sum = 0;
            for (size_t k = 0; k < n; k++) {
                if (change[k] != f.tau[t][f.first[i] + k])
                    fail_msg("keep %g, task %u, %s[%zu]: %g, not %g", keep, t, names[i], k, (double)change[k],
                             (double)f.tau[t][f.first[i] + k]);
                g[k] = 1;
                sum += (double)change[k];
            }
            hand_in(c, names[i], g, n, n); /* and gradients are of what is kept */
            double found = get_coefficient(c, t, group_of(c, names[i])).gradient;
            assert_true(fabs(found - sum) <= 1e-9 * (1 + fabs(sum)));
            emr_coefficients_clear(c);
            free(change);
            free(g);
        }
    }
    emr_coefficients_destroy(&c);
    for (uint32_t t = 0; t < N_TASKS; t++)
        free(f.tau[t]);
}

static void what_is_kept_is_found_by_sorting(void **state)
{
    static const char *const exclude[] = {"head.*", "embed.*"};
    static const double shares[] = {0.2, 0.01, 1e-9, 0.5, 0.999, 1};
    world w = world_create(20);
    emr_pool *pool = test_pool_new(3);
    emr_resources resources = test_resources(NULL, emr_pool_executor(pool));
    test_progress progress = {.stop_at = SIZE_MAX};
    emr_coefficients_options options = world_options(&w);
    (void)state;
    check_kept(&w, &options, 0.2, float_tensors, N_FLOATS);
    resources.progress = test_progress_note;
    resources.progress_user = &progress;
    options.resources = &resources;
    for (size_t k = 0; k < sizeof shares / sizeof *shares; k++) {
        progress = (test_progress){.stop_at = SIZE_MAX};
        check_kept(&w, &options, shares[k], float_tensors, N_FLOATS);
        assert_false(progress.backwards);
        assert_true(progress.calls && progress.done == progress.total);
    }
    options.exclude = exclude;
    options.n_exclude = 2; /* they do not count */
    check_kept(&w, &options, 0.2, float_tensors + 1, N_FLOATS - 2);
    emr_error error;
    emr_coefficients *c;
    progress = (test_progress){.stop_at = 1, .why = "enough"};
    assert_int_equal(emr_coefficients_create(&c, &options, &error), EMR_ECANCELED);
    assert_non_null(strstr(error.text, "enough"));
    emr_pool_destroy(&pool);
    world_destroy(&w);
}

/* Of progress, in the last `bytes`. */
typedef struct steps {
    uint64_t bytes, done, largest;
} steps;

static emr_status note_step(void *user, const emr_progress *progress, emr_error *error)
{
    steps *s = user;
    (void)error;
    if (s->done >= progress->total - s->bytes && progress->done - s->done > s->largest)
        s->largest = progress->done - s->done;
    s->done = progress->done;
    return EMR_OK;
}

static void progress_is_told_within_large_tensors(void **state)
{
    static const test_tensor large[] = {{"a", EMR_DTYPE_F32, 2, {1200, 1000}}};
    world w = world_of(large, 1, 22);
    steps s = {.bytes = UINT64_C(1200000) * 4 * N_TASKS}; /* the second reading */
    emr_resources resources = test_resources(NULL, NULL);
    emr_coefficients_options options = world_options(&w);
    (void)state;
    resources.progress = note_step;
    resources.progress_user = &s;
    resources.memory_bytes = 1 << 20;
    options.resources = &resources;
    options.keep = 0.2;
    emr_coefficients *c = open_coefficients(&options);
    assert_in_range(s.largest, 1, 8 << 20);
    emr_coefficients_destroy(&c);
    world_destroy(&w);
}

/* Few different values, so that magnitudes tie and sums are 0; with either majority, and none. */
static void ties_go_with_the_majority(void **state)
{
    world w = world_create(21);
    (void)state;
    for (int k = 0; k < 3; k++) {
        rng r = {5};
        emr_coefficients_options options = world_options(&w);
        for (size_t i = 0; i < N_TENSORS; i++)
            for (size_t t = 0; t < N_TASKS && w.set.base.tensors[i].dtype == EMR_DTYPE_F32; t++) {
                const float *base = (const float *)(const void *)w.set.base.data[i];
                float *task = (float *)(void *)w.set.tasks[t].data[i];
                size_t n = (size_t)test_tensor_count(&w.set.base.tensors[i]);
                for (size_t e = 0; e < n; e++) {
                    float step = (float)rng_below(&r, 3) * (rng_below(&r, 2) ? 0.25f : -0.25f);
                    float drift = k == 0 ? 0.25f : k == 1 ? -0.25f : 0;
                    ((float *)(void *)w.set.base.data[i])[e] = roundf(base[e] * 4) / 4;
                    task[e] = base[e] + step + (rng_below(&r, 9) ? 0 : drift);
                }
            }
        check_kept(&w, &options, 0.2, float_tensors, N_FLOATS);
        check_kept(&w, &options, 0.9, float_tensors, N_FLOATS);
    }
    world_destroy(&w);
}

static void task_vectors_can_be_given(void **state)
{
    static const test_tensor tensors[] = {{"a", EMR_DTYPE_F32, 2, {50, 70}}, {"b", EMR_DTYPE_F32, 1, {9}}};
    static const char *const names[] = {"a", "b"};
    world w = world_of(tensors, 2, 22), vectors = world_of(tensors, 2, 22);
    (void)state;
    for (size_t t = 0; t < N_TASKS; t++)
        for (size_t i = 0; i < 2; i++)
            for (size_t e = 0; e < (i ? 9 : 3500); e++)
                ((float *)(void *)vectors.set.tasks[t].data[i])[e] -=
                    ((float *)(void *)w.set.base.data[i])[e];
    for (int k = 0; k < 2; k++) {
        emr_coefficients_options options = world_options(&w), given = world_options(&vectors);
        options.keep = given.keep = k ? 0.3 : 0;
        given.are_vectors = 1;
        emr_coefficients *c = open_coefficients(&options), *of_vectors = open_coefficients(&given);
        emr_model *model = open_merged(c), *of_vectors_model = open_merged(of_vectors);
        for (size_t i = 0; i < 2; i++) {
            size_t n;
            float *merged = all_floats(model, names[i], &n);
            assert_same_tensor(of_vectors_model, names[i], merged);
            free(merged);
        }
        hand_in_all(c, &w, 1, false);
        hand_in_all(of_vectors, &w, 1, false);
        assert_true(same_coefficients(c, of_vectors));
        emr_model_destroy(&model);
        emr_model_destroy(&of_vectors_model);
        emr_coefficients_destroy(&c);
        emr_coefficients_destroy(&of_vectors);
    }
    world_destroy(&w);
    world_destroy(&vectors);
}

/* A bundle's tasks are tasks: the modulators' strength is learned. */
static void tasks_come_out_of_bundles(void **state)
{
    static const test_tensor tensors[] = {{"a", EMR_DTYPE_F32, 2, {50, 70}}, {"b", EMR_DTYPE_F32, 1, {90}}};
    world w = world_of(tensors, 2, 23), rebuilt = world_of(tensors, 2, 23);
    emr_buffer *buffer = test_merge_bundle(&w.set, NULL);
    emr_bundle *bundle = test_bundle_open(buffer);
    emr_model *tasks[N_TASKS];
    emr_error error;
    (void)state;
    for (uint32_t t = 0; t < N_TASKS; t++) {
        assert_ok(emr_bundle_open_task(&tasks[t], bundle, t, w.set.base.model, NULL, &error), &error);
        for (uint32_t i = 0; i < 2; i++) {
            const emr_tensor *tensor = emr_model_find_tensor(tasks[t], w.set.base.tensors[i].name);
            assert_ok(emr_tensor_read(tensor, 0, rebuilt.set.tasks[t].data[i],
                                      (size_t)emr_tensor_bytes(tensor), &error),
                      &error);
        }
    }
    emr_coefficients_options options = world_options(&w), plain = world_options(&rebuilt);
    options.tasks = (const emr_model *const *)tasks;
    emr_coefficients *c = open_coefficients(&options), *of_plain = open_coefficients(&plain);
    hand_in_all(c, &w, 1, false);
    hand_in_all(of_plain, &w, 1, false);
    assert_true(same_coefficients(c, of_plain));
    emr_coefficients_destroy(&c);
    emr_coefficients_destroy(&of_plain);
    for (uint32_t t = 0; t < N_TASKS; t++)
        emr_model_destroy(&tasks[t]);
    emr_bundle_destroy(&bundle);
    emr_buffer_destroy(&buffer);
    world_destroy(&w);
    world_destroy(&rebuilt);
}

/* A model of the tensors "PREFIX.w" and "PREFIX.b" of the vectors, as w and b. */
static emr_model *model_of(const emr_model *file, const char *prefix)
{
    emr_model *model = test_model_new(prefix);
    emr_error error;
    for (int i = 0; i < 2; i++) {
        char name[32];
        snprintf(name, sizeof name, "%s.%s", prefix, i ? "b" : "w");
        assert_ok(emr_model_add_tensor_as(model, emr_model_find_tensor(file, name), i ? "b" : "w", &error),
                  &error);
    }
    return model;
}

static void assert_near(const double *found, const double *wanted, size_t n, double most, const char *what)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabs(found[i] - wanted[i]) <= most * (1 + fabs(wanted[i]))))
            fail_msg("%s[%zu]: %.17g, not %.17g", what, i, found[i], wanted[i]);
}

/* One trajectory. */
static void follow(const emr_model *file, const char *kind, emr_coefficient_map map,
                   const emr_coefficients_options *options)
{
    emr_coefficients_options o = *options;
    emr_adam adam = EMR_INIT(emr_adam);
    emr_error error;
    size_t n;
    adam.lr = 0.2;
    o.adam = &adam;
    o.map = map;
    emr_coefficients *c = open_coefficients(&o);
    for (int step = 0; step < 6; step++) {
        double found[2][4];
        char name[64];
        for (int i = 0; i < 2; i++) {
            snprintf(name, sizeof name, "%s.%d.gradient.%s", kind, step, i ? "b" : "w");
            float *g = test_vectors_read_floats(file, name, &n);
            hand_in(c, i ? "b" : "w", g, n, 77);
            free(g);
        }
        for (uint32_t k = 0; k < 4; k++) { /* dL/draw: 0 where it is stuck */
            emr_coefficient info = get_coefficient(c, k / 2, group_of(c, k % 2 ? "b" : "w"));
            found[0][k] = info.is_stuck ? 0 : info.gradient;
        }
        assert_ok(emr_coefficients_step(c, NULL, &error), &error);
        for (uint32_t k = 0; k < 4; k++)
            found[1][k] = get_coefficient(c, k / 2, group_of(c, k % 2 ? "b" : "w")).raw;
        for (int k = 0; k < 2; k++) {
            snprintf(name, sizeof name, "%s.%d.%s", kind, step, k ? "lambda" : "dlambda");
            double *wanted = test_vectors_read(file, name, &n);
            assert_near(found[k], wanted, n, 1e-12, name);
            free(wanted);
        }
    }
    emr_model *model = open_merged(c);
    for (int i = 0; i < 2; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s.merged.%s", kind, i ? "b" : "w");
        double *wanted = test_vectors_read(file, name, &n), *merged = all_doubles(model, i ? "b" : "w", &n);
        assert_near(merged, wanted, n, 1e-6, name); /* it is F32 */
        free(wanted);
        free(merged);
    }
    emr_model_destroy(&model);
    emr_coefficients_destroy(&c);
}

static void trajectories_are_those_of_others(void **state)
{
    static const char *const names[] = {"a", "b"};
    emr_model *file = test_vectors_open("coefficients.safetensors");
    emr_error error;
    (void)state;
    if (!file)
        return;
    emr_model *split = test_vectors_open("ties_split.safetensors"), *base = model_of(file, "base"),
              *tasks[2] = {model_of(file, "a"), model_of(file, "b")};
    emr_coefficients_options options = EMR_INIT(emr_coefficients_options);
    options.base = base;
    options.tasks = (const emr_model *const *)tasks;
    options.names = names;
    options.n_tasks = 2;
    follow(file, "clamp", EMR_COEFFICIENT_MAP_CLAMP, &options);
    follow(file, "free", EMR_COEFFICIENT_MAP_FREE, &options);

    options.keep = 0.2;
    options.map = EMR_COEFFICIENT_MAP_FREE;
    emr_coefficients *c = open_coefficients(&options);
    for (uint32_t k = 0; k < 4; k++) {
        char name[8];
        double change[1500];
        size_t n;
        snprintf(name, sizeof name, "%s.%s", names[k / 2], k % 2 ? "b" : "w");
        double *wanted = test_vectors_read(split, name, &n);
        emr_weights to = {.size = sizeof to,
                          .name = k % 2 ? "b" : "w",
                          .data = change,
                          .dtype = EMR_DTYPE_F64,
                          .without_base = 1};
        for (uint32_t t = 0; t < 2; t++)
            for (uint32_t g = 0; g < 2; g++)
                assert_ok(emr_coefficients_set(c, t, g, t == k / 2, &error), &error);
        assert_ok(emr_coefficients_apply(c, &to, 1, &error), &error);
        assert_near(change, wanted, n, 0, name);
        free(wanted);
    }
    emr_coefficients_destroy(&c);
    for (int t = 0; t < 2; t++)
        emr_model_destroy(&tasks[t]);
    emr_model_destroy(&base);
    emr_model_destroy(&split);
    emr_model_destroy(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_are_as_in_long_hand),
        cmocka_unit_test(doubles_are_merged_in_doubles),
        cmocka_unit_test(tasks_in_doubles_are_merged_with_a_base_of_floats),
        cmocka_unit_test(engines_get_the_same_weights),
        cmocka_unit_test(what_is_not_merged_is_the_bases),
        cmocka_unit_test(weights_that_cannot_be_are_refused),
        cmocka_unit_test(bf16_does_not_drift),
        cmocka_unit_test(nonfinite_weights_follow_ieee),
        cmocka_unit_test(what_is_kept_is_found_by_sorting),
        cmocka_unit_test(progress_is_told_within_large_tensors),
        cmocka_unit_test(ties_go_with_the_majority),
        cmocka_unit_test(task_vectors_can_be_given),
        cmocka_unit_test(tasks_come_out_of_bundles),
        cmocka_unit_test(trajectories_are_those_of_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

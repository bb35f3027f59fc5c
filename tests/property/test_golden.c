/* test_golden.c - merges the golden checkpoints and compares with what tests/golden/make_golden.py computed:
 * unified values and masks bit for bit, rescalers to 1e-6, and every rebuilt model bit for bit. */
#include "property.h"

#include <stdio.h>

static const char *golden;

typedef struct golden_case {
    char *folder;
    emr_model *base, *expected, *tasks[8];
    uint32_t n_tasks, n_merged;
    bool exact;
    emr_merge_options options;
    emr_on_missing on_missing;
    emr_on_mismatch on_mismatch;
    const char *glob;
    emr_buffer *buffer, *mapped;
    emr_bundle *bundle;
    size_t n_nearest, n_weights; /* tensors compared with the stored weights; with a recomputation */
} golden_case;

static emr_model *open_model(const golden_case *c, const char *file)
{
    emr_error error;
    emr_model *model;
    char *path = test_path(c->folder, file);
    assert_ok(emr_checkpoint_open(&model, path, NULL, &error), &error);
    free(path);
    return model;
}

static const char *metadata_of(const golden_case *c, const char *wanted)
{
    const char *value = emr_model_find_metadata(c->expected, wanted);
    if (!value)
        fail_msg("%s: no metadata '%s'", c->folder, wanted);
    return value;
}

/* The position of a value in a list of words; fails where it is in none. */
static uint32_t choice_among(const golden_case *c, const char *key, const char *const *words)
{
    for (uint32_t i = 0; words[i]; i++)
        if (strcmp(metadata_of(c, key), words[i]) == 0)
            return i;
    fail_msg("%s: unknown %s", c->folder, key);
    return UINT32_MAX;
}
#define CHOICE(c, key, ...) choice_among(c, key, (const char *const[]){__VA_ARGS__, NULL})

static golden_case open_case(const char *name)
{
    golden_case c = {.folder = test_path(golden, name), .options = small_options()};
    c.expected = open_model(&c, "expected.safetensors");
    c.base = open_model(&c, "base.safetensors");
    c.n_tasks = (uint32_t)atoi(metadata_of(&c, "tasks"));
    assert_in_range(c.n_tasks, 1, 8);
    for (size_t t = 0; t < c.n_tasks; t++) {
        char file[32];
        snprintf(file, sizeof file, "t%zu.safetensors", t);
        c.tasks[t] = open_model(&c, file);
    }
    c.options.block_params = 4096; /* one case has more parameters */
    c.options.rescale = 1 + CHOICE(&c, "rescale", "l1", "l1-means", "l2");
    c.options.rescale_per = 1 + CHOICE(&c, "per", "model", "tensor", "row");
    c.options.tie = CHOICE(&c, "tie", "zero", "negative");
    c.options.on_nonfinite = CHOICE(&c, "on_nonfinite", "error", "zero");
    c.on_missing = CHOICE(&c, "on_missing", "error", "base", "absent");
    if (emr_model_find_metadata(c.expected, "on_mismatch"))
        c.on_mismatch = CHOICE(&c, "on_mismatch", "error", "private", "rows", "pad");
    c.options.unified_dtype = emr_dtype_from_name(metadata_of(&c, "unified_dtype"));
    c.exact = CHOICE(&c, "exact", "no", "yes") == 1;
    c.glob = metadata_of(&c, "private");
    return c;
}

static void merge_case(golden_case *c)
{
    emr_error error;
    emr_merge *merge;
    emr_merge_options options = c->options;
    emr_policy policy = private_policy(&c->glob); /* the empty pattern matches no tensor */
    policy.on_missing = c->on_missing;
    policy.on_mismatch = c->on_mismatch;
    options.policy = &policy;
    c->buffer = test_buffer_new();
    assert_ok(emr_merge_create(&merge, &options, &error), &error);
    assert_ok(emr_merge_set_base(merge, c->base, &error), &error);
    for (size_t t = 0; t < c->n_tasks; t++) {
        char name[32];
        snprintf(name, sizeof name, "t%zu", t);
        assert_ok(emr_merge_add_task(merge, name, c->tasks[t], &error), &error);
    }
    assert_ok(emr_merge_set_output(merge, emr_buffer_io(c->buffer), &error), &error);
    assert_ok(emr_merge_run(merge, &error), &error);
    emr_merge_destroy(&merge);
    c->mapped = test_buffer_of(emr_buffer_data(c->buffer), emr_buffer_bytes(c->buffer));
    c->bundle = test_bundle_open(c->mapped);
    emr_bundle_info info = EMR_INIT(emr_bundle_info);
    assert_ok(emr_bundle_get_info(c->bundle, &info), NULL);
    c->n_merged = info.n_merged;
}

static void close_case(golden_case *c)
{
    emr_bundle_destroy(&c->bundle);
    emr_buffer_destroy(&c->mapped);
    emr_buffer_destroy(&c->buffer);
    emr_model_destroy(&c->base);
    emr_model_destroy(&c->expected);
    for (size_t t = 0; t < c->n_tasks; t++)
        emr_model_destroy(&c->tasks[t]);
    free(c->folder);
}

/* An expected tensor's bytes; free them. */
static unsigned char *expected_bytes(const golden_case *c, const char *kind, size_t task, const char *name,
                                     size_t *bytes)
{
    char full[128];
    if (task == SIZE_MAX)
        snprintf(full, sizeof full, "%s/%s", kind, name);
    else
        snprintf(full, sizeof full, "%s/t%zu%s%s", kind, task, name ? "/" : "", name ? name : "");
    const emr_tensor *t = emr_model_find_tensor(c->expected, full);
    if (!t)
        fail_msg("%s: no %s", c->folder, full);
    *bytes = (size_t)emr_tensor_bytes(t);
    return tensor_bytes_of(t);
}

/* The bundle gives the unified vector widened to f32; widening is exact, so it may be compared there. */
static void check_unified(const golden_case *c)
{
    emr_error error;
    emr_model *view;
    assert_ok(emr_bundle_open_unified(&view, c->bundle, NULL, &error), &error);
    assert_int_equal(emr_model_n_tensors(view), c->n_merged);
    for (uint32_t i = 0; i < c->n_merged; i++) {
        const emr_tensor *t = emr_model_tensor(view, i);
        size_t n = (size_t)emr_tensor_count(t), bytes;
        unsigned char *got = tensor_bytes_of(t),
                      *want = expected_bytes(c, "unified", SIZE_MAX, emr_tensor_name(t), &bytes);
        assert_int_equal(bytes, n * emr_dtype_bits(c->options.unified_dtype) / 8);
        float *wide = malloc(n * sizeof *wide + 1);
        emr_convert(EMR_DTYPE_F32, wide, c->options.unified_dtype, want, n);
        assert_memory_equal(got, wide, n * sizeof *wide);
        free(wide);
        free(got);
        free(want);
    }
    emr_model_destroy(&view);
}

static void check_masks(const golden_case *c, uint32_t task)
{
    emr_error error;
    emr_model *view;
    assert_ok(emr_bundle_open_mask(&view, c->bundle, task, NULL, &error), &error);
    assert_int_equal(emr_model_n_tensors(view), c->n_merged);
    for (uint32_t i = 0; i < c->n_merged; i++) {
        const emr_tensor *t = emr_model_tensor(view, i);
        size_t n = (size_t)emr_tensor_count(t), bytes;
        unsigned char *got = tensor_bytes_of(t),
                      *want = expected_bytes(c, "mask", task, emr_tensor_name(t), &bytes);
        assert_int_equal(bytes, (n + 7) / 8);
        for (size_t k = 0; k < n; k++)
            assert_int_equal(got[k], want[k / 8] >> k % 8 & 1);
        free(got);
        free(want);
    }
    emr_model_destroy(&view);
}

/* The library's rescalers of one tensor, checked against the f64 ones; free them. */
static float *check_rescalers(const golden_case *c, uint32_t task, uint32_t tensor, size_t *n)
{
    emr_tensor_info info = EMR_INIT(emr_tensor_info);
    size_t bytes;
    assert_ok(emr_bundle_get_tensor(c->bundle, tensor, &info), NULL);
    bool per_model = c->options.rescale_per == EMR_RESCALE_PER_MODEL;
    double *want =
        (double *)(void *)expected_bytes(c, "rescalers", task, per_model ? NULL : info.name, &bytes);
    float *got = rescalers_of(c->bundle, task, tensor, n);
    if (info.count == 0) /* what has no elements may have no rescalers */
        *n = 0;
    else
        assert_int_equal(bytes, *n * sizeof *want);
    for (size_t i = 0; i < *n; i++) {
        assert_rescaler(got[i], want[i]);
        if (c->exact && got[i] != (float)want[i])
            fail_msg("%s: '%s': rescaler %a, exactly %a", c->folder, info.name, (double)got[i], want[i]);
    }
    free(want);
    return got;
}

/* Whether the library's rescalers are the f64 ones rounded, so that the stored weights apply to the bit. */
static bool are_nearest(const golden_case *c, size_t task, const char *name, const float *got, size_t n)
{
    size_t bytes;
    bool per_model = c->options.rescale_per == EMR_RESCALE_PER_MODEL, same = true;
    double *want = (double *)(void *)expected_bytes(c, "rescalers", task, per_model ? NULL : name, &bytes);
    for (size_t i = 0; i < n; i++)
        same = same && got[i] == (float)want[i];
    free(want);
    return same;
}

/* A rebuilt tensor against equation 6 with the expected unified vector and mask and the library's own
 * rescalers. */
static void check_formula(const golden_case *c, size_t task, const emr_tensor *rebuilt,
                          const float *rescalers, size_t n_rescalers)
{
    const emr_tensor *base = emr_model_find_tensor(c->base, emr_tensor_name(rebuilt));
    size_t n = (size_t)emr_tensor_count(rebuilt), bytes;
    unsigned char *got = tensor_bytes_of(rebuilt), *w0 = tensor_bytes_of(base);
    unsigned char *mask = expected_bytes(c, "mask", task, emr_tensor_name(rebuilt), &bytes);
    unsigned char *unified = expected_bytes(c, "unified", SIZE_MAX, emr_tensor_name(rebuilt), &bytes);
    emr_dtype dtype = c->options.unified_dtype;
    for (size_t i = 0; i < n; i++) {
        float u;
        emr_convert(EMR_DTYPE_F32, &u, dtype, unified + i * emr_dtype_bits(dtype) / 8, 1);
        weight_of one = {.base_dtype = emr_tensor_dtype(base),
                         .out_dtype = emr_tensor_dtype(rebuilt),
                         .base = w0 + i * emr_dtype_bits(emr_tensor_dtype(base)) / 8,
                         .masked = mask[i / 8] >> i % 8 & 1,
                         .unified = u,
                         .rescaler = rescalers[i / (n / n_rescalers)]};
        assert_weight(&one, got + i * emr_dtype_bits(one.out_dtype) / 8, emr_tensor_name(rebuilt), i);
    }
    free(got);
    free(w0);
    free(mask);
    free(unified);
}

static size_t count_expected_weights(const golden_case *c, size_t task)
{
    char prefix[32];
    size_t n = 0, length = (size_t)snprintf(prefix, sizeof prefix, "weights/t%zu/", task);
    for (uint32_t i = 0; i < emr_model_n_tensors(c->expected); i++)
        n += strncmp(emr_tensor_name(emr_model_tensor(c->expected, i)), prefix, length) == 0;
    return n;
}

static void check_stored_weights(golden_case *c, size_t task, const emr_tensor *rebuilt)
{
    size_t bytes;
    unsigned char *got = tensor_bytes_of(rebuilt);
    unsigned char *want = expected_bytes(c, "weights", task, emr_tensor_name(rebuilt), &bytes);
    assert_int_equal(bytes, emr_tensor_bytes(rebuilt));
    assert_memory_equal(got, want, bytes);
    free(got);
    free(want);
    c->n_nearest++;
}

/* Whether a tensor is merged in the shape that the task has. */
static bool is_merged_so(const golden_case *c, uint32_t number, const emr_tensor *rebuilt)
{
    emr_tensor_info info = EMR_INIT(emr_tensor_info);
    assert_ok(emr_bundle_get_tensor(c->bundle, number, &info), NULL);
    return info.rank == 0 ||
           memcmp(info.shape, emr_tensor_shape(rebuilt), info.rank * sizeof *info.shape) == 0;
}

static void check_model(golden_case *c, uint32_t task)
{
    emr_error error;
    emr_model *view;
    assert_ok(emr_bundle_open_task(&view, c->bundle, task, c->base, NULL, &error), &error);
    assert_int_equal(emr_model_n_tensors(view), count_expected_weights(c, task));
    for (uint32_t i = 0; i < emr_model_n_tensors(view); i++) {
        const emr_tensor *rebuilt = emr_model_tensor(view, i);
        const emr_tensor *own = emr_model_find_tensor(c->tasks[task], emr_tensor_name(rebuilt));
        const char *name = emr_tensor_name(rebuilt);
        uint32_t tensor;
        size_t n;
        assert_int_equal(emr_tensor_dtype(rebuilt),
                         emr_tensor_dtype(own ? own : emr_model_find_tensor(c->base, name)));
        if (emr_bundle_find_tensor(c->bundle, name, &tensor, NULL) || tensor >= c->n_merged) {
            check_stored_weights(c, task, rebuilt); /* private or kept */
            continue;
        }
        float *rescalers = check_rescalers(c, task, tensor, &n);
        if (is_merged_so(c, tensor, rebuilt) && is_merged_so(c, tensor, emr_model_find_tensor(c->base, name)))
            check_formula(c, task, rebuilt, rescalers, n);
        if (are_nearest(c, task, name, rescalers, n))
            check_stored_weights(c, task, rebuilt);
        free(rescalers);
        c->n_weights++;
    }
    emr_model_destroy(&view);
}

static size_t check_case(const char *name)
{
    golden_case c = open_case(name);
    merge_case(&c);
    check_unified(&c);
    for (uint32_t t = 0; t < c.n_tasks; t++) {
        check_masks(&c, t);
        check_model(&c, t);
    }
    if (c.exact && c.n_nearest < c.n_weights)
        fail_msg("%s: exact, yet only %zu of %zu tensors had the nearest rescalers", name, c.n_nearest,
                 c.n_weights);
    print_message("%s: %zu tensors rebuilt, %zu compared with stored weights\n", name, c.n_weights,
                  c.n_nearest);
    assert_int_not_equal(c.n_weights, 0);
    close_case(&c);
    return c.n_nearest;
}

static void golden_merges(void **state)
{
    (void)state;
    char *path = test_path(golden, "cases.txt"), name[64];
    FILE *list = fopen(path, "r");
    size_t n_cases = 0, n_nearest = 0;
    if (!list)
        fail_msg("%s: cannot be opened", path);
    while (fscanf(list, "%63s", name) == 1) {
        n_nearest += check_case(name);
        n_cases++;
    }
    fclose(list);
    free(path);
    assert_int_not_equal(n_cases, 0);
    assert_int_not_equal(n_nearest, 0);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    golden = argv[1];
    const struct CMUnitTest tests[] = {cmocka_unit_test(golden_merges)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

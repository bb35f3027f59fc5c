/* property.c - see property.h: what does not concern the formulas. */
#include "property.h"

#include <float.h>
#include <math.h>

unsigned char *tensor_bytes_of(const emr_tensor *t)
{
    emr_error error;
    unsigned char *bytes = malloc((size_t)emr_tensor_bytes(t) + 1);
    assert_ok(emr_tensor_read(t, 0, bytes, (size_t)emr_tensor_bytes(t), &error), &error);
    return bytes;
}

float *rescalers_of(const emr_bundle *bundle, uint32_t task, uint32_t tensor, size_t *n)
{
    emr_error error;
    emr_modulator *modulator;
    assert_ok(emr_bundle_open_modulator(&modulator, bundle, task, NULL, &error), &error);
    *n = (size_t)emr_modulator_n_rescalers(modulator, tensor);
    float *rescalers = calloc(*n + 1, sizeof *rescalers);
    assert_ok(emr_modulator_read_rescalers(modulator, tensor, 0, *n, rescalers, &error), &error);
    emr_modulator_destroy(&modulator);
    return rescalers;
}

void assert_same_buffer(const emr_buffer *got, const emr_buffer *want, const char *what)
{
    const unsigned char *a = emr_buffer_data(got), *b = emr_buffer_data(want);
    size_t n = emr_buffer_bytes(want);
    if (emr_buffer_bytes(got) != n)
        fail_msg("%s: %zu bytes, not %zu", what, emr_buffer_bytes(got), n);
    for (size_t i = 0; i < n && memcmp(a, b, n) != 0; i++)
        if (a[i] != b[i])
            fail_msg("%s: differs from byte %zu on", what, i);
}

void assert_says(const emr_error *error, const char *part)
{
    if (!strstr(error->text, part))
        fail_msg("'%s' does not say '%s'", error->text, part);
    if (!error->text[0] || strpbrk(error->text, "\r\n"))
        fail_msg("'%s' is not one line", error->text);
}

static void assert_span(const emr_error *error, emr_error_span span, const char *name, const char *what)
{
    size_t n = name ? strlen(name) : 0;
    assert_true((size_t)span.offset + span.length <= strlen(error->text));
    if (span.length != n || (n && memcmp(error->text + span.offset, name, n) != 0))
        fail_msg("'%s' names the %s '%.*s', not '%s'", error->text, what, (int)span.length,
                 error->text + span.offset, name ? name : "");
}

void assert_names_file(const emr_error *error, const char *name)
{
    assert_span(error, error->file, name, "file");
}

void assert_names_task(const emr_error *error, const char *name)
{
    assert_span(error, error->task, name, "task");
}

void assert_names_tensor(const emr_error *error, const char *name)
{
    assert_span(error, error->tensor, name, "tensor");
}

void assert_rescaler(float got, double want)
{
    if (want > (double)FLT_MAX)
        want = (double)FLT_MAX;
    double bound = fabs(want) < 1e-3 ? 1e-6 : 1e-6 * fabs(want);
    if (!(fabs((double)got - want) <= bound))
        fail_msg("rescaler %.9g, in f64 it is %.17g", (double)got, want);
}

static void weight_bytes(const weight_of *w, unsigned char *bytes)
{
    float step = w->rescaler * w->unified, narrow;
    double wide;
    if (!w->masked) {
        if (w->base_dtype == w->out_dtype)
            memcpy(bytes, w->base, emr_dtype_bits(w->base_dtype) / 8);
        else
            emr_convert(w->out_dtype, bytes, w->base_dtype, w->base, 1);
    } else if (w->base_dtype == EMR_DTYPE_F64) {
        memcpy(&wide, w->base, sizeof wide);
        wide = wide + (double)step;
        emr_convert(w->out_dtype, bytes, EMR_DTYPE_F64, &wide, 1);
    } else {
        emr_convert(EMR_DTYPE_F32, &narrow, w->base_dtype, w->base, 1);
        narrow = narrow + step;
        emr_convert(w->out_dtype, bytes, EMR_DTYPE_F32, &narrow, 1);
    }
}

void assert_weight(const weight_of *w, const unsigned char *got, const char *tensor, size_t i)
{
    unsigned char want[8];
    weight_bytes(w, want);
    if (memcmp(got, want, emr_dtype_bits(w->out_dtype) / 8) != 0)
        fail_msg("'%s' at %zu: not W0 + lambda * u (%s, lambda %a, u %a)", tensor, i,
                 w->masked ? "masked" : "not masked", (double)w->rescaler, (double)w->unified);
}

static void odd_parallel_for(void *user, size_t n, void (*fn)(void *arg, size_t i), void *arg)
{
    odd_executor *e = user;
    size_t *order = malloc(n * sizeof *order + 1);
    assert_false(e->busy);
    assert_in_range(n, 1, e->concurrency);
    e->busy = true;
    e->calls++;
    for (size_t i = 0; i < n; i++)
        order[i] = e->reverse ? n - 1 - i : i;
    for (size_t i = n; i > 1 && !e->reverse; i--) {
        size_t k = (size_t)rng_below(&e->order, i), last = order[i - 1];
        order[i - 1] = order[k];
        order[k] = last;
    }
    for (size_t i = 0; i < n; i++)
        fn(arg, order[i]);
    free(order);
    e->busy = false;
}

emr_executor odd_executor_make(odd_executor *state, uint32_t concurrency)
{
    state->concurrency = concurrency;
    return (emr_executor){.size = sizeof(emr_executor),
                          .user = state,
                          .parallel_for = odd_parallel_for,
                          .concurrency = concurrency};
}

void test_store(test_model *m, size_t tensor, uint64_t i, float value)
{
    emr_dtype dtype = m->tensors[tensor].dtype;
    emr_convert(dtype, m->data[tensor] + i * emr_dtype_bits(dtype) / 8, EMR_DTYPE_F32, &value, 1);
}

emr_merge_options small_options(void)
{
    static const emr_resources resources = {.size = sizeof resources, .memory_bytes = 8 << 20};
    emr_merge_options o = EMR_INIT(emr_merge_options);
    o.resources = &resources;
    return o;
}

emr_resources resources_within(uint64_t memory_bytes)
{
    return (emr_resources){.size = sizeof(emr_resources), .memory_bytes = memory_bytes};
}

emr_pool *create_pool(uint32_t threads)
{
    emr_error error;
    emr_pool *pool;
    emr_pool_options options = EMR_INIT(emr_pool_options);
    options.threads = threads;
    assert_ok(emr_pool_create(&pool, &options, &error), &error);
    return pool;
}

emr_policy private_policy(const char *const *glob)
{
    return (emr_policy){.size = sizeof(emr_policy), .private_globs = glob, .n_private_globs = *glob != NULL};
}

enum { RANDOM_TENSORS = 9 };

test_set random_set(uint64_t seed, size_t n_tasks, bool mixed)
{
    static const char *const names[RANDOM_TENSORS] = {"p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8"};
    static const uint64_t sizes[] = {0, 1, 2, 3, 7, 31, 33, 64, 65, 130};
    static const emr_dtype dtypes[] = {EMR_DTYPE_F32, EMR_DTYPE_F16,     EMR_DTYPE_BF16,
                                       EMR_DTYPE_F64, EMR_DTYPE_F8_E4M3, EMR_DTYPE_F8_E5M2};
    test_tensor tensors[RANDOM_TENSORS];
    rng r = {seed * 2654435761u + 99};
    rng_next(&r);
    size_t n = 1 + (size_t)rng_below(&r, RANDOM_TENSORS);
    for (size_t i = 0; i < n; i++) {
        tensors[i] = (test_tensor){names[i], EMR_DTYPE_F32, (uint32_t)rng_below(&r, 4), {0}};
        for (uint32_t d = 0; d < tensors[i].rank; d++)
            tensors[i].shape[d] = d == 2 ? 1 + rng_below(&r, 3) : sizes[rng_below(&r, 10)];
    }
    test_set s = {.n = n_tasks, .tasks = calloc(n_tasks + 1, sizeof(test_model))};
    for (size_t m = 0; m <= n_tasks; m++) {
        for (size_t i = 0; i < n; i++)
            tensors[i].dtype = mixed ? dtypes[rng_below(&r, 6)] : EMR_DTYPE_F32;
        test_model *model = m ? &s.tasks[m - 1] : &s.base;
        *model = test_model_create(m ? "task" : "base", tensors, n, SOURCE_MEMORY);
        if (m)
            test_model_perturb(model, &s.base, 0.1f, &r);
        else
            test_model_randomise(model, &r);
    }
    return s;
}

void test_set_on_grid(test_set *s, uint64_t seed)
{
    rng r = {seed * 2654435761u + 5};
    for (size_t i = 0; i < s->base.n; i++) {
        for (uint64_t k = 0; k < test_tensor_count(&s->base.tensors[i]); k++) {
            float w0 = (float)rng_below(&r, 9) / 16 - 0.25f;
            test_store(&s->base, i, k, w0);
            for (size_t t = 0; t < s->n; t++)
                test_store(&s->tasks[t], i, k, w0 + (float)rng_below(&r, 7) / 16 - 3 / 16.0f);
        }
    }
}

test_set rich_set(uint64_t seed, size_t n_tasks, test_source source)
{
    size_t n = n_mixed_tensors + 3;
    test_tensor *tensors = malloc(n * sizeof *tensors);
    memcpy(tensors, mixed_tensors, n_mixed_tensors * sizeof *tensors);
    tensors[n - 3] = (test_tensor){"m.steps", EMR_DTYPE_I64, 1, {1001}};
    tensors[n - 2] = (test_tensor){"n.flags", EMR_DTYPE_BOOL, 1, {77}};
    tensors[n - 1] = (test_tensor){"o.head", EMR_DTYPE_F32, 2, {300, 301}};
    test_set s = test_set_create(tensors, n, n_tasks, seed, source);
    s.tasks[n_tasks - 1].data[n - 3][4000] ^= 1;
    free(tensors);
    return s;
}

emr_merge_options rich_options(emr_rescale_per per)
{
    static const char *const globs[] = {"nothing", "*.head"};
    static const emr_policy policy = {.size = sizeof policy, .private_globs = globs, .n_private_globs = 2};
    static const emr_resources resources = {.size = sizeof resources, .memory_bytes = 16 << 20};
    emr_merge_options o = EMR_INIT(emr_merge_options);
    o.resources = &resources;
    o.policy = &policy;
    o.rescale_per = per;
    o.embed_base = 1;
    return o;
}

/* Pushes the next bytes of one source; *done if it has none left, *moved if any were taken. */
static emr_status push_some(emr_merge *merge, uint32_t source, const test_model *m, size_t *offsets,
                            size_t chunk, bool *done, bool *moved, emr_error *error)
{
    const emr_tensor *tensor;
    uint64_t bytes;
    size_t i = 0, taken = 0;
    emr_status status = emr_merge_get_expected(merge, source, &tensor, &bytes, error);
    *done = !status && !tensor;
    if (status || !tensor || !bytes)
        return status;
    while (strcmp(m->tensors[i].name, emr_tensor_name(tensor)) != 0)
        i++;
    size_t n = bytes < chunk ? (size_t)bytes : chunk;
    status = emr_merge_push(merge, source, m->data[i] + offsets[i], n, &taken, error);
    offsets[i] += taken;
    *moved = *moved || taken;
    return status;
}

emr_status push_tasks(emr_merge *merge, const test_set *s, size_t first, size_t chunk, emr_error *error)
{
    emr_status status = emr_merge_begin(merge, error);
    size_t n_done = 0, width = s->base.n + 8;
    size_t *offsets = calloc((s->n + 1) * width, sizeof *offsets);
    while (!status && n_done <= s->n) {
        bool moved = false;
        n_done = 0;
        for (size_t k = 0; !status && k <= s->n; k++) {
            bool done;
            status =
                push_some(merge, k ? (uint32_t)(first + k - 1) : EMR_BASE, k ? &s->tasks[k - 1] : &s->base,
                          offsets + k * width, chunk, &done, &moved, error);
            n_done += done;
        }
        if (!status && !moved && n_done <= s->n)
            fail_msg("every source waits for another");
    }
    free(offsets);
    return status ? status : emr_merge_finish(merge, error);
}

emr_status push_set(emr_merge *merge, const test_set *s, size_t chunk, emr_error *error)
{
    return push_tasks(merge, s, 0, chunk, error);
}

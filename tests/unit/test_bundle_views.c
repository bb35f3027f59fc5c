/* test_bundle_views.c - models viewed out of a bundle: tasks, base, unified vector and masks, in any range.
 */
#include "fixture.h"

#include <pthread.h>

typedef struct variant {
    emr_rescale_per rescale_per;
    emr_dtype unified_dtype;
    uint32_t embed_base;
    int32_t compression;
    uint32_t block_params;
} variant;

static const variant variants[] = {
    {EMR_RESCALE_PER_MODEL, EMR_DTYPE_F32, 0, 0, 0},
    {EMR_RESCALE_PER_TENSOR, EMR_DTYPE_BF16, 1, EMR_COMPRESSION_NONE, 0},
    {EMR_RESCALE_PER_ROW, EMR_DTYPE_F16, 1, 0, 4096},
};
enum { N_VARIANTS = 3 };

static fixture fixtures[N_VARIANTS];

static int set_up(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_VARIANTS; i++) {
        emr_merge_options options = EMR_INIT(emr_merge_options);
        options.rescale_per = variants[i].rescale_per;
        options.unified_dtype = variants[i].unified_dtype;
        options.embed_base = variants[i].embed_base;
        options.compression = variants[i].compression;
        options.block_params = variants[i].block_params;
        fixture_create(&fixtures[i], &options, true);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_VARIANTS; i++)
        fixture_destroy(&fixtures[i]);
    return 0;
}

enum { VIEW_UNIFIED = FIXTURE_TASKS, VIEW_MASK, VIEW_BASE, N_VIEWS };

/* One of a bundle's views: of the task with that number, or one of those above. */
static emr_model *view(const fixture *f, uint32_t which, const emr_view_options *options)
{
    emr_model *model;
    emr_error error;
    const emr_model *base = f->set.base.model;
    emr_status status = which == VIEW_UNIFIED ? emr_bundle_open_unified(&model, f->bundle, NULL, &error)
                        : which == VIEW_MASK  ? emr_bundle_open_mask(&model, f->bundle, 1, NULL, &error)
                        : which == VIEW_BASE
                            ? emr_bundle_open_base(&model, f->bundle, NULL, &error)
                            : emr_bundle_open_task(&model, f->bundle, which, base, options, &error);
    assert_ok(status, &error);
    return model;
}

/* Equation 6 over one merged tensor, from the unified vector, the mask and the rescalers as the bundle gives
 * them. */
static void check_weights(const fixture *f, uint32_t task, const emr_tensor *got, const emr_model *unified,
                          const emr_model *mask)
{
    const char *name = emr_tensor_name(got);
    uint32_t tensor;
    size_t place = fixture_index(f, name), count = (size_t)emr_tensor_count(got);
    emr_modulator *modulator;
    emr_dtype dtype = f->set.base.tensors[place].dtype;
    assert_int_equal(emr_bundle_find_tensor(f->bundle, name, &tensor, NULL), EMR_OK);
    assert_int_equal(emr_tensor_dtype(got), dtype);
    assert_int_equal(emr_bundle_open_modulator(&modulator, f->bundle, task, NULL, NULL), EMR_OK);
    size_t rows = (size_t)emr_modulator_n_rescalers(modulator, tensor), size = emr_dtype_bits(dtype) / 8;
    float *rescalers = malloc((rows + 1) * sizeof *rescalers);
    assert_int_equal(emr_modulator_read_rescalers(modulator, tensor, 0, rows, rescalers, NULL), EMR_OK);
    emr_modulator_destroy(&modulator);
    unsigned char *weights = read_all(got), *m = read_all(emr_model_find_tensor(mask, name));
    unsigned char *u = read_all(emr_model_find_tensor(unified, name));
    for (size_t i = 0; i < count; i++) {
        volatile float step;
        float value;
        double w;
        unsigned char expected[8];
        const unsigned char *base = f->set.base.data[place] + i * size;
        memcpy(&value, u + 4 * i, 4);
        emr_convert(EMR_DTYPE_F64, &w, dtype, base, 1);
        step = rescalers[i / (count / rows)] * value;
        w = dtype == EMR_DTYPE_F64 ? w + (double)step : (double)((float)w + step);
        emr_convert(dtype, expected, EMR_DTYPE_F64, &w, 1);
        assert_in_range(m[i], 0, 1);
        assert_memory_equal(weights + i * size, m[i] ? expected : base, size);
    }
    free(rescalers);
    free(weights);
    free(m);
    free(u);
}

static void weights_follow_equation_6(void **state)
{
    (void)state;
    for (size_t v = 0; v < N_VARIANTS; v++) {
        const fixture *f = &fixtures[v];
        emr_model *unified = view(f, VIEW_UNIFIED, NULL), *mask = view(f, VIEW_MASK, NULL);
        emr_model *task = view(f, 1, NULL);
        assert_int_equal(emr_model_n_tensors(task), FIXTURE_TENSORS);
        assert_int_equal(emr_model_n_tensors(unified), FIXTURE_MERGED);
        assert_int_equal(emr_model_n_tensors(mask), FIXTURE_MERGED);
        for (uint32_t i = 0; i < FIXTURE_MERGED; i++) {
            const char *name = emr_tensor_name(emr_model_tensor(unified, i));
            assert_int_equal(emr_tensor_dtype(emr_model_tensor(unified, i)), EMR_DTYPE_F32);
            assert_int_equal(emr_tensor_dtype(emr_model_find_tensor(mask, name)), EMR_DTYPE_BOOL);
            check_weights(f, 1, emr_model_find_tensor(task, name), unified, mask);
        }
        emr_model_destroy(&unified);
        emr_model_destroy(&mask);
        emr_model_destroy(&task);
    }
}

/* What is private comes back losslessly, what is kept is the base's. */
static void private_and_kept_tensors_come_back(void **state)
{
    (void)state;
    for (size_t v = 0; v < N_VARIANTS; v++) {
        const fixture *f = &fixtures[v];
        for (uint32_t t = 0; t < FIXTURE_TASKS; t++) {
            size_t head = fixture_index(f, FIXTURE_PRIVATE), kept = fixture_index(f, FIXTURE_KEPT);
            emr_model *task = view(f, t, NULL);
            unsigned char *got = read_all(emr_model_find_tensor(task, FIXTURE_PRIVATE));
            assert_memory_equal(got, f->set.tasks[t].data[head], 40);
            free(got);
            got = read_all(emr_model_find_tensor(task, FIXTURE_KEPT));
            assert_memory_equal(got, f->set.base.data[kept], 40);
            free(got);
            emr_model_destroy(&task);
        }
    }
}

static void an_embedded_base_is_as_good_as_the_file(void **state)
{
    (void)state;
    for (size_t v = 0; v < N_VARIANTS; v++) {
        emr_model *embedded, *given = view(&fixtures[v], 2, NULL);
        emr_error error;
        emr_status status = emr_bundle_open_task(&embedded, fixtures[v].bundle, 2, NULL, NULL, &error);
        if (variants[v].embed_base) {
            assert_ok(status, &error);
            assert_true(same_models(given, embedded));
            emr_model_destroy(&embedded);
            emr_model *base = view(&fixtures[v], VIEW_BASE, NULL);
            for (uint32_t i = 0; i < emr_model_n_tensors(base); i++) {
                const emr_tensor *t = emr_model_tensor(base, i);
                unsigned char *got = read_all(t);
                size_t place = fixture_index(&fixtures[v], emr_tensor_name(t));
                assert_memory_equal(got, fixtures[v].set.base.data[place], (size_t)emr_tensor_bytes(t));
                free(got);
            }
            emr_model_destroy(&base);
        } else {
            assert_int_equal(status, EMR_ENOTFOUND);
            assert_null(embedded);
            assert_non_null(strstr(error.text, "test.emr"));
            assert_int_equal(emr_bundle_open_base(&embedded, fixtures[v].bundle, NULL, &error),
                             EMR_ENOTFOUND);
        }
        emr_model_destroy(&given);
    }
}

/* Reads random ranges of random tensors; false if any differs from the whole. */
typedef struct reading {
    const emr_model *model;
    unsigned char **whole;
    uint64_t seed;
    bool wrong;
} reading;

static void *read_ranges(void *arg)
{
    reading *task = arg;
    rng r = {task->seed};
    unsigned char *got = malloc(200000);
    for (int k = 0; k < 150; k++) {
        uint32_t i = (uint32_t)rng_below(&r, emr_model_n_tensors(task->model));
        const emr_tensor *t = emr_model_tensor(task->model, i);
        uint64_t bytes = emr_tensor_bytes(t), first = rng_below(&r, bytes + 1);
        uint64_t most = bytes - first < 200000 ? bytes - first : 200000;
        size_t n = (size_t)rng_below(&r, (k % 3 ? most : most < 40 ? most : 40) + 1);
        if (emr_tensor_read(t, first, got, n, NULL) || memcmp(got, task->whole[i] + first, n) != 0)
            task->wrong = true;
    }
    free(got);
    return NULL;
}

enum { READERS = 4 };

/* Several threads read one view at once: every range is the same as in the whole. */
static void every_range_from_any_thread_equals_the_whole(void **state)
{
    (void)state;
    for (size_t v = 0; v < N_VARIANTS; v++) {
        for (uint32_t which = 0; which < N_VIEWS; which++) {
            if (which == VIEW_BASE && !variants[v].embed_base)
                continue;
            emr_model *model = view(&fixtures[v], which, NULL);
            uint32_t n = emr_model_n_tensors(model);
            unsigned char *whole[FIXTURE_TENSORS];
            reading tasks[READERS];
            pthread_t threads[READERS];
            for (uint32_t i = 0; i < n; i++)
                whole[i] = read_all(emr_model_tensor(model, i));
            for (size_t k = 0; k < READERS; k++) {
                tasks[k] = (reading){model, whole, 1000 * v + 10 * which + k + 1, false};
                assert_int_equal(pthread_create(&threads[k], NULL, read_ranges, &tasks[k]), 0);
            }
            for (size_t k = 0; k < READERS; k++) {
                pthread_join(threads[k], NULL);
                assert_false(tasks[k].wrong);
            }
            for (size_t i = 0; i < n; i++)
                free(whole[i]);
            emr_model_destroy(&model);
        }
    }
}

/* With a dtype asked for, merged tensors are rounded once from the exact sum, and private ones are
 * converted. Vectors may be F32 instead of something shorter. */
static void float_tensors_come_out_in_the_dtype_asked_for(void **state)
{
    static const emr_dtype dtypes[] = {EMR_DTYPE_F32, EMR_DTYPE_F16, EMR_DTYPE_BF16, EMR_DTYPE_F64,
                                       EMR_DTYPE_F8_E4M3};
    const fixture *f = &fixtures[1];
    emr_view_options wide = EMR_INIT(emr_view_options);
    (void)state;
    wide.dtype = EMR_DTYPE_F64;
    emr_model *exact = view(f, 0, &wide);
    for (size_t k = 0; k < 10; k++) {
        emr_view_options options = EMR_INIT(emr_view_options);
        options.dtype = dtypes[k % 5];
        options.f32_vectors = k >= 5;
        emr_model *model = view(f, 0, &options);
        for (uint32_t i = 0; i < FIXTURE_TENSORS; i++) {
            const emr_tensor *t = emr_model_tensor(model, i);
            bool kept = strcmp(emr_tensor_name(t), FIXTURE_KEPT) == 0;
            bool stays = k / 5 && emr_tensor_rank(t) < 2 && options.dtype != EMR_DTYPE_F64;
            emr_dtype wanted = stays ? EMR_DTYPE_F32 : options.dtype;
            assert_int_equal(emr_tensor_dtype(t), kept ? EMR_DTYPE_I64 : wanted);
            if (kept)
                continue;
            size_t n = (size_t)emr_tensor_bytes(t);
            unsigned char *got = read_all(t), *from = read_all(emr_model_tensor(exact, i)),
                          *expected = malloc(n + 1);
            emr_convert(wanted, expected, EMR_DTYPE_F64, from, (size_t)emr_tensor_count(t));
            assert_memory_equal(got, expected, n);
            free(got);
            free(from);
            free(expected);
        }
        emr_model_destroy(&model);
    }
    emr_model_destroy(&exact);
}

/* The unified vector: the elected values of the task vectors, rounded into the bundle's dtype. */
static void unified_values_and_masks_are_elected(void **state)
{
    (void)state;
    for (size_t v = 0; v < N_VARIANTS; v++) {
        const fixture *f = &fixtures[v];
        emr_model *unified = view(f, VIEW_UNIFIED, NULL), *mask = view(f, VIEW_MASK, NULL);
        size_t place = fixture_index(f, "half");
        unsigned char *u = read_all(emr_model_find_tensor(unified, "half")),
                      *m = read_all(emr_model_find_tensor(mask, "half"));
        for (size_t i = 0; i < test_tensor_count(&f->set.base.tensors[place]); i++) {
            float w0, w, tau[FIXTURE_TASKS], sum = 0, elected = 0, got;
            unsigned char stored[4];
            emr_convert(EMR_DTYPE_F32, &w0, EMR_DTYPE_BF16, f->set.base.data[place] + 2 * i, 1);
            for (size_t t = 0; t < FIXTURE_TASKS; t++) {
                emr_convert(EMR_DTYPE_F32, &w, EMR_DTYPE_BF16, f->set.tasks[t].data[place] + 2 * i, 1);
                tau[t] = w - w0;
                sum += tau[t];
            }
            for (size_t t = 0; t < FIXTURE_TASKS; t++)
                if ((sum > 0 && tau[t] > elected) || (sum < 0 && tau[t] < elected))
                    elected = tau[t];
            emr_convert(variants[v].unified_dtype, stored, EMR_DTYPE_F32, &elected, 1);
            emr_convert(EMR_DTYPE_F32, &elected, variants[v].unified_dtype, stored, 1);
            memcpy(&got, u + 4 * i, 4);
            assert_true(got == elected);
            assert_int_equal(m[i], (tau[1] > 0 && elected > 0) || (tau[1] < 0 && elected < 0));
        }
        free(u);
        free(m);
        emr_model_destroy(&unified);
        emr_model_destroy(&mask);
    }
}

static emr_buffer *write_view(const emr_model *model)
{
    emr_buffer *out = test_buffer_new();
    emr_error error;
    assert_ok(emr_safetensors_write(model, emr_buffer_io(out), NULL, &error), &error);
    return out;
}

/* The base is checked while the model is written: no byte can be read in another way. */
static void the_base_can_be_checked_while_writing(void **state)
{
    const emr_view_options late = {.size = sizeof late, .check = EMR_BASE_CHECK_WRITE};
    (void)state;
    for (size_t v = 0; v < N_VARIANTS; v++) {
        const fixture *f = &fixtures[v];
        size_t place = fixture_index(f, "half");
        unsigned char byte, *changed = f->set.base.data[place] + 11;
        emr_error error;
        emr_model *first = view(f, 1, NULL), *model = view(f, 1, &late);
        emr_buffer *expected = write_view(first), *got = write_view(model), *none = test_buffer_new();
        assert_true(test_same_buffers(expected, got));
        const emr_tensor *half = emr_model_find_tensor(model, "half");
        assert_int_equal(emr_tensor_read(half, 0, &byte, 1, &error), EMR_ESTATE);
        assert_non_null(strstr(error.text, "'half'"));
        *changed ^= 1;
        assert_int_equal(emr_safetensors_write(model, emr_buffer_io(none), NULL, &error), EMR_EMISMATCH);
        *changed ^= 1;
        assert_non_null(strstr(error.text, "'half'"));
        assert_non_null(strstr(error.text, "test.emr"));
        emr_model_destroy(&first);
        emr_model_destroy(&model);
        emr_buffer_destroy(&expected);
        emr_buffer_destroy(&got);
        emr_buffer_destroy(&none);
    }
}

static void views_take_the_allocator_that_they_are_given(void **state)
{
    const emr_bundle *b = fixtures[1].bundle;
    (void)state;
    for (uint32_t which = 0; which <= VIEW_BASE; which++) {
        test_allocator counts = {0, 0, SIZE_MAX};
        const emr_allocator allocator = test_allocator_make(&counts);
        const emr_resources resources = test_resources(&allocator, NULL);
        const emr_view_options options = {.size = sizeof options, .resources = &resources};
        emr_model *model;
        emr_status status = which == VIEW_UNIFIED ? emr_bundle_open_unified(&model, b, &allocator, NULL)
                            : which == VIEW_MASK  ? emr_bundle_open_mask(&model, b, 1, &allocator, NULL)
                            : which == VIEW_BASE
                                ? emr_bundle_open_base(&model, b, &allocator, NULL)
                                : emr_bundle_open_task(&model, b, which, NULL, &options, NULL);
        assert_int_equal(status, EMR_OK);
        assert_true(counts.alive > 0);
        free(read_all(emr_model_tensor(model, 0)));
        emr_model_destroy(&model);
        assert_int_equal(counts.alive, 0);
    }
}

static void checking_the_base_of_a_view_can_be_stopped(void **state)
{
    const fixture *f = &fixtures[0];
    test_progress m = {.stop_at = 0, .why = "the window was closed"};
    emr_resources resources = EMR_INIT(emr_resources);
    const emr_view_options options = {.size = sizeof options, .resources = &resources};
    emr_model *model;
    emr_error error;
    (void)state;
    resources.progress = test_progress_note;
    resources.progress_user = &m;
    assert_int_equal(emr_bundle_open_task(&model, f->bundle, 0, f->set.base.model, &options, &error),
                     EMR_ECANCELED);
    assert_null(model);
    assert_non_null(strstr(error.text, ": the window was closed"));
    m = (test_progress){.stop_at = SIZE_MAX};
    assert_ok(emr_bundle_open_task(&model, f->bundle, 0, f->set.base.model, &options, &error), &error);
    assert_true(m.calls > 0 && !m.backwards && m.done == m.total);
    emr_model_destroy(&model);
}

static void wrong_views_are_refused(void **state)
{
    const fixture *f = &fixtures[1];
    const emr_bundle *b = f->bundle;
    emr_model *model = f->set.base.model;
    emr_view_options options = EMR_INIT(emr_view_options);
    test_allocator counts = {0, 0, SIZE_MAX};
    emr_allocator no_free = test_allocator_make(&counts);
    emr_error error;
    (void)state;
    no_free.free = NULL;
    assert_int_equal(emr_bundle_open_task(&model, b, FIXTURE_TASKS, NULL, NULL, &error), EMR_ENOTFOUND);
    assert_null(model);
    assert_int_equal(emr_bundle_open_mask(&model, b, FIXTURE_TASKS, NULL, &error), EMR_ENOTFOUND);
    options.dtype = EMR_DTYPE_I32;
    assert_int_equal(emr_bundle_open_task(&model, b, 0, NULL, &options, &error), EMR_EINVAL);
    options.dtype = EMR_DTYPE_F32;
    options.size--;
    assert_int_equal(emr_bundle_open_task(&model, b, 0, NULL, &options, &error), EMR_EINVAL);
    options.size++;
    options.check = 3;
    assert_int_equal(emr_bundle_open_task(&model, b, 0, NULL, &options, &error), EMR_EINVAL);
    assert_int_equal(emr_bundle_open_base(&model, b, &no_free, &error), EMR_EINVAL);
    assert_null(model);
    assert_int_equal(emr_bundle_open_unified(&model, b, &no_free, &error), EMR_EINVAL);
    assert_int_equal(emr_bundle_open_mask(&model, b, 0, &no_free, &error), EMR_EINVAL);
    assert_int_equal(emr_bundle_open_task(NULL, b, 0, NULL, NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_bundle_open_task(&model, NULL, 0, NULL, NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_bundle_open_unified(&model, NULL, NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_bundle_open_mask(NULL, b, 0, NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_bundle_open_base(&model, NULL, NULL, &error), EMR_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_follow_equation_6),
        cmocka_unit_test(private_and_kept_tensors_come_back),
        cmocka_unit_test(an_embedded_base_is_as_good_as_the_file),
        cmocka_unit_test(every_range_from_any_thread_equals_the_whole),
        cmocka_unit_test(float_tensors_come_out_in_the_dtype_asked_for),
        cmocka_unit_test(unified_values_and_masks_are_elected),
        cmocka_unit_test(the_base_can_be_checked_while_writing),
        cmocka_unit_test(views_take_the_allocator_that_they_are_given),
        cmocka_unit_test(checking_the_base_of_a_view_can_be_stopped),
        cmocka_unit_test(wrong_views_are_refused),
    };
    return cmocka_run_group_tests_name("bundle views", tests, set_up, tear_down);
}

/* test_base_check.c - a base that is compared while a task's model is written: the bytes are those of a model
 * whose base was compared first, for any threads, memory and kind of base; another base's weights are no
 * file; and until they are written nobody can read them. */
#include "property.h"

#include <stdio.h>

enum { N_TASKS = 3 };

/* The bundle over which all tests go, and its models. */
typedef struct fixture {
    test_set set;
    emr_buffer *buffer;
    emr_bundle *bundle;
    emr_error error;
} fixture;

static int make_fixture(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    emr_merge_options o = rich_options(EMR_RESCALE_PER_TENSOR);
    o.embed_base = 0;
    f->set = rich_set(17, N_TASKS, SOURCE_MEMORY);
    f->buffer = test_merge_bundle(&f->set, &o);
    f->bundle = test_bundle_open(f->buffer);
    *state = f;
    return 0;
}

static int free_fixture(void **state)
{
    fixture *f = *state;
    emr_bundle_destroy(&f->bundle);
    emr_buffer_destroy(&f->buffer);
    test_set_destroy(&f->set);
    free(f);
    return 0;
}

/* How a model is made and written. */
typedef struct way {
    emr_base_check check;
    emr_dtype dtype;
    uint64_t memory_bytes;
    const emr_executor *executor;
} way;

static emr_model *open_task(const emr_bundle *bundle, uint32_t task, const emr_model *base, const way *w)
{
    emr_error error;
    emr_model *model;
    const emr_view_options o = {.size = sizeof o, .dtype = w->dtype, .check = w->check};
    assert_ok(emr_bundle_open_task(&model, bundle, task, base, &o, &error), &error);
    return model;
}

/* A task's model as a file in memory; *out is then to be destroyed. */
static emr_status write_task(const emr_bundle *bundle, uint32_t task, const emr_model *base, const way *w,
                             emr_buffer **out, emr_error *error)
{
    emr_resources resources = test_resources(NULL, w->executor);
    const emr_checkpoint_write_options o = {.size = sizeof o, .resources = &resources};
    emr_model *model = open_task(bundle, task, base, w);
    resources.memory_bytes = w->memory_bytes;
    *out = test_buffer_new();
    emr_status status = emr_safetensors_write(model, emr_buffer_io(*out), &o, error);
    emr_model_destroy(&model);
    return status;
}

static void assert_same_as_checked_first(const emr_bundle *bundle, const emr_model *base, way w)
{
    for (uint32_t task = 0; task < N_TASKS; task++) {
        emr_error error;
        emr_buffer *want, *got;
        const way first = {.check = EMR_BASE_CHECK_FIRST, .dtype = w.dtype};
        w.check = EMR_BASE_CHECK_WRITE;
        assert_ok(write_task(bundle, task, base, &first, &want, &error), &error);
        assert_ok(write_task(bundle, task, base, &w, &got, &error), &error);
        assert_same_buffer(got, want, "checked while it was written");
        emr_buffer_destroy(&want);
        emr_buffer_destroy(&got);
    }
}

static void bytes_are_the_same_in_any_memory_with_any_threads(void **state)
{
    static const uint64_t memories[] = {32 << 10, 100000, 1 << 20, 0};
    static const emr_dtype dtypes[] = {EMR_DTYPE_NONE, EMR_DTYPE_F32, EMR_DTYPE_BF16, EMR_DTYPE_F64};
    const fixture *f = *state;
    emr_pool *pool = create_pool(3);
    odd_executor odd = {.order = {11}}, reversed = {.reverse = true};
    const emr_executor shuffled = odd_executor_make(&odd, 4), backwards = odd_executor_make(&reversed, 7);
    const emr_executor *const executors[] = {NULL, emr_pool_executor(pool), &shuffled, &backwards};
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < 4; k++)
            assert_same_as_checked_first(
                f->bundle, f->set.base.model,
                (way){.dtype = dtypes[(i + k) % 4], .memory_bytes = memories[i], .executor = executors[k]});
    assert_true(odd.calls > 0 && reversed.calls > 0);
    emr_pool_destroy(&pool);
}

static void any_kind_of_base_will_do(void **state)
{
    const fixture *f = *state;
    emr_error error;
    for (test_source source = SOURCE_MEMORY; source <= SOURCE_READ; source++) {
        test_set given = test_set_copy(&f->set, source);
        assert_same_as_checked_first(f->bundle, given.base.model, (way){.memory_bytes = 200000});
        test_set_destroy(&given);
    }
    emr_merge_options o = rich_options(EMR_RESCALE_PER_MODEL); /* the base as a model out of another bundle */
    emr_buffer *buffer = test_merge_bundle(&f->set, &o);
    emr_bundle *other = test_bundle_open(buffer);
    emr_model *base;
    assert_ok(emr_bundle_open_base(&base, other, NULL, &error), &error);
    assert_same_as_checked_first(f->bundle, base, (way){.memory_bytes = 200000});
    emr_model_destroy(&base);
    assert_same_as_checked_first(other, NULL, (way){.memory_bytes = 200000}); /* and the bundle's own */
    emr_bundle_destroy(&other);
    emr_buffer_destroy(&buffer);
}

/* Whether a task's model has the tensor from the base: merged, or kept and the same. */
static bool is_from_base(const emr_bundle *bundle, uint32_t task, const char *name)
{
    uint32_t tensor;
    emr_private_info own = EMR_INIT(emr_private_info);
    for (uint32_t i = 0; emr_bundle_get_private(bundle, task, i, &own) == EMR_OK; i++)
        if (strcmp(own.name, name) == 0)
            return false;
    return emr_bundle_find_tensor(bundle, name, &tensor, NULL) == EMR_OK;
}

/* One bit of the tensor is another; *at is where. */
static void flip_bit(const test_model *m, size_t tensor, size_t at)
{
    m->data[tensor][at / 8] ^= (unsigned char)(1u << at % 8);
}

static size_t tensor_bits(const test_tensor *t)
{
    return (size_t)(test_tensor_count(t) * emr_dtype_bits(t->dtype));
}

static void another_base_is_told_by_name(void **state)
{
    fixture *f = *state;
    rng r = {23};
    emr_pool *pool = create_pool(2);
    size_t n_told = 0, n_unused = 0;
    for (size_t i = 0; i < f->set.base.n; i++) {
        const test_tensor *t = &f->set.base.tensors[i];
        for (uint32_t task = 0; tensor_bits(t) && task < N_TASKS; task++) {
            emr_buffer *out, *whole;
            const way w = {.check = EMR_BASE_CHECK_WRITE,
                           .memory_bytes = task == 1 ? 64 << 10 : 0,
                           .executor = task == 2 ? emr_pool_executor(pool) : NULL};
            size_t at = task == 0 ? tensor_bits(t) - 1 : (size_t)rng_below(&r, tensor_bits(t));
            assert_ok(write_task(f->bundle, task, f->set.base.model, &w, &whole, &f->error), &f->error);
            flip_bit(&f->set.base, i, at);
            emr_status status = write_task(f->bundle, task, f->set.base.model, &w, &out, &f->error);
            if (is_from_base(f->bundle, task, t->name)) {
                assert_int_equal(status, EMR_EMISMATCH);
                assert_names_tensor(&f->error, t->name);
                assert_names_file(&f->error, "base");
                assert_says(&f->error, "is not the base of test bundle");
                n_told++;
            } else {
                assert_ok(status, &f->error); /* nothing was read of it */
                assert_same_buffer(out, whole, "with another tensor that the task does not take");
                n_unused++;
            }
            flip_bit(&f->set.base, i, at);
            emr_buffer_destroy(&out);
            emr_buffer_destroy(&whole);
        }
    }
    assert_true(n_told > 30 && n_unused > 0);
    emr_pool_destroy(&pool);
}

/* Whatever is to be written: one file, shards, a file in the place of one that is there. */
static void another_base_gives_no_file(void **state)
{
    fixture *f = *state;
    char *directory = test_directory_make(), *path = test_path(directory, "task.safetensors");
    const way w = {.check = EMR_BASE_CHECK_WRITE};
    const size_t last = n_mixed_tensors - 1;
    for (size_t i = 0; i < 3; i++) {
        const emr_checkpoint_write_options o = {
            .size = sizeof o, .shard_bytes = i == 1 ? 500000 : 0, .replace = i == 2};
        emr_model *model = open_task(f->bundle, 0, f->set.base.model, &w);
        flip_bit(&f->set.base, last, 5);
        if (i == 2)
            test_write_file(path, "what was there", 14);
        assert_int_equal(emr_checkpoint_write(model, path, &o, &f->error), EMR_EMISMATCH);
        assert_names_tensor(&f->error, f->set.base.tensors[last].name);
        assert_int_equal(test_directory_entries(directory), i == 2 ? 1 : 0);
        flip_bit(&f->set.base, last, 5);
        if (i == 2) {
            size_t n;
            unsigned char *bytes = test_read_file(path, &n);
            assert_int_equal(n, 14);
            assert_memory_equal(bytes, "what was there", 14);
            free(bytes);
            assert_int_equal(remove(path), 0);
        }
        emr_model_destroy(&model);
    }
    free(path);
    test_directory_remove(directory);
}

/* The same file and shards as with a base that was compared first. */
static void files_are_the_same(void **state)
{
    const fixture *f = *state;
    for (size_t i = 0; i < 2; i++) {
        emr_error error;
        char *directories[2];
        const emr_checkpoint_write_options o = {.size = sizeof o, .shard_bytes = i ? 500000 : 0};
        for (size_t k = 0; k < 2; k++) {
            const way w = {.check = k ? EMR_BASE_CHECK_WRITE : EMR_BASE_CHECK_FIRST};
            emr_model *model = open_task(f->bundle, 1, f->set.base.model, &w);
            directories[k] = test_directory_make();
            assert_ok(emr_checkpoint_write(model, directories[k], &o, &error), &error);
            emr_model_destroy(&model);
        }
        size_t n = test_directory_entries(directories[0]);
        assert_int_equal(test_directory_entries(directories[1]), n);
        assert_true(i ? n > 3 : n == 1);
        for (size_t shard = 0; shard < n; shard++) {
            unsigned char *bytes[2];
            size_t sizes[2];
            char name[64];
            snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", shard + 1, n - 1);
            if (!i || shard + 1 == n)
                snprintf(name, sizeof name, i ? "model.safetensors.index.json" : "model.safetensors");
            for (size_t k = 0; k < 2; k++) {
                char *path = test_path(directories[k], name);
                bytes[k] = test_read_file(path, &sizes[k]);
                free(path);
            }
            assert_int_equal(sizes[0], sizes[1]);
            assert_memory_equal(bytes[0], bytes[1], sizes[0]);
            free(bytes[0]);
            free(bytes[1]);
        }
        test_directory_remove(directories[0]);
        test_directory_remove(directories[1]);
    }
}

/* What is not known to be right cannot be read, by a caller, a merge, or a comparison. */
static void nobody_else_can_read_it(void **state)
{
    fixture *f = *state;
    const way w = {.check = EMR_BASE_CHECK_WRITE};
    emr_model *model = open_task(f->bundle, 0, f->set.base.model, &w);
    for (uint32_t i = 0; i < emr_model_n_tensors(model); i++) {
        const emr_tensor *t = emr_model_tensor(model, i);
        unsigned char byte = 0xa5;
        if (!is_from_base(f->bundle, 0, emr_tensor_name(t)) || !emr_tensor_bytes(t))
            continue;
        assert_int_equal(emr_tensor_read(t, 0, &byte, 1, &f->error), EMR_ESTATE);
        assert_names_tensor(&f->error, emr_tensor_name(t));
        assert_int_equal(byte, 0xa5);
    }
    assert_int_equal(emr_bundle_check_base(f->bundle, model, NULL, &f->error), EMR_ESTATE);
    for (size_t i = 0; i < 2; i++) {
        emr_merge *merge;
        emr_sink sink = EMR_INIT(emr_sink);
        assert_ok(emr_merge_create(&merge, NULL, &f->error), &f->error);
        assert_ok(emr_merge_set_base(merge, i ? model : f->set.base.model, &f->error), &f->error);
        assert_ok(emr_merge_add_task(merge, "t", i ? f->set.tasks[0].model : model, &f->error), &f->error);
        assert_ok(emr_merge_set_sink(merge, &sink, &f->error), &f->error);
        assert_int_equal(emr_merge_run(merge, &f->error), EMR_ESTATE);
        emr_merge_destroy(&merge);
    }
    emr_model_destroy(&model);
}

/* What can be seen without reading is seen at once; and there are three ways to check. */
static void opening_refuses_what_it_can_see(void **state)
{
    fixture *f = *state;
    emr_view_options o = {.size = sizeof o, .check = EMR_BASE_CHECK_NONE + 1};
    emr_model *model;
    assert_int_equal(emr_bundle_open_task(&model, f->bundle, 0, f->set.base.model, &o, &f->error),
                     EMR_EINVAL);
    assert_null(model);
    o.check = EMR_BASE_CHECK_WRITE;
    test_tensor changed = f->set.base.tensors[0];
    changed.shape[0]++;
    test_model other = test_model_create("other", &changed, 1, SOURCE_MEMORY);
    assert_int_equal(emr_bundle_open_task(&model, f->bundle, 0, other.model, &o, &f->error), EMR_EMISMATCH);
    assert_null(model);
    assert_names_tensor(&f->error, changed.name);
    assert_names_file(&f->error, "other");
    test_model_destroy(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_the_same_in_any_memory_with_any_threads),
        cmocka_unit_test(any_kind_of_base_will_do),
        cmocka_unit_test(another_base_is_told_by_name),
        cmocka_unit_test(another_base_gives_no_file),
        cmocka_unit_test(files_are_the_same),
        cmocka_unit_test(nobody_else_can_read_it),
        cmocka_unit_test(opening_refuses_what_it_can_see),
    };
    return cmocka_run_group_tests(tests, make_fixture, free_fixture);
}

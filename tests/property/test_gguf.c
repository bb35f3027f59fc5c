/* test_gguf.c - what comes out of a bundle of GGUF models is what the same tensors give by way of
 * safetensors, with the task's own metadata and quantised bytes. */
#include "gguf_craft.h"

#include <stdio.h>

enum { TASKS = 3, N_TENSORS = 6 };

/* Tensors and their places in the data: three floats, which change, and three that are carried. */
static const struct {
    const char *name;
    uint32_t type, n_dims;
    uint64_t dims[3];
    size_t count, bytes;
} tensors[N_TENSORS] = {
    {"a.weight", T_F32, 2, {33, 64}, 33 * 64, 33 * 64 * 4},
    {"b.weight", T_F16, 3, {50, 40, 2}, 4000, 8000},
    {"c.bias", T_BF16, 1, {1001}, 1001, 2002},
    {"ids", T_I32, 1, {5}, 5, 20},
    {"q.weight", T_Q8_0, 2, {96, 7}, 0, 3 * 34 * 7},
    {"k.weight", T_IQ2_XXS, 1, {512}, 0, 132},
};

typedef struct gguf_model {
    crafted file;
    size_t kv_bytes;
    emr_model *model;
} gguf_model;

static size_t padded_bytes(size_t n)
{
    return (n + 31) / 32 * 32;
}

/* The base is number 0. Task 1 has the base's metadata and carried tensors, the others have their own. */
static gguf_model make_gguf(unsigned number)
{
    static const char *const names[] = {"base", "base", "another, longer name", "x"};
    gguf_model g = {.kv_bytes = 0};
    part kv = {0}, infos = {0};
    size_t at = 0;
    put_key(&kv, "general.name", V_STRING);
    put_string(&kv, names[number], strlen(names[number]));
    put_key(&kv, "numbers", V_ARRAY);
    put_number(&kv, V_U16, 4);
    put_number(&kv, 2, 8);
    put_number(&kv, number > 1 ? number : 0, 4);
    g.kv_bytes = kv.n;
    for (size_t i = 0; i < N_TENSORS; i++) {
        put_tensor(&infos, tensors[i].name, tensors[i].n_dims, tensors[i].dims, tensors[i].type, at);
        at += padded_bytes(tensors[i].bytes);
    }
    g.file = gguf_of(3, kv, infos, 32, at, NULL);
    unsigned char *p = g.file.bytes + g.file.n - at;
    for (size_t i = 0; i < N_TENSORS; p += padded_bytes(tensors[i].bytes), i++) {
        static const emr_dtype dtypes[] = {EMR_DTYPE_F32, EMR_DTYPE_F16, EMR_DTYPE_BF16};
        rng base = {100 + i}, own = {100 * number + i + 1};
        memset(p, 0, padded_bytes(tensors[i].bytes));
        for (size_t k = 0; i < 3 && k < tensors[i].count; k++) {
            float value = rng_normal(&base) + (number ? 0.1f * rng_normal(&own) : 0);
            emr_convert(dtypes[i], p + k * (emr_dtype_bits(dtypes[i]) / 8), EMR_DTYPE_F32, &value, 1);
        }
        for (size_t k = 0; i >= 3 && k < tensors[i].bytes; k++) /* scales of blocks stay finite */
            p[k] = (unsigned char)(rng_next(number > 1 ? &own : &base) >> 32 & 0x3f);
    }
    return g;
}

static emr_model *open_gguf(gguf_model *g, const emr_checkpoint_read_options *options)
{
    emr_error error;
    assert_ok(gguf_opened(&g->file, options, &g->model, &error), &error);
    return g->model;
}

/* The model as a safetensors file, opened. */
static emr_model *by_safetensors(const emr_model *m, const emr_buffer *buffer)
{
    emr_error error;
    emr_model *again;
    const emr_io *io = emr_buffer_io(buffer);
    assert_ok(emr_safetensors_write(m, io, NULL, &error), &error);
    assert_ok(emr_safetensors_open(&again, io, "again.safetensors", NULL, &error), &error);
    return again;
}

/* models[0] is the base; `before` NULL, or the bundle of those before `first`. */
static emr_buffer *merge_tasks(emr_model *const models[TASKS + 1], const emr_bundle *before, size_t first,
                               size_t last)
{
    emr_error error;
    emr_buffer *buffer = test_buffer_new();
    emr_merge *m;
    emr_merge_options options = EMR_INIT(emr_merge_options);
    options.extendable = 1;
    assert_ok(emr_merge_create(&m, &options, &error), &error);
    if (before)
        assert_ok(emr_merge_extend(m, before, &error), &error);
    assert_ok(emr_merge_set_base(m, models[0], &error), &error);
    for (size_t t = first; t <= last; t++) {
        char name[8];
        snprintf(name, sizeof name, "t%zu", t);
        assert_ok(emr_merge_add_task(m, name, models[t], &error), &error);
    }
    assert_ok(emr_merge_set_output(m, emr_buffer_io(buffer), &error), &error);
    assert_ok(emr_merge_run(m, &error), &error);
    emr_merge_destroy(&m);
    return buffer;
}

static unsigned char *bytes_of(const emr_tensor *t)
{
    emr_error error;
    unsigned char *bytes = malloc((size_t)emr_tensor_bytes(t) + 1);
    assert_ok(emr_tensor_read(t, 0, bytes, (size_t)emr_tensor_bytes(t), &error), &error);
    return bytes;
}

static void check_same_tensor(const emr_tensor *a, const emr_tensor *b)
{
    assert_non_null(b);
    assert_int_equal(emr_tensor_dtype(a), emr_tensor_dtype(b));
    assert_int_equal(emr_tensor_rank(a), emr_tensor_rank(b));
    for (uint32_t i = 0; i < emr_tensor_rank(a); i++)
        assert_true(emr_tensor_shape(a)[i] == emr_tensor_shape(b)[i]);
    unsigned char *x = bytes_of(a), *y = bytes_of(b);
    assert_memory_equal(x, y, (size_t)emr_tensor_bytes(a));
    free(x);
    free(y);
}

/* A task's model, written as GGUF: what comes out again, beside what it should be. */
static void check_written(const emr_model *model, const emr_model *expected, const gguf_model *task)
{
    emr_error error;
    emr_buffer *buffer = test_buffer_new();
    emr_model *back;
    assert_ok(emr_gguf_write(model, emr_buffer_io(buffer), NULL, &error), &error);
    const unsigned char *file = emr_buffer_data(buffer);
    assert_memory_equal(file, task->file.bytes, 24 + task->kv_bytes); /* counts and metadata */
    assert_ok(emr_gguf_open(&back, emr_buffer_io(buffer), "back.gguf", NULL, &error), &error);
    assert_int_equal(emr_model_n_tensors(back), emr_model_n_tensors(expected));
    for (uint32_t i = 0; i < emr_model_n_tensors(expected); i++) {
        const emr_tensor *t = emr_model_tensor(expected, i);
        if (strcmp(emr_tensor_name(t), EMR_GGUF_HEADER) != 0) /* where tensors lie may be new */
            check_same_tensor(t, emr_model_find_tensor(back, emr_tensor_name(t)));
    }
    emr_model_destroy(&back);
    emr_buffer_destroy(&buffer);
}

/* The file of a task's model, with the base checked when it says; *out is then to be destroyed. */
static emr_status write_checked(const emr_bundle *b, uint32_t task, const emr_model *base,
                                emr_base_check when, emr_buffer **out, emr_error *error)
{
    emr_model *model;
    const emr_view_options o = {.size = sizeof o, .check = when};
    *out = test_buffer_new();
    assert_ok(emr_bundle_open_task(&model, b, task, base, &o, error), error);
    emr_status status = emr_gguf_write(model, emr_buffer_io(*out), NULL, error);
    emr_model_destroy(&model);
    return status;
}

/* The same bytes where the base is checked while it is read for the file; and no file of another base's
 * weights, or with another's header. */
static void check_written_in_one_pass(const emr_bundle *b, uint32_t task, const emr_model *base,
                                      const gguf_model *base_file)
{
    emr_error error;
    emr_buffer *want, *got;
    assert_ok(write_checked(b, task, base, EMR_BASE_CHECK_FIRST, &want, &error), &error);
    assert_ok(write_checked(b, task, base, EMR_BASE_CHECK_WRITE, &got, &error), &error);
    assert_true(test_same_buffers(want, got));
    emr_buffer_destroy(&want);
    emr_buffer_destroy(&got);
    unsigned char *const places[] = {base_file->file.bytes + 40 /* of general.name */,
                                     base_file->file.bytes + base_file->file.n - 160 /* of k.weight */};
    static const char *const names[] = {EMR_GGUF_HEADER, "k.weight"};
    for (size_t i = 0; task == 0 && i < 2; i++) { /* which has these from the base */
        *places[i] ^= 1;
        assert_int_equal(write_checked(b, task, base, EMR_BASE_CHECK_WRITE, &got, &error), EMR_EMISMATCH);
        *places[i] ^= 1;
        assert_non_null(strstr(error.text, names[i]));
        emr_buffer_destroy(&got);
    }
}

static void check_task(const emr_bundle *a, const emr_model *base_a, const emr_bundle *b,
                       const emr_model *base_b, uint32_t task, const gguf_model *g)
{
    static const char *const carried[] = {"ids", "k.weight", EMR_GGUF_HEADER};
    emr_error error;
    emr_model *x, *y;
    assert_ok(emr_bundle_open_task(&x, a, task, base_a, NULL, &error), &error);
    assert_ok(emr_bundle_open_task(&y, b, task, base_b, NULL, &error), &error);
    assert_int_equal(emr_model_n_tensors(x), N_TENSORS + 1);
    assert_int_equal(emr_model_n_tensors(y), N_TENSORS + 1);
    for (uint32_t i = 0; i < emr_model_n_tensors(x); i++)
        check_same_tensor(emr_model_tensor(x, i),
                          emr_model_find_tensor(y, emr_tensor_name(emr_model_tensor(x, i))));
    for (size_t i = 0; i < 3; i++)
        check_same_tensor(emr_model_find_tensor(g->model, carried[i]), emr_model_find_tensor(x, carried[i]));
    if (emr_tensor_dtype(emr_model_find_tensor(x, "q.weight")) == EMR_DTYPE_U8)
        check_same_tensor(emr_model_find_tensor(g->model, "q.weight"), emr_model_find_tensor(x, "q.weight"));
    check_written(x, y, g);
    emr_model_destroy(&x);
    emr_model_destroy(&y);
}

static void gguf_gives_what_safetensors_give(void **state)
{
    (void)state;
    for (uint32_t dequantise = 0; dequantise < 2; dequantise++) {
        gguf_model files[TASKS + 1];
        emr_model *models[TASKS + 1], *others[TASKS + 1];
        emr_buffer *buffers[TASKS + 1];
        emr_checkpoint_read_options options = EMR_INIT(emr_checkpoint_read_options);
        options.dequantise = dequantise;
        for (unsigned i = 0; i <= TASKS; i++) {
            files[i] = make_gguf(i);
            models[i] = open_gguf(&files[i], &options);
            buffers[i] = test_buffer_new();
            others[i] = by_safetensors(models[i], buffers[i]);
            assert_int_equal(emr_tensor_dtype(emr_model_find_tensor(models[i], "q.weight")),
                             dequantise ? EMR_DTYPE_F32 : EMR_DTYPE_U8);
        }
        emr_buffer *merged_a = merge_tasks(models, NULL, 1, TASKS),
                   *merged_b = merge_tasks(others, NULL, 1, TASKS);
        emr_bundle *a = test_bundle_open(merged_a), *b = test_bundle_open(merged_b);
        for (uint32_t t = 0; t < TASKS; t++) {
            check_task(a, models[0], b, others[0], t, &files[t + 1]);
            check_written_in_one_pass(a, t, models[0], &files[0]);
        }
        for (size_t i = 0; i <= TASKS; i++) {
            emr_model_destroy(&models[i]);
            emr_model_destroy(&others[i]);
            emr_buffer_destroy(&buffers[i]);
            crafted_free(&files[i].file);
        }
        emr_bundle_destroy(&a);
        emr_bundle_destroy(&b);
        emr_buffer_destroy(&merged_a);
        emr_buffer_destroy(&merged_b);
    }
}

/* A base and its tasks, each with metadata of its own length. */
static void open_all(gguf_model files[TASKS + 1], emr_model *models[TASKS + 1])
{
    for (unsigned i = 0; i <= TASKS; i++) {
        files[i] = make_gguf(i);
        models[i] = open_gguf(&files[i], NULL);
    }
}

static void close_all(gguf_model files[TASKS + 1], emr_model *models[TASKS + 1])
{
    for (size_t i = 0; i <= TASKS; i++) {
        emr_model_destroy(&models[i]);
        crafted_free(&files[i].file);
    }
}

/* Also where its metadata are longer or shorter, which no other tensor may be. */
static void a_task_can_be_added_later(void **state)
{
    gguf_model files[TASKS + 1];
    emr_model *models[TASKS + 1];
    (void)state;
    open_all(files, models);
    emr_buffer *all = merge_tasks(models, NULL, 1, TASKS), *some = merge_tasks(models, NULL, 1, 1);
    emr_bundle *before = test_bundle_open(some);
    emr_buffer *grown = merge_tasks(models, before, 2, TASKS);
    assert_true(test_same_buffers(grown, all));
    emr_bundle_destroy(&before);
    close_all(files, models);
    emr_buffer_destroy(&all);
    emr_buffer_destroy(&some);
    emr_buffer_destroy(&grown);
}

/* A task's header that is the base's is stored once, for all of them; others are their tasks'. */
static void headers_are_shared_where_they_are_equal(void **state)
{
    gguf_model files[TASKS + 1];
    emr_model *models[TASKS + 1];
    (void)state;
    open_all(files, models);
    emr_buffer *merged = merge_tasks(models, NULL, 1, TASKS);
    emr_bundle *b = test_bundle_open(merged);
    for (uint32_t t = 0; t < TASKS; t++) {
        emr_private_info own = EMR_INIT(emr_private_info);
        bool has_own = false;
        for (uint32_t i = 0; emr_bundle_get_private(b, t, i, &own) == EMR_OK; i++)
            has_own = has_own || strcmp(own.name, EMR_GGUF_HEADER) == 0;
        assert_int_equal(has_own, t > 0);
    }
    emr_bundle_destroy(&b);
    close_all(files, models);
    emr_buffer_destroy(&merged);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gguf_gives_what_safetensors_give),
        cmocka_unit_test(a_task_can_be_added_later),
        cmocka_unit_test(headers_are_shared_where_they_are_equal),
    };
    return cmocka_run_group_tests_name("GGUF merged", tests, NULL, NULL);
}

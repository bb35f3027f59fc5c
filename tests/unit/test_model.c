/* test_model.c - models built by the host: tensors and their four sources of bytes, metadata, refusals. */
#include "support.h"

#include <stdio.h>

static emr_model *make_model(void)
{
    return test_model_new("m.safetensors");
}

static emr_tensor_desc describe(const char *name, emr_dtype dtype, uint32_t rank, const uint64_t *shape)
{
    emr_tensor_desc d = EMR_INIT(emr_tensor_desc);
    d.name = name;
    d.dtype = dtype;
    d.rank = rank;
    d.shape = shape;
    return d;
}

/* Zeros in another model's shapes, which need it no more once they are there. */
static void zeros_are_like_another_model(void **state)
{
    static const uint64_t shape[] = {1000, 1000000, 4096};
    static const emr_dtype dtypes[] = {EMR_DTYPE_BF16,    EMR_DTYPE_I32,  EMR_DTYPE_F64, EMR_DTYPE_F8_E4M3,
                                       EMR_DTYPE_F8_E8M0, EMR_DTYPE_BOOL, EMR_DTYPE_F32};
    static const char *const left[] = {"t0", "t2", "t3", "t6"};
    test_meter meter = {0};
    emr_allocator allocator = test_meter_make(&meter);
    unsigned char got[100];
    emr_error error;
    emr_model *zeros, *model = make_model();
    (void)state;
    for (size_t i = 0; i < 7; i++) {
        char name[] = {'t', (char)('0' + i), '\0'};
        emr_tensor_desc d = describe(name, dtypes[i], (uint32_t)(i % 4), shape);
        assert_ok(emr_model_add(model, &d, &error), &error);
    }
    assert_ok(emr_model_set_metadata(model, "format", "pt", &error), &error);
    assert_ok(emr_model_create_zeros(&zeros, model, &allocator, &error), &error);
    assert_string_equal(emr_model_name(zeros), "zeros");
    assert_int_equal(emr_model_n_metadata(zeros), 0);
    assert_int_equal(emr_model_n_tensors(zeros), 4);
    for (uint32_t i = 0; i < 4; i++) {
        const emr_tensor *t = emr_model_tensor(zeros, i), *of = emr_model_find_tensor(model, left[i]);
        assert_string_equal(emr_tensor_name(t), left[i]);
        assert_int_equal(emr_tensor_dtype(t), emr_tensor_dtype(of));
        assert_int_equal(emr_tensor_rank(t), emr_tensor_rank(of));
        assert_int_equal(emr_tensor_bytes(t), emr_tensor_bytes(of));
    }
    emr_model_destroy(&model);
    assert_true(meter.peak < 10000); /* of terabytes */
    const emr_tensor *t = emr_model_find_tensor(zeros, "t3");
    assert_int_equal(emr_tensor_count(t), 4096000000000);
    assert_int_equal(emr_tensor_shape(t)[2], 4096);
    memset(got, 0xff, sizeof got);
    assert_ok(emr_tensor_read(t, 4095999999901, got, 99, &error), &error);
    for (size_t i = 0; i < sizeof got; i++)
        assert_int_equal(got[i], i < 99 ? 0 : 0xff);
    assert_int_equal(emr_tensor_read(t, 4095999999902, got, 99, &error), EMR_EINVAL);
    emr_model_destroy(&zeros);
    assert_int_equal(meter.now, 0);
    assert_int_equal(emr_model_create_zeros(&zeros, NULL, NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_model_create_zeros(NULL, NULL, NULL, &error), EMR_EINVAL);
}

static void zeros_may_run_out_of_memory(void **state)
{
    test_allocator counts = {.fail_at = SIZE_MAX};
    emr_allocator allocator = test_allocator_make(&counts);
    test_model like = test_model_create("like", mixed_tensors, n_mixed_tensors, SOURCE_MEMORY);
    emr_status status = EMR_ENOMEM;
    emr_error error;
    size_t k = 0;
    (void)state;
    for (; status; k++) {
        emr_model *zeros = (emr_model *)&counts;
        counts = (test_allocator){.fail_at = k};
        status = emr_model_create_zeros(&zeros, like.model, &allocator, &error);
        assert_int_equal(status, zeros ? EMR_OK : EMR_ENOMEM);
        emr_model_destroy(&zeros);
        assert_int_equal(counts.alive, 0);
    }
    assert_true(k > n_mixed_tensors);
    test_model_destroy(&like);
}

static void names_shapes_and_order_are_kept(void **state)
{
    const uint64_t shape[] = {3, 0x100000000, 5};
    emr_error error;
    emr_model *model = make_model();
    (void)state;
    assert_int_equal(emr_model_n_tensors(model), 0);
    for (uint32_t rank = 0; rank <= 3; rank++) {
        char name[] = {'r', (char)('3' - rank), '\0'};
        uint64_t copy[3];
        memcpy(copy, shape, sizeof copy);
        emr_tensor_desc d = describe(name, EMR_DTYPE_BF16, rank, copy);
        assert_ok(emr_model_add(model, &d, &error), &error);
        memset(name, 'x', 2); /* what is passed in is copied */
        memset(copy, 0, sizeof copy);
    }
    const uint64_t counts[] = {1, 3, 3 * 0x100000000, 15 * 0x100000000};
    for (uint32_t rank = 0; rank <= 3; rank++) {
        const emr_tensor *t = emr_model_tensor(model, rank);
        const char name[] = {'r', (char)('3' - rank), '\0'};
        assert_string_equal(emr_tensor_name(t), name);
        assert_ptr_equal(emr_model_find_tensor(model, name), t);
        assert_int_equal(emr_tensor_dtype(t), EMR_DTYPE_BF16);
        assert_int_equal(emr_tensor_rank(t), rank);
        assert_true(emr_tensor_count(t) == counts[rank] && emr_tensor_bytes(t) == 2 * counts[rank]);
        for (uint32_t i = 0; i < rank; i++)
            assert_true(emr_tensor_shape(t)[i] == shape[i]);
    }
    assert_int_equal(emr_model_n_tensors(model), 4);
    assert_null(emr_model_tensor(model, 4));
    assert_null(emr_model_find_tensor(model, "r"));
    assert_string_equal(emr_model_name(model), "m.safetensors");
    emr_model_destroy(&model);
    assert_null(model);
    emr_model_destroy(&model);
    emr_model_destroy(NULL);
}

static void a_model_without_a_name_is_called_model(void **state)
{
    emr_model *model;
    (void)state;
    assert_int_equal(emr_model_create(&model, NULL, NULL), EMR_OK);
    assert_string_equal(emr_model_name(model), "model");
    emr_model_destroy(&model);
    model = test_model_new(NULL);
    assert_string_equal(emr_model_name(model), "model");
    emr_model_destroy(&model);
    assert_int_equal(emr_model_create(NULL, NULL, NULL), EMR_EINVAL);
}

static void tensors_got_earlier_stay_valid(void **state)
{
    emr_model *model = make_model();
    emr_tensor_desc first = describe("first", EMR_DTYPE_F32, 0, NULL);
    (void)state;
    assert_int_equal(emr_model_add(model, &first, NULL), EMR_OK);
    const emr_tensor *tensor = emr_model_tensor(model, 0);
    for (int i = 0; i < 1000; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", i);
        emr_tensor_desc d = describe(name, EMR_DTYPE_F32, 0, NULL);
        assert_int_equal(emr_model_add(model, &d, NULL), EMR_OK);
    }
    assert_ptr_equal(emr_model_tensor(model, 0), tensor);
    assert_string_equal(emr_tensor_name(tensor), "first");
    emr_model_destroy(&model);
}

static emr_status compute_squares(const emr_computation *c, emr_error *error)
{
    (void)error;
    if (*(int *)c->user)
        return EMR_ECORRUPT;
    for (size_t i = 0; i < c->count; i++)
        ((unsigned char *)c->out)[i] = (unsigned char)((c->first + i) * (c->first + i));
    return EMR_OK;
}

enum { SIZE = 100, BEFORE = 7 };

/* The same bytes from memory, from an extent of an I/O, and computed. */
static emr_model *three_sources(const unsigned char *bytes, const emr_io *given, int *fails)
{
    const uint64_t shape[] = {SIZE};
    emr_model *model = make_model();
    emr_io io = *given;
    emr_tensor_desc d = describe("memory", EMR_DTYPE_U8, 1, shape);
    d.data = bytes + BEFORE;
    assert_int_equal(emr_model_add(model, &d, NULL), EMR_OK);
    d = describe("io", EMR_DTYPE_U8, 1, shape);
    d.io = &io;
    d.offset = BEFORE;
    assert_int_equal(emr_model_add(model, &d, NULL), EMR_OK);
    memset(&io, 0, sizeof io); /* the table was copied */
    d = describe("computed", EMR_DTYPE_U8, 1, shape);
    d.compute = compute_squares;
    d.user = fails;
    assert_int_equal(emr_model_add(model, &d, NULL), EMR_OK);
    return model;
}

static void fill_squares(unsigned char *bytes)
{
    memset(bytes, 0, BEFORE);
    for (size_t i = 0; i < SIZE; i++)
        bytes[BEFORE + i] = (unsigned char)(i * i);
}

static void every_source_gives_every_range(void **state)
{
    unsigned char bytes[BEFORE + SIZE], got[SIZE + 2];
    emr_error error;
    int fails = 0;
    (void)state;
    fill_squares(bytes);
    emr_buffer *file = test_buffer_of(bytes, sizeof bytes);
    emr_model *model = three_sources(bytes, emr_buffer_io(file), &fails);
    for (uint32_t t = 0; t < 3; t++) {
        const emr_tensor *tensor = emr_model_tensor(model, t);
        for (size_t first = 0; first <= SIZE; first++) {
            for (size_t n = 0; n <= SIZE - first; n += 1 + n / 3) {
                memset(got, 0xee, sizeof got);
                assert_ok(emr_tensor_read(tensor, first, got + 1, n, &error), &error);
                assert_memory_equal(got + 1, bytes + BEFORE + first, n);
                assert_true(got[0] == 0xee && got[n + 1] == 0xee);
            }
        }
        assert_int_equal(emr_tensor_read(tensor, SIZE, got, 1, &error), EMR_EINVAL);
        assert_non_null(strstr(error.text, emr_tensor_name(tensor)));
        assert_int_equal(emr_tensor_read(tensor, SIZE + 1, got, 0, NULL), EMR_EINVAL);
        assert_int_equal(emr_tensor_read(tensor, 1, got, SIZE_MAX, NULL), EMR_EINVAL);
        assert_int_equal(emr_tensor_read(tensor, UINT64_MAX, got, 2, NULL), EMR_EINVAL);
        assert_int_equal(emr_tensor_read(tensor, 0, NULL, 1, NULL), EMR_EINVAL);
    }
    emr_model_destroy(&model);
    emr_buffer_destroy(&file);
}

static void failing_sources_say_so(void **state)
{
    unsigned char bytes[BEFORE + SIZE], got[SIZE];
    emr_error error;
    int fails = 1;
    (void)state;
    fill_squares(bytes);
    emr_buffer *shorter = test_buffer_of(bytes, BEFORE + SIZE / 2); /* the file got shorter */
    emr_model *model = three_sources(bytes, emr_buffer_io(shorter), &fails);
    const emr_tensor *io = emr_model_find_tensor(model, "io");
    assert_int_equal(emr_tensor_read(io, 0, got, SIZE / 2, &error), EMR_OK);
    assert_int_equal(emr_tensor_read(io, 0, got, SIZE / 2 + 1, &error), EMR_EIO);
    assert_non_null(strstr(error.text, "m.safetensors"));
    assert_non_null(strstr(error.text, "'io'"));
    assert_int_equal(emr_tensor_read(emr_model_find_tensor(model, "computed"), 0, got, 1, NULL),
                     EMR_ECORRUPT);
    emr_model_destroy(&model);
    emr_buffer_destroy(&shorter);
}

/* What a callback says ends the sentence; what it returns decides the status in two cases. */
static void reasons_of_sources_are_passed_on(void **state)
{
    static const struct {
        emr_status returned, status;
        const char *why, *end;
        int32_t system;
    } cases[] = {
        {EMR_EIO, EMR_EIO, "the connection was lost", ": the connection was lost", 104},
        {EMR_ENOMEM, EMR_ENOMEM, "no room", ": no room", 0},
        {EMR_ECANCELED, EMR_ECANCELED, "the user left", ": the user left", 0},
        {EMR_EFORMAT, EMR_EIO, "odd", ": odd", 0},
        {1, EMR_EIO, NULL, " failed", 0},
        {EMR_ENOMEM, EMR_ENOMEM, NULL, " failed", 0},
    };
    unsigned char bytes[BEFORE + SIZE], got[SIZE];
    int fails = 0;
    (void)state;
    fill_squares(bytes);
    emr_buffer *file = test_buffer_of(bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        test_io broken = {.inner = *emr_buffer_io(file), .fail_write = SIZE_MAX};
        broken.status = cases[i].returned;
        broken.why = cases[i].why;
        broken.system = cases[i].system;
        emr_io io = test_io_make(&broken);
        emr_model *model = three_sources(bytes, &io, &fails);
        emr_error e;
        memset(&e, 0xee, sizeof e);
        assert_int_equal(emr_tensor_read(emr_model_find_tensor(model, "io"), 1, got, 9, &e), cases[i].status);
        assert_int_equal(e.status, cases[i].status);
        assert_int_equal(e.system, cases[i].system);
        assert_non_null(strstr(e.text, cases[i].end));
        assert_string_equal(strstr(e.text, cases[i].end), cases[i].end);
        assert_true(test_span_is(&e, e.file, "m.safetensors"));
        assert_true(test_span_is(&e, e.tensor, "io"));
        emr_model_destroy(&model);
    }
    emr_buffer_destroy(&file);
}

static void tensors_without_a_source_cannot_be_read(void **state)
{
    const uint64_t shape[] = {4};
    unsigned char got[16];
    emr_error error;
    emr_model *model = make_model();
    emr_tensor_desc d = describe("pushed", EMR_DTYPE_F32, 1, shape);
    (void)state;
    assert_int_equal(emr_model_add(model, &d, NULL), EMR_OK);
    assert_int_equal(emr_tensor_read(emr_model_tensor(model, 0), 0, got, 16, &error), EMR_ESTATE);
    assert_non_null(strstr(error.text, "pushed"));
    assert_int_equal(emr_tensor_read(emr_model_tensor(model, 0), 0, got, 17, NULL), EMR_EINVAL);
    emr_model_destroy(&model);
}

/* Refused with a sentence that names what it is about, and the model is as before. */
static void check_refused(emr_model *model, const emr_tensor_desc *d, emr_status expected, const char *named)
{
    emr_error error = {.text = ""};
    uint32_t n = emr_model_n_tensors(model);
    assert_int_equal(emr_model_add(model, d, &error), expected);
    assert_non_null(strstr(error.text, named));
    assert_int_equal(emr_model_n_tensors(model), n);
    if (d->name && strcmp(d->name, "taken") != 0)
        assert_null(emr_model_find_tensor(model, d->name));
}

static void wrong_descriptions_are_refused(void **state)
{
    const uint64_t huge[] = {0x80000000, 0x80000000, 4}, odd[] = {3}, past[] = {0x1000000000000000, 8};
    uint64_t many[EMR_RANK_MAX + 1];
    unsigned char bytes[16] = {0};
    emr_buffer *file = test_buffer_of(bytes, sizeof bytes);
    emr_io io = *emr_buffer_io(file), no_read = io;
    int fails = 0;
    emr_model *model = make_model();
    emr_tensor_desc d = describe("taken", EMR_DTYPE_F32, 0, NULL);
    (void)state;
    assert_int_equal(emr_model_add(model, &d, NULL), EMR_OK);
    check_refused(model, &d, EMR_EEXIST, "taken");
    d = describe(NULL, EMR_DTYPE_F32, 0, NULL);
    check_refused(model, &d, EMR_EINVAL, "name");
    d = describe("bad \xff name", EMR_DTYPE_F32, 0, NULL); /* strings are UTF-8 */
    check_refused(model, &d, EMR_EINVAL, "UTF-8");
    d = describe("no shape", EMR_DTYPE_F32, 1, NULL);
    check_refused(model, &d, EMR_EINVAL, "shape");
    d = describe("dtype", 99, 0, NULL);
    check_refused(model, &d, EMR_EINVAL, "'dtype'");
    d = describe("none", EMR_DTYPE_NONE, 0, NULL);
    check_refused(model, &d, EMR_EINVAL, "'none'");
    d = describe("huge", EMR_DTYPE_U8, 3, huge);
    check_refused(model, &d, EMR_EINVAL, "'huge'");
    d = describe("past", EMR_DTYPE_U8, 2, past); /* 2^63 elements */
    check_refused(model, &d, EMR_EINVAL, "'past'");
    d = describe("odd", EMR_DTYPE_F4, 1, odd);
    check_refused(model, &d, EMR_EINVAL, "'odd'");
    d = describe("odd6", EMR_DTYPE_F6_E2M3, 1, odd);
    check_refused(model, &d, EMR_EINVAL, "'odd6'");
    for (size_t i = 0; i <= EMR_RANK_MAX; i++)
        many[i] = 1;
    d = describe("many", EMR_DTYPE_F32, EMR_RANK_MAX + 1, many);
    check_refused(model, &d, EMR_EINVAL, "'many'");
    d = describe("two", EMR_DTYPE_U8, 0, NULL);
    d.data = bytes;
    d.io = &io;
    check_refused(model, &d, EMR_EINVAL, "'two'");
    d.io = NULL;
    d.compute = compute_squares;
    d.user = &fails;
    check_refused(model, &d, EMR_EINVAL, "'two'");
    d.data = NULL;
    d.io = &io;
    check_refused(model, &d, EMR_EINVAL, "'two'");
    d = describe("far", EMR_DTYPE_F32, 0, NULL);
    d.io = &io;
    d.offset = UINT64_MAX - 3;
    check_refused(model, &d, EMR_EINVAL, "'far'");
    no_read.read = NULL;
    d.offset = 0;
    d.io = &no_read;
    check_refused(model, &d, EMR_EINVAL, "read");
    d = describe("small", EMR_DTYPE_F32, 0, NULL);
    d.size--;
    check_refused(model, &d, EMR_EINVAL, "emr_tensor_desc");
    assert_int_equal(emr_model_add(NULL, &d, NULL), EMR_EINVAL);
    assert_int_equal(emr_model_add(model, NULL, NULL), EMR_EINVAL);
    d = describe("last", EMR_DTYPE_F32, EMR_RANK_MAX, many); /* and the model still works */
    assert_int_equal(emr_model_add(model, &d, NULL), EMR_OK);
    emr_model_destroy(&model);
    emr_buffer_destroy(&file);
}

/* 0 elements are no bytes, in whatever order the dimensions stand. */
static void zero_size_shapes_are_legal(void **state)
{
    const uint64_t shapes[][3] = {{0, 5, 7}, {5, 0, 7}, {5, 7, 0}, {0, 0, 0}};
    emr_model *model = make_model();
    (void)state;
    for (uint32_t i = 0; i < 4; i++) {
        const char name[] = {(char)('a' + i), '\0'};
        emr_tensor_desc d = describe(name, EMR_DTYPE_F4, 3, shapes[i]);
        assert_int_equal(emr_model_add(model, &d, NULL), EMR_OK);
        assert_int_equal(emr_tensor_bytes(emr_model_tensor(model, i)), 0);
        assert_int_equal(emr_tensor_read(emr_model_tensor(model, i), 0, NULL, 0, NULL), EMR_OK);
    }
    emr_model_destroy(&model);
}

static void check_entry(const emr_model *model, uint32_t i, const char *key, const char *value)
{
    const char *k, *v;
    assert_int_equal(emr_model_get_metadata(model, i, &k, &v), EMR_OK);
    assert_string_equal(k, key);
    assert_string_equal(v, value);
}

static void metadata_is_kept_in_order_and_replaced_in_place(void **state)
{
    const char *key, *value;
    emr_model *model = make_model();
    (void)state;
    assert_int_equal(emr_model_n_metadata(model), 0);
    assert_int_equal(emr_model_set_metadata(model, "format", "pt", NULL), EMR_OK);
    assert_int_equal(emr_model_set_metadata(model, "", "empty key", NULL), EMR_OK);
    assert_int_equal(emr_model_set_metadata(model, "author", "", NULL), EMR_OK);
    assert_int_equal(emr_model_set_metadata(model, "format", "np", NULL), EMR_OK);
    assert_int_equal(emr_model_n_metadata(model), 3);
    check_entry(model, 0, "format", "np");
    check_entry(model, 1, "", "empty key");
    check_entry(model, 2, "author", "");
    assert_int_equal(emr_model_get_metadata(model, 3, &key, &value), EMR_ENOTFOUND);
    assert_int_equal(emr_model_set_metadata(model, NULL, "x", NULL), EMR_EINVAL);
    assert_int_equal(emr_model_set_metadata(model, "x", NULL, NULL), EMR_EINVAL);
    assert_int_equal(emr_model_set_metadata(NULL, "x", "x", NULL), EMR_EINVAL);
    assert_int_equal(emr_model_set_metadata(model, "\xff", "x", NULL), EMR_EINVAL);
    assert_int_equal(emr_model_set_metadata(model, "x", "\xc3", NULL), EMR_EINVAL);
    assert_int_equal(emr_model_n_metadata(model), 3);
    assert_int_equal(emr_model_get_metadata(model, 0, NULL, &value), EMR_EINVAL);
    assert_int_equal(emr_model_get_metadata(model, 0, &key, NULL), EMR_EINVAL);
    emr_model_destroy(&model);
}

static void metadata_is_found_and_removed(void **state)
{
    test_allocator counts = {0, 0, SIZE_MAX};
    emr_allocator allocator = test_allocator_make(&counts);
    emr_model_options options = EMR_INIT(emr_model_options);
    emr_model *model;
    (void)state;
    options.allocator = &allocator;
    assert_int_equal(emr_model_create(&model, &options, NULL), EMR_OK);
    assert_null(emr_model_find_metadata(model, "a"));
    assert_int_equal(emr_model_remove_metadata(model, "a"), EMR_ENOTFOUND);
    for (char c = 'a'; c < 'k'; c++)
        assert_int_equal(emr_model_set_metadata(model, (char[]){c, '\0'}, (char[]){'1', c, '\0'}, NULL),
                         EMR_OK);
    assert_string_equal(emr_model_find_metadata(model, "c"), "1c");
    assert_null(emr_model_find_metadata(model, "C"));
    assert_null(emr_model_find_metadata(model, ""));
    assert_int_equal(emr_model_set_metadata(model, "c", "other", NULL), EMR_OK);
    assert_string_equal(emr_model_find_metadata(model, "c"), "other");
    assert_int_equal(emr_model_remove_metadata(model, "a"), EMR_OK); /* the first, one inside, the last */
    assert_int_equal(emr_model_remove_metadata(model, "f"), EMR_OK);
    assert_int_equal(emr_model_remove_metadata(model, "j"), EMR_OK);
    assert_int_equal(emr_model_remove_metadata(model, "f"), EMR_ENOTFOUND);
    assert_null(emr_model_find_metadata(model, "f"));
    assert_int_equal(emr_model_n_metadata(model), 7);
    static const char left[] = "bcdeghi";
    for (uint32_t i = 0; i < 7; i++) {
        const char key[] = {left[i], '\0'}, value[] = {'1', left[i], '\0'};
        check_entry(model, i, key, left[i] == 'c' ? "other" : value);
    }
    assert_int_equal(emr_model_set_metadata(model, "a", "again", NULL), EMR_OK); /* comes last now */
    check_entry(model, 7, "a", "again");
    emr_model_destroy(&model);
    assert_int_equal(counts.alive, 0);
}

/* Fails every request of building a model in turn: each failure is EMR_ENOMEM, changes nothing and leaks
 * nothing. */
static void running_out_of_memory_leaves_the_model_as_it_was(void **state)
{
    size_t k = 0;
    bool failed = true;
    (void)state;
    for (; failed; k++) {
        test_allocator counts = {0, 0, k};
        emr_allocator allocator = test_allocator_make(&counts);
        emr_model_options options = {.size = sizeof options, .name = "m", .allocator = &allocator};
        emr_model *model;
        failed = emr_model_create(&model, &options, NULL) != EMR_OK;
        assert_true(!failed || !model);
        for (int i = 0; model && i < 20; i++) {
            char name[16];
            snprintf(name, sizeof name, "t%d", i);
            emr_tensor_desc d = describe(name, EMR_DTYPE_F32, 0, NULL);
            emr_status status = emr_model_add(model, &d, NULL);
            assert_true(status == EMR_OK || status == EMR_ENOMEM);
            if (status) {
                failed = true;
                assert_int_equal(emr_model_n_tensors(model), i);
                assert_null(emr_model_find_tensor(model, name));
                assert_int_equal(emr_model_add(model, &d, NULL), EMR_OK);
            }
            status = emr_model_set_metadata(model, name, "x", NULL);
            assert_true(status == EMR_OK || status == EMR_ENOMEM);
            if (status) {
                failed = true;
                assert_int_equal(emr_model_n_metadata(model), i);
                assert_int_equal(emr_model_set_metadata(model, name, "x", NULL), EMR_OK);
            }
            assert_ptr_equal(emr_model_find_tensor(model, name), emr_model_tensor(model, (uint32_t)i));
        }
        emr_model_destroy(&model);
        assert_int_equal(counts.alive, 0);
    }
    assert_true(k > 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_shapes_and_order_are_kept),
        cmocka_unit_test(zeros_are_like_another_model),
        cmocka_unit_test(zeros_may_run_out_of_memory),
        cmocka_unit_test(a_model_without_a_name_is_called_model),
        cmocka_unit_test(tensors_got_earlier_stay_valid),
        cmocka_unit_test(every_source_gives_every_range),
        cmocka_unit_test(failing_sources_say_so),
        cmocka_unit_test(reasons_of_sources_are_passed_on),
        cmocka_unit_test(tensors_without_a_source_cannot_be_read),
        cmocka_unit_test(wrong_descriptions_are_refused),
        cmocka_unit_test(zero_size_shapes_are_legal),
        cmocka_unit_test(metadata_is_kept_in_order_and_replaced_in_place),
        cmocka_unit_test(metadata_is_found_and_removed),
        cmocka_unit_test(running_out_of_memory_leaves_the_model_as_it_was),
    };
    return cmocka_run_group_tests_name("model", tests, NULL, NULL);
}

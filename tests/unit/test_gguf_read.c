/* test_gguf_read.c - GGUF files opened: floats out of blocks, I/O and memory that fail, paths. */
#include "gguf_craft.h"

#include <math.h>

enum { ROW = 768, ROWS = 22, ALL = ROW * ROWS }; /* more than are unpacked at a time */

static const struct {
    uint32_t number;
    size_t elements, bytes;
} kinds[] = {{T_Q4_0, 32, 18},    {T_Q4_1, 32, 20},   {T_Q5_0, 32, 22},   {T_Q5_1, 32, 24},
             {T_Q8_0, 32, 34},    {T_IQ4_NL, 32, 18}, {T_Q2_K, 256, 84},  {T_Q3_K, 256, 110},
             {T_Q4_K, 256, 144},  {T_Q5_K, 256, 176}, {T_Q6_K, 256, 210}, {T_Q8_K, 256, 292},
             {T_IQ4_XS, 256, 136}};
enum { PLAIN = 5, KINDS = sizeof kinds / sizeof kinds[0] };

static size_t bytes_of_all(size_t kind)
{
    return ALL / kinds[kind].elements * kinds[kind].bytes;
}

/* A file with one tensor of blocks [ROWS, ROW], full of random bytes. */
static crafted random_blocks(size_t kind, uint64_t seed)
{
    part none = {0}, infos = {0};
    rng r = {seed};
    size_t n = bytes_of_all(kind);
    put_tensor(&infos, "blocks", 2, (uint64_t[]){ROW, ROWS}, kinds[kind].number, 0);
    crafted file = gguf_of(3, none, infos, 32, n, NULL);
    for (size_t i = file.n - n; i < file.n; i++)
        file.bytes[i] = (unsigned char)(rng_next(&r) >> 40);
    return file;
}

/* A half as its definition says, without the library. */
static float half_of(const unsigned char *p)
{
    unsigned bits = p[0] | (unsigned)p[1] << 8, exponent = bits >> 10 & 31, fraction = bits & 1023;
    double value = exponent == 31 ? (fraction ? (double)NAN : (double)INFINITY)
                   : exponent     ? ldexp(1 + fraction / 1024.0, (int)exponent - 15)
                                  : ldexp(fraction / 1024.0, -14);
    return (float)(bits >> 15 ? -value : value);
}

/* Element i of a block, as ggml's documentation of the types has it. */
static float expected_value(uint32_t type, const unsigned char *b, unsigned i)
{
    const unsigned char *low = b + (type == T_Q4_0 ? 2 : type == T_Q4_1 ? 4 : type == T_Q5_0 ? 6 : 8);
    float d = half_of(b), m = half_of(b + 2), scaled;
    int q;
    if (type == T_Q8_0) {
        q = b[2 + i] < 128 ? b[2 + i] : b[2 + i] - 256;
        return (float)q * d;
    }
    q = i < 16 ? low[i] % 16 : low[i - 16] / 16;
    if (type == T_Q5_0 || type == T_Q5_1)
        q += low[-4 + (int)(i / 8)] >> i % 8 & 1 ? 16 : 0;
    if (type == T_Q4_0 || type == T_Q5_0)
        return (float)(q - (type == T_Q4_0 ? 8 : 16)) * d;
    scaled = (float)q * d;
    return scaled + m;
}

static bool same_float(float a, const unsigned char *p)
{
    float b;
    uint32_t bits = p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    memcpy(&b, &bits, 4);
    return isnan(a) ? isnan(b) : memcmp(&a, &b, 4) == 0;
}

static const emr_checkpoint_read_options unpacking = {.size = sizeof unpacking, .dequantise = 1};

static emr_model *unpacked(crafted *file)
{
    emr_error error;
    emr_model *m;
    assert_ok(gguf_opened(file, &unpacking, &m, &error), &error);
    return m;
}

static void blocks_become_the_floats_that_they_stand_for(void **state)
{
    (void)state;
    for (size_t k = 0; k < PLAIN; k++) {
        crafted file = random_blocks(k, 11 + k);
        const unsigned char *blocks = file.bytes + file.n - bytes_of_all(k);
        emr_model *m = unpacked(&file);
        const emr_tensor *t = emr_model_find_tensor(m, "blocks");
        assert_int_equal(emr_tensor_dtype(t), EMR_DTYPE_F32);
        assert_int_equal(emr_tensor_rank(t), 2);
        assert_true(emr_tensor_shape(t)[0] == ROWS && emr_tensor_shape(t)[1] == ROW);
        unsigned char *got = malloc(ROW * ROWS * 4);
        assert_int_equal(emr_tensor_read(t, 0, got, ROW * ROWS * 4, NULL), EMR_OK);
        for (size_t i = 0; i < ROW * ROWS; i++)
            assert_true(same_float(expected_value(kinds[k].number, blocks + i / 32 * kinds[k].bytes, i % 32),
                                   got + 4 * i));
        free(got);
        emr_model_destroy(&m);
        crafted_free(&file);
    }
}

static void any_range_is_that_of_the_whole(void **state)
{
    enum { BYTES = ALL * 4 };
    rng r = {401};
    static unsigned char whole[BYTES], some[BYTES];
    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        crafted file = random_blocks(k, 21 + k);
        emr_model *m = unpacked(&file);
        const emr_tensor *t = emr_model_find_tensor(m, "blocks");
        assert_int_equal(emr_tensor_read(t, 0, whole, BYTES, NULL), EMR_OK);
        for (int i = 0; i < 200; i++) {
            size_t at = (size_t)rng_below(&r, BYTES), most = rng_below(&r, 2) ? 3000 : BYTES;
            size_t n = (size_t)rng_below(&r, (BYTES - at < most ? BYTES - at : most) + 1);
            memset(some, 0xee, sizeof some);
            assert_int_equal(emr_tensor_read(t, at, some, n, NULL), EMR_OK);
            assert_memory_equal(some, whole + at, n);
            assert_true(n == BYTES || some[n] == 0xee);
        }
        assert_int_equal(emr_tensor_read(t, BYTES, some, 1, NULL), EMR_EINVAL);
        emr_model_destroy(&m);
        crafted_free(&file);
    }
}

static void other_types_stay_what_they_are(void **state)
{
    crafted file = gguf_rich();
    emr_model *plain = assert_gguf(&file), *m = unpacked(&file);
    (void)state;
    for (uint32_t i = 0; i < emr_model_n_tensors(plain); i++) {
        const emr_tensor *a = emr_model_tensor(plain, i), *b = emr_model_tensor(m, i);
        bool is_changed = strcmp(emr_tensor_name(a), "q8_0") == 0 || strcmp(emr_tensor_name(a), "q4_k") == 0;
        assert_int_equal(emr_tensor_dtype(b), is_changed ? EMR_DTYPE_F32 : emr_tensor_dtype(a));
        assert_true(is_changed || emr_tensor_bytes(a) == emr_tensor_bytes(b));
        assert_null(emr_gguf_blocks(b, NULL)); /* both tensors of blocks became floats */
    }
    emr_model_destroy(&plain);
    emr_model_destroy(&m);
    crafted_free(&file);
}

/* A header that is read in many pieces, with a tensor after it. */
static crafted long_header(void)
{
    part kv = {0}, infos = {0};
    put_key(&kv, "tokens", V_ARRAY);
    put_number(&kv, V_STRING, 4);
    put_number(&kv, 30000, 8);
    for (unsigned i = 0; i < 30000; i++)
        put_string(&kv, "a token of some length", i % 22);
    put_tensor(&infos, "x", 1, (uint64_t[]){8}, T_F32, 0);
    return gguf_of(3, kv, infos, 32, 32, NULL);
}

static void long_headers_are_read_in_pieces(void **state)
{
    crafted file = long_header();
    test_io counts = {.inner = *crafted_io(&file), .fail_read = SIZE_MAX, .fail_write = SIZE_MAX};
    emr_io io = test_io_make(&counts);
    emr_model *m;
    unsigned char x[32];
    (void)state;
    assert_int_equal(emr_gguf_open(&m, &io, GGUF_NAME, NULL, NULL), EMR_OK);
    assert_true(counts.reads > 3 && counts.reads < 20);
    const emr_tensor *header = emr_model_find_tensor(m, EMR_GGUF_HEADER);
    unsigned char *got = malloc((size_t)emr_tensor_bytes(header));
    assert_int_equal(emr_tensor_read(header, 0, got, (size_t)emr_tensor_bytes(header), NULL), EMR_OK);
    assert_memory_equal(got, file.bytes, (size_t)emr_tensor_bytes(header));
    assert_int_equal(emr_tensor_read(emr_model_find_tensor(m, "x"), 0, x, 32, NULL), EMR_OK);
    assert_memory_equal(x, file.bytes + file.n - 32, 32);
    free(got);
    emr_model_destroy(&m);
    crafted_free(&file);
}

static void reads_that_fail_are_said(void **state)
{
    crafted file = long_header();
    emr_model *m;
    emr_error error;
    size_t k = 0;
    (void)state;
    for (;; k++) {
        test_io counts = {.inner = *crafted_io(&file), .fail_read = k, .fail_write = SIZE_MAX};
        counts.why = "the connection was lost";
        counts.system = 104;
        emr_io io = test_io_make(&counts);
        emr_status status = emr_gguf_open(&m, &io, GGUF_NAME, NULL, &error);
        if (!status)
            break;
        assert_int_equal(status, EMR_EIO);
        assert_null(m);
        assert_true(is_sentence(&error, GGUF_NAME, "read"));
        assert_true(is_sentence(&error, GGUF_NAME, ": the connection was lost"));
        assert_true(test_span_is(&error, error.file, GGUF_NAME));
        assert_int_equal(error.system, 104);
    }
    assert_true(k > 3);
    emr_model_destroy(&m);
    crafted_free(&file);
    file = random_blocks(4, 5);
    emr_buffer *shorter = test_buffer_of(file.bytes, file.n - 1);
    test_io shrinks = {.inner = *crafted_io(&file), .other = *emr_buffer_io(shorter)};
    shrinks.fail_read = shrinks.fail_write = shrinks.other_at = SIZE_MAX;
    const emr_io io = test_io_make(&shrinks);
    assert_ok(emr_gguf_open(&m, &io, GGUF_NAME, &unpacking, &error), &error);
    shrinks.other_at = 0; /* after it was opened */
    unsigned char some[128];
    const emr_tensor *t = emr_model_find_tensor(m, "blocks");
    assert_int_equal(emr_tensor_read(t, 0, some, 128, &error), EMR_OK);
    assert_int_equal(emr_tensor_read(t, emr_tensor_bytes(t) - 4, some, 4, &error), EMR_EIO);
    assert_true(is_sentence(&error, GGUF_NAME, "'blocks'"));
    emr_model_destroy(&m);
    emr_buffer_destroy(&shorter);
    crafted_free(&file);
}

/* A file that becomes another one, cut off or of another length, from each look at it on. */
static void files_that_change_stay_safe(void **state)
{
    crafted file = long_header(), other = gguf_rich();
    const size_t lengths[] = {0, 23, 100, 40000, file.n - 1};
    size_t n_opened = 0;
    (void)state;
    for (size_t i = 0; i < 6; i++) {
        emr_buffer *then = test_buffer_of(i < 5 ? file.bytes : other.bytes, i < 5 ? lengths[i] : other.n);
        for (size_t at = 0; at < 12; at++) {
            test_allocator counts = {0, 0, SIZE_MAX};
            emr_allocator allocator = test_allocator_make(&counts);
            emr_checkpoint_read_options options = unpacking;
            test_io looks = {.inner = *crafted_io(&file), .fail_read = SIZE_MAX, .fail_write = SIZE_MAX};
            looks.other = *emr_buffer_io(then);
            looks.other_at = at;
            emr_io io = test_io_make(&looks);
            emr_model *m;
            emr_error error = {.text = ""};
            options.allocator = &allocator;
            emr_status status = emr_gguf_open(&m, &io, GGUF_NAME, &options, &error);
            assert_true(status == EMR_OK || status == EMR_EIO || status == EMR_EFORMAT);
            assert_true(status == EMR_OK || is_sentence(&error, GGUF_NAME, ""));
            n_opened += !status;
            if (!status) { /* what is written, if anything is, is a GGUF file */
                emr_buffer *buffer = test_buffer_new();
                emr_model *back;
                status = emr_gguf_write(m, emr_buffer_io(buffer), NULL, &error);
                if (!status) {
                    assert_ok(emr_gguf_open(&back, emr_buffer_io(buffer), GGUF_NAME, NULL, &error), &error);
                    emr_model_destroy(&back);
                }
                emr_buffer_destroy(&buffer);
            }
            emr_model_destroy(&m);
            assert_int_equal(counts.alive, 0);
        }
        emr_buffer_destroy(&then);
    }
    assert_true(n_opened > 10);
    crafted_free(&file);
    crafted_free(&other);
}

static emr_status no_length(void *user, uint64_t *bytes, emr_error *error)
{
    (void)user, (void)bytes;
    return emr_error_set(error, 5, 3, NULL, "a stream has none");
}

static void incomplete_calls_are_refused(void **state)
{
    crafted file = gguf_rich();
    const emr_io good = *crafted_io(&file);
    emr_io io = good;
    emr_model *m = (emr_model *)&io;
    emr_error error;
    (void)state;
    io.read = NULL;
    assert_int_equal(emr_gguf_open(&m, &io, GGUF_NAME, NULL, &error), EMR_EINVAL);
    assert_null(m);
    assert_true(is_sentence(&error, GGUF_NAME, "read"));
    io = good;
    io.length = no_length;
    assert_int_equal(emr_gguf_open(&m, &io, GGUF_NAME, NULL, &error), EMR_EIO);
    assert_true(is_sentence(&error, GGUF_NAME, "length"));
    assert_true(is_sentence(&error, GGUF_NAME, ": a stream has none"));
    assert_int_equal(error.system, 3);
    assert_int_equal(emr_gguf_open(&m, NULL, GGUF_NAME, NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_gguf_open(NULL, &good, GGUF_NAME, NULL, &error), EMR_EINVAL);
    assert_non_null(strstr(error.text, "emr_gguf_open"));
    emr_checkpoint_read_options early = {.size = offsetof(emr_checkpoint_read_options, dequantise)};
    assert_int_equal(emr_gguf_open(&m, &good, NULL, &early, &error), EMR_EINVAL);
    assert_int_equal(emr_gguf_open(&m, &good, NULL, NULL, &error), EMR_OK);
    assert_string_equal(emr_model_name(m), "model");
    assert_int_equal(emr_tensor_dtype(emr_model_find_tensor(m, "q8_0")), EMR_DTYPE_U8);
    emr_model_destroy(&m);
    crafted_free(&file);
}

static void running_out_of_memory_is_said_and_leaks_nothing(void **state)
{
    crafted files[] = {gguf_rich(), long_header()};
    (void)state;
    for (size_t f = 0; f < 2; f++) {
        size_t k = 0;
        for (bool failed = true; failed; k++) {
            test_allocator counts = {0, 0, k};
            emr_allocator allocator = test_allocator_make(&counts);
            emr_checkpoint_read_options options = unpacking;
            options.allocator = &allocator;
            emr_model *m;
            emr_error error = {.text = ""};
            emr_status status = gguf_opened(&files[f], &options, &m, &error);
            failed = status != EMR_OK;
            assert_true(failed ? status == EMR_ENOMEM && !m && error.text[0] : m != NULL);
            emr_model_destroy(&m);
            assert_int_equal(counts.alive, 0);
        }
        assert_true(k > 5);
        crafted_free(&files[f]);
    }
}

static void check_opens(const char *path, const char *tensor)
{
    emr_model *m;
    emr_error error;
    for (uint32_t map = 0; map < 2; map++) {
        emr_checkpoint_read_options options = EMR_INIT(emr_checkpoint_read_options);
        options.map = map;
        assert_ok(emr_checkpoint_open(&m, path, &options, &error), &error);
        assert_non_null(emr_model_find_tensor(m, tensor));
        emr_model_destroy(&m);
    }
}

static void check_refused(const char *path, emr_status expected, const char *word)
{
    emr_model *m;
    emr_error error = {.text = ""};
    assert_int_equal(emr_checkpoint_open(&m, path, NULL, &error), expected);
    assert_null(m);
    assert_true(is_sentence(&error, strstr(path, "index") ? "m.gguf" : path, word));
}

/* By its name or by how it begins; in a directory, where nothing else is there. */
static void files_open_by_path(void **state)
{
    char *directory = test_directory_make();
    char *named = test_path(directory, "m.gguf"), *other = test_path(directory, "n.gguf");
    char *unnamed = test_path(directory, "blob"), *safe = test_path(directory, "s.safetensors");
    crafted file = gguf_rich(),
            plain = craft("{\"y\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]}}", 8);
    (void)state;
    check_refused(directory, EMR_EFORMAT, ".gguf");
    test_write_file(unnamed, file.bytes, file.n);
    check_opens(unnamed, EMR_GGUF_HEADER);
    test_write_file(named, file.bytes, file.n);
    check_opens(named, EMR_GGUF_HEADER);
    check_opens(directory, EMR_GGUF_HEADER);
    test_write_file(other, file.bytes, file.n);
    check_refused(directory, EMR_EFORMAT, "several");
    test_write_file(safe, plain.bytes, plain.n);
    check_opens(directory, "y");
    char *index = test_path(directory, "model.safetensors.index.json");
    static const char map[] = "{\"weight_map\":{\"f32\":\"m.gguf\",\"" EMR_GGUF_HEADER "\":\"m.gguf\"}}";
    test_write_file(index, map, strlen(map)); /* shards are safetensors, whatever they are called */
    check_refused(index, EMR_EFORMAT, "safetensors");
    free(index);
    test_write_file(named, plain.bytes, plain.n); /* the name says what it must be */
    check_refused(named, EMR_EFORMAT, "'GGUF'");
    test_write_file(named, "GGUF", 4);
    check_refused(named, EMR_EFORMAT, "truncated");
    crafted_free(&file);
    crafted_free(&plain);
    free(named), free(other), free(unnamed), free(safe);
    test_directory_remove(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_become_the_floats_that_they_stand_for),
        cmocka_unit_test(any_range_is_that_of_the_whole),
        cmocka_unit_test(other_types_stay_what_they_are),
        cmocka_unit_test(long_headers_are_read_in_pieces),
        cmocka_unit_test(reads_that_fail_are_said),
        cmocka_unit_test(files_that_change_stay_safe),
        cmocka_unit_test(incomplete_calls_are_refused),
        cmocka_unit_test(running_out_of_memory_is_said_and_leaks_nothing),
        cmocka_unit_test(files_open_by_path),
    };
    return cmocka_run_group_tests_name("GGUF opened", tests, NULL, NULL);
}

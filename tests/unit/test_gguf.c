/* test_gguf.c - the rules of the GGUF format, one by one: what is legal opens, what is not is refused. */
#include "gguf_craft.h"

#include <stdio.h>

static const part none;

/* A file with these tensors and no metadata. */
static crafted with_infos(part infos, size_t data)
{
    return gguf_of(3, none, infos, 32, data, NULL);
}

/* A file with this metadata and no tensors. */
static crafted with_kv(part kv)
{
    return gguf_of(3, kv, none, 32, 0, NULL);
}

/* A file with one tensor. */
static crafted one(const char *name, uint32_t n_dims, const uint64_t *dims, uint32_t type, uint64_t offset,
                   size_t data)
{
    part infos = {0};
    put_tensor(&infos, name, n_dims, dims, type, offset);
    return with_infos(infos, data);
}

/* A file with one value. */
static crafted value(const char *key, uint32_t type, uint64_t number, size_t width)
{
    part kv = {0};
    put_key(&kv, key, type);
    put_number(&kv, number, width);
    return with_kv(kv);
}

static void opens_at(crafted file, int line)
{
    emr_model *model = assert_gguf_at(&file, line);
    emr_model_destroy(&model);
    crafted_free(&file);
}
#define opens(file) opens_at((file), __LINE__)

static void check_tensor(const emr_model *m, const char *name, emr_dtype dtype, uint32_t rank,
                         const uint64_t *shape, const unsigned char *data)
{
    const emr_tensor *t = emr_model_find_tensor(m, name);
    assert_non_null(t);
    assert_int_equal(emr_tensor_dtype(t), dtype);
    assert_int_equal(emr_tensor_rank(t), rank);
    for (uint32_t i = 0; i < rank; i++)
        assert_true(emr_tensor_shape(t)[i] == shape[i]);
    unsigned char *got = malloc((size_t)emr_tensor_bytes(t) + 1);
    assert_int_equal(emr_tensor_read(t, 0, got, (size_t)emr_tensor_bytes(t), NULL), EMR_OK);
    assert_memory_equal(got, data, (size_t)emr_tensor_bytes(t));
    free(got);
}

/* Dimensions come the other way round; blocks are bytes; the header is one more tensor. */
static void tensors_come_as_the_file_has_them(void **state)
{
    static const char *const names[] = {"f32", "q8_0", "bf16", "scalar", "nothing", "q4_k", EMR_GGUF_HEADER};
    crafted file = gguf_rich();
    emr_model *m = assert_gguf(&file);
    const unsigned char *data = file.bytes + file.n - 416;
    (void)state;
    assert_int_equal(emr_model_n_tensors(m), 7);
    for (uint32_t i = 0; i < 7; i++)
        assert_string_equal(emr_tensor_name(emr_model_tensor(m, i)), names[i]);
    check_tensor(m, "f32", EMR_DTYPE_F32, 2, (uint64_t[]){3, 2}, data);
    check_tensor(m, "q8_0", EMR_DTYPE_U8, 2, (uint64_t[]){2, 68}, data + 32);
    check_tensor(m, "bf16", EMR_DTYPE_BF16, 1, (uint64_t[]){5}, data + 192);
    check_tensor(m, "scalar", EMR_DTYPE_I8, 0, NULL, data + 224);
    check_tensor(m, "nothing", EMR_DTYPE_F32, 2, (uint64_t[]){0, 4}, data + 256);
    check_tensor(m, "q4_k", EMR_DTYPE_U8, 1, (uint64_t[]){144}, data + 256);
    uint64_t header = emr_tensor_bytes(emr_model_find_tensor(m, EMR_GGUF_HEADER));
    assert_true(header <= file.n - 416 && header + 32 > file.n - 416);   /* only padding is between */
    assert_memory_equal(file.bytes + header - 8, "\0\1\0\0\0\0\0\0", 8); /* the last offset, 256 */
    check_tensor(m, EMR_GGUF_HEADER, EMR_DTYPE_U8, 1, &header, file.bytes);
    emr_model_destroy(&m);
    file.bytes[4] = 2;
    m = assert_gguf(&file);
    assert_int_equal(emr_model_n_tensors(m), 7);
    emr_model_destroy(&m);
    crafted_free(&file);
}

/* The types of ggml: number, elements of a block, bytes of a block, and the dtype if that is not bytes. */
static const struct {
    uint32_t number, elements, bytes;
    emr_dtype dtype;
} types[] = {
    {0, 1, 4, EMR_DTYPE_F32},     {1, 1, 2, EMR_DTYPE_F16},     {2, 32, 18, EMR_DTYPE_U8},
    {3, 32, 20, EMR_DTYPE_U8},    {6, 32, 22, EMR_DTYPE_U8},    {7, 32, 24, EMR_DTYPE_U8},
    {8, 32, 34, EMR_DTYPE_U8},    {9, 32, 36, EMR_DTYPE_U8},    {10, 256, 84, EMR_DTYPE_U8},
    {11, 256, 110, EMR_DTYPE_U8}, {12, 256, 144, EMR_DTYPE_U8}, {13, 256, 176, EMR_DTYPE_U8},
    {14, 256, 210, EMR_DTYPE_U8}, {15, 256, 292, EMR_DTYPE_U8}, {16, 256, 66, EMR_DTYPE_U8},
    {17, 256, 74, EMR_DTYPE_U8},  {18, 256, 98, EMR_DTYPE_U8},  {19, 256, 50, EMR_DTYPE_U8},
    {20, 32, 18, EMR_DTYPE_U8},   {21, 256, 110, EMR_DTYPE_U8}, {22, 256, 82, EMR_DTYPE_U8},
    {23, 256, 136, EMR_DTYPE_U8}, {24, 1, 1, EMR_DTYPE_I8},     {25, 1, 2, EMR_DTYPE_I16},
    {26, 1, 4, EMR_DTYPE_I32},    {27, 1, 8, EMR_DTYPE_I64},    {28, 1, 8, EMR_DTYPE_F64},
    {29, 256, 56, EMR_DTYPE_U8},  {30, 1, 2, EMR_DTYPE_BF16},   {34, 256, 54, EMR_DTYPE_U8},
    {35, 256, 66, EMR_DTYPE_U8},  {39, 32, 17, EMR_DTYPE_U8},   {40, 64, 36, EMR_DTYPE_U8},
    {41, 128, 18, EMR_DTYPE_U8},  {42, 64, 18, EMR_DTYPE_U8},
};

/* Blocks are named and counted; also where the tensor is passed on by another model. */
static void check_blocks(const emr_model *m, const char *name, uint32_t block, uint64_t elements)
{
    emr_model *other = test_model_new("other");
    assert_int_equal(emr_model_add_tensor(other, emr_model_find_tensor(m, name), NULL), EMR_OK);
    for (int i = 0; i < 2; i++) {
        uint64_t found = 0;
        const char *type = emr_gguf_blocks(emr_model_find_tensor(i ? other : m, name), &found);
        assert_int_equal(type != NULL, block > 1);
        assert_true(found == (block > 1 ? elements : 0));
        assert_true(emr_gguf_blocks(emr_model_find_tensor(i ? other : m, name), NULL) == type);
    }
    assert_null(emr_gguf_blocks(emr_model_find_tensor(m, EMR_GGUF_HEADER), NULL));
    emr_model_destroy(&other);
}

static void every_type_has_its_size_and_others_are_refused(void **state)
{
    size_t known = 0;
    (void)state;
    for (uint32_t number = 0; number < 200; number++) {
        if (known == sizeof types / sizeof types[0] || types[known].number != number) {
            char word[32];
            snprintf(word, sizeof word, "type %u", number);
            assert_no_gguf(one("strange", 1, (uint64_t[]){256}, number, 0, 64), EMR_EFORMAT, word);
            assert_no_gguf(one("strange", 1, (uint64_t[]){256}, number, 0, 64), EMR_EFORMAT, "'strange'");
            continue;
        }
        uint64_t rows[] = {2 * types[known].elements, 3}, shape[] = {3, 2};
        size_t bytes = 6 * types[known].bytes;
        if (types[known].elements > 1)
            shape[1] = 2 * types[known].bytes;
        crafted file = one("x", 2, rows, number, 0, bytes);
        emr_model *m = assert_gguf(&file);
        check_tensor(m, "x", types[known].dtype, 2, shape, file.bytes + file.n - bytes);
        check_blocks(m, "x", types[known].elements, 2 * types[known].elements * 3);
        emr_model_destroy(&m);
        crafted_free(&file);
        assert_no_gguf(one("x", 2, rows, number, 0, bytes - 1), EMR_EFORMAT, "truncated");
        rows[0]++;
        if (types[known].elements > 1)
            assert_no_gguf(one("x", 2, rows, number, 0, bytes), EMR_EFORMAT, "blocks");
        known++;
    }
    assert_int_equal(known, sizeof types / sizeof types[0]);
    assert_no_gguf(one("strange", 1, (uint64_t[]){4}, UINT32_MAX, 0, 64), EMR_EFORMAT, "4294967295");
}

static void versions_2_and_3_of_this_byte_order_are_read(void **state)
{
    (void)state;
    opens(gguf_of(2, none, none, 32, 0, NULL));
    opens(gguf_of(3, none, none, 32, 0, NULL));
    assert_no_gguf(gguf_of(0, none, none, 32, 0, NULL), EMR_EUNSUPPORTED, "version 0");
    assert_no_gguf(gguf_of(1, none, none, 32, 0, NULL), EMR_EUNSUPPORTED, "version 1");
    assert_no_gguf(gguf_of(4, none, none, 32, 0, NULL), EMR_EUNSUPPORTED, "version 4");
    assert_no_gguf(gguf_of(0x03000000, none, none, 32, 0, NULL), EMR_EUNSUPPORTED, "big-endian");
    crafted file = gguf_of(3, none, none, 32, 0, NULL);
    file.bytes[3] = 'f';
    assert_no_gguf(file, EMR_EFORMAT, "'GGUF'");
}

static void counts_are_no_more_than_there_can_be(void **state)
{
    static const uint64_t counts[][2] = {{1, 0},          {0, 1},          {UINT64_MAX, 0},
                                         {0, UINT64_MAX}, {INT64_MAX, 0},  {0, (uint64_t)1 << 61},
                                         {1, 1},          {0xffffffff, 0}, {UINT64_MAX, UINT64_MAX}};
    (void)state;
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        assert_no_gguf(gguf_of(3, none, none, 32, 0, counts[i]), EMR_EFORMAT, "truncated");
}

/* Every beginning of a file is refused, but for the last one's padding. */
static void truncated_files_are_refused_at_every_length(void **state)
{
    crafted file = gguf_rich();
    (void)state;
    for (size_t n = 0; n < file.n - 16; n++) {
        crafted cut = {.bytes = malloc(n + 1), .n = n};
        memcpy(cut.bytes, file.bytes, n);
        assert_no_gguf(cut, EMR_EFORMAT, "truncated");
    }
    for (size_t n = file.n - 16; n <= file.n; n++) {
        crafted cut = {.bytes = malloc(n + 1), .n = n};
        memcpy(cut.bytes, file.bytes, n);
        opens(cut);
    }
    crafted longer = {.bytes = malloc(file.n + 1), .n = file.n + 1};
    memcpy(longer.bytes, file.bytes, file.n);
    longer.bytes[file.n] = 0;
    assert_no_gguf(longer, EMR_EFORMAT, "after the last tensor");
    crafted_free(&file);
}

static void keys_are_some_text_and_distinct(void **state)
{
    static char longest[65537];
    part kv = {0}, twice = {0}, nul = {0};
    (void)state;
    memset(longest, 'k', 65535);
    opens(value(longest, V_U8, 1, 1));
    longest[65535] = 'k';
    assert_no_gguf(value(longest, V_U8, 1, 1), EMR_EFORMAT, "65536 bytes");
    assert_no_gguf(value("", V_U64, 1, 8), EMR_EFORMAT, "key number 0");
    put_key(&kv, "fine", V_U8);
    put_number(&kv, 1, 1);
    put_key(&kv, "\xc3(", V_U8);
    put_number(&kv, 1, 1);
    assert_no_gguf(with_kv(kv), EMR_EFORMAT, "key number 1 is not valid UTF-8");
    put_string(&nul, "a\0b", 3);
    put_number(&nul, V_U8, 4);
    put_number(&nul, 1, 1);
    nul.count = 1;
    assert_no_gguf(with_kv(nul), EMR_EFORMAT, "UTF-8");
    for (int i = 0; i < 3; i++) {
        put_key(&twice, i == 1 ? "between" : "the.same", V_U16);
        put_number(&twice, (uint64_t)i, 2);
    }
    assert_no_gguf(with_kv(twice), EMR_EFORMAT, "'the.same'");
}

static void values_are_of_known_types(void **state)
{
    (void)state;
    for (uint32_t type = N_V; type < N_V + 20; type++)
        assert_no_gguf(value("odd.one", type, 0, 8), EMR_EFORMAT, "'odd.one'");
    assert_no_gguf(value("odd.one", UINT32_MAX, 0, 8), EMR_EFORMAT, "unknown type");
    opens(value("b", V_BOOL, 0, 1));
    opens(value("b", V_BOOL, 1, 1));
    assert_no_gguf(value("b", V_BOOL, 2, 1), EMR_EFORMAT, "boolean");
    assert_no_gguf(value("b", V_BOOL, 255, 1), EMR_EFORMAT, "boolean");
    assert_no_gguf(value("s", V_STRING, 1, 8), EMR_EFORMAT, "truncated");
    assert_no_gguf(value("s", V_STRING, UINT64_MAX, 8), EMR_EFORMAT, "truncated");
    assert_no_gguf(value("s", V_STRING, (uint64_t)1 << 63, 8), EMR_EFORMAT, "truncated");
    opens(value("s", V_STRING, 0, 8));
}

/* An array of `count` elements of a type, with those bytes. */
static crafted array(uint32_t type, uint64_t count, const void *bytes, size_t n)
{
    part kv = {0};
    put_key(&kv, "the.array", V_ARRAY);
    put_number(&kv, type, 4);
    put_number(&kv, count, 8);
    put(&kv, bytes, n);
    return with_kv(kv);
}

/* Arrays in arrays, that many, the innermost of 3 bytes. */
static crafted nested(size_t depth)
{
    part kv = {0};
    put_key(&kv, "deep", V_ARRAY);
    for (size_t i = 0; i < depth; i++) {
        put_number(&kv, i + 1 < depth ? V_ARRAY : V_U8, 4);
        put_number(&kv, i + 1 < depth ? 1 : 3, 8);
    }
    put(&kv, "abc", 3);
    return with_kv(kv);
}

static void arrays_hold_what_they_say(void **state)
{
    static const uint64_t counts[] = {5,         1 << 20,   (uint64_t)1 << 61, (uint64_t)1 << 62,
                                      INT64_MAX, UINT64_MAX};
    (void)state;
    opens(array(V_U32, 2, "12345678", 8));
    opens(array(V_F64, 0, "", 0));
    opens(array(V_BOOL, 3, "\0\1\1", 3));
    opens(array(V_STRING, 1, "\2\0\0\0\0\0\0\0ab", 10));
    assert_no_gguf(array(V_BOOL, 3, "\0\1\2", 3), EMR_EFORMAT, "'the.array'");
    assert_no_gguf(array(N_V, 1, "12345678", 8), EMR_EFORMAT, "'the.array'");
    assert_no_gguf(array(N_V, 0, "", 0), EMR_EFORMAT, "unknown type");
    for (uint32_t type = 0; type < N_V; type++)
        for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
            assert_no_gguf(array(type, counts[i], "\1", 1), EMR_EFORMAT, GGUF_NAME);
    assert_no_gguf(array(V_U64, UINT64_MAX, "\1", 1), EMR_EFORMAT, "too long");
    for (size_t depth = 1; depth <= 4; depth++)
        opens(nested(depth));
    assert_no_gguf(nested(5), EMR_EFORMAT, "nested");
    assert_no_gguf(nested(20000), EMR_EFORMAT, "nested");
}

/* Two tensors of 4 bytes in a file of that alignment. */
static crafted aligned(uint32_t alignment, size_t step)
{
    part kv = {0}, infos = {0};
    put_key(&kv, "general.alignment", V_U32);
    put_number(&kv, alignment, 4);
    put_tensor(&infos, "a", 1, (uint64_t[]){1}, T_F32, 0);
    put_tensor(&infos, "b", 1, (uint64_t[]){1}, T_F32, step);
    return gguf_of(3, kv, infos, alignment && alignment < step ? alignment : step, step + 4, NULL);
}

static void alignment_is_what_the_metadata_say(void **state)
{
    static const uint32_t right[] = {4, 8, 16, 24, 32, 40, 64, 4096}, wrong[] = {0, 3, 6, 12, 33, UINT32_MAX};
    (void)state;
    for (size_t i = 0; i < sizeof right / sizeof right[0]; i++) {
        crafted file = aligned(right[i], right[i]);
        emr_model *m = assert_gguf(&file);
        check_tensor(m, "b", EMR_DTYPE_F32, 1, (uint64_t[]){1}, file.bytes + file.n - 4);
        emr_model_destroy(&m);
        crafted_free(&file);
    }
    opens(aligned(1, 4));
    opens(aligned(2, 4));
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_no_gguf(aligned(wrong[i], 32), EMR_EFORMAT, "'general.alignment'");
    assert_no_gguf(aligned(1 << 21, 1 << 21), EMR_EFORMAT, "1,048,576");
    assert_no_gguf(aligned(64, 32), EMR_EFORMAT, "not aligned");
    assert_no_gguf(value("general.alignment", V_U64, 32, 8), EMR_EFORMAT, "'general.alignment'");
    assert_no_gguf(value("general.alignment", V_I32, 32, 4), EMR_EFORMAT, "'general.alignment'");
}

static void names_are_some_text_and_distinct(void **state)
{
    char name[129] = "";
    part twice = {0};
    (void)state;
    memset(name, 'n', 127); /* more than ggml's own 63: stable-diffusion.cpp and others write them */
    opens(one(name, 1, (uint64_t[]){1}, T_F32, 0, 4));
    name[127] = 'n';
    assert_no_gguf(one(name, 1, (uint64_t[]){1}, T_F32, 0, 4), EMR_EFORMAT, "128 bytes");
    assert_no_gguf(one("", 1, (uint64_t[]){1}, T_F32, 0, 4), EMR_EFORMAT, "tensor number 0");
    assert_no_gguf(one("\xed\xa0\x80", 1, (uint64_t[]){1}, T_F32, 0, 4), EMR_EFORMAT, "UTF-8");
    put_tensor(&twice, "again", 1, (uint64_t[]){8}, T_F32, 0);
    put_tensor(&twice, "other", 1, (uint64_t[]){8}, T_F32, 32);
    put_tensor(&twice, "again", 1, (uint64_t[]){8}, T_F32, 64);
    assert_no_gguf(with_infos(twice, 96), EMR_EFORMAT, "'again'");
    assert_no_gguf(one(EMR_GGUF_HEADER, 1, (uint64_t[]){1}, T_F32, 0, 4), EMR_EUNSUPPORTED, EMR_GGUF_HEADER);
}

static void shapes_are_small_enough(void **state)
{
    static const uint64_t large[][4] = {
        {(uint64_t)1 << 62, 4, 1, 1},  {(uint64_t)1 << 32, (uint64_t)1 << 32, 1, 1},
        {3, UINT64_MAX / 3 + 1, 1, 1}, {(uint64_t)1 << 20, (uint64_t)1 << 20, (uint64_t)1 << 20, 16},
        {UINT64_MAX, 1, 1, 1},         {(uint64_t)1 << 63, 2, 1, 1}};
    (void)state;
    for (size_t i = 0; i < sizeof large / sizeof large[0]; i++) {
        assert_no_gguf(one("huge", 4, large[i], T_F32, 0, 4), EMR_EFORMAT, "'huge'");
        assert_no_gguf(one("huge", 4, large[i], T_F32, 0, 4), EMR_EFORMAT, "too large");
    }
    assert_no_gguf(one("huge", 1, (uint64_t[]){(uint64_t)1 << 60}, T_F32, 0, 4), EMR_EFORMAT, "'huge'");
    assert_no_gguf(one("x", 5, (uint64_t[]){1, 1, 1, 1, 1}, T_F32, 0, 4), EMR_EFORMAT, "4 dimensions");
    part infinite = {.count = 1};
    put_string(&infinite, "x", 1);
    put_number(&infinite, UINT32_MAX, 4);
    put(&infinite, large, 40);
    assert_no_gguf(with_infos(infinite, 4), EMR_EFORMAT, "4 dimensions");
    assert_no_gguf(one("x", 0, NULL, T_Q8_0, 0, 34), EMR_EFORMAT, "blocks");
    opens(one("x", 4, (uint64_t[]){1, 1, 1, 1}, T_F32, 0, 4));
    opens(one("x", 3, (uint64_t[]){0, UINT64_MAX, UINT64_MAX}, T_F32, 0, 0));
    opens(one("x", 2, (uint64_t[]){32, 0}, T_Q8_0, 0, 0));
}

/* Three tensors of 32 bytes and one of none, at these places. */
static crafted placed(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    part infos = {0};
    put_tensor(&infos, "a", 1, (uint64_t[]){8}, T_F32, a);
    put_tensor(&infos, "b", 1, (uint64_t[]){8}, T_F32, b);
    put_tensor(&infos, "c", 1, (uint64_t[]){0}, T_F32, c);
    put_tensor(&infos, "d", 1, (uint64_t[]){8}, T_F32, d);
    return with_infos(infos, 96);
}

static void data_tile_the_file(void **state)
{
    (void)state;
    opens(placed(0, 32, 64, 64));
    assert_no_gguf(placed(32, 0, 64, 64), EMR_EFORMAT, "'a': there is a hole");
    assert_no_gguf(placed(0, 0, 64, 64), EMR_EFORMAT, "'b': its data overlap");
    assert_no_gguf(placed(0, 64, 64, 64), EMR_EFORMAT, "'b': there is a hole");
    assert_no_gguf(placed(0, 32, 0, 64), EMR_EFORMAT, "'c'");
    assert_no_gguf(placed(0, 32, 64, 96), EMR_EFORMAT, "'d': there is a hole");
    assert_no_gguf(placed(0, 32, 64, 65), EMR_EFORMAT, "'d': its data are not aligned");
    assert_no_gguf(placed(0, UINT64_MAX - 31, 64, 64), EMR_EFORMAT, "'b'");
    assert_no_gguf(one("x", 1, (uint64_t[]){8}, T_F32, 0, 64), EMR_EFORMAT, "after the last tensor");
    assert_no_gguf(one("x", 1, (uint64_t[]){8}, T_F32, 0, 28), EMR_EFORMAT, "'x'");
    crafted empty = gguf_of(3, none, none, 32, 33, NULL);
    assert_no_gguf(empty, EMR_EFORMAT, "after the last tensor");
}

static void parts_of_a_split_model_are_refused(void **state)
{
    (void)state;
    opens(value("split.count", V_U16, 0, 2));
    opens(value("split.count", V_U16, 1, 2));
    assert_no_gguf(value("split.count", V_U16, 3, 2), EMR_EUNSUPPORTED, "3 files");
}

/* What is promised: 24 times the header + 64 KiB. Thousands of the smallest tensors, then of the smallest
 * keys. */
static void memory_is_bounded_by_the_header(void **state)
{
    (void)state;
    for (int turn = 0; turn < 2; turn++) {
        part kv = {0}, infos = {0};
        for (unsigned i = 0; i < 20000; i++) {
            char name[4] = {(char)('0' + i % 64), (char)('0' + i / 64 % 64), (char)('0' + i / 4096), 0};
            if (turn) {
                put_key(&kv, name, V_U8);
                put_number(&kv, 1, 1);
            } else {
                put_tensor(&infos, name, 0, NULL, T_I8, (uint64_t)i);
            }
        }
        if (!turn) { /* one byte each, without padding */
            put_key(&kv, "general.alignment", V_U32);
            put_number(&kv, 1, 4);
        }
        size_t header = 24 + kv.n + infos.n;
        crafted file = gguf_of(3, kv, infos, 1, turn ? 0 : 20000, NULL);
        test_meter meter = {0, 0};
        emr_allocator allocator = test_meter_make(&meter);
        emr_checkpoint_read_options options = EMR_INIT(emr_checkpoint_read_options);
        options.allocator = &allocator;
        emr_model *m;
        emr_error error;
        assert_ok(gguf_opened(&file, &options, &m, &error), &error);
        assert_true(meter.peak <= 24 * header + (64 << 10));
        emr_model_destroy(&m);
        assert_int_equal(meter.now, 0);
        crafted_free(&file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_come_as_the_file_has_them),
        cmocka_unit_test(every_type_has_its_size_and_others_are_refused),
        cmocka_unit_test(versions_2_and_3_of_this_byte_order_are_read),
        cmocka_unit_test(counts_are_no_more_than_there_can_be),
        cmocka_unit_test(truncated_files_are_refused_at_every_length),
        cmocka_unit_test(keys_are_some_text_and_distinct),
        cmocka_unit_test(values_are_of_known_types),
        cmocka_unit_test(arrays_hold_what_they_say),
        cmocka_unit_test(alignment_is_what_the_metadata_say),
        cmocka_unit_test(names_are_some_text_and_distinct),
        cmocka_unit_test(shapes_are_small_enough),
        cmocka_unit_test(data_tile_the_file),
        cmocka_unit_test(parts_of_a_split_model_are_refused),
        cmocka_unit_test(memory_is_bounded_by_the_header),
    };
    return cmocka_run_group_tests_name("GGUF reader", tests, NULL, NULL);
}

/* test_safetensors.c - the rules of the safetensors format, one by one: what is legal opens, what is not is
 * refused. */
#include "craft.h"

#include <stdio.h>

/* A header with one tensor 'x', its fields as given. */
static crafted one(const char *dtype, const char *shape, const char *offsets, size_t data)
{
    char header[4096];
    snprintf(header, sizeof header, "{\"x\":{\"dtype\":%s,\"shape\":%s,\"data_offsets\":%s}}", dtype, shape,
             offsets);
    return craft(header, data);
}

static void check_data(const emr_tensor *t, size_t begin)
{
    size_t n = (size_t)emr_tensor_bytes(t);
    unsigned char *got = malloc(n + 1);
    assert_int_equal(emr_tensor_read(t, 0, got, n, NULL), EMR_OK);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(got[i], (unsigned char)(7 * (begin + i)));
    free(got);
}

static void tensors_come_in_the_order_of_their_data(void **state)
{
    crafted file = craft("{\"b\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[6,14]},"
                         "\"c\":{\"data_offsets\":[0,2],\"shape\":[],\"dtype\":\"BF16\"},"
                         "\"a\":{\"dtype\":\"U8\",\"data_offsets\":[2,6],\"shape\":[4]}}",
                         14);
    const char *const names[] = {"c", "a", "b"};
    const size_t begins[] = {0, 2, 6};
    emr_model *model = assert_opens(&file);
    (void)state;
    assert_int_equal(emr_model_n_tensors(model), 3);
    assert_string_equal(emr_model_name(model), CRAFTED_NAME);
    for (uint32_t i = 0; i < 3; i++) {
        assert_string_equal(emr_tensor_name(emr_model_tensor(model, i)), names[i]);
        check_data(emr_model_tensor(model, i), begins[i]);
    }
    const emr_tensor *b = emr_model_find_tensor(model, "b");
    assert_int_equal(emr_tensor_dtype(b), EMR_DTYPE_F32);
    assert_int_equal(emr_tensor_rank(b), 2);
    assert_true(emr_tensor_shape(b)[0] == 2 && emr_tensor_shape(b)[1] == 1);
    emr_model_destroy(&model);
    crafted_free(&file);
}

/* Writers align the data, readers cannot assume it; and the padding is spaces, any number of them. */
static void headers_of_every_length_open(void **state)
{
    char header[1400];
    (void)state;
    size_t n = (size_t)snprintf(header, sizeof header,
                                "{\"x\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[0,8]}}");
    for (; n < sizeof header - 1; n++) {
        crafted file = craft(header, 8);
        emr_model *model = assert_opens(&file);
        check_data(emr_model_tensor(model, 0), 0);
        emr_model_destroy(&model);
        crafted_free(&file);
        memcpy(header + n, " ", 2);
    }
}

static void a_header_begins_with_a_brace(void **state)
{
    (void)state;
    assert_refused(craft(" {}", 0), EMR_EFORMAT, "'{'");
    assert_refused(craft("[]", 0), EMR_EFORMAT, "'{'");
    assert_refused(craft("null", 0), EMR_EFORMAT, "'{'");
    assert_refused(craft("\xef\xbb\xbf{}", 0), EMR_EFORMAT, "'{'");
    assert_refused(craft("", 0), EMR_EFORMAT, "header");
    assert_refused(craft("{", 0), EMR_EFORMAT, "header");
}

static void a_header_is_json_and_nothing_after_it(void **state)
{
    (void)state;
    assert_refused(craft("{}x", 0), EMR_EFORMAT, "JSON");
    assert_refused(craft("{}{}", 0), EMR_EFORMAT, "JSON");
    assert_refused(craft("{\"x\":", 0), EMR_EFORMAT, "JSON");
    assert_refused(craft("{'x':1}", 0), EMR_EFORMAT, "JSON");
    assert_refused(craft("{\"\xff\":{}}", 0), EMR_EFORMAT, "JSON");
    assert_refused(craft("{\"\\u0000\":{}}", 0), EMR_EFORMAT, "JSON");
    assert_refused(craft_raw(4, "{}\0\0", 4, 0), EMR_EFORMAT, "JSON");
    char deep[20001] = "";
    memset(deep, '[', 20000);
    memcpy(deep, "{\"x\":", 5);
    assert_refused(craft(deep, 0), EMR_EFORMAT, "JSON");
}

static emr_status long_length(void *user, uint64_t *bytes, emr_error *error)
{
    (void)user, (void)error;
    *bytes = UINT64_MAX;
    return EMR_OK;
}

static emr_status long_read(void *user, uint64_t offset, void *destination, size_t n, emr_error *error)
{
    (void)error;
    if (offset || n != 8)
        return EMR_EIO;
    memcpy(destination, user, 8);
    return EMR_OK;
}

/* At most 100,000,000 bytes: one more is refused before any memory is asked for. */
static void headers_have_a_longest_length(void **state)
{
    const uint64_t lengths[] = {100000001, 0xffffffff, INT64_MAX, UINT64_MAX};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        crafted file = craft_raw(lengths[i], "", 0, 0);
        emr_io io = {.size = sizeof io, .user = file.bytes, .read = long_read, .length = long_length};
        emr_model *model;
        emr_error error;
        assert_int_equal(emr_safetensors_open(&model, &io, "long", NULL, &error), EMR_EFORMAT);
        assert_true(is_sentence(&error, "long", "header"));
        crafted_free(&file);
    }
    crafted file = craft_raw(100000000, "", 0, 0); /* legal: it is read, which fails here */
    emr_io io = {.size = sizeof io, .user = file.bytes, .read = long_read, .length = long_length};
    emr_model *model;
    assert_int_equal(emr_safetensors_open(&model, &io, "long", NULL, NULL), EMR_EIO);
    crafted_free(&file);
}

static void truncated_files_are_refused_at_every_length(void **state)
{
    crafted file = craft("{\"x\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", 16);
    (void)state;
    for (size_t n = 0; n < file.n; n++) {
        crafted cut = {.bytes = malloc(n + 1), .n = n};
        memcpy(cut.bytes, file.bytes, n);
        assert_refused(cut, EMR_EFORMAT, !n ? "empty" : n < 8 ? "shorter than 8" : "truncated");
    }
    crafted_free(&file);
}

static void metadata_maps_strings_to_strings(void **state)
{
    static const char *const legal[] = {"{\"__metadata__\":{}}", "{}",
                                        "{\"__metadata__\":{\"b\":\"\",\"\":\"\\u20ac\",\"a\":\"1\"}}",
                                        "{\"__metadata__\":null}"}; /* as the reference library reads it */
    static const char *const wrong[] = {"1", "null", "true", "{}", "[\"a\"]", "1.5"};
    const size_t counts[] = {0, 0, 3, 0};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        crafted file = craft(legal[i], 0);
        emr_model *model = assert_opens(&file);
        assert_int_equal(emr_model_n_tensors(model), 0);
        assert_int_equal(emr_model_n_metadata(model), counts[i]);
        const char *key, *value;
        if (i == 2) {
            assert_int_equal(emr_model_get_metadata(model, 1, &key, &value), EMR_OK);
            assert_string_equal(value, "\xe2\x82\xac");
        }
        emr_model_destroy(&model);
        crafted_free(&file);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char header[80];
        snprintf(header, sizeof header, "{\"__metadata__\":{\"a\":\"b\",\"k\":%s}}", wrong[i]);
        assert_refused(craft(header, 0), EMR_EFORMAT, "__metadata__");
        if (strcmp(wrong[i], "{}") == 0 || strcmp(wrong[i], "null") == 0) /* the latter is as good as none */
            continue;
        snprintf(header, sizeof header, "{\"__metadata__\":%s}", wrong[i]);
        assert_refused(craft(header, 0), EMR_EFORMAT, "__metadata__");
    }
}

static void duplicate_keys_are_refused(void **state)
{
    (void)state;
    assert_refused(craft("{\"x\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                         "\"x\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
                         2),
                   EMR_EFORMAT, "duplicate");
    assert_refused(
        craft("{\"x\":{\"dtype\":\"U8\",\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1),
        EMR_EFORMAT, "duplicate");
    assert_refused(craft("{\"__metadata__\":{},\"__metadata__\":{}}", 0), EMR_EFORMAT, "duplicate");
    assert_refused(craft("{\"__metadata__\":{\"a\":\"1\",\"\\u0061\":\"2\"}}", 0), EMR_EFORMAT, "duplicate");
}

/* Two tensors 'x' and 'y' of bytes at the places given. */
static crafted two(unsigned xb, unsigned xe, unsigned yb, unsigned ye, size_t data)
{
    char header[400];
    snprintf(header, sizeof header,
             "{\"x\":{\"dtype\":\"U8\",\"shape\":[%u],\"data_offsets\":[%u,%u]},"
             "\"y\":{\"dtype\":\"U8\",\"shape\":[%u],\"data_offsets\":[%u,%u]}}",
             xe - xb, xb, xe, ye - yb, yb, ye);
    return craft(header, data);
}

static void data_is_tiled_exactly(void **state)
{
    (void)state;
    assert_refused(two(1, 4, 4, 8, 8), EMR_EFORMAT, "'x'");            /* a hole before the first */
    assert_refused(two(0, 4, 5, 8, 8), EMR_EFORMAT, "'y'");            /* between */
    assert_refused(two(0, 4, 3, 8, 8), EMR_EFORMAT, "'y'");            /* an overlap */
    assert_refused(two(0, 8, 2, 4, 8), EMR_EFORMAT, "'y'");            /* inside the other */
    assert_refused(two(0, 8, 0, 8, 8), EMR_EFORMAT, "'y'");            /* the same place */
    assert_refused(two(4, 8, 0, 4, 9), EMR_EFORMAT, "after the last"); /* trailing bytes */
    assert_refused(two(0, 4, 4, 9, 8), EMR_EFORMAT, "'y'");            /* beyond the end */
    assert_refused(craft("{}", 1), EMR_EFORMAT, "after the last");
    assert_refused(two(0, 8, 4, 4, 8), EMR_EFORMAT, "'y'"); /* nothing, but inside the other */
    assert_refused(two(0, 8, 9, 9, 8), EMR_EFORMAT, "'y'");
}

static void zero_size_and_rank_0_are_legal(void **state)
{
    crafted file = craft("{\"scaled_fp8\":{\"dtype\":\"F8_E4M3\",\"shape\":[0],\"data_offsets\":[0,0]},"
                         "\"s\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
                         "\"n\":{\"dtype\":\"F32\",\"shape\":[3,0,2],\"data_offsets\":[4,4]},"
                         "\"m\":{\"dtype\":\"I64\",\"shape\":[0],\"data_offsets\":[4,4]},"
                         "\"t\":{\"dtype\":\"U8\",\"shape\":[1,1,1],\"data_offsets\":[4,5]},"
                         "\"e\":{\"dtype\":\"BOOL\",\"shape\":[0],\"data_offsets\":[5,5]}}",
                         5);
    emr_model *model = assert_opens(&file);
    (void)state;
    assert_int_equal(emr_model_n_tensors(model), 6);
    assert_int_equal(emr_tensor_bytes(emr_model_find_tensor(model, "scaled_fp8")), 0);
    assert_int_equal(emr_tensor_count(emr_model_find_tensor(model, "s")), 1);
    check_data(emr_model_find_tensor(model, "t"), 4);
    assert_string_equal(emr_tensor_name(emr_model_tensor(model, 5)), "e");
    emr_model_destroy(&model);
    crafted_free(&file);
}

static void every_dtype_opens_and_no_other(void **state)
{
    static const char *const known[] = {"BOOL",    "U8",      "I8",      "U16",         "I16",        "U32",
                                        "I32",     "U64",     "I64",     "F16",         "BF16",       "F32",
                                        "F64",     "F8_E4M3", "F8_E5M2", "F8_E8M0",     "F4",         "C64",
                                        "F6_E2M3", "F6_E3M2", "F8_E4M3", "F8_E4M3FNUZ", "F8_E5M2FNUZ"};
    static const char *const unknown[] = {"\"F33\"", "\"f32\"", "\"\"", "\"F32 \"",
                                          "\"?\"",   "32",      "null", "[\"F32\"]"};
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        char dtype[20], offsets[40];
        size_t bytes = 4 * emr_dtype_bits(emr_dtype_from_name(known[i])) / 8;
        snprintf(dtype, sizeof dtype, "\"%s\"", known[i]);
        snprintf(offsets, sizeof offsets, "[0,%zu]", bytes);
        crafted file = one(dtype, "[4]", offsets, bytes);
        emr_model *model = assert_opens(&file);
        assert_string_equal(emr_dtype_name(emr_tensor_dtype(emr_model_tensor(model, 0))), known[i]);
        check_data(emr_model_tensor(model, 0), 0);
        emr_model_destroy(&model);
        crafted_free(&file);
    }
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++)
        assert_refused(one(unknown[i], "[1]", "[0,4]", 4), EMR_EFORMAT, "'x'");
    assert_refused(craft("{\"x\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4), EMR_EFORMAT, "'x'");
}

static void sub_byte_types_fill_whole_bytes(void **state)
{
    (void)state;
    assert_refused(one("\"F4\"", "[3]", "[0,1]", 1), EMR_EFORMAT, "'x'");
    assert_refused(one("\"F4\"", "[3]", "[0,2]", 2), EMR_EFORMAT, "'x'");
    assert_refused(one("\"F4\"", "[]", "[0,1]", 1), EMR_EFORMAT, "'x'");
    assert_refused(one("\"F6_E2M3\"", "[2]", "[0,2]", 2), EMR_EFORMAT, "'x'");
    crafted file = one("\"F6_E3M2\"", "[2,2]", "[0,3]", 3);
    emr_model *model = assert_opens(&file);
    assert_int_equal(emr_tensor_bytes(emr_model_tensor(model, 0)), 3);
    emr_model_destroy(&model);
    crafted_free(&file);
}

static void shapes_are_natural_numbers_whose_product_fits(void **state)
{
    static const char *const wrong[] = {
        "[-1]", "[1.0]", "[1e0]", "[\"1\"]", "[true]", "[null]", "[[1]]", "1", "null", "{}", "\"1\"",
        /* products of elements or bytes that wrap around to 4, to 0, or do not fit in any case */
        "[4294967296,4294967296]", "[4611686018427387905]", "[2,9223372036854775807,2]",
        "[9223372036854775808]", "[18446744073709551617]", "[65536,65536,65536,65536,4]",
        "[4294967297,4294967296]"};
    char many[400] = "[1";
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        bool not_json = strstr(wrong[i], "9223372036854775808") || strstr(wrong[i], "18446744073709551617");
        assert_refused(one("\"F32\"", wrong[i], "[0,4]", 4), EMR_EFORMAT, not_json ? "JSON" : "'x'");
        assert_refused(one("\"F32\"", wrong[i], "[0,0]", 0), EMR_EFORMAT, not_json ? "JSON" : "'x'");
    }
    assert_refused(craft("{\"x\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4), EMR_EFORMAT, "'x'");
    for (int i = 1; i < EMR_RANK_MAX; i++)
        strcat(many, ",1");
    strcat(many, "]");
    crafted file = one("\"F32\"", many, "[0,4]", 4);
    emr_model *model = assert_opens(&file);
    assert_int_equal(emr_tensor_rank(emr_model_tensor(model, 0)), EMR_RANK_MAX);
    emr_model_destroy(&model);
    crafted_free(&file);
    strcpy(many + strlen(many) - 1, ",1]");
    assert_refused(one("\"F32\"", many, "[0,4]", 4), EMR_EFORMAT, "'x'");
}

static void offsets_are_two_natural_numbers_that_fit_the_shape(void **state)
{
    static const char *const wrong[] = {"[0,3]",
                                        "[0,5]",
                                        "[0,0]",
                                        "[4,0]",
                                        "[0]",
                                        "[]",
                                        "[0,4,8]",
                                        "[-4,0]",
                                        "[0,4.0]",
                                        "[0.0,4]",
                                        "[0,-4]",
                                        "[0,\"4\"]",
                                        "[null,4]",
                                        "null",
                                        "4",
                                        "{\"0\":4}",
                                        "[9223372036854775807,9223372036854775807]"};
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_refused(one("\"F32\"", "[1]", wrong[i], 4), EMR_EFORMAT, "'x'");
    assert_refused(one("\"F32\"", "[1]", "[18446744073709551612,18446744073709551616]", 4), EMR_EFORMAT,
                   "JSON");
    for (size_t n = 0; n <= 8; n++) { /* the file holds what the offsets say, the shape says 4 */
        char offsets[16];
        snprintf(offsets, sizeof offsets, "[0,%zu]", n);
        if (n != 4)
            assert_refused(one("\"F32\"", "[1]", offsets, n), EMR_EFORMAT, "'x'");
    }
    assert_refused(craft("{\"x\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4), EMR_EFORMAT, "'x'");
    assert_refused(craft("{\"x\":[]}", 0), EMR_EFORMAT, "'x'");
    assert_refused(craft("{\"x\":null}", 0), EMR_EFORMAT, "'x'");
}

static void any_text_can_be_a_name(void **state)
{
    crafted file = craft("{\"\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]},"
                         "\"a/b\\\\\\\"\\n\\u20ac\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[1,2]}}",
                         2);
    emr_model *model = assert_opens(&file);
    (void)state;
    assert_non_null(emr_model_find_tensor(model, ""));
    assert_non_null(emr_model_find_tensor(model, "a/b\\\"\n\xe2\x82\xac"));
    emr_model_destroy(&model);
    crafted_free(&file);
    /* a name cannot break the sentence into lines */
    assert_refused(craft("{\"a\\nb\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,3]}}", 3),
                   EMR_EFORMAT, "'a?b'");
}

/* The beginnings of what torch.save writes: a zip archive, and before that a bare pickle. */
static void pickles_are_known_by_their_first_bytes(void **state)
{
    static const unsigned char bare[] = {0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e, 0x80, 0x02, 0x4d};
    (void)state;
    assert_refused(craft_raw(0x0808000004034b50, "\0\0\0\0archive/data.pkl", 20, 30), EMR_EUNSUPPORTED,
                   "convert");
    assert_refused(craft_raw(0x469cfc6c0a8a0280, bare, sizeof bare, 30), EMR_EUNSUPPORTED, "convert");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_come_in_the_order_of_their_data),
        cmocka_unit_test(headers_of_every_length_open),
        cmocka_unit_test(a_header_begins_with_a_brace),
        cmocka_unit_test(a_header_is_json_and_nothing_after_it),
        cmocka_unit_test(headers_have_a_longest_length),
        cmocka_unit_test(truncated_files_are_refused_at_every_length),
        cmocka_unit_test(metadata_maps_strings_to_strings),
        cmocka_unit_test(duplicate_keys_are_refused),
        cmocka_unit_test(data_is_tiled_exactly),
        cmocka_unit_test(zero_size_and_rank_0_are_legal),
        cmocka_unit_test(every_dtype_opens_and_no_other),
        cmocka_unit_test(sub_byte_types_fill_whole_bytes),
        cmocka_unit_test(shapes_are_natural_numbers_whose_product_fits),
        cmocka_unit_test(offsets_are_two_natural_numbers_that_fit_the_shape),
        cmocka_unit_test(any_text_can_be_a_name),
        cmocka_unit_test(pickles_are_known_by_their_first_bytes),
    };
    return cmocka_run_group_tests_name("safetensors", tests, NULL, NULL);
}

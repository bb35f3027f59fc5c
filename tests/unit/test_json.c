/* test_json.c - JSON as headers of checkpoints have it: what is accepted, what is refused and where, and that
 * text made to do harm costs no more memory than is promised. */
#include "checkpoint/json.h"
#include "checkpoint/json_text.h"
#include "craft.h"

#include <stdio.h>

/* A text of its own, without a zero byte after it, and a parser at its beginning. */
typedef struct parsed {
    emr_json json;
    char *text;
    test_allocator counts;
    emr_allocator allocator;
} parsed;

static void begin(parsed *p, const char *text, size_t n)
{
    p->text = malloc(n ? n : 1);
    memcpy(p->text, text, n);
    p->counts = (test_allocator){0, 0, SIZE_MAX};
    p->allocator = test_allocator_make(&p->counts);
    emr_json_begin(&p->json, &p->allocator, p->text, n);
}

static void end(parsed *p)
{
    emr_json_free(&p->json);
    assert_int_equal(p->counts.alive, 0);
    free(p->text);
}

static emr_json_token read_all(parsed *p)
{
    emr_json_token token;
    do
        token = emr_json_next(&p->json);
    while (token != EMR_JSON_END && token != EMR_JSON_FAILED);
    assert_int_equal(emr_json_next(&p->json), token); /* and it stays so */
    return token;
}

static bool is_json(const char *text, size_t n)
{
    parsed p;
    begin(&p, text, n);
    bool good = read_all(&p) == EMR_JSON_END;
    end(&p);
    return good;
}

static void valid_json_is_accepted(void **state)
{
    static const char *const texts[] = {"{}",
                                        "[]",
                                        "0",
                                        "-0",
                                        "null",
                                        "true",
                                        "false",
                                        "\"\"",
                                        " \t\r\n[ ] \n",
                                        "[1,2]",
                                        "[ 1 , 2 ]",
                                        "{\"a\":1}",
                                        "{ \"a\" : 1 , \"b\" : [ { } ] }",
                                        "10",
                                        "-10",
                                        "1.5",
                                        "-0.0",
                                        "1e3",
                                        "1E+3",
                                        "1e-03",
                                        "123456789012345678901234567890",
                                        "1e999",
                                        "0.5e1",
                                        "\"\x7f\"",
                                        "\"\xc2\x80\xf4\x8f\xbf\xbf\"",
                                        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0001\"",
                                        "{\"a\":{\"a\":{\"a\":1}},\"b\":[{\"a\":1},{\"a\":2}]}",
                                        "{\"\":1,\" \":2}"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (!is_json(texts[i], strlen(texts[i])))
            fail_msg("refused: %s", texts[i]);
}

/* Each with the byte that the sentence must name, and a word of it. */
static void anything_else_is_refused_with_its_place(void **state)
{
    static const struct {
        const char *text;
        unsigned at;
        const char *word;
    } cases[] = {{"", 0, "ends"},
                 {" ", 1, "ends"},
                 {"{", 1, "ends"},
                 {"[1", 2, "ends"},
                 {"[1,", 3, "ends"},
                 {"{\"a\"", 4, "ends"},
                 {"{\"a\":", 5, "ends"},
                 {"{\"a\":1,", 7, "ends"},
                 {"\"a", 2, "ends"},
                 {"\"a\\", 3, "ends"},
                 {"\"\\u12", 5, "ends"},
                 {"-", 1, "ends"},
                 {"1.", 2, "ends"},
                 {"1e+", 3, "ends"},
                 {"[1,]", 3, "no value"},
                 {"[,1]", 1, "no value"},
                 {"{\"a\":1,}", 7, "key"},
                 {"{,}", 1, "key"},
                 {"[1 2]", 3, "','"},
                 {"{\"a\":1 \"b\":2}", 7, "','"},
                 {"{\"a\" 1}", 5, "':'"},
                 {"{a:1}", 1, "key"},
                 {"{1:1}", 1, "key"},
                 {"[1}", 2, "']'"},
                 {"{\"a\":1]", 6, "'}'"},
                 {"]", 0, "no value"},
                 {"{} {}", 3, "after the end"},
                 {"1,", 1, "after the end"},
                 {"[]]", 2, "after the end"},
                 {"[1/**/]", 2, "','"},
                 {"// c\n1", 0, "no value"},
                 {"'a'", 0, "no value"},
                 {"NaN", 0, "no value"},
                 {"-Infinity", 1, "sign"},
                 {"+1", 0, "no value"},
                 {".5", 0, "no value"},
                 {"01", 0, "begins with 0"},
                 {"-01", 1, "begins with 0"},
                 {"00", 0, "begins with 0"},
                 {"1.x", 2, "digit"},
                 {"1ex", 2, "exponent"},
                 {"0x10", 1, "after the end"},
                 {"True", 0, "no value"},
                 {"nul", 0, "no value"},
                 {"nulls", 4, "after the end"},
                 {"\xef\xbb\xbf{}", 0, "no value"},
                 {"\"\n\"", 1, "control"},
                 {"\"\x1f\"", 1, "control"},
                 {"\"\\x41\"", 2, "escape"},
                 {"\"\\u12g4\"", 5, "hexadecimal"},
                 {"\"\\u 123\"", 3, "hexadecimal"},
                 {"\"\\u0000\"", 7, "zero"},
                 {"\"\\ud800\"", 7, "surrogate"},
                 {"\"\\udc00\"", 7, "surrogate"},
                 {"\"\\ud800\\ud800\"", 13, "surrogate"},
                 {"\"\\ud800x\\udc00\"", 7, "surrogate"},
                 {"\"\\ud800\\n12345\"", 7, "surrogate"},
                 {"\"\xff\"", 1, "UTF-8"},
                 {"[\"\xc0\x80\"]", 2, "UTF-8"},
                 {"\"\xed\xa0\x80\"", 1, "UTF-8"},
                 {"\"\xe2\x82\"", 1, "UTF-8"},
                 {"\"\xe2\\u0082\"", 1, "UTF-8"},
                 {"\"\xf4\x90\x80\x80\"", 1, "UTF-8"},
                 {"{\"a\":1,\"a\":2}", 7, "duplicate key 'a'"},
                 {"{\"a\":1,\"\\u0061\":2}", 7, "duplicate key 'a'"},
                 {"[{\"b\":{\"a\":1,\"a\":2}}]", 13, "duplicate key 'a'"},
                 {"{\"\":1,\"\":1}", 6, "duplicate key ''"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        parsed p;
        emr_error error = {.text = ""};
        char place[40];
        snprintf(place, sizeof place, "at byte %u of it", cases[i].at);
        begin(&p, cases[i].text, strlen(cases[i].text));
        assert_int_equal(read_all(&p) == EMR_JSON_FAILED, 1);
        assert_int_equal(emr_json_fail(&p.json, "some file", "its header is", &error), EMR_EFORMAT);
        if (!is_sentence(&error, "some file: its header is not valid JSON: ", cases[i].word) ||
            !strstr(error.text, place))
            fail_msg("%s: \"%s\" without '%s' or '%s'", cases[i].text, error.text, cases[i].word, place);
        end(&p);
    }
    assert_false(is_json("{}\0", 3));
    assert_false(is_json("\"\0\"", 3));
}

static void numbers_are_natural_or_not(void **state)
{
    static const struct {
        const char *text;
        emr_json_token token;
        uint64_t value;
    } cases[] = {{"0", EMR_JSON_NATURAL, 0},
                 {"7", EMR_JSON_NATURAL, 7},
                 {"9223372036854775807", EMR_JSON_NATURAL, INT64_MAX},
                 {"9223372036854775808", EMR_JSON_LARGE, 0},
                 {"18446744073709551616", EMR_JSON_LARGE, 0},
                 {"18446744073709551617", EMR_JSON_LARGE, 0},
                 {"99999999999999999999999999", EMR_JSON_LARGE, 0},
                 {"-1", EMR_JSON_NUMBER, 0},
                 {"-0", EMR_JSON_NUMBER, 0},
                 {"1.0", EMR_JSON_NUMBER, 0},
                 {"1e3", EMR_JSON_NUMBER, 0},
                 {"10E0", EMR_JSON_NUMBER, 0}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        parsed p;
        begin(&p, cases[i].text, strlen(cases[i].text));
        assert_int_equal(emr_json_next(&p.json), cases[i].token);
        if (cases[i].token == EMR_JSON_NATURAL)
            assert_true(p.json.natural == cases[i].value);
        assert_int_equal(emr_json_next(&p.json), EMR_JSON_END);
        end(&p);
    }
}

static void strings_are_unescaped(void **state)
{
    static const struct {
        const char *text, *value;
    } cases[] = {{"\"\"", ""},
                 {"\"plain\"", "plain"},
                 {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t"},
                 {"\"a\\u0041b\\u00e9c\\u20ACd\"", "aAb\xc3\xa9"
                                                   "c\xe2\x82\xac"
                                                   "d"},
                 {"\"\\u007f\\u0080\\u07ff\\u0800\\uffff\"", "\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf"},
                 {"\"\\ud800\\udc00\\uDBFF\\uDFFF\"", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"},
                 {"\"\xe2\x82\xac\\n\xe2\x82\xac\"", "\xe2\x82\xac\n\xe2\x82\xac"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        parsed p;
        begin(&p, cases[i].text, strlen(cases[i].text));
        assert_int_equal(emr_json_next(&p.json), EMR_JSON_STRING);
        assert_string_equal(p.json.string, cases[i].value);
        assert_int_equal(p.counts.requests, 0);
        end(&p);
    }
}

static void tokens_come_one_by_one(void **state)
{
    static const char text[] = "{\"a\":[1,\"s\",{}],\"b\":null,\"c\":[[]]}";
    static const emr_json_token expected[] = {
        EMR_JSON_OBJECT,     EMR_JSON_KEY,        EMR_JSON_ARRAY,     EMR_JSON_NATURAL,   EMR_JSON_STRING,
        EMR_JSON_OBJECT,     EMR_JSON_OBJECT_END, EMR_JSON_ARRAY_END, EMR_JSON_KEY,       EMR_JSON_LITERAL,
        EMR_JSON_KEY,        EMR_JSON_ARRAY,      EMR_JSON_ARRAY,     EMR_JSON_ARRAY_END, EMR_JSON_ARRAY_END,
        EMR_JSON_OBJECT_END, EMR_JSON_END};
    parsed p;
    (void)state;
    begin(&p, text, strlen(text));
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
        assert_int_equal(emr_json_next(&p.json), expected[i]);
    end(&p);
    begin(&p, text, strlen(text)); /* the same, each member's value passed over */
    assert_int_equal(emr_json_next(&p.json), EMR_JSON_OBJECT);
    for (const char *key = "abc"; *key; key++) {
        assert_int_equal(emr_json_next(&p.json), EMR_JSON_KEY);
        assert_int_equal(p.json.string[0], *key);
        assert_true(emr_json_skip(&p.json, emr_json_next(&p.json)));
    }
    assert_int_equal(emr_json_next(&p.json), EMR_JSON_OBJECT_END);
    end(&p);
}

static void nesting_has_a_limit(void **state)
{
    char text[2 * EMR_JSON_DEPTH + 3];
    (void)state;
    for (size_t depth = EMR_JSON_DEPTH; depth <= EMR_JSON_DEPTH + 1; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        assert_int_equal(is_json(text, 2 * depth), depth == EMR_JSON_DEPTH);
    }
}

/* Objects small and large, with the k-th key again as the last one; an inner object has the same keys. */
static void duplicate_keys_are_found_in_objects_of_every_size(void **state)
{
    (void)state;
    for (size_t n = 1; n <= 40; n++)
        for (size_t again = 0; again <= n; again++) {
            char text[1000] = "[{\"k1\":{\"k0\":1,\"k2\":2},";
            size_t used = strlen(text);
            for (size_t i = 0; i < n; i++)
                used += (size_t)snprintf(text + used, sizeof text - used, "\"k%zu\":0,", i ? i + 10 : 0);
            used += (size_t)snprintf(text + used, sizeof text - used, "\"k%zu\":0},{\"k0\":0}]",
                                     again ? again + 10 : 0);
            assert_int_equal(is_json(text, used), again == n);
        }
}

static void memory_that_runs_out_is_said(void **state)
{
    char text[2000] = "{\"inner\":{";
    size_t used = strlen(text), k = 0;
    (void)state;
    for (size_t i = 0; i < 40; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s\"key %zu\":0", i ? "," : "", i);
    used += (size_t)snprintf(text + used, sizeof text - used, "}}");
    for (bool failed = true; failed; k++) {
        parsed p;
        emr_error error;
        begin(&p, text, used);
        p.counts.fail_at = k;
        failed = read_all(&p) == EMR_JSON_FAILED;
        if (failed)
            assert_int_equal(emr_json_fail(&p.json, "file", "it is", &error), EMR_ENOMEM);
        end(&p);
    }
    assert_true(k > 4);
}

/* What is written is what is read, and as long as was counted. */
static void written_strings_are_read_back(void **state)
{
    char every[300];
    size_t n = 0;
    (void)state;
    for (int c = 1; c < 128; c++)
        every[n++] = (char)c;
    strcpy(every + n, "\xc2\x80\xe2\x82\xac\xf0\x90\x80\x80\\\"");
    emr_json_text text = {NULL, 0};
    for (int pass = 0; pass < 2; pass++) {
        size_t counted = text.n;
        text = (emr_json_text){pass ? malloc(counted) : NULL, 0};
        emr_json_put(&text, "[");
        emr_json_put_string(&text, every);
        emr_json_put(&text, ",");
        emr_json_put_natural(&text, 0);
        emr_json_put(&text, ",");
        emr_json_put_natural(&text, INT64_MAX);
        emr_json_put(&text, "]");
        assert_true(!pass || text.n == counted);
    }
    parsed p;
    begin(&p, text.bytes, text.n);
    assert_int_equal(emr_json_next(&p.json), EMR_JSON_ARRAY);
    assert_int_equal(emr_json_next(&p.json), EMR_JSON_STRING);
    assert_string_equal(p.json.string, every);
    assert_int_equal(emr_json_next(&p.json), EMR_JSON_NATURAL);
    assert_true(p.json.natural == 0);
    assert_int_equal(emr_json_next(&p.json), EMR_JSON_NATURAL);
    assert_true(p.json.natural == INT64_MAX);
    assert_int_equal(emr_json_next(&p.json), EMR_JSON_ARRAY_END);
    assert_int_equal(emr_json_next(&p.json), EMR_JSON_END);
    end(&p);
    free(text.bytes);
}

static const char header[] = "{\"__metadata__\":{\"format\":\"pt\",\"\\u00e9\":\"\\ud83d\\ude00\"},"
                             "\"x\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24],"
                             "\"more\":[true,{\"a\":-1.5e3}]},"
                             "\"y\":{\"data_offsets\":[24,32],\"shape\":[8],\"dtype\":\"U8\"}}";
enum { DATA = 32, HEADER = sizeof header - 1 };

/* Opens it with an allocator that must have everything back in the end. */
static emr_status open_header(const char *text, size_t n, emr_error *error)
{
    crafted file = craft_raw(n, text, n, DATA);
    test_allocator counts = {0, 0, SIZE_MAX};
    emr_allocator allocator = test_allocator_make(&counts);
    emr_checkpoint_read_options options = EMR_INIT(emr_checkpoint_read_options);
    options.allocator = &allocator;
    emr_model *model;
    emr_status status = emr_safetensors_open(&model, crafted_io(&file), CRAFTED_NAME, &options, error);
    assert_int_equal(status == EMR_OK, model != NULL);
    emr_model_destroy(&model);
    assert_int_equal(counts.alive, 0);
    crafted_free(&file);
    return status;
}

static void headers_cut_anywhere_are_refused(void **state)
{
    emr_error error = {.text = ""};
    (void)state;
    assert_ok(open_header(header, HEADER, &error), &error);
    for (size_t n = 0; n < HEADER; n++) {
        assert_int_equal(open_header(header, n, &error), EMR_EFORMAT);
        assert_true(is_sentence(&error, CRAFTED_NAME, n < 2 ? "empty" : "JSON"));
    }
}

static void headers_with_any_byte_changed_give_a_status(void **state)
{
    char changed[HEADER];
    size_t n_refused = 0;
    (void)state;
    for (size_t at = 0; at < HEADER; at++)
        for (int c = 0; c < 256; c++) {
            emr_error error = {.text = ""};
            memcpy(changed, header, HEADER);
            changed[at] = (char)c;
            emr_status status = open_header(changed, HEADER, &error);
            assert_true(status == EMR_OK || status == EMR_EFORMAT);
            assert_true(!status || is_sentence(&error, CRAFTED_NAME, ""));
            n_refused += status != EMR_OK;
        }
    assert_true(n_refused > (size_t)HEADER * 128);
}

/* A text made to take memory: `before`, then `piece` with its number until it is LARGE or has the most
 * pieces, then `after`. */
typedef struct hostile {
    const char *before, *piece, *after;
    size_t most; /* 0: any number */
    emr_status status;
} hostile;
/* Arrays that double have just done so. */
enum { LARGE = 10000000, MANY = (1 << 19) + 1, FEWER = (1 << 17) + 1 };

static char *make_hostile(const hostile *h, size_t *n)
{
    char *text = malloc(LARGE + 1000);
    *n = (size_t)sprintf(text, "%s", h->before);
    for (size_t pieces = 0; *n < LARGE && (!h->most || pieces < h->most); ++pieces)
        *n += (size_t)snprintf(text + *n, 200, h->piece, pieces);
    *n -= *h->piece && text[*n - 1] == ',';
    *n += (size_t)sprintf(text + *n, "%s", h->after);
    return text;
}

/* What include/emr/checkpoint.h promises. */
static bool is_bounded(const test_meter *meter, size_t n)
{
    print_message("%zu bytes take %.1f times as many\n", n, (double)meter->peak / (double)n);
    return meter->peak <= 24 * n + (64 << 10);
}

static void hostile_headers_take_bounded_memory(void **state)
{
    static const hostile cases[] = {
        {"{\"a\":", "[", "", 0, EMR_EFORMAT},
        {"{\"a\":", "{\"\":", "", 0, EMR_EFORMAT},
        {"{", "\"\":1,", "}", 0, EMR_EFORMAT},
        {"{\"a\":{\"b\":[", "{\"\":1},", "]}}", 0, EMR_EFORMAT},
        {"{\"a\":{", "\"%zx\":1,", "}}", MANY, EMR_EFORMAT},
        {"{\"a\":{\"b\":{", "\"%zx\":{},", "}}}", MANY, EMR_EFORMAT},
        {"{\"a\":{\"b\":[", "{\"a\":1,\"b\":1,\"c\":1,\"d\":1,\"e\":1,\"f\":1,\"g\":1,\"h\":1,\"i\":1},",
         "]}}", 0, EMR_EFORMAT},
        {"{\"__metadata__\":{", "\"%zx\":\"\",", "}}", MANY, EMR_OK},
        {"{", "\"%zx\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},", "}", FEWER, EMR_OK},
        {"{", "\"%zx\":{\"dtype\":\"U8\",\"shape\":[0,1,1,1,1,1,1,1,1],\"data_offsets\":[0,0]},", "}", FEWER,
         EMR_OK},
        {"{", "\"%zx\":{\"shape\":[0],\"dtype\":\"U8\"},", "}", 0, EMR_EFORMAT},
        {"{\"a\":\"", "\\u20ac", "\"}", 0, EMR_EFORMAT},
        {"{\"a\":{\"shape\":[", "1,", "]}}", 0, EMR_EFORMAT},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t n;
        char *text = make_hostile(&cases[i], &n);
        crafted file = craft_raw(n, text, n, 0);
        test_meter meter = {0, 0};
        emr_allocator allocator = test_meter_make(&meter);
        emr_checkpoint_read_options options = EMR_INIT(emr_checkpoint_read_options);
        options.allocator = &allocator;
        emr_model *model;
        emr_error error = {.text = ""};
        emr_status status = emr_safetensors_open(&model, crafted_io(&file), CRAFTED_NAME, &options, &error);
        if (status != cases[i].status || !is_bounded(&meter, n))
            fail_msg("%s%s...: %zu bytes of memory; %s", cases[i].before, cases[i].piece, meter.peak,
                     error.text);
        emr_model_destroy(&model);
        assert_int_equal(meter.now, 0);
        crafted_free(&file);
        free(text);
    }
}

static void hostile_indexes_take_bounded_memory(void **state)
{
    static const hostile cases[] = {
        {"{\"weight_map\":{", "\"%1$zx\":\"%1$zx\",", "}}", MANY, EMR_EIO}, /* the first shard is not there */
        {"{\"weight_map\":{", "\"%zx\":\"x\",", "}}", MANY, EMR_EIO},
        {"{\"more\":", "[", "", 0, EMR_EFORMAT},
        {"{", "\"%zx\":1,", "}", MANY, EMR_EFORMAT},
    };
    char *directory = test_directory_make(), *path = test_path(directory, "m.safetensors.index.json");
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t n;
        char *text = make_hostile(&cases[i], &n);
        test_meter meter = {0, 0};
        emr_allocator allocator = test_meter_make(&meter);
        emr_checkpoint_read_options options = EMR_INIT(emr_checkpoint_read_options);
        options.allocator = &allocator;
        emr_model *model;
        emr_error error = {.text = ""};
        test_write_file(path, text, n);
        emr_status status = emr_checkpoint_open(&model, path, &options, &error);
        if (status != cases[i].status || !is_bounded(&meter, n))
            fail_msg("%s%s...: %zu bytes of memory; %s", cases[i].before, cases[i].piece, meter.peak,
                     error.text);
        assert_int_equal(meter.now, 0);
        free(text);
    }
    free(path);
    test_directory_remove(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_json_is_accepted),
        cmocka_unit_test(anything_else_is_refused_with_its_place),
        cmocka_unit_test(numbers_are_natural_or_not),
        cmocka_unit_test(strings_are_unescaped),
        cmocka_unit_test(tokens_come_one_by_one),
        cmocka_unit_test(nesting_has_a_limit),
        cmocka_unit_test(duplicate_keys_are_found_in_objects_of_every_size),
        cmocka_unit_test(memory_that_runs_out_is_said),
        cmocka_unit_test(written_strings_are_read_back),
        cmocka_unit_test(headers_cut_anywhere_are_refused),
        cmocka_unit_test(headers_with_any_byte_changed_give_a_status),
        cmocka_unit_test(hostile_headers_take_bounded_memory),
        cmocka_unit_test(hostile_indexes_take_bounded_memory),
    };
    return cmocka_run_group_tests_name("JSON", tests, NULL, NULL);
}

/* test_config_text.c - config.json follows what happens to the weights, and nothing else of it changes. */
#include "support.h"

#include "checkpoint/config_text.h"

static const emr_config_change to_bf16 = {.dtype = EMR_DTYPE_BF16}, plain = {.drop_quantization = true};

static emr_status look(emr_config *config, const char *text, const emr_config_change *change,
                       emr_error *error)
{
    emr_allocator allocator;
    assert_int_equal(emr_allocator_take(&allocator, NULL, NULL), EMR_OK);
    emr_status status = emr_config_look(config, &allocator, text, strlen(text), change, "config.json", error);
    return status;
}

static void check_changed(const char *text, const emr_config_change *change, const char *expected)
{
    emr_config config;
    emr_error error;
    assert_ok(look(&config, text, change, &error), &error);
    if (!config.text) {
        assert_string_equal(text, expected);
        return;
    }
    if (config.n != strlen(expected) || memcmp(config.text, expected, config.n) != 0)
        fail_msg("'%.*s', not '%s'", (int)config.n, config.text, expected);
    emr_allocator allocator;
    assert_int_equal(emr_allocator_take(&allocator, NULL, NULL), EMR_OK);
    emr_release(&allocator, config.text);
}

static void check_unchanged(const char *text, const emr_config_change *change)
{
    emr_config config;
    emr_error error;
    assert_ok(look(&config, text, change, &error), &error);
    assert_null(config.text);
}

static void dtypes_follow_wherever_they_stand(void **state)
{
    (void)state;
    check_changed("{\"torch_dtype\":\"float32\"}", &to_bf16, "{\"torch_dtype\":\"bfloat16\"}");
    check_changed("{\n  \"a\": [1, {\"dtype\" : \"float16\"}],\n  \"dtype\":\t\"torch.float32\"\n}\n",
                  &to_bf16,
                  "{\n  \"a\": [1, {\"dtype\" : \"bfloat16\"}],\n  \"dtype\":\t\"torch.bfloat16\"\n}\n");
    check_changed("{\"text_config\":{\"torch_dtype\":\"half\"},\"torch_dtype\":\"\\u0066loat64\"}", &to_bf16,
                  "{\"text_config\":{\"torch_dtype\":\"bfloat16\"},\"torch_dtype\":\"bfloat16\"}");
    check_changed("{\"dtype\":\"float8_e4m3fn\"}", &(emr_config_change){.dtype = EMR_DTYPE_F64},
                  "{\"dtype\":\"float64\"}");
    check_changed("{\"dtype\":\"bfloat16\"}", &(emr_config_change){.dtype = EMR_DTYPE_F16},
                  "{\"dtype\":\"float16\"}");
    check_changed("{\"dtype\":\"bfloat16\"}", &(emr_config_change){.dtype = EMR_DTYPE_F32},
                  "{\"dtype\":\"float32\"}");
}

static void what_is_no_weights_type_stays(void **state)
{
    static const char *const texts[] = {
        "{}",
        "[]",
        "{\"torch_dtype\":null,\"dtype\":{\"float32\":1},\"x\":\"float32\"}",
        "{\"dtype\":\"auto\",\"torch_dtype\":\"bfloat16\"}",
        "{\"quantization_config\":{\"dtype\":\"float32\"}}",
        "{\"dtype_\":\"float32\",\"torch_dtype\":[\"float32\"]}",
        "{\"x\":\"\\\"dtype\\\":\\\"float32\\\"\"}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        check_unchanged(texts[i], &to_bf16);
}

static void quantisation_goes_with_its_comma(void **state)
{
    (void)state;
    check_changed("{\"quantization_config\":{\"a\":[1,{}]}}", &plain, "{}");
    check_changed("{\n  \"quantization_config\": {},\n  \"b\": 1\n}", &plain, "{\n  \"b\": 1\n}");
    check_changed("{\"b\": 1 ,\n  \"quantization_config\": null,\"c\":2}", &plain, "{\"b\": 1 ,\"c\":2}");
    check_changed("{\"b\":1,\"quantization_config\":\"x\" }", &plain, "{\"b\":1 }");
    check_changed("{\"t\":{\"quantization_config\":{}},\"quantization_config\":{\"quantization_config\":1}}",
                  &plain, "{\"t\":{}}");
    check_unchanged("{\"b\":\"quantization_config\"}", &plain);
}

/* Python's writer of JSON lets these pass, and transformers writes them. */
static void nonfinite_numbers_do_not_hinder(void **state)
{
    (void)state;
    check_changed("{\"l\":[0.0,Infinity,-Infinity,NaN],\"s\":\"NaN \\\" Infinity\",\"dtype\":\"float32\"}",
                  &to_bf16,
                  "{\"l\":[0.0,Infinity,-Infinity,NaN],\"s\":\"NaN \\\" Infinity\",\"dtype\":\"bfloat16\"}");
    check_changed("{\"quantization_config\":NaN,\"b\":-Infinity}", &plain, "{\"b\":-Infinity}");
    check_changed("{\"b\":NaN,\"quantization_config\": -Infinity}", &plain, "{\"b\":NaN}");
}

static void what_is_no_json_is_refused_if_it_has_to_change(void **state)
{
    static const char *const texts[] = {"",
                                        "{",
                                        "{\"dtype\":\"float32\"",
                                        "{\"dtype\":\"float32\"}}",
                                        "{\"dtype\":\"float32\",}",
                                        "{\"quantization_config\":}",
                                        "Na",
                                        "\"\\"};
    const emr_config_change none = {0};
    emr_config config;
    emr_error error;
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_int_equal(look(&config, texts[i], &to_bf16, &error), EMR_EFORMAT);
        assert_null(config.text);
        assert_non_null(strstr(error.text, "config.json: a model's configuration, which has to change"));
        assert_int_equal(look(&config, texts[i], &plain, &error), EMR_EFORMAT);
        assert_ok(look(&config, texts[i], &none, &error), &error);
        assert_false(config.is_diffusers);
    }
}

static void diffusers_is_known(void **state)
{
    const emr_config_change none = {0};
    emr_config config;
    (void)state;
    assert_int_equal(look(&config, "{\"_diffusers_version\":\"0.1\"}", &none, NULL), EMR_OK);
    assert_true(config.is_diffusers);
    assert_int_equal(look(&config, "{\"a\":{\"_diffusers_version\":\"0.1\"}}", &none, NULL), EMR_OK);
    assert_false(config.is_diffusers);
}

static void memory_may_end_anywhere(void **state)
{
    static const char text[] =
        "{\"a\":{\"b\":1,\"c\":2,\"d\":3,\"e\":4,\"f\":5,\"g\":6,\"h\":7,\"i\":8,\"j\":9},"
        "\"quantization_config\":{},\"dtype\":\"float32\"}";
    const emr_config_change both = {.dtype = EMR_DTYPE_F16, .drop_quantization = true};
    test_allocator counts = {0};
    emr_allocator allocator = test_allocator_make(&counts);
    emr_status status = EMR_ENOMEM;
    emr_config config;
    emr_error error;
    (void)state;
    size_t k = 0;
    for (; status; k++) {
        counts = (test_allocator){.fail_at = k};
        status = emr_config_look(&config, &allocator, text, sizeof text - 1, &both, "config.json", &error);
        assert_true(status == EMR_OK || status == EMR_ENOMEM);
        if (!status)
            emr_release(&allocator, config.text);
        assert_int_equal(counts.alive, 0);
    }
    assert_true(k > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dtypes_follow_wherever_they_stand),
        cmocka_unit_test(what_is_no_weights_type_stays),
        cmocka_unit_test(quantisation_goes_with_its_comma),
        cmocka_unit_test(nonfinite_numbers_do_not_hinder),
        cmocka_unit_test(what_is_no_json_is_refused_if_it_has_to_change),
        cmocka_unit_test(diffusers_is_known),
        cmocka_unit_test(memory_may_end_anywhere),
    };
    return cmocka_run_group_tests_name("config.json", tests, NULL, NULL);
}

/* test_adapter_agree.c - which adapters are of one kind, and what is said of those that are not. */
#include "craft.h"

#include <stdio.h>

static const char *const names[] = {"task 'a'", "task 'b'", "task 'c'"};

static emr_model *carrying(const char *config)
{
    emr_model *m = test_model_new(NULL);
    assert_int_equal(emr_model_set_metadata(m, "format", "pt", NULL), EMR_OK);
    if (config)
        assert_int_equal(emr_model_set_metadata(m, EMR_ADAPTER_CONFIG, config, NULL), EMR_OK);
    return m;
}

static emr_status compare_with(const char *const *configs, size_t n, const emr_agree_options *options,
                               emr_error *error)
{
    emr_model *models[3];
    const emr_model *given[3] = {NULL};
    for (size_t i = 0; i < n; i++)
        given[i] = models[i] = carrying(configs[i]);
    emr_status status = emr_adapters_agree(given, names, n, options, error);
    for (size_t i = 0; i < n; i++)
        emr_model_destroy(&models[i]);
    return status;
}

static emr_status compare(const char *const *configs, size_t n, const emr_allocator *allocator,
                          emr_error *error)
{
    const emr_agree_options options = {.size = sizeof options, .allocator = allocator};
    return compare_with(configs, n, &options, error);
}

/* What agrees does so either way round. */
static void check_agree(const char *a, const char *b)
{
    emr_error error = {.text = ""};
    assert_ok(compare((const char *const[]){a, b}, 2, NULL, &error), &error);
    assert_ok(compare((const char *const[]){b, a}, 2, NULL, &error), &error);
}

/* So does what does not; the sentence holds both names and, where there is one, the key and the values. */
static void check_differ(const char *a, const char *b, const char *says)
{
    emr_error error = {.text = ""};
    assert_int_equal(compare((const char *const[]){b, a}, 2, NULL, &error), EMR_EMISMATCH);
    assert_true(is_sentence(&error, "task 'a'", "task 'b'"));
    assert_int_equal(compare((const char *const[]){a, b}, 2, NULL, &error), EMR_EMISMATCH);
    if (!is_sentence(&error, "task 'a'", "task 'b'") || !strstr(error.text, says))
        fail_msg("'%s' does not say '%s'", error.text, says);
}

static const char lora[] =
    "{\"peft_type\": \"LORA\", \"r\": 8, \"lora_alpha\": 16, \"bias\": \"none\", "
    "\"target_modules\": [\"q_proj\", \"v_proj\"], \"rank_pattern\": {\"k\": 4, \"q\": [1, 2]}}";

static void the_same_agrees(void **state)
{
    (void)state;
    check_agree(lora, lora);
    check_agree("{}", "{}");
    check_agree(NULL, NULL);
}

static void what_decides_about_tensors_must_agree(void **state)
{
    (void)state;
    check_differ("{\"r\":8}", "{\"r\":16}", "'r': 8 and 16");
    check_differ("{\"use_dora\":true}", "{\"use_dora\":false}", "'use_dora': true and false");
    check_differ("{\"peft_type\":\"LORA\"}", "{\"peft_type\":\"IA3\"}", "'peft_type': \"LORA\" and \"IA3\"");
    check_differ("{\"base_model_name_or_path\":\"a\"}", "{\"base_model_name_or_path\":\"b\"}",
                 "\"a\" and \"b\"");
    check_differ("{\"rank_pattern\":{\"q\":4}}", "{\"rank_pattern\":{\"q\":8}}", "'rank_pattern'");
    check_differ("{\"rank_pattern\":{\"q\":4}}", "{\"rank_pattern\":{\"k\":4}}", "'rank_pattern'");
    check_differ("{\"target_modules\":[\"q\"]}", "{\"target_modules\":\"q\"}", "[\"q\"] and \"q\"");
    check_differ("{\"bias\":\"true\"}", "{\"bias\":true}", "\"true\" and true");
    check_differ("{\"a\":[[1],2]}", "{\"a\":[[1,2]]}", "[[1],2] and [[1,2]]");
    check_differ("{\"a\":{\"b\":[]}}", "{\"a\":{\"b\":{}}}", "'a'");
    check_differ("{\"a\":\"1\"}", "{\"a\":1}", "\"1\" and 1");
    check_differ("{\"what nobody knows\":1}", "{\"what nobody knows\":2}", "'what nobody knows': 1 and 2");
}

/* Each task has its own configuration back, so what follows from that alone may differ. */
static void what_comes_back_with_a_task_may_differ(void **state)
{
    static const char *const kinds[] = {"LORA", "ADALORA", "LOHA", "LOKR",
                                        "IA3",  "OFT",     "VERA", "PREFIX_TUNING"};
    static const char *const ranks[] = {"r", "rank_pattern"}, *const layers[] = {"target_modules",
                                                                                 "modules_to_save"};
    char a[100], b[100];
    (void)state;
    check_agree("{\"lora_alpha\":16}",
                "{\"lora_alpha\":32.5,\"alpha_pattern\":{\"q\":1},\"use_rslora\":true}");
    for (size_t i = 0; i < 8; i++)
        for (size_t k = 0; k < 2; k++) {
            snprintf(a, sizeof a, "{\"peft_type\":\"%s\",\"%s\":4}", kinds[i], ranks[k]);
            snprintf(b, sizeof b, "{\"peft_type\":\"%s\",\"%s\":8}", kinds[i], ranks[k]);
            if (i < 4)
                check_agree(a, b);
            else
                check_differ(a, b, ": 4 and 8");
            snprintf(a, sizeof a, "{\"peft_type\":\"%s\",\"%s\":[\"q\"]}", kinds[i], layers[k]);
            snprintf(b, sizeof b, "{\"peft_type\":\"%s\",\"%s\":[\"q\",\"v\"]}", kinds[i], layers[k]);
            if (i < 6)
                check_agree(a, b);
            else
                check_differ(a, b, ": [\"q\"] and [\"q\",\"v\"]");
        }
    check_differ("{\"peft_type\":\"LORA\",\"r\":4}", "{\"peft_type\":\"LORA\",\"r\":4,\"bias\":\"all\"}",
                 "'bias'");
}

/* How training began does not matter after it, unless it has changed the base. */
static void initialisations_that_leave_the_base_agree(void **state)
{
    static const char *const idle[] = {"true",         "false",          "null",   "\"gaussian\"",
                                       "\"Gaussian\"", "\"orthogonal\"", "\"eva\""};
    static const char *const changing[] = {"\"pissa\"", "\"pissa_niter_16\"", "\"olora\"", "\"loftq\"",
                                           "\"corda\"", "\"lora_ga\"",        "7"};
    char a[200], b[200];
    (void)state;
    for (size_t i = 0; i < 7; i++)
        for (size_t k = 0; k < 7; k++) {
            snprintf(a, sizeof a, "{\"init_lora_weights\":%s}", idle[i]);
            snprintf(b, sizeof b, "{\"init_lora_weights\":%s}", idle[k]);
            check_agree(a, b);
            check_agree(a, "{}");
            snprintf(b, sizeof b, "{\"init_lora_weights\":%s}", changing[k]);
            check_differ(a, b, "'init_lora_weights'");
            check_differ("{}", b, "'init_lora_weights': absent and ");
            snprintf(a, sizeof a, "{\"init_lora_weights\":%s}", changing[i]);
            if (i == k)
                check_agree(a, b);
            else
                check_differ(a, b, "'init_lora_weights'");
        }
    /* the base is then what is left of it behind ranks and scales */
    for (size_t i = 0; i < 7; i++) {
        static const char *const keys[] = {"\"r\":%d", "\"lora_alpha\":%d", "\"target_modules\":[%d]"};
        for (size_t k = 0; k < 3; k++) {
            int n = snprintf(a, sizeof a, "{\"peft_type\":\"LORA\",\"init_lora_weights\":%s,", changing[i]);
            strcpy(b, a);
            snprintf(a + n, sizeof a - (size_t)n, keys[k], 4);
            snprintf(b + n, sizeof b - (size_t)n, keys[k], 8);
            check_differ(strcat(a, "}"), strcat(b, "}"), "4");
        }
    }
}

/* One model under two names cannot be told from two models. */
static void another_base_is_refused_with_what_to_do(void **state)
{
    static const char *const alike[] = {"\"org/base\"", "\"/data/base\"", "\"base\"",
                                        "\"C:\\\\models\\\\base\""};
    char a[100], b[100];
    (void)state;
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < 4; k++) {
            snprintf(a, sizeof a, "{\"base_model_name_or_path\":%s}", alike[i]);
            snprintf(b, sizeof b, "{\"base_model_name_or_path\":%s}", alike[k]);
            if (i != k)
                check_differ(a, b,
                             ", which end in the same name: if they are one model, say --adapter-differ "
                             "base_model_name_or_path");
        }
    for (size_t i = 0; i < 4; i++) {
        static const char *const other[] = {"\"org/base2\"", "\"mybase\"", "\"\"", "null"};
        emr_error error;
        snprintf(a, sizeof a, "{\"base_model_name_or_path\":%s}", alike[i]);
        snprintf(b, sizeof b, "{\"base_model_name_or_path\":%s}", other[i]);
        check_differ(a, b, ": if they are one model, say --adapter-differ base_model_name_or_path");
        assert_int_equal(compare((const char *const[]){a, b}, 2, NULL, &error), EMR_EMISMATCH);
        assert_null(strstr(error.text, "same name"));
    }
    check_differ("{\"revision\":\"a\"}", "{\"revision\":\"b\"}", "--adapter-differ revision");
}

static void named_keys_may_differ(void **state)
{
    const char *const keys[] = {"base_model_name_or_path", "nobody's"};
    const emr_agree_options options = {.size = sizeof options, .differ = keys, .n_differ = 2};
    emr_error error;
    (void)state;
    assert_ok(compare_with((const char *const[]){"{\"base_model_name_or_path\":\"a\",\"nobody's\":1}",
                                                 "{\"base_model_name_or_path\":\"b\"}"},
                           2, &options, &error),
              &error);
    assert_int_equal(
        compare_with((const char *const[]){"{\"base_model_name_or_path\":\"a\",\"bias\":\"all\"}", "{}"}, 2,
                     &options, &error),
        EMR_EMISMATCH);
    assert_true(is_sentence(&error, "'bias'", "absent"));
    /* a nested key is another one */
    assert_int_equal(
        compare_with((const char *const[]){"{\"a\":{\"nobody's\":1}}", "{}"}, 2, &options, &error),
        EMR_EMISMATCH);
}

static void what_does_not_need_not(void **state)
{
    (void)state;
    check_agree("{\"r\":8,\"inference_mode\":true,\"task_type\":\"CAUSAL_LM\",\"peft_version\":\"1\"}",
                "{\"r\":8,\"inference_mode\":false,\"task_type\":null,\"lora_dropout\":0.05,\"auto_mapping\":"
                "{\"a\":1}}");
    check_agree("{\"megatron_core\":\"megatron.core\",\"qalora_group_size\":16}",
                "{\"runtime_config\":{\"x\":[1]}}");
    check_agree("{\"vera_dropout\":0.1,\"xlora_dropout_p\":0.2,\"rank_dropout_scale\":true,\"init_ia3_"
                "weights\":true}",
                "{\"init_weights\":\"lycoris\",\"eva_config\":{\"rho\":2},\"tokenizer_name_or_path\":\"x\"}");
    check_differ("{\"dropout\":1}", "{\"dropout\":2}", "'dropout'");
    check_differ("{\"x_dropout_y\":1}", "{\"x_dropout_y\":2}", "'x_dropout_y'");
    /* only by these names, and at the top */
    check_differ("{\"a\":{\"task_type\":1}}", "{\"a\":{\"task_type\":2}}", "'a'");
}

/* Versions of PEFT differ in what they write for a key that is not set. */
static void what_is_not_set_may_be_absent(void **state)
{
    static const char *const nothings[] = {"{}", "{\"x\":null}", "{\"x\":false}", "{\"x\":[]}",
                                           "{\"x\": { } }"};
    static const char *const somethings[] = {"{\"x\":0}", "{\"x\":\"\"}", "{\"x\":true}", "{\"x\":[null]}",
                                             "{\"x\":{\"y\":null}}"};
    (void)state;
    for (size_t i = 0; i < 5; i++)
        for (size_t k = 0; k < 5; k++) {
            check_agree(nothings[i], nothings[k]);
            check_differ(nothings[i], somethings[k], "'x'");
            if (i == k)
                check_agree(somethings[i], somethings[k]);
            else
                check_differ(somethings[i], somethings[k], "'x'");
        }
    check_differ("{}", "{\"r\":8}", "'r': absent and 8");
    check_differ("{\"r\":8}", "{}", "'r': 8 and absent");
}

static void order_counts_in_lists_that_are_no_sets(void **state)
{
    (void)state;
    check_agree("{\"a\":1,\"b\":{\"c\":1,\"d\":2}}", "{\"b\":{\"d\":2,\"c\":1},\"a\":1}");
    check_agree("{\"target_modules\":[\"q\",\"v\"]}", "{\"target_modules\":[\"v\",\"q\"]}");
    check_agree("{\"layers_to_transform\":[1,2,3]}", "{\"layers_to_transform\":[3,1,2.0]}");
    check_differ("{\"target_modules\":[\"q\",\"v\"]}", "{\"target_modules\":[\"q\"]}",
                 "[\"q\",\"v\"] and [\"q\"]");
    check_differ("{\"target_modules\":[\"q\",\"v\"]}", "{\"target_modules\":[\"q\",\"w\"]}",
                 "'target_modules'");
    check_differ("{\"layer_replication\":[[0,4],[2,5]]}", "{\"layer_replication\":[[2,5],[0,4]]}",
                 "[[0,4],[2,5]] and [[2,5],[0,4]]");
    check_differ("{\"target_modules\":[[1,2]]}", "{\"target_modules\":[[2,1]]}", "'target_modules'");
    check_differ("{\"a\":{\"target_modules\":[1,2]}}", "{\"a\":{\"target_modules\":[2,1]}}", "'a'");
}

static void numbers_are_compared_by_value(void **state)
{
    static const char *const sixteen[] = {"16", "16.0", "1.6e1", "160E-1", "0.00016e+5", "16.000e0"};
    static const char *const others[] = {"-16", "1.6", "160", "1.6e2", "16.0000000000000000000001",
                                         "61",  "0"};
    char a[64], b[64];
    (void)state;
    for (size_t i = 0; i < 6; i++) {
        snprintf(a, sizeof a, "{\"x\":%s}", sixteen[i]);
        for (size_t k = 0; k < 6; k++) {
            snprintf(b, sizeof b, "{\"x\":[%s]}", sixteen[k]);
            check_differ(a, b, "'x'");
            snprintf(b, sizeof b, "{\"x\":%s}", sixteen[k]);
            check_agree(a, b);
        }
        for (size_t k = 0; k < 7; k++) {
            snprintf(b, sizeof b, "{\"x\":%s}", others[k]);
            check_differ(a, b, others[k]);
        }
    }
    check_agree("{\"x\":0}", "{\"x\":-0.00e7}");
    check_agree("{\"x\":-0.5}", "{\"x\":-5e-1}");
    check_agree("{\"x\":100000000000000000000000}", "{\"x\":1e23}");
    check_differ("{\"x\":1e99999999999999999999}", "{\"x\":1e-99999999999999999999}", "'x'");
}

static void strings_are_compared_as_what_they_say(void **state)
{
    (void)state;
    check_agree("{\"\\u0078\":\"a/b\"}", "{\"x\":\"\\u0061\\/b\"}");
    check_agree("{\"x\":[\"\xe2\x82\xac\"]}", "{\"x\":[\"\\u20AC\"]}");
}

static void one_without_is_another_kind(void **state)
{
    (void)state;
    check_differ(NULL, "{}", "task 'b' has an adapter_config.json and task 'a' has none");
    check_differ("{}", NULL, "task 'a' has an adapter_config.json and task 'b' has none");
}

static void every_model_is_looked_at(void **state)
{
    emr_error error;
    (void)state;
    assert_int_equal(compare(NULL, 0, NULL, &error), EMR_OK);
    assert_int_equal(compare((const char *const[]){"{}"}, 1, NULL, &error), EMR_OK);
    assert_ok(compare((const char *const[]){lora, lora, lora}, 3, NULL, &error), &error);
    assert_int_equal(compare((const char *const[]){lora, lora, "{}"}, 3, NULL, &error), EMR_EMISMATCH);
    assert_true(is_sentence(&error, "task 'a'", "task 'c'"));
    assert_int_equal(compare((const char *const[]){NULL, NULL, "{}"}, 3, NULL, &error), EMR_EMISMATCH);
    const emr_model *none = NULL;
    assert_int_equal(emr_adapters_agree(&none, names, 1, NULL, &error), EMR_EINVAL);
    assert_int_equal(emr_adapters_agree(NULL, names, 1, NULL, &error), EMR_EINVAL);
}

/* Metadata can come from anywhere. */
static void what_is_no_configuration_is_refused(void **state)
{
    static const char *const bad[] = {
        "", "[]", "8", "{\"r\":}", "{\"r\":8,\"r\":8}", "{}x", "{\"a\":[1,2}", "{\"a\":{\"b\""};
    char *deep = malloc(EMR_ADAPTER_CONFIG_MAX + 2);
    emr_error error;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(compare((const char *const[]){"{}", bad[i]}, 2, NULL, &error), EMR_EFORMAT);
        assert_true(is_sentence(&error, "task 'b'", "adapter_config.json"));
        assert_int_equal(compare(&bad[i], 1, NULL, &error), EMR_EFORMAT);
        assert_true(is_sentence(&error, "task 'a'", "adapter_config.json"));
    }
    memset(deep, '[', EMR_ADAPTER_CONFIG_MAX + 1);
    memcpy(deep, "{\"a\":", 5);
    deep[EMR_ADAPTER_CONFIG_MAX] = '\0';
    assert_int_equal(compare((const char *const[]){deep}, 1, NULL, &error), EMR_EFORMAT);
    assert_true(is_sentence(&error, "task 'a'", "64 deep"));
    strcat(deep, "[");
    assert_int_equal(compare((const char *const[]){deep}, 1, NULL, &error), EMR_EFORMAT);
    assert_true(is_sentence(&error, "task 'a'", "1048576 bytes"));
    free(deep);
}

/* As deep as JSON goes here, in any order of keys. */
static void deep_values_are_compared(void **state)
{
    char a[1000] = "{\"x\":", b[1000] = "{\"x\":", c[1000];
    (void)state;
    for (int i = 0; i < 63; i++) {
        strcat(a, "{\"k\":1,\"l\":");
        strcat(b, "{\"l\":");
    }
    strcat(a, "7");
    strcat(b, "7");
    for (int i = 0; i < 63; i++) {
        strcat(a, "}");
        strcat(b, ",\"k\":1}");
    }
    strcat(a, "}");
    strcat(b, "}");
    check_agree(a, b);
    strcpy(c, b);
    *strchr(c, '7') = '8';
    check_differ(a, c, "'x'");
    check_differ(c, b, "'x'");
}

/* Long values are cut, at a character, and white space is not shown as it stands. */
static void the_sentence_is_one_line(void **state)
{
    char a[600], b[600] = "{\"x\":[\n  1,\n\t2\n]}";
    emr_error error;
    (void)state;
    for (size_t shift = 0; shift < 3; shift++) {
        size_t n = (size_t)snprintf(a, sizeof a, "{\"x\":\"%.*s", (int)shift, "abc");
        for (int i = 0; i < 100; i++)
            n += (size_t)snprintf(a + n, sizeof a - n, "\xe2\x82\xac");
        snprintf(a + n, sizeof a - n, "\"}");
        check_differ(a, b, "... and [ 1, 2 ]");
        assert_int_equal(compare((const char *const[]){a, b}, 2, NULL, &error), EMR_EMISMATCH);
        const char *dots = strstr(error.text, "...");
        assert_memory_equal(dots - 3, "\xe2\x82\xac", 3);
        assert_true(strlen(error.text) < 300);
    }
}

static void memory_may_end_anywhere(void **state)
{
    char text[2000] = "{\"bias\":\"none\"";
    test_allocator counts = {.fail_at = SIZE_MAX};
    emr_allocator allocator = test_allocator_make(&counts);
    emr_status status = EMR_ENOMEM;
    emr_error error;
    size_t k = 0;
    (void)state;
    for (size_t i = 0; i < 40; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), ",\"key %zu\":[%zu]", i, i);
    strcat(text, "}");
    for (; status; k++) {
        counts = (test_allocator){.fail_at = k};
        status = compare((const char *const[]){text, text}, 2, &allocator, &error);
        assert_true(status == EMR_OK || status == EMR_ENOMEM);
        assert_int_equal(counts.alive, 0);
    }
    assert_true(k > 10);
}

/* The most that is taken for the longest configurations, of very many keys, and of few. */
static void memory_is_bounded(void **state)
{
    char *text = malloc(EMR_ADAPTER_CONFIG_MAX + 20);
    (void)state;
    for (size_t kind = 0; kind < 2; kind++) {
        test_meter meter = {0};
        emr_allocator allocator = test_meter_make(&meter);
        emr_error error;
        size_t n = (size_t)snprintf(text, 20, "{\"\":1");
        if (kind)
            for (unsigned i = 0; n < EMR_ADAPTER_CONFIG_MAX - 20; i++)
                n += (size_t)snprintf(text + n, 20, ",\"%x\":1", i);
        snprintf(text + n, 20, "}");
        assert_ok(compare((const char *const[]){text, text}, 2, &allocator, &error), &error);
        assert_int_equal(meter.now, 0);
        assert_true(meter.peak <= 50 * strlen(text) + 65536);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_agrees),
        cmocka_unit_test(what_decides_about_tensors_must_agree),
        cmocka_unit_test(what_does_not_need_not),
        cmocka_unit_test(what_comes_back_with_a_task_may_differ),
        cmocka_unit_test(initialisations_that_leave_the_base_agree),
        cmocka_unit_test(another_base_is_refused_with_what_to_do),
        cmocka_unit_test(named_keys_may_differ),
        cmocka_unit_test(what_is_not_set_may_be_absent),
        cmocka_unit_test(order_counts_in_lists_that_are_no_sets),
        cmocka_unit_test(numbers_are_compared_by_value),
        cmocka_unit_test(strings_are_compared_as_what_they_say),
        cmocka_unit_test(one_without_is_another_kind),
        cmocka_unit_test(every_model_is_looked_at),
        cmocka_unit_test(what_is_no_configuration_is_refused),
        cmocka_unit_test(deep_values_are_compared),
        cmocka_unit_test(the_sentence_is_one_line),
        cmocka_unit_test(memory_may_end_anywhere),
        cmocka_unit_test(memory_is_bounded),
    };
    return cmocka_run_group_tests_name("adapters that agree", tests, NULL, NULL);
}

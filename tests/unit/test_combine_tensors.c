/* test_combine_tensors.c - which tensors of a combined model are combined, which are copied, and what is refused:
 * tensors that are missing, that have other shapes, that are no weights. */
#include "combined_world.h"

#include <stdio.h>

static emr_status read_ones(const emr_method_chunk *c, emr_error *error)
{
    (void)error;
    for (size_t i = 0; i < c->n; i++) {
        c->out[i] = 0;
        for (uint32_t t = 0; t < c->tensor->n_inputs; t++)
            c->out[i] += c->inputs[t][i];
    }
    return EMR_OK;
}

/* The sum of the task vectors; of weights, the base's among them; of weights, or of task vectors where there is a base;
 * and of weights with the base beside. */
static const emr_method adding = {
    .size = sizeof adding, .name = "adding", .base = EMR_METHOD_BASE_REQUIRED, .combine = read_ones};
static const emr_method summing = {
    .size = sizeof summing, .name = "summing", .base = EMR_METHOD_BASE_INPUT, .combine = read_ones};
static const emr_method either = {
    .size = sizeof either, .name = "either", .base = EMR_METHOD_BASE_OPTIONAL, .combine = read_ones};
static const emr_method beside = {
    .size = sizeof beside, .name = "beside", .base = EMR_METHOD_BASE_BESIDE, .combine = read_ones};
static const emr_method needs_two = {.size = sizeof needs_two,
                                     .name = "needs_two",
                                     .base = EMR_METHOD_BASE_REQUIRED,
                                     .min_tasks = 2,
                                     .max_tasks = 2,
                                     .combine = read_ones};
static const emr_method joining = {.size = sizeof joining,
                                   .name = "joining",
                                   .base = EMR_METHOD_BASE_REQUIRED,
                                   .whole_model = 1,
                                   .combine = read_ones};

/* A model of tensors whose values are drawn; data is kept for the program's life. */
typedef struct part {
    const char *name;
    emr_dtype dtype;
    uint32_t rank;
    uint64_t shape[2];
    const void *data; /* NULL: small whole numbers that differ from model to model */
} part;

static uint64_t count_of(const part *p)
{
    uint64_t n = 1;
    for (uint32_t i = 0; i < p->rank; i++)
        n *= p->shape[i];
    return n;
}

static float value_of(unsigned seed, const part *p, uint64_t i)
{
    return (float)((seed * 7 + i * 13 + (uint64_t)p->name[0]) % 31) - 15;
}

enum { MODELS_MOST = 200 };
static void *kept[MODELS_MOST * 8];
static size_t n_kept;

static void *keep_memory(size_t bytes)
{
    assert_true(n_kept < sizeof kept / sizeof *kept);
    return kept[n_kept++] = calloc(bytes + 1, 1);
}

static int free_kept(void **state)
{
    (void)state;
    while (n_kept)
        free(kept[--n_kept]);
    return 0;
}

static emr_model *make_model(const char *name, unsigned seed, const part *parts, size_t n)
{
    emr_model *m = test_model_new(name);
    for (size_t k = 0; k < n; k++) {
        const part *p = &parts[k];
        const size_t size = emr_dtype_bits(p->dtype) / 8;
        emr_tensor_desc desc = EMR_INIT(emr_tensor_desc);
        emr_error error;
        desc.name = p->name;
        desc.dtype = p->dtype;
        desc.rank = p->rank;
        desc.shape = p->shape;
        desc.data = p->data;
        if (!p->data) {
            unsigned char *data = keep_memory((size_t)count_of(p) * size);
            for (uint64_t i = 0; emr_dtype_is_float(p->dtype) && i < count_of(p); i++) {
                float value = value_of(seed, p, i);
                emr_convert(p->dtype, data + i * size, EMR_DTYPE_F32, &value, 1);
            }
            desc.data = data;
        }
        assert_ok(emr_model_add(m, &desc, &error), &error);
    }
    return m;
}

/* A base and up to three tasks; n_parts 0 ends the list. */
typedef struct family {
    const part *parts[4];
    size_t n_parts[4];
    const emr_method *method;
    const emr_policy *policy;
    bool without_base;
    emr_model *models[4];
    emr_combination *combination;
    emr_model *combined;
    emr_error error;
} family;

static emr_status open_family(family *f)
{
    static const char *const names[] = {"base", "a", "b", "c"};
    emr_combination_options options = EMR_INIT(emr_combination_options);
    emr_error error;
    options.method = f->method ? f->method : &adding;
    options.policy = f->policy;
    assert_ok(emr_combination_create(&f->combination, &options, &error), &error);
    for (unsigned k = 0; k < 4; k++) {
        if (!f->parts[k])
            continue;
        f->models[k] = make_model(names[k], k + 1, f->parts[k], f->n_parts[k]);
        if (k)
            assert_ok(emr_combination_add_task(f->combination, names[k], f->models[k], &error), &error);
        else if (!f->without_base)
            assert_ok(emr_combination_set_base(f->combination, f->models[k], &error), &error);
    }
    return emr_combination_open_model(f->combination, &f->combined, &f->error);
}

static void close_family(family *f)
{
    emr_model_destroy(&f->combined);
    emr_combination_destroy(&f->combination);
    for (unsigned k = 0; k < 4; k++)
        emr_model_destroy(&f->models[k]);
}

/* Fails with this status, naming task and tensor, and with these words. */
static void expect_refusal(family *f, emr_status status, const char *task, const char *tensor,
                           const char *words)
{
    emr_status got = open_family(f);
    if (got != status)
        fail_msg("%s, not %s: %s", emr_status_name(got), emr_status_name(status), got ? f->error.text : "");
    assert_null(f->combined);
    if (task)
        assert_true(test_span_is(&f->error, f->error.task, task));
    if (tensor)
        assert_true(test_span_is(&f->error, f->error.tensor, tensor));
    if (words && !strstr(f->error.text, words))
        fail_msg("'%s' is not in: %s", words, f->error.text);
    close_family(f);
}

static emr_combined_tensor tensor_of(family *f, const char *name)
{
    emr_combined_tensor t = EMR_INIT(emr_combined_tensor);
    for (uint32_t i = 0; emr_combination_get_tensor(f->combination, i, &t) == EMR_OK; i++)
        if (strcmp(t.name, name) == 0)
            return t;
    fail_msg("no tensor %s", name);
    return t;
}

static void expect_action(family *f, const char *name, emr_combined_action action, const char *reason,
                          uint32_t n_inputs)
{
    emr_combined_tensor t = tensor_of(f, name);
    assert_int_equal(t.action, action);
    assert_string_equal(t.reason, reason);
    assert_int_equal(t.n_inputs, n_inputs);
}

static void expect_open(family *f)
{
    emr_status status = open_family(f);
    if (status)
        fail_msg("%s", f->error.text);
}

/* The value of an element that is float in all: base + sum of tasks' changes, over the tasks in `which`. */
static void check_sum(family *f, const part *p, const unsigned *which, size_t n)
{
    const emr_tensor *t = emr_model_find_tensor(f->combined, p->name);
    float *got = malloc((size_t)count_of(p) * 4 + 4);
    emr_error error;
    assert_ok(emr_tensor_read_floats(t, 0, (size_t)count_of(p), got, &error), &error);
    for (uint64_t i = 0; i < count_of(p); i++) {
        float base = value_of(1, p, i), sum = 0;
        for (size_t k = 0; k < n; k++)
            sum += value_of(which[k] + 1, p, i) - base;
        if (got[i] != base + sum)
            fail_msg("%s[%zu] is %g, not %g", p->name, (size_t)i, (double)got[i], (double)(base + sum));
    }
    free(got);
}

#define PARTS(list)                                                                                          \
    {                                                                                                        \
        list, sizeof list / sizeof list[0]                                                                   \
    }
static const part full[] = {{"w", EMR_DTYPE_F32, 2, {5, 4}, NULL}, {"x", EMR_DTYPE_F16, 1, {9}, NULL}};
static const part without_x[] = {{"w", EMR_DTYPE_F32, 2, {5, 4}, NULL}};
static const unsigned both[] = {1, 2}, first[] = {1};

static void missing_tensors_follow_the_policy(void **state)
{
    emr_policy policy = EMR_INIT(emr_policy);
    static const char *const globs[] = {"x*"};
    family f = {.parts = {full, full, without_x}, .n_parts = {2, 2, 1}};
    (void)state;
    expect_refusal(&f, EMR_EMISMATCH, "b", "x", "--on-missing");
    f.policy = &policy;
    policy.on_missing = EMR_ON_MISSING_ABSENT;
    expect_open(&f);
    expect_action(&f, "x", EMR_COMBINED_ACTION_COMBINE, "float in the base; some tasks lack it", 1);
    expect_action(&f, "w", EMR_COMBINED_ACTION_COMBINE, "float in the base and every task", 2);
    check_sum(&f, &full[0], both, 2);
    check_sum(&f, &full[1], first, 1);
    close_family(&f);
    policy.on_missing = EMR_ON_MISSING_BASE;
    expect_open(&f);
    expect_action(&f, "x", EMR_COMBINED_ACTION_COMBINE, "float in the base and every task", 2);
    check_sum(&f, &full[1], first, 1);
    close_family(&f);
    policy.on_missing = EMR_ON_MISSING_ERROR;
    policy.base_globs = globs;
    policy.n_base_globs = 1;
    expect_open(&f);
    close_family(&f);
    policy.n_base_globs = 0;
    policy.absent_globs = globs;
    policy.n_absent_globs = 1;
    expect_open(&f);
    expect_action(&f, "x", EMR_COMBINED_ACTION_COMBINE, "float in the base; some tasks lack it", 1);
    close_family(&f);
    f.parts[1] = without_x, f.n_parts[1] = 1;
    expect_open(&f);
    expect_action(&f, "x", EMR_COMBINED_ACTION_COPY, "in no task", 0);
    check_sum(&f, &full[1], first, 0);
    close_family(&f);
    f.method = &joining;
    expect_refusal(&f, EMR_EINVAL, "a", "x", "joins all tensors");
    f.method = &needs_two;
    f.parts[1] = full, f.n_parts[1] = 2;
    expect_refusal(&f, EMR_EMISMATCH, NULL, "x", "in 1 of the tasks");
}

/* Without a base the first task takes its place, and no task can have what there is not. */
static void without_a_base_the_first_task_leads(void **state)
{
    emr_policy policy = EMR_INIT(emr_policy);
    family f = {
        .parts = {NULL, full, without_x}, .n_parts = {0, 2, 1}, .method = &summing, .policy = &policy};
    float got[20];
    (void)state;
    expect_refusal(&f, EMR_EMISMATCH, "b", "x", "the first task");
    policy.on_missing = EMR_ON_MISSING_BASE;
    expect_refusal(&f, EMR_EINVAL, "b", "x", "no base");
    policy.on_missing = EMR_ON_MISSING_ABSENT;
    expect_open(&f);
    expect_action(&f, "x", EMR_COMBINED_ACTION_COMBINE, "float; some tasks lack it", 1);
    expect_action(&f, "w", EMR_COMBINED_ACTION_COMBINE, "float in every task", 2);
    assert_int_equal(emr_tensor_read_floats(emr_model_tensor(f.combined, 0), 0, 20, got, NULL), EMR_OK);
    for (uint64_t i = 0; i < 20; i++)
        assert_true(got[i] == value_of(2, &full[0], i) + value_of(3, &full[0], i));
    close_family(&f);
    f.method = &adding;
    expect_refusal(&f, EMR_EINVAL, NULL, NULL, "needs a base");
    f.parts[1] = without_x, f.n_parts[1] = 1;
    f.parts[2] = full, f.n_parts[2] = 2;
    f.method = &summing;
    expect_refusal(&f, EMR_EMISMATCH, "b", "x", "the first task");
}

/* What each kind of base makes of the same models. */
static void bases_are_added_to_summed_or_looked_at(void **state)
{
    static const emr_method *const methods[] = {&adding, &summing, &either, &beside};
    float got[20];
    (void)state;
    for (size_t k = 0; k < 4; k++) {
        family f = {.parts = {full, full, full}, .n_parts = {2, 2, 2}, .method = methods[k]};
        expect_open(&f);
        expect_action(&f, "w", EMR_COMBINED_ACTION_COMBINE, "float in the base and every task",
                      k == 1 ? 3 : 2);
        assert_int_equal(emr_tensor_read_floats(emr_model_tensor(f.combined, 0), 0, 20, got, NULL), EMR_OK);
        for (uint64_t i = 0; i < 20; i++) {
            float base = value_of(1, full, i), a = value_of(2, full, i), b = value_of(3, full, i);
            assert_true(got[i] == (k == 1   ? base + a + b
                                   : k == 3 ? a + b
                                            : base + ((a - base) + (b - base))));
        }
        close_family(&f);
    }
    family f = {.parts = {NULL, full, full}, .n_parts = {0, 2, 2}, .method = &either};
    expect_open(&f);
    assert_int_equal(emr_tensor_read_floats(emr_model_tensor(f.combined, 0), 0, 20, got, NULL), EMR_OK);
    assert_true(got[3] == value_of(2, full, 3) + value_of(3, full, 3));
    close_family(&f);
    f.method = &beside;
    expect_refusal(&f, EMR_EINVAL, NULL, NULL, "needs a base");
}

static void numbers_of_tasks_are_the_methods(void **state)
{
    family f = {.parts = {full, full}, .n_parts = {2, 2}, .method = &needs_two};
    (void)state;
    expect_refusal(&f, EMR_EINVAL, NULL, NULL, "needs 2 tasks, not 1");
    f.parts[2] = f.parts[3] = full, f.n_parts[2] = f.n_parts[3] = 2;
    expect_refusal(&f, EMR_EINVAL, NULL, NULL, "takes 2 tasks, not 3");
    f.parts[3] = NULL;
    expect_open(&f);
    close_family(&f);
    f.parts[1] = f.parts[2] = NULL;
    f.method = &adding;
    expect_refusal(&f, EMR_EINVAL, NULL, NULL, "needs 1 task, not 0");
}

static const part longer[] = {{"w", EMR_DTYPE_F32, 2, {7, 4}, NULL}, {"x", EMR_DTYPE_F16, 1, {9}, NULL}};
static const part shorter[] = {{"w", EMR_DTYPE_F32, 2, {3, 4}, NULL}, {"x", EMR_DTYPE_F16, 1, {9}, NULL}};
static const part broader[] = {{"w", EMR_DTYPE_F32, 2, {5, 3}, NULL}, {"x", EMR_DTYPE_F16, 1, {9}, NULL}};

/* Rows that only one task has, or one lacks. */
static void shapes_follow_the_policy(void **state)
{
    emr_policy policy = EMR_INIT(emr_policy);
    family f = {.parts = {full, longer, shorter}, .n_parts = {2, 2, 2}, .policy = &policy};
    float got[20];
    (void)state;
    expect_refusal(&f, EMR_EMISMATCH, "a", "w", "[7, 4]");
    policy.on_mismatch = EMR_ON_MISMATCH_PRIVATE;
    expect_open(&f);
    expect_action(&f, "w", EMR_COMBINED_ACTION_COPY, "shape or dtype differs between base and tasks", 0);
    check_sum(&f, &full[0], first, 0);
    check_sum(&f, &full[1], both, 2);
    close_family(&f);
    policy.on_mismatch = EMR_ON_MISMATCH_ROWS;
    static const emr_method *const methods[] = {&adding, &summing, &beside};
    for (size_t k = 0; k < 3; k++) {
        f.method = methods[k];
        expect_open(&f);
        expect_action(&f, "w", EMR_COMBINED_ACTION_COMBINE, "float in the base and every task",
                      k == 1 ? 3 : 2);
        for (size_t from = 0; from < 20; from++) { /* also pieces that begin behind the shorter's end */
            assert_int_equal(
                emr_tensor_read_floats(emr_model_tensor(f.combined, 0), from, 20 - from, got + from, NULL),
                EMR_OK);
            for (uint64_t i = from; i < 20; i++) {
                float base = value_of(1, full, i), a = value_of(2, full, i),
                      b = i < 12 ? value_of(3, full, i) : base;
                assert_true(got[i] == (k == 0   ? base + ((a - base) + (b - base))
                                       : k == 1 ? base + a + b
                                                : a + b));
            }
        }
        close_family(&f);
    }
    f.method = &adding;
    f.parts[1] = broader;
    expect_open(&f);
    expect_action(&f, "w", EMR_COMBINED_ACTION_COPY, "shape or dtype differs between base and tasks", 0);
    close_family(&f);
    f.parts[0] = NULL, f.parts[1] = full;
    f.method = &summing;
    expect_refusal(&f, EMR_EINVAL, "b", "w", "another number of rows");
    policy.on_mismatch = EMR_ON_MISMATCH_PAD;
    emr_combination_options options = EMR_INIT(emr_combination_options);
    emr_combination *c;
    options.method = &adding;
    options.policy = &policy;
    assert_int_equal(emr_combination_create(&c, &options, NULL), EMR_EINVAL);
    assert_null(c);
}

static const int32_t numbers[] = {1, 2, 3}, others[] = {1, 2, 4};
static const int64_t wide_numbers[] = {1, 2, 3}, wide_others[] = {5, 2, 4};
static const float means[] = {1, 2, 3, 4, 5, 6, 7, 8, 9}, other_means[] = {1, 2, 3, 4, 5, 6, 7, 8, 0};
#define LISTS(ints, wide, mean)                                                                              \
    {                                                                                                        \
        {"bn.weight", EMR_DTYPE_F32, 1, {9}, NULL}, {"bn.bias", EMR_DTYPE_F32, 1, {9}, NULL},                \
            {"bn.running_mean", EMR_DTYPE_F32, 1, {9}, mean},                                                \
            {"bn.running_var", EMR_DTYPE_F32, 1, {9}, means}, {"ids", EMR_DTYPE_I32, 1, {3}, ints},          \
            {"bn.num_batches_tracked", EMR_DTYPE_I64, 1, {3}, wide},                                         \
    }
static const part same_numbers[] = LISTS(numbers, wide_numbers, means);
static const part other_wide[] = LISTS(numbers, wide_others, means);
static const part other_ints[] = LISTS(others, wide_numbers, means);
static const part other_mean[] = LISTS(numbers, wide_numbers, other_means);

/* What is no weight is the base's if all have the same; else somebody must decide. */
static void what_is_no_weight_must_be_the_same(void **state)
{
    static const char *const decided[] = {"ids", "bn.running_*"};
    emr_policy policy = EMR_INIT(emr_policy);
    family f = {.parts = {same_numbers, same_numbers, other_wide}, .n_parts = {6, 6, 6}, .policy = &policy};
    (void)state;
    expect_open(&f);
    expect_action(&f, "bn.weight", EMR_COMBINED_ACTION_COMBINE, "float in the base and every task", 2);
    expect_action(&f, "ids", EMR_COMBINED_ACTION_COPY, "not a float: the base's, where all have the same", 0);
    expect_action(&f, "bn.num_batches_tracked", EMR_COMBINED_ACTION_COPY, "integers of 64 bits: the base's",
                  0);
    assert_int_equal(tensor_of(&f, "bn.running_mean").action, EMR_COMBINED_ACTION_COPY);
    unsigned char *got = world_read(emr_model_find_tensor(f.combined, "bn.num_batches_tracked"));
    assert_memory_equal(got, wide_numbers, sizeof wide_numbers);
    free(got);
    close_family(&f);
    f.parts[2] = other_ints;
    expect_refusal(&f, EMR_EMISMATCH, "b", "ids", "--keep");
    f.parts[2] = other_mean;
    expect_refusal(&f, EMR_EMISMATCH, "b", "bn.running_mean", "--merge");
    policy.private_globs = decided;
    policy.n_private_globs = 2;
    expect_open(&f);
    expect_action(&f, "ids", EMR_COMBINED_ACTION_COPY, "matches a private pattern: the base's", 0);
    close_family(&f);
    policy.n_private_globs = 0;
    policy.merge_globs = decided + 1;
    policy.n_merge_globs = 1;
    expect_open(&f);
    expect_action(&f, "bn.running_mean", EMR_COMBINED_ACTION_COMBINE, "float in the base and every task", 2);
    float mean;
    assert_int_equal(
        emr_tensor_read_floats(emr_model_find_tensor(f.combined, "bn.running_mean"), 8, 1, &mean, NULL),
        EMR_OK);
    assert_true(mean == 0);
    close_family(&f);
    policy.merge_globs = decided;
    policy.n_merge_globs = 2;
    expect_refusal(&f, EMR_EINVAL, NULL, "ids", "only floats");
}

static const part folder[] = {{"w", EMR_DTYPE_F32, 2, {5, 4}, NULL},
                              {"x", EMR_DTYPE_F16, 1, {9}, NULL},
                              {"file:config.json", EMR_DTYPE_U8, 1, {2}, "{}"},
                              {"gguf.header", EMR_DTYPE_U8, 1, {3}, "abc"}};
static const part other_folder[] = {{"w", EMR_DTYPE_F32, 2, {5, 4}, NULL},
                                    {"x", EMR_DTYPE_F16, 1, {9}, NULL},
                                    {"file:config.json", EMR_DTYPE_U8, 1, {4}, "{  }"},
                                    {"file:vocab.txt", EMR_DTYPE_U8, 1, {1}, "a"},
                                    {"position", EMR_DTYPE_I64, 1, {3}, wide_numbers},
                                    {"gguf.header", EMR_DTYPE_U8, 1, {2}, "ab"}};

static void files_and_metadata_are_the_bases(void **state)
{
    family f = {.parts = {folder, other_folder, full}, .n_parts = {4, 6, 2}};
    (void)state;
    expect_open(&f);
    assert_int_equal(emr_model_n_tensors(f.combined), 4);
    unsigned char *got = world_read(emr_model_find_tensor(f.combined, "file:config.json"));
    assert_memory_equal(got, "{}", 2);
    free(got);
    got = world_read(emr_model_find_tensor(f.combined, "gguf.header"));
    assert_memory_equal(got, "abc", 3);
    free(got);
    close_family(&f);
}

static const part more[] = {{"w", EMR_DTYPE_F32, 2, {5, 4}, NULL},
                            {"x", EMR_DTYPE_F16, 1, {9}, NULL},
                            {"extra", EMR_DTYPE_F32, 1, {2}, NULL}};
static const part strange[] = {{"v", EMR_DTYPE_F32, 2, {5, 4}, NULL}};

static void what_the_base_lacks_must_be_left_out(void **state)
{
    static const char *const globs[] = {"ext*"};
    emr_policy policy = EMR_INIT(emr_policy);
    family f = {.parts = {full, full, more}, .n_parts = {2, 2, 3}, .policy = &policy};
    (void)state;
    expect_refusal(&f, EMR_EMISMATCH, "b", "extra", "the base (base) has no tensor");
    policy.private_globs = globs;
    policy.n_private_globs = 1;
    expect_open(&f);
    assert_int_equal(emr_model_n_tensors(f.combined), 2);
    close_family(&f);
    f.parts[2] = strange, f.n_parts[2] = 1;
    expect_refusal(&f, EMR_EMISMATCH, "b", NULL, "another model");
}

/* A base of zeros: tensors come from the first task, and its numbers that are no weights. */
static void a_base_of_zeros_has_no_say(void **state)
{
    family f = {.parts = {NULL, same_numbers, other_wide}, .n_parts = {0, 6, 6}, .method = &adding};
    emr_model *like = make_model("a", 2, same_numbers, 6), *zeros;
    emr_combination_options options = EMR_INIT(emr_combination_options);
    emr_error error;
    float got;
    (void)state;
    assert_ok(emr_model_create_zeros(&zeros, like, NULL, &error), &error);
    options.method = &adding;
    assert_ok(emr_combination_create(&f.combination, &options, &error), &error);
    assert_ok(emr_combination_set_base(f.combination, zeros, &error), &error);
    assert_ok(emr_combination_add_task(f.combination, "a", like, &error), &error);
    assert_ok(emr_combination_open_model(f.combination, &f.combined, &error), &error);
    assert_int_equal(emr_model_n_tensors(f.combined), 6);
    assert_ok(
        emr_tensor_read_floats(emr_model_find_tensor(f.combined, "bn.running_mean"), 4, 1, &got, &error),
        &error);
    assert_true(got == 5);
    assert_ok(emr_tensor_read_floats(emr_model_find_tensor(f.combined, "bn.weight"), 4, 1, &got, &error),
              &error);
    assert_true(got == value_of(2, &same_numbers[0], 4));
    close_family(&f);
    emr_model_destroy(&zeros);
    emr_model_destroy(&like);
}

static void metadata_are_the_bases(void **state)
{
    family f = {.parts = {full, full}, .n_parts = {2, 2}};
    emr_combination_options options = EMR_INIT(emr_combination_options);
    emr_error error;
    (void)state;
    options.method = &adding;
    f.models[0] = make_model("base", 1, full, 2);
    f.models[1] = make_model("a", 2, full, 2);
    assert_ok(emr_model_set_metadata(f.models[0], "format", "pt", &error), &error);
    assert_ok(emr_model_set_metadata(f.models[1], "format", "tf", &error), &error);
    assert_ok(emr_combination_create(&f.combination, &options, &error), &error);
    assert_ok(emr_combination_set_base(f.combination, f.models[0], &error), &error);
    assert_ok(emr_combination_add_task(f.combination, "a", f.models[1], &error), &error);
    assert_ok(emr_combination_open_model(f.combination, &f.combined, &error), &error);
    assert_string_equal(emr_model_find_metadata(f.combined, "format"), "pt");
    close_family(&f);
}

static const part heads_a[] = {{"w", EMR_DTYPE_F32, 2, {5, 4}, NULL},
                               {"head", EMR_DTYPE_F32, 2, {2, 4}, NULL}};
static const part heads_b[] = {{"w", EMR_DTYPE_F32, 2, {5, 4}, NULL},
                               {"head", EMR_DTYPE_F32, 2, {3, 4}, NULL}};

/* Heads of other lengths stand side by side, or go through the method padded with zeros. */
static void heads_are_joined_or_combined(void **state)
{
    static const char *const globs[] = {"head"};
    float got[20];
    (void)state;
    for (uint32_t combined = 0; combined < 2; combined++) {
        emr_combination_options options = EMR_INIT(emr_combination_options);
        family f = {.combination = NULL};
        emr_error error;
        options.method = &adding;
        options.head_globs = globs;
        options.n_head_globs = 1;
        options.combine_heads = combined;
        f.models[0] = make_model("base", 1, without_x, 1);
        f.models[1] = make_model("a", 2, heads_a, 2);
        f.models[2] = make_model("b", 3, heads_b, 2);
        assert_ok(emr_combination_create(&f.combination, &options, &error), &error);
        assert_ok(emr_combination_set_base(f.combination, f.models[0], &error), &error);
        assert_ok(emr_combination_add_task(f.combination, "a", f.models[1], &error), &error);
        assert_ok(emr_combination_add_task(f.combination, "b", f.models[2], &error), &error);
        assert_ok(emr_combination_open_model(f.combination, &f.combined, &error), &error);
        emr_combined_tensor t = tensor_of(&f, "head");
        assert_int_equal(t.action, combined ? EMR_COMBINED_ACTION_COMBINE : EMR_COMBINED_ACTION_HEAD);
        assert_int_equal(t.shape[0], 5);
        assert_ok(emr_tensor_read_floats(emr_model_find_tensor(f.combined, "head"), 0, 20, got, &error),
                  &error);
        for (uint64_t i = 0; i < 20; i++)
            assert_true(got[i] == (i < 8 ? value_of(2, &heads_a[1], i) : value_of(3, &heads_b[1], i - 8)));
        assert_non_null(emr_model_find_metadata(f.combined, EMR_HEAD_GROUPS));
        check_sum(&f, &full[0], both, 2);
        close_family(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(missing_tensors_follow_the_policy),
        cmocka_unit_test(without_a_base_the_first_task_leads),
        cmocka_unit_test(bases_are_added_to_summed_or_looked_at),
        cmocka_unit_test(numbers_of_tasks_are_the_methods),
        cmocka_unit_test(shapes_follow_the_policy),
        cmocka_unit_test(what_is_no_weight_must_be_the_same),
        cmocka_unit_test(files_and_metadata_are_the_bases),
        cmocka_unit_test(what_the_base_lacks_must_be_left_out),
        cmocka_unit_test(a_base_of_zeros_has_no_say),
        cmocka_unit_test(metadata_are_the_bases),
        cmocka_unit_test(heads_are_joined_or_combined),
    };
    return cmocka_run_group_tests(tests, NULL, free_kept);
}

/* test_heads.c - heads of tasks with labels of their own: which tensors they are, views in any range, the joined
 * heads, and what is refused. */
#include "support.h"

#include <stdio.h>

enum { N_WIDTH = 5, N_TENSORS_MOST = 6, N_TASKS_MOST = 4 };

/* A task: its labels, and the tensors of its model. */
typedef struct head_case {
    const char *name;
    test_tensor tensors[N_TENSORS_MOST];
    size_t n;
} head_case;

typedef struct head_world {
    test_model models[N_TASKS_MOST];
    const emr_model *tasks[N_TASKS_MOST];
    const char *names[N_TASKS_MOST];
    emr_heads *heads;
    uint32_t n;
} head_world;

static void world_fill(head_world *w, const head_case *cases, uint32_t n, test_source source)
{
    rng r = {11};
    memset(w, 0, sizeof *w);
    w->n = n;
    for (uint32_t t = 0; t < n; t++) {
        w->models[t] = test_model_create(cases[t].name, cases[t].tensors, cases[t].n, source);
        test_model_randomise(&w->models[t], &r);
        w->tasks[t] = w->models[t].model;
        w->names[t] = cases[t].name;
    }
}

static void world_free(head_world *w)
{
    emr_heads_destroy(&w->heads);
    for (uint32_t t = 0; t < w->n; t++)
        test_model_destroy(&w->models[t]);
}

static emr_status world_create_heads(head_world *w, const char *glob, const emr_allocator *allocator,
                                     emr_error *error)
{
    const emr_heads_options options = {.size = sizeof options,
                                       .allocator = allocator,
                                       .globs = &glob,
                                       .n_globs = 1,
                                       .names = w->names,
                                       .tasks = w->tasks,
                                       .n_tasks = w->n};
    return emr_heads_create(&w->heads, &options, error);
}

/* Of one dtype each; a body, an inner layer of the head, and the last one, of 10, 1, 3 and 3 labels; one without
 * bias. */
static const head_case whole_cases[] = {
    {"digit",
     {{"body", EMR_DTYPE_F32, 2, {4, N_WIDTH}},
      {"head.in.weight", EMR_DTYPE_F32, 2, {N_WIDTH, N_WIDTH}},
      {"head.out.bias", EMR_DTYPE_F32, 1, {10}},
      {"head.out.weight", EMR_DTYPE_F32, 2, {10, N_WIDTH}},
      {"ids", EMR_DTYPE_I64, 1, {3}}},
     5},
    {"large",
     {{"body", EMR_DTYPE_BF16, 2, {4, N_WIDTH}},
      {"head.in.weight", EMR_DTYPE_BF16, 2, {N_WIDTH, N_WIDTH}},
      {"head.out.bias", EMR_DTYPE_BF16, 1, {1}},
      {"head.out.weight", EMR_DTYPE_BF16, 2, {1, N_WIDTH}}},
     4},
    {"thirds",
     {{"body", EMR_DTYPE_F16, 2, {4, N_WIDTH}},
      {"head.in.weight", EMR_DTYPE_F16, 2, {N_WIDTH, N_WIDTH}},
      {"head.out.weight", EMR_DTYPE_F64, 2, {3, N_WIDTH}}},
     3},
    {"loops",
     {{"body", EMR_DTYPE_F32, 2, {4, N_WIDTH}},
      {"head.in.weight", EMR_DTYPE_F32, 2, {N_WIDTH, N_WIDTH}},
      {"head.out.bias", EMR_DTYPE_F8_E5M2, 1, {3}},
      {"head.out.weight", EMR_DTYPE_F8_E4M3, 2, {3, N_WIDTH}}},
     4},
};
static const uint64_t whole_first[] = {0, 10, 11, 14}, whole_count[] = {10, 1, 3, 3};
enum { WHOLE_ROWS = 17 };

static const unsigned char *bytes_of(const test_model *m, const char *name)
{
    for (size_t i = 0; i < m->n; i++)
        if (strcmp(m->tensors[i].name, name) == 0)
            return m->data[i];
    return NULL;
}

/* The tensor with rows of zeros around; all of them where the model lacks it or has `none` of its own. Free it. */
static unsigned char *padded_bytes(const test_model *m, const char *name, size_t row_bytes, uint32_t task,
                                   bool none)
{
    unsigned char *all = calloc(WHOLE_ROWS, row_bytes);
    const unsigned char *own = bytes_of(m, name);
    assert_non_null(all);
    if (own && !none)
        memcpy(all + whole_first[task] * row_bytes, own, (size_t)whole_count[task] * row_bytes);
    return all;
}

static void check_every_range(const emr_tensor *t, const unsigned char *expected)
{
    emr_error error;
    size_t n = (size_t)emr_tensor_bytes(t);
    unsigned char *read = malloc(n);
    assert_non_null(read);
    for (size_t first = 0; first <= n; first += n > 200 ? 7 : 1)
        for (size_t end = first; end <= n; end += end + 20 < n ? 13 : 1) {
            memset(read, 0xcd, n);
            assert_ok(emr_tensor_read(t, first, read, end - first, &error), &error);
            assert_memory_equal(read, expected + first, end - first);
        }
    free(read);
}

static void check_padded(const emr_model *view, const head_world *w, uint32_t task, const char *name,
                         uint64_t width, bool none)
{
    const emr_tensor *t = emr_model_find_tensor(view, name);
    assert_non_null(t);
    assert_int_equal(emr_tensor_shape(t)[0], WHOLE_ROWS);
    size_t row_bytes = (size_t)(emr_dtype_bits(emr_tensor_dtype(t)) / 8 * width);
    assert_int_equal(emr_tensor_bytes(t), WHOLE_ROWS * row_bytes);
    unsigned char *expected = padded_bytes(&w->models[task], name, row_bytes, task, none);
    check_every_range(t, expected);
    free(expected);
}

static void views_show_each_task_among_zeros(void **state)
{
    emr_error error;
    (void)state;
    for (test_source source = SOURCE_MEMORY; source <= SOURCE_READ; source++) {
        head_world w;
        world_fill(&w, whole_cases, 4, source);
        assert_ok(world_create_heads(&w, "head.*", NULL, &error), &error);
        assert_int_equal(emr_heads_n_rows(w.heads), WHOLE_ROWS);
        for (uint32_t t = 0; t < w.n; t++) {
            emr_model *view;
            emr_head_group group = EMR_INIT(emr_head_group);
            assert_ok(emr_heads_open_task(w.heads, t, &view, &error), &error);
            assert_int_equal(emr_heads_get_group(w.heads, t, &group), EMR_OK);
            assert_string_equal(group.task, whole_cases[t].name);
            assert_true(group.first == whole_first[t] && group.count == whole_count[t]);
            check_padded(view, &w, t, "head.out.weight", N_WIDTH, false);
            check_padded(view, &w, t, "head.out.bias", 1, false);
            const emr_tensor *inner = emr_model_find_tensor(view, "head.in.weight");
            assert_int_equal(emr_tensor_shape(inner)[0], N_WIDTH);
            check_every_range(inner, bytes_of(&w.models[t], "head.in.weight"));
            emr_model_destroy(&view);
        }
        emr_head_group none = EMR_INIT(emr_head_group);
        assert_int_equal(emr_heads_get_group(w.heads, 4, &none), EMR_ENOTFOUND);
        world_free(&w);
    }
}

/* One without the head, and one whose head is of another task altogether. */
static void a_base_has_heads_of_zeros(void **state)
{
    static const test_tensor without[] = {{"body", EMR_DTYPE_F32, 2, {4, N_WIDTH}}};
    static const test_tensor other[] = {{"head.out.weight", EMR_DTYPE_F32, 2, {2, 2}},
                                        {"body", EMR_DTYPE_F32, 2, {4, N_WIDTH}}};
    head_world w;
    emr_error error;
    (void)state;
    world_fill(&w, whole_cases, 4, SOURCE_MEMORY);
    assert_ok(world_create_heads(&w, "head.out.*", NULL, &error), &error);
    for (int i = 0; i < 2; i++) {
        emr_model *view;
        rng r = {3};
        test_model base = test_model_create("base", i ? other : without, (size_t)i + 1, SOURCE_MEMORY);
        test_model_randomise(&base, &r);
        assert_ok(emr_heads_open_base(w.heads, base.model, &view, &error), &error);
        assert_int_equal(emr_model_n_tensors(view), 3);
        check_padded(view, &w, 0, "head.out.weight", N_WIDTH, true);
        check_padded(view, &w, 0, "head.out.bias", 1, true);
        assert_string_equal(emr_tensor_name(emr_model_tensor(view, 0)), i ? "head.out.weight" : "body");
        emr_model_destroy(&view);
        test_model_destroy(&base);
    }
    world_free(&w);
}

/* Widened to F64, which holds all of them. */
static void joined_rows_are_each_tasks_own(void **state)
{
    head_world w;
    emr_error error;
    emr_model *joined;
    double all[WHOLE_ROWS * N_WIDTH];
    (void)state;
    world_fill(&w, whole_cases, 4, SOURCE_MEMORY);
    assert_ok(world_create_heads(&w, "head.*", NULL, &error), &error);
    assert_ok(emr_heads_open_joined(w.heads, EMR_DTYPE_F64, &joined, &error), &error);
    assert_int_equal(emr_model_n_tensors(joined), 2);
    for (uint64_t width = 1; width <= N_WIDTH; width += N_WIDTH - 1) {
        const char *name = width == 1 ? "head.out.bias" : "head.out.weight";
        double *at = all;
        memset(all, 0, sizeof all);
        for (uint32_t t = 0; t < w.n; at += whole_count[t++] * width)
            if (bytes_of(&w.models[t], name))
                assert_int_equal(emr_convert(EMR_DTYPE_F64, at,
                                             emr_tensor_dtype(emr_model_find_tensor(w.tasks[t], name)),
                                             bytes_of(&w.models[t], name), (size_t)(whole_count[t] * width)),
                                 EMR_OK);
        check_every_range(emr_model_find_tensor(joined, name), (const unsigned char *)all);
    }
    emr_model_destroy(&joined);
    assert_ok(emr_heads_open_joined(w.heads, 0, &joined, &error), &error);
    assert_int_equal(emr_tensor_dtype(emr_model_tensor(joined, 0)), EMR_DTYPE_F32);
    emr_model_destroy(&joined);
    assert_int_equal(emr_heads_open_joined(w.heads, EMR_DTYPE_I8, &joined, &error), EMR_EINVAL);
    world_free(&w);
}

/* Views and the joined heads outlive the handle. */
static void what_was_opened_stays_valid(void **state)
{
    head_world w;
    emr_error error;
    emr_model *view, *joined;
    float values[WHOLE_ROWS];
    (void)state;
    world_fill(&w, whole_cases, 4, SOURCE_MEMORY);
    assert_ok(world_create_heads(&w, "head.*", NULL, &error), &error);
    assert_ok(emr_heads_open_task(w.heads, 1, &view, &error), &error);
    assert_ok(emr_heads_open_joined(w.heads, EMR_DTYPE_F32, &joined, &error), &error);
    emr_heads_destroy(&w.heads);
    check_padded(view, &w, 1, "head.out.weight", N_WIDTH, false);
    assert_ok(
        emr_tensor_read_floats(emr_model_find_tensor(joined, "head.out.bias"), 0, WHOLE_ROWS, values, &error),
        &error);
    assert_true(memcmp(values, bytes_of(&w.models[0], "head.out.bias"), 10 * sizeof(float)) == 0);
    assert_true(values[11] == 0 && values[12] == 0 && values[13] == 0); /* thirds has no bias */
    emr_model_destroy(&view);
    emr_model_destroy(&joined);
    world_free(&w);
}

/* All tasks have two labels: which layer differs cannot say what is a head; the last one is. */
static void equal_label_spaces_are_two_groups(void **state)
{
    static const head_case cases[] = {
        {"a",
         {{"head.in.weight", EMR_DTYPE_F32, 2, {4, 4}},
          {"head.out.weight", EMR_DTYPE_F32, 2, {2, 4}},
          {"head.out.bias", EMR_DTYPE_F32, 1, {2}},
          {"tail", EMR_DTYPE_F32, 1, {2}}},
         4},
        {"b",
         {{"head.in.weight", EMR_DTYPE_F32, 2, {4, 4}}, {"head.out.weight", EMR_DTYPE_F32, 2, {2, 4}}},
         2},
    };
    head_world w;
    emr_error error;
    (void)state;
    world_fill(&w, cases, 2, SOURCE_MEMORY);
    assert_ok(world_create_heads(&w, "head.*", NULL, &error), &error);
    assert_int_equal(emr_heads_n_rows(w.heads), 4);
    assert_string_equal(emr_heads_tensor(w.heads, 0), "head.out.weight");
    assert_string_equal(emr_heads_tensor(w.heads, 1), "head.out.bias");
    assert_null(emr_heads_tensor(w.heads, 2));
    world_free(&w);
}

static void metadata_tell_the_groups(void **state)
{
    head_world w;
    emr_error error;
    emr_model *model = test_model_new("out");
    const emr_head_kind kinds[] = {EMR_HEAD_KIND_SIGMOID, 0, EMR_HEAD_KIND_IDENTITY, 0};
    const char *const globs[] = {"head.*"};
    (void)state;
    world_fill(&w, whole_cases, 4, SOURCE_MEMORY);
    w.names[3] = "lo\"o\\p\ns\xc3\xa9";
    const emr_heads_options options = {.size = sizeof options,
                                       .globs = globs,
                                       .n_globs = 1,
                                       .names = w.names,
                                       .tasks = w.tasks,
                                       .kinds = kinds,
                                       .n_tasks = 4};
    assert_ok(emr_heads_create(&w.heads, &options, &error), &error);
    assert_ok(emr_heads_set_metadata(w.heads, model, &error), &error);
    assert_string_equal(
        emr_model_find_metadata(model, EMR_HEAD_GROUPS),
        "[{\"task\": \"digit\", \"first\": 0, \"count\": 10, \"kind\": \"sigmoid\"}, "
        "{\"task\": \"large\", \"first\": 10, \"count\": 1, \"kind\": \"sigmoid\"}, "
        "{\"task\": \"thirds\", \"first\": 11, \"count\": 3, \"kind\": \"identity\"}, "
        "{\"task\": \"lo\\\"o\\\\p\\u000as\xc3\xa9\", \"first\": 14, \"count\": 3, \"kind\": \"softmax\"}]");
    emr_model_destroy(&model);
    world_free(&w);
}

/* --- Refusals ------------------------------------------------------------------------------------------ */

/* What two tasks have; the first is "a", the second "b". */
typedef struct refusal {
    test_tensor a[3], b[3];
    size_t n_a, n_b;
    emr_status status;
    const char *words;
} refusal;

static const refusal refusals[] = {
    {{{"body", EMR_DTYPE_F32, 1, {4}}},
     {{"body", EMR_DTYPE_F32, 1, {4}}},
     1,
     1,
     EMR_EINVAL,
     "'head.*' matches no float tensor"},
    {{{"head.w", EMR_DTYPE_F32, 2, {2, 4}}},
     {{"body", EMR_DTYPE_F32, 1, {4}}},
     1,
     1,
     EMR_EMISMATCH,
     "task 'b' lacks tensor 'head.w', which task 'a' has"},
    {{{"head.w", EMR_DTYPE_F32, 2, {2, 4}}},
     {{"head.w", EMR_DTYPE_F32, 2, {3, 5}}},
     1,
     1,
     EMR_EMISMATCH,
     "'head.w' differs between tasks 'a' and 'b' in more than its rows"},
    {{{"head.w", EMR_DTYPE_F32, 2, {2, 4}}},
     {{"head.w", EMR_DTYPE_F32, 1, {3}}},
     1,
     1,
     EMR_EMISMATCH,
     "in more than its rows"},
    {{{"head.w", EMR_DTYPE_F32, 2, {2, 4}}},
     {{"head.w", EMR_DTYPE_F32, 2, {0, 4}}},
     1,
     1,
     EMR_EMISMATCH,
     "'head.w' of task 'b' has no rows"},
    {{{"head.w", EMR_DTYPE_F32, 0, {0}}},
     {{"head.w", EMR_DTYPE_F32, 1, {2}}},
     1,
     1,
     EMR_EMISMATCH,
     "'head.w' of task 'a' has no rows"},
    {{{"head.in.w", EMR_DTYPE_F32, 2, {8, 4}}, {"head.out.w", EMR_DTYPE_F32, 2, {2, 4}}},
     {{"head.in.w", EMR_DTYPE_F32, 2, {6, 4}}, {"head.out.w", EMR_DTYPE_F32, 2, {3, 4}}},
     2,
     2,
     EMR_EMISMATCH,
     "of task 'a', tensor 'head.out.w' has 2 rows, but 'head.in.w' 8"},
    {{{"head.b", EMR_DTYPE_F32, 1, {2}}},
     {{"body", EMR_DTYPE_F32, 1, {4}}},
     1,
     1,
     EMR_EMISMATCH,
     "task 'b' has no head"},
};

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        const refusal *r = &refusals[i];
        head_case cases[2] = {{.name = "a", .n = r->n_a}, {.name = "b", .n = r->n_b}};
        head_world w;
        emr_error error;
        memcpy(cases[0].tensors, r->a, sizeof r->a);
        memcpy(cases[1].tensors, r->b, sizeof r->b);
        world_fill(&w, cases, 2, SOURCE_MEMORY);
        assert_int_equal(world_create_heads(&w, "head.*", NULL, &error), r->status);
        assert_null(w.heads);
        if (!strstr(error.text, r->words))
            fail_msg("'%s' does not say: %s", error.text, r->words);
        world_free(&w);
    }
}

static void wrong_options_are_refused(void **state)
{
    head_world w;
    emr_error error;
    const char *const globs[] = {"head.*", "no such"};
    const emr_head_kind kinds[] = {0, 3};
    (void)state;
    world_fill(&w, whole_cases, 2, SOURCE_MEMORY);
    emr_heads_options o = {
        .size = sizeof o, .globs = globs, .n_globs = 2, .names = w.names, .tasks = w.tasks, .n_tasks = 2};
    assert_int_equal(emr_heads_create(&w.heads, &o, &error), EMR_EINVAL);
    assert_non_null(strstr(error.text, "'no such' matches no float tensor"));
    o.n_globs = 1, o.kinds = kinds;
    assert_int_equal(emr_heads_create(&w.heads, &o, &error), EMR_EINVAL);
    o.kinds = NULL, w.names[1] = w.names[0];
    assert_int_equal(emr_heads_create(&w.heads, &o, &error), EMR_EEXIST);
    w.names[1] = "large", o.n_tasks = 0;
    assert_int_equal(emr_heads_create(&w.heads, &o, &error), EMR_EINVAL);
    o.n_tasks = 2, o.globs = NULL;
    assert_int_equal(emr_heads_create(&w.heads, &o, &error), EMR_EINVAL);
    assert_int_equal(emr_heads_create(&w.heads, NULL, &error), EMR_EINVAL);
    w.tasks[0] = NULL, o.globs = globs;
    assert_int_equal(emr_heads_create(&w.heads, &o, &error), EMR_EINVAL);
    world_free(&w);
}

static void pushed_heads_are_refused(void **state)
{
    head_world w;
    emr_error error;
    (void)state;
    world_fill(&w, whole_cases, 2, SOURCE_PUSHED);
    assert_int_equal(world_create_heads(&w, "head.*", NULL, &error), EMR_EUNSUPPORTED);
    world_free(&w);
}

static emr_status open_everything(head_world *w, const emr_allocator *allocator, emr_error *error)
{
    emr_model *view = NULL, *base = NULL, *joined = NULL;
    emr_status status = world_create_heads(w, "head.*", allocator, error);
    if (!status)
        status = emr_heads_open_task(w->heads, 2, &view, error);
    if (!status)
        status = emr_heads_open_base(w->heads, w->tasks[1], &base, error);
    if (!status)
        status = emr_heads_open_joined(w->heads, 0, &joined, error);
    if (!status)
        status = emr_heads_set_metadata(w->heads, joined, error);
    emr_model_destroy(&view);
    emr_model_destroy(&base);
    emr_model_destroy(&joined);
    emr_heads_destroy(&w->heads);
    return status;
}

static void nothing_leaks_without_memory(void **state)
{
    head_world w;
    emr_error error;
    size_t k = 0;
    emr_status status = EMR_ENOMEM;
    (void)state;
    world_fill(&w, whole_cases, 4, SOURCE_MEMORY);
    for (; status == EMR_ENOMEM; k++) {
        test_allocator counts = {.fail_at = k};
        emr_allocator allocator = test_allocator_make(&counts);
        status = open_everything(&w, &allocator, &error);
        assert_int_equal(counts.alive, 0);
    }
    assert_ok(status, &error);
    assert_true(k > 20);
    world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(views_show_each_task_among_zeros),  cmocka_unit_test(a_base_has_heads_of_zeros),
        cmocka_unit_test(joined_rows_are_each_tasks_own),    cmocka_unit_test(what_was_opened_stays_valid),
        cmocka_unit_test(equal_label_spaces_are_two_groups), cmocka_unit_test(metadata_tell_the_groups),
        cmocka_unit_test(what_does_not_fit_is_refused),      cmocka_unit_test(wrong_options_are_refused),
        cmocka_unit_test(pushed_heads_are_refused),          cmocka_unit_test(nothing_leaks_without_memory),
    };
    return cmocka_run_group_tests_name("heads", tests, NULL, NULL);
}

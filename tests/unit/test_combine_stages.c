/* test_combine_stages.c - what a method is told of a whole tensor before it combines: sums over chunks in order, cuts of
 * lists, whole rows, and all tensors as one. Always the same, whoever reads and whether or not it was prepared. */
#include "combined_world.h"

#include <stdio.h>

static const test_tensor tensors[] = {
    {"n.vector", EMR_DTYPE_F32, 1, {50021}},  {"b.matrix", EMR_DTYPE_F32, 2, {300, 123}},
    {"z.one", EMR_DTYPE_F32, 1, {1}},         {"a.scalar", EMR_DTYPE_F32, 0, {0}},
    {"m.half", EMR_DTYPE_F16, 2, {77, 515}},  {"c.empty", EMR_DTYPE_F32, 2, {0, 5}},
    {"x.long", EMR_DTYPE_F32, 2, {2, 40000}},
};
enum { N_TENSORS = sizeof tensors / sizeof tensors[0], N_TASKS = 3 };

static test_set make_set(void)
{
    test_set s = test_set_create(tensors, N_TENSORS, N_TASKS, 91, SOURCE_MEMORY);
    for (size_t t = 0; t < N_TASKS; t++) /* some equal magnitudes */
        for (size_t i = 0; i < 50021; i += 7) {
            float base, value;
            memcpy(&base, s.base.data[0] + i * 4, 4);
            value = base + 0.125f;
            memcpy(s.tasks[t].data[0] + i * 4, &value, 4);
        }
    return s;
}

static float change(const test_set *s, size_t task, size_t tensor, uint64_t i)
{
    return (float)world_value(&s->tasks[task], tensor, i) - (float)world_value(&s->base, tensor, i);
}

/* Sets of threads, memory and preparation under which a model must be the same. */
typedef struct way {
    uint32_t threads;
    uint64_t memory;
    bool prepares, writes;
} way;
static const way ways[] = {{0, 0, false, false},       {1, 0, true, false}, {4, 0, true, false},
                           {3, 12 << 20, true, false}, {2, 0, false, true}, {4, 24 << 20, false, true}};
enum { N_WAYS = sizeof ways / sizeof ways[0] };

typedef void (*set_parameters)(emr_combination *c);

static emr_model *open_in_way(const test_set *s, const emr_method *method, set_parameters set, const way *w,
                              emr_pool *pool)
{
    emr_resources resources = test_resources(NULL, pool ? emr_pool_executor(pool) : NULL);
    emr_combination_options options = EMR_INIT(emr_combination_options);
    emr_error error;
    resources.memory_bytes = w->memory;
    options.method = method;
    options.resources = &resources;
    emr_combination *c = world_combination(s, &options, false);
    if (set)
        set(c);
    emr_model *m = world_open(c);
    if (w->prepares)
        assert_ok(emr_model_prepare(m, &resources, &error), &error);
    return m;
}

/* Written by the checkpoint writer and opened again. */
static emr_model *written(const emr_model *m, emr_pool *pool, emr_buffer **buffer)
{
    emr_resources resources = test_resources(NULL, pool ? emr_pool_executor(pool) : NULL);
    emr_checkpoint_write_options options = EMR_INIT(emr_checkpoint_write_options);
    emr_model *again;
    emr_error error;
    *buffer = test_buffer_new();
    options.resources = &resources;
    assert_ok(emr_safetensors_write(m, emr_buffer_io(*buffer), &options, &error), &error);
    assert_ok(emr_safetensors_open(&again, emr_buffer_io(*buffer), "again", NULL, &error), &error);
    return again;
}

/* The model in the first way is checked by `check`; in the others it must be the same. */
static void check_all_ways(const emr_method *method, set_parameters set,
                           void (*check)(const test_set *s, const emr_model *m))
{
    test_set s = make_set();
    emr_model *first = open_in_way(&s, method, set, &ways[0], NULL);
    rng r = {5};
    check(&s, first);
    for (size_t i = 1; i < N_WAYS; i++) {
        emr_pool *pool = ways[i].threads ? test_pool_new(ways[i].threads) : NULL;
        emr_model *m = open_in_way(&s, method, set, &ways[i], pool);
        if (ways[i].writes) {
            emr_buffer *buffer;
            emr_model *again = written(m, pool, &buffer);
            for (uint32_t k = 0; k < N_TENSORS; k++) {
                const emr_tensor *t = emr_model_tensor(first, k);
                const emr_tensor *u = emr_model_find_tensor(again, emr_tensor_name(t));
                unsigned char *p = world_read(t), *q = world_read(u);
                assert_memory_equal(p, q, (size_t)emr_tensor_bytes(t));
                free(p);
                free(q);
            }
            emr_model_destroy(&again);
            emr_buffer_destroy(&buffer);
        } else {
            world_check_same(first, m);
        }
        for (uint32_t k = 0; k < N_TENSORS; k++)
            world_check_ranges(emr_model_tensor(m, k), &r);
        emr_model_destroy(&m);
        emr_pool_destroy(&pool);
    }
    emr_model_destroy(&first);
    test_set_destroy(&s);
}

/* Sums: of every input, in f64 over each chunk, so that their order shows. */
static uint32_t number_each(const emr_method_tensor *t)
{
    return t->n_inputs;
}

static void add_thirds(const emr_method_chunk *c, double *sums)
{
    for (uint32_t t = 0; t < c->tensor->n_inputs; t++) {
        assert_true(sums[t] == 0);
        for (size_t i = 0; i < c->n; i++)
            sums[t] += (double)c->inputs[t][i] / 3;
    }
}

static emr_status halve_found(const emr_method_tensor *t, double *found, emr_error *error)
{
    (void)error;
    for (uint32_t i = 0; i < t->n_inputs; i++)
        found[i] /= 2;
    return EMR_OK;
}

static emr_status give_found(const emr_method_chunk *c, emr_error *error)
{
    (void)error;
    for (size_t i = 0; i < c->n; i++)
        c->out[i] = c->inputs[0][i] + (float)c->tensor->found[(c->first + i) % c->tensor->n_inputs];
    return EMR_OK;
}

static const emr_method_stage thirds = {
    .size = sizeof thirds, .n_found = number_each, .add_sums = add_thirds, .settle = halve_found};
static const emr_method summing = {.size = sizeof summing,
                                   .name = "summing",
                                   .base = EMR_METHOD_BASE_REQUIRED,
                                   .stages = {&thirds},
                                   .combine = give_found};

static double sum_in_chunks(const test_set *s, size_t task, size_t tensor, uint64_t chunk)
{
    uint64_t count = test_tensor_count(&tensors[tensor]);
    double total = 0;
    for (uint64_t first = 0; first < count; first += chunk) {
        double sum = 0;
        for (uint64_t i = first; i < count && i < first + chunk; i++)
            sum += (double)change(s, task, tensor, i) / 3;
        total += sum;
    }
    return total;
}

static void check_stored(const emr_tensor *t, const unsigned char *got, uint64_t i, float wanted)
{
    unsigned char stored[8];
    size_t size = emr_dtype_bits(emr_tensor_dtype(t)) / 8;
    assert_int_equal(emr_convert(emr_tensor_dtype(t), stored, EMR_DTYPE_F32, &wanted, 1), EMR_OK);
    if (memcmp(stored, got + i * size, size) != 0)
        fail_msg("%s[%zu] is %g, not %g", emr_tensor_name(t), (size_t)i, world_element(t, got, i),
                 (double)wanted);
}

static void check_sums(const test_set *s, const emr_model *m)
{
    for (size_t k = 0; k < N_TENSORS; k++) {
        const emr_tensor *t = emr_model_tensor(m, (uint32_t)k);
        unsigned char *got = world_read(t);
        double found[N_TASKS];
        for (size_t task = 0; task < N_TASKS; task++)
            found[task] = sum_in_chunks(s, task, k, 16384) / 2;
        for (uint64_t i = 0; i < emr_tensor_count(t); i++)
            check_stored(t, got, i,
                         (float)world_value(&s->base, k, i) +
                             (change(s, 0, k, i) + (float)found[i % N_TASKS]));
        free(got);
    }
}

static void sums_are_added_in_the_order_of_chunks(void **state)
{
    (void)state;
    check_all_ways(&summing, NULL, check_sums);
}

/* Two stages, the second of which needs the first, and one that is not needed where a flag says so. */
static uint32_t number_one(const emr_method_tensor *t)
{
    (void)t;
    return 1;
}

static void add_squares(const emr_method_chunk *c, double *sums)
{
    for (size_t i = 0; i < c->n; i++)
        sums[0] += (double)c->inputs[0][i] * c->inputs[0][i];
}

static void count_above_mean(const emr_method_chunk *c, double *sums)
{
    double mean = c->tensor->found[0] / (double)c->tensor->count;
    for (size_t i = 0; i < c->n; i++)
        sums[0] += (double)c->inputs[0][i] * c->inputs[0][i] > mean;
}

static uint32_t stages_of_flag(const emr_method_tensor *t)
{
    return emr_method_value(t, 0, 0) != 0 ? 3 : 2;
}

static emr_status give_both(const emr_method_chunk *c, emr_error *error)
{
    (void)error;
    for (size_t i = 0; i < c->n; i++)
        c->out[i] = (float)c->tensor->found[(c->first + i) % 2];
    return EMR_OK;
}

static const emr_method_stage squares = {
    .size = sizeof squares, .n_found = number_one, .add_sums = add_squares};
static const emr_method_stage above = {
    .size = sizeof above, .n_found = number_one, .add_sums = count_above_mean};
static const emr_method_parameter flags[] = {
    {.name = "first", .initial = 1, .least = 0, .most = 1, .is_whole = 1}};
static const emr_method two_stages = {.size = sizeof two_stages,
                                      .name = "two_stages",
                                      .base = EMR_METHOD_BASE_REQUIRED,
                                      .parameters = flags,
                                      .n_parameters = 1,
                                      .needed_stages = stages_of_flag,
                                      .stages = {&squares, &above},
                                      .combine = give_both};

static void leave_out_in_matrix(emr_combination *c)
{
    world_set(c, "first", EMR_EVERY_TASK, "b.*", 0);
}

static void check_two_stages(const test_set *s, const emr_model *m)
{
    for (size_t k = 0; k < N_TENSORS; k++) {
        const emr_tensor *t = emr_model_tensor(m, (uint32_t)k);
        unsigned char *got = world_read(t);
        uint64_t count = emr_tensor_count(t);
        double found[2] = {0, 0}, chunk = 0;
        for (uint64_t i = 0; k != 1 && i < count; i++) {
            chunk += (double)change(s, 0, k, i) * change(s, 0, k, i);
            if (i % 16384 == 16383 || i + 1 == count) {
                found[0] += chunk;
                chunk = 0;
            }
        }
        for (uint64_t i = 0; i < count; i++)
            found[1] += (double)change(s, 0, k, i) * change(s, 0, k, i) > found[0] / (double)count;
        for (uint64_t i = 0; i < count; i++)
            check_stored(t, got, i, (float)world_value(&s->base, k, i) + (float)found[i % 2]);
        free(got);
    }
}

static void stages_see_what_was_found_before(void **state)
{
    (void)state;
    check_all_ways(&two_stages, leave_out_in_matrix, check_two_stages);
}

/* Cuts: the largest fifth of each task, one list a task and two cuts of the first. */
static uint32_t number_cuts(const emr_method_tensor *t)
{
    return 2 * (t->n_inputs + 1);
}

static void give_magnitudes(const emr_method_chunk *c, uint32_t list, float *keys)
{
    for (size_t i = 0; i < c->n; i++)
        keys[i] = c->inputs[list][i] < 0 ? -c->inputs[list][i] : c->inputs[list][i];
}

static uint64_t place_fifths(const emr_method_tensor *t, uint32_t cut, uint32_t *list)
{
    *list = cut ? cut - 1 : 0;
    return cut ? t->count / 5 : t->count / 50;
}

/* What is in the largest fifth but not, of the first task, in the largest fiftieth. */
static emr_status keep_fifths(const emr_method_chunk *c, emr_error *error)
{
    const double *found = c->tensor->found;
    (void)error;
    for (size_t i = 0; i < c->n; i++) {
        c->out[i] = 0;
        for (uint32_t t = 0; t < c->tensor->n_inputs; t++) {
            float x = c->inputs[t][i], key = x < 0 ? -x : x;
            bool in_fifth = emr_method_is_above(found + 2 * (t + 1), key, c->position + i);
            bool in_fiftieth = t == 0 && emr_method_is_above(found, key, c->position + i);
            c->out[i] += in_fifth && !in_fiftieth ? x : 0;
        }
    }
    return EMR_OK;
}

static const emr_method_stage fifths = {
    .size = sizeof fifths, .n_found = number_cuts, .list_keys = give_magnitudes, .place_cut = place_fifths};
static const emr_method cutting = {.size = sizeof cutting,
                                   .name = "cutting",
                                   .base = EMR_METHOD_BASE_REQUIRED,
                                   .stages = {&fifths},
                                   .combine = keep_fifths};
static const emr_method cutting_all = {.size = sizeof cutting_all,
                                       .name = "cutting_all",
                                       .base = EMR_METHOD_BASE_REQUIRED,
                                       .stages = {&fifths},
                                       .combine = keep_fifths,
                                       .whole_model = 1};

/* All changes of a task, tensors in the order of names or one alone, with their places. */
typedef struct ranked {
    float key;
    uint64_t place;
} ranked;

static int compare_ranked(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    return x->key != y->key ? (x->key < y->key ? 1 : -1) : x->place < y->place ? -1 : 1;
}

/* Marks the k largest of a list of n. */
static void mark_largest(const ranked *list, size_t n, size_t k, unsigned char *marks)
{
    ranked *sorted = malloc((n + 1) * sizeof *sorted);
    memcpy(sorted, list, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, compare_ranked);
    memset(marks, 0, n);
    for (size_t i = 0; i < k; i++)
        marks[sorted[i].place] = 1;
    free(sorted);
}

static size_t by_name[N_TENSORS];

static void order_by_name(void)
{
    for (size_t i = 0; i < N_TENSORS; i++) {
        size_t place = 0;
        for (size_t k = 0; k < N_TENSORS; k++)
            place += strcmp(tensors[k].name, tensors[i].name) < 0;
        by_name[place] = i;
    }
}

/* Some tensors as one, against the model. */
static void check_cut_tensors(const test_set *s, const emr_model *m, const size_t *which, size_t n_which)
{
    size_t n = 0, place = 0;
    unsigned char *marks[N_TASKS + 1];
    for (size_t k = 0; k < n_which; k++)
        n += (size_t)test_tensor_count(&tensors[which[k]]);
    for (size_t task = 0; task <= N_TASKS; task++) {
        ranked *list = malloc((n + 1) * sizeof *list);
        marks[task] = malloc(n + 1);
        place = 0;
        for (size_t k = 0; k < n_which; k++)
            for (uint64_t i = 0; i < test_tensor_count(&tensors[which[k]]); i++, place++) {
                float x = change(s, task % N_TASKS, which[k], i);
                list[place] = (ranked){x < 0 ? -x : x, place};
            }
        mark_largest(list, n, task == N_TASKS ? n / 50 : n / 5, marks[task]);
        free(list);
    }
    place = 0;
    for (size_t k = 0; k < n_which; k++) {
        const emr_tensor *t = emr_model_tensor(m, (uint32_t)which[k]);
        unsigned char *got = world_read(t);
        for (uint64_t i = 0; i < emr_tensor_count(t); i++, place++) {
            float sum = 0;
            for (size_t task = 0; task < N_TASKS; task++)
                if (marks[task][place] && !(task == 0 && marks[N_TASKS][place]))
                    sum += change(s, task, which[k], i);
            check_stored(t, got, i, (float)world_value(&s->base, which[k], i) + sum);
        }
        free(got);
    }
    for (size_t task = 0; task <= N_TASKS; task++)
        free(marks[task]);
}

static void check_cuts(const test_set *s, const emr_model *m)
{
    for (size_t k = 0; k < N_TENSORS; k++)
        check_cut_tensors(s, m, &k, 1);
}

static void check_cuts_of_all(const test_set *s, const emr_model *m)
{
    order_by_name();
    check_cut_tensors(s, m, by_name, N_TENSORS);
}

static void lists_are_cut_exactly(void **state)
{
    (void)state;
    check_all_ways(&cutting, NULL, check_cuts);
}

static void lists_of_all_tensors_are_cut_as_one(void **state)
{
    (void)state;
    check_all_ways(&cutting_all, NULL, check_cuts_of_all);
}

/* Rows: each less its own mean, plus what is found of whole rows in chunks. */
static uint64_t last_dimension(const emr_method_tensor *t)
{
    return t->rank ? t->shape[t->rank - 1] : 1;
}

static void check_rows_of(const emr_method_chunk *c)
{
    uint64_t row = c->tensor->row_length;
    if (row != last_dimension(c->tensor) || c->first % row || c->n % row)
        fail_msg("[%zu, +%zu) is not whole rows of %zu", (size_t)c->first, c->n, (size_t)row);
}

static void add_row_means(const emr_method_chunk *c, double *sums)
{
    check_rows_of(c);
    sums[0] += (double)c->inputs[0][0] + (double)c->n / 3;
}

static emr_status center_rows(const emr_method_chunk *c, emr_error *error)
{
    size_t row = (size_t)c->tensor->row_length;
    (void)error;
    check_rows_of(c);
    for (size_t first = 0; first < c->n; first += row) {
        float sum = 0;
        for (size_t i = first; i < first + row; i++)
            sum += c->inputs[1][i];
        for (size_t i = first; i < first + row; i++) {
            c->scratch[i] = c->inputs[1][i] - sum / (float)row;
            c->out[i] = c->scratch[i] + (float)c->tensor->found[0];
        }
    }
    return EMR_OK;
}

static const emr_method_stage row_means = {
    .size = sizeof row_means, .n_found = number_one, .add_sums = add_row_means};
static const emr_method centering = {.size = sizeof centering,
                                     .name = "centering",
                                     .base = EMR_METHOD_BASE_REQUIRED,
                                     .stages = {&row_means},
                                     .row_length = last_dimension,
                                     .scratch_floats = 1,
                                     .combine = center_rows};

static void check_centered(const test_set *s, const emr_model *m)
{
    for (size_t k = 0; k < N_TENSORS; k++) {
        const emr_tensor *t = emr_model_tensor(m, (uint32_t)k);
        unsigned char *got = world_read(t);
        uint64_t count = emr_tensor_count(t),
                 row = tensors[k].rank ? tensors[k].shape[tensors[k].rank - 1] : 1;
        uint64_t chunk = row > 16384 ? row : 16384 / row * row;
        double found = 0;
        for (uint64_t first = 0; first < count; first += chunk)
            found += 0 + (double)change(s, 0, k, first) +
                     (double)(count - first < chunk ? count - first : chunk) / 3;
        for (uint64_t first = 0; first < count; first += row) {
            float sum = 0;
            for (uint64_t i = first; i < first + row; i++)
                sum += change(s, 1, k, i);
            for (uint64_t i = first; i < first + row; i++)
                check_stored(t, got, i,
                             (float)world_value(&s->base, k, i) +
                                 ((change(s, 1, k, i) - sum / (float)row) + (float)found));
        }
        free(got);
    }
}

static void rows_are_never_torn(void **state)
{
    (void)state;
    check_all_ways(&centering, NULL, check_centered);
}

/* A row that is too long for a reader's memory is refused in a sentence, before anything is read. */
static void rows_that_do_not_fit_are_refused(void **state)
{
    test_set s = make_set();
    emr_resources resources = test_resources(NULL, NULL);
    emr_combination_options options = EMR_INIT(emr_combination_options);
    emr_combination *c;
    emr_model *m;
    emr_error error;
    (void)state;
    resources.memory_bytes = 1 << 20;
    options.method = &centering;
    options.resources = &resources;
    c = world_combination(&s, &options, false);
    assert_int_equal(emr_combination_open_model(c, &m, &error), EMR_ELIMIT);
    assert_null(m);
    assert_true(test_span_is(&error, error.tensor, "n.vector"));
    emr_combination_destroy(&c);
    test_set_destroy(&s);
}

/* Preparing with threads, alone, and with heads, while the k-th request for memory fails. */
static emr_status combine_without_memory(const test_set *s, const emr_method *method,
                                         const emr_allocator *allocator, emr_pool *pool, bool with_heads)
{
    static const char *const globs[] = {"b.*"};
    emr_resources resources = test_resources(allocator, emr_pool_executor(pool));
    emr_combination_options options = EMR_INIT(emr_combination_options);
    emr_combination *c = NULL;
    emr_model *m = NULL;
    float value;
    options.method = method;
    options.resources = &resources;
    options.head_globs = globs;
    options.n_head_globs = with_heads;
    emr_status status = emr_combination_create(&c, &options, NULL);
    if (!status)
        status = emr_combination_set_base(c, s->base.model, NULL);
    for (size_t t = 0; !status && t < 2; t++)
        status = emr_combination_add_task(c, t ? "one" : "other", s->tasks[t].model, NULL);
    if (!status)
        status = emr_combination_open_model(c, &m, NULL);
    if (!status && !with_heads)
        status = emr_tensor_read_floats(emr_model_tensor(m, 1), 700, 1, &value, NULL);
    if (!status)
        status = emr_model_prepare(m, &resources, NULL);
    emr_model_destroy(&m);
    emr_combination_destroy(&c);
    return status;
}

static void stages_without_memory_leave_nothing_behind(void **state)
{
    static const emr_method *const methods[] = {&summing, &cutting, &cutting_all, &centering};
    static const test_tensor small[] = {{"n.vector", EMR_DTYPE_F32, 1, {300}},
                                        {"b.matrix", EMR_DTYPE_F32, 2, {30, 70}}};
    test_set s = test_set_create(small, 2, 2, 91, SOURCE_MEMORY);
    emr_pool *pool = test_pool_new(2);
    (void)state;
    for (int i = 0; i < 8; i++) {
        size_t k = 0;
        for (bool failed = true; failed; k++) {
            test_allocator counts = {0, 0, k};
            const emr_allocator allocator = test_allocator_make(&counts);
            emr_status status = combine_without_memory(&s, methods[i % 4], &allocator, pool, i / 4);
            failed = status != EMR_OK;
            assert_true(!failed || status == EMR_ENOMEM);
            assert_int_equal(counts.alive, 0);
        }
        assert_true(k > 20);
    }
    emr_pool_destroy(&pool);
    test_set_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_added_in_the_order_of_chunks),
        cmocka_unit_test(stages_see_what_was_found_before),
        cmocka_unit_test(lists_are_cut_exactly),
        cmocka_unit_test(lists_of_all_tensors_are_cut_as_one),
        cmocka_unit_test(rows_are_never_torn),
        cmocka_unit_test(rows_that_do_not_fit_are_refused),
        cmocka_unit_test(stages_without_memory_leave_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

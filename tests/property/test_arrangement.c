/* test_arrangement.c - base and tasks that are not alike: tasks that lack tensors, have more rows or another rank, and
 * models under other names. What is merged is what they have in common, by the formulas; what comes back has the task's
 * own names and shapes; and everything else that a bundle can do works as with models that are alike. */
#include "property.h"

#include <stdio.h>

enum { TENSORS = 7, TASKS = 3, NAME_BYTES = 32 };

typedef enum differing { ALIKE, ROWS, PAD } differing;

/* Models as they are given, and as they are merged. */
typedef struct scene {
    differing kind;
    size_t n, n_merged; /* tensors of the base; all but some integers at the end, which all have alike */
    char names[TENSORS][NAME_BYTES], own_names[TASKS + 1][TENSORS][NAME_BYTES];
    uint64_t shapes[TENSORS][4]; /* merged */
    uint32_t ranks[TENSORS];
    bool lacks[TASKS][TENSORS], renamed[TASKS + 1];
    test_set given, merged;       /* `merged` has the floats alone, in every model */
    emr_model *models[TASKS + 1]; /* what the merge gets: given, or under other names */
    emr_rename rules[TASKS + 1];
    char rule_texts[TASKS + 1][2][NAME_BYTES];
    emr_policy policy;
    emr_merge_options options;
} scene;

static const test_model *given_model(const scene *s, size_t m)
{
    return m ? &s->given.tasks[m - 1] : &s->given.base;
}

/* Where a model has a tensor; SIZE_MAX: it lacks it. */
static size_t place_in(const scene *s, size_t m, size_t i)
{
    const test_model *model = given_model(s, m);
    for (size_t k = 0; k < model->n; k++)
        if (strcmp(model->tensors[k].name, s->own_names[m][i]) == 0)
            return k;
    return SIZE_MAX;
}

/* The element of one shape that has the indexes of element `at` of another of the same rank; UINT64_MAX: it has none. */
static uint64_t same_element(uint32_t rank, const uint64_t *from, uint64_t at, const uint64_t *to)
{
    uint64_t found = 0, stride = 1;
    for (uint32_t d = rank; d-- > 0; at /= from[d]) {
        uint64_t index = at % from[d];
        if (index >= to[d])
            return UINT64_MAX;
        found += index * stride;
        stride *= to[d];
    }
    return found;
}

static uint64_t count_of(uint32_t rank, const uint64_t *shape)
{
    uint64_t n = 1;
    for (uint32_t d = 0; d < rank; d++)
        n *= shape[d];
    return n;
}

/* The shapes of one tensor in all models. The last task's is none that decides what is merged: so it can be added. */
static void choose_shapes(scene *s, rng *r, size_t i, uint64_t own[TASKS + 1][4])
{
    uint64_t *shape = s->shapes[i];
    s->ranks[i] = (uint32_t)rng_below(r, 4);
    for (uint32_t d = 0; d < 4; d++)
        shape[d] = s->ranks[i] > d ? 1 + rng_below(r, d == 0 ? 40 : 9) : 0;
    for (size_t m = 0; m <= TASKS; m++) {
        memcpy(own[m], shape, 4 * sizeof *shape);
        if (s->kind == ROWS && s->ranks[i] && rng_below(r, 2))
            own[m][0] += rng_below(r, 9);
        for (uint32_t d = 0; s->kind == PAD && d < s->ranks[i]; d++)
            own[m][d] -= rng_below(r, 1 + own[m][d] / 2);
    }
    size_t whole = (size_t)rng_below(r, TASKS); /* the base, or any task but the last */
    memcpy(own[whole], shape, 4 * sizeof *shape);
    if (whole)
        s->lacks[whole - 1][i] = false;
}

static void choose_names(scene *s, size_t m, rng *r)
{
    enum { SAME, PREFIX, MIDDLE };
    uint64_t way = rng_below(r, 3);
    s->renamed[m] = way != SAME;
    for (size_t i = 0; i < s->n; i++) {
        char *name = s->own_names[m][i];
        if (way == PREFIX)
            snprintf(name, NAME_BYTES, "model%zu.h.%zu.w", m, i);
        else
            snprintf(name, NAME_BYTES, way == SAME ? "h.%zu.w" : "l.%zu.weight", i);
    }
    snprintf(s->rule_texts[m][0], NAME_BYTES, way == PREFIX ? "model%zu." : "l.*.weight", m);
    snprintf(s->rule_texts[m][1], NAME_BYTES, "%s", way == PREFIX ? "" : "h.*.w");
    s->rules[m] = (emr_rename){s->rule_texts[m][0], s->rule_texts[m][1]};
}

/* Values of the given models: near each other where all have one. */
static void fill_given(scene *s, rng *r)
{
    test_model_randomise(&s->given.base, r);
    for (size_t t = 0; t < TASKS; t++)
        for (size_t i = 0; i < s->n; i++) {
            size_t k = place_in(s, t + 1, i);
            if (k == SIZE_MAX)
                continue;
            test_model *task = &s->given.tasks[t];
            const test_tensor *own = &task->tensors[k], *base = &s->given.base.tensors[i];
            if (!emr_dtype_is_float(own->dtype)) {
                memcpy(task->data[k], s->given.base.data[i], (size_t)test_tensor_count(own) * 4);
                continue;
            }
            for (uint64_t p = 0; p < test_tensor_count(own); p++) {
                float near = 0;
                uint64_t at = same_element(own->rank, own->shape, p, base->shape);
                if (at != UINT64_MAX)
                    emr_convert(EMR_DTYPE_F32, &near, base->dtype,
                                s->given.base.data[i] + at * emr_dtype_bits(base->dtype) / 8, 1);
                test_store(task, k, p, rng_below(r, 4) ? near + 0.1f * rng_normal(r) : near);
            }
        }
}

/* What a model has of a tensor, in the shape in which it is merged. */
static void fill_merged(const scene *s, test_model *to, size_t i, const test_model *from, size_t k)
{
    const test_tensor *own = &from->tensors[k];
    size_t size = emr_dtype_bits(own->dtype) / 8;
    for (uint64_t p = 0; p < count_of(s->ranks[i], s->shapes[i]); p++) {
        uint64_t at = same_element(own->rank, s->shapes[i], p, own->shape);
        if (at != UINT64_MAX)
            memcpy(to->data[i] + p * size, from->data[k] + at * size, size);
    }
}

static void make_merged(scene *s)
{
    s->merged = (test_set){.tasks = calloc(TASKS, sizeof(test_model)), .n = TASKS};
    for (size_t m = 0; m <= TASKS; m++) {
        test_tensor tensors[TENSORS];
        size_t n = s->n_merged;
        for (size_t i = 0; i < n; i++) {
            size_t k = m ? place_in(s, m, i) : i;
            const test_model *from =
                given_model(s, k == SIZE_MAX ? 0 : m); /* what a task lacks is not changed */
            tensors[i] =
                (test_tensor){s->names[i], from->tensors[k == SIZE_MAX ? i : k].dtype, s->ranks[i], {0}};
            memcpy(tensors[i].shape, s->shapes[i], sizeof tensors[i].shape);
        }
        test_model *to = m ? &s->merged.tasks[m - 1] : &s->merged.base;
        *to = test_model_create("merged", tensors, n, SOURCE_MEMORY);
        for (size_t i = 0; i < n; i++) {
            size_t k = place_in(s, m, i);
            fill_merged(s, to, i, given_model(s, k == SIZE_MAX ? 0 : m), k == SIZE_MAX ? i : k);
        }
    }
}

/* The models that are merged. */
static void make_models(scene *s)
{
    for (size_t m = 0; m <= TASKS; m++) {
        emr_error error;
        emr_model *own = given_model(s, m)->model;
        if (s->renamed[m])
            assert_ok(emr_model_create_renamed(&s->models[m], own, &s->rules[m], 1, NULL, &error), &error);
        else
            s->models[m] = own;
    }
}

/* How a scene is made. */
typedef struct setting {
    uint64_t seed;
    differing kind;
    bool mixed;  /* dtypes */
    bool floats; /* alone */
    test_source source;
} setting;

static void choose_tensors(scene *s, const setting *how, rng *r)
{
    static const emr_dtype dtypes[] = {EMR_DTYPE_F32, EMR_DTYPE_F16,     EMR_DTYPE_BF16,
                                       EMR_DTYPE_F64, EMR_DTYPE_F8_E4M3, EMR_DTYPE_F8_E5M2};
    test_tensor tensors[TASKS + 1][TENSORS];
    size_t n[TASKS + 1] = {0};
    for (size_t i = 0; i < s->n; i++) {
        uint64_t own[TASKS + 1][4];
        snprintf(s->names[i], NAME_BYTES, "h.%zu.w", i);
        for (size_t t = 0; t < TASKS; t++)
            s->lacks[t][i] = i > 0 && rng_below(r, 6) == 0;
        s->kind = i < s->n_merged ? how->kind : ALIKE;
        choose_shapes(s, r, i, own);
        for (size_t m = 0; m <= TASKS; m++) {
            test_tensor t = {
                s->own_names[m][i], how->mixed ? dtypes[rng_below(r, 6)] : EMR_DTYPE_F32, s->ranks[i], {0}};
            t.dtype = i < s->n_merged ? t.dtype : EMR_DTYPE_I32;
            memcpy(t.shape, own[m], sizeof t.shape);
            if (m == 0 || !s->lacks[m - 1][i])
                tensors[m][n[m]++] = t;
        }
    }
    s->kind = how->kind;
    s->given = (test_set){.tasks = calloc(TASKS, sizeof(test_model)), .n = TASKS};
    for (size_t m = 0; m <= TASKS; m++)
        *(m ? &s->given.tasks[m - 1] : &s->given.base) =
            test_model_create(m ? "task" : "base", tensors[m], n[m], how->source);
}

static void set_scene(scene *s, setting how)
{
    rng r = {how.seed * 2654435761u + 17};
    rng_next(&r);
    *s = (scene){.policy = EMR_INIT(emr_policy), .options = small_options()};
    s->n = 3 + (size_t)rng_below(&r, TENSORS - 2);
    s->n_merged = s->n - !how.floats;
    for (size_t m = 0; m <= TASKS; m++)
        choose_names(s, m, &r);
    choose_tensors(s, &how, &r);
    fill_given(s, &r);
    make_merged(s);
    make_models(s);
    s->policy.on_missing = EMR_ON_MISSING_ABSENT;
    s->policy.on_mismatch = how.kind == ROWS  ? EMR_ON_MISMATCH_ROWS
                            : how.kind == PAD ? EMR_ON_MISMATCH_PAD
                                              : EMR_ON_MISMATCH_ERROR;
    s->options.policy = &s->policy;
    s->options.block_params = 4096;
    s->options.rescale_per = (emr_rescale_per)(1 + rng_below(&r, 3));
    s->options.embed_base = (uint32_t)rng_below(&r, 2);
    s->options.extendable = (uint32_t)rng_below(&r, 2);
}

static void strike_scene(scene *s)
{
    for (size_t m = 0; m <= TASKS; m++)
        if (s->renamed[m])
            emr_model_destroy(&s->models[m]);
    test_set_destroy(&s->given);
    test_set_destroy(&s->merged);
}

static emr_status add_tasks(emr_merge *merge, const scene *s, size_t first, size_t end, emr_error *error)
{
    emr_status status = EMR_OK;
    for (size_t t = first; !status && t < end; t++) {
        char name[32];
        snprintf(name, sizeof name, "t%zu", t);
        status = emr_merge_add_task(merge, name, s->models[t + 1], error);
    }
    return status;
}

/* The bundle of the first tasks, or of all; destroy it. */
static emr_buffer *merge_scene(const scene *s, const emr_merge_options *options, size_t n_tasks)
{
    emr_error error;
    emr_merge *merge;
    emr_buffer *buffer = test_buffer_new();
    assert_ok(emr_merge_create(&merge, options, &error), &error);
    assert_ok(emr_merge_set_base(merge, s->models[0], &error), &error);
    assert_ok(add_tasks(merge, s, 0, n_tasks, &error), &error);
    assert_ok(emr_merge_set_output(merge, emr_buffer_io(buffer), &error), &error);
    assert_ok(emr_merge_run(merge, &error), &error);
    emr_merge_destroy(&merge);
    return buffer;
}

/* One tensor of a task as it came back, against the formula on what is merged, and its own rows. */
static void check_tensor(const scene *s, const reference *r, const emr_bundle *bundle, uint32_t task,
                         size_t i, const emr_tensor *rebuilt)
{
    size_t k = place_in(s, task + 1, i), n_rescalers;
    const test_model *model = &s->given.tasks[task];
    const test_tensor *own = &model->tensors[k], *base = &s->merged.base.tensors[i];
    size_t size = emr_dtype_bits(own->dtype) / 8,
           base_size = emr_dtype_bits(s->given.base.tensors[i].dtype) / 8;
    unsigned char *got = tensor_bytes_of(rebuilt);
    uint32_t number;
    assert_ok(emr_bundle_find_tensor(bundle, s->names[i], &number, NULL), NULL);
    if (!emr_dtype_is_float(own->dtype)) {
        assert_memory_equal(got, model->data[k], (size_t)emr_tensor_bytes(rebuilt));
        free(got);
        return;
    }
    float *rescalers = rescalers_of(bundle, task, number, &n_rescalers);
    uint64_t row_length = test_tensor_count(base) / reference_rows(r, i);
    for (uint64_t p = 0; p < test_tensor_count(own); p++) {
        uint64_t at = same_element(own->rank, own->shape, p, base->shape);
        if (at == UINT64_MAX) {
            assert_memory_equal(got + p * size, model->data[k] + p * size, size);
            continue;
        }
        uint64_t row = n_rescalers > 1 ? at / row_length : 0;
        assert_rescaler(rescalers[row], reference_scale(r, task, i, row, 0));
        weight_of w = {.base_dtype = base->dtype,
                       .out_dtype = own->dtype,
                       .base = s->merged.base.data[i] + at * base_size,
                       .masked = r->mask[i * TASKS + task][at],
                       .unified = r->unified[i][at],
                       .rescaler = rescalers[row]};
        assert_weight(&w, got + p * size, own->name, (size_t)p);
    }
    free(rescalers);
    free(got);
}

/* A task's model: its own tensors, all of them and no more. */
static void check_task(const scene *s, const reference *r, const emr_bundle *bundle, uint32_t number,
                       uint32_t task, const emr_model *base)
{
    emr_error error;
    emr_model *rebuilt;
    const test_model *model = &s->given.tasks[task];
    assert_ok(emr_bundle_open_task(&rebuilt, bundle, number, base, NULL, &error), &error);
    assert_int_equal(emr_model_n_tensors(rebuilt), model->n);
    for (size_t i = 0; i < s->n; i++) {
        size_t k = place_in(s, task + 1, i);
        const emr_tensor *t = emr_model_find_tensor(rebuilt, s->own_names[task + 1][i]);
        assert_int_equal(t == NULL, k == SIZE_MAX);
        if (!t)
            continue;
        const test_tensor *own = &model->tensors[k];
        assert_int_equal(emr_tensor_dtype(t), own->dtype);
        assert_int_equal(emr_tensor_rank(t), own->rank);
        assert_memory_equal(emr_tensor_shape(t), own->shape, own->rank * sizeof *own->shape);
        if (r)
            check_tensor(s, r, bundle, task, i, t);
    }
    emr_model_destroy(&rebuilt);
}

/* Over the base as its owner has it, under the bundle's names, and as the bundle holds it. */
static void check_bundle(const scene *s, const emr_buffer *buffer)
{
    emr_error error;
    emr_model *embedded = NULL;
    emr_bundle *bundle = test_bundle_open(buffer);
    reference r = reference_make(&s->merged, &s->options);
    assert_ok(emr_bundle_verify(bundle, NULL, &error), &error);
    if (s->options.embed_base)
        assert_ok(emr_bundle_open_base(&embedded, bundle, NULL, &error), &error);
    const emr_model *const bases[] = {s->given.base.model, s->models[0], embedded};
    for (size_t b = 0; b < 3; b++) {
        if (bases[b])
            assert_ok(emr_bundle_check_base(bundle, bases[b], NULL, &error), &error);
        for (uint32_t task = 0; (bases[b] || embedded) && task < TASKS; task++)
            check_task(s, &r, bundle, task, task, bases[b]);
    }
    if (embedded)
        check_task(s, &r, bundle, 0, 0, NULL);
    emr_model_destroy(&embedded);
    reference_destroy(&r);
    emr_bundle_destroy(&bundle);
}

static void own_names_and_shapes_come_back(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        scene s;
        set_scene(&s, (setting){.seed = seed, .kind = (differing)(seed % 3), .mixed = seed % 2});
        emr_buffer *buffer = merge_scene(&s, &s.options, TASKS);
        check_bundle(&s, buffer);
        emr_buffer_destroy(&buffer);
        strike_scene(&s);
    }
}

/* The scene's models, giving their bytes in another way. */
static scene copy_scene(const scene *s, test_source source)
{
    scene copy = *s;
    copy.given = test_set_copy(&s->given, source);
    copy.options.policy = &s->policy;
    make_models(&copy);
    return copy;
}

static void strike_copy(scene *copy)
{
    for (size_t m = 0; m <= TASKS; m++)
        if (copy->renamed[m])
            emr_model_destroy(&copy->models[m]);
    test_set_destroy(&copy->given);
}

static void bytes_do_not_depend_on_how(void **state)
{
    (void)state;
    static const uint64_t memories[] = {8 << 20, 64 << 20, 6 << 20};
    emr_pool *pool = create_pool(3);
    for (uint64_t seed = 0; seed < 30; seed++) {
        scene s;
        set_scene(&s, (setting){.seed = seed + 100, .kind = (differing)(seed % 3), .mixed = seed % 2});
        emr_buffer *want = merge_scene(&s, &s.options, TASKS);
        for (test_source source = SOURCE_MEMORY; source <= SOURCE_READ; source++) {
            odd_executor odd = {.order = {seed + 1}, .reverse = seed % 2};
            emr_executor shuffled = odd_executor_make(&odd, 2 + source);
            scene copy = copy_scene(&s, source);
            emr_resources resources =
                test_resources(NULL, source == SOURCE_IO ? emr_pool_executor(pool) : &shuffled);
            resources.memory_bytes = memories[source];
            copy.options.resources = &resources;
            emr_buffer *got = merge_scene(&copy, &copy.options, TASKS);
            assert_same_buffer(got, want, "merged in another way");
            emr_buffer_destroy(&got);
            strike_copy(&copy);
        }
        emr_buffer_destroy(&want);
        strike_scene(&s);
    }
    emr_pool_destroy(&pool);
}

/* Where in a given model a tensor of the merge is; the number is in both names. */
static size_t pushed_place(const scene *s, size_t m, const emr_tensor *tensor)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->names[i], emr_tensor_name(tensor)) == 0)
            return place_in(s, m, i);
    fail_msg("'%s' is expected", emr_tensor_name(tensor));
    return SIZE_MAX;
}

static void push_scene(emr_merge *merge, const scene *s)
{
    emr_error error;
    size_t offsets[TASKS + 1][TENSORS] = {{0}}, n_done = 0;
    assert_ok(emr_merge_begin(merge, &error), &error);
    while (n_done <= TASKS) {
        n_done = 0;
        for (size_t m = 0; m <= TASKS; m++) {
            uint32_t source = m ? (uint32_t)m - 1 : EMR_BASE;
            const emr_tensor *tensor;
            uint64_t bytes;
            size_t taken;
            assert_ok(emr_merge_get_expected(merge, source, &tensor, &bytes, &error), &error);
            n_done += tensor == NULL;
            if (!tensor || !bytes)
                continue;
            size_t k = pushed_place(s, m, tensor), n = bytes < 37 ? (size_t)bytes : 37;
            assert_ok(
                emr_merge_push(merge, source, given_model(s, m)->data[k] + offsets[m][k], n, &taken, &error),
                &error);
            offsets[m][k] += taken;
        }
    }
    assert_ok(emr_merge_finish(merge, &error), &error);
}

/* Names and missing tensors alone: what is pushed cannot be cut, and integers cannot be pushed. */
static void pushed_bytes_give_the_same(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        scene s;
        emr_error error;
        emr_merge *merge;
        emr_buffer *got = test_buffer_new();
        set_scene(&s, (setting){.seed = seed + 200, .mixed = seed % 2, .floats = true});
        emr_buffer *want = merge_scene(&s, &s.options, TASKS);
        scene copy = copy_scene(&s, SOURCE_PUSHED);
        assert_ok(emr_merge_create(&merge, &s.options, &error), &error);
        assert_ok(emr_merge_set_base(merge, copy.models[0], &error), &error);
        assert_ok(add_tasks(merge, &copy, 0, TASKS, &error), &error);
        assert_ok(emr_merge_set_output(merge, emr_buffer_io(got), &error), &error);
        push_scene(merge, &copy);
        emr_merge_destroy(&merge);
        assert_same_buffer(got, want, "pushed");
        emr_buffer_destroy(&got);
        emr_buffer_destroy(&want);
        strike_copy(&copy);
        strike_scene(&s);
    }
}

/* The last task is added to a bundle of the others, over the base under its own names or the bundle's. */
static void adding_is_merging_at_once(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        scene s;
        emr_error error;
        set_scene(&s, (setting){.seed = seed + 300, .kind = (differing)(seed % 3), .mixed = seed % 2});
        s.options.extendable = 1;
        emr_buffer *want = merge_scene(&s, &s.options, TASKS), *most = merge_scene(&s, &s.options, TASKS - 1);
        emr_bundle *bundle = test_bundle_open(most);
        for (size_t b = 0; b < 2; b++) {
            emr_merge *merge;
            emr_buffer *got = test_buffer_new();
            emr_merge_options plain = small_options();
            assert_ok(emr_merge_create(&merge, &plain, &error), &error);
            assert_ok(emr_merge_set_base(merge, b ? s.models[0] : s.given.base.model, &error), &error);
            assert_ok(emr_merge_extend(merge, bundle, &error), &error);
            assert_ok(add_tasks(merge, &s, TASKS - 1, TASKS, &error), &error);
            assert_ok(emr_merge_set_output(merge, emr_buffer_io(got), &error), &error);
            assert_ok(emr_merge_run(merge, &error), &error);
            emr_merge_destroy(&merge);
            assert_same_buffer(got, want, b ? "added under the bundle's names" : "added");
            emr_buffer_destroy(&got);
        }
        emr_bundle_destroy(&bundle);
        emr_buffer_destroy(&most);
        emr_buffer_destroy(&want);
        strike_scene(&s);
    }
}

/* A base under other names, of which only those matter that no task takes: no bundle has a record of them. */
static void what_no_task_takes_is_in_no_bundle(void **state)
{
    (void)state;
    const test_tensor tensors[] = {{"w", EMR_DTYPE_F32, 1, {9}}, {"own.other", EMR_DTYPE_F32, 1, {5}}};
    const emr_rename rule = {"own.", ""};
    const emr_policy policy = {.size = sizeof policy, .on_missing = EMR_ON_MISSING_ABSENT};
    rng r = {5};
    emr_error error;
    emr_model *renamed;
    emr_merge_options o = small_options();
    test_model base = test_model_create("base", tensors, 2, SOURCE_MEMORY);
    test_model task = test_model_create("task", tensors, 1, SOURCE_MEMORY);
    test_model_randomise(&base, &r);
    test_model_randomise(&task, &r);
    o.policy = &policy;
    o.extendable = 1;
    assert_ok(emr_model_create_renamed(&renamed, base.model, &rule, 1, NULL, &error), &error);
    emr_buffer *buffers[3]; /* of one task, of two at once, of two one after the other */
    for (size_t i = 0; i < 3; i++) {
        emr_merge *merge;
        emr_bundle *bundle = i == 2 ? test_bundle_open(buffers[0]) : NULL;
        buffers[i] = test_buffer_new();
        assert_ok(emr_merge_create(&merge, &o, &error), &error);
        if (bundle)
            assert_ok(emr_merge_extend(merge, bundle, &error), &error);
        assert_ok(emr_merge_set_base(merge, bundle ? base.model : renamed, &error), &error);
        if (!bundle)
            assert_ok(emr_merge_add_task(merge, "a", task.model, &error), &error);
        if (i)
            assert_ok(emr_merge_add_task(merge, "b", task.model, &error), &error);
        assert_ok(emr_merge_set_output(merge, emr_buffer_io(buffers[i]), &error), &error);
        assert_ok(emr_merge_run(merge, &error), &error);
        emr_merge_destroy(&merge);
        emr_bundle_destroy(&bundle);
    }
    assert_same_buffer(buffers[2], buffers[1], "added");
    for (size_t i = 0; i < 3; i++) {
        emr_bundle *bundle = test_bundle_open(buffers[i]);
        assert_ok(emr_bundle_check_base(bundle, base.model, NULL, &error), &error);
        emr_bundle_destroy(&bundle);
        emr_buffer_destroy(&buffers[i]);
    }
    emr_model_destroy(&renamed);
    test_model_destroy(&base);
    test_model_destroy(&task);
}

/* All bytes of all tensors of a task's model, under their names: as a file. */
static emr_buffer *task_file(const emr_bundle *bundle, uint32_t task, const emr_model *base)
{
    emr_error error;
    emr_model *model;
    emr_buffer *file = test_buffer_new();
    assert_ok(emr_bundle_open_task(&model, bundle, task, base, NULL, &error), &error);
    assert_ok(emr_safetensors_write(model, emr_buffer_io(file), NULL, &error), &error);
    emr_model_destroy(&model);
    return file;
}

static void dropping_keeps_the_others(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 45; seed++) {
        scene s;
        emr_error error;
        set_scene(&s, (setting){.seed = seed + 400, .kind = (differing)(seed % 3), .mixed = seed % 2});
        emr_buffer *all = merge_scene(&s, &s.options, TASKS), *less = test_buffer_new();
        emr_bundle *bundle = test_bundle_open(all);
        uint32_t gone = (uint32_t)(seed / 3 % TASKS);
        const emr_task_selection dropping = {.size = sizeof dropping, .tasks = &gone, .n_tasks = 1};
        assert_ok(emr_bundle_drop(bundle, &dropping, emr_buffer_io(less), NULL, &error), &error);
        emr_bundle *dropped = test_bundle_open(less);
        assert_ok(emr_bundle_verify(dropped, NULL, &error), &error);
        assert_ok(emr_bundle_check_base(dropped, s.given.base.model, NULL, &error), &error);
        for (uint32_t t = 0; t + 1 < TASKS; t++) {
            emr_buffer *got = task_file(dropped, t, s.given.base.model),
                       *want = task_file(bundle, t + (t >= gone), s.given.base.model);
            assert_same_buffer(got, want, "a task that stays");
            check_task(&s, NULL, dropped, t, t + (t >= gone), s.models[0]);
            emr_buffer_destroy(&got);
            emr_buffer_destroy(&want);
        }
        emr_bundle_destroy(&dropped);
        emr_bundle_destroy(&bundle);
        emr_buffer_destroy(&less);
        emr_buffer_destroy(&all);
        strike_scene(&s);
    }
}

/* One tensor in an engine, which has the bundle's name and shape, beside that of the task's model. */
static void check_weights(const scene *s, emr_session *session, uint32_t task, size_t i,
                          const emr_model *rebuilt)
{
    emr_error error;
    size_t k = place_in(s, task + 1, i);
    uint64_t n = count_of(s->ranks[i], s->shapes[i]);
    unsigned char *weights = malloc((size_t)n * 8 + 1);
    const emr_weights to = {.size = sizeof to, .name = s->names[i], .data = weights};
    emr_status status = emr_session_apply(session, task, &to, 1, &error);
    assert_int_equal(status, k == SIZE_MAX ? EMR_ENOTFOUND : EMR_OK);
    if (!status) {
        const test_tensor *own = &s->given.tasks[task].tensors[k];
        size_t size = emr_dtype_bits(own->dtype) / 8;
        unsigned char *want = tensor_bytes_of(emr_model_find_tensor(rebuilt, own->name));
        for (uint64_t p = 0; p < test_tensor_count(own); p++) {
            uint64_t at = same_element(own->rank, own->shape, p, s->shapes[i]);
            if (at != UINT64_MAX)
                assert_memory_equal(weights + at * size, want + p * size, size);
        }
        free(want);
    }
    free(weights);
}

static void sessions_have_the_bundles_shapes(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 45; seed++) {
        scene s;
        emr_error error;
        emr_session *session;
        set_scene(&s, (setting){.seed = seed + 500, .kind = (differing)(seed % 3), .mixed = seed % 2});
        emr_buffer *buffer = merge_scene(&s, &s.options, TASKS);
        emr_bundle *bundle = test_bundle_open(buffer);
        const emr_model *base = seed % 2 ? s.models[0] : s.given.base.model;
        assert_ok(emr_session_create(&session, bundle, s.options.embed_base ? NULL : base, NULL, &error),
                  &error);
        for (uint32_t task = 0; task < TASKS; task++) {
            emr_model *rebuilt;
            assert_ok(emr_bundle_open_task(&rebuilt, bundle, task, base, NULL, &error), &error);
            for (size_t i = 0; i < s.n_merged; i++)
                check_weights(&s, session, task, i, rebuilt);
            emr_model_destroy(&rebuilt);
        }
        emr_session_destroy(&session);
        emr_bundle_destroy(&bundle);
        emr_buffer_destroy(&buffer);
        strike_scene(&s);
    }
}

/* A base whose readers meet: while one is inside, another one comes, of another handle. */
typedef struct meeting {
    emr_session *other; /* NULL: nobody comes */
    const char *name;
    unsigned char *weights;
    size_t n_met;
} meeting;

typedef struct met_tensor {
    const emr_tensor *source;
    meeting *meeting;
} met_tensor;

static emr_status compute_meeting(const emr_computation *c, emr_error *error)
{
    const met_tensor *t = c->user;
    emr_session *other = t->meeting->other;
    uint64_t size = emr_dtype_bits(emr_tensor_dtype(t->source)) / 8;
    t->meeting->other = NULL;
    if (other) {
        const emr_weights to = {.size = sizeof to, .name = t->meeting->name, .data = t->meeting->weights};
        assert_ok(emr_session_apply(other, EMR_BASE, &to, 1, error), error);
        t->meeting->n_met++;
    }
    return emr_tensor_read(t->source, c->first * size, c->out, c->count * (size_t)size, error);
}

static emr_model *make_meeting(const scene *s, met_tensor *tensors, meeting *m)
{
    emr_error error;
    emr_model *model = test_model_new("base");
    for (size_t i = 0; i < s->n; i++) {
        const emr_tensor *t = emr_model_tensor(s->given.base.model, (uint32_t)i);
        tensors[i] = (met_tensor){t, m};
        const emr_tensor_desc desc = {.size = sizeof desc,
                                      .name = emr_tensor_name(t),
                                      .shape = emr_tensor_shape(t),
                                      .rank = emr_tensor_rank(t),
                                      .dtype = emr_tensor_dtype(t),
                                      .compute = compute_meeting,
                                      .user = &tensors[i]};
        assert_ok(emr_model_add(model, &desc, &error), &error);
    }
    return model;
}

/* What a session takes over a base that has to be arranged, and computes what it gives: no more than it says, and
 * nothing any more once it is there. */
static void sessions_know_what_an_arranged_base_takes(void **state)
{
    (void)state;
    size_t n_met = 0;
    emr_pool *pool = test_pool_new(4);
    for (uint64_t seed = 0; seed < 12; seed++) {
        scene s;
        emr_error error;
        emr_session *sessions[2];
        unsigned char weights[2][40 * 9 * 9 * 8];
        meeting m = {.weights = weights[1]};
        met_tensor tensors[TENSORS];
        emr_session_info info = EMR_INIT(emr_session_info);
        emr_session_options options = EMR_INIT(emr_session_options);
        set_scene(&s, (setting){.seed = seed + 700, .kind = (differing)(seed % 3)});
        s.options.embed_base = 0;
        emr_buffer *buffer = merge_scene(&s, &s.options, TASKS);
        emr_bundle *bundle = test_bundle_open(buffer);
        emr_model *base = make_meeting(&s, tensors, &m);
        test_meter meter = {0};
        emr_allocator allocator = test_meter_make(&meter);
        const emr_resources resources = test_resources(&allocator, seed % 2 ? emr_pool_executor(pool) : NULL);
        options.resources = &resources;
        options.check = EMR_BASE_CHECK_NONE;
        assert_ok(emr_session_create(&sessions[0], bundle, base, &options, &error), &error);
        assert_ok(emr_session_open_thread(&sessions[1], sessions[0], &error), &error);
        assert_int_equal(emr_session_get_info(sessions[0], &info), EMR_OK);
        assert_in_range(meter.peak, 0, info.memory_bytes);
        meter.peak = meter.now;
        size_t before = meter.now;
        for (size_t i = 0; i < s.n; i++) {
            const emr_weights to = {.size = sizeof to, .name = s.names[i], .data = weights[0]};
            m.name = s.names[i];
            m.other = sessions[1];
            assert_ok(emr_session_apply(sessions[0], EMR_BASE, &to, 1, &error), &error);
        }
        n_met += m.n_met;
        assert_int_equal(meter.now, before);
        assert_int_equal(meter.peak, before);
        emr_session_destroy(&sessions[0]);
        emr_session_destroy(&sessions[1]);
        assert_int_equal(meter.now, 0);
        emr_model_destroy(&base);
        emr_bundle_destroy(&bundle);
        emr_buffer_destroy(&buffer);
        strike_scene(&s);
    }
    assert_true(n_met > 0);
    emr_pool_destroy(&pool);
}

/* Writes a task's model over a base that is checked meanwhile; a failure leaves no file. */
static emr_status write_checked(const emr_bundle *bundle, uint32_t task, const emr_model *base,
                                emr_error *error)
{
    emr_model *model;
    const emr_view_options view = {.size = sizeof view, .check = EMR_BASE_CHECK_WRITE};
    char *directory = test_directory_make(), *path = test_path(directory, "task.safetensors");
    emr_status status = emr_bundle_open_task(&model, bundle, task, base, &view, error);
    if (!status)
        status = emr_checkpoint_write(model, path, NULL, error);
    assert_int_equal(test_directory_entries(directory), status ? 0 : 1);
    emr_model_destroy(&model);
    free(path);
    test_directory_remove(directory);
    return status;
}

/* One bit of one tensor of the base is another. */
static void check_flipped(scene *s, const emr_bundle *bundle, size_t i, uint64_t element)
{
    emr_error error;
    const test_tensor *t = &s->given.base.tensors[i];
    size_t at = (size_t)element * emr_dtype_bits(t->dtype) / 8;
    bool inside = i >= s->n_merged || same_element(t->rank, t->shape, element, s->shapes[i]) != UINT64_MAX;
    s->given.base.data[i][at] ^= 1;
    for (size_t b = 0; b < 2; b++) {
        const emr_model *base = b ? s->models[0] : s->given.base.model;
        assert_int_equal(emr_bundle_check_base(bundle, base, NULL, &error), inside ? EMR_EMISMATCH : EMR_OK);
        if (inside)
            assert_names_tensor(&error, s->names[i]);
        for (uint32_t task = 0; task < TASKS; task++) {
            bool wanted = inside && place_in(s, task + 1, i) != SIZE_MAX;
            assert_int_equal(write_checked(bundle, task, base, &error), wanted ? EMR_EMISMATCH : EMR_OK);
        }
    }
    s->given.base.data[i][at] ^= 1;
}

/* In what is merged and in rows that are cut away, which do not matter. */
static void another_base_gives_no_file(void **state)
{
    (void)state;
    rng r = {77};
    for (uint64_t seed = 0; seed < 12; seed++) {
        scene s;
        set_scene(&s, (setting){.seed = seed + 600, .kind = (differing)(seed % 3), .mixed = seed % 2});
        emr_buffer *buffer = merge_scene(&s, &s.options, TASKS);
        emr_bundle *bundle = test_bundle_open(buffer);
        for (size_t i = 0; i < s.n; i++) {
            uint64_t n = test_tensor_count(&s.given.base.tensors[i]);
            check_flipped(&s, bundle, i, n - 1);
            check_flipped(&s, bundle, i, rng_below(&r, n));
        }
        emr_bundle_destroy(&bundle);
        emr_buffer_destroy(&buffer);
        strike_scene(&s);
    }
}

/* What fails, and when. */
typedef struct fault {
    size_t allocation, read, write;
} fault;

/* Opens the bundle, and all that is made of it. */
static emr_status use_bundle(const scene *s, const emr_io *io, const emr_io *out,
                             const emr_resources *resources, emr_error *error)
{
    const emr_bundle_options how = {.size = sizeof how, .allocator = resources->allocator};
    const emr_session_options in_session = {.size = sizeof in_session, .resources = resources};
    const emr_checkpoint_write_options writing = {.size = sizeof writing, .resources = resources};
    const emr_base_check_options checking = {.size = sizeof checking, .resources = resources};
    const emr_model *base = s->given.base.model;
    emr_bundle *bundle;
    emr_session *session = NULL;
    emr_model *model = NULL;
    emr_status status = emr_bundle_open(&bundle, io, "in.emr", &how, error);
    if (!status)
        status = emr_bundle_check_base(bundle, base, &checking, error);
    for (uint32_t task = 0; !status && task < TASKS; task++) {
        const emr_view_options view = {.size = sizeof view,
                                       .check = task ? EMR_BASE_CHECK_WRITE : EMR_BASE_CHECK_FIRST,
                                       .resources = resources};
        status = emr_bundle_open_task(&model, bundle, task, base, &view, error);
        if (!status)
            status = emr_safetensors_write(model, out, &writing, error);
        emr_model_destroy(&model);
    }
    if (!status)
        status = emr_session_create(&session, bundle, base, &in_session, error);
    emr_session_destroy(&session);
    const uint32_t gone = 1;
    const emr_task_selection dropping = {
        .size = sizeof dropping, .resources = resources, .tasks = &gone, .n_tasks = 1};
    if (!status)
        status = emr_bundle_drop(bundle, &dropping, out, NULL, error);
    emr_bundle_destroy(&bundle);
    return status;
}

/* Renames, merges the first tasks, adds the last one. */
static emr_status make_bundle(const scene *s, const emr_io *most, const emr_io *out,
                              const emr_resources *resources, emr_error *error)
{
    scene copy = *s;
    emr_merge_options o = s->options;
    emr_merge *merge = NULL;
    emr_bundle *bundle = NULL;
    const emr_bundle_options how = {.size = sizeof how, .allocator = resources->allocator};
    emr_model *renamed[TASKS + 1] = {NULL};
    emr_status status = EMR_OK;
    o.resources = resources;
    o.policy = &s->policy;
    for (size_t m = 0; !status && m <= TASKS; m++) {
        copy.models[m] = given_model(s, m)->model;
        if (!s->renamed[m])
            continue;
        status = emr_model_create_renamed(&renamed[m], copy.models[m], &s->rules[m], 1, resources->allocator,
                                          error);
        copy.models[m] = renamed[m];
    }
    for (size_t round = 0; !status && round < 2; round++) {
        status = round ? emr_bundle_open(&bundle, most, "most.emr", &how, error) : EMR_OK;
        if (!status)
            status = emr_merge_create(&merge, &o, error);
        if (!status && round)
            status = emr_merge_extend(merge, bundle, error);
        if (!status)
            status = emr_merge_set_base(merge, copy.models[0], error);
        if (!status)
            status = add_tasks(merge, &copy, round ? TASKS - 1 : 0, round ? TASKS : TASKS - 1, error);
        if (!status)
            status = emr_merge_set_output(merge, out, error);
        if (!status)
            status = emr_merge_run(merge, error);
        emr_merge_destroy(&merge);
    }
    emr_bundle_destroy(&bundle);
    for (size_t m = 0; m <= TASKS; m++)
        emr_model_destroy(&renamed[m]);
    return status;
}

typedef emr_status (*life_part)(const scene *s, const emr_io *io, const emr_io *out,
                                const emr_resources *resources, emr_error *error);

/* The k-th of something fails: a status, a sentence, nothing that stays. False: that many are never asked for. */
static bool fails_at(const scene *s, life_part part, const emr_buffer *bundle, fault f)
{
    emr_error error = {0};
    emr_buffer *out = test_buffer_new();
    test_allocator counts = {.fail_at = f.allocation};
    emr_allocator allocator = test_allocator_make(&counts);
    emr_resources resources = test_resources(&allocator, NULL);
    test_io in = {.inner = *emr_buffer_io(bundle), .fail_read = f.read, .fail_write = SIZE_MAX};
    test_io to = {.inner = *emr_buffer_io(out), .fail_read = SIZE_MAX, .fail_write = f.write};
    emr_io input = test_io_make(&in), output = test_io_make(&to);
    resources.memory_bytes = 16 << 20;
    emr_status status = part(s, &input, &output, &resources, &error);
    assert_int_equal(counts.alive, 0);
    if (status) {
        assert_int_equal(status, f.allocation < SIZE_MAX ? EMR_ENOMEM : EMR_EIO);
        assert_says(&error, "");
    }
    emr_buffer_destroy(&out);
    return status != EMR_OK;
}

static void failures_leave_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 3; seed++) {
        scene s;
        set_scene(&s, (setting){.seed = seed + 702, .kind = (differing)(seed % 3)});
        s.options.extendable = 1;
        emr_buffer *all = merge_scene(&s, &s.options, TASKS), *most = merge_scene(&s, &s.options, TASKS - 1);
        for (size_t what = 0; what < 6; what++) {
            life_part part = what % 2 ? use_bundle : make_bundle;
            size_t k = 0;
            bool failed = true;
            for (; failed; k += 1 + k / 40) {
                fault f = {SIZE_MAX, SIZE_MAX, SIZE_MAX};
                *(what / 2 == 0 ? &f.allocation : what / 2 == 1 ? &f.read : &f.write) = k;
                failed = fails_at(&s, part, what % 2 ? all : most, f);
            }
            assert_true(k > 3);
        }
        emr_buffer_destroy(&most);
        emr_buffer_destroy(&all);
        strike_scene(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_names_and_shapes_come_back),
        cmocka_unit_test(bytes_do_not_depend_on_how),
        cmocka_unit_test(pushed_bytes_give_the_same),
        cmocka_unit_test(adding_is_merging_at_once),
        cmocka_unit_test(what_no_task_takes_is_in_no_bundle),
        cmocka_unit_test(dropping_keeps_the_others),
        cmocka_unit_test(sessions_have_the_bundles_shapes),
        cmocka_unit_test(sessions_know_what_an_arranged_base_takes),
        cmocka_unit_test(another_base_gives_no_file),
        cmocka_unit_test(failures_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

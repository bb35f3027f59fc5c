/* test_parts.c - parts of a merge, made in any order and anywhere, are joined into what one run gives, byte for
 * byte; and what is not all parts of one merge is refused by name. */
#include "property.h"

#include <stdio.h>

enum { BLOCK = 4096, N_TASKS = 3 };

/* Tensors that are cut in the middle, wide and narrow matrices, vectors, rows longer than a chunk, nothing. */
static const test_tensor tensors[] = {{"a.wide", EMR_DTYPE_F32, 2, {3, 40000}},
                                      {"b.empty", EMR_DTYPE_F32, 2, {0, 7}},
                                      {"c.matrix", EMR_DTYPE_F32, 2, {300, 201}},
                                      {"d.bias", EMR_DTYPE_F32, 1, {999}},
                                      {"e.steps", EMR_DTYPE_I64, 1, {1001}},
                                      {"f.vector", EMR_DTYPE_F32, 1, {50001}},
                                      {"g.narrow", EMR_DTYPE_F32, 2, {9000, 5}},
                                      {"h.half", EMR_DTYPE_F16, 2, {170, 300}},
                                      {"i.brain", EMR_DTYPE_BF16, 3, {20, 30, 41}},
                                      {"j.flags", EMR_DTYPE_BOOL, 1, {77}},
                                      {"k.one", EMR_DTYPE_F32, 0, {0}},
                                      {"l.head", EMR_DTYPE_F32, 2, {30, 301}},
                                      {"m.square", EMR_DTYPE_F32, 2, {200, 200}},
                                      {"n.empty", EMR_DTYPE_F32, 1, {0}},
                                      {"o.other.head", EMR_DTYPE_F32, 1, {7000}}};
enum { N_TENSORS = sizeof tensors / sizeof tensors[0], STEPS = 4, FLAGS = 9 };

static test_set make_set(uint64_t seed)
{
    test_set s = test_set_create(tensors, N_TENSORS, N_TASKS, seed, SOURCE_IO);
    s.tasks[1].data[STEPS][4000] ^= 1;
    for (size_t t = 0; t < N_TASKS; t++)
        s.tasks[t].data[FLAGS][3] ^= 1;
    return s;
}

/* One way to merge: `specs` are the tasks' modulators by turns. */
typedef struct way {
    const char *name;
    emr_modulation_spec specs[N_TASKS];
    emr_rescale rescale;
    emr_rescale_per per;
    emr_dtype unified;
    uint32_t embed, extendable, measure, compression;
} way;

#define KIND(name) .size = sizeof(emr_modulation_spec), .kind = EMR_MODULATOR_KIND_##name

static emr_merge_options options_of(const way *w)
{
    emr_merge_options o = rich_options(w->per);
    o.rescale = w->rescale;
    o.unified_dtype = w->unified;
    o.embed_base = w->embed;
    o.extendable = w->extendable;
    o.measure = w->measure;
    o.compression = (int32_t)w->compression;
    o.block_params = BLOCK;
    return o;
}

static emr_merge *create_merge(const test_set *s, const way *w, const emr_merge_options *o)
{
    emr_error error;
    emr_merge *merge = test_merge_create(s, o);
    for (uint32_t t = 0; w && t < s->n; t++)
        if (w->specs[t].size)
            assert_ok(emr_merge_set_modulation(merge, t, &w->specs[t], &error), &error);
    return merge;
}

static emr_buffer *merge_at_once(const test_set *s, const way *w, const emr_merge_options *o)
{
    emr_error error;
    emr_buffer *buffer = test_buffer_new();
    emr_merge *merge = create_merge(s, w, o);
    assert_ok(emr_merge_set_output(merge, emr_buffer_io(buffer), &error), &error);
    assert_ok(emr_merge_run(merge, &error), &error);
    emr_merge_destroy(&merge);
    return buffer;
}

static emr_buffer *make_part(const test_set *s, const way *w, const emr_merge_options *o, uint32_t part,
                             uint32_t n)
{
    emr_error error;
    emr_buffer *buffer = test_buffer_new();
    emr_plan_summary summary = EMR_INIT(emr_plan_summary);
    emr_merge *merge = create_merge(s, w, o);
    assert_ok(emr_merge_set_part(merge, part, n, &error), &error);
    assert_ok(emr_merge_set_output(merge, emr_buffer_io(buffer), &error), &error);
    assert_ok(emr_merge_get_plan(merge, &summary, &error), &error);
    assert_ok(emr_merge_run(merge, &error), &error);
    emr_merge_destroy(&merge);
    return buffer;
}

static emr_join *create_join(emr_buffer *const *parts, uint32_t n, rng *order, const emr_resources *resources)
{
    emr_error error;
    emr_join *join;
    bool added[64] = {false};
    assert_ok(emr_join_create(&join, resources, &error), &error);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t k = (uint32_t)rng_below(order, n);
        while (added[k])
            k = (k + 1) % n;
        added[k] = true;
        char name[32];
        snprintf(name, sizeof name, "p%u.part", k + 1);
        assert_ok(emr_join_add_part(join, emr_buffer_io(parts[k]), name, &error), &error);
    }
    return join;
}

static emr_buffer *join_parts(emr_buffer *const *parts, uint32_t n, rng *order)
{
    emr_error error;
    emr_buffer *buffer = test_buffer_new();
    emr_join *join = create_join(parts, n, order, NULL);
    assert_ok(emr_join_set_output(join, emr_buffer_io(buffer), &error), &error);
    assert_ok(emr_join_run(join, &error), &error);
    emr_join_destroy(&join);
    return buffer;
}

static void make_parts(emr_buffer **parts, const test_set *s, const way *w, const emr_merge_options *o,
                       uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        parts[i] = make_part(s, w, o, i, n);
}

static void destroy_parts(emr_buffer **parts, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        emr_buffer_destroy(&parts[i]);
}

static void assert_parts_are_whole(const test_set *s, const way *w, uint64_t seed)
{
    static const uint32_t numbers[] = {1, 2, 3, 7, 64};
    emr_merge_options o = options_of(w);
    emr_buffer *want = merge_at_once(s, w, &o);
    rng order = {seed};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        emr_buffer *parts[64];
        char what[100];
        snprintf(what, sizeof what, "%s in %u parts", w->name, numbers[i]);
        make_parts(parts, s, w, &o, numbers[i]);
        emr_buffer *got = join_parts(parts, numbers[i], &order);
        assert_same_buffer(got, want, what);
        emr_buffer_destroy(&got);
        destroy_parts(parts, numbers[i]);
    }
    emr_buffer_destroy(&want);
}

static const way ways[] = {
    {.name = "masks"},
    {.name = "masks, base, measured", .embed = 1, .measure = 1},
    {.name = "means", .rescale = EMR_RESCALE_L1_MEANS, .unified = EMR_DTYPE_F16},
    {.name = "norm per tensor", .rescale = EMR_RESCALE_NORM, .per = EMR_RESCALE_PER_TENSOR, .embed = 1},
    {.name = "per row",
     .rescale = EMR_RESCALE_UNBIASED,
     .per = EMR_RESCALE_PER_ROW,
     .unified = EMR_DTYPE_BF16},
    {.name = "l2 per row, base", .rescale = EMR_RESCALE_L2, .per = EMR_RESCALE_PER_ROW, .embed = 1},
    {.name = "extendable per row", .per = EMR_RESCALE_PER_ROW, .extendable = 1},
    {.name = "extendable per tensor", .per = EMR_RESCALE_PER_TENSOR, .extendable = 1, .embed = 1},
    {.name = "extendable", .extendable = 1, .compression = 3},
    {.name = "nearest",
     .specs = {{KIND(MASK), .mask_rule = EMR_MASK_RULE_NEAREST},
               {KIND(MASK), .mask_rule = EMR_MASK_RULE_NEAREST},
               {KIND(MASK), .mask_rule = EMR_MASK_RULE_NEAREST}}},
    {.name = "two-sided per model",
     .per = EMR_RESCALE_PER_MODEL,
     .rescale = EMR_RESCALE_L2,
     .specs = {{KIND(TWO_SIDED)}, {KIND(MASK)}, {KIND(TWO_SIDED)}}},
    {.name = "two-sided per row", .specs = {{KIND(TWO_SIDED)}, {KIND(TWO_SIDED)}, {KIND(MASK)}}},
    {.name = "signs", .specs = {{KIND(SIGN)}, {KIND(SIGN), .vectors_dtype = EMR_DTYPE_F32}, {KIND(SIGN)}}},
    {.name = "signs without columns",
     .specs = {{KIND(SIGN), .without_columns = 1},
               {KIND(SIGN), .without_columns = 1},
               {KIND(SIGN), .without_columns = 1}}},
    {.name = "thin", .specs = {{KIND(THIN), .thinning = 32}, {KIND(THIN)}, {KIND(THIN), .thinning = 8}}},
    {.name = "levels",
     .specs = {{KIND(LEVELS), .n_levels = 3}, {KIND(LEVELS), .n_levels = 16}, {KIND(LEVELS)}}},
    {.name = "mixed",
     .per = EMR_RESCALE_PER_ROW,
     .embed = 1,
     .specs = {{KIND(MASK)}, {KIND(SIGN)}, {KIND(THIN), .thinning = 16}}},
    {.name = "mixed per model", .specs = {{KIND(LEVELS)}, {KIND(MASK)}, {KIND(SIGN)}}},
};

static void every_way(void **state)
{
    (void)state;
    test_set s = make_set(11);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
        assert_parts_are_whole(&s, &ways[i], i + 1);
    test_set_destroy(&s);
}

/* Each part on a machine of its own: with other memory and threads, from other files. */
static void other_machines(void **state)
{
    static const way every[] = {{.name = "masks per row", .per = EMR_RESCALE_PER_ROW, .embed = 1},
                                {.name = "kinds", .specs = {{KIND(MASK)}, {KIND(SIGN)}, {KIND(LEVELS)}}}};
    enum { N = 5 };
    (void)state;
    test_set s = make_set(12);
    for (size_t i = 0; i < sizeof every / sizeof every[0]; i++) {
        emr_merge_options o = options_of(&every[i]);
        emr_buffer *want = merge_at_once(&s, &every[i], &o), *parts[N];
        for (uint32_t k = 0; k < N; k++) {
            emr_pool *pool = create_pool(k + 1);
            emr_resources resources = resources_within((uint64_t)(3 + 2 * k) << 20);
            resources.executor = emr_pool_executor(pool);
            o.resources = &resources;
            test_set copy = test_set_copy(&s, k % 2 ? SOURCE_READ : SOURCE_MEMORY);
            parts[k] = make_part(&copy, &every[i], &o, k, N);
            test_set_destroy(&copy);
            emr_pool_destroy(&pool);
        }
        rng order = {i + 1};
        emr_buffer *got = join_parts(parts, N, &order);
        assert_same_buffer(got, want, every[i].name);
        emr_buffer_destroy(&got);
        emr_buffer_destroy(&want);
        destroy_parts(parts, N);
    }
    test_set_destroy(&s);
}

static void random_models(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        way w = {.name = "random"};
        test_set s = random_set(seed, N_TASKS, true);
        rng r = {seed};
        w.embed = (uint32_t)rng_below(&r, 2);
        w.per = (emr_rescale_per)rng_below(&r, 4);
        w.unified = (emr_dtype)rng_below(&r, 4);
        for (size_t t = 0; t < N_TASKS; t++)
            w.specs[t] = (emr_modulation_spec){.size = sizeof *w.specs,
                                               .kind = (emr_modulator_kind)(1 + rng_below(&r, 5))};
        assert_parts_are_whole(&s, &w, seed);
        test_set_destroy(&s);
    }
}

/* Tasks that are not like their base: they lack tensors, have more rows, other ranks and other names. */
static const test_tensor of_base[] = {{"a", EMR_DTYPE_F32, 2, {200, 150}},
                                      {"b", EMR_DTYPE_F32, 2, {90, 300}},
                                      {"c", EMR_DTYPE_F32, 1, {40000}},
                                      {"d", EMR_DTYPE_U8, 1, {5000}}};
static const test_tensor of_tasks[N_TASKS][5] = {
    {{"x.a", EMR_DTYPE_F32, 2, {200, 150}},
     {"x.b", EMR_DTYPE_F32, 2, {100, 300}},
     {"x.c", EMR_DTYPE_F32, 1, {40000}},
     {"x.d", EMR_DTYPE_U8, 1, {5000}},
     {"x.own", EMR_DTYPE_F32, 1, {30000}}},
    {{"c", EMR_DTYPE_BF16, 1, {40000}}, {"b", EMR_DTYPE_F32, 2, {95, 300}}, {"more", EMR_DTYPE_I32, 1, {9}}},
    {{"b", EMR_DTYPE_F32, 2, {90, 300}},
     {"d", EMR_DTYPE_U8, 1, {5000}},
     {"a", EMR_DTYPE_F32, 2, {200, 150}}}};
static const size_t n_of_tasks[N_TASKS] = {5, 3, 3};

static void models_that_are_not_alike(void **state)
{
    static const emr_on_mismatch mismatches[] = {EMR_ON_MISMATCH_PRIVATE, EMR_ON_MISMATCH_ROWS,
                                                 EMR_ON_MISMATCH_PAD};
    static const emr_rename rule = {"x.", ""};
    (void)state;
    rng r = {77};
    emr_error error;
    test_model base = test_model_create("base", of_base, 4, SOURCE_IO), tasks[N_TASKS];
    test_model_randomise(&base, &r);
    for (size_t t = 0; t < N_TASKS; t++) {
        tasks[t] = test_model_create("task", of_tasks[t], n_of_tasks[t], SOURCE_IO);
        test_model_randomise(&tasks[t], &r);
    }
    assert_ok(emr_model_set_metadata(tasks[0].model, "made", "by hand", &error), &error);
    emr_model *renamed, *zeros, *own = tasks[0].model;
    assert_ok(emr_model_create_renamed(&renamed, own, &rule, 1, NULL, &error), &error);
    assert_ok(emr_model_create_zeros(&zeros, base.model, NULL, &error), &error);
    test_set s = {.base = base, .tasks = tasks, .n = N_TASKS};
    for (size_t i = 0; i < 12; i++) {
        emr_policy policy = {
            .size = sizeof policy, .on_mismatch = mismatches[i % 3], .on_missing = EMR_ON_MISSING_ABSENT};
        way w = {.name = "not alike", .embed = i < 6, .per = EMR_RESCALE_PER_ROW};
        if (i % 2)
            w = (way){.name = "coded", .specs = {{KIND(SIGN)}, {KIND(MASK)}, {KIND(THIN)}}};
        emr_merge_options o = options_of(&w);
        o.policy = &policy;
        tasks[0].model = renamed;
        s.base.model = i < 9 ? base.model : zeros;
        emr_buffer *want = merge_at_once(&s, &w, &o), *parts[4];
        make_parts(parts, &s, &w, &o, 4);
        emr_buffer *got = join_parts(parts, 4, &r);
        assert_same_buffer(got, want, w.name);
        emr_buffer_destroy(&got);
        emr_buffer_destroy(&want);
        destroy_parts(parts, 4);
    }
    tasks[0].model = own;
    emr_model_destroy(&renamed);
    emr_model_destroy(&zeros);
    for (size_t t = 0; t < N_TASKS; t++)
        test_model_destroy(&tasks[t]);
    test_model_destroy(&base);
}

static const test_tensor few[] = {
    {"a", EMR_DTYPE_F32, 2, {300, 150}}, {"b", EMR_DTYPE_U8, 1, {50}}, {"c.head", EMR_DTYPE_F32, 1, {70}}};
enum { N_FEW = sizeof few / sizeof few[0] };
static const way small_way = {
    .name = "small", .per = EMR_RESCALE_PER_ROW, .embed = 1, .specs = {{KIND(MASK)}, {KIND(SIGN)}}};

static test_set make_few(void)
{
    test_set s = test_set_create(few, N_FEW, 2, 5, SOURCE_MEMORY);
    s.tasks[0].data[1][7] ^= 1;
    return s;
}

static emr_status add_part(emr_join *join, const emr_buffer *part, const char *name, emr_error *error)
{
    return emr_join_add_part(join, emr_buffer_io(part), name, error);
}

static void missing_doubled_and_foreign_parts(void **state)
{
    (void)state;
    test_set s = make_few(), other_set = test_set_create(few, N_FEW - 1, 2, 5, SOURCE_MEMORY);
    emr_merge_options o = options_of(&small_way), other = o;
    other.embed_base = 0;
    emr_buffer *parts[3], *out = test_buffer_new();
    make_parts(parts, &s, &small_way, &o, 3);
    emr_buffer *of_two = make_part(&s, &small_way, &o, 1, 2),
               *of_others = make_part(&s, &small_way, &other, 1, 3),
               *of_models = make_part(&other_set, &small_way, &o, 1, 3);
    emr_error error;
    emr_join *join;
    assert_ok(emr_join_create(&join, NULL, &error), &error);
    assert_ok(emr_join_set_output(join, emr_buffer_io(out), &error), &error);
    assert_ok(add_part(join, parts[2], "c.part", &error), &error);
    const emr_buffer *foreign[] = {of_two, of_others, of_models};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(add_part(join, foreign[i], "b.part", &error), EMR_EMISMATCH);
        assert_names_file(&error, "b.part");
    }
    assert_int_equal(add_part(join, parts[2], "again.part", &error), EMR_EINVAL);
    assert_names_file(&error, "again.part");
    assert_says(&error, "c.part");
    assert_ok(add_part(join, parts[0], "a.part", &error), &error);
    assert_int_equal(emr_join_run(join, &error), EMR_ENOTFOUND);
    assert_says(&error, "part 2");
    assert_int_equal(emr_buffer_bytes(out), 0);
    assert_int_equal(emr_join_run(join, &error), EMR_ESTATE);
    emr_join_destroy(&join);
    emr_buffer_destroy(&of_two);
    emr_buffer_destroy(&of_others);
    emr_buffer_destroy(&of_models);
    emr_buffer_destroy(&out);
    destroy_parts(parts, 3);
    test_set_destroy(&s);
    test_set_destroy(&other_set);
}

/* Joins parts of which one is these bytes. */
static emr_status join_with(emr_buffer *const parts[2], size_t which, const void *bytes, size_t n,
                            emr_error *error)
{
    emr_buffer *damaged = test_buffer_of(bytes, n), *out = test_buffer_new();
    emr_join *join;
    emr_status status = emr_join_create(&join, NULL, error);
    for (size_t i = 0; !status && i < 2; i++)
        status =
            add_part(join, i == which ? damaged : parts[i], i == which ? "bad.part" : "good.part", error);
    if (!status)
        status = emr_join_set_output(join, emr_buffer_io(out), error);
    if (!status)
        status = emr_join_run(join, error);
    emr_join_destroy(&join);
    emr_buffer_destroy(&damaged);
    emr_buffer_destroy(&out);
    return status;
}

static void damaged_parts(void **state)
{
    (void)state;
    test_set s = make_few();
    emr_merge_options o = options_of(&small_way);
    emr_buffer *parts[2];
    make_parts(parts, &s, &small_way, &o, 2);
    rng r = {3};
    for (size_t i = 0; i < 400; i++) {
        emr_error error = {.text = ""};
        size_t which = i % 2, n = emr_buffer_bytes(parts[which]);
        unsigned char *bytes = malloc(n + 1);
        memcpy(bytes, emr_buffer_data(parts[which]), n);
        size_t at = i < 200 ? i : (size_t)rng_below(&r, n);
        bool cut = i % 4 > 1;
        bytes[at] ^= (unsigned char)(1 + rng_below(&r, 255));
        emr_status status = join_with(parts, which, bytes, cut ? at : n, &error);
        if (status != EMR_ECORRUPT && status != EMR_EFORMAT)
            fail_msg("byte %zu %s: %s", at, cut ? "and all behind it gone" : "changed", error.text);
        assert_names_file(&error, "bad.part");
        free(bytes);
    }
    emr_error error;
    unsigned char *longer = malloc(emr_buffer_bytes(parts[1]) + 1);
    memcpy(longer, emr_buffer_data(parts[1]), emr_buffer_bytes(parts[1]));
    longer[emr_buffer_bytes(parts[1])] = 0;
    assert_int_equal(join_with(parts, 1, longer, emr_buffer_bytes(parts[1]) + 1, &error), EMR_EFORMAT);
    free(longer);
    destroy_parts(parts, 2);
    test_set_destroy(&s);
}

/* A part, or joining two, with what may fail. */
typedef struct trial {
    test_allocator counts;
    test_io output, input;
    const test_set *set;
    emr_buffer *parts[2], *result;
    emr_error error;
} trial;

static emr_status try_part(trial *t, const emr_resources *resources)
{
    emr_merge *merge;
    emr_merge_options o = options_of(&small_way);
    emr_io io = test_io_make(&t->output);
    o.resources = resources;
    emr_status status = emr_merge_create(&merge, &o, &t->error);
    if (!status)
        status = emr_merge_set_base(merge, t->set->base.model, &t->error);
    for (size_t i = 0; !status && i < t->set->n; i++) {
        status = emr_merge_add_task(merge, i ? "t1" : "t0", t->set->tasks[i].model, &t->error);
        if (!status)
            status = emr_merge_set_modulation(merge, (uint32_t)i, &small_way.specs[i], &t->error);
    }
    if (!status)
        status = emr_merge_set_part(merge, 1, 2, &t->error);
    if (!status)
        status = emr_merge_set_output(merge, &io, &t->error);
    if (!status)
        status = emr_merge_run(merge, &t->error);
    emr_merge_destroy(&merge);
    return status;
}

static emr_status try_join(trial *t, const emr_resources *resources)
{
    emr_join *join;
    emr_io io = test_io_make(&t->output), input = test_io_make(&t->input);
    emr_status status = emr_join_create(&join, resources, &t->error);
    if (!status)
        status = emr_join_add_part(join, &input, "first.part", &t->error);
    if (!status)
        status = add_part(join, t->parts[1], "second.part", &t->error);
    if (!status)
        status = emr_join_set_output(join, &io, &t->error);
    if (!status)
        status = emr_join_run(join, &t->error);
    emr_join_destroy(&join);
    return status;
}

enum fault { ALLOCATION, WRITE, READ };

static size_t try_fault(trial *t, emr_status (*work)(trial *, const emr_resources *), enum fault fault,
                        size_t k, emr_status *status)
{
    emr_allocator allocator = test_allocator_make(&t->counts);
    const emr_resources resources = test_resources(&allocator, NULL);
    emr_buffer_destroy(&t->result);
    t->result = test_buffer_new();
    t->counts.requests = 0;
    t->counts.fail_at = fault == ALLOCATION ? k : SIZE_MAX;
    t->output = (test_io){.inner = *emr_buffer_io(t->result),
                          .fail_read = SIZE_MAX,
                          .fail_write = fault == WRITE ? k : SIZE_MAX};
    t->input = (test_io){.inner = *emr_buffer_io(t->parts[0]),
                         .fail_read = fault == READ ? k : SIZE_MAX,
                         .fail_write = SIZE_MAX};
    *status = work(t, &resources);
    assert_int_equal(t->counts.alive, 0);
    return fault == ALLOCATION ? t->counts.requests : fault == WRITE ? t->output.writes : t->input.reads;
}

static void assert_faults(trial *t, emr_status (*work)(trial *, const emr_resources *), enum fault fault,
                          const emr_buffer *want)
{
    emr_status status;
    for (size_t k = 0;; k += 1 + k / 40) { /* later ones are many, and alike */
        if (try_fault(t, work, fault, k, &status) <= k)
            break;
        if (status != (fault == ALLOCATION ? EMR_ENOMEM : EMR_EIO))
            fail_msg("fault %zu: %s (%s)", k, emr_status_name(status), t->error.text);
    }
    assert_ok(status, &t->error);
    assert_same_buffer(t->result, want, "after all faults");
}

static void parts_with_failures(void **state)
{
    (void)state;
    test_set s = make_few();
    emr_merge_options o = options_of(&small_way);
    trial t = {.set = &s};
    make_parts(t.parts, &s, &small_way, &o, 2);
    emr_buffer *whole = merge_at_once(&s, &small_way, &o);
    assert_faults(&t, try_part, ALLOCATION, t.parts[1]);
    assert_faults(&t, try_part, WRITE, t.parts[1]);
    assert_faults(&t, try_join, ALLOCATION, whole);
    assert_faults(&t, try_join, WRITE, whole);
    assert_faults(&t, try_join, READ, whole);
    emr_buffer_destroy(&whole);
    emr_buffer_destroy(&t.result);
    destroy_parts(t.parts, 2);
    test_set_destroy(&s);
}

static void memory_is_bounded(void **state)
{
    (void)state;
    test_set s = make_set(13);
    const way *w = &ways[16];
    emr_error error;
    test_meter meter = {0};
    emr_allocator allocator = test_meter_make(&meter);
    emr_resources resources = resources_within(4 << 20);
    resources.allocator = &allocator;
    emr_merge_options o = options_of(w);
    o.resources = &resources;
    emr_buffer *parts[3], *out = test_buffer_new();
    make_parts(parts, &s, w, &o, 3);
    assert_true(meter.peak <= 4 << 20);
    meter.peak = 0;
    emr_join *join;
    assert_ok(emr_join_create(&join, &resources, &error), &error);
    for (uint32_t i = 0; i < 3; i++)
        assert_ok(add_part(join, parts[i], NULL, &error), &error);
    assert_ok(emr_join_set_output(join, emr_buffer_io(out), &error), &error);
    assert_ok(emr_join_run(join, &error), &error);
    emr_join_destroy(&join);
    assert_true(meter.peak <= 4 << 20);
    assert_int_equal(meter.now, 0);
    emr_buffer_destroy(&out);
    destroy_parts(parts, 3);
    test_set_destroy(&s);
}

static emr_status ignore_part(void *user, const emr_sink_part *part, emr_error *error)
{
    (void)user;
    (void)part;
    (void)error;
    return EMR_OK;
}

static void what_has_no_parts(void **state)
{
    (void)state;
    test_set s = make_few(), pushed = test_set_create(few, 1, 2, 5, SOURCE_PUSHED);
    emr_merge_options o = small_options();
    emr_error error;
    emr_plan_summary summary = EMR_INIT(emr_plan_summary);
    emr_buffer *out = test_buffer_new(), *journal = test_buffer_new();
    const emr_sink sink = {.size = sizeof sink, .unified = ignore_part};
    emr_merge *merge = test_merge_create(&pushed, &o);
    assert_int_equal(emr_merge_set_part(merge, 2, 2, &error), EMR_EINVAL);
    assert_int_equal(emr_merge_set_part(merge, 0, 0, &error), EMR_EINVAL);
    assert_int_equal(emr_merge_set_part(merge, 0, 70000, &error), EMR_EINVAL);
    assert_int_equal(emr_merge_set_part(NULL, 0, 1, &error), EMR_EINVAL);
    assert_ok(emr_merge_set_part(merge, 0, 2, &error), &error);
    assert_int_equal(emr_merge_get_plan(merge, &summary, &error), EMR_EUNSUPPORTED);
    assert_says(&error, "pushed");
    emr_merge_destroy(&merge);
    merge = test_merge_create(&s, &o);
    assert_ok(emr_merge_set_part(merge, 0, 2, &error), &error);
    assert_ok(emr_merge_set_sink(merge, &sink, &error), &error);
    assert_int_equal(emr_merge_run(merge, &error), EMR_EUNSUPPORTED);
    emr_merge_destroy(&merge);
    merge = test_merge_create(&s, &o);
    assert_ok(emr_merge_set_output(merge, emr_buffer_io(out), &error), &error);
    assert_ok(emr_merge_set_journal(merge, emr_buffer_io(journal), 0, &error), &error);
    assert_ok(emr_merge_set_part(merge, 0, 2, &error), &error);
    assert_int_equal(emr_merge_run(merge, &error), EMR_EUNSUPPORTED);
    emr_merge_destroy(&merge);
    emr_buffer_destroy(&out);
    emr_buffer_destroy(&journal);
    test_set_destroy(&s);
    test_set_destroy(&pushed);
}

/* What the plan says of parts is what they are: together not much more than all at once, and no part much. */
static void assert_bytes(const test_set *s, const way *w)
{
    enum { N = 4 };
    emr_merge_options o = options_of(w);
    emr_error error;
    emr_plan_summary whole = EMR_INIT(emr_plan_summary), part = EMR_INIT(emr_plan_summary);
    emr_merge *merge = create_merge(s, w, &o);
    assert_ok(emr_merge_get_plan(merge, &whole, &error), &error);
    uint64_t bytes = 0, largest = 0;
    for (uint32_t i = 0; i < N; i++) {
        assert_ok(emr_merge_set_part(merge, i, N, &error), &error);
        assert_ok(emr_merge_get_plan(merge, &part, &error), &error);
        bytes += part.bytes_in;
        largest = part.bytes_in > largest ? part.bytes_in : largest;
        emr_buffer *made = make_part(s, w, &o, i, N);
        if (emr_buffer_bytes(made) > part.bytes_out)
            fail_msg("%s: part %u has %zu bytes, not at most %llu", w->name, i + 1, emr_buffer_bytes(made),
                     (unsigned long long)part.bytes_out);
        emr_buffer_destroy(&made);
    }
    assert_in_range(bytes, whole.bytes_in, whole.bytes_in * 3 / 2);
    assert_in_range(largest, whole.bytes_in / N, whole.bytes_in / 2);
    emr_merge_destroy(&merge);
}

static void bytes_of_all_parts(void **state)
{
    (void)state;
    test_set s = make_set(14);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
        assert_bytes(&s, &ways[i]);
    test_set_destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_way),
        cmocka_unit_test(other_machines),
        cmocka_unit_test(random_models),
        cmocka_unit_test(models_that_are_not_alike),
        cmocka_unit_test(missing_doubled_and_foreign_parts),
        cmocka_unit_test(damaged_parts),
        cmocka_unit_test(parts_with_failures),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(what_has_no_parts),
        cmocka_unit_test(bytes_of_all_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

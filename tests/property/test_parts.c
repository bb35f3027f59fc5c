/* test_parts.c - parts of a merge, made in any order and anywhere, are joined into what one run gives, byte for
 * byte; and what is not all parts of one merge is refused by name. */
#include "property.h"

#include <stdio.h>

enum { BLOCK = 4096, N_TASKS = 3 };

/* Tensors that are cut in the middle, wide and narrow matrices, vectors, rows longer than a chunk, nothing. */
static const test_tensor tensors[] = {
    {"a.wide", EMR_DTYPE_F32, 2, {3, 40000}},   {"b.empty", EMR_DTYPE_F32, 2, {0, 7}},
    {"c.matrix", EMR_DTYPE_F32, 2, {300, 201}}, {"d.bias", EMR_DTYPE_F32, 1, {999}},
    {"e.steps", EMR_DTYPE_I64, 1, {1001}},      {"f.vector", EMR_DTYPE_F32, 1, {50001}},
    {"g.narrow", EMR_DTYPE_F32, 2, {9000, 5}},  {"h.half", EMR_DTYPE_F16, 2, {170, 300}},
    {"i.brain", EMR_DTYPE_BF16, 3, {20, 30, 41}}, {"j.flags", EMR_DTYPE_BOOL, 1, {77}},
    {"k.one", EMR_DTYPE_F32, 0, {0}},           {"l.head", EMR_DTYPE_F32, 2, {30, 301}},
    {"m.square", EMR_DTYPE_F32, 2, {200, 200}}, {"n.empty", EMR_DTYPE_F32, 1, {0}},
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

static emr_buffer *make_part(const test_set *s, const way *w, const emr_merge_options *o, uint32_t part, uint32_t n)
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

static void make_parts(emr_buffer **parts, const test_set *s, const way *w, const emr_merge_options *o, uint32_t n)
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
    {.name = "per row", .rescale = EMR_RESCALE_UNBIASED, .per = EMR_RESCALE_PER_ROW, .unified = EMR_DTYPE_BF16},
    {.name = "l2 per row, base", .rescale = EMR_RESCALE_L2, .per = EMR_RESCALE_PER_ROW, .embed = 1},
    {.name = "extendable per row", .per = EMR_RESCALE_PER_ROW, .extendable = 1},
    {.name = "extendable per tensor", .per = EMR_RESCALE_PER_TENSOR, .extendable = 1, .embed = 1},
    {.name = "extendable", .extendable = 1, .compression = 3},
    {.name = "nearest", .specs = {{KIND(MASK), .mask_rule = EMR_MASK_RULE_NEAREST},
                                  {KIND(MASK), .mask_rule = EMR_MASK_RULE_NEAREST},
                                  {KIND(MASK), .mask_rule = EMR_MASK_RULE_NEAREST}}},
    {.name = "two-sided per model", .per = EMR_RESCALE_PER_MODEL, .rescale = EMR_RESCALE_L2,
     .specs = {{KIND(TWO_SIDED)}, {KIND(MASK)}, {KIND(TWO_SIDED)}}},
    {.name = "two-sided per row", .specs = {{KIND(TWO_SIDED)}, {KIND(TWO_SIDED)}, {KIND(MASK)}}},
    {.name = "signs", .specs = {{KIND(SIGN)}, {KIND(SIGN), .vectors_dtype = EMR_DTYPE_F32}, {KIND(SIGN)}}},
    {.name = "signs without columns",
     .specs = {{KIND(SIGN), .without_columns = 1}, {KIND(SIGN), .without_columns = 1}, {KIND(SIGN), .without_columns = 1}}},
    {.name = "thin", .specs = {{KIND(THIN), .thinning = 32}, {KIND(THIN)}, {KIND(THIN), .thinning = 8}}},
    {.name = "levels", .specs = {{KIND(LEVELS), .n_levels = 3}, {KIND(LEVELS), .n_levels = 16}, {KIND(LEVELS)}}},
    {.name = "mixed", .per = EMR_RESCALE_PER_ROW, .embed = 1,
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_streams.c - the table of stream kinds: it has every kind, says of each what docs/bundle-format.md
 * says, and whoever writes, opens or drops follows it. */
#include "fixture.h"

#include "bundle/bundle.h"

/* The page's table, once more. Lengths are those of 128 flat parameters, F32, and 3 rows with a rescaler
 * each, of the base and of a task of each kind; ANY: any will do. Codes are of thin, half of the parameters
 * kept, and of 8 levels; there are 5 columns and 7 differences. */
enum { ANY = 12345, N_KINDS = 6 };
static const struct {
    const char *name;
    uint64_t bytes[N_KINDS]; /* the base's, and by EMR_MODULATOR_KIND_... */
    bool per_task, growth;
} page[EMR_N_STREAM_KINDS] = {
    [1] = {"unified", {512}, false, false},
    [2] = {"mask", {0, 16, 16, 0, 0, 0}, true, false},
    [3] = {"base", {ANY}, false, false},
    [4] = {"private", {0, ANY, ANY, ANY, ANY, ANY}, true, false},
    [5] = {"row rescalers", {0, 12, 24, 0, 0, 0}, true, false},
    [6] = {"sums", {512}, false, true},
    [7] = {"opposites", {512}, false, true},
    [8] = {"extremes", {512}, false, true},
    [9] = {"non-zeros", {0, 16}, true, true},
    [10] = {"undecided signs", {0, 16}, true, true},
    [11] = {"row numerators", {0, 24}, true, true},
    [12] = {"codes", {0, 0, 0, 16, 8, 48}, true, false},
    [13] = {"scales", {0, 0, 0, 8, 8, 8}, true, false},
    [14] = {"columns", {0, 0, 0, 10, 0, 0}, true, false},
    [15] = {"vectors", {0, 0, 0, 14, 14, 28}, true, false},
};

static const emr_summary summary = {
    .rescale_per = EMR_PER_ROW_BYTE,
    .unified_dtype = EMR_DTYPE_F32,
    .modulator = EMR_MODULATOR_KIND_MASK,
    .flat_params = 128,
    .n_rows = 3,
};
static const emr_extent extent = {.n_elected = 1, .n_columns = 5, .n_differences = 7};
static const emr_modulator_record modulators[N_KINDS] = {
    {.kind = 0},
    {.kind = EMR_MODULATOR_KIND_MASK},
    {.kind = EMR_MODULATOR_KIND_TWO_SIDED},
    {.kind = EMR_MODULATOR_KIND_SIGN, .has_columns = 1, .vectors_dtype = EMR_DTYPE_BF16},
    {.kind = EMR_MODULATOR_KIND_THIN, .thinning = 1, .vectors_dtype = EMR_DTYPE_BF16},
    {.kind = EMR_MODULATOR_KIND_LEVELS, .n_levels = 8, .vectors_dtype = EMR_DTYPE_F32},
};

static void every_kind_is_in_the_table(void **state)
{
    (void)state;
    assert_null(emr_stream_rule_of(0));
    assert_null(emr_stream_rule_of(EMR_N_STREAM_KINDS));
    assert_null(emr_stream_rule_of(UINT32_MAX));
    for (uint32_t kind = 1; kind < EMR_N_STREAM_KINDS; kind++) {
        const emr_stream_rule *rule = emr_stream_rule_of(kind);
        assert_non_null(rule);
        assert_string_equal(rule->name, page[kind].name);
        assert_int_equal(rule->per_task, page[kind].per_task);
        assert_int_equal(rule->growth, page[kind].growth);
        assert_int_equal(rule->required, !page[kind].growth);
    }
}

static uint64_t length_of(uint32_t stream, const emr_summary *of, uint32_t kind)
{
    uint64_t bytes =
        emr_stream_bytes(emr_stream_rule_of(stream), of, &extent, kind ? &modulators[kind] : NULL);
    return bytes == EMR_ANY_BYTES ? ANY : bytes;
}

static void lengths_are_those_of_the_page(void **state)
{
    emr_summary other = summary;
    (void)state;
    other.rescale_per = EMR_PER_TENSOR_BYTE;
    other.unified_dtype = EMR_DTYPE_BF16;
    for (uint32_t stream = 1; stream < EMR_N_STREAM_KINDS; stream++) {
        bool by_row = stream == EMR_STREAM_ROW_RESCALERS || stream == EMR_STREAM_ROW_NUMERATORS;
        uint32_t first = page[stream].per_task ? 1 : 0;
        uint32_t last = !page[stream].per_task ? 0 : page[stream].growth ? 1 : N_KINDS - 1;
        for (uint32_t kind = first; kind <= last; kind++) {
            uint64_t then = by_row ? 0 : stream == EMR_STREAM_UNIFIED ? 256 : page[stream].bytes[kind];
            assert_int_equal(length_of(stream, &summary, kind), page[stream].bytes[kind]);
            assert_int_equal(length_of(stream, &other, kind), then);
        }
    }
}

static void lengths_of_little_are_right(void **state)
{
    const emr_extent none = {.n_elected = 0};
    emr_summary empty = {.rescale_per = EMR_PER_ROW_BYTE, .unified_dtype = EMR_DTYPE_F32};
    (void)state;
    for (uint32_t stream = 1; stream < EMR_N_STREAM_KINDS; stream++)
        for (uint32_t kind = 0; kind < N_KINDS; kind++) {
            uint64_t bytes =
                emr_stream_bytes(emr_stream_rule_of(stream), &empty, &none, kind ? &modulators[kind] : NULL);
            assert_true(bytes == 0 || bytes == EMR_ANY_BYTES);
        }
    assert_int_equal(
        emr_stream_bytes(emr_stream_rule_of(EMR_STREAM_UNIFIED), &summary, &none, &modulators[3]), 0);
    emr_modulator_record thinnest = modulators[EMR_MODULATOR_KIND_THIN];
    thinnest.thinning = 5; /* 2 bits a group, and whole bytes of them */
    assert_int_equal(emr_stream_bytes(emr_stream_rule_of(EMR_STREAM_CODES), &summary, &extent, &thinnest), 1);
}

/* The place of an owner's stream of a kind; SIZE_MAX where there is none. */
static size_t find_stream(const emr_bundle *b, uint32_t kind, uint32_t owner)
{
    for (size_t i = 0; i < b->n_streams; i++) {
        emr_stream_record s = emr_bundle_stream_record(b, i);
        if (s.kind == kind && s.owner == owner)
            return i;
    }
    return SIZE_MAX;
}

static unsigned char *read_stream(const emr_bundle *b, size_t stream, size_t *n)
{
    emr_error error;
    emr_cursor cursor;
    *n = (size_t)emr_bundle_stream_record(b, stream).bytes;
    unsigned char *bytes = malloc(*n + 1);
    assert_ok(emr_cursor_open(&cursor, b, stream, &b->allocator, &error), &error);
    assert_ok(emr_cursor_read(&cursor, 0, bytes, *n, &error), &error);
    emr_cursor_close(&cursor);
    return bytes;
}

/* One of every kind that tasks with masks have, and bytes in each: so none can go missing in a test that looks at this
 * bundle. */
static void create_with_all_streams(fixture *f)
{
    emr_merge_options options = EMR_INIT(emr_merge_options);
    options.rescale_per = EMR_RESCALE_PER_ROW;
    options.embed_base = 1;
    options.extendable = 1;
    fixture_create(f, &options, false);
    for (uint32_t kind = 1; kind < EMR_STREAM_CODES; kind++) {
        uint32_t owner = emr_stream_rule_of(kind)->per_task ? 1 : EMR_BASE;
        size_t stream = find_stream(f->bundle, kind, owner);
        assert_true(stream != SIZE_MAX);
        assert_true(emr_bundle_stream_record(f->bundle, stream).bytes > 0);
    }
}

static void streams_are_marked_as_the_table_says(void **state)
{
    fixture f;
    (void)state;
    create_with_all_streams(&f);
    for (size_t i = 0; i < f.bundle->n_streams; i++) {
        emr_stream_record s = emr_bundle_stream_record(f.bundle, i);
        const emr_stream_rule *rule = emr_stream_rule_of(s.kind);
        size_t place =
            rule->per_task ? f.bundle->task_streams[s.kind][s.owner] : f.bundle->base_streams[s.kind];
        assert_int_equal(place, i);
        assert_int_equal(s.owner == EMR_BASE, !rule->per_task);
        assert_int_equal(s.flags, rule->required ? EMR_STREAM_REQUIRED : 0);
    }
    fixture_destroy(&f);
}

static emr_bundle *drop_task(const emr_bundle *b, uint32_t task, emr_buffer *out)
{
    const emr_task_selection selection = {.size = sizeof selection, .tasks = &task, .n_tasks = 1};
    emr_error error;
    assert_ok(emr_bundle_drop(b, &selection, emr_buffer_io(out), NULL, &error), &error);
    return test_bundle_open(out);
}

/* Every stream that a reader must know is there afterwards, byte for byte: the base's, and those of tasks
 * that stay. What is for growth alone is not. */
static void dropping_loses_no_required_stream(void **state)
{
    fixture f;
    (void)state;
    create_with_all_streams(&f);
    emr_buffer *out = test_buffer_new();
    emr_bundle *left = drop_task(f.bundle, 0, out);
    size_t n_kept = 0;
    for (size_t i = 0; i < f.bundle->n_streams; i++) {
        emr_stream_record s = emr_bundle_stream_record(f.bundle, i);
        const emr_stream_rule *rule = emr_stream_rule_of(s.kind);
        uint32_t owner = s.owner == EMR_BASE ? s.owner : s.owner - 1;
        bool stays = rule->required && s.owner != 0;
        size_t j = s.owner == 0 ? SIZE_MAX : find_stream(left, s.kind, owner), n, m;
        assert_int_equal(j != SIZE_MAX, stays);
        if (!stays)
            continue;
        unsigned char *before = read_stream(f.bundle, i, &n), *after = read_stream(left, j, &m);
        assert_int_equal(m, n);
        assert_memory_equal(after, before, n);
        assert_int_equal(emr_bundle_stream_record(left, j).flags, EMR_STREAM_REQUIRED);
        free(before);
        free(after);
        n_kept++;
    }
    assert_int_equal(left->n_streams, n_kept);
    emr_bundle_destroy(&left);
    emr_buffer_destroy(&out);
    fixture_destroy(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_is_in_the_table),
        cmocka_unit_test(lengths_are_those_of_the_page),
        cmocka_unit_test(lengths_of_little_are_right),
        cmocka_unit_test(streams_are_marked_as_the_table_says),
        cmocka_unit_test(dropping_loses_no_required_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

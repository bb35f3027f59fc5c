/* test_bundle_drop.c - dropping tasks from bundles that no merge writes, and adding tasks to them: records
 * that share their strings, which the format allows. */
#include "fixture.h"

#include "../fuzz/image.h"

static fixture f;
static image made; /* a copy of the fixture's bundle, to change */

enum { ROOM = 4 << 20 };

static int copy_fixture(void)
{
    made = (image){malloc(ROOM), f.buffer.bytes, ROOM};
    memcpy(made.bytes, f.buffer.data, made.n);
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    fixture_create_rich(&f);
    return copy_fixture();
}

static int set_up_extendable(void **state)
{
    emr_merge_options options = EMR_INIT(emr_merge_options);
    (void)state;
    options.extendable = 1;
    fixture_create(&f, &options, false);
    return copy_fixture();
}

static int tear_down(void **state)
{
    (void)state;
    free(made.bytes);
    fixture_destroy(&f);
    return 0;
}

/* Zeros at the end of a section: where they begin. */
static uint8_t *extend(enum emr_section_kind kind, size_t n, size_t *at)
{
    image_section s;
    assert_true(image_find(&made, kind, &s));
    assert_true(image_splice_content(&made, &s, s.size, 0, n));
    *at = s.size;
    return made.bytes + s.head + EMR_SECTION_HEAD + s.size;
}

static uint32_t add_string(size_t length)
{
    size_t at;
    memset(extend(EMR_SECTION_STRINGS, length + 1, &at), 'x', length);
    return (uint32_t)at;
}

static void add_metadata(size_t n, uint32_t owner, uint32_t key, uint32_t value)
{
    size_t at;
    uint8_t *p = extend(EMR_SECTION_METADATA, n * EMR_METADATA_SIZE, &at);
    for (size_t i = 0; i < n; i++)
        emr_encode_metadata(p + i * EMR_METADATA_SIZE, &(emr_metadata_record){owner, key, value});
}

/* The changed bundle without a task. */
static emr_buffer drop(size_t task, const emr_allocator *allocator)
{
    emr_buffer before, out = {0};
    emr_memory memory;
    emr_error error = {{0}};
    emr_io io = emr_buffer_io(&out);
    emr_drop_options options = EMR_INIT(emr_drop_options);
    emr_drop_report report = EMR_INIT(emr_drop_report);
    image_seal(&made, false);
    memset(&before, 0, sizeof before);
    before.data = made.bytes;
    before.bytes = made.n;
    options.allocator = allocator;
    emr_bundle *b = test_bundle_open(&before, &memory);
    assert_ok(emr_bundle_drop(b, &task, 1, &io, &options, &report, &error), &error);
    emr_bundle_destroy(&b);
    return out;
}

/* What stays is 2000 references to 64 KiB: 131 MB if each had its own copy. */
static void shared_strings_stay_shared(void **state)
{
    test_meter meter = {0};
    emr_allocator allocator = test_meter_make(&meter);
    emr_memory memory;
    emr_error error = {{0}};
    (void)state;
    uint32_t text = add_string(64 << 10);
    for (uint32_t owner = 0; owner < FIXTURE_TASKS; owner++)
        add_metadata(500, owner, text, text);
    emr_buffer out = drop(1, &allocator);
    assert_true(out.bytes < made.n);
    assert_true(meter.peak < 8 * made.n + (1 << 20));
    assert_int_equal(meter.now, 0);
    emr_bundle *b = test_bundle_open(&out, &memory);
    assert_ok(emr_bundle_verify(b, NULL, NULL, NULL, &error), &error);
    emr_bundle_destroy(&b);
    emr_buffer_free(&out);
}

/* One owner's entries may refer to as much as the strings hold, which a long string of another made more. */
static void entries_stay_readable(void **state)
{
    emr_memory memory;
    emr_error error = {{0}};
    emr_model *model;
    const char *key, *value;
    (void)state;
    uint32_t text = add_string(40), filler = add_string(16 << 10);
    add_metadata(150, EMR_BASE, text, text);
    add_metadata(1, 1, text, filler);
    emr_buffer out = drop(1, NULL);
    emr_bundle *b = test_bundle_open(&out, &memory);
    assert_ok(emr_bundle_verify(b, NULL, NULL, NULL, &error), &error);
    assert_ok(emr_bundle_open_base(&model, b, NULL, &error), &error);
    assert_int_equal(emr_model_n_metadata(model), 150);
    for (size_t i = 0; i < 150; i++) {
        emr_model_get_metadata(model, i, &key, &value);
        assert_int_equal(strlen(key), 40);
        assert_string_equal(key, value);
    }
    emr_model_destroy(&model);
    emr_bundle_destroy(&b);
    assert_true(out.bytes < made.n);
    emr_buffer_free(&out);
}

/* 500 references of one task to 64 KiB are no metadata that a merge takes over; one is. */
static void adding_takes_over_no_more_than_there_is(void **state)
{
    test_meter meter = {0};
    emr_allocator allocator = test_meter_make(&meter);
    emr_merge_options options = EMR_INIT(emr_merge_options);
    emr_memory memory;
    emr_error error = {{0}};
    emr_merge *merge;
    (void)state;
    options.allocator = &allocator;
    uint32_t text = add_string(64 << 10), key = add_string(3);
    for (int i = 0; i < 2; i++) {
        add_metadata(i ? 500 : 1, 1, key, text);
        image_seal(&made, false);
        emr_buffer bytes = {.data = made.bytes, .bytes = made.n};
        emr_bundle *b = test_bundle_open(&bytes, &memory);
        assert_ok(emr_merge_create(&merge, &options, &error), &error);
        assert_int_equal(emr_merge_extend(merge, b, &error), i ? EMR_EFORMAT : EMR_OK);
        assert_true(i == 0 || strstr(error.text, "metadata"));
        emr_merge_destroy(&merge);
        emr_bundle_destroy(&b);
        assert_true(meter.peak < 2 * made.n + (64 << 10));
        assert_int_equal(meter.now, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(shared_strings_stay_shared, set_up, tear_down),
        cmocka_unit_test_setup_teardown(entries_stay_readable, set_up, tear_down),
        cmocka_unit_test_setup_teardown(adding_takes_over_no_more_than_there_is, set_up_extendable,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

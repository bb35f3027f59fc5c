/* test_bundle_drop.c - dropping tasks from bundles that no merge writes, and adding tasks to them: records
 * that share their strings, which the format allows. */
#include "fixture.h"

#include "../fuzz/image.h"

static fixture f;
static image made; /* a copy of the fixture's bundle, to change */

enum { ROOM = 4 << 20 };

static int copy_fixture(void)
{
    made = (image){malloc(ROOM), emr_buffer_bytes(f.buffer), ROOM};
    memcpy(made.bytes, emr_buffer_data(f.buffer), made.n);
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
static emr_buffer *drop_task(uint32_t task, const emr_allocator *allocator)
{
    const emr_resources resources = test_resources(allocator, NULL);
    emr_buffer *out = test_buffer_new();
    emr_error error = {.text = ""};
    emr_task_selection dropped = EMR_INIT(emr_task_selection);
    emr_drop_report report = EMR_INIT(emr_drop_report);
    image_seal(&made, false);
    dropped.resources = &resources;
    dropped.tasks = &task;
    dropped.n_tasks = 1;
    emr_buffer *before = test_buffer_of(made.bytes, made.n);
    emr_bundle *b = test_bundle_open(before);
    assert_ok(emr_bundle_drop(b, &dropped, emr_buffer_io(out), &report, &error), &error);
    emr_bundle_destroy(&b);
    emr_buffer_destroy(&before);
    return out;
}

/* What stays is 2000 references to 64 KiB: 131 MB if each had its own copy. */
static void shared_strings_stay_shared(void **state)
{
    test_meter meter = {0};
    emr_allocator allocator = test_meter_make(&meter);
    emr_error error = {.text = ""};
    (void)state;
    uint32_t text = add_string(64 << 10);
    for (uint32_t owner = 0; owner < FIXTURE_TASKS; owner++)
        add_metadata(500, owner, text, text);
    emr_buffer *out = drop_task(1, &allocator);
    assert_true(emr_buffer_bytes(out) < made.n);
    assert_true(meter.peak < 8 * made.n + (1 << 20));
    assert_int_equal(meter.now, 0);
    emr_bundle *b = test_bundle_open(out);
    assert_ok(emr_bundle_verify(b, NULL, &error), &error);
    emr_bundle_destroy(&b);
    emr_buffer_destroy(&out);
}

/* One owner's entries may refer to as much as the strings hold, which a long string of another made more. */
static void entries_stay_readable(void **state)
{
    emr_error error = {.text = ""};
    emr_model *model;
    const char *key, *value;
    (void)state;
    uint32_t text = add_string(40), filler = add_string(16 << 10);
    add_metadata(150, EMR_BASE, text, text);
    add_metadata(1, 1, text, filler);
    emr_buffer *out = drop_task(1, NULL);
    emr_bundle *b = test_bundle_open(out);
    assert_ok(emr_bundle_verify(b, NULL, &error), &error);
    assert_ok(emr_bundle_open_base(&model, b, NULL, &error), &error);
    assert_int_equal(emr_model_n_metadata(model), 150);
    assert_int_equal(emr_bundle_n_metadata(b, EMR_BASE), 150);
    for (uint32_t i = 0; i < 150; i++) {
        emr_model_get_metadata(model, i, &key, &value);
        assert_int_equal(strlen(key), 40);
        assert_string_equal(key, value);
    }
    emr_model_destroy(&model);
    emr_bundle_destroy(&b);
    assert_true(emr_buffer_bytes(out) < made.n);
    emr_buffer_destroy(&out);
}

/* 500 references of one task to 64 KiB are no metadata that a merge takes over; one is. */
static void adding_takes_over_no_more_than_there_is(void **state)
{
    test_meter meter = {0};
    emr_allocator allocator = test_meter_make(&meter);
    const emr_resources resources = test_resources(&allocator, NULL);
    const emr_merge_options options = {.size = sizeof options, .resources = &resources};
    emr_error error = {.text = ""};
    emr_merge *merge;
    (void)state;
    uint32_t text = add_string(64 << 10), key = add_string(3);
    for (int i = 0; i < 2; i++) {
        add_metadata(i ? 500 : 1, 1, key, text);
        image_seal(&made, false);
        emr_buffer *bytes = test_buffer_of(made.bytes, made.n);
        emr_bundle *b = test_bundle_open(bytes);
        assert_ok(emr_merge_create(&merge, &options, &error), &error);
        assert_int_equal(emr_merge_extend(merge, b, &error), i ? EMR_EFORMAT : EMR_OK);
        assert_true(i == 0 || strstr(error.text, "metadata"));
        if (i) /* what was taken over in part is of no use */
            assert_int_equal(emr_merge_extend(merge, b, &error), EMR_ESTATE);
        emr_merge_destroy(&merge);
        emr_bundle_destroy(&b);
        emr_buffer_destroy(&bytes);
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

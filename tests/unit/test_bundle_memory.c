/* test_bundle_memory.c - what the library says beforehand that a part of a bundle's reader takes is never less than
 * it does take. */
#include "support.h"

#include <stdio.h>

#include "bundle/bundle.h"

enum { MOST_TENSORS = 70, MOST_ENTRIES = 40 };

static char names[MOST_TENSORS][24], keys[MOST_ENTRIES][24];
static test_tensor tensors[MOST_TENSORS];

/* One task over a base of n small tensors, with n_entries of metadata; the base is embedded. */
static emr_buffer *merge_small(size_t n, size_t n_entries)
{
    emr_merge_options options = EMR_INIT(emr_merge_options);
    emr_error error;
    options.embed_base = 1;
    for (size_t i = 0; i < n; i++) {
        snprintf(names[i], sizeof names[i], "layer.%zu.weight", i);
        tensors[i] = (test_tensor){names[i], i % 3 ? EMR_DTYPE_F32 : EMR_DTYPE_BF16, 2, {1 + i % 4, 3}};
    }
    test_set s = test_set_create(tensors, n, 1, 7, SOURCE_MEMORY);
    for (size_t i = 0; i < n_entries; i++) {
        snprintf(keys[i], sizeof keys[i], "key %zu", i);
        assert_ok(emr_model_set_metadata(s.base.model, keys[i], "a value that is longer", &error), &error);
    }
    emr_buffer *buffer = test_merge_bundle(&s, &options);
    test_set_destroy(&s);
    return buffer;
}

static void an_embedded_base_takes_no_more_than_announced(void **state)
{
    (void)state;
    for (size_t n = 1; n <= MOST_TENSORS; n++) {
        size_t n_entries = n * 7 % MOST_ENTRIES;
        emr_buffer *buffer = merge_small(n, n_entries);
        emr_bundle *bundle = test_bundle_open(buffer);
        test_meter meter = {0};
        const emr_allocator allocator = test_meter_make(&meter);
        emr_model *base;
        emr_error error;
        assert_ok(emr_bundle_open_base(&base, bundle, &allocator, &error), &error);
        assert_int_equal(emr_model_n_metadata(base), n_entries);
        assert_true(meter.peak <= emr_bundle_base_memory(bundle));
        assert_true(meter.peak * 2 > emr_bundle_base_memory(bundle)); /* nor far less */
        emr_model_destroy(&base);
        emr_bundle_destroy(&bundle);
        emr_buffer_destroy(&buffer);
    }
}

static void a_cursor_takes_no_more_than_announced(void **state)
{
    emr_buffer *buffer = merge_small(MOST_TENSORS, 0);
    emr_bundle *bundle = test_bundle_open(buffer);
    (void)state;
    for (size_t i = 0; i < bundle->n_streams; i++) {
        emr_stream_record s = emr_bundle_stream_record(bundle, i);
        test_meter meter = {0};
        const emr_allocator allocator = test_meter_make(&meter);
        emr_cursor cursor;
        emr_error error;
        unsigned char bytes[64];
        assert_ok(emr_cursor_open(&cursor, bundle, i, &allocator, &error), &error);
        assert_ok(emr_cursor_read(&cursor, 0, bytes, s.bytes < 64 ? (size_t)s.bytes : 64, &error), &error);
        assert_true(meter.peak <= emr_cursor_memory(&s));
        emr_cursor_close(&cursor);
        assert_int_equal(meter.now, 0);
    }
    emr_bundle_destroy(&bundle);
    emr_buffer_destroy(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_embedded_base_takes_no_more_than_announced),
        cmocka_unit_test(a_cursor_takes_no_more_than_announced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

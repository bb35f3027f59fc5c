/* test_bundle_damage.c - damaged, truncated and hostile bundles: found, or harmless; and bundles of later
 * versions. */
#include "fixture.h"

#include "bundle/codec.h"
#include "bundle/format.h"
#include "core/hash.h"

static fixture f; /* with every kind of stream; small */
static unsigned char *bytes;
static size_t n_bytes;
static emr_buffer *view; /* of the copy as it was opened last */

static int set_up(void **state)
{
    (void)state;
    fixture_create_rich(&f);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fixture_destroy(&f);
    return 0;
}

/* A copy to damage, with room to grow. */
static int copy(void **state)
{
    (void)state;
    n_bytes = emr_buffer_bytes(f.buffer);
    bytes = malloc(n_bytes + 1024);
    memcpy(bytes, emr_buffer_data(f.buffer), n_bytes);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    emr_buffer_destroy(&view);
    free(bytes);
    return 0;
}

static emr_status open_damaged(emr_bundle **bundle, emr_error *error)
{
    emr_buffer_destroy(&view);
    view = test_buffer_of(bytes, n_bytes);
    emr_io io = *emr_buffer_io(view);
    io.map = NULL;
    return emr_bundle_open(bundle, &io, "test.emr", NULL, error);
}

/* Every task's model, every tensor: as in the whole bundle, or refused as damaged. Returns how many were
 * refused. */
static size_t read_tasks(const emr_bundle *bundle)
{
    size_t refused = 0;
    for (uint32_t task = 0; task < FIXTURE_TASKS; task++) {
        emr_model *got, *expected;
        emr_error error;
        assert_ok(emr_bundle_open_task(&got, bundle, task, NULL, NULL, &error), &error);
        assert_ok(emr_bundle_open_task(&expected, f.bundle, task, NULL, NULL, &error), &error);
        for (uint32_t i = 0; i < emr_model_n_tensors(got); i++) {
            const emr_tensor *t = emr_model_tensor(got, i);
            size_t n = (size_t)emr_tensor_bytes(t);
            unsigned char *right = read_all(emr_model_tensor(expected, i)), *mine = malloc(n + 1);
            emr_status status = emr_tensor_read(t, 0, mine, n, &error);
            assert_true(status == EMR_OK || status == EMR_ECORRUPT);
            refused += status != EMR_OK;
            if (!status)
                assert_memory_equal(mine, right, n);
            free(right);
            free(mine);
        }
        emr_model_destroy(&got);
        emr_model_destroy(&expected);
    }
    return refused;
}

/* Every byte is under a checksum: a change anywhere is found by opening or verifying, and no reader gives out
 * a wrong weight in the meantime. */
static void every_flipped_byte_is_found(void **state)
{
    size_t n_read_wrong = 0;
    (void)state;
    for (size_t i = 0; i < n_bytes; i++) {
        for (int k = 0; k < 2; k++) {
            const unsigned char flip = (unsigned char)(k ? 0xff : 1 << i % 8);
            emr_bundle *bundle;
            emr_error error = {.text = ""};
            bytes[i] ^= flip;
            emr_status status = open_damaged(&bundle, &error);
            if (!status) {
                status = emr_bundle_verify(bundle, NULL, &error);
                n_read_wrong += k ? read_tasks(bundle) : 0;
            }
            emr_bundle_destroy(&bundle);
            bytes[i] ^= flip;
            if (status != EMR_ECORRUPT && status != EMR_EFORMAT)
                fail_msg("byte %zu: %s", i, emr_status_name(status));
            assert_true(test_span_is(&error, error.file, "test.emr"));
        }
    }
    assert_true(n_read_wrong > 0);
    assert_memory_equal(bytes, emr_buffer_data(f.buffer), n_bytes);
}

static void every_truncation_is_refused(void **state)
{
    const size_t whole = n_bytes;
    (void)state;
    for (n_bytes = 0; n_bytes < whole; n_bytes++) {
        emr_bundle *bundle;
        emr_error error = {.text = ""};
        emr_status status = open_damaged(&bundle, &error);
        assert_true(status == EMR_EFORMAT || status == EMR_ECORRUPT);
        assert_null(bundle);
        assert_true(test_span_is(&error, error.file, "test.emr"));
    }
}

static void bytes_after_the_end_are_refused(void **state)
{
    (void)state;
    for (size_t more = 1; more < 200; more++) {
        emr_bundle *bundle;
        bytes[n_bytes] = 0;
        n_bytes++;
        emr_status status = open_damaged(&bundle, NULL);
        assert_true(status == EMR_EFORMAT || status == EMR_ECORRUPT);
    }
}

/* Makes all checksums right again after a change, as somebody would who means harm. */
static void reseal(void)
{
    unsigned char *trailer = bytes + n_bytes - EMR_TRAILER_SIZE;
    uint64_t offset = emr_load64(trailer);
    emr_store64(bytes + EMR_SEALED, emr_hash64(bytes, EMR_SEALED));
    emr_store64(trailer + 16, emr_hash64(bytes + offset, n_bytes - EMR_TRAILER_SIZE - offset));
    emr_store64(trailer + EMR_SEALED, emr_hash64(trailer, EMR_SEALED));
}

static void check_sealed(emr_status expected)
{
    emr_bundle *bundle;
    emr_error error = {.text = ""};
    reseal();
    assert_int_equal(open_damaged(&bundle, &error), expected);
    if (!expected)
        assert_ok(emr_bundle_verify(bundle, NULL, &error), &error);
    else
        assert_true(test_span_is(&error, error.file, "test.emr"));
    emr_bundle_destroy(&bundle);
}

static void later_major_versions_are_refused_as_such(void **state)
{
    (void)state;
    check_sealed(EMR_OK);
    emr_store16(bytes + 8, EMR_FORMAT_MAJOR + 1);
    check_sealed(EMR_EVERSION);
    emr_store16(bytes + 8, EMR_FORMAT_MAJOR);
    emr_store16(bytes + 10, EMR_FORMAT_MINOR + 1); /* a minor version adds what may be ignored */
    check_sealed(EMR_OK);
    emr_store64(bytes + 16, EMR_FEATURES_KNOWN + 1); /* a flag that may not */
    check_sealed(EMR_EVERSION);
    emr_store32(bytes + 12, 2 * EMR_HEADER_SIZE); /* may be right in the version that knows the flag */
    check_sealed(EMR_EVERSION);
    emr_store64(bytes + 16, 0);
    check_sealed(EMR_EFORMAT);
}

/* The section of a kind: where its data begins. */
static unsigned char *section(uint32_t kind, uint64_t *size)
{
    unsigned char *p = bytes + emr_load64(bytes + n_bytes - EMR_TRAILER_SIZE);
    while (emr_load32(p) != kind)
        p += EMR_SECTION_HEAD + (emr_load64(p + 8) + 7) / 8 * 8;
    *size = emr_load64(p + 8);
    return p + EMR_SECTION_HEAD;
}

/* Appends a section to the index. */
static void append_section(uint32_t kind, uint32_t flags)
{
    enum { ADDED = EMR_SECTION_HEAD + 8 };
    unsigned char *trailer = bytes + n_bytes - EMR_TRAILER_SIZE;
    memmove(trailer + ADDED, trailer, EMR_TRAILER_SIZE);
    emr_store32(trailer, kind);
    emr_store32(trailer + 4, flags);
    emr_store64(trailer + 8, 5);
    memcpy(trailer + EMR_SECTION_HEAD, "hello\0\0", 8);
    n_bytes += ADDED;
    trailer += ADDED;
    emr_store64(trailer + 8, emr_load64(trailer + 8) + ADDED);
    emr_store64(trailer + 24, n_bytes);
}

static void unknown_sections_are_skipped_unless_required(void **state)
{
    (void)state;
    append_section(1000, 0);
    append_section(1001, 0);
    check_sealed(EMR_OK);
    append_section(1002, EMR_SECTION_REQUIRED);
    check_sealed(EMR_EVERSION);
}

static void sections_may_not_repeat(void **state)
{
    (void)state;
    append_section(EMR_SECTION_STRINGS, 0);
    check_sealed(EMR_EFORMAT);
}

static void unknown_kinds_need_a_later_version(void **state)
{
    uint64_t size;
    (void)state;
    for (size_t at = 0; at <= 4; at++) { /* rescale, rescale_per, tie, unified dtype, modulator */
        unsigned char *summary = section(EMR_SECTION_SUMMARY, &size), old = summary[at];
        summary[at] = 77;
        check_sealed(EMR_EVERSION);
        summary[at] = old;
    }
    unsigned char *blocks = section(EMR_SECTION_BLOCKS, &size), codec = blocks[20];
    assert_true(size > 0);
    blocks[20] = 9; /* of the first block */
    check_sealed(EMR_EVERSION);
    blocks[20] = codec;
    unsigned char *streams = section(EMR_SECTION_STREAMS, &size);
    emr_store32(streams, 99);
    emr_store32(streams + 28, EMR_STREAM_REQUIRED);
    check_sealed(EMR_EVERSION);
}

/* A number in the index that no file may have. */
typedef struct impossible {
    uint32_t section, at, width;
    uint64_t value;
    emr_status status;
} impossible;

static void check_impossible(const impossible *all, size_t n)
{
    check_sealed(EMR_OK);
    for (size_t i = 0; i < n; i++) {
        uint64_t size;
        unsigned char old[8], *p = section(all[i].section, &size) + all[i].at;
        assert_true(all[i].at + all[i].width <= size);
        memcpy(old, p, sizeof old);
        for (uint32_t k = 0; k < all[i].width; k++)
            p[k] = (unsigned char)(all[i].value >> 8 * k);
        check_sealed(all[i].status);
        memcpy(p, old, sizeof old);
    }
    check_sealed(EMR_OK);
}

static void impossible_numbers_are_refused(void **state)
{
    static const impossible numbers[] = {
        {EMR_SECTION_SUMMARY, 0, 1, 1, EMR_EVERSION},       /* l1-means, yet per row */
        {EMR_SECTION_SUMMARY, 6, 1, 2, EMR_EFORMAT},        /* the base is embedded, or not */
        {EMR_SECTION_TASKS, 4, 4, 0x3f800000, EMR_EFORMAT}, /* a rescaler for the model, yet per row */
        {EMR_SECTION_TASKS, 4, 4, 0x80000000, EMR_EFORMAT}, /* -0 */
        {EMR_SECTION_TASKS, 16, 8, 1, EMR_EFORMAT},         /* not finite, under the policy "error" */
        {EMR_SECTION_TASKS, 24, 4, 2, EMR_EFORMAT},
        {EMR_SECTION_TENSORS, 12, 4, 2, EMR_EFORMAT},    /* merged, or not */
        {EMR_SECTION_TASK_DTYPES, 0, 1, 0, EMR_EFORMAT}, /* a task without a merged tensor */
    };
    uint64_t size;
    bool tried[2] = {false, false};
    (void)state;
    check_impossible(numbers, sizeof numbers / sizeof numbers[0]);
    unsigned char *blocks = section(EMR_SECTION_BLOCKS, &size);
    for (uint64_t i = 0; i < size / EMR_BLOCK_SIZE; i++) { /* a parameter where the codec has none */
        unsigned char *block = blocks + i * EMR_BLOCK_SIZE;
        if (block[20] != EMR_CODEC_RAW && block[20] != EMR_CODEC_ZSTD)
            continue;
        tried[block[20]] = true;
        block[21] = 4;
        check_sealed(EMR_EFORMAT);
        block[21] = 0;
    }
    assert_true(tried[EMR_CODEC_RAW] && (tried[EMR_CODEC_ZSTD] || emr_codec_version() == 0));
}

static void impossible_plans_for_growth_are_refused(void **state)
{
    static const impossible numbers[] = {
        {EMR_SECTION_GROWTH, 0, 1, 4, EMR_EVERSION},
        {EMR_SECTION_GROWTH, 1, 1, 3, EMR_EVERSION},
        {EMR_SECTION_GROWTH, 4, 4, 20, EMR_EVERSION},
        {EMR_SECTION_GROWTH, 4, 4, 0xfffffffe, EMR_EVERSION},
        {EMR_SECTION_GROWTH, 8, 4, 2048, EMR_EFORMAT},
        {EMR_SECTION_GROWTH, 8, 4, 4097, EMR_EFORMAT},
        {EMR_SECTION_GROWTH, 8, 4, 32 << 20, EMR_EFORMAT},
        {EMR_SECTION_GROWTH, 8, 4, 4096, EMR_OK},
        {EMR_SECTION_GROWTH, 8, 4, 16 << 20, EMR_OK},
        {EMR_SECTION_TASKS, 7, 1, 0x80, EMR_EFORMAT},
        {EMR_SECTION_SUMMARY, 0, 1, EMR_RESCALE_L2_BYTE, EMR_EVERSION},
    };
    emr_merge_options options = EMR_INIT(emr_merge_options);
    fixture grows;
    (void)state;
    options.extendable = 1;
    fixture_create(&grows, &options, false);
    free(bytes);
    n_bytes = emr_buffer_bytes(grows.buffer);
    bytes = malloc(n_bytes);
    memcpy(bytes, emr_buffer_data(grows.buffer), n_bytes);
    check_impossible(numbers, sizeof numbers / sizeof numbers[0]);
    fixture_destroy(&grows);
}

/* Else a few bytes could make names of any length out of one long string. */
static void strings_are_named_by_their_beginning(void **state)
{
    uint64_t size;
    (void)state;
    unsigned char *task = section(EMR_SECTION_TASKS, &size);
    emr_store32(task, emr_load32(task) + 1);
    check_sealed(EMR_EFORMAT);
}

static void ask_for_metadata(const emr_bundle *bundle, uint32_t task)
{
    const char *key, *value;
    for (uint32_t i = 0; i < emr_bundle_n_metadata(bundle, task); i++) {
        assert_int_equal(emr_bundle_get_metadata(bundle, task, i, &key, &value), EMR_OK);
        assert_true(strlen(key) < n_bytes && strlen(value) < n_bytes);
        assert_non_null(emr_bundle_find_metadata(bundle, task, key));
    }
}

/* Asks an opened bundle everything; only that it neither crashes nor hangs counts here. */
static void ask_everything(const emr_bundle *bundle)
{
    emr_bundle_info info = EMR_INIT(emr_bundle_info);
    emr_task_info task = EMR_INIT(emr_task_info);
    emr_tensor_info tensor = EMR_INIT(emr_tensor_info);
    emr_private_info private_tensor = EMR_INIT(emr_private_info);
    assert_int_equal(emr_bundle_get_info(bundle, &info), EMR_OK);
    for (uint32_t i = 0; emr_bundle_get_tensor(bundle, i, &tensor) == EMR_OK; i++)
        assert_true(strlen(tensor.name) < n_bytes);
    ask_for_metadata(bundle, EMR_BASE);
    for (uint32_t t = 0; emr_bundle_get_task(bundle, t, &task) == EMR_OK; t++) {
        emr_modulator *modulator;
        emr_status status = emr_bundle_open_modulator(&modulator, bundle, t, NULL, NULL);
        for (uint32_t i = 0; !status && i < info.n_merged; i++) {
            float rescaler;
            emr_modulator_read_rescalers(modulator, i, 0, 1, &rescaler, NULL);
        }
        emr_modulator_destroy(&modulator);
        ask_for_metadata(bundle, t);
        for (uint32_t i = 0; emr_bundle_get_private(bundle, t, i, &private_tensor) == EMR_OK; i++)
            assert_true(strlen(private_tensor.name) < n_bytes);
    }
    emr_bundle_verify(bundle, NULL, NULL);
    for (size_t kind = 0; kind < 4; kind++) {
        emr_model *model;
        emr_status status = kind == 0   ? emr_bundle_open_task(&model, bundle, 0, NULL, NULL, NULL)
                            : kind == 1 ? emr_bundle_open_base(&model, bundle, NULL, NULL)
                            : kind == 2 ? emr_bundle_open_unified(&model, bundle, NULL, NULL)
                                        : emr_bundle_open_mask(&model, bundle, 0, NULL, NULL);
        for (uint32_t i = 0; !status && i < emr_model_n_tensors(model); i++) {
            unsigned char got[4096];
            const emr_tensor *t = emr_model_tensor(model, i);
            uint64_t n = emr_tensor_bytes(t) < sizeof got ? emr_tensor_bytes(t) : sizeof got;
            emr_tensor_read(t, 0, got, (size_t)n, NULL);
            emr_tensor_read(t, emr_tensor_bytes(t) - n, got, (size_t)n, NULL);
        }
        emr_model_destroy(&model);
    }
}

/* Every byte of the index set to other values under right checksums: a status or a harmless bundle. */
static void hostile_indexes_are_harmless(void **state)
{
    static const unsigned char values[] = {0, 1, 0x7f, 0x80, 0xff};
    const size_t first = (size_t)emr_load64(bytes + n_bytes - EMR_TRAILER_SIZE);
    size_t opened = 0, refused = 0;
    (void)state;
    for (size_t i = first; i < n_bytes - EMR_TRAILER_SIZE + 32; i++) {
        for (size_t k = 0; k < sizeof values + 1; k++) {
            unsigned char old = bytes[i];
            emr_bundle *bundle;
            emr_error error;
            bytes[i] = k < sizeof values ? values[k] : (unsigned char)(old + 1);
            if (i < n_bytes - EMR_TRAILER_SIZE)
                reseal();
            else
                emr_store64(bytes + n_bytes - 8, emr_hash64(bytes + n_bytes - EMR_TRAILER_SIZE, EMR_SEALED));
            if (open_damaged(&bundle, &error)) {
                assert_null(bundle);
                refused++;
            } else {
                ask_everything(bundle);
                opened++;
            }
            emr_bundle_destroy(&bundle);
            bytes[i] = old;
        }
    }
    assert_true(opened > 0 && refused > 0);
}

/* The base's hashes in the index are XXH3-128 of the tensors' bytes, so that others can compute them too. */
static void base_hashes_are_xxh3_of_the_bytes(void **state)
{
    emr_tensor_info info = EMR_INIT(emr_tensor_info);
    (void)state;
    for (uint32_t i = 0; emr_bundle_get_tensor(f.bundle, i, &info) == EMR_OK; i++) {
        size_t place = fixture_index(&f, info.name);
        emr_hasher hasher;
        emr_hasher_init(&hasher);
        emr_hasher_update(&hasher, f.set.base.data[place],
                          (size_t)(info.count * emr_dtype_bits(info.dtype) / 8));
        emr_hash128 hash = emr_hasher_digest(&hasher);
        assert_true(info.base_hash[0] == hash.low && info.base_hash[1] == hash.high);
    }
}

#define with_copy(test) cmocka_unit_test_setup_teardown(test, copy, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_copy(every_flipped_byte_is_found),
        with_copy(every_truncation_is_refused),
        with_copy(bytes_after_the_end_are_refused),
        with_copy(later_major_versions_are_refused_as_such),
        with_copy(unknown_sections_are_skipped_unless_required),
        with_copy(sections_may_not_repeat),
        with_copy(unknown_kinds_need_a_later_version),
        with_copy(impossible_numbers_are_refused),
        with_copy(impossible_plans_for_growth_are_refused),
        with_copy(strings_are_named_by_their_beginning),
        with_copy(hostile_indexes_are_harmless),
        cmocka_unit_test(base_hashes_are_xxh3_of_the_bytes),
    };
    return cmocka_run_group_tests_name("bundle damage", tests, set_up, tear_down);
}

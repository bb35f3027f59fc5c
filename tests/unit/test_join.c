/* test_join.c - a part that says what no merge says, with hashes that are right: joining it ends with a status or
 * with a bundle, and within its bounds. */
#include "support.h"

#include "core/bytes.h"
#include "bundle/part_file.h"
#include "merge/description.h"

static const test_tensor tensors[] = {{"a", EMR_DTYPE_F32, 2, {40, 50}},
                                      {"b.head", EMR_DTYPE_F32, 1, {9}},
                                      {"c", EMR_DTYPE_U8, 1, {12}},
                                      {"d", EMR_DTYPE_BF16, 1, {30}}};
enum { N_TENSORS = sizeof tensors / sizeof tensors[0], TRIES = 6000 };

static emr_buffer *make_part(emr_modulator_kind kind, emr_rescale_per per)
{
    static const char *const heads[] = {"*.head"};
    emr_error error;
    test_set s = test_set_create(tensors, N_TENSORS, 2, 3, SOURCE_MEMORY);
    s.tasks[1].data[2][3] ^= 1;
    emr_policy policy = {.size = sizeof policy, .private_globs = heads, .n_private_globs = 1};
    emr_modulation_spec spec = {.size = sizeof spec, .kind = kind};
    emr_merge_options o = EMR_INIT(emr_merge_options);
    o.policy = &policy;
    o.rescale_per = per;
    o.embed_base = 1;
    o.block_params = 4096;
    emr_buffer *part = test_buffer_new();
    emr_merge *merge = test_merge_create(&s, &o);
    assert_ok(emr_merge_set_modulation(merge, 1, &spec, &error), &error);
    assert_ok(emr_merge_set_part(merge, 0, 1, &error), &error);
    assert_ok(emr_merge_set_output(merge, emr_buffer_io(part), &error), &error);
    assert_ok(emr_merge_run(merge, &error), &error);
    emr_merge_destroy(&merge);
    test_set_destroy(&s);
    return part;
}

/* Makes every hash right again, as far as records can be followed. */
static void seal(unsigned char *bytes, size_t n)
{
    enum { SIZE = 16, HASH = 24, CHAIN = 40 };
    size_t at = EMR_HEADER_SIZE;
    uint64_t size = emr_load64(bytes + at + SIZE);
    if (size <= n - at - EMR_PART_RECORD) {
        emr_hash128 f = emr_description_fingerprint(bytes + at + EMR_PART_RECORD, (size_t)size, 1);
        emr_store64(bytes + 16, f.low);
        emr_store64(bytes + 24, f.high);
    }
    emr_set_seal(bytes);
    uint64_t chain = emr_hash64(bytes, EMR_HEADER_SIZE);
    while (n - at >= EMR_PART_RECORD) {
        unsigned char *p = bytes + at;
        size = emr_load64(p + SIZE);
        if (size <= n - at - EMR_PART_RECORD)
            emr_store64(p + HASH, emr_hash64(p + EMR_PART_RECORD, (size_t)size));
        chain = emr_hash64_seeded(p, CHAIN, chain);
        emr_store64(p + CHAIN, chain);
        if (size > n - at - EMR_PART_RECORD)
            break;
        at += EMR_PART_RECORD + (size_t)size;
    }
}

static emr_status join_bytes(const unsigned char *bytes, size_t n)
{
    emr_error error;
    emr_join *join;
    const emr_resources resources = {.size = sizeof resources, .memory_bytes = 8 << 20};
    emr_buffer *part = test_buffer_of(bytes, n), *out = test_buffer_new();
    assert_ok(emr_join_create(&join, &resources, &error), &error);
    emr_status status = emr_join_add_part(join, emr_buffer_io(part), "p", &error);
    if (!status)
        status = emr_join_set_output(join, emr_buffer_io(out), &error);
    if (!status)
        status = emr_join_run(join, &error);
    emr_join_destroy(&join);
    emr_buffer_destroy(&part);
    emr_buffer_destroy(&out);
    return status;
}

/* Numbers that are a little, or much, too large are more telling than any bytes. */
static void change(unsigned char *bytes, size_t n, rng *r)
{
    static const uint64_t numbers[] = {0, 1, 2, 3, 255, 65536, UINT32_MAX, UINT64_MAX / 8, UINT64_MAX};
    size_t at = EMR_HEADER_SIZE + (size_t)rng_below(r, rng_below(r, 2) ? n - EMR_HEADER_SIZE - 8 : 2000);
    if (rng_below(r, 2))
        bytes[at] ^= (unsigned char)(1 + rng_below(r, 255));
    else
        emr_store64(bytes + at / 8 * 8, numbers[rng_below(r, sizeof numbers / sizeof numbers[0])]);
}

static void hostile_parts(void **state)
{
    static const emr_modulator_kind kinds[] = {EMR_MODULATOR_KIND_MASK, EMR_MODULATOR_KIND_SIGN,
                                               EMR_MODULATOR_KIND_TWO_SIDED};
    (void)state;
    rng r = {17};
    for (size_t k = 0; k < 3; k++) {
        emr_buffer *part = make_part(kinds[k], k ? EMR_RESCALE_PER_ROW : EMR_RESCALE_PER_MODEL);
        size_t n = emr_buffer_bytes(part), refused = 0;
        unsigned char *bytes = malloc(n);
        memcpy(bytes, emr_buffer_data(part), n);
        seal(bytes, n);
        assert_memory_equal(bytes, emr_buffer_data(part), n);
        assert_int_equal(join_bytes(bytes, n), EMR_OK);
        for (size_t i = 0; i < TRIES / 3; i++) {
            memcpy(bytes, emr_buffer_data(part), n);
            for (uint64_t changes = 1 + rng_below(&r, 3); changes; changes--)
                change(bytes, n, &r);
            seal(bytes, n);
            refused += join_bytes(bytes, n) != EMR_OK;
        }
        assert_in_range(refused, TRIES / 30, TRIES / 3);
        free(bytes);
        emr_buffer_destroy(&part);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

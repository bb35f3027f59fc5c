/* test_core.c - the version, the size rule for structs, arithmetic, texts and hashes. */
#include "support.h"

#include "bundle/codec.h"
#include "bundle/format.h"
#include "core/bytes.h"
#include "core/hash.h"
#include "core/memory.h"
#include "core/structs.h"
#include "core/text.h"
#include "numeric/kernels.h"

#include <stdio.h>

static void version_is_that_of_the_headers(void **state)
{
    char expected[64];
    (void)state;
    snprintf(expected, sizeof expected, "%d.%d.%d", EMR_VERSION_MAJOR, EMR_VERSION_MINOR, EMR_VERSION_PATCH);
    assert_string_equal(emr_version(), expected);
    assert_string_equal(EMR_VERSION_STRING, expected);
    assert_int_equal(emr_version_number(), EMR_VERSION_NUMBER);
    assert_int_equal(EMR_VERSION_NUMBER,
                     EMR_VERSION_MAJOR * 1000000 + EMR_VERSION_MINOR * 1000 + EMR_VERSION_PATCH);
}

static void features_are_those_of_the_build(void **state)
{
    static const char *const kernels[] = {"c", "avx2", "avx512", "neon"};
    emr_features f = EMR_INIT(emr_features);
    bool known = false;
    (void)state;
    assert_int_equal(emr_get_features(&f), EMR_OK);
    for (size_t i = 0; i < sizeof kernels / sizeof kernels[0]; i++)
        known = known || strcmp(f.kernels, kernels[i]) == 0;
    assert_true(known);
    assert_string_equal(f.kernels, emr_kernels_select()->name);
    assert_int_equal(f.zstd_version, emr_codec_version());
    assert_int_equal(f.hosted, 1);
    assert_int_equal(f.format_major, EMR_FORMAT_MAJOR);
    assert_int_equal(f.format_minor, EMR_FORMAT_MINOR);
    f.size = 1;
    assert_int_equal(emr_get_features(&f), EMR_EINVAL);
    assert_int_equal(emr_get_features(NULL), EMR_EINVAL);
}

/* A struct as a later version of the library would know it: `second` was added to version 1. */
typedef struct grown {
    size_t size;
    uint64_t first, second;
} grown;
enum { VERSION_1 = offsetof(grown, second) };

static void structs_smaller_than_version_1_are_refused(void **state)
{
    emr_error e;
    grown known, given = {0, 1, 2};
    (void)state;
    for (given.size = 0; given.size < VERSION_1; given.size++) {
        assert_int_equal(emr_struct_take(&known, sizeof known, VERSION_1, &given, "grown", &e), EMR_EINVAL);
        assert_non_null(strstr(e.text, "grown"));
    }
}

static void smaller_structs_get_defaults(void **state)
{
    grown known, given = {VERSION_1, 1, 2};
    (void)state;
    assert_int_equal(emr_struct_take(&known, sizeof known, VERSION_1, &given, "grown", NULL), EMR_OK);
    assert_int_equal(known.first, 1);
    assert_int_equal(known.second, 0);
    memset(&known, 0xff, sizeof known);
    assert_int_equal(emr_struct_take(&known, sizeof known, VERSION_1, NULL, "grown", NULL), EMR_OK);
    assert_int_equal(known.size, sizeof known);
    assert_int_equal(known.first | known.second, 0);
}

static void larger_structs_need_a_zero_tail(void **state)
{
    union {
        grown known;
        unsigned char bytes[sizeof(grown) + 16];
    } given = {{sizeof given, 1, 2}};
    emr_error e;
    grown known;
    (void)state;
    assert_int_equal(emr_struct_take(&known, sizeof known, VERSION_1, &given, "grown", &e), EMR_OK);
    assert_int_equal(known.second, 2);
    for (size_t i = sizeof(grown); i < sizeof given; i++) {
        given.bytes[i] = 1;
        assert_int_equal(emr_struct_take(&known, sizeof known, VERSION_1, &given, "grown", &e), EMR_EVERSION);
        assert_non_null(strstr(e.text, "grown"));
        given.bytes[i] = 0;
    }
}

/* A caller built against another version gets as much as its struct holds, and no byte past it. */
static void output_structs_are_filled_to_their_size(void **state)
{
    const grown known = {0, 1, 2};
    (void)state;
    for (size_t size = 0; size <= sizeof(grown) + 16; size++) {
        unsigned char out[sizeof(grown) + 24];
        grown got = {0};
        memset(out, 0xee, sizeof out);
        memcpy(out, &size, sizeof size);
        assert_int_equal(emr_struct_give(out, &known, sizeof known, VERSION_1),
                         size < VERSION_1 ? EMR_EINVAL : EMR_OK);
        for (size_t i = size < sizeof size ? sizeof size : size; i < sizeof out; i++)
            assert_int_equal(out[i], 0xee);
        if (size < VERSION_1 || size % 8)
            continue;
        memcpy(&got, out, size < sizeof got ? size : sizeof got);
        assert_int_equal(got.size, size);
        assert_int_equal(got.first, 1);
        assert_int_equal(got.second, size < sizeof got ? 0 : 2);
        for (size_t i = sizeof got; i < size; i++)
            assert_int_equal(out[i], 0);
    }
    assert_int_equal(emr_struct_give(NULL, &known, sizeof known, VERSION_1), EMR_EINVAL);
}

static void arithmetic_sees_overflow(void **state)
{
    static const uint64_t edges[] = {
        0,         1, 2, 3, 0xffffffff, 0x100000000, 0x7fffffffffffffff, 0x8000000000000000, UINT64_MAX - 1,
        UINT64_MAX};
    (void)state;
    for (size_t i = 0; i < sizeof edges / sizeof edges[0]; i++) {
        for (size_t k = 0; k < sizeof edges / sizeof edges[0]; k++) {
            uint64_t a = edges[i], b = edges[k], result;
            assert_int_equal(emr_add(a, b, &result), b <= UINT64_MAX - a);
            assert_true(result == a + b);
            assert_int_equal(emr_mul(a, b, &result), a == 0 || b <= UINT64_MAX / a);
            assert_true(result == a * b);
            assert_true(emr_min(a, b) == (a < b ? a : b));
        }
    }
    assert_int_equal(emr_round_up(0, 64), 0);
    assert_int_equal(emr_round_up(1, 64), 64);
    assert_int_equal(emr_round_up(64, 64), 64);
    assert_int_equal(emr_round_up(65, 64), 128);
}

static void bytes_are_little_endian_at_any_address(void **state)
{
    (void)state;
    for (size_t at = 0; at < 8; at++) {
        unsigned char p[24] = {0};
        emr_store64(p + at, 0x0807060504030201u);
        for (size_t i = 0; i < 8; i++)
            assert_int_equal(p[at + i], i + 1);
        assert_int_equal(emr_load16(p + at), 0x0201);
        assert_int_equal(emr_load32(p + at), 0x04030201);
        assert_true(emr_load64(p + at) == 0x0807060504030201u);
        emr_store16(p + at, 0xfffe);
        assert_int_equal(emr_load32(p + at), 0x0403fffe);
    }
}

static void popcount_counts(void **state)
{
    rng r = {7};
    (void)state;
    for (int i = 0; i < 1000; i++) {
        uint64_t v = i == 0 ? 0 : i == 1 ? UINT64_MAX : rng_next(&r);
        unsigned ones = 0;
        for (int k = 0; k < 64; k++)
            ones += v >> k & 1;
        assert_int_equal(emr_popcount64(v), ones);
    }
}

/* The bytes of a code point, written from the table in RFC 3629. */
static size_t encode(uint32_t c, char *p)
{
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        p[i] = (char)(0x80 | (c & 0x3f));
    p[0] = (char)(n == 1 ? c : n == 2 ? 0xc0 | c : n == 3 ? 0xe0 | c : 0xf0 | c);
    return n;
}

/* Every code point is valid, and of all strings of one, two and three bytes no more are than those make. */
static void utf8_is_what_code_points_encode_to(void **state)
{
    uint32_t valid[4] = {0};
    (void)state;
    for (uint32_t c = 0; c < 0x110000; c++) {
        char p[4];
        size_t n = encode(c, p);
        bool surrogate = c >= 0xd800 && c < 0xe000;
        assert_true(emr_is_utf8(p, n) == !surrogate);
        assert_true(n == 1 || !emr_is_utf8(p, n - 1));
    }
    for (uint32_t u = 0; u < 1u << 24; u++) {
        const char p[] = {(char)u, (char)(u >> 8), (char)(u >> 16)};
        valid[1] += u < 1u << 8 && emr_is_utf8(p, 1);
        valid[2] += u < 1u << 16 && emr_is_utf8(p, 2);
        valid[3] += emr_is_utf8(p, 3);
    }
    const uint32_t one = 0x80, two = 0x800 - 0x80, three = 0x10000 - 0x800 - 0x800;
    assert_int_equal(valid[1], one);
    assert_int_equal(valid[2], one * one + two);
    assert_int_equal(valid[3], one * one * one + 2 * one * two + three);
    for (uint32_t u = 0; u < 1u << 16; u++) { /* four bytes: up to U+10FFFF, shortest forms */
        const char p[] = {(char)(u >> 8), (char)u, '\x80', '\xbf'};
        uint32_t c = (u >> 8 & 7) << 18 | (u & 0x3f) << 12;
        bool four = (u >> 8) >= 0xf0 && (u >> 8) < 0xf8 && (u & 0xc0) == 0x80 && c >= 0x10000 && c < 0x110000;
        if ((u >> 8) >= 0xf0)
            assert_true(emr_is_utf8(p, 4) == four);
    }
    assert_true(emr_is_utf8("", 0));
}

/* XXH3's published values of the empty input: bundles hold these hashes. */
static void hashes_are_xxh3(void **state)
{
    emr_hasher h;
    (void)state;
    assert_true(emr_hash64("", 0) == 0x2d06800538d394c2u);
    emr_hasher_init(&h);
    emr_hash128 empty = emr_hasher_digest(&h);
    assert_true(empty.low == 0x6001c324468d497fu && empty.high == 0x99aa06d3014798d8u);
}

static void hashing_in_pieces_changes_nothing(void **state)
{
    unsigned char data[3000];
    rng r = {3};
    emr_hasher whole, pieces;
    (void)state;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)rng_next(&r);
    emr_hasher_init(&whole);
    emr_hasher_update(&whole, data, sizeof data);
    emr_hasher_init(&pieces);
    for (size_t at = 0, n; at < sizeof data; at += n) {
        n = (size_t)rng_below(&r, 300);
        n = n < sizeof data - at ? n : sizeof data - at;
        emr_hasher_update(&pieces, data + at, n);
    }
    emr_hash128 a = emr_hasher_digest(&whole), b = emr_hasher_digest(&pieces);
    assert_true(a.low == b.low && a.high == b.high);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_is_that_of_the_headers),
        cmocka_unit_test(features_are_those_of_the_build),
        cmocka_unit_test(structs_smaller_than_version_1_are_refused),
        cmocka_unit_test(smaller_structs_get_defaults),
        cmocka_unit_test(larger_structs_need_a_zero_tail),
        cmocka_unit_test(output_structs_are_filled_to_their_size),
        cmocka_unit_test(arithmetic_sees_overflow),
        cmocka_unit_test(bytes_are_little_endian_at_any_address),
        cmocka_unit_test(popcount_counts),
        cmocka_unit_test(utf8_is_what_code_points_encode_to),
        cmocka_unit_test(hashes_are_xxh3),
        cmocka_unit_test(hashing_in_pieces_changes_nothing),
    };
    return cmocka_run_group_tests_name("core", tests, NULL, NULL);
}

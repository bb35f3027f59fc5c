/* test_philox.c - Philox and XXH64 against published values, thresholds, and that a position has its word however it is
 * asked for, with every variant that this processor runs. */
#include "numeric/philox.h"

#include "core/hash.h"
#include "support.h"

#include <math.h>

/* From kat_vectors of the Random123 distribution, which came with the paper. */
static void test_known_answers(void **unused)
{
    static const struct {
        uint32_t counter[4];
        uint64_t key;
        uint32_t words[4];
    } known[] = {
        {{0, 0, 0, 0}, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         0xffffffffffffffff,
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         0x299f31d0a4093822,
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    (void)unused;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        uint32_t words[4];
        emr_philox(known[i].counter, known[i].key, words);
        assert_memory_equal(words, known[i].words, sizeof words);
    }
}

/* Of xxHash's own tests. */
static void test_hashes_are_xxh64(void **unused)
{
    (void)unused;
    assert_true(emr_xxh64("", 0, 0) == 0xef46db3751d8e999u);
    assert_true(emr_xxh64("a", 1, 0) == 0xd24ec4f1a98c6e5bu);
}

static void test_thresholds(void **unused)
{
    (void)unused;
    assert_true(emr_random_threshold(0) == 0 && emr_random_threshold(-1) == 0);
    assert_true(emr_random_threshold(1) == (uint64_t)1 << 32 && emr_random_threshold(2) == (uint64_t)1 << 32);
    assert_true(emr_random_threshold(0.5) == (uint64_t)1 << 31);
    assert_true(emr_random_threshold(0.3) == 1288490188); /* floor */
    assert_true(emr_random_threshold(0x1.fffffffffffffp-1) == 0xffffffff);
    assert_true(emr_random_threshold(1e-10) == 0 && emr_random_threshold(0x1p-32) == 1);
}

/* A position's word as philox.h defines it. */
static uint32_t word_of(uint64_t key, uint64_t i)
{
    const uint32_t of_bytes[4] = {(uint32_t)(i / 16), (uint32_t)(i / 16 >> 32), 2, 0};
    const uint32_t of_words[4] = {(uint32_t)(i / 4), (uint32_t)(i / 4 >> 32), 0, 0};
    uint32_t bytes[4], words[4];
    emr_philox(of_bytes, key, bytes);
    emr_philox(of_words, key, words);
    return (bytes[i % 16 / 4] >> 8 * (i % 4)) << 24 | words[i % 4] >> 8;
}

/* In runs of any length. */
static void check_words(const emr_random_kernels *kernels, uint64_t key, uint64_t first, size_t n)
{
    uint32_t words[300];
    kernels->words(key, first, n, words);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(words[i], word_of(key, first + i));
}

static void test_words_of_positions(void **unused)
{
    static const uint64_t firsts[] = {
        0, 1, 2, 3, 4, 17, 31, 1000003, ((uint64_t)1 << 34) - 70, ((uint64_t)1 << 36) - 70};
    rng r = {3};
    (void)unused;
    for (const emr_kernels *const *k = emr_kernels_available(); *k; k++) {
        const emr_random_kernels kernels = emr_random_kernels_of(*k);
        for (size_t i = 0; i < sizeof firsts / sizeof *firsts; i++)
            for (size_t n = 0; n <= 300; n += 1 + rng_below(&r, 9))
                check_words(&kernels, rng_next(&r), firsts[i], n);
    }
}

static bool is_set(const uint16_t *bits, size_t i)
{
    return bits[i / 16] >> i % 16 & 1;
}

/* What is kept goes by the position's own word, also where its highest byte alone leaves that open. */
static void test_what_is_kept(void **unused)
{
    enum { N = 5000 };
    static const uint64_t thresholds[] = {0,          1,          0x00ffffff, 0x01000000, 0x40000000,
                                          0x33333333, 0x337fffff, 0xffffffff, 0x100000000};
    static uint16_t kept[N / 16 + 1];
    (void)unused;
    for (const emr_kernels *const *k = emr_kernels_available(); *k; k++) {
        const emr_random_kernels kernels = emr_random_kernels_of(*k);
        for (size_t t = 0; t < sizeof thresholds / sizeof *thresholds; t++)
            for (uint64_t first = 0; first < 64; first += 1 + first % 16) {
                const emr_random_draw d = {77, thresholds[t], first, N};
                kernels.choose(&d, kept);
                for (size_t i = 0; i < N; i++)
                    assert_int_equal(is_set(kept, i), word_of(77, first + i) < thresholds[t]);
            }
    }
}

/* Sums are of magnitudes, and of those that stay. */
static void test_sums_of_magnitudes(void **unused)
{
    enum { N = 1000 };
    static float values[N];
    static uint16_t kept[N / 16 + 1];
    (void)unused;
    for (const emr_kernels *const *k = emr_kernels_available(); *k; k++) {
        const emr_random_kernels kernels = emr_random_kernels_of(*k);
        double sums[2] = {0, 0}, all = 0, some = 0;
        for (size_t i = 0; i < N; i++) {
            values[i] = (float)((int)(i % 13) - 6);
            kept[i / 16] = (uint16_t)((i % 16 ? kept[i / 16] : 0) | (i % 7 < 3) << i % 16);
            all += fabs((double)values[i]);
            some += is_set(kept, i) ? fabs((double)values[i]) : 0;
        }
        kernels.sums(values, kept, N, sums);
        assert_true(sums[0] == all && sums[1] == some); /* whole numbers: exact in any order */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers), cmocka_unit_test(test_hashes_are_xxh64),
        cmocka_unit_test(test_thresholds),    cmocka_unit_test(test_words_of_positions),
        cmocka_unit_test(test_what_is_kept),  cmocka_unit_test(test_sums_of_magnitudes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

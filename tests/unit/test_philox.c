/* test_philox.c - Philox and XXH64 against published values, thresholds, and that a position has its word however it is
 * asked for, with every variant that this processor runs. */
#include "numeric/philox.h"

#include "core/hash.h"
#include "support.h"

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

/* Word i mod 4 of counter i / 4, in runs of any length. */
static void check_words(const emr_random_kernels *kernels, uint64_t key, uint64_t first, size_t n)
{
    uint32_t words[300];
    kernels->words(key, first, n, words);
    for (size_t i = 0; i < n; i++) {
        uint64_t q = (first + i) / 4;
        const uint32_t counter[4] = {(uint32_t)q, (uint32_t)(q >> 32), 0, 0};
        uint32_t one[4];
        emr_philox(counter, key, one);
        assert_int_equal(words[i], one[(first + i) % 4]);
    }
}

static void test_words_of_positions(void **unused)
{
    static const uint64_t firsts[] = {0, 1, 2, 3, 4, 17, 31, 1000003, ((uint64_t)1 << 34) - 70};
    rng r = {3};
    (void)unused;
    for (const emr_kernels *const *k = emr_kernels_available(); *k; k++) {
        const emr_random_kernels kernels = emr_random_kernels_of(*k);
        for (size_t i = 0; i < sizeof firsts / sizeof *firsts; i++)
            for (size_t n = 0; n <= 300; n += 1 + rng_below(&r, 9))
                check_words(&kernels, rng_next(&r), firsts[i], n);
    }
}

/* A value stays or goes by its own word, and sums are of those that stay. */
static void test_what_is_kept(void **unused)
{
    enum { N = 1000 };
    static float values[N], kept[N];
    static uint32_t words[N];
    (void)unused;
    for (const emr_kernels *const *k = emr_kernels_available(); *k; k++) {
        const emr_random_kernels kernels = emr_random_kernels_of(*k);
        emr_random_draw d = {
            .key = 77, .first = 5, .n = N, .threshold = 1u << 30, .scale = 3, .divides = true};
        double sums[2] = {0, 0}, all = 0, some = 0;
        for (int i = 0; i < N; i++)
            values[i] = (float)(i % 13 - 6);
        kernels.words(d.key, d.first, N, words);
        kernels.keep(&d, values, kept);
        kernels.sums(&d, values, sums);
        for (size_t i = 0; i < N; i++) {
            bool stays = words[i] < d.threshold;
            float magnitude = values[i] < 0 ? -values[i] : values[i];
            assert_true(kept[i] == (stays ? values[i] / 3 : 0));
            all += (double)magnitude;
            some += stays ? (double)magnitude : 0;
        }
        assert_true(sums[0] == all && sums[1] == some); /* whole numbers: exact in any order */
        d.threshold = (uint64_t)1 << 32;
        kernels.keep(&d, values, kept);
        for (size_t i = 0; i < N; i++)
            assert_true(kept[i] == values[i] / 3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers), cmocka_unit_test(test_hashes_are_xxh64),
        cmocka_unit_test(test_thresholds),    cmocka_unit_test(test_words_of_positions),
        cmocka_unit_test(test_what_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_codec.c - what is encoded comes back, whatever its texture; hostile bytes are refused; numbers whose
 * mantissas are noise shrink by their exponents, masks come near their entropy. */
#include "support.h"

#include "bundle/codec.h"
#include "bundle/planes.h"

#include <math.h>

enum { N = 32768 };

static const emr_texture textures[] = {EMR_TEXTURE_BITS, EMR_TEXTURE_BYTES, EMR_TEXTURE_WORDS2,
                                       EMR_TEXTURE_WORDS4};

static unsigned planes_of(emr_texture texture)
{
    return texture == EMR_TEXTURE_BITS ? 1 : (unsigned)texture;
}

typedef struct fixture {
    test_allocator counts;
    emr_allocator allocator;
    emr_encoder *encoder;
    emr_decoder *decoder;
    unsigned char source[N], stored[N + 64], back[N], work[N];
} fixture;

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    f->counts = (test_allocator){.fail_at = SIZE_MAX};
    f->allocator = test_allocator_make(&f->counts);
    assert_int_equal(emr_encoder_create(&f->encoder, &f->allocator, 1, N), EMR_OK);
    assert_int_equal(emr_decoder_create(&f->decoder, &f->allocator), EMR_OK);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    emr_encoder_destroy(f->encoder);
    emr_decoder_destroy(f->decoder);
    assert_int_equal(f->counts.alive, 0);
    free(f);
    return 0;
}

static void fill_normals(fixture *f, uint64_t seed)
{
    rng r = {seed};
    for (size_t i = 0; i < N; i += 4) {
        float value = rng_normal(&r) * 0.01f;
        memcpy(f->source + i, &value, 4);
    }
}

static void planes_are_bytes_by_place(void **state)
{
    unsigned char elements[24], planes[24], back[24];
    (void)state;
    for (unsigned i = 0; i < 24; i++)
        elements[i] = (unsigned char)i;
    for (unsigned width = 2; width <= 4; width += 2) {
        emr_split_planes(planes, elements, 24, width);
        for (unsigned i = 0; i < 24 / width; i++)
            for (unsigned k = 0; k < width; k++)
                assert_int_equal(planes[k * (24 / width) + i], elements[i * width + k]);
        emr_join_planes(back, planes, 24, width);
        assert_memory_equal(back, elements, 24);
    }
}

static void everything_comes_back(void **state)
{
    fixture *f = *state;
    static const size_t lengths[] = {4, 8, 64, 1000, 4096, N - 4, N};
    for (size_t t = 0; t < 4; t++) {
        for (size_t i = 0; i < 7; i++) {
            size_t n = lengths[i], size, coded = 0;
            fill_normals(f, t * 7 + i + 1);
            memset(f->source, 0, n / 2);
            assert_int_equal(emr_encode(f->encoder, f->stored, n, f->source, n, textures[t], &size), EMR_OK);
            coded += size > 0;
            assert_true(size < n && (n < 1000 || coded));
            if (!size)
                continue;
            assert_int_equal(
                emr_decode(f->decoder, f->back, n, planes_of(textures[t]), f->stored, size, f->work), EMR_OK);
            assert_memory_equal(f->back, f->source, n);
        }
    }
}

static void noise_with_exponents_shrinks_in_planes(void **state)
{
    fixture *f = *state;
    size_t bytes, words;
    fill_normals(f, 5);
    assert_int_equal(emr_encode(f->encoder, f->stored, N, f->source, N, EMR_TEXTURE_BYTES, &bytes), EMR_OK);
    assert_int_equal(emr_encode(f->encoder, f->stored, N, f->source, N, EMR_TEXTURE_WORDS4, &words), EMR_OK);
    assert_true(words && words < N * 85 / 100 && (!bytes || words < bytes));
}

static void masks_come_near_their_entropy(void **state)
{
    fixture *f = *state;
    for (int tenths = 1; tenths <= 4; tenths++) {
        double p = tenths / 10.0, entropy = -(p * log2(p) + (1 - p) * log2(1 - p));
        rng r = {(uint64_t)tenths};
        size_t size;
        memset(f->source, 0, N);
        for (size_t i = 0; i < (size_t)N * 8; i++)
            f->source[i / 8] |= (unsigned char)((rng_below(&r, 10) < (uint64_t)tenths) << i % 8);
        assert_int_equal(emr_encode(f->encoder, f->stored, N, f->source, N, EMR_TEXTURE_BITS, &size), EMR_OK);
        assert_true(size && (double)size / N < entropy * (tenths == 1 ? 1.05 : 1.025));
    }
}

static void what_does_not_fit_is_not_written_past(void **state)
{
    fixture *f = *state;
    rng r = {9};
    for (size_t i = 0; i < N; i++)
        f->source[i] = (unsigned char)rng_next(&r);
    for (size_t t = 0; t < 4; t++) {
        size_t size = 1;
        memset(f->stored, 0x5a, sizeof f->stored);
        assert_int_equal(emr_encode(f->encoder, f->stored, N, f->source, N, textures[t], &size), EMR_OK);
        assert_int_equal(size, 0);
        for (size_t i = N; i < N + 64; i++)
            assert_int_equal(f->stored[i], 0x5a);
    }
}

/* Cut, padded, changed, or read as something else. */
static void hostile_bytes_are_refused(void **state)
{
    fixture *f = *state;
    rng r = {11};
    for (size_t t = 0; t < 4; t++) {
        size_t size;
        unsigned planes = planes_of(textures[t]);
        fill_normals(f, t + 20);
        memset(f->source, 0, N / 2);
        assert_int_equal(emr_encode(f->encoder, f->stored, N, f->source, N, textures[t], &size), EMR_OK);
        assert_true(size);
        for (size_t cut = 0; cut < size; cut += 1 + size / 200)
            assert_int_equal(emr_decode(f->decoder, f->back, N, planes, f->stored, cut, f->work),
                             EMR_ECORRUPT);
        f->stored[size] = 0;
        assert_int_equal(emr_decode(f->decoder, f->back, N, planes, f->stored, size + 1, f->work),
                         EMR_ECORRUPT);
        assert_int_equal(emr_decode(f->decoder, f->back, N - 4, planes, f->stored, size, f->work),
                         EMR_ECORRUPT);
        assert_int_equal(emr_decode(f->decoder, f->back, N, planes == 4 ? 2 : 4, f->stored, size, f->work),
                         EMR_ECORRUPT);
        for (int i = 0; i < 2000; i++) { /* may decode to other bytes, never past them */
            size_t at = (size_t)rng_below(&r, size);
            unsigned char old = f->stored[at];
            f->stored[at] = (unsigned char)rng_next(&r);
            (void)emr_decode(f->decoder, f->back, N, planes, f->stored, size, f->work);
            f->stored[at] = old;
        }
    }
}

/* Whole blocks, their samples, masks of an eighth, and what is left at the end of a stream. */
static void encoders_stay_within_their_estimate(void **state)
{
    static const size_t blocks[] = {4096, 16384, 32768, 262144, 1 << 20};
    unsigned char *source = malloc(1 << 20), *to = malloc(1 << 20);
    rng r = {3};
    (void)state;
    for (size_t i = 0; i < 1 << 20; i++)
        source[i] = (unsigned char)(rng_next(&r) & rng_next(&r) & 0x3f);
    for (int level = 1; level <= 19; level += level < 6 ? 1 : 13) {
        for (size_t b = 0; b < sizeof blocks / sizeof blocks[0]; b++) {
            test_meter m = {0, 0};
            emr_allocator allocator = test_meter_make(&m);
            emr_encoder *encoder = NULL;
            size_t n = blocks[b], lengths[] = {n, 4096, n / 8, n / 2 + 4, 1024, n}, size;
            assert_int_equal(emr_encoder_create(&encoder, &allocator, level, n), EMR_OK);
            for (size_t i = 0; i < 6; i++)
                for (size_t t = 0; t < 4; t++)
                    assert_int_equal(
                        emr_encode(encoder, to, lengths[i], source, lengths[i], textures[t], &size), EMR_OK);
            assert_in_range(m.peak, 1, emr_encoder_memory(level, n));
            emr_encoder_destroy(encoder);
            assert_int_equal(m.now, 0);
        }
    }
    free(source);
    free(to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(planes_are_bytes_by_place),
        cmocka_unit_test(encoders_stay_within_their_estimate),
        cmocka_unit_test_setup_teardown(everything_comes_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(noise_with_exponents_shrinks_in_planes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(masks_come_near_their_entropy, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_does_not_fit_is_not_written_past, set_up, tear_down),
        cmocka_unit_test_setup_teardown(hostile_bytes_are_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* encode.c - see encode.h. */
#include "bundle/encode.h"

#include "core/hash.h"

#include <string.h>

static bool are_all_equal(const uint8_t *bytes, size_t n)
{
    return n > 0 && memcmp(bytes, bytes + 1, n - 1) == 0;
}

/* A mask that would shrink by less than this is stored as it is: the entropy of its bits is above 0.985. */
static bool is_lopsided(const uint8_t *mask, size_t n)
{
    uint64_t ones = 0;
    for (size_t i = 0; i + 8 <= n; i += 8)
        ones += emr_popcount64(emr_load64(mask + i));
    double density = (double)ones / ((double)n * 8);
    return density < 0.43 || density > 0.57;
}

/* Whether bytes may shrink by more than 1/64, by trying on a sample from the middle; and what they are, where
 * that is not known. Small blocks and lopsided masks need no trial: trying would cost as much as encoding. */
static emr_status try_sample(emr_encoder *encoder, const uint8_t *bytes, size_t n, uint8_t *packed,
                             emr_texture *texture, bool *worth)
{
    static const emr_texture any[] = {EMR_TEXTURE_BYTES, EMR_TEXTURE_WORDS2, EMR_TEXTURE_WORDS4};
    enum { SMALL = 8192, SAMPLE = 4096, ANY = sizeof any / sizeof any[0] };
    bool unknown = *texture == EMR_TEXTURE_UNKNOWN;
    const emr_texture known = *texture, *tried = unknown ? any : &known;
    size_t sample = n < SAMPLE ? n : SAMPLE, best = sample - sample / 64, size;
    const uint8_t *middle = bytes + (n - sample) / 2 / 8 * 8;
    emr_status status = EMR_OK;
    *worth = !unknown && (n <= SMALL || (known == EMR_TEXTURE_BITS && is_lopsided(bytes, n)));
    if (*worth)
        return EMR_OK;
    for (size_t i = 0; !status && i < (unknown ? ANY : 1); i++) {
        if (tried[i] > EMR_TEXTURE_BYTES && n % tried[i])
            continue;
        status = emr_encode(encoder, packed, best, middle, sample, tried[i], &size);
        if (size) {
            best = size;
            *texture = tried[i];
            *worth = true;
        }
    }
    return status;
}

emr_status emr_block_encode(emr_encoder *encoder, emr_texture texture, const uint8_t *bytes, size_t n,
                            uint8_t *packed, emr_block_record *r)
{
    bool worth = false;
    size_t size = 0;
    emr_status status = EMR_OK;
    *r = (emr_block_record){.stored = (uint32_t)n, .codec = EMR_CODEC_RAW};
    if (are_all_equal(bytes, n)) {
        *r = (emr_block_record){.codec = EMR_CODEC_FILL, .parameter = bytes[0]};
    } else if (encoder) {
        status = try_sample(encoder, bytes, n, packed, &texture, &worth);
        if (!status && worth)
            status = emr_encode(encoder, packed, n, bytes, n, texture, &size);
    }
    if (!status && size) {
        bool planes = texture > EMR_TEXTURE_BYTES;
        r->codec = planes ? EMR_CODEC_PLANES : EMR_CODEC_ZSTD;
        r->parameter = planes ? (uint8_t)texture : 0;
        r->stored = (uint32_t)size;
    }
    r->hash = emr_hash64(emr_is_packed(r) ? packed : bytes, r->stored);
    return status;
}

/* codec.c - the only file that sees libzstd. */
#include "bundle/codec.h"

#include "bundle/planes.h"

#ifdef EMR_WITH_ZSTD

#define ZSTD_STATIC_LINKING_ONLY /* for custom allocation, which the shared library exports as well */
#include <zstd.h>
#include <zstd_errors.h>

/* zstd wants its callbacks to take the allocator as one pointer that outlives the context. */
struct emr_decoder {
    emr_allocator allocator;
    ZSTD_DCtx *context;
};

struct emr_encoder {
    emr_allocator allocator;
    ZSTD_CCtx *context;
    int level;
    uint8_t *planes; /* of one block */
};

static void *zstd_alloc(void *user, size_t bytes)
{
    return emr_allocate(user, bytes);
}

static void zstd_free(void *user, void *pointer)
{
    emr_release(user, pointer);
}

unsigned emr_codec_version(void)
{
    return ZSTD_versionNumber();
}

emr_status emr_decoder_create(emr_decoder **decoder, const emr_allocator *allocator)
{
    emr_decoder *d = emr_allocate_array(allocator, 1, sizeof *d);
    if (!d)
        return EMR_ENOMEM;
    d->allocator = *allocator;
    d->context = ZSTD_createDCtx_advanced((ZSTD_customMem){zstd_alloc, zstd_free, &d->allocator});
    if (!d->context) {
        emr_release(allocator, d);
        return EMR_ENOMEM;
    }
    *decoder = d;
    return EMR_OK;
}

void emr_decoder_destroy(emr_decoder *decoder)
{
    if (!decoder)
        return;
    ZSTD_freeDCtx(decoder->context);
    emr_allocator allocator = decoder->allocator;
    emr_release(&allocator, decoder);
}

size_t emr_decoder_memory(void)
{
    return sizeof(emr_decoder) + ZSTD_estimateDCtxSize();
}

static emr_status decode_frame(emr_decoder *decoder, void *to, size_t n, const void *frame, size_t size)
{
    if (ZSTD_getFrameContentSize(frame, size) != n)
        return EMR_ECORRUPT;
    size_t got = ZSTD_decompressDCtx(decoder->context, to, n, frame, size);
    if (ZSTD_isError(got))
        return ZSTD_getErrorCode(got) == ZSTD_error_memory_allocation ? EMR_ENOMEM : EMR_ECORRUPT;
    return got == n ? EMR_OK : EMR_ECORRUPT;
}

emr_status emr_decode(emr_decoder *decoder, void *destination, size_t n, unsigned planes, const void *stored,
                      size_t stored_size, void *work)
{
    const uint8_t *from = stored;
    uint8_t *to = planes > 1 ? work : destination;
    size_t left = stored_size, part = n / planes;
    for (unsigned i = 0; i < planes; i++) {
        size_t size = ZSTD_findFrameCompressedSize(from, left);
        if (ZSTD_isError(size) || (i + 1 == planes && size != left))
            return EMR_ECORRUPT;
        emr_status status = decode_frame(decoder, to + i * part, part, from, size);
        if (status)
            return status;
        from += size;
        left -= size;
    }
    if (planes > 1)
        emr_join_planes(destination, work, n, planes);
    return EMR_OK;
}

emr_status emr_encoder_create(emr_encoder **encoder, const emr_allocator *allocator, int level, size_t n)
{
    emr_encoder *e = emr_allocate_array(allocator, 1, sizeof *e);
    if (!e)
        return EMR_ENOMEM;
    e->allocator = *allocator;
    e->level = level;
    e->context = ZSTD_createCCtx_advanced((ZSTD_customMem){zstd_alloc, zstd_free, &e->allocator});
    e->planes = emr_allocate(allocator, n);
    if (!e->context || !e->planes) {
        emr_encoder_destroy(e);
        return EMR_ENOMEM;
    }
    *encoder = e;
    return EMR_OK;
}

void emr_encoder_destroy(emr_encoder *encoder)
{
    if (!encoder)
        return;
    ZSTD_freeCCtx(encoder->context);
    emr_allocator allocator = encoder->allocator;
    emr_release(&allocator, encoder->planes);
    emr_release(&allocator, encoder);
}

/* The bytes of masks and of planes have little but their histogram: short matches cost more than the literals
 * they replace, and looking for them takes most of the time. So low levels look for long repetitions only, in
 * large steps, and Huffman-code the rest. Measured on random masks of density 0.1: 3.1 % above the entropy
 * at 460 MB/s, and 8.1 % at 140 MB/s with level 1's own settings. */
enum { LITTLE_UP_TO = 4 }; /* level */

static void look_for_little(ZSTD_CCtx *c)
{
    ZSTD_CCtx_setParameter(c, ZSTD_c_minMatch, 7);
    ZSTD_CCtx_setParameter(c, ZSTD_c_targetLength, 64);
    ZSTD_CCtx_setParameter(c, ZSTD_c_literalCompressionMode,
                           1); /* enable: its name differs between versions */
}

emr_status emr_encode(emr_encoder *encoder, void *to, size_t capacity, const void *source, size_t n,
                      emr_texture texture, size_t *size)
{
    ZSTD_CCtx *c = encoder->context;
    unsigned planes = texture == EMR_TEXTURE_BITS ? 1 : (unsigned)texture;
    const uint8_t *from = source;
    size_t used = 0, part = n / planes;
    ZSTD_CCtx_reset(c, ZSTD_reset_session_and_parameters);
    bool little = encoder->level <= LITTLE_UP_TO && texture != EMR_TEXTURE_BYTES;
    ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, little ? 1 : encoder->level);
    if (little)
        look_for_little(c);
    if (planes > 1) {
        emr_split_planes(encoder->planes, source, n, planes);
        from = encoder->planes;
    }
    *size = 0;
    for (unsigned i = 0; i < planes; i++) {
        size_t frame = ZSTD_compress2(c, (uint8_t *)to + used, capacity - used, from + i * part, part);
        if (ZSTD_isError(frame))
            return ZSTD_getErrorCode(frame) == ZSTD_error_memory_allocation ? EMR_ENOMEM : EMR_OK;
        used += frame;
    }
    *size = used < capacity ? used : 0;
    return EMR_OK;
}

/* The tables of a level differ with the size of what is compressed (samples and planes are smaller than
 * blocks), and those for less can be larger. */
size_t emr_encoder_memory(int level, size_t n)
{
    static const size_t limits[] = {SIZE_MAX, 256 << 10, 128 << 10, 16 << 10};
    size_t most = 0;
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        size_t size = n < limits[i] ? n : limits[i];
        size_t bytes = ZSTD_estimateCCtxSize_usingCParams(ZSTD_getCParams(level, size, 0));
        size_t little = ZSTD_estimateCCtxSize_usingCParams(ZSTD_getCParams(1, size, 0));
        bytes = bytes > little ? bytes : little;
        most = bytes > most ? bytes : most;
    }
    return most + n + sizeof(emr_encoder);
}

#else

unsigned emr_codec_version(void)
{
    return 0;
}

emr_status emr_decoder_create(emr_decoder **decoder, const emr_allocator *allocator)
{
    (void)allocator;
    *decoder = NULL;
    return EMR_OK;
}

void emr_decoder_destroy(emr_decoder *decoder)
{
    (void)decoder;
}

size_t emr_decoder_memory(void)
{
    return 0;
}

emr_status emr_decode(emr_decoder *decoder, void *destination, size_t n, unsigned planes, const void *stored,
                      size_t stored_size, void *work)
{
    (void)decoder, (void)destination, (void)n, (void)planes, (void)stored, (void)stored_size, (void)work;
    return EMR_EUNSUPPORTED;
}

emr_status emr_encoder_create(emr_encoder **encoder, const emr_allocator *allocator, int level, size_t n)
{
    (void)allocator, (void)level, (void)n;
    *encoder = NULL;
    return EMR_OK;
}

void emr_encoder_destroy(emr_encoder *encoder)
{
    (void)encoder;
}

emr_status emr_encode(emr_encoder *encoder, void *to, size_t capacity, const void *source, size_t n,
                      emr_texture texture, size_t *size)
{
    (void)encoder, (void)to, (void)capacity, (void)source, (void)n, (void)texture;
    *size = 0;
    return EMR_OK;
}

size_t emr_encoder_memory(int level, size_t n)
{
    (void)level, (void)n;
    return 0;
}

#endif

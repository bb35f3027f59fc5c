/* codec.h - zstd behind four calls, so that a build without it changes one file. */
#ifndef EMR_BUNDLE_CODEC_H
#define EMR_BUNDLE_CODEC_H

#include "core/memory.h"

/* The release of zstd, on which encoded bytes depend; 0 without. */
unsigned emr_codec_version(void);

/* A decoder with its work memory. NULL in a build without zstd, which is no error until a frame is met. */
typedef struct emr_decoder emr_decoder;
emr_status emr_decoder_create(emr_decoder **decoder, const emr_allocator *allocator);
void emr_decoder_destroy(emr_decoder *decoder);
/* What one allocates. */
size_t emr_decoder_memory(void);

/* What a block's bytes are, for the encoder to make the best of. */
typedef enum emr_texture {
    EMR_TEXTURE_BITS = 0,  /* of a mask */
    EMR_TEXTURE_BYTES = 1, /* nothing is known: one frame */
    EMR_TEXTURE_WORDS2 =
        2, /* numbers of two or four bytes: their planes (planes.h), each in a frame of its own */
    EMR_TEXTURE_WORDS4 = 4,
    EMR_TEXTURE_UNKNOWN = 255 /* what a sample tells; not for the encoder */
} emr_texture;

/* Decodes a block that must give exactly `n` bytes: one frame, or with `planes` 2 or 4 that many frames, one a
 * plane, for which `work` has n bytes. Declared sizes are checked first. EMR_ECORRUPT, EMR_EUNSUPPORTED
 * without zstd. */
emr_status emr_decode(emr_decoder *decoder, void *destination, size_t n, unsigned planes, const void *stored,
                      size_t stored_size, void *work);

/* An encoder at one level, for blocks of at most `n` bytes. */
typedef struct emr_encoder emr_encoder;
emr_status emr_encoder_create(emr_encoder **encoder, const emr_allocator *allocator, int level, size_t n);
void emr_encoder_destroy(emr_encoder *encoder);

/* Encodes `n` bytes, a multiple of the words' size, into less than `capacity` bytes; *size is 0 where they do
 * not fit. EMR_ENOMEM. */
emr_status emr_encode(emr_encoder *encoder, void *to, size_t capacity, const void *source, size_t n,
                      emr_texture texture, size_t *size);

/* Work memory of one encoder for blocks of `n` bytes, for the plan. */
size_t emr_encoder_memory(int level, size_t n);

#endif

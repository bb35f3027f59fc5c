/* codec.h - zstd behind four calls, so that a build without it changes one file. */
#ifndef EMR_BUNDLE_CODEC_H
#define EMR_BUNDLE_CODEC_H

#include "core/memory.h"

/* A decoder with its work memory. NULL in a build without zstd, which is no error until a frame is met. */
typedef struct emr_decoder emr_decoder;
emr_status emr_decoder_create(emr_decoder **decoder, const emr_allocator *allocator);
void emr_decoder_destroy(emr_decoder *decoder);

/* Decodes one frame that must give exactly `n` bytes; its declared size is checked first. EMR_ECORRUPT,
 * EMR_EUNSUPPORTED without zstd. */
emr_status emr_decode(emr_decoder *decoder, void *destination, size_t n, const void *frame,
                      size_t frame_size);

/* An encoder at one level, for `mask` bytes or values. */
typedef struct emr_encoder emr_encoder;
emr_status emr_encoder_create(emr_encoder **encoder, const emr_allocator *allocator, int level);
void emr_encoder_destroy(emr_encoder *encoder);

/* Encodes `n` bytes as one frame of less than `capacity` bytes; *size is 0 where it does not fit. EMR_ENOMEM.
 */
emr_status emr_encode(emr_encoder *encoder, void *frame, size_t capacity, const void *source, size_t n,
                      bool mask, size_t *size);

/* Work memory of one encoder for blocks of `n` bytes, for the plan. */
size_t emr_encoder_memory(int level, size_t n);

#endif

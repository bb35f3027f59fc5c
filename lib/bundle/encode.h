/* encode.h - how one block is stored: as a fill, compressed if that is worth it, or raw. */
#ifndef EMR_BUNDLE_ENCODE_H
#define EMR_BUNDLE_ENCODE_H

#include "bundle/codec.h"
#include "bundle/format.h"

/* Whether the stored bytes are those that were packed. */
static inline bool emr_is_packed(const emr_block_record *r)
{
    return r->codec == EMR_CODEC_ZSTD || r->codec == EMR_CODEC_PLANES;
}

/* Fills in a block's record, but for its place in the file; the stored bytes are in `packed` (room for n
 * bytes) if emr_is_packed() says so, otherwise they are `bytes`. Without an encoder nothing is compressed.
 * EMR_ENOMEM. */
emr_status emr_block_encode(emr_encoder *encoder, emr_texture texture, const uint8_t *bytes, size_t n,
                            uint8_t *packed, emr_block_record *record);

#endif

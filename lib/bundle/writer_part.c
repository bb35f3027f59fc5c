/* writer_part.c - a writer that writes a part of a bundle. Blocks come in the order in which one writer of the
 * whole would write them, as records of the part's file, so that whoever joins parts need only copy them. A
 * block that streams of two or more parts have bytes of is compressed there. */
#include "bundle/writer_state.h"

#include "bundle/encode.h"

void emr_writer_start(emr_writer *w, size_t stream, uint64_t offset)
{
    emr_writer_stream_state *s = &w->streams[stream];
    s->record.bytes = offset;
    s->before = (size_t)(offset % s->record.block_bytes);
}

size_t emr_writer_sums(emr_writer *w, uint32_t block_bytes)
{
    size_t stream = emr_writer_stream(w, EMR_STREAM_UNIFIED, EMR_BASE, block_bytes, EMR_TEXTURE_BYTES);
    if (stream != EMR_NO_MEMORY_STREAM)
        w->streams[stream].are_sums = true;
    return stream;
}

emr_status emr_writer_put_record(emr_writer *w, const emr_writer_slot *slot, emr_error *error)
{
    const emr_block_record *b = &slot->record;
    emr_part_record r = {
        .kind = EMR_PART_BYTES, .number = (uint32_t)slot->stream, .n = slot->n, .size = slot->n};
    if (slot->is_fragment) {
        r.kind = w->streams[slot->stream].are_sums ? EMR_PART_SUMS : EMR_PART_BYTES;
        return emr_part_put(w->limits.part, r, slot->bytes, false, error);
    }
    r.kind = EMR_PART_BLOCK;
    r.size = b->stored;
    r.hash = b->hash;
    r.codec = b->codec;
    r.parameter = b->parameter;
    return emr_part_put(w->limits.part, r, emr_is_packed(b) ? slot->packed : slot->bytes, true, error);
}

emr_status emr_writer_end_part(emr_writer *w, emr_error *error)
{
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < w->n_streams; i++)
        status = emr_writer_end(w, i, error);
    return status ? status : emr_writer_flush(w, error);
}

/* writer_resume.c - going on with a bundle in another process. What a writer is, besides the bytes in the
 * file, is kept in a journal, time by time, so that each time costs what has come since the last one:
 *
 * - where the file ends and the hash of everything before that: the latest counts;
 * - of each stream its length, the records of the blocks that were written since, and the pending bytes,
 * which are less than a block and in no file yet.
 *
 * emr_writer_save() gives these out, emr_writer_saved() moves the mark up to which they are kept. They are
 * two calls because a journal can fail between them: then the next save begins at the same mark. Restoring
 * takes the times in their order: block records add up, all else is replaced. */
#include "bundle/writer_state.h"

/* What comes first of each stream, each time. */
enum { STREAM_BYTES, NEW_BLOCKS, PENDING_BYTES, N_STREAM_COUNTS };

void emr_writer_save(const emr_writer *w, emr_put_fn put, void *context)
{
    emr_hash128 hash = emr_hasher_digest(&w->written);
    put(context, &w->offset, sizeof w->offset);
    put(context, &hash, sizeof hash);
    for (size_t i = 0; i < w->n_streams; i++) {
        const emr_writer_stream_state *s = &w->streams[i];
        const uint64_t counts[N_STREAM_COUNTS] = {
            [STREAM_BYTES] = s->record.bytes,
            [NEW_BLOCKS] = s->blocks.n - s->n_saved,
            [PENDING_BYTES] = s->n_pending,
        };
        put(context, counts, sizeof counts);
        if (counts[NEW_BLOCKS])
            put(context, (const emr_block_record *)s->blocks.data + s->n_saved,
                (s->blocks.n - s->n_saved) * sizeof(emr_block_record));
        if (s->n_pending)
            put(context, s->pending, s->n_pending);
    }
}

void emr_writer_saved(emr_writer *w)
{
    for (size_t i = 0; i < w->n_streams; i++)
        w->streams[i].n_saved = w->streams[i].blocks.n;
}

/* Memory grows with the records that come, whatever number a damaged journal announces. */
static emr_status restore_blocks(emr_writer *w, emr_writer_array *blocks, uint64_t n, emr_get_fn get,
                                 void *context, emr_error *error)
{
    enum { SOME = 256 };
    emr_status status = EMR_OK;
    while (!status && n) {
        size_t some = (size_t)emr_min(n, SOME);
        if (!emr_grow(&w->allocator, &blocks->data, &blocks->capacity, blocks->n + some,
                      sizeof(emr_block_record)))
            return emr_no_memory(error, NULL);
        status = get(context, (emr_block_record *)blocks->data + blocks->n, some * sizeof(emr_block_record),
                     error);
        blocks->n += some;
        n -= some;
    }
    return status;
}

static emr_status restore_stream(emr_writer *w, emr_writer_stream_state *s, emr_get_fn get, void *context,
                                 emr_error *error)
{
    uint64_t counts[N_STREAM_COUNTS];
    emr_status status = get(context, counts, sizeof counts, error);
    if (!status && (counts[PENDING_BYTES] > counts[STREAM_BYTES] ||
                    (counts[PENDING_BYTES] && counts[PENDING_BYTES] >= s->record.block_bytes)))
        status = emr_fail(error, EMR_EFORMAT, "the journal is not this merge's");
    if (!status)
        status = restore_blocks(w, &s->blocks, counts[NEW_BLOCKS], get, context, error);
    if (status)
        return status;
    s->record.bytes = counts[STREAM_BYTES];
    s->n_saved = s->blocks.n;
    s->n_pending = (size_t)counts[PENDING_BYTES];
    if (s->n_pending && !s->pending && !(s->pending = emr_writer_take_loose(w, s->record.block_bytes)))
        return emr_no_memory(error, NULL);
    return s->n_pending ? get(context, s->pending, s->n_pending, error) : EMR_OK;
}

emr_status emr_writer_restore(emr_writer *w, emr_get_fn get, void *context, emr_error *error)
{
    emr_status status = get(context, &w->offset, sizeof w->offset, error);
    if (!status)
        status = get(context, &w->restored, sizeof w->restored, error);
    for (size_t i = 0; !status && i < w->n_streams; i++)
        status = restore_stream(w, &w->streams[i], get, context, error);
    return status;
}

/* Hashes the file up to where the writer stands. */
static emr_status hash_written(emr_writer *w, uint8_t *buffer, size_t room, emr_error *why)
{
    uint64_t length;
    emr_status status = emr_io_length(&w->io, &length, why);
    if (!status && length < w->offset)
        status = EMR_EIO;
    for (uint64_t at = 0; !status && at < w->offset; at += room) {
        size_t n = (size_t)emr_min(room, w->offset - at);
        status = emr_io_read(&w->io, at, buffer, n, why);
        if (!status)
            emr_hasher_update(&w->written, buffer, n);
    }
    return status;
}

emr_status emr_writer_check(emr_writer *w, bool *right, emr_error *error)
{
    emr_error why;
    size_t room = w->limits.loose_bytes;
    uint8_t *buffer = emr_allocate(&w->allocator, room);
    if (!buffer)
        return emr_no_memory(error, NULL);
    emr_hasher_init(&w->written);
    emr_status status = hash_written(w, buffer, room, &why);
    emr_hash128 hash = emr_hasher_digest(&w->written);
    *right = !status && hash.low == w->restored.low && hash.high == w->restored.high;
    emr_release(&w->allocator, buffer);
    if (!status || status == EMR_EIO) /* what cannot be read is written again */
        return EMR_OK;
    return emr_fail_because(error, status, &why, "what was written of the bundle could not be read back");
}

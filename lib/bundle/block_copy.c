/* block_copy.c - see block_copy.h. */
#include "bundle/block_copy.h"

#include "core/hash.h"

typedef struct block_queue {
    const emr_block_copy *copy;
    uint64_t *next; /* block of each stream */
    size_t *queue;  /* streams that still have blocks: a heap, the next in the file on top */
    size_t n_queued;
    uint8_t *buffer; /* of the largest stored block */
} block_queue;

static emr_status copy_block(block_queue *q, size_t stream, const emr_stream_record *s, emr_error *error)
{
    const emr_bundle *b = q->copy->bundle;
    uint64_t block = q->next[stream]++;
    emr_block_record r = emr_bundle_block_record(b, (size_t)(s->first_block + block));
    emr_status status = r.stored ? emr_bundle_read(b, r.offset, q->buffer, r.stored, error) : EMR_OK;
    if (status)
        return status;
    if (r.codec != EMR_CODEC_FILL && emr_hash64(q->buffer, r.stored) != r.hash)
        return emr_fail(error, EMR_ECORRUPT,
                        "%F: the block at byte %u: its checksum differs, the file is damaged", b->name,
                        r.offset);
    status = emr_writer_copy(q->copy->writer, q->copy->streams[stream], &r, q->buffer,
                             emr_stream_block_length(s, block), error);
    return status ? status : q->copy->advance(q->copy->context, r.stored, error);
}

static uint64_t next_offset(const block_queue *q, size_t stream)
{
    const emr_bundle *b = q->copy->bundle;
    emr_stream_record s = emr_bundle_stream_record(b, stream);
    return emr_bundle_block_record(b, (size_t)(s.first_block + q->next[stream])).offset;
}

/* By offset; by number where two streams are equal. */
static bool comes_before(const block_queue *q, size_t a, size_t b)
{
    uint64_t offset_a = next_offset(q, a), offset_b = next_offset(q, b);
    return offset_a < offset_b || (offset_a == offset_b && a < b);
}

static void sift_stream(block_queue *q, size_t at)
{
    for (size_t child; (child = 2 * at + 1) < q->n_queued; at = child) {
        if (child + 1 < q->n_queued && comes_before(q, q->queue[child + 1], q->queue[child]))
            child++;
        if (comes_before(q, q->queue[at], q->queue[child]))
            return;
        size_t moved = q->queue[at];
        q->queue[at] = q->queue[child];
        q->queue[child] = moved;
    }
}

/* In the order of the file, as far as streams lie in it front to back: what was near each other stays so. */
static emr_status copy_in_order(block_queue *q, emr_error *error)
{
    const emr_bundle *b = q->copy->bundle;
    emr_status status = EMR_OK;
    for (size_t i = 0; i < b->n_streams; i++)
        if (q->copy->streams[i] != EMR_NO_STREAM && emr_bundle_stream_record(b, i).bytes)
            q->queue[q->n_queued++] = i;
    for (size_t i = q->n_queued / 2; i-- > 0;)
        sift_stream(q, i);
    while (!status && q->n_queued) {
        size_t stream = q->queue[0];
        emr_stream_record s = emr_bundle_stream_record(b, stream);
        status = copy_block(q, stream, &s, error);
        if (q->next[stream] == emr_stream_blocks(&s))
            q->queue[0] = q->queue[--q->n_queued];
        sift_stream(q, 0);
    }
    return status;
}

static size_t largest_block(const emr_bundle *b)
{
    size_t largest = 0;
    for (size_t i = 0; i < b->n_blocks; i++) {
        size_t stored = emr_bundle_block_record(b, i).stored;
        largest = stored > largest ? stored : largest;
    }
    return largest;
}

uint64_t emr_copy_memory(const emr_bundle *b)
{
    return b->n_streams * (sizeof(uint64_t) + sizeof(size_t)) + largest_block(b);
}

emr_status emr_copy_blocks(const emr_block_copy *copy, emr_error *error)
{
    const emr_bundle *b = copy->bundle;
    block_queue q = {.copy = copy,
                     .next = emr_allocate_array(copy->allocator, b->n_streams, sizeof *q.next),
                     .queue = emr_allocate_array(copy->allocator, b->n_streams, sizeof *q.queue),
                     .buffer = emr_allocate(copy->allocator, largest_block(b))};
    emr_status status =
        q.next && q.queue && q.buffer ? copy_in_order(&q, error) : emr_no_memory(error, b->name);
    emr_release(copy->allocator, q.next);
    emr_release(copy->allocator, q.queue);
    emr_release(copy->allocator, q.buffer);
    return status;
}

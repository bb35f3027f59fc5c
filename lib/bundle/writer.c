/* writer.c - see writer.h. A block under way stands in one of three stations:
 *
 *     FILLING    it was put since the last round began, and waits
 *     ENCODING   it is compressed in this round: a job for each block, in any order
 *     WRITING    it is written in this round: one job for all, in the order in which they were put
 *
 * A station is a batch of slots; beginning a round moves each batch to the next station, and the one that has
 * been written becomes the empty one to fill. Since only one job writes, and in that order, the file's bytes
 * do not depend on who ran the jobs.
 *
 *     round          r           r + 1       r + 2       r + 3
 *     batch put      ENCODING    WRITING     emptied
 *     in between                 ENCODING    WRITING     emptied
 *
 * So the bytes of a block must last from putting it to the beginning of the third round from there. They are
 *
 * - the caller's, of a block that is put; its compressed form goes into an arena, of which there are two,
 * because one batch is compressed while the one before it is written from the other;
 * - the writer's own, of a block that is appended: loose memory, in which a stream's bytes are collected
 * until they fill a block. It is given back, with that of the compressed form, when the batch is emptied. */
#include "bundle/writer_state.h"

#include "bundle/encode.h"

#include <string.h>

emr_status emr_writer_write(emr_writer *w, const void *bytes, size_t n, emr_error *error)
{
    emr_error why;
    emr_status status = n ? emr_io_write(&w->io, w->offset, bytes, n, &why) : EMR_OK;
    if (status)
        return emr_fail_because(error, status, &why, "writing %u bytes of the bundle at byte %u failed",
                                (uint64_t)n, w->offset);
    w->offset += n;
    if (w->limits.hashes)
        emr_hasher_update(&w->written, bytes, n);
    return EMR_OK;
}

emr_status emr_writer_pad(emr_writer *w, size_t multiple, emr_error *error)
{
    static const uint8_t zeros[EMR_RAW_ALIGNMENT];
    return emr_writer_write(w, zeros, (size_t)(emr_round_up(w->offset, multiple) - w->offset), error);
}

static emr_status write_bundle_header(emr_writer *w, emr_error *error)
{
    uint8_t p[EMR_HEADER_SIZE] = {0};
    memcpy(p, EMR_HEADER_MAGIC, 8);
    emr_store16(p + 8, EMR_FORMAT_MAJOR);
    emr_store16(p + 10, w->limits.features ? EMR_FORMAT_MINOR : 0);
    emr_store32(p + 12, EMR_HEADER_SIZE);
    emr_store64(p + 16, w->limits.features);
    emr_set_seal(p);
    return emr_writer_write(w, p, sizeof p, error);
}

static bool does_compress(const emr_writer *w)
{
    return w->limits.compression >= 0;
}

/* While one batch is compressed, the one before it is written. */
static size_t arena_count(const emr_writer_limits *limits)
{
    return limits->compression < 0 ? 0 : limits->overlap ? 2 : 1;
}

static size_t loose_total(const emr_writer_limits *l)
{
    return l->loose_total ? l->loose_total : l->loose_blocks * l->loose_bytes;
}

static size_t slot_count(const emr_writer_limits *limits)
{
    return limits->put_blocks + limits->loose_blocks;
}

static bool allocate_stations(emr_writer *w)
{
    const emr_writer_limits *l = &w->limits;
    bool there = true;
    for (size_t i = 0; there && i < EMR_N_STATIONS; i++) {
        w->batches[i].slots = emr_allocate_array(&w->allocator, slot_count(l), sizeof(emr_writer_slot));
        there = w->batches[i].slots != NULL;
    }
    for (size_t i = 0; there && i < arena_count(l); i++)
        there = (w->arenas[i] = emr_allocate(&w->allocator, l->put_bytes)) != NULL;
    w->encoders = emr_allocate_array(&w->allocator, w->workers->n, sizeof *w->encoders);
    there = there && w->encoders;
    for (size_t i = 0; there && does_compress(w) && i < w->workers->n; i++)
        there = emr_encoder_create(&w->encoders[i], &w->allocator, l->compression ? l->compression : 1,
                                   l->loose_bytes) == EMR_OK;
    return there;
}

emr_status emr_writer_create(emr_writer **writer, const emr_io *io, const emr_allocator *allocator,
                             const emr_workers *workers, const emr_writer_limits *limits, emr_error *error)
{
    emr_writer *w = emr_allocate_array(allocator, 1, sizeof *w);
    *writer = NULL;
    if (!w)
        return emr_no_memory(error, NULL);
    w->allocator = *allocator;
    w->io = *io;
    w->workers = workers;
    w->limits = *limits;
    emr_hasher_init(&w->written);
    emr_status status = allocate_stations(w) ? EMR_OK : emr_no_memory(error, NULL);
    if (!status && !w->limits.part)
        status = write_bundle_header(w, error);
    if (status)
        emr_writer_destroy(&w);
    *writer = w;
    return status;
}

/* Memory is kept for the next block where all are of one size. */
uint8_t *emr_writer_take_loose(emr_writer *w, size_t bytes)
{
    uint8_t *p = w->spare;
    if (!p)
        return emr_allocate(&w->allocator, w->limits.loose_total ? bytes : w->limits.loose_bytes);
    memcpy(&w->spare, p, sizeof w->spare);
    return p;
}

static void give_loose(emr_writer *w, uint8_t *p)
{
    if (w->limits.loose_total) {
        emr_release(&w->allocator, p);
        return;
    }
    memcpy(p, &w->spare, sizeof w->spare);
    w->spare = p;
}

static void empty_batch(emr_writer *w, emr_writer_batch *b)
{
    for (size_t i = 0; i < b->n; i++) {
        emr_writer_slot *s = &b->slots[i];
        if (!s->loose)
            continue;
        size_t bytes = w->streams[s->stream].record.block_bytes;
        give_loose(w, s->loose);
        if (s->packed)
            give_loose(w, s->packed);
        w->n_loose--;
        w->loose_bytes -= bytes;
    }
    b->n = 0;
}

void emr_writer_destroy(emr_writer **writer)
{
    emr_writer *w = *writer;
    if (!w)
        return;
    emr_allocator allocator = w->allocator;
    for (size_t i = 0; i < EMR_N_STATIONS; i++) {
        empty_batch(w, &w->batches[i]);
        emr_release(&allocator, w->batches[i].slots);
    }
    for (size_t i = 0; i < 2; i++)
        emr_release(&allocator, w->arenas[i]);
    for (size_t i = 0; w->encoders && i < w->workers->n; i++)
        emr_encoder_destroy(w->encoders[i]);
    for (size_t i = 0; i < w->n_streams; i++) {
        emr_release(&allocator, w->streams[i].blocks.data);
        emr_release(&allocator, w->streams[i].pending);
    }
    while (w->spare)
        emr_release(&allocator, emr_writer_take_loose(w, w->limits.loose_bytes));
    for (size_t i = 0; i < EMR_N_SECTIONS; i++)
        emr_release(&allocator, w->sections[i].data);
    emr_release(&allocator, w->encoders);
    emr_release(&allocator, w->streams);
    emr_release(&allocator, w);
    *writer = NULL;
}

size_t emr_writer_stream(emr_writer *w, enum emr_stream_kind kind, uint32_t owner, uint32_t block_bytes,
                         emr_texture texture)
{
    if (!emr_grow(&w->allocator, (void **)&w->streams, &w->streams_capacity, w->n_streams + 1,
                  sizeof *w->streams))
        return EMR_NO_MEMORY_STREAM;
    w->streams[w->n_streams] = (emr_writer_stream_state){
        .texture = texture,
        .record = {.kind = kind,
                   .owner = owner,
                   .block_bytes = block_bytes,
                   .flags = emr_stream_rule_of(kind)->required ? EMR_STREAM_REQUIRED : 0},
    };
    return w->n_streams++;
}

/* Writes a block and notes its record, but for the place. */
static emr_status write_block(emr_writer *w, emr_writer_stream_state *s, emr_block_record r,
                              const void *stored, emr_error *error)
{
    emr_status status = r.codec == EMR_CODEC_RAW ? emr_writer_pad(w, EMR_RAW_ALIGNMENT, error) : EMR_OK;
    r.offset = w->offset;
    if (!status)
        status = emr_writer_write(w, stored, r.stored, error);
    if (status)
        return status;
    if (!emr_grow(&w->allocator, &s->blocks.data, &s->blocks.capacity, s->blocks.n + 1, sizeof r))
        return emr_no_memory(error, NULL);
    ((emr_block_record *)s->blocks.data)[s->blocks.n++] = r;
    return EMR_OK;
}

emr_status emr_writer_copy(emr_writer *w, size_t stream, const emr_block_record *record, const void *stored,
                           size_t n, emr_error *error)
{
    w->streams[stream].record.bytes += n;
    return write_block(w, &w->streams[stream], *record, stored, error);
}

bool emr_writer_has_stream(const emr_writer *w, size_t stream)
{
    return stream < w->n_streams;
}

bool emr_writer_can_copy(const emr_writer *w, size_t stream, const emr_block_record *r, uint64_t n)
{
    const emr_writer_stream_state *s = stream < w->n_streams ? &w->streams[stream] : NULL;
    bool packed = emr_is_packed(r), raw = r->codec == EMR_CODEC_RAW, fill = r->codec == EMR_CODEC_FILL;
    return s && !s->n_pending && s->record.bytes % s->record.block_bytes == 0 && n &&
           n <= s->record.block_bytes &&
           ((packed && r->stored < n) || (raw && r->stored == n) || (fill && !r->stored));
}

static emr_status write_batch(emr_writer *w, const emr_writer_batch *b, emr_error *error)
{
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < b->n; i++) {
        const emr_writer_slot *s = &b->slots[i];
        status = w->limits.part ? emr_writer_put_record(w, s, error)
                                : write_block(w, &w->streams[s->stream], s->record,
                                              emr_is_packed(&s->record) ? s->packed : s->bytes, error);
    }
    return status;
}

/* Gives each block that was put room for its compressed form, one after another in the arena whose turn it
 * is. They fit: a block's room is as long as it is, and no more than put_bytes are put between two rounds. */
static void share_out_arena(emr_writer *w, emr_writer_batch *b)
{
    w->turn = w->limits.overlap ? !w->turn : 0;
    uint8_t *room = w->arenas[w->turn];
    for (size_t i = 0; i < b->n; i++) {
        emr_writer_slot *s = &b->slots[i];
        if (s->loose)
            continue;
        s->packed = room;
        room += s->n;
    }
}

size_t emr_writer_begin(emr_writer *w)
{
    emr_writer_batch *all = w->batches, written = all[EMR_WRITING];
    empty_batch(w, &written);
    all[EMR_WRITING] = all[EMR_ENCODING];
    all[EMR_ENCODING] = all[EMR_FILLING];
    all[EMR_FILLING] = written;
    w->put_bytes = 0;
    if (does_compress(w))
        share_out_arena(w, &all[EMR_ENCODING]);
    return (all[EMR_WRITING].n > 0) + all[EMR_ENCODING].n;
}

emr_status emr_writer_job(emr_writer *w, size_t job, size_t worker, emr_error *error)
{
    size_t writing = w->batches[EMR_WRITING].n > 0;
    if (job < writing)
        return write_batch(w, &w->batches[EMR_WRITING], error);
    emr_writer_slot *s = &w->batches[EMR_ENCODING].slots[job - writing];
    if (s->is_fragment)
        return EMR_OK;
    return emr_block_encode(w->encoders[worker], s->texture, s->bytes, s->n, s->packed, &s->record)
               ? emr_no_memory(error, NULL)
               : EMR_OK;
}

static emr_status run_flush_job(void *context, size_t job, size_t worker, emr_error *error)
{
    return emr_writer_job(context, job, worker, error);
}

emr_status emr_writer_flush(emr_writer *w, emr_error *error)
{
    emr_status status = EMR_OK;
    while (!status && (w->batches[EMR_FILLING].n || w->batches[EMR_ENCODING].n))
        status = emr_work(w->workers, emr_writer_begin(w), run_flush_job, w, error);
    if (!status)
        empty_batch(w, &w->batches[EMR_WRITING]);
    return status;
}

static void fill_slot(emr_writer *w, const emr_writer_slot *slot)
{
    emr_writer_batch *b = &w->batches[EMR_FILLING];
    b->slots[b->n] = *slot;
    b->slots[b->n++].texture = w->streams[slot->stream].texture;
    w->streams[slot->stream].record.bytes += slot->n;
}

emr_status emr_writer_put(emr_writer *w, size_t stream, const void *bytes, size_t n, emr_error *error)
{
    bool full = w->put_bytes + n > w->limits.put_bytes || w->batches[EMR_FILLING].n == slot_count(&w->limits);
    emr_status status = full ? emr_writer_flush(w, error) : EMR_OK;
    if (status)
        return status;
    w->put_bytes += n;
    fill_slot(w, &(emr_writer_slot){.bytes = bytes, .n = n, .stream = stream});
    return EMR_OK;
}

/* Puts a stream's pending bytes, whose memory goes with them. */
static emr_status put_pending(emr_writer *w, emr_writer_stream_state *s, emr_error *error)
{
    size_t bytes = s->record.block_bytes;
    bool full = w->n_loose == w->limits.loose_blocks || w->loose_bytes + bytes > loose_total(&w->limits) ||
                w->batches[EMR_FILLING].n == slot_count(&w->limits);
    emr_status status = full ? emr_writer_flush(w, error) : EMR_OK;
    if (status)
        return status;
    uint8_t *packed = NULL;
    if (does_compress(w) && !(packed = emr_writer_take_loose(w, bytes)))
        return emr_no_memory(error, NULL);
    s->record.bytes -= s->n_pending; /* fill_slot counts them */
    const emr_writer_slot slot = {
        .bytes = s->pending,
        .n = s->n_pending,
        .stream = (size_t)(s - w->streams),
        .packed = packed,
        .loose = s->pending,
        .is_fragment = s->before || s->are_sums || (w->limits.part && s->n_pending < bytes),
    };
    fill_slot(w, &slot);
    s->pending = NULL;
    s->n_pending = s->before = 0;
    w->n_loose++;
    w->loose_bytes += bytes;
    return EMR_OK;
}

emr_status emr_writer_append(emr_writer *w, size_t stream, const void *bytes, size_t n, emr_error *error)
{
    emr_writer_stream_state *s = &w->streams[stream];
    const uint8_t *from = bytes;
    while (n) {
        if (!s->pending && !(s->pending = emr_writer_take_loose(w, s->record.block_bytes)))
            return emr_no_memory(error, NULL);
        size_t part = (size_t)emr_min(n, s->record.block_bytes - s->before - s->n_pending);
        memcpy(s->pending + s->n_pending, from, part);
        s->n_pending += part;
        s->record.bytes += part;
        from += part;
        n -= part;
        if (s->before + s->n_pending == s->record.block_bytes) {
            emr_status status = put_pending(w, s, error);
            if (status)
                return status;
        }
    }
    return EMR_OK;
}

emr_status emr_writer_align(emr_writer *w, size_t stream, emr_error *error)
{
    static const uint8_t zeros[EMR_TENSOR_ALIGNMENT];
    uint64_t bytes = w->streams[stream].record.bytes;
    return emr_writer_append(w, stream, zeros, (size_t)(emr_round_up(bytes, EMR_TENSOR_ALIGNMENT) - bytes),
                             error);
}

emr_status emr_writer_end(emr_writer *w, size_t stream, emr_error *error)
{
    emr_writer_stream_state *s = &w->streams[stream];
    return s->n_pending ? put_pending(w, s, error) : EMR_OK;
}

uint64_t emr_writer_bytes(const emr_writer *w, size_t stream)
{
    return w->streams[stream].record.bytes;
}

uint64_t emr_writer_memory(const emr_writer_limits *l, size_t workers)
{
    uint64_t loose = loose_total(l);
    uint64_t slots = EMR_N_STATIONS * (uint64_t)slot_count(l) * sizeof(emr_writer_slot);
    if (l->compression < 0)
        return slots + loose;
    return slots + 2 * loose + arena_count(l) * (uint64_t)l->put_bytes +
           workers * (uint64_t)emr_encoder_memory(l->compression ? l->compression : 1, l->loose_bytes);
}

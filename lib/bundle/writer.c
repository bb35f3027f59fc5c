/* writer.c - see writer.h. Blocks wait in slots; a flush compresses all of them, in parallel where there is
 * an executor, and writes them in the order in which they were put. */
#include "bundle/writer.h"

#include "bundle/codec.h"
#include "core/hash.h"

#include <string.h>

typedef struct slot {
    const uint8_t *bytes;
    size_t n;
    size_t stream;
    bool mask;
    uint8_t *packed; /* slot_bytes; NULL without compression */
    emr_block_record record;
} slot;

typedef struct growing {
    void *data;
    size_t n, capacity; /* bytes, or blocks */
} growing;

typedef struct stream_state {
    emr_stream_record record;
    growing blocks; /* of emr_block_record */
    uint8_t *pending;
    size_t n_pending;
} stream_state;

struct emr_writer {
    emr_allocator allocator;
    emr_io io;
    const emr_workers *workers;
    uint64_t offset;
    slot *slots;
    size_t n_slots, n_used;
    emr_encoder **encoders; /* one a worker; NULL entries without compression */
    stream_state *streams;
    size_t n_streams, streams_capacity;
    growing sections[EMR_N_SECTIONS];
};

static emr_status no_memory(emr_error *error)
{
    return emr_fail(error, EMR_ENOMEM, "out of memory for the bundle");
}

static emr_status write_bytes(emr_writer *w, const void *bytes, size_t n, emr_error *error)
{
    if (n && w->io.write(w->io.user, w->offset, bytes, n))
        return emr_fail(error, EMR_EIO, "writing %u bytes of the bundle at byte %u failed", (uint64_t)n,
                        w->offset);
    w->offset += n;
    return EMR_OK;
}

static emr_status write_padding(emr_writer *w, size_t multiple, emr_error *error)
{
    static const uint8_t zeros[EMR_RAW_ALIGNMENT];
    return write_bytes(w, zeros, (size_t)(emr_round_up(w->offset, multiple) - w->offset), error);
}

static void seal(uint8_t *p)
{
    emr_store64(p + EMR_SEALED, emr_hash64(p, EMR_SEALED));
}

static emr_status write_header(emr_writer *w, emr_error *error)
{
    uint8_t p[EMR_HEADER_SIZE] = {0};
    memcpy(p, EMR_HEADER_MAGIC, 8);
    emr_store16(p + 8, EMR_FORMAT_MAJOR);
    emr_store16(p + 10, EMR_FORMAT_MINOR);
    emr_store32(p + 12, EMR_HEADER_SIZE);
    seal(p);
    return write_bytes(w, p, sizeof p, error);
}

emr_status emr_writer_create(emr_writer **writer, const emr_io *io, const emr_allocator *allocator,
                             const emr_workers *workers, size_t slots, size_t slot_bytes, int compression,
                             emr_error *error)
{
    emr_writer *w = emr_allocate_array(allocator, 1, sizeof *w);
    if (!w)
        return no_memory(error);
    w->allocator = *allocator;
    w->io = *io;
    w->workers = workers;
    w->n_slots = slots;
    w->slots = emr_allocate_array(allocator, slots, sizeof *w->slots);
    w->encoders = emr_allocate_array(allocator, w->workers->n, sizeof *w->encoders);
    bool there = w->slots && w->encoders;
    for (size_t i = 0; there && compression >= 0 && i < slots; i++)
        there = (w->slots[i].packed = emr_allocate(allocator, slot_bytes)) != NULL;
    for (size_t i = 0; there && compression >= 0 && i < w->workers->n; i++)
        there = emr_encoder_create(&w->encoders[i], allocator, compression ? compression : 1) == EMR_OK;
    emr_status status = there ? write_header(w, error) : no_memory(error);
    if (status)
        emr_writer_destroy(&w);
    *writer = w;
    return status;
}

void emr_writer_destroy(emr_writer **writer)
{
    emr_writer *w = *writer;
    if (!w)
        return;
    emr_allocator allocator = w->allocator;
    for (size_t i = 0; w->slots && i < w->n_slots; i++)
        emr_release(&allocator, w->slots[i].packed);
    for (size_t i = 0; w->encoders && i < w->workers->n; i++)
        emr_encoder_destroy(w->encoders[i]);
    for (size_t i = 0; i < w->n_streams; i++) {
        emr_release(&allocator, w->streams[i].blocks.data);
        emr_release(&allocator, w->streams[i].pending);
    }
    for (size_t i = 0; i < EMR_N_SECTIONS; i++)
        emr_release(&allocator, w->sections[i].data);
    emr_release(&allocator, w->slots);
    emr_release(&allocator, w->encoders);
    emr_release(&allocator, w->streams);
    emr_release(&allocator, w);
    *writer = NULL;
}

size_t emr_writer_stream(emr_writer *w, enum emr_stream_kind kind, uint32_t owner, uint32_t block_bytes)
{
    if (!emr_grow(&w->allocator, (void **)&w->streams, &w->streams_capacity, w->n_streams + 1,
                  sizeof *w->streams))
        return EMR_NO_MEMORY_STREAM;
    w->streams[w->n_streams] = (stream_state){
        .record = {.kind = kind, .owner = owner, .block_bytes = block_bytes, .flags = EMR_STREAM_REQUIRED}};
    return w->n_streams++;
}

static bool all_equal(const uint8_t *bytes, size_t n)
{
    return n > 0 && memcmp(bytes, bytes + 1, n - 1) == 0;
}

/* Masks whose density is away from one half always shrink. */
static bool is_lopsided(const slot *s)
{
    uint64_t ones = 0;
    for (size_t i = 0; i + 8 <= s->n; i += 8)
        ones += emr_popcount64(emr_load64(s->bytes + i));
    double density = (double)ones / ((double)s->n * 8);
    return density < 0.44 || density > 0.56;
}

/* Whether a trial on a sample says that a block may shrink. */
static emr_status worth_encoding(emr_encoder *encoder, const slot *s, bool *worth)
{
    enum { SAMPLE = 4096, GAIN = SAMPLE / 64 };
    size_t size;
    *worth = encoder && (s->n <= 2 * SAMPLE || (s->mask && is_lopsided(s)));
    if (*worth || !encoder)
        return EMR_OK;
    emr_status status = emr_encode(encoder, s->packed, SAMPLE - GAIN, s->bytes + (s->n - SAMPLE) / 2 / 8 * 8,
                                   SAMPLE, s->mask, &size);
    *worth = size > 0;
    return status;
}

static emr_status encode_slot(emr_encoder *encoder, slot *s)
{
    const uint8_t *stored = s->bytes;
    emr_block_record *r = &s->record;
    bool worth = false;
    size_t size = 0;
    emr_status status = EMR_OK;
    *r = (emr_block_record){.stored = (uint32_t)s->n, .codec = EMR_CODEC_RAW};
    if (all_equal(s->bytes, s->n)) {
        r->codec = EMR_CODEC_FILL;
        r->fill = s->bytes[0];
        r->stored = 0;
    } else {
        status = worth_encoding(encoder, s, &worth);
        if (!status && worth)
            status = emr_encode(encoder, s->packed, s->n, s->bytes, s->n, s->mask, &size);
    }
    if (!status && size) {
        r->codec = EMR_CODEC_ZSTD;
        r->stored = (uint32_t)size;
        stored = s->packed;
    }
    r->hash = emr_hash64(stored, r->stored);
    return status;
}

static emr_status encode_job(void *context, size_t job, size_t worker, emr_error *error)
{
    emr_writer *w = context;
    return encode_slot(w->encoders[worker], &w->slots[job]) ? no_memory(error) : EMR_OK;
}

static emr_status write_slot(emr_writer *w, slot *s, emr_error *error)
{
    stream_state *st = &w->streams[s->stream];
    emr_status status = EMR_OK;
    if (s->record.codec == EMR_CODEC_RAW)
        status = write_padding(w, EMR_RAW_ALIGNMENT, error);
    s->record.offset = w->offset;
    if (!status)
        status =
            write_bytes(w, s->record.codec == EMR_CODEC_ZSTD ? s->packed : s->bytes, s->record.stored, error);
    if (status)
        return status;
    if (!emr_grow(&w->allocator, &st->blocks.data, &st->blocks.capacity, st->blocks.n + 1, sizeof s->record))
        return no_memory(error);
    ((emr_block_record *)st->blocks.data)[st->blocks.n++] = s->record;
    return EMR_OK;
}

emr_status emr_writer_flush(emr_writer *w, emr_error *error)
{
    emr_status status = emr_work(w->workers, w->n_used, encode_job, w, error);
    for (size_t i = 0; !status && i < w->n_used; i++)
        status = write_slot(w, &w->slots[i], error);
    w->n_used = 0;
    return status;
}

emr_status emr_writer_put(emr_writer *w, size_t stream, const void *bytes, size_t n, emr_error *error)
{
    emr_status status = w->n_used == w->n_slots ? emr_writer_flush(w, error) : EMR_OK;
    if (status)
        return status;
    slot *s = &w->slots[w->n_used++];
    s->bytes = bytes;
    s->n = n;
    s->stream = stream;
    s->mask = w->streams[stream].record.kind == EMR_STREAM_MASK;
    w->streams[stream].record.bytes += n;
    return EMR_OK;
}

/* Puts a stream's pending bytes and waits until they are written. */
static emr_status put_pending(emr_writer *w, stream_state *s, emr_error *error)
{
    size_t n = s->n_pending;
    s->n_pending = 0;
    s->record.bytes -= n; /* put counts them */
    emr_status status = emr_writer_put(w, (size_t)(s - w->streams), s->pending, n, error);
    return status ? status : emr_writer_flush(w, error);
}

emr_status emr_writer_append(emr_writer *w, size_t stream_number, const void *bytes, size_t n,
                             emr_error *error)
{
    stream_state *s = &w->streams[stream_number];
    const uint8_t *from = bytes;
    if (!s->pending && !(s->pending = emr_allocate(&w->allocator, s->record.block_bytes)))
        return no_memory(error);
    while (n) {
        size_t part = (size_t)emr_min(n, s->record.block_bytes - s->n_pending);
        memcpy(s->pending + s->n_pending, from, part);
        s->n_pending += part;
        s->record.bytes += part;
        from += part;
        n -= part;
        if (s->n_pending == s->record.block_bytes) {
            emr_status status = put_pending(w, s, error);
            if (status)
                return status;
        }
    }
    return EMR_OK;
}

emr_status emr_writer_align(emr_writer *w, size_t stream_number, emr_error *error)
{
    static const uint8_t zeros[EMR_TENSOR_ALIGNMENT];
    uint64_t bytes = w->streams[stream_number].record.bytes;
    return emr_writer_append(w, stream_number, zeros,
                             (size_t)(emr_round_up(bytes, EMR_TENSOR_ALIGNMENT) - bytes), error);
}

emr_status emr_writer_end(emr_writer *w, size_t stream_number, emr_error *error)
{
    stream_state *s = &w->streams[stream_number];
    emr_status status = s->n_pending ? put_pending(w, s, error) : EMR_OK;
    emr_release(&w->allocator, s->pending);
    s->pending = NULL;
    return status;
}

uint64_t emr_writer_bytes(const emr_writer *w, size_t stream_number)
{
    return w->streams[stream_number].record.bytes;
}

uint8_t *emr_writer_record(emr_writer *w, enum emr_section_kind kind, size_t size)
{
    growing *g = &w->sections[kind];
    if (!emr_grow(&w->allocator, &g->data, &g->capacity, g->n + size + 1,
                  1)) /* never NULL, even for size 0 */
        return NULL;
    g->n += size;
    return (uint8_t *)g->data + g->n - size;
}

uint32_t emr_writer_string(emr_writer *w, const char *text)
{
    size_t at = w->sections[EMR_SECTION_STRINGS].n, n = strlen(text) + 1;
    if (n > UINT32_MAX - at)
        return UINT32_MAX;
    uint8_t *p = emr_writer_record(w, EMR_SECTION_STRINGS, n);
    if (!p)
        return UINT32_MAX;
    memcpy(p, text, n);
    return (uint32_t)at;
}

uint32_t emr_writer_shape(emr_writer *w, uint32_t rank, const uint64_t *shape)
{
    size_t at = w->sections[EMR_SECTION_SHAPES].n / 8;
    uint8_t *p =
        at > UINT32_MAX - rank - 1 ? NULL : emr_writer_record(w, EMR_SECTION_SHAPES, (size_t)rank * 8);
    if (!p)
        return UINT32_MAX;
    for (uint32_t i = 0; i < rank; i++)
        emr_store64(p + 8 * i, shape[i]);
    return (uint32_t)at;
}

/* The sections that the writer itself knows: streams and their blocks. */
static emr_status index_streams(emr_writer *w, emr_error *error)
{
    uint64_t first_block = 0;
    for (size_t i = 0; i < w->n_streams; i++) {
        stream_state *s = &w->streams[i];
        s->record.first_block = first_block;
        first_block += s->blocks.n;
        uint8_t *p = emr_writer_record(w, EMR_SECTION_STREAMS, EMR_STREAM_SIZE);
        if (!p)
            return no_memory(error);
        emr_encode_stream(p, &s->record);
        p = emr_writer_record(w, EMR_SECTION_BLOCKS, s->blocks.n * EMR_BLOCK_SIZE);
        if (!p)
            return no_memory(error);
        for (size_t k = 0; k < s->blocks.n; k++)
            emr_encode_block(p + k * EMR_BLOCK_SIZE, &((emr_block_record *)s->blocks.data)[k]);
        emr_release(&w->allocator, s->blocks.data);
        s->blocks = (growing){0};
    }
    return EMR_OK;
}

/* One section: its head, its bytes, zeros up to a multiple of 8. */
static void assemble(const emr_writer *w, uint8_t *index)
{
    for (uint32_t kind = 1; kind < EMR_N_SECTIONS; kind++) {
        const growing *g = &w->sections[kind];
        emr_store32(index, kind);
        emr_store32(index + 4, EMR_SECTION_REQUIRED);
        emr_store64(index + 8, g->n);
        index += EMR_SECTION_HEAD;
        if (g->n)
            memcpy(index, g->data, g->n);
        index += emr_round_up(g->n, 8);
    }
}

emr_status emr_writer_finish(emr_writer *w, emr_error *error)
{
    emr_status status = emr_writer_flush(w, error);
    for (size_t i = 0; !status && i < w->n_streams; i++)
        status = emr_writer_end(w, i, error);
    if (!status)
        status = index_streams(w, error);
    if (!status)
        status = write_padding(w, EMR_RAW_ALIGNMENT, error);
    if (status)
        return status;
    uint64_t size = 0;
    for (int kind = 1; kind < EMR_N_SECTIONS; kind++)
        size += EMR_SECTION_HEAD + emr_round_up(w->sections[kind].n, 8);
    uint8_t *index = emr_allocate_array(&w->allocator, 1, (size_t)size);
    if (!index)
        return no_memory(error);
    assemble(w, index);
    uint8_t p[EMR_TRAILER_SIZE] = {0};
    emr_store64(p, w->offset);
    emr_store64(p + 8, size);
    emr_store64(p + 16, emr_hash64(index, (size_t)size));
    emr_store64(p + 24, w->offset + size + EMR_TRAILER_SIZE);
    memcpy(p + 48, EMR_TRAILER_MAGIC, 8);
    seal(p);
    status = write_bytes(w, index, (size_t)size, error);
    emr_release(&w->allocator, index);
    return status ? status : write_bytes(w, p, sizeof p, error);
}

uint64_t emr_writer_memory(size_t slots, size_t workers, size_t slot_bytes, int compression)
{
    if (compression < 0)
        return 0;
    return (uint64_t)slots * slot_bytes +
           (uint64_t)workers * emr_encoder_memory(compression ? compression : 1, slot_bytes);
}

/* writer.c - see writer.h. */
#include "bundle/writer.h"

#include "bundle/codec.h"
#include "core/hash.h"

#include <string.h>

typedef struct growing {
    void *data;
    size_t n, capacity; /* bytes, or blocks */
} growing;

/* A block under way. */
typedef struct slot {
    const uint8_t *bytes;
    size_t n;
    size_t stream;
    emr_texture texture;
    uint8_t *packed; /* room for n bytes; NULL without compression */
    uint8_t *loose;  /* of an appended block: the memory of `bytes`; `packed` is its own as well */
    emr_block_record record;
} slot;

typedef struct batch {
    slot *slots;
    size_t n;
} batch;

enum { FILLING, ENCODING, WRITING, N_STATIONS };

typedef struct stream_state {
    emr_stream_record record;
    emr_texture texture;
    growing blocks; /* of emr_block_record */
    size_t n_saved; /* of them */
    uint8_t *pending;
    size_t n_pending;
} stream_state;

struct emr_writer {
    emr_allocator allocator;
    emr_io io;
    const emr_workers *workers;
    uint64_t offset;
    emr_writer_limits limits;
    emr_hasher written;   /* of everything up to `offset`, where limits.hashes */
    emr_hash128 restored; /* what it must be */
    batch batches[N_STATIONS];
    uint8_t *arenas[2]; /* what put blocks are compressed into: one batch's, and the one's before it */
    unsigned turn;      /* of the arenas */
    size_t put_bytes, n_loose;
    uint8_t *spare;         /* loose memory that nobody uses: a list through its first bytes */
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
    if (w->limits.hashes)
        emr_hasher_update(&w->written, bytes, n);
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

static bool compresses(const emr_writer *w)
{
    return w->limits.compression >= 0;
}

/* While one batch is compressed, the one before it is written. */
static size_t arena_count(const emr_writer_limits *limits)
{
    return limits->compression < 0 ? 0 : limits->overlap ? 2 : 1;
}

static size_t slot_count(const emr_writer_limits *limits)
{
    return limits->put_blocks + limits->loose_blocks;
}

emr_status emr_writer_create(emr_writer **writer, const emr_io *io, const emr_allocator *allocator,
                             const emr_workers *workers, const emr_writer_limits *limits, emr_error *error)
{
    emr_writer *w = emr_allocate_array(allocator, 1, sizeof *w);
    if (!w)
        return no_memory(error);
    w->allocator = *allocator;
    w->io = *io;
    w->workers = workers;
    w->limits = *limits;
    emr_hasher_init(&w->written);
    w->encoders = emr_allocate_array(allocator, w->workers->n, sizeof *w->encoders);
    bool there = w->encoders != NULL;
    for (size_t i = 0; there && i < N_STATIONS; i++)
        there =
            (w->batches[i].slots = emr_allocate_array(allocator, slot_count(limits), sizeof(slot))) != NULL;
    for (size_t i = 0; there && i < arena_count(limits); i++)
        there = (w->arenas[i] = emr_allocate(allocator, limits->put_bytes)) != NULL;
    for (size_t i = 0; there && compresses(w) && i < w->workers->n; i++)
        there = emr_encoder_create(&w->encoders[i], allocator, limits->compression ? limits->compression : 1,
                                   limits->loose_bytes) == EMR_OK;
    emr_status status = there ? write_header(w, error) : no_memory(error);
    if (status)
        emr_writer_destroy(&w);
    *writer = w;
    return status;
}

/* Memory for an appended block, or for its compressed form. */
static uint8_t *take_loose(emr_writer *w)
{
    uint8_t *p = w->spare;
    if (!p)
        return emr_allocate(&w->allocator, w->limits.loose_bytes);
    memcpy(&w->spare, p, sizeof w->spare);
    return p;
}

static void give_loose(emr_writer *w, uint8_t *p)
{
    memcpy(p, &w->spare, sizeof w->spare);
    w->spare = p;
}

static void empty_batch(emr_writer *w, batch *b)
{
    for (size_t i = 0; i < b->n; i++) {
        slot *s = &b->slots[i];
        if (!s->loose)
            continue;
        give_loose(w, s->loose);
        if (s->packed)
            give_loose(w, s->packed);
        w->n_loose--;
    }
    b->n = 0;
}

void emr_writer_destroy(emr_writer **writer)
{
    emr_writer *w = *writer;
    if (!w)
        return;
    emr_allocator allocator = w->allocator;
    for (size_t i = 0; i < N_STATIONS; i++) {
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
        emr_release(&allocator, take_loose(w));
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
    w->streams[w->n_streams] =
        (stream_state){.texture = texture,
                       .record = {.kind = kind,
                                  .owner = owner,
                                  .block_bytes = block_bytes,
                                  .flags = emr_is_growth_stream(kind) ? 0 : EMR_STREAM_REQUIRED}};
    return w->n_streams++;
}

static bool all_equal(const uint8_t *bytes, size_t n)
{
    return n > 0 && memcmp(bytes, bytes + 1, n - 1) == 0;
}

/* A mask that would shrink by less than this is stored as it is: the entropy of its bits is above 0.985. */
static bool is_lopsided(const slot *s)
{
    uint64_t ones = 0;
    for (size_t i = 0; i + 8 <= s->n; i += 8)
        ones += emr_popcount64(emr_load64(s->bytes + i));
    double density = (double)ones / ((double)s->n * 8);
    return density < 0.43 || density > 0.57;
}

/* Finds out what the bytes are, where that is not known, and whether they may shrink by more than 1/64: by
 * trying on a sample from the middle. */
static emr_status worth_encoding(emr_encoder *encoder, slot *s, bool *worth)
{
    static const emr_texture any[] = {EMR_TEXTURE_BYTES, EMR_TEXTURE_WORDS2, EMR_TEXTURE_WORDS4};
    enum { SMALL = 8192, SAMPLE = 4096, ANY = sizeof any / sizeof any[0] };
    bool unknown = s->texture == EMR_TEXTURE_UNKNOWN;
    const emr_texture known = s->texture, *tried = unknown ? any : &known;
    size_t n = s->n < SAMPLE ? s->n : SAMPLE, best = n - n / 64, size;
    emr_status status = EMR_OK;
    *worth = !unknown && (s->n <= SMALL || (s->texture == EMR_TEXTURE_BITS && is_lopsided(s)));
    if (*worth)
        return EMR_OK;
    for (size_t i = 0; !status && i < (unknown ? ANY : 1); i++) {
        if (tried[i] > EMR_TEXTURE_BYTES && s->n % tried[i])
            continue;
        status = emr_encode(encoder, s->packed, best, s->bytes + (s->n - n) / 2 / 8 * 8, n, tried[i], &size);
        if (size) {
            best = size;
            s->texture = tried[i];
            *worth = true;
        }
    }
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
        r->parameter = s->bytes[0];
        r->stored = 0;
    } else if (encoder) {
        status = worth_encoding(encoder, s, &worth);
        if (!status && worth)
            status = emr_encode(encoder, s->packed, s->n, s->bytes, s->n, s->texture, &size);
    }
    if (!status && size) {
        bool planes = s->texture > EMR_TEXTURE_BYTES;
        r->codec = planes ? EMR_CODEC_PLANES : EMR_CODEC_ZSTD;
        r->parameter = planes ? (uint8_t)s->texture : 0;
        r->stored = (uint32_t)size;
        stored = s->packed;
    }
    r->hash = emr_hash64(stored, r->stored);
    return status;
}

static bool is_packed(const emr_block_record *r)
{
    return r->codec == EMR_CODEC_ZSTD || r->codec == EMR_CODEC_PLANES;
}

/* Writes a block and notes its record, but for the place. */
static emr_status write_block(emr_writer *w, stream_state *st, emr_block_record r, const void *stored,
                              emr_error *error)
{
    emr_status status = EMR_OK;
    if (r.codec == EMR_CODEC_RAW)
        status = write_padding(w, EMR_RAW_ALIGNMENT, error);
    r.offset = w->offset;
    if (!status)
        status = write_bytes(w, stored, r.stored, error);
    if (status)
        return status;
    if (!emr_grow(&w->allocator, &st->blocks.data, &st->blocks.capacity, st->blocks.n + 1, sizeof r))
        return no_memory(error);
    ((emr_block_record *)st->blocks.data)[st->blocks.n++] = r;
    return EMR_OK;
}

static emr_status write_slot(emr_writer *w, const slot *s, emr_error *error)
{
    return write_block(w, &w->streams[s->stream], s->record, is_packed(&s->record) ? s->packed : s->bytes,
                       error);
}

emr_status emr_writer_copy(emr_writer *w, size_t stream, const emr_block_record *record, const void *stored,
                           size_t n, emr_error *error)
{
    w->streams[stream].record.bytes += n;
    return write_block(w, &w->streams[stream], *record, stored, error);
}

static emr_status write_batch(emr_writer *w, batch *b, emr_error *error)
{
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < b->n; i++)
        status = write_slot(w, &b->slots[i], error);
    return status;
}

/* Gives each block of the batch room for its compressed form. */
static void share_out_room(emr_writer *w, batch *b)
{
    w->turn = w->limits.overlap ? !w->turn : 0;
    uint8_t *room = w->arenas[w->turn];
    for (size_t i = 0; i < b->n; i++) {
        slot *s = &b->slots[i];
        if (s->loose)
            continue;
        s->packed = room;
        room += s->n;
    }
}

size_t emr_writer_begin(emr_writer *w)
{
    batch *all = w->batches, written = all[WRITING];
    empty_batch(w, &written);
    all[WRITING] = all[ENCODING];
    all[ENCODING] = all[FILLING];
    all[FILLING] = written;
    w->put_bytes = 0;
    if (compresses(w))
        share_out_room(w, &all[ENCODING]);
    return (all[WRITING].n > 0) + all[ENCODING].n;
}

emr_status emr_writer_job(emr_writer *w, size_t job, size_t worker, emr_error *error)
{
    size_t writing = w->batches[WRITING].n > 0;
    if (job < writing)
        return write_batch(w, &w->batches[WRITING], error);
    slot *s = &w->batches[ENCODING].slots[job - writing];
    return encode_slot(w->encoders[worker], s) ? no_memory(error) : EMR_OK;
}

static emr_status run_job(void *context, size_t job, size_t worker, emr_error *error)
{
    return emr_writer_job(context, job, worker, error);
}

emr_status emr_writer_flush(emr_writer *w, emr_error *error)
{
    emr_status status = EMR_OK;
    while (!status && (w->batches[FILLING].n || w->batches[ENCODING].n))
        status = emr_work(w->workers, emr_writer_begin(w), run_job, w, error);
    if (!status)
        empty_batch(w, &w->batches[WRITING]);
    return status;
}

static void put(emr_writer *w, const slot *s)
{
    batch *b = &w->batches[FILLING];
    b->slots[b->n] = *s;
    b->slots[b->n++].texture = w->streams[s->stream].texture;
    w->streams[s->stream].record.bytes += s->n;
}

emr_status emr_writer_put(emr_writer *w, size_t stream, const void *bytes, size_t n, emr_error *error)
{
    bool full = w->put_bytes + n > w->limits.put_bytes || w->batches[FILLING].n == slot_count(&w->limits);
    emr_status status = full ? emr_writer_flush(w, error) : EMR_OK;
    if (status)
        return status;
    w->put_bytes += n;
    put(w, &(slot){.bytes = bytes, .n = n, .stream = stream});
    return EMR_OK;
}

/* Puts a stream's pending bytes, whose memory goes with them. */
static emr_status put_pending(emr_writer *w, stream_state *s, emr_error *error)
{
    bool full = w->n_loose == w->limits.loose_blocks || w->batches[FILLING].n == slot_count(&w->limits);
    emr_status status = full ? emr_writer_flush(w, error) : EMR_OK;
    if (status)
        return status;
    uint8_t *packed = NULL;
    if (compresses(w) && !(packed = take_loose(w)))
        return no_memory(error);
    s->record.bytes -= s->n_pending; /* put counts them */
    put(w, &(slot){.bytes = s->pending,
                   .n = s->n_pending,
                   .stream = (size_t)(s - w->streams),
                   .packed = packed,
                   .loose = s->pending});
    s->pending = NULL;
    s->n_pending = 0;
    w->n_loose++;
    return EMR_OK;
}

emr_status emr_writer_append(emr_writer *w, size_t stream_number, const void *bytes, size_t n,
                             emr_error *error)
{
    stream_state *s = &w->streams[stream_number];
    const uint8_t *from = bytes;
    while (n) {
        if (!s->pending && !(s->pending = take_loose(w)))
            return no_memory(error);
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
    return s->n_pending ? put_pending(w, s, error) : EMR_OK;
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

void emr_writer_save(const emr_writer *w, emr_put_fn put_bytes, void *context)
{
    emr_hash128 hash = emr_hasher_digest(&w->written);
    put_bytes(context, &w->offset, sizeof w->offset);
    put_bytes(context, &hash, sizeof hash);
    for (size_t i = 0; i < w->n_streams; i++) {
        const stream_state *s = &w->streams[i];
        uint64_t counts[3] = {s->record.bytes, s->blocks.n - s->n_saved, s->n_pending};
        put_bytes(context, counts, sizeof counts);
        if (counts[1])
            put_bytes(context, (emr_block_record *)s->blocks.data + s->n_saved,
                      (s->blocks.n - s->n_saved) * sizeof(emr_block_record));
        if (s->n_pending)
            put_bytes(context, s->pending, s->n_pending);
    }
}

void emr_writer_saved(emr_writer *w)
{
    for (size_t i = 0; i < w->n_streams; i++)
        w->streams[i].n_saved = w->streams[i].blocks.n;
}

/* Memory is taken as records come, not as many as are said to come. */
static emr_status restore_blocks(emr_writer *w, growing *blocks, uint64_t n, emr_get_fn get, void *context,
                                 emr_error *error)
{
    enum { SOME = 256 };
    emr_status status = EMR_OK;
    while (!status && n) {
        size_t some = (size_t)emr_min(n, SOME);
        if (!emr_grow(&w->allocator, &blocks->data, &blocks->capacity, blocks->n + some,
                      sizeof(emr_block_record)))
            return no_memory(error);
        status = get(context, (emr_block_record *)blocks->data + blocks->n, some * sizeof(emr_block_record),
                     error);
        blocks->n += some;
        n -= some;
    }
    return status;
}

static emr_status restore_stream(emr_writer *w, stream_state *s, emr_get_fn get, void *context,
                                 emr_error *error)
{
    uint64_t counts[3];
    emr_status status = get(context, counts, sizeof counts, error);
    if (!status && (counts[2] > counts[0] || (counts[2] && counts[2] >= s->record.block_bytes)))
        status = emr_fail(error, EMR_EFORMAT, "the journal is not this merge's");
    if (!status)
        status = restore_blocks(w, &s->blocks, counts[1], get, context, error);
    if (status)
        return status;
    s->record.bytes = counts[0];
    s->n_saved = s->blocks.n;
    s->n_pending = (size_t)counts[2];
    if (s->n_pending && !s->pending && !(s->pending = take_loose(w)))
        return no_memory(error);
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

emr_status emr_writer_check(emr_writer *w, bool *right, emr_error *error)
{
    uint64_t length;
    size_t room = w->limits.loose_bytes;
    uint8_t *stored = emr_allocate(&w->allocator, room);
    if (!stored)
        return no_memory(error);
    emr_hasher_init(&w->written);
    *right = w->io.length(w->io.user, &length) == 0 && length >= w->offset;
    for (uint64_t at = 0; *right && at < w->offset; at += room) {
        size_t n = (size_t)emr_min(room, w->offset - at);
        *right = w->io.read(w->io.user, at, stored, n) == 0;
        if (*right)
            emr_hasher_update(&w->written, stored, n);
    }
    emr_hash128 hash = emr_hasher_digest(&w->written);
    *right = *right && hash.low == w->restored.low && hash.high == w->restored.high;
    emr_release(&w->allocator, stored);
    return EMR_OK;
}

/* The sections that the writer itself knows: streams and their blocks. */
static emr_status index_streams(emr_writer *w, emr_error *error)
{
    uint64_t n_blocks = 0;
    for (size_t i = 0; i < w->n_streams; i++) {
        stream_state *s = &w->streams[i];
        s->record.first_block = n_blocks;
        n_blocks += s->blocks.n;
        uint8_t *p = emr_writer_record(w, EMR_SECTION_STREAMS, EMR_STREAM_SIZE);
        if (!p)
            return no_memory(error);
        emr_encode_stream(p, &s->record);
    }
    /* at once: growing by doubling would hold it three times for a moment */
    uint8_t *p = emr_writer_record(w, EMR_SECTION_BLOCKS, (size_t)n_blocks * EMR_BLOCK_SIZE);
    if (!p)
        return no_memory(error);
    for (size_t i = 0; i < w->n_streams; i++) {
        stream_state *s = &w->streams[i];
        for (size_t k = 0; k < s->blocks.n; k++, p += EMR_BLOCK_SIZE)
            emr_encode_block(p, &((emr_block_record *)s->blocks.data)[k]);
        emr_release(&w->allocator, s->blocks.data);
        s->blocks = (growing){0};
    }
    return EMR_OK;
}

static bool is_left_out(const emr_writer *w, uint32_t kind)
{
    return kind == EMR_SECTION_GROWTH && w->sections[kind].n == 0;
}

/* One section: its head, its bytes, zeros up to a multiple of 8. */
static void assemble(const emr_writer *w, uint8_t *index)
{
    for (uint32_t kind = 1; kind < EMR_N_SECTIONS; kind++) {
        const growing *g = &w->sections[kind];
        if (is_left_out(w, kind))
            continue;
        emr_store32(index, kind);
        emr_store32(index + 4, kind == EMR_SECTION_GROWTH ? 0 : EMR_SECTION_REQUIRED);
        emr_store64(index + 8, g->n);
        index += EMR_SECTION_HEAD;
        if (g->n)
            memcpy(index, g->data, g->n);
        index += emr_round_up(g->n, 8);
    }
}

emr_status emr_writer_finish(emr_writer *w, emr_error *error)
{
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < w->n_streams; i++)
        status = emr_writer_end(w, i, error);
    if (!status)
        status = emr_writer_flush(w, error);
    if (!status)
        status = index_streams(w, error);
    if (!status)
        status = write_padding(w, EMR_RAW_ALIGNMENT, error);
    if (status)
        return status;
    uint64_t size = 0;
    for (uint32_t kind = 1; kind < EMR_N_SECTIONS; kind++)
        size += is_left_out(w, kind) ? 0 : EMR_SECTION_HEAD + emr_round_up(w->sections[kind].n, 8);
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
    if (!status)
        status = write_bytes(w, p, sizeof p, error);
    if (!status && w->io.sync && w->io.sync(w->io.user))
        status = emr_fail(error, EMR_EIO, "writing the bundle failed: it could not be made durable");
    return status;
}

uint64_t emr_writer_memory(const emr_writer_limits *l, size_t workers)
{
    uint64_t loose = (uint64_t)l->loose_blocks * l->loose_bytes;
    uint64_t slots = N_STATIONS * (uint64_t)slot_count(l) * sizeof(slot);
    if (l->compression < 0)
        return slots + loose;
    return slots + 2 * loose + arena_count(l) * (uint64_t)l->put_bytes +
           workers * (uint64_t)emr_encoder_memory(l->compression ? l->compression : 1, l->loose_bytes);
}

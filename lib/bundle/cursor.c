/* cursor.c - decoded blocks of a stream, each verified when it is reached. Freestanding. */
#include "bundle/bundle.h"

#include "core/hash.h"

#include <string.h>

/* Fails with a sentence that says which stream, task and block; `why` may be NULL. */
static emr_status fail_block(const emr_bundle *b, const emr_stream_record *s, uint64_t block,
                             emr_status status, const char *what, const emr_error *why, emr_error *error)
{
    static const emr_error nothing = {.text = ""};
    const emr_stream_rule *rule = emr_stream_rule_of(s->kind);
    const char *kind = rule ? rule->name : "unknown";
    why = why ? why : &nothing;
    if (s->owner == EMR_BASE)
        return emr_fail_because(error, status, why, "%F: block %u of the %s stream: %s", b->name, block, kind,
                                what);
    return emr_fail_because(error, status, why, "%F: task '%K': block %u of its %s stream: %s", b->name,
                            emr_bundle_task_name(b, s->owner), block, kind, what);
}

emr_status emr_cursor_open(emr_cursor *c, const emr_bundle *bundle, size_t stream,
                           const emr_allocator *allocator, emr_error *error)
{
    *c = (emr_cursor){.bundle = bundle, .allocator = *allocator, .block = UINT64_MAX};
    if (stream == EMR_NO_STREAM) /* holds nothing; reading from it is refused */
        return EMR_OK;
    c->stream = emr_bundle_stream_record(bundle, stream);
    size_t length = (size_t)emr_min(c->stream.block_bytes, c->stream.bytes);
    c->buffer = emr_allocate(allocator, length);
    c->packed = emr_allocate(allocator, length);
    if (!c->buffer || !c->packed || emr_decoder_create(&c->decoder, allocator)) {
        emr_cursor_close(c);
        return emr_no_memory(error, bundle->name);
    }
    return EMR_OK;
}

uint64_t emr_cursor_memory(const emr_stream_record *s)
{
    return 2 * emr_min(s->block_bytes, s->bytes) + emr_decoder_memory();
}

static void unmap_window(emr_cursor *c)
{
    emr_io_unmap(&c->bundle->io, c->window, c->window_size);
    c->window = NULL;
}

void emr_cursor_close(emr_cursor *c)
{
    if (!c->bundle)
        return;
    unmap_window(c);
    emr_release(&c->allocator, c->buffer);
    emr_release(&c->allocator, c->packed);
    emr_decoder_destroy(c->decoder);
    *c = (emr_cursor){0};
}

/* The block's stored bytes: a mapped window where they are raw and the I/O offers one, else read into `into`.
 */
static emr_status fetch_block(const emr_io *io, const emr_block_record *r, uint8_t *into,
                              const uint8_t **stored, emr_error *why)
{
    *stored = into;
    if (!io->map || r->codec != EMR_CODEC_RAW)
        return emr_io_read(io, r->offset, into, r->stored, why);
    const void *window = NULL;
    emr_status status = emr_io_map(io, r->offset, r->stored, &window, why);
    *stored = window;
    return status;
}

static const char *why_not_decoded(emr_status status)
{
    return status == EMR_EUNSUPPORTED ? "it is compressed, and this build has no zstd"
           : status == EMR_ENOMEM     ? "out of memory"
                                      : "its zstd frame cannot be decoded";
}

emr_status emr_block_read(const emr_bundle *b, const emr_stream_record *s, uint64_t block,
                          emr_decoder *decoder, uint8_t *packed, uint8_t *into, const uint8_t **data,
                          emr_error *error)
{
    emr_block_record r = emr_bundle_block_record(b, (size_t)(s->first_block + block));
    size_t length = emr_stream_block_length(s, block);
    const uint8_t *stored;
    *data = into;
    if (r.codec == EMR_CODEC_FILL) {
        memset(into, r.parameter, length);
        return EMR_OK;
    }
    emr_error why;
    emr_status status = fetch_block(&b->io, &r, r.codec == EMR_CODEC_ZSTD ? packed : into, &stored, &why);
    if (status)
        return fail_block(b, s, block, status, "reading it failed", &why, error);
    if (emr_hash64(stored, r.stored) != r.hash) {
        if (stored != into && stored != packed)
            emr_io_unmap(&b->io, stored, r.stored);
        return fail_block(b, s, block, EMR_ECORRUPT, "its checksum differs, the file is damaged", NULL,
                          error);
    }
    if (r.codec == EMR_CODEC_RAW) {
        *data = stored;
        return EMR_OK;
    }
    /* planes: from `into`, where the stored bytes are, by way of `packed` back into it */
    status = r.codec == EMR_CODEC_ZSTD
                 ? emr_decode(decoder, into, length, 1, stored, r.stored, NULL)
                 : emr_decode(decoder, into, length, r.parameter, into, r.stored, packed);
    return status ? fail_block(b, s, block, status, why_not_decoded(status), NULL, error) : EMR_OK;
}

static emr_status load_block(emr_cursor *c, uint64_t block, emr_error *error)
{
    c->block = UINT64_MAX;
    unmap_window(c);
    emr_status status =
        emr_block_read(c->bundle, &c->stream, block, c->decoder, c->packed, c->buffer, &c->data, error);
    if (status)
        return status;
    if (c->data != c->buffer) {
        c->window = c->data;
        c->window_size = emr_stream_block_length(&c->stream, block);
    }
    c->block = block;
    return EMR_OK;
}

emr_status emr_cursor_at(emr_cursor *c, uint64_t offset, const uint8_t **bytes, size_t *available,
                         emr_error *error)
{
    if (offset >= c->stream.bytes)
        return emr_fail(error, EMR_ECORRUPT, "%F: byte %u lies outside of its stream", c->bundle->name,
                        offset);
    uint64_t block = offset / c->stream.block_bytes;
    if (block != c->block) {
        emr_status status = load_block(c, block, error);
        if (status)
            return status;
    }
    size_t within = (size_t)(offset % c->stream.block_bytes);
    *bytes = c->data + within;
    *available = emr_stream_block_length(&c->stream, block) - within;
    return EMR_OK;
}

emr_status emr_cursor_read(emr_cursor *c, uint64_t offset, void *destination, size_t n, emr_error *error)
{
    uint8_t *to = destination;
    while (n) {
        const uint8_t *bytes = NULL;
        size_t available = 0;
        emr_status status = emr_cursor_at(c, offset, &bytes, &available, error);
        if (status)
            return status;
        available = available < n ? available : n;
        memcpy(to, bytes, available);
        to += available;
        offset += available;
        n -= available;
    }
    return EMR_OK;
}

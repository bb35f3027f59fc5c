/* writer_index.c - the end of a bundle: the records that callers and the writer itself have for the index,
 * the sections made of them, the trailer. */
#include "bundle/writer_state.h"

#include <string.h>

uint8_t *emr_writer_record(emr_writer *w, enum emr_section_kind kind, size_t size)
{
    emr_writer_array *a = &w->sections[kind];
    if (!emr_grow(&w->allocator, &a->data, &a->capacity, a->n + size + 1,
                  1)) /* never NULL, even for size 0 */
        return NULL;
    a->n += size;
    return (uint8_t *)a->data + a->n - size;
}

/* `marks`: letters before the text, at most one. */
static uint32_t put_marked_string(emr_writer *w, const char *letter, size_t marks, const char *text)
{
    size_t at = w->sections[EMR_SECTION_STRINGS].n, n = strlen(text) + 1;
    if (n + marks > UINT32_MAX - at)
        return UINT32_MAX;
    uint8_t *p = emr_writer_record(w, EMR_SECTION_STRINGS, marks + n);
    if (!p)
        return UINT32_MAX;
    memcpy(p, letter, marks);
    memcpy(p + marks, text, n);
    return (uint32_t)at;
}

uint32_t emr_writer_string(emr_writer *w, const char *text)
{
    return put_marked_string(w, "", 0, text);
}

uint32_t emr_writer_marked_string(emr_writer *w, char letter, const char *text)
{
    return put_marked_string(w, &letter, 1, text);
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

/* Streams share out the block table in their order. */
static emr_status index_streams(emr_writer *w, uint64_t *n_blocks, emr_error *error)
{
    *n_blocks = 0;
    for (size_t i = 0; i < w->n_streams; i++) {
        emr_writer_stream_state *s = &w->streams[i];
        uint8_t *p = emr_writer_record(w, EMR_SECTION_STREAMS, EMR_STREAM_SIZE);
        if (!p)
            return emr_no_memory(error, NULL);
        s->record.first_block = *n_blocks;
        *n_blocks += s->blocks.n;
        emr_encode_stream(p, &s->record);
    }
    return EMR_OK;
}

static emr_status index_blocks(emr_writer *w, uint64_t n_blocks, emr_error *error)
{
    /* at once: growing by doubling would hold it three times for a moment */
    uint8_t *p = emr_writer_record(w, EMR_SECTION_BLOCKS, (size_t)n_blocks * EMR_BLOCK_SIZE);
    if (!p)
        return emr_no_memory(error, NULL);
    for (size_t i = 0; i < w->n_streams; i++) {
        emr_writer_array *blocks = &w->streams[i].blocks;
        for (size_t k = 0; k < blocks->n; k++, p += EMR_BLOCK_SIZE)
            emr_encode_block(p, &((const emr_block_record *)blocks->data)[k]);
        emr_release(&w->allocator, blocks->data);
        *blocks = (emr_writer_array){.data = NULL};
    }
    return EMR_OK;
}

/* Whether readers that do not know a section must refuse the bundle. */
static bool is_required(const emr_writer *w, uint32_t kind)
{
    return kind != EMR_SECTION_GROWTH &&
           (kind != EMR_SECTION_MODULATORS || w->limits.features & EMR_FEATURE_KINDS);
}

static bool is_left_out(const emr_writer *w, uint32_t kind)
{
    return kind >= EMR_SECTION_GROWTH && w->sections[kind].n == 0;
}

static uint64_t index_size(const emr_writer *w)
{
    uint64_t size = 0;
    for (uint32_t kind = 1; kind < EMR_N_SECTIONS; kind++)
        size += is_left_out(w, kind) ? 0 : EMR_SECTION_HEAD + emr_round_up(w->sections[kind].n, 8);
    return size;
}

/* Section by section: its head, its bytes, zeros up to a multiple of 8. */
static void assemble_index(const emr_writer *w, uint8_t *index)
{
    for (uint32_t kind = 1; kind < EMR_N_SECTIONS; kind++) {
        const emr_writer_array *a = &w->sections[kind];
        if (is_left_out(w, kind))
            continue;
        emr_store32(index, kind);
        emr_store32(index + 4, is_required(w, kind) ? EMR_SECTION_REQUIRED : 0);
        emr_store64(index + 8, a->n);
        index += EMR_SECTION_HEAD;
        if (a->n)
            memcpy(index, a->data, a->n);
        index += emr_round_up(a->n, 8);
    }
}

static emr_status write_bundle_index(emr_writer *w, emr_error *error)
{
    uint8_t trailer[EMR_TRAILER_SIZE] = {0};
    uint64_t size = index_size(w);
    uint8_t *index = emr_allocate_array(&w->allocator, 1, (size_t)size);
    if (!index)
        return emr_no_memory(error, NULL);
    assemble_index(w, index);
    emr_store64(trailer, w->offset);
    emr_store64(trailer + 8, size);
    emr_store64(trailer + 16, emr_hash64(index, (size_t)size));
    emr_store64(trailer + 24, w->offset + size + EMR_TRAILER_SIZE);
    memcpy(trailer + 48, EMR_TRAILER_MAGIC, 8);
    emr_set_seal(trailer);
    emr_status status = emr_writer_write(w, index, (size_t)size, error);
    emr_release(&w->allocator, index);
    return status ? status : emr_writer_write(w, trailer, sizeof trailer, error);
}

emr_status emr_writer_finish(emr_writer *w, emr_error *error)
{
    uint64_t n_blocks = 0;
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < w->n_streams; i++)
        status = emr_writer_end(w, i, error);
    if (!status)
        status = emr_writer_flush(w, error);
    if (!status)
        status = index_streams(w, &n_blocks, error);
    if (!status)
        status = index_blocks(w, n_blocks, error);
    if (!status)
        status = emr_writer_pad(w, EMR_RAW_ALIGNMENT, error);
    if (!status)
        status = write_bundle_index(w, error);
    if (status)
        return status;
    emr_error why;
    status = emr_io_sync(&w->io, &why);
    return status ? emr_fail_because(error, status, &why, "the bundle could not be made durable") : EMR_OK;
}

/* subset_report.c - what a merge without the tasks that go would do otherwise: unified values counted by who
 * has them in a mask. Tasks without masks have no part in it. */
#include "bundle/subset.h"

#include <string.h>

/* Whether [first, first + n) of a stream is one byte, over and over, as the block table tells. */
static bool is_filled(const emr_bundle *b, size_t stream, uint64_t first, uint64_t n, uint8_t *byte)
{
    emr_stream_record s = emr_bundle_stream_record(b, stream);
    for (uint64_t k = first / s.block_bytes; k * s.block_bytes < first + n; k++) {
        emr_block_record r = emr_bundle_block_record(b, (size_t)(s.first_block + k));
        if (r.codec != EMR_CODEC_FILL || (k > first / s.block_bytes && r.parameter != *byte))
            return false;
        *byte = r.parameter;
    }
    return true;
}

static uint64_t count_nonzero(const uint8_t *values, size_t n, unsigned size)
{
    uint64_t count = 0;
    for (size_t i = 0; i < n; i++) /* but for the sign */
        count += size == 4 ? (emr_load32(values + 4 * i) & 0x7fffffff) != 0
                           : (emr_load16(values + 2 * i) & 0x7fff) != 0;
    return count;
}

static emr_status count_unified(emr_subset *s, emr_error *error)
{
    const emr_bundle *b = s->bundle;
    size_t stream = b->base_streams[EMR_STREAM_UNIFIED], n;
    unsigned size = b->summary.unified_dtype == EMR_DTYPE_F32 ? 4 : 2;
    emr_cursor c;
    emr_status status = emr_cursor_open(&c, b, stream, &s->env.allocator, error);
    for (uint64_t at = 0; !status && at < c.stream.bytes; at += n) {
        const uint8_t *values;
        uint8_t byte = 0;
        n = emr_stream_block_length(&c.stream, at / c.stream.block_bytes);
        if (is_filled(b, stream, at, n, &byte))
            s->report.unified += byte ? n / size : 0;
        else if ((status = emr_cursor_at(&c, at, &values, &n, error)) == EMR_OK)
            s->report.unified += count_nonzero(values, n / size, size);
        if (!status)
            status = emr_subset_advance(s, emr_subset_stored(b, stream, at, n), error);
    }
    emr_cursor_close(&c);
    return status;
}

/* Where the masks of the tasks that go, and of those that stay, are laid over one another. */
typedef struct mask_unions {
    emr_cursor cursor; /* of one mask after the other */
    uint8_t *gone, *left;
    size_t n; /* bytes of each: the largest block of a mask, so that none is decoded twice */
} mask_unions;

static emr_status unite_mask(mask_unions *u, size_t stream, uint64_t first, size_t n, uint8_t *all,
                             emr_error *error)
{
    emr_status status = EMR_OK;
    size_t available;
    u->cursor.stream = emr_bundle_stream_record(u->cursor.bundle, stream);
    u->cursor.block = UINT64_MAX;
    for (size_t at = 0; !status && at < n; at += available) {
        const uint8_t *mask;
        status = emr_cursor_at(&u->cursor, first + at, &mask, &available, error);
        if (status)
            return status;
        available = (size_t)emr_min(available, n - at);
        for (size_t i = 0; i < available; i++)
            all[at + i] |= mask[i];
    }
    return status;
}

static void count_united_bits(emr_subset *s, uint64_t gone, uint64_t left, uint64_t times)
{
    s->report.alone += emr_popcount64(gone & ~left) * times;
    s->report.shared += emr_popcount64(gone & left) * times;
}

/* [first, first + n) of all masks, where it is needed bit by bit. */
static emr_status count_stretch(emr_subset *s, mask_unions *u, uint64_t first, size_t n, emr_error *error)
{
    const emr_bundle *b = s->bundle;
    emr_status status = EMR_OK;
    memset(u->gone, 0, n);
    memset(u->left, 0, n);
    for (uint32_t t = 0; !status && t < b->summary.n_tasks; t++) {
        size_t stream = b->task_streams[EMR_STREAM_MASK][t];
        if (!emr_bundle_kind(b, t)->has_unified)
            continue;
        status = unite_mask(u, stream, first, n, s->stays[t] ? u->left : u->gone, error);
        if (!status)
            status = emr_subset_advance(s, emr_subset_stored(b, stream, first, n), error);
    }
    for (size_t i = 0; !status && i < n; i += 8)
        count_united_bits(s, emr_load64(u->gone + i), emr_load64(u->left + i), 1);
    return status;
}

static emr_status count_masks(emr_subset *s, mask_unions *u, emr_error *error)
{
    const emr_bundle *b = s->bundle;
    uint64_t bytes = b->summary.flat_params / 8, first = 0;
    emr_status status = EMR_OK;
    for (size_t n; !status && first < bytes; first += n) {
        uint8_t byte = 0, united[2] = {0, 0}; /* of those that go, and that stay */
        bool filled = true;
        n = (size_t)emr_min(u->n, bytes - first);
        for (uint32_t t = 0; filled && t < b->summary.n_tasks; t++) {
            if (!emr_bundle_kind(b, t)->has_unified)
                continue;
            filled = is_filled(b, b->task_streams[EMR_STREAM_MASK][t], first, n, &byte);
            united[s->stays[t]] |= filled ? byte : 0;
        }
        if (filled) {
            count_united_bits(s, united[false], united[true], n);
            status = emr_subset_advance(s, 0, error);
        } else {
            status = count_stretch(s, u, first, n, error);
        }
    }
    return status;
}

/* The mask stream with the largest blocks. */
static size_t coarsest_mask(const emr_bundle *b, size_t *block_bytes)
{
    size_t coarsest = EMR_NO_STREAM;
    *block_bytes = 0;
    for (uint32_t t = 0; t < b->summary.n_tasks; t++) {
        if (!emr_bundle_kind(b, t)->has_unified)
            continue;
        emr_stream_record s = emr_bundle_stream_record(b, b->task_streams[EMR_STREAM_MASK][t]);
        if (s.block_bytes <= *block_bytes)
            continue;
        coarsest = b->task_streams[EMR_STREAM_MASK][t];
        *block_bytes = s.block_bytes;
    }
    return coarsest;
}

emr_status emr_subset_count(emr_subset *s, emr_error *error)
{
    const emr_bundle *b = s->bundle;
    mask_unions u = {.gone = NULL};
    if (b->summary.flat_params == 0 || !emr_bundle_n_elected(b)) /* the streams may be absent */
        return EMR_OK;
    size_t coarsest = coarsest_mask(b, &u.n);
    emr_status status = count_unified(s, error);
    if (!status)
        status = emr_cursor_open(&u.cursor, b, coarsest, &s->env.allocator, error);
    u.n = (size_t)emr_min(u.n, b->summary.flat_params / 8);
    u.gone = emr_allocate(&s->env.allocator, u.n);
    u.left = emr_allocate(&s->env.allocator, u.n);
    if (!status)
        status = u.gone && u.left ? count_masks(s, &u, error) : emr_no_memory(error, b->name);
    emr_cursor_close(&u.cursor);
    emr_release(&s->env.allocator, u.gone);
    emr_release(&s->env.allocator, u.left);
    return status;
}

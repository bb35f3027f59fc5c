/* needs.c - see needs.h. Freestanding. */
#include "session/needs.h"

#include "model/arranged.h"

enum {
    VIEW_BYTES = 1 << 10, /* what one thread takes that reads an embedded base, beside decoder and blocks */
};

static size_t larger_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

static size_t longest_block(const emr_stream_record *s)
{
    return (size_t)emr_min(s->block_bytes, s->bytes);
}

static uint64_t first_group(const emr_bundle *b, const emr_tensor_record *r, uint32_t tensor)
{
    return b->summary.rescale_per == EMR_PER_ROW_BYTE      ? r->first_row
           : b->summary.rescale_per == EMR_PER_TENSOR_BYTE ? tensor
                                                           : 0;
}

/* Finds the base's tensor, and whether it must be read. */
static emr_status measure_base_tensor(emr_session_shared *s, uint32_t i, emr_session_needs *n,
                                      emr_error *error)
{
    const emr_tensor *t;
    emr_status status = emr_bundle_base_tensor(s->bundle, s->base, i, s->any_float, &t, error);
    if (status)
        return status;
    if (t->kind == EMR_TENSOR_PUSHED)
        return emr_fail(error, EMR_ESTATE,
                        "%F: tensor '%T' has no bytes: a session needs a base that can be read",
                        s->base->name, t->name);
    s->tensors[i].base = t->data;
    s->tensors[i].blocks = emr_session_blocks(t);
    s->tensors[i].dtype = t->dtype;
    if (!emr_session_has_base(t) && !emr_session_maps_base(t))
        n->base += emr_round_up(emr_session_base_bytes(&s->tensors[i]), EMR_ALIGNMENT);
    return EMR_OK;
}

static emr_status measure_tensor(emr_session_shared *s, uint32_t i, emr_session_needs *n, emr_error *error)
{
    const emr_bundle *b = s->bundle;
    emr_tensor_record r = emr_bundle_tensor_record(b, i);
    uint64_t count = emr_bundle_count(b, &r);
    uint64_t rows = emr_shape_rows(r.rank, emr_bundle_shape(b, r.shape));
    s->tensors[i] =
        (emr_session_tensor){.first_param = r.first_param,
                             .count = count,
                             .n_rows = rows,
                             .n_columns = rows ? count / rows : 0,
                             .first_group = first_group(b, &r, i),
                             .first_row = r.first_row,
                             .first_place = r.first_place,
                             .is_vector = emr_is_vector(r.rank, emr_bundle_shape(b, r.shape)),
                             .has_columns = emr_matrix_columns(r.rank, emr_bundle_shape(b, r.shape)) > 0,
                             .dtype = r.dtype};
    return s->base ? measure_base_tensor(s, i, n, error) : EMR_OK;
}

static void measure_own_base(const emr_session_shared *s, emr_session_needs *n)
{
    const emr_bundle *b = s->bundle;
    if (!s->own_base || b->base_streams[EMR_STREAM_BASE] == EMR_NO_STREAM)
        return;
    emr_stream_record stream = emr_bundle_stream_record(b, b->base_streams[EMR_STREAM_BASE]);
    n->tables += emr_bundle_base_memory(b);
    n->packed_bytes = larger_size(n->packed_bytes, longest_block(&stream));
    n->stored_bytes = larger_size(n->stored_bytes, longest_block(&stream));
    n->base_reader = VIEW_BYTES + EMR_DECODER_BYTES + 2 * longest_block(&stream);
}

static void measure_arranged_base(const emr_session_shared *s, emr_session_needs *n)
{
    if (!s->arranged_base)
        return;
    n->tables += emr_arranged_memory(s->arranged_base);
    n->scratch_bytes = s->arranged_base->options.scratch_bytes;
    n->base_reader = n->scratch_bytes;
}

static void measure_unified(emr_session_shared *s, emr_session_needs *n)
{
    const emr_bundle *b = s->bundle;
    s->unified.block_bytes = 1; /* of a stream that is not there */
    if (b->base_streams[EMR_STREAM_UNIFIED] != EMR_NO_STREAM)
        s->unified = emr_bundle_stream_record(b, b->base_streams[EMR_STREAM_UNIFIED]);
    uint64_t n_blocks = emr_stream_blocks(&s->unified);
    n->tables += n_blocks * sizeof *s->unified_blocks;
    n->packed_bytes = larger_size(n->packed_bytes, longest_block(&s->unified));
    n->fill_bytes = larger_size(n->fill_bytes, longest_block(&s->unified));
    for (uint64_t i = 0; i < n_blocks; i++) {
        emr_block_record r = emr_bundle_block_record(b, (size_t)(s->unified.first_block + i));
        if (emr_session_needs_copy(b, &r))
            n->unified += emr_round_up(emr_stream_block_length(&s->unified, i), EMR_ALIGNMENT);
    }
}

/* What reading a stream takes for a while, which may be absent. Returns the stream's bytes. */
static uint64_t measure_reader(const emr_bundle *b, size_t stream, emr_session_needs *n)
{
    if (stream == EMR_NO_STREAM)
        return 0;
    emr_stream_record record = emr_bundle_stream_record(b, stream);
    n->reader = larger_size(n->reader, EMR_DECODER_BYTES + 2 * longest_block(&record));
    return record.bytes;
}

/* Scales, and what a task without unified values has of columns and vectors. */
static void measure_scales(const emr_bundle *b, uint32_t task, emr_session_needs *n)
{
    const emr_kind *kind = emr_bundle_kind(b, task);
    for (size_t part = 0; part < EMR_SESSION_PARTS; part++)
        n->scales += measure_reader(b, emr_session_part_of(b, task, part), n);
    if (!kind->has_unified)
        return;
    n->scales += emr_session_n_groups(b) * kind->n_scales * sizeof(float);
    measure_reader(b, b->task_streams[EMR_STREAM_ROW_RESCALERS][task], n);
}

static void measure_private(const emr_bundle *b, uint32_t task, emr_session_needs *n)
{
    size_t private = b->task_streams[EMR_STREAM_PRIVATE][task];
    n->tables += emr_names_memory(b->first_private[task + 1] - b->first_private[task]);
    if (private == EMR_NO_STREAM)
        return;
    emr_stream_record stream = emr_bundle_stream_record(b, private);
    n->stored_bytes = larger_size(n->stored_bytes, longest_block(&stream));
    n->packed_bytes = larger_size(n->packed_bytes, longest_block(&stream));
}

/* Returns how many blocks there are. */
static uint64_t measure_codes(const emr_bundle *b, uint32_t task, emr_session_needs *n)
{
    if (emr_session_codes_of(b, task) == EMR_NO_STREAM)
        return 0;
    emr_stream_record stream = emr_session_code_stream(b, task);
    uint64_t n_blocks = emr_stream_blocks(&stream);
    n->n_code_blocks += n_blocks;
    n->slot_bytes = larger_size(n->slot_bytes, (size_t)emr_round_up(longest_block(&stream), EMR_ALIGNMENT));
    n->packed_bytes = larger_size(n->packed_bytes, longest_block(&stream));
    n->fill_bytes = larger_size(n->fill_bytes, longest_block(&stream));
    for (uint64_t i = 0; i < n_blocks; i++) {
        emr_block_record r = emr_bundle_block_record(b, (size_t)(stream.first_block + i));
        n->n_code_slots += emr_session_needs_slot(b, &r);
    }
    return n_blocks;
}

emr_status emr_session_measure(emr_session_shared *s, size_t *first_block, emr_session_needs *n,
                               emr_error *error)
{
    const emr_bundle *b = s->bundle;
    emr_status status = EMR_OK;
    *n = (emr_session_needs){.slot_bytes = EMR_ALIGNMENT,
                             .fill_bytes = EMR_ALIGNMENT,
                             .packed_bytes = EMR_SESSION_VALUES * sizeof(float)};
    n->tables = sizeof *s + b->summary.n_merged * sizeof *s->tensors +
                ((uint64_t)b->summary.n_tasks + 1) * sizeof *s->tasks;
    for (uint32_t i = 0; !status && i < b->summary.n_merged; i++)
        status = measure_tensor(s, i, n, error);
    measure_own_base(s, n);
    measure_arranged_base(s, n);
    measure_unified(s, n);
    first_block[0] = 0;
    for (uint32_t task = 0; task < b->summary.n_tasks; task++) {
        measure_scales(b, task, n);
        measure_private(b, task, n);
        first_block[task + 1] = first_block[task] + (size_t)measure_codes(b, task, n);
    }
    return status;
}

emr_status emr_session_limit(emr_session_shared *s, emr_session_needs *n, size_t n_workers,
                             uint64_t mask_bytes, uint64_t memory_bytes, emr_error *error)
{
    const emr_bundle *b = s->bundle;
    if (mask_bytes && n->n_code_slots > mask_bytes / n->slot_bytes) {
        n->n_code_slots = mask_bytes / n->slot_bytes;
        if (!n->n_code_slots)
            return emr_fail(error, EMR_ELIMIT, "%F: mask_bytes has no room for one block of codes, %u bytes",
                            b->name, (uint64_t)n->slot_bytes);
    }
    n->n_code_slots = emr_min(n->n_code_slots, EMR_NO_SLOT - 1);
    n->codes = emr_code_cache_memory(b->summary.n_tasks, n->n_code_blocks, n->n_code_slots, n->slot_bytes);
    s->packed_bytes = n->packed_bytes;
    s->stored_bytes = n->stored_bytes;
    s->scratch_bytes = n->scratch_bytes;
    s->n_code_blocks = (size_t)n->n_code_blocks;
    s->memory_bytes = memory_bytes;
    n->scratch =
        emr_session_handle_memory(s, n_workers) + n_workers * n->base_reader + 2 * n->fill_bytes + n->reader;
    s->info.memory_bytes = n->tables + n->base + n->unified + n->scales + n->codes + n->scratch;
    s->info.base_bytes = n->base;
    s->info.unified_bytes = n->unified;
    s->info.mask_bytes = n->n_code_slots * n->slot_bytes;
    s->info.thread_bytes = emr_session_handle_memory(s, 1);
    if (memory_bytes && s->info.memory_bytes > memory_bytes)
        return emr_fail(
            error, EMR_ELIMIT,
            "%F: a session needs %u bytes of memory, %u of them for decoded codes; memory_bytes is %u",
            b->name, s->info.memory_bytes, s->info.mask_bytes, memory_bytes);
    return EMR_OK;
}

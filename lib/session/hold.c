/* hold.c - what a session has in memory from its creation on: tables, base tensors, the unified vector,
 * rescalers per row, and room for masks. Everything is added up before anything large is allocated.
 * Freestanding. */
#include "session/session.h"

#include "model/model.h"

enum {
    READ_BYTES = 1 << 20,      /* of the base, at a time */
    DECODER_BYTES = 192 << 10, /* about what zstd allocates for one */
    VIEW_BYTES = 160 << 10, /* about what one thread takes that reads an embedded base, beside two blocks */
    WORKER_BYTES = 1 << 10, /* of tables */
};

static bool in_place(const emr_bundle *b, const emr_block_record *r)
{
    return r->codec == EMR_CODEC_RAW && b->io.map;
}

static bool is_zeros(const emr_block_record *r)
{
    return r->codec == EMR_CODEC_FILL && r->parameter == 0;
}

static size_t block_length(const emr_stream_record *s)
{
    return (size_t)emr_min(s->block_bytes, s->bytes);
}

/* What a session needs of everything, in bytes but where it says otherwise. */
typedef struct needs {
    uint64_t tables, base, unified, rows, masks, scratch;
    uint64_t mask_blocks, mask_slots; /* numbers */
    size_t slot, fill, packed, private_block, base_reader, row_reader;
} needs;

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Finds the base's tensor and whether it must be read. */
static emr_status describe_tensor(emr_session *s, size_t i, needs *n, emr_error *error)
{
    const emr_bundle *b = s->bundle;
    const emr_tensor *t;
    emr_tensor_record r = emr_bundle_tensor_record(b, i);
    emr_status status = emr_bundle_base_tensor(b, s->base, i, &t, error);
    if (status)
        return status;
    uint64_t rows = emr_shape_rows(r.rank, emr_bundle_shape(b, r.shape));
    s->tensors[i] = (emr_session_tensor){.first_param = r.first_param,
                                         .count = t->count,
                                         .n_rows = rows,
                                         .n_columns = rows ? t->count / rows : 0,
                                         .first_row = r.first_row,
                                         .base = t->data,
                                         .dtype = t->dtype};
    if (t->kind == EMR_TENSOR_PUSHED)
        return emr_fail(error, EMR_ESTATE,
                        "%s: tensor '%s' has no bytes: a session needs a base that can be read",
                        s->base->name, t->name);
    if (t->kind != EMR_TENSOR_MEMORY && !(t->kind == EMR_TENSOR_IO && t->io.map))
        n->base += emr_round_up(t->bytes, EMR_ALIGNMENT);
    return EMR_OK;
}

static void add_unified(const emr_session *s, needs *n)
{
    uint64_t n_blocks = emr_stream_blocks(&s->unified);
    n->tables += n_blocks * sizeof *s->unified_blocks;
    n->packed = larger(n->packed, block_length(&s->unified));
    n->fill = larger(n->fill, block_length(&s->unified));
    for (uint64_t i = 0; i < n_blocks; i++) {
        emr_block_record r = emr_bundle_block_record(s->bundle, (size_t)(s->unified.first_block + i));
        if (!in_place(s->bundle, &r) && !is_zeros(&r))
            n->unified += emr_round_up(emr_stream_block_length(&s->unified, i), EMR_ALIGNMENT);
    }
}

static void add_task(const emr_session *s, size_t task, size_t *first_block, needs *n)
{
    const emr_bundle *b = s->bundle;
    size_t mask = b->task_streams[EMR_STREAM_MASK][task], private = b->task_streams[EMR_STREAM_PRIVATE][task];
    first_block[task + 1] = first_block[task];
    n->tables += emr_names_memory(b->first_private[task + 1] - b->first_private[task]);
    size_t rows = b->task_streams[EMR_STREAM_ROW_RESCALERS][task];
    if (b->summary.rescale_per == EMR_PER_ROW_BYTE && rows != EMR_NO_STREAM) {
        emr_stream_record stream = emr_bundle_stream_record(b, rows);
        n->rows += b->summary.n_rows * sizeof(float);
        n->row_reader = larger(n->row_reader, DECODER_BYTES + 2 * block_length(&stream));
    }
    if (private != EMR_NO_STREAM) {
        emr_stream_record stream = emr_bundle_stream_record(b, private);
        n->private_block = larger(n->private_block, block_length(&stream));
        n->packed = larger(n->packed, block_length(&stream));
    }
    if (mask == EMR_NO_STREAM)
        return;
    emr_stream_record stream = emr_bundle_stream_record(b, mask);
    uint64_t n_blocks = emr_stream_blocks(&stream);
    first_block[task + 1] += (size_t)n_blocks;
    n->mask_blocks += n_blocks;
    n->slot = larger(n->slot, (size_t)emr_round_up(block_length(&stream), EMR_ALIGNMENT));
    n->packed = larger(n->packed, block_length(&stream));
    n->fill = larger(n->fill, block_length(&stream));
    for (uint64_t i = 0; i < n_blocks; i++) {
        emr_block_record r = emr_bundle_block_record(b, (size_t)(stream.first_block + i));
        n->mask_slots += emr_mask_needs_slot(b, &r);
    }
}

/* How many masks are kept, and whether all of it is within the caps. */
static emr_status limit(emr_session *s, needs *n, const emr_session_options *o, emr_error *error)
{
    const emr_bundle *b = s->bundle;
    if (o->mask_bytes && n->mask_slots > o->mask_bytes / n->slot) {
        n->mask_slots = o->mask_bytes / n->slot;
        if (!n->mask_slots)
            return emr_fail(error, EMR_ELIMIT, "%s: mask_bytes has no room for one block of a mask, %u bytes",
                            b->name, (uint64_t)n->slot);
    }
    n->mask_slots = emr_min(n->mask_slots, EMR_IN_PLACE - 1);
    n->masks = emr_mask_cache_memory(b->summary.n_tasks, n->mask_blocks, n->mask_slots, n->slot);
    n->scratch = s->workers.n * (n->packed + DECODER_BYTES + WORKER_BYTES + n->base_reader) + 2 * n->fill +
                 n->private_block + n->row_reader;
    s->info.memory_bytes = n->tables + n->base + n->unified + n->rows + n->masks + n->scratch;
    s->info.base_bytes = n->base;
    s->info.unified_bytes = n->unified;
    s->info.mask_bytes = n->mask_slots * n->slot;
    if (o->memory_bytes && s->info.memory_bytes > o->memory_bytes)
        return emr_fail(
            error, EMR_ELIMIT,
            "%s: a session needs %u bytes of memory, %u of them for decoded masks; memory_bytes is %u",
            b->name, s->info.memory_bytes, s->info.mask_bytes, o->memory_bytes);
    return EMR_OK;
}

static emr_status out_of_memory(const emr_session *s, emr_error *error)
{
    return emr_fail(error, EMR_ENOMEM, "%s: out of memory", s->bundle->name);
}

static emr_status allocate_scratch(emr_session *s, const needs *n, emr_error *error)
{
    const emr_allocator *a = &s->allocator;
    s->zeros_bytes = n->fill;
    s->zeros = emr_allocate(a, n->fill);
    s->ones = emr_allocate(a, n->fill);
    s->private_block = emr_allocate(a, n->private_block);
    if (!s->zeros || !s->ones || !s->private_block)
        return out_of_memory(s, error);
    memset(s->zeros, 0, n->fill);
    memset(s->ones, 0xff, n->fill);
    for (size_t i = 0; i < s->workers.n; i++) {
        s->work[i].packed = emr_allocate(a, n->packed);
        if (!s->work[i].packed || emr_decoder_create(&s->work[i].decoder, a))
            return out_of_memory(s, error);
    }
    return EMR_OK;
}

static emr_status read_base_piece(void *context, size_t job, size_t worker, emr_error *error)
{
    const emr_session *s = context;
    const emr_piece *p = &s->pieces[job];
    const emr_tensor *t = emr_model_find(s->base, emr_bundle_tensor_name(s->bundle, p->tensor));
    (void)worker;
    return emr_tensor_read(t, p->first, (uint8_t *)s->tensors[p->tensor].held + p->first, (size_t)p->n,
                           error);
}

static emr_status hold_tensor(emr_session *s, size_t i, emr_error *error)
{
    emr_session_tensor *held = &s->tensors[i];
    const emr_tensor *t = emr_model_find(s->base, emr_bundle_tensor_name(s->bundle, i));
    emr_status status = EMR_OK;
    if (t->kind == EMR_TENSOR_MEMORY)
        return EMR_OK;
    if (t->bytes > SIZE_MAX)
        return out_of_memory(s, error);
    if (t->kind == EMR_TENSOR_IO && t->io.map) {
        if (t->bytes && t->io.map(t->io.user, t->offset, (size_t)t->bytes, &held->window))
            return emr_fail(error, EMR_EIO, "%s: tensor '%s' cannot be mapped", s->base->name, t->name);
        held->base = held->window;
        return EMR_OK;
    }
    held->held = emr_allocate(&s->allocator, (size_t)t->bytes);
    held->base = held->held;
    if (!held->held)
        return out_of_memory(s, error);
    for (uint64_t at = 0, n; !status && at < t->bytes; at += n) {
        n = emr_min(t->bytes - at, READ_BYTES);
        s->pieces[s->n_pieces++] = (emr_piece){.tensor = i, .first = at, .n = n};
        if (s->n_pieces == EMR_PIECES)
            status = emr_session_run(s, read_base_piece, s, error);
    }
    return status;
}

static emr_status read_unified_block(void *context, size_t job, size_t worker, emr_error *error)
{
    emr_session *s = context;
    const emr_session_worker *w = &s->work[worker];
    emr_block_record r = emr_bundle_block_record(s->bundle, (size_t)(s->unified.first_block + job));
    const uint8_t **at = &s->unified_blocks[job];
    if (is_zeros(&r)) {
        *at = s->zeros;
        return EMR_OK;
    }
    uint8_t *into = *at ? s->unified_memory + (*at - s->unified_memory) : w->packed;
    const uint8_t *data;
    emr_status status =
        emr_block_read(s->bundle, &s->unified, job, w->decoder, w->packed, into, &data, error);
    if (!status)
        *at = data;
    return status;
}

static emr_status hold_unified(emr_session *s, const needs *n, emr_error *error)
{
    size_t n_blocks = (size_t)emr_stream_blocks(&s->unified);
    s->unified_memory = n->unified <= SIZE_MAX ? emr_allocate(&s->allocator, (size_t)n->unified) : NULL;
    if (!s->unified_memory)
        return out_of_memory(s, error);
    uint8_t *next = s->unified_memory;
    for (size_t i = 0; i < n_blocks; i++) {
        emr_block_record r = emr_bundle_block_record(s->bundle, (size_t)(s->unified.first_block + i));
        if (in_place(s->bundle, &r) || is_zeros(&r))
            continue;
        s->unified_blocks[i] = next;
        next += emr_round_up(emr_stream_block_length(&s->unified, i), EMR_ALIGNMENT);
    }
    return emr_work(&s->workers, n_blocks, read_unified_block, s, error);
}

/* The tensor that has row `row` of all, for a message. */
static size_t tensor_of_row(const emr_session *s, uint64_t row)
{
    size_t i = 0;
    while (i + 1 < s->bundle->summary.n_merged && s->tensors[i + 1].first_row <= row)
        i++;
    return i;
}

static emr_status hold_rows(emr_session *s, size_t task, emr_error *error)
{
    const emr_bundle *b = s->bundle;
    emr_cursor cursor;
    uint64_t n = b->summary.n_rows;
    if (b->summary.rescale_per != EMR_PER_ROW_BYTE || !n)
        return EMR_OK;
    s->tasks[task].rows = n <= SIZE_MAX / 4 ? emr_allocate(&s->allocator, (size_t)n * 4) : NULL;
    if (!s->tasks[task].rows)
        return out_of_memory(s, error);
    emr_status status =
        emr_cursor_open(&cursor, b, b->task_streams[EMR_STREAM_ROW_RESCALERS][task], &s->allocator, error);
    if (!status)
        status = emr_cursor_read(&cursor, 0, s->tasks[task].rows, (size_t)n * 4, error);
    emr_cursor_close(&cursor);
    for (uint64_t i = 0; !status && i < n; i++) {
        uint32_t bits = emr_load32((const uint8_t *)s->tasks[task].rows + i * 4);
        s->tasks[task].rows[i] = emr_f32_from_bits(bits);
        if (bits >= 0x7f800000)
            status = emr_bundle_check_rescaler(b, task, tensor_of_row(s, i), bits, error);
    }
    return status;
}

static const char *private_name(const void *owner, size_t i)
{
    const emr_session_task *t = owner;
    const emr_bundle *b = t->session->bundle;
    return emr_bundle_string(b, emr_bundle_private_record(b, b->first_private[t->task] + i).name);
}

size_t emr_session_find_private(const emr_session_task *t, const char *name)
{
    size_t i = t->task == EMR_BASE ? EMR_NAMES_NONE : emr_names_find(&t->private, private_name, t, name);
    return i == EMR_NAMES_NONE ? i : t->session->bundle->first_private[t->task] + i;
}

static emr_status hold_private_names(emr_session *s, size_t task, emr_error *error)
{
    const emr_bundle *b = s->bundle;
    emr_session_task *t = &s->tasks[task];
    size_t n = b->first_private[task + 1] - b->first_private[task];
    emr_status status = emr_names_reserve(&t->private, &s->allocator, n);
    for (size_t i = 0; !status && i < n; i++)
        status = emr_names_add(&t->private, &s->allocator, private_name, t, i);
    if (status == EMR_EEXIST)
        return emr_fail(error, EMR_EFORMAT, "%s: task '%s' has two tensors of one name", b->name,
                        emr_bundle_task_name(b, task));
    return status ? out_of_memory(s, error) : EMR_OK;
}

/* Adds everything up, and then reads it. */
static emr_status describe(emr_session *s, size_t *first_block, needs *n, emr_error *error)
{
    const emr_bundle *b = s->bundle;
    emr_status status = EMR_OK;
    n->tables = sizeof *s + b->summary.n_merged * sizeof *s->tensors +
                ((uint64_t)b->summary.n_tasks + 1) * (sizeof *s->tasks + sizeof *s->distinct);
    for (size_t i = 0; !status && i < b->summary.n_merged; i++)
        status = describe_tensor(s, i, n, error);
    if (s->own_base && b->base_streams[EMR_STREAM_BASE] != EMR_NO_STREAM) {
        emr_stream_record stream = emr_bundle_stream_record(b, b->base_streams[EMR_STREAM_BASE]);
        n->tables += emr_bundle_base_memory(b);
        n->base_reader = VIEW_BYTES + DECODER_BYTES + 2 * block_length(&stream);
    }
    s->unified.block_bytes = 1; /* of a stream that is not there */
    if (b->base_streams[EMR_STREAM_UNIFIED] != EMR_NO_STREAM)
        s->unified = emr_bundle_stream_record(b, b->base_streams[EMR_STREAM_UNIFIED]);
    add_unified(s, n);
    for (size_t t = 0; t < b->summary.n_tasks; t++)
        add_task(s, t, first_block, n);
    return status;
}

/* Reads something of a kept tensor, so that a base that is the bundle's own has what reading takes before any
 * call wants it. */
static emr_status read_kept(emr_session *s, emr_error *error)
{
    const emr_bundle *b = s->bundle;
    uint8_t byte;
    for (size_t i = b->summary.n_merged; s->own_base && i < b->summary.n_tensors; i++) {
        const emr_tensor *t = emr_model_find(s->own_base, emr_bundle_tensor_name(b, i));
        if (t && t->bytes)
            return emr_tensor_read(t, 0, &byte, 1, error);
    }
    return EMR_OK;
}

static emr_status read_all(emr_session *s, const needs *n, emr_error *error)
{
    const emr_bundle *b = s->bundle;
    emr_status status = allocate_scratch(s, n, error);
    for (size_t i = 0; !status && i < b->summary.n_merged; i++)
        status = hold_tensor(s, i, error);
    if (!status)
        status = emr_session_run(s, read_base_piece, s, error);
    if (!status)
        status = read_kept(s, error);
    if (!status)
        status = hold_unified(s, n, error);
    for (size_t t = 0; !status && t < b->summary.n_tasks; t++) {
        status = hold_rows(s, t, error);
        if (!status)
            status = hold_private_names(s, t, error);
    }
    return status;
}

emr_status emr_session_hold(emr_session *s, const emr_session_options *options, emr_error *error)
{
    const emr_bundle *b = s->bundle;
    const emr_allocator *a = &s->allocator;
    size_t n_tasks = b->summary.n_tasks;
    size_t *first_block = emr_allocate_array(a, n_tasks + 1, sizeof *first_block);
    needs n = {.slot = EMR_ALIGNMENT, .fill = EMR_ALIGNMENT};
    s->tensors = emr_allocate_array(a, b->summary.n_merged, sizeof *s->tensors);
    s->tasks = emr_allocate_array(a, n_tasks + 1, sizeof *s->tasks);
    s->distinct = emr_allocate_array(a, n_tasks + 1, sizeof *s->distinct);
    s->work = emr_allocate_array(a, s->workers.n, sizeof *s->work);
    emr_status status = first_block && s->tensors && s->tasks && s->distinct && s->work ? EMR_OK : EMR_ENOMEM;
    if (status)
        emr_fail(error, status, "%s: out of memory", b->name);
    else
        status = describe(s, first_block, &n, error);
    if (!status)
        status = limit(s, &n, options, error);
    if (status) {
        emr_release(a, first_block);
        return status;
    }
    for (size_t t = 0; t <= n_tasks; t++)
        s->tasks[t] = (emr_session_task){.session = s, .task = t < n_tasks ? t : EMR_BASE};
    s->unified_blocks =
        emr_allocate_array(a, (size_t)emr_stream_blocks(&s->unified), sizeof *s->unified_blocks);
    status = emr_mask_cache_create(&s->masks, a, first_block, n_tasks, (size_t)n.mask_slots, n.slot);
    if (status || !s->unified_blocks)
        return out_of_memory(s, error);
    return read_all(s, &n, error);
}

static void unmap(const emr_io *io, const void *window, uint64_t n)
{
    if (window && io->unmap)
        io->unmap(io->user, window, (size_t)n);
}

static void unmap_blocks(emr_session *s)
{
    const emr_bundle *b = s->bundle;
    for (size_t i = 0; s->unified_blocks && i < emr_stream_blocks(&s->unified); i++) {
        emr_block_record r = emr_bundle_block_record(b, (size_t)(s->unified.first_block + i));
        if (in_place(b, &r))
            unmap(&b->io, s->unified_blocks[i], r.stored);
    }
    for (size_t t = 0; t < s->masks.n_tasks; t++)
        for (size_t i = s->masks.first_block[t]; i < s->masks.first_block[t + 1]; i++) {
            emr_stream_record mask = emr_bundle_stream_record(b, b->task_streams[EMR_STREAM_MASK][t]);
            emr_block_record r =
                emr_bundle_block_record(b, (size_t)(mask.first_block + i - s->masks.first_block[t]));
            if (in_place(b, &r))
                unmap(&b->io, s->masks.blocks[i].bits, r.stored);
        }
}

void emr_session_let_go(emr_session *s)
{
    const emr_allocator *a = &s->allocator;
    unmap_blocks(s);
    for (size_t i = 0; s->tensors && i < s->bundle->summary.n_merged; i++) {
        const emr_session_tensor *held = &s->tensors[i];
        if (held->window) {
            const emr_tensor *t = emr_model_find(s->base, emr_bundle_tensor_name(s->bundle, i));
            unmap(&t->io, held->window, t->bytes);
        }
        emr_release(a, held->held);
    }
    for (size_t t = 0; s->tasks && t < s->bundle->summary.n_tasks; t++) {
        emr_release(a, s->tasks[t].rows);
        emr_names_free(&s->tasks[t].private, a);
    }
    for (size_t i = 0; s->work && i < s->workers.n; i++) {
        emr_release(a, s->work[i].packed);
        emr_decoder_destroy(s->work[i].decoder);
    }
    emr_mask_cache_destroy(&s->masks, a);
    void *const rest[] = {
        s->tensors,        s->tasks, s->distinct, s->work,         (void *)s->unified_blocks,
        s->unified_memory, s->zeros, s->ones,     s->private_block};
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++)
        emr_release(a, rest[i]);
}

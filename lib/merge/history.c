/* history.c - see history.h. Streams are read front to back by a cursor each, all of them side by side. */
#include "merge/history.h"

#include "bundle/bundle.h"

#include <string.h>

enum {
    N_VALUES = 4,              /* unified values, sums, opposites, extremes */
    N_PLANES = 3,              /* a task's masks, non-zeros and undecided signs */
    DECODER_BYTES = 192 << 10, /* a zstd decoder */
    PRIVATE_BYTES = 1 << 10,   /* a task's model, besides its tensors */
};

static const uint32_t value_kinds[N_VALUES] = {EMR_STREAM_UNIFIED, EMR_STREAM_SUMS, EMR_STREAM_OPPOSITES,
                                               EMR_STREAM_EXTREMES};
static const uint32_t plane_kinds[N_PLANES] = {EMR_STREAM_MASK, EMR_STREAM_NONZEROS, EMR_STREAM_UNDECIDED};

emr_status emr_history_options(emr_merge_options *o, const emr_bundle *b, const emr_allocator *allocator,
                               const char ***globs, emr_error *error)
{
    const emr_section *section = &b->sections[EMR_SECTION_GROWTH];
    if (!section->data)
        return emr_fail(
            error, EMR_EUNSUPPORTED,
            "%s: tasks cannot be added: it was not made extendable, or a task was dropped from it", b->name);
    emr_growth_record g = emr_decode_growth(section->data);
    *globs = emr_allocate_array(allocator, g.n_globs, sizeof **globs);
    if (!*globs)
        return emr_fail(error, EMR_ENOMEM, "%s: out of memory", b->name);
    for (uint32_t i = 0; i < g.n_globs; i++)
        (*globs)[i] = emr_bundle_string(b, emr_load32(section->data + EMR_GROWTH_SIZE + 4 * (size_t)i));
    o->private_globs = *globs;
    o->n_private_globs = g.n_globs;
    o->rescale = b->summary.rescale;
    o->rescale_per = b->summary.rescale_per;
    o->tie = b->summary.tie;
    o->on_mismatch = g.on_mismatch;
    o->on_missing = g.on_missing;
    o->on_nonfinite = b->summary.on_nonfinite;
    o->unified_dtype = b->summary.unified_dtype;
    o->embed_base = b->summary.has_base;
    o->extendable = 1;
    o->compression = g.compression;
    o->block_params = g.block_params;
    return EMR_OK;
}

/* A task's private tensors read from their stream by one cursor, which opens at the first read. */
typedef struct old_task {
    const emr_bundle *bundle;
    emr_allocator allocator;
    size_t stream;
    emr_cursor cursor;
} old_task;

typedef struct old_tensor {
    old_task *task;
    uint64_t offset; /* in the stream; UINT64_MAX: not private */
} old_tensor;

static emr_status read_private(void *user, uint64_t offset, void *destination, size_t n, emr_error *error)
{
    const old_tensor *t = user;
    old_task *task = t->task;
    emr_status status = EMR_OK;
    if (t->offset == UINT64_MAX)
        return emr_fail(error, EMR_ESTATE, "%s: a task's weights cannot be read without the base",
                        task->bundle->name);
    if (!task->cursor.bundle)
        status = emr_cursor_open(&task->cursor, task->bundle, task->stream, &task->allocator, error);
    return status ? status : emr_cursor_read(&task->cursor, t->offset + offset, destination, n, error);
}

static void destroy_old_task(void *owner, const emr_allocator *allocator)
{
    old_task *task = owner;
    emr_cursor_close(&task->cursor);
    emr_release(allocator, task);
}

static emr_status add_tensor(emr_model *model, old_tensor *t, const emr_bundle *b, uint32_t name,
                             uint32_t shape, uint32_t rank, uint32_t dtype, emr_error *error)
{
    emr_tensor_desc desc = EMR_INIT(emr_tensor_desc);
    desc.name = emr_bundle_string(b, name);
    desc.shape = emr_bundle_shape(b, shape);
    desc.rank = rank;
    desc.dtype = dtype;
    desc.read = read_private;
    desc.user = t;
    emr_status status = emr_model_add(model, &desc, error);
    return status == EMR_EEXIST ? EMR_EFORMAT : status; /* only a bundle made so has two of one name */
}

static emr_status fill_model(emr_model *model, old_task *task, old_tensor *tensors, size_t number,
                             emr_error *error)
{
    const emr_bundle *b = task->bundle;
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < b->summary.n_tensors; i++) {
        emr_tensor_record t = emr_bundle_tensor_record(b, i);
        emr_dtype dtype = emr_bundle_task_dtype(b, number, i);
        if (dtype == EMR_DTYPE_NONE)
            continue;
        *tensors = (old_tensor){task, UINT64_MAX};
        status = add_tensor(model, tensors++, b, t.name, t.shape, t.rank, (uint32_t)dtype, error);
    }
    for (size_t i = b->first_private[number]; !status && i < b->first_private[number + 1]; i++) {
        emr_private_record p = emr_bundle_private_record(b, i);
        *tensors = (old_tensor){task, p.offset};
        status = add_tensor(model, tensors++, b, p.name, p.shape, p.rank, p.dtype, error);
    }
    return status ? status : emr_bundle_add_metadata(model, b, (uint32_t)number, error);
}

emr_status emr_history_task(emr_model **model, const emr_bundle *b, size_t number,
                            const emr_allocator *allocator, emr_error *error)
{
    size_t n = b->summary.n_tensors + (b->first_private[number + 1] - b->first_private[number]);
    emr_status status = emr_model_create(model, b->name, allocator, error);
    if (status)
        return status;
    /* the task, and behind it its tensors */
    old_task *task = n > (SIZE_MAX - sizeof *task) / sizeof(old_tensor)
                         ? NULL
                         : emr_allocate_array(allocator, 1, sizeof *task + n * sizeof(old_tensor));
    if (task) {
        task->bundle = b;
        task->allocator = *allocator;
        task->stream = b->task_streams[EMR_STREAM_PRIVATE][number];
        (*model)->on_destroy = destroy_old_task;
        (*model)->owner = task;
        status = fill_model(*model, task, (old_tensor *)(void *)(task + 1), number, error);
    } else {
        status = emr_fail(error, EMR_ENOMEM, "%s: out of memory", b->name);
    }
    if (status)
        emr_model_destroy(model);
    return status;
}

/* One stream and where a window of it goes. */
typedef struct column {
    emr_cursor cursor;
    uint8_t *window;
    size_t bits; /* a parameter */
} column;

struct emr_history {
    emr_allocator allocator;
    const emr_bundle *bundle;
    column *columns; /* N_VALUES, then N_PLANES kinds of n_tasks each */
    size_t n_columns;
    uint8_t *window; /* of all columns */
    size_t plane_bytes;
    emr_cursor *rows;    /* one a task, per row only */
    uint64_t first, end; /* of the window that is loaded */
};

static size_t column_count(const emr_bundle *b)
{
    return N_VALUES + N_PLANES * (size_t)b->summary.n_tasks;
}

/* Bits of a parameter in all columns. */
static size_t total_bits(const emr_bundle *b)
{
    return (b->summary.unified_dtype == EMR_DTYPE_F32 ? 32u : 16u) + 3u * 32 +
           N_PLANES * (size_t)b->summary.n_tasks;
}

/* A cursor's two blocks and its decoder. */
static uint64_t cursor_memory(const emr_bundle *b, size_t stream)
{
    if (stream == EMR_NO_STREAM)
        return 0;
    emr_stream_record s = emr_bundle_stream_record(b, stream);
    return 2 * emr_min(s.block_bytes, s.bytes) + (uint64_t)DECODER_BYTES;
}

uint64_t emr_history_memory(const emr_plan *plan, const emr_layout *l)
{
    const emr_bundle *b = plan->before;
    if (!b)
        return 0;
    uint64_t bytes =
        sizeof(emr_history) + column_count(b) * sizeof(column) + l->window_params / 8 * total_bits(b);
    for (size_t i = 0; i < N_VALUES; i++)
        bytes += cursor_memory(b, b->base_streams[value_kinds[i]]);
    for (size_t t = 0; t < b->summary.n_tasks; t++) {
        for (size_t i = 0; i < N_PLANES; i++)
            bytes += cursor_memory(b, b->task_streams[plane_kinds[i]][t]);
        bytes += sizeof(emr_cursor) + cursor_memory(b, b->task_streams[EMR_STREAM_ROW_NUMERATORS][t]);
        bytes += PRIVATE_BYTES + cursor_memory(b, b->task_streams[EMR_STREAM_PRIVATE][t]);
    }
    return bytes;
}

static emr_status open_columns(emr_history *h, emr_error *error)
{
    const emr_bundle *b = h->bundle;
    uint8_t *window = h->window;
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < h->n_columns; i++) {
        column *c = &h->columns[i];
        size_t plane = i < N_VALUES ? 0 : i - N_VALUES, n_tasks = b->summary.n_tasks;
        size_t stream = i < N_VALUES ? b->base_streams[value_kinds[i]]
                                     : b->task_streams[plane_kinds[plane / n_tasks]][plane % n_tasks];
        c->bits = i >= N_VALUES ? 1 : i == 0 && b->summary.unified_dtype != EMR_DTYPE_F32 ? 16 : 32;
        c->window = window;
        window += c->bits * h->plane_bytes;
        status = emr_cursor_open(&c->cursor, b, stream, &h->allocator, error);
    }
    for (size_t t = 0; !status && t < b->summary.n_tasks; t++)
        status = emr_cursor_open(&h->rows[t], b, b->task_streams[EMR_STREAM_ROW_NUMERATORS][t], &h->allocator,
                                 error);
    return status;
}

emr_status emr_history_create(emr_history **history, const emr_plan *plan, const emr_layout *layout,
                              emr_error *error)
{
    const emr_bundle *b = plan->before;
    emr_history *h = emr_allocate_array(&plan->allocator, 1, sizeof *h);
    if (!h)
        return emr_fail(error, EMR_ENOMEM, "out of memory");
    h->allocator = plan->allocator;
    h->bundle = b;
    h->n_columns = column_count(b);
    h->plane_bytes = layout->window_params / 8;
    h->columns = emr_allocate_array(&h->allocator, h->n_columns, sizeof *h->columns);
    h->rows = emr_allocate_array(&h->allocator, b->summary.n_tasks, sizeof *h->rows);
    h->window = emr_allocate_array(&h->allocator, total_bits(b), h->plane_bytes);
    emr_status status = h->columns && h->rows && h->window ? open_columns(h, error)
                                                           : emr_fail(error, EMR_ENOMEM, "out of memory");
    if (status)
        emr_history_destroy(&h);
    *history = h;
    return status;
}

void emr_history_destroy(emr_history **history)
{
    emr_history *h = *history;
    if (!h)
        return;
    emr_allocator a = h->allocator;
    for (size_t i = 0; h->columns && i < h->n_columns; i++)
        emr_cursor_close(&h->columns[i].cursor);
    for (size_t t = 0; h->rows && t < h->bundle->summary.n_tasks; t++)
        emr_cursor_close(&h->rows[t]);
    emr_release(&a, h->columns);
    emr_release(&a, h->rows);
    emr_release(&a, h->window);
    emr_release(&a, h);
    *history = NULL;
}

static emr_status load_column(void *context, size_t job, size_t worker, emr_error *error)
{
    emr_history *h = context;
    column *c = &h->columns[job];
    (void)worker;
    return emr_cursor_read(&c->cursor, h->first / 8 * c->bits, c->window,
                           (size_t)((h->end - h->first) / 8 * c->bits), error);
}

emr_status emr_history_load(emr_history *h, const emr_workers *workers, uint64_t first, uint64_t end,
                            emr_error *error)
{
    h->first = first;
    h->end = end;
    return emr_work(workers, h->n_columns, load_column, h, error);
}

emr_state emr_history_state(const emr_history *h, uint64_t flat)
{
    size_t at = (size_t)(flat - h->first) / 8, n_tasks = h->bundle->summary.n_tasks;
    const column *values = h->columns, *planes = h->columns + N_VALUES;
    return (emr_state){.unified = values[0].window + at * values[0].bits,
                       .sums = values[1].window + at * 32,
                       .opposites = values[2].window + at * 32,
                       .extremes = values[3].window + at * 32,
                       .masks = planes[0].window + at,
                       .nonzeros = planes[n_tasks].window + at,
                       .undecided = planes[2 * n_tasks].window + at,
                       .plane_bytes = h->plane_bytes};
}

double emr_history_numerator(const emr_history *h, size_t task, size_t tensor)
{
    const emr_bundle *b = h->bundle;
    const uint8_t *section = b->sections[EMR_SECTION_GROWTH].data;
    size_t i = b->summary.rescale_per == EMR_PER_TENSOR_BYTE ? task * b->summary.n_merged + tensor : task;
    return emr_f64_from_bits(
        emr_load64(section + emr_growth_numerators(emr_decode_growth(section).n_globs) + 8 * i));
}

emr_status emr_history_row_numerators(emr_history *h, size_t task, uint64_t first, size_t n,
                                      double *numerators, emr_error *error)
{
    const emr_bundle *b = h->bundle;
    emr_status status = emr_cursor_read(&h->rows[task], first * 8, numerators, n * 8, error);
    for (size_t i = 0; !status && i < n; i++) {
        uint64_t bits = emr_load64(&numerators[i]);
        numerators[i] = emr_f64_from_bits(bits);
        if (bits >= (uint64_t)0x7ff << 52) /* as on opening for the others: finite, not negative */
            status = emr_fail(error, EMR_EFORMAT, "%s: task '%s': a row's numerator is impossible", b->name,
                              emr_bundle_task_name(b, task));
    }
    return status;
}

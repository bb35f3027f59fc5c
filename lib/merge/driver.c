/* driver.c - see driver.h. The merged tensors pass in windows of flat space: the pieces of tensors in a
 * window are read or pushed into staging memory, all sources side by side, then computed in parallel chunk by
 * chunk, then folded in order. After them come the tensors kept from the base, then each task's private ones.
 */
#include "merge/driver.h"

#include "numeric/convert.h"
#include "numeric/kernels.h"

#include <string.h>

/* The part of a tensor that lies in the window; contiguous in every source. */
typedef struct piece {
    size_t row;
    uint64_t first; /* parameter within the tensor */
    uint64_t flat;
    uint64_t n;
} piece;

typedef struct source {
    uint8_t *staging;
    size_t size;  /* bytes of staging per flat parameter */
    size_t piece; /* where pushed bytes go next */
    uint64_t offset;
} source;

typedef enum phase { MERGED, PRIVATE, DONE } phase;

struct emr_driver {
    emr_allocator allocator;
    emr_plan *plan;
    const emr_layout *layout;
    const emr_workers *workers;
    const emr_step_functions *functions;
    void *step;
    size_t n_sources;
    source *sources;
    piece *pieces;
    const emr_tensor **piece_tensors; /* n_sources for each piece; NULL where a task lacks the tensor */
    emr_item *items;
    const void **item_tasks; /* n_tasks for each item */
    uint8_t *item_dtypes;
    size_t n_pieces, n_items;
    size_t next_row; /* where the next window begins */
    uint64_t next_first;
    emr_hasher hasher; /* of the base's tensor that is passing */
    uint8_t *buffers;  /* two of EMR_IO_BUFFER */
    phase phase;
    size_t private_task, private_tensor; /* the one that is passing */
    uint64_t private_offset;
    bool private_open;
    uint64_t done; /* input bytes */
};

uint64_t emr_driver_memory(const emr_plan *plan, const emr_layout *l)
{
    return sizeof(emr_driver) + (plan->n_tasks + 1) * sizeof(source) + 2 * EMR_IO_BUFFER +
           l->max_items * (sizeof(piece) + sizeof(emr_item) + plan->n_tasks * (sizeof(void *) + 1) +
                           (plan->n_tasks + 1) * sizeof(void *));
}

static emr_status progress(emr_driver *d, uint64_t bytes, emr_error *error)
{
    const emr_merge_options *o = d->plan->options;
    d->done += bytes;
    if (o->progress && o->progress(o->progress_user, d->done, d->plan->bytes_in))
        return emr_fail(error, EMR_ECANCELED, "the merge was canceled");
    return EMR_OK;
}

static const emr_tensor *source_tensor(const emr_driver *d, size_t s, size_t row)
{
    const emr_row *r = &d->plan->rows[row];
    return s == 0 ? r->base : emr_model_find(d->plan->tasks[s - 1].model, r->sample->name);
}

/* The same for a piece of the window, which looked it up once. */
static const emr_tensor *piece_tensor(const emr_driver *d, const piece *p, size_t s)
{
    return d->piece_tensors[(size_t)(p - d->pieces) * d->n_sources + s];
}

/* Says whose tensor a failed read was: emr_tensor_read knows file and tensor. */
static emr_status name_task(const emr_driver *d, size_t s, emr_status status, emr_error *error)
{
    if (status && s > 0 && error) {
        emr_error task;
        emr_fail(&task, status, "task '%s'", d->plan->tasks[s - 1].name);
        emr_error_prefix(error, task.text);
    }
    return status;
}

/* A KEEP row, or a private one that a task takes from the base, is read at least once by name: it cannot be
 * pushed. */
static emr_status check_readable(const emr_driver *d, emr_error *error)
{
    for (size_t i = d->plan->n_merged; i < d->plan->n_base; i++) {
        const emr_row *row = &d->plan->rows[i];
        bool used = row->action == EMR_ACTION_KEEP;
        for (size_t t = 0; t < d->plan->n_tasks; t++)
            used = used || emr_row_from_base(row, t);
        for (size_t s = 0; used && s < d->n_sources; s++) {
            const emr_tensor *t = source_tensor(d, s, i);
            if (t && t->kind == EMR_TENSOR_PUSHED && (s == 0 || row->action == EMR_ACTION_KEEP))
                return emr_fail(
                    error, EMR_EUNSUPPORTED,
                    "%s: tensor '%s' is not merged but compared or kept, so its bytes cannot be pushed: "
                    "give it data, io or read",
                    t->model_name, t->name);
        }
    }
    return EMR_OK;
}

emr_status emr_driver_create(emr_driver **driver, emr_plan *plan, const emr_layout *layout,
                             const emr_workers *workers, const emr_step_functions *functions, void *step,
                             emr_error *error)
{
    const emr_allocator *a = &plan->allocator;
    emr_driver *d = emr_allocate_array(a, 1, sizeof *d);
    if (!d)
        return emr_fail(error, EMR_ENOMEM, "out of memory");
    d->allocator = *a;
    d->plan = plan;
    d->layout = layout;
    d->workers = workers;
    d->functions = functions;
    d->step = step;
    d->n_sources = plan->n_tasks + 1;
    d->sources = emr_allocate_array(a, d->n_sources, sizeof *d->sources);
    d->pieces = emr_allocate_array(a, layout->max_items, sizeof *d->pieces);
    d->piece_tensors = emr_allocate_array(a, layout->max_items, d->n_sources * sizeof *d->piece_tensors);
    d->items = emr_allocate_array(a, layout->max_items, sizeof *d->items);
    d->item_tasks = emr_allocate_array(a, layout->max_items, plan->n_tasks * sizeof *d->item_tasks);
    d->item_dtypes = emr_allocate_array(a, layout->max_items, plan->n_tasks);
    d->buffers = emr_allocate(a, (size_t)2 * EMR_IO_BUFFER);
    bool there = d->sources && d->pieces && d->piece_tensors && d->items && d->item_tasks && d->item_dtypes &&
                 d->buffers;
    for (size_t s = 0; there && s < d->n_sources; s++) {
        d->sources[s].size = emr_staging_size(plan, s);
        if (d->sources[s].size)
            there =
                (d->sources[s].staging = emr_allocate(a, layout->window_params * d->sources[s].size)) != NULL;
    }
    emr_status status = there ? check_readable(d, error) : emr_fail(error, EMR_ENOMEM, "out of memory");
    emr_hasher_init(&d->hasher);
    for (size_t i = 0; i < plan->n_base; i++)
        plan->rows[i].hash = emr_hasher_digest(&d->hasher); /* right as it is for tensors without elements */
    if (status)
        emr_driver_destroy(&d);
    *driver = d;
    return status;
}

void emr_driver_destroy(emr_driver **driver)
{
    emr_driver *d = *driver;
    if (!d)
        return;
    emr_allocator a = d->allocator;
    for (size_t s = 0; d->sources && s < d->n_sources; s++)
        emr_release(&a, d->sources[s].staging);
    emr_release(&a, d->sources);
    emr_release(&a, d->pieces);
    emr_release(&a, d->piece_tensors);
    emr_release(&a, d->items);
    emr_release(&a, d->item_tasks);
    emr_release(&a, d->item_dtypes);
    emr_release(&a, d->buffers);
    emr_release(&a, d);
    *driver = NULL;
}

/* The bytes of a piece in one source: host memory, or their place in the staging. */
static uint8_t *piece_bytes(const emr_driver *d, size_t s, const emr_tensor *t, const piece *p)
{
    if (t->kind == EMR_TENSOR_MEMORY)
        return (uint8_t *)(uintptr_t)t->data + p->first * emr_float_size(t->dtype); /* only ever read */
    return d->sources[s].staging + (p->flat - d->pieces[0].flat) * d->sources[s].size;
}

/* Cuts a piece into items at the chunk boundaries of flat space; fewer where there is no room. Returns the
 * parameters covered. */
static uint64_t add_items(emr_driver *d, const piece *p)
{
    uint64_t covered = 0;
    while (covered < p->n && d->n_items < d->layout->max_items) {
        size_t index = d->n_items++;
        emr_item *item = &d->items[index];
        uint64_t flat = p->flat + covered;
        *item = (emr_item){.row = p->row,
                           .first = p->first + covered,
                           .flat = flat,
                           .n = (size_t)emr_min(p->n - covered, EMR_CHUNK - flat % EMR_CHUNK),
                           .tasks = d->item_tasks + index * d->plan->n_tasks,
                           .task_dtypes = d->item_dtypes + index * d->plan->n_tasks};
        for (size_t s = 0; s < d->n_sources; s++) {
            const emr_tensor *t = piece_tensor(d, p, s);
            const uint8_t *bytes = t ? piece_bytes(d, s, t, p) + covered * emr_float_size(t->dtype) : NULL;
            if (s == 0) {
                item->base = bytes;
                continue;
            }
            d->item_tasks[index * d->plan->n_tasks + s - 1] = bytes;
            d->item_dtypes[index * d->plan->n_tasks + s - 1] = t ? (uint8_t)t->dtype : 0;
        }
        covered += item->n;
    }
    return covered;
}

/* Lays out the next window: pieces and items from where the last one ended. */
static void lay_out_window(emr_driver *d)
{
    uint64_t limit = 0;
    d->n_pieces = d->n_items = 0;
    while (d->next_row < d->plan->n_merged && d->n_items < d->layout->max_items) {
        const emr_row *row = &d->plan->rows[d->next_row];
        uint64_t left = row->base->count - d->next_first, flat = row->first_param + d->next_first;
        if (left == 0) {
            d->next_row++;
            d->next_first = 0;
            continue;
        }
        if (d->n_pieces == 0) /* what the outputs hold begins at a superblock */
            limit =
                emr_min(flat / EMR_CHUNK * EMR_CHUNK + d->layout->window_params,
                        flat / d->layout->block_params * d->layout->block_params + d->layout->buffer_params);
        if (flat >= limit)
            return;
        piece *p = &d->pieces[d->n_pieces++];
        *p = (piece){d->next_row, d->next_first, flat, emr_min(left, limit - flat)};
        for (size_t s = 0; s < d->n_sources; s++)
            d->piece_tensors[(size_t)(p - d->pieces) * d->n_sources + s] = source_tensor(d, s, p->row);
        p->n = add_items(d, p);
        d->next_first += p->n;
    }
}

static emr_status read_piece(void *context, size_t job, size_t worker, emr_error *error)
{
    emr_driver *d = context;
    const piece *p = &d->pieces[job / d->n_sources];
    size_t s = job % d->n_sources;
    const emr_tensor *t = piece_tensor(d, p, s);
    (void)worker;
    if (!t || t->kind == EMR_TENSOR_MEMORY || t->kind == EMR_TENSOR_PUSHED)
        return EMR_OK;
    size_t size = emr_float_size(t->dtype);
    emr_status status =
        emr_tensor_read(t, p->first * size, piece_bytes(d, s, t, p), (size_t)p->n * size, error);
    return name_task(d, s, status, error);
}

/* Moves a source's push position over what need not be pushed. */
static void skip_unpushed(emr_driver *d, size_t s)
{
    source *src = &d->sources[s];
    while (src->piece < d->n_pieces) {
        const emr_tensor *t = piece_tensor(d, &d->pieces[src->piece], s);
        if (t && t->kind == EMR_TENSOR_PUSHED)
            return;
        src->piece++;
        src->offset = 0;
    }
}

static emr_status open_window(emr_driver *d, emr_error *error)
{
    lay_out_window(d);
    for (size_t s = 0; s < d->n_sources; s++) {
        d->sources[s].piece = 0;
        d->sources[s].offset = 0;
        skip_unpushed(d, s);
    }
    return emr_work(d->workers, d->n_pieces * d->n_sources, read_piece, d, error);
}

static bool window_complete(const emr_driver *d)
{
    for (size_t s = 0; s < d->n_sources; s++)
        if (d->sources[s].piece < d->n_pieces)
            return false;
    return true;
}

static void hash_base(emr_driver *d)
{
    for (size_t i = 0; i < d->n_pieces; i++) {
        const piece *p = &d->pieces[i];
        emr_row *row = &d->plan->rows[p->row];
        if (p->first == 0)
            emr_hasher_init(&d->hasher);
        emr_hasher_update(&d->hasher, piece_bytes(d, 0, row->base, p),
                          (size_t)p->n * emr_float_size(row->base->dtype));
        if (p->first + p->n == row->base->count)
            row->hash = emr_hasher_digest(&d->hasher);
    }
}

static emr_status compute_item(void *context, size_t job, size_t worker, emr_error *error)
{
    emr_driver *d = context;
    (void)worker, (void)error;
    if (job == 0)
        hash_base(d);
    else
        d->functions->compute(d->step, &d->items[job - 1], job - 1);
    return EMR_OK;
}

static uint64_t window_bytes(const emr_driver *d)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < d->n_pieces; i++) {
        for (size_t s = 0; s < d->n_sources; s++) {
            const emr_tensor *t = piece_tensor(d, &d->pieces[i], s);
            bytes += t ? d->pieces[i].n * emr_float_size(t->dtype) : 0;
        }
    }
    return bytes;
}

static emr_status process_window(emr_driver *d, emr_error *error)
{
    emr_status status = emr_work(d->workers, d->n_items + 1, compute_item, d, error);
    for (size_t i = 0; !status && i < d->n_items; i++)
        status = d->functions->fold(d->step, &d->items[i], i, error);
    if (!status)
        status = d->functions->window_end(d->step, error);
    return status ? status : progress(d, window_bytes(d), error);
}

/* Calls `fn` with a tensor's bytes, front to back. */
static emr_status stream_tensor(emr_driver *d, size_t s, const emr_tensor *t,
                                emr_status (*fn)(emr_driver *d, const void *bytes, size_t n,
                                                 emr_error *error),
                                emr_error *error)
{
    emr_status status = EMR_OK;
    for (uint64_t at = 0; !status && at < t->bytes; at += EMR_IO_BUFFER) {
        size_t n = (size_t)emr_min(EMR_IO_BUFFER, t->bytes - at);
        status = name_task(d, s, emr_tensor_read(t, at, d->buffers, n, error), error);
        if (!status)
            status = fn(d, d->buffers, n, error);
    }
    return status;
}

static emr_status hash_bytes(emr_driver *d, const void *bytes, size_t n, emr_error *error)
{
    emr_hasher_update(&d->hasher, bytes, n);
    return progress(d, n, error);
}

/* Whether a task's tensor has the base's bytes. */
static emr_status compare_tensor(emr_driver *d, size_t task, const emr_tensor *base, const emr_tensor *own,
                                 bool *equal, emr_error *error)
{
    emr_status status = EMR_OK;
    *equal = own->dtype == base->dtype && emr_same_shape(own, base);
    for (uint64_t at = 0; !status && *equal && at < base->bytes; at += EMR_IO_BUFFER) {
        size_t n = (size_t)emr_min(EMR_IO_BUFFER, base->bytes - at);
        status = emr_tensor_read(base, at, d->buffers, n, error);
        if (!status)
            status =
                name_task(d, task + 1, emr_tensor_read(own, at, d->buffers + EMR_IO_BUFFER, n, error), error);
        *equal = !status && memcmp(d->buffers, d->buffers + EMR_IO_BUFFER, n) == 0;
    }
    return status;
}

static emr_status keep_bytes(emr_driver *d, const void *bytes, size_t n, emr_error *error)
{
    return d->functions->kept(d->step, d->next_row, bytes, n, error);
}

/* One tensor of the base that is not merged: who has it unchanged, its hash, and its bytes if the base is
 * embedded. */
static emr_status process_kept(emr_driver *d, emr_row *row, emr_error *error)
{
    emr_status status = EMR_OK;
    bool used = false;
    for (size_t t = 0; !status && t < d->plan->n_tasks; t++) {
        const emr_tensor *own = emr_model_find(d->plan->tasks[t].model, row->base->name);
        bool equal = true;
        if (own && row->action == EMR_ACTION_KEEP) {
            status = compare_tensor(d, t, row->base, own, &equal, error);
            row->is_private[t] = !equal;
        }
        if (!status && own && equal &&
            row->action == EMR_ACTION_KEEP) /* others count when they are streamed */
            status = progress(d, own->bytes, error);
        used = used || emr_row_from_base(row, t);
    }
    if (!status && !used && row->action == EMR_ACTION_KEEP)
        status = progress(d, row->base->bytes, error); /* compared, and then nobody's */
    if (status || !used)
        return status;
    emr_hasher_init(&d->hasher);
    status = stream_tensor(d, 0, row->base, hash_bytes, error);
    row->hash = emr_hasher_digest(&d->hasher);
    if (!status && d->plan->options->embed_base) {
        status = d->functions->kept(d->step, d->next_row, NULL, 0, error);
        if (!status)
            status = stream_tensor(d, 0, row->base, keep_bytes, error);
    }
    return status;
}

static emr_status end_merged(emr_driver *d, emr_error *error)
{
    emr_status status = d->functions->merged_end(d->step, error);
    for (; !status && d->next_row < d->plan->n_base; d->next_row++)
        status = process_kept(d, &d->plan->rows[d->next_row], error);
    d->phase = PRIVATE;
    return status;
}

static const emr_tensor *private_tensor_at(const emr_driver *d, size_t task, size_t i)
{
    const emr_tensor *t = emr_model_tensor(d->plan->tasks[task].model, i);
    const emr_row *row = t ? emr_plan_find(d->plan, t->name) : NULL;
    return row && row->action != EMR_ACTION_MERGE && row->is_private[task] ? t : NULL;
}

static emr_status give_private(emr_driver *d, const void *bytes, size_t n, emr_error *error)
{
    d->private_offset += n;
    emr_status status = d->functions->private_bytes(d->step, bytes, n, error);
    return status ? status : progress(d, n, error);
}

/* Goes through the private tensors up to the first whose bytes must be pushed. */
static emr_status pump_private(emr_driver *d, emr_error *error)
{
    while (d->private_task < d->plan->n_tasks) {
        const emr_tensor *t = private_tensor_at(d, d->private_task, d->private_tensor);
        emr_status status = EMR_OK;
        if (t && !d->private_open) {
            d->private_offset = 0;
            d->private_open = true;
            status = d->functions->private_begin(d->step, d->private_task, t, error);
            if (!status && t->kind != EMR_TENSOR_PUSHED)
                status = stream_tensor(d, d->private_task + 1, t, give_private, error);
        }
        if (status)
            return status;
        if (t && d->private_offset < t->bytes)
            return EMR_OK; /* waits to be pushed */
        d->private_open = false;
        if (++d->private_tensor >= emr_model_n_tensors(d->plan->tasks[d->private_task].model)) {
            d->private_task++;
            d->private_tensor = 0;
        }
    }
    d->phase = DONE;
    return EMR_OK;
}

emr_status emr_driver_pump(emr_driver *d, emr_error *error)
{
    emr_status status = EMR_OK;
    while (!status && d->phase == MERGED && window_complete(d)) {
        if (d->n_pieces)
            status = process_window(d, error);
        if (!status)
            status = open_window(d, error);
        if (!status && !d->n_pieces)
            status = end_merged(d, error);
    }
    if (!status && d->phase == PRIVATE)
        status = pump_private(d, error);
    return status;
}

/* Bytes of its current piece that a source has yet to push. */
static uint64_t piece_left(const emr_driver *d, size_t s, const emr_tensor **tensor)
{
    const piece *p = &d->pieces[d->sources[s].piece];
    *tensor = piece_tensor(d, p, s);
    return p->n * emr_float_size((*tensor)->dtype) - d->sources[s].offset;
}

emr_status emr_driver_push(emr_driver *d, size_t s, const void *data, size_t n, size_t *taken,
                           emr_error *error)
{
    emr_status status = EMR_OK;
    const uint8_t *from = data;
    *taken = 0;
    while (!status && *taken < n) {
        const emr_tensor *t;
        uint64_t room;
        if (d->phase == MERGED && d->sources[s].piece < d->n_pieces) {
            source *src = &d->sources[s];
            room = emr_min(piece_left(d, s, &t), n - *taken);
            memcpy(piece_bytes(d, s, t, &d->pieces[src->piece]) + src->offset, from + *taken, (size_t)room);
            src->offset += room;
            if (piece_left(d, s, &t) == 0) {
                src->piece++;
                src->offset = 0;
                skip_unpushed(d, s);
            }
        } else if (d->phase == PRIVATE && d->private_task + 1 == s) {
            t = private_tensor_at(d, d->private_task, d->private_tensor);
            room = emr_min(t->bytes - d->private_offset, n - *taken);
            status = give_private(d, from + *taken, (size_t)room, error);
        } else {
            return EMR_OK; /* has to wait, or is done */
        }
        *taken += (size_t)room;
        if (!status)
            status = emr_driver_pump(d, error);
    }
    return status;
}

const emr_tensor *emr_driver_expects(const emr_driver *d, size_t s, uint64_t *bytes)
{
    const emr_tensor *t;
    *bytes = 0;
    if (d->phase == MERGED && d->sources[s].piece < d->n_pieces) {
        *bytes = piece_left(d, s, &t);
        return t;
    }
    for (size_t row =
             d->next_row + (d->next_first > 0 && d->next_first == d->plan->rows[d->next_row].base->count);
         d->phase == MERGED && row < d->plan->n_merged; row++) {
        t = source_tensor(d, s, row);
        if (t && t->kind == EMR_TENSOR_PUSHED && t->bytes)
            return t;
    }
    if (s == 0 || d->phase == DONE || d->private_task + 1 > s)
        return NULL;
    size_t i = d->private_task + 1 == s ? d->private_tensor : 0;
    if (d->phase == PRIVATE && d->private_task + 1 == s && d->private_open) {
        t = private_tensor_at(d, d->private_task, i);
        *bytes = t->bytes - d->private_offset;
        return t;
    }
    for (; i < emr_model_n_tensors(d->plan->tasks[s - 1].model); i++) {
        t = private_tensor_at(d, s - 1, i);
        if (t && t->kind == EMR_TENSOR_PUSHED && t->bytes)
            return t;
    }
    return NULL;
}

emr_status emr_driver_finish(emr_driver *d, emr_error *error)
{
    for (size_t s = 0; s < d->n_sources; s++) {
        uint64_t bytes;
        const emr_tensor *t = emr_driver_expects(d, s, &bytes);
        if (t)
            return emr_fail(error, EMR_ESTATE, "%s%s%s (%s): tensor '%s' still has bytes to be pushed",
                            s ? "task '" : "the base", s ? d->plan->tasks[s - 1].name : "", s ? "'" : "",
                            t->model_name, t->name);
    }
    return d->functions->finish(d->step, error);
}

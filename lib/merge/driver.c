/* driver.c - see driver.h. The merged tensors pass in windows of flat space, one a round. In a round
 * everything that can be done runs side by side: reading and computing the window's items, hashing the base
 * of the window before, and what the step has left to do of earlier ones. Then the results are folded in
 * order. After the merged tensors come those kept from the base, then each task's private ones. */
#include "merge/driver.h"

#include "core/hash.h"
#include "bundle/bundle.h"
#include "merge/window.h"
#include "numeric/convert.h"

#include <string.h>

/* Where a source's pushed bytes go next. */
typedef struct place {
    size_t piece;
    uint64_t offset;
} place;

/* Bytes of the base that are to be hashed. */
typedef struct unhashed {
    size_t row;
    const void *bytes;
    uint64_t first;
    size_t n; /* parameters */
} unhashed;

typedef enum phase { MERGED, PRIVATE, DONE } phase;

struct emr_driver {
    emr_allocator allocator;
    emr_plan *plan;
    const emr_workers *workers;
    const emr_step_functions *functions;
    void *step;
    size_t n_sources;
    emr_window *window;
    place *places;
    unhashed *unhashed;
    size_t n_unhashed;
    size_t n_step_jobs; /* of the round */
    emr_hasher hasher;  /* of the base's tensor that is passing */
    uint8_t *buffers;   /* two of EMR_IO_BUFFER */
    phase phase;
    size_t kept_row;
    size_t private_task, private_tensor; /* the one that is passing */
    uint64_t private_offset;
    bool private_open;
    uint64_t done; /* input bytes */
    emr_window_fn on_window;
    void *on_window_context;
    size_t saved_row; /* rows before it were saved complete */
};

uint64_t emr_driver_memory(const emr_plan *plan, const emr_layout *l)
{
    return sizeof(emr_driver) + (plan->n_tasks + 1) * sizeof(place) + 2 * EMR_IO_BUFFER +
           l->max_items * sizeof(unhashed) + emr_window_memory(plan, l);
}

static emr_status progress(emr_driver *d, uint64_t bytes, emr_error *error)
{
    const emr_merge_options *o = d->plan->options;
    d->done += bytes;
    if (o->progress && o->progress(o->progress_user, d->done, d->plan->bytes_in))
        return emr_fail(error, EMR_ECANCELED, "the merge was canceled");
    return EMR_OK;
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
            const emr_tensor *t = emr_source_tensor(d->plan, i, s);
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
    d->workers = workers;
    d->functions = functions;
    d->step = step;
    d->n_sources = plan->n_tasks + 1;
    d->kept_row = plan->n_merged;
    d->places = emr_allocate_array(a, d->n_sources, sizeof *d->places);
    d->unhashed = emr_allocate_array(a, layout->max_items, sizeof *d->unhashed);
    d->buffers = emr_allocate(a, (size_t)2 * EMR_IO_BUFFER);
    bool there = d->places && d->unhashed && d->buffers;
    emr_status status = there ? emr_window_create(&d->window, plan, layout, error)
                              : emr_fail(error, EMR_ENOMEM, "out of memory");
    if (!status)
        status = check_readable(d, error);
    emr_hasher_init(&d->hasher);
    for (size_t i = 0; i < plan->n_base; i++) {
        plan->rows[i].hash = emr_hasher_digest(&d->hasher); /* right as it is for tensors without elements */
        plan->rows[i].zeroed = plan->rows[i].base_offset = 0;
    }
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
    emr_window_destroy(&d->window);
    emr_release(&a, d->places);
    emr_release(&a, d->unhashed);
    emr_release(&a, d->buffers);
    emr_release(&a, d);
    *driver = NULL;
}

/* Moves a source's push position over what need not be pushed. */
static void skip_unpushed(emr_driver *d, size_t s)
{
    place *p = &d->places[s];
    while (p->piece < d->window->n_pieces) {
        const emr_tensor *t = emr_window_tensor(d->window, p->piece, s);
        if (t && t->kind == EMR_TENSOR_PUSHED)
            return;
        *p = (place){p->piece + 1, 0};
    }
}

static void open_window(emr_driver *d)
{
    emr_window_next(d->window);
    for (size_t s = 0; s < d->n_sources; s++) {
        d->places[s] = (place){0, 0};
        skip_unpushed(d, s);
    }
}

static bool window_complete(const emr_driver *d)
{
    for (size_t s = 0; s < d->n_sources; s++)
        if (d->places[s].piece < d->window->n_pieces)
            return false;
    return true;
}

/* A base whose bytes are not those that are expected is another one. */
static emr_status check_hash(const emr_driver *d, const emr_row *row, emr_error *error)
{
    if (!row->is_expected || (row->hash.low == row->expected[0] && row->hash.high == row->expected[1]))
        return EMR_OK;
    return emr_fail(error, EMR_EMISMATCH, "%s is not the base of %s: tensor '%s': its bytes differ",
                    d->plan->base->name, d->plan->before->name, row->base->name);
}

static emr_status hash_base(emr_driver *d, emr_error *error)
{
    emr_status status = EMR_OK;
    for (size_t i = 0; !status && i < d->n_unhashed; i++) {
        const unhashed *u = &d->unhashed[i];
        emr_row *row = &d->plan->rows[u->row];
        if (u->first == 0)
            emr_hasher_init(&d->hasher);
        emr_hasher_update(&d->hasher, u->bytes, u->n * emr_float_size(row->base->dtype));
        if (u->first + u->n == row->base->count) {
            row->hash = emr_hasher_digest(&d->hasher);
            status = check_hash(d, row, error);
        }
    }
    d->n_unhashed = 0;
    return status;
}

static emr_status compute_job(emr_driver *d, size_t job, size_t worker, emr_error *error)
{
    const emr_window *w = d->window;
    emr_status status = emr_window_read(d->window, job, worker, error);
    for (size_t i = w->jobs[job]; !status && i < w->jobs[job + 1]; i++)
        d->functions->compute(d->step, &w->items[i], i);
    return status;
}

/* The jobs of a round: the step's, which are the longest, the hash, the window's. */
static emr_status run_job(void *context, size_t job, size_t worker, emr_error *error)
{
    emr_driver *d = context;
    if (job < d->n_step_jobs)
        return d->functions->job(d->step, job, worker, error);
    if (job > d->n_step_jobs)
        return compute_job(d, job - d->n_step_jobs - 1, worker, error);
    return hash_base(d, error);
}

static emr_status process_window(emr_driver *d, emr_error *error)
{
    const emr_window *w = d->window;
    emr_status status = d->functions->load(d->step, w->items, w->n_items, d->workers, error);
    if (status)
        return status;
    d->n_step_jobs = d->functions->begin(d->step, w->items, w->n_items);
    status = emr_work(d->workers, d->n_step_jobs + 1 + w->n_jobs, run_job, d, error);
    for (size_t i = 0; !status && i < w->n_items; i++) {
        const emr_item *item = &w->items[i];
        d->unhashed[d->n_unhashed++] = (unhashed){item->row, item->base, item->first, item->n};
        status = d->functions->fold(d->step, item, i, error);
    }
    if (!status)
        status = d->functions->window_end(d->step, error);
    if (!status)
        status = progress(d, emr_window_bytes(w), error);
    return !status && d->on_window ? d->on_window(d->on_window_context, error) : status;
}

void emr_driver_on_window(emr_driver *d, emr_window_fn fn, void *context)
{
    d->on_window = fn;
    d->on_window_context = context;
}

size_t emr_driver_row(const emr_driver *d)
{
    return d->window->next_row;
}

uint64_t emr_driver_done(const emr_driver *d)
{
    return d->done;
}

emr_status emr_driver_settle(emr_driver *d, emr_error *error)
{
    return hash_base(d, error);
}

/* What a save says of a row; of the one that is passing, what is known so far. */
typedef struct saved_row {
    emr_hash128 hash;
    uint64_t zeroed, base_offset;
} saved_row;

/* The end of the rows that are saved. */
static size_t rows_end(const emr_driver *d)
{
    return (size_t)emr_min(d->window->next_row + 1, d->plan->n_merged);
}

void emr_driver_save(const emr_driver *d, emr_put_fn put, void *context)
{
    uint64_t where[3] = {d->window->next_row, d->window->next_first, d->done};
    put(context, where, sizeof where);
    for (size_t i = d->saved_row; i < rows_end(d); i++) {
        const emr_row *row = &d->plan->rows[i];
        saved_row saved = {row->hash, row->zeroed, row->base_offset};
        put(context, &saved, sizeof saved);
    }
}

void emr_driver_saved(emr_driver *d)
{
    d->saved_row = d->window->next_row;
}

/* Whether a window can begin there. */
static bool is_place(const emr_driver *d, uint64_t row, uint64_t first)
{
    if (row == d->plan->n_merged)
        return first == 0;
    uint64_t count = d->plan->rows[row].base->count;
    return first == count || (first < count && first % EMR_GROUP == 0);
}

uint64_t emr_driver_flat(const emr_driver *d)
{
    const emr_window *w = d->window;
    return w->next_row == d->plan->n_merged
               ? d->plan->flat_params
               : d->plan->rows[w->next_row].first_param + emr_round_up(w->next_first, EMR_GROUP);
}

emr_status emr_driver_restore(emr_driver *d, emr_get_fn get, void *context, emr_error *error)
{
    uint64_t where[3];
    emr_status status = get(context, where, sizeof where, error);
    if (status)
        return status;
    if (where[0] > d->plan->n_merged || where[0] < d->saved_row || !is_place(d, where[0], where[1]))
        return emr_fail(error, EMR_EFORMAT, "the journal is not this merge's");
    d->window->next_row = (size_t)where[0];
    d->window->next_first = where[1];
    d->done = where[2];
    for (size_t i = d->saved_row; !status && i < rows_end(d); i++) {
        saved_row saved;
        status = get(context, &saved, sizeof saved, error);
        if (status)
            break;
        d->plan->rows[i].hash = saved.hash;
        d->plan->rows[i].zeroed = saved.zeroed;
        d->plan->rows[i].base_offset = saved.base_offset;
    }
    d->saved_row = d->window->next_row;
    return status;
}

/* The hash of a tensor that was passing is taken anew: so far only the base needs to be read again. */
emr_status emr_driver_continue(emr_driver *d, emr_error *error)
{
    emr_status status = EMR_OK;
    if (d->window->next_row == d->plan->n_merged)
        return EMR_OK;
    const emr_tensor *base = d->plan->rows[d->window->next_row].base;
    uint64_t end = d->window->next_first * emr_float_size(base->dtype);
    emr_hasher_init(&d->hasher);
    for (uint64_t at = 0; !status && end < base->bytes && at < end; at += EMR_IO_BUFFER) {
        size_t n = (size_t)emr_min(EMR_IO_BUFFER, end - at);
        status = emr_tensor_read(base, at, d->buffers, n, error);
        if (!status)
            emr_hasher_update(&d->hasher, d->buffers, n);
    }
    return status;
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
        status = emr_plan_name_source(d->plan, s, emr_tensor_read(t, at, d->buffers, n, error), error);
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
            status = emr_plan_name_source(
                d->plan, task + 1, emr_tensor_read(own, at, d->buffers + EMR_IO_BUFFER, n, error), error);
        *equal = !status && memcmp(d->buffers, d->buffers + EMR_IO_BUFFER, n) == 0;
    }
    return status;
}

static emr_status keep_bytes(emr_driver *d, const void *bytes, size_t n, emr_error *error)
{
    return d->functions->kept(d->step, d->kept_row, bytes, n, error);
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
        if (t < d->plan->n_old) { /* known from its bundle */
            used = used || emr_row_from_base(row, t);
            continue;
        }
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
    if (!status)
        status = check_hash(d, row, error);
    if (!status && d->plan->options->embed_base) {
        status = d->functions->kept(d->step, d->kept_row, NULL, 0, error);
        if (!status)
            status = stream_tensor(d, 0, row->base, keep_bytes, error);
    }
    return status;
}

static emr_status end_merged(emr_driver *d, emr_error *error)
{
    emr_status status = hash_base(d, error); /* of the last window */
    if (!status)
        status = d->functions->merged_end(d->step, error);
    for (; !status && d->kept_row < d->plan->n_base; d->kept_row++)
        status = process_kept(d, &d->plan->rows[d->kept_row], error);
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
        if (d->window->n_pieces)
            status = process_window(d, error);
        if (!status)
            open_window(d);
        if (!status && !d->window->n_pieces)
            status = end_merged(d, error);
    }
    if (!status && d->phase == PRIVATE)
        status = pump_private(d, error);
    return status;
}

/* Bytes of its current piece that a source has yet to push. */
static uint64_t piece_left(const emr_driver *d, size_t s, const emr_tensor **tensor)
{
    const place *p = &d->places[s];
    *tensor = emr_window_tensor(d->window, p->piece, s);
    return d->window->pieces[p->piece].n * emr_float_size((*tensor)->dtype) - p->offset;
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
        if (d->phase == MERGED && d->places[s].piece < d->window->n_pieces) {
            place *p = &d->places[s];
            room = emr_min(piece_left(d, s, &t), n - *taken);
            memcpy(emr_window_pushed(d->window, p->piece, s) + p->offset, from + *taken, (size_t)room);
            p->offset += room;
            if (piece_left(d, s, &t) == 0) {
                *p = (place){p->piece + 1, 0};
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
    const emr_window *w = d->window;
    if (d->phase == MERGED && d->places[s].piece < w->n_pieces) {
        *bytes = piece_left(d, s, &t);
        return t;
    }
    for (size_t row =
             w->next_row + (w->next_first > 0 && w->next_first == d->plan->rows[w->next_row].base->count);
         d->phase == MERGED && row < d->plan->n_merged; row++) {
        t = emr_source_tensor(d->plan, row, s);
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

/* window.c - see window.h. */
#include "pass/window.h"

#include "numeric/convert.h"
#include "numeric/kernels.h"

#include <string.h>

/* Between the sources in a worker's staging: were they powers of two apart, their bytes would compete for the
 * same sets of the caches. */
enum { SKEW = 1088 };

static bool is_read(const emr_tensor *t)
{
    return t->kind == EMR_TENSOR_IO || t->kind == EMR_TENSOR_COMPUTED;
}

size_t emr_window_size(const emr_alignment *alignment, uint32_t s)
{
    emr_element_sizes sizes = alignment->sizes[s];
    return s == 0 && sizes.read > sizes.pushed ? sizes.read : sizes.pushed;
}

size_t emr_worker_size(const emr_alignment *alignment, uint32_t s)
{
    return s == 0 ? 0 : alignment->sizes[s].read;
}

uint64_t emr_window_memory(const emr_alignment *alignment, const emr_layout *l)
{
    uint32_t n_sources = alignment->n_sources;
    uint64_t per_item = sizeof(emr_stretch) + n_sources * sizeof(void *) + sizeof(emr_item) +
                        2 * sizeof(size_t) + alignment->n_tasks * (sizeof(void *) + sizeof(emr_dtype));
    return sizeof(emr_window) + n_sources * sizeof(emr_staging) + l->max_items * per_item +
           l->window_params * l->window_size +
           l->n_workers * (l->job_params * l->worker_size + alignment->n_tasks * SKEW);
}

static bool allocate_window(emr_window *w)
{
    const emr_allocator *a = &w->allocator;
    size_t n_items = w->layout->max_items, n_tasks = w->alignment->n_tasks;
    w->sources = emr_allocate_array(a, w->n_sources, sizeof *w->sources);
    w->stretches = emr_allocate_array(a, n_items, sizeof *w->stretches);
    w->stretch_tensors = emr_allocate_array(a, n_items, w->n_sources * sizeof *w->stretch_tensors);
    w->items = emr_allocate_array(a, n_items, sizeof *w->items);
    w->item_stretches = emr_allocate_array(a, n_items, sizeof *w->item_stretches);
    w->item_tasks = emr_allocate_array(a, n_items, n_tasks * sizeof *w->item_tasks);
    w->item_dtypes = emr_allocate_array(a, n_items, n_tasks * sizeof *w->item_dtypes);
    w->jobs = emr_allocate_array(a, n_items + 1, sizeof *w->jobs);
    bool there = w->sources && w->stretches && w->stretch_tensors && w->items && w->item_stretches &&
                 w->item_tasks && w->item_dtypes && w->jobs;
    for (uint32_t s = 0; there && s < w->n_sources; s++) {
        emr_staging *staging = &w->sources[s];
        staging->window_size = emr_window_size(w->alignment, s);
        staging->worker_size = emr_worker_size(w->alignment, s);
        staging->worker_offset = w->worker_bytes;
        if (staging->worker_size)
            w->worker_bytes += staging->worker_size * w->layout->job_params + SKEW;
        size_t bytes = staging->window_size * w->layout->window_params;
        for (size_t i = 0; there && bytes && i < (s == 0 ? 2 : 1); i++)
            there = (staging->window[i] = emr_allocate(a, bytes)) != NULL;
    }
    if (there && w->worker_bytes)
        there = (w->workers = emr_allocate(a, w->worker_bytes * w->layout->n_workers)) != NULL;
    return there;
}

emr_status emr_window_create(emr_window **window, const emr_alignment *alignment, const emr_layout *layout,
                             emr_error *error)
{
    emr_window *w = emr_allocate_array(&alignment->allocator, 1, sizeof *w);
    if (!w)
        return emr_no_memory(error, NULL);
    w->allocator = alignment->allocator;
    w->alignment = alignment;
    w->layout = layout;
    w->n_sources = alignment->n_sources;
    w->end = alignment->flat_params;
    if (!allocate_window(w)) {
        emr_window_destroy(&w);
        return emr_no_memory(error, NULL);
    }
    *window = w;
    return EMR_OK;
}

void emr_window_destroy(emr_window **window)
{
    emr_window *w = *window;
    if (!w)
        return;
    emr_allocator a = w->allocator;
    for (uint32_t s = 0; w->sources && s < w->n_sources; s++)
        for (size_t i = 0; i < 2; i++)
            emr_release(&a, w->sources[s].window[i]);
    emr_release(&a, w->workers);
    emr_release(&a, w->sources);
    emr_release(&a, w->stretches);
    emr_release(&a, w->stretch_tensors);
    emr_release(&a, w->items);
    emr_release(&a, w->item_stretches);
    emr_release(&a, w->item_tasks);
    emr_release(&a, w->item_dtypes);
    emr_release(&a, w->jobs);
    emr_release(&a, w);
    *window = NULL;
}

const emr_tensor *emr_window_tensor(const emr_window *w, size_t stretch, uint32_t s)
{
    return w->stretch_tensors[stretch * w->n_sources + s];
}

uint8_t *emr_window_pushed(const emr_window *w, size_t stretch, uint32_t s)
{
    const emr_staging *staging = &w->sources[s];
    return staging->window[s == 0 ? w->turn : 0] +
           (w->stretches[stretch].flat - w->stretches[0].flat) * staging->window_size;
}

/* Host memory, or where bytes are pushed; NULL where they are to be read, or there are none. */
static const uint8_t *bytes_at_hand(const emr_window *w, size_t stretch, uint32_t s)
{
    const emr_tensor *t = emr_window_tensor(w, stretch, s);
    if (t && t->kind == EMR_TENSOR_MEMORY)
        return (const uint8_t *)t->data + w->stretches[stretch].first * emr_float_size(t->dtype);
    return t && t->kind == EMR_TENSOR_PUSHED ? emr_window_pushed(w, stretch, s) : NULL;
}

static void set_source(emr_window *w, size_t item, uint32_t s, const uint8_t *bytes)
{
    if (s == 0)
        w->items[item].base = bytes;
    else
        w->item_tasks[item * w->alignment->n_tasks + s - 1] = bytes;
}

/* Adds one item of a stretch, and begins a job where one is due. */
static void add_item(emr_window *w, size_t stretch, uint64_t covered, size_t n)
{
    const emr_stretch *p = &w->stretches[stretch];
    size_t index = w->n_items++, n_tasks = w->alignment->n_tasks;
    emr_item *item = &w->items[index];
    *item = (emr_item){.entry = &w->alignment->entries[p->entry],
                       .number = p->entry,
                       .first = p->first + covered,
                       .flat = p->flat + covered,
                       .n = n,
                       .tasks = w->item_tasks + index * n_tasks,
                       .task_dtypes = w->item_dtypes + index * n_tasks};
    w->item_stretches[index] = stretch;
    for (uint32_t s = 0; s < w->n_sources; s++) {
        const emr_tensor *t = emr_window_tensor(w, stretch, s);
        const uint8_t *bytes = bytes_at_hand(w, stretch, s);
        set_source(w, index, s, bytes ? bytes + covered * emr_float_size(t->dtype) : NULL);
        if (s > 0)
            w->item_dtypes[index * n_tasks + s - 1] = t ? t->dtype : EMR_DTYPE_NONE;
    }
    if (index == 0 || item->flat / w->layout->job_params != item[-1].flat / w->layout->job_params)
        w->jobs[w->n_jobs++] = index;
}

/* Cuts a stretch into items at the chunk boundaries of flat space; fewer where there is no room. Returns the
 * parameters covered. */
static uint64_t add_items(emr_window *w, size_t stretch)
{
    const emr_stretch *p = &w->stretches[stretch];
    uint64_t covered = 0;
    while (covered < p->n && w->n_items < w->layout->max_items) {
        size_t n = (size_t)emr_min(p->n - covered, EMR_CHUNK - (p->flat + covered) % EMR_CHUNK);
        add_item(w, stretch, covered, n);
        covered += n;
    }
    return covered;
}

/* A window lies between multiples of its size, and of the span (layout.h). */
static uint64_t window_end(const emr_layout *l, uint64_t flat)
{
    uint64_t by_window = flat / EMR_CHUNK * EMR_CHUNK + l->window_params;
    return emr_min(by_window, (flat / l->span_params + 1) * l->span_params);
}

/* Tells the I/O of each source what comes after the window: in most files what comes next in them. */
static void announce_next(const emr_window *w)
{
    for (uint32_t s = 0; s < w->n_sources; s++) {
        const emr_tensor *last = NULL;
        uint64_t end = 0, bytes = 0;
        for (size_t i = 0; i < w->n_stretches; i++) {
            const emr_tensor *t = emr_window_tensor(w, i, s);
            if (!t || t->kind != EMR_TENSOR_IO || !t->io.will_need)
                continue;
            size_t size = emr_float_size(t->dtype);
            last = t;
            end = t->offset + (w->stretches[i].first + w->stretches[i].n) * size;
            bytes += w->stretches[i].n * size;
        }
        if (last)
            last->io.will_need(last->io.user, end, bytes);
    }
}

void emr_window_next(emr_window *w)
{
    uint64_t limit = 0;
    w->n_stretches = w->n_items = w->n_jobs = 0;
    w->turn ^= 1;
    while (w->next_entry < w->alignment->n_merged && w->n_items < w->layout->max_items) {
        const emr_entry *entry = &w->alignment->entries[w->next_entry];
        uint64_t left = entry->base->count - w->next_first, flat = entry->first_param + w->next_first;
        if (left == 0) {
            w->next_entry++;
            w->next_first = 0;
            continue;
        }
        if (w->n_stretches == 0)
            limit = emr_min(window_end(w->layout, flat), w->end);
        if (flat >= limit)
            break;
        size_t stretch = w->n_stretches++;
        w->stretches[stretch] = (emr_stretch){
            .entry = w->next_entry, .first = w->next_first, .flat = flat, .n = emr_min(left, limit - flat)};
        for (uint32_t s = 0; s < w->n_sources; s++)
            w->stretch_tensors[stretch * w->n_sources + s] = emr_alignment_tensor(w->alignment, entry, s);
        w->stretches[stretch].n = add_items(w, stretch);
        w->next_first += w->stretches[stretch].n;
    }
    w->jobs[w->n_jobs] = w->n_items;
    announce_next(w);
}

uint64_t emr_window_bytes(const emr_window *w)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < w->n_stretches; i++) {
        for (uint32_t s = 0; s < w->n_sources; s++) {
            const emr_tensor *t = emr_window_tensor(w, i, s);
            bytes += t ? w->stretches[i].n * emr_float_size(t->dtype) : 0;
        }
    }
    return bytes;
}

/* Bytes of several items that one read brings. */
typedef struct read_span {
    const emr_tensor *tensor; /* the first item's */
    uint64_t offset;          /* in that tensor */
    size_t n;                 /* bytes; 0: there is no span */
    uint8_t *to;
    uint64_t flat; /* of the first item */
    size_t first_item, n_items;
} read_span;

static const emr_tensor *item_tensor(const emr_window *w, size_t item, uint32_t s)
{
    return emr_window_tensor(w, w->item_stretches[item], s);
}

/* Where an element begins: in the I/O object, or in a computed tensor. */
static uint64_t file_position(const emr_tensor *t, uint64_t offset)
{
    return (t->kind == EMR_TENSOR_IO ? t->offset : 0) + offset;
}

/* After a span could not be read: maybe what lies between the tensors is at fault, which nobody needs. If
 * not, the message names the tensor. */
static emr_status read_one_by_one(const emr_window *w, uint32_t s, const read_span *r, emr_error *error)
{
    emr_status status = EMR_OK;
    for (size_t i = r->first_item; !status && i < r->first_item + r->n_items; i++) {
        const emr_tensor *t = item_tensor(w, i, s);
        size_t size = emr_float_size(t->dtype);
        uint64_t offset = w->items[i].first * size;
        uint8_t *to = r->to + (file_position(t, offset) - file_position(r->tensor, r->offset));
        status = emr_tensor_read(t, offset, to, w->items[i].n * size, error);
    }
    return status;
}

static emr_status finish_span(const emr_window *w, uint32_t s, read_span *r, emr_error *error)
{
    const emr_tensor *t = r->tensor;
    emr_status status = EMR_OK;
    emr_error why;
    if (r->n == 0)
        return EMR_OK;
    if (r->offset + r->n <= t->bytes)
        status = emr_tensor_read(t, r->offset, r->to, r->n, error);
    else if (emr_io_read(&t->io, t->offset + r->offset, r->to, r->n, &why))
        status = read_one_by_one(w, s, r, error);
    r->n = 0;
    return emr_name_source(w->alignment, s, status, error);
}

/* Lets a span reach to the end of an item, if that lies behind it in the same object (what is between is read
 * and ignored), and the item's place in the staging has room for that. */
static bool extend_span(read_span *r, const emr_tensor *t, const emr_item *item, size_t size)
{
    const emr_tensor *first = r->tensor;
    if (!r->n || (t != first && (t->kind != EMR_TENSOR_IO || first->kind != EMR_TENSOR_IO ||
                                 t->io.user != first->io.user || t->io.read != first->io.read)))
        return false;
    uint64_t start = file_position(first, r->offset),
             begin = file_position(t, item->first * emr_float_size(t->dtype));
    uint64_t end = begin + item->n * emr_float_size(t->dtype);
    uint64_t room = (item->flat + emr_round_up(item->n, EMR_GROUP) - r->flat) * size;
    if (begin < start + r->n || end - start > room)
        return false;
    r->n = (size_t)(end - start);
    r->n_items++;
    return true;
}

static emr_status read_source(emr_window *w, size_t job, uint32_t s, uint8_t *to, size_t size,
                              emr_error *error)
{
    size_t first = w->jobs[job];
    read_span r = {.n = 0};
    emr_status status = EMR_OK;
    for (size_t i = first; !status && i < w->jobs[job + 1]; i++) {
        const emr_tensor *t = item_tensor(w, i, s);
        const emr_item *item = &w->items[i];
        if (!t || !is_read(t)) {
            status = finish_span(w, s, &r, error); /* whatever follows has a place of its own */
            continue;
        }
        if (!extend_span(&r, t, item, size)) {
            status = finish_span(w, s, &r, error);
            r = (read_span){.tensor = t,
                            .offset = item->first * emr_float_size(t->dtype),
                            .n = item->n * emr_float_size(t->dtype),
                            .to = to + (item->flat - w->items[first].flat) * size,
                            .flat = item->flat,
                            .first_item = i,
                            .n_items = 1};
        }
        set_source(w, i, s, r.to + r.n - item->n * emr_float_size(t->dtype));
    }
    return status ? status : finish_span(w, s, &r, error);
}

emr_status emr_window_read(emr_window *w, size_t job, size_t worker, emr_error *error)
{
    emr_status status = EMR_OK;
    uint64_t flat = w->items[w->jobs[job]].flat - w->items[0].flat;
    for (uint32_t s = 0; !status && s < w->n_sources; s++) {
        const emr_staging *staging = &w->sources[s];
        if (s == 0 && staging->window_size)
            status = read_source(w, job, s, staging->window[w->turn] + flat * staging->window_size,
                                 staging->window_size, error);
        else if (staging->worker_size)
            status = read_source(w, job, s, w->workers + worker * w->worker_bytes + staging->worker_offset,
                                 staging->worker_size, error);
    }
    return status;
}

/* rescaling.c - see rescaling.h. */
#include "merge/rescaling.h"

#include "merge/fidelity.h"
#include "numeric/rescale.h"

#include <string.h>

enum { ROWS_MAX = EMR_CHUNK /* that end in one item at most */ };

/* Groups of a task in `rescalers`. */
static size_t count_groups(const emr_merge_plan *plan)
{
    return emr_merge_is_per(plan, EMR_RESCALE_PER_ROW)      ? 0
           : emr_merge_is_per(plan, EMR_RESCALE_PER_TENSOR) ? plan->alignment.n_merged
                                                            : 1;
}

size_t emr_rescaling_count(const emr_merge_plan *plan)
{
    return plan->modulations.n_elected * count_groups(plan);
}

uint64_t emr_rescaling_memory(const emr_merge_plan *plan, const emr_layout *l)
{
    uint64_t a_group = EMR_SCALES_MAX * sizeof(float) + (plan->options.extendable ? sizeof(double) : 0);
    uint64_t rows = emr_merge_is_per(plan, EMR_RESCALE_PER_ROW) ? ROWS_MAX : 0;
    return plan->modulations.n_elected *
               (sizeof(emr_task_sums) +
                plan->store.max_parts * emr_merge_most_scales(plan) * sizeof(emr_sums)) +
           (emr_rescaling_count(plan) + rows) * a_group + l->max_items * sizeof(size_t);
}

emr_status emr_rescaling_create(emr_rescaling *r, const emr_merge_plan *plan, const emr_election *election,
                                emr_error *error)
{
    const emr_allocator *a = &plan->env.allocator;
    size_t n = emr_rescaling_count(plan), n_tasks = plan->modulations.n_elected;
    size_t rows = emr_merge_is_per(plan, EMR_RESCALE_PER_ROW) ? ROWS_MAX : 0;
    bool grows = plan->options.extendable != 0;
    *r = (emr_rescaling){.plan = plan, .election = election, .n_sides = emr_merge_most_scales(plan)};
    r->tasks = emr_allocate_array(a, n_tasks, sizeof *r->tasks);
    r->parts = emr_allocate_array(a, n_tasks, plan->store.max_parts * r->n_sides * sizeof *r->parts);
    r->first_parts = emr_allocate_array(a, plan->layout.max_items, sizeof *r->first_parts);
    r->rescalers = emr_allocate_array(a, n, EMR_SCALES_MAX * sizeof *r->rescalers);
    r->row_rescalers = emr_allocate_array(a, rows, EMR_SCALES_MAX * sizeof *r->row_rescalers);
    bool there = r->tasks && r->parts && r->first_parts && r->rescalers && r->row_rescalers;
    if (there && grows) {
        r->numerators = emr_allocate_array(a, n, sizeof *r->numerators);
        r->row_numerators = emr_allocate_array(a, rows, sizeof *r->row_numerators);
        there = r->numerators && r->row_numerators;
    }
    return there ? EMR_OK : emr_no_memory(error, NULL);
}

void emr_rescaling_destroy(emr_rescaling *r)
{
    if (!r->plan)
        return;
    const emr_allocator *a = &r->plan->env.allocator;
    emr_release(a, r->tasks);
    emr_release(a, r->parts);
    emr_release(a, r->first_parts);
    emr_release(a, r->rescalers);
    emr_release(a, r->numerators);
    emr_release(a, r->row_rescalers);
    emr_release(a, r->row_numerators);
}

/* Parameters of a row or tensor. */
static uint64_t group_length(const emr_merge_plan *plan, const emr_tensor *base)
{
    return emr_merge_is_per(plan, EMR_RESCALE_PER_ROW) ? emr_row_length(base) : base->count;
}

/* How many rows or tensors an item has a part of. */
static size_t parts_of(const emr_item *item, uint64_t length)
{
    return (size_t)((item->first + item->n - 1) / length - item->first / length + 1);
}

void emr_rescaling_begin(emr_rescaling *r, const emr_item *items, size_t n_items)
{
    size_t parts = 0;
    for (size_t i = 0; i < n_items; i++) {
        r->first_parts[i] = parts;
        parts += parts_of(&items[i], group_length(r->plan, items[i].entry->base));
    }
}

static emr_sums *item_parts(const emr_rescaling *r, size_t index, uint32_t task)
{
    return r->parts + (task * r->plan->store.max_parts + r->first_parts[index]) * r->n_sides;
}

void emr_rescaling_sum(emr_rescaling *r, const emr_item *item, size_t index)
{
    static const emr_side one_side[] = {EMR_SIDE_BOTH}, sides[] = {EMR_SIDE_ONES, EMR_SIDE_ZEROS};
    uint64_t length = group_length(r->plan, item->entry->base);
    const emr_chunk *c = &r->election->items[index].chunk;
    for (uint32_t t = 0; t < r->plan->modulations.n_elected; t++) {
        emr_sums *part = item_parts(r, index, t);
        uint32_t n_sides = emr_merge_n_scales(r->plan, t);
        if (!c->skip_sums) { /* one of one side, and known */
            *part = c->results[t].sums;
            continue;
        }
        for (emr_range range = {.task = t}; range.from < item->n; range.from = range.to, part += r->n_sides) {
            range.to = range.from +
                       (size_t)emr_min(length - (item->first + range.from) % length, item->n - range.from);
            for (uint32_t s = 0; s < n_sides; s++) {
                range.side = (n_sides == 1 ? one_side : sides)[s];
                part[s] = emr_elected_sums(r->election, index, range);
            }
        }
    }
}

static void add_sums(emr_sums *to, const emr_sums *more)
{
    to->t1 += more->t1;
    to->q1 += more->q1;
    to->tt += more->tt;
    to->tq += more->tq;
    to->qq += more->qq;
    to->rest += more->rest;
}

/* A group's scales, as f32s, from its sides' sums, and what the task comes to with them; 0 where nothing was
 * elected. */
static void set_scales(emr_rescaling *r, uint32_t task, const emr_sums *sides, float *scales, emr_nearness *n)
{
    for (uint32_t s = 0; s < emr_merge_n_scales(r->plan, task); s++) {
        const emr_sums *x = &sides[s];
        scales[s] = (float)emr_rescale_of(r->plan->options.rescale, x->t1, x->q1, x->tt, x->tq, x->qq);
        n->tt += x->tt + x->rest;
        n->tv += (double)scales[s] * x->tq;
        n->vv += (double)scales[s] * (double)scales[s] * x->qq;
    }
}

/* Per tensor and model: the scales of group `i`, and where tasks can be added what the one is the quotient
 * of. Of a settled task that is what it was. */
static void set_group(emr_rescaling *r, size_t i, uint32_t task, uint32_t tensor, emr_sums *sides)
{
    if (emr_merge_elected_task(r->plan, task)->settled)
        sides[0].t1 = emr_history_numerator(r->election->history, task, tensor);
    set_scales(r, task, sides, r->rescalers + i * EMR_SCALES_MAX, &r->tasks[task].nearness);
    if (r->numerators)
        r->numerators[i] = sides[0].t1;
}

static void close_tensor(emr_rescaling *r, uint32_t entry, uint32_t task, emr_sums *sides)
{
    emr_task_sums *sums = &r->tasks[task];
    const emr_alignment *a = &r->plan->alignment;
    double count = (double)a->entries[entry].base->count;
    for (uint32_t s = 0; s < r->n_sides; s++)
        add_sums(&sums->model[s], &sides[s]);
    sums->means.t1 += sides[0].t1 / count;
    sums->means.q1 += sides[0].q1 / count;
    if (emr_merge_is_per(r->plan, EMR_RESCALE_PER_TENSOR))
        set_group(r, (size_t)task * a->n_merged + entry, task, entry, sides);
}

/* A task's parts of an item: their sums become those of the groups that end in it, in front. The last one may
 * continue in the next item. */
static size_t end_groups(emr_rescaling *r, const emr_item *item, emr_task_sums *task, emr_sums *parts)
{
    uint64_t length = group_length(r->plan, item->entry->base);
    size_t n = parts_of(item, length), ended = 0;
    bool last_ends = (item->first + item->n) % length == 0;
    for (size_t i = 0; i < n; i++) {
        for (uint32_t s = 0; s < r->n_sides; s++)
            add_sums(&task->group[s], &parts[i * r->n_sides + s]);
        if (i + 1 == n && !last_ends)
            break;
        memcpy(parts + ended++ * r->n_sides, task->group, r->n_sides * sizeof *parts);
        memset(task->group, 0, sizeof task->group);
    }
    return ended;
}

/* A settled task's numerators are those it had. */
static emr_status end_rows(emr_rescaling *r, const emr_item *item, uint32_t task, emr_sums *sides,
                           uint64_t first, size_t n, emr_error *error)
{
    bool settled = emr_merge_elected_task(r->plan, task)->settled;
    emr_status status =
        settled && n ? emr_history_row_numerators(r->election->history, task, item->entry->first_row + first,
                                                  n, r->row_numerators, error)
                     : EMR_OK;
    for (size_t i = 0; !status && i < n; i++, sides += r->n_sides) {
        if (settled)
            sides->t1 = r->row_numerators[i];
        set_scales(r, task, sides, r->row_rescalers + i * emr_merge_n_scales(r->plan, task),
                   &r->tasks[task].chunk);
        if (r->row_numerators)
            r->row_numerators[i] = sides->t1;
    }
    return status;
}

static void add_nearness(emr_nearness *to, const emr_nearness *more)
{
    to->tt += more->tt;
    to->tv += more->tv;
    to->vv += more->vv;
}

/* What of a tensor has passed in one chunk, and perhaps its end. */
static void add_chunk(emr_task_sums *t, bool begins, bool ends)
{
    if (begins)
        t->tensor = (emr_nearness){0};
    add_nearness(&t->tensor, &t->chunk);
    if (ends)
        add_nearness(&t->nearness, &t->tensor);
}

/* The rows that an item ends. */
static emr_status fold_rows(emr_rescaling *r, const emr_item *item, uint32_t task, emr_sums *parts,
                            uint64_t first, size_t n, emr_error *error)
{
    emr_task_sums *t = &r->tasks[task];
    t->chunk = (emr_nearness){0};
    emr_status status = end_rows(r, item, task, parts, first, n, error);
    if (item->flat >= emr_merge_first(r->plan))
        add_chunk(t, item->first == 0, item->first + item->n == item->entry->base->count);
    return status;
}

emr_status emr_rescaling_fold(emr_rescaling *r, const emr_item *item, size_t index, uint32_t task,
                              uint64_t *first, size_t *n, emr_error *error)
{
    emr_sums *parts = item_parts(r, index, task);
    *first = item->first / group_length(r->plan, item->entry->base);
    *n = end_groups(r, item, &r->tasks[task], parts);
    if (emr_merge_is_per(r->plan, EMR_RESCALE_PER_ROW))
        return fold_rows(r, item, task, parts, *first, *n, error);
    if (*n)
        close_tensor(r, item->number, task, parts);
    return EMR_OK;
}

enum { N_NEARNESS = 3, N_SUMS = sizeof(emr_sums) / sizeof(double) };

size_t emr_rescaling_n_told(const emr_merge_plan *plan, uint32_t task)
{
    return emr_merge_is_per(plan, EMR_RESCALE_PER_ROW) ? N_NEARNESS
                                                       : (size_t)N_SUMS * emr_merge_n_scales(plan, task);
}

void emr_rescaling_tell(const emr_rescaling *r, const emr_item *item, size_t index, uint32_t task,
                        double *told)
{
    const emr_task_sums *t = &r->tasks[task];
    bool split = emr_merge_is_split(r->plan, item->entry);
    const void *from = emr_merge_is_per(r->plan, EMR_RESCALE_PER_ROW)
                           ? (const void *)(split ? &t->chunk : &t->tensor)
                           : (const void *)item_parts(r, index, task);
    memcpy(told, from, emr_rescaling_n_told(r->plan, task) * sizeof *told);
}

void emr_rescaling_hear(emr_rescaling *r, uint32_t entry, uint32_t task, const double *told, bool begins,
                        bool ends)
{
    emr_task_sums *t = &r->tasks[task];
    if (emr_merge_is_per(r->plan, EMR_RESCALE_PER_ROW)) {
        memcpy(&t->chunk, told, sizeof t->chunk);
        add_chunk(t, begins, ends);
        return;
    }
    for (uint32_t s = 0; s < emr_merge_n_scales(r->plan, task); s++) {
        emr_sums sums;
        memcpy(&sums, told + (size_t)s * N_SUMS, sizeof sums);
        add_sums(&t->group[s], &sums);
    }
    if (!ends)
        return;
    close_tensor(r, entry, task, t->group);
    memset(t->group, 0, sizeof t->group);
}

void emr_rescaling_end_model(emr_rescaling *r)
{
    bool of_means = r->plan->options.rescale == EMR_RESCALE_L1_MEANS;
    for (uint32_t t = 0;
         emr_merge_is_per(r->plan, EMR_RESCALE_PER_MODEL) && t < r->plan->modulations.n_elected; t++) {
        emr_sums *model = r->tasks[t].model;
        if (of_means) {
            model->t1 = r->tasks[t].means.t1;
            model->q1 = r->tasks[t].means.q1;
        }
        set_group(r, t, t, 0, model);
    }
}

const float *emr_rescaling_of(const emr_rescaling *r, uint32_t task, uint32_t tensor)
{
    bool per_tensor = emr_merge_is_per(r->plan, EMR_RESCALE_PER_TENSOR);
    return r->rescalers + (task * count_groups(r->plan) + (per_tensor ? tensor : 0)) * EMR_SCALES_MAX;
}

emr_fidelity emr_rescaling_fidelity(const emr_rescaling *r, uint32_t task)
{
    const emr_nearness *n = &r->tasks[task].nearness;
    bool is_known = !emr_merge_elected_task(r->plan, task)->settled;
    return emr_fidelity_of(is_known ? n->tt : 0, n->tv, n->vv);
}

/* How many groups of each task a save brings. The next item may be behind the end of `entry`, which is
 * complete then: it is among them. */
static size_t count_new(const emr_rescaling *r, uint32_t entry)
{
    size_t end = (size_t)emr_min((uint64_t)entry + 1, r->plan->alignment.n_merged);
    return emr_merge_is_per(r->plan, EMR_RESCALE_PER_TENSOR) ? end - r->saved_entry : 0;
}

void emr_rescaling_save(const emr_rescaling *r, uint32_t entry, emr_put_fn put, void *context)
{
    const size_t size = EMR_SCALES_MAX * sizeof *r->rescalers;
    for (uint32_t t = 0; t < r->plan->modulations.n_elected; t++) {
        size_t first = (size_t)t * r->plan->alignment.n_merged + r->saved_entry, n = count_new(r, entry);
        put(context, &r->tasks[t], sizeof r->tasks[t]);
        if (n)
            put(context, r->rescalers + first * EMR_SCALES_MAX, n * size);
        if (n && r->numerators)
            put(context, r->numerators + first, n * sizeof *r->numerators);
    }
}

void emr_rescaling_saved(emr_rescaling *r, uint32_t entry)
{
    r->saved_entry = entry;
}

emr_status emr_rescaling_restore(emr_rescaling *r, uint32_t entry, emr_get_fn get, void *context,
                                 emr_error *error)
{
    const size_t size = EMR_SCALES_MAX * sizeof *r->rescalers;
    emr_status status = EMR_OK;
    for (uint32_t t = 0; !status && t < r->plan->modulations.n_elected; t++) {
        size_t first = (size_t)t * r->plan->alignment.n_merged + r->saved_entry, n = count_new(r, entry);
        status = get(context, &r->tasks[t], sizeof r->tasks[t], error);
        if (!status && n)
            status = get(context, r->rescalers + first * EMR_SCALES_MAX, n * size, error);
        if (!status && n && r->numerators)
            status = get(context, r->numerators + first, n * sizeof *r->numerators, error);
    }
    r->saved_entry = entry;
    return status;
}
